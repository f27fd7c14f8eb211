//! o = softmax(s q kᵀ) v per head for one new query a row: what decoding computes of attention, over keys that are
//! wherever an ancestor of the row wrote them

use crate::case::{Bound, Case, Draw, TINY, U, gamma};
use crate::graph::{Graph, Value};
use crate::large::{Large, given, noise, words};
use crate::op::*;
use crate::shader;
use crate::tensor::{Tensor, Type};

/// Attention of the newest token. Inputs: q (R, 1, C), k and v (N, S, C), lengths (R) and origin (R, S) or (R, 1): key s of
/// row r is that of row origin\[r, s\] of the cache, for s < lengths\[r\]; with one column the same row for every s. So rows
/// of a beam share what they have in common, and rows leave a batch, without a cache being moved. A row with no keys gives
/// zeros.
#[derive(Clone, Debug, PartialEq)]
pub struct AttentionStep {
    /// H; divides C.
    pub heads: usize,
    /// The factor on q kᵀ: 1 / sqrt(D).
    pub scale: f32,
}

impl AttentionStep {
    /// Scores and places in k and v of the keys that a head of a row sees.
    fn scores(&self, x: &[&Tensor], r: usize, head: usize) -> Vec<(f64, usize)> {
        let (c, keys, columns) = (x[0].ty().cols(), x[1].ty().dims[1], x[4].ty().cols());
        let size = c / self.heads;
        let q = &x[0].as_f32()[r * c + head * size..][..size];
        let one = |s: usize| {
            let row = x[4].as_u32()[r * columns + s.min(columns - 1)] as usize;
            let place = (row * keys + s) * c + head * size;
            let k = &x[1].as_f32()[place..][..size];
            (self.scale as f64 * q.iter().zip(k).map(|(&q, &k)| q as f64 * k as f64).sum::<f64>(), place)
        };
        (0..(x[3].as_u32()[r] as usize).min(keys)).map(one).collect()
    }
}

impl Op for AttentionStep {
    fn name(&self) -> &'static str {
        "attention_step"
    }

    fn types(&self, x: &[&Type]) -> Result<Vec<Type>, String> {
        let [q, k, v, lengths, origin] = x else { return Err("q, k, v, lengths and origin".into()) };
        let rows = q.dims[0];
        let fits = q.dims.len() == 3
            && q.dims[1] == 1
            && k.dims.len() == 3
            && k == v
            && q.dims[2] == k.dims[2]
            && q.dims[2].is_multiple_of(self.heads)
            && **lengths == Type::u32([rows])
            && (**origin == Type::u32([rows, k.dims[1]]) || **origin == Type::u32([rows, 1]));
        match fits {
            true => Ok(vec![(*q).clone()]),
            false => Err("q is (R, 1, C), k and v (N, S, C), lengths (R), origin (R, S) or (R, 1)".into()),
        }
    }

    fn cpu(&self, x: &[&Tensor], y: &mut [Tensor]) {
        let (c, size) = (x[0].ty().cols(), x[0].ty().cols() / self.heads);
        for r in 0..x[0].ty().dims[0] {
            for head in 0..self.heads {
                let scores = self.scores(x, r, head);
                let top = scores.iter().map(|s| s.0).fold(f64::NEG_INFINITY, f64::max);
                let sum: f64 = scores.iter().map(|s| (s.0 - top).exp()).sum();
                for d in 0..size {
                    let term = |&(score, place): &(f64, usize)| {
                        (score - top).exp() / sum * x[2].as_f32()[place + d] as f64
                    };
                    y[0].as_f32_mut()[r * c + head * size + d] = scores.iter().map(term).sum::<f64>() as f32;
                }
            }
        }
    }

    fn launches(&self, x: &[&Type], _: &[&Type], adapter: &Adapter) -> Vec<Launch> {
        let (rows, keys, size) = (x[0].dims[0], x[1].dims[1], x[0].cols() / self.heads);
        let quads = size.div_ceil(4);
        // What a row's additions are ordered by, its length and D, and not by the cache's room or the rows beside it.
        let launch = |shader, variant: &str, quads: usize, slices: usize| Launch {
            shader,
            variant: variant.into(),
            constants: vec![("HEADS", self.heads as f64), ("D", size as f64), ("SCALE", self.scale.into())],
            tiles: vec![("QUADS", quads as u32)],
            run: [keys as u32, x[4].cols() as u32, 0, 0],
            grid: [rows as u32, self.heads as u32, slices as u32],
            steps: 1,
        };
        let blocks = launch(shader!("attention_step"), "blocks of 256", quads.min(256), quads.div_ceil(256));
        if !adapter.software {
            return vec![blocks];
        }
        // A room for which the loops of a thread would not end has no kernel: another one would add in another order. Rows
        // of attention end before.
        let ends = keys.div_ceil(8) * (2 * quads + 1) + 4 * quads + 64 <= SOFTWARE_ITERATIONS;
        let lanes = launch(shader!("attention_step_lanes"), "8 lanes", quads, 1);
        if ends { vec![lanes, blocks] } else { vec![] }
    }

    fn vjp(&self, _: &mut Graph, _: &[Value], _: &[Value], _: &[Option<Value>]) -> Vec<Option<Value>> {
        not_differentiable(self)
    }

    fn cost(&self, x: &[&Type], y: &[&Type]) -> Cost {
        let (rows, keys, c) = (x[0].dims[0], x[1].dims[1], x[0].cols());
        // At most: what the lengths leave out is not known here.
        Cost { flops: (4 * rows * keys * c) as u64, bytes: (8 * rows * keys * c + 2 * y[0].bytes()) as u64 }
    }

    fn bound(&self, x: &[Tensor], y: &[Tensor]) -> Vec<Vec<f64>> {
        bound(self.clone())(x, y)
    }
}

impl Graph {
    /// Attention of one query a row, q (R, 1, C), over cached keys and values (N, S, C) that `origin` (R, S or 1) says the
    /// rows of, as far as `lengths` (R).
    #[track_caller]
    pub fn attention_step(&mut self, q: Value, (k, v): (Value, Value), lengths: Value, origin: Value, heads: usize) -> Value {
        let scale = 1.0 / ((self.ty(q).cols() / heads) as f32).sqrt();
        self.push(AttentionStep { heads, scale }, &[q, k, v, lengths, origin])[0]
    }
}

/// The error of a score is γ(D) Σ|q||k|, of its exponential (3 + 2|x|) units in the last place (WGSL specification) and
/// that of the argument; rescaling adds an exponential per block of keys.
fn bound(op: AttentionStep) -> Bound {
    Box::new(move |x, y| {
        let (c, size) = (x[0].ty().cols(), x[0].ty().cols() / op.heads);
        let refs: Vec<&Tensor> = x.iter().collect();
        let absolute: Vec<Tensor> = x[..2]
            .iter()
            .map(|t| Tensor::f32(t.ty().dims.clone(), t.as_f32().iter().map(|v| v.abs()).collect()))
            .collect();
        let lengths = [&absolute[0], &absolute[1], &x[2], &x[3], &x[4]];
        let mut bounds = vec![TINY; y[0].ty().elements()];
        for r in 0..x[0].ty().dims[0] {
            for head in 0..op.heads {
                let scores = op.scores(&refs, r, head);
                let largest = op.scores(&lengths, r, head).iter().map(|s| s.0.abs()).fold(0.0, f64::max);
                let slip = gamma(size + 2) * largest;
                let top = scores.iter().map(|s| s.0).fold(f64::NEG_INFINITY, f64::max);
                let reach = scores.iter().map(|s| (top - s.0).min(110.0)).fold(0.0, f64::max);
                let sum: f64 = scores.iter().map(|s| (s.0 - top).exp()).sum();
                let one = 2.0 * slip + U * (2.0 * (3.0 + 4.0 * reach) + 2.0 * reach);
                let blocks = scores.len().div_ceil(8) as f64;
                let relative = 2.0 * one + 16.0 * U * (blocks + 1.0) + 2.0 * gamma(scores.len());
                for &(score, place) in &scores {
                    let weight = (score - top).exp() / sum + 64.0 * TINY;
                    for d in 0..size {
                        bounds[r * c + head * size + d] += relative * weight * x[2].as_f32()[place + d].abs() as f64;
                    }
                }
            }
        }
        vec![bounds]
    })
}

/// Cases of the kernel: rows that share a past, that see nothing, that see all of a source.
pub fn cases(draw: &mut Draw) -> Vec<Case> {
    let mut cases = vec![];
    for (rows, cached, keys, heads, size, shared) in [
        (1, 1, 1, 1, 1, true),
        (3, 2, 5, 3, 7, false),
        (4, 4, 70, 2, 32, false),
        (2, 3, 40, 5, 16, true),
        (3, 3, 33, 1, 130, false),
        (1, 1, 290, 1, 6, false),
        (2, 2, 600, 2, 12, true),
        (2, 1, 3, 1, 1030, true),
    ] {
        for scale in [1.0f32, 300.0] {
            let c = heads * size;
            let lengths = (0..rows).map(|r| (keys * (rows - r) / rows) as u32 * u32::from(r != 2)).collect();
            let columns = if shared { 1 } else { keys };
            let origin = (0..rows * columns).map(|_| draw.below(cached) as u32).collect();
            let mut q = draw.tensor(&[rows, 1, c]);
            q.as_f32_mut().iter_mut().for_each(|q| *q *= scale);
            let inputs = vec![
                q,
                draw.tensor(&[cached, keys, c]),
                draw.tensor(&[cached, keys, c]),
                Tensor::u32([rows], lengths),
                Tensor::u32([rows, columns], origin),
            ];
            let op = AttentionStep { heads, scale: 1.0 / (size as f32).sqrt() };
            let name = format!("R {rows} of {cached} S {keys} H {heads} D {size}{}", if scale > 1.0 { " huge" } else { "" });
            cases.push(Case::new(name, op.clone(), inputs, bound(op)));
        }
    }
    cases
}

/// Large cases of the kernel: sixty-four sentences, each with a past of its own, and one long text.
pub fn large() -> Vec<Large> {
    let one = |[rows, keys, heads, size]: [usize; 4]| {
        let op = AttentionStep { heads, scale: 1.0 / (size as f32).sqrt() };
        let cache = || noise(&[rows, keys, heads * size]);
        let origin = given(Tensor::u32([rows, 1], (0..rows as u32).collect()));
        let inputs = [noise(&[rows, 1, heads * size]), cache(), cache(), words(&vec![keys as u32; rows]), origin];
        Large::new(format!("R {rows} S {keys} H {heads} D {size}"), op, inputs)
    };
    [[64, 256, 8, 64], [1, 1024, 4, 32]].into_iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::attention::Attention;
    use crate::ops::dropout::Dropout;
    use crate::verify::adapters;

    /// Another kernel, or the same with other constants, would give a row other bits.
    #[test]
    fn the_kernel_depends_on_neither_rows_nor_room() {
        let default = |rows: usize, keys: usize, size: usize, adapter: &Adapter| {
            let (q, kv) = (Type::f32([rows, 1, 2 * size]), Type::f32([rows, keys, 2 * size]));
            let x = [&q, &kv, &kv, &Type::u32([rows]), &Type::u32([rows, keys])];
            AttentionStep { heads: 2, scale: 1.0 }.launches(&x, &[&q], adapter).into_iter().next()
        };
        for adapter in adapters() {
            for (size, longest) in [(1, 80_000), (7, 80_000), (32, 30_000), (64, 15_000), (130, 7_000), (256, 4_000)] {
                let one = default(1, 1, size, &adapter).expect("a kernel for a key");
                for (rows, keys) in [(1, 64), (64, 1024), (3, 4000), (1, longest), (2, longest)] {
                    let other = default(rows, keys, size, &adapter).expect("a kernel for this room");
                    assert!(one.same_pipeline(&other), "R {rows} S {keys} D {size} on {adapter:?}");
                }
            }
        }
    }

    /// Rows of their own cache are the last query's rows of causal attention, whose definition is another room's.
    #[test]
    fn a_step_is_the_last_row_of_attention() {
        let mut draw = Draw::new(5);
        let (rows, keys, heads, size) = (3, 6, 2, 4);
        let [q, k, v] = [keys; 3].map(|t| draw.tensor(&[rows, t, heads * size]));
        let lengths = Tensor::u32([rows], vec![keys as u32; rows]);
        let full = Attention { heads, scale: 0.5, causal: true, dropout: Dropout { p: 0.0, site: 0 } };
        let types = full.types(&[q.ty(), k.ty(), v.ty(), lengths.ty()]).unwrap();
        let mut want: Vec<Tensor> = types.iter().map(Tensor::zeros).collect();
        full.cpu(&[&q, &k, &v, &lengths], &mut want);
        let c = heads * size;
        let last = |t: &Tensor| -> Vec<f32> {
            t.as_f32().chunks(keys * c).flat_map(|row| row[(keys - 1) * c..].to_vec()).collect()
        };
        let q = Tensor::f32([rows, 1, c], last(&q));
        let origin = Tensor::u32([rows, 1], (0..rows as u32).collect());
        let mut have = [Tensor::zeros(q.ty())];
        AttentionStep { heads, scale: 0.5 }.cpu(&[&q, &k, &v, &lengths, &origin], &mut have);
        for (have, want) in have[0].as_f32().iter().zip(last(&want[0])) {
            assert!((have - want).abs() <= 1e-6, "{have} {want}");
        }
    }
}
