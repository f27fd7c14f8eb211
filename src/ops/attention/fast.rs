//! The CPU's faster path: the matrices of one head at a time, with library products.

use super::{Attention, Extents};
use crate::tensor::Tensor;

/// Weights of one head over all queries and keys (T, S): small, since only one head has them at a time.
pub(super) struct Head {
    index: usize,
    /// P with dropout.
    pub weights: Vec<f32>,
    /// scale · P (dropout(dP) - delta).
    pub d_s: Vec<f32>,
}

/// y = scale · A Bᵀ of one head: rows of `a` (queries) times rows of `b` (keys).
fn scores(e: &Extents, index: usize, scale: f32, a: &Tensor, b: &Tensor) -> Vec<f32> {
    let mut y = vec![0.0f32; e.queries * e.keys];
    let (a, b) = (&a.as_f32()[e.row(index, 0, e.queries)..], &b.as_f32()[e.row(index, 0, e.keys)..]);
    let stride = e.stride() as isize;
    // Safety: the last row of a head ends inside its tensor, y is (T, S).
    unsafe {
        let (a, b, to) = (a.as_ptr(), b.as_ptr(), y.as_mut_ptr());
        matrixmultiply::sgemm(e.queries, e.size, e.keys, scale, a, stride, 1, b, 1, stride, 0.0, to, e.keys as isize, 1);
    }
    y
}

impl Head {
    /// y = M B of this head, or Mᵀ B where `transposed`, with M (T, S).
    pub fn product_to(&self, e: &Extents, m: &[f32], b: &Tensor, y: &mut Tensor, transposed: bool) {
        let (rows, inner) = if transposed { (e.keys, e.queries) } else { (e.queries, e.keys) };
        let (row, column) = if transposed { (1, e.keys as isize) } else { (e.keys as isize, 1) };
        let b = &b.as_f32()[e.row(self.index, 0, inner)..];
        let y = &mut y.as_f32_mut()[e.row(self.index, 0, rows)..];
        let stride = e.stride() as isize;
        // Safety: as in `scores`.
        unsafe {
            let (m, b, to) = (m.as_ptr(), b.as_ptr(), y.as_mut_ptr());
            matrixmultiply::sgemm(rows, inner, e.size, 1.0, m, row, column, b, stride, 1, 0.0, to, stride, 1);
        }
    }
}

/// o and lse.
pub(super) fn forward(op: &Attention, x: &[&Tensor], y: &mut [Tensor]) {
    let e = Extents::new(x[0].ty(), x[1].ty(), op.heads);
    let [o, lse] = y else { unreachable!("two outputs") };
    for index in 0..e.batches * e.heads {
        let mut weights = scores(&e, index, op.scale, x[0], x[1]);
        for (t, row) in weights.chunks_mut(e.keys).enumerate() {
            let seen = op.seen(x[3], index / e.heads, t, e.keys);
            row[seen..].fill(0.0);
            let row = &mut row[..seen];
            let top = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            row.iter_mut().for_each(|w| *w = (*w - top).exp());
            let sum: f32 = row.iter().sum();
            row.iter_mut().for_each(|w| *w /= sum);
            if seen > 0 {
                lse.as_f32_mut()[index * e.queries + t] = top + sum.ln();
            }
            if op.dropout.p > 0.0 {
                row.iter_mut().zip(op.kept(x[3], index, t, e.keys)).for_each(|(w, kept)| *w *= kept as f32);
            }
        }
        let head = Head { index, weights, d_s: vec![] };
        head.product_to(&e, &head.weights, x[2], o, false);
    }
}

/// Recomputes the matrices of each head and hands them to `products`.
pub(super) fn backward(
    op: &Attention,
    x: &[&Tensor],
    products: impl Fn(&Extents, &Head, &mut [Tensor]),
    y: &mut [Tensor],
) {
    let e = Extents::new(x[0].ty(), x[1].ty(), op.heads);
    for index in 0..e.batches * e.heads {
        let mut weights = scores(&e, index, op.scale, x[0], x[1]);
        let mut d_s = scores(&e, index, 1.0, x[3], x[2]);
        for (t, (weights, d_s)) in weights.chunks_mut(e.keys).zip(d_s.chunks_mut(e.keys)).enumerate() {
            let statistics = &x[4].as_f32()[2 * (index * e.queries + t)..][..2];
            let seen = op.seen(x[5], index / e.heads, t, e.keys);
            weights[seen..].fill(0.0);
            d_s[seen..].fill(0.0);
            let kept = if op.dropout.p > 0.0 { op.kept(x[5], index, t, e.keys) } else { vec![] };
            for s in 0..seen {
                let p = (weights[s] - statistics[0]).min(0.0).exp();
                let kept = kept.get(s).map_or(1.0, |&kept| kept as f32);
                d_s[s] = op.scale * p * (kept * d_s[s] - statistics[1]);
                weights[s] = kept * p;
            }
        }
        products(&e, &Head { index, weights, d_s }, y);
    }
}
