//! Identifiers, one type for each thing that is named, so that one cannot stand where another is due.

use std::borrow::Borrow;
use std::fmt;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Box<str>);

        impl $name {
            /// The identifier as it stands in a token or in a table.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl From<String> for $name {
            fn from(text: String) -> Self {
                Self(text.into_boxed_str())
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self(text.into())
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }
    };
}

id! {
    /// Whom a token speaks of (`sub`, RFC 7519 section 4.1.2): a user id, or the client id of a service account.
    /// Never reassigned.
    Subject
}
id! {
    /// A login and all that follows from it by refreshing (`sid`): what a revocation names.
    SessionId
}
id! {
    /// One token (`jti`, RFC 7519 section 4.1.7).
    TokenId
}
id! {
    /// A service account (`client_id`, RFC 9068 section 2.2).
    ClientId
}
id! {
    /// A key (`kid`, RFC 7515 section 4.1.4), derived from the key itself.
    KeyId
}

impl Subject {
    /// A new user id: a `UUIDv7`, so that rows sort by age.
    #[must_use]
    pub fn generate() -> Self {
        Uuid::now_v7().to_string().into()
    }
}

impl SessionId {
    /// A new session id: a `UUIDv7`, so that rows sort by age.
    #[must_use]
    pub fn generate() -> Self {
        Uuid::now_v7().to_string().into()
    }
}

impl TokenId {
    /// A new token id, unique and not to be guessed.
    #[must_use]
    pub fn generate() -> Self {
        Uuid::now_v7().to_string().into()
    }
}
