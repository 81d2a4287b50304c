//! The batcher: turns many small asks into few large ones, sealed by count, bytes or age.
//!
//! Promises: every ask leaves in exactly one batch; a batch holds asks of one job. It keeps nothing: a restart costs
//! nothing. Two stages are made of it: `batcher` groups describes for one `/composite` call, `text_batcher` groups
//! documents for one embedding request.

use std::sync::Arc;

use super::engine::{BatchStage, Output, StageCx, StageError};
use crate::messages::{DescribeAsk, FetchAsk, ObjectDocuments, SealedTexts};

/// Groups describes.
#[derive(Debug, Clone, Copy, Default)]
pub struct Batcher;

impl BatchStage for Batcher {
    type In = DescribeAsk;
    type Out = FetchAsk;
    const NAME: &'static str = "batcher";

    async fn run(&self, asks: Vec<Arc<DescribeAsk>>, _cx: &StageCx) -> Result<Output<FetchAsk>, StageError> {
        let Some(first) = asks.first() else { return Ok(Output::None) };
        let org = first.org.clone();
        // A job reads one org; were it two, the second would be asked by the first's credentials.
        if let Some(stray) = asks.iter().find(|ask| ask.org != org) {
            return Err(StageError::fatal(format!(
                "`{}` of `{}` among those of `{org}`",
                stray.object, stray.org
            )));
        }
        let objects = asks.iter().map(|ask| ask.object.clone()).collect();
        Ok(Output::One(FetchAsk::Describes { org, objects }))
    }
}

/// Groups documents.
#[derive(Debug, Clone, Copy, Default)]
pub struct TextBatcher;

impl BatchStage for TextBatcher {
    type In = ObjectDocuments;
    type Out = SealedTexts;
    const NAME: &'static str = "text_batcher";

    async fn run(
        &self,
        objects: Vec<Arc<ObjectDocuments>>,
        _cx: &StageCx,
    ) -> Result<Output<SealedTexts>, StageError> {
        let objects = objects.iter().map(|object| ObjectDocuments::clone(object)).collect();
        Ok(Output::One(SealedTexts { objects }))
    }
}
