//! The sfdx auth URL: one line of text that carries a whole login.
//!
//! `force://<client id>:<client secret>:<refresh token>@<host[:port]>`; the secret may be empty, as it is for
//! the sf CLI's own app. Promises: a URL that does not fit is refused by naming the part, never by quoting it.

use secrecy::SecretString;

/// What an sfdx auth URL holds.
#[derive(Debug)]
pub struct SfdxUrl {
    /// Consumer key.
    pub client_id: String,
    /// Consumer secret; public apps have none.
    pub client_secret: Option<SecretString>,
    /// Refresh token.
    pub refresh_token: SecretString,
    /// Scheme, host and port; always https.
    pub instance_url: String,
}

impl SfdxUrl {
    /// Takes the URL apart.
    ///
    /// # Errors
    /// A sentence without a value of the URL.
    pub fn parse(text: &str) -> Result<Self, String> {
        let shape = "it looks like `force://client-id:client-secret:refresh-token@host`";
        let rest = text.trim().strip_prefix("force://").ok_or(format!("no `force://` in front; {shape}"))?;
        // Neither tokens nor hosts hold an `@`.
        let (login, host) = rest.rsplit_once('@').ok_or(format!("no `@host` at its end; {shape}"))?;
        let mut parts = login.splitn(3, ':');
        let (Some(client_id), Some(secret), Some(token)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(format!("fewer than three parts before the `@`; {shape}"));
        };
        for (name, part, may_be_empty) in [
            ("client id", client_id, false),
            ("client secret", secret, true),
            ("refresh token", token, false),
        ] {
            if part.is_empty() && !may_be_empty {
                return Err(format!("its {name} is empty; {shape}"));
            }
            if !part.is_empty() && !is_word(part) {
                return Err(format!("its {name} holds a character that none can hold; {shape}"));
            }
        }
        let host_fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':');
        if host.is_empty() || !host.chars().all(host_fits) {
            return Err(format!("its host is no host name; {shape}"));
        }
        Ok(Self {
            client_id: client_id.to_owned(),
            client_secret: (!secret.is_empty()).then(|| SecretString::from(secret)),
            refresh_token: SecretString::from(token),
            instance_url: format!("https://{host}"),
        })
    }
}

/// Letters, digits, `.`, `_`, `-`, and at most two `=` at the end.
fn is_word(part: &str) -> bool {
    let body = part.trim_end_matches('=');
    part.len() - body.len() <= 2
        && !body.is_empty()
        && body.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;
    use secrecy::ExposeSecret;

    #[rstest]
    #[case::an_app(
        "force://3MVG9.app_1-x=:ab12==:5Aep861.token_x@acme.my.salesforce.com",
        "3MVG9.app_1-x=",
        Some("ab12=="),
        "https://acme.my.salesforce.com"
    )]
    #[case::the_cli(
        "force://PlatformCLI::5Aep861@localhost:8443\n",
        "PlatformCLI",
        None,
        "https://localhost:8443"
    )]
    fn a_whole_login_is_read(
        #[case] text: &str,
        #[case] client_id: &str,
        #[case] secret: Option<&str>,
        #[case] url: &str,
    ) {
        let read = SfdxUrl::parse(text).unwrap();
        assert_eq!(read.client_id, client_id);
        assert_eq!(read.client_secret.as_ref().map(|secret| secret.expose_secret()), secret);
        assert_eq!(read.instance_url, url);
        assert!(read.refresh_token.expose_secret().starts_with("5Aep861"));
    }

    #[rstest]
    #[case::another_scheme("https://acme.my.salesforce.com", "force://")]
    #[case::no_host("force://a:b:hushtoken", "@host")]
    #[case::two_parts("force://a:hushtoken@host", "three parts")]
    #[case::no_token("force://a:hushsecret:@host", "refresh token is empty")]
    #[case::no_id("force://::hushtoken@host", "client id is empty")]
    #[case::a_path("force://a:b:hushtoken@host/path", "host")]
    #[case::a_blank("force://a:b:hush token@host", "refresh token holds")]
    fn what_does_not_fit_is_named_and_not_quoted(#[case] text: &str, #[case] named: &str) {
        let error = SfdxUrl::parse(text).unwrap_err();
        assert!(error.contains(named), "{error}");
        assert!(!error.contains("hush"), "{error}");
    }
}
