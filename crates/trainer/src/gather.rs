use std::time::Instant;

use crate::executor;
use crate::feed::{KeptFeatures, Spent};
use crate::gathered::Gathered;
use crate::optimizer::OptimizerState;
use crate::{Event, Fit, Model, TrainError, Watch};

impl Fit {
    /// Announces the first phase, and computes or finds the features that it keeps: for a training that has not begun. `None` if it
    /// was stopped; what is done by then is kept.
    ///
    /// # Errors
    /// Images cannot be read, or the kernels cannot compile the network.
    ///
    /// # Panics
    /// If there are no phases.
    pub fn gather(&self, model: &Model, watch: &mut Watch<'_>) -> Result<Option<Gathered>, TrainError> {
        watch.observer.observe(&Event::phase_began(&self.plans[0], (0, self.plans.len())));
        self.gather_again(model, watch)
    }

    /// The same after the images were divided anew, without the announcement. Features that are in the cache are found there.
    ///
    /// # Errors
    /// Those of [`Fit::gather`].
    ///
    /// # Panics
    /// If there are no phases.
    pub fn gather_again(&self, model: &Model, watch: &mut Watch<'_>) -> Result<Option<Gathered>, TrainError> {
        let (plan, began) = (&self.plans[0], Instant::now());
        let executor = executor::build(self.settings.kernels, model, plan, OptimizerState::default())?;
        let mut spent = Spent::default();
        let images = (&self.train, self.validation.as_ref());
        let Watch { observer, stop } = watch;
        let (prefix, cache) = (executor.prefix(), &self.settings.cache);
        let ends = (*stop, self.settings.peers());
        let kept = KeptFeatures::gather(plan, images, prefix, cache, &mut **observer, ends, &mut spent)?;
        Ok((!watch.is_stopped()).then_some(Gathered { kept, spent, began, executor: Some(executor) }))
    }
}
