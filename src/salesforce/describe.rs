//! Describes: up to 25 objects by one call, which the org counts as one.
//!
//! Promises: every object asked for gets an answer of its own, in the order asked; a describe that cannot
//! be read fails its object and no other. When the org cannot bear a whole group (500, 502, 503, 504, a
//! timeout, a broken body) the group is halved until the culprit stands alone.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::client::{Call, OrgClient};
use super::error::{OrgError, classify_parts};
use super::gate::Api;
use super::transport::Method;
use crate::model::{ObjectDescribe, ObjectName};

/// Most requests in one composite call.
pub const DESCRIBES_PER_CALL: usize = 25;
/// Halving 25 takes five steps; one more for the object that is left alone.
const ROUNDS_MAX: u32 = 6;

type Described = (ObjectName, Result<ObjectDescribe, OrgError>);

impl OrgClient {
    /// Describes objects, [`DESCRIBES_PER_CALL`] by one call. A name that stands twice is asked for once
    /// and answered twice. An error of a whole call that cannot be halved away is given to each of its
    /// objects: ask it whether it is transient before calling an object bad.
    pub async fn describe_group(&self, objects: &[ObjectName]) -> Vec<Described> {
        let mut distinct: Vec<ObjectName> = objects.to_vec();
        distinct.sort_unstable();
        distinct.dedup();
        let mut waiting: Vec<(Vec<ObjectName>, u32)> =
            distinct.chunks(DESCRIBES_PER_CALL).map(|group| (group.to_vec(), 1)).collect();
        let mut found: HashMap<ObjectName, Result<ObjectDescribe, OrgError>> = HashMap::new();
        while let Some((group, round)) = waiting.pop() {
            match self.describe_at_once(&group).await {
                Ok(answers) => {
                    let (again, settled): (Vec<_>, Vec<_>) = answers
                        .into_iter()
                        .partition(|(_, answer)| answer.as_ref().is_err_and(OrgError::is_transient));
                    found.extend(settled);
                    let Some((_, Err(error))) = again.first() else { continue };
                    if self.caller().may_retry(error, round, ROUNDS_MAX).await {
                        waiting.push((again.into_iter().map(|(name, _)| name).collect(), round + 1));
                    } else {
                        found.extend(again);
                    }
                }
                Err(error) => {
                    let can_halve = group.len() > 1 && error.calls_for_less();
                    let goes_on = if error.is_transient() {
                        self.caller().may_retry(&error, round, ROUNDS_MAX).await
                    } else {
                        can_halve
                    };
                    if !goes_on {
                        found.extend(group.into_iter().map(|name| (name, Err(error.clone()))));
                    } else if can_halve {
                        let (left, right) = group.split_at(group.len() / 2);
                        waiting.push((right.to_vec(), round + 1));
                        waiting.push((left.to_vec(), round + 1));
                    } else {
                        waiting.push((group, round + 1));
                    }
                }
            }
        }
        objects
            .iter()
            .map(|name| {
                let answer = found.get(name).cloned();
                (name.clone(), answer.unwrap_or_else(|| Err(no_answer(name))))
            })
            .collect()
    }

    async fn describe_at_once(&self, group: &[ObjectName]) -> Result<Vec<Described>, OrgError> {
        debug_assert!(group.len() <= DESCRIBES_PER_CALL, "a composite call takes 25 requests");
        let what = format!("the describes of {} objects", group.len());
        let requests = group
            .iter()
            .enumerate()
            .map(|(index, object)| SubRequest {
                method: "GET",
                url: self.data_path(&format!("/sobjects/{object}/describe")),
                reference_id: format!("d{index}"),
            })
            .collect();
        let body = CompositeRequest { all_or_none: false, requests };
        let call = Call::json(Method::Post, Api::Composite, self.data_path("/composite"), &body, what)?;
        let response = self.call_once(&call).await?;
        read_composite(group, &response.body)
            .map_err(|error| OrgError::unreadable(call.what.as_str(), &error))
    }
}

/// Sorts the parts of a composite answer to the objects asked for.
fn read_composite(group: &[ObjectName], body: &[u8]) -> Result<Vec<Described>, serde_json::Error> {
    let answer: CompositeAnswer = serde_json::from_slice(body)?;
    let parts: HashMap<&str, &SubAnswer> =
        answer.parts.iter().map(|part| (part.reference_id.as_str(), part)).collect();
    let described = group.iter().enumerate().map(|(index, object)| {
        let part = parts.get(format!("d{index}").as_str());
        (object.clone(), part.map_or_else(|| Err(no_answer(object)), |part| read_part(object, part)))
    });
    Ok(described.collect())
}

fn read_part(object: &ObjectName, part: &SubAnswer) -> Result<ObjectDescribe, OrgError> {
    let body = part.body.map_or("null", RawValue::get);
    if !(200..300).contains(&part.status) {
        return Err(classify_parts(part.status, body.as_bytes(), None));
    }
    let what = || format!("the describe of `{object}`");
    let describe: ObjectDescribe =
        serde_json::from_str(body).map_err(|error| match OrgError::unreadable(what(), &error) {
            // The part is whole JSON of its own: asking again would give the same.
            OrgError::Unreadable { what, reason, .. } => {
                OrgError::Unreadable { what, reason, cut_off: false }
            }
            other => other,
        })?;
    if !describe.name.as_str().eq_ignore_ascii_case(object.as_str()) {
        let reason = format!("it describes `{}`", describe.name);
        return Err(OrgError::Unreadable { what: what(), reason, cut_off: false });
    }
    Ok(describe)
}

fn no_answer(object: &ObjectName) -> OrgError {
    OrgError::Unreadable {
        what: format!("the describe of `{object}`"),
        reason: "the composite answer leaves it out".to_owned(),
        cut_off: false,
    }
}

#[derive(Serialize)]
struct CompositeRequest {
    #[serde(rename = "allOrNone")]
    all_or_none: bool,
    #[serde(rename = "compositeRequest")]
    requests: Vec<SubRequest>,
}

#[derive(Serialize)]
struct SubRequest {
    method: &'static str,
    url: String,
    #[serde(rename = "referenceId")]
    reference_id: String,
}

#[derive(Deserialize)]
struct CompositeAnswer<'a> {
    #[serde(borrow, rename = "compositeResponse")]
    parts: Vec<SubAnswer<'a>>,
}

#[derive(Deserialize)]
struct SubAnswer<'a> {
    #[serde(borrow, default)]
    body: Option<&'a RawValue>,
    #[serde(rename = "httpStatusCode")]
    status: u16,
    #[serde(rename = "referenceId")]
    reference_id: String,
}
