//! Names that have been checked once, at the door.
//!
//! A query can be built from an [`ObjectName`] or a [`FieldName`] without fear: no value of these
//! types holds a quote, a blank or an operator.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Text that is not a name of the wanted kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not {wanted}")]
pub struct BadName {
    /// The text as it came, cut to 120 characters.
    pub text: String,
    /// What was wanted, such as "an object name (letters, digits, underscores; at most 80)".
    pub wanted: &'static str,
}

impl BadName {
    fn new(text: &str, wanted: &'static str) -> Self {
        Self { text: text.chars().take(120).collect(), wanted }
    }
}

macro_rules! checked_name {
    ($(#[$doc:meta])* $name:ident, $wanted:literal, $check:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = BadName;
            fn from_str(text: &str) -> Result<Self, BadName> {
                let check: fn(&str) -> bool = $check;
                check(text).then(|| Self(text.to_owned())).ok_or_else(|| BadName::new(text, $wanted))
            }
        }

        impl TryFrom<String> for $name {
            type Error = BadName;
            fn try_from(text: String) -> Result<Self, BadName> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> String {
                name.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
    };
}

fn is_api_name(text: &str, longest: usize) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.len() <= longest
        && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

checked_name!(
    /// API name of a Salesforce object, such as `Account` or `Invoice__c`.
    ObjectName,
    "an object name (a letter, then letters, digits and underscores; at most 80)",
    |text| is_api_name(text, 80)
);

checked_name!(
    /// API name of a field, without its object, such as `StageName` or `Due_Date__c`.
    FieldName,
    "a field name (a letter, then letters, digits and underscores; at most 80)",
    |text| is_api_name(text, 80)
);

checked_name!(
    /// The name by which the config calls one org: the first part of every cache key, vector id and watermark.
    OrgName,
    "an org name (lower-case letters, digits and hyphens, starting with a letter; at most 40)",
    |text| text.starts_with(|c: char| c.is_ascii_lowercase())
        && text.len() <= 40
        && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
);

checked_name!(
    /// A REST API version such as `62.0`; paths carry it as `v62.0`.
    ApiVersion,
    "an API version such as `62.0` (31.0 or later)",
    |text| text.strip_suffix(".0").is_some_and(|major| {
        major.len() == 2 && major.parse::<u32>().is_ok_and(|major| major >= 31)
    })
);

impl ObjectName {
    /// Namespace of a managed package's object: the first of three parts in `ns__Name__c`.
    pub fn namespace(&self) -> Option<&str> {
        let mut parts = self.0.split("__");
        let first = parts.next()?;
        (parts.count() >= 2).then_some(first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("Account", true)]
    #[case("Invoice__c", true)]
    #[case("", false)]
    #[case("1Account", false)]
    #[case("Account' OR Name != '", false)]
    #[case("Konto\u{e4}", false)]
    fn object_names_hold_nothing_that_could_change_a_query(#[case] text: &str, #[case] good: bool) {
        assert_eq!(text.parse::<ObjectName>().is_ok(), good);
    }

    #[rstest]
    #[case("62.0", true)]
    #[case("30.0", false)]
    #[case("62", false)]
    #[case("v62.0", false)]
    fn api_versions_are_the_supported_ones(#[case] text: &str, #[case] good: bool) {
        assert_eq!(text.parse::<ApiVersion>().is_ok(), good);
    }

    #[test]
    fn a_namespace_is_the_first_of_three_parts() -> Result<(), BadName> {
        assert_eq!("npsp__Trigger_Handler__c".parse::<ObjectName>()?.namespace(), Some("npsp"));
        assert_eq!("Invoice__c".parse::<ObjectName>()?.namespace(), None);
        Ok(())
    }
}
