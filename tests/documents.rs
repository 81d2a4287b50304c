//! The documents for people, held to what they speak of: links lead somewhere, the map shows every folder, the picture has the
//! sizes of the configuration, and every named guarantee has its test.

use std::fs;
use std::path::{Path, PathBuf};

use penstock::config::Config;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Files below `folder` that end in `ending`, build output and version control left out.
fn files(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("the folder can be read") {
        let path = entry.expect("its entry can be read").path();
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        if path.is_dir() {
            if name != "target" && !name.starts_with('.') && !name.starts_with("penstock-") {
                found.extend(files(&path, ending));
            }
        } else if name.ends_with(ending) {
            found.push(path);
        }
    }
    found
}

/// Targets of Markdown links `](target)`, without their anchors; other sites left out.
fn link_targets(text: &str) -> Vec<&str> {
    let targets = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    let local = targets.filter(|target| !target.contains("://") && !target.contains(' '));
    local
        .map(|target| target.split('#').next().unwrap_or_default())
        .filter(|target| !target.is_empty())
        .collect()
}

#[test]
fn every_link_in_the_documents_leads_to_a_file() {
    let mut broken = Vec::new();
    let mut links = 0;
    for document in files(&root(), ".md") {
        let text = fs::read_to_string(&document).expect("the document can be read");
        let folder = document.parent().expect("a file is in a folder");
        for target in link_targets(&text) {
            links += 1;
            if !folder.join(target).exists() {
                broken.push(format!("{}: `{target}`", document.display()));
            }
        }
    }
    assert!(broken.is_empty(), "\n{}", broken.join("\n"));
    assert!(links > 15, "only {links} links were seen");
}

#[test]
fn the_code_map_shows_everything_directly_below_src() {
    let map = read("ARCHITECTURE.md");
    let missing: Vec<String> = fs::read_dir(root().join("src"))
        .expect("src can be read")
        .map(|entry| entry.expect("its entry can be read"))
        .map(|entry| {
            let name = entry.file_name().to_string_lossy().into_owned();
            if entry.path().is_dir() { format!("{name}/") } else { name }
        })
        .filter(|name| name != "lib.rs" && !map.contains(&format!("| `{name}` |")))
        .collect();
    assert!(missing.is_empty(), "the code map of ARCHITECTURE.md lacks {missing:?}");
}

/// Demands the sizes in a picture in the order of the line: each stands before its actor's name and after the actor before it.
fn has_the_sizes(picture: &str, sizes: &[(&str, u64, u64)]) {
    let mut rest = picture;
    for (actor, items, bytes) in sizes {
        let label = format!("{items} items, {} MiB", bytes >> 20);
        let arrow = rest.find(&label).unwrap_or_else(|| panic!("no arrow `{label}` before `{actor}`"));
        rest = &rest[arrow + label.len()..];
        assert!(rest.contains(actor), "`{actor}` does not follow its arrow `{label}`");
    }
}

#[test]
fn the_pictures_of_the_lines_have_the_mailbox_sizes_of_the_configuration() {
    let text = read("ARCHITECTURE.md");
    let picture_below = |heading: &str| {
        let section = text.split(heading).nth(1).unwrap_or_else(|| panic!("no `{heading}`"));
        section.split("```").nth(1).expect("its first block is the picture").to_owned()
    };
    let actors = Config::default().actors;
    let schema = [
        ("batcher", actors.batcher.mailbox_items, actors.batcher.mailbox_bytes),
        ("fetcher", actors.fetcher.mailbox_items, actors.fetcher.mailbox_bytes),
        ("composer", actors.composer.mailbox_items, actors.composer.mailbox_bytes),
        ("text_batcher", actors.text_batcher.mailbox_items, actors.text_batcher.mailbox_bytes),
        ("embedder", actors.embedder.mailbox_items, actors.embedder.mailbox_bytes),
        ("sync_writer", actors.sync_writer.mailbox_items, actors.sync_writer.mailbox_bytes),
    ];
    let leads = [
        ("lead_intake", actors.lead_intake.mailbox_items, actors.lead_intake.mailbox_bytes),
        ("fetcher", actors.fetcher.mailbox_items, actors.fetcher.mailbox_bytes),
        ("assessor", actors.assessor.mailbox_items, actors.assessor.mailbox_bytes),
        ("sync_writer", actors.sync_writer.mailbox_items, actors.sync_writer.mailbox_bytes),
    ];
    let plain = |sizes: &[(&'static str, _, penstock::config::ByteSize)]| -> Vec<(&str, u64, u64)> {
        sizes.iter().map(|(actor, items, bytes)| (*actor, *items, bytes.bytes())).collect()
    };
    has_the_sizes(&picture_below("\n## The line\n"), &plain(&schema));
    has_the_sizes(&picture_below("\n## The lead line\n"), &plain(&leads));
}

fn pairs(variables: &[(&str, &str)]) -> Vec<(String, String)> {
    variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

#[test]
fn the_configurations_that_the_readme_and_the_scripts_show_are_good() {
    let readme = read("README.md");
    let shown: Vec<&str> =
        readme.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert!(!shown.is_empty(), "the README shows no configuration");
    let environment = pairs(&[("SF_CLIENT_ID", "an id"), ("SF_CLIENT_SECRET", "a secret")]);
    for text in shown {
        let config = Config::parse(text, "README.md", environment.clone().into_iter());
        config.unwrap_or_else(|problems| panic!("{problems}"));
    }
    let script = read("scripts/common.sh");
    let written = script.split("<< CONFIG\n").nth(1).and_then(|rest| rest.split("\nCONFIG\n").next());
    let written = written
        .expect("the script writes a configuration")
        .replace("${org_url}", "http://127.0.0.1:8080")
        .replace("${2:-false}", "true")
        .replace("$1", "work");
    let config = Config::parse(&written, "scripts/common.sh", std::iter::empty());
    let config = config.unwrap_or_else(|problems| panic!("{problems}"));
    assert!(config.http.listen.is_none() && config.schema.at_start && config.schema.every.is_none());
}

#[test]
fn every_named_guarantee_has_a_test_that_starts_with_its_name() {
    let architecture = read("ARCHITECTURE.md");
    let names: Vec<String> = architecture
        .lines()
        .filter_map(|line| line.strip_prefix("| *")?.split_once("* |"))
        .map(|(name, _)| name.replace('-', "_"))
        .collect();
    assert_eq!(names.len(), 8, "{names:?}");
    let mut source = String::new();
    for folder in ["src", "tests"] {
        for file in files(&root().join(folder), ".rs") {
            source += &fs::read_to_string(file).expect("the file can be read");
        }
    }
    for name in names {
        // A test function, or a line of a table that a macro makes test functions of.
        let (function, line_of_table) = (format!("fn {name}_"), format!("{name}_"));
        let found = source.lines().map(|line| line.trim_start().trim_start_matches("async ")).any(|line| {
            line.starts_with(&function) || (line.starts_with(&line_of_table) && line.contains(": \""))
        });
        assert!(found, "no test `{function}...` for the guarantee *{name}*");
    }
}
