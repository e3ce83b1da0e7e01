#![doc = include_str!("../README.md")]

pub mod claims;
mod clock;
mod error;
#[cfg(feature = "axum")]
pub mod extract;
mod id;
mod key;
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
pub use key::{SecretTooShort, SharedSecret, SigningKey, VerifyingKey, VerifyingKeys};
pub use revocation::RevokedSessions;
pub use scope::{InvalidScope, Scope};
pub use signer::{AccessToken, Parties, RefreshToken, Signer};
pub use verifier::{Presented, Verifier};
