//! Passwords as they are written.

use std::borrow::Cow;

use precis_profiles::OpaqueString;
use precis_profiles::precis_core::profile::PrecisFastInvocation;
use secrecy::{ExposeSecret, SecretString};
use zeroize::Zeroizing;

/// A password as somebody typed it.
#[derive(Clone, Debug)]
pub(crate) struct Password(SecretString);

/// Why a password is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PasswordRefused {
    #[error("Give a password.")]
    Empty,
    #[error("Use at least {} characters.", Password::MIN)]
    TooShort,
    #[error("Use at most {} characters.", Password::MAX)]
    TooLong,
    #[error(
        "Use letters, digits, punctuation, symbols and spaces only: a control character would be hard to type again."
    )]
    Characters,
}

impl Password {
    /// The least number of characters of a new password.
    pub(crate) const MIN: usize = 8;
    /// The greatest number of characters of a new password.
    pub(crate) const MAX: usize = 256;

    /// A password to be checked. One that could never have been chosen is merely wrong.
    pub(crate) fn presented(text: &SecretString) -> Result<Self, PasswordRefused> {
        if text.expose_secret().is_empty() {
            Err(PasswordRefused::Empty)
        } else {
            Ok(Self(text.clone()))
        }
    }

    /// A password to be set.
    pub(crate) fn chosen(text: &SecretString) -> Result<Self, PasswordRefused> {
        match text.expose_secret() {
            "" => Err(PasswordRefused::TooShort),
            text if too_long_to_normalise(text) => Err(PasswordRefused::TooLong),
            text => {
                let normalised =
                    OpaqueString::enforce(text).map_err(|_| PasswordRefused::Characters)?;
                match normalised.chars().count() {
                    ..Self::MIN => Err(PasswordRefused::TooShort),
                    Self::MIN..=Self::MAX => Ok(Self(normalised.into_owned().into())),
                    _ => Err(PasswordRefused::TooLong),
                }
            }
        }
    }

    /// The bytes to be hashed: normalised, so that the same characters are the same bytes (RFC 8265 section 4.2).
    /// Called where passwords are hashed, because normalising is not free either.
    pub(crate) fn bytes(&self) -> Zeroizing<Vec<u8>> {
        let text = self.0.expose_secret();
        let normalised = if too_long_to_normalise(text) {
            None
        } else {
            OpaqueString::enforce(text).ok()
        };
        let text = normalised.map_or_else(|| text.to_owned(), Cow::into_owned);
        Zeroizing::new(text.into_bytes())
    }
}

/// The time that normalising takes grows with the square of the length for some scripts. No password that can be chosen
/// comes near this length in any form.
fn too_long_to_normalise(text: &str) -> bool {
    text.chars().nth(2 * Password::MAX).is_some()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn chosen(text: &str) -> Result<Password, PasswordRefused> {
        Password::chosen(&text.into())
    }

    #[test]
    fn a_new_password_has_8_to_256_characters_however_many_bytes_they_take() {
        assert_eq!(chosen("").unwrap_err(), PasswordRefused::TooShort);
        assert_eq!(chosen("1234567").unwrap_err(), PasswordRefused::TooShort);
        assert!(chosen("12345678").is_ok());
        assert!(chosen(&"é".repeat(256)).is_ok());
        assert_eq!(
            chosen(&"é".repeat(257)).unwrap_err(),
            PasswordRefused::TooLong
        );
    }

    #[test]
    fn a_control_character_is_refused_when_chosen_and_merely_wrong_when_presented() {
        assert_eq!(
            chosen("12345678\u{0}").unwrap_err(),
            PasswordRefused::Characters
        );
        assert!(Password::presented(&"12345678\u{0}".into()).is_ok());
        assert_eq!(
            Password::presented(&"".into()).unwrap_err(),
            PasswordRefused::Empty
        );
    }

    #[test]
    fn composed_and_decomposed_characters_are_the_same_password() {
        assert_eq!(
            chosen("caf\u{e9} au lait").unwrap().bytes(),
            chosen("cafe\u{301} au lait").unwrap().bytes()
        );
    }

    #[test]
    fn a_long_password_costs_no_more_than_reading_it() {
        let text = "\u{660}".repeat(30_000);
        let started = std::time::Instant::now();
        assert_eq!(chosen(&text).unwrap_err(), PasswordRefused::TooLong);
        assert_eq!(
            *Password::presented(&text.as_str().into()).unwrap().bytes(),
            text.into_bytes()
        );
        // Normalising it would take seconds even where the code is optimised.
        assert!(started.elapsed() < std::time::Duration::from_millis(500));
    }

    proptest! {
        #[test]
        fn what_can_be_chosen_is_presented_as_the_same(text in "\\PC{8,40}") {
            if let Ok(password) = chosen(&text) {
                let presented = Password::presented(&text.as_str().into()).unwrap();
                prop_assert_eq!(password.bytes(), presented.bytes());
            }
        }
    }
}
