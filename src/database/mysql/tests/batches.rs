//! Whole batches, from body to answer.

use super::*;
use crate::batch::access::Caller;
use crate::batch::check::{CheckContext, check_all};
use crate::batch::request::{Limits, OperationClaims, parse};
use crate::batch::run::{BatchRun, RunSettings, RunWatch};

async fn answer(world: &World, body: &str) -> (u16, serde_json::Value) {
    let limits = Arc::new(Limits::default());
    let (request, plan) = parse(body.as_bytes(), &limits, OperationClaims::Refuse).expect("a batch");
    let catalogue = world.database.catalogue();
    let caller = Caller::default();
    let cx =
        CheckContext { catalogue: &catalogue, caller: &caller, limits: &limits, options: &request.options };
    let checked = check_all(&request.operations, &cx);
    let settings = RunSettings {
        database_kind: DatabaseKind::Mysql,
        statement_timeout: Duration::from_secs(5),
        lock_timeout: Duration::from_secs(2),
        idle_timeout: Duration::from_secs(10),
        batch_timeout: Duration::from_secs(15),
        identity: None,
        idempotency: None,
        seed: 7,
    };
    let now = "2026-01-02T03:04:05Z".parse().unwrap();
    let run = BatchRun::new(
        "batch".into(),
        Arc::new(request),
        Arc::new(plan),
        checked,
        limits,
        settings,
        now,
        RunWatch::default(),
    );
    let finished = world.database.run(run).await.into_finished().expect("it ended");
    (finished.answer.status, serde_json::from_slice(&finished.answer.body).unwrap())
}

#[tokio::test]
async fn a_depot_its_parcel_and_a_read_of_both_are_one_transaction() {
    let Some(world) = World::open().await else { return };

    let (status, body) = answer(
        &world,
        r#"{"operations": [
            {"id": "d", "entity": "depot", "action": "create", "store_params": {"city": "Utrecht"}},
            {"id": "p", "entity": "parcel", "action": "create",
             "store_params": {"depot_id": "$ref:d.depot_id", "label": "for $ref:d.city", "weight": 1.50}},
            {"id": "u", "entity": "parcel", "action": "update", "query_params": {"parcel_id": "$ref:p.parcel_id"},
             "store_params": {"weight": 2.25}},
            {"id": "r", "entity": "parcel", "action": "read", "query_params": {"weight": "gt::2"}, "depends_on": ["u"]}
        ]}"#,
    )
    .await;

    assert_eq!(status, 200, "{body}");
    assert_eq!(body["results"]["p"]["data"]["label"], "for Utrecht");
    assert_eq!(body["results"]["r"]["data"]["weight"].to_string(), "2.25");
    assert_eq!(world.sql("SELECT weight FROM parcel").await, ["2.250"]);
}

#[tokio::test]
async fn a_batch_that_fails_keeps_nothing_and_names_the_constraint() {
    let Some(world) = World::open().await else { return };

    let (status, body) = answer(
        &world,
        r#"{"operations": [
            {"id": "d", "entity": "depot", "action": "create", "store_params": {"city": "Ghent"}},
            {"id": "p", "entity": "parcel", "action": "create", "store_params": {"depot_id": 999}}
        ]}"#,
    )
    .await;

    assert_eq!(status, 400, "{body}");
    assert_eq!(body["rolledBack"], true);
    assert_eq!(body["meta"]["operations"]["p"]["code"], "foreign_key_violation");
    assert_eq!(body["meta"]["operations"]["p"]["constraint"], "parcel_depot");
    assert_eq!(world.sql("SELECT city FROM depot").await, Vec::<String>::new());
    assert_eq!(world.database.state().busy, 0);
}
