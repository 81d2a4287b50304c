//! What must hold for any bytes at all, as functions that a fuzzer feeds and that the tests replay.
//!
//! Compiled for tests and under `cfg(fuzzing)` only, which `cargo fuzz` sets; each function panics when its promise is
//! broken. The targets in `fuzz/` only call them, so stable replays the corpus with the very same checks.

#![allow(clippy::unwrap_used, reason = "a check says so by failing")]

use std::ops::ControlFlow;

use super::error::{OrgError, classify_login, classify_parts};
use super::rows::{Column, ColumnKind, Columns, CsvOptions, CsvRows, Delimiter, RestRows, Row, RowsError};
use super::soql::{Comparison, Condition, FieldPath, Literal, Select, SoqlError, Source};
use super::transport::HttpResponse;
use crate::model::{FieldName, ObjectName};

/// Statuses that pass by themselves, whatever the body is, unless it says otherwise in the org's own form.
const PASSING: [u16; 9] = [406, 408, 420, 429, 500, 502, 503, 504, 401];

fn columns() -> Columns {
    let of = |name: &str, kind| Column::new(name, kind);
    Columns::new(vec![
        of("Id", ColumnKind::Id),
        of("Name", ColumnKind::Text),
        of("Owner.Name", ColumnKind::Text),
        of("IsDeleted", ColumnKind::Boolean),
        of("Count__c", ColumnKind::Int),
        of("Amount", ColumnKind::Decimal),
        of("CloseDate", ColumnKind::Date),
        of("CreatedDate", ColumnKind::DateTime),
        of("Opens__c", ColumnKind::Time),
        of("Address", ColumnKind::Json),
    ])
    .unwrap()
}

/// CSV is read or refused; the pieces it comes in make no difference; every line is JSON with the columns in order.
/// The first byte chooses the delimiter, the second the size of the pieces.
pub fn csv_rows(data: &[u8]) {
    let [delimiter, size, csv @ ..] = data else { return };
    let delimiter = Delimiter::ALL[usize::from(*delimiter) % Delimiter::ALL.len()];
    let size = usize::from(*size) % 64 + 1;
    let read = |size: usize| {
        let mut lines = Vec::new();
        let mut sink = line_writer(&mut lines);
        let mut reader = CsvRows::new(columns(), CsvOptions { delimiter, rows_done: 0 });
        let fed = csv.chunks(size).try_for_each(|piece| reader.feed(piece, &mut sink));
        let read = fed.and_then(|()| reader.finish(&mut sink));
        drop(sink);
        (read, lines)
    };
    let (whole, in_pieces) = (read(usize::MAX), read(size));
    assert_eq!(whole, in_pieces, "pieces of {size} make a difference");
    check_lines(&whole.0, &whole.1);
}

/// A page of REST is read or refused; every line is JSON with the columns in order.
pub fn rest_rows(data: &[u8]) {
    let mut lines = Vec::new();
    let read = RestRows::new(columns(), 0).read_page(data, &mut line_writer(&mut lines));
    check_lines(&read.map(|page| page.rows), &lines);
    lines.clear();
    let read = RestRows::new(columns(), 0).read_list(data, &mut line_writer(&mut lines), &mut |_| {});
    if let Err(error) = read {
        check_lines(&Err(error), &lines);
    }
}

fn line_writer(lines: &mut Vec<u8>) -> impl FnMut(&Row<'_>) -> ControlFlow<()> {
    |row| {
        row.write_json_line(lines);
        ControlFlow::Continue(())
    }
}

fn check_lines(read: &Result<u64, RowsError>, lines: &[u8]) {
    let columns = columns();
    let mut count = 0;
    for line in lines.split_inclusive(|byte| *byte == b'\n') {
        let value: serde_json::Value = serde_json::from_slice(line).unwrap();
        assert_eq!(value.as_object().map(serde_json::Map::len), Some(columns.len()));
        // What was made canonical stays as it is when it is read again.
        let page = [b"{\"totalSize\":1,\"done\":true,\"records\":[", nested(line).as_bytes(), b"]}"].concat();
        let mut again = Vec::new();
        RestRows::new(columns.clone(), 0).read_page(&page, &mut line_writer(&mut again)).unwrap();
        assert_eq!(again, line, "the canonical form is not its own canonical form");
        count += 1;
    }
    match read {
        Ok(rows) => assert_eq!(*rows, count),
        Err(error) => assert!(error.to_string().len() < 200),
    }
}

/// A line as REST would nest it: the one parent's field goes below its parent.
fn nested(line: &[u8]) -> String {
    let line = std::str::from_utf8(line).unwrap();
    let (head, tail) = line.split_once(",\"Owner.Name\":").unwrap();
    let (owner, rest) = tail.split_once(",\"IsDeleted\":").unwrap();
    format!("{head},\"Owner\":{{\"Name\":{owner}}},\"IsDeleted\":{rest}")
}

/// Any answer is told apart, in a short message without control characters. The first two bytes are the status.
pub fn error_classifier(data: &[u8]) {
    let [high, low, body @ ..] = data else { return };
    let status = u16::from_be_bytes([*high, *low]);
    let error = classify_parts(status, body, None);
    check_error(&error);
    assert!(!error.is_refused_login() || !error.is_transient());
    let is_json = serde_json::from_slice::<serde_json::Value>(body).is_ok();
    assert!(
        is_json || !PASSING.contains(&status) || error.is_transient(),
        "a passing fault is held for a lasting one"
    );
    let login = classify_login(
        &HttpResponse { status, headers: Vec::new(), body: body.to_vec() },
        jiff::Timestamp::UNIX_EPOCH,
    );
    check_error(&login);
    assert!(!matches!(login, OrgError::Unauthorized { .. } | OrgError::SessionUnusable { .. }));
}

fn check_error(error: &OrgError) {
    let text = error.to_string();
    assert!(text.chars().count() < 800, "a message of {} characters", text.chars().count());
    assert!(!text.contains(char::is_control));
    let _ = (error.hint(), error.throttle_kind(), error.retry_after(), error.status(), format!("{error:?}"));
}

/// No text from outside changes a query's shape, and each arrives in its literal as it was. The bytes up to the first
/// `FF` choose the shape, the parts behind it are the texts.
pub fn soql_builder(data: &[u8]) {
    let mut parts = data.split(|byte| *byte == 0xFF);
    let choices = parts.next().unwrap_or_default();
    let texts: Vec<String> = parts.map(|part| String::from_utf8_lossy(part).into_owned()).collect();
    let mut given = QueryMaker { choices: choices.iter(), texts: &texts, used: Vec::new() };
    let harmless_texts = vec!["x".to_owned(); texts.len()];
    let mut harmless = QueryMaker { choices: choices.iter(), texts: &harmless_texts, used: Vec::new() };
    match (given.select().build(), harmless.select().build()) {
        (Ok(query), Ok(twin)) => {
            let (tokens, twin_tokens) = (tokens(query.as_str()), tokens(twin.as_str()));
            assert_eq!(tokens.len(), twin_tokens.len(), "a text changed the shape of {}", query.as_str());
            for (token, twin) in tokens.iter().zip(&twin_tokens) {
                assert!(token.stands_as(twin), "a text changed the shape of {}", query.as_str());
            }
            let literals: Vec<String> = tokens.into_iter().filter_map(Token::into_text).collect();
            assert_eq!(literals, given.used, "a text did not arrive as it was");
        }
        (Err(SoqlError::TooLong(_)), _) => {}
        (given, harmless) => assert_eq!(given, harmless, "a text made a query unbuildable"),
    }
}

/// Makes one query from choices and texts; what is chosen does not depend on the texts.
struct QueryMaker<'d> {
    choices: std::slice::Iter<'d, u8>,
    texts: &'d [String],
    used: Vec<String>,
}

impl QueryMaker<'_> {
    fn choose(&mut self, among: u8) -> u8 {
        self.choices.next().map_or(0, |choice| choice % among)
    }

    /// The text that is chosen; none are left out of a fuzzer's reach by this.
    fn text(&mut self) -> String {
        let index = usize::from(self.choose(u8::MAX));
        self.texts.get(index % self.texts.len().max(1)).cloned().unwrap_or_default()
    }

    /// A name from outside if it is one, else a harmless one: names have one token either way.
    fn path(&mut self) -> FieldPath {
        let harmless = || "Name".parse::<FieldName>().unwrap();
        let field: FieldName = self.text().parse().unwrap_or_else(|_| harmless());
        match self.choose(2) {
            0 => FieldPath::from(&field),
            _ => FieldPath::walk(&[self.text().parse().unwrap_or_else(|_| harmless())], &field),
        }
    }

    fn literal(&mut self) -> Literal {
        match self.choose(8) {
            0 => Literal::Null,
            1 => Literal::Bool(true),
            2 => Literal::Int(i64::from(self.choose(u8::MAX)) - 100),
            3 => Literal::Time(jiff::Timestamp::UNIX_EPOCH),
            _ => {
                let text = self.text();
                self.used.push(text.clone());
                Literal::Text(text)
            }
        }
    }

    fn condition(&mut self, depth: u8) -> Condition {
        match self.choose(if depth == 0 { 2 } else { 4 }) {
            0 => {
                let comparison = [
                    Comparison::Equal,
                    Comparison::NotEqual,
                    Comparison::Less,
                    Comparison::LessOrEqual,
                    Comparison::Greater,
                    Comparison::GreaterOrEqual,
                    Comparison::Like,
                ][usize::from(self.choose(7))];
                Condition::Compare(self.path(), comparison, self.literal())
            }
            1 => {
                let path = self.path();
                let count = self.choose(4);
                Condition::In(path, (0..count).map(|_| self.literal()).collect())
            }
            kind => {
                let count = self.choose(4);
                let conditions = (0..count).map(|_| self.condition(depth - 1)).collect();
                if kind == 2 { Condition::All(conditions) } else { Condition::Any(conditions) }
            }
        }
    }

    fn select(&mut self) -> Select {
        let fields: Vec<FieldPath> = (0..self.choose(4)).map(|_| self.path()).collect();
        let object = self.text().parse::<ObjectName>();
        let source = object.map_or(Source::literal("Lead"), |object| Source::from(&object));
        let mut select = Select::new(fields, source);
        for _ in 0..self.choose(3) {
            select = select.filter(self.condition(3));
        }
        if self.choose(2) == 1 {
            select = select.order_by(self.path());
        }
        if self.choose(2) == 1 {
            select = select.limit(u32::from(self.choose(u8::MAX)));
        }
        select
    }
}

/// What a statement consists of, read by a reader that knows nothing of the builder.
#[derive(Debug, PartialEq)]
enum Token {
    Word(String),
    /// A number or a point in time.
    Figure,
    Text(String),
    Sign(String),
}

impl Token {
    /// The token does what `twin` does in the same place of a statement without hostile texts. Where that has a name,
    /// any word is one, `FROM` as well: no parser reads one word there as anything but a name or a mistake.
    fn stands_as(&self, twin: &Self) -> bool {
        const KEYWORDS: [&str; 13] = [
            "SELECT", "FROM", "WHERE", "AND", "OR", "IN", "LIKE", "ORDER", "BY", "LIMIT", "null", "true",
            "false",
        ];
        match (self, twin) {
            (Self::Word(word), Self::Word(twin)) => word == twin || !KEYWORDS.contains(&twin.as_str()),
            (Self::Sign(sign), Self::Sign(twin)) => sign == twin,
            (Self::Figure, Self::Figure) | (Self::Text(_), Self::Text(_)) => true,
            _ => false,
        }
    }

    fn into_text(self) -> Option<String> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }
}

fn tokens(statement: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut chars = statement.chars().peekable();
    while let Some(c) = chars.next() {
        let mut run = |first: char, more: fn(char) -> bool| {
            let mut run = String::from(first);
            while let Some(c) = chars.next_if(|c| more(*c)) {
                run.push(c);
            }
            run
        };
        tokens.push(match c {
            ' ' => continue,
            '\'' => Token::Text(text_literal(&mut chars)),
            '(' | ')' | ',' => Token::Sign(c.to_string()),
            '=' | '!' | '<' | '>' => Token::Sign(run(c, |c| c == '=')),
            '0'..='9' | '-' => {
                run(c, |c| c.is_ascii_alphanumeric() || matches!(c, ':' | '-' | '.'));
                Token::Figure
            }
            'A'..='Z' | 'a'..='z' => {
                Token::Word(run(c, |c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.')))
            }
            other => panic!("{other:?} stands outside a literal of {statement}"),
        });
    }
    tokens
}

/// Reads a literal behind its opening quote, with the escapes that SOQL knows.
fn text_literal(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) -> String {
    let mut text = String::new();
    loop {
        match chars.next().expect("a literal ends") {
            '\'' => return text,
            '\\' => text.push(match chars.next().expect("an escape is whole") {
                'n' => '\n',
                'r' => '\r',
                't' => '\t',
                'b' => '\u{8}',
                'f' => '\u{c}',
                'u' => {
                    let hex: String = chars.take(4).collect();
                    char::from_u32(u32::from_str_radix(&hex, 16).unwrap()).unwrap()
                }
                c @ ('\'' | '"' | '\\') => c,
                other => panic!("SOQL knows no escape {other:?}"),
            }),
            c if c.is_control() => panic!("a control character stands in a literal"),
            c => text.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("csv_rows", csv_rows)]
    #[case("rest_rows", rest_rows)]
    #[case("error_classifier", error_classifier)]
    #[case("soql_builder", soql_builder)]
    fn what_a_fuzzer_once_found_stays_good(#[case] target: &str, #[case] check: fn(&[u8])) {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
        let mut replayed = 0;
        for entry in std::fs::read_dir(&folder).unwrap() {
            check(&std::fs::read(entry.unwrap().path()).unwrap());
            replayed += 1;
        }
        assert!(replayed > 0, "no corpus in {}", folder.display());
    }

    /// One seed of each corpus file, damaged by a few edits: a little of what a fuzzer does.
    fn damaged(target: &'static str) -> impl Strategy<Value = Vec<u8>> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
        let mut files: Vec<_> =
            std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.sort();
        let seeds: Vec<Vec<u8>> = files.iter().map(|file| std::fs::read(file).unwrap()).collect();
        let edit = (any::<prop::sample::Index>(), 0_usize..12, prop::collection::vec(any::<u8>(), 0..4));
        (prop::sample::select(seeds), prop::collection::vec(edit, 0..6)).prop_map(|(mut seed, edits)| {
            for (at, cut, with) in edits {
                let at = at.index(seed.len() + 1);
                let end = (at + cut).min(seed.len());
                // Doubling what is there finds more than foreign bytes do.
                let with = if with.is_empty() { seed[at..end].repeat(2) } else { with };
                seed.splice(at..end, with);
            }
            seed
        })
    }

    #[rstest]
    #[case::closed_early("SELECT Id FROM Lead WHERE Name = '' OR Name != ''", false)]
    #[case::other_sign("SELECT Id FROM Lead WHERE Name > 'x'", false)]
    #[case::other_keyword("SELECT Id FROM Lead LIMIT Name = 'x'", false)]
    #[case::no_literal("SELECT Id FROM Lead WHERE Name = x", false)]
    #[case::other_name("SELECT Id FROM Lead WHERE From = 'y'", true)]
    fn a_changed_shape_is_seen(#[case] given: &str, #[case] same: bool) {
        let (given, twin) = (tokens(given), tokens("SELECT Id FROM Lead WHERE Name = 'x'"));
        let alike = given.iter().zip(&twin).all(|(token, twin)| token.stands_as(twin));
        assert_eq!(given.len() == twin.len() && alike, same);
    }

    fn hostile_text() -> impl Strategy<Value = String> {
        prop_oneof![
            "[A-Za-z][A-Za-z0-9_]{0,20}",
            r#"[\\'"% ]{1,9}"#,
            prop::sample::select(vec![
                "' OR Name != '",
                "\\' OR Id != null OR Name = \\'",
                "\\",
                "\u{0}",
                "\u{2028}",
                "'--",
                "ю'"
            ])
            .prop_map(str::to_owned),
            any::<String>(),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 1_000, ..ProptestConfig::default() })]

        #[test]
        fn a_damaged_answer_is_read_or_refused(
            csv in damaged("csv_rows"),
            page in damaged("rest_rows"),
            error in damaged("error_classifier"),
            query in damaged("soql_builder"),
        ) {
            csv_rows(&csv);
            rest_rows(&page);
            error_classifier(&error);
            soql_builder(&query);
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(data in prop::collection::vec(any::<u8>(), 0..300)) {
            csv_rows(&data);
            rest_rows(&data);
            error_classifier(&data);
            soql_builder(&data);
        }

        #[test]
        fn no_text_from_outside_changes_any_query(
            choices in prop::collection::vec(0_u8..255, 0..60),
            texts in prop::collection::vec(hostile_text(), 1..8),
        ) {
            let texts: Vec<Vec<u8>> = texts.into_iter().map(String::into_bytes).collect();
            soql_builder(&[choices, texts.join(&0xFF)].join(&0xFF));
        }
    }
}
