//! What PostgreSQL says of a failure, in the warehouse's words.
//!
//! Promises: no value of a row is in what is told: where PostgreSQL's own words may hold one, ours stand instead; the column
//! is named wherever PostgreSQL names it.

use tokio_postgres::Error;

use crate::warehouse::WarehouseError;

/// Why a statement was not done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fault {
    /// The server says so.
    Told(Told),
    /// The connection is gone, or none was to be had.
    Lost(String),
    /// It could not be asked, or its answer not be read.
    Ours(String),
}

/// What the server says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Told {
    pub(super) state: String,
    /// The primary message; details, which hold rows, are left behind.
    message: String,
    column: Option<String>,
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        if let Some(told) = error.as_db_error() {
            return Self::Told(Told {
                state: told.code().code().to_owned(),
                message: told.message().to_owned(),
                column: told.column().map(str::to_owned).or_else(|| copied_column(told.where_()?)),
            });
        }
        let why = with_sources(&error);
        if error.is_closed() || has_io(&error) { Self::Lost(why) } else { Self::Ours(why) }
    }
}

fn with_sources(error: &dyn std::error::Error) -> String {
    let mut why = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        let inner_text = inner.to_string();
        if !why.ends_with(&inner_text) {
            why = format!("{why}: {inner_text}");
        }
        source = inner.source();
    }
    why
}

fn has_io(error: &Error) -> bool {
    let mut source = std::error::Error::source(error);
    while let Some(inner) = source {
        if inner.is::<std::io::Error>() {
            return true;
        }
        source = inner.source();
    }
    // Its texts for a connection that was not to be had in time have no source.
    matches!(error.to_string().as_str(), "error connecting to server" | "timeout waiting for server")
}

/// The column of `COPY _stg_lead, line 5, column Amount: "value"`; the value stays behind.
fn copied_column(context: &str) -> Option<String> {
    let line = context.lines().find(|line| line.starts_with("COPY "))?;
    let (_, after) = line.split_once(", column ")?;
    let name = after
        .split_once(": \"")
        .map_or_else(|| after.strip_suffix(": null input"), |(name, _)| Some(name))?;
    Some(name.to_owned())
}

impl Fault {
    /// The state, where the server told one.
    pub(super) fn state(&self) -> &str {
        match self {
            Self::Told(told) => &told.state,
            Self::Lost(_) | Self::Ours(_) => "",
        }
    }

    /// In the warehouse's words. `table` is what was worked on.
    pub(super) fn about(self, table: &str) -> WarehouseError {
        let told = match self {
            Self::Lost(why) => return WarehouseError::Unreachable(why),
            Self::Ours(why) => return WarehouseError::Engine(why),
            Self::Told(told) => told,
        };
        let words = told.words();
        match told.state.as_str() {
            "42501" => WarehouseError::Denied(words),
            "53100" => WarehouseError::Full(words),
            "55P03" | "40P01" | "40001" => WarehouseError::Locked { what: table.to_owned(), message: words },
            "42703" | "42804" | "42P01" | "42883" | "42P10" | "3F000" => WarehouseError::Altered {
                table: table.to_owned(),
                what: format!("{words}; put back what was there, or give the object another table"),
            },
            "23502" => WarehouseError::BadValue {
                column: told.column.unwrap_or_default(),
                message: "the column takes no null (SQLSTATE 23502)".to_owned(),
            },
            "3D000" => WarehouseError::Denied(words),
            "57014" => WarehouseError::Engine("the statement was cancelled".to_owned()),
            // A standby, which a failover makes the primary or takes out of the URL's hosts.
            "25006" => WarehouseError::Unreachable(format!("the server takes no writes: {words}")),
            "53300" => WarehouseError::Unreachable(words),
            state if state.starts_with("22") => WarehouseError::BadValue {
                column: told.column.unwrap_or_else(|| "one of those staged".to_owned()),
                message: format!("{} (SQLSTATE {state})", about_value(state)),
            },
            state if state.starts_with("28") => WarehouseError::Denied(words),
            state if ends_session(state) => WarehouseError::Unreachable(words),
            _ => WarehouseError::Engine(words),
        }
    }

    /// Of a statement that a person wrote.
    pub(super) fn of_query(self) -> WarehouseError {
        match self {
            Self::Told(told)
                if matches!(told.state.get(..2), Some("21" | "22" | "25" | "42" | "0A" | "34")) =>
            {
                WarehouseError::BadQuery(told.words())
            }
            other => other.about("the query"),
        }
    }

    /// Of a COMMIT: whatever leaves open whether it was carried out is [`WarehouseError::Unsure`].
    pub(super) fn of_commit(self, table: &str) -> WarehouseError {
        match self {
            Self::Told(told) if !ends_session(&told.state) => Self::Told(told).about(table),
            Self::Told(told) => WarehouseError::Unsure(told.words()),
            Self::Lost(why) | Self::Ours(why) => WarehouseError::Unsure(why),
        }
    }
}

impl Told {
    /// PostgreSQL's words where they hold names only; a class of values, or a text that somebody's trigger made, is told by
    /// its number.
    fn words(&self) -> String {
        match self.state.get(..2) {
            Some("22") => format!("{} (SQLSTATE {})", about_value(&self.state), self.state),
            Some("P0" | "23" | "44") | None => format!("SQLSTATE {}", self.state),
            Some(_) => format!("{} (SQLSTATE {})", self.message, self.state),
        }
    }
}

/// States after which the session is gone, or will be.
fn ends_session(state: &str) -> bool {
    state.starts_with("08")
        || matches!(state, "57P01" | "57P02" | "57P03" | "57P04" | "57P05" | "25P03" | "25P04")
}

/// What is wrong with a value.
fn about_value(state: &str) -> &'static str {
    match state {
        "22003" => "a number is out of the column's range",
        "22007" | "22008" => "a day or time is none of the calendar",
        "22021" | "22P05" => "a character is none of the database's encoding",
        "22P02" | "22030" | "22032" => "a value is not of the column's kind",
        "22P04" => "the rows are not of the table's form",
        "22012" => "a division by zero",
        _ => "a value does not fit",
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn told(state: &str, column: Option<&str>) -> Fault {
        Fault::Told(Told {
            state: state.to_owned(),
            message: "the server says Ada".to_owned(),
            column: column.map(str::to_owned),
        })
    }

    #[rstest]
    #[case::a_right("42501", "the warehouse refuses: the server says Ada (SQLSTATE 42501)")]
    #[case::a_password("28P01", "the warehouse refuses: the server says Ada (SQLSTATE 28P01)")]
    #[case::room("53100", "the warehouse has no room: the server says Ada (SQLSTATE 53100)")]
    #[case::lock("55P03", "`public.lead` is locked by somebody else: the server says Ada (SQLSTATE 55P03)")]
    #[case::column(
        "42703",
        "table `public.lead`: the server says Ada (SQLSTATE 42703); put back what was there, or give the object another table"
    )]
    #[case::value("22003", "column `Amount`: a number is out of the column's range (SQLSTATE 22003)")]
    #[case::stopping("57P01", "the warehouse cannot be reached: the server says Ada (SQLSTATE 57P01)")]
    #[case::starting("57P03", "the warehouse cannot be reached: the server says Ada (SQLSTATE 57P03)")]
    #[case::trigger("P0001", "the warehouse fails: SQLSTATE P0001")]
    #[case::unique("23505", "the warehouse fails: SQLSTATE 23505")]
    fn a_state_is_told_in_the_warehouses_words(#[case] state: &str, #[case] expected: &str) {
        assert_eq!(told(state, Some("Amount")).about("public.lead").to_string(), expected);
    }

    #[rstest]
    #[case::with_value("COPY _stg_lead_1, line 5, column Amount: \"Ada, column x: \"\"\"", Some("Amount"))]
    #[case::null("COPY _stg_lead_1, line 5, column Id: null input", Some("Id"))]
    #[case::whole_line("COPY _stg_lead_1, line 5: \"Ada\"", None)]
    #[case::trigger("PL/pgSQL function f() line 3 at RAISE", None)]
    fn the_column_of_a_copy_is_told_without_its_value(#[case] context: &str, #[case] expected: Option<&str>) {
        assert_eq!(copied_column(context).as_deref(), expected);
    }

    #[test]
    fn a_lost_answer_to_commit_is_never_a_failure() {
        assert!(matches!(Fault::Lost("gone".to_owned()).of_commit("t"), WarehouseError::Unsure(_)));
        assert!(matches!(told("57P01", None).of_commit("t"), WarehouseError::Unsure(_)));
        assert!(matches!(told("53100", None).of_commit("t"), WarehouseError::Full(_)));
    }
}
