//! What is served, that it is, and what is not any more.

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use serde_json::{Map, Value, json};

use super::Call;
use super::describe::all;
use super::envelope::{Refused, json_answer};

/// Addresses of older clients that are not served, and why.
pub(super) const REFUSED: [(&str, &str); 7] = [
    (
        "/debug-config",
        "it told anybody which secrets there are; `penstock config dump` shows the configuration on the machine itself",
    ),
    (
        "/test-salesforce-connection",
        "it called the org for anybody; `/readyz?verbose` of the `[http]` listener tells how each org is",
    ),
    (
        "/test-openai-connection",
        "it called the model for anybody; `/status` of the `[http]` listener tells how the model is",
    ),
    (
        "/test-openai-completion",
        "it sent any prompt to the model at the operator's cost; assess a lead with `GET /lead/{id}/confidence`",
    ),
    (
        "/lead/{id}/confidence/export",
        "it paid for the assessment a second time; send the answer of `GET /lead/{id}/confidence` to `POST /leads/export-single-lead-data`",
    ),
    (
        "/leads/analyze-query/export",
        "it paid for every assessment a second time; take `report.xlsx` of the job that `POST /leads/analyze-query` names",
    ),
    (
        "/ui",
        "there is no web page; `penstock leads FILE` shows progress in a terminal, and `GET /` lists the endpoints",
    ),
];

/// Answers one of [`REFUSED`].
pub(super) fn refused(path: &str) -> HttpResponse {
    let why = REFUSED.iter().find(|(refused, _)| *refused == path).map_or("", |(_, why)| *why);
    Refused::gone(format!("`{path}` is not served: {why}")).as_envelope()
}

/// Name, version and what there is.
pub(super) async fn index(_call: Call) -> Result<HttpResponse, Refused> {
    let endpoints: Map<String, Value> = all()
        .map(|operation| {
            (format!("{} {}", operation.method.to_uppercase(), operation.path), operation.summary.into())
        })
        .collect();
    let told = json!({ "name": "penstock", "version": env!("CARGO_PKG_VERSION"), "endpoints": endpoints });
    Ok(json_answer(StatusCode::OK, &told))
}

/// That requests are answered. Whether work is taken is told by `/readyz` of the other listener.
pub(super) async fn health(_call: Call) -> Result<HttpResponse, Refused> {
    let told = json!({ "status": "healthy", "service": "penstock", "version": env!("CARGO_PKG_VERSION") });
    Ok(json_answer(StatusCode::OK, &told))
}
