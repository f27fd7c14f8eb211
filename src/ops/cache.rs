//! `cache[b, position, c] = x[b, c]`: keys and values of the tokens decoded so far

use crate::case::{Case, Draw, exact};
use crate::graph::{Graph, Value};
use crate::large::{Large, noise, words};
use crate::op::*;
use crate::shader;
use crate::tensor::{Tensor, Type};

/// Writes one row per batch into a cache. Inputs: cache (B, T, C), x (B, 1, C), position (1); the output takes the
/// cache over.
#[derive(Debug)]
pub struct CacheAppend;

impl Op for CacheAppend {
    fn name(&self) -> &'static str {
        "cache_append"
    }

    fn types(&self, x: &[&Type]) -> Result<Vec<Type>, String> {
        let (cache, row) = (x[0], x[1]);
        match cache.dims.len() == 3 && row.dims == [cache.dims[0], 1, cache.dims[2]] {
            true => Ok(vec![cache.clone()]),
            false => Err("the cache is (B, T, C), the row (B, 1, C)".into()),
        }
    }

    fn cpu(&self, x: &[&Tensor], y: &mut [Tensor]) {
        let (t, c) = (x[0].ty().dims[1], x[0].ty().dims[2]);
        let position = x[2].as_u32()[0] as usize;
        y[0].write(0, x[0]);
        for (b, row) in x[1].as_f32().chunks(c).enumerate() {
            let at = (b * t + position) * c;
            y[0].as_f32_mut()[at..at + c].copy_from_slice(row);
        }
    }

    fn launches(&self, x: &[&Type], _: &[&Type], _: &Adapter) -> Vec<Launch> {
        let run = [x[1].elements() as u32, x[0].cols() as u32, x[0].dims[1] as u32, 0];
        vec![Launch::elements(shader!("cache_append"), x[1].elements(), run)]
    }

    fn vjp(&self, _: &mut Graph, _: &[Value], _: &[Value], _: &[Option<Value>]) -> Vec<Option<Value>> {
        not_differentiable(self)
    }

    fn cost(&self, x: &[&Type], _: &[&Type]) -> Cost {
        Cost { flops: 0, bytes: 2 * x[1].bytes() as u64 }
    }

    fn bound(&self, x: &[Tensor], y: &[Tensor]) -> Vec<Vec<f64>> {
        exact()(x, y)
    }

    fn in_place(&self) -> &'static [(usize, usize)] {
        &[(0, 0)]
    }
}

impl Graph {
    /// The cache (B, T, C) with `x` (B, 1, C) written at `position`.
    #[track_caller]
    pub fn cache_append(&mut self, cache: Value, x: Value, position: Value) -> Value {
        self.push(CacheAppend, &[cache, x, position])[0]
    }
}

/// Cases of the kernel.
pub fn cases(draw: &mut Draw) -> Vec<Case> {
    draw.set_largest(1e38);
    let case = |(b, t, c, at): (usize, usize, usize, u32)| {
        let inputs = vec![draw.tensor(&[b, t, c]), draw.tensor(&[b, 1, c]), Tensor::u32([1], vec![at])];
        Case::new(format!("[{b}, {t}, {c}] at {at}"), CacheAppend, inputs, exact())
    };
    [(1, 1, 1, 0), (3, 5, 7, 4), (2, 3, 300, 1)].map(case).into()
}

/// Large cases of the kernel.
pub fn large() -> Vec<Large> {
    vec![Large::new("64x256x512 at 128", CacheAppend, [noise(&[64, 256, 512]), noise(&[64, 1, 512]), words(&[128])])]
}
