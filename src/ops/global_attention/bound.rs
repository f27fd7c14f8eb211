//! How far a kernel's weights and context may be off.

use super::{GlobalAttention, Score, line};
use crate::case::{TINY, U, gamma};
use crate::ops::sigmoid::sigmoid;
use crate::tensor::Tensor;

/// The kernels' tanh of a sum: exp is good to some units in the last place of its argument.
pub(super) const TANH: f64 = 66.0 * U;

fn sum(x: &[f32]) -> f64 {
    x.iter().map(|x| x.abs() as f64).sum()
}

/// The largest error of a score of this row: that of a sum of A products, either of whose factors may be flushed to zero.
fn slip(op: &GlobalAttention, x: &[&Tensor], row: usize, terms: &[Vec<f64>]) -> f64 {
    let [_, time, a] = x[0].ty().dims[..] else { unreachable!("types were checked") };
    match op.score {
        Score::Additive => (TANH + gamma(a + 2) + TINY) * sum(x[2].as_f32()) + 2.0 * a as f64 * TINY,
        Score::Dot => {
            let start = line(op, x, row / time) * x[1].ty().dims[1];
            let q = sum(&x[0].as_f32()[row * a..][..a]);
            let one = |(s, terms): (usize, &Vec<f64>)| {
                let size: f64 = terms.iter().map(|x| x.abs()).sum();
                let flushed = q + sum(&x[1].as_f32()[(start + s) * a..][..a]) + 2.0 * a as f64;
                gamma(a + 2) * size + TINY * flushed
            };
            terms.iter().enumerate().map(one).fold(0.0, f64::max)
        }
    }
}

/// Of each key the weight at most, and the error of the kernel's. A weight is the sigmoid of how far its score is above the
/// logarithm of the sum over the others, which moves by twice the error of a score.
fn weights(op: &GlobalAttention, x: &[&Tensor], row: usize) -> Vec<[f64; 2]> {
    let terms = op.terms(x, row);
    let slip = slip(op, x, row, &terms);
    let scores: Vec<f64> = terms.iter().map(|terms| terms.iter().sum()).collect();
    let first = (0..scores.len()).reduce(|best, s| if scores[s] > scores[best] { s } else { best });
    // How far below the largest.
    let below: Vec<f64> = scores.iter().map(|s| s - scores[first.expect("there is a score")]).collect();
    let all: f64 = below.iter().map(|s| s.exp()).sum();
    let log_sum = |scores: Vec<f64>| {
        let top = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        top + scores.iter().map(|s| (s - top).exp()).sum::<f64>().ln()
    };
    let reach = below.iter().map(|s| -s.max(-110.0)).fold(0.0, f64::max);
    let relative = 4.0 * U * (3.0 + 3.0 * reach) + gamma(scores.len()) + 8.0 * U;
    let one = |s: usize| {
        let gap = match scores.len() {
            1 => f64::INFINITY,
            _ if Some(s) == first => -log_sum((0..scores.len()).filter(|&other| other != s).map(|s| below[s]).collect()),
            // The sum has this key's part and at least as much of the first.
            _ => below[s] - (all - below[s].exp()).ln(),
        };
        let [low, weight, high] = [gap - 2.0 * slip, gap, gap + 2.0 * slip].map(sigmoid);
        [high, (high - weight).max(weight - low) + high * (relative + U) + 64.0 * TINY]
    };
    (0..scores.len()).map(one).collect()
}

/// Bounds of context and weights.
pub(super) fn bound(op: &GlobalAttention, x: &[&Tensor], y: &[Tensor]) -> Vec<Vec<f64>> {
    let (time, keys, c) = (x[0].ty().dims[1], x[1].ty().dims[1], x[3].ty().cols());
    let (mut context, mut of_weights) = (vec![0.0; y[0].ty().elements()], vec![0.0; y[1].ty().elements()]);
    for row in 0..x[0].ty().rows() {
        let weights = weights(op, x, row);
        let values = &x[3].as_f32()[line(op, x, row / time) * keys * c..];
        for (s, [high, error]) in weights.iter().enumerate() {
            of_weights[row * keys + s] = *error;
            for j in 0..c {
                let value = values[s * c + j].abs() as f64;
                context[row * c + j] += (error + (gamma(weights.len() + 2) + U) * high) * value + 3.0 * TINY;
            }
        }
    }
    vec![context, of_weights]
}
