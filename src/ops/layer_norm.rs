//! y = (x - mean) / sqrt(variance + eps) w + b over the columns of a row (Ba, Kiros and Hinton 2016)

use crate::case::{Bound, Case, Draw, TINY, U, gamma};
use crate::graph::{Graph, Value};
use crate::large::{Large, noise, positive};
use crate::op::*;
use crate::shader;
use crate::tensor::{Tensor, Type};

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
        let [dx, dw, db] = layer_norm_vjp(g, dy, x[0], x[1], y[1], None);
        vec![Some(dx), Some(dw), Some(db)]
    }

    fn cost(&self, x: &[&Type], y: &[&Type]) -> Cost {
        Cost::new(8 * y[0].elements(), x, y)
    }

    fn bound(&self, x: &[Tensor], y: &[Tensor]) -> Vec<Vec<f64>> {
        forward_bound()(x, y)
    }
}

/// Most blocks of rows that the gradient of the weights is summed in, before the blocks are added.
const BLOCKS: usize = 128;

/// Into how many blocks the backward pass cuts this many rows: a workgroup each.
pub(super) fn blocks(rows: usize) -> usize {
    rows.div_ceil(16).min(BLOCKS)
}

/// Cotangents of x, w and b from that of layer norm's y. `dx`, a cotangent of x from elsewhere, is added.
pub(super) fn layer_norm_vjp(
    g: &mut Graph,
    dy: Value,
    x: Value,
    w: Value,
    statistics: Value,
    dx: Option<Value>,
) -> [Value; 3] {
    let op = LayerNormVjp { add: dx.is_some() };
    let y = g.push(op, &[vec![dy, x, w, statistics], dx.into_iter().collect()].concat());
    let [dw, db] = weight_vjp(g, y[1]);
    [y[0], dw, db]
}

/// Cotangents of the weight and the bias from the partial sums of blocks.
pub(super) fn weight_vjp(g: &mut Graph, partial: Value) -> [Value; 2] {
    let y = g.push(LayerNormWeightVjp, &[partial]);
    [y[0], y[1]]
}

/// dx = rstd (g - mean(g) - z mean(g z)), g = dy w, and partial sums of dw = dy z and db = dy over blocks of rows.
/// Inputs: dy, x, w, statistics and, where `add`, a cotangent of x that dx takes over. Outputs: dx (..., C), partial
/// sums (blocks, 2, C).
#[derive(Debug)]
pub struct LayerNormVjp {
    /// Whether there is a fifth input, to which dx is added.
    pub add: bool,
}

/// The candidates of a kernel that gives a workgroup to each block of rows.
pub(super) fn block_launches(shader: Shader, rows: usize, run: [u32; 4], adapter: &Adapter) -> Vec<Launch> {
    let lanes = |n: u32| Launch::groups(shader, blocks(rows), run).constant("LANES", n.into());
    adapter.lane_candidates().map(|n| lanes(n).variant(format!("{n} lanes a row"))).into()
}

impl Op for LayerNormVjp {
    fn name(&self) -> &'static str {
        "layer_norm_vjp"
    }

    fn types(&self, x: &[&Type]) -> Result<Vec<Type>, String> {
        alike(&[&x[..2], &x[4..]].concat())?;
        Ok(vec![x[0].clone(), Type::f32([blocks(x[0].rows()), 2, x[0].cols()])])
    }

    fn cpu(&self, x: &[&Tensor], y: &mut [Tensor]) {
        let (rows, c) = (x[0].ty().rows(), x[0].ty().cols());
        let block = rows.div_ceil(blocks(rows));
        let w = x[2].as_f32();
        let mut sums = vec![0.0; y[1].ty().elements()];
        for (r, dx) in y[0].as_f32_mut().chunks_mut(c).enumerate() {
            let statistics = &x[3].as_f32()[2 * r..];
            let (mean, rstd) = (statistics[0] as f64, statistics[1] as f64);
            let z = normalised(&x[1].as_f32()[r * c..][..c], mean, rstd);
            let dy = &x[0].as_f32()[r * c..][..c];
            let g: Vec<f64> = (0..c).map(|j| dy[j] as f64 * w[j] as f64).collect();
            let mean_g = g.iter().sum::<f64>() / c as f64;
            let mean_gz = g.iter().zip(&z).map(|(g, z)| g * z).sum::<f64>() / c as f64;
            for j in 0..c {
                let more = if self.add { x[4].as_f32()[r * c + j] as f64 } else { 0.0 };
                dx[j] = (rstd * (g[j] - mean_g - z[j] * mean_gz) + more) as f32;
                sums[2 * (r / block) * c + j] += dy[j] as f64 * z[j];
                sums[(2 * (r / block) + 1) * c + j] += dy[j] as f64;
            }
        }
        for (partial, sum) in y[1].as_f32_mut().iter_mut().zip(sums) {
            *partial = sum as f32;
        }
    }

    fn launches(&self, x: &[&Type], _: &[&Type], adapter: &Adapter) -> Vec<Launch> {
        let (rows, c) = (x[0].rows(), x[0].cols());
        let run = [rows, c, rows.div_ceil(blocks(rows)), 0].map(|n| n as u32);
        let launches = block_launches(shader!("layer_norm_vjp"), rows, run, adapter);
        launches.into_iter().map(|l| l.constant("ADD", f64::from(self.add))).collect()
    }

    fn vjp(&self, _: &mut Graph, _: &[Value], _: &[Value], _: &[Option<Value>]) -> Vec<Option<Value>> {
        not_differentiable(self)
    }

    fn cost(&self, x: &[&Type], y: &[&Type]) -> Cost {
        Cost::new(17 * y[0].elements(), x, y)
    }

    fn bound(&self, x: &[Tensor], _: &[Tensor]) -> Vec<Vec<f64>> {
        backward_bound(x, x.get(4)).into()
    }

    fn in_place(&self) -> &'static [(usize, usize)] {
        if self.add { &[(4, 0)] } else { &[] }
    }
}

/// dw and db (C) from partial sums over blocks of rows (blocks, 2, C).
#[derive(Debug)]
pub struct LayerNormWeightVjp;

impl Op for LayerNormWeightVjp {
    fn name(&self) -> &'static str {
        "layer_norm_weight_vjp"
    }

    fn types(&self, x: &[&Type]) -> Result<Vec<Type>, String> {
        match x[0].dims[..] {
            [_, 2, c] => Ok(vec![Type::f32([c]), Type::f32([c])]),
            _ => Err("partial sums are (blocks, 2, C)".into()),
        }
    }

    fn cpu(&self, x: &[&Tensor], y: &mut [Tensor]) {
        let c = x[0].ty().cols();
        for (which, y) in y.iter_mut().enumerate() {
            for (j, y) in y.as_f32_mut().iter_mut().enumerate() {
                let column = x[0].as_f32()[which * c + j..].iter().step_by(2 * c);
                *y = column.map(|&partial| partial as f64).sum::<f64>() as f32;
            }
        }
    }

    fn launches(&self, x: &[&Type], _: &[&Type], _: &Adapter) -> Vec<Launch> {
        let c = x[0].cols();
        let run = [x[0].dims[0] as u32, c as u32, 0, 0];
        vec![Launch::groups(shader!("layer_norm_weight_vjp"), c.div_ceil(64), run)]
    }

    fn vjp(&self, _: &mut Graph, _: &[Value], _: &[Value], _: &[Option<Value>]) -> Vec<Option<Value>> {
        not_differentiable(self)
    }

    fn cost(&self, x: &[&Type], y: &[&Type]) -> Cost {
        Cost::new(x[0].elements(), x, y)
    }

    fn bound(&self, x: &[Tensor], y: &[Tensor]) -> Vec<Vec<f64>> {
        weight_bound()(x, y)
    }
}

impl Graph {
    /// Layer norm of x (..., C) with weight and bias (C).
    #[track_caller]
    pub fn layer_norm(&mut self, x: Value, w: Value, b: Value, eps: f32) -> Value {
        self.push(LayerNorm { eps }, &[x, w, b])[0]
    }
}

/// The mean is off by γ(C) mean|x|, which rstd amplifies; rstd itself by γ(C) relative. `slip` is how far off x may be
/// already, at least by what is flushed to zero.
pub(super) fn row_bound(x: &[f32], slip: &[f64], w: &[f32], b: &[f32], mean: f64, rstd: f64) -> (Vec<f64>, [f64; 2]) {
    let c = x.len();
    let e = 4.0 * gamma(c + 8);
    let mean_abs = x.iter().map(|x| x.abs() as f64).sum::<f64>() / c as f64;
    let mean_slip = slip.iter().sum::<f64>() / c as f64;
    let z = normalised(x, mean, rstd);
    // d rstd = -rstd² mean(z dx)
    let slip_rstd = 2.0 * rstd * z.iter().zip(slip).map(|(z, s)| z.abs() * s).sum::<f64>() / c as f64;
    let one = |j: usize| {
        let own = e * ((x[j].abs() as f64 + mean_abs) * rstd + z[j].abs());
        let slip = 2.0 * rstd * (slip[j] + mean_slip) + z[j].abs() * slip_rstd;
        (own + slip) * w[j].abs() as f64 + z[j].abs() * TINY + 4.0 * U * b[j].abs() as f64 + 2.0 * TINY
    };
    let own = e * (1.0 + (mean_abs * rstd * e).powi(2)) + slip_rstd;
    ((0..c).map(one).collect(), [gamma(c + 1) * mean_abs + mean_slip + TINY, own * rstd])
}

fn forward_bound() -> Bound {
    Box::new(|x, y| {
        let c = x[0].ty().cols();
        let (w, b, statistics) = (x[1].as_f32(), x[2].as_f32(), y[1].as_f32());
        let mut bounds = vec![vec![], vec![]];
        for (r, x) in x[0].as_f32().chunks(c).enumerate() {
            let (mean, rstd) = (statistics[2 * r] as f64, statistics[2 * r + 1] as f64);
            let (z, s) = row_bound(x, &vec![TINY; c], w, b, mean, rstd);
            bounds[0].extend(z);
            bounds[1].extend(s);
        }
        bounds
    })
}

/// Bounds of dx and of the partial sums; `more` is what was added to dx.
pub(super) fn backward_bound(x: &[Tensor], more: Option<&Tensor>) -> [Vec<f64>; 2] {
    let (rows, c) = (x[0].ty().rows(), x[0].ty().cols());
    let block = rows.div_ceil(blocks(rows));
    let w = x[2].as_f32();
    let mut bounds = [vec![], vec![TINY; 2 * blocks(rows) * c]];
    for (r, dy) in x[0].as_f32().chunks(c).enumerate() {
        let (mean, rstd) = (x[3].as_f32()[2 * r] as f64, x[3].as_f32()[2 * r + 1] as f64);
        let row = &x[1].as_f32()[r * c..][..c];
        let z = normalised(row, mean, rstd);
        let reach: Vec<f64> = row.iter().map(|x| (x.abs() as f64 + mean.abs()) * rstd).collect();
        let (dy, w) = (|j: usize| dy[j].abs() as f64, |j: usize| w[j].abs() as f64);
        let mean_of = |f: &dyn Fn(usize) -> f64| (0..c).map(f).sum::<f64>() / c as f64;
        // What each g and each z may lack: the rounding of its sums is in gamma below, the rest was flushed to zero.
        let slip_g = |j: usize| TINY * (2.0 + dy(j) + w(j));
        let slip_z = |j: usize| 4.0 * U * reach[j] + 4.0 * TINY * (1.0 + rstd);
        let mean_g = mean_of(&|j| dy(j) * w(j));
        let mean_gz = mean_of(&|j| dy(j) * w(j) * z[j].abs());
        let slip_mean_g = mean_of(&slip_g);
        let slip_mean_gz = mean_of(&|j| slip_g(j) * z[j].abs() + dy(j) * w(j) * slip_z(j));
        for j in 0..c {
            let own = gamma(c + 16) * (dy(j) * w(j) + mean_g + z[j].abs() * mean_gz);
            let slip = slip_g(j) + slip_mean_g + slip_z(j) * mean_gz + z[j].abs() * slip_mean_gz + 2.0 * TINY;
            let more = more.map_or(0.0, |t| 2.0 * U * t.as_f32()[r * c + j].abs() as f64 + TINY);
            bounds[0].push(rstd * (own + slip) + more + TINY);
            let slip = TINY * (1.0 + z[j].abs()) + 4.0 * TINY * (1.0 + rstd) * dy(j);
            bounds[1][2 * (r / block) * c + j] += gamma(block + 4) * dy(j) * reach[j] + slip;
            bounds[1][(2 * (r / block) + 1) * c + j] += gamma(block) * dy(j) + TINY;
        }
    }
    bounds
}

fn weight_bound() -> Bound {
    Box::new(|x, _| {
        let [blocks, _, c] = x[0].ty().dims[..] else { unreachable!("types were checked") };
        let absolute = |which: usize, j: usize| -> f64 {
            x[0].as_f32()[which * c + j..].iter().step_by(2 * c).map(|v| gamma(blocks) * v.abs() as f64 + TINY).sum()
        };
        (0..2).map(|which| (0..c).map(|j| absolute(which, j)).collect()).collect()
    })
}

/// Cases of the three kernels.
pub fn cases(draw: &mut Draw) -> Vec<Case> {
    let mut cases = vec![];
    for (rows, c, add) in [(1, 1, false), (3, 5, true), (70, 33, false), (2, 300, true), (130, 64, false)] {
        let name = format!("{rows}x{c}");
        let (x, w, b) = (draw.tensor(&[rows, c]), draw.tensor(&[c]), draw.tensor(&[c]));
        let mut case = Case::new(&name, LayerNorm { eps: 1e-5 }, vec![x.clone(), w.clone(), b], forward_bound());
        if c > 1 {
            case = case.wrt(&[0, 1, 2]);
        }
        let statistics = case.definition().remove(1);
        cases.push(case);
        let mut inputs = vec![draw.tensor(&[rows, c]), x, w, statistics];
        inputs.extend(add.then(|| draw.tensor(&[rows, c])));
        let name = format!("{name}{}", if add { " added" } else { "" });
        let case = Case::of(&name, LayerNormVjp { add }, inputs);
        let partial = case.definition().remove(1);
        cases.push(case);
        cases.push(Case::new(name, LayerNormWeightVjp, vec![partial], weight_bound()));
    }
    let partial = draw.tensor(&[BLOCKS, 2, 3]);
    cases.push(Case::new("the most blocks", LayerNormWeightVjp, vec![partial], weight_bound()));
    // Blocks of more than 16 rows, and of more than 64.
    for (rows, add) in [(16 * BLOCKS + 1, false), (64 * BLOCKS + 108, false), (64 * BLOCKS + 108, true)] {
        let (many, w, b) = (draw.tensor(&[rows, 3]), draw.tensor(&[3]), draw.tensor(&[3]));
        let norm = Case::new("", LayerNorm { eps: 1.0 }, vec![many.clone(), w.clone(), b], forward_bound());
        let mut inputs = vec![draw.tensor(&[rows, 3]), many, w, norm.definition().remove(1)];
        inputs.extend(add.then(|| draw.tensor(&[rows, 3])));
        let name = format!("{rows}x3, in {BLOCKS} blocks{}", if add { ", added" } else { "" });
        cases.push(Case::of(name, LayerNormVjp { add }, inputs));
    }
    let far = Tensor::f32([2, 16], (0..32).map(|i| 1000.0 + (i % 16) as f32).collect());
    let ones = Tensor::f32([16], vec![1.0; 16]);
    cases.push(Case::new("far from zero", LayerNorm { eps: 1e-5 }, vec![far, ones.clone(), ones], forward_bound()));
    cases
}

/// Large cases of the three kernels.
pub fn large() -> Vec<Large> {
    let mut large = vec![];
    for rows in [16_384, 4096] {
        let (wide, c) = ([rows, 512], [512]);
        let name = format!("{rows}x512");
        large.push(Large::new(&name, LayerNorm { eps: 1e-5 }, [noise(&wide), noise(&c), noise(&c)]));
        let inputs = [noise(&wide), noise(&wide), noise(&c), positive(&[rows, 2])];
        large.push(Large::new(name, LayerNormVjp { add: false }, inputs));
    }
    large.push(Large::new("128 blocks of 512", LayerNormWeightVjp, [noise(&[BLOCKS, 2, 512])]));
    large
}
