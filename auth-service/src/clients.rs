//! Service accounts: programs that get tokens for themselves, or on behalf of a user whose token they hold.

use std::fmt;
use std::time::Duration;

use aws_lc_rs::{constant_time, digest, rand};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use secrecy::{ExposeSecret, SecretString};
use service_shell::settings::duration;
use service_shell::sqlite::StorageError;
use shared_claims::{ClientId, Clock, NumericDate, Scope};

use crate::audit::Author;
use crate::storage::Store;

/// What a client holds. It is shown once, when it is made.
#[derive(Clone, Debug)]
pub(crate) struct ClientSecret(SecretString);

/// Why a client's id or secret is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ClientRefused {
    #[error("a client id has 1 to 64 letters, digits, '-', '_' and '.'")]
    Id,
    #[error(
        "a client secret has at least {} characters of visible ASCII; leave it to auth-service to make one",
        ClientSecret::MIN
    )]
    Secret,
}

impl ClientSecret {
    /// The least number of characters. With it, guessing is hopeless at any speed, so that secrets need no slow hash.
    pub(crate) const MIN: usize = 32;

    /// 256 random bits.
    pub(crate) fn generate() -> Self {
        let mut bytes = [0; 32];
        rand::fill(&mut bytes).expect("the operating system has random bytes");
        Self(URL_SAFE_NO_PAD.encode(bytes).into())
    }

    /// A secret that somebody else made.
    pub(crate) fn parse(text: &SecretString) -> Result<Self, ClientRefused> {
        let secret = text.expose_secret();
        let visible = secret.bytes().all(|byte| byte.is_ascii_graphic());
        if visible && secret.len() >= Self::MIN {
            Ok(Self(text.clone()))
        } else {
            Err(ClientRefused::Secret)
        }
    }

    /// A secret to be checked.
    pub(crate) fn presented(text: SecretString) -> Self {
        Self(text)
    }

    pub(crate) fn expose(&self) -> &str {
        self.0.expose_secret()
    }

    pub(crate) fn hash(&self) -> ClientSecretHash {
        ClientSecretHash(
            URL_SAFE_NO_PAD
                .encode(digest::digest(&digest::SHA256, self.expose().as_bytes()))
                .into(),
        )
    }
}

/// What the table holds of a client's secret.
///
/// A password needs a slow hash because people choose from few. A client's secret is random and long: nobody finds it from
/// its SHA-256, and the token endpoint stays as fast as a signature.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct ClientSecretHash(Box<str>);

impl ClientSecretHash {
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// Compared in constant time.
    fn fits(&self, presented: &Self) -> bool {
        constant_time::verify_slices_are_equal(self.0.as_bytes(), presented.0.as_bytes()).is_ok()
    }
}

impl From<String> for ClientSecretHash {
    fn from(text: String) -> Self {
        Self(text.into())
    }
}

impl fmt::Debug for ClientSecretHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClientSecretHash(…)")
    }
}

/// A client as it stands in its row.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    pub(crate) id: ClientId,
    pub(crate) secret: ClientSecretHash,
    /// The secret before the last rotation, and until when it is good.
    pub(crate) previous_secret: Option<(ClientSecretHash, Timestamp)>,
    /// What the client may ask for, for itself.
    pub(crate) scope: Scope,
    pub(crate) created_at: Timestamp,
    pub(crate) disabled_at: Option<Timestamp>,
}

impl Client {
    fn knows(&self, presented: &ClientSecretHash, now: Timestamp) -> bool {
        let previous = self
            .previous_secret
            .as_ref()
            .is_some_and(|(secret, until)| now < *until && secret.fits(presented));
        self.secret.fits(presented) || previous
    }
}

/// A client's id: what stands in tokens as `sub`, so that it must not be mistaken for a user's.
pub(crate) fn client_id(text: &str) -> Result<ClientId, ClientRefused> {
    let usable = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    // User ids are UUIDs; a client with the id of a user would be that user to every verifier.
    let is_user = text.len() == 36 && text.split('-').map(str::len).eq([8, 4, 4, 4, 12]);
    if (1..=64).contains(&text.len()) && text.bytes().all(usable) && !is_user {
        Ok(text.into())
    } else {
        Err(ClientRefused::Id)
    }
}

/// How long the old secret stays good after a rotation, unless something else is asked for.
pub(crate) const USUAL_OVERLAP: Duration = Duration::from_hours(1);

/// How long an old secret is to stay good.
pub(crate) fn overlap(text: &str) -> Result<Duration, String> {
    let overlap = duration(text)?;
    if overlap > Duration::from_hours(366 * 24) {
        return Err("use a duration from 0s to 366d".to_owned());
    }
    Ok(overlap)
}

/// Keeps clients and lets them in.
#[derive(Clone, Debug)]
pub(crate) struct Clients {
    store: Store,
    clock: Clock,
}

impl Clients {
    pub(crate) fn new(store: Store, clock: Clock) -> Self {
        Self { store, clock }
    }

    /// The client whose id this is, and whose secret is one of these. An unknown client costs what a known one costs.
    pub(crate) async fn authenticate(
        &self,
        id: &ClientId,
        secrets: &[ClientSecret],
    ) -> Result<Option<Client>, StorageError> {
        let presented: Vec<_> = secrets.iter().map(ClientSecret::hash).collect();
        let (client, now) = (self.store.client(id).await?, self.clock.now());
        Ok(client.filter(|client| {
            let known = presented.iter().any(|secret| client.knows(secret, now));
            known && client.disabled_at.is_none()
        }))
    }

    /// A new client with a new secret. `None`: the id is taken.
    pub(crate) async fn add(
        &self,
        id: ClientId,
        scope: Scope,
        by: &Author,
    ) -> Result<Option<ClientSecret>, StorageError> {
        let secret = ClientSecret::generate();
        let client = Client {
            id,
            secret: secret.hash(),
            previous_secret: None,
            scope,
            created_at: self.clock.now(),
            disabled_at: None,
        };
        Ok(self.store.add_client(&client, by).await?.then_some(secret))
    }

    /// Every client.
    pub(crate) async fn list(&self) -> Result<Vec<Client>, StorageError> {
        self.store.clients().await
    }

    /// Whether a token is good as far as this client is concerned: it is enabled, and was there when the token was issued, and
    /// not another of the same name.
    pub(crate) async fn vouches_for(
        &self,
        id: &ClientId,
        issued_at: Option<NumericDate>,
    ) -> Result<bool, StorageError> {
        let client = self.store.client(id).await?;
        Ok(client.is_some_and(|client| {
            let created_at = NumericDate::from(client.created_at);
            client.disabled_at.is_none() && issued_at.is_none_or(|at| at >= created_at)
        }))
    }

    /// What a client may do. `None`: there is no such client.
    pub(crate) async fn scope_of(&self, id: &ClientId) -> Result<Option<Scope>, StorageError> {
        Ok(self.store.client(id).await?.map(|client| client.scope))
    }

    /// Gives a client a new secret; the old one is good for the overlap. `None`: there is no such client.
    pub(crate) async fn rotate_secret(
        &self,
        id: &ClientId,
        overlap: Duration,
        by: &Author,
    ) -> Result<Option<ClientSecret>, StorageError> {
        let (secret, now) = (ClientSecret::generate(), self.clock.now());
        let rotated = self
            .store
            .rotate_client_secret(id, &secret.hash(), now + overlap, by, now)
            .await?;
        Ok(rotated.then_some(secret))
    }

    /// Keeps a client out or lets it in again. `false`: there is no such client.
    pub(crate) async fn set_disabled(
        &self,
        id: &ClientId,
        disabled: bool,
        by: &Author,
    ) -> Result<bool, StorageError> {
        let now = self.clock.now();
        self.store.set_client_disabled(id, disabled, by, now).await
    }

    /// Removes a client. `false`: there is no such client.
    pub(crate) async fn remove(&self, id: &ClientId, by: &Author) -> Result<bool, StorageError> {
        self.store.remove_client(id, by, self.clock.now()).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_id_is_short_plain_and_no_users() {
        for id in ["a", "resource-service", "org.example_7", &"x".repeat(64)] {
            assert!(client_id(id).is_ok(), "{id}");
        }
        for id in [
            "",
            "a b",
            "a:b",
            "é",
            &"x".repeat(65),
            "0199aaaa-0000-7000-8000-000000000001",
            "a/b",
            "a\n",
        ] {
            assert!(client_id(id).is_err(), "{id:?}");
        }
    }

    #[test]
    fn a_secret_is_long_and_visible() {
        assert!(ClientSecret::parse(&"x".repeat(32).into()).is_ok());
        assert!(ClientSecret::parse(&"x".repeat(31).into()).is_err());
        assert!(ClientSecret::parse(&format!("{} ", "x".repeat(32)).into()).is_err());
        assert!(ClientSecret::parse(&ClientSecret::generate().0).is_ok());
    }

    #[test]
    fn the_previous_secret_is_good_until_its_overlap_ends() {
        let (old, new, now) = (
            ClientSecret::generate(),
            ClientSecret::generate(),
            Timestamp::UNIX_EPOCH,
        );
        let until = now + Duration::from_mins(1);
        let client = Client {
            id: "client".into(),
            secret: new.hash(),
            previous_secret: Some((old.hash(), until)),
            scope: Scope::empty(),
            created_at: now,
            disabled_at: None,
        };
        assert!(client.knows(&new.hash(), now) && client.knows(&old.hash(), now));
        assert!(client.knows(&new.hash(), until) && !client.knows(&old.hash(), until));
        assert!(!client.knows(&ClientSecret::generate().hash(), now));
    }
}
