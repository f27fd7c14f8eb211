//! y = (x - mean) / sqrt(variance + eps) w + b over the columns of a row (Ba, Kiros and Hinton 2016)

use crate::case::{Bound, Case, Draw, TINY, U, gamma};
use crate::graph::{Graph, Value};
use crate::op::*;
use crate::shader;
use crate::tensor::{Tensor, Type};
use crate::ops::column_sum::{ColumnSum, blocks};

/// Layer norm over the last dimension. Inputs: x (..., C), w (C), b (C); outputs: y (..., C), statistics (rows, 2):
/// mean and 1 / sqrt(variance + eps), for the backward pass.
#[derive(Debug)]
pub struct LayerNorm {
    /// Added to the variance.
    pub eps: f32,
}

/// z = (x - mean) rstd of one row.
fn normalised(x: &[f32], mean: f64, rstd: f64) -> Vec<f64> {
    x.iter().map(|&x| (x as f64 - mean) * rstd).collect()
}

impl Op for LayerNorm {
    fn name(&self) -> &'static str {
        "layer_norm"
    }

    fn types(&self, x: &[&Type]) -> Result<Vec<Type>, String> {
        match x[1].dims == [x[0].cols()] && x[2] == x[1] {
            true => Ok(vec![x[0].clone(), Type::f32([x[0].rows(), 2])]),
            false => Err("one weight and one bias per column".into()),
        }
    }

    fn cpu(&self, x: &[&Tensor], y: &mut [Tensor]) {
        let c = x[0].ty().cols();
        let (w, b) = (x[1].as_f32(), x[2].as_f32());
        let [y, statistics] = y else { unreachable!("two outputs") };
        for (r, x) in x[0].as_f32().chunks(c).enumerate() {
            let mean = x.iter().map(|&x| x as f64).sum::<f64>() / c as f64;
            let variance = x.iter().map(|&x| (x as f64 - mean).powi(2)).sum::<f64>() / c as f64;
            let rstd = 1.0 / (variance + self.eps as f64).sqrt();
            for (j, z) in normalised(x, mean, rstd).into_iter().enumerate() {
                y.as_f32_mut()[r * c + j] = (z * w[j] as f64 + b[j] as f64) as f32;
            }
            statistics.as_f32_mut()[2 * r..2 * r + 2].copy_from_slice(&[mean as f32, rstd as f32]);
        }
    }

    fn launches(&self, x: &[&Type], _: &[&Type], adapter: &Adapter) -> Vec<Launch> {
        let run = [x[0].rows() as u32, x[0].cols() as u32, 0, 0];
        let launches = Launch::rows(shader!("layer_norm"), x[0].rows(), run, adapter);
        launches.into_iter().map(|l| l.constant("EPS", self.eps.into())).collect()
    }

    fn vjp(&self, g: &mut Graph, x: &[Value], y: &[Value], dy: &[Option<Value>]) -> Vec<Option<Value>> {
        let dy = dy[0].expect("the statistics have no cotangent");
        let dx = g.push(LayerNormVjp, &[dy, x[0], x[1], y[1]])[0];
        let c = g.ty(x[0]).cols();
        let groups = blocks(g.ty(x[0]).rows());
        let partial = g.push(LayerNormWeightVjp { groups }, &[dy, x[0], y[1]]);
        let mut total = |partial: Value| {
            let sum = if groups > 1 { g.push(ColumnSum { groups: 1 }, &[partial])[0] } else { partial };
            Some(g.reshape(sum, &[c]))
        };
        vec![Some(dx), total(partial[0]), total(partial[1])]
    }

    fn cost(&self, x: &[&Type], y: &[&Type]) -> Cost {
        Cost::new(8 * y[0].elements(), x, y)
    }
}

/// dx = rstd (g - mean(g) - z mean(g z)), g = dy w. Inputs: dy, x, w, statistics.
#[derive(Debug)]
pub struct LayerNormVjp;

impl Op for LayerNormVjp {
    fn name(&self) -> &'static str {
        "layer_norm_vjp"
    }

    fn types(&self, x: &[&Type]) -> Result<Vec<Type>, String> {
        alike(&x[..2])
    }

    fn cpu(&self, x: &[&Tensor], y: &mut [Tensor]) {
        let c = x[0].ty().cols();
        let w = x[2].as_f32();
        for (r, dx) in y[0].as_f32_mut().chunks_mut(c).enumerate() {
            let statistics = &x[3].as_f32()[2 * r..];
            let (mean, rstd) = (statistics[0] as f64, statistics[1] as f64);
            let z = normalised(&x[1].as_f32()[r * c..][..c], mean, rstd);
            let g: Vec<f64> = (0..c).map(|j| x[0].as_f32()[r * c + j] as f64 * w[j] as f64).collect();
            let mean_g = g.iter().sum::<f64>() / c as f64;
            let mean_gz = g.iter().zip(&z).map(|(g, z)| g * z).sum::<f64>() / c as f64;
            for j in 0..c {
                dx[j] = (rstd * (g[j] - mean_g - z[j] * mean_gz)) as f32;
            }
        }
    }

    fn launches(&self, x: &[&Type], _: &[&Type], adapter: &Adapter) -> Vec<Launch> {
        let run = [x[0].rows() as u32, x[0].cols() as u32, 0, 0];
        Launch::rows(shader!("layer_norm_vjp"), x[0].rows(), run, adapter)
    }

    fn vjp(&self, _: &mut Graph, _: &[Value], _: &[Value], _: &[Option<Value>]) -> Vec<Option<Value>> {
        not_differentiable(self)
    }

    fn cost(&self, x: &[&Type], y: &[&Type]) -> Cost {
        Cost::new(12 * y[0].elements(), x, y)
    }
}

/// Partial sums of dw = dy z and db = dy over blocks of rows. Inputs: dy, x, statistics; outputs (groups, C) each.
#[derive(Debug)]
pub struct LayerNormWeightVjp {
    /// Number of blocks.
    pub groups: usize,
}

impl Op for LayerNormWeightVjp {
    fn name(&self) -> &'static str {
        "layer_norm_weight_vjp"
    }

    fn types(&self, x: &[&Type]) -> Result<Vec<Type>, String> {
        let partial = Type::f32([self.groups, x[0].cols()]);
        Ok(vec![partial.clone(), partial])
    }

    fn cpu(&self, x: &[&Tensor], y: &mut [Tensor]) {
        let (rows, c) = (x[0].ty().rows(), x[0].ty().cols());
        let block = rows.div_ceil(self.groups);
        let mut sums = vec![(0.0, 0.0); self.groups * c];
        for r in 0..rows {
            let (mean, rstd) = (x[2].as_f32()[2 * r] as f64, x[2].as_f32()[2 * r + 1] as f64);
            let z = normalised(&x[1].as_f32()[r * c..][..c], mean, rstd);
            for j in 0..c {
                let dy = x[0].as_f32()[r * c + j] as f64;
                let sum = &mut sums[r / block * c + j];
                *sum = (sum.0 + dy * z[j], sum.1 + dy);
            }
        }
        for (i, (w, b)) in sums.into_iter().enumerate() {
            y[0].as_f32_mut()[i] = w as f32;
            y[1].as_f32_mut()[i] = b as f32;
        }
    }

    fn launches(&self, x: &[&Type], y: &[&Type], _: &Adapter) -> Vec<Launch> {
        let (rows, c) = (x[0].rows(), x[0].cols());
        let run = [rows, c, rows.div_ceil(self.groups), self.groups].map(|n| n as u32);
        vec![Launch::elements(shader!("layer_norm_weight_vjp"), y[0].elements(), run)]
    }

    fn vjp(&self, _: &mut Graph, _: &[Value], _: &[Value], _: &[Option<Value>]) -> Vec<Option<Value>> {
        not_differentiable(self)
    }

    fn cost(&self, x: &[&Type], y: &[&Type]) -> Cost {
        Cost::new(5 * x[0].elements(), x, y)
    }
}

impl Graph {
    /// Layer norm of x (..., C) with weight and bias (C).
    #[track_caller]
    pub fn layer_norm(&mut self, x: Value, w: Value, b: Value, eps: f32) -> Value {
        self.push(LayerNorm { eps }, &[x, w, b])[0]
    }
}

fn mean_abs(x: &[f32]) -> f64 {
    x.iter().map(|x| x.abs() as f64).sum::<f64>() / x.len() as f64
}

/// The mean is off by γ(C) mean|x|, which rstd amplifies; rstd itself by γ(C) relative.
fn forward_bound() -> Bound {
    Box::new(|x, y| {
        let c = x[0].ty().cols();
        let e = 4.0 * gamma(c + 8);
        let (w, b, statistics) = (x[1].as_f32(), x[2].as_f32(), y[1].as_f32());
        let mut bounds = vec![vec![], vec![]];
        for (r, x) in x[0].as_f32().chunks(c).enumerate() {
            let (mean, rstd) = (statistics[2 * r] as f64, statistics[2 * r + 1] as f64);
            for (j, z) in normalised(x, mean, rstd).into_iter().enumerate() {
                let slip = e * ((x[j].abs() as f64 + mean_abs(x)) * rstd + z.abs());
                bounds[0].push(slip * w[j].abs() as f64 + 4.0 * U * b[j].abs() as f64 + TINY);
            }
            let slip = e * (1.0 + (mean_abs(x) * rstd * e).powi(2));
            bounds[1].extend([gamma(c + 1) * mean_abs(x) + TINY, slip * rstd]);
        }
        bounds
    })
}

fn backward_bound() -> Bound {
    Box::new(|x, _| {
        let c = x[0].ty().cols();
        let w = x[2].as_f32();
        let mut bounds = vec![];
        for (r, dy) in x[0].as_f32().chunks(c).enumerate() {
            let (mean, rstd) = (x[3].as_f32()[2 * r] as f64, x[3].as_f32()[2 * r + 1] as f64);
            let row = &x[1].as_f32()[r * c..][..c];
            let z = normalised(row, mean, rstd);
            let slip_z: Vec<f64> = row.iter().map(|x| 4.0 * U * (x.abs() as f64 + mean.abs()) * rstd).collect();
            let g: Vec<f64> = (0..c).map(|j| (dy[j] * w[j]).abs() as f64).collect();
            let mean_g = g.iter().sum::<f64>() / c as f64;
            let mean_gz = (0..c).map(|j| g[j] * z[j].abs()).sum::<f64>() / c as f64;
            let slip_gz = (0..c).map(|j| g[j] * slip_z[j]).sum::<f64>() / c as f64;
            for j in 0..c {
                let own = gamma(c + 16) * (g[j] + mean_g + z[j].abs() * mean_gz);
                bounds.push(rstd * (own + slip_z[j] * mean_gz + z[j].abs() * slip_gz) + TINY);
            }
        }
        vec![bounds]
    })
}

fn weight_bound(groups: usize) -> Bound {
    Box::new(move |x, _| {
        let (rows, c) = (x[0].ty().rows(), x[0].ty().cols());
        let block = rows.div_ceil(groups);
        let mut bounds = vec![vec![TINY; groups * c]; 2];
        for r in 0..rows {
            let (mean, rstd) = (x[2].as_f32()[2 * r] as f64, x[2].as_f32()[2 * r + 1] as f64);
            for j in 0..c {
                let dy = x[0].as_f32()[r * c + j].abs() as f64;
                let reach = (x[1].as_f32()[r * c + j].abs() as f64 + mean.abs()) * rstd;
                bounds[0][r / block * c + j] += gamma(block + 4) * dy * reach;
                bounds[1][r / block * c + j] += gamma(block) * dy;
            }
        }
        bounds
    })
}

/// Cases of the three kernels.
pub fn cases(draw: &mut Draw) -> Vec<Case> {
    let mut cases = vec![];
    for (rows, c, groups) in [(1, 1, 1), (3, 5, 1), (70, 33, 4), (2, 300, 2), (130, 64, 3)] {
        let name = format!("{rows}x{c}");
        let (x, w, b) = (draw.tensor(&[rows, c]), draw.tensor(&[c]), draw.tensor(&[c]));
        let mut case = Case::new(&name, LayerNorm { eps: 1e-5 }, vec![x.clone(), w.clone(), b], forward_bound());
        if c > 1 {
            case = case.wrt(&[0, 1, 2]);
        }
        let statistics = case.definition().remove(1);
        cases.push(case);
        let dy = draw.tensor(&[rows, c]);
        let inputs = vec![dy.clone(), x.clone(), w, statistics.clone()];
        cases.push(Case::new(&name, LayerNormVjp, inputs, backward_bound()));
        let name = format!("{name} in {groups}");
        cases.push(Case::new(name, LayerNormWeightVjp { groups }, vec![dy, x, statistics], weight_bound(groups)));
    }
    let far = Tensor::f32([2, 16], (0..32).map(|i| 1000.0 + (i % 16) as f32).collect());
    let ones = Tensor::f32([16], vec![1.0; 16]);
    cases.push(Case::new("far from zero", LayerNorm { eps: 1e-5 }, vec![far, ones.clone(), ones], forward_bound()));
    cases
}
