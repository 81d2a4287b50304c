use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::store::disk::Disk;
use crate::sync::TableColumn;

struct Room(u64);

impl Disk for Room {
    fn free_bytes(&self, _: &Path) -> io::Result<u64> {
        Ok(self.0)
    }
}

fn spool(bytes_max: u64) -> (TempDir, Spool) {
    let folder = tempfile::tempdir().unwrap();
    let spool = Spool::open(folder.path(), bytes_max, Arc::new(Room(u64::MAX))).unwrap();
    (folder, spool)
}

fn layout(kinds: &[ColumnType]) -> TableLayout {
    let column = |(index, kind): (usize, &ColumnType)| {
        let name = format!("Column \"{index}\"");
        TableColumn { field: name.clone(), name, kind: *kind }
    };
    TableLayout {
        columns: kinds.iter().enumerate().map(column).collect(),
        key: 0,
        stamp: None,
        deleted: None,
        deleted_column: "IsDeleted".to_owned(),
    }
}

const EVERY_KIND: [ColumnType; 9] = [
    ColumnType::Id,
    ColumnType::Text,
    ColumnType::Boolean,
    ColumnType::Int,
    ColumnType::Decimal { precision: 18, scale: 2 },
    ColumnType::Date,
    ColumnType::Time,
    ColumnType::DateTime,
    ColumnType::Json,
];

fn rows_of(
    file: &SpoolFile,
    layout: &TableLayout,
    rows_per_chunk: usize,
) -> Result<Vec<RowChunk>, WarehouseError> {
    let mut chunks = Vec::new();
    let rows = read_chunks(file, layout, rows_per_chunk, &mut |chunk| {
        chunks.push(chunk.clone());
        Ok(())
    })?;
    assert_eq!(rows, file.rows);
    Ok(chunks)
}

fn files(folder: &TempDir) -> usize {
    fs::read_dir(folder.path()).unwrap().count()
}

fn ids(count: usize) -> RowChunk {
    let mut chunk = RowChunk::new(1);
    for index in 0..count {
        chunk.push([Cell::Text(&format!("00Q{index:015}"))]);
    }
    chunk
}

/// Bytes that no packer makes smaller.
fn noise(bytes: usize) -> RowChunk {
    let mut state = 0x9E37_79B9_7F4A_7C15u64;
    let text: String = (0..bytes)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            char::from(33 + (state % 90) as u8)
        })
        .collect();
    let mut chunk = RowChunk::new(1);
    chunk.push([Cell::Text(&text)]);
    chunk
}

const TEXT: [ColumnType; 1] = [ColumnType::Text];
const PART: PartNumber = PartNumber(3);

proptest! {
    #[test]
    fn rows_come_back_as_they_went_in(
        rows in prop::collection::vec(
            (
                prop::option::of("[^\u{0}]{1,20}"), prop::option::of(any::<bool>()), prop::option::of(any::<i64>()),
                prop::option::of("-?[1-9][0-9]{0,9}(\\.[0-9]{0,3}[1-9])?"), prop::option::of(-719_162i32..2_932_896),
                prop::option::of(0u32..86_400_000), prop::option::of(-62_135_596_800_000i64..253_402_300_800_000),
            ),
            0..40,
        ),
        rows_per_chunk in 1usize..50,
    ) {
        let (_folder, spool) = spool(1 << 30);
        let layout = layout(&EVERY_KIND);
        let mut chunk = RowChunk::new(9);
        for (text, boolean, int, decimal, date, time, stamp) in &rows {
            let text = text.as_deref();
            chunk.push([
                Cell::Text("00Q"),
                text.map_or(Cell::Null, Cell::Text),
                boolean.map_or(Cell::Null, Cell::Boolean),
                int.map_or(Cell::Null, Cell::Int),
                decimal.as_deref().map_or(Cell::Null, Cell::Decimal),
                date.map_or(Cell::Null, Cell::Date),
                time.map_or(Cell::Null, Cell::Time),
                stamp.map_or(Cell::Null, Cell::DateTime),
                text.map_or(Cell::Null, Cell::Json),
            ]);
        }
        let file = spool.keep(&layout, PART, "lead", &chunk).unwrap();
        let read = rows_of(&file, &layout, rows_per_chunk).unwrap();
        prop_assert!(read.iter().all(|chunk| chunk.rows() <= rows_per_chunk));
        let read: Vec<Vec<Cell<'_>>> =
            read.iter().flat_map(RowChunk::iter).map(|row| row.cells().collect()).collect();
        let written: Vec<Vec<Cell<'_>>> = chunk.iter().map(|row| row.cells().collect()).collect();
        prop_assert!(read == written);
    }
}

#[test]
fn a_file_is_csv_with_a_header_and_the_place_of_each_row() {
    let (_folder, spool) = spool(1 << 30);
    let layout = layout(&[ColumnType::Id, ColumnType::Text, ColumnType::Boolean]);
    let mut chunk = RowChunk::new(3);
    chunk.push([Cell::Text("a"), Cell::Text("say \"hi\",\nZoë"), Cell::Null]);
    chunk.push([Cell::Text("b"), Cell::Null, Cell::Boolean(true)]);
    let file = spool.keep(&layout, PartNumber(1), "lead", &chunk).unwrap();
    let mut text = String::new();
    io::Read::read_to_string(&mut MultiGzDecoder::new(File::open(&file.path).unwrap()), &mut text).unwrap();
    assert_eq!(
        text,
        "\"Column \"\"0\"\"\",\"Column \"\"1\"\"\",\"Column \"\"2\"\"\",\"_place\"\n\
         \"a\",\"say \"\"hi\"\",\nZoë\",,\"4294967296\"\n\"b\",,\"true\",\"4294967297\"\n"
    );
    assert_eq!(file.rows, 2);
    assert_eq!(file.bytes, fs::metadata(&file.path).unwrap().len());
}

#[test]
fn a_file_goes_with_the_last_of_its_owners_and_gives_its_room_back() {
    let (folder, spool) = spool(1 << 30);
    let file = spool.keep(&layout(&TEXT), PART, "lead", &ids(10)).unwrap();
    assert_eq!(spool.bytes(), file.bytes);
    let owner = Arc::clone(&file);
    drop(file);
    assert_eq!(files(&folder), 1);
    drop(owner);
    assert_eq!((files(&folder), spool.bytes()), (0, 0));
}

#[tokio::test]
async fn a_file_that_is_not_finished_leaves_nothing() {
    let (folder, spool) = spool(1 << 30);
    let mut file = spool.begin(&layout(&TEXT), PART, "lead").await.unwrap();
    file.push(&ids(10)).unwrap();
    assert_eq!(files(&folder), 1);
    drop(file);
    assert_eq!((files(&folder), spool.bytes()), (0, 0));
}

#[test]
fn what_a_crash_left_is_gone_and_what_is_not_ours_stays() {
    let folder = tempfile::tempdir().unwrap();
    let open = || Spool::open(folder.path(), 1 << 30, Arc::new(Room(u64::MAX))).unwrap();
    std::mem::forget(open().keep(&layout(&TEXT), PART, "lead", &ids(10)).unwrap());
    fs::write(folder.path().join("notes.txt"), "mine").unwrap();
    assert_eq!(files(&folder), 2);
    assert_eq!(open().bytes(), 0);
    assert_eq!(files(&folder), 1);
    assert!(folder.path().join("notes.txt").exists());
}

#[test]
fn only_the_daemons_user_reads_the_files() {
    let above = tempfile::tempdir().unwrap();
    let spool = Spool::open(&above.path().join("spool"), 1 << 30, Arc::new(Room(u64::MAX))).unwrap();
    let file = spool.keep(&layout(&TEXT), PART, "lead", &ids(1)).unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&file.path), mode(spool.folder())), (0o600, 0o700));
}

#[test]
fn a_file_has_another_name_for_a_while() {
    let (folder, spool) = spool(1 << 30);
    let file = spool.keep(&layout(&TEXT), PART, "lead", &ids(1)).unwrap();
    let named = file.named("p00001.csv.gz").unwrap();
    assert_eq!(named.path().file_name().unwrap(), "p00001.csv.gz");
    assert_eq!(fs::read(named.path()).unwrap(), fs::read(&file.path).unwrap());
    drop(named);
    assert_eq!(files(&folder), 1);
    assert!(file.path.exists());
    std::mem::forget(file.named("p00001.csv.gz").unwrap());
    Spool::open(folder.path(), 1, Arc::new(Room(u64::MAX))).unwrap();
    assert_eq!(files(&folder), 0, "what a crash left is gone");
}

#[test]
fn a_name_is_no_path() {
    let (folder, spool) = spool(1 << 30);
    let file = spool.keep(&layout(&TEXT), PART, "../../etc/x'; DROP", &ids(1)).unwrap();
    assert_eq!(file.path.parent().unwrap(), folder.path().canonicalize().unwrap());
    assert_eq!(file.path.file_name().unwrap(), "______etc_x___DROP-0.csv.gz");
}

#[tokio::test(start_paused = true)]
async fn a_file_waits_until_there_is_room_for_it() {
    let (_folder, spool) = spool(2 * FILE_ROOM);
    let layout = layout(&TEXT);
    let first = spool.begin(&layout, PART, "a").await.unwrap();
    let second = spool.begin(&layout, PART, "b").await.unwrap();
    let waiting = tokio::time::timeout(Duration::from_secs(60), spool.begin(&layout, PART, "c"));
    assert!(waiting.await.is_err());
    assert_eq!(spool.bytes(), 2 * FILE_ROOM, "one that no longer waits holds nothing");

    let waiting = tokio::spawn({
        let (spool, layout) = (spool.clone(), layout.clone());
        async move { spool.begin(&layout, PART, "c").await.map(|_| ()) }
    });
    tokio::task::yield_now().await;
    assert!(!waiting.is_finished());
    // A small file gives most of what was set aside for it back, but there is no room for a whole one yet.
    let small = first.finish().unwrap();
    tokio::task::yield_now().await;
    assert!(!waiting.is_finished());
    drop(small);
    waiting.await.unwrap().unwrap();
    drop(second);
}

#[tokio::test]
async fn a_bound_below_one_file_still_lets_one_through() {
    let (_folder, spool) = spool(1);
    let layout = layout(&TEXT);
    for _ in 0..3 {
        let mut file = spool.begin(&layout, PART, "a").await.unwrap();
        file.push(&ids(100)).unwrap();
        assert_eq!(file.finish().unwrap().rows, 100);
    }
}

#[tokio::test(start_paused = true)]
async fn a_file_that_outgrows_its_room_holds_the_next_one_back() {
    let (_folder, spool) = spool(2 * FILE_ROOM);
    let layout = layout(&TEXT);
    let mut file = spool.begin(&layout, PART, "a").await.unwrap();
    let piece = noise(3 << 20);
    while file.packed_bytes() <= FILE_ROOM {
        file.push(&piece).unwrap();
    }
    assert_eq!(spool.bytes(), FILE_ROOM + MORE_ROOM);
    let waiting = tokio::time::timeout(Duration::from_secs(60), spool.begin(&layout, PART, "b"));
    assert!(waiting.await.is_err());
    let file = file.finish().unwrap();
    assert_eq!(spool.bytes(), file.bytes);
}

#[test]
fn a_full_disk_is_told_before_it_fails() {
    let folder = tempfile::tempdir().unwrap();
    let spool = Spool::open(folder.path(), 1 << 30, Arc::new(Room(1 << 20))).unwrap();
    let error = spool.keep(&layout(&TEXT), PART, "lead", &ids(1)).unwrap_err();
    assert!(matches!(error, WarehouseError::Full(_)), "{error}");
    assert_eq!((files(&folder), spool.bytes()), (0, 0));
}

#[test]
fn a_damaged_file_is_an_error_that_shows_no_data() {
    let (_folder, spool) = spool(1 << 30);
    let texts = layout(&[ColumnType::Text]);
    let file = spool.keep(&texts, PART, "lead", &ids(5_000)).unwrap();
    let whole = fs::read(&file.path).unwrap();
    for cut in [whole.len() / 2, whole.len() - 4] {
        fs::write(&file.path, &whole[..cut]).unwrap();
        let error = rows_of(&file, &texts, 1_000).unwrap_err().to_string();
        assert!(error.contains("is not as it was written") && !error.contains("00Q"), "{error}");
    }
    let mut turned = whole.clone();
    let at = turned.len() / 2;
    turned[at] ^= 0x20;
    fs::write(&file.path, &turned).unwrap();
    assert!(rows_of(&file, &texts, 1_000).is_err());

    fs::write(&file.path, &whole).unwrap();
    let error = rows_of(&file, &layout(&[ColumnType::Int]), 1_000).unwrap_err().to_string();
    assert!(error.ends_with("row 1, column `Column \"0\"`"), "{error}");
    let error =
        rows_of(&file, &layout(&[ColumnType::Text, ColumnType::Text]), 1_000).unwrap_err().to_string();
    assert!(error.ends_with("its columns are others"), "{error}");
}

#[test]
fn days_that_are_none_are_refused() {
    for text in ["2026-13-01", "2026-00-01", "2026-01-00", "2026-1-001", "20260101xx", "+026-01-01"] {
        assert!(cell_of(ColumnType::Date, text).is_none(), "{text}");
    }
    for text in ["24:00:00.000", "00:60:00.000", "00:00:60.000", "00:00:00"] {
        assert!(cell_of(ColumnType::Time, text).is_none(), "{text}");
    }
}

/// `cargo test --release -- --ignored --nocapture spool_speed`
#[test]
#[ignore = "a figure, not a promise"]
fn spool_speed() {
    let (_folder, spool) = spool(1 << 30);
    let layout = layout(&[ColumnType::Text; 30]);
    let mut chunk = RowChunk::new(30);
    for row in 0..2_000 {
        let texts: Vec<String> = (0..30).map(|column| format!("value {}", row * 31 + column * 7)).collect();
        chunk.push(texts.iter().map(|text| Cell::Text(text)));
    }
    let cpu = || -> u64 {
        let text = fs::read_to_string("/proc/thread-self/schedstat").unwrap();
        text.split_whitespace().next().unwrap().parse().unwrap()
    };
    let told = |what: &str, since: u64, bytes: u64| {
        let rate = 200_000.0 * 1e9 / (cpu() - since) as f64;
        println!("{what}: {rate:.0} rows of 30 cells per CPU-second, {bytes} bytes");
    };
    let before = cpu();
    let mut writer = spool.start(spool.take_room().unwrap(), &layout, PART, "lead").unwrap();
    for _ in 0..100 {
        writer.push(&chunk).unwrap();
    }
    let file = writer.finish().unwrap();
    told("written", before, file.bytes);
    let before = cpu();
    let rows = read_chunks(&file, &layout, 2_000, &mut |_| Ok(())).unwrap();
    assert_eq!(rows, 200_000);
    told("read", before, file.bytes);
}
