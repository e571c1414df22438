//! Many requests that wait for another machine, at once.

use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, sync_channel};

/// Requests that are under way at most.
const AT_ONCE: usize = 8;

/// The results of `work` in the order of the items. Those items that `is_far` says of run in threads of their own, up to [`AT_ONCE`] of
/// them ahead of use, because they mostly wait; the others run when they are asked for.
pub(super) fn ahead<T: Send + 'static, R: Send + 'static>(
    mut items: impl Iterator<Item = T>,
    is_far: impl Fn(&T) -> bool,
    work: impl Fn(T) -> R + Send + Copy + 'static,
) -> impl Iterator<Item = R> {
    enum Waiting<T, R> {
        Near(T),
        Far(Receiver<R>),
    }
    let mut waiting = VecDeque::new();
    std::iter::from_fn(move || {
        while waiting.len() < AT_ONCE
            && let Some(item) = items.next()
        {
            waiting.push_back(match is_far(&item) {
                true => {
                    let (sender, receiver) = sync_channel(1);
                    // There is no receiver any more if the work was stopped.
                    std::thread::spawn(move || _ = sender.send(work(item)));
                    Waiting::Far(receiver)
                }
                false => Waiting::Near(item),
            });
        }
        match waiting.pop_front()? {
            Waiting::Near(item) => Some(work(item)),
            Waiting::Far(receiver) => Some(receiver.recv().expect("a request returns its errors and does not panic")),
        }
    })
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn far_items_are_worked_on_together_and_come_in_their_order() {
        let slow = |item: u64| {
            std::thread::sleep(Duration::from_millis(40 - item % 8 * 5));
            item
        };
        let began = Instant::now();
        assert_eq!(ahead(0..32, |_| true, slow).collect::<Vec<_>>(), (0..32).collect::<Vec<_>>());
        assert!(began.elapsed() < Duration::from_millis(32 * 20), "{:?}", began.elapsed());
        assert_eq!(ahead(0..9, |item| item % 2 == 0, |item: u64| item * 2).sum::<u64>(), 72);
    }
}
