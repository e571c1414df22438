//! What is asked about the features before the first epoch, and why not.

use injerto_config::{Initial, OnLeak};
use injerto_graph::Operator;
use injerto_heads::Pooling;
use injerto_recipe::Task;
use injerto_trainer::plan::{Kept, Place, Reason};

use crate::advise::pooled;
use crate::plan::{Asked, Questions, Why};
use crate::{ExperimentError, Prepared};

/// Most features of an image.
const MOST_FEATURES: usize = 1 << 14;
/// Most multiplications for comparing each pair of images once: ten seconds on two cores with AVX-512, half a minute without.
const MOST_WORK: u64 = 1_000_000_000_000;

/// Most training images that the probe is fitted to; of more images, evenly spaced ones are taken. This bounds its memory.
const MOST_FITTED: usize = 20_000;
/// Most training images times classes. This bounds its time.
const MOST_OUTPUTS: usize = 200_000;
/// Smallest average number of images per class with which a fit makes sense.
const FEWEST_PER_CLASS: usize = 5;

/// Number of training images that the probe is fitted to.
pub(crate) fn fitted(images: usize, classes: usize) -> usize {
    images.min(MOST_FITTED).min(MOST_OUTPUTS / classes.max(1))
}

/// How the values that are kept of an image become a row of features.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RowShape {
    /// Values that are kept of an image.
    pub values: usize,
    /// Channels, which are the last axis.
    pub channels: usize,
    /// How the head pools them; `None` if they are a row already.
    pub pooling: Option<Pooling>,
}

impl RowShape {
    /// The row of the values of one image.
    pub fn row(&self, values: &[f32]) -> Vec<f32> {
        match self.pooling {
            None | Some(Pooling::Flatten) => values.to_vec(),
            Some(Pooling::Avg) => pooled(values, self.channels),
            Some(Pooling::Max) => {
                let mut largest = vec![f32::NEG_INFINITY; self.channels];
                for pixel in values.chunks_exact(self.channels) {
                    largest.iter_mut().zip(pixel).for_each(|(largest, value)| *largest = largest.max(*value));
                }
                largest
            }
        }
    }

    /// Number of features of a row.
    pub fn width(&self) -> usize {
        match self.pooling {
            None | Some(Pooling::Flatten) => self.values,
            Some(_) => self.channels,
        }
    }

    /// The rows of features that the first phase of an experiment keeps.
    pub fn of(prepared: &Prepared) -> Result<Self, Why> {
        let (plan, backbone) = (&prepared.plan.phases[0], prepared.card.backbone_layers);
        for kept in [plan.keeps.training, plan.keeps.validation] {
            match kept {
                Kept::Features { place: Place::Memory | Place::Folder, .. } | Kept::Nothing(Reason::NoImages) => {}
                Kept::Features { place: Place::Nowhere, .. } => return Err(Why::NotKept),
                Kept::Nothing(Reason::Mixed | Reason::Augmented) => return Err(Why::Changing),
                Kept::Nothing(Reason::NoPrefix) => return Err(Why::Trained),
            }
        }
        let nodes = prepared.card.graph.nodes();
        let pools = |at: usize| {
            let class = nodes[at].operator().class();
            at >= backbone && (class.starts_with("Global") || matches!(nodes[at].operator(), Operator::Flatten {}))
        };
        let trains = |at: usize| plan.trains(at) && nodes[at].trainable_count() > 0;
        let (at, pooling) = match plan.split().boundary[..] {
            [at] if at + 1 == backbone && nodes[at].shape.image().is_some() => {
                (at, Some(prepared.config.head.body.pooling))
            }
            [at] if at + 1 == backbone || pools(at) => (at, None),
            _ if (0..backbone).any(trains) => return Err(Why::Trained),
            _ => return Err(Why::Earlier),
        };
        let shape = Self { values: nodes[at].shape.count(), channels: nodes[at].shape.channels(), pooling };
        if shape.width() > MOST_FEATURES { Err(Why::Wide) } else { Ok(shape) }
    }
}

impl Questions {
    /// What is asked about the features of an experiment whose phases are planned.
    pub(crate) fn new(prepared: &Prepared) -> Self {
        let shape = RowShape::of(prepared);
        let wanted = prepared.config.insight.probe || prepared.config.head.initial == Initial::Probe;
        let (images, classes) = (prepared.train.samples.len(), prepared.train.classes.len());
        let enough = fitted(usize::MAX, classes) >= FEWEST_PER_CLASS * classes;
        let probe = match shape {
            _ if !wanted => Err(Why::Off),
            _ if prepared.card.task() == Task::MultiLabel => Err(Why::SeveralClasses),
            Ok(_) if !enough => Err(Why::Classes),
            shape => shape.map(|_| ()),
        };
        let validation = prepared.validation.as_ref().map_or(0, |dataset| dataset.samples.len());
        let images = (images + validation) as u64;
        let near = match shape {
            _ if prepared.config.data.on_leak == OnLeak::Off => Err(Why::Off),
            _ if prepared.inventory.is_none() => Err(Why::Drawn),
            Err(why) => Err(why),
            // Random views of a photo are not compared with each other.
            Ok(_) if views(prepared) => Err(Why::Changing),
            Ok(shape) if images * images / 2 * shape.width() as u64 > MOST_WORK => Err(Why::Many),
            Ok(_) => Ok(()),
        };
        let asked = |answer: Result<(), Why>| answer.map_or_else(Asked::No, |()| Asked::Yes);
        Self { probe: asked(probe), near_copies: asked(near) }
    }
}

fn views(prepared: &Prepared) -> bool {
    matches!(prepared.plan.phases[0].keeps.training, Kept::Features { views: Some(_), .. })
}

impl Prepared {
    /// Checks that a head can start from the probe, if the experiment wants that.
    ///
    /// # Errors
    /// [`ExperimentError::NoProbe`] with the reason.
    pub(crate) fn check_initial(&self) -> Result<(), ExperimentError> {
        match self.plan.insight {
            Some(Questions { probe: Asked::No(why), .. }) if self.config.head.initial == Initial::Probe => {
                Err(ExperimentError::NoProbe { reason: why.to_string() })
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_pooled_as_the_head_pools_them() {
        // Two pixels of two channels.
        let check = |pooling, expected: &[f32]| {
            let shape = RowShape { values: 4, channels: 2, pooling };
            assert_eq!(shape.row(&[1.0, 8.0, 3.0, 4.0]), expected, "{pooling:?}");
            assert_eq!(shape.width(), expected.len());
        };
        check(Some(Pooling::Avg), &[2.0, 6.0]);
        check(Some(Pooling::Max), &[3.0, 8.0]);
        check(Some(Pooling::Flatten), &[1.0, 8.0, 3.0, 4.0]);
        check(None, &[1.0, 8.0, 3.0, 4.0]);
    }

    #[test]
    fn a_hundred_thousand_images_or_a_thousand_classes_do_not_stall_a_run() {
        assert_eq!(fitted(3_000, 2), 3_000);
        assert_eq!(fitted(100_000, 2), 20_000);
        assert_eq!(fitted(100_000, 100), 2_000);
        assert_eq!(fitted(100_000, 1_000), 200, "too few for the classes: there is no probe");
    }
}
