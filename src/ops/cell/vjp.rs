//! A step back.

use super::number::{self, Number};
use super::{Cell, four, near, per_unit, state_at, state_of};
use crate::graph::{Graph, Value};
use crate::op::*;
use crate::shader;
use crate::tensor::{Tensor, Type};

/// Cotangents of a step's inputs from those of h and of the state. Inputs: kept (K, B, H), state0 (B, S, H), lengths (B),
/// dh (B, H), dstate (B, S, H). Outputs: dgates (F, B, G·H), of GRU (F = 2) those of the gates and then those of the products,
/// elsewhere one for both; dstate0 (B, S, H), but for what goes through the products.
#[derive(Clone, Copy, Debug)]
pub struct CellStepVjp(pub Cell);

impl CellStepVjp {
    fn run<N: Number>(&self, x: &[&Tensor]) -> Vec<Vec<N>> {
        let cell = self.0;
        let [batch, _, h] = x[1].ty().dims[..] else { unreachable!("types were checked") };
        let wide = cell.gates() * h;
        let mut dgates = vec![N::ZERO; cell.sides() * batch * wide];
        let mut dstate0 = vec![N::ZERO; x[1].ty().elements()];
        for (row, &length) in x[2].as_u32().iter().enumerate() {
            for u in 0..h {
                let mut cotangent: [N; 2] = state_of(x[4], row, u);
                if length > 0 {
                    let kept = four(cell.kept(), |k| N::new(x[0].as_f32()[(k * batch + row) * h + u]));
                    let dh = N::new(x[3].as_f32()[row * h + u]) + cotangent[0];
                    let (of_x, of_q, before) = cell.back(kept, state_of(x[1], row, u), [dh, cotangent[1]]);
                    for (side, d) in [of_x, of_q].into_iter().take(cell.sides()).enumerate() {
                        let to = (side * batch + row) * wide + u;
                        (0..cell.gates()).for_each(|gate| dgates[to + gate * h] = d[gate]);
                    }
                    cotangent = before;
                }
                state_at(x[1].ty(), row, u).zip(cotangent).for_each(|(i, d)| dstate0[i] = d);
            }
        }
        vec![dgates, dstate0]
    }
}

impl Op for CellStepVjp {
    fn name(&self) -> &'static str {
        match self.0 {
            Cell::Rnn => "rnn_cell_vjp",
            Cell::Gru => "gru_cell_vjp",
            Cell::Lstm => "lstm_cell_vjp",
        }
    }

    fn types(&self, x: &[&Type]) -> Result<Vec<Type>, String> {
        let [b, s, h] = x[1].dims[..] else { return Err("state0 is (B, S, H)".into()) };
        let fits = s == self.0.states()
            && *x[0] == Type::f32([self.0.kept(), b, h])
            && *x[2] == Type::u32([b])
            && *x[3] == Type::f32([b, h])
            && x[4] == x[1];
        if !fits {
            return Err("kept is (K, B, H), state0 and dstate (B, S, H), lengths (B), dh (B, H)".into());
        }
        Ok(vec![Type::f32([self.0.sides(), b, self.0.gates() * h]), x[1].clone()])
    }

    fn cpu(&self, x: &[&Tensor], y: &mut [Tensor]) {
        near::fill(&self.run(x), y);
    }

    fn cpu_fast(&self, x: &[&Tensor], y: &mut [Tensor]) {
        number::fill(self.run(x), y);
    }

    fn launches(&self, x: &[&Type], _: &[&Type], _: &Adapter) -> Vec<Launch> {
        vec![per_unit(shader!("cell_vjp"), self.0, x[1])]
    }

    fn vjp(&self, _: &mut Graph, _: &[Value], _: &[Value], _: &[Option<Value>]) -> Vec<Option<Value>> {
        not_differentiable(self)
    }

    fn cost(&self, x: &[&Type], y: &[&Type]) -> Cost {
        Cost::new(8 * self.0.gates() * x[3].elements(), x, y)
    }

    fn bound(&self, x: &[Tensor], _: &[Tensor]) -> Vec<Vec<f64>> {
        near::errors(&self.run(&x.iter().collect::<Vec<_>>()))
    }
}
