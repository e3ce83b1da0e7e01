//! Token to claims: every check that a verifier makes, in one place.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, crypto};
use serde::Deserialize;
use serde::de::IgnoredAny;
use tokio::sync::watch;

use crate::claims::{AccessClaims, NumericDate, Payload, RefreshClaims, TokenType, present};
use crate::clock::Clock;
use crate::error::{InvalidToken, TokenError};
use crate::id::{KeyId, SessionId, Subject};
use crate::key::{JwkSet, VerifyingKey, VerifyingKeys};
use crate::key_ring::{KeyLookup, KeyRing, LookupReason};
use crate::remembered::{Known, Remembered};
use crate::revocation::RevokedSessions;
use crate::signer::Parties;

/// No token of ours comes near it, and a longer one is refused before anything is computed.
const MAX_TOKEN_BYTES: usize = 8 * 1024;

/// A verified token of either kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Presented {
    /// An access token.
    Access(AccessClaims),
    /// A refresh token.
    Refresh(RefreshClaims),
}

impl Presented {
    /// `sub`: whom the token speaks of.
    #[must_use]
    pub fn subject(&self) -> &Subject {
        match self {
            Self::Access(claims) => &claims.subject,
            Self::Refresh(claims) => &claims.subject,
        }
    }
}

/// Verifies tokens on the spot, asking nobody. Clones share everything.
#[derive(Clone, Debug)]
pub struct Verifier(Arc<Checks>);

#[derive(Clone, Debug)]
struct Checks {
    remembered: Arc<Remembered>,
    keys: KeyRing,
    parties: Parties,
    takes_own: bool,
    leeway: Duration,
    clock: Clock,
    revoked: RevokedSessions,
}

impl Verifier {
    /// A verifier with no leeway, the system's clock, and no session revoked.
    #[must_use]
    pub fn new(keys: VerifyingKeys, parties: Parties) -> Self {
        let (clock, revoked) = (Clock::system(), RevokedSessions::new());
        let keys = KeyRing::new(keys);
        Self(Arc::new(Checks {
            remembered: Arc::new(Remembered::new()),
            keys,
            parties,
            takes_own: false,
            leeway: Duration::ZERO,
            clock,
            revoked,
        }))
    }

    /// Another verifier: what this one has found good, the other may not.
    fn with(mut self, change: impl FnOnce(&mut Checks)) -> Self {
        let checks = Arc::make_mut(&mut self.0);
        checks.remembered = Arc::new(Remembered::new());
        change(checks);
        self
    }

    /// Takes access tokens whose audience is the issuer too: for the issuer's own routes.
    #[must_use]
    pub fn for_the_issuer(self) -> Self {
        self.with(|checks| checks.takes_own = true)
    }

    /// Takes tokens this much after their `exp` and before a foreign token's `nbf`.
    #[must_use]
    pub fn with_leeway(self, leeway: Duration) -> Self {
        self.with(|checks| checks.leeway = leeway)
    }

    /// Reads the time from this clock.
    #[must_use]
    pub fn with_clock(self, clock: Clock) -> Self {
        self.with(|checks| checks.clock = clock)
    }

    /// Refuses the access tokens of these sessions.
    #[must_use]
    pub fn with_revoked(self, revoked: RevokedSessions) -> Self {
        self.with(|checks| checks.revoked = revoked)
    }

    /// The ids of the keys that tokens are verified with.
    #[must_use]
    pub fn key_ids(&self) -> Vec<KeyId> {
        self.0.keys.load().ids().cloned().collect()
    }

    /// The public keys among them, as an issuer publishes them (RFC 7517).
    #[must_use]
    pub fn published_keys(&self) -> JwkSet {
        self.0.keys.load().published()
    }

    /// Verifies with these keys from now on, and with those that were fetched.
    pub fn replace_keys(&self, keys: VerifyingKeys) {
        self.0.keys.configure(keys);
        self.0.remembered.clear();
    }

    /// Verifies with these keys that the issuer publishes from now on, and with those that were configured here. Whether they are
    /// others than before: the same leave everything as it is.
    #[must_use]
    pub fn replace_fetched_keys(&self, keys: VerifyingKeys) -> bool {
        let changed = self.0.keys.publish(keys);
        if changed {
            self.0.remembered.clear();
        }
        changed
    }

    /// What is told of every change of the keys.
    #[must_use]
    pub fn key_changes(&self) -> watch::Receiver<()> {
        self.0.keys.changes()
    }

    /// For whoever fetches the issuer's keys for this verifier: what tells when they are needed. From then on an unknown key
    /// is a reason to fetch, and, as long as no fetch has succeeded, none to refuse a token for good.
    #[must_use]
    pub fn start_lookup(&self) -> KeyLookup {
        self.0.keys.start_lookup()
    }

    /// What tells of keys that are needed, where somebody fetches them.
    #[must_use]
    pub fn lookup(&self) -> Option<&KeyLookup> {
        self.0.keys.lookup()
    }

    /// Who issues the tokens and for whom.
    #[must_use]
    pub fn parties(&self) -> &Parties {
        &self.0.parties
    }

    /// How much after its `exp` a token is still taken.
    #[must_use]
    pub fn leeway(&self) -> Duration {
        self.0.leeway
    }

    /// Where the time comes from.
    #[must_use]
    pub fn clock(&self) -> &Clock {
        &self.0.clock
    }

    /// The sessions whose access tokens are refused.
    #[must_use]
    pub fn revoked(&self) -> &RevokedSessions {
        &self.0.revoked
    }

    /// Ends when the token of these claims is good no more: its session has been revoked, it has expired, or nothing is
    /// taken at all for the moment. For answers that go on for long, such as streams, which are to be cut then:
    /// `stream.take_until(verifier.ended(&claims))`.
    pub fn ended(&self, claims: &AccessClaims) -> impl Future<Output = ()> + Send + use<> {
        /// The clock may be another than the runtime's.
        const LONGEST_SLEEP: Duration = Duration::from_secs(1);
        let (checks, session, expires_at) = (
            Arc::clone(&self.0),
            claims.session.clone(),
            claims.expires_at,
        );
        async move {
            let mut changes = checks.revoked.changes();
            while checks.still_good(session.as_ref()).is_ok()
                && expires_at.after(checks.leeway) > checks.clock.now().into()
            {
                let _ = tokio::time::timeout(LONGEST_SLEEP, changes.changed()).await;
            }
        }
    }

    /// The claims of a good access token. One that was verified before, with the same keys, costs a look.
    pub fn access(&self, token: &str) -> Result<Arc<AccessClaims>, TokenError> {
        let checks = &*self.0;
        let keys = checks.keys.load();
        if let Some(known) = checks.remembered.get(token, &keys) {
            checks
                .in_time(known.not_before, known.claims.expires_at)
                .inspect_err(|_| checks.remembered.remove(token))?;
            checks.still_good(known.claims.session.as_ref())?;
            return Ok(known.claims);
        }
        let payload = checks.open(token, &keys, Some(TokenType::Access))?;
        let not_before = payload.nbf;
        let claims = Arc::new(payload.into_access());
        checks.still_good(claims.session.as_ref())?;
        let known = Known {
            claims: Arc::clone(&claims),
            not_before,
            keys: Arc::clone(&keys),
        };
        checks.remembered.insert(token, known);
        Ok(claims)
    }

    /// The same for whoever can wait: a token that names an unknown key waits shortly for the issuer's keys to be fetched, where
    /// somebody fetches them and has not done so a moment ago.
    pub async fn access_or_look(&self, token: &str) -> Result<Arc<AccessClaims>, TokenError> {
        match (self.access(token), self.lookup()) {
            (
                Err(TokenError::Invalid(InvalidToken::UnknownKey) | TokenError::KeysUnavailable),
                Some(lookup),
            ) => {
                lookup
                    .ask(LookupReason::UnknownKey, KeyLookup::REQUEST_WAITS)
                    .await;
                self.access(token)
            }
            (told, _) => told,
        }
    }

    /// The claims of a refresh token that is signed and unexpired. Whether its session goes on, only its issuer knows.
    pub fn refresh(&self, token: &str) -> Result<RefreshClaims, TokenError> {
        let keys = self.0.keys.load();
        let payload = self.0.open(token, &keys, Some(TokenType::Refresh))?;
        Ok(payload.into_refresh()?)
    }

    /// The claims of a token of either kind.
    pub fn either(&self, token: &str) -> Result<Presented, TokenError> {
        let keys = self.0.keys.load();
        let payload = self.0.open(token, &keys, None)?;
        match payload.kind {
            TokenType::Refresh => Ok(Presented::Refresh(payload.into_refresh()?)),
            TokenType::Access => {
                let claims = payload.into_access();
                self.0.still_good(claims.session.as_ref())?;
                Ok(Presented::Access(claims))
            }
        }
    }
}

impl Checks {
    /// Every check there is of what the token says itself. The kind comes before the audience, because a refresh token's is
    /// another one, and before the expiry, because a client that mixed up its tokens is not helped by a new one.
    fn open(
        &self,
        token: &str,
        keys: &VerifyingKeys,
        expected: Option<TokenType>,
    ) -> Result<Payload, TokenError> {
        let payload = keys.open(token).map_err(|cause| match cause {
            InvalidToken::UnknownKey if self.keys.is_behind() => TokenError::KeysUnavailable,
            cause => cause.into(),
        })?;
        if let Some(expected) = expected.filter(|expected| *expected != payload.kind) {
            return Err(TokenError::WrongType { expected });
        }
        if !payload.has_subject() {
            return Err(InvalidToken::Claims.into());
        }
        let issuer = self.parties.issuer();
        if issuer.is_some() && issuer != payload.iss.as_deref() {
            return Err(InvalidToken::Issuer.into());
        }
        let is_for = |audience: &str| payload.aud.as_ref().is_some_and(|aud| aud.holds(audience));
        let own = issuer.filter(|_| self.takes_own);
        if let Some(audience) = self.parties.audience_of(payload.kind)
            && !is_for(audience)
            && !own.is_some_and(is_for)
        {
            return Err(InvalidToken::Audience.into());
        }
        self.in_time(payload.nbf, payload.exp)?;
        Ok(payload)
    }

    fn in_time(
        &self,
        not_before: Option<NumericDate>,
        expires_at: NumericDate,
    ) -> Result<(), TokenError> {
        let now = NumericDate::from(self.clock.now());
        if not_before.is_some_and(|not_before| not_before > now.after(self.leeway)) {
            return Err(InvalidToken::NotYet.into());
        }
        if expires_at.after(self.leeway) <= now {
            return Err(TokenError::Expired);
        }
        Ok(())
    }

    /// What the token itself cannot know.
    fn still_good(&self, session: Option<&SessionId>) -> Result<(), TokenError> {
        if session.is_some_and(|session| self.revoked.contains(session)) {
            return Err(TokenError::Revoked);
        }
        if self.revoked.is_suspended() {
            return Err(TokenError::Suspended);
        }
        Ok(())
    }
}

impl VerifyingKeys {
    /// The one door from a text to claims.
    fn open(&self, token: &str) -> Result<Payload, InvalidToken> {
        let payload = self.signed(token)?;
        serde_json::from_slice(&payload).map_err(|_| InvalidToken::Claims)
    }

    /// What was signed, and with one of the keys.
    ///
    /// jsonwebtoken's own `decode` does the same and then reads header and claims a second time, to check them by the
    /// system's clock; its parts taken singly cost seven tenths of it (`cargo bench -p shared-claims`).
    fn signed(&self, token: &str) -> Result<Vec<u8>, InvalidToken> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(InvalidToken::TooLong);
        }
        let header = ProtectedHeader::read(token)?;
        if header.crit.is_some() {
            return Err(InvalidToken::Critical);
        }
        let (message, signature) = token.rsplit_once('.').ok_or(InvalidToken::Header)?;
        let (_, payload) = message.split_once('.').ok_or(InvalidToken::Header)?;
        let mut refusal = InvalidToken::UnknownKey;
        for key in self.candidates(header.kid.as_deref())? {
            match key.check(header.alg, message.as_bytes(), signature) {
                Ok(()) => {
                    let payload = URL_SAFE_NO_PAD.decode(payload);
                    return payload.map_err(|_| InvalidToken::Claims);
                }
                // Of several keys the one that could have signed it has the say.
                Err(cause) if refusal != InvalidToken::Signature => refusal = cause,
                Err(_) => {}
            }
        }
        Err(refusal)
    }
}

/// What of a token's header (RFC 7515 section 4) means anything to us. All else is passed over, whatever it is: a key or the
/// address of one (`jwk`, `jku`, `x5c`, `x5u`) is not even read.
#[derive(Deserialize)]
struct ProtectedHeader {
    alg: Algorithm,
    #[serde(default, deserialize_with = "present")]
    kid: Option<String>,
    /// There, whatever its value.
    #[serde(default, deserialize_with = "present")]
    crit: Option<IgnoredAny>,
}

impl ProtectedHeader {
    fn read(token: &str) -> Result<Self, InvalidToken> {
        let mut parts = token.split('.');
        let (Some(header), Some(_), Some(_), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(InvalidToken::Header);
        };
        let header = URL_SAFE_NO_PAD
            .decode(header)
            .map_err(|_| InvalidToken::Header)?;
        // serde would take a list for the fields in their order.
        if header.first() != Some(&b'{') {
            return Err(InvalidToken::Header);
        }
        serde_json::from_slice(&header).map_err(|_| InvalidToken::Header)
    }
}

impl VerifyingKey {
    /// The key says which algorithm is right; the token's `alg` only has to agree.
    fn check(&self, alg: Algorithm, message: &[u8], signature: &str) -> Result<(), InvalidToken> {
        if alg != self.algorithm {
            return Err(InvalidToken::Algorithm);
        }
        match crypto::verify(signature, message, &self.key, self.algorithm) {
            Ok(true) => Ok(()),
            Ok(false) | Err(_) => Err(InvalidToken::Signature),
        }
    }
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod vectors;
