//! What is wrong with a file is said in a sentence with the place and the remedy.

use std::io::Write;

use rstest::rstest;

use super::made::{Made, biff, compound_file, encrypted_biff, label, zip_of};
use super::*;

#[rstest]
#[case::nothing("a.xlsx", b"", "the file is empty; save it again and send that")]
#[case::blank_lines("a.csv", b"\n \t\n,,\n", "sheet `Sheet1` is empty; name the sheet that has the rows")]
#[case::only_a_mark("a.csv", b"\xef\xbb\xbf", "sheet `Sheet1` is empty; name the sheet that has the rows")]
#[case::pdf(
    "a.xlsx",
    b"%PDF-1.7\n",
    "the file is a PDF, no workbook and no list of rows; export the table as .xlsx or .csv"
)]
#[case::html(
    "a.xlsx",
    b"\xef\xbb\xbf \n<HTML><table>",
    "the file is a web page, no workbook and no list of rows; open it in a spreadsheet and save it as .xlsx or .csv"
)]
#[case::xhtml(
    "a.xls",
    b"<?xml version=\"1.0\"?><html>",
    "the file is a web page, no workbook and no list of rows; open it in a spreadsheet and save it as .xlsx or .csv"
)]
#[case::xml(
    "a.xls",
    b"<?xml version=\"1.0\"?><Workbook>",
    "the file is an XML document, no workbook and no list of rows; open it in a spreadsheet and save it as .xlsx or .csv"
)]
#[case::gzip(
    "a.csv",
    b"\x1f\x8b\x08\0",
    "the file is packed by gzip, no workbook and no list of rows; unpack it first"
)]
#[case::zeros(
    "a.csv",
    b"Id,Name\n00Q,a\n00Q,\0\n",
    "line 3 holds bytes of zero, so the file is no text or was damaged; save it again as CSV (UTF-8)"
)]
#[case::open_quote(
    "a.csv",
    b"Id,Name\n1,a\n2,\"b\n3,c\n",
    "row 3: a quotation mark opens a cell and none closes it; close or double it"
)]
#[case::cut_character("a.csv", "Id\nü\nü".as_bytes().split_last().unwrap().1, "the file ends in the middle of its last character: it was not copied whole; send it again")]
fn a_file_that_is_no_sheet_is_told_what_it_is(
    #[case] name: &str,
    #[case] bytes: &[u8],
    #[case] sentence: &str,
) {
    assert_eq!(sentence_of(name, bytes), sentence);
}

#[rstest]
#[case::ods(&[("mimetype", "application/vnd.oasis.opendocument.spreadsheet")], "an OpenDocument file")]
#[case::xlsb(&[("xl/workbook.bin", "x")], "a binary workbook (.xlsb)")]
#[case::docx(&[("word/document.xml", "<x/>")], "a text document (.docx)")]
#[case::archive(&[("leads.csv", "Id\n")], "a zip archive without a workbook")]
#[case::empty(&[], "an empty zip archive")]
fn an_archive_that_is_no_workbook_is_told_what_it_is(#[case] parts: &[(&str, &str)], #[case] found: &str) {
    let parts: Vec<_> = parts.iter().map(|(name, content)| (*name, content.as_bytes())).collect();
    let sentence = sentence_of("a.xlsx", &zip_of(&parts));
    assert!(
        sentence.starts_with(&format!("the file is {found}, no workbook and no list of rows; ")),
        "{sentence}"
    );
}

#[test]
fn a_sheet_without_rows_is_empty() {
    let sentence = "sheet `One` is empty; name the sheet that has the rows";
    assert_eq!(sentence_of("a.xlsx", &Made::of_rows("").bytes()), sentence);
    assert_eq!(
        sentence_of("a.xlsx", &Made::of_rows("<row r=\"1\"><c r=\"A1\" s=\"3\"/></row>").bytes()),
        sentence
    );
    let mut made = Made::of_rows("");
    made.sheet = b"<worksheet><sheetData/></worksheet>".to_vec();
    assert_eq!(sentence_of("a.xlsx", &made.bytes()), sentence);
    assert_eq!(
        sentence_of("a.xls", &compound_file("Workbook", &biff(false, &[("One", 0, 0, vec![])]))),
        sentence
    );
}

#[test]
fn a_password_is_told_from_damage() {
    let sentence = "the file is protected by a password; save it without one (File, Info, Protect Workbook) and send that";
    assert_eq!(sentence_of("a.xlsx", &compound_file("EncryptedPackage", b"secret")), sentence);
    assert_eq!(sentence_of("a.xls", &compound_file("Workbook", &encrypted_biff())), sentence);
    assert_eq!(
        sentence_of("a.xls", &compound_file("WordDocument", b"text")),
        "the file is an older Office document without a workbook, no workbook and no list of rows; \
         save its table as .xlsx or .csv"
    );
}

#[test]
fn a_file_cut_anywhere_is_an_error_and_never_a_panic() {
    let rows: String = (1..40)
        .map(|row| format!("<row r=\"{row}\"><c t=\"s\"><v>0</v></c><c><v>{row}</v></c></row>"))
        .collect();
    let whole = Made::of_rows(&rows).with_strings("<si><t>x</t></si>").bytes();
    for length in 4..whole.len() {
        let sentence = sentence_of("a.xlsx", &whole[..length]);
        assert!(sentence.contains("not copied whole"), "{length}: {sentence}");
    }
    let whole = compound_file("Workbook", &biff(false, &[("One", 0, 0, label(0, 0, "Id"))]));
    for length in (1..whole.len()).step_by(97) {
        let folder = tempfile::tempdir().unwrap();
        let _ = open(folder.path(), "a.xls", &whole[..length]).and_then(|mut book| told(&mut book, None));
    }
}

#[test]
fn xml_that_ends_early_is_told_with_its_part() {
    let mut made = Made::of_rows("");
    for (sheet, sentence) in [
        (
            "<worksheet><sheetData><row><c><v>1</v></c></row>",
            "the file ends in the middle of `xl/worksheets/sheet1.xml`",
        ),
        (
            "<worksheet><sheetData><row><c><v>1</v></c></row><ro",
            "the file ends in the middle of `xl/worksheets/sheet1.xml`",
        ),
        ("<worksheet></worksheet>", "`xl/worksheets/sheet1.xml` is damaged: it has no rows (`sheetData`)"),
        ("<worksheet><sheetData><row></c></row>", "`xl/worksheets/sheet1.xml` is damaged: "),
        (
            "<worksheet><sheetData><row><c><v>\u{e4}</v>",
            "`xl/worksheets/sheet1.xml` is damaged: it is not written in UTF-8",
        ),
    ] {
        // Characters below 256 as Latin-1, which XML in a workbook never is.
        made.sheet = sheet.chars().map(|character| character as u8).collect();
        let told = sentence_of("a.xlsx", &made.bytes());
        assert!(told.starts_with(sentence), "{told}");
    }
}

#[rstest]
#[case::rows_backwards(
    "<row r=\"3\"><c><v>1</v></c></row><row r=\"3\"><c><v>1</v></c></row>",
    "row 3 comes after row 3"
)]
#[case::row_too_far(
    "<row r=\"1\"><c><v>1</v></c></row><row r=\"1048577\"/>",
    "it has a row 1048577, a sheet has 1048576 at most"
)]
#[case::column_too_far("<row r=\"1\"><c r=\"XFE1\"><v>1</v></c></row>", "row 1 has more than 16384 columns")]
#[case::huge_column(
    "<row r=\"1\"><c r=\"ZZZZZZZZZZZZZZZZZZZZZ1\"><v>1</v></c></row>",
    "row 1 has more than 16384 columns"
)]
#[case::no_such_text(
    "<row r=\"1\"><c r=\"AB1\" t=\"s\"><v>7</v></c></row>",
    "cell AB1 points to shared text 7 of 0"
)]
#[case::no_index("<row r=\"1\"><c t=\"s\"><v>-1</v></c></row>", "cell A1 points to shared text")]
#[case::own_entity(
    "<row r=\"1\"><c t=\"str\"><v>&lol;</v></c></row>",
    "it refers to `&lol;`, which it cannot declare"
)]
fn a_sheet_that_breaks_the_rules_is_told_where(#[case] rows: &str, #[case] why: &str) {
    let sentence = sentence_of("a.xlsx", &Made::of_rows(rows).bytes());
    assert!(sentence.starts_with(&format!("`xl/worksheets/sheet1.xml` is damaged: {why}")), "{sentence}");
    assert!(sentence.ends_with("; open the file in a spreadsheet and save it again"), "{sentence}");
}

#[test]
fn a_document_type_is_refused_wherever_it_stands() {
    let bomb = "<!DOCTYPE x [<!ENTITY a \"aaaaaaaaaa\"><!ENTITY b \"&a;&a;&a;&a;&a;&a;&a;&a;\">]>";
    let row = "<row><c t=\"s\"><v>0</v></c></row>";
    let of = |part: &str| {
        let mut made = Made::of_rows(row).with_strings("<si><t>&b;</t></si>");
        made.styles = "<styleSheet/>".into();
        match part {
            "xl/workbook.xml" => made.workbook.insert_str(0, bomb),
            "xl/styles.xml" => made.styles.insert_str(0, bomb),
            "xl/sharedStrings.xml" => made.strings.splice(0..0, bomb.bytes()).for_each(drop),
            _ => {
                made.strings = b"<sst><si><t>x</t></si></sst>".to_vec();
                made.sheet.splice(21..21, bomb.bytes()).for_each(drop);
            }
        }
        made.bytes()
    };
    for part in ["xl/workbook.xml", "xl/styles.xml", "xl/sharedStrings.xml", "xl/worksheets/sheet1.xml"] {
        assert_eq!(
            sentence_of("a.xlsx", &of(part)),
            format!(
                "`{part}` declares a document type, which no spreadsheet writes; save the file again in a spreadsheet"
            )
        );
    }
}

/// A workbook whose sheet, or whose shared strings, unpack to many times what they are.
fn bomb(in_strings: bool, filler: &str, times: usize) -> Vec<u8> {
    let mut made = Made::of_rows("<row><c t=\"s\"><v>0</v></c></row>").with_strings("<si><t>Id</t></si>");
    let (part, before) =
        if in_strings { (&mut made.strings, "</sst>") } else { (&mut made.sheet, "</sheetData>") };
    let at = part.len() - if in_strings { 6 } else { "</sheetData></worksheet>".len() };
    assert!(part[at..].starts_with(before.as_bytes()));
    part.splice(at..at, filler.bytes().cycle().take(filler.len() * times)).for_each(drop);
    made.bytes()
}

#[rstest]
#[case::sheet(false, "<row><c/></row>", "xl/worksheets/sheet1.xml")]
#[case::strings(true, "<si><t>aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa</t></si>", "xl/sharedStrings.xml")]
fn a_zip_bomb_is_refused_by_its_ratio_and_by_its_size(
    #[case] in_strings: bool,
    #[case] filler: &str,
    #[case] part: &str,
) {
    let folder = tempfile::tempdir().unwrap();
    let bytes = bomb(in_strings, filler, (6 << 20) / filler.len());
    let read = |options: &OpenOptions| {
        open_with(folder.path(), "a.xlsx", &bytes, options).and_then(|mut book| told(&mut book, None))
    };
    let mut options = OpenOptions { max_ratio: 100, ..OpenOptions::new(folder.path()) };
    assert_eq!(
        read(&options).unwrap_err().to_string(),
        format!(
            "`{part}` unpacks to more than 100 times its size, as a zip bomb does; save the rows in a new workbook"
        )
    );
    options = OpenOptions { max_ratio: 10_000, max_unpacked_bytes: 5 << 20, ..options };
    assert_eq!(
        read(&options).unwrap_err().to_string(),
        format!(
            "`{part}` unpacks to more than 5242880 bytes, which no list of leads needs; split the file, or raise the limit"
        )
    );
    options.max_unpacked_bytes = 100 << 20;
    assert_eq!(read(&options).unwrap(), ["1: Id"]);
}

#[rstest]
#[case::text("<row><c t=\"str\"><v>", "a", "</v></c></row>")]
#[case::text_of_many_pieces("<row><c t=\"str\"><v>", "aaaaaa<!---->", "</v></c></row>")]
#[case::runs("<row><c t=\"inlineStr\"><is>", "<r><t>aaaaaaaa</t></r>", "</is></c></row>")]
#[case::tag("<row ", "a=\"b\" ", "/>")]
#[case::comment("<!--", "a", "-->")]
#[case::nested("", "<a>", "")]
fn no_piece_of_a_sheet_is_held_beyond_its_bound(
    #[case] before: &str,
    #[case] filler: &str,
    #[case] after: &str,
) {
    let rows = format!("{before}{}{after}", filler.repeat((4 << 20) / filler.len()));
    let sentence = sentence_of("a.xlsx", &Made::of_rows(&rows).bytes());
    let is_told = ["longer than", "elements nest too deep"].iter().any(|why| sentence.contains(why));
    assert!(is_told, "{sentence}");
}

#[test]
fn a_row_of_one_long_text_again_and_again_is_bounded() {
    let cells = "<c t=\"s\"><v>0</v></c>".repeat(16_384);
    let strings = format!("<si><t>{}</t></si>", "a".repeat(32_767));
    let made = Made::of_rows(&format!("<row>{cells}</row>")).with_strings(&strings);
    assert_eq!(
        sentence_of("a.xlsx", &made.bytes()),
        "row 1: the row is longer than 16777216 bytes; shorten it"
    );
    let text = format!("Id\n\"{}", "a".repeat(17 << 20));
    assert_eq!(
        sentence_of("a.csv", text.as_bytes()),
        "row 2: the row is longer than 16777216 bytes; shorten it"
    );
    let text = format!("Id\n{}", ",".repeat(16_384));
    assert_eq!(
        sentence_of("a.csv", text.as_bytes()),
        "row 2 is damaged: it has more than 16384 columns; open the file in a spreadsheet and save it again"
    );
}

#[test]
fn an_archive_of_very_many_parts_is_refused_before_its_directory_is_read() {
    let names: Vec<String> = (0..10_001).map(|part| format!("{part}")).collect();
    let parts: Vec<(&str, &[u8])> = names.iter().map(|name| (name.as_str(), &b""[..])).collect();
    assert_eq!(
        sentence_of("a.xlsx", &zip_of(&parts)),
        "its archive is damaged: it has more than 10000 parts, a workbook has a few dozen; \
         open the file in a spreadsheet and save it again"
    );
}

#[test]
fn data_that_were_changed_do_not_pass_for_those_that_were_written() {
    let mut bytes = Made::of_rows(&"<row><c><v>1</v></c></row>".repeat(50)).bytes();
    let at = memchr::memmem::find(&bytes, b"xl/worksheets/sheet1.xml").unwrap() + 30;
    bytes[at] ^= 0x55;
    let sentence = sentence_of("a.xlsx", &bytes);
    assert!(sentence.contains("damaged") || sentence.contains("ends in the middle"), "{sentence}");
}

#[test]
fn a_file_that_is_not_there_is_no_fault_of_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("gone");
    let error = Workbook::open(&missing, "gone.csv", &OpenOptions::new(folder.path())).unwrap_err();
    assert!(!error.is_about_the_file());
    let mut text = Vec::new();
    write!(text, "{error}").unwrap();
    assert_eq!(text, b"cannot open the file");
}
