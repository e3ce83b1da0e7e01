//! Users and sessions by the thousand, as auth-service would have written them.

use std::path::Path;

use shared_claims::Clock;
use sqlx::Connection as _;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};

/// The name of one of the users that were added, from 0.
pub(crate) fn username(number: u32) -> String {
    format!("user-{number}")
}

/// Adds so many users with the password of the first one that is there, each with a session that goes on.
///
/// # Errors
/// The database cannot be written.
pub(crate) async fn add(database: &Path, users: u32) -> anyhow::Result<()> {
    let options = SqliteConnectOptions::new()
        .filename(database)
        .foreign_keys(true);
    let mut connection = SqliteConnection::connect_with(&options).await?;
    let now = Clock::system().now().as_millisecond();
    // Ids sort by age, as those of auth-service do; a secret is 43 characters of base64url.
    for statement in [
        "with recursive numbers (n) as (select 0 union all select n + 1 from numbers where n + 1 < $1)
         insert into users (id, username, password_hash, created_at)
         select printf('%08x-', n) || lower(hex(randomblob(13))), 'user-' || n, password_hash, $2
           from numbers, (select password_hash from users limit 1)",
        "insert into sessions (id, user_id, generation, secret, created_at, last_used_at, expires_at, user_agent, ip)
         select substr(id, 1, 9) || lower(hex(randomblob(13))), id, 0, hex(randomblob(21)) || 'A', $2, $2, $2 + 3600000,
                'curl/8.5.0', '127.0.0.1'
           from users where username like 'user-%' limit $1",
    ] {
        sqlx::query(statement)
            .bind(users)
            .bind(now)
            .execute(&mut connection)
            .await?;
    }
    connection.close().await?;
    Ok(())
}
