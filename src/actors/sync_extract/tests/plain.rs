//! What is read when nothing goes wrong, and what it costs.

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_small_object_comes_over_rest_and_a_large_one_by_one_job() {
    let sim = sim(5_300).await;
    for (threshold, method) in [(10_000, SyncMethod::RegularApiFull), (5_000, SyncMethod::BulkApiFull)] {
        let ask = sim.ask("Lead", threshold).await;
        let expected = sim.expected(&ask).await;
        let durable = Durable::default();
        let extracted = durable.extract(&sim, &ask).await.unwrap();
        assert_eq!(extracted.method, method);
        assert_eq!((extracted.rows, extracted.estimated), (expected.len() as u64, expected.len() as u64));
        assert!(durable.by_key() == expected, "{method}");
        assert!(durable.state().is_complete);
        // Three pages; or one page that is the count, the job, one look, six pages in two lists.
        let pages = expected.len().div_ceil(1_000);
        let calls = if method.is_bulk() { 1 + 1 + 1 + pages + pages.div_ceil(5) } else { 3 };
        assert_eq!(sim.server.journal().total as usize, calls, "{method}");
        assert_eq!(sim.calls.load(Ordering::SeqCst) as usize, calls, "as the client counts them");
        assert_eq!(extracted.jobs, u64::from(method.is_bulk()));
        clean_up(&sim.client, &durable.state()).await.unwrap();
        assert_eq!(sim.calls_of("bulk_delete"), usize::from(method.is_bulk()));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_changed_rows_cost_one_call_and_no_job() {
    let sim = sim(20_000).await;
    let mut ask = sim.ask("Lead", 10_000).await;
    let some: Vec<String> = sim.expected(&ask).await.into_keys().take(50).collect();
    ask.condition = format!("Id IN ('{}')", some.join("','"));
    let durable = Durable::default();
    let extracted = durable.extract(&sim, &ask).await.unwrap();
    assert_eq!((extracted.rows, extracted.jobs), (50, 0));
    assert_eq!(sim.server.journal().total, 1);
    assert_eq!(durable.by_key().into_keys().collect::<Vec<_>>(), some);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_thousand_changed_rows_cost_at_most_twelve_calls_and_one_job() {
    let sim = sim(20_000).await;
    let mut ask = sim.ask("Lead", 10_000).await;
    ask.bulk = BulkOptions::default();
    ask.condition =
        "SystemModstamp >= 2000-01-01T00:00:00Z AND SystemModstamp < 2100-01-01T00:00:00Z".to_owned();
    let durable = Durable::default();
    let extracted = durable.extract(&sim, &ask).await.unwrap();
    clean_up(&sim.client, &durable.state()).await.unwrap();
    assert!(extracted.rows >= 20_000);
    assert_eq!(sim.calls_of("bulk_create"), 1);
    assert!(sim.server.journal().total <= 12, "{} calls", sim.server.journal().total);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn first_pages_of_five_objects_cost_one_call() {
    let sim = sim(3_000).await;
    let names = ["Lead", "Account", "Contact", "Opportunity", "User"];
    let mut asks = Vec::new();
    for name in names {
        asks.push(sim.ask(name, u64::MAX).await);
    }
    let mut expected = Vec::new();
    for ask in &asks {
        expected.push(sim.expected(ask).await);
    }
    let mut firsts = first_pages(&sim.client, &asks.iter().collect::<Vec<_>>()).await;
    assert_eq!(sim.server.journal().total, 1);
    for ((ask, first), expected) in asks.iter().zip(&mut firsts).zip(expected) {
        let first = first.take().unwrap().unwrap();
        assert_eq!(first.counted(), expected.len() as u64);
        let durable = Durable::default();
        let sink = Sink { durable: &durable, key: ask.plan.layout.key, layout: ask.plan.layout.clone() };
        let read =
            extract(&sim.client, ask, ExtractState::default(), Some(first), &sink, &durable).await.unwrap();
        assert_eq!(read.rows, expected.len() as u64);
        assert!(durable.by_key() == expected, "{}", ask.plan.object);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_alone_come_as_keys_by_either_way() {
    let sim = sim(2_500).await;
    for threshold in [1_000, 1_000_000] {
        let mut ask = sim.ask("Lead", threshold).await;
        let expected = sim.expected(&ask).await;
        ask.wanted = Wanted::Keys;
        let durable = Durable::default();
        let extracted = durable.extract(&sim, &ask).await.unwrap();
        let keys = durable.keys.lock().unwrap();
        assert!(keys.keys().all(|part| part.0 >= KEYS_FROM));
        let mut found: Vec<String> = keys.values().flatten().cloned().collect();
        found.sort();
        assert!(found.iter().eq(expected.keys()));
        assert_eq!(extracted.rows, expected.len() as u64);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_of_a_stage_go_through_files_that_hold_the_same() {
    let sim = sim(2_500).await;
    let mut ask = sim.ask("Lead", 0).await;
    ask.choose = Arc::new(|_, _| (SyncMethod::BulkApiStageFull, "a stage".to_owned()));
    let disk = Arc::new(crate::store::disk::RealDisk);
    ask.spool = Some(Spool::open(&sim.folder.path().join("spool"), 1 << 30, disk).unwrap());
    let expected = sim.expected(&ask).await;
    let durable = Durable::default();
    let extracted = durable.extract(&sim, &ask).await.unwrap();
    assert!(durable.by_key() == expected);
    assert_eq!(extracted.method, SyncMethod::BulkApiStageFull);
    assert_eq!(durable.files.load(Ordering::SeqCst) as usize, expected.len().div_ceil(1_000));
    assert_eq!(ask.spool.as_ref().unwrap().bytes(), 0, "the files went with their last owner");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_statement_longer_than_an_address_is_read_in_parts_or_by_a_job() {
    let sim = sim(600).await;
    for threshold in [u64::MAX, 0] {
        let mut ask = sim.ask("Lead", threshold).await;
        let some: BTreeMap<String, String> = sim.expected(&ask).await.into_iter().take(430).collect();
        // An id takes 27 bytes of an address: beside 430 of them there is no room for every column.
        let ids: Vec<&str> = some.keys().map(String::as_str).collect();
        ask.condition = format!("Id IN ('{}')", ids.join("','"));
        let soql = run::statement(&ask, &parts::columns_of(&ask).unwrap()).unwrap();
        assert!(!sim.client.fits_an_address(Surface::DataAndDeleted, &soql));
        let durable = Durable::default();
        let extracted = durable.extract(&sim, &ask).await.unwrap();
        assert!(durable.by_key() == some, "threshold {threshold}");
        assert_eq!((extracted.rows, extracted.estimated), (430, 430));
        assert_eq!(extracted.method.is_bulk(), threshold == 0);
        assert_eq!(sim.calls_of("bulk_create"), usize::from(threshold == 0));
    }
}
