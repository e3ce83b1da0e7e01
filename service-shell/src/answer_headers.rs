//! What every answer says of itself, so that no browser or cache makes more of it than it is.

use http::header::{CACHE_CONTROL, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderMap, HeaderValue};

/// An answer is what its type says, whatever its bytes look like; and nobody keeps it, unless its route says how long.
pub(crate) fn complete(headers: &mut HeaderMap) {
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    // Without it a cache may keep a 200 or a 404 for as long as it thinks right (RFC 9111 section 4.2.2).
    if !headers.contains_key(CACHE_CONTROL) {
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
}
