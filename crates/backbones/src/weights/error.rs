use std::path::PathBuf;

use injerto_files::memory::NoRoom;
use injerto_files::shown;

/// Why weights cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum WeightError {
    // --- files -----------------------------------------------------------------------------------------------------
    /// A file cannot be read or written.
    #[error("{}: {source}", shown(path))]
    Io {
        /// The file.
        path: PathBuf,
        /// What went wrong.
        source: std::io::Error,
    },
    /// A file is not of the format that it should be.
    #[error("{origin}: not readable as {format}: {reason}")]
    Format {
        /// The file.
        origin: String,
        /// Such as "a PyTorch file".
        format: &'static str,
        /// What the reader said.
        reason: String,
    },
    /// A file of no format that is known.
    #[error("{origin} is no file of weights: {reason}")]
    Unreadable {
        /// The file.
        origin: String,
        /// What it is instead.
        reason: String,
    },
    /// A file that is not what this program wrote.
    #[error(
        "{origin} is damaged: its checksum is {found}, not the one that was written with it; \
         take another checkpoint of the run (best, last or epoch), or restore a copy"
    )]
    Damaged {
        /// The file.
        origin: String,
        /// What its checksum is.
        found: String,
    },
    /// Values that a smaller number type cannot hold.
    #[error("tensor '{tensor}' holds values beyond 65504, the largest number of 16 bits; save it with --precision f32")]
    Overflow {
        /// The tensor.
        tensor: String,
    },

    // --- contents --------------------------------------------------------------------------------------------------
    /// Tensors that are missing, left over or misshapen, all of them.
    #[error("{origin} does not hold the weights of '{graph}':\n{problems}{hint}")]
    Mismatch {
        /// The file.
        origin: String,
        /// Name of the graph.
        graph: String,
        /// The tensors.
        problems: Box<Problems>,
        /// What would make it fit, on a line of its own; nothing where that is not known.
        hint: String,
    },
    /// Values that are infinite or not a number.
    #[error("{origin}: tensor '{tensor}' holds values that are infinite or not a number")]
    NotFinite {
        /// The file.
        origin: String,
        /// The tensor.
        tensor: String,
    },

    // --- sources ---------------------------------------------------------------------------------------------------
    /// A file whose hash is another.
    #[error("{origin}: its {algorithm} is {found}, expected {expected}; the file is damaged or not the published one")]
    Checksum {
        /// The file or address.
        origin: String,
        /// Name of the hash.
        algorithm: &'static str,
        /// What was published.
        expected: String,
        /// What it is.
        found: String,
    },
    /// No way to the file.
    #[error("cannot fetch weights '{id}' from {origin}: {reason}\n{alternatives}")]
    Unreachable {
        /// The weight set.
        id: String,
        /// Where it is.
        origin: String,
        /// What was tried and what came of it.
        reason: String,
        /// What to do instead.
        alternatives: String,
    },

    /// A user without a home, and no other folder was named.
    #[error("there is no home folder to keep weights and features in; set INJERTO_CACHE_DIR to a folder of your own")]
    NoCache,

    /// Weights that there is no memory for.
    #[error(transparent)]
    NoRoom(#[from] NoRoom),

    // --- choice ----------------------------------------------------------------------------------------------------
    /// Neither a weight set nor a file.
    #[error("no weights '{asked}' for this backbone: it is not a file, and the weight sets are:\n{known}")]
    Unknown {
        /// What was asked for.
        asked: String,
        /// The sets with their summaries, one a line.
        known: String,
    },
    /// Parameters that the user set otherwise than the weights need.
    #[error(
        "{weights} need backbone.parameters.{key} = {needed}, but it is set to {given}; leave it out, or choose other weights"
    )]
    Contradiction {
        /// The weight set, or the file and how it is known.
        weights: String,
        /// The parameter.
        key: String,
        /// What the weights need.
        needed: String,
        /// What the user set.
        given: String,
    },
}

/// Tensors of a file that are not as a graph needs them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Problems {
    /// Tensors that the graph needs and the file has not, with their shapes.
    pub missing: Vec<String>,
    /// Tensors of another shape than needed, in words.
    pub misshapen: Vec<String>,
    /// Tensors of the file that nothing needs.
    pub surplus: Vec<String>,
}

impl Problems {
    /// How many there are.
    pub fn count(&self) -> usize {
        self.missing.len() + self.misshapen.len() + self.surplus.len()
    }

    /// Whether all is as it should be.
    pub fn is_empty(&self) -> bool {
        self.count() == 0
    }
}

impl std::fmt::Display for Problems {
    /// At most ten of each kind by name.
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
