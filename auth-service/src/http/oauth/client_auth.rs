//! The form of an OAuth request, and the client that sent it (RFC 6749 sections 2.3 and 3.2).

use std::collections::BTreeMap;

use axum::body::Bytes;
use axum::extract::{FromRef, FromRequest, Request};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, StatusCode};
use secrecy::SecretString;
use shared_claims::extract::CallerLog;
use shared_claims::{ClientId, Scope, Subject};
use zeroize::Zeroizing;

use super::error::OAuthError;
use crate::clients::{Client, ClientSecret, Clients};

/// The parameters of a request, each at most once (RFC 6749 section 3.2).
pub(crate) struct Form(BTreeMap<String, Zeroizing<String>>);

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
        let mut parameters = BTreeMap::new();
        for (name, value) in form_urlencoded::parse(body) {
            if parameters
                .insert(name.into_owned(), Zeroizing::new(value.into_owned()))
                .is_some()
            {
                return Err(OAuthError::InvalidRequest(
                    "A parameter stands twice in the request".to_owned(),
                ));
            }
        }
        // A parameter without a value is one that was left out.
        parameters.retain(|_, value| !value.is_empty());
        Ok(Self(parameters))
    }

    pub(crate) fn optional(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(|value| value.as_str())
    }

    pub(crate) fn required(&self, name: &'static str) -> Result<&str, OAuthError> {
        self.optional(name)
            .ok_or_else(|| OAuthError::InvalidRequest(format!("The parameter '{name}' is missing")))
    }

    pub(crate) fn scope(&self) -> Result<Option<Scope>, OAuthError> {
        self.optional("scope")
            .map(|scope| scope.parse().map_err(|_| OAuthError::InvalidScope))
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
{
    let (headers, log) = (
        request.headers().clone(),
        request.extensions().get::<CallerLog>().cloned(),
    );
    let body = Bytes::from_request(request, state)
        .await
        .map_err(|rejection| {
            if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE {
                return OAuthError::TooLarge;
            }
            OAuthError::InvalidRequest("The request body could not be read to its end".to_owned())
        })?;
    let form = Form::parse(&headers, &body)?;
    let Some((id, secret)) = credentials(&headers, &form)? else {
        return Ok((None, form));
    };
    let client = Clients::from_ref(state)
        .authenticate(&id, &secret)
        .await?
        .ok_or(OAuthError::InvalidClient)?;
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
) -> Result<Option<(ClientId, ClientSecret)>, OAuthError> {
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
        return Ok(Some((id.into(), ClientSecret::presented(secret.into()))));
    };
    if posted.is_some() || authorizations.next().is_some() {
        let msg = "A client must authenticate in one way only";
        return Err(OAuthError::InvalidRequest(msg.to_owned()));
    }
    let (id, secret) = authorization
        .to_str()
        .ok()
        .and_then(basic)
        .ok_or(OAuthError::InvalidClient)?;
    Ok(Some((id, ClientSecret::presented(secret))))
}

/// Both halves are form-encoded before they are joined (RFC 6749 section 2.3.1).
fn basic(header: &str) -> Option<(ClientId, SecretString)> {
    let (scheme, credentials) = header.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let text = Zeroizing::new(String::from_utf8(STANDARD.decode(credentials.trim()).ok()?).ok()?);
    let (id, secret) = text.split_once(':')?;
    Some((decoded(id).into(), decoded(secret).into()))
}

fn decoded(text: &str) -> String {
    // Parsed as the name of a parameter without a value: `=` and `&` are encoded in it, or else stand for themselves.
    let text = text.replace('=', "%3D").replace('&', "%26");
    form_urlencoded::parse(text.as_bytes())
        .next()
        .map(|(name, _)| name.into_owned())
        .unwrap_or_default()
}
