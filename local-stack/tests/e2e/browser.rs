//! The demo page in a real browser: `tests/browser`, where there is one.

use std::io::Write;
use std::path::Path;
use std::process::Command;

#[test]
fn the_demo_page_works_in_a_browser() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    // As `.ci/run` makes it.
    let pytest = root.join("target/browser/bin/pytest");
    let chromium = Command::new("chromium").arg("--version").output();
    if !pytest.exists() || chromium.is_err() {
        let _ = writeln!(
            std::io::stderr(),
            "SKIPPED: no chromium, or no Python with the packages of local-stack/tests/browser/requirements.txt"
        );
        return;
    }
    let ended = Command::new(pytest)
        .args(["--quiet", "-p", "no:cacheprovider"])
        .arg(root.join("local-stack/tests/browser"))
        .env("LOCAL_STACK", env!("CARGO_BIN_EXE_local-stack"))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&ended.stdout);
    assert!(ended.status.success(), "{said}");
}
