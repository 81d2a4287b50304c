//! `/__sim/`: what a test in another process asks of the simulator itself.

use std::time::Duration;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::json;

use crate::answer::Answer;
use crate::batches::BatchPlan;
use crate::faults::FaultRule;
use crate::limits::{Gate, LimitKind, Limits};
use crate::site::{Site, lock};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WireLimits {
    requests_per_minute: Option<u32>,
    tokens_per_minute: Option<u32>,
    kind: Option<String>,
    burst: Option<u32>,
    tells: Option<bool>,
    tells_when: Option<bool>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WirePlan {
    validating_ms: Option<u64>,
    running_ms: Option<u64>,
    end: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WireAdvance {
    seconds: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WireLatency {
    ms: u64,
}

/// Answers a request below `/__sim`.
pub fn answer(site: &Site, method: &str, path: &str, body: &Bytes) -> Answer {
    let done = || Answer::json(200, &json!({ "ok": true }));
    let what = path.strip_prefix("/__sim/").unwrap_or_default();
    let result = match (method, what) {
        ("GET", "log") => Ok(Answer::json(200, &json!(site.log.snapshot()))),
        ("DELETE", "log") => {
            site.log.clear();
            Ok(done())
        }
        ("GET", "stats") => Ok(Answer::json(200, &json!(site.log.stats()))),
        ("POST", "faults") => FaultRule::read_all(&String::from_utf8_lossy(body))
            .map(|rules| {
                lock(&site.faults).add(rules);
                done()
            })
            .map_err(|bad| bad.to_string()),
        ("DELETE", "faults") => {
            lock(&site.faults).clear();
            Ok(done())
        }
        ("POST", "limits") => limits(site, body).map(|()| done()),
        ("POST", "batches") => plan(site, body).map(|()| done()),
        ("POST", "latency") => read::<WireLatency>(body).map(|latency| {
            *lock(&site.latency) = Duration::from_millis(latency.ms);
            done()
        }),
        ("POST", "advance") => read::<WireAdvance>(body).map(|advance| {
            site.clock.advance(Duration::from_secs(advance.seconds));
            done()
        }),
        _ => {
            return Answer::error(
                404,
                "log, stats, faults, limits, latency, batches and advance are there",
                None,
            );
        }
    };
    result.unwrap_or_else(|message| Answer::error(400, &message, None))
}

fn read<T: for<'de> Deserialize<'de>>(body: &Bytes) -> Result<T, String> {
    serde_json::from_slice(body).map_err(|error| error.to_string())
}

fn limits(site: &Site, body: &Bytes) -> Result<(), String> {
    let wire: WireLimits = read(body)?;
    let usual = Limits::default();
    let limits = Limits {
        requests_per_minute: wire.requests_per_minute,
        tokens_per_minute: wire.tokens_per_minute,
        kind: wire.kind.map_or(Ok(LimitKind::default()), |kind| kind.parse())?,
        burst: wire.burst,
        tells: wire.tells.unwrap_or(usual.tells),
        tells_when: wire.tells_when.unwrap_or(usual.tells_when),
        ..usual
    };
    *lock(&site.gate) = Gate::new(limits, site.clock.real());
    Ok(())
}

fn plan(site: &Site, body: &Bytes) -> Result<(), String> {
    let wire: WirePlan = read(body)?;
    let usual = BatchPlan::default();
    let plan = BatchPlan {
        validating: wire.validating_ms.map_or(usual.validating, Duration::from_millis),
        running: wire.running_ms.map_or(usual.running, Duration::from_millis),
        end: wire.end.map_or(Ok(usual.end), |end| end.parse())?,
    };
    lock(&site.batches).set_plan(plan);
    Ok(())
}
