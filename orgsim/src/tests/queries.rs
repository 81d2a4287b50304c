use super::client::{Sim, query_url};
use rstest::rstest;
use serde_json::json;

#[rstest]
#[case("SELECT COUNT() FROM Account", 5_000)]
#[case("select count() from LEAD where status = 'open'", 150)]
#[case("SELECT COUNT() FROM Lead WHERE Email = null", 75)]
#[case("SELECT COUNT() FROM Lead WHERE Email != 'LEAD1@example.com'", 299)]
#[case("SELECT COUNT() FROM Lead WHERE Email LIKE 'lead1_@%'", 8)]
#[case("SELECT COUNT() FROM Lead WHERE Tags__c INCLUDES ('a;b', 'zzz')", 100)]
#[case("SELECT COUNT() FROM Lead WHERE Tags__c EXCLUDES ('b')", 100)]
#[case("SELECT COUNT() FROM Lead WHERE ConvertedDate = 2026-01-01", 11)]
#[case("SELECT COUNT() FROM Lead WHERE CreatedDate < 2026-01-01T02:00:00+01:00", 1)]
#[case(
    "SELECT COUNT() FROM Lead WHERE CreatedDate >= 2026-01-01T00:00:00.000+00:00 AND CreatedDate < 2026-01-02T00:00:00Z",
    24
)]
#[case("SELECT COUNT() FROM Lead WHERE Owner.Name = 'user 00001'", 60)]
#[case("SELECT COUNT() FROM Lead WHERE ConvertedAccount.Owner.Name IN ('User 00000')", 30)]
#[case("SELECT COUNT() FROM Lead WHERE (Status = 'Open' OR Email = null) AND NOT Name LIKE '%0'", 120)]
#[case("SELECT COUNT() FROM Account WHERE AnnualRevenue > 52489.5", 0)]
#[case("SELECT COUNT() FROM Account WHERE AnnualRevenue >= 52489.5", 1)]
#[case("SELECT COUNT() FROM Account WHERE Id IN (SELECT ConvertedAccountId FROM Lead)", 150)]
#[case("SELECT COUNT() FROM Account WHERE Id NOT IN (SELECT ConvertedAccountId FROM Lead)", 4_850)]
#[case(
    "SELECT COUNT() FROM Account WHERE CreatedDate > TODAY AND Industry NOT IN ('Energy','Retail','Media')",
    0
)]
#[case("SELECT COUNT() FROM Account LIMIT 7", 7)]
#[tokio::test]
async fn a_filter_picks_the_rows_it_says(#[case] soql: &str, #[case] rows: u64) {
    let reply = Sim::start().await.query(soql).await;
    assert_eq!(reply.json(), json!({ "totalSize": rows, "done": true, "records": [] }));
}

#[tokio::test]
async fn records_nest_their_parents_and_write_moments_the_rest_way() {
    let sim = Sim::start().await;
    let reply = sim.query("SELECT id, createddate, Owner.Name, convertedaccount.owner.name, ConvertedAccount.Id FROM Lead l WHERE l.Name IN ('Lead 00002', 'Lead 00003')").await;
    let records = reply.json()["records"].clone();
    assert_eq!(records[0]["CreatedDate"], "2026-01-01T02:00:00.000+0000");
    assert_eq!(records[0]["attributes"]["type"], "Lead");
    let id = records[0]["Id"].as_str().unwrap();
    assert_eq!(records[0]["attributes"]["url"], format!("/services/data/v62.0/sobjects/Lead/{id}"));
    assert_eq!(records[0]["Owner"]["Name"], "User 00002");
    assert_eq!(records[0]["ConvertedAccount"]["Owner"]["attributes"]["type"], "User");
    assert_eq!(records[0]["ConvertedAccount"]["Owner"]["Name"], "User 00002");
    assert_eq!(records[1]["ConvertedAccount"], json!(null));
}

#[tokio::test]
async fn a_cursor_walks_every_row_once_in_pages_of_the_size_asked_for() {
    let sim = Sim::start().await;
    for (header, pages) in [
        ("", 3),
        ("Sforce-Query-Options: batchSize=500\r\n", 10),
        ("Sforce-Query-Options: batchSize=1\r\n", 25),
    ] {
        let mut url = query_url("/services/data/v62.0/query", "SELECT Id FROM Account ORDER BY Name DESC");
        let (mut seen, mut count) = (Vec::new(), 0);
        loop {
            let page = sim.get_with(&url, header).await.json();
            assert_eq!(page["totalSize"], 5_000);
            seen.extend(page["records"].as_array().unwrap().iter().map(|record| record["Id"].to_string()));
            count += 1;
            match page["nextRecordsUrl"].as_str() {
                Some(next) => url = next.to_owned(),
                None => break assert_eq!(page["done"], true),
            }
        }
        assert_eq!(count, pages);
        assert!(seen.is_sorted_by(|a, b| a > b), "each row once, in descending order");
        assert_eq!(seen.len(), 5_000);
    }
    let reply = sim.get("/services/data/v62.0/query/0r8xxNothing-2000").await;
    assert_eq!((reply.status, reply.error_code()), (400, "INVALID_QUERY_LOCATOR".to_owned()));
}

#[tokio::test]
async fn two_long_custom_texts_shorten_the_page() {
    let page = Sim::start().await.query("SELECT Id, Notes__c, More__c FROM Account").await.json();
    assert_eq!(page["records"].as_array().unwrap().len(), 200);
}

#[tokio::test]
async fn nulls_come_first_unless_told_otherwise() {
    let sim = Sim::start().await;
    let first =
        sim.query("SELECT AnnualRevenue FROM Account ORDER BY AnnualRevenue DESC, Id LIMIT 1").await.json();
    assert_eq!(first["records"][0]["AnnualRevenue"], json!(null));
    let first =
        sim.query("SELECT AnnualRevenue FROM Account ORDER BY AnnualRevenue DESC NULLS LAST LIMIT 1").await;
    assert!(String::from_utf8(first.body).unwrap().contains("\"AnnualRevenue\":52489.5"));
    let offset = sim.query("SELECT Name FROM Account LIMIT 2 OFFSET 3").await.json();
    assert_eq!(offset["records"][0]["Name"], "Account 00003");
    assert_eq!(offset["totalSize"], 2);
}

#[tokio::test]
async fn aggregates_are_named_grouped_and_filtered() {
    let sim = Sim::start().await;
    let one = sim.query("SELECT COUNT(Id), COUNT(AnnualRevenue) filled, MAX(AnnualRevenue), AVG(AnnualRevenue) FROM Account").await.json();
    let record = &one["records"][0];
    assert_eq!(record["attributes"], json!({ "type": "AggregateResult" }));
    assert_eq!(
        (&record["expr0"], &record["filled"], &record["expr1"]),
        (&json!(5_000), &json!(4_500), &json!(52_489.5))
    );
    let open = sim.query("SELECT COUNT(Id), COUNT(Email) FROM Lead WHERE Status = 'Open'").await.json();
    assert_eq!((&open["records"][0]["expr0"], &open["records"][0]["expr1"]), (&json!(150), &json!(75)));
    let none =
        sim.query("SELECT COUNT(Id), SUM(AnnualRevenue) FROM Account WHERE Name = 'none'").await.json();
    assert_eq!((&none["records"][0]["expr0"], &none["records"][0]["expr1"]), (&json!(0), &json!(null)));
    let groups = sim.query("SELECT Industry i, COUNT(Id) n FROM Account WHERE Active__c = true GROUP BY Industry HAVING COUNT(Id) > 833 ORDER BY Industry DESC").await.json();
    let rows: Vec<_> =
        groups["records"].as_array().unwrap().iter().map(|r| (r["i"].clone(), r["n"].clone())).collect();
    assert_eq!(rows, [(json!("Energy"), json!(834))]);
    let many = sim.query("SELECT Name, COUNT(Id) FROM Account GROUP BY Name").await;
    assert!(
        many.json()[0]["message"]
            .as_str()
            .unwrap()
            .starts_with("Aggregate query does not support queryMore()")
    );
    let ungrouped = sim.query("SELECT Name, COUNT(Id) FROM Account").await;
    assert_eq!(ungrouped.error_code(), "MALFORMED_QUERY");
}

#[rstest]
#[case(
    "SELECT Id, Foo FROM Lead",
    "INVALID_FIELD",
    "\nSELECT Id, Foo FROM Lead\n           ^\nERROR at Row:1:Column:12\nNo such column 'Foo' on entity 'Lead'. If you are attempting to use a custom field"
)]
#[case("SELECT Id FROM Xyz", "INVALID_TYPE", "sObject type 'Xyz' is not supported.")]
#[case("SELECT Id FROM Lead WHERE", "MALFORMED_QUERY", "unexpected token: '<EOF>'")]
#[case(
    "SELECT Id FROM Lead WHERE CreatedDate > '2026-01-01T00:00:00Z'",
    "INVALID_FIELD",
    "must be of type dateTime and should not be enclosed in quotes"
)]
#[case("SELECT Id FROM Account WHERE Notes__c = 'x'", "INVALID_FIELD", "can not be filtered in a query call")]
#[case("SELECT Id FROM Lead WHERE Boss.Name = 'x'", "INVALID_FIELD", "Didn't understand relationship 'Boss'")]
#[case("SELECT Id FROM Lead WHERE Email IN (SELECT Name FROM Account)", "MALFORMED_QUERY", "Semi join")]
#[case(
    "SELECT FIELDS(ALL) FROM Lead",
    "MALFORMED_QUERY",
    "The SOQL FIELDS function must have a LIMIT of at most 200"
)]
#[case("SELECT Id FROM ValidationRule", "INVALID_TYPE", "sObject type 'ValidationRule' is not supported.")]
#[case("SELECT Id FROM Flow", "INVALID_TYPE", "sObject type 'Flow' is not supported.")]
#[case(
    "SELECT Label FROM FieldDefinition WHERE EntityDefinitionId = '01I5g000000AAAAAAA'",
    "EXCEEDED_ID_LIMIT",
    "does not support queryMore()"
)]
#[tokio::test]
async fn a_refusal_has_the_documented_shape_and_words(
    #[case] soql: &str,
    #[case] code: &str,
    #[case] says: &str,
) {
    let reply = Sim::start().await.query(soql).await;
    assert_eq!(reply.status, 400);
    assert_eq!(reply.error_code(), code);
    let message = reply.json()[0]["message"].as_str().unwrap().to_owned();
    assert!(message.contains(says), "{message}");
}

#[tokio::test]
async fn metadata_tables_join_their_entities_and_keep_their_quirks() {
    let sim = Sim::start().await;
    let triggers = sim.tooling("SELECT Name, TableEnumOrId, EntityDefinition.QualifiedApiName, UsageBeforeInsert, LengthWithoutComments FROM ApexTrigger ORDER BY Name").await.json();
    assert_eq!(triggers["entityTypeName"], "ApexTrigger");
    assert_eq!(triggers["size"], 2);
    assert_eq!(triggers["records"][0]["TableEnumOrId"], "Account");
    assert_eq!(triggers["records"][1]["TableEnumOrId"], "01I5g000000AAAAAAA");
    assert_eq!(triggers["records"][1]["EntityDefinition"]["QualifiedApiName"], "Invoice__c");
    assert_eq!(triggers["records"][0]["LengthWithoutComments"], 11);
    let flows = sim.query("SELECT DurableId, ApiName, TriggerObjectOrEvent.QualifiedApiName FROM FlowDefinitionView WHERE IsActive = true").await.json();
    assert_eq!(flows["records"][0]["TriggerObjectOrEvent"]["QualifiedApiName"], "Lead");
    let flow_on_tooling = sim.tooling("SELECT ApiName FROM FlowDefinitionView").await;
    assert_eq!(flow_on_tooling.error_code(), "INVALID_TYPE");
    let sets = sim.query("SELECT Name, Profile.Name FROM PermissionSet ORDER BY Name").await.json();
    assert_eq!(sets["records"][0]["Profile"], json!(null));
    assert_eq!(sets["records"][1]["Profile"]["Name"], "Admin");
    let fields = sim
        .query("SELECT Field, Parent.Profile.Name FROM FieldPermissions WHERE Parent.IsOwnedByProfile = true")
        .await
        .json();
    assert_eq!(fields["totalSize"], 2_250);
    assert_eq!(fields["records"][0]["Field"], "Account.F1__c");
    assert_eq!(fields["records"][0]["Parent"]["Profile"]["Name"], "Admin");
    let definitions = sim.query("SELECT QualifiedApiName, DataType FROM FieldDefinition WHERE EntityDefinition.QualifiedApiName = 'Lead' AND QualifiedApiName = 'OwnerId'").await.json();
    assert_eq!(definitions["records"][0]["DataType"], "Lookup(User)");
}

#[tokio::test]
async fn a_rule_formula_costs_one_query_per_rule() {
    let sim = Sim::start().await;
    let both = sim.tooling("SELECT Id, Metadata FROM ValidationRule").await;
    assert_eq!(both.error_code(), "MALFORMED_QUERY");
    let one = sim
        .tooling("SELECT FullName, Metadata FROM ValidationRule WHERE ValidationName = 'Two'")
        .await
        .json();
    assert_eq!(one["records"][0]["Metadata"]["errorConditionFormula"], "Two > 1");
    assert_eq!(one["records"][0]["FullName"], "Invoice__c.Two");
}

#[tokio::test]
async fn columns_true_describes_the_columns() {
    let sim = Sim::start().await;
    let url = query_url("/services/data/v62.0/query", "SELECT Id, Owner.Name FROM Lead") + "&columns=true";
    let reply = sim.get(&url).await.json();
    assert_eq!(reply["entityName"], "Lead");
    assert_eq!(reply["columnMetadata"][1]["joinColumns"][0]["columnName"], "Name");
}
