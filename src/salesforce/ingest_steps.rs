//! Bulk API 2.0 ingest step by step, for whoever keeps the job's id before its rows are sent.
//!
//! Promises: a job that was made and not closed has changed nothing at the org; after a crash the org itself says how far a
//! job has come, and that decides what is next. Nothing is sent into a job twice.

use super::bulk::{BulkError, JobState};
use super::client::{Call, OrgClient};
use super::error::OrgError;
use super::gate::Api;
use super::ingest::{IngestJob, IngestOperation, Upload};
use super::transport::{Body, Method};
use crate::model::ObjectName;

/// How far a job has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JobStanding {
    /// It takes rows, and has written none.
    Open,
    /// It is closed, and not at its end.
    Working,
    /// It ended well; single rows may have been refused.
    Complete,
    /// It broke off: some rows may be written.
    Failed {
        /// The org's own words, or that there were none.
        message: String,
    },
    /// It was aborted; of one that was closed before, some rows may be written.
    Aborted,
    /// The org knows it no more.
    Gone,
}

impl OrgClient {
    /// Makes a job that waits for its rows. 1 call.
    ///
    /// # Errors
    /// Those of the call; nothing has changed then.
    pub async fn ingest_make(
        &self,
        object: &ObjectName,
        operation: &IngestOperation,
    ) -> Result<IngestJob, BulkError> {
        let job_id = self.create_ingest(object, operation).await?;
        Ok(IngestJob { job_id, rows: 0 })
    }

    /// Uploads the rows of a job and closes it. 2 calls.
    ///
    /// # Errors
    /// Those of the calls. [`OrgClient::ingest_standing`] then says whether the job was closed: one that is still open has
    /// changed nothing, and is to be abandoned, for it may or may not have its rows.
    pub async fn ingest_send(&self, job: &mut IngestJob, upload: Upload) -> Result<(), BulkError> {
        let path = self.ingest_path(&job.job_id, "/batches");
        let body = Body { content_type: "text/csv", bytes: upload.csv };
        let what = format!("the upload to bulk job `{}`", job.job_id);
        let put = Call { method: Method::Put, body: Some(body), ..Call::get(Api::Bulk, path, what) };
        self.call_once(&Call { expected_long: true, ..put }).await?;
        job.rows = upload.rows;
        self.close_ingest(&job.job_id).await
    }

    /// How far a job has come. 1 call.
    ///
    /// # Errors
    /// Those of the call; a job that is gone is none.
    pub async fn ingest_standing(&self, job: &IngestJob) -> Result<JobStanding, OrgError> {
        match self.ingest_state(&job.job_id).await {
            Ok(found) => Ok(match found.state {
                JobState::Open => JobStanding::Open,
                JobState::UploadComplete | JobState::InProgress | JobState::Unknown => JobStanding::Working,
                JobState::JobComplete => JobStanding::Complete,
                JobState::Failed => JobStanding::Failed { message: found.why_failed() },
                JobState::Aborted => JobStanding::Aborted,
            }),
            Err(OrgError::Rejected { status: 404, .. }) => Ok(JobStanding::Gone),
            Err(error) => Err(error),
        }
    }

    /// Aborts a job and deletes it, as far as the org allows.
    pub async fn ingest_abandon(&self, job: &IngestJob) {
        self.abandon_job(&self.ingest_path(&job.job_id, ""), &job.job_id).await;
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::salesforce::test_support::*;
    use crate::salesforce::{HttpErrorKind, IngestCell, IngestCsv};

    const JOB: &str = "7505g00000AbCdEAAV";

    fn upload() -> Upload {
        let mut csv = IngestCsv::new(&["Id".parse().unwrap()], 1_000);
        csv.push(&[IngestCell::Text("1")]).unwrap();
        csv.finish().unwrap()
    }

    fn job() -> IngestJob {
        IngestJob { job_id: JOB.to_owned(), rows: 0 }
    }

    #[tokio::test]
    async fn a_job_is_made_without_rows_and_then_sent() {
        let bench = Bench::new(move |request| match request.method {
            Method::Put => json(201, ""),
            _ => json(200, &format!(r#"{{"id":"{JOB}","state":"UploadComplete"}}"#)),
        });
        let mut made =
            bench.client.ingest_make(&"Lead".parse().unwrap(), &IngestOperation::Insert).await.unwrap();
        assert_eq!(made, job());
        assert_eq!(bench.count("/batches"), 0);
        bench.client.ingest_send(&mut made, upload()).await.unwrap();
        assert_eq!(made.rows, 1);
        assert_eq!(bench.count("/batches"), 1);
    }

    #[tokio::test]
    async fn an_upload_whose_answer_was_lost_is_not_sent_again() {
        let bench = Bench::new(move |_| network(HttpErrorKind::Timeout));
        bench.client.ingest_send(&mut job(), upload()).await.unwrap_err();
        assert_eq!(bench.count("/batches"), 1);
        assert_eq!(bench.count(JOB), 1, "and the job is left for who knows it: {:?}", bench.log());
    }

    /// What it has not written can be told only while the org knows it.
    #[rstest]
    #[case::the_org_has_too_much_to_do(503)]
    #[case::the_org_refuses(400)]
    #[tokio::test]
    async fn a_job_that_could_not_be_closed_stays_to_be_asked(#[case] status: u16) {
        let bench = Bench::new(move |request| match request.method {
            Method::Put => json(201, ""),
            Method::Get => json(200, &format!(r#"{{"id":"{JOB}","state":"Open"}}"#)),
            Method::Patch if body_text(request).contains("UploadComplete") => {
                json(status, r#"[{"errorCode":"NOT_NOW","message":"no"}]"#)
            }
            other => panic!("{other:?}: the job is taken away"),
        });
        bench.client.ingest_send(&mut job(), upload()).await.unwrap_err();
        assert_eq!(bench.client.ingest_standing(&job()).await.unwrap(), JobStanding::Open);
    }

    #[rstest]
    #[case("Open", JobStanding::Open)]
    #[case("UploadComplete", JobStanding::Working)]
    #[case("InProgress", JobStanding::Working)]
    #[case("SomethingNew", JobStanding::Working)]
    #[case("JobComplete", JobStanding::Complete)]
    #[case("Failed", JobStanding::Failed { message: "the org says nothing more".to_owned() })]
    #[case("Aborted", JobStanding::Aborted)]
    #[tokio::test]
    async fn the_org_says_how_far_a_job_has_come(#[case] state: &'static str, #[case] expected: JobStanding) {
        let bench = Bench::new(move |_| json(200, &format!(r#"{{"id":"{JOB}","state":"{state}"}}"#)));
        assert_eq!(bench.client.ingest_standing(&job()).await.unwrap(), expected);
    }

    #[tokio::test]
    async fn a_job_that_the_org_does_not_know_is_gone() {
        let bench = Bench::new(move |_| json(404, r#"[{"errorCode":"NOT_FOUND","message":"no job"}]"#));
        assert_eq!(bench.client.ingest_standing(&job()).await.unwrap(), JobStanding::Gone);
    }
}
