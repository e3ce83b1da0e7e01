//! The one writer: what shares a commit shares nothing else.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use service_shell::sqlite::{Database, DatabaseUrl, StorageError};
use sqlx::ConnectOptions;
use sqlx::migrate::Migrator;
use sqlx::sqlite::SqliteConnectOptions;
use tempfile::TempDir;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

async fn open(folder: &TempDir) -> Database {
    let url = DatabaseUrl::file(folder.path().join("numbers.db"));
    let database = Database::open("NUMBERS", &url, &Migrator::with_migrations(Vec::new()))
        .await
        .expect("a new file");
    let create = database.writer.write(|connection| {
        Box::pin(async move {
            sqlx::query("create table if not exists numbers (number bigint primary key)")
                .execute(connection)
                .await?;
            Ok(())
        })
    });
    create.await.expect("a table");
    database
}

/// Adds a number, and then fails or panics if it is to.
async fn add(database: &Database, number: i64, then: Then) -> Result<(), StorageError> {
    let add = database.writer.write(move |connection| {
        Box::pin(async move {
            sqlx::query("insert into numbers values ($1)")
                .bind(number)
                .execute(&mut *connection)
                .await?;
            match then {
                Then::Succeed => Ok(()),
                Then::Fail => {
                    sqlx::query("insert into nothing values (1)")
                        .execute(connection)
                        .await?;
                    Ok(())
                }
                Then::Panic => panic!("on purpose"),
            }
        })
    });
    add.await
}

#[derive(Clone, Copy)]
enum Then {
    Succeed,
    Fail,
    Panic,
}

async fn numbers(database: &Database) -> Vec<i64> {
    sqlx::query_scalar("select number from numbers order by number")
        .fetch_all(&database.readers)
        .await
        .expect("numbers")
}

#[tokio::test]
async fn a_change_that_fails_or_panics_takes_nothing_of_the_others_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let database = open(&folder).await;
    let changes = (0..60).map(|number| {
        let then = match number % 3 {
            0 => Then::Succeed,
            1 => Then::Fail,
            _ => Then::Panic,
        };
        add(&database, number, then)
    });
    for (number, outcome) in join_all(changes).await.into_iter().enumerate() {
        assert_eq!(outcome.is_ok(), number % 3 == 0, "{number}: {outcome:?}");
    }
    assert_eq!(
        numbers(&database).await,
        (0..60).step_by(3).collect::<Vec<_>>()
    );
    add(&database, 100, Then::Succeed).await.unwrap();
}

#[tokio::test]
async fn of_the_same_change_made_twice_in_one_batch_one_fails() {
    let folder = tempfile::tempdir().unwrap();
    let database = open(&folder).await;
    let outcomes = join_all((0..20).map(|_| add(&database, 7, Then::Succeed))).await;
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1);
    assert_eq!(numbers(&database).await, [7]);
}

#[tokio::test]
async fn a_change_is_made_although_its_caller_went_away() {
    let folder = tempfile::tempdir().unwrap();
    let database = open(&folder).await;
    let (started, go_on) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (signal, wait) = (Arc::clone(&started), Arc::clone(&go_on));
    let caller = tokio::spawn({
        let database = database.clone();
        async move {
            let add = database.writer.write(move |connection| {
                Box::pin(async move {
                    signal.notify_one();
                    wait.notified().await;
                    sqlx::query("insert into numbers values (1)")
                        .execute(connection)
                        .await?;
                    Ok(())
                })
            });
            add.await
        }
    });
    started.notified().await;
    caller.abort();
    go_on.notify_one();
    add(&database, 2, Then::Succeed).await.unwrap();
    assert_eq!(numbers(&database).await, [1, 2]);
}

#[tokio::test]
async fn what_was_answered_is_in_the_file_after_a_close_and_a_closed_store_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let database = open(&folder).await;
    add(&database, 1, Then::Succeed).await.unwrap();
    database.close().await;
    assert!(matches!(
        add(&database, 2, Then::Succeed).await,
        Err(StorageError::NotKept(_))
    ));
    assert_eq!(numbers(&open(&folder).await).await, [1]);
}

#[tokio::test]
async fn what_is_written_gets_into_the_file_beside_the_writer() {
    let folder = tempfile::tempdir().unwrap();
    let database = open(&folder).await;
    // Who takes the file for one that nobody changes does not see the log beside it.
    let in_file = async || {
        let options = SqliteConnectOptions::new()
            .filename(folder.path().join("numbers.db"))
            .immutable(true);
        let mut connection = options.connect().await.ok()?;
        let count = sqlx::query_scalar("select count(*) from numbers");
        let count: i64 = count.fetch_one(&mut connection).await.ok()?;
        Some(count)
    };
    join_all((0..300).map(|number| add(&database, number, Then::Succeed))).await;
    let started = Instant::now();
    while in_file().await.is_none_or(|count| count < 256) {
        assert!(started.elapsed() < Duration::from_secs(30));
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    database.close().await;
    assert!(!folder.path().join("numbers.db-wal").exists());
    assert_eq!(in_file().await, Some(300));
}

#[tokio::test]
async fn a_store_that_another_process_holds_is_busy_and_recovers() {
    let folder = tempfile::tempdir().unwrap();
    let database = open(&folder).await;
    let other =
        sqlx::sqlite::SqliteConnectOptions::new().filename(folder.path().join("numbers.db"));
    let other = sqlx::SqlitePool::connect_with(other).await.unwrap();
    let held = other.begin_with("begin immediate").await.unwrap();
    let refused = add(&database, 1, Then::Succeed).await;
    assert!(matches!(refused, Err(StorageError::Busy(_))), "{refused:?}");
    held.rollback().await.unwrap();
    add(&database, 2, Then::Succeed).await.unwrap();
    assert_eq!(numbers(&database).await, [2]);
}

#[tokio::test]
async fn a_full_disk_fails_what_does_not_fit_and_nothing_after_it() {
    let folder = tempfile::tempdir().unwrap();
    let database = open(&folder).await;
    let limit = database.writer.write(|connection| {
        Box::pin(async move {
            sqlx::query("create table texts (text text)")
                .execute(&mut *connection)
                .await?;
            sqlx::query("pragma max_page_count = 20")
                .execute(connection)
                .await?;
            Ok(())
        })
    });
    limit.await.unwrap();
    for round in 0..3 {
        let too_much = database.writer.write(|connection| {
            Box::pin(async move {
                sqlx::query("insert into texts values (hex(zeroblob(200000)))")
                    .execute(connection)
                    .await?;
                Ok(())
            })
        });
        assert!(too_much.await.is_err());
        add(&database, round, Then::Succeed).await.unwrap();
        database.ping().await.unwrap();
    }
    assert_eq!(numbers(&database).await, [0, 1, 2]);
}

#[tokio::test]
async fn a_store_whose_connections_are_all_taken_is_busy() {
    let folder = tempfile::tempdir().unwrap();
    let database = open(&folder).await;
    let mut taken = Vec::new();
    while let Some(connection) = database.readers.try_acquire() {
        taken.push(connection);
    }
    while taken.len() < 4 {
        taken.push(database.readers.acquire().await.unwrap());
    }
    assert!(matches!(database.ping().await, Err(StorageError::Busy(_))));
    drop(taken);
    database.ping().await.unwrap();
}

#[tokio::test]
async fn whether_a_store_is_well_is_tried_on_the_disk_and_not_once_for_each_who_asks() {
    let folder = tempfile::tempdir().unwrap();
    let database = open(&folder).await;
    // It changes with every commit of another connection that changes the file.
    let mut watcher = database.readers.acquire().await.unwrap();
    let mut commits = async || -> i64 {
        let version = sqlx::query_scalar("pragma data_version");
        version.fetch_one(&mut *watcher).await.unwrap()
    };
    let (before, started) = (commits().await, Instant::now());
    for asked in join_all((0..50).map(|_| database.ping())).await {
        asked.unwrap();
    }
    for _ in 0..50 {
        database.ping().await.unwrap();
    }
    let made = commits().await - before;
    let at_most = 1 + i64::try_from(started.elapsed().as_secs() / 5).unwrap();
    assert!((1..=at_most).contains(&made), "{made} of {at_most}");
}

#[tokio::test]
async fn what_was_found_a_moment_ago_is_told_beside_a_change_that_takes_long() {
    let folder = tempfile::tempdir().unwrap();
    let database = open(&folder).await;
    // On a slow machine it may be long ago by then, once.
    for attempt in 0.. {
        database.ping().await.unwrap();
        let long = LongChange::start(&database).await;
        let asked = tokio::time::timeout(Duration::from_secs(1), database.ping()).await;
        long.ends().await;
        match asked {
            Ok(well) => {
                well.unwrap();
                break;
            }
            Err(_) => assert!(attempt < 4, "nobody is answered beside a long change"),
        }
    }
}

#[tokio::test]
async fn whoever_closes_a_store_hears_of_it_when_the_file_is_closed_and_not_before() {
    let folder = tempfile::tempdir().unwrap();
    let database = open(&folder).await;
    add(&database, 1, Then::Succeed).await.unwrap();
    let unclosed = folder.path().join("numbers.db-wal");
    assert!(unclosed.exists());
    database.readers.close().await;
    // Behind a long change all of them are read at once.
    let long = LongChange::start(&database).await;
    let close = async || {
        database.close().await;
        assert!(!unclosed.exists());
    };
    let release = async {
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        long.ends().await;
    };
    tokio::join!(close(), close(), close(), release);
    close().await;
}

/// A change that holds the writer for as long as a test likes.
struct LongChange {
    release: Arc<Notify>,
    change: JoinHandle<Result<(), StorageError>>,
}

impl LongChange {
    /// Returns when the writer is at it.
    async fn start(database: &Database) -> Self {
        let (held, release) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let (arrived, released) = (Arc::clone(&held), Arc::clone(&release));
        let writer = database.writer.clone();
        let change = tokio::spawn(async move {
            let change = writer.write(move |_| {
                Box::pin(async move {
                    arrived.notify_one();
                    released.notified().await;
                    Ok(())
                })
            });
            change.await
        });
        held.notified().await;
        Self { release, change }
    }

    async fn ends(self) {
        self.release.notify_one();
        let outcome = self.change.await.expect("it does not panic");
        outcome.expect("it is kept");
    }
}
