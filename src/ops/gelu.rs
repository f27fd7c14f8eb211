//! y = x Phi(x) = x (1 + erf(x / sqrt 2)) / 2 (Hendrycks and Gimpel 2016)

use crate::case::{Case, Draw, TINY, U, per_element};
use crate::graph::{Graph, Value};
use crate::large::{Large, noise};
use crate::op::*;
use crate::shader;
use crate::tensor::{Tensor, Type};

/// y = x Phi(x) = x (1 + erf(x / sqrt 2)) / 2, element by element.
#[derive(Debug)]
pub struct Gelu;

impl Op for Gelu {
    fn name(&self) -> &'static str {
        "gelu"
    }

    fn types(&self, x: &[&Type]) -> Result<Vec<Type>, String> {
        alike(x)
    }

    fn cpu(&self, x: &[&Tensor], y: &mut [Tensor]) {
        map(x[0], &mut y[0], gelu);
    }

    fn launches(&self, _: &[&Type], y: &[&Type], _: &Adapter) -> Vec<Launch> {
        vec![launch_vec4(shader!("gelu"), y[0])]
    }

    fn vjp(&self, g: &mut Graph, x: &[Value], _: &[Value], dy: &[Option<Value>]) -> Vec<Option<Value>> {
        let dy = dy[0].expect("the only output");
        vec![Some(g.push(GeluVjp, &[x[0], dy])[0])]
    }

    fn cost(&self, x: &[&Type], y: &[&Type]) -> Cost {
        Cost::new(16 * y[0].elements(), x, y)
    }

    fn bound(&self, x: &[Tensor], y: &[Tensor]) -> Vec<Vec<f64>> {
        per_element(|i, x, _| (1e-7 + 16.0 * U) * x[0].as_f32()[i].abs() as f64)(x, y)
    }
}

/// dx = dy (Phi(x) + x phi(x)).
#[derive(Debug)]
pub struct GeluVjp;

impl Op for GeluVjp {
    fn name(&self) -> &'static str {
        "gelu_vjp"
    }

    fn types(&self, x: &[&Type]) -> Result<Vec<Type>, String> {
        alike(x)
    }

    fn cpu(&self, x: &[&Tensor], y: &mut [Tensor]) {
        zip(x[0], x[1], &mut y[0], |x, dy| dy * gelu_derivative(x));
    }

    fn launches(&self, _: &[&Type], y: &[&Type], _: &Adapter) -> Vec<Launch> {
        vec![launch_vec4(shader!("gelu_vjp"), y[0])]
    }

    fn vjp(&self, _: &mut Graph, _: &[Value], _: &[Value], _: &[Option<Value>]) -> Vec<Option<Value>> {
        not_differentiable(self)
    }

    fn cost(&self, x: &[&Type], y: &[&Type]) -> Cost {
        Cost::new(16 * y[0].elements(), x, y)
    }

    fn bound(&self, x: &[Tensor], y: &[Tensor]) -> Vec<Vec<f64>> {
        // Phi is off by 1e-7; x phi(x) is less than one and off by the error of its exponential, which falls faster than
        // the argument grows.
        per_element(|i, x: &[Tensor], _| (1e-7 + 32.0 * U) * x[1].as_f32()[i].abs() as f64 + TINY)(x, y)
    }
}

/// The definition.
pub fn gelu(x: f64) -> f64 {
    0.5 * x * (1.0 + libm::erf(x * std::f64::consts::FRAC_1_SQRT_2))
}

fn gelu_derivative(x: f64) -> f64 {
    let density = (-0.5 * x * x).exp() / std::f64::consts::TAU.sqrt();
    0.5 * (1.0 + libm::erf(x * std::f64::consts::FRAC_1_SQRT_2)) + x * density
}

impl Graph {
    /// y = x Phi(x) = x (1 + erf(x / sqrt 2)) / 2, element by element.
    #[track_caller]
    pub fn gelu(&mut self, x: Value) -> Value {
        self.push(Gelu, &[x])[0]
    }
}

/// Cases of both kernels.
pub fn cases(draw: &mut Draw) -> Vec<Case> {
    draw.set_largest(1e38);
    let mut cases = vec![];
    for n in [1, 7, 256, 1030] {
        let (x, dy) = (draw.tensor(&[n]), draw.tensor(&[n]));
        cases.push(Case::of(format!("{n}"), Gelu, vec![x.clone()]).wrt(&[0]));
        cases.push(Case::of(format!("{n}"), GeluVjp, vec![x, dy]));
    }
    let extreme = vec![0.0, -0.0, 1e-30, -1e-30, 12.0, -12.0, 90.0, -90.0, 1e30, -1e30, 3.4e38, -3.4e38];
    let extreme = Tensor::f32([12], extreme);
    cases.push(Case::of("extreme", GeluVjp, vec![extreme.clone(), draw.tensor(&[12])]));
    cases.push(Case::of("extreme", Gelu, vec![extreme]));
    cases
}

/// Large cases of both kernels.
pub fn large() -> Vec<Large> {
    let x = || noise(&[4096, 2048]);
    vec![Large::new("4096x2048", Gelu, [x()]), Large::new("4096x2048", GeluVjp, [x(), x()])]
}
