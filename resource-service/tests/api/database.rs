use std::fs;
use std::path::Path;

use serde_json::json;
use test_support::program::Program;

use crate::stack::Stack;

fn database(store: &Path, command: &str, file: &Path) -> Program {
    Program::new(env!("CARGO_BIN_EXE_resource-service"), std::env::temp_dir())
        .with(&["database", command, file.to_str().expect("UTF-8")])
        .setting(
            "RESOURCE_DATABASE_URL",
            format!("sqlite://{}", store.display()),
        )
}

#[tokio::test(flavor = "multi_thread")]
async fn profiles_are_backed_up_beside_a_service_that_runs_and_restored_when_it_is_stopped() {
    let stack = Stack::start().await;
    let token = stack.token("cosmo", "profile:read profile:write");
    let write = async |stack: &Stack, name: &str| {
        let profile = json!({"display_name": name, "bio": null});
        let written = stack.client.put_with("/profile", &token, &profile).await;
        written.has_status(200);
    };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let backup = folder.path().join("backup");
    write(&stack, "Before").await;
    database(&stack.database(), "backup", &backup)
        .run()
        .succeeds();
    write(&stack, "After").await;
    database(&stack.database(), "restore", &backup)
        .run()
        .refuses(&["RESOURCE_DATABASE_URL", "is in use"]);
    let restore = |store: &Path| {
        let restored = database(store, "restore", &backup).run().succeeds();
        assert!(
            restored.stdout.contains("what was there is kept as"),
            "{restored:?}"
        );
    };
    let stack = stack.restart_after(restore).await;
    let profile = stack.client.get_with("/profile", &token).await;
    assert_eq!(profile.has_status(200).text_of("display_name"), "Before");

    // That of another service.
    let migration = "update _sqlx_migrations set checksum = x'00'";
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(&backup);
    let pool = sqlx::SqlitePool::connect_with(options)
        .await
        .expect("a database");
    sqlx::query(migration)
        .execute(&pool)
        .await
        .expect("it is written");
    pool.close().await;
    let refuse = |store: &Path| {
        let before = fs::read(store).expect("the store");
        let restore = database(store, "restore", &backup).run();
        restore.refuses(&["another service"]);
        assert!(fs::read(store).expect("the store") == before);
    };
    let stack = stack.restart_after(refuse).await;
    let profile = stack.client.get_with("/profile", &token).await;
    assert_eq!(profile.has_status(200).text_of("display_name"), "Before");
}
