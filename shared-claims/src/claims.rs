//! What the two kinds of token say. The JSON of both is in `Payload`, and nowhere else.

use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use std::fmt;
use std::time::Duration;

use jiff::Timestamp;

use crate::error::{CallerKind, InvalidToken};
use crate::id::{ClientId, SessionId, Subject, TokenId};
use crate::scope::Scope;

/// The `type` claim, with the key and values that flask-jwt-extended uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TokenType {
    /// Opens protected routes.
    Access,
    /// Buys the next access token, and nothing else.
    Refresh,
}

/// Seconds since 1970-01-01T00:00:00Z (RFC 7519 section 2). Ours are whole; a foreign token's fraction is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct NumericDate(pub i64);

impl NumericDate {
    /// This long after, at the end of time at the latest.
    #[must_use]
    pub fn after(self, duration: Duration) -> Self {
        Self(self.0.saturating_add_unsigned(duration.as_secs()))
    }
}

impl From<Timestamp> for NumericDate {
    fn from(timestamp: Timestamp) -> Self {
        Self(timestamp.as_millisecond().div_euclid(1000))
    }
}

impl<'de> Deserialize<'de> for NumericDate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Number;

        impl Visitor<'_> for Number {
            type Value = NumericDate;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number of seconds")
            }

            fn visit_i64<E: de::Error>(self, value: i64) -> Result<NumericDate, E> {
                Ok(NumericDate(value))
            }

            fn visit_u64<E: de::Error>(self, value: u64) -> Result<NumericDate, E> {
                Ok(NumericDate(i64::try_from(value).unwrap_or(i64::MAX)))
            }

            #[expect(
                clippy::cast_possible_truncation,
                reason = "dropping the fraction is the point, and `as` saturates"
            )]
            fn visit_f64<E: de::Error>(self, value: f64) -> Result<NumericDate, E> {
                Ok(NumericDate(value.floor() as i64))
            }
        }

        deserializer.deserialize_any(Number)
    }
}

/// What an access token says (RFC 9068). Its issuer and audience are the business of the
/// [`Signer`](crate::Signer) and the [`Verifier`](crate::Verifier).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessClaims {
    /// `sub`: whom the token speaks of.
    pub subject: Subject,
    /// `aud`: whom the token is for. Left empty it is signed for the usual audience.
    pub audience: Vec<String>,
    /// `preferred_username`, of users only: for display and logs, never to decide anything.
    pub preferred_username: Option<String>,
    /// `client_id`, of service accounts only.
    pub client_id: Option<ClientId>,
    /// `act`, of tokens that a service got in exchange for a user's: who acts for the subject (RFC 8693 section 4.1).
    /// The same service is in `azp`.
    pub actor: Option<Actor>,
    /// `fresh`: the password was given to get this very token, so that it is good for sensitive operations.
    pub fresh: bool,
    /// `auth_time`, of users only: when the password was last given.
    pub auth_time: Option<NumericDate>,
    /// `sid`, of users only: the session that the token dies with.
    pub session: Option<SessionId>,
    /// `scope`: what the token allows.
    pub scope: Scope,
    /// `jti`; a foreign token may lack it.
    pub id: Option<TokenId>,
    /// `iat`; a foreign token may lack it.
    pub issued_at: Option<NumericDate>,
    /// `exp`: the first second in which the token is no longer good (RFC 7519 section 4.1.4).
    pub expires_at: NumericDate,
}

impl AccessClaims {
    /// Whether the token speaks of a service account or of a user.
    #[must_use]
    pub fn caller(&self) -> CallerKind {
        if self.client_id.is_some() {
            CallerKind::Service
        } else {
            CallerKind::User
        }
    }
}

/// Who acts for the subject of a token, and for whom they act in turn (RFC 8693 section 4.1).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Actor {
    /// `sub`: the service that holds the token.
    #[serde(rename = "sub")]
    pub client: ClientId,
    /// `act`: the service that held the token before, in a chain of exchanges.
    #[serde(rename = "act", default, skip_serializing_if = "Option::is_none")]
    pub before: Option<Box<Actor>>,
}

/// What a refresh token says: a session and its generation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefreshClaims {
    /// `sub`: the user.
    pub subject: Subject,
    /// `sid`: the session that is to go on.
    pub session: SessionId,
    /// `gen`: how often the session had been refreshed when this token was issued.
    pub generation: u64,
    /// `jti`: proof that the session's own issuer derived this token; a holder of the common secret alone cannot.
    pub id: TokenId,
    /// `iat`
    pub issued_at: NumericDate,
    /// `exp`: the first second in which the token is no longer good (RFC 7519 section 4.1.4).
    pub expires_at: NumericDate,
}

/// `aud`: one audience or several (RFC 7519 section 4.1.3).
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(untagged)]
pub(crate) enum AudienceClaim {
    One(String),
    Several(Vec<String>),
}

impl AudienceClaim {
    fn into_names(self) -> Vec<String> {
        match self {
            Self::One(one) => vec![one],
            Self::Several(several) => several,
        }
    }

    pub(crate) fn holds(&self, audience: &str) -> bool {
        match self {
            Self::One(one) => one == audience,
            Self::Several(several) => several.iter().any(|one| one == audience),
        }
    }
}

/// The JSON of a token's claims, of either kind.
#[derive(Serialize, Deserialize)]
pub(crate) struct Payload {
    #[serde(
        default,
        deserialize_with = "present",
        skip_serializing_if = "Option::is_none"
    )]
    pub(crate) iss: Option<String>,
    #[serde(
        default,
        deserialize_with = "present",
        skip_serializing_if = "Option::is_none"
    )]
    pub(crate) aud: Option<AudienceClaim>,
    sub: Subject,
    #[serde(rename = "type")]
    pub(crate) kind: TokenType,
    #[serde(
        default,
        deserialize_with = "present",
        skip_serializing_if = "Option::is_none"
    )]
    preferred_username: Option<String>,
    #[serde(
        default,
        deserialize_with = "present",
        skip_serializing_if = "Option::is_none"
    )]
    client_id: Option<ClientId>,
    #[serde(
        default,
        deserialize_with = "present",
        skip_serializing_if = "Option::is_none"
    )]
    azp: Option<ClientId>,
    #[serde(
        default,
        deserialize_with = "present",
        skip_serializing_if = "Option::is_none"
    )]
    act: Option<Actor>,
    #[serde(
        default,
        deserialize_with = "present",
        skip_serializing_if = "Option::is_none"
    )]
    fresh: Option<bool>,
    #[serde(
        default,
        deserialize_with = "present",
        skip_serializing_if = "Option::is_none"
    )]
    auth_time: Option<NumericDate>,
    #[serde(
        default,
        deserialize_with = "present",
        skip_serializing_if = "Option::is_none"
    )]
    sid: Option<SessionId>,
    #[serde(
        default,
        deserialize_with = "present",
        skip_serializing_if = "Option::is_none"
    )]
    scope: Option<Scope>,
    #[serde(
        rename = "gen",
        default,
        deserialize_with = "present",
        skip_serializing_if = "Option::is_none"
    )]
    generation: Option<u64>,
    #[serde(
        default,
        deserialize_with = "present",
        skip_serializing_if = "Option::is_none"
    )]
    jti: Option<TokenId>,
    #[serde(
        default,
        deserialize_with = "present",
        skip_serializing_if = "Option::is_none"
    )]
    iat: Option<NumericDate>,
    /// Read only: none of ours carries it, so that a verifier whose clock is slightly behind takes a new token.
    #[serde(default, deserialize_with = "present", skip_serializing)]
    pub(crate) nbf: Option<NumericDate>,
    pub(crate) exp: NumericDate,
}

/// A claim may be absent, but `null` is a wrong type like any other.
pub(crate) fn present<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

impl Payload {
    pub(crate) fn of_access(
        claims: &AccessClaims,
        iss: Option<String>,
        aud: Option<String>,
    ) -> Self {
        let aud = match &*claims.audience {
            [] => aud.map(AudienceClaim::One),
            [one] => Some(AudienceClaim::One(one.clone())),
            several => Some(AudienceClaim::Several(several.to_vec())),
        };
        Self {
            iss,
            aud,
            sub: claims.subject.clone(),
            kind: TokenType::Access,
            preferred_username: claims.preferred_username.clone(),
            client_id: claims.client_id.clone(),
            azp: claims.actor.as_ref().map(|actor| actor.client.clone()),
            act: claims.actor.clone(),
            fresh: Some(claims.fresh),
            auth_time: claims.auth_time,
            sid: claims.session.clone(),
            scope: Some(claims.scope.clone()),
            generation: None,
            jti: claims.id.clone(),
            iat: claims.issued_at,
            nbf: None,
            exp: claims.expires_at,
        }
    }

    pub(crate) fn of_refresh(
        claims: &RefreshClaims,
        iss: Option<String>,
        aud: Option<String>,
    ) -> Self {
        Self {
            iss,
            aud: aud.map(AudienceClaim::One),
            sub: claims.subject.clone(),
            kind: TokenType::Refresh,
            preferred_username: None,
            client_id: None,
            azp: None,
            act: None,
            fresh: None,
            auth_time: None,
            sid: Some(claims.session.clone()),
            scope: None,
            generation: Some(claims.generation),
            jti: Some(claims.id.clone()),
            iat: Some(claims.issued_at),
            nbf: None,
            exp: claims.expires_at,
        }
    }

    pub(crate) fn has_subject(&self) -> bool {
        !self.sub.as_str().is_empty()
    }

    pub(crate) fn into_access(self) -> AccessClaims {
        AccessClaims {
            subject: self.sub,
            audience: self.aud.map(AudienceClaim::into_names).unwrap_or_default(),
            preferred_username: self.preferred_username,
            client_id: self.client_id,
            actor: self.act,
            fresh: self.fresh.unwrap_or(false),
            auth_time: self.auth_time,
            session: self.sid,
            scope: self.scope.unwrap_or_default(),
            id: self.jti,
            issued_at: self.iat,
            expires_at: self.exp,
        }
    }

    pub(crate) fn into_refresh(self) -> Result<RefreshClaims, InvalidToken> {
        Ok(RefreshClaims {
            subject: self.sub,
            session: self.sid.ok_or(InvalidToken::Claims)?,
            generation: self.generation.ok_or(InvalidToken::Claims)?,
            id: self.jti.ok_or(InvalidToken::Claims)?,
            issued_at: self.iat.ok_or(InvalidToken::Claims)?,
            expires_at: self.exp,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_foreign_date_may_have_a_fraction_or_be_absurd_but_not_be_text() {
        let date = |json: &str| {
            serde_json::from_str::<NumericDate>(json)
                .map(|date| date.0)
                .ok()
        };
        assert_eq!(date("1790000000"), Some(1_790_000_000));
        assert_eq!(date("1790000000.9"), Some(1_790_000_000));
        assert_eq!(date("18446744073709551615"), Some(i64::MAX));
        assert_eq!(date("1e300"), Some(i64::MAX));
        assert_eq!(date("-5"), Some(-5));
        assert_eq!(date("\"1790000000\""), None);
        assert_eq!(date("true"), None);
        assert_eq!(date("[1]"), None);
    }

    #[test]
    fn an_audience_is_a_string_or_a_list() {
        let holds = |json: &str| {
            serde_json::from_str::<AudienceClaim>(json)
                .map(|aud| aud.holds("tokenpair"))
                .ok()
        };
        assert_eq!(holds("\"tokenpair\""), Some(true));
        assert_eq!(holds("[\"other\",\"tokenpair\"]"), Some(true));
        assert_eq!(holds("[]"), Some(false));
        assert_eq!(holds("\"tokenpai\""), Some(false));
        assert_eq!(holds("7"), None);
    }

    #[test]
    fn a_claim_that_stands_twice_is_refused() {
        let twice = r#"{"sub":"a","sub":"b","type":"access","exp":1}"#;
        assert!(serde_json::from_str::<Payload>(twice).is_err());
    }
}
