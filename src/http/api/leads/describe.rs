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
    operation(
        "post",
        "/excel/parse",
        "parseSheet",
        "Sheets, heads and first rows of a file",
        Form("SheetForm"),
        Envelope("ParsedSheet"),
    ),
    operation(
        "post",
        "/excel/validate-lead-ids",
        "validateSheet",
        "Which ids of a sheet are good",
        Form("SheetForm"),
        Envelope("ValidatedSheet"),
    ),
    operation(
        "post",
        "/excel/analyze",
        "analyzeSheet",
        "Analyses the leads of a sheet",
        Form("AnalyzeForm"),
        EnvelopeOrJob("AnalyzedLeads"),
    ),
    operation(
        "post",
        "/excel/analyze-batch-optimized",
        "analyzeSheetInBatches",
        "The same, with sizes of batches",
        Form("BatchedForm"),
        EnvelopeOrJob("AnalyzedLeads"),
    ),
    operation(
        "post",
        "/excel/export-analysis",
        "exportAnalysis",
        "A workbook of rows and results",
        Object("ExportRows"),
        Report,
    ),
    operation(
        "post",
        "/excel/export-analysis-with-file",
        "exportAnalysisWithFile",
        "A workbook of a sheet and results",
        Form("ExportForm"),
        Report,
    ),
    operation(
        "post",
        "/test-lead-validation",
        "validateIds",
        "Which ids of a list are good",
        Object("IdList"),
        Envelope("ValidatedIds"),
    ),
    operation("get", "/lead/{id}", "lead", "A lead, read now", Nothing, Envelope("LeadRecord")),
    operation(
        "get",
        "/lead/{id}/confidence",
        "leadConfidence",
        "A lead, read and assessed now",
        Nothing,
        Envelope("LeadConfidence"),
    ),
    operation(
        "get",
        "/leads",
        "leads",
        "Leads that a condition finds, by rules alone",
        Query(&["limit", "where"]),
        Envelope("LeadRecords"),
    ),
    operation(
        "post",
        "/leads/preview-query",
        "previewQuery",
        "Ids that a query finds",
        Object("PreviewQuery"),
        Envelope("PreviewedQuery"),
    ),
    operation(
        "post",
        "/leads/analyze-query",
        "analyzeQuery",
        "Analyses the leads that a query finds",
        Object("AnalyzeQuery"),
        EnvelopeOrJob("AnalyzedLeads"),
    ),
    operation(
        "post",
        "/leads/export-analysis-data",
        "exportAnalysisData",
        "A workbook of leads and their summary",
        Object("ExportLeads"),
        Report,
    ),
    operation(
        "post",
        "/leads/export-single-lead-data",
        "exportLead",
        "A workbook of one lead",
        Object("ExportLead"),
        Report,
    ),
    operation("post", "/v1/leads", "beginLeads", "Begins a job", Either("JobForm", "JobRequest"), Accepted),
    operation("get", "/v1/jobs", "jobs", "Jobs, the youngest first", Query(&["limit"]), Document("LeadJobs")),
    operation("get", "/v1/jobs/{job}", "job", "A job", Nothing, Document("LeadJob")),
    operation("get", "/v1/jobs/{job}/events", "jobEvents", "Progress as server-sent events", Nothing, Events),
    operation("get", "/v1/jobs/{job}/ws", "jobSocket", "Progress over a WebSocket", Nothing, Socket),
    operation(
        "post",
        "/v1/jobs/{job}/retry",
        "retryJob",
        "Tries failed and unread leads again",
        Query(&["max_cost"]),
        Accepted,
    ),
];

/// The addresses of a job's results: a second table, for the first is long enough.
const OF_RESULTS: [Operation; 3] = [
    operation(
        "get",
        "/v1/jobs/{job}/results",
        "jobResults",
        "Results of a job",
        Query(&["from", "limit"]),
        Document("LeadResults"),
    ),
    operation(
        "get",
        "/v1/jobs/{job}/invalid",
        "jobInvalid",
        "Rows of a job whose id is none",
        Query(&["limit"]),
        Document("InvalidRows"),
    ),
    operation(
        "get",
        "/v1/jobs/{job}/report.{format}",
        "jobReport",
        "The report of a job",
        Query(&["filename_prefix"]),
        Report,
    ),
];

pub(super) fn all() -> impl Iterator<Item = &'static Operation> {
    OPERATIONS.iter().chain(&OF_RESULTS)
}

/// The addresses by path.
pub(in super::super) fn paths() -> Map<String, Value> {
    let mut told: Map<String, Value> = Map::new();
    for operation in all() {
        let entry = told.entry(operation.path).or_insert_with(|| json!({}));
        entry[operation.method] = describe(operation);
    }
    told
}

fn reference(schema: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{schema}") })
}

fn describe(operation: &Operation) -> Value {
    let mut told = json!({
        "operationId": operation.id,
        "summary": operation.summary,
        "tags": ["leads"],
        "responses": responses(operation),
    });
    if let Gives::Public(_) = operation.gives {
        told["security"] = json!([{}]);
    }
    let mut parameters: Vec<Value> = operation
        .path
        .split('{')
        .skip(1)
        .filter_map(|part| part.split('}').next())
        .map(path_parameter)
        .collect();
    if let Query(names) = operation.takes {
        parameters.extend(names.iter().map(|name| parameter(operation, name)));
    }
    if let EnvelopeOrJob(_) = operation.gives {
        parameters.push(json!({
            "name": "Prefer", "in": "header", "required": false,
            "description": "`wait` waits for the job to its end, `wait=SECONDS` so long, `respond-async` not at all (RFC 7240)",
            "schema": { "type": "string" },
        }));
    }
    if !parameters.is_empty() {
        told["parameters"] = parameters.into();
    }
    let content = match operation.takes {
        Nothing | Query(_) => return told,
        Form(form) => json!({ "multipart/form-data": { "schema": reference(form) } }),
        Object(object) => json!({ "application/json": { "schema": reference(object) } }),
        Either(form, object) => json!({
            "multipart/form-data": { "schema": reference(form) },
            "application/json": { "schema": reference(object) },
        }),
    };
    told["requestBody"] = json!({ "required": true, "content": content });
    told
}

fn path_parameter(name: &str) -> Value {
    let (description, schema) = match name {
        "id" => ("Id of a Lead, 15 or 18 characters", json!({ "type": "string" })),
        "format" => ("Form of the report", json!({ "enum": ["xlsx", "csv", "jsonl"] })),
        _ => ("Id of a job", json!({ "type": "string" })),
    };
    json!({ "name": name, "in": "path", "required": true, "description": description, "schema": schema })
}

fn parameter(operation: &Operation, name: &str) -> Value {
    let most = 1_000;
    let (description, schema) = match name {
        "limit" => (
            "Most entries of the answer",
            json!({ "type": "integer", "minimum": 1, "maximum": most, "default": 100 }),
        ),
        "from" => (
            "Number of the first lead, from 0",
            json!({ "type": "integer", "minimum": 0, "maximum": u32::MAX, "default": 0 }),
        ),
        "max_cost" => (
            "Most that the job may spend from now on, what it has spent included, in units of the currency",
            json!({ "type": "number", "minimum": 0, "maximum": 1e9 }),
        ),
        "where" => ("A condition, or a whole statement on leads, in SOQL", json!({ "type": "string" })),
        _ => ("Begins the name of the file", json!({ "type": "string" })),
    };
    debug_assert!(matches!(operation.takes, Query(_)), "what a body says stands in its schema");
    json!({ "name": name, "in": "query", "required": false, "description": description, "schema": schema })
}

fn responses(operation: &Operation) -> Value {
    let with_body = !matches!(operation.takes, Nothing | Query(_));
    if let Public(schema) = operation.gives {
        return json!({ "200": answer(operation.summary, schema) });
    }
    let is_envelope = match operation.gives {
        Envelope(_) | EnvelopeOrJob(_) => true,
        Report => with_body,
        _ => false,
    };
    let mut wrong = vec![
        ("400", "What was sent is wrong; the sentence names the parameter and the remedy"),
        ("404", "There is no such thing"),
        ("409", "It has not come so far"),
        ("500", "The org, the disk or penstock failed"),
        ("503", "The line is paused, full or leaving, or the token's issuer does not answer"),
    ];
    if with_body {
        wrong.push(("413", "The body is too large"));
        wrong.push(("415", "The body has another media type"));
    }
    if operation.path.ends_with("/confidence") {
        wrong.push(("502", "The model gave no usable answer; `data` has the lead"));
    }
    if operation.gives == Socket {
        wrong.push(("426", "A WebSocket is needed"));
    }
    let mut told = problems(&wrong);
    if is_envelope {
        for (status, _) in &wrong {
            told[*status]["content"]["application/json"] = json!({ "schema": reference("LeadRefusal") });
        }
    }
    told["503"]["headers"]["Retry-After"] = retry_after_header();
    let guarded = problems(&[
        ("401", "A valid token is needed"),
        ("403", "The caller may not use this, or a foreign page sent it"),
    ]);
    for status in ["401", "403"] {
        told[status] = guarded[status].clone();
    }
    match operation.gives {
        Public(_) => {}
        Envelope(schema) => told["200"] = envelope(operation.summary, schema),
        EnvelopeOrJob(schema) => {
            told["200"] = envelope("The job is over", schema);
            told["202"] = accepted();
        }
        Document(schema) => told["200"] = answer(operation.summary, schema),
        Accepted => told["202"] = accepted(),
        Events => {
            told["200"] = json!({
                "description": "Events `progress` and, at the end, `done`",
                "content": { "text/event-stream": { "schema": {
                    "type": "object",
                    "properties": {
                        "id": { "type": "string", "pattern": "^[0-9]+$" },
                        "event": { "enum": ["progress", "done"] },
                        "data": { "type": "string", "description": "`{\"event\": ..., \"job\": LeadJob}` as JSON" },
                    },
                } } },
            });
        }
        Socket => told["101"] = json!({ "description": "The same documents as texts" }),
        Report => told["200"] = report(with_body),
    }
    if operation.gives == Report && !with_body {
        told["304"] = json!({ "description": "The file is the one that `If-None-Match` names" });
    }
    told
}

fn answer(summary: &str, schema: &str) -> Value {
    json!({ "description": summary, "content": { "application/json": { "schema": reference(schema) } } })
}

fn envelope(summary: &str, schema: &str) -> Value {
    let told = json!({
        "type": "object",
        "required": ["status", "message", "data"],
        "properties": {
            "status": { "const": "success" },
            "message": { "type": "string" },
            "data": reference(schema),
        },
    });
    json!({ "description": summary, "content": { "application/json": { "schema": told } } })
}

fn accepted() -> Value {
    let mut told = envelope("The job has begun", "LeadJobAddresses");
    told["headers"] = json!({
        "Location": { "description": "The job", "required": true, "schema": { "type": "string", "pattern": "^/v1/jobs/" } },
    });
    told
}

fn report(is_workbook: bool) -> Value {
    let binary = json!({ "schema": { "type": "string", "format": "binary" } });
    let mut content = json!({
        "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": binary,
    });
    if !is_workbook {
        content["text/csv"] = binary.clone();
        content["application/x-ndjson"] = binary.clone();
    }
    let headers = json!({
        "Content-Disposition": { "required": true, "schema": { "type": "string", "pattern": "^attachment; " } },
        "ETag": { "required": true, "schema": { "type": "string" } },
    });
    json!({ "description": "The file", "headers": headers, "content": content })
}

/// The schemas that only leads have.
pub(in super::super) fn schemas() -> Map<String, Value> {
    let mut told = requests();
    told.extend(answers());
    told
}

fn members(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(object) => object,
        _ => Map::new(),
    }
}

/// A form with a file and these fields.
fn form(fields: Value) -> Value {
    let mut properties = members(fields);
    properties.insert(
        "file".to_owned(),
        json!({ "type": "string", "format": "binary", "description": ".xlsx, .xls, .csv or .tsv" }),
    );
    json!({ "type": "object", "required": ["file"], "properties": properties })
}

fn requests() -> Map<String, Value> {
    let name = json!({ "type": "string", "maxLength": 1_024 });
    let sheet = json!({ "sheet_name": name, "lead_id_column": name });
    let with = |more: Value| {
        let mut fields = members(sheet.clone());
        fields.extend(members(more));
        Value::Object(fields)
    };
    let max_analyze = json!({
        "type": "integer", "minimum": 1, "maximum": crate::sheets::MOST_ROWS,
        "description": "Checked, and without effect: all leads of the sheet are analysed",
    });
    let within = |least: u64, most: u64| json!({ "type": "integer", "minimum": least, "maximum": most });
    let or_null = |least: u64, most: u64, default: u64| json!({ "type": ["integer", "null"], "minimum": least, "maximum": most, "default": default });
    let reports = json!({ "type": "array", "items": { "enum": ["xlsx", "csv", "jsonl"] } });
    let soql = json!({ "type": ["string", "null"], "maxLength": 100_000, "description": "A SELECT on Lead, or its condition alone" });
    let query = |bound: &str, schema: Value| {
        json!({
            "type": "object",
            "properties": {
                "soql_query": soql, bound: schema, "include_ai_assessment": { "type": ["boolean", "null"], "default": true },
            },
        })
    };
    let mut preview = query("preview_limit", or_null(1, 1_000, 100));
    if let Some(properties) = preview["properties"].as_object_mut() {
        properties.remove("include_ai_assessment");
    }
    let rows = json!({ "type": "array", "items": { "type": "object" } });
    let ids = json!({ "type": ["array", "null"], "items": { "type": "string" } });
    let prefix = json!({ "type": ["string", "null"], "maxLength": 1_024 });
    members(json!({
        "SheetForm": form(sheet.clone()),
        "AnalyzeForm": form(with(json!({ "max_analyze": max_analyze }))),
        "BatchedForm": form(with(json!({
            "max_analyze": max_analyze, "batch_size": within(50, 200), "ai_batch_size": within(10, 100),
        }))),
        "JobForm": form(json!({
            "sheet": name, "id_column": name, "ask_model": { "type": "boolean" }, "batch_size": within(1, 2_000),
            "ai_batch_size": within(1, 1_000), "max_cost": { "type": "number", "minimum": 0, "maximum": 1e9 },
            "reports": { "type": "string", "pattern": "^(xlsx|csv|jsonl)(,(xlsx|csv|jsonl))*$" },
            "take_up": { "type": "boolean" },
        })),
        "ExportForm": form(with(json!({
            "analysis_results": { "type": "string", "description": "The list as JSON" },
            "invalid_lead_ids": { "type": "string", "description": "Not needed: they are told from the file" },
            "filename_prefix": { "type": "string", "maxLength": 1_024 },
        }))),
        "IdList": {
            "type": "object", "required": ["lead_ids"],
            "properties": { "lead_ids": { "type": "array", "maxItems": 1_000, "items": { "type": "string", "maxLength": 1_024 } } },
        },
        "PreviewQuery": preview,
        "AnalyzeQuery": query("max_analyze", or_null(1, 500, 100)),
        "ExportRows": {
            "type": "object", "required": ["analysis_results", "original_data"],
            "properties": {
                "analysis_results": rows, "original_data": rows, "invalid_lead_ids": ids,
                "lead_id_column": { "type": ["string", "null"], "maxLength": 1_024 }, "filename_prefix": prefix,
            },
        },
        "ExportLeads": {
            "type": "object", "required": ["analysis_data"],
            "properties": {
                "analysis_data": { "type": "object", "required": ["leads"], "properties": { "leads": rows } },
                "filename_prefix": prefix,
            },
        },
        "ExportLead": {
            "type": "object", "required": ["lead_data"],
            "properties": { "lead_data": { "type": "object" }, "filename_prefix": prefix },
        },
        "JobRequest": {
            "type": "object", "additionalProperties": false,
            "oneOf": [
                { "required": ["ids"], "properties": { "ids": { "type": "array" }, "soql": { "type": "null" } } },
                { "required": ["soql"], "properties": { "soql": { "type": "string" }, "ids": { "type": "null" } } },
            ],
            "properties": {
                "ids": { "type": ["array", "null"], "minItems": 1, "maxItems": 50_000, "items": { "type": "string", "maxLength": 1_024 } },
                "soql": { "type": ["string", "null"], "maxLength": 100_000 },
                "options": {
                    "type": ["object", "null"], "additionalProperties": false,
                    "properties": {
                        "ask_model": { "type": ["boolean", "null"] },
                        "batch_size": { "type": ["integer", "null"], "minimum": 1, "maximum": 2_000 },
                        "ai_batch_size": { "type": ["integer", "null"], "minimum": 1, "maximum": 1_000 },
                        "max_cost": { "type": ["number", "null"], "minimum": 0, "maximum": 1e9 },
                        "reports": { "anyOf": [reports, { "type": "null" }] },
                        "take_up": { "type": ["boolean", "null"] },
                    },
                },
            },
        },
    }))
}

fn answers() -> Map<String, Value> {
    let count = json!({ "type": "integer", "minimum": 0 });
    let count_or_null = json!({ "type": ["integer", "null"], "minimum": 0 });
    let text = json!({ "type": "string" });
    let text_or_null = json!({ "type": ["string", "null"] });
    let number = json!({ "type": "number" });
    let number_or_null = json!({ "type": ["number", "null"] });
    let flag = json!({ "type": "boolean" });
    let texts = json!({ "type": "array", "items": { "type": "string" } });
    let strict = |properties: Value| {
        let required: Vec<String> =
            properties.as_object().map(|all| all.keys().cloned().collect()).unwrap_or_default();
        json!({ "type": "object", "required": required, "properties": properties })
    };
    let list = |schema: &str| json!({ "type": "array", "items": reference(schema) });
    let addresses =
        json!({ "job": text, "url": text, "events": text, "ws": text, "results": text, "report": text });
    let existence =
        json!({ "type": "object", "required": ["checked"], "properties": { "checked": flag, "why": text } });
    let scores = strict(json!({
        "acquisition": number_or_null, "enrichment": number_or_null, "coherence": number_or_null, "confidence": number_or_null,
    }));
    let assessment = json!({ "anyOf": [
        { "type": "null" },
        strict(json!({
            "confidence_score": { "type": "integer", "minimum": 0, "maximum": 100 },
            "explanation_bullets": texts, "corrections": { "type": "object" }, "inferences": { "type": "object" },
        })),
    ] });
    members(json!({
        "LeadRefusal": {
            "type": "object", "required": ["status", "message"],
            "properties": { "status": { "const": "error" }, "message": text, "data": { "type": "object" } },
        },
        "LeadIndex": strict(json!({ "name": text, "version": text, "endpoints": { "type": "object", "additionalProperties": text } })),
        "LeadHealth": strict(json!({ "status": { "const": "healthy" }, "service": text, "version": text })),
        "LeadJobAddresses": strict(addresses),
        "ParsedSheet": strict(json!({
            "sheet_names": texts, "sheet_name": text, "headers": texts,
            "preview_data": { "type": "array", "maxItems": 10, "items": { "type": "object" } },
            "total_rows": count, "format": { "enum": ["xlsx", "xls", "csv", "tsv"] },
            "lead_id_column": { "type": ["object", "null"] },
        })),
        "InvalidRow": strict(json!({ "row": count, "written": text, "reason": text })),
        "InvalidRows": strict(json!({ "invalid": list("InvalidRow"), "total": count })),
        "ValidatedSheet": strict(json!({
            "lead_id_column": text, "total_rows": count, "total_lead_ids": count, "valid_count": count, "invalid_count": count,
            "format_invalid_count": count, "sf_invalid_count": count_or_null, "duplicate_count": count,
            "invalid_lead_ids": texts, "invalid_rows": list("InvalidRow"), "existence": existence,
            "validation_summary": strict(json!({ "can_proceed": flag, "all_valid": flag, "partial_validation": flag })),
        })),
        "ValidatedIds": strict(json!({
            "results": { "type": "array", "items": { "type": "object", "required": ["lead_id", "valid"], "properties": { "lead_id": text, "valid": flag } } },
            "total_lead_ids": count, "valid_count": count, "format_invalid_count": count, "sf_invalid_count": count_or_null,
            "unique_count": count, "existence": existence,
        })),
        "LeadRecord": strict(json!({
            "Id": { "type": "string", "pattern": "^00Q[A-Za-z0-9]{15}$" }, "email_domain": text_or_null, "not_in_TAM": flag,
            "suspicious_enrichment": flag, "confidence_assessment": assessment, "ai_assessment_status": text,
            "scores": scores, "findings": texts, "status": text, "presence": text,
        })),
        "LeadConfidence": strict(json!({
            "lead_data": reference("LeadRecord"), "confidence_assessment": assessment, "scores": scores,
            "processing_info": { "type": "object", "required": ["ai_assessment_status"] },
        })),
        "LeadRecords": {
            "type": "object", "required": ["records", "totalSize", "done"],
            "properties": { "records": list("LeadRecord"), "totalSize": count, "done": flag },
        },
        "PreviewedQuery": strict(json!({
            "total_found": count, "preview_count": count, "lead_ids": texts,
            "query_info": strict(json!({ "original_query": text, "final_query": text, "total_found": count })),
        })),
        "LeadSummary": {
            "type": "object",
            "required": [
                "leads_analyzed", "leads_with_issues", "not_in_tam_count", "suspicious_enrichment_count", "issue_percentage",
                "avg_confidence_score", "ai_assessments_successful", "ai_assessments_failed",
            ],
            "properties": {
                "leads_analyzed": count, "leads_with_issues": count, "not_in_tam_count": count,
                "suspicious_enrichment_count": count, "issue_percentage": number, "avg_confidence_score": number_or_null,
                "ai_assessments_successful": count, "ai_assessments_failed": count,
                "processing_stats": strict(json!({
                    "total_batches": count, "successful_batches": count, "failed_batches": count, "batch_size": count,
                    "ai_batch_size": count, "total_processing_time": number, "avg_batch_time": number, "leads_per_second": number,
                })),
            },
        },
        "AnalyzedLeads": {
            "type": "object", "required": ["summary", "leads"],
            "properties": {
                "summary": reference("LeadSummary"), "leads": list("LeadRecord"),
                "not_analyzed": { "type": "array", "items": strict(json!({ "lead_id": text, "status": text, "presence": text, "reason": text })) },
                "validation_summary": { "type": "object" }, "query_info": { "type": "object" },
                "invalid_lead_ids": texts, "invalid_rows": list("InvalidRow"),
                "performance_metrics": strict(json!({
                    "total_processing_time": number, "leads_per_second": number, "avg_batch_time": number, "batch_success_rate": number,
                })),
            },
        },
        "LeadJob": {
            "type": "object",
            "required": ["job", "url", "events", "ws", "results", "report", "org", "source", "phase", "counts", "cost", "elapsed_secs"],
            "properties": {
                "job": text, "org": text, "source": text, "counts": { "type": "object" }, "cost": number, "elapsed_secs": number,
                "phase": { "enum": ["intake", "assessing", "awaiting_batch", "reporting", "done", "failed"] },
                "seconds_left": number_or_null, "waits": text_or_null, "error": text_or_null,
            },
        },
        "LeadJobs": strict(json!({ "jobs": list("LeadJob"), "total": count })),
        "LeadResults": {
            "type": "object", "required": ["results", "next"],
            "properties": {
                "results": { "type": "array", "items": { "type": "object", "required": ["ordinal", "id", "status", "values", "outcome"] } },
                "next": count_or_null,
            },
        },
    }))
}
