use serde_json::json;
use shared_claims::Parties;

use crate::stack::Stack;

#[tokio::test]
async fn the_metadata_lists_what_there_is_and_all_of_it_answers() {
    let stack = Stack::start().await;
    let path = "/.well-known/oauth-authorization-server";
    let reply = stack.client.get(path).await.has_status(200);
    assert_eq!(reply.header("content-type"), "application/json");
    assert!(reply.header("cache-control").contains("max-age"));
    let metadata = reply.json();
    assert_eq!(metadata["issuer"], "http://127.0.0.1:8001");
    for (name, value) in metadata.as_object().unwrap() {
        let address = value.as_str().filter(|_| name.ends_with("_endpoint"));
        let Some(address) = address else { continue };
        let path = address.strip_prefix("http://127.0.0.1:8001").unwrap();
        // It is there, and knows what it is asked with.
        let reply = stack.client.get(path).await;
        assert_eq!(
            (reply.status.as_u16(), reply.header("allow")),
            (405, "POST"),
            "{name}"
        );
    }
    assert_eq!(metadata["response_types_supported"], json!([]));
    assert!(metadata.get("authorization_endpoint").is_none());
    let keys = metadata["jwks_uri"].as_str().unwrap();
    let keys = keys.strip_prefix("http://127.0.0.1:8001").unwrap();
    let keys = stack.client.get(keys).await.has_status(200);
    assert_eq!(keys.json(), json!({"keys": []}));
}

#[tokio::test]
async fn an_issuer_that_is_no_address_has_no_metadata() {
    for issuer in [
        "",
        "our own",
        "urn:example:auth",
        "http://auth.example/?a=b",
    ] {
        let stack = Stack::start_with(|config| {
            config.tokens.parties = Parties::new(issuer, "tokenpair");
        })
        .await;
        let reply = stack.client.get("/.well-known/oauth-authorization-server");
        reply.await.is(404, "not_found");
    }
}
