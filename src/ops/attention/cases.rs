//! Cases of the four kernels, and how far each may be from its definition.

use super::vjp::{Row, row};
use super::{Attention, AttentionKeyVjp, AttentionQueryVjp, AttentionStatistics, Extents};
use crate::case::{Bound, Case, Draw, TINY, U, gamma};
use crate::ops::dropout::Dropout;
use crate::step::step_type;
use crate::tensor::Tensor;

/// Σ|a||b|
fn magnitude(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(a, b)| (a * b).abs() as f64).sum()
}

/// Σ|a|
fn total(a: &[f32]) -> f64 {
    a.iter().map(|a| a.abs() as f64).sum()
}

/// How far exp(min(x, 0)) moves when x does.
fn movement(x: f64, slip: f64) -> f64 {
    (x + slip).min(0.0).exp() - (x - slip).min(0.0).exp()
}

/// Relative error of exp(x): the argument's absolute error, its subtraction, and (3 + 2|x|) units in the last place (WGSL
/// specification). Below e^-110 nothing is left of the result.
fn exp_error(x: f64, argument: f64) -> f64 {
    let reach = x.abs().min(110.0);
    argument + U * (2.0 * (3.0 + 2.0 * reach) + reach)
}

/// The error of a score is γ(D) Σ|q||k|; of its exponential and of the sum of them, that of the largest. Rescaling by a
/// running maximum adds an exponential per block of keys, whose arguments add up to no more than the reach of the scores.
pub(super) fn forward_bound(op: Attention) -> Bound {
    Box::new(move |x, y| {
        let e = Extents::new(x[0].ty(), x[1].ty(), op.heads);
        let flushed = TINY * (2.0 + 2.0 * op.dropout.scale() as f64);
        let [mut o, mut lse] = [vec![flushed; y[0].ty().elements()], vec![TINY; y[1].ty().elements()]];
        for index in 0..e.batches * e.heads {
            for t in 0..e.queries {
                let seen = op.seen(&x[3], index / e.heads, t, e.keys);
                let q = e.query(&x[0], index, t);
                let lengths: Vec<f64> = (0..seen).map(|s| op.scale as f64 * magnitude(q, e.key(&x[1], index, s))).collect();
                let largest = lengths.iter().copied().fold(0.0, f64::max);
                let slip = gamma(e.size + 2) * largest;
                let have = y[1].as_f32()[index * e.queries + t] as f64;
                let scores: Vec<f64> =
                    (0..seen).map(|s| op.scale as f64 * super::dot(q, e.key(&x[1], index, s))).collect();
                let reach = scores.iter().map(|s| (s - have).abs().min(110.0)).fold(0.0, f64::max);
                let blocks = e.keys.div_ceil(32) as f64;
                let relative = 2.0 * exp_error(2.0 * reach, slip) + 16.0 * U * (blocks + 1.0) + 2.0 * gamma(e.keys);
                let kept = op.kept(&x[3], index, t, e.keys);
                for (s, score) in scores.iter().enumerate() {
                    let weight = (score - have).min(0.0).exp() * kept[s];
                    // Scores so large that their roundings reorder them.
                    let moved = if slip > 1e-3 { kept[s] * movement(score - have, 2.0 * slip) } else { 0.0 };
                    for (c, v) in e.key(&x[2], index, s).iter().enumerate() {
                        o[e.row(index, t, e.queries) + c] += (relative * weight + moved + 64.0 * TINY) * v.abs() as f64;
                    }
                }
                // log is accurate to 2^-21 near one and 3 units in the last place elsewhere.
                lse[index * e.queries + t] += slip + relative + 8.0 * U + 8.0 * U * (have.abs() + largest);
            }
        }
        vec![o, lse]
    })
}

/// Absolute errors of P and dS of one row, from those of the scores, of their exponentials, and of dP.
fn row_errors(op: &Attention, x: &[&Tensor], e: &Extents, index: usize, t: usize, row: &Row) -> Vec<[f64; 2]> {
    let at = 2 * (index * e.queries + t);
    let (lse, delta) = (x[4].as_f32()[at] as f64, x[4].as_f32()[at + 1].abs() as f64);
    let one = |s: usize| {
        let length = op.scale as f64 * magnitude(e.query(x[0], index, t), e.key(x[1], index, s));
        let argument = gamma(e.size + 3) * length + 2.0 * U * lse.abs();
        let relative = exp_error(row.p[s].max(1e-48).ln(), argument);
        let d_p = row.kept[s] * magnitude(e.query(x[3], index, t), e.key(x[2], index, s));
        let p = (row.p[s] * relative).max(movement(row.argument[s], argument));
        // A weight is at most one, and what it is multiplied by and added to is rounded as always.
        let p = p.min(1.0) * (1.0 + gamma(e.queries + e.keys + 8)) + 64.0 * TINY;
        let inputs = total(e.query(x[3], index, t)) + total(e.key(x[2], index, s));
        let flushed = TINY * (row.kept[s] * (inputs + e.size as f64) + 2.0);
        let slip = row.p[s] * (gamma(e.size + 4) * d_p + 4.0 * U * delta + flushed);
        // The product with the scale is what is flushed.
        let product = 2.0 * TINY / op.scale.min(1.0) as f64;
        [p, slip + p * (d_p + delta) + 4.0 * U * row.d_s[s].abs() + product]
    };
    (0..row.p.len()).map(one).collect()
}

pub(super) fn query_bound(op: Attention) -> Bound {
    Box::new(move |x, y| {
        let e = Extents::new(x[0].ty(), x[1].ty(), op.heads);
        let refs: Vec<&Tensor> = x.iter().collect();
        let mut bounds = vec![TINY; y[0].ty().elements()];
        for index in 0..e.batches * e.heads {
            for t in 0..e.queries {
                let row = row(&op, &refs, &e, index, t);
                for (s, [_, error]) in row_errors(&op, &refs, &e, index, t, &row).into_iter().enumerate() {
                    let slip = op.scale as f64 * (error + gamma(e.keys + 4) * row.d_s[s].abs());
                    let flushed = TINY * (1.0 + op.scale as f64 * row.d_s[s].abs());
                    for (c, k) in e.key(&x[1], index, s).iter().enumerate() {
                        bounds[e.row(index, t, e.queries) + c] += slip * k.abs() as f64 + flushed;
                    }
                }
            }
        }
        vec![bounds]
    })
}

pub(super) fn key_bound(op: Attention) -> Bound {
    Box::new(move |x, y| {
        let e = Extents::new(x[0].ty(), x[1].ty(), op.heads);
        let refs: Vec<&Tensor> = x.iter().collect();
        let mut bounds = vec![vec![TINY; y[0].ty().elements()]; 2];
        for index in 0..e.batches * e.heads {
            for t in 0..e.queries {
                let row = row(&op, &refs, &e, index, t);
                for (s, [p, d_s]) in row_errors(&op, &refs, &e, index, t, &row).into_iter().enumerate() {
                    let slip_k = op.scale as f64 * (d_s + gamma(e.queries + 4) * row.d_s[s].abs());
                    let slip_v = row.kept[s] * (p + gamma(e.queries + 4) * row.p[s]);
                    for c in 0..e.size {
                        let at = e.row(index, s, e.keys) + c;
                        let flushed_k = TINY * (1.0 + op.scale as f64 * row.d_s[s].abs());
                        let flushed_v = TINY * (1.0 + row.kept[s] * row.p[s]);
                        bounds[0][at] += slip_k * e.query(&x[0], index, t)[c].abs() as f64 + flushed_k;
                        bounds[1][at] += slip_v * e.query(&x[3], index, t)[c].abs() as f64 + flushed_v;
                    }
                }
            }
        }
        bounds
    })
}

pub(super) fn statistics_bound(heads: usize) -> Bound {
    Box::new(move |x, _| {
        let e = Extents::new(x[0].ty(), x[0].ty(), heads);
        let row = |row: usize| {
            let (index, t) = (row / e.queries, row % e.queries);
            let (o, d_o) = (e.query(&x[0], index, t), e.query(&x[1], index, t));
            [0.0, gamma(e.size + 1) * magnitude(o, d_o) + TINY * (total(o) + total(d_o) + e.size as f64)]
        };
        vec![(0..e.batches * e.heads * e.queries).flat_map(row).collect()]
    })
}

/// B, H, T, S, D, lengths, causal, probability of dropout.
type Shape<'a> = ([usize; 5], &'a [u32], bool, f32);

const SHAPES: [Shape; 15] = [
    ([1, 1, 1, 1, 1], &[1], false, 0.0),
    ([2, 3, 5, 7, 3], &[7, 3], false, 0.3),
    ([3, 2, 6, 6, 4], &[6, 0, 4], true, 0.5),
    ([2, 2, 33, 37, 16], &[37, 0], false, 0.1),
    ([1, 2, 40, 40, 32], &[40], true, 0.0),
    ([2, 1, 35, 35, 64], &[35, 18], true, 0.1),
    ([1, 1, 20, 150, 20], &[141], false, 0.2),
    ([1, 1, 150, 20, 8], &[19], false, 0.2),
    ([1, 1, 9, 33, 128], &[33], false, 0.0),
    ([2, 1, 17, 40, 100], &[40, 33], true, 0.1),
    ([1, 1, 34, 5, 132], &[99], false, 0.1),
    ([1, 2, 40, 17, 8], &[17], true, 0.1),
    ([1, 1, 3, 35, 260], &[35], true, 0.1),
    ([1, 1, 5, 34, 257], &[34], false, 0.0),
    ([1, 32, 2, 3, 4], &[2], false, 0.1),
];

/// Cases of the four kernels: every mask, head sizes that fill a tile and that do not, blocks that end inside.
pub fn cases(draw: &mut Draw) -> Vec<Case> {
    // Gradients are products of four inputs.
    draw.set_largest(1e8);
    let mut cases = vec![];
    for ([batch, heads, t, s, d], lengths, causal, p) in SHAPES {
        let mut step = Tensor::zeros(&step_type());
        step.as_u32_mut()[..2].copy_from_slice(&[7, draw.below(1000) as u32]);
        let words = if p > 0.0 { [step.as_u32(), lengths].concat() } else { lengths.to_vec() };
        let mask = Tensor::u32([words.len()], words);
        let option = if causal { " causal" } else { "" };
        let name = format!("B {batch} H {heads} T {t} S {s} D {d} lengths {lengths:?}{option} p {p}");
        let scale = 1.0 / (d as f32).sqrt();
        let op = || Attention { heads, scale, causal, dropout: Dropout { p, site: 99 } };
        for (factor, note) in [(1.0, ""), (40.0, ", peaked")] {
            let mut normal = |rows: usize, factor: f32| {
                let tensor = draw.tensor(&[batch, rows, heads * d]);
                Tensor::f32(tensor.ty().dims.clone(), tensor.as_f32().iter().map(|x| factor * x).collect())
            };
            let (q, k, v, d_o) = (normal(t, factor), normal(s, factor), normal(s, 1.0), normal(t, 1.0));
            let name = format!("{name}{note}");
            let inputs = vec![q.clone(), k.clone(), v.clone(), mask.clone()];
            let mut case = Case::new(&name, op(), inputs, forward_bound(op()));
            if factor == 1.0 {
                case = case.wrt(&[0, 1, 2]);
            }
            let y = case.definition();
            cases.push(case);
            let inputs = vec![y[0].clone(), d_o.clone(), y[1].clone()];
            let case = Case::new(&name, AttentionStatistics { heads }, inputs, statistics_bound(heads));
            let statistics = case.definition().swap_remove(0);
            cases.push(case);
            let inputs = vec![q, k, v, d_o, statistics, mask.clone()];
            cases.push(Case::new(&name, AttentionQueryVjp(op()), inputs.clone(), query_bound(op())));
            cases.push(Case::new(&name, AttentionKeyVjp(op()), inputs, key_bound(op())));
        }
    }
    cases
}
