//! The requests of `docs/batch.md`, sent in their order to the daemon with the shipped configuration of the example.

use serde_json::Value;

use super::service::Service;
use super::support::databases::Kind;
use super::tables::number_of;

#[test]
fn the_manual_says_what_happens() {
    let manual = include_str!("../../docs/batch.md");
    let shop = include_str!("../../examples/batch/shop.sql");
    let service = Service::start(Kind::Sqlite, shop, &shipped_sections());
    let mut asked = 0;
    let mut request: Option<&str> = None;
    for (heading, text) in blocks(manual) {
        match heading.split_whitespace().collect::<Vec<_>>()[..] {
            ["json", "request"] => request = Some(text),
            ["json", "answer", status] => {
                let sent = request.take().expect("an answer follows its request");
                let answer = service.send("/batch", sent.as_bytes().to_vec(), None, &[]);
                let wanted: Value =
                    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"));
                assert_eq!(answer.status.to_string(), status, "{sent}\n{}", answer.text);
                if let Err(path) = holds(&wanted, &answer.body) {
                    panic!("{path} is not as the manual says\n{sent}\n{}", answer.text);
                }
                asked += 1;
            }
            _ => {}
        }
    }
    assert!(asked >= 8, "the manual has {asked} examples");
}

/// Named statements and entities of the shipped configuration: what follows its `[[database]]`.
fn shipped_sections() -> String {
    let shipped = include_str!("../../config.toml");
    let from = shipped.find("\n[[database.entity]]").expect("the example's entities");
    shipped[from..].to_owned()
}

fn blocks(text: &str) -> Vec<(&str, &str)> {
    let mut blocks = Vec::new();
    let mut rest = text;
    while let Some((_, after)) = rest.split_once("\n```") {
        let (heading, body) = after.split_once('\n').expect("a fence has a line of its own");
        let (body, after) = body.split_once("\n```").expect("a fence is closed");
        blocks.push((heading, body));
        rest = after;
    }
    blocks
}

/// Whether everything that is written is so; what is not written may be anything.
fn holds(wanted: &Value, had: &Value) -> Result<(), String> {
    match (wanted, had) {
        (Value::Object(fields), _) => fields
            .iter()
            .try_for_each(|(name, value)| holds(value, &had[name]).map_err(|path| format!("{name}.{path}"))),
        (Value::Array(wanted), Value::Array(had)) if wanted.len() == had.len() => {
            let pairs = wanted.iter().zip(had).enumerate();
            pairs
                .into_iter()
                .try_for_each(|(at, (one, other))| holds(one, other).map_err(|path| format!("{at}.{path}")))
        }
        (Value::Number(one), Value::Number(other))
            if number_of(&one.to_string()) == number_of(&other.to_string()) =>
        {
            Ok(())
        }
        _ if wanted == had => Ok(()),
        _ => Err(format!(" {had}")),
    }
}
