//! Every mistake of a configuration, gathered in one run.
//!
//! A problem names its key and the place it was set: a line of the file, or a variable of the environment.
//! The text of a problem never holds the value of a secret.

use std::collections::BTreeMap;
use std::fmt;

/// Where a value was set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// A line of the file, counted from one.
    Line(usize),
    /// A variable of the environment.
    Variable(String),
}

/// One mistake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Where the value was set; `None` when nothing set it.
    pub origin: Option<Origin>,
    /// The key in full, such as `actors.fetcher.slots`; empty for the file as a whole.
    pub key: String,
    /// What is wrong, and what would be right.
    pub text: String,
}

/// All mistakes of one configuration, and where each key was set.
///
/// Printed, it is one line a problem: ``config.toml:12: sync.foo: unknown key``.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Problems {
    file: String,
    found: Vec<Problem>,
    origins: BTreeMap<String, Origin>,
    known_keys: Vec<String>,
}

impl std::error::Error for Problems {}

impl Problems {
    pub(super) fn new(file: String, known_keys: Vec<String>) -> Self {
        Self { file, known_keys, ..Self::default() }
    }

    /// The problems in the order they print: by line, then those of the environment, then the rest.
    pub fn iter(&self) -> impl Iterator<Item = &Problem> {
        self.found.iter()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.found.len()
    }

    /// Whether the configuration is good.
    pub fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// Remembers where a key was set, so that a later check can point at it.
    pub(super) fn saw(&mut self, key: &str, origin: &Origin) {
        self.origins.insert(key.to_owned(), origin.clone());
    }

    /// Whether this key has a problem already.
    pub(super) fn has(&self, key: &str) -> bool {
        self.found.iter().any(|problem| problem.key == key)
    }

    /// Whether this key, or one below it, has a problem already.
    pub(super) fn has_below(&self, key: &str) -> bool {
        let below = format!("{key}.");
        self.found.iter().any(|problem| problem.key == key || problem.key.starts_with(&below))
    }

    /// Adds a problem of a key at the place it was set, or else where its section begins.
    /// Only the first of a key counts: the others follow from it.
    pub(super) fn add(&mut self, key: &str, text: impl Into<String>) {
        if self.has(key) {
            return;
        }
        let origin = self.origin_of(key);
        self.found.push(Problem { origin, key: key.to_owned(), text: text.into() });
    }

    pub(super) fn add_at(&mut self, origin: Option<Origin>, key: &str, text: impl Into<String>) {
        self.found.push(Problem { origin, key: key.to_owned(), text: text.into() });
    }

    /// Adds an unknown key, with the known one it was most likely meant to be.
    pub(super) fn add_unknown(&mut self, origin: &Origin, section: &str, name: &str, siblings: &[&str]) {
        let hint = match nearest(name, siblings.iter().copied()) {
            Some(sibling) => format!("did you mean `{}`?", join(section, sibling)),
            None => match nearest_by_last_part(name, &self.known_keys) {
                Some(elsewhere) => format!("did you mean `{elsewhere}`?"),
                None => format!("known here: {}", siblings.join(", ")),
            },
        };
        let origin = Some(origin.clone());
        self.add_at(origin, &join(section, name), format!("unknown key; {hint}"));
    }

    /// The problems themselves when there are any.
    pub(super) fn into_result(mut self) -> Result<(), Self> {
        if self.found.is_empty() {
            return Ok(());
        }
        self.found.sort_by_key(|problem| match &problem.origin {
            Some(Origin::Line(line)) => (0, *line),
            Some(Origin::Variable(_)) => (1, 0),
            None => (2, 0),
        });
        Err(self)
    }

    fn origin_of(&self, key: &str) -> Option<Origin> {
        let mut rest = key;
        loop {
            if let Some(origin) = self.origins.get(rest) {
                return Some(origin.clone());
            }
            rest = &rest[..rest.rfind('.')?];
        }
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.found.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            match &problem.origin {
                Some(Origin::Line(line)) => write!(f, "{}:{line}: ", self.file)?,
                Some(Origin::Variable(name)) => write!(f, "{name}: ")?,
                None => write!(f, "{}: ", self.file)?,
            }
            if !problem.key.is_empty() {
                write!(f, "{}: ", problem.key)?;
            }
            f.write_str(&problem.text)?;
        }
        Ok(())
    }
}

/// `section.name`, or the name alone at the top.
pub(super) fn join(section: &str, name: &str) -> String {
    if section.is_empty() { name.to_owned() } else { format!("{section}.{name}") }
}

/// The candidate that `name` is most likely a misspelling of.
fn nearest<'a>(name: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    candidates
        .map(|candidate| (strsim::damerau_levenshtein(name, candidate), candidate))
        .filter(|(edits, candidate)| {
            let longest = name.len().max(candidate.len());
            // `ttl` for `ttl_secs`: a unit left out or added is a likely slip, whatever its length.
            let differs_by_a_part = |long: &str, short: &str| {
                !short.is_empty() && long.strip_prefix(short).is_some_and(|rest| rest.starts_with('_'))
            };
            *edits <= (longest / 3).max(1)
                || strsim::jaro_winkler(name, candidate) > 0.9
                || differs_by_a_part(candidate, name)
                || differs_by_a_part(name, candidate)
        })
        .min_by_key(|(edits, _)| *edits)
        .map(|(_, candidate)| candidate)
}

/// The known key of any section whose last part is (nearly) `name`: a key put into the wrong section.
fn nearest_by_last_part<'a>(name: &str, known_keys: &'a [String]) -> Option<&'a str> {
    let last = |key: &'a String| key.rsplit('.').next().unwrap_or(key);
    let wanted = nearest(name, known_keys.iter().map(last))?;
    known_keys.iter().find(|key| last(key) == wanted).map(String::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case::one_letter_off("slot", Some("slots"))]
    #[case::two_letters_swapped("mailbox_itmes", Some("mailbox_items"))]
    #[case::a_part_left_out("slots_max", Some("slots"))]
    #[case::nothing_alike("colour", None)]
    #[case::empty("", None)]
    fn a_misspelt_key_finds_its_neighbour(#[case] name: &str, #[case] expected: Option<&str>) {
        assert_eq!(nearest(name, ["slots", "mailbox_items", "mailbox_bytes"].into_iter()), expected);
    }

    #[test]
    fn a_key_in_the_wrong_section_is_told_where_it_belongs() {
        let mut problems = Problems::new("c.toml".to_owned(), vec!["http.listen".to_owned()]);
        problems.add_unknown(&Origin::Line(3), "log", "listen", &["format", "filter"]);
        assert_eq!(problems.to_string(), "c.toml:3: log.listen: unknown key; did you mean `http.listen`?");
    }

    #[test]
    fn a_problem_of_an_absent_key_points_at_its_section() {
        let mut problems = Problems::new("c.toml".to_owned(), Vec::new());
        problems.saw("org[0]", &Origin::Line(7));
        problems.add("org[0].client_id", "is missing");
        problems.add("org", "no origin");
        assert_eq!(problems.to_string(), "c.toml:7: org[0].client_id: is missing\nc.toml: org: no origin");
    }
}
