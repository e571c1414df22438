//! What a run finds out before its first epoch: copies of photos, and what the features are worth.

use burn_tensor::Device;
use injerto_config::{Initial, OnLeak};
use injerto_insight::InsightError;
use injerto_insight::probe::Linear;
use injerto_trainer::{Event, Fit, Gathered, Model, Watch};
use serde::{Deserialize, Serialize};

use crate::leaks::Copies;
use crate::plan::{Asked, Questions};
use crate::probe::{alike, more_photos, output_layer, probe, start_from};
use crate::questions::RowShape;
use crate::summary::{LeakCounts, ProbeSummary};
use crate::{ExperimentError, Prepared, RunFolder};

/// Content of `insight.json`, from which a resumed run takes it.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub(crate) struct Found {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probe: Option<ProbeSummary>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leaks: Option<LeakCounts>,
}

/// What a run has found out before its first epoch.
#[derive(Default)]
pub(crate) struct Before {
    /// The training that has gathered them, and the features of the first phase, where they were needed.
    pub fit: Option<Fit>,
    pub gathered: Option<Gathered>,
    pub found: Found,
    /// The output layer that training starts from, if it is not random.
    pub initial: Option<Linear>,
}

impl Before {
    /// What the earlier part of a run has found out.
    pub fn of(folder: &RunFolder) -> Self {
        let text = folder.read(RunFolder::INSIGHT).ok().flatten();
        let found = text.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default();
        Self { found, ..Self::default() }
    }

    /// Gathers the features of the first phase if they are asked about, looks for copies and does with them what `data.on_leak`
    /// says, and fits the probe, from which the head starts if it is to. What is found is written into the folder.
    ///
    /// # Errors
    /// Copies where `data.on_leak` is `error`; images that cannot be read.
    pub fn ask(
        prepared: &mut Prepared,
        model: &mut Model,
        folder: &RunFolder,
        watch: &mut Watch<'_>,
    ) -> Result<Self, ExperimentError> {
        let asked = prepared
            .plan
            .insight
            .is_some_and(|Questions { probe, near_copies }| [probe, near_copies].contains(&Asked::Yes));

        let mut before = Self::default();
        if asked {
            let fit = before.fit.insert(prepared.fit());
            before.gathered = fit.gather(model, watch)?;
            let Some(gathered) = &before.gathered else { return Ok(before) };
            if let Some(what) = alike(prepared, gathered)? {
                watch.observer.observe(&Event::Noticed { what: &what });
            }
        }
        if prepared.config.data.on_leak != OnLeak::Off
            && let Some(copies) = Copies::find(prepared, before.gathered.as_ref(), watch.stop)?
        {
            let divided = copies.settle(prepared, &mut |name, text| folder.write(name, text), watch)?;
            before.found.leaks = Some(LeakCounts { moved: divided, ..copies.counts() });
            if divided > 0 && before.gathered.is_some() {
                // The features are those of the same images, and are found in the cache.
                before.gathered = before.fit.insert(prepared.fit()).gather_again(model, watch)?;
            }
        }
        if let Some(Questions { probe: Asked::Yes, .. }) = prepared.plan.insight {
            before.probe(prepared, model, folder, watch)?;
        }
        if watch.is_stopped() {
            before.gathered = None;
        }
        if before.found != Found::default() {
            folder.write(RunFolder::INSIGHT, &crate::json::pretty(&before.found))?;
        }
        Ok(before)
    }

    fn probe(
        &mut self,
        prepared: &Prepared,
        model: &mut Model,
        folder: &RunFolder,
        watch: &mut Watch<'_>,
    ) -> Result<(), ExperimentError> {
        let (Some(gathered), Ok(shape)) = (&self.gathered, RowShape::of(prepared)) else { return Ok(()) };
        let starts = prepared.config.head.initial == Initial::Probe;
        let (summary, probe) = match probe(prepared, &shape, gathered, watch.stop) {
            Ok(Some(found)) => found,
            Ok(None) => return Ok(()),
            Err(ExperimentError::Insight(error @ InsightError::TooFew { .. })) => {
                let reason = error.to_string();
                if starts {
                    return Err(ExperimentError::NoProbe { reason });
                }
                watch.observer.observe(&Event::Noticed { what: &format!("no probe: {reason}") });
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        let ProbeSummary { accuracy, interval, n, seconds, .. } = summary;
        watch.observer.observe(&Event::Probed { accuracy, interval, n, seconds });
        self.found.probe = Some(summary);
        if prepared.config.insight.more_photos {
            match more_photos(prepared, &shape, gathered, summary.strength, watch.stop) {
                Ok(Some(more)) => folder.write(RunFolder::MORE_PHOTOS, &crate::json::pretty(&more))?,
                Ok(None) => return Ok(()),
                Err(ExperimentError::Insight(error)) => {
                    let what = format!("no answer to what more photos would bring: {error}");
                    watch.observer.observe(&Event::Noticed { what: &what });
                }
                Err(error) => return Err(error),
            }
        }
        if starts {
            let layer = output_layer(prepared, &probe)?;
            let device: Device = model.network.device().clone();
            start_from(model, &layer, &device)?;
            self.gathered = self.gathered.take().map(Gathered::for_another_head);
            self.initial = Some(layer);
        }
        Ok(())
    }
}

impl Copies {
    /// Writes the pairs into a file, tells of those that do harm, and does with them what the experiment says. Returns how many photos
    /// were moved to another side; then the plan is written too. `write` is given the name of a file and its text.
    pub fn settle(
        &self,
        prepared: &mut Prepared,
        write: &mut dyn FnMut(&str, &str) -> Result<(), ExperimentError>,
        watch: &mut Watch<'_>,
    ) -> Result<usize, ExperimentError> {
        let on_leak = prepared.config.data.on_leak;
        if on_leak == OnLeak::Error && self.are_harmful() {
            return Err(self.refusal());
        }
        if !self.is_empty() {
            write(RunFolder::LEAKS, &self.to_csv())?;
        }
        let moved = if on_leak == OnLeak::Move { self.moved() } else { (Vec::new(), 0) };
        if moved.1 > 0 {
            prepared.divide(prepared.sides().dealt(moved.0))?;
            write(RunFolder::PLAN, &prepared.plan.to_json())?;
        }
        if self.are_harmful() {
            let after = match (on_leak, moved.1) {
                (OnLeak::Move, 0) => String::new(),
                (OnLeak::Move, 1) => "\n1 photo was moved, so that its copies stand on one side".to_owned(),
                (OnLeak::Move, moved) => format!("\n{moved} photos were moved, so that copies stand on one side"),
                _ => format!("\n{}; leaks.csv names all pairs", self.advice()),
            };
            watch.observer.observe(&Event::Noticed { what: &(self.in_words() + &after) });
        }
        Ok(moved.1)
    }
}
