use hyper::StatusCode;
use serde_json::{Value, json};

/// Why a request is not answered. None of these has a field for a path of the machine.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Refusal {
    /// There is no such route.
    #[error("there is nothing here; GET /openapi.json lists all there is")]
    NoRoute,
    /// There is no such photo among the training photos, or its file is gone.
    #[error("there is no such training photo")]
    NoPhoto,
    /// The route is there, and takes another method.
    #[error("this takes {0} alone")]
    Method(&'static str),
    /// The request names a host that is not this one.
    #[error(
        "this server does not answer for the host of the request; use the server's address, or start it with --allow-host NAME"
    )]
    Host,
    /// A page of another site asks.
    #[error("requests from pages of other sites are refused")]
    Origin,
    /// Visitors may change nothing.
    #[error("this server accepts no changes; start it with --allow-changes to permit them")]
    ReadOnly,
    /// The request cannot be understood.
    #[error("{0}")]
    Malformed(String),
    /// The body is of a kind that is not taken.
    #[error("{0}")]
    ContentType(&'static str),
    /// The body has more bytes than are taken.
    #[error("the request is larger than {limit} MiB, which is the most that this server takes")]
    Body {
        /// Upper limit, in MiB.
        limit: usize,
    },
    /// There are more photos than are taken at once.
    #[error("there are more than {limit} photos in the request; send them in several")]
    Photos {
        /// Upper limit.
        limit: usize,
    },
    /// A photo has more pixels than are taken.
    #[error("the photo has {found} pixels, and this server takes {limit} at most")]
    Pixels {
        /// What its header says.
        found: u64,
        /// Upper limit.
        limit: u64,
    },
    /// The bytes do not begin as an image.
    #[error("this is not an image of a kind that is read: JPEG, PNG, GIF, BMP, WebP or TIFF")]
    NoImage,
    /// An image that cannot be decoded.
    #[error("not a readable image: {0}")]
    Unreadable(String),
    /// A class that the network does not know.
    #[error("the network has no such class; it knows {0}")]
    Class(String),
    /// There is nothing to stop.
    #[error("no training is under way in this folder")]
    NotTraining,
    /// The request took too long to arrive.
    #[error("the request did not arrive within {seconds} seconds")]
    Slow {
        /// Upper limit.
        seconds: u64,
    },
    /// There are more requests than can be answered.
    #[error("there are more requests than can be answered now; ask again in a moment")]
    Busy,
    /// The answer took too long.
    #[error("there was no answer within {seconds} seconds; ask again later")]
    Late {
        /// Upper limit.
        seconds: u64,
    },
    /// No epoch is finished yet, so that there is no network to ask.
    #[error("no epoch of this run is finished yet, so there is no network to ask; try again after the first")]
    NoModel,
    /// The server is about to end.
    #[error("the server is about to end")]
    Stopping,
    /// A defect, or a file that cannot be written; the log says which.
    #[error("this failed on the server, whose standard error says why")]
    Failed,
}

impl Refusal {
    /// The status code and the word of the refusal, which a program can tell apart.
    pub fn code(&self) -> (StatusCode, &'static str) {
        match self {
            Self::NoRoute => (StatusCode::NOT_FOUND, "not_found"),
            Self::NoPhoto => (StatusCode::NOT_FOUND, "no_photo"),
            Self::Method(_) => (StatusCode::METHOD_NOT_ALLOWED, "method"),
            Self::Host => (StatusCode::MISDIRECTED_REQUEST, "host"),
            Self::Origin => (StatusCode::FORBIDDEN, "origin"),
            Self::ReadOnly => (StatusCode::FORBIDDEN, "read_only"),
            Self::Malformed(_) => (StatusCode::BAD_REQUEST, "malformed"),
            Self::ContentType(_) => (StatusCode::UNSUPPORTED_MEDIA_TYPE, "content_type"),
            Self::Body { .. } => (StatusCode::PAYLOAD_TOO_LARGE, "too_many_bytes"),
            Self::Photos { .. } => (StatusCode::PAYLOAD_TOO_LARGE, "too_many_photos"),
            Self::Pixels { .. } => (StatusCode::PAYLOAD_TOO_LARGE, "too_many_pixels"),
            Self::NoImage => (StatusCode::UNSUPPORTED_MEDIA_TYPE, "no_image"),
            Self::Unreadable(_) => (StatusCode::UNPROCESSABLE_ENTITY, "unreadable"),
            Self::Class(_) => (StatusCode::UNPROCESSABLE_ENTITY, "no_class"),
            Self::NotTraining => (StatusCode::CONFLICT, "not_training"),
            Self::Slow { .. } => (StatusCode::REQUEST_TIMEOUT, "slow"),
            Self::Busy => (StatusCode::SERVICE_UNAVAILABLE, "busy"),
            Self::Late { .. } => (StatusCode::SERVICE_UNAVAILABLE, "late"),
            Self::NoModel => (StatusCode::SERVICE_UNAVAILABLE, "no_model"),
            Self::Stopping => (StatusCode::SERVICE_UNAVAILABLE, "stopping"),
            Self::Failed => (StatusCode::INTERNAL_SERVER_ERROR, "failed"),
        }
    }

    /// The object that stands for it in answers.
    pub(crate) fn json(&self) -> Value {
        json!({ "error": { "code": self.code().1, "message": self.to_string() } })
    }
}
