//! Upper limits of a network's size.
//!
//! A description is data that may come from anywhere. A network that exceeds these limits is refused with the layer's name when its
//! [`Graph`](crate::Graph) is made. Later computations with a graph's numbers therefore do not overflow, and do not ask for more
//! memory than any machine has. The largest networks in use are far below the limits: VGG16 with its top at 1024×1024 has 2.2
//! thousand million parameters, and EfficientNet-B7 at 600×600 computes 1.2 thousand million values per image.

use injerto_files::printable;

/// Upper limit for a side, a number of channels or units, a window, a stride, a dilation and a padding: 1,048,576.
pub const LARGEST_SIDE: usize = 1 << 20;

/// Upper limit for the number of axes of a shape.
pub const MOST_AXES: usize = 8;

/// Upper limit for the number of layers of a network.
pub const MOST_LAYERS: usize = 1 << 14;

/// Upper limit for the number of inputs of all layers together.
pub const MOST_CONNECTIONS: usize = 1 << 17;

/// Upper limit for the number of output values of all layers together per image, including the zeros that windows need around
/// their inputs, and the scores of attention: 2^32, which is 16 GiB in single precision.
pub const MOST_VALUES: usize = 1 << 32;

/// Upper limit for the number of values of all parameters together: 2^32, which is 16 GiB in single precision.
pub const MOST_PARAMETERS: usize = 1 << 32;

/// Upper limit for the multiply-adds of a forward pass per image: 2^45, a hundred times those of VGG16 at 1024×1024.
pub const MOST_MULTIPLY_ADDS: u64 = 1 << 45;

/// Upper limit for the number of pixels of an input image: 2^26, such as 8192×8192.
pub const MOST_PIXELS: usize = 1 << 26;

/// Upper limit for the length of the name of a layer or a network, in bytes.
pub const LONGEST_NAME: usize = 256;

/// Upper limit for the length of a text of a descriptor, such as a summary, in bytes.
pub const LONGEST_TEXT: usize = 4096;

/// The number of values of a shape, if [`MOST_VALUES`] allows it.
pub(crate) fn values(sides: &[usize]) -> Option<usize> {
    product(sides).filter(|&count| count <= MOST_VALUES)
}

/// The product of the sides, unless it overflows.
pub(crate) fn product(sides: &[usize]) -> Option<usize> {
    sides.iter().try_fold(1_usize, |count, &side| count.checked_mul(side))
}

/// Checks the name of a layer or a network; the error says what is wrong with it.
pub(crate) fn check_name(name: &str) -> Result<(), String> {
    if name.is_empty() {
        return Err("the name is empty".to_owned());
    }
    check_text(name, LONGEST_NAME)
}

/// Checks a text that will be printed in one line of a terminal; the error says what is wrong with it.
pub(crate) fn check_text(text: &str, longest: usize) -> Result<(), String> {
    if text.len() > longest {
        return Err(format!("'{}' is longer than {longest} bytes", beginning(text)));
    }
    if printable(text).to_string() != text {
        return Err(format!("'{}' has characters that are not printable", printable(text)));
    }
    Ok(())
}

/// The first 64 characters of a text of any length, made printable for a message.
pub(crate) fn beginning(text: &str) -> String {
    let mut short: String = text.chars().take(64).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    printable(&short).to_string()
}
