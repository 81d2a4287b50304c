//! Chance of one run, from a seed: pauses before a retry, and new UUIDs. The same seed gives the same run.

use std::time::Duration;

use sha2::{Digest as _, Sha256};

/// How often a batch is tried again after contention.
pub const RETRIES_MAX: u32 = 3;

/// Where a run takes its chance from.
#[derive(Debug, Clone)]
pub struct Chance {
    state: u64,
    origin: [u8; 32],
    uuids: u64,
}

impl Chance {
    /// `batch_id` is mixed in, so that two batches of one seed do not make the same UUIDs.
    pub fn new(seed: u64, batch_id: &str) -> Self {
        let mut hash = Sha256::new();
        hash.update(seed.to_be_bytes());
        hash.update(batch_id.as_bytes());
        Self { state: seed, origin: hash.finalize().into(), uuids: 0 }
    }

    /// The next 64 bits (splitmix64).
    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// The pause before a retry: 5, 10, 20 ms, and up to as much again. `retry` counts from 0.
    pub fn pause(&mut self, retry: u32) -> Duration {
        let base_micros = 5_000u64 << retry.min(RETRIES_MAX - 1);
        Duration::from_micros(base_micros + self.next() % (base_micros + 1))
    }

    /// A new UUID of version 4: lower case, with hyphens.
    pub fn uuid(&mut self) -> String {
        self.uuids += 1;
        let mut hash = Sha256::new();
        hash.update(self.origin);
        hash.update(self.uuids.to_be_bytes());
        let digest: [u8; 32] = hash.finalize().into();
        let mut bits = u128::from_be_bytes(digest.first_chunk().copied().unwrap_or_default());
        bits = (bits & !(0xf << 76)) | (4 << 76);
        bits = (bits & !(0b11 << 62)) | (0b10 << 62);
        let hex = format!("{bits:032x}");
        format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_and_at_most_double_again_by_chance() {
        let mut chance = Chance::new(7, "a");
        for _ in 0..200 {
            for (retry, least) in [(0, 5), (1, 10), (2, 20)] {
                let pause = chance.pause(retry).as_secs_f64() * 1000.0;
                assert!(pause >= f64::from(least) && pause <= f64::from(least) * 2.0, "{pause}");
            }
        }
    }

    #[test]
    fn uuids_have_their_version_and_variant_and_do_not_repeat() {
        let mut chance = Chance::new(7, "a");
        let uuids: std::collections::HashSet<String> = (0..1000).map(|_| chance.uuid()).collect();
        assert_eq!(uuids.len(), 1000);
        for uuid in &uuids {
            assert_eq!(uuid.len(), 36);
            assert_eq!(&uuid[14..15], "4");
            assert!("89ab".contains(&uuid[19..20]), "{uuid}");
        }
        assert_ne!(Chance::new(7, "a").uuid(), Chance::new(7, "b").uuid());
        assert_eq!(Chance::new(7, "a").uuid(), Chance::new(7, "a").uuid());
    }
}
