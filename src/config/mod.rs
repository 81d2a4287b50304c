//! What the operator can set: `config.toml`, overridden by the environment.
//!
//! Promises: every mistake is found in one run, by key, with its line; nothing is opened or asked before
//! the configuration is good; a secret prints as nothing, here and in every error.
//!
//! A key is declared once, in `sections.rs`, with its type, default and bounds; reader, dump and the test
//! that holds `config.toml` to it follow from there. `PENSTOCK__ACTORS__FETCHER__SLOTS=4` overrides
//! `actors.fetcher.slots`; a list of sections takes a position or a name (`PENSTOCK__ORG__DEMO__TOKEN`).

mod batch_checks;
mod batch_sections;
mod batch_settings;
mod checks;
mod lead_sections;
mod problems;
mod sections;
mod spec;
mod sync_sections;
mod tree;
mod values;

use std::path::Path;

pub use batch_sections::{
    Anonymous, ApiConfig, BatchConfig, DatabaseConfig, DatabaseKindWord, EnforcementWord, EntityConfig,
    IssuerConfig, OperationClaimsMode, StatementConfig, TlsWord, TokenAlgorithm,
};
pub use lead_sections::{
    EndpointUrl, LeadFieldsConfig, LeadModelConfig, LeadPath, LeadProfile, LeadWeightsConfig, LeadsConfig,
    ModelModeWord,
};
pub use problems::{Origin, Problem, Problems};
pub use sections::{
    ActorsConfig, AuthKind, BatchingConfig, CacheConfig, Config, Edition, EmbedderConfig, EmbedderKind,
    EngineConfig, HttpConfig, LimitProfile, LimitsConfig, LogConfig, LogFormat, OrgConfig, SchemaConfig,
    SimulatorConfig, StageConfig,
};
pub use spec::KeyLine;
pub use sync_sections::{
    DeletesWord, PushConfig, PushOperationWord, SyncConfig, SyncObjectConfig, SyncProfileWord,
    WarehouseConfig, WarehouseKindWord,
};
pub use values::{ByteSize, Free, LogFilter, LoginUrl, ObjectPattern, Period, Secret};

use spec::Part;
use tree::{Content, Environment, Node};

/// The shipped configuration: what holds when no file is given.
pub const SHIPPED: &str = include_str!("../../config.toml");

/// The environment of this process; what is not Unicode cannot be a setting of ours and is left out.
#[expect(clippy::disallowed_methods, reason = "the one place that reads the environment")]
pub fn process_environment() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
}

impl Config {
    /// Reads the file (or the shipped configuration when none is given), then the overrides.
    ///
    /// # Errors
    /// Every mistake found. A syntax error of TOML hides the mistakes of keys, not those of the environment.
    pub fn load(
        path: Option<&Path>,
        environment: impl Iterator<Item = (String, String)>,
    ) -> Result<Self, Problems> {
        let Some(path) = path else { return Self::parse(SHIPPED, "config.toml", environment) };
        let file = path.display().to_string();
        match std::fs::read_to_string(path) {
            Ok(text) => Self::parse(&text, &file, environment),
            Err(error) => {
                let mut problems = Problems::new(file, Vec::new());
                problems.add("", format!("cannot be read: {error}"));
                Err(problems)
            }
        }
    }

    /// Reads the text of a file called `file`, then the overrides.
    ///
    /// # Errors
    /// Every mistake found.
    pub fn parse(
        text: &str,
        file: &str,
        environment: impl Iterator<Item = (String, String)>,
    ) -> Result<Self, Problems> {
        let environment: Environment = environment.collect();
        let mut problems = Problems::new(file.to_owned(), known_keys());
        let mut tree = tree::read_toml(text, &environment, &mut problems);
        let syntax_is_good = problems.iter().all(|problem| !problem.key.is_empty());
        tree::lay_over(&mut tree, &environment, &mut problems);
        let root = Node { origin: Origin::Line(1), content: Content::Table(tree) };
        let mut config = Self::default().read(Some(&root), "", &mut problems);
        if syntax_is_good {
            checks::check(&config, &mut problems);
            checks::read_secret_files(&mut config, &mut problems);
            batch_checks::read_secret_files(&mut config, &mut problems);
            batch_checks::check(&config, &mut problems);
            lead_sections::read_secret_files(&mut config, &mut problems);
            lead_sections::check(&config, &mut problems);
            sync_sections::read_secret_files(&mut config, &mut problems);
            sync_sections::check(&config, &mut problems);
            checks::check_model_folder(&config.embedder, &mut problems);
        }
        problems.into_result().map(|()| config)
    }

    /// Every key with its value, secrets empty: what `penstock config dump` prints. Sizes of lead jobs and thresholds of syncs
    /// that no key gives are those of their profile.
    pub fn key_lines(&self) -> Vec<KeyLine> {
        spec::key_lines(&Self { leads: self.leads.resolved(), sync: self.sync.resolved(), ..self.clone() })
    }
}

impl Config {
    /// The same as a file that reads back as this configuration, but for its secrets, which are empty.
    pub fn to_toml(&self) -> String {
        let (in_lists, rest): (Vec<_>, Vec<_>) =
            self.key_lines().into_iter().partition(|line| line.key.contains('['));
        let mut text = String::new();
        for line in rest {
            text += &format!("{} = {}\n", line.key, line.value);
        }
        // Sections of lists one after the other, those inside others after their own keys.
        let (mut sections, mut keys_of): (Vec<String>, Vec<String>) = (Vec::new(), Vec::new());
        for line in in_lists {
            let Some((section, key)) =
                line.key.rsplit_once("].").map(|(head, key)| (format!("{head}]"), key))
            else {
                continue;
            };
            let keys = format!("{key} = {}\n", line.value);
            match sections.iter().position(|known| *known == section) {
                Some(at) => keys_of[at] += &keys,
                None => {
                    sections.push(section);
                    keys_of.push(keys);
                }
            }
        }
        for (section, keys) in sections.iter().zip(keys_of) {
            text += &format!("[[{}]]\n{keys}", without_positions(section));
        }
        text
    }
}

/// `org[0].limits[1]` is written `org.limits`.
fn without_positions(key: &str) -> String {
    let mut text = String::with_capacity(key.len());
    for part in key.split('[') {
        text.push_str(part.split_once(']').map_or(part, |(_, rest)| rest));
    }
    text
}

/// Every key there is, for the nearest one to a misspelt key.
fn known_keys() -> Vec<String> {
    let api = ApiConfig { issuer: vec![IssuerConfig::default()], ..ApiConfig::default() };
    let database = DatabaseConfig {
        entity: vec![EntityConfig::default()],
        statement: vec![StatementConfig::default()],
        ..DatabaseConfig::default()
    };
    let config = Config {
        org: vec![OrgConfig::default()],
        api,
        database: vec![database],
        warehouse: vec![WarehouseConfig::default()],
        sync: SyncConfig { object: vec![SyncObjectConfig::default()], ..SyncConfig::default() },
        push: vec![PushConfig::default()],
        ..Config::default()
    };
    config.key_lines().into_iter().map(|line| line.key.replace("[0]", "")).collect()
}

#[cfg(test)]
mod batch_tests;
#[cfg(test)]
mod tests;
