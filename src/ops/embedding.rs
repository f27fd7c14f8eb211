//! `y[n, c] = s table[ids[n], c]`, and its gradient without atomics

use crate::case::{Case, Draw, TINY, gamma, per_element, ulps};
use crate::graph::{Graph, Value};
use crate::large::{Large, given, noise, words};
use crate::op::*;
use crate::shader;
use crate::tensor::{Tensor, Type};

/// Rows of a table by token id, times a constant. Inputs: ids (...), table (V, C); output (..., C).
#[derive(Debug)]
pub struct Embedding {
    /// The constant: sqrt(d_model) in the Transformer.
    pub scale: f32,
    /// The ids' positions sorted by token, as [`EmbeddingVjp`] reads them.
    pub by_token: Value,
}

impl Op for Embedding {
    fn name(&self) -> &'static str {
        "embedding"
    }

    fn types(&self, x: &[&Type]) -> Result<Vec<Type>, String> {
        if x[1].dims.len() != 2 {
            return Err("the table has two dimensions".into());
        }
        let mut dims = x[0].dims.clone();
        dims.push(x[1].cols());
        Ok(vec![Type::f32(dims)])
    }

    fn cpu(&self, x: &[&Tensor], y: &mut [Tensor]) {
        let c = x[1].ty().cols();
        for (n, &id) in x[0].as_u32().iter().enumerate() {
            for j in 0..c {
                y[0].as_f32_mut()[n * c + j] = self.scale * x[1].as_f32()[id as usize * c + j];
            }
        }
    }

    fn launches(&self, _: &[&Type], y: &[&Type], _: &Adapter) -> Vec<Launch> {
        let run = [y[0].elements() as u32, y[0].cols() as u32, 0, 0];
        vec![Launch::elements(shader!("embedding"), y[0].elements(), run).constant("SCALE", self.scale.into())]
    }

    fn vjp(&self, g: &mut Graph, x: &[Value], _: &[Value], dy: &[Option<Value>]) -> Vec<Option<Value>> {
        let vocabulary = g.ty(x[1]).dims[0];
        let op = EmbeddingVjp { scale: self.scale, vocabulary };
        vec![None, Some(g.push(op, &[dy[0].expect("the only output"), self.by_token])[0])]
    }

    fn cost(&self, x: &[&Type], y: &[&Type]) -> Cost {
        Cost { flops: y[0].elements() as u64, bytes: (x[0].bytes() + 2 * y[0].bytes()) as u64 }
    }

    fn bound(&self, x: &[Tensor], y: &[Tensor]) -> Vec<Vec<f64>> {
        ulps(1.0)(x, y)
    }
}

/// `dtable[v, c] = s · sum of dy[n, c] over the positions n that hold token v`. Inputs: dy (..., C), by_token: V + 1
/// offsets, then the positions sorted by token.
#[derive(Debug)]
pub struct EmbeddingVjp {
    /// The constant of the forward pass.
    pub scale: f32,
    /// V, the rows of the table.
    pub vocabulary: usize,
}

impl Op for EmbeddingVjp {
    fn name(&self) -> &'static str {
        "embedding_vjp"
    }

    fn types(&self, x: &[&Type]) -> Result<Vec<Type>, String> {
        match x[1].elements() == self.vocabulary + 1 + x[0].rows() {
            true => Ok(vec![Type::f32([self.vocabulary, x[0].cols()])]),
            false => Err("by_token holds V + 1 offsets and a position per row".into()),
        }
    }

    fn cpu(&self, x: &[&Tensor], y: &mut [Tensor]) {
        let c = x[0].ty().cols();
        let (starts, positions) = x[1].as_u32().split_at(self.vocabulary + 1);
        for v in 0..self.vocabulary {
            for j in 0..c {
                let at = starts[v] as usize..starts[v + 1] as usize;
                let sum: f64 = positions[at].iter().map(|&n| x[0].as_f32()[n as usize * c + j] as f64).sum();
                y[0].as_f32_mut()[v * c + j] = (self.scale as f64 * sum) as f32;
            }
        }
    }

    fn launches(&self, x: &[&Type], y: &[&Type], _: &Adapter) -> Vec<Launch> {
        let run = [self.vocabulary as u32, x[0].cols() as u32, 0, 0];
        vec![Launch::elements(shader!("embedding_vjp"), y[0].elements(), run).constant("SCALE", self.scale.into())]
    }

    fn vjp(&self, _: &mut Graph, _: &[Value], _: &[Value], _: &[Option<Value>]) -> Vec<Option<Value>> {
        not_differentiable(self)
    }

    fn cost(&self, x: &[&Type], y: &[&Type]) -> Cost {
        Cost::new(x[0].elements(), x, y)
    }

    fn bound(&self, x: &[Tensor], y: &[Tensor]) -> Vec<Vec<f64>> {
        let (scale, vocabulary, c) = (self.scale.abs() as f64, self.vocabulary, y[0].ty().cols());
        let bound = per_element(move |i, x: &[Tensor], _| {
            let (starts, positions) = x[1].as_u32().split_at(vocabulary + 1);
            let at = &positions[starts[i / c] as usize..starts[i / c + 1] as usize];
            let terms = at.iter().map(|&n| x[0].as_f32()[n as usize * c + i % c].abs() as f64);
            terms.map(|x| scale * (gamma(at.len() + 1) * x + TINY)).sum()
        });
        bound(x, y)
    }
}

impl Graph {
    /// Rows of `table` (V, C) by `ids`, times `scale`. `by_token` is the input that the gradient needs: see
    /// [`EmbeddingVjp`].
    #[track_caller]
    pub fn embedding(&mut self, ids: Value, table: Value, by_token: Value, scale: f32) -> Value {
        self.push(Embedding { scale, by_token }, &[ids, table])[0]
    }
}

/// Positions by token, for an embedding gradient that sums in a fixed order: `vocab + 1` offsets, then the positions
/// `0..ids.len()` sorted by id, equal ids in order. The positions of token `v` are those from offset `v` up to offset
/// `v + 1`, counted from the end of the offsets. Padding is a token like any other; its gradient is zero.
///
/// # Panics
///
/// If an id is not below `vocab`.
pub fn by_token(ids: &[u32], vocab: usize) -> Vec<u32> {
    let mut sorted = vec![0; vocab + 1 + ids.len()];
    let (offsets, positions) = sorted.split_at_mut(vocab + 1);
    for &id in ids {
        assert!((id as usize) < vocab, "token {id} in a vocabulary of {vocab}");
        offsets[id as usize + 1] += 1;
    }
    for v in 0..vocab {
        offsets[v + 1] += offsets[v];
    }
    let mut next = offsets[..vocab].to_vec();
    for (position, &id) in ids.iter().enumerate() {
        positions[next[id as usize] as usize] = position as u32;
        next[id as usize] += 1;
    }
    sorted
}

/// Cases of both kernels. The gradient check of the pair is `embedding_gradient` in `tests/gradients.rs`: the
/// sorted positions are a second input that must belong to the ids.
pub fn cases(draw: &mut Draw) -> Vec<Case> {
    draw.set_largest(1e36);
    let mut cases = vec![];
    for (n, vocabulary, c) in [(1, 1, 1), (7, 5, 3), (40, 11, 130)] {
        let ids = draw.ids(&[n], vocabulary);
        let order = by_token(ids.as_u32(), vocabulary);
        let order = Tensor::u32([order.len()], order);
        let name = format!("{n} of {vocabulary}x{c}");
        let table = draw.tensor(&[vocabulary, c]);
        cases.push(Case::new(&name, Embedding { scale: 3.0, by_token: Value(usize::MAX) }, vec![ids, table], ulps(1.0)));
        let dy = draw.tensor(&[n, c]);
        cases.push(Case::of(&name, EmbeddingVjp { scale: 3.0, vocabulary }, vec![dy, order]));
    }
    cases
}

/// Large cases of both kernels.
pub fn large() -> Vec<Large> {
    let (n, vocabulary, c) = (16_384, 32_000, 512);
    let tokens = Draw::new(1).ids(&[n], vocabulary);
    let order = by_token(tokens.as_u32(), vocabulary);
    let name = format!("{n} of {vocabulary}x{c}");
    let forward = Embedding { scale: 22.6, by_token: Value(usize::MAX) };
    vec![
        Large::new(&name, forward, [given(tokens), noise(&[vocabulary, c])]),
        Large::new(name, EmbeddingVjp { scale: 22.6, vocabulary }, [noise(&[n, c]), words(&order)]),
    ]
}
