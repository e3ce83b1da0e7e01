use test_support::program::free_address;

use crate::stack::Stack;

/// The values of an attribute in the page.
fn values<'a>(html: &'a str, attribute: &str) -> Vec<&'a str> {
    let pieces = html.split(attribute).skip(1);
    let values = pieces.filter_map(|piece| piece.strip_prefix("=\"")?.split('"').next());
    values.collect()
}

#[tokio::test]
async fn the_page_and_all_that_it_is_made_of_are_served_here() {
    let stack = Stack::start().await;
    let page = stack.client.get("/").await.has_status(200);
    assert_eq!(page.header("content-type"), "text/html; charset=utf-8");
    let mut links = values(&page.text, " href");
    links.extend(values(&page.text, " src"));
    assert!(links.len() >= 4, "{links:?}");
    for link in links {
        assert!(link.starts_with('/'), "{link}");
        let asset = stack.client.get(link).await.has_status(200);
        assert_eq!(asset.header("x-content-type-options"), "nosniff");
        assert_eq!(asset.header("cache-control"), "no-cache");
        assert!(!asset.text.is_empty());
    }
    let client = stack.client.get("/page/tokenpair.js").await;
    assert_eq!(
        client.text,
        include_str!("../../../clients/js/tokenpair.js")
    );
    assert_eq!(
        client.header("content-type"),
        "text/javascript; charset=utf-8"
    );
}

#[tokio::test]
async fn the_page_lets_nothing_in_and_talks_to_the_two_services_alone() {
    let stack = Stack::start().await;
    let page = stack.client.get("/").await;
    let policy = page.header("content-security-policy");
    for rule in [
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "connect-src 'self' http://127.0.0.1:8001",
        "frame-ancestors 'none'",
        "base-uri 'none'",
        "form-action 'none'",
    ] {
        assert!(policy.split("; ").any(|it| it == rule), "{rule}: {policy}");
    }
    assert!(!policy.contains("unsafe"), "{policy}");
    assert_eq!(page.header("referrer-policy"), "no-referrer");
    assert_eq!(
        values(&page.text, "name=\"auth-service\" content"),
        ["http://127.0.0.1:8001/"]
    );
    // The policy would keep these from working.
    for inline in [" style=", " onclick=", "<style", "<script>"] {
        assert!(!page.text.contains(inline), "{inline}");
    }
}

#[tokio::test]
async fn the_page_learns_where_browsers_reach_auth_service() {
    use crate::settings::resource_service;
    use test_support::{Client, SECRET};

    let folder = tempfile::tempdir().expect("a temporary folder");
    for (settings, address) in [
        (
            &[("JWT_ISSUER", "https://auth.example.com")][..],
            "https://auth.example.com/",
        ),
        (
            &[
                ("JWT_ISSUER", "the issuer"),
                ("AUTH_URL", "http://auth:8001"),
            ],
            "http://auth:8001/",
        ),
        (
            &[
                ("JWT_ISSUER", "https://auth.example.com"),
                ("AUTH_PUBLIC_URL", "https://login.example.com/a%22b/?c&d"),
            ],
            "https://login.example.com/a%22b/?c&amp;d",
        ),
    ] {
        let listen = free_address();
        let program = resource_service(&folder)
            .setting("JWT_SECRET_KEY", SECRET)
            .setting("RESOURCE_LISTEN", &listen);
        let program = settings.iter().fold(program, |program, (name, value)| {
            program.setting(name, *value)
        });
        let mut running = program.start();
        let client = Client::new(format!("http://{listen}"));
        running.is_ready(&client).await;
        let page = client.get("/").await;
        assert_eq!(
            values(&page.text, "name=\"auth-service\" content"),
            [address]
        );
        assert!(running.stop("TERM").success());
    }
}
