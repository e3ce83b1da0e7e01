//! Side by side with services in Python: our tokens there, and theirs here.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::stack::Stack;

const SECRET: &str = "a-common-secret-of-at-least-32-bytes";
/// As Flask-JWT-Extended has it by default.
const NEITHER_ISSUER_NOR_AUDIENCE: [(&str, &str); 3] = [
    ("JWT_SECRET_KEY", SECRET),
    ("JWT_ISSUER", ""),
    ("JWT_AUDIENCE", ""),
];

/// A Python that has the packages: the one that `.ci/run` makes, or the machine's own.
fn python() -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let candidates = [root.join("target/interop/bin/python"), "python3".into()];
    let found = candidates.into_iter().find(|python| {
        let check = Command::new(python)
            .args(["-c", "import flask_jwt_extended"])
            .output();
        check.is_ok_and(|output| output.status.success())
    });
    if found.is_none() {
        let mut stderr = std::io::stderr();
        let _ = writeln!(
            stderr,
            "SKIPPED: no Python with the packages of local-stack/tests/interop/requirements.txt"
        );
    }
    found
}

fn ask(python: &Path, asked: &Value) -> Value {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interop/neighbours.py");
    let mut child = Command::new(python)
        .arg(script)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(asked.to_string().as_bytes()).unwrap();
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    serde_json::from_slice(&output.stdout).unwrap()
}

#[tokio::test]
async fn pyjwt_verifies_our_tokens() {
    let Some(python) = python() else { return };
    let stack = Stack::start_local_with(&[("JWT_SECRET_KEY", SECRET)]).await;
    let (access, refresh) = stack.pair().await;
    let me = stack.auth.get_with("/me", &access).await.text_of("id");
    let (rest, end) = access.split_at(access.len() - 20);
    let other = if end.starts_with('x') { "y" } else { "x" };
    let tampered = format!("{rest}{other}{}", &end[1..]);
    let asked = json!({
        "task": "verify", "secret": SECRET, "issuer": "http://127.0.0.1:8001", "audience": "tokenpair",
        "tokens": [access, refresh, tampered],
    });
    let said = ask(&python, &asked);
    assert_eq!(said[0], me);
    assert_eq!(
        said[1], "InvalidAudienceError",
        "a refresh token is for its issuer alone"
    );
    assert!(
        said[2].as_str().unwrap().contains("InvalidSignatureError"),
        "{said}"
    );
}

#[tokio::test]
async fn a_flask_service_with_default_settings_takes_our_tokens() {
    let Some(python) = python() else { return };
    let stack = Stack::start_local_with(&NEITHER_ISSUER_NOR_AUDIENCE).await;
    let (access, refresh) = stack.pair().await;
    let me = stack.auth.get_with("/me", &access).await.text_of("id");
    let asked = json!({"task": "lesson", "secret": SECRET, "tokens": [access, refresh]});
    let said = ask(&python, &asked);
    assert_eq!(said[0][0], json!([200, {"user": me}]));
    assert_eq!(said[1][1][0], 200);
    // Each kind is refused where the other is due, in the same words as here.
    for (theirs, ours) in [
        (
            &said[0][1][1]["msg"],
            stack.auth.post_with("/refresh", &access).await,
        ),
        (
            &said[1][0][1]["msg"],
            stack.resource.get_with("/profile", &refresh).await,
        ),
    ] {
        assert_eq!(*theirs, ours.is(401, "wrong_token_type").text_of("msg"));
    }
}

#[tokio::test]
async fn tokens_of_a_flask_service_with_default_settings_are_taken_here() {
    let Some(python) = python() else { return };
    let stack = Stack::start_local_with(&NEITHER_ISSUER_NOR_AUDIENCE).await;
    let mint = |claims: Value| {
        let asked =
            json!({"task": "mint", "secret": SECRET, "user": "flask-user", "claims": claims});
        let minted = ask(&python, &asked);
        [0, 1].map(|kind: usize| minted[kind].as_str().unwrap().to_owned())
    };
    let [access, refresh] = mint(json!({}));
    let dashboard = stack.resource.get_with("/dashboard", &access).await;
    assert_eq!(dashboard.has_status(200).text_of("id"), "flask-user");
    let profile = stack.resource.get_with("/profile", &access).await;
    profile.is(403, "insufficient_scope");
    let refused = stack.resource.get_with("/dashboard", &refresh).await;
    refused.is(401, "wrong_token_type");
    // It signs with the common secret, which does not make a session.
    let refused = stack.auth.post_with("/refresh", &refresh).await;
    refused.is(401, "invalid_token");

    let [access, _] = mint(json!({"scope": "profile:read"}));
    let profile = stack.resource.get_with("/profile", &access).await;
    assert_eq!(profile.has_status(200).text_of("id"), "flask-user");
}
