//! A second reader of the shipped model, written from its README alone, must give the same vectors.
//!
//! It shares no code with the crate that the program uses: its own WordPiece, its own sum of int8 rows.

use std::collections::HashMap;

use penstock::ai::{Embedder, StaticEmbedder, is_empty_vector};

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/models/penstock-static-256");

/// Reads `model.safetensors` and `tokenizer.json` as their formats say.
struct SecondReader {
    vocabulary: HashMap<String, usize>,
    weights: Vec<f32>,
    rows: Vec<i8>,
}

impl SecondReader {
    fn load() -> anyhow::Result<Self> {
        let tokenizer: serde_json::Value =
            serde_json::from_slice(&std::fs::read(format!("{FOLDER}/tokenizer.json"))?)?;
        let vocabulary = serde_json::from_value(tokenizer["model"]["vocab"].clone())?;
        let file = std::fs::read(format!("{FOLDER}/model.safetensors"))?;
        let head_length = usize::try_from(u64::from_le_bytes(file[..8].try_into()?))?;
        let head: serde_json::Value = serde_json::from_slice(&file[8..8 + head_length])?;
        let body = &file[8 + head_length..];
        let tensor = |name: &str| -> anyhow::Result<&[u8]> {
            let range: [usize; 2] = serde_json::from_value(head[name]["data_offsets"].clone())?;
            Ok(&body[range[0]..range[1]])
        };
        let weights = tensor("weights")?
            .chunks_exact(4)
            .map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]))
            .collect();
        let rows = tensor("embeddings")?.iter().map(|&byte| byte as i8).collect();
        Ok(Self { vocabulary, weights, rows })
    }

    /// Lower case without accents; blanks separate words, every punctuation mark is a word of its own.
    fn words(text: &str) -> Vec<String> {
        let mut words = vec![String::new()];
        for letter in text.to_lowercase().chars() {
            match letter {
                c if c.is_whitespace() => words.push(String::new()),
                c if c.is_ascii_punctuation() => words.extend([c.to_string(), String::new()]),
                c => {
                    let plain = "\u{e4}\u{e0}\u{e9}\u{e8}\u{f6}\u{fc}\u{f1}\u{e7}"
                        .chars()
                        .position(|accented| accented == c);
                    let plain = plain.and_then(|at| "aaeeounc".chars().nth(at)).unwrap_or(c);
                    if let Some(word) = words.last_mut() {
                        word.push(plain);
                    }
                }
            }
        }
        words.retain(|word| !word.is_empty());
        words
    }

    /// Longest piece first; a word with an unknown piece, or of more than 100 letters, is unknown as a whole.
    fn pieces(&self, word: &str) -> Vec<usize> {
        let letters: Vec<char> = word.chars().collect();
        let (mut at, mut found) = (0, Vec::new());
        while at < letters.len() && letters.len() <= 100 {
            let longest = (at + 1..=letters.len()).rev().find_map(|end| {
                let piece: String = letters[at..end].iter().collect();
                let piece = if at > 0 { format!("##{piece}") } else { piece };
                self.vocabulary.get(&piece).map(|&id| (end, id))
            });
            let Some((end, id)) = longest else { return Vec::new() };
            found.push(id);
            at = end;
        }
        found
    }

    fn embed(&self, text: &str) -> Vec<f32> {
        let mut sum = vec![0.0_f64; 256];
        for id in Self::words(text).iter().flat_map(|word| self.pieces(word)) {
            let row = &self.rows[id * 256..(id + 1) * 256];
            for (total, &value) in sum.iter_mut().zip(row) {
                *total += f64::from(self.weights[id]) * f64::from(value);
            }
        }
        let length = sum.iter().map(|x| x * x).sum::<f64>().sqrt().max(1e-12);
        sum.iter().map(|x| (x / length) as f32).collect()
    }
}

/// Texts like those of a schema: labels, help, identifiers, picklists, odd punctuation, accents.
fn texts() -> Vec<String> {
    let objects = [
        "Opportunity",
        "Invoice Line Item",
        "Warranty Claim",
        "Caf\u{e9} Visit",
        "Shipment",
        "M\u{fc}ller Report",
    ];
    let labels = [
        "Loss Reason",
        "ERP Id",
        "Net amount (EUR)",
        "Don't call",
        "Zip/Postal code",
        "SLA breach %",
        "Xq\u{fc}z",
    ];
    let helps = [
        "Why the customer chose somebody else.",
        "Filled by the nightly job; do not edit!",
        "1,234.50 or more, e.g. \"gross\" - net of tax",
        "antidisestablishmentarianism misspeled wrds",
        "",
    ];
    let mut texts = Vec::new();
    for object in objects {
        for label in labels {
            for help in helps {
                texts.push(format!("{object}: {label}. {help}"));
            }
        }
    }
    texts.extend(["", "   ", "\u{1F9FF}", "a", "field__c", "UPPER lower MiXeD"].map(str::to_owned));
    texts.push("long ".repeat(2_000));
    texts
}

#[test]
fn a_second_reader_gives_the_same_vectors() -> anyhow::Result<()> {
    let second = SecondReader::load()?;
    let texts = texts();
    assert!(texts.len() >= 200);
    let borrowed: Vec<&str> = texts.iter().map(String::as_str).collect();
    let first = StaticEmbedder::new().embed(&borrowed)?;
    let mut compared = 0;
    for (text, first) in texts.iter().zip(&first) {
        let second = second.embed(text);
        assert_eq!(is_empty_vector(first), is_empty_vector(&second), "{text:?}");
        if is_empty_vector(first) {
            continue;
        }
        let cosine: f64 = first.iter().zip(&second).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
        assert!(cosine >= 0.999_99, "{cosine} for {text:?}");
        compared += 1;
    }
    assert!(compared >= 200);
    Ok(())
}
