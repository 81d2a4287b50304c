//! One bound of an endpoint, requests or tokens in a minute: a bucket that fills at what is known of the bound, and at what
//! was found out by being turned away.
//!
//! A known bound is used to 98 %, evenly: that fits a server that counts by a bucket as well as one that counts by the minute
//! of the clock. Where none is known, or the known one is too high because others share it, the pace starts from what was
//! really served, just below it, and rises: slowly near the place where it was cut last, faster the longer nothing happens.

use std::collections::VecDeque;
use std::time::Duration;

/// Part of a known bound that is used.
const USED_OF_BOUND: f64 = 0.98;
/// What a cut leaves of what was served.
const CUT: f64 = 0.98;
/// What was let in, beside what was served: some of it is still under way.
const UNDER_WAY: f64 = 1.03;
/// What a cut leaves that follows another at once: the last was not enough.
const CUT_AGAIN: f64 = 0.85;
/// A cut within this time of the last one follows it at once.
const AT_ONCE: Duration = Duration::from_secs(15);
/// The pace never falls below this part of a second.
const SLOWEST_PER_SEC: f64 = 1.0 / 60.0;
/// Where the search begins when a call was turned away before anything was served.
const SEARCH_FROM_PER_SEC: f64 = 1.0;
/// While searching, the pace doubles in so many seconds.
const DOUBLES_IN_SECS: f64 = 8.0;
/// Length of what is looked back on, in seconds.
const LOOK_BACK_SECS: u64 = 60;
/// A found-out pace so far above what is served limits nothing, and is forgotten.
const RELEASED_AT: f64 = 4.0;

#[derive(Debug, Clone)]
pub(super) struct Pace {
    /// Bound in a second that a person has set.
    set: Option<f64>,
    /// Bound in a second that the endpoint's headers named last.
    told: Option<f64>,
    /// Found out by being turned away.
    found: Option<f64>,
    level: f64,
    filled_at: Duration,
    cut_at: Option<Duration>,
    /// Too little was served when the pace was cut to know where the bound lies.
    is_searching: bool,
    /// The pace held a call back since it was raised last: only then does a raise say anything.
    was_felt: bool,
    served: Served,
    cuts: u64,
}

impl Pace {
    pub(super) fn starting_at(now: Duration, per_minute: Option<u32>) -> Self {
        let mut pace = Self {
            set: per_minute.map(per_second),
            told: None,
            found: None,
            level: 1.0,
            filled_at: now,
            cut_at: None,
            is_searching: false,
            was_felt: false,
            served: Served::starting_at(now),
            cuts: 0,
        };
        pace.level = pace.capacity();
        pace
    }

    /// In a second; `None` where nothing bounds it.
    pub(super) fn per_sec(&self) -> Option<f64> {
        let known = match (self.set, self.told) {
            (Some(set), Some(told)) => Some(set.min(told)),
            (one, other) => one.or(other),
        };
        match (known.map(|bound| bound * USED_OF_BOUND), self.found) {
            (Some(known), Some(found)) => Some(known.min(found)),
            (one, other) => one.or(other),
        }
    }

    pub(super) fn cuts(&self) -> u64 {
        self.cuts
    }

    /// `None` when `amount` may go now, else when it may.
    pub(super) fn wait(&mut self, now: Duration, amount: f64) -> Option<Duration> {
        self.advance(now);
        let per_sec = self.per_sec()?;
        // What is larger than the bucket goes when the bucket is full, and leaves it in debt.
        let needed = amount.min(self.capacity());
        if self.level >= needed {
            return None;
        }
        self.was_felt = true;
        // A little more than computed, so that rounding never makes the asker come back too early.
        let missing = (needed - self.level) / per_sec;
        Some(now + Duration::from_secs_f64(missing.min(86_400.0)) + Duration::from_micros(1))
    }

    pub(super) fn spend(&mut self, amount: f64) {
        if self.per_sec().is_some() {
            self.level -= amount;
        }
    }

    /// More was reserved than used, or less when `amount` is negative.
    pub(super) fn give_back(&mut self, now: Duration, amount: f64) {
        // First what has come in since: above the brim nothing comes in.
        self.advance(now);
        self.level += amount;
    }

    pub(super) fn count_served(&mut self, now: Duration, amount: f64) {
        self.served.count(now, amount);
    }

    /// The endpoint named its bound.
    pub(super) fn tell(&mut self, now: Duration, per_minute: u64) {
        self.advance(now);
        let had_none = self.per_sec().is_none();
        self.told = Some(per_minute as f64 / 60.0);
        if had_none {
            self.level = self.level.min(self.capacity());
        }
    }

    /// The endpoint says that so much is left: others share it, or it counts otherwise.
    pub(super) fn see_left(&mut self, now: Duration, left: f64) {
        self.advance(now);
        self.level = self.level.min(left);
    }

    /// A call was turned away: goes on below what was served.
    pub(super) fn cut(&mut self, now: Duration) {
        self.advance(now);
        let served = self.served.per_sec(now);
        let again = self.cut_at.is_some_and(|cut| now < cut + AT_ONCE);
        let factor = if again { CUT_AGAIN } else { CUT };
        let cut_to = match self.per_sec() {
            Some(pace) => pace.min((served * UNDER_WAY).max(pace / 2.0)) * factor,
            // Whatever was served until now is a burst at best, and says little.
            None => served.max(SEARCH_FROM_PER_SEC) * factor,
        };
        self.is_searching = self.per_sec().is_none() && self.served.is_young(now);
        self.found = Some(cut_to.max(SLOWEST_PER_SEC));
        self.level = self.level.min(1.0);
        self.cut_at = Some(now);
        self.was_felt = false;
        self.cuts += 1;
    }

    fn capacity(&self) -> f64 {
        // A hundredth of a minute: with the 2 % that are left unused it fits into any minute of a server that counts by those.
        self.per_sec().map_or(1.5, |per_sec| (per_sec * 0.6).max(1.5))
    }

    fn advance(&mut self, now: Duration) {
        let passed = now.saturating_sub(self.filled_at).as_secs_f64();
        if let Some(per_sec) = self.per_sec() {
            // What was given back stays, above the brim as well: it had been taken out.
            let brim = self.capacity().max(self.level);
            self.level = (self.level + passed * per_sec).min(brim);
        }
        self.raise(now, passed);
        self.filled_at = self.filled_at.max(now);
    }

    fn raise(&mut self, now: Duration, passed: f64) {
        let (Some(found), Some(cut_at)) = (self.found, self.cut_at) else { return };
        if !self.was_felt || passed <= 0.0 {
            return;
        }
        let since_cut = now.saturating_sub(cut_at).as_secs_f64();
        // In the time of 200 calls, within one minute and four, the pace rises by the tenth that lies around the bound: one or
        // two refusals in so many calls are what finding out costs.
        let near = (200.0 / found).clamp(60.0, 240.0);
        let growth = if self.is_searching {
            (passed / DOUBLES_IN_SECS).exp2()
        } else {
            1.0 + 0.1 / near * (1.0 + (since_cut / near / 2.0).powi(3)) * passed
        };
        let raised = found * growth.min(2.0);
        let served = self.served.per_sec(now);
        let is_released = raised > RELEASED_AT * served.max(1.0) && since_cut > near;
        self.found = (!is_released).then_some(raised);
    }
}

/// What was served in the last minute, by the second.
#[derive(Debug, Clone)]
struct Served {
    began: Duration,
    seconds: VecDeque<(u64, f64)>,
    sum: f64,
}

impl Served {
    fn starting_at(now: Duration) -> Self {
        Self { began: now, seconds: VecDeque::new(), sum: 0.0 }
    }

    fn count(&mut self, now: Duration, amount: f64) {
        self.forget(now);
        self.sum += amount;
        match self.seconds.back_mut() {
            Some((second, counted)) if *second == now.as_secs() => *counted += amount,
            _ => self.seconds.push_back((now.as_secs(), amount)),
        }
    }

    fn per_sec(&mut self, now: Duration) -> f64 {
        self.forget(now);
        let known = now.saturating_sub(self.began).as_secs_f64().clamp(1.0, LOOK_BACK_SECS as f64);
        self.sum / known
    }

    /// Whether less is known than is looked back on.
    fn is_young(&self, now: Duration) -> bool {
        now.saturating_sub(self.began).as_secs() < LOOK_BACK_SECS
    }

    fn forget(&mut self, now: Duration) {
        let from = now.as_secs().saturating_sub(LOOK_BACK_SECS - 1);
        while let Some((_, counted)) = self.seconds.front().filter(|(second, _)| *second < from) {
            self.sum -= counted;
            self.seconds.pop_front();
        }
        if self.seconds.is_empty() {
            self.sum = 0.0;
        }
    }
}

fn per_second(per_minute: u32) -> f64 {
    f64::from(per_minute) / 60.0
}
