//! Values that are hard to carry, describes with types nobody knows, and clocks that disagree.

use penstock::clock::SystemClock;

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_rows_of_hard_values_are_the_same_bytes_by_rest_and_by_bulk() {
    let mut options = orgsim::Options::default();
    options.data.nasty_values = true;
    options.data.records = vec![("Value_Case__c".to_owned(), 10_000)].into_iter().collect();
    let sim = sim_with(options).await;
    let object: ObjectName = "Value_Case__c".parse().unwrap();
    let described = sim.client.describe_group(std::slice::from_ref(&object)).await;
    let describe = described.into_iter().next().unwrap().1.unwrap();
    let fields: Vec<&str> = describe
        .fields
        .iter()
        // Jobs refuse compounds.
        .filter(|field| !matches!(field.field_type.as_str(), "address" | "location"))
        .map(|field| field.name.as_str())
        .collect();
    assert!(fields.len() >= 15, "{fields:?}");
    let statement = format!("SELECT {} FROM {object}", fields.join(", "));
    let by_rest = sim.by_rest(&statement).await.unwrap();
    assert_eq!(by_rest.lines().count(), 10_000);
    assert_same_rows(&sim.by_bulk(&statement, pages_of(3_000, 2)).await.unwrap(), &by_rest);
    for value in [r#""NA""#, r#""None""#, r"\n", "null", r#""00"#] {
        assert!(by_rest.contains(value), "no {value} among the rows: they are not hard");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fields_of_types_nobody_has_heard_of_are_read_as_text() {
    let sim = sim().await;
    sim.server.faults().set(vec![FaultRule::always(Fault::UnknownFieldTypes)]);
    let by_rest = sim.by_rest(SOME).await.unwrap();
    assert_eq!(by_rest.lines().count() as u64, SOME_COUNT);
    // What a value is can no longer be known, so each interface's own text stands: the rows are the same, by id.
    let by_bulk = sim.by_bulk(SOME, BulkOptions::default()).await.unwrap();
    let ids = |lines: &str| -> BTreeSet<String> { lines.lines().map(id_of).collect() };
    assert_eq!(ids(&by_bulk), ids(&by_rest));
    assert!(by_rest.contains(r#""IsConverted":"true""#) && by_bulk.contains(r#""IsConverted":"true""#));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_that_is_ten_minutes_off_costs_no_row() {
    let sim = sim().await;
    let by_rest = sim.by_rest(SOME).await.unwrap();
    sim.server.faults().set(vec![FaultRule::always(Fault::ClockSkew { seconds: 600 })]);
    assert_same_rows(&sim.by_rest(SOME).await.unwrap(), &by_rest);
    assert_same_rows(&sim.by_bulk(SOME, BulkOptions::default()).await.unwrap(), &by_rest);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_assertion_that_came_too_late_is_told_with_the_difference_of_the_clocks() {
    let server = orgsim::Server::start(orgsim::Options::default()).await.unwrap();
    server.advance_clock(Duration::from_secs(600));
    let credentials = Credentials::JwtBearer {
        client_id: orgsim::Options::default().client_id,
        username: "integration@orgsim.example".to_owned(),
        audience: None,
        private_key_pem: include_str!("../../src/salesforce/testdata/signing-key.pem").into(),
    };
    let settings =
        OrgSettings::new("acme".parse().unwrap(), server.url(), "62.0".parse().unwrap(), credentials);
    let http = Arc::new(HttpClient::new(&HttpSettings::default()).unwrap());
    let jitter = Arc::new(SeededJitter::new(1));
    let client = OrgClient::new(settings, http, Arc::new(OpenGate), SystemClock::shared(), jitter).unwrap();
    let error = client.log_in().await.unwrap_err();
    assert!(error.is_refused_login(), "{error:?}");
    assert!(told(&error).contains("this machine's clock is 10 min behind the org's"), "{}", told(&error));
}
