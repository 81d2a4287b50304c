//! The sections of lead jobs. `config.toml` explains them to the operator; [`LeadsConfig::settings`] makes of them what the
//! job works with.

use std::fmt;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use super::Config;
use super::checks::read_secret_file;
use super::problems::Problems;
use super::spec::{Value, parse_text, quoted, section, text_of, text_value, words};
use super::tree::Content;
use super::values::{ByteSize, Period, Secret};
use crate::leads::field::{BadPath, FieldMapping, FieldPath, LeadField};
use crate::leads::settings::{LeadSettings, ModelMode, ModelSettings, Money, Price, ScoreWeights};
use crate::model::OrgName;

/// Ids that the org takes in one read.
const IDS_PER_READ: u64 = 2_000;

words! {
    /// Where sizes and pauses come from that are not given.
    pub enum LeadProfile {
        /// 2,000 ids a read and no pauses.
        Auto = "auto",
        /// 150 ids a read and pauses, as the lead analyser that penstock replaces.
        Seed = "seed",
    }
}

words! {
    /// How the model is asked.
    pub enum ModelModeWord {
        /// One request a lead, now.
        Direct = "direct",
        /// By the endpoint's Batch API.
        Batch = "batch",
    }
}

/// A field's place in the org, such as `Website` or `Segment__r.Name`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeadPath(FieldPath);

impl FromStr for LeadPath {
    type Err = BadPath;

    fn from_str(text: &str) -> Result<Self, BadPath> {
        text.parse().map(Self)
    }
}

impl fmt::Display for LeadPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
text_value!(LeadPath);

/// An address such as `https://api.openai.com/v1`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndpointUrl(String);

impl EndpointUrl {
    /// The address, without a slash at its end.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Value for EndpointUrl {
    fn parse(content: &Content) -> Result<Self, String> {
        let text = text_of(content)?.trim().trim_end_matches('/');
        let url = reqwest::Url::parse(text).ok().filter(|url| {
            ["http", "https"].contains(&url.scheme())
                && url.host_str().is_some()
                && url.username().is_empty()
                && url.password().is_none()
                && url.query().is_none()
        });
        match url {
            Some(_) => Ok(Self(text.to_owned())),
            None => Err(format!(
                "`{text}` is no address of an endpoint such as `https://api.openai.com/v1`; keys go into `api_key`"
            )),
        }
    }

    fn to_toml(&self) -> String {
        quoted(&self.0)
    }
}

section! {
    /// Lead jobs.
    pub struct LeadsConfig {
        /// Where sizes and pauses come from that are not given.
        profile: LeadProfile = LeadProfile::Auto;
        /// The org; `None` takes the first.
        org: Option<OrgName> = None;
        /// Ids in one read.
        read_batch: Option<u64> = None, 1..=IDS_PER_READ;
        /// Ids checked for existence at once. They are checked by being read, so the smaller of the two sizes counts.
        validation_batch: Option<u64> = None, 1..=IDS_PER_READ;
        /// Leads in one item of the assessor.
        assess_batch: Option<u64> = None, 1..=IDS_PER_READ;
        /// Ids above which a request over HTTP becomes a job.
        large_dataset_threshold: Option<u64> = None, 0..=1_000_000;
        /// Pause after each read.
        read_pause_ms: Option<u64> = None, 0..=600_000;
        /// Pause after each item of the assessor.
        assess_pause_ms: Option<u64> = None, 0..=600_000;
        /// Longest wait for one answer of the org or of the model.
        call_timeout_secs: u64 = 30, 1..=600;
        /// Employees above which a company is large.
        large_company_employees: u32 = 100;
        /// Domains that count as free mail beside those that penstock knows.
        free_mail_domains: Vec<String> = Vec::new();
        /// Whether proposed websites are looked up.
        check_websites: bool = false;
        /// Largest file that is taken over HTTP.
        max_upload: ByteSize = ByteSize::mib(256), ByteSize::kib(64)..=ByteSize::mib(4 << 10);
        /// How long a finished job and its reports are kept.
        keep_jobs: Period = Period::hours(24 * 30);
        /// Roles of which a caller over HTTP needs one; empty: every caller who is let in.
        roles: Vec<String> = Vec::new();
        /// Where each field stands in the org.
        fields: LeadFieldsConfig = LeadFieldsConfig::default();
        /// What each score weighs.
        weights: LeadWeightsConfig = LeadWeightsConfig::default();
        /// The model.
        model: LeadModelConfig = LeadModelConfig::default();
    }
}

macro_rules! lead_fields {
    ($($name:ident = $field:ident;)*) => {
        section! {
            /// Where each field stands in the org; empty: nowhere.
            pub struct LeadFieldsConfig {
                $(
                    #[doc = concat!("`", stringify!($name), "`")]
                    $name: Option<LeadPath> = LeadField::$field.default_path().parse().ok();
                )*
            }
        }

        impl LeadFieldsConfig {
            fn mapping(&self) -> FieldMapping {
                let defaults = Self::default();
                let mut mapping = FieldMapping::default();
                $(if self.$name != defaults.$name {
                    mapping.set(LeadField::$field, self.$name.clone().map(|path| path.0));
                })*
                mapping
            }
        }

        #[cfg(test)]
        const CONFIGURED: &[(LeadField, &str)] = &[$((LeadField::$field, stringify!($name))),*];
    };
}

lead_fields! {
    first_name = FirstName;
    last_name = LastName;
    phone = Phone;
    country = Country;
    title = Title;
    industry = Industry;
    email = Email;
    first_channel = FirstChannel;
    segment_name = SegmentName;
    company_size_range = CompanySizeRange;
    website = Website;
    company = Company;
    enriched_website = EnrichedWebsite;
    enriched_company = EnrichedCompany;
    enriched_employees = EnrichedEmployees;
    state = State;
    enriched_state = EnrichedState;
    enriched_country = EnrichedCountry;
}

section! {
    /// What each score weighs in the confidence.
    pub struct LeadWeightsConfig {
        /// How complete is what the lead gave.
        acquisition: f64 = ScoreWeights::default().acquisition, 0.0..=1_000.0;
        /// How complete is what the enrichment added.
        enrichment: f64 = ScoreWeights::default().enrichment, 0.0..=1_000.0;
        /// How believable it is.
        coherence: f64 = ScoreWeights::default().coherence, 0.0..=1_000.0;
    }
}

section! {
    /// The model that assesses leads; without `base_url` and `model`, rules do alone.
    pub struct LeadModelConfig {
        /// Address of an OpenAI-compatible endpoint, with its version.
        base_url: Option<EndpointUrl> = None;
        /// Name of the model.
        model: Option<String> = None;
        /// Its key.
        api_key: Option<Secret> = None;
        /// File that holds `api_key`.
        api_key_file: Option<PathBuf> = None;
        /// PEM file of certificates that are trusted beside the built-in roots.
        ca_file: Option<PathBuf> = None;
        /// One request a lead, or the endpoint's Batch API.
        mode: ModelModeWord = ModelModeWord::Direct;
        /// 0 to 2; small is steady.
        temperature: f64 = 0.1, 0.0..=2.0;
        /// Longest answer, in tokens.
        max_completion_tokens: u32 = 1_000, 16..=100_000;
        /// Bounds of lengths, counts and numbers in the answer's schema.
        schema_bounds: bool = false;
        /// Requests allowed in a minute; `None`: as the endpoint says.
        requests_per_minute: Option<u32> = None, 1..=10_000_000;
        /// Tokens allowed in a minute; `None`: as the endpoint says.
        tokens_per_minute: Option<u32> = None, 1..=4_000_000_000;
        /// Requests under way at once.
        concurrency: u32 = 32, 1..=1_000;
        /// Tries of a lead whose answer is of no use; each is paid for.
        attempts: u32 = 2, 1..=10;
        /// Price of a million tokens of questions.
        prompt_price: f64 = 0.0, 0.0..=100_000.0;
        /// Price of a million tokens of answers.
        completion_price: f64 = 0.0, 0.0..=100_000.0;
        /// Part of the price that is paid in batch mode.
        batch_price_factor: f64 = 0.5, 0.0..=1.0;
        /// Most that one job may spend.
        max_cost: Option<f64> = None, 0.0..=1_000_000.0;
        /// Pause between two looks at a batch.
        batch_poll_secs: u64 = 30, 1..=3_600;
    }
}

/// What a profile says where a key is silent: read, validation and assess batch, threshold, two pauses.
const AUTO: [u64; 6] = [2_000, 2_000, 50, 1_000, 0, 0];
const SEED: [u64; 6] = [150, 150, 50, 1_000, 50, 100];

impl LeadsConfig {
    /// As it is used: what the profile says is filled in.
    pub fn resolved(&self) -> Self {
        let profile = match self.profile {
            LeadProfile::Auto => AUTO,
            LeadProfile::Seed => SEED,
        };
        let [read, validation, assess, threshold, read_pause, assess_pause] = profile;
        Self {
            read_batch: self.read_batch.or(Some(read)),
            validation_batch: self.validation_batch.or(Some(validation)),
            assess_batch: self.assess_batch.or(Some(assess)),
            large_dataset_threshold: self.large_dataset_threshold.or(Some(threshold)),
            read_pause_ms: self.read_pause_ms.or(Some(read_pause)),
            assess_pause_ms: self.assess_pause_ms.or(Some(assess_pause)),
            ..self.clone()
        }
    }

    /// What the job works with.
    pub fn settings(&self) -> LeadSettings {
        let resolved = self.resolved();
        let size = |given: Option<u64>| usize::try_from(given.unwrap_or(1)).unwrap_or(usize::MAX).max(1);
        let pause = |given: Option<u64>| Duration::from_millis(given.unwrap_or_default());
        LeadSettings {
            org: self.org.clone(),
            read_batch: size(resolved.read_batch).min(size(resolved.validation_batch)),
            assess_batch: size(resolved.assess_batch),
            large_dataset_threshold: resolved
                .large_dataset_threshold
                .and_then(|threshold| usize::try_from(threshold).ok())
                .unwrap_or_default(),
            read_pause: pause(resolved.read_pause_ms),
            assess_pause: pause(resolved.assess_pause_ms),
            call_timeout: Duration::from_secs(self.call_timeout_secs),
            fields: self.fields.mapping(),
            weights: ScoreWeights {
                acquisition: self.weights.acquisition,
                enrichment: self.weights.enrichment,
                coherence: self.weights.coherence,
            },
            large_company_employees: i64::from(self.large_company_employees),
            free_mail_domains: self.free_mail_domains.iter().map(|domain| domain.to_lowercase()).collect(),
            check_websites: self.check_websites,
            max_upload_bytes: self.max_upload.bytes(),
            keep_jobs: self.keep_jobs.duration(),
            model: self.model.settings(self.call_timeout_secs),
        }
    }
}

impl LeadModelConfig {
    fn settings(&self, timeout_secs: u64) -> Option<ModelSettings> {
        let (base_url, model) = (self.base_url.as_ref()?, self.model.as_ref()?);
        let price = Price {
            prompt_per_million: Money::from_units(self.prompt_price),
            completion_per_million: Money::from_units(self.completion_price),
            batch_factor: self.batch_price_factor,
        };
        Some(ModelSettings {
            base_url: base_url.as_str().to_owned(),
            api_key: self.api_key.as_ref().map(Secret::to_secret_string),
            model: model.clone(),
            mode: match self.mode {
                ModelModeWord::Direct => ModelMode::Direct,
                ModelModeWord::Batch => ModelMode::Batch,
            },
            temperature: self.temperature,
            max_completion_tokens: self.max_completion_tokens,
            schema_bounds: self.schema_bounds,
            timeout: Duration::from_secs(timeout_secs),
            requests_per_minute: self.requests_per_minute.and_then(NonZeroU32::new),
            tokens_per_minute: self.tokens_per_minute.and_then(NonZeroU32::new),
            concurrency: NonZeroU32::new(self.concurrency).unwrap_or(NonZeroU32::MIN),
            attempts: NonZeroU32::new(self.attempts).unwrap_or(NonZeroU32::MIN),
            price,
            max_cost: self.max_cost.map(Money::from_units),
            batch_poll: Duration::from_secs(self.batch_poll_secs),
            ca_file: self.ca_file.clone(),
        })
    }
}

/// Reads the secret that stands in a file.
pub(super) fn read_secret_files(config: &mut Config, problems: &mut Problems) {
    let model = &mut config.leads.model;
    read_secret_file("leads.model.api_key", &mut model.api_key, model.api_key_file.as_ref(), problems);
}

/// Adds what the keys say only together.
pub(super) fn check(config: &Config, problems: &mut Problems) {
    let leads = &config.leads;
    if let Some(org) = leads.org.as_ref().filter(|name| config.org.iter().all(|org| org.name != **name)) {
        problems.add("leads.org", format!("`{org}` is none of the orgs; add `[[org]]` with this name"));
    }
    let weights = &leads.weights;
    if weights.acquisition + weights.enrichment + weights.coherence <= 0.0 {
        problems.add("leads.weights", "are all 0: nothing would weigh anything");
    }
    for domain in &leads.free_mail_domains {
        let is_domain = domain.contains('.') && !domain.contains(|c: char| c.is_whitespace() || c == '@');
        if !is_domain {
            problems
                .add("leads.free_mail_domains", format!("`{domain}` is no domain such as `mail.example`"));
        }
    }
    let model = &leads.model;
    match (&model.base_url, &model.model) {
        (Some(_), None) => problems.add("leads.model.model", "is missing: `base_url` is given"),
        (None, Some(_)) => problems.add("leads.model.base_url", "is missing: `model` is given"),
        (Some(url), Some(_)) => {
            let host = url.as_str().strip_prefix("http://").map(|rest| rest.split(['/', ':']).next());
            let is_local = |host: Option<&str>| {
                host.is_some_and(|host| ["127.0.0.1", "localhost", "[::1]", "["].contains(&host))
            };
            if host.is_some_and(|host| !is_local(host)) && model.api_key.is_some() {
                let text = "would send `api_key` in the clear; use https";
                problems.add("leads.model.base_url", text);
            }
        }
        (None, None) => {}
    }
    let max_cost_without_price =
        model.max_cost.is_some() && model.prompt_price == 0.0 && model.completion_price == 0.0;
    if max_cost_without_price {
        let text = "can never be reached: give `leads.model.prompt_price` and `leads.model.completion_price`";
        problems.add("leads.model.max_cost", text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    fn parse(text: &str, environment: &[(&str, &str)]) -> Result<Config, Problems> {
        let text = format!("[[org]]\nname = \"demo\"\nsimulated = true\n{text}");
        let environment = environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Config::parse(&text, "config.toml", environment)
    }

    #[test]
    fn every_field_has_a_key_of_its_own_name() {
        assert_eq!(CONFIGURED.len(), LeadField::COUNT);
        for (field, key) in CONFIGURED {
            assert_eq!(field.key(), *key);
        }
    }

    #[test]
    fn the_seeds_profile_and_its_variables_are_what_the_dump_shows() {
        let plain = parse("", &[]).unwrap().leads.settings();
        assert_eq!((plain.read_batch, plain.assess_batch, plain.read_pause.as_millis()), (2_000, 50, 0));
        let config = parse(
            "[leads]\nprofile = \"seed\"\n",
            &[("BATCH_SIZE_AI", "20"), ("AI_BATCH_DELAY_MS", "7"), ("LARGE_DATASET_THRESHOLD", "9")],
        );
        let config = config.unwrap();
        let settings = config.leads.settings();
        assert_eq!((settings.read_batch, settings.assess_batch), (150, 20));
        assert_eq!((settings.read_pause.as_millis(), settings.assess_pause.as_millis()), (50, 7));
        assert_eq!(settings.large_dataset_threshold, 9);
        let lines = config.key_lines();
        let shown = |key: &str| lines.iter().find(|line| line.key == key).map(|line| line.value.as_str());
        assert_eq!(shown("leads.read_batch"), Some("150"));
        assert_eq!(shown("leads.assess_batch"), Some("20"));
        assert_eq!(shown("leads.validation_batch"), Some("150"));
    }

    #[test]
    fn a_variable_of_the_seed_out_of_bounds_is_told_by_its_own_name() {
        let problems = parse("", &[("BATCH_SIZE_SALESFORCE", "5000")]).unwrap_err().to_string();
        assert!(problems.contains("BATCH_SIZE_SALESFORCE") && problems.contains("1 to 2000"), "{problems}");
    }

    #[test]
    fn ids_are_validated_by_being_read_so_the_smaller_size_counts() {
        let config = parse("[leads]\nread_batch = 500\nvalidation_batch = 200\n", &[]).unwrap();
        assert_eq!(config.leads.settings().read_batch, 200);
    }

    #[test]
    fn a_field_that_a_person_has_placed_is_asked_for() {
        let config = parse("[leads.fields]\nwebsite = \"Site__c\"\nstate = \"\"\nphone = \"Phone\"\n", &[]);
        let mapping = config.unwrap().leads.settings().fields;
        assert_eq!(mapping.path(LeadField::Website).unwrap().to_string(), "Site__c");
        assert!(mapping.is_asked_for(LeadField::Website) && mapping.path(LeadField::State).is_none());
        assert!(!mapping.is_asked_for(LeadField::Phone));
    }

    #[rstest]
    #[case("[leads]\norg = \"other\"\n", "leads.org")]
    #[case("[leads.fields]\nwebsite = \"a b\"\n", "leads.fields.website")]
    #[case("[leads.model]\nmodel = \"m\"\n", "leads.model.base_url")]
    #[case("[leads.model]\nbase_url = \"ftp://x\"\nmodel = \"m\"\n", "leads.model.base_url")]
    #[case(
        "[leads.model]\nbase_url = \"http://far.example/v1\"\nmodel = \"m\"\napi_key = \"k\"\n",
        "in the clear"
    )]
    #[case("[leads.model]\nmax_cost = 3.0\n", "leads.model.max_cost")]
    #[case("[leads.weights]\nacquisition = 0\nenrichment = 0\ncoherence = 0\n", "leads.weights")]
    #[case("[leads]\nfree_mail_domains = [\"me@mail.example\"]\n", "leads.free_mail_domains")]
    fn what_cannot_work_is_told_by_its_key(#[case] text: &str, #[case] told: &str) {
        let problems = parse(text, &[]).unwrap_err().to_string();
        assert!(problems.contains(told), "{problems}");
    }

    #[test]
    fn a_model_at_home_needs_no_key_and_no_tls() {
        let text = "[leads.model]\nbase_url = \"http://127.0.0.1:8000/v1/\"\nmodel = \"small\"\nprompt_price = 0.15\n";
        let model = parse(text, &[]).unwrap().leads.settings().model.unwrap();
        assert_eq!(model.base_url, "http://127.0.0.1:8000/v1");
        assert_eq!(model.price.prompt_per_million, Money(150_000));
    }
}
