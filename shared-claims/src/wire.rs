//! The JSON that services of the workspace exchange: error bodies, token answers, the messages of the revocation feed.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::claims::NumericDate;
use crate::id::{KeyId, SessionId};
use crate::scope::Scope;
use crate::signer::{AccessToken, RefreshToken};

/// The scope that listening to the revocation feed asks for.
pub const FEED_SCOPE: &str = "revocations:read";

/// The one shape of an error.
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorBody {
    /// A stable slug for programs.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub code: Cow<'static, str>,
    /// A sentence for people.
    pub msg: String,
    /// What is wrong with which field, in an answer of 400.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[cfg_attr(feature = "openapi", schema(value_type = std::collections::HashMap<String, Vec<String>>, required = false))]
    pub errors: BTreeMap<Cow<'static, str>, Vec<String>>,
}

impl ErrorBody {
    /// An error that is about no field in particular.
    pub fn new(code: &'static str, msg: impl Into<String>) -> Self {
        Self {
            code: code.into(),
            msg: msg.into(),
            errors: BTreeMap::new(),
        }
    }
}

/// The answer to a login and to a refresh (RFC 6749 section 5.1).
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[derive(Debug, Serialize, Deserialize)]
pub struct TokenPair {
    /// Opens protected routes.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub access_token: AccessToken,
    /// Buys the next pair. Absent where the one that the client has stays good.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = String, required = false))]
    pub refresh_token: Option<RefreshToken>,
    /// Always `Bearer`.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub token_type: Cow<'static, str>,
    /// How long the access token is good from now, in seconds.
    pub expires_in: i64,
    /// How long the refresh token is good from now, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = i64, required = false))]
    pub refresh_expires_in: Option<i64>,
    /// What the access token allows.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub scope: Scope,
}

/// A `Bearer` challenge (RFC 6750 section 3) with an error code and a description, where there is something to say.
#[must_use]
pub fn bearer_challenge(error: Option<(&str, &str)>) -> String {
    match error {
        None => "Bearer realm=\"tokenpair\"".to_owned(),
        Some((code, description)) => {
            format!(
                "Bearer realm=\"tokenpair\", error=\"{code}\", error_description=\"{description}\""
            )
        }
    }
}

/// The first event of the revocation feed, `hello`: what issuer and verifiers must agree on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FeedHello {
    /// `iss`; null: not issued.
    pub issuer: Option<String>,
    /// `aud` of access tokens; null: not issued.
    pub audience: Option<String>,
    /// The keys that tokens may be signed with: first the one that new tokens are signed with.
    pub kids: Vec<KeyId>,
    /// The lifetime of access tokens, in seconds.
    pub access_token_expires: u64,
    /// How far clocks may differ, in seconds.
    pub leeway: u64,
}

/// The event `session-revoked` of the revocation feed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionRevoked {
    /// The session whose access tokens are to be refused.
    pub sid: SessionId,
    /// Why it ended, for the log.
    pub reason: String,
    /// When it ended.
    pub revoked_at: NumericDate,
    /// From then on its last access token has expired by itself.
    pub forget_after: NumericDate,
}

/// What a subscriber of the revocation feed tells back, so that whoever changes a key knows who has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubscriberReport {
    /// What the subscriber calls itself, for people.
    pub name: String,
    /// The keys that it verifies with.
    pub kids: Vec<KeyId>,
    /// The id of the newest event that it has acted upon.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_event_id: Option<i64>,
}
