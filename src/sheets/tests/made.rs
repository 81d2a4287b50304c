//! Workbooks put together by hand.

use std::io::{Cursor, Write};

use zip::write::SimpleFileOptions;

/// A zip archive of these parts.
pub(super) fn zip_of(parts: &[(&str, &[u8])]) -> Vec<u8> {
    let mut writer = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for (name, content) in parts {
        writer.start_file(*name, SimpleFileOptions::default()).unwrap();
        writer.write_all(content).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

/// What a workbook is made of; parts that are empty are left out.
pub(super) struct Made {
    pub(super) workbook: String,
    pub(super) relations: String,
    pub(super) sheet: Vec<u8>,
    pub(super) strings: Vec<u8>,
    pub(super) styles: String,
}

const TYPES: &str = "http://schemas.openxmlformats.org/officeDocument/2006/relationships";

impl Made {
    /// A workbook whose one sheet has these rows.
    pub(super) fn of_rows(rows: &str) -> Self {
        Self {
            workbook: "<workbook><workbookPr/><sheets><sheet name=\"One\" sheetId=\"1\" r:id=\"r1\"/></sheets></workbook>"
                .into(),
            relations: format!(
                "<Relationships><Relationship Id=\"r1\" Type=\"{TYPES}/worksheet\" Target=\"worksheets/sheet1.xml\"/>\
                 <Relationship Id=\"r2\" Type=\"{TYPES}/sharedStrings\" Target=\"/xl/sharedStrings.xml\"/>\
                 <Relationship Id=\"r3\" Type=\"{TYPES}/styles\" Target=\"../xl/styles.xml\"/></Relationships>"
            ),
            sheet: format!("<?xml version=\"1.0\"?><worksheet><sheetData>{rows}</sheetData></worksheet>").into_bytes(),
            strings: Vec::new(),
            styles: String::new(),
        }
    }

    /// The same with these shared strings, each an `si`.
    pub(super) fn with_strings(mut self, items: &str) -> Self {
        self.strings = format!("<sst count=\"1\" uniqueCount=\"1\">{items}</sst>").into_bytes();
        self
    }

    pub(super) fn bytes(&self) -> Vec<u8> {
        let package = format!(
            "<Relationships><Relationship Id=\"a\" Type=\"{TYPES}/officeDocument\" Target=\"xl/workbook.xml\"/></Relationships>"
        );
        let parts = [
            ("_rels/.rels", package.as_bytes()),
            ("xl/workbook.xml", self.workbook.as_bytes()),
            ("xl/_rels/workbook.xml.rels", self.relations.as_bytes()),
            ("xl/worksheets/sheet1.xml", &self.sheet),
            ("xl/sharedStrings.xml", &self.strings),
            ("xl/styles.xml", self.styles.as_bytes()),
        ];
        let parts: Vec<_> = parts.into_iter().filter(|(_, content)| !content.is_empty()).collect();
        zip_of(&parts)
    }
}

const SECTOR: usize = 512;

/// A compound file with one stream.
pub(super) fn compound_file(stream: &str, content: &[u8]) -> Vec<u8> {
    // Streams below 4,096 bytes would have to lie in the small sectors.
    let mut content = content.to_vec();
    content.resize(content.len().max(4_096).next_multiple_of(SECTOR), 0);
    let sectors = content.len() / SECTOR;
    let mut header = vec![0_u8; SECTOR];
    header[..8].copy_from_slice(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1");
    let fields: [(usize, &[u8]); 9] = [
        (24, &[0x3e, 0, 3, 0, 0xfe, 0xff, 9, 0, 6, 0]),
        (44, &1_u32.to_le_bytes()),
        (48, &1_u32.to_le_bytes()),
        (56, &4_096_u32.to_le_bytes()),
        (60, &0xffff_fffe_u32.to_le_bytes()),
        (64, &0_u32.to_le_bytes()),
        (68, &0xffff_fffe_u32.to_le_bytes()),
        (72, &0_u32.to_le_bytes()),
        (76, &0_u32.to_le_bytes()),
    ];
    for (at, bytes) in fields {
        header[at..at + bytes.len()].copy_from_slice(bytes);
    }
    header[80..].fill(0xff);
    // Sector 0 tells which sector follows which, 1 is the directory, the others are the stream.
    let mut follows = vec![0xffff_fffd_u32, 0xffff_fffe];
    for sector in 2..2 + sectors {
        follows.push(if sector == 1 + sectors { 0xffff_fffe } else { sector as u32 + 1 });
    }
    assert!(follows.len() <= SECTOR / 4, "one sector tells of all");
    follows.resize(SECTOR / 4, 0xffff_ffff);
    let mut file = header;
    file.extend(follows.iter().flat_map(|next| next.to_le_bytes()));
    for (name, kind, child, start, size) in [
        ("Root Entry", 5_u8, 1_u32, 0xffff_fffe_u32, 0),
        (stream, 2, 0xffff_ffff, 2, content.len() as u32),
        ("", 0, 0xffff_ffff, 0, 0),
        ("", 0, 0xffff_ffff, 0, 0),
    ] {
        let mut entry = [0_u8; 128];
        let units: Vec<u8> = name.encode_utf16().flat_map(u16::to_le_bytes).collect();
        entry[..units.len()].copy_from_slice(&units);
        entry[64] = if name.is_empty() { 0 } else { units.len() as u8 + 2 };
        entry[66] = kind;
        entry[67] = 1;
        entry[68..76].fill(0xff);
        entry[76..80].copy_from_slice(&child.to_le_bytes());
        entry[116..120].copy_from_slice(&start.to_le_bytes());
        entry[120..124].copy_from_slice(&size.to_le_bytes());
        file.extend(entry);
    }
    file.extend(content);
    file
}

/// A workbook of Excel 97: sheets with their state and kind, each with cells made by [`label`] and [`number`].
pub(super) fn biff(date1904: bool, sheets: &[(&str, u8, u8, Vec<u8>)]) -> Vec<u8> {
    let begin = |kind: u16| record(0x0809, &[&[0, 6], &kind.to_le_bytes()[..], &[0; 12]].concat());
    let mut globals = begin(5);
    globals.extend(record(0x0022, &u16::from(date1904).to_le_bytes()));
    // A style without a format of its own, and one that shows a date.
    for format in [0_u16, 14] {
        globals.extend(record(0x00e0, &[&[0, 0][..], &format.to_le_bytes(), &[0; 16]].concat()));
    }
    let named = |name: &str, state: u8, kind: u8, at: u32| {
        let head = [&at.to_le_bytes()[..], &[state, kind, name.len() as u8, 0], name.as_bytes()].concat();
        record(0x0085, &head)
    };
    let length: usize = sheets.iter().map(|(name, state, kind, _)| named(name, *state, *kind, 0).len()).sum();
    let mut at = globals.len() + length + 4;
    let bodies: Vec<Vec<u8>> = sheets
        .iter()
        .map(|(_, _, _, cells)| [begin(0x10), cells.clone(), record(0x000a, &[])].concat())
        .collect();
    for ((name, state, kind, _), body) in sheets.iter().zip(&bodies) {
        globals.extend(named(name, *state, *kind, at as u32));
        at += body.len();
    }
    globals.extend(record(0x000a, &[]));
    globals.extend(bodies.concat());
    globals
}

fn record(kind: u16, content: &[u8]) -> Vec<u8> {
    [&kind.to_le_bytes()[..], &(content.len() as u16).to_le_bytes(), content].concat()
}

pub(super) fn label(row: u16, column: u16, text: &str) -> Vec<u8> {
    let head = [row.to_le_bytes(), column.to_le_bytes(), [0, 0], (text.len() as u16).to_le_bytes()].concat();
    record(0x0204, &[&head[..], &[0], text.as_bytes()].concat())
}

pub(super) fn number(row: u16, column: u16, style: u16, value: f64) -> Vec<u8> {
    let head = [row.to_le_bytes(), column.to_le_bytes(), style.to_le_bytes()].concat();
    record(0x0203, &[&head[..], &value.to_le_bytes()].concat())
}

/// The record that says that what follows is encrypted.
pub(super) fn encrypted_biff() -> Vec<u8> {
    let begin = record(0x0809, &[0, 6, 5, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    [begin, record(0x002f, &[1, 0, 1, 0, 1, 0]), record(0x000a, &[])].concat()
}
