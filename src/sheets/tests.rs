use std::path::Path;

use rust_xlsxwriter::{Format, Workbook as Writer};

use super::*;

pub(super) fn open(folder: &Path, name: &str, bytes: &[u8]) -> Result<Workbook, SheetError> {
    let path = folder.join("the file");
    std::fs::write(&path, bytes).unwrap();
    Workbook::open(&path, name, &OpenOptions::new(folder))
}

/// Every row as `number: cell|cell`.
pub(super) fn told(workbook: &mut Workbook, sheet: Option<&str>) -> Vec<String> {
    let mut rows = workbook.rows(sheet).unwrap();
    let mut told = vec![format!("{}: {}", rows.head_row(), rows.headers().join("|"))];
    while let Some(row) = rows.next_row().unwrap() {
        let (number, cells) = (row.number, row.cells().map(shown).collect::<Vec<_>>());
        told.push(format!("{number}: {}", cells.join("|")));
    }
    told
}

fn shown(cell: CellView<'_>) -> String {
    match cell {
        CellView::Empty => String::new(),
        CellView::Text(text) => format!("'{text}'"),
        CellView::Number { written, .. } => written.to_owned(),
        CellView::Bool(value) => value.to_string().to_uppercase(),
        CellView::Error(code) => format!("!{code}"),
    }
}

#[test]
fn a_workbook_is_read_as_it_was_written() {
    let folder = tempfile::tempdir().unwrap();
    let mut writer = Writer::new();
    let sheet = writer.add_worksheet();
    let date = Format::new().set_num_format("yyyy-mm-dd");
    sheet.write_string(0, 0, " Lead ID ").unwrap();
    sheet.write_string(0, 2, "Since").unwrap();
    sheet.write_string(1, 0, "00Q5e00000A1b2c").unwrap();
    sheet.write_boolean(1, 1, true).unwrap();
    sheet.write_number_with_format(1, 2, 45_351, &date).unwrap();
    sheet.write_string(4, 0, "a & b <c> _x000D_ \u{1}").unwrap();
    sheet.write_number(4, 3, 0.1).unwrap();
    sheet.write_blank(9, 0, &date).unwrap();
    let mut book = open(folder.path(), "leads.xlsx", &writer.save_to_buffer().unwrap()).unwrap();
    assert_eq!(book.format(), SheetFormat::Xlsx);
    assert_eq!(
        told(&mut book, None),
        [
            "1: Lead ID|Column B|Since",
            "2: '00Q5e00000A1b2c'|TRUE|45351",
            "3: ",
            "4: ",
            "5: 'a & b <c> _x000D_ \u{1}'|||0.1",
        ]
    );
    let mut rows = book.rows(Some("sheet1")).unwrap();
    let sample = rows.sample(1).unwrap();
    assert_eq!(sample[0][2].shown(), "2024-02-29");
}

#[test]
fn a_csv_is_read_with_its_blank_lines() {
    let folder = tempfile::tempdir().unwrap();
    let text = "Id;Name\r\n\r\n00Q5e00000A1b2c;\"Do\"\"e;\r\nJane\"\r\n\r\n;x;y\r\n1.2E+17;\r\n\r\n";
    let mut book = open(folder.path(), "leads.csv", text.as_bytes()).unwrap();
    assert_eq!(
        told(&mut book, None),
        ["1: Id|Name", "2: ", "3: '00Q5e00000A1b2c'|'Do\"e;\r\nJane'", "4: ", "5: |'x'|'y'", "6: 1.2E+17|"]
    );
}
