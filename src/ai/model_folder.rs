//! A static model from a folder: the same three files as `models/penstock-static-256`, with other words in them.
//!
//! Promises: whatever is wrong with the files is found while loading, and told with the file's name; what has been
//! loaded embeds any text. The name of such a model follows from its content, so that a folder that was moved is the
//! same model and a file that was replaced is another one: a store never mixes the vectors of two.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::{fmt, fs, io};

use model2vec_rs::model::StaticModel;
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::static_model::{self, encode};
use super::{EmbedError, Embedder};

/// Settings; `hidden_dim`, if it is there, must be the number of columns.
const CONFIG: &str = "config.json";
/// `embeddings` [rows, columns] and, if it is there, `weights` [rows].
const TENSORS: &str = "model.safetensors";
/// A WordPiece vocabulary whose ids are the rows.
const TOKENIZER: &str = "tokenizer.json";
/// The longest vector that the vector store holds.
const COLUMNS_MAX: usize = 8_192;
/// The head of a safetensors file is a few hundred bytes; this much is another file.
const HEAD_BYTES_MAX: u64 = 1 << 20;

/// Why a folder is no model. It always names the file.
#[derive(Debug, thiserror::Error)]
pub enum ModelFolderError {
    /// A file is missing or cannot be read.
    #[error("cannot read `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file is not of its format.
    #[error("`{}` is not {wanted}", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// What it should be.
        wanted: &'static str,
        /// What its reader said.
        source: Box<dyn Error + Send + Sync>,
    },
    /// A file is well formed, and holds what is of no use here or contradicts another one.
    #[error("`{}` {finding}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What it holds, and what would be right.
        finding: String,
    },
}

/// A static model that was loaded from a folder. Clones share it.
#[derive(Clone)]
pub struct FolderEmbedder {
    model: StaticModel,
    dimensions: usize,
    name: String,
}

impl fmt::Debug for FolderEmbedder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FolderEmbedder").field("name", &self.name).finish_non_exhaustive()
    }
}

impl FolderEmbedder {
    /// Loads the model in `folder`: some tens of milliseconds, and as much memory as its files are long.
    ///
    /// # Errors
    /// See [`ModelFolderError`].
    pub fn load(folder: &Path) -> Result<Self, ModelFolderError> {
        let config = File::read(folder, CONFIG)?;
        let tensors = File::read(folder, TENSORS)?;
        let tokenizer = File::read(folder, TOKENIZER)?;
        let table = Table::read(&tensors)?;
        check_config(&config, table.columns)?;
        check_tokenizer(&tokenizer, table.rows)?;
        // Unit length whatever the settings say: the store compares by cosine, and `Embedder` promises it.
        let model = StaticModel::from_bytes(&tokenizer.bytes, &tensors.bytes, &config.bytes, Some(true));
        let model = model.map_err(|error| tensors.is_not("a model with its tokenizer", error))?;
        Ok(Self { model, dimensions: table.columns, name: name_of(table.columns, &tensors, &tokenizer) })
    }
}

impl Embedder for FolderEmbedder {
    fn dimensions(&self) -> usize {
        self.dimensions
    }

    fn embed(&self, texts: &[&str]) -> Result<Vec<Vec<f32>>, EmbedError> {
        Ok(encode(&self.model, self.dimensions, texts))
    }

    fn model_name(&self) -> &str {
        &self.name
    }
}

/// From what makes the vectors, and nothing else. The built-in model's own files are the built-in model.
fn name_of(columns: usize, tensors: &File, tokenizer: &File) -> String {
    if static_model::is_built_in(&tensors.bytes, &tokenizer.bytes) {
        return static_model::MODEL_NAME.to_owned();
    }
    let mut hasher = Sha256::new();
    for file in [tensors, tokenizer] {
        hasher.update((file.bytes.len() as u64).to_le_bytes());
        hasher.update(&file.bytes);
    }
    let digest: String = hasher.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    format!("static-{columns}-{digest}")
}

struct File {
    path: PathBuf,
    bytes: Vec<u8>,
}

impl File {
    fn read(folder: &Path, name: &str) -> Result<Self, ModelFolderError> {
        let path = folder.join(name);
        match fs::read(&path) {
            Ok(bytes) => Ok(Self { path, bytes }),
            Err(source) => Err(ModelFolderError::Read { path, source }),
        }
    }

    fn json(&self) -> Result<Value, ModelFolderError> {
        serde_json::from_slice(&self.bytes).map_err(|error| self.is_not("JSON", error))
    }

    fn is_not(
        &self,
        wanted: &'static str,
        source: impl Into<Box<dyn Error + Send + Sync>>,
    ) -> ModelFolderError {
        ModelFolderError::Format { path: self.path.clone(), wanted, source: source.into() }
    }

    fn holds(&self, finding: impl Into<String>) -> ModelFolderError {
        ModelFolderError::Content { path: self.path.clone(), finding: finding.into() }
    }
}

/// The shape of the embedding table.
struct Table {
    rows: usize,
    columns: usize,
}

impl Table {
    fn read(file: &File) -> Result<Self, ModelFolderError> {
        let head = read_head(file)?;
        let shape_of = |name: &str| -> Option<Vec<usize>> {
            serde_json::from_value(head.get(name)?.get("shape")?.clone()).ok()
        };
        let type_of =
            |name: &str| head.get(name).and_then(|tensor| tensor.get("dtype")).and_then(Value::as_str);
        let Some(shape) = shape_of("embeddings") else {
            return Err(file.holds("has no tensor `embeddings`"));
        };
        let &[rows, columns] = shape.as_slice() else {
            return Err(file.holds(format!("has `embeddings` of shape {shape:?}, wanted [rows, columns]")));
        };
        if rows == 0 || columns == 0 || columns > COLUMNS_MAX {
            return Err(file.holds(format!(
                "has `embeddings` of {rows} rows and {columns} columns, wanted a row a token and 1 to {COLUMNS_MAX} columns"
            )));
        }
        let kind = type_of("embeddings").unwrap_or("none");
        if !["I8", "F16", "F32"].contains(&kind) {
            return Err(file.holds(format!("has `embeddings` of type {kind}, wanted I8, F16 or F32")));
        }
        if let Some(weights) = shape_of("weights").filter(|weights| *weights != [rows]) {
            return Err(file.holds(format!("has `weights` of shape {weights:?}, wanted one a row: [{rows}]")));
        }
        if head.get("mapping").is_some() {
            return Err(
                file.holds("maps tokens to shared rows (`mapping`), wanted a row of its own for each")
            );
        }
        Ok(Self { rows, columns })
    }
}

/// The JSON that a safetensors file begins with, behind its length.
fn read_head(file: &File) -> Result<Value, ModelFolderError> {
    let wanted = "a safetensors file";
    let (length, rest) =
        file.bytes.split_first_chunk::<8>().ok_or_else(|| file.is_not(wanted, "it is too short"))?;
    let length = u64::from_le_bytes(*length);
    if length > HEAD_BYTES_MAX {
        return Err(file.is_not(wanted, format!("its head would be {length} bytes long")));
    }
    let head = usize::try_from(length).ok().and_then(|length| rest.get(..length));
    let head = head.ok_or_else(|| file.is_not(wanted, "it ends within its head"))?;
    serde_json::from_slice(head).map_err(|error| file.is_not(wanted, error))
}

fn check_config(config: &File, columns: usize) -> Result<(), ModelFolderError> {
    let settings = config.json()?;
    if !settings.is_object() {
        return Err(config.holds("holds no settings"));
    }
    match settings.get("hidden_dim").and_then(Value::as_u64) {
        Some(promised) if promised != columns as u64 => {
            Err(config
                .holds(format!("promises {promised} dimensions (`hidden_dim`), `{TENSORS}` has {columns}")))
        }
        _ => Ok(()),
    }
}

/// An id beyond the rows would be found only by the text that holds its token.
fn check_tokenizer(tokenizer: &File, rows: usize) -> Result<(), ModelFolderError> {
    let settings = tokenizer.json()?;
    let model = settings.get("model").unwrap_or(&Value::Null);
    let kind = model.get("type").and_then(Value::as_str).unwrap_or("none");
    if kind != "WordPiece" {
        return Err(tokenizer.holds(format!("holds a tokenizer of type {kind}, wanted WordPiece")));
    }
    let Some(vocabulary) = model.get("vocab").and_then(Value::as_object).filter(|words| !words.is_empty())
    else {
        return Err(tokenizer.holds("has no vocabulary"));
    };
    let added = settings.get("added_tokens").and_then(Value::as_array).into_iter().flatten();
    let added = added.filter_map(|token| token.get("id").and_then(Value::as_u64));
    let highest = vocabulary.values().filter_map(Value::as_u64).chain(added).max().unwrap_or(0);
    if highest >= rows as u64 {
        return Err(tokenizer.holds(format!("has token ids up to {highest}, `{TENSORS}` only {rows} rows")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::*;
    use crate::ai::StaticEmbedder;

    const BUILT_IN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/models/penstock-static-256");

    /// A model of three words in two dimensions, to be spoilt.
    struct Sketch {
        config: Value,
        head: Value,
        body: Vec<u8>,
        tokenizer: Value,
    }

    impl Sketch {
        fn new() -> Self {
            let rows: [[i8; 2]; 4] = [[0, 0], [100, 0], [0, 100], [60, 80]];
            let weights = [0.0_f32, 0.5, 0.01, 1.0];
            let mut body: Vec<u8> = weights.iter().flat_map(|weight| weight.to_le_bytes()).collect();
            body.extend(rows.iter().flatten().map(|column| column.cast_unsigned()));
            Self {
                config: json!({"model_type": "model2vec", "normalize": false, "hidden_dim": 2}),
                head: json!({
                    "weights": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]},
                    "embeddings": {"dtype": "I8", "shape": [4, 2], "data_offsets": [16, 24]},
                }),
                body,
                tokenizer: json!({
                    "version": "1.0", "truncation": null, "padding": null, "added_tokens": [],
                    "normalizer": {"type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true,
                        "strip_accents": null, "lowercase": true},
                    "pre_tokenizer": {"type": "BertPreTokenizer"}, "post_processor": null, "decoder": null,
                    "model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
                        "max_input_chars_per_word": 100,
                        "vocab": {"[UNK]": 0, "lead": 1, "deal": 2, "lost": 3}},
                }),
            }
        }

        fn write(&self) -> tempfile::TempDir {
            let folder = tempfile::tempdir().unwrap();
            let head = self.head.to_string();
            let mut tensors = (head.len() as u64).to_le_bytes().to_vec();
            tensors.extend_from_slice(head.as_bytes());
            tensors.extend_from_slice(&self.body);
            fs::write(folder.path().join(CONFIG), self.config.to_string()).unwrap();
            fs::write(folder.path().join(TENSORS), tensors).unwrap();
            fs::write(folder.path().join(TOKENIZER), self.tokenizer.to_string()).unwrap();
            folder
        }
    }

    fn told(folder: &Path) -> String {
        let error = FolderEmbedder::load(folder).unwrap_err();
        let mut told = error.to_string();
        let mut cause = error.source();
        while let Some(error) = cause {
            told = format!("{told}: {error}");
            cause = error.source();
        }
        told.replace(&format!("{}/", folder.display()), "")
    }

    #[test]
    fn a_folder_of_its_own_words_embeds_to_unit_length_whatever_its_settings_say() {
        let folder = Sketch::new().write();
        let model = FolderEmbedder::load(folder.path()).unwrap();
        assert_eq!(model.dimensions(), 2);
        let vectors = model.embed(&["Lead", "deal", "lost lead", "unheard of"]).unwrap();
        assert_eq!(vectors[..2], [[1.0, 0.0], [0.0, 1.0]]);
        // 0.5 x [100, 0] + 1 x [60, 80]
        let length = 110.0_f32.hypot(80.0);
        assert!(
            (vectors[2][0] - 110.0 / length).abs() < 1e-6 && (vectors[2][1] - 80.0 / length).abs() < 1e-6
        );
        assert!(crate::ai::is_empty_vector(&vectors[3]));
    }

    #[test]
    fn the_built_in_models_own_files_are_the_built_in_model() {
        let (copy, built_in) = (FolderEmbedder::load(Path::new(BUILT_IN)).unwrap(), StaticEmbedder::new());
        assert_eq!(copy.model_name(), built_in.model_name());
        assert_eq!(copy.dimensions(), built_in.dimensions());
        let texts = ["reason a deal was lost", "billing address"];
        assert_eq!(copy.embed(&texts).unwrap(), built_in.embed(&texts).unwrap());
    }

    #[test]
    fn a_model_is_named_by_what_makes_its_vectors() {
        let name =
            |sketch: &Sketch| FolderEmbedder::load(sketch.write().path()).unwrap().model_name().to_owned();
        let first = name(&Sketch::new());
        assert!(first.starts_with("static-2-"), "{first}");
        let mut settings = Sketch::new();
        settings.config = json!({});
        assert_eq!(name(&settings), first, "in another folder, with other settings");
        let mut row = Sketch::new();
        row.body[20] ^= 1;
        assert_ne!(name(&row), first);
        let mut words = Sketch::new();
        words.tokenizer["model"]["vocab"] = json!({"[UNK]": 0, "lead": 1, "deal": 3, "lost": 2});
        assert_ne!(name(&words), first);
    }

    #[rstest]
    #[case(CONFIG)]
    #[case(TENSORS)]
    #[case(TOKENIZER)]
    fn a_missing_file_is_told_by_name(#[case] file: &str) {
        let folder = Sketch::new().write();
        fs::remove_file(folder.path().join(file)).unwrap();
        assert_eq!(
            told(folder.path()),
            format!("cannot read `{file}`: No such file or directory (os error 2)")
        );
    }

    #[rstest]
    #[case::no_json(CONFIG, "normalize", "`config.json` is not JSON: ")]
    #[case::no_settings(CONFIG, "[]", "`config.json` holds no settings")]
    #[case::empty(TENSORS, "", "`model.safetensors` is not a safetensors file: it is too short")]
    #[case::another_format(
        TENSORS,
        "PK\u{3}\u{4} a zip, as others have it",
        "`model.safetensors` is not a safetensors file: its head would be "
    )]
    #[case::cut(TENSORS, "\u{ff}\0\0\0\0\0\0\0{", "`model.safetensors` is not a safetensors file: ")]
    #[case::no_tokenizer(
        TOKENIZER,
        "{}",
        "`tokenizer.json` holds a tokenizer of type none, wanted WordPiece"
    )]
    #[case::a_pointer(TOKENIZER, "version https://git-lfs", "`tokenizer.json` is not JSON: ")]
    fn a_file_of_another_format_is_told_by_name(
        #[case] file: &str,
        #[case] text: &str,
        #[case] expected: &str,
    ) {
        let folder = Sketch::new().write();
        fs::write(folder.path().join(file), text).unwrap();
        let told = told(folder.path());
        assert!(told.starts_with(expected), "{told}");
    }

    #[rstest]
    #[case::promised(|s: &mut Sketch| s.config["hidden_dim"] = json!(256),
        "`config.json` promises 256 dimensions (`hidden_dim`), `model.safetensors` has 2")]
    #[case::no_table(|s: &mut Sketch| s.head = json!({}), "`model.safetensors` has no tensor `embeddings`")]
    #[case::flat(|s: &mut Sketch| s.head["embeddings"]["shape"] = json!([8]),
        "`model.safetensors` has `embeddings` of shape [8], wanted [rows, columns]")]
    #[case::too_wide(|s: &mut Sketch| s.head["embeddings"]["shape"] = json!([1, 9_000]),
        "`model.safetensors` has `embeddings` of 1 rows and 9000 columns, wanted a row a token and 1 to 8192 columns")]
    #[case::of_doubles(|s: &mut Sketch| s.head["embeddings"]["dtype"] = json!("F64"),
        "`model.safetensors` has `embeddings` of type F64, wanted I8, F16 or F32")]
    #[case::weights(|s: &mut Sketch| s.head["weights"]["shape"] = json!([2, 2]),
        "`model.safetensors` has `weights` of shape [2, 2], wanted one a row: [4]")]
    #[case::cut(|s: &mut Sketch| s.body.truncate(20), "`model.safetensors` is not a model with its tokenizer: ")]
    #[case::more_words_than_rows(|s: &mut Sketch| s.tokenizer["model"]["vocab"]["more"] = json!(4),
        "`tokenizer.json` has token ids up to 4, `model.safetensors` only 4 rows")]
    #[case::added_words(|s: &mut Sketch| s.tokenizer["added_tokens"] = json!([{"id": 9, "content": "[X]"}]),
        "`tokenizer.json` has token ids up to 9, `model.safetensors` only 4 rows")]
    #[case::no_words(|s: &mut Sketch| s.tokenizer["model"]["vocab"] = json!({}),
        "`tokenizer.json` has no vocabulary")]
    #[case::another_tokenizer(|s: &mut Sketch| s.tokenizer["model"]["type"] = json!("BPE"),
        "`tokenizer.json` holds a tokenizer of type BPE, wanted WordPiece")]
    fn files_that_contradict_each_other_are_told_by_name(
        #[case] spoil: fn(&mut Sketch),
        #[case] expected: &str,
    ) {
        let mut sketch = Sketch::new();
        spoil(&mut sketch);
        let folder = sketch.write();
        let told = told(folder.path());
        assert!(told.starts_with(expected), "{told}");
    }
}
