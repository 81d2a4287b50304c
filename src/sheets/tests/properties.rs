//! What is written is read back, whatever it is; and whatever is read, nothing panics.

use proptest::collection::vec;
use proptest::prelude::*;
use rust_xlsxwriter::{Format, Workbook as Writer};

use super::made::Made;
use super::*;

#[derive(Debug, Clone)]
enum Written {
    Nothing,
    Text(String),
    Number(f64),
    Bool(bool),
    Date(u32),
}

fn written() -> impl Strategy<Value = Written> {
    prop_oneof![
        Just(Written::Nothing),
        "\\PC{0,12}".prop_map(Written::Text),
        "[ \\t\\n_xX0-9A-F&<>\"']{0,12}".prop_map(Written::Text),
        any::<f64>()
            .prop_filter("sheets have no infinity", |value| value.is_finite())
            .prop_map(Written::Number),
        any::<bool>().prop_map(Written::Bool),
        (61_u32..2_958_465).prop_map(Written::Date),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn what_a_writer_writes_is_read_back(rows in vec(vec(written(), 1..6), 1..12), constant_memory: bool) {
        let folder = tempfile::tempdir().unwrap();
        let mut writer = Writer::new();
        let date = Format::new().set_num_format("yyyy-mm-dd");
        let sheet = if constant_memory {
            writer.add_worksheet_with_constant_memory().unwrap()
        } else {
            writer.add_worksheet()
        };
        sheet.write_string(0, 0, "Id").unwrap();
        for (row, cells) in rows.iter().enumerate() {
            let row = row as u32 + 1;
            for (column, cell) in cells.iter().enumerate() {
                let column = column as u16;
                match cell {
                    Written::Nothing => continue,
                    Written::Text(text) => sheet.write_string(row, column, text).unwrap(),
                    Written::Number(value) => sheet.write_number(row, column, *value).unwrap(),
                    Written::Bool(value) => sheet.write_boolean(row, column, *value).unwrap(),
                    Written::Date(day) => sheet.write_number_with_format(row, column, *day, &date).unwrap(),
                };
            }
        }
        let mut book = open(folder.path(), "a.xlsx", &writer.save_to_buffer().unwrap()).unwrap();
        let mut read = book.rows(None).unwrap();
        let mut numbered = Vec::new();
        while let Some(row) = read.next_row().unwrap() {
            numbered.push((row.number, (0..5).map(|column| read_cell(row.cell(column))).collect::<Vec<_>>()));
        }
        let is_nothing = |cell: &Written| matches!(cell, Written::Nothing) || matches!(cell, Written::Text(text) if text.trim().is_empty());
        let last = rows.iter().rposition(|cells| !cells.iter().all(is_nothing)).map_or(0, |last| last + 1);
        prop_assert_eq!(numbered.len(), last);
        for (index, (number, cells)) in numbered.into_iter().enumerate() {
            prop_assert_eq!(number, index as u64 + 2);
            if rows[index].iter().all(is_nothing) {
                continue;
            }
            for (column, cell) in cells.into_iter().enumerate() {
                let wanted = match rows[index].get(column) {
                    None | Some(Written::Nothing) => String::new(),
                    Some(Written::Text(text)) => text.clone(),
                    Some(Written::Number(value)) => format!("{value:?}"),
                    Some(Written::Bool(value)) => value.to_string(),
                    Some(Written::Date(day)) => format!("{:?}", f64::from(*day)),
                };
                prop_assert_eq!(cell, wanted);
            }
        }
    }

    #[test]
    fn what_a_csv_writer_writes_is_read_back(
        rows in vec(vec("[a-zü,;\"\\r\\n\\t ]{0,8}", 3..4), 1..12),
        crlf: bool,
    ) {
        let terminator = if crlf { csv::Terminator::CRLF } else { csv::Terminator::Any(b'\n') };
        let mut writer = csv::WriterBuilder::new().terminator(terminator).from_writer(Vec::new());
        writer.write_record(["Id", "Name", "More"]).unwrap();
        for row in &rows {
            writer.write_record(row).unwrap();
        }
        let bytes = writer.into_inner().unwrap();
        // The delimiter is known here: guessing it has tests of its own.
        let mut records = delimited::records::Records::of(bytes.as_slice(), b',');
        let mut row = cell::RowBuffer::default();
        let mut read = Vec::new();
        while let Some(number) = records.read(&mut row).unwrap() {
            let view = RowView { number, buffer: &row };
            read.push((number, (0..3).map(|column| read_cell(view.cell(column))).collect::<Vec<_>>()));
        }
        let wanted: Vec<_> = std::iter::once(texts(&["Id", "Name", "More"]))
            .chain(rows)
            .enumerate()
            .map(|(index, row)| (index as u64 + 1, row))
            .filter(|(_, row)| row.iter().any(|text| !text.trim().is_empty()))
            .collect();
        prop_assert_eq!(read, wanted);
    }

    #[test]
    fn shared_texts_are_the_same_from_memory_and_from_the_disk(
        distinct in vec(prop_oneof![9 => "[a-zü]{0,6}", 1 => "[a-z]{600,900}"], 1..900),
        asked in vec(any::<prop::sample::Index>(), 1..300),
        memory_bytes in prop_oneof![Just(0_usize), 0..20_000_usize, Just(8 << 20)],
        in_order: bool,
    ) {
        let items: String = distinct.iter().map(|text| format!("<si><t>{text}</t></si>")).collect();
        let places: Vec<usize> = if in_order {
            (0..distinct.len()).collect()
        } else {
            asked.iter().map(|place| place.index(distinct.len())).collect()
        };
        let head = "<row><c t=\"str\"><v>Id</v></c></row>".to_owned();
        let rows: String = places
            .iter()
            .map(|place| format!("<row><c t=\"s\"><v>{place}</v></c><c><v>1</v></c></row>"))
            .collect();
        let bytes = Made::of_rows(&(head + &rows)).with_strings(&items).bytes();
        let folder = tempfile::tempdir().unwrap();
        let options = OpenOptions { memory_bytes, ..OpenOptions::new(folder.path()) };
        let mut book = open_with(folder.path(), "a.xlsx", &bytes, &options).unwrap();
        for _ in 0..2 {
            let mut read = book.rows(None).unwrap();
            for &place in &places {
                let row = read.next_row().unwrap().unwrap();
                prop_assert_eq!(&read_cell(row.cell(0)), &distinct[place]);
            }
            prop_assert!(read.next_row().unwrap().is_none());
        }
    }

    #[test]
    fn whatever_the_bytes_are_nothing_panics(
        changes in vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        which in 0_u8..4,
    ) {
        let mut bytes = match which {
            0 => b"Id;Name\n1;\"a\nb\"\n\n2;c\n".to_vec(),
            1 => Made::of_rows("<row><c t=\"s\"><v>0</v></c></row>").with_strings("<si><t>x</t></si>").bytes(),
            2 => {
                let cells = super::made::label(0, 0, "Id");
                super::made::compound_file("Workbook", &super::made::biff(false, &[("One", 0, 0, cells)]))
            }
            // The XML itself, not packed: the checks of the archive would catch every change.
            _ => {
                let mut made = Made::of_rows("<row r=\"1\"><c r=\"A1\" t=\"inlineStr\"><is><t>a&amp;b</t></is></c></row>");
                for (place, byte) in &changes {
                    let at = place.index(made.sheet.len());
                    made.sheet[at] = *byte;
                }
                made.bytes()
            }
        };
        if which < 3 {
            for (place, byte) in &changes {
                let at = place.index(bytes.len());
                bytes[at] = *byte;
            }
        }
        let folder = tempfile::tempdir().unwrap();
        if let Err(error) = open(folder.path(), "a.xlsx", &bytes).and_then(|mut book| told(&mut book, None)) {
            prop_assert!(error.to_string().len() > 10);
        }
    }
}

fn read_cell(cell: CellView<'_>) -> String {
    match cell {
        CellView::Empty => String::new(),
        CellView::Text(text) | CellView::Error(text) => text.to_owned(),
        CellView::Number { value, .. } => format!("{value:?}"),
        CellView::Bool(value) => value.to_string(),
    }
}
