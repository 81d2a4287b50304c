//! Sends every kind of request that penstock makes to a model endpoint, once each, and ends non-zero when any of them is
//! refused or answered with what it cannot read. `tests/leads/prism.py` runs it through a proxy that holds requests and
//! answers against the published description of such endpoints.
//!
//! ```sh
//! cargo run --example model_requests -- http://127.0.0.1:8089/v1
//! ```

use std::num::NonZeroU32;
use std::time::Duration;

use anyhow::{Context, ensure};
use penstock::ai::chat::{BatchFileWriter, BatchLimits, BatchStatus, BatchTag, ChatClient, request_line};
use penstock::leads::settings::{ModelMode, ModelSettings, Price};
use serde_json::{Value, json};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let base_url = arguments.next().context("usage: model_requests BASE_URL [MODEL]")?;
    let model = arguments.next().unwrap_or_else(|| "sim-small".to_owned());
    // A server that has no Batch API, such as a small one of one's own, is asked one question alone.
    let only_chat = arguments.next().is_some_and(|word| word == "chat");
    let client = ChatClient::new(&settings(base_url, model.clone())).context("set up the client")?;

    let answer = client.complete(&question(&model, "00Q5g0000000001AAA")).await.context("chat completion")?;
    let content: Value = serde_json::from_str(&answer.content).context("the answer is not JSON")?;
    ensure!(content["confidence_score"].is_u64(), "no score in the answer");
    ensure!(answer.usage.prompt_tokens > 0 && answer.usage.completion_tokens > 0, "no usage in the answer");
    println!("chat completion: {} tokens", answer.usage.total());
    if only_chat {
        return Ok(());
    }

    let folder = tempfile::tempdir()?;
    let tag = |part| BatchTag { job: "requests-check".to_owned(), part, since: 0 };
    let mut writer = BatchFileWriter::create(&folder.path().join("batch.jsonl"), BatchLimits::default())?;
    for (id, lead) in ["00Q5g0000000001AAA", "00Q5g0000000002AAA"].into_iter().enumerate() {
        ensure!(writer.push(&request_line(&id.to_string(), &question(&model, lead)))?, "the file is full");
    }
    let file = writer.finish()?;
    let batch = client.submit(&file, &tag(1)).await.context("upload and create a batch")?;
    println!("batch: {}, {:?}", batch.id, batch.status);
    let again = client.submit(&file, &tag(1)).await.context("find the batch again")?;
    ensure!(again.id == batch.id, "submitting again made another batch");

    let mut state = batch;
    for _ in 0..200 {
        if state.status.is_over() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
        state = client.batch(&state.id).await.context("look at the batch")?;
    }
    ensure!(state.status == BatchStatus::Completed, "the batch ended as {:?}", state.status);
    let output = state.output_file_id.context("the batch has no answers")?;
    let mut lines = client.batch_lines(&output).await.context("download the answers")?;
    let mut answers = 0;
    while let Some(line) = lines.next().await.context("read the answers")? {
        line.result.with_context(|| format!("answer to {}", line.custom_id))?;
        answers += 1;
    }
    ensure!(answers == 2 && lines.unreadable() == 0, "{answers} answers came of 2");
    println!("answers of the batch: {answers}");

    let other = client.submit(&file, &tag(2)).await.context("create another batch")?;
    let cancelled = client.cancel_batch(&other.id).await.context("cancel a batch")?;
    println!("cancelled: {:?}", cancelled.status);
    for file in [&state.input_file_id, &output] {
        client.delete_file(file).await.context("delete a file")?;
    }
    println!("every kind of request was accepted");
    Ok(())
}

fn settings(base_url: String, model: String) -> ModelSettings {
    ModelSettings {
        base_url,
        api_key: Some("sk-example".into()),
        model,
        mode: ModelMode::Direct,
        temperature: 0.1,
        max_completion_tokens: 500,
        schema_bounds: false,
        // A model on a loaded machine without a graphics card takes its time.
        timeout: Duration::from_secs(400),
        requests_per_minute: None,
        tokens_per_minute: None,
        concurrency: NonZeroU32::MIN,
        attempts: NonZeroU32::MIN,
        price: Price::default(),
        max_cost: None,
        batch_poll: Duration::from_secs(1),
        ca_file: None,
    }
}

fn question(model: &str, lead: &str) -> Value {
    let proposal = json!({
        "type": "object", "additionalProperties": false, "required": ["field", "value"],
        "properties": {
            "field": { "type": "string", "enum": ["ZI_Company_Name__c", "ZI_Website__c", "ZI_Employees__c"] },
            "value": { "type": ["string", "null"], "maxLength": 40 },
        },
    });
    json!({
        "model": model,
        "temperature": 0.1,
        "max_completion_tokens": 500,
        "messages": [
            { "role": "system", "content": "You judge how believable enrichment data of a lead is. Answer in JSON." },
            { "role": "user", "content": format!("Lead {lead}: company Acme, website acme.example, 120 employees.") },
        ],
        "response_format": { "type": "json_schema", "json_schema": {
            "name": "lead_assessment", "strict": true,
            "schema": {
                "type": "object", "additionalProperties": false,
                "required": ["confidence_score", "explanation_bullets", "corrections"],
                "properties": {
                    "confidence_score": { "type": "integer", "minimum": 0, "maximum": 100 },
                    "explanation_bullets": {
                        "type": "array", "items": { "type": "string", "maxLength": 60 }, "minItems": 1,
                        "maxItems": 2,
                    },
                    "corrections": { "type": "array", "items": proposal, "maxItems": 1 },
                },
            },
        } },
    })
}
