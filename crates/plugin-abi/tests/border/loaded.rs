//! Libraries in C and in Rust, loaded as a host loads them.

use std::path::{Path, PathBuf};
use std::process::Command;

use injerto_plugin_abi::{CallError, ENTRY_SYMBOL, EntryFn, Plugin, Status};

use crate::missing;

/// More than any answer here.
const LONGEST: usize = 1 << 20;

/// Loads a library and leaves it loaded.
fn load(path: &Path) -> Plugin {
    // SAFETY: the library is one of this project's, whose initialisers do no harm.
    let library = unsafe { libloading::Library::new(path) }.unwrap_or_else(|error| panic!("{error:?}"));
    let library = std::mem::ManuallyDrop::new(library);
    // SAFETY: the symbol's type is what the ABI says.
    let entry = unsafe { library.get::<EntryFn>(ENTRY_SYMBOL) }.expect("an entry symbol");
    // SAFETY: the library keeps to the ABI and stays loaded.
    unsafe { Plugin::new(entry()) }.expect("a good table")
}

/// The example in C, compiled into a folder; nothing where there is no C compiler.
fn example_c(folder: &Path) -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let library = folder.join(format!("{}example_c{}", std::env::consts::DLL_PREFIX, std::env::consts::DLL_SUFFIX));
    let mut compiler = Command::new("cc");
    compiler.args(["-std=c11", "-fPIC", "-shared", "-I"]).arg(root.join("crates/plugin-abi/include"));
    compiler.arg("-o").arg(&library).arg(root.join("plugins/example_c/example_c.c"));
    let Ok(output) = compiler.output() else { return missing("no C compiler") };
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(library)
}

/// A plugin of the workspace, whose library is an example of its crate. Cargo puts it beside the `deps` folder that this program lies in.
fn small_cnn() -> PathBuf {
    let program = std::env::current_exe().expect("this program");
    let name = format!("{}injerto_plugin_small_cnn{}", std::env::consts::DLL_PREFIX, std::env::consts::DLL_SUFFIX);
    let library = program.ancestors().nth(2).expect("target/PROFILE").join("examples").join(name);
    assert!(library.is_file(), "plugins are not built: run `cargo xtask plugins` (or `cargo xtask test`)");
    library
}

/// Asks everything, by several threads at once and often enough that a byte too many or left over at each call would show.
fn check(plugin: Plugin, backbone: &str, weights: (&str, usize), refused: (&str, &str)) {
    let word = |result: Result<Vec<u8>, CallError>| match result {
        Err(CallError::Failed { status, text }) if status != Status::OK => String::from_utf8(text).expect("text"),
        other => panic!("{other:?}"),
    };
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let answer = plugin.descriptors(LONGEST).expect("an answer");
                assert!(String::from_utf8(answer).expect("JSON").contains(&format!("\"{backbone}\"")));
                let first = plugin.describe(backbone, "{}", LONGEST).expect("an answer");
                for _ in 0..50 {
                    assert_eq!(plugin.describe(backbone, "{}", LONGEST).as_ref(), Ok(&first));
                    assert_eq!(plugin.describe(backbone, "{}", 10), Err(CallError::TooLong(10)));
                    assert!(word(plugin.describe(backbone, refused.0, LONGEST)).contains(refused.1));
                    assert!(word(plugin.describe("no such", "{}", LONGEST)).contains(backbone));
                    assert!(!word(plugin.weights("no such", LONGEST)).is_empty());
                }
                assert_eq!(plugin.weights(weights.0, LONGEST).expect("bytes").len(), weights.1);
            });
        }
    });
}

#[test]
fn a_library_in_c_answers_and_refuses() {
    let folder = std::env::temp_dir().join(format!("injerto-loaded-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a temporary folder");
    if let Some(library) = example_c(&folder) {
        let refused = ("{\"input_shape\": [1, 99999999999]}", "each side 2 to 16384");
        check(load(&library), "example_c", ("edges", 8 + 137 + 448), refused);
    }
    std::fs::remove_dir_all(&folder).expect("removed");
}

#[test]
fn a_library_in_rust_answers_and_refuses() {
    let shapes = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../plugins/small_cnn/weights/shapes.safetensors");
    let shapes = std::fs::metadata(shapes).expect("the weights in the sources").len();
    check(load(&small_cnn()), "small_cnn", ("shapes", shapes as usize), ("[]", "JSON object"));
}
