//! A run over HTTP: a page that shows it and takes photos, and the same answers as JSON.
//!
//! - [`Server`]: listens, answers, and drains when it is asked to stop;
//! - [`Options`], [`Limits`]: who may ask, and how much;
//! - [`openapi()`]: all routes, described as an OpenAPI document.
//!
//! Hyper speaks HTTP; one thread moves the bytes of all connections, and predicting threads of their own own the network. Photos of
//! several requests go through it together (`engine`).
//!
//! *Architecture invariant:* no answer contains a path of the machine. The reason of a refusal is a [`Refusal`], which has no field for a
//! path; every other error goes to the log alone.
//!
//! *Architecture invariant:* the routes are in one table (`routes`), by which requests are dispatched and the OpenAPI document is written,
//! so that every route is described.
//!
//! *Architecture invariant:* a page of another site can change nothing: requests that change something are refused from other origins and
//! with the content types that a plain form sends, and a request that names a foreign host is not answered at all (`guard`).

#![warn(clippy::print_stdout, clippy::print_stderr)]

mod answer;
mod corrections;
mod engine;
mod error;
mod guard;
mod http;
mod live;
mod metrics;
mod model;
mod openapi;
mod options;
mod page;
mod refusal;
mod routes;
mod server;
mod shared;
mod upload;

pub use error::ServeError;
pub use openapi::openapi;
pub use options::{Limits, Options};
pub use refusal::Refusal;
pub use server::{Server, Stopper};
