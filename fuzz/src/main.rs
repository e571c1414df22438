//! One target of the fuzzing under libFuzzer, which changes inputs so that they reach code that none has reached before.
//! `cargo xtask prove cover` builds it with counters and starts it for each target.
#![no_main]

use std::cell::RefCell;
use std::path::PathBuf;

use injerto_proofs::fuzz::{Ready, TARGETS};
use libfuzzer_sys::fuzz_target;

thread_local! {
    static READY: RefCell<Ready> = RefCell::new(ready());
}

/// The target of the environment variable `INJERTO_FUZZ_TARGET`, with the finished run in `INJERTO_FUZZ_RUN` and the folder to
/// write into, `INJERTO_FUZZ_SCRATCH`.
fn ready() -> Ready {
    let variable = |name: &str| std::env::var_os(name).unwrap_or_else(|| panic!("{name} is not set"));
    let name = variable("INJERTO_FUZZ_TARGET");
    let target = TARGETS.iter().find(|target| name == target.name).expect("a target of this name");
    let [run, scratch] = ["INJERTO_FUZZ_RUN", "INJERTO_FUZZ_SCRATCH"].map(|name| PathBuf::from(variable(name)));
    // A panic that a reader catches is none: only one that comes out ends the process.
    std::panic::set_hook(Box::new(|panic| eprintln!("{panic}")));
    target.ready(&run, &scratch).expect("the target can be made ready")
}

fuzz_target!(|bytes: &[u8]| {
    READY.with_borrow_mut(|ready| {
        (ready.read)(bytes);
    });
});
