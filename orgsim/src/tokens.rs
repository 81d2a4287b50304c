//! Access and refresh tokens: handed out, looked up, expired, rotated, revoked.
//!
//! Tokens that come from one login are a chain. A rotated refresh token used twice has been stolen by one of its two
//! users, so the whole chain ends with it.

use crate::ids;
use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

/// Number of a login that all its tokens share.
pub type Chain = u64;

/// Tokens in force.
#[derive(Debug, Default)]
pub struct Tokens {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    access: HashMap<String, Access>,
    refresh: HashMap<String, Refresh>,
    issued: u64,
    chains: Chain,
}

#[derive(Debug, Clone, Copy)]
struct Access {
    /// Epoch milliseconds.
    expires: Option<i64>,
    requests_left: Option<u64>,
    chain: Option<Chain>,
}

#[derive(Debug, Clone, Copy)]
struct Refresh {
    chain: Chain,
    spent: bool,
}

/// What limits a token handed out.
#[derive(Debug, Clone, Copy, Default)]
pub struct Life {
    /// Epoch milliseconds at which it ends.
    pub expires: Option<i64>,
    /// API requests it is good for.
    pub requests: Option<u64>,
}

impl Tokens {
    /// Accepts this token for ever.
    pub fn accept(&self, token: &str) {
        let for_ever = Access { expires: None, requests_left: None, chain: None };
        self.lock().access.insert(token.to_owned(), for_ever);
    }

    /// Accepts this refresh token; it begins a chain.
    pub fn accept_refresh(&self, token: &str) -> Chain {
        let mut inner = self.lock();
        if let Some(known) = inner.refresh.get(token).filter(|known| !known.spent) {
            return known.chain;
        }
        inner.chains += 1;
        let chain = inner.chains;
        inner.refresh.insert(token.to_owned(), Refresh { chain, spent: false });
        chain
    }

    /// Whether a request with this token is let in; books it as one of the token's requests.
    pub fn admit(&self, token: &str, now_ms: i64) -> bool {
        let mut inner = self.lock();
        let Some(access) = inner.access.get_mut(token) else { return false };
        if access.expires.is_some_and(|expires| now_ms >= expires) || access.requests_left == Some(0) {
            return false;
        }
        access.requests_left = access.requests_left.map(|left| left - 1);
        true
    }

    /// A new access token of an organization.
    pub fn issue(&self, organization_id: &str, seed: u64, life: Life, chain: Option<Chain>) -> String {
        let mut inner = self.lock();
        inner.issued += 1;
        let number = inner.issued;
        let secret = ids::base62(ids::stable_hash(&format!("{seed}/{number}")));
        let token = format!("{}!AQEAQ{secret}.{number}", &organization_id[..15]);
        let access = Access { expires: life.expires, requests_left: life.requests, chain };
        inner.access.insert(token.clone(), access);
        token
    }

    /// A new refresh token, of a chain or the first of a new one.
    pub fn issue_refresh(&self, seed: u64, chain: Option<Chain>) -> (String, Chain) {
        let mut inner = self.lock();
        inner.issued += 1;
        let chain = chain.unwrap_or_else(|| {
            inner.chains += 1;
            inner.chains
        });
        let number = inner.issued;
        let secret = ids::base62(ids::stable_hash(&format!("refresh/{seed}/{number}")));
        let token = format!("5Aep861{secret}.{number}");
        inner.refresh.insert(token.clone(), Refresh { chain, spent: false });
        (token, chain)
    }

    /// The chain of a refresh token that may be used. `spend`: only this once; a second use ends the chain.
    pub fn use_refresh(&self, token: &str, spend: bool) -> Option<Chain> {
        let mut inner = self.lock();
        let known = inner.refresh.get_mut(token)?;
        let chain = known.chain;
        if known.spent {
            inner.end_chain(chain);
            return None;
        }
        known.spent = spend;
        Some(chain)
    }

    /// Ends an access token.
    pub fn revoke(&self, token: &str) {
        self.lock().access.remove(token);
    }

    /// Ends an access token, or a refresh token with its chain; false when it is neither.
    pub fn revoke_any(&self, token: &str) -> bool {
        let mut inner = self.lock();
        if inner.access.remove(token).is_some() {
            return true;
        }
        let Some(known) = inner.refresh.get(token).copied() else { return false };
        inner.end_chain(known.chain);
        !known.spent
    }

    /// Ends all access tokens; refresh tokens stay good.
    pub fn expire_all(&self) {
        self.lock().access.clear();
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn end_chain(&mut self, chain: Chain) {
        self.access.retain(|_, access| access.chain != Some(chain));
        self.refresh.retain(|_, refresh| refresh.chain != chain);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ORG: &str = "00D5g0000001234EAA";

    #[test]
    fn a_token_ends_at_its_moment_or_with_its_last_request() {
        let tokens = Tokens::default();
        let short = tokens.issue(ORG, 7, Life { expires: Some(1_000), requests: None }, None);
        assert!(tokens.admit(&short, 999) && !tokens.admit(&short, 1_000));
        let two = tokens.issue(ORG, 7, Life { expires: None, requests: Some(2) }, None);
        let let_in: Vec<bool> = (0..3).map(|_| tokens.admit(&two, 0)).collect();
        assert_eq!(let_in, [true, true, false]);
    }

    #[test]
    fn a_spent_refresh_token_used_again_ends_its_chain_and_no_other() {
        let tokens = Tokens::default();
        let other = tokens.accept_refresh("other");
        let chain = tokens.accept_refresh("first");
        assert_eq!(tokens.use_refresh("first", true), Some(chain));
        let (second, same) = tokens.issue_refresh(7, Some(chain));
        let access = tokens.issue(ORG, 7, Life::default(), Some(chain));
        assert_eq!(same, chain);
        assert_eq!(tokens.use_refresh("first", true), None);
        assert_eq!(tokens.use_refresh(&second, true), None, "the successor ends with it");
        assert!(!tokens.admit(&access, 0), "and so do its sessions");
        assert_eq!(tokens.use_refresh("other", true), Some(other));
    }

    #[test]
    fn a_revoked_refresh_token_takes_its_sessions_along() {
        let tokens = Tokens::default();
        let (refresh, chain) = tokens.issue_refresh(7, None);
        let access = tokens.issue(ORG, 7, Life::default(), Some(chain));
        assert!(tokens.revoke_any(&refresh));
        assert!(!tokens.admit(&access, 0));
        assert!(!tokens.revoke_any(&refresh) && !tokens.revoke_any("nonsense"));
    }
}
