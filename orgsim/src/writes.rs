//! Requests that change something, recognised before they are carried out.
//!
//! A fault that answers in place of the org must leave nothing behind: a 503 to an insert means no row, a 503 to a
//! refresh no spent token. So rules for such faults are asked first. A cut connection is another matter: there
//! the work is done and only the answer lost.

use crate::{
    answer::{Answer, Note},
    faults::{Fault, FaultRule, Subject},
    site::Site,
};

/// A request that changes something, as far as method and path tell.
#[derive(Debug, PartialEq, Eq)]
struct Write {
    kind: &'static str,
    /// `None`: only the answer will tell.
    objects: Option<Vec<String>>,
}

/// What has been decided about a request before it is carried out.
pub struct Early {
    write: Option<Write>,
    faults: Vec<Fault>,
    part: bool,
}

/// Asks the rules that need no answer to decide. `part`: of a composite or a batch.
pub fn strike_early(site: &Site, method: &str, path: &str, body: &[u8], part: bool) -> Early {
    let write = recognised(method, path, body);
    let mut early = Early { faults: Vec::new(), part, write };
    if let Some(write) = &early.write {
        let none = Vec::new();
        let objects = write.objects.as_ref().unwrap_or(&none);
        let subject = early.subject(write.kind, method, path, objects);
        early.faults = site.faults.strike(&subject, |rule| write.decides(rule));
    }
    early
}

impl Early {
    /// The org's answer, unless a fault answers in its place.
    pub fn answer(&self, org: impl FnOnce() -> Answer) -> Answer {
        match &self.write {
            Some(write) if !self.faults.is_empty() => {
                let objects = write.objects.clone().unwrap_or_default();
                let note = Note { kind: write.kind, objects, ..Note::default() };
                Answer { note, ..Answer::not_found(write.kind) }
            }
            _ => org(),
        }
    }

    /// All faults of the request, now that its answer is there.
    pub fn with_late(self, site: &Site, method: &str, path: &str, answer: &Answer) -> Vec<Fault> {
        let subject = self.subject(answer.note.kind, method, path, &answer.note.objects);
        let left = |rule: &FaultRule| !self.write.as_ref().is_some_and(|write| write.decides(rule));
        let late = site.faults.strike(&subject, left);
        self.faults.into_iter().chain(late).collect()
    }

    fn subject<'a>(
        &self,
        kind: &'a str,
        method: &'a str,
        path: &'a str,
        objects: &'a [String],
    ) -> Subject<'a> {
        let whole = matches!(kind, "composite" | "composite_batch");
        Subject { kind, method, path, objects, alone: !self.part && !whole, part: self.part }
    }
}

impl Write {
    /// Whether a rule can be asked about it before the answer is there.
    fn decides(&self, rule: &FaultRule) -> bool {
        rule.fault.replaces_the_answer() && (rule.object.is_none() || self.objects.is_some())
    }
}

fn recognised(method: &str, path: &str, body: &[u8]) -> Option<Write> {
    if matches!(method, "GET" | "HEAD") {
        return None;
    }
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    let write = |kind, objects| Some(Write { kind, objects });
    match parts.as_slice() {
        ["services", "oauth2", "token"] => write("token", Some(Vec::new())),
        ["services", "data", _, rest @ ..] => match (method, rest) {
            (_, ["sobjects", object, ..]) => write("dml", Some(vec![(*object).to_owned()])),
            // With a name and ids it reads.
            ("POST", ["composite", "sobjects", _]) => None,
            (_, ["composite", "sobjects"]) => write("collection_dml", None),
            (_, ["composite", "sobjects", object, ..]) => {
                write("collection_dml", Some(vec![(*object).to_owned()]))
            }
            (_, ["composite", "graph"]) => write("composite_graph", None),
            ("POST", ["composite"]) if names_a_write(body) => write("composite", None),
            ("POST", ["composite", "batch"]) if names_a_write(body) => write("composite_batch", None),
            ("POST", ["jobs", "query"]) => write("bulk_create", None),
            _ => None,
        },
        _ => None,
    }
}

/// Whether a composite's body has a method that writes. One too many found costs nothing: only the moment at which
/// rules are asked depends on it.
fn names_a_write(body: &[u8]) -> bool {
    let methods: [&[u8]; 4] = [b"\"POST\"", b"\"PATCH\"", b"\"PUT\"", b"\"DELETE\""];
    methods.iter().any(|method| body.windows(method.len()).any(|text| text.eq_ignore_ascii_case(method)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("POST", "/services/oauth2/token", Some("token"))]
    #[case("POST", "/services/data/v62.0/sobjects/Lead/", Some("dml"))]
    #[case("PATCH", "/services/data/v62.0/sobjects/Lead/Ext__c/7", Some("dml"))]
    #[case("GET", "/services/data/v62.0/sobjects/Lead/00Q", None)]
    #[case("POST", "/services/data/v62.0/composite/sobjects/Lead", None)]
    #[case("POST", "/services/data/v62.0/composite/sobjects", Some("collection_dml"))]
    #[case("PATCH", "/services/data/v62.0/composite/sobjects/Lead/Ext__c", Some("collection_dml"))]
    #[case("POST", "/services/data/v62.0/composite", None)]
    #[case("POST", "/services/data/v62.0/composite/graph", Some("composite_graph"))]
    #[case("POST", "/services/data/v62.0/jobs/query", Some("bulk_create"))]
    #[case("GET", "/services/data/v62.0/query", None)]
    fn a_write_is_known_by_method_and_path(
        #[case] method: &str,
        #[case] path: &str,
        #[case] kind: Option<&str>,
    ) {
        let body = br#"{"compositeRequest":[{"method":"GET"}]}"#;
        assert_eq!(recognised(method, path, body).map(|write| write.kind), kind);
    }

    #[test]
    fn a_composite_writes_when_one_of_its_parts_does() {
        let body = br#"{"compositeRequest":[{"method":"GET"},{"method":"delete"}]}"#;
        let write = recognised("POST", "/services/data/v62.0/composite", body);
        assert_eq!(write, Some(Write { kind: "composite", objects: None }));
    }
}
