//! What a question asks for, before anything is searched. Pure.
//!
//! No text of a user ever becomes FTS5 syntax: only letters and digits of words go in, each word in
//! quotes.

use std::collections::BTreeSet;

use super::thesaurus;
use crate::ai::split_identifiers;

/// Words that say how something is asked and not what: they carry no weight in a full-text ranking.
const STOP_WORDS: [&str; 99] = [
    "a", "about", "all", "an", "and", "any", "anyone", "are", "as", "at", "be", "been", "being", "but", "by",
    "can", "could", "did", "do", "does", "doing", "each", "every", "find", "for", "from", "get", "give",
    "had", "has", "have", "how", "i", "if", "in", "into", "is", "it", "its", "let", "list", "me", "my", "no",
    "not", "of", "on", "one", "or", "our", "over", "she", "he", "shall", "should", "show", "so", "some",
    "somebody", "someone", "tell", "tells", "than", "that", "the", "their", "them", "then", "there", "these",
    "they", "thing", "this", "those", "to", "up", "us", "was", "we", "were", "what", "when", "where",
    "whether", "which", "who", "whom", "whose", "why", "will", "with", "would", "you", "your", "please",
    "us", "say", "says", "look",
];

/// Words about the library itself: nearly every document is about some field of some object.
const LIBRARY_WORDS: [&str; 16] = [
    "field",
    "fields",
    "object",
    "objects",
    "column",
    "columns",
    "table",
    "tables",
    "salesforce",
    "org",
    "store",
    "stored",
    "stores",
    "keep",
    "keeps",
    "kept",
];

/// Words that ask for what Salesforce keeps beside an object.
const COMPANION_WORDS: [&str; 4] = ["history", "feed", "sharing", "changeevent"];

/// A question taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// Names and quoted texts that must be found as they stand, first of all.
    pub exact: Vec<Exact>,
    /// The words that count, lower case, each once.
    pub words: Vec<String>,
    /// Words that may stand for them.
    pub synonyms: Vec<&'static str>,
    /// What is embedded.
    pub embedded: String,
    /// It asks for history, feed, sharing or change events.
    pub wants_companions: bool,
}

/// Something to be found as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Exact {
    /// `Opportunity.StageName`.
    FieldOf {
        /// Before the dot.
        object: String,
        /// Behind it.
        field: String,
    },
    /// `ERP_Id__c`, `StageName`: the name of an object, a field or an automation.
    Name(String),
    /// Text in quotes, as FTS5 words in their order.
    Phrase(Vec<String>),
}

impl Question {
    /// Takes `text` apart; any text will do.
    pub fn new(text: &str) -> Self {
        let (quoted, plain) = cut_quotes(text);
        let mut exact: Vec<Exact> = Vec::new();
        let tokens: Vec<&str> = plain.split_whitespace().map(trim_punctuation).collect();
        let alone = tokens.iter().filter(|token| !token.is_empty()).count() == 1 && quoted.is_empty();
        for token in tokens {
            exact.extend(identifier(token, alone));
        }
        for quote in &quoted {
            exact.extend(identifier(quote.trim(), true));
            let words = plain_words(quote);
            if words.len() > 1 {
                exact.push(Exact::Phrase(words));
            }
        }
        let split = split_identifiers(&text.replace(['"', '\u{201c}', '\u{201d}'], " "));
        let all = plain_words(&split);
        let mut seen = BTreeSet::new();
        let counts = |word: &&String| !is_stop_word(word) && !LIBRARY_WORDS.contains(&word.as_str());
        let words: Vec<String> =
            all.iter().filter(counts).filter(|word| seen.insert((*word).clone())).cloned().collect();
        let wants_companions = all.iter().any(|word| COMPANION_WORDS.contains(&word.as_str()));
        let told: Vec<String> =
            all.iter().filter(|word| !LIBRARY_WORDS.contains(&word.as_str())).cloned().collect();
        let synonyms = thesaurus::widen(&told);
        let told: Vec<&str> =
            told.iter().chain(&words).map(String::as_str).chain(synonyms.iter().copied()).collect();
        // A question of nothing but such words is taken at its word.
        let embedded = if words.is_empty() { split.clone() } else { told.join(" ") };
        let words = if words.is_empty() { all } else { words };
        Self { exact, words, synonyms, embedded, wants_companions }
    }

    /// The words as an FTS5 query that ranks documents with any of them; `None` without words.
    pub fn fts_any(&self) -> Option<String> {
        let words = self.words.iter().map(String::as_str).take(32).chain(self.synonyms.iter().copied());
        let quoted: Vec<String> = words.map(|word| format!("\"{word}\"")).collect();
        (!quoted.is_empty()).then(|| quoted.join(" OR "))
    }
}

impl Exact {
    /// As an FTS5 query for the very words in their order.
    pub fn fts_phrase(&self) -> String {
        let name = |name: &str| {
            let clean: String = name.chars().filter(|c| c.is_alphanumeric() || *c == '_').collect();
            format!("\"{clean}\"")
        };
        match self {
            Self::FieldOf { object, field } => format!("{} AND {}", name(object), name(field)),
            Self::Name(text) => name(text),
            Self::Phrase(words) => format!("\"{}\"", words.join(" ")),
        }
    }
}

/// Cuts text in double quotes out; an unclosed quote is plain text.
fn cut_quotes(text: &str) -> (Vec<String>, String) {
    let is_quote = |c: char| matches!(c, '"' | '\u{201c}' | '\u{201d}');
    let pieces: Vec<&str> = text.split(is_quote).collect();
    let closed = pieces.len() - (1 - pieces.len() % 2);
    let (mut quoted, mut plain) = (Vec::new(), String::new());
    for (at, piece) in pieces.iter().enumerate() {
        if at % 2 == 1 && at < closed {
            quoted.push((*piece).to_owned());
        } else {
            plain.push_str(piece);
            plain.push(' ');
        }
    }
    quoted.retain(|quote| !quote.trim().is_empty());
    (quoted, plain)
}

fn trim_punctuation(token: &str) -> &str {
    token.trim_matches(|c: char| !c.is_alphanumeric() && c != '_')
}

/// The identifier that a token is, if it is one; a token that stands alone needs no sign of being one.
fn identifier(token: &str, alone: bool) -> Option<Exact> {
    let is_name = |text: &str| {
        text.starts_with(|c: char| c.is_ascii_alphabetic())
            && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
    };
    if let Some((object, field)) = token.split_once('.') {
        let both = is_name(object) && is_name(field);
        return both.then(|| Exact::FieldOf { object: object.to_owned(), field: field.to_owned() });
    }
    let letters: Vec<char> = token.chars().collect();
    let has_hump = letters.windows(2).any(|pair| pair[0].is_lowercase() && pair[1].is_uppercase());
    let looks_like_one = token.trim_matches('_').contains('_') || has_hump;
    (is_name(token) && (alone || looks_like_one)).then(|| Exact::Name(token.to_owned()))
}

fn is_stop_word(word: &str) -> bool {
    STOP_WORDS.contains(&word) || (word.len() == 1 && !word.starts_with(|c: char| c.is_ascii_digit()))
}

fn plain_words(text: &str) -> Vec<String> {
    text.split(|c: char| !c.is_alphanumeric())
        .filter(|word| !word.is_empty())
        .map(str::to_lowercase)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    fn name(text: &str) -> Exact {
        Exact::Name(text.to_owned())
    }

    #[rstest]
    #[case("what is ERP_Id__c for?", vec![name("ERP_Id__c")])]
    #[case("StageName", vec![name("StageName")])]
    #[case("Account", vec![name("Account")])]
    #[case("Account owner", vec![])]
    #[case("why was a deal lost?", vec![])]
    #[case("is Opportunity.StageName required", vec![Exact::FieldOf { object: "Opportunity".into(), field: "StageName".into() }])]
    #[case("rule \"close date is past\"", vec![Exact::Phrase(vec!["close".into(), "date".into(), "is".into(), "past".into()])])]
    #[case("an \"unclosed quote", vec![])]
    #[case("3.14 and 1.2", vec![])]
    fn exact_names_are_recognised(#[case] text: &str, #[case] expected: Vec<Exact>) {
        assert_eq!(Question::new(text).exact, expected);
    }

    #[test]
    fn words_about_asking_and_about_the_library_do_not_count() {
        let question = Question::new("Which field says why a deal was lost?");
        assert_eq!(question.words, ["deal", "lost"]);
        assert_eq!(question.synonyms, ["cause", "reason", "opportunity"]);
        let query = question.fts_any().unwrap();
        assert_eq!(query, "\"deal\" OR \"lost\" OR \"cause\" OR \"reason\" OR \"opportunity\"");
    }

    #[test]
    fn a_question_of_such_words_only_is_taken_at_its_word() {
        assert_eq!(Question::new("which object").words, ["which", "object"]);
        assert_eq!(Question::new("?!").fts_any(), None);
    }

    proptest::proptest! {
        #[test]
        fn no_text_becomes_syntax(text in "\\PC{0,80}") {
            let question = Question::new(&text);
            let exact = question.exact.iter().map(Exact::fts_phrase);
            for query in exact.chain(question.fts_any()) {
                let outside: String = query.split('"').step_by(2).collect();
                let operators = outside.replace("OR", "").replace("AND", "");
                proptest::prop_assert_eq!(operators.trim(), "");
            }
        }
    }
}
