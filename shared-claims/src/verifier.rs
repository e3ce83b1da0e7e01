//! Token to claims: every check that a verifier makes, in one place.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, crypto, dangerous};
use serde::Deserialize;
use serde::de::IgnoredAny;
use tokio::sync::watch;

use crate::claims::{AccessClaims, NumericDate, Payload, RefreshClaims, TokenType, present};
use crate::clock::Clock;
use crate::error::{InvalidToken, TokenError};
use crate::id::{KeyId, SessionId, Subject};
use crate::key::{VerifyingKey, VerifyingKeys};
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

/// The keys of a verifier, which change while it verifies. Clones share them.
#[derive(Clone, Debug)]
struct KeyRing {
    keys: Arc<ArcSwap<VerifyingKeys>>,
    changed: watch::Sender<()>,
}

impl Verifier {
    /// A verifier with no leeway, the system's clock, and no session revoked.
    #[must_use]
    pub fn new(keys: VerifyingKeys, parties: Parties) -> Self {
        let (clock, revoked) = (Clock::system(), RevokedSessions::new());
        let keys = KeyRing {
            keys: Arc::new(ArcSwap::from_pointee(keys)),
            changed: watch::Sender::new(()),
        };
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
        self.0.keys.keys.load().ids().cloned().collect()
    }

    /// Verifies with these keys from now on.
    pub fn replace_keys(&self, keys: VerifyingKeys) {
        self.0.keys.keys.store(Arc::new(keys));
        self.0.remembered.clear();
        self.0.keys.changed.send_replace(());
    }

    /// What is told of every change of the keys.
    #[must_use]
    pub fn key_changes(&self) -> watch::Receiver<()> {
        self.0.keys.changed.subscribe()
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
        let keys = checks.keys.keys.load();
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

    /// The claims of a refresh token that is signed and unexpired. Whether its session goes on, only its issuer knows.
    pub fn refresh(&self, token: &str) -> Result<RefreshClaims, TokenError> {
        let keys = self.0.keys.keys.load();
        let payload = self.0.open(token, &keys, Some(TokenType::Refresh))?;
        Ok(payload.into_refresh()?)
    }

    /// The claims of a token of either kind.
    pub fn either(&self, token: &str) -> Result<Presented, TokenError> {
        let keys = self.0.keys.keys.load();
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
        let payload = keys.open(token)?;
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
    /// The one door from a text to claims: it opens only to a signature of one of the keys.
    ///
    /// jsonwebtoken's own `decode` does the same and then reads header and claims a second time, to check them by the
    /// system's clock; its parts taken singly cost seven tenths of it (`cargo bench -p shared-claims`).
    fn open(&self, token: &str) -> Result<Payload, InvalidToken> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(InvalidToken::TooLong);
        }
        let header = ProtectedHeader::read(token)?;
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

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use proptest::prelude::*;

    use super::*;
    use crate::key::SharedSecret;
    use crate::signer::{AccessToken, Signer};

    const NOW: i64 = 1_790_000_000;

    fn parties() -> Parties {
        Parties::new("http://127.0.0.1:8001", "tokenpair")
    }

    fn secret() -> SharedSecret {
        SharedSecret::parse("a-secret-for-tests-of-at-least-32-bytes").unwrap()
    }

    fn signer() -> Signer {
        Signer::new(secret().signing_key(), parties())
    }

    fn verifier() -> Verifier {
        let clock = Clock::manual(Timestamp::from_second(NOW).unwrap());
        Verifier::new(VerifyingKeys::new([secret().verifying_key()]), parties()).with_clock(clock)
    }

    prop_compose! {
        fn access()(
            subject in "[a-z0-9-]{1,40}", name in proptest::option::of("\\PC{0,64}"), fresh: bool,
            session in proptest::option::of("[a-z0-9-]{1,40}"), scope in "[a-z:]{1,9}( [a-z:]{1,9}){0,3}",
            lifetime in 1..1_000_000i64,
        ) -> AccessClaims {
            AccessClaims {
                subject: subject.into(), audience: vec!["tokenpair".to_owned()], preferred_username: name, client_id: None, actor: None, fresh, auth_time: Some(NumericDate(NOW)),
                session: session.map(SessionId::from), scope: scope.parse().unwrap(), id: Some("one".into()),
                issued_at: Some(NumericDate(NOW)), expires_at: NumericDate(NOW + lifetime),
            }
        }
    }

    prop_compose! {
        fn refresh()(subject in "[a-z0-9-]{1,40}", session in "[a-z0-9-]{1,40}", generation: u64, lifetime in 1..1_000_000i64)
        -> RefreshClaims {
            RefreshClaims {
                subject: subject.into(), session: session.into(), generation, id: "one".into(), issued_at: NumericDate(NOW),
                expires_at: NumericDate(NOW + lifetime),
            }
        }
    }

    proptest! {
        #[test]
        fn what_is_signed_is_what_is_read(access in access(), refresh in refresh()) {
            let (access_token, refresh_token) = (signer().access(&access), signer().refresh(&refresh));
            prop_assert_eq!(verifier().access(access_token.expose()), Ok(Arc::new(access.clone())));
            prop_assert_eq!(verifier().refresh(refresh_token.expose()), Ok(refresh.clone()));
            prop_assert_eq!(verifier().either(access_token.expose()), Ok(Presented::Access(access)));
            prop_assert_eq!(verifier().either(refresh_token.expose()), Ok(Presented::Refresh(refresh)));
        }

        #[test]
        fn neither_kind_passes_for_the_other(access in access(), refresh in refresh()) {
            let (access, refresh) = (signer().access(&access), signer().refresh(&refresh));
            prop_assert_eq!(verifier().refresh(access.expose()), Err(TokenError::WrongType { expected: TokenType::Refresh }));
            prop_assert_eq!(verifier().access(refresh.expose()), Err(TokenError::WrongType { expected: TokenType::Access }));
        }

        #[test]
        fn a_token_with_any_character_changed_is_refused(access in access(), position: prop::sample::Index, other in "[A-Za-z0-9_.-]") {
            let token = signer().access(&access).expose().to_owned();
            let position = position.index(token.len());
            let changed = format!("{}{other}{}", &token[..position], &token[position + 1..]);
            prop_assume!(changed != token);
            prop_assert!(verifier().access(&changed).is_err(), "{changed}");
        }

        #[test]
        fn no_text_makes_the_verifier_panic(text in "\\PC{0,300}", parts in proptest::collection::vec("[A-Za-z0-9_-]{0,60}", 0..5)) {
            prop_assert!(verifier().either(&text).is_err());
            prop_assert!(verifier().either(&parts.join(".")).is_err());
        }

        #[test]
        fn a_token_of_a_revoked_session_is_refused_and_no_other(access in access(), revoked in "[a-z0-9-]{1,40}") {
            let sessions = RevokedSessions::new();
            sessions.insert(revoked.as_str().into(), NumericDate(i64::MAX));
            if let Some(session) = &access.session {
                let token = signer().access(&access);
                prop_assert_eq!(verifier().with_revoked(sessions.clone()).access(token.expose()), Ok(Arc::new(access.clone())));
                sessions.insert(session.clone(), NumericDate(i64::MAX));
                prop_assert_eq!(verifier().with_revoked(sessions).access(token.expose()), Err(TokenError::Revoked));
            }
        }
    }

    #[test]
    fn while_the_set_is_suspended_no_token_is_taken_and_a_revoked_one_is_still_told_apart() {
        let sessions = RevokedSessions::new();
        let verifier = verifier().with_revoked(sessions.clone());
        let token = |session: &str| {
            signer().access(&AccessClaims {
                session: Some(session.into()),
                expires_at: NumericDate(NOW + 9),
                ..claims()
            })
        };
        sessions.insert("gone".into(), NumericDate(i64::MAX));
        sessions.suspend();
        let refusals = ["here", "gone"].map(|session| verifier.access(token(session).expose()));
        assert_eq!(
            refusals,
            [Err(TokenError::Suspended), Err(TokenError::Revoked)]
        );
        assert!(
            verifier
                .access("x")
                .is_err_and(|error| error.status() == 401)
        );
        sessions.resume();
        assert!(verifier.access(token("here").expose()).is_ok());
    }

    #[tokio::test]
    async fn what_waits_for_the_end_of_a_token_hears_of_each_kind_of_end_and_of_no_other() {
        let clock = Clock::manual(Timestamp::from_second(NOW).unwrap());
        let claims = AccessClaims {
            session: Some("one".into()),
            expires_at: NumericDate(NOW + 9),
            ..claims()
        };
        let waiting = |sessions: &RevokedSessions| {
            let verifier = verifier().with_clock(clock.clone());
            tokio::spawn(verifier.with_revoked(sessions.clone()).ended(&claims))
        };
        let sessions = RevokedSessions::new();
        let ended = waiting(&sessions);
        tokio::task::yield_now().await;
        sessions.insert("two".into(), NumericDate(i64::MAX));
        tokio::task::yield_now().await;
        assert!(!ended.is_finished());
        sessions.insert("one".into(), NumericDate(i64::MAX));
        ended.await.unwrap();

        let sessions = RevokedSessions::new();
        let ended = waiting(&sessions);
        sessions.suspend();
        ended.await.unwrap();

        let ended = waiting(&RevokedSessions::new());
        clock.advance(Duration::from_secs(9));
        ended.await.unwrap();
    }

    fn claims() -> AccessClaims {
        AccessClaims {
            subject: "user".into(),
            audience: Vec::new(),
            preferred_username: None,
            client_id: None,
            actor: None,
            fresh: false,
            auth_time: None,
            session: None,
            scope: crate::Scope::empty(),
            id: None,
            issued_at: None,
            expires_at: NumericDate(NOW),
        }
    }

    #[test]
    fn a_key_is_replaced_by_way_of_one_that_only_verifies_and_no_token_is_refused() {
        let (old, new) = (secret(), SharedSecret::parse(&"n".repeat(32)).unwrap());
        let (signer, verifier) = (signer(), verifier());
        let good = || AccessClaims {
            expires_at: NumericDate(NOW + 9),
            ..claims()
        };
        let mut tokens = vec![signer.access(&good())];
        let takes = |tokens: &[AccessToken]| {
            tokens
                .iter()
                .all(|token| verifier.access(token.expose()).is_ok())
        };
        verifier.clone().replace_keys(VerifyingKeys::new([
            old.verifying_key(),
            new.verifying_key(),
        ]));
        signer.clone().replace_key(new.signing_key());
        assert_eq!(signer.key_id(), *new.signing_key().id());
        tokens.push(signer.access(&good()));
        assert!(takes(&tokens));
        verifier.replace_keys(VerifyingKeys::new([new.verifying_key()]));
        assert!(!takes(&tokens[..1]) && takes(&tokens[1..]));
    }

    #[test]
    fn a_token_that_was_verified_before_is_still_looked_at() {
        let (clock, sessions) = (
            Clock::manual(Timestamp::from_second(NOW).unwrap()),
            RevokedSessions::new(),
        );
        let verifier = verifier()
            .with_clock(clock.clone())
            .with_revoked(sessions.clone());
        let token = |session: &str, lifetime| {
            signer().access(&AccessClaims {
                session: Some(session.into()),
                expires_at: NumericDate(NOW + lifetime),
                ..claims()
            })
        };
        let [short, long, other] = [token("one", 5), token("one", 900), token("two", 900)];
        let said = |token: &AccessToken| verifier.access(token.expose()).map(|_| ());
        for token in [&short, &long, &other, &short, &long, &other] {
            assert_eq!(said(token), Ok(()));
        }
        clock.advance(Duration::from_secs(5));
        assert_eq!(
            [said(&short), said(&long)],
            [Err(TokenError::Expired), Ok(())]
        );
        sessions.insert("one".into(), NumericDate(i64::MAX));
        assert_eq!(
            [said(&long), said(&other)],
            [Err(TokenError::Revoked), Ok(())]
        );
        sessions.suspend();
        assert_eq!(said(&other), Err(TokenError::Suspended));
        sessions.resume();
        assert_eq!(said(&other), Ok(()));
        let changed = format!("{}A", &other.expose()[..other.expose().len() - 1]);
        assert!(changed == other.expose() || verifier.access(&changed).is_err());
        // Another verifier that was made of this one takes nothing on trust.
        let later = Timestamp::from_second(NOW + 1000).unwrap();
        let elsewhere = verifier.clone().with_clock(Clock::manual(later));
        assert_eq!(elsewhere.access(other.expose()), Err(TokenError::Expired));
        verifier.replace_keys(VerifyingKeys::new([]));
        assert!(said(&other).is_err());
    }

    #[test]
    fn a_token_that_is_not_good_yet_is_not_remembered_as_good() {
        let clock = Clock::manual(Timestamp::from_second(NOW).unwrap());
        let payload = serde_json::json!({
            "iss": "http://127.0.0.1:8001", "aud": "tokenpair", "sub": "user", "type": "access", "exp": NOW + 90, "nbf": NOW + 10,
        });
        let key =
            jsonwebtoken::EncodingKey::from_secret(b"a-secret-for-tests-of-at-least-32-bytes");
        let token = jsonwebtoken::encode(&jsonwebtoken::Header::default(), &payload, &key).unwrap();
        let verifier = verifier().with_clock(clock.clone());
        let not_yet = Err(TokenError::Invalid(InvalidToken::NotYet));
        assert_eq!(verifier.access(&token).map(|_| ()), not_yet);
        clock.advance(Duration::from_secs(10));
        assert!(verifier.access(&token).is_ok() && verifier.access(&token).is_ok());
    }

    #[test]
    fn a_flood_of_tokens_neither_grows_the_memory_nor_pushes_out_what_is_in_use() {
        let verifier = verifier();
        let token = |number: u32| {
            signer().access(&AccessClaims {
                id: Some(number.to_string().into()),
                expires_at: NumericDate(NOW + 9),
                ..claims()
            })
        };
        let used: Vec<_> = (0..50).map(token).collect();
        let keys = || verifier.0.keys.keys.load_full();
        let remembered =
            |token: &AccessToken| verifier.0.remembered.get(token.expose(), &keys()).is_some();
        for token in used.iter().chain(&used).chain(&used) {
            verifier.access(token.expose()).unwrap();
        }
        // Valid ones come in, each once; invalid ones do not.
        for number in 1000..21_000 {
            let token = token(number);
            verifier.access(token.expose()).unwrap();
            let broken = format!("{}x", token.expose());
            assert!(verifier.access(&broken).is_err());
            assert!(verifier.0.remembered.weight() <= 8 * 1024 * 1024);
            if number % 500 == 0 {
                for token in &used {
                    verifier.access(token.expose()).unwrap();
                }
            }
        }
        let kept = used.iter().filter(|token| remembered(token)).count();
        assert!(kept >= 45, "{kept} of 50 are still known");
    }

    #[test]
    fn no_debug_output_shows_a_token() {
        let token = signer().access(&claims());
        assert_eq!(format!("{token:?}"), "AccessToken(…)");
    }
}
