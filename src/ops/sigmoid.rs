//! y = 1 / (1 + exp(-x))

use crate::case::{Case, Draw, U, per_element};
use crate::graph::{Graph, Value};
use crate::large::{Large, noise};
use crate::op::*;
use crate::shader;
use crate::tensor::{Tensor, Type};

/// y = 1 / (1 + exp(-x)), element by element.
#[derive(Debug)]
pub struct Sigmoid;

impl Op for Sigmoid {
    fn name(&self) -> &'static str {
        "sigmoid"
    }

    fn types(&self, x: &[&Type]) -> Result<Vec<Type>, String> {
        alike(x)
    }

    fn cpu(&self, x: &[&Tensor], y: &mut [Tensor]) {
        map(x[0], &mut y[0], sigmoid);
    }

    fn launches(&self, _: &[&Type], y: &[&Type], _: &Adapter) -> Vec<Launch> {
        vec![launch_vec4(shader!("sigmoid"), y[0])]
    }

    fn vjp(&self, g: &mut Graph, _: &[Value], y: &[Value], dy: &[Option<Value>]) -> Vec<Option<Value>> {
        let dy = dy[0].expect("the only output");
        vec![Some(g.push(SigmoidVjp, &[y[0], dy])[0])]
    }

    fn cost(&self, x: &[&Type], y: &[&Type]) -> Cost {
        Cost::new(8 * y[0].elements(), x, y)
    }

    fn bound(&self, x: &[Tensor], y: &[Tensor]) -> Vec<Vec<f64>> {
        // WGSL grants exp 3 + 2 |x| units in the last place, of two roundings each, and a division 2.5.
        let slope = |x: f32| U * (16.0 + 4.0 * x.abs().min(90.0) as f64);
        per_element(move |i, x, y| y * slope(x[0].as_f32()[i]) + 1e-34)(x, y)
    }
}

/// dx = dy y (1 - y).
#[derive(Debug)]
pub struct SigmoidVjp;

impl Op for SigmoidVjp {
    fn name(&self) -> &'static str {
        "sigmoid_vjp"
    }

    fn types(&self, x: &[&Type]) -> Result<Vec<Type>, String> {
        alike(x)
    }

    fn cpu(&self, x: &[&Tensor], y: &mut [Tensor]) {
        zip(x[0], x[1], &mut y[0], |y, dy| dy * y * (1.0 - y));
    }

    fn launches(&self, _: &[&Type], y: &[&Type], _: &Adapter) -> Vec<Launch> {
        vec![launch_vec4(shader!("sigmoid_vjp"), y[0])]
    }

    fn vjp(&self, _: &mut Graph, _: &[Value], _: &[Value], _: &[Option<Value>]) -> Vec<Option<Value>> {
        not_differentiable(self)
    }

    fn cost(&self, x: &[&Type], y: &[&Type]) -> Cost {
        Cost::new(8 * y[0].elements(), x, y)
    }

    fn bound(&self, x: &[Tensor], y: &[Tensor]) -> Vec<Vec<f64>> {
        per_element(|i, x, _| 4.0 * U * x[1].as_f32()[i].abs() as f64)(x, y)
    }
}

/// The definition.
pub fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

impl Graph {
    /// y = 1 / (1 + exp(-x)), element by element.
    #[track_caller]
    pub fn sigmoid(&mut self, x: Value) -> Value {
        self.push(Sigmoid, &[x])[0]
    }
}

/// Cases of both kernels.
pub fn cases(draw: &mut Draw) -> Vec<Case> {
    draw.set_largest(1e38);
    let mut cases = vec![];
    for n in [1, 7, 256, 1030] {
        let x = draw.tensor(&[n]);
        let mut y = x.clone();
        map(&x, &mut y, sigmoid);
        let dy = draw.tensor(&[n]);
        cases.push(Case::of(format!("{n}"), Sigmoid, vec![x]).wrt(&[0]));
        cases.push(Case::of(format!("{n}"), SigmoidVjp, vec![y, dy]));
    }
    let extreme = Tensor::f32([8], vec![0.0, -0.0, 1e-30, -1e-30, 90.0, -90.0, 1e30, -1e30]);
    cases.push(Case::of("extreme", Sigmoid, vec![extreme]));
    cases
}

/// Large cases of both kernels.
pub fn large() -> Vec<Large> {
    let x = || noise(&[4096, 2048]);
    vec![Large::new("4096x2048", Sigmoid, [x()]), Large::new("4096x2048", SigmoidVjp, [x(), x()])]
}
