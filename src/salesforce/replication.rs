//! Which records changed and which are gone: getUpdated and getDeleted, and answers that are given only when
//! they changed.
//!
//! Promises: a window that has too many ids for one answer is halved until each part has not; a window that
//! reaches further back than the org remembers is told ([`Deleted::has_gap`]), because ids are then missing
//! and only a full comparison finds them.

use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::client::{Call, OrgClient};
use super::error::OrgError;
use super::gate::Api;
use super::soql::percent_encode;
use crate::model::{GlobalObject, ObjectDescribe, ObjectName};

/// The org takes no window shorter than this.
const SHORTEST: SignedDuration = SignedDuration::from_secs(60);
/// How far back the org tells updates.
pub const UPDATED_FOR: SignedDuration = SignedDuration::from_hours(30 * 24);
/// How far back the org tells deletes.
pub const DELETED_FOR: SignedDuration = SignedDuration::from_hours(15 * 24);

/// Records that changed in a window.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Updated {
    /// Their ids, each once, sorted.
    pub ids: Vec<String>,
    /// The next window starts here, not at the end asked for: changes of long transactions come late.
    pub covered_until: Timestamp,
}

/// One deleted record.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct DeletedRecord {
    /// Its id.
    pub id: String,
    /// When it was deleted.
    pub deleted_at: Timestamp,
}

/// Records that were deleted in a window.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deleted {
    /// In the order of their ids.
    pub records: Vec<DeletedRecord>,
    /// The org remembers deletes from here on.
    pub remembered_since: Timestamp,
    /// The next window starts here.
    pub covered_until: Timestamp,
    /// The window began before that: deletes may be missing.
    pub has_gap: bool,
}

/// An answer to "give it only if it changed".
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fresh<T> {
    /// What was read before still holds.
    NotModified,
    /// It changed, or the org does not say.
    Modified {
        /// The answer.
        value: T,
        /// The org's own stamp, to be sent with the next ask; absent where the org gives none.
        last_modified: Option<String>,
    },
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct UpdatedOnTheWire {
    ids: Vec<String>,
    latest_date_covered: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct DeletedOnTheWire {
    deleted_records: Vec<DeletedRecordOnTheWire>,
    earliest_date_available: String,
    latest_date_covered: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct DeletedRecordOnTheWire {
    id: String,
    deleted_date: String,
}

#[derive(Deserialize)]
struct ListOfObjects {
    sobjects: Vec<GlobalObject>,
}

impl OrgClient {
    /// Ids of records that were created or changed from `start` to `end`. 1 call, more when the org says that
    /// there are too many for one.
    ///
    /// # Errors
    /// Those of the calls; a window shorter than a minute is refused by the org.
    pub async fn updated(
        &self,
        object: &ObjectName,
        start: Timestamp,
        end: Timestamp,
    ) -> Result<Updated, OrgError> {
        let mut ids = Vec::new();
        let mut covered_until: Option<Timestamp> = None;
        let mut windows = vec![(start, end)];
        while let Some((start, end)) = windows.pop() {
            let what = format!("the updates of `{object}`");
            match self.window::<UpdatedOnTheWire>(object, "updated", start, end, &what).await {
                Ok(answer) => {
                    ids.extend(answer.ids);
                    let covered = read_moment(&answer.latest_date_covered, &what)?;
                    // Parts come in the order of time; a part that is not covered to its end bounds all.
                    covered_until = Some(covered_until.map_or(covered, |before| before.max(covered)));
                    if covered < end && !windows.is_empty() {
                        break;
                    }
                }
                Err(error) => windows.extend(halves(start, end, error)?.into_iter().rev()),
            }
        }
        ids.sort_unstable();
        ids.dedup();
        Ok(Updated { ids, covered_until: covered_until.unwrap_or(start) })
    }

    /// Records that were deleted from `start` to `end`. 1 call, more when there are too many for one.
    ///
    /// # Errors
    /// Those of the calls.
    pub async fn deleted(
        &self,
        object: &ObjectName,
        start: Timestamp,
        end: Timestamp,
    ) -> Result<Deleted, OrgError> {
        let mut records = Vec::new();
        let mut covered_until: Option<Timestamp> = None;
        let mut remembered_since = Timestamp::MIN;
        let mut windows = vec![(start, end)];
        while let Some((from, to)) = windows.pop() {
            let what = format!("the deletes of `{object}`");
            match self.window::<DeletedOnTheWire>(object, "deleted", from, to, &what).await {
                Ok(answer) => {
                    for record in answer.deleted_records {
                        let deleted_at = read_moment(&record.deleted_date, &what)?;
                        records.push(DeletedRecord { id: record.id, deleted_at });
                    }
                    remembered_since =
                        remembered_since.max(read_moment(&answer.earliest_date_available, &what)?);
                    let covered = read_moment(&answer.latest_date_covered, &what)?;
                    covered_until = Some(covered_until.map_or(covered, |before| before.max(covered)));
                    if covered < to && !windows.is_empty() {
                        break;
                    }
                }
                Err(error) => windows.extend(halves(from, to, error)?.into_iter().rev()),
            }
        }
        records.sort_unstable();
        records.dedup();
        let has_gap = remembered_since > start;
        let covered_until = covered_until.unwrap_or(start);
        Ok(Deleted { records, remembered_since, covered_until, has_gap })
    }

    async fn window<T: DeserializeOwned>(
        &self,
        object: &ObjectName,
        kind: &str,
        start: Timestamp,
        end: Timestamp,
        what: &str,
    ) -> Result<T, OrgError> {
        let (start, end) = (percent_encode(&written(start)), percent_encode(&written(end)));
        let path = self.data_path(&format!("/sobjects/{object}/{kind}/?start={start}&end={end}"));
        self.read(Call::get(Api::Rest, path, what)).await
    }

    /// Describes one object, if it changed since the stamp that came with an earlier answer. 1 call.
    ///
    /// # Errors
    /// Those of the call.
    pub async fn describe_if_modified(
        &self,
        object: &ObjectName,
        since: Option<&str>,
    ) -> Result<Fresh<ObjectDescribe>, OrgError> {
        let path = self.data_path(&format!("/sobjects/{object}/describe"));
        self.read_if_modified(path, since, format!("the describe of `{object}`")).await
    }

    /// Lists the objects, if the list changed since the stamp that came with an earlier answer. 1 call.
    ///
    /// # Errors
    /// Those of the call.
    pub async fn global_describe_if_modified(
        &self,
        since: Option<&str>,
    ) -> Result<Fresh<Vec<GlobalObject>>, OrgError> {
        let fresh: Fresh<ListOfObjects> = self
            .read_if_modified(self.data_path("/sobjects"), since, "the list of objects".to_owned())
            .await?;
        Ok(match fresh {
            Fresh::NotModified => Fresh::NotModified,
            Fresh::Modified { value, last_modified } => {
                Fresh::Modified { value: value.sobjects, last_modified }
            }
        })
    }

    async fn read_if_modified<T: DeserializeOwned>(
        &self,
        path: String,
        since: Option<&str>,
        what: String,
    ) -> Result<Fresh<T>, OrgError> {
        let mut call = Call::get(Api::Rest, path, what);
        if let Some(since) = since {
            call = call.with_header("if-modified-since", since);
        }
        let attempts_max = self.caller().retry.attempts_max;
        let mut attempt = 1;
        loop {
            let error = match self.call_once(&call).await {
                Ok(response) if response.status == 304 => return Ok(Fresh::NotModified),
                Ok(response) => match serde_json::from_slice(&response.body) {
                    Ok(value) => {
                        let last_modified = response.header("last-modified").map(str::to_owned);
                        return Ok(Fresh::Modified { value, last_modified });
                    }
                    Err(error) => OrgError::unreadable(call.what.as_str(), &error),
                },
                Err(error) => error,
            };
            if !self.caller().may_retry(&error, attempt, attempts_max).await {
                return Err(error);
            }
            attempt += 1;
        }
    }
}

/// The halves of a window that has too many ids, the earlier first; any other error stays one.
fn halves(
    start: Timestamp,
    end: Timestamp,
    error: OrgError,
) -> Result<[(Timestamp, Timestamp); 2], OrgError> {
    let length = end.duration_since(start);
    match &error {
        OrgError::Rejected { code, .. } if code == "EXCEEDED_ID_LIMIT" && length >= SHORTEST * 2 => {
            let middle = start.checked_add(length / 2).map_err(|_| error)?;
            // Windows are told to the second.
            let middle = Timestamp::from_second(middle.as_second()).unwrap_or(middle);
            Ok([(start, middle), (middle, end)])
        }
        _ => Err(error),
    }
}

fn written(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%S+00:00").to_string()
}

/// Reads `2026-11-22T15:59:00.000+0000`, the org's way of writing a moment.
pub(super) fn read_moment(text: &str, what: &str) -> Result<Timestamp, OrgError> {
    let with_colon = match text.len().checked_sub(4).map(|at| text.split_at_checked(at)) {
        Some(Some((front, minutes))) if front.ends_with(['+', '-']) => {
            format!("{front}{}:{}", &minutes[..2.min(minutes.len())], minutes.get(2..).unwrap_or_default())
        }
        _ => text.to_owned(),
    };
    with_colon.parse().map_err(|_| {
        let reason = "a date in it is none".to_owned();
        OrgError::Unreadable { what: what.to_owned(), reason, cut_off: false }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::salesforce::test_support::*;
    use rstest::rstest;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[rstest]
    #[case("2026-11-22T15:59:00.000+0000", Some("2026-11-22T15:59:00Z"))]
    #[case("2026-11-22T15:59:00.000Z", Some("2026-11-22T15:59:00Z"))]
    #[case("2026-11-22T15:59:00.000+0130", Some("2026-11-22T14:29:00Z"))]
    #[case("yesterday", None)]
    #[case("+000", None)]
    #[case("", None)]
    #[case("\u{e4}\u{e4}\u{e4}", None)]
    fn the_orgs_moments_are_read(#[case] text: &str, #[case] expected: Option<&str>) {
        assert_eq!(read_moment(text, "x").ok(), expected.map(at));
    }

    #[tokio::test]
    async fn a_window_with_too_many_ids_is_halved() {
        let bench = Bench::new(|request| {
            let whole = request.url.contains("start=2026-11-20T00%3A00%3A00%2B00%3A00&end=2026-11-22");
            if whole {
                return json(400, r#"[{"errorCode":"EXCEEDED_ID_LIMIT","message":"too many"}]"#);
            }
            let (id, until) =
                if request.url.contains("start=2026-11-20") { ("b", "21") } else { ("a", "22") };
            json(
                200,
                &format!(r#"{{"ids":["{id}","c"],"latestDateCovered":"2026-11-{until}T00:00:00.000+0000"}}"#),
            )
        });
        let (start, end) = (at("2026-11-20T00:00:00Z"), at("2026-11-22T00:00:00Z"));
        let updated = bench.client.updated(&"Lead".parse().unwrap(), start, end).await.unwrap();
        assert_eq!(updated, Updated { ids: vec!["a".into(), "b".into(), "c".into()], covered_until: end });
        assert_eq!(bench.count("/updated/"), 3);
    }

    #[tokio::test]
    async fn deletes_from_before_the_orgs_memory_are_a_gap() {
        let bench = Bench::new(|_| {
            json(
                200,
                r#"{"deletedRecords":[{"id":"a","deletedDate":"2026-11-21T00:00:00.000+0000"}],
                    "earliestDateAvailable":"2026-11-20T12:00:00.000+0000",
                    "latestDateCovered":"2026-11-21T23:00:00.000+0000"}"#,
            )
        });
        let (start, end) = (at("2026-11-20T00:00:00Z"), at("2026-11-22T00:00:00Z"));
        let deleted = bench.client.deleted(&"Lead".parse().unwrap(), start, end).await.unwrap();
        assert!(deleted.has_gap);
        assert_eq!(deleted.covered_until, at("2026-11-21T23:00:00Z"));
        assert_eq!(deleted.records.len(), 1);
    }

    #[tokio::test]
    async fn what_did_not_change_is_told_as_such() {
        let bench = Bench::new(|request| {
            let since = request.headers.iter().find(|(name, _)| *name == "if-modified-since");
            match since.map(|(_, value)| value.as_str()) {
                Some("Mon, 02 Nov 2026 00:00:00 GMT") => json(304, ""),
                _ => {
                    let mut answer = json(200, r#"{"sobjects":[]}"#).unwrap();
                    let stamp = "Mon, 02 Nov 2026 00:00:00 GMT".to_owned();
                    answer.headers.push(("last-modified".to_owned(), stamp));
                    Ok(answer)
                }
            }
        });
        let Fresh::Modified { value, last_modified } =
            bench.client.global_describe_if_modified(None).await.unwrap()
        else {
            panic!("nothing was known before");
        };
        assert!(value.is_empty());
        let fresh = bench.client.global_describe_if_modified(last_modified.as_deref()).await.unwrap();
        assert_eq!(fresh, Fresh::NotModified);
        assert_eq!(bench.count("/sobjects"), 2);
    }
}
