//! The figures of both services, and that the dashboard and the alerts in `docs` ask for none that there are not.

use std::collections::BTreeSet;
use std::fs;

use reqwest::Method;
use serde_json::json;
use test_support::Reply;

use crate::in_process::Stack;

/// What stands before the first blank or brace of each line that is no comment.
fn samples(text: &str) -> BTreeSet<&str> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| line.split(['{', ' ']).next().unwrap_or_default())
        .collect()
}

/// Every name of ours in a text, whatever it is part of.
fn names(text: &str) -> BTreeSet<&str> {
    let words =
        text.split(|character: char| !character.is_ascii_alphanumeric() && character != '_');
    words
        .filter(|word| {
            ["tokenpair_", "http_", "process_"]
                .iter()
                .any(|start| word.starts_with(start))
        })
        .collect()
}

#[tokio::test]
async fn the_dashboard_and_the_alerts_ask_for_figures_that_the_services_have() {
    let stack = Stack::start().await;
    let resource = stack.resource("one").await;
    let (token, refresh) = stack.log_in().await;
    let auth = stack.auth_client();
    auth.post_with("/refresh", &refresh).await.has_status(200);
    resource.says("caught-up").await;
    assert!(resource.takes(&token).await);
    let answers = [
        auth.get("/metrics").await,
        resource.client.clone().get("/metrics").await,
    ];
    let answers = answers.map(|reply| reply.has_status(200).text);
    let there: BTreeSet<_> = answers.iter().flat_map(|text| samples(text)).collect();
    let docs = format!("{}/../docs", env!("CARGO_MANIFEST_DIR"));
    for file in ["grafana-dashboard.json", "alerts.yml", "monitoring.md"] {
        let text = fs::read_to_string(format!("{docs}/{file}")).expect("it is there");
        let asked = names(&text);
        assert!(asked.len() > 10, "{file} asks for hardly anything");
        // In the list of all figures a histogram has the name of its family.
        let family = |name: &str| there.contains(format!("{name}_bucket").as_str());
        let missing = asked
            .iter()
            .filter(|name| !there.contains(*name) && !family(name));
        assert_eq!(missing.collect::<Vec<_>>(), Vec::<&&str>::new(), "{file}");
    }
    let described = fs::read_to_string(format!("{docs}/monitoring.md")).expect("it is there");
    let described = names(&described);
    for name in there {
        let family = ["_bucket", "_sum", "_count"]
            .iter()
            .find_map(|part| name.strip_suffix(part))
            .unwrap_or(name);
        assert!(
            described.contains(name) || described.contains(family),
            "docs/monitoring.md does not know {name}"
        );
    }
}

#[tokio::test]
async fn nothing_that_a_client_sends_comes_into_the_figures() {
    let stack = Stack::start().await;
    let resource = stack.resource("one").await;
    let (token, _) = stack.log_in().await;
    for client in [stack.auth_client(), resource.client.clone()] {
        client.get("/nothing-secret-marker").await.has_status(404);
        client.get("/sessions/secret-marker?secret-marker").await;
        let method = Method::from_bytes(b"SECRETMARKER").expect("a method");
        Reply::to(client.request(&method, "/health/live")).await;
        let request = client
            .request(&Method::GET, "/health/live")
            .header("x-request-id", "secret-marker")
            .header("user-agent", "secret-marker");
        Reply::to(request).await.has_status(200);
        let wrong = json!({"username": "secret-marker", "password": "secret-marker"});
        client.post("/login", &wrong).await;
        let text = client.get("/metrics").await.has_status(200).text;
        assert!(!text.to_lowercase().contains("secret"), "{text}");
        assert!(!text.contains(&token) && !text.contains("cosmo"), "{text}");
        assert!(text.contains("method=\"other\""), "{text}");
        assert!(text.contains("route=\"none\""), "{text}");
    }
}
