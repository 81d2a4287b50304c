//! OpenAPI 3.1 of the endpoint, as one caller may use it: a typed schema for each entity and action.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::entities::{Permitted, permitted, statements};
use super::{Admits, leads};
use crate::batch::access::Caller;
use crate::batch::catalogue::{Catalogue, Column, ColumnType, NamedStatement};

/// What a reference looks like where nothing stands around it.
const REFERENCE: &str = r"^\$ref:(\{[^}]+\}|[A-Za-z0-9_]{1,64}([.\[].*)?)$";

/// What this process serves.
#[derive(Debug, Clone, Copy)]
pub(super) struct Serves {
    /// There is a database.
    pub batches: bool,
    /// There are lead jobs.
    pub leads: bool,
}

/// The document of `/openapi.json`.
pub(super) fn document(
    catalogues: &[Arc<Catalogue>],
    caller: &Caller,
    admits: Admits,
    serves: Serves,
) -> Value {
    let mut schemas = fixed_schemas();
    let mut operations = Vec::new();
    for catalogue in catalogues {
        for entity in permitted(catalogue, caller) {
            for action in entity.actions() {
                let name = component_name(&entity.entity.name, action);
                operations.push(json!({ "$ref": format!("#/components/schemas/{name}") }));
                schemas.insert(name, operation_schema(&entity, action));
            }
        }
        for statement in statements(catalogue, caller) {
            let name = component_name(&statement.name, "read");
            operations.push(json!({ "$ref": format!("#/components/schemas/{name}") }));
            schemas.insert(name, statement_schema(statement));
        }
    }
    // With nothing permitted there is no operation that could be sent.
    let operation = if operations.is_empty() { json!(false) } else { json!({ "oneOf": operations }) };
    schemas.insert("Operation".to_owned(), operation);
    let mut paths = Map::new();
    if serves.batches {
        paths.insert("/batch".to_owned(), json!({ "post": batch_operation() }));
        paths.insert("/batch/plan".to_owned(), json!({ "post": plan_operation() }));
    }
    let entities = document_operation("listEntities", "Entities that the caller may see", "Entities");
    paths.insert("/entities".to_owned(), json!({ "get": entities }));
    let description = document_operation("describe", "This document", "Document");
    paths.insert("/openapi.json".to_owned(), json!({ "get": description }));
    if serves.leads {
        paths.extend(leads::paths());
        schemas.extend(leads::schemas());
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": title(serves),
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Dependent reads and writes in one answer and one transaction. Shows what the caller who asked for this document may use.",
        },
        "security": security(admits),
        "paths": paths,
        "components": {
            "securitySchemes": { "bearer": { "type": "http", "scheme": "bearer", "bearerFormat": "JWT" } },
            "schemas": schemas,
        },
    })
}

fn title(serves: Serves) -> &'static str {
    match (serves.batches, serves.leads) {
        (true, true) => "penstock batch operations and leads",
        (_, false) => "penstock batch operations",
        (false, true) => "penstock leads",
    }
}

/// Any one of these will do; an empty object is a caller without a token.
fn security(admits: Admits) -> Value {
    let token = admits.tokens.then(|| json!({ "bearer": [] }));
    let nothing = admits.without_token.then(|| json!({}));
    // Where neither is, nobody is let in: saying that a token is needed is the nearest.
    let ways: Vec<Value> = nothing.into_iter().chain(token).collect();
    if ways.is_empty() { json!([{ "bearer": [] }]) } else { Value::Array(ways) }
}

/// Component names take letters, digits, `.`, `-` and `_`; what else a table's name has becomes its code.
fn component_name(entity: &str, action: &str) -> String {
    let mut name = String::new();
    for character in entity.chars() {
        match character {
            'A'..='Z' | 'a'..='z' | '0'..='9' | '_' | '.' => name.push(character),
            other => name.push_str(&format!("-{:x}-", u32::from(other))),
        }
    }
    format!("{name}.{action}")
}

fn batch_operation() -> Value {
    let mut operation = request_operation("runBatch", "Runs a batch");
    operation["parameters"] = json!([
        {
            "name": "Idempotency-Key", "in": "header", "required": false,
            "description": "A repeat with the same key and body is answered with the first answer and runs nothing.",
            "schema": { "type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]{1,255}$" },
        },
        trace_parameter(),
    ]);
    let mut responses = problems(&[
        ("400", "The request is not valid, or an operation stopped the batch"),
        ("401", "A valid token is needed"),
        ("403", "The token may not use this"),
        ("406", "Neither JSON nor JSON lines are accepted"),
        ("409", "The idempotency key is in flight"),
        ("413", "The body, or what it asks for, is too large"),
        ("415", "The body is not JSON in UTF-8, plain or packed with gzip"),
        ("422", "The idempotency key was used for another body"),
        ("429", "Too many batches of one caller"),
        ("500", "Our fault"),
        ("503", "The queue is full, the endpoint is paused, or the database is away or busy"),
        ("504", "The batch took too long"),
    ]);
    for status in ["400", "409", "413", "422", "500", "503", "504", "429"] {
        responses[status]["headers"]["Penstock-Batch-Id"] = batch_id_header();
    }
    for status in ["409", "429", "503"] {
        responses[status]["headers"]["Retry-After"] = retry_after_header();
    }
    for status in ["400", "503", "504"] {
        responses[status]["content"]["application/problem+json"]["schema"] =
            json!({ "$ref": "#/components/schemas/BatchProblem" });
    }
    responses["200"] = json!({
        "description": "Every operation completed, or `continueOnError` was set",
        "headers": {
            "Penstock-Batch-Id": batch_id_header(),
            "Idempotent-Replayed": {
                "description": "The answer is that of an earlier run of the same key",
                "schema": { "type": "string", "const": "true" },
            },
        },
        "content": {
            "application/json": { "schema": { "$ref": "#/components/schemas/Envelope" } },
            "application/x-ndjson": { "schema": { "type": "string" } },
        },
    });
    operation["responses"] = responses;
    operation
}

fn plan_operation() -> Value {
    let mut operation = request_operation("planBatch", "Says how a batch would run, and touches no table");
    operation["parameters"] = json!([trace_parameter()]);
    let mut responses = problems(&[
        ("400", "The request is not valid"),
        ("401", "A valid token is needed"),
        ("403", "The token may not use this"),
        ("406", "JSON is not accepted"),
        ("413", "The body is too large"),
        ("415", "The body is not JSON in UTF-8, plain or packed with gzip"),
        ("500", "Our fault"),
        ("503", "The database, or the token's issuer, does not answer"),
    ]);
    for status in ["400", "503"] {
        responses[status]["headers"]["Penstock-Batch-Id"] = batch_id_header();
    }
    responses["503"]["headers"]["Retry-After"] = retry_after_header();
    responses["200"] = json!({
        "description": "The plan",
        "headers": { "Penstock-Batch-Id": batch_id_header() },
        "content": { "application/json": { "schema": { "$ref": "#/components/schemas/Plan" } } },
    });
    operation["responses"] = responses;
    operation
}

fn document_operation(id: &str, summary: &str, schema: &str) -> Value {
    let mut responses = problems(&[
        ("401", "A valid token is needed"),
        ("403", "The token may not use this"),
        ("406", "JSON is not accepted"),
        ("500", "Our fault"),
        ("503", "The token's issuer does not answer"),
    ]);
    responses["200"] = json!({
        "description": summary,
        "content": {
            "application/json": { "schema": { "$ref": format!("#/components/schemas/{schema}") } },
        },
    });
    json!({ "operationId": id, "summary": summary, "responses": responses })
}

fn request_operation(id: &str, summary: &str) -> Value {
    json!({
        "operationId": id,
        "summary": summary,
        "requestBody": {
            "required": true,
            "content": { "application/json": { "schema": { "$ref": "#/components/schemas/Batch" } } },
        },
    })
}

pub(super) fn problems(told: &[(&str, &str)]) -> Value {
    let problem = |(status, description): &(&str, &str)| {
        let response = json!({
            "description": description,
            "headers": {},
            "content": {
                "application/problem+json": { "schema": { "$ref": "#/components/schemas/Problem" } },
            },
        });
        ((*status).to_owned(), response)
    };
    Value::Object(told.iter().map(problem).collect())
}

fn batch_id_header() -> Value {
    json!({ "description": "Id of the batch, a ULID", "schema": { "type": "string", "pattern": "^[0-9A-HJKMNP-TV-Z]{26}$" } })
}

pub(super) fn retry_after_header() -> Value {
    json!({ "description": "Seconds until another try makes sense", "schema": { "type": "string", "pattern": "^[0-9]+$" } })
}

fn trace_parameter() -> Value {
    json!({
        "name": "traceparent", "in": "header", "required": false,
        "description": "W3C trace context", "schema": { "type": "string" },
    })
}

/// Schemas that are the same for every caller.
fn fixed_schemas() -> Map<String, Value> {
    let ids = json!({ "type": "array", "items": { "type": "string" } });
    let mut batch_problem = problem_schema();
    if let (Some(members), Some(envelope)) =
        (batch_problem["properties"].as_object_mut(), envelope_schema()["properties"].as_object())
    {
        members.extend(envelope.clone());
    }
    let schemas = json!({
        "Batch": {
            "type": "object",
            "required": ["operations"],
            "additionalProperties": false,
            "properties": {
                "operations": {
                    "type": "array", "minItems": 1, "items": { "$ref": "#/components/schemas/Operation" },
                },
                "options": { "$ref": "#/components/schemas/Options" },
            },
        },
        "Options": {
            "type": "object",
            "additionalProperties": false,
            "properties": {
                "atomic": { "type": "boolean", "default": true },
                "continueOnError": { "type": "boolean", "default": false },
                "dryRun": { "type": "boolean", "default": false },
                "dataShape": { "enum": ["auto", "rows"], "default": "auto" },
                "return": { "enum": ["representation", "keys", "none"], "default": "representation" },
                "isolation": { "enum": ["read_committed", "repeatable_read", "serializable"] },
                "timeoutMs": { "type": "integer", "minimum": 1 },
            },
            "if": { "required": ["atomic"], "properties": { "atomic": { "const": false } } },
            "then": { "properties": { "isolation": false, "dryRun": { "const": false } } },
        },
        "OperationId": { "type": "string", "pattern": "^[A-Za-z0-9_]{0,64}$" },
        "DependsOn": { "type": ["array", "null"], "items": { "type": "string" } },
        "Expect": {
            "type": "object",
            "oneOf": [
                {
                    "required": ["rows"], "additionalProperties": false,
                    "properties": { "rows": { "type": "integer", "minimum": 0 } },
                },
                {
                    "minProperties": 1, "additionalProperties": false,
                    "properties": {
                        "min": { "type": "integer", "minimum": 0 },
                        "max": { "type": "integer", "minimum": 0 },
                    },
                },
            ],
        },
        "Reference": { "type": "string", "pattern": REFERENCE, "description": "`$ref:operation.column`" },
        "Selector": {
            "description": "Equality, null, a list, `operator::operand`, or an object of operators",
            "anyOf": [
                { "type": ["string", "number", "boolean", "null"] },
                { "type": "array", "items": { "type": ["string", "number", "boolean"] } },
                { "type": "object", "minProperties": 1, "propertyNames": { "enum": [
                    "eq", "ne", "lt", "le", "gt", "ge", "in", "not-in", "between", "not-between", "like",
                    "not-like", "is-null", "not-null",
                ] } },
            ],
        },
        "Count": { "anyOf": [
            { "type": "integer", "minimum": 0 },
            { "type": "string", "pattern": "^[0-9]{1,9}$" },
            { "$ref": "#/components/schemas/Reference" },
        ] },
        "Envelope": envelope_schema(),
        "Result": {
            "oneOf": [
                {
                    "type": "object", "required": ["status", "data"], "additionalProperties": false,
                    "properties": { "status": { "const": "completed" }, "data": {} },
                },
                {
                    "type": "object", "required": ["status", "error", "statusCode"], "additionalProperties": false,
                    "properties": {
                        "status": { "const": "failed" },
                        "error": { "type": "string" },
                        "statusCode": { "type": "integer" },
                    },
                },
                {
                    "type": "object", "required": ["status", "reason"], "additionalProperties": false,
                    "properties": {
                        "status": { "const": "skipped" },
                        "reason": { "enum": ["Dependency failed", "Batch stopped"] },
                    },
                },
            ],
        },
        "Problem": problem_schema(),
        "BatchProblem": batch_problem,
        "Fault": {
            "type": "object", "required": ["kind", "pointer", "detail"],
            "properties": {
                "kind": { "type": "string" },
                "pointer": { "type": "string", "description": "RFC 6901" },
                "detail": { "type": "string" },
                "operation": { "type": "string" },
            },
        },
        "Plan": {
            "type": "object",
            "required": ["batchId", "database", "order", "groups", "independent", "operations"],
            "properties": {
                "batchId": { "type": "string" },
                "database": { "type": ["string", "null"] },
                "order": ids,
                "groups": { "type": "array", "items": ids },
                "independent": ids,
                "operations": { "type": "object", "additionalProperties": { "type": "object" } },
            },
        },
        "Entities": {
            "type": "object", "required": ["databases"],
            "properties": { "databases": { "type": "array", "items": { "type": "object" } } },
        },
        "Document": { "type": "object", "required": ["openapi", "paths"] },
    });
    match schemas {
        Value::Object(schemas) => schemas,
        _ => Map::new(),
    }
}

fn envelope_schema() -> Value {
    json!({
        "type": "object",
        "required": ["success", "results", "meta"],
        "properties": {
            "success": { "type": "boolean" },
            "results": {
                "type": "object", "additionalProperties": { "$ref": "#/components/schemas/Result" },
            },
            "failedOperations": { "type": "array", "minItems": 1, "items": { "type": "string" } },
            "rolledBack": { "type": "boolean", "const": true },
            "outcome": { "type": "string", "const": "unknown" },
            "meta": {
                "type": "object",
                "required": ["batchId", "dryRun", "attempts", "elapsedMs", "order", "operations", "warnings"],
                "properties": {
                    "batchId": { "type": "string" },
                    "dryRun": { "type": "boolean" },
                    "attempts": { "type": "integer" },
                    "elapsedMs": { "type": "number" },
                    "order": { "type": "array", "items": { "type": "string" } },
                    "operations": { "type": "object", "additionalProperties": { "type": "object" } },
                    "warnings": { "type": "array", "items": { "type": "object" } },
                },
            },
        },
    })
}

fn problem_schema() -> Value {
    json!({
        "type": "object",
        "required": ["type", "title", "status", "kind", "detail", "message"],
        "properties": {
            "type": { "type": "string", "format": "uri" },
            "title": { "type": "string" },
            "status": { "type": "integer", "minimum": 400, "maximum": 599 },
            "kind": { "type": "string" },
            "detail": { "type": "string" },
            "message": { "type": "string" },
            "instance": { "type": "string" },
            "errors": { "type": "array", "items": { "$ref": "#/components/schemas/Fault" } },
            "cause": { "type": "object" },
        },
    })
}

/// Members that every operation has, whatever it does.
fn common(entity: &str, action: &str) -> Map<String, Value> {
    let mut members = Map::new();
    members.insert(
        "id".to_owned(),
        json!({ "anyOf": [{ "$ref": "#/components/schemas/OperationId" }, { "type": "null" }] }),
    );
    members.insert("entity".to_owned(), json!({ "const": entity }));
    members.insert("action".to_owned(), json!({ "const": action }));
    members.insert("depends_on".to_owned(), json!({ "$ref": "#/components/schemas/DependsOn" }));
    members.insert("expect".to_owned(), json!({ "$ref": "#/components/schemas/Expect" }));
    members
}

fn operation_schema(permitted: &Permitted<'_>, action: &str) -> Value {
    let entity = permitted.entity;
    let mut members = common(&entity.name, action);
    let mut required = vec!["entity", "action"];
    let columns = || entity.columns.iter().enumerate();
    if action == "create" || action == "update" {
        let creating = action == "create";
        let stored: Map<String, Value> = columns()
            .filter(|(id, _)| permitted.stores(*id, creating))
            .map(|(_, column)| (column.name.to_string(), stored_schema(column)))
            .collect();
        let needed: Vec<&str> = columns()
            .filter(|(id, _)| creating && permitted.needs(*id))
            .map(|(_, column)| &*column.name)
            .collect();
        let row = json!({
            "type": "object", "properties": stored, "required": needed, "additionalProperties": false,
        });
        let rows = json!({ "type": "array", "minItems": 1, "items": row });
        let store = if creating { json!({ "anyOf": [row, rows] }) } else { row };
        members.insert("store_params".to_owned(), store);
        required.push("store_params");
    }
    if action != "create" {
        let selected: Map<String, Value> = columns()
            .filter(|(id, _)| permitted.reads(*id))
            .map(|(_, column)| (column.name.to_string(), json!({ "$ref": "#/components/schemas/Selector" })))
            .collect();
        let mut selector = json!({ "type": "object", "properties": selected, "additionalProperties": false });
        if action == "read" {
            let related: Map<String, Value> = entity
                .relations
                .iter()
                .map(|relation| {
                    let pattern = format!("^{}\\.", regex_text(&relation.name));
                    (pattern, json!({ "$ref": "#/components/schemas/Selector" }))
                })
                .collect();
            selector["patternProperties"] = Value::Object(related);
        } else {
            selector["minProperties"] = json!(1);
            required.push("query_params");
        }
        members.insert("query_params".to_owned(), selector);
    }
    members.insert("metadata_params".to_owned(), metadata_schema(action));
    json!({ "type": "object", "properties": members, "required": required, "additionalProperties": false })
}

fn statement_schema(statement: &NamedStatement) -> Value {
    let mut members = common(&statement.name, "read");
    let parameters: Map<String, Value> = statement
        .parameters
        .iter()
        .map(|(name, kind)| (name.to_string(), or_reference(value_schema(kind), true)))
        .collect();
    let needed: Vec<&str> = statement.parameters.iter().map(|(name, _)| &**name).collect();
    let query = json!({
        "type": "object", "properties": parameters, "required": needed, "additionalProperties": false,
    });
    let mut required = vec!["entity", "action"];
    if !needed.is_empty() {
        required.push("query_params");
    }
    members.insert("query_params".to_owned(), query);
    json!({ "type": "object", "properties": members, "required": required, "additionalProperties": false })
}

fn metadata_schema(action: &str) -> Value {
    let mut members = Map::new();
    let mut add = |name: &str, schema: Value| {
        for written in [name.to_owned(), format!("__{name}")] {
            members.insert(written, schema.clone());
        }
    };
    if action == "read" {
        add("sort", json!({ "type": "string" }));
        add("limit", json!({ "$ref": "#/components/schemas/Count" }));
        add("offset", json!({ "$ref": "#/components/schemas/Count" }));
        add("properties", json!({ "type": "string" }));
        add("count", json!({ "type": "boolean" }));
        add("lock", json!({ "enum": ["update", "share", "none"] }));
        add("cursor", json!({ "type": "string" }));
    }
    add("_properties", json!({ "type": "string" }));
    json!({ "type": "object", "properties": members, "additionalProperties": false })
}

fn stored_schema(column: &Column) -> Value {
    or_reference(value_schema(&column.column_type), column.nullable)
}

fn or_reference(value: Value, nullable: bool) -> Value {
    let mut choices = vec![value, json!({ "$ref": "#/components/schemas/Reference" })];
    if nullable {
        choices.push(json!({ "type": "null" }));
    }
    json!({ "anyOf": choices })
}

/// What a column takes (contract, section 8).
fn value_schema(kind: &ColumnType) -> Value {
    match kind {
        ColumnType::Int { bits, unsigned } => {
            let (least, most) = match (unsigned, u32::from(*bits).clamp(1, 64)) {
                (true, bits) => (0, u64::MAX >> (64 - bits)),
                (false, bits) => (i64::MIN >> (64 - bits), (i64::MAX >> (64 - bits)).unsigned_abs()),
            };
            json!({ "anyOf": [
                { "type": "integer", "minimum": least, "maximum": most },
                { "type": "string", "pattern": "^-?[0-9]{1,20}$" },
            ] })
        }
        ColumnType::Decimal => json!({ "anyOf": [
            { "type": "number" }, { "type": "string", "pattern": "^-?[0-9]+(\\.[0-9]+)?$" },
        ] }),
        ColumnType::Float { .. } => {
            json!({ "anyOf": [{ "type": "number" }, { "enum": ["NaN", "Infinity", "-Infinity"] }] })
        }
        ColumnType::Boolean => json!({ "type": "boolean" }),
        ColumnType::Text => json!({ "type": ["string", "number", "boolean"] }),
        ColumnType::Uuid => json!({ "type": "string", "format": "uuid" }),
        ColumnType::Enum(values) => json!({ "enum": values }),
        ColumnType::Date => json!({ "type": "string", "format": "date" }),
        ColumnType::Time => json!({ "type": "string", "format": "time" }),
        ColumnType::Timestamp | ColumnType::TimestampTz => json!({ "type": "string", "format": "date-time" }),
        ColumnType::Bytes => json!({ "type": "string", "contentEncoding": "base64" }),
        ColumnType::Json | ColumnType::Any => json!({}),
        ColumnType::Array(item) => json!({ "type": "array", "items": value_schema(item) }),
        ColumnType::Other => json!({ "type": "string" }),
    }
}

/// A name as a regular expression that matches it alone.
fn regex_text(name: &str) -> String {
    let mut text = String::new();
    for character in name.chars() {
        if !character.is_ascii_alphanumeric() && character != '_' && character.is_ascii() {
            text.push('\\');
        }
        text.push(character);
    }
    text
}
