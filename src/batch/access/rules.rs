//! Permissions of an entity: action x role -> columns and rows (contract, section 13.3).
//!
//! Promises: once an entity has any rule, whatever no rule grants is denied. Roles add up: columns are united, filters
//! are joined by OR, and a role without a filter lifts it, so one more role never takes anything away. (United apart:
//! who reads column `a` of some rows by one role and column `b` of others by another reads both columns of all of them.)
//! `public` serves every caller; `*` serves each role that has no rule of its own for the action, and never a caller
//! without roles.

use std::collections::HashMap;

use super::Caller;
use super::filter::RowFilter;
use super::pattern::NamePattern;
use crate::batch::catalogue::nearest;
use crate::batch::catalogue::settings::{GrantSetting, RuleSetting};
use crate::batch::catalogue::{Column, ColumnId, Entity};
use crate::batch::operation::Condition;

/// Role of every caller, with and without a token.
pub const PUBLIC: &str = "public";
/// Role of those whose role has no rule of its own.
pub const ANY_ROLE: &str = "*";

/// What a rule is about. `write` covers create and update.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Right {
    /// Reading.
    Read,
    /// Creating and updating.
    Write,
    /// Deleting.
    Delete,
}

impl Right {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Read, Self::Write, Self::Delete];

    /// The word in the config and in messages.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Delete => "delete",
        }
    }
}

/// All rules of one entity. An action without a rule for the caller is denied.
#[derive(Debug, Clone, Default)]
pub struct Permissions {
    read: RoleRules,
    write: RoleRules,
    delete: RoleRules,
}

/// Rules of one right by role; `None` grants nothing, not even what `*` does.
type RoleRules = HashMap<String, Option<Rule>>;

/// One rule.
#[derive(Debug, Clone)]
pub struct Rule {
    /// Columns it covers.
    pub columns: Vec<ColumnId>,
    /// Rows it covers, with claims not filled in yet; `None`: all.
    pub filter: Option<RowFilter>,
}

/// What a caller may do with an entity, one right at a time.
#[derive(Debug, Clone)]
pub struct Grant {
    /// Whether each column is covered, by [`ColumnId`].
    pub columns: Vec<bool>,
    /// Rows it covers, claims filled in; [`Condition::True`] is all of them.
    pub filter: Condition,
}

impl Entity {
    /// What the caller may do here; `None` when nothing.
    pub fn grant(&self, caller: &Caller, right: Right) -> Option<Grant> {
        match &self.permissions {
            None => Some(Grant { columns: vec![true; self.columns.len()], filter: Condition::True }),
            Some(permissions) => permissions.grant(caller, right, &self.columns),
        }
    }
}

impl Permissions {
    /// Compiles the rules of an entity with these columns; every fault is given to `tell` with its rule.
    pub fn new(
        settings: &[RuleSetting],
        columns: &[Column],
        tell: &mut dyn FnMut(&RuleSetting, String),
    ) -> Self {
        let mut permissions = Self::default();
        for setting in settings {
            let rules = match setting.right {
                Right::Read => &mut permissions.read,
                Right::Write => &mut permissions.write,
                Right::Delete => &mut permissions.delete,
            };
            if rules.contains_key(&setting.role) {
                tell(setting, "the role has a rule for this action already".to_owned());
            }
            match rule(setting, columns) {
                Ok(rule) => {
                    rules.insert(setting.role.clone(), rule);
                }
                Err(whys) => whys.into_iter().for_each(|why| tell(setting, why)),
            }
        }
        permissions
    }

    fn of(&self, right: Right) -> &RoleRules {
        match right {
            Right::Read => &self.read,
            Right::Write => &self.write,
            Right::Delete => &self.delete,
        }
    }

    fn grant(&self, caller: &Caller, right: Right, columns: &[Column]) -> Option<Grant> {
        let rules = self.of(right);
        let own = caller.roles.iter().filter_map(|role| rules.get(&**role).or_else(|| rules.get(ANY_ROLE)));
        let granting: Vec<&Rule> = rules.get(PUBLIC).into_iter().chain(own).flatten().collect();
        if granting.is_empty() {
            return None;
        }
        let mut covered = vec![false; columns.len()];
        for id in granting.iter().flat_map(|rule| &rule.columns) {
            covered[*id] = true;
        }
        let filters = granting.iter().map(|rule| match &rule.filter {
            Some(filter) => filter.for_caller(caller, columns),
            None => Condition::True,
        });
        Some(Grant { columns: covered, filter: any_of(filters) })
    }
}

/// One of the conditions holds.
fn any_of(conditions: impl Iterator<Item = Condition>) -> Condition {
    let mut kept: Vec<Condition> = Vec::new();
    for condition in conditions {
        match condition {
            Condition::True => return Condition::True,
            Condition::False => {}
            condition if kept.contains(&condition) => {}
            condition => kept.push(condition),
        }
    }
    match kept.len() {
        0 => Condition::False,
        1 => kept.remove(0),
        _ => Condition::Any(kept),
    }
}

fn rule(setting: &RuleSetting, columns: &[Column]) -> Result<Option<Rule>, Vec<String>> {
    let GrantSetting::Some { columns: pattern, filter } = &setting.grant else { return Ok(None) };
    let mut whys = Vec::new();
    if setting.role.is_empty() {
        whys.push("the role's name is empty; `public` is everybody, `*` any role without a rule".to_owned());
    }
    let covered = match pattern {
        None => Ok((0..columns.len()).collect()),
        Some(_) if setting.right == Right::Delete => {
            Err("a delete is about whole rows; write `true` or `{ allow = true, where = ... }`".to_owned())
        }
        Some(pattern) => covered_columns(pattern, columns),
    };
    let filter = filter.as_deref().map(|text| {
        RowFilter::new(text, columns).map_err(|fault| format!("the row filter is not good {fault}"))
    });
    match (covered, filter.transpose()) {
        (Ok(columns), Ok(filter)) if whys.is_empty() => Ok(Some(Rule { columns, filter })),
        (covered, filter) => {
            whys.extend(covered.err());
            whys.extend(filter.err());
            Err(whys)
        }
    }
}

fn covered_columns(pattern: &str, columns: &[Column]) -> Result<Vec<ColumnId>, String> {
    let compiled = NamePattern::new(pattern)?;
    let names = || columns.iter().map(|column| &*column.name);
    if let Some(unknown) = compiled.plain_names().find(|name| names().all(|column| column != *name)) {
        let hint = nearest::hint(unknown, names());
        return Err(format!("there is no column `{unknown}`{hint}; patterns match whole names"));
    }
    let covered: Vec<_> = (0..columns.len()).filter(|id| compiled.matches(&columns[*id].name)).collect();
    match covered.is_empty() {
        true => Err(format!("`{pattern}` matches no column; patterns match whole names")),
        false => Ok(covered),
    }
}

#[cfg(test)]
mod tests;
