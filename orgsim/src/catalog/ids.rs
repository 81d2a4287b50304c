//! Record ids: 15 characters, of which the first three name the object, and the three that make
//! them safe when case is lost.

use std::collections::HashSet;

const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const SUFFIX: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ012345";
/// Instance and reserved part that every id of the simulated org shares.
pub const POD: &str = "5g0";
/// Characters left for the number of the record.
const NUMBER_WIDTH: usize = 9;

/// The three characters that complete the 15-character id `id15`.
///
/// In each group of five characters the upper-case letters are bits; the sum is looked up.
#[must_use]
pub fn checksum(id15: &str) -> String {
    id15.as_bytes()
        .chunks(5)
        .map(|group| {
            let bits = group
                .iter()
                .enumerate()
                .filter(|(_, byte)| byte.is_ascii_uppercase())
                .fold(0, |bits, (at, _)| bits | (1 << at));
            char::from(SUFFIX[bits])
        })
        .collect()
}

/// The 18-character id of record `number` under a three-character key prefix.
///
/// Ids of one prefix sort as their numbers do, so an `ORDER BY Id` needs no sorting.
#[must_use]
pub fn record_id(prefix: &str, number: u64) -> String {
    let id15 = format!("{prefix}{POD}{}", base62(number, NUMBER_WIDTH));
    let suffix = checksum(&id15);
    id15 + &suffix
}

/// Writes `number` and the checksum into an id that begins with its prefix and [`POD`], without allocating.
pub fn push_number(id: &mut [u8; 18], mut number: u64) {
    for slot in id[6..15].iter_mut().rev() {
        *slot = DIGITS[(number % 62) as usize];
        number /= 62;
    }
    for group in 0..3 {
        let five = &id[group * 5..group * 5 + 5];
        let bits =
            five.iter().enumerate().fold(0, |bits, (at, b)| bits | usize::from(b.is_ascii_uppercase()) << at);
        id[15 + group] = SUFFIX[bits];
    }
}

/// The number in an id made by [`record_id`]; `None` for any other id, a wrong suffix included.
#[must_use]
pub fn record_number(prefix: &str, id: &str) -> Option<u64> {
    if !id.is_ascii() || !matches!(id.len(), 15 | 18) {
        return None;
    }
    let (id15, suffix) = id.split_at(15);
    if !suffix.is_empty() && suffix != checksum(id15) {
        return None;
    }
    let digits = id15.strip_prefix(prefix)?.strip_prefix(POD)?;
    digits.bytes().try_fold(0_u64, |number, byte| {
        let digit = DIGITS.iter().position(|&known| known == byte)? as u64;
        number.checked_mul(62)?.checked_add(digit)
    })
}

/// `number` in base 62, padded with zeros to `width` characters.
#[must_use]
pub fn base62(mut number: u64, width: usize) -> String {
    let mut text = vec![b'0'; width];
    for slot in text.iter_mut().rev() {
        *slot = DIGITS[(number % 62) as usize];
        number /= 62;
    }
    text.into_iter().map(char::from).collect()
}

/// Hands out key prefixes, no two alike.
#[derive(Debug, Default)]
pub struct PrefixPool {
    taken: HashSet<String>,
}

impl PrefixPool {
    /// Marks a prefix as used; false when it already was.
    pub fn reserve(&mut self, prefix: &str) -> bool {
        self.taken.insert(prefix.to_owned())
    }

    /// The first free prefix that starts with `letter`.
    ///
    /// # Panics
    /// When all 3,844 prefixes of that letter are used, which no org allows either.
    pub fn next(&mut self, letter: char) -> String {
        let free = (0..62 * 62)
            .map(|number| format!("{letter}{}", base62(number, 2)))
            .find(|prefix| !self.taken.contains(prefix))
            .expect("an org has far fewer objects of a kind than prefixes");
        self.taken.insert(free.clone());
        free
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rstest::rstest;

    #[rstest]
    #[case("a01M00000062mPg", "IAI")]
    #[case("001M000000qfPyS", "IAU")]
    #[case("AbCdEfGhIjKlMnO", "VKV")]
    #[case("aBcDEfgHIJKLMNO", "025")]
    #[case("0F9E000000092w2", "KAA")]
    #[case("a0RE000000IJmcN", "MAT")]
    #[case("00Q5g00000AbCdE", "EAV")]
    fn the_suffix_matches_the_published_vectors(#[case] id15: &str, #[case] suffix: &str) {
        assert_eq!(checksum(id15), suffix);
    }

    proptest! {
        #[test]
        fn a_number_comes_back_from_its_id(number in 0..62_u64.pow(9)) {
            let id = record_id("00Q", number);
            prop_assert_eq!(id.len(), 18);
            prop_assert_eq!(record_number("00Q", &id), Some(number));
            prop_assert_eq!(record_number("00Q", &id[..15]), Some(number));
            prop_assert_eq!(record_number("001", &id), None);
        }

        #[test]
        fn ids_sort_as_their_numbers_do(a in 0..62_u64.pow(9), b in 0..62_u64.pow(9)) {
            prop_assert_eq!(a.cmp(&b), record_id("a00", a).cmp(&record_id("a00", b)));
        }
    }

    #[test]
    fn a_wrong_suffix_is_no_id() {
        assert_eq!(record_number("00Q", "00Q5g0000000001ZZZ"), None);
        assert_eq!(record_number("00Q", "00Q5g0"), None);
    }

    #[test]
    fn prefixes_are_handed_out_once() {
        let mut pool = PrefixPool::default();
        assert!(pool.reserve("a00"));
        assert_eq!(pool.next('a'), "a01");
        assert_eq!(pool.next('a'), "a02");
        assert!(!pool.reserve("a02"));
    }
}
