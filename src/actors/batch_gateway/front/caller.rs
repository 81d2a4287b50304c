//! What follows from who asks: whose keys they are, and whom the database's own policies judge.

use sha2::{Digest as _, Sha256};

use super::NotTaken;
use crate::batch::access::Caller;
use crate::batch::problem::{FaultKind, Problem};
use crate::database::{Enforcement, Identity};
use crate::http::api::BatchAsk;

/// Whom PostgreSQL's own policies judge, where they do.
pub(super) fn identity_of(
    enforcement: &Enforcement,
    caller: &Caller,
    instance: &str,
) -> Result<Option<Identity>, NotTaken> {
    let Enforcement::Database { role_claim, anonymous_role } = enforcement else { return Ok(None) };
    let is_nobody = caller.issuer.is_empty() && caller.claims.is_empty();
    let role = match caller.claim(role_claim).and_then(serde_json::Value::as_str) {
        // To PostgreSQL this is no role: it would be the login itself, which the policies do not judge as anybody.
        Some("none" | "") => None,
        Some(role) => Some(role.to_owned()),
        None if is_nobody => anonymous_role.as_ref().map(ToString::to_string),
        None => None,
    };
    let claims = serde_json::Value::Object(caller.claims.clone()).to_string();
    match role {
        Some(role) => Ok(Some(Identity { role, claims })),
        None => {
            let detail = format!("the token has no claim `{role_claim}`, which names the role to act as");
            Err(NotTaken::invalid(Problem::new(FaultKind::Forbidden, detail, instance)))
        }
    }
}

/// A key belongs to a subject. All tokens of an issuer that name none would share their keys, and one caller would be
/// answered with the rows of another.
pub(super) fn refuse_key_of_nobody(ask: &BatchAsk, instance: &str) -> Result<(), NotTaken> {
    let has_token = !ask.caller.issuer.is_empty();
    if ask.idempotency_key.is_some() && has_token && ask.caller.subject.is_empty() {
        let detail = "an idempotency key needs a token with a subject (`sub`): leave the key out, or get another token";
        return Err(NotTaken::invalid(Problem::new(FaultKind::InvalidKey, detail, instance)));
    }
    Ok(())
}

/// The row of a key: issuer, subject and key, each with its length so that no two of them run together.
pub(super) fn key_scope(caller: &Caller, key: &str) -> String {
    let mut hash = Sha256::new();
    for part in [&*caller.issuer, &*caller.subject, key] {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part.as_bytes());
    }
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn a_key_is_its_callers_own() {
        let caller = |issuer: &str, subject: &str| Caller {
            issuer: Arc::from(issuer),
            subject: Arc::from(subject),
            ..Caller::default()
        };
        let ada = key_scope(&caller("i", "ada"), "k");
        assert_eq!(ada.len(), 64);
        assert_eq!(ada, key_scope(&caller("i", "ada"), "k"));
        for other in [
            key_scope(&caller("i", "bob"), "k"),
            key_scope(&caller("j", "ada"), "k"),
            key_scope(&caller("i", "ada"), "l"),
            key_scope(&caller("ia", "da"), "k"),
            key_scope(&caller("i", "adak"), ""),
        ] {
            assert_ne!(ada, other);
        }
    }

    #[test]
    fn a_token_without_a_subject_has_no_keys_of_its_own() {
        let ask = |issuer: &str, subject: &str, key: Option<&str>| BatchAsk {
            body: Vec::new(),
            caller: Arc::new(Caller {
                issuer: Arc::from(issuer),
                subject: Arc::from(subject),
                ..Caller::default()
            }),
            idempotency_key: key.map(str::to_owned),
            lines: false,
            trace: None,
            database: None,
            dry_run: false,
        };
        let refused = |ask: BatchAsk| refuse_key_of_nobody(&ask, "").err().map(|why| why.problem.kind);
        assert_eq!(refused(ask("i", "", Some("k"))), Some(FaultKind::InvalidKey));
        assert_eq!(refused(ask("i", "", None)), None);
        assert_eq!(refused(ask("i", "ada", Some("k"))), None);
        assert_eq!(refused(ask("", "", Some("k"))), None, "without tokens there is one caller");
    }

    #[test]
    fn a_caller_acts_as_the_role_that_the_token_names_or_not_at_all() {
        let by_claim = |anonymous: Option<&str>| Enforcement::Database {
            role_claim: Arc::from("db_role"),
            anonymous_role: anonymous.map(Arc::from),
        };
        let mut clerk = Caller { issuer: Arc::from("i"), ..Caller::default() };
        clerk.claims.insert("db_role".to_owned(), "clerk".into());
        let role = |enforcement: &Enforcement, caller: &Caller| {
            let identity = identity_of(enforcement, caller, "");
            identity.map(|identity| identity.map(|identity| identity.role)).map_err(|why| why.problem.kind)
        };
        assert_eq!(role(&Enforcement::Rules, &clerk), Ok(None));
        assert_eq!(role(&by_claim(None), &clerk), Ok(Some("clerk".to_owned())));
        assert_eq!(role(&by_claim(Some("anon")), &Caller::default()), Ok(Some("anon".to_owned())));
        assert_eq!(role(&by_claim(None), &Caller::default()), Err(FaultKind::Forbidden));
        clerk.claims.insert("db_role".to_owned(), "none".into());
        assert_eq!(role(&by_claim(Some("anon")), &clerk), Err(FaultKind::Forbidden), "not the login itself");
        clerk.claims.clear();
        assert_eq!(
            role(&by_claim(Some("anon")), &clerk),
            Err(FaultKind::Forbidden),
            "a token without a role is not nobody"
        );
    }
}
