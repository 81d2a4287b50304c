//! Where a result page starts, as the opaque text that clients hand back. Pure.
//!
//! The text is the row number in base 64 without padding (`MTAwMDA` is row 10000), as real locators look. A page
//! listed by `resultPages` also carries its length, because it must hold the same rows whenever it is read.

const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// A place in a result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Locator {
    /// First row of the page.
    pub from: u64,
    /// Rows of the page, when it is fixed.
    pub rows: Option<u64>,
}

impl Locator {
    /// A page of any length that starts at `from`.
    pub fn at(from: u64) -> Self {
        Self { from, rows: None }
    }

    /// The text of a locator.
    pub fn text(self) -> String {
        let plain = match self.rows {
            Some(rows) => format!("{}-{rows}", self.from),
            None => self.from.to_string(),
        };
        encode(plain.as_bytes())
    }

    /// Reads a locator; `None` for anything [`Locator::text`] does not write.
    pub fn read(text: &str) -> Option<Self> {
        let plain = String::from_utf8(decode(text)?).ok()?;
        let locator = match plain.split_once('-') {
            Some((from, rows)) => Self { from: from.parse().ok()?, rows: Some(rows.parse().ok()?) },
            None => Self::at(plain.parse().ok()?),
        };
        (locator.text() == text).then_some(locator)
    }
}

fn encode(bytes: &[u8]) -> String {
    let mut text = String::new();
    for group in bytes.chunks(3) {
        let bits =
            group.iter().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - group.len()));
        for at in 0..=group.len() {
            text.push(char::from(DIGITS[(bits >> (18 - 6 * at) & 63) as usize]));
        }
    }
    text
}

fn decode(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    for group in text.as_bytes().chunks(4) {
        let bits = group.iter().try_fold(0_u32, |bits, byte| {
            Some(bits << 6 | u32::try_from(DIGITS.iter().position(|digit| digit == byte)?).ok()?)
        })? << (6 * (4 - group.len()));
        bytes.extend_from_slice(&bits.to_be_bytes()[1..group.len()]);
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_locator_looks_like_the_documented_one() {
        assert_eq!(Locator::at(10_000).text(), "MTAwMDA");
    }

    proptest! {
        #[test]
        fn a_locator_is_read_as_it_was_written(from: u64, rows: Option<u64>) {
            let locator = Locator { from, rows };
            prop_assert_eq!(Locator::read(&locator.text()), Some(locator));
        }

        #[test]
        fn any_other_text_is_refused(text in ".{0,20}") {
            prop_assert!(Locator::read(&text).is_none_or(|locator| locator.text() == text));
        }
    }
}
