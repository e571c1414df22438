//! Plugins with the C ABI: valid and invalid plugins, plugins that crash or hang, and how they are found.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use injerto_backbones::plugin::{Catalog, Found, Origin, Probe, SearchPath, validate};
use injerto_backbones::weights::Cache;
use serde_json::{Map, Value, json};

use crate::{assert_conforms, built, file_name, missing, probe, root};

/// Compiles a C file into a plugin; returns `None` if there is no C compiler.
fn compile(source: &Path, folder: &Path, name: &str, warnings: &[&str]) -> Option<PathBuf> {
    let library = folder.join(file_name(name));
    let include = root().join("crates/plugin-abi/include");
    let mut compiler = Command::new("cc");
    compiler.args(["-std=c11", "-fPIC", "-shared"]).args(warnings).arg("-I").arg(include);
    let Ok(output) = compiler.arg("-o").args([library.as_path(), source]).output() else {
        return missing("no C compiler");
    };
    assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
    Some(library)
}

/// A plugin in C. A test replaces some parts of [`SOUND`]: the code before the table, fields of the table, or the statements of
/// `descriptors`, `describe` and the entry symbol.
#[derive(Clone, Copy)]
struct C<'a> {
    code: &'a str,
    fields: &'a str,
    descriptors: &'a str,
    describe: &'a str,
    entry: &'a str,
}

const SOUND: C<'_> = C {
    code: "",
    fields: "",
    descriptors: r#"return say(out, "[{\"name\": \"tiny\", \"summary\": \"nothing much\"}]");"#,
    describe: r#"return say(out, GRAPH("2"));"#,
    entry: "return &table;",
};

impl C<'_> {
    fn source(&self) -> String {
        let Self { code, fields, descriptors, describe, entry } = self;
        format!(
            r#"#include "injerto_plugin.h"
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#define GRAPH(pool) "{{\"graph\": {{\"name\": \"tiny\", \"layers\": [" \
  "{{\"name\": \"in\", \"class\": \"InputLayer\", \"config\": {{\"shape\": [4, 4, 3]}}}}," \
  "{{\"name\": \"shrink\", \"class\": \"MaxPooling2D\", \"inputs\": [\"in\"]," \
  " \"config\": {{\"pool_size\": [" pool ", 2], \"strides\": [2, 2]}}}}]}}," \
  "\"preprocessing\": {{\"scale\": 1, \"mean\": [0, 0, 0], \"deviation\": [1, 1, 1]}}}}"
#define TEXT(text) {{(const uint8_t *)text, sizeof(text) - 1}}
injerto_status say(injerto_sink sink, const char *text) {{
  return sink.write(sink.context, (const uint8_t *)text, strlen(text));
}}
{code}
static injerto_status descriptors(injerto_sink out, injerto_sink error) {{ {descriptors} }}
static injerto_status describe(injerto_str name, injerto_str parameters, injerto_sink out, injerto_sink error) {{
  {describe}
}}
static const injerto_table table = {{
  .magic = INJERTO_MAGIC, .abi_major = INJERTO_ABI_MAJOR, .abi_minor = INJERTO_ABI_MINOR, .name = TEXT("tiny"),
  .version = TEXT("1"), .descriptors = descriptors, .describe = describe,
#define SIZE(n) .size = n
  {}
}};
const injerto_table *injerto_plugin_entry(void) {{ {entry} }}
"#,
            if fields.contains("SIZE") {
                (*fields).to_owned()
            } else {
                format!("SIZE(sizeof(injerto_table)), {fields}")
            }
        )
    }

    /// Compiles the plugin; returns `None` if there is no C compiler.
    fn library(&self, folder: &Path, name: &str) -> Option<PathBuf> {
        let source = folder.join(format!("{name}.c"));
        std::fs::write(&source, self.source()).expect("written");
        // Warnings are off, because the tests need bad code.
        compile(&source, folder, name, &["-w"])
    }
}

#[test]
fn a_plugin_in_c_loads_passes_every_check_and_carries_weights() {
    let folder = tempfile::tempdir().expect("a folder");
    let source = root().join("plugins/example_c/example_c.c");
    let Some(library) = compile(&source, folder.path(), "example_c", &["-Wall", "-Wextra", "-Werror"]) else { return };
    assert_conforms(&library);
    let mut catalog = Catalog::scan(SearchPath::of([folder.path().to_owned()]), probe());
    let found = catalog.find("example_c").expect("found by name");
    assert_eq!(found.origin, Origin::File(library));
    let given = Map::from_iter([("input_shape".to_owned(), json!([8, 6]))]);
    let description = catalog.describe(&found, &given).expect("describes");
    assert_eq!(description.graph.input_shape().0, [8, 6, 3]);
    let resolved = catalog.resolve(&crate::files::ask("example_c", &given, "edges")).expect("its own weights");
    let weights = resolved.weights(&catalog, &Cache::new(folder.path())).expect("loads");
    assert_eq!(weights.count(), 112);
    // A grey image has no edges, because the weights of the second filter cancel out.
    let kernel = &weights.get("edges/kernel").expect("there").data;
    assert_eq!(kernel.iter().skip(1).step_by(4).sum::<f32>(), 0.0);
    let error = catalog.weights(&found, "stripes", &serde_json::Map::new()).expect_err("no such weights").to_string();
    assert!(error.ends_with("read weights 'stripes': no such weights in this library (it has 'edges')"), "{error}");
}

#[test]
fn libraries_that_are_not_plugins_are_refused_with_the_reason() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = folder.path();
    let check = |name: &str, plugin: C<'_>, expected: &str| {
        let Some(library) = plugin.library(at, name) else { return };
        let error = probe().descriptors(&library).expect_err(name).to_string();
        assert_eq!(error, format!("{}: list its backbones: {expected}", library.display()), "{name}");
    };
    let table = |fields| C { fields, ..SOUND };
    let entry = |entry| C { entry, ..SOUND };
    check(
        "symbol",
        C { code: "#define injerto_plugin_entry some_other_entry", ..SOUND },
        "not an Injerto plugin: it exports no 'injerto_plugin_entry'",
    );
    check("null", entry("return 0;"), "refused: its entry symbol returned no table");
    check(
        "odd",
        entry("return (const injerto_table *)((const char *)&table + 1);"),
        "refused: its entry symbol returned a misaligned pointer",
    );
    check(
        "wild",
        entry("return (const injerto_table *)64;"),
        "the plugin crashed (signal 11, invalid memory access); nothing else was harmed",
    );
    check(
        "magic",
        table(".magic = 7"),
        "refused: its table begins with 0x0000000000000007, not with the magic number 0x314f5452454a4e49",
    );
    check(
        "major",
        table(".abi_major = 2, .abi_minor = 3"),
        "refused: it speaks ABI 2.3, this host 1.0: the majors must be equal; rebuild the plugin for ABI 1",
    );
    check(
        "truncated",
        table("SIZE(offsetof(injerto_table, describe))"),
        &format!(
            "refused: its table is {} bytes long and ends before 'describe', which must be there",
            std::mem::offset_of!(injerto_plugin_abi::Table, describe)
        ),
    );
    check("empty", table(".descriptors = 0"), "refused: its table offers no 'descriptors'");
    check("text", table(".name = TEXT(\"\\xff\")"), "refused: the 'name' in its table is not UTF-8");
    // This file is not a library at all.
    let library = at.join(file_name("garbage"));
    std::fs::write(&library, b"not a library").expect("written");
    let error = probe().descriptors(&library).expect_err("garbage").to_string();
    assert!(error.contains("list its backbones: cannot be loaded as a library: "), "{error}");
    assert!(!error.ends_with("dlopen failed"), "the system's reason is left out: {error}");
    // Nor are these; a clone without its large files has such pointers.
    for (bytes, part) in
        [(&b"version https://git-lfs.github.com/spec/v1\n"[..], "it is a Git LFS pointer"), (b"", "it is empty")]
    {
        std::fs::write(&library, bytes).expect("written");
        let error = probe().descriptors(&library).expect_err(part).to_string();
        assert!(error.contains(&format!("cannot be loaded as a library: {part}")), "{error}");
    }
    // This library needs a symbol that does not exist.
    let code = "injerto_status nowhere_to_be_found(injerto_sink);";
    let needy = C { code, describe: "return nowhere_to_be_found(out);", ..SOUND };
    // Apple's linker looks for the symbol when it links.
    if let Some(library) = cfg!(target_os = "linux").then(|| needy.library(at, "needy")).flatten() {
        let error = probe().descriptors(&library).expect_err("needy").to_string();
        assert!(error.contains("nowhere_to_be_found"), "{error}");
    }
}

#[test]
fn a_newer_minor_version_with_more_fields_and_an_older_table_with_fewer_fields_are_accepted() {
    let folder = tempfile::tempdir().expect("a folder");
    let newer = C {
        code: "static const struct { injerto_table base; void *more[4]; } newer;",
        fields: "SIZE(sizeof(newer)), .abi_minor = 7",
        entry: "static struct { injerto_table base; void *more[4]; } grown; grown.base = table;
                memset(grown.more, 0xff, sizeof grown.more); return &grown.base;",
        ..SOUND
    };
    let Some(library) = newer.library(folder.path(), "newer") else { return };
    assert_eq!(probe().identity(&library).expect("loads").abi, (1, 7));
    assert_eq!(probe().describe(&library, "tiny", &Map::new()).expect("describes").graph.len(), 2);
    // The slots beyond its size would crash if they were called.
    let fields = "SIZE(offsetof(injerto_table, score)), .score = (void *)8, .extension = (void *)8";
    let older = C { fields, ..SOUND }.library(folder.path(), "older").expect("there is a compiler");
    assert_eq!(probe().describe(&older, "tiny", &Map::new()).expect("describes").graph.len(), 2);
    let error = probe().weights(&older, "any").expect_err("carries none").to_string();
    assert!(error.ends_with("it carries no weights (no extension injerto.weights/1)"), "{error}");
}

#[test]
fn a_plugin_that_answers_badly_crashes_hangs_or_never_ends_is_only_an_error() {
    let folder = tempfile::tempdir().expect("a folder");
    let check_within = |seconds: u64, name: &str, describe: &str, expected: &str| {
        let Some(library) = (C { describe, ..SOUND }).library(folder.path(), name) else { return };
        let probe = Probe { timeout: Duration::from_secs(seconds), ..probe() };
        let error = probe.describe(&library, "tiny", &Map::new()).expect_err(name).to_string();
        let start = format!("{}: describe 'tiny': ", library.display());
        assert_eq!(error.strip_prefix(&start), Some(expected), "{name}: {error}");
    };
    let check = |name: &str, describe: &str, expected: &str| check_within(20, name, describe, expected);
    check("no_json", r#"return say(out, "{]");"#, "its answer is not valid: key must be a string at line 1 column 2");
    check("silent", "return INJERTO_OK;", "its answer is not valid: EOF while parsing a value at line 1 column 0");
    check(
        "no_graph",
        r#"return say(out, GRAPH("9"));"#,
        "its answer is not valid: layer 1 'shrink' (MaxPooling2D): it cannot take an input of shape [4, 4, 3]: a window \
         of 9 does not fit in 4 at line 1 column 223",
    );
    check("mute", "return 42;", "it failed with status 42 and without a reason");
    check("refuses", r#"say(error, "not today"); return INJERTO_FAILED;"#, "not today");
    let crashed = |how: &str| format!("the plugin crashed ({how}); nothing else was harmed");
    check("aborts", "abort();", &crashed("signal 6, abort"));
    check(
        "wild_write",
        "*(volatile int *)(name.len - name.len) = 1; return 0;",
        &crashed("signal 11, invalid memory access"),
    );
    check("leaves", "exit(0);", &crashed("exit code 0, no answer"));
    check("leaves_with_7", "_exit(7);", &crashed("exit code 7, no answer"));
    // Printing does not disturb the answer, and a full sink reports it to a plugin that looks at the status.
    check(
        "endless",
        "static char megabyte[1 << 20]; write(1, \"noise\", 5);
         for (;;) { injerto_status status = out.write(out.context, (uint8_t *)megabyte, sizeof megabyte);
                    if (status != INJERTO_OK) return status; }",
        "its answer is not valid: it wrote more than 64 MiB",
    );
    check("null_bytes", "return out.write(out.context, 0, 9);", "its answer is not valid: it wrote no readable bytes");
    check_within(1, "hangs", "for (;;) sleep(9);", "no answer within 1 seconds; the plugin was stopped");
    check_within(
        1,
        "deaf",
        "for (;;) out.write(out.context, (const uint8_t *)\"x\", (size_t)-1);",
        "no answer within 1 seconds; the plugin was stopped",
    );
}

#[test]
fn validation_goes_on_after_a_crash_and_says_what_failed() {
    let folder = tempfile::tempdir().expect("a folder");
    // This plugin crashes for an unknown name, and accepts any parameter.
    let plugin = C { describe: r#"if (name.len != 4) abort(); return say(out, GRAPH("2"));"#, ..SOUND };
    let Some(library) = plugin.library(folder.path(), "careless") else { return };
    let report = validate(&library, &probe());
    let failed: Vec<&str> =
        report.checks.iter().filter(|check| check.problem.is_some()).map(|check| check.name.as_str()).collect();
    assert_eq!(failed, ["refuses an unknown backbone", "tiny: refuses an unknown parameter"]);
    assert!(!report.passed());
}

#[test]
fn an_unknown_name_lists_what_was_found_refused_and_searched() {
    let folders = [tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder")];
    let Some(first) = SOUND.library(folders[0].path(), "tiny") else { return };
    SOUND.library(folders[1].path(), "tiny").expect("there is a compiler");
    C { entry: "return 0;", ..SOUND }.library(folders[1].path(), "broken").expect("there is a compiler");
    // Libraries of other programs are ignored.
    let other = folders[0].path().join(format!("libother{}", std::env::consts::DLL_SUFFIX));
    std::fs::write(&other, b"not ours").expect("written");
    let nowhere = folders[0].path().join("nowhere");
    let path = folders.iter().map(|folder| folder.path().to_owned()).chain([nowhere.clone()]);
    let mut catalog = Catalog::scan(SearchPath::of(path), probe());
    let first_of_two = Origin::File(first.clone());
    assert_eq!(catalog.find("tiny").expect("the first of two").origin, first_of_two);
    let shadowed = catalog.found.iter().filter(|found| found.shadowed_by.as_ref() == Some(&first_of_two)).count();
    assert_eq!((catalog.found.len(), shadowed, catalog.refused.len()), (2, 1, 1));
    let error = catalog.find("tinny").expect_err("no such backbone").to_string();
    assert!(error.starts_with("no backbone 'tinny'; did you mean 'tiny'?\nfound:\n  tiny "), "{error}");
    for part in [
        format!("(shadowed by {})", first.display()),
        "its entry symbol returned no table".to_owned(),
        format!("{} (not there)", nowhere.display()),
        format!(
            "found by name only as {}; another library can be given by its path):\n  {}",
            file_name("NAME"),
            other.display()
        ),
    ] {
        assert!(error.contains(&part), "{part} in {error}");
    }
    assert_eq!(catalog.passed_over, [other]);
    // A path is used wherever it is; the error for a path that does not exist says so.
    assert_eq!(catalog.find(&first.display().to_string()).expect("by path").origin, first_of_two);
    let named = format!("{}:tiny", first.display());
    assert_eq!(catalog.find(&named).expect("by path and name").descriptor.name, "tiny");
    let error = catalog.find("no/such.so").expect_err("not there").to_string();
    assert!(error.ends_with("no/such.so: cannot be loaded as a library: there is no such file"), "{error}");
}

#[test]
fn every_plugin_of_the_workspace_conforms() {
    let folders = std::fs::read_dir(root().join("plugins")).expect("plugins/").flatten();
    let names = folders.filter(|entry| entry.path().join("Cargo.toml").is_file());
    let names: Vec<String> = names.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    assert!(names.len() >= 2, "{names:?}");
    for name in names {
        let library = built().join(file_name(&name));
        assert!(library.is_file(), "{name} is not built: run `cargo xtask plugins` (or `cargo xtask test`)");
        assert_conforms(&library);
    }
}

/// The standard backbones are linked into the programs, and their libraries are made of the same tables.
#[test]
fn a_linked_plugin_answers_as_its_library_does_in_a_child_process() {
    let linked = Catalog::scan(SearchPath::default().with_linked(injerto_standard::PLUGINS), probe());
    let loaded = Catalog::scan(crate::workspace_plugins(), probe());
    assert_eq!(linked.found.len(), loaded.found.len());
    for found in &linked.found {
        let name = &found.descriptor.name;
        let library = loaded.found.iter().find(|library| library.descriptor.name == *name).expect(name);
        assert_eq!(found.descriptor, library.descriptor);
        assert!(matches!((&found.origin, &library.origin), (Origin::Linked(_), Origin::File(_))), "{name}");
        let ask = |catalog: &Catalog, found, given: &Map<String, Value>| {
            let answer = catalog.describe(found, given).map_err(|error| error.to_string());
            // The place comes first in a message.
            answer.map_err(|error| error.split_once(": ").expect("a place").1.to_owned())
        };
        for given in [json!({}), json!({ "input_shape": [1, 1] })] {
            let given = given.as_object().expect("parameters");
            assert_eq!(ask(&linked, found, given), ask(&loaded, library, given), "{name} {given:?}");
        }
        let carried = |catalog: &Catalog, found| catalog.weights(found, "shapes", &Map::new()).ok();
        assert_eq!(carried(&linked, found), carried(&loaded, library), "{name}");
    }
}

#[test]
fn a_program_that_is_linked_statically_refuses_libraries_and_reads_files() {
    let folder = tempfile::tempdir().expect("a folder");
    let library = folder.path().join(file_name("mine"));
    std::fs::write(&library, b"no library is looked at").expect("written");
    let path = SearchPath::of([folder.path().to_owned()]).with_linked(injerto_standard::PLUGINS).without_libraries();
    let mut catalog = Catalog::scan(path, probe());
    let refused: Vec<_> = catalog.refused.iter().map(|refused| refused.error.to_string()).collect();
    assert!(matches!(&refused[..], [one] if one.contains("loads no libraries; `injerto plugins dump`")), "{refused:?}");
    let named = catalog.find(&library.to_string_lossy()).expect_err("refused").to_string();
    assert!(named.contains("this program is linked statically"), "{named}");
    let listing = catalog.listing();
    assert!(listing.ends_with("\n  this program is linked statically and loads no libraries"), "{listing}");
    // A backbone as a file is data.
    let vgg = catalog.find("vgg").expect("linked in");
    let dump = catalog.dump(&vgg, &Map::new(), None, "mine").expect("dumped");
    dump.write(&folder.path().join("mine.backbone.json")).expect("written");
    let path = SearchPath::of([folder.path().to_owned()]).without_libraries();
    assert!(Catalog::scan(path, probe()).find("mine").is_ok());
}

#[test]
fn a_library_in_a_folder_takes_the_place_of_the_linked_plugin_of_its_name() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = || SearchPath::of([folder.path().to_owned()]).with_linked(injerto_standard::PLUGINS);
    let mut catalog = Catalog::scan(path(), probe());
    let vgg = catalog.find("vgg").expect("linked");
    assert_eq!(vgg.origin.to_string(), "vgg (linked in)");
    let listing = catalog.listing();
    assert!(
        listing.contains("linked in\n") && listing.ends_with(" plugins that are linked into this program"),
        "{listing}"
    );
    let too_small = json!({ "input_shape": [1, 1] }).as_object().cloned().expect("parameters");
    let error = catalog.describe(&vgg, &too_small).expect_err("too small").to_string();
    assert!(error.starts_with("vgg (linked in): describe 'vgg': "), "{error}");

    let library = folder.path().join(file_name("vgg"));
    std::fs::copy(built().join(file_name("vgg")), &library).expect("copied");
    let mut catalog = Catalog::scan(path(), probe());
    let first = Origin::File(library);
    assert_eq!(catalog.find("vgg").expect("in the folder").origin, first);
    let shadowed: Vec<_> = catalog.found.iter().filter(|found| found.shadowed_by.as_ref() == Some(&first)).collect();
    assert!(matches!(shadowed[..], [Found { origin: Origin::Linked(_), .. }]), "{shadowed:?}");
    // Where no library can be asked, a linked plugin does not quietly take the place of one.
    let nobody = Probe { program: "/no/such/program".into(), ..probe() };
    let error = Catalog::scan(path(), nobody).find("vgg").expect_err("not asked").to_string();
    assert!(error.starts_with("cannot ask plugins: "), "{error}");
}

#[test]
fn a_folder_that_is_named_twice_is_searched_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let plugins = folder.path().join("plugins");
    std::fs::create_dir(&plugins).expect("made");
    let mut names = vec![plugins.clone(), plugins.join("."), folder.path().join("plugins/../plugins")];
    #[cfg(unix)]
    {
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(&plugins, &link).expect("linked");
        names.push(link);
    }
    names.extend([folder.path().join("nowhere"), folder.path().join("nowhere")]);
    assert_eq!(SearchPath::of(names).folders(), [plugins, folder.path().join("nowhere")]);
}

#[test]
fn texts_of_a_plugin_are_printed_without_control_characters() {
    let folder = tempfile::tempdir().expect("a folder");
    let check = |name: &str, plugin: C<'_>, expected: &str| {
        let Some(library) = plugin.library(folder.path(), name) else { return };
        let error = probe().descriptors(&library).err();
        let error = error.or_else(|| probe().describe(&library, "tiny", &Map::new()).err()).expect(name).to_string();
        assert!(error.contains(expected) && !error.contains('\u{1b}'), "{name}: {error}");
    };
    let descriptors = r#"return say(out, "[{\"name\": \"tiny\", \"summary\": \"\\u001b[31mred\"}]");"#;
    check("red", C { descriptors, ..SOUND }, "'\\u{1b}[31mred' has characters that are not printable");
    let describe = r#"say(error, "no\x1b[2J today"); return INJERTO_FAILED;"#;
    check("clears", C { describe, ..SOUND }, "describe 'tiny': no\\u{1b}[2J today");
    let describe = r#"return say(out, "{\"graph\": \"\\u001b[2J\"}");"#;
    check("odd_type", C { describe, ..SOUND }, "its answer is not valid: ");
}

#[cfg(target_os = "linux")]
#[test]
fn a_plugin_with_a_name_that_is_not_utf_8_is_used_like_any_other() {
    use std::os::unix::ffi::OsStrExt as _;
    let folder = tempfile::tempdir().expect("a folder");
    let odd = folder.path().join(std::ffi::OsStr::from_bytes(b"plug\xef"));
    std::fs::create_dir(&odd).expect("made");
    let Some(plain) = SOUND.library(folder.path(), "tiny") else { return };
    let library = odd.join(std::ffi::OsStr::from_bytes(b"libinjerto_plugin_t\xefny.so"));
    std::fs::rename(plain, &library).expect("moved");
    let mut catalog = Catalog::scan(SearchPath::of([odd]), probe());
    let found = catalog.find("tiny").expect("found by name");
    assert_eq!(found.origin, Origin::File(library));
    assert_eq!(catalog.describe(&found, &Map::new()).expect("describes").graph.len(), 2);
    assert!(catalog.listing().contains("plug\\xef/libinjerto_plugin_t\\xefny.so"), "{}", catalog.listing());
}

#[cfg(unix)]
#[test]
fn processes_that_a_plugin_has_started_end_with_the_question() {
    let folder = tempfile::tempdir().expect("a folder");
    // The child of the plugin writes its process id into a file and goes on for a minute.
    let fork = |then: &str| {
        format!(
            "if (fork() == 0) {{ FILE *file = fopen(PLACE, \"w\"); fprintf(file, \"%d\", getpid()); fclose(file);
             for (int i = 0; i < 60; i++) sleep(1); _exit(0); }}
             for (int i = 0; i < 500 && access(PLACE, F_OK) != 0; i++) usleep(10000); {then}"
        )
    };
    for (name, then) in [("hangs", "for (;;) sleep(9);"), ("answers", r#"return say(out, GRAPH("2"));"#)] {
        let place = folder.path().join(format!("{name}.pid"));
        let code = format!("#include <stdio.h>\n#define PLACE {place:?}");
        let plugin = C { code: &code, describe: &fork(then), ..SOUND };
        let Some(library) = plugin.library(folder.path(), name) else { return };
        let probe = Probe { timeout: Duration::from_secs(10), ..probe() };
        let answer = probe.describe(&library, "tiny", &Map::new());
        assert_eq!(answer.is_ok(), name == "answers", "{answer:?}");
        let number = std::fs::read_to_string(&place).expect("the child wrote its number");
        // A process that has ended and is not yet waited for is a zombie.
        let ended = || {
            let state = Command::new("ps").args(["-o", "stat=", "-p", &number]).output().expect("ps starts").stdout;
            state.is_empty() || state.starts_with(b"Z")
        };
        assert!(
            (0..200).any(|_| ended() || {
                std::thread::sleep(Duration::from_millis(10));
                false
            }),
            "{name}: {number} goes on"
        );
    }
}

#[cfg(unix)]
#[test]
fn a_limit_that_keeps_a_plugin_from_answering_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let Some(library) = SOUND.library(folder.path(), "tiny") else { return };
    let Probe { program, arguments, timeout } = probe();
    // A shell sets the limit or the folder, and then becomes this program.
    let under = |limit: &str| {
        let script = format!("{limit}; exec \"$0\" \"$@\"");
        let mut all = vec!["-c".into(), script.into(), program.clone().into_os_string()];
        all.extend(arguments.clone());
        Probe { program: "/bin/sh".into(), arguments: all, timeout }
    };
    let error = under("ulimit -f 0").descriptors(&library).expect_err("no room").to_string();
    let expected =
        "list its backbones: it could not answer: its answer is larger than a file may be here (`ulimit -f`)";
    assert!(error.ends_with(expected), "{error}");
    let error = under("INJERTO_PLUGIN_ANSWER=/nowhere/at/all; export INJERTO_PLUGIN_ANSWER").descriptors(&library);
    let error = error.expect_err("no place").to_string();
    assert!(error.contains("it could not answer: its answer cannot be written into "), "{error}");
}
