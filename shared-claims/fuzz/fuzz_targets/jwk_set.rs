//! Any bytes as a published set of keys and as the text of a key file.
#![no_main]

use libfuzzer_sys::fuzz_target;
use shared_claims::{JwkSet, PrivateKey, PublicKey};

fuzz_target!(|data: &[u8]| {
    if let Ok((keys, _)) = JwkSet::read(data) {
        // Whatever can be used can be published again, and is then the same.
        let published = keys.published();
        for jwk in &published.keys {
            let key = PublicKey::from_jwk(jwk).expect("a key that was read");
            assert_eq!(PublicKey::parse(&key.to_pem()).as_ref(), Ok(&key));
        }
        assert!(published.keys.len() <= 32);
    }
    if let Ok(text) = std::str::from_utf8(data) {
        if let Ok(key) = PublicKey::parse(text) {
            assert_eq!(PublicKey::from_jwk(&key.jwk()).as_ref(), Ok(&key));
        }
        if let Ok(key) = PrivateKey::parse(text) {
            assert_eq!(*key.signing_key().id(), key.public_key().key_id());
        }
    }
});
