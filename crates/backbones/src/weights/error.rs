use std::path::PathBuf;

use injerto_files::memory::NoRoom;
use injerto_files::shown;

/// The reason why weights cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum WeightError {
    // --- files -----------------------------------------------------------------------------------------------------
    /// A file cannot be read or written.
    #[error("{}: {source}", shown(path))]
    Io {
        /// The file.
        path: PathBuf,
        /// The error of the system.
        source: std::io::Error,
    },
    /// A file does not have the expected format.
    #[error("{origin}: not readable as {format}: {reason}")]
    Format {
        /// The file.
        origin: String,
        /// The expected format, such as "a PyTorch file".
        format: &'static str,
        /// The error of the reader.
        reason: String,
    },
    /// A file has no known format.
    #[error("{origin} is not a file of weights: {reason}")]
    Unreadable {
        /// The file.
        origin: String,
        /// The actual kind of file, or the problem with it.
        reason: String,
    },
    /// A file of this program was changed after it was written.
    #[error(
        "{origin} is damaged: its checksum is {found}, not the one in its metadata; \
         take another checkpoint of the run (best, last or epoch), or restore a copy"
    )]
    Damaged {
        /// The file.
        origin: String,
        /// The actual checksum.
        found: String,
    },
    /// Values do not fit into the smaller number type.
    #[error("tensor '{tensor}' holds values beyond 65504, the largest number of 16 bits; save it with --precision f32")]
    Overflow {
        /// The tensor.
        tensor: String,
    },

    // --- contents --------------------------------------------------------------------------------------------------
    /// Tensors are missing, superfluous or of another shape. All of them are listed.
    #[error("{origin} does not hold the weights of '{graph}':\n{problems}{hint}")]
    Mismatch {
        /// The file.
        origin: String,
        /// Name of the graph.
        graph: String,
        /// The tensors.
        problems: Box<Problems>,
        /// A hint on a separate line that says how the file would fit; empty if that is not known.
        hint: String,
    },
    /// Values are infinite or not a number.
    #[error("{origin}: tensor '{tensor}' holds values that are infinite or not a number")]
    NotFinite {
        /// The file.
        origin: String,
        /// The tensor.
        tensor: String,
    },

    // --- sources ---------------------------------------------------------------------------------------------------
    /// A file has another hash than the published one.
    #[error("{origin}: its {algorithm} is {found}, expected {expected}; the file is damaged or not the published one")]
    Checksum {
        /// The file or address.
        origin: String,
        /// Name of the hash.
        algorithm: &'static str,
        /// The published hash.
        expected: String,
        /// The actual hash.
        found: String,
    },
    /// The file of a weight set cannot be fetched.
    #[error("cannot fetch weights '{id}' from {origin}: {reason}\n{alternatives}")]
    Unreachable {
        /// The weight set.
        id: String,
        /// Address or package of the file.
        origin: String,
        /// The attempts and their results.
        reason: String,
        /// Alternatives for the user.
        alternatives: String,
    },

    /// The user has no home folder, and no other folder was named.
    #[error("there is no home folder to keep weights and features in; set INJERTO_CACHE_DIR to a folder of your own")]
    NoCache,

    /// There is too little memory for the weights.
    #[error(transparent)]
    NoRoom(#[from] NoRoom),

    // --- choice ----------------------------------------------------------------------------------------------------
    /// A name is neither a weight set nor a file.
    #[error("no weights '{asked}' for this backbone: it is not a file, and the weight sets are:\n{known}")]
    Unknown {
        /// The name that the user gave.
        asked: String,
        /// The weight sets with their summaries, one per line.
        known: String,
    },
    /// The user set a parameter to another value than the weights need.
    #[error(
        "{weights} need backbone.parameters.{key} = {needed}, but it is set to {given}; leave it out, or choose other weights"
    )]
    Contradiction {
        /// The weight set, or the file and how it was recognised.
        weights: String,
        /// The parameter.
        key: String,
        /// Value that the weights need.
        needed: String,
        /// Value that the user set.
        given: String,
    },
}

/// Tensors of a file that do not fit a graph.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Problems {
    /// Tensors that the graph needs and the file does not have, with their shapes.
    pub missing: Vec<String>,
    /// Tensors whose shape is not the needed one, in words.
    pub misshapen: Vec<String>,
    /// Tensors of the file that are not needed.
    pub surplus: Vec<String>,
}

impl Problems {
    /// Number of problems.
    pub fn count(&self) -> usize {
        self.missing.len() + self.misshapen.len() + self.surplus.len()
    }

    /// Whether there is no problem.
    pub fn is_empty(&self) -> bool {
        self.count() == 0
    }
}

impl std::fmt::Display for Problems {
    /// Names at most ten tensors of each kind.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let list = |what: &str, names: &[String]| -> Option<String> {
            let shown = names.iter().take(10).cloned().collect::<Vec<_>>().join(", ");
            let rest = names.len().saturating_sub(10);
            let more = if rest > 0 { format!(" and {rest} more") } else { String::new() };
            (!names.is_empty()).then(|| format!("  {} {what}: {shown}{more}", names.len()))
        };
        let lists = [
            list("missing", &self.missing),
            list("of another shape", &self.misshapen),
            list("not needed", &self.surplus),
        ];
        f.write_str(&lists.into_iter().flatten().collect::<Vec<_>>().join("\n"))
    }
}
