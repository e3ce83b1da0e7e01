use jiff::Timestamp;
use proptest::prelude::*;

use super::*;
use crate::key::{PairAlgorithm, PrivateKey, SharedSecret, SigningKey};
use crate::signer::{AccessToken, Signer};

const NOW: i64 = 1_790_000_000;

fn parties() -> Parties {
    Parties::new("http://127.0.0.1:8001", "tokenpair")
}

fn secret() -> SharedSecret {
    SharedSecret::parse("a-secret-for-tests-of-at-least-32-bytes").unwrap()
}

fn signer() -> Signer {
    Signer::new(secret().signing_key(), parties())
}

fn verifier() -> Verifier {
    let clock = Clock::manual(Timestamp::from_second(NOW).unwrap());
    Verifier::new(VerifyingKeys::new([secret().verifying_key()]), parties()).with_clock(clock)
}

prop_compose! {
    fn access()(
        subject in "[a-z0-9-]{1,40}", name in proptest::option::of("\\PC{0,64}"), fresh: bool,
        session in proptest::option::of("[a-z0-9-]{1,40}"), scope in "[a-z:]{1,9}( [a-z:]{1,9}){0,3}",
        lifetime in 1..1_000_000i64,
    ) -> AccessClaims {
        AccessClaims {
            subject: subject.into(), audience: vec!["tokenpair".to_owned()], preferred_username: name, client_id: None, actor: None, fresh, auth_time: Some(NumericDate(NOW)),
            session: session.map(SessionId::from), scope: scope.parse().unwrap(), id: Some("one".into()),
            issued_at: Some(NumericDate(NOW)), expires_at: NumericDate(NOW + lifetime),
        }
    }
}

prop_compose! {
    fn refresh()(subject in "[a-z0-9-]{1,40}", session in "[a-z0-9-]{1,40}", generation: u64, lifetime in 1..1_000_000i64)
    -> RefreshClaims {
        RefreshClaims {
            subject: subject.into(), session: session.into(), generation, id: "one".into(), issued_at: NumericDate(NOW),
            expires_at: NumericDate(NOW + lifetime),
        }
    }
}

/// A key of every kind: what it signs with, and what it verifies with.
fn keys_of_every_kind() -> [(SigningKey, VerifyingKey); 3] {
    let pair = |algorithm| {
        let key = PrivateKey::parse(&PrivateKey::generate(algorithm)).unwrap();
        (key.signing_key(), key.public_key().verifying_key())
    };
    [
        (secret().signing_key(), secret().verifying_key()),
        pair(PairAlgorithm::Ed25519),
        pair(PairAlgorithm::Es256),
    ]
}

proptest! {
    #[test]
    fn what_is_signed_is_what_is_read_with_its_own_key_and_with_no_other(access in access(), refresh in refresh()) {
        let keys = keys_of_every_kind();
        let clock = Clock::manual(Timestamp::from_second(NOW).unwrap());
        let verifier = |keys: Vec<VerifyingKey>| {
            Verifier::new(VerifyingKeys::new(keys), parties()).with_clock(clock.clone())
        };
        let all = verifier(keys.iter().map(|(_, verifying)| verifying.clone()).collect());
        for (signing, _) in &keys {
            let signer = Signer::new(signing.clone(), parties());
            let (access_token, refresh_token) = (signer.access(&access), signer.refresh(&refresh));
            prop_assert_eq!(all.access(access_token.expose()), Ok(Arc::new(access.clone())));
            prop_assert_eq!(all.refresh(refresh_token.expose()), Ok(refresh.clone()));
            prop_assert_eq!(all.either(access_token.expose()), Ok(Presented::Access(access.clone())));
            prop_assert_eq!(all.either(refresh_token.expose()), Ok(Presented::Refresh(refresh.clone())));
            let others = keys.iter().filter(|(other, _)| other.id() != signing.id());
            let others = verifier(others.map(|(_, verifying)| verifying.clone()).collect());
            prop_assert_eq!(others.access(access_token.expose()), Err(InvalidToken::UnknownKey.into()));
        }
    }

    #[test]
    fn neither_kind_passes_for_the_other(access in access(), refresh in refresh()) {
        let (access, refresh) = (signer().access(&access), signer().refresh(&refresh));
        prop_assert_eq!(verifier().refresh(access.expose()), Err(TokenError::WrongType { expected: TokenType::Refresh }));
        prop_assert_eq!(verifier().access(refresh.expose()), Err(TokenError::WrongType { expected: TokenType::Access }));
    }

    #[test]
    fn a_token_with_any_character_changed_is_refused(access in access(), position: prop::sample::Index, other in "[A-Za-z0-9_.-]") {
        let token = signer().access(&access).expose().to_owned();
        let position = position.index(token.len());
        let changed = format!("{}{other}{}", &token[..position], &token[position + 1..]);
        prop_assume!(changed != token);
        prop_assert!(verifier().access(&changed).is_err(), "{changed}");
    }

    #[test]
    fn no_text_makes_the_verifier_panic(text in "\\PC{0,300}", parts in proptest::collection::vec("[A-Za-z0-9_-]{0,60}", 0..5)) {
        prop_assert!(verifier().either(&text).is_err());
        prop_assert!(verifier().either(&parts.join(".")).is_err());
    }

    #[test]
    fn a_token_of_a_revoked_session_is_refused_and_no_other(access in access(), revoked in "[a-z0-9-]{1,40}") {
        let sessions = RevokedSessions::new();
        sessions.insert(revoked.as_str().into(), NumericDate(i64::MAX));
        if let Some(session) = &access.session {
            let token = signer().access(&access);
            prop_assert_eq!(verifier().with_revoked(sessions.clone()).access(token.expose()), Ok(Arc::new(access.clone())));
            sessions.insert(session.clone(), NumericDate(i64::MAX));
            prop_assert_eq!(verifier().with_revoked(sessions).access(token.expose()), Err(TokenError::Revoked));
        }
    }
}

#[test]
fn while_the_set_is_suspended_no_token_is_taken_and_a_revoked_one_is_still_told_apart() {
    let sessions = RevokedSessions::new();
    let verifier = verifier().with_revoked(sessions.clone());
    let token = |session: &str| {
        signer().access(&AccessClaims {
            session: Some(session.into()),
            expires_at: NumericDate(NOW + 9),
            ..claims()
        })
    };
    sessions.insert("gone".into(), NumericDate(i64::MAX));
    sessions.suspend();
    let refusals = ["here", "gone"].map(|session| verifier.access(token(session).expose()));
    assert_eq!(
        refusals,
        [Err(TokenError::Suspended), Err(TokenError::Revoked)]
    );
    assert!(
        verifier
            .access("x")
            .is_err_and(|error| error.status() == 401)
    );
    sessions.resume();
    assert!(verifier.access(token("here").expose()).is_ok());
}

#[tokio::test]
async fn what_waits_for_the_end_of_a_token_hears_of_each_kind_of_end_and_of_no_other() {
    let clock = Clock::manual(Timestamp::from_second(NOW).unwrap());
    let claims = AccessClaims {
        session: Some("one".into()),
        expires_at: NumericDate(NOW + 9),
        ..claims()
    };
    let waiting = |sessions: &RevokedSessions| {
        let verifier = verifier().with_clock(clock.clone());
        tokio::spawn(verifier.with_revoked(sessions.clone()).ended(&claims))
    };
    let sessions = RevokedSessions::new();
    let ended = waiting(&sessions);
    tokio::task::yield_now().await;
    sessions.insert("two".into(), NumericDate(i64::MAX));
    tokio::task::yield_now().await;
    assert!(!ended.is_finished());
    sessions.insert("one".into(), NumericDate(i64::MAX));
    ended.await.unwrap();

    let sessions = RevokedSessions::new();
    let ended = waiting(&sessions);
    sessions.suspend();
    ended.await.unwrap();

    let ended = waiting(&RevokedSessions::new());
    clock.advance(Duration::from_secs(9));
    ended.await.unwrap();
}

fn claims() -> AccessClaims {
    AccessClaims {
        subject: "user".into(),
        audience: Vec::new(),
        preferred_username: None,
        client_id: None,
        actor: None,
        fresh: false,
        auth_time: None,
        session: None,
        scope: crate::Scope::empty(),
        id: None,
        issued_at: None,
        expires_at: NumericDate(NOW),
    }
}

#[test]
fn a_key_is_replaced_by_way_of_one_that_only_verifies_and_no_token_is_refused() {
    let (old, new) = (secret(), SharedSecret::parse(&"n".repeat(32)).unwrap());
    let (signer, verifier) = (signer(), verifier());
    let good = || AccessClaims {
        expires_at: NumericDate(NOW + 9),
        ..claims()
    };
    let mut tokens = vec![signer.access(&good())];
    let takes = |tokens: &[AccessToken]| {
        tokens
            .iter()
            .all(|token| verifier.access(token.expose()).is_ok())
    };
    verifier.clone().replace_keys(VerifyingKeys::new([
        old.verifying_key(),
        new.verifying_key(),
    ]));
    signer.clone().replace_key(new.signing_key());
    assert_eq!(signer.key_id(), *new.signing_key().id());
    tokens.push(signer.access(&good()));
    assert!(takes(&tokens));
    verifier.replace_keys(VerifyingKeys::new([new.verifying_key()]));
    assert!(!takes(&tokens[..1]) && takes(&tokens[1..]));
}

#[test]
fn a_token_that_was_verified_before_is_still_looked_at() {
    let (clock, sessions) = (
        Clock::manual(Timestamp::from_second(NOW).unwrap()),
        RevokedSessions::new(),
    );
    let verifier = verifier()
        .with_clock(clock.clone())
        .with_revoked(sessions.clone());
    let token = |session: &str, lifetime| {
        signer().access(&AccessClaims {
            session: Some(session.into()),
            expires_at: NumericDate(NOW + lifetime),
            ..claims()
        })
    };
    let [short, long, other] = [token("one", 5), token("one", 900), token("two", 900)];
    let said = |token: &AccessToken| verifier.access(token.expose()).map(|_| ());
    for token in [&short, &long, &other, &short, &long, &other] {
        assert_eq!(said(token), Ok(()));
    }
    clock.advance(Duration::from_secs(5));
    assert_eq!(
        [said(&short), said(&long)],
        [Err(TokenError::Expired), Ok(())]
    );
    sessions.insert("one".into(), NumericDate(i64::MAX));
    assert_eq!(
        [said(&long), said(&other)],
        [Err(TokenError::Revoked), Ok(())]
    );
    sessions.suspend();
    assert_eq!(said(&other), Err(TokenError::Suspended));
    sessions.resume();
    assert_eq!(said(&other), Ok(()));
    let changed = format!("{}A", &other.expose()[..other.expose().len() - 1]);
    assert!(changed == other.expose() || verifier.access(&changed).is_err());
    // Another verifier that was made of this one takes nothing on trust.
    let later = Timestamp::from_second(NOW + 1000).unwrap();
    let elsewhere = verifier.clone().with_clock(Clock::manual(later));
    assert_eq!(elsewhere.access(other.expose()), Err(TokenError::Expired));
    verifier.replace_keys(VerifyingKeys::new([]));
    assert!(said(&other).is_err());
}

#[test]
fn a_token_that_is_not_good_yet_is_not_remembered_as_good() {
    let clock = Clock::manual(Timestamp::from_second(NOW).unwrap());
    let payload = serde_json::json!({
        "iss": "http://127.0.0.1:8001", "aud": "tokenpair", "sub": "user", "type": "access", "exp": NOW + 90, "nbf": NOW + 10,
    });
    let key = jsonwebtoken::EncodingKey::from_secret(b"a-secret-for-tests-of-at-least-32-bytes");
    let token = jsonwebtoken::encode(&jsonwebtoken::Header::default(), &payload, &key).unwrap();
    let verifier = verifier().with_clock(clock.clone());
    let not_yet = Err(TokenError::Invalid(InvalidToken::NotYet));
    assert_eq!(verifier.access(&token).map(|_| ()), not_yet);
    clock.advance(Duration::from_secs(10));
    assert!(verifier.access(&token).is_ok() && verifier.access(&token).is_ok());
}

#[test]
fn a_flood_of_tokens_neither_grows_the_memory_nor_pushes_out_what_is_in_use() {
    let verifier = verifier();
    let token = |number: u32| {
        signer().access(&AccessClaims {
            id: Some(number.to_string().into()),
            expires_at: NumericDate(NOW + 9),
            ..claims()
        })
    };
    let used: Vec<_> = (0..50).map(token).collect();
    let keys = || Arc::clone(&verifier.0.keys.load());
    let remembered =
        |token: &AccessToken| verifier.0.remembered.get(token.expose(), &keys()).is_some();
    for token in used.iter().chain(&used).chain(&used) {
        verifier.access(token.expose()).unwrap();
    }
    // Valid ones come in, each once; invalid ones do not.
    for number in 1000..21_000 {
        let token = token(number);
        verifier.access(token.expose()).unwrap();
        let broken = format!("{}x", token.expose());
        assert!(verifier.access(&broken).is_err());
        assert!(verifier.0.remembered.weight() <= 8 * 1024 * 1024);
        if number % 500 == 0 {
            for token in &used {
                verifier.access(token.expose()).unwrap();
            }
        }
    }
    let kept = used.iter().filter(|token| remembered(token)).count();
    assert!(kept >= 45, "{kept} of 50 are still known");
}

#[test]
fn no_debug_output_shows_a_token() {
    let token = signer().access(&claims());
    assert_eq!(format!("{token:?}"), "AccessToken(…)");
}

/// A good token's claims under this header, signed with HS256 and this secret.
fn forged(header: &serde_json::Value, secret: &[u8]) -> String {
    let good = signer().access(&AccessClaims {
        expires_at: NumericDate(NOW + 9),
        ..claims()
    });
    let payload = good.expose().split('.').nth(1).unwrap();
    let message = format!("{}.{payload}", URL_SAFE_NO_PAD.encode(header.to_string()));
    let key = jsonwebtoken::EncodingKey::from_secret(secret);
    let signature = crypto::sign(message.as_bytes(), &key, Algorithm::HS256).unwrap();
    format!("{message}.{signature}")
}

#[test]
fn a_public_key_is_no_secret_that_anybody_could_sign_with() {
    for algorithm in [PairAlgorithm::Ed25519, PairAlgorithm::Es256] {
        let key = PrivateKey::parse(&PrivateKey::generate(algorithm)).unwrap();
        let public = key.public_key();
        let jwk = public.jwk();
        let point = URL_SAFE_NO_PAD.decode(jwk.x.as_ref().unwrap()).unwrap();
        let keys = VerifyingKeys::new([public.verifying_key()]);
        let clock = Clock::manual(Timestamp::from_second(NOW).unwrap());
        let verifier = Verifier::new(keys, parties()).with_clock(clock);
        let pem = public.to_pem();
        let der: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
        let der = base64::engine::general_purpose::STANDARD
            .decode(der)
            .unwrap();
        for known in [
            pem.as_bytes(),
            pem.trim().as_bytes(),
            &der,
            &point,
            jwk.x.as_ref().unwrap().as_bytes(),
            serde_json::to_string(&jwk).unwrap().as_bytes(),
            b"",
        ] {
            for alg in ["HS256", "EdDSA", "ES256", "none"] {
                for header in [
                    serde_json::json!({"alg": alg}),
                    serde_json::json!({"alg": alg, "kid": public.key_id()}),
                    serde_json::json!({"alg": alg, "jwk": jwk, "kid": public.key_id()}),
                ] {
                    let refusal = verifier.access(&forged(&header, known)).unwrap_err();
                    assert!(
                        matches!(refusal, TokenError::Invalid(_)),
                        "{header}: {refusal:?}"
                    );
                }
            }
        }
        // The test's own tool forges what is taken, when it has the right secret.
        let own = Verifier::new(VerifyingKeys::new([secret().verifying_key()]), parties());
        let header = serde_json::json!({"alg": "HS256"});
        let good = forged(&header, b"a-secret-for-tests-of-at-least-32-bytes");
        let clock = Clock::manual(Timestamp::from_second(NOW).unwrap());
        assert!(own.with_clock(clock).access(&good).is_ok());
    }
}

#[tokio::test]
async fn an_unknown_key_is_none_of_the_issuers_only_once_the_keys_have_been_fetched() {
    let [(_, configured), (signing, published), (stranger, _)] = keys_of_every_kind();
    let clock = Clock::manual(Timestamp::from_second(NOW).unwrap());
    let verifier =
        Verifier::new(VerifyingKeys::new([configured]), parties()).with_clock(clock.clone());
    let token = |key: SigningKey| {
        Signer::new(key, parties()).access(&AccessClaims {
            expires_at: NumericDate(NOW + 9),
            ..claims()
        })
    };
    let (good, bad) = (token(signing), token(stranger));
    let unknown = Err(TokenError::Invalid(InvalidToken::UnknownKey));
    assert_eq!(verifier.access_or_look(good.expose()).await, unknown);

    let lookup = verifier.start_lookup();
    assert_eq!(
        verifier.access(good.expose()),
        Err(TokenError::KeysUnavailable)
    );
    assert!(
        verifier
            .access(
                signer()
                    .access(&AccessClaims {
                        expires_at: NumericDate(NOW + 9),
                        ..claims()
                    })
                    .expose()
            )
            .is_ok()
    );
    let waiting = tokio::spawn({
        let (verifier, good) = (verifier.clone(), good.clone());
        async move { verifier.access_or_look(good.expose()).await }
    });
    lookup.needed().await;
    lookup.begin();
    assert!(verifier.replace_fetched_keys(VerifyingKeys::new([published.clone()])));
    assert!(!verifier.replace_fetched_keys(VerifyingKeys::new([published])));
    lookup.end(true, Duration::from_mins(1));
    assert!(waiting.await.unwrap().is_ok());
    assert_eq!(verifier.access_or_look(bad.expose()).await, unknown);
    assert_eq!(verifier.key_ids().len(), 2);

    lookup.begin();
    lookup.end(false, Duration::from_mins(1));
    assert!(verifier.access(good.expose()).is_ok());
    assert_eq!(
        verifier.access(bad.expose()),
        Err(TokenError::KeysUnavailable)
    );
}
