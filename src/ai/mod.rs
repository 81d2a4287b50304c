//! Models: turning texts into vectors.
//!
//! [`Embedder`] is what the line needs of a model; [`StaticEmbedder`] is the one that ships inside the
//! program, so that nothing is downloaded at run time; [`FolderEmbedder`] is another of its kind. Network models
//! implement the same trait.

pub mod chat;
pub mod identifiers;
pub mod model_folder;
pub mod static_model;
pub mod website;

use std::path::Path;
use std::sync::Arc;

pub use identifiers::split_identifiers;
pub use model_folder::{FolderEmbedder, ModelFolderError};
pub use static_model::StaticEmbedder;

/// The static model in `folder`, or the built-in one.
///
/// # Errors
/// When the folder is no model; the built-in one is none of these.
pub fn static_model(folder: Option<&Path>) -> Result<Arc<dyn Embedder>, ModelFolderError> {
    Ok(match folder {
        Some(folder) => Arc::new(FolderEmbedder::load(folder)?),
        None => Arc::new(StaticEmbedder::new()),
    })
}

/// Why texts could not be embedded.
#[derive(Debug, thiserror::Error)]
pub enum EmbedError {
    /// The model's own files could not be read.
    #[error("load the embedding model `{model}`")]
    Load {
        /// Name of the model.
        model: &'static str,
        /// What its reader said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The model answered vectors of another length than it promised.
    #[error("model `{model}` gave {got} dimensions where {wanted} were promised")]
    Dimensions {
        /// Name of the model.
        model: String,
        /// Length of the vectors that came.
        got: usize,
        /// Length that was promised.
        wanted: usize,
    },
}

/// Turns texts into unit-length vectors.
///
/// Implementations compute; they neither sleep nor wait. Call them from a thread that may be busy for
/// some milliseconds, not from an arbiter.
pub trait Embedder: Send + Sync {
    /// Length of every vector.
    fn dimensions(&self) -> usize;

    /// One vector a text, in the texts' order. A text in which the model knows no word gives the zero
    /// vector: the caller must not put it into a cosine index.
    fn embed(&self, texts: &[&str]) -> Result<Vec<Vec<f32>>, EmbedError>;

    /// Name that a store remembers: vectors of different models cannot be compared.
    fn model_name(&self) -> &str;
}

/// Tells a vector that stands for nothing: all zero, or not a number.
pub fn is_empty_vector(vector: &[f32]) -> bool {
    let length_squared: f32 = vector.iter().map(|x| x * x).sum();
    !length_squared.is_finite() || length_squared < 1e-12
}
