//! The number formats of a workbook's styles: what makes a number a date.

use std::collections::HashMap;

use quick_xml::events::Event;

use super::part::{Archive, Bounds, Xml, attribute};
use crate::sheets::cell::FormatId;
use crate::sheets::error::SheetError;
use crate::sheets::number_format::{Shows, shows};

/// Styles, and formats, that a workbook may have.
const MOST: usize = 65_000;
/// Days from the beginning of 1900 to that of 1904, as spreadsheets count them.
const DAYS_TO_1904: f64 = 1_462.0;

/// Formats of dates that come without one.
const DAY: &str = "yyyy-mm-dd";
const DAY_AND_TIME: &str = "yyyy-mm-dd hh:mm:ss";

/// Which number format each style has.
pub(super) struct Styles {
    /// Codes by [`FormatId`]; the first is `General`.
    codes: Vec<String>,
    /// Those that show a date.
    are_dates: Vec<bool>,
    /// The format of each style of cells.
    of_style: Vec<FormatId>,
    counts_from_1904: bool,
}

impl Styles {
    /// Styles of a workbook that has none.
    pub(super) fn none(counts_from_1904: bool) -> Self {
        let mut styles =
            Self { codes: Vec::new(), are_dates: Vec::new(), of_style: Vec::new(), counts_from_1904 };
        for code in ["General", DAY, DAY_AND_TIME] {
            styles.intern(code);
        }
        styles
    }

    /// Reads the part with the styles.
    pub(super) fn read(
        archive: &mut Archive,
        part: &str,
        bounds: Bounds,
        counts_from_1904: bool,
    ) -> Result<Self, SheetError> {
        let mut styles = Self::none(counts_from_1904);
        let Some(mut xml) = Xml::open(archive, part, bounds)? else { return Ok(styles) };
        let mut own: HashMap<u32, String> = HashMap::new();
        let mut known: HashMap<u32, FormatId> = HashMap::new();
        let mut in_cell_styles = false;
        loop {
            match xml.next()? {
                Event::Start(start) | Event::Empty(start) => match start.local_name().as_ref() {
                    "numFmt" => {
                        let number = attribute(&start, "numFmtId").and_then(|number| number.parse().ok());
                        if let Some((number, code)) = number.zip(attribute(&start, "formatCode")) {
                            own.insert(number, code);
                        }
                    }
                    "cellXfs" => in_cell_styles = true,
                    "cellStyles" | "dxfs" => in_cell_styles = false,
                    "xf" if in_cell_styles => {
                        let number =
                            attribute(&start, "numFmtId").and_then(|number| number.parse().ok()).unwrap_or(0);
                        let format = *known.entry(number).or_insert_with(|| {
                            let code = own.get(&number).map_or_else(|| built_in(number), String::as_str);
                            styles.intern(code)
                        });
                        styles.of_style.push(format);
                    }
                    _ => {}
                },
                Event::End(end) if end.local_name().as_ref() == "cellXfs" => in_cell_styles = false,
                Event::Eof => return Ok(styles),
                _ => {}
            }
            if own.len() > MOST || styles.of_style.len() > MOST {
                return Err(SheetError::damaged(part, format!("it has more than {MOST} styles")));
            }
        }
    }

    fn intern(&mut self, code: &str) -> FormatId {
        let place = self.codes.iter().position(|known| known == code).unwrap_or_else(|| {
            self.codes.push(code.to_owned());
            self.are_dates.push(shows(code) == Shows::Date);
            self.codes.len() - 1
        });
        // There are no more codes than styles.
        FormatId(u16::try_from(place).unwrap_or_default())
    }

    /// The format of a style.
    pub(super) fn format_of(&self, style: usize) -> FormatId {
        self.of_style.get(style).copied().unwrap_or_default()
    }

    /// The format of a date that is written as one, not as a number: that of its style, unless it shows no date.
    pub(super) fn format_of_date(&self, style: usize, has_time: bool) -> FormatId {
        let styled = self.format_of(style);
        let shows_time =
            self.codes.get(usize::from(styled.0)).is_some_and(|code| shows(code) != Shows::Number);
        if shows_time { styled } else { FormatId(1 + u16::from(has_time)) }
    }

    /// Codes by [`FormatId`].
    pub(super) fn codes(&self) -> &[String] {
        &self.codes
    }

    /// The date that a number of a workbook counting from 1904 is when counted from 1900; `None` when it stays as it is.
    pub(super) fn moved_date(&self, value: f64, format: FormatId) -> Option<f64> {
        let is_date =
            self.counts_from_1904 && self.are_dates.get(usize::from(format.0)).copied().unwrap_or_default();
        is_date.then_some(value + DAYS_TO_1904)
    }
}

/// The code of a format that every spreadsheet knows by number.
fn built_in(number: u32) -> &'static str {
    match number {
        1 => "0",
        2 => "0.00",
        3 => "#,##0",
        4 => "#,##0.00",
        5 => "$#,##0_);($#,##0)",
        6 => "$#,##0_);[Red]($#,##0)",
        7 => "$#,##0.00_);($#,##0.00)",
        8 => "$#,##0.00_);[Red]($#,##0.00)",
        9 => "0%",
        10 => "0.00%",
        11 => "0.00E+00",
        12 => "# ?/?",
        13 => "# ??/??",
        14 => "m/d/yyyy",
        15 => "d-mmm-yy",
        16 => "d-mmm",
        17 => "mmm-yy",
        18 => "h:mm AM/PM",
        19 => "h:mm:ss AM/PM",
        20 => "h:mm",
        21 => "h:mm:ss",
        22 => "m/d/yyyy h:mm",
        // Dates of eastern calendars; what they look like is up to the language of the spreadsheet.
        27..=31 | 36 | 50..=58 => "yyyy-mm-dd",
        32..=35 => "h:mm:ss",
        37 => "#,##0_);(#,##0)",
        38 => "#,##0_);[Red](#,##0)",
        39 => "#,##0.00_);(#,##0.00)",
        40 => "#,##0.00_);[Red](#,##0.00)",
        41 => "_(* #,##0_);_(* (#,##0);_(* \"-\"_);_(@_)",
        42 => "_($* #,##0_);_($* (#,##0);_($* \"-\"_);_(@_)",
        43 => "_(* #,##0.00_);_(* (#,##0.00);_(* \"-\"??_);_(@_)",
        44 => "_($* #,##0.00_);_($* (#,##0.00);_($* \"-\"??_);_(@_)",
        45 => "mm:ss",
        46 => "[h]:mm:ss",
        47 => "mm:ss.0",
        48 => "##0.0E+0",
        49 => "@",
        _ => "General",
    }
}
