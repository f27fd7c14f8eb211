//! Numbers with how far what a kernel computes of them may be off.

use crate::case::{TINY, U, gamma};
use crate::tensor::Tensor;
use std::ops::{Add, Mul, Sub};

/// A number and a bound of its error.
#[derive(Clone, Copy, Debug)]
pub(in crate::ops) struct Near {
    pub(in crate::ops) value: f64,
    error: f64,
}

impl Near {
    pub(in crate::ops) const ZERO: Near = Near { value: 0.0, error: 0.0 };
    pub(in crate::ops) const ONE: Near = Near { value: 1.0, error: 0.0 };

    /// An input, which is exact.
    pub(in crate::ops) fn new(value: f32) -> Near {
        Near { value: value as f64, error: 0.0 }
    }

    /// A result whose operands were off by `error` in all, rounded.
    fn rounded(value: f64, error: f64) -> Near {
        Near { value, error: error + 2.0 * U * (value.abs() + error) + 2.0 * TINY }
    }

    /// WGSL grants exp 3 + 2 |x| units in the last place and a division 2.5; the clamp leaves 2e-35. Its slope is 1/4 at most, and
    /// a closed gate's is no more than its value.
    pub(in crate::ops) fn sigmoid(self) -> Near {
        let value = crate::ops::sigmoid::sigmoid(self.value);
        let moved = (self.error / 4.0).min(value * self.error.exp_m1());
        let rounded = (value + moved) * U * (16.0 + 4.0 * self.value.abs().min(90.0)) + 1e-34;
        Near { value, error: (moved + rounded).min(1.0 + U) }
    }

    pub(in crate::ops) fn tanh(self) -> Near {
        let rounded = U * (16.0 + 8.0 * self.value.abs()).min(64.0);
        Near { value: self.value.tanh(), error: (self.error + rounded).min(2.0 + U) }
    }

    /// The error beside a definition that is rounded too; none where nothing was computed.
    pub(in crate::ops) fn stored(self) -> f64 {
        if self.error == 0.0 { 0.0 } else { self.error + U * self.value.abs() + TINY }
    }
}

impl Add for Near {
    type Output = Near;
    fn add(self, other: Near) -> Near {
        Near::rounded(self.value + other.value, self.error + other.error + 2.0 * TINY)
    }
}

impl Sub for Near {
    type Output = Near;
    fn sub(self, other: Near) -> Near {
        Near::rounded(self.value - other.value, self.error + other.error + 2.0 * TINY)
    }
}

impl Mul for Near {
    type Output = Near;
    fn mul(self, other: Near) -> Near {
        // Either may be flushed to zero.
        let (a, b) = (self.error + TINY, other.error + TINY);
        Near::rounded(self.value * other.value, a * other.value.abs() + self.value.abs() * b + a * b)
    }
}

/// A sum in any order of additions.
pub(in crate::ops) fn sum(terms: impl Iterator<Item = Near>) -> Near {
    let (mut n, mut value, mut size, mut error) = (0, 0.0, 0.0, 0.0);
    for term in terms {
        n += 1;
        value += term.value;
        size += term.value.abs() + term.error;
        error += term.error + TINY;
    }
    Near { value, error: error + gamma(n + 1) * size }
}

/// The values rounded to f32.
pub(in crate::ops) fn fill(near: &[Vec<Near>], y: &mut [Tensor]) {
    for (near, y) in near.iter().zip(y) {
        for (near, y) in near.iter().zip(y.as_f32_mut()) {
            *y = near.value as f32;
        }
    }
}

/// How far a kernel may be from the rounded values.
pub(in crate::ops) fn errors(near: &[Vec<Near>]) -> Vec<Vec<f64>> {
    near.iter().map(|all| all.iter().map(|near| near.stored()).collect()).collect()
}
