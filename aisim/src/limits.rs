//! Requests and tokens in a minute, counted by a bucket or by the minute of the clock, and the headers that tell of it.

use std::str::FromStr;
use std::time::Duration;

/// Length of the window that limits are given for.
const MINUTE: f64 = 60.0;

/// How a limit is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LimitKind {
    /// A bucket that fills evenly.
    #[default]
    Bucket,
    /// So much in each minute, all at once again at its beginning.
    Window,
}

impl FromStr for LimitKind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "bucket" => Ok(Self::Bucket),
            "window" => Ok(Self::Window),
            other => Err(format!("`{other}` is neither `bucket` nor `window`")),
        }
    }
}

/// Which tokens count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Counting {
    /// Those used by question and answer.
    #[default]
    Used,
    /// Those of the question and the longest answer that it allows.
    Reserved,
}

impl FromStr for Counting {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "used" => Ok(Self::Used),
            "reserved" => Ok(Self::Reserved),
            other => Err(format!("`{other}` is neither `used` nor `reserved`")),
        }
    }
}

/// Limits of an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Requests in a minute.
    pub requests_per_minute: Option<u32>,
    /// Tokens in a minute.
    pub tokens_per_minute: Option<u32>,
    /// How they are counted.
    pub kind: LimitKind,
    /// Which tokens count.
    pub counting: Counting,
    /// Requests that a full bucket holds; `None`: a minute's.
    pub burst: Option<u32>,
    /// Whether answers carry `x-ratelimit-*`.
    pub tells: bool,
    /// Whether refusals carry `retry-after`.
    pub tells_when: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            requests_per_minute: None,
            tokens_per_minute: None,
            kind: LimitKind::default(),
            counting: Counting::default(),
            burst: None,
            tells: true,
            tells_when: true,
        }
    }
}

/// Which limit a request ran into.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Refusal {
    /// `requests` or `tokens`.
    pub kind: &'static str,
    /// The limit.
    pub limit: f64,
    /// Until it would be let in.
    pub wait: Duration,
}

#[derive(Debug, Clone)]
struct Meter {
    per_minute: f64,
    capacity: f64,
    kind: LimitKind,
    left: f64,
    seen_at: Duration,
}

impl Meter {
    fn new(per_minute: u32, burst: Option<u32>, kind: LimitKind, now: Duration) -> Self {
        let per_minute = f64::from(per_minute);
        let capacity = match kind {
            LimitKind::Bucket => burst.map_or(per_minute, f64::from),
            LimitKind::Window => per_minute,
        };
        Self { per_minute, capacity, kind, left: capacity, seen_at: now }
    }

    fn advance(&mut self, now: Duration) {
        match self.kind {
            LimitKind::Bucket => {
                let passed = now.saturating_sub(self.seen_at).as_secs_f64();
                self.left = (self.left + passed * self.per_minute / MINUTE).min(self.capacity);
            }
            LimitKind::Window => {
                if now.as_secs() / 60 != self.seen_at.as_secs() / 60 {
                    self.left = self.capacity;
                }
            }
        }
        self.seen_at = self.seen_at.max(now);
    }

    /// Until there is room for `amount`.
    fn wait(&self, amount: f64) -> Option<Duration> {
        let needed = amount.min(self.capacity);
        if self.left >= needed {
            return None;
        }
        Some(match self.kind {
            LimitKind::Bucket => Duration::from_secs_f64((needed - self.left) / self.per_minute * MINUTE),
            LimitKind::Window => self.to_next_window(),
        })
    }

    fn reset(&self) -> Duration {
        match self.kind {
            LimitKind::Bucket => {
                Duration::from_secs_f64((self.capacity - self.left).max(0.0) / self.per_minute * MINUTE)
            }
            LimitKind::Window => self.to_next_window(),
        }
    }

    fn to_next_window(&self) -> Duration {
        let next = Duration::from_secs((self.seen_at.as_secs() / 60 + 1) * 60);
        next.saturating_sub(self.seen_at)
    }
}

/// Limits in force.
#[derive(Debug, Clone)]
pub struct Gate {
    limits: Limits,
    requests: Option<Meter>,
    tokens: Option<Meter>,
}

impl Gate {
    /// With nothing used yet.
    pub fn new(limits: Limits, now: Duration) -> Self {
        let meter = |per_minute: Option<u32>, burst| {
            per_minute.filter(|limit| *limit > 0).map(|limit| Meter::new(limit, burst, limits.kind, now))
        };
        Self {
            limits,
            requests: meter(limits.requests_per_minute, limits.burst),
            tokens: meter(limits.tokens_per_minute, None),
        }
    }

    /// Lets a request in, or not.
    ///
    /// # Errors
    /// The limit that it ran into; it has used nothing then.
    pub fn enter(&mut self, now: Duration, used: u64, reserved: u64) -> Result<(), Refusal> {
        let tokens = match self.limits.counting {
            Counting::Used => used,
            Counting::Reserved => reserved,
        } as f64;
        let mut taken = [("requests", &mut self.requests, 1.0), ("tokens", &mut self.tokens, tokens)];
        for (kind, meter, amount) in &mut taken {
            let Some(meter) = meter else { continue };
            meter.advance(now);
            if let Some(wait) = meter.wait(*amount) {
                return Err(Refusal { kind, limit: meter.per_minute, wait });
            }
        }
        for (_, meter, amount) in taken {
            if let Some(meter) = meter {
                meter.left -= amount;
            }
        }
        Ok(())
    }

    /// What an answer says of the limits.
    pub fn headers(&self) -> Vec<(String, String)> {
        let mut headers = Vec::new();
        if !self.limits.tells {
            return headers;
        }
        for (kind, meter) in [("requests", &self.requests), ("tokens", &self.tokens)] {
            let Some(meter) = meter else { continue };
            headers.push((format!("x-ratelimit-limit-{kind}"), format!("{:.0}", meter.per_minute)));
            headers.push((
                format!("x-ratelimit-remaining-{kind}"),
                format!("{:.0}", meter.left.max(0.0).floor()),
            ));
            headers.push((format!("x-ratelimit-reset-{kind}"), written(meter.reset())));
        }
        headers
    }

    /// What a refusal says of when to come back.
    pub fn retry_after(&self, wait: Duration) -> Option<(String, String)> {
        let secs = wait.as_secs_f64().ceil().max(1.0);
        self.limits.tells_when.then(|| ("retry-after".to_owned(), format!("{secs:.0}")))
    }
}

/// A duration as such endpoints write it: `20ms`, `1.5s`, `6m0s`.
pub fn written(duration: Duration) -> String {
    let ms = duration.as_millis();
    match ms {
        0..1_000 => format!("{ms}ms"),
        1_000..60_000 => format!("{}s", (ms as f64) / 1000.0),
        _ => format!("{}m{}s", ms / 60_000, ms % 60_000 / 1000),
    }
}
