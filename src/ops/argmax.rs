//! `y[r] = argmax over c of x[r, c]`: one step of greedy decoding

use crate::case::{Bound, Case, Draw, TINY, exact};
use crate::graph::{Graph, Value};
use crate::large::{Large, noise};
use crate::op::*;
use crate::shader;
use crate::tensor::{Tensor, Type};

/// The column of the largest element of each row, the lowest of equal ones. x (..., C) to u32 (...).
#[derive(Debug)]
pub struct Argmax;

impl Op for Argmax {
    fn name(&self) -> &'static str {
        "argmax"
    }

    fn types(&self, x: &[&Type]) -> Result<Vec<Type>, String> {
        Ok(vec![Type::u32(&x[0].dims[..x[0].dims.len() - 1])])
    }

    fn cpu(&self, x: &[&Tensor], y: &mut [Tensor]) {
        for (y, row) in y[0].as_u32_mut().iter_mut().zip(x[0].as_f32().chunks(x[0].ty().cols())) {
            let mut best = 0;
            for (c, value) in row.iter().enumerate() {
                if *value > row[best] {
                    best = c;
                }
            }
            *y = best as u32;
        }
    }

    fn launches(&self, x: &[&Type], _: &[&Type], adapter: &Adapter) -> Vec<Launch> {
        let run = [x[0].rows() as u32, x[0].cols() as u32, 0, 0];
        Launch::rows(shader!("argmax"), x[0].rows(), run, adapter)
    }

    fn vjp(&self, _: &mut Graph, _: &[Value], _: &[Value], _: &[Option<Value>]) -> Vec<Option<Value>> {
        not_differentiable(self)
    }

    fn cost(&self, x: &[&Type], y: &[&Type]) -> Cost {
        Cost::new(x[0].elements(), x, y)
    }

    fn bound(&self, x: &[Tensor], y: &[Tensor]) -> Vec<Vec<f64>> {
        bound()(x, y)
    }
}

impl Graph {
    /// The column of the largest element of each row, the lowest of equal ones.
    #[track_caller]
    pub fn argmax(&mut self, x: Value) -> Value {
        self.push(Argmax, &[x])[0]
    }
}

/// Exact; but maxima that are flushed to zero are equal to whatever else is.
fn bound() -> Bound {
    Box::new(|x, _| {
        let top = |row: &[f32]| row.iter().copied().fold(f32::NEG_INFINITY, f32::max) as f64;
        let one = |row: &[f32]| if top(row) != 0.0 && top(row).abs() < TINY { row.len() as f64 } else { 0.0 };
        vec![x[0].as_f32().chunks(x[0].ty().cols()).map(one).collect()]
    })
}

/// Cases of the kernel, with equal maxima too.
pub fn cases(draw: &mut Draw) -> Vec<Case> {
    draw.set_largest(1e38);
    let case = |(rows, c): (usize, usize)| Case::new(format!("{rows}x{c}"), Argmax, vec![draw.tensor(&[rows, c])], bound());
    let mut cases: Vec<Case> = [(1, 1), (3, 5), (70, 33), (2, 1000), (2, 70_000)].map(case).into();
    let equal = Tensor::f32([3, 4], vec![1.0, 2.0, 2.0, 2.0, -5.0, -5.0, -5.0, -5.0, 0.0, -1e30, 1e30, 1e30]);
    cases.push(Case::new("equal", Argmax, vec![equal], exact()));
    cases
}

/// Large cases of the kernel.
pub fn large() -> Vec<Large> {
    vec![Large::new("4096x8000", Argmax, [noise(&[4096, 8000])])]
}
