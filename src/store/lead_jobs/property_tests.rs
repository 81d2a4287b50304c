//! Whatever is done to a job in whatever order: beside the store goes a plain list in memory that does the same.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::tests::{answered, assessed, check, disk, failed, lead_id, rows_of, spec, spent, unread};
use super::*;
use crate::leads::{Lead, LeadOutcome, ModelVerdict, Presence, RowPlace, Spent};

/// What a test does to a job.
#[derive(Debug, Clone)]
enum Act {
    Add { rows: Vec<(u64, Option<(u64, bool)>)>, again: usize },
    Write(Vec<(Ordinal, u8)>),
    Retry,
    OpenAgain,
    End,
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let id = proptest::option::weighted(0.8, (0_u64..600, any::<bool>()));
    let rows = proptest::collection::vec((1_u64..3, id), 0..450);
    let act = prop_oneof![
        4 => (rows, 0_usize..50).prop_map(|(rows, again)| Act::Add { rows, again }),
        6 => proptest::collection::vec((0_u32..700, 0_u8..8), 1..60).prop_map(Act::Write),
        2 => Just(Act::Retry),
        2 => Just(Act::OpenAgain),
        1 => Just(Act::End),
    ];
    proptest::collection::vec(act, 1..14)
}

fn outcome_of(ordinal: Ordinal, id: LeadId, kind: u8) -> LeadResult {
    let presence = [Presence::Merged { into: lead_id(1) }, Presence::Deleted, Presence::NotVisible];
    match kind {
        0 => unread(ordinal, id),
        1..=3 => LeadResult {
            ordinal,
            lead: Lead::without_values(id, presence[usize::from(kind) - 1]),
            outcome: LeadOutcome::NoRecord,
        },
        4 => assessed(ordinal, id, ModelVerdict::NotAsked),
        5 => assessed(ordinal, id, failed(spent(1 + ordinal % 3))),
        6 => assessed(ordinal, id, answered(spent(1), false)),
        _ => assessed(ordinal, id, answered(Spent::default(), true)),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_to_a_job_its_counts_equal_a_recount_and_nothing_is_lost(acts in acts()) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async move {
            let folder = tempfile::tempdir().unwrap();
            let mut store = LeadJobStore::create(folder.path(), &spec(), disk()).unwrap();
            let mut leads: Vec<LeadId> = Vec::new();
            let mut first_rows: Vec<u64> = Vec::new();
            let mut rows: Vec<(u64, Option<Ordinal>)> = Vec::new();
            let mut outcomes: BTreeMap<Ordinal, u8> = BTreeMap::new();
            let mut requests = 0;
            let mut ended = false;
            for act in acts {
                match act {
                    Act::Add { rows: steps, again } => {
                        let mut number = rows.last().map_or(1, |(row, _)| *row);
                        let mut added: Vec<IntakeRow> = Vec::new();
                        // What is added again is what stands there.
                        for (row, ordinal) in &rows[rows.len().saturating_sub(again)..] {
                            added.push(match ordinal {
                                None => IntakeRow { row: *row, id: RowId::Blank },
                                Some(at) => IntakeRow {
                                    row: *row,
                                    id: RowId::Lead { id: leads[*at as usize], repaired: false },
                                },
                            });
                        }
                        for (step, id) in steps {
                            if ended {
                                break;
                            }
                            number += step;
                            let (id, ordinal) = match id {
                                None => (RowId::Blank, None),
                                Some((id, repaired)) => {
                                    let id = lead_id(id * 7_919_777_777);
                                    let at = leads.iter().position(|other| *other == id).unwrap_or_else(|| {
                                        leads.push(id);
                                        first_rows.push(number);
                                        leads.len() - 1
                                    });
                                    (RowId::Lead { id, repaired }, Some(at as Ordinal))
                                }
                            };
                            rows.push((number, ordinal));
                            added.push(IntakeRow { row: number, id });
                        }
                        store.add_rows(added).await.unwrap();
                    }
                    Act::Write(list) => {
                        let mut results = Vec::new();
                        let mut new = 0;
                        for (ordinal, kind) in list {
                            let Some(id) = leads.get(ordinal as usize) else { continue };
                            results.push(outcome_of(ordinal, *id, kind));
                            if let std::collections::btree_map::Entry::Vacant(free) = outcomes.entry(ordinal) {
                                free.insert(kind);
                                new += 1;
                                requests += tally::spent_on(results.last().unwrap()).requests;
                            }
                        }
                        assert_eq!(store.write(results).await.unwrap(), new);
                    }
                    Act::Retry => {
                        let before = outcomes.len();
                        outcomes.retain(|_, kind| !matches!(kind, 0 | 5));
                        assert_eq!(store.reopen_failed().await.unwrap() as usize, before - outcomes.len());
                    }
                    Act::OpenAgain => {
                        drop(store);
                        store = LeadJobStore::open(folder.path(), disk()).unwrap().0;
                    }
                    Act::End => {
                        store.end_intake().await.unwrap();
                        ended = true;
                    }
                }
                let counts = store.counts().await.unwrap();
                check(&counts);
                assert_eq!(counts, store.recount().await.unwrap());
            }
            let counts = store.counts().await.unwrap();
            assert_eq!((counts.rows as usize, counts.leads as usize), (rows.len(), leads.len()));
            assert_eq!(counts.model_requests, u64::from(requests));
            let open: Vec<_> = (0..).zip(leads.iter().copied()).filter(|(at, _)| !outcomes.contains_key(at)).collect();
            assert_eq!(store.open_leads(0, usize::MAX).await.unwrap(), open);
            let places: Vec<_> = (0..leads.len() as Ordinal).map(Some).collect();
            assert_eq!(store.ordinals_of(leads.clone()).await.unwrap(), places);
            let read = rows_of(&store);
            assert_eq!(read.len(), rows.len());
            for (read, (row, ordinal)) in read.into_iter().zip(rows) {
                assert_eq!(read.row, row);
                let at = match (read.place, ordinal) {
                    (RowPlace::Blank, None) => continue,
                    (RowPlace::Lead { result, first_row, .. }, Some(at)) => {
                        assert_eq!((result.ordinal, first_row), (at, first_rows[at as usize]));
                        assert_eq!(result.lead.id, leads[at as usize]);
                        if let Some(kind) = outcomes.get(&at) {
                            assert_eq!(result.status(), outcome_of(at, result.lead.id, *kind).status());
                        }
                        continue;
                    }
                    (place, _) => place,
                };
                panic!("row {row} is {at:?}");
            }
        });
    }
}
