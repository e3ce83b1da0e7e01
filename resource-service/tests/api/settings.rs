use tempfile::tempdir;
use test_support::program::{Program, free_address};
use test_support::{Client, SECRET};

pub(crate) fn resource_service(folder: &tempfile::TempDir) -> Program {
    Program::new(env!("CARGO_BIN_EXE_resource-service"), folder.path())
}

#[test]
fn settings_that_cannot_be_used_stop_the_start_with_one_line() {
    let folder = tempdir().unwrap();
    resource_service(&folder).run().refuses(&[
        "JWT_SECRET_KEY",
        "not set",
        "auth-service secret generate",
    ]);
    let weak = resource_service(&folder)
        .setting("JWT_SECRET_KEY", "super-secret")
        .run();
    assert!(
        !weak
            .refuses(&["JWT_SECRET_KEY", "at least 32"])
            .stderr
            .contains("super-secret")
    );
    for (setting, value) in [
        ("RESOURCE_LISTEN", "nowhere"),
        ("RESOURCE_DATABASE_URL", "postgres://x"),
        ("JWT_LEEWAY", "soon"),
        ("LOG_FORMAT", "xml"),
        ("CORS_ALLOWED_ORIGINS", "https://app.example.com/"),
        ("AUTH_PUBLIC_URL", "auth"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector"),
        ("OTEL_TRACES_SAMPLER_ARG", "all"),
    ] {
        let program = resource_service(&folder)
            .setting("JWT_SECRET_KEY", SECRET)
            .setting(setting, value);
        program.run().refuses(&[setting, value]);
    }
}

#[test]
fn help_lists_every_setting_with_its_default() {
    let folder = tempdir().unwrap();
    let help = resource_service(&folder)
        .with(&["--help"])
        .run()
        .succeeds()
        .stdout;
    for (setting, default) in [
        ("JWT_SECRET_KEY", ""),
        ("JWT_SECRET_KEY_FILE", ""),
        ("JWT_PREVIOUS_SECRET_KEYS", ""),
        ("JWT_ISSUER", "http://127.0.0.1:8001"),
        ("JWT_AUDIENCE", "tokenpair"),
        ("JWT_LEEWAY", "0s"),
        ("RESOURCE_LISTEN", "127.0.0.1:8002"),
        ("RESOURCE_DATABASE_URL", "sqlite://data/resource.db"),
        ("CORS_ALLOWED_ORIGINS", "none"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "none, and no span is made"),
        ("OTEL_TRACES_SAMPLER_ARG", "1"),
        ("LOG_FORMAT", "pretty on a terminal"),
        ("RUST_LOG", "info"),
    ] {
        assert!(help.contains(&format!("[env: {setting}")), "{setting}");
        assert!(help.contains(default), "{setting}: {default}");
    }
}

#[tokio::test]
async fn the_binary_serves_and_healthcheck_says_so() {
    let folder = tempdir().unwrap();
    let address = free_address();
    let program = resource_service(&folder)
        .setting("JWT_SECRET_KEY", SECRET)
        .setting("RESOURCE_LISTEN", &address);
    program
        .clone()
        .with(&["healthcheck"])
        .run()
        .refuses(&["does not answer"]);
    let mut running = program.start();
    running
        .is_ready(&Client::new(format!("http://{address}")))
        .await;
    program.clone().with(&["healthcheck"]).run().succeeds();
    assert!(running.stop("INT").success(), "{}", running.log());
}
