//! Claims to token and back: what is signed, and every check that a verifier makes, in one place.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use jsonwebtoken::{Algorithm, Header, crypto, dangerous, decode_header};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::claims::{AccessClaims, NumericDate, Payload, RefreshClaims, TokenType};
use crate::clock::Clock;
use crate::error::{InvalidToken, TokenError};
use crate::id::KeyId;
use crate::key::{SigningKey, VerifyingKey, VerifyingKeys};
use crate::revocation::RevokedSessions;

/// No token of ours comes near it, and a longer one is refused before anything is computed.
const MAX_TOKEN_BYTES: usize = 8 * 1024;

macro_rules! token {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Zeroizing<String>);

        impl $name {
            /// The token itself: a secret, to be shown to nobody but its owner.
            #[must_use]
            pub fn expose(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(concat!(stringify!($name), "(…)"))
            }
        }
    };
}

token! {
    /// A signed access token.
    AccessToken
}
token! {
    /// A signed refresh token.
    RefreshToken
}

/// Who issues the tokens and for whom. `None` is not issued and not checked, which is how tokens of services that use
/// flask-jwt-extended with its default settings look.
#[derive(Clone, Debug)]
pub struct Parties {
    issuer: Option<String>,
    audience: Option<String>,
}

impl Parties {
    /// The `iss` of every token and the `aud` of access tokens; an empty string switches the claim off.
    #[must_use]
    pub fn new(issuer: impl Into<String>, audience: impl Into<String>) -> Self {
        let named = |name: String| Some(name).filter(|name| !name.is_empty());
        Self {
            issuer: named(issuer.into()),
            audience: named(audience.into()),
        }
    }

    /// Access tokens are for the resource servers; a refresh token is for its issuer alone.
    fn audience_of(&self, kind: TokenType) -> Option<&String> {
        match kind {
            TokenType::Access => self.audience.as_ref(),
            TokenType::Refresh => self.issuer.as_ref(),
        }
    }
}

/// Turns claims into signed tokens.
#[derive(Clone, Debug)]
pub struct Signer {
    key: SigningKey,
    parties: Parties,
    access_header: Header,
    refresh_header: Header,
}

impl Signer {
    /// A signer for these parties.
    #[must_use]
    pub fn new(key: SigningKey, parties: Parties) -> Self {
        let header = |typ: &str| {
            let mut header = Header::new(key.algorithm);
            header.typ = Some(typ.to_owned());
            header.kid = Some(key.id().to_string());
            header
        };
        Self {
            access_header: header("at+jwt"),
            refresh_header: header("rt+jwt"),
            key,
            parties,
        }
    }

    /// The `kid` of the tokens.
    #[must_use]
    pub fn key_id(&self) -> &KeyId {
        self.key.id()
    }

    /// Signs an access token.
    #[must_use]
    pub fn access(&self, claims: &AccessClaims) -> AccessToken {
        let audience = self.parties.audience_of(TokenType::Access).cloned();
        AccessToken(self.sign(
            &self.access_header,
            &Payload::of_access(claims, self.parties.issuer.clone(), audience),
        ))
    }

    /// Signs a refresh token. The same claims give the same token.
    #[must_use]
    pub fn refresh(&self, claims: &RefreshClaims) -> RefreshToken {
        let audience = self.parties.audience_of(TokenType::Refresh).cloned();
        RefreshToken(self.sign(
            &self.refresh_header,
            &Payload::of_refresh(claims, self.parties.issuer.clone(), audience),
        ))
    }

    fn sign(&self, header: &Header, payload: &Payload) -> Zeroizing<String> {
        jsonwebtoken::encode(header, payload, &self.key.key)
            .expect("a key that was checked when it was made signs a JSON object")
            .into()
    }
}

/// A verified token of either kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Presented {
    /// An access token.
    Access(AccessClaims),
    /// A refresh token.
    Refresh(RefreshClaims),
}

/// Verifies tokens on the spot, asking nobody. Clones share everything.
#[derive(Clone, Debug)]
pub struct Verifier(Arc<Checks>);

#[derive(Clone, Debug)]
struct Checks {
    keys: VerifyingKeys,
    parties: Parties,
    leeway: Duration,
    clock: Clock,
    revoked: RevokedSessions,
}

impl Verifier {
    /// A verifier with no leeway, the system's clock, and no session revoked.
    #[must_use]
    pub fn new(keys: VerifyingKeys, parties: Parties) -> Self {
        let (clock, revoked) = (Clock::system(), RevokedSessions::new());
        Self(Arc::new(Checks {
            keys,
            parties,
            leeway: Duration::ZERO,
            clock,
            revoked,
        }))
    }

    /// Takes tokens this much after their `exp` and before a foreign token's `nbf`.
    #[must_use]
    pub fn with_leeway(mut self, leeway: Duration) -> Self {
        Arc::make_mut(&mut self.0).leeway = leeway;
        self
    }

    /// Reads the time from this clock.
    #[must_use]
    pub fn with_clock(mut self, clock: Clock) -> Self {
        Arc::make_mut(&mut self.0).clock = clock;
        self
    }

    /// Refuses the access tokens of these sessions.
    #[must_use]
    pub fn with_revoked(mut self, revoked: RevokedSessions) -> Self {
        Arc::make_mut(&mut self.0).revoked = revoked;
        self
    }

    /// The claims of a good access token.
    pub fn access(&self, token: &str) -> Result<AccessClaims, TokenError> {
        match self.verify(token, Some(TokenType::Access))? {
            Presented::Access(claims) => Ok(claims),
            Presented::Refresh(_) => Err(TokenError::WrongType {
                expected: TokenType::Access,
            }),
        }
    }

    /// The claims of a refresh token that is signed and unexpired. Whether its session goes on, only its issuer knows.
    pub fn refresh(&self, token: &str) -> Result<RefreshClaims, TokenError> {
        match self.verify(token, Some(TokenType::Refresh))? {
            Presented::Refresh(claims) => Ok(claims),
            Presented::Access(_) => Err(TokenError::WrongType {
                expected: TokenType::Refresh,
            }),
        }
    }

    /// The claims of a token of either kind.
    pub fn either(&self, token: &str) -> Result<Presented, TokenError> {
        self.verify(token, None)
    }

    /// Every check there is. The kind comes before the audience, because a refresh token's is another one, and before
    /// the expiry, because a client that mixed up its tokens is not helped by a new one.
    fn verify(&self, token: &str, expected: Option<TokenType>) -> Result<Presented, TokenError> {
        let checks = &*self.0;
        let payload = checks.keys.open(token)?;
        if let Some(expected) = expected.filter(|expected| *expected != payload.kind) {
            return Err(TokenError::WrongType { expected });
        }
        if !payload.has_subject() {
            return Err(InvalidToken::Claims.into());
        }
        if checks.parties.issuer.is_some() && checks.parties.issuer != payload.iss {
            return Err(InvalidToken::Issuer.into());
        }
        if let Some(audience) = checks.parties.audience_of(payload.kind)
            && !payload.aud.as_ref().is_some_and(|aud| aud.holds(audience))
        {
            return Err(InvalidToken::Audience.into());
        }
        let now = NumericDate::from(checks.clock.now());
        if payload
            .nbf
            .is_some_and(|nbf| nbf > now.after(checks.leeway))
        {
            return Err(InvalidToken::NotYet.into());
        }
        if payload.exp.after(checks.leeway) <= now {
            return Err(TokenError::Expired);
        }
        match payload.kind {
            TokenType::Refresh => Ok(Presented::Refresh(payload.into_refresh()?)),
            TokenType::Access => {
                let claims = payload.into_access();
                if claims
                    .session
                    .as_ref()
                    .is_some_and(|session| checks.revoked.contains(session))
                {
                    return Err(TokenError::Revoked);
                }
                Ok(Presented::Access(claims))
            }
        }
    }
}

impl VerifyingKeys {
    /// The one door from a text to claims: it opens only to a signature of one of the keys.
    ///
    /// jsonwebtoken's own `decode` does the same and then reads header and claims a second time, to check them by the
    /// system's clock; its parts taken singly cost six tenths of it (`cargo bench -p shared-claims`).
    fn open(&self, token: &str) -> Result<Payload, InvalidToken> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(InvalidToken::TooLong);
        }
        let header = decode_header(token).map_err(|_| InvalidToken::Header)?;
        if header.crit.is_some() {
            return Err(InvalidToken::Critical);
        }
        let (message, signature) = token.rsplit_once('.').ok_or(InvalidToken::Header)?;
        let mut refusal = InvalidToken::UnknownKey;
        for key in self.candidates(header.kid.as_deref())? {
            match key.check(header.alg, message, signature) {
                Ok(()) => {
                    return dangerous::insecure_decode_claims(token)
                        .map_err(|_| InvalidToken::Claims);
                }
                Err(cause) => refusal = cause,
            }
        }
        Err(refusal)
    }
}

impl VerifyingKey {
    /// The key says which algorithm is right; the token's `alg` only has to agree.
    fn check(&self, alg: Algorithm, message: &str, signature: &str) -> Result<(), InvalidToken> {
        if alg != self.algorithm {
            return Err(InvalidToken::Algorithm);
        }
        match crypto::verify(signature, message.as_bytes(), &self.key, self.algorithm) {
            Ok(true) => Ok(()),
            Ok(false) | Err(_) => Err(InvalidToken::Signature),
        }
    }
}
