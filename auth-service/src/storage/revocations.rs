//! The table of revocations, which is the feed's log, and how sessions come into it.

use jiff::Timestamp;
use service_shell::sqlite::StorageError;
use shared_claims::{NumericDate, SessionId, Subject, TokenType};
use sqlx::SqliteConnection;

use super::Store;
use super::audit::note;
use crate::audit::{Author, Happening, Note};
use crate::revocations::Revocation;
use crate::sessions::EndReason;

/// A row is kept for this many seconds beyond its use: a token may have been on its way while its session ended, and with a
/// greater leeway, of an hour at the most, tokens are good again that were not any more.
const KEPT_LONGER: i64 = 3660;
/// The greatest lifetime that can be set, and the greatest leeway, in seconds.
const LONGEST_LIFETIME: i64 = 366 * 86_400 + 3600;
/// A session's last access token is not from later than this many seconds after its last use: the longest grace.
const LONGEST_GRACE: i64 = 3600;
/// Rows that are deleted at once, so that nobody waits for long.
const SWEPT_AT_ONCE: u32 = 5000;

#[derive(sqlx::FromRow)]
struct RevocationRow {
    seq: i64,
    session_id: String,
    reason: String,
    revoked_at: i64,
    forget_after: i64,
}

impl From<RevocationRow> for Revocation {
    fn from(row: RevocationRow) -> Self {
        Self {
            seq: row.seq,
            session: row.session_id.into(),
            reason: row.reason,
            revoked_at: NumericDate(row.revoked_at.div_euclid(1000)),
            forget_after: NumericDate(row.forget_after),
        }
    }
}

impl Store {
    /// The seq of the newest revocation; 0 where there is none.
    pub(crate) async fn newest_revocation(&self) -> Result<i64, StorageError> {
        let newest: Option<i64> = sqlx::query_scalar("select max(seq) from revocations")
            .fetch_one(&self.database.readers)
            .await?;
        Ok(newest.unwrap_or(0))
    }

    /// Revocations beyond this seq that still matter, oldest first.
    pub(crate) async fn revocations_after(
        &self,
        seq: i64,
        now: NumericDate,
        limit: u32,
    ) -> Result<Vec<Revocation>, StorageError> {
        let rows: Vec<RevocationRow> = sqlx::query_as(
            "select seq, session_id, reason, revoked_at, forget_after
               from revocations
              where seq > $1 and forget_after > $2
              order by seq
              limit $3",
        )
        .bind(seq)
        .bind(now.0)
        .bind(limit)
        .fetch_all(&self.database.readers)
        .await?;
        Ok(rows.into_iter().map(Revocation::from).collect())
    }

    /// How many revocations that still matter are beyond this seq.
    pub(crate) async fn count_revocations_after(
        &self,
        seq: i64,
        now: NumericDate,
    ) -> Result<u32, StorageError> {
        let count = sqlx::query_scalar(
            "select count(*) from revocations where seq > $1 and forget_after > $2",
        );
        Ok(count
            .bind(seq)
            .bind(now.0)
            .fetch_one(&self.database.readers)
            .await?)
    }

    /// Notes how long the tokens of this type are good, leeway included, that are issued from now on. When that is shorter than
    /// it was, the older ones are not forgotten: until the last of them has expired, what concerns them stays.
    pub(crate) async fn set_token_lifetime(
        &self,
        kind: TokenType,
        seconds: i64,
        now: NumericDate,
    ) -> Result<(), StorageError> {
        let set = self.database.writer.write(move |connection| {
            Box::pin(async move {
                let before: Option<i64> =
                    sqlx::query_scalar("select seconds from token_lifetimes where type = $1")
                        .bind(type_name(kind))
                        .fetch_optional(&mut *connection)
                        .await?;
                let longer = before.map_or(0, |before| seconds - before);
                if kind == TokenType::Access && longer > 0 {
                    // With a greater leeway the tokens of ended sessions are good for longer too.
                    sqlx::query("update revocations set forget_after = forget_after + $1")
                        .bind(longer)
                        .execute(&mut *connection)
                        .await?;
                }
                sqlx::query(
                    "insert into token_lifetimes (type, seconds, earlier_until)
                     values ($3, $1, 0)
                         on conflict (type) do update
                        set earlier_until = case
                                when token_lifetimes.seconds > $1
                                 and token_lifetimes.seconds + $2 > token_lifetimes.earlier_until
                                then token_lifetimes.seconds + $2
                                else token_lifetimes.earlier_until
                            end,
                            seconds = $1",
                )
                .bind(seconds)
                .bind(now.0)
                .bind(type_name(kind))
                .execute(connection)
                .await?;
                Ok(())
            })
        });
        set.await
    }

    /// When the last token of any type will have expired that was issued until then; none were ever issued.
    pub(crate) async fn last_expiry(
        &self,
        issued_until: NumericDate,
    ) -> Result<Option<NumericDate>, StorageError> {
        let lifetimes: Vec<(i64, i64)> =
            sqlx::query_as("select seconds, earlier_until from token_lifetimes")
                .fetch_all(&self.database.readers)
                .await?;
        let expiries = lifetimes
            .into_iter()
            .map(|(seconds, earlier_until)| (issued_until.0 + seconds).max(earlier_until));
        Ok(expiries.max().map(NumericDate))
    }

    /// Deletes some of the revocations that concern no token any more; how many. The newest stays: the next gets a greater seq,
    /// whatever the clock says.
    pub(crate) async fn delete_forgotten_revocations(
        &self,
        now: NumericDate,
    ) -> Result<u64, StorageError> {
        let delete = self.database.writer.write(move |connection| {
            Box::pin(async move {
                let deleted = sqlx::query(
                    "delete from revocations
                      where seq in (select seq from revocations
                                     where forget_after < $1 and seq < (select max(seq) from revocations)
                                     limit $2)",
                )
                .bind(now.0 - KEPT_LONGER)
                .bind(SWEPT_AT_ONCE)
                .execute(connection)
                .await?;
                Ok(deleted.rows_affected())
            })
        });
        delete.await
    }
}

/// The `type` claim.
fn type_name(kind: TokenType) -> &'static str {
    match kind {
        TokenType::Access => "access",
        TokenType::Refresh => "refresh",
    }
}

/// A session that this transaction has just ended.
#[derive(sqlx::FromRow)]
pub(super) struct EndedRow {
    id: String,
    user_id: String,
    last_used_at: i64,
}

/// Ends one session, of this user if one is named. `false`: there is none that goes on.
pub(super) async fn end_session(
    connection: &mut SqliteConnection,
    id: &SessionId,
    of: Option<&Subject>,
    reason: EndReason,
    by: &Author,
    now: Timestamp,
) -> Result<bool, StorageError> {
    let ended: Option<EndedRow> = sqlx::query_as(
        "update sessions set revoked_at = $2, revoked_reason = $3
          where id = $1 and revoked_at is null and (user_id = $4 or $4 is null)
      returning id, user_id, last_used_at",
    )
    .bind(id.as_str())
    .bind(now.as_millisecond())
    .bind(reason.as_str())
    .bind(of.map(Subject::as_str))
    .fetch_optional(&mut *connection)
    .await?;
    Ok(publish(connection, ended.into_iter().collect(), reason, by, now).await? == 1)
}

/// Ends the sessions of a user, but for one if one is named; how many.
pub(super) async fn end_sessions_of(
    connection: &mut SqliteConnection,
    user: &Subject,
    except: Option<&SessionId>,
    reason: EndReason,
    by: &Author,
    now: Timestamp,
) -> Result<u64, StorageError> {
    let ended: Vec<EndedRow> = sqlx::query_as(
        "update sessions set revoked_at = $2, revoked_reason = $3
          where user_id = $1 and revoked_at is null and (id <> $4 or $4 is null)
      returning id, user_id, last_used_at",
    )
    .bind(user.as_str())
    .bind(now.as_millisecond())
    .bind(reason.as_str())
    .bind(except.map(SessionId::as_str))
    .fetch_all(&mut *connection)
    .await?;
    publish(connection, ended, reason, by, now).await
}

/// Ends the sessions of everybody; how many. Those that have expired too: that of a backup may have gone on since it was written.
pub(super) async fn end_all_sessions(
    connection: &mut SqliteConnection,
    reason: EndReason,
    by: &Author,
    now: Timestamp,
) -> Result<u64, StorageError> {
    let ended: Vec<EndedRow> = sqlx::query_as(
        "update sessions set revoked_at = $1, revoked_reason = $2
          where revoked_at is null
      returning id, user_id, last_used_at",
    )
    .bind(now.as_millisecond())
    .bind(reason.as_str())
    .fetch_all(&mut *connection)
    .await?;
    publish(connection, ended, reason, by, now).await
}

/// Ends the least recently used sessions of a user beyond this many, and never the one that has just begun, whatever the clock
/// said when the others were used.
pub(super) async fn end_sessions_beyond(
    connection: &mut SqliteConnection,
    user: &Subject,
    most: u32,
    begun: &SessionId,
    by: &Author,
    now: Timestamp,
) -> Result<u64, StorageError> {
    let live: i64 = sqlx::query_scalar(
        "select count(*) from sessions where user_id = $1 and revoked_at is null and expires_at > $2",
    )
    .bind(user.as_str())
    .bind(now.as_millisecond())
    .fetch_one(&mut *connection)
    .await?;
    let surplus = live - i64::from(most);
    if surplus <= 0 {
        return Ok(0);
    }
    let reason = EndReason::TooManySessions;
    let ended: Vec<EndedRow> = sqlx::query_as(
        "update sessions set revoked_at = $2, revoked_reason = $3
          where id in (select id from sessions
                        where user_id = $1 and revoked_at is null and expires_at > $2 and id <> $5
                        order by last_used_at, id
                        limit $4)
      returning id, user_id, last_used_at",
    )
    .bind(user.as_str())
    .bind(now.as_millisecond())
    .bind(reason.as_str())
    .bind(surplus)
    .bind(begun.as_str())
    .fetch_all(&mut *connection)
    .await?;
    publish(connection, ended, reason, by, now).await
}

/// Tells the feed and the audit log of sessions that this transaction has ended; how many.
async fn publish(
    connection: &mut SqliteConnection,
    ended: Vec<EndedRow>,
    reason: EndReason,
    by: &Author,
    now: Timestamp,
) -> Result<u64, StorageError> {
    let mut count = 0;
    if ended.is_empty() {
        return Ok(count);
    }
    let newest: Option<i64> = sqlx::query_scalar("select max(seq) from revocations")
        .fetch_one(&mut *connection)
        .await?;
    let mut seq = newest
        .map_or(0, |newest| newest + 1)
        .max(now.as_microsecond());
    let lifetime: Option<(i64, i64)> =
        sqlx::query_as("select seconds, earlier_until from token_lifetimes where type = $1")
            .bind(type_name(TokenType::Access))
            .fetch_optional(&mut *connection)
            .await?;
    // Nothing is known of the lifetime where no service of this version has served yet: then it may be any.
    let (seconds, earlier_until) = lifetime.unwrap_or((LONGEST_LIFETIME, 0));
    for EndedRow {
        id,
        user_id,
        last_used_at,
    } in ended
    {
        // With a clock that was set back, the session's tokens are from later than now.
        let issued_until = if last_used_at > now.as_millisecond() {
            last_used_at.div_euclid(1000) + LONGEST_GRACE
        } else {
            NumericDate::from(now).0
        };
        let forget_after = (issued_until + seconds).max(earlier_until);
        sqlx::query(
            "insert into revocations (seq, session_id, reason, revoked_at, forget_after)
             values ($1, $2, $3, $4, $5)",
        )
        .bind(seq)
        .bind(&id)
        .bind(reason.as_str())
        .bind(now.as_millisecond())
        .bind(forget_after)
        .execute(&mut *connection)
        .await?;
        let (user, session) = (Subject::from(user_id), SessionId::from(id));
        let ended = Note::of_session(Happening::SessionRevoked, &user, &session, by)
            .because(reason.as_str());
        note(connection, &ended, now).await?;
        seq += 1;
        count += 1;
    }
    Ok(count)
}
