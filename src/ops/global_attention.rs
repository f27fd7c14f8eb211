//! context = Σ_s softmax(score(q, k_s)) values_s, one head of any sizes: Bahdanau et al. 2015 (additive), Luong et al. 2015
//! (dot, where their "general" score has its matrix in q or k)

mod bound;
mod fast;
mod vjp;

use crate::case::{Case, Draw};
use crate::graph::{Graph, Value};
use crate::large::{Large, noise, words};
use crate::op::*;
use crate::ops::softmax::SoftmaxVjp;
use crate::shader;
use crate::tensor::{Tensor, Type};
pub use vjp::{GlobalAttentionKeyVjp, GlobalAttentionKeyVjpAdd, GlobalAttentionQueryVjp};

/// How well a query fits a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Score {
    /// v · tanh(q + k)
    Additive,
    /// q · k
    Dot,
}

/// Attention of every row of q over all keys below a length. Inputs: q (B, T, A), k (L, S, A), v (A), of which the dot score
/// reads nothing, values (L, S, C), lengths (L), line (B): row b reads line\[b\] of keys, values and lengths; where rows have
/// lines of their own, L = B and `line` is not read. Outputs: context (B, T, C), weights (B, T, S), zero from the length on.
/// A length of zero gives zeros.
#[derive(Clone, Copy, Debug)]
pub struct GlobalAttention {
    /// How well a query fits a key.
    pub score: Score,
    /// Whether rows say which line they read. There is no derivative then.
    pub lines: bool,
}

/// Which line a row of the batch reads.
fn line(op: &GlobalAttention, x: &[&Tensor], b: usize) -> usize {
    if op.lines { x[5].as_u32()[b] as usize } else { b }
}

impl GlobalAttention {
    /// The terms of the scores of a query's keys, whose sum each is.
    fn terms(&self, x: &[&Tensor], row: usize) -> Vec<Vec<f64>> {
        let [_, time, a] = x[0].ty().dims[..] else { unreachable!("types were checked") };
        let keys = x[1].ty().dims[1];
        let from = line(self, x, row / time);
        let q = &x[0].as_f32()[row * a..][..a];
        let one = |s: usize| -> Vec<f64> {
            let k = &x[1].as_f32()[(from * keys + s) * a..][..a];
            let pairs = q.iter().zip(k).map(|(&q, &k)| (q as f64, k as f64));
            match self.score {
                Score::Dot => pairs.map(|(q, k)| q * k).collect(),
                Score::Additive => pairs.zip(x[2].as_f32()).map(|((q, k), &v)| v as f64 * (q + k).tanh()).collect(),
            }
        };
        (0..keys.min(x[4].as_u32()[from] as usize)).map(one).collect()
    }

    fn weights(&self, x: &[&Tensor], row: usize) -> Vec<f64> {
        let scores: Vec<f64> = self.terms(x, row).iter().map(|terms| terms.iter().sum()).collect();
        let top = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let sum: f64 = scores.iter().map(|s| (s - top).exp()).sum();
        scores.iter().map(|s| (s - top).exp() / sum).collect()
    }
}

impl Op for GlobalAttention {
    fn name(&self) -> &'static str {
        "global_attention"
    }

    fn types(&self, x: &[&Type]) -> Result<Vec<Type>, String> {
        let [q, k, v, values, lengths, line] = x else { return Err("q, k, v, values, lengths and line".into()) };
        let ([b, t, a], [l, s, c]) = (&q.dims[..], &values.dims[..]) else {
            return Err("q is (B, T, A), values (L, S, C)".into());
        };
        let fits = **q == Type::f32([*b, *t, *a])
            && **k == Type::f32([*l, *s, *a])
            && **values == Type::f32([*l, *s, *c])
            && **lengths == Type::u32([*l])
            && (self.score == Score::Dot || **v == Type::f32([*a]))
            && if self.lines { **line == Type::u32([*b]) } else { l == b };
        match fits {
            true => Ok(vec![Type::f32([*b, *t, *c]), Type::f32([*b, *t, *s])]),
            false => Err("q is (B, T, A), k (L, S, A), v (A), values (L, S, C), lengths (L), line (B)".into()),
        }
    }

    fn cpu(&self, x: &[&Tensor], y: &mut [Tensor]) {
        let (time, keys, c) = (x[0].ty().dims[1], x[1].ty().dims[1], x[3].ty().cols());
        for row in 0..x[0].ty().rows() {
            let weights = self.weights(x, row);
            for (y, weight) in y[1].as_f32_mut()[row * keys..].iter_mut().zip(&weights) {
                *y = *weight as f32;
            }
            let values = &x[3].as_f32()[line(self, x, row / time) * keys * c..];
            for (j, y) in y[0].as_f32_mut()[row * c..][..c].iter_mut().enumerate() {
                *y = weights.iter().enumerate().map(|(s, w)| w * values[s * c + j] as f64).sum::<f64>() as f32;
            }
        }
    }

    fn cpu_fast(&self, x: &[&Tensor], y: &mut [Tensor]) {
        fast::forward(self, x, y);
    }

    fn launches(&self, x: &[&Type], _: &[&Type], adapter: &Adapter) -> Vec<Launch> {
        let (rows, time, keys) = (x[0].rows(), x[0].dims[1], x[1].dims[1]);
        let (a, c) = (x[0].cols(), x[3].cols());
        let candidate = |[lanes, width]: [usize; 2]| {
            let across = c.next_power_of_two().min(lanes);
            Launch::groups(shader!("global_attention"), rows, [rows as u32, time as u32, keys as u32, 0])
                .tile("LANES", lanes as u32)
                .constant("WIDTH", width as f64)
                .constant("ACROSS", across as f64)
                .constant("ADDITIVE", f64::from(self.score == Score::Additive))
                .constant("LINES", f64::from(self.lines))
                .constant("A", a as f64)
                .constant("C", c as f64)
                .variant(format!("{lanes} lanes, {width} a key"))
        };
        // Where loads are the cost a lane has a key to itself. Which comes first depends on the adapter alone, as a row's
        // bits shall: where it would not end, there is none.
        let lanes = if adapter.software { [[64, 1], [256, 32]] } else { [[256, 32], [64, 1]] };
        let ends = |[lanes, width]: [usize; 2]| {
            let scores = keys.div_ceil(lanes / width) * (a.div_ceil(4 * width) + 4 + width.ilog2() as usize);
            let context = c.div_ceil(lanes) * (keys.div_ceil(4) + 4 + lanes.ilog2() as usize);
            !adapter.software || scores + context + 4 * keys.div_ceil(lanes) + 64 <= SOFTWARE_ITERATIONS
        };
        if ends(lanes[0]) { lanes.into_iter().filter(|l| ends(*l)).map(candidate).collect() } else { vec![] }
    }

    fn vjp(&self, g: &mut Graph, x: &[Value], y: &[Value], dy: &[Option<Value>]) -> Vec<Option<Value>> {
        if self.lines {
            not_differentiable(self);
        }
        let [q, k, v, values, lengths, _] = x[..] else { unreachable!("types were checked") };
        let dweights = match (dy[0], dy[1]) {
            (Some(dcontext), Some(own)) => g.matmul_add(own, dcontext, values, false, true),
            (Some(dcontext), None) => g.matmul(dcontext, values, false, true),
            (None, own) => own.expect("one of the outputs has a cotangent"),
        };
        let dscores = g.push(SoftmaxVjp { scale: 1.0 }, &[y[1], dweights])[0];
        let dvalues = dy[0].map(|dcontext| g.matmul(y[1], dcontext, true, false));
        let (dq, dk, dv) = match self.score {
            Score::Dot => (g.matmul(dscores, k, false, false), g.matmul(dscores, q, true, false), None),
            Score::Additive => {
                let inputs = [q, k, v, lengths, dscores];
                let of_query = g.push(GlobalAttentionQueryVjp, &inputs);
                let dk = g.push(GlobalAttentionKeyVjp, &inputs)[0];
                (of_query[0], dk, Some(g.column_sum(of_query[1])))
            }
        };
        vec![Some(dq), Some(dk), dv, dvalues, None, None]
    }

    fn cost(&self, x: &[&Type], y: &[&Type]) -> Cost {
        // At most: what the lengths leave out is not known here.
        let each = match self.score {
            Score::Additive => 3 * x[0].cols(),
            Score::Dot => 2 * x[0].cols(),
        };
        let v = if self.score == Score::Additive { &x[2..3] } else { &[] };
        Cost::new(y[1].elements() * (each + 2 * x[3].cols()), &[&x[..2], v, &x[3..5]].concat(), y)
    }

    fn bound(&self, x: &[Tensor], y: &[Tensor]) -> Vec<Vec<f64>> {
        bound::bound(self, &x.iter().collect::<Vec<_>>(), y)
    }
}

impl Graph {
    /// Context (B, T, C) and weights (B, T, S) of queries q (B, T, A) over keys k (B, S, A) and values (B, S, C), of which
    /// row b has lengths\[b\]; v (A) of the additive score only. From a length on weights are zero; for the derivative
    /// values there must be finite.
    #[track_caller]
    pub fn global_attention(
        &mut self,
        score: Score,
        q: Value,
        k: Value,
        v: Option<Value>,
        values: Value,
        lengths: Value,
    ) -> (Value, Value) {
        assert_eq!(v.is_some(), score == Score::Additive, "{score:?}: v belongs to the additive score");
        let op = GlobalAttention { score, lines: false };
        let y = self.push(op, &[q, k, v.unwrap_or(q), values, lengths, lengths]);
        (y[0], y[1])
    }

    /// The same for decoding, with the same bits: row r of q (R, 1, A) reads line\[r\] of keys k (L, S, A), values (L, S, C)
    /// and lengths (L), so that hypotheses of one line share them. It has no derivative.
    #[track_caller]
    #[allow(clippy::too_many_arguments)]
    pub fn global_attention_of_lines(
        &mut self,
        score: Score,
        q: Value,
        k: Value,
        v: Option<Value>,
        values: Value,
        lengths: Value,
        line: Value,
    ) -> (Value, Value) {
        assert_eq!(v.is_some(), score == Score::Additive, "{score:?}: v belongs to the additive score");
        let y = self.push(GlobalAttention { score, lines: true }, &[q, k, v.unwrap_or(q), values, lengths, line]);
        (y[0], y[1])
    }
}

/// Cases of all kernels: lengths of nothing, of one key and of all.
pub fn cases(draw: &mut Draw) -> Vec<Case> {
    let mut cases = vec![];
    for score in [Score::Additive, Score::Dot] {
        for (lengths, t, s, a, c) in [
            (&[1][..], 1, 1, 1, 1),
            (&[5, 0, 2], 1, 5, 3, 4),
            (&[6, 1], 3, 6, 7, 5),
            (&[70, 33, 66], 2, 70, 4, 6),
            (&[9, 12], 1, 12, 130, 70),
            (&[3, 2], 2, 3, 33, 300),
        ] {
            let b = lengths.len();
            let name = format!("{score:?} B {b} T {t} S {s} A {a} C {c}");
            let [q, k] = [[b, t, a], [b, s, a]].map(|dims| draw.tensor(&dims));
            let v = draw.tensor(&[a]);
            let (values, lengths) = (draw.tensor(&[b, s, c]), Tensor::u32([b], lengths.to_vec()));
            let third = if score == Score::Additive { v.clone() } else { q.clone() };
            let inputs = vec![q.clone(), k.clone(), third, values, lengths.clone(), lengths.clone()];
            let mut case = Case::of(&name, GlobalAttention { score, lines: false }, inputs.clone());
            if a * s < 64 {
                case.wrt = if score == Score::Additive { vec![0, 1, 2, 3] } else { vec![0, 1, 3] };
                case.results = [vec![0], vec![1], vec![0, 1]][cases.len() % 3].clone();
                // Nothing depends on values through the weights alone.
                case.wrt.retain(|&input| input != 3 || case.results[0] == 0);
            }
            cases.push(case);
            let line = Tensor::u32([b], (0..b as u32).map(|row| row / 2).collect());
            let shared = [&inputs[..5], &[line]].concat();
            cases.push(Case::of(format!("{name} of lines"), GlobalAttention { score, lines: true }, shared));
            if score == Score::Additive {
                let inputs = vec![q, k.clone(), v, lengths, draw.tensor(&[b, t, s])];
                cases.push(Case::of(&name, GlobalAttentionQueryVjp, inputs.clone()));
                cases.push(Case::of(&name, GlobalAttentionKeyVjp, inputs.clone()));
                let inputs = [inputs, vec![draw.tensor(&[b, s, a])]].concat();
                cases.push(Case::of(&name, GlobalAttentionKeyVjpAdd, inputs));
            }
        }
    }
    cases
}

/// Large cases of all kernels: a step of a decoder, and a sequence of queries at once.
pub fn large() -> Vec<Large> {
    let mut large = vec![];
    for (b, t, s, a) in [(128, 1, 128, 1024), (32, 32, 64, 512)] {
        let (q, k, lengths) = (|| noise(&[b, t, a]), || noise(&[b, s, a]), || words(&vec![s as u32; b]));
        let name = |score: Score| format!("{score:?} B {b} T {t} S {s} A {a} C {a}");
        let op = |score: Score| GlobalAttention { score, lines: false };
        let inputs = [q(), k(), noise(&[a]), k(), lengths()];
        large.push(Large::new(name(Score::Additive), op(Score::Additive), inputs.clone()).again(4));
        let mut dot = Large::new(name(Score::Dot), op(Score::Dot), inputs[..2].to_vec()).again(0);
        dot.inputs.extend([k(), lengths()]);
        large.push(dot.again(4));
        let back = [q(), k(), noise(&[a]), lengths(), noise(&[b, t, s])];
        let name = format!("B {b} T {t} S {s} A {a}");
        large.push(Large::new(&name, GlobalAttentionQueryVjp, back.clone()));
        large.push(Large::new(&name, GlobalAttentionKeyVjp, back.clone()));
        let name = format!("{name} added");
        large.push(Large::new(name, GlobalAttentionKeyVjpAdd, [&back[..], &[k()]].concat()));
    }
    large
}

#[cfg(test)]
mod tests;
