//! What Snowflake's errors mean to us.
//!
//! Promises: an error of the network is told from an answer; a message shows neither a secret nor a value of a row.

use adbc_core::error::{Error, Status};

use crate::warehouse::WarehouseError;

/// Longest message that is told.
const MESSAGE_MAX: usize = 400;

/// `SQL compilation error: ... does not exist or not authorized`.
const MISSING: i32 = 2003;

/// Makes an error of the warehouse of what the driver says.
pub fn classify(error: &Error) -> WarehouseError {
    let message = one_line(&error.message);
    match code_of(error) {
        0 => match error.status {
            Status::Unauthenticated | Status::Unauthorized => WarehouseError::Denied(message),
            Status::IO | Status::Timeout | Status::Unknown => WarehouseError::Unreachable(message),
            // The driver has no better word for a server that did not answer, or not in its protocol.
            Status::Internal => WarehouseError::Unreachable(message),
            Status::Cancelled => WarehouseError::Engine("the statement was cancelled".to_owned()),
            _ => WarehouseError::Engine(message),
        },
        // A session that is over: the next connection logs in anew.
        390_104 | 390_111 | 390_112 | 390_114 | 390_115 => WarehouseError::Unreachable(message),
        390_100..=390_999 | 394_000..=394_999 => WarehouseError::Denied(message),
        3001 | 3003 | 3041 => WarehouseError::Denied(message),
        625 | 628 | 635 => WarehouseError::Locked { what: "a table".to_owned(), message },
        604 => WarehouseError::Engine("the statement was cancelled".to_owned()),
        // What the driver itself could not do over the network.
        260_000..=269_999 => WarehouseError::Unreachable(message),
        100_000..=100_999 => {
            WarehouseError::BadValue { column: column_of(&error.message), message: without_values(&message) }
        }
        code => WarehouseError::Engine(format!("{code:06}: {message}")),
    }
}

/// Whether it says that something is not there, or not for us.
pub fn is_missing(error: &WarehouseError) -> bool {
    matches!(error, WarehouseError::Engine(message) if message.starts_with(&format!("{MISSING:06}: ")))
}

/// Whether it says that something is there already.
pub fn is_there_already(error: &WarehouseError) -> bool {
    matches!(error, WarehouseError::Engine(message) if message.contains("already exists"))
}

/// The same error without the texts that nobody may see.
pub fn without_secrets(error: WarehouseError, secrets: &[&str]) -> WarehouseError {
    let clean = |message: String| {
        let secrets = secrets.iter().filter(|secret| !secret.is_empty());
        secrets.fold(message, |message, secret| message.replace(secret, "***"))
    };
    match error {
        WarehouseError::Unreachable(message) => WarehouseError::Unreachable(clean(message)),
        WarehouseError::Denied(message) => WarehouseError::Denied(clean(message)),
        WarehouseError::Engine(message) => WarehouseError::Engine(clean(message)),
        other => other,
    }
}

/// Snowflake's own number; 0 when the server did not answer. Across the driver's boundary it may come in the text alone.
fn code_of(error: &Error) -> i32 {
    let told = error.message.split("[Snowflake] ").nth(1).and_then(|rest| rest.split(' ').next());
    let told = told.and_then(|code| code.trim_end_matches(':').parse().ok());
    told.unwrap_or(if error.vendor_code > 0 { error.vendor_code } else { 0 })
}

/// The driver's own words without its frame: `[Snowflake] 002003 (02000): 002003 (02000): ... Vendor code: 2003. SQLSTATE: 02000`.
fn one_line(message: &str) -> String {
    let mut rest = message.trim();
    rest = rest.split(" Vendor code: ").next().unwrap_or(rest);
    rest = rest.strip_prefix("[Snowflake] ").unwrap_or(rest);
    while let Some((head, tail)) = rest.split_once(": ") {
        let is_code = head.bytes().next().is_some_and(|byte| byte.is_ascii_digit())
            && head.bytes().all(|byte| byte.is_ascii_alphanumeric() || b" ()".contains(&byte));
        if !is_code {
            break;
        }
        rest = tail;
    }
    let words: Vec<&str> = rest.split_whitespace().collect();
    let mut line = words.join(" ");
    if let Some((cut, _)) = line.char_indices().nth(MESSAGE_MAX) {
        line.truncate(cut);
    }
    line
}

/// A message about data shows the data, in quotes or behind `value`: only what comes before is told.
fn without_values(message: &str) -> String {
    let shown = message.find(['\'', '"']).into_iter().chain(message.find(", value ")).min();
    shown.map_or_else(|| message.to_owned(), |end| format!("{}…", message[..end].trim_end()))
}

/// `... Row 1, column "LEAD"["AMOUNT":4]`.
fn column_of(message: &str) -> String {
    let column = message.split("[\"").nth(1).and_then(|rest| rest.split("\":").next());
    column.unwrap_or("one of them").chars().take(80).collect()
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn error(status: Status, vendor_code: i32, message: &str) -> WarehouseError {
        let mut error = Error::with_message_and_status(message, status);
        error.vendor_code = vendor_code;
        classify(&error)
    }

    #[test]
    fn a_message_is_told_without_the_drivers_frame() {
        let told = error(
            Status::Internal,
            2003,
            "[Snowflake] 002003 (02000): 002003 (02000): SQL compilation error:\nStage 'RAW.CRM.X' does not exist or not \
             authorized.. Vendor code: 2003. SQLSTATE: 02000",
        );
        assert!(is_missing(&told));
        assert_eq!(
            told.to_string(),
            "the warehouse fails: 002003: SQL compilation error: Stage 'RAW.CRM.X' does not exist or not authorized.."
        );
    }

    #[rstest]
    #[case::network(Status::IO, 0, true)]
    #[case::no_answer(Status::Internal, 0, true)]
    #[case::session_over(Status::Internal, 390_114, true)]
    #[case::no_connection(Status::Internal, 260_008, true)]
    #[case::syntax(Status::Internal, 1003, false)]
    #[case::login(Status::Internal, 390_100, false)]
    fn an_error_of_the_network_is_told_from_an_answer(
        #[case] status: Status,
        #[case] code: i32,
        #[case] is_network: bool,
    ) {
        assert_eq!(error(status, code, "x").ends_connection(), is_network);
    }

    #[test]
    fn what_is_refused_is_told_as_refused() {
        let told =
            error(Status::Internal, 390_100, "[Snowflake] 390100 (08004): Incorrect username or password");
        assert!(
            matches!(&told, WarehouseError::Denied(why) if why == "Incorrect username or password"),
            "{told}"
        );
        let told = error(Status::Internal, 3001, "Insufficient privileges to operate on schema 'CRM'");
        assert!(matches!(told, WarehouseError::Denied(_)), "{told}");
    }

    #[test]
    fn a_bad_value_is_told_by_its_column_and_never_shown() {
        let told = error(
            Status::Internal,
            100_038,
            "[Snowflake] 100038 (22018): Numeric value 'Ada Lovelace' is not recognized\n  File 'Lead/x/p.csv.gz', line 3, \
             character 20\n  Row 1, column \"LEAD\"[\"AMOUNT\":4]",
        );
        assert!(matches!(&told, WarehouseError::BadValue { column, .. } if column == "AMOUNT"), "{told}");
        let told = told.to_string();
        assert_eq!(told, "column `AMOUNT`: Numeric value…");
    }

    #[rstest]
    #[case::a_line(
        "CSV Error on Line: 2 Original Line: \"Ada\",\"it's\"",
        "CSV Error on Line: 2 Original Line:…"
    )]
    #[case::a_number("out of range: type FIXED(38,0), value 5551234", "out of range: type FIXED(38,0)…")]
    #[case::nothing("end of file reached", "end of file reached")]
    fn only_what_comes_before_a_value_is_told(#[case] message: &str, #[case] told: &str) {
        assert_eq!(without_values(message), told);
    }

    #[test]
    fn a_secret_is_never_told() {
        let told = without_secrets(
            WarehouseError::Denied("bad password hunter2 for x".to_owned()),
            &["", "hunter2"],
        );
        assert_eq!(told.to_string(), "the warehouse refuses: bad password *** for x");
    }

    #[test]
    fn a_lock_is_a_lock() {
        let told = error(Status::Internal, 625, "Statement aborted: lock timeout");
        assert!(told.is_transient() && !told.ends_connection());
    }
}
