//! Makes the reports of a lead job, from its store and its sheet.

use std::path::PathBuf;
use std::sync::Arc;

use super::lead_job::{LeadJobError, LeadJobs};
use super::lead_reading::RETRIEVAL_NOTE;
use super::lead_terms::noted_left_out;
use crate::leads::PROMPT_VERSION;
use crate::leads::job::{LeadJobSpec, LeadSource, ReportFormat};
use crate::sheets::report::{ReportError, ReportHead, write_report};
use crate::sheets::{OpenOptions, Workbook};
use crate::store::lead_jobs::LeadJobStore;

/// Name of a report within its job's folder.
pub(super) fn report_name(format: ReportFormat) -> String {
    format!("report.{}", format.extension())
}

impl LeadJobs {
    /// Writes a report. It is whole, or it is not there.
    pub(super) async fn write_report(
        &self,
        store: LeadJobStore,
        spec: Arc<LeadJobSpec>,
        format: ReportFormat,
    ) -> Result<PathBuf, LeadJobError> {
        let folder = self.folder(&spec.job);
        let target = folder.join(report_name(format));
        let retrieval = store.noted(RETRIEVAL_NOTE).await?;
        let settings = self.parts.settings.for_org(&noted_left_out(&store).await?);
        let model = self.parts.asker.as_ref().filter(|_| spec.ask_model);
        let head = ReportHead {
            counts: store.counts().await?,
            model: model.map(|asker| asker.model().model.clone()),
            prompt_version: model.map(|_| PROMPT_VERSION.to_owned()),
            field_mapping: settings.fields,
            weights: settings.weights,
            // They would make the report of an interrupted job another one than that of an undisturbed job.
            org_calls: None,
            retrieval: retrieval
                .map(|text| text.split_once(": ").map_or(text.clone(), |(_, why)| why.to_owned())),
            spec: (*spec).clone(),
        };
        let engine = self.parts.engine.clone();
        let work = move || -> Result<PathBuf, LeadJobError> {
            let mut rows = store.report_rows()?;
            let mut sheet = match &spec.source {
                LeadSource::Sheet { file, name, .. } => {
                    Some(Workbook::open(&folder.join(file), name, &OpenOptions::new(&folder))?)
                }
                LeadSource::Query { .. } | LeadSource::Ids { .. } => None,
            };
            let mut keep_going = |_rows: u64| !engine.is_closed();
            match write_report(format, &target, &head, sheet.as_mut(), &mut rows, &mut keep_going) {
                Ok(_) => Ok(target),
                Err(ReportError::Stopped) => Err(LeadJobError::Interrupted),
                Err(error) => Err(error.into()),
            }
        };
        let written = tokio::task::spawn_blocking(work).await;
        written.map_err(|error| LeadJobError::Said(format!("the report could not be made: {error}")))?
    }
}
