//! Names in messages: many of them in one line, and the one that was probably meant.

use crate::printable;

/// Names in one line of bounded length, fit for a terminal.
///
/// # Examples
/// ```
/// # use injerto_files::listed;
/// assert_eq!(listed(["cats", "dogs"]), "cats, dogs");
/// ```
pub fn listed<'n>(names: impl IntoIterator<Item = &'n str>) -> String {
    const MOST: usize = 8;
    let mut names = names.into_iter();
    let some: Vec<String> = names.by_ref().take(MOST).map(|name| printable(&shortened(name)).to_string()).collect();
    match names.count() {
        0 => some.join(", "),
        more => format!("{} … and {more} more", some.join(", ")),
    }
}

/// A name of at most 60 characters.
fn shortened(name: &str) -> String {
    match name.char_indices().nth(60) {
        Some((end, _)) => format!("{}…", &name[..end]),
        None => name.to_owned(),
    }
}

/// How alike two names must be (by Jaro and Winkler) for one to be a misspelling of the other.
const ALIKE: f64 = 0.84;

/// What a name counts that begins as the wrong one does, or with which the wrong one begins.
const BEGINS_ALIKE: f64 = 0.9;

/// The candidate that `wrong` was most likely meant to be, whatever the case of its letters; `None` where none is like it.
///
/// # Examples
/// ```
/// # use injerto_files::nearest;
/// assert_eq!(nearest("inceptionv3", ["vgg", "inception_v3"]), Some("inception_v3"));
/// assert_eq!(nearest("resnet", ["vgg", "inception_v3"]), None);
/// ```
pub fn nearest<'n>(wrong: &str, candidates: impl IntoIterator<Item = &'n str>) -> Option<&'n str> {
    let wrong = wrong.to_lowercase();
    let alike = |candidate: &str| {
        let candidate = candidate.to_lowercase();
        let long = candidate.len() > 2 && wrong.len() > 2;
        let begins = long && (candidate.starts_with(&wrong) || wrong.starts_with(&candidate));
        strsim::jaro_winkler(&wrong, &candidate).max(if begins { BEGINS_ALIKE } else { 0.0 })
    };
    let scored = candidates.into_iter().map(|candidate| (alike(candidate), candidate));
    let (score, best) = scored.max_by(|a, b| a.0.total_cmp(&b.0))?;
    (score > ALIKE).then_some(best)
}
