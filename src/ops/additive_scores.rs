//! e[t, s] = v · tanh(q[t] + k[s]): the scores of additive attention (Bahdanau et al. 2015)

mod vjp;

use crate::case::{Case, Draw, TINY, U, gamma};
use crate::graph::{Graph, Value};
use crate::large::{Large, noise};
use crate::op::*;
use crate::shader;
use crate::tensor::{Tensor, Type};
use vjp::{AdditiveScoresKeyVjp, AdditiveScoresKeyVjpAdd, AdditiveScoresQueryVjp};

/// Scores of all queries and keys of a row of the batch. Inputs: q (B, T, A), k (B, S, A), v (A); output (B, T, S).
#[derive(Debug)]
pub struct AdditiveScores;

/// B, T, S and A of q and k.
fn extents(q: &Type, k: &Type) -> Result<[usize; 4], String> {
    match (&q.dims[..], &k.dims[..]) {
        (&[b, t, a], &[batch, s, width]) if b == batch && a == width => Ok([b, t, s, a]),
        _ => Err("queries are (B, T, A), keys (B, S, A)".into()),
    }
}

/// How far tanh of a sum of two may be off, absolutely: its own error, and that of the sum where it is not flat.
fn tanh_error(sum: f64) -> f64 {
    U * (24.0 + 16.0 * sum.abs().min(9.5))
}

/// Calls f(score, query, key, component) with the positions of what meets.
fn visit([b, t, s, a]: [usize; 4], mut f: impl FnMut(usize, usize, usize, usize)) {
    for query in 0..b * t {
        for key in 0..s {
            for c in 0..a {
                f(query * s + key, query * a + c, (query / t * s + key) * a + c, c);
            }
        }
    }
}

impl Op for AdditiveScores {
    fn name(&self) -> &'static str {
        "additive_scores"
    }

    fn types(&self, x: &[&Type]) -> Result<Vec<Type>, String> {
        let [b, t, s, a] = extents(x[0], x[1])?;
        match x[2].dims == [a] {
            true => Ok(vec![Type::f32([b, t, s])]),
            false => Err(format!("v is ({a})")),
        }
    }

    fn cpu(&self, x: &[&Tensor], y: &mut [Tensor]) {
        let extents = extents(x[0].ty(), x[1].ty()).expect("types were checked");
        let mut sums = vec![0.0; y[0].ty().elements()];
        let at = |i: usize, j: usize| x[i].as_f32()[j] as f64;
        visit(extents, |score, q, k, c| sums[score] += at(2, c) * (at(0, q) + at(1, k)).tanh());
        y[0].as_f32_mut().iter_mut().zip(sums).for_each(|(y, sum)| *y = sum as f32);
    }

    fn launches(&self, x: &[&Type], y: &[&Type], _: &Adapter) -> Vec<Launch> {
        let [_, t, s, a] = extents(x[0], x[1]).expect("types were checked").map(|n| n as u32);
        vec![Launch::elements(shader!("additive_scores"), y[0].elements(), [y[0].elements() as u32, t, s, a])]
    }

    fn vjp(&self, g: &mut Graph, x: &[Value], _: &[Value], dy: &[Option<Value>]) -> Vec<Option<Value>> {
        let inputs = [&[dy[0].expect("the only output")], x].concat();
        let of_queries = g.push(AdditiveScoresQueryVjp, &inputs);
        let dk = g.push(AdditiveScoresKeyVjp, &inputs)[0];
        let dv = g.column_sum(of_queries[1]);
        vec![Some(of_queries[0]), Some(dk), Some(dv)]
    }

    fn cost(&self, x: &[&Type], y: &[&Type]) -> Cost {
        // An addition, tanh, a multiply–add.
        Cost::new(11 * y[0].elements() * x[2].elements(), x, y)
    }

    fn bound(&self, x: &[Tensor], y: &[Tensor]) -> Vec<Vec<f64>> {
        let extents = extents(x[0].ty(), x[1].ty()).expect("types were checked");
        let mut sums = vec![0.0; y[0].ty().elements()];
        let at = |i: usize, j: usize| x[i].as_f32()[j] as f64;
        visit(extents, |score, q, k, c| {
            let sum = at(0, q) + at(1, k);
            let v = at(2, c).abs();
            sums[score] += v * (tanh_error(sum) + gamma(extents[3] + 2) * sum.tanh().abs()) + 2.0 * TINY * (1.0 + v);
        });
        vec![sums]
    }
}

impl Graph {
    /// v · tanh(q + k) of all queries (B, T, A) and keys (B, S, A) of a row of the batch, with v (A): (B, T, S).
    #[track_caller]
    pub fn additive_scores(&mut self, q: Value, k: Value, v: Value) -> Value {
        self.push(AdditiveScores, &[q, k, v])[0]
    }
}

/// Cases of the three kernels.
pub fn cases(draw: &mut Draw) -> Vec<Case> {
    draw.set_largest(1e12);
    let mut cases = vec![];
    for [b, t, s, a] in [[1, 1, 1, 1], [2, 3, 5, 7], [3, 1, 9, 33], [1, 17, 20, 16]] {
        let name = format!("B {b} T {t} S {s} A {a}");
        let x = vec![draw.tensor(&[b, t, a]), draw.tensor(&[b, s, a]), draw.tensor(&[a])];
        let dy = [vec![draw.tensor(&[b, t, s])], x.clone()].concat();
        cases.push(Case::of(&name, AdditiveScores, x).wrt(&[0, 1, 2]));
        cases.push(Case::of(&name, AdditiveScoresQueryVjp, dy.clone()));
        let sum = [dy.clone(), vec![draw.tensor(&[b, s, a])]].concat();
        cases.push(Case::of(&name, AdditiveScoresKeyVjp, dy));
        cases.push(Case::of(&name, AdditiveScoresKeyVjpAdd, sum));
    }
    cases
}

/// Large cases of the three kernels.
pub fn large() -> Vec<Large> {
    let (b, t, s, a) = (32, 32, 32, 256);
    let name = format!("B {b} T {t} S {s} A {a}");
    let x = || [noise(&[b, t, a]), noise(&[b, s, a]), noise(&[a])];
    let dy = || [vec![noise(&[b, t, s])], x().into()].concat();
    vec![
        Large::new(&name, AdditiveScores, x()),
        Large::new(&name, AdditiveScoresQueryVjp, dy()),
        Large::new(&name, AdditiveScoresKeyVjp, dy()),
        Large::new(format!("{name}, added"), AdditiveScoresKeyVjpAdd, [dy(), vec![noise(&[b, s, a])]].concat()),
    ]
}
