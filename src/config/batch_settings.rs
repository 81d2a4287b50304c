//! What the config says of a database, as the database and its catalogue take it.
//!
//! The keys of an entity have forms of their own; they are read here, each mistake told at its own line. The same reading
//! checks a configuration and opens a database: what was found good cannot be read differently later.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::Config;
use super::batch_sections::{
    BatchConfig, DatabaseConfig, DatabaseKindWord, EnforcementWord, EntityConfig, StatementConfig, TlsWord,
};
use super::problems::{Problems, join};
use super::tree::{Content, Node, Table};
use super::values::Free;
use crate::batch::access::filter::ParsedFilter;
use crate::batch::access::pattern::NamePattern;
use crate::batch::access::rules::Right;
use crate::batch::catalogue::settings::{
    CatalogueSettings, EntitySettings, GrantSetting, InjectSetting, KeySetting, RelationSetting, RuleSetting,
    SoftDeleteSetting, StatementSettings, VersionSetting,
};
use crate::batch::catalogue::{ColumnType, DatabaseKind, Injected, KeyRule, RelationKind, VersionKind};
use crate::database::{DatabaseSettings, Enforcement, GroupCommit, SecretUrl, TlsMode};

/// The tables of the example, as they stand in the repository; `init_sql = "example:shop"`.
const EXAMPLE_SHOP: &str = include_str!("../../examples/batch/shop.sql");

impl Config {
    /// Every database as it is opened. A configuration that was loaded has been through this once already.
    pub fn databases(&self) -> Vec<DatabaseSettings> {
        self.read_databases(&mut Problems::default())
    }

    pub(super) fn read_databases(&self, problems: &mut Problems) -> Vec<DatabaseSettings> {
        let read = |(index, database): (usize, &DatabaseConfig)| {
            database.read(&format!("database[{index}]"), &self.state_dir, &self.batch, problems)
        };
        self.database.iter().enumerate().map(read).collect()
    }
}

impl DatabaseConfig {
    fn read(
        &self,
        key: &str,
        state_dir: &Path,
        limits: &BatchConfig,
        problems: &mut Problems,
    ) -> DatabaseSettings {
        let kind = match self.kind {
            DatabaseKindWord::Sqlite => DatabaseKind::Sqlite,
            DatabaseKindWord::Postgres => DatabaseKind::Postgres,
            DatabaseKindWord::Mysql => DatabaseKind::Mysql,
        };
        let is_file = kind == DatabaseKind::Sqlite;
        let path = || self.path.clone().unwrap_or_else(|| state_dir.join(format!("{}.sqlite", self.name)));
        let enforcement = match self.enforcement {
            EnforcementWord::Rules => Enforcement::Rules,
            EnforcementWord::Database => Enforcement::Database {
                role_claim: self.role_claim.as_deref().unwrap_or_default().into(),
                anonymous_role: self.anonymous_role.as_deref().map(Into::into),
            },
        };
        let catalogue = CatalogueSettings {
            // PostgreSQL has many schemas, most of them nobody's business.
            schemas: match (kind, self.schemas.is_empty()) {
                (DatabaseKind::Postgres, true) => vec!["public".to_owned()],
                _ => self.schemas.clone(),
            },
            entities: elements(&self.entity, key, "entity")
                .map(|(key, entity)| entity.read(&key, problems))
                .collect(),
            enforced_by_database: self.enforcement == EnforcementWord::Database,
        };
        let statements = elements(&self.statement, key, "statement")
            .map(|(key, statement)| statement.read(&key, problems))
            .collect();
        DatabaseSettings {
            path: is_file.then(path),
            url: self.url.as_ref().map(|url| SecretUrl::new(url.expose())),
            init_sql: self.init_sql.as_deref().and_then(|init| read_init_sql(key, init, problems)),
            connections: self.connections as usize,
            statement_timeout: Duration::from_millis(limits.statement_timeout_ms),
            lock_timeout: Duration::from_millis(limits.lock_timeout_ms),
            idle_timeout: Duration::from_millis(limits.idle_in_transaction_timeout_ms),
            queue_depth: limits.queue_depth as usize,
            enforcement,
            tls: match self.tls {
                TlsWord::Auto => TlsMode::Auto,
                TlsWord::Disable => TlsMode::Disable,
                TlsWord::Require => TlsMode::Require,
            },
            ca_file: self.ca_file.clone(),
            group_commit: GroupCommit {
                batches: self.group_commit_batches as usize,
                window: Duration::from_millis(self.group_commit_window_ms),
            },
            catalogue,
            statements,
            ..DatabaseSettings::new(&self.name, kind)
        }
    }
}

fn elements<'a, T>(all: &'a [T], key: &str, list: &str) -> impl Iterator<Item = (String, &'a T)> {
    let prefix = join(key, list);
    all.iter().enumerate().map(move |(index, one)| (format!("{prefix}[{index}]"), one))
}

fn read_init_sql(key: &str, init: &str, problems: &mut Problems) -> Option<Arc<str>> {
    let key = join(key, "init_sql");
    match init.strip_prefix("example:") {
        Some("shop") => Some(EXAMPLE_SHOP.into()),
        Some(other) => {
            problems.add(&key, format!("there is no example `{other}`; known: shop"));
            None
        }
        None => match std::fs::read_to_string(PathBuf::from(init)) {
            Ok(text) => Some(text.into()),
            Err(error) => {
                problems.add(&key, format!("cannot read `{init}`: {error}"));
                None
            }
        },
    }
}

impl EntityConfig {
    fn read(&self, key: &str, problems: &mut Problems) -> EntitySettings {
        let mut reading = Reading { problems };
        let free = |name: &str, value: &Option<Free>| {
            value.as_ref().map(|value| (join(key, name), value.content().clone()))
        };
        EntitySettings {
            at: key.to_owned(),
            name: self.name.clone(),
            expose: self.expose,
            hidden: self.hidden.clone(),
            key: free("key", &self.key)
                .and_then(|(key, content)| reading.key_rules(&key, &content))
                .unwrap_or(KeySetting::AsFound),
            version: free("version", &self.version)
                .and_then(|(key, content)| reading.version(&key, &content)),
            inject: free("inject", &self.inject)
                .map_or_else(Vec::new, |(key, content)| reading.inject(&key, &content)),
            soft_delete: free("soft_delete", &self.soft_delete)
                .and_then(|(key, content)| reading.soft_delete(&key, &content)),
            audit: self.audit.clone(),
            permissions: free("permissions", &self.permissions)
                .map(|(key, content)| reading.permissions(&key, &content)),
            relations: free("relations", &self.relations)
                .map_or_else(Vec::new, |(key, content)| reading.relations(&key, &content)),
        }
    }
}

impl StatementConfig {
    fn read(&self, key: &str, problems: &mut Problems) -> StatementSettings {
        let mut reading = Reading { problems };
        let key_of_parameters = join(key, "parameters");
        let written = match &self.parameters {
            Some(parameters) => reading.table(&key_of_parameters, parameters.content()),
            None => Table::new(),
        };
        let mut parameters = Vec::with_capacity(written.len());
        for (name, node) in &written {
            let key = join(&key_of_parameters, name);
            if let Some(column_type) = reading.word(&key, node, ColumnType::of_parameter) {
                parameters.push((name.as_str().into(), column_type));
            }
        }
        StatementSettings {
            at: key.to_owned(),
            name: self.name.as_str().into(),
            sql: self.sql.as_str().into(),
            parameters,
            roles: self.roles.clone(),
        }
    }
}

/// Reads values of a form of their own. What is wrong is told and left out.
struct Reading<'a> {
    problems: &'a mut Problems,
}

impl Reading<'_> {
    fn table(&mut self, key: &str, content: &Content) -> Table {
        match content {
            Content::Table(table) => {
                for (name, node) in table {
                    self.problems.saw(&join(key, name), &node.origin);
                }
                table.clone()
            }
            other => {
                self.problems.add(key, format!("expected a section, found {}", other.form()));
                Table::new()
            }
        }
    }

    /// A section with these keys and no others.
    fn section(&mut self, key: &str, content: &Content, known: &[&str]) -> Table {
        let table = self.table(key, content);
        for (name, node) in &table {
            if !known.contains(&name.as_str()) {
                self.problems.add_unknown(&node.origin, key, name, known);
            }
        }
        table
    }

    fn text(&mut self, key: &str, node: &Node) -> Option<String> {
        match &node.content {
            Content::Text(text) | Content::Untyped(text) if !text.is_empty() => Some(text.clone()),
            Content::Text(_) | Content::Untyped(_) => self.bad(key, "is empty"),
            other => self.bad(key, format!("expected text, found {}", other.form())),
        }
    }

    fn word<T>(&mut self, key: &str, node: &Node, parse: impl Fn(&str) -> Result<T, String>) -> Option<T> {
        let text = self.text(key, node)?;
        parse(&text).map_err(|why| self.problems.add(key, why)).ok()
    }

    fn texts(&mut self, key: &str, node: &Node) -> Option<Vec<String>> {
        match &node.content {
            Content::List(elements) => elements.iter().map(|element| self.text(key, element)).collect(),
            other => self.bad(key, format!("expected a list, found {}", other.form())),
        }
    }

    fn switch(&mut self, key: &str, node: &Node) -> Option<bool> {
        match &node.content {
            Content::Switch(switch) => Some(*switch),
            other => self.bad(key, format!("expected true or false, found {}", other.form())),
        }
    }

    fn bad<T>(&mut self, key: &str, why: impl Into<String>) -> Option<T> {
        self.problems.add(key, why);
        None
    }

    /// A key of a section that must be there.
    fn needed<'t>(&mut self, key: &str, table: &'t Table, name: &str) -> Option<(String, &'t Node)> {
        let found = table.get(name).map(|node| (join(key, name), node));
        if found.is_none() && !self.problems.has_below(key) {
            self.problems.add(key, format!("`{name}` is missing"));
        }
        found
    }

    fn needed_text(&mut self, key: &str, table: &Table, name: &str) -> Option<String> {
        let (key, node) = self.needed(key, table, name)?;
        self.text(&key, node)
    }

    fn key_rules(&mut self, key: &str, content: &Content) -> Option<KeySetting> {
        if let Content::Text(text) | Content::Untyped(text) = content {
            return text.parse().map(KeySetting::One).map_err(|why: String| self.problems.add(key, why)).ok();
        }
        let table = self.table(key, content);
        let mut rules = Vec::with_capacity(table.len());
        for (column, node) in &table {
            rules.push((column.clone(), self.word(&join(key, column), node, str::parse::<KeyRule>)?));
        }
        (!rules.is_empty()).then_some(KeySetting::Columns(rules))
    }

    fn version(&mut self, key: &str, content: &Content) -> Option<VersionSetting> {
        if let Content::Text(text) | Content::Untyped(text) = content {
            return Some(VersionSetting { column: text.clone(), kind: None });
        }
        let table = self.section(key, content, &["column", "kind"]);
        let column = self.needed_text(key, &table, "column")?;
        let parse = |word: &str| match word {
            "integer" => Ok(VersionKind::Integer),
            "timestamp" => Ok(VersionKind::Timestamp),
            "uuid" => Ok(VersionKind::Uuid),
            other => Err(format!("`{other}` is none of: integer, timestamp, uuid")),
        };
        let kind = match table.get("kind") {
            Some(node) => Some(self.word(&join(key, "kind"), node, parse)?),
            None => None,
        };
        Some(VersionSetting { column, kind })
    }

    fn inject(&mut self, key: &str, content: &Content) -> Vec<InjectSetting> {
        let table = self.table(key, content);
        table.iter().filter_map(|(column, node)| self.inject_one(&join(key, column), column, node)).collect()
    }

    fn inject_one(&mut self, key: &str, column: &str, node: &Node) -> Option<InjectSetting> {
        let table = self.section(key, &node.content, &["value", "on"]);
        let (value_key, value) = self.needed(key, &table, "value")?;
        let value = self.word(&value_key, value, str::parse::<Injected>)?;
        let (on_key, on) = self.needed(key, &table, "on")?;
        let on = self.texts(&on_key, on)?;
        if let Some(other) = on.iter().find(|word| !["create", "update"].contains(&word.as_str())) {
            return self.bad(&on_key, format!("`{other}` is none of: create, update"));
        }
        let has = |word: &str| on.iter().any(|one| one == word);
        if on.is_empty() {
            return self.bad(&on_key, "is empty; name create, update or both");
        }
        let (on_create, on_update) = (has("create"), has("update"));
        Some(InjectSetting { column: column.to_owned(), value, on_create, on_update })
    }

    fn soft_delete(&mut self, key: &str, content: &Content) -> Option<SoftDeleteSetting> {
        let known = ["column", "strategy", "active_value", "values", "delete_value"];
        let table = self.section(key, content, &known);
        let column = self.needed_text(key, &table, "column")?;
        let strategy = self.needed_text(key, &table, "strategy")?;
        let (setting, used): (_, &[&str]) = match strategy.as_str() {
            "null_check" => (SoftDeleteSetting::NullCheck { column }, &[]),
            "boolean_flag" => {
                let (key, node) = self.needed(key, &table, "active_value")?;
                let active_value = self.switch(&key, node)?;
                (SoftDeleteSetting::BooleanFlag { column, active_value }, &["active_value"])
            }
            "exclude_values" => {
                let (values_key, node) = self.needed(key, &table, "values")?;
                let values = self.texts(&values_key, node)?;
                let delete_value = self.needed_text(key, &table, "delete_value")?;
                (
                    SoftDeleteSetting::ExcludeValues { column, values, delete_value },
                    &["values", "delete_value"],
                )
            }
            other => {
                let why = format!("`{other}` is none of: null_check, boolean_flag, exclude_values");
                return self.bad(&join(key, "strategy"), why);
            }
        };
        for name in ["active_value", "values", "delete_value"] {
            if table.contains_key(name) && !used.contains(&name) {
                let why = format!("has no use with `strategy = \"{strategy}\"`; take it out");
                self.problems.add(&join(key, name), why);
            }
        }
        Some(setting)
    }

    fn permissions(&mut self, key: &str, content: &Content) -> Vec<RuleSetting> {
        let actions = Right::ALL.map(Right::as_str);
        let table = self.section(key, content, &actions);
        let mut rules = Vec::new();
        for right in Right::ALL {
            let key = join(key, right.as_str());
            let Some(node) = table.get(right.as_str()) else { continue };
            let roles = self.table(&key, &node.content);
            for (role, node) in &roles {
                let grant = self.grant(&join(&key, role), right, node);
                rules.extend(grant.map(|grant| RuleSetting { right, role: role.clone(), grant }));
            }
        }
        if rules.is_empty() {
            let why = "holds no rule; take it out to permit everything, or write a rule to permit only that";
            if !self.problems.has_below(key) {
                self.problems.add(key, why);
            }
        }
        rules
    }

    fn grant(&mut self, key: &str, right: Right, node: &Node) -> Option<GrantSetting> {
        match &node.content {
            Content::Switch(true) => return Some(GrantSetting::everything()),
            Content::Switch(false) => return Some(GrantSetting::Nothing),
            Content::Text(_) | Content::Untyped(_) if right == Right::Delete => {
                return self.bad(
                    key,
                    "a delete is about whole rows; write `true` or `{ allow = true, where = ... }`",
                );
            }
            Content::Text(_) | Content::Untyped(_) => {
                let columns = Some(self.pattern(key, node)?);
                return Some(GrantSetting::Some { columns, filter: None });
            }
            Content::Table(_) => {}
            other => {
                return self.bad(
                    key,
                    format!("expected a pattern, a section, true or false, found {}", other.form()),
                );
            }
        }
        let known: &[&str] = match right {
            Right::Delete => &["where", "allow"],
            _ => &["properties", "where", "allow"],
        };
        let table = self.section(key, &node.content, known);
        let allow = match table.get("allow") {
            Some(node) => Some(self.switch(&join(key, "allow"), node)?),
            None => None,
        };
        let columns = match table.get("properties") {
            Some(node) => Some(self.pattern(&join(key, "properties"), node)?),
            None => None,
        };
        let filter = match table.get("where") {
            Some(node) => Some(self.filter(&join(key, "where"), node)?),
            None => None,
        };
        match allow {
            Some(false) if columns.is_some() || filter.is_some() => {
                self.bad(key, "`allow = false` grants nothing; take out the rest, or `allow`")
            }
            Some(false) => Some(GrantSetting::Nothing),
            None if columns.is_none() && right != Right::Delete => {
                self.bad(key, "`properties` is missing; `properties = \".*\"` grants every column")
            }
            _ => Some(GrantSetting::Some { columns, filter }),
        }
    }

    fn pattern(&mut self, key: &str, node: &Node) -> Option<String> {
        self.word(key, node, |text| NamePattern::new(text).map(|_| text.to_owned()))
    }

    fn filter(&mut self, key: &str, node: &Node) -> Option<String> {
        self.word(key, node, |text| {
            ParsedFilter::parse(text).map(|_| text.to_owned()).map_err(|fault| fault.to_string())
        })
    }

    fn relations(&mut self, key: &str, content: &Content) -> Vec<RelationSetting> {
        let table = self.table(key, content);
        table.iter().filter_map(|(name, node)| self.relation(&join(key, name), name, node)).collect()
    }

    fn relation(&mut self, key: &str, name: &str, node: &Node) -> Option<RelationSetting> {
        let table = self.section(key, &node.content, &["entity", "type", "columns"]);
        let entity = self.needed_text(key, &table, "entity")?;
        let (kind_key, kind) = self.needed(key, &table, "type")?;
        let kind = self.word(&kind_key, kind, |word| match word {
            "object" => Ok(RelationKind::Object),
            "array" => Ok(RelationKind::Array),
            other => Err(format!("`{other}` is none of: object (the key is here), array (the key is there)")),
        })?;
        let (columns_key, columns) = self.needed(key, &table, "columns")?;
        let pairs: BTreeMap<String, Node> = self.table(&columns_key, &columns.content);
        let mut columns = Vec::with_capacity(pairs.len());
        for (here, there) in &pairs {
            columns.push((here.clone(), self.text(&join(&columns_key, here), there)?));
        }
        if columns.is_empty() {
            return self.bad(&columns_key, "is empty; write `{ column_here = \"column_there\" }`");
        }
        Some(RelationSetting { name: name.to_owned(), kind, entity, columns })
    }
}
