//! Successive halving (Jamieson and Talwalkar, "Non-stochastic Best Arm Identification and Hyperparameter Optimization", 2016): all trials
//! train for a few epochs, the best third of them for three times as many, and so on.

/// One of so many trials goes on from each rung to the next.
pub const FACTOR: usize = 3;

/// Number of rungs: the more trials, the more, but the first rung has at least one epoch of `epochs`.
pub fn rungs(trials: usize, epochs: usize) -> usize {
    let times = |mut number: usize| {
        let mut times = 0;
        while number >= FACTOR {
            (number, times) = (number / FACTOR, times + 1);
        }
        times
    };
    times(trials).min(times(epochs)) + 1
}

/// Number of epochs after which a trial of `epochs` ends rung number `rung`, counted from 0, of `rungs`. The last rung ends with the last
/// epoch.
pub fn budget(epochs: usize, rung: usize, rungs: usize) -> usize {
    epochs.div_ceil(FACTOR.pow((rungs - 1 - rung) as u32)).max(1)
}

/// Number of trials that rung number `rung` begins with.
pub fn size(trials: usize, rung: usize) -> usize {
    (trials / FACTOR.pow(rung as u32)).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_third_of_the_trials_goes_on_for_three_times_as_many_epochs() {
        let plan = |trials: usize, epochs: usize| -> Vec<(usize, usize)> {
            let rungs = rungs(trials, epochs);
            (0..rungs).map(|rung| (size(trials, rung), budget(epochs, rung, rungs))).collect()
        };
        assert_eq!(plan(27, 27), [(27, 1), (9, 3), (3, 9), (1, 27)]);
        assert_eq!(plan(100, 10), [(100, 2), (33, 4), (11, 10)]);
        // With few epochs there are few rungs, and with few trials too.
        assert_eq!(plan(100, 2), [(100, 2)]);
        assert_eq!(plan(2, 50), [(2, 50)]);
        assert_eq!(plan(3, 50), [(3, 17), (1, 50)]);
    }
}
