//! The rules of the layout, held against the source itself: which packages carry the line, and which module may know what.
//!
//! The rules are the two tables below. A breach is told as `src/file.rs:line: what it names: the rule`. A new folder or
//! file directly below `src` must be given its place in [`PLACES`] first.

mod source_scan;

use std::collections::BTreeSet;
use std::fmt::Write;
use std::fs;
use std::path::Path;

use rstest::rstest;
use source_scan::{Mention, SourceFile, mentions};

/// The packages the project stands on. Each is a direct dependency and does real work in `src`.
const CARD: [&str; 9] = [
    "actix",
    "tokio",
    "reqwest",
    "serde",
    "dashmap",
    "crossbeam-channel",
    "sled",
    "prometheus",
    "tracing-subscriber",
];

/// Everything directly below `src`, built or planned, by kind. The `desk` performs what a person asks of the plant.
const PLACES: [(&str, &[&str]); 4] = [
    ("pure", PURE),
    ("I/O", IO),
    ("engine and shell", &["actors", "messages", "plant", "desk", "cli", "http", "lib", "main"]),
    ("service of the process", &["config", "clock", "signals", "telemetry"]),
];

/// Decide, and nothing else.
const PURE: &[&str] = &["model", "limiter", "library", "batch", "leads", "sync"];
/// Reach the disk, the network, a model or the command line's end of the control socket.
const IO: &[&str] = &["salesforce", "sheets", "vectors", "ai", "store", "warehouse", "database", "control"];

/// Which files a rule is about, by the name directly below `src`.
enum About {
    Only(&'static [&'static str]),
    AllBut(&'static [&'static str]),
}

struct Rule {
    says: &'static str,
    about: About,
    /// Paths, with everything below them, that these files do not name. `..` in front: paths that end so.
    forbidden: &'static [&'static str],
}

const RULES: [Rule; 6] = [
    Rule {
        says: "what decides is pure: neither actix nor tokio",
        about: About::Only(PURE),
        forbidden: &["actix", "actix_rt", "actix_web", "tokio"],
    },
    Rule {
        says: "the model and the limiter stand on nothing but themselves",
        about: About::Only(&["model", "limiter"]),
        forbidden: &[
            "crate::actors",
            "crate::ai",
            "crate::cli",
            "crate::clock",
            "crate::config",
            "crate::http",
            "crate::library",
            "crate::messages",
            "crate::plant",
            "crate::salesforce",
            "crate::store",
            "crate::telemetry",
            "crate::vectors",
        ],
    },
    Rule {
        says: "what reaches disk, network or model knows no actors",
        about: About::Only(IO),
        forbidden: &["actix", "actix_rt", "crate::actors", "crate::plant"],
    },
    Rule {
        says: "only `actors`, `plant` with its `desk`, `http` and `cli` know messages",
        about: About::AllBut(&["actors", "plant", "desk", "http", "cli", "messages"]),
        forbidden: &["crate::messages"],
    },
    Rule {
        says: "only `config` reads the environment",
        about: About::AllBut(&["config"]),
        forbidden: &[
            "std::env::var",
            "std::env::var_os",
            "std::env::vars",
            "std::env::vars_os",
            "std::env::home_dir",
        ],
    },
    Rule {
        says: "only `clock` reads a clock",
        about: About::AllBut(&["clock"]),
        forbidden: &["..SystemTime::now", "..Instant::now", "..Timestamp::now", "..Zoned::now"],
    },
];

/// The name directly below `src`: `store` for `store/cache.rs`, `clock` for `clock.rs`.
fn place_of(file: &str) -> &str {
    file.split('/').next().unwrap_or(file).trim_end_matches(".rs")
}

impl Rule {
    fn is_about(&self, file: &str) -> bool {
        let place = place_of(file);
        match self.about {
            About::Only(places) => places.contains(&place),
            About::AllBut(places) => !places.contains(&place),
        }
    }

    fn forbids(&self, path: &[String]) -> bool {
        self.forbidden.iter().any(|pattern| match pattern.strip_prefix("..") {
            Some(end) => path.ends_with(&segments(end)),
            None => {
                let pattern = segments(pattern);
                // A glob above a forbidden path brings it in as well.
                let glob = path.last().is_some_and(|last| last == "*")
                    && path.len() > 1
                    && pattern.starts_with(&path[..path.len() - 1]);
                path.starts_with(&pattern) || glob
            }
        })
    }
}

fn segments(path: &str) -> Vec<String> {
    path.split("::").map(str::to_owned).collect()
}

/// Every breach of the rules, one line each; empty is good.
fn breaches(mentions: &[Mention]) -> Vec<String> {
    let mut found = Vec::new();
    for mention in mentions {
        let broken = RULES.iter().filter(|rule| {
            rule.is_about(&mention.file) && (rule.forbids(&mention.path) || rule.forbids(&mention.target))
        });
        for rule in broken {
            let mut line =
                format!("src/{}:{}: names `{}`", mention.file, mention.line, mention.path.join("::"));
            if mention.target != mention.path {
                let _ = write!(line, ", which is `{}`", mention.target.join("::"));
            }
            found.push(format!("{line}: {}", rule.says));
        }
    }
    found
}

/// The source files below `folder`, paths relative to it.
fn source_files(folder: &Path) -> Vec<SourceFile> {
    fn walk(root: &Path, folder: &Path, found: &mut Vec<SourceFile>) {
        for entry in fs::read_dir(folder).expect("the folder can be read") {
            let path = entry.expect("its entry can be read").path();
            if path.is_dir() {
                walk(root, &path, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name =
                    path.strip_prefix(root).expect("it is below the root").to_str().expect("it is UTF-8");
                found.push((name.to_owned(), fs::read_to_string(&path).expect("the file can be read")));
            }
        }
    }
    let mut found = Vec::new();
    walk(folder, folder, &mut found);
    found.sort();
    found
}

fn src() -> Vec<SourceFile> {
    source_files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"))
}

fn direct_dependencies() -> BTreeSet<String> {
    let manifest =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml")).expect("Cargo.toml");
    let manifest: toml_edit::DocumentMut = manifest.parse().expect("Cargo.toml is TOML");
    let table = manifest["dependencies"].as_table().expect("it has dependencies");
    table.iter().map(|(name, _)| name.to_owned()).collect()
}

#[test]
fn the_nine_packages_of_the_card_are_direct_dependencies_and_used_in_the_source() {
    let dependencies = direct_dependencies();
    let mentions = mentions(&src(), "penstock");
    let mut failures = Vec::new();
    for package in CARD {
        if !dependencies.contains(package) {
            failures.push(format!("`{package}` is not in [dependencies] of Cargo.toml"));
        }
        let name = package.replace('-', "_");
        if !mentions.iter().any(|mention| mention.path.len() > 1 && mention.path[0] == name) {
            failures.push(format!("`{package}` is not used in src outside comments, strings and tests"));
        }
    }
    assert!(failures.is_empty(), "\n{}", failures.join("\n"));
}

#[test]
fn the_layers_know_only_what_they_may() {
    let found = breaches(&mentions(&src(), "penstock"));
    assert!(found.is_empty(), "\n{}", found.join("\n"));
}

#[test]
fn everything_directly_below_src_has_a_place() {
    let known: BTreeSet<&str> = PLACES.iter().flat_map(|(_, places)| places.iter().copied()).collect();
    let files = src();
    let homeless: BTreeSet<&str> =
        files.iter().map(|(path, _)| place_of(path)).filter(|place| !known.contains(place)).collect();
    assert!(homeless.is_empty(), "give these a place in PLACES, and the rules that go with it: {homeless:?}");
}

#[test]
fn the_scan_sees_the_whole_source() {
    let files = src();
    let mentions = mentions(&files, "penstock");
    let silent: Vec<&str> = files
        .iter()
        .filter(|(path, text)| {
            // A file that imports something outside its tests must have shown it.
            let before_tests = text.split("#[cfg(test)]").next().unwrap_or_default();
            before_tests.lines().any(|line| line.starts_with("use "))
                && !mentions.iter().any(|mention| mention.file == *path)
        })
        .map(|(path, _)| path.as_str())
        .filter(|path| {
            // Helpers of tests that are not called so: a model server, questions, a database in memory, tables.
            const HELPERS: [&str; 5] = [
                "limiter/simulation.rs",
                "vectors/dev_questions.rs",
                "batch/run/fake.rs",
                "batch/check/fixture.rs",
                "warehouse/sqlite/bench.rs",
            ];
            let is_helper = HELPERS.contains(path) || path.starts_with("warehouse/contract");
            !path.contains("test") && !is_helper
        })
        .collect();
    assert!(silent.is_empty(), "nothing was seen of {silent:?}");
    assert!(mentions.len() > 1000, "only {} paths were seen", mentions.len());
}

// The scanner and the rules on small sources: each must be able to fail.

fn found_in(file: &str, text: &str) -> Vec<usize> {
    lines_of(&[(file, text)])
}

fn lines_of(files: &[(&str, &str)]) -> Vec<usize> {
    let files: Vec<SourceFile> = files.iter().map(|(file, text)| ((*file).into(), (*text).into())).collect();
    let line =
        |breach: &String| breach.split(':').nth(1).and_then(|line| line.parse().ok()).expect("file:line");
    let mut lines: Vec<usize> = breaches(&mentions(&files, "penstock")).iter().map(line).collect();
    lines.dedup();
    lines
}

#[rstest]
#[case::an_import("model/name.rs", "use tokio::sync::watch;", &[1])]
#[case::a_path_in_code("limiter/mod.rs", "fn f() {\n    tokio::spawn(g());\n}", &[2])]
#[case::a_path_in_a_type("library/x.rs", "struct S<T>(Vec<actix::Addr<T>>);", &[1])]
#[case::an_attribute("library/x.rs", "#[actix_web::main]\nasync fn f() {}", &[1])]
#[case::a_path_from_the_root("model/x.rs", "fn f() { ::tokio::spawn(g()); }", &[1])]
#[case::a_leaf_of_a_tree("store/a.rs", "use crate::{\n    clock::Clock,\n    actors::{\n        engine,\n    },\n};", &[4])]
#[case::a_renamed_package("model/x.rs", "use tokio as t;\nfn f() { t::spawn(g()); }", &[1, 2])]
#[case::a_renamed_module("store/a.rs", "use crate::actors as a;", &[1])]
#[case::the_parent("store/a.rs", "use super::super::actors::engine::Engine;", &[1])]
#[case::the_parent_of_an_inline_module("store/a.rs", "mod x {\n    use super::super::super::actors::A;\n}", &[2])]
#[case::the_parent_after_an_inline_module("store/a.rs", "mod x { fn f() {} }\nuse super::super::actors::A;", &[2])]
#[case::the_library_by_its_name("main.rs", "use penstock::messages::ItemId;", &[1])]
#[case::messages_elsewhere("config/mod.rs", "fn f(id: &crate::messages::ItemId) {}", &[1])]
#[case::an_old_import("model/x.rs", "extern crate tokio as t;", &[1])]
#[case::the_environment("telemetry/x.rs", "fn f() { std::env::var(\"X\"); }", &[1])]
#[case::the_environment_by_module("telemetry/x.rs", "use std::env;\nfn f() { env::vars_os(); }", &[2])]
#[case::the_environment_by_name("http/x.rs", "use std::env::{self, var as look};\nfn f() { look(\"X\"); }", &[1])]
#[case::the_environment_by_glob("http/x.rs", "use std::env::*;", &[1])]
#[case::the_clock("actors/x.rs", "use std::time::Instant;\nfn f() { Instant::now(); }", &[2])]
#[case::the_clock_as_a_function("actors/x.rs", "fn f() { x.unwrap_or_else(jiff::Timestamp::now); }", &[1])]
#[case::the_clock_of_tokio("store/x.rs", "fn f() { tokio::time::Instant::now(); }", &[1])]
#[case::after_test_code("model/x.rs", "#[cfg(test)]\nmod tests {\n    use super::*;\n}\nuse tokio::sync;", &[5])]
#[case::after_a_test_field("model/x.rs", "struct S { #[cfg(test)] a: u8, b: tokio::sync::Mutex<u8> }", &[1])]
#[case::after_a_lifetime("model/x.rs", "fn f<'a>(x: &'a str) { tokio::spawn(x); }", &[1])]
#[case::after_a_quote("model/x.rs", "const Q: char = '\"';\nuse tokio::sync;\nconst R: char = '\"';", &[2])]
#[case::after_a_raw_string("model/x.rs", "const R: &str = r#\"\\\"#;\nuse tokio::sync;", &[2])]
fn a_breach_is_found_with_its_line(#[case] file: &str, #[case] text: &str, #[case] lines: &[usize]) {
    assert_eq!(found_in(file, text), lines);
}

#[rstest]
#[case::a_comment(
    "model/x.rs",
    "// use tokio::sync;\n/* tokio::spawn /* nested */ actix::Addr */\n/// [`tokio::spawn`]\nfn f() {}"
)]
#[case::a_string(
    "model/x.rs",
    "const A: &str = \"use tokio::sync; \\\" tokio::x\";\nconst B: &str = r#\"\"tokio::x\"\"#;"
)]
#[case::test_code(
    "model/x.rs",
    "#[cfg(test)]\nmod tests {\n    use tokio::sync;\n    fn f() { std::env::var(\"X\"); }\n}"
)]
#[case::a_test_function(
    "model/x.rs",
    "#[cfg(test)]\n#[allow(dead_code)]\nfn f(x: [u8; 2]) { tokio::spawn(x); }"
)]
#[case::a_file_of_tests("salesforce/x.rs", "#![cfg(test)]\nuse crate::actors::A;")]
#[case::a_longer_name("model/x.rs", "use tokio_like::sync;\nuse crate::messages_of_day::X;")]
#[case::a_field_or_method("model/x.rs", "fn f(x: X) { x.tokio.actix(); }")]
#[case::a_variable("model/x.rs", "fn f(tokio: u8) -> u8 { tokio }")]
#[case::another_module_of_that_name(
    "store/a.rs",
    "mod actors { pub fn f() {} }\nfn g() { actors::f(); self::actors::f(); }"
)]
#[case::who_may("actors/x.rs", "use crate::messages::ItemId;\nuse actix::Actor;\nuse tokio::sync::watch;")]
#[case::who_may_read_the_environment("config/mod.rs", "fn f() { std::env::vars_os(); }")]
#[case::who_may_read_the_clock("clock.rs", "fn f() { std::time::Instant::now(); }")]
#[case::arguments_are_no_environment("main.rs", "fn f() { std::env::args_os(); }")]
fn what_is_no_breach_is_left_alone(#[case] file: &str, #[case] text: &str) {
    assert_eq!(found_in(file, text), [0_usize; 0]);
}

#[test]
fn a_re_export_hides_nothing() {
    let helper = ("telemetry/mod.rs", "pub use crate::messages::ItemId as Id;");
    let user = ("signals.rs", "\nfn f(id: crate::telemetry::Id) {}");
    let found = lines_of(&[helper, user]);
    assert_eq!(found, [2, 1], "the user at line 2 of signals.rs, then the helper");
}

#[test]
fn the_files_of_test_modules_do_not_count() {
    let tests = "use crate::actors::Engine;";
    let parent = "#[cfg(test)]\n#[path = \"a_tests.rs\"]\nmod tests;\n#[cfg(test)]\npub(crate) mod rig;\n";
    let files = [("store/a.rs", parent), ("store/a_tests.rs", tests), ("store/a/rig.rs", tests)];
    assert_eq!(lines_of(&files), [0_usize; 0]);
    let live = [("store/a.rs", "mod rig;"), ("store/a/rig.rs", tests)];
    assert_eq!(lines_of(&live), [1]);
}
