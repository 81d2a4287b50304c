//! What no database knows of its tables and the config says: names, hidden columns, key rules, version, soft delete,
//! injection, audit, permissions, relations, named statements.
//!
//! Plain values as they were written. Whether they fit the tables is judged by [`Catalogue::build`](super::Catalogue::build),
//! which tells everything that does not in one go.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use super::{ColumnType, Injected, KeyRule, RelationKind, VersionKind};
use crate::batch::access::rules::Right;

/// All settings of one database's catalogue.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct CatalogueSettings {
    /// Schemas whose tables are exposed; none given: the database's own default. With several, entities are named
    /// `schema.table`.
    pub schemas: Vec<String>,
    /// Settings of entities, one each.
    pub entities: Vec<EntitySettings>,
    /// Whether PostgreSQL's own roles and policies decide, beside our rules.
    pub enforced_by_database: bool,
}

/// Settings of one entity.
#[derive(Debug, Clone, PartialEq)]
pub struct EntitySettings {
    /// Where it stands in the config, for messages: `database[0].entity[2]`.
    pub at: String,
    /// Exposed name: `table`, or `schema.table` when several schemas are exposed.
    pub name: String,
    /// Whether requests may name it.
    pub expose: bool,
    /// Columns that requests may not name, at all.
    pub hidden: Vec<String>,
    /// How the primary key gets its value.
    pub key: KeySetting,
    /// Version column.
    pub version: Option<VersionSetting>,
    /// What penstock stores by itself.
    pub inject: Vec<InjectSetting>,
    /// What a delete stores instead of removing the row.
    pub soft_delete: Option<SoftDeleteSetting>,
    /// Columns that a soft delete sets from the caller's `sub`.
    pub audit: Vec<String>,
    /// Rules by action and role; `None` when nothing was written: everybody everything.
    pub permissions: Option<Vec<RuleSetting>>,
    /// Relations beside those of the foreign keys, or other names for them.
    pub relations: Vec<RelationSetting>,
}

impl Default for EntitySettings {
    fn default() -> Self {
        Self {
            at: String::new(),
            name: String::new(),
            expose: true,
            hidden: Vec::new(),
            key: KeySetting::AsFound,
            version: None,
            inject: Vec::new(),
            soft_delete: None,
            audit: Vec::new(),
            permissions: None,
            relations: Vec::new(),
        }
    }
}

/// How the primary key gets its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeySetting {
    /// As the database says: numbered = auto, with a default = optional, else required.
    AsFound,
    /// This, for the one column of the key.
    One(KeyRule),
    /// By column, for a key of several.
    Columns(Vec<(String, KeyRule)>),
}

/// The version column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VersionSetting {
    /// Which.
    pub column: String,
    /// How it counts; `None`: as the column's type says.
    pub kind: Option<VersionKind>,
}

/// What penstock stores in one column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InjectSetting {
    /// Which.
    pub column: String,
    /// What.
    pub value: Injected,
    /// In a create.
    pub on_create: bool,
    /// In an update.
    pub on_update: bool,
}

/// What a delete stores instead of removing the row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SoftDeleteSetting {
    /// The moment; a row with null is there.
    NullCheck {
        /// Which column.
        column: String,
    },
    /// The opposite of `active_value`.
    BooleanFlag {
        /// Which column.
        column: String,
        /// What a row that is there holds.
        active_value: bool,
    },
    /// `delete_value`; rows with one of `values` are hidden.
    ExcludeValues {
        /// Which column.
        column: String,
        /// Values of removed rows.
        values: Vec<String>,
        /// What a delete stores.
        delete_value: String,
    },
}

impl SoftDeleteSetting {
    /// Which column.
    pub fn column(&self) -> &str {
        match self {
            Self::NullCheck { column }
            | Self::BooleanFlag { column, .. }
            | Self::ExcludeValues { column, .. } => column,
        }
    }
}

/// One rule: what a role may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleSetting {
    /// What it is about.
    pub right: Right,
    /// For whom; `public` is everybody, `*` any role without a rule of its own.
    pub role: String,
    /// What it grants.
    pub grant: GrantSetting,
}

/// What a rule grants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GrantSetting {
    /// Nothing; the role is not served by `*` either.
    Nothing,
    /// Columns and rows.
    Some {
        /// Pattern that a column's name must match whole; `None`: every column.
        columns: Option<String>,
        /// Row filter; `None`: every row.
        filter: Option<String>,
    },
}

impl GrantSetting {
    /// Every column of every row.
    pub fn everything() -> Self {
        Self::Some { columns: None, filter: None }
    }
}

/// A relation, or another name for one that a foreign key makes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelationSetting {
    /// Its name in requests and answers.
    pub name: String,
    /// One row or a list.
    pub kind: RelationKind,
    /// Exposed name of the other entity.
    pub entity: String,
    /// Pairs of (column here, column there).
    pub columns: Vec<(String, String)>,
}

/// A named statement as the config has it; the columns of its answer are found by preparing it.
#[derive(Debug, Clone, PartialEq)]
pub struct StatementSettings {
    /// Where it stands in the config, for messages: `database[0].statement[2]`.
    pub at: String,
    /// The name in requests.
    pub name: Arc<str>,
    /// SQL with `:name` parameters.
    pub sql: Arc<str>,
    /// Parameters by name.
    pub parameters: Vec<(Arc<str>, ColumnType)>,
    /// Roles that may call it; none given: everybody who may use `/batch`.
    pub roles: Vec<String>,
}

/// A setting that does not fit the database's tables.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {why}")]
pub struct SettingFault {
    /// Key of the config: `database[0].entity[2].version`.
    pub key: String,
    /// What is wrong, and what would be right.
    pub why: String,
}

impl FromStr for Injected {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "timestamp" => Ok(Self::Timestamp),
            "date" => Ok(Self::Date),
            "uuid" => Ok(Self::Uuid),
            _ => match text.split_once(':') {
                Some(("claim", name)) if !name.is_empty() => Ok(Self::Claim(name.into())),
                Some(("env", _)) => Err(format!(
                    "`{text}`: variables of the environment are not offered, since every caller could read them"
                )),
                _ => Err(format!("`{text}` is none of: claim:NAME, timestamp, date, uuid")),
            },
        }
    }
}

impl fmt::Display for Injected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Claim(name) => write!(f, "claim:{name}"),
            Self::Timestamp => f.write_str("timestamp"),
            Self::Date => f.write_str("date"),
            Self::Uuid => f.write_str("uuid"),
        }
    }
}

impl FromStr for KeyRule {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            "required" => Ok(Self::Required),
            "optional" => Ok(Self::Optional),
            "uuid" => Ok(Self::Uuid),
            _ => match text.strip_prefix("sequence:") {
                Some(name) if !name.is_empty() => Ok(Self::Sequence(name.into())),
                _ => Err(format!("`{text}` is none of: auto, required, optional, sequence:NAME, uuid")),
            },
        }
    }
}

impl fmt::Display for KeyRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Required => f.write_str("required"),
            Self::Optional => f.write_str("optional"),
            Self::Sequence(name) => write!(f, "sequence:{name}"),
            Self::Uuid => f.write_str("uuid"),
        }
    }
}

/// The types that a parameter of a named statement can have, by their words in the config.
const PARAMETER_TYPES: [(&str, ColumnType); 12] = [
    ("integer", ColumnType::Int { bits: 64, unsigned: false }),
    ("decimal", ColumnType::Decimal),
    ("float", ColumnType::Float { bits: 64 }),
    ("boolean", ColumnType::Boolean),
    ("text", ColumnType::Text),
    ("uuid", ColumnType::Uuid),
    ("date", ColumnType::Date),
    ("time", ColumnType::Time),
    ("timestamp", ColumnType::Timestamp),
    ("timestamptz", ColumnType::TimestampTz),
    ("bytes", ColumnType::Bytes),
    ("json", ColumnType::Json),
];

impl ColumnType {
    /// The type of a parameter by its word in the config.
    ///
    /// # Errors
    /// The words there are.
    pub fn of_parameter(word: &str) -> Result<Self, String> {
        let found = PARAMETER_TYPES.iter().find(|(name, _)| *name == word);
        found.map(|(_, column_type)| column_type.clone()).ok_or_else(|| {
            let known: Vec<_> = PARAMETER_TYPES.iter().map(|(name, _)| *name).collect();
            format!("`{word}` is none of: {}", known.join(", "))
        })
    }

    /// The word of a parameter's type.
    pub fn parameter_word(&self) -> Option<&'static str> {
        PARAMETER_TYPES.iter().find(|(_, column_type)| column_type == self).map(|(name, _)| *name)
    }
}
