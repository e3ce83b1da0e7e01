//! Any text as a token, and any header and claims under a good signature, which is how the parser behind the signature is reached.
#![no_main]

use std::sync::LazyLock;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use jsonwebtoken::{Algorithm, EncodingKey, crypto};
use libfuzzer_sys::fuzz_target;
use shared_claims::{
    Clock, InvalidToken, NumericDate, PairAlgorithm, Parties, Presented, PrivateKey, SharedSecret,
    TokenError, Verifier, VerifyingKeys,
};

const SECRET: &str = "a-secret-for-fuzzing-of-at-least-32-bytes";
const NOW: i64 = 1_790_000_000;

static VERIFIER: LazyLock<Verifier> = LazyLock::new(|| {
    let secret = SharedSecret::parse(SECRET).expect("a long secret");
    let pair = |algorithm| {
        let key = PrivateKey::parse(&PrivateKey::generate(algorithm)).expect("a new key");
        key.public_key().verifying_key()
    };
    let keys = VerifyingKeys::new([
        secret.verifying_key(),
        pair(PairAlgorithm::Ed25519),
        pair(PairAlgorithm::Es256),
    ]);
    let now = Timestamp::from_second(NOW).expect("a time in 2026");
    Verifier::new(keys, Parties::new("issuer", "audience")).with_clock(Clock::manual(now))
});

fuzz_target!(|data: &[u8]| {
    let Some((how, data)) = data.split_first() else {
        return;
    };
    if how % 2 == 0 {
        let text = String::from_utf8_lossy(data);
        // Nobody guesses a signature.
        assert!(VERIFIER.either(&text).is_err());
        assert!(VERIFIER.access(&text).is_err() && VERIFIER.refresh(&text).is_err());
        return;
    }
    // The header, a line end, the claims.
    let (header, claims) = match data.iter().position(|byte| *byte == b'\n') {
        Some(end) => (&data[..end], &data[end + 1..]),
        None => (&br#"{"alg":"HS256"}"#[..], data),
    };
    let encode = |part: &[u8]| URL_SAFE_NO_PAD.encode(part);
    let message = format!("{}.{}", encode(header), encode(claims));
    let key = EncodingKey::from_secret(SECRET.as_bytes());
    let signature = crypto::sign(message.as_bytes(), &key, Algorithm::HS256).expect("HMAC signs");
    let token = format!("{message}.{signature}");
    let said = VERIFIER.either(&token);
    match &said {
        Ok(Presented::Access(claims)) => {
            assert!(claims.expires_at > NumericDate(NOW));
            assert!(!claims.subject.as_str().is_empty());
            let again = VERIFIER.access(&token).expect("the same token");
            assert_eq!(
                (&*again, &*VERIFIER.access(&token).expect("the same")),
                (claims, claims)
            );
        }
        Ok(Presented::Refresh(claims)) => {
            assert!(claims.expires_at > NumericDate(NOW));
            assert_eq!(VERIFIER.refresh(&token).as_ref(), Ok(claims));
            assert!(VERIFIER.access(&token).is_err());
        }
        Err(error) => {
            // Every refusal can be told to the client.
            assert!(matches!(error.status(), 401 | 403 | 503));
            assert!(!error.body().msg.is_empty());
        }
    }
    // A changed signature takes all of it back.
    let broken = format!("{message}.{}", encode(&[0; 32]));
    let refusal = VERIFIER.either(&broken).expect_err("a bad signature");
    assert!(matches!(refusal, TokenError::Invalid(_)));
    if said.is_ok() {
        assert_eq!(refusal, TokenError::Invalid(InvalidToken::Signature));
    }
});
