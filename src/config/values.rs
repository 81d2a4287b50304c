//! What single keys hold beyond numbers and text: each checked once, where it enters.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};

use super::spec::{Bounded, Value, parse_text, quoted, text_of, text_value};
use super::tree::Content;

/// A password, key or token: prints as nothing, and compares by content.
#[derive(Clone)]
pub struct Secret(SecretString);

impl Secret {
    /// Takes the text; spaces and line ends around it go (files end with one).
    pub fn new(text: &str) -> Self {
        Self(SecretString::from(text.trim()))
    }

    /// The text itself, for the request that needs it.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }

    /// A copy in the form other parts take.
    pub fn to_secret_string(&self) -> SecretString {
        self.0.clone()
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.expose() == other.expose()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

impl Value for Secret {
    fn parse(content: &Content) -> Result<Self, String> {
        text_of(content).map(Self::new)
    }

    fn to_toml(&self) -> String {
        quoted("")
    }
}

/// A value whose form the key itself decides later: text, a list or a whole table, with the line of each part.
#[derive(Debug, Clone)]
pub struct Free(Content);

impl Free {
    /// What was written.
    pub(super) fn content(&self) -> &Content {
        &self.0
    }
}

/// By what is said, wherever it stands.
impl PartialEq for Free {
    fn eq(&self, other: &Self) -> bool {
        self.to_toml() == other.to_toml()
    }
}

impl Value for Free {
    fn parse(content: &Content) -> Result<Self, String> {
        Ok(Self(content.clone()))
    }

    fn to_toml(&self) -> String {
        content_to_toml(&self.0)
    }
}

fn content_to_toml(content: &Content) -> String {
    match content {
        Content::Text(text) | Content::Untyped(text) => quoted(text),
        Content::Whole(number) => number.to_string(),
        Content::Fraction(number) => format!("{number:?}"),
        Content::Switch(switch) => switch.to_string(),
        // No key of ours takes a moment: it is refused where it is read, and has no form here.
        Content::Moment => quoted(""),
        Content::List(elements) => {
            let elements: Vec<_> = elements.iter().map(|element| content_to_toml(&element.content)).collect();
            format!("[{}]", elements.join(", "))
        }
        Content::Table(table) => {
            let fields = table
                .iter()
                .map(|(name, node)| format!("{} = {}", quoted(name), content_to_toml(&node.content)));
            format!("{{ {} }}", fields.collect::<Vec<_>>().join(", "))
        }
    }
}

/// A number of bytes: a whole number, or text such as `64 MiB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(pub u64);

impl ByteSize {
    const UNITS: [(&'static str, u64); 4] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];

    /// So many MiB.
    pub const fn mib(count: u64) -> Self {
        Self(count << 20)
    }

    /// So many KiB.
    pub const fn kib(count: u64) -> Self {
        Self(count << 10)
    }

    /// The number.
    pub fn bytes(self) -> u64 {
        self.0
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fits = |(_, size): &&(&str, u64)| self.0 >= *size && self.0.is_multiple_of(*size);
        let (unit, size) = Self::UNITS.iter().find(fits).unwrap_or(&("B", 1));
        write!(f, "{} {unit}", self.0 / size)
    }
}

impl FromStr for ByteSize {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || format!("`{text}` is not a size such as `64 MiB` (units B, KiB, MiB, GiB)");
        let (digits, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
        let number: u64 = digits.parse().map_err(|_| bad())?;
        let unit = unit.trim();
        let size = match unit {
            "" => 1,
            unit => Self::UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(bad)?.1,
        };
        number.checked_mul(size).map(Self).ok_or_else(bad)
    }
}

impl Value for ByteSize {
    fn parse(content: &Content) -> Result<Self, String> {
        match content {
            Content::Whole(number) => {
                u64::try_from(*number).map(Self).map_err(|_| format!("expected a size, found {number}"))
            }
            other => parse_text(other),
        }
    }

    fn to_toml(&self) -> String {
        quoted(&self.to_string())
    }
}

impl Bounded<ByteSize> for ByteSize {
    fn given(&self) -> Option<ByteSize> {
        Some(*self)
    }
}

/// A time span such as `24h`, `90m` or `1h 30m`, of at least one second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Period(Duration);

impl Period {
    /// So many hours.
    pub const fn hours(count: u64) -> Self {
        Self(Duration::from_secs(count * 3_600))
    }

    /// So many minutes.
    pub const fn minutes(count: u64) -> Self {
        Self(Duration::from_secs(count * 60))
    }

    /// The span.
    pub fn duration(self) -> Duration {
        self.0
    }
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let secs = self.0.as_secs();
        let parts = [(secs / 3_600, "h"), (secs / 60 % 60, "m"), (secs % 60, "s")];
        let given: Vec<_> =
            parts.iter().filter(|(n, _)| *n > 0).map(|(n, unit)| format!("{n}{unit}")).collect();
        f.write_str(&given.join(" "))
    }
}

impl FromStr for Period {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        text.parse::<jiff::SignedDuration>()
            .ok()
            .and_then(|span| Duration::try_from(span).ok())
            .filter(|span| *span >= Duration::from_secs(1) && span.subsec_nanos() == 0)
            .map(Self)
            .ok_or_else(|| format!("`{text}` is not a time span of whole seconds such as `24h` or `1h 30m`"))
    }
}
text_value!(Period);

/// What is logged: a level, or a list such as `info,penstock::salesforce=debug`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogFilter(String);

impl LogFilter {
    /// The filter's text, known to parse.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for LogFilter {
    fn default() -> Self {
        Self("info".to_owned())
    }
}

impl fmt::Display for LogFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for LogFilter {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        // The filter takes any bare word for a target and then logs nothing: a misspelt level is caught here.
        let levels = ["off", "error", "warn", "info", "debug", "trace"];
        let is_level = |word: &str| levels.contains(&word.trim().to_ascii_lowercase().as_str());
        let has_default = text.split(',').any(is_level);
        match tracing_subscriber::EnvFilter::try_new(text) {
            Ok(_) if has_default => Ok(Self(text.to_owned())),
            Ok(_) => Err(format!("`{text}` names no level for the rest (one of {})", levels.join(", "))),
            Err(_) => Err(format!("`{text}` is not a log filter such as `info,penstock::salesforce=debug`")),
        }
    }
}
text_value!(LogFilter);

/// Where an org signs in: `https://` and a host; `http://` only on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoginUrl(String);

impl LoginUrl {
    /// The address, without a slash at its end.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for LoginUrl {
    fn default() -> Self {
        Self("https://login.salesforce.com".to_owned())
    }
}

impl fmt::Display for LoginUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for LoginUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        // First of all, since the other refusals print the text.
        if text.contains('@') {
            return Err("the address holds a user name or password; use the keys for them".to_owned());
        }
        let bad = |why: &str| Err(format!("`{text}` {why}"));
        let text = text.trim_end_matches('/');
        let (host, secure) = match (text.strip_prefix("https://"), text.strip_prefix("http://")) {
            (Some(host), _) => (host, true),
            (_, Some(host)) => (host, false),
            _ => return bad("is not an address such as `https://login.salesforce.com`"),
        };
        let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
        if name.is_empty() || host.contains(['/', '?', '#']) || host.contains(char::is_whitespace) {
            return bad("is not a host alone, such as `https://login.salesforce.com`");
        }
        if !secure && !["localhost", "127.0.0.1", "[::1]"].contains(&name) {
            return bad("would send the secret in the clear; use https");
        }
        Ok(Self(text.to_owned()))
    }
}
text_value!(LoginUrl);

/// Object names with `*` for any characters: `Account`, `*__c`, `npsp__*`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectPattern(String);

impl ObjectPattern {
    /// Whether a name fits; as everywhere in the org, case does not count.
    pub fn matches(&self, object: &str) -> bool {
        let (pattern, object) = (self.0.to_ascii_lowercase(), object.to_ascii_lowercase());
        let mut parts = pattern.split('*');
        let Some(mut rest) = parts.next().and_then(|first| object.strip_prefix(first)) else { return false };
        let parts: Vec<_> = parts.collect();
        let Some((last, middle)) = parts.split_last() else { return rest.is_empty() };
        for part in middle {
            match rest.find(part) {
                Some(at) => rest = &rest[at + part.len()..],
                None => return false,
            }
        }
        rest.ends_with(last)
    }
}

impl fmt::Display for ObjectPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for ObjectPattern {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let clean = text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '*');
        if text.is_empty() || !clean {
            return Err(format!("`{text}` is not an object name or a pattern such as `*__c`"));
        }
        Ok(Self(text.to_owned()))
    }
}
text_value!(ObjectPattern);

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("64 MiB", Some(64 << 20))]
    #[case("64MiB", Some(64 << 20))]
    #[case("17", Some(17))]
    #[case("17 B", Some(17))]
    #[case("64 MB", None)]
    #[case("MiB", None)]
    #[case("99999999999 GiB", None)]
    fn sizes_have_binary_units(#[case] text: &str, #[case] expected: Option<u64>) {
        assert_eq!(text.parse::<ByteSize>().ok().map(ByteSize::bytes), expected);
    }

    #[rstest]
    #[case(ByteSize::mib(64), "64 MiB")]
    #[case(ByteSize(1_500), "1500 B")]
    #[case(ByteSize(0), "0 B")]
    fn sizes_print_as_they_read(#[case] size: ByteSize, #[case] text: &str) {
        assert_eq!((size.to_string().as_str(), text.parse()), (text, Ok(size)));
    }

    #[rstest]
    #[case("24h", Some(86_400))]
    #[case("1h 30m", Some(5_400))]
    #[case("-1h", None)]
    #[case("500ms", None)]
    #[case("daily", None)]
    fn periods_are_whole_seconds(#[case] text: &str, #[case] expected: Option<u64>) {
        let parsed = text.parse::<Period>().ok();
        assert_eq!(parsed.map(|period| period.duration().as_secs()), expected);
        if let Some(period) = parsed {
            assert_eq!(period.to_string().parse(), Ok(period));
        }
    }

    #[rstest]
    #[case("info", true)]
    #[case("warn,penstock::salesforce=debug", true)]
    #[case("ifno", false)]
    #[case("penstock=debug", false)]
    #[case("info,penstock=loud", false)]
    fn a_log_filter_that_would_log_nothing_is_refused(#[case] text: &str, #[case] good: bool) {
        assert_eq!(text.parse::<LogFilter>().is_ok(), good);
    }

    #[rstest]
    #[case("https://acme.my.salesforce.com/", true)]
    #[case("http://127.0.0.1:8080", true)]
    #[case("http://acme.my.salesforce.com", false)]
    #[case("https://user:pass@acme.my.salesforce.com", false)]
    #[case("https://acme.my.salesforce.com/services", false)]
    #[case("acme.my.salesforce.com", false)]
    #[case("https://", false)]
    fn a_login_address_is_a_safe_host(#[case] text: &str, #[case] good: bool) {
        assert_eq!(text.parse::<LoginUrl>().is_ok(), good);
    }

    #[rstest]
    #[case("https://user:hunter2@acme.my.salesforce.com")]
    #[case("user:hunter2@acme.my.salesforce.com")]
    fn a_refused_login_address_does_not_print_its_password(#[case] text: &str) {
        let refused = text.parse::<LoginUrl>();
        assert!(refused.is_err() && !format!("{refused:?}").contains("hunter2"));
    }

    #[rstest]
    #[case("*", "Account", true)]
    #[case("account", "Account", true)]
    #[case("*__c", "Invoice__c", true)]
    #[case("*__c", "Invoice__Share", false)]
    #[case("npsp__*__c", "npsp__Batch__c", true)]
    #[case("A*t*t", "Account", false)]
    #[case("Account", "AccountShare", false)]
    fn patterns_match_whole_names(#[case] pattern: &str, #[case] object: &str, #[case] fits: bool) {
        assert_eq!(pattern.parse::<ObjectPattern>().unwrap().matches(object), fits);
    }

    #[test]
    fn a_secret_prints_as_nothing() {
        let secret = Secret::new(" hunter2\n");
        assert_eq!(secret.expose(), "hunter2");
        assert_eq!(format!("{secret:?}{}", secret.to_toml()), "Secret\"\"");
    }
}
