//! loss = -sum over classes of q log softmax(x), q = (1 - eps) on the target + eps / V on every class (Szegedy et
//! al. 2016; PyTorch's definition), with the gradient softmax(x) - q in the same pass

use crate::case::{Bound, Case, Draw, TINY, U, gamma};
use crate::graph::{Graph, Value};
use crate::large::{Large, given, ids, noise};
use crate::op::*;
use crate::ops::matmul::Activation;
use crate::shader;
use crate::tensor::{Tensor, Type};

/// What a target holds where there is nothing to predict: padding.
pub const IGNORE: u32 = u32::MAX;

/// Cross-entropy with label smoothing. Inputs: logits (N, V), targets (N) as u32 with [`IGNORE`], weight (1).
/// Outputs: loss (N) and nll (N) (the loss without smoothing), both times weight, and the gradient of the loss (N, V),
/// which takes over the logits' buffer: probabilities are never stored.
#[derive(Debug)]
pub struct CrossEntropy {
    /// eps.
    pub smoothing: f32,
    /// Whether the gradient is computed; without it the third output means nothing.
    pub gradient: bool,
}

/// The entropy of the smoothed target over V classes: what KL(q || p) lacks to the cross-entropy.
pub fn target_entropy(smoothing: f64, classes: usize) -> f64 {
    let v = classes as f64;
    let (on, off) = (1.0 - smoothing + smoothing / v, smoothing / v);
    let term = |p: f64| if p > 0.0 { -p * p.ln() } else { 0.0 };
    term(on) + (v - 1.0) * term(off)
}

impl Op for CrossEntropy {
    fn name(&self) -> &'static str {
        "cross_entropy"
    }

    fn types(&self, x: &[&Type]) -> Result<Vec<Type>, String> {
        if x[0].dims.len() != 2 || x[1].dims != x[0].dims[..1] || x[2].elements() != 1 {
            return Err("logits are (N, V), targets (N), the weight (1)".into());
        }
        let rows = Type::f32([x[0].dims[0]]);
        Ok(vec![rows.clone(), rows, x[0].clone()])
    }

    fn cpu(&self, x: &[&Tensor], y: &mut [Tensor]) {
        let classes = x[0].ty().cols();
        let (eps, weight) = (self.smoothing as f64, x[2].as_f32()[0] as f64);
        let [loss, nll, dx] = y else { unreachable!("three outputs") };
        for (n, x) in x[0].as_f32().chunks(classes).enumerate().zip(x[1].as_u32()).map(|((n, x), &t)| (n, (x, t))) {
            let (x, target) = x;
            if target == IGNORE {
                continue;
            }
            let target = target as usize;
            let top = x.iter().copied().fold(f32::NEG_INFINITY, f32::max) as f64;
            let exp: Vec<f64> = x.iter().map(|&x| (x as f64 - top).exp()).collect();
            let sum: f64 = exp.iter().sum();
            let log_p = |c: usize| x[c] as f64 - top - sum.ln();
            let mean_log_p = (0..classes).map(log_p).sum::<f64>() / classes as f64;
            loss.as_f32_mut()[n] = (weight * -((1.0 - eps) * log_p(target) + eps * mean_log_p)) as f32;
            nll.as_f32_mut()[n] = (weight * -log_p(target)) as f32;
            if self.gradient {
                for (c, e) in exp.iter().enumerate() {
                    let q = if c == target { 1.0 - eps } else { 0.0 } + eps / classes as f64;
                    dx.as_f32_mut()[n * classes + c] = (weight * (e / sum - q)) as f32;
                }
            }
        }
    }

    fn launches(&self, x: &[&Type], _: &[&Type], adapter: &Adapter) -> Vec<Launch> {
        let run = [x[0].dims[0] as u32, x[0].dims[1] as u32, 0, 0];
        let set = |l: Launch| {
            l.constant("SMOOTHING", self.smoothing.into()).constant("GRADIENT", f64::from(self.gradient))
        };
        Launch::rows(shader!("cross_entropy"), x[0].dims[0], run, adapter).into_iter().map(set).collect()
    }

    fn vjp(&self, g: &mut Graph, _: &[Value], y: &[Value], dy: &[Option<Value>]) -> Vec<Option<Value>> {
        assert!(self.gradient && dy[1].is_none(), "{self:?} is differentiable in its loss, and only with a gradient");
        let dloss = dy[0].expect("a cotangent of the loss");
        vec![Some(g.mul_rows(y[2], dloss)), None, None]
    }

    fn cost(&self, x: &[&Type], _: &[&Type]) -> Cost {
        let n = x[0].elements();
        Cost { flops: 8 * n as u64, bytes: 2 * x[0].bytes() as u64 }
    }

    fn bound(&self, x: &[Tensor], y: &[Tensor]) -> Vec<Vec<f64>> {
        let mut bounds = bound(self.smoothing.into())(x, y);
        if !self.gradient {
            // The third output means nothing then.
            bounds[2].fill(f64::INFINITY);
        }
        bounds
    }

    fn in_place(&self) -> &'static [(usize, usize)] {
        &[(0, 2)]
    }
}

impl Graph {
    /// Per-row (loss, nll) of logits (N, V) against targets (N), both times `weight` (1).
    #[track_caller]
    pub fn cross_entropy(
        &mut self,
        logits: Value,
        targets: Value,
        weight: Value,
        smoothing: f32,
        gradient: bool,
    ) -> (Value, Value) {
        let y = self.push(CrossEntropy { smoothing, gradient }, &[logits, targets, weight]);
        (y[0], y[1])
    }

    /// Sums of (loss, nll) over the rows, each times `weight` (1), of states (..., C) projected to the classes of a table
    /// (V, C), against targets (N). The logits exist for a few rows at a time; where there is a `gradient`, it is
    /// computed before the next rows come.
    #[track_caller]
    pub fn projected_cross_entropy(
        &mut self,
        states: Value,
        table: Value,
        targets: Value,
        weight: Value,
        smoothing: f32,
        gradient: bool,
    ) -> (Value, Value) {
        let rows = chunk_rows(self.ty(states).rows(), self.ty(table).dims[0]);
        self.projected_cross_entropy_by(rows, states, table, targets, weight, smoothing, gradient)
    }

    /// Like [`Graph::projected_cross_entropy`], so many rows at a time.
    #[track_caller]
    #[allow(clippy::too_many_arguments)]
    pub fn projected_cross_entropy_by(
        &mut self,
        chunk: usize,
        states: Value,
        table: Value,
        targets: Value,
        weight: Value,
        smoothing: f32,
        gradient: bool,
    ) -> (Value, Value) {
        let dims = [self.ty(states).rows(), self.ty(states).cols()];
        let x = self.reshape(states, &dims);
        let mut sums: Option<[Value; 2]> = None;
        let mut gradients: Option<[Value; 2]> = None;
        for first in (0..dims[0]).step_by(chunk) {
            let range = first..dims[0].min(first + chunk);
            let (x, targets) = (self.rows(x, range.clone()), self.rows(targets, range));
            let logits = self.linear(x, table, None, Activation::None);
            let y = self.push(CrossEntropy { smoothing, gradient }, &[logits, targets, weight]);
            let parts = [self.sum(y[0]), self.sum(y[1])];
            sums = Some(match sums {
                Some([loss, nll]) => [self.add(loss, parts[0]), self.add(nll, parts[1])],
                None => parts,
            });
            if !gradient {
                continue;
            }
            let outer = self.set_backward(true);
            let dx = self.matmul(y[2], table, false, false);
            gradients = Some(match gradients {
                Some([dstates, dtable]) => {
                    [self.set_rows(dstates, first, dx), self.matmul_add(dtable, y[2], x, true, false)]
                }
                None => {
                    let zeros = self.fill(0.0, &dims);
                    [self.set_rows(zeros, first, dx), self.matmul(y[2], x, true, false)]
                }
            });
            self.set_backward(outer);
        }
        let [loss, nll] = sums.expect("there is at least one row");
        if let Some([dstates, dtable]) = gradients {
            let dims = self.ty(states).dims.clone();
            let dstates = self.reshape(dstates, &dims);
            self.set_gradient(loss, vec![(states, dstates), (table, dtable)]);
        }
        (loss, nll)
    }
}

/// Bytes of logits that are worth having at once: enough rows for every core of a GPU, little beside the activations.
const CHUNK: usize = 32 << 20;

/// Into how many rows the logits of `rows` states and `classes` are cut: chunks of one size, as few as need be.
fn chunk_rows(rows: usize, classes: usize) -> usize {
    let chunks = (4 * rows * classes).div_ceil(CHUNK);
    // A multiple of four is what the products' faster kernels take.
    rows.div_ceil(chunks).next_multiple_of(4)
}

/// exp is accurate to (3 + 2|x|) units in the last place and log to 2^-21 near one (WGSL specification); the sums
/// add γ(V) of their terms.
fn bound(smoothing: f64) -> Bound {
    Box::new(move |x, y| {
        let classes = x[0].ty().cols();
        let weight = x[2].as_f32()[0].abs() as f64;
        let mut bounds = vec![vec![], vec![], vec![]];
        for (n, row) in x[0].as_f32().chunks(classes).enumerate() {
            let top = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let reach: Vec<f64> = row.iter().map(|x| (top - x) as f64).collect();
            // Terms far below the largest do not count: e^-40 of them is under the roundoff of the sum.
            let near = reach.iter().copied().filter(|r| *r < 40.0).fold(0.0, f64::max);
            let relative = gamma(classes) + U * (12.0 + 2.0 * (3.0 + 4.0 * near));
            let mean = reach.iter().sum::<f64>() / classes as f64;
            let target = x[1].as_u32()[n];
            let x_t = if target == IGNORE { 0.0 } else { reach[target as usize] };
            let lse = relative + 2f64.powi(-21) + 4.0 * U * (classes as f64).ln();
            bounds[0].push(weight * (lse + 8.0 * U * x_t + smoothing * (gamma(classes) + 4.0 * U) * mean) + TINY);
            bounds[1].push(weight * (lse + 8.0 * U * x_t) + TINY);
            for (c, reach) in reach.iter().enumerate() {
                let q = if c as u32 == target { 1.0 - smoothing } else { 0.0 } + smoothing / classes as f64;
                // p + q is at most |p - q| + 2 q.
                let p_and_q = y[2].as_f32()[n * classes + c].abs() as f64 + 2.0 * weight * q;
                bounds[2].push((relative + 8.0 * U * (1.0 + reach.min(90.0))) * p_and_q + TINY);
            }
        }
        bounds
    })
}

/// Cases of the kernel.
pub fn cases(draw: &mut Draw) -> Vec<Case> {
    draw.set_largest(1e34);
    let mut cases = vec![];
    let shapes = [
        (1, 1, 0.0, 1.0),
        (5, 7, 0.1, 1.0),
        (70, 33, 0.1, 3.0),
        (3, 300, 0.0, 1.0),
        (4, 9, 0.2, 1000.0),
        (1, 40_000, 0.1, 1.0),
    ];
    for (n, classes, smoothing, size) in shapes {
        let logits = draw.tensor(&[n, classes]).as_f32().iter().map(|x| x * size).collect();
        let logits = Tensor::f32([n, classes], logits);
        let mut targets = draw.ids(&[n], classes);
        if n > 2 {
            targets.as_u32_mut()[1] = IGNORE;
        }
        let op = CrossEntropy { smoothing, gradient: true };
        let inputs = vec![logits, targets, Tensor::f32([1], vec![0.25])];
        let mut case = Case::new(format!("{n}x{classes} eps {smoothing} size {size}"), op, inputs, bound(smoothing.into()));
        if size < 10.0 && (2..1000).contains(&classes) {
            case = case.wrt(&[0]);
        }
        cases.push(case);
    }
    let inputs = vec![draw.tensor(&[3, 37]), Tensor::u32([3], vec![IGNORE; 3]), Tensor::f32([1], vec![0.25])];
    cases.push(Case::new("nothing to predict", CrossEntropy { smoothing: 0.1, gradient: true }, inputs, bound(0.1)));
    cases
}

/// Large cases of the kernel.
pub fn large() -> Vec<Large> {
    let case = |n: usize, classes: usize| {
        let inputs = [noise(&[n, classes]), ids(&[n], classes), given(Tensor::f32([1], vec![1.0]))];
        Large::new(format!("{n}x{classes} eps 0.1"), CrossEntropy { smoothing: 0.1, gradient: true }, inputs)
    };
    vec![case(4096, 8000), case(1024, 32_000)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entropy_of_the_target() {
        assert_eq!(target_entropy(0.0, 10), 0.0);
        let h = target_entropy(0.1, 37);
        assert!((h - 0.6677703254917352).abs() <= 1e-12, "{h}");
    }
}
