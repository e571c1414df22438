use std::path::PathBuf;

/// Why weights cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum WeightError {
    // --- files -----------------------------------------------------------------------------------------------------
    /// A file cannot be read or written.
    #[error("{}: {source}", path.display())]
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
    /// A path whose extension says nothing.
    #[error("{}: unknown kind of weight file; expected .safetensors, .pt, .pth, .h5, .hdf5 or .keras", path.display())]
    Extension {
        /// The file.
        path: PathBuf,
    },

    // --- contents --------------------------------------------------------------------------------------------------
    /// Tensors that are missing, left over or misshapen, all of them.
    #[error("{origin} does not hold the weights of '{graph}':\n{}", problems(missing, surplus, misshapen))]
    Mismatch {
        /// The file.
        origin: String,
        /// Name of the graph.
        graph: String,
        /// Tensors that the graph needs and the file has not.
        missing: Vec<String>,
        /// Tensors of the file that nothing needs.
        surplus: Vec<String>,
        /// Tensors of another shape than needed, in words.
        misshapen: Vec<String>,
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
        "weights '{id}' need backbone.parameters.{key} = {needed}, but it is set to {given}; \
         leave it out, or choose other weights"
    )]
    Contradiction {
        /// The weight set.
        id: String,
        /// The parameter.
        key: String,
        /// What the weights need.
        needed: String,
        /// What the user set.
        given: String,
    },
}

/// The problems of a file, at most ten of each kind by name.
fn problems(missing: &[String], surplus: &[String], misshapen: &[String]) -> String {
    let list = |what: &str, names: &[String]| -> Option<String> {
        let shown = names.iter().take(10).cloned().collect::<Vec<_>>().join(", ");
        let rest = names.len().saturating_sub(10);
        let more = if rest > 0 { format!(" and {rest} more") } else { String::new() };
        (!names.is_empty()).then(|| format!("  {} {what}: {shown}{more}", names.len()))
    };
    let lists = [list("missing", missing), list("of another shape", misshapen), list("not needed", surplus)];
    lists.into_iter().flatten().collect::<Vec<_>>().join("\n")
}
