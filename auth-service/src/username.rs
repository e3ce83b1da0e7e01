//! How users' names are spelt.

use std::borrow::Cow;
use std::fmt;

use precis_profiles::UsernameCaseMapped;
use precis_profiles::precis_core::profile::PrecisFastInvocation;

/// A user's name in its one spelling (RFC 8265 section 3.3), so that `Cosmo` and `cosmo` are one user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Username(Box<str>);

/// Why a user name is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum UsernameRefused {
    #[error("Give 1 to {} characters.", Username::MAX)]
    Length,
    #[error("Use letters, digits and ASCII punctuation without spaces, written in one direction.")]
    Characters,
}

impl Username {
    /// The greatest number of characters, after normalisation.
    pub(crate) const MAX: usize = 64;

    pub(crate) fn parse(text: &str) -> Result<Self, UsernameRefused> {
        // Normalisation composes characters, of which none is made from more than four.
        if text.is_empty() || text.chars().count() > 4 * Self::MAX {
            return Err(UsernameRefused::Length);
        }
        let enforce = |text: &str| {
            UsernameCaseMapped::enforce(text)
                .map(Cow::into_owned)
                .map_err(|_| UsernameRefused::Characters)
        };
        let normalised = enforce(text)?;
        // Cherokee capitals become small letters that the profile does not allow: such a name could not be typed again.
        if enforce(&normalised)? != normalised {
            return Err(UsernameRefused::Characters);
        }
        if normalised.chars().count() > Self::MAX {
            return Err(UsernameRefused::Length);
        }
        Ok(Self(normalised.into()))
    }
}

impl Username {
    /// A name as it was kept. It is not parsed again: newer Unicode tables must lock nobody out.
    pub(crate) fn stored(text: String) -> Self {
        Self(text.into())
    }
}

impl AsRef<str> for Username {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Username {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(text: &str) -> Result<String, UsernameRefused> {
        Username::parse(text).map(|username| username.to_string())
    }

    #[test]
    fn upper_and_lower_case_wide_and_narrow_are_one_user() {
        assert_eq!(parse("Cosmo"), Ok("cosmo".to_owned()));
        assert_eq!(parse("\u{ff23}osmo"), Ok("cosmo".to_owned()));
        assert_eq!(parse("E\u{301}milie"), Ok("\u{e9}milie".to_owned()));
        assert_eq!(
            parse("a.b+c@example.com"),
            Ok("a.b+c@example.com".to_owned())
        );
    }

    #[test]
    fn a_name_has_1_to_64_characters_and_no_spaces_or_control_characters() {
        assert_eq!(parse(""), Err(UsernameRefused::Length));
        assert!(parse(&"a".repeat(64)).is_ok());
        assert_eq!(parse(&"a".repeat(65)), Err(UsernameRefused::Length));
        assert_eq!(parse(&"a".repeat(100_000)), Err(UsernameRefused::Length));
        assert_eq!(parse("\u{13a0}"), Err(UsernameRefused::Characters));
        for text in ["a b", " a", "a\n", "a\0", "a\u{202e}b", "\u{1f600}"] {
            assert_eq!(parse(text), Err(UsernameRefused::Characters), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn normalising_twice_changes_nothing(text in "\\PC{1,70}") {
            if let Ok(once) = parse(&text) {
                prop_assert_eq!(parse(&once), Ok(once.clone()));
            }
        }
    }
}
