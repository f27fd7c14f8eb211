//! y = a constant, or one element repeated

use crate::case::{Case, Draw, exact};
use crate::graph::{Graph, Value};
use crate::large::{Large, noise};
use crate::op::*;
use crate::shader;
use crate::tensor::{Tensor, Type};

/// A tensor of one constant.
#[derive(Debug)]
pub struct Fill {
    /// The constant.
    pub value: f32,
    /// Dimensions of the result.
    pub dims: Vec<usize>,
}

impl Op for Fill {
    fn name(&self) -> &'static str {
        "fill"
    }

    fn types(&self, _: &[&Type]) -> Result<Vec<Type>, String> {
        Ok(vec![Type::f32(self.dims.clone())])
    }

    fn cpu(&self, _: &[&Tensor], y: &mut [Tensor]) {
        y[0].as_f32_mut().fill(self.value);
    }

    fn launches(&self, _: &[&Type], y: &[&Type], _: &Adapter) -> Vec<Launch> {
        vec![launch_vec4(shader!("fill"), y[0]).constant("VALUE", self.value.into())]
    }

    fn vjp(&self, _: &mut Graph, _: &[Value], _: &[Value], _: &[Option<Value>]) -> Vec<Option<Value>> {
        vec![]
    }

    fn cost(&self, x: &[&Type], y: &[&Type]) -> Cost {
        Cost::new(0, x, y)
    }

    fn bound(&self, x: &[Tensor], y: &[Tensor]) -> Vec<Vec<f64>> {
        exact()(x, y)
    }
}

/// `y[i] = x[0]`: one element repeated.
#[derive(Debug)]
pub struct Expand {
    /// Dimensions of the result.
    pub dims: Vec<usize>,
}

impl Op for Expand {
    fn name(&self) -> &'static str {
        "expand"
    }

    fn types(&self, x: &[&Type]) -> Result<Vec<Type>, String> {
        match x[0].elements() {
            1 => Ok(vec![Type::f32(self.dims.clone())]),
            _ => Err("only one element can be repeated".into()),
        }
    }

    fn cpu(&self, x: &[&Tensor], y: &mut [Tensor]) {
        y[0].as_f32_mut().fill(x[0].as_f32()[0]);
    }

    fn launches(&self, _: &[&Type], y: &[&Type], _: &Adapter) -> Vec<Launch> {
        vec![launch_vec4(shader!("expand"), y[0])]
    }

    fn vjp(&self, g: &mut Graph, x: &[Value], _: &[Value], dy: &[Option<Value>]) -> Vec<Option<Value>> {
        let dx = g.sum(dy[0].expect("the only output"));
        let dims = g.ty(x[0]).dims.clone();
        vec![Some(g.reshape(dx, &dims))]
    }

    fn cost(&self, x: &[&Type], y: &[&Type]) -> Cost {
        Cost::new(0, x, y)
    }

    fn bound(&self, x: &[Tensor], y: &[Tensor]) -> Vec<Vec<f64>> {
        exact()(x, y)
    }
}

impl Graph {
    /// A tensor of one constant.
    pub fn fill(&mut self, value: f32, dims: &[usize]) -> Value {
        let y = self.push(Fill { value, dims: dims.into() }, &[])[0];
        self.set_constant(y, value);
        y
    }

    /// One element repeated; a known constant stays one.
    #[track_caller]
    pub fn expand(&mut self, x: Value, dims: &[usize]) -> Value {
        match self.constant(x) {
            Some(value) => self.fill(value, dims),
            None => self.push(Expand { dims: dims.into() }, &[x])[0],
        }
    }

    /// Whether this value is known to be all ones: the cotangent that a loss starts from.
    pub fn is_ones(&self, v: Value) -> bool {
        self.constant(v) == Some(1.0)
    }
}

/// Cases of both kernels.
pub fn cases(draw: &mut Draw) -> Vec<Case> {
    draw.set_largest(1e38);
    let mut cases = vec![];
    for n in [1, 7, 1030] {
        cases.push(Case::new(format!("{n}"), Fill { value: -1.5, dims: vec![n] }, vec![], exact()));
        cases.push(Case::of(format!("expand {n}"), Expand { dims: vec![n] }, vec![draw.tensor(&[1])]).wrt(&[0]));
    }
    cases
}

/// Large cases of both kernels.
pub fn large() -> Vec<Large> {
    let dims = vec![16 << 20];
    vec![
        Large::new("16 Mi", Fill { value: -1.5, dims: dims.clone() }, []),
        Large::new("16 Mi", Expand { dims }, [noise(&[1])]),
    ]
}
