//! Record ids: 15 characters that mind their case, and a three-character suffix that survives losing it.

use crate::catalog::ids::checksum;

const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// The 18-character form of a 15-character id; anything of another length is returned as it is.
pub fn with_suffix(id: &str) -> String {
    if id.len() != 15 || !id.is_ascii() {
        return id.to_owned();
    }
    format!("{id}{}", checksum(id))
}

/// An id of our own: prefix, `5g`, then `number` in base 62; 18 characters.
pub fn numbered(prefix: &str, number: u64) -> String {
    let mut digits = [b'0'; 10];
    let mut rest = number;
    for digit in digits.iter_mut().rev() {
        *digit = DIGITS[usize::try_from(rest % 62).unwrap_or(0)];
        rest /= 62;
    }
    with_suffix(&format!("{prefix:0<3.3}5g{}", String::from_utf8_lossy(&digits)))
}

/// Whether the text has an id's shape.
pub fn looks_like_id(text: &str) -> bool {
    matches!(text.len(), 15 | 18) && text.bytes().all(|b| b.is_ascii_alphanumeric())
}

/// The part two spellings of one id share.
pub fn key(id: &str) -> &str {
    if looks_like_id(id) { &id[..15] } else { id }
}

/// A stable 64-bit hash (FNV-1a), so that locators and made-up ids do not change between builds.
pub fn stable_hash(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, b| (hash ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3))
}

/// `hash` in base 62, thirteen characters at most.
pub fn base62(mut hash: u64) -> String {
    let mut text = String::new();
    while hash > 0 || text.is_empty() {
        text.push(char::from(DIGITS[usize::try_from(hash % 62).unwrap_or(0)]));
        hash /= 62;
    }
    text
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
    fn the_suffix_follows_the_published_vectors(#[case] id: &str, #[case] suffix: &str) {
        assert_eq!(with_suffix(id), format!("{id}{suffix}"));
    }

    #[test]
    fn numbered_ids_differ_and_have_an_ids_shape() {
        assert!(looks_like_id(&numbered("00N", 1)));
        assert_ne!(numbered("00N", 1), numbered("00N", 62));
    }
}
