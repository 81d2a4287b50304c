//! What a push asks of the org.

use std::time::Duration;

use crate::clock::BoxFuture;
use crate::model::{ObjectDescribe, ObjectName};
use crate::salesforce::{
    BulkError, CollectionWrite, IngestJob, IngestOperation, IngestResults, JobStanding, OrgClient, OrgError,
    PageReader, ReadError, RecordWritten, Upload,
};

/// The org, as far as a push needs it; [`OrgClient`] is one.
pub trait PushOrg: Send + Sync {
    /// The object's fields.
    fn fields<'a>(&'a self, object: &'a ObjectName) -> BoxFuture<'a, Result<ObjectDescribe, OrgError>>;
    /// See [`OrgClient::ingest_make`].
    fn make<'a>(
        &'a self,
        object: &'a ObjectName,
        operation: &'a IngestOperation,
    ) -> BoxFuture<'a, Result<IngestJob, BulkError>>;
    /// See [`OrgClient::ingest_send`].
    fn send<'a>(&'a self, job: &'a mut IngestJob, upload: Upload) -> BoxFuture<'a, Result<(), BulkError>>;
    /// See [`OrgClient::ingest_standing`].
    fn standing<'a>(&'a self, job: &'a IngestJob) -> BoxFuture<'a, Result<JobStanding, OrgError>>;
    /// Waits for a job's end, well or not.
    fn wait<'a>(&'a self, job: &'a IngestJob, patience: Duration) -> BoxFuture<'a, Result<(), BulkError>>;
    /// See [`OrgClient::ingest_results`].
    fn results<'a>(
        &'a self,
        job: &'a IngestJob,
        which: IngestResults,
        reader: &'a mut dyn PageReader,
    ) -> BoxFuture<'a, Result<u64, ReadError>>;
    /// See [`OrgClient::delete_ingest`].
    fn delete<'a>(&'a self, job: &'a IngestJob) -> BoxFuture<'a, Result<(), OrgError>>;
    /// See [`OrgClient::ingest_abandon`].
    fn abandon<'a>(&'a self, job: &'a IngestJob) -> BoxFuture<'a, ()>;
    /// See [`OrgClient::write_records`].
    fn write_records<'a>(
        &'a self,
        object: &'a ObjectName,
        write: &'a CollectionWrite,
        records: &'a [String],
    ) -> BoxFuture<'a, Result<Vec<RecordWritten>, OrgError>>;
    /// See [`OrgClient::delete_records`].
    fn delete_records<'a>(
        &'a self,
        object: &'a ObjectName,
        ids: &'a [String],
    ) -> BoxFuture<'a, Result<Vec<RecordWritten>, OrgError>>;
}

impl PushOrg for OrgClient {
    fn fields<'a>(&'a self, object: &'a ObjectName) -> BoxFuture<'a, Result<ObjectDescribe, OrgError>> {
        Box::pin(async move {
            let what = || format!("the describe of `{object}`");
            let nothing =
                || OrgError::Unreadable { what: what(), reason: "it is missing".to_owned(), cut_off: false };
            let described = self.describe_group(std::slice::from_ref(object)).await;
            described.into_iter().next().map_or_else(|| Err(nothing()), |(_, describe)| describe)
        })
    }

    fn make<'a>(
        &'a self,
        object: &'a ObjectName,
        operation: &'a IngestOperation,
    ) -> BoxFuture<'a, Result<IngestJob, BulkError>> {
        Box::pin(self.ingest_make(object, operation))
    }

    fn send<'a>(&'a self, job: &'a mut IngestJob, upload: Upload) -> BoxFuture<'a, Result<(), BulkError>> {
        Box::pin(self.ingest_send(job, upload))
    }

    fn standing<'a>(&'a self, job: &'a IngestJob) -> BoxFuture<'a, Result<JobStanding, OrgError>> {
        Box::pin(self.ingest_standing(job))
    }

    fn wait<'a>(&'a self, job: &'a IngestJob, patience: Duration) -> BoxFuture<'a, Result<(), BulkError>> {
        Box::pin(async move {
            match self.ingest_outcome(job, patience).await {
                // Its lists say what became of each row.
                Ok(_)
                | Err(BulkError::Failed { .. } | BulkError::Aborted { .. } | BulkError::Gone { .. }) => {
                    Ok(())
                }
                Err(error) => Err(error),
            }
        })
    }

    fn results<'a>(
        &'a self,
        job: &'a IngestJob,
        which: IngestResults,
        reader: &'a mut dyn PageReader,
    ) -> BoxFuture<'a, Result<u64, ReadError>> {
        Box::pin(self.ingest_results(job, which, reader))
    }

    fn delete<'a>(&'a self, job: &'a IngestJob) -> BoxFuture<'a, Result<(), OrgError>> {
        Box::pin(self.delete_ingest(job))
    }

    fn abandon<'a>(&'a self, job: &'a IngestJob) -> BoxFuture<'a, ()> {
        Box::pin(self.ingest_abandon(job))
    }

    fn write_records<'a>(
        &'a self,
        object: &'a ObjectName,
        write: &'a CollectionWrite,
        records: &'a [String],
    ) -> BoxFuture<'a, Result<Vec<RecordWritten>, OrgError>> {
        Box::pin(OrgClient::write_records(self, object, write, records))
    }

    fn delete_records<'a>(
        &'a self,
        object: &'a ObjectName,
        ids: &'a [String],
    ) -> BoxFuture<'a, Result<Vec<RecordWritten>, OrgError>> {
        Box::pin(OrgClient::delete_records(self, object, ids))
    }
}
