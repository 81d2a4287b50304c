//! The composer: makes an object's documents out of its describe and the org's metadata families.
//!
//! Promises: equal describes and families give equal documents, byte for byte. An object that could not be described ends
//! as a dead letter with its reason. It keeps nothing; the families belong to the job's run, and are read back from the
//! cache when a dead letter is tried again after its run has ended.

use std::sync::Arc;

use super::engine::{Output, Stage, StageCx, StageError};
use super::schema_run::SchemaRuns;
use crate::library::compose;
use crate::messages::{DescribedObject, ObjectDocuments};

/// See the module's promises.
#[derive(Debug, Clone)]
pub struct Composer {
    runs: SchemaRuns,
}

impl Composer {
    /// A composer for the runs in `runs`.
    pub fn new(runs: SchemaRuns) -> Self {
        Self { runs }
    }
}

impl Stage for Composer {
    type In = DescribedObject;
    type Out = ObjectDocuments;
    const NAME: &'static str = "composer";

    async fn run(
        &self,
        described: Arc<DescribedObject>,
        cx: &StageCx,
    ) -> Result<Output<ObjectDocuments>, StageError> {
        if let Err(why) = &described.outcome {
            return Err(StageError::fatal(format!("`{}` could not be described: {why}", described.object)));
        }
        let families = self.runs.family_index(cx.header()).ok_or_else(|| {
            StageError::fatal("the run that this object belonged to has ended; run the schema job again")
        })?;
        let documents = cx
            .blocking(move || {
                let describe = described.outcome.as_ref().ok()?;
                let documents = compose(&described.org, describe, &families);
                Some((described.org.clone(), described.object.clone(), documents))
            })
            .await;
        let Some((org, object, documents)) = documents else { return Ok(Output::None) };
        Ok(Output::One(ObjectDocuments { org, object, documents }))
    }
}
