//! Downloads. Errors are sentences without the address, which the caller names.

use std::fs::{self, File};
use std::io::{Read, Write as _};
use std::path::Path;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use injerto_files::hex;
use sha2::{Digest, Sha256};

/// How long to wait for another machine.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// In each stretch of this length…
    pub stretch: Duration,
    /// … at least this many bytes must come, so that a very slow server does not hold up a download for hours.
    pub least: usize,
    /// How long a whole file may take.
    pub whole: Duration,
}

impl Patience {
    /// At least one kilobyte per second, and two hours for the whole file.
    pub const USUAL: Self =
        Self { stretch: Duration::from_secs(60), least: 60 << 10, whole: Duration::from_secs(2 * 60 * 60) };
}

/// How a file is transferred.
#[derive(Debug, Clone, Copy)]
pub struct Transfer {
    /// How long to wait for the other machine.
    pub patience: Patience,
    /// Whether the connection must be encrypted.
    pub encrypted: bool,
    /// Upper limit of the size, in bytes.
    pub limit: u64,
}

/// How often a broken download is continued before it is given up.
const ATTEMPTS: usize = 5;

fn call(url: &str, how: Transfer, headers: &[(&str, String)]) -> Result<ureq::http::Response<ureq::Body>, ureq::Error> {
    let config = ureq::Agent::config_builder()
        .timeout_connect(Some(Duration::from_secs(20)))
        .timeout_recv_response(Some(how.patience.stretch))
        .timeout_recv_body(Some(how.patience.whole + how.patience.stretch))
        .https_only(how.encrypted)
        .build();
    let request = ureq::Agent::new_with_config(config).get(url);
    headers.iter().fold(request, |request, (name, value)| request.header(*name, value)).call()
}

fn refused(error: &ureq::Error) -> String {
    match error {
        ureq::Error::StatusCode(code @ (404 | 410)) => {
            format!("the server has nothing at this address (HTTP status {code}); look at its spelling")
        }
        ureq::Error::StatusCode(code) => format!("the server refuses it (HTTP status {code})"),
        error => format!("the address cannot be reached ({error}); is this machine offline?"),
    }
}

/// What an address gives.
///
/// # Errors
/// Why it cannot be had, in words.
pub fn bytes(url: &str, how: Transfer) -> Result<Vec<u8>, String> {
    let response = call(url, how, &[]).map_err(|error| refused(&error))?;
    let mut bytes = Vec::new();
    collect(response.into_body().into_reader(), how, 0, &mut |part| {
        bytes.extend_from_slice(part);
        Ok(())
    })?;
    Ok(bytes)
}

/// Writes what an address gives to `kept`, which appears whole or not at all. What came before a connection broke lies beside it, in `kept`
/// with the ending `.part`, and is continued by the next attempt: at once, and in later calls. `progress` gets the number of bytes that
/// have arrived, and of all bytes if the server says it.
///
/// A file is continued only if its hash is known or if the other side has said which version it is (`ETag`), so that two versions are
/// never put together.
///
/// # Errors
/// Why it cannot be had, in words.
pub fn file(
    url: &str,
    kept: &Path,
    sha256: Option<&str>,
    how: Transfer,
    progress: &mut dyn FnMut(u64, Option<u64>),
) -> Result<(), String> {
    let part = kept.with_extension("part");
    let mut attempt = 1;
    loop {
        let before = fs::metadata(&part).map_or(0, |file| file.len());
        match continued(url, &part, sha256.is_some(), how, progress) {
            Ok(()) => break,
            Err(Broken::Final(reason)) => return Err(reason),
            Err(Broken::Off(reason)) => {
                let more = fs::metadata(&part).map_or(0, |file| file.len()) > before;
                if !more || attempt == ATTEMPTS {
                    return Err(format!("{reason}; what came is kept, and the next attempt continues it"));
                }
                tracing::warn!("{reason}; continuing");
                attempt += 1;
            }
        }
    }
    let say = |error: std::io::Error| error.to_string();
    if let Some(expected) = sha256 {
        let mut hasher = Sha256::new();
        std::io::copy(&mut File::open(&part).map_err(say)?, &mut Hashed(&mut hasher)).map_err(say)?;
        let (found, expected) = (hex(hasher.finalize()), expected.to_ascii_lowercase());
        if found != expected {
            let _ = fs::remove_file(&part);
            return Err(format!(
                "its SHA-256 is {found}, expected {expected}; the file is damaged or not the published one, and is not kept"
            ));
        }
    }
    let _ = fs::remove_file(tag_of(&part));
    fs::rename(&part, kept).map_err(say)
}

struct Hashed<'h>(&'h mut Sha256);

impl std::io::Write for Hashed<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Why a download ended before its end.
enum Broken {
    /// Another attempt may continue it.
    Off(String),
    Final(String),
}

fn tag_of(part: &Path) -> std::path::PathBuf {
    part.with_extension("part-tag")
}

/// One attempt, which continues the last one.
fn continued(
    url: &str,
    part: &Path,
    has_hash: bool,
    how: Transfer,
    progress: &mut dyn FnMut(u64, Option<u64>),
) -> Result<(), Broken> {
    let failed = |error: std::io::Error| Broken::Final(format!("it cannot be written: {error}"));
    let there = fs::metadata(part).map_or(0, |file| file.len());
    let tag = fs::read_to_string(tag_of(part)).ok();
    let mut headers = Vec::new();
    if there > 0 && (has_hash || tag.is_some()) {
        headers.push(("Range", format!("bytes={there}-")));
        headers.extend(tag.map(|tag| ("If-Range", tag)));
    }
    let response = match call(url, how, &headers) {
        // The part is as long as the whole or longer: it is of another version.
        Err(ureq::Error::StatusCode(416)) if there > 0 => {
            fs::remove_file(part).map_err(failed)?;
            call(url, how, &[])
        }
        response => response,
    };
    let response = response.map_err(|error| Broken::Final(refused(&error)))?;
    let header = |name: &str| response.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let begins =
        header("content-range").and_then(|range| range.strip_prefix("bytes ")?.split('-').next()?.parse().ok());
    let goes_on = response.status() == 206 && begins == Some(there);
    if response.status() == 206 && !goes_on {
        fs::remove_file(part).map_err(failed)?;
        return Err(Broken::Final("the other side continues at another place; try again".to_owned()));
    }
    let from = if goes_on { there } else { 0 };
    // A weak tag does not promise that bytes are equal.
    match header("etag").filter(|tag| !tag.starts_with("W/")) {
        Some(tag) => fs::write(tag_of(part), tag).map_err(failed)?,
        None => _ = fs::remove_file(tag_of(part)),
    }
    let all = response.body().content_length().map(|length| from.saturating_add(length));
    let mut file =
        File::options().create(true).append(goes_on).write(true).truncate(!goes_on).open(part).map_err(failed)?;
    let mut came = from;
    collect(response.into_body().into_reader(), how, from, &mut |bytes| {
        file.write_all(bytes).map_err(|error| format!("it cannot be written: {error}"))?;
        came += bytes.len() as u64;
        progress(came, all);
        Ok(())
    })
    .map_err(|reason| match came > how.limit {
        true => Broken::Final(reason),
        false => Broken::Off(reason),
    })?;
    file.sync_all().map_err(failed)
}

/// Hands on all bytes of a reader, unless it stops sending, sends too slowly, takes too long, or sends more than the limit. `from` bytes
/// came in an earlier attempt.
///
/// # Errors
/// What is wrong, in words.
pub fn collect(
    mut reader: impl Read + Send + 'static,
    Transfer { patience, limit, .. }: Transfer,
    from: u64,
    take: &mut dyn FnMut(&[u8]) -> Result<(), String>,
) -> Result<(), String> {
    let began = Instant::now();
    // A read may block for ever, so it runs in a separate thread, which ends with the connection.
    let (sender, receiver) = mpsc::sync_channel(4);
    std::thread::spawn(move || {
        loop {
            let mut chunk = vec![0; 1 << 16];
            let read = reader.read(&mut chunk);
            let end = !matches!(read, Ok(1..));
            let part = read.map(|length| {
                chunk.truncate(length);
                chunk
            });
            if sender.send(part).is_err() || end {
                return;
            }
        }
    });
    let mut all: usize = 0;
    // When the present stretch began, and after how many bytes.
    let (mut since, mut before) = (began, 0);
    loop {
        let late = |came: usize, all: usize| {
            let seconds = patience.stretch.as_secs();
            format!("only {came} bytes arrived in {seconds} seconds, after {all} bytes; try again later")
        };
        let part: Vec<u8> = match receiver.recv_timeout(patience.stretch.saturating_sub(since.elapsed())) {
            Ok(part) => part
                .map_err(|error: std::io::Error| format!("it broke off after {} bytes ({error})", from + all as u64))?,
            Err(_) if all - before < patience.least => return Err(late(all - before, before)),
            Err(_) => {
                (since, before) = (Instant::now(), all);
                continue;
            }
        };
        if part.is_empty() {
            return Ok(());
        }
        all += part.len();
        if from + all as u64 > limit {
            take(&part)?;
            return Err(format!("it is larger than {limit} bytes, the limit for such a file"));
        }
        take(&part)?;
        if since.elapsed() > patience.stretch {
            if all - before < patience.least {
                return Err(late(all - before, before));
            }
            (since, before) = (Instant::now(), all);
        }
        if began.elapsed() > patience.whole {
            let seconds = patience.whole.as_secs();
            return Err(format!("only {all} bytes arrived in {seconds} seconds; fetch the file by other means"));
        }
    }
}
