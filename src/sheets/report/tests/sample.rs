//! A sheet in which everything happens once, and what became of its rows.

use super::*;
use rust_xlsxwriter::{ExcelDateTime, Format};
use tempfile::TempDir;

pub const ADA: &str = "00Q5g00000AbCdE";
/// Another lead, whose id differs from Ada's by the case of its letters alone.
pub const TWIN: &str = "00Q5g00000aBcDe";

pub struct Sample {
    pub folder: TempDir,
    pub head: ReportHead,
    pub rows: Vec<ReportRow>,
}

pub fn id(text: &str) -> LeadId {
    LeadId::read(text).unwrap().id
}

pub fn found(text: &str) -> Lead {
    Lead::new(id(text), Presence::Found, |field| match field {
        LeadField::FirstName => Some("Ada"),
        LeadField::LastName => Some("Lovelace"),
        LeadField::Phone => Some("+44 20 7946 0000"),
        LeadField::Email => Some("ada@Analytical.example"),
        LeadField::Company => Some("Analytical & Sons <Engines>"),
        LeadField::EnrichedEmployees => Some("120"),
        _ => None,
    })
}

pub fn assessed(scores: [f64; 4], flags: Flags, model: ModelVerdict) -> LeadOutcome {
    let [acquisition, enrichment, coherence, confidence] = scores.map(Some);
    let coherence = if matches!(model, ModelVerdict::Failed { .. }) { None } else { coherence };
    let confidence = coherence.and(confidence);
    LeadOutcome::Assessed(Assessment {
        flags,
        scores: Scores { acquisition, enrichment, coherence, confidence },
        model,
        findings: vec!["the phone does not fit the country".to_owned()],
    })
}

pub fn answer(score: u8) -> ModelAnswer {
    ModelAnswer {
        score,
        score_said: 90,
        explanation: vec!["✅ known company".to_owned(), "⚠ website unconfirmed".to_owned()],
        corrections: BTreeMap::from([("ZI_Employees__c".to_owned(), serde_json::json!(250))]),
        inferences: BTreeMap::new(),
        enforced: Vec::new(),
    }
}

pub fn spent() -> Spent {
    Spent { prompt_tokens: 700, completion_tokens: 90, cost: Money(1_234), requests: 1 }
}

pub fn lead_row(row: u64, first_row: u64, lead: Lead, outcome: LeadOutcome) -> ReportRow {
    let result = Arc::new(LeadResult { ordinal: row as u32, lead, outcome });
    ReportRow { row, place: RowPlace::Lead { result, first_row, repaired: false } }
}

pub fn owned(cell: CellView<'_>) -> OwnedCell {
    match cell {
        CellView::Empty => OwnedCell::Empty,
        CellView::Text(text) => OwnedCell::Text(text.to_owned()),
        CellView::Number { value, written, .. } => {
            OwnedCell::Number { value, written: written.to_owned(), format: "General".to_owned() }
        }
        CellView::Bool(value) => OwnedCell::Bool(value),
        CellView::Error(code) => OwnedCell::Error(code.to_owned()),
    }
}

impl Sample {
    pub fn new() -> Self {
        let answered = |score, reused, enforced: &[&str]| {
            let enforced = enforced.iter().map(|&sentence| sentence.to_owned()).collect();
            let spent = if reused { Spent::default() } else { spent() };
            ModelVerdict::Answered { answer: ModelAnswer { enforced, ..answer(score) }, spent, reused }
        };
        let no_flags = Flags::default();
        let ada = || assessed([75.0, 100.0, 85.0, 85.8], no_flags, answered(85, false, &[]));
        let row = |row, place| ReportRow { row, place };
        let repaired = RowPlace::Lead {
            result: Arc::new(LeadResult { ordinal: 0, lead: found(ADA), outcome: ada() }),
            first_row: 2,
            repaired: true,
        };
        let gone = |text: &str, presence| Lead::without_values(id(text), presence);
        let no_answer = ModelVerdict::Failed { reason: "it answered in prose".to_owned(), spent: spent() };
        let enforced = ["the score was lowered from 90 to 40: a large company without a name"];
        let in_doubt = Flags { not_in_tam: true, suspicious_enrichment: false };
        let rows = vec![
            lead_row(2, 2, found(ADA), ada()),
            row(3, RowPlace::Invalid { written: "12345".to_owned(), fault: IdFault::Length(5) }),
            row(4, repaired),
            row(5, RowPlace::Blank),
            lead_row(6, 6, gone(TWIN, Presence::NotVisible), LeadOutcome::NoRecord),
            row(7, RowPlace::Blank),
            lead_row(
                8,
                8,
                gone("00Q5g0000000008", Presence::Merged { into: id(ADA) }),
                LeadOutcome::NoRecord,
            ),
            lead_row(9, 9, found("00Q5g0000000009"), assessed([60.0; 4], no_flags, no_answer)),
            lead_row(
                10,
                10,
                gone("00Q5g0000000010", Presence::NotVisible),
                LeadOutcome::Unread { reason: "the org answered 503".to_owned() },
            ),
            lead_row(
                11,
                11,
                found("00Q5g0000000011"),
                assessed([60.0, 79.9, 40.0, 49.0], in_doubt, answered(40, true, &enforced)),
            ),
        ];
        let counts = LeadCounts {
            rows: 10,
            blank: 2,
            invalid: 1,
            duplicates: 1,
            repaired: 1,
            leads: 6,
            assessed: 2,
            failed: 1,
            no_record: 2,
            merged: 1,
            not_visible: 1,
            unread: 1,
            with_issues: 1,
            not_in_tam: 1,
            model_answered: 2,
            model_reused: 1,
            model_score_sum: 125,
            with_confidence: 2,
            confidence_tenths: 1_348,
            model_requests: 2,
            prompt_tokens: 1_400,
            completion_tokens: 180,
            cost: Money(2_468),
            ..LeadCounts::default()
        };
        let source = LeadSource::Sheet {
            file: "input.xlsx".to_owned(),
            name: "leads of march.xlsx".to_owned(),
            sheet: Some("Leads".to_owned()),
            id_column: "Lead Id".to_owned(),
        };
        let spec = LeadJobSpec {
            job: "leads-20261123T101500123".to_owned(),
            org: "main".parse().unwrap(),
            source,
            ask_model: true,
            read_batch: 2_000,
            assess_batch: 50,
            max_cost: None,
            reports: vec![ReportFormat::Xlsx],
        };
        let head = ReportHead {
            spec,
            counts,
            model: Some("small-model".to_owned()),
            prompt_version: Some("3".to_owned()),
            field_mapping: FieldMapping::default(),
            weights: ScoreWeights::default(),
            org_calls: Some(2),
            retrieval: Some("collections of 2,000 ids: 1 call".to_owned()),
        };
        Self { folder: tempfile::tempdir().unwrap(), head, rows }
    }

    /// The sample without a sheet: a list of ids.
    pub fn of_ids(mut self) -> Self {
        self.head.spec.source = LeadSource::Ids { ids: vec![ADA.to_owned(); 10] };
        self
    }

    /// The sheet as a workbook.
    pub fn workbook(&self) -> PathBuf {
        self.workbook_below(0)
    }

    /// The sheet below so many blank rows.
    pub fn workbook_below(&self, blank: u32) -> PathBuf {
        let path = self.folder.path().join("input.xlsx");
        let mut workbook = rust_xlsxwriter::Workbook::new();
        let day = Format::new().set_num_format("yyyy-mm-dd");
        let money = Format::new().set_num_format("#,##0.00");
        let sheet = workbook.add_worksheet().set_name("Leads").unwrap();
        for (column, head) in (0..).zip(HEADS) {
            sheet.write_string(blank, column, head).unwrap();
        }
        sheet.set_column_width(0, 33).unwrap();
        for (row, cells) in (blank + 1..).zip(CELLS) {
            let Some((name, lead, amount)) = cells else { continue };
            sheet.write_string(row, 0, name).unwrap();
            sheet.write_string(row, 1, lead).unwrap();
            let date = ExcelDateTime::from_ymd(2024, 2, 29).unwrap();
            sheet.write_datetime_with_format(row, 2, &date, &day).unwrap();
            sheet.write_number_with_format(row, 3, amount, &money).unwrap();
            sheet.write_string(row, 4, "call back").unwrap();
            sheet.write_string(row, 5, "00123").unwrap();
            sheet.write_boolean(row, 6, row % 2 == 0).unwrap();
        }
        workbook.save(&path).unwrap();
        path
    }

    /// The sheet as delimited text.
    pub fn text(&self, delimiter: char, mark: &str) -> PathBuf {
        let path = self.folder.path().join("input.csv");
        let mut writer =
            csv::WriterBuilder::new().delimiter(delimiter as u8).from_writer(mark.as_bytes().to_vec());
        writer.write_record(HEADS).unwrap();
        for cells in CELLS {
            match cells {
                None => writer.write_record([""; 7]).unwrap(),
                Some((name, lead, amount)) => {
                    let amount = amount.to_string();
                    writer
                        .write_record([name, lead, "2024-02-29", &amount, "call back", "00123", "true"])
                        .unwrap();
                }
            }
        }
        fs::write(&path, writer.into_inner().unwrap()).unwrap();
        path
    }
}

pub const HEADS: [&str; 7] = ["Name", "Lead Id", "Created", "Amount", "note", "Code", "VIP"];

/// Name, id and amount of each row; one row is blank.
pub const CELLS: [Option<(&str, &str, f64)>; 10] = [
    Some(("Ada", ADA, 1_200.5)),
    Some(("Grace", "12345", 0.25)),
    Some(("Ada again", "00q5g00000abcdeeav", 3.0)),
    Some(("Nobody", "", 4.0)),
    Some(("=1+2", TWIN, 5.0)),
    None,
    Some(("Mary", "00Q5g0000000008", 7.0)),
    Some(("+49 30", "00Q5g0000000009", 8.0)),
    Some(("Ünrëad", "00Q5g0000000010", 9.0)),
    Some(("Jörg; \"J\", \nM.", "00Q5g0000000011", 10.0)),
];
