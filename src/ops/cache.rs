//! `cache[slot[b], start[b] + t, c] = x[b, t, c]`: keys and values of the tokens decoded so far

use crate::case::{Case, Draw, exact};
use crate::graph::{Graph, Value};
use crate::large::{Large, noise, words};
use crate::op::*;
use crate::shader;
use crate::tensor::{Tensor, Type};

/// Writes rows into a cache. Inputs: cache (N, S, C), x (B, T, C), slot (B), the row of the cache that a batch goes to, and
/// start (B), its first position there; the output takes the cache over. What is behind the cache's last position is left
/// out. Batches with one slot must write the same there.
#[derive(Debug)]
pub struct CacheAppend;

impl Op for CacheAppend {
    fn name(&self) -> &'static str {
        "cache_append"
    }

    fn types(&self, x: &[&Type]) -> Result<Vec<Type>, String> {
        let [cache, rows, slot, start] = x else { return Err("cache, x, slot and start".into()) };
        let fits = cache.dims.len() == 3
            && rows.dims.len() == 3
            && cache.dims[2] == rows.dims[2]
            && [slot, start].iter().all(|t| ***t == Type::u32([rows.dims[0]]));
        match fits {
            true => Ok(vec![(*cache).clone()]),
            false => Err("the cache is (N, S, C), x (B, T, C), slot and start (B)".into()),
        }
    }

    fn cpu(&self, x: &[&Tensor], y: &mut [Tensor]) {
        let [_, s, c] = x[0].ty().dims[..] else { unreachable!("checked by types") };
        let t = x[1].ty().dims[1];
        y[0].write(0, x[0]);
        for (i, row) in x[1].as_f32().chunks(c).enumerate() {
            let [slot, start] = [x[2], x[3]].map(|t_| t_.as_u32()[i / t] as usize);
            let position = start + i % t;
            if position < s {
                y[0].as_f32_mut()[(slot * s + position) * c..][..c].copy_from_slice(row);
            }
        }
    }

    fn launches(&self, x: &[&Type], _: &[&Type], _: &Adapter) -> Vec<Launch> {
        let run = [x[1].elements(), x[0].cols(), x[1].dims[1], x[0].dims[1]].map(|n| n as u32);
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
    /// The cache (N, S, C) with x (B, T, C) written to the rows `slot` (B) from the positions `start` (B) on.
    #[track_caller]
    pub fn cache_append(&mut self, cache: Value, x: Value, slot: Value, start: Value) -> Value {
        self.push(CacheAppend, &[cache, x, slot, start])[0]
    }
}

/// Cases of the kernel; in the last, rows end behind the cache.
pub fn cases(draw: &mut Draw) -> Vec<Case> {
    draw.set_largest(1e38);
    let mut case = |[n, s, c]: [usize; 3], t: usize, slot: &[u32], start: &[u32]| {
        let b = slot.len();
        let [slots, starts] = [slot, start].map(|ids| Tensor::u32([b], ids.to_vec()));
        let inputs = vec![draw.tensor(&[n, s, c]), draw.tensor(&[b, t, c]), slots, starts];
        Case::new(format!("[{n}, {s}, {c}] {t} from {start:?}"), CacheAppend, inputs, exact())
    };
    vec![
        case([1, 1, 1], 1, &[0], &[0]),
        case([3, 5, 7], 1, &[0, 1, 2], &[4, 0, 2]),
        case([4, 3, 300], 1, &[3, 0], &[1, 2]),
        case([3, 6, 5], 4, &[2, 0], &[0, 4]),
    ]
}

/// Large cases of the kernel.
pub fn large() -> Vec<Large> {
    vec![Large::new("64x256x512 at 128", CacheAppend, [noise(&[64, 256, 512]), noise(&[64, 1, 512]), words(&(0..64).collect::<Vec<u32>>()), words(&[128; 64])])]
}
