//! Lead ids: read from what people type, repaired from case loss by the checksum, told why not.
//!
//! Promises: an id that is read has 18 characters, begins with `00Q`, and its last three are the checksum of the first 15.
//! Two ids are the same when their first 15 characters are, case included.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// First three characters of every Lead's id.
pub const LEAD_PREFIX: &str = "00Q";
/// Characters without the checksum.
const SHORT: usize = 15;
/// Characters with it.
const LONG: usize = 18;
const SUFFIX: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ012345";

/// The id of one Lead, 18 characters.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LeadId([u8; LONG]);

/// An id, and whether its case had been lost and was restored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadId {
    /// The id.
    pub id: LeadId,
    /// Its letters came in another case, and its checksum told the right one.
    pub repaired: bool,
}

/// Why a cell holds no Lead id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum IdFault {
    /// The cell holds a number: a spreadsheet has taken the id for one.
    #[error("a number: the spreadsheet has lost the id; format the column as text and paste the ids again")]
    Number,
    /// The cell holds a date, a truth value or an error.
    #[error("no text: an id has 15 or 18 letters and digits")]
    NotText,
    /// Neither 15 nor 18 characters.
    #[error("{0} characters: an id has 15 or 18")]
    Length(u16),
    /// Something other than ASCII letters and digits.
    #[error("characters other than letters and digits")]
    Characters,
    /// 15 characters whose case is lost: without the last three nobody can tell which letters were large.
    #[error(
        "its letters have lost their case, which 15 characters cannot restore: use the id of 18 characters"
    )]
    CaseLost,
    /// The id of another object.
    #[error("the id of another object: a Lead's id begins with 00Q")]
    OtherObject,
    /// Its last three characters are no checksum of the others, whatever their case was.
    #[error("mistyped: its last three characters are not the checksum of the others")]
    Checksum,
}

impl IdFault {
    /// The name used in files and answers.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Number => "number",
            Self::NotText => "not_text",
            Self::Length(_) => "length",
            Self::Characters => "characters",
            Self::CaseLost => "case_lost",
            Self::OtherObject => "other_object",
            Self::Checksum => "checksum",
        }
    }
}

impl LeadId {
    /// Reads an id of 15 or 18 characters; blanks around it are ignored. Of 18, letters in the wrong case are set right as
    /// the checksum says; of 15 nothing can be checked.
    ///
    /// # Errors
    /// See [`IdFault`].
    pub fn read(text: &str) -> Result<ReadId, IdFault> {
        let text = text.trim_matches(|c: char| c.is_whitespace() || c == '\u{feff}' || c == '\u{200b}');
        let bytes = text.as_bytes();
        if !text.is_ascii() || !bytes.iter().all(u8::is_ascii_alphanumeric) {
            return Err(IdFault::Characters);
        }
        let mut id = [0; LONG];
        let repaired = match bytes.len() {
            SHORT => {
                id[..SHORT].copy_from_slice(bytes);
                id[SHORT..].copy_from_slice(&checksum(bytes));
                false
            }
            LONG => {
                id.copy_from_slice(bytes);
                id[SHORT..].make_ascii_uppercase();
                set_case(&mut id)?;
                id != *bytes
            }
            length => return Err(IdFault::Length(u16::try_from(length).unwrap_or(u16::MAX))),
        };
        let prefix = &id[..LEAD_PREFIX.len()];
        if prefix != LEAD_PREFIX.as_bytes() {
            let is_case_lost = prefix.eq_ignore_ascii_case(LEAD_PREFIX.as_bytes()) && bytes.len() == SHORT;
            return Err(if is_case_lost { IdFault::CaseLost } else { IdFault::OtherObject });
        }
        Ok(ReadId { id: Self(id), repaired })
    }

    /// The 18 characters.
    pub fn as_str(&self) -> &str {
        // Nothing but ASCII letters and digits gets in.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }

    /// The first 15 characters: what tells one lead from another.
    pub fn key(&self) -> &[u8] {
        &self.0[..SHORT]
    }
}

/// Whether a text is what a spreadsheet wrote for a number, `1.2E+17` or with a comma `1,2E+17`: it has lost the id then.
pub fn reads_as_number(text: &str) -> bool {
    let bare = text.trim();
    // `inf` and `nan` are numbers to a program alone.
    bare.starts_with(|first: char| !first.is_alphabetic()) && bare.replace(',', ".").parse::<f64>().is_ok()
}

/// The three characters that make an id safe where case is lost.
fn checksum(short: &[u8]) -> [u8; 3] {
    let of_group = |group: usize| {
        let five = &short[group * 5..group * 5 + 5];
        let bits = (0..5).filter(|&at| five[at].is_ascii_uppercase()).fold(0, |sum, at| sum | 1 << at);
        SUFFIX[bits]
    };
    [of_group(0), of_group(1), of_group(2)]
}

/// Gives every letter the case that the checksum says it has.
fn set_case(id: &mut [u8; LONG]) -> Result<(), IdFault> {
    for group in 0..3 {
        let told = id[SHORT + group];
        let bits = SUFFIX.iter().position(|&character| character == told).ok_or(IdFault::Checksum)?;
        for at in 0..5 {
            let character = &mut id[group * 5 + at];
            let is_upper = bits & (1 << at) != 0;
            match (character.is_ascii_alphabetic(), is_upper) {
                (true, true) => character.make_ascii_uppercase(),
                (true, false) => character.make_ascii_lowercase(),
                (false, false) => {}
                (false, true) => return Err(IdFault::Checksum),
            }
        }
    }
    Ok(())
}

impl fmt::Display for LeadId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for LeadId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for LeadId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for LeadId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::read(&text).map(|read| read.id).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("a01M00000062mPg", "IAI")]
    #[case("001M000000qfPyS", "IAU")]
    #[case("AbCdEfGhIjKlMnO", "VKV")]
    #[case("aBcDEfgHIJKLMNO", "025")]
    #[case("0F9E000000092w2", "KAA")]
    #[case("a0RE000000IJmcN", "MAT")]
    #[case("00Q5g00000AbCdE", "EAV")]
    #[case("00Q5e00000ABC12", "EAH")]
    fn published_ids_have_their_checksum(#[case] short: &str, #[case] suffix: &str) {
        assert_eq!(checksum(short.as_bytes()), suffix.as_bytes());
    }

    #[rstest]
    #[case::short("00Q5g00000AbCdE", Ok(("00Q5g00000AbCdEEAV", false)))]
    #[case::long("00Q5g00000AbCdEEAV", Ok(("00Q5g00000AbCdEEAV", false)))]
    #[case::lower("00q5g00000abcdeeav", Ok(("00Q5g00000AbCdEEAV", true)))]
    #[case::upper("00Q5G00000ABCDEEAV", Ok(("00Q5g00000AbCdEEAV", true)))]
    #[case::blanks(" \u{a0}00Q5g00000AbCdE\t\r\n", Ok(("00Q5g00000AbCdEEAV", false)))]
    #[case::sixteen("00Q5g00000AbCdE1", Err(IdFault::Length(16)))]
    #[case::none("", Err(IdFault::Length(0)))]
    #[case::dash("00Q5g00000-bCdE", Err(IdFault::Characters))]
    #[case::umlaut("00Q5g00000äbCdE", Err(IdFault::Characters))]
    #[case::account("001M000000qfPyS", Err(IdFault::OtherObject))]
    #[case::short_in_lower_case("00q5g000000g9xu", Err(IdFault::CaseLost))]
    #[case::digit_under_a_bit("00Q5g00000AbCdEEBV", Err(IdFault::Checksum))]
    #[case::strange_suffix("00Q5g00000AbCdEEA9", Err(IdFault::Checksum))]
    fn ids_are_read_as_people_paste_them(
        #[case] text: &str,
        #[case] expected: Result<(&str, bool), IdFault>,
    ) {
        let read = LeadId::read(text);
        let read = read.as_ref().map(|read| (read.id.as_str(), read.repaired));
        assert_eq!(read, expected.as_ref().map(|expected| *expected));
    }
}
