//! The catalogue: which entities a database has, and how each may be used.
//!
//! It is made from two things: what the database says of itself ([`TableFacts`], read by [`crate::database`]), and what no
//! database knows and the config says (version column, soft delete, injection, permissions, names). A catalogue never
//! changes: a reload makes another one, and a running batch keeps the one it was planned with.
//!
//! Text of a request is looked up here and never used itself: every identifier that reaches SQL is one of these.

pub mod build;
mod entity;
pub mod nearest;
mod relations;
pub mod settings;

use std::collections::HashMap;
use std::sync::Arc;

use super::access::rules::Permissions;
pub use settings::{CatalogueSettings, EntitySettings, SettingFault, StatementSettings};

/// Position of a column in [`Entity::columns`].
pub type ColumnId = usize;

/// What a column holds, as far as the contract tells apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ColumnType {
    /// Whole numbers of so many bits: 8, 16, 24, 32 or 64.
    Int {
        /// Bits.
        bits: u8,
        /// Whether it starts at zero.
        unsigned: bool,
    },
    /// Exact decimals.
    Decimal,
    /// Binary floats of 32 or 64 bits.
    Float {
        /// Bits.
        bits: u8,
    },
    /// True or false.
    Boolean,
    /// Text.
    Text,
    /// UUID.
    Uuid,
    /// One of a list of texts.
    Enum(Arc<[Box<str>]>),
    /// Day.
    Date,
    /// Time of day.
    Time,
    /// Day and time without a zone.
    Timestamp,
    /// A moment.
    TimestampTz,
    /// Bytes.
    Bytes,
    /// JSON document.
    Json,
    /// A list of such (PostgreSQL).
    Array(Box<ColumnType>),
    /// Anything else: text in, text out, judged by the database.
    Other,
    /// SQLite's column without a declared type: holds what it is given.
    Any,
}

/// How a primary key, or any column, gets its value in a create.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyRule {
    /// The database makes it; it may not be sent.
    Auto,
    /// It must be sent.
    Required,
    /// It may be sent; the database has a default.
    Optional,
    /// From the named sequence; it may not be sent. PostgreSQL and MariaDB.
    Sequence(Arc<str>),
    /// A new random UUID is made by penstock; it may not be sent.
    Uuid,
}

/// What penstock stores in a column by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Injected {
    /// The caller's claim of this name; missing, the operation fails with 403.
    Claim(Arc<str>),
    /// The moment of the batch.
    Timestamp,
    /// The day of the batch, UTC.
    Date,
    /// A new random UUID.
    Uuid,
}

/// When [`Injected`] is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Injection {
    /// What.
    pub value: Injected,
    /// In a create.
    pub on_create: bool,
    /// In an update.
    pub on_update: bool,
}

/// One column.
#[derive(Debug, Clone)]
pub struct Column {
    /// Its name, exact.
    pub name: Arc<str>,
    /// What it holds.
    pub column_type: ColumnType,
    /// The database's own name of the type, for casts: `integer`, `numeric(10,2)`, `public.mood`.
    pub native_type: Arc<str>,
    /// Whether it takes null.
    pub nullable: bool,
    /// Whether the database fills it when a create leaves it out.
    pub has_default: bool,
    /// Whether it is computed: never written.
    pub generated: bool,
    /// How a create fills it, for columns of the primary key; `None` for any other column.
    pub key: Option<KeyRule>,
    /// What penstock stores in it.
    pub injection: Option<Injection>,
}

/// How the version column of an entity counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VersionKind {
    /// 1, then one more.
    Integer,
    /// The moment of the batch.
    Timestamp,
    /// A new random UUID.
    Uuid,
}

/// The version column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Version {
    /// Which column.
    pub column: ColumnId,
    /// How it counts.
    pub kind: VersionKind,
}

/// What a delete stores instead of removing the row.
#[derive(Debug, Clone, PartialEq)]
pub enum SoftDelete {
    /// The moment of the batch; a row with null is there.
    NullCheck {
        /// Which column.
        column: ColumnId,
    },
    /// The opposite of `active_value`.
    BooleanFlag {
        /// Which column.
        column: ColumnId,
        /// What a row that is there holds.
        active_value: bool,
    },
    /// `delete_value`; rows with one of `values` are hidden.
    ExcludeValues {
        /// Which column.
        column: ColumnId,
        /// Values of removed rows.
        values: Vec<String>,
        /// What a delete stores.
        delete_value: String,
    },
}

impl SoftDelete {
    /// Which column.
    pub fn column(&self) -> ColumnId {
        match self {
            Self::NullCheck { column }
            | Self::BooleanFlag { column, .. }
            | Self::ExcludeValues { column, .. } => *column,
        }
    }
}

/// Where the key of a relation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RelationKind {
    /// Here: the other side is one row.
    Object,
    /// There: the other side is a list.
    Array,
}

/// A relation to another entity of the same database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Relation {
    /// Its name in requests and answers.
    pub name: Arc<str>,
    /// One row or a list.
    pub kind: RelationKind,
    /// Exposed name of the other entity: a key of [`Catalogue::entities`].
    pub entity: Arc<str>,
    /// Pairs of (column here, column there) that are equal.
    pub columns: Vec<(ColumnId, ColumnId)>,
}

/// A table or view that requests may name.
#[derive(Debug)]
pub struct Entity {
    /// The name in requests: the table's, or `schema.table` when several schemas are exposed.
    pub name: Arc<str>,
    /// Schema; `None` where the database has none.
    pub schema: Option<Arc<str>>,
    /// Table or view.
    pub table: Arc<str>,
    /// Whether it is a view: read-only.
    pub view: bool,
    /// Columns that are exposed, in the table's order.
    pub columns: Vec<Column>,
    /// Positions by name.
    pub column_ids: HashMap<Arc<str>, ColumnId>,
    /// Columns of the primary key; empty when there is none.
    pub primary_key: Vec<ColumnId>,
    /// Whether triggers or rules of the user run when it is written.
    pub has_triggers: bool,
    /// Whether it has a constraint that is judged at COMMIT.
    pub has_deferred_constraints: bool,
    /// Version column.
    pub version: Option<Version>,
    /// Soft delete.
    pub soft_delete: Option<SoftDelete>,
    /// Columns that a delete sets from the caller's `sub` (soft delete only).
    pub audit: Vec<ColumnId>,
    /// Relations by name.
    pub relations: Vec<Relation>,
    /// Exposed names of the entities that foreign keys tie to this one, either way and through however many tables
    /// (a cascade follows them all), sorted; this one among them if it refers to itself.
    pub linked: Vec<Arc<str>>,
    /// Who may do what; `None` when no rule exists: everybody everything.
    pub permissions: Option<Permissions>,
}

impl Entity {
    /// The column of this name.
    pub fn column_id(&self, name: &str) -> Option<ColumnId> {
        self.column_ids.get(name).copied()
    }

    /// The relation of this name.
    pub fn relation(&self, name: &str) -> Option<&Relation> {
        self.relations.iter().find(|relation| &*relation.name == name)
    }
}

/// Which kind of database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DatabaseKind {
    /// SQLite file.
    Sqlite,
    /// PostgreSQL.
    Postgres,
    /// MariaDB or MySQL.
    Mysql,
}

/// A read-only statement of the config that requests call as an entity with action `read`.
#[derive(Debug)]
pub struct NamedStatement {
    /// The name in requests.
    pub name: Arc<str>,
    /// SQL with `:name` parameters, as the config has it.
    pub sql: Arc<str>,
    /// Parameters by name, in the order in which they are bound.
    pub parameters: Vec<(Arc<str>, ColumnType)>,
    /// Columns of its answer by name; found by preparing it.
    pub columns: Vec<Column>,
    /// Roles that may call it; empty: everybody who may use `/batch`. `*` any role, `public` everybody.
    pub roles: Vec<String>,
}

/// All entities of one database.
#[derive(Debug)]
pub struct Catalogue {
    /// Name of the database in the config.
    pub database: Arc<str>,
    /// Kind.
    pub kind: DatabaseKind,
    /// Entities by exposed name.
    pub entities: HashMap<Arc<str>, Arc<Entity>>,
    /// Named statements by name.
    pub statements: HashMap<Arc<str>, Arc<NamedStatement>>,
    /// Whether PostgreSQL's own roles and policies decide about rows and columns, beside our rules.
    pub enforced_by_database: bool,
}

/// What a database says of one table. Columns of hidden rows, system tables and `penstock_*` are left out by the reader.
#[derive(Debug, Clone, PartialEq)]
pub struct TableFacts {
    /// Schema, where there is one.
    pub schema: Option<String>,
    /// Table or view.
    pub table: String,
    /// Whether it is a view.
    pub view: bool,
    /// Columns in order.
    pub columns: Vec<ColumnFacts>,
    /// Names of the primary key's columns in key order.
    pub primary_key: Vec<String>,
    /// Foreign keys of this table.
    pub foreign_keys: Vec<ForeignKeyFacts>,
    /// Whether the user has triggers or rules on it.
    pub has_triggers: bool,
    /// Whether one of its constraints can be judged at COMMIT.
    pub has_deferred_constraints: bool,
}

/// What a database says of one column.
#[derive(Debug, Clone, PartialEq)]
pub struct ColumnFacts {
    /// Name.
    pub name: String,
    /// Type.
    pub column_type: ColumnType,
    /// The database's name of the type.
    pub native_type: String,
    /// Whether it takes null.
    pub nullable: bool,
    /// Whether it has a default.
    pub has_default: bool,
    /// Whether the database numbers it: identity, serial, AUTO_INCREMENT, rowid.
    pub auto_increment: bool,
    /// Whether it is computed.
    pub generated: bool,
}

/// A foreign key as the database says it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForeignKeyFacts {
    /// Columns here.
    pub columns: Vec<String>,
    /// Schema of the other table, where there is one.
    pub schema: Option<String>,
    /// The other table.
    pub table: String,
    /// Columns there.
    pub referenced: Vec<String>,
}
