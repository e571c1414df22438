//! A host asks a plugin in the same program: a good one, and ones that break the rules.

use std::ffi::c_void;
use std::mem::offset_of;

use injerto_plugin_abi::{
    CallError, Plugin, Sink, Status, Str, Table, TableError, WEIGHTS_EXTENSION, WeightsExtension, check_table,
};

mod plugin {
    injerto_plugin_abi::export_plugin! {
        name: "test",
        version: "1.2.3",
        descriptors: || Ok("[]".to_owned()),
        describe: |name: &str, parameters: &str| match name {
            "panics" => panic!("out of ideas"),
            "echo" => Ok(parameters.to_owned()),
            other => Err(format!("no backbone '{other}'")),
        },
        weights: |id: &str| if id == "one" { Ok(&b"bytes"[..]) } else { Err("no such weights".to_owned()) },
    }
}

/// The table of the good plugin, to be changed.
fn good() -> Table {
    // SAFETY: the entry symbol of this test.
    unsafe { *plugin::injerto_plugin_entry() }
}

/// A host's view of a table.
fn host(table: &Table) -> Plugin {
    // SAFETY: the tables of this file are the good one with functions of this file.
    unsafe { Plugin::new(table) }.expect("a table that is accepted")
}

fn failed(status: Status, text: &str) -> CallError {
    CallError::Failed { status, text: text.as_bytes().to_vec() }
}

#[test]
fn a_rust_plugin_answers_refuses_and_panics_through_the_border() {
    let plugin = host(&good());
    assert_eq!((plugin.name(), plugin.version(), plugin.abi()), ("test", "1.2.3", (1, 0)));
    assert_eq!(plugin.descriptors(100), Ok(b"[]".to_vec()));
    assert_eq!(plugin.describe("echo", "{\"ñ\": 1}", 100), Ok("{\"ñ\": 1}".as_bytes().to_vec()));
    assert_eq!(plugin.describe("other", "{}", 100), Err(failed(Status::FAILED, "no backbone 'other'")));
    let panicked = failed(Status::PANICKED, "the plugin panicked: out of ideas");
    assert_eq!(plugin.describe("panics", "{}", 100), Err(panicked));
    assert_eq!(plugin.weights("one", 100), Ok(b"bytes".to_vec()));
    assert_eq!(plugin.weights("two", 100), Err(failed(Status::FAILED, "no such weights")));
}

#[test]
fn an_answer_is_taken_up_to_its_limit() {
    let plugin = host(&good());
    assert_eq!(plugin.weights("one", 5), Ok(b"bytes".to_vec()));
    assert_eq!(plugin.weights("one", 4), Err(CallError::TooLong(4)));
    // The text of an error has a limit of its own, after which the plugin's word is what there is.
    let long = "x".repeat(65 << 10);
    assert_eq!(plugin.describe(&long, "{}", 100), Err(failed(Status::FAILED, "")));
}

#[test]
fn many_threads_may_ask_at_once() {
    let plugin = host(&good());
    std::thread::scope(|scope| {
        for thread in 0..4 {
            scope.spawn(move || {
                for number in 0..8 {
                    let parameters = format!("{{\"{thread}\": {number}}}");
                    assert_eq!(plugin.describe("echo", &parameters, 100), Ok(parameters.into_bytes()));
                }
            });
        }
    });
}

#[test]
fn a_table_is_read_no_further_than_its_size() {
    let good = good();
    let check = |table: Table, expected: Result<(), TableError>| {
        // SAFETY: a table on the stack.
        assert_eq!(unsafe { check_table(&table) }.map(drop), expected);
    };
    check(good, Ok(()));
    check(Table { magic: 7, ..good }, Err(TableError::Magic(7)));
    check(Table { abi_major: 2, ..good }, Err(TableError::Major { found: (2, 0) }));
    check(Table { abi_minor: 9, size: good.size + 64, ..good }, Ok(()));
    check(Table { size: 60, ..good }, Err(TableError::Truncated { size: 60, field: "descriptors" }));
    check(Table { size: 0, ..good }, Err(TableError::Truncated { size: 0, field: "abi_major" }));
    check(Table { describe: None, ..good }, Err(TableError::Empty("describe")));
    check(Table { name: Str { ptr: b"\xff".as_ptr(), len: 1 }, ..good }, Err(TableError::Text("name")));
    check(Table { version: Str { ptr: std::ptr::null(), len: 1 }, ..good }, Err(TableError::Text("version")));
    // Slots after the size are not read, whatever is there.
    let short = Table { size: offset_of!(Table, score), ..good };
    // SAFETY: a table on the stack.
    let read = unsafe { check_table(&short) }.expect("old and short, but good");
    assert!(read.score.is_none() && read.extension.is_none());
}

/// Memory that ends where the table says that it ends, as the memory of a plugin for an older version does: a read beyond it
/// is one that Miri and AddressSanitizer see.
#[test]
fn an_old_plugin_has_no_memory_after_its_size() {
    let words = offset_of!(Table, score) / size_of::<usize>();
    let short = Table { size: offset_of!(Table, score), ..good() };
    let mut memory = vec![const { std::mem::MaybeUninit::<usize>::uninit() }; words].into_boxed_slice();
    // SAFETY: the first words of a table fit into as many words.
    unsafe { std::ptr::copy_nonoverlapping((&raw const short).cast(), memory.as_mut_ptr(), words) };
    // SAFETY: the memory is as long as the size in it says, and is aligned for words, of which a table is made.
    let plugin = unsafe { Plugin::new(memory.as_ptr().cast()) }.expect("old and short, but good");
    assert_eq!(plugin.descriptors(100), Ok(b"[]".to_vec()));
    assert_eq!(plugin.weights("one", 100), Err(CallError::NotOffered));
}

/// Writes in pieces, some of them empty and at null, and fails without a word.
unsafe extern "C" fn in_pieces(out: Sink, _: Sink) -> Status {
    for piece in [&b"one"[..], b"", b"two"] {
        // SAFETY: the sink of this call.
        let status = unsafe { out.put(piece) };
        assert_eq!(status, Status::OK);
    }
    // SAFETY: the sink of this call; no byte is read.
    unsafe { (out.write)(out.context, std::ptr::null(), 0) }
}

unsafe extern "C" fn at_null(out: Sink, _: Sink) -> Status {
    // SAFETY: a sink refuses null.
    unsafe { (out.write)(out.context, std::ptr::null(), 9) };
    // A plugin that does not listen says that all is well.
    Status::OK
}

unsafe extern "C" fn without_a_word(_: Sink, _: Sink) -> Status {
    Status(-7)
}

/// An error text that is not UTF-8 and holds a zero byte.
unsafe extern "C" fn babbles(_: Sink, error: Sink) -> Status {
    // SAFETY: the sink of this call.
    unsafe { error.put(b"\xff\0no") };
    Status::NOT_FOUND
}

unsafe extern "C" fn for_ever(out: Sink, _: Sink) -> Status {
    loop {
        // SAFETY: the sink of this call.
        let status = unsafe { out.put(&[b' '; 1000]) };
        if status != Status::OK {
            return status;
        }
    }
}

#[test]
fn what_a_plugin_writes_is_believed_no_further_than_the_abi_says() {
    let ask = |descriptors| host(&Table { descriptors: Some(descriptors), ..good() }).descriptors(10_500);
    let check = |descriptors, expected: &CallError, word: &str| {
        let found = ask(descriptors).expect_err("an answer that is none");
        assert_eq!((&found, found.to_string().as_str()), (expected, word));
    };
    assert_eq!(ask(in_pieces), Ok(b"onetwo".to_vec()));
    check(at_null, &CallError::Unreadable, "it wrote no readable bytes");
    check(without_a_word, &failed(Status(-7), ""), "it failed with status -7 and without a reason");
    let text = b"\xff\0no".to_vec();
    check(babbles, &CallError::Failed { status: Status::NOT_FOUND, text }, "\u{fffd}\0no");
    check(for_ever, &CallError::TooLong(10_500), "it wrote more than 0 MiB");
}

unsafe extern "C" fn none(_: Str) -> *const c_void {
    std::ptr::null()
}

unsafe extern "C" fn aside(_: Str) -> *const c_void {
    std::ptr::without_provenance(3)
}

unsafe extern "C" fn too_short(id: Str) -> *const c_void {
    // As much as there is of a version before the one that has a field.
    static SIZE: usize = size_of::<usize>();
    // SAFETY: the text of this call.
    assert_eq!(unsafe { id.as_str() }, Some(WEIGHTS_EXTENSION));
    (&raw const SIZE).cast()
}

unsafe extern "C" fn empty(_: Str) -> *const c_void {
    static EMPTY: WeightsExtension = WeightsExtension { size: size_of::<WeightsExtension>(), read: None };
    (&raw const EMPTY).cast()
}

#[test]
fn an_extension_that_is_not_whole_is_not_offered() {
    for extension in [none, aside, too_short, empty] {
        let plugin = host(&Table { extension: Some(extension), ..good() });
        assert_eq!(plugin.weights("one", 100), Err(CallError::NotOffered));
    }
    assert_eq!(host(&Table { extension: None, ..good() }).weights("one", 100), Err(CallError::NotOffered));
}
