//! What the rate-limiter knows of every org: its limiter, its breakers, and who wants to know when a call has ended.
//!
//! Promises: it outlives every incarnation of the actor, and the daily allowance in it outlives the process
//! ([`LimiterBook::memory`], [`LimiterBook::recall`]). A permit settles or is dropped exactly once, and either way its place
//! is free again. What changes for an operator (a breaker opens, the allowance is reached) is logged once, here.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::Serialize;
use tokio::sync::watch;

use crate::clock::SharedClock;
use crate::limiter::{
    BreakerChange, BreakerProfile, BreakerState, BreakerVerdict, CallSeen, CircuitBreaker, Forecast,
    GateKind, LimitProfile, Limiter, LimiterSnapshot, Priority, QuotaMemory, QuotaSeen, Verdict,
};
use crate::model::OrgName;
use crate::salesforce::gate::{Api, CallAsk, CallReport, GateError, Permit};
use crate::telemetry::Metrics;

/// The limiters and breakers of all orgs.
pub struct LimiterBook {
    clock: SharedClock,
    metrics: Metrics,
    orgs: Mutex<BTreeMap<OrgName, OrgPages>>,
    changed: watch::Sender<()>,
}

/// One org's pages of the book.
struct OrgPages {
    limiter: Limiter,
    breakers: [CircuitBreaker; Api::ALL.len()],
    breaker_profile: BreakerProfile,
    /// Whether the allowance was closed for a priority when last looked at.
    closed: [bool; 3],
}

/// One breaker, for status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct BreakerView {
    /// The part of the org.
    pub api: &'static str,
    /// What it does.
    pub state: BreakerState,
    /// Seconds until a probe may go, while it is open.
    pub retry_in_secs: Option<u64>,
}

/// What one org's pages say, for status.
#[derive(Debug, Clone, Serialize)]
pub struct OrgView {
    /// The org.
    pub org: OrgName,
    /// Its gates.
    pub limiter: LimiterSnapshot,
    /// Its breakers.
    pub breakers: Vec<BreakerView>,
    /// Per priority that must wait for the daily allowance: until about when.
    pub waits_until: BTreeMap<&'static str, jiff::Timestamp>,
}

/// What becomes of an ask.
#[derive(Debug)]
pub(super) enum Answer {
    /// It goes; it was granted at this time.
    Granted(Duration),
    /// Not now.
    Wait {
        /// When to ask again; `None` means when a call has ended.
        until: Option<Duration>,
        /// The asks behind this one would hear the same.
        holds_up_all: bool,
    },
    /// Not for long.
    Refused(GateError),
}

impl std::fmt::Debug for LimiterBook {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LimiterBook").finish_non_exhaustive()
    }
}

impl OrgPages {
    fn new(now: Duration, profile: LimitProfile) -> Self {
        let breaker_profile = profile.breaker.clone();
        let limiter = Limiter::starting_at(now, profile);
        Self { limiter, breakers: Default::default(), breaker_profile, closed: [false; 3] }
    }

    fn ask(&mut self, now: Duration, ask: &CallAsk) -> Answer {
        let breaker = &mut self.breakers[ask.api.index()];
        match breaker.verdict(now) {
            BreakerVerdict::Go => {}
            BreakerVerdict::AwaitProbe => return Answer::Wait { until: None, holds_up_all: false },
            BreakerVerdict::Refuse { retry_at } => {
                let retry_after = retry_at.saturating_sub(now);
                let (org, api) = (ask.org.clone(), ask.api);
                return Answer::Refused(GateError::CircuitOpen { org, api, retry_after });
            }
        }
        match self.limiter.ask(now, &ask.for_limiter()) {
            Verdict::Grant => {
                breaker.started(now);
                Answer::Granted(now)
            }
            // A quota share belongs to one priority, and a login needs none; the other gates hold up everybody.
            Verdict::Wait { until, gate } => Answer::Wait { until, holds_up_all: gate != GateKind::Quota },
            Verdict::Refuse { retry_at, .. } => {
                let retry_after = retry_at.saturating_sub(now);
                Answer::Refused(GateError::QuotaSpent { org: ask.org.clone(), retry_after })
            }
        }
    }

    fn breakers(&self, now: Duration) -> Vec<BreakerView> {
        let view = |api: Api| {
            let breaker = &self.breakers[api.index()];
            let retry_in_secs = match breaker.verdict(now) {
                BreakerVerdict::Refuse { retry_at } => Some(retry_at.saturating_sub(now).as_secs()),
                BreakerVerdict::Go | BreakerVerdict::AwaitProbe => None,
            };
            BreakerView { api: api.as_str(), state: breaker.state(now), retry_in_secs }
        };
        Api::ALL.into_iter().map(view).collect()
    }

    /// Says once that the allowance is reached, and once that there is room again.
    fn tell_of_quota(&mut self, org: &OrgName, until: impl Fn(Duration) -> String, now: Duration) {
        for share in self.limiter.snapshot().shares {
            let was_closed = std::mem::replace(&mut self.closed[share.priority.index()], share.closed);
            let priority = share.priority.as_str();
            if share.closed && !was_closed {
                let at = self.limiter.waits_until(now, share.priority).unwrap_or(now);
                let (share, until) = (share.share, until(at));
                tracing::warn!(org = %org, priority, share, until, "the daily allowance is reached, work waits");
            } else if was_closed && !share.closed {
                tracing::info!(org = %org, priority, "the daily allowance has room again");
            }
        }
    }
}

impl LimiterBook {
    /// A book for these orgs.
    pub fn new(
        clock: SharedClock,
        metrics: Metrics,
        orgs: impl IntoIterator<Item = (OrgName, LimitProfile)>,
    ) -> Arc<Self> {
        let now = clock.elapsed();
        let orgs = orgs.into_iter().map(|(org, profile)| (org, OrgPages::new(now, profile))).collect();
        Arc::new(Self { clock, metrics, orgs: Mutex::new(orgs), changed: watch::Sender::new(()) })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<OrgName, OrgPages>> {
        self.orgs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn clock(&self) -> &SharedClock {
        &self.clock
    }

    /// Tells of every ended call.
    pub(super) fn watch(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// Takes over a changed profile of an org.
    pub fn set_profile(&self, org: &OrgName, profile: LimitProfile) {
        let now = self.clock.elapsed();
        if let Some(pages) = self.lock().get_mut(org) {
            pages.breaker_profile = profile.breaker.clone();
            pages.limiter.set_profile(now, profile);
        }
        self.changed.send_replace(());
    }

    /// Figures of every org.
    pub fn snapshot(&self) -> BTreeMap<OrgName, LimiterSnapshot> {
        self.lock().iter().map(|(org, pages)| (org.clone(), pages.limiter.snapshot())).collect()
    }

    /// Everything that is shown of every org, sorted by name.
    pub fn views(&self) -> Vec<OrgView> {
        let now = self.clock.elapsed();
        let view = |org: &OrgName, pages: &OrgPages| OrgView {
            org: org.clone(),
            limiter: pages.limiter.snapshot(),
            breakers: pages.breakers(now),
            waits_until: Priority::ALL
                .into_iter()
                .filter_map(|priority| {
                    let at = pages.limiter.waits_until(now, priority)?;
                    Some((priority.as_str(), self.wall_at(at)))
                })
                .collect(),
        };
        self.lock().iter().map(|(org, pages)| view(org, pages)).collect()
    }

    /// What work of this priority for this org waits for, in words; `None` while its calls may go.
    pub fn waits_for(&self, org: &OrgName, priority: Priority) -> Option<String> {
        let now = self.clock.elapsed();
        let orgs = self.lock();
        let pages = orgs.get(org)?;
        if let Some(at) = pages.limiter.waits_until(now, priority) {
            let until = self.hours_and_minutes(at);
            return Some(format!("waiting for the daily allowance until about {until}"));
        }
        let open = pages.breakers(now).into_iter().find(|view| view.state != BreakerState::Closed)?;
        let next = match open.retry_in_secs {
            Some(secs) => format!("next try in {secs} s"),
            None => "trying again".to_owned(),
        };
        Some(format!("waiting for the org: its {} API fails call after call, {next}", open.api))
    }

    /// Sets a job's calls beside what the org has left; `made` of them have been made already.
    pub fn forecast(&self, org: &OrgName, priority: Priority, calls: u64, made: u64) -> Forecast {
        let orgs = self.lock();
        let mut forecast = match orgs.get(org) {
            Some(pages) => pages.limiter.forecast(priority, calls),
            None => Forecast::new(calls, priority, None, None),
        };
        for room in [&mut forecast.room, &mut forecast.share_room] {
            *room = room.map(|left| left + made);
        }
        forecast
    }

    /// Announces how many calls of a priority are still to come; 0 takes the announcement back.
    pub fn announce(&self, org: &OrgName, priority: Priority, calls: u64) {
        if let Some(pages) = self.lock().get_mut(org) {
            pages.limiter.set_forecast(priority, calls);
        }
        self.changed.send_replace(());
    }

    /// What should outlive the process, by org.
    pub fn memory(&self) -> BTreeMap<OrgName, QuotaMemory> {
        let now = self.clock.elapsed();
        self.lock().iter().map(|(org, pages)| (org.clone(), pages.limiter.memory(now))).collect()
    }

    /// Takes over what an earlier process knew `passed` ago.
    pub fn recall(&self, passed: Duration, memory: &BTreeMap<OrgName, QuotaMemory>) {
        let now = self.clock.elapsed();
        for (org, pages) in self.lock().iter_mut() {
            if let Some(memory) = memory.get(org) {
                pages.limiter.recall(now, passed, memory);
                pages.tell_of_quota(org, |at| self.hours_and_minutes(at), now);
            }
        }
    }

    /// Changes whenever [`LimiterBook::memory`] is worth keeping at once: an org's allowance was reached, or has room again.
    pub fn closed_shares(&self) -> BTreeMap<OrgName, [bool; 3]> {
        self.lock().iter().map(|(org, pages)| (org.clone(), pages.closed)).collect()
    }

    pub(super) fn ask(&self, ask: &CallAsk) -> Answer {
        let now = self.clock.elapsed();
        match self.lock().get_mut(&ask.org) {
            Some(pages) => pages.ask(now, ask),
            // An org that no config names has no budget; only tests come here.
            None => Answer::Granted(now),
        }
    }

    fn end(&self, ask: &CallAsk, started_at: Duration, seen: Option<&CallSeen>) {
        let now = self.clock.elapsed();
        if let Some(pages) = self.lock().get_mut(&ask.org) {
            let breaker = &mut pages.breakers[ask.api.index()];
            match seen {
                Some(seen) => {
                    let change = breaker.ended(now, started_at, seen.outcome, &pages.breaker_profile);
                    self.tell_of_breaker(ask, breaker, change, now);
                    pages.limiter.observe(now, seen);
                }
                None => {
                    breaker.cancelled(started_at);
                    pages.limiter.cancelled(started_at);
                }
            }
            pages.limiter.finished(&ask.for_limiter());
            pages.tell_of_quota(&ask.org, |at| self.hours_and_minutes(at), now);
        }
        self.changed.send_replace(());
    }

    fn tell_of_breaker(&self, ask: &CallAsk, breaker: &CircuitBreaker, change: BreakerChange, now: Duration) {
        let (org, api) = (&ask.org, ask.api.as_str());
        match (change, breaker.verdict(now)) {
            (BreakerChange::Opened, BreakerVerdict::Refuse { retry_at }) => {
                self.metrics.org_breaker_opened_total.with_label_values(&[api]).inc();
                let retry_in = retry_at.saturating_sub(now);
                tracing::warn!(org = %org, api, ?retry_in, "the org fails call after call and is left alone");
            }
            (BreakerChange::Closed, _) => tracing::info!(org = %org, api, "the org answers again"),
            _ => {}
        }
    }

    fn wall_at(&self, at: Duration) -> jiff::Timestamp {
        let ahead = jiff::SignedDuration::try_from(at.saturating_sub(self.clock.elapsed()));
        let ahead = ahead.unwrap_or(jiff::SignedDuration::MAX);
        self.clock.wall().checked_add(ahead).unwrap_or(jiff::Timestamp::MAX)
    }

    fn hours_and_minutes(&self, at: Duration) -> String {
        let day = |time: jiff::Timestamp| time.strftime("%Y-%m-%d").to_string();
        let then = self.wall_at(at);
        // Tomorrow's hour must not be taken for today's.
        let format = if day(then) == day(self.clock.wall()) { "%H:%M UTC" } else { "%Y-%m-%d %H:%M UTC" };
        then.strftime(format).to_string()
    }

    /// Sets the quota gauges from the org that is nearest to its limit, and counts the breakers by state.
    pub fn refresh_gauges(&self) {
        let mut nearest: Option<QuotaSeen> = None;
        let mut room = 0.0;
        let mut share_room: BTreeMap<Priority, u64> = BTreeMap::new();
        let mut breakers: BTreeMap<(&str, BreakerState), i64> = BTreeMap::new();
        for OrgView { limiter, breakers: of_org, .. } in self.views() {
            room += f64::from(limiter.concurrency_limit.saturating_sub(limiter.in_flight));
            if let Some(quota) = limiter.quota {
                let ratio = |quota: &QuotaSeen| quota.used as f64 / quota.limit.max(1) as f64;
                if nearest.as_ref().is_none_or(|known| ratio(known) < ratio(&quota)) {
                    nearest = Some(quota);
                }
            }
            for share in limiter.shares {
                if let Some(left) = share.room {
                    let least = share_room.entry(share.priority).or_insert(left);
                    *least = left.min(*least);
                }
            }
            for view in of_org {
                *breakers.entry((view.api, view.state)).or_default() += 1;
            }
        }
        if let Some(quota) = nearest {
            let used = quota.used as f64 / quota.limit.max(1) as f64;
            self.metrics.org_quota_used_ratio.with_label_values(&["daily_api_requests"]).set(used);
            let left = quota.limit.saturating_sub(quota.used) as f64;
            self.metrics.org_quota_remaining.with_label_values(&["daily_api_requests"]).set(left);
        }
        for (priority, left) in share_room {
            self.metrics.org_quota_room.with_label_values(&[priority.as_str()]).set(left as f64);
        }
        for api in crate::telemetry::metrics::ORG_APIS {
            self.metrics.rate_limit_permits.with_label_values(&[api]).set(room);
            for state in BreakerState::ALL {
                let count = breakers.get(&(api, state)).copied().unwrap_or(0);
                self.metrics.org_breakers.with_label_values(&[api, state.as_str()]).set(count);
            }
        }
    }
}

/// The right to make one call.
pub struct Granted {
    book: Arc<LimiterBook>,
    ask: CallAsk,
    started_at: Duration,
    settled: bool,
}

impl std::fmt::Debug for Granted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Granted").field("ask", &self.ask).finish_non_exhaustive()
    }
}

impl Granted {
    pub(super) fn new(book: &Arc<LimiterBook>, ask: CallAsk, started_at: Duration) -> Self {
        Self { book: Arc::clone(book), ask, started_at, settled: false }
    }
}

impl Permit for Granted {
    fn settle(mut self: Box<Self>, report: CallReport) {
        self.settled = true;
        let (api, outcome) = (self.ask.api.as_str(), report.outcome.label());
        self.book.metrics.org_requests_total.with_label_values(&[api, outcome]).inc();
        self.book.metrics.org_request_seconds.with_label_values(&[api]).observe(report.elapsed.as_secs_f64());
        let seen = CallSeen {
            started_at: self.started_at,
            outcome: report.outcome,
            free_of_quota: self.ask.for_limiter().free_of_quota,
            quota: report.quota,
            retry_after: report.retry_after,
        };
        self.book.end(&self.ask, self.started_at, Some(&seen));
    }
}

impl Drop for Granted {
    fn drop(&mut self) {
        if !self.settled {
            self.book.end(&self.ask, self.started_at, None);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;
    use crate::limiter::{CallOutcome, ThrottleKind};

    const ORG: &str = "acme";

    fn book() -> (Arc<ManualClock>, Arc<LimiterBook>) {
        let clock = ManualClock::new();
        let orgs = [(ORG.parse().unwrap(), LimitProfile::auto())];
        (Arc::clone(&clock), LimiterBook::new(clock, Metrics::new(), orgs))
    }

    fn ask(api: Api, priority: Priority) -> CallAsk {
        CallAsk { org: ORG.parse().unwrap(), api, priority, expected_long: false }
    }

    fn grant(book: &Arc<LimiterBook>, ask: CallAsk) -> Box<Granted> {
        match book.ask(&ask) {
            Answer::Granted(started_at) => Box::new(Granted::new(book, ask, started_at)),
            other => panic!("{other:?}"),
        }
    }

    fn told(outcome: CallOutcome, used: Option<u64>) -> CallReport {
        let quota = used.map(|used| QuotaSeen { used, limit: 15_000 }.into());
        CallReport { outcome, quota, retry_after: None, elapsed: Duration::from_millis(80) }
    }

    fn view(book: &LimiterBook) -> OrgView {
        book.views().remove(0)
    }

    fn state(book: &LimiterBook, api: Api) -> BreakerState {
        view(book).breakers[api.index()].state
    }

    #[test]
    fn a_burst_of_throttles_cuts_once_however_late_they_come() {
        let (clock, book) = book();
        let burst: Vec<_> = (0..20).map(|_| grant(&book, ask(Api::Rest, Priority::Bulk))).collect();
        for permit in burst {
            clock.advance(Duration::from_millis(700));
            permit.settle(told(CallOutcome::Throttled { kind: ThrottleKind::Rate }, None));
        }
        assert_eq!(view(&book).limiter.rate_cuts, 1);
    }

    #[test]
    fn one_part_of_an_org_that_fails_does_not_shut_the_others() {
        let (clock, book) = book();
        for _ in 0..10 {
            grant(&book, ask(Api::Composite, Priority::Bulk)).settle(told(CallOutcome::Network, None));
        }
        assert_eq!(state(&book, Api::Composite), BreakerState::Open);
        let refused = book.ask(&ask(Api::Composite, Priority::Interactive));
        assert!(
            matches!(&refused, Answer::Refused(GateError::CircuitOpen { api: Api::Composite, retry_after, .. })
                if *retry_after == Duration::from_secs(5)),
            "{refused:?}"
        );
        grant(&book, ask(Api::Rest, Priority::Bulk)).settle(told(CallOutcome::Ok, None));
        let said = book.waits_for(&ORG.parse().unwrap(), Priority::Bulk);
        let expected = "waiting for the org: its composite API fails call after call, next try in 5 s";
        assert_eq!(said.as_deref(), Some(expected));

        clock.advance(Duration::from_secs(5));
        let probe = grant(&book, ask(Api::Composite, Priority::Bulk));
        assert_eq!(state(&book, Api::Composite), BreakerState::HalfOpen);
        let behind = book.ask(&ask(Api::Composite, Priority::Bulk));
        assert!(matches!(behind, Answer::Wait { holds_up_all: false, .. }), "{behind:?}");
        probe.settle(told(CallOutcome::Ok, None));
        assert_eq!(state(&book, Api::Composite), BreakerState::Closed);
        assert_eq!(book.metrics.org_breaker_opened_total.with_label_values(&["composite"]).get(), 1);
    }

    #[test]
    fn a_probe_that_is_dropped_gives_way_to_the_next() {
        let (clock, book) = book();
        for _ in 0..10 {
            grant(&book, ask(Api::Rest, Priority::Bulk)).settle(told(CallOutcome::ServerError, None));
        }
        clock.advance(Duration::from_secs(5));
        drop(grant(&book, ask(Api::Rest, Priority::Bulk)));
        grant(&book, ask(Api::Rest, Priority::Bulk)).settle(told(CallOutcome::Ok, None));
        assert_eq!(state(&book, Api::Rest), BreakerState::Closed);
        assert_eq!(view(&book).limiter.in_flight, 0);
    }

    #[test]
    fn a_login_passes_a_closed_allowance_and_its_success_does_not_open_it() {
        let (_, book) = book();
        let daily = CallOutcome::Throttled { kind: ThrottleKind::Daily };
        grant(&book, ask(Api::Rest, Priority::Bulk)).settle(told(daily, Some(15_000)));
        grant(&book, ask(Api::Auth, Priority::Bulk)).settle(told(CallOutcome::Ok, None));
        let refused = book.ask(&ask(Api::Rest, Priority::Interactive));
        assert!(matches!(refused, Answer::Refused(GateError::QuotaSpent { .. })), "{refused:?}");
        assert_eq!(book.closed_shares().values().next(), Some(&[true; 3]));
    }

    #[test]
    fn a_person_is_told_the_day_when_it_is_not_today() {
        let (clock, book) = book();
        clock.advance(Duration::from_secs(10 * 3_600));
        grant(&book, ask(Api::Rest, Priority::Bulk)).settle(told(CallOutcome::Ok, Some(0)));
        clock.advance(Duration::from_secs(3_600));
        grant(&book, ask(Api::Rest, Priority::Bulk)).settle(told(CallOutcome::Ok, Some(10_500)));
        // Used since eleven o'clock: it leaves the rolling day at eleven tomorrow.
        let said = book.waits_for(&ORG.parse().unwrap(), Priority::Bulk);
        let expected = "waiting for the daily allowance until about 2026-01-02 11:00 UTC";
        assert_eq!(said.as_deref(), Some(expected));
        assert_eq!(book.waits_for(&ORG.parse().unwrap(), Priority::Normal), None);
    }
}
