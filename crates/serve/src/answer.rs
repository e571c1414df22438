//! The answers, route by route.

use std::sync::Arc;
use std::time::Instant;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::StatusCode;
use hyper::body::{Bytes, Incoming};
use hyper::header::{CACHE_CONTROL, HeaderValue};
use hyper::http::request::Parts;
use injerto_experiment::RunFolder;
use injerto_experiment::answer::Said;
use serde_json::{Value, json};
use tokio::sync::{SemaphorePermit, mpsc};
use tokio::time::timeout;

use crate::http::{Content, Reply, announced, collected, content_type, json, reply};
use crate::live::State;
use crate::model::{Heat, NEIGHBOURS};
use crate::routes::{Endpoint, JSON, Route};
use crate::shared::Shared;
use crate::upload::{Upload, is_photo, photos};
use crate::{Refusal, corrections, openapi, page};

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
    // A photo that cannot be read does not keep the others from being answered.
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

/// Room in memory for the body of a request; the client is not asked for the body before there is room.
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
}
