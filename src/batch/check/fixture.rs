//! A small catalogue for the tests of check and bind, and bound operations as text.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::{Value as Json, json};

use super::{CheckContext, CheckedOperation, Desk, OperationError, check_all_at};
use crate::batch::access::Caller;
use crate::batch::access::rules::{Grant, Right};
use crate::batch::bind::BindContext;
use crate::batch::catalogue::*;
use crate::batch::operation::*;
use crate::batch::reference::{OperationResult, Warning};
use crate::batch::request::{Limits, OperationClaims, Options, parse};
use crate::batch::value::Value;

pub const UUID: &str = "6f1c2a9e-0b7d-4c3a-9a51-2d8e4f60b7c1";
pub const NOW: &str = "2026-11-23T01:02:03.123456Z";

/// `name type flags`; flags: `auto`, `required`, `optional`, `uuid` (key), `generated`, `sub+` (injected on create), `sub~`
/// (on update), `now~`, `day+`.
fn column(text: &str) -> Column {
    let mut words = text.split(' ');
    let name = words.next().unwrap();
    let column_type = match words.next().unwrap() {
        "int" => ColumnType::Int { bits: 32, unsigned: false },
        "long" => ColumnType::Int { bits: 64, unsigned: false },
        "decimal" => ColumnType::Decimal,
        "float" => ColumnType::Float { bits: 64 },
        "bool" => ColumnType::Boolean,
        "text" => ColumnType::Text,
        "uuid" => ColumnType::Uuid,
        "date" => ColumnType::Date,
        "timestamp" => ColumnType::Timestamp,
        "moment" => ColumnType::TimestampTz,
        "json" => ColumnType::Json,
        "texts" => ColumnType::Array(Box::new(ColumnType::Text)),
        other => panic!("no type {other}"),
    };
    let mut column = Column {
        name: name.into(),
        column_type,
        native_type: "".into(),
        nullable: true,
        has_default: false,
        generated: false,
        key: None,
        injection: None,
    };
    let inject = |value, on_create| Some(Injection { value, on_create, on_update: !on_create });
    for flag in words {
        match flag {
            "auto" => column.key = Some(KeyRule::Auto),
            "required" => column.key = Some(KeyRule::Required),
            "optional" => column.key = Some(KeyRule::Optional),
            "uuid" => column.key = Some(KeyRule::Uuid),
            "sequence" => column.key = Some(KeyRule::Sequence("s".into())),
            "generated" => column.generated = true,
            "sub+" => column.injection = inject(Injected::Claim("sub".into()), true),
            "sub~" => column.injection = inject(Injected::Claim("sub".into()), false),
            "team+" => column.injection = inject(Injected::Claim("team.id".into()), true),
            "now~" => column.injection = inject(Injected::Timestamp, false),
            "day+" => column.injection = inject(Injected::Date, true),
            other => panic!("no flag {other}"),
        }
    }
    column
}

fn entity(name: &str, columns: &[&str]) -> Entity {
    let columns: Vec<Column> = columns.iter().map(|text| column(text)).collect();
    let column_ids: HashMap<Arc<str>, ColumnId> =
        columns.iter().enumerate().map(|(at, column)| (Arc::clone(&column.name), at)).collect();
    let primary_key = (0..columns.len()).filter(|at| columns[*at].key.is_some()).collect();
    Entity {
        name: name.into(),
        schema: None,
        table: name.into(),
        view: false,
        columns,
        column_ids,
        primary_key,
        has_triggers: false,
        has_deferred_constraints: false,
        version: None,
        soft_delete: None,
        audit: Vec::new(),
        relations: Vec::new(),
        linked: Vec::new(),
        permissions: None,
    }
}

fn relation(name: &str, kind: RelationKind, other: &str, columns: &[(ColumnId, ColumnId)]) -> Relation {
    Relation { name: name.into(), kind, entity: other.into(), columns: columns.to_vec() }
}

pub struct Fixture {
    pub catalogue: Catalogue,
    pub caller: Caller,
    pub limits: Limits,
    pub options: Options,
    pub grants: Vec<(&'static str, Right, Option<Grant>)>,
}

impl Fixture {
    pub fn new(kind: DatabaseKind) -> Self {
        let mut depot = entity(
            "depot",
            &[
                "depot_id int auto",
                "name text",
                "city text",
                "opened date",
                "doc json",
                "tags texts",
                "live bool",
            ],
        );
        depot.relations = vec![relation("crates", RelationKind::Array, "crate", &[(0, 1)])];
        let mut crates = entity(
            "crate",
            &[
                "crate_id long auto",
                "depot_id int",
                "label text",
                "weight decimal",
                "reading float",
                "armed bool",
                "made_at moment",
                "guid uuid",
                "total decimal generated",
            ],
        );
        crates.relations = vec![
            relation("depot", RelationKind::Object, "depot", &[(1, 0)]),
            relation("sheet", RelationKind::Object, "sheet", &[(1, 0)]),
        ];
        let badge = entity("badge", &["badge_code text required", "holder text"]);
        let mut meter = entity("meter", &["meter_id int auto", "serial_no text", "rev int", "owner text"]);
        meter.version = Some(Version { column: 2, kind: VersionKind::Integer });
        let mut clockwork = entity("clockwork", &["id uuid uuid", "body text", "rev moment"]);
        clockwork.version = Some(Version { column: 2, kind: VersionKind::Timestamp });
        let mut stamp = entity("stamp", &["id int sequence", "body text", "rev uuid"]);
        stamp.version = Some(Version { column: 2, kind: VersionKind::Uuid });
        let mut sheet =
            entity("sheet", &["sheet_id int auto", "title text", "removed_at timestamp", "removed_by text"]);
        sheet.soft_delete = Some(SoftDelete::NullCheck { column: 2 });
        sheet.audit = vec![3];
        let mut lamp = entity("lamp", &["lamp_id int auto", "colour text", "live bool", "rev int"]);
        lamp.soft_delete = Some(SoftDelete::BooleanFlag { column: 2, active_value: true });
        lamp.version = Some(Version { column: 3, kind: VersionKind::Integer });
        let mut ticket = entity("ticket", &["ticket_id int auto", "subject text", "state text"]);
        let values = vec!["void".to_owned(), "gone".to_owned()];
        ticket.soft_delete =
            Some(SoftDelete::ExcludeValues { column: 2, values, delete_value: "void".into() });
        let trail = entity(
            "trail",
            &[
                "trail_id int auto",
                "body text",
                "made_by text sub+",
                "touched_by text sub~",
                "made_on date day+",
                "touched_at moment now~",
            ],
        );
        let team = entity("team", &["id int auto", "team int team+"]);
        let pair = entity("pair", &["a int required", "b int optional", "note text"]);
        let vault = entity("vault", &["vault_id int auto", "owner text", "pin text"]);
        let mut report = entity("report", &["id int", "body text"]);
        report.view = true;
        let entities = [
            depot, crates, badge, meter, clockwork, stamp, sheet, lamp, ticket, trail, team, pair, vault,
            report,
        ];
        let statement = NamedStatement {
            name: "busiest".into(),
            sql: "SELECT 1".into(),
            parameters: vec![
                ("since".into(), ColumnType::Date),
                ("most".into(), ColumnType::Int { bits: 32, unsigned: false }),
            ],
            columns: vec![column("city text"), column("crates long")],
            roles: vec!["planner".into()],
        };
        Self {
            catalogue: Catalogue {
                database: "main".into(),
                kind,
                entities: entities
                    .into_iter()
                    .map(|entity| (Arc::clone(&entity.name), Arc::new(entity)))
                    .collect(),
                statements: HashMap::from([("busiest".into(), Arc::new(statement))]),
                enforced_by_database: false,
            },
            caller: Caller {
                issuer: "i".into(),
                subject: "u1".into(),
                roles: vec!["planner".into()],
                claims: json!({"team": {"id": 7}}).as_object().unwrap().clone(),
            },
            limits: Limits::default(),
            options: Options::default(),
            grants: Vec::new(),
        }
    }

    pub fn entity(&self, name: &str) -> &Arc<Entity> {
        &self.catalogue.entities[name]
    }

    /// The caller may do this with these columns of an entity and the rows of the filter.
    pub fn grant(mut self, name: &'static str, right: Right, columns: &[&str], filter: Condition) -> Self {
        let meta = &self.entity(name).columns;
        let columns = meta.iter().map(|column| columns.contains(&&*column.name)).collect();
        self.grants.push((name, right, Some(Grant { columns, filter })));
        self
    }

    /// The caller may not do this with an entity.
    pub fn deny(mut self, name: &'static str, right: Right) -> Self {
        self.grants.push((name, right, None));
        self
    }

    pub fn batch(&self, operations: Json) -> Vec<Result<CheckedOperation, OperationError>> {
        let body = serde_json::to_vec(&json!({ "operations": operations })).unwrap();
        let (request, _) = parse(&body, &self.limits, OperationClaims::Narrow).expect("a request");
        let cx = CheckContext {
            catalogue: &self.catalogue,
            caller: &self.caller,
            limits: &self.limits,
            options: &self.options,
        };
        let desk = Desk::new(cx);
        for (name, right, grant) in &self.grants {
            desk.preset(self.entity(name), *right, grant.clone());
        }
        check_all_at(&request.operations, &desk)
    }

    /// The last operation of a batch.
    pub fn last(&self, operations: Json) -> Result<CheckedOperation, OperationError> {
        self.batch(operations).pop().unwrap()
    }

    pub fn one(&self, operation: Json) -> Result<CheckedOperation, OperationError> {
        self.last(json!([operation]))
    }

    pub fn read(&self, name: &str, query: Json) -> Result<CheckedOperation, OperationError> {
        self.one(json!({"entity": name, "action": "read", "query_params": query}))
    }

    pub fn read_with(&self, name: &str, metadata: Json) -> Result<CheckedOperation, OperationError> {
        self.one(json!({"entity": name, "action": "read", "metadata_params": metadata}))
    }

    pub fn bind(
        &self,
        checked: &CheckedOperation,
        results: &[Option<OperationResult>],
    ) -> Result<BoundOperation, OperationError> {
        self.bind_warned(checked, results).0
    }

    pub fn bind_warned(
        &self,
        checked: &CheckedOperation,
        results: &[Option<OperationResult>],
    ) -> (Result<BoundOperation, OperationError>, Vec<Warning>) {
        let mut warnings = Vec::new();
        let mut bytes_left = self.limits.resolved_bytes;
        let results = Results(results);
        let bound = checked.bind(
            &results,
            &mut BindContext {
                now: NOW.parse().unwrap(),
                limits: &self.limits,
                new_uuid: &mut || UUID.to_owned(),
                bytes_left: &mut bytes_left,
                warnings: &mut warnings,
            },
        );
        (bound, warnings)
    }

    /// The operation as text, its references found in `results`.
    pub fn shown(&self, checked: &CheckedOperation, results: &[Option<OperationResult>]) -> String {
        show(&self.bind(checked, results).expect("bound"))
    }

    /// What a read of these `query_params` asks for, or the code of its error.
    pub fn condition(&self, name: &str, query: Json) -> String {
        let bound = self.read(name, query).and_then(|checked| self.bind(&checked, &[]));
        match bound.map(|bound| (bound.entity, bound.work)) {
            Ok((Some(entity), Work::Read { condition, .. })) => show_condition(&condition, &entity),
            Ok(_) => panic!("a read was expected"),
            Err(error) => error.code.to_owned(),
        }
    }
}

struct Results<'a>(&'a [Option<OperationResult>]);

impl crate::batch::reference::Results for Results<'_> {
    fn result(&self, operation: usize) -> Option<&OperationResult> {
        self.0.get(operation)?.as_ref()
    }
}

/// Rows that an operation answered: names, and JSON rows.
pub fn result(names: &[&str], rows: Json) -> Option<OperationResult> {
    let cell = |value: &Json| match value {
        Json::Null => Value::Null,
        Json::Bool(flag) => Value::Bool(*flag),
        Json::Number(number) => match number.as_i64() {
            Some(number) => Value::Int(number),
            None => Value::Number(number.to_string().into()),
        },
        Json::String(text) => Value::Text(text.clone()),
        document => Value::Json(document.to_string().into()),
    };
    Some(OperationResult {
        names: names.iter().map(|name| Arc::from(*name)).collect(),
        rows: rows
            .as_array()
            .unwrap()
            .iter()
            .map(|row| row.as_array().unwrap().iter().map(cell).collect())
            .collect(),
        count: None,
        associations: Vec::new(),
    })
}

pub fn names(entity: &Entity, columns: &[ColumnId]) -> String {
    let names: Vec<&str> = columns.iter().map(|column| &*entity.columns[*column].name).collect();
    names.join(" ")
}

pub fn show(bound: &BoundOperation) -> String {
    let none = entity("none", &[]);
    let entity = bound.entity.as_deref().unwrap_or(&none);
    let condition_text = |condition: &Condition| show_condition(condition, entity);
    match &bound.work {
        Work::Create { columns, rows, must_hold } => {
            let rows: Vec<String> = rows
                .iter()
                .map(|row| {
                    let cells = columns.iter().zip(row);
                    let cells: Vec<String> = cells
                        .map(|(column, value)| {
                            format!("{}={}", entity.columns[*column].name, value.to_json())
                        })
                        .collect();
                    cells.join(" ")
                })
                .collect();
            format!("create {} | {}", rows.join("; "), condition_text(must_hold))
        }
        Work::Read { condition, sort, limit, offset, lock } => {
            let sort: Vec<String> = sort
                .iter()
                .map(|key| {
                    let direction = if key.descending { " desc" } else { "" };
                    match &key.through {
                        None => format!("{}{direction}", entity.columns[key.column].name),
                        Some((other, _)) => {
                            format!("{}.{}{direction}", other.name, other.columns[key.column].name)
                        }
                    }
                })
                .collect();
            format!("read {} | {} | {limit}+{offset} {lock:?}", condition_text(condition), sort.join(","))
        }
        Work::Count { condition } => format!("count {}", condition_text(condition)),
        Work::Update { set, condition, must_hold, rows_max } => {
            let set: Vec<String> = set
                .iter()
                .map(|(column, assignment)| {
                    let name = &entity.columns[*column].name;
                    match assignment {
                        Assignment::Increment => format!("{name}++"),
                        Assignment::Value(value) => format!("{name}={}", value.to_json()),
                    }
                })
                .collect();
            format!(
                "update {} | {} | {} | {rows_max}",
                set.join(" "),
                condition_text(condition),
                condition_text(must_hold)
            )
        }
        Work::Delete { condition, rows_max } => format!("delete {} | {rows_max}", condition_text(condition)),
        Work::Statement { statement, parameters, limit } => {
            let values: Vec<String> = parameters.iter().map(Value::to_json).collect();
            format!("statement {}({}) {limit}", statement.name, values.join(", "))
        }
    }
}

pub fn show_condition(condition: &Condition, entity: &Entity) -> String {
    let many = |parts: &[Condition], between: &str| {
        let parts: Vec<String> = parts.iter().map(|part| show_condition(part, entity)).collect();
        format!("({})", parts.join(between))
    };
    match condition {
        Condition::True => "true".into(),
        Condition::False => "false".into(),
        Condition::All(parts) => many(parts, " & "),
        Condition::Any(parts) => many(parts, " or "),
        Condition::Not(part) => format!("not {}", show_condition(part, entity)),
        Condition::Column(column, test) => format!("{} {}", entity.columns[*column].name, show_test(test)),
        Condition::Related { entity: other, columns, condition } => {
            let pairs: Vec<String> = columns
                .iter()
                .map(|(here, there)| format!("{}={}", entity.columns[*here].name, other.columns[*there].name))
                .collect();
            format!("some {}[{}: {}]", other.name, pairs.join(","), show_condition(condition, other))
        }
    }
}

fn show_test(test: &Test) -> String {
    let list = |values: &[Value]| {
        let values: Vec<String> = values.iter().map(Value::to_json).collect();
        format!("[{}]", values.join(", "))
    };
    let pattern = |pattern: &Pattern| {
        let parts: Vec<String> = pattern
            .0
            .iter()
            .map(|part| match part {
                PatternPart::Literal(text) => format!("<{text}>"),
                PatternPart::Any => "*".into(),
                PatternPart::One => "?".into(),
            })
            .collect();
        parts.concat()
    };
    match test {
        Test::Eq(value) => format!("= {}", value.to_json()),
        Test::Ne(value) => format!("<> {}", value.to_json()),
        Test::Lt(value) => format!("< {}", value.to_json()),
        Test::Le(value) => format!("<= {}", value.to_json()),
        Test::Gt(value) => format!("> {}", value.to_json()),
        Test::Ge(value) => format!(">= {}", value.to_json()),
        Test::In(values) => format!("in {}", list(values)),
        Test::NotIn(values) => format!("not in {}", list(values)),
        Test::Between(low, high) => format!("between {} {}", low.to_json(), high.to_json()),
        Test::NotBetween(low, high) => format!("not between {} {}", low.to_json(), high.to_json()),
        Test::Like(parts) => format!("like {}", pattern(parts)),
        Test::NotLike(parts) => format!("not like {}", pattern(parts)),
        Test::IsNull => "null".into(),
        Test::NotNull => "not null".into(),
    }
}
