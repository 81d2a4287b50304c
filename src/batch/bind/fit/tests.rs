use proptest::prelude::*;
use rstest::rstest;

use super::*;

const KINDS: [DatabaseKind; 3] = [DatabaseKind::Sqlite, DatabaseKind::Postgres, DatabaseKind::Mysql];

fn value(json: &str) -> Value {
    match json.as_bytes()[0] {
        b'"' => Value::Text(serde_json::from_str(json).unwrap()),
        b'{' => Value::Json(json.into()),
        _ => read_document(json).unwrap(),
    }
}

fn fitted(json: &str, column_type: &ColumnType, kind: DatabaseKind) -> String {
    match fit_type(value(json), column_type, kind) {
        Ok(fitted) => fitted.to_json(),
        Err(misfit) => format!("no: {}", misfit.found),
    }
}

fn int(bits: u8) -> ColumnType {
    ColumnType::Int { bits, unsigned: false }
}

#[rstest]
#[case::smallest(int(16), "-32768", "-32768")]
#[case::too_small(int(16), "-32769", "no: number")]
#[case::largest(int(32), "2147483647", "2147483647")]
#[case::too_large(int(32), "2147483648", "no: number")]
#[case::largest_of_all(int(64), "9223372036854775807", "9223372036854775807")]
#[case::larger_still(int(64), "9223372036854775808", "no: number")]
#[case::with_a_point(int(32), "100.00", "100")]
#[case::with_an_exponent(int(32), "1.5e3", "1500")]
#[case::not_whole(int(32), "1.5", "no: number")]
#[case::endless(int(64), "1e999999999999", "no: number")]
#[case::digits(int(32), "\"-7\"", "-7")]
#[case::digits_with_zeros(int(32), "\"007\"", "7")]
#[case::digits_with_a_plus(int(32), "\"+7\"", "no: text")]
#[case::no_digits(int(32), "\"5x\"", "no: text")]
#[case::empty(int(32), "\"\"", "no: text")]
#[case::a_sign(int(32), "\"-\"", "no: text")]
#[case::true_is_no_number(int(32), "true", "no: boolean")]
#[case::list(int(32), "[1]", "no: list")]
#[case::unsigned(ColumnType::Int { bits: 64, unsigned: true }, "18446744073709551615", "18446744073709551615")]
#[case::unsigned_below(ColumnType::Int { bits: 8, unsigned: true }, "-1", "no: number")]
#[case::three_bytes(int(24), "8388607", "8388607")]
#[case::null(int(32), "null", "null")]
fn whole_numbers_fit_their_range(#[case] column_type: ColumnType, #[case] json: &str, #[case] want: &str) {
    assert_eq!(fitted(json, &column_type, DatabaseKind::Postgres), want);
}

#[rstest]
#[case("100.00", "100.00")]
#[case("12345678901234567890.123456789012345678901", "12345678901234567890.123456789012345678901")]
#[case("0.1", "0.1")]
#[case("-0.50", "-0.50")]
#[case("1e3", "1000")]
#[case("1.25e1", "12.5")]
#[case("125e-4", "0.0125")]
#[case("-0", "0")]
#[case("0e999999999", "0")]
#[case("1e100000", "no: number")]
#[case("1e-100000", "no: number")]
#[case("\"00.50\"", "0.50")]
#[case("\"1,5\"", "no: text")]
#[case("\" 1\"", "no: text")]
#[case("\"1.\"", "no: text")]
#[case("\".5\"", "no: text")]
#[case("\"NaN\"", "no: text")]
#[case("true", "no: boolean")]
fn decimals_keep_their_digits(#[case] json: &str, #[case] want: &str) {
    assert_eq!(fitted(json, &ColumnType::Decimal, DatabaseKind::Postgres), want);
}

#[rstest]
#[case(64, DatabaseKind::Postgres, "2.50", "2.50")]
#[case(64, DatabaseKind::Postgres, "1e308", "1e308")]
#[case(64, DatabaseKind::Postgres, "1e309", "no: number")]
#[case(32, DatabaseKind::Postgres, "1e39", "no: number")]
#[case(64, DatabaseKind::Postgres, "\"NaN\"", "\"NaN\"")]
#[case(64, DatabaseKind::Sqlite, "\"NaN\"", "no: text")]
#[case(64, DatabaseKind::Sqlite, "\"-Infinity\"", "\"-Infinity\"")]
#[case(64, DatabaseKind::Mysql, "\"Infinity\"", "no: text")]
#[case(64, DatabaseKind::Postgres, "\"2.5\"", "no: text")]
fn floats_are_finite_or_named(
    #[case] bits: u8,
    #[case] kind: DatabaseKind,
    #[case] json: &str,
    #[case] want: &str,
) {
    assert_eq!(fitted(json, &ColumnType::Float { bits }, kind), want);
}

#[rstest]
#[case(DatabaseKind::Sqlite, "1", "true")]
#[case(DatabaseKind::Sqlite, "0", "false")]
#[case(DatabaseKind::Sqlite, "2", "no: number")]
#[case(DatabaseKind::Postgres, "1", "no: number")]
#[case(DatabaseKind::Postgres, "true", "true")]
#[case(DatabaseKind::Postgres, "\"true\"", "no: text")]
fn booleans_are_numbers_on_sqlite_only(#[case] kind: DatabaseKind, #[case] json: &str, #[case] want: &str) {
    assert_eq!(fitted(json, &ColumnType::Boolean, kind), want);
}

#[rstest]
#[case(ColumnType::Text, "\"a\"", "\"a\"")]
#[case(ColumnType::Text, "12.50", "\"12.50\"")]
#[case(ColumnType::Text, "7", "\"7\"")]
#[case(ColumnType::Text, "false", "\"false\"")]
#[case(ColumnType::Text, "[1]", "no: list")]
#[case(ColumnType::Text, "{\"a\":1}", "no: document")]
#[case(ColumnType::Text, "\"a\\u0000b\"", "no: text")]
#[case(ColumnType::Uuid, "\"6F1C2A9E0B7D4C3A9A512D8E4F60B7C1\"", "\"6f1c2a9e-0b7d-4c3a-9a51-2d8e4f60b7c1\"")]
#[case(
    ColumnType::Uuid,
    "\"6f1c2a9e-0b7d-4c3a-9a51-2d8e4f60b7c1\"",
    "\"6f1c2a9e-0b7d-4c3a-9a51-2d8e4f60b7c1\""
)]
#[case(ColumnType::Uuid, "\"6f1c2a9e0-b7d-4c3a-9a51-2d8e4f60b7c1\"", "no: text")]
#[case(ColumnType::Uuid, "\"6f1c\"", "no: text")]
#[case(ColumnType::Uuid, "\"ééééééééééééééééé!\"", "no: text")]
#[case(ColumnType::Uuid, "7", "no: number")]
#[case(ColumnType::Enum(["sad".into(), "ok".into()].into()), "\"ok\"", "\"ok\"")]
#[case(ColumnType::Enum(["sad".into(), "ok".into()].into()), "\"OK\"", "no: text")]
#[case(ColumnType::Bytes, "\"AQID\"", "\"AQID\"")]
#[case(ColumnType::Bytes, "\"AQ==\"", "\"AQ==\"")]
#[case(ColumnType::Bytes, "\"AQ\"", "\"AQ==\"")]
#[case(ColumnType::Bytes, "\"!\"", "no: text")]
#[case(ColumnType::Json, "{\"a\":[1.50]}", "{\"a\":[1.50]}")]
#[case(ColumnType::Json, "\"a\"", "\"a\"")]
#[case(ColumnType::Json, "[1,\"x\"]", "[1,\"x\"]")]
#[case(ColumnType::Json, "\"a\\u0000b\"", "no: text")]
#[case(ColumnType::Array(Box::new(ColumnType::Int { bits: 16, unsigned: false })), "[1,\"2\",null]", "[1,2,null]")]
#[case(ColumnType::Array(Box::new(ColumnType::Int { bits: 16, unsigned: false })), "[1,99999]", "no: number")]
#[case(ColumnType::Array(Box::new(ColumnType::Text)), "\"a\"", "no: text")]
#[case(ColumnType::Other, "\"10.0.0.1\"", "\"10.0.0.1\"")]
#[case(ColumnType::Other, "[1]", "no: list")]
#[case(ColumnType::Any, "1.5", "1.5")]
#[case(ColumnType::Any, "[1]", "no: list")]
fn each_type_takes_what_the_contract_says(
    #[case] column_type: ColumnType,
    #[case] json: &str,
    #[case] want: &str,
) {
    assert_eq!(fitted(json, &column_type, DatabaseKind::Postgres), want);
}

#[rstest]
#[case(ColumnType::Date, "2026-01-02", "2026-01-02")]
#[case(ColumnType::Date, "2026-02-30", "no")]
#[case(ColumnType::Date, "2026-1-2", "no")]
#[case(ColumnType::Date, "2026-01-02T00:00:00", "no")]
#[case(ColumnType::Date, "infinity", "no")]
#[case(ColumnType::Time, "03:04", "03:04:00")]
#[case(ColumnType::Time, "03:04:05.123456789", "03:04:05.123456")]
#[case(ColumnType::Time, "24:00:00", "no")]
#[case(ColumnType::Time, "2026-01-02T03:04:05", "no")]
#[case(ColumnType::Timestamp, "2026-01-02T03:04:05", "2026-01-02T03:04:05")]
#[case(ColumnType::Timestamp, "2026-01-02 03:04:05.5", "2026-01-02T03:04:05.5")]
#[case(ColumnType::Timestamp, "2026-01-02", "2026-01-02T00:00:00")]
#[case(ColumnType::Timestamp, "2026-01-02T03:04:05+02:00", "2026-01-02T01:04:05")]
#[case(ColumnType::Timestamp, "2026-01-02T03:04:05[Europe/Oslo]", "no")]
#[case(ColumnType::TimestampTz, "2026-01-02T03:04:05Z", "2026-01-02T03:04:05Z")]
#[case(ColumnType::TimestampTz, "2026-01-02T03:04:05.1234567+02:00", "2026-01-02T01:04:05.123456Z")]
#[case(ColumnType::TimestampTz, "1960-01-01T00:00:00.1234567Z", "1960-01-01T00:00:00.123456Z")]
#[case(ColumnType::TimestampTz, "2026-01-02T03:04:05", "2026-01-02T03:04:05Z")]
#[case(ColumnType::TimestampTz, "2026-01-02", "2026-01-02T00:00:00Z")]
#[case(ColumnType::TimestampTz, "2026-01-02T03:04:05+99:00", "no")]
#[case(ColumnType::TimestampTz, "now", "no")]
#[case(ColumnType::TimestampTz, "", "no")]
fn times_are_iso_8601_and_moments_are_utc(
    #[case] column_type: ColumnType,
    #[case] text: &str,
    #[case] want: &str,
) {
    let fitted = match fit_type(Value::Text(text.into()), &column_type, DatabaseKind::Postgres) {
        Ok(Value::Text(text)) => text,
        Ok(other) => other.to_json(),
        Err(_) => "no".to_owned(),
    };
    assert_eq!(fitted, want);
}

#[test]
fn sqlite_keeps_the_text_of_a_uuid() {
    let text = "\"6F1C2A9E-0B7D-4C3A-9A51-2D8E4F60B7C1\"";
    assert_eq!(fitted(text, &ColumnType::Uuid, DatabaseKind::Sqlite), text);
}

#[test]
fn a_document_that_is_a_scalar_fits_where_the_scalar_does() {
    let document = |text: &str| Value::Json(text.into());
    for (text, column_type, want) in [
        ("\"x\"", ColumnType::Text, Some("\"x\"")),
        ("1.50", ColumnType::Decimal, Some("1.50")),
        ("true", ColumnType::Boolean, Some("true")),
        (" [\"a\", \"b\"] ", ColumnType::Array(Box::new(ColumnType::Text)), Some("[\"a\",\"b\"]")),
        ("{}", ColumnType::Text, None),
    ] {
        let fitted = fit_type(document(text), &column_type, DatabaseKind::Postgres).ok();
        assert_eq!(fitted.map(|value| value.to_json()).as_deref(), want, "{text}");
    }
}

#[test]
fn a_misfit_says_what_would_fit_and_never_the_value() {
    let misfit = fit_type(Value::Text("hunter2".into()), &int(16), DatabaseKind::Postgres).unwrap_err();
    assert_eq!(misfit.to_string(), "a whole number from -32768 to 32767, not this text");
}

#[rstest]
#[case::a_number(ColumnType::Int { bits: 32, unsigned: false })]
#[case::a_text(ColumnType::Text)]
#[case::a_list(ColumnType::Array(Box::new(ColumnType::Int { bits: 32, unsigned: false })))]
fn a_document_of_a_hundred_thousand_levels_is_refused_and_not_followed_to_its_end(
    #[case] column_type: ColumnType,
) {
    // Nobody sends one, but references can make one: each operation stores the document of the one before in a list.
    let deep = "[".repeat(100_000) + &"]".repeat(100_000);
    let column = ColumnType::Array(Box::new(column_type.clone()));
    for taker in [column_type, column] {
        for kind in KINDS {
            assert!(fit_type(Value::Json(deep.as_str().into()), &taker, kind).is_err());
        }
    }
}

fn any_type() -> impl Strategy<Value = ColumnType> {
    prop_oneof![
        (prop_oneof![Just(8u8), Just(16), Just(24), Just(32), Just(64)], any::<bool>())
            .prop_map(|(bits, unsigned)| ColumnType::Int { bits, unsigned }),
        Just(ColumnType::Decimal),
        Just(ColumnType::Float { bits: 64 }),
        Just(ColumnType::Boolean),
        Just(ColumnType::Text),
        Just(ColumnType::Uuid),
        Just(ColumnType::Date),
        Just(ColumnType::Time),
        Just(ColumnType::Timestamp),
        Just(ColumnType::TimestampTz),
        Just(ColumnType::Bytes),
        Just(ColumnType::Json),
        Just(ColumnType::Other),
        Just(ColumnType::Any),
        Just(ColumnType::Array(Box::new(ColumnType::Decimal))),
    ]
}

fn any_value() -> impl Strategy<Value = Value> {
    let scalar = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        any::<i64>().prop_map(Value::Int),
        "-?(0|[1-9][0-9]{0,25})(\\.[0-9]{1,12})?(e[+-]?[0-9]{1,3})?".prop_map(|text| Value::Number(text.into())),
        ".{0,12}".prop_map(Value::Text),
        "[0-9]{4}-[01][0-9]-[0-3][0-9]([T ][0-2][0-9]:[0-5][0-9](:[0-5][0-9](\\.[0-9]{1,9})?)?(Z|[+-][01][0-9]:00)?)?"
            .prop_map(Value::Text),
        "[0-2][0-9]:[0-5][0-9]".prop_map(Value::Text),
        "[A-Za-z0-9+/]{0,12}".prop_map(Value::Text),
        "-?[0-9]{1,20}(\\.[0-9]{1,8})?".prop_map(Value::Text),
    ];
    scalar.prop_recursive(2, 12, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::Array),
            inner.prop_map(|value| Value::Object(vec![("k".into(), value)])),
        ]
    })
}

proptest! {
    #[test]
    fn what_fits_once_fits_again_unchanged(value in any_value(), column_type in any_type(), kind in 0usize..3) {
        let kind = KINDS[kind];
        if let Ok(once) = fit_type(value, &column_type, kind) {
            let again = fit_type(once.clone(), &column_type, kind);
            prop_assert_eq!(again.map(|value| value.to_json()), Ok(once.to_json()));
        }
    }

    #[test]
    fn what_fits_is_valid_json(value in any_value(), column_type in any_type(), kind in 0usize..3) {
        if let Ok(fitted) = fit_type(value, &column_type, KINDS[kind]) {
            let json = fitted.to_json();
            prop_assert!(serde_json::from_str::<serde::de::IgnoredAny>(&json).is_ok(), "{}", json);
        }
    }

    #[test]
    fn a_decimal_is_the_same_number(digits in "-?(0|[1-9][0-9]{0,9})(\\.[0-9]{1,6})?(e[+-]?[0-9])?") {
        let fitted = fit_type(Value::Number(digits.as_str().into()), &ColumnType::Decimal, DatabaseKind::Postgres).unwrap();
        let (want, got): (f64, f64) = (digits.parse().unwrap(), fitted.to_json().parse().unwrap());
        prop_assert!((want - got).abs() <= want.abs() * 1e-12, "{} became {}", digits, fitted.to_json());
    }
}
