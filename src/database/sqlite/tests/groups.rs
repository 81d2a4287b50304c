//! Batches that share a COMMIT, and those that do not.

use super::*;

#[tokio::test]
async fn batches_that_wait_share_a_commit_and_fail_alone() {
    let stand = stand();
    let scripts = (0..32)
        .map(|number| {
            let name = format!("d{number}");
            // Every third batch fails at its second operation, every fifth wants what its neighbour has made.
            let second = match number {
                _ if number % 3 == 0 => stand.create("crate", &[("depot_id", Value::Int(999))], &[]),
                _ if number % 5 == 0 => stand.depot(&format!("d{}", number - 1)),
                _ => stand.depot(&format!("e{number}")),
            };
            Script::once(vec![stand.depot(&name), second])
        })
        .collect();
    let done = stand.run_together(scripts).await;
    let mut kept = 0;
    for (number, script) in done.iter().enumerate() {
        let expected = if number % 3 == 0 {
            Some(DbErrorCode::ForeignKeyViolation)
        } else if number % 5 == 0 && (number - 1) % 3 != 0 {
            Some(DbErrorCode::UniqueViolation)
        } else {
            kept += 1;
            None
        };
        assert_eq!(script.code(), expected, "batch {number}");
        let rows =
            stand.count(&format!("SELECT count(*) FROM depot WHERE name IN ('d{number}', 'e{number}')"));
        // The neighbour of a batch that failed may have taken the name.
        if expected.is_some() && (number + 1) % 5 != 0 {
            assert_eq!(rows, 0, "batch {number}");
        }
    }
    let groups = stand.groups.lock().unwrap().clone();
    assert_eq!(groups.iter().sum::<usize>(), kept);
    assert!(groups.len() <= 3, "{groups:?}");
}

#[tokio::test]
async fn a_group_of_one_commits_each_batch_by_itself() {
    let limits = GroupCommit { batches: 1, window: Duration::from_millis(20) };
    let stand = stand_with(limits, SystemClock::shared(), |_| {});
    let scripts = (0..8).map(|number| Script::once(vec![stand.depot(&format!("d{number}"))])).collect();
    for script in stand.run_together(scripts).await {
        assert_eq!(script.error(), None);
    }
    assert_eq!(*stand.groups.lock().unwrap(), [1; 8]);
}

#[tokio::test]
async fn when_commit_fails_nobody_of_the_group_is_told_that_something_was_kept() {
    let refusals = Arc::new(AtomicUsize::new(1));
    let left = Arc::clone(&refusals);
    let stand = stand_with(GroupCommit::default(), SystemClock::shared(), |connection| {
        let refuse =
            move || left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1)).is_ok();
        // The hook is the only way to have COMMIT itself fail on any machine.
        connection.commit_hook(Some(refuse)).unwrap();
    });
    let scripts = (0..6).map(|number| Script::once(vec![stand.depot(&format!("d{number}"))])).collect();
    let done = stand.run_together(scripts).await;
    let failed = done.iter().filter(|script| script.error().is_some()).count();
    assert!(failed >= 2, "a group of {failed}");
    let kept = stand.count("SELECT count(*) FROM depot") - 3;
    assert_eq!(usize::try_from(kept).unwrap(), 6 - failed);
    for (number, script) in done.iter().enumerate() {
        let rows = stand.count(&format!("SELECT count(*) FROM depot WHERE name = 'd{number}'"));
        assert_eq!(rows == 1, script.error().is_none());
    }
    // The file is as good as before.
    assert_eq!(stand.run(Script::once(vec![stand.depot("after")])).await.error(), None);
}

#[tokio::test]
async fn a_full_disk_fails_the_batch_that_filled_it_and_no_other() {
    let stand = stand_with(GroupCommit::default(), SystemClock::shared(), |connection| {
        connection.query_row("PRAGMA max_page_count = 40", [], |_| Ok(())).unwrap();
    });
    let scripts = (0..5)
        .map(|number| {
            let name = if number == 2 { "x".repeat(300_000) } else { format!("d{number}") };
            Script::once(vec![stand.depot(&name)])
        })
        .collect();
    for (number, script) in stand.run_together(scripts).await.iter().enumerate() {
        assert_eq!(script.code(), (number == 2).then_some(DbErrorCode::DiskFull), "batch {number}");
    }
    assert_eq!(stand.count("SELECT count(*) FROM depot"), 7);
}

#[tokio::test]
async fn a_deferred_key_is_judged_where_its_batch_ends() {
    let stand = stand();
    let dangling = || stand.create("note", &[("crate_id", Value::Int(77))], &["note_id"]);
    let crate_77 =
        stand.create("crate", &[("crate_id", Value::Int(77)), ("depot_id", Value::Int(1))], &["crate_id"]);
    let mut dry = vec![begin(), Command::Run(dangling()), Command::CheckConstraints];
    dry.push(Command::Rollback);
    let done = stand
        .run_together(vec![
            Script::once(vec![stand.depot("before")]),
            Script::once(vec![dangling()]),
            Script::of(vec![dry]),
            Script::once(vec![dangling(), crate_77]),
            Script::once(vec![stand.depot("after")]),
        ])
        .await;
    let codes: Vec<_> = done.iter().map(Script::code).collect();
    let failed = Some(DbErrorCode::ForeignKeyViolation);
    assert_eq!(codes, [None, failed, failed, None, None]);
    assert_eq!(stand.count("SELECT count(*) FROM note"), 1);
    assert_eq!(stand.count("SELECT count(*) FROM depot"), 5);
}

#[tokio::test]
async fn one_that_waits_or_commits_in_parts_blocks_nobody() {
    let stand = Arc::new(stand());
    let mut slow =
        Script::of((0..3).map(|number| transaction(vec![stand.depot(&format!("p{number}"))])).collect());
    slow.pauses = VecDeque::from([Duration::from_millis(400)]);
    let lane = Arc::clone(&stand.writes);
    let waiting = tokio::spawn(async move { lane.carry(slow).await });
    tokio::time::sleep(Duration::from_millis(20)).await;
    let quick = stand.run(Script::once(vec![stand.depot("quick")])).await;
    assert_eq!(quick.error(), None);
    assert!(!waiting.is_finished());
    let slow = waiting.await.unwrap();
    assert_eq!((slow.error(), slow.replies.len()), (None, 3));
    assert_eq!(stand.count("SELECT depot_id FROM depot WHERE name = 'quick'"), 4);
}
