//! Sheets longer, wider and more ragged than most.

use super::*;
use crate::sheets::report::delimited::is_signed_number;
use proptest::prelude::*;

/// The sample as a workbook whose sheets are no larger than this.
fn write_bounded(
    sample: &Sample,
    input: Option<&Path>,
    bounds: workbook::Bounds,
) -> (PathBuf, ReportWritten) {
    let (folder, target) = (sample.folder.path(), sample.folder.path().join("report.xlsx"));
    let mut workbook = input.map(open);
    let input = workbook.as_mut().map(|workbook| workbook.rows(None).unwrap());
    let file = AtomicFile::create(&target).unwrap();
    let output = workbook::WorkbookReport::begin(file, folder, &sample.head, input.as_ref(), bounds).unwrap();
    let mut rows = RowsInMemory::new(sample.rows.clone());
    let written = write_rows(output, &sample.head, input, &mut rows, &mut |_| true).unwrap();
    (target, written)
}

#[test]
fn rows_beyond_the_last_that_excel_has_go_on_in_another_sheet() {
    let sample = Sample::new();
    let bounds = workbook::Bounds { rows: 5, columns: 16_384 };
    let (target, written) = write_bounded(&sample, Some(&sample.workbook()), bounds);
    assert_eq!(written.rows, 10);
    let sheets = [
        "Analysis Results",
        "Analysis Results (2)",
        "Analysis Results (3)",
        "Summary",
        "Invalid IDs",
        "No Record",
        "Failed",
    ];
    assert_eq!(open(&target).sheet_names(), sheets);
    let statuses = sheets[..3].iter().map(|sheet| {
        let (heads, rows) = table(&target, sheet);
        assert_eq!(heads.len(), 20);
        rows.iter().map(|row| shown(row, &heads, "AI_Status")).collect::<Vec<_>>()
    });
    let statuses: Vec<Vec<String>> = statuses.collect();
    assert_eq!(statuses.iter().map(Vec::len).collect::<Vec<_>>(), [4, 4, 2]);
    assert_eq!((statuses[1][3].as_str(), statuses[2][1].as_str()), ("AI Assessment Failed", "Analyzed"));
}

#[test]
fn a_list_that_is_too_long_says_how_many_rows_are_beyond() {
    let sample = Sample::new();
    let bounds = workbook::Bounds { rows: 2, columns: 16_384 };
    let (target, _) = write_bounded(&sample, Some(&sample.workbook()), bounds);
    let (_, rows) = table(&target, "No Record");
    let first: Vec<_> = rows.iter().map(|row| row[0].shown().into_owned()).collect();
    assert_eq!(first, ["2 more rows do not fit here; they are in the .csv and .jsonl reports"]);
}

#[test]
fn columns_beyond_the_last_that_excel_has_are_named() {
    let sample = Sample::new();
    let bounds = workbook::Bounds { rows: 1_000, columns: 18 };
    let (target, written) = write_bounded(&sample, Some(&sample.workbook()), bounds);
    assert_eq!(written.columns_left_out, 2);
    let (heads, rows) = table(&target, "Analysis Results");
    assert_eq!((heads.len(), heads[4].as_str(), heads[5].as_str()), (18, "note", "Acquisition_Score"));
    assert_eq!(shown(&rows[0], &heads, "AI_Status"), "Analyzed");
    let (_, lines) = table(&target, "Summary");
    let told = |text: &str| lines.iter().flatten().any(|cell| cell.shown().contains(text));
    assert!(told("Columns left out") && told("Code, VIP; the .csv and .jsonl reports have them"));
}

#[test]
fn the_widest_sheet_is_whole_in_delimited_text_and_told_of_in_a_workbook() {
    let mut sample = Sample::new();
    sample.rows = vec![ReportRow { row: 2, place: RowPlace::Blank }];
    sample.head.counts = LeadCounts { rows: 1, blank: 1, ..Default::default() };
    sample.head.spec.source = LeadSource::Sheet {
        file: "wide.csv".to_owned(),
        name: "wide.csv".to_owned(),
        sheet: None,
        id_column: "c1".to_owned(),
    };
    let input = sample.folder.path().join("wide.csv");
    let line =
        |begin: &str| (0..16_384).map(|column| format!("{begin}{column}")).collect::<Vec<_>>().join(",");
    fs::write(&input, format!("{}\n{}\n", line("c"), line("v"))).unwrap();
    let (target, written) = write(&sample, ReportFormat::Csv, Some(&input));
    assert_eq!(written.unwrap().columns_left_out, 0);
    let text = fs::read_to_string(target).unwrap();
    let widths: Vec<usize> = text.lines().map(|line| line.split(',').count()).collect();
    assert_eq!(widths, [16_397, 16_397]);
    let (target, written) = write(&sample, ReportFormat::Xlsx, Some(&input));
    assert_eq!(written.unwrap().columns_left_out, 13);
    assert_eq!(table(&target, "Analysis Results").0.len(), 16_384);
}

#[test]
fn cells_beyond_the_last_head_stay_behind_ours() {
    let mut sample = Sample::new();
    let place = sample.rows[0].place.clone();
    sample.rows = vec![ReportRow { row: 2, place }, ReportRow { row: 3, place: RowPlace::Blank }];
    sample.head.counts =
        LeadCounts { rows: 2, blank: 1, leads: 1, assessed: 1, model_answered: 1, ..Default::default() };
    sample.head.spec.source = LeadSource::Sheet {
        file: "input.csv".to_owned(),
        name: "input.csv".to_owned(),
        sheet: None,
        id_column: "Lead Id".to_owned(),
    };
    let input = sample.folder.path().join("ragged.csv");
    fs::write(&input, format!("Name,Lead Id\nAda,{ADA},one,,three\nBob\n")).unwrap();
    let (target, written) = write(&sample, ReportFormat::Csv, Some(&input));
    written.unwrap();
    let mut reader = csv::ReaderBuilder::new().flexible(true).from_path(target).unwrap();
    let rows: Vec<csv::StringRecord> = reader.records().map(Result::unwrap).collect();
    assert_eq!((&rows[0][11], &rows[0][15], &rows[0][17]), ("Analyzed", "one", "three"));
    assert_eq!((rows[1].len(), &rows[1][0], &rows[1][14]), (15, "Bob", "no id"));
    let (target, written) = write(&sample, ReportFormat::Xlsx, Some(&input));
    written.unwrap();
    let (heads, rows) = table(&target, "Analysis Results");
    assert_eq!((heads.len(), rows[0][15].shown(), rows[0][17].shown()), (15, "one".into(), "three".into()));
    let (target, written) = write(&sample, ReportFormat::Jsonl, Some(&input));
    written.unwrap();
    let text = fs::read_to_string(target).unwrap();
    let line: serde_json::Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
    assert_eq!(
        line["input"],
        serde_json::json!({"Name": "Ada", "Lead Id": ADA, "Column C": "one", "Column E": "three"})
    );
}

#[test]
fn rows_have_the_numbers_that_they_have_in_the_sheet() {
    let mut sample = Sample::new();
    for row in &mut sample.rows {
        row.row += 2;
        if let RowPlace::Lead { first_row, .. } = &mut row.place {
            *first_row += 2;
        }
    }
    // Two blank rows before the head: a spreadsheet's own letterhead, say.
    let input = sample.workbook_below(2);
    let (target, written) = write(&sample, ReportFormat::Xlsx, Some(&input));
    written.unwrap();
    let mut workbook = open(&target);
    let mut rows = workbook.rows(None).unwrap();
    assert_eq!(rows.head_row(), 3);
    let note = rows.headers().len() - 1;
    let (ada, _, again) = (number_and(&mut rows, 0), number_and(&mut rows, 0), number_and(&mut rows, note));
    assert_eq!(ada, (4, "Ada".to_owned()));
    assert_eq!((again.0, again.1.split(';').next()), (6, Some("duplicate of row 4")));
}

fn number_and(rows: &mut Rows<'_>, column: usize) -> (u64, String) {
    let row = rows.next_row().unwrap().unwrap();
    (row.number, sample::owned(row.cell(column)).shown().into_owned())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn what_the_sheet_holds_is_in_the_report(
        cells in proptest::collection::vec(("[ -~äß€😀\t\n=+@-]{0,12}", "[a-zA-Z0-9_x]{1,8}"), 1..12),
    ) {
        let mut sample = Sample::new();
        sample.rows = (2..).take(cells.len()).map(|row| ReportRow { row, place: RowPlace::Blank }).collect();
        let rows = cells.len() as u64;
        sample.head.counts = LeadCounts { rows, blank: rows, ..Default::default() };
        let input = sample.folder.path().join("input.xlsx");
        let mut workbook = rust_xlsxwriter::Workbook::new();
        let sheet = workbook.add_worksheet().set_name("Leads").unwrap();
        sheet.write_string(0, 0, "Any").unwrap();
        sheet.write_string(0, 1, "Key").unwrap();
        for (row, (any, key)) in (1..).zip(&cells) {
            sheet.write_string(row, 0, any).unwrap();
            sheet.write_string(row, 1, key).unwrap();
        }
        workbook.save(&input).unwrap();
        for format in [ReportFormat::Xlsx, ReportFormat::Csv] {
            let (target, written) = write(&sample, format, Some(&input));
            prop_assert_eq!(written.unwrap().rows, rows);
            let sheet = open(&target).sheet_names()[0].clone();
            let (_, found) = table(&target, &sheet);
            for (row, (any, key)) in found.iter().zip(&cells) {
                // What no workbook takes for a formula is guarded where somebody might.
                let is_guarded = format == ReportFormat::Csv
                    && any.starts_with(['=', '+', '-', '@', '\t'])
                    && !is_signed_number(any);
                let any = if is_guarded { format!("'{any}") } else { any.clone() };
                prop_assert_eq!(row[0].shown(), any);
                prop_assert_eq!(row[1].shown(), key.as_str());
            }
        }
    }

    #[test]
    fn whatever_became_of_the_leads_the_summary_adds_up(kinds in proptest::collection::vec(0..6u8, 1..40)) {
        let mut sample = Sample::new().of_ids();
        let mut counts = LeadCounts { rows: kinds.len() as u64, ..Default::default() };
        let example = |row: usize| sample.rows[row].place.clone();
        let places = [example(0), example(1), example(3), example(4), example(7), example(8)];
        let mut seen = [None; 6];
        sample.rows = (1..)
            .zip(&kinds)
            .map(|(row, &kind)| {
                let first = *seen[usize::from(kind)].get_or_insert(row);
                let mut place = places[usize::from(kind)].clone();
                if let RowPlace::Lead { first_row, .. } = &mut place {
                    *first_row = first;
                    counts.duplicates += u64::from(first != row);
                    counts.leads += u64::from(first == row);
                }
                ReportRow { row, place }
            })
            .collect();
        let rows_of = |kind: u8| kinds.iter().filter(|&&found| found == kind).count() as u64;
        let has = |kind: u8| rows_of(kind).min(1);
        (counts.invalid, counts.blank) = (rows_of(1), rows_of(2));
        (counts.assessed, counts.model_answered) = (has(0), has(0));
        (counts.no_record, counts.not_visible) = (has(3), has(3));
        (counts.failed, counts.unread) = (has(4), has(5));
        sample.head.counts = counts;
        for format in [ReportFormat::Xlsx, ReportFormat::Csv, ReportFormat::Jsonl] {
            let (_, written) = write(&sample, format, None);
            prop_assert_eq!(written.unwrap().rows, kinds.len() as u64);
        }
    }
}
