//! `y[c, r] = x[r, c]`

use crate::case::{Case, Draw, exact};
use crate::graph::{Graph, Source, Value};
use crate::large::{Large, noise};
use crate::op::*;
use crate::shader;
use crate::tensor::{Tensor, Type};

/// A matrix (R, C) with rows and columns exchanged: (C, R).
#[derive(Debug)]
pub struct Transpose;

impl Op for Transpose {
    fn name(&self) -> &'static str {
        "transpose"
    }

    fn types(&self, x: &[&Type]) -> Result<Vec<Type>, String> {
        match x[0].dims[..] {
            [r, c] if *x[0] == Type::f32([r, c]) => Ok(vec![Type::f32([c, r])]),
            _ => Err("x is (R, C), of floats".into()),
        }
    }

    fn cpu(&self, x: &[&Tensor], y: &mut [Tensor]) {
        let (rows, columns) = (x[0].ty().rows(), x[0].ty().cols());
        for (c, y) in y[0].as_f32_mut().chunks_mut(rows).enumerate() {
            y.iter_mut().enumerate().for_each(|(r, y)| *y = x[0].as_f32()[r * columns + c]);
        }
    }

    fn launches(&self, x: &[&Type], _: &[&Type], _: &Adapter) -> Vec<Launch> {
        let (r, c) = (x[0].rows(), x[0].cols());
        vec![Launch::groups(shader!("transpose"), r.div_ceil(32) * c.div_ceil(32), [r as u32, c as u32, 0, 0])]
    }

    fn vjp(&self, g: &mut Graph, _: &[Value], _: &[Value], dy: &[Option<Value>]) -> Vec<Option<Value>> {
        vec![Some(g.transpose(dy[0].expect("the only output")))]
    }

    fn cost(&self, x: &[&Type], y: &[&Type]) -> Cost {
        Cost::new(0, x, y)
    }

    fn bound(&self, x: &[Tensor], y: &[Tensor]) -> Vec<Vec<f64>> {
        exact()(x, y)
    }
}

impl Graph {
    /// A matrix (R, C) with rows and columns exchanged. That of a transpose is the matrix that it was made of.
    #[track_caller]
    pub fn transpose(&mut self, x: Value) -> Value {
        if let Source::Node { node, .. } = *self.source(x) {
            let node = &self.nodes()[node];
            if node.op.name() == Transpose.name() {
                return node.inputs[0];
            }
        }
        self.push_once(Transpose, &[x])[0]
    }
}

/// Cases of the kernel.
pub fn cases(draw: &mut Draw) -> Vec<Case> {
    let case = |dims: [usize; 2]| Case::of(format!("{}x{}", dims[0], dims[1]), Transpose, vec![draw.tensor(&dims)]);
    [[1, 1], [1, 70], [33, 2], [64, 31], [130, 65]].map(case).map(|case| case.wrt(&[0])).into()
}

/// Large cases of the kernel.
pub fn large() -> Vec<Large> {
    vec![Large::new("8192x1024", Transpose, [noise(&[8192, 1024])])]
}
