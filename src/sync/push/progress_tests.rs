use std::collections::BTreeMap;

use proptest::prelude::*;
use rstest::rstest;

use super::*;

fn upsert() -> PushOperation {
    PushOperation::Upsert { external_id: "Ext__c".parse().unwrap() }
}

fn job() -> BatchState {
    BatchState::Job { job_id: "750".to_owned() }
}

#[rstest]
#[case::nothing_was_sent(PushOperation::Insert, BatchState::Ready, None, Step::Send)]
#[case::still_open(PushOperation::Insert, job(), Some(Found::Open), Step::Replace)]
#[case::at_work(PushOperation::Insert, job(), Some(Found::Working), Step::Await)]
#[case::ended(PushOperation::Insert, job(), Some(Found::Ended), Step::Await)]
#[case::aborted(PushOperation::Insert, job(), Some(Found::Aborted), Step::Await)]
#[case::an_insert_that_is_gone(PushOperation::Insert, job(), Some(Found::Gone), Step::GiveUp)]
#[case::an_upsert_that_is_gone(upsert(), job(), Some(Found::Gone), Step::Send)]
#[case::a_delete_that_is_gone(PushOperation::Delete, job(), Some(Found::Gone), Step::Send)]
#[case::told(upsert(), BatchState::Told, None, Step::Done)]
fn what_was_kept_and_what_the_org_says_decide_what_is_next(
    #[case] operation: PushOperation,
    #[case] state: BatchState,
    #[case] found: Option<Found>,
    #[case] step: Step,
) {
    assert_eq!(next_step(&operation, &state, found), step);
}

/// A job of the model's org.
#[derive(Default)]
struct Job {
    is_uploaded: bool,
    is_closed: bool,
    is_aborted: bool,
    is_gone: bool,
    has_worked: bool,
}

/// The org, the disk and the results table of the model; they outlive a crash.
struct World {
    jobs: BTreeMap<String, Job>,
    /// How often the batch's rows were written.
    written: u32,
    kept: BatchState,
    told: Option<RowFate>,
    /// Steps until the next crash; each crash takes one off the list.
    crashes: Vec<u8>,
    left: Option<u8>,
}

/// The process is gone.
struct Crash;

impl World {
    fn beat(&mut self) -> Result<(), Crash> {
        match &mut self.left {
            None => Ok(()),
            Some(0) => {
                self.left = self.crashes.pop();
                Err(Crash)
            }
            Some(left) => {
                *left -= 1;
                Ok(())
            }
        }
    }

    fn found(&self) -> Option<Found> {
        let BatchState::Job { job_id } = &self.kept else { return None };
        Some(match self.jobs.get(job_id) {
            None => Found::Gone,
            Some(job) if job.is_gone => Found::Gone,
            Some(job) if job.is_aborted => Found::Aborted,
            Some(job) if !job.is_closed => Found::Open,
            Some(job) if job.has_worked => Found::Ended,
            Some(_) => Found::Working,
        })
    }

    /// As the driver does it: each effect alone, a crash possible between any two.
    fn run(&mut self, operation: &PushOperation, forgets: bool) -> Result<(), Crash> {
        loop {
            match next_step(operation, &self.kept, self.found()) {
                Step::Done => return Ok(()),
                Step::Replace => {
                    let BatchState::Job { job_id } = std::mem::replace(&mut self.kept, BatchState::Ready)
                    else {
                        panic!("a job is replaced by its id");
                    };
                    self.beat()?;
                    self.jobs.get_mut(&job_id).unwrap().is_aborted = true;
                    self.beat()?;
                    self.jobs.get_mut(&job_id).unwrap().is_gone = true;
                }
                Step::Send => {
                    let job_id = self.jobs.len().to_string();
                    self.jobs.insert(job_id.clone(), Job::default());
                    self.beat()?;
                    self.kept = BatchState::Job { job_id: job_id.clone() };
                    self.beat()?;
                    self.jobs.get_mut(&job_id).unwrap().is_uploaded = true;
                    self.beat()?;
                    self.jobs.get_mut(&job_id).unwrap().is_closed = true;
                }
                Step::Await => {
                    let BatchState::Job { job_id } = self.kept.clone() else {
                        panic!("a job is awaited by its id")
                    };
                    let job = self.jobs.get_mut(&job_id).unwrap();
                    if job.is_closed && !std::mem::replace(&mut job.has_worked, true) {
                        assert!(job.is_uploaded);
                        self.written += 1;
                    }
                    // The org forgets a job after days, in which nobody asked.
                    if self.beat().is_err() {
                        self.jobs.get_mut(&job_id).unwrap().is_gone |= forgets;
                        return Err(Crash);
                    }
                    self.told = Some(RowFate::Written);
                    self.beat()?;
                    self.kept = BatchState::Told;
                    self.beat()?;
                    self.jobs.get_mut(&job_id).unwrap().is_gone = true;
                }
                Step::GiveUp => {
                    self.told = Some(RowFate::Unknown);
                    self.beat()?;
                    self.kept = BatchState::Told;
                }
            }
            self.beat()?;
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]
    #[test]
    fn however_often_it_crashes_an_insert_is_never_made_twice_and_nothing_else_is_lost(
        crashes in prop::collection::vec(0u8..12, 0..6), forgets: bool, is_insert: bool,
    ) {
        let operation = if is_insert { PushOperation::Insert } else { upsert() };
        let mut world = World {
            jobs: BTreeMap::new(),
            written: 0,
            kept: BatchState::Ready,
            told: None,
            left: None,
            crashes,
        };
        world.left = world.crashes.pop();
        while world.run(&operation, forgets).is_err() {}
        prop_assert_eq!(&world.kept, &BatchState::Told);
        match world.told {
            Some(RowFate::Written) => prop_assert!(world.written >= 1),
            Some(RowFate::Unknown) => prop_assert!(is_insert && forgets),
            other => prop_assert!(false, "told as {:?}", other),
        }
        prop_assert!(!is_insert || world.written <= 1, "written {} times", world.written);
        // No job that could still be closed is one that was let work: what is left open has written nothing.
        prop_assert!(world.jobs.values().all(|job| job.is_closed || !job.has_worked));
    }
}

fn progress(batches: Vec<Batch>) -> PushProgress {
    PushProgress {
        id: LoadId::new(1, 1),
        push: "scores".to_owned(),
        org: "dev".parse().unwrap(),
        object: "Lead".parse().unwrap(),
        operation: upsert(),
        columns: PushColumns { columns: Vec::new(), match_column: None, told_by: None },
        choice: super::super::way::choose(&upsert(), 5, 1, 9),
        rows_read: 5,
        rows_unfit: 1,
        batches,
        jobs: 0,
        jobs_left: Vec::new(),
        started_at: Timestamp::UNIX_EPOCH,
    }
}

fn told(number: u32, rows: u64, tally: Tally) -> Batch {
    Batch { state: BatchState::Told, tally, ..Batch::new(number, 1, number, 0, (1..=rows).collect()) }
}

#[test]
fn a_push_with_a_row_missing_is_no_success() {
    let all = Tally { written: 4, created: 1, ..Tally::default() };
    let mut done = progress(vec![told(1, 4, all)]);
    assert_eq!(done.error().unwrap(), "1 row not sent, for they do not fit the object");
    done.rows_unfit = 0;
    assert_eq!(done.error(), None);
    let open = progress(vec![told(1, 4, all), Batch::new(2, 1, 1, 4, (5..=9).collect())]);
    assert!(open.error().unwrap().ends_with("1 batch not sent to the end"));
}

#[test]
fn a_row_that_is_sent_again_is_told_by_its_last_sending() {
    let first = Tally { written: 2, refused: 2, sent_again: 2, ..Tally::default() };
    let second = Tally { written: 1, refused: 1, ..Tally::default() };
    let progress = progress(vec![told(1, 4, first), told(2, 2, second)]);
    let tally = progress.tally();
    assert_eq!((tally.written, tally.refused, tally.unfit), (3, 1, 1));
    assert_eq!(tally.to_string(), "3 rows written, 1 refused, 1 not sent");
    assert!(progress.error().unwrap().starts_with("1 row refused by the org, 1 row not sent"));
}

#[rstest]
#[case::a_call_that_was_refused(PushWay::Collections, true, BatchState::Ready, true)]
#[case::a_call_before_a_crash(PushWay::Collections, false, BatchState::Ready, false)]
#[case::a_call_that_was_answered(PushWay::Collections, true, BatchState::Told, false)]
#[case::no_job(PushWay::BulkJobs, true, BatchState::Ready, true)]
#[case::a_job_that_was_let_go_of_before_a_crash(PushWay::BulkJobs, false, BatchState::Ready, true)]
#[case::a_job(PushWay::BulkJobs, true, job(), false)]
#[case::a_job_that_ended(PushWay::BulkJobs, false, BatchState::Told, false)]
fn only_a_push_of_which_the_org_has_nothing_for_certain_has_sent_nothing(
    #[case] way: PushWay,
    #[case] is_new: bool,
    #[case] state: BatchState,
    #[case] expected: bool,
) {
    let first = Batch { state, ..Batch::new(1, 1, 1, 0, (1..=4).collect()) };
    let mut progress = progress(vec![first, Batch::new(2, 1, 2, 0, [5].into_iter().collect())]);
    progress.choice.way = way;
    assert_eq!(progress.has_sent_nothing(is_new), expected);
}

#[test]
fn progress_reads_back_as_it_was_kept() {
    let progress = progress(vec![
        Batch { state: job(), ..Batch::new(1, 1, 1, 0, (1..=4).collect()) },
        Batch::new(2, 2, 2, 0, [5].into_iter().collect()),
    ]);
    let kept = serde_json::to_vec(&progress).unwrap();
    assert_eq!(serde_json::from_slice::<PushProgress>(&kept).unwrap(), progress);
}

#[rstest]
#[case::a_job_takes_a_file_whole(PushWay::BulkJobs, &[(1, 1, 0, 450), (2, 2, 0, 30)])]
#[case::a_call_takes_two_hundred(PushWay::Collections, &[(1, 1, 0, 200), (2, 1, 200, 200), (3, 1, 400, 50), (4, 2, 0, 30)])]
fn files_are_cut_into_what_is_sent_together(#[case] way: PushWay, #[case] expected: &[(u32, u32, u64, u64)]) {
    let files = [(1..=450).collect(), (460..490).collect()];
    let batches = batches(way, &files);
    let told: Vec<_> =
        batches.iter().map(|batch| (batch.number, batch.file, batch.skip, batch.rows.len())).collect();
    assert_eq!(told, expected);
    let rows: Vec<u64> = batches.iter().flat_map(|batch| batch.rows.iter().collect::<Vec<_>>()).collect();
    assert_eq!(rows, (1..=450).chain(460..490).collect::<Vec<u64>>());
}
