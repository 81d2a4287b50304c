//! What workbooks and texts say, in the many ways they can say it.

use rstest::rstest;
use rust_xlsxwriter::{Chart, ChartType, Format, Formula, Workbook as Writer};

use super::made::{Made, biff, compound_file, label, number, zip_of};
use super::*;

fn rows_in(made: &Made) -> Vec<String> {
    rows_of("leads.xlsx", &made.bytes())
}

fn text(reference: &str, text: &str) -> String {
    format!("<c r=\"{reference}\" t=\"inlineStr\"><is><t>{text}</t></is></c>")
}

#[test]
fn a_workbook_is_read_as_it_was_written() {
    let folder = tempfile::tempdir().unwrap();
    let mut writer = Writer::new();
    let sheet = writer.add_worksheet();
    let date = Format::new().set_num_format("yyyy-mm-dd");
    sheet.write_string(0, 0, " Lead ID ").unwrap();
    sheet.write_string(0, 2, "Since").unwrap();
    sheet.write_string(1, 0, ID).unwrap();
    sheet.write_boolean(1, 1, true).unwrap();
    sheet.write_number_with_format(1, 2, 45_351, &date).unwrap();
    sheet.write_string(4, 0, "a & b <c> _x000D_ \u{1}").unwrap();
    sheet.write_number(4, 3, 0.1).unwrap();
    sheet.write_blank(9, 0, &date).unwrap();
    sheet.set_column_width(2, 31).unwrap();
    let mut book = open(folder.path(), "leads.xlsx", &writer.save_to_buffer().unwrap()).unwrap();
    assert_eq!(book.format(), SheetFormat::Xlsx);
    assert_eq!(
        told(&mut book, None).unwrap(),
        [
            "1: Lead ID|Column B|Since",
            "2: '00Q5e00000A1b2cEAB'|TRUE|45351",
            "3: ",
            "4: ",
            "5: 'a & b <c> _x000D_ \u{1}'|||0.1",
        ]
    );
    let mut rows = book.rows(Some("sheet1")).unwrap();
    assert!((rows.column_width(2).unwrap() - 31.0).abs() < 1.0);
    assert_eq!(rows.column_width(1), None);
    assert_eq!(rows.sample(1).unwrap()[0][2].shown(), "2024-02-29");
}

#[test]
fn formulas_are_their_cached_values_and_empty_without_one() {
    let mut writer = Writer::new();
    let sheet = writer.add_worksheet();
    sheet.write_string(0, 0, "Id").unwrap();
    sheet.write_formula(1, 0, Formula::new("=\"00Q\"&B2").set_result(ID)).unwrap();
    sheet.write_formula(1, 1, Formula::new("=1+1").set_result("2")).unwrap();
    assert_eq!(rows_of("f.xlsx", &writer.save_to_buffer().unwrap()), ["1: Id", "2: '00Q5e00000A1b2cEAB'|2"]);
    let made = Made::of_rows(
        "<row r=\"1\"><c r=\"A1\"><v>1</v></c></row>\
         <row r=\"2\"><c r=\"A2\"><f>B2</f></c><c r=\"B2\" t=\"str\"><f>\"\"</f><v></v></c><c r=\"C2\"><f>1</f><v/></c>\
         <c r=\"D2\" t=\"e\"><f>1/0</f><v>#DIV/0!</v></c></row>",
    );
    assert_eq!(rows_in(&made), ["1: 1", "2: |||!#DIV/0!"]);
}

#[test]
fn of_merged_cells_the_top_left_one_has_the_value() {
    let mut writer = Writer::new();
    let sheet = writer.add_worksheet();
    sheet.write_string(0, 0, "Id").unwrap();
    sheet.write_string(0, 1, "Group").unwrap();
    sheet.merge_range(1, 1, 3, 1, "both", &Format::new()).unwrap();
    for row in 1..4 {
        sheet.write_string(row, 0, ID).unwrap();
    }
    let rows = rows_of("m.xlsx", &writer.save_to_buffer().unwrap());
    assert_eq!(rows[1..], [format!("2: '{ID}'|'both'"), format!("3: '{ID}'"), format!("4: '{ID}'")]);
}

#[test]
fn shared_texts_may_have_runs_and_a_pronunciation() {
    let made = Made::of_rows(
        "<row><c t=\"s\"><v>0</v></c><c t=\"s\"><v>1</v></c><c t=\"s\"><v>2</v></c><c t=\"s\"><v> 3 </v></c></row>",
    )
    .with_strings(
        "<si><r><rPr><b/></rPr><t>Lead</t></r><r><t xml:space=\"preserve\"> Id</t></r></si>\
         <si><t>\u{8ab2}</t><rPh sb=\"0\" eb=\"1\"><t>ka</t></rPh><phoneticPr fontId=\"1\"/></si>\
         <si/><si><t>a&amp;b&#228;<![CDATA[<c>]]><!-- no -->d</t></si>",
    );
    assert_eq!(rows_in(&made), ["1: Lead Id|\u{8ab2}|Column C|a&bä<c>d"]);
}

#[rstest]
#[case::unit("_x0041_", "A")]
#[case::escaped_escape("_x005F_x0041_", "_x0041_")]
#[case::pair("_xD83D__xDE00_", "\u{1f600}")]
#[case::half_a_pair("_xD83D_!", "\u{fffd}!")]
#[case::no_escape("_x00G1_ _x41_ _x", "_x00G1_ _x41_ _x")]
#[case::line_break("a_x000D_\nb", "a\r\nb")]
fn escapes_of_characters_are_resolved(#[case] written: &str, #[case] expected: &str) {
    let made = Made::of_rows(&format!("<row>{}</row><row>{}</row>", text("A1", "Id"), text("A2", written)));
    assert_eq!(rows_in(&made), ["1: Id".to_owned(), format!("2: '{expected}'")]);
}

#[test]
fn rows_and_cells_need_no_reference_and_the_dimension_is_not_believed() {
    let mut made = Made::of_rows(
        "<row><c><v>1</v></c><c/><c><v>3</v></c></row><row><c r=\"B2\"><v>2</v></c><c><v>4</v></c></row><row r=\"7\"/>\
         <row><c><v>8</v></c></row>",
    );
    let sheet = String::from_utf8(made.sheet).unwrap();
    made.sheet = sheet.replace("<sheetData>", "<dimension ref=\"A1:A1\"/><sheetData>").into_bytes();
    assert_eq!(rows_in(&made), ["1: 1|Column B|3", "2: |2|4", "3: ", "4: ", "5: ", "6: ", "7: ", "8: 8"]);
}

#[test]
fn a_strict_workbook_with_prefixes_and_other_paths_is_read() {
    let strict = "http://purl.oclc.org/ooxml/officeDocument/relationships";
    let package = format!(
        "<Relationships><Relationship Id=\"a\" Type=\"{strict}/officeDocument\" Target=\"/book/main.xml\"/></Relationships>"
    );
    let relations = format!(
        "<p:Relationships xmlns:p=\"x\"><p:Relationship Id=\"q\" Type=\"{strict}/worksheet\" Target=\"..\\Rows.xml\"/>\
         </p:Relationships>"
    );
    let sheet: Vec<u8> = "\u{feff}<x:worksheet xmlns:x=\"http://purl.oclc.org/ooxml/spreadsheetml/main\"><x:sheetData>\
        <x:row r='1'><x:c r='A1' t='str'><x:v>Id</x:v></x:c></x:row>\
        <x:row r='2'><x:c r='A2' t='d'><x:v>2024-02-29T12:00:00Z</x:v></x:c></x:row></x:sheetData></x:worksheet>"
        .encode_utf16()
        .flat_map(u16::to_le_bytes)
        .collect();
    let bytes = zip_of(&[
        ("_rels/.rels", package.as_bytes()),
        (
            "book\\main.xml",
            b"<x:workbook><x:sheets><x:sheet name=\"A &amp; B\" sheetId=\"1\" r:id=\"q\"/></x:sheets></x:workbook>",
        ),
        ("book/_rels/main.xml.rels", relations.as_bytes()),
        ("ROWS.XML", &sheet),
    ]);
    let folder = tempfile::tempdir().unwrap();
    let mut book = open(folder.path(), "strict.xlsx", &bytes).unwrap();
    assert_eq!(book.sheet_names(), ["A & B"]);
    assert_eq!(told(&mut book, None).unwrap(), ["1: Id", "2: 45351.5"]);
    assert_eq!(book.rows(None).unwrap().sample(1).unwrap()[0][0].shown(), "2024-02-29T12:00:00");
}

#[test]
fn dates_that_count_from_1904_are_told_as_if_from_1900() {
    let cells = "<row><c><v>1</v></c></row><row><c s=\"1\"><v>43889</v></c><c s=\"2\"><v>0.5</v></c><c><v>43889</v></c></row>";
    let mut made = Made::of_rows(cells);
    made.workbook = made.workbook.replace("<workbookPr/>", "<workbookPr date1904=\"1\"/>");
    made.styles = "<styleSheet><numFmts><numFmt numFmtId=\"170\" formatCode=\"dd\\.mm\\.yyyy\"/></numFmts>\
        <cellStyleXfs><xf numFmtId=\"9\"/></cellStyleXfs>\
        <cellXfs><xf numFmtId=\"0\"/><xf numFmtId=\"170\"/><xf numFmtId=\"20\"/></cellXfs></styleSheet>"
        .into();
    let folder = tempfile::tempdir().unwrap();
    let mut book = open(folder.path(), "mac.xlsx", &made.bytes()).unwrap();
    let mut rows = book.rows(None).unwrap();
    let row = &rows.sample(1).unwrap()[0];
    let shown: Vec<_> = row.iter().map(|cell| cell.shown().into_owned()).collect();
    assert_eq!(shown, ["2024-02-29", "12:00:00", "43889"]);
    assert!(matches!(&row[0], OwnedCell::Number { format, .. } if format == "dd\\.mm\\.yyyy"));
}

#[test]
fn hidden_sheets_are_listed_and_not_the_first() {
    let mut writer = Writer::new();
    writer.add_worksheet().set_name("Lists").unwrap().set_hidden(true).write_string(0, 0, "hidden").unwrap();
    let mut chart = Chart::new(ChartType::Line);
    chart.add_series().set_values("Leads!$A$1:$A$2");
    writer.add_chartsheet().set_name("Chart").unwrap().insert_chart(0, 0, &chart).unwrap();
    writer.add_worksheet().set_name("Leads").unwrap().set_active(true).write_string(0, 0, "Id").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let mut book = open(folder.path(), "h.xlsx", &writer.save_to_buffer().unwrap()).unwrap();
    assert_eq!(book.sheet_names(), ["Lists", "Leads"]);
    assert_eq!(book.first_sheet(), Some("Leads"));
    assert_eq!(told(&mut book, None).unwrap(), ["1: Id"]);
    assert_eq!(told(&mut book, Some(" lists")).unwrap(), ["1: hidden"]);
    assert_eq!(
        told(&mut book, Some("chart")).unwrap_err().to_string(),
        "sheet `chart` has no rows (it is a chart sheet); the sheets with rows are `Lists`, `Leads`"
    );
    assert_eq!(
        told(&mut book, Some("Leeds")).unwrap_err().to_string(),
        "no sheet `Leeds`; the sheets are `Lists`, `Leads`"
    );
}

#[test]
fn a_row_may_have_16384_columns_and_a_cell_32767_characters() {
    let mut writer = Writer::new();
    let sheet = writer.add_worksheet();
    let long = "ü".repeat(32_767);
    for column in 0..16_384 {
        sheet.write_number(0, column, column).unwrap();
    }
    sheet.write_string(1, 16_383, &long).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let mut book = open(folder.path(), "wide.xlsx", &writer.save_to_buffer().unwrap()).unwrap();
    let mut rows = book.rows(None).unwrap();
    assert_eq!(rows.headers().len(), 16_384);
    assert_eq!(rows.headers()[16_383], "16383");
    let row = rows.next_row().unwrap().unwrap();
    assert_eq!(row.cell(16_383), CellView::Text(&long));
    assert_eq!(row.cell(16_384), CellView::Empty);
}

#[test]
fn the_last_row_of_a_sheet_is_1048576() {
    let rows = "<row r=\"1\"><c><v>1</v></c></row><row r=\"1048576\"><c><v>2</v></c></row>";
    let folder = tempfile::tempdir().unwrap();
    let mut book = open(folder.path(), "long.xlsx", &Made::of_rows(rows).bytes()).unwrap();
    let mut rows = book.rows(None).unwrap();
    let (mut count, mut last) = (0, 0);
    while let Some(row) = rows.next_row().unwrap() {
        count += 1;
        last = row.number;
    }
    assert_eq!((count, last), (MOST_ROWS - 1, MOST_ROWS));
}

#[test]
fn an_id_in_scientific_notation_stays_a_number() {
    let made =
        Made::of_rows(&format!("<row>{}</row><row><c r=\"A2\"><v>1.2e+17</v></c></row>", text("A1", "Id")));
    assert_eq!(rows_in(&made), ["1: Id", "2: 1.2e+17"]);
    assert_eq!(
        rows_of("a.csv", b"Id,Name\n1.2E+17,x\n\"1.2E+17\",x\n"),
        ["1: Id|Name", "2: '1.2E+17'|'x'", "3: '1.2E+17'|'x'"],
        "in text it may be a part's name: only the column of ids knows"
    );
}

#[test]
fn a_workbook_of_excel_97_is_read() {
    let cells =
        [label(1, 1, "Lead ID"), label(1, 2, "Since"), label(3, 1, ID), number(3, 2, 1, 45_351.0)].concat();
    let sheets =
        [("Chart", 0, 2, Vec::new()), ("Lists", 1, 0, label(0, 0, "hidden")), ("Leads", 0, 0, cells)];
    let folder = tempfile::tempdir().unwrap();
    let mut book = open(folder.path(), "old.csv", &compound_file("Workbook", &biff(false, &sheets))).unwrap();
    assert_eq!(book.format(), SheetFormat::Xls);
    assert_eq!(book.sheet_names(), ["Lists", "Leads"]);
    assert_eq!(
        told(&mut book, None).unwrap(),
        ["2: Column A|Lead ID|Since", "3: ", "4: |'00Q5e00000A1b2cEAB'|45351"]
    );
    assert_eq!(book.rows(None).unwrap().sample(2).unwrap()[1][2].shown(), "2024-02-29");
    assert!(told(&mut book, Some("chart")).unwrap_err().to_string().contains("it is a chart sheet"));
}

#[test]
fn dates_of_excel_97_that_count_from_1904_are_told_as_if_from_1900() {
    let cells = [label(0, 0, "Since"), number(1, 0, 1, 43_889.0)].concat();
    let folder = tempfile::tempdir().unwrap();
    let bytes = compound_file("Workbook", &biff(true, &[("One", 0, 0, cells)]));
    let mut book = open(folder.path(), "mac.xls", &bytes).unwrap();
    assert_eq!(book.rows(None).unwrap().sample(1).unwrap()[0][0].shown(), "2024-02-29");
}

#[rstest]
#[case::commas("Id,Name\n1,\"a;b\"\n", SheetFormat::Csv, &["1: Id|Name", "2: '1'|'a;b'"])]
#[case::semicolons("Id;Amount\r\n1;2,5\r\n2;3,5\r\n", SheetFormat::Csv, &["1: Id|Amount", "2: '1'|'2,5'", "3: '2'|'3,5'"])]
#[case::tabs("Id\tName\n1\ta, b\n", SheetFormat::Tsv, &["1: Id|Name", "2: '1'|'a, b'"])]
#[case::pipes("Id|Name\n1|a\n", SheetFormat::Csv, &["1: Id|Name", "2: '1'|'a'"])]
#[case::one_column("Id\n1\n2\n", SheetFormat::Csv, &["1: Id", "2: '1'", "3: '2'"])]
#[case::hint("sep=|\r\nId,x|Name\r\n1|a\r\n", SheetFormat::Csv, &["1: Id,x|Name", "2: '1'|'a'"])]
#[case::old_mac("Id,Name\r1,a\r", SheetFormat::Csv, &["1: Id|Name", "2: '1'|'a'"])]
#[case::mark("\u{feff}Id,Name\n1,ü\n", SheetFormat::Csv, &["1: Id|Name", "2: '1'|'ü'"])]
#[case::no_last_line_break("Id,Name\n1,", SheetFormat::Csv, &["1: Id|Name", "2: '1'|"])]
#[case::blank_lines("\n\nId,Name\n\n1,a\n,\n\n2,b\n\n,,\n", SheetFormat::Csv,
    &["3: Id|Name", "4: ", "5: '1'|'a'", "6: ", "7: ", "8: '2'|'b'"])]
#[case::quotes("Id,Name\n1,\"Do\"\"e,\n\nJane\"x\n2,a\"b\n", SheetFormat::Csv,
    &["1: Id|Name", "2: '1'|'Do\"e,\n\nJanex'", "3: '2'|'a\"b'"])]
#[case::ragged("Id,Name\n1\n2,b,c\n", SheetFormat::Csv, &["1: Id|Name", "2: '1'", "3: '2'|'b'|'c'"])]
fn delimited_text_is_cut_as_a_spreadsheet_cuts_it(
    #[case] written: &str,
    #[case] format: SheetFormat,
    #[case] expected: &[&str],
) {
    let folder = tempfile::tempdir().unwrap();
    let mut book = open(folder.path(), "list.txt", written.as_bytes()).unwrap();
    let rows = told(&mut book, Some("Sheet1")).unwrap();
    assert_eq!((book.format(), rows), (format, texts(expected)));
}

#[rstest]
#[case::latin_1(b"Name,Id\nM\xfcller,1\n".to_vec())]
#[case::utf_8("Name,Id\nMüller,1\n".into())]
#[case::utf_16_le(utf16("\u{feff}Name,Id\nMüller,1\n", u16::to_le_bytes))]
#[case::utf_16_be(utf16("\u{feff}Name,Id\nMüller,1\n", u16::to_be_bytes))]
#[case::utf_16_without_a_mark(utf16("Name,Id\nMüller,1\n", u16::to_le_bytes))]
fn an_encoding_is_found_out(#[case] bytes: Vec<u8>) {
    assert_eq!(rows_of("list.csv", &bytes), ["1: Name|Id", "2: 'Müller'|'1'"]);
}

fn utf16(text: &str, bytes: fn(u16) -> [u8; 2]) -> Vec<u8> {
    text.encode_utf16().flat_map(bytes).collect()
}

#[test]
fn the_encoding_is_proved_by_the_whole_file() {
    // The only byte that is no UTF-8 stands behind everything that is read at once, and characters lie across the cuts.
    for filler in [65_531, 65_532, 65_533, 65_534] {
        let mut bytes = b"Id\n".to_vec();
        bytes.extend("x".repeat(filler).bytes());
        bytes.extend("\n€\n".bytes());
        assert_eq!(rows_of("a.csv", &bytes).last().unwrap(), "3: '€'");
        bytes.extend(b"\x80\n");
        assert_eq!(rows_of("a.csv", &bytes)[2..], ["3: 'â‚¬'", "4: '€'"]);
    }
}

#[test]
fn content_decides_over_the_name() {
    assert_eq!(rows_of("really.xlsx", b"Id,Name\n1,a\n"), ["1: Id|Name", "2: '1'|'a'"]);
    assert_eq!(rows_of("really.csv", &Made::of_rows("<row><c><v>1</v></c></row>").bytes()), ["1: 1"]);
}
