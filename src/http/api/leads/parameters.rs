//! Reads parameters wherever they stand: in the query of an address, in a form, in a JSON body.
//!
//! Promises: a value that is out of range or of another kind is refused with a sentence that names the parameter, what it
//! takes and what was sent; nothing is silently replaced by a default.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use serde_json::{Map, Value};

use super::envelope::Refused;
use crate::leads::job::ReportFormat;
use crate::leads::settings::Money;

/// Characters of a sent value that a sentence repeats.
const REPEATED: usize = 40;
/// Longest name of a sheet or column, in bytes. Excel allows 31 characters for a sheet.
const NAME_BYTES_MAX: usize = 1_024;

/// Ids in one read, as the `/excel` endpoints take them.
pub(super) const READ_BATCH: RangeInclusive<u64> = 50..=200;
/// Leads in one item of the assessor, as the `/excel` endpoints take them.
pub(super) const ASSESS_BATCH: RangeInclusive<u64> = 10..=100;

/// Parameters by name, as texts or as JSON values.
#[derive(Debug, Default)]
pub(super) struct Parameters {
    values: BTreeMap<String, Value>,
    /// Numbers and truth values come as text: a form, or the query of an address.
    are_texts: bool,
    /// A text without characters is nothing: a form sends its empty fields too.
    empty_is_nothing: bool,
}

impl Parameters {
    /// Of a form. A name that comes twice keeps its last value.
    pub fn of_texts(texts: impl IntoIterator<Item = (String, String)>) -> Self {
        let values = texts.into_iter().map(|(name, text)| (name, Value::String(text))).collect();
        Self { values, are_texts: true, empty_is_nothing: true }
    }

    /// Of the query of an address.
    pub fn of_address(query: &str) -> Result<Self, Refused> {
        let read = actix_web::web::Query::<Vec<(String, String)>>::from_query(query);
        let pairs =
            read.map_err(|_| Refused::wrong("the query of the address is not in UTF-8; encode it with %"))?;
        let mut values = BTreeMap::new();
        for (name, text) in pairs.into_inner() {
            if values.contains_key(&name) {
                return Err(Refused::wrong(format!(
                    "`{}` stands twice in the query of the address",
                    cut(&name)
                )));
            }
            values.insert(name, Value::String(text));
        }
        Ok(Self { values, are_texts: true, empty_is_nothing: false })
    }

    /// Of a JSON object.
    pub fn of_object(object: Map<String, Value>) -> Self {
        Self { values: object.into_iter().collect(), are_texts: false, empty_is_nothing: false }
    }

    /// Refuses parameters that there are not.
    pub fn only(&self, known: &[&str]) -> Result<(), Refused> {
        match self.values.keys().find(|name| !known.contains(&name.as_str())) {
            None => Ok(()),
            Some(name) => {
                let known = known.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
                Err(Refused::wrong(format!("there is no parameter `{}`; there are {known}", cut(name))))
            }
        }
    }

    /// A value; null, and an empty text in a form, is none.
    fn get(&self, name: &str) -> Option<&Value> {
        let value = self.values.get(name)?;
        let is_nothing =
            value.is_null() || (self.empty_is_nothing && value.as_str().is_some_and(str::is_empty));
        (!is_nothing).then_some(value)
    }

    /// Takes a value out.
    pub fn take(&mut self, name: &str) -> Option<Value> {
        self.values.remove(name).filter(|value| !value.is_null())
    }

    /// A whole number within a range.
    pub fn whole(&self, name: &str, range: RangeInclusive<u64>) -> Result<Option<u64>, Refused> {
        let Some(value) = self.get(name) else { return Ok(None) };
        let number = match value {
            Value::String(text) if self.are_texts => text.trim().parse().ok(),
            Value::Number(number) => whole_number(number),
            _ => None,
        };
        match number {
            Some(number) if range.contains(&number) => Ok(Some(number)),
            _ => Err(Refused::wrong(format!(
                "`{name}` takes a whole number from {} to {}, not {}",
                range.start(),
                range.end(),
                shown(value)
            ))),
        }
    }

    /// The same as a count.
    pub fn count(&self, name: &str, range: RangeInclusive<u64>) -> Result<Option<usize>, Refused> {
        Ok(self.whole(name, range)?.map(|number| usize::try_from(number).unwrap_or(usize::MAX)))
    }

    /// `true` or `false`.
    pub fn truth(&self, name: &str) -> Result<Option<bool>, Refused> {
        let Some(value) = self.get(name) else { return Ok(None) };
        let truth = match value {
            Value::Bool(truth) => Some(*truth),
            Value::String(text) if self.are_texts => match text.trim().to_ascii_lowercase().as_str() {
                "true" | "1" | "yes" | "on" => Some(true),
                "false" | "0" | "no" | "off" => Some(false),
                _ => None,
            },
            _ => None,
        };
        truth
            .map(Some)
            .ok_or_else(|| Refused::wrong(format!("`{name}` takes `true` or `false`, not {}", shown(value))))
    }

    /// Money in units of the currency.
    pub fn money(&self, name: &str) -> Result<Option<Money>, Refused> {
        let Some(value) = self.get(name) else { return Ok(None) };
        let units = match value {
            Value::String(text) if self.are_texts => text.trim().parse::<f64>().ok(),
            Value::Number(number) => number.as_f64(),
            _ => None,
        };
        match units {
            Some(units) if (0.0..=1e9).contains(&units) => Ok(Some(Money::from_units(units))),
            _ => Err(Refused::wrong(format!(
                "`{name}` takes an amount of money from 0 to 1000000000, such as 2.50, not {}",
                shown(value)
            ))),
        }
    }

    /// A text of at most `bytes_max` bytes.
    pub fn text(&self, name: &str, bytes_max: usize) -> Result<Option<&str>, Refused> {
        let Some(value) = self.get(name) else { return Ok(None) };
        match value {
            Value::String(text) if text.len() <= bytes_max => Ok(Some(text)),
            Value::String(text) => {
                let bytes = text.len();
                Err(Refused::wrong(format!("`{name}` has {bytes} bytes; it may have {bytes_max}")))
            }
            _ => Err(Refused::wrong(format!("`{name}` takes a text, not {}", shown(value)))),
        }
    }

    /// The name of a sheet or of a column.
    pub fn name(&self, name: &str) -> Result<Option<String>, Refused> {
        let text = self.text(name, NAME_BYTES_MAX)?;
        Ok(text.filter(|text| !text.trim().is_empty()).map(str::to_owned))
    }

    /// Forms of a report: a list, or in a form a text with commas.
    pub fn reports(&self, name: &str) -> Result<Vec<ReportFormat>, Refused> {
        let Some(value) = self.get(name) else { return Ok(Vec::new()) };
        let wrong = || {
            Refused::wrong(format!("`{name}` takes any of `xlsx`, `csv` and `jsonl`, not {}", shown(value)))
        };
        let words: Vec<&str> = match value {
            Value::String(text) if self.are_texts => text.split(',').map(str::trim).collect(),
            Value::Array(words) => {
                words.iter().map(Value::as_str).collect::<Option<_>>().ok_or_else(wrong)?
            }
            _ => return Err(wrong()),
        };
        let mut formats = Vec::new();
        for word in words {
            let format = report_format(word).ok_or_else(wrong)?;
            if !formats.contains(&format) {
                formats.push(format);
            }
        }
        Ok(formats)
    }

    /// A list of texts, each of at most `bytes_max` bytes.
    pub fn texts(&self, name: &str, most: usize, bytes_max: usize) -> Result<Option<Vec<String>>, Refused> {
        let Some(value) = self.get(name) else { return Ok(None) };
        let Value::Array(items) = value else {
            return Err(Refused::wrong(format!("`{name}` takes a list of texts, not {}", shown(value))));
        };
        if items.len() > most {
            let items = items.len();
            return Err(Refused::wrong(format!(
                "`{name}` has {items} entries; it may have {most}, more are sent as a file to `POST /v1/leads`"
            )));
        }
        let text_at = |(index, item): (usize, &Value)| match item {
            Value::String(text) if text.len() <= bytes_max => Ok(text.clone()),
            Value::String(_) => {
                Err(Refused::wrong(format!("`{name}[{index}]` is longer than {bytes_max} bytes")))
            }
            other => Err(Refused::wrong(format!("`{name}[{index}]` takes a text, not {}", shown(other)))),
        };
        items.iter().enumerate().map(text_at).collect::<Result<_, _>>().map(Some)
    }

    /// An object.
    pub fn object(&self, name: &str) -> Result<Option<Map<String, Value>>, Refused> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::Object(object)) => Ok(Some(object.clone())),
            Some(other) => Err(Refused::wrong(format!("`{name}` takes an object, not {}", shown(other)))),
        }
    }
}

/// A number without a fraction: to JSON, 100 and 100.0 are the same.
fn whole_number(number: &serde_json::Number) -> Option<u64> {
    let by_fraction = || number.as_f64().filter(|value| value.fract() == 0.0 && (0.0..1e15).contains(value));
    number.as_u64().or_else(|| by_fraction().map(|value| value as u64))
}

/// The form that a word names.
pub(super) fn report_format(word: &str) -> Option<ReportFormat> {
    [ReportFormat::Xlsx, ReportFormat::Csv, ReportFormat::Jsonl]
        .into_iter()
        .find(|format| format.extension() == word)
}

/// What was sent, as far as a sentence repeats it.
fn shown(value: &Value) -> String {
    match value {
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "an object".to_owned(),
        Value::String(text) => format!("`{}`", cut(text)),
        other => format!("`{other}`"),
    }
}

fn cut(text: &str) -> String {
    let mut kept: String = text.chars().filter(|c| !c.is_control()).take(REPEATED).collect();
    if kept.len() < text.len() {
        kept.push_str("...");
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;
    use serde_json::json;

    fn form(value: &str) -> Parameters {
        Parameters::of_texts([("x".to_owned(), value.to_owned())])
    }

    fn body(value: Value) -> Parameters {
        let Value::Object(object) = json!({ "x": value }) else { panic!("an object") };
        Parameters::of_object(object)
    }

    #[rstest]
    #[case::none(form(""), Ok(None))]
    #[case::lowest(form("50"), Ok(Some(50)))]
    #[case::highest(form(" 200 "), Ok(Some(200)))]
    #[case::below(form("49"), Err("`49`"))]
    #[case::above(form("201"), Err("`201`"))]
    #[case::negative(form("-1"), Err("`-1`"))]
    #[case::word(form("many"), Err("`many`"))]
    #[case::fraction(form("50.5"), Err("`50.5`"))]
    #[case::null(body(Value::Null), Ok(None))]
    #[case::json(body(json!(100)), Ok(Some(100)))]
    #[case::json_with_a_point(body(json!(100.0)), Ok(Some(100)))]
    #[case::json_fraction(body(json!(100.5)), Err("`100.5`"))]
    #[case::json_text(body(json!("100")), Err("`100`"))]
    #[case::json_truth(body(json!(true)), Err("`true`"))]
    #[case::json_huge(body(json!(1e300)), Err("`1e+300`"))]
    #[case::json_list(body(json!([100])), Err("a list"))]
    fn a_number_out_of_range_is_told_with_its_name_and_bounds(
        #[case] parameters: Parameters,
        #[case] expected: Result<Option<u64>, &str>,
    ) {
        match (parameters.whole("x", READ_BATCH), expected) {
            (Ok(read), Ok(expected)) => assert_eq!(read, expected),
            (Err(refused), Err(sent)) => {
                let expected = format!("`x` takes a whole number from 50 to 200, not {sent}");
                assert_eq!((refused.status.as_u16(), refused.message), (400, expected));
            }
            other => panic!("{other:?}"),
        }
    }

    #[rstest]
    #[case::yes(form("True"), Some(Some(true)))]
    #[case::no(form("0"), Some(Some(false)))]
    #[case::none(form(""), Some(None))]
    #[case::word(form("maybe"), None)]
    #[case::json(body(json!(false)), Some(Some(false)))]
    #[case::json_word(body(json!("true")), None)]
    #[case::json_number(body(json!(1)), None)]
    fn a_truth_value_is_one(#[case] parameters: Parameters, #[case] expected: Option<Option<bool>>) {
        assert_eq!(parameters.truth("x").ok(), expected);
    }

    #[test]
    fn forms_of_reports_are_listed_or_written_with_commas() {
        let both = vec![ReportFormat::Xlsx, ReportFormat::Csv];
        assert_eq!(form("xlsx, csv,xlsx").reports("x"), Ok(both.clone()));
        assert_eq!(body(json!(["xlsx", "csv"])).reports("x"), Ok(both));
        assert!(form("pdf").reports("x").unwrap_err().message.contains("not `pdf`"));
        assert!(body(json!("xlsx")).reports("x").is_err(), "a list is needed");
    }

    #[test]
    fn money_is_neither_negative_nor_endless() {
        assert_eq!(form("2.50").money("x"), Ok(Some(Money(2_500_000))));
        assert_eq!(body(json!(0)).money("x"), Ok(Some(Money(0))));
        for wrong in ["-1", "inf", "NaN", "2,50", "1e12"] {
            assert!(form(wrong).money("x").is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_list_that_is_too_long_names_where_to_send_it() {
        let list = body(json!(["a", "b", "c"]));
        assert_eq!(list.texts("x", 3, 1).unwrap().unwrap().len(), 3);
        assert!(list.texts("x", 2, 1).unwrap_err().message.contains("POST /v1/leads"));
        assert_eq!(
            body(json!(["a", 1])).texts("x", 3, 1).unwrap_err().message,
            "`x[1]` takes a text, not `1`"
        );
    }

    #[test]
    fn an_unknown_parameter_is_told_with_those_there_are() {
        let refused = form("1").only(&["sheet"]).unwrap_err();
        assert_eq!(refused.message, "there is no parameter `x`; there are `sheet`");
    }

    #[test]
    fn an_address_says_everything_once_and_means_it() {
        let read = Parameters::of_address("limit=5&where=Company%20LIKE%20%27A%25%27&other").unwrap();
        assert_eq!(read.whole("limit", 1..=10), Ok(Some(5)));
        assert_eq!(read.text("where", 100), Ok(Some("Company LIKE 'A%'")));
        assert!(Parameters::of_address("limit=5&limit=6").is_err());
        assert!(Parameters::of_address("limit=").unwrap().whole("limit", 1..=10).is_err());
    }
}
