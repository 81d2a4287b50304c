//! Splits identifiers into the words they are made of, so that a language model can read them.
//!
//! `StageName` is two odd word pieces to a tokeniser and two plain words once split; splitting gains
//! about three points of hit@5 (`models/penstock-static-256/README.md`).

/// Suffixes by which Salesforce marks custom things; they carry no meaning of their own.
const SUFFIXES: [&str; 9] = ["__c", "__r", "__mdt", "__pc", "__e", "__x", "__b", "__kav", "__s"];

/// Splits every identifier in `text`: `ERP_Id__c` becomes `ERP Id`, `Opportunity.StageName` becomes
/// `Opportunity Stage Name`. Plain words, numbers and punctuation at word ends stay as they are; runs
/// of blanks become one.
pub fn split_identifiers(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + text.len() / 8);
    for token in text.split_whitespace() {
        let body = token.trim_end_matches(|c: char| !c.is_alphanumeric() && c != '_');
        let tail = &token[body.len()..];
        for part in body.split(['.', ':', '/']) {
            split_one(strip_suffix(part), &mut out);
        }
        if !tail.is_empty() {
            if out.ends_with(' ') {
                out.pop();
            }
            out.push_str(tail);
            out.push(' ');
        }
    }
    out.truncate(out.trim_end().len());
    out
}

fn strip_suffix(name: &str) -> &str {
    SUFFIXES
        .iter()
        .find_map(|suffix| {
            let cut = name.len().checked_sub(suffix.len())?;
            let end = name.get(cut..)?;
            (cut > 0 && end.eq_ignore_ascii_case(suffix)).then(|| &name[..cut])
        })
        .unwrap_or(name)
}

/// Appends the words of one name, each followed by a blank.
fn split_one(name: &str, out: &mut String) {
    let letters: Vec<char> = name.chars().collect();
    let mut wrote = false;
    for (at, &letter) in letters.iter().enumerate() {
        if letter == '_' {
            if wrote && !out.ends_with(' ') {
                out.push(' ');
            }
            continue;
        }
        let before = at.checked_sub(1).map(|at| letters[at]);
        // `stageName` breaks before N; `ERPId` before I, which a lower-case letter follows; `Q3Goal` before G.
        let starts_word = letter.is_uppercase()
            && before.is_some_and(|before| {
                before.is_lowercase()
                    || before.is_ascii_digit()
                    || (before.is_uppercase() && is_word_start(letters.get(at + 1), letters.get(at + 2)))
            });
        if starts_word && !out.ends_with(' ') && wrote {
            out.push(' ');
        }
        out.push(letter);
        wrote = true;
    }
    if wrote && !out.ends_with(' ') {
        out.push(' ');
    }
}

/// An upper-case letter within a run of them starts a word when a lower-case one follows, unless that
/// is only a plural's `s`, as in `URLs` and `FAQs`.
fn is_word_start(next: Option<&char>, after_next: Option<&char>) -> bool {
    match (next, after_next) {
        (Some('s'), None) => false,
        (Some(next), _) => next.is_lowercase(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("StageName", "Stage Name")]
    #[case("ERP_Id__c", "ERP Id")]
    #[case("ERPId", "ERP Id")]
    #[case("npsp__Trigger_Handler__c", "npsp Trigger Handler")]
    #[case("Opportunity.StageName", "Opportunity Stage Name")]
    #[case("Account__r.Name", "Account Name")]
    #[case("Setting__mdt", "Setting")]
    #[case("Q3Goal", "Q3 Goal")]
    #[case("FAQs", "FAQs")]
    #[case("plain words, and a full stop.", "plain words, and a full stop.")]
    #[case("  ", "")]
    #[case("__c", "c")]
    #[case("___", "")]
    #[case("\u{dc}berGr\u{f6}\u{df}e", "\u{dc}ber Gr\u{f6}\u{df}e")]
    fn identifiers_become_words(#[case] text: &str, #[case] expected: &str) {
        assert_eq!(split_identifiers(text), expected);
    }

    proptest::proptest! {
        #[test]
        fn splitting_never_loses_a_letter_or_digit_outside_suffixes(text in "[A-Za-z0-9 ]{0,40}") {
            let kept = |text: &str| text.chars().filter(|c| !c.is_whitespace()).collect::<String>();
            proptest::prop_assert_eq!(kept(&split_identifiers(&text)), kept(&text));
        }

        #[test]
        fn splitting_takes_any_text(text in "\\PC{0,60}") {
            let _ = split_identifiers(&text);
        }
    }
}
