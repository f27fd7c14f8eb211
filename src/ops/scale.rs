//! y = s x, with a constant s

use crate::case::{Case, Draw, TINY, U, per_element};
use crate::graph::{Graph, Value};
use crate::large::{Large, noise};
use crate::op::*;
use crate::shader;
use crate::tensor::{Tensor, Type};

/// y = s x, with a constant s.
#[derive(Debug)]
pub struct Scale(pub f32);

impl Op for Scale {
    fn name(&self) -> &'static str {
        "scale"
    }

    fn types(&self, x: &[&Type]) -> Result<Vec<Type>, String> {
        alike(x)
    }

    fn cpu(&self, x: &[&Tensor], y: &mut [Tensor]) {
        map(x[0], &mut y[0], |x| self.0 as f64 * x);
    }

    fn launches(&self, _: &[&Type], y: &[&Type], _: &Adapter) -> Vec<Launch> {
        vec![launch_vec4(shader!("scale"), y[0]).constant("SCALE", self.0.into())]
    }

    fn vjp(&self, g: &mut Graph, _: &[Value], _: &[Value], dy: &[Option<Value>]) -> Vec<Option<Value>> {
        vec![Some(g.scale(dy[0].expect("the only output"), self.0))]
    }

    fn cost(&self, x: &[&Type], y: &[&Type]) -> Cost {
        Cost::new(y[0].elements(), x, y)
    }

    fn bound(&self, x: &[Tensor], y: &[Tensor]) -> Vec<Vec<f64>> {
        let scale = self.0.abs() as f64;
        per_element(move |_, _, y| U * y.abs() + scale * TINY)(x, y)
    }
}

impl Graph {
    /// y = s x, with a constant s.
    #[track_caller]
    pub fn scale(&mut self, x: Value, s: f32) -> Value {
        self.push(Scale(s), &[x])[0]
    }
}

/// Cases of the kernel.
pub fn cases(draw: &mut Draw) -> Vec<Case> {
    draw.set_largest(1e36);
    let case = |(n, s): (usize, f32)| Case::of(format!("{n} by {s}"), Scale(s), vec![draw.tensor(&[n])]).wrt(&[0]);
    [(1, 2.0), (7, -0.3), (1030, 11.313708)].map(case).into()
}

/// Large cases of the kernel.
pub fn large() -> Vec<Large> {
    vec![Large::new("4096x2048", Scale(0.5), [noise(&[4096, 2048])])]
}
