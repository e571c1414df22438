//! Single requests with their whole answers, for libraries that know a protocol but have no transport.

use std::time::Duration;

/// The types of requests and answers.
pub use ureq::http;
use ureq::http::{Method, Request, Response};

use crate::download::{Patience, Transfer, collect};

/// Why there is no answer. The reasons name no address, which the caller knows.
#[derive(Debug, thiserror::Error)]
pub enum NoAnswer {
    /// The other side was never reached, so that nothing has happened there.
    #[error("the address cannot be reached ({0})")]
    Unreachable(String),
    /// The connection broke; it is unknown how much the server has done.
    #[error("{0}")]
    Broken(String),
    /// Another attempt would give the same.
    #[error("{0}")]
    Refused(String),
}

/// Connections that stay open between requests.
#[derive(Debug, Clone)]
pub struct Connections(ureq::Agent);

impl Default for Connections {
    fn default() -> Self {
        Self::new(Duration::from_secs(20))
    }
}

impl Connections {
    /// Connections that wait this long for the other machine.
    pub fn new(connect: Duration) -> Self {
        let config = ureq::Agent::config_builder()
            .timeout_connect(Some(connect))
            .timeout_recv_response(Some(Patience::USUAL.stretch))
            .http_status_as_error(false)
            .max_redirects(0)
            .build();
        Self(ureq::Agent::new_with_config(config))
    }

    /// Sends a request, and reads its answer whatever its status is; redirections are not followed. An answer has at most `limit` bytes.
    ///
    /// # Errors
    /// [`NoAnswer`].
    pub fn exchange(&self, request: Request<Vec<u8>>, limit: u64) -> Result<Response<Vec<u8>>, NoAnswer> {
        let (parts, body) = request.into_parts();
        let sent = match parts.method {
            Method::GET | Method::HEAD | Method::DELETE => self.0.run(Request::from_parts(parts, ())),
            _ => self.0.run(Request::from_parts(parts, body)),
        };
        let (parts, body) = sent.map_err(no_answer)?.into_parts();
        let how = Transfer { patience: Patience::USUAL, encrypted: false, limit };
        let mut all = Vec::new();
        let read = collect(body.into_reader(), how, 0, &mut |part| {
            all.extend_from_slice(part);
            Ok(())
        });
        match read {
            Ok(()) => Ok(Response::from_parts(parts, all)),
            Err(reason) if all.len() as u64 > limit => Err(NoAnswer::Refused(reason)),
            Err(reason) => Err(NoAnswer::Broken(reason)),
        }
    }
}

fn no_answer(error: ureq::Error) -> NoAnswer {
    use ureq::Timeout::{Connect, Resolve};
    match error {
        ureq::Error::HostNotFound | ureq::Error::ConnectionFailed | ureq::Error::Timeout(Connect | Resolve) => {
            NoAnswer::Unreachable(error.to_string())
        }
        ureq::Error::Io(io) if io.kind() == std::io::ErrorKind::ConnectionRefused => {
            NoAnswer::Unreachable(io.to_string())
        }
        ureq::Error::Io(_) | ureq::Error::Timeout(_) => NoAnswer::Broken(error.to_string()),
        other => NoAnswer::Refused(other.to_string()),
    }
}
