//! y = max(x, 0)

use crate::case::{Case, Draw, TINY, exact, per_element};
use crate::graph::{Graph, Value};
use crate::large::{Large, noise};
use crate::op::*;
use crate::shader;
use crate::tensor::{Tensor, Type};

/// y = max(x, 0), element by element.
#[derive(Debug)]
pub struct Relu;

impl Op for Relu {
    fn name(&self) -> &'static str {
        "relu"
    }

    fn types(&self, x: &[&Type]) -> Result<Vec<Type>, String> {
        alike(x)
    }

    fn cpu(&self, x: &[&Tensor], y: &mut [Tensor]) {
        map(x[0], &mut y[0], relu);
    }

    fn launches(&self, _: &[&Type], y: &[&Type], _: &Adapter) -> Vec<Launch> {
        vec![launch_vec4(shader!("relu"), y[0])]
    }

    fn vjp(&self, g: &mut Graph, _: &[Value], y: &[Value], dy: &[Option<Value>]) -> Vec<Option<Value>> {
        let dy = dy[0].expect("the only output");
        vec![Some(g.push(ReluVjp, &[y[0], dy])[0])]
    }

    fn cost(&self, x: &[&Type], y: &[&Type]) -> Cost {
        Cost::new(y[0].elements(), x, y)
    }

    fn bound(&self, x: &[Tensor], y: &[Tensor]) -> Vec<Vec<f64>> {
        per_element(|_, _, _| 0.0)(x, y)
    }
}

/// dx = dy where y > 0, else 0.
#[derive(Debug)]
pub struct ReluVjp;

impl Op for ReluVjp {
    fn name(&self) -> &'static str {
        "relu_vjp"
    }

    fn types(&self, x: &[&Type]) -> Result<Vec<Type>, String> {
        alike(x)
    }

    fn cpu(&self, x: &[&Tensor], y: &mut [Tensor]) {
        zip(x[0], x[1], &mut y[0], |y, dy| if y > 0.0 { dy } else { 0.0 });
    }

    fn launches(&self, _: &[&Type], y: &[&Type], _: &Adapter) -> Vec<Launch> {
        vec![launch_vec4(shader!("relu_vjp"), y[0])]
    }

    fn vjp(&self, _: &mut Graph, _: &[Value], _: &[Value], _: &[Option<Value>]) -> Vec<Option<Value>> {
        not_differentiable(self)
    }

    fn cost(&self, x: &[&Type], y: &[&Type]) -> Cost {
        Cost::new(y[0].elements(), x, y)
    }

    fn bound(&self, x: &[Tensor], y: &[Tensor]) -> Vec<Vec<f64>> {
        // The sign of a number that is flushed to zero is lost.
        let bound = per_element(|i, x: &[Tensor], _| {
            let y = x[0].as_f32()[i] as f64;
            if y > 0.0 && y < TINY { x[1].as_f32()[i].abs() as f64 } else { 0.0 }
        });
        bound(x, y)
    }
}

/// The definition.
pub fn relu(x: f64) -> f64 {
    if x < 0.0 { 0.0 } else { x }
}

impl Graph {
    /// y = max(x, 0), element by element.
    #[track_caller]
    pub fn relu(&mut self, x: Value) -> Value {
        self.push(Relu, &[x])[0]
    }
}

/// Cases of both kernels.
pub fn cases(draw: &mut Draw) -> Vec<Case> {
    draw.set_largest(1e38);
    let mut cases = vec![];
    for n in [1, 7, 256, 1030] {
        // Finite differences must not step over 0, where there is no derivative; the extreme case goes there.
        let away = if draw.is_normal() { 0.05f32 } else { 0.0 };
        let x = Tensor::f32([n], draw.tensor(&[n]).as_f32().iter().map(|x| x + away.copysign(*x)).collect());
        let mut y = x.clone();
        map(&x, &mut y, relu);
        let dy = draw.tensor(&[n]);
        cases.push(Case::of(format!("{n}"), Relu, vec![x]).wrt(&[0]));
        cases.push(Case::of(format!("{n}"), ReluVjp, vec![y, dy]));
    }
    let extreme = Tensor::f32([8], vec![0.0, -0.0, 1e-30, -1e-30, 90.0, -90.0, 1e30, -1e30]);
    cases.push(Case::new("extreme", Relu, vec![extreme], exact()));
    cases
}

/// Large cases of both kernels.
pub fn large() -> Vec<Large> {
    let x = || noise(&[4096, 2048]);
    vec![Large::new("4096x2048", Relu, [x()]), Large::new("4096x2048", ReluVjp, [x(), x()])]
}
