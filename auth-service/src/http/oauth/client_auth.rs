//! The form of an OAuth request, and the client that sent it (RFC 6749 sections 2.3 and 3.2).

use std::collections::BTreeMap;

use axum::extract::{FromRef, FromRequest, FromRequestParts, Request};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::HeaderMap;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use secrecy::SecretString;
use service_shell::client_body;
use shared_claims::extract::CallerLog;
use shared_claims::{ClientId, Scope, Subject};
use zeroize::Zeroizing;

use super::super::credentials::Peer;
use super::error::OAuthError;
use crate::attempts::Attempts;
use crate::clients::{Client, ClientSecret, Clients};
use crate::proxies::TrustedProxies;

/// The parameters of a request, each at most once (RFC 6749 section 3.2) but for those of which RFC 8693 allows several.
pub(crate) struct Form(BTreeMap<String, Vec<Zeroizing<String>>>);

/// RFC 8693 section 2.1.
const MAY_STAND_AGAIN: [&str; 2] = ["audience", "resource"];

impl Form {
    fn parse(headers: &HeaderMap, body: &[u8]) -> Result<Self, OAuthError> {
        let content_type = headers
            .get(CONTENT_TYPE)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default();
        let essence = content_type.split(';').next().unwrap_or_default().trim();
        if !essence.eq_ignore_ascii_case("application/x-www-form-urlencoded") {
            let msg = "The request body must be a form, with 'Content-Type: application/x-www-form-urlencoded'";
            return Err(OAuthError::InvalidRequest(msg.to_owned()));
        }
        let mut parameters = BTreeMap::<_, Vec<_>>::new();
        for (name, value) in form_urlencoded::parse(body) {
            // A parameter without a value is one that was left out.
            if value.is_empty() {
                continue;
            }
            let values = parameters.entry(name.into_owned()).or_default();
            values.push(Zeroizing::new(value.into_owned()));
        }
        let once = |(name, values): (&String, &Vec<_>)| {
            values.len() == 1 || MAY_STAND_AGAIN.contains(&name.as_str())
        };
        if !parameters.iter().all(once) {
            return Err(OAuthError::InvalidRequest(
                "A parameter stands twice in the request".to_owned(),
            ));
        }
        Ok(Self(parameters))
    }

    pub(crate) fn optional(&self, name: &str) -> Option<&str> {
        self.0.get(name)?.first().map(|value| value.as_str())
    }

    pub(crate) fn all(&self, name: &str) -> Vec<String> {
        let values = self.0.get(name).into_iter().flatten();
        values.map(|value| value.to_string()).collect()
    }

    pub(crate) fn required(&self, name: &'static str) -> Result<&str, OAuthError> {
        self.optional(name)
            .ok_or_else(|| OAuthError::InvalidRequest(format!("The parameter '{name}' is missing")))
    }

    pub(crate) fn scope(&self) -> Result<Option<Scope>, OAuthError> {
        let parse = |scope: &str| {
            let scope = scope.parse().ok();
            // At least one token must stand there (RFC 6749 section 3.3).
            scope.filter(|scope: &Scope| !scope.is_empty())
        };
        self.optional("scope")
            .map(|scope| parse(scope).ok_or(OAuthError::InvalidScope))
            .transpose()
    }
}

/// A request by a client that has proven who it is.
pub(crate) struct ClientRequest {
    pub(crate) client: Client,
    pub(crate) form: Form,
}

/// A request by a client that has proven who it is, or by nobody in particular: a public client.
pub(crate) struct AnyRequest {
    pub(crate) form: Form,
}

impl<S: Send + Sync> FromRequest<S> for ClientRequest
where
    Clients: FromRef<S>,
    Attempts: FromRef<S>,
    TrustedProxies: FromRef<S>,
{
    type Rejection = OAuthError;

    async fn from_request(request: Request, state: &S) -> Result<Self, OAuthError> {
        let (client, form) = read(request, state).await?;
        Ok(Self {
            client: client.ok_or(OAuthError::InvalidClient)?,
            form,
        })
    }
}

impl<S: Send + Sync> FromRequest<S> for AnyRequest
where
    Clients: FromRef<S>,
    Attempts: FromRef<S>,
    TrustedProxies: FromRef<S>,
{
    type Rejection = OAuthError;

    async fn from_request(request: Request, state: &S) -> Result<Self, OAuthError> {
        let (_, form) = read(request, state).await?;
        Ok(Self { form })
    }
}

async fn read<S: Send + Sync>(
    request: Request,
    state: &S,
) -> Result<(Option<Client>, Form), OAuthError>
where
    Clients: FromRef<S>,
    Attempts: FromRef<S>,
    TrustedProxies: FromRef<S>,
{
    let (mut parts, body) = request.into_parts();
    let Ok(Peer(ip)) = Peer::from_request_parts(&mut parts, state).await;
    let (headers, log) = (
        parts.headers.clone(),
        parts.extensions.get::<CallerLog>().cloned(),
    );
    let body = client_body::read(Request::from_parts(parts, body)).await?;
    let form = Form::parse(&headers, &body)?;
    let Some((id, secrets)) = credentials(&headers, &form)? else {
        return Ok((None, form));
    };
    // A wrong secret counts for the address, and a right one always passes: whoever shares the address with a guesser, or is the
    // client that is guessed at, is kept out by neither. Looking costs a hash that is no password's.
    let client = Clients::from_ref(state).authenticate(&id, &secrets).await?;
    let Some(client) = client else {
        drop(Attempts::from_ref(state).from(ip).await?);
        return Err(OAuthError::InvalidClient);
    };
    if let Some(log) = log {
        log.note(&Subject::from(client.id.as_str()), None);
    }
    Ok((Some(client), form))
}

/// `client_secret_basic` or `client_secret_post`, but not both (RFC 6749 section 2.3). An id without a secret proves
/// nothing, and public clients send just that.
fn credentials(
    headers: &HeaderMap,
    form: &Form,
) -> Result<Option<(ClientId, Vec<ClientSecret>)>, OAuthError> {
    let posted = form
        .optional("client_secret")
        .map(|secret| (form.optional("client_id"), secret));
    let mut authorizations = headers.get_all(AUTHORIZATION).iter();
    let Some(authorization) = authorizations.next() else {
        let Some((id, secret)) = posted else {
            return Ok(None);
        };
        let id = id.ok_or_else(|| {
            OAuthError::InvalidRequest("The parameter 'client_id' is missing".to_owned())
        })?;
        return Ok(Some((
            id.into(),
            vec![ClientSecret::presented(secret.into())],
        )));
    };
    if posted.is_some() || authorizations.next().is_some() {
        let msg = "A client must authenticate in one way only";
        return Err(OAuthError::InvalidRequest(msg.to_owned()));
    }
    let (id, secrets) = authorization
        .to_str()
        .ok()
        .and_then(basic)
        .ok_or(OAuthError::InvalidClient)?;
    if form
        .optional("client_id")
        .is_some_and(|posted| posted != id.as_str())
    {
        let msg = "The parameter 'client_id' names another client than the Authorization header";
        return Err(OAuthError::InvalidRequest(msg.to_owned()));
    }
    Ok(Some((
        id,
        secrets.into_iter().map(ClientSecret::presented).collect(),
    )))
}

/// Both halves are form-encoded before they are joined (RFC 6749 section 2.3.1). Many clients do not know that: a secret is
/// tried as it stands too.
fn basic(header: &str) -> Option<(ClientId, Vec<SecretString>)> {
    let (scheme, credentials) = header.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let text = Zeroizing::new(String::from_utf8(STANDARD.decode(credentials.trim()).ok()?).ok()?);
    let (id, secret) = text.split_once(':')?;
    Some((
        decoded(id).into(),
        vec![decoded(secret).into(), secret.into()],
    ))
}

fn decoded(text: &str) -> String {
    // Parsed as the name of a parameter without a value: `=` and `&` are encoded in it, or else stand for themselves.
    let text = text.replace('=', "%3D").replace('&', "%26");
    form_urlencoded::parse(text.as_bytes())
        .next()
        .map(|(name, _)| name.into_owned())
        .unwrap_or_default()
}
