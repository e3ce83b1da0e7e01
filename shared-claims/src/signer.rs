//! Claims to token.

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;
use jsonwebtoken::Header;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::claims::{AccessClaims, Payload, RefreshClaims, TokenType};
use crate::id::KeyId;
use crate::key::SigningKey;

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

    /// The `iss` of every token.
    #[must_use]
    pub fn issuer(&self) -> Option<&str> {
        self.issuer.as_deref()
    }

    /// The `aud` of access tokens.
    #[must_use]
    pub fn audience(&self) -> Option<&str> {
        self.audience.as_deref()
    }

    /// Access tokens are for the resource servers; a refresh token is for its issuer alone.
    pub(crate) fn audience_of(&self, kind: TokenType) -> Option<&str> {
        match kind {
            TokenType::Access => self.audience(),
            TokenType::Refresh => self.issuer(),
        }
    }
}

/// Turns claims into signed tokens. Clones share the key.
#[derive(Clone, Debug)]
pub struct Signer {
    signing: Arc<ArcSwap<Signing>>,
    parties: Arc<Parties>,
}

/// A key, with the headers of the tokens that it signs.
#[derive(Debug)]
struct Signing {
    key: SigningKey,
    access_header: Header,
    refresh_header: Header,
}

impl Signing {
    fn new(key: SigningKey) -> Self {
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
        }
    }
}

impl Signer {
    /// A signer for these parties.
    #[must_use]
    pub fn new(key: SigningKey, parties: Parties) -> Self {
        Self {
            signing: Arc::new(ArcSwap::from_pointee(Signing::new(key))),
            parties: Arc::new(parties),
        }
    }

    /// The `kid` of the tokens.
    #[must_use]
    pub fn key_id(&self) -> KeyId {
        self.signing.load().key.id().clone()
    }

    /// Signs with this key from now on.
    pub fn replace_key(&self, key: SigningKey) {
        self.signing.store(Arc::new(Signing::new(key)));
    }

    /// Signs an access token.
    #[must_use]
    pub fn access(&self, claims: &AccessClaims) -> AccessToken {
        let audience = self
            .parties
            .audience_of(TokenType::Access)
            .map(str::to_owned);
        let payload = Payload::of_access(claims, self.parties.issuer.clone(), audience);
        let signing = self.signing.load();
        AccessToken(sign(&signing.access_header, &payload, &signing.key))
    }

    /// Signs a refresh token. The same claims give the same token.
    #[must_use]
    pub fn refresh(&self, claims: &RefreshClaims) -> RefreshToken {
        let audience = self
            .parties
            .audience_of(TokenType::Refresh)
            .map(str::to_owned);
        let payload = Payload::of_refresh(claims, self.parties.issuer.clone(), audience);
        let signing = self.signing.load();
        RefreshToken(sign(&signing.refresh_header, &payload, &signing.key))
    }
}

fn sign(header: &Header, payload: &Payload, key: &SigningKey) -> Zeroizing<String> {
    jsonwebtoken::encode(header, payload, &key.key)
        .expect("a key that was checked when it was made signs a JSON object")
        .into()
}
