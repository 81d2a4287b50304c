//! Gathers the faults of a body in the order of the contract.

use std::fmt::Write as _;
use std::sync::Arc;

use super::json::push_pointer_step;
use super::{FAULTS_MAX, Fault, FaultKind, Refusal};

/// Where a fault stands in the order of the contract, section 3.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Rank {
    IdShape,
    DuplicateId,
    MissingField,
    Action,
    NestedBatch,
    Claims,
    FieldTypes,
    Options,
    MalformedReference,
    UnknownDependency,
    UnknownReference,
    Order,
}

const RANKS: usize = Rank::Order as usize + 1;

/// Faults so far; of each rank as many as a refusal can list, so that a body full of faults costs no more than others.
#[derive(Default)]
pub(super) struct Faults([Vec<Fault>; RANKS]);

impl Faults {
    /// Adds one, in the order of the body within its rank; `make` is called only if it can be listed.
    pub fn add(&mut self, rank: Rank, make: impl FnOnce() -> Fault) {
        let of_rank = &mut self.0[rank as usize];
        if of_rank.len() < FAULTS_MAX {
            of_rank.push(make());
        }
    }

    pub fn are_none(&self) -> bool {
        self.0.iter().all(Vec::is_empty)
    }

    pub fn into_refusal(self) -> Refusal {
        Refusal { faults: self.0.into_iter().flatten().take(FAULTS_MAX).collect(), status: 400 }
    }
}

/// A refusal by the first pass: one fault.
pub(super) fn refuse(kind: FaultKind, pointer: &str, detail: String) -> Refusal {
    let status = kind.status();
    Refusal { faults: vec![Fault { kind, pointer: pointer.to_owned(), detail, operation: None }], status }
}

/// A place in the body: a chain on the stack, made into a pointer only when something is wrong there.
#[derive(Clone, Copy)]
pub(super) struct Place<'p> {
    above: Option<&'p Place<'p>>,
    step: Step<'p>,
}

#[derive(Clone, Copy)]
enum Step<'p> {
    Key(&'p str),
    Index(usize),
}

impl<'p> Place<'p> {
    pub fn top(key: &'p str) -> Self {
        Self { above: None, step: Step::Key(key) }
    }

    pub fn key(&'p self, key: &'p str) -> Place<'p> {
        Place { above: Some(self), step: Step::Key(key) }
    }

    pub fn index(&'p self, index: usize) -> Place<'p> {
        Place { above: Some(self), step: Step::Index(index) }
    }

    pub fn pointer(&self) -> String {
        let mut pointer = String::new();
        self.write(&mut pointer);
        pointer
    }

    fn write(&self, pointer: &mut String) {
        if let Some(above) = self.above {
            above.write(pointer);
        }
        match self.step {
            Step::Key(key) => push_pointer_step(pointer, key),
            // Writing to memory cannot fail.
            Step::Index(index) => drop(write!(pointer, "/{index}")),
        }
    }

    /// A fault here.
    pub fn fault(&self, kind: FaultKind, operation: Option<&Arc<str>>, detail: String) -> Fault {
        Fault { kind, pointer: self.pointer(), detail, operation: operation.cloned() }
    }
}

/// Text of a request for a message: in backticks, without control characters, cut to a line.
pub(super) fn quoted(text: &str) -> String {
    let mut characters = text.chars();
    let mut short = String::from("`");
    short.extend(characters.by_ref().take(80).map(|one| if one.is_control() { '\u{fffd}' } else { one }));
    if characters.next().is_some() {
        short.push('…');
    }
    short.push('`');
    short
}
