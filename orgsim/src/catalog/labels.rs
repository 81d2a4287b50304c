//! Labels from API names, for the many standard fields that nobody labels by hand.

/// Splits a camel-case API name into words: `LastModifiedById` becomes `Last Modified By ID`.
#[must_use]
pub fn from_api_name(name: &str) -> String {
    let bare = ["__c", "__mdt", "__e", "__kav", "__ka", "__s"]
        .iter()
        .find_map(|suffix| name.strip_suffix(suffix))
        .unwrap_or(name)
        .replace('_', " ");
    let letters: Vec<char> = bare.chars().collect();
    let mut words = String::with_capacity(bare.len() + 8);
    for (at, &letter) in letters.iter().enumerate() {
        let before = at.checked_sub(1).map(|at| letters[at]);
        let after = letters.get(at + 1);
        let starts_word = letter.is_ascii_uppercase()
            && before.is_some_and(|before| {
                before.is_ascii_lowercase()
                    || (before.is_ascii_digit() && after.is_some_and(char::is_ascii_lowercase))
                    || (before.is_ascii_uppercase() && after.is_some_and(char::is_ascii_lowercase))
            });
        if starts_word {
            words.push(' ');
        }
        words.push(letter);
    }
    match words.strip_suffix(" Id") {
        Some(stem) => format!("{stem} ID"),
        None if words == "Id" => "Record ID".to_owned(),
        None => words,
    }
}

/// English plural of a label: `Lease` becomes `Leases`, `Property` `Properties`.
#[must_use]
pub fn plural(label: &str) -> String {
    let vowel_before_y = ["ay", "ey", "oy", "uy"].iter().any(|end| label.ends_with(end));
    if let Some(stem) = label.strip_suffix('y').filter(|_| !vowel_before_y) {
        format!("{stem}ies")
    } else if let Some(stem) = label.strip_suffix("is") {
        format!("{stem}es")
    } else if ["s", "x", "ch", "sh"].iter().any(|end| label.ends_with(end)) {
        format!("{label}es")
    } else {
        format!("{label}s")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("LastModifiedById", "Last Modified By ID")]
    #[case("Id", "Record ID")]
    #[case("HTMLBody", "HTML Body")]
    #[case("Product2Id", "Product2 ID")]
    #[case("Gas_Meter__c", "Gas Meter")]
    #[case("PermissionsViewAllRecords", "Permissions View All Records")]
    fn api_names_read_as_words(#[case] name: &str, #[case] label: &str) {
        assert_eq!(from_api_name(name), label);
    }

    #[rstest]
    #[case("Lease", "Leases")]
    #[case("Property", "Properties")]
    #[case("Survey", "Surveys")]
    #[case("Address", "Addresses")]
    #[case("Batch", "Batches")]
    #[case("Analysis", "Analyses")]
    fn labels_have_plurals(#[case] label: &str, #[case] expected: &str) {
        assert_eq!(plural(label), expected);
    }
}
