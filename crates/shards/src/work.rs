use std::sync::mpsc::{self, Receiver};

use injerto_data::{Origin, Unread};
use injerto_files::hex;
use sha2::{Digest, Sha256};

use crate::output::{Header, Known, Writer};
use crate::{About, Answer, Photo, Place, ShardsError, Share};

/// Photos as they are needed; another thread may take them.
pub type Photos = Box<dyn Iterator<Item = Origin> + Send>;

/// Why there is no answer.
#[derive(Debug)]
pub enum Problem {
    /// The photo is at fault; the others are answered all the same.
    Photo(String),
    /// Nothing more will come.
    End(Box<dyn std::error::Error + Send + Sync>),
}

/// Anything that computes answers about photos.
pub trait Network: Sync {
    /// Which network this is, and the form of its answers.
    fn about(&self) -> About;

    /// One answer per photo, in the order of the photos.
    fn answers(&self, photos: Photos) -> Box<dyn Iterator<Item = Result<Answer, Problem>> + '_>;
}

/// The outcome for a shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Done {
    /// It is computed and written.
    Written,
    /// Its file was there, of the same network and the same photos.
    Skipped,
    /// The caller stopped it, and nothing was written.
    Stopped,
}

/// The outcome for a shard, with numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// The outcome.
    pub done: Done,
    /// Its file.
    pub place: Place,
    /// Number of its photos.
    pub photos: usize,
    /// Number of those without an answer.
    pub errors: usize,
}

/// Runs a network on the photos of a share, and writes the answers into a file in `folder`, which is created if it does not exist.
///
/// The file is [named](crate::Shard::file) after the shard and appears whole or not at all, so that a process may be killed at any moment
/// and be started again. A file that is there is left alone if the same network has written it about the same photos. A photo that
/// cannot be read is a row that says why.
///
/// `progress` gets the number of photos that are done, and returns whether to go on.
///
/// # Errors
/// [`ShardsError`] if the folder cannot be written to, if an archive or a table is damaged, or if the network fails.
pub fn work(
    share: Share,
    network: &dyn Network,
    folder: impl Into<Place>,
    progress: &mut dyn FnMut(usize) -> bool,
) -> Result<Outcome, ShardsError> {
    let folder: &Place = &folder.into();
    folder.make_folder()?;
    let (about, shard, input) = (network.about(), share.shard(), share.identity().to_owned());
    let place = folder.join(&shard.file());
    match Header::read(&place) {
        Ok((header, photos))
            if header.about.model == about.model && header.about.kind == about.kind && header.input == input =>
        {
            return Ok(Outcome { done: Done::Skipped, place, photos, errors: header.errors });
        }
        // A store that refuses now would refuse the result too, after hours.
        Err(error @ ShardsError::Store { .. }) => return Err(error),
        // A file that cannot be read is written anew.
        _ => {}
    }
    let mut writer = Writer::new(folder, &about, shard, &input)?;
    let (sender, receiver) = mpsc::channel();
    // The thread that takes photos tells what it knows of each before it hands the photo on.
    let photos = share.photos().filter_map(move |photo| {
        let (told, origin) = match photo {
            Ok(photo) => told(photo),
            Err(error) => (Told::End(error), None),
        };
        // There is no receiver any more if the work was stopped.
        sender.send(told).ok()?;
        origin
    });
    let photos: Photos = Box::new(photos);
    let mut answers = network.answers(photos);
    loop {
        let Some(answer) = answers.next() else { break };
        let answer = match answer {
            Ok(answer) => Ok(answer),
            Err(Problem::Photo(reason)) => Err(reason),
            Err(Problem::End(error)) => return Err(ShardsError::Network(error)),
        };
        let known = unanswered(&receiver, &mut writer)?.expect("a photo is announced before it is answered");
        writer.push(&known, answer)?;
        if !progress(writer.rows) {
            return Ok(Outcome { done: Done::Stopped, place, photos: writer.rows, errors: writer.errors });
        }
    }
    drop(answers);
    let more = unanswered(&receiver, &mut writer)?;
    debug_assert!(more.is_none(), "all photos are answered");
    let (photos, errors) = (writer.rows, writer.errors);
    let place = writer.finish()?;
    Ok(Outcome { done: Done::Written, place, photos, errors })
}

/// What the thread that takes photos knows.
enum Told {
    /// A photo, which has its answer later.
    Photo(Known),
    /// A photo that cannot be read, and why.
    Unreadable(Known, String),
    /// The input cannot be read further.
    End(ShardsError),
}

/// What is known of a photo, and its content unless it cannot be read.
fn told(Photo { key, path, label, content }: Photo) -> (Told, Option<Origin>) {
    match content {
        Ok(bytes) => {
            let sha256 = Some(hex(Sha256::digest(&bytes)));
            (Told::Photo(Known { key, path, sha256, label }), Some(Origin::from(bytes)))
        }
        Err(Unread::File(reason)) => (Told::Unreadable(Known { key, path, sha256: None, label }, reason), None),
        // A row of a photo that is sound would stand there as one that is not, for as long as the file is kept.
        Err(Unread::Shortage(reason)) => (Told::End(ShardsError::io(path)(std::io::Error::other(reason))), None),
    }
}

/// Writes the rows of photos that cannot be read, up to the next one that has an answer, which is returned.
fn unanswered(receiver: &Receiver<Told>, writer: &mut Writer) -> Result<Option<Known>, ShardsError> {
    // The channel is never waited for: photos are announced before they are handed on, and it ends with the thread that fills it.
    while let Ok(told) = receiver.recv() {
        match told {
            Told::Photo(known) => return Ok(Some(known)),
            Told::Unreadable(known, reason) => writer.push(&known, Err(reason))?,
            Told::End(error) => return Err(error),
        }
    }
    Ok(None)
}
