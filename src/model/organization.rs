//! The id that Salesforce gives an org, and keeps whatever its address and its name in the configuration become.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What every id of an org begins with.
const PREFIX: &str = "00D";
const SHORT: usize = 15;
const LONG: usize = 18;

/// The id of an org, always of 18 characters.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct OrganizationId(String);

impl OrganizationId {
    /// The id that `text` is, of 15 or 18 characters; `None`: it is none.
    pub fn read(text: &str) -> Option<Self> {
        let is_id = text.starts_with(PREFIX) && text.bytes().all(|byte| byte.is_ascii_alphanumeric());
        match text.len() {
            LONG if is_id => Some(Self(text.to_owned())),
            SHORT if is_id => Some(Self(format!("{text}{}", checksum(text.as_bytes())))),
            _ => None,
        }
    }

    /// The org that an access token is of: what stands before its `!`.
    pub fn of_token(token: &str) -> Option<Self> {
        token.split_once('!').and_then(|(org, _)| Self::read(org))
    }

    /// The org in the address of an identity: `https://login.salesforce.com/id/<org>/<user>`.
    pub fn of_identity(url: &str) -> Option<Self> {
        let (_, ids) = url.rsplit_once("/id/")?;
        ids.split('/').next().and_then(Self::read)
    }

    /// The 18 characters.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The three characters that make an id safe where case is lost: of each five a letter or digit, by which are capitals.
fn checksum(short: &[u8]) -> String {
    let of_five = |five: &[u8]| {
        let bits = (0_u8..).zip(five).filter(|(_, byte)| byte.is_ascii_uppercase());
        let sum = bits.fold(0_u8, |sum, (at, _)| sum | 1 << at);
        char::from(if sum < 26 { b'A' + sum } else { b'0' + sum - 26 })
    };
    short.chunks(5).map(of_five).collect()
}

impl TryFrom<String> for OrganizationId {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        Self::read(&text).ok_or_else(|| "no id of an org".to_owned())
    }
}

impl From<OrganizationId> for String {
    fn from(id: OrganizationId) -> Self {
        id.0
    }
}

impl fmt::Display for OrganizationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::short("00D5g0000001234", Some("00D5g0000001234EAA"))]
    #[case::long("00D5g0000001234EAA", Some("00D5g0000001234EAA"))]
    #[case::all_of_a_group("00DABCDEFGHIJKL", Some("00DABCDEFGHIJKL255"))]
    #[case::other_object("00Q5g0000001234", None)]
    #[case::cut_off("00D5g000000123", None)]
    #[case::no_id("00D5g0000001'34", None)]
    fn an_id_is_told_in_eighteen_characters(#[case] text: &str, #[case] expected: Option<&str>) {
        assert_eq!(OrganizationId::read(text).as_ref().map(OrganizationId::as_str), expected);
    }

    #[test]
    fn a_token_and_an_identity_tell_the_org() {
        let id = OrganizationId::read("00D5g0000001234EAA");
        assert_eq!(OrganizationId::of_token("00D5g0000001234!AQEAQ.secret"), id);
        assert_eq!(OrganizationId::of_token("opaque"), None);
        let identity = "https://login.salesforce.com/id/00D5g0000001234EAA/0055g00000AbCdEAAV";
        assert_eq!(OrganizationId::of_identity(identity), id);
        assert_eq!(OrganizationId::of_identity("https://login.salesforce.com"), None);
    }
}
