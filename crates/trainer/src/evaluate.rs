use injerto_data::Loader;
use injerto_losses::{CrossEntropy as _, Outputs};

use crate::metrics::{Accumulator, Answers, Figures};
use crate::wanted::Wanted;
use crate::{Event, ModelCard, Runner, TrainError, Watch};

impl ModelCard {
    /// Runs the card's network, compiled as `runner`, over all images of `loader` in inference, and returns the mean loss and the
    /// answers, or `None` if it was stopped. The observer gets [`Event::Evaluated`] after each batch.
    ///
    /// # Errors
    /// Images cannot be read, or labels do not fit.
    pub fn evaluate(
        &self,
        runner: &Runner,
        loader: &Loader,
        watch: &mut Watch<'_>,
    ) -> Result<Option<(f64, Answers)>, TrainError> {
        self.evaluate_seeing(runner, loader, watch, |_| Ok(()))
    }

    /// Evaluates like [`ModelCard::evaluate`]. `see` is given, for each batch, what the runner's other wanted layers put out
    /// ([`Runner::at`], of which the first must be the last layer of the network).
    ///
    /// # Errors
    /// Those of [`ModelCard::evaluate`], and those of `see`.
    pub fn evaluate_seeing<E: From<TrainError>>(
        &self,
        runner: &Runner,
        loader: &Loader,
        watch: &mut Watch<'_>,
        mut see: impl FnMut(&[Vec<f32>]) -> Result<(), E>,
    ) -> Result<Option<(f64, Answers)>, E> {
        let loss = &self.loss;
        let (task, classes) = (self.task(), self.classes.len());
        let (mut running, mut answers) = (Accumulator::default(), Answers::new(task, classes));
        let (total, mut done) = (loader.len(), 0);
        let order: Vec<usize> = (0..total).collect();
        for batch in loader.batches(&order) {
            let batch = batch.map_err(TrainError::from)?;
            if watch.is_stopped() {
                return Ok(None);
            }
            if !batch.labels.is_empty() {
                let mut values = runner.values(&batch.pixels, batch.labels.len())?;
                see(&values[1..])?;
                let outputs = values.swap_remove(0);
                let outputs = Outputs::new(&outputs, outputs.len() / batch.labels.len());
                let wanted = Wanted::new(task, classes, &batch.labels)?;
                let targets = wanted.targets(None);
                let value = loss.value(outputs, targets, None).map_err(TrainError::from)?;
                running.add(loss, value, outputs, targets);
                answers.take(loss, outputs, &wanted);
            }
            done = (done + loader.batch_size()).min(total);
            watch.observer.observe(&Event::Evaluated { done, total });
        }
        if answers.is_empty() {
            return Err(TrainError::NoImages { subset: "validation" }.into());
        }
        Ok(Some((running.loss(), answers)))
    }

    /// Evaluates the model like [`ModelCard::evaluate`], and returns all metrics.
    ///
    /// # Errors
    /// Those of [`ModelCard::evaluate`].
    pub fn figures(
        &self,
        runner: &Runner,
        loader: &Loader,
        watch: &mut Watch<'_>,
    ) -> Result<Option<Figures>, TrainError> {
        let found = self.evaluate(runner, loader, watch)?;
        Ok(found.and_then(|(loss, answers)| Figures::new(&answers, self, Some(loss))))
    }
}
