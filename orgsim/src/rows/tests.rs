use super::*;
use crate::catalog;
use proptest::prelude::*;
use rstest::rstest;
use std::sync::LazyLock;

static ORG: LazyLock<OrgModel> = LazyLock::new(|| catalog::build(7, &[]).unwrap());
static ROWS: LazyLock<SeededRows> = LazyLock::new(|| SeededRows::new(7, &ORG));

static FILLED: LazyLock<Vec<&SObject>> =
    LazyLock::new(|| ORG.objects.iter().filter(|object| object.record_count > 0).collect());

fn value(object: &str, index: u64, field: &str) -> Value {
    let object = ORG.object(object).unwrap();
    let field = object.fields.iter().find(|known| known.name == field).unwrap();
    ROWS.value(object, index, field)
}

fn text(object: &str, index: u64, field: &str) -> String {
    match value(object, index, field) {
        Value::Text(text) => text,
        other => panic!("{object}.{field} is {other:?}"),
    }
}

proptest! {
    #[test]
    fn an_index_comes_back_from_its_id(at in 0..FILLED.len(), index in 0..1_000_000_u64) {
        let object = FILLED[at];
        let index = index % object.record_count;
        let Value::Text(id) = ROWS.value(object, index, &object.fields.iter().find(|field| field.name == "Id").unwrap().clone()) else {
            return Err(TestCaseError::fail("no id"));
        };
        prop_assert_eq!(ROWS.index_of(object, &id), Some(index));
        prop_assert_eq!(ROWS.index_of(object, &id[..15]), Some(index));
    }

    #[test]
    fn every_value_fits_its_field(at in 0..FILLED.len(), index in 0..1_000_000_u64) {
        let object = FILLED[at];
        let index = index % object.record_count;
        for field in &object.fields {
            let value = ROWS.value(object, index, field);
            prop_assert_eq!(&value, &ROWS.value(object, index, field));
            let name = format!("{}.{}", object.name, field.name);
            match (&value, field.field_type.as_str()) {
                (Value::Null, "boolean") => prop_assert!(false, "{name} is null"),
                (Value::Null, _) => {}
                (Value::Text(id), "reference") => {
                    let found = field.reference_to.iter().filter_map(|target| ORG.object(target)).any(|target| ROWS.index_of(target, id).is_some());
                    prop_assert!(found, "{} holds `{}`, which no target has", name, id);
                }
                (Value::Text(chosen), "picklist") => prop_assert!(field.picklist.iter().any(|(known, _)| known == chosen), "{name}"),
                (Value::Text(text), _) => {
                    let limit = if field.length == 0 { 255 } else { field.length as usize };
                    prop_assert!(text.chars().count() <= limit, "{name}");
                }
                (Value::Bool(_), kind) => prop_assert_eq!(kind, "boolean"),
                (Value::Int(_), kind) => prop_assert!(matches!(kind, "int" | "long")),
                (Value::Double(number), kind) => {
                    prop_assert!(matches!(kind, "double" | "currency" | "percent"));
                    prop_assert!(number.is_finite());
                }
                (Value::Date(day), kind) => prop_assert!(kind == "date" && day.parse::<jiff::civil::Date>().is_ok(), "{name}"),
                (Value::DateTime(_), kind) => prop_assert_eq!(kind, "datetime"),
            }
        }
    }
}

#[test]
fn ids_ascend_with_the_index() {
    let ids: Vec<String> = (0..2_000).map(|index| text("Lead", index, "Id")).collect();
    assert!(ids.is_sorted());
    assert!(ids.iter().all(|id| id.len() == 18 && id.starts_with("00Q")));
}

#[test]
fn no_row_lies_outside_the_object() {
    let lead = ORG.object("Lead").unwrap();
    let last = text("Lead", lead.record_count - 1, "Id");
    assert_eq!(ROWS.index_of(lead, &last), Some(50_212));
    assert_eq!(ROWS.index_of(lead, &text("Account", 0, "Id")), None);
    assert_eq!(ROWS.index_of(lead, "00Q5g0zzzzzzzzz"), None);
    assert_eq!(ROWS.index_of(lead, "nonsense"), None);
}

#[test]
fn a_record_is_created_before_it_is_changed() {
    for index in 0..5_000 {
        let (Value::DateTime(created), Value::DateTime(changed)) =
            (value("Lead", index, "CreatedDate"), value("Lead", index, "SystemModstamp"))
        else {
            panic!("a lead without dates");
        };
        assert!(created <= changed);
    }
}

#[test]
fn optional_fields_are_sometimes_empty_and_required_ones_never() {
    let empty = |field: &str| (0..1_000).filter(|&index| value("Lead", index, field) == Value::Null).count();
    assert_eq!(empty("Company"), 0);
    assert_eq!(empty("LastName"), 0);
    assert!((1..200).contains(&empty("Email")), "{}", empty("Email"));
    assert!(empty("ConvertedAccountId") > 900);
}

#[test]
fn what_depends_on_the_status_follows_it() {
    let mut converted = 0;
    for index in 0..1_000 {
        let is_converted = value("Lead", index, "IsConverted") == Value::Bool(true);
        assert_eq!(is_converted, text("Lead", index, "Status") == "Closed - Converted");
        assert!(is_converted || value("Lead", index, "ConvertedAccountId") == Value::Null);
        converted += u32::from(is_converted);
        let lost = text("Opportunity", index, "StageName") == "Closed Lost";
        assert!(lost || value("Opportunity", index, "Loss_Reason__c") == Value::Null);
    }
    assert!(converted > 10);
}

#[test]
fn record_types_are_those_of_the_object_and_numbers_have_its_prefix() {
    for index in 0..200 {
        let id = text("Lease__c", index, "RecordTypeId");
        let kind = ORG.record_types.iter().find(|kind| kind.id == id).unwrap();
        assert_eq!(kind.object, "Lease__c");
    }
    assert_eq!(text("Lease__c", 0, "Name"), "LSE-000001");
}

#[test]
fn the_seed_changes_the_rows() {
    let lead = ORG.object("Lead").unwrap();
    let other = SeededRows::new(8, &ORG);
    let name = lead.fields.iter().find(|field| field.name == "LastName").unwrap();
    assert!((0..50).any(|index| other.value(lead, index, name) != ROWS.value(lead, index, name)));
}

#[rstest]
#[case(0, "1970-01-01")]
#[case(19_782, "2024-02-29")]
#[case(20_454, "2026-01-01")]
fn days_become_dates(#[case] days: u64, #[case] date: &str) {
    let (year, month, day) = civil(days);
    assert_eq!(format!("{year:04}-{month:02}-{day:02}"), date);
}
