//! What it costs to sign and to verify, beside the floor: `cargo bench -p shared-claims`.
//!
//! The floor is the least that verifying an HS256 token can take with a key that is ready: the HMAC, base64, and one
//! parse of the claims. `decode` is jsonwebtoken's own function with all of its checks on.

use std::hint::black_box;
use std::time::Duration;

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use divan::Bencher;
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use serde::Deserialize;
use shared_claims::{
    AccessClaims, AccessToken, Clock, NumericDate, PairAlgorithm, Parties, PrivateKey,
    RevokedSessions, Scope, SessionId, SharedSecret, Signer, Subject, TokenId, Verifier,
    VerifyingKeys,
};

const SECRET: &str = "a-secret-for-benchmarks-of-at-least-32-bytes";
const ISSUER: &str = "http://127.0.0.1:8001";
const AUDIENCE: &str = "tokenpair";

fn main() {
    divan::main();
}

fn claims() -> AccessClaims {
    let now = NumericDate::from(Clock::system().now());
    AccessClaims {
        subject: Subject::generate(),
        audience: Vec::new(),
        preferred_username: Some("cosmo".to_owned()),
        client_id: None,
        actor: None,
        fresh: true,
        auth_time: Some(now),
        session: Some(SessionId::generate()),
        scope: "profile:read profile:write"
            .parse::<Scope>()
            .expect("a scope"),
        id: Some(TokenId::generate()),
        issued_at: Some(now),
        expires_at: now.after(Duration::from_hours(1)),
    }
}

const ALGORITHMS: [&str; 3] = ["HS256", "EdDSA", "ES256"];

/// A key for this algorithm: what signs, and what verifies.
fn key(algorithm: &str) -> (Signer, VerifyingKeys) {
    let pair = |algorithm| {
        let key = PrivateKey::parse(&PrivateKey::generate(algorithm)).expect("a new key");
        (key.signing_key(), key.public_key().verifying_key())
    };
    let (signing, verifying) = match algorithm {
        "EdDSA" => pair(PairAlgorithm::Ed25519),
        "ES256" => pair(PairAlgorithm::Es256),
        _ => {
            let secret = SharedSecret::parse(SECRET).expect("a long secret");
            (secret.signing_key(), secret.verifying_key())
        }
    };
    let signer = Signer::new(signing, Parties::new(ISSUER, AUDIENCE));
    (signer, VerifyingKeys::new([verifying]))
}

fn verifier(keys: VerifyingKeys) -> Verifier {
    Verifier::new(keys, Parties::new(ISSUER, AUDIENCE))
}

fn token() -> AccessToken {
    key("HS256").0.access(&claims())
}

#[derive(Deserialize)]
#[expect(dead_code, reason = "parsing them is what is measured")]
struct Claims {
    iss: String,
    aud: String,
    sub: String,
    #[serde(rename = "type")]
    kind: String,
    preferred_username: String,
    fresh: bool,
    auth_time: i64,
    sid: String,
    scope: String,
    jti: String,
    iat: i64,
    exp: i64,
}

#[divan::bench(args = ALGORITHMS, sample_size = 100)]
fn sign(bencher: Bencher, algorithm: &str) {
    let (signer, _) = key(algorithm);
    let claims = claims();
    bencher.bench(|| signer.access(black_box(&claims)));
}

/// The same token again and again, as a client sends it.
#[divan::bench(args = ALGORITHMS, sample_size = 1000)]
fn verify_again(bencher: Bencher, algorithm: &str) {
    let revoked = RevokedSessions::new();
    for _ in 0..1000 {
        revoked.insert(SessionId::generate(), NumericDate(i64::MAX));
    }
    let (signer, keys) = key(algorithm);
    let verifier = verifier(keys).with_revoked(revoked);
    let token = signer.access(&claims());
    bencher.bench(|| {
        verifier
            .access(black_box(token.expose()))
            .expect("a good token")
    });
}

/// The same on every core at once.
#[divan::bench(args = ALGORITHMS, sample_size = 1000, threads = 2)]
fn verify_again_on_both_cores(bencher: Bencher, algorithm: &str) {
    let (signer, keys) = key(algorithm);
    let (verifier, token) = (verifier(keys), signer.access(&claims()));
    bencher.bench(|| {
        verifier
            .access(black_box(token.expose()))
            .expect("a good token")
    });
}

/// Tokens that were never seen before: a change of the keys lets all be forgotten.
#[divan::bench(args = ALGORITHMS, sample_size = 1)]
fn verify_1000_new_ones(bencher: Bencher, algorithm: &str) {
    let (signer, keys) = key(algorithm);
    let verifier = verifier(keys.clone());
    let tokens: Vec<_> = (0..1000).map(|_| signer.access(&claims())).collect();
    bencher
        .with_inputs(|| verifier.replace_keys(keys.clone()))
        .bench_values(|()| {
            for token in &tokens {
                black_box(verifier.access(token.expose()).expect("a good token"));
            }
        });
}

/// Both cores at once have tokens that nobody has seen before.
#[divan::bench(args = ALGORITHMS, sample_size = 1)]
fn verify_1000_new_ones_on_each_of_both_cores(bencher: Bencher, algorithm: &str) {
    let (signer, keys) = key(algorithm);
    let verifier = verifier(keys.clone());
    let tokens: Vec<Vec<_>> = (0..2)
        .map(|_| (0..1000).map(|_| signer.access(&claims())).collect())
        .collect();
    bencher
        .with_inputs(|| verifier.replace_keys(keys.clone()))
        .bench_values(|()| {
            std::thread::scope(|scope| {
                for tokens in &tokens {
                    let verifier = &verifier;
                    scope.spawn(move || {
                        for token in tokens {
                            black_box(verifier.access(token.expose()).expect("a good token"));
                        }
                    });
                }
            });
        });
}

/// With the header read once before, for the key that `kid` names.
#[divan::bench(sample_size = 1000)]
fn verify_with_decode(bencher: Bencher) {
    let key = DecodingKey::from_secret(SECRET.as_bytes());
    let mut validation = Validation::new(Algorithm::HS256);
    validation.set_issuer(&[ISSUER]);
    validation.set_audience(&[AUDIENCE]);
    validation.set_required_spec_claims(&["exp", "sub", "iss", "aud"]);
    validation.leeway = 0;
    let token = token();
    bencher.bench(|| {
        black_box(decode_header(token.expose()).expect("a header").kid);
        decode::<Claims>(black_box(token.expose()), &key, &validation).expect("a good token")
    });
}

#[divan::bench(sample_size = 1000)]
fn verify_at_the_floor(bencher: Bencher) {
    let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes());
    let token = token();
    bencher.bench(|| {
        let (message, signature) = black_box(token.expose())
            .rsplit_once('.')
            .expect("three parts");
        let signature = URL_SAFE_NO_PAD.decode(signature).expect("base64");
        hmac::verify(&key, message.as_bytes(), &signature).expect("a good signature");
        let (_, claims) = message.split_once('.').expect("three parts");
        let claims = URL_SAFE_NO_PAD.decode(claims).expect("base64");
        serde_json::from_slice::<Claims>(&claims).expect("claims")
    });
}

#[divan::bench(sample_size = 1000)]
fn look_up_in_100_000_revoked_sessions(bencher: Bencher) {
    let revoked = RevokedSessions::new();
    for _ in 0..100_000 {
        revoked.insert(SessionId::generate(), NumericDate(i64::MAX));
    }
    let session = SessionId::generate();
    bencher.bench(|| revoked.contains(black_box(&session)));
}
