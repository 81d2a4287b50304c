//! `embedder.model_dir`: another model than the built-in one, a changed one, a broken one.

use std::path::{Path, PathBuf};

use penstock::ai::{Embedder, FolderEmbedder, StaticEmbedder};
use serde_json::{Value, json};

use super::support::{Org, Place, demo_org, entries_with};
use super::{Duration, FEW_OBJECTS};

const BUILT_IN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/models/penstock-static-256");

/// The built-in model cut to its first columns, which its README says is a model of that size.
fn narrow_model(folder: &Path, columns: usize) -> PathBuf {
    let folder = folder.join(format!("model-{columns}"));
    std::fs::create_dir_all(&folder).expect("a folder");
    let tensors = std::fs::read(format!("{BUILT_IN}/model.safetensors")).expect("the built-in model");
    let length =
        usize::try_from(u64::from_le_bytes(tensors[..8].try_into().expect("a length"))).expect("a small one");
    let head: Value = serde_json::from_slice(&tensors[8..8 + length]).expect("its head");
    let tensor = |name: &str| {
        let at = |end: usize| head[name]["data_offsets"][end].as_u64().expect("an offset") as usize;
        &tensors[8 + length..][at(0)..at(1)]
    };
    let (weights, table) = (tensor("weights"), tensor("embeddings"));
    let rows = weights.len() / 4;
    let narrow: Vec<u8> = table.chunks(table.len() / rows).flat_map(|row| &row[..columns]).copied().collect();
    let head = json!({
        "weights": {"dtype": "F32", "shape": [rows], "data_offsets": [0, weights.len()]},
        "embeddings": {"dtype": "I8", "shape": [rows, columns],
            "data_offsets": [weights.len(), weights.len() + narrow.len()]},
    })
    .to_string();
    let file = [&(head.len() as u64).to_le_bytes(), head.as_bytes(), weights, narrow.as_slice()].concat();
    std::fs::write(folder.join("model.safetensors"), file).expect("write the tables");
    std::fs::write(folder.join("config.json"), json!({ "hidden_dim": columns }).to_string())
        .expect("write the settings");
    std::fs::copy(format!("{BUILT_IN}/tokenizer.json"), folder.join("tokenizer.json"))
        .expect("copy the tokenizer");
    folder
}

fn embedder(folder: &Path) -> String {
    format!("[embedder]\nmodel_dir = \"{}\"\n", folder.display())
}

/// Model and dimensions of the library's vectors, as its file says.
fn library_of(place: &Place) -> (String, String) {
    let path = place.state().join("library.sqlite");
    let library = rusqlite::Connection::open(path).expect("the library");
    let meta = |key: &str| {
        let select = "SELECT value FROM meta WHERE key = ?1";
        library.query_row(select, [key], |row| row.get::<_, String>(0)).expect("a value")
    };
    (meta("model"), meta("dimensions"))
}

fn best(place: &Place, question: &str) -> Value {
    place.run(&["search", question, "--json"]).good().json()
}

#[test]
fn the_first_columns_of_the_built_in_model_are_a_model_that_agrees_with_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let narrow = FolderEmbedder::load(&narrow_model(folder.path(), 64)).expect("a model");
    assert_eq!(narrow.dimensions(), 64);
    let texts = ["which field says why a deal was lost", "Opportunity", "billing address of the customer"];
    let (narrow, wide) =
        (narrow.embed(&texts).expect("vectors"), StaticEmbedder::new().embed(&texts).expect("vectors"));
    for (narrow, wide) in narrow.iter().zip(&wide) {
        let length = wide[..64].iter().map(|x| x * x).sum::<f32>().sqrt();
        let cosine: f32 = narrow.iter().zip(&wide[..64]).map(|(a, b)| a * b / length).sum();
        assert!(cosine > 0.999_999, "{cosine}");
    }
}

#[test]
fn a_changed_model_embeds_the_library_anew_for_next_to_no_calls_and_never_mixes_vectors() {
    let org = Org::with_latency(Duration::ZERO);
    let sections = format!("{}{FEW_OBJECTS}", demo_org(&org.url(), ""));
    let place = Place::new(&sections);
    place.run(&["schema"]).good();
    let (documents, report) = (place.documents(), place.report());
    assert_eq!(library_of(&place), ("penstock-static-256".to_owned(), "256".to_owned()));
    let calls = org.calls();

    let models = tempfile::tempdir().expect("a folder");
    let folder = narrow_model(models.path(), 64);
    place.configure(&format!("{sections}{}", embedder(&folder)));
    // The library is still the old one's: its vectors cannot be compared with the question's.
    let refused = place.run(&["search", "why was the deal lost"]);
    assert_eq!(refused.code(), 1, "{refused:?}");
    assert!(
        refused.stderr.contains("penstock-static-256") && refused.stderr.contains("penstock schema"),
        "{refused:?}"
    );

    let changed = place.run(&["schema"]).good();
    assert!(changed.stderr.contains("another model is set"), "{}", changed.stderr);
    assert_eq!(
        entries_with(&place.state(), "library.sqlite.quarantine").len(),
        1,
        "the old one is kept aside"
    );
    let (model, dimensions) = library_of(&place);
    assert!(model.starts_with("static-64-") && dimensions == "64", "{model} {dimensions}");
    let again = place.report();
    assert_eq!(again["vectors"], report["vectors"], "each document has a vector of the new model");
    assert_eq!(place.documents(), documents);
    assert!(org.calls() - calls <= 15, "{} calls: the rest came from the cache", org.calls() - calls);
    let hits = best(&place, "Opportunity");
    assert!(hits.to_string().contains("\"Opportunity\""), "{hits}");

    // The same folder, elsewhere: the same model. Nothing is put aside, nothing embedded.
    let moved = models.path().join("moved");
    std::fs::rename(&folder, &moved).expect("move it");
    place.configure(&format!("{sections}{}", embedder(&moved)));
    place.run(&["schema"]).good();
    assert_eq!(entries_with(&place.state(), "library.sqlite.quarantine").len(), 1);
    assert_eq!(library_of(&place).0, model);
}

#[test]
fn a_folder_that_is_no_model_is_told_by_key_and_file_at_check_and_at_start() {
    let models = tempfile::tempdir().expect("a folder");
    let folder = narrow_model(models.path(), 64);
    let place = Place::new(&format!(
        "{FEW_OBJECTS}{}[[org]]\nname = \"demo\"\nsimulated = true\n",
        embedder(&folder)
    ));
    place.run(&["check"]).good();
    let text = std::fs::read_to_string(place.config()).expect("the configuration");
    let line_of_key = text.lines().position(|line| line.starts_with("model_dir")).expect("the key") + 1;

    let whole = std::fs::read(folder.join("model.safetensors")).expect("the tables");
    let spoil: [(&str, &str, &dyn Fn()); 3] = [
        ("config.json", "promises 256 dimensions", &|| {
            std::fs::write(folder.join("config.json"), "{\"hidden_dim\": 256}").expect("write");
        }),
        ("model.safetensors", "is not a", &|| {
            std::fs::write(folder.join("config.json"), "{}").expect("write");
            std::fs::write(folder.join("model.safetensors"), &whole[..whole.len() / 2]).expect("write");
        }),
        ("tokenizer.json", "No such file", &|| {
            std::fs::write(folder.join("model.safetensors"), &whole).expect("write");
            std::fs::remove_file(folder.join("tokenizer.json")).expect("remove");
        }),
    ];
    for (file, why, spoil) in spoil {
        spoil();
        for command in ["check", "run", "schema", "status"] {
            let ended = place.run(&[command]);
            assert_eq!((ended.code(), ended.stdout.as_str()), (78, ""), "{ended:?}");
            let line = ended.stderr.lines().next().unwrap_or_default();
            let (at, told) = line.split_once(": embedder.model_dir: ").expect("place and key");
            assert_eq!(at, format!("config.toml:{line_of_key}"), "{line}");
            assert!(
                told.contains(&format!("`{}`", folder.join(file).display())) && told.contains(why),
                "{line}"
            );
        }
    }
    assert!(!place.state().exists(), "nothing was opened");
}
