use std::collections::BTreeMap;

use injerto_graph::{Graph, ParameterId, Role};

use super::Error;
use crate::memory::filled;

/// The parameters of a program, in Keras's axes, each with its gradient if it trains.
#[derive(Debug, Clone)]
pub(super) struct Parameters {
    index: BTreeMap<ParameterId, usize>,
    entries: Vec<Entry>,
    /// The number of changes so far, from which stamps are taken.
    clock: u64,
    packings: u64,
}

#[derive(Debug, Clone)]
struct Entry {
    id: ParameterId,
    name: String,
    values: Vec<f32>,
    trains: bool,
    /// Empty if the parameter does not train.
    gradient: Vec<f32>,
    set: bool,
    /// The number of the last change to these values. A packed form that was made at another stamp is out of date.
    stamp: u64,
}

impl Parameters {
    pub(super) fn new(graph: &Graph, layers: &[usize], trains: &dyn Fn(usize) -> bool) -> Result<Self, Error> {
        let (mut index, mut entries) = (BTreeMap::new(), Vec::new());
        for &layer in layers {
            let node = &graph.nodes()[layer];
            for (place, parameter) in node.parameters.iter().enumerate() {
                let trains = trains(layer) && parameter.trainable();
                let id = ParameterId::new(layer, place);
                index.insert(id, entries.len());
                entries.push(Entry {
                    id,
                    name: graph.parameter_name(id),
                    values: filled(0.0, parameter.count(), "parameters")?,
                    trains,
                    gradient: filled(0.0, if trains { parameter.count() } else { 0 }, "gradients")?,
                    // The number of batches that a normalisation has seen is not needed for any result.
                    set: parameter.role == Role::Count,
                    stamp: 0,
                });
            }
        }
        Ok(Self { index, entries, clock: 0, packings: 0 })
    }

    pub(super) fn find(&self, id: ParameterId) -> Option<usize> {
        self.index.get(&id).copied()
    }

    /// The stamp of the last change to any of these parameters.
    pub(super) fn stamp(&self, parameters: impl IntoIterator<Item = usize>) -> u64 {
        parameters.into_iter().map(|at| self.entries[at].stamp).max().unwrap_or(0)
    }

    /// Counts a kernel that is packed, transformed or scaled again.
    pub(super) fn count_packing(&mut self) {
        self.packings += 1;
    }

    /// See [`Program::packings`](super::Program::packings).
    pub(super) fn packings(&self) -> u64 {
        self.packings
    }

    pub(super) fn values(&self, at: usize) -> &[f32] {
        &self.entries[at].values
    }

    pub(super) fn optional(&self, at: Option<usize>) -> Option<&[f32]> {
        at.map(|at| self.values(at))
    }

    pub(super) fn values_mut(&mut self, at: usize) -> &mut [f32] {
        self.clock += 1;
        let entry = &mut self.entries[at];
        entry.stamp = self.clock;
        &mut entry.values
    }

    pub(super) fn trains(&self, at: usize) -> bool {
        self.entries[at].trains
    }

    /// Values and gradient of one parameter; the gradient is empty if it does not train.
    pub(super) fn pair(&mut self, at: usize) -> (&[f32], &mut [f32]) {
        let entry = &mut self.entries[at];
        (&entry.values, &mut entry.gradient)
    }

    /// Takes a gradient out, which the caller fills and gives back with [`Parameters::give`].
    pub(super) fn take(&mut self, at: usize) -> Vec<f32> {
        std::mem::take(&mut self.entries[at].gradient)
    }

    pub(super) fn give(&mut self, at: usize, gradient: Vec<f32>) {
        self.entries[at].gradient = gradient;
    }

    pub(super) fn set(&mut self, id: ParameterId, values: &[f32]) -> Result<(), Error> {
        let at = self.find(id).ok_or(Error::NoSuchParameter { layer: id.layer(), place: id.place() })?;
        let entry = &mut self.entries[at];
        if entry.values.len() != values.len() {
            let (expected, found) = (entry.values.len(), values.len());
            return Err(Error::Length { parameter: entry.name.clone(), expected, found });
        }
        entry.values.copy_from_slice(values);
        entry.set = true;
        self.clock += 1;
        entry.stamp = self.clock;
        Ok(())
    }

    pub(super) fn get(&self, id: ParameterId) -> Option<&[f32]> {
        self.find(id).map(|at| self.values(at))
    }

    /// Name of the first parameter that has not been set.
    pub(super) fn unset(&self) -> Option<&str> {
        self.entries.iter().find(|entry| !entry.set).map(|entry| entry.name.as_str())
    }

    pub(super) fn ids(&self) -> impl Iterator<Item = ParameterId> {
        self.entries.iter().map(|entry| entry.id)
    }

    pub(super) fn gradients(&self) -> impl Iterator<Item = (ParameterId, &[f32])> {
        let trained = self.entries.iter().filter(|entry| entry.trains);
        trained.map(|entry| (entry.id, entry.gradient.as_slice()))
    }

    pub(super) fn trained_mut(&mut self) -> impl Iterator<Item = (ParameterId, &mut [f32], &mut [f32])> {
        self.clock += 1;
        let (trained, clock) = (self.entries.iter_mut().filter(|entry| entry.trains), self.clock);
        trained.map(move |entry| {
            entry.stamp = clock;
            (entry.id, entry.values.as_mut_slice(), entry.gradient.as_mut_slice())
        })
    }
}
