//! The definitions in single floats.

use super::{GlobalAttention, Score, line};
use crate::tensor::Tensor;

/// [`GlobalAttention`]'s outputs, which are zero before.
pub(super) fn forward(op: &GlobalAttention, x: &[&Tensor], y: &mut [Tensor]) {
    let [_, time, a] = x[0].ty().dims[..] else { unreachable!("types were checked") };
    let (keys, c) = (x[1].ty().dims[1], x[3].ty().cols());
    let [q, k, v, values] = [0, 1, 2, 3].map(|i| x[i].as_f32());
    let [context, weights] = y else { unreachable!("there are two outputs") };
    let rows = context.as_f32_mut().chunks_mut(c).zip(weights.as_f32_mut().chunks_mut(keys));
    for (row, (context, weights)) in rows.enumerate() {
        let from = line(op, x, row / time);
        let weights = &mut weights[..keys.min(x[4].as_u32()[from] as usize)];
        let q = &q[row * a..][..a];
        for (weight, k) in weights.iter_mut().zip(k[from * keys * a..].chunks(a)) {
            let pairs = q.iter().zip(k);
            *weight = match op.score {
                Score::Dot => pairs.map(|(q, k)| q * k).sum(),
                Score::Additive => pairs.zip(v).map(|((q, k), v)| v * (q + k).tanh()).sum(),
            };
        }
        let top = weights.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        weights.iter_mut().for_each(|w| *w = (*w - top).exp());
        let sum: f32 = weights.iter().sum();
        for (weight, values) in weights.iter_mut().zip(values[from * keys * c..].chunks(c)) {
            *weight /= sum;
            context.iter_mut().zip(values).for_each(|(y, value)| *y += *weight * value);
        }
    }
}

/// Of every element of q, v times the sum over keys of d (1 - u²), and the sum of d u; where `of_key`, of every element of k v
/// times the sum over queries of d (1 - u²). u = tanh(q + k); all are zero before.
pub(super) fn sums(x: &[&Tensor], of_key: bool, slope: &mut [f32], mut of_v: Option<&mut [f32]>) {
    let ([b, t, a], s) = ([0, 1, 2].map(|i| x[0].ty().dims[i]), x[1].ty().dims[1]);
    let [q, k, d] = [0, 1, 4].map(|i| x[i].as_f32());
    for row in 0..b * t {
        for key in 0..s.min(x[3].as_u32()[row / t] as usize) {
            let (d, from) = (d[row * s + key], row / t * s + key);
            let at = if of_key { from } else { row } * a;
            for i in 0..a {
                let u = (q[row * a + i] + k[from * a + i]).tanh();
                slope[at + i] += d * (1.0 - u * u);
                if let Some(of_v) = &mut of_v {
                    of_v[at + i] += d * u;
                }
            }
        }
    }
    slope.chunks_mut(a).for_each(|slope| slope.iter_mut().zip(x[2].as_f32()).for_each(|(y, v)| *y *= v));
}
