//! Objects with more fields than one address can name.
//!
//! The field list is split; every part is a query of its own over the same rows, carries `Id` and, where the
//! object has it, `SystemModstamp`, and is ordered by `Id`. The first part leads; the others are read along with it and
//! joined by id, whatever order or page size the org gives them. A row that changed between its parts (another
//! stamp), or that one of them does not have, is read again by its id until its parts agree; a row that is
//! gone by then is left out and counted.
//!
//! Memory holds about two pages of each part, however many rows there are. Columns that walk over the same
//! reference stay in one part, for they come in one object.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;
use std::ops::ControlFlow;

use serde::Deserialize;
use serde::de::{MapAccess, Visitor};
use serde_json::value::RawValue;

use super::client::{Call, OrgClient};
use super::error::OrgError;
use super::gate::Api;
use super::handover::{RowTaker, unreadable_rows};
use super::query::{QueryError, Surface};
use super::rows::{Columns, RestRows};
use super::soql::{
    Condition, FieldPath, Literal, STATEMENT_CHARS_MAX, Select, Source, URI_BYTES_MAX, URI_BYTES_RESERVED,
    percent_encode,
};
use crate::model::ObjectName;

/// Ids that are read again by one query of each part.
const AGAIN_PER_CALL: usize = 100;
/// Bytes that an encoded condition on so many ids takes: `%27`, 18 characters, `%27%2C`, and some words.
const AGAIN_BYTES: usize = AGAIN_PER_CALL * 27 + 100;
/// Rounds after which a row that changes all the time is an error.
const ROUNDS_MAX: u32 = 5;
/// Rows of a part that wait for the leading part.
const WINDOW: usize = 6_000;

/// How a wide object is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WideOptions {
    /// With or without deleted rows.
    pub surface: Surface,
    /// The object has `SystemModstamp`; without it changes between parts are not seen.
    pub has_stamp: bool,
    /// Longest path with its query, in bytes.
    pub path_bytes_max: usize,
}

impl Default for WideOptions {
    fn default() -> Self {
        let path_bytes_max = URI_BYTES_MAX - URI_BYTES_RESERVED;
        Self { surface: Surface::Data, has_stamp: true, path_bytes_max }
    }
}

/// Which way to read rows of a statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reading {
    /// One query over REST.
    Rest,
    /// A bulk job: its statement travels in a body.
    Bulk,
    /// Several queries over REST, joined by id.
    Wide,
}

/// Chooses how to read: by REST while the statement fits an address and the rows are few; else by a bulk job
/// where the org takes one; else in parts. Pure.
pub fn choose_reading(path_bytes: usize, rows: u64, bulk_from_rows: u64, bulk_takes_it: bool) -> Reading {
    let fits = path_bytes <= URI_BYTES_MAX - URI_BYTES_RESERVED;
    match (fits, bulk_takes_it) {
        (true, true) if rows >= bulk_from_rows => Reading::Bulk,
        (true, _) => Reading::Rest,
        (false, true) => Reading::Bulk,
        (false, false) => Reading::Wide,
    }
}

/// The rows of a wide object, page by page.
#[derive(Debug)]
pub struct WideRows {
    client: OrgClient,
    what: String,
    object: ObjectName,
    columns: Columns,
    options: WideOptions,
    lead: Part,
    others: Vec<Part>,
    rows_done: u64,
    pulled: u64,
}

/// One page of joined rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WidePage {
    /// Rows handed over.
    pub rows: u64,
    /// Of those, rows that were read again because their parts did not agree.
    pub read_again: u64,
    /// Rows that were gone when read again.
    pub vanished: u64,
    /// Bytes of the joined rows.
    pub bytes: u64,
    /// Rows of the whole query, as the org counted them when it began.
    pub total_size: u64,
}

#[derive(Debug)]
struct Part {
    fields: Vec<String>,
    next: Option<String>,
    /// Pages that were read; one that leads back to them would never end.
    seen: HashSet<String>,
    /// Rows that the leading part has not come to.
    held: HashMap<String, (u64, Piece)>,
}

/// What one part knows of one row.
#[derive(Debug, Clone)]
struct Piece {
    id: String,
    stamp: Option<String>,
    /// Its fields as JSON, each with a comma in front.
    json: String,
}

impl OrgClient {
    /// Reads the rows of an object in as few parts as its columns need. Nothing is asked until
    /// [`WideRows::next`]; one part costs a call for each page of the org.
    ///
    /// # Errors
    /// [`OrgError::TooLong`] when even one column does not fit beside the condition.
    pub fn query_wide(
        &self,
        object: &ObjectName,
        columns: &Columns,
        condition: Option<Condition>,
        options: WideOptions,
    ) -> Result<WideRows, OrgError> {
        let what = format!("a query of `{object}` in parts");
        let groups = groups_of(columns);
        let mut parts: Vec<Vec<String>> = Vec::new();
        for group in groups {
            let mut joined = parts.last().cloned().unwrap_or_default();
            joined.extend(group.iter().cloned());
            let fits = |fields: &[String]| self.fits(object, fields, condition.as_ref(), &options);
            match parts.last_mut() {
                Some(last) if fits(&joined) => *last = joined,
                _ if fits(&group) => parts.push(group),
                _ => {
                    let bytes = self.part_path(object, &group, condition.as_ref(), &options).len();
                    return Err(OrgError::TooLong { what, bytes, bytes_max: options.path_bytes_max });
                }
            }
        }
        let mut parts = parts.into_iter().map(|fields| {
            let next = Some(self.part_path(object, &fields, condition.as_ref(), &options));
            Part { fields, next, seen: HashSet::new(), held: HashMap::new() }
        });
        let Some(lead) = parts.next() else {
            return Err(OrgError::Settings("a query without columns".to_owned()));
        };
        let others = parts.collect();
        Ok(WideRows {
            client: self.clone(),
            what,
            object: object.clone(),
            columns: columns.clone(),
            options,
            lead,
            others,
            rows_done: 0,
            pulled: 0,
        })
    }

    fn fits(
        &self,
        object: &ObjectName,
        fields: &[String],
        condition: Option<&Condition>,
        options: &WideOptions,
    ) -> bool {
        let path = self.part_path(object, fields, condition, options);
        // The same part must be askable by ids.
        path.len() <= options.path_bytes_max
            && self.part_path(object, fields, None, options).len() + AGAIN_BYTES <= options.path_bytes_max
            && path.len() <= STATEMENT_CHARS_MAX
    }

    fn part_path(
        &self,
        object: &ObjectName,
        fields: &[String],
        condition: Option<&Condition>,
        options: &WideOptions,
    ) -> String {
        const ID: FieldPath = FieldPath::literal("Id");
        const STAMP: FieldPath = FieldPath::literal("SystemModstamp");
        let mut selected = vec![ID];
        if options.has_stamp {
            selected.push(STAMP);
        }
        selected.extend(fields.iter().filter_map(|name| FieldPath::read(name)));
        let mut select = Select::new(selected, Source::from(object)).order_by(ID);
        if let Some(condition) = condition {
            select = select.filter(condition.clone());
        }
        // A statement that cannot be built is longer than any address: it fits nowhere.
        let text = select
            .build()
            .map_or_else(|_| " ".repeat(STATEMENT_CHARS_MAX + 1), |soql| soql.as_str().to_owned());
        format!("{}?q={}", self.data_path(options.surface.resource()), percent_encode(&text))
    }
}

/// The columns but `Id` and `SystemModstamp`, those of one reference together.
fn groups_of(columns: &Columns) -> Vec<Vec<String>> {
    let mut groups: Vec<(String, Vec<String>)> = Vec::new();
    for column in columns.as_slice() {
        let first = column.name.split('.').next().unwrap_or_default().to_ascii_lowercase();
        if column.name.eq_ignore_ascii_case("Id") || column.name.eq_ignore_ascii_case("SystemModstamp") {
            continue;
        }
        match groups.iter_mut().find(|(name, _)| column.name.contains('.') && *name == first) {
            Some((_, group)) => group.push(column.name.clone()),
            None => groups.push((first, vec![column.name.clone()])),
        }
    }
    match groups.is_empty() {
        true => vec![Vec::new()],
        false => groups.into_iter().map(|(_, group)| group).collect(),
    }
}

impl WideRows {
    /// Into how many queries the columns were split.
    pub fn parts(&self) -> usize {
        1 + self.others.len()
    }

    /// Hands the next page of joined rows over, or gives `None` after the last.
    ///
    /// # Errors
    /// See [`QueryError`].
    pub async fn next(&mut self, taker: &mut RowTaker<'_>) -> Result<Option<WidePage>, QueryError> {
        let Some(path) = self.lead.next.clone() else { return Ok(None) };
        let mut seen = std::mem::take(&mut self.lead.seen);
        let pulled = self.pull(&path, &mut seen).await;
        self.lead.seen = seen;
        let (lead, total_size, next) = pulled?;
        for index in 0..self.others.len() {
            self.read_along(index, &lead).await?;
        }
        let mut rows: Vec<Option<String>> = Vec::with_capacity(lead.len());
        let mut again: Vec<(usize, String)> = Vec::new();
        for (place, piece) in lead.iter().enumerate() {
            let pieces: Vec<Piece> = self
                .others
                .iter_mut()
                .filter_map(|part| part.held.remove(&piece.id))
                .map(|held| held.1)
                .collect();
            let row = join(piece, &pieces, self.others.len());
            if row.is_none() {
                again.push((place, piece.id.clone()));
            }
            rows.push(row);
        }
        let asked_again = again.len() as u64;
        for group in again.chunks(AGAIN_PER_CALL) {
            self.read_again(group, &mut rows).await?;
        }
        let newest = self.pulled;
        for part in &mut self.others {
            if part.held.len() > WINDOW {
                part.held.retain(|_, (number, _)| *number + WINDOW as u64 > newest);
            }
        }
        let vanished = rows.iter().filter(|row| row.is_none()).count() as u64;
        let joined: Vec<String> = rows.into_iter().flatten().collect();
        // Only now: a part that could not be read must not cost the rows of this page.
        self.lead.next = next;
        self.hand_over(&joined, taker)?;
        let rows = joined.len() as u64;
        self.rows_done += rows;
        let bytes = joined.iter().map(|row| row.len() as u64).sum();
        Ok(Some(WidePage { rows, read_again: asked_again - vanished, vanished, bytes, total_size }))
    }

    fn hand_over(&self, joined: &[String], taker: &mut RowTaker<'_>) -> Result<(), QueryError> {
        let body = format!("[{}]", joined.join(","));
        let mut refused = None;
        let mut reader = RestRows::new(self.columns.clone(), self.rows_done);
        let read = reader.read_list(
            body.as_bytes(),
            &mut |row| match taker(row) {
                Ok(()) => ControlFlow::Continue(()),
                Err(error) => {
                    refused = Some(error);
                    ControlFlow::Break(())
                }
            },
            &mut |_| {},
        );
        if let Some(source) = refused {
            return Err(QueryError::Handover { what: self.what.clone(), source });
        }
        read.map_err(|error| unreadable_rows(&self.what, &error))?;
        Ok(())
    }

    /// Reads a part until it has every row of the leading page, or is a window ahead of it.
    async fn read_along(&mut self, index: usize, lead: &[Piece]) -> Result<(), OrgError> {
        loop {
            let part = &self.others[index];
            let missing = lead.iter().filter(|piece| !part.held.contains_key(&piece.id)).count();
            let Some(path) = part.next.clone().filter(|_| missing > 0 && part.held.len() < WINDOW) else {
                return Ok(());
            };
            let mut seen = std::mem::take(&mut self.others[index].seen);
            let pulled = self.pull(&path, &mut seen).await;
            let part = &mut self.others[index];
            part.seen = seen;
            let (pieces, _, next) = pulled?;
            part.next = next;
            for piece in pieces {
                self.pulled += 1;
                part.held.insert(piece.id.clone(), (self.pulled, piece));
            }
        }
    }

    /// Reads rows by their ids, part by part, until their parts agree. Rows that are gone stay `None`.
    async fn read_again(
        &self,
        group: &[(usize, String)],
        rows: &mut [Option<String>],
    ) -> Result<(), OrgError> {
        let mut left: Vec<&(usize, String)> = group.iter().collect();
        for _ in 0..ROUNDS_MAX {
            let ids = left.iter().map(|(_, id)| Literal::Text(id.clone())).collect();
            let condition = Condition::In(FieldPath::literal("Id"), ids);
            let mut parts: Vec<HashMap<String, Piece>> = Vec::new();
            for part in std::iter::once(&self.lead).chain(&self.others) {
                let (mut found, mut seen) = (HashMap::new(), HashSet::new());
                let mut next =
                    Some(self.client.part_path(&self.object, &part.fields, Some(&condition), &self.options));
                while let Some(path) = next {
                    let (pieces, _, more) = self.pull(&path, &mut seen).await?;
                    found.extend(pieces.into_iter().map(|piece| (piece.id.clone(), piece)));
                    next = more;
                }
                parts.push(found);
            }
            left.retain(|(place, id)| {
                let pieces: Vec<Piece> = parts.iter().filter_map(|part| part.get(id)).cloned().collect();
                match pieces.split_first() {
                    None => false,
                    Some((first, others)) => {
                        rows[*place] = join(first, others, self.others.len());
                        rows[*place].is_none()
                    }
                }
            });
            if left.is_empty() {
                return Ok(());
            }
        }
        let reason = format!("{} rows changed each time they were read", left.len());
        Err(OrgError::Unreadable { what: self.what.clone(), reason, cut_off: false })
    }

    /// Reads one page of a part whose pages before it are `seen`.
    async fn pull(
        &self,
        path: &str,
        seen: &mut HashSet<String>,
    ) -> Result<(Vec<Piece>, u64, Option<String>), OrgError> {
        let call = Call::get(Api::Rest, path.to_owned(), self.what.as_str());
        let has_stamp = self.options.has_stamp;
        let known: &HashSet<String> = seen;
        let pulled = self
            .client
            .read_by(&call, |body| {
                let page: PageOnTheWire<'_> = serde_json::from_slice(body)
                    .map_err(|error| OrgError::unreadable(self.what.as_str(), &error))?;
                let mut pieces = Vec::with_capacity(page.records.len());
                for fields in &page.records {
                    pieces.push(piece_of(fields, has_stamp).ok_or_else(|| self.bad("a row has no `Id`"))?);
                }
                let next = match page.next_records_url {
                    Some(next) if !page.done => {
                        if !next.starts_with("/services/data/") || next == path || known.contains(&next) {
                            return Err(self.bad("the cursor leads back, or away from the org's API"));
                        }
                        Some(next)
                    }
                    None if !page.done => {
                        return Err(self.bad("there are more rows, but no cursor to them"));
                    }
                    _ => None,
                };
                Ok((pieces, page.total_size, next))
            })
            .await?;
        seen.insert(path.to_owned());
        Ok(pulled)
    }

    fn bad(&self, reason: &str) -> OrgError {
        OrgError::Unreadable { what: self.what.clone(), reason: reason.to_owned(), cut_off: false }
    }
}

/// Joins the pieces of a row; `None` when some are missing or of another state of the row.
fn join(first: &Piece, others: &[Piece], others_wanted: usize) -> Option<String> {
    if others.len() < others_wanted || others.iter().any(|piece| piece.stamp != first.stamp) {
        return None;
    }
    let mut row = String::from("{\"Id\":");
    row.push_str(&serde_json::to_string(&first.id).ok()?);
    if let Some(stamp) = &first.stamp {
        let _ = write!(row, ",\"SystemModstamp\":{}", serde_json::to_string(stamp).ok()?);
    }
    for piece in std::iter::once(first).chain(others) {
        row.push_str(&piece.json);
    }
    row.push('}');
    Some(row)
}

fn piece_of(fields: &Fields<'_>, has_stamp: bool) -> Option<Piece> {
    let (mut id, mut stamp, mut json) = (None, None, String::new());
    for (name, value) in &fields.0 {
        match name.as_ref() {
            "attributes" => {}
            name if name.eq_ignore_ascii_case("Id") => id = serde_json::from_str(value.get()).ok(),
            name if has_stamp && name.eq_ignore_ascii_case("SystemModstamp") => {
                stamp = serde_json::from_str(value.get()).ok();
            }
            name => {
                let _ = write!(json, ",{}:{}", serde_json::to_string(name).ok()?, value.get());
            }
        }
    }
    Some(Piece { id: id?, stamp, json })
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PageOnTheWire<'a> {
    total_size: u64,
    done: bool,
    #[serde(default)]
    next_records_url: Option<String>,
    #[serde(borrow)]
    records: Vec<Fields<'a>>,
}

/// The fields of a record in their order, unread.
struct Fields<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Fields<'a> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Vec<(Cow<'de, str>, &'de RawValue)>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a record")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut fields = Vec::new();
                while let Some((name, value)) = map.next_entry::<String, &'de RawValue>()? {
                    fields.push((Cow::Owned(name), value));
                }
                Ok(fields)
            }
        }
        deserializer.deserialize_map(Reader).map(Fields)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::salesforce::rows::{Column, ColumnKind};
    use crate::salesforce::test_support::*;
    use rstest::rstest;
    use std::sync::atomic::{AtomicUsize, Ordering};

    fn columns(names: &[&str]) -> Columns {
        Columns::new(names.iter().map(|name| Column::new(*name, ColumnKind::Text)).collect()).unwrap()
    }

    /// Each part holds one of the two columns and may be asked by ids.
    fn narrow(bench: &Bench, columns: &Columns) -> WideRows {
        let options = WideOptions { path_bytes_max: AGAIN_BYTES + 150, ..WideOptions::default() };
        let rows = bench.client.query_wide(&"Lead".parse().unwrap(), columns, None, options).unwrap();
        assert_eq!(rows.parts(), 2);
        rows
    }

    async fn read(rows: &mut WideRows) -> (String, u64, u64) {
        let (mut out, mut again, mut vanished) = (Vec::new(), 0, 0);
        loop {
            let mut taker = |row: &crate::salesforce::rows::Row<'_>| {
                row.write_json_line(&mut out);
                Ok(())
            };
            let Some(page) = rows.next(&mut taker).await.unwrap() else { break };
            again += page.read_again;
            vanished += page.vanished;
        }
        (String::from_utf8(out).unwrap(), again, vanished)
    }

    fn page(rows: &str) -> Result<crate::salesforce::HttpResponse, crate::salesforce::HttpError> {
        json(200, &format!(r#"{{"totalSize":3,"done":true,"records":[{rows}]}}"#))
    }

    fn row(id: &str, stamp: &str, name: &str, value: &str) -> String {
        format!(
            r#"{{"attributes":{{"type":"Lead"}},"Id":"{id}","SystemModstamp":"{stamp}","{name}":"{value}"}}"#
        )
    }

    const LONG_ONE: &str = "First_Field_With_A_Long_Name_That_Fills_A_Part__c";
    const LONG_TWO: &str = "Second_Field_With_A_Long_Name_That_Fills_A_Part__c";

    #[tokio::test]
    async fn a_part_that_leads_in_a_circle_is_told() {
        let bench = Bench::new(|request| {
            let turn = |id: &str, next: &str| {
                let row = row(id, "1", LONG_ONE, "x");
                json(
                    200,
                    &format!(
                        r#"{{"totalSize":3,"done":false,"nextRecordsUrl":"/services/data/v62.0/query/{next}","records":[{row}]}}"#
                    ),
                )
            };
            match request.url.rsplit('/').next().unwrap() {
                "01g-A" => turn("b", "01g-B"),
                "01g-B" => turn("c", "01g-A"),
                first if first.contains(LONG_ONE) => turn("a", "01g-A"),
                _ => page(&["a", "b", "c"].map(|id| row(id, "1", LONG_TWO, "y")).join(",")),
            }
        });
        let mut rows = narrow(&bench, &columns(&["Id", LONG_ONE, LONG_TWO]));
        let mut pages = 0;
        let error = loop {
            match rows.next(&mut |_| Ok(())).await {
                Ok(_) => pages += 1,
                Err(error) => break error,
            }
            assert!(pages < 10, "it goes round and round");
        };
        assert!(error.to_string().contains("leads back"), "{error}");
    }

    #[tokio::test]
    async fn parts_are_joined_by_id_whatever_their_order() {
        let bench = Bench::new(|request| {
            if request.url.contains(LONG_ONE) {
                page(&[row("a", "1", LONG_ONE, "x"), row("b", "1", LONG_ONE, "y")].join(","))
            } else {
                page(&[row("b", "1", LONG_TWO, "Y"), row("a", "1", LONG_TWO, "X")].join(","))
            }
        });
        let (text, again, vanished) = read(&mut narrow(&bench, &columns(&["Id", LONG_ONE, LONG_TWO]))).await;
        let line =
            |id, one, two| format!("{{\"Id\":\"{id}\",\"{LONG_ONE}\":\"{one}\",\"{LONG_TWO}\":\"{two}\"}}\n");
        assert_eq!(text, line("a", "x", "X") + &line("b", "y", "Y"));
        assert_eq!((again, vanished, bench.count("/query")), (0, 0, 2));
    }

    #[tokio::test]
    async fn rows_that_changed_or_vanished_between_their_parts_are_read_again() {
        let again = AtomicUsize::new(0);
        let bench = Bench::new(move |request| {
            let one = request.url.contains(LONG_ONE);
            let (name, value) = if one { (LONG_ONE, "old") } else { (LONG_TWO, "new") };
            if request.url.contains("IN%20") {
                // `b` settles in the second round, `c` is gone.
                let round = again.fetch_add(1, Ordering::SeqCst) / 2;
                let stamp = if one && round == 0 { "2" } else { "3" };
                return page(&row("b", stamp, name, "settled"));
            }
            let stamp = if one { "1" } else { "2" };
            let mut rows = vec![row("a", "1", name, value), row("b", stamp, name, value)];
            if one {
                rows.push(row("c", "1", name, value));
            }
            page(&rows.join(","))
        });
        let (text, again, vanished) = read(&mut narrow(&bench, &columns(&["Id", LONG_ONE, LONG_TWO]))).await;
        assert_eq!((again, vanished), (1, 1));
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 2, "{text}");
        assert!(
            lines[1].contains(&format!("\"{LONG_ONE}\":\"settled\",\"{LONG_TWO}\":\"settled\"")),
            "{text}"
        );
    }

    #[rstest]
    #[case::few(500, 100, true, Reading::Rest)]
    #[case::many(500, 10_000, true, Reading::Bulk)]
    #[case::many_but_refused(500, 10_000, false, Reading::Rest)]
    #[case::long(20_000, 100, true, Reading::Bulk)]
    #[case::long_and_refused(20_000, 100, false, Reading::Wide)]
    fn length_and_volume_choose_the_reading(
        #[case] bytes: usize,
        #[case] rows: u64,
        #[case] bulk_takes_it: bool,
        #[case] expected: Reading,
    ) {
        assert_eq!(choose_reading(bytes, rows, 10_000, bulk_takes_it), expected);
    }

    proptest::proptest! {
        #[test]
        fn every_column_is_in_one_part_and_every_part_fits(
            names in proptest::collection::btree_set("[A-Z][a-z]{1,30}(\\.[A-Z][a-z]{1,20})?", 1..400),
        ) {
            let bench = Bench::new(|_| unreachable!("nothing is asked"));
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            let Ok(columns) = Columns::new(
                names.iter().map(|name| Column::new(*name, ColumnKind::Text)).collect(),
            ) else {
                return Ok(());
            };
            let options = WideOptions::default();
            let wide = bench.client.query_wide(&"Lead".parse().unwrap(), &columns, None, options);
            let Ok(wide) = wide else { return Ok(()) };
            let mut found: Vec<&str> = Vec::new();
            for part in std::iter::once(&wide.lead).chain(&wide.others) {
                proptest::prop_assert!(part.next.as_ref().unwrap().len() <= URI_BYTES_MAX - URI_BYTES_RESERVED);
                found.extend(part.fields.iter().map(String::as_str));
            }
            found.sort_unstable();
            let mut expected = names.clone();
            expected.retain(|name| *name != "Id");
            expected.sort_unstable();
            proptest::prop_assert_eq!(found, expected);
        }
    }
}
