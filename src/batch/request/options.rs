//! Reads `options`. A value of a wrong type is a fault, never "truthy".

use std::borrow::Cow;

use super::faults::{Faults, Place, Rank, quoted};
use super::json::Node;
use super::{DataShape, FaultKind, Options, Return};
use crate::database::Isolation;

const KNOWN: &str =
    "`atomic`, `continueOnError`, `dryRun`, `dataShape`, `return`, `isolation` and `timeoutMs`";

pub(super) fn read(node: Option<Node<'_>>, faults: &mut Faults) -> Options {
    let mut options = Options::default();
    let place = Place::top("options");
    let fields = match node {
        None => return options,
        Some(Node::Object(fields)) => fields,
        Some(other) => {
            faults.add(Rank::Options, || {
                let detail = format!("`options` must be an object, not {}", other.kind());
                place.fault(FaultKind::InvalidRequest, None, detail)
            });
            return options;
        }
    };
    for (key, value) in fields {
        let here = place.key(&key);
        let mut reader = OptionReader { key: &key, here, faults };
        match &*key {
            "atomic" => reader.flag(value, &mut options.atomic),
            "continueOnError" => reader.flag(value, &mut options.continue_on_error),
            "dryRun" => reader.flag(value, &mut options.dry_run),
            "dataShape" => {
                let choices = [("auto", DataShape::Auto), ("rows", DataShape::Rows)];
                if let Some(shape) = reader.choice(value, &choices) {
                    options.data_shape = shape;
                }
            }
            "return" => {
                let choices = [
                    ("representation", Return::Representation),
                    ("keys", Return::Keys),
                    ("none", Return::None),
                ];
                if let Some(returns) = reader.choice(value, &choices) {
                    options.returns = returns;
                }
            }
            "isolation" => {
                let choices = [
                    ("read_committed", Isolation::ReadCommitted),
                    ("repeatable_read", Isolation::RepeatableRead),
                    ("serializable", Isolation::Serializable),
                ];
                options.isolation = reader.choice(value, &choices);
            }
            "timeoutMs" => options.timeout_ms = reader.milliseconds(value),
            _ => reader.faults.add(Rank::Options, || {
                let detail = format!("there is no option {}: the options are {KNOWN}", quoted(&key));
                here.fault(FaultKind::InvalidRequest, None, detail)
            }),
        }
    }
    if !options.atomic {
        let atomic_only = [("isolation", options.isolation.is_some()), ("dryRun", options.dry_run)];
        for (key, set) in atomic_only {
            if set {
                faults.add(Rank::Options, || {
                    let detail =
                        format!("`{key}` needs one transaction: leave it out or set `atomic` to true");
                    place.key(key).fault(FaultKind::InvalidOption, None, detail)
                });
            }
        }
    }
    options
}

struct OptionReader<'r> {
    key: &'r str,
    here: Place<'r>,
    faults: &'r mut Faults,
}

impl OptionReader<'_> {
    fn flag(&mut self, value: Node<'_>, flag: &mut bool) {
        match value {
            Node::Bool(set) => *flag = set,
            other => self.wrong("true or false", &other),
        }
    }

    fn choice<T: Copy>(&mut self, value: Node<'_>, choices: &[(&str, T)]) -> Option<T> {
        let chosen = match &value {
            Node::Text(text) => choices.iter().find(|(name, _)| *name == &**text).map(|(_, choice)| *choice),
            _ => None,
        };
        if chosen.is_none() {
            let names: Vec<String> = choices.iter().map(|(name, _)| format!("\"{name}\"")).collect();
            self.wrong(&format!("one of {}", names.join(", ")), &value);
        }
        chosen
    }

    fn milliseconds(&mut self, value: Node<'_>) -> Option<u64> {
        let whole = match &value {
            Node::Number(digits) => digits.parse().ok().filter(|&milliseconds: &u64| milliseconds > 0),
            _ => None,
        };
        if whole.is_none() {
            self.wrong("a whole number of milliseconds, at least 1", &value);
        }
        whole
    }

    fn wrong(&mut self, wanted: &str, value: &Node<'_>) {
        let (key, here) = (self.key, self.here);
        self.faults.add(Rank::Options, || {
            let got = match value {
                Node::Text(text) => Cow::Owned(quoted(text)),
                Node::Number(digits) => Cow::Owned(quoted(digits)),
                other => Cow::Borrowed(other.kind()),
            };
            here.fault(FaultKind::InvalidOption, None, format!("`{key}` must be {wanted}, not {got}"))
        });
    }
}
