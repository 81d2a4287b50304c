//! Rows of `Value_Case__c`: every kind of value that gets lost on its way through some API, parser or sheet.
//!
//! Each field walks through its own list at its own pace, so that row by row other values stand side by side.

use crate::{
    catalog::random::hash,
    model::{Field, SObject},
    rows_api::Value,
};

/// API name of the object.
pub const OBJECT: &str = "Value_Case__c";
/// Its table, in the language of `data/*.txt`.
pub const TABLE: &str = r#"
@ Value_Case "Value Case/Value Cases" n=10000
> Rows with values that are hard to carry unchanged.
Case_Key ext
Text text:255
Short_Text text:10
Long_Text long:32000
More_Text long:32000
Area area
Email email
Phone phone
Link url
Flag bool
Whole int
Decimal num:12.6
Small num:1.15
Money cur:16.2
Share pct:3.2
Day date
Moment dt
Choice pick = None; NA; null; true; 0; Größe, "quoted"
Choices multi = a; b; a b; "x"; y,z
"#;

const TEXTS: &[&str] = &[
    "plain",
    "",
    "007",
    "000000000000000001",
    "123456789012345678",
    "99999999999999999999",
    "NA",
    "N/A",
    "#N/A",
    "None",
    "null",
    "NULL",
    "nan",
    "true",
    "FALSE",
    "1e5",
    "1E400",
    "-0",
    "0.10",
    "1,234.50",
    "=1+1",
    "+44 20 7946 0000",
    "@here",
    "2026-01-02",
    "2026-01-02T03:04:05Z",
    "00Q5g00000AbCdE",
    "00Q5g00000AbCdEEAV",
    "a,b;c|d\te^f`g",
    "\"",
    "\"\"",
    "\"quoted\"",
    "ends with \"",
    "'single'",
    "back\\slash \\n \\\" \\u0041",
    "line one\nline two",
    "carriage\r\nreturn",
    "lone\rreturn",
    "\nstarts and ends with a break\n",
    "\"broken\n,line\"\n",
    " leading and trailing ",
    "\u{a0}no-break\u{a0}",
    "tab\there",
    "Größe Ærø Łódź",
    "中文字符 日本語",
    "עברית مرحبا",
    "👩‍👩‍👧‍👦 🇬🇧 🧊",
    "e\u{301} is not é",
    "zero\u{200b}width \u{feff}mark",
    "\u{1f}control\u{7}",
    "line\u{2028}separator",
    "</script><!-- & &amp; -->",
    "{\"json\":[1,null]}",
];
const DECIMALS: &[f64] = &[
    0.0,
    -0.0,
    1.0,
    -1.0,
    0.1,
    0.2,
    0.3,
    1.5,
    100.0,
    1_234.5,
    999_999.999_999,
    9_999_999.0,
    10_000_000.0,
    123_456_789.25,
    0.000_001,
    -0.000_001,
    0.007,
    2.675,
    123_456_789_012.0,
    999_999_999_999.5,
];
/// With fifteen digits after the point.
const SMALLS: &[f64] =
    &[0.0, 1e-15, -1e-15, 0.123_456_789_012_345, 1.000_000_000_000_001, 0.000_1, 0.001, -9.5];
const WHOLES: &[f64] = &[
    0.0,
    1.0,
    -1.0,
    2_147_483_647.0,
    2_147_483_648.0,
    9_007_199_254_740_991.0,
    -9_007_199_254_740_991.0,
    100_000_000_000_000_000.0,
    10_000_000.0,
    9_999_999.0,
];
const DAYS: &[&str] =
    &["1700-01-01", "1899-12-31", "1900-02-28", "1970-01-01", "2024-02-29", "2026-03-29", "4000-12-31"];
/// Epoch milliseconds: before the epoch, at it, around a change to summer time, the last the org takes.
const MOMENTS: &[i64] = &[
    -8_520_336_000_000,
    -1_000,
    0,
    1_774_746_000_000,
    1_774_749_600_000,
    1_772_323_199_000,
    64_092_211_199_000,
];

/// The value of a field of the object; `None` for fields every object has.
pub fn value(object: &SObject, index: u64, field: &Field) -> Option<Value> {
    if object.name != OBJECT || !field.custom {
        return None;
    }
    // Every so often nothing at all, whatever the list says next.
    let step = hash(&field.name) % 5 + 1;
    let place = index / 2 * step + index;
    let empty = (index + hash(&field.name) % 11).is_multiple_of(11);
    if empty && !matches!(field.name.as_str(), "Case_Key__c" | "Flag__c") {
        return Some(Value::Null);
    }
    let nth = |length: usize| (place % length as u64) as usize;
    let number = |list: &[f64]| Value::Double(list[nth(list.len())]);
    Some(match (field.field_type.as_str(), field.name.as_str()) {
        (_, "Case_Key__c") => Value::Text(format!("case-{index:08}")),
        ("boolean", _) => Value::Bool(place.is_multiple_of(2)),
        (_, "Whole__c") => number(WHOLES),
        (_, "Small__c") => number(SMALLS),
        (_, "Share__c") => number(&[0.0, 0.01, 33.33, 100.0, -12.5, 999.99]),
        ("currency", _) => number(&[0.0, 0.01, -0.01, 19.99, 1_234_567.89, 12_345_678_901_234.56, 1e13]),
        ("double", _) => number(DECIMALS),
        ("date", _) => Value::Date(DAYS[nth(DAYS.len())].to_owned()),
        ("datetime", _) => Value::DateTime(MOMENTS[nth(MOMENTS.len())]),
        ("email", _) => text(["a@b.example", "O'Brien+x@sub.example.co", "ünï@köd.example"][nth(3)], 80),
        ("phone", _) => text(["0", "007", "+1 (555) 010-0000", "12345678901234567890"][nth(4)], 40),
        ("url", _) => text(["https://x.example/?q=a,b&c=%22", "x.example"][nth(2)], 255),
        ("picklist", _) => Value::Text(field.picklist[nth(field.picklist.len())].0.clone()),
        ("multipicklist", _) => {
            let values: Vec<&str> = field.picklist.iter().map(|(value, _)| value.as_str()).collect();
            let some = 1 + nth(values.len());
            Value::Text(values[..some].join(";"))
        }
        ("textarea", "Long_Text__c") if index.is_multiple_of(97) => long(),
        ("textarea", _) => {
            text(&format!("{}{}", TEXTS[nth(TEXTS.len())], TEXTS[(nth(TEXTS.len()) + 7) % TEXTS.len()]), 255)
        }
        _ => text(TEXTS[nth(TEXTS.len())], field.length as usize),
    })
}

/// As the org keeps it: no longer than the field, nothing rather than an empty text.
fn text(text: &str, length: usize) -> Value {
    let kept: String = text.chars().take(length).collect();
    if kept.is_empty() { Value::Null } else { Value::Text(kept) }
}

/// As long as a long text may be, with something to escape in every line.
fn long() -> Value {
    let line = "A line, with \"quotes\" and ümlauts;\n";
    Value::Text(line.chars().cycle().take(32_000).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{catalog, dml::DataOptions, rows::SeededRows, rows_api::RowSource};
    use std::collections::HashSet;

    #[test]
    fn every_value_of_every_list_turns_up_and_fits_its_field() {
        let options = DataOptions { nasty_values: true, ..DataOptions::default() };
        let org = catalog::build_for(7, &[], &options).unwrap();
        assert_eq!(org.objects.len(), 1_464, "the object and its change event come on top");
        let object = org.object(OBJECT).unwrap();
        let rows = SeededRows::new(7, &org);
        let mut seen: HashSet<String> = HashSet::new();
        for field in object.fields.iter().filter(|field| field.custom) {
            for index in 0..2_000 {
                match rows.value(object, index, field) {
                    Value::Text(text) => {
                        assert!(text.chars().count() <= field.length as usize, "{}", field.name);
                        assert!(!text.is_empty());
                        if field.name == "Text__c" {
                            seen.insert(text);
                        }
                    }
                    Value::Double(number) => assert!(number.is_finite()),
                    _ => {}
                }
            }
        }
        let missing: Vec<_> =
            TEXTS.iter().filter(|text| !text.is_empty() && !seen.contains(**text)).collect();
        assert!(missing.is_empty(), "{missing:?}");
    }
}
