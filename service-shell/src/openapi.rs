//! The `OpenAPI` document of a service, as its handlers describe it, and a page to try it.

use axum::Router;
use axum::body::Bytes;
use axum::routing::get;
use http::HeaderValue;
use http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY};
use shared_claims::wire::ErrorBody;
use utoipa::openapi::header::{Header, HeaderBuilder};
use utoipa::openapi::path::Operation;
use utoipa::openapi::security::{Http, HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{
    Content, InfoBuilder, ObjectBuilder, OpenApi, OpenApiBuilder, PathItem, Ref, RefOr, Response,
    ResponseBuilder, Type,
};
use utoipa::{IntoResponses, ToSchema};
use utoipa_axum::router::OpenApiRouter;

/// The page of `/docs`. It fetches the document from beside it, and nothing from anywhere else.
const HTML: &str = include_str!("../docs-page/index.html");
const STYLE: &str = include_str!("../docs-page/docs.css");
const SCRIPT: &str = include_str!("../docs-page/docs.js");
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; connect-src 'self'; base-uri 'none'; \
     form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'";

/// Kept only as long as it is asked for again each time: the next version has another page and another document.
const UNCHANGED: HeaderValue = HeaderValue::from_static("no-cache");

/// What a route that asks for an access token answers when there is none, or one that does not do.
#[derive(IntoResponses)]
pub enum TokenRefused {
    /// No token, or one that is not good here, or not any more: `missing_token`, `malformed_header`, `token_expired`,
    /// `invalid_token`, `wrong_token_type`, `token_revoked`, `fresh_token_required`
    #[response(status = 401)]
    Unauthorized(ErrorBody),
    /// A good token that does not allow this: `insufficient_scope`, `wrong_caller`
    #[response(status = 403)]
    Forbidden(ErrorBody),
}

/// What a route with a body answers to one that is not what it asks for.
#[derive(IntoResponses)]
pub enum BodyRefused {
    /// The body is not the JSON that is asked for; `errors` says what is wrong with which field: `invalid_request`
    #[response(status = 400)]
    Invalid(ErrorBody),
    /// The body comes too slowly: `request_timeout`
    #[response(status = 408)]
    TooSlow(ErrorBody),
    /// The body is longer than may be, 64 KiB by default: `payload_too_large`
    #[response(status = 413)]
    TooLarge(ErrorBody),
}

/// What a route that can be used to guess answers to whoever does so.
#[derive(IntoResponses)]
pub enum AttemptRefused {
    /// Too many attempts from this address, or for this user: `rate_limited`
    #[response(status = 429)]
    TooMany(ErrorBody),
}

/// The routes with `/openapi.json` and `/docs` beside them.
///
/// # Panics
/// When an example in the document is none that JSON could write, which a test would have shown.
pub fn documented<S: Clone + Send + Sync + 'static>(
    title: &str,
    description: &str,
    routes: OpenApiRouter<S>,
) -> Router<S> {
    let (routes, described) = routes.split_for_parts();
    let document = complete(title, description, described);
    let document = serde_json::to_vec(&document).expect("a document can be written as JSON");
    let document = Bytes::from(document);
    let asset = |kind: &'static str, text: &'static str| {
        get(async move || {
            let headers = [
                (CONTENT_TYPE, HeaderValue::from_static(kind)),
                (CACHE_CONTROL, UNCHANGED),
                (REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
                (CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY)),
            ];
            (headers, text)
        })
    };
    let headers = [
        (CONTENT_TYPE, HeaderValue::from_static("application/json")),
        (CACHE_CONTROL, UNCHANGED),
    ];
    let document = async move || (headers.clone(), document.clone());
    routes
        .route("/openapi.json", get(document))
        .route("/docs", asset("text/html; charset=utf-8", HTML))
        .route("/docs/docs.css", asset("text/css; charset=utf-8", STYLE))
        .route(
            "/docs/docs.js",
            asset("text/javascript; charset=utf-8", SCRIPT),
        )
}

/// What is the same for every route: the request id, and what nobody foresees.
fn complete(title: &str, description: &str, described: OpenApi) -> OpenApi {
    let info = InfoBuilder::new()
        .title(title)
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some(description));
    let mut document = OpenApiBuilder::new().info(info).build();
    document.merge(described);
    for (path, item) in &mut document.paths.paths {
        for (method, operation) in operations(item) {
            complete_operation(&format!("{method}{path}"), operation);
        }
    }
    let components = document.components.get_or_insert_default();
    let (name, schema) = (
        ErrorBody::name().into_owned(),
        <ErrorBody as utoipa::PartialSchema>::schema(),
    );
    components.schemas.insert(name, schema);
    let bearer: Http = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .bearer_format("JWT")
        .build();
    components.add_security_scheme("token", SecurityScheme::Http(bearer));
    let basic = HttpBuilder::new().scheme(HttpAuthScheme::Basic).build();
    components.add_security_scheme("client", SecurityScheme::Http(basic));
    document
}

fn complete_operation(address: &str, operation: &mut Operation) {
    // A handler's name is its own in its file; a document has one namespace.
    let words = address.split(|character: char| !character.is_ascii_alphanumeric());
    let words: Vec<_> = words.filter(|word| !word.is_empty()).collect();
    operation.operation_id = Some(words.join("_"));
    let unforeseen =
        problem("What nobody foresaw; the log has it under the request id: `internal`");
    let later = problem(
        "There is more to do than can be done in time, or the service is not ready: `overloaded`, `not_ready`",
    );
    let responses = &mut operation.responses.responses;
    for (status, response) in [("500", unforeseen), ("503", later)] {
        let described = responses.entry(status.to_owned());
        described.or_insert(RefOr::T(response));
    }
    for (status, response) in responses {
        let RefOr::T(response) = response else {
            continue;
        };
        let mut has = |name: &str, kind, description| {
            let header = header(kind, description);
            response.headers.insert(name.to_owned(), header);
        };
        has(
            "x-request-id",
            Type::String,
            "What the request is found by in the logs",
        );
        match status.as_str() {
            "401" => has(
                "WWW-Authenticate",
                Type::String,
                "What is wanted, and what is wrong (RFC 9110 section 11.6.1)",
            ),
            "429" | "503" => has(
                "Retry-After",
                Type::Integer,
                "Seconds to wait before another try",
            ),
            _ => {}
        }
    }
}

fn operations(path: &mut PathItem) -> impl Iterator<Item = (&'static str, &mut Operation)> {
    [
        ("get", &mut path.get),
        ("post", &mut path.post),
        ("put", &mut path.put),
        ("patch", &mut path.patch),
        ("delete", &mut path.delete),
    ]
    .into_iter()
    .filter_map(|(method, operation)| Some((method, operation.as_mut()?)))
}

fn problem(description: &str) -> Response {
    let schema = Ref::from_schema_name(ErrorBody::name());
    ResponseBuilder::new()
        .description(description)
        .content("application/json", Content::new(Some(schema)))
        .build()
}

fn header(kind: Type, description: &str) -> RefOr<Header> {
    let schema = ObjectBuilder::new().schema_type(kind);
    let header = HeaderBuilder::new().schema(Some(schema));
    RefOr::T(header.description(Some(description)).build())
}
