//! Whether a statement of a person only reads.
//!
//! Promises: what passes is one query. Snowflake has no transaction that only reads, so that the text itself is looked at; the
//! caller also runs it in a transaction that is rolled back.

use crate::warehouse::WarehouseError;

/// What no query does outside of parentheses.
const WRITES: [&str; 27] = [
    "ALTER", "BEGIN", "CALL", "COMMENT", "COMMIT", "COPY", "CREATE", "DELETE", "DROP", "EXECUTE", "GET",
    "GRANT", "INSERT", "MERGE", "PUT", "REMOVE", "REVOKE", "ROLLBACK", "SET", "TRUNCATE", "UNDROP", "UNLOAD",
    "UNSET", "UPDATE", "UPSERT", "USE", "VACUUM",
];

/// The query without what may end it.
///
/// # Errors
/// [`WarehouseError::BadQuery`] for anything but one query.
pub fn only_query(sql: &str) -> Result<&str, WarehouseError> {
    let bad = |why: &str| Err(WarehouseError::BadQuery(why.to_owned()));
    let mut first: Option<String> = None;
    let (mut depth, mut end) = (0usize, None);
    for piece in (Pieces { rest: sql, all: sql }) {
        let Ok(piece) = piece else { return bad("a text, a name or a comment in it has no end") };
        if matches!(piece, Piece::Blank) {
            continue;
        }
        if end.is_some() {
            return bad("it is more than one statement");
        }
        match piece {
            Piece::Symbol("(", _) => depth += 1,
            Piece::Symbol(")", _) => depth = depth.saturating_sub(1),
            Piece::Symbol(";", at) => end = Some(at),
            Piece::Symbol("->>", _) => return bad("`->>` runs one statement after another"),
            Piece::Word(word) => {
                let word = word.to_ascii_uppercase();
                if word.starts_with("SYSTEM$") {
                    return bad("functions of `SYSTEM$` may change things");
                }
                if first.as_deref() == Some("WITH") && depth == 0 && WRITES.contains(&word.as_str()) {
                    return bad(&format!("it is no query but `{word}`"));
                }
                first.get_or_insert(word);
            }
            Piece::Symbol(..) | Piece::Quoted | Piece::Blank => {}
        }
    }
    match first.as_deref() {
        Some("SELECT" | "WITH") => Ok(sql[..end.unwrap_or(sql.len())].trim()),
        Some(other) => bad(&format!("it is no query but `{other}`")),
        None => bad("it is empty"),
    }
}

enum Piece<'a> {
    Word(&'a str),
    /// With its place.
    Symbol(&'a str, usize),
    Quoted,
    Blank,
}

struct Pieces<'a> {
    rest: &'a str,
    all: &'a str,
}

struct NoEnd;

impl<'a> Pieces<'a> {
    fn take(&mut self, length: usize) -> &'a str {
        let (piece, rest) = self.rest.split_at(length);
        self.rest = rest;
        piece
    }

    /// Through the next `end`.
    fn through(&mut self, start: usize, end: &str) -> Result<(), NoEnd> {
        let at = self.rest[start..].find(end).ok_or(NoEnd)?;
        self.take(start + at + end.len());
        Ok(())
    }

    /// Through the quote that ends it; doubled it is none, and neither is one behind a backslash in a text.
    fn quoted(&mut self, quote: u8) -> Result<(), NoEnd> {
        let bytes = self.rest.as_bytes();
        let mut at = 1;
        while at < bytes.len() {
            let is_escape = bytes[at] == b'\\' && quote == b'\'';
            let is_doubled = bytes[at] == quote && bytes.get(at + 1) == Some(&quote);
            if is_escape || is_doubled {
                at += 2;
            } else if bytes[at] == quote {
                self.take(at + 1);
                return Ok(());
            } else {
                at += 1;
            }
        }
        Err(NoEnd)
    }
}

impl<'a> Iterator for Pieces<'a> {
    type Item = Result<Piece<'a>, NoEnd>;

    fn next(&mut self) -> Option<Self::Item> {
        let first = self.rest.chars().next()?;
        let is_word = |c: char| c.is_alphanumeric() || c == '_' || c == '$';
        Some(if first.is_whitespace() {
            self.take(first.len_utf8());
            Ok(Piece::Blank)
        } else if self.rest.starts_with("--") || self.rest.starts_with("//") {
            self.take(self.rest.find('\n').unwrap_or(self.rest.len()));
            Ok(Piece::Blank)
        } else if self.rest.starts_with("/*") {
            self.through(2, "*/").map(|()| Piece::Blank)
        } else if self.rest.starts_with("$$") {
            self.through(2, "$$").map(|()| Piece::Quoted)
        } else if first == '\'' || first == '"' {
            self.quoted(first as u8).map(|()| Piece::Quoted)
        } else if is_word(first) {
            let length = self.rest.find(|c| !is_word(c)).unwrap_or(self.rest.len());
            Ok(Piece::Word(self.take(length)))
        } else {
            let at = self.all.len() - self.rest.len();
            let length = if self.rest.starts_with("->>") { 3 } else { first.len_utf8() };
            Ok(Piece::Symbol(self.take(length), at))
        })
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::plain("SELECT 1")]
    #[case::ended(" select 1 ; -- done")]
    #[case::in_parentheses("(SELECT 1) UNION ALL (SELECT 2)")]
    #[case::with("WITH x AS (SELECT 'DELETE; x' AS a) SELECT \"a;b\", 'it''s \\' ;' FROM x /* ; */")]
    #[case::comment_first("-- a report\nSELECT 1 // two\n")]
    #[case::dollars("SELECT $$ ; DELETE FROM x $$")]
    #[case::column_of_that_name("SELECT \"UPDATE\", t.update FROM t")]
    fn a_query_passes(#[case] sql: &str) {
        assert!(only_query(sql).is_ok(), "{sql}");
    }

    #[rstest]
    #[case::empty("")]
    #[case::comment("-- SELECT 1")]
    #[case::delete("DELETE FROM x")]
    #[case::behind_a_comment("/* SELECT */ DELETE FROM x")]
    #[case::two("SELECT 1; DELETE FROM x")]
    #[case::two_lines("SELECT 1;\n--x\nDROP TABLE x")]
    #[case::with("WITH x AS (SELECT 1) DELETE FROM x")]
    #[case::procedure("WITH p AS PROCEDURE () RETURNS INT AS $$ x $$ CALL p()")]
    #[case::flow("SELECT 1 ->> DELETE FROM x")]
    #[case::flow_from_a_listing("SHOW TABLES ->> DELETE FROM x")]
    #[case::system("SELECT system$abort_session(1)")]
    #[case::execute("EXECUTE IMMEDIATE 'SELECT 1'")]
    #[case::commit("COMMIT")]
    #[case::use_role("USE ROLE accountadmin")]
    #[case::open_text("SELECT 'open")]
    #[case::open_by_backslash("SELECT 'a\\'; DELETE FROM x")]
    #[case::open_name("SELECT \"open")]
    #[case::open_comment("SELECT 1 /* open")]
    #[case::open_dollars("SELECT $$ open")]
    fn what_is_no_query_is_refused(#[case] sql: &str) {
        assert!(matches!(only_query(sql), Err(WarehouseError::BadQuery(_))), "{sql}");
    }

    #[test]
    fn what_ends_a_query_is_not_sent() {
        assert_eq!(only_query(" SELECT ';' ; ").unwrap(), "SELECT ';'");
    }
}
