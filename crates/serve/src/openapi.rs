//! The routes as an OpenAPI document.

use serde_json::{Map, Value, json};

use crate::routes::{ROUTES, Route};

/// The description of all routes, as an OpenAPI 3.1 document.
pub fn openapi() -> Value {
    let mut paths = Map::new();
    for route in &ROUTES {
        let path = paths.entry(route.path).or_insert_with(|| json!({}));
        path[route.method.to_ascii_lowercase()] = operation(route);
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "injerto serve",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Answers of a trained network. Every refusal is an object with the key `error`; every answer, refusals \
                            included, has the headers that keep pages of other sites from it."
        },
        "paths": paths,
        "components": { "schemas": schemas() }
    })
}

fn operation(route: &Route) -> Value {
    let (kind, schema) = route.gives;
    let kind = kind.split(';').next().unwrap_or(kind);
    let content = match schema {
        Some(name) => json!({ "schema": reference(name) }),
        None => json!({}),
    };
    let mut responses = json!({ "200": { "description": "the answer", "content": { kind: content } } });
    // Every route answers 421 to a request that names a foreign host.
    for status in route.refuses.iter().chain(&[421]) {
        let refusal = json!({ "application/json": { "schema": reference("Refusal") } });
        responses[status.to_string()] = json!({ "description": meaning(*status), "content": refusal });
    }
    let parameter = |it: &crate::routes::Parameter| json!({ "name": it.name, "in": "query", "required": it.required, "description": it.about, "schema": { "type": it.kind } });
    let mut operation = json!({ "summary": route.about, "responses": responses });
    if !route.parameters.is_empty() {
        operation["parameters"] = route.parameters.iter().map(parameter).collect();
    }
    if !route.takes.is_empty() {
        let files = json!({ "type": "array", "items": { "type": "string", "contentMediaType": "image/*" } });
        let body = |kind: &&str| match *kind {
            "multipart/form-data" => json!({ "schema": { "type": "object", "properties": { "photo": files } } }),
            "application/json" => json!({ "schema": { "type": "object" } }),
            _ => json!({}),
        };
        let content: Map<String, Value> = route.takes.iter().map(|kind| ((*kind).to_owned(), body(kind))).collect();
        operation["requestBody"] = json!({ "required": true, "content": content });
    }
    operation
}

fn reference(name: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{name}") })
}

/// What a status code of a refusal means.
fn meaning(status: u16) -> &'static str {
    match status {
        400 => "the request cannot be understood",
        403 => "the request comes from a page of another site, or changes are not allowed",
        404 => "there is no such photo",
        408 => "the request did not arrive in time",
        409 => "no training is under way",
        413 => "too many bytes, pixels or photos",
        415 => "not an image of a kind that is read, or another content type",
        421 => "the request names a host that this server does not answer for",
        422 => "an image that cannot be decoded, or a class that the network does not know",
        500 => "a file could not be written, or a defect",
        503 => "too many requests, no answer in time, or no network yet; Retry-After says when to ask again",
        _ => unreachable!("the table of routes names no other"),
    }
}

fn schemas() -> Value {
    let number = json!({ "type": "number" });
    let (text, count, truth) =
        (json!({ "type": "string" }), json!({ "type": "integer" }), json!({ "type": "boolean" }));
    let list = |items: &Value| json!({ "type": "array", "items": items });
    let object = |required: &[&str], properties: Value| json!({ "type": "object", "required": required, "properties": properties });
    let class = object(&["class", "probability"], json!({ "class": text, "probability": number }));
    let near = object(&["path", "label", "similarity"], json!({ "path": text, "label": text, "similarity": number }));
    let error = object(&["code", "message"], json!({ "code": text, "message": text }));
    let heatmap = object(
        &["class", "method", "seen", "exif_orientation", "picture"],
        json!({
            "class": text, "method": { "enum": ["grad-cam", "rollout"] },
            "seen": { "type": "array", "items": number, "description": "top, left, height and width of the part that the map covers" },
            "exif_orientation": { "enum": ["ignore", "apply"] }, "picture": text
        }),
    );
    let answer = object(
        &["image"],
        json!({
            "image": text, "classes": list(&class), "unknown": truth, "familiarity": number, "distance": number,
            "neighbours": list(&near), "answer": { "type": ["string", "null"] }, "heatmap": heatmap,
            "labels": { "type": ["array", "null"], "items": { "type": "string" } }, "error": error
        }),
    );
    let epoch = json!({ "type": "object", "description": "a line of history.jsonl" });
    json!({
        "Answers": object(&["answers", "milliseconds"], json!({ "answers": list(&answer), "milliseconds": number })),
        "Health": object(
            &["status", "run", "classes", "knows_unknown", "version"],
            json!({ "status": text, "run": text, "classes": list(&text), "knows_unknown": truth, "version": text }),
        ),
        "Run": object(
            &["name", "state", "epochs_done", "epochs", "words", "history"],
            json!({
                "name": text, "state": { "enum": ["training", "stopping", "stopped", "finished", "checkpoint"] },
                "epochs_done": count, "epochs": { "type": ["integer", "null"] }, "words": text, "history": list(&epoch)
            }),
        ),
        "Stopping": object(&["state", "epochs_kept"], json!({ "state": text, "epochs_kept": count })),
        "Collected": object(
            &["collected", "list", "moves"],
            json!({ "collected": count, "list": text, "moves": { "type": ["string", "null"] } }),
        ),
        "Refusal": object(&["error"], json!({ "error": error })),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_route_is_described_and_every_reference_leads_somewhere() {
        let document = openapi();
        for route in &ROUTES {
            let operation = &document["paths"][route.path][route.method.to_ascii_lowercase()];
            assert!(operation["summary"].is_string() && operation["responses"]["200"].is_object(), "{}", route.path);
            assert_eq!(operation["requestBody"].is_object(), route.method == "POST", "{}", route.path);
        }
        let text = document.to_string();
        for reference in text.split("\"#/components/schemas/").skip(1) {
            let name = reference.split('"').next().expect("it is closed");
            assert!(document["components"]["schemas"][name].is_object(), "{name}");
        }
    }
}
