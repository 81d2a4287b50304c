//! The shipped file and the code agree; each kind of mistake is found and located.

use std::collections::BTreeSet;

use rstest::rstest;

use super::*;

fn parse(text: &str, environment: &[(&str, &str)]) -> Result<Config, Problems> {
    let environment = environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    Config::parse(text, "config.toml", environment)
}

fn problems(text: &str) -> String {
    parse(text, &[]).expect_err("this has a mistake").to_string()
}

const DEMO: &str = "[[org]]\nname = \"demo\"\nsimulated = true\n";

#[test]
fn the_shipped_file_holds_the_defaults() {
    let shipped = Config::load(None, std::iter::empty()).unwrap();
    let demo = OrgConfig { name: "demo".parse().unwrap(), simulated: true, ..OrgConfig::default() };
    let shop = shipped.database.clone();
    let (warehouse, sync) = (shipped.warehouse.clone(), shipped.sync.clone());
    let expected = Config { org: vec![demo], database: shop.clone(), warehouse, sync, ..Config::default() };
    assert_eq!(shipped, expected);
    assert_eq!(
        shipped.warehouse,
        [WarehouseConfig { name: "main".to_owned(), ..WarehouseConfig::default() }]
    );
    let objects = ["Account", "Contact", "Lead"]
        .map(|name| SyncObjectConfig { name: name.to_owned(), ..SyncObjectConfig::default() });
    assert_eq!(shipped.sync, SyncConfig { object: objects.to_vec(), ..SyncConfig::default() });
    let [shop] = shop.as_slice() else { panic!("one database is shipped") };
    let example = DatabaseConfig {
        name: "shop".to_owned(),
        init_sql: Some("example:shop".to_owned()),
        entity: shop.entity.clone(),
        statement: shop.statement.clone(),
        ..DatabaseConfig::default()
    };
    assert_eq!(*shop, example);
}

/// Keys without a default stand in the file as comments; uncommented, the file names every key.
#[test]
fn the_shipped_file_names_every_key() {
    let uncommented = |line: &str| {
        let key = line.strip_prefix("# ").and_then(|rest| rest.split_once(" = ")).map(|(key, _)| key);
        // The head of a section that is not there by default.
        if line.starts_with("# [[") {
            return line[2..].to_owned();
        }
        let is_key = key.is_some_and(|key| key.chars().all(|c| c.is_ascii_lowercase() || c == '_'));
        if is_key { line[2..].to_owned() } else { line.to_owned() }
    };
    let text = SHIPPED.lines().map(uncommented).collect::<Vec<_>>().join("\n");
    let document = toml_edit::Document::parse(text.as_str()).unwrap();
    let mut named = BTreeSet::new();
    gather(document.as_item(), "", &mut named);
    let known: BTreeSet<String> = known_keys().into_iter().collect();
    assert_eq!(named, known);
}

fn gather(item: &toml_edit::Item, key: &str, out: &mut BTreeSet<String>) {
    if let Some(elements) = item.as_array_of_tables() {
        for (name, child) in elements.iter().flat_map(|element| element.iter()) {
            gather(child, &problems::join(key, name), out);
        }
    } else if let Some(table) = item.as_table() {
        for (name, child) in table.iter() {
            gather(child, &problems::join(key, name), out);
        }
    } else {
        out.insert(key.to_owned());
    }
}

#[test]
fn every_mistake_is_told_in_one_run_with_its_line() {
    let text = "\
state_dir = 5
[http]
listem = \"127.0.0.1:1\"
[log]
format = \"prety\"
[[org]]
name = \"Demo\"
simulated = \"yes\"
[engine]
attempts_per_item = 0
[actors.batcher]
mailbox_items = 10
[actors.fetcher]
slots = -1
";
    assert_eq!(
        problems(text),
        "\
config.toml:1: state_dir: expected text, found a whole number
config.toml:3: http.listem: unknown key; did you mean `http.listen`?
config.toml:5: log.format: `prety` is none of: auto, pretty, json
config.toml:7: org[0].name: `Demo` is not an org name (lower-case letters, digits and hyphens, starting with a letter; at most 40)
config.toml:8: org[0].simulated: expected true or false, found text
config.toml:10: engine.attempts_per_item: 0 is not within 1 to 100
config.toml:12: actors.batcher.mailbox_items: 10 is below `seal_items` x `slots` (100): the last batch would never fill
config.toml:14: actors.fetcher.slots: expected a whole number from 0, found -1"
    );
}

#[rstest]
#[case::syntax("[http\n", "config.toml:1: unclosed table, expected `]`")]
#[case::a_value_without_quotes("state_dir = penstock\n", "config.toml:1: string values must be quoted")]
#[case::given_twice("state_dir = \"a\"\nstate_dir = \"b\"\n", "config.toml:2: duplicate key")]
#[case::no_org(
    "",
    "config.toml: org: neither an org nor a database; add a section `[[org]]` or `[[database]]`"
)]
#[case::unknown_section(
    "[enginee]\nx = 1\n[[org]]\nname = \"demo\"\nsimulated = true\n",
    "config.toml:1: enginee: unknown key; did you mean `engine`?"
)]
#[case::same_folders(
    "output_dir = \"penstock-state\"\n[[org]]\nname = \"demo\"\nsimulated = true\n",
    "config.toml:1: output_dir: is the same folder as `state_dir`"
)]
#[case::reachable_from_outside(
    "[http]\nlisten = \"0.0.0.0:9187\"\n[[org]]\nname = \"demo\"\nsimulated = true\n",
    "config.toml:2: http.listen: 0.0.0.0:9187 can be reached from outside"
)]
#[case::a_section_is_no_list(
    "[org]\nname = \"demo\"\n",
    "config.toml:1: org: expected sections written `[[org]]`, found a section"
)]
#[case::an_unset_variable(
    "state_dir = \"${NOWHERE}/state\"\n[[org]]\nname = \"demo\"\nsimulated = true\n",
    "config.toml:1: state_dir: environment variable `NOWHERE` is not set"
)]
#[case::two_orgs_of_one_name(
    "[[org]]\nname = \"demo\"\nsimulated = true\n[[org]]\nname = \"demo\"\nsimulated = true\n",
    "config.toml:5: org[1].name: `demo` is the name of two orgs"
)]
#[case::a_nameless_org("[[org]]\nsimulated = true\n", "config.toml:1: org[0].name: is missing")]
#[case::simulated_and_real(
    "[[org]]\nname = \"demo\"\nsimulated = true\ntoken = \"hunter2\"\n",
    "config.toml:4: org[0].token: has no use with `simulated = true`"
)]
#[case::start_above_the_ceiling(
    "[[org]]\nname = \"demo\"\nsimulated = true\nlimits = { profile = \"seed\", rate_start_per_min = 400 }\n",
    "config.toml:4: org[0].limits.rate_start_per_min: 400 is above `rate_ceiling_per_min` (300)"
)]
#[case::an_empty_name(
    "[[org]]\nname = \"\"\nsimulated = true\n",
    "config.toml:2: org[0].name: `` is not an org name"
)]
#[case::out_of_bounds_is_not_told_twice(
    "[[org]]\nname = \"demo\"\nsimulated = true\n[org.limits]\nshare_bulk = 1.5\n",
    "config.toml:5: org[0].limits.share_bulk: 1.5 is not within 0 to 1"
)]
#[case::every_bad_element(
    "[schema]\ninclude = [\"a b\", \"Account\", 5]\n[[org]]\nname = \"demo\"\nsimulated = true\n",
    "config.toml:2: schema.include: `a b` is not an object name or a pattern such as `*__c`; expected text, found a whole number"
)]
#[case::a_key_of_another_sign_in(
    "[[org]]\nname = \"prod\"\nlogin_url = \"https://acme.my.salesforce.com\"\nauth = \"token\"\ntoken = \"hunter2\"\nusername = \"u\"\n",
    "config.toml:6: org[0].username: has no use with `auth = \"token\"`; take it out"
)]
#[case::shares_out_of_order(
    "[[org]]\nname = \"demo\"\nsimulated = true\n[org.limits]\nshare_bulk = 0.9\n",
    "config.toml:4: org[0].limits.share_normal: 0.85 is below `share_bulk` (0.9)"
)]
fn each_mistake_names_its_key_and_place(#[case] text: &str, #[case] expected: &str) {
    let found = problems(text);
    assert!(found.starts_with(expected), "{found}");
    assert!(!found.contains('\n'), "one mistake is one line: {found}");
    assert!(!found.contains("hunter2"), "a secret was printed: {found}");
}

#[test]
fn the_environment_overrides_the_file() {
    let config = parse(
        &format!("[log]\nfilter = \"warn\"\n{DEMO}"),
        &[
            ("PENSTOCK__ACTORS__FETCHER__SLOTS", "7"),
            ("PENSTOCK__ORG__0__API_VERSION", "60.0"),
            ("PENSTOCK__ORG__DEMO__LIMITS__PROFILE", "seed"),
            ("PENSTOCK__SCHEMA__INCLUDE", "Account, *__c"),
            ("PENSTOCK__SCHEMA__EVERY", ""),
            ("PENSTOCK_LOG", "debug"),
            ("UNRELATED", "1"),
        ],
    )
    .unwrap();
    assert_eq!(config.actors.fetcher.slots, 7);
    assert_eq!(config.org[0].api_version.as_str(), "60.0");
    assert_eq!(config.org[0].limits.profile, LimitProfile::Seed);
    assert!(config.schema.takes("Account") && config.schema.takes("X__c") && !config.schema.takes("Lead"));
    assert_eq!(config.schema.every, None);
    assert_eq!(config.log.filter.as_str(), "debug");
}

#[rstest]
#[case("PENSTOCK__HTP__LISTEN", "x", "htp: unknown key; did you mean `http`?")]
#[case("PENSTOCK__HTTP__LISTEN", "9187", "http.listen: `9187` is not an address and port")]
#[case("PENSTOCK__ORG__5__NAME", "x", "org.5.name: no element `5`; there are 1, counted from 0")]
#[case("PENSTOCK__STATE_DIR__X", "x", "state_dir.x: `state_dir` is a value, not a section")]
#[case("PENSTOCK__ACTORS__FETCHER__SLOTS", "many", "actors.fetcher.slots: expected a whole number")]
fn a_bad_override_is_told_by_its_variable(#[case] name: &str, #[case] value: &str, #[case] expected: &str) {
    let text = format!("state_dir = \"s\"\n{DEMO}");
    let found = parse(&text, &[(name, value)]).expect_err("a bad override").to_string();
    assert!(found.starts_with(&format!("{name}: {expected}")), "{found}");
}

const REAL: &str =
    "[[org]]\nname = \"prod\"\nlogin_url = \"https://acme.my.salesforce.com\"\nclient_id = \"c\"\n";

#[test]
fn a_secret_comes_from_a_variable_or_a_file_and_prints_as_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("secret");
    std::fs::write(&file, "hunter2\n").unwrap();
    let by_file = parse(&format!("{REAL}client_secret_file = \"{}\"\n", file.display()), &[]).unwrap();
    let by_variable =
        parse(&format!("{REAL}client_secret = \"${{SECRET}}\"\n"), &[("SECRET", "hunter2")]).unwrap();
    for config in [by_file, by_variable] {
        assert_eq!(config.org[0].client_secret.as_ref().map(Secret::expose), Some("hunter2"));
        let printed = format!("{config:?}{:?}", config.key_lines());
        assert!(!printed.contains("hunter2"), "{printed}");
    }
}

#[rstest]
#[case::both("client_secret = \"a\"\nclient_secret_file = \"/b\"\n", "`org[0].client_secret` is given too")]
#[case::no_file("client_secret_file = \"/no/such/file\"\n", "cannot read `/no/such/file`")]
fn a_secret_file_must_be_readable_and_alone(#[case] keys: &str, #[case] expected: &str) {
    let found = problems(&format!("{REAL}{keys}"));
    assert!(found.contains(&format!("org[0].client_secret_file: {expected}")), "{found}");
}

#[rstest]
#[case(LimitProfile::Auto, Edition::Auto, None, None, 1, 20)]
#[case(LimitProfile::Auto, Edition::Developer, None, None, 1, 4)]
#[case(LimitProfile::Seed, Edition::Production, Some(200.0), Some(300.0), 60, 20)]
fn a_profile_fills_in_what_is_not_given(
    #[case] profile: LimitProfile,
    #[case] edition: Edition,
    #[case] start: Option<f64>,
    #[case] ceiling: Option<f64>,
    #[case] evaluation_secs: u64,
    #[case] concurrency: u32,
) {
    let resolved = LimitsConfig { profile, ..LimitsConfig::default() }.resolve(edition);
    assert_eq!((resolved.rate_start_per_min, resolved.rate_max_per_min), (start, ceiling));
    assert_eq!((resolved.rate_period_secs, resolved.concurrency_max), (evaluation_secs, concurrency));
    assert_eq!(resolved.rate_min_per_min, 50.0);
    assert!(resolved.problems().is_empty());
}

#[test]
fn a_missing_file_is_one_problem() {
    let found = Config::load(Some(Path::new("no-such.toml")), std::iter::empty()).expect_err("no file");
    assert!(found.to_string().starts_with("no-such.toml: cannot be read: "), "{found}");
}

#[test]
fn what_the_dump_prints_reads_back_as_the_same_configuration() {
    let shipped = Config::load(None, std::iter::empty()).unwrap();
    // What the profiles of lead jobs and syncs say is told as if it had been given.
    let (leads, sync) = (shipped.leads.resolved(), shipped.sync.resolved());
    let as_used = Config { leads, sync, ..shipped.clone() };
    assert_eq!(parse(&shipped.to_toml(), &[]).unwrap(), as_used);
}
