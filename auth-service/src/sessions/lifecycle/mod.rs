//! The life of a session as pure rules: what begins it, what a refresh token presented to it means, what ends it.

#[cfg(test)]
mod tests;

use std::net::IpAddr;
use std::time::Duration;

use jiff::Timestamp;
use shared_claims::{RefreshClaims, SessionId, Subject};

use super::Origin;
use super::secret::SessionSecret;

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
    /// How far the clocks of issuer and verifiers may differ: an expired token is good for this much longer. That of the tokens'
    /// configuration, once there are [`Sessions`](super::Sessions).
    pub(crate) leeway: Duration,
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
        if !session.issued(presented) {
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
        // A clock that was set back far is within no grace: else it would be as long as the clock was wrong. A little it may be,
        // as the time is taken before it is known whose rotation comes first.
        let within_grace = session.rotated_at.is_some_and(|rotated_at| {
            now < rotated_at + self.grace && rotated_at < now + self.grace
        });
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

    /// Whether a refresh token is one that this session made, and says so of the session's own user.
    pub(crate) fn issued(&self, presented: &RefreshClaims) -> bool {
        self.secret.derives(presented) && self.user == presented.subject
    }

    /// The session one generation on.
    pub(crate) fn rotate(&mut self, rules: &RefreshRules, now: Timestamp) {
        self.generation += 1;
        self.rotated_at = Some(now);
        self.last_used_at = now;
        self.expires_at = rules.expiry(self.created_at, now);
    }
}
