//! h' = cell(gates + W h + b, state) along a sequence: RNN, LSTM (Hochreiter and Schmidhuber 1997), GRU (Cho et al. 2014)

mod fast;
mod vjp;

use crate::case::{Case, Draw};
use crate::graph::{Graph, Value};
use crate::large::{Large, noise, positive, words};
use crate::op::*;
use crate::shader;
use crate::tensor::{DType, Tensor, Type};
use crate::ops::cell::four;
use crate::ops::cell::near::{self, Near};
pub use crate::ops::cell::Cell;
pub use vjp::RecurrenceVjp;

impl Cell {
    /// P: what the backward pass needs of a unit at a time: the h before, what the step kept, LSTM's c before.
    pub fn saved(self) -> usize {
        self.kept() + self.states()
    }
}

/// One layer in one direction over whole sequences. Inputs: gates (B, T, G·H), wᵀ (H, G·H), whose rows neighbouring threads
/// read side by side, b (G·H), state0 (B, S, H), lengths (B). Outputs: h (B, T, H), zero from a row's length on; state
/// (B, S, H) after the last real step; saved (P, B, T, H), for the backward pass.
#[derive(Clone, Copy, Debug)]
pub struct Recurrence {
    /// What is computed at every time.
    pub cell: Cell,
    /// From the last real step to the first.
    pub reverse: bool,
}

/// Rows of the batch that a thread has on a software adapter, where loads are the cost.
const ROWS: usize = 8;

/// The same on hardware where a dispatch takes one step, which has workgroups enough. A walk of many steps has one a row.
const ROWS_OF_A_STEP: usize = 4;

/// Rows of the smallest batch of which a thread has several: of fewer, most of a thread's would be nobody's.
const LEAST: usize = 3;

/// Most units whose weights a workgroup of hardware reads again at every step: they come out of a cache.
const CACHED: usize = 256;

/// Most steps, and most floating-point operations, in one dispatch of hardware: what runs for too long is ended by a
/// driver's watchdog.
const STEPS: usize = 512;
const WORK: usize = 10_000_000_000;

impl Recurrence {
    /// Batch, time and units.
    fn extents(&self, h: &Type) -> [usize; 3] {
        [h.dims[0], h.dims[1], h.dims[2]]
    }

    /// The candidates of a kernel that walks `steps` steps. Of its two shaders the first is for any H, the second for fours of
    /// units; `loops` is how often each one's loop over products runs for what a thread computes at a step.
    fn walks(
        &self,
        shaders: [Shader; 2],
        loops: [usize; 2],
        [b, t, h]: [usize; 3],
        steps: usize,
        adapter: &Adapter,
    ) -> Vec<Launch> {
        // Neither the order of additions nor, so, a row's bits depend on the batch.
        let several = |rows: usize| if b >= LEAST { rows } else { 1 };
        let [rows, rows_of_a_step] = match adapter.software {
            true => [several(ROWS); 2],
            false => [1, several(ROWS_OF_A_STEP)],
        };
        let quads = adapter.software && h.is_multiple_of(4);
        let (kind, wide) = if quads { (1, h / 4) } else { (0, h) };
        let candidate = |rows: usize, chunk: usize, lanes: usize, span: usize| {
            Launch::groups(shaders[kind], b.div_ceil(rows) * wide.div_ceil(span), [b as u32, t as u32, chunk as u32, 0])
                .tile("ROWS", rows as u32)
                .tile("LANES", lanes as u32)
                .constant("GATES", self.cell.gates() as f64)
                .constant("REVERSE", f64::from(self.reverse))
                .constant("H", h as f64)
                .constant("SPAN", span as f64)
                .steps(steps.div_ceil(chunk) as u32)
        };
        let [least, most] = if adapter.software { [8, 32] } else { [64, 64] };
        let lanes = wide.next_power_of_two().clamp(least, 256);
        let own = 1 + wide.div_ceil(lanes) * ((loops[kind] + 1) * (rows + 1) + rows * (self.cell.saved() + 1));
        let work = 2 * b * self.cell.gates() * h * h;
        let chunk = if adapter.software { SOFTWARE_ITERATIONS / own } else { WORK.div_ceil(work) }.min(steps).min(STEPS);
        let whole = (chunk > 0).then(|| candidate(rows, chunk, lanes, wide).variant("many steps a dispatch"));
        let lanes = lanes.min(most);
        let single = candidate(rows_of_a_step, 1, lanes, wide.min(lanes)).variant("a step a dispatch");
        let mut candidates: Vec<Launch> = whole.into_iter().chain([single]).collect();
        if !adapter.software && h > CACHED {
            candidates.reverse();
        }
        candidates
    }

    /// h, state and saved, with how far a kernel may be off.
    fn walk(&self, x: &[&Tensor]) -> [Vec<Near>; 3] {
        let [batch, time, wide] = x[0].ty().dims[..] else { unreachable!("types were checked") };
        let (g, states) = (self.cell.gates(), self.cell.states());
        let h = wide / g;
        let at = |i: usize, j: usize| Near::new(x[i].as_f32()[j]);
        let plane = batch * time * h;
        let mut out = vec![Near::ZERO; plane];
        let mut saved = vec![Near::ZERO; self.cell.saved() * plane];
        let mut state: Vec<Near> = (0..x[3].ty().elements()).map(|j| at(3, j)).collect();
        for (row, state) in state.chunks_mut(states * h).enumerate() {
            let length = time.min(x[4].as_u32()[row] as usize);
            for s in 0..length {
                let t = row * time + if self.reverse { length - 1 - s } else { s };
                let past = state.to_vec();
                for u in 0..h {
                    let q = four(g, |gate| {
                        let products = (0..h).map(|k| at(1, k * wide + gate * h + u) * past[k]);
                        near::sum(products) + at(2, gate * h + u)
                    });
                    let x = four(g, |gate| at(0, t * wide + gate * h + u));
                    let before = [past[u], past.get(h + u).copied().unwrap_or(Near::ZERO)];
                    let (after, keep) = self.cell.step(x, q, before);
                    (0..states).for_each(|s| state[s * h + u] = after[s]);
                    out[t * h + u] = after[0];
                    let all = [&before[..1], &keep[..self.cell.kept()], &before[1..states]].concat();
                    all.into_iter().enumerate().for_each(|(p, value)| saved[p * plane + t * h + u] = value);
                }
            }
        }
        [out, state, saved]
    }
}

impl Op for Recurrence {
    fn name(&self) -> &'static str {
        match self.cell {
            Cell::Rnn => "rnn",
            Cell::Gru => "gru",
            Cell::Lstm => "lstm",
        }
    }

    fn types(&self, x: &[&Type]) -> Result<Vec<Type>, String> {
        let (g, s) = (self.cell.gates(), self.cell.states());
        let [b, t, wide] = x[0].dims[..] else { return Err("gates are (B, T, G·H)".into()) };
        let h = wide / g;
        if wide % g != 0 || x[1].dims != [h, wide] || x[2].dims != [wide] {
            return Err(format!("{} has {g} gates: gates (B, T, {g} H), wT (H, {g} H), b ({g} H)", self.name()));
        }
        if x[3].dims != [b, s, h] || x[4].dims != [b] || x[4].dtype != DType::U32 {
            return Err(format!("a row of the batch starts from a state ({s}, H), and has a length"));
        }
        if h > 16_384 {
            return Err(format!("a layer has at most 16,384 units, not {h}"));
        }
        Ok(vec![Type::f32([b, t, h]), x[3].clone(), Type::f32([self.cell.saved(), b, t, h])])
    }

    fn cpu(&self, x: &[&Tensor], y: &mut [Tensor]) {
        near::fill(&self.walk(x), y);
    }

    fn cpu_fast(&self, x: &[&Tensor], y: &mut [Tensor]) {
        fast::forward(self, x, y);
    }

    fn launches(&self, _: &[&Type], y: &[&Type], adapter: &Adapter) -> Vec<Launch> {
        let shaders = [shader!("recurrence"), shader!("recurrence_quads")];
        let [b, t, h] = self.extents(y[0]);
        self.walks(shaders, [h, h / 4], [b, t, h], t, adapter)
    }

    fn vjp(&self, g: &mut Graph, x: &[Value], y: &[Value], dy: &[Option<Value>]) -> Vec<Option<Value>> {
        let mut cotangent = |i: usize| dy[i].unwrap_or_else(|| g.fill(0.0, &g.ty(y[i]).dims.clone()));
        let (dh, dstate) = (cotangent(0), cotangent(1));
        let [b, t, h] = self.extents(g.ty(y[0]));
        let wide = self.cell.gates() * h;
        let w = g.transpose(x[1]);
        let d = g.push(RecurrenceVjp(*self), &[w, y[2], x[4], dh, dstate]);
        let sides = g.ty(d[0]).dims[0];
        let of_x = g.rows(d[0], 0..1);
        let of_x = g.reshape(of_x, &[b, t, wide]);
        let recurrent = g.rows(d[0], sides - 1..sides);
        let recurrent = g.reshape(recurrent, &[b * t, wide]);
        let past = g.rows(y[2], 0..1);
        let past = g.reshape(past, &[b * t, h]);
        let dw = g.matmul(recurrent, past, true, false);
        let dw = g.transpose(dw);
        let db = g.column_sum(recurrent);
        vec![Some(of_x), Some(dw), Some(db), Some(d[1]), None]
    }

    fn cost(&self, x: &[&Type], y: &[&Type]) -> Cost {
        Cost::new(2 * x[0].elements() * y[0].cols(), x, y)
    }

    fn sequential_steps(&self, x: &[&Type]) -> usize {
        x[0].dims[1]
    }

    fn bound(&self, x: &[Tensor], _: &[Tensor]) -> Vec<Vec<f64>> {
        near::errors(&self.walk(&x.iter().collect::<Vec<_>>()))
    }
}

impl Graph {
    /// One layer in one direction: h (B, T, H), zero from a row's length on, and the state (B, S, H) after the last real
    /// step; of a single step by [`Graph::cell_step`]. `gates_x` (B, T, G·H) is x W_ihᵀ + b_ih, `w_hh` (G·H, H), `b_hh` (G·H)
    /// or none, `state0` (B, S, H), of LSTM h and then c, `lengths` (B). The order of gates is PyTorch's.
    #[track_caller]
    #[allow(clippy::too_many_arguments)]
    pub fn recurrence(
        &mut self,
        cell: Cell,
        gates_x: Value,
        w_hh: Value,
        b_hh: Option<Value>,
        state0: Value,
        lengths: Value,
        reverse: bool,
    ) -> (Value, Value) {
        let [batch, time, wide] = self.ty(gates_x).dims[..] else { panic!("gates are (B, T, G·H)") };
        if time == 1 {
            // Nothing waits for anything: the product has a kernel of its own, which needs no walk.
            let gates = self.reshape(gates_x, &[batch, wide]);
            let (h, state) = self.cell_step(cell, gates, w_hh, b_hh, state0, lengths);
            let units = self.ty(h).cols();
            return (self.reshape(h, &[batch, 1, units]), state);
        }
        let b = b_hh.unwrap_or_else(|| self.fill(0.0, &[wide]));
        let w = self.transpose(w_hh);
        let y = self.push(Recurrence { cell, reverse }, &[gates_x, w, b, state0, lengths]);
        (y[0], y[1])
    }
}

/// Cases of the kernels.
pub fn cases(draw: &mut Draw) -> Vec<Case> {
    // Five steps back multiply as many weights.
    draw.set_largest(1e3);
    let mut cases = vec![];
    for cell in [Cell::Rnn, Cell::Gru, Cell::Lstm] {
        for (lengths, t, h, reverse) in [
            (&[1][..], 1, 1, false),
            (&[5, 2, 0], 5, 7, false),
            (&[5, 2, 0], 5, 7, true),
            (&[3, 4], 4, 33, true),
            (&[6, 1, 3], 6, 64, false),
            (&[2, 3], 3, 130, true),
            (&[2, 1], 2, 300, false),
            (&[3, 0, 3, 2, 1, 3, 1, 2, 3], 3, 9, true),
            (&[3, 0, 3, 2, 1, 3, 1, 2, 3], 3, 12, true),
            (&[1, 1, 0, 1], 1, 256, false),
            // On software adapters several dispatches.
            (&[480, 20, 3], 480, 32, false),
        ] {
            let long = t > 100;
            if long && cell != Cell::Lstm {
                continue;
            }
            let op = Recurrence { cell, reverse };
            let (b, wide) = (lengths.len(), cell.gates() * h);
            let lengths = Tensor::u32([b], lengths.to_vec());
            let mut inputs = vec![draw.tensor(&[b, t, wide]), draw.tensor(&[h, wide]), draw.tensor(&[wide])];
            inputs.extend([draw.tensor(&[b, cell.states(), h]), lengths.clone()]);
            // So many weights of one are no smooth function of theirs.
            if draw.is_normal() {
                // After many steps errors would be as large as what they are errors of.
                let scale = if long { h as f32 } else { (h as f32).sqrt() };
                inputs[1].as_f32_mut().iter_mut().for_each(|w| *w /= scale);
            }
            let name = format!("{cell:?} B {b} T {t} H {h}{}", if reverse { " reverse" } else { "" });
            let w = inputs[1].clone().reshape([wide, h]);
            let mut case = Case::of(&name, op, inputs);
            if t * h < 256 {
                (case.results, case.wrt) = (vec![0, 1], vec![0, 1, 2, 3]);
            }
            let saved = case.definition().remove(2);
            cases.push(case);
            let (dh, dstate) = (draw.tensor(&[b, t, h]), draw.tensor(&[b, cell.states(), h]));
            cases.push(Case::of(name, RecurrenceVjp(op), vec![w, saved, lengths, dh, dstate]));
        }
    }
    cases
}

/// Large cases of the kernels.
pub fn large() -> Vec<Large> {
    let mut large = vec![];
    {
        let [b, t, h] = [32, 64, 128];
        let lengths = words(&vec![t as u32; b]);
        for cell in [Cell::Rnn, Cell::Gru, Cell::Lstm] {
            let op = Recurrence { cell, reverse: false };
            let (g, state) = (cell.gates() * h, || noise(&[b, cell.states(), h]));
            let forward = [noise(&[b, t, g]), noise(&[h, g]), noise(&[g]), state(), lengths.clone()];
            let name = format!("{cell:?} B {b} T {t} H {h}");
            let forward = Large::new(&name, op, forward);
            let saved = positive(&[cell.saved(), b, t, h]);
            let backward = [noise(&[g, h]), saved, lengths.clone(), noise(&[b, t, h]), state()];
            large.extend([forward, Large::new(name, RecurrenceVjp(op), backward)]);
        }
    }
    large
}

#[cfg(test)]
mod tests;
