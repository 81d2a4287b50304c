//! Whether a phone number can be one.

/// What a phone number looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Phone {
    /// Digits, without those of an extension.
    digits: usize,
    /// It begins with `+` or `00`: the country's code is in it.
    is_international: bool,
    /// Its first digit behind that.
    first: u8,
}

impl Phone {
    /// Reads a number as people write it, with an extension or without. `None` when it cannot be one: other characters, fewer
    /// than 7 digits, more than 15 (what the numbering plan of the world allows), one digit again and again, or 1234567.
    pub fn read(text: &str) -> Option<Self> {
        let text = text.trim();
        let number = without_extension(text);
        let (mut digits, mut is_same, mut is_rising) = (0, true, true);
        let (mut first, mut last) = (0, None);
        let is_international = number.starts_with('+') || number.starts_with("00");
        for (at, byte) in number.bytes().enumerate() {
            match byte {
                b'0'..=b'9' => {
                    if let Some(last) = last {
                        is_same &= byte == last;
                        is_rising &= byte == last + 1 || (last == b'9' && byte == b'0');
                    }
                    last = Some(byte);
                    digits += 1;
                    if first == 0 && byte != b'0' {
                        first = byte;
                    }
                }
                b'+' if at == 0 => {}
                b' ' | b'-' | b'.' | b'(' | b')' | b'/' => {}
                // A no-break space, as spreadsheets put in.
                0xc2 | 0xa0 => {}
                _ => return None,
            }
        }
        ((7..=15).contains(&digits) && !is_same && !is_rising).then_some(Self {
            digits,
            is_international,
            first,
        })
    }

    /// Whether it fits the country, as far as that can be told without a table of the world's numbers.
    pub fn fits(self, country: Option<&str>) -> bool {
        match country {
            // Ten digits, with a 1 in front or not; an area code does not begin with 1.
            Some("US" | "CA") if self.is_international => self.first == b'1' && self.digits >= 11,
            Some("US" | "CA") => match self.digits {
                10 => self.first != b'1',
                11 => self.first == b'1',
                _ => false,
            },
            Some(_) if self.is_international => self.first != b'1' || self.digits != 11,
            _ => true,
        }
    }
}

fn without_extension(text: &str) -> &str {
    let start = text.char_indices().find(|(_, c)| matches!(c, 'x' | 'X' | 'e' | 'E' | '#' | ';' | ','));
    let Some((at, _)) = start else { return text };
    let said = text[at..]
        .trim_end_matches(|c: char| c.is_ascii_digit() || c == ' ')
        .trim_end_matches(['.', ':', '=']);
    let marks = ["x", "ext", "extn", "extension", "#", ";ext", ",", "ex"];
    let is_extension = marks.iter().any(|mark| said.trim().eq_ignore_ascii_case(mark));
    if is_extension && text.len() - at > said.len() { text[..at].trim_end() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rstest::rstest;

    #[rstest]
    #[case("+43 1 234 56 78", true)]
    #[case("(415) 555-0132", true)]
    #[case("415.555.0132 x 12", true)]
    #[case("4155550132 ext. 7", true)]
    #[case("4155550132;ext=7", true)]
    #[case("0043/1/2345678", true)]
    #[case("+1\u{a0}415\u{a0}555\u{a0}0132", true)]
    #[case::too_few("555-013", false)]
    #[case::too_many("+1234 5678 9012 3457 8", false)]
    #[case::one_digit("000-000-0000", false)]
    #[case::rising("1234567890", false)]
    #[case::letters("call me", false)]
    #[case::plus_within("415+5550132", false)]
    #[case::extension_of_nothing("4155550132 ext", false)]
    #[case::nothing("", false)]
    fn a_phone_number_is_told_from_what_is_none(#[case] text: &str, #[case] expected: bool) {
        assert_eq!(Phone::read(text).is_some(), expected);
    }

    #[rstest]
    #[case("(415) 555-0132", Some("US"), true)]
    #[case("1-415-555-0132", Some("US"), true)]
    #[case("+1 415 555 0132", Some("CA"), true)]
    #[case("+43 1 234 5678", Some("US"), false)]
    #[case("555-0132", Some("US"), false)]
    #[case("+1 415 555 0132", Some("AT"), false)]
    #[case("+43 1 234 5678", Some("AT"), true)]
    #[case("01 588 5678", Some("AT"), true)]
    #[case("555-0132", None, true)]
    fn a_number_fits_its_country_or_not(
        #[case] text: &str,
        #[case] country: Option<&str>,
        #[case] expected: bool,
    ) {
        assert_eq!(Phone::read(text).unwrap().fits(country), expected);
    }

    proptest! {
        #[test]
        fn any_text_can_be_looked_at(text in "\\PC{0,40}") {
            if let Some(phone) = Phone::read(&text) {
                phone.fits(Some("US"));
            }
        }
    }
}
