//! Bytes of the job's file: numbers of variable length, texts, and lead ids in nine bytes.
//!
//! Promises: what is not whole is an error and never a panic; the order of packed ids is one and the same for ever, for
//! sorted runs of them lie on the disk.

use crate::leads::LeadId;
use crate::leads::id::LEAD_PREFIX;

/// Bytes of a packed id: `00Q` stands in none of them, and twelve characters of 62 kinds fit in 72 bits.
pub const KEY_BYTES: usize = 9;
/// Characters after the prefix, without the checksum.
const CHARACTERS: usize = 12;
const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// What tells one lead from another, packed.
pub type Key = [u8; KEY_BYTES];

/// The bytes are no such thing, or end too early.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unreadable(pub &'static str);

/// Packs the first 15 characters of an id.
pub fn pack(id: &LeadId) -> Key {
    let characters = &id.key()[LEAD_PREFIX.len()..];
    let half = |characters: &[u8]| characters.iter().fold(0_u64, |sum, &c| sum * 62 + digit(c));
    let (high, low) = characters.split_at(CHARACTERS / 2);
    // 62^6 fits in 36 bits.
    let bits = u128::from(half(high)) << 36 | u128::from(half(low));
    let mut key = [0; KEY_BYTES];
    key.copy_from_slice(&bits.to_be_bytes()[16 - KEY_BYTES..]);
    key
}

/// The id of a packed key.
pub fn unpack(key: &Key) -> Result<LeadId, Unreadable> {
    let mut bytes = [0; 16];
    bytes[16 - KEY_BYTES..].copy_from_slice(key);
    let bits = u128::from_be_bytes(bytes);
    let mut text = *b"00Q000000000000";
    let mut rest = (bits & ((1 << 36) - 1)) as u64;
    for at in (LEAD_PREFIX.len()..text.len()).rev() {
        if at == LEAD_PREFIX.len() + CHARACTERS / 2 - 1 {
            if rest != 0 {
                return Err(Unreadable("a packed id is out of range"));
            }
            rest = (bits >> 36) as u64;
        }
        text[at] = DIGITS[(rest % 62) as usize];
        rest /= 62;
    }
    if rest != 0 {
        return Err(Unreadable("a packed id is out of range"));
    }
    let text = std::str::from_utf8(&text).map_err(|_no| Unreadable("a packed id is no text"))?;
    LeadId::read(text).map(|read| read.id).map_err(|_fault| Unreadable("a packed id is none"))
}

fn digit(character: u8) -> u64 {
    u64::from(match character {
        b'0'..=b'9' => character - b'0',
        b'A'..=b'Z' => character - b'A' + 10,
        // An id holds nothing else.
        _ => character.wrapping_sub(b'a').wrapping_add(36) % 62,
    })
}

/// Appends a number: seven bits a byte, the lowest first.
pub fn put_number(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

/// Appends a text behind its length.
pub fn put_text(bytes: &mut Vec<u8>, text: &str) {
    put_number(bytes, text.len() as u64);
    bytes.extend_from_slice(text.as_bytes());
}

/// Takes bytes apart from the front.
#[derive(Debug, Clone, Copy)]
pub struct Unpack<'b>(&'b [u8]);

impl<'b> Unpack<'b> {
    /// Of these bytes.
    pub fn new(bytes: &'b [u8]) -> Self {
        Self(bytes)
    }

    /// Whether nothing is left.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// One byte.
    pub fn byte(&mut self) -> Result<u8, Unreadable> {
        let (&first, rest) = self.0.split_first().ok_or(CUT)?;
        self.0 = rest;
        Ok(first)
    }

    /// As many bytes.
    pub fn take(&mut self, length: usize) -> Result<&'b [u8], Unreadable> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or(CUT)?;
        self.0 = rest;
        Ok(taken)
    }

    /// As many bytes.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], Unreadable> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(CUT)?;
        self.0 = rest;
        Ok(*taken)
    }

    /// A number.
    pub fn number(&mut self) -> Result<u64, Unreadable> {
        let mut number = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(number);
            }
        }
        Err(Unreadable("a number is too long"))
    }

    /// A number that fits in 32 bits.
    pub fn small(&mut self) -> Result<u32, Unreadable> {
        u32::try_from(self.number()?).map_err(|_large| Unreadable("a number is too large"))
    }

    /// A count of things that take at least a byte each: never more than there are bytes.
    pub fn count(&mut self) -> Result<usize, Unreadable> {
        let count = self.number()?;
        if count > self.0.len() as u64 {
            return Err(CUT);
        }
        Ok(count as usize)
    }

    /// A text behind its length.
    pub fn text(&mut self) -> Result<&'b str, Unreadable> {
        let length = self.count()?;
        std::str::from_utf8(self.take(length)?).map_err(|_no| Unreadable("a text is none"))
    }
}

const CUT: Unreadable = Unreadable("it ends too early");

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn an_id_comes_back_and_its_place_in_the_order_stays(
            a in "00Q[0-9A-Za-z]{12}", b in "00Q[0-9A-Za-z]{12}"
        ) {
            let (a, b) = (LeadId::read(&a).unwrap().id, LeadId::read(&b).unwrap().id);
            prop_assert_eq!(unpack(&pack(&a)).unwrap(), a);
            // The digits stand in the order of ASCII.
            prop_assert_eq!(pack(&a).cmp(&pack(&b)), a.key().cmp(b.key()));
        }

        #[test]
        fn no_bytes_make_it_panic(key in any::<[u8; KEY_BYTES]>(), bytes in any::<Vec<u8>>()) {
            if let Ok(id) = unpack(&key) {
                prop_assert_eq!(pack(&id), key);
            }
            let _ = Unpack::new(&bytes).text();
        }

        #[test]
        fn numbers_and_texts_come_back(number in any::<u64>(), text in ".*") {
            let mut bytes = Vec::new();
            put_number(&mut bytes, number);
            put_text(&mut bytes, &text);
            let mut read = Unpack::new(&bytes);
            prop_assert_eq!((read.number().unwrap(), read.text().unwrap()), (number, text.as_str()));
            prop_assert!(read.is_empty());
        }
    }
}
