//! Memory that all threads share.

use std::sync::{Condvar, Mutex, PoisonError};

/// A number of bytes that all threads share. A thread that needs more than is left waits until others are done.
#[derive(Debug)]
pub(crate) struct Budget {
    whole: u64,
    taken: Mutex<u64>,
    returned: Condvar,
}

/// Permission to use some bytes of a [`Budget`], until it is dropped.
///
/// A thread that holds a permit must not take a second one of the same budget, because two such threads could wait for each other for ever.
#[derive(Debug)]
pub(crate) struct Permit {
    budget: &'static Budget,
    bytes: u64,
}

impl Budget {
    pub const fn new(whole: u64) -> Self {
        Self { whole, taken: Mutex::new(0), returned: Condvar::new() }
    }

    /// Waits until `bytes` are free, and takes them; `None` for more bytes than the budget has.
    pub fn take(&'static self, bytes: u64) -> Option<Permit> {
        if bytes > self.whole {
            return None;
        }
        let taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let full = |taken: &mut u64| *taken + bytes > self.whole;
        *self.returned.wait_while(taken, full).unwrap_or_else(PoisonError::into_inner) += bytes;
        Some(Permit { budget: self, bytes })
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        *self.budget.taken.lock().unwrap_or_else(PoisonError::into_inner) -= self.bytes;
        self.budget.returned.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    #[test]
    fn threads_never_have_more_than_the_budget_together() {
        static BUDGET: Budget = Budget::new(10);
        let (now, most) = (AtomicU64::new(0), AtomicU64::new(0));
        std::thread::scope(|scope| {
            for bytes in [3, 4, 7, 10, 1, 6, 5, 2] {
                let (now, most) = (&now, &most);
                scope.spawn(move || {
                    for _ in 0..200 {
                        let _permit = BUDGET.take(bytes).expect("it is not more than the budget");
                        most.fetch_max(now.fetch_add(bytes, Ordering::SeqCst) + bytes, Ordering::SeqCst);
                        std::thread::yield_now();
                        now.fetch_sub(bytes, Ordering::SeqCst);
                    }
                });
            }
        });
        assert!(most.into_inner() <= 10);
        assert!(BUDGET.take(11).is_none(), "more than the whole is refused, and nobody waits for it");
    }
}
