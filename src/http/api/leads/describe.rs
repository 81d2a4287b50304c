//! The lead endpoints in `/openapi.json`.

use serde_json::{Map, Value, json};

use super::super::openapi::{problems, retry_after_header};

/// One method of one address.
pub(super) struct Operation {
    pub method: &'static str,
    pub path: &'static str,
    pub summary: &'static str,
    id: &'static str,
    takes: Takes,
    gives: Gives,
}

/// What comes with a request beside what its path names.
#[derive(Clone, Copy)]
enum Takes {
    Nothing,
    /// These of [`parameter`].
    Query(&'static [&'static str]),
    /// A form of this schema.
    Form(&'static str),
    /// An object of this schema.
    Object(&'static str),
    /// A form of the first, or an object of the second.
    Either(&'static str, &'static str),
}

/// What an answer is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Gives {
    /// A document of this schema, told to everybody.
    Public(&'static str),
    /// The envelope with data of this schema.
    Envelope(&'static str),
    /// The same at the end of a job, or the job's address.
    EnvelopeOrJob(&'static str),
    /// A document of this schema; what is wrong is a problem.
    Document(&'static str),
    /// The job's address.
    Accepted,
    Events,
    Socket,
    Report,
}

const fn operation(
    method: &'static str,
    path: &'static str,
    id: &'static str,
    summary: &'static str,
    takes: Takes,
    gives: Gives,
) -> Operation {
    Operation { method, path, summary, id, takes, gives }
}

use Gives::{Accepted, Document, Envelope, EnvelopeOrJob, Events, Public, Report, Socket};
use Takes::{Either, Form, Nothing, Object, Query};

/// Everything that is served, in the order of the listing.
pub(super) const OPERATIONS: [Operation; 22] = [
    operation("get", "/", "index", "Name, version and endpoints", Nothing, Public("LeadIndex")),
    operation("get", "/health", "health", "Whether requests are answered", Nothing, Public("LeadHealth")),
    operation("post", "/excel/parse", "parseSheet", "Sheets, heads and first rows of a file", Form("SheetForm"), Envelope("ParsedSheet")),
    operation("post", "/excel/validate-lead-ids", "validateSheet", "Which ids of a sheet are good", Form("SheetForm"), Envelope("ValidatedSheet")),
    operation("post", "/excel/analyze", "analyzeSheet", "Analyses the leads of a sheet", Form("AnalyzeForm"), EnvelopeOrJob("AnalyzedLeads")),
    operation("post", "/excel/analyze-batch-optimized", "analyzeSheetInBatches", "The same, with sizes of batches", Form("BatchedForm"), EnvelopeOrJob("AnalyzedLeads")),
    operation("post", "/excel/export-analysis", "exportAnalysis", "A workbook of rows and results", Object("ExportRows"), Report),
    operation("post", "/excel/export-analysis-with-file", "exportAnalysisWithFile", "A workbook of a sheet and results", Form("ExportForm"), Report),
    operation("post", "/test-lead-validation", "validateIds", "Which ids of a list are good", Object("IdList"), Envelope("ValidatedIds")),
    operation("get", "/lead/{id}", "lead", "A lead, read now", Nothing, Envelope("LeadRecord")),
    operation("get", "/lead/{id}/confidence", "leadConfidence", "A lead, read and assessed now", Nothing, Envelope("LeadConfidence")),
    operation("get", "/leads", "leads", "Leads that a condition finds, by rules alone", Query(&["limit", "where"]), Envelope("LeadRecords")),
    operation("post", "/leads/preview-query", "previewQuery", "Ids that a query finds", Object("PreviewQuery"), Envelope("PreviewedQuery")),
    operation("post", "/leads/analyze-query", "analyzeQuery", "Analyses the leads that a query finds", Object("AnalyzeQuery"), EnvelopeOrJob("AnalyzedLeads")),
    operation("post", "/leads/export-analysis-data", "exportAnalysisData", "A workbook of leads and their summary", Object("ExportLeads"), Report),
    operation("post", "/leads/export-single-lead-data", "exportLead", "A workbook of one lead", Object("ExportLead"), Report),
    operation("post", "/v1/leads", "beginLeads", "Begins a job", Either("JobForm", "JobRequest"), Accepted),
    operation("get", "/v1/jobs", "jobs", "Jobs, the youngest first", Query(&["limit"]), Document("LeadJobs")),
    operation("get", "/v1/jobs/{job}", "job", "A job", Nothing, Document("LeadJob")),
    operation("get", "/v1/jobs/{job}/events", "jobEvents", "Progress as server-sent events", Nothing, Events),
    operation("get", "/v1/jobs/{job}/ws", "jobSocket", "Progress over a WebSocket", Nothing, Socket),
    operation("post", "/v1/jobs/{job}/retry", "retryJob", "Tries failed and unread leads again", Nothing, Accepted),
];

/// The addresses of a job's results: a second table, for the first is long enough.
const OF_RESULTS: [Operation; 3] = [
    operation("get", "/v1/jobs/{job}/results", "jobResults", "Results of a job", Query(&["from", "limit"]), Document("LeadResults")),
    operation("get", "/v1/jobs/{job}/invalid", "jobInvalid", "Rows of a job whose id is none", Query(&["limit"]), Document("InvalidRows")),
    operation("get", "/v1/jobs/{job}/report.{format}", "jobReport", "The report of a job", Query(&["filename_prefix"]), Report),
];
