//! Whole runs against a database in memory.

mod faults;
mod flights;
mod idempotency;
mod oracle;
mod outcomes;

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use super::fake::Fake;
use super::{BatchRun, Finished, KeyUse, RunSettings, RunWatch};
use crate::batch::access::Caller;
use crate::batch::catalogue::{
    Catalogue, Column, ColumnType, DatabaseKind, Entity, KeyRule, Relation, RelationKind, Version,
    VersionKind,
};
use crate::batch::check::{CheckContext, check_all};
use crate::batch::request::{Limits, OperationClaims, parse};
use crate::batch::value::Value;

/// Customers with invoices with lines; notes with keys of the client; documents with versions; a table with triggers.
pub(super) fn shop() -> Arc<Catalogue> {
    static SHOP: LazyLock<Arc<Catalogue>> = LazyLock::new(|| Arc::new(build_shop()));
    Arc::clone(&SHOP)
}

fn build_shop() -> Catalogue {
    let int = ColumnType::Int { bits: 64, unsigned: false };
    let column = |name: &str, column_type: ColumnType, nullable: bool, key: Option<KeyRule>| Column {
        name: name.into(),
        column_type,
        native_type: "x".into(),
        nullable,
        has_default: false,
        generated: false,
        key,
        injection: None,
    };
    let entity = |name: &str, columns: Vec<Column>, linked: &[&str], relations: Vec<Relation>| Entity {
        name: name.into(),
        schema: None,
        table: name.into(),
        view: false,
        column_ids: columns.iter().enumerate().map(|(id, column)| (column.name.clone(), id)).collect(),
        columns,
        primary_key: vec![0],
        has_triggers: false,
        has_deferred_constraints: false,
        version: None,
        soft_delete: None,
        audit: Vec::new(),
        relations,
        linked: linked.iter().map(|name| Arc::from(*name)).collect(),
        permissions: None,
    };
    let relation = |name: &str, kind, other: &str, here, there| Relation {
        name: name.into(),
        kind,
        entity: other.into(),
        columns: vec![(here, there)],
    };
    let auto = || Some(KeyRule::Auto);
    let (text, money) = (ColumnType::Text, ColumnType::Decimal);
    let customer = entity(
        "customer",
        vec![
            column("customer_id", int.clone(), false, auto()),
            column("name", text.clone(), false, None),
            column("rank", int.clone(), true, None),
        ],
        &["invoice"],
        vec![relation("invoices", RelationKind::Array, "invoice", 0, 1)],
    );
    let invoice = entity(
        "invoice",
        vec![
            column("invoice_id", int.clone(), false, auto()),
            column("customer_id", int.clone(), true, None),
            column("total", money, true, None),
        ],
        &["customer", "line"],
        vec![
            relation("customer", RelationKind::Object, "customer", 1, 0),
            relation("lines", RelationKind::Array, "line", 0, 1),
        ],
    );
    let line = entity(
        "line",
        vec![
            column("line_id", int.clone(), false, auto()),
            column("invoice_id", int.clone(), false, None),
            column("text", text.clone(), true, None),
        ],
        &["invoice"],
        vec![relation("invoice", RelationKind::Object, "invoice", 1, 0)],
    );
    let note = entity(
        "note",
        vec![
            column("note_id", int.clone(), false, Some(KeyRule::Required)),
            column("text", text.clone(), true, None),
        ],
        &[],
        Vec::new(),
    );
    let mut document = entity(
        "document",
        vec![
            column("document_id", int.clone(), false, auto()),
            column("text", text.clone(), true, None),
            column("version", int.clone(), false, None),
        ],
        &[],
        Vec::new(),
    );
    document.version = Some(Version { column: 2, kind: VersionKind::Integer });
    let mut audited = entity(
        "audited",
        vec![column("id", int, false, auto()), column("text", text, true, None)],
        &[],
        Vec::new(),
    );
    audited.has_triggers = true;
    let all = [customer, invoice, line, note, document, audited];
    Catalogue {
        database: "shop".into(),
        kind: DatabaseKind::Sqlite,
        entities: all.into_iter().map(|entity| (entity.name.clone(), Arc::new(entity))).collect(),
        statements: HashMap::new(),
        enforced_by_database: false,
    }
}

/// A batch on its way to a fake database.
pub(super) struct Order {
    pub body: String,
    pub limits: Limits,
    pub settings: RunSettings,
    pub watch: RunWatch,
}

impl Order {
    pub fn new(body: impl Into<String>) -> Self {
        let settings = RunSettings {
            database_kind: DatabaseKind::Postgres,
            statement_timeout: Duration::from_secs(5),
            lock_timeout: Duration::from_secs(2),
            idle_timeout: Duration::from_secs(10),
            batch_timeout: Duration::from_secs(15),
            identity: None,
            idempotency: None,
            seed: 7,
        };
        Self { body: body.into(), limits: Limits::default(), settings, watch: RunWatch::default() }
    }

    /// Operations, and options as JSON.
    pub fn of(operations: &[&str], options: &str) -> Self {
        Self::new(format!(r#"{{"operations":[{}],"options":{options}}}"#, operations.join(",")))
    }

    pub fn key(mut self, scope: &str, fingerprint: u8) -> Self {
        self.settings.idempotency = Some(KeyUse { scope: scope.into(), fingerprint: [fingerprint; 32] });
        self
    }

    pub fn run(&self) -> BatchRun {
        let parsed = parse(self.body.as_bytes(), &self.limits, OperationClaims::Refuse);
        let (request, plan) = parsed.unwrap_or_else(|refusal| panic!("{:?}", refusal.faults));
        let catalogue = shop();
        let caller = Caller::default();
        let cx = CheckContext {
            catalogue: &catalogue,
            caller: &caller,
            limits: &self.limits,
            options: &request.options,
        };
        let checked = check_all(&request.operations, &cx);
        BatchRun::new(
            Arc::from("01TEST"),
            Arc::new(request),
            Arc::new(plan),
            checked,
            Arc::new(self.limits.clone()),
            self.settings.clone(),
            jiff::Timestamp::UNIX_EPOCH,
            self.watch.clone(),
        )
    }

    pub fn on(&self, fake: &mut Fake) -> Told {
        let finished = fake.carry(self.run());
        Told::of(finished)
    }
}

/// A finished run, its answer read.
pub(super) struct Told {
    pub finished: Finished,
    pub json: serde_json::Value,
}

impl Told {
    pub fn of(finished: Finished) -> Self {
        let json = serde_json::from_slice(&finished.answer.body).expect("an answer is JSON");
        Self { finished, json }
    }

    pub fn status(&self) -> u16 {
        self.finished.answer.status
    }

    pub fn at(&self, pointer: &str) -> &serde_json::Value {
        self.json.pointer(pointer).unwrap_or(&serde_json::Value::Null)
    }

    /// `completed`, `failed 409`, `skipped Batch stopped`: one for each id.
    pub fn outcome(&self, id: &str) -> String {
        let entry = &self.json["results"][id];
        match entry["status"].as_str().expect("every operation has an entry") {
            "failed" => format!("failed {}", entry["statusCode"]),
            "skipped" => format!("skipped {}", entry["reason"].as_str().expect("a reason")),
            other => other.to_owned(),
        }
    }
}

/// A fake shop with these customers, numbered from 1.
pub(super) fn shop_with(customers: &[&str]) -> Fake {
    let mut fake = Fake::new(shop());
    for (index, name) in customers.iter().enumerate() {
        let row = vec![Value::Int(index as i64 + 1), Value::Text((*name).into()), Value::Null];
        fake.committed.rows.get_mut("customer").expect("a table").push(row);
    }
    fake
}

/// Names of the customers that are there.
pub(super) fn customers(fake: &Fake) -> Vec<String> {
    fake.committed.rows["customer"]
        .iter()
        .map(|row| match &row[1] {
            Value::Text(name) => name.clone(),
            _ => String::new(),
        })
        .collect()
}

pub(super) fn create_customer(id: &str, name: &str) -> String {
    format!(r#"{{"id":"{id}","entity":"customer","action":"create","store_params":{{"name":"{name}"}}}}"#)
}
