//! A client that we did not write, the `oauth2` crate, against the OAuth endpoints.

use std::convert::Infallible;

use oauth2::basic::{BasicClient, BasicTokenType};
use oauth2::{
    AccessToken, AuthType, ClientId, ClientSecret, HttpRequest, HttpResponse, IntrospectionUrl,
    RefreshToken, RevocationUrl, Scope, TokenIntrospectionResponse, TokenResponse, TokenUrl,
};

use crate::stack::{CLIENT, CLIENT_SECRET, Stack};

async fn http(request: HttpRequest) -> Result<HttpResponse, Infallible> {
    let request = reqwest::Request::try_from(request).expect("a request");
    let answer = reqwest::Client::builder()
        .no_proxy()
        .build()
        .expect("a client")
        .execute(request)
        .await
        .expect("an answer");
    let mut response = HttpResponse::new(Vec::new());
    (*response.status_mut(), *response.headers_mut()) = (answer.status(), answer.headers().clone());
    *response.body_mut() = answer.bytes().await.expect("a body").to_vec();
    Ok(response)
}

#[tokio::test]
async fn a_library_gets_refreshes_introspects_and_revokes_tokens() {
    let stack = Stack::start().await;
    let user = stack.sign_up("cosmo").await;
    let url = |path: &str| format!("{}{path}", stack.client.base());
    for auth_type in [AuthType::BasicAuth, AuthType::RequestBody] {
        let client = BasicClient::new(ClientId::new(CLIENT.to_owned()))
            .set_client_secret(ClientSecret::new(CLIENT_SECRET.to_owned()))
            .set_auth_type(auth_type)
            .set_token_uri(TokenUrl::new(url("/oauth/token")).unwrap())
            .set_introspection_url(IntrospectionUrl::new(url("/oauth/introspect")).unwrap())
            // The library insists on TLS for revocation; what it would send goes to the same place.
            .set_revocation_url(
                RevocationUrl::new(url("/oauth/revoke").replace("http:", "https:")).unwrap(),
            );

        let scope = Scope::new("profile:read".to_owned());
        let own = client
            .exchange_client_credentials()
            .add_scope(scope)
            .request_async(&http)
            .await
            .unwrap();
        assert_eq!(own.token_type(), &BasicTokenType::Bearer);
        assert_eq!(own.expires_in().unwrap().as_secs(), 900);
        let introspected = client
            .introspect(own.access_token())
            .request_async(&http)
            .await
            .unwrap();
        assert!(introspected.active());
        assert_eq!(introspected.client_id().unwrap().as_str(), CLIENT);

        let refresh = RefreshToken::new(user.refresh.clone());
        let pair = client
            .exchange_refresh_token(&refresh)
            .request_async(&http)
            .await
            .unwrap();
        assert!(pair.refresh_token().is_some());
        let introspected = client
            .introspect(pair.access_token())
            .request_async(&http)
            .await
            .unwrap();
        assert_eq!(introspected.username(), Some("cosmo"));
        let nonsense = AccessToken::new("nonsense".to_owned());
        assert!(
            !client
                .introspect(&nonsense)
                .request_async(&http)
                .await
                .unwrap()
                .active()
        );
        let wrong = client
            .exchange_refresh_token(&RefreshToken::new("nonsense".to_owned()))
            .request_async(&http)
            .await;
        let oauth2::RequestTokenError::ServerResponse(refusal) = wrong.unwrap_err() else {
            panic!("no refusal")
        };
        assert_eq!(refusal.error().to_string(), "invalid_grant");
    }

    let client = BasicClient::new(ClientId::new(CLIENT.to_owned()))
        .set_client_secret(ClientSecret::new(CLIENT_SECRET.to_owned()))
        .set_revocation_url(
            RevocationUrl::new(url("/oauth/revoke").replace("http:", "https:")).unwrap(),
        );
    let plain = |mut request: HttpRequest| {
        *request.uri_mut() = request
            .uri()
            .to_string()
            .replace("https:", "http:")
            .parse()
            .unwrap();
        http(request)
    };
    client
        .revoke_token(AccessToken::new(user.access.clone()).into())
        .unwrap()
        .request_async(&plain)
        .await
        .unwrap();
    stack.me(&user.access).await.is(401, "token_revoked");
}
