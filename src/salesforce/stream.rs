//! One call whose answer is read as it comes.
//!
//! Promises: the permit is held until the last byte, because until then the org is at work for us; it is
//! settled once, with how the answer ended; dropped before its end, the call counts as cancelled.

use std::time::Duration;

use bytes::Bytes;

use super::call::Caller;
use super::error::{OrgError, classify, quota_seen, retry_after};
use super::gate::{Api, CallAsk, CallReport, Permit};
use super::transport::{Chunks, HttpRequest};
use crate::clock::SharedClock;
use crate::limiter::{CallOutcome, Priority, UsageSeen};

/// Largest body of an error answer that is read; beyond it nothing is worth reading.
const ERROR_BYTES_MAX: usize = 1 << 20;

/// An answer with a status of 200-299 whose body is still on its way.
pub(super) struct OpenAnswer {
    pub(super) headers: Vec<(String, String)>,
    body: Box<dyn Chunks>,
    permit: Option<Box<dyn Permit>>,
    quota: Option<UsageSeen>,
    clock: SharedClock,
    started_at: Duration,
}

impl Caller {
    /// As [`Caller::once`] up to the headers; a status outside 200-299 is an error, read whole.
    pub(super) async fn open(
        &self,
        api: Api,
        priority: Priority,
        expected_long: bool,
        request: HttpRequest,
    ) -> Result<OpenAnswer, OrgError> {
        let ask = CallAsk { org: self.org.clone(), api, priority, expected_long };
        let permit = self.gate.permit(ask).await.map_err(OrgError::Gate)?;
        let started_at = self.clock.elapsed();
        let mut quota = None;
        let mut wait = None;
        let error = match self.http.send_streaming(request).await {
            Ok(answer) if (200..300).contains(&answer.status) => {
                self.budget().refill();
                let headers = answer.headers;
                self.see_date(&headers);
                let quota = quota_seen_in(&headers);
                let clock = SharedClock::clone(&self.clock);
                let (body, permit) = (answer.body, Some(permit));
                return Ok(OpenAnswer { headers, body, permit, quota, clock, started_at });
            }
            Ok(answer) => match answer.read_whole(ERROR_BYTES_MAX).await {
                Ok(answer) => {
                    quota = quota_seen(&answer);
                    wait = retry_after(&answer);
                    classify(&answer)
                }
                Err(error) => OrgError::Network(error),
            },
            Err(error) => OrgError::Network(error),
        };
        let elapsed = self.clock.elapsed().saturating_sub(started_at);
        permit.settle(CallReport { outcome: error.outcome(), quota, retry_after: wait, elapsed });
        Err(error)
    }
}

fn quota_seen_in(headers: &[(String, String)]) -> Option<UsageSeen> {
    let response =
        super::transport::HttpResponse { status: 200, headers: headers.to_vec(), body: Vec::new() };
    quota_seen(&response)
}

impl OpenAnswer {
    /// The next piece of the body, or `None` once it is whole.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, OrgError> {
        let piece = self.body.next().await.map_err(OrgError::Network);
        match &piece {
            Ok(Some(_)) => {}
            Ok(None) => self.settle(CallOutcome::Ok),
            Err(error) => self.settle(error.outcome()),
        }
        piece
    }

    fn settle(&mut self, outcome: CallOutcome) {
        if let Some(permit) = self.permit.take() {
            let elapsed = self.clock.elapsed().saturating_sub(self.started_at);
            permit.settle(CallReport { outcome, quota: self.quota, retry_after: None, elapsed });
        }
    }
}
