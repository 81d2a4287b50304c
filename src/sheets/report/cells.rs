//! Cells that a workbook takes: text within its bounds, in rows that only go down.

use std::borrow::Cow;

use rust_xlsxwriter::{Format, Workbook, Worksheet};

use super::ReportError;

/// Most characters of a cell, counted as UTF-16 does.
pub(super) const MOST_CHARACTERS: usize = 32_767;
/// Ends a text that was cut.
const CUT: &str = "… [cut]";

/// A sheet of a workbook, written from its first row to its last.
pub(super) struct Sheet {
    pub(super) worksheet: Worksheet,
    /// The row being written; 0 is the first.
    pub(super) row: u32,
    /// About how many bytes its rows take unpacked.
    pub(super) bytes: u64,
}

impl Sheet {
    pub(super) fn begin(workbook: &mut Workbook, name: &str) -> Result<Self, ReportError> {
        let mut worksheet = workbook.new_worksheet_with_constant_memory()?;
        worksheet.set_name(name)?;
        Ok(Self { worksheet, row: 0, bytes: 0 })
    }

    pub(super) fn text(
        &mut self,
        column: u16,
        text: &str,
        format: Option<&Format>,
    ) -> Result<(), ReportError> {
        if text.is_empty() {
            return self.blank(column, format);
        }
        let text = within_bounds(text);
        // `<c r="AB123456" s="12" t="inlineStr"><is><t></t></is></c>`
        self.bytes += 60 + text.len() as u64;
        match format {
            Some(format) => self.worksheet.write_string_with_format(self.row, column, text, format)?,
            None => self.worksheet.write_string(self.row, column, text)?,
        };
        Ok(())
    }

    pub(super) fn number(
        &mut self,
        column: u16,
        number: f64,
        format: Option<&Format>,
    ) -> Result<(), ReportError> {
        self.bytes += 60;
        match format {
            Some(format) => self.worksheet.write_number_with_format(self.row, column, number, format)?,
            None => self.worksheet.write_number(self.row, column, number)?,
        };
        Ok(())
    }

    pub(super) fn truth(
        &mut self,
        column: u16,
        value: bool,
        format: Option<&Format>,
    ) -> Result<(), ReportError> {
        self.bytes += 60;
        match format {
            Some(format) => self.worksheet.write_boolean_with_format(self.row, column, value, format)?,
            None => self.worksheet.write_boolean(self.row, column, value)?,
        };
        Ok(())
    }

    /// An empty cell, which is only there when it looks like something.
    pub(super) fn blank(&mut self, column: u16, format: Option<&Format>) -> Result<(), ReportError> {
        if let Some(format) = format {
            self.bytes += 30;
            self.worksheet.write_blank(self.row, column, format)?;
        }
        Ok(())
    }
}

/// Text as a cell can hold it: without what XML does not have, lines ended as spreadsheets end them, and cut with a mark at
/// the most that a cell may have.
fn within_bounds(text: &str) -> Cow<'_, str> {
    let is_plain = |c: char| !matches!(c, '\0'..='\u{8}' | '\u{b}'..='\u{1f}' | '\u{fffe}' | '\u{ffff}');
    let fits = text.len() <= MOST_CHARACTERS;
    // Non-characters begin with 0xEF; nearly no text has one.
    if fits && text.bytes().all(|byte| (byte >= b' ' && byte != 0xEF) || matches!(byte, b'\t' | b'\n')) {
        return Cow::Borrowed(text);
    }
    let mut clean = String::with_capacity(text.len());
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '\r' if characters.peek() == Some(&'\n') => {}
            '\r' => clean.push('\n'),
            plain if is_plain(plain) => clean.push(plain),
            _ => {}
        }
    }
    let too_long = |text: &str| text.len() > MOST_CHARACTERS && text.encode_utf16().count() > MOST_CHARACTERS;
    if too_long(&clean) {
        let room = MOST_CHARACTERS - CUT.encode_utf16().count();
        let mut taken = 0;
        let end = clean.char_indices().find(|(_, character)| {
            taken += character.len_utf16();
            taken > room
        });
        clean.truncate(end.map_or(clean.len(), |(end, _)| end));
        clean.push_str(CUT);
    }
    Cow::Owned(clean)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rstest::rstest;

    #[rstest]
    #[case("plain\ttext\n", "plain\ttext\n")]
    #[case("a\r\nb\rc\n", "a\nb\nc\n")]
    #[case("\u{0}a\u{8}b\u{b}\u{c}c\u{1b}d\u{fffe}e\u{ffff}", "abcde")]
    #[case("\u{feff}ﬁ", "\u{feff}ﬁ")]
    #[case("=1+1", "=1+1")]
    fn text_is_what_xml_has(#[case] text: &str, #[case] expected: &str) {
        assert_eq!(within_bounds(text), expected);
    }

    #[rstest]
    #[case::ascii("x", MOST_CHARACTERS, false)]
    #[case::ascii_over("x", MOST_CHARACTERS + 1, true)]
    #[case::two_bytes("é", MOST_CHARACTERS, false)]
    #[case::pairs("😀", MOST_CHARACTERS / 2, false)]
    #[case::pairs_over("😀", MOST_CHARACTERS / 2 + 1, true)]
    fn text_is_cut_with_a_mark(#[case] one: &str, #[case] times: usize, #[case] is_cut: bool) {
        let text = one.repeat(times);
        let kept = within_bounds(&text);
        assert_eq!(kept.ends_with(CUT), is_cut);
        assert!(is_cut || kept == text);
        assert!(kept.encode_utf16().count() <= MOST_CHARACTERS);
        assert!(!is_cut || kept.encode_utf16().count() >= MOST_CHARACTERS - 1);
    }

    proptest! {
        #[test]
        fn any_text_is_within_the_bounds(text in any::<String>()) {
            let kept = within_bounds(&text);
            prop_assert!(kept.chars().all(|c| c >= ' ' || c == '\n' || c == '\t'));
            prop_assert_eq!(within_bounds(&kept), kept.as_ref());
        }
    }
}
