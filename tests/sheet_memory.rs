//! What reading a sheet takes of memory, counted by the allocator itself: the same for a thousand rows and for a million.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, reason = "a test says so by failing")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};

use penstock::sheets::{CellView, MOST_ROWS, OpenOptions, Workbook};
use zip::write::SimpleFileOptions;

/// The system's allocator, and what it was asked for.
struct Counting;

static LIVE: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);
static CALLS: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call goes to the system's allocator as it came; the counters are beside it.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        CALLS.fetch_add(1, Relaxed);
        let live = LIVE.fetch_add(layout.size(), Relaxed) + layout.size();
        PEAK.fetch_max(live, Relaxed);
        // SAFETY: the caller's promises are those that the system's allocator asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Relaxed);
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The counters are the process's: one measurement at a time.
static ALONE: Mutex<()> = Mutex::new(());

/// Buffers that a small file does not fill.
const BUFFERS: usize = 128 << 10;

struct Taken {
    rows: u64,
    peak_bytes: usize,
    /// Allocations after the first thousand rows.
    calls: usize,
}

fn read(path: &Path, options: &OpenOptions) -> Taken {
    let before = LIVE.load(Relaxed);
    PEAK.store(before, Relaxed);
    let mut book = Workbook::open(path, "list", options).unwrap();
    let mut rows = book.rows(None).unwrap();
    let (mut count, mut calls) = (0, 0);
    while let Some(row) = rows.next_row().unwrap() {
        assert!(!matches!(row.cell(0), CellView::Empty), "row {}", row.number);
        count += 1;
        if count == 1_000 {
            calls = CALLS.load(Relaxed);
        }
    }
    Taken { rows: count, peak_bytes: PEAK.load(Relaxed) - before, calls: CALLS.load(Relaxed) - calls }
}

fn write_workbook(path: &Path, rows: u64, row: impl Fn(u64) -> String, strings: u64) {
    let mut writer = zip::ZipWriter::new(BufWriter::new(File::create(path).unwrap()));
    let kinds = "http://schemas.openxmlformats.org/officeDocument/2006/relationships";
    let mut part = |name: &str, content: &mut dyn Iterator<Item = String>| {
        writer.start_file(name, SimpleFileOptions::default()).unwrap();
        for piece in content {
            writer.write_all(piece.as_bytes()).unwrap();
        }
    };
    let main =
        "<workbook><sheets><sheet name=\"One\" sheetId=\"1\" r:id=\"a\"/></sheets></workbook>".to_owned();
    let relations = format!(
        "<Relationships><Relationship Id=\"a\" Type=\"{kinds}/worksheet\" Target=\"sheet.xml\"/>\
         <Relationship Id=\"b\" Type=\"{kinds}/sharedStrings\" Target=\"strings.xml\"/></Relationships>"
    );
    part("xl/workbook.xml", &mut std::iter::once(main));
    part("xl/_rels/workbook.xml.rels", &mut std::iter::once(relations));
    let text = |index: u64| format!("<si><t>text number {index} of many</t></si>");
    let begin = |tag: &str| std::iter::once(format!("<{tag}>"));
    let end = |tag: &str| std::iter::once(format!("</{tag}>"));
    part("xl/strings.xml", &mut begin("sst").chain((0..strings).map(text)).chain(end("sst")));
    let tags = "worksheet><sheetData";
    let rows = begin(tags).chain((1..=rows).map(row)).chain(end("sheetData")).chain(end("worksheet"));
    part("xl/sheet.xml", &mut { rows });
    writer.finish().unwrap();
}

#[test]
fn distinct_texts_go_to_the_disk_and_not_to_memory() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("list.xlsx");
    let row = |number: u64| {
        let (first, second) = ((number - 1) * 2, number * 2 - 1);
        format!("<row r=\"{number}\"><c t=\"s\"><v>{first}</v></c><c t=\"s\"><v>{second}</v></c></row>")
    };
    let options = OpenOptions { memory_bytes: 1 << 20, ..OpenOptions::new(folder.path()) };
    let [small, large] = [20_001, 100_001].map(|rows| {
        write_workbook(&path, rows, row, rows * 2);
        let taken = read(&path, &options);
        assert_eq!(taken.rows, rows - 1);
        // A block of 256 texts may take a new buffer; a row none.
        assert!(taken.calls as u64 <= rows / 50, "{} allocations for {rows} rows", taken.calls);
        taken.peak_bytes
    });
    assert!(large <= small + small / 10 + BUFFERS, "{small} bytes for 20,000 rows, {large} for 100,000");
    assert!(large <= 3 << 20, "{large} bytes");
}

#[test]
fn a_sheet_of_1048576_rows_takes_as_much_as_one_of_a_thousand() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let folder = tempfile::tempdir().unwrap();
    let options = OpenOptions::new(folder.path());
    let path = folder.path().join("list.xlsx");
    let [small, large] = [1_100, MOST_ROWS].map(|rows| {
        write_workbook(&path, rows, |number| format!("<row><c><v>{number}</v></c></row>"), 0);
        let taken = read(&path, &options);
        assert_eq!(taken.rows, rows - 1);
        assert!(taken.calls < 20, "{} allocations for {rows} rows", taken.calls);
        taken.peak_bytes
    });
    assert!(large <= small + small / 10 + BUFFERS, "{small} bytes for 1,100 rows, {large} for {MOST_ROWS}");
    assert!(large <= 1 << 20, "{large} bytes");
}

#[test]
fn delimited_text_of_any_encoding_takes_as_much_for_a_million_rows_as_for_a_thousand() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let folder = tempfile::tempdir().unwrap();
    let options = OpenOptions::new(folder.path());
    let path = folder.path().join("list.csv");
    for name in [&b"M\xfcller"[..], "Müller".as_bytes()] {
        let [small, large] = [1_100, MOST_ROWS].map(|rows| {
            let mut writer = BufWriter::new(File::create(&path).unwrap());
            for row in 0..rows {
                write!(writer, "{row};").unwrap();
                writer.write_all(name).unwrap();
                writer.write_all(b"\r\n").unwrap();
            }
            writer.into_inner().unwrap();
            let taken = read(&path, &options);
            assert_eq!(taken.rows, rows - 1);
            assert!(taken.calls < 20, "{} allocations for {rows} rows", taken.calls);
            taken.peak_bytes
        });
        assert!(
            large <= small + small / 10 + BUFFERS,
            "{small} bytes for 1,100 rows, {large} for {MOST_ROWS}"
        );
        assert!(large <= 1 << 20, "{large} bytes");
    }
}
