//! Records written by collections: 200 a call, answered at once, each record for itself.
//!
//! Promises: only writes that may be repeated go this way (upserts, updates, deletes), so that a call whose answer was lost
//! is made again; one record that is refused leaves the others as they are; results come in the order of the records.

use serde::Deserialize;

use super::client::{Call, OrgClient};
use super::error::OrgError;
use super::gate::Api;
use super::soql::percent_encode;
use super::transport::{Body, Method};
use crate::model::{FieldName, ObjectName};

/// Most records in one call.
pub const RECORDS_PER_CALL: usize = 200;

/// What happens to the records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CollectionWrite {
    /// Created, or updated where the external id is known.
    Upsert {
        /// By this field.
        external_id: FieldName,
    },
    /// Updated by `Id`.
    Update,
}

/// What became of one record.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct RecordWritten {
    /// Its id, where it has one.
    #[serde(default)]
    pub id: Option<String>,
    /// The org has taken it.
    pub success: bool,
    /// Of an upsert: the record is new.
    #[serde(default)]
    pub created: Option<bool>,
    /// Why not.
    #[serde(default)]
    pub errors: Vec<RecordFault>,
}

/// Why a record was refused.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RecordFault {
    /// `REQUIRED_FIELD_MISSING`, and so on.
    #[serde(default)]
    pub status_code: String,
    /// In words; it may hold values of the record.
    #[serde(default)]
    pub message: String,
}

impl std::fmt::Debug for RecordFault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Messages quote values.
        f.debug_struct("RecordFault").field("status_code", &self.status_code).finish_non_exhaustive()
    }
}

impl OrgClient {
    /// Writes records, each the inside of a JSON object (`"LastName":"Z","Score__c":1`), at most [`RECORDS_PER_CALL`]. 1 call.
    ///
    /// # Errors
    /// Those of the call; some records may be written then.
    pub async fn write_records(
        &self,
        object: &ObjectName,
        write: &CollectionWrite,
        records: &[String],
    ) -> Result<Vec<RecordWritten>, OrgError> {
        let path = match write {
            CollectionWrite::Upsert { external_id } => {
                self.data_path(&format!("/composite/sobjects/{object}/{external_id}"))
            }
            CollectionWrite::Update => self.data_path("/composite/sobjects"),
        };
        let what = format!("the write of {} records of `{object}`", records.len());
        let mut json = String::from(r#"{"allOrNone":false,"records":["#);
        for (at, record) in records.iter().enumerate() {
            let comma = if at == 0 { "" } else { "," };
            let inside = if record.is_empty() { "" } else { "," };
            json.push_str(&format!(r#"{comma}{{"attributes":{{"type":"{object}"}}{inside}{record}}}"#));
        }
        json.push_str("]}");
        let body = Body { content_type: "application/json", bytes: json.into_bytes() };
        let call = Call { method: Method::Patch, body: Some(body), ..Call::get(Api::Composite, path, what) };
        self.written(&call, records.len()).await
    }

    /// Deletes records by their ids, at most [`RECORDS_PER_CALL`]. 1 call.
    ///
    /// # Errors
    /// Those of the call; some records may be deleted then.
    pub async fn delete_records(
        &self,
        object: &ObjectName,
        ids: &[String],
    ) -> Result<Vec<RecordWritten>, OrgError> {
        let ids_of_call = percent_encode(&ids.join(","));
        let path = self.data_path(&format!("/composite/sobjects?ids={ids_of_call}&allOrNone=false"));
        let what = format!("the deletion of {} records of `{object}`", ids.len());
        let call = Call { method: Method::Delete, ..Call::get(Api::Composite, path, what) };
        self.written(&call, ids.len()).await
    }

    async fn written(&self, call: &Call, records: usize) -> Result<Vec<RecordWritten>, OrgError> {
        self.read_by(call, |body| {
            let written: Vec<RecordWritten> = serde_json::from_slice(body)
                .map_err(|error| OrgError::unreadable(call.what.as_str(), &error))?;
            if written.len() == records {
                return Ok(written);
            }
            let reason = format!("it answers {} of {records} records", written.len());
            Err(OrgError::Unreadable { what: call.what.clone(), reason, cut_off: false })
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::salesforce::HttpErrorKind;
    use crate::salesforce::test_support::*;

    const TWO: &str = r#"[{"id":"00Q1","success":true,"created":true,"errors":[]},
        {"success":false,"errors":[{"statusCode":"REQUIRED_FIELD_MISSING","message":"m","fields":["LastName"]}]}]"#;

    fn upsert() -> CollectionWrite {
        CollectionWrite::Upsert { external_id: "Ext__c".parse().unwrap() }
    }

    #[tokio::test]
    async fn records_are_written_each_for_itself_in_their_order() {
        let bench = Bench::new(|request| {
            assert_eq!(request.method, Method::Patch);
            assert!(request.url.ends_with("/composite/sobjects/Lead/Ext__c"), "{}", request.url);
            assert_eq!(
                body_text(request),
                r#"{"allOrNone":false,"records":[{"attributes":{"type":"Lead"},"Ext__c":"a"},{"attributes":{"type":"Lead"}}]}"#
            );
            json(200, TWO)
        });
        let records = [r#""Ext__c":"a""#.to_owned(), String::new()];
        let written =
            bench.client.write_records(&"Lead".parse().unwrap(), &upsert(), &records).await.unwrap();
        assert_eq!((written[0].id.as_deref(), written[0].created), (Some("00Q1"), Some(true)));
        assert_eq!(
            (written[1].success, written[1].errors[0].status_code.as_str()),
            (false, "REQUIRED_FIELD_MISSING")
        );
    }

    #[tokio::test]
    async fn a_write_whose_answer_was_lost_is_made_again() {
        let asked = AtomicUsize::new(0);
        let bench = Bench::new(move |_| match asked.fetch_add(1, Ordering::SeqCst) {
            0 => network(HttpErrorKind::Timeout),
            _ => json(200, TWO),
        });
        let records = [String::new(), String::new()];
        let written =
            bench.client.write_records(&"Lead".parse().unwrap(), &CollectionWrite::Update, &records).await;
        assert_eq!(written.unwrap().len(), 2);
        assert_eq!(bench.count("/composite/sobjects"), 2);
    }

    #[tokio::test]
    async fn an_answer_of_another_length_is_an_error() {
        let bench = Bench::new(|_| json(200, TWO));
        let error =
            bench.client.delete_records(&"Lead".parse().unwrap(), &["00Q1".to_owned()]).await.unwrap_err();
        assert!(error.to_string().contains("2 of 1 records"), "{error}");
        assert_eq!(bench.count("ids=00Q1&allOrNone=false"), 1);
    }
}
