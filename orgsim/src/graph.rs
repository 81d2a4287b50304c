//! `/composite/graph`: several composites of record operations, each of which succeeds or fails as a whole.

use crate::{
    answer::{Answer, Note},
    body::Body,
    composite::{self, Subrequest},
    dml::resources::transaction,
    json,
    rest::Request,
    site::Site,
};
use serde::Deserialize;
use std::collections::{HashMap, HashSet};

const KIND: &str = "composite_graph";
const MOST_GRAPHS: usize = 75;
const MOST_NODES: usize = 500;
/// Longest chain of references.
const DEEPEST: usize = 15;
/// Distinct kinds of node: a method and an object.
const MOST_KINDS: usize = 15;
/// After so many failed graphs the rest is not tried.
const MOST_FAILED: usize = 14;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct GraphBody {
    graphs: Vec<Graph>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Graph {
    graph_id: String,
    composite_request: Vec<Subrequest>,
}

/// Answers `POST /composite/graph`.
pub fn answer(site: &Site, request: &Request) -> Answer {
    let body: GraphBody = match serde_json::from_slice(&request.body) {
        Ok(body) => body,
        Err(error) => return composite::parse_error(KIND, &error),
    };
    if let Err(message) = check(&body.graphs) {
        return Answer::error(KIND, 400, "INVALID_INPUT", &message);
    }
    let nodes: usize = body.graphs.iter().map(|graph| graph.composite_request.len()).sum();
    let mut note = Note { kind: KIND, subrequests: nodes as u64, ..Note::default() };
    let mut out = Body::from(br#"{"graphs":["#.to_vec());
    let mut failed = 0;
    for (at, graph) in body.graphs.into_iter().enumerate() {
        let answers = if failed >= MOST_FAILED {
            let message = format!("Not tried: {MOST_FAILED} graphs of this request have failed");
            let halted = |sub: Subrequest| {
                (sub.reference_id, Answer::error("other", 400, "PROCESSING_HALTED", &message))
            };
            graph.composite_request.into_iter().map(halted).collect()
        } else {
            transaction(site, request.gated, || {
                let answers = composite::in_order(site, request, graph.composite_request, true, &mut note);
                let keep = !answers.iter().any(|(_, answer)| answer.is_error());
                (answers, keep)
            })
        };
        let successful = !answers.iter().any(|(_, answer)| answer.is_error());
        failed += usize::from(!successful);
        let mut head = if at > 0 { b",{".to_vec() } else { b"{".to_vec() };
        json::field(&mut head, "graphId", &graph.graph_id);
        head.extend_from_slice(br#","graphResponse":{"compositeResponse":"#);
        out.push(head);
        composite::append_answers(&mut out, answers);
        out.push(format!("}},\"isSuccessful\":{successful}}}").into_bytes());
    }
    out.push(b"]}".to_vec());
    Answer { note, ..Answer::ok(KIND, out) }
}

/// The limits that hold before anything is tried.
fn check(graphs: &[Graph]) -> Result<(), String> {
    let nodes: usize = graphs.iter().map(|graph| graph.composite_request.len()).sum();
    if graphs.len() > MOST_GRAPHS {
        return Err(format!("The payload can't have more than {MOST_GRAPHS} graphs"));
    }
    if nodes > MOST_NODES {
        return Err(format!("The payload can't have more than {MOST_NODES} nodes"));
    }
    let mut ids = HashSet::new();
    for graph in graphs {
        let id = &graph.graph_id;
        if !ids.insert(id) {
            return Err(format!("The graph id '{id}' is used more than once"));
        }
        if let Some(twice) = composite::used_twice(&graph.composite_request) {
            return Err(format!("The reference id '{twice}' is used more than once in graph '{id}'"));
        }
        let mut kinds = HashSet::new();
        for sub in &graph.composite_request {
            let Some(object) = object_of(&sub.url) else {
                let url = &sub.url;
                return Err(format!("Graph '{id}' may hold sObject rows only, not {url}"));
            };
            kinds.insert((sub.method.to_ascii_uppercase(), object.to_ascii_lowercase()));
        }
        if kinds.len() > MOST_KINDS {
            return Err(format!("Graph '{id}' has more than {MOST_KINDS} different kinds of node"));
        }
        if depth(&graph.composite_request) > DEEPEST {
            return Err(format!("Graph '{id}' is deeper than {DEEPEST}"));
        }
    }
    Ok(())
}

/// The object of `/services/data/vVV.V/sobjects/X[/..]`; describes are no rows.
fn object_of(url: &str) -> Option<&str> {
    let path = url.split('?').next()?.strip_prefix("/services/data/v")?;
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    match parts.as_slice() {
        [_, "sobjects", _, "describe" | "updated" | "deleted"] => None,
        [_, "sobjects", object] | [_, "sobjects", object, _] | [_, "sobjects", object, _, _] => Some(object),
        _ => None,
    }
}

/// Nodes on the longest chain of references.
fn depth(subrequests: &[Subrequest]) -> usize {
    let mut depths: HashMap<&str, usize> = HashMap::new();
    for sub in subrequests {
        let text = format!("{}{}", sub.url, sub.body.as_ref().map(ToString::to_string).unwrap_or_default());
        let above = text
            .split("@{")
            .skip(1)
            .filter_map(|rest| rest.split(['.', '[', '}']).next())
            .filter_map(|reference| depths.get(reference).copied())
            .max();
        depths.insert(&sub.reference_id, above.unwrap_or(0) + 1);
    }
    depths.into_values().max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;
    use serde_json::{Value, json};

    fn node(reference: usize, object: &str, refers_to: Option<usize>) -> Value {
        let url = format!("/services/data/v62.0/sobjects/{object}");
        let body = refers_to.map_or(json!({}), |to| json!({ "ParentId": format!("@{{r{to}.id}}") }));
        json!({ "method": "POST", "url": url, "referenceId": format!("r{reference}"), "body": body })
    }

    fn graphs(list: Vec<Vec<Value>>) -> Vec<Graph> {
        let one =
            |(at, nodes)| json!({ "graphId": format!("g{at}"), "compositeRequest": Value::Array(nodes) });
        serde_json::from_value(list.into_iter().enumerate().map(one).collect()).unwrap()
    }

    fn chain(length: usize) -> Vec<Value> {
        (0..length).map(|at| node(at, "Account", at.checked_sub(1))).collect()
    }

    #[rstest]
    #[case(vec![vec![node(0, "Lead", None)]; 75], None)]
    #[case(vec![vec![node(0, "Lead", None)]; 76], Some("75 graphs"))]
    #[case(vec![(0..251).map(|at| node(at, "Lead", None)).collect::<Vec<_>>(); 2], Some("500 nodes"))]
    #[case(vec![chain(15)], None)]
    #[case(vec![chain(16)], Some("deeper than 15"))]
    #[case(vec![(0..16).map(|at| node(at, &format!("X{at}"), None)).collect()], Some("15 different kinds"))]
    #[case(vec![vec![node(0, "Lead/describe", None)]], Some("sObject rows only"))]
    #[case(vec![vec![node(0, "Lead", None), node(0, "Lead", None)]], Some("more than once"))]
    fn the_documented_limits_hold(#[case] list: Vec<Vec<Value>>, #[case] says: Option<&str>) {
        let refusal = check(&graphs(list)).err();
        match says {
            None => assert_eq!(refusal, None),
            Some(says) => assert!(refusal.as_deref().is_some_and(|text| text.contains(says)), "{refusal:?}"),
        }
    }
}
