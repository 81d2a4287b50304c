//! `query_params`: which rows, with operators found and constants fitted (contract, section 6); and reads as a whole.

use std::sync::Arc;

use super::error::{OperationError, Place, shortened};
use super::operators::{self, Divided, Operator};
use super::{CheckedOperation, Desk, add_column, base, metadata, properties};
use crate::batch::access::rules::{Grant, Right};
use crate::batch::bind::fit::{fit, fit_operand_text};
use crate::batch::bind::planned::{
    Operand, PatternPiece, PlannedTest, PlannedWork, RelatedSelector, Selector, TestBody,
};
use crate::batch::catalogue::{Column, ColumnId, ColumnType, DatabaseKind, Entity, Relation, RelationKind};
use crate::batch::operation::{Condition, Lock, Pattern, PatternPart, Test};
use crate::batch::reference::{PathStep, Template};
use crate::batch::request::OperationRequest;
use crate::batch::value::Value;

const PART: &str = "query_params";

/// A read.
pub(super) fn check_read(
    operation: &OperationRequest,
    entity: &Arc<Entity>,
    grant: &Grant,
    desk: &Desk<'_>,
) -> Result<CheckedOperation, OperationError> {
    metadata::refuse_unknown(operation, metadata::OF_READS)?;
    let selector = check_selector(operation, entity, grant, &grant.filter, desk)?;
    let shown = properties::of_read(operation, entity, grant, desk)?;
    let sort = metadata::sort(operation, entity, grant, desk)?;
    let limit = metadata::limit(operation, desk)?;
    let offset = metadata::offset(operation)?;
    let lock = metadata::lock(operation)?;
    let is_count = metadata::count(operation)?;
    let after = metadata::cursor(operation, entity, grant, &sort, desk)?;
    let selector = Selector { after, ..selector };

    if is_count {
        let work = PlannedWork::Count { selector };
        let mut checked = base(operation, desk, Some(entity), grant.columns.clone(), work);
        checked.is_count = true;
        return Ok(checked);
    }
    // Outside a transaction of its own length a row lock protects nothing.
    let lock = if desk.cx.options.atomic { lock } else { Lock::None };
    let work = PlannedWork::Read { selector, sort: sort.clone(), limit, offset, lock };
    let mut checked = base(operation, desk, Some(entity), grant.columns.clone(), work);
    // What the next cursor is made of, as far as it is the caller's to see.
    for key in sort.iter().filter(|key| key.through.is_none() && grant.columns[key.column]) {
        add_column(&mut checked.fetch_columns, key.column);
    }
    for column in &shown.columns {
        add_column(&mut checked.fetch_columns, *column);
    }
    for (here, _) in shown.associations.iter().flat_map(|plan| &plan.pairs) {
        add_column(&mut checked.fetch_columns, *here);
    }
    checked.answer_columns = shown.columns;
    checked.associations = shown.associations;
    checked.limit_stated = operation.metadata("limit").is_some();
    Ok(checked)
}

/// `query_params` of a read, update or delete. `filter`: rows that the caller may touch.
pub(super) fn check_selector(
    operation: &OperationRequest,
    entity: &Arc<Entity>,
    read: &Grant,
    filter: &Condition,
    desk: &Desk<'_>,
) -> Result<Selector, OperationError> {
    let reads = operation.action == crate::batch::operation::Action::Read;
    let versioned = !reads && entity.version.is_some();
    let mut selector = Selector {
        tests: Vec::with_capacity(operation.query_params.len()),
        related: Vec::new(),
        after: Condition::True,
        filter: filter.clone(),
        plain_only: versioned,
    };
    for (name, template) in &operation.query_params {
        let place = Place::new(operation.index, PART, name);
        if let Some(column) = entity.column_id(name) {
            if !read.columns[column] {
                return Err(
                    OperationError::column_forbidden(&entity.name, name, "select by").at(place.pointer())
                );
            }
            if versioned && !is_plain(template) {
                return Err(OperationError::bad(
                    "bad_operator",
                    format!("`{}` has a version: its updates and deletes select by plain values, not by operators or lists", entity.name),
                )
                .at_column(name)
                .at(place.pointer()));
            }
            plan_tests(&mut selector.tests, column, &entity.columns[column], template, place, desk)?;
            continue;
        }
        let related =
            name.split_once('.').and_then(|(first, rest)| entity.relation(first).map(|found| (found, rest)));
        let Some((relation, rest)) = related else {
            return Err(OperationError::unknown_column(&entity.name, name).at(place.pointer()));
        };
        if !reads {
            return Err(OperationError::bad(
                "unknown_column",
                "an update or delete selects by its entity's own columns; read the related rows first and refer to their keys",
            )
            .at(place.pointer()));
        }
        let (other, grant) =
            related_entity(entity, relation, read, desk).map_err(|error| error.at(place.pointer()))?;
        let Some(column) = other.column_id(rest) else {
            return Err(OperationError::unknown_column(&other.name, rest).at(place.pointer()));
        };
        if !grant.columns[column] {
            let name = &other.columns[column].name;
            return Err(OperationError::column_forbidden(&other.name, name, "select by").at(place.pointer()));
        }
        let at = selector.related.iter().position(|known| known.name == relation.name).unwrap_or_else(|| {
            selector.related.push(RelatedSelector {
                name: Arc::clone(&relation.name),
                entity: Arc::clone(&other),
                columns: relation.columns.clone(),
                tests: Vec::new(),
                filter: grant.filter.clone(),
            });
            selector.related.len() - 1
        });
        plan_tests(&mut selector.related[at].tests, column, &other.columns[column], template, place, desk)?;
    }
    Ok(selector)
}

/// The other entity of a relation, as far as the caller may read it. Whoever follows a relation learns what is in the
/// columns that it is made of, so these must be the caller's to read: the foreign key, on whichever side it is, and the key
/// here.
pub(super) fn related_entity(
    entity: &Entity,
    relation: &Relation,
    read: &Grant,
    desk: &Desk<'_>,
) -> Result<(Arc<Entity>, std::rc::Rc<Grant>), OperationError> {
    let Some(other) = desk.cx.catalogue.entities.get(&relation.entity) else {
        return Err(OperationError::unknown_column(&entity.name, &relation.name));
    };
    let Some(grant) = desk.grant(other, Right::Read) else {
        return Err(OperationError::forbidden(
            "action_forbidden",
            format!("you may not read `{}`", other.name),
        ));
    };
    for (here, there) in &relation.columns {
        if !read.columns[*here] {
            return Err(OperationError::column_forbidden(&entity.name, &entity.columns[*here].name, "read"));
        }
        if relation.kind == RelationKind::Array && !grant.columns[*there] {
            return Err(OperationError::column_forbidden(&other.name, &other.columns[*there].name, "read"));
        }
    }
    Ok((Arc::clone(other), grant))
}

/// Whether the value is no list, no object and no text with an operator: plain equality, once it is known.
fn is_plain(template: &Template) -> bool {
    match template {
        Template::Value(Value::Array(_) | Value::Object(_)) | Template::Array(_) | Template::Object(_) => {
            false
        }
        Template::Reference(reference) => !reference.steps.contains(&PathStep::Every),
        text => operators::text_parts(text).is_none_or(|parts| operators::divide(&parts) == Divided::Plain),
    }
}

/// The tests that one key of `query_params` says: one, or several of the object form.
fn plan_tests(
    tests: &mut Vec<PlannedTest>,
    column: ColumnId,
    meta: &Column,
    template: &Template,
    place: Place<'_>,
    desk: &Desk<'_>,
) -> Result<(), OperationError> {
    let planner = Planner { column, meta, place, desk };
    match template {
        Template::Object(fields) => fields.iter().try_for_each(|(name, operand)| {
            tests.push(planner.object_form(name, operand)?);
            Ok(())
        }),
        Template::Value(Value::Object(fields)) if fields.is_empty() => {
            Err(planner.bad_operator("an object without an operator".to_owned()))
        }
        Template::Value(Value::Object(fields)) => fields.iter().try_for_each(|(name, operand)| {
            tests.push(planner.object_form(name, &Template::Value(operand.clone()))?);
            Ok(())
        }),
        _ => {
            tests.push(planner.short_form(template)?);
            Ok(())
        }
    }
}

struct Planner<'a> {
    column: ColumnId,
    meta: &'a Column,
    place: Place<'a>,
    desk: &'a Desk<'a>,
}

impl Planner<'_> {
    fn kind(&self) -> DatabaseKind {
        self.desk.kind()
    }

    fn bad_operator(&self, what: String) -> OperationError {
        OperationError::bad("bad_operator", format!("column `{}`: {what}", self.meta.name))
            .at_column(&self.meta.name)
            .at(self.place.pointer())
    }

    fn known(&self, test: Test, plain: bool) -> PlannedTest {
        PlannedTest { column: self.column, plain, pointer: String::new(), body: TestBody::Known(test) }
    }

    fn later(&self, body: TestBody, plain: bool) -> PlannedTest {
        PlannedTest { column: self.column, plain, pointer: self.place.pointer(), body }
    }

    fn fitted(&self, value: &Value) -> Result<Value, OperationError> {
        fit(value.clone(), self.meta, self.kind()).map_err(|misfit| {
            OperationError::type_mismatch(&self.meta.name, &misfit).at(self.place.pointer())
        })
    }

    fn fitted_text(&self, text: &str) -> Result<Value, OperationError> {
        fit_operand_text(text.to_owned(), &self.meta.column_type, self.kind()).map_err(|misfit| {
            OperationError::type_mismatch(&self.meta.name, &misfit).at(self.place.pointer())
        })
    }

    /// A scalar, null, a list, or a text that may have an operator.
    fn short_form(&self, template: &Template) -> Result<PlannedTest, OperationError> {
        if let Some(parts) = operators::text_parts(template) {
            return match operators::divide(&parts) {
                Divided::Operator(operator, rest) => self.text_form(operator, &rest),
                Divided::Unknown(prefix) => Err(self.bad_operator(format!(
                    "`{}` is no operator; there are {}; to compare with a text that has `::` in it, write `eq::` in front",
                    shortened(&prefix),
                    operators::NAMES
                ))),
                Divided::Plain => {
                    self.refuse_document()?;
                    match template {
                        Template::Value(Value::Text(text)) => {
                            Ok(self.known(Test::Eq(self.fitted_text(text)?), true))
                        }
                        _ => Ok(self.later(
                            TestBody::Operator(Operator::Eq, vec![Operand::Text(template.clone())]),
                            true,
                        )),
                    }
                }
            };
        }
        match template {
            Template::Value(Value::Null) => Ok(self.known(Test::IsNull, false)),
            Template::Value(Value::Array(values)) => {
                let operands: Vec<Template> = values.iter().cloned().map(Template::Value).collect();
                self.listed(Operator::In, &operands)
            }
            Template::Array(items) => self.listed(Operator::In, items),
            Template::Value(value) => {
                self.refuse_document()?;
                Ok(self.known(Test::Eq(self.fitted(value)?), true))
            }
            Template::Reference(reference) => {
                let plain = !reference.steps.contains(&PathStep::Every);
                Ok(self.later(TestBody::Plain(template.clone()), plain))
            }
            // Objects and texts went another way.
            Template::Object(_) | Template::Text(_) => {
                Err(self.bad_operator("no value to compare with".to_owned()))
            }
        }
    }

    /// `op::operand`.
    fn text_form(
        &self,
        operator: Operator,
        rest: &[crate::batch::reference::TextPart],
    ) -> Result<PlannedTest, OperationError> {
        self.refuse_document()?;
        if operator.takes_pattern() {
            return self.pattern(operator, operators::pattern(rest));
        }
        let items = if operator.takes_list() { operators::split_list(rest) } else { vec![rest.to_vec()] };
        let operands: Result<Vec<Operand>, OperationError> = items
            .into_iter()
            .map(|item| match operators::joined(item) {
                Template::Value(Value::Text(text)) => self.fitted_text(&text).map(Operand::Known),
                template => Ok(Operand::Text(template)),
            })
            .collect();
        self.operands(operator, operands?)
    }

    /// One operator of the object form.
    fn object_form(&self, name: &str, operand: &Template) -> Result<PlannedTest, OperationError> {
        let planner = Planner { place: Place { operator: Some(name), ..self.place }, ..*self };
        planner.object_operator(name, operand)
    }

    fn object_operator(&self, name: &str, operand: &Template) -> Result<PlannedTest, OperationError> {
        if let "is-null" | "not-null" = name {
            let Template::Value(Value::Bool(flag)) = operand else {
                return Err(self.bad_operator(format!("`{name}` takes true or false")));
            };
            let test = if (name == "is-null") == *flag { Test::IsNull } else { Test::NotNull };
            return Ok(self.known(test, false));
        }
        let Some(operator) = Operator::named(name) else {
            return Err(self.bad_operator(format!(
                "`{}` is no operator; there are {}, is-null, not-null",
                shortened(name),
                operators::NAMES
            )));
        };
        if operator.takes_pattern() {
            self.refuse_document()?;
            return match operand {
                Template::Reference(reference) => {
                    self.pattern(operator, vec![PatternPiece::Reference(reference.clone())])
                }
                _ => match operators::text_parts(operand) {
                    Some(parts) => self.pattern(operator, operators::pattern(&parts)),
                    None => Err(self.bad_operator(format!("`{name}` takes a text"))),
                },
            };
        }
        if operator.takes_list() {
            return match operand {
                Template::Value(Value::Array(values)) => {
                    let operands: Vec<Template> = values.iter().cloned().map(Template::Value).collect();
                    self.listed(operator, &operands)
                }
                Template::Array(items) => self.listed(operator, items),
                Template::Reference(_) => {
                    self.refuse_document()?;
                    Ok(self.later(TestBody::WholeList(operator, operand.clone()), false))
                }
                _ => Err(self.bad_operator(format!("`{name}` takes a list"))),
            };
        }
        match (operator, operand) {
            (Operator::Eq, Template::Value(Value::Null)) => Ok(self.known(Test::IsNull, false)),
            (Operator::Ne, Template::Value(Value::Null)) => Ok(self.known(Test::NotNull, false)),
            (_, Template::Value(Value::Null)) => {
                Err(self.bad_operator(format!("`{name}` compares with a value, and null is none")))
            }
            _ => {
                self.refuse_document()?;
                let operand = self.operand(operand)?;
                self.operands(operator, vec![operand])
            }
        }
    }

    /// An operator with a list of JSON values.
    fn listed(&self, operator: Operator, items: &[Template]) -> Result<PlannedTest, OperationError> {
        self.refuse_document()?;
        self.refuse_long_list(items.len())?;
        let operands: Result<Vec<Operand>, OperationError> =
            items.iter().map(|item| self.operand(item)).collect();
        self.operands(operator, operands?)
    }

    fn operand(&self, template: &Template) -> Result<Operand, OperationError> {
        match template {
            Template::Value(Value::Text(text)) => self.fitted_text(text).map(Operand::Known),
            Template::Value(value) => self.fitted(value).map(Operand::Known),
            Template::Text(_) => Ok(Operand::Text(template.clone())),
            _ => Ok(Operand::Whole(template.clone())),
        }
    }

    /// The test, where all operands are known; otherwise what is left to do.
    fn operands(&self, operator: Operator, operands: Vec<Operand>) -> Result<PlannedTest, OperationError> {
        self.refuse_long_list(operands.len())?;
        if operator.takes_two() && operands.len() != 2 {
            return Err(self.bad_operator(format!("`{}` takes exactly two values", operator.name())));
        }
        if operands.iter().any(|operand| !matches!(operand, Operand::Known(_))) {
            return Ok(self.later(TestBody::Operator(operator, operands), false));
        }
        let values = operands.into_iter().filter_map(|operand| match operand {
            Operand::Known(value) => Some(value),
            Operand::Whole(_) | Operand::Text(_) => None,
        });
        match comparison(operator, values.collect()) {
            Some(test) => Ok(self.known(test, false)),
            None => {
                Err(self
                    .bad_operator(format!("`{}` compares with a value, and null is none", operator.name())))
            }
        }
    }

    fn pattern(&self, operator: Operator, pieces: Vec<PatternPiece>) -> Result<PlannedTest, OperationError> {
        if !takes_patterns(&self.meta.column_type) {
            return Err(self.bad_operator(format!("`{}` is for text", operator.name())));
        }
        let negated = operator == Operator::NotLike;
        let known: Option<Vec<PatternPart>> = pieces
            .iter()
            .map(|piece| match piece {
                PatternPiece::Part(part) => Some(part.clone()),
                PatternPiece::Reference(_) => None,
            })
            .collect();
        Ok(match known {
            Some(parts) if negated => self.known(Test::NotLike(Pattern(parts)), false),
            Some(parts) => self.known(Test::Like(Pattern(parts)), false),
            None => self.later(TestBody::Pattern { negated, pieces }, false),
        })
    }

    /// Databases do not agree on what it means for documents to be equal, and some refuse to compare them.
    fn refuse_document(&self) -> Result<(), OperationError> {
        match self.meta.column_type {
            ColumnType::Json => {
                Err(self.bad_operator("a json column can only be tested for null".to_owned()))
            }
            _ => Ok(()),
        }
    }

    fn refuse_long_list(&self, length: usize) -> Result<(), OperationError> {
        let most = self.desk.cx.limits.in_list;
        if length <= most {
            return Ok(());
        }
        Err(self.bad_operator(format!("a list of {length} values; {most} is the limit (`max_in_list`)")))
    }
}

/// Columns whose content is text, on every database.
fn takes_patterns(column_type: &ColumnType) -> bool {
    matches!(
        column_type,
        ColumnType::Text | ColumnType::Enum(_) | ColumnType::Uuid | ColumnType::Other | ColumnType::Any
    )
}

/// The test that an operator and its operands make; `None`: one of them is null where a value is needed. How many operands
/// there are was seen before.
pub(in crate::batch) fn comparison(operator: Operator, mut values: Vec<Value>) -> Option<Test> {
    let nulls = values.iter().filter(|value| value.is_null()).count();
    match operator {
        Operator::In => {
            // `x IN (1, NULL)` holds for 1 and nothing else.
            values.retain(|value| !value.is_null());
            return Some(Test::In(values));
        }
        // `x NOT IN (1, NULL)` holds for nothing.
        Operator::NotIn if nulls > 0 => return Some(Test::In(Vec::new())),
        Operator::NotIn => return Some(Test::NotIn(values)),
        _ if nulls > 0 => return None,
        _ => {}
    }
    let mut values = values.into_iter();
    let first = values.next()?;
    Some(match operator {
        Operator::Eq => Test::Eq(first),
        Operator::Ne => Test::Ne(first),
        Operator::Lt => Test::Lt(first),
        Operator::Le => Test::Le(first),
        Operator::Gt => Test::Gt(first),
        Operator::Ge => Test::Ge(first),
        Operator::Between => Test::Between(first, values.next()?),
        Operator::NotBetween => Test::NotBetween(first, values.next()?),
        Operator::In | Operator::NotIn | Operator::Like | Operator::NotLike => return None,
    })
}
