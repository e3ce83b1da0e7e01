//! The fetching of keys from an issuer that does what a test wants.
#![expect(clippy::unwrap_used, reason = "to panic is how a test fails")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use auth_client::{IssuerKeys, KeyOptions, KeyStatus};
use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::get;
use http::StatusCode;
use serde_json::json;
use shared_claims::{
    AccessClaims, AccessToken, Clock, NumericDate, PairAlgorithm, Parties, PrivateKey, Scope,
    Signer, TokenError, Verifier, VerifyingKeys,
};
use test_support::Server;
use tokio::sync::watch;

const LONG: Duration = Duration::from_mins(10);
const PATIENCE: Duration = Duration::from_secs(10);

/// What the issuer answers with.
#[derive(Clone, Debug)]
enum Answer {
    Keys(Vec<serde_json::Value>),
    Text(String),
    Fail,
    Elsewhere,
}

#[derive(Clone)]
struct FakeIssuer {
    answer: watch::Sender<Answer>,
    fetches: Arc<AtomicU32>,
    /// Answers are held back while it is set.
    slow: Arc<AtomicBool>,
}

impl FakeIssuer {
    fn fetches(&self) -> u32 {
        self.fetches.load(Ordering::SeqCst)
    }
}

async fn answer(State(issuer): State<FakeIssuer>) -> Response {
    issuer.fetches.fetch_add(1, Ordering::SeqCst);
    while issuer.slow.load(Ordering::SeqCst) {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let answer = issuer.answer.borrow().clone();
    match answer {
        Answer::Keys(keys) => json!({"keys": keys}).to_string().into_response(),
        Answer::Text(text) => text.into_response(),
        Answer::Fail => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        Answer::Elsewhere => Redirect::temporary("/elsewhere").into_response(),
    }
}

struct Setting {
    issuer: FakeIssuer,
    verifier: Verifier,
    keys: IssuerKeys,
    _server: Server,
}

impl Setting {
    /// A verifier with no key of its own, and one that fetches for it.
    async fn start(first: Answer, cooldown: Duration) -> Self {
        let issuer = FakeIssuer {
            answer: watch::Sender::new(first),
            fetches: Arc::default(),
            slow: Arc::default(),
        };
        let elsewhere = get(async || json!({"keys": []}).to_string());
        let routes = Router::new()
            .route("/keys", get(answer))
            .route("/elsewhere", elsewhere)
            .with_state(issuer.clone());
        let server = Server::start(|listener, stopped| async {
            tokio::select! {
                served = axum::serve(listener, routes) => Ok(served?),
                _ = stopped => Ok(()),
            }
        })
        .await;
        let url = format!("http://{}/keys", server.address()).parse().unwrap();
        let verifier = Verifier::new(VerifyingKeys::default(), Parties::new("", ""));
        let options = KeyOptions {
            interval: LONG,
            cooldown,
            ..KeyOptions::new(url)
        };
        let keys = IssuerKeys::start(verifier.clone(), options);
        Self {
            issuer,
            verifier,
            keys,
            _server: server,
        }
    }

    async fn status(&self, wanted: impl Fn(&KeyStatus) -> bool) -> KeyStatus {
        let started = Instant::now();
        loop {
            let status = self.keys.status();
            if wanted(&status) {
                return status;
            }
            assert!(started.elapsed() < PATIENCE, "{status:?}");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    async fn fetched(&self, keys: usize) {
        self.status(|status| *status == KeyStatus::Fetched { keys })
            .await;
    }
}

fn pair() -> PrivateKey {
    PrivateKey::parse(&PrivateKey::generate(PairAlgorithm::Ed25519)).unwrap()
}

fn published(key: &PrivateKey) -> serde_json::Value {
    serde_json::to_value(key.public_key().jwk()).unwrap()
}

fn token(key: &PrivateKey) -> AccessToken {
    let now = NumericDate::from(Clock::system().now());
    Signer::new(key.signing_key(), Parties::new("", "")).access(&AccessClaims {
        subject: "user".into(),
        audience: Vec::new(),
        preferred_username: None,
        client_id: None,
        actor: None,
        fresh: false,
        auth_time: None,
        session: None,
        scope: Scope::empty(),
        id: None,
        issued_at: None,
        expires_at: now.after(LONG),
    })
}

#[tokio::test]
async fn keys_are_fetched_and_kept_when_the_issuer_has_nothing_good_to_say_any_more() {
    let key = pair();
    let setting = Setting::start(Answer::Fail, Duration::ZERO).await;
    let failed = |status: &KeyStatus| matches!(status, KeyStatus::Starting { reason: Some(_) });
    let status = setting.status(failed).await;
    assert_eq!(status.to_string(), "the keys cannot be fetched: status 500");
    let refusal = setting.verifier.access(token(&key).expose());
    assert_eq!(refusal, Err(TokenError::KeysUnavailable));

    // It is tried again by itself.
    let strange = json!({"kty": "RSA", "n": "AQAB", "e": "AQAB"});
    let set = vec![strange, published(&key)];
    setting.issuer.answer.send_replace(Answer::Keys(set));
    setting.fetched(1).await;
    assert!(setting.verifier.access(token(&key).expose()).is_ok());

    for (answer, reason) in [
        (Answer::Text("<html>".to_owned()), "no set of keys"),
        (
            Answer::Text(format!("{{\"keys\":[{}]}}", " ".repeat(70_000))),
            "longer than",
        ),
        (Answer::Elsewhere, "status 307"),
        (Answer::Fail, "status 500"),
    ] {
        setting.issuer.answer.send_replace(answer);
        // A token with a key that is not known is a reason to look.
        let refusal = setting
            .verifier
            .access_or_look(token(&pair()).expose())
            .await;
        assert_eq!(refusal, Err(TokenError::KeysUnavailable), "{reason}");
        let status = setting
            .status(|status| status.to_string().contains(reason))
            .await;
        assert!(matches!(status, KeyStatus::Degraded { .. }), "{status:?}");
        assert!(setting.verifier.access(token(&key).expose()).is_ok());
    }
    setting.issuer.answer.send_replace(Answer::Keys(Vec::new()));
    setting.fetched(0).await;
    assert!(setting.verifier.access(token(&key).expose()).is_err());
}

#[tokio::test]
async fn any_number_of_tokens_with_a_new_key_wait_for_one_fetch() {
    let (old, new) = (pair(), pair());
    let setting = Setting::start(Answer::Keys(vec![published(&old)]), Duration::ZERO).await;
    setting.fetched(1).await;
    let before = setting.issuer.fetches();
    let set = vec![published(&old), published(&new)];
    setting.issuer.answer.send_replace(Answer::Keys(set));
    setting.issuer.slow.store(true, Ordering::SeqCst);
    let waiting: Vec<_> = (0..100)
        .map(|_| {
            let (verifier, token) = (setting.verifier.clone(), token(&new));
            tokio::spawn(async move { verifier.access_or_look(token.expose()).await })
        })
        .collect();
    let started = Instant::now();
    while setting.issuer.fetches() == before {
        assert!(started.elapsed() < PATIENCE, "nobody fetches");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    // What is known is served meanwhile.
    assert!(
        setting
            .verifier
            .access_or_look(token(&old).expose())
            .await
            .is_ok()
    );
    setting.issuer.slow.store(false, Ordering::SeqCst);
    for waited in waiting {
        assert!(waited.await.unwrap().is_ok());
    }
    assert_eq!(setting.issuer.fetches(), before + 1);
}

#[tokio::test]
async fn a_flood_of_made_up_keys_fetches_once_in_a_cooldown_and_waits_for_nothing() {
    let setting = Setting::start(Answer::Keys(vec![published(&pair())]), LONG).await;
    setting.fetched(1).await;
    let started = Instant::now();
    for _ in 0..200 {
        let refusal = setting
            .verifier
            .access_or_look(token(&pair()).expose())
            .await;
        assert!(refusal.is_err_and(|error| error.status() == 401));
    }
    assert_eq!(setting.issuer.fetches(), 1, "the first was a moment ago");
    assert!(started.elapsed() < PATIENCE);
}

#[tokio::test]
async fn a_request_does_not_wait_for_an_issuer_that_does_not_answer() {
    let key = pair();
    let setting = Setting::start(Answer::Keys(vec![published(&key)]), Duration::ZERO).await;
    setting.fetched(1).await;
    setting.issuer.slow.store(true, Ordering::SeqCst);
    let refusal = setting
        .verifier
        .access_or_look(token(&pair()).expose())
        .await;
    assert!(refusal.is_err_and(|error| error.status() == 401));
    assert!(
        setting
            .verifier
            .access_or_look(token(&key).expose())
            .await
            .is_ok()
    );
    setting.issuer.slow.store(false, Ordering::SeqCst);
}
