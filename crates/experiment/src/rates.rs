//! The learning rate range test of an experiment.

use burn_tensor::Device;
use injerto_config::Initial;
use injerto_trainer::{RangeFound, RangeTest, Watch};

use crate::probe::{output_layer, probe, start_from};
use crate::questions::RowShape;
use crate::{ExperimentError, Prepared};

impl Prepared {
    /// Tries learning rates on the phase with this number, counted from 0 in the plan, after the phases before it have trained. Nothing is
    /// written but features. `None` if it was stopped.
    ///
    /// # Errors
    /// Images that cannot be read, weights that cannot be put on the device.
    ///
    /// # Panics
    /// If there is no such phase.
    pub fn range_test(
        &self,
        phase: usize,
        test: &RangeTest,
        device: &Device,
        watch: &mut Watch<'_>,
    ) -> Result<Option<RangeFound>, ExperimentError> {
        let (fit, mut model) = (self.fit(), self.model(self.config.seed, device)?);
        if self.config.head.initial == Initial::Probe {
            let Some(gathered) = fit.gather_again(&model, watch)? else { return Ok(None) };
            let shape = RowShape::of(self).map_err(|why| ExperimentError::NoProbe { reason: why.to_string() })?;
            let Some((_, probe)) = probe(self, &shape, &gathered, watch.stop)? else { return Ok(None) };
            start_from(&mut model, &output_layer(self, &probe)?, device)?;
        }
        Ok(fit.range_test(phase, test, &mut model, watch)?)
    }
}
