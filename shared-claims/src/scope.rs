//! OAuth 2.0 scopes (RFC 6749 section 3.3).

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A set of scope tokens, written with single spaces between them.
///
/// ```
/// use shared_claims::Scope;
///
/// let scope: Scope = "profile:write profile:read profile:read".parse().unwrap();
/// assert!(scope.contains("profile:read"));
/// assert_eq!(scope.to_string(), "profile:read profile:write");
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scope(BTreeSet<Box<str>>);

/// A scope with a character that RFC 6749 section 3.3 does not allow.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a scope is made of printable ASCII characters without quotes and backslashes, with spaces between its tokens"
)]
pub struct InvalidScope;

impl Scope {
    /// The scope that allows nothing by name.
    #[must_use]
    pub fn empty() -> Self {
        Self::default()
    }

    /// Whether the token is in the set.
    #[must_use]
    pub fn contains(&self, token: &str) -> bool {
        self.0.contains(token)
    }

    /// Whether every token of `other` is in this set.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        other.0.is_subset(&self.0)
    }

    /// The tokens that are in the other set too.
    #[must_use]
    pub fn within(mut self, other: &Self) -> Self {
        self.0.retain(|token| other.contains(token));
        self
    }

    /// The set without this token.
    #[must_use]
    pub fn without(mut self, token: &str) -> Self {
        self.0.remove(token);
        self
    }

    /// Whether there is no token in the set.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

fn is_scope_character(byte: u8) -> bool {
    matches!(byte, 0x21 | 0x23..=0x5B | 0x5D..=0x7E)
}

impl FromStr for Scope {
    type Err = InvalidScope;

    /// Parses space-separated tokens; extra spaces are passed over, the order and repetitions mean nothing.
    fn from_str(text: &str) -> Result<Self, InvalidScope> {
        let tokens = text.split(' ').filter(|token| !token.is_empty());
        tokens
            .map(|token| {
                if token.bytes().all(is_scope_character) {
                    Ok(token.into())
                } else {
                    Err(InvalidScope)
                }
            })
            .collect::<Result<_, _>>()
            .map(Self)
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, token) in self.0.iter().enumerate() {
            if position > 0 {
                f.write_str(" ")?;
            }
            f.write_str(token)?;
        }
        Ok(())
    }
}

impl Serialize for Scope {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Scope {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn quotes_backslashes_and_anything_beyond_ascii_are_refused() {
        for text in ["a\"b", "a\\b", "a\tb", "a\nb", "é", "a\0"] {
            assert_eq!(text.parse::<Scope>(), Err(InvalidScope), "{text:?}");
        }
    }

    #[test]
    fn the_empty_scope_is_a_scope() {
        assert_eq!("".parse::<Scope>(), Ok(Scope::empty()));
        assert_eq!(Scope::empty().to_string(), "");
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(tokens in proptest::collection::vec("[!#-\\[\\]-~]{1,12}", 0..6)) {
            let scope: Scope = tokens.join(" ").parse().unwrap();
            prop_assert_eq!(scope.to_string().parse::<Scope>().unwrap(), scope.clone());
            prop_assert!(tokens.iter().all(|token| scope.contains(token)));
            prop_assert!(scope.covers(&scope) && scope.covers(&Scope::empty()));
        }
    }
}
