//! Runs statements: names are resolved, restrictions checked, rows picked; pages are rendered when asked for.

mod check;
mod filter;
mod grouped;
pub mod plan;
pub mod render;

pub use crate::dml::overlay::Scope;

use crate::{
    dml::overlay::Spans,
    org::OrgData,
    rows_api::Value,
    soql::{
        self, SoqlError,
        ast::{Condition, FieldsKind, Literal, Operand, Query, SelectItem},
        dates,
    },
    tables::{self, Api, Kind, Table},
};
use filter::{Fixed, Test};
use plan::{Output, Path, Resolver};
use std::collections::HashSet;

/// Most rows of a table that has no queryMore.
const MOST_COMPUTED_ROWS: u64 = 2_000;

/// What a statement found.
pub struct Found {
    /// The object in FROM, in its own spelling.
    pub object: String,
    pub key_prefix: Option<String>,
    pub scope: Scope,
    pub columns: Vec<ColumnShown>,
    pub content: Content,
    /// The answer depends on today's date and must not be kept.
    pub depends_on_today: bool,
}

/// A selected column, for `columns=true`.
pub struct ColumnShown {
    pub names: Vec<String>,
    pub kind: Option<Kind>,
}

/// The rows, or what stands in for them.
pub enum Content {
    /// `COUNT()`.
    Count(u64),
    /// Rendered `AggregateResult` records.
    Groups(Vec<Vec<u8>>),
    /// Rows to be rendered page by page.
    Rows { table: Table, outputs: Vec<Output>, picked: Picked },
}

/// Positions of the rows found.
pub enum Picked {
    /// Whole pieces of the table.
    Spans(Spans),
    Rows(Vec<u64>),
}

impl Picked {
    /// Number of rows.
    pub fn len(&self) -> u64 {
        match self {
            Self::Spans(spans) => spans.len(),
            Self::Rows(rows) => rows.len() as u64,
        }
    }

    /// The row at a place of the result.
    pub fn at(&self, place: u64) -> u64 {
        match self {
            Self::Spans(spans) => spans.at(place),
            Self::Rows(rows) => rows[place as usize],
        }
    }
}

/// A statement with its table and tests, ready to look at rows.
struct Prepared<'a> {
    query: &'a Query,
    resolver: Resolver<'a>,
    api: Api,
    scope: Scope,
    now_ms: i64,
    filter: Option<Test<Path>>,
    depends_on_today: bool,
}

/// Runs a statement against one API; the scope says whether the recycle bin is seen.
///
/// # Errors
/// What the org would answer, as code and message.
pub fn run(org: &OrgData, api: Api, scope: Scope, text: &str, now_ms: i64) -> Result<Found, SoqlError> {
    org.rows.purge(now_ms);
    let query = soql::parse(text)?;
    let prepared = prepare(org, (api, scope), text, &query, now_ms)?;
    prepared.find()
}

fn prepare<'a>(
    org: &'a OrgData,
    (api, scope): (Api, Scope),
    text: &'a str,
    query: &'a Query,
    now_ms: i64,
) -> Result<Prepared<'a>, SoqlError> {
    let name = &query.from.text;
    let table = tables::find(org, name, api).ok_or_else(|| {
        let message = format!(
            "sObject type '{name}' is not supported. If you are attempting to use a custom object, be sure to append the \
             '__c' after the entity name. Please reference your WSDL or the describe call for the appropriate names."
        );
        SoqlError::located("INVALID_TYPE", text, query.from.at, &message)
    })?;
    if let Table::Object(at) = table
        && !org.model.objects[at].queryable
    {
        let message = format!("entity type {} does not support query", org.model.objects[at].name);
        return Err(SoqlError::new("INVALID_TYPE_FOR_OPERATION", message));
    }
    check::statement(query)?;
    check::computed_table(query, table)?;
    let resolver = Resolver { org, text, table, alias: query.alias.as_deref() };
    let mut prepared =
        Prepared { query, resolver, api, scope, now_ms, filter: None, depends_on_today: false };
    if let Some(condition) = &query.filter {
        prepared.filter = Some(compile(&prepared, condition, &|operand| match operand {
            Operand::Field(path) => {
                let path = prepared.resolver.path(path)?;
                let (kind, label) = (path.kind, path.label().to_owned());
                Ok((path, kind, label))
            }
            Operand::Aggregate(call) => {
                let message = "Aggregate functions are not permitted in the WHERE clause, use HAVING";
                Err(SoqlError::located("MALFORMED_QUERY", text, call.path.at, message))
            }
        })?);
        prepared.depends_on_today = has_relative_date(condition);
    }
    Ok(prepared)
}

fn has_relative_date(condition: &Condition) -> bool {
    let relative = |literal: &Literal| matches!(literal, Literal::Relative { .. });
    match condition {
        Condition::And(parts) | Condition::Or(parts) => parts.iter().any(has_relative_date),
        Condition::Not(inner) => has_relative_date(inner),
        Condition::Compare { literal, .. } => relative(literal),
        Condition::In { list, .. } => list.iter().any(relative),
        Condition::SemiJoin { query, .. } => query.filter.as_ref().is_some_and(has_relative_date),
        Condition::Includes { .. } => false,
    }
}

/// Calls `each` with every operand of a condition.
fn operands_of(
    condition: &Condition,
    each: &mut impl FnMut(&Operand) -> Result<(), SoqlError>,
) -> Result<(), SoqlError> {
    match condition {
        Condition::And(parts) | Condition::Or(parts) => {
            parts.iter().try_for_each(|part| operands_of(part, each))
        }
        Condition::Not(inner) => operands_of(inner, each),
        Condition::Compare { operand, .. } => each(operand),
        Condition::In { path, .. } | Condition::SemiJoin { path, .. } | Condition::Includes { path, .. } => {
            each(&Operand::Field(path.clone()))
        }
    }
}

/// Makes a condition testable; `resolve` gives an operand's handle, kind and name.
fn compile<P>(
    prepared: &Prepared<'_>,
    condition: &Condition,
    resolve: &impl Fn(&Operand) -> Result<(P, Kind, String), SoqlError>,
) -> Result<Test<P>, SoqlError> {
    let today = dates::day_of(prepared.now_ms);
    let each = |parts: &[Condition]| {
        parts.iter().map(|part| compile(prepared, part, resolve)).collect::<Result<Vec<_>, _>>()
    };
    let field = |path: &soql::ast::FieldPath| resolve(&Operand::Field(path.clone()));
    Ok(match condition {
        Condition::And(parts) => Test::All(each(parts)?),
        Condition::Or(parts) => Test::Any(each(parts)?),
        Condition::Not(inner) => Test::Not(Box::new(compile(prepared, inner, resolve)?)),
        Condition::Compare { operand, op, literal } => {
            let (what, kind, name) = resolve(operand)?;
            Test::Compare { what, op: *op, with: filter::fixed(literal, kind, &name, today)? }
        }
        Condition::In { path, negated, list } => {
            let (what, kind, name) = field(path)?;
            let with = list
                .iter()
                .map(|one| filter::fixed(one, kind, &name, today))
                .collect::<Result<Vec<_>, _>>()?;
            let textual = with.iter().all(|one| matches!(one, Fixed::Text(_) | Fixed::Id(_)));
            if !textual {
                return Ok(Test::Among { what, negated: *negated, with });
            }
            let keys = with.into_iter().filter_map(|one| match one {
                Fixed::Text(text) | Fixed::Id(text) => Some(text),
                _ => None,
            });
            Test::InSet { what, negated: *negated, keys: keys.collect() }
        }
        Condition::SemiJoin { path, negated, query } => {
            let (what, kind, name) = field(path)?;
            Test::InSet { what, negated: *negated, keys: prepared.semi_join(query, kind, &name)? }
        }
        Condition::Includes { path, excludes, values } => {
            let (what, kind, name) = field(path)?;
            if kind != Kind::MultiPicklist {
                let message =
                    format!("includes and excludes operators are only valid on multipicklist fields: {name}");
                return Err(SoqlError::located("INVALID_FIELD", prepared.resolver.text, path.at, &message));
            }
            let parts = |value: &String| value.to_lowercase().split(';').map(str::to_owned).collect();
            Test::Includes { what, excludes: *excludes, sets: values.iter().map(parts).collect() }
        }
    })
}

/// Sorts by several keys; `key` gives a row's value and its kind.
fn sort_rows<R>(rows: &mut Vec<R>, order: &[(usize, bool, bool)], key: impl Fn(&R, usize) -> (Value, Kind)) {
    if order.is_empty() {
        return;
    }
    let mut keyed: Vec<(Vec<(Value, Kind)>, R)> = std::mem::take(rows)
        .into_iter()
        .map(|row| (order.iter().map(|(at, ..)| key(&row, *at)).collect(), row))
        .collect();
    keyed.sort_by(|(a, _), (b, _)| {
        for ((_, descending, nulls_last), ((a, kind), (b, _))) in order.iter().zip(a.iter().zip(b)) {
            let one = match (*a == Value::Null, *b == Value::Null) {
                (true, true) => std::cmp::Ordering::Equal,
                (true, false) if *nulls_last => std::cmp::Ordering::Greater,
                (true, false) => std::cmp::Ordering::Less,
                (false, true) if *nulls_last => std::cmp::Ordering::Less,
                (false, true) => std::cmp::Ordering::Greater,
                (false, false) if *descending => filter::order(b, a, *kind),
                (false, false) => filter::order(a, b, *kind),
            };
            if one.is_ne() {
                return one;
            }
        }
        std::cmp::Ordering::Equal
    });
    *rows = keyed.into_iter().map(|(_, row)| row).collect();
}

impl Prepared<'_> {
    fn is_grouped(&self) -> bool {
        !self.query.group_by.is_empty()
            || self.query.select.iter().any(|item| matches!(item, SelectItem::Aggregate { .. }))
    }

    fn find(self) -> Result<Found, SoqlError> {
        let (org, table) = (self.resolver.org, self.resolver.table);
        let mut columns = Vec::new();
        let content = if self.query.select == [SelectItem::CountRows] {
            let picked = self.pick(&[])?;
            Content::Count(picked.len())
        } else if self.is_grouped() {
            for item in &self.query.select {
                let name = match item {
                    SelectItem::Aggregate { alias: Some(alias), .. } => alias.clone(),
                    other => other.to_string(),
                };
                columns.push(ColumnShown { names: vec![name], kind: None });
            }
            Content::Groups(grouped::run(&self)?)
        } else {
            let paths = self.selected()?;
            let mut outputs = Vec::new();
            for path in &paths {
                plan::add_output(&mut outputs, path);
                columns.push(ColumnShown { names: path.names.clone(), kind: Some(path.kind) });
            }
            let order = self.order()?;
            let picked = self.pick(&order)?;
            if check::is_computed(table) && picked.len() > MOST_COMPUTED_ROWS {
                let message = format!(
                    "{} does not support queryMore(), use LIMIT to restrict the results to a single batch",
                    table.name(org)
                );
                return Err(SoqlError::new("EXCEEDED_ID_LIMIT", message));
            }
            let one_row_only = paths
                .iter()
                .any(|path| matches!(path.label(), "Metadata" | "FullName") && path.kind == Kind::Json);
            if one_row_only && matches!(table, Table::Meta(_)) && picked.len() > 1 {
                let message = "When retrieving results with Metadata or FullName fields, the query qualifications must specify \
                               no more than one row for retrieval. Result size: ";
                return Err(SoqlError::new("MALFORMED_QUERY", format!("{message}{}", picked.len())));
            }
            Content::Rows { table, outputs, picked }
        };
        Ok(Found {
            object: table.name(org).to_owned(),
            key_prefix: table.key_prefix(org).map(str::to_owned),
            scope: self.scope,
            columns,
            content,
            depends_on_today: self.depends_on_today,
        })
    }

    fn selected(&self) -> Result<Vec<Path>, SoqlError> {
        let (org, table, text) = (self.resolver.org, self.resolver.table, self.resolver.text);
        let mut paths = Vec::new();
        for item in &self.query.select {
            match item {
                SelectItem::Field { path, alias: Some(alias) } => {
                    let message = format!("unexpected token: '{alias}'");
                    return Err(SoqlError::located("MALFORMED_QUERY", text, path.at, &message));
                }
                SelectItem::Field { path, alias: None } => paths.push(self.resolver.path(path)?),
                SelectItem::Fields(kind) => {
                    for (name, custom) in table.column_names(org) {
                        let wanted = match kind {
                            FieldsKind::All => true,
                            FieldsKind::Standard => !custom,
                            FieldsKind::Custom => custom,
                        };
                        if wanted {
                            let path = soql::ast::FieldPath { parts: vec![name.to_owned()], at: 0 };
                            paths.push(self.resolver.path(&path)?);
                        }
                    }
                }
                SelectItem::SubQuery(query) => {
                    let message = format!(
                        "Didn't understand relationship '{}' in FROM part of query call. (The simulated org reads parent-to-child \
                         sub-queries but does not evaluate them: query the child object instead.)",
                        query.from.text
                    );
                    return Err(SoqlError::located("INVALID_TYPE", text, query.from.at, &message));
                }
                SelectItem::CountRows | SelectItem::Aggregate { .. } => {}
            }
        }
        Ok(paths)
    }

    fn order(&self) -> Result<Vec<(Path, bool, bool)>, SoqlError> {
        let one = |by: &soql::ast::OrderBy| match &by.key {
            Operand::Field(path) => {
                let resolved = self.resolver.path(path)?;
                if matches!(resolved.kind, Kind::Json | Kind::LongText | Kind::MultiPicklist) {
                    let message = format!("field '{}' can not be sorted in a query call", resolved.label());
                    return Err(SoqlError::located("MALFORMED_QUERY", self.resolver.text, path.at, &message));
                }
                Ok((resolved, by.descending, by.nulls_last))
            }
            Operand::Aggregate(call) => {
                let message = format!("Ordered field must be grouped or aggregated: {call}");
                Err(SoqlError::located("MALFORMED_QUERY", self.resolver.text, call.path.at, &message))
            }
        };
        self.query.order_by.iter().map(one).collect()
    }

    fn semi_join(&self, query: &Query, outer: Kind, name: &str) -> Result<HashSet<String>, SoqlError> {
        let inner =
            prepare(self.resolver.org, (self.api, self.scope), self.resolver.text, query, self.now_ms)?;
        let paths = inner.selected()?;
        let [path] = paths.as_slice() else {
            return Err(SoqlError::new(
                "MALFORMED_QUERY",
                "A semi join sub-select must select exactly one field",
            ));
        };
        if outer != Kind::Id || path.kind != Kind::Id {
            let message = format!(
                "Semi join sub-selects must select an ID or reference field, and compare with one: {name}"
            );
            return Err(SoqlError::new("MALFORMED_QUERY", message));
        }
        let (org, table) = (inner.resolver.org, inner.resolver.table);
        let mut keys = HashSet::new();
        inner.each_match(&mut |row| {
            keys.extend(filter::set_key(&path.value(org, table, row), path.kind));
            true
        });
        Ok(keys)
    }

    /// Rows that can match: few when the filter names ids, else all.
    fn candidates(&self) -> Option<Vec<u64>> {
        let Table::Object(_) = self.resolver.table else { return None };
        fn ids_named(test: &Test<Path>) -> Option<Vec<&String>> {
            let is_id = |path: &Path| path.is_own() && path.label() == "Id";
            match test {
                Test::All(parts) => parts.iter().find_map(ids_named),
                Test::Compare { what, op: soql::ast::Comparison::Equal, with: Fixed::Id(id) }
                    if is_id(what) =>
                {
                    Some(vec![id])
                }
                Test::InSet { what, negated: false, keys } if is_id(what) => Some(keys.iter().collect()),
                _ => None,
            }
        }
        let named = ids_named(self.filter.as_ref()?)?;
        let (org, table) = (self.resolver.org, self.resolver.table);
        let mut rows: Vec<u64> =
            named.into_iter().filter_map(|id| table.row_of(org, id, self.scope)).collect();
        rows.sort_unstable();
        rows.dedup();
        Some(rows)
    }

    /// Calls `found` with each matching row, in row order, until it says stop.
    fn each_match(&self, found: &mut dyn FnMut(u64) -> bool) {
        let (org, table) = (self.resolver.org, self.resolver.table);
        let matches = |row: u64| {
            self.filter
                .as_ref()
                .is_none_or(|test| test.holds(&|path: &Path| (path.value(org, table, row), path.kind)))
        };
        let _ = match self.candidates() {
            Some(rows) => rows.into_iter().all(|row| !matches(row) || found(row)),
            None => table.spans(org, self.scope).iter().all(|row| !matches(row) || found(row)),
        };
    }

    fn pick(&self, order: &[(Path, bool, bool)]) -> Result<Picked, SoqlError> {
        let (org, table) = (self.resolver.org, self.resolver.table);
        let offset = self.query.offset.unwrap_or(0);
        let limit = self.query.limit.unwrap_or(u64::MAX);
        if self.filter.is_none() && order.is_empty() {
            let all = table.spans(org, self.scope);
            let from = offset.min(all.len());
            return Ok(Picked::Spans(all.slice(from, from.saturating_add(limit).min(all.len()))));
        }
        let mut rows = Vec::new();
        let enough = if order.is_empty() { offset.saturating_add(limit) } else { u64::MAX };
        if enough > 0 {
            self.each_match(&mut |row| {
                rows.push(row);
                (rows.len() as u64) < enough
            });
        }
        let by: Vec<(usize, bool, bool)> = order
            .iter()
            .enumerate()
            .map(|(at, (_, descending, nulls_last))| (at, *descending, *nulls_last))
            .collect();
        sort_rows(&mut rows, &by, |row, at| (order[at].0.value(org, table, *row), order[at].0.kind));
        let skip = usize::try_from(offset).unwrap_or(usize::MAX).min(rows.len());
        rows.drain(..skip);
        rows.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
        Ok(Picked::Rows(rows))
    }
}
