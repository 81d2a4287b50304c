//! kill -9 at any moment: the guarantees *durable* and *once*.

use std::collections::BTreeMap;

use super::slow_org;
use super::support::{Org, Place, undisturbed};

/// Keeps a test's moments the same from run to run (splitmix64).
struct Dice(u64);

impl Dice {
    fn roll(&mut self, from: usize, below: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        from + usize::try_from((x ^ (x >> 31)) % (below - from) as u64).expect("small")
    }
}

/// Objects whose describe the cache of a place holds.
fn cached_describes(place: &Place) -> Vec<String> {
    let keys = place.run(&["cache", "keys", "demo/", "--json"]).good().json();
    let keys = keys["keys"].as_array().expect("keys");
    let describes = keys.iter().filter_map(|key| key.as_str()?.split_once("/describe/"));
    describes.map(|(_, object)| object.to_owned()).collect()
}

/// How often each object was described since request `seq`.
fn described_since(org: &Org, seq: u64) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for call in org.journal().calls.into_iter().filter(|call| call.seq > seq) {
        for object in call.described {
            *counts.entry(object).or_default() += 1;
        }
    }
    counts
}

fn last_seq(org: &Org) -> u64 {
    let journal = org.journal();
    journal.calls.iter().chain(&journal.token_calls).map(|call| call.seq).max().unwrap_or(0)
}

#[test]
fn durable_and_once_a_killed_job_is_finished_and_asks_for_no_cached_describe_again() {
    const SEED: u64 = 0x5eed;
    let (org, sections) = slow_org();
    let expected = undisturbed(&sections);
    let place = Place::new(&sections);
    let mut dice = Dice(SEED);
    // What the cache held at each kill, and the last request before the next start.
    let mut held: Vec<(u64, Vec<String>)> = Vec::new();
    let mut killed_in_the_middle = 0;
    for _ in 0..3 {
        let (daemon, before) = (place.daemon(), org.calls());
        let moment = dice.roll(1, 25);
        daemon.until("the moment", |daemon| {
            org.calls() >= before + moment || !daemon.logged("schema job done").is_empty()
        });
        killed_in_the_middle += usize::from(daemon.logged("schema job done").is_empty());
        daemon.kill();
        held.push((last_seq(&org), cached_describes(&place)));
        assert_eq!(last_seq(&org), held[held.len() - 1].0, "listing the keys asked the org");
    }
    assert!(killed_in_the_middle >= 2, "seed {SEED:#x} no longer kills in the middle of the run");
    let daemon = place.daemon();
    daemon.await_jobs("demo", 1);

    assert_eq!(place.documents(), expected, "seed {SEED:#x}");
    assert!(held.iter().any(|(_, objects)| !objects.is_empty()), "no describe had been cached at any kill");
    for (seq, objects) in held {
        let described = described_since(&org, seq);
        let again: Vec<_> = objects.iter().filter(|object| described.contains_key(*object)).collect();
        assert!(
            again.is_empty(),
            "seed {SEED:#x}: cached before request {seq} and asked for again: {again:?}"
        );
    }
    let report = place.run(&["schema", "--json"]).good().json();
    assert_eq!(report["reports"][0]["documents_written"], 0, "an effect was not visible, or twice");
}
