//! o = dropout(softmax(s q kᵀ + mask)) v per head (Vaswani et al. 2017, section 3.2.1), with no n × n matrix in memory
//! (FlashAttention-2, Dao 2023)

mod cases;
mod fast;
mod large;
mod vjp;

use crate::graph::{Graph, Value};
use crate::op::*;
use crate::ops::dropout::Dropout;
use crate::shader;
use crate::step::step_type;
use crate::tensor::{Tensor, Type};

pub use cases::cases;
pub use large::large;
pub use vjp::{AttentionKeyVjp, AttentionQueryVjp, AttentionStatistics};

/// Fused attention. Inputs: q (B, T, C), k (B, S, C), v (B, S, C) and the mask: the key lengths (B), and where there is
/// dropout the step state before them (16 + B). Head h has the columns h·D to (h + 1)·D. Query t of batch b sees key s
/// when s < lengths\[b\] and, where causal, s <= t. Outputs: o (B, T, C) and lse (B, H, T), the logarithm of the sum of
/// exponentials that the backward pass recomputes the weights from. A query that sees nothing gives zeros.
#[derive(Clone, Debug, PartialEq)]
pub struct Attention {
    /// H; divides C.
    pub heads: usize,
    /// The factor on q kᵀ: 1 / sqrt(D).
    pub scale: f32,
    /// A position sees only itself and earlier ones.
    pub causal: bool,
    /// Dropout on the weights, with the mask that [`Dropout`] would draw for a (B, H, T, S) tensor of them; none with
    /// p = 0.
    pub dropout: Dropout,
}

/// Sizes, and where a head's rows lie.
#[derive(Clone, Copy, Debug)]
struct Extents {
    batches: usize,
    heads: usize,
    queries: usize,
    keys: usize,
    /// Columns of a head, D.
    size: usize,
}

impl Extents {
    fn new(q: &Type, k: &Type, heads: usize) -> Extents {
        Extents { batches: q.dims[0], heads, queries: q.dims[1], keys: k.dims[1], size: q.dims[2] / heads }
    }

    /// Elements between two rows of a head.
    fn stride(&self) -> usize {
        self.heads * self.size
    }

    /// First element of row t of head `index` = b·H + h in a (B, T, C) tensor with so many rows.
    fn row(&self, index: usize, t: usize, rows: usize) -> usize {
        (index / self.heads * rows + t) * self.stride() + index % self.heads * self.size
    }

    fn query<'a>(&self, x: &'a Tensor, index: usize, t: usize) -> &'a [f32] {
        &x.as_f32()[self.row(index, t, self.queries)..][..self.size]
    }

    fn key<'a>(&self, x: &'a Tensor, index: usize, s: usize) -> &'a [f32] {
        &x.as_f32()[self.row(index, s, self.keys)..][..self.size]
    }
}

fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(&a, &b)| a as f64 * b as f64).sum()
}

impl Attention {
    /// Whether q, k, v and the mask fit.
    fn check(&self, x: &[&Type]) -> Result<(), String> {
        let [q, k, v, mask] = x else { return Err("q, k, v and the mask".into()) };
        let fits = q.dims.len() == 3
            && k.dims.len() == 3
            && k == v
            && [q.dims[0], q.dims[2]] == [k.dims[0], k.dims[2]]
            && q.dims[2].is_multiple_of(self.heads);
        if !fits {
            return Err(format!("q is (B, T, C), k and v (B, S, C), C a multiple of {} heads", self.heads));
        }
        match **mask == Type::u32([self.header() + q.dims[0]]) {
            true => Ok(()),
            false => Err("the mask holds B lengths, behind the step state where there is dropout".into()),
        }
    }

    /// Words of the mask before the lengths.
    fn header(&self) -> usize {
        if self.dropout.p > 0.0 { step_type().elements() } else { 0 }
    }

    /// How many leading keys query t of batch b sees.
    fn seen(&self, mask: &Tensor, b: usize, t: usize, keys: usize) -> usize {
        let length = (mask.as_u32()[self.header() + b] as usize).min(keys);
        if self.causal { length.min(t + 1) } else { length }
    }

    /// What dropout multiplies the weights of query t of head `index` by.
    fn kept(&self, mask: &Tensor, index: usize, t: usize, keys: usize) -> Vec<f64> {
        match self.dropout.p > 0.0 {
            true => self.dropout.row(&mask.as_u32()[..self.header()], index, t, keys),
            false => vec![1.0; keys],
        }
    }

    fn set(&self, launch: Launch, e: &Extents) -> Launch {
        let launch = launch.constant("HEADS", e.heads as f64).constant("D", e.size as f64);
        let launch = launch.constant("SCALE", self.scale.into()).constant("CAUSAL", f64::from(self.causal));
        match self.dropout.p > 0.0 {
            true => launch
                .constant("THRESHOLD", self.dropout.threshold().into())
                .constant("KEEP", self.dropout.scale().into()),
            false => launch,
        }
    }

    /// The candidates of a kernel that gives blocks of `rows` (queries or keys) of each head to workgroups, which walk over
    /// the others: `lanes` with 16 rows and up to 128 columns to a subgroup of 8 lanes, `blocks` with 32 rows and up to
    /// `most` chunks of 32 columns to 64 threads.
    fn candidates(
        &self,
        [lanes, blocks]: [Shader; 2],
        [rows, walked]: [usize; 2],
        most: usize,
        e: &Extents,
        adapter: &Adapter,
    ) -> Vec<Launch> {
        let run = [e.queries as u32, e.keys as u32, self.dropout.site, 0];
        let launch = |shader, variant: &str, grid: [usize; 2]| {
            let grid = [grid[0] as u32, grid[1] as u32, (e.batches * e.heads) as u32];
            let launch = Launch { shader, variant: variant.into(), constants: vec![], tiles: vec![], run, grid, steps: 1 };
            self.set(launch, e)
        };
        let chunks = e.size.div_ceil(32).min(most);
        let slices = e.size.div_ceil(32 * chunks);
        let blocks = launch(blocks, "blocks of 32x32", [rows.div_ceil(32), slices]).tile("CHUNKS", chunks as u32);
        let lanes = launch(lanes, "lanes 16x4", [rows.div_ceil(16), e.size.div_ceil(128)]);
        // llvmpipe leaves a thread's loops after so many iterations in all; each kernel has at most these for 32 steps of
        // its walk.
        let within = |each: usize| !adapter.software || walked.div_ceil(32) * each <= 65_535;
        let slow = within(64 + 288 * e.size.div_ceil(32)).then_some(blocks);
        let suits = adapter.subgroup == Some(8) && e.size.is_multiple_of(4);
        let fast = (suits && within(320 + e.size)).then_some(lanes);
        let order = if adapter.software { [fast, slow] } else { [slow, fast] };
        order.into_iter().flatten().collect()
    }

    /// Multiply–adds of one product of queries and keys, halved where half of the pairs are never seen.
    fn pairs(&self, e: &Extents) -> usize {
        let all = e.batches * e.heads * e.queries * e.keys * e.size;
        if self.causal { all / 2 } else { all }
    }
}

impl Op for Attention {
    fn name(&self) -> &'static str {
        "attention"
    }

    fn types(&self, x: &[&Type]) -> Result<Vec<Type>, String> {
        self.check(x)?;
        Ok(vec![x[0].clone(), Type::f32([x[0].dims[0], self.heads, x[0].dims[1]])])
    }

    fn cpu(&self, x: &[&Tensor], y: &mut [Tensor]) {
        let e = Extents::new(x[0].ty(), x[1].ty(), self.heads);
        let [o, lse] = y else { unreachable!("two outputs") };
        for index in 0..e.batches * e.heads {
            for t in 0..e.queries {
                let seen = self.seen(x[3], index / e.heads, t, e.keys);
                if seen == 0 {
                    continue;
                }
                let q = e.query(x[0], index, t);
                let scores: Vec<f64> = (0..seen).map(|s| self.scale as f64 * dot(q, e.key(x[1], index, s))).collect();
                let top = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                let sum: f64 = scores.iter().map(|s| (s - top).exp()).sum();
                let kept = self.kept(x[3], index, t, e.keys);
                let mut row = vec![0.0; e.size];
                for (s, score) in scores.iter().enumerate() {
                    let weight = (score - top).exp() / sum * kept[s];
                    for (row, &v) in row.iter_mut().zip(e.key(x[2], index, s)) {
                        *row += weight * v as f64;
                    }
                }
                for (o, row) in o.as_f32_mut()[e.row(index, t, e.queries)..].iter_mut().zip(row) {
                    *o = row as f32;
                }
                lse.as_f32_mut()[index * e.queries + t] = (top + sum.ln()) as f32;
            }
        }
    }

    fn cpu_fast(&self, x: &[&Tensor], y: &mut [Tensor]) {
        fast::forward(self, x, y)
    }

    fn launches(&self, x: &[&Type], _: &[&Type], adapter: &Adapter) -> Vec<Launch> {
        let e = Extents::new(x[0], x[1], self.heads);
        self.candidates([shader!("attention_lanes"), shader!("attention")], [e.queries, e.keys], 4, &e, adapter)
    }

    fn vjp(&self, g: &mut Graph, x: &[Value], y: &[Value], dy: &[Option<Value>]) -> Vec<Option<Value>> {
        assert!(dy[1].is_none(), "{self:?} is differentiable in its first output");
        let d_o = dy[0].expect("a cotangent of o");
        let statistics = g.push(AttentionStatistics { heads: self.heads }, &[y[0], d_o, y[1]])[0];
        let inputs = [x[0], x[1], x[2], d_o, statistics, x[3]];
        let dq = g.push(AttentionQueryVjp(self.clone()), &inputs)[0];
        let dkv = g.push(AttentionKeyVjp(self.clone()), &inputs);
        vec![Some(dq), Some(dkv[0]), Some(dkv[1]), None]
    }

    fn cost(&self, x: &[&Type], y: &[&Type]) -> Cost {
        Cost::new(4 * self.pairs(&Extents::new(x[0], x[1], self.heads)), x, y)
    }

    fn bound(&self, x: &[Tensor], y: &[Tensor]) -> Vec<Vec<f64>> {
        cases::forward_bound(self.clone())(x, y)
    }
}

impl Graph {
    /// Fused attention of q (B, T, C), k and v (B, S, C), scaled by 1 / sqrt(D), with a mask of [`Graph::attention_mask`].
    #[track_caller]
    pub fn attention(&mut self, q: Value, k: Value, v: Value, mask: Value, options: Attention) -> Value {
        self.push(options, &[q, k, v, mask])[0]
    }

    /// Which keys the queries see: key lengths (B), and the step state where weights are dropped.
    #[track_caller]
    pub fn attention_mask(&mut self, lengths: Value, step: Option<Value>) -> Value {
        match step {
            Some(step) => self.concat(step, lengths),
            None => lengths,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The definition is that of softmax, dropout and two products, whose rooms have definitions of their own.
    #[test]
    fn agrees_with_the_unfused_path() {
        use crate::case::Draw;
        use crate::ops::matmul::{Activation, Layout, Matmul};
        use crate::ops::softmax::Softmax;
        let mut draw = Draw::new(3);
        let (batch, heads, t, s, d) = (2, 2, 5, 6, 3);
        let [q, k, v] = [t, s, s].map(|rows| draw.tensor(&[batch, rows, heads * d]));
        let mut step = Tensor::zeros(&step_type());
        step.as_u32_mut()[..2].copy_from_slice(&[5, 9]);
        let lengths = Tensor::u32([batch], vec![6, 4]);
        let mask = Tensor::u32([18], [step.as_u32(), lengths.as_u32()].concat());
        let run = |op: &dyn Op, x: &[&Tensor]| {
            let types: Vec<&Type> = x.iter().map(|t| t.ty()).collect();
            let mut y: Vec<Tensor> = op.types(&types).unwrap().iter().map(Tensor::zeros).collect();
            op.cpu(x, &mut y);
            y.swap_remove(0)
        };
        let dropout = Dropout { p: 0.3, site: 77 };
        let per_head = Layout::Heads(heads);
        let product = |layout, trans_b| Matmul { layout, trans_a: false, trans_b, bias: false, activation: Activation::None };
        let scores = run(&product([per_head, per_head, Layout::Batch], true), &[&q, &k, &k]);
        let weights = run(&Softmax { scale: 0.6, causal: true }, &[&scores, &lengths]);
        let dropped = run(&dropout, &[&weights, &step]);
        let want = run(&product([Layout::Batch, per_head, per_head], false), &[&dropped, &v, &v]);
        let fused = Attention { heads, scale: 0.6, causal: true, dropout };
        let have = run(&fused, &[&q, &k, &v, &mask]);
        for (have, want) in have.as_f32().iter().zip(want.as_f32()) {
            assert!((have - want).abs() <= 1e-6, "{have} {want}");
        }
    }
}
