//! Workbooks of Excel 2007 and later: what is in the archive, and which part holds which sheet.
//!
//! Promises: parts are found as their relations say, transitional or strict, whatever their names. Shared strings are read
//! once, when a sheet is first read. Every pass over a sheet unpacks it anew, so nothing of it stays in memory.

mod part;
mod sheet;
mod strings;
mod styles;

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};

use quick_xml::events::Event;
use zip::ZipArchive;
use zip::result::ZipError;

use part::{Archive, Bounds, Xml, archive_error, attribute, index_of};
pub(super) use sheet::XlsxRows;
use strings::SharedStrings;
use styles::Styles;

use super::OpenOptions;
use super::error::SheetError;

/// Entries that an archive may have. A workbook has a few dozen.
const MOST_PARTS: u16 = 10_000;
/// Sheets, and relations, that a workbook may have.
const MOST_SHEETS: usize = 10_000;
/// Bytes read of the archive at a time.
const BUFFER: usize = 32 * 1024;

/// A workbook.
pub(super) struct XlsxBook {
    archive: Archive,
    bounds: Bounds,
    options: OpenOptions,
    /// Sheets with rows.
    sheets: Vec<Sheet>,
    /// Sheets without, and what they are.
    others: Vec<(String, &'static str)>,
    strings_part: Option<String>,
    strings: Option<SharedStrings>,
    styles: Styles,
}

struct Sheet {
    name: String,
    part: String,
    hidden: bool,
}

impl XlsxBook {
    /// Finds the sheets of the workbook, and reads its styles.
    pub(super) fn open(mut file: File, options: &OpenOptions) -> Result<Self, SheetError> {
        refuse_many_parts(&mut file)?;
        let mut archive =
            ZipArchive::new(BufReader::with_capacity(BUFFER, file)).map_err(|error| match error {
                // Its directory stands at the end.
                ZipError::InvalidArchive(_) => SheetError::Truncated { part: "its archive".to_owned() },
                error => archive_error(error, "its archive"),
            })?;
        let bounds = Bounds { max_unpacked_bytes: options.max_unpacked_bytes, max_ratio: options.max_ratio };
        let package = relations(&mut archive, "_rels/.rels", "", bounds)?;
        let main = package.into_values().find(|relation| relation.kind == "officeDocument");
        let main = main.map_or_else(|| "xl/workbook.xml".to_owned(), |relation| relation.target);
        if index_of(&archive, &main).is_none() || !is_workbook(&main) {
            return Err(other_archive(&mut archive, &main));
        }
        let (folder, file_name) = main.rsplit_once('/').unwrap_or(("", &main));
        let relations_part = join(folder, &format!("_rels/{file_name}.rels"));
        let relations = relations(&mut archive, &relations_part, folder, bounds)?;
        let (listed, counts_from_1904) = listed_sheets(&mut archive, &main, bounds)?;
        let part_of = |kind: &str| {
            relations.values().find(|relation| relation.kind == kind).map(|relation| relation.target.clone())
        };
        let styles = match part_of("styles") {
            Some(part) => Styles::read(&mut archive, &part, bounds, counts_from_1904)?,
            None => Styles::none(counts_from_1904),
        };
        let (mut sheets, mut others) = (Vec::new(), Vec::new());
        for listed in listed {
            let Some(relation) = relations.get(&listed.relation) else {
                return Err(SheetError::damaged(&main, format!("sheet `{}` has no part", listed.name)));
            };
            match relation.kind.as_str() {
                "worksheet" => {
                    sheets.push(Sheet {
                        name: listed.name,
                        part: relation.target.clone(),
                        hidden: listed.hidden,
                    });
                }
                "chartsheet" => others.push((listed.name, "chart sheet")),
                "dialogsheet" => others.push((listed.name, "dialog sheet")),
                "xlMacrosheet" | "xlIntlMacrosheet" => others.push((listed.name, "macro sheet")),
                _ => others.push((listed.name, "sheet of another kind")),
            }
        }
        if sheets.is_empty() {
            return Err(SheetError::NoSheets);
        }
        let strings_part = part_of("sharedStrings");
        let options = options.clone();
        Ok(Self { archive, bounds, options, sheets, others, strings_part, strings: None, styles })
    }

    pub(super) fn sheet_names(&self) -> Vec<String> {
        self.sheets.iter().map(|sheet| sheet.name.clone()).collect()
    }

    pub(super) fn is_hidden(&self, place: usize) -> bool {
        self.sheets.get(place).is_some_and(|sheet| sheet.hidden)
    }

    /// What a sheet is that has no rows.
    pub(super) fn kind_without_rows(&self, wanted: &str) -> Option<&'static str> {
        let wanted = wanted.trim().to_lowercase();
        self.others.iter().find(|(name, _)| name.trim().to_lowercase() == wanted).map(|&(_, kind)| kind)
    }

    /// Starts a pass over a sheet.
    pub(super) fn rows(&mut self, place: usize) -> Result<XlsxRows<'_>, SheetError> {
        let Some(sheet) = self.sheets.get(place) else { return Err(SheetError::NoSheets) };
        if self.strings.is_none() {
            self.strings = Some(match &self.strings_part {
                Some(part) => SharedStrings::read(&mut self.archive, part, self.bounds, &self.options)?,
                None => SharedStrings::none(),
            });
        }
        let Some(strings) = &mut self.strings else { return Err(SheetError::NoSheets) };
        let Some(xml) = Xml::open(&mut self.archive, &sheet.part, self.bounds)? else {
            return Err(SheetError::damaged(&sheet.part, "it is missing"));
        };
        XlsxRows::start(xml, strings, &self.styles)
    }
}

/// Where a part points to.
struct Relation {
    /// The last word of its type, `worksheet` or `styles`: the words before differ between transitional and strict.
    kind: String,
    target: String,
}

/// The relations of a part, by their id.
fn relations(
    archive: &mut Archive,
    part: &str,
    folder: &str,
    bounds: Bounds,
) -> Result<HashMap<String, Relation>, SheetError> {
    let mut found = HashMap::new();
    let Some(mut xml) = Xml::open(archive, part, bounds)? else { return Ok(found) };
    loop {
        match xml.next()? {
            Event::Start(start) | Event::Empty(start) if start.local_name().as_ref() == "Relationship" => {
                let is_outside = attribute(&start, "TargetMode").is_some_and(|mode| mode == "External");
                let all = (attribute(&start, "Id"), attribute(&start, "Type"), attribute(&start, "Target"));
                if let ((Some(id), Some(kind), Some(target)), false) = (all, is_outside) {
                    let kind = kind.rsplit('/').next().unwrap_or_default().to_owned();
                    found.insert(id, Relation { kind, target: join(folder, &target) });
                }
            }
            Event::Eof => return Ok(found),
            _ => {}
        }
        if found.len() > MOST_SHEETS {
            return Err(SheetError::damaged(part, format!("it has more than {MOST_SHEETS} relations")));
        }
    }
}

/// A path inside the archive: relative to a folder, or from the root when it begins with `/`.
fn join(folder: &str, target: &str) -> String {
    let target = target.replace('\\', "/");
    let mut parts: Vec<&str> = Vec::new();
    let folder = if target.starts_with('/') { "" } else { folder };
    for piece in folder.split('/').chain(target.split('/')) {
        match piece {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            piece => parts.push(piece),
        }
    }
    parts.join("/")
}

struct Listed {
    name: String,
    relation: String,
    hidden: bool,
}

/// The sheets in the workbook's order, and whether its dates count from 1904.
fn listed_sheets(
    archive: &mut Archive,
    part: &str,
    bounds: Bounds,
) -> Result<(Vec<Listed>, bool), SheetError> {
    let Some(mut xml) = Xml::open(archive, part, bounds)? else {
        return Err(SheetError::damaged(part, "it is missing"));
    };
    let (mut listed, mut counts_from_1904) = (Vec::new(), false);
    loop {
        match xml.next()? {
            Event::Start(start) | Event::Empty(start) => match start.local_name().as_ref() {
                "sheet" => {
                    let Some((name, relation)) = attribute(&start, "name").zip(attribute(&start, "id"))
                    else {
                        return Err(SheetError::damaged(part, "it lists a sheet without a name or a part"));
                    };
                    let hidden = attribute(&start, "state").is_some_and(|state| state != "visible");
                    listed.push(Listed { name, relation, hidden });
                }
                "workbookPr" => {
                    counts_from_1904 =
                        attribute(&start, "date1904").is_some_and(|flag| flag == "1" || flag == "true");
                }
                _ => {}
            },
            Event::Eof => return Ok((listed, counts_from_1904)),
            _ => {}
        }
        if listed.len() > MOST_SHEETS {
            return Err(SheetError::damaged(part, format!("it lists more than {MOST_SHEETS} sheets")));
        }
    }
}

/// The main part of a workbook in XML.
fn is_workbook(main: &str) -> bool {
    let name = main.rsplit('/').next().unwrap_or(main).to_ascii_lowercase();
    name.ends_with(".xml") && !name.starts_with("document") && !name.starts_with("presentation")
}

/// What an archive is that holds no workbook.
fn other_archive(archive: &mut Archive, main: &str) -> SheetError {
    let other = |found, remedy| SheetError::OtherFile { found, remedy };
    let mut mimetype = String::new();
    if let Some(index) = index_of(archive, "mimetype")
        && let Ok(file) = archive.by_index(index)
    {
        // Whether it can be read decides nothing: it is named all the same.
        let _ = file.take(128).read_to_string(&mut mimetype);
    }
    let has = |part: &str| index_of(archive, part).is_some();
    if mimetype.contains("opendocument") {
        other("an OpenDocument file", "save it as .xlsx")
    } else if main.ends_with(".bin") || has("xl/workbook.bin") {
        other("a binary workbook (.xlsb)", "save it as .xlsx")
    } else if has("word/document.xml") {
        other("a text document (.docx)", "copy its table into a workbook")
    } else if has("ppt/presentation.xml") {
        other("a presentation (.pptx)", "copy its table into a workbook")
    } else if has("Index/Document.iwa") {
        other("a Numbers document", "export it as .xlsx")
    } else if archive.is_empty() {
        other("an empty zip archive", "send the workbook itself")
    } else {
        other("a zip archive without a workbook", "unpack it and send the workbook itself")
    }
}

/// Refuses an archive whose directory alone would fill the memory. The directory's end stands in the last bytes of the file,
/// behind it at most a comment.
fn refuse_many_parts(file: &mut File) -> Result<(), SheetError> {
    const END: usize = 22;
    const LONGEST_COMMENT: u64 = 65_535;
    let mut tail = Vec::new();
    let read = (|| {
        let length = file.seek(SeekFrom::End(0))?;
        file.seek(SeekFrom::Start(length.saturating_sub(LONGEST_COMMENT + END as u64)))?;
        file.by_ref().take(LONGEST_COMMENT + END as u64).read_to_end(&mut tail)?;
        file.seek(SeekFrom::Start(0))
    })();
    read.map_err(|source| SheetError::Io { action: "cannot read the file", source })?;
    let ends = memchr::memmem::find_iter(&tail, b"PK\x05\x06");
    let counts = ends
        .filter_map(|at| tail.get(at + 10..at + 12))
        .map(|bytes| u16::from_le_bytes([bytes[0], bytes[1]]));
    if counts.max().is_some_and(|count| count > MOST_PARTS) {
        let why = format!("it has more than {MOST_PARTS} parts, a workbook has a few dozen");
        return Err(SheetError::Damaged { part: "its archive".to_owned(), why });
    }
    Ok(())
}
