//! y = a, then b: two lists of words as one, so that a kernel binds one buffer for both

use crate::case::{Case, Draw, exact};
use crate::graph::{Graph, Value};
use crate::large::{Large, ids};
use crate::op::*;
use crate::shader;
use crate::tensor::{DType, Tensor, Type};

/// Two lists of u32 behind each other. Inputs: a (M), b (N); output (M + N).
#[derive(Debug)]
pub struct Concat;

impl Op for Concat {
    fn name(&self) -> &'static str {
        "concat"
    }

    fn types(&self, x: &[&Type]) -> Result<Vec<Type>, String> {
        match x.iter().all(|t| t.dims.len() == 1 && t.dtype == DType::U32) {
            true => Ok(vec![Type::u32([x[0].dims[0] + x[1].dims[0]])]),
            false => Err("lists of u32".into()),
        }
    }

    fn cpu(&self, x: &[&Tensor], y: &mut [Tensor]) {
        y[0].as_u32_mut().copy_from_slice(&[x[0].as_u32(), x[1].as_u32()].concat());
    }

    fn launches(&self, x: &[&Type], y: &[&Type], _: &Adapter) -> Vec<Launch> {
        let run = [x[0].elements() as u32, y[0].elements() as u32, 0, 0];
        vec![Launch::elements(shader!("concat"), y[0].elements(), run)]
    }

    fn vjp(&self, _: &mut Graph, _: &[Value], _: &[Value], _: &[Option<Value>]) -> Vec<Option<Value>> {
        not_differentiable(self)
    }

    fn cost(&self, x: &[&Type], y: &[&Type]) -> Cost {
        Cost::new(0, x, y)
    }

    fn bound(&self, x: &[Tensor], y: &[Tensor]) -> Vec<Vec<f64>> {
        exact()(x, y)
    }
}

impl Graph {
    /// The words of a (M), then those of b (N).
    #[track_caller]
    pub fn concat(&mut self, a: Value, b: Value) -> Value {
        self.push(Concat, &[a, b])[0]
    }
}

/// Cases of the kernel.
pub fn cases(draw: &mut Draw) -> Vec<Case> {
    let mut case = |m: usize, n: usize| {
        let (a, b) = (draw.ids(&[m], 1 << 31), draw.ids(&[n], 1 << 31));
        Case::new(format!("{m} and {n}"), Concat, vec![a, b], exact())
    };
    vec![case(1, 1), case(16, 5), case(3, 700)]
}

/// Large cases of the kernel.
pub fn large() -> Vec<Large> {
    vec![Large::new("16 and 64", Concat, [ids(&[16], 1 << 31), ids(&[64], 1 << 31)])]
}
