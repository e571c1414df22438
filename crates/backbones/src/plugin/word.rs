/// Checks that a name is a plain word of letters, digits, `_`, `-` and `.`, as users write it in TOML and on a command line.
pub(super) fn word(name: &str) -> Result<(), String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
    if !name.is_empty() && name.chars().all(plain) { Ok(()) } else { Err(format!("{name:?} is not a plain word")) }
}
