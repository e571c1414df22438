//! The learning rate range test (Smith, "Cyclical Learning Rates for Training Neural Networks", 2017): a few steps with learning rates
//! that grow from step to step show with which ones the loss falls.

use injerto_data::Part;
use injerto_recipe::{Curve, Length, OptimizerConfig, Schedule};
use serde::Serialize;

use crate::collective::Peers;
use crate::executor;
use crate::feed::Spent;
use crate::optimizer::OptimizerState;
use crate::pass::{Judge, TrainingEpoch};
use crate::teacher::TaughtFeed;
use crate::{Fit, Model, Phase, PhasePlan, TrainError, Watch};

/// The learning rates that are tried, and how the losses are read.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RangeTest {
    /// The first learning rate.
    pub low: f64,
    /// The last learning rate.
    pub high: f64,
    /// Number of steps. From each to the next, the learning rate grows by the same factor.
    pub steps: usize,
    /// Weight of the past in the moving average of the losses, from 0 to below 1.
    pub smoothing: f64,
    /// The test ends when the smoothed loss is this many times its lowest value.
    pub diverged: f64,
}

impl Default for RangeTest {
    fn default() -> Self {
        Self { low: 1e-6, high: 10.0, steps: 100, smoothing: 0.9, diverged: 4.0 }
    }
}

/// A step of the test.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct RangePoint {
    /// Learning rate of the step.
    pub learning_rate: f64,
    /// Loss of its batch, before the weights change.
    pub loss: f64,
    /// Moving average of the losses so far, corrected for its beginning at zero as Adam corrects its moments.
    pub smoothed: f64,
}

/// What the test found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RangeFound {
    /// The steps, in order. A step whose loss is no number is not among them.
    pub points: Vec<RangePoint>,
    /// Whether the test ended before its last step, because the loss had grown.
    pub diverged: bool,
}

/// The learning rates that a range test recommends.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Suggested {
    /// Where the smoothed loss falls the most steeply over the logarithm of the learning rate.
    pub steepest: f64,
    /// A tenth of the learning rate at which the smoothed loss is the lowest.
    pub tenth_of_minimum: f64,
}

impl Suggested {
    /// The smaller of the two: both are rates at which the loss falls, and the smaller one is further from divergence.
    pub fn taken(&self) -> f64 {
        self.steepest.min(self.tenth_of_minimum)
    }
}

impl RangeFound {
    /// The learning rates that the losses recommend; `None` if the loss does not fall.
    pub fn suggested(&self) -> Option<Suggested> {
        let points = &self.points;
        // The moving average of the first steps is that of few losses.
        let first = points.len() / 10;
        let lowest = (first..points.len()).min_by(|&a, &b| points[a].smoothed.total_cmp(&points[b].smoothed))?;
        let fall = |at: usize| {
            let (before, after) = (&points[at - 1], &points[at + 1]);
            (after.smoothed - before.smoothed) / (after.learning_rate / before.learning_rate).ln()
        };
        let between = (first.max(1)..lowest).filter(|at| at + 1 < points.len());
        let steepest = between.min_by(|&a, &b| fall(a).total_cmp(&fall(b))).filter(|&at| fall(at) < 0.0)?;
        let tenth_of_minimum = points[lowest].learning_rate / 10.0;
        Some(Suggested { steepest: points[steepest].learning_rate, tenth_of_minimum })
    }
}

impl Fit {
    /// Tries learning rates on the phase with this number, with its own optimiser and on its own images. The phases before it are trained
    /// first. Whatever the phase's schedule is, the rates are those of the test; clipping, decay and multipliers of layers are the
    /// phase's. `model` is changed, and no file is written. `None` if it was stopped.
    ///
    /// # Errors
    /// Those of [`Fit::run`], but not that training diverges.
    ///
    /// # Panics
    /// If there is no such phase.
    pub fn range_test(
        &self,
        phase: usize,
        test: &RangeTest,
        model: &mut Model,
        watch: &mut Watch<'_>,
    ) -> Result<Option<RangeFound>, TrainError> {
        if phase > 0 {
            let before = Self { plans: self.plans[..phase].to_vec(), checkpoints: None, ..self.clone() };
            if before.run(model, None, watch)?.interrupted {
                return Ok(None);
            }
        }
        let plan = rising(&self.plans[phase], test);
        let alone = Self { plans: vec![plan.clone()], checkpoints: None, ..self.clone() };
        let Some(gathered) = alone.gather(model, watch)? else { return Ok(None) };
        let mut executor = match gathered.executor {
            Some(executor) => executor,
            None => executor::build(self.settings.kernels, model, &plan, OptimizerState::default())?,
        };
        let mut lessons = self.settings.lessons(model)?;
        if let Some(lessons) = &mut lessons {
            lessons.gather(&plan, watch.observer, watch.stop, &mut Spent::default())?;
        }
        let judge = Judge {
            loss: model.card.loss.clone(),
            task: model.card.task(),
            classes: model.card.classes.len(),
            class_weights: self.settings.class_weights.clone(),
        };
        let mut found = RangeFound { points: Vec::new(), diverged: false };
        let (mut average, mut lowest) = (0.0, f64::INFINITY);
        for epoch in 0.. {
            let kept = gathered.kept.training.as_deref();
            let mut feed = TaughtFeed::new(&self.train, epoch as u64, kept, Part::WHOLE, lessons.as_ref());
            let (seed, batches, rate) = (self.settings.seed, feed.batches(), test.low);
            let mut pass = TrainingEpoch::new(&plan, &judge, seed, epoch, batches, rate, Peers::new(None));
            while let Some((portion, answer)) = feed.next(executor.prefix())? {
                let done = pass.step(executor.as_mut(), portion, answer).and_then(|()| pass.read(executor.as_mut()));
                match done {
                    Err(TrainError::Diverged { .. }) => {
                        found.diverged = true;
                        return Ok(Some(found));
                    }
                    done => done?,
                }
                let (loss, at) = (pass.last, found.points.len() as i32 + 1);
                average = test.smoothing * average + (1.0 - test.smoothing) * loss;
                let smoothed = average / (1.0 - test.smoothing.powi(at));
                found.points.push(RangePoint { learning_rate: pass.size.learning_rate, loss, smoothed });
                lowest = f64::min(lowest, smoothed);
                found.diverged = smoothed > test.diverged * lowest && found.points.len() > test.steps / 10;
                watch.observer.observe(&crate::Event::Evaluated { done: found.points.len(), total: test.steps });
                if found.diverged || found.points.len() >= test.steps {
                    return Ok(Some(found));
                }
                if watch.is_stopped() {
                    return Ok(None);
                }
            }
            if pass.done == 0 {
                return Err(TrainError::NoImages { subset: "training" });
            }
        }
        unreachable!("each epoch has steps, and the test has a last one")
    }
}

/// The phase with learning rates that grow over the steps of the test.
fn rising(plan: &PhasePlan, test: &RangeTest) -> PhasePlan {
    let every = Length::Steps(test.steps.saturating_sub(1).max(1) as u64);
    let curve = Curve::Exponential { rate: test.high / test.low, every: Some(every), staircase: false };
    let optimizer = OptimizerConfig { rule: plan.phase.optimizer.rule.at(test.low), ..plan.phase.optimizer.clone() };
    let schedule = Schedule { curve, warmup: None, warmup_start: 0.0 };
    PhasePlan { phase: Phase { schedule, optimizer, ..plan.phase.clone() }, ..plan.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A curve over rates from 1e-6 that grow tenfold in five steps: flat, then falling, then rising.
    fn found(loss: impl Fn(f64) -> f64) -> RangeFound {
        let point = |at: i32| {
            let logarithm = -6.0 + f64::from(at) / 5.0;
            let loss = loss(logarithm);
            RangePoint { learning_rate: 10f64.powf(logarithm), loss, smoothed: loss }
        };
        RangeFound { points: (0..31).map(point).collect(), diverged: false }
    }

    #[test]
    fn the_smaller_of_the_steepest_and_a_tenth_of_the_lowest_is_suggested() {
        // It falls from 1e-4 on, the most steeply at 1e-3, and is the lowest at 1e-2.
        let valley = |x: f64| if x < -4.0 { 1.0 } else { 0.5 + 0.5 * ((x + 4.0) / 2.0 * std::f64::consts::PI).cos() };
        let suggested = found(valley).suggested().expect("it falls");
        assert!((suggested.steepest.log10() + 3.0).abs() < 0.21, "{suggested:?}");
        assert!((suggested.tenth_of_minimum.log10() + 3.0).abs() < 1e-6, "{suggested:?}");
        assert_eq!(suggested.taken(), suggested.steepest.min(suggested.tenth_of_minimum));
    }

    #[test]
    fn nothing_is_suggested_where_the_loss_does_not_fall() {
        assert_eq!(found(|_| 1.0).suggested(), None);
        assert_eq!(found(|x| x + 7.0).suggested(), None);
        assert_eq!(RangeFound { points: Vec::new(), diverged: true }.suggested(), None);
    }
}
