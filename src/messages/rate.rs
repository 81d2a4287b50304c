//! Permits: every call to an org asks the rate-limiter first.

use actix::Message;

use crate::actors::rate_limiter::Granted;
use crate::salesforce::gate::{CallAsk, GateError};

/// Asks for the right to make one call. While the engine is frozen nobody is answered.
#[derive(Debug, Clone, Message)]
#[rtype(result = "Result<GrantedPermit, GateError>")]
pub struct AskPermit(pub CallAsk);

/// The right to make one call. Dropped unsettled, the call counts as cancelled and its place is free again.
pub type GrantedPermit = Granted;
