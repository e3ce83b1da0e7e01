//! JSON bodies in: read once, with our own error shape for whatever is wrong with them.

use axum::extract::{FromRequest, Request};
use http::HeaderMap;
use http::header::CONTENT_TYPE;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};

use crate::client_body;
use crate::problem::Problem;

/// A JSON body. Optional fields of `T` are checked by a [`Fields`], which tells what is wrong with each.
#[derive(Debug)]
pub struct JsonBody<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for JsonBody<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        if !is_json(request.headers()) {
            return Err(Problem::invalid_request(
                "The request body must be JSON, with 'Content-Type: application/json'",
            ));
        }
        parse(&client_body::read(request).await?).map(Self)
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    let content_type = headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let essence = content_type
        .split(';')
        .next()
        .unwrap_or_default()
        .trim()
        .to_ascii_lowercase();
    essence == "application/json"
        || (essence.starts_with("application/") && essence.ends_with("+json"))
}

/// serde's messages quote the value that they complain of, which may be a password: only the field's name and what was
/// expected of it go on.
fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    // serde would take a list for the fields in their order.
    let first = bytes.iter().find(|byte| !byte.is_ascii_whitespace());
    if first.is_some_and(|first| *first != b'{') {
        return Err(Problem::invalid_request(
            "The request body must be a JSON object",
        ));
    }
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let field = error.path().to_string();
        let error = error.into_inner();
        if !error.is_data() {
            return Problem::invalid_request(format!(
                "The request body is not JSON (line {}, column {})",
                error.line(),
                error.column()
            ));
        }
        let message = error.to_string();
        let expected = message
            .split_once("expected ")
            .map_or("something else", |(_, rest)| {
                rest.split(" at line").next().unwrap_or(rest)
            });
        match field.as_str() {
            "." => Problem::invalid_request(
                "The request body must be a JSON object that has each field once",
            ),
            field => Problem::invalid_fields([(
                known_characters(field),
                vec![format!("Must be {expected}.")],
            )]),
        }
    })?;
    json.end()
        .map_err(|_| Problem::invalid_request("The request body goes on after its JSON"))?;
    Ok(value)
}

/// A field's name comes from the request: it is quoted only as far as any of our own names goes.
fn known_characters(field: &str) -> String {
    field
        .chars()
        .filter(|character| {
            character.is_ascii_alphanumeric() || matches!(character, '_' | '.' | '[' | ']')
        })
        .take(64)
        .collect()
}

/// The value of a field that stands in the body, be it as null.
#[derive(Debug, Deserialize)]
#[serde(transparent)]
pub struct Nullable<T>(pub Option<T>);

/// Tells a field that is null from one that is not there: `#[serde(default, deserialize_with = "stated")]`.
///
/// # Errors
/// The value is neither null nor a `T`.
pub fn stated<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Nullable<T>>, D::Error> {
    Nullable::deserialize(deserializer).map(Some)
}

/// Checks the fields of a body and collects what is wrong, so that a client learns all of it at once.
#[derive(Debug, Default)]
pub struct Fields {
    faults: Vec<(&'static str, Vec<String>)>,
}

impl Fields {
    /// The checked value of a field that must be there, or `None` when something is wrong with it.
    pub fn required<I, T, E: ToString>(
        &mut self,
        name: &'static str,
        value: Option<I>,
        check: impl FnOnce(I) -> Result<T, E>,
    ) -> Option<T> {
        let Some(value) = value else {
            self.faults
                .push((name, vec!["Missing data for required field.".to_owned()]));
            return None;
        };
        check(value)
            .map_err(|fault| self.faults.push((name, vec![fault.to_string()])))
            .ok()
    }

    /// The values, when nothing is wrong with any of them.
    ///
    /// # Errors
    /// The answer 400 that names every fault.
    ///
    /// # Panics
    /// When a value is missing for which no fault was noted.
    pub fn finish<T>(self, values: Option<T>) -> Result<T, Problem> {
        if !self.faults.is_empty() {
            return Err(Problem::invalid_fields(self.faults));
        }
        Ok(values.expect("a field without a value has a fault"))
    }
}
