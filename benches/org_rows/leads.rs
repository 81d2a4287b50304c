//! Leads as an org gives them: 30 fields, about 1 kB a row, computed from the row's number.

use std::fmt::Write as _;

use penstock::salesforce::rows::{Column, ColumnKind};

/// A value before an interface writes it.
enum Value {
    Null,
    Text(String),
    Boolean(bool),
    /// Written alike by both interfaces.
    Number(String),
    /// Milliseconds are always zero here; REST and Bulk differ in the offset.
    DateTime(String),
}

const FIELDS: [(&str, &str); 30] = [
    ("Id", "id"),
    ("IsDeleted", "boolean"),
    ("Salutation", "picklist"),
    ("FirstName", "string"),
    ("LastName", "string"),
    ("Title", "string"),
    ("Company", "string"),
    ("Street", "textarea"),
    ("City", "string"),
    ("State", "string"),
    ("PostalCode", "string"),
    ("Country", "string"),
    ("Latitude", "double"),
    ("Longitude", "double"),
    ("Phone", "phone"),
    ("Email", "email"),
    ("Website", "url"),
    ("Description", "textarea"),
    ("LeadSource", "picklist"),
    ("Status", "picklist"),
    ("Industry", "picklist"),
    ("Interests__c", "multipicklist"),
    ("AnnualRevenue", "currency"),
    ("NumberOfEmployees", "int"),
    ("OwnerId", "reference"),
    ("Owner.Name", "string"),
    ("ConvertedDate", "date"),
    ("CreatedDate", "datetime"),
    ("LastModifiedDate", "datetime"),
    ("SystemModstamp", "datetime"),
];

pub fn columns() -> Vec<Column> {
    FIELDS.iter().map(|(name, kind)| Column::new(*name, ColumnKind::from_describe(kind))).collect()
}

fn pick<'w>(words: &[&'w str], number: usize) -> &'w str {
    words.get(number % words.len()).copied().unwrap_or_default()
}

fn values(number: usize) -> Vec<Value> {
    let text = |text: &str| if text.is_empty() { Value::Null } else { Value::Text(text.to_owned()) };
    let first = pick(&["Ada", "Grace", "Jürgen", "Mária", "Kenji", "Aïcha", "Barbara", "Edsger"], number);
    let last = pick(&["Example", "O'Hara", "Nowak", "García", "Tanaka", "Lindström", "Okafor"], number / 8);
    let line_end = if number.is_multiple_of(4) { "\r\nBuilding 7" } else { "" };
    let mut description = String::new();
    while description.len() < 430 {
        let word = pick(
            &["asked for", "a quote on", "pumps and", "valves,", "will call", "back in spring;", "met at"],
            number + description.len(),
        );
        let _ = write!(description, "{word} ");
    }
    if number.is_multiple_of(5) {
        description.push_str("\"as soon as possible\"\nthen write to the office");
    }
    let stamp = |plus: usize| {
        let second = number * 7 + plus;
        Value::DateTime(format!(
            "2026-{:02}-{:02}T{:02}:{:02}:{:02}.000",
            second % 12 + 1,
            second % 28 + 1,
            second % 24,
            second % 60,
            second / 60 % 60
        ))
    };
    vec![
        Value::Text(format!("00Q5g{number:010}EAV")),
        Value::Boolean(number.is_multiple_of(50)),
        text(pick(&["Mr.", "Ms.", "Dr.", ""], number)),
        text(first),
        text(last),
        text(pick(&["Head of Purchasing", "CTO", "Plant Manager", "", "VP Operations"], number)),
        Value::Text(format!("{last} & Sons Hydraulics {}", number % 997)),
        Value::Text(format!("{} Canal Street{line_end}", number % 300 + 1)),
        text(pick(&["Ulm", "Łódź", "São Paulo", "Springfield", "Osaka"], number)),
        text(pick(&["", "IL", "Bavaria", ""], number)),
        Value::Text(format!("{:05}", number * 37 % 100_000)),
        text(pick(&["Germany", "Poland", "Brazil", "United States", "Japan"], number)),
        Value::Number(format!("{}.{:06}", number % 90, number * 7_919 % 1_000_000)),
        Value::Number(format!("-{}.{:06}", number % 180, number * 104_729 % 1_000_000)),
        Value::Text(format!("+49 731 {:07}", number * 13 % 10_000_000)),
        Value::Text(format!("lead.{number}@example.com")),
        Value::Text(format!("https://www.example.com/companies/{}", number % 997)),
        Value::Text(description.trim_end().to_owned()),
        text(pick(&["Web", "Phone Inquiry", "Partner Referral", "Purchased List", "Other"], number)),
        text(pick(&["Open - Not Contacted", "Working - Contacted", "Closed - Converted"], number)),
        text(pick(&["Manufacturing", "Utilities", "Agriculture", "Energy"], number)),
        text(pick(&["Pumps;Valves", "", "Pipes", "Pumps;Pipes;Gates"], number)),
        if number.is_multiple_of(3) { Value::Null } else { Value::Number(format!("{}.0", number * 1_250)) },
        Value::Number(format!("{}", number % 10_000)),
        Value::Text(format!("0055g{:010}AAV", number % 40)),
        text(pick(&["Ada Example", "Grace Example", "Kenji Example"], number % 40)),
        if number.is_multiple_of(6) { Value::Text("2026-05-17".to_owned()) } else { Value::Null },
        stamp(0),
        stamp(3_600),
        stamp(7_200),
    ]
}

/// A page of a REST query with the rows from `page * rows`.
pub fn rest_page(page: usize, rows: usize) -> Vec<u8> {
    let records: Vec<String> = (page * rows..(page + 1) * rows)
        .map(|number| {
            let mut record = String::from(
                "{\"attributes\":{\"type\":\"Lead\",\"url\":\"/services/data/v62.0/sobjects/Lead/00Q5g0000000000EAV\"}",
            );
            for ((name, _), value) in FIELDS.iter().zip(values(number)) {
                let json = match value {
                    Value::Null => "null".to_owned(),
                    Value::Text(text) => serde_json::to_string(&text).expect("text is JSON"),
                    Value::Boolean(flag) => flag.to_string(),
                    Value::Number(number) => number,
                    Value::DateTime(stamp) => format!("\"{stamp}+0000\""),
                };
                let _ = match name.split_once('.') {
                    Some((parent, field)) => write!(
                        record,
                        ",\"{parent}\":{{\"attributes\":{{\"type\":\"User\",\"url\":\"/services/data/v62.0/sobjects/User/0055g0000000000AAV\"}},\"{field}\":{json}}}"
                    ),
                    None => write!(record, ",\"{name}\":{json}"),
                };
            }
            record + "}"
        })
        .collect();
    format!("{{\"totalSize\":1000000,\"done\":false,\"nextRecordsUrl\":\"/services/data/v62.0/query/0r8xx0-2000\",\"records\":[{}]}}", records.join(","))
        .into_bytes()
}

/// A page of Bulk results with the same rows.
pub fn csv_page(page: usize, rows: usize) -> Vec<u8> {
    let quoted = |text: &str| format!("\"{}\"", text.replace('"', "\"\""));
    let header: Vec<String> = FIELDS.iter().map(|(name, _)| quoted(name)).collect();
    let mut csv = header.join(",") + "\n";
    for number in page * rows..(page + 1) * rows {
        let cells: Vec<String> = values(number)
            .into_iter()
            .map(|value| match value {
                Value::Null => quoted(""),
                Value::Text(text) | Value::Number(text) => quoted(&text),
                Value::Boolean(flag) => quoted(&flag.to_string()),
                Value::DateTime(stamp) => quoted(&format!("{stamp}Z")),
            })
            .collect();
        csv += &cells.join(",");
        csv.push('\n');
    }
    csv.into_bytes()
}
