//! Cases: inputs for an operation and how far its kernel may be from its definition.
//!
//! Bounds come from the arithmetic: a sum of K products in f32 is within γ(K)·Σ|a||b| of the exact one, in any
//! order of additions (Higham 2002, section 3.1). They are given per element and compared with `error <= bound`, so
//! that NaN fails.

use crate::op::Op;
use crate::tensor::Tensor;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use std::sync::Arc;

/// Unit roundoff of f32.
pub const U: f64 = 1.0 / (1u64 << 24) as f64;
/// Results below this may be flushed to zero by a driver.
pub const TINY: f64 = 1.2e-38;

/// γ(n) = n·u / (1 − n·u): the relative error of n roundings in a row.
pub fn gamma(n: usize) -> f64 {
    let nu = n as f64 * U;
    nu / (1.0 - nu)
}

/// Largest error per element of each output, from the inputs and the definition's outputs.
pub type Bound = Box<dyn Fn(&[Tensor], &[Tensor]) -> Vec<Vec<f64>> + Send + Sync>;

/// One operation on one set of inputs.
pub struct Case {
    /// Shape and options, for people.
    pub name: String,
    /// The operation.
    pub op: Arc<dyn Op>,
    /// Its inputs.
    pub inputs: Vec<Tensor>,
    /// How far the kernel may be from the definition.
    pub bound: Bound,
    /// Outputs that get a random cotangent in the gradient check.
    pub results: Vec<usize>,
    /// Inputs whose gradient is compared with finite differences; empty where there is no derivative.
    pub wrt: Vec<usize>,
}

impl Case {
    /// A case with no gradient check.
    pub fn new(name: impl Into<String>, op: impl Op + 'static, inputs: Vec<Tensor>, bound: Bound) -> Case {
        Case { name: name.into(), op: Arc::new(op), inputs, bound, results: vec![], wrt: vec![] }
    }

    /// Checks the gradient of output 0 with respect to these inputs.
    pub fn wrt(mut self, inputs: &[usize]) -> Case {
        self.results = vec![0];
        self.wrt = inputs.into();
        self
    }

    /// The definition's outputs.
    pub fn definition(&self) -> Vec<Tensor> {
        self.evaluate(&self.inputs, |x, y| self.op.cpu(x, y))
    }

    /// The outputs of the faster CPU path.
    pub fn fast(&self) -> Vec<Tensor> {
        self.evaluate(&self.inputs, |x, y| self.op.cpu_fast(x, y))
    }

    /// Outputs of `f` on other inputs of the same types.
    pub fn evaluate(&self, inputs: &[Tensor], f: impl Fn(&[&Tensor], &mut [Tensor])) -> Vec<Tensor> {
        let x: Vec<&Tensor> = inputs.iter().collect();
        let types: Vec<_> = x.iter().map(|t| t.ty()).collect();
        let types = self.op.types(&types).unwrap_or_else(|why| panic!("{:?}, case {}: {why}", self.op, self.name));
        let mut y: Vec<Tensor> = types.iter().map(Tensor::zeros).collect();
        f(&x, &mut y);
        y
    }
}

/// Outputs must have the very bits of the definition.
pub fn exact() -> Bound {
    Box::new(|_, y| y.iter().map(|t| vec![0.0; t.ty().elements()]).collect())
}

/// Every output within `n` roundings of the definition, relative to its size.
pub fn ulps(n: f64) -> Bound {
    Box::new(move |_, y| y.iter().map(|t| t.as_f32().iter().map(|v| n * U * v.abs() as f64 + TINY).collect()).collect())
}

/// One output, whose bound is a function of the element's index, the inputs and the definition.
pub fn per_element(f: impl Fn(usize, &[Tensor], f64) -> f64 + Send + Sync + 'static) -> Bound {
    Box::new(move |x, y| {
        let one = |(i, v): (usize, &f32)| f(i, x, *v as f64) + TINY;
        vec![y[0].as_f32().iter().enumerate().map(one).collect()]
    })
}

/// Random inputs from a seed, the same on every platform.
pub struct Draw(ChaCha8Rng);

impl Draw {
    /// A generator of this seed.
    pub fn new(seed: u64) -> Draw {
        Draw(ChaCha8Rng::seed_from_u64(seed))
    }

    /// Uniform in [0, 1).
    pub fn uniform(&mut self) -> f64 {
        (self.0.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Standard normal (Box and Muller 1958).
    pub fn normal(&mut self) -> f64 {
        let (u, v) = (1.0 - self.uniform(), self.uniform());
        (-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos()
    }

    /// Uniform in 0 .. n.
    pub fn below(&mut self, n: usize) -> usize {
        (self.uniform() * n as f64) as usize
    }

    /// A tensor of standard normal numbers.
    pub fn tensor(&mut self, dims: &[usize]) -> Tensor {
        let n = dims.iter().product();
        Tensor::f32(dims, (0..n).map(|_| self.normal() as f32).collect())
    }

    /// A tensor of numbers in [low, high) with 24 random bits each: what is large need not be normal.
    pub fn between(&mut self, dims: &[usize], low: f32, high: f32) -> Tensor {
        let mut words = vec![0u32; dims.iter().product()];
        self.0.fill_bytes(bytemuck::cast_slice_mut(&mut words));
        let number = |word: u32| low + (high - low) * (word >> 8) as f32 / (1u32 << 24) as f32;
        Tensor::f32(dims, words.into_iter().map(number).collect())
    }

    /// A tensor of integers in 0 .. n.
    pub fn ids(&mut self, dims: &[usize], n: usize) -> Tensor {
        let count = dims.iter().product();
        Tensor::u32(dims, (0..count).map(|_| self.below(n) as u32).collect())
    }
}
