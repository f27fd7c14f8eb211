//! y = sum of x

use crate::case::{Case, Draw, TINY, gamma};
use crate::graph::{Graph, Value};
use crate::large::{Large, noise};
use crate::op::*;
use crate::shader;
use crate::tensor::{Tensor, Type};

/// The sum of all elements, as one element.
#[derive(Debug)]
pub struct Sum;

impl Op for Sum {
    fn name(&self) -> &'static str {
        "sum"
    }

    fn types(&self, _: &[&Type]) -> Result<Vec<Type>, String> {
        Ok(vec![Type::f32([1])])
    }

    fn cpu(&self, x: &[&Tensor], y: &mut [Tensor]) {
        y[0].as_f32_mut()[0] = x[0].as_f32().iter().map(|&x| x as f64).sum::<f64>() as f32;
    }

    fn launches(&self, x: &[&Type], _: &[&Type], adapter: &Adapter) -> Vec<Launch> {
        let launch = |lanes: u32| {
            Launch::groups(shader!("sum"), 1, [x[0].elements() as u32, 0, 0, 0])
                .constant("LANES", lanes.into())
                .variant(format!("{lanes} lanes"))
        };
        match adapter.software {
            true if x[0].elements() > SOFTWARE_ITERATIONS => vec![launch(64)],
            true => vec![launch(1), launch(64)],
            false => vec![launch(64), launch(1)],
        }
    }

    fn vjp(&self, g: &mut Graph, x: &[Value], _: &[Value], dy: &[Option<Value>]) -> Vec<Option<Value>> {
        let dims = g.ty(x[0]).dims.clone();
        vec![Some(g.expand(dy[0].expect("the only output"), &dims))]
    }

    fn cost(&self, x: &[&Type], y: &[&Type]) -> Cost {
        Cost::new(x[0].elements(), x, y)
    }

    fn bound(&self, x: &[Tensor], _: &[Tensor]) -> Vec<Vec<f64>> {
        let each = gamma(x[0].ty().elements());
        vec![vec![x[0].as_f32().iter().map(|x| each * x.abs() as f64 + TINY).sum::<f64>() + TINY]]
    }
}

impl Graph {
    /// The sum of all elements, as one element.
    #[track_caller]
    pub fn sum(&mut self, x: Value) -> Value {
        self.push(Sum, &[x])[0]
    }
}

/// Cases of the kernel.
pub fn cases(draw: &mut Draw) -> Vec<Case> {
    draw.set_largest(1e33);
    let case = |n: usize| Case::of(format!("{n}"), Sum, vec![draw.tensor(&[n])]).wrt(&[0]);
    [1, 63, 65, 1030, 70_000].map(case).into()
}

/// Large cases of the kernel.
pub fn large() -> Vec<Large> {
    vec![Large::new("1 Mi", Sum, [noise(&[1 << 20])]), Large::new("4096", Sum, [noise(&[4096])])]
}
