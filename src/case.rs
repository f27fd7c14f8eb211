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
/// What is below this may be flushed to zero by a driver, wherever it is an input or a result of an operation (WGSL
/// specification, section 15.7.2).
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
    /// A case with no gradient check and a bound of its own, no larger than its operation's.
    pub fn new(name: impl Into<String>, op: impl Op + 'static, inputs: Vec<Tensor>, bound: Bound) -> Case {
        Case { name: name.into(), op: Arc::new(op), inputs, bound, results: vec![], wrt: vec![] }
    }

    /// A case with no gradient check that is judged by its operation's own bound.
    pub fn of(name: impl Into<String>, op: impl Op + 'static, inputs: Vec<Tensor>) -> Case {
        let op: Arc<dyn Op> = Arc::new(op);
        let own = op.clone();
        let bound: Bound = Box::new(move |x, y| own.bound(x, y));
        Case { name: name.into(), op, inputs, bound, results: vec![], wrt: vec![] }
    }

    /// Checks the gradient of output 0 with respect to these inputs.
    pub fn wrt(mut self, inputs: &[usize]) -> Case {
        self.results = vec![0];
        self.wrt = inputs.into();
        self
    }

    /// Elements of all inputs.
    fn elements(&self) -> usize {
        self.inputs.iter().map(|t| t.ty().elements()).sum()
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

/// Every output within `n` roundings of the definition, relative to its size. Up to two inputs with factors of one, and the
/// result, may be flushed to zero.
pub fn ulps(n: f64) -> Bound {
    let one = move |v: &f32| n * U * v.abs() as f64 + 3.0 * TINY;
    Box::new(move |_, y| y.iter().map(|t| t.as_f32().iter().map(one).collect()).collect())
}

/// One output, whose bound is a function of the element's index, the inputs and the definition.
pub fn per_element(f: impl Fn(usize, &[Tensor], f64) -> f64 + Send + Sync + 'static) -> Bound {
    Box::new(move |x, y| {
        let one = |(i, v): (usize, &f32)| f(i, x, *v as f64) + TINY;
        vec![y[0].as_f32().iter().enumerate().map(one).collect()]
    })
}

/// What drawn tensors are made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Numbers {
    /// Standard normal.
    Normal,
    /// As large as the room allows.
    Huge,
    /// About 1e-30: a product of two is nothing.
    Tiny,
    /// Below the smallest normal number, where drivers may read zeros.
    Denormal,
    /// One value in every element.
    Equal,
    /// Zeros of both signs.
    Zero,
    /// Of every magnitude from 1e-30 to the largest, side by side.
    Mixed,
    /// Every tensor of another of these kinds.
    Uneven,
}

impl Numbers {
    const ADVERSARIAL: [Numbers; 7] = {
        use Numbers::*;
        [Huge, Tiny, Denormal, Equal, Zero, Mixed, Uneven]
    };

    fn name(self) -> &'static str {
        match self {
            Numbers::Normal => "normal",
            Numbers::Huge => "huge",
            Numbers::Tiny => "tiny",
            Numbers::Denormal => "denormal",
            Numbers::Equal => "equal",
            Numbers::Zero => "zeros",
            Numbers::Mixed => "mixed",
            Numbers::Uneven => "uneven",
        }
    }
}

/// Adversarial numbers say little more in a large case than in a small one: inputs of at most so many elements.
const SMALL: usize = 4096;

/// A room's cases, and the small ones of them again with every kind of adversarial numbers.
pub(crate) fn varied(seed: u64, room: impl Fn(&mut Draw) -> Vec<Case>) -> Vec<Case> {
    let mut all = room(&mut Draw::new(seed));
    let ordinary = all.len();
    for numbers in Numbers::ADVERSARIAL {
        for (i, mut case) in room(&mut Draw::of(numbers, seed)).into_iter().enumerate() {
            assert!(i < ordinary, "a room has the same cases whatever the numbers");
            // A case that draws no tensor is the same as before.
            if case.inputs != all[i].inputs && case.elements() <= SMALL {
                case.name = format!("{}, {}", case.name, numbers.name());
                case.wrt.clear();
                all.push(case);
            }
        }
    }
    all
}

/// Random inputs from a seed, the same on every platform.
pub struct Draw {
    random: ChaCha8Rng,
    /// Of its own, so that ids and lengths do not depend on the kind of numbers.
    magnitudes: ChaCha8Rng,
    numbers: Numbers,
    largest: f64,
}

fn uniform(random: &mut ChaCha8Rng) -> f64 {
    (random.next_u64() >> 11) as f64 / (1u64 << 53) as f64
}

impl Draw {
    /// A generator of this seed.
    pub fn new(seed: u64) -> Draw {
        Draw::of(Numbers::Normal, seed)
    }

    /// A generator of this seed whose tensors have numbers of a kind.
    pub fn of(numbers: Numbers, seed: u64) -> Draw {
        let [random, magnitudes] = [seed, !seed].map(ChaCha8Rng::seed_from_u64);
        Draw { random, magnitudes, numbers, largest: 1e15 }
    }

    /// Sets how large a room's numbers may be without an overflow on the way to its result; 1e15 if it does not, whose
    /// products of two can be summed.
    pub fn set_largest(&mut self, largest: f64) {
        self.largest = largest;
    }

    /// Whether tensors are ordinary: standard normal.
    pub fn is_normal(&self) -> bool {
        self.numbers == Numbers::Normal
    }

    /// Uniform in [0, 1).
    pub fn uniform(&mut self) -> f64 {
        uniform(&mut self.random)
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

    /// A tensor of standard normal numbers, or of another kind where the generator is adversarial.
    pub fn tensor(&mut self, dims: &[usize]) -> Tensor {
        let normal: Vec<f64> = (0..dims.iter().product()).map(|_| self.normal()).collect();
        let numbers = match self.numbers {
            Numbers::Uneven => Numbers::ADVERSARIAL[(6.0 * uniform(&mut self.magnitudes)) as usize],
            numbers => numbers,
        };
        let of_kind = |x: &f64| match numbers {
            Numbers::Normal | Numbers::Uneven => *x,
            // A normal number in 1e15 is beyond 8.
            Numbers::Huge => x / 8.0 * self.largest,
            Numbers::Tiny => x * 1e-30,
            Numbers::Denormal => x * 4e-39,
            Numbers::Equal => 3.0 * normal[0],
            Numbers::Zero => x * 0.0,
            Numbers::Mixed => {
                let (low, high) = (-30.0, (self.largest / 8.0).log10());
                x * 10f64.powf(low + (high - low) * uniform(&mut self.magnitudes))
            }
        };
        Tensor::f32(dims, normal.iter().map(of_kind).map(|x| x as f32).collect())
    }

    /// A tensor of numbers in [low, high) with 24 random bits each: what is large need not be normal.
    pub fn between(&mut self, dims: &[usize], low: f32, high: f32) -> Tensor {
        let mut words = vec![0u32; dims.iter().product()];
        self.random.fill_bytes(bytemuck::cast_slice_mut(&mut words));
        let number = |word: u32| low + (high - low) * (word >> 8) as f32 / (1u32 << 24) as f32;
        Tensor::f32(dims, words.into_iter().map(number).collect())
    }

    /// A tensor of integers in 0 .. n.
    pub fn ids(&mut self, dims: &[usize], n: usize) -> Tensor {
        let count = dims.iter().product();
        Tensor::u32(dims, (0..count).map(|_| self.below(n) as u32).collect())
    }
}
