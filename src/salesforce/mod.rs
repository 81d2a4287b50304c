//! The org's edge: everything that is said to Salesforce and heard from it.
//!
//! Promises: no actors, no clock of its own, no randomness of its own, no call without a permit from the
//! [`Gate`], no secret in an address, an error or a print. Network, time, jitter and permits come in
//! through traits, so that every path is testable without an org.

pub mod auth;
pub mod bulk;
mod call;
pub mod client;
pub mod collection_writes;
pub mod collections;
pub mod composite_rows;
mod count;
pub mod describe;
pub mod error;
pub mod families;
#[cfg(any(test, fuzzing))]
pub mod fuzz_checks;
pub mod gate;
pub mod handover;
pub mod ingest;
pub mod ingest_steps;
pub mod lead_columns;
pub mod lead_query;
pub mod leads;
pub mod query;
pub mod replication;
pub mod retry;
pub mod rows;
pub mod soql;
pub mod statement;
mod stream;
pub mod transport;
pub mod wide;

#[cfg(test)]
mod classification_tests;
#[cfg(test)]
mod decision_tests;
#[cfg(test)]
mod test_support;
#[cfg(test)]
mod wire_tests;

pub use auth::Credentials;
pub use bulk::{
    BulkCheckpoint, BulkError, BulkJob, BulkJobKind, BulkOptions, BulkQuery, CleanedJobs, PageDone,
    PageReader, ReadError,
};
pub use client::{OrgClient, OrgLimit, OrgSettings, VersionEntry};
pub use collection_writes::{CollectionWrite, RECORDS_PER_CALL, RecordWritten};
pub use collections::{RecordTaker, RetrieveError, Retrieved};
pub use composite_rows::{FirstPage, ManyTaker, QUERIES_PER_CALL, RowQuery};
pub use describe::DESCRIBES_PER_CALL;
pub use error::OrgError;
pub use families::{
    FamilyError, FamilyRows, field_permission_partitions, read_family, read_field_permissions,
};
pub use gate::{Api, CallAsk, CallReport, Gate, GateError, OpenGate, Permit};
pub use handover::{HandoverError, RowReader, RowTaker};
pub use ingest::{IngestCell, IngestCsv, IngestJob, IngestOperation, IngestOutcome, IngestResults, Upload};
pub use ingest_steps::JobStanding;
pub use lead_columns::{BulkColumns, LeadColumns, LeadColumnsError};
pub use leads::{IDS_PER_LOOKUP, ParentCache, ReadLead};
pub use query::{CursorCheckpoint, Page, Pages, QueryError, RowPage, RowPages, Surface};
pub use replication::{Deleted, DeletedRecord, Fresh, Updated};
pub use retry::{Jitter, RetryPolicy, SeededJitter};
pub use soql::{FieldPath, Select, Soql, Source};
pub use transport::{
    Http, HttpClient, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpSettings, Method,
};
pub use wide::{Reading, WideOptions, WidePage, WideRows, choose_reading};
