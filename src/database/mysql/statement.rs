//! Named statements of the config.
//!
//! Promises: a statement that is accepted is one statement, begins with `SELECT` or `WITH`, writes no file and locks no row,
//! and answers columns, as the server itself says when it prepares it. What cannot be promised: that no stored function it
//! calls writes. A transaction that only reads is opened `READ ONLY`, and there the server refuses that too; inside a batch
//! that writes it is up to the rights of the login (`EXECUTE`).

use std::sync::Arc;

use mysql_async::Value as Wire;
use mysql_async::consts::{ColumnFlags, ColumnType as WireType};
use mysql_async::prelude::Queryable;

use super::connection::{Connection, Done, refused};
use super::error::failure;
use super::value::decode;
use crate::batch::catalogue::settings::StatementSettings;
use crate::batch::catalogue::{Column, ColumnId, ColumnType, NamedStatement};
use crate::batch::sql::{Parameter, ParameterKind, Statement};
use crate::batch::value::Value;
use crate::database::{DbErrorCode, Rows};

/// The character set of bytes, in the server's numbers.
const BINARY: u16 = 63;

impl Connection {
    /// Rows of a named statement: the cells of `returning`, which are positions of its columns.
    pub(super) async fn named_statement(
        &mut self,
        statement: &NamedStatement,
        parameters: &[Value],
        limit: u64,
        returning: &[ColumnId],
    ) -> Done<Rows> {
        let bound = bind(statement, parameters);
        let rows = self.rows(&bound, usize::try_from(limit).unwrap_or(usize::MAX)).await?;
        let mut cells = Vec::with_capacity(rows.len() * returning.len());
        let count = rows.len();
        for mut row in rows {
            for id in returning {
                // The table may have been altered since the statement was described.
                let (Some(cell), Some(column)) = (row.get_mut(*id), statement.columns.get(*id)) else {
                    return Err(refused(DbErrorCode::Other, "columns of a named statement"));
                };
                cells.push(decode(std::mem::replace(cell, Wire::NULL), &column.column_type));
            }
        }
        Ok(Rows { width: returning.len(), count, cells, merged: 0 })
    }

    /// Judges a statement of the config, and asks the server for its columns.
    ///
    /// # Errors
    /// What is wrong with it, for whoever wrote the config.
    pub async fn describe(&mut self, settings: &StatementSettings) -> Result<NamedStatement, String> {
        let names: Vec<&str> = settings.parameters.iter().map(|(name, _)| &**name).collect();
        let Placed { sql, order } = place(&settings.sql, &names)?;
        if let Some(unused) = (0..names.len()).find(|index| !order.contains(index)) {
            return Err(format!("parameter `{}` is not used", names[unused]));
        }
        let prepared = self.conn.prep(sql).await.map_err(|error| match failure(&error) {
            super::error::Failure::Statement(error) => {
                format!("the server does not take it (code {})", error.native_code)
            }
            super::error::Failure::Lost => "the connection was lost".to_owned(),
        })?;
        let columns: Vec<Column> = prepared.columns().iter().map(described).collect();
        // Kept in no cache of ours: the first call prepares it again.
        let _ = self.conn.close(prepared).await;
        if columns.is_empty() {
            return Err("it answers no columns: only a statement that reads can be named".to_owned());
        }
        Ok(NamedStatement {
            name: Arc::clone(&settings.name),
            sql: Arc::clone(&settings.sql),
            parameters: settings.parameters.clone(),
            columns,
            roles: settings.roles.clone(),
        })
    }
}

fn bind(statement: &NamedStatement, values: &[Value]) -> Statement {
    let names: Vec<&str> = statement.parameters.iter().map(|(name, _)| &**name).collect();
    // It was judged when the config was read.
    let placed = place(&statement.sql, &names).unwrap_or_default();
    let parameters = placed.order.iter().filter_map(|index| {
        let (_, column_type) = statement.parameters.get(*index)?;
        let kind = ParameterKind::Column { column_type: column_type.clone(), native_type: "".into() };
        Some(Parameter { value: values.get(*index)?.clone(), kind })
    });
    Statement { parameters: parameters.collect(), text: placed.sql }
}

/// A statement with `?` for its parameters.
#[derive(Debug, Default, PartialEq, Eq)]
struct Placed {
    sql: String,
    /// Which parameter each `?` is.
    order: Vec<usize>,
}

/// Replaces `:name` by `?` outside of texts, quoted names and comments, and refuses what does not only read.
fn place(sql: &str, names: &[&str]) -> Result<Placed, String> {
    let mut placed = Placed::default();
    let mut words: Vec<String> = Vec::new();
    let mut rest = sql.trim().trim_end_matches(';');
    while let Some(first) = rest.chars().next() {
        let length = match first {
            '\'' | '"' | '`' => quoted_length(rest, first),
            '#' => rest.find('\n').unwrap_or(rest.len()),
            '-' if rest.starts_with("-- ") || rest.starts_with("--\n") => {
                rest.find('\n').unwrap_or(rest.len())
            }
            '/' if rest.starts_with("/*!") || rest.starts_with("/*M!") => {
                return Err("comments that are executed (`/*!`) are not taken".to_owned());
            }
            '/' if rest.starts_with("/*") => rest.find("*/").map_or(rest.len(), |end| end + 2),
            '?' => return Err("parameters are written `:name`, not `?`".to_owned()),
            ';' => return Err("it must be one statement".to_owned()),
            ':' if rest[1..].starts_with(is_name_start) => {
                let name_length = word_length(&rest[1..]);
                let name = &rest[1..=name_length];
                let Some(index) = names.iter().position(|known| *known == name) else {
                    return Err(format!("parameter `{name}` is not declared"));
                };
                placed.order.push(index);
                placed.sql.push('?');
                rest = &rest[1 + name_length..];
                continue;
            }
            _ if is_name_start(first) => {
                let length = word_length(rest);
                words.push(rest[..length].to_ascii_uppercase());
                length
            }
            _ => first.len_utf8(),
        };
        placed.sql.push_str(&rest[..length]);
        rest = &rest[length..];
    }
    only_reads(&words)?;
    Ok(placed)
}

fn only_reads(words: &[String]) -> Result<(), String> {
    if !matches!(words.first().map(String::as_str), Some("SELECT" | "WITH")) {
        return Err("it must begin with SELECT or WITH".to_owned());
    }
    // `INTO` writes a file or a variable, the others lock rows or change the session, or write behind a WITH.
    for refused in ["INTO", "UPDATE", "DELETE", "INSERT", "GET_LOCK", "RELEASE_LOCK", "NEXTVAL", "SETVAL"] {
        if words.iter().any(|word| word == refused) {
            return Err(format!(
                "`{refused}` is not for a statement that only reads; quote it if it is a name"
            ));
        }
    }
    let locks = |pair: &[String]| {
        matches!((pair[0].as_str(), pair[1].as_str()), ("FOR", "SHARE") | ("LOCK", "IN") | ("NEXT", "VALUE"))
    };
    if words.windows(2).any(locks) {
        return Err("it may not lock rows or take numbers of a sequence".to_owned());
    }
    Ok(())
}

fn is_name_start(character: char) -> bool {
    character.is_ascii_alphabetic() || character == '_'
}

fn word_length(text: &str) -> usize {
    text.find(|character: char| !(character.is_ascii_alphanumeric() || character == '_'))
        .unwrap_or(text.len())
}

/// A text or quoted name: a doubled quote is one of it, and in a text so is one after a backslash.
fn quoted_length(text: &str, quote: char) -> usize {
    let mut escaped = false;
    let mut characters = text.char_indices().skip(1).peekable();
    while let Some((at, character)) = characters.next() {
        if escaped {
            escaped = false;
        } else if character == '\\' && quote != '`' {
            escaped = true;
        } else if character == quote {
            match characters.peek() {
                Some((_, next)) if *next == quote => escaped = true,
                _ => return at + 1,
            }
        }
    }
    text.len()
}

fn described(column: &mysql_async::Column) -> Column {
    let flags = column.flags();
    let column_type = type_of(column.column_type(), column.character_set(), flags, column.column_length());
    Column {
        name: column.name_str().into_owned().into(),
        column_type,
        native_type: format!("{:?}", column.column_type())
            .trim_start_matches("MYSQL_TYPE_")
            .to_lowercase()
            .into(),
        nullable: !flags.contains(ColumnFlags::NOT_NULL_FLAG),
        has_default: false,
        generated: false,
        key: None,
        injection: None,
    }
}

fn type_of(wire: WireType, character_set: u16, flags: ColumnFlags, length: u32) -> ColumnType {
    let unsigned = flags.contains(ColumnFlags::UNSIGNED_FLAG);
    match wire {
        WireType::MYSQL_TYPE_TINY if length == 1 => ColumnType::Boolean,
        WireType::MYSQL_TYPE_TINY => ColumnType::Int { bits: 8, unsigned },
        WireType::MYSQL_TYPE_SHORT | WireType::MYSQL_TYPE_YEAR => ColumnType::Int { bits: 16, unsigned },
        WireType::MYSQL_TYPE_INT24 => ColumnType::Int { bits: 24, unsigned },
        WireType::MYSQL_TYPE_LONG => ColumnType::Int { bits: 32, unsigned },
        WireType::MYSQL_TYPE_LONGLONG => ColumnType::Int { bits: 64, unsigned },
        WireType::MYSQL_TYPE_BIT if length == 1 => ColumnType::Boolean,
        WireType::MYSQL_TYPE_BIT => ColumnType::Int { bits: 64, unsigned: true },
        WireType::MYSQL_TYPE_DECIMAL | WireType::MYSQL_TYPE_NEWDECIMAL => ColumnType::Decimal,
        WireType::MYSQL_TYPE_FLOAT => ColumnType::Float { bits: 32 },
        WireType::MYSQL_TYPE_DOUBLE => ColumnType::Float { bits: 64 },
        WireType::MYSQL_TYPE_DATE | WireType::MYSQL_TYPE_NEWDATE => ColumnType::Date,
        WireType::MYSQL_TYPE_TIME | WireType::MYSQL_TYPE_TIME2 => ColumnType::Time,
        WireType::MYSQL_TYPE_DATETIME | WireType::MYSQL_TYPE_DATETIME2 => ColumnType::Timestamp,
        WireType::MYSQL_TYPE_TIMESTAMP | WireType::MYSQL_TYPE_TIMESTAMP2 => ColumnType::TimestampTz,
        WireType::MYSQL_TYPE_JSON => ColumnType::Json,
        WireType::MYSQL_TYPE_GEOMETRY => ColumnType::Bytes,
        _ if character_set == BINARY => ColumnType::Bytes,
        _ => ColumnType::Text,
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("SELECT a FROM t WHERE b = :b AND c = :c AND d = :b", "SELECT a FROM t WHERE b = ? AND c = ? AND d = ?", &[0, 1, 0])]
    #[case("SELECT ':b', \"it''s :c\", `:b` -- :b\n FROM t;", "SELECT ':b', \"it''s :c\", `:b` -- :b\n FROM t", &[])]
    #[case("SELECT 'it\\'s :b', 'it''s :b', :c", "SELECT 'it\\'s :b', 'it''s :b', ?", &[1])]
    #[case("/* :b */ with x as (select 1) select :b # :c", "/* :b */ with x as (select 1) select ? # :c", &[0])]
    fn names_outside_of_texts_become_places(
        #[case] sql: &str,
        #[case] placed: &str,
        #[case] order: &[usize],
    ) {
        let expected = Placed { sql: placed.to_owned(), order: order.to_vec() };

        assert_eq!(place(sql, &["b", "c"]), Ok(expected));
    }

    #[rstest]
    #[case("DELETE FROM t")]
    #[case("SELECT 1; DELETE FROM t")]
    #[case("SELECT * INTO OUTFILE '/x' FROM t")]
    #[case("SELECT * FROM t FOR UPDATE")]
    #[case("SELECT * FROM t LOCK IN SHARE MODE")]
    #[case("WITH x AS (SELECT 1) DELETE FROM t")]
    #[case("SELECT /*! 1 */ 2")]
    #[case("SELECT NEXT VALUE FOR s")]
    #[case("SELECT ?")]
    #[case("SELECT :unknown")]
    #[case("")]
    fn what_does_not_only_read_is_refused(#[case] sql: &str) {
        assert!(place(sql, &["b"]).is_err());
    }
}
