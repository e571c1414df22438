//! The photos of a request: its body, or the files of a form.

use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper::HeaderMap;
use hyper::body::{Bytes, Incoming};
use hyper::header::CONTENT_TYPE;
use injerto_files::printable;

use crate::http::{collected, content_type, unread};
use crate::{Limits, Refusal};

/// A photo of a request.
#[derive(Debug, Clone)]
pub(crate) struct Upload {
    /// Its name in the answer: the last part of the name that the request gives it.
    pub name: String,
    /// The content of its file.
    pub bytes: Bytes,
}

/// The name of a photo without one, and the upper limit of a name's length.
const NAMELESS: &str = "photo";
const LONGEST: usize = 200;

impl Upload {
    pub fn new(name: Option<&str>, bytes: Bytes) -> Self {
        // Some programs send whole paths; the folders in them are private.
        let last = name.unwrap_or_default().rsplit(['/', '\\']).next().unwrap_or_default();
        let name: String = last.chars().take(LONGEST).collect();
        let name = if name.is_empty() { NAMELESS.to_owned() } else { printable(&name).to_string() };
        Self { name, bytes }
    }
}

/// Reads the photos of a request. `name` is that of a photo which is sent as it is; those of a form bring their own.
///
/// # Errors
/// [`Refusal`]: a body of another kind, one that is malformed or too large, too many photos, or none.
pub(crate) async fn photos(
    headers: &HeaderMap,
    name: Option<&str>,
    body: &mut Incoming,
    limits: &Limits,
) -> Result<Vec<Upload>, Refusal> {
    let kind = content_type(headers);
    let photos = match kind.as_str() {
        "multipart/form-data" => form(headers, body, limits).await?,
        _ if is_photo(&kind) => vec![Upload::new(name, collected(body, limits).await?)],
        _ => {
            return Err(Refusal::ContentType(
                "send a photo as it is (content type image/* or application/octet-stream), or several as files of a form \
                 (multipart/form-data)",
            ));
        }
    };
    if photos.is_empty() || photos.iter().all(|photo| photo.bytes.is_empty()) {
        return Err(Refusal::Malformed("there is no photo in the request".to_owned()));
    }
    Ok(photos)
}

/// Whether a content type is that of a photo, and one that no plain form of another site can send.
pub(crate) fn is_photo(kind: &str) -> bool {
    kind.starts_with("image/") || kind == "application/octet-stream"
}

/// The files of a form, and what else it has without a name of a file.
async fn form(headers: &HeaderMap, body: &mut Incoming, limits: &Limits) -> Result<Vec<Upload>, Refusal> {
    let header = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let boundary = multer::parse_boundary(header)
        .map_err(|_| Refusal::Malformed("the content type of the form names no boundary".to_owned()))?;
    let body = Limited::new(body, limits.body).into_data_stream();
    // The body is limited as a whole. A limit here keeps the parser from looking for the end of a header in all of it.
    let size = multer::SizeLimit::new().whole_stream(limits.body as u64);
    let mut form = multer::Multipart::with_constraints(body, boundary, multer::Constraints::new().size_limit(size));
    let mut photos = Vec::new();
    while let Some(field) = form.next_field().await.map_err(|error| malformed(error, limits))? {
        if photos.len() == limits.photos {
            return Err(Refusal::Photos { limit: limits.photos });
        }
        let name = field.file_name().map(str::to_owned);
        let bytes = field.bytes().await.map_err(|error| malformed(error, limits))?;
        // A browser sends an empty file for a field in which none was chosen.
        if name.as_deref() != Some("") || !bytes.is_empty() {
            photos.push(Upload::new(name.as_deref(), bytes));
        }
    }
    Ok(photos)
}

fn malformed(error: multer::Error, limits: &Limits) -> Refusal {
    match error {
        multer::Error::StreamReadFailed(error) => match error.downcast_ref::<LengthLimitError>() {
            Some(error) => unread(error, limits),
            None => Refusal::Malformed("the request broke off".to_owned()),
        },
        multer::Error::StreamSizeExceeded { .. } | multer::Error::FieldSizeExceeded { .. } => {
            Refusal::Body { limit: limits.body >> 20 }
        }
        _ => Refusal::Malformed(
            "the form cannot be read: its parts do not begin and end as its boundary says".to_owned(),
        ),
    }
}
