//! What the standard objects are for, in the words that people use.
//!
//! A describe carries no description, and the labels of standard objects are Salesforce's own jargon: who
//! asks for a deal, a customer or a support ticket means Opportunity, Account or Case. Custom objects are
//! named in their people's words and need no entry.

/// `(API name, everyday words, what it holds)`, sorted by name.
const ENTRIES: &[(&str, &str, &str)] = &[
    ("Account", "customer, client, company", "companies and people that business is done with"),
    ("AccountContactRelation", "person's role at a company", "which people belong to which companies"),
    ("AccountTeamMember", "account team", "colleagues who work together on a customer"),
    ("ApexClass", "code", "Apex source code"),
    ("ApexTrigger", "code", "Apex code that runs when records change"),
    ("Approval", "sign-off", "decisions on requests"),
    ("Asset", "installed product, equipment owned", "products that a customer has bought and uses"),
    ("AssignedResource", "technician assigned", "who is sent to an appointment"),
    ("Attachment", "attached file", "files attached to records, the old way"),
    ("BusinessHours", "opening hours, working time", "when support is at work"),
    ("Campaign", "marketing action, promotion", "marketing efforts with their costs and results"),
    (
        "CampaignMember",
        "marketing recipient, invitee",
        "people reached by a marketing effort and how they responded",
    ),
    (
        "Case",
        "support ticket, customer issue, service request",
        "problems and questions that customers report",
    ),
    ("CaseComment", "ticket comment, reply", "remarks on a support ticket"),
    ("Contact", "person, people", "people at companies"),
    ("ContentDocument", "file, document", "uploaded files"),
    ("ContentDocumentLink", "file link", "where files are shared"),
    ("ContentVersion", "file version", "versions of uploaded files"),
    ("Contract", "agreement", "agreements with customers"),
    ("ContractLineItem", "service contract item", "products that a service contract covers"),
    ("CronTrigger", "scheduled job", "when scheduled jobs run"),
    ("Dashboard", "chart page", "pages of charts"),
    ("EmailMessage", "e-mail, mail sent or received", "e-mails, often belonging to a support ticket"),
    ("EmailTemplate", "mail template", "prepared texts for e-mails"),
    ("Entitlement", "support claim, service level", "support that a customer may ask for"),
    ("Event", "meeting, appointment, calendar entry", "meetings in the calendar"),
    ("Group", "queue, public group", "groups and queues of users"),
    ("Holiday", "day off, public holiday", "days on which support is closed"),
    ("Individual", "data privacy, data subject", "privacy wishes of a person"),
    ("Knowledge__kav", "help article, knowledge base", "articles that answer questions"),
    ("Lead", "prospect, potential customer, enquiry", "people who might become customers"),
    ("LiveChatTranscript", "chat conversation", "chats with customers"),
    ("LoginHistory", "sign-in log, logon", "who signed in, when and from where"),
    ("Note", "remark", "short notes on records"),
    ("Opportunity", "deal, sale, potential business", "deals that may be won or lost"),
    ("OpportunityCompetitor", "rival in a deal", "competitors in a deal"),
    ("OpportunityContactRole", "person's role in a deal", "who plays which part in a deal"),
    ("OpportunityLineItem", "product in a deal", "products and prices within a deal"),
    ("OpportunityTeamMember", "deal team", "colleagues who work together on a deal"),
    ("Order", "purchase by a customer, sales order", "what customers have ordered"),
    ("OrderItem", "ordered product", "products within an order"),
    ("Organization", "own company, org settings", "the company that runs this org"),
    ("PermissionSet", "access rights", "rights that are given to users"),
    ("Pricebook2", "price list", "lists of prices"),
    ("PricebookEntry", "product price", "the price of a product in a price list"),
    ("ProcessInstance", "approval request", "records on their way through an approval"),
    ("Product2", "goods, article, item for sale", "what the company sells"),
    ("Profile", "access rights of a user", "basic rights of users"),
    ("Quote", "offer, proposal", "offers with prices for a deal"),
    ("QuoteLineItem", "offered product", "products within an offer"),
    ("RecordType", "kind of record", "kinds of records of an object"),
    ("Report", "analysis", "reports over records"),
    ("ResourceAbsence", "technician away, time off", "when a technician is not available"),
    ("ReturnOrder", "goods sent back, return", "products that customers give back"),
    ("ServiceAppointment", "visit, field service appointment", "visits to customers"),
    ("ServiceContract", "maintenance agreement", "agreements on support and maintenance"),
    ("ServiceResource", "technician, field worker", "people and crews who do field work"),
    ("ServiceTerritory", "service region", "regions in which field work is done"),
    ("SetupAuditTrail", "configuration log, admin changes", "who changed the setup, and when"),
    ("Task", "to-do, activity, logged call", "things to do and calls made"),
    ("Territory2", "sales region", "regions among which sales are split"),
    ("User", "employee with a login, colleague", "people who sign in to this org"),
    ("UserRole", "place in the hierarchy", "the hierarchy of users"),
    ("WorkOrder", "job, repair order", "work to be done for a customer"),
    ("WorkType", "kind of work", "templates for work"),
];

/// Everyday words for a standard object, such as "deal, sale, potential business".
pub(super) fn everyday_words(object: &str) -> Option<&'static str> {
    entry(object).map(|entry| entry.1)
}

/// What a standard object holds, such as "deals that may be won or lost".
pub(super) fn purpose(object: &str) -> Option<&'static str> {
    entry(object).map(|entry| entry.2)
}

fn entry(object: &str) -> Option<&'static (&'static str, &'static str, &'static str)> {
    ENTRIES.binary_search_by_key(&object, |entry| entry.0).ok().map(|at| &ENTRIES[at])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_sorted_so_that_they_can_be_found() {
        assert!(ENTRIES.is_sorted_by_key(|entry| entry.0));
        assert_eq!(purpose("Opportunity"), Some("deals that may be won or lost"));
        assert_eq!(everyday_words("Invoice__c"), None);
    }
}
