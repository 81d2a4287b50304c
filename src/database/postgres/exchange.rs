//! One exchange with the server: statements out, all at once, and their answers.
//!
//! Promises: one message to the server and one wait, however many statements; the server runs them in order, up to the first
//! that fails, and the rest is answered as not tried; a statement is prepared with its first use, and the least used one
//! forgotten when there are too many; a row is read where it lies, and what it holds is kept within bounds.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::BytesMut;
use postgres_protocol::message::frontend;

use super::cells::{Raw, write_parameter};
use super::errors::{Fault, Told};
use super::lower::{Part, Query};
use super::wire::{Body, Message, More, Wire, types_of};
use crate::batch::value::Value;
use crate::database::DbErrorCode;

/// Statements that stay prepared.
const PREPARED_MAX: usize = 256;

/// Bytes of rows that one statement may bring; the batch's own limit is far below and judged by its run.
const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Places that the protocol can count.
const PARAMETERS_MAX: usize = u16::MAX as usize;

/// Prepared statements by their text, the longest unused one out first.
#[derive(Default)]
pub(super) struct Prepared {
    by_text: HashMap<Arc<str>, Shape>,
    uses: u64,
    named: u64,
    /// To be forgotten by the server as well, with the next exchange.
    closing: Vec<Arc<str>>,
}

/// A prepared statement: its name, and the types of its columns.
#[derive(Clone)]
struct Shape {
    name: Arc<str>,
    types: Arc<[u32]>,
    used: u64,
}

impl Prepared {
    fn get(&mut self, text: &str) -> Option<Shape> {
        self.uses += 1;
        let shape = self.by_text.get_mut(text)?;
        shape.used = self.uses;
        Some(shape.clone())
    }

    fn keep(&mut self, text: Arc<str>, name: Arc<str>, types: Arc<[u32]>) {
        if self.by_text.len() >= PREPARED_MAX
            && let Some(oldest) =
                self.by_text.iter().min_by_key(|(_, shape)| shape.used).map(|(text, _)| text.clone())
            && let Some(shape) = self.by_text.remove(&oldest)
        {
            self.closing.push(shape.name);
        }
        self.uses += 1;
        self.by_text.insert(text, Shape { name, types, used: self.uses });
    }

    fn forget(&mut self) {
        self.closing.extend(self.by_text.drain().map(|(_, shape)| shape.name));
    }

    fn new_name(&mut self) -> Arc<str> {
        self.named += 1;
        format!("s{}", self.named).into()
    }
}

/// What one statement brought.
#[derive(Debug, Default)]
pub(super) struct Table {
    pub(super) rows: Vec<Vec<Value>>,
    /// All rows, also those that are not kept because they are too many.
    count: u64,
    bytes: usize,
    /// What was found wrong that PostgreSQL does not fail for.
    pub(super) fault: Option<DbErrorCode>,
    pub(super) misread: Option<String>,
}

/// What the answer to a part was.
pub(super) enum Answer {
    Done,
    Table(Table),
}

/// What became of an exchange.
pub(super) struct Exchanged {
    /// For each part.
    pub(super) answers: Vec<Result<Answer, Fault>>,
    /// No transaction is open, for sure.
    pub(super) is_idle: bool,
}

/// A statement on its way.
struct Asked<'a> {
    /// The part that it belongs to.
    part: usize,
    query: Option<&'a Query>,
    shape: usize,
}

/// A shape that statements of this exchange use.
struct InUse {
    text: Option<Arc<str>>,
    name: Arc<str>,
    /// Known once the server has told.
    types: Option<Arc<[u32]>>,
    /// The server has taken it, in this exchange.
    is_new: bool,
}

/// Sends the parts and reads what they bring.
pub(super) async fn exchange(wire: &mut Wire, prepared: &mut Prepared, parts: &[&Part]) -> Exchanged {
    let mut asking = Asking { prepared, shapes: Vec::new(), asked: Vec::new() };
    let mut unasked = None;
    asking.close(&mut wire.out);
    for (place, part) in parts.iter().enumerate() {
        let added = match part {
            Part::Text(sql) => {
                sql.split("; ").try_for_each(|one| asking.add(place, one, None, &mut wire.out))
            }
            Part::Query(query) => asking.add(place, &query.statement.text, Some(query), &mut wire.out),
        };
        if let Err(fault) = added {
            unasked = Some((place, fault));
            break;
        }
    }
    frontend::sync(&mut wire.out);
    let Asking { prepared, mut shapes, asked } = asking;
    let mut reading = Reading {
        shapes: &mut shapes,
        asked: &asked,
        at: 0,
        table: Table::default(),
        answers: parts.iter().map(|_| None).collect(),
        is_idle: false,
    };
    let talked = wire.talk(|message, _| reading.take(message)).await;
    let Reading { at, mut answers, is_idle, .. } = reading;
    if let (Err(fault), Some(asked)) = (talked, asked.get(at)) {
        // What the server said before it went counts for more.
        answers[asked.part].get_or_insert(Err(fault));
    }
    if let Some((place, fault)) = unasked {
        answers[place].get_or_insert(Err(fault));
    }
    for shape in shapes.into_iter().filter(|shape| shape.is_new) {
        match (shape.text, shape.types) {
            (Some(text), Some(types)) => prepared.keep(text, shape.name, types),
            (Some(_), None) => prepared.closing.push(shape.name),
            (None, _) => {}
        }
    }
    if answers.iter().flatten().any(|answer| answer.as_ref().is_err_and(Fault::forgets_statements)) {
        prepared.forget();
    }
    let answers = answers.into_iter().map(|answer| answer.unwrap_or(Err(Fault::NotTried))).collect();
    Exchanged { answers, is_idle }
}

/// The statements of an exchange while they are written.
struct Asking<'a, 'q> {
    prepared: &'a mut Prepared,
    shapes: Vec<InUse>,
    asked: Vec<Asked<'q>>,
}

impl<'q> Asking<'_, 'q> {
    fn close(&mut self, out: &mut BytesMut) {
        for name in self.prepared.closing.drain(..) {
            // A name of ours has no zero in it.
            let _ = frontend::close(b'S', &name, out);
        }
    }

    /// Writes one statement.
    fn add(
        &mut self,
        part: usize,
        text: &str,
        query: Option<&'q Query>,
        out: &mut BytesMut,
    ) -> Result<(), Fault> {
        let parameters = query.map_or(&[][..], |query| &query.statement.parameters);
        let refused =
            |why: &dyn std::fmt::Display| Fault::Ours(format!("a statement could not be sent: {why}"));
        if parameters.len() > PARAMETERS_MAX {
            return Err(refused(&"it has too many parameters"));
        }
        let start = out.len();
        let shape = self.shape(text, query.is_some(), out).map_err(|error| refused(&error))?;
        let name = &self.shapes[shape].name;
        let write = |parameter, out: &mut BytesMut| Ok(write_parameter(parameter, out));
        let bound = frontend::bind("", name, [], parameters, write, [1], out);
        if bound.is_err() || frontend::execute("", 0, out).is_err() {
            // Nothing of it goes out, and nothing after it.
            out.truncate(start);
            return Err(refused(&"it is too long"));
        }
        self.asked.push(Asked { part, query, shape });
        Ok(())
    }

    /// The statement's shape: prepared before, by a statement before it, or here.
    fn shape(&mut self, text: &str, has_rows: bool, out: &mut BytesMut) -> std::io::Result<usize> {
        if let Some(at) = self.shapes.iter().position(|shape| shape.text.as_deref() == Some(text)) {
            return Ok(at);
        }
        let shape = match self.prepared.get(text) {
            Some(known) => {
                InUse { text: Some(text.into()), name: known.name, types: Some(known.types), is_new: false }
            }
            None => {
                // Settings have values in them: no two of them are alike.
                let stays = !text.starts_with("SET ");
                let name = if stays { self.prepared.new_name() } else { "".into() };
                frontend::parse(&name, text, [], out)?;
                if has_rows {
                    frontend::describe(b'S', &name, out)?;
                }
                let types = (!has_rows).then(|| Arc::from([]));
                InUse { text: stays.then(|| text.into()), name, types, is_new: false }
            }
        };
        self.shapes.push(shape);
        Ok(self.shapes.len() - 1)
    }
}

/// The answers of an exchange while they come.
struct Reading<'a, 'q> {
    shapes: &'a mut Vec<InUse>,
    asked: &'a [Asked<'q>],
    /// The statement whose answer comes.
    at: usize,
    table: Table,
    answers: Vec<Option<Result<Answer, Fault>>>,
    is_idle: bool,
}

impl Reading<'_, '_> {
    fn take(&mut self, message: Message<'_>) -> Result<More, Fault> {
        let unclear = || Fault::Lost("an answer that nobody asked for".to_owned());
        match message.tag {
            b'Z' => {
                self.is_idle = message.body == b"I";
                return Ok(More::No);
            }
            // Bound, closed, parameters; and what the server says by itself.
            b'2' | b'3' | b't' | b'N' | b'S' | b'A' => return Ok(More::Yes),
            _ => {}
        }
        let asked = self.asked.get(self.at).ok_or_else(unclear)?;
        let shape = &mut self.shapes[asked.shape];
        match (message.tag, asked.query) {
            (b'1', _) => shape.is_new = true,
            (b'T', _) => shape.types = Some(types_of(message.body).ok_or_else(unclear)?.into()),
            (b'n', _) => shape.types = Some(Arc::from([])),
            (b'D', Some(query)) => {
                let types = shape.types.as_deref().unwrap_or_default();
                self.table.take(message.body, query, types).ok_or_else(unclear)?;
            }
            // Rows that nobody reads.
            (b'D', None) => {}
            // A COMMIT says so when there was nothing left to commit.
            (b'C', None)
                if shape.text.as_deref() == Some("COMMIT") && message.body.starts_with(b"ROLLBACK") =>
            {
                self.at += 1;
                let why = "the transaction had failed, and was rolled back".to_owned();
                self.answers[asked.part] = Some(Err(Fault::Ours(why)));
            }
            (b'C' | b'I', query) => {
                self.at += 1;
                // A part of several statements is done with the last of them.
                if self.asked.get(self.at).is_none_or(|next| next.part != asked.part) {
                    let table = std::mem::take(&mut self.table);
                    let answer = if query.is_some() { Answer::Table(table) } else { Answer::Done };
                    self.answers[asked.part] = Some(Ok(answer));
                }
            }
            (b'E', _) => self.answers[asked.part] = Some(Err(Fault::Told(Told::read(message.body)))),
            _ => return Err(unclear()),
        }
        Ok(More::Yes)
    }
}

impl Table {
    /// Takes one row. Rows that are too many are counted and not kept. `None`: it is no row.
    fn take(&mut self, body: &[u8], query: &Query, types: &[u32]) -> Option<()> {
        self.count += 1;
        if self.count > query.rows_max {
            self.fail(DbErrorCode::TooManyRows);
        }
        if self.fault.is_some() {
            return Some(());
        }
        let mut body = Body(body);
        let width = usize::from(body.short()?);
        let mut cells = Vec::with_capacity(query.answered.len());
        let mut misread = None;
        for index in 0..width {
            let length = body.int()?;
            let raw = match usize::try_from(length) {
                Ok(length) => Some(body.some(length)?),
                Err(_) => None,
            };
            if query.verdict && index + 1 == width && raw != Some(&[1]) {
                self.fault = Some(DbErrorCode::RowForbidden);
                return Some(());
            }
            let (Some(column_type), None) = (query.answered.get(index), &misread) else { continue };
            match Raw(raw.zip(types.get(index)).map(|(raw, native)| (*native, raw))).value(column_type) {
                Ok(value) => cells.push(value),
                Err(why) => misread = Some(why.to_string()),
            }
        }
        if misread.is_none() && cells.len() < query.answered.len() {
            misread = Some("a row has too few cells".to_owned());
        }
        if misread.is_some() {
            self.misread = misread;
            self.fail(DbErrorCode::Other);
            return Some(());
        }
        self.bytes += cells.iter().map(Value::bytes).sum::<usize>();
        self.rows.push(cells);
        if self.bytes > ANSWER_BYTES_MAX {
            self.fail(DbErrorCode::ResultTooLarge);
        }
        Some(())
    }

    fn fail(&mut self, code: DbErrorCode) {
        self.fault = Some(code);
        self.rows.clear();
    }
}
