//! `GET /`, the demo page: a frontend that logs in at auth-service and shows what the tokens do. Everything that it is made of is in
//! this binary, and its Content-Security-Policy lets nothing else in.

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY};
use http::{HeaderName, HeaderValue};
use reqwest::Url;

use crate::app::AppState;

const HTML: &str = include_str!("../../page/index.html");
const STYLE: &str = include_str!("../../page/page.css");
const ICON: &str = include_str!("../../page/icon.svg");
const SCRIPT: &str = include_str!("../../page/page.js");
const CLIENT: &str = include_str!("../../../clients/js/tokenpair.js");

const OPENER_POLICY: HeaderName = HeaderName::from_static("cross-origin-opener-policy");

pub(super) fn router() -> Router<AppState> {
    let file = |kind, text| get(async move || asset(kind, text));
    Router::new()
        .route("/", get(show))
        .route("/page/page.css", file("text/css; charset=utf-8", STYLE))
        .route("/page/icon.svg", file("image/svg+xml", ICON))
        .route("/page/page.js", file(JAVASCRIPT, SCRIPT))
        .route("/page/tokenpair.js", file(JAVASCRIPT, CLIENT))
}

const JAVASCRIPT: &str = "text/javascript; charset=utf-8";

/// The page for one auth-service.
#[derive(Clone, Debug)]
pub(crate) struct Page {
    html: String,
    policy: HeaderValue,
}

impl Page {
    /// `auth`: where browsers reach auth-service.
    pub(crate) fn new(auth: &Url) -> Self {
        // In an attribute; of these characters a URL may have the ampersand alone.
        let address = auth
            .as_str()
            .replace('&', "&amp;")
            .replace('"', "&quot;")
            .replace('<', "&lt;");
        let origin = auth.origin().ascii_serialization();
        let policy = format!(
            "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self' {origin}; base-uri 'none'; \
             form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
        );
        Self {
            html: HTML.replace("{{auth-service}}", &address),
            policy: HeaderValue::try_from(policy).expect("an origin is visible ASCII"),
        }
    }
}

async fn show(State(page): State<Page>) -> Response {
    let headers = [
        (CONTENT_SECURITY_POLICY, page.policy),
        (REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
        (OPENER_POLICY, HeaderValue::from_static("same-origin")),
    ];
    (headers, asset("text/html; charset=utf-8", page.html)).into_response()
}

/// What belongs together comes together: a browser asks each time whether it has changed.
fn asset(kind: &'static str, body: impl IntoResponse) -> Response {
    let headers = [(CONTENT_TYPE, kind), (CACHE_CONTROL, "no-cache")];
    (headers, body).into_response()
}
