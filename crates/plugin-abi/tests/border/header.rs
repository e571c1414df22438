//! Keeps `include/injerto_plugin.h` and the Rust types equal.

use std::mem::{align_of, offset_of, size_of};

use injerto_plugin_abi::{ABI_MAJOR, ABI_MINOR, Sink, Status, Str, Table, WeightsExtension};

/// Expressions in C, and their values in Rust.
fn layout() -> Vec<(&'static str, usize)> {
    vec![
        ("sizeof(injerto_str)", size_of::<Str>()),
        ("offsetof(injerto_str, len)", offset_of!(Str, len)),
        ("sizeof(injerto_sink)", size_of::<Sink>()),
        ("offsetof(injerto_sink, write)", offset_of!(Sink, write)),
        ("sizeof(injerto_status)", size_of::<Status>()),
        ("offsetof(injerto_table, magic)", offset_of!(Table, magic)),
        ("offsetof(injerto_table, size)", offset_of!(Table, size)),
        ("offsetof(injerto_table, abi_major)", offset_of!(Table, abi_major)),
        ("offsetof(injerto_table, abi_minor)", offset_of!(Table, abi_minor)),
        ("offsetof(injerto_table, name)", offset_of!(Table, name)),
        ("offsetof(injerto_table, version)", offset_of!(Table, version)),
        ("offsetof(injerto_table, descriptors)", offset_of!(Table, descriptors)),
        ("offsetof(injerto_table, describe)", offset_of!(Table, describe)),
        ("offsetof(injerto_table, score)", offset_of!(Table, score)),
        ("offsetof(injerto_table, extension)", offset_of!(Table, extension)),
        ("sizeof(injerto_table)", size_of::<Table>()),
        ("offsetof(injerto_weights_extension, read)", offset_of!(WeightsExtension, read)),
        ("sizeof(injerto_weights_extension)", size_of::<WeightsExtension>()),
    ]
}

/// The published values, in the order of [`layout`]. A change here changes the ABI and belongs in CHANGELOG.md. There are two kinds of
/// 32-bit machines: the first field of the table may be aligned to 8 bytes or, on x86, to 4; only the padding at the end differs.
#[test]
fn offsets_are_as_published() {
    const WIDE: [usize; 18] = [16, 8, 16, 8, 4, 0, 8, 16, 20, 24, 40, 56, 64, 72, 80, 88, 8, 16];
    const NARROW: [usize; 18] = [8, 4, 8, 4, 4, 0, 8, 12, 16, 20, 28, 36, 40, 44, 48, 52, 4, 8];
    let mut published = if cfg!(target_pointer_width = "64") { WIDE } else { NARROW };
    published[15] = published[15].next_multiple_of(align_of::<u64>());
    let found: Vec<usize> = layout().into_iter().map(|(_, number)| number).collect();
    assert_eq!(found, published);
}

/// The changelog has a section for this version, and the title of the header names it.
#[test]
fn the_changelog_and_the_header_are_of_this_version() {
    let read = |name: &str| {
        std::fs::read_to_string(std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).expect("in this crate")
    };
    let (changelog, version) = (read("CHANGELOG.md"), format!("{ABI_MAJOR}.{ABI_MINOR}"));
    let newest = changelog.lines().find_map(|line| line.strip_prefix("## "));
    assert_eq!(newest, Some(version.as_str()));
    let header = read("include/injerto_plugin.h");
    assert!(header.contains(&format!("version {version}.")), "the header's first line names version {version}");
}

/// Miri starts no compilers.
#[test]
#[cfg(not(miri))]
fn the_header_agrees_with_rust() {
    use injerto_plugin_abi::{MAGIC, WEIGHTS_EXTENSION};
    use std::process::Command;

    let folder = std::env::temp_dir().join(format!("injerto-header-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a temporary folder");
    let prints = |(expression, _): &(&str, usize)| format!("  printf(\"%zu\\n\", (size_t)({expression}));\n");
    let lines: String = layout().iter().map(prints).collect();
    let program = format!(
        "#include <stdio.h>\n#include <inttypes.h>\n#include \"injerto_plugin.h\"\nint main(void) {{\n{lines}  \
         printf(\"%\" PRIu64 \" %d %d %s %d %d %d %d %d %d\\n\", INJERTO_MAGIC, INJERTO_ABI_MAJOR, INJERTO_ABI_MINOR,\n\
         INJERTO_WEIGHTS_EXTENSION, INJERTO_OK, INJERTO_FAILED, INJERTO_NOT_FOUND, INJERTO_BAD_PARAMETERS,\n\
         INJERTO_SINK_FULL, INJERTO_PANICKED);\n  return 0;\n}}\n"
    );
    let (source, binary) = (folder.join("layout.c"), folder.join("layout"));
    std::fs::write(&source, program).expect("written");
    let include = concat!(env!("CARGO_MANIFEST_DIR"), "/include");
    let mut compiler = Command::new("cc");
    compiler.args(["-std=c11", "-Wall", "-Werror", "-I", include, "-o"]).arg(&binary).arg(&source);
    match compiler.status() {
        Ok(status) => assert!(status.success(), "the header does not compile"),
        Err(_) if std::env::var("CI").as_deref() == Ok("true") => panic!("no C compiler"),
        Err(_) => return eprintln!("skipped: no C compiler"),
    }
    let output = Command::new(&binary).output().expect("runs").stdout;
    let mut expected: String = layout().iter().map(|(_, number)| format!("{number}\n")).collect();
    expected += &format!("{MAGIC} {ABI_MAJOR} {ABI_MINOR} {WEIGHTS_EXTENSION} 0 1 2 3 4 5\n");
    assert_eq!(String::from_utf8_lossy(&output), expected);
    std::fs::remove_dir_all(&folder).expect("removed");
}
