//! What the endpoint needs of the rest of the process: somebody who runs batches, and somebody who knows callers.

use std::sync::Arc;

use tokio::sync::mpsc;

use crate::batch::access::Caller;
use crate::batch::access::token::TokenFault;
use crate::batch::answer::Answer;
use crate::batch::catalogue::Catalogue;
use crate::clock::BoxFuture;

/// A batch that somebody asks for.
pub struct BatchAsk {
    /// The body, unpacked.
    pub body: Vec<u8>,
    /// Who asks.
    pub caller: Arc<Caller>,
    /// The idempotency key, checked for its shape.
    pub idempotency_key: Option<String>,
    /// Whether lines are wanted instead of one document.
    pub lines: bool,
    /// W3C trace context of the request, as it was sent.
    pub trace: Option<Arc<str>>,
    /// The database, by its name in the config; `None`: the one that has the entities.
    pub database: Option<String>,
    /// Whether it is a dry run whatever the body says.
    pub dry_run: bool,
}

impl std::fmt::Debug for BatchAsk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BatchAsk").field("bytes", &self.body.len()).finish_non_exhaustive()
    }
}

/// What is answered to a [`BatchAsk`].
pub struct BatchReply {
    /// Id of the batch.
    pub batch_id: Arc<str>,
    /// Whether the answer is that of an earlier run of the same key.
    pub replayed: bool,
    /// The answer.
    pub content: ReplyContent,
}

/// The answer itself.
pub enum ReplyContent {
    /// All of it.
    Whole(Answer),
    /// Lines of a batch that is on its way. Dropped, they hang up.
    Lines(LineStream),
}

/// Lines as they come.
pub struct LineStream {
    /// The lines, each with its end.
    pub lines: mpsc::UnboundedReceiver<Vec<u8>>,
    /// Dropped with the stream: says that nobody reads on.
    pub reader: Box<dyn Send>,
}

/// Runs batches. A future that is dropped hangs up: the batch is rolled back unless its COMMIT was sent.
pub trait BatchService: Send + Sync + 'static {
    /// Bytes a body may have, packed and unpacked.
    fn body_bytes_max(&self) -> usize;

    /// Runs a batch.
    fn run(&self, ask: BatchAsk) -> BoxFuture<'static, BatchReply>;

    /// Plans a batch, touching no table.
    fn plan(&self, ask: BatchAsk) -> BatchReply;

    /// What the databases have, in the order of the config.
    fn catalogues(&self) -> Vec<Arc<Catalogue>>;
}

/// Why somebody is not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotLetIn {
    /// No token came, and one is needed.
    #[error("send `Authorization: Bearer <token>`")]
    NoToken,
    /// The header is no bearer token.
    #[error("`Authorization` must be `Bearer <token>`, once")]
    NotBearer,
    /// The token does not hold.
    #[error("{0}")]
    Token(#[from] TokenFault),
    /// The token holds, and its roles may not use this.
    #[error("none of the token's roles may use this endpoint")]
    Forbidden,
}

/// With what a caller may come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Admits {
    /// There is an issuer whose tokens are taken; without one, every token is refused.
    pub tokens: bool,
    /// Callers without a token are let in.
    pub without_token: bool,
}

/// Knows callers by their `Authorization` header.
pub trait Door: Send + Sync + 'static {
    /// Who asks; without a header, the caller without a token where there may be one.
    fn let_in(&self, authorization: Option<String>) -> BoxFuture<'static, Result<Caller, NotLetIn>>;

    /// With what a caller may come, for the description of the endpoint.
    fn admits(&self) -> Admits;
}
