use super::*;
use crate::catalog::build_with_report;
use rstest::rstest;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

fn imported(name: &str) -> (OrgModel, SfdxReport) {
    let (org, mut reports) = build_with_report(7, &[fixture(name)]).unwrap();
    (org, reports.remove(0))
}

fn field<'a>(org: &'a OrgModel, object: &str, name: &str) -> &'a Field {
    org.object(object).unwrap().fields.iter().find(|field| field.name == name).unwrap()
}

#[test]
fn a_source_project_is_imported_whole() {
    let (org, report) = imported("source");
    let counts = (report.objects, report.fields, report.validation_rules, report.record_types);
    assert_eq!(counts, (1, 4, 1, 1));
    assert_eq!((report.triggers, report.flows, report.permission_sets), (1, 1, 1));
    let hull = field(&org, "Boat__c", "Hull__c");
    assert_eq!(hull.help.as_deref(), Some("What the boat is built of."));
    assert_eq!(hull.picklist, [("Wood".into(), "Wooden".into()), ("Steel".into(), "Steel".into())]);
    assert!(hull.restricted_picklist && hull.custom && hull.permissionable);
    assert_eq!(field(&org, "Boat__c", "Flag__c").picklist[1].1, "Portugal");
    let berths = field(&org, "Account", "Berth_Count__c");
    assert_eq!((berths.field_type.as_str(), berths.precision, berths.nillable), ("double", 4, false));
    for companion in ["Boat__History", "Boat__Share", "Boat__ChangeEvent"] {
        assert!(org.object(companion).is_some(), "no `{companion}`");
    }
    assert!(org.object("Boat__Feed").is_none());
    assert!(
        org.object("Boat__c").unwrap().key_prefix.as_deref().is_some_and(|prefix| prefix.starts_with('a'))
    );
    let account = org.object("Account").unwrap();
    assert!(
        account.children.iter().any(|child| child.object == "Boat__c" && child.field == "Owner_Account__c")
    );
}

#[test]
fn a_broken_file_is_named_and_costs_only_itself() {
    let (_, report) = imported("source");
    assert_eq!(report.warnings.len(), 1, "{:?}", report.warnings);
    assert!(report.warnings[0].contains("Broken__c.field-meta.xml"));
}

#[test]
fn a_metadata_api_project_is_imported_whole() {
    let (org, report) = imported("mdapi");
    let counts = (report.objects, report.fields, report.validation_rules, report.record_types);
    assert_eq!(counts, (1, 4, 1, 1));
    assert_eq!((report.triggers, report.flows, report.permission_sets), (1, 1, 1));
    let mooring = org.object("Mooring__c").unwrap();
    assert!(!mooring.fields.iter().any(|field| field.name == "OwnerId"), "a detail has no owner");
    assert!(
        mooring
            .fields
            .iter()
            .any(|field| field.name == "Name" && field.auto_number && field.label == "Mooring Number")
    );
    assert_eq!(field(&org, "Mooring__c", "Kind__c").picklist.len(), 2);
    assert_eq!(field(&org, "Mooring__c", "Harbour__c").master_detail, Some(0));
    let process = org.flows.iter().find(|flow| flow.api_name == "Old_Process").unwrap();
    assert_eq!((process.object.as_deref(), process.is_active), (Some("Mooring__c"), false));
    let rule = org.validation_rules.iter().find(|rule| rule.name == "Deep_Enough").unwrap();
    assert_eq!((rule.formula.as_str(), rule.active), ("Depth__c < 1", false));
    for said in ["Hologram", "Nothing.trigger", "pkg__Thing__c"] {
        assert!(
            report.warnings.iter().any(|warning| warning.contains(said)),
            "{said} not in {:?}",
            report.warnings
        );
    }
    assert_eq!(report.warnings.len(), 3, "{:?}", report.warnings);
}

#[test]
fn grants_of_a_project_keep_their_set_and_ids_stay_unique() {
    let (org, _) = imported("source");
    let set = org.permission_sets.iter().position(|set| set.name == "Harbour_Master").unwrap();
    let grants: Vec<_> = org.field_permissions.iter().filter(|grant| grant.set == set).collect();
    assert_eq!(grants.len(), 1);
    assert_eq!(
        (grants[0].object.as_str(), grants[0].field.as_str(), grants[0].edit),
        ("Boat__c", "Hull__c", true)
    );
    let ids: std::collections::HashSet<_> = org.permission_sets.iter().map(|set| &set.id).collect();
    assert_eq!(ids.len(), org.permission_sets.len());
    let admin = org.permission_sets.iter().position(|set| set.label == "System Administrator").unwrap();
    assert!(org.object_permissions.iter().any(|grant| grant.set == admin && grant.object == "Lease__c"));
    assert!(
        org.object_permissions
            .iter()
            .any(|grant| grant.set == admin && grant.object == "Boat__c" && grant.edit)
    );
}

#[test]
fn two_projects_can_be_added_and_other_objects_keep_their_prefix() {
    let plain = catalog::build(7, &[]).unwrap();
    let both = catalog::build(7, &[fixture("source"), fixture("mdapi")]).unwrap();
    assert_eq!(both.objects.len(), plain.objects.len() + 4 + 3);
    assert_eq!(both.object("Lead").unwrap().key_prefix, plain.object("Lead").unwrap().key_prefix);
}

#[test]
fn a_missing_folder_is_an_error_that_names_it() {
    let error = catalog::build(7, &[PathBuf::from("no/such/folder")]).unwrap_err();
    assert_eq!(error.to_string(), "import the project `no/such/folder`");
}

#[rstest]
#[case("trigger A on Lead (before insert) {}", "Lead", &["BeforeInsert"])]
#[case("TRIGGER a ON x__c(after\nundelete , BEFORE Update){", "x__c", &["AfterUndelete", "BeforeUpdate"])]
#[case("/* a (b) */ trigger A // c\n on B (after insert /* now */)", "B", &["AfterInsert"])]
fn a_trigger_header_gives_object_and_events(
    #[case] body: &str,
    #[case] object: &str,
    #[case] events: &[&str],
) {
    let (found, run_on) = automation::trigger_header(body).unwrap();
    assert_eq!(
        (found.as_str(), run_on.iter().map(String::as_str).collect::<Vec<_>>()),
        (object, events.to_vec())
    );
}

#[rstest]
#[case("")]
#[case("public class A { void on(Lead l) {} }")]
#[case("trigger A on Lead")]
fn what_is_no_trigger_has_no_header(#[case] body: &str) {
    assert_eq!(automation::trigger_header(body), None);
}

#[rstest]
#[case("Boat__c", true)]
#[case("pkg__Boat__c", true)]
#[case("%%%NAMESPACE%%%Boat__c", false)]
#[case("___NAMESPACE___Boat__c", false)]
#[case("", false)]
fn templates_are_no_api_names(#[case] name: &str, #[case] valid: bool) {
    assert_eq!(fields::is_api_name(name), valid);
}
