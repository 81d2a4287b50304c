//! Reads what a client sends for a field. Pure: a value and a field in, a value or the org's refusal out.
//!
//! JSON types and their texts are both taken (`12.5` and `"12.5"`), because Bulk's CSV has texts only.

use super::RowError;
use crate::{
    catalog::ids::checksum,
    model::Field,
    rows_api::Value,
    soql::dates::{self, parse_date},
};
use serde_json::Value as Json;

/// The value a field takes.
///
/// # Errors
/// `STRING_TOO_LONG`, `INVALID_TYPE_ON_FIELD_IN_RECORD`, `MALFORMED_ID` and their kin.
pub fn read(field: &Field, json: &Json) -> Result<Value, RowError> {
    let text = match json {
        Json::Null => return Ok(empty(field)),
        Json::String(text) => text.clone(),
        Json::Bool(value) => value.to_string(),
        Json::Number(number) => number.to_string(),
        Json::Array(_) | Json::Object(_) => return Err(wrong_type(field, &json.to_string())),
    };
    // An empty text is no value.
    if text.is_empty() {
        return Ok(empty(field));
    }
    match field.field_type.as_str() {
        "boolean" => match text.to_ascii_lowercase().as_str() {
            "true" | "1" => Ok(Value::Bool(true)),
            "false" | "0" => Ok(Value::Bool(false)),
            _ => Err(wrong_type(field, &text)),
        },
        "int" | "long" => whole(field, &text),
        "double" | "currency" | "percent" => decimal(field, &text),
        "date" => match parse_date(text.get(..10).unwrap_or(&text)) {
            Some(day) if text.len() == 10 || dates::parse_datetime(&text).is_some() => {
                Ok(Value::Date(day.to_string()))
            }
            _ => Err(wrong_type(field, &text)),
        },
        "datetime" => {
            let moment = dates::parse_datetime(&text).or_else(|| parse_date(&text).map(dates::start_of));
            // The org keeps whole seconds.
            moment
                .map(|millis| Value::DateTime(millis - millis.rem_euclid(1_000)))
                .ok_or_else(|| wrong_type(field, &text))
        }
        "time" => time(&text).map(Value::Text).ok_or_else(|| wrong_type(field, &text)),
        "reference" | "id" | "masterrecord" => id(field, &text).map(Value::Text),
        "picklist" if field.restricted_picklist => {
            listed(field, &text).map(Value::Text).ok_or_else(|| restricted(field, &text))
        }
        "multipicklist" => multiple(field, &text).map(Value::Text),
        "email" if !is_address(&text) => Err(RowError::of(
            "INVALID_EMAIL_ADDRESS",
            format!("{}: invalid email address: {text}", field.label),
            &[&field.name],
        )),
        _ => fits(field, text).map(Value::Text),
    }
}

/// No value: null, or an unticked checkbox.
pub fn empty(field: &Field) -> Value {
    if field.field_type == "boolean" { Value::Bool(false) } else { Value::Null }
}

fn wrong_type(field: &Field, text: &str) -> RowError {
    let message = format!("{}: value not of required type: {text}", field.label);
    RowError::of("INVALID_TYPE_ON_FIELD_IN_RECORD", message, &[&field.name])
}

fn out_of_range(field: &Field, text: &str) -> RowError {
    let message = format!("{}: value outside of valid range on numeric field: {text}", field.label);
    RowError::of("NUMBER_OUTSIDE_VALID_RANGE", message, &[&field.name])
}

fn whole(field: &Field, text: &str) -> Result<Value, RowError> {
    let number: f64 = text.parse().map_err(|_| wrong_type(field, text))?;
    if number.fract() != 0.0 || !number.is_finite() {
        return Err(wrong_type(field, text));
    }
    let number = text.parse().unwrap_or(number as i64);
    let fits = field.field_type == "long" || i32::try_from(number).is_ok();
    if fits { Ok(Value::Int(number)) } else { Err(out_of_range(field, text)) }
}

fn decimal(field: &Field, text: &str) -> Result<Value, RowError> {
    let number: f64 =
        text.parse().ok().filter(|number: &f64| number.is_finite()).ok_or_else(|| wrong_type(field, text))?;
    if field.precision > 0 {
        let digits = i32::try_from(field.precision.saturating_sub(field.scale)).unwrap_or(18);
        if number.abs() >= 10_f64.powi(digits) {
            return Err(out_of_range(field, text));
        }
    }
    // The text's own digits are rounded, not the binary number: 2.675 with two places is 2.68.
    let places = usize::try_from(field.scale).unwrap_or(0);
    Ok(Value::Double(rounded(text, places).unwrap_or(number)))
}

/// Rounds a plain decimal text half away from zero; `None` for other notations and when nothing is to be cut.
fn rounded(text: &str, places: usize) -> Option<f64> {
    let (whole, fraction) = text.split_once('.')?;
    if fraction.len() <= places || !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let up = fraction.as_bytes()[places] >= b'5';
    let kept: f64 = format!("{whole}.{}0", &fraction[..places]).parse().ok()?;
    let step = 10_f64.powi(-i32::try_from(places).ok()?);
    let sign = if whole.starts_with('-') { -1.0 } else { 1.0 };
    let moved = if up { kept + sign * step } else { kept };
    format!("{moved:.places$}").parse().ok()
}

fn time(text: &str) -> Option<String> {
    let bare = text.strip_suffix('Z').unwrap_or(text);
    let time: jiff::civil::Time = bare.parse().ok()?;
    Some(time.strftime("%H:%M:%S%.3fZ").to_string())
}

/// An id as it is kept: 18 characters.
pub fn id(field: &Field, text: &str) -> Result<String, RowError> {
    let shaped = matches!(text.len(), 15 | 18) && text.bytes().all(|b| b.is_ascii_alphanumeric());
    let suffix = shaped.then(|| checksum(&text[..15]));
    match suffix {
        Some(suffix) if text.len() == 15 || text[15..] == suffix => Ok(format!("{}{suffix}", &text[..15])),
        _ => {
            let message = format!("{}: id value of incorrect type: {text}", field.label);
            Err(RowError::of("MALFORMED_ID", message, &[&field.name]))
        }
    }
}

fn listed(field: &Field, text: &str) -> Option<String> {
    field.picklist.iter().find(|(value, _)| value.eq_ignore_ascii_case(text)).map(|(value, _)| value.clone())
}

fn restricted(field: &Field, text: &str) -> RowError {
    let message = format!("{}: bad value for restricted picklist field: {text}", field.label);
    RowError::of("INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST", message, &[&field.name])
}

fn multiple(field: &Field, text: &str) -> Result<String, RowError> {
    let mut chosen = Vec::new();
    for part in text.split(';').map(str::trim).filter(|part| !part.is_empty()) {
        let own = match listed(field, part) {
            Some(own) => own,
            None if field.restricted_picklist => return Err(restricted(field, part)),
            None => part.to_owned(),
        };
        if !chosen.contains(&own) {
            chosen.push(own);
        }
    }
    fits(field, chosen.join(";"))
}

fn is_address(text: &str) -> bool {
    let bad = |c: char| c.is_whitespace() || matches!(c, ',' | ';' | '<' | '>' | '"' | '(' | ')');
    text.split_once('@').is_some_and(|(name, host)| {
        !name.is_empty()
            && !host.contains('@')
            && !text.contains(bad)
            && host.split('.').count() >= 2
            && host.split('.').all(|part| !part.is_empty())
    })
}

fn fits(field: &Field, text: String) -> Result<String, RowError> {
    let most = match field.length {
        0 => return Ok(text),
        length => length as usize,
    };
    if text.len() <= most || text.chars().count() <= most {
        return Ok(text);
    }
    let shown: String = text.chars().take(most.min(255)).collect();
    let message = format!("{}: data value too large: {shown} (max length={most})", field.label);
    Err(RowError::of("STRING_TOO_LONG", message, &[&field.name]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;
    use serde_json::json;

    fn field(field_type: &str) -> Field {
        Field {
            name: "F__c".into(),
            label: "F".into(),
            field_type: field_type.into(),
            length: 8,
            precision: 8,
            scale: 2,
            picklist: vec![("Hot".into(), "Hot".into()), ("Cold".into(), "Cold".into())],
            restricted_picklist: true,
            ..Field::default()
        }
    }

    #[rstest]
    #[case("string", json!(" 007"), Value::Text(" 007".into()))]
    #[case("string", json!(7), Value::Text("7".into()))]
    #[case("string", json!(""), Value::Null)]
    #[case("string", json!("éééééééé"), Value::Text("éééééééé".into()))]
    #[case("boolean", json!("TRUE"), Value::Bool(true))]
    #[case("boolean", json!(null), Value::Bool(false))]
    #[case("int", json!("12"), Value::Int(12))]
    #[case("int", json!(12.0), Value::Int(12))]
    #[case("currency", json!("12.345"), Value::Double(12.35))]
    #[case("currency", json!("-2.675"), Value::Double(-2.68))]
    #[case("currency", json!(999_999.99), Value::Double(999_999.99))]
    #[case("date", json!("2026-02-03"), Value::Date("2026-02-03".into()))]
    #[case("datetime", json!("2026-01-01T01:00:00.789+01:00"), Value::DateTime(1_767_225_600_000))]
    #[case("time", json!("07:05:00"), Value::Text("07:05:00.000Z".into()))]
    #[case("reference", json!("00Q5g00000AbCdE"), Value::Text("00Q5g00000AbCdEEAV".into()))]
    #[case("picklist", json!("hot"), Value::Text("Hot".into()))]
    #[case("multipicklist", json!("cold; hot;Cold"), Value::Text("Cold;Hot".into()))]
    fn a_value_is_read_as_the_org_reads_it(
        #[case] field_type: &str,
        #[case] json: Json,
        #[case] value: Value,
    ) {
        let mut field = field(field_type);
        field.length = if field_type == "multipicklist" { 100 } else { 8 };
        assert_eq!(read(&field, &json).unwrap(), value);
    }

    #[rstest]
    #[case("string", json!("123456789"), "STRING_TOO_LONG", "F: data value too large: 12345678 (max length=8)")]
    #[case("string", json!({}), "INVALID_TYPE_ON_FIELD_IN_RECORD", "F: value not of required type: {}")]
    #[case("int", json!("1.5"), "INVALID_TYPE_ON_FIELD_IN_RECORD", "F: value not of required type: 1.5")]
    #[case("int", json!(3_000_000_000_u64), "NUMBER_OUTSIDE_VALID_RANGE", "3000000000")]
    #[case("currency", json!("abc"), "INVALID_TYPE_ON_FIELD_IN_RECORD", "abc")]
    #[case("currency", json!(1_000_000), "NUMBER_OUTSIDE_VALID_RANGE", "valid range")]
    #[case("date", json!("2026-02-30"), "INVALID_TYPE_ON_FIELD_IN_RECORD", "2026-02-30")]
    #[case("datetime", json!("yesterday"), "INVALID_TYPE_ON_FIELD_IN_RECORD", "yesterday")]
    #[case("boolean", json!("maybe"), "INVALID_TYPE_ON_FIELD_IN_RECORD", "maybe")]
    #[case("reference", json!("00Q5g00000AbCdEXXX"), "MALFORMED_ID", "id value of incorrect type")]
    #[case("picklist", json!("Warm"), "INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST", "Warm")]
    #[case("email", json!("nobody"), "INVALID_EMAIL_ADDRESS", "F: invalid email address: nobody")]
    fn what_does_not_fit_is_refused_in_the_orgs_words(
        #[case] field_type: &str,
        #[case] json: Json,
        #[case] code: &str,
        #[case] says: &str,
    ) {
        let error = read(&field(field_type), &json).unwrap_err();
        assert_eq!((error.status_code, error.fields.as_slice()), (code, ["F__c".to_owned()].as_slice()));
        assert!(error.message.contains(says), "{}", error.message);
    }
}
