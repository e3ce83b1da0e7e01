//! The cookie of a refresh token: what it looks like, and which pages may have the browser send it.

use http::header::{AUTHORIZATION, COOKIE, ORIGIN, SET_COOKIE};
use http::{HeaderMap, HeaderName, HeaderValue};
use service_shell::cors::AllowedOrigins;
use shared_claims::RefreshToken;
use shared_claims::extract::bearer_token;

use super::error::Error;
use crate::sessions::Delivery;

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// The routes that take the token, a login to end its session. A cookie has one path, so that there is one for each.
const PATHS: [&str; 3] = ["/login", "/refresh", "/logout"];

/// How refresh tokens go to browsers and come back.
#[derive(Clone, Debug)]
pub(crate) struct RefreshCookie {
    allowed: AllowedOrigins,
    secure: bool,
}

impl RefreshCookie {
    /// `secure`: over TLS alone, as everywhere but on a developer's machine.
    pub(crate) fn new(allowed: AllowedOrigins, secure: bool) -> Self {
        Self { allowed, secure }
    }

    /// The prefix has browsers refuse a cookie of this name that came without TLS. `__Host-` would want it sent to every path.
    fn name(&self) -> &'static str {
        if self.secure {
            "__Secure-tokenpair-refresh"
        } else {
            "tokenpair-refresh"
        }
    }

    /// Refuses a request that was not caused by a page which may use the cookie: one of an allowed origin, or one of our own by the
    /// browser's word (Fetch Metadata). Browsers name the origin with every POST; what names none is no such page.
    pub(super) fn guard(&self, headers: &HeaderMap) -> Result<(), Error> {
        let ours = || {
            let site = headers.get(SEC_FETCH_SITE);
            headers.contains_key(ORIGIN) && site.is_some_and(|site| site == "same-origin")
        };
        if self.allowed.sent(headers) || ours() {
            Ok(())
        } else {
            Err(Error::OriginNotAllowed)
        }
    }

    /// The token of a request, and the way that it came.
    pub(super) fn presented<'a>(
        &self,
        headers: &'a HeaderMap,
    ) -> Result<(&'a str, Delivery), Error> {
        let mut cookies = self.values(headers);
        let Some(token) = cookies.next() else {
            return Ok((bearer_token(headers)?, Delivery::Header));
        };
        self.guard(headers)?;
        // Two of a name come from two hosts, and one of these may be an attacker's.
        if cookies.next().is_some() || headers.contains_key(AUTHORIZATION) {
            return Err(Error::SeveralTokens);
        }
        Ok((token, Delivery::Cookie))
    }

    /// The token of the session that a login follows in the same browser. Of several nothing is known, and nothing is refused: a
    /// cookie that is no good must not keep its user from logging in. The caller has been through the [`guard`](Self::guard).
    pub(super) fn earlier<'a>(&self, headers: &'a HeaderMap) -> Option<&'a str> {
        let mut cookies = self.values(headers);
        let token = cookies.next()?;
        cookies.next().is_none().then_some(token)
    }

    /// RFC 6265 section 5.4. What is no text has no cookie of ours in it.
    fn values<'a>(&self, headers: &'a HeaderMap) -> impl Iterator<Item = &'a str> + use<'a> {
        let name = self.name();
        let headers = headers.get_all(COOKIE).iter();
        let pairs = headers.filter_map(|header| header.to_str().ok());
        pairs
            .flat_map(|header| header.split(';'))
            .filter_map(move |pair| {
                let (found, value) = pair.trim().split_once('=')?;
                (found == name).then_some(value)
            })
    }

    /// Hands a token to the browser, for this many seconds.
    pub(super) fn set(&self, token: &RefreshToken, max_age: i64) -> HeaderMap {
        self.cookies(token.expose(), max_age)
    }

    /// Has the browser forget the token.
    pub(super) fn clear(&self) -> HeaderMap {
        self.cookies("", 0)
    }

    fn cookies(&self, value: &str, max_age: i64) -> HeaderMap {
        let (name, secure) = (self.name(), if self.secure { "; Secure" } else { "" });
        let cookies = PATHS.map(|path| {
            let cookie = format!(
                "{name}={value}; Path={path}; Max-Age={max_age}; HttpOnly; SameSite=Strict{secure}"
            );
            let mut cookie = HeaderValue::try_from(cookie).expect("a token is visible ASCII");
            cookie.set_sensitive(true);
            (SET_COOKIE, cookie)
        });
        let mut headers = HeaderMap::new();
        for (name, cookie) in cookies {
            headers.append(name, cookie);
        }
        headers
    }
}
