//! One operation of a body, field by field.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use super::faults::{Faults, Place, Rank, quoted};
use super::json::Node;
use super::names::RecentNames;
use super::read::Names;
use super::{Expect, FaultKind, Limits, OperationClaims, OperationRequest, StoreParams};
use crate::batch::operation::Action;
use crate::batch::reference::Template;
use crate::batch::reference::parse::ID_MAX;
use crate::batch::value::Value;

const OPERATION_KEYS: &str = "`id`, `entity`, `action`, `store_params`, `query_params`, `metadata_params`, \
                              `depends_on`, `expect` and `claims`";
const METADATA_KEYS: [&str; 8] =
    ["sort", "limit", "offset", "properties", "_properties", "count", "lock", "cursor"];

pub(super) type Fields<'a> = Vec<(Cow<'a, str>, Node<'a>)>;

/// The second pass, one operation after the other.
pub(super) struct Reader<'l> {
    pub limits: &'l Limits,
    operation_claims: OperationClaims,
    pub faults: Faults,
    pub names: Names,
    pub recent: RecentNames,
    /// References so far.
    pub references: usize,
    /// Of the operation that is read now: its place, its id, and what it waits for.
    index: usize,
    id: Arc<str>,
    pub dependencies: Vec<usize>,
}

impl<'l> Reader<'l> {
    pub fn new(limits: &'l Limits, operation_claims: OperationClaims, faults: Faults, names: Names) -> Self {
        Self {
            limits,
            operation_claims,
            faults,
            names,
            recent: RecentNames::default(),
            references: 0,
            index: 0,
            id: Arc::from(""),
            dependencies: Vec::new(),
        }
    }

    pub fn into_parts(self) -> (Faults, Names) {
        (self.faults, self.names)
    }

    /// The operation at this place, and what it waits for; without the operation only where a fault was added.
    pub fn operation(&mut self, index: usize, node: Node<'_>) -> (Option<OperationRequest>, Vec<usize>) {
        self.index = index;
        self.id = Arc::clone(&self.names.ids[index]);
        let operation = self.fields_of_operation(node);
        (operation, std::mem::take(&mut self.dependencies))
    }

    fn fields_of_operation(&mut self, node: Node<'_>) -> Option<OperationRequest> {
        let list = Place::top("operations");
        let place = list.index(self.index);
        let Node::Object(fields) = node else {
            self.fault(Rank::FieldTypes, FaultKind::InvalidRequest, &place, || {
                format!("an operation must be an object, not {}", node.kind())
            });
            return None;
        };
        let (mut entity, mut action, mut store, mut query) = (None, None, None, None);
        let (mut metadata, mut depends_on, mut expect, mut claims) = (None, None, None, None);
        for (key, value) in fields {
            match &*key {
                "id" => {}
                "entity" => entity = Some(value),
                "action" => action = Some(value),
                "store_params" => store = Some(value),
                "query_params" => query = Some(value),
                "metadata_params" => metadata = Some(value),
                "depends_on" => depends_on = Some(value),
                "expect" => expect = Some(value),
                "claims" => claims = Some(value),
                _ => self.fault(Rank::FieldTypes, FaultKind::InvalidRequest, &place.key(&key), || {
                    format!("there is no field {}: an operation has {OPERATION_KEYS}", quoted(&key))
                }),
            }
        }
        let entity = self.entity(entity, &place);
        let action = self.action(action, &place);
        let claims = self.claims(claims, &place.key("claims"));
        let store_params = self.store_params(store, action, &place.key("store_params"));
        let query_params = self.query_params(query, action, &place.key("query_params"));
        let metadata_params = self.metadata_params(metadata, &place.key("metadata_params"));
        let depends_on = self.depends_on(depends_on, &place.key("depends_on"));
        let expect = self.expect(expect, &place.key("expect"));
        Some(OperationRequest {
            index: self.index,
            id: Arc::clone(&self.id),
            entity: entity?,
            action: action?,
            store_params,
            query_params,
            metadata_params,
            depends_on,
            expect,
            claims,
        })
    }

    fn entity(&mut self, node: Option<Node<'_>>, place: &Place<'_>) -> Option<Arc<str>> {
        let here = place.key("entity");
        match node {
            Some(Node::Text(name)) if &*name == "batch" => {
                self.fault(Rank::NestedBatch, FaultKind::NestedBatch, &here, || {
                    String::from("a batch cannot hold a batch: put its operations into this one")
                });
                None
            }
            Some(Node::Text(name)) if !name.is_empty() => Some(self.recent.keep(&name)),
            None | Some(Node::Null | Node::Text(_)) => {
                self.fault(Rank::MissingField, FaultKind::MissingField, &here, || {
                    String::from("`entity` is missing: name the entity that the operation is about")
                });
                None
            }
            Some(other) => {
                self.wrong_type("entity", "a text", &other, &here);
                None
            }
        }
    }

    fn action(&mut self, node: Option<Node<'_>>, place: &Place<'_>) -> Option<Action> {
        let here = place.key("action");
        match node {
            None | Some(Node::Null) => {
                self.fault(Rank::MissingField, FaultKind::MissingField, &here, || {
                    String::from("`action` is missing: `create`, `read`, `update` or `delete`")
                });
                None
            }
            Some(Node::Text(name)) => match &*name {
                "create" => Some(Action::Create),
                "read" => Some(Action::Read),
                "update" => Some(Action::Update),
                "delete" => Some(Action::Delete),
                other => {
                    self.fault(Rank::Action, FaultKind::InvalidAction, &here, || {
                        let name = quoted(other);
                        format!("there is no action {name}: `create`, `read`, `update` or `delete`")
                    });
                    None
                }
            },
            Some(other) => {
                self.fault(Rank::Action, FaultKind::InvalidAction, &here, || {
                    format!("`action` must be a text, not {}", other.kind())
                });
                None
            }
        }
    }

    fn claims(&mut self, node: Option<Node<'_>>, here: &Place<'_>) -> Option<Value> {
        let node = node?;
        if self.operation_claims == OperationClaims::Refuse {
            self.fault(Rank::Claims, FaultKind::ClaimsNotAllowed, here, || {
                String::from("`claims` cannot be given here: those of the token hold for every operation")
            });
            return None;
        }
        if !matches!(node, Node::Object(_)) {
            self.wrong_type("claims", "an object", &node, here);
            return None;
        }
        if holds_mark(&node) {
            self.fault(Rank::MalformedReference, FaultKind::BadReference, here, || {
                String::from("`claims` cannot hold references")
            });
            return None;
        }
        Some(node.into_value())
    }

    fn store_params(
        &mut self,
        node: Option<Node<'_>>,
        action: Option<Action>,
        here: &Place<'_>,
    ) -> StoreParams {
        let Some(node) = node else { return StoreParams::None };
        let stores = !matches!(action, Some(Action::Read | Action::Delete));
        match node {
            Node::Object(fields) if fields.is_empty() && !stores => StoreParams::None,
            Node::Object(_) | Node::Array(_) if !stores => {
                self.fault(Rank::FieldTypes, FaultKind::InvalidRequest, here, || {
                    String::from("`store_params` belongs to create and update: leave it out")
                });
                StoreParams::None
            }
            Node::Object(fields) => StoreParams::One(self.fields(fields, here)),
            Node::Array(rows) if action != Some(Action::Update) => self.rows(rows, here),
            other => {
                let wanted = if action == Some(Action::Update) {
                    "an object"
                } else {
                    "an object or a list of objects"
                };
                self.wrong_type("store_params", wanted, &other, here);
                StoreParams::None
            }
        }
    }

    /// Rows of one create: all of the same keys, told once.
    fn rows(&mut self, rows: Vec<Node<'_>>, here: &Place<'_>) -> StoreParams {
        let count = rows.len();
        if count == 0 || count > self.limits.rows_per_create {
            let most = self.limits.rows_per_create;
            self.fault(Rank::FieldTypes, FaultKind::InvalidRequest, here, || {
                format!("`store_params` has {count} rows: a create takes 1 to {most}")
            });
            return StoreParams::None;
        }
        let mut keys: Vec<Arc<str>> = Vec::new();
        let mut read: Vec<Vec<Template>> = Vec::with_capacity(count);
        for (index, row) in rows.into_iter().enumerate() {
            let here = here.index(index);
            let Node::Object(mut fields) = row else {
                self.wrong_type("store_params", "a list of objects", &row, &here);
                continue;
            };
            if index == 0 {
                keys = fields.iter().map(|(key, _)| Arc::from(&**key)).collect();
            } else if !put_in_order(&mut fields, &keys) {
                self.fault(Rank::FieldTypes, FaultKind::InvalidRequest, &here, || {
                    String::from("every row of one create must have the keys of the first: write null where one has none")
                });
                continue;
            }
            let row = fields.into_iter().map(|(key, value)| self.template(value, &here.key(&key)));
            read.push(row.collect());
        }
        StoreParams::Many { keys, rows: read }
    }

    fn query_params(
        &mut self,
        node: Option<Node<'_>>,
        action: Option<Action>,
        here: &Place<'_>,
    ) -> Vec<(Arc<str>, Template)> {
        match node {
            None => Vec::new(),
            Some(Node::Object(fields)) if !fields.is_empty() && action == Some(Action::Create) => {
                self.fault(Rank::FieldTypes, FaultKind::InvalidRequest, here, || {
                    String::from("`query_params` selects rows, a create has none: leave it out")
                });
                Vec::new()
            }
            Some(Node::Object(fields)) => self.fields(fields, here),
            Some(other) => {
                self.wrong_type("query_params", "an object", &other, here);
                Vec::new()
            }
        }
    }

    fn metadata_params(&mut self, node: Option<Node<'_>>, here: &Place<'_>) -> Vec<(Arc<str>, Template)> {
        let fields = match node {
            None => return Vec::new(),
            Some(Node::Object(fields)) => fields,
            Some(other) => {
                self.wrong_type("metadata_params", "an object", &other, here);
                return Vec::new();
            }
        };
        let mut read: Vec<(Arc<str>, Template)> = Vec::with_capacity(fields.len().min(METADATA_KEYS.len()));
        for (written, value) in fields {
            let here = here.key(&written);
            let key = written.strip_prefix("__").unwrap_or(&written);
            if !METADATA_KEYS.contains(&key) {
                self.fault(Rank::FieldTypes, FaultKind::InvalidRequest, &here, || {
                    let keys = METADATA_KEYS.map(|key| format!("`{key}`")).join(", ");
                    format!("there is no {} in `metadata_params`: it has {keys}", quoted(&written))
                });
            } else if read.iter().any(|(known, _)| &**known == key) {
                self.fault(Rank::FieldTypes, FaultKind::InvalidRequest, &here, || {
                    format!("`{key}` is there twice: with and without the prefix `__` it is the same")
                });
            } else {
                let value = match key {
                    "limit" | "offset" => self.template(value, &here),
                    _ => Template::Value(value.into_value()),
                };
                read.push((Arc::from(key), value));
            }
        }
        read
    }

    fn depends_on(&mut self, node: Option<Node<'_>>, here: &Place<'_>) -> Vec<usize> {
        let items = match node {
            None | Some(Node::Null) => return Vec::new(),
            Some(Node::Array(items)) => items,
            Some(other) => {
                self.wrong_type("depends_on", "a list of ids", &other, here);
                return Vec::new();
            }
        };
        let mut named = Vec::new();
        for (index, item) in items.into_iter().enumerate() {
            let here = here.index(index);
            match item {
                Node::Text(id) => match self.names.places.get(&*id) {
                    Some(&place) => named.push(place),
                    None => self.fault(Rank::UnknownDependency, FaultKind::UnknownDependency, &here, || {
                        format!("`depends_on` names {}, which is not in the batch", quoted(&id))
                    }),
                },
                other => self.wrong_type("depends_on", "a list of ids", &other, &here),
            }
        }
        named.sort_unstable();
        named.dedup();
        self.dependencies.extend_from_slice(&named);
        named
    }

    fn expect(&mut self, node: Option<Node<'_>>, here: &Place<'_>) -> Option<Expect> {
        let fields = match node? {
            Node::Object(fields) => fields,
            other => {
                self.wrong_type("expect", "an object", &other, here);
                return None;
            }
        };
        let (mut rows, mut min, mut max) = (None, None, None);
        for (key, value) in fields {
            let slot = match &*key {
                "rows" => &mut rows,
                "min" => &mut min,
                "max" => &mut max,
                _ => {
                    self.fault(Rank::FieldTypes, FaultKind::InvalidRequest, &here.key(&key), || {
                        format!("there is no {} in `expect`: it has `rows`, or `min` and `max`", quoted(&key))
                    });
                    return None;
                }
            };
            match value {
                Node::Number(digits) if digits.parse::<u64>().is_ok() => *slot = digits.parse().ok(),
                _ => {
                    self.fault(Rank::FieldTypes, FaultKind::InvalidRequest, &here.key(&key), || {
                        format!("`{key}` of `expect` must be a whole number, at least 0")
                    });
                    return None;
                }
            }
        }
        match (rows, min, max) {
            (Some(rows), None, None) => Some(Expect { min: rows, max: Some(rows) }),
            (None, min, Some(max)) if min.unwrap_or(0) <= max => {
                Some(Expect { min: min.unwrap_or(0), max: Some(max) })
            }
            (None, Some(min), None) => Some(Expect { min, max: None }),
            _ => {
                self.fault(Rank::FieldTypes, FaultKind::InvalidRequest, here, || {
                    String::from("`expect` must have `rows`, or `min` and `max` with `min` not above `max`")
                });
                None
            }
        }
    }

    fn wrong_type(&mut self, field: &str, wanted: &str, node: &Node<'_>, here: &Place<'_>) {
        self.fault(Rank::FieldTypes, FaultKind::InvalidRequest, here, || {
            format!("`{field}` must be {wanted}, not {}", node.kind())
        });
    }

    /// Adds a fault of this operation; `detail` goes on after its name.
    pub fn fault(&mut self, rank: Rank, kind: FaultKind, here: &Place<'_>, detail: impl FnOnce() -> String) {
        let id = &self.id;
        // One that is no id is told where it stands, and not again with every fault of its operation.
        let known = (id.len() <= ID_MAX).then_some(id);
        self.faults.add(rank, || here.fault(kind, known, format!("operation {}: {}", quoted(id), detail())));
    }
}

/// Whether a text anywhere inside, keys too, has the mark of a reference.
fn holds_mark(node: &Node<'_>) -> bool {
    let marked = |text: &str| text.contains("$ref:");
    match node {
        Node::Null | Node::Bool(_) | Node::Number(_) => false,
        Node::Text(text) => marked(text),
        Node::Array(items) => items.iter().any(holds_mark),
        Node::Object(fields) => fields.iter().any(|(key, value)| marked(key) || holds_mark(value)),
    }
}

/// Puts fields into the order of `keys`; false if they are not the same keys.
fn put_in_order(fields: &mut Fields<'_>, keys: &[Arc<str>]) -> bool {
    if fields.len() != keys.len() {
        return false;
    }
    let in_order = |fields: &Fields<'_>| fields.iter().zip(keys).all(|((field, _), key)| **field == **key);
    if in_order(fields) {
        return true;
    }
    let places: HashMap<&str, usize> = keys.iter().enumerate().map(|(at, key)| (&**key, at)).collect();
    fields.sort_by_key(|(field, _)| places.get(&**field).copied().unwrap_or(usize::MAX));
    in_order(fields)
}
