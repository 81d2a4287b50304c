use super::*;
#[test]
fn counts() {
    let org = build(7, &[]).unwrap();
    let c = org.objects.len();
    let cu = org.objects.iter().filter(|o| o.name.ends_with("__c")).count();
    eprintln!(
        "{c} {cu} op {} fp {} rules {}",
        org.object_permissions.len(),
        org.field_permissions.len(),
        org.validation_rules.len()
    );
    for s in ["Share", "History", "Feed", "ChangeEvent"] {
        eprintln!("{s} {}", org.objects.iter().filter(|o| o.name.ends_with(&format!("__{s}"))).count());
    }
}
