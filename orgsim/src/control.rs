//! `/__sim/`: the journal, faults, limits and clock of the simulator. Not part of any real org.

use crate::{answer::Answer, dml::script, faults::FaultRule, site::Site};
use serde::Deserialize;
use serde_json::json;
use std::sync::atomic::Ordering;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Limits {
    used: Option<u64>,
    limit: Option<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Advance {
    advance_ms: i64,
}

/// Answers `method path`; the path starts with `/__sim`.
pub fn answer(site: &Site, method: &str, path: &str, body: &[u8]) -> Answer {
    const KIND: &str = "sim";
    let bad = |error: serde_json::Error| Answer::error(KIND, 400, "BAD_CONTROL_REQUEST", &error.to_string());
    let done = || Answer::json(KIND, &json!({ "ok": true }));
    match (method, path.trim_end_matches('/')) {
        ("GET", "/__sim/journal") => match serde_json::to_vec(&site.journal.snapshot()) {
            Ok(journal) => Answer::ok(KIND, journal),
            Err(error) => bad(error),
        },
        ("POST", "/__sim/reset") => {
            site.journal.reset();
            site.faults.clear();
            site.used.store(0, Ordering::Relaxed);
            site.daily_limit.store(site.options.daily_limit, Ordering::Relaxed);
            done()
        }
        ("GET", "/__sim/faults") => Answer::json(KIND, &json!({ "fired": site.faults.fired() })),
        ("POST", "/__sim/faults") => match serde_json::from_slice::<Vec<FaultRule>>(body) {
            Ok(rules) => {
                site.faults.set(rules);
                done()
            }
            Err(error) => bad(error),
        },
        ("GET", "/__sim/limits") => {
            let (used, limit) = (site.used.load(Ordering::Relaxed), site.daily_limit.load(Ordering::Relaxed));
            Answer::json(KIND, &json!({ "used": used, "limit": limit }))
        }
        ("POST", "/__sim/limits") => match serde_json::from_slice::<Limits>(body) {
            Ok(limits) => {
                limits.used.inspect(|used| site.used.store(*used, Ordering::Relaxed));
                limits.limit.inspect(|limit| site.daily_limit.store(*limit, Ordering::Relaxed));
                done()
            }
            Err(error) => bad(error),
        },
        ("POST", "/__sim/clock") => match serde_json::from_slice::<Advance>(body) {
            Ok(Advance { advance_ms }) => {
                site.clock.advance_ms(advance_ms);
                done()
            }
            Err(error) => bad(error),
        },
        (method, path) => {
            script::control(site, method, path, body).unwrap_or_else(|| Answer::not_found(KIND))
        }
    }
}
