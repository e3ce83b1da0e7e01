//! Profiles: what users say of themselves.

use jiff::Timestamp;
use service_shell::sqlite::StorageError;
use shared_claims::{Clock, Subject};

use crate::storage::Store;

/// What a user has written; nothing yet, for a profile that nobody has written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Profile {
    pub(crate) display_name: Option<DisplayName>,
    pub(crate) bio: Option<Bio>,
    pub(crate) updated_at: Option<Timestamp>,
}

/// Why a text is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TextRefused {
    #[error("Give 1 to {} characters, or null.", DisplayName::MAX)]
    DisplayNameLength,
    #[error("Give at most {} characters, or null.", Bio::MAX)]
    BioLength,
    #[error("Leave out control characters.")]
    Characters,
}

/// A name as other people are to read it: one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DisplayName(Box<str>);

impl DisplayName {
    /// The greatest number of characters.
    pub(crate) const MAX: usize = 100;

    pub(crate) fn parse(text: &str) -> Result<Self, TextRefused> {
        match text.trim() {
            text if !(1..=Self::MAX).contains(&text.chars().count()) => {
                Err(TextRefused::DisplayNameLength)
            }
            text if text.contains(char::is_control) => Err(TextRefused::Characters),
            text => Ok(Self(text.into())),
        }
    }
}

impl AsRef<str> for DisplayName {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

/// A text about oneself, of several lines perhaps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Bio(Box<str>);

impl Bio {
    /// The greatest number of characters.
    pub(crate) const MAX: usize = 2000;

    pub(crate) fn parse(text: &str) -> Result<Self, TextRefused> {
        match text {
            text if text.chars().count() > Self::MAX => Err(TextRefused::BioLength),
            text if text.contains(|character: char| {
                character.is_control() && !matches!(character, '\n' | '\r' | '\t')
            }) =>
            {
                Err(TextRefused::Characters)
            }
            text => Ok(Self(text.into())),
        }
    }
}

impl AsRef<str> for Bio {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

/// Shows and replaces profiles.
#[derive(Clone, Debug)]
pub(crate) struct Profiles {
    store: Store,
    clock: Clock,
}

impl Profiles {
    pub(crate) fn new(store: Store, clock: Clock) -> Self {
        Self { store, clock }
    }

    pub(crate) async fn of(&self, user: &Subject) -> Result<Profile, StorageError> {
        Ok(self.store.profile(user).await?.unwrap_or_default())
    }

    pub(crate) async fn replace(
        &self,
        user: &Subject,
        display_name: Option<DisplayName>,
        bio: Option<Bio>,
    ) -> Result<Profile, StorageError> {
        let profile = Profile {
            display_name,
            bio,
            updated_at: Some(self.clock.now()),
        };
        self.store.replace_profile(user, &profile).await?;
        Ok(profile)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_display_name_is_one_line_of_1_to_100_characters() {
        assert_eq!(DisplayName::parse(" Cosmo ").unwrap().as_ref(), "Cosmo");
        assert!(DisplayName::parse(&"é".repeat(100)).is_ok());
        for text in ["", "  ", &"é".repeat(101)] {
            assert_eq!(
                DisplayName::parse(text),
                Err(TextRefused::DisplayNameLength),
                "{text}"
            );
        }
        assert_eq!(DisplayName::parse("a\nb"), Err(TextRefused::Characters));
    }

    #[test]
    fn a_bio_may_be_empty_and_have_lines_but_no_control_characters() {
        assert!(
            Bio::parse("").is_ok()
                && Bio::parse("one\r\n\ttwo").is_ok()
                && Bio::parse(&"é".repeat(2000)).is_ok()
        );
        assert_eq!(Bio::parse(&"é".repeat(2001)), Err(TextRefused::BioLength));
        assert_eq!(Bio::parse("a\0b"), Err(TextRefused::Characters));
    }
}
