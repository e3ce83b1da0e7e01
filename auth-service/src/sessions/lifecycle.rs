//! The life of a session as pure rules: what begins it, what a refresh token presented to it means, what ends it.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use aws_lc_rs::{hmac, rand};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use shared_claims::{RefreshClaims, SessionId, Subject, TokenId};
use zeroize::Zeroizing;

use super::Origin;

/// When and how refresh tokens rotate, and how long they are good.
#[derive(Clone, Debug)]
pub struct RefreshRules {
    /// Off: a refresh token stays good until it expires.
    pub rotation: bool,
    /// How long after a rotation the token that it replaced, or the new one, is answered with the new one as it stands.
    pub grace: Duration,
    /// The lifetime of a refresh token, in whole seconds.
    pub token_expires: Duration,
    /// No refresh token expires later than this long after the login, in whole seconds.
    pub session_max_age: Duration,
    /// How far the clocks of issuer and verifiers may differ: an expired token is good for this much longer.
    pub leeway: Duration,
}

/// How a session's refresh tokens go to and fro, from its login to its end. The other way they are not taken: what scripts never
/// get to see is of no use to one that has got hold of it, and no page can be given somebody else's token as a cookie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Delivery {
    /// In bodies and headers.
    Header,
    /// In a cookie.
    Cookie,
}

impl Delivery {
    /// The delivery of this name, in a request or a row.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let all = [Self::Header, Self::Cookie];
        all.into_iter().find(|delivery| delivery.as_str() == text)
    }

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Header => "header",
            Self::Cookie => "cookie",
        }
    }
}

/// A session as it stands in its row.
#[derive(Clone, Debug)]
pub(crate) struct Session {
    pub(crate) id: SessionId,
    pub(crate) user: Subject,
    pub(crate) generation: u64,
    pub(crate) secret: SessionSecret,
    pub(crate) delivery: Delivery,
    pub(crate) created_at: Timestamp,
    /// When the current generation was issued by a refresh; none before the first.
    pub(crate) rotated_at: Option<Timestamp>,
    pub(crate) last_used_at: Timestamp,
    /// When the current refresh token expires, a whole second.
    pub(crate) expires_at: Timestamp,
    pub(crate) ended: Option<Ended>,
    pub(crate) user_agent: Option<String>,
    pub(crate) ip: Option<IpAddr>,
}

/// The end of a session: a state of its own, which no grace can undo.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ended {
    pub(crate) at: Timestamp,
    pub(crate) reason: String,
}

/// Why a session is ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EndReason {
    Logout,
    /// By its owner, from the list of their sessions.
    EndedByUser,
    /// By another login in the same browser, whoever logged in.
    LoggedInAgain,
    RefreshTokenReused,
    /// A refresh token was ahead of its session.
    RolledBack,
    Administrator,
    PasswordChanged,
    UserDisabled,
    UserRemoved,
    /// The user has newer ones.
    TooManySessions,
    /// The database was set back to a backup, which does not know what has ended since.
    DatabaseRestored,
}

impl EndReason {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Logout => "logout",
            Self::EndedByUser => "ended_by_user",
            Self::LoggedInAgain => "logged_in_again",
            Self::RefreshTokenReused => "refresh_token_reused",
            Self::RolledBack => "rolled_back",
            Self::Administrator => "administrator",
            Self::PasswordChanged => "password_changed",
            Self::UserDisabled => "user_disabled",
            Self::UserRemoved => "user_removed",
            Self::TooManySessions => "too_many_sessions",
            Self::DatabaseRestored => "database_restored",
        }
    }
}

/// What a presented refresh token means for its session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is the newest: move on to the next generation.
    Rotate,
    /// It is the newest, only just issued, or the one before it, within the grace: answer with the newest as it stands.
    Repeat,
    /// Rotation is off: it stays as it is. `touch`: the time of last use in the row is old enough to be worth a write.
    Keep { touch: bool },
    /// It was replaced before: end the session.
    Replay,
    /// It is newer than its session, which only a table set back to a backup can bring about: end the session.
    Ahead,
    /// Its id is not the one that the session derives: somebody made it with the common secret.
    Forged,
    /// It came another way than the session's tokens go.
    Misdelivered,
    /// The session has ended.
    Ended,
    /// The session's time is up.
    Expired,
}

impl Verdict {
    /// Every [`outcome`](Self::outcome).
    pub(crate) const OUTCOMES: [&str; 5] = ["rotated", "repeated", "kept", "replayed", "refused"];

    /// What is counted.
    pub(crate) fn outcome(self) -> &'static str {
        match self {
            Self::Rotate => "rotated",
            Self::Repeat => "repeated",
            Self::Keep { .. } => "kept",
            Self::Replay => "replayed",
            Self::Ahead | Self::Forged | Self::Misdelivered | Self::Ended | Self::Expired => {
                "refused"
            }
        }
    }

    /// Whether the verdict changes the session's row, or is noted in the audit log.
    pub(crate) fn writes(self) -> bool {
        matches!(
            self,
            Self::Rotate | Self::Replay | Self::Ahead | Self::Forged | Self::Keep { touch: true }
        )
    }
}

/// How old the time of last use may grow while rotation is off, when a refresh has nothing else to write.
const LAST_USED_RESOLUTION: Duration = Duration::from_mins(1);

impl RefreshRules {
    /// What a refresh token means for the session that it names. The grace is anchored at the rotation and never slides.
    pub(crate) fn judge(
        &self,
        session: &Session,
        presented: &RefreshClaims,
        by: Delivery,
        now: Timestamp,
    ) -> Verdict {
        if !session.secret.derives(presented) {
            return Verdict::Forged;
        }
        if session.delivery != by {
            return Verdict::Misdelivered;
        }
        if session.ended.is_some() {
            return Verdict::Ended;
        }
        if session.expires_at + self.leeway <= now {
            return Verdict::Expired;
        }
        // Asked of a duration of zero, a clock that was set back would still find itself within it.
        let within_grace = !self.grace.is_zero()
            && session
                .rotated_at
                .is_some_and(|rotated_at| now < rotated_at + self.grace);
        let newest = session.generation;
        match presented.generation {
            presented if presented > newest => Verdict::Ahead,
            presented if presented == newest || (presented + 1 == newest && within_grace) => {
                match (self.rotation, within_grace) {
                    (false, _) => Verdict::Keep {
                        touch: session.last_used_at + LAST_USED_RESOLUTION <= now,
                    },
                    (true, true) => Verdict::Repeat,
                    (true, false) => Verdict::Rotate,
                }
            }
            _ => Verdict::Replay,
        }
    }

    fn expiry(&self, created_at: Timestamp, now: Timestamp) -> Timestamp {
        let whole_second = |timestamp: Timestamp| {
            timestamp
                - Duration::from_nanos(u64::from(timestamp.subsec_nanosecond().unsigned_abs()))
        };
        (whole_second(now) + self.token_expires)
            .min(whole_second(created_at) + self.session_max_age)
    }
}

impl Session {
    pub(crate) fn begin(
        user: Subject,
        origin: Origin,
        delivery: Delivery,
        rules: &RefreshRules,
        now: Timestamp,
    ) -> Self {
        Self {
            id: SessionId::generate(),
            user,
            generation: 0,
            secret: SessionSecret::generate(),
            delivery,
            created_at: now,
            rotated_at: None,
            last_used_at: now,
            expires_at: rules.expiry(now, now),
            ended: None,
            user_agent: origin.user_agent,
            ip: origin.ip,
        }
    }

    /// The session one generation on.
    pub(crate) fn rotate(&mut self, rules: &RefreshRules, now: Timestamp) {
        self.generation += 1;
        self.rotated_at = Some(now);
        self.last_used_at = now;
        self.expires_at = rules.expiry(self.created_at, now);
    }
}

/// The key that the ids of one session's refresh tokens are derived with. It never leaves auth-service.
#[derive(Clone)]
pub(crate) struct SessionSecret(Zeroizing<[u8; 32]>);

impl SessionSecret {
    fn generate() -> Self {
        let mut bytes = Zeroizing::new([0; 32]);
        rand::fill(&mut *bytes).expect("the operating system has random bytes");
        Self(bytes)
    }

    /// The secret from its row.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let bytes = Zeroizing::new(URL_SAFE_NO_PAD.decode(text).ok()?);
        Some(Self(Zeroizing::new(bytes.as_slice().try_into().ok()?)))
    }

    /// The secret for its row.
    pub(crate) fn to_text(&self) -> Zeroizing<String> {
        Zeroizing::new(URL_SAFE_NO_PAD.encode(*self.0))
    }

    fn key(&self) -> hmac::Key {
        hmac::Key::new(hmac::HMAC_SHA256, &*self.0)
    }

    /// The `jti` of the refresh token of this generation.
    pub(crate) fn token_id(&self, generation: u64) -> TokenId {
        URL_SAFE_NO_PAD
            .encode(hmac::sign(&self.key(), &generation.to_be_bytes()))
            .into()
    }

    /// Whether this session made the token. Compared in constant time.
    pub(crate) fn derives(&self, claims: &RefreshClaims) -> bool {
        let Ok(tag) = URL_SAFE_NO_PAD.decode(claims.id.as_str()) else {
            return false;
        };
        hmac::verify(&self.key(), &claims.generation.to_be_bytes(), &tag).is_ok()
    }
}

impl fmt::Debug for SessionSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionSecret(…)")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn rules(rotation: bool, grace: Duration) -> RefreshRules {
        RefreshRules {
            rotation,
            grace,
            token_expires: 3600 * SECOND,
            session_max_age: 30 * 86_400 * SECOND,
            leeway: Duration::ZERO,
        }
    }

    fn at(milliseconds: i64) -> Timestamp {
        Timestamp::from_millisecond(1_790_000_000_000 + milliseconds).unwrap()
    }

    fn session(generation: u64, rotated_at: Option<i64>) -> Session {
        let mut session = Session::begin(
            "user".into(),
            Origin::default(),
            Delivery::Header,
            &rules(true, 10 * SECOND),
            at(0),
        );
        session.generation = generation;
        session.rotated_at = rotated_at.map(at);
        session
    }

    fn token(session: &Session, generation: u64) -> RefreshClaims {
        RefreshClaims {
            subject: session.user.clone(),
            session: session.id.clone(),
            generation,
            id: session.secret.token_id(generation),
            issued_at: session.created_at.into(),
            expires_at: session.expires_at.into(),
        }
    }

    #[test]
    fn the_first_refresh_after_a_login_always_rotates() {
        let session = session(0, None);
        assert_eq!(
            rules(true, 10 * SECOND).judge(&session, &token(&session, 0), Delivery::Header, at(0)),
            Verdict::Rotate
        );
    }

    #[test]
    fn within_the_grace_the_replaced_token_and_the_new_one_are_answered_with_the_new_one() {
        let (session, rules) = (session(3, Some(1000)), rules(true, 10 * SECOND));
        for presented in [2, 3] {
            assert_eq!(
                rules.judge(
                    &session,
                    &token(&session, presented),
                    Delivery::Header,
                    at(1000)
                ),
                Verdict::Repeat
            );
            assert_eq!(
                rules.judge(
                    &session,
                    &token(&session, presented),
                    Delivery::Header,
                    at(10_999)
                ),
                Verdict::Repeat
            );
        }
        assert_eq!(
            rules.judge(&session, &token(&session, 2), Delivery::Header, at(11_000)),
            Verdict::Replay
        );
        assert_eq!(
            rules.judge(&session, &token(&session, 3), Delivery::Header, at(11_000)),
            Verdict::Rotate
        );
    }

    #[test]
    fn an_older_generation_is_a_replay_even_within_the_grace() {
        let session = session(3, Some(1000));
        assert_eq!(
            rules(true, 10 * SECOND).judge(
                &session,
                &token(&session, 1),
                Delivery::Header,
                at(1000)
            ),
            Verdict::Replay
        );
    }

    #[test]
    fn no_grace_is_strict_even_when_the_clock_is_set_back() {
        let (session, rules) = (session(1, Some(1000)), rules(true, Duration::ZERO));
        for now in [1000, 0] {
            assert_eq!(
                rules.judge(&session, &token(&session, 0), Delivery::Header, at(now)),
                Verdict::Replay
            );
            assert_eq!(
                rules.judge(&session, &token(&session, 1), Delivery::Header, at(now)),
                Verdict::Rotate
            );
        }
    }

    #[test]
    fn with_rotation_off_the_token_stays_good() {
        let (session, rules) = (session(0, None), rules(false, 10 * SECOND));
        assert_eq!(
            rules.judge(&session, &token(&session, 0), Delivery::Header, at(59_999)),
            Verdict::Keep { touch: false }
        );
        assert_eq!(
            rules.judge(&session, &token(&session, 0), Delivery::Header, at(60_000)),
            Verdict::Keep { touch: true }
        );
    }

    #[test]
    fn a_token_made_without_the_sessions_secret_is_forged() {
        let session = session(0, None);
        let mut token = token(&session, 0);
        token.generation = 1;
        assert_eq!(
            rules(true, 10 * SECOND).judge(&session, &token, Delivery::Header, at(0)),
            Verdict::Forged
        );
        token.id = "".into();
        assert_eq!(
            rules(true, 10 * SECOND).judge(&session, &token, Delivery::Header, at(0)),
            Verdict::Forged
        );
    }

    #[test]
    fn a_token_that_came_another_way_is_good_for_nothing_and_changes_nothing() {
        let rules = rules(true, 10 * SECOND);
        for (delivery, by) in [
            (Delivery::Header, Delivery::Cookie),
            (Delivery::Cookie, Delivery::Header),
        ] {
            let mut session = session(3, None);
            session.delivery = delivery;
            for generation in [2, 3, 4] {
                let verdict = rules.judge(&session, &token(&session, generation), by, at(0));
                assert_eq!(verdict, Verdict::Misdelivered);
                assert!(!verdict.writes());
            }
        }
    }

    #[test]
    fn no_refresh_token_outlives_the_sessions_greatest_age() {
        let rules = RefreshRules {
            session_max_age: 5000 * SECOND,
            ..rules(true, 10 * SECOND)
        };
        let mut session = Session::begin(
            "user".into(),
            Origin::default(),
            Delivery::Header,
            &rules,
            at(900),
        );
        assert_eq!(session.expires_at, at(3_600_000));
        session.rotate(&rules, at(3_000_700));
        assert_eq!(session.expires_at, at(5_000_000));
    }

    proptest! {
        #[test]
        fn an_ended_session_stays_ended_whatever_comes(generation in 0..5u64, presented in 0..5u64, now in 0..100_000i64, rotation: bool) {
            let mut session = session(generation, Some(1000));
            session.ended = Some(Ended { at: at(1000), reason: "logout".to_owned() });
            prop_assert_eq!(rules(rotation, 10 * SECOND).judge(&session, &token(&session, presented), Delivery::Header, at(now)), Verdict::Ended);
        }

        /// However the tokens seen so far are presented, and whenever: at most one rotation per grace, and a token that
        /// was answered with is good for the whole of the grace.
        #[test]
        fn a_session_rotates_at_most_once_per_grace(steps in proptest::collection::vec((0..2u64, 0..15_000i64), 1..40)) {
            let rules = rules(true, 10 * SECOND);
            let (mut session, mut now) = (session(0, None), 0);
            for (behind, passed) in steps {
                now += passed;
                let presented = token(&session, session.generation.saturating_sub(behind));
                match rules.judge(&session, &presented, Delivery::Header, at(now)) {
                    Verdict::Rotate => {
                        prop_assert!(session.rotated_at.is_none_or(|rotated_at| rotated_at + rules.grace <= at(now)));
                        session.rotate(&rules, at(now));
                    }
                    Verdict::Repeat => prop_assert!(session.rotated_at.is_some_and(|rotated_at| at(now) < rotated_at + rules.grace)),
                    Verdict::Replay => {
                        prop_assert!(presented.generation < session.generation);
                        break;
                    }
                    Verdict::Expired => break,
                    verdict => prop_assert!(false, "{verdict:?}"),
                }
            }
        }
    }
}
