//! y = x (1 + tanh(sqrt(2/pi) (x + 0.044715 x³))) / 2 (Hendrycks and Gimpel 2016), GPT-2's approximation of GELU

use crate::case::{Case, Draw, TINY, U, per_element};
use crate::graph::{Graph, Value};
use crate::large::{Large, noise};
use crate::op::*;
use crate::shader;
use crate::tensor::{Tensor, Type};

const CUBIC: f64 = 0.044715;

/// y = x (1 + tanh(u)) / 2 = x / (1 + exp(-2u)) with u = sqrt(2/pi) (x + 0.044715 x³), element by element.
#[derive(Debug)]
pub struct GeluNew;

impl Op for GeluNew {
    fn name(&self) -> &'static str {
        "gelu_new"
    }

    fn types(&self, x: &[&Type]) -> Result<Vec<Type>, String> {
        alike(x)
    }

    fn cpu(&self, x: &[&Tensor], y: &mut [Tensor]) {
        map(x[0], &mut y[0], gelu_new);
    }

    fn launches(&self, _: &[&Type], y: &[&Type], _: &Adapter) -> Vec<Launch> {
        vec![launch_vec4(shader!("gelu_new"), y[0])]
    }

    fn vjp(&self, g: &mut Graph, x: &[Value], _: &[Value], dy: &[Option<Value>]) -> Vec<Option<Value>> {
        let dy = dy[0].expect("the only output");
        vec![Some(g.push(GeluNewVjp, &[x[0], dy])[0])]
    }

    fn cost(&self, x: &[&Type], y: &[&Type]) -> Cost {
        Cost::new(10 * y[0].elements(), x, y)
    }

    fn bound(&self, x: &[Tensor], y: &[Tensor]) -> Vec<Vec<f64>> {
        per_element(|i, x, y| relative(x[0].as_f32()[i] as f64) * y.abs() + 16.0 * TINY)(x, y)
    }
}

/// dx = dy (s + x s (1 - s) 2 u') with s = 1 / (1 + exp(-2u)).
#[derive(Debug)]
pub struct GeluNewVjp;

impl Op for GeluNewVjp {
    fn name(&self) -> &'static str {
        "gelu_new_vjp"
    }

    fn types(&self, x: &[&Type]) -> Result<Vec<Type>, String> {
        alike(x)
    }

    fn cpu(&self, x: &[&Tensor], y: &mut [Tensor]) {
        zip(x[0], x[1], &mut y[0], |x, dy| dy * gelu_new_derivative(x));
    }

    fn launches(&self, _: &[&Type], y: &[&Type], _: &Adapter) -> Vec<Launch> {
        vec![launch_vec4(shader!("gelu_new_vjp"), y[0])]
    }

    fn vjp(&self, _: &mut Graph, _: &[Value], _: &[Value], _: &[Option<Value>]) -> Vec<Option<Value>> {
        not_differentiable(self)
    }

    fn cost(&self, x: &[&Type], y: &[&Type]) -> Cost {
        Cost::new(18 * y[0].elements(), x, y)
    }

    fn bound(&self, x: &[Tensor], y: &[Tensor]) -> Vec<Vec<f64>> {
        let bound = per_element(|i, x: &[Tensor], _| {
            let (x, dy) = (x[0].as_f32()[i] as f64, x[1].as_f32()[i] as f64);
            // Nothing grows beyond 10, and 1 - s is off by a unit of s.
            let x = x.clamp(-10.0, 10.0);
            let (v, slope) = twice_u(x);
            let (s, rest) = (1.0 / (1.0 + (-v).exp()), 1.0 / (1.0 + v.exp()));
            let terms = s + x.abs() * s * rest * slope;
            // s may be flushed to zero.
            let flushed = TINY * (1.0 + x.abs() * slope);
            dy.abs() * (2.0 * relative(x) * terms + 8.0 * U * x.abs() * s * slope + flushed) + TINY
        });
        bound(x, y)
    }
}

/// 2u and its derivative.
fn twice_u(x: f64) -> (f64, f64) {
    let factor = 2.0 * std::f64::consts::FRAC_2_PI.sqrt();
    (factor * (x + CUBIC * x * x * x), factor * (1.0 + 3.0 * CUBIC * x * x))
}

/// The definition. 1 + tanh(u) would lose the digits of small values.
pub fn gelu_new(x: f64) -> f64 {
    x / (1.0 + (-twice_u(x).0).exp())
}

fn gelu_new_derivative(x: f64) -> f64 {
    let (v, slope) = twice_u(x);
    let s = 1.0 / (1.0 + (-v).exp());
    let rest = 1.0 / (1.0 + v.exp());
    s + x * s * rest * slope
}

impl Graph {
    /// y = x (1 + tanh(sqrt(2/pi) (x + 0.044715 x³))) / 2, element by element.
    #[track_caller]
    pub fn gelu_new(&mut self, x: Value) -> Value {
        self.push(GeluNew, &[x])[0]
    }
}

/// The relative error of s: a rounded 2u goes through exp, which is accurate to 3 + 2|2u| units in the last place
/// (WGSL specification), then a sum and a division.
fn relative(x: f64) -> f64 {
    U * (20.0 + 12.0 * twice_u(x.clamp(-10.0, 10.0)).0.abs())
}

/// Cases of both kernels.
pub fn cases(draw: &mut Draw) -> Vec<Case> {
    draw.set_largest(1e38);
    let mut cases = vec![];
    for n in [1, 7, 256, 1030] {
        let (x, dy) = (draw.tensor(&[n]), draw.tensor(&[n]));
        cases.push(Case::of(format!("{n}"), GeluNew, vec![x.clone()]).wrt(&[0]));
        cases.push(Case::of(format!("{n}"), GeluNewVjp, vec![x, dy]));
    }
    let extreme = vec![0.0, -0.0, 1e-30, -1e-30, 9.9, -9.9, 90.0, -90.0, 1e30, -1e30, 3.4e38, -3.4e38];
    let extreme = Tensor::f32([12], extreme);
    cases.push(Case::of("extreme", GeluNew, vec![extreme.clone()]));
    cases.push(Case::of("extreme", GeluNewVjp, vec![extreme, draw.tensor(&[12])]));
    cases
}

/// Large cases of both kernels.
pub fn large() -> Vec<Large> {
    let x = || noise(&[4096, 2048]);
    vec![Large::new("4096x2048", GeluNew, [x()]), Large::new("4096x2048", GeluNewVjp, [x(), x()])]
}
