//! norm = sqrt(sum of g^2) over all gradients, the factor that clips it (Pascanu, Mikolov and Bengio 2013), and
//! whether it is finite

use crate::case::{Case, Draw, exact, gamma, per_element};
use crate::graph::{Graph, Value};
use crate::large::{Large, given, noise, positive};
use crate::op::*;
use crate::shader;
use crate::tensor::{Tensor, Type};
use crate::step;

/// Partial sums that one flat buffer contributes.
pub const PARTIALS: usize = 1024;

/// Writes the partial sums of squares of one flat buffer. Inputs: x (n), partial (P); the output takes `partial` over
/// and has its elements `PARTIALS * part ..` replaced.
#[derive(Debug)]
pub struct SumSquares {
    /// Which buffer this is, counted from 0.
    pub part: usize,
}

impl Op for SumSquares {
    fn name(&self) -> &'static str {
        "sum_squares"
    }

    fn types(&self, x: &[&Type]) -> Result<Vec<Type>, String> {
        match x[1].elements() >= PARTIALS * (self.part + 1) {
            true => Ok(vec![x[1].clone()]),
            false => Err("too few partial sums".into()),
        }
    }

    fn cpu(&self, x: &[&Tensor], y: &mut [Tensor]) {
        y[0].write(0, x[1]);
        let mut sums = [0.0f64; PARTIALS];
        for (i, &x) in x[0].as_f32().iter().enumerate() {
            sums[i % PARTIALS] += x as f64 * x as f64;
        }
        for (y, s) in y[0].as_f32_mut()[PARTIALS * self.part..].iter_mut().zip(sums) {
            *y = s as f32;
        }
    }

    fn launches(&self, x: &[&Type], _: &[&Type], _: &Adapter) -> Vec<Launch> {
        let run = [x[0].elements() as u32, (PARTIALS * self.part) as u32, 0, 0];
        vec![Launch::elements(shader!("sum_squares"), PARTIALS, run)]
    }

    fn vjp(&self, _: &mut Graph, _: &[Value], _: &[Value], _: &[Option<Value>]) -> Vec<Option<Value>> {
        not_differentiable(self)
    }

    fn cost(&self, x: &[&Type], _: &[&Type]) -> Cost {
        Cost::new(2 * x[0].elements(), &x[..1], &[&Type::f32([PARTIALS])])
    }

    fn bound(&self, x: &[Tensor], y: &[Tensor]) -> Vec<Vec<f64>> {
        let each = gamma(x[0].ty().elements().div_ceil(PARTIALS) + 1);
        per_element(move |_, _, y| each * y.abs())(x, y)
    }

    fn in_place(&self) -> &'static [(usize, usize)] {
        &[(1, 0)]
    }
}

/// From the partial sums the norm, the clipping factor min(1, max / (norm + 1e-6)) (PyTorch's) and the go flag, into
/// the step state. Inputs: partial (P), step; the output takes `step` over.
#[derive(Debug)]
pub struct Clip {
    /// Largest norm; 0 does not clip.
    pub max_norm: f32,
}

impl Op for Clip {
    fn name(&self) -> &'static str {
        "clip"
    }

    fn types(&self, x: &[&Type]) -> Result<Vec<Type>, String> {
        match *x[1] == step::step_type() {
            true => Ok(vec![step::step_type()]),
            false => Err("the second input is the step state".into()),
        }
    }

    fn cpu(&self, x: &[&Tensor], y: &mut [Tensor]) {
        y[0].write(0, x[1]);
        let norm = x[0].as_f32().iter().map(|&x| x as f64).sum::<f64>().sqrt() as f32;
        let factor = if self.max_norm > 0.0 { (self.max_norm / (norm + 1e-6)).min(1.0) } else { 1.0 };
        let step = y[0].as_u32_mut();
        step[step::NORM] = norm.to_bits();
        step[step::FACTOR] = factor.to_bits();
        if !norm.is_finite() {
            step[step::GO] = 0;
        }
    }

    fn launches(&self, x: &[&Type], _: &[&Type], adapter: &Adapter) -> Vec<Launch> {
        let launch = |lanes: u32| {
            Launch::groups(shader!("clip"), 1, [x[0].elements() as u32, 0, 0, 0])
                .constant("MAX_NORM", self.max_norm.into())
                .constant("LANES", lanes.into())
                .variant(format!("{lanes} lanes"))
        };
        if adapter.software { vec![launch(1), launch(64)] } else { vec![launch(64), launch(1)] }
    }

    fn vjp(&self, _: &mut Graph, _: &[Value], _: &[Value], _: &[Option<Value>]) -> Vec<Option<Value>> {
        not_differentiable(self)
    }

    fn cost(&self, x: &[&Type], y: &[&Type]) -> Cost {
        Cost::new(x[0].elements(), x, y)
    }

    fn bound(&self, x: &[Tensor], y: &[Tensor]) -> Vec<Vec<f64>> {
        let step = y[0].as_u32();
        let mut bounds = vec![0.0; step.len()];
        // The words are compared as whole numbers: a relative error of U is a unit in the last place of f32 bits, or half of
        // one. What is not a number has many bits, and go says what there is to say.
        let norm = f32::from_bits(step[step::NORM]);
        let units = x[0].ty().elements() as f64 + 16.0;
        for at in [step::NORM, step::FACTOR] {
            bounds[at] = if norm.is_nan() { f64::INFINITY } else { units };
        }
        vec![bounds]
    }

    fn in_place(&self) -> &'static [(usize, usize)] {
        &[(1, 0)]
    }
}

impl Graph {
    /// The step state with norm, clipping factor and go flag of these flat gradients. `partial` is a resident value
    /// of [`PARTIALS`] elements per buffer.
    #[track_caller]
    pub fn clip(&mut self, gradients: &[Value], partial: Value, step: Value, max_norm: f32) -> Value {
        let mut sums = partial;
        for (part, &g) in gradients.iter().enumerate() {
            sums = self.push(SumSquares { part }, &[g, sums])[0];
        }
        // Stored where they already are, so that no copy is made of what is overwritten anyway.
        self.store(sums, partial);
        self.push(Clip { max_norm }, &[sums, step])[0]
    }
}

/// Cases of both kernels.
pub fn cases(draw: &mut Draw) -> Vec<Case> {
    let mut cases = vec![];
    for (n, part) in [(1, 0), (1023, 1), (5000, 0)] {
        let inputs = vec![draw.tensor(&[n]), draw.tensor(&[2 * PARTIALS])];
        cases.push(Case::of(format!("{n} to part {part}"), SumSquares { part }, inputs));
    }
    for (sums, max_norm) in [(vec![0.0; 64], 1.0), (vec![4.0], 0.0), (vec![f32::INFINITY, 1.0], 1.0)] {
        let mut state = Tensor::zeros(&step::step_type());
        state.as_u32_mut()[step::GO] = 1;
        let inputs = vec![Tensor::f32([sums.len()], sums), state];
        cases.push(Case::new(format!("{:?}... max {max_norm}", inputs[0].as_f32()[0]), Clip { max_norm }, inputs, exact()));
    }
    cases
}

/// Large cases of both kernels.
pub fn large() -> Vec<Large> {
    let partial = || positive(&[PARTIALS]);
    let state = given(Tensor::zeros(&step::step_type()));
    vec![
        Large::new("16 Mi", SumSquares { part: 0 }, [noise(&[16 << 20]), partial()]),
        Large::new("1024 sums", Clip { max_norm: 1.0 }, [partial(), state]),
    ]
}
