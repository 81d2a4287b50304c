use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rstest::rstest;

use super::*;
use crate::leads::report_row::RowsInMemory;
use crate::leads::settings::Money;
use crate::leads::{
    Assessment, Flags, IdFault, Lead, LeadField, LeadId, LeadResult, ModelAnswer, Scores, Spent,
};
use crate::sheets::{CellView, OpenOptions, OwnedCell};

mod bounds;
mod sample;

use sample::{ADA, Sample, TWIN};

/// What a report has, read by our own reader: heads and rows.
fn table(path: &Path, sheet: &str) -> (Vec<String>, Vec<Vec<OwnedCell>>) {
    let mut workbook = open(path);
    let mut rows = workbook.rows(Some(sheet)).unwrap();
    let heads = rows.headers().to_vec();
    let mut all = Vec::new();
    // A row is borrowed from its reader, which also knows the number formats.
    while let Some(row) = rows.next_row().unwrap() {
        let cells: Vec<(usize, CellView<'_>)> = row.cells().enumerate().collect();
        all.push(cells.into_iter().map(|(_, cell)| sample::owned(cell)).collect());
    }
    (heads, all)
}

fn open(path: &Path) -> Workbook {
    let folder = path.parent().unwrap();
    Workbook::open(path, &path.file_name().unwrap().to_string_lossy(), &OpenOptions::new(folder)).unwrap()
}

fn shown(row: &[OwnedCell], heads: &[String], head: &str) -> String {
    let column = heads.iter().position(|found| found == head).unwrap_or_else(|| panic!("no column `{head}`"));
    row.get(column).map(|cell| cell.shown().into_owned()).unwrap_or_default()
}

fn write(
    sample: &Sample,
    format: ReportFormat,
    input: Option<&Path>,
) -> (PathBuf, Result<ReportWritten, ReportError>) {
    let target = sample.folder.path().join("report").with_extension(format.extension());
    let mut workbook = input.map(open);
    let mut rows = RowsInMemory::new(sample.rows.clone());
    let written = write_report(format, &target, &sample.head, workbook.as_mut(), &mut rows, &mut |_| true);
    (target, written)
}

#[test]
fn a_workbook_keeps_the_sheet_and_adds_the_verdicts() {
    let sample = Sample::new();
    let input = sample.workbook();
    let (target, written) = write(&sample, ReportFormat::Xlsx, Some(&input));
    assert_eq!(written.unwrap(), ReportWritten { rows: 10, columns_left_out: 0 });
    let ((was_heads, was), (heads, rows)) = (table(&input, "Leads"), table(&target, "Analysis Results"));
    assert_eq!(heads[..7], was_heads[..]);
    assert_eq!(
        heads[7..],
        [
            "Acquisition_Score",
            "Enrichment_Score",
            "AI_Coherence_Score",
            "Final_Confidence_Score",
            "AI_Explanation",
            "AI_Corrections",
            "AI_Inferences",
            "AI_Not_in_TAM",
            "AI_Suspicious_Enrichment",
            "AI_Status",
            "Lead_ID",
            "Lead_Presence",
            // The sheet has a column `note`.
            "Note_2",
        ]
    );
    assert_eq!(rows.len(), was.len());
    for (row, was) in rows.iter().zip(&was) {
        assert_eq!(row[..was.len().min(7)], was[..was.len().min(7)]);
    }
    let column = |head: &str| rows.iter().map(|row| shown(row, &heads, head)).collect::<Vec<_>>();
    assert_eq!(
        column("AI_Status"),
        [
            "Analyzed",
            "Invalid Lead ID",
            "Analyzed",
            "Not Analyzed",
            "Lead Not Visible",
            "Not Analyzed",
            "Merged Lead",
            "AI Assessment Failed",
            "Not Analyzed",
            "Analyzed",
        ]
    );
    let ada = "00Q5g00000AbCdEEAV";
    assert_eq!(column("Lead_ID")[..5], [ada, "", ada, "", sample::id(TWIN).as_str()]);
    assert_eq!(column("Final_Confidence_Score"), ["85.8", "", "85.8", "", "", "", "", "", "", "49"]);
    assert_eq!(column("Acquisition_Score")[7], "60");
    assert_eq!(column("AI_Coherence_Score")[7], "");
    assert_eq!(
        column("Lead_Presence"),
        ["found", "", "found", "", "not_visible", "", "merged", "found", "", "found"]
    );
    assert_eq!(
        column("Note_2"),
        [
            "",
            "no Lead id: 5 characters: an id has 15 or 18",
            "duplicate of row 2; id repaired: its letters had lost their case",
            "no id",
            "the org does not know this id, or does not show it to us",
            "no id",
            "merged into 00Q5g00000AbCdEEAV",
            "no usable answer of the model: it answered in prose",
            "not read: the org answered 503",
            "assessment reused: given before for the same content; the score was lowered from 90 to 40: a large company \
         without a name",
        ]
    );
    assert_eq!(column("AI_Explanation")[0], "✅ known company\n⚠ website unconfirmed");
    assert_eq!(column("AI_Explanation")[7], "the phone does not fit the country");
    assert_eq!(column("AI_Corrections")[0], r#"{"ZI_Employees__c":250}"#);
    assert_eq!((column("AI_Not_in_TAM")[0].as_str(), column("AI_Not_in_TAM")[9].as_str()), ("No", "Yes"));
}

#[test]
fn what_was_a_date_or_text_still_is() {
    let sample = Sample::new();
    let (target, written) = write(&sample, ReportFormat::Xlsx, Some(&sample.workbook()));
    written.unwrap();
    let mut workbook = open(&target);
    let mut rows = workbook.rows(Some("Analysis Results")).unwrap();
    let formats: Vec<(FormatIdOf, String)> =
        super::dates::formats(&rows).map(|(id, code)| (id, code.to_owned())).collect();
    assert_eq!(rows.column_width(0).map(|width| width.round()), Some(34.0));
    let row = rows.next_row().unwrap().unwrap();
    let code = |column| match row.cell(column) {
        CellView::Number { format, .. } => {
            formats.iter().find(|(id, _)| *id == format).map_or("General", |(_, code)| code.as_str())
        }
        other => panic!("no number: {other:?}"),
    };
    assert_eq!((code(2), code(3), code(7)), ("yyyy-mm-dd", "#,##0.00", "0.0"));
    assert!(matches!(row.cell(5), CellView::Text("00123")));
    assert!(matches!(row.cell(6), CellView::Bool(false)));
}

type FormatIdOf = crate::sheets::FormatId;

#[test]
fn rows_to_look_at_are_listed_with_their_reasons() {
    let sample = Sample::new();
    let (target, written) = write(&sample, ReportFormat::Xlsx, Some(&sample.workbook()));
    written.unwrap();
    let sheets = ["Analysis Results", "Summary", "Invalid IDs", "No Record", "Failed"];
    assert_eq!(open(&target).sheet_names(), sheets);
    let listed = |sheet: &str| {
        let (heads, rows) = table(&target, sheet);
        assert_eq!(heads, ["Row", "Id", "Status", "Reason"]);
        let row = |row: &Vec<OwnedCell>| (shown(row, &heads, "Row"), shown(row, &heads, "Id"));
        rows.iter().map(row).collect::<Vec<_>>()
    };
    let pair = |row: &str, id: &str| (row.to_owned(), id.to_owned());
    let (twin, merged) = (sample::id(TWIN), sample::id("00Q5g0000000008"));
    assert_eq!(listed("Invalid IDs"), [pair("3", "12345")]);
    assert_eq!(listed("No Record"), [pair("6", twin.as_str()), pair("8", merged.as_str())]);
    let (failed, unread) = (sample::id("00Q5g0000000009"), sample::id("00Q5g0000000010"));
    assert_eq!(listed("Failed"), [pair("9", failed.as_str()), pair("10", unread.as_str())]);
}

#[test]
fn lists_that_nothing_is_on_are_left_out() {
    let mut sample = Sample::new().of_ids();
    sample.rows.truncate(1);
    sample.head.counts =
        LeadCounts { rows: 1, leads: 1, assessed: 1, model_answered: 1, ..Default::default() };
    let (target, written) = write(&sample, ReportFormat::Xlsx, None);
    written.unwrap();
    assert_eq!(open(&target).sheet_names(), ["Lead Analysis", "Summary"]);
}

#[test]
fn a_report_without_a_sheet_is_a_table_below_its_summary() {
    let sample = Sample::new().of_ids();
    let (target, written) = write(&sample, ReportFormat::Xlsx, None);
    assert_eq!(written.unwrap().rows, 10);
    let (heads, rows) = table(&target, "Lead Analysis");
    assert_eq!(heads[0], "Lead Analysis");
    let first = |row: &Vec<OwnedCell>| row.first().map(|cell| cell.shown().into_owned()).unwrap_or_default();
    let table_at = rows.iter().position(|row| first(row) == "Lead ID").unwrap();
    let heads: Vec<String> = rows[table_at].iter().map(|cell| cell.shown().into_owned()).collect();
    let expected = "Lead ID|First Name|Last Name|Phone|Country|Title|Industry|Email|First Channel|Segment Name|\
                    Company Size Range|Website|Company|ZI Website|ZI Company Name|ZI Employees|Email Domain|Not in TAM|\
                    Suspicious Enrichment|Acquisition Score|Enrichment Score|AI Coherence Score|Final Confidence Score|\
                    Explanation|Corrections|Inferences|AI Status|Lead Presence|Note";
    assert_eq!(heads.join("|"), expected);
    let leads = &rows[table_at + 1..];
    assert_eq!(leads.len(), 10);
    assert_eq!(shown(&leads[0], &heads, "Email Domain"), "analytical.example");
    assert_eq!(shown(&leads[0], &heads, "Phone"), "+44 20 7946 0000");
    let employees = heads.iter().position(|head| head == "ZI Employees").unwrap();
    assert!(matches!(leads[0][employees], OwnedCell::Number { value: 120.0, .. }));
    let summary: Vec<String> = rows[..table_at].iter().map(first).collect();
    assert!(summary.contains(&"Different leads".to_owned()) && summary.contains(&"Ids given".to_owned()));
}

#[test]
fn the_summary_has_the_true_numbers() {
    let sample = Sample::new();
    let (target, written) = write(&sample, ReportFormat::Xlsx, Some(&sample.workbook()));
    written.unwrap();
    let (_, rows) = table(&target, "Summary");
    let figure = |label: &str| {
        let row = rows.iter().find(|row| row.first().is_some_and(|cell| cell.shown() == label));
        row.unwrap_or_else(|| panic!("no line `{label}`"))[1].shown().into_owned()
    };
    for (label, expected) in [
        ("Total rows", "10"),
        ("Rows without an id", "2"),
        ("Rows with an invalid id", "1"),
        ("Duplicate rows", "1"),
        ("Repaired ids", "1"),
        ("Different leads", "6"),
        ("Assessed", "2"),
        ("AI failed", "1"),
        ("Not read", "1"),
        ("Without a record", "2"),
        ("Merged into another", "1"),
        ("Unknown or not visible", "1"),
        ("Leads with issues", "1"),
        ("Issue percentage", "33.33"),
        ("Average confidence", "67.4"),
        ("AI successful", "2"),
        ("Of those reused", "1"),
        ("Average AI score", "62.5"),
        ("Cost", "0.002468"),
        ("Model", "small-model"),
        ("Prompt version", "3"),
        ("Calls to the org", "2"),
        ("Weight of coherence", "0.7"),
        ("Column of ids", "Lead Id"),
        ("ZI Website", "ZI_Website__c"),
    ] {
        assert_eq!(figure(label), expected, "{label}");
    }
}

#[test]
fn rules_alone_are_said_to_be() {
    let mut sample = Sample::new().of_ids();
    sample.head.model = None;
    let lines = summary::whole(&sample.head);
    let says = |text: &str| lines.iter().any(|line| line.figure == summary::Figure::Text(text.to_owned()));
    assert!(says("rules alone: no model was asked"));
    assert!(lines.iter().all(|line| line.label != "AI successful"));
}

#[rstest]
#[case::commas(',', "")]
#[case::semicolons_and_a_mark(';', "\u{feff}")]
fn delimited_text_comes_back_in_its_own_manners(#[case] delimiter: char, #[case] mark: &str) {
    let mut sample = Sample::new();
    sample.head.spec.source = LeadSource::Sheet {
        file: "input.csv".to_owned(),
        name: "input.csv".to_owned(),
        sheet: None,
        id_column: "Lead Id".to_owned(),
    };
    let input = sample.text(delimiter, mark);
    let (target, written) = write(&sample, ReportFormat::Csv, Some(&input));
    assert_eq!(written.unwrap().rows, 10);
    let read = |path: &Path| {
        let text = fs::read_to_string(path).unwrap();
        let text = text.strip_prefix(mark).unwrap().to_owned();
        assert!(!text.starts_with('\u{feff}'));
        let mut reader = csv::ReaderBuilder::new()
            .delimiter(delimiter as u8)
            .has_headers(false)
            .from_reader(text.as_bytes());
        reader
            .records()
            .map(|record| record.unwrap().iter().map(str::to_owned).collect::<Vec<_>>())
            .collect::<Vec<_>>()
    };
    let (was, rows) = (read(&input), read(&target));
    assert_eq!(rows.len(), was.len());
    for (row, was) in rows.iter().zip(&was) {
        assert_eq!(row.len(), 20);
        // The owner's cells stay as they were, also those that begin as a formula does.
        assert_eq!(row[..7], was[..]);
    }
    assert_eq!(rows[0][19], "Note_2");
    assert_eq!(
        rows[1][10..14],
        ["85.8", "✅ known company\n⚠ website unconfirmed", r#"{"ZI_Employees__c":250}"#, ""]
    );
    assert_eq!(rows[3][19], "duplicate of row 2; id repaired: its letters had lost their case");
}

#[test]
fn a_workbook_as_delimited_text_has_its_dates_as_dates() {
    let sample = Sample::new();
    let (target, written) = write(&sample, ReportFormat::Csv, Some(&sample.workbook()));
    written.unwrap();
    let text = fs::read_to_string(target).unwrap();
    assert!(text.starts_with("Name,Lead Id,Created,Amount,note,Code,VIP,Acquisition_Score,"), "{text}");
    assert!(
        text.contains(
            "\r\nAda,00Q5g00000AbCdE,2024-02-29,1200.5,call back,00123,FALSE,75.0,100.0,85.0,85.8,"
        ),
        "{text}"
    );
}

#[test]
fn a_text_of_a_workbook_becomes_no_formula_as_delimited_text_and_a_number_stays_one() {
    let sample = Sample::new();
    let input = sample.folder.path().join("evil.xlsx");
    let mut book = rust_xlsxwriter::Workbook::new();
    let sheet = book.add_worksheet().set_name("Leads").unwrap();
    sheet.write_row(0, 0, ["Lead Id", "=1+1", "@when", "-5"]).unwrap();
    for row in 1..=10 {
        sheet.write_row(row, 0, ["x", "=HYPERLINK(\"http://a.example\")", "+49 30"]).unwrap();
        sheet.write_number(row, 3, -5).unwrap();
        // Behind the last head.
        sheet.write_string(row, 4, "-1+2").unwrap();
    }
    book.save(&input).unwrap();
    let (target, written) = write(&sample, ReportFormat::Csv, Some(&input));
    written.unwrap();
    let mut reader = csv::ReaderBuilder::new().has_headers(false).flexible(true).from_path(target).unwrap();
    let rows: Vec<csv::StringRecord> = reader.records().map(Result::unwrap).collect();
    let own = |row: usize| rows[row].iter().take(4).collect::<Vec<_>>();
    assert_eq!(own(0), ["Lead Id", "'=1+1", "'@when", "-5"]);
    assert_eq!(own(1), ["x", "'=HYPERLINK(\"http://a.example\")", "+49 30", "-5"]);
    assert_eq!(rows[1].iter().next_back(), Some("'-1+2"));
}

#[rstest]
#[case("=HYPERLINK(\"http://a.example\")")]
#[case("+49 30 1234")]
#[case("-1+2")]
#[case("@SUM(A1)")]
#[case("\t=1")]
#[case("\r=1")]
fn what_an_org_or_a_model_wrote_never_becomes_a_formula(#[case] evil: &str) {
    let mut sample = Sample::new().of_ids();
    let mut answer = sample::answer(85);
    answer.explanation = vec![evil.to_owned()];
    let lead =
        Lead::new(sample::id(ADA), Presence::Found, |field| (field == LeadField::Company).then_some(evil));
    let verdict = ModelVerdict::Answered { answer, spent: sample::spent(), reused: false };
    sample.rows = vec![sample::lead_row(1, 1, lead, sample::assessed([85.0; 4], Flags::default(), verdict))];
    sample.head.counts =
        LeadCounts { rows: 1, leads: 1, assessed: 1, model_answered: 1, ..Default::default() };
    let (target, written) = write(&sample, ReportFormat::Csv, None);
    written.unwrap();
    let mut reader = csv::Reader::from_path(target).unwrap();
    let heads = reader.headers().unwrap().clone();
    let row = reader.records().next().unwrap().unwrap();
    for head in ["Company", "Explanation"] {
        let column = heads.iter().position(|found| found == head).unwrap();
        assert_eq!(row[column], format!("'{evil}"));
    }
    let (target, written) = write(&sample, ReportFormat::Xlsx, None);
    written.unwrap();
    let xml = parts(&target).remove("xl/worksheets/sheet1.xml").unwrap();
    assert!(!xml.contains("<f>") && !xml.contains("<f "));
}

/// The parts of a workbook, unpacked.
fn parts(path: &Path) -> BTreeMap<String, String> {
    let mut archive = zip::ZipArchive::new(fs::File::open(path).unwrap()).unwrap();
    (0..archive.len())
        .map(|index| {
            let mut part = archive.by_index(index).unwrap();
            let mut text = String::new();
            io::Read::read_to_string(&mut part, &mut text).unwrap();
            (part.name().unwrap().into_owned(), text)
        })
        .collect()
}

#[test]
fn a_line_of_json_has_the_input_the_lead_and_the_outcome() {
    let sample = Sample::new();
    let (target, written) = write(&sample, ReportFormat::Jsonl, Some(&sample.workbook()));
    assert_eq!(written.unwrap().rows, 10);
    let text = fs::read_to_string(target).unwrap();
    let lines: Vec<serde_json::Value> =
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 10);
    assert_eq!(
        lines[0],
        serde_json::json!({
            "row": 2,
            "input": {"Name": "Ada", "Lead Id": ADA, "Created": "2024-02-29", "Amount": 1200.5, "note": "call back",
                      "Code": "00123", "VIP": false},
            "lead": {"Id": "00Q5g00000AbCdEEAV", "presence": "found", "FirstName": "Ada", "LastName": "Lovelace",
                     "Phone": "+44 20 7946 0000", "Email": "ada@Analytical.example",
                     "Company": "Analytical & Sons <Engines>", "ZI_Employees__c": "120"},
            "outcome": {"status": "Analyzed", "kind": "assessed", "not_in_tam": false, "suspicious_enrichment": false,
                        "scores": {"acquisition": 75.0, "enrichment": 100.0, "coherence": 85.0, "confidence": 85.8},
                        "model": "answered", "explanation": ["✅ known company", "⚠ website unconfirmed"],
                        "score_said": 90, "corrections": {"ZI_Employees__c": 250}, "inferences": {},
                        "findings": ["the phone does not fit the country"],
                        "spent": {"prompt_tokens": 700, "completion_tokens": 90, "cost": 1234, "requests": 1}},
        })
    );
    assert_eq!(lines[1]["outcome"]["id_fault"], "length");
    assert_eq!(
        (&lines[1]["lead"], &lines[1]["input"]["Lead Id"]),
        (&serde_json::Value::Null, &"12345".into())
    );
    assert_eq!(
        (&lines[2]["outcome"]["duplicate_of"], &lines[2]["outcome"]["id_repaired"]),
        (&2.into(), &true.into())
    );
    assert_eq!(lines[6]["lead"]["merged_into"], "00Q5g00000AbCdEEAV");
    assert_eq!(
        (&lines[7]["outcome"]["kind"], &lines[8]["outcome"]["kind"]),
        (&"failed".into(), &"unread".into())
    );
    assert_eq!(lines[9]["outcome"]["model"], "reused");
}

#[test]
fn a_line_of_json_without_a_sheet_has_no_input() {
    let sample = Sample::new().of_ids();
    let (target, written) = write(&sample, ReportFormat::Jsonl, None);
    written.unwrap();
    let text = fs::read_to_string(target).unwrap();
    assert_eq!(text.lines().count(), 10);
    assert!(!text.contains("\"input\""));
    let second: serde_json::Value = serde_json::from_str(text.lines().nth(1).unwrap()).unwrap();
    assert_eq!((&second["written"], &second["lead"]), (&"12345".into(), &serde_json::Value::Null));
}

#[test]
fn what_is_no_id_is_shown_without_a_sheet_and_is_no_formula() {
    let mut sample = Sample::new().of_ids();
    let RowPlace::Invalid { written, .. } = &mut sample.rows[1].place else { panic!("it is no id") };
    *written = "=1+2".to_owned();
    let (target, made) = write(&sample, ReportFormat::Csv, None);
    made.unwrap();
    let mut reader = csv::Reader::from_path(target).unwrap();
    let row = reader.records().nth(1).unwrap().unwrap();
    assert_eq!(&row[0], "'=1+2");
    let (target, made) = write(&sample, ReportFormat::Xlsx, None);
    made.unwrap();
    let xml = parts(&target).remove("xl/worksheets/sheet1.xml").unwrap();
    assert!(xml.contains("=1+2") && !xml.contains("<f>") && !xml.contains("<f "));
}

#[rstest]
#[case(ReportFormat::Xlsx)]
#[case(ReportFormat::Csv)]
#[case(ReportFormat::Jsonl)]
fn two_reports_of_the_same_rows_are_the_same_bytes(#[case] format: ReportFormat) {
    let bytes = |job: &str| {
        let mut sample = Sample::new().of_ids();
        sample.head.spec.job = job.to_owned();
        let (target, written) = write(&sample, format, None);
        written.unwrap();
        // Nothing else is left in the folder.
        assert_eq!(fs::read_dir(sample.folder.path()).unwrap().count(), 1);
        fs::read(target).unwrap()
    };
    assert!(bytes("leads-20261123T101500123") == bytes("leads-20270101T000000000"));
}

#[rstest]
#[case::rows(|counts: &mut LeadCounts| counts.rows += 1, "rows")]
#[case::invalid(|counts: &mut LeadCounts| counts.invalid -= 1, "invalid")]
#[case::failed(|counts: &mut LeadCounts| counts.failed += 1, "failed")]
#[case::unread(|counts: &mut LeadCounts| counts.open += 1, "unread")]
#[case::merged(|counts: &mut LeadCounts| counts.merged = 0, "merged")]
#[case::issues(|counts: &mut LeadCounts| counts.with_issues = 3, "with_issues")]
fn a_report_that_does_not_add_up_is_not_made(#[case] break_it: fn(&mut LeadCounts), #[case] expected: &str) {
    let mut sample = Sample::new().of_ids();
    break_it(&mut sample.head.counts);
    fs::write(sample.folder.path().join("report.csv"), "the one before").unwrap();
    let (target, written) = write(&sample, ReportFormat::Csv, None);
    assert!(matches!(written, Err(ReportError::DoesNotAddUp { what, .. }) if what == expected));
    assert_eq!(fs::read_to_string(target).unwrap(), "the one before");
    assert_eq!(fs::read_dir(sample.folder.path()).unwrap().count(), 1);
}

#[test]
fn a_row_that_the_sheet_does_not_have_is_an_error() {
    let mut sample = Sample::new();
    sample.rows.push(ReportRow { row: 99, place: RowPlace::Blank });
    let (_, written) = write(&sample, ReportFormat::Csv, Some(&sample.workbook()));
    assert!(matches!(written, Err(ReportError::RowGone { row: 99 })));
}

#[test]
fn a_report_nobody_wants_any_more_is_stopped() {
    let mut sample = Sample::new().of_ids();
    sample.rows = (1..=3_000).map(|row| ReportRow { row, place: RowPlace::Blank }).collect();
    let target = sample.folder.path().join("report.jsonl");
    let mut rows = RowsInMemory::new(sample.rows.clone());
    let mut seen = Vec::new();
    let mut keep_going = |rows| {
        seen.push(rows);
        rows < 2_000
    };
    let written = write_report(ReportFormat::Jsonl, &target, &sample.head, None, &mut rows, &mut keep_going);
    assert!(matches!(written, Err(ReportError::Stopped)));
    assert_eq!(seen, [1_000, 2_000]);
    assert!(!target.exists());
}

#[rstest]
#[case(
    "Couldn't write to xml file: Os { code: 28, kind: StorageFull, message: \"No space left on device\" }",
    true
)]
#[case(
    "Couldn't write to xml file: Os { code: 5, kind: Uncategorized, message: \"Input/output error\" }",
    false
)]
fn a_disk_that_refuses_a_row_is_an_error(#[case] panic: &'static str, #[case] is_full: bool) {
    let error = guarded::<()>(|| std::panic::panic_any(panic.to_owned())).unwrap_err();
    assert_eq!(error.is_disk_full(), is_full);
}

#[test]
#[should_panic(expected = "a fault of ours")]
fn any_other_panic_goes_on() {
    let _ = guarded::<()>(|| panic!("a fault of ours"));
}

/// The sample that is checked by an independent reader: `tests/leads/check_report.py --self-test`.
fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/leads/fixtures")
}

#[test]
fn the_sample_that_others_check_is_what_is_written() {
    let sample = Sample::new();
    let (target, written) = write(&sample, ReportFormat::Xlsx, Some(&fixtures().join("input.xlsx")));
    written.unwrap();
    let (now, kept) = (parts(&target), parts(&fixtures().join("report.xlsx")));
    assert_eq!(now.keys().collect::<Vec<_>>(), kept.keys().collect::<Vec<_>>());
    for (name, part) in &now {
        assert!(*part == kept[name], "`{name}` is another; look at it, then run `write_the_sample`");
    }
}

#[test]
#[ignore = "writes the sample anew"]
fn write_the_sample() {
    let sample = Sample::new();
    fs::create_dir_all(fixtures()).unwrap();
    fs::copy(sample.workbook(), fixtures().join("input.xlsx")).unwrap();
    let (target, written) = write(&sample, ReportFormat::Xlsx, Some(&fixtures().join("input.xlsx")));
    written.unwrap();
    fs::copy(target, fixtures().join("report.xlsx")).unwrap();
}
