//! Running statistics for weights that no step has led to: those of a mean of weights.

use std::sync::atomic::AtomicBool;

use injerto_graph::{Graph, Operator, ParameterId};
use rand_chacha::ChaCha8Rng;

use crate::TrainError;
use crate::collective::Peers;
use crate::executor::Executor;
use crate::feed::{Feed, Portion};
use crate::plan::PhasePlan;

/// The running statistics that `plan` updates.
fn moving<'a>(plan: &'a PhasePlan, graph: &'a Graph) -> impl Iterator<Item = ParameterId> + 'a {
    let moved = plan.updates_statistics();
    let all = graph.parameters_of(&plan.split().tail);
    all.filter(move |id| moved.contains(&id.layer()) && !graph.parameter(*id).trainable())
}

/// Replaces the running statistics that `plan` updates by their mean over all processes.
///
/// # Errors
/// Another process is lost.
pub(crate) fn average(
    (plan, graph): (&PhasePlan, &Graph),
    executor: &mut dyn Executor,
    peers: Peers<'_>,
) -> Result<(), TrainError> {
    if peers.is_alone() {
        return Ok(());
    }
    for id in moving(plan, graph) {
        let mut values = executor.values(id);
        peers.mean(&mut values)?;
        executor.set_values(id, &values);
    }
    Ok(())
}

/// Replaces the running statistics that `plan` updates by their mean over the batches of `feed`, in which every image counts the same
/// (Izmailov et al. 2018, section 3.2; PyTorch's `update_bn`). Weights stay as they are. Returns whether it was not stopped.
///
/// # Errors
/// Images cannot be read, or there is not enough memory.
pub(crate) fn renew(
    (plan, graph): (&PhasePlan, &Graph),
    feed: &mut Feed<'_>,
    executor: &mut dyn Executor,
    random: &mut ChaCha8Rng,
    stop: &AtomicBool,
    peers: Peers<'_>,
) -> Result<bool, TrainError> {
    // What a batch adds to a statistic that was zero, divided by this, is the statistic of the batch.
    let share = |id: ParameterId| match graph.nodes()[id.layer()].operator() {
        Operator::BatchNormalization { momentum, .. } => 1.0 - momentum,
        _ => 0.0,
    };
    let all: Vec<(ParameterId, f64)> =
        moving(plan, graph).map(|id| (id, share(id))).filter(|(_, share)| *share > 0.0).collect();
    let mut sums: Vec<Vec<f64>> = all.iter().map(|(id, _)| vec![0.0; executor.values(*id).len()]).collect();
    let mut count = 0;
    while let Some(Portion { boundary, labels, .. }) = feed.next(executor.prefix())? {
        if labels.is_empty() {
            // Other processes have images of this batch.
            if peers.stopped(stop)? {
                return Ok(false);
            }
            continue;
        }
        for ((id, _), sum) in all.iter().zip(&sums) {
            executor.set_values(*id, &vec![0.0; sum.len()]);
        }
        executor.observe(&boundary, labels.len(), random)?;
        for ((id, share), sum) in all.iter().zip(&mut sums) {
            let weight = labels.len() as f64 / share;
            sum.iter_mut().zip(executor.values(*id)).for_each(|(sum, value)| *sum += weight * f64::from(value));
        }
        count += labels.len();
        if peers.stopped(stop)? {
            return Ok(false);
        }
    }
    if !peers.is_alone() {
        let mut joined: Vec<f32> = sums.iter().flatten().map(|sum| *sum as f32).chain([count as f32]).collect();
        peers.sum(&mut joined)?;
        count = joined[joined.len() - 1] as usize;
        sums.iter_mut().flatten().zip(joined).for_each(|(sum, joined)| *sum = joined.into());
    }
    for ((id, _), sum) in all.iter().zip(&sums) {
        let mean: Vec<f32> = sum.iter().map(|sum| (sum / count.max(1) as f64) as f32).collect();
        executor.set_values(*id, &mean);
    }
    Ok(true)
}
