//! What a cell computes with: the definition's numbers, which know how far they may be off, or a faster path's.

use super::near::Near;
use crate::tensor::Tensor;
use std::ops::{Add, Mul, Sub};

pub(in crate::ops) trait Number: Copy + Add<Output = Self> + Sub<Output = Self> + Mul<Output = Self> {
    const ZERO: Self;
    const ONE: Self;
    fn new(value: f32) -> Self;
    fn sigmoid(self) -> Self;
    fn tanh(self) -> Self;
}

impl Number for Near {
    const ZERO: Near = Near::ZERO;
    const ONE: Near = Near::ONE;

    fn new(value: f32) -> Near {
        Near::new(value)
    }

    fn sigmoid(self) -> Near {
        Near::sigmoid(self)
    }

    fn tanh(self) -> Near {
        Near::tanh(self)
    }
}

impl Number for f32 {
    const ZERO: f32 = 0.0;
    const ONE: f32 = 1.0;

    fn new(value: f32) -> f32 {
        value
    }

    fn sigmoid(self) -> f32 {
        1.0 / (1.0 + (-self).exp())
    }

    fn tanh(self) -> f32 {
        f32::tanh(self)
    }
}

/// Single floats as they are.
pub(in crate::ops) fn fill(numbers: Vec<Vec<f32>>, y: &mut [Tensor]) {
    numbers.iter().zip(y).for_each(|(numbers, y)| y.as_f32_mut().copy_from_slice(numbers));
}
