//! How cells of a workbook look. Every look is made once.

use std::collections::HashMap;

use rust_xlsxwriter::{Color, Format, FormatAlign};

use super::dates::formats;
use crate::sheets::Rows;
use crate::sheets::cell::FormatId;

/// Light green, as spreadsheets show what is good.
const GREEN: (u32, u32) = (0x00C6_EFCE, 0x0000_6100);
/// Light yellow: neutral.
const YELLOW: (u32, u32) = (0x00FF_EB9C, 0x009C_5700);
/// Light red: bad.
const RED: (u32, u32) = (0x00FF_C7CE, 0x009C_0006);
/// Behind the heads.
const HEAD: u32 = 0x00D9_E1F2;
/// From this score on it is good.
const GOOD_FROM: f64 = 80.0;
/// From this score on it will do.
const FAIR_FROM: f64 = 60.0;

/// How cells look.
pub(super) struct Styles {
    pub(super) title: Format,
    pub(super) head: Format,
    pub(super) label: Format,
    pub(super) top: Format,
    pub(super) wrapped: Format,
    pub(super) alert: Format,
    pub(super) count: Format,
    pub(super) percent: Format,
    pub(super) money: Format,
    one_decimal: Format,
    good: Format,
    fair: Format,
    poor: Format,
    /// Text that reads as a number, and stays text when somebody edits the cell.
    digits: Format,
    /// A row whose id leads to no lead.
    invalid: Format,
    invalid_digits: Format,
    /// The sheet's own number formats: in a row as it was, and in one whose id leads to no lead.
    own: HashMap<FormatId, [Format; 2]>,
}

impl Styles {
    pub(super) fn of(input: Option<&Rows<'_>>) -> Self {
        let coloured = |(back, font): (u32, u32)| {
            Format::new().set_background_color(Color::RGB(back)).set_font_color(Color::RGB(font))
        };
        let score = |colours| coloured(colours).set_num_format("0.0").set_align(FormatAlign::Top);
        let invalid = || coloured(RED).set_bold();
        let own = |code: &str| {
            // A code that came with a character that XML does not have would spoil the whole workbook.
            let code: String = code.chars().filter(|c| !c.is_control()).collect();
            [Format::new().set_num_format(&code), invalid().set_num_format(&code)]
        };
        Self {
            title: Format::new().set_bold().set_font_size(14),
            head: Format::new()
                .set_bold()
                .set_background_color(Color::RGB(HEAD))
                .set_align(FormatAlign::Top)
                .set_text_wrap(),
            label: Format::new().set_bold(),
            top: Format::new().set_align(FormatAlign::Top),
            wrapped: Format::new().set_align(FormatAlign::Top).set_text_wrap(),
            alert: coloured(RED).set_align(FormatAlign::Top),
            count: Format::new().set_num_format("#,##0").set_align(FormatAlign::Left),
            percent: Format::new().set_num_format("0.00\"%\"").set_align(FormatAlign::Left),
            money: Format::new().set_num_format("0.0000").set_align(FormatAlign::Left),
            one_decimal: Format::new().set_num_format("0.0").set_align(FormatAlign::Left),
            good: score(GREEN),
            fair: score(YELLOW),
            poor: score(RED),
            digits: Format::new().set_num_format("@"),
            invalid: invalid(),
            invalid_digits: invalid().set_num_format("@"),
            own: input.map(formats).into_iter().flatten().map(|(id, code)| (id, own(code))).collect(),
        }
    }

    /// The colour of a score.
    pub(super) fn score(&self, score: f64) -> &Format {
        match score {
            good if good >= GOOD_FROM => &self.good,
            fair if fair >= FAIR_FROM => &self.fair,
            _ => &self.poor,
        }
    }

    /// A score of the summary.
    pub(super) fn mean(&self) -> &Format {
        &self.one_decimal
    }

    /// The sheet's own text.
    pub(super) fn text(&self, text: &str, is_invalid: bool) -> Option<&Format> {
        match (reads_as_number(text), is_invalid) {
            (true, true) => Some(&self.invalid_digits),
            (true, false) => Some(&self.digits),
            (false, true) => Some(&self.invalid),
            (false, false) => None,
        }
    }

    /// The sheet's own number, or date.
    pub(super) fn number(&self, format: FormatId, is_invalid: bool) -> Option<&Format> {
        self.own.get(&format).map(|pair| &pair[usize::from(is_invalid)]).or(self.plain(is_invalid))
    }

    /// Anything else of a row.
    pub(super) fn plain(&self, is_invalid: bool) -> Option<&Format> {
        is_invalid.then_some(&self.invalid)
    }
}

/// Whether a spreadsheet would make a number of it as soon as somebody edits the cell.
fn reads_as_number(text: &str) -> bool {
    text.len() <= 40
        && text.bytes().any(|byte| byte.is_ascii_digit())
        && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'.' | b',' | b'+' | b'-' | b'e' | b'E'))
}
