//! Mail domains that tell nothing about where a person works: free mail, internet providers, throw-away addresses; and what
//! the host of an address or a website comes down to.
//!
//! Promises: a look-up allocates nothing, and minds neither case nor a host in front (`eu.mailinator.com`).

mod known;

use known::KNOWN;

use super::text::by_first_byte;

/// Longest name that DNS knows.
const NAME_BYTES: usize = 253;

/// Second-level labels below which a country sells names: `acme.co.uk` is a name, `co.uk` is none.
const SECOND_LEVELS: [&str; 16] = [
    "ac", "co", "com", "edu", "gob", "gouv", "gov", "govt", "gv", "id", "ltd", "ne", "net", "or", "org",
    "plc",
];

/// The domains that penstock knows, and those that a person has added.
#[derive(Debug, Clone, Default)]
pub struct FreeMail {
    added: Vec<String>,
}

impl FreeMail {
    /// The known domains and these, written in whatever case, with or without `@`.
    pub fn new(added: &[String]) -> Self {
        let clean = |domain: &String| domain.trim().trim_start_matches('@').to_lowercase();
        let mut added: Vec<String> = added.iter().map(clean).filter(|domain| !domain.is_empty()).collect();
        added.sort_unstable();
        added.dedup();
        Self { added }
    }

    /// Whether an address at this domain, or at a host below it, tells nothing about the company.
    pub fn contains(&self, domain: &str) -> bool {
        let mut buffer = [0; NAME_BYTES];
        let Some(mut domain) = lower_case(domain, &mut buffer) else { return false };
        loop {
            // What has no dot is the end of every name.
            if !domain.contains('.') {
                return false;
            }
            if KNOWN.binary_search_by(|known| by_first_byte(known, domain)).is_ok()
                || self.added.binary_search_by(|added| added.as_str().cmp(domain)).is_ok()
            {
                return true;
            }
            match domain.split_once('.') {
                Some((_, above)) => domain = above,
                None => return false,
            }
        }
    }
}

/// In lower case, without blanks around it; `None` when it is too long for a name.
fn lower_case<'b>(name: &str, buffer: &'b mut [u8; NAME_BYTES]) -> Option<&'b str> {
    let name = name.trim().trim_end_matches('.');
    let bytes = buffer.get_mut(..name.len())?;
    bytes.copy_from_slice(name.as_bytes());
    bytes.make_ascii_lowercase();
    std::str::from_utf8(bytes).ok()
}

/// What stands after the `@` of an address, as it is written; `None` when that cannot be a domain.
pub fn mail_domain(address: &str) -> Option<&str> {
    let (local, domain) = address.rsplit_once('@')?;
    let domain = domain.trim();
    (!local.trim().is_empty() && is_host(domain)).then_some(domain)
}

/// The host of a website as a person writes it: with or without `https://`, `www.`, a port, a path. `None` when there is
/// none, or none that DNS could know.
pub fn website_host(website: &str) -> Option<&str> {
    let rest = website.trim();
    let rest = match rest.split_once("://") {
        Some((scheme, rest))
            if scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https") =>
        {
            rest
        }
        Some(_) => return None,
        None => rest.trim_start_matches("//"),
    };
    let authority = rest.split(['/', '?', '#', '\\']).next()?;
    if authority.contains('@') {
        return None;
    }
    let host = match authority.split_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        Some(_) => return None,
        None => authority,
    };
    let host = host.strip_suffix('.').unwrap_or(host);
    let host = match host.get(..4) {
        Some(www) if www.eq_ignore_ascii_case("www.") && host[4..].contains('.') => &host[4..],
        _ => host,
    };
    is_host(host).then_some(host)
}

/// Two labels at least, none empty, the last no number.
fn is_host(host: &str) -> bool {
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.chars().all(|c| c.is_alphanumeric() || c == '-' || c == '_')
    };
    let host = host.strip_suffix('.').unwrap_or(host);
    host.len() <= NAME_BYTES
        && host.split('.').all(is_label)
        && host
            .rsplit_once('.')
            .is_some_and(|(_, top)| top.chars().count() >= 2 && top.chars().any(|c| !c.is_ascii_digit()))
}

/// The part of a host that somebody has registered: `acme.co.uk` of `shop.acme.co.uk`.
pub fn core_domain(host: &str) -> &str {
    let host = host.strip_suffix('.').unwrap_or(host);
    let mut ends = host.rmatch_indices('.').map(|(at, _)| at);
    let (Some(last), Some(second)) = (ends.next(), ends.next()) else { return host };
    let third = ends.next();
    let middle = &host[second + 1..last];
    let is_country = host.len() - last - 1 == 2;
    if is_country && SECOND_LEVELS.iter().any(|label| label.eq_ignore_ascii_case(middle)) {
        third.map_or(host, |third| &host[third + 1..])
    } else {
        &host[second + 1..]
    }
}

/// Its first label, which is often the company's name: `acme` of `acme.co.uk`.
pub fn core_label(host: &str) -> &str {
    core_domain(host).split('.').next().unwrap_or_default()
}

/// Whether two hosts belong to the same owner.
pub fn same_owner(one: &str, other: &str) -> bool {
    core_domain(one).eq_ignore_ascii_case(core_domain(other))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[test]
    fn the_known_domains_are_sorted_lower_case_and_names() {
        assert!(KNOWN.is_sorted_by(|one, next| one < next), "sorted, each once");
        for domain in KNOWN {
            assert!(is_host(domain), "{domain}");
            assert_eq!(domain, domain.to_lowercase());
            assert!(FreeMail::default().contains(domain));
        }
    }

    #[rstest]
    #[case::free_mail("gmail.com", true)]
    #[case::upper_case("GMAIL.COM", true)]
    #[case::blanks(" Hotmail.co.uk ", true)]
    #[case::root_dot("gmx.de.", true)]
    #[case::provider("comcast.net", true)]
    #[case::throw_away("mailinator.com", true)]
    #[case::host_below("eu.mailinator.com", true)]
    #[case::ends_alike("notgmail.com", false)]
    #[case::begins_alike("gmail.com.example.org", false)]
    #[case::top_level("com", false)]
    #[case::company("example.com", false)]
    #[case::nothing("", false)]
    #[case::added("acme-staff.example", true)]
    #[case::below_an_added_one("eu.acme-staff.example", true)]
    fn free_mail_is_known(#[case] domain: &str, #[case] expected: bool) {
        let added = ["@Acme-Staff.example ".to_owned(), " ".to_owned()];
        assert_eq!(FreeMail::new(&added).contains(domain), expected);
    }

    #[test]
    fn a_name_longer_than_dns_knows_is_no_free_mail() {
        assert!(!FreeMail::default().contains(&"a.".repeat(400)));
        assert!(!FreeMail::default().contains(&"ä".repeat(200)));
    }

    #[rstest]
    #[case("ada@Example.org ", Some("Example.org"))]
    #[case("\"a@b\"@example.org", Some("example.org"))]
    #[case("ada", None)]
    #[case("@example.org", None)]
    #[case("ada@", None)]
    #[case("ada@localhost", None)]
    #[case("ada@-example.org", None)]
    #[case("ada@example..org", None)]
    #[case("ada@10.0.0.1", None)]
    fn the_domain_of_an_address_is_what_follows_the_last_at(
        #[case] address: &str,
        #[case] expected: Option<&str>,
    ) {
        assert_eq!(mail_domain(address), expected);
    }

    #[rstest]
    #[case("acme.com", Some("acme.com"))]
    #[case("HTTPS://www.Acme.com:443/about?x#y", Some("Acme.com"))]
    #[case("//acme.com", Some("acme.com"))]
    #[case("acme.com.", Some("acme.com"))]
    #[case("www.com", Some("www.com"))]
    #[case("http://münchen.example", Some("münchen.example"))]
    #[case("ftp://acme.com", None)]
    #[case("javascript:alert(1)", None)]
    #[case("http://user@acme.com", None)]
    #[case("http://10.0.0.1/", None)]
    #[case("http://[::1]/", None)]
    #[case("n/a", None)]
    #[case("none", None)]
    #[case("", None)]
    fn a_website_comes_down_to_its_host(#[case] website: &str, #[case] expected: Option<&str>) {
        assert_eq!(website_host(website), expected);
    }

    #[rstest]
    #[case("acme.com", "acme.com", "acme")]
    #[case("shop.eu.acme.com", "acme.com", "acme")]
    #[case("shop.acme.co.uk", "acme.co.uk", "acme")]
    #[case("acme.co.uk", "acme.co.uk", "acme")]
    #[case("co.uk", "co.uk", "co")]
    #[case("acme.com.au", "acme.com.au", "acme")]
    #[case("mail.acme.de", "acme.de", "acme")]
    fn a_host_comes_down_to_what_was_registered(#[case] host: &str, #[case] core: &str, #[case] label: &str) {
        assert_eq!((core_domain(host), core_label(host)), (core, label));
    }
}
