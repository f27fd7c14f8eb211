//! y = x: the planner's answer when a kernel would overwrite what is still needed

use crate::case::{Case, Draw, exact};
use crate::graph::{Graph, Value};
use crate::large::{Large, noise};
use crate::op::*;
use crate::shader;
use crate::tensor::{Tensor, Type};

/// y = x.
#[derive(Debug)]
pub struct Copy;

impl Op for Copy {
    fn name(&self) -> &'static str {
        "copy"
    }

    fn types(&self, x: &[&Type]) -> Result<Vec<Type>, String> {
        alike(x)
    }

    fn cpu(&self, x: &[&Tensor], y: &mut [Tensor]) {
        y[0].write(0, x[0]);
    }

    fn launches(&self, _: &[&Type], y: &[&Type], _: &Adapter) -> Vec<Launch> {
        let n = y[0].bytes() / 4;
        vec![Launch::elements(shader!("copy"), n, [n as u32, 0, 0, 0])]
    }

    fn vjp(&self, _: &mut Graph, _: &[Value], _: &[Value], dy: &[Option<Value>]) -> Vec<Option<Value>> {
        dy.into()
    }

    fn cost(&self, x: &[&Type], y: &[&Type]) -> Cost {
        Cost::new(0, x, y)
    }

    fn bound(&self, x: &[Tensor], y: &[Tensor]) -> Vec<Vec<f64>> {
        exact()(x, y)
    }
}

/// Cases of the kernel.
pub fn cases(draw: &mut Draw) -> Vec<Case> {
    draw.set_largest(1e38);
    [1, 6, 1030].map(|n| Case::new(format!("{n}"), Copy, vec![draw.tensor(&[n])], exact()).wrt(&[0])).into()
}

/// Large cases of the kernel.
pub fn large() -> Vec<Large> {
    vec![Large::new("8 Mi", Copy, [noise(&[8 << 20])])]
}
