use jsonwebtoken::{Algorithm, EncodingKey, Header};
use rstest::rstest;
use serde_json::json;

use super::*;

const RSA_KEY: &[u8] = include_bytes!("../testdata/rsa-key.pem");
const RSA_PUBLIC: &[u8] = include_bytes!("../testdata/rsa-public.pem");
const EC_KEY: &[u8] = include_bytes!("../testdata/ec-key.pem");
const ED_KEY: &[u8] = include_bytes!("../testdata/ed-key.pem");
const JWKS: &[u8] = include_bytes!("../testdata/jwks.json");
const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";
/// Of the manual clock's first moment.
const NOW: i64 = 1_767_225_600;

fn now() -> jiff::Timestamp {
    jiff::Timestamp::from_second(NOW).unwrap()
}

fn keys() -> KeySet {
    KeySet::from_jwks(JWKS).unwrap()
}

fn rules(algorithms: &[TokenAlgorithm]) -> IssuerRules {
    IssuerRules {
        issuer: Arc::from("https://login.example.org"),
        audiences: vec!["penstock".to_owned()],
        algorithms: algorithms.to_vec(),
        secret: None,
        roles_claim: "roles".to_owned(),
    }
}

fn claims() -> Value {
    json!({"iss": "https://login.example.org", "sub": "ada", "aud": "penstock", "exp": NOW + 300, "roles": ["clerk"]})
}

fn with(name: &str, value: Value) -> Value {
    let mut claims = claims();
    claims[name] = value;
    claims
}

fn without(name: &str) -> Value {
    let mut claims = claims();
    claims.as_object_mut().unwrap().remove(name);
    claims
}

fn signed(algorithm: Algorithm, kid: Option<&str>, key: &EncodingKey, claims: &Value) -> String {
    let header = Header { kid: kid.map(str::to_owned), ..Header::new(algorithm) };
    jsonwebtoken::encode(&header, claims, key).unwrap()
}

fn by_rsa(claims: &Value) -> String {
    signed(Algorithm::RS256, Some("rsa-1"), &EncodingKey::from_rsa_pem(RSA_KEY).unwrap(), claims)
}

fn judge(token: &str, rules: &IssuerRules) -> Result<Caller, TokenFault> {
    UnverifiedToken::parse(token)?.verify(rules, &keys(), now())
}

/// A token whose header we write ourselves.
fn forged(header: &Value, claims: &Value, signature: &str) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    format!("{}.{}.{signature}", part(header), part(claims))
}

#[rstest]
#[case::rsa(TokenAlgorithm::Rs256, Algorithm::RS256, "rsa-1", EncodingKey::from_rsa_pem(RSA_KEY).unwrap())]
#[case::elliptic(TokenAlgorithm::Es256, Algorithm::ES256, "ec-1", EncodingKey::from_ec_pem(EC_KEY).unwrap())]
#[case::edwards(TokenAlgorithm::EdDsa, Algorithm::EdDSA, "ed-1", EncodingKey::from_ed_pem(ED_KEY).unwrap())]
fn a_good_token_says_who_asks(
    #[case] allowed: TokenAlgorithm,
    #[case] algorithm: Algorithm,
    #[case] kid: &str,
    #[case] key: EncodingKey,
) {
    let caller = judge(&signed(algorithm, Some(kid), &key, &claims()), &rules(&[allowed])).unwrap();
    assert_eq!((&*caller.issuer, &*caller.subject), ("https://login.example.org", "ada"));
    assert_eq!(caller.roles, [Arc::from("clerk")]);
    assert_eq!(caller.claims["exp"], NOW + 300);
    // The same token under rules that allow every other algorithm.
    let others: Vec<_> = TokenAlgorithm::ALL.into_iter().filter(|other| *other != allowed).collect();
    let refused = judge(&signed(algorithm, Some(kid), &key, &claims()), &rules(&others));
    assert_eq!(refused, Err(TokenFault::AlgorithmNotAllowed));
}

#[rstest]
#[case::expired(with("exp", json!(NOW - 31)), TokenFault::Expired)]
#[case::expired_just_past_the_leeway(with("exp", json!(NOW - 30)), TokenFault::Expired)]
#[case::no_expiry(without("exp"), TokenFault::NoExpiry)]
#[case::an_expiry_that_is_no_number(with("exp", json!("9999999999")), TokenFault::NoExpiry)]
#[case::not_yet(with("nbf", json!(NOW + 31)), TokenFault::NotYetValid)]
#[case::a_beginning_that_is_no_number(with("nbf", json!("now")), TokenFault::NotYetValid)]
#[case::another_issuer(with("iss", json!("https://evil.example.org")), TokenFault::UnknownIssuer)]
#[case::no_issuer(without("iss"), TokenFault::UnknownIssuer)]
#[case::a_list_of_issuers(with("iss", json!(["https://login.example.org"])), TokenFault::UnknownIssuer)]
#[case::another_audience(with("aud", json!("else")), TokenFault::WrongAudience)]
#[case::no_audience(without("aud"), TokenFault::WrongAudience)]
#[case::none_of_the_audiences(with("aud", json!(["a", "b"])), TokenFault::WrongAudience)]
fn claims_that_do_not_hold_are_refused(#[case] claims: Value, #[case] fault: TokenFault) {
    assert_eq!(judge(&by_rsa(&claims), &rules(&[TokenAlgorithm::Rs256])), Err(fault));
}

#[rstest]
#[case::expired_within_the_leeway(with("exp", json!(NOW - 29)))]
#[case::begins_within_the_leeway(with("nbf", json!(NOW + 30)))]
#[case::one_of_the_audiences(with("aud", json!(["else", "penstock"])))]
#[case::fractions_of_a_second(with("exp", json!(NOW as f64 + 0.5)))]
#[case::no_subject(without("sub"))]
fn claims_that_hold_are_taken(#[case] claims: Value) {
    assert!(judge(&by_rsa(&claims), &rules(&[TokenAlgorithm::Rs256])).is_ok());
}

#[test]
fn no_signature_at_all_is_refused_however_it_is_spelt() {
    let all = rules(&TokenAlgorithm::ALL);
    for alg in ["none", "None", "NONE", "nOnE", ""] {
        for signature in ["", "AAAA"] {
            let token = forged(&json!({"alg": alg, "typ": "JWT"}), &claims(), signature);
            assert_eq!(judge(&token, &all), Err(TokenFault::AlgorithmNotAllowed), "{alg}");
        }
    }
    let without_signature = by_rsa(&claims()).rsplit_once('.').unwrap().0.to_owned() + ".";
    assert_eq!(judge(&without_signature, &all), Err(TokenFault::BadSignature));
}

#[test]
fn a_token_signed_with_the_public_key_as_if_it_were_a_secret_is_refused() {
    let modulus = URL_SAFE_NO_PAD.decode(keys_json()["keys"][0]["n"].as_str().unwrap()).unwrap();
    for public in [RSA_PUBLIC, RSA_PUBLIC.trim_ascii(), &modulus] {
        for kid in [Some("rsa-1"), None] {
            let token = signed(Algorithm::HS256, kid, &EncodingKey::from_secret(public), &claims());
            assert_eq!(judge(&token, &rules(&[TokenAlgorithm::Rs256])), Err(TokenFault::AlgorithmNotAllowed));
            // Also where both are allowed: with a secret it is the secret that counts, without one nothing does.
            let both = rules(&[TokenAlgorithm::Rs256, TokenAlgorithm::Hs256]);
            assert_eq!(judge(&token, &both), Err(TokenFault::AlgorithmNotAllowed));
            let both = IssuerRules { secret: Some(SharedSecret::new(SECRET).unwrap()), ..both };
            assert_eq!(judge(&token, &both), Err(TokenFault::BadSignature));
        }
    }
}

#[test]
fn a_symmetric_key_in_a_published_set_signs_nothing() {
    let shared = EncodingKey::from_secret(b"this key is written in a key set for all");
    let token = signed(Algorithm::HS256, Some("shared"), &shared, &claims());
    assert_eq!(judge(&token, &rules(&TokenAlgorithm::ALL)), Err(TokenFault::AlgorithmNotAllowed));
    let only_symmetric = json!({"keys": [keys_json()["keys"][4]]}).to_string();
    assert_eq!(KeySet::from_jwks(only_symmetric.as_bytes()).unwrap_err(), KeySetError::NoUsableKey);
}

#[test]
fn a_shared_secret_is_taken_when_it_is_configured_and_long_enough() {
    let rules =
        IssuerRules { secret: Some(SharedSecret::new(SECRET).unwrap()), ..rules(&[TokenAlgorithm::Hs256]) };
    let token = signed(Algorithm::HS256, None, &EncodingKey::from_secret(SECRET), &claims());
    assert!(judge(&token, &rules).is_ok());
    let wrong = signed(Algorithm::HS256, None, &EncodingKey::from_secret(b"another"), &claims());
    assert_eq!(judge(&wrong, &rules), Err(TokenFault::BadSignature));
    assert_eq!(SharedSecret::new(&SECRET[..31]).unwrap_err(), SecretTooShort { bytes: 31 });
}

#[test]
fn a_key_is_found_by_its_id_and_kind() {
    let key = EncodingKey::from_rsa_pem(RSA_KEY).unwrap();
    let rules = rules(&TokenAlgorithm::ALL);
    let of = |kid: Option<&str>| judge(&signed(Algorithm::RS256, kid, &key, &claims()), &rules).map(drop);
    assert_eq!(of(Some("rsa-2")), Err(TokenFault::UnknownKey));
    assert_eq!(of(Some("ec-1")), Err(TokenFault::UnknownKey), "a key of another kind");
    assert_eq!(of(Some("sealed")), Err(TokenFault::UnknownKey), "a key for encryption");
    assert_eq!(of(None), Ok(()), "there is no choice: one RSA key for signatures");
    let mut twice = keys_json();
    let mut second = twice["keys"][0].clone();
    second["kid"] = json!("rsa-2");
    twice["keys"].as_array_mut().unwrap().push(second);
    let twice = KeySet::from_jwks(twice.to_string().as_bytes()).unwrap();
    let token = signed(Algorithm::RS256, None, &key, &claims());
    let judged = UnverifiedToken::parse(&token).unwrap().verify(&rules, &twice, now());
    assert_eq!(judged, Err(TokenFault::UnknownKey), "without an id there must be no choice");
}

#[test]
fn a_changed_claim_breaks_the_signature() {
    let token = by_rsa(&claims());
    let [header, _, signature] = token.split('.').collect::<Vec<_>>()[..] else { panic!("three parts") };
    let widened = URL_SAFE_NO_PAD.encode(with("roles", json!(["admin"])).to_string());
    let widened = format!("{header}.{widened}.{signature}");
    assert_eq!(judge(&widened, &rules(&[TokenAlgorithm::Rs256])), Err(TokenFault::BadSignature));
}

#[rstest]
#[case::nothing("")]
#[case::one_part("abc")]
#[case::two_parts("e30.e30")]
#[case::four_parts("e30.e30.e30.e30")]
#[case::no_base64("!!!.e30.e30")]
#[case::padded("e30=.e30.e30")]
#[case::no_json("YWJj.e30.e30")]
#[case::no_object("W10.e30.e30")]
#[case::no_algorithm("e30.e30.e30")]
#[case::too_long(&"a".repeat(20_000))]
fn what_is_no_token_is_refused(#[case] token: &str) {
    assert_eq!(UnverifiedToken::parse(token).unwrap_err(), TokenFault::Malformed);
}

#[test]
fn an_extension_that_must_be_understood_is_refused() {
    let token = forged(&json!({"alg": "RS256", "crit": ["b64"], "b64": false}), &claims(), "AAAA");
    assert_eq!(UnverifiedToken::parse(&token).unwrap_err(), TokenFault::UnknownExtension);
}

#[rstest]
#[case::a_list(json!(["a", "b", "a"]), &["a", "b"])]
#[case::spaces(json!("a b  c"), &["a", "b", "c"])]
#[case::commas(json!("a, b,c"), &["a", "b", "c"])]
#[case::a_list_as_text(json!(" [\"a\", \"b c\"]"), &["a", "b c"])]
#[case::no_list_after_all(json!("[admin"), &[])]
#[case::nothing(json!(""), &[])]
#[case::an_object(json!({"admin": true}), &[])]
#[case::numbers(json!([1, null, "a"]), &["a"])]
fn roles_come_in_three_forms(#[case] claim: Value, #[case] roles: &[&str]) {
    assert_eq!(roles_of(&claim).iter().map(|role| &**role).collect::<Vec<_>>(), roles);
}

#[test]
fn roles_may_lie_within_a_claim() {
    let rules =
        IssuerRules { roles_claim: "realm_access.roles".to_owned(), ..rules(&[TokenAlgorithm::Rs256]) };
    let token = by_rsa(&with("realm_access", json!({"roles": ["clerk", "auditor"]})));
    assert_eq!(judge(&token, &rules).unwrap().roles.len(), 2);
    assert!(judge(&by_rsa(&claims()), &rules).unwrap().roles.is_empty());
}

#[test]
fn nothing_of_a_token_or_a_secret_is_printed() {
    let token = by_rsa(&claims());
    let parsed = UnverifiedToken::parse(&token).unwrap();
    assert_eq!(format!("{parsed:?}"), "UnverifiedToken { algorithm: Rs256, .. }");
    assert_eq!(format!("{:?}", SharedSecret::new(SECRET).unwrap()), "SharedSecret");
    assert_eq!(format!("{:?}", keys()), "KeySet { keys: 3 }");
}

fn keys_json() -> Value {
    serde_json::from_slice(JWKS).unwrap()
}
