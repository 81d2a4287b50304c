//! Permissions of an entity: action x role -> columns and rows (contract, section 13.3).

use std::collections::HashMap;

use super::Caller;
use crate::batch::catalogue::{ColumnId, Entity};
use crate::batch::operation::Condition;

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

/// All rules of one entity. An action without a rule for the caller is denied.
#[derive(Debug, Clone, Default)]
pub struct Permissions {
    /// Rules by right and role; `public` and `*` are roles here.
    pub rules: HashMap<(Right, String), Rule>,
}

/// One rule.
#[derive(Debug, Clone)]
pub struct Rule {
    /// Columns it covers.
    pub columns: Vec<ColumnId>,
    /// Rows it covers, with claims not filled in yet; `None`: all.
    pub filter: Option<RowFilter>,
}

/// A row filter as it was parsed at the start.
#[derive(Debug, Clone)]
pub struct RowFilter {
    // The owner of this file decides the form: a condition tree with claims as leaves.
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
    pub fn grant(&self, _caller: &Caller, _right: Right) -> Option<Grant> {
        let everything = Grant { columns: vec![true; self.columns.len()], filter: Condition::True };
        self.permissions.is_none().then_some(everything)
    }
}
