//! Words of business that stand for each other, so that a question need not use the schema's own.
//!
//! General English, nothing of any one org. Only questions are widened; documents keep their words.

/// Groups of words of one meaning; a word may be in several.
const GROUPS: &[&[&str]] = &[
    &["account", "customer", "client", "buyer"],
    &["absence", "vacation", "holiday", "leave"],
    &["address", "location", "place"],
    &["agree", "approve", "approval", "approver"],
    &["amount", "money", "sum"],
    &["answer", "response", "respond", "reply"],
    &["appointment", "meeting", "event"],
    &["article", "item", "goods", "product"],
    &["bill", "invoice"],
    &["birthday", "birthdate", "birth"],
    &["broken", "defect", "faulty", "damaged"],
    &["cancel", "cancellation", "terminate", "termination", "quit"],
    &["car", "vehicle", "truck"],
    &["case", "ticket", "issue"],
    &["cause", "reason", "why"],
    &["certificate", "certification", "licence", "license"],
    &["competitor", "rival", "competition"],
    &["complaint", "grievance"],
    &["contract", "agreement"],
    &["cost", "expense", "spend", "spent"],
    &["course", "training", "class"],
    &["credit", "debt", "owe"],
    &["date", "day", "when"],
    &["deadline", "due"],
    &["deal", "opportunity"],
    &["delivery", "shipment", "shipping", "parcel", "dispatch"],
    &["depot", "warehouse", "storage"],
    &["discount", "rebate", "reduction", "cut"],
    &["duration", "term", "long"],
    &["email", "mail"],
    &["employee", "staff", "worker"],
    &["equipment", "machine", "device"],
    &["expire", "expiration", "expiry", "lapse", "valid"],
    &["factory", "plant"],
    &["hire", "hired", "join", "joined"],
    &["industry", "sector"],
    &["inspection", "check", "inspect"],
    &["lead", "prospect"],
    &["maintenance", "service", "serviced", "repair"],
    &["manager", "boss", "supervisor"],
    &["offer", "quote", "proposal"],
    &["origin", "source", "channel"],
    &["paid", "payment", "pay", "settled"],
    &["phone", "telephone"],
    &["price", "cost", "fee"],
    &["priority", "urgent", "urgency"],
    &["project", "venture", "undertaking"],
    &["purchase", "order", "buy"],
    &["quantity", "number", "many"],
    &["refund", "reimburse", "reimbursement"],
    &["region", "territory", "area"],
    &["reject", "rejected", "refuse", "refused", "rejection"],
    &["renew", "renewal", "extend"],
    &["revenue", "turnover", "sales"],
    &["salary", "wage", "pay"],
    &["satisfaction", "satisfied", "survey"],
    &["severity", "serious"],
    &["signed", "sign", "login", "logged"],
    &["stage", "status", "state", "phase"],
    &["stock", "inventory", "hand"],
    &["subscription", "recurring", "plan"],
    &["supplier", "vendor"],
    &["technician", "engineer", "mechanic"],
    &["warranty", "guarantee"],
    &["waste", "scrap"],
];

/// Words that may stand for `words`, in the groups' order, each once, without those asked already.
pub(super) fn widen(words: &[String]) -> Vec<&'static str> {
    let asked = |word: &&str| words.iter().any(|asked| same(asked, word));
    let mut found: Vec<&'static str> = Vec::new();
    for group in GROUPS.iter().filter(|group| group.iter().any(&asked)) {
        for word in group.iter().copied().filter(|word| !asked(word)) {
            if !found.contains(&word) {
                found.push(word);
            }
        }
    }
    found
}

/// Equal but for a plural.
fn same(asked: &str, word: &str) -> bool {
    let stem = asked.strip_suffix("es").filter(|stem| *stem == word);
    asked == word || asked.strip_suffix('s') == Some(word) || stem.is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_brings_its_neighbours_and_not_itself() {
        let words = ["bills".to_owned(), "unpaid".to_owned()];
        assert_eq!(widen(&words), ["invoice"]);
        assert!(widen(&["xyzzy".to_owned()]).is_empty());
    }
}
