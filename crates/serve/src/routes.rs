//! All routes, in one table.

use std::sync::Arc;
use std::time::Instant;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::body::{Bytes, Incoming};
use hyper::header::{CACHE_CONTROL, HeaderValue};
use hyper::http::request::Parts;
use hyper::{Method, StatusCode};
use injerto_experiment::RunFolder;
use injerto_experiment::answer::Said;
use serde_json::{Value, json};
use tokio::sync::{SemaphorePermit, mpsc};
use tokio::time::timeout;

use crate::http::{Content, Reply, announced, collected, content_type, json, reply};
use crate::live::State;
use crate::model::{Heat, NEIGHBOURS};
use crate::server::Shared;
use crate::upload::{Upload, is_photo, photos};
use crate::{Refusal, corrections, openapi, page};

/// What can be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Endpoint {
    Page,
    Style,
    Script,
    Predict,
    Health,
    Metrics,
    OpenApi,
    Run,
    Events,
    Photo,
    Stop,
    Correct,
    Corrections,
}

/// A parameter of a route, after the question mark.
#[derive(Debug)]
pub(crate) struct Parameter {
    pub name: &'static str,
    pub required: bool,
    /// Its type in JSON Schema.
    pub kind: &'static str,
    pub about: &'static str,
}

/// A route: how it is asked, and what it answers.
#[derive(Debug)]
pub(crate) struct Route {
    pub endpoint: Endpoint,
    pub method: &'static str,
    pub path: &'static str,
    pub about: &'static str,
    pub parameters: &'static [Parameter],
    /// Content types of the body; none for no body.
    pub takes: &'static [&'static str],
    /// Content type of the answer, and the name of its schema if it is JSON.
    pub gives: (&'static str, Option<&'static str>),
    /// Status codes of refusals, beside those that every route may answer.
    pub refuses: &'static [u16],
}

const PHOTO: &[&str] = &["image/*", "application/octet-stream"];
const JSON: &str = "application/json";

/// All routes.
pub(crate) const ROUTES: [Route; 13] = [
    Route {
        endpoint: Endpoint::Page,
        method: "GET",
        path: "/",
        about: "The page of the run, which takes photos.",
        parameters: &[],
        takes: &[],
        gives: ("text/html; charset=utf-8", None),
        refuses: &[],
    },
    Route {
        endpoint: Endpoint::Style,
        method: "GET",
        path: "/page.css",
        about: "The style sheet of the page.",
        parameters: &[],
        takes: &[],
        gives: ("text/css; charset=utf-8", None),
        refuses: &[],
    },
    Route {
        endpoint: Endpoint::Script,
        method: "GET",
        path: "/page.js",
        about: "The script of the page.",
        parameters: &[],
        takes: &[],
        gives: ("text/javascript; charset=utf-8", None),
        refuses: &[],
    },
    Route {
        endpoint: Endpoint::Predict,
        method: "POST",
        path: "/predict",
        about: "Says what is on photos: one as it is, or several as the files of a form. An answer has the keys of a line of \
                `injerto predict --json`. If there is one photo and it is refused, so is the request; of several, each has its answer \
                or its error.",
        parameters: &[
            Parameter {
                name: "neighbours",
                required: false,
                kind: "integer",
                about: "list as many of the training photos that resemble each photo most, 20 at most",
            },
            Parameter { name: "top", required: false, kind: "integer", about: "name so many classes; all by default" },
            Parameter {
                name: "heatmap",
                required: false,
                kind: "boolean",
                about: "add where the network looked: a map as a picture to lie over the photo. It takes about as long as two more \
                        predictions, and is left out where only occlusion could say it",
            },
            Parameter {
                name: "name",
                required: false,
                kind: "string",
                about: "what a photo that is sent as it is is called",
            },
        ],
        takes: &["multipart/form-data", "image/*", "application/octet-stream"],
        gives: (JSON, Some("Answers")),
        refuses: &[400, 403, 408, 413, 415, 422, 500, 503],
    },
    Route {
        endpoint: Endpoint::Health,
        method: "GET",
        path: "/health",
        about: "Whether there is a network to ask, and its classes.",
        parameters: &[],
        takes: &[],
        gives: (JSON, Some("Health")),
        refuses: &[503],
    },
    Route {
        endpoint: Endpoint::Metrics,
        method: "GET",
        path: "/metrics",
        about: "Counters in Prometheus's text format.",
        parameters: &[],
        takes: &[],
        gives: ("text/plain; version=0.0.4; charset=utf-8", None),
        refuses: &[],
    },
    Route {
        endpoint: Endpoint::OpenApi,
        method: "GET",
        path: "/openapi.json",
        about: "This description.",
        parameters: &[],
        takes: &[],
        gives: (JSON, None),
        refuses: &[],
    },
    Route {
        endpoint: Endpoint::Run,
        method: "GET",
        path: "/run",
        about: "How far the run is, with the figures of its finished epochs.",
        parameters: &[],
        takes: &[],
        gives: (JSON, Some("Run")),
        refuses: &[],
    },
    Route {
        endpoint: Endpoint::Events,
        method: "GET",
        path: "/events",
        about: "The state of the run as server-sent events, whenever it changes.",
        parameters: &[],
        takes: &[],
        gives: ("text/event-stream", None),
        refuses: &[503],
    },
    Route {
        endpoint: Endpoint::Photo,
        method: "GET",
        path: "/photo",
        about: "The small picture of a training photo that an answer has named.",
        parameters: &[Parameter {
            name: "path",
            required: true,
            kind: "string",
            about: "its path, as the answer names it",
        }],
        takes: &[],
        gives: ("image/jpeg", None),
        refuses: &[400, 404],
    },
    Route {
        endpoint: Endpoint::Stop,
        method: "POST",
        path: "/stop",
        about: "Ends the training after its current batch. Every finished epoch is kept, and the run can go on. The body is an \
                empty object.",
        parameters: &[],
        takes: &[JSON],
        gives: (JSON, Some("Stopping")),
        refuses: &[403, 409, 415, 500],
    },
    Route {
        endpoint: Endpoint::Correct,
        method: "POST",
        path: "/corrections",
        about: "Keeps a photo under the class that it shows, for the next training.",
        parameters: &[
            Parameter { name: "class", required: true, kind: "string", about: "the class that the photo shows" },
            Parameter { name: "name", required: false, kind: "string", about: "what the photo is called" },
        ],
        takes: PHOTO,
        gives: (JSON, Some("Collected")),
        refuses: &[400, 403, 408, 413, 415, 422, 500, 503],
    },
    Route {
        endpoint: Endpoint::Corrections,
        method: "GET",
        path: "/corrections",
        about: "The list of the collected photos.",
        parameters: &[],
        takes: &[],
        gives: ("text/csv; charset=utf-8", None),
        refuses: &[500],
    },
];

/// Finds the route of a request.
///
/// # Errors
/// [`Refusal::NoRoute`], [`Refusal::Method`].
pub(crate) fn find(method: &Method, path: &str) -> Result<&'static Route, Refusal> {
    let asked = if method == Method::HEAD { "GET" } else { method.as_str() };
    let mut here = ROUTES.iter().filter(|route| route.path == path).peekable();
    let first = here.peek().ok_or(Refusal::NoRoute)?.method;
    let allowed = match (first, ROUTES.iter().filter(|route| route.path == path).count()) {
        (_, 2) => "GET, HEAD, POST",
        ("GET", _) => "GET, HEAD",
        _ => "POST",
    };
    here.find(|route| route.method == asked).ok_or(Refusal::Method(allowed))
}

/// Answers a request.
///
/// # Errors
/// [`Refusal`].
pub(crate) async fn answer(
    shared: &Arc<Shared>,
    route: &'static Route,
    head: &Parts,
    body: &mut Incoming,
) -> Result<Reply, Refusal> {
    let kind = route.gives.0;
    Ok(match route.endpoint {
        Endpoint::Page => {
            let shared = shared.clone();
            reply(kind, blocking(move || page::page(&shared)).await?)
        }
        Endpoint::Style => reply(kind, page::style()),
        Endpoint::Script => reply(kind, page::SCRIPT),
        Endpoint::Predict => return predict(shared, head, body).await,
        Endpoint::Health => health(shared)?,
        Endpoint::Metrics => {
            let waiting = shared.engine.waiting(&shared.options.limits);
            shared.metrics.waiting.store(waiting, std::sync::atomic::Ordering::Relaxed);
            reply(kind, shared.metrics.to_text())
        }
        Endpoint::OpenApi => json(StatusCode::OK, &openapi()),
        Endpoint::Run => json(StatusCode::OK, &shared.live().json()),
        Endpoint::Events => events(shared)?,
        Endpoint::Photo => {
            let path = parameter(head, "path").ok_or_else(|| missing("path"))?;
            let slot = shared.slot.clone();
            let picture = blocking(move || slot.picture(&path)).await?.ok_or(Refusal::NoPhoto)?;
            let mut reply = reply(kind, picture);
            reply.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("private, max-age=3600"));
            reply
        }
        Endpoint::Stop => stop(shared, head).await?,
        Endpoint::Correct => correct(shared, head, body).await?,
        Endpoint::Corrections => {
            let slot = shared.slot.clone();
            let list = move || slot.run.as_deref().map_or(Err(Refusal::NoRoute), corrections::list);
            reply(kind, blocking(list).await??)
        }
    })
}

/// Runs what may wait for a disk on a thread of its own.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Refusal> {
    tokio::task::spawn_blocking(work).await.map_err(|_| Refusal::Failed)
}

fn missing(name: &str) -> Refusal {
    Refusal::Malformed(format!("the parameter '{name}' is missing"))
}

/// A parameter of a request.
fn parameter(head: &Parts, name: &str) -> Option<String> {
    let pairs = head.uri.query()?.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    pairs.filter(|(key, _)| *key == name).map(|(_, value)| decoded(value)).next()
}

/// A value of a query, whose `%NN` are bytes and whose `+` are spaces.
fn decoded(value: &str) -> String {
    let (mut bytes, mut rest) = (Vec::with_capacity(value.len()), value.as_bytes());
    while let Some((&first, after)) = rest.split_first() {
        let digit = |at: usize| after.get(at).and_then(|&byte| (byte as char).to_digit(16));
        let (byte, after) = match (first, digit(0), digit(1)) {
            (b'%', Some(high), Some(low)) => ((high * 16 + low) as u8, &after[2..]),
            (b'+', ..) => (b' ', after),
            _ => (first, after),
        };
        bytes.push(byte);
        rest = after;
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// A parameter that is a number up to `most`.
fn number(head: &Parts, name: &str, most: usize) -> Result<Option<usize>, Refusal> {
    let Some(text) = parameter(head, name) else { return Ok(None) };
    let number = text.parse().ok().filter(|number| (1..=most).contains(number));
    let wrong = || Refusal::Malformed(format!("the parameter '{name}' is expected to be a number from 1 to {most}"));
    number.ok_or_else(wrong).map(Some)
}

async fn predict(shared: &Arc<Shared>, head: &Parts, body: &mut Incoming) -> Result<Reply, Refusal> {
    let (began, limits) = (Instant::now(), &shared.options.limits);
    let said = Said {
        top: number(head, "top", 1_000_000)?,
        neighbours: number(head, "neighbours", NEIGHBOURS)?,
        threshold: shared.options.threshold,
    };
    let heat = parameter(head, "heatmap").is_some_and(|asked| !matches!(&*asked, "false" | "0"));
    // The room is given back with the answer.
    let (photos, _room) = received(shared, head, body).await?;
    let asked = shared.engine.ask(photos.iter().map(|photo| photo.bytes.clone()), heat)?;
    let end = tokio::time::Instant::from_std(began + limits.receive + limits.answer);
    let mut answers = Vec::with_capacity(photos.len());
    for (photo, answer) in photos.iter().zip(asked) {
        let late = |_| Refusal::Late { seconds: limits.answer.as_secs() };
        let answer = tokio::time::timeout_at(end, answer).await.map_err(late)?.unwrap_or(Err(Refusal::Failed));
        answers.push(answer.map(|(prediction, heat)| {
            let mut object = said.of(&photo.name, &prediction);
            if let Some(Heat { class, method, seen, orientation, picture }) = heat {
                let picture = format!("data:image/png;base64,{}", STANDARD.encode(picture));
                object["heatmap"] = json!({
                    "class": class, "method": method, "seen": seen, "exif_orientation": orientation, "picture": picture
                });
            }
            object
        }));
    }
    // A photo that cannot be read does not keep the others from their answer.
    if let [Err(refusal)] = &answers[..] {
        return Err(refusal.clone());
    }
    let object = |(photo, answer): (&Upload, Result<Value, Refusal>)| {
        answer.unwrap_or_else(|refusal| {
            let mut object = json!({ "image": photo.name });
            object["error"] = refusal.json()["error"].take();
            object
        })
    };
    let answers: Vec<Value> = photos.iter().zip(answers).map(object).collect();
    shared.metrics.took(began.elapsed());
    let milliseconds = (began.elapsed().as_secs_f64() * 1e4).round() / 10.0;
    Ok(json(StatusCode::OK, &json!({ "answers": answers, "milliseconds": milliseconds })))
}

/// The photos of a request, once there is room for it.
async fn received<'s>(
    shared: &'s Shared,
    head: &Parts,
    body: &mut Incoming,
) -> Result<(Vec<Upload>, SemaphorePermit<'s>), Refusal> {
    let limits = &shared.options.limits;
    let room = room(shared, head).await?;
    let slow = |_| Refusal::Slow { seconds: limits.receive.as_secs() };
    let name = parameter(head, "name");
    let photos =
        timeout(limits.receive, photos(&head.headers, name.as_deref(), body, limits)).await.map_err(slow)??;
    Ok((photos, room))
}

/// Room in memory for the body of a request, which is not asked for before.
async fn room<'s>(shared: &'s Shared, head: &Parts) -> Result<SemaphorePermit<'s>, Refusal> {
    let limits = &shared.options.limits;
    let kilobytes = announced(&head.headers, limits)?.div_ceil(1 << 10).max(1) as u32;
    match timeout(limits.receive, shared.memory.acquire_many(kilobytes)).await {
        Ok(Ok(room)) => Ok(room),
        _ => Err(Refusal::Busy),
    }
}

fn health(shared: &Shared) -> Result<Reply, Refusal> {
    let model = shared.slot.get().ok_or(Refusal::NoModel)?;
    let predictor = &model.predictor;
    let knows = predictor.knowledge().is_ok();
    let state = shared.live().state.name();
    Ok(json(
        StatusCode::OK,
        &json!({ "status": "ok", "run": state, "classes": predictor.classes(), "knows_unknown": knows,
                 "version": env!("CARGO_PKG_VERSION") }),
    ))
}

/// Events that wait for a slow reader; a reader that is slower misses those between.
const EVENTS: usize = 4;

fn events(shared: &Arc<Shared>) -> Result<Reply, Refusal> {
    if shared.slot.run.is_none() {
        return Err(Refusal::NoRoute);
    }
    let place = shared.streams.clone().try_acquire_owned().map_err(|_| Refusal::Busy)?;
    let mut seen = shared.seen.clone();
    let (send, events) = mpsc::channel(EVENTS);
    tokio::spawn(async move {
        let _place = place;
        // A browser that loses the connection asks again after this time.
        let mut event = Bytes::from_static(b"retry: 2000\n\n");
        loop {
            if send.send(event).await.is_err() {
                return;
            }
            let live = seen.borrow_and_update().clone();
            if send.send(live.event().into()).await.is_err() || seen.changed().await.is_err() {
                return;
            }
            event = Bytes::from_static(b": the next\n\n");
        }
    });
    let mut reply = reply("text/event-stream", Bytes::new());
    *reply.body_mut() = Content::Events(events);
    Ok(reply)
}

async fn stop(shared: &Shared, head: &Parts) -> Result<Reply, Refusal> {
    if !shared.options.changes {
        return Err(Refusal::ReadOnly);
    }
    if content_type(&head.headers) != JSON {
        return Err(Refusal::ContentType("send an empty object (content type application/json)"));
    }
    let slot = shared.slot.clone();
    let ask = move || {
        let run = slot.run.as_deref().ok_or(Refusal::NotTraining)?;
        match crate::live::state(run, None) {
            State::Training | State::Stopping => {}
            State::Stopped | State::Finished | State::Checkpoint => return Err(Refusal::NotTraining),
        }
        injerto_files::write(&run.join(RunFolder::STOP), b"asked for by the page of the run\n").map_err(|error| {
            tracing::error!("the training cannot be asked to stop: {error}");
            Refusal::Failed
        })
    };
    blocking(ask).await??;
    let kept = shared.live().epochs.0;
    Ok(json(StatusCode::OK, &json!({ "state": State::Stopping.name(), "epochs_kept": kept })))
}

async fn correct(shared: &Shared, head: &Parts, body: &mut Incoming) -> Result<Reply, Refusal> {
    let limits = &shared.options.limits;
    if !shared.options.changes {
        return Err(Refusal::ReadOnly);
    }
    if !is_photo(&content_type(&head.headers)) {
        return Err(Refusal::ContentType("send the photo as it is (content type image/* or application/octet-stream)"));
    }
    let class = parameter(head, "class").ok_or_else(|| missing("class"))?;
    let model = shared.slot.get().ok_or(Refusal::NoModel)?;
    let known = model.predictor.classes();
    if !known.contains(&class) {
        return Err(Refusal::Class(injerto_files::listed(known.iter().map(String::as_str))));
    }
    let run = shared.slot.run.clone().ok_or(Refusal::NoRoute)?;
    let _room = room(shared, head).await?;
    let slow = |_| Refusal::Slow { seconds: limits.receive.as_secs() };
    let photo = timeout(limits.receive, collected(body, limits)).await.map_err(slow)??;
    let name = Upload::new(parameter(head, "name").as_deref(), Bytes::new()).name;
    let most = limits.pixels;
    let keep = move || {
        crate::engine::check(&photo, most)?;
        corrections::keep(&run, &photo, &class, &name)
    };
    let kept = blocking(keep).await??;
    let path = |name: &str| format!("{}/{name}", corrections::FOLDER);
    let moves = kept.moves.as_deref().map(path);
    Ok(json(StatusCode::OK, &json!({ "collected": kept.count, "list": path(corrections::LIST), "moves": moves })))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_read_as_forms_and_scripts_write_it() {
        let check = |text: &str, expected: &str| assert_eq!(decoded(text), expected, "{text}");
        check("roses%2Fa+b.jpg", "roses/a b.jpg");
        check("%C3%B1", "ñ");
        check("100%", "100%");
        check("%zz%", "%zz%");
        check("%ff", "\u{fffd}");
    }

    #[test]
    fn each_route_is_found_by_its_method_and_path_and_others_are_refused() {
        for route in &ROUTES {
            let method: Method = route.method.parse().expect("a method");
            assert_eq!(find(&method, route.path).map(|route| route.endpoint), Ok(route.endpoint));
        }
        let refused = |method: Method, path: &str| find(&method, path).expect_err("refused");
        assert_eq!(refused(Method::GET, "/nothing"), Refusal::NoRoute);
        assert_eq!(refused(Method::GET, "/predict"), Refusal::Method("POST"));
        assert_eq!(refused(Method::DELETE, "/corrections"), Refusal::Method("GET, HEAD, POST"));
        assert_eq!(refused(Method::POST, "/health"), Refusal::Method("GET, HEAD"));
    }
}
