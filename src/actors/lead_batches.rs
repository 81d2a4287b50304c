//! Asks the model by the endpoint's Batch API: cheaper, and within a day.
//!
//! Promises: a batch is noted before its file is sent, and found again by its tag when the process dies before it knows the
//! batch's name, so nothing is sent or paid twice; of leads with the same content one is asked about. An answer is durable
//! before its lead counts. What a batch that expired leaves unanswered, or one that the endpoint has lost, goes into
//! another, or is asked as all others where batches are not made any more. The files with people's data are taken away from
//! the endpoint when they are read.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::fetcher::chain;
use super::lead_asker::{AskedLead, LeadAsker};
use super::lead_job::{LeadJobError, LeadJobs};
use super::lead_run::LeadRun;
use crate::ai::chat::{
    BatchFile, BatchFileWriter, BatchLimits, BatchLine, BatchStatus, BatchTag, ChatError, NextStep,
};
use crate::leads::settings::ModelMode;
use crate::leads::{
    JobPhase, LeadId, LeadOutcome, LeadResult, ModelVerdict, Money, Ordinal, assess_with, cost,
    estimated_tokens,
};
use crate::store::lead_jobs::{EndpointBatch, Question};

/// Questions and answers handled together.
const TOGETHER: usize = 500;
/// Questions that the price of all is judged by.
const SAMPLE: usize = 50;
/// Batches in a row that bring no answer at all before the job gives up.
const BARREN_MAX: u32 = 3;
const RETRY_FIRST: Duration = Duration::from_secs(1);
const RETRY_LONGEST: Duration = Duration::from_secs(60);
/// Tries of a request about a batch that fails by itself.
const TRIES: u32 = 10;

impl LeadJobs {
    /// Sends what waits for the model, and waits until each lead has its outcome.
    pub(super) async fn await_batches(&self, run: &Arc<LeadRun>) -> Result<(), LeadJobError> {
        let Some(asker) = run.asker.clone() else { return Ok(()) };
        let mut barren = 0;
        loop {
            let batches = run.store.batches().await?;
            let open = batches.into_iter().find(|batch| !batch.is_over);
            let batch = match open {
                Some(batch) => batch,
                None => {
                    // Before the others are looked at: what is over from here on is heard of.
                    let over = asker.batch_over.notified();
                    tokio::pin!(over);
                    over.as_mut().enable();
                    self.settle_known(run, &asker).await?;
                    let (free, _) = run.store.questions_waiting().await?;
                    if free == 0 {
                        return Ok(());
                    }
                    self.enter(run, JobPhase::AwaitingBatch).await?;
                    let limits = BatchLimits::default();
                    let most = affordable(run, &asker).await?.min(limits.lines);
                    if most == 0 {
                        self.fail_waiting(run, &run.budget.is_reached()).await?;
                        continue;
                    }
                    match make_batch(run, &asker, most, limits.bytes).await? {
                        Some(batch) => batch,
                        None => {
                            // Other jobs' batches ask all that is left: their answers are taken.
                            over.await;
                            continue;
                        }
                    }
                }
            };
            asker.asks_by_batch(&run.spec.job, run.store.contents_under_way().await?).await;
            let answered = self.drive_batch(run, &asker, batch).await?;
            asker.asks_by_batch(&run.spec.job, run.store.contents_under_way().await?).await;
            barren = if answered == 0 { barren + 1 } else { 0 };
            if barren == BARREN_MAX {
                self.fail_waiting(run, "the endpoint's batches ended without an answer").await?;
            }
        }
    }

    /// Where the model is not asked by batches any more: awaits those that are at the endpoint, and has what they leave
    /// unanswered read and asked as all others. Without a model nobody takes their answers.
    pub(super) async fn end_batches(&self, run: &Arc<LeadRun>) -> Result<(), LeadJobError> {
        for mut batch in run.store.batches().await?.into_iter().filter(|batch| !batch.is_over) {
            if let Some(asker) = &run.asker {
                if batch.endpoint_id.is_none() {
                    batch = self.look_for_batch(run, asker, batch).await?;
                }
                if batch.endpoint_id.is_some() {
                    self.enter(run, JobPhase::AwaitingBatch).await?;
                    self.drive_batch(run, asker, batch).await?;
                    continue;
                }
            } else if let Some(id) = &batch.endpoint_id {
                tracing::warn!(
                    job = run.spec.job,
                    batch = id,
                    "without a model the answers of a batch are left"
                );
            }
            batch.is_over = true;
            run.store.keep_batch(batch).await?;
        }
        self.patiently(run, || async { Ok(run.store.free_questions().await?) }).await.map(drop)
    }

    /// A batch that nobody knows to be sent: looked for at the endpoint, which may not even have batches.
    async fn look_for_batch(
        &self,
        run: &LeadRun,
        asker: &LeadAsker,
        mut batch: EndpointBatch,
    ) -> Result<EndpointBatch, LeadJobError> {
        let (file, tag) = (self.batch_file(run, batch.number).await?, self.tag(run, batch.number));
        let found = match self.endpoint(run, asker, || asker.client.submitted(&file, &tag)).await {
            Err(LeadJobError::Model(ChatError::NotThere { .. } | ChatError::BadRequest { .. })) => None,
            found => found?,
        };
        if let Some(state) = found {
            batch.endpoint_id = Some(state.id);
            batch.input_file = Some(state.input_file_id);
            run.store.keep_batch(batch.clone()).await?;
        }
        Ok(batch)
    }

    fn tag(&self, run: &LeadRun, part: u32) -> BatchTag {
        let now = u64::try_from(self.parts.clock.wall().as_second()).unwrap_or(0);
        BatchTag { job: run.spec.job.clone(), part, since: now.saturating_sub(30 * 86_400) }
    }

    /// Brings one batch to its end; tells how many of its leads have an outcome by it.
    async fn drive_batch(
        &self,
        run: &Arc<LeadRun>,
        asker: &Arc<LeadAsker>,
        mut batch: EndpointBatch,
    ) -> Result<u64, LeadJobError> {
        let tag = self.tag(run, batch.number);
        let file = self.batch_file(run, batch.number).await?;
        if batch.endpoint_id.is_none() {
            let state = self.endpoint(run, asker, || asker.client.submit(&file, &tag)).await?;
            batch.endpoint_id = Some(state.id);
            batch.input_file = Some(state.input_file_id);
            run.store.keep_batch(batch.clone()).await?;
        }
        let id = batch.endpoint_id.clone().unwrap_or_default();
        let state = loop {
            let state = match self.endpoint(run, asker, || asker.client.batch(&id)).await {
                Err(LeadJobError::Model(ChatError::NotThere { .. })) => {
                    if asker.model().mode == ModelMode::Batch {
                        // A wrong address knows no batch at all: that is an error, and none is given up for it.
                        self.endpoint(run, asker, || asker.client.submitted(&file, &tag)).await?;
                    }
                    self.batch_is_gone(run, asker, batch).await?;
                    return Ok(0);
                }
                state => state?,
            };
            if state.status.is_over() {
                break state;
            }
            let shown = format!("{:?}", state.status).to_lowercase();
            if shown != batch.status {
                batch.status = shown;
                run.store.keep_batch(batch.clone()).await?;
            }
            self.parts.clock.sleep(asker.model().batch_poll).await;
        };
        let mut answered = 0;
        for of in [&state.output_file_id, &state.error_file_id].into_iter().flatten() {
            answered += match self.read_answers(run, asker, of).await {
                Err(LeadJobError::Model(error @ ChatError::NotThere { .. })) => {
                    let why = chain(&error);
                    tracing::warn!(
                        job = run.spec.job,
                        file = of,
                        why,
                        "a batch's file is gone; its leads are asked about anew"
                    );
                    0
                }
                answered => answered?,
            };
        }
        batch.status = format!("{:?}", state.status).to_lowercase();
        batch.output_file = state.output_file_id.clone();
        batch.error_file = state.error_file_id.clone();
        batch.is_over = true;
        run.store.keep_batch(batch.clone()).await?;
        let files = [batch.input_file, state.output_file_id, state.error_file_id];
        for of in files.into_iter().flatten() {
            if let Err(error) = asker.client.delete_file(&of).await {
                tracing::warn!(job = run.spec.job, %error, "a file with leads was left at the model's endpoint");
            }
        }
        drop(tokio::fs::remove_file(&file.path).await);
        if state.status == BatchStatus::Failed {
            let why = state.errors.first().cloned().unwrap_or_else(|| "no reason given".to_owned());
            return Err(LeadJobError::Said(format!("the model endpoint did not take the batch: {why}")));
        }
        Ok(answered)
    }

    /// A batch that the endpoint does not know any more, or an endpoint that never had it: what waited for it is asked anew.
    async fn batch_is_gone(
        &self,
        run: &LeadRun,
        asker: &LeadAsker,
        mut batch: EndpointBatch,
    ) -> Result<(), LeadJobError> {
        let id = batch.endpoint_id.as_deref().unwrap_or_default();
        tracing::warn!(
            job = run.spec.job,
            batch = id,
            "the endpoint does not know the batch; its leads are asked about anew"
        );
        batch.status = "gone".to_owned();
        batch.is_over = true;
        run.store.keep_batch(batch.clone()).await?;
        if let Some(file) = &batch.input_file
            && let Err(error) = asker.client.delete_file(file).await
        {
            tracing::warn!(job = run.spec.job, %error, "a file with leads was left at the model's endpoint");
        }
        drop(tokio::fs::remove_file(run.folder.join(file_name(batch.number))).await);
        Ok(())
    }

    /// The file of a batch, written from the store: the same questions make the same file.
    async fn batch_file(&self, run: &LeadRun, number: u32) -> Result<BatchFile, LeadJobError> {
        let path: PathBuf = run.folder.join(file_name(number));
        let failed = |error: std::io::Error| LeadJobError::Said(format!("write the batch's file: {error}"));
        // All of them belong into one file: the store has cut them.
        let limits = BatchLimits { lines: u64::MAX, bytes: u64::MAX };
        let mut writer = blocking(move || BatchFileWriter::create(&path, limits)).await?.map_err(failed)?;
        let mut from: Ordinal = 0;
        loop {
            let questions = run.store.questions(Some(number), from, TOGETHER).await?;
            let Some(last) = questions.last() else { break };
            from = last.result.ordinal.saturating_add(1);
            let write = move || {
                for question in &questions {
                    writer.push(&question.request)?;
                }
                Ok(writer)
            };
            writer = blocking(write).await?.map_err(failed)?;
        }
        blocking(move || writer.finish()).await?.map_err(failed)
    }

    /// Reads a file of answers, and gives each of its leads an outcome.
    async fn read_answers(
        &self,
        run: &Arc<LeadRun>,
        asker: &Arc<LeadAsker>,
        file: &str,
    ) -> Result<u64, LeadJobError> {
        let (mut answered, mut tries) = (0, 0);
        'file: loop {
            let mut lines = self.endpoint(run, asker, || asker.client.batch_lines(file)).await?;
            let mut together = Vec::with_capacity(TOGETHER);
            loop {
                match lines.next().await {
                    Ok(Some(line)) => together.push(line),
                    Ok(None) => {
                        answered += self.settle_lines(run, asker, together).await?;
                        return Ok(answered);
                    }
                    Err(error) if tries < TRIES => {
                        // Read again from its beginning: leads with an outcome are passed over.
                        tries += 1;
                        tracing::warn!(job = run.spec.job, %error, "answers of a batch are read again");
                        self.parts.clock.sleep(RETRY_FIRST * tries).await;
                        continue 'file;
                    }
                    Err(error) => return Err(LeadJobError::Said(chain(&error))),
                }
                if together.len() == TOGETHER {
                    answered += self.settle_lines(run, asker, std::mem::take(&mut together)).await?;
                }
            }
        }
    }

    async fn settle_lines(
        &self,
        run: &Arc<LeadRun>,
        asker: &Arc<LeadAsker>,
        lines: Vec<BatchLine>,
    ) -> Result<u64, LeadJobError> {
        let ids = lines.iter().map(|line| LeadId::read(&line.custom_id).ok().map(|read| read.id));
        let (lines, ids): (Vec<BatchLine>, Vec<LeadId>) =
            ids.collect::<Vec<_>>().into_iter().zip(lines).filter_map(|(id, line)| Some((line, id?))).unzip();
        let places = run.store.ordinals_of(ids).await?;
        let (lines, places): (Vec<BatchLine>, Vec<Ordinal>) =
            lines.into_iter().zip(places).filter_map(|(line, place)| Some((line, place?))).unzip();
        let questions = run.store.questions_of(places).await?;
        let terms = run.terms();
        let Some(prompt) = &terms.prompt else { return Ok(0) };
        let mut results = Vec::with_capacity(lines.len());
        for (line, question) in lines.into_iter().zip(questions) {
            let Some(Question { result, .. }) = question else { continue };
            let asked = AskedLead { job: &run.spec.job, ordinal: result.ordinal, lead: &result.lead };
            let verdict = match line.result {
                // Not asked, or not to the end: it goes into the next batch.
                Err(error) if error.usage().is_none() && error.next_step() == NextStep::TryAgain => continue,
                Err(error) if error.next_step() == NextStep::Wait => continue,
                line => match asker.settle_batch_answer(prompt, asked, line).await {
                    Ok(verdict) => verdict,
                    Err(error) => return Err(error.into()),
                },
            };
            if let ModelVerdict::Answered { spent, .. } | ModelVerdict::Failed { spent, .. } = &verdict {
                run.budget.recall(result.ordinal, spent.cost);
            }
            results.push(self.with_verdict(run, result, verdict));
        }
        self.patiently(run, || async { Ok(run.store.write(results.clone()).await?) }).await
    }

    fn with_verdict(&self, run: &LeadRun, result: LeadResult, verdict: ModelVerdict) -> LeadResult {
        let assessment = assess_with(&result.lead, &run.terms().settings, &run.domains, verdict);
        LeadResult { outcome: LeadOutcome::Assessed(assessment), ..result }
    }

    /// Gives the leads an outcome whose question another lead has had answered meanwhile.
    async fn settle_known(&self, run: &Arc<LeadRun>, asker: &LeadAsker) -> Result<(), LeadJobError> {
        let terms = run.terms();
        let Some(prompt) = &terms.prompt else { return Ok(()) };
        let mut from: Ordinal = 0;
        loop {
            let questions = run.store.questions(None, from, TOGETHER).await?;
            let Some(last) = questions.last() else { return Ok(()) };
            from = last.result.ordinal.saturating_add(1);
            let job = run.spec.job.as_str();
            let asked: Vec<AskedLead<'_>> = questions
                .iter()
                .map(|Question { result, .. }| AskedLead { job, ordinal: result.ordinal, lead: &result.lead })
                .collect();
            let known = asker.known(prompt, &asked).await?;
            let results: Vec<LeadResult> = questions
                .into_iter()
                .zip(known)
                .filter_map(|(question, verdict)| Some(self.with_verdict(run, question.result, verdict?)))
                .collect();
            if !results.is_empty() {
                self.patiently(run, || async { Ok(run.store.write(results.clone()).await?) }).await?;
            }
        }
    }

    /// Questions that will not be sent any more: their leads have failed, with the reason.
    async fn fail_waiting(&self, run: &Arc<LeadRun>, why: &str) -> Result<(), LeadJobError> {
        loop {
            let questions = run.store.questions(None, 0, TOGETHER).await?;
            if questions.is_empty() {
                return Ok(());
            }
            let failed = |question: Question| {
                let verdict = ModelVerdict::Failed { reason: why.to_owned(), spent: Default::default() };
                self.with_verdict(run, question.result, verdict)
            };
            let results: Vec<LeadResult> = questions.into_iter().map(failed).collect();
            self.patiently(run, || async { Ok(run.store.write(results.clone()).await?) }).await?;
        }
    }

    /// Asks the endpoint something about a batch: waits out what passes, and says no to what does not. Nothing is asked while
    /// the line is paused.
    async fn endpoint<T, F>(
        &self,
        run: &LeadRun,
        asker: &LeadAsker,
        ask: impl Fn() -> F,
    ) -> Result<T, LeadJobError>
    where
        F: Future<Output = Result<T, ChatError>>,
    {
        let (mut pause, mut tries) = (RETRY_FIRST, 1);
        loop {
            asker.gate.open().await;
            let error = match ask().await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            match error.next_step() {
                NextStep::Wait => {}
                NextStep::TryAgain if tries < TRIES => tries += 1,
                _ => return Err(LeadJobError::Model(error)),
            }
            tracing::warn!(job = run.spec.job, error = chain(&error), "the model endpoint is asked again");
            self.parts.clock.sleep(pause).await;
            pause = (pause * 2).min(RETRY_LONGEST);
        }
    }
}

/// Makes a batch of what no other job's batch asks.
async fn make_batch(
    run: &LeadRun,
    asker: &LeadAsker,
    most: u64,
    most_bytes: u64,
) -> Result<Option<EndpointBatch>, LeadJobError> {
    let mut in_batches = asker.in_batches.lock().await;
    let others = in_batches.iter().filter(|(job, _)| **job != run.spec.job);
    let elsewhere = others.flat_map(|(_, contents)| contents).copied().collect();
    let made = run.store.make_batch(most, most_bytes, elsewhere).await?;
    in_batches.insert(run.spec.job.clone(), run.store.contents_under_way().await?);
    Ok(made)
}

/// How many questions the job can still pay, at the highest price of a few of them.
async fn affordable(run: &LeadRun, asker: &LeadAsker) -> Result<u64, LeadJobError> {
    let Some(most) = run.budget.most() else { return Ok(u64::MAX) };
    let left = most.0.saturating_sub(run.store.counts().await?.cost.0);
    let model = asker.model();
    let answer = u64::from(model.max_completion_tokens);
    let dearest = |question: &Question| {
        let line: serde_json::Value = serde_json::from_str(&question.request).unwrap_or_default();
        cost(&model.price, estimated_tokens(&line["body"]).saturating_sub(answer), answer, true)
    };
    let sample = run.store.questions(None, 0, SAMPLE).await?;
    let each = sample.iter().map(dearest).max().unwrap_or(Money(0));
    Ok(left.checked_div(each.0).unwrap_or(u64::MAX))
}

/// The file of a batch in the job's folder.
fn file_name(number: u32) -> String {
    format!("batch-{number}.jsonl")
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, LeadJobError> {
    tokio::task::spawn_blocking(work).await.map_err(|error| LeadJobError::Said(error.to_string()))
}
