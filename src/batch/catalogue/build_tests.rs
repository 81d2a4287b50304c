//! What becomes of tables and settings, and which settings are refused.

use rstest::rstest;

use super::*;
use crate::batch::access::Caller;
use crate::batch::access::rules::Right;
use crate::batch::catalogue::settings::*;
use crate::batch::catalogue::*;

const INT: ColumnType = ColumnType::Int { bits: 64, unsigned: false };

fn column(name: &str, column_type: ColumnType) -> ColumnFacts {
    ColumnFacts {
        name: name.to_owned(),
        native_type: format!("{column_type:?}").split([' ', '(']).next().unwrap_or_default().to_lowercase(),
        column_type,
        nullable: true,
        has_default: false,
        auto_increment: false,
        generated: false,
    }
}

/// The first column is the numbered key.
fn table(name: &str, mut columns: Vec<ColumnFacts>) -> TableFacts {
    columns[0].auto_increment = true;
    columns[0].nullable = false;
    TableFacts {
        schema: None,
        table: name.to_owned(),
        view: false,
        primary_key: vec![columns[0].name.clone()],
        columns,
        foreign_keys: Vec::new(),
        has_triggers: false,
        has_deferred_constraints: false,
    }
}

fn refers(mut table: TableFacts, column: &str, other: &str, referenced: &str) -> TableFacts {
    table.foreign_keys.push(ForeignKeyFacts {
        columns: vec![column.to_owned()],
        schema: None,
        table: other.to_owned(),
        referenced: if referenced.is_empty() { Vec::new() } else { vec![referenced.to_owned()] },
    });
    table
}

fn customer() -> TableFacts {
    let mut name = column("name", ColumnType::Text);
    name.nullable = false;
    let mut code = column("code", ColumnType::Text);
    code.has_default = true;
    let mut total = column("total", ColumnType::Decimal);
    total.generated = true;
    table(
        "customer",
        vec![
            column("customer_id", INT),
            name,
            code,
            total,
            column("rev", INT),
            column("removed_at", ColumnType::Text),
            column("live", ColumnType::Boolean),
            column("state", ColumnType::Enum(["open".into(), "void".into()].into())),
            column("made_by", ColumnType::Text),
            column("made_at", ColumnType::TimestampTz),
            column("photo", ColumnType::Bytes),
        ],
    )
}

fn invoice() -> TableFacts {
    let columns = vec![
        column("invoice_id", INT),
        column("billing_id", INT),
        column("shipping_id", INT),
        column("customer_id", INT),
    ];
    let invoice = refers(table("invoice", columns), "billing_id", "address", "address_id");
    let invoice = refers(invoice, "shipping_id", "address", "");
    refers(invoice, "customer_id", "customer", "customer_id")
}

fn address() -> TableFacts {
    table("address", vec![column("address_id", INT), column("city", ColumnType::Text)])
}

fn pair() -> TableFacts {
    let mut pair = table("pair", vec![column("left_id", INT), column("right_id", INT)]);
    pair.columns[0].auto_increment = false;
    pair.primary_key = vec!["left_id".to_owned(), "right_id".to_owned()];
    pair
}

fn customers_seen() -> TableFacts {
    TableFacts { view: true, primary_key: Vec::new(), ..TableFacts { table: "seen".to_owned(), ..address() } }
}

fn all() -> Vec<TableFacts> {
    vec![customer(), invoice(), address(), pair(), customers_seen()]
}

fn build_of(facts: Vec<TableFacts>, entities: Vec<EntitySettings>) -> Result<Catalogue, Vec<SettingFault>> {
    let settings = CatalogueSettings { entities, ..CatalogueSettings::default() };
    Catalogue::build("shop", DatabaseKind::Sqlite, facts, &settings, Vec::new())
}

fn good(entity: EntitySettings) -> Arc<Entity> {
    let name = entity.name.clone();
    build_of(all(), vec![entity]).unwrap().entities[&*name].clone()
}

fn entity(name: &str) -> EntitySettings {
    EntitySettings { name: name.to_owned(), ..EntitySettings::default() }
}

fn relations(catalogue: &Catalogue, entity: &str) -> Vec<(String, RelationKind, String)> {
    let entity = &catalogue.entities[entity];
    let say = |one: &Relation| (one.name.to_string(), one.kind, one.entity.to_string());
    entity.relations.iter().map(say).collect()
}

fn said(name: &str, kind: RelationKind, entity: &str) -> (String, RelationKind, String) {
    (name.to_owned(), kind, entity.to_owned())
}

#[test]
fn keys_follow_from_the_table() {
    let catalogue = build_of(all(), vec![]).unwrap();
    let key = |entity: &str, column: &str| {
        let entity = &catalogue.entities[entity];
        entity.columns[entity.column_id(column).unwrap()].key.clone()
    };
    assert_eq!(key("customer", "customer_id"), Some(KeyRule::Auto));
    assert_eq!(key("customer", "code"), None);
    assert_eq!(key("pair", "right_id"), Some(KeyRule::Required));
    assert_eq!(catalogue.entities["pair"].primary_key, [0, 1]);
    assert!(catalogue.entities["customer"].permissions.is_none());
}

#[test]
fn relations_are_named_by_their_columns_and_longer_where_two_would_share_a_name() {
    use RelationKind::{Array, Object};
    let catalogue = build_of(all(), vec![]).unwrap();
    assert_eq!(
        relations(&catalogue, "invoice"),
        [
            said("billing", Object, "address"),
            said("shipping", Object, "address"),
            said("customer", Object, "customer")
        ]
    );
    assert_eq!(
        relations(&catalogue, "address"),
        [said("invoice_by_billing", Array, "invoice"), said("invoice_by_shipping", Array, "invoice")]
    );
    assert_eq!(relations(&catalogue, "customer"), [said("invoice", Array, "invoice")]);
    let shipping = catalogue.entities["address"].relation("invoice_by_shipping").unwrap();
    assert_eq!(shipping.columns, [(0, 2)], "of (column here, column there)");
}

#[test]
fn the_order_of_the_tables_changes_nothing() {
    let (forward, backward) = (build_of(all(), vec![]).unwrap(), {
        let mut facts = all();
        facts.reverse();
        facts.iter_mut().for_each(|table| table.foreign_keys.reverse());
        build_of(facts, vec![]).unwrap()
    });
    for name in forward.entities.keys() {
        assert_eq!(relations(&forward, name), relations(&backward, name));
        assert_eq!(forward.entities[name].linked, backward.entities[name].linked);
    }
}

#[test]
fn a_table_that_refers_to_itself_has_a_parent_and_a_list() {
    use RelationKind::{Array, Object};
    let node = refers(
        table("node", vec![column("node_id", INT), column("parent_id", INT)]),
        "parent_id",
        "node",
        "",
    );
    let catalogue = build_of(vec![node], vec![]).unwrap();
    assert_eq!(relations(&catalogue, "node"), [said("parent", Object, "node"), said("node", Array, "node")]);
    assert_eq!(*catalogue.entities["node"].linked, ["node".into()]);
}

#[test]
fn a_relation_never_has_the_name_of_a_column() {
    let columns = vec![column("a_id", INT), column("b_id", INT), column("b", INT), column("b_by_b", INT)];
    let a = refers(table("a", columns), "b_id", "b", "");
    let b = table("b", vec![column("b_id", INT)]);
    let catalogue = build_of(vec![a, b], vec![]).unwrap();
    assert_eq!(relations(&catalogue, "a"), [said("b_by_b_2", RelationKind::Object, "b")]);
}

#[test]
fn links_reach_through_hidden_tables_and_hidden_columns() {
    let mut hidden = entity("invoice");
    hidden.expose = false;
    let catalogue = build_of(all(), vec![hidden]).unwrap();
    assert!(!catalogue.entities.contains_key("invoice"));
    assert_eq!(*catalogue.entities["customer"].linked, ["address".into()]);
    assert!(catalogue.entities["pair"].linked.is_empty());
    assert!(relations(&catalogue, "customer").is_empty());

    let mut columns_hidden = entity("invoice");
    columns_hidden.hidden = vec!["customer_id".to_owned()];
    let catalogue = build_of(all(), vec![columns_hidden]).unwrap();
    assert!(catalogue.entities["invoice"].column_id("customer_id").is_none());
    assert!(relations(&catalogue, "customer").is_empty());
    assert_eq!(*catalogue.entities["customer"].linked, ["address".into(), "invoice".into()]);
}

#[test]
fn a_relation_of_the_config_takes_the_place_of_the_one_found() {
    let mut settings = entity("customer");
    let columns = vec![("customer_id".to_owned(), "customer_id".to_owned())];
    settings.relations = vec![RelationSetting {
        name: "bills".to_owned(),
        kind: RelationKind::Array,
        entity: "invoice".to_owned(),
        columns,
    }];
    let catalogue = build_of(all(), vec![settings]).unwrap();
    assert_eq!(relations(&catalogue, "customer"), [said("bills", RelationKind::Array, "invoice")]);
}

#[test]
fn several_schemas_make_longer_names() {
    let in_schema = |mut table: TableFacts, schema: &str| {
        table.schema = Some(schema.to_owned());
        table
    };
    let facts = || {
        vec![
            in_schema(customer(), "public"),
            in_schema(customer(), "archive"),
            in_schema(invoice(), "public"),
        ]
    };
    let build = |schemas: &[&str]| {
        let schemas = schemas.iter().map(|schema| (*schema).to_owned()).collect();
        let settings = CatalogueSettings { schemas, ..CatalogueSettings::default() };
        Catalogue::build("shop", DatabaseKind::Postgres, facts(), &settings, Vec::new())
    };
    let names = |catalogue: Catalogue| {
        let mut names: Vec<_> = catalogue.entities.keys().map(ToString::to_string).collect();
        names.sort();
        names
    };
    assert_eq!(names(build(&["public"]).unwrap()), ["customer", "invoice"]);
    let both = build(&["public", "archive"]).unwrap();
    assert_eq!(relations(&both, "public.customer"), [said("invoice", RelationKind::Array, "public.invoice")]);
    assert!(relations(&both, "archive.customer").is_empty());
    assert_eq!(names(both), ["archive.customer", "public.customer", "public.invoice"]);
    let faults = build(&["pubic"]).map(|_| ()).expect_err("no such schema");
    assert!(faults[0].why.contains("did you mean `public`?"), "{faults:?}");
}

#[test]
fn what_the_config_says_is_in_the_entity() {
    let mut settings = entity("customer");
    settings.version = Some(VersionSetting { column: "rev".to_owned(), kind: None });
    settings.soft_delete = Some(SoftDeleteSetting::NullCheck { column: "removed_at".to_owned() });
    settings.audit = vec!["name".to_owned()];
    settings.inject = vec![InjectSetting {
        column: "made_by".to_owned(),
        value: Injected::Claim("sub".into()),
        on_create: true,
        on_update: false,
    }];
    settings.key = KeySetting::One(KeyRule::Required);
    settings.permissions = Some(vec![RuleSetting {
        right: Right::Read,
        role: "clerk".to_owned(),
        grant: GrantSetting::Some { columns: Some("name|rev".to_owned()), filter: None },
    }]);
    let entity = good(settings);
    assert_eq!(entity.version, Some(Version { column: 4, kind: VersionKind::Integer }));
    assert_eq!(entity.soft_delete, Some(SoftDelete::NullCheck { column: 5 }));
    assert_eq!(entity.audit, [1]);
    assert_eq!(entity.columns[0].key, Some(KeyRule::Required));
    assert!(entity.columns[8].injection.is_some());
    let clerk = Caller { roles: vec!["clerk".into()], ..Caller::default() };
    let grant = entity.grant(&clerk, Right::Read).unwrap();
    let covered: Vec<_> = (0..entity.columns.len()).filter(|id| grant.columns[*id]).collect();
    assert_eq!(covered, [1, 4]);
    assert!(entity.grant(&clerk, Right::Write).is_none());
}

#[test]
fn an_injected_key_is_neither_missing_nor_forbidden() {
    let mut settings = entity("pair");
    settings.inject = vec![InjectSetting {
        column: "left_id".to_owned(),
        value: Injected::Claim("tenant".into()),
        on_create: true,
        on_update: false,
    }];
    assert_eq!(good(settings).columns[0].key, Some(KeyRule::Optional));
}

fn version(column: &str, kind: Option<VersionKind>) -> EntitySettings {
    EntitySettings { version: Some(VersionSetting { column: column.to_owned(), kind }), ..entity("customer") }
}

fn soft_delete(setting: SoftDeleteSetting) -> EntitySettings {
    EntitySettings { soft_delete: Some(setting), ..entity("customer") }
}

fn inject(column: &str, value: Injected, on_update: bool) -> EntitySettings {
    let column = column.to_owned();
    let inject = vec![InjectSetting { column, value, on_create: true, on_update }];
    EntitySettings { inject, ..entity("customer") }
}

fn key(name: &str, key: KeySetting) -> EntitySettings {
    EntitySettings { key, ..entity(name) }
}

fn relation(entity_there: &str, here: &str, there: &str) -> EntitySettings {
    let relations = vec![RelationSetting {
        name: "other".to_owned(),
        kind: RelationKind::Object,
        entity: entity_there.to_owned(),
        columns: vec![(here.to_owned(), there.to_owned())],
    }];
    EntitySettings { relations, ..entity("customer") }
}

fn hidden(column: &str) -> EntitySettings {
    EntitySettings { hidden: vec![column.to_owned()], ..entity("customer") }
}

#[rstest]
#[case(
    entity("custmer"),
    "name: there is no table or view `custmer` that the login may use; did you mean `customer`?"
)]
#[case(hidden("nme"), "hidden: `customer` has no column `nme`; did you mean `name`?")]
#[case(hidden("customer_id"), "hidden: `customer_id` is of the primary key and cannot be hidden")]
#[case(EntitySettings { hidden: vec!["rev".to_owned()], ..version("rev", None) }, "version: column `rev` is hidden")]
#[case(version("rve", None), "version: `customer` has no column `rve`; did you mean `rev`?")]
#[case(version("customer_id", None), "version: column `customer_id` is of the primary key")]
#[case(version("total", None), "version: column `total` is computed by the database")]
#[case(
    version("name", None),
    "version: column `name` is text; it must be integer, timestamp or uuid; or say how it counts"
)]
#[case(version("rev", Some(VersionKind::Uuid)), "version: column `rev` is int; it must be uuid or text")]
#[case(soft_delete(SoftDeleteSetting::NullCheck { column: "name".to_owned() }), "soft_delete: column `name` does not take null")]
#[case(soft_delete(SoftDeleteSetting::NullCheck { column: "live".to_owned() }), "soft_delete: column `live` is boolean")]
#[case(
    soft_delete(SoftDeleteSetting::BooleanFlag { column: "rev".to_owned(), active_value: true }),
    "soft_delete: column `rev` is int; it must be boolean"
)]
#[case(
    soft_delete(SoftDeleteSetting::ExcludeValues {
        column: "state".to_owned(), values: vec!["void".to_owned()], delete_value: "gone".to_owned()
    }),
    "soft_delete: `gone` is none of the values of column `state`"
)]
#[case(
    soft_delete(SoftDeleteSetting::ExcludeValues {
        column: "code".to_owned(), values: vec!["void".to_owned()], delete_value: "gone".to_owned()
    }),
    "soft_delete: `delete_value` (`gone`) is not among `values`"
)]
#[case(EntitySettings { audit: vec!["name".to_owned()], ..entity("customer") }, "audit: needs `soft_delete`")]
#[case(inject("photo", Injected::Claim("sub".into()), false), "inject.photo: column `photo` is bytes")]
#[case(inject("made_at", Injected::Uuid, false), "inject.made_at: column `made_at` is timestamptz")]
#[case(inject("customer_id", Injected::Claim("sub".into()), true), "inject.customer_id: is of the primary key")]
#[case(inject("total", Injected::Claim("sub".into()), false), "inject.total: is computed")]
#[case(
    key("pair", KeySetting::One(KeyRule::Required)),
    "key: the primary key has 2 columns; say which one: `key = { left_id = \"...\", right_id = \"...\" }`"
)]
#[case(key("pair", KeySetting::Columns(vec![("left_id".to_owned(), KeyRule::Auto)])), "key.left_id: the database does not fill `left_id` by itself")]
#[case(key("customer", KeySetting::Columns(vec![("name".to_owned(), KeyRule::Auto)])), "key.name: `name` is not of the primary key")]
#[case(
    key("customer", KeySetting::One(KeyRule::Uuid)),
    "key: column `customer_id` is int; it must be uuid or text"
)]
#[case(key("customer", KeySetting::One(KeyRule::Sequence("s".into()))), "key: SQLite has no sequences")]
#[case(EntitySettings { version: version("city", None).version, ..entity("seen") }, "version: has no use: a view is read-only")]
#[case(
    relation("adress", "rev", "city"),
    "relations.other: there is no entity `adress`; did you mean `address`?"
)]
#[case(
    relation("address", "rev", "cty"),
    "relations.other: `address` has no column `cty`; did you mean `city`?"
)]
#[case(
    relation("address", "rev", "city"),
    "relations.other: column `rev` (int) and column `city` (text) cannot be equal"
)]
#[case(EntitySettings { permissions: Some(vec![]), ..entity("customer") }, "permissions: holds no rule")]
fn a_setting_that_does_not_fit_is_told_by_its_key(#[case] settings: EntitySettings, #[case] expected: &str) {
    let name = settings.name.clone();
    let faults = build_of(all(), vec![settings]).map(|_| ()).expect_err(expected);
    assert!(faults[0].to_string().starts_with(&format!("entity.{name}.{expected}")), "{faults:?}");
}

#[test]
fn all_faults_are_told_at_once_with_the_place_in_the_config() {
    let mut settings = version("rve", None);
    settings.at = "database[0].entity[2]".to_owned();
    settings.hidden = vec!["x".to_owned()];
    settings.permissions = Some(vec![RuleSetting {
        right: Right::Read,
        role: "clerk".to_owned(),
        grant: GrantSetting::Some { columns: Some("nope".to_owned()), filter: Some("nope = 1".to_owned()) },
    }]);
    let faults = build_of(all(), vec![settings, entity("nowhere")]).map(|_| ()).expect_err("faults");
    let keys: Vec<_> = faults.iter().map(|fault| fault.key.as_str()).collect();
    let clerk = "database[0].entity[2].permissions.read.clerk";
    assert_eq!(
        keys,
        [
            "entity.nowhere.name",
            "database[0].entity[2].hidden",
            "database[0].entity[2].version",
            clerk,
            clerk
        ]
    );
}

#[test]
fn a_statement_may_not_have_the_name_of_a_table() {
    let statement = |name: &str| NamedStatement {
        name: name.into(),
        sql: "SELECT 1".into(),
        parameters: Vec::new(),
        columns: Vec::new(),
        roles: Vec::new(),
    };
    let build = |names: &[&str]| {
        let statements = names.iter().map(|name| statement(name)).collect();
        Catalogue::build("shop", DatabaseKind::Sqlite, all(), &CatalogueSettings::default(), statements)
    };
    assert!(build(&["top"]).is_ok_and(|catalogue| catalogue.statements.contains_key("top")));
    for names in [&["customer"][..], &["batch"], &["top", "top"]] {
        assert!(build(names).is_err(), "{names:?}");
    }
}
