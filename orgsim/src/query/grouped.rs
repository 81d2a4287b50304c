//! Aggregates, with GROUP BY or over the whole result.

use super::{Prepared, filter, plan::Path, sort_rows};
use crate::{
    json,
    rows_api::Value,
    soql::{
        SoqlError,
        ast::{Aggregate, AggregateCall, FieldPath, Operand, SelectItem},
    },
    tables::Kind,
};
use std::collections::{HashMap, HashSet};

/// Most groups an answer may have: aggregates have no second page.
const MOST_GROUPS: usize = 2_000;

/// A column of the grouped result.
enum Column {
    Key(Path),
    Call(Aggregate, Path),
}

impl Column {
    fn kind(&self) -> Kind {
        match self {
            Self::Key(path) | Self::Call(Aggregate::Min | Aggregate::Max, path) => path.kind,
            Self::Call(Aggregate::Sum | Aggregate::Avg, _) => Kind::Double,
            Self::Call(..) => Kind::Int,
        }
    }
}

#[derive(Clone, Default)]
struct Tally {
    count: i64,
    sum: f64,
    least: Option<Value>,
    most: Option<Value>,
    distinct: HashSet<String>,
}

impl Tally {
    fn take(&mut self, value: Value, function: Aggregate, kind: Kind) {
        if value == Value::Null {
            return;
        }
        self.count += 1;
        match function {
            Aggregate::Sum | Aggregate::Avg => {
                self.sum += match value {
                    Value::Int(number) => number as f64,
                    Value::Double(number) => number,
                    _ => 0.0,
                }
            }
            Aggregate::CountDistinct => {
                self.distinct.insert(format!("{value:?}").to_lowercase());
            }
            Aggregate::Min
                if self.least.as_ref().is_none_or(|least| filter::order(&value, least, kind).is_lt()) =>
            {
                self.least = Some(value);
            }
            Aggregate::Max
                if self.most.as_ref().is_none_or(|most| filter::order(&value, most, kind).is_gt()) =>
            {
                self.most = Some(value);
            }
            _ => {}
        }
    }

    fn result(self, function: Aggregate) -> Value {
        match function {
            Aggregate::Count => Value::Int(self.count),
            Aggregate::CountDistinct => Value::Int(self.distinct.len() as i64),
            Aggregate::Sum if self.count == 0 => Value::Null,
            Aggregate::Avg if self.count == 0 => Value::Null,
            Aggregate::Sum => Value::Double(self.sum),
            Aggregate::Avg => Value::Double(self.sum / self.count as f64),
            Aggregate::Min => self.least.unwrap_or(Value::Null),
            Aggregate::Max => self.most.unwrap_or(Value::Null),
        }
    }
}

struct Columns<'a, 'b> {
    prepared: &'a Prepared<'b>,
    columns: Vec<Column>,
    /// The operand each column was made from, lower case, so that HAVING and ORDER BY find it again.
    operands: Vec<String>,
}

impl Columns<'_, '_> {
    fn add(&mut self, operand: &Operand) -> Result<usize, SoqlError> {
        let text = operand.to_string().to_lowercase();
        if let Some(known) = self.operands.iter().position(|operand| *operand == text) {
            return Ok(known);
        }
        let column = match operand {
            Operand::Aggregate(AggregateCall { function, path }) => {
                let path = self.prepared.resolver.path(path)?;
                let numeric = matches!(path.kind, Kind::Int | Kind::Double);
                if matches!(function, Aggregate::Sum | Aggregate::Avg) && !numeric {
                    let message = format!("field {} does not support aggregate operator", path.label());
                    return Err(SoqlError::new("MALFORMED_QUERY", message));
                }
                Column::Call(*function, path)
            }
            Operand::Field(path) => {
                let grouped = |group: &FieldPath| group.to_string().eq_ignore_ascii_case(&path.to_string());
                let resolved = self.prepared.resolver.path(path)?;
                if !self.prepared.query.group_by.iter().any(grouped) {
                    let message = format!("Field must be grouped or aggregated: {path}");
                    return Err(SoqlError::located(
                        "MALFORMED_QUERY",
                        self.prepared.resolver.text,
                        path.at,
                        &message,
                    ));
                }
                Column::Key(resolved)
            }
        };
        self.columns.push(column);
        self.operands.push(text);
        Ok(self.columns.len() - 1)
    }
}

/// Runs a grouped statement; each entry is one rendered `AggregateResult`.
///
/// # Errors
/// The org's refusal.
pub fn run(prepared: &Prepared<'_>) -> Result<Vec<Vec<u8>>, SoqlError> {
    let query = prepared.query;
    let mut columns = Columns { prepared, columns: Vec::new(), operands: Vec::new() };
    for path in &query.group_by {
        columns.add(&Operand::Field(path.clone()))?;
    }
    let mut shown = Vec::new();
    let mut unnamed = 0;
    for item in &query.select {
        let (operand, alias, name) = match item {
            SelectItem::Field { path, alias } => {
                (Operand::Field(path.clone()), alias, path.parts.last().cloned().unwrap_or_default())
            }
            SelectItem::Aggregate { call, alias } => {
                let name = format!("expr{unnamed}");
                unnamed += usize::from(alias.is_none());
                (Operand::Aggregate(call.clone()), alias, name)
            }
            _ => {
                return Err(SoqlError::new(
                    "MALFORMED_QUERY",
                    "only fields and aggregates can be selected in a grouped query",
                ));
            }
        };
        let column = columns.add(&operand)?;
        let name = match (&columns.columns[column], alias) {
            (_, Some(alias)) => alias.clone(),
            (Column::Key(path), None) => path.label().to_owned(),
            _ => name,
        };
        shown.push((name, column));
    }
    let order: Vec<(usize, bool, bool)> = query
        .order_by
        .iter()
        .map(|by| Ok((columns.add(&by.key)?, by.descending, by.nulls_last)))
        .collect::<Result<_, SoqlError>>()?;
    let having = match &query.having {
        Some(condition) => {
            // Columns HAVING needs are made first, then only looked up.
            super::operands_of(condition, &mut |operand| columns.add(operand).map(|_| ()))?;
            let (known, kinds) = (&columns.operands, &columns.columns);
            Some(super::compile(prepared, condition, &|operand| {
                let text = operand.to_string().to_lowercase();
                let at = known.iter().position(|operand| *operand == text).unwrap_or(0);
                Ok((at, kinds[at].kind(), text))
            })?)
        }
        None => None,
    };

    let columns = columns.columns;
    let mut rows = tally(prepared, &columns);
    if let Some(having) = having {
        rows.retain(|row| having.holds(&|at: &usize| (row[*at].clone(), columns[*at].kind())));
    }
    sort_rows(&mut rows, &order, |row, at| (row[at].clone(), columns[at].kind()));
    let offset = usize::try_from(query.offset.unwrap_or(0)).unwrap_or(usize::MAX);
    let limit = query.limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
    let rows: Vec<_> = rows.into_iter().skip(offset).take(limit).collect();
    if rows.len() > MOST_GROUPS {
        let message = "Aggregate query does not support queryMore(), use LIMIT to restrict the results to a single batch";
        return Err(SoqlError::new("EXCEEDED_ID_LIMIT", message));
    }
    Ok(rows
        .into_iter()
        .map(|row| {
            let mut out = b"{\"attributes\":{\"type\":\"AggregateResult\"}".to_vec();
            for (name, at) in &shown {
                json::key(&mut out, name);
                super::render::value(&mut out, &row[*at], columns[*at].kind());
            }
            out.push(b'}');
            out
        })
        .collect())
}

/// The one row of a statement without GROUP BY. Fill rates are asked this way, over every row of an object,
/// so nothing is done per row that need not be.
fn tally_all(prepared: &Prepared<'_>, columns: &[Column]) -> Vec<Value> {
    let (org, table) = (prepared.resolver.org, prepared.resolver.table);
    let mut tallies = vec![Tally::default(); columns.len()];
    let (mut looked_at, mut only_counted) = (Vec::new(), Vec::new());
    for (at, column) in columns.iter().enumerate() {
        match column {
            Column::Call(Aggregate::Count, path) if path.is_never_null(org, table) => only_counted.push(at),
            Column::Call(function, path) => looked_at.push((at, *function, path)),
            Column::Key(_) => {}
        }
    }
    let mut rows = 0;
    if looked_at.is_empty() && prepared.filter.is_none() {
        rows = i64::try_from(table.len(org, prepared.scope)).unwrap_or(i64::MAX);
    } else {
        prepared.each_match(&mut |row| {
            rows += 1;
            for (at, function, path) in &looked_at {
                match function {
                    Aggregate::Count => tallies[*at].count += i64::from(!path.is_null(org, table, row)),
                    _ => tallies[*at].take(path.value(org, table, row), *function, path.kind),
                }
            }
            true
        });
    }
    for at in only_counted {
        tallies[at].count = rows;
    }
    let result = |(tally, column): (Tally, &Column)| match column {
        Column::Call(function, _) => tally.result(*function),
        Column::Key(_) => Value::Null,
    };
    tallies.into_iter().zip(columns).map(result).collect()
}

fn tally(prepared: &Prepared<'_>, columns: &[Column]) -> Vec<Vec<Value>> {
    if prepared.query.group_by.is_empty() {
        return vec![tally_all(prepared, columns)];
    }
    let (org, table) = (prepared.resolver.org, prepared.resolver.table);
    let mut groups: Vec<(Vec<Value>, Vec<Tally>)> = Vec::new();
    let mut known: HashMap<String, usize> = HashMap::new();
    prepared.each_match(&mut |row| {
        let keys: Vec<Value> = columns
            .iter()
            .filter_map(|column| match column {
                Column::Key(path) => Some(path.value(org, table, row)),
                Column::Call(..) => None,
            })
            .collect();
        let at = *known.entry(format!("{keys:?}").to_lowercase()).or_insert_with(|| {
            let mut keys = keys.into_iter();
            let row = columns
                .iter()
                .map(|column| {
                    if matches!(column, Column::Key(_)) {
                        keys.next().unwrap_or(Value::Null)
                    } else {
                        Value::Null
                    }
                })
                .collect();
            groups.push((row, vec![Tally::default(); columns.len()]));
            groups.len() - 1
        });
        for (tally, column) in groups[at].1.iter_mut().zip(columns) {
            if let Column::Call(function, path) = column {
                tally.take(path.value(org, table, row), *function, path.kind);
            }
        }
        true
    });
    groups
        .into_iter()
        .map(|(row, tallies)| {
            row.into_iter()
                .zip(tallies)
                .zip(columns)
                .map(|((key, tally), column)| match column {
                    Column::Key(_) => key,
                    Column::Call(function, _) => tally.result(*function),
                })
                .collect()
        })
        .collect()
}
