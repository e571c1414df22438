/// Bytes as lower-case hexadecimal digits, as checksums are written.
///
/// # Examples
/// ```
/// assert_eq!(injerto_files::hex([0x0a, 0xff]), "0aff");
/// ```
pub fn hex(bytes: impl AsRef<[u8]>) -> String {
    use std::fmt::Write as _;
    let bytes = bytes.as_ref();
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        write!(text, "{byte:02x}").expect("a string takes everything");
    }
    text
}
