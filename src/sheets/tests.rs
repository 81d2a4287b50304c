//! Files made here, read back: by `rust_xlsxwriter`, by hand, and what is wrong with some of them.

mod bad_input;
mod made;
mod properties;
mod workbooks;

use std::path::Path;

use rstest::rstest;

use super::*;

/// Opens bytes as a file of this name.
fn open(folder: &Path, name: &str, bytes: &[u8]) -> Result<Workbook, SheetError> {
    open_with(folder, name, bytes, &OpenOptions::new(folder))
}

fn open_with(folder: &Path, name: &str, bytes: &[u8], options: &OpenOptions) -> Result<Workbook, SheetError> {
    let path = folder.join("the file");
    std::fs::write(&path, bytes).unwrap();
    Workbook::open(&path, name, options)
}

/// Every row as `number: cell|cell`, the head first.
fn told(workbook: &mut Workbook, sheet: Option<&str>) -> Result<Vec<String>, SheetError> {
    let mut rows = workbook.rows(sheet)?;
    let mut told = vec![format!("{}: {}", rows.head_row(), rows.headers().join("|"))];
    while let Some(row) = rows.next_row()? {
        let cells: Vec<String> = row.cells().map(shown).collect();
        told.push(format!("{}: {}", row.number, cells.join("|")));
    }
    Ok(told)
}

/// The rows of a file with these bytes.
fn rows_of(name: &str, bytes: &[u8]) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    told(&mut open(folder.path(), name, bytes).unwrap(), None).unwrap()
}

/// The sentence that opening or reading a file with these bytes ends with.
fn sentence_of(name: &str, bytes: &[u8]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let told = open(folder.path(), name, bytes).and_then(|mut book| told(&mut book, None));
    told.expect_err("the file is read").to_string()
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

fn texts(written: &[&str]) -> Vec<String> {
    written.iter().map(|text| (*text).to_owned()).collect()
}

const ID: &str = "00Q5e00000A1b2cEAB";

#[rstest]
#[case::by_ids(&["Name", "Key", "Id"], &["x", "00Q5e00000A1b2c", "003"], None, Ok("Key"))]
#[case::by_name_when_rows_tell_nothing(&["Name", "id", "Lead Id"], &["x", "", ""], None, Ok("Lead Id"))]
#[case::named(&["Name", "Key"], &["00Q5e00000A1b2c", ""], Some("Key"), Ok("Key"))]
#[case::named_in_another_case(&["Name", "Lead ID"], &["", ""], Some(" lead id "), Ok("Lead ID"))]
#[case::exact_before_alike(&["ID", "id"], &["", ""], Some("id"), Ok("id"))]
#[case::named_wrong(&["Name", "Key"], &["", ""], Some("Ids"),
    Err("no column `Ids`; the columns found are `Name`, `Key`"))]
#[case::none(&["Name", "Age"], &["x", "7"], None,
    Err("no column holds Lead ids (15 or 18 characters from 00Q); name it, and delete rows that stand above the table's \
         heads; the columns found are `Name`, `Age`"))]
#[case::beyond_the_heads(&["Leads of autumn"], &["Ada", "00Q5e00000A1b2c"], None, Ok("Column B"))]
#[case::beyond_and_named(&["Leads of autumn"], &["Ada", ""], Some("column b"), Ok("Column B"))]
#[case::by_its_letter(&["Leads of autumn"], &["Ada", ""], Some("B"), Ok("Column B"))]
#[case::a_letter_of_a_column_with_a_head(&["Name", "Key"], &["x", ""], Some("b"), Ok("Key"))]
#[case::a_head_before_a_letter(&["B", "A"], &["x", ""], Some("B"), Ok("B"))]
#[case::no_letters(&["Name", "Key"], &["x", ""], Some("S\u{d1}|4)"),
    Err("no column `S\u{d1}|4)`; the columns found are `Name`, `Key`"))]
#[case::no_column(&["Name", "Key"], &["x", ""], Some("Column "),
    Err("no column `Column `; the columns found are `Name`, `Key`"))]
#[case::a_letter_nobody_has(&["Name", "Key"], &["x", ""], Some("C"),
    Err("no column `C`; the columns found are `Name`, `Key`"))]
fn the_column_of_ids_is_found_by_its_ids_then_by_its_name(
    #[case] headers: &[&str],
    #[case] row: &[&str],
    #[case] wanted: Option<&str>,
    #[case] expected: Result<&str, &str>,
) {
    let sample = vec![row.iter().map(|text| OwnedCell::Text((*text).to_owned())).collect()];
    let found = find_id_column(&texts(headers), &sample, wanted);
    match expected {
        Ok(header) => assert_eq!(found.unwrap().header, header),
        Err(sentence) => assert_eq!(found.unwrap_err().to_string(), sentence),
    }
}

#[test]
fn a_number_is_no_id_whatever_its_digits() {
    let cell = OwnedCell::Number { value: 1.2e17, written: "1.2e+17".into(), format: "General".into() };
    let sample = vec![vec![cell.clone(), OwnedCell::Text(ID.into())]];
    assert_eq!(find_id_column(&texts(&["A", "B"]), &sample, None).unwrap().index, 1);
    assert_eq!(cell.shown(), "1.2e+17");
}

#[test]
fn a_preview_shows_sheets_columns_rows_and_the_column_of_ids() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("list");
    let mut text = "Name,Lead ID\n".to_owned();
    for row in 0..250 {
        text += &format!("N{row},{}\n", if row == 3 { "" } else { ID });
    }
    std::fs::write(&path, text).unwrap();
    let preview = preview(&path, "list.csv", None, &OpenOptions::new(folder.path())).unwrap();
    assert_eq!(preview.format, SheetFormat::Csv);
    assert_eq!(preview.sheet_names, ["Sheet1"]);
    assert_eq!(preview.sheet, "Sheet1");
    assert_eq!(preview.headers, ["Name", "Lead ID"]);
    assert_eq!(preview.total_rows, 250);
    assert_eq!(preview.preview_rows.len(), PREVIEW_ROWS);
    assert_eq!(preview.preview_rows[3][0].shown(), "N3");
    assert!(preview.preview_rows[3][1].view().is_empty());
    let id_column = preview.id_column.unwrap();
    assert_eq!((id_column.index, id_column.header.as_str()), (1, "Lead ID"));
    assert_eq!(id_column.why, "99 of the first 100 rows hold a Lead's id");
}

#[test]
fn without_a_name_the_first_sheet_that_has_ids_is_taken() {
    let folder = tempfile::tempdir().unwrap();
    let mut writer = rust_xlsxwriter::Workbook::new();
    for (name, head, hidden) in
        [("Old", "Lead Id", true), ("Notes", "Text", false), ("None", "", false), ("Leads", "Lead Id", false)]
    {
        let sheet = writer.add_worksheet().set_name(name).unwrap().set_hidden(hidden);
        sheet.write_string(0, 0, head).unwrap();
        sheet.set_active(name == "Leads");
    }
    let bytes = writer.save_to_buffer().unwrap();
    let mut book = open(folder.path(), "a.xlsx", &bytes).unwrap();
    assert_eq!(book.first_sheet(), Some("Notes"));
    let (sheet, column) = find_ids(&mut book, None, None).unwrap();
    assert_eq!((sheet.as_str(), column.index), ("Leads", 0));
    assert_eq!(find_ids(&mut book, Some("old"), None).unwrap().0, "Old");
    let sentence = "no column `Key`; the columns found are `Text`";
    assert_eq!(find_ids(&mut book, None, Some("Key")).unwrap_err().to_string(), sentence);
    assert!(matches!(find_ids(&mut book, Some("None"), None), Err(SheetError::EmptySheet { .. })));
    let preview = preview(&folder.path().join("the file"), "a.xlsx", None, &OpenOptions::new(folder.path()));
    assert_eq!(preview.unwrap().sheet, "Leads");
}

#[rstest]
#[case::first(
    "00Q5e00000A1b2c,Ada\n00Q5e00000A1b2d,Bob\n",
    &["0: Column A|Column B", "1: '00Q5e00000A1b2c'|'Ada'", "2: '00Q5e00000A1b2d'|'Bob'"]
)]
#[case::below_blank_rows(
    "\n\n00Q5e00000A1b2c\n\nx\n",
    &["2: Column A", "3: '00Q5e00000A1b2c'", "4: ", "5: 'x'"]
)]
#[case::a_head("Lead Id,00Q5e00000\nx,y\n", &["1: Lead Id|00Q5e00000", "2: 'x'|'y'"])]
fn a_sheet_without_heads_loses_no_lead(#[case] text: &str, #[case] expected: &[&str]) {
    assert_eq!(rows_of("list.csv", text.as_bytes()), expected);
}

#[test]
fn a_preview_of_a_sheet_without_heads_shows_its_first_row() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("list.csv");
    std::fs::write(&path, format!("{ID},Ada\n{ID},Bob\n")).unwrap();
    let preview = preview(&path, "list.csv", None, &OpenOptions::new(folder.path())).unwrap();
    assert_eq!((preview.total_rows, preview.preview_rows[0][1].shown()), (2, "Ada".into()));
    assert_eq!(preview.id_column.unwrap().header, "Column A");
}

#[test]
fn what_is_in_a_cell_is_not_in_its_debug_form() {
    let cell = OwnedCell::Text("Jane Doe".into());
    assert_eq!(format!("{cell:?} {:?}", cell.view()), "Text Text");
}

#[test]
fn a_workbook_goes_to_another_thread() {
    fn goes<T: Send>() {}
    goes::<Workbook>();
    goes::<Rows<'static>>();
}
