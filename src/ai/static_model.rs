//! The embedding model inside the program: 256 dimensions, int8, no network, no files at run time.
//!
//! Loaded once, on first use, and shared by all threads. How it was made and how good it is stands in
//! `models/penstock-static-256/README.md`; a second, independent reader checks the vectors in
//! `tests/static_model_parity.rs`.

use std::sync::OnceLock;

use model2vec_rs::model::StaticModel;

use super::{EmbedError, Embedder};

/// Name under which stores remember this model's vectors.
pub const MODEL_NAME: &str = "penstock-static-256";
/// Length of this model's vectors.
pub const DIMENSIONS: usize = 256;

static TOKENIZER: &[u8] = include_bytes!("../../models/penstock-static-256/tokenizer.json");
static TENSORS: &[u8] = include_bytes!("../../models/penstock-static-256/model.safetensors");
static CONFIG: &[u8] = include_bytes!("../../models/penstock-static-256/config.json");

static LOADED: OnceLock<Result<StaticModel, String>> = OnceLock::new();

/// The static model. Making one costs nothing; the first text embedded loads the tables (about 80 ms).
#[derive(Debug, Clone, Copy, Default)]
pub struct StaticEmbedder;

impl StaticEmbedder {
    /// A handle on the one shared model.
    pub fn new() -> Self {
        Self
    }

    /// Loads the tables now instead of with the first text.
    ///
    /// # Errors
    /// [`EmbedError::Load`] when the program was built with damaged model files.
    pub fn warm_up(&self) -> Result<(), EmbedError> {
        model().map(|_| ())
    }
}

fn model() -> Result<&'static StaticModel, EmbedError> {
    LOADED
        .get_or_init(|| {
            StaticModel::from_bytes(TOKENIZER, TENSORS, CONFIG, None).map_err(|error| format!("{error:#}"))
        })
        .as_ref()
        .map_err(|reason| EmbedError::Load { model: MODEL_NAME, source: reason.as_str().into() })
}

/// Whether these are the tables and the tokenizer of the model inside the program.
pub(super) fn is_built_in(tensors: &[u8], tokenizer: &[u8]) -> bool {
    tensors == TENSORS && tokenizer == TOKENIZER
}

/// One vector a text; `dimensions` must be the model's.
pub(super) fn encode(model: &StaticModel, dimensions: usize, texts: &[&str]) -> Vec<Vec<f32>> {
    let texts: Vec<String> = texts.iter().map(|&text| text.to_owned()).collect();
    // Without a token limit: a bag of words has no window, and a cut text would embed half an object.
    let flat = model.encode_flat_with_args(&texts, None);
    flat.chunks_exact(dimensions).map(<[f32]>::to_vec).collect()
}

impl Embedder for StaticEmbedder {
    fn dimensions(&self) -> usize {
        DIMENSIONS
    }

    fn embed(&self, texts: &[&str]) -> Result<Vec<Vec<f32>>, EmbedError> {
        let model = model()?;
        if model.dim() != DIMENSIONS {
            return Err(EmbedError::Dimensions {
                model: MODEL_NAME.to_owned(),
                got: model.dim(),
                wanted: DIMENSIONS,
            });
        }
        Ok(encode(model, DIMENSIONS, texts))
    }

    fn model_name(&self) -> &str {
        MODEL_NAME
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ai::is_empty_vector;

    fn cosine(a: &[f32], b: &[f32]) -> f32 {
        a.iter().zip(b).map(|(a, b)| a * b).sum()
    }

    #[test]
    fn words_of_one_meaning_lie_closer_than_words_of_another() {
        let vectors = StaticEmbedder::new()
            .embed(&[
                "reason a deal was lost",
                "loss reason of the opportunity",
                "shipping warehouse address",
            ])
            .unwrap();
        assert!(cosine(&vectors[0], &vectors[1]) > cosine(&vectors[0], &vectors[2]) + 0.1);
    }

    #[test]
    fn a_text_without_known_words_gives_the_zero_vector_and_says_so() {
        let vectors = StaticEmbedder::new().embed(&["", "\u{1F9FF}\u{E000}", "account"]).unwrap();
        assert_eq!(vectors.len(), 3);
        assert!(is_empty_vector(&vectors[0]) && is_empty_vector(&vectors[1]));
        assert!((cosine(&vectors[2], &vectors[2]) - 1.0).abs() < 1e-5);
    }

    #[test]
    fn many_threads_share_one_model() {
        let expected = StaticEmbedder::new().embed(&["billing address"]).unwrap();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    assert_eq!(StaticEmbedder::new().embed(&["billing address"]).unwrap(), expected)
                });
            }
        });
    }
}
