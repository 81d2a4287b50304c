//! What things are called in Snowflake: tables, columns, stages and the files in them.
//!
//! Promises: a plain name is upper-cased, as Snowflake does with one that is not quoted, so that people need no quotes in
//! their queries; any other name is kept letter by letter; whatever a name holds, it never ends its quotes. A file's name
//! tells what is in it, so that a listing is all that is needed to know what is staged.

use std::collections::BTreeMap;
use std::fmt;

use crate::sync::{LoadId, LoadPlan, PartNumber, PartReceipt, TableName};

/// Penstock's own stage, made where none is named.
pub const OWN_STAGE: &str = "_PENSTOCK_STAGE";

/// Whether a name needs no quotes.
fn is_plain(name: &str) -> bool {
    let mut bytes = name.bytes();
    let starts = bytes.next().is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_');
    starts && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'$')
}

/// A name as Snowflake keeps it.
pub fn fold(name: &str) -> String {
    if is_plain(name) { name.to_ascii_uppercase() } else { name.to_owned() }
}

/// A name in quotes, folded.
pub fn quote(name: &str) -> String {
    format!("\"{}\"", fold(name).replace('"', "\"\""))
}

/// A text in a statement.
pub fn text(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
}

/// A text in a statement, or null.
pub fn maybe_text(of: Option<&str>) -> String {
    of.map_or_else(|| "NULL".to_owned(), text)
}

/// Where a table or a stage is; folded.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Place {
    /// Its database.
    pub database: String,
    /// Its schema.
    pub schema: String,
    /// Its own name.
    pub name: String,
}

impl Place {
    /// All three parts, in quotes.
    pub fn full(&self) -> String {
        format!("{}.{}.{}", quote(&self.database), quote(&self.schema), quote(&self.name))
    }

    /// The last part alone, in quotes: what its columns are told apart by in a statement.
    pub fn short(&self) -> String {
        quote(&self.name)
    }

    /// All three parts as the ledger has them: two spellings of one table are one text.
    pub fn key(&self) -> String {
        TableName::new(vec![self.database.clone(), self.schema.clone()], &self.name).to_string()
    }
}

/// The database and the schema of the settings: where penstock's own tables are, and tables whose names say nothing else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Home {
    /// The database.
    pub database: String,
    /// The schema.
    pub schema: String,
}

impl Home {
    /// A table or a stage of that name.
    pub fn place(&self, name: &TableName) -> Place {
        let (database, schema) = match name.above() {
            [] => (&self.database, &self.schema),
            [schema] => (&self.database, schema),
            [database, schema, ..] => (database, schema),
        };
        Place { database: fold(database), schema: fold(schema), name: fold(name.name()) }
    }

    /// One of penstock's own.
    pub fn own(&self, name: &str) -> Place {
        Place { database: fold(&self.database), schema: fold(&self.schema), name: fold(name) }
    }

    /// The tables that a load's files are copied into before its transaction: rows, and keys alone.
    pub fn staging(&self, load: &LoadPlan) -> (Place, Place) {
        // A name of the person's, whose odd letters nobody needs here.
        let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
        let table: String = load.table.name().chars().map(plain).collect();
        let of = |sort: &str| self.own(&format!("_STG_{table}_{}{sort}", load.id));
        (of(""), of("_KEYS"))
    }

    /// A stage: the named one, or penstock's own; `None` when the name cannot be one.
    pub fn stage(&self, named: Option<&str>) -> Option<Stage> {
        let Some(named) = named else {
            return Some(Stage { place: self.own(OWN_STAGE), told: OWN_STAGE.to_owned(), is_own: true });
        };
        let name: TableName = named.strip_prefix('@').unwrap_or(named).parse().ok()?;
        Some(Stage { place: self.place(&name), told: named.to_owned(), is_own: false })
    }
}

/// A stage that files go through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stage {
    /// Where it is.
    pub place: Place,
    /// As the person named it.
    pub told: String,
    /// Whether penstock makes it.
    pub is_own: bool,
}

impl Stage {
    /// In a statement, without quotes where a part needs none: what most people write is what is best understood.
    pub fn at(&self) -> String {
        let part = |name: &str| if is_plain(name) { name.to_owned() } else { quote(name) };
        let Place { database, schema, name } = &self.place;
        format!("@{}.{}.{}", part(database), part(schema), part(name))
    }

    /// The folder of a load's files, in a statement.
    pub fn folder(&self, load: &LoadPlan) -> String {
        format!("{}/{}/{}", self.at(), load.object, load.id)
    }
}

/// What a staged file has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sort {
    /// Rows.
    Rows,
    /// Keys alone.
    Keys,
}

impl Sort {
    /// What the names of such files begin with, and no others do.
    pub fn letter(self) -> char {
        match self {
            Self::Rows => 'p',
            Self::Keys => 'k',
        }
    }
}

/// What the names of files without a row begin with: there is nothing to copy from them.
const EMPTY: char = 'n';

/// The name of a staged file: `p0000001000_a0001_r50000.csv.gz`. A part that is staged again comes with the next attempt, so
/// that a file is never another one than it was, and the last attempt counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StagedFile {
    /// What it has.
    pub sort: Sort,
    /// Its part.
    pub part: PartNumber,
    /// Which of the files of its part.
    pub attempt: u32,
    /// Its rows, or keys.
    pub rows: u64,
}

impl fmt::Display for StagedFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { sort, part, attempt, rows } = self;
        let letter = if *rows == 0 { EMPTY } else { sort.letter() };
        write!(f, "{letter}{:010}_a{attempt:04}_r{rows}.csv.gz", part.0)
    }
}

/// The name of the empty file that says that all attempts up to this one count no more.
pub fn void_file(attempt: u32) -> String {
    format!("v_a{attempt:04}.csv.gz")
}

fn parse_file(name: &str) -> Option<StagedFile> {
    let sort = if name.starts_with(Sort::Keys.letter()) { Sort::Keys } else { Sort::Rows };
    let rest = name.get(1..)?;
    let (part, rest) = rest.split_once("_a")?;
    let (attempt, rows) = rest.strip_suffix(".csv.gz")?.split_once("_r")?;
    let file = StagedFile {
        sort,
        part: PartNumber(part.parse().ok()?),
        attempt: attempt.parse().ok()?,
        rows: rows.parse().ok()?,
    };
    (file.to_string() == name).then_some(file)
}

fn parse_void(name: &str) -> Option<u32> {
    name.strip_prefix("v_a")?.strip_suffix(".csv.gz")?.parse().ok()
}

/// What a stage has of a load.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listing {
    /// The files that count, by part.
    pub parts: BTreeMap<PartNumber, StagedFile>,
    /// Files that count no more and are still there.
    pub leftovers: usize,
    /// The attempt that comes next.
    pub next_attempt: u32,
}

impl Listing {
    /// Reads the names that a stage lists.
    pub fn of<'n>(names: impl Iterator<Item = &'n str>, load: &LoadId) -> Self {
        let (mut files, mut void) = (Vec::new(), 0);
        for name in names {
            let mut steps = name.rsplit('/');
            let (file, folder) = (steps.next().unwrap_or_default(), steps.next());
            if folder != Some(load.as_str()) {
                continue;
            }
            match (parse_file(file), parse_void(file)) {
                (Some(file), _) => files.push(file),
                (None, Some(attempt)) => void = void.max(attempt),
                // Of no load: a log's, or somebody else's.
                (None, None) => {}
            }
        }
        let all = files.len();
        let mut listing = Self { next_attempt: void + 1, ..Self::default() };
        for file in files {
            listing.next_attempt = listing.next_attempt.max(file.attempt + 1);
            let last = listing.parts.get(&file.part).map_or(void, |last| last.attempt);
            if file.attempt > last {
                listing.parts.insert(file.part, file);
            }
        }
        listing.leftovers = all - listing.parts.len();
        listing
    }

    /// The parts.
    pub fn receipts(&self) -> Vec<PartReceipt> {
        self.parts.values().map(|file| PartReceipt { part: file.part, rows: file.rows }).collect()
    }

    /// Rows, or keys, in all.
    pub fn rows(&self, sort: Sort) -> u64 {
        self.files(sort).map(|file| file.rows).sum()
    }

    /// The files with rows, or with keys; those that have any.
    pub fn files(&self, sort: Sort) -> impl Iterator<Item = &StagedFile> {
        self.parts.values().filter(move |file| file.sort == sort && file.rows > 0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    fn home() -> Home {
        Home { database: "raw".to_owned(), schema: "crm".to_owned() }
    }

    #[rstest]
    #[case::plain("Lead", "\"LEAD\"")]
    #[case::dollar("Order$Item", "\"ORDER$ITEM\"")]
    #[case::keyword("Group", "\"GROUP\"")]
    #[case::blank("My Lead", "\"My Lead\"")]
    #[case::letters("Größe", "\"Größe\"")]
    #[case::quotes("a\"; DROP TABLE x --", "\"a\"\"; DROP TABLE x --\"")]
    fn names_are_folded_and_never_end_their_quotes(#[case] name: &str, #[case] quoted: &str) {
        assert_eq!(quote(name), quoted);
    }

    #[rstest]
    #[case::quote("it's", "'it''s'")]
    #[case::backslash("\\' OR 1=1 --", "'\\\\'' OR 1=1 --'")]
    fn texts_never_end_their_quotes(#[case] plain: &str, #[case] quoted: &str) {
        assert_eq!(text(plain), quoted);
    }

    #[rstest]
    #[case::here("lead", "RAW.CRM.LEAD")]
    #[case::schema("sales.lead", "RAW.SALES.LEAD")]
    #[case::database("dev.sales.LEAD", "DEV.SALES.LEAD")]
    #[case::quoted("\"my lead\"", "RAW.CRM.\"my lead\"")]
    fn two_spellings_of_one_table_are_one_text(#[case] name: &str, #[case] key: &str) {
        assert_eq!(home().place(&name.parse().unwrap()).key(), key);
    }

    #[rstest]
    #[case::own(None, Some("@RAW.CRM._PENSTOCK_STAGE"))]
    #[case::named(Some("sf_stage"), Some("@RAW.CRM.SF_STAGE"))]
    #[case::at(Some("@util.sf_stage"), Some("@RAW.UTIL.SF_STAGE"))]
    #[case::odd(Some("\"my stage\""), Some("@RAW.CRM.\"my stage\""))]
    #[case::blank(Some("\"MY STAGE\""), Some("@RAW.CRM.\"MY STAGE\""))]
    #[case::digit(Some("\"1st\""), Some("@RAW.CRM.\"1st\""))]
    #[case::path(Some("sf_stage/../x"), None)]
    #[case::statement(Some("s; DROP STAGE s"), None)]
    fn a_stage_is_a_name_and_no_path(#[case] named: Option<&str>, #[case] at: Option<&str>) {
        assert_eq!(home().stage(named).map(|stage| stage.at()).as_deref(), at);
    }

    fn load() -> LoadId {
        LoadId::new(1, 1)
    }

    fn listing(files: &[&str]) -> Listing {
        let names: Vec<String> = files.iter().map(|file| format!("s/Lead/{}/{file}", load())).collect();
        Listing::of(names.iter().map(String::as_str), &load())
    }

    fn told(listing: &Listing) -> Vec<String> {
        listing.parts.values().map(StagedFile::to_string).collect()
    }

    #[test]
    fn the_last_attempt_of_a_part_counts() {
        let (first, second) = ("p0000000000_a0001_r5.csv.gz", "p0000000000_a0003_r4.csv.gz");
        let other = "k1000000000_a0002_r7.csv.gz";
        for files in [[first, second, other], [other, second, first]] {
            let listing = listing(&files);
            assert_eq!(told(&listing), [second, other]);
            assert_eq!((listing.leftovers, listing.next_attempt), (1, 4));
            assert_eq!((listing.rows(Sort::Rows), listing.rows(Sort::Keys)), (4, 7));
        }
    }

    #[test]
    fn what_was_let_go_counts_no_more() {
        let files = ["p0000000000_a0001_r5.csv.gz", "p0000000001_a0002_r5.csv.gz", "v_a0002.csv.gz"];
        let gone = listing(&files);
        assert_eq!((gone.parts.len(), gone.leftovers, gone.next_attempt), (0, 2, 3));
        let again = listing(&[files[0], files[1], files[2], "p0000000001_a0003_r9.csv.gz"]);
        assert_eq!(told(&again), ["p0000000001_a0003_r9.csv.gz"]);
    }

    #[test]
    fn files_of_others_are_not_counted() {
        let other = LoadId::new(2, 2);
        let names = [
            format!("s/Lead/{other}/p0000000000_a0001_r5.csv.gz"),
            format!("s/Lead/{}/deeper/p0000000000_a0001_r5.csv.gz", load()),
            format!("s/Lead/{}/p0_a1_r5.csv.gz", load()),
            format!("s/Lead/{}/p0000000000_a0001_r5.csv", load()),
            format!("s/Lead/{}/notes.txt", load()),
        ];
        let listing = Listing::of(names.iter().map(String::as_str), &load());
        assert_eq!((listing.parts.len(), listing.leftovers), (0, 0));
    }

    proptest! {
        #[test]
        fn a_files_name_reads_back(is_rows: bool, part: u32, attempt in 1u32..100_000, rows in 0u64..3_000_000) {
            // Of an empty file nobody asks what it has none of.
            let sort = if is_rows || rows == 0 { Sort::Rows } else { Sort::Keys };
            let file = StagedFile { sort, part: PartNumber(part), attempt, rows };
            prop_assert_eq!(parse_file(&file.to_string()), Some(file));
        }
    }
}
