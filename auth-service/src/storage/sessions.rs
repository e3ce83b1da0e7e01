//! The table of sessions.

use std::net::IpAddr;

use jiff::Timestamp;
use service_shell::sqlite::StorageError;
use shared_claims::{RefreshClaims, SessionId, Subject};
use sqlx::SqliteConnection;

use super::audit::note;
use super::revocations::{end_session, end_sessions_beyond, end_sessions_of};
use super::users::UserRow;
use super::{Store, inconsistent, time};
use crate::audit::{Author, Happening, Note};
use crate::hashing::PasswordHash;
use crate::sessions::{Delivery, EndReason, Ended, RefreshRules, Session, SessionSecret, Verdict};
use crate::users::User;

#[derive(sqlx::FromRow)]
struct SessionRow {
    id: String,
    user_id: String,
    generation: i64,
    secret: String,
    delivery: String,
    created_at: i64,
    rotated_at: Option<i64>,
    last_used_at: i64,
    expires_at: i64,
    revoked_at: Option<i64>,
    revoked_reason: Option<String>,
    user_agent: Option<String>,
    ip: Option<String>,
}

impl TryFrom<SessionRow> for Session {
    type Error = StorageError;

    fn try_from(row: SessionRow) -> Result<Self, StorageError> {
        let time = |milliseconds, column| time(milliseconds, "sessions", column, &row.id);
        let wrong = |column| inconsistent("sessions", column, &row.id);
        let ended = row.revoked_at.map(|at| {
            Ok::<_, StorageError>(Ended {
                at: time(at, "revoked_at")?,
                reason: row.revoked_reason.unwrap_or_default(),
            })
        });
        Ok(Self {
            user: row.user_id.into(),
            generation: row.generation.try_into().map_err(|_| wrong("generation"))?,
            secret: SessionSecret::parse(&row.secret).ok_or_else(|| wrong("secret"))?,
            delivery: Delivery::parse(&row.delivery).ok_or_else(|| wrong("delivery"))?,
            created_at: time(row.created_at, "created_at")?,
            rotated_at: row
                .rotated_at
                .map(|at| time(at, "rotated_at"))
                .transpose()?,
            last_used_at: time(row.last_used_at, "last_used_at")?,
            expires_at: time(row.expires_at, "expires_at")?,
            ended: ended.transpose()?,
            user_agent: row.user_agent,
            ip: row
                .ip
                .map(|ip| ip.parse().map_err(|_| wrong("ip")))
                .transpose()?,
            id: row.id.into(),
        })
    }
}

impl Store {
    /// Adds a session and notes its user's login. `false`: since the password was checked the user was disabled or the
    /// password replaced, and with it all sessions ended; this one must not come after. An `earlier` session of the same browser
    /// ends, and of more sessions than `most` the least recently used.
    pub(crate) async fn start_session(
        &self,
        session: &Session,
        checked: &PasswordHash,
        earlier: Option<&SessionId>,
        most: u32,
    ) -> Result<bool, StorageError> {
        let (session, checked, earlier) = (session.clone(), checked.clone(), earlier.cloned());
        let start = self.write_and_tell(move |connection| {
            Box::pin(async move {
                let now = session.created_at;
                let by = Author::known(&session.user, session.ip);
                let user = sqlx::query(
                    "update users set last_login_at = $2
                      where id = $1 and password_hash = $3 and disabled_at is null",
                )
                .bind(session.user.as_str())
                .bind(session.created_at.as_millisecond())
                .bind(checked.as_str())
                .execute(&mut *connection)
                .await?;
                if user.rows_affected() == 0 {
                    let by = Author::anybody(session.ip);
                    let failed = Note::of_user(Happening::LoginFailed, Some(&session.user), &by);
                    note(connection, &failed.because("changed_meanwhile"), now).await?;
                    return Ok(false);
                }
                sqlx::query(
                    "insert into sessions (id, user_id, generation, secret, delivery, created_at, last_used_at, expires_at, user_agent, ip)
                     values ($1, $2, 0, $3, $4, $5, $5, $6, $7, $8)",
                )
                .bind(session.id.as_str())
                .bind(session.user.as_str())
                .bind(session.secret.to_text().as_str())
                .bind(session.delivery.as_str())
                .bind(session.created_at.as_millisecond())
                .bind(session.expires_at.as_millisecond())
                .bind(session.user_agent)
                .bind(session.ip.map(|ip| ip.to_string()))
                .execute(&mut *connection)
                .await?;
                let login =
                    Note::of_session(Happening::LoginSucceeded, &session.user, &session.id, &by);
                note(connection, &login, now).await?;
                if let Some(earlier) = earlier {
                    let reason = EndReason::LoggedInAgain;
                    end_session(connection, &earlier, None, reason, &by, now).await?;
                }
                end_sessions_beyond(connection, &session.user, most, &session.id, &by, now).await?;
                Ok(true)
            })
        });
        start.await
    }

    pub(crate) async fn session(&self, id: &SessionId) -> Result<Option<Session>, StorageError> {
        let row: Option<SessionRow> = sqlx::query_as(
            "select id, user_id, generation, secret, delivery, created_at, rotated_at, last_used_at, expires_at, revoked_at,
                    revoked_reason, user_agent, ip
               from sessions
              where id = $1",
        )
        .bind(id.as_str())
        .fetch_optional(&self.database.readers)
        .await?;
        row.map(Session::try_from).transpose()
    }

    /// Judges a refresh token and does nothing about it.
    pub(crate) async fn judge_session(
        &self,
        presented: &RefreshClaims,
        by: Delivery,
        rules: &RefreshRules,
        now: Timestamp,
    ) -> Result<Option<(Verdict, Session, User)>, StorageError> {
        let mut reader = self.database.readers.acquire().await?;
        let found = session_and_user(&mut reader, &presented.session).await?;
        Ok(found.map(|(session, user)| {
            let verdict = judge(rules, &session, &user, presented, by, now);
            (verdict, session, user)
        }))
    }

    /// Judges a refresh token and does what the verdict says, both in one transaction: of any number of refreshes with
    /// one token, one moves the session on and the others find it moved. The session is as it stands afterwards. A
    /// verdict that changes nothing is reached by reading alone.
    pub(crate) async fn refresh_session(
        &self,
        presented: &RefreshClaims,
        by: Delivery,
        rules: &RefreshRules,
        ip: Option<IpAddr>,
        now: Timestamp,
    ) -> Result<Option<(Verdict, Session, User)>, StorageError> {
        let judged = self.judge_session(presented, by, rules, now).await?;
        if judged
            .as_ref()
            .is_none_or(|(verdict, _, _)| !verdict.writes())
        {
            return Ok(judged);
        }
        let (presented, rules) = (presented.clone(), rules.clone());
        let refresh = self.write_and_tell(move |connection| {
            Box::pin(async move {
                let Some((mut session, user)) =
                    session_and_user(connection, &presented.session).await?
                else {
                    return Ok(None);
                };
                let verdict = judge(&rules, &session, &user, &presented, by, now);
                match verdict {
                    Verdict::Rotate => {
                        session.rotate(&rules, now);
                        keep_rotation(connection, &session).await?;
                    }
                    Verdict::Keep { touch: true } => {
                        keep_last_use(connection, &session.id, now).await?;
                    }
                    Verdict::Replay => {
                        refused(connection, Happening::RefreshTokenReused, &session, ip, now)
                            .await?;
                        let (reason, by) = (EndReason::RefreshTokenReused, Author::anybody(ip));
                        end_session(connection, &session.id, None, reason, &by, now).await?;
                    }
                    Verdict::Ahead => {
                        let (reason, by) = (EndReason::RolledBack, Author::anybody(ip));
                        end_session(connection, &session.id, None, reason, &by, now).await?;
                    }
                    Verdict::Forged => {
                        refused(connection, Happening::RefreshTokenForged, &session, ip, now)
                            .await?;
                    }
                    Verdict::Repeat
                    | Verdict::Misdelivered
                    | Verdict::Keep { touch: false }
                    | Verdict::Ended
                    | Verdict::Expired => {}
                }
                Ok(Some((verdict, session, user)))
            })
        });
        refresh.await
    }

    /// Ends a session, of this user if one is named. `false`: there is none that goes on.
    pub(crate) async fn revoke_session(
        &self,
        id: &SessionId,
        of: Option<&Subject>,
        reason: EndReason,
        by: &Author,
        now: Timestamp,
    ) -> Result<bool, StorageError> {
        let (id, of, by) = (id.clone(), of.cloned(), by.clone());
        let revoke = self.write_and_tell(move |connection| {
            Box::pin(
                async move { end_session(connection, &id, of.as_ref(), reason, &by, now).await },
            )
        });
        revoke.await
    }

    /// Ends all sessions of a user; how many.
    pub(crate) async fn revoke_sessions_of(
        &self,
        user: &Subject,
        reason: EndReason,
        by: &Author,
        now: Timestamp,
    ) -> Result<u64, StorageError> {
        let (user, by) = (user.clone(), by.clone());
        let revoke = self.write_and_tell(move |connection| {
            Box::pin(
                async move { end_sessions_of(connection, &user, None, reason, &by, now).await },
            )
        });
        revoke.await
    }

    /// How many sessions go on.
    pub(crate) async fn count_live_sessions(&self, now: Timestamp) -> Result<u32, StorageError> {
        let count = sqlx::query_scalar(
            "select count(*) from sessions where revoked_at is null and expires_at > $1",
        );
        Ok(count
            .bind(now.as_millisecond())
            .fetch_one(&self.database.readers)
            .await?)
    }

    /// Sessions that go on, of everybody or of one user, with the users' names, newest use first.
    pub(crate) async fn live_sessions(
        &self,
        of: Option<&Subject>,
        now: Timestamp,
    ) -> Result<Vec<(Session, String)>, StorageError> {
        #[derive(sqlx::FromRow)]
        struct Row {
            #[sqlx(flatten)]
            session: SessionRow,
            username: String,
        }
        let rows: Vec<Row> = match of {
            Some(user) => {
                sqlx::query_as(
                    "select sessions.id, user_id, generation, secret, delivery, sessions.created_at, rotated_at, last_used_at,
                            expires_at, revoked_at, revoked_reason, user_agent, ip, username
                       from sessions join users on users.id = user_id
                      where revoked_at is null and expires_at > $1 and user_id = $2
                      order by last_used_at desc, sessions.id",
                )
                .bind(now.as_millisecond())
                .bind(user.as_str())
                .fetch_all(&self.database.readers)
                .await?
            }
            None => {
                sqlx::query_as(
                    "select sessions.id, user_id, generation, secret, delivery, sessions.created_at, rotated_at, last_used_at,
                            expires_at, revoked_at, revoked_reason, user_agent, ip, username
                       from sessions join users on users.id = user_id
                      where revoked_at is null and expires_at > $1
                      order by last_used_at desc, sessions.id",
                )
                .bind(now.as_millisecond())
                .fetch_all(&self.database.readers)
                .await?
            }
        };
        rows.into_iter()
            .map(|row| Ok((row.session.try_into()?, row.username)))
            .collect()
    }

    /// Deletes some of the sessions whose last refresh token expired before then; how many.
    pub(crate) async fn delete_sessions_expired_before(
        &self,
        then: Timestamp,
    ) -> Result<u64, StorageError> {
        let delete = self.database.writer.write(move |connection| {
            Box::pin(async move {
                let deleted = sqlx::query(
                    "delete from sessions
                      where id in (select id from sessions where expires_at < $1 limit 5000)",
                )
                .bind(then.as_millisecond())
                .execute(connection)
                .await?;
                Ok(deleted.rows_affected())
            })
        });
        delete.await
    }
}

/// A disabled user's sessions have ended, whether or not their rows say so.
fn judge(
    rules: &RefreshRules,
    session: &Session,
    user: &User,
    presented: &RefreshClaims,
    by: Delivery,
    now: Timestamp,
) -> Verdict {
    match rules.judge(session, presented, by, now) {
        refused @ (Verdict::Forged | Verdict::Misdelivered) => refused,
        _ if user.disabled_at.is_some() => Verdict::Ended,
        verdict => verdict,
    }
}

async fn session_and_user(
    connection: &mut SqliteConnection,
    id: &SessionId,
) -> Result<Option<(Session, User)>, StorageError> {
    #[derive(sqlx::FromRow)]
    struct Row {
        #[sqlx(flatten)]
        session: SessionRow,
        #[sqlx(flatten)]
        user: UserRow,
    }
    let row: Option<Row> = sqlx::query_as(
        "select sessions.id, user_id, generation, secret, delivery, sessions.created_at, rotated_at, last_used_at, expires_at,
                revoked_at, revoked_reason, user_agent, ip,
                username, password_hash, scope, users.created_at as user_created_at, last_login_at, disabled_at
           from sessions join users on users.id = user_id
          where sessions.id = $1",
    )
    .bind(id.as_str())
    .fetch_optional(connection)
    .await?;
    row.map(|row| Ok((row.session.try_into()?, row.user.try_into()?)))
        .transpose()
}

/// The guard is a second lock: the judgement was made in this transaction, on this very generation.
async fn keep_rotation(
    connection: &mut SqliteConnection,
    session: &Session,
) -> Result<(), StorageError> {
    let generation = i64::try_from(session.generation)
        .map_err(|_| inconsistent("sessions", "generation", session.id.as_str()))?;
    let kept = sqlx::query(
        "update sessions set generation = $2, rotated_at = $3, last_used_at = $3, expires_at = $4
          where id = $1 and generation = $2 - 1 and revoked_at is null",
    )
    .bind(session.id.as_str())
    .bind(generation)
    .bind(session.last_used_at.as_millisecond())
    .bind(session.expires_at.as_millisecond())
    .execute(connection)
    .await?;
    if kept.rows_affected() == 1 {
        Ok(())
    } else {
        Err(inconsistent("sessions", "generation", session.id.as_str()))
    }
}

async fn keep_last_use(
    connection: &mut SqliteConnection,
    id: &SessionId,
    now: Timestamp,
) -> Result<(), StorageError> {
    sqlx::query("update sessions set last_used_at = $2 where id = $1")
        .bind(id.as_str())
        .bind(now.as_millisecond())
        .execute(connection)
        .await?;
    Ok(())
}

async fn refused(
    connection: &mut SqliteConnection,
    happening: Happening,
    session: &Session,
    ip: Option<IpAddr>,
    now: Timestamp,
) -> Result<(), StorageError> {
    let by = Author::anybody(ip);
    let refused = Note::of_session(happening, &session.user, &session.id, &by);
    note(connection, &refused, now).await
}
