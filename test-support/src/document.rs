//! A service's `OpenAPI` document, held against the service.

use std::collections::{BTreeSet, HashSet};
use std::fs;
use std::path::PathBuf;

use reqwest::Method;
use serde_json::Value;

use crate::client::{Client, Reply};

/// The document of a service.
pub async fn of(service: &Client) -> Value {
    let document = service.get("/openapi.json").await.has_status(200).json();
    assert_eq!(document["openapi"], "3.1.0");
    document
}

/// Asserts that the document of a service describes these routes, each like `GET /profile`, and no others; that what is the same
/// for all is said of each; and that each, called by a stranger, answers with a status that is described.
pub async fn describes(service: &Client, routes: &[&str]) {
    let document = of(service).await;
    let (mut ids, mut described) = (HashSet::new(), BTreeSet::new());
    for (path, item) in members(&document["paths"]) {
        for (method, operation) in members(item) {
            let route = format!("{} {path}", method.to_uppercase());
            let id = operation["operationId"].as_str().expect("an id");
            assert!(ids.insert(id.to_owned()), "{id} stands twice");
            check(operation, &route);
            let method: Method = method.to_uppercase().parse().expect("a method");
            let request = service.request(&method, &path.replace("{id}", "x"));
            let status = Reply::to(request).await.status.as_u16();
            assert!(
                operation["responses"][status.to_string()].is_object(),
                "{route} answers {status}, which is not described"
            );
            described.insert(route);
        }
    }
    let routes: BTreeSet<_> = routes.iter().map(|&route| route.to_owned()).collect();
    assert_eq!(described, routes);
}

fn check(operation: &Value, route: &str) {
    for (status, answer) in members(&operation["responses"]) {
        let has_id = answer["headers"]["x-request-id"].is_object();
        assert!(has_id, "{route} {status}");
        let is_error = status.starts_with(['4', '5']);
        let has_body = answer["content"].is_object();
        assert!(!is_error || has_body, "{route} {status}");
    }
    for status in ["500", "503"] {
        assert!(
            operation["responses"][status].is_object(),
            "{route} {status}"
        );
    }
}

/// Asserts that everything that a document refers to is in it.
pub fn refers_to_nothing_that_is_missing(document: &Value) {
    let mut references = Vec::new();
    collect_references(document, &mut references);
    assert!(!references.is_empty());
    references.retain(|reference| {
        let pointer = reference.strip_prefix('#');
        pointer.is_none_or(|pointer| document.pointer(pointer).is_none())
    });
    references.dedup();
    assert!(references.is_empty(), "{references:?} are not there");
}

fn collect_references<'a>(value: &'a Value, into: &mut Vec<&'a str>) {
    match value {
        Value::Object(object) => {
            if let Some(reference) = object.get("$ref") {
                into.push(reference.as_str().expect("a reference is a text"));
            }
            for member in object.values() {
                collect_references(member, into);
            }
        }
        Value::Array(items) => {
            for item in items {
                collect_references(item, into);
            }
        }
        _ => {}
    }
}

/// The paths of routes that these files, and those in these folders, add without a description: with `route`. Those with one are
/// added together with it. A router does not tell what its routes are, so that its text is asked.
pub fn undescribed(sources: &[PathBuf]) -> BTreeSet<String> {
    let mut paths = BTreeSet::new();
    for source in sources {
        if source.is_dir() {
            let entries = fs::read_dir(source).expect("a folder of sources");
            for entry in entries {
                let path = entry.expect("an entry of a folder").path();
                paths.extend(undescribed(&[path]));
            }
            continue;
        }
        let text = fs::read_to_string(source).expect("a file of source");
        for added in text.split(".route(").skip(1) {
            let path = added.trim_start().strip_prefix('"');
            let path = path.and_then(|path| path.split('"').next());
            let path = path.unwrap_or_else(|| panic!("which path? {}", source.display()));
            paths.insert(path.to_owned());
        }
    }
    paths
}

fn members(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().expect("an object").iter()
}
