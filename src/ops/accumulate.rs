//! sum = x for the first micro-batch of a step, sum + x for those after it

use crate::case::{Case, Draw, ulps};
use crate::graph::{Graph, Value};
use crate::large::{Large, given, noise};
use crate::op::*;
use crate::shader;
use crate::tensor::{Tensor, Type};
use crate::step;

/// Adds up what the micro-batches of a step give. Inputs: sum (dims), x (dims), the step state; the output takes the
/// sum over.
#[derive(Debug)]
pub struct Accumulate;

impl Op for Accumulate {
    fn name(&self) -> &'static str {
        "accumulate"
    }

    fn types(&self, x: &[&Type]) -> Result<Vec<Type>, String> {
        match *x[2] == step::step_type() {
            true => alike(&x[..2]),
            false => Err("the third input is the step state".into()),
        }
    }

    fn cpu(&self, x: &[&Tensor], y: &mut [Tensor]) {
        match x[2].as_u32()[step::ADD] {
            0 => y[0].write(0, x[1]),
            _ => zip(x[0], x[1], &mut y[0], |sum, x| sum + x),
        }
    }

    fn launches(&self, x: &[&Type], _: &[&Type], _: &Adapter) -> Vec<Launch> {
        let n = x[0].elements();
        vec![Launch::elements(shader!("accumulate"), n.div_ceil(4), [n as u32, 0, 0, 0])]
    }

    fn vjp(&self, _: &mut Graph, _: &[Value], _: &[Value], _: &[Option<Value>]) -> Vec<Option<Value>> {
        not_differentiable(self)
    }

    fn cost(&self, x: &[&Type], y: &[&Type]) -> Cost {
        Cost::new(y[0].elements(), &x[..2], y)
    }

    fn bound(&self, x: &[Tensor], y: &[Tensor]) -> Vec<Vec<f64>> {
        ulps(1.0)(x, y)
    }

    fn in_place(&self) -> &'static [(usize, usize)] {
        &[(0, 0)]
    }
}

impl Graph {
    /// Stores a value in the range of a resident buffer that `sum` stands for: as it is in the first micro-batch of a
    /// step, added to what is there in the others.
    #[track_caller]
    pub fn accumulate(&mut self, sum: Value, x: Value, step: Value) {
        let after = self.push(Accumulate, &[sum, x, step])[0];
        self.store(after, sum);
    }
}

/// Cases of the kernel.
pub fn cases(draw: &mut Draw) -> Vec<Case> {
    draw.set_largest(1e38);
    let mut cases = vec![];
    for (dims, add) in [(&[1][..], 1), (&[3, 5], 0), (&[3, 5], 1), (&[2, 3, 171], 1), (&[1030], 0)] {
        let mut state = Tensor::zeros(&step::step_type());
        state.as_u32_mut()[step::ADD] = add;
        let mut sum = draw.tensor(dims);
        if add == 0 {
            sum.as_f32_mut()[0] = f32::NAN;
        }
        let name = format!("{dims:?}, {}", ["replaced", "added"][add as usize]);
        cases.push(Case::new(name, Accumulate, vec![sum, draw.tensor(dims), state], ulps(1.0)));
    }
    cases
}

/// Large cases of the kernel.
pub fn large() -> Vec<Large> {
    let mut state = Tensor::zeros(&step::step_type());
    state.as_u32_mut()[step::ADD] = 1;
    vec![Large::new("4096x2048, added", Accumulate, [noise(&[4096, 2048]), noise(&[4096, 2048]), given(state)])]
}
