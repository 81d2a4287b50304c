//! The promise of this module, on 10,000 random rows: written as each interface writes them, with every
//! freedom it has, they become the same bytes, and these are the right ones.

use std::fmt::Write as _;
use std::ops::ControlFlow;

use proptest::prelude::*;
use proptest::sample::subsequence;

use super::*;

/// Cases times rows in a case: the 10,000 rows.
const CASES: u32 = 250;
const ROWS: usize = 40;

#[derive(Debug, Clone)]
enum Value {
    Null,
    Boolean(bool),
    Int(i64),
    /// An unscaled number and how many of its digits stand after the point.
    Decimal(i64, u32),
    Text(String),
    /// Fifteen characters and the three of the checksum.
    Id(&'static str, &'static str),
    Date(i64),
    DateTime(i64),
    Time(u32),
}

const DAY: i64 = 86_400_000;

/// The columns a case chooses from.
fn pool() -> Vec<Column> {
    let of = |name: &str, kind| Column::new(name, kind);
    vec![
        of("Id", ColumnKind::Id),
        of("Name", ColumnKind::Text),
        of("IsDeleted", ColumnKind::Boolean),
        of("Owner.Name", ColumnKind::Text),
        of("AnnualRevenue", ColumnKind::Decimal),
        of("Owner.Manager.Name", ColumnKind::Text),
        of("CreatedDate", ColumnKind::DateTime),
        of("NumberOfEmployees", ColumnKind::Int),
        of("Description", ColumnKind::Text),
        of("Owner.Manager.CreatedDate", ColumnKind::DateTime),
        of("ConvertedDate", ColumnKind::Date),
        of("Owner.Rate__c", ColumnKind::Decimal),
        of("Opens__c", ColumnKind::Time),
        of("Account__r.Id", ColumnKind::Id),
        of("Body__c", ColumnKind::Base64),
        of("SystemModstamp", ColumnKind::DateTime),
    ]
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<String>(),
        "[ -~]{1,40}",
        "[a-z\"\\\\,;\t|^`\r\n\0]{1,12}",
        prop::sample::select(vec![
            "NA",
            "None",
            "null",
            "true",
            "00042",
            "1.0",
            "#N/A",
            "a;b;c",
            "𝄞🜁é\u{2028}\u{feff}",
            "\0",
            "\"",
            "\"\"",
            "\\",
            "\r\n",
            " padded ",
            "{\"a\":1}",
            "'; DROP",
        ])
        .prop_map(str::to_owned),
    ]
}

fn value(kind: ColumnKind) -> BoxedStrategy<Value> {
    let some = match kind {
        ColumnKind::Boolean => any::<bool>().prop_map(Value::Boolean).boxed(),
        ColumnKind::Int => prop_oneof![any::<i64>(), -1000_i64..1000].prop_map(Value::Int).boxed(),
        ColumnKind::Decimal => (prop_oneof![any::<i64>(), -100_000_i64..100_000], 0_u32..19)
            .prop_map(|(unscaled, scale)| Value::Decimal(unscaled, scale))
            .boxed(),
        ColumnKind::Id => prop::sample::select(vec![
            Value::Id("00Q5g00000AbCdE", "EAV"),
            Value::Id("a01M00000062mPg", "IAI"),
            Value::Id("0F9E000000092w2", "KAA"),
        ])
        .boxed(),
        ColumnKind::Date => (-719_162_i64..2_932_897).prop_map(Value::Date).boxed(),
        ColumnKind::DateTime => {
            // A day inside the calendar's ends, so that an offset leads nowhere else.
            (-719_161 * DAY..2_932_896 * DAY).prop_map(Value::DateTime).boxed()
        }
        ColumnKind::Time => (0_u32..86_400_000).prop_map(Value::Time).boxed(),
        ColumnKind::Base64 => "[A-Za-z0-9+/]{4}{0,9}=".prop_map(Value::Text).boxed(),
        ColumnKind::Text | ColumnKind::Json => text().prop_map(Value::Text).boxed(),
    };
    prop_oneof![1 => Just(Value::Null), 5 => some].boxed()
}

fn table() -> impl Strategy<Value = (Vec<Column>, Vec<Vec<Value>>, u64)> {
    let columns = (1..=pool().len()).prop_flat_map(|count| subsequence(pool(), count)).prop_shuffle();
    (columns, any::<u64>()).prop_flat_map(|(columns, seed)| {
        let row: Vec<_> = columns.iter().map(|column| value(column.kind)).collect();
        (Just(columns), prop::collection::vec(row, ROWS), Just(seed))
    })
}

/// Chooses among the freedoms that an interface has; a small generator, so that one seed tells it all.
struct Dice(u64);

impl Dice {
    fn below(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }

    fn one_in(&mut self, sides: u64) -> bool {
        self.below(sides) == 0
    }
}

fn stamp(ms: i64) -> String {
    jiff::Timestamp::from_millisecond(ms).unwrap().strftime("%Y-%m-%dT%H:%M:%S%.3f").to_string()
}

fn day(days: i64) -> String {
    stamp(days * DAY)[..10].to_owned()
}

/// The digits of a decimal with its point, as they are.
fn decimal(unscaled: i64, scale: u32) -> String {
    let digits = format!("{:0>width$}", unscaled.unsigned_abs(), width = scale as usize + 1);
    let (whole, fraction) = digits.split_at(digits.len() - scale as usize);
    let point = if scale == 0 { "" } else { "." };
    format!("{}{whole}{point}{fraction}", if unscaled < 0 { "-" } else { "" })
}

/// The one right line, made with other means.
fn expected_line(columns: &[Column], row: &[Value]) -> String {
    let members: Vec<String> = columns
        .iter()
        .zip(row)
        .map(|(column, value)| {
            let json = match value {
                Value::Null => "null".to_owned(),
                Value::Boolean(value) => value.to_string(),
                Value::Int(number) => number.to_string(),
                Value::Decimal(0, _) => "0".to_owned(),
                Value::Decimal(unscaled, scale) => {
                    let text = decimal(*unscaled, *scale);
                    if text.contains('.') {
                        text.trim_end_matches('0').trim_end_matches('.').to_owned()
                    } else {
                        text
                    }
                }
                Value::Text(text) => match text.replace('\0', "").as_str() {
                    "" => "null".to_owned(),
                    text => serde_json::to_string(text).unwrap(),
                },
                Value::Id(id, checksum) => format!("\"{id}{checksum}\""),
                Value::Date(days) => format!("\"{}\"", day(*days)),
                Value::DateTime(ms) => format!("\"{}Z\"", stamp(*ms)),
                Value::Time(ms) => format!("\"{}Z\"", &stamp(i64::from(*ms))[11..]),
            };
            format!("\"{}\":{json}", column.name)
        })
        .collect();
    format!("{{{}}}\n", members.join(","))
}

/// A decimal in one of the spellings of its value.
fn spelt_decimal(unscaled: i64, scale: u32, dice: &mut Dice) -> String {
    let mut text = decimal(unscaled, scale);
    match dice.below(4) {
        0 => {}
        1 => {
            text.push_str(if scale == 0 { ".0" } else { "00" });
        }
        2 => {
            let _ = write!(text, "{}", ["e0", "E+00", "e-0"][dice.below(3) as usize]);
        }
        // As floats are printed: one digit, the others, the exponent.
        _ => {
            let digits = unscaled.unsigned_abs().to_string();
            let exponent = digits.len() as i64 - 1 - i64::from(scale);
            let sign = if unscaled < 0 { "-" } else { "" };
            let (first, others) = digits.split_at(1);
            text = format!("{sign}{first}.{others}0E{exponent}");
        }
    }
    text
}

/// A value's text, apart from quoting; `colon` decides on the form of offsets.
fn spelt(value: &Value, dice: &mut Dice, rest: bool) -> String {
    match value {
        Value::Null => String::new(),
        Value::Boolean(value) => value.to_string(),
        Value::Int(number) => number.to_string(),
        Value::Decimal(unscaled, scale) => spelt_decimal(*unscaled, *scale, dice),
        Value::Text(text) => text.clone(),
        Value::Id(id, checksum) if dice.one_in(4) => format!("{id}{}", &checksum[..0]),
        Value::Id(id, checksum) => format!("{id}{checksum}"),
        Value::Date(days) => day(*days),
        Value::DateTime(ms) if dice.one_in(4) => {
            let minutes = dice.below(24 * 60) as i64 - 12 * 60;
            let (hours, rest) = (minutes.abs() / 60, minutes.abs() % 60);
            let colon = if dice.one_in(2) { ":" } else { "" };
            let sign = if minutes < 0 { '-' } else { '+' };
            format!("{}{sign}{hours:02}{colon}{rest:02}", stamp(ms + minutes * 60_000))
        }
        Value::DateTime(ms) => format!("{}{}", stamp(*ms), if rest { "+0000" } else { "Z" }),
        Value::Time(ms) => format!("{}Z", &stamp(i64::from(*ms))[11..]),
    }
}

fn json_string(text: &str, dice: &mut Dice) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        let mut units = [0; 2];
        match c {
            _ if c.is_control() || dice.one_in(12) => {
                for unit in c.encode_utf16(&mut units) {
                    let _ = write!(out, "\\u{unit:04x}");
                }
            }
            '"' | '\\' => out.extend(['\\', c]),
            _ => out.push(c),
        }
    }
    out.push('"');
    out
}

/// One value in JSON, with milliseconds for times when it is for Bulk 1.0.
fn json_value(value: &Value, dice: &mut Dice, epoch_times: bool) -> String {
    match value {
        Value::Null => if dice.one_in(3) { "\"\"" } else { "null" }.to_owned(),
        Value::DateTime(ms) if epoch_times => ms.to_string(),
        Value::Date(days) if epoch_times => (days * DAY).to_string(),
        Value::Time(ms) if epoch_times => ms.to_string(),
        Value::Boolean(_) | Value::Int(_) | Value::Decimal(..) => spelt(value, dice, true),
        _ => {
            let text = spelt(value, dice, true);
            json_string(&text, dice)
        }
    }
}

/// The members of a record below the path `above`, which is empty or ends with a point.
fn json_record(above: &str, cells: &[(&str, &Value)], dice: &mut Dice, epoch_times: bool) -> String {
    let mut members = Vec::new();
    if dice.one_in(2) {
        members.push(
            r#""attributes":{"type":"Lead","url":"/services/data/v62.0/sobjects/Lead/00Q"}"#.to_owned(),
        );
    }
    let mut names: Vec<&str> = Vec::new();
    for (path, value) in cells {
        let Some(path) = path.strip_prefix(above) else { continue };
        let name = path.split('.').next().unwrap();
        if names.contains(&name) {
            continue;
        }
        names.push(name);
        let space = if dice.one_in(8) { " \n" } else { "" };
        if name == path {
            members.push(format!("\"{name}\"{space}:{space}{}", json_value(value, dice, epoch_times)));
            continue;
        }
        let below = format!("{above}{name}.");
        let is_null =
            |(path, value): &&(&str, &Value)| path.starts_with(&below) && !matches!(value, Value::Null);
        let nested = if cells.iter().find(is_null).is_none() && dice.one_in(2) {
            "null".to_owned()
        } else {
            json_record(&below, cells, dice, epoch_times)
        };
        members.push(format!("\"{name}\":{space}{nested}"));
    }
    if dice.one_in(4) {
        members.push(r#""Unasked__c":{"deep":[1,"x",null]}"#.to_owned());
    }
    if dice.one_in(4) {
        let turn = dice.below(members.len() as u64) as usize;
        members.rotate_left(turn);
    }
    format!("{{{}}}", members.join(","))
}

fn json_records(columns: &[Column], rows: &[Vec<Value>], dice: &mut Dice, epoch_times: bool) -> String {
    let records: Vec<String> = rows
        .iter()
        .map(|row| {
            let cells: Vec<_> = columns.iter().map(|column| column.name.as_str()).zip(row).collect();
            json_record("", &cells, dice, epoch_times)
        })
        .collect();
    format!("[{}]", records.join(","))
}

fn csv_line(cells: &[String], delimiter: char, line_end: &str, dice: &mut Dice) -> String {
    let cells: Vec<String> = cells
        .iter()
        .map(|cell| {
            let needs_quotes = cell.contains(['"', '\r', '\n', delimiter]);
            if needs_quotes || cells.len() == 1 || !dice.one_in(4) {
                format!("\"{}\"", cell.replace('"', "\"\""))
            } else {
                cell.clone()
            }
        })
        .collect();
    cells.join(&delimiter.to_string()) + line_end
}

/// A page of CSV.
fn csv_page(columns: &[Column], rows: &[Vec<Value>], delimiter: Delimiter, dice: &mut Dice) -> String {
    let delimiter = char::from(delimiter.byte());
    let line_end = if dice.one_in(2) { "\r\n" } else { "\n" };
    let names: Vec<String> = columns.iter().map(|column| column.name.clone()).collect();
    let mut page = csv_line(&names, delimiter, line_end, dice);
    for row in rows {
        let cells: Vec<String> = row.iter().map(|value| spelt(value, dice, false)).collect();
        page += &csv_line(&cells, delimiter, line_end, dice);
    }
    if dice.one_in(4) {
        page.truncate(page.len() - line_end.len());
    }
    page
}

fn collect(lines: &mut Vec<u8>) -> impl FnMut(&Row<'_>) -> ControlFlow<()> {
    |row| {
        row.write_json_line(lines);
        ControlFlow::Continue(())
    }
}

/// Reads pages of CSV in pieces of `sizes`, over and over.
fn read_csv(
    columns: &Columns,
    delimiter: Delimiter,
    pages: &[String],
    sizes: &[usize],
) -> Result<String, RowsError> {
    let mut lines = Vec::new();
    let mut sink = collect(&mut lines);
    let mut reader = CsvRows::new(columns.clone(), CsvOptions { delimiter, rows_done: 0 });
    let mut sizes = sizes.iter().cycle();
    for page in pages {
        let mut left = page.as_bytes();
        while !left.is_empty() {
            let (piece, rest) = left.split_at(left.len().min(*sizes.next().unwrap()));
            reader.feed(piece, &mut sink)?;
            left = rest;
        }
        reader.end_page(&mut sink)?;
    }
    drop(sink);
    Ok(String::from_utf8(lines).unwrap())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: CASES, ..ProptestConfig::default() })]

    #[test]
    fn a_row_is_the_same_bytes_whichever_interface_delivered_it(
        (columns, rows, seed) in table(),
        sizes in prop::collection::vec(1_usize..300, 1..20),
    ) {
        let expected: String = rows.iter().map(|row| expected_line(&columns, row)).collect();
        let mut dice = Dice(seed);
        let shape = Columns::new(columns.clone()).unwrap();
        let cut = dice.below(ROWS as u64 + 1) as usize;

        let mut lines = Vec::new();
        let mut reader = RestRows::new(shape.clone(), 0);
        for (rows, done) in [(&rows[..cut], false), (&rows[cut..], true)] {
            let records = json_records(&columns, rows, &mut dice, false);
            let body = format!(r#"{{"totalSize":{ROWS},"done":{done},"records":{records}}}"#);
            let page = reader.read_page(body.as_bytes(), &mut collect(&mut lines));
            prop_assert_eq!(page.map(|page| page.rows), Ok(rows.len() as u64));
        }
        prop_assert_eq!(std::str::from_utf8(&lines).unwrap(), &expected);

        let delimiter = Delimiter::ALL[dice.below(6) as usize];
        let pages = [&rows[..cut], &rows[cut..]].map(|rows| csv_page(&columns, rows, delimiter, &mut dice));
        for sizes in [&[usize::MAX][..], &[1], &sizes] {
            let read = read_csv(&shape, delimiter, &pages, sizes);
            prop_assert_eq!(read.as_ref(), Ok(&expected));
        }

        lines.clear();
        let body = json_records(&columns, &rows, &mut dice, true);
        let read = BulkOneRows::new(shape, 0).read_result(body.as_bytes(), &mut collect(&mut lines));
        prop_assert_eq!(read, Ok(ROWS as u64));
        prop_assert_eq!(std::str::from_utf8(&lines).unwrap(), &expected);
    }
}

/// Bytes near to what the readers take, so that they get far.
fn almost_rows() -> impl Strategy<Value = Vec<u8>> {
    let parts = [
        "\"Id\",\"Owner.Name\",\"Amount\",\"At\"\n",
        "\"",
        "\"\"",
        ",",
        "\n",
        "\r\n",
        "\r",
        "\0",
        "\u{feff}",
        "a",
        "1.5",
        "-0e",
        "2026-01-02T03:04:05.000+0000",
        "00Q5g00000AbCdE",
        "{",
        "}",
        "[",
        "]",
        ":",
        "\"Id\"",
        "\"Owner\"",
        "\"Name\"",
        "\"Amount\":",
        "\"At\":",
        "null",
        "true",
        "\\",
        "\\u",
        "\\ud834",
        "{\"totalSize\":1,\"done\":true,\"records\":[",
        "é",
        "{\"Id\":\"1\",\"Owner\":{\"Name\":\"x\"},\"Amount\":1e5,\"At\":null}",
    ];
    let part = prop_oneof![
        9 => prop::sample::select(parts.to_vec()).prop_map(|part| part.as_bytes().to_vec()),
        1 => any::<Vec<u8>>(),
    ];
    prop::collection::vec(part, 0..30).prop_map(|parts| parts.concat())
}

proptest! {
    #[test]
    fn whatever_arrives_is_read_or_refused_and_never_a_panic(
        bytes in prop_oneof![4 => almost_rows(), 1 => any::<Vec<u8>>()],
        size in 1_usize..20,
    ) {
        let columns = Columns::new(vec![
            Column::new("Id", ColumnKind::Id),
            Column::new("Owner.Name", ColumnKind::Text),
            Column::new("Amount", ColumnKind::Decimal),
            Column::new("At", ColumnKind::DateTime),
        ]).unwrap();
        let (mut whole, mut pieces) = (Vec::new(), Vec::new());
        let read = |size: usize, lines: &mut Vec<u8>| {
            let mut reader = CsvRows::new(columns.clone(), CsvOptions::default());
            bytes.chunks(size).try_for_each(|piece| reader.feed(piece, &mut collect(lines)))?;
            reader.finish(&mut collect(lines))
        };
        prop_assert_eq!(read(usize::MAX, &mut whole), read(size, &mut pieces));
        prop_assert_eq!(whole, pieces);
        let mut lines = Vec::new();
        let _ = RestRows::new(columns.clone(), 0).read_page(&bytes, &mut collect(&mut lines));
        let _ = RestRows::new(columns.clone(), 0).read_list(&bytes, &mut collect(&mut lines), &mut |_| {});
        let _ = BulkOneRows::new(columns, 0).read_result(&bytes, &mut collect(&mut lines));
        for line in lines.split_inclusive(|byte| *byte == b'\n') {
            prop_assert!(serde_json::from_slice::<serde_json::Value>(line).is_ok());
        }
    }
}
