//! h' = cell(x + q, state), a step whose products q = W h + b are known: RNN, LSTM (Hochreiter and Schmidhuber 1997), GRU (Cho
//! et al. 2014)

pub(super) mod near;
pub(super) mod number;
mod vjp;

use crate::case::{Case, Draw};
use crate::graph::{Graph, Value};
use crate::large::{Large, noise, positive, words};
use crate::op::*;
use crate::ops::matmul::Activation;
use crate::shader;
use crate::tensor::{DType, Tensor, Type};
use number::Number;
pub use vjp::CellStepVjp;

/// What is computed at every time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cell {
    /// h' = tanh(x + q)
    Rnn,
    /// h' = (1 - z) n + z h, n = tanh(x + r q), gates r, z, n.
    Gru,
    /// c' = f c + i g, h' = o tanh(c'), gates i, f, g, o.
    Lstm,
}

impl Cell {
    /// G: sums a unit.
    pub fn gates(self) -> usize {
        match self {
            Cell::Rnn => 1,
            Cell::Gru => 3,
            Cell::Lstm => 4,
        }
    }

    /// S: numbers a unit carries from one time to the next, h first.
    pub fn states(self) -> usize {
        if self == Cell::Lstm { 2 } else { 1 }
    }

    /// K: what a step computes on its way that the backward pass needs.
    pub(super) fn kept(self) -> usize {
        if self == Cell::Rnn { 1 } else { 4 }
    }

    /// F: kinds of cotangents of gates. Those of x and of q differ for GRU alone.
    pub(super) fn sides(self) -> usize {
        if self == Cell::Gru { 2 } else { 1 }
    }

    /// A step of one unit from its gates' sums, which are [`Number::ZERO`] beyond G: its state (h, c) after it, and K numbers
    /// that the backward pass needs.
    #[inline(always)]
    pub(super) fn step<N: Number>(self, x: [N; 4], q: [N; 4], [h, c]: [N; 2]) -> ([N; 2], [N; 4]) {
        let both = |gate: usize| x[gate] + q[gate];
        match self {
            Cell::Rnn => {
                let y = both(0).tanh();
                ([y, c], [y, N::ZERO, N::ZERO, N::ZERO])
            }
            Cell::Gru => {
                let (r, z) = (both(0).sigmoid(), both(1).sigmoid());
                let n = (x[2] + r * q[2]).tanh();
                ([(N::ONE - z) * n + z * h, c], [r, z, n, q[2]])
            }
            Cell::Lstm => {
                let (i, f, g, o) = (both(0).sigmoid(), both(1).sigmoid(), both(2).tanh(), both(3).sigmoid());
                let c = f * c + i * g;
                ([o * c.tanh(), c], [i, f, g, o])
            }
        }
    }

    /// Back through a step of one unit, from what it kept, the state before it and the cotangents of the state after it:
    /// those of x, of q, and of the state before but for what goes through q.
    #[inline(always)]
    pub(super) fn back<N: Number>(
        self,
        kept: [N; 4],
        [h, c]: [N; 2],
        [dh, dc]: [N; 2],
    ) -> ([N; 4], [N; 4], [N; 2]) {
        let (zero, one) = (N::ZERO, N::ONE);
        let slope = |y: N| y * (one - y);
        match self {
            Cell::Rnn => {
                let y = kept[0];
                let d = [dh * (one - y * y), zero, zero, zero];
                (d, d, [zero; 2])
            }
            Cell::Gru => {
                let [r, z, n, q] = kept;
                let dn = dh * (one - z) * (one - n * n);
                let (dr, dz) = (dn * (q * slope(r)), dh * (h - n) * slope(z));
                ([dr, dz, dn, zero], [dr, dz, dn * r, zero], [dh * z, zero])
            }
            Cell::Lstm => {
                let [i, f, g, o] = kept;
                let y = (f * c + i * g).tanh();
                let dc = dc + dh * o * (one - y * y);
                let d = [dc * g * slope(i), dc * c * slope(f), dc * i * (one - g * g), dh * y * slope(o)];
                (d, d, [zero, dc * f])
            }
        }
    }
}

/// A step of a batch. Inputs: gates (B, G·H), products (B, G·H), state0 (B, S, H), lengths (B), of which 0 leaves a row's state
/// as it is. Outputs: h (B, H), zero in such rows; state (B, S, H); kept (K, B, H), for the backward pass.
#[derive(Clone, Copy, Debug)]
pub struct CellStep(pub Cell);

/// Elements of a state (B, S, H) that belong to unit u of a row.
fn state_at(ty: &Type, row: usize, u: usize) -> impl Iterator<Item = usize> {
    let [_, states, h] = ty.dims[..] else { unreachable!("types were checked") };
    (0..states).map(move |s| (row * states + s) * h + u)
}

/// The two numbers of a unit's state; c is zero where the cell has none.
fn state_of<N: Number>(state: &Tensor, row: usize, u: usize) -> [N; 2] {
    let mut both = [N::ZERO; 2];
    both.iter_mut().zip(state_at(state.ty(), row, u)).for_each(|(to, i)| *to = N::new(state.as_f32()[i]));
    both
}

/// Some of four numbers, the rest of which are zero.
#[inline(always)]
pub(super) fn four<N: Number>(n: usize, at: impl Fn(usize) -> N) -> [N; 4] {
    std::array::from_fn(|i| if i < n { at(i) } else { N::ZERO })
}

impl CellStep {
    /// h, state and kept.
    fn run<N: Number>(&self, x: &[&Tensor]) -> Vec<Vec<N>> {
        let [batch, states, h] = x[2].ty().dims[..] else { unreachable!("types were checked") };
        let wide = self.0.gates() * h;
        let mut out = vec![N::ZERO; batch * h];
        let mut state = vec![N::ZERO; batch * states * h];
        let mut kept = vec![N::ZERO; self.0.kept() * batch * h];
        let [gates, products] = [0, 1].map(|i| x[i].as_f32());
        for (row, &length) in x[3].as_u32().iter().enumerate() {
            for u in 0..h {
                let mut after = state_of(x[2], row, u);
                if length > 0 {
                    let at = |of: &[f32]| four(self.0.gates(), |gate| N::new(of[row * wide + gate * h + u]));
                    let (state, keep) = self.0.step(at(gates), at(products), after);
                    (after, out[row * h + u]) = (state, state[0]);
                    (0..self.0.kept()).for_each(|k| kept[(k * batch + row) * h + u] = keep[k]);
                }
                state_at(x[2].ty(), row, u).zip(after).for_each(|(i, value)| state[i] = value);
            }
        }
        vec![out, state, kept]
    }
}

/// One thread per unit of a row of what has B, H and S.
fn per_unit(shader: Shader, cell: Cell, state: &Type) -> Launch {
    let (units, h) = (state.elements() / cell.states(), state.cols());
    Launch::groups(shader, units.div_ceil(256), [units as u32, h as u32, 0, 0]).constant("GATES", cell.gates() as f64)
}

impl Op for CellStep {
    fn name(&self) -> &'static str {
        match self.0 {
            Cell::Rnn => "rnn_cell",
            Cell::Gru => "gru_cell",
            Cell::Lstm => "lstm_cell",
        }
    }

    fn types(&self, x: &[&Type]) -> Result<Vec<Type>, String> {
        let (g, s) = (self.0.gates(), self.0.states());
        let [b, wide] = x[0].dims[..] else { return Err("gates are (B, G·H)".into()) };
        let h = wide / g;
        if wide % g != 0 || x[1] != x[0] || x[2].dims != [b, s, h] {
            return Err(format!("{} has {g} gates: gates and products (B, {g} H), state (B, {s}, H)", self.name()));
        }
        if x[3].dims != [b] || x[3].dtype != DType::U32 {
            return Err("a row of the batch has a length".into());
        }
        Ok(vec![Type::f32([b, h]), x[2].clone(), Type::f32([self.0.kept(), b, h])])
    }

    fn cpu(&self, x: &[&Tensor], y: &mut [Tensor]) {
        near::fill(&self.run(x), y);
    }

    fn cpu_fast(&self, x: &[&Tensor], y: &mut [Tensor]) {
        number::fill(self.run(x), y);
    }

    fn launches(&self, x: &[&Type], _: &[&Type], _: &Adapter) -> Vec<Launch> {
        vec![per_unit(shader!("cell"), self.0, x[2])]
    }

    fn vjp(&self, g: &mut Graph, x: &[Value], y: &[Value], dy: &[Option<Value>]) -> Vec<Option<Value>> {
        let mut cotangent = |i: usize| dy[i].unwrap_or_else(|| g.fill(0.0, &g.ty(y[i]).dims.clone()));
        let (dh, dstate) = (cotangent(0), cotangent(1));
        let d = g.push(CellStepVjp(self.0), &[y[2], x[2], x[3], dh, dstate]);
        let dims = g.ty(x[0]).dims.clone();
        let mut side = |i: usize| {
            let side = if self.0.sides() == 1 { d[0] } else { g.rows(d[0], i..i + 1) };
            g.reshape(side, &dims)
        };
        let of_x = side(0);
        let of_q = if self.0.sides() == 1 { of_x } else { side(1) };
        vec![Some(of_x), Some(of_q), Some(d[1]), None]
    }

    fn cost(&self, x: &[&Type], y: &[&Type]) -> Cost {
        Cost::new(10 * x[0].elements(), x, y)
    }

    fn bound(&self, x: &[Tensor], _: &[Tensor]) -> Vec<Vec<f64>> {
        near::errors(&self.run(&x.iter().collect::<Vec<_>>()))
    }
}

impl Graph {
    /// A step of a cell: h (B, H), zero where a row's length is 0, and the state (B, S, H), which stays there. `gates_x`
    /// (B, G·H) is x W_ihᵀ + b_ih, `w_hh` (G·H, H), `b_hh` (G·H) or none, `state` (B, S, H), `lengths` (B).
    #[track_caller]
    pub fn cell_step(
        &mut self,
        cell: Cell,
        gates_x: Value,
        w_hh: Value,
        b_hh: Option<Value>,
        state: Value,
        lengths: Value,
    ) -> (Value, Value) {
        let [b, s, h] = self.ty(state).dims[..] else { panic!("a state is (B, S, H), not {}", self.ty(state)) };
        let flat = self.reshape(state, &[b, s * h]);
        let past = if s == 1 { flat } else { self.columns(flat, 0..h) };
        let products = self.linear(past, w_hh, b_hh, Activation::None);
        let y = self.push(CellStep(cell), &[gates_x, products, state, lengths]);
        (y[0], y[1])
    }
}

/// Cases of both kernels.
pub fn cases(draw: &mut Draw) -> Vec<Case> {
    draw.set_largest(1e3);
    let mut cases = vec![];
    for cell in [Cell::Rnn, Cell::Gru, Cell::Lstm] {
        for (lengths, h) in [(&[1][..], 1), (&[1, 0, 3], 7), (&[0, 1], 130), (&[2, 0, 1, 1, 1], 64)] {
            let b = lengths.len();
            let lengths = Tensor::u32([b], lengths.to_vec());
            let gates = || [b, cell.gates() * h];
            let state = [b, cell.states(), h];
            let inputs = vec![draw.tensor(&gates()), draw.tensor(&gates()), draw.tensor(&state), lengths.clone()];
            let name = format!("{cell:?} B {b} H {h}");
            let mut case = Case::of(&name, CellStep(cell), inputs);
            (case.results, case.wrt) = (vec![0, 1], vec![0, 1, 2]);
            let (kept, state0) = (case.definition().remove(2), case.inputs[2].clone());
            cases.push(case);
            let cotangents = [draw.tensor(&[b, h]), draw.tensor(&state)];
            let inputs = [vec![kept, state0, lengths], cotangents.into()].concat();
            cases.push(Case::of(name, CellStepVjp(cell), inputs));
        }
    }
    cases
}

/// Large cases of both kernels.
pub fn large() -> Vec<Large> {
    let mut large = vec![];
    for (cell, b) in [(Cell::Rnn, 8192), (Cell::Gru, 4096), (Cell::Lstm, 4096)] {
        let h = 512;
        let (gates, state) = (|| noise(&[b, cell.gates() * h]), || noise(&[b, cell.states(), h]));
        let name = format!("{cell:?} B {b} H {h}");
        let lengths = words(&vec![1; b]);
        large.push(Large::new(&name, CellStep(cell), [gates(), gates(), state(), lengths.clone()]));
        let backward = [positive(&[cell.kept(), b, h]), state(), lengths, noise(&[b, h]), state()];
        large.push(Large::new(name, CellStepVjp(cell), backward));
    }
    large
}
