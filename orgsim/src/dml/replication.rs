//! `/sobjects/X/updated` and `/deleted`: what changed in a window of time.
#![expect(
    clippy::result_large_err,
    reason = "an answer is made once per request and not passed through loops"
)]

use crate::{
    answer::Answer,
    dml::overlay::{BIN_DAYS, Fate, Scope},
    json,
    rest::Request,
    rows_api::Value,
    site::Site,
    soql::dates::{self, rest_datetime},
};

const DAY_MS: i64 = 86_400_000;
const MINUTE_MS: i64 = 60_000;
/// Oldest start of a window.
const UPDATED_DAYS: i64 = 30;
/// Most ids one answer may hold.
const MOST_IDS: usize = 600_000;

/// A window of whole minutes, in epoch milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Window {
    start_ms: i64,
    end_ms: i64,
}

/// Reads a window. `days` is how far back it may reach.
fn window(
    start: Option<&str>,
    end: Option<&str>,
    now_ms: i64,
    days: i64,
) -> Result<Window, (&'static str, String)> {
    let moment = |name: &str, text: Option<&str>| {
        let text = text
            .filter(|text| !text.is_empty())
            .ok_or_else(|| ("MISSING_ARGUMENT", format!("{name} date is required")))?;
        // `+00:00` not escaped arrives as a blank.
        let plain = text.replace(' ', "+");
        let millis = dates::parse_datetime(&plain)
            .ok_or_else(|| ("INVALID_REPLICATION_DATE", format!("invalid {name} date: {text}")))?;
        // Seconds do not count.
        Ok(millis - millis.rem_euclid(MINUTE_MS))
    };
    let window = Window { start_ms: moment("start", start)?, end_ms: moment("end", end)? };
    let refuse = |message: &str| Err(("INVALID_REPLICATION_DATE", message.to_owned()));
    if window.end_ms < window.start_ms + MINUTE_MS {
        return refuse("endDate must be at least one minute greater than startDate");
    }
    if window.start_ms < now_ms - days * DAY_MS {
        return refuse("startDate before org replication enabled date");
    }
    if window.start_ms > now_ms {
        return refuse("startDate cannot be in the future");
    }
    Ok(window)
}

/// The object, its position and window, or the refusal.
fn asked(site: &Site, request: &Request, name: &str, days: i64) -> Result<(usize, Window), Answer> {
    const KIND: &str = "replication";
    let at = site.org.position(name).ok_or_else(|| Answer::not_found(KIND).about(name))?;
    if !site.org.model.objects[at].queryable {
        let message = format!("sObject type {name} is not replicable");
        return Err(Answer::error(KIND, 400, "INVALID_TYPE_FOR_OPERATION", &message).about(name));
    }
    let (start, end) = (request.parameter("start"), request.parameter("end"));
    let window = window(start.as_deref(), end.as_deref(), site.clock.epoch_ms(), days)
        .map_err(|(code, message)| Answer::error(KIND, 400, code, &message).about(name))?;
    Ok((at, window))
}

/// Up to when everything that happened is in the answer: not beyond the oldest transaction still in progress.
fn covered(site: &Site, window: Window) -> String {
    let now_ms = site.clock.epoch_ms();
    let in_progress = site.data.oldest_in_progress_ms(now_ms).unwrap_or(i64::MAX);
    let until = window.end_ms.min(now_ms).min(in_progress);
    rest_datetime(until - until.rem_euclid(MINUTE_MS))
}

fn too_many(name: &str) -> Answer {
    let message = format!("too many records: more than {MOST_IDS} ids");
    Answer::error("replication", 400, "EXCEEDED_ID_LIMIT", &message).about(name)
}

/// `GET /sobjects/X/updated?start=..&end=..`: ids of live rows changed in the window.
pub fn updated(site: &Site, request: &Request, name: &str) -> Answer {
    let (at, window) = match asked(site, request, name, UPDATED_DAYS) {
        Ok(asked) => asked,
        Err(answer) => return answer,
    };
    let object = &site.org.model.objects[at];
    let stamps = ["SystemModstamp", "LastModifiedDate", "CreatedDate"];
    let stamp = stamps.iter().find_map(|name| object.fields.iter().position(|field| field.name == *name));
    let mut ids = Vec::new();
    if let Some(stamp) = stamp {
        for row in site.org.rows.spans(at, Scope::Live).iter() {
            let Value::DateTime(changed) = site.org.rows.value(at, object, row, stamp) else { continue };
            if changed < window.start_ms || changed >= window.end_ms {
                continue;
            }
            if ids.len() == MOST_IDS {
                return too_many(&object.name);
            }
            ids.extend(site.org.rows.id_of(at, object, row));
        }
    }
    let mut out = b"{".to_vec();
    json::field(&mut out, "ids", &ids);
    json::field(&mut out, "latestDateCovered", &covered(site, window));
    out.push(b'}');
    Answer::ok("replication", out).about(&object.name)
}

/// `GET /sobjects/X/deleted?start=..&end=..`: ids of rows deleted in the window, for good or not.
pub fn deleted(site: &Site, request: &Request, name: &str) -> Answer {
    let (at, window) = match asked(site, request, name, BIN_DAYS) {
        Ok(asked) => asked,
        Err(answer) => return answer,
    };
    let object = &site.org.model.objects[at];
    let kept_ms = site.data.knobs().deletes_kept_ms;
    let earliest = site.clock.epoch_ms() - kept_ms;
    let mut found: Vec<(i64, String)> = Vec::new();
    for row in site.org.rows.binned(at) {
        let (Some(Fate::Deleted { at_ms }) | Some(Fate::Erased { at_ms })) = site.org.rows.fate(at, row)
        else {
            continue;
        };
        if at_ms >= earliest
            && (window.start_ms..window.end_ms).contains(&at_ms)
            && let Some(id) = site.org.rows.id_of(at, object, row)
        {
            found.push((at_ms, id));
        }
        if found.len() > MOST_IDS {
            return too_many(&object.name);
        }
    }
    found.sort();
    let entries: Vec<serde_json::Value> = found
        .into_iter()
        .map(|(at_ms, id)| serde_json::json!({ "deletedDate": rest_datetime(at_ms), "id": id }))
        .collect();
    let mut out = b"{".to_vec();
    json::field(&mut out, "deletedRecords", &entries);
    json::field(&mut out, "earliestDateAvailable", &rest_datetime(earliest - earliest.rem_euclid(MINUTE_MS)));
    json::field(&mut out, "latestDateCovered", &covered(site, window));
    out.push(b'}');
    Answer::ok("replication", out).about(&object.name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    /// 2026-11-22T12:00:00Z.
    const NOON: i64 = 1_795_348_800_000;

    #[rstest]
    #[case(Some("2026-11-20T00:00:30+00:00"), Some("2026-11-22T00:00:00Z"), Ok(()))]
    #[case::blank_for_plus(Some("2026-11-20T00:00:00 00:00"), Some("2026-11-22T00:00:00.000Z"), Ok(()))]
    #[case(None, Some("2026-11-22T00:00:00Z"), Err("MISSING_ARGUMENT"))]
    #[case(Some("yesterday"), Some("2026-11-22T00:00:00Z"), Err("INVALID_REPLICATION_DATE"))]
    #[case::same_minute(
        Some("2026-11-20T00:00:05Z"),
        Some("2026-11-20T00:00:50Z"),
        Err("INVALID_REPLICATION_DATE")
    )]
    #[case::too_far_back(
        Some("2026-10-01T00:00:00Z"),
        Some("2026-11-20T00:00:00Z"),
        Err("INVALID_REPLICATION_DATE")
    )]
    #[case::in_the_future(
        Some("2026-12-01T00:00:00Z"),
        Some("2026-12-02T00:00:00Z"),
        Err("INVALID_REPLICATION_DATE")
    )]
    fn a_window_is_whole_minutes_within_its_bounds(
        #[case] start: Option<&str>,
        #[case] end: Option<&str>,
        #[case] expected: Result<(), &str>,
    ) {
        let read = window(start, end, NOON, UPDATED_DAYS);
        assert_eq!(read.as_ref().map(|_| ()).map_err(|(code, _)| *code), expected, "{read:?}");
        assert!(read.is_err() || read.is_ok_and(|window| window.start_ms % MINUTE_MS == 0));
    }
}
