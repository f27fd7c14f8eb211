//! `log[slot] = (loss, nll, norm, go)`: what the host reads every few steps

use crate::case::{Case, Draw, exact};
use crate::graph::{Graph, Value};
use crate::large::{Large, given, noise};
use crate::op::*;
use crate::shader;
use crate::tensor::{Tensor, Type};
use crate::step;

/// Numbers of a log slot: loss, nll, gradient norm, go.
pub const COLUMNS: usize = 4;

/// Writes the numbers of one step into a ring of slots. Inputs: log (slots, 4), loss (1), nll (1), step; the output
/// takes the log over.
#[derive(Debug)]
pub struct Record;

impl Op for Record {
    fn name(&self) -> &'static str {
        "record"
    }

    fn types(&self, x: &[&Type]) -> Result<Vec<Type>, String> {
        match x[0].dims.len() == 2 && x[0].cols() == COLUMNS {
            true => Ok(vec![x[0].clone()]),
            false => Err("the log is (slots, 4)".into()),
        }
    }

    fn cpu(&self, x: &[&Tensor], y: &mut [Tensor]) {
        y[0].write(0, x[0]);
        let state = x[3].as_u32();
        let slot = state[step::SLOT] as usize % x[0].ty().dims[0];
        let row = [x[1].as_f32()[0], x[2].as_f32()[0], f32::from_bits(state[step::NORM]), state[step::GO] as f32];
        y[0].as_f32_mut()[slot * COLUMNS..(slot + 1) * COLUMNS].copy_from_slice(&row);
    }

    fn launches(&self, x: &[&Type], _: &[&Type], _: &Adapter) -> Vec<Launch> {
        vec![Launch::groups(shader!("record"), 1, [x[0].dims[0] as u32, 0, 0, 0])]
    }

    fn vjp(&self, _: &mut Graph, _: &[Value], _: &[Value], _: &[Option<Value>]) -> Vec<Option<Value>> {
        not_differentiable(self)
    }

    fn cost(&self, _: &[&Type], _: &[&Type]) -> Cost {
        Cost { flops: 0, bytes: 32 }
    }

    fn bound(&self, x: &[Tensor], y: &[Tensor]) -> Vec<Vec<f64>> {
        exact()(x, y)
    }

    fn in_place(&self) -> &'static [(usize, usize)] {
        &[(0, 0)]
    }
}

impl Graph {
    /// The log with this step's row written.
    #[track_caller]
    pub fn record(&mut self, log: Value, loss: Value, nll: Value, step: Value) -> Value {
        self.push(Record, &[log, loss, nll, step])[0]
    }
}

/// Cases of the kernel.
pub fn cases(draw: &mut Draw) -> Vec<Case> {
    draw.set_largest(1e38);
    let case = |slot: u32| {
        let mut state = Tensor::zeros(&step::step_type());
        state.as_u32_mut()[step::SLOT] = slot;
        state.as_u32_mut()[step::NORM] = 2.5f32.to_bits();
        state.as_u32_mut()[step::GO] = 1;
        let inputs = vec![draw.tensor(&[3, COLUMNS]), draw.tensor(&[1]), draw.tensor(&[1]), state];
        Case::new(format!("slot {slot} of 3"), Record, inputs, exact())
    };
    [0, 2, 7].map(case).into()
}

/// Large cases of the kernel.
pub fn large() -> Vec<Large> {
    let step = given(Tensor::zeros(&step::step_type()));
    vec![Large::new("64 slots", Record, [noise(&[64, COLUMNS]), noise(&[1]), noise(&[1]), step])]
}
