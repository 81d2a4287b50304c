//! What became of a lead, as bytes: about the length of its texts, and cheap to make and to read.
//!
//! Promises: the first byte is the version of what follows; this penstock reads every version that any has written. What
//! is not whole is an error.

use std::collections::BTreeMap;

use super::packed::{Unpack, Unreadable, pack, put_number, put_text, unpack};
use crate::leads::{
    Assessment, Flags, Lead, LeadOutcome, LeadResult, ModelAnswer, ModelVerdict, Money, Ordinal, Presence,
    Scores, Spent,
};

const VERSION: u8 = 1;

const FOUND: u8 = 0;
const CONVERTED: u8 = 1;
const MERGED: u8 = 2;
const DELETED: u8 = 3;
const NOT_VISIBLE: u8 = 4;

const ASSESSED: u8 = 0;
const NO_RECORD: u8 = 1;
const UNREAD: u8 = 2;

const NOT_ASKED: u8 = 0;
const ANSWERED: u8 = 1;
const REUSED: u8 = 2;
const FAILED: u8 = 3;

/// Appends a result without its ordinal, which is its key.
pub fn put_result(bytes: &mut Vec<u8>, result: &LeadResult) {
    bytes.push(VERSION);
    put_lead(bytes, &result.lead);
    match &result.outcome {
        LeadOutcome::Assessed(assessment) => {
            bytes.push(ASSESSED);
            put_assessment(bytes, assessment);
        }
        LeadOutcome::NoRecord => bytes.push(NO_RECORD),
        LeadOutcome::Unread { reason } => {
            bytes.push(UNREAD);
            put_text(bytes, reason);
        }
    }
}

/// Reads what [`put_result`] wrote.
pub fn result_of(ordinal: Ordinal, bytes: &[u8]) -> Result<LeadResult, Unreadable> {
    let mut read = Unpack::new(bytes);
    if read.byte()? != VERSION {
        return Err(Unreadable("a result has a version that this penstock does not know"));
    }
    let lead = read_lead(&mut read)?;
    let outcome = match read.byte()? {
        ASSESSED => LeadOutcome::Assessed(read_assessment(&mut read)?),
        NO_RECORD => LeadOutcome::NoRecord,
        UNREAD => LeadOutcome::Unread { reason: read.text()?.to_owned() },
        _ => return Err(Unreadable("a result has an outcome of no known kind")),
    };
    if !read.is_empty() {
        return Err(Unreadable("a result is longer than it should be"));
    }
    Ok(LeadResult { ordinal, lead, outcome })
}

fn put_lead(bytes: &mut Vec<u8>, lead: &Lead) {
    bytes.extend_from_slice(&pack(&lead.id));
    match lead.presence {
        Presence::Found => bytes.push(FOUND),
        Presence::Converted => bytes.push(CONVERTED),
        Presence::Merged { into } => {
            bytes.push(MERGED);
            bytes.extend_from_slice(&pack(&into));
        }
        Presence::Deleted => bytes.push(DELETED),
        Presence::NotVisible => bytes.push(NOT_VISIBLE),
    }
    let (text, ends) = lead.text_and_ends();
    put_number(bytes, ends.len() as u64);
    let mut start = 0;
    for &end in ends {
        put_number(bytes, u64::from(end.saturating_sub(start)));
        start = end;
    }
    put_text(bytes, text);
}

fn read_lead(read: &mut Unpack<'_>) -> Result<Lead, Unreadable> {
    let id = unpack(&read.array()?)?;
    let presence = match read.byte()? {
        FOUND => Presence::Found,
        CONVERTED => Presence::Converted,
        MERGED => Presence::Merged { into: unpack(&read.array()?)? },
        DELETED => Presence::Deleted,
        NOT_VISIBLE => Presence::NotVisible,
        _ => return Err(Unreadable("a lead has a presence of no known kind")),
    };
    let count = read.count()?;
    let mut ends = Vec::with_capacity(count);
    let mut end = 0_u32;
    for _ in 0..count {
        end = end.checked_add(read.small()?).ok_or(Unreadable("a lead's values are too long"))?;
        ends.push(end);
    }
    Ok(Lead::from_text_and_ends(id, presence, read.text()?.to_owned(), ends))
}

fn put_assessment(bytes: &mut Vec<u8>, assessment: &Assessment) {
    let Assessment { flags, scores, model, findings } = assessment;
    bytes.push(u8::from(flags.not_in_tam) | u8::from(flags.suspicious_enrichment) << 1);
    put_scores(bytes, scores);
    match model {
        ModelVerdict::NotAsked => bytes.push(NOT_ASKED),
        ModelVerdict::Answered { answer, spent, reused } => {
            bytes.push(if *reused { REUSED } else { ANSWERED });
            put_spent(bytes, spent);
            put_answer(bytes, answer);
        }
        ModelVerdict::Failed { reason, spent } => {
            bytes.push(FAILED);
            put_spent(bytes, spent);
            put_text(bytes, reason);
        }
    }
    put_texts(bytes, findings);
}

fn read_assessment(read: &mut Unpack<'_>) -> Result<Assessment, Unreadable> {
    let flags = read.byte()?;
    let flags = Flags { not_in_tam: flags & 1 != 0, suspicious_enrichment: flags & 2 != 0 };
    let scores = read_scores(read)?;
    let model = match read.byte()? {
        NOT_ASKED => ModelVerdict::NotAsked,
        kind @ (ANSWERED | REUSED) => {
            let spent = read_spent(read)?;
            ModelVerdict::Answered { answer: read_answer(read)?, spent, reused: kind == REUSED }
        }
        FAILED => {
            let spent = read_spent(read)?;
            ModelVerdict::Failed { reason: read.text()?.to_owned(), spent }
        }
        _ => return Err(Unreadable("an assessment has a verdict of no known kind")),
    };
    Ok(Assessment { flags, scores, model, findings: read_texts(read)? })
}

/// Two bits a score: 0 none, 1 the eight bytes of the number, 2 tenths in two bytes, as nearly every score is.
fn put_scores(bytes: &mut Vec<u8>, scores: &Scores) {
    let at = bytes.len();
    bytes.push(0);
    let scores = [scores.acquisition, scores.enrichment, scores.coherence, scores.confidence];
    for (place, score) in scores.into_iter().enumerate() {
        let Some(score) = score else { continue };
        let tenths = (score * 10.0).round() as u16;
        if (f64::from(tenths) / 10.0).to_bits() == score.to_bits() {
            bytes[at] |= 2 << (place * 2);
            bytes.extend_from_slice(&tenths.to_le_bytes());
        } else {
            bytes[at] |= 1 << (place * 2);
            bytes.extend_from_slice(&score.to_le_bytes());
        }
    }
}

fn read_scores(read: &mut Unpack<'_>) -> Result<Scores, Unreadable> {
    let kinds = read.byte()?;
    let mut score = |place: u8| {
        Ok(match kinds >> (place * 2) & 3 {
            0 => None,
            1 => Some(f64::from_le_bytes(read.array()?)),
            2 => Some(f64::from(u16::from_le_bytes(read.array()?)) / 10.0),
            _ => return Err(Unreadable("a score is of no known kind")),
        })
    };
    Ok(Scores { acquisition: score(0)?, enrichment: score(1)?, coherence: score(2)?, confidence: score(3)? })
}

/// Appends what was spent.
pub fn put_spent(bytes: &mut Vec<u8>, spent: &Spent) {
    let Spent { prompt_tokens, completion_tokens, cost, requests } = *spent;
    for number in [prompt_tokens, completion_tokens, cost.0, u64::from(requests)] {
        put_number(bytes, number);
    }
}

/// Reads what [`put_spent`] wrote.
pub fn read_spent(read: &mut Unpack<'_>) -> Result<Spent, Unreadable> {
    Ok(Spent {
        prompt_tokens: read.number()?,
        completion_tokens: read.number()?,
        cost: Money(read.number()?),
        requests: read.small()?,
    })
}

fn put_answer(bytes: &mut Vec<u8>, answer: &ModelAnswer) {
    let ModelAnswer { score, score_said, explanation, corrections, inferences, enforced } = answer;
    bytes.extend_from_slice(&[*score, *score_said]);
    put_texts(bytes, explanation);
    put_values(bytes, corrections);
    put_values(bytes, inferences);
    put_texts(bytes, enforced);
}

fn read_answer(read: &mut Unpack<'_>) -> Result<ModelAnswer, Unreadable> {
    Ok(ModelAnswer {
        score: read.byte()?,
        score_said: read.byte()?,
        explanation: read_texts(read)?,
        corrections: read_values(read)?,
        inferences: read_values(read)?,
        enforced: read_texts(read)?,
    })
}

fn put_texts(bytes: &mut Vec<u8>, texts: &[String]) {
    put_number(bytes, texts.len() as u64);
    for text in texts {
        put_text(bytes, text);
    }
}

fn read_texts(read: &mut Unpack<'_>) -> Result<Vec<String>, Unreadable> {
    let count = read.count()?;
    (0..count).map(|_| read.text().map(str::to_owned)).collect()
}

fn put_values(bytes: &mut Vec<u8>, values: &BTreeMap<String, serde_json::Value>) {
    put_number(bytes, values.len() as u64);
    for (field, value) in values {
        put_text(bytes, field);
        put_text(bytes, &value.to_string());
    }
}

fn read_values(read: &mut Unpack<'_>) -> Result<BTreeMap<String, serde_json::Value>, Unreadable> {
    let count = read.count()?;
    let value = |read: &mut Unpack<'_>| {
        let field = read.text()?.to_owned();
        let value = serde_json::from_str(read.text()?).map_err(|_no| Unreadable("a proposal is no JSON"))?;
        Ok((field, value))
    };
    (0..count).map(|_| value(read)).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::leads::{LeadField, LeadId};

    fn id() -> impl Strategy<Value = LeadId> {
        "00Q[0-9A-Za-z]{12}".prop_map(|text| LeadId::read(&text).unwrap().id)
    }

    fn lead() -> impl Strategy<Value = Lead> {
        let presence = prop_oneof![
            Just(Presence::Found),
            Just(Presence::Converted),
            id().prop_map(|into| Presence::Merged { into }),
            Just(Presence::Deleted),
            Just(Presence::NotVisible),
        ];
        let values = proptest::option::of(proptest::collection::vec(".{0,20}", LeadField::COUNT));
        (id(), presence, values).prop_map(|(id, presence, values)| match values {
            None => Lead::without_values(id, presence),
            Some(values) => Lead::new(id, presence, |field| Some(&values[field.index()])),
        })
    }

    fn spent() -> impl Strategy<Value = Spent> {
        (any::<u64>(), any::<u64>(), any::<u64>(), any::<u32>()).prop_map(
            |(prompt, completion, cost, requests)| Spent {
                prompt_tokens: prompt,
                completion_tokens: completion,
                cost: Money(cost),
                requests,
            },
        )
    }

    fn answer() -> impl Strategy<Value = ModelAnswer> {
        let texts = || proptest::collection::vec(".{0,30}", 0..4);
        let value = prop_oneof![
            any::<i64>().prop_map(serde_json::Value::from),
            ".{0,10}".prop_map(serde_json::Value::from),
            Just(serde_json::json!({ "a": [null, true] })),
        ];
        let values = || proptest::collection::btree_map("[A-Za-z_]{1,8}", value.clone(), 0..3);
        (any::<(u8, u8)>(), texts(), values(), values(), texts()).prop_map(
            |((score, score_said), explanation, corrections, inferences, enforced)| ModelAnswer {
                score,
                score_said,
                explanation,
                corrections,
                inferences,
                enforced,
            },
        )
    }

    fn result() -> impl Strategy<Value = LeadResult> {
        let score = || {
            proptest::option::of(prop_oneof![
                (0_u16..=1000).prop_map(|tenths| f64::from(tenths) / 10.0),
                -1e9..1e9_f64,
                Just(-0.0),
            ])
        };
        let model =
            prop_oneof![
                Just(ModelVerdict::NotAsked),
                (answer(), spent(), any::<bool>())
                    .prop_map(|(answer, spent, reused)| ModelVerdict::Answered { answer, spent, reused }),
                (".{0,30}", spent()).prop_map(|(reason, spent)| ModelVerdict::Failed { reason, spent }),
            ];
        let findings = proptest::collection::vec(".{0,30}", 0..4);
        let assessed = (any::<(bool, bool)>(), (score(), score(), score(), score()), model, findings)
            .prop_map(|((not_in_tam, suspicious_enrichment), scores, model, findings)| {
                let (acquisition, enrichment, coherence, confidence) = scores;
                LeadOutcome::Assessed(Assessment {
                    flags: Flags { not_in_tam, suspicious_enrichment },
                    scores: Scores { acquisition, enrichment, coherence, confidence },
                    model,
                    findings,
                })
            });
        let outcome = prop_oneof![
            assessed,
            Just(LeadOutcome::NoRecord),
            ".{0,30}".prop_map(|reason| LeadOutcome::Unread { reason }),
        ];
        (any::<u32>(), lead(), outcome).prop_map(|(ordinal, lead, outcome)| LeadResult {
            ordinal,
            lead,
            outcome,
        })
    }

    proptest! {
        #[test]
        fn a_result_comes_back_and_a_part_of_it_is_an_error(result in result(), cut in 0.0..1.0_f64) {
            let mut bytes = Vec::new();
            put_result(&mut bytes, &result);
            prop_assert_eq!(&result_of(result.ordinal, &bytes).unwrap(), &result);
            let cut = (bytes.len() as f64 * cut) as usize;
            prop_assert!(result_of(result.ordinal, &bytes[..cut]).is_err());
        }

        #[test]
        fn no_bytes_make_it_panic(mut bytes in proptest::collection::vec(any::<u8>(), 1..200), small in any::<bool>()) {
            bytes[0] = VERSION;
            if small {
                bytes.iter_mut().for_each(|byte| *byte %= 5);
            }
            let _ = result_of(0, &bytes);
        }
    }

    /// These bytes lie on somebody's disk: they are read for ever.
    #[test]
    fn what_the_first_version_wrote_is_read() {
        let mut bytes = vec![1];
        bytes.extend_from_slice(b"\x01\x4b\x02\x64\xf5\x88\x5c\x9e\xa6");
        bytes.extend_from_slice(&[1, 2, 3, 0, 3]);
        bytes.extend_from_slice(b"Ada");
        bytes.extend_from_slice(&[0, 2, 0b10_00_00_10, 113, 2, 201, 2, 3, 100, 200, 1, 7, 1, 5]);
        bytes.extend_from_slice(b"prose");
        bytes.extend_from_slice(&[1, 2]);
        bytes.extend_from_slice(b"ok");
        let result = result_of(7, &bytes).unwrap();
        assert_eq!(result.lead.get(LeadField::FirstName), Some("Ada"));
        assert_eq!((result.lead.get(LeadField::LastName), result.lead.presence), (None, Presence::Converted));
        let LeadOutcome::Assessed(assessment) = &result.outcome else { panic!("{result:?}") };
        let scores = Scores { acquisition: Some(62.5), confidence: Some(71.3), ..Scores::default() };
        assert_eq!(assessment.scores, scores);
        assert!(assessment.flags.suspicious_enrichment && !assessment.flags.not_in_tam);
        let spent = Spent { prompt_tokens: 100, completion_tokens: 200, cost: Money(7), requests: 1 };
        assert_eq!(assessment.model, ModelVerdict::Failed { reason: "prose".to_owned(), spent });
        assert_eq!(assessment.findings, ["ok"]);
        let mut again = Vec::new();
        put_result(&mut again, &result);
        assert_eq!(again, bytes);
    }
}
