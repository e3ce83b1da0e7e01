#![doc = include_str!("../README.md")]

pub mod claims;
mod clock;
mod error;
#[cfg(feature = "axum")]
pub mod extract;
mod id;
mod key;
mod key_ring;
mod remembered;
mod revocation;
mod scope;
mod signer;
mod verifier;
pub mod wire;

pub use claims::{AccessClaims, Actor, NumericDate, RefreshClaims, TokenType};
pub use clock::Clock;
pub use error::{CallerKind, InvalidToken, TokenError};
#[cfg(feature = "axum")]
pub use extract::{Caller, Requirement};
pub use id::{ClientId, KeyId, SessionId, Subject, TokenId};
pub use key::{
    Jwk, JwkSet, JwkUnusable, KeyUnusable, PairAlgorithm, PrivateKey, PublicKey, SecretTooShort,
    SharedSecret, SigningKey, VerifyingKey, VerifyingKeys,
};
pub use key_ring::{KeyLookup, LookupReason};
pub use revocation::RevokedSessions;
pub use scope::{InvalidScope, Scope};
pub use signer::{AccessToken, Parties, RefreshToken, Signer};
pub use verifier::{Presented, Verifier};
