//! Patterns of column names: `vault_id|owner`, `.*`, `^addr_.*`.
//!
//! A pattern must match a name **whole**. `id` permits the column `id` and not `id_secret`: the rule for what somebody
//! may see has to be said, not happened upon. Matching takes linear time, whatever the pattern.

use regex_lite::Regex;

/// A column's name is at most some dozens of letters; a longer pattern than this is not about names.
const PATTERN_MAX: usize = 4 * 1024;

/// A pattern of names.
#[derive(Debug, Clone)]
pub struct NamePattern {
    text: String,
    regex: Regex,
}

impl NamePattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// Why it is none.
    pub fn new(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Err(
                "the pattern is empty and would permit nothing; write `false` to mean that".to_owned()
            );
        }
        if text.len() > PATTERN_MAX {
            return Err(format!("the pattern has {} bytes; at most {PATTERN_MAX} are taken", text.len()));
        }
        let bad = |error: regex_lite::Error| format!("`{text}` is not a pattern: {error}");
        // Alone first: `a)|(b` would close the group that is put around it, and then match parts of names.
        Regex::new(text).map_err(bad)?;
        let regex = Regex::new(&format!("^(?:{text})$")).map_err(bad)?;
        Ok(Self { text: text.to_owned(), regex })
    }

    /// Whether the whole name matches.
    pub fn matches(&self, name: &str) -> bool {
        self.regex.is_match(name)
    }

    /// The names that the pattern spells out, when it is nothing but names with `|` between them.
    pub fn plain_names(&self) -> impl Iterator<Item = &str> {
        let plain = self.text.chars().all(|c| c.is_alphanumeric() || c == '_' || c == '|');
        self.text.split('|').filter(move |_| plain)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("id", "id", true)]
    #[case("id", "id_secret", false)]
    #[case("id", "paid", false)]
    #[case("vault_id|owner", "owner", true)]
    #[case("vault_id|owner", "owner_pin", false)]
    #[case("^owner$", "owner", true)]
    #[case(".*", "anything at all", true)]
    #[case("addr_.*", "addr_city", true)]
    #[case("(?i)OWNER", "owner", true)]
    #[case("id|", "id_secret", false)]
    #[case("id", "id\n", false)]
    fn patterns_match_whole_names(#[case] pattern: &str, #[case] name: &str, #[case] matches: bool) {
        assert_eq!(NamePattern::new(pattern).unwrap().matches(name), matches);
    }

    #[rstest]
    #[case("")]
    #[case("a)|(b")]
    #[case("(")]
    #[case("(?x) a # ")]
    fn a_pattern_that_would_not_match_whole_names_is_refused(#[case] pattern: &str) {
        assert!(NamePattern::new(pattern).is_err());
    }
}
