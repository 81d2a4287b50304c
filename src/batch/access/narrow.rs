//! Claims of one operation, where the server takes them (contract, section 13.4): they can only narrow.
//!
//! `roles` and `scope` may name some of what the caller has; any other claim may only repeat the caller's value. A claim
//! that is left out stays as it is, so nothing can be dropped, and `null` is no way to drop it either. Whatever comes out
//! is a caller that the real one could have been: row filters, injection and the database's own policies see it alike.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::Value as Json;

use super::Caller;
use crate::batch::value::Value;

/// An operation's claims ask for more than the caller has: 403 `claims_widening`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub struct NarrowFault {
    /// Which claim, as an RFC 6901 pointer below `claims`.
    pub pointer: String,
    /// Why, without any value.
    pub why: String,
}

/// The caller as an operation with these claims sees it.
///
/// # Errors
/// The first claim, by name, that asks for more than the caller has.
pub fn narrow(caller: &Caller, claims: &Value) -> Result<Caller, NarrowFault> {
    let Value::Object(fields) = claims else {
        return Err(NarrowFault { pointer: String::new(), why: "`claims` must be an object".to_owned() });
    };
    let mut narrowed = caller.clone();
    let mut fields: Vec<_> = fields.iter().map(|(name, value)| (&**name, value)).collect();
    fields.sort_unstable_by_key(|(name, _)| *name);
    for (name, value) in fields {
        let refuse = |why: String| {
            let pointer = format!("/{}", name.replace('~', "~0").replace('/', "~1"));
            NarrowFault { pointer, why }
        };
        match name {
            "roles" => narrow_roles(&mut narrowed, caller, value).map_err(refuse)?,
            "scope" => narrow_scope(&mut narrowed, caller, value).map_err(refuse)?,
            _ => {
                let same = caller.claims.get(name).is_some_and(|own| is_same(value, own));
                if !same {
                    let why = format!(
                        "claim `{name}` is not the caller's own; an operation may only repeat claims, and narrow `roles` and `scope`"
                    );
                    return Err(refuse(why));
                }
            }
        }
    }
    Ok(narrowed)
}

fn narrow_roles(narrowed: &mut Caller, caller: &Caller, wanted: &Value) -> Result<(), String> {
    let wanted = words(wanted).ok_or("`roles` must be a list of texts")?;
    let own: BTreeSet<&str> = caller.roles.iter().map(|role| &**role).collect();
    if wanted.iter().any(|role| !own.contains(&**role)) {
        return Err("`roles` names a role that the caller does not have".to_owned());
    }
    // Wherever the issuer puts its roles: policies of the database read the claims, not our list.
    for claim in narrowed.claims.values_mut() {
        narrow_lists(claim, &own, &wanted);
    }
    narrowed.roles = wanted.into_iter().map(Arc::from).collect();
    let list = Json::from(narrowed.roles.iter().map(|role| role.to_string()).collect::<Vec<_>>());
    if narrowed.claims.contains_key("roles") {
        narrowed.claims.insert("roles".to_owned(), list);
    }
    Ok(())
}

/// Narrows every list that says exactly the caller's roles.
fn narrow_lists(claim: &mut Json, own: &BTreeSet<&str>, wanted: &[String]) {
    match claim {
        Json::Array(list) => {
            let said: Option<BTreeSet<&str>> = list.iter().map(Json::as_str).collect();
            if !own.is_empty() && said.is_some_and(|said| said == *own) {
                list.retain(|role| role.as_str().is_some_and(|role| wanted.iter().any(|one| one == role)));
            }
        }
        Json::Object(fields) => fields.values_mut().for_each(|field| narrow_lists(field, own, wanted)),
        _ => {}
    }
}

fn narrow_scope(narrowed: &mut Caller, caller: &Caller, wanted: &Value) -> Result<(), String> {
    let wanted =
        words(wanted).ok_or("`scope` must be a text with spaces between scopes, or a list of texts")?;
    let (own, is_list) = match caller.claims.get("scope") {
        Some(Json::String(text)) => (text.split_whitespace().map(str::to_owned).collect(), false),
        Some(Json::Array(list)) => {
            (list.iter().filter_map(Json::as_str).map(str::to_owned).collect::<BTreeSet<_>>(), true)
        }
        _ => return Err("`scope` is not one of the caller's claims".to_owned()),
    };
    if wanted.iter().any(|scope| !own.contains(scope)) {
        return Err("`scope` names a scope that the caller does not have".to_owned());
    }
    let kept = if is_list { Json::from(wanted) } else { Json::from(wanted.join(" ")) };
    narrowed.claims.insert("scope".to_owned(), kept);
    Ok(())
}

/// A list of texts, or a text with spaces between its words; each once, in order.
fn words(value: &Value) -> Option<Vec<String>> {
    let all: Vec<String> = match value {
        Value::Text(text) => text.split_whitespace().map(str::to_owned).collect(),
        Value::Array(values) => values
            .iter()
            .map(|value| match value {
                Value::Text(text) => Some(text.clone()),
                _ => None,
            })
            .collect::<Option<_>>()?,
        _ => return None,
    };
    let mut kept: Vec<String> = Vec::with_capacity(all.len());
    for word in all {
        if !kept.contains(&word) {
            kept.push(word);
        }
    }
    Some(kept)
}

/// Whether a value repeats a claim: the same kinds, the same contents; of objects the keys in any order.
fn is_same(value: &Value, claim: &Json) -> bool {
    match (value, claim) {
        (Value::Bool(left), Json::Bool(right)) => left == right,
        (Value::Int(left), Json::Number(right)) => right.as_i64() == Some(*left),
        (Value::Number(left), Json::Number(right)) => **left == *right.to_string(),
        (Value::Text(left), Json::String(right)) => left == right,
        (Value::Array(left), Json::Array(right)) => {
            left.len() == right.len() && left.iter().zip(right).all(|(left, right)| is_same(left, right))
        }
        (Value::Object(left), Json::Object(right)) => {
            left.len() == right.len()
                && left
                    .iter()
                    .all(|(name, left)| right.get(&**name).is_some_and(|right| is_same(left, right)))
        }
        // Null repeats nothing: a claim that is null is as good as missing, and asking for it is asking to drop one.
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rstest::rstest;
    use serde_json::json;

    fn value(json: &Json) -> Value {
        match json {
            Json::Null => Value::Null,
            Json::Bool(flag) => Value::Bool(*flag),
            Json::Number(number) => match number.as_i64() {
                Some(whole) => Value::Int(whole),
                None => Value::Number(number.to_string().into()),
            },
            Json::String(text) => Value::Text(text.clone()),
            Json::Array(list) => Value::Array(list.iter().map(value).collect()),
            Json::Object(fields) => {
                Value::Object(fields.iter().map(|(name, one)| (name.as_str().into(), value(one))).collect())
            }
        }
    }

    fn caller() -> Caller {
        let claims = json!({
            "sub": "u1", "level": 3, "team": { "id": 7, "names": ["a", "b"] }, "nothing": null,
            "scope": "read write", "realm_access": { "roles": ["clerk", "chief"] }
        });
        Caller {
            subject: "u1".into(),
            roles: vec!["clerk".into(), "chief".into()],
            claims: claims.as_object().unwrap().clone(),
            ..Caller::default()
        }
    }

    #[rstest]
    #[case::nothing(json!({}))]
    #[case::a_claim_repeated(json!({ "sub": "u1", "level": 3 }))]
    #[case::an_object_repeated_in_another_order(json!({ "team": { "names": ["a", "b"], "id": 7 } }))]
    #[case::all_roles(json!({ "roles": ["chief", "clerk"] }))]
    #[case::all_scopes(json!({ "scope": "write read" }))]
    fn what_the_caller_has_may_be_said_again(#[case] claims: Json) {
        let narrowed = narrow(&caller(), &value(&claims)).unwrap();
        assert_eq!(narrowed.subject, caller().subject);
        assert_eq!(narrowed.claims.len(), caller().claims.len());
    }

    #[rstest]
    #[case::another_subject(json!({ "sub": "u2" }), "/sub")]
    #[case::null_for_a_claim(json!({ "sub": null }), "/sub")]
    #[case::null_for_null(json!({ "nothing": null }), "/nothing")]
    #[case::a_new_claim(json!({ "a/b": 1 }), "/a~1b")]
    #[case::a_number_as_text(json!({ "level": "3" }), "/level")]
    #[case::a_larger_number(json!({ "level": 4 }), "/level")]
    #[case::a_shorter_list(json!({ "team": { "id": 7, "names": ["a"] } }), "/team")]
    #[case::a_field_left_out(json!({ "team": { "id": 7 } }), "/team")]
    #[case::a_role_too_many(json!({ "roles": ["clerk", "admin"] }), "/roles")]
    #[case::any_role_is_no_role(json!({ "roles": ["*"] }), "/roles")]
    #[case::roles_null(json!({ "roles": null }), "/roles")]
    #[case::roles_with_a_number(json!({ "roles": [1] }), "/roles")]
    #[case::a_scope_too_many(json!({ "scope": "read admin" }), "/scope")]
    #[case::a_claim_by_its_path(json!({ "team.id": 7 }), "/team.id")]
    fn whatever_widens_is_refused(#[case] claims: Json, #[case] pointer: &str) {
        let fault = narrow(&caller(), &value(&claims)).map(|_| ()).expect_err("it widens");
        assert_eq!(fault.pointer, pointer);
        assert!(!fault.why.contains("admin") && !fault.why.contains("u2"), "{fault}");
    }

    #[test]
    fn roles_and_scopes_become_fewer_wherever_they_are_written() {
        let narrowed = narrow(&caller(), &value(&json!({ "roles": ["clerk"], "scope": ["read"] }))).unwrap();
        assert_eq!(narrowed.roles, [Arc::from("clerk")]);
        assert_eq!(narrowed.claims["realm_access"], json!({ "roles": ["clerk"] }));
        assert_eq!(narrowed.claims["scope"], json!("read"));
        let none = narrow(&caller(), &value(&json!({ "roles": [] }))).unwrap();
        assert!(none.roles.is_empty());
    }

    proptest! {
        #[test]
        fn no_claims_give_a_role_or_a_claim_that_was_not_there(
            roles in prop::collection::vec(prop::sample::select(vec!["clerk", "chief", "admin", "*", "public"]), 0..4),
            name in prop::sample::select(vec!["sub", "level", "admin", "scope", "realm_access"]),
            said in prop::sample::select(vec![json!("u1"), json!("u2"), json!(null), json!(3), json!("read"), json!({})]),
        ) {
            if let Ok(narrowed) = narrow(&caller(), &value(&json!({ "roles": roles, name: said }))) {
                prop_assert!(narrowed.roles.iter().all(|role| caller().roles.contains(role)));
                prop_assert!(narrowed.claims.keys().eq(caller().claims.keys()));
                prop_assert_eq!(&narrowed.claims["sub"], &json!("u1"));
            }
        }
    }
}
