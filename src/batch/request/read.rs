//! The two passes over a body: the first stops at its first fault, the second gathers all of them.

use std::collections::HashMap;
use std::sync::Arc;

use super::faults::{Faults, Place, Rank, quoted, refuse};
use super::json::{self, Node, Unreadable};
use super::operation::Reader;
use super::{BatchRequest, FaultKind, Limits, OperationClaims, Refusal, options};
use crate::batch::plan::{Plan, plan};
use crate::batch::reference::parse::{ID_MAX, is_id_byte};

pub(super) fn parse(
    body: &[u8],
    limits: &Limits,
    operation_claims: OperationClaims,
) -> Result<(BatchRequest, Plan), Refusal> {
    if body.len() > limits.body_bytes {
        let detail = format!("the body has {} bytes, at most {} are taken", body.len(), limits.body_bytes);
        return Err(refuse(FaultKind::BodyTooLarge, "", detail));
    }
    let document = json::read(body, limits.json_depth).map_err(unreadable)?;
    let mut faults = Faults::default();
    for pointer in document.repeated {
        faults.add(Rank::FieldTypes, || super::Fault {
            kind: FaultKind::InvalidRequest,
            detail: String::from("the key is there twice: every key of an object may be there once"),
            pointer,
            operation: None,
        });
    }
    let Node::Object(fields) = document.root else {
        let detail = format!("the body must be an object with `operations`, not {}", document.root.kind());
        return Err(refuse(FaultKind::InvalidRequest, "", detail));
    };
    let mut operations = None;
    let mut options_node = None;
    for (key, value) in fields {
        match &*key {
            "operations" => operations = Some(value),
            "options" => options_node = Some(value),
            _ => faults.add(Rank::FieldTypes, || {
                let detail =
                    format!("there is no field {}: a batch has `operations` and `options`", quoted(&key));
                Place::top(&key).fault(FaultKind::InvalidRequest, None, detail)
            }),
        }
    }
    let operations = operations_of(operations, limits)?;

    let names = Names::of(&operations, &mut faults);
    let mut reader = Reader::new(limits, operation_claims, faults, names);
    let mut read = Vec::with_capacity(operations.len());
    let mut dependencies = Vec::with_capacity(operations.len());
    for (index, node) in operations.into_iter().enumerate() {
        let (operation, awaited) = reader.operation(index, node);
        read.extend(operation);
        dependencies.push(awaited);
    }
    let (mut faults, names) = reader.into_parts();
    let options = options::read(options_node, &mut faults);
    let plan = order(&names.ids, dependencies, limits, &mut faults);
    match plan {
        Some(plan) if faults.are_none() => Ok((BatchRequest { operations: read, options }, plan)),
        _ => Err(faults.into_refusal()),
    }
}

fn unreadable(error: Unreadable) -> Refusal {
    let detail = match error {
        Unreadable::NotUtf8 { at } => format!("the body is not UTF-8: byte {at} begins no character"),
        Unreadable::Syntax { line, column, why } => {
            format!("the body is not JSON: line {line}, column {column}: {why}")
        }
        Unreadable::TooDeep { limit } => {
            format!("the body nests lists and objects deeper than {limit} levels")
        }
    };
    refuse(FaultKind::InvalidRequest, "", detail)
}

fn operations_of<'a>(node: Option<Node<'a>>, limits: &Limits) -> Result<Vec<Node<'a>>, Refusal> {
    const POINTER: &str = "/operations";
    let operations = match node {
        None | Some(Node::Null) => Vec::new(),
        Some(Node::Array(operations)) => operations,
        Some(other) => {
            let detail = format!("`operations` must be a list, not {}", other.kind());
            return Err(refuse(FaultKind::InvalidRequest, POINTER, detail));
        }
    };
    if operations.is_empty() {
        let detail = String::from("`operations` must be a list with at least one operation");
        return Err(refuse(FaultKind::EmptyBatch, POINTER, detail));
    }
    if operations.len() > limits.operations {
        let detail = format!(
            "the batch has {} operations, at most {} are taken: split it",
            operations.len(),
            limits.operations
        );
        return Err(refuse(FaultKind::TooManyOperations, POINTER, detail));
    }
    Ok(operations)
}

/// Orders what was read; dependencies that are not there have been left out.
fn order(
    ids: &[Arc<str>],
    dependencies: Vec<Vec<usize>>,
    limits: &Limits,
    faults: &mut Faults,
) -> Option<Plan> {
    let operations = Place::top("operations");
    match plan(ids, dependencies) {
        Ok(plan) => {
            let depth = plan.depth();
            if depth > limits.depth {
                let deepest = plan.levels.iter().position(|&level| level + 1 == depth).unwrap_or(0);
                faults.add(Rank::Order, || {
                    let detail = format!(
                        "operation `{}` ends a chain of {depth} dependent operations, at most {} are taken",
                        ids[deepest], limits.depth
                    );
                    operations.index(deepest).fault(FaultKind::InvalidRequest, Some(&ids[deepest]), detail)
                });
            }
            Some(plan)
        }
        Err(cycle) => {
            let first = cycle.path.first().copied().unwrap_or(0);
            faults.add(Rank::Order, || {
                let detail = format!(
                    "the operations wait for each other: {}; remove one of the dependencies or references",
                    cycle.written
                );
                operations.index(first).fault(FaultKind::Cycle, Some(&ids[first]), detail)
            });
            None
        }
    }
}

/// Ids of all operations, known before anything refers to them.
pub(super) struct Names {
    pub ids: Vec<Arc<str>>,
    pub places: HashMap<Arc<str>, usize>,
}

impl Names {
    fn of(operations: &[Node<'_>], faults: &mut Faults) -> Self {
        let mut ids = Vec::with_capacity(operations.len());
        let mut places = HashMap::with_capacity(operations.len());
        let list = Place::top("operations");
        for (index, node) in operations.iter().enumerate() {
            let operation = list.index(index);
            let place = operation.key("id");
            let written = match node {
                Node::Object(fields) => fields.iter().rev().find(|(key, _)| key == "id").map(|(_, id)| id),
                _ => None,
            };
            let id: Arc<str> = match written {
                Some(Node::Text(text)) if !text.is_empty() => Arc::from(&**text),
                _ => Arc::from(format!("op_{index}")),
            };
            match written {
                None | Some(Node::Null) => {}
                Some(Node::Text(text)) => {
                    if text.len() > ID_MAX || !text.bytes().all(is_id_byte) {
                        faults.add(Rank::IdShape, || {
                            let detail = format!(
                                "the id {} of operation {index} must have 1 to {ID_MAX} letters, digits and `_`",
                                quoted(text)
                            );
                            place.fault(FaultKind::InvalidId, None, detail)
                        });
                    }
                }
                Some(other) => faults.add(Rank::IdShape, || {
                    let detail = format!("the id of operation {index} must be a text, not {}", other.kind());
                    place.fault(FaultKind::InvalidId, None, detail)
                }),
            }
            match places.get(&id) {
                None => {
                    places.insert(Arc::clone(&id), index);
                }
                Some(first) => faults.add(Rank::DuplicateId, || {
                    let detail = format!("operations {first} and {index} both have the id {}", quoted(&id));
                    place.fault(FaultKind::DuplicateId, Some(&id), detail)
                }),
            }
            ids.push(id);
        }
        Self { ids, places }
    }
}
