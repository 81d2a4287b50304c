//! Rows that go to Arrow and come back.

use proptest::prelude::*;
use rstest::rstest;

use super::*;

const KINDS: [ColumnType; 9] = [
    ColumnType::Id,
    ColumnType::Text,
    ColumnType::Boolean,
    ColumnType::Int,
    ColumnType::Decimal { precision: 18, scale: 2 },
    ColumnType::Date,
    ColumnType::Time,
    ColumnType::DateTime,
    ColumnType::Json,
];

fn columns(kinds: &[ColumnType]) -> Vec<TableColumn> {
    let column = |(at, kind): (usize, &ColumnType)| TableColumn {
        field: format!("F{at}"),
        name: format!("F{at}"),
        kind: *kind,
    };
    kinds.iter().enumerate().map(column).collect()
}

#[test]
fn rows_come_back_from_arrow_as_they_went() {
    let cells = [
        Cell::Text("00Q000000000001AAA"),
        Cell::Text("Zoë, \"A\"\n"),
        Cell::Boolean(true),
        Cell::Int(-7),
        Cell::Decimal("-12.5"),
        Cell::Date(20_454),
        Cell::Time(86_399_999),
        Cell::DateTime(-1),
        Cell::Text("{}"),
    ];
    let mut chunk = RowChunk::new(cells.len());
    for _ in 0..BATCH_ROWS {
        chunk.push(cells);
    }
    chunk.push([Cell::Null; 9]);
    let chunk = Arc::new(chunk);
    let reader = ChunkReader::new(Arc::clone(&chunk), &columns(&KINDS), Vec::new());
    let kinds: Vec<_> = columns_of(&reader.schema()).into_iter().map(|column| column.kind).collect();
    assert_eq!(kinds[3], ColumnType::Int);
    let mut back = RowChunk::new(cells.len());
    let batches: Vec<_> = reader.map(Result::unwrap).collect();
    assert_eq!(batches.len(), 2);
    for batch in &batches {
        append_rows(batch, &mut back).unwrap();
    }
    assert_eq!(back.rows(), chunk.rows());
    for (there, here) in back.iter().zip(chunk.iter()) {
        assert!(there.cells().eq(here.cells()));
    }
}

#[test]
fn constants_stand_before_the_rows() {
    let mut chunk = RowChunk::new(1);
    chunk.push([Cell::Int(1)]);
    let constants = vec![Constant::Text("load", "01".to_owned()), Constant::Number("part", 7)];
    let mut reader = ChunkReader::new(Arc::new(chunk), &columns(&[ColumnType::Int]), constants);
    let batch = reader.next().unwrap().unwrap();
    let mut back = RowChunk::new(3);
    append_rows(&batch, &mut back).unwrap();
    assert!(back.row(0).unwrap().cells().eq([Cell::Text("01"), Cell::Int(7), Cell::Int(1)]));
}

#[rstest]
#[case::other_type(ColumnType::Boolean, Cell::Text("secret"))]
#[case::too_long(ColumnType::Decimal { precision: 18, scale: 0 }, Cell::Decimal("1234567890123456789"))]
#[case::too_fine(ColumnType::Decimal { precision: 18, scale: 2 }, Cell::Decimal("1.005"))]
fn what_does_not_fit_names_its_column_and_not_its_value(#[case] kind: ColumnType, #[case] cell: Cell<'_>) {
    let mut chunk = RowChunk::new(1);
    chunk.push([cell]);
    let mut reader = ChunkReader::new(Arc::new(chunk), &columns(&[kind]), Vec::new());
    let failure = reader.failure();
    assert!(reader.next().unwrap().is_err());
    assert!(reader.next().is_none(), "the rest would be staged without it");
    let error = failure.or(WarehouseError::Closed);
    assert!(matches!(&error, WarehouseError::BadValue { column, .. } if column == "F0"), "{error}");
    assert!(!error.to_string().contains("secret") && !error.to_string().contains("1.005"));
}

#[rstest]
#[case("0", Some(0))]
#[case("12.50", Some(1_250))]
#[case("-0.01", Some(-1))]
#[case("7.000", Some(700))]
#[case("9999999999999999.99", Some(999_999_999_999_999_999))]
#[case("10000000000000000", None)]
#[case("0.001", None)]
#[case("1e3", None)]
#[case("", None)]
#[case("-", None)]
#[case(".", None)]
fn a_number_is_exact_or_refused(#[case] text: &str, #[case] expected: Option<i128>) {
    assert_eq!(scaled(text, 18, 2), expected);
}

proptest! {
    #[test]
    fn a_number_reads_back(value in -10i128.pow(36)..10i128.pow(36), scale in 0u8..30) {
        let mut text = String::new();
        plain_decimal(value, scale.into(), &mut text);
        prop_assert_eq!(scaled(&text, 38, scale), Some(value));
    }
}
