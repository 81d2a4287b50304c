//! One call: permit, request, verdict, settlement. Everything that reaches the org goes through here.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::fmt::rfc2822::DateTimeParser;
use jiff::{SignedDuration, Timestamp};

use super::error::{OrgError, classify, classify_login, quota_seen, retry_after};
use super::gate::{Api, CallAsk, CallReport, Gate, Permit};
use super::retry::{Jitter, RetryPolicy};
use super::transport::{Http, HttpRequest, HttpResponse};
use crate::clock::{Clock, SharedClock};
use crate::limiter::{CallOutcome, Priority, RetryBudget};
use crate::model::OrgName;

/// What calls of one org share.
pub(super) struct Caller {
    pub(super) org: OrgName,
    pub(super) http: Arc<dyn Http>,
    pub(super) gate: Arc<dyn Gate>,
    pub(super) clock: SharedClock,
    pub(super) jitter: Arc<dyn Jitter>,
    pub(super) retry: RetryPolicy,
    pub(super) budget: Mutex<RetryBudget>,
    /// The org's clock in its last answer, and ours when it came.
    pub(super) date_seen: Mutex<Option<(Timestamp, Duration)>>,
}

impl Caller {
    /// Makes one call once; an answer with a status outside 200-299 is an error, but for a 304: whoever sent the condition has
    /// the answer already.
    pub(super) async fn once(
        &self,
        api: Api,
        priority: Priority,
        expected_long: bool,
        request: HttpRequest,
    ) -> Result<HttpResponse, OrgError> {
        let permit = self.permit(api, priority, expected_long).await?;
        let result = exchange(&*self.http, &*self.clock, permit, api, request).await;
        if let Ok(response) = &result {
            self.budget().refill();
            self.see_date(&response.headers);
        }
        result
    }

    /// Waits until a call may go.
    pub(super) async fn permit(
        &self,
        api: Api,
        priority: Priority,
        expected_long: bool,
    ) -> Result<Box<dyn Permit>, OrgError> {
        let ask = CallAsk { org: self.org.clone(), api, priority, expected_long };
        self.gate.permit(ask).await.map_err(OrgError::Gate)
    }

    /// Waits as the policy says; `false` when the error should go to the caller instead.
    /// `attempt` counts the calls made so far, of at most `attempts_max`.
    pub(super) async fn may_retry(&self, error: &OrgError, attempt: u32, attempts_max: u32) -> bool {
        let policy = RetryPolicy { attempts_max, ..self.retry.clone() };
        let Some(wait) = policy.wait_after(error, attempt, self.jitter.fraction()) else {
            return false;
        };
        if !self.budget().draw(error.retry_cause()) {
            return false;
        }
        self.clock.sleep(wait).await;
        true
    }

    /// Notes what the org's clock shows in an answer.
    pub(super) fn see_date(&self, headers: &[(String, String)]) {
        let date = headers.iter().find(|(name, _)| name == "date");
        let shown = date.and_then(|(_, text)| DateTimeParser::new().parse_timestamp(text).ok());
        if let Some(shown) = shown {
            // A pair that is written whole: a panic elsewhere cannot leave it half changed.
            *self.date_seen.lock().unwrap_or_else(PoisonError::into_inner) =
                Some((shown, self.clock.elapsed()));
        }
    }

    /// The org's clock by its last answer, where that is no older than `at_most`.
    pub(super) fn org_now(&self, at_most: Duration) -> Option<Timestamp> {
        let (shown, seen_at) = (*self.date_seen.lock().unwrap_or_else(PoisonError::into_inner))?;
        let since = self.clock.elapsed().saturating_sub(seen_at);
        // Whole seconds, as the org shows them: what is cut off keeps us behind its clock.
        let since_shown = SignedDuration::from_secs(i64::try_from(since.as_secs()).unwrap_or(i64::MAX));
        (since < at_most).then(|| shown.checked_add(since_shown).unwrap_or(shown))
    }

    pub(super) fn budget(&self) -> std::sync::MutexGuard<'_, RetryBudget> {
        // The budget is a counter: a panic elsewhere cannot leave it half changed.
        self.budget.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The call itself: sends the request, tells what the answer means, and settles the permit with it.
pub(super) async fn exchange(
    http: &dyn Http,
    clock: &dyn Clock,
    permit: Box<dyn Permit>,
    api: Api,
    request: HttpRequest,
) -> Result<HttpResponse, OrgError> {
    let started_at = clock.elapsed();
    let answer = http.send(request).await;
    let elapsed = clock.elapsed().saturating_sub(started_at);
    let quota = answer.as_ref().ok().and_then(quota_seen);
    let refusal = answer.as_ref().ok().filter(|response| !is_good(response.status));
    let wait = refusal.and_then(retry_after);
    let result = match answer {
        Ok(response) if is_good(response.status) => Ok(response),
        Ok(response) if api == Api::Auth => Err(classify_login(&response, clock.wall())),
        Ok(response) => Err(classify(&response)),
        Err(error) => Err(OrgError::Network(error)),
    };
    let outcome = result.as_ref().map_or_else(OrgError::outcome, |_| CallOutcome::Ok);
    permit.settle(CallReport { outcome, quota, retry_after: wait, elapsed });
    result
}

fn is_good(status: u16) -> bool {
    (200..300).contains(&status) || status == 304
}
