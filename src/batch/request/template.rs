//! Values of a body, their references parsed out.

use std::borrow::Cow;
use std::sync::Arc;

use super::FaultKind;
use super::faults::{Place, Rank, quoted};
use super::json::Node;
use super::names::RecentNames;
use super::operation::{Fields, Reader};
use super::read::Names;
use crate::batch::reference::Template;
use crate::batch::reference::parse::{Batch, TextFault, parse_text};
use crate::batch::value::Value;

impl Reader<'_> {
    /// Values by key.
    pub fn fields(&mut self, fields: Fields<'_>, here: &Place<'_>) -> Vec<(Arc<str>, Template)> {
        let read = fields.into_iter().map(|(key, value)| {
            let value = self.template(value, &here.key(&key));
            (self.recent.keep(&key), value)
        });
        read.collect()
    }

    /// A value with its references parsed out. Lists and objects without any become plain values.
    pub fn template(&mut self, node: Node<'_>, here: &Place<'_>) -> Template {
        match node {
            Node::Text(text) => self.text(text, here),
            Node::Array(items) => {
                // Most lists are constant to their end, and values take less room than templates.
                let mut values = Vec::with_capacity(items.len());
                let mut items = items.into_iter().enumerate();
                while let Some((index, item)) = items.next() {
                    match self.template(item, &here.index(index)) {
                        Template::Value(value) => values.push(value),
                        other => {
                            let mut mixed: Vec<Template> = values.into_iter().map(Template::Value).collect();
                            mixed.push(other);
                            let rest = items.map(|(index, item)| self.template(item, &here.index(index)));
                            mixed.extend(rest);
                            return Template::Array(mixed);
                        }
                    }
                }
                Template::Value(Value::Array(values))
            }
            Node::Object(fields) => {
                let fields = self.fields(fields, here);
                if fields.iter().all(|(_, value)| value.constant().is_some()) {
                    let constant = |(key, value)| Some((key, into_constant(value)?));
                    Template::Value(Value::Object(fields.into_iter().filter_map(constant).collect()))
                } else {
                    Template::Object(fields)
                }
            }
            scalar => Template::Value(scalar.into_value()),
        }
    }

    fn text(&mut self, text: Cow<'_, str>, here: &Place<'_>) -> Template {
        let most = self.limits.references;
        if self.references > most {
            // Refused already: no need to look any further.
            return Template::Value(Value::Null);
        }
        let mut targets = Targets {
            names: &self.names,
            recent: &mut self.recent,
            references: &mut self.references,
            references_max: most,
            dependencies: &mut self.dependencies,
            unknown: Vec::new(),
        };
        let parsed = parse_text(text, &mut targets);
        let unknown = targets.unknown;
        for id in unknown {
            self.fault(Rank::UnknownReference, FaultKind::UnknownReference, here, || {
                format!("a reference names {}, which is not in the batch", quoted(&id))
            });
        }
        match parsed {
            Ok(template) => template,
            Err(TextFault::Malformed { written, why }) => {
                self.fault(Rank::MalformedReference, FaultKind::BadReference, here, || {
                    format!("the reference {} {why}", quoted(&written))
                });
                Template::Value(Value::Null)
            }
            Err(TextFault::Stopped) => {
                self.fault(Rank::FieldTypes, FaultKind::InvalidRequest, here, || {
                    format!("the batch has more than {most} references: split it")
                });
                Template::Value(Value::Null)
            }
        }
    }
}

/// The batch, as its references see it.
struct Targets<'r> {
    names: &'r Names,
    recent: &'r mut RecentNames,
    references: &'r mut usize,
    references_max: usize,
    dependencies: &'r mut Vec<usize>,
    /// Ids that are not there.
    unknown: Vec<Arc<str>>,
}

impl Batch for Targets<'_> {
    fn target(&mut self, id: &str) -> Option<(usize, Arc<str>)> {
        *self.references += 1;
        if *self.references > self.references_max {
            return None;
        }
        Some(match self.names.places.get(id) {
            Some(&place) => {
                self.dependencies.push(place);
                (place, Arc::clone(&self.names.ids[place]))
            }
            None => {
                let id: Arc<str> = Arc::from(id);
                self.unknown.push(Arc::clone(&id));
                (usize::MAX, id)
            }
        })
    }

    fn name(&mut self, name: &str) -> Arc<str> {
        self.recent.keep(name)
    }
}

fn into_constant(template: Template) -> Option<Value> {
    match template {
        Template::Value(value) => Some(value),
        _ => None,
    }
}
