//! `y[r, c] = x[r, c] + b[c]`

use crate::case::{Case, Draw, ulps};
use crate::graph::{Graph, Value};
use crate::large::{Large, noise};
use crate::op::*;
use crate::shader;
use crate::tensor::{Tensor, Type};

/// `y[r, c] = x[r, c] + b[c]`.
#[derive(Debug)]
pub struct Bias;

impl Op for Bias {
    fn name(&self) -> &'static str {
        "bias"
    }

    fn types(&self, x: &[&Type]) -> Result<Vec<Type>, String> {
        match x[1].dims == [x[0].cols()] {
            true => Ok(vec![x[0].clone()]),
            false => Err("one bias per column".into()),
        }
    }

    fn cpu(&self, x: &[&Tensor], y: &mut [Tensor]) {
        let c = x[0].ty().cols();
        for (i, y) in y[0].as_f32_mut().iter_mut().enumerate() {
            *y = x[0].as_f32()[i] + x[1].as_f32()[i % c];
        }
    }

    fn launches(&self, _: &[&Type], y: &[&Type], _: &Adapter) -> Vec<Launch> {
        let run = [y[0].elements() as u32, y[0].cols() as u32, 0, 0];
        vec![Launch::elements(shader!("bias"), y[0].elements(), run)]
    }

    fn vjp(&self, g: &mut Graph, _: &[Value], _: &[Value], dy: &[Option<Value>]) -> Vec<Option<Value>> {
        let dy = dy[0].expect("the only output");
        vec![Some(dy), Some(g.column_sum(dy))]
    }

    fn cost(&self, x: &[&Type], y: &[&Type]) -> Cost {
        Cost::new(y[0].elements(), x, y)
    }

    fn bound(&self, x: &[Tensor], y: &[Tensor]) -> Vec<Vec<f64>> {
        ulps(1.0)(x, y)
    }
}

impl Graph {
    /// `y[r, c] = x[r, c] + b[c]`.
    #[track_caller]
    pub fn bias(&mut self, x: Value, b: Value) -> Value {
        self.push(Bias, &[x, b])[0]
    }
}

/// Cases of the kernel.
pub fn cases(draw: &mut Draw) -> Vec<Case> {
    draw.set_largest(1e38);
    let case = |(rows, c): (usize, usize)| {
        Case::new(format!("{rows}x{c}"), Bias, vec![draw.tensor(&[rows, c]), draw.tensor(&[c])], ulps(1.0)).wrt(&[0, 1])
    };
    [(1, 1), (3, 5), (130, 7), (2, 300)].map(case).into()
}

/// Large cases of the kernel.
pub fn large() -> Vec<Large> {
    vec![Large::new("4096x2048", Bias, [noise(&[4096, 2048]), noise(&[2048])])]
}
