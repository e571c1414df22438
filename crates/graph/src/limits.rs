//! How large a network may be.
//!
//! A description is data that may come from anywhere. What lies beyond these limits is refused with the layer's name when a
//! [`Graph`](crate::Graph) is made, so whatever is computed from a graph's numbers later neither overflows nor asks for
//! memory that no machine has. The largest networks in use stay far below: VGG16 with its top at 1024×1024 has 2.2 thousand
//! million parameters and EfficientNet-B7 at 600×600 computes 1.2 thousand million values per image.

use injerto_files::printable;

/// The longest side, the most channels or units, and the largest window, stride, dilation or padding: 1,048,576.
pub const LARGEST_SIDE: usize = 1 << 20;

/// The most axes of a shape.
pub const MOST_AXES: usize = 8;

/// The most layers of a network.
pub const MOST_LAYERS: usize = 1 << 14;

/// The most inputs of all layers of a network together.
pub const MOST_CONNECTIONS: usize = 1 << 17;

/// The most values that all layers of a network put out together for one image, with the zeros that windows want around
/// their inputs: 2^32, 16 GiB in single precision.
pub const MOST_VALUES: usize = 1 << 32;

/// The most values that all parameters of a network have together: 2^32, 16 GiB in single precision.
pub const MOST_PARAMETERS: usize = 1 << 32;

/// The most multiply-adds of a forward pass for one image: 2^45, a hundred times those of VGG16 at 1024×1024.
pub const MOST_MULTIPLY_ADDS: u64 = 1 << 45;

/// The most pixels of an image that a network may take: 2^26, such as 8192×8192.
pub const MOST_PIXELS: usize = 1 << 26;

/// The longest name of a layer or a network, in bytes.
pub const LONGEST_NAME: usize = 256;

/// The longest text of a descriptor, such as a summary, in bytes.
pub const LONGEST_TEXT: usize = 4096;

/// The number of values of a shape, if it is one that [`MOST_VALUES`] allows.
pub(crate) fn values(sides: &[usize]) -> Option<usize> {
    product(sides).filter(|&count| count <= MOST_VALUES)
}

/// The product of sides, if it can be told.
pub(crate) fn product(sides: &[usize]) -> Option<usize> {
    sides.iter().try_fold(1_usize, |count, &side| count.checked_mul(side))
}

/// What is wrong with the name of a layer or a network, if something is.
pub(crate) fn check_name(name: &str) -> Result<(), String> {
    if name.is_empty() {
        return Err("a name is needed".to_owned());
    }
    check_text(name, LONGEST_NAME)
}

/// What is wrong with a text that is to stand in one line of a terminal, if something is.
pub(crate) fn check_text(text: &str, longest: usize) -> Result<(), String> {
    if text.len() > longest {
        return Err(format!("'{}' is longer than {longest} bytes", beginning(text)));
    }
    if printable(text).to_string() != text {
        return Err(format!("'{}' has characters that are not printed", printable(text)));
    }
    Ok(())
}

/// The beginning of a text that may be of any length, fit for a message.
pub(crate) fn beginning(text: &str) -> String {
    let mut short: String = text.chars().take(64).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    printable(&short).to_string()
}
