//! Whether a request may come from the page that sent it.
//!
//! A listener on loopback lets anybody of the machine in, and a browser of the machine sends requests for any page that is
//! open in it. Promises: a page of another site reaches nothing, neither by a form, an image, a WebSocket, nor by a name that
//! it points at this machine. Clients that are no browsers send none of these headers and notice nothing.

use std::net::IpAddr;

/// What the headers of a request say about where it comes from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Provenance<'a> {
    /// `Host`.
    pub host: Option<&'a str>,
    /// `Origin`, each that was sent.
    pub origins: &'a [&'a str],
    /// `Sec-Fetch-Site`.
    pub fetch_site: Option<&'a str>,
    /// There is an `Authorization` header, which no browser adds by itself.
    pub has_token: bool,
    /// The listener's address.
    pub listens_on: IpAddr,
}

/// Why a request is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Foreign {
    /// A page of another site.
    #[error(
        "a web page of another site sent this; call it from a page of this listener, or from no page at all"
    )]
    Page,
    /// A name of somebody else's that points here.
    #[error(
        "`Host` names neither `localhost` nor this machine's loopback address; use one of them, or send a token"
    )]
    Name,
}

/// Refuses what a foreign page may have sent.
pub(super) fn judge(seen: Provenance<'_>) -> Result<(), Foreign> {
    // `none` is an address that a person typed. A page of the same site but another origin is as foreign as any.
    if seen.fetch_site.is_some_and(|site| !matches!(site, "same-origin" | "none")) {
        return Err(Foreign::Page);
    }
    let is_own = |origin: &&str| {
        let authority = origin.split_once("://").map(|(_, authority)| authority);
        authority.zip(seen.host).is_some_and(|(authority, host)| authority.eq_ignore_ascii_case(host))
    };
    if !seen.origins.iter().all(is_own) {
        return Err(Foreign::Page);
    }
    // Whoever owns a name can point it at 127.0.0.1, and then its page is of the same origin as we are.
    if seen.listens_on.is_loopback() && !seen.has_token && !seen.host.is_some_and(is_loopback) {
        return Err(Foreign::Name);
    }
    Ok(())
}

/// Whether `Host` names this machine to itself.
fn is_loopback(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(bracketed) => bracketed.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    name == "localhost"
        || name.ends_with(".localhost")
        || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    const LOOPBACK: &str = "127.0.0.1";
    const OUTSIDE: &str = "192.0.2.1";

    #[rstest]
    #[case::curl("127.0.0.1:8080", &[], None, false, LOOPBACK, Ok(()))]
    #[case::own_page("127.0.0.1:8080", &["http://127.0.0.1:8080"], Some("same-origin"), false, LOOPBACK, Ok(()))]
    #[case::own_page_by_name("LocalHost:8080", &["http://localhost:8080"], None, false, LOOPBACK, Ok(()))]
    #[case::own_page_of_six("[::1]:8080", &["http://[::1]:8080"], None, false, "::1", Ok(()))]
    #[case::typed("127.0.0.1:8080", &[], Some("none"), false, LOOPBACK, Ok(()))]
    #[case::foreign_form("127.0.0.1:8080", &["https://evil.example"], Some("cross-site"), false, LOOPBACK, Err(Foreign::Page))]
    #[case::foreign_form_of_an_old_browser("127.0.0.1:8080", &["https://evil.example"], None, false, LOOPBACK, Err(Foreign::Page))]
    #[case::foreign_image("127.0.0.1:8080", &[], Some("cross-site"), false, LOOPBACK, Err(Foreign::Page))]
    #[case::another_port("127.0.0.1:8080", &["http://127.0.0.1:9"], Some("same-site"), false, LOOPBACK, Err(Foreign::Page))]
    #[case::no_origin_to_tell("127.0.0.1:8080", &["null"], None, false, LOOPBACK, Err(Foreign::Page))]
    #[case::one_of_two("127.0.0.1:8080", &["http://127.0.0.1:8080", "https://evil.example"], None, false, LOOPBACK, Err(Foreign::Page))]
    #[case::foreign_page_with_a_token("127.0.0.1:8080", &["https://evil.example"], None, true, LOOPBACK, Err(Foreign::Page))]
    #[case::name_that_points_here("evil.example:8080", &["http://evil.example:8080"], Some("same-origin"), false, LOOPBACK, Err(Foreign::Name))]
    #[case::name_that_looks_like_it("localhost.evil.example", &[], None, false, LOOPBACK, Err(Foreign::Name))]
    #[case::proxy_with_a_token("leads.example", &[], None, true, LOOPBACK, Ok(()))]
    #[case::outside("leads.example", &["https://leads.example"], Some("same-origin"), false, OUTSIDE, Ok(()))]
    #[case::outside_foreign("leads.example", &["https://evil.example"], None, false, OUTSIDE, Err(Foreign::Page))]
    fn foreign_pages_reach_nothing(
        #[case] host: &str,
        #[case] origins: &[&str],
        #[case] fetch_site: Option<&str>,
        #[case] has_token: bool,
        #[case] listens_on: &str,
        #[case] expected: Result<(), Foreign>,
    ) {
        let listens_on = listens_on.parse().unwrap();
        let seen = Provenance { host: Some(host), origins, fetch_site, has_token, listens_on };
        assert_eq!(judge(seen), expected);
    }

    #[test]
    fn a_request_without_a_host_is_nobodys() {
        let listens_on = LOOPBACK.parse().unwrap();
        let seen = Provenance { host: None, origins: &[], fetch_site: None, has_token: false, listens_on };
        assert_eq!(judge(seen), Err(Foreign::Name));
    }
}
