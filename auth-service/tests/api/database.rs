//! `auth-service database backup` beside a service that runs, and `database restore` in the place of one that is stopped.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use serde_json::json;
use sqlx::migrate::Migrator;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection};
use tempfile::{TempDir, tempdir};
use test_support::program::{Program, Running, free_address};
use test_support::{Client, Reply, SECRET};

use crate::stack::{PASSWORD, User};

const BINARY: &str = env!("CARGO_BIN_EXE_auth-service");

/// The real program on a folder of its own.
struct Service {
    folder: TempDir,
    client: Client,
    program: Program,
    running: Option<Running>,
}

impl Service {
    async fn start() -> Self {
        let mut service = Self::stopped();
        service.start_again().await;
        service
    }

    fn stopped() -> Self {
        let folder = tempdir().unwrap();
        let address = free_address();
        let program = Program::new(BINARY, folder.path())
            .setting("JWT_SECRET_KEY", SECRET)
            .setting("AUTH_DATABASE_URL", "sqlite://data/auth.db")
            .setting("AUTH_REGISTRATION", "open")
            .setting("AUTH_LISTEN", &address);
        Self {
            client: Client::new(format!("http://{address}")),
            folder,
            program,
            running: None,
        }
    }

    async fn start_again(&mut self) {
        let mut running = self.program.start();
        running.is_ready(&self.client).await;
        self.running = Some(running);
    }

    fn stop(&mut self) {
        let status = self.running.take().unwrap().stop("TERM");
        assert!(status.success());
    }

    fn command(&self, command: &[&str]) -> Program {
        self.program.clone().with(command)
    }

    fn backup(&self, name: &str) -> PathBuf {
        self.command(&["database", "backup", name]).run().succeeds();
        self.path(name)
    }

    fn restore(&self, name: &str) -> String {
        let restored = self.command(&["database", "restore", name]).run();
        restored.succeeds().stdout
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// What is in the folder of the database.
    fn data(&self) -> Vec<String> {
        let files = fs::read_dir(self.path("data")).unwrap();
        let mut names: Vec<_> = files
            .map(|file| file.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    async fn register(&self, username: &str) -> Reply {
        let user = json!({"username": username, "password": PASSWORD});
        self.client.post("/register", &user).await
    }

    async fn log_in(&self, username: &str) -> Reply {
        let user = json!({"username": username, "password": PASSWORD});
        self.client.post("/login", &user).await
    }

    async fn sign_up(&self, username: &str) -> User {
        self.register(username).await.has_status(201);
        User::from(&self.log_in(username).await.has_status(200))
    }
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

async fn execute(database: &Path, statement: &'static str) {
    let mut connection = SqliteConnectOptions::new()
        .filename(database)
        .connect()
        .await
        .unwrap();
    sqlx::query(statement)
        .execute(&mut connection)
        .await
        .unwrap();
    connection.close().await.unwrap();
}

/// The number of the page that a table begins with.
async fn root_page(database: &Path, table: &str) -> usize {
    let mut connection = SqliteConnectOptions::new()
        .filename(database)
        .connect()
        .await
        .unwrap();
    let page: u32 = sqlx::query_scalar("select rootpage from sqlite_master where name = $1")
        .bind(table)
        .fetch_one(&mut connection)
        .await
        .unwrap();
    connection.close().await.unwrap();
    usize::try_from(page).unwrap()
}

/// Registers users one after the other until it is told to stop, and counts those that were answered.
async fn register_many(
    client: Client,
    name: String,
    answered: Arc<AtomicU32>,
    stop: Arc<AtomicBool>,
) {
    while !stop.load(Ordering::SeqCst) {
        let number = answered.load(Ordering::SeqCst);
        let user = json!({"username": format!("{name}-{number}"), "password": PASSWORD});
        client.post("/register", &user).await.has_status(201);
        answered.fetch_add(1, Ordering::SeqCst);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_of_a_busy_database_has_all_that_was_answered_before_and_nobody_waits_for_it() {
    let mut service = Service::start().await;
    let stop = Arc::new(AtomicBool::new(false));
    let names = ["cosmo", "laika", "belka"];
    let counts = names.map(|_| Arc::new(AtomicU32::new(0)));
    let lives: Vec<_> = names
        .iter()
        .zip(&counts)
        .map(|(name, count)| {
            let (client, count, stop) = (service.client.clone(), count.clone(), stop.clone());
            tokio::spawn(register_many(client, (*name).to_owned(), count, stop))
        })
        .collect();
    let answered = || counts.each_ref().map(|count| count.load(Ordering::SeqCst));
    let mut backups = Vec::new();
    for number in 1..=3u32 {
        while answered().iter().any(|&count| count < 2 * number) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let before = answered();
        backups.push((service.backup(&format!("backup-{number}")), before));
    }
    stop.store(true, Ordering::SeqCst);
    for life in lives {
        life.await.unwrap();
    }
    service.stop();
    for (backup, before) in backups {
        assert_eq!(mode(&backup), 0o600);
        service.restore(backup.to_str().unwrap());
        service.start_again().await;
        for (name, count) in names.iter().zip(before) {
            for number in 0..count {
                service
                    .log_in(&format!("{name}-{number}"))
                    .await
                    .has_status(200);
            }
        }
        service.stop();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_overwrites_nothing_and_one_that_fails_leaves_nothing() {
    let service = Service::start().await;
    fs::write(service.path("taken"), "precious").unwrap();
    let taken = service.command(&["database", "backup", "taken"]).run();
    taken.refuses(&["there is a taken already"]);
    assert_eq!(
        fs::read_to_string(service.path("taken")).unwrap(),
        "precious"
    );
    let nowhere = service.command(&["database", "backup", "no/such/folder"]);
    nowhere.run().refuses(&["no/such cannot be written"]);
    let files = fs::read_dir(service.folder.path()).unwrap();
    let mut names: Vec<_> = files.map(|file| file.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["data", "stderr.log", "stdout.log", "taken"]);

    let elsewhere = service.command(&["database", "backup", "backup"]);
    let elsewhere = elsewhere.setting("AUTH_DATABASE_URL", "sqlite://data/other.db");
    elsewhere
        .run()
        .refuses(&["AUTH_DATABASE_URL", "there is no data/other.db"]);
    assert!(!service.data().contains(&"other.db".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_goes_through_a_pipe_and_back() {
    let mut service = Service::start().await;
    service.register("cosmo").await.has_status(201);
    let database = format!("sqlite://{}", service.path("data/auth.db").display());
    let command = |arguments: &[&str]| {
        let mut command = Command::new(BINARY);
        command.args(arguments).env("AUTH_DATABASE_URL", &database);
        command
    };
    let backup = command(&["database", "backup", "-"]).output().unwrap();
    assert!(backup.status.success() && backup.stderr.is_empty());
    service.register("laika").await.has_status(201);
    service.stop();
    assert_eq!(service.data(), ["auth.db", "auth.db.lock"]);

    fs::write(service.path("piped"), backup.stdout).unwrap();
    let restored = command(&["database", "restore", "-"])
        .stdin(fs::File::open(service.path("piped")).unwrap())
        .stdout(Stdio::null())
        .status()
        .unwrap();
    assert!(restored.success());
    service.start_again().await;
    service.log_in("cosmo").await.has_status(200);
    service.log_in("laika").await.is(401, "bad_credentials");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_in_use_is_not_replaced() {
    let mut service = Service::start().await;
    let backup = service.backup("backup");
    let cosmo = service.sign_up("cosmo").await;
    let restore = service.command(&["database", "restore", "backup"]);
    restore
        .run()
        .refuses(&["data/auth.db is in use", "stop the service"]);
    service
        .client
        .get_with("/me", &cosmo.access)
        .await
        .has_status(200);
    service.stop();

    // A program that knows nothing of our lock.
    let mut other = SqliteConnectOptions::new()
        .filename(service.path("data/auth.db"))
        .connect()
        .await
        .unwrap();
    sqlx::query("select 1 from users")
        .execute(&mut other)
        .await
        .unwrap();
    restore
        .run()
        .refuses(&["data/auth.db is held by another program"]);
    other.close().await.unwrap();
    service.start_again().await;
    service
        .client
        .get_with("/me", &cosmo.access)
        .await
        .has_status(200);
    assert!(backup.exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restored_database_revives_no_session_and_what_was_there_is_kept() {
    let mut service = Service::start().await;
    let (gone, goes_on) = (
        service.sign_up("cosmo").await,
        User::from(&service.log_in("cosmo").await.has_status(200)),
    );
    service.backup("backup");
    // The backup does not know of these.
    service
        .client
        .post_with("/logout", &gone.access)
        .await
        .has_status(204);
    let later = service.sign_up("laika").await;
    service.stop();
    let said = service.restore("backup");
    assert!(said.contains("2 sessions have ended"), "{said}");
    service.start_again().await;
    for token in [&gone.refresh, &goes_on.refresh] {
        service
            .client
            .post_with("/refresh", token)
            .await
            .is(401, "token_revoked");
    }
    let refused = service.client.post_with("/refresh", &later.refresh).await;
    assert_eq!(refused.status, 401, "{}", refused.text);
    service
        .client
        .get_with("/me", &gone.access)
        .await
        .is(401, "token_revoked");
    service.log_in("cosmo").await.has_status(200);
    let audit = service.command(&["audit", "list"]).run().succeeds().stdout;
    assert!(audit.contains("database_restored"), "{audit}");
    service.stop();

    let kept: Vec<_> = service
        .data()
        .into_iter()
        .filter(|name| name.contains(".replaced-"))
        .collect();
    assert_eq!(kept.len(), 1, "{kept:?}");
    assert!(said.contains(&kept[0]), "{said}");
    service
        .command(&[
            "database",
            "restore",
            &format!("data/{}", kept[0]),
            "--keep-sessions",
        ])
        .run()
        .succeeds();
    service.start_again().await;
    service
        .client
        .post_with("/refresh", &gone.refresh)
        .await
        .is(401, "token_revoked");
    for token in [&goes_on.refresh, &later.refresh] {
        service
            .client
            .post_with("/refresh", token)
            .await
            .has_status(200);
    }
    for name in service.data() {
        assert_eq!(mode(&service.path("data").join(&name)), 0o600, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_went_on_after_the_backup_is_not_revived_where_the_backup_lets_it_expire() {
    let mut service = Service::start().await;
    let gone = service.sign_up("cosmo").await;
    let backup = service.backup("backup");
    // As if it were so old; what the session did later it does not know.
    execute(&backup, "update sessions set expires_at = created_at + 1").await;
    service
        .client
        .post_with("/logout", &gone.access)
        .await
        .has_status(204);
    service.stop();
    let said = service.restore("backup");
    assert!(said.contains("1 sessions have ended"), "{said}");
    service.start_again().await;
    service
        .client
        .get_with("/me", &gone.access)
        .await
        .is(401, "token_revoked");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_backup_of_this_service_and_version_is_refused_and_changes_nothing() {
    let mut service = Service::start().await;
    let cosmo = service.sign_up("cosmo").await;
    let backup = service.backup("backup");
    service.stop();
    let whole = fs::read(&backup).unwrap();
    for (name, bytes) in [
        ("empty", &b""[..]),
        ("text", &b"no database at all, but a text that is long enough to have a header of a hundred bytes, and some more of it"[..]),
        ("truncated", &whole[..whole.len() / 2]),
    ] {
        fs::write(service.path(name), bytes).unwrap();
    }
    let mut damaged = whole.clone();
    let middle = damaged.len() / 2;
    damaged[middle..middle + 4096].fill(0xA5);
    fs::write(service.path("damaged"), damaged).unwrap();
    let table = root_page(&backup, "_sqlx_migrations").await * 4096;
    let mut damaged = whole.clone();
    damaged[table - 4096..table].fill(0xA5);
    fs::write(service.path("damaged table"), damaged).unwrap();
    for (name, statement) in [
        (
            "newer",
            "insert into _sqlx_migrations (version, description, success, checksum, execution_time) values (9999, 'later', 1, x'00', 0)",
        ),
        (
            "other",
            "update _sqlx_migrations set checksum = x'00' where version = 1",
        ),
        ("foreign", "drop table _sqlx_migrations"),
    ] {
        fs::copy(&backup, service.path(name)).unwrap();
        execute(&service.path(name), statement).await;
    }
    fs::create_dir(service.path("folder")).unwrap();
    let before = (
        service.data(),
        fs::read(service.path("data/auth.db")).unwrap(),
    );
    for (name, fault) in [
        ("missing", "cannot be read"),
        ("folder", "is no file"),
        ("empty", "not written by this service"),
        ("text", "no SQLite database"),
        ("truncated", "cannot be restored"),
        ("damaged", "cannot be restored"),
        ("damaged table", "it is damaged"),
        (
            "newer",
            "newer version (its migration 9999 is not known here)",
        ),
        (
            "other",
            "another service or a different build (its migration 1 differs)",
        ),
        ("foreign", "not written by this service"),
    ] {
        let restore = service.command(&["database", "restore", name]).run();
        restore.refuses(&[name, fault]);
        assert_eq!(service.data(), before.0, "{name}");
    }
    assert!(fs::read(service.path("data/auth.db")).unwrap() == before.1);
    service.start_again().await;
    service
        .client
        .get_with("/me", &cosmo.access)
        .await
        .has_status(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_database_is_replaced_and_one_that_is_not_there_is_made() {
    let mut service = Service::start().await;
    service.register("cosmo").await.has_status(201);
    service.backup("backup");
    service.stop();
    for (name, text) in [
        ("auth.db", "damaged beyond all recognition"),
        ("auth.db-wal", "and so is its log"),
    ] {
        fs::write(service.path("data").join(name), text).unwrap();
    }
    let said = service.restore("backup");
    service.start_again().await;
    service.log_in("cosmo").await.has_status(200);
    service.stop();
    let (_, kept) = said.lines().next().unwrap().split_once("kept as ").unwrap();
    let kept = fs::read_to_string(service.path(kept)).unwrap();
    assert_eq!(kept, "damaged beyond all recognition");

    fs::remove_dir_all(service.path("data")).unwrap();
    service.restore("backup");
    assert_eq!(mode(&service.path("data")), 0o700);
    service.start_again().await;
    service.log_in("cosmo").await.has_status(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_and_a_backup_of_an_older_version_are_brought_up_to_this_one() {
    let migrations = Path::new(env!("CARGO_MANIFEST_DIR")).join("../migrations/auth");
    let (older, mut service) = (tempdir().unwrap(), Service::stopped());
    fs::copy(
        migrations.join("0001_users_and_sessions.sql"),
        older.path().join("0001_users_and_sessions.sql"),
    )
    .unwrap();
    let database = service.path("older.db");
    let mut connection = SqliteConnectOptions::new()
        .filename(&database)
        .create_if_missing(true)
        .connect()
        .await
        .unwrap();
    Migrator::new(older.path())
        .await
        .unwrap()
        .run(&mut connection)
        .await
        .unwrap();
    connection.close().await.unwrap();
    fs::create_dir(service.path("data")).unwrap();
    fs::copy(&database, service.path("data/auth.db")).unwrap();
    service.start_again().await;
    service.sign_up("laika").await;
    service.stop();

    service.restore("older.db");
    service.start_again().await;
    service.log_in("laika").await.is(401, "bad_credentials");
    service.sign_up("laika").await;
}
