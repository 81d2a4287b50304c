//! The summary of a report: every number that its job counted, and what the scores stand on. Pure.

use super::ReportHead;
use crate::leads::LeadField;
use crate::leads::job::LeadSource;

/// What stands beside a label.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Figure {
    /// Nothing: the label is the title of the lines below it.
    Title,
    Text(String),
    Count(u64),
    /// One decimal.
    Score(f64),
    /// Of a hundred, two decimals.
    Percent(f64),
    /// Four decimals.
    Money(f64),
    /// As many decimals as it has.
    Weight(f64),
}

/// A line of the summary.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Line {
    pub(super) label: &'static str,
    pub(super) figure: Figure,
}

fn line(label: &'static str, figure: Figure) -> Line {
    Line { label, figure }
}

fn count(label: &'static str, number: u64) -> Line {
    line(label, Figure::Count(number))
}

/// What says that no model was asked.
const RULES_ALONE: &str = "rules alone: no model was asked";

/// Rows and leads: these add up to the rows of the report.
pub(super) fn counts(head: &ReportHead) -> Vec<Line> {
    let counts = &head.counts;
    let mut lines = vec![
        line("Rows", Figure::Title),
        count("Total rows", counts.rows),
        count("Rows without an id", counts.blank),
        count("Rows with an invalid id", counts.invalid),
        count("Duplicate rows", counts.duplicates),
        count("Repaired ids", counts.repaired),
        line("Leads", Figure::Title),
        count("Different leads", counts.leads),
        count("Assessed", counts.assessed),
        count("AI failed", counts.failed),
        count("Not read", counts.unread),
        count("Without a record", counts.no_record),
        count("Merged into another", counts.merged),
        count("Deleted", counts.deleted),
        count("Unknown or not visible", counts.not_visible),
        count("Converted to contacts", counts.converted),
    ];
    if counts.open > 0 {
        lines.push(count("Not come to yet", counts.open));
    }
    let average = |label, average: Option<f64>| {
        line(label, average.map_or_else(|| Figure::Text("none".to_owned()), Figure::Score))
    };
    lines.extend([
        line("Findings", Figure::Title),
        count("Leads with issues", counts.with_issues),
        line("Issue percentage", Figure::Percent(counts.issue_percentage())),
        count("Not in TAM", counts.not_in_tam),
        count("Suspicious enrichment", counts.suspicious_enrichment),
        count("Leads with a confidence", counts.with_confidence),
        average("Average confidence", counts.average_confidence()),
    ]);
    lines
}

/// The lines that stand above a table of leads: few, because the table is what is looked for.
pub(super) fn in_short(head: &ReportHead) -> Vec<Line> {
    let wanted = [
        "Total rows",
        "Rows with an invalid id",
        "Different leads",
        "Assessed",
        "AI failed",
        "Not read",
        "Without a record",
        "Leads with issues",
        "Issue percentage",
        "Not in TAM",
        "Suspicious enrichment",
        "Average confidence",
        "Assessed by",
        "Model",
        "AI successful",
        "Cost",
    ];
    let mut lines = vec![line("Summary", Figure::Title)];
    lines
        .extend(counts(head).into_iter().chain(assessment(head)).filter(|line| wanted.contains(&line.label)));
    lines.extend(source(head));
    lines
}

/// What assessed them, and what it took.
pub(super) fn assessment(head: &ReportHead) -> Vec<Line> {
    let counts = &head.counts;
    let mut lines = vec![line("Assessment", Figure::Title)];
    match &head.model {
        None => lines.push(line("Assessed by", Figure::Text(RULES_ALONE.to_owned()))),
        Some(model) => {
            let version = head.prompt_version.clone().unwrap_or_else(|| "unknown".to_owned());
            let average = counts.average_model_score();
            lines.extend([
                line("Assessed by", Figure::Text("rules and a model".to_owned())),
                line("Model", Figure::Text(model.clone())),
                line("Prompt version", Figure::Text(version)),
                count("AI successful", counts.model_answered),
                count("Of those reused", counts.model_reused),
                line(
                    "Average AI score",
                    average.map_or_else(|| Figure::Text("none".to_owned()), Figure::Score),
                ),
                count("Requests to the model", counts.model_requests),
                count("Prompt tokens", counts.prompt_tokens),
                count("Completion tokens", counts.completion_tokens),
                line("Cost", Figure::Money(counts.cost.units())),
            ]);
        }
    }
    lines.extend([
        line("Weight of acquisition", Figure::Weight(head.weights.acquisition)),
        line("Weight of enrichment", Figure::Weight(head.weights.enrichment)),
        line("Weight of coherence", Figure::Weight(head.weights.coherence)),
    ]);
    lines
}

/// Where the leads come from.
pub(super) fn source(head: &ReportHead) -> Vec<Line> {
    let mut lines = vec![line("Source", Figure::Title), line("Org", Figure::Text(head.spec.org.to_string()))];
    match &head.spec.source {
        LeadSource::Sheet { name, sheet, id_column, .. } => {
            lines.push(line("File", Figure::Text(name.clone())));
            lines.extend(sheet.iter().map(|sheet| line("Sheet", Figure::Text(sheet.clone()))));
            lines.push(line("Column of ids", Figure::Text(id_column.clone())));
        }
        LeadSource::Query { soql } => lines.push(line("Query", Figure::Text(soql.clone()))),
        LeadSource::Ids { ids } => lines.push(count("Ids given", ids.len() as u64)),
    }
    lines.extend(head.retrieval.iter().map(|how| line("Read by", Figure::Text(how.clone()))));
    lines.extend(head.org_calls.map(|calls| count("Calls to the org", calls)));
    lines
}

/// Where each field stands in the org.
pub(super) fn fields(head: &ReportHead) -> Vec<Line> {
    let place = |field| match head.field_mapping.path(field) {
        Some(path) => path.to_string(),
        None => "not in this org".to_owned(),
    };
    std::iter::once(line("Fields", Figure::Title))
        .chain(LeadField::ALL.into_iter().map(|field| line(field.header(), Figure::Text(place(field)))))
        .collect()
}

/// All of it.
pub(super) fn whole(head: &ReportHead) -> Vec<Line> {
    [counts(head), assessment(head), source(head), fields(head)].concat()
}

/// What a workbook has no room for.
pub(super) fn left_out(heads: &[String], cells: u64) -> Vec<Line> {
    if heads.is_empty() && cells == 0 {
        return Vec::new();
    }
    let mut lines = vec![line("Left out: a workbook has 16,384 columns", Figure::Title)];
    if let (Some(first), Some(last)) = (heads.first(), heads.last()) {
        lines.push(count("Columns left out", heads.len() as u64));
        lines.push(line(
            "From, to",
            Figure::Text(format!("{first}, {last}; the .csv and .jsonl reports have them")),
        ));
    }
    if cells > 0 {
        lines.push(count("Cells without a head left out", cells));
    }
    lines
}
