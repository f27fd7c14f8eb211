//! The backward pass in two walks, each of which recomputes the weights: over keys for dq, over queries for dk and dv.

use super::{Attention, Extents, cases, dot, fast};
use crate::graph::{Graph, Value};
use crate::op::*;
use crate::shader;
use crate::tensor::{Tensor, Type};

/// (lse, delta) per row of a head, delta = Σ do o. Inputs: o (B, T, C), do (B, T, C), lse (B, H, T); output (B, H, T, 2).
#[derive(Debug)]
pub struct AttentionStatistics {
    /// H.
    pub heads: usize,
}

impl Op for AttentionStatistics {
    fn name(&self) -> &'static str {
        "attention_statistics"
    }

    fn types(&self, x: &[&Type]) -> Result<Vec<Type>, String> {
        match x[0] == x[1] && x[2].dims == [x[0].dims[0], self.heads, x[0].dims[1]] {
            true => Ok(vec![Type::f32([&x[2].dims[..], &[2]].concat())]),
            false => Err("o and do are (B, T, C), lse (B, H, T)".into()),
        }
    }

    fn cpu(&self, x: &[&Tensor], y: &mut [Tensor]) {
        let e = Extents::new(x[0].ty(), x[0].ty(), self.heads);
        for (row, y) in y[0].as_f32_mut().chunks_mut(2).enumerate() {
            let (index, t) = (row / e.queries, row % e.queries);
            y[0] = x[2].as_f32()[row];
            y[1] = dot(e.query(x[0], index, t), e.query(x[1], index, t)) as f32;
        }
    }

    fn launches(&self, x: &[&Type], _: &[&Type], adapter: &Adapter) -> Vec<Launch> {
        let e = Extents::new(x[0], x[0], self.heads);
        let rows = e.batches * e.heads * e.queries;
        let launches = Launch::rows(shader!("attention_statistics"), rows, [rows, e.size, e.queries, 0].map(|n| n as u32), adapter);
        launches.into_iter().map(|l| l.constant("HEADS", e.heads as f64)).collect()
    }

    fn vjp(&self, _: &mut Graph, _: &[Value], _: &[Value], _: &[Option<Value>]) -> Vec<Option<Value>> {
        not_differentiable(self)
    }

    fn cost(&self, x: &[&Type], y: &[&Type]) -> Cost {
        Cost::new(2 * x[0].elements(), x, y)
    }

    fn bound(&self, x: &[Tensor], y: &[Tensor]) -> Vec<Vec<f64>> {
        cases::statistics_bound(self.heads)(x, y)
    }
}

/// dq. Inputs: q, k, v, do, statistics, mask; see [`Attention`].
#[derive(Debug)]
pub struct AttentionQueryVjp(pub Attention);

/// dk and dv. Inputs: q, k, v, do, statistics, mask; see [`Attention`].
#[derive(Debug)]
pub struct AttentionKeyVjp(pub Attention);

/// P and dS of one row of one head, over the keys that it sees; `kept` is what dropout multiplies by. P is exp(s q k - lse),
/// which is at most one but for roundings: where scores are so large that these matter, it is taken to be one.
pub(super) struct Row {
    /// s q k - lse
    pub argument: Vec<f64>,
    pub p: Vec<f64>,
    pub d_s: Vec<f64>,
    pub kept: Vec<f64>,
}

/// Recomputes a row from the inputs of either walk.
pub(super) fn row(op: &Attention, x: &[&Tensor], e: &Extents, index: usize, t: usize) -> Row {
    let [q, k, v, d_o, statistics, mask] = x else { unreachable!("six inputs") };
    let at = 2 * (index * e.queries + t);
    let (lse, delta) = (statistics.as_f32()[at] as f64, statistics.as_f32()[at + 1] as f64);
    let kept = op.kept(mask, index, t, e.keys);
    let seen = op.seen(mask, index / e.heads, t, e.keys);
    let score = |s: usize| op.scale as f64 * dot(e.query(q, index, t), e.key(k, index, s));
    let argument: Vec<f64> = (0..seen).map(|s| score(s) - lse).collect();
    let p: Vec<f64> = argument.iter().map(|a| a.min(0.0).exp()).collect();
    let d_p = |s: usize| kept[s] * dot(e.query(d_o, index, t), e.key(v, index, s));
    let d_s = (0..seen).map(|s| p[s] * (d_p(s) - delta)).collect();
    Row { argument, p, d_s, kept }
}

/// Whether the inputs of a walk fit.
fn check(op: &Attention, x: &[&Type]) -> Result<(), String> {
    let [q, k, v, d_o, statistics, mask] = x else { return Err("q, k, v, do, statistics, mask".into()) };
    op.check(&[q, k, v, mask])?;
    match d_o == q && statistics.dims == [q.dims[0], op.heads, q.dims[1], 2] {
        true => Ok(()),
        false => Err("do is like q, the statistics are (B, H, T, 2)".into()),
    }
}

impl Op for AttentionQueryVjp {
    fn name(&self) -> &'static str {
        "attention_query_vjp"
    }

    fn types(&self, x: &[&Type]) -> Result<Vec<Type>, String> {
        check(&self.0, x)?;
        Ok(vec![x[0].clone()])
    }

    fn cpu(&self, x: &[&Tensor], y: &mut [Tensor]) {
        let e = Extents::new(x[0].ty(), x[1].ty(), self.0.heads);
        for index in 0..e.batches * e.heads {
            for t in 0..e.queries {
                let mut dq = vec![0.0; e.size];
                for (s, d_s) in row(&self.0, x, &e, index, t).d_s.into_iter().enumerate() {
                    for (dq, &k) in dq.iter_mut().zip(e.key(x[1], index, s)) {
                        *dq += self.0.scale as f64 * d_s * k as f64;
                    }
                }
                for (y, dq) in y[0].as_f32_mut()[e.row(index, t, e.queries)..].iter_mut().zip(dq) {
                    *y = dq as f32;
                }
            }
        }
    }

    fn cpu_fast(&self, x: &[&Tensor], y: &mut [Tensor]) {
        fast::backward(&self.0, x, |e, head, y: &mut [Tensor]| head.product_to(e, &head.d_s, x[1], &mut y[0], false), y)
    }

    fn launches(&self, x: &[&Type], _: &[&Type], adapter: &Adapter) -> Vec<Launch> {
        let e = Extents::new(x[0], x[1], self.0.heads);
        let shaders = [shader!("attention_query_vjp_lanes"), shader!("attention_query_vjp")];
        self.0.candidates(shaders, [e.queries, e.keys], 4, &e, adapter)
    }

    fn vjp(&self, _: &mut Graph, _: &[Value], _: &[Value], _: &[Option<Value>]) -> Vec<Option<Value>> {
        not_differentiable(self)
    }

    fn cost(&self, x: &[&Type], y: &[&Type]) -> Cost {
        Cost::new(6 * self.0.pairs(&Extents::new(x[0], x[1], self.0.heads)), x, y)
    }

    fn bound(&self, x: &[Tensor], y: &[Tensor]) -> Vec<Vec<f64>> {
        cases::query_bound(self.0.clone())(x, y)
    }
}

impl Op for AttentionKeyVjp {
    fn name(&self) -> &'static str {
        "attention_key_vjp"
    }

    fn types(&self, x: &[&Type]) -> Result<Vec<Type>, String> {
        check(&self.0, x)?;
        Ok(vec![x[1].clone(), x[1].clone()])
    }

    fn cpu(&self, x: &[&Tensor], y: &mut [Tensor]) {
        let e = Extents::new(x[0].ty(), x[1].ty(), self.0.heads);
        let mut sums = [vec![0.0; x[1].ty().elements()], vec![0.0; x[1].ty().elements()]];
        for index in 0..e.batches * e.heads {
            for t in 0..e.queries {
                let Row { p, d_s, kept, .. } = row(&self.0, x, &e, index, t);
                for s in 0..p.len() {
                    for c in 0..e.size {
                        let at = e.row(index, s, e.keys) + c;
                        sums[0][at] += self.0.scale as f64 * d_s[s] * e.query(x[0], index, t)[c] as f64;
                        sums[1][at] += kept[s] * p[s] * e.query(x[3], index, t)[c] as f64;
                    }
                }
            }
        }
        for (y, sum) in y.iter_mut().zip(sums) {
            for (y, sum) in y.as_f32_mut().iter_mut().zip(sum) {
                *y = sum as f32;
            }
        }
    }

    fn cpu_fast(&self, x: &[&Tensor], y: &mut [Tensor]) {
        let products = |e: &Extents, head: &fast::Head, y: &mut [Tensor]| {
            head.product_to(e, &head.d_s, x[0], &mut y[0], true);
            head.product_to(e, &head.weights, x[3], &mut y[1], true);
        };
        fast::backward(&self.0, x, products, y)
    }

    fn launches(&self, x: &[&Type], _: &[&Type], adapter: &Adapter) -> Vec<Launch> {
        let e = Extents::new(x[0], x[1], self.0.heads);
        let shaders = [shader!("attention_key_vjp_lanes"), shader!("attention_key_vjp")];
        self.0.candidates(shaders, [e.keys, e.queries], 2, &e, adapter)
    }

    fn vjp(&self, _: &mut Graph, _: &[Value], _: &[Value], _: &[Option<Value>]) -> Vec<Option<Value>> {
        not_differentiable(self)
    }

    fn cost(&self, x: &[&Type], y: &[&Type]) -> Cost {
        Cost::new(8 * self.0.pairs(&Extents::new(x[0], x[1], self.0.heads)), x, y)
    }

    fn bound(&self, x: &[Tensor], y: &[Tensor]) -> Vec<Vec<f64>> {
        cases::key_bound(self.0.clone())(x, y)
    }
}
