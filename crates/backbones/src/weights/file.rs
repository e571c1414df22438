//! An open file of weights: its tensors, its metadata, and its bytes, which are read once.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read as _;
use std::path::{Path, PathBuf};

use injerto_files::{mistaken, printable, shown};
use injerto_graph::{Checksum, Format, Graph, Layout, TensorMap, WeightSet, matches_pattern};

use super::card::BackboneCard;
use super::fetch::verify;
use super::hdf5::KerasFile;
use super::read::{self, LARGEST_FILE, Raw};
use super::table::{Fit, Rest, fit};
use super::{WeightError, Weights, checksum};

/// An open file of weights. Its tensors are known, but no number has been converted yet.
pub struct WeightFile {
    origin: String,
    format: Format,
    contents: Contents,
    metadata: BTreeMap<String, String>,
    /// Identifiers of the weight sets of which this is the published file.
    published: Vec<String>,
}

/// Tensors by name, or a file that needs a graph to name its tensors.
enum Contents {
    Named(BTreeMap<String, Raw>),
    Keras(KerasFile),
}

impl std::fmt::Debug for WeightFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WeightFile").field("origin", &self.origin).field("format", &self.format).finish_non_exhaustive()
    }
}

impl WeightFile {
    /// Opens a file of any known format, whatever its extension. The contents decide the format, and whether it is the file of one of the
    /// `known` sets.
    ///
    /// # Errors
    /// The file cannot be read, has no known format, or is damaged.
    pub fn open(path: &Path, known: &[WeightSet]) -> Result<Self, WeightError> {
        let bytes = bounded(path)?;
        let origin = shown(path).to_string();
        let unreadable = |reason: String| WeightError::Unreadable { origin: origin.clone(), reason };
        if let Some(parts) = read::parts(&bytes) {
            return Self::of_parts(path, parts.map_err(unreadable)?);
        }
        let format = sniff(&bytes).map_err(unreadable)?;
        let published = published(&bytes, known);
        let file = Self::parse(bytes, origin.clone(), format, Some(path.to_owned()))?;
        match &file.contents {
            Contents::Named(tensors) if tensors.is_empty() => Err(unreadable("it holds no tensors".to_owned())),
            // PyTorch's optimisers name their state by the numbers of the parameters.
            Contents::Named(tensors) if tensors.keys().all(|name| is_of_optimiser(name)) => {
                Err(unreadable("it holds the state of an optimiser alone; the weights are in another file".to_owned()))
            }
            _ => Ok(Self { published, ..file }),
        }
    }

    /// Opens all files that an index names as `parts`, which lie in the folder of the index.
    fn of_parts(index: &Path, parts: BTreeSet<String>) -> Result<Self, WeightError> {
        let origin = shown(index).to_string();
        let unreadable = |reason: String| WeightError::Unreadable { origin: origin.clone(), reason };
        let (mut all, mut length, mut found) = (BTreeMap::new(), 0, None);
        for part in parts {
            let path = index.with_file_name(&part);
            let bytes = bounded(&path)?;
            length += bytes.len() as u64;
            if length > LARGEST_FILE {
                return Err(unreadable(format!("its parts are larger than {} GiB, the limit", LARGEST_FILE >> 30)));
            }
            let part = shown(&path).to_string();
            let format = sniff(&bytes).map_err(|reason| unreadable(format!("its part {part}: {reason}")))?;
            match Self::parse(bytes, part.clone(), format, Some(path))?.contents {
                Contents::Named(tensors) => all.extend(tensors),
                Contents::Keras(_) => return Err(unreadable(format!("its part {part} is not a table of tensors"))),
            }
            found = Some(format);
        }
        let format = found.ok_or_else(|| unreadable("it names no files".to_owned()))?;
        let contents = Contents::Named(all);
        Ok(Self { origin, format, contents, metadata: BTreeMap::new(), published: Vec::new() })
    }

    /// Opens a file of this format, such as a checkpoint.
    ///
    /// # Errors
    /// The file cannot be read or is damaged.
    pub fn open_as(path: &Path, format: Format) -> Result<Self, WeightError> {
        Self::parse(bounded(path)?, shown(path).to_string(), format, Some(path.to_owned()))
    }

    /// Opens a file from memory. `origin` names the source in errors, and `path` is the file that has the bytes, if there is one.
    pub(super) fn parse(
        bytes: Vec<u8>,
        origin: String,
        format: Format,
        path: Option<PathBuf>,
    ) -> Result<Self, WeightError> {
        let bad = |format, reason| WeightError::Format { origin: origin.clone(), format, reason };
        let other = mistaken(&bytes).or_else(|| experiment(path.as_deref()?));
        let bad = |format, reason: String| bad(format, other.map_or(reason, str::to_owned));
        let (contents, metadata) = match format {
            Format::Safetensors => {
                let (tensors, metadata) = read::safetensors(bytes).map_err(|reason| bad("safetensors", reason))?;
                checksum::verify(&tensors, &metadata)
                    .map_err(|found| WeightError::Damaged { origin: origin.clone(), found })?;
                (Contents::Named(tensors), metadata)
            }
            Format::Pytorch => {
                let tensors = read::pytorch(bytes, path).map_err(|reason| bad("a PyTorch file", reason))?;
                (Contents::Named(tensors), BTreeMap::new())
            }
            Format::KerasHdf5 => {
                let file = KerasFile::open(bytes).map_err(|reason| bad("Keras HDF5", reason))?;
                (Contents::Keras(file), BTreeMap::new())
            }
        };
        Ok(Self { origin, format, contents, metadata, published: Vec::new() })
    }

    /// Name of the file, for messages.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// Format of the contents.
    pub fn format(&self) -> Format {
        self.format
    }

    /// Metadata of a safetensors file; empty for other formats.
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        &self.metadata
    }

    /// The checksum in a safetensors file that this program wrote, which opening the file has verified: SHA-256 of metadata
    /// and tensors in hexadecimal. Equal checksums mean equal weights and an equal card.
    pub fn checksum(&self) -> Option<&str> {
        self.metadata.get(checksum::KEY).map(String::as_str)
    }

    /// The card of a file that this program wrote.
    ///
    /// # Errors
    /// The card cannot be read.
    pub fn card(&self) -> Result<Option<BackboneCard>, WeightError> {
        BackboneCard::of(&self.metadata).map_err(|reason| WeightError::Format {
            origin: self.origin.clone(),
            format: "a checkpoint",
            reason,
        })
    }

    /// Whether this is the published file of `set`.
    pub fn is(&self, set: &WeightSet) -> bool {
        self.published.contains(&set.id)
    }

    /// How well the file fits `wanted`, the first layers of `graph`, if its tensors have the names of `table`.
    pub fn fit(&self, table: &TensorMap, graph: &Graph, wanted: &Graph, rest: Rest) -> Fit {
        match &self.contents {
            Contents::Named(tensors) => fit(tensors, table, graph, wanted, rest),
            Contents::Keras(file) => fit(&file.tensors(graph), &TensorMap::keras(), graph, wanted, Rest::Refused),
        }
    }

    /// The weights that `fit` found.
    ///
    /// # Errors
    /// [`WeightError::Mismatch`] if `fit` has problems; a tensor that cannot be read or is not finite, which is named.
    pub fn take(&self, fit: &Fit, graph: &Graph) -> Result<Weights, WeightError> {
        match &self.contents {
            Contents::Named(tensors) => fit.take(tensors, graph, &self.origin),
            Contents::Keras(file) => fit.take(&file.tensors(graph), graph, &self.origin),
        }
    }

    /// The weights of `graph` in a file that [`Weights::save`] wrote, or in another file with Keras's names and axes. A tensor that
    /// `graph` does not have and that matches no pattern of `ignore` is an error, like every mismatch.
    ///
    /// # Errors
    /// Those of [`WeightFile::take`].
    pub fn own(&self, graph: &Graph, ignore: &[&str]) -> Result<Weights, WeightError> {
        let ignore = ignore.iter().map(|pattern| (*pattern).to_owned()).collect();
        let table = TensorMap { layout: Layout::Keras, names: Vec::new(), ignore };
        self.take(&self.fit(&table, graph, graph, Rest::Refused), graph)
    }

    /// All tensors whose names match `pattern`.
    ///
    /// # Errors
    /// A tensor cannot be read.
    pub fn named(&self, pattern: &str) -> Result<Weights, WeightError> {
        let mut weights = Weights::default();
        let Contents::Named(tensors) = &self.contents else { return Ok(weights) };
        for (name, raw) in tensors.iter().filter(|(name, _)| matches_pattern(pattern, name)) {
            let data = raw.read().map_err(|reason| WeightError::Format {
                origin: format!("{}, tensor '{}'", self.origin, injerto_files::printable(name)),
                format: "numbers",
                reason,
            })?;
            weights.insert(name, raw.shape.clone(), data);
        }
        Ok(weights)
    }
}

/// Identifiers of the weight sets of which these bytes are the published file. Each hash is computed once.
fn published(bytes: &[u8], sets: &[WeightSet]) -> Vec<String> {
    let mut verdicts: Vec<(&Checksum, bool)> = Vec::new();
    let mut is = |checksum| match verdicts.iter().find(|(known, _)| *known == checksum) {
        Some((_, verdict)) => *verdict,
        None => {
            let verdict = verify(bytes, "", Some(checksum)).is_ok();
            verdicts.push((checksum, verdict));
            verdict
        }
    };
    sets.iter().filter(|set| set.checksum.as_ref().is_some_and(&mut is)).map(|set| set.id.clone()).collect()
}

/// Reads all bytes of a file, unless it exceeds the limit for a file of weights.
fn bounded(path: &Path) -> Result<Vec<u8>, WeightError> {
    let io = |source| WeightError::Io { path: path.to_owned(), source };
    let file = injerto_files::open(path).map_err(io)?;
    let length = file.metadata().map_err(io)?.len();
    let mut bytes = Vec::new();
    if length <= LARGEST_FILE {
        // It may grow while it is read.
        file.take(LARGEST_FILE + 1).read_to_end(&mut bytes).map_err(io)?;
    }
    if length.max(bytes.len() as u64) > LARGEST_FILE {
        let reason = format!("it is larger than {} GiB, the limit for a file of weights", LARGEST_FILE >> 30);
        return Err(WeightError::Unreadable { origin: shown(path).to_string(), reason });
    }
    Ok(bytes)
}

/// The advice for a user who gave an experiment instead of weights.
fn experiment(path: &Path) -> Option<&'static str> {
    let is_experiment = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("toml"));
    is_experiment.then_some("it is an experiment; name the folder of its run, or a checkpoint")
}

/// The format of a file, judged by its first bytes, or what the file is instead.
fn sniff(bytes: &[u8]) -> Result<Format, String> {
    const HDF5: &[u8] = b"\x89HDF\r\n\x1a\n";
    // A user block may come before the signature.
    let hdf5 = [0, 512, 1024, 2048].iter().any(|&at| bytes.get(at..).is_some_and(|rest| rest.starts_with(HDF5)));
    let header = bytes.first_chunk().map(|length| u64::from_le_bytes(*length));
    let safetensors = bytes.get(8) == Some(&b'{') && header.is_some_and(|length| length <= bytes.len() as u64 - 8);
    let pickle = matches!(bytes, [0x80, 0..=5, ..] | [b'(' | b'}' | b']', ..]);
    let tar = bytes.get(257..262) == Some(b"ustar");
    match bytes {
        _ if hdf5 => Ok(Format::KerasHdf5),
        _ if safetensors => Ok(Format::Safetensors),
        _ if bytes.starts_with(b"PK") => read::archive(bytes),
        // PyTorch's first container has these entries.
        _ if tar
            && !["sys_info", "pickle", "storages", "tensors"].iter().any(|own| bytes.starts_with(own.as_bytes())) =>
        {
            Err("it is a tar archive of other files; unpack it first".to_owned())
        }
        _ if pickle || tar => Ok(Format::Pytorch),
        _ => Err(match (mistaken(bytes), short_text(bytes)) {
            (Some(other), _) => other.to_owned(),
            (None, Some(text)) => {
                format!("it is a text, \"{}\", not the file itself; download the file", printable(text))
            }
            (None, None) => {
                "it is none of safetensors, a PyTorch file, Keras HDF5 and .keras, or it is cut short".to_owned()
            }
        }),
    }
}

/// Whether a name is one of an optimiser's, such as `state.0.exp_avg`. (Weights may be in a dictionary called `state`, too.)
fn is_of_optimiser(name: &str) -> bool {
    let number = name.strip_prefix("state.").and_then(|rest| rest.split('.').next());
    number.is_some_and(|number| number.bytes().all(|digit| digit.is_ascii_digit()))
}

/// The first line of a file that is a few words, such as a server's answer to a wrong address.
fn short_text(bytes: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(Some(bytes).filter(|bytes| bytes.len() <= 1000)?).ok()?;
    let line = text.trim().lines().next()?;
    (line.len() <= 200 && !text.contains(|c: char| c.is_control() && !c.is_whitespace())).then_some(line)
}
