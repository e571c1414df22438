use crate::table::{ABI_MAJOR, ABI_MINOR, MAGIC, Table};

/// The reason why a table is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum TableError {
    /// The entry symbol returned null.
    Null,
    /// The pointer is not aligned for a table.
    Misaligned,
    /// The first eight bytes are not the magic number.
    Magic(u64),
    /// The major version differs.
    Major {
        /// The plugin's major and minor version.
        found: (u32, u32),
    },
    /// The table ends before a required field.
    Truncated {
        /// Size of the table in bytes.
        size: usize,
        /// Name of the field.
        field: &'static str,
    },
    /// The slot of a required function is empty.
    Empty(&'static str),
    /// A name or a version is not UTF-8.
    Text(&'static str),
}

impl std::fmt::Display for TableError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Null => write!(f, "its entry symbol returned no table"),
            Self::Misaligned => write!(f, "its entry symbol returned a misaligned pointer"),
            Self::Magic(found) => {
                write!(f, "its table begins with {found:#018x}, not with the magic number {MAGIC:#018x}")
            }
            Self::Major { found: (major, minor) } => write!(
                f,
                "it speaks ABI {major}.{minor}, this host {ABI_MAJOR}.{ABI_MINOR}: the majors must be equal; \
                 rebuild the plugin for ABI {ABI_MAJOR}"
            ),
            Self::Truncated { size, field } => {
                write!(f, "its table is {size} bytes long and ends before '{field}', which must be there")
            }
            Self::Empty(field) => write!(f, "its table offers no '{field}'"),
            Self::Text(field) => write!(f, "the '{field}' in its table is not UTF-8"),
        }
    }
}

impl std::error::Error for TableError {}

/// The size of the field that `_field` borrows.
fn size_of_field<F>(_field: fn(&Table) -> &F) -> usize {
    size_of::<F>()
}

/// Checks a plugin's table and copies it: the magic number and the major version must be right, and the size must cover all fields
/// that this host requires. Slots that the size does not cover are empty in the copy.
///
/// # Errors
/// [`TableError`], which says the first thing that is wrong.
///
/// # Safety
/// `table` must be null or the pointer that a plugin's entry symbol returned; its first 16 bytes must be readable.
pub unsafe fn check_table(table: *const Table) -> Result<Table, TableError> {
    if table.is_null() {
        return Err(TableError::Null);
    }
    if !table.is_aligned() {
        return Err(TableError::Misaligned);
    }
    // Each field is read by itself, and never the whole struct, because the plugin's struct may be shorter.
    // SAFETY: the pointer is aligned, and the first 16 bytes are readable by the contract of this function.
    let (magic, size) = unsafe { ((&raw const (*table).magic).read(), (&raw const (*table).size).read()) };
    if magic != MAGIC {
        return Err(TableError::Magic(magic));
    }
    // Even the address of a field that is not there must not be formed before its size is known to cover it.
    macro_rules! covered {
        ($field:ident) => {
            size >= std::mem::offset_of!(Table, $field) + size_of_field(|table| &table.$field)
        };
    }
    macro_rules! needed {
        ($field:ident) => {
            match covered!($field) {
                // SAFETY: the plugin's size covers the field.
                true => unsafe { (&raw const (*table).$field).read() },
                false => return Err(TableError::Truncated { size, field: stringify!($field) }),
            }
        };
    }
    macro_rules! optional {
        ($field:ident) => {
            // SAFETY: the plugin's size covers the field.
            if covered!($field) { unsafe { (&raw const (*table).$field).read() } } else { None }
        };
    }
    let (abi_major, abi_minor) = (needed!(abi_major), needed!(abi_minor));
    if abi_major != ABI_MAJOR {
        return Err(TableError::Major { found: (abi_major, abi_minor) });
    }
    let (name, version) = (needed!(name), needed!(version));
    for (field, text) in [("name", name), ("version", version)] {
        // SAFETY: the strings of a table live as long as the process.
        if unsafe { text.as_str() }.is_none() {
            return Err(TableError::Text(field));
        }
    }
    let (descriptors, describe) = (needed!(descriptors), needed!(describe));
    if descriptors.is_none() {
        return Err(TableError::Empty("descriptors"));
    }
    if describe.is_none() {
        return Err(TableError::Empty("describe"));
    }
    let extension = optional!(extension);
    // The slot `score` is reserved and is not read.
    Ok(Table { magic, size, abi_major, abi_minor, name, version, descriptors, describe, score: None, extension })
}
