//! Reads results back that an earlier answer told: the inverse of [`seed_view`](super::seed_view). Pure.
//!
//! Promises: what cannot be read is refused with its place in the list; nothing is made up. A lead that was sent without a
//! verdict of a model has none in the report either.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::{Map, Value};

use super::seed_view::key_of;
use crate::leads::outcome::{
    Assessment, Flags, LeadOutcome, LeadResult, ModelAnswer, ModelVerdict, Ordinal, Scores, Spent,
};
use crate::leads::{Lead, LeadCounts, LeadField, LeadId, Presence};

/// Bullets of one explanation that are kept.
const BULLETS_MAX: usize = 20;

/// A row of a sheet as it was sent, its columns in their order.
#[derive(Debug, Default)]
pub(super) struct SentRow(pub Vec<(String, Value)>);

impl<'de> Deserialize<'de> for SentRow {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;
        impl<'de> Visitor<'de> for InOrder {
            type Value = SentRow;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut members: M) -> Result<SentRow, M::Error> {
                let mut row = Vec::new();
                while let Some(member) = members.next_entry()? {
                    row.push(member);
                }
                Ok(SentRow(row))
            }
        }
        deserializer.deserialize_map(InOrder)
    }
}

/// One result as it was sent.
pub(super) fn read_result(ordinal: Ordinal, sent: &Map<String, Value>) -> Result<LeadResult, String> {
    let written = ["Id", "id", "lead_id"].iter().find_map(|name| sent.get(*name)?.as_str());
    let written = written.ok_or("`Id` is missing")?;
    let id = LeadId::read(written).map_err(|fault| format!("`Id` is no Lead id: {fault}"))?.id;
    let presence = match sent.get("presence").and_then(Value::as_str) {
        Some("converted") => Presence::Converted,
        _ => Presence::Found,
    };
    let values: Vec<Option<String>> =
        LeadField::ALL.iter().map(|field| text_of(sent.get(key_of(*field)))).collect();
    let lead = Lead::new(id, presence, |field| values[field.index()].as_deref());
    let flags = Flags {
        not_in_tam: flag(sent, "not_in_TAM")?,
        suspicious_enrichment: flag(sent, "suspicious_enrichment")?,
    };
    let model = verdict(sent)?;
    let scores = match sent.get("scores") {
        None | Some(Value::Null) => scores_of_model(&model),
        Some(scores) => Scores::deserialize(scores).map_err(|fault| format!("`scores`: {fault}"))?,
    };
    let findings = texts(sent.get("findings"));
    Ok(LeadResult {
        ordinal,
        lead,
        outcome: LeadOutcome::Assessed(Assessment { flags, scores, model, findings }),
    })
}

/// What older answers told: the model's score and no other.
fn scores_of_model(model: &ModelVerdict) -> Scores {
    match model {
        ModelVerdict::Answered { answer, .. } => {
            Scores { coherence: Some(f64::from(answer.score)), ..Scores::default() }
        }
        ModelVerdict::NotAsked | ModelVerdict::Failed { .. } => Scores::default(),
    }
}

fn verdict(sent: &Map<String, Value>) -> Result<ModelVerdict, String> {
    let status = sent.get("ai_assessment_status").and_then(Value::as_str).unwrap_or_default();
    let answer = match sent.get("confidence_assessment") {
        Some(Value::Object(answer)) => answer,
        None | Some(Value::Null) => {
            let reason = status.strip_prefix("failed:").map(|reason| reason.trim().to_owned());
            return Ok(match reason {
                Some(reason) => ModelVerdict::Failed { reason, spent: Spent::default() },
                None => ModelVerdict::NotAsked,
            });
        }
        Some(_) => return Err("`confidence_assessment` is neither an object nor null".to_owned()),
    };
    let score =
        |name: &str| answer.get(name).and_then(Value::as_f64).filter(|score| (0.0..=100.0).contains(score));
    let said = score("confidence_score")
        .ok_or("`confidence_assessment.confidence_score` is no number from 0 to 100")?
        .round() as u8;
    let answer = ModelAnswer {
        score: said,
        score_said: score("score_said").map_or(said, |score| score.round() as u8),
        explanation: texts(answer.get("explanation_bullets")),
        corrections: proposals(answer.get("corrections")),
        inferences: proposals(answer.get("inferences")),
        enforced: texts(answer.get("enforced")),
    };
    Ok(ModelVerdict::Answered { answer, spent: Spent::default(), reused: false })
}

fn flag(sent: &Map<String, Value>, name: &str) -> Result<bool, String> {
    match sent.get(name) {
        None | Some(Value::Null) => Ok(false),
        Some(Value::Bool(flag)) => Ok(*flag),
        Some(_) => Err(format!("`{name}` is neither `true` nor `false`")),
    }
}

fn texts(sent: Option<&Value>) -> Vec<String> {
    let all = sent.and_then(Value::as_array).into_iter().flatten();
    all.filter_map(|text| text.as_str().map(str::to_owned)).take(BULLETS_MAX).collect()
}

fn proposals(sent: Option<&Value>) -> BTreeMap<String, Value> {
    let all = sent.and_then(Value::as_object).into_iter().flatten();
    all.map(|(field, value)| (field.clone(), value.clone())).collect()
}

/// A value as the text that a sheet shows.
pub(super) fn text_of(value: Option<&Value>) -> Option<String> {
    match value? {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    }
}

/// Counts a result as a job's store does.
pub(super) fn count(counts: &mut LeadCounts, result: &LeadResult) {
    counts.leads += 1;
    let assessment = match &result.outcome {
        LeadOutcome::Unread { .. } => return counts.unread += 1,
        LeadOutcome::NoRecord => {
            counts.no_record += 1;
            return counts.not_visible += 1;
        }
        LeadOutcome::Assessed(assessment) => assessment,
    };
    match &assessment.model {
        ModelVerdict::NotAsked => counts.assessed += 1,
        ModelVerdict::Answered { answer, .. } => {
            counts.assessed += 1;
            counts.model_answered += 1;
            counts.model_score_sum += u64::from(answer.score);
        }
        ModelVerdict::Failed { .. } => counts.failed += 1,
    }
    counts.converted += u64::from(result.lead.presence == Presence::Converted);
    counts.not_in_tam += u64::from(assessment.flags.not_in_tam);
    counts.suspicious_enrichment += u64::from(assessment.flags.suspicious_enrichment);
    counts.with_issues += u64::from(assessment.flags.not_in_tam || assessment.flags.suspicious_enrichment);
    if let Some(confidence) = assessment.scores.confidence {
        counts.with_confidence += 1;
        counts.confidence_tenths += (confidence * 10.0).round() as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::super::seed_view::{analyzed, object};
    use super::*;
    use rstest::rstest;
    use serde_json::json;

    fn sent() -> Map<String, Value> {
        object(json!({
            "Id": "00Q5g00000AbCdE", "FirstName": "Ada", "SegmentName": "Majors", "ZI_Employees__c": 250,
            "not_in_TAM": true, "suspicious_enrichment": false,
            "confidence_assessment": {
                "confidence_score": 40, "explanation_bullets": ["one", "two"],
                "corrections": { "Website": "example.org" }, "inferences": {},
                "score_said": 90, "enforced": ["capped"], "reused": false,
            },
            "ai_assessment_status": "success",
            "scores": { "acquisition": 50.0, "enrichment": null, "coherence": 40.0, "confidence": null },
            "findings": [],
        }))
    }

    #[test]
    fn what_was_told_is_read_back_as_it_was() {
        let result = read_result(0, &sent()).unwrap();
        let LeadOutcome::Assessed(assessment) = &result.outcome else { panic!("assessed") };
        let mut told = analyzed(&result, assessment);
        for (name, value) in sent() {
            let expected = if name == "Id" { json!("00Q5g00000AbCdEEAV") } else { value };
            assert_eq!(told.remove(&name), Some(expected), "{name}");
        }
        let mut counts = LeadCounts::default();
        count(&mut counts, &result);
        assert_eq!((counts.assessed, counts.with_issues, counts.average_model_score()), (1, 1, Some(40.0)));
    }

    #[rstest]
    #[case::no_id(json!({}), "`Id` is missing")]
    #[case::account(json!({ "Id": "001M000000qfPyS" }), "`Id` is no Lead id")]
    #[case::flag(json!({ "Id": "00Q5g00000AbCdE", "not_in_TAM": "yes" }), "`not_in_TAM`")]
    #[case::score(json!({ "Id": "00Q5g00000AbCdE", "confidence_assessment": { "confidence_score": 900 } }), "from 0 to 100")]
    #[case::prose(json!({ "Id": "00Q5g00000AbCdE", "confidence_assessment": "good" }), "neither an object")]
    #[case::scores(json!({ "Id": "00Q5g00000AbCdE", "scores": [1] }), "`scores`")]
    fn what_cannot_be_read_is_refused(#[case] sent: Value, #[case] part: &str) {
        let fault = read_result(0, &object(sent)).unwrap_err();
        assert!(fault.contains(part), "{fault}");
    }

    #[test]
    fn a_failed_assessment_stays_failed() {
        let sent = json!({ "lead_id": "00Q5g00000AbCdE", "ai_assessment_status": "failed: half a JSON" });
        let result = read_result(0, &object(sent)).unwrap();
        assert_eq!(result.status(), "AI Assessment Failed");
        assert!(result.is_failed());
    }

    #[test]
    fn a_rows_columns_keep_their_order() {
        let row: SentRow = serde_json::from_str(r#"{"Zip": 1, "Account": "x", "Lead ID": null}"#).unwrap();
        let heads: Vec<&str> = row.0.iter().map(|(head, _)| head.as_str()).collect();
        assert_eq!(heads, ["Zip", "Account", "Lead ID"]);
    }
}
