//! Operations on constants: conversion, transposition, repetition and selection of their values.

use super::shapes::MOST_COMPUTED;
use crate::tensor::{Constant, Numbers, count};

impl Constant {
    pub(crate) fn ints(values: Vec<i64>) -> Self {
        Self { shape: vec![values.len()], numbers: Numbers::Ints(values) }
    }

    pub(crate) fn floats(shape: Vec<usize>, values: Vec<f32>) -> Self {
        Self { shape, numbers: Numbers::Floats(values) }
    }

    pub(crate) fn len(&self) -> usize {
        match &self.numbers {
            Numbers::Floats(values) => values.len(),
            Numbers::Ints(values) => values.len(),
        }
    }

    /// The values as floating-point numbers.
    pub(crate) fn to_floats(&self) -> Vec<f32> {
        match &self.numbers {
            Numbers::Floats(values) => values.clone(),
            Numbers::Ints(values) => values.iter().map(|&value| value as f32).collect(),
        }
    }

    /// The values as whole numbers.
    pub(crate) fn to_ints(&self) -> Vec<i64> {
        match &self.numbers {
            Numbers::Floats(values) => values.iter().map(|&value| value as i64).collect(),
            Numbers::Ints(values) => values.clone(),
        }
    }

    /// The value of a constant whose values are all equal; `None` for other constants.
    pub(crate) fn uniform(&self) -> Option<f64> {
        let all = |first: f64, same: bool| same.then_some(first);
        match &self.numbers {
            Numbers::Floats(v) => v.first().and_then(|&x| all(f64::from(x), v.iter().all(|&y| y == x))),
            Numbers::Ints(v) => v.first().and_then(|&x| all(x as f64, v.iter().all(|&y| y == x))),
        }
    }

    /// The values at these positions, in another shape.
    pub(super) fn gathered(&self, shape: Vec<usize>, positions: impl Iterator<Item = usize>) -> Self {
        let numbers = match &self.numbers {
            Numbers::Floats(values) => Numbers::Floats(positions.map(|at| values[at]).collect()),
            Numbers::Ints(values) => Numbers::Ints(positions.map(|at| values[at]).collect()),
        };
        Self { shape, numbers }
    }

    pub(super) fn strides(&self) -> Vec<usize> {
        let mut strides = vec![1; self.shape.len()];
        for axis in (1..self.shape.len()).rev() {
            strides[axis - 1] = strides[axis] * self.shape[axis];
        }
        strides
    }

    /// The constant with its axes in another order.
    pub(crate) fn transposed(&self, order: &[usize]) -> Self {
        let strides = self.strides();
        let shape: Vec<usize> = order.iter().map(|&axis| self.shape[axis]).collect();
        let strides: Vec<usize> = order.iter().map(|&axis| strides[axis]).collect();
        self.gathered(shape.clone(), positions(&shape, &strides))
    }

    /// The constant repeated along axes of length 1; `None` if the shapes do not fit.
    pub(super) fn expanded(&self, shape: &[usize]) -> Option<Self> {
        let missing = shape.len().checked_sub(self.shape.len())?;
        let (own, mut strides) = ([vec![1; missing], self.shape.clone()].concat(), vec![0; missing]);
        strides.extend(self.strides());
        for ((stride, &own), &wanted) in strides.iter_mut().zip(&own).zip(shape) {
            match own {
                _ if own == wanted => {}
                1 => *stride = 0,
                _ => return None,
            }
        }
        let positions = positions(shape, &strides);
        Some(self.gathered(shape.to_vec(), positions))
    }

    /// The constant in another shape.
    pub(super) fn shaped(&self, shape: Vec<usize>) -> Result<Self, String> {
        match count(&shape) == Some(self.len()) {
            true => Ok(Self { shape, numbers: self.numbers.clone() }),
            false => Err(format!("{} values do not fill {shape:?}", self.len())),
        }
    }
}

/// Positions of all values of `shape` with these strides, row by row.
fn positions<'a>(shape: &'a [usize], strides: &'a [usize]) -> impl Iterator<Item = usize> + 'a {
    let all: usize = shape.iter().product();
    let mut index = vec![0_usize; shape.len()];
    let mut at = 0;
    (0..all).map(move |_| {
        let here = at;
        for axis in (0..shape.len()).rev() {
            index[axis] += 1;
            at += strides[axis];
            if index[axis] < shape[axis] {
                break;
            }
            at -= strides[axis] * shape[axis];
            index[axis] = 0;
        }
        here
    })
}

impl Constant {
    pub(super) fn is_int(&self) -> bool {
        matches!(self.numbers, Numbers::Ints(_))
    }

    pub(super) fn doubles(&self) -> Vec<f64> {
        match &self.numbers {
            Numbers::Floats(values) => values.iter().map(|&value| f64::from(value)).collect(),
            Numbers::Ints(values) => values.iter().map(|&value| value as f64).collect(),
        }
    }

    pub(super) fn of(shape: Vec<usize>, values: Vec<f64>, is_int: bool) -> Self {
        let numbers = match is_int {
            true => Numbers::Ints(values.into_iter().map(|value| value as i64).collect()),
            false => Numbers::Floats(values.into_iter().map(|value| value as f32).collect()),
        };
        Self { shape, numbers }
    }

    /// This constant; an error if a result of `shape` would be too large.
    pub(super) fn limited(&self, shape: &[usize]) -> Result<&Self, String> {
        match count(shape).filter(|&count| count <= MOST_COMPUTED) {
            Some(_) => Ok(self),
            None => Err(format!("a constant of shape {shape:?} is too large")),
        }
    }

    /// The constant with only these indices of an axis.
    pub(super) fn picked(&self, axis: usize, indices: Vec<usize>) -> Self {
        let (outer, length): (usize, usize) = (self.shape[..axis].iter().product(), self.shape[axis]);
        let inner: usize = self.shape[axis + 1..].iter().product();
        let mut shape = self.shape.clone();
        shape[axis] = indices.len();
        let positions = (0..outer)
            .flat_map(|row| indices.iter().map(move |&index| (row * length + index) * inner))
            .flat_map(|start| start..start + inner);
        let positions: Vec<usize> = positions.collect();
        self.gathered(shape, positions.into_iter())
    }
}
