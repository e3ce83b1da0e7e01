//! Why a token opens nothing. What `Display` says is for the world; `source()` is for the log alone.

use crate::claims::TokenType;
use crate::wire::{ErrorBody, bearer_challenge};

/// Why a request with this token, or with none, is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// There is no `Authorization` header.
    #[error("Missing Authorization Header")]
    Missing,
    /// The `Authorization` header is not one `Bearer <token>`.
    #[error("The Authorization header must be one 'Bearer <token>'")]
    MalformedHeader,
    /// The token was good and is so no longer.
    #[error("Token has expired")]
    Expired,
    /// The token was never good here.
    #[error("Token is not valid")]
    Invalid(#[source] InvalidToken),
    /// A good token of the other kind.
    #[error("Only {} tokens are allowed", match .expected { TokenType::Access => "non-refresh", TokenType::Refresh => "refresh" })]
    WrongType {
        /// The kind that is due.
        expected: TokenType,
    },
    /// The token's session has ended.
    #[error("Token has been revoked")]
    Revoked,
    /// It is not known at the moment which sessions have ended, and so nothing is taken.
    #[error(
        "This service does not know at the moment which sessions have ended; try again shortly"
    )]
    Suspended,
    /// The token names a key that is not known, and the issuer's keys cannot be fetched at the moment: it may well be good.
    #[error(
        "This service cannot get the keys that tokens are verified with at the moment; try again shortly"
    )]
    KeysUnavailable,
    /// The token comes from a refresh, and this operation wants the password to have been given for it.
    #[error("Fresh token required")]
    FreshRequired,
    /// A good token of a service where a user is asked for, or the reverse.
    #[error("Only {} may do this", match .expected { CallerKind::User => "users", CallerKind::Service => "services" })]
    WrongCaller {
        /// Who is asked for.
        expected: CallerKind,
    },
    /// The token is good and does not allow this.
    #[error("The token lacks the scope '{required}'")]
    InsufficientScope {
        /// The scope token that is missing.
        required: &'static str,
    },
}

/// Who a token speaks of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallerKind {
    /// A person who has logged in, be it that a service acts for them.
    User,
    /// A service account.
    Service,
}

/// What is wrong with an invalid token. The client is not told which; nothing of the token's text is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidToken {
    /// Longer than any of ours can be.
    #[error("the token is too long")]
    TooLong,
    /// Not three parts, or a first part that is no JOSE header with a known algorithm.
    #[error("the token has no readable header")]
    Header,
    /// A `crit` header (RFC 7515 section 4.1.11): we understand no extension, so we must refuse it.
    #[error("the token has a crit header")]
    Critical,
    /// A `kid` that is none of our keys.
    #[error("the token names a key that is not known here")]
    UnknownKey,
    /// An `alg` that is not the key's own.
    #[error("the token's algorithm is not the key's")]
    Algorithm,
    /// Signed with another key, or changed since.
    #[error("the signature does not fit")]
    Signature,
    /// A claim is missing, stands twice, or has the wrong JSON type.
    #[error("the claims are not those of a token")]
    Claims,
    /// `iss` is missing or somebody else.
    #[error("the token comes from another issuer")]
    Issuer,
    /// `aud` is missing or does not hold us.
    #[error("the token is for another audience")]
    Audience,
    /// `nbf` is still to come.
    #[error("the token is not good yet")]
    NotYet,
    /// A refresh token that goes in a cookie came in a header, or the reverse.
    #[error("the refresh token came another way than its session's tokens go")]
    Delivery,
    /// The refresh token's `jti` is not the one that its session derives for that generation.
    #[error("the refresh token was not derived by its session")]
    Forged,
}

impl From<InvalidToken> for TokenError {
    fn from(cause: InvalidToken) -> Self {
        Self::Invalid(cause)
    }
}

impl TokenError {
    /// The stable slug of the error body.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Missing => "missing_token",
            Self::MalformedHeader => "malformed_header",
            Self::Expired => "token_expired",
            Self::Invalid(_) => "invalid_token",
            Self::WrongType { .. } => "wrong_token_type",
            Self::Revoked => "token_revoked",
            Self::Suspended | Self::KeysUnavailable => "not_ready",
            Self::FreshRequired => "fresh_token_required",
            Self::WrongCaller { .. } => "wrong_caller",
            Self::InsufficientScope { .. } => "insufficient_scope",
        }
    }

    /// The HTTP status: 403 for a good token that allows too little, 503 while nothing is taken, otherwise 401.
    #[must_use]
    pub fn status(&self) -> u16 {
        match self {
            Self::InsufficientScope { .. } | Self::WrongCaller { .. } => 403,
            Self::Suspended | Self::KeysUnavailable => 503,
            _ => 401,
        }
    }

    /// The error body.
    #[must_use]
    pub fn body(&self) -> ErrorBody {
        ErrorBody::new(self.code(), self.to_string())
    }

    /// The `WWW-Authenticate` challenge of a 401 or 403 (RFC 6750 section 3). A request without a token learns no error
    /// code from it.
    #[must_use]
    pub fn challenge(&self) -> Option<String> {
        let challenge = |code| bearer_challenge(Some((code, &self.to_string())));
        match self {
            Self::Suspended | Self::KeysUnavailable => None,
            Self::Missing => Some(bearer_challenge(None)),
            Self::MalformedHeader => Some(challenge("invalid_request")),
            Self::WrongCaller { .. } => Some(challenge("insufficient_scope")),
            Self::InsufficientScope { required } => Some(format!(
                "{}, scope=\"{required}\"",
                challenge("insufficient_scope")
            )),
            _ => Some(challenge("invalid_token")),
        }
    }
}
