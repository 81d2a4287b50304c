//! `/__sim/`: the journal, faults, limits and clock of the simulator. Not part of any real org.

use crate::{
    answer::Answer,
    dml::{rows, script},
    faults::FaultRule,
    schema,
    site::Site,
};
use serde::Deserialize;
use serde_json::json;

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

/// Answers `method path`; the path starts with `/__sim`, the query is what is behind its `?`.
pub fn answer(site: &Site, method: &str, path: &str, query: &str, content_type: &str, body: &[u8]) -> Answer {
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
            site.allowance.set_used(0, site.clock.epoch_ms());
            site.allowance.set_limit(site.options.daily_limit);
            done()
        }
        ("GET", "/__sim/faults") => {
            Answer::json(KIND, &json!({ "fired": site.faults.fired(), "rules": site.faults.rules() }))
        }
        ("POST", "/__sim/faults") => {
            let rules = if content_type.to_ascii_lowercase().contains("toml") {
                FaultRule::from_toml(&String::from_utf8_lossy(body))
            } else {
                FaultRule::from_json(body)
            };
            match rules.and_then(|rules| FaultRule::check(&rules, &site.org).map(|()| rules)) {
                Ok(rules) => {
                    site.faults.set(rules);
                    done()
                }
                Err(error) => Answer::error(KIND, 400, "BAD_CONTROL_REQUEST", &error.to_string()),
            }
        }
        ("GET", "/__sim/limits") => {
            let (used, limit) = site.api_usage();
            Answer::json(KIND, &json!({ "used": used, "limit": limit }))
        }
        ("POST", "/__sim/limits") => match serde_json::from_slice::<Limits>(body) {
            Ok(limits) => {
                limits.used.inspect(|used| site.allowance.set_used(*used, site.clock.epoch_ms()));
                limits.limit.inspect(|limit| site.allowance.set_limit(*limit));
                done()
            }
            Err(error) => bad(error),
        },
        ("GET", "/__sim/clock") => Answer::json(KIND, &json!({ "epoch_ms": site.clock.epoch_ms() })),
        ("POST", "/__sim/clock") => match serde_json::from_slice::<Advance>(body) {
            Ok(Advance { advance_ms }) => {
                site.clock.advance_ms(advance_ms);
                done()
            }
            Err(error) => bad(error),
        },
        ("POST", "/__sim/tokens/expire") => {
            site.tokens.expire_all();
            done()
        }
        ("GET", "/__sim/ca.pem") => match &site.ca_pem {
            Some(pem) => Answer {
                content_type: "application/x-pem-file",
                ..Answer::ok(KIND, pem.clone().into_bytes())
            },
            None => Answer::error(KIND, 404, "NO_TLS", "This simulator has no TLS listener"),
        },
        ("POST", "/__sim/schema") => schema::control(site, body),
        ("GET", "/__sim/rows") => match rows::lines(site, query) {
            Ok(lines) => Answer { content_type: "application/x-ndjson", ..Answer::ok(KIND, lines) },
            Err(message) => Answer::error(KIND, 400, "BAD_CONTROL_REQUEST", &message),
        },
        (method, path) => {
            script::control(site, method, path, body).unwrap_or_else(|| Answer::not_found(KIND))
        }
    }
}
