//! y = a b, and its form with one factor per row

use crate::case::{Bound, Case, Draw, TINY, U, per_element};
use crate::graph::{Graph, Value};
use crate::large::{Large, noise};
use crate::op::*;
use crate::shader;
use crate::tensor::{Tensor, Type};

/// y = a b, element by element.
#[derive(Debug)]
pub struct Mul;

impl Op for Mul {
    fn name(&self) -> &'static str {
        "mul"
    }

    fn types(&self, x: &[&Type]) -> Result<Vec<Type>, String> {
        alike(x)
    }

    fn cpu(&self, x: &[&Tensor], y: &mut [Tensor]) {
        zip(x[0], x[1], &mut y[0], |a, b| a * b);
    }

    fn launches(&self, _: &[&Type], y: &[&Type], _: &Adapter) -> Vec<Launch> {
        vec![launch_vec4(shader!("mul"), y[0])]
    }

    fn vjp(&self, g: &mut Graph, x: &[Value], _: &[Value], dy: &[Option<Value>]) -> Vec<Option<Value>> {
        let dy = dy[0].expect("the only output");
        vec![Some(g.mul(dy, x[1])), Some(g.mul(dy, x[0]))]
    }

    fn cost(&self, x: &[&Type], y: &[&Type]) -> Cost {
        Cost::new(y[0].elements(), x, y)
    }

    fn bound(&self, x: &[Tensor], y: &[Tensor]) -> Vec<Vec<f64>> {
        bound(1)(x, y)
    }
}

/// `y[r, c] = x[r, c] s[r]`: a factor per row.
#[derive(Debug)]
pub struct MulRows;

impl Op for MulRows {
    fn name(&self) -> &'static str {
        "mul_rows"
    }

    fn types(&self, x: &[&Type]) -> Result<Vec<Type>, String> {
        match x[0].rows() == x[1].elements() {
            true => Ok(vec![x[0].clone()]),
            false => Err("one factor per row".into()),
        }
    }

    fn cpu(&self, x: &[&Tensor], y: &mut [Tensor]) {
        let c = x[0].ty().cols();
        for (i, y) in y[0].as_f32_mut().iter_mut().enumerate() {
            *y = x[0].as_f32()[i] * x[1].as_f32()[i / c];
        }
    }

    fn launches(&self, _: &[&Type], y: &[&Type], _: &Adapter) -> Vec<Launch> {
        let run = [y[0].elements() as u32, y[0].cols() as u32, 0, 0];
        vec![Launch::elements(shader!("mul_rows"), y[0].elements(), run)]
    }

    fn vjp(&self, _: &mut Graph, _: &[Value], _: &[Value], _: &[Option<Value>]) -> Vec<Option<Value>> {
        not_differentiable(self)
    }

    fn cost(&self, x: &[&Type], y: &[&Type]) -> Cost {
        Cost::new(y[0].elements(), x, y)
    }

    fn bound(&self, x: &[Tensor], y: &[Tensor]) -> Vec<Vec<f64>> {
        bound(y[0].ty().cols())(x, y)
    }
}

impl Graph {
    /// y = a b, element by element; a factor that is known to be one leaves no trace.
    #[track_caller]
    pub fn mul(&mut self, a: Value, b: Value) -> Value {
        assert_eq!(self.ty(a), self.ty(b), "mul of {} and {}", self.name(a), self.name(b));
        match (self.is_ones(a), self.is_ones(b)) {
            (true, _) => b,
            (_, true) => a,
            _ => self.push(Mul, &[a, b])[0],
        }
    }

    /// `y[r, c] = x[r, c] s[r]`; factors that are known to be ones leave no trace.
    #[track_caller]
    pub fn mul_rows(&mut self, x: Value, s: Value) -> Value {
        if self.is_ones(s) { x } else { self.push(MulRows, &[x, s])[0] }
    }
}

/// A factor that is flushed to zero is missing from the product. The second factor counts for so many columns.
fn bound(columns: usize) -> Bound {
    per_element(move |i, x: &[Tensor], y| {
        U * y.abs() + TINY * (x[0].as_f32()[i].abs() + x[1].as_f32()[i / columns].abs()) as f64
    })
}

/// Cases of both kernels.
pub fn cases(draw: &mut Draw) -> Vec<Case> {
    let mut cases = vec![];
    for dims in [[1, 1], [3, 5], [2, 171]] {
        let x = vec![draw.tensor(&dims), draw.tensor(&dims)];
        cases.push(Case::of(format!("{dims:?}"), Mul, x).wrt(&[0, 1]));
        let x = vec![draw.tensor(&dims), draw.tensor(&dims[..1])];
        cases.push(Case::of(format!("rows {dims:?}"), MulRows, x));
    }
    cases
}

/// Large cases of both kernels.
pub fn large() -> Vec<Large> {
    let x = || noise(&[4096, 2048]);
    vec![Large::new("4096x2048", Mul, [x(), x()]), Large::new("4096x2048", MulRows, [x(), noise(&[4096])])]
}
