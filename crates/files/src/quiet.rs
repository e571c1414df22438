//! Catches panics of readers of foreign files, without printing anything.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;

thread_local! {
    static QUIET: Cell<bool> = const { Cell::new(false) };
}

/// Returns the result of `work`, or `None` if it panics. Nothing of that panic is printed. Panics elsewhere still reach the
/// program's panic hook.
pub fn catch_quietly<T>(work: impl FnOnce() -> T) -> Option<T> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if !QUIET.get() {
                usual(panic);
            }
        }));
    });
    let before = QUIET.replace(true);
    let result = catch_unwind(AssertUnwindSafe(work));
    QUIET.set(before);
    result.ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_caught_panic_is_quiet_and_a_later_panic_elsewhere_is_printed() {
        assert_eq!(catch_quietly(|| -> u8 { panic!("of a reader") }), None);
        assert_eq!(catch_quietly(|| 7), Some(7));
        assert!(!QUIET.get());
    }
}
