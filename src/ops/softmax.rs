//! y = softmax(s x) over the columns that a mask leaves (Vaswani et al. 2017, section 3.2.1)

use crate::case::{Bound, Case, Draw, TINY, U, gamma};
use crate::graph::{Graph, Value};
use crate::large::{Large, noise, positive, words};
use crate::op::*;
use crate::shader;
use crate::tensor::{Tensor, Type};

/// Masked softmax over the last dimension of x (B, H, T, S), scaled first. Inputs: x, lengths (B): column c of batch
/// b takes part when c < lengths\[b\] and, where causal, c <= t. A row with no column left is all zeros.
#[derive(Debug)]
pub struct Softmax {
    /// The factor on x: 1 / sqrt(d_k) in attention.
    pub scale: f32,
    /// A position sees only itself and earlier ones.
    pub causal: bool,
}

impl Softmax {
    /// How many leading columns of a row take part.
    fn valid(&self, x: &Type, lengths: &[u32], row: usize) -> usize {
        let (h, t, s) = (x.dims[1], x.dims[2], x.dims[3]);
        let by_length = (lengths[row / (h * t)] as usize).min(s);
        if self.causal { by_length.min(row % t + 1) } else { by_length }
    }
}

impl Op for Softmax {
    fn name(&self) -> &'static str {
        "softmax"
    }

    fn types(&self, x: &[&Type]) -> Result<Vec<Type>, String> {
        match x[0].dims.len() == 4 && x[1].dims == [x[0].dims[0]] {
            true => Ok(vec![x[0].clone()]),
            false => Err("x is (B, H, T, S), lengths (B)".into()),
        }
    }

    fn cpu(&self, x: &[&Tensor], y: &mut [Tensor]) {
        let (ty, s) = (x[0].ty(), x[0].ty().cols());
        for (row, y) in y[0].as_f32_mut().chunks_mut(s).enumerate() {
            let valid = self.valid(ty, x[1].as_u32(), row);
            let scaled: Vec<f64> =
                x[0].as_f32()[row * s..][..valid].iter().map(|&x| self.scale as f64 * x as f64).collect();
            let top = scaled.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let sum: f64 = scaled.iter().map(|v| (v - top).exp()).sum();
            for (y, v) in y.iter_mut().zip(&scaled) {
                *y = ((v - top).exp() / sum) as f32;
            }
        }
    }

    fn launches(&self, x: &[&Type], _: &[&Type], adapter: &Adapter) -> Vec<Launch> {
        let d = &x[0].dims;
        let run = [x[0].rows(), d[3], d[2], d[1]].map(|n| n as u32);
        let launches = Launch::rows(shader!("softmax"), x[0].rows(), run, adapter);
        let set = |l: Launch| l.constant("SCALE", self.scale.into()).constant("CAUSAL", f64::from(self.causal));
        launches.into_iter().map(set).collect()
    }

    fn vjp(&self, g: &mut Graph, _: &[Value], y: &[Value], dy: &[Option<Value>]) -> Vec<Option<Value>> {
        let dy = dy[0].expect("the only output");
        vec![Some(g.push(SoftmaxVjp { scale: self.scale }, &[y[0], dy])[0]), None]
    }

    fn cost(&self, x: &[&Type], y: &[&Type]) -> Cost {
        Cost::new(5 * y[0].elements(), x, y)
    }

    fn bound(&self, x: &[Tensor], y: &[Tensor]) -> Vec<Vec<f64>> {
        forward_bound(self.scale)(x, y)
    }
}

/// dx = s y (dy - sum of y dy over the row).
#[derive(Debug)]
pub struct SoftmaxVjp {
    /// The factor of the forward pass.
    pub scale: f32,
}

impl Op for SoftmaxVjp {
    fn name(&self) -> &'static str {
        "softmax_vjp"
    }

    fn types(&self, x: &[&Type]) -> Result<Vec<Type>, String> {
        alike(x)
    }

    fn cpu(&self, x: &[&Tensor], y: &mut [Tensor]) {
        let s = x[0].ty().cols();
        for (row, dx) in y[0].as_f32_mut().chunks_mut(s).enumerate() {
            let (y, dy) = (&x[0].as_f32()[row * s..][..s], &x[1].as_f32()[row * s..][..s]);
            let dot: f64 = y.iter().zip(dy).map(|(&y, &dy)| y as f64 * dy as f64).sum();
            for c in 0..s {
                dx[c] = (self.scale as f64 * y[c] as f64 * (dy[c] as f64 - dot)) as f32;
            }
        }
    }

    fn launches(&self, x: &[&Type], _: &[&Type], adapter: &Adapter) -> Vec<Launch> {
        let run = [x[0].rows() as u32, x[0].cols() as u32, 0, 0];
        let launches = Launch::rows(shader!("softmax_vjp"), x[0].rows(), run, adapter);
        launches.into_iter().map(|l| l.constant("SCALE", self.scale.into())).collect()
    }

    fn vjp(&self, _: &mut Graph, _: &[Value], _: &[Value], _: &[Option<Value>]) -> Vec<Option<Value>> {
        not_differentiable(self)
    }

    fn cost(&self, x: &[&Type], y: &[&Type]) -> Cost {
        Cost::new(5 * y[0].elements(), x, y)
    }

    fn bound(&self, x: &[Tensor], y: &[Tensor]) -> Vec<Vec<f64>> {
        backward_bound(self.scale)(x, y)
    }
}

impl Graph {
    /// softmax(scale x) of x (B, H, T, S) with key lengths (B), causal or not.
    #[track_caller]
    pub fn softmax(&mut self, x: Value, lengths: Value, scale: f32, causal: bool) -> Value {
        self.push(Softmax { scale, causal }, &[x, lengths])[0]
    }
}

/// exp is accurate to (3 + 2|x|) units in the last place (WGSL specification), the sum adds γ(S).
fn forward_bound(scale: f32) -> Bound {
    Box::new(move |x, y| {
        let s = y[0].ty().cols();
        let rows = y[0].as_f32().chunks(s).zip(x[0].as_f32().chunks(s));
        let row = |(y, x): (&[f32], &[f32])| {
            let used: Vec<f64> =
                x.iter().zip(y).filter(|(_, y)| **y > 0.0).map(|(x, _)| (scale * x).abs() as f64).collect();
            let reach = used.iter().copied().fold(0.0, f64::max);
            let relative = gamma(s) + U * (12.0 + 2.0 * (3.0 + 4.0 * reach));
            y.iter().map(|y| relative * *y as f64 + 64.0 * TINY).collect::<Vec<f64>>()
        };
        vec![rows.flat_map(row).collect()]
    })
}

fn backward_bound(scale: f32) -> Bound {
    Box::new(move |x, _| {
        let s = x[0].ty().cols();
        let rows = x[0].as_f32().chunks(s).zip(x[1].as_f32().chunks(s));
        let row = |(y, dy): (&[f32], &[f32])| {
            let dot: f64 = y.iter().zip(dy).map(|(y, dy)| (y * dy).abs() as f64).sum();
            let flushed: f64 = y.iter().zip(dy).map(|(y, dy)| TINY * (1.0 + y + dy.abs()) as f64).sum();
            let one = |(y, dy): (&f32, &f32)| {
                let (y, dy) = (y.abs() as f64, dy.abs() as f64);
                let slip = y * (gamma(s + 4) * dot + 4.0 * U * dy + flushed + TINY) + 2.0 * TINY * (dy + dot);
                scale as f64 * slip + TINY
            };
            y.iter().zip(dy).map(one).collect::<Vec<f64>>()
        };
        vec![rows.flat_map(row).collect()]
    })
}

/// Cases of both kernels.
pub fn cases(draw: &mut Draw) -> Vec<Case> {
    draw.set_largest(1e34);
    let mut cases = vec![];
    for (dims, lengths, causal) in [
        ([1, 1, 1, 1], vec![1], false),
        ([2, 3, 5, 7], vec![7, 3], false),
        ([3, 2, 6, 6], vec![6, 0, 4], true),
        ([2, 1, 3, 130], vec![130, 65], false),
        ([1, 2, 33, 33], vec![33], true),
    ] {
        let lengths = Tensor::u32([dims[0]], lengths);
        let name = format!("{dims:?} lengths {:?}{}", lengths.as_u32(), if causal { " causal" } else { "" });
        let op = || Softmax { scale: 0.5, causal };
        let x = draw.tensor(&dims);
        let case = Case::new(&name, op(), vec![x.clone(), lengths.clone()], forward_bound(0.5)).wrt(&[0]);
        let y = case.definition().remove(0);
        cases.push(case);
        let dy = draw.tensor(&dims);
        cases.push(Case::new(&name, SoftmaxVjp { scale: 0.5 }, vec![y, dy], backward_bound(0.5)));
        let huge = x.as_f32().iter().map(|x| x * 1e4).collect();
        let huge = Tensor::f32(dims, huge);
        cases.push(Case::new(format!("{name}, peaked"), op(), vec![huge, lengths.clone()], forward_bound(0.5)));
        let equal = Tensor::f32(dims, vec![-3e30; dims.iter().product()]);
        cases.push(Case::new(format!("{name} equal"), op(), vec![equal, lengths], forward_bound(0.0)));
    }
    cases
}

/// Large cases of both kernels.
pub fn large() -> Vec<Large> {
    let mut large = vec![];
    for batches in [4, 1] {
        let dims = [batches, 8, 512, 512];
        let name = format!("{}x512", batches * 8 * 512);
        let forward = Softmax { scale: 0.125, causal: false };
        large.push(Large::new(&name, forward, [noise(&dims), words(&vec![512; batches])]));
        large.push(Large::new(name, SoftmaxVjp { scale: 0.125 }, [positive(&dims), noise(&dims)]));
    }
    large
}

#[cfg(test)]
mod tests {
    use super::*;

    /// q1·k1 = 112, q1·k2 = 96, d_k = 64: 14 and 12, then 0.88 and 0.12.
    #[test]
    fn worked_example() {
        let x = Tensor::f32([1, 1, 1, 2], vec![112.0, 96.0]);
        let mut y = [Tensor::zeros(x.ty())];
        Softmax { scale: 0.125, causal: false }.cpu(&[&x, &Tensor::u32([1], vec![2])], &mut y);
        assert!((y[0].as_f32()[0] - 0.880797).abs() <= 1e-6 && (y[0].as_f32()[1] - 0.119203).abs() <= 1e-6);
    }
}
