//! A line of three stages to copy from: a reader splits pages into words, a transformer squares the numbers, a writer
//! prints them. One word is poison: it panics its stage, five times, and ends as a dead letter; its neighbours do not
//! notice. `cargo run --example three_stages`

use std::sync::Arc;

use penstock::actors::engine::*;
use penstock::messages::{Item, ItemId, JobId, Lane};
use serde::{Deserialize, Serialize};

/// What flows. Items are serde, so that one that is given up can be kept, looked at and tried again.
#[derive(Debug, Serialize, Deserialize)]
struct Text(String);

impl Item for Text {
    /// Mailboxes are bounded in bytes too.
    fn bytes(&self) -> u32 {
        self.0.len() as u32
    }
}

struct Reader;

impl Stage for Reader {
    type In = Text;
    type Out = Text;
    const NAME: &'static str = "reader";

    async fn run(&self, page: Arc<Text>, _cx: &StageCx) -> Result<Output<Text>, StageError> {
        Ok(Output::Many(page.0.split_whitespace().map(|word| Text(word.to_owned())).collect()))
    }
}

struct Transformer;

impl Stage for Transformer {
    type In = Text;
    type Out = Text;
    const NAME: &'static str = "transformer";

    async fn run(&self, word: Arc<Text>, _cx: &StageCx) -> Result<Output<Text>, StageError> {
        let number: u64 = word.0.parse().expect("a number"); // Poison gets stuck here.
        Ok(Output::One(Text(format!("{number} squared is {}", number * number))))
    }
}

struct Writer;

impl Stage for Writer {
    type In = Text;
    type Out = Nothing;
    const NAME: &'static str = "writer";

    async fn run(&self, line: Arc<Text>, cx: &StageCx) -> Result<Output<Nothing>, StageError> {
        println!("{:>4}: {}", cx.header().item.as_str(), line.0);
        Ok(Output::None)
    }
}

#[actix::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let engine = Engine::in_memory();
    let size = StageConfig::default(); // 8 items worked on at once, 64 in the mailbox.
    let writer = engine.stage(size, ActorMetrics::detached(), Arc::new(NoOutlet), || Writer);
    let transformer = engine.stage(size, ActorMetrics::detached(), writer, || Transformer);
    let reader = engine.stage(size, ActorMetrics::detached(), transformer, || Reader);
    let job = engine.job(&JobId::new("squares"));
    for (id, page) in [("p1", "3 14 15"), ("p2", "92 sixty-five 35")] {
        engine.admit(&*reader, &job, ItemId::new(id), Lane::Normal, Text(page.to_owned())).await?;
    }
    job.ran_dry().await;

    println!("{:?}", job.counts());
    for DeadLetter { actor, attempts, item, error, .. } in engine.dead_letters() {
        println!("given up by the {actor} after {attempts} tries: {item}: {error}");
    }
    engine.close();
    Ok(())
}
