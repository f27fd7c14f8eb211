//! The walk back through time.

use super::{Cell, Near, Recurrence, fast, four, near};
use crate::graph::{Graph, Value};
use crate::op::*;
use crate::shader;
use crate::tensor::{Tensor, Type};

/// Cotangents of the gates and of state0 from those of h and of the final state. Inputs: w (G·H, H), saved (P, B, T, H),
/// lengths (B), dh (B, T, H), dstate (B, S, H). Outputs: dgates (F, B, T, G·H), of GRU (F = 2) those of the gates' x and
/// then those of W h + b, elsewhere one for both; dstate0 (B, S, H).
#[derive(Debug)]
pub struct RecurrenceVjp(pub Recurrence);

impl RecurrenceVjp {
    fn walk(&self, x: &[&Tensor]) -> [Vec<Near>; 2] {
        let Recurrence { cell, reverse } = self.0;
        let [batch, time, h] = x[3].ty().dims[..] else { unreachable!("types were checked") };
        let (wide, states, plane) = (cell.gates() * h, cell.states(), batch * time * h);
        let sides = cell.sides();
        let at = |i: usize, j: usize| Near::new(x[i].as_f32()[j]);
        let mut dgates = vec![Near::ZERO; sides * batch * time * wide];
        let mut carry: Vec<Near> = (0..x[4].ty().elements()).map(|j| at(4, j)).collect();
        for (row, carry) in carry.chunks_mut(states * h).enumerate() {
            let length = time.min(x[2].as_u32()[row] as usize);
            for s in (0..length).rev() {
                let t = row * time + if reverse { length - 1 - s } else { s };
                let mut through = vec![Near::ZERO; h];
                let mut recurrent = vec![Near::ZERO; wide];
                for u in 0..h {
                    let saved = |p: usize| at(1, p * plane + t * h + u);
                    let kept = four(cell.kept(), |k| saved(k + 1));
                    let past = [saved(0), if states == 2 { saved(cell.saved() - 1) } else { Near::ZERO }];
                    let dc = if states == 2 { carry[h + u] } else { Near::ZERO };
                    let (of_x, of_h, before) = cell.back(kept, past, [at(3, t * h + u) + carry[u], dc]);
                    for gate in 0..cell.gates() {
                        dgates[t * wide + gate * h + u] = of_x[gate];
                        recurrent[gate * h + u] = of_h[gate];
                    }
                    through[u] = before[0];
                    if states == 2 {
                        carry[h + u] = before[1];
                    }
                }
                for u in 0..h {
                    let products = (0..wide).map(|j| recurrent[j] * at(0, j * h + u));
                    carry[u] = near::sum(products) + through[u];
                }
                if sides == 2 {
                    let from = (batch * time + t) * wide;
                    dgates[from..from + wide].copy_from_slice(&recurrent);
                }
            }
        }
        [dgates, carry]
    }
}

impl Op for RecurrenceVjp {
    fn name(&self) -> &'static str {
        match self.0.cell {
            Cell::Rnn => "rnn_vjp",
            Cell::Gru => "gru_vjp",
            Cell::Lstm => "lstm_vjp",
        }
    }

    fn types(&self, x: &[&Type]) -> Result<Vec<Type>, String> {
        let [b, t, h] = x[3].dims[..] else { return Err("dh is (B, T, H)".into()) };
        let cell = self.0.cell;
        let fits = *x[0] == Type::f32([cell.gates() * h, h])
            && *x[1] == Type::f32([cell.saved(), b, t, h])
            && *x[2] == Type::u32([b])
            && *x[4] == Type::f32([b, cell.states(), h]);
        if !fits {
            return Err("w is (G·H, H), saved (P, B, T, H), lengths (B), dh (B, T, H), dstate (B, S, H)".into());
        }
        Ok(vec![Type::f32([self.0.cell.sides(), b, t, self.0.cell.gates() * h]), x[4].clone()])
    }

    fn cpu(&self, x: &[&Tensor], y: &mut [Tensor]) {
        near::fill(&self.walk(x), y);
    }

    fn cpu_fast(&self, x: &[&Tensor], y: &mut [Tensor]) {
        fast::backward(&self.0, x, y);
    }

    fn launches(&self, x: &[&Type], _: &[&Type], adapter: &Adapter) -> Vec<Launch> {
        let shaders = [shader!("recurrence_vjp"), shader!("recurrence_quads_vjp")];
        let [b, t, h] = self.0.extents(x[3]);
        self.0.walks(shaders, [h, (self.0.cell.gates() * h / 4).div_ceil(2)], [b, t, h], t + 1, adapter)
    }

    fn vjp(&self, _: &mut Graph, _: &[Value], _: &[Value], _: &[Option<Value>]) -> Vec<Option<Value>> {
        not_differentiable(self)
    }

    fn cost(&self, x: &[&Type], y: &[&Type]) -> Cost {
        Cost::new(2 * x[3].elements() * self.0.cell.gates() * x[3].cols(), x, y)
    }

    fn sequential_steps(&self, x: &[&Type]) -> usize {
        x[3].dims[1]
    }

    fn bound(&self, x: &[Tensor], _: &[Tensor]) -> Vec<Vec<f64>> {
        near::errors(&self.walk(&x.iter().collect::<Vec<_>>()))
    }
}
