use std::sync::atomic::{AtomicBool, Ordering};

use injerto_data::Loader;
use injerto_losses::CrossEntropy as _;

use crate::metrics::{Accumulator, Predictions, Report};
use crate::{Event, Model, Observer, Runner, TrainError};

impl Model {
    /// What the network, as `runner`, says of all images of `loader`, in inference, with the mean loss; `None` if it was stopped. The
    /// observer is told as of the frozen prefix: so many images of so many.
    ///
    /// # Errors
    /// Images that cannot be read, labels that do not fit.
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

    /// The same, as figures.
    ///
    /// # Errors
    /// As [`Model::evaluate`]'s.
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
