use std::sync::atomic::{AtomicBool, Ordering};

use injerto_data::Loader;

use crate::metrics::{Accumulator, Predictions, Report};
use crate::{Event, Model, Observer, Runner, TrainError};

impl Model {
    /// Runs all images of `loader` through `runner` in inference, and returns the predictions and the mean loss, or `None` if `stop` was
    /// set. Progress is reported after each batch.
    ///
    /// # Errors
    /// Images cannot be read, or labels do not fit.
    pub fn evaluate(
        &self,
        runner: &Runner,
        loader: &Loader,
        observer: &mut dyn Observer,
        stop: &AtomicBool,
    ) -> Result<Option<(f64, Predictions)>, TrainError> {
        let loss = &self.card.loss;
        let (mut running, mut predictions) = (Accumulator::default(), Predictions::new(self.card.classes.len()));
        let (total, mut done) = (loader.len(), 0);
        let order: Vec<usize> = (0..total).collect();
        for batch in loader.batches(&order) {
            let batch = batch?;
            if stop.load(Ordering::Relaxed) {
                return Ok(None);
            }
            if !batch.labels.is_empty() {
                let outputs = runner.outputs(&batch.pixels, batch.labels.len())?;
                let value = loss.forward(outputs.clone(), &batch.labels, None)?;
                running.add(loss, f64::from(value.into_scalar::<f32>()), &outputs, &batch.labels);
                predictions.take(loss, outputs, &batch.labels);
            }
            done = (done + loader.batch_size()).min(total);
            observer.observe(&Event::Prefix { done, total });
        }
        if predictions.is_empty() {
            return Err(TrainError::NoImages { subset: "validation" });
        }
        Ok(Some((running.loss(), predictions)))
    }

    /// Evaluates the model like [`Model::evaluate`], and returns a report.
    ///
    /// # Errors
    /// Those of [`Model::evaluate`].
    pub fn report(
        &self,
        runner: &Runner,
        loader: &Loader,
        observer: &mut dyn Observer,
        stop: &AtomicBool,
    ) -> Result<Option<Report>, TrainError> {
        let found = self.evaluate(runner, loader, observer, stop)?;
        Ok(found.and_then(|(loss, predictions)| {
            let report = Report::new(&predictions, &self.card.classes)?;
            Some(Report { loss: Some(loss), ..report })
        }))
    }
}
