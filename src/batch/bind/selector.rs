//! A selector with its references filled in.

use super::BindContext;
use super::fit::{Misfit, fit_operand_text, fit_type, opened};
use super::planned::{Operand, PatternPiece, PlannedTest, Selector, TestBody};
use crate::batch::catalogue::{Column, ColumnId, ColumnType, DatabaseKind, Entity};
use crate::batch::check::{OperationError, Operator, comparison, hides_removed, version_required};
use crate::batch::operation::{Condition, Pattern, PatternPart, Test};
use crate::batch::reference::{PathStep, Results, Template, TextPart};
use crate::batch::value::Value;

/// The rows that a selector means.
pub(super) fn condition(
    entity: &Entity,
    selector: &Selector,
    kind: DatabaseKind,
    results: &dyn Results,
    cx: &mut BindContext<'_>,
) -> Result<Condition, OperationError> {
    let tests = bind_tests(entity, &selector.tests, selector.plain_only, kind, results, cx)?;
    let hides = hides_removed(entity, tests.iter().map(|(column, test)| (*column, test)), kind);
    let mut condition = all(tests);
    for related in &selector.related {
        let tests = bind_tests(&related.entity, &related.tests, false, kind, results, cx)?;
        let hides = hides_removed(&related.entity, tests.iter().map(|(column, test)| (*column, test)), kind);
        condition = condition.and(Condition::Related {
            entity: related.entity.clone(),
            columns: related.columns.clone(),
            condition: Box::new(all(tests).and(hides).and(related.filter.clone())),
        });
    }
    Ok(condition.and(selector.after.clone()).and(hides).and(selector.filter.clone()))
}

fn all(tests: Vec<(ColumnId, Test)>) -> Condition {
    tests
        .into_iter()
        .fold(Condition::True, |condition, (column, test)| condition.and(Condition::Column(column, test)))
}

fn bind_tests(
    entity: &Entity,
    tests: &[PlannedTest],
    plain_only: bool,
    kind: DatabaseKind,
    results: &dyn Results,
    cx: &mut BindContext<'_>,
) -> Result<Vec<(ColumnId, Test)>, OperationError> {
    let mut bound = Vec::with_capacity(tests.len());
    for planned in tests {
        let meta = &entity.columns[planned.column];
        let test = match &planned.body {
            TestBody::Known(test) => test.clone(),
            body => {
                let mut binder = Binder { meta, kind, results, cx };
                binder.test(body).map_err(|error| error.at(planned.pointer.as_str()))?
            }
        };
        if plain_only && !matches!(planned.body, TestBody::Known(_)) {
            let is_version = entity.version.is_some_and(|version| version.column == planned.column);
            match &test {
                Test::Eq(_) => {}
                Test::IsNull if !is_version => {}
                Test::IsNull => return Err(version_required(entity, &meta.name).at(planned.pointer.as_str())),
                _ => {
                    return Err(OperationError::bad(
                        "bad_operator",
                        format!("column `{}`: the reference gives a list; `{}` has a version and is selected by plain values", meta.name, entity.name),
                    )
                    .at_column(&meta.name)
                    .at(planned.pointer.as_str()));
                }
            }
        }
        bound.push((planned.column, test));
    }
    Ok(bound)
}

struct Binder<'a, 'c> {
    meta: &'a Column,
    kind: DatabaseKind,
    results: &'a dyn Results,
    cx: &'a mut BindContext<'c>,
}

impl Binder<'_, '_> {
    fn test(&mut self, body: &TestBody) -> Result<Test, OperationError> {
        match body {
            TestBody::Known(test) => Ok(test.clone()),
            TestBody::Plain(template) => self.plain(template),
            TestBody::WholeList(operator, template) => {
                let Value::Array(values) = opened(self.resolved(template)?) else {
                    return Err(self.bad_operator(format!(
                        "`{}` takes a list, and the reference gives none",
                        operator.name()
                    )));
                };
                if operator.takes_two() && values.len() != 2 {
                    return Err(self.bad_operator(format!("`{}` takes exactly two values", operator.name())));
                }
                let values = self.fitted_list(values)?;
                self.compared(*operator, values)
            }
            TestBody::Operator(operator, operands) => {
                let mut values = Vec::with_capacity(operands.len());
                for operand in operands {
                    values.push(self.operand(operand)?);
                }
                self.compared(*operator, values)
            }
            TestBody::Pattern { negated, pieces } => {
                let mut parts = Vec::with_capacity(pieces.len());
                for piece in pieces {
                    parts.push(self.pattern_part(piece)?);
                }
                let pattern = Pattern(parts);
                Ok(if *negated { Test::NotLike(pattern) } else { Test::Like(pattern) })
            }
        }
    }

    /// A reference that is the whole value: its own kind decides.
    fn plain(&mut self, template: &Template) -> Result<Test, OperationError> {
        let every =
            matches!(template, Template::Reference(reference) if reference.steps.contains(&PathStep::Every));
        let value = opened(self.resolved(template)?);
        let is_list_column = matches!(self.meta.column_type, ColumnType::Array(_));
        match value {
            Value::Null => Ok(Test::IsNull),
            _ if self.meta.column_type == ColumnType::Json => {
                Err(self.bad_operator("a json column can only be tested for null".to_owned()))
            }
            Value::Array(values) if every || !is_list_column => {
                let values = self.fitted_list(values)?;
                self.compared(Operator::In, values)
            }
            value => self.fitted(value).map(Test::Eq),
        }
    }

    fn operand(&mut self, operand: &Operand) -> Result<Value, OperationError> {
        match operand {
            Operand::Known(value) => Ok(value.clone()),
            Operand::Whole(template) => {
                let value = self.resolved(template)?;
                self.fitted(value)
            }
            Operand::Text(template) => match self.resolved(template)? {
                Value::Text(text) => fit_operand_text(text, &self.meta.column_type, self.kind)
                    .map_err(|misfit| self.mismatch(&misfit)),
                other => self.fitted(other),
            },
        }
    }

    fn pattern_part(&mut self, piece: &PatternPiece) -> Result<PatternPart, OperationError> {
        let reference = match piece {
            PatternPiece::Part(part) => return Ok(part.clone()),
            PatternPiece::Reference(reference) => reference,
        };
        // Inside a pattern it is text, whatever it was.
        let template = Template::Text(vec![TextPart::Reference(reference.clone())]);
        match self.resolved(&template)? {
            Value::Text(text) => Ok(PatternPart::Literal(text)),
            other => Ok(PatternPart::Literal(other.to_json())),
        }
    }

    fn fitted_list(&mut self, values: Vec<Value>) -> Result<Vec<Value>, OperationError> {
        let most = self.cx.limits.in_list;
        if values.len() > most {
            return Err(self.bad_operator(format!(
                "the reference gives {} values; {most} is the limit (`max_in_list`)",
                values.len()
            )));
        }
        values.into_iter().map(|value| self.fitted(value)).collect()
    }

    fn compared(&self, operator: Operator, values: Vec<Value>) -> Result<Test, OperationError> {
        comparison(operator, values).ok_or_else(|| {
            self.bad_operator(format!(
                "`{}` compares with a value, and the reference gives null",
                operator.name()
            ))
        })
    }

    fn resolved(&mut self, template: &Template) -> Result<Value, OperationError> {
        super::work::resolved(template, self.results, self.cx)
    }

    fn fitted(&self, value: Value) -> Result<Value, OperationError> {
        fit_type(value, &self.meta.column_type, self.kind).map_err(|misfit| self.mismatch(&misfit))
    }

    fn mismatch(&self, misfit: &Misfit) -> OperationError {
        OperationError::type_mismatch(&self.meta.name, misfit)
    }

    fn bad_operator(&self, what: String) -> OperationError {
        OperationError::bad("bad_operator", format!("column `{}`: {what}", self.meta.name))
            .at_column(&self.meta.name)
    }
}
