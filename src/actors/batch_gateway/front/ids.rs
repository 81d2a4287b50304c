//! Ids of batches, and chance for them.

use std::sync::Arc;

/// A number that looks like chance, the same one for the same seed.
pub(super) fn mixed(seed: u64) -> u64 {
    // splitmix64.
    let mut mixed = seed.wrapping_add(0x9E37_79B9_7F4A_7C15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ (mixed >> 31)
}

/// A ULID: 48 bits of milliseconds, 80 of chance, in Crockford's base 32. Sorts by time.
pub(super) fn ulid(milliseconds: u64, chance: u128) -> Arc<str> {
    const LETTERS: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
    let whole = (u128::from(milliseconds & ((1 << 48) - 1)) << 80) | (chance & ((1 << 80) - 1));
    let text: String =
        (0..26).rev().map(|place| char::from(LETTERS[((whole >> (place * 5)) & 31) as usize])).collect();
    Arc::from(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_id_is_a_ulid_and_sorts_by_time() {
        assert_eq!(&*ulid(0, 0), "00000000000000000000000000");
        assert_eq!(&*ulid(u64::MAX, u128::MAX), "7ZZZZZZZZZZZZZZZZZZZZZZZZZ");
        assert_eq!(&*ulid(1_469_918_176_385, 0), "01ARYZ6S410000000000000000");
        assert!(ulid(1, u128::MAX) < ulid(2, 0));
    }
}
