//! y = a + b

use crate::case::{Case, Draw, ulps};
use crate::graph::{Graph, Value};
use crate::large::{Large, noise};
use crate::op::*;
use crate::shader;
use crate::tensor::{Tensor, Type};

/// y = a + b, element by element.
#[derive(Debug)]
pub struct Add;

impl Op for Add {
    fn name(&self) -> &'static str {
        "add"
    }

    fn types(&self, x: &[&Type]) -> Result<Vec<Type>, String> {
        alike(x)
    }

    fn cpu(&self, x: &[&Tensor], y: &mut [Tensor]) {
        zip(x[0], x[1], &mut y[0], |a, b| a + b);
    }

    fn launches(&self, _: &[&Type], y: &[&Type], _: &Adapter) -> Vec<Launch> {
        vec![launch_vec4(shader!("add"), y[0])]
    }

    fn vjp(&self, _: &mut Graph, _: &[Value], _: &[Value], dy: &[Option<Value>]) -> Vec<Option<Value>> {
        vec![dy[0], dy[0]]
    }

    fn cost(&self, x: &[&Type], y: &[&Type]) -> Cost {
        Cost::new(y[0].elements(), x, y)
    }

    fn bound(&self, x: &[Tensor], y: &[Tensor]) -> Vec<Vec<f64>> {
        ulps(1.0)(x, y)
    }
}

impl Graph {
    /// y = a + b, element by element.
    #[track_caller]
    pub fn add(&mut self, a: Value, b: Value) -> Value {
        self.push(Add, &[a, b])[0]
    }
}

/// Cases of the kernel.
pub fn cases(draw: &mut Draw) -> Vec<Case> {
    draw.set_largest(1e38);
    let case = |dims: &[usize]| {
        Case::new(format!("{dims:?}"), Add, vec![draw.tensor(dims), draw.tensor(dims)], ulps(1.0)).wrt(&[0, 1])
    };
    [&[1][..], &[3, 5], &[257], &[2, 3, 171]].map(case).into()
}

/// Large cases of the kernel.
pub fn large() -> Vec<Large> {
    vec![Large::new("4096x2048", Add, [noise(&[4096, 2048]), noise(&[4096, 2048])])]
}
