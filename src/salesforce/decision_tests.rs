//! What the client decides, with the network scripted.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rstest::rstest;
use serde_json::{Value, json as value};

use super::test_support::*;
use super::*;
use crate::limiter::{QuotaSeen, ThrottleKind};
use crate::model::{Family, ObjectName};

const EXPIRED: &str = r#"[{"message":"Session expired or invalid","errorCode":"INVALID_SESSION_ID"}]"#;
const LIMITS: &str = r#"{"DailyApiRequests":{"Max":15000,"Remaining":14982}}"#;

fn names(count: usize) -> Vec<ObjectName> {
    (0..count).map(|index| format!("Thing_{index}__c").parse().unwrap()).collect()
}

/// Answers a composite of describes; `part` gives status and body for each object name.
fn composite(request: &HttpRequest, part: impl Fn(&str) -> (u16, Value)) -> Result<HttpResponse, HttpError> {
    let asked: Value = serde_json::from_str(&body_text(request)).unwrap();
    let parts: Vec<Value> = asked["compositeRequest"]
        .as_array()
        .unwrap()
        .iter()
        .map(|sub| {
            let url = sub["url"].as_str().unwrap();
            let name = url.split('/').rev().nth(1).unwrap();
            let (status, body) = part(name);
            value!({"body": body, "httpHeaders": {}, "httpStatusCode": status, "referenceId": sub["referenceId"]})
        })
        .collect();
    json(200, &value!({ "compositeResponse": parts }).to_string())
}

fn describe_of(name: &str) -> Value {
    value!({"name": name, "label": name, "fields": [{"name": "Id", "type": "id"}], "unknownKey": [1, 2]})
}

fn sent_names(request: &HttpRequest) -> usize {
    body_text(request).matches("/describe").count()
}

#[tokio::test]
async fn every_call_is_settled_with_its_outcome_and_usage() {
    let bench = Bench::new(|_| json(200, LIMITS));
    let limits = bench.client.limits().await.unwrap();
    assert_eq!(limits["DailyApiRequests"], OrgLimit { max: 15_000, remaining: 14_982 });
    assert_eq!(bench.gate.outcomes(), ["auth ok", "limits ok"]);
    assert_eq!(bench.gate.last_quota(), Some(QuotaSeen { used: 18, limit: 15_000 }));
    assert_eq!(bench.gate.permits_open(), 0);
}

#[tokio::test]
async fn a_closed_gate_means_no_call() {
    let bench = Bench::new(|_| json(200, LIMITS));
    bench.client.limits().await.unwrap();
    let retry_after = Duration::from_secs(300);
    let refusal = GateError::QuotaSpent { org: "acme".parse().unwrap(), retry_after };
    *bench.gate.refusal.lock().unwrap() = Some(refusal);
    let error = bench.client.limits().await.unwrap_err();
    assert_eq!(error.throttle_kind(), Some(ThrottleKind::Daily));
    assert_eq!(error.retry_after(), Some(retry_after));
    assert_eq!(bench.count("/limits"), 1, "{:?}", bench.log());
}

/// A network that never answers.
struct SilentHttp;

impl Http for SilentHttp {
    fn send(&self, _: HttpRequest) -> crate::clock::BoxFuture<'_, Result<HttpResponse, HttpError>> {
        Box::pin(std::future::pending())
    }
}

#[tokio::test]
async fn a_cancelled_call_gives_its_place_back_and_reports_nothing() {
    let gate = Arc::new(CountingGate::default());
    let clock = Arc::new(JumpingClock::default());
    let credentials = Credentials::FixedToken { token: "00D".into(), instance_url: LOGIN_URL.to_owned() };
    let settings = settings(LOGIN_URL, credentials);
    let gate_of_client = Arc::<CountingGate>::clone(&gate);
    let jitter = Arc::new(SeededJitter::new(1));
    let client = OrgClient::new(settings, Arc::new(SilentHttp), gate_of_client, clock, jitter).unwrap();
    let mut call = Box::pin(client.limits());
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    assert!(call.as_mut().poll(&mut cx).is_pending());
    assert_eq!(gate.permits_open(), 1);
    drop(call);
    assert_eq!(gate.permits_open(), 0);
    assert_eq!(gate.outcomes(), Vec::<String>::new());
}

#[tokio::test]
async fn the_lists_of_an_org_are_read() {
    let bench = Bench::new(|request| match request.url.strip_prefix(LOGIN_URL).unwrap() {
        "/services/data" => {
            json(200, r#"[{"label":"Summer '26","url":"/services/data/v67.0","version":"67.0"}]"#)
        }
        "/services/data/v62.0/sobjects" => json(
            200,
            r#"{"encoding":"UTF-8","sobjects":[{"name":"Lead","label":"Lead","keyPrefix":"00Q","queryable":true}]}"#,
        ),
        path => {
            assert!(path.len() < 9_000, "{} bytes", path.len());
            assert!(path.starts_with("/services/data/v62.0/limits/recordCount?sObjects=Thing_"));
            json(200, r#"{"sObjects":[{"count":3,"name":"Thing_0__c"},{"count":-1,"name":"Thing_1__c"}]}"#)
        }
    });
    assert_eq!(bench.client.versions().await.unwrap()[0].version, "67.0");
    assert_eq!(bench.client.global_describe().await.unwrap()[0].key_prefix.as_deref(), Some("00Q"));
    let counts = bench.client.record_counts(Some(&names(1_462))).await.unwrap();
    assert_eq!(counts.iter().map(|row| row.count).take(2).collect::<Vec<_>>(), [3, 0]);
    assert_eq!(bench.count("recordCount"), 4);
}

#[tokio::test]
async fn a_page_that_was_cut_off_is_asked_for_again() {
    let calls = AtomicUsize::new(0);
    let bench = Bench::new(move |_| match calls.fetch_add(1, Ordering::SeqCst) {
        0 => json(200, r#"{"totalSize":5,"done":true,"records":[{"Name":"Re"#),
        _ => page(&count_row(5), None),
    });
    assert_eq!(families::read_workflow_rules(&bench.client).await.unwrap().len(), 5);
    assert_eq!(bench.count("query"), 2);
}

#[tokio::test]
async fn a_refused_login_is_asked_once_and_says_why() {
    let bench = Bench::with_logins(|request| {
        assert!(!request.url.contains('?'), "nothing of a login stands in the address");
        assert!(body_text(request).contains("client_secret=hush%20%26%20more"));
        json(400, r#"{"error":"invalid_client","error_description":"invalid client credentials"}"#)
    });
    for _ in 0..3 {
        let error = bench.client.limits().await.unwrap_err();
        assert!(error.is_refused_login() && !error.is_transient());
        assert_eq!(
            error.to_string(),
            "the org refuses the login: `invalid_client`: invalid client credentials"
        );
        assert!(!format!("{error:?} {:?}", bench.client).contains("hush"));
    }
    assert_eq!(bench.log().len(), 1, "a refused login is not tried again");
    bench.client.forget_refused_login().await;
    bench.client.limits().await.unwrap_err();
    assert_eq!(bench.log().len(), 2, "until somebody says so");
}

#[tokio::test]
async fn a_passing_fault_of_the_login_is_retried_within_bounds() {
    let bench = Bench::with_logins(|_| json(503, "<html>maintenance</html>"));
    let error = bench.client.limits().await.unwrap_err();
    assert!(error.is_transient() && !error.is_refused_login());
    assert_eq!(bench.log().len(), 4);
}

#[tokio::test]
async fn an_expired_session_costs_one_login_and_one_replay() {
    let calls = AtomicUsize::new(0);
    let bench = Bench::new(move |request| {
        let token = request.bearer.as_ref().map(secrecy::ExposeSecret::expose_secret);
        let call = calls.fetch_add(1, Ordering::SeqCst);
        assert_eq!(token, Some(["token-1", "token-2"][call]), "the replay carries the new token");
        if call == 0 { json(401, EXPIRED) } else { json(200, LIMITS) }
    });
    bench.client.limits().await.unwrap();
    assert_eq!(bench.gate.outcomes(), ["auth ok", "limits unauthorized", "auth ok", "limits ok"]);
}

#[tokio::test]
async fn a_second_401_in_a_row_is_left_to_the_caller() {
    let bench = Bench::new(|_| json(401, EXPIRED));
    let error = bench.client.limits().await.unwrap_err();
    assert!(matches!(error, OrgError::Unauthorized { .. }), "{error}");
    assert!(error.is_transient() && !error.is_refused_login());
    assert_eq!((bench.count("/limits"), bench.count("/token")), (2, 2));
}

#[tokio::test]
async fn a_401_that_no_login_cures_is_final_at_once() {
    let body = r#"[{"message":"This session is not valid for use with the REST API","errorCode":"INVALID_SESSION_ID"}]"#;
    let bench = Bench::new(move |_| json(401, body));
    let error = bench.client.limits().await.unwrap_err();
    assert!(matches!(error, OrgError::SessionUnusable { .. }), "{error}");
    assert!(error.is_refused_login());
    assert_eq!((bench.count("/limits"), bench.count("/token")), (1, 1));
}

#[tokio::test]
async fn a_fixed_token_is_never_renewed() {
    let credentials =
        Credentials::FixedToken { token: "00Dfixed".into(), instance_url: format!("{LOGIN_URL}/") };
    let bench = Bench::with(credentials, 0, |_| json(401, EXPIRED));
    let error = bench.client.limits().await.unwrap_err();
    assert!(matches!(error, OrgError::Refused { .. }), "{error}");
    assert_eq!(bench.log().len(), 1);
}

#[rstest]
#[case::daily(
    403,
    r#"[{"message":"TotalRequests Limit exceeded.","errorCode":"REQUEST_LIMIT_EXCEEDED"}]"#,
    1
)]
#[case::concurrent(
    403,
    r#"[{"message":"ConcurrentRequests Limit exceeded.","errorCode":"REQUEST_LIMIT_EXCEEDED"}]"#,
    4
)]
#[case::rate(429, "", 4)]
#[case::busy(503, "", 4)]
#[case::bad_query(400, r#"[{"message":"no","errorCode":"MALFORMED_QUERY"}]"#, 1)]
#[tokio::test]
async fn only_passing_faults_are_asked_again(
    #[case] status: u16,
    #[case] body: &'static str,
    #[case] calls: usize,
) {
    let bench = Bench::new(move |_| json(status, body));
    bench.client.limits().await.unwrap_err();
    assert_eq!(bench.count("/limits"), calls);
}

#[tokio::test]
async fn an_outage_empties_the_retry_budget_and_calls_fall_to_one_an_ask() {
    let bench = Bench::new(|_| json(500, ""));
    for _ in 0..100 {
        bench.client.limits().await.unwrap_err();
    }
    // 100 asks and the 100 retries that 500 tokens pay for (the login's success was at a full budget).
    assert_eq!(bench.count("/limits"), 200);
}

#[tokio::test]
async fn sixty_objects_are_described_by_three_calls() {
    let bench = Bench::new(|request| composite(request, |name| (200, describe_of(name))));
    let objects = names(60);
    let described = bench.client.describe_group(&objects).await;
    assert_eq!(bench.count("/composite"), 3);
    for (asked, (name, describe)) in objects.iter().zip(described) {
        assert_eq!((asked, asked), (&name, &describe.unwrap().name));
    }
}

#[tokio::test]
async fn a_describe_that_cannot_be_read_fails_that_object_only() {
    let bench = Bench::new(|request| {
        composite(request, |name| match name {
            "Thing_3__c" => (200, value!({"name": name, "fields": "none"})),
            "Thing_4__c" => (404, value!([{"errorCode": "NOT_FOUND", "message": "gone"}])),
            "Thing_5__c" => (200, describe_of("Other__c")),
            _ => (200, describe_of(name)),
        })
    });
    let described = bench.client.describe_group(&names(25)).await;
    assert_eq!(bench.count("/composite"), 1);
    let failed: Vec<String> = described
        .into_iter()
        .filter_map(|(name, describe)| describe.err().map(|error| format!("{name}: {error}")))
        .collect();
    assert_eq!(failed.len(), 3, "{failed:?}");
    assert!(failed[0].starts_with("Thing_3__c: the answer for the describe of `Thing_3__c` cannot be read"));
    assert!(failed[1].contains("`NOT_FOUND`"));
    assert!(failed[2].contains("it describes `Other__c`"));
}

#[tokio::test]
async fn a_part_that_is_busy_is_asked_again_without_the_others() {
    let calls = AtomicUsize::new(0);
    let bench = Bench::new(move |request| {
        let first = calls.fetch_add(1, Ordering::SeqCst) == 0;
        assert_eq!(sent_names(request), if first { 10 } else { 1 });
        composite(request, |name| {
            if first && name == "Thing_7__c" { (503, value!([])) } else { (200, describe_of(name)) }
        })
    });
    let described = bench.client.describe_group(&names(10)).await;
    assert!(described.iter().all(|(_, describe)| describe.is_ok()));
    assert_eq!(bench.count("/composite"), 2);
}

#[rstest]
#[case::server_error(Some(500))]
#[case::gateway(Some(502))]
#[case::busy(Some(503))]
#[case::timeout(None)]
#[tokio::test]
async fn a_group_that_is_too_much_for_the_org_is_halved(#[case] status: Option<u16>) {
    let bench = Bench::new(move |request| match (sent_names(request), status) {
        (7.., Some(status)) => json(status, "<html>too much</html>"),
        (7.., None) => network(HttpErrorKind::Timeout),
        _ => composite(request, |name| (200, describe_of(name))),
    });
    let described = bench.client.describe_group(&names(25)).await;
    assert!(described.iter().all(|(_, describe)| describe.is_ok()));
    // 25, then 12 + 13, then 6 + 6 and 6 + 7, and the 7 as 3 + 4.
    assert_eq!(bench.count("/composite"), 9);
    assert!(crate::clock::Clock::elapsed(&*bench.clock) > Duration::ZERO, "an org in trouble is given time");
}

#[tokio::test]
async fn an_object_that_breaks_the_whole_answer_ends_alone() {
    let bench = Bench::new(|request| {
        if body_text(request).contains("Thing_11__c") {
            return json(200, r#"{"compositeResponse":[{"body":{"name": nonsense"#);
        }
        composite(request, |name| (200, describe_of(name)))
    });
    let described = bench.client.describe_group(&names(25)).await;
    let failed: Vec<_> = described.iter().filter(|(_, describe)| describe.is_err()).collect();
    assert_eq!(failed.len(), 1);
    assert_eq!(failed[0].0.as_str(), "Thing_11__c");
}

fn page(rows: &[Value], next: Option<&str>) -> Result<HttpResponse, HttpError> {
    let page = value!({"totalSize": 4_000, "done": next.is_none(), "nextRecordsUrl": next, "records": rows});
    json(200, &page.to_string())
}

fn count_row(count: usize) -> Vec<Value> {
    let row = value!({"attributes": {"type": "WorkflowRule"}, "Name": "Remind", "TableEnumOrId": "Case"});
    vec![row; count]
}

#[tokio::test]
async fn a_query_follows_its_cursor_to_the_end() {
    let bench = Bench::new(|request| {
        if request.url.ends_with("/services/data/v62.0/tooling/query/01g-2000") {
            page(&count_row(3), None)
        } else {
            page(&count_row(2_000), Some("/services/data/v62.0/tooling/query/01g-2000"))
        }
    });
    let rows = families::read_workflow_rules(&bench.client).await.unwrap();
    assert_eq!(rows.len(), 2_003);
    assert_eq!(bench.gate.outcomes(), ["auth ok", "tooling ok", "tooling ok"]);
}

#[rstest]
#[case::another_host("https://evil.example/services/data/x")]
#[case::host_by_path("//evil.example/services/data/x")]
#[case::glued_host(".evil.example/services/data/")]
#[case::user_info("@evil.example/services/data/")]
#[tokio::test]
async fn a_cursor_never_carries_the_token_away(#[case] cursor: &'static str) {
    let bench = Bench::new(move |_| page(&count_row(1), Some(cursor)));
    let error = families::read_workflow_rules(&bench.client).await.unwrap_err();
    assert!(error.source.to_string().contains("leads away"), "{}", error.source);
    assert_eq!(bench.count("query"), 1);
}

#[tokio::test]
async fn a_row_that_does_not_fit_is_named_by_position_and_not_repeated() {
    let bench = Bench::new(|_| {
        let mut rows = count_row(5);
        rows[3] = value!({"Name": ["Ada Example"], "TableEnumOrId": "Case"});
        page(&rows, None)
    });
    let error = families::read_workflow_rules(&bench.client).await.unwrap_err();
    let failure: crate::model::FamilyFailure = error.into();
    assert_eq!(failure.family, Family::WorkflowRules);
    assert!(failure.reason.contains("row 4 of a query of `WorkflowRule`"), "{}", failure.reason);
    assert!(!failure.reason.contains("Ada"), "{}", failure.reason);
}

#[tokio::test]
async fn a_query_too_long_for_an_address_makes_no_call() {
    let bench = Bench::new(|_| panic!("nothing is sent"));
    let error = families::read_field_permissions(&bench.client, &names(1_462)).await.unwrap_err();
    assert!(matches!(error.source, OrgError::TooLong { .. }), "{}", error.source);
    assert_eq!(bench.log().len(), 0);
}

#[tokio::test]
async fn every_group_of_field_permissions_fits_an_address() {
    let bench = Bench::new(|request| {
        assert!(request.url.len() <= soql::URI_BYTES_MAX - 2_048, "{} bytes", request.url.len());
        page(&[], None)
    });
    let longest: Vec<ObjectName> =
        (0..500).map(|index| format!("{}{index:04}", "x".repeat(76)).parse().unwrap()).collect();
    let groups = field_permission_partitions(&longest);
    for group in &groups {
        read_field_permissions(&bench.client, group).await.unwrap();
    }
    assert_eq!(bench.count("FieldPermissions"), groups.len());
    assert_eq!(field_permission_partitions(&names(1_462)).len(), 25);
}

/// One answer for each family, as the org gives it.
fn family_answer(family: Family) -> Value {
    match family {
        Family::Flows => {
            value!({"DurableId": "300", "ApiName": "Route", "Label": "Route it", "Description": null,
            "ProcessType": "AutoLaunchedFlow", "TriggerType": "RecordAfterSave", "RecordTriggerType": "Create",
            "TriggerObjectOrEvent": {"attributes": {}, "QualifiedApiName": "Lead"}, "IsActive": true})
        }
        Family::Triggers => value!({"Id": "01q", "Name": "OnInvoice", "TableEnumOrId": "01I5g0000000001",
            "EntityDefinition": {"QualifiedApiName": "Invoice__c"}, "Status": "Active", "ApiVersion": 62.0,
            "NamespacePrefix": null, "UsageBeforeInsert": true, "UsageAfterInsert": false,
            "UsageBeforeUpdate": false, "UsageAfterUpdate": true, "UsageBeforeDelete": false,
            "UsageAfterDelete": false, "UsageAfterUndelete": false, "Body": "trigger OnInvoice on Invoice__c {}"}),
        Family::ValidationRules => value!({"Id": "03d", "ValidationName": "Needs_Reason", "Active": true,
            "Description": null, "ErrorMessage": "Say why.", "ErrorDisplayField": null,
            "EntityDefinition": {"QualifiedApiName": "Opportunity"}}),
        Family::WorkflowRules | Family::Layouts => {
            value!({"Id": "01Q", "Name": "Remind", "TableEnumOrId": "01I5g0000000001"})
        }
        Family::RecordTypes => value!({"Id": "012", "Name": "Partner", "DeveloperName": "Partner",
            "SobjectType": "Account", "IsActive": true, "Description": "sold by others"}),
        Family::PermissionSets => value!({"Id": "0PS5g00000000001AA", "Name": "X00ex", "Label": "X00ex",
            "IsOwnedByProfile": true, "Profile": {"Name": "System Administrator"}}),
        Family::ObjectPermissions => value!({"ParentId": "0PS5g00000000001AA", "SobjectType": "Lead",
            "PermissionsRead": true, "PermissionsCreate": true, "PermissionsEdit": false,
            "PermissionsDelete": false, "PermissionsViewAllRecords": false, "PermissionsModifyAllRecords": false}),
        Family::FieldPermissions => value!({"ParentId": "0PS5g00000000001AA", "SobjectType": "Lead",
            "Field": "Lead.Industry", "PermissionsRead": true, "PermissionsEdit": false}),
        Family::RecordCounts => value!({"count": 50_213, "name": "Lead"}),
    }
}

#[rstest]
#[case(
    Family::Flows,
    "/query?q=SELECT%20DurableId%2CApiName",
    "TriggerObjectOrEvent.QualifiedApiName%2CIsActive%20FROM%20FlowDefinitionView%20WHERE%20IsActive%20%3D%20true"
)]
#[case(Family::Triggers, "/tooling/query?q=", "UsageAfterUndelete%2CBody%20FROM%20ApexTrigger")]
#[case(
    Family::ValidationRules,
    "/tooling/query?q=",
    "EntityDefinition.QualifiedApiName%20FROM%20ValidationRule"
)]
#[case(Family::WorkflowRules, "/tooling/query?q=", "FROM%20WorkflowRule")]
#[case(Family::RecordTypes, "/query?q=", "FROM%20RecordType")]
#[case(Family::Layouts, "/tooling/query?q=", "FROM%20Layout")]
#[case(Family::PermissionSets, "/query?q=", "Profile.Name%20FROM%20PermissionSet")]
#[case(Family::ObjectPermissions, "/query?q=", "FROM%20ObjectPermissions")]
#[case(
    Family::FieldPermissions,
    "/query?q=",
    "FROM%20FieldPermissions%20WHERE%20SobjectType%20IN%20%28%27Lead%27%29"
)]
#[case(Family::RecordCounts, "/limits/recordCount", "")]
#[tokio::test]
async fn each_family_asks_the_right_interface_and_reads_its_rows(
    #[case] family: Family,
    #[case] path: &str,
    #[case] query_end: &str,
) {
    let bench = Bench::new(move |_| match family {
        Family::RecordCounts => json(200, &value!({"sObjects": [family_answer(family)]}).to_string()),
        _ => page(&[family_answer(family)], None),
    });
    let objects = ["Lead".parse().unwrap()];
    let rows = read_family(&bench.client, family, &objects).await.unwrap();
    assert_eq!((rows.family(), rows.len()), (family, 1));
    let asked = bench.log().pop().unwrap();
    assert!(asked.starts_with(&format!("/services/data/v62.0{path}")), "{asked}");
    assert!(asked.ends_with(query_end), "{asked}");
    match rows {
        FamilyRows::Triggers(rows) => {
            assert_eq!(rows[0].object.as_str(), "Invoice__c", "not the id of a custom object");
            assert_eq!(
                rows[0].events.iter().map(|event| event.as_str()).collect::<Vec<_>>(),
                ["before insert", "after update"]
            );
        }
        FamilyRows::FieldPermissions(rows) => assert_eq!(rows[0].field, "Industry"),
        FamilyRows::PermissionSets(rows) => {
            assert_eq!(rows[0].profile.as_deref(), Some("System Administrator"));
        }
        FamilyRows::Flows(rows) => assert_eq!(rows[0].object.as_ref().unwrap().as_str(), "Lead"),
        FamilyRows::RecordCounts(rows) => assert_eq!(rows[0].count, 50_213),
        _ => {}
    }
}

#[tokio::test]
async fn a_jwt_login_is_signed_by_the_key_and_soon_expires() {
    let credentials = Credentials::JwtBearer {
        client_id: "app".to_owned(),
        username: "ops@acme.example".to_owned(),
        audience: None,
        private_key_pem: include_str!("testdata/signing-key.pem").into(),
    };
    let bench = Bench::with(credentials, u64::MAX, |request| {
        if !request.url.ends_with("/token") {
            return json(200, LIMITS);
        }
        let form = body_text(request);
        assert!(form.starts_with("grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer&"));
        let assertion = form.rsplit('=').next().unwrap();
        let key = include_bytes!("testdata/signing-key.pub.pem");
        let key = jsonwebtoken::DecodingKey::from_rsa_pem(key).unwrap();
        let mut rules = jsonwebtoken::Validation::new(jsonwebtoken::Algorithm::RS256);
        rules.set_audience(&["https://login.salesforce.com"]);
        rules.validate_exp = false;
        let claims = jsonwebtoken::decode::<Value>(assertion, &key, &rules).unwrap().claims;
        assert_eq!((&claims["iss"], &claims["sub"]), (&value!("app"), &value!("ops@acme.example")));
        assert_eq!(claims["exp"], value!(1_800_000_180));
        json(200, &value!({"access_token": "token", "instance_url": LOGIN_URL}).to_string())
    });
    bench.client.limits().await.unwrap();
}

#[test]
fn settings_that_cannot_work_are_refused_before_any_call() {
    let build = |login_url: &str, credentials| {
        let http = Arc::new(HttpClient::new(&HttpSettings::default()).unwrap());
        let clock = Arc::new(JumpingClock::default());
        let jitter = Arc::new(SeededJitter::new(1));
        let settings = settings(login_url, credentials);
        OrgClient::new(settings, http, Arc::new(OpenGate), clock, jitter)
    };
    for bad in ["", "acme.my.salesforce.com", "ftp://acme", "https://acme/path", "https://user:pw@acme"] {
        assert!(matches!(build(bad, client_credentials()), Err(OrgError::Settings(_))), "{bad}");
    }
    let jwt = Credentials::JwtBearer {
        client_id: "app".to_owned(),
        username: "ops".to_owned(),
        audience: None,
        private_key_pem: "not a key: hush".into(),
    };
    let error = build(LOGIN_URL, jwt).unwrap_err();
    assert!(!format!("{error} {error:?}").contains("hush"), "{error:?}");
}

#[tokio::test]
async fn a_token_is_not_sent_unencrypted_by_an_org_that_was_reached_by_tls() {
    let bench = Bench::with_logins(|_| {
        json(200, r#"{"access_token":"token","instance_url":"http://acme.my.salesforce.com"}"#)
    });
    let error = bench.client.limits().await.unwrap_err();
    assert!(error.to_string().contains("unencrypted"), "{error}");
    assert_eq!(bench.log().len(), 1);
}
