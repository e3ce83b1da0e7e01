//! Pages of other origins: whose may call, and what they may read of an answer (the CORS protocol of the Fetch standard).

use std::convert::Infallible;
use std::future;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::Request;
use axum::response::Response;
use clap::Args;
use http::header::{AUTHORIZATION, CONTENT_TYPE, ORIGIN, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use reqwest::Url;
use shared_claims::extract::Cause;
use tower::{Layer, ServiceExt, service_fn};
use tower_http::cors::CorsLayer;

use crate::request_log::X_REQUEST_ID;

/// How long a browser may rely on a preflight's answer: as long as any browser does.
const PREFLIGHT_AGE: Duration = Duration::from_hours(2);

/// Settings of what pages of other origins may do.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Browsers")]
pub struct CorsSettings {
    /// Origins whose pages may call, like `https://app.example.com`, with commas between them [default: none]
    #[arg(
        long,
        env = "CORS_ALLOWED_ORIGINS",
        value_name = "ORIGINS",
        value_delimiter = ',',
        value_parser = Origin::parse,
        global = true
    )]
    cors_allowed_origins: Vec<Origin>,
}

impl CorsSettings {
    /// Whether no origin is named.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.cors_allowed_origins.is_empty()
    }

    /// Whether pages from elsewhere than this machine may call.
    #[must_use]
    pub fn allows_elsewhere(&self) -> bool {
        let origins = &self.cors_allowed_origins;
        origins.iter().any(|origin| !origin.is_local())
    }

    /// Allows this origin too.
    pub fn allow(&mut self, origin: Origin) {
        self.cors_allowed_origins.push(origin);
    }

    /// The origins that are named.
    #[must_use]
    pub fn resolve(self) -> AllowedOrigins {
        AllowedOrigins(self.cors_allowed_origins.into())
    }
}

/// An origin as browsers write it in the `Origin` header (RFC 6454 section 6.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    text: HeaderValue,
    local: bool,
}

impl Origin {
    /// An origin from a setting.
    ///
    /// # Errors
    /// What would be right: it is compared with what browsers send, so that nothing but that would ever match.
    pub fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if text.contains('*') {
            return Err(
                "name each origin: what is open to the pages of all is open to those of an attacker"
                    .to_owned(),
            );
        }
        let example = || "write an origin like https://app.example.com".to_owned();
        let url = Url::parse(text).map_err(|_| example())?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(example());
        }
        let origin = url.origin().ascii_serialization();
        if origin != text {
            return Err(format!("write it as browsers do: {origin}"));
        }
        Ok(Self {
            local: url.host_str().is_some_and(is_local),
            text: HeaderValue::try_from(origin).map_err(|_| example())?,
        })
    }

    /// Whether its pages come from this very machine.
    #[must_use]
    pub fn is_local(&self) -> bool {
        self.local
    }
}

fn is_local(host: &str) -> bool {
    host == "localhost"
        || host.ends_with(".localhost")
        || host == "[::1]"
        || host
            .parse()
            .is_ok_and(|ip: std::net::Ipv4Addr| ip.is_loopback())
}

/// The origins whose pages may call.
#[derive(Clone, Debug, Default)]
pub struct AllowedOrigins(Arc<[Origin]>);

impl FromIterator<Origin> for AllowedOrigins {
    fn from_iter<I: IntoIterator<Item = Origin>>(origins: I) -> Self {
        Self(origins.into_iter().collect())
    }
}

impl AllowedOrigins {
    /// Whether a request comes from a page of one of them: its one `Origin` header says so.
    #[must_use]
    pub fn sent(&self, headers: &HeaderMap) -> bool {
        let mut origins = headers.get_all(ORIGIN).iter();
        let (origin, more) = (origins.next(), origins.next());
        more.is_none() && origin.is_some_and(|origin| self.0.iter().any(|it| it.text == origin))
    }

    /// The first whose pages come from elsewhere than this machine.
    #[must_use]
    pub fn first_elsewhere(&self) -> Option<&str> {
        let elsewhere = self.0.iter().find(|origin| !origin.is_local())?;
        elsewhere.text.to_str().ok()
    }

    /// The layer that lets their pages read answers; `None` when there are none, and browsers keep every page out.
    #[must_use]
    pub fn layer(&self) -> Option<CorsLayer> {
        if self.0.is_empty() {
            return None;
        }
        let trace = ["traceparent", "tracestate"].map(HeaderName::from_static);
        let [traceparent, tracestate] = trace;
        let layer = CorsLayer::new()
            .allow_origin(
                self.0
                    .iter()
                    .map(|origin| origin.text.clone())
                    .collect::<Vec<_>>(),
            )
            .allow_methods([
                Method::GET,
                Method::POST,
                Method::PUT,
                Method::PATCH,
                Method::DELETE,
            ])
            .allow_headers([
                AUTHORIZATION,
                CONTENT_TYPE,
                X_REQUEST_ID,
                traceparent,
                tracestate,
            ])
            .expose_headers([WWW_AUTHENTICATE, RETRY_AFTER, X_REQUEST_ID])
            .max_age(PREFLIGHT_AGE);
        Some(layer)
    }

    /// The layer for a service that takes cookies.
    #[must_use]
    pub fn layer_with_cookies(&self) -> Option<CorsLayer> {
        Some(self.layer()?.allow_credentials(true))
    }
}

/// Who may read what is answered without the routes, and so without the layer that is around them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Readers(Option<Arc<CorsLayer>>);

impl Readers {
    pub(crate) fn new(cors: Option<CorsLayer>) -> Self {
        Self(cors.map(Arc::new))
    }

    /// Remembers the page that a request comes from, if it comes from one.
    pub(crate) fn asker(&self, request: &Request) -> Asker {
        let page = self.0.as_ref().and_then(|cors| {
            let origin = request.headers().get(ORIGIN)?.clone();
            Some((Arc::clone(cors), request.method().clone(), origin))
        });
        Asker(page)
    }
}

/// The page that a request comes from.
#[derive(Debug)]
pub(crate) struct Asker(Option<(Arc<CorsLayer>, Method, HeaderValue)>);

impl Asker {
    /// This answer to the request, for the page to read if it may. A preflight asks for nothing else, and is answered: the request
    /// that it is for meets the same trouble, and then the page sees which.
    pub(crate) async fn answer(self, answer: Response) -> Response {
        let Some((cors, method, origin)) = self.0 else {
            return answer;
        };
        let cause = answer.extensions().get::<Cause>().cloned();
        let mut request = http::Request::new(());
        *request.method_mut() = method;
        request.headers_mut().insert(ORIGIN, origin);
        let mut answer = Some(answer);
        let once = move |_| future::ready(Ok::<_, Infallible>(answer.take().unwrap_or_default()));
        let answering = cors.layer(service_fn(once));
        let mut answer = match answering.oneshot(request).await {
            Ok(answer) => answer,
            Err(never) => match never {},
        };
        // That of a preflight is made anew: the log is to say all the same what was the matter.
        if let Some(cause) = cause {
            answer.extensions_mut().insert(cause);
        }
        answer
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_written_as_browsers_write_it() {
        for text in [
            "https://app.example.com",
            "http://127.0.0.1:8002",
            "http://localhost:3000",
            "https://xn--bcher-kva.example",
            "http://[::1]:8002",
        ] {
            assert_eq!(Origin::parse(text).unwrap().text, text);
        }
        for text in [
            "https://app.example.com/",
            "https://app.example.com/page",
            "https://app.example.com:443",
            "https://App.example.com",
            "https://user@app.example.com",
            "https://bücher.example",
        ] {
            let fault = Origin::parse(text).unwrap_err();
            assert!(
                fault.contains("write it as browsers do: https://"),
                "{text}: {fault}"
            );
        }
        for text in [
            "*",
            "null",
            "",
            "app.example.com",
            "file:///",
            "ftp://app.example.com",
            "https://*.example.com",
        ] {
            assert!(Origin::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn an_origin_of_this_machine_is_told_from_others() {
        for text in [
            "http://localhost:3000",
            "http://app.localhost",
            "http://127.0.0.2",
            "http://[::1]",
        ] {
            assert!(Origin::parse(text).unwrap().is_local(), "{text}");
        }
        for text in [
            "http://192.168.0.2",
            "https://localhost.example",
            "https://127.0.0.1.example",
        ] {
            assert!(!Origin::parse(text).unwrap().is_local(), "{text}");
        }
    }

    #[test]
    fn a_request_comes_from_an_allowed_page_when_its_one_origin_is_in_the_list() {
        let allowed: AllowedOrigins = [Origin::parse("https://app.example.com").unwrap()]
            .into_iter()
            .collect();
        let sent = |origins: &[&'static str]| {
            let headers = origins
                .iter()
                .map(|origin| (ORIGIN, HeaderValue::from_static(origin)));
            let mut map = HeaderMap::new();
            headers.for_each(|(name, value)| {
                map.append(name, value);
            });
            allowed.sent(&map)
        };
        assert!(sent(&["https://app.example.com"]));
        for origins in [
            &[][..],
            &["null"],
            &["http://app.example.com"],
            &["https://app.example.com.evil.example"],
            &["https://app.example.com:8443"],
            &["https://app.example.com", "https://app.example.com"],
            &["https://evil.example", "https://app.example.com"],
        ] {
            assert!(!sent(origins), "{origins:?}");
        }
    }
}
