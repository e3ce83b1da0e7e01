//! Settings that cannot be used stop the start with one line: setting, fault, remedy.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use reqwest::Method;
use serde_json::json;
use tempfile::{TempDir, tempdir};
use test_support::program::{Ended, Program, free_address};
use test_support::{Client, Reply, SECRET};

fn auth_service(folder: &TempDir) -> Program {
    Program::new(env!("CARGO_BIN_EXE_auth-service"), folder.path())
        .setting("AUTH_LISTEN", "127.0.0.1:0")
}

/// The start with this setting changed for the worse.
fn start_with(settings: &[(&str, &str)]) -> Ended {
    let folder = tempdir().expect("a temporary folder");
    let program = auth_service(&folder).setting("JWT_SECRET_KEY", SECRET);
    let program = settings.iter().fold(program, |program, (name, value)| {
        program.setting(name, *value)
    });
    let ended = program.run();
    assert!(!ended.stderr.contains(SECRET), "{ended:?}");
    ended
}

#[test]
fn a_secret_must_be_there() {
    let folder = tempdir().unwrap();
    auth_service(&folder).run().refuses(&[
        "JWT_SECRET_KEY",
        "not set",
        "auth-service secret generate",
    ]);
    assert!(
        !folder.path().join("data").exists(),
        "nothing is made by a start that cannot be"
    );
}

#[test]
fn the_lessons_secret_is_refused_and_not_repeated() {
    for secret in ["super-secret", &"x".repeat(31)] {
        let ended = start_with(&[("JWT_SECRET_KEY", secret)]);
        let ended = ended.refuses(&[
            "JWT_SECRET_KEY",
            "at least 32",
            "auth-service secret generate",
        ]);
        assert!(!ended.stderr.contains(secret), "{ended:?}");
    }
    start_with(&[(
        "JWT_PREVIOUS_SECRET_KEYS",
        &format!("{SECRET},super-secret"),
    )])
    .refuses(&["JWT_PREVIOUS_SECRET_KEYS", "at least 32"]);
}

#[test]
fn a_secret_file_must_be_readable_and_the_only_source() {
    let folder = tempdir().unwrap();
    let file = folder.path().join("secret").display().to_string();
    let with_file = |program: Program| program.setting("JWT_SECRET_KEY_FILE", &file);
    with_file(auth_service(&folder))
        .run()
        .refuses(&["JWT_SECRET_KEY_FILE", "cannot be read"]);
    fs::write(&file, "super-secret\n").unwrap();
    with_file(auth_service(&folder))
        .run()
        .refuses(&["JWT_SECRET_KEY", "12 bytes"]);
    fs::write(&file, [0xff; 40]).unwrap();
    with_file(auth_service(&folder))
        .run()
        .refuses(&["JWT_SECRET_KEY_FILE", "cannot be read"]);
    fs::write(&file, SECRET).unwrap();
    let both = with_file(auth_service(&folder)).setting("JWT_SECRET_KEY", SECRET);
    both.run()
        .refuses(&["JWT_SECRET_KEY_FILE", "JWT_SECRET_KEY is set as well"]);
}

#[test]
fn durations_must_be_durations_and_neither_nothing_nor_absurd() {
    for setting in [
        "JWT_ACCESS_TOKEN_EXPIRES",
        "JWT_REFRESH_TOKEN_EXPIRES",
        "AUTH_SESSION_MAX_AGE",
    ] {
        for value in [
            "0s",
            "0",
            "fifteen minutes",
            "15",
            "-1m",
            "1000years",
            "999999999999999999999d",
            "1ms",
        ] {
            start_with(&[(setting, value)]).refuses(&[setting, "; "]);
        }
    }
    for setting in ["JWT_LEEWAY", "AUTH_REFRESH_GRACE", "AUTH_HASHING_DEADLINE"] {
        for value in ["soon", "-1s", "10years"] {
            start_with(&[(setting, value)]).refuses(&[setting, "; "]);
        }
    }
}

#[tokio::test]
async fn a_lifetime_that_is_changed_alone_is_taken_and_what_it_brings_about_is_told() {
    for (setting, value, told) in [
        (
            "JWT_ACCESS_TOKEN_EXPIRES",
            "2d 3h 15m",
            "JWT_REFRESH_TOKEN_EXPIRES is shorter than",
        ),
        (
            "JWT_REFRESH_TOKEN_EXPIRES",
            "2s",
            "JWT_REFRESH_TOKEN_EXPIRES is shorter than",
        ),
        (
            "AUTH_SESSION_MAX_AGE",
            "1m",
            "AUTH_SESSION_MAX_AGE is shorter than",
        ),
    ] {
        let folder = tempdir().unwrap();
        let address = free_address();
        let program = auth_service(&folder)
            .setting("JWT_SECRET_KEY", SECRET)
            .setting(setting, value)
            .setting("AUTH_LISTEN", &address);
        let mut running = program.start();
        running
            .is_ready(&Client::new(format!("http://{address}")))
            .await;
        assert!(running.stop("TERM").success());
        assert!(running.log().contains(told), "{}", running.log());
    }
}

#[test]
fn an_allowed_origin_is_one_that_browsers_send_and_no_pattern() {
    for (value, wrong, right) in [
        ("*", "'*'", "name each origin"),
        (
            "https://app.example.com/",
            "'https://app.example.com/'",
            "write it as browsers do: https://app.example.com",
        ),
        (
            "https://app.example.com, example.com",
            "' example.com'",
            "like https://app.example.com",
        ),
        (
            "https://app.example.com,",
            "''",
            "like https://app.example.com",
        ),
    ] {
        start_with(&[("CORS_ALLOWED_ORIGINS", value)]).refuses(&[
            "CORS_ALLOWED_ORIGINS",
            wrong,
            right,
        ]);
    }
}

#[test]
fn a_refresh_cookie_goes_without_tls_to_pages_of_this_machine_alone() {
    let off = ("AUTH_COOKIE_SECURE", "off");
    let elsewhere = "http://localhost:3000,https://app.example.com";
    start_with(&[off, ("CORS_ALLOWED_ORIGINS", elsewhere)]).refuses(&[
        "AUTH_COOKIE_SECURE",
        "pages of https://app.example.com",
        "use on",
    ]);
    start_with(&[("AUTH_COOKIE_SECURE", "maybe")]).refuses(&["AUTH_COOKIE_SECURE", "on or off"]);
}

#[test]
fn a_port_must_be_free() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    start_with(&[("AUTH_LISTEN", &address)]).refuses(&[
        "AUTH_LISTEN",
        &address,
        "already in use",
        "another port",
    ]);
    start_with(&[("AUTH_LISTEN", "192.0.2.1:80")]).refuses(&["AUTH_LISTEN", "192.0.2.1:80"]);
    start_with(&[("AUTH_LISTEN", "localhost")]).refuses(&[
        "AUTH_LISTEN",
        "'localhost'",
        "127.0.0.1:8080",
    ]);
}

#[test]
fn a_database_must_be_a_sqlite_file_that_can_be_written() {
    for value in ["postgres://localhost/auth", "auth.db", "sqlite::memory:"] {
        start_with(&[("AUTH_DATABASE_URL", value)]).refuses(&["AUTH_DATABASE_URL", "sqlite://"]);
    }
    let folder = tempdir().unwrap();
    let url = |name: &str| format!("sqlite://{}", folder.path().join(name).display());
    fs::write(folder.path().join("file"), "").unwrap();
    start_with(&[("AUTH_DATABASE_URL", &url("file/auth.db"))])
        .refuses(&["AUTH_DATABASE_URL", "cannot be "]);
    start_with(&[("AUTH_DATABASE_URL", &url(""))]).refuses(&["AUTH_DATABASE_URL", "cannot be "]);
    fs::write(folder.path().join("text"), "no database, ".repeat(1000)).unwrap();
    start_with(&[("AUTH_DATABASE_URL", &url("text"))]).refuses(&[
        "AUTH_DATABASE_URL",
        "is no SQLite database",
        "another file",
    ]);
    start_with(&[("AUTH_DATABASE_URL", "sqlite:///proc/auth.db")])
        .refuses(&["AUTH_DATABASE_URL", "cannot be "]);
}

#[test]
fn a_database_that_may_only_be_read_stops_the_start() {
    let folder = tempdir().unwrap();
    let file = folder.path().join("auth.db");
    let url = format!("sqlite://{}", file.display());
    let add = auth_service(&folder)
        .with(&["user", "add", "cosmo"])
        .setting("AUTH_DATABASE_URL", &url);
    add.run_with("space-corgi\n").succeeds();
    let allow = |path: &Path, mode| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    };
    allow(&file, 0o444);
    // That the lock belongs to somebody else is not the question here.
    fs::remove_file(folder.path().join("auth.db.lock")).unwrap();
    allow(folder.path(), 0o777);
    // Nothing is read-only to root: the program runs as somebody else then.
    let serve = if fs::metadata(&file).unwrap().uid() == 0 {
        let binary = env!("CARGO_BIN_EXE_auth-service");
        Program::new("/usr/bin/setpriv", folder.path()).with(&[
            "--reuid=65534",
            "--clear-groups",
            binary,
        ])
    } else {
        auth_service(&folder)
    };
    serve
        .setting("JWT_SECRET_KEY", SECRET)
        .setting("AUTH_LISTEN", "127.0.0.1:0")
        .setting("AUTH_DATABASE_URL", &url)
        .run()
        .refuses(&["AUTH_DATABASE_URL", "readonly", "this user can write"]);
}

#[test]
fn a_command_does_not_take_a_mistyped_file_for_an_empty_one() {
    let folder = tempdir().unwrap();
    let url = format!("sqlite://{}", folder.path().join("auht.db").display());
    for command in [
        ["user", "list"],
        ["session", "feed"],
        ["client", "list"],
        ["audit", "list"],
    ] {
        let program = auth_service(&folder).with(&command);
        let ended = program.setting("AUTH_DATABASE_URL", &url).run();
        ended.refuses(&["AUTH_DATABASE_URL", "there is no", "auht.db"]);
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn a_password_in_an_address_is_not_repeated() {
    let ended = start_with(&[("AUTH_DATABASE_URL", "postgres://me:hunter2@db/auth")]);
    let ended = ended.refuses(&["AUTH_DATABASE_URL", "sqlite://"]);
    assert!(!ended.stderr.contains("hunter2"), "{ended:?}");
}

#[tokio::test]
async fn a_service_whose_log_cannot_be_written_serves_all_the_same() {
    let folder = tempdir().unwrap();
    let address = free_address();
    let program = auth_service(&folder)
        .setting("JWT_SECRET_KEY", SECRET)
        .setting("AUTH_LISTEN", &address)
        .logging_to("/dev/full");
    let client = Client::new(format!("http://{address}"));
    let mut running = program.start();
    running.is_ready(&client).await;
    for _ in 0..3 {
        client.get("/health/ready").await.has_status(200);
    }
    assert!(running.stop("TERM").success());
}

#[tokio::test]
async fn a_database_of_a_newer_version_is_left_alone() {
    let folder = tempdir().unwrap();
    let file = folder.path().join("auth.db");
    let url = format!("sqlite://{}", file.display());
    let add = auth_service(&folder)
        .with(&["user", "add", "cosmo"])
        .setting("AUTH_DATABASE_URL", &url);
    add.run_with("space-corgi\n").succeeds();
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(&file);
    let pool = sqlx::SqlitePool::connect_with(options).await.unwrap();
    sqlx::query("insert into _sqlx_migrations (version, description, success, checksum, execution_time) values (9999, 'later', true, x'00', 0)")
        .execute(&pool)
        .await
        .unwrap();
    pool.close().await;
    start_with(&[("AUTH_DATABASE_URL", &url)]).refuses(&[
        "AUTH_DATABASE_URL",
        "newer version",
        "9999",
    ]);
}

#[test]
fn choices_must_be_one_of_those_there_are() {
    start_with(&[("AUTH_REGISTRATION", "perhaps")]).refuses(&[
        "AUTH_REGISTRATION",
        "'perhaps'",
        "open, closed",
    ]);
    start_with(&[("AUTH_REFRESH_ROTATION", "perhaps")]).refuses(&[
        "AUTH_REFRESH_ROTATION",
        "'perhaps'",
        "on or off",
    ]);
    start_with(&[("AUTH_DEFAULT_SCOPE", "a\"b")]).refuses(&["AUTH_DEFAULT_SCOPE", "scope"]);
    start_with(&[("LOG_FORMAT", "xml")]).refuses(&["LOG_FORMAT", "'xml'", "pretty, json"]);
    start_with(&[("RUST_LOG", "a=b=c")]).refuses(&["RUST_LOG"]);
    for (setting, value, right) in [
        ("HTTP_MAX_CONNECTIONS", "0", "from 1 to"),
        ("HTTP_MAX_IN_FLIGHT", "many", "from 1 to"),
        ("HTTP_MAX_HEADER_BYTES", "100", "from 8192 to"),
        ("HTTP_MAX_BODY_BYTES", "-1", "from 1 to"),
        ("HTTP_IDLE_TIMEOUT", "0s", "from 1ms to 1h"),
        ("HTTP_BODY_TIMEOUT", "1m", "from 1ms to 25s"),
        ("HTTP_STOP_DELAY", "1h", "from 0s to 10m"),
        ("HTTP_STOP_LIMIT", "-1s", "from 0s to 10m"),
        ("AUTH_MAX_SUBSCRIBERS", "0", "from 1 to"),
        ("METRICS_LISTEN", "9001", "an address and a port"),
        (
            "OTEL_EXPORTER_OTLP_ENDPOINT",
            "collector:4317",
            "an address like http://",
        ),
        ("OTEL_TRACES_SAMPLER_ARG", "1.5", "from 0 to 1"),
        ("OTEL_TRACES_SAMPLER_ARG", "NaN", "from 0 to 1"),
    ] {
        start_with(&[(setting, value)]).refuses(&[setting, right]);
    }
    start_with(&[("AUTH_HASHING_CONCURRENCY", "0")]).refuses(&[
        "AUTH_HASHING_CONCURRENCY",
        "'0'",
        "from 1 to 256",
    ]);
}

#[tokio::test]
async fn nobody_becomes_an_administrator_by_registering() {
    let admin = (
        "AUTH_DEFAULT_SCOPE",
        "profile:read admin revocations:read profile:write",
    );
    start_with(&[admin, ("AUTH_REGISTRATION", "open")]).refuses(&[
        "AUTH_DEFAULT_SCOPE",
        "admin",
        "AUTH_REGISTRATION=open",
        "user add --scope",
    ]);
    // Where an administrator adds the users, they may all be administrators, and the log says so.
    let folder = tempdir().unwrap();
    let address = free_address();
    let program = auth_service(&folder)
        .setting("JWT_SECRET_KEY", SECRET)
        .setting(admin.0, admin.1)
        .setting("AUTH_LISTEN", &address);
    let mut running = program.start();
    running
        .is_ready(&Client::new(format!("http://{address}")))
        .await;
    assert!(running.stop("TERM").success());
    assert!(
        running.log().contains("AUTH_DEFAULT_SCOPE has admin in it"),
        "{}",
        running.log()
    );
    assert!(
        running
            .log()
            .contains("AUTH_DEFAULT_SCOPE has revocations:read in it"),
        "{}",
        running.log()
    );
}

#[tokio::test]
async fn a_proxy_that_nobody_has_named_is_told_of_once() {
    for (proxies, told) in [("", 1), ("10.0.0.0/8", 1), ("127.0.0.1", 0)] {
        let folder = tempdir().unwrap();
        let address = free_address();
        let program = auth_service(&folder)
            .setting("JWT_SECRET_KEY", SECRET)
            .setting("TRUSTED_PROXIES", proxies)
            .setting("AUTH_LISTEN", &address);
        let mut running = program.start();
        let client = Client::new(format!("http://{address}"));
        running.is_ready(&client).await;
        for header in ["X-Forwarded-For", "Forwarded", "X-Forwarded-For"] {
            let body = json!({"username": "cosmo", "password": "wrong"});
            let login = client.request(&Method::POST, "/login").json(&body);
            let login = login.header(header, "198.51.100.1");
            Reply::to(login).await.is(401, "bad_credentials");
        }
        assert!(running.stop("TERM").success());
        let log = running.log();
        let lines = log.lines().filter(|line| line.contains("TRUSTED_PROXIES"));
        assert_eq!(lines.count(), told, "{proxies}: {log}");
    }
}

#[test]
fn an_unknown_flag_or_command_is_one_line_too() {
    let folder = tempdir().unwrap();
    auth_service(&folder)
        .with(&["--nothing"])
        .run()
        .refuses(&["--nothing", "--help"]);
    auth_service(&folder)
        .with(&["dance"])
        .run()
        .refuses(&["dance", "--help"]);
    auth_service(&folder)
        .with(&["user"])
        .run()
        .refuses(&["--help"]);
    auth_service(&folder)
        .with(&["user", "add"])
        .run()
        .refuses(&["<USERNAME>", "--help"]);
}

#[test]
fn help_lists_every_setting_with_its_default_and_no_value_of_a_secret() {
    let folder = tempdir().unwrap();
    let help = auth_service(&folder)
        .with(&["--help"])
        .setting("JWT_SECRET_KEY", SECRET)
        .run()
        .succeeds()
        .stdout;
    for (setting, default) in [
        ("JWT_SECRET_KEY", ""),
        ("JWT_SECRET_KEY_FILE", ""),
        ("JWT_PREVIOUS_SECRET_KEYS", ""),
        ("JWT_PREVIOUS_SECRET_KEYS_FILE", ""),
        ("JWT_ISSUER", "http://127.0.0.1:8001"),
        ("JWT_AUDIENCE", "tokenpair"),
        ("JWT_ACCESS_TOKEN_EXPIRES", "15m"),
        ("JWT_REFRESH_TOKEN_EXPIRES", "1h"),
        ("JWT_LEEWAY", "0s"),
        ("AUTH_LISTEN", "127.0.0.1:8001"),
        ("AUTH_DATABASE_URL", "sqlite://data/auth.db"),
        ("AUTH_REGISTRATION", "closed"),
        ("AUTH_DEFAULT_SCOPE", "profile:read profile:write"),
        ("AUTH_REFRESH_ROTATION", "on"),
        ("AUTH_REFRESH_GRACE", "10s"),
        ("AUTH_SESSION_MAX_AGE", "30d"),
        ("AUTH_COOKIE_SECURE", "on"),
        ("CORS_ALLOWED_ORIGINS", "none"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "none, and no span is made"),
        ("OTEL_TRACES_SAMPLER_ARG", "1"),
        ("LOG_FORMAT", "pretty on a terminal, else json"),
        ("RUST_LOG", "info"),
    ] {
        let flag = format!("--{}", setting.to_lowercase().replace('_', "-"));
        assert!(help.contains(&flag), "{flag}");
        assert!(help.contains(&format!("[env: {setting}")), "{setting}");
        assert!(help.contains(default), "{setting}: {default}");
    }
    assert!(!help.contains(SECRET));
    let version = auth_service(&folder)
        .with(&["--version"])
        .run()
        .succeeds()
        .stdout;
    assert_eq!(
        version.trim_end(),
        concat!("auth-service ", env!("CARGO_PKG_VERSION"))
    );
}

#[test]
fn a_flag_does_what_its_variable_does_before_and_after_the_command() {
    for arguments in [
        &["--jwt-leeway", "soon", "serve"][..],
        &["serve", "--jwt-leeway", "soon"],
        &["--jwt-leeway=soon"],
    ] {
        let folder = tempdir().unwrap();
        auth_service(&folder)
            .with(arguments)
            .run()
            .refuses(&["JWT_LEEWAY", "'soon'"]);
    }
}

#[tokio::test]
async fn an_empty_variable_is_one_that_is_not_set() {
    let folder = tempdir().unwrap();
    let address = free_address();
    let mut program = auth_service(&folder).setting("JWT_SECRET_KEY", SECRET);
    for setting in [
        "JWT_SECRET_KEY_FILE",
        "JWT_PREVIOUS_SECRET_KEYS",
        "JWT_PREVIOUS_SECRET_KEYS_FILE",
        "JWT_ACCESS_TOKEN_EXPIRES",
        "AUTH_DATABASE_URL",
        "AUTH_REGISTRATION",
        "LOG_FORMAT",
        "RUST_LOG",
    ] {
        program = program.setting(setting, "");
    }
    let mut running = program.setting("AUTH_LISTEN", &address).start();
    running
        .is_ready(&Client::new(format!("http://{address}")))
        .await;
    assert!(running.stop("TERM").success());
    assert!(running.log().contains("/health/ready"), "{}", running.log());
    auth_service(&folder)
        .setting("JWT_SECRET_KEY", "")
        .run()
        .refuses(&["JWT_SECRET_KEY", "not set"]);
}

#[tokio::test]
async fn lifetimes_shorter_than_the_grace_are_taken() {
    let folder = tempdir().unwrap();
    let address = free_address();
    let program = auth_service(&folder)
        .setting("JWT_SECRET_KEY", SECRET)
        .setting("JWT_ACCESS_TOKEN_EXPIRES", "2s")
        .setting("JWT_REFRESH_TOKEN_EXPIRES", "5s")
        .setting("AUTH_LISTEN", &address);
    program
        .start()
        .is_ready(&Client::new(format!("http://{address}")))
        .await;
}

#[test]
fn a_private_key_that_cannot_be_used_stops_the_start_and_is_not_repeated() {
    let folder = tempdir().unwrap();
    let key = |flag| {
        let program = auth_service(&folder).with(&["secret", "generate", flag]);
        program.run().succeeds().stdout
    };
    let (ed25519, es256) = (key("--ed25519"), key("--es256"));
    let body = ed25519.lines().nth(1).unwrap();
    for (text, fault) in [
        (
            "a-secret-for-tests-of-at-least-32-bytes".to_owned(),
            "no PEM block 'PRIVATE KEY'",
        ),
        (
            ed25519.replace("PRIVATE", "PUBLIC"),
            "no PEM block 'PRIVATE KEY'",
        ),
        (
            ed25519.replace("MC4CAQ", "MC4CAg"),
            "cannot be read as a key",
        ),
        (ed25519[..60].to_owned(), "no PEM block"),
        (format!("{ed25519}{es256}"), "there are 2 keys in the file"),
        (format!("{ed25519}no key"), "no PEM block"),
    ] {
        fs::write(folder.path().join("private"), text).unwrap();
        let program = auth_service(&folder).setting("JWT_PRIVATE_KEY_FILE", "private");
        let ended = program.run().refuses(&["JWT_PRIVATE_KEY_FILE", fault]);
        assert!(!ended.stderr.contains(body), "{ended:?}");
    }
    let missing = auth_service(&folder).setting("JWT_PRIVATE_KEY_FILE", "nowhere");
    missing
        .run()
        .refuses(&["JWT_PRIVATE_KEY_FILE", "cannot be read"]);
    // An empty file holds no key, and then there is none at all.
    fs::write(folder.path().join("private"), "").unwrap();
    let program = auth_service(&folder).setting("JWT_PRIVATE_KEY_FILE", "private");
    program.run().refuses(&["JWT_SECRET_KEY", "not set"]);
}

#[test]
fn a_rate_is_a_number_in_a_time_and_a_proxy_is_an_address() {
    for (setting, value, remedy) in [
        ("AUTH_LOGIN_RATE_PER_USER", "many", "100/1h"),
        ("AUTH_LOGIN_RATE_PER_USER", "0/1m", "100/1h"),
        ("AUTH_LOGIN_RATE_PER_IP", "5/2d", "a day at the most"),
        ("AUTH_LOGIN_RATE_PER_IP", "-5/1m", "or off"),
        ("TRUSTED_PROXIES", "*", "10.1.0.0/16"),
        ("TRUSTED_PROXIES", "10.0.0.0/40", "10.1.0.0/16"),
    ] {
        start_with(&[(setting, value)]).refuses(&[setting, remedy]);
    }
}
