//! The sections of sync: warehouses, objects, schedules, and what is pushed back. `config.toml` explains them to the
//! operator; [`Config::sync_settings`] makes of them what the job works with.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::str::FromStr;

use super::batch_sections::TlsWord;
use super::checks::read_secret_file;
use super::problems::Problems;
use super::sections::Config;
use super::spec::{KeyLine, Part, describe_list, read_list, section, words};
use super::tree::Node;
use super::values::{ByteSize, Period, Secret};
use crate::model::{FieldName, ObjectName, OrgName};
use crate::sync::filter::Filter;
use crate::sync::schedule::Schedule;
use crate::sync::{DeletePolicy, ObjectSettings, SyncProfile, SyncSettings, TableName, Thresholds};

/// The field that identifies a row where no other is named.
const MATCH_FIELD: &str = "Id";
const MILLION: f64 = 1_000_000.0;

words! {
    /// Which engine keeps the tables.
    pub enum WarehouseKindWord {
        /// A file, embedded.
        Sqlite = "sqlite",
        /// PostgreSQL, by COPY.
        Postgres = "postgres",
        /// A DuckDB file, by its own library.
        Duckdb = "duckdb",
        /// Snowflake, by its ADBC driver.
        Snowflake = "snowflake",
    }
}

section! {
    /// One warehouse.
    pub struct WarehouseConfig {
        /// Its name in `sync.warehouse`, logs, metrics and variables of the environment.
        name: String = String::new();
        /// The engine.
        kind: WarehouseKindWord = WarehouseKindWord::Sqlite;
        /// SQLite, DuckDB: the file; `None`: `NAME.sqlite` or `NAME.duckdb` in the output folder.
        path: Option<PathBuf> = None;
        /// PostgreSQL: where, with user and password.
        url: Option<Secret> = None;
        /// File that holds `url`.
        url_file: Option<PathBuf> = None;
        /// PostgreSQL: how the connection is secured.
        tls: TlsWord = TlsWord::Auto;
        /// PostgreSQL: PEM file of certificates that are trusted beside the built-in roots.
        ca_file: Option<PathBuf> = None;
        /// Schema of tables whose name has none, and of penstock's own tables.
        schema: Option<String> = None;
        /// Connections that write at once, where the engine takes several writers.
        connections: u32 = 4, 1..=32;
        /// DuckDB, Snowflake: the driver's library, or the name of its manifest.
        driver: Option<String> = None;
        /// DuckDB, Snowflake: folders with manifests of drivers, looked through before the usual ones.
        driver_path: Option<PathBuf> = None;
        /// DuckDB: most memory that it takes.
        memory: ByteSize = ByteSize::mib(256), ByteSize::mib(64)..=ByteSize::mib(1 << 20);
        /// DuckDB: threads that it works with.
        threads: u32 = 1, 1..=256;
        /// Snowflake: the account, `ORGANISATION-ACCOUNT`.
        account: Option<String> = None;
        /// Snowflake: the login.
        user: Option<String> = None;
        /// Snowflake: its password.
        password: Option<Secret> = None;
        /// File that holds `password`.
        password_file: Option<PathBuf> = None;
        /// Snowflake: PEM file of the key that it signs in with instead.
        private_key_file: Option<PathBuf> = None;
        /// Snowflake: what that file is encrypted with.
        private_key_password: Option<Secret> = None;
        /// Snowflake: the role to take.
        role: Option<String> = None;
        /// Snowflake: the virtual warehouse that works.
        compute: Option<String> = None;
        /// Snowflake: the database.
        database: Option<String> = None;
        /// Snowflake: another address than the account's own, `https://host:port`.
        endpoint: Option<String> = None;
        /// Snowflake: longest wait for one request or statement; with the other engines a statement has an hour.
        request_timeout_secs: u64 = 600, 1..=3_600;
    }
}

words! {
    /// Where thresholds come from that are not given.
    pub enum SyncProfileWord {
        /// By what costs fewer calls: 10,000 and 50,000.
        Auto = "auto",
        /// 1,000 and 50,000.
        Seed = "seed",
    }
}

words! {
    /// What becomes of a row that the org has deleted.
    pub enum DeletesWord {
        /// Its `IsDeleted` becomes true.
        Flag = "flag",
        /// It leaves the table.
        Remove = "remove",
    }
}

section! {
    /// What holds for every object that is synced.
    pub struct SyncConfig {
        /// The org; `None` takes the first.
        org: Option<OrgName> = None;
        /// The warehouse; `None` takes the first.
        warehouse: Option<String> = None;
        /// Where thresholds come from that are not given.
        profile: SyncProfileWord = SyncProfileWord::Auto;
        /// Rows from which on a bulk job reads them.
        bulk_api_threshold: Option<u64> = None, 1..=1_000_000_000;
        /// Rows from which on they go through files of a stage, where an object has one.
        stage_threshold: Option<u64> = None, 1..=1_000_000_000;
        /// How far each window reaches back behind the last one.
        overlap: Period = Period::minutes(10);
        /// Objects under way at once.
        objects_at_once: u32 = 4, 1..=64;
        /// What becomes of deleted rows.
        deletes: DeletesWord = DeletesWord::Flag;
        /// Time between two looks for rows that were deleted for good; `None`: never.
        hard_deletes_every: Option<Period> = Some(Period::hours(24));
        /// Time between two refreshes of formula fields; `None`: never.
        formulas_every: Option<Period> = Some(Period::hours(24));
        /// Time between two comparisons of counts; `None`: never.
        reconcile_every: Option<Period> = Some(Period::hours(24));
        /// How long a describe is believed.
        describe_for: Period = Period::hours(1);
        /// Share of an object's rows that may be rejected.
        max_reject_share: f64 = 0.0, 0.0..=1.0;
        /// Most bytes of files that wait for the warehouse.
        spool: ByteSize = ByteSize::mib(1 << 10), ByteSize::mib(16)..=ByteSize::mib(1 << 20);
        /// Time between two syncs of objects that say nothing of their own; `None`: on request.
        every: Option<Period> = None;
        /// The same as a cron line.
        cron: Option<String> = None;
        /// The objects.
        object: Vec<SyncObjectConfig> = Vec::new();
    }
}

section! {
    /// One object that is synced.
    pub struct SyncObjectConfig {
        /// The object.
        name: String = String::new();
        /// Schema of the table; `None`: the warehouse's.
        schema: Option<String> = None;
        /// The table; `None`: the object's name.
        table: Option<String> = None;
        /// The field that identifies a row.
        match_field: String = MATCH_FIELD.to_owned();
        /// Whether files of a stage may be used.
        use_stage: bool = false;
        /// The stage.
        stage_name: Option<String> = None;
        /// Every row at each sync.
        force_full_sync: bool = false;
        /// A condition as it stands behind WHERE.
        r#where: Option<String> = None;
        /// A bulk job that is at the org already, taken once.
        existing_job_id: Option<String> = None;
        /// Whether bulk jobs are deleted at the org once their rows are there.
        delete_job: bool = true;
        /// Fields to leave out.
        exclude: Vec<String> = Vec::new();
        /// Whether compound fields are kept as JSON; the object is then read over REST.
        compounds: bool = false;
        /// Whether base64 fields are read; the object is then read over REST.
        base64: bool = false;
        /// Time between two syncs.
        every: Option<Period> = None;
        /// When it is synced: minute, hour, day of month, month, day of week; UTC.
        cron: Option<String> = None;
    }
}

words! {
    /// What is done with rows that are pushed.
    pub enum PushOperationWord {
        /// Made, or changed where the external id is known.
        Upsert = "upsert",
        /// Made.
        Insert = "insert",
        /// Changed, by `Id`.
        Update = "update",
        /// Deleted, by `Id`.
        Delete = "delete",
    }
}

section! {
    /// Rows of a warehouse query that go to the org.
    pub struct PushConfig {
        /// Its name in `penstock push`, logs and metrics.
        name: String = String::new();
        /// The org; `None` takes the first.
        org: Option<OrgName> = None;
        /// The warehouse; `None` takes the first.
        warehouse: Option<String> = None;
        /// The object.
        object: String = String::new();
        /// What is done.
        operation: PushOperationWord = PushOperationWord::Upsert;
        /// Upsert: the field that identifies a record.
        external_id: Option<String> = None;
        /// The query; its columns are named as the fields.
        sql: Option<String> = None;
        /// File that holds `sql`.
        sql_file: Option<PathBuf> = None;
        /// Whether nulls clear fields; they are left as they are otherwise.
        clear_nulls: bool = false;
        /// Rows from which on a bulk job takes them.
        bulk_api_threshold: u64 = 2_000, 1..=1_000_000_000;
        /// Rows of one bulk job.
        rows_per_job: u64 = 25_000, 1..=10_000_000;
        /// Table with a row for each row that was sent.
        results_table: String = "penstock_push_results".to_owned();
        /// Time between two pushes; `None`: on request.
        every: Option<Period> = None;
        /// The same as a cron line.
        cron: Option<String> = None;
    }
}

macro_rules! list_of_sections {
    ($($section:ty),*) => { $(
        impl Part for Vec<$section> {
            fn read(self, node: Option<&Node>, key: &str, problems: &mut Problems) -> Self {
                read_list(self, node, key, problems)
            }

            fn describe(&self, key: &str, out: &mut Vec<KeyLine>) {
                describe_list(self, key, out);
            }
        }
    )* };
}
list_of_sections!(WarehouseConfig, SyncObjectConfig, PushConfig);

impl SyncConfig {
    /// As it is used: what the profile says is filled in.
    pub fn resolved(&self) -> Self {
        let Thresholds { bulk, stage } = self.thresholds();
        Self { bulk_api_threshold: Some(bulk), stage_threshold: Some(stage), ..self.clone() }
    }

    fn thresholds(&self) -> Thresholds {
        let profile = match self.profile {
            SyncProfileWord::Auto => SyncProfile::Auto,
            SyncProfileWord::Seed => SyncProfile::Seed,
        };
        let Thresholds { bulk, stage } = profile.thresholds();
        Thresholds {
            bulk: self.bulk_api_threshold.unwrap_or(bulk),
            stage: self.stage_threshold.unwrap_or(stage),
        }
    }
}

impl SyncObjectConfig {
    /// Where its rows go.
    ///
    /// # Errors
    /// When the parts make no name, or a schema is said twice.
    fn table_name(&self, of_warehouse: Option<&str>) -> Result<TableName, String> {
        let written = self.table.as_deref().unwrap_or(&self.name);
        let table = TableName::from_str(written).map_err(|bad| bad.to_string())?;
        let schema = match (&self.schema, table.above().is_empty()) {
            (Some(_), false) => return Err(format!("`{table}` names a schema, and `schema` another")),
            (None, false) => return Ok(table),
            (Some(schema), true) => Some(schema.as_str()),
            (None, true) => of_warehouse,
        };
        let Some(schema) = schema else { return Ok(table) };
        let above = TableName::from_str(schema).map_err(|bad| bad.to_string())?;
        let mut parts = above.above().to_vec();
        parts.push(above.name().to_owned());
        match parts.len() {
            1 | 2 => Ok(TableName::new(parts, table.name())),
            _ => Err(format!("`{schema}` is no schema: one part, or a database and a schema")),
        }
    }
}

impl Config {
    /// What syncs work with; `None` when no object is named, or there is no org or warehouse.
    pub fn sync_settings(&self) -> Option<SyncSettings> {
        let sync = &self.sync;
        let org = sync.org.clone().or_else(|| self.org.first().map(|org| org.name.clone()))?;
        let warehouse = self.warehouse_of(sync.warehouse.as_deref())?;
        let objects = sync.object.iter().filter_map(|object| object.settings(sync, warehouse));
        let objects: Vec<ObjectSettings> = objects.collect();
        let every = |period: &Option<Period>| period.as_ref().map(|period| period.duration());
        Some(SyncSettings {
            org,
            warehouse: warehouse.name.clone(),
            thresholds: sync.thresholds(),
            overlap: sync.overlap.duration(),
            objects_at_once: sync.objects_at_once as usize,
            deletes: match sync.deletes {
                DeletesWord::Flag => DeletePolicy::Flag,
                DeletesWord::Remove => DeletePolicy::Remove,
            },
            hard_deletes_every: every(&sync.hard_deletes_every),
            formulas_every: every(&sync.formulas_every),
            reconcile_every: every(&sync.reconcile_every),
            describe_for: sync.describe_for.duration(),
            max_rejects_per_million: (sync.max_reject_share * MILLION) as u32,
            spool_bytes: sync.spool.bytes(),
            objects,
        })
    }

    /// The warehouse of a name, or the first.
    pub fn warehouse_of(&self, name: Option<&str>) -> Option<&WarehouseConfig> {
        match name {
            Some(name) => self.warehouse.iter().find(|warehouse| warehouse.name == name),
            None => self.warehouse.first(),
        }
    }
}

impl SyncObjectConfig {
    fn settings(&self, sync: &SyncConfig, warehouse: &WarehouseConfig) -> Option<ObjectSettings> {
        let own_schedule = self.every.is_some() || self.cron.is_some();
        let (every, cron) = if own_schedule { (&self.every, &self.cron) } else { (&sync.every, &sync.cron) };
        Some(ObjectSettings {
            object: self.name.parse().ok()?,
            table: self.table_name(warehouse.schema.as_deref()).ok()?,
            match_field: self.match_field.clone(),
            use_stage: self.use_stage,
            stage_name: self.stage_name.clone(),
            force_full_sync: self.force_full_sync,
            filter: self.r#where.clone(),
            existing_job_id: self.existing_job_id.clone(),
            delete_job: self.delete_job,
            exclude: self.exclude.clone(),
            compounds: self.compounds,
            base64: self.base64,
            every: every.as_ref().map(|period| period.duration()),
            cron: cron.clone(),
        })
    }
}

/// Reads the secrets that stand in files.
pub(super) fn read_secret_files(config: &mut Config, problems: &mut Problems) {
    for (index, warehouse) in config.warehouse.iter_mut().enumerate() {
        for (name, secret, file) in [
            ("url", &mut warehouse.url, &warehouse.url_file),
            ("password", &mut warehouse.password, &warehouse.password_file),
        ] {
            read_secret_file(&format!("warehouse[{index}].{name}"), secret, file.as_ref(), problems);
        }
    }
}

/// Adds what the keys say only together.
pub(super) fn check(config: &Config, problems: &mut Problems) {
    check_warehouses(config, problems);
    let is_org = |name: &OrgName| config.org.iter().any(|org| org.name == *name);
    let sync = &config.sync;
    if let Some(org) = sync.org.as_ref().filter(|org| !is_org(org)) {
        problems.add("sync.org", format!("`{org}` is none of the orgs; add `[[org]]` with this name"));
    }
    check_warehouse_name(config, "sync.warehouse", sync.warehouse.as_deref(), problems);
    let Thresholds { bulk, stage } = sync.thresholds();
    if stage < bulk {
        let text = format!("{stage} is below `bulk_api_threshold`, {bulk}: a stage is fed by bulk jobs");
        problems.add("sync.stage_threshold", text);
    }
    check_times("sync", sync.every.as_ref(), sync.cron.as_deref(), problems);
    check_objects(config, problems);
    check_pushes(config, problems);
}

fn check_objects(config: &Config, problems: &mut Problems) {
    let sync = &config.sync;
    let schema = config.warehouse_of(sync.warehouse.as_deref()).and_then(|found| found.schema.as_deref());
    let (mut tables, mut names) = (BTreeSet::new(), BTreeSet::new());
    for (index, object) in sync.object.iter().enumerate() {
        let key = |name: &str| format!("sync.object[{index}].{name}");
        if let Err(bad) = object.name.parse::<ObjectName>() {
            problems.add(&key("name"), bad.to_string());
            continue;
        }
        if !names.insert(object.name.to_lowercase()) {
            problems.add(&key("name"), format!("`{}` is there twice; an object has one table", object.name));
        }
        if let Err(bad) = object.match_field.parse::<FieldName>() {
            problems.add(&key("match_field"), bad.to_string());
        }
        match object.table_name(schema) {
            // Warehouses fold case, each in its own way.
            Ok(table) if !tables.insert(table.to_string().to_lowercase()) => {
                let text = format!("`{table}` is the table of another object too");
                problems.add(&key("table"), text);
            }
            Ok(_) => {}
            Err(why) => problems.add(&key("table"), why),
        }
        if let Some(Err(bad)) = object.r#where.as_deref().map(Filter::parse) {
            problems.add(&key("where"), format!("character {}: {}", bad.position, bad.what));
        }
        if object.stage_name.is_some() && !object.use_stage {
            problems.add(&key("stage_name"), "is never used: set `use_stage = true`, or take it out");
        }
        check_times(
            &format!("sync.object[{index}]"),
            object.every.as_ref(),
            object.cron.as_deref(),
            problems,
        );
    }
    if !sync.object.is_empty() && config.warehouse.is_empty() {
        problems.add("sync.object", "has nowhere to go; add `[[warehouse]]`");
    }
}

fn check_pushes(config: &Config, problems: &mut Problems) {
    let mut names = BTreeSet::new();
    for (index, push) in config.push.iter().enumerate() {
        let key = |name: &str| format!("push[{index}].{name}");
        if !is_word(&push.name) {
            problems.add(&key("name"), format!("`{}` is no name: {WORD}", push.name));
        }
        if !names.insert(&push.name) {
            problems.add(&key("name"), format!("`{}` is there twice", push.name));
        }
        if let Some(org) = push.org.as_ref().filter(|org| config.org.iter().all(|known| known.name != **org))
        {
            problems.add(&key("org"), format!("`{org}` is none of the orgs"));
        }
        check_warehouse_name(config, &key("warehouse"), push.warehouse.as_deref(), problems);
        if let Err(bad) = push.object.parse::<ObjectName>() {
            problems.add(&key("object"), bad.to_string());
        }
        match (&push.operation, &push.external_id) {
            (PushOperationWord::Upsert, None) => {
                problems.add(&key("external_id"), "is missing: an upsert finds records by it");
            }
            (PushOperationWord::Upsert, Some(field)) => {
                if let Err(bad) = field.parse::<FieldName>() {
                    problems.add(&key("external_id"), bad.to_string());
                }
            }
            (_, Some(_)) => problems.add(&key("external_id"), "is for `operation = \"upsert\"` alone"),
            (_, None) => {}
        }
        match (&push.sql, &push.sql_file) {
            (None, None) => problems.add(&key("sql"), "is missing"),
            (Some(_), Some(_)) => {
                problems.add(&key("sql_file"), "`sql` is given too; take out one of the two")
            }
            _ => {}
        }
        if let Err(bad) = push.results_table.parse::<TableName>() {
            problems.add(&key("results_table"), bad.to_string());
        }
        check_times(&format!("push[{index}]"), push.every.as_ref(), push.cron.as_deref(), problems);
    }
}

fn check_warehouse_name(config: &Config, key: &str, name: Option<&str>, problems: &mut Problems) {
    if let Some(name) = name.filter(|name| config.warehouse_of(Some(name)).is_none()) {
        problems.add(key, format!("`{name}` is none of the warehouses; add `[[warehouse]]` with this name"));
    }
}

const WORD: &str = "letters, digits, `_` and `-`";

fn is_word(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-')
}

fn check_warehouses(config: &Config, problems: &mut Problems) {
    let mut names = BTreeSet::new();
    for (index, warehouse) in config.warehouse.iter().enumerate() {
        let key = |name: &str| format!("warehouse[{index}].{name}");
        if !is_word(&warehouse.name) {
            problems.add(&key("name"), format!("`{}` is no name: {WORD}", warehouse.name));
        }
        if !names.insert(&warehouse.name) {
            problems.add(&key("name"), format!("`{}` is there twice", warehouse.name));
        }
        if let Some(schema) = &warehouse.schema
            && let Err(bad) = TableName::from_str(schema)
        {
            problems.add(&key("schema"), bad.to_string());
        }
        let mut wants = |name: &str, is_there: bool| {
            if !is_there {
                problems.add(&key(name), "is missing");
            }
        };
        match warehouse.kind {
            WarehouseKindWord::Sqlite | WarehouseKindWord::Duckdb => {}
            WarehouseKindWord::Postgres => {
                wants("url", warehouse.url.is_some() || warehouse.url_file.is_some());
            }
            WarehouseKindWord::Snowflake => {
                wants("account", warehouse.account.is_some());
                wants("user", warehouse.user.is_some());
                wants("database", warehouse.database.is_some());
                let has_login = warehouse.password.is_some()
                    || warehouse.password_file.is_some()
                    || warehouse.private_key_file.is_some();
                wants("password", has_login);
            }
        }
        let is_remote = warehouse.endpoint.as_deref().is_some_and(|endpoint| {
            let host = endpoint.strip_prefix("http://").and_then(|rest| rest.split(['/', ':']).next());
            host.is_some_and(|host| !["127.0.0.1", "localhost"].contains(&host))
        });
        if is_remote {
            problems.add(&key("endpoint"), "would send the login in the clear; use https");
        }
    }
}

fn check_times(section: &str, every: Option<&Period>, cron: Option<&str>, problems: &mut Problems) {
    let every = every.map(|every| every.duration());
    match Schedule::of(every, cron) {
        Ok(_) => {}
        Err(error) if cron.is_some() => problems.add(&format!("{section}.cron"), error.to_string()),
        Err(error) => problems.add(&format!("{section}.every"), error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    const HEAD: &str = "[[org]]\nname = \"demo\"\nsimulated = true\n[[warehouse]]\nname = \"main\"\n";

    fn parse(text: &str) -> Result<Config, Problems> {
        Config::parse(&format!("{HEAD}{text}"), "config.toml", std::iter::empty())
    }

    #[test]
    fn profiles_say_the_thresholds_that_no_key_does() {
        let thresholds = |text: &str| {
            let settings = parse(&format!("[sync]\n{text}[[sync.object]]\nname = \"Lead\"\n")).unwrap();
            let Thresholds { bulk, stage } = settings.sync_settings().unwrap().thresholds;
            (bulk, stage)
        };
        assert_eq!(thresholds(""), (10_000, 50_000));
        assert_eq!(thresholds("profile = \"seed\"\n"), (1_000, 50_000));
        assert_eq!(thresholds("profile = \"seed\"\nbulk_api_threshold = 7\n"), (7, 50_000));
        let dump = parse("[sync]\nprofile = \"seed\"\n").unwrap().key_lines();
        let shown = dump.iter().find(|line| line.key == "sync.bulk_api_threshold").unwrap();
        assert_eq!(shown.value, "1000");
    }

    #[rstest]
    #[case::object_name("[[sync.object]]\nname = \"Lead\"\n", "Lead")]
    #[case::own_table("[[sync.object]]\nname = \"Lead\"\ntable = \"leads\"\n", "leads")]
    #[case::schema("[[sync.object]]\nname = \"Lead\"\nschema = \"crm\"\n", "crm.Lead")]
    #[case::both_in_one("[[sync.object]]\nname = \"Lead\"\ntable = \"raw.crm.lead\"\n", "raw.crm.lead")]
    fn a_table_is_named_as_asked(#[case] text: &str, #[case] table: &str) {
        let settings = parse(text).unwrap().sync_settings().unwrap();
        assert_eq!(settings.objects[0].table.to_string(), table);
    }

    #[test]
    fn the_word_of_a_filter_is_its_key() {
        let settings = parse("[[sync.object]]\nname = \"Lead\"\nwhere = \"Rating = 'Hot'\"\n").unwrap();
        assert_eq!(settings.sync_settings().unwrap().objects[0].filter.as_deref(), Some("Rating = 'Hot'"));
    }

    #[test]
    fn a_schedule_of_its_own_replaces_the_common_one_whole() {
        let text = "[sync]\nevery = \"1h\"\n[[sync.object]]\nname = \"Lead\"\ncron = \"0 2 * * *\"\n\
                    [[sync.object]]\nname = \"Account\"\n";
        let objects = parse(text).unwrap().sync_settings().unwrap().objects;
        assert_eq!((objects[0].every, objects[0].cron.as_deref()), (None, Some("0 2 * * *")));
        assert_eq!(objects[1].every.map(|every| every.as_secs()), Some(3_600));
    }

    #[rstest]
    #[case::other_org("[sync]\norg = \"other\"\n", "sync.org")]
    #[case::other_warehouse("[sync]\nwarehouse = \"other\"\n", "sync.warehouse")]
    #[case::stage_below_bulk("[sync]\nstage_threshold = 5\n", "sync.stage_threshold")]
    #[case::no_name("[[sync.object]]\n", "sync.object[0].name")]
    #[case::no_table("[[sync.object]]\nname = \"Lead\"\ntable = \"a;b\"\n", "sync.object[0].table")]
    #[case::two_schemas(
        "[[sync.object]]\nname = \"Lead\"\nschema = \"x\"\ntable = \"y.z\"\n",
        "sync.object[0].table"
    )]
    #[case::one_table_for_two(
        "[[sync.object]]\nname = \"Lead\"\n[[sync.object]]\nname = \"Account\"\ntable = \"LEAD\"\n",
        "sync.object[1].table"
    )]
    #[case::object_twice(
        "[[sync.object]]\nname = \"Lead\"\n[[sync.object]]\nname = \"lead\"\ntable = \"other\"\n",
        "sync.object[1].name"
    )]
    #[case::no_condition(
        "[[sync.object]]\nname = \"Lead\"\nwhere = \"Rating = 'Hot' LIMIT 5\"\n",
        "sync.object[0].where"
    )]
    #[case::idle_stage("[[sync.object]]\nname = \"Lead\"\nstage_name = \"S\"\n", "sync.object[0].stage_name")]
    #[case::two_schedules(
        "[[sync.object]]\nname = \"Lead\"\nevery = \"1h\"\ncron = \"* * * * *\"\n",
        "sync.object[0].cron"
    )]
    #[case::no_cron("[sync]\ncron = \"every day\"\n", "sync.cron")]
    #[case::postgres_nowhere("[[warehouse]]\nname = \"pg\"\nkind = \"postgres\"\n", "warehouse[1].url")]
    #[case::snowflake_nobody("[[warehouse]]\nname = \"sf\"\nkind = \"snowflake\"\n", "warehouse[1].account")]
    #[case::name_twice("[[warehouse]]\nname = \"main\"\n", "warehouse[1].name")]
    #[case::push_by_nothing(
        "[[push]]\nname = \"p\"\nobject = \"Lead\"\nsql = \"SELECT 1\"\n",
        "push[0].external_id"
    )]
    #[case::push_of_nothing(
        "[[push]]\nname = \"p\"\nobject = \"Lead\"\noperation = \"insert\"\n",
        "push[0].sql"
    )]
    fn what_cannot_work_is_told_by_its_key(#[case] text: &str, #[case] told: &str) {
        let problems = parse(text).unwrap_err().to_string();
        assert!(problems.contains(told), "{problems}");
    }

    #[test]
    fn objects_without_a_warehouse_have_nowhere_to_go() {
        let text = "[[org]]\nname = \"demo\"\nsimulated = true\n[[sync.object]]\nname = \"Lead\"\n";
        let problems = Config::parse(text, "config.toml", std::iter::empty()).unwrap_err().to_string();
        assert!(problems.contains("sync.object"), "{problems}");
    }
}
