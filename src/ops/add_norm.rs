//! s = x + dropout(y), z = layer norm of s: what follows every sublayer ("Add & Norm", Vaswani et al. 2017) in one pass

use crate::case::{Bound, Case, Draw, TINY, U};
use crate::graph::{Graph, Value};
use crate::large::{Large, given, noise, positive};
use crate::op::*;
use crate::ops::dropout::{Dropout, extents};
use crate::ops::layer_norm::{
    LayerNorm, LayerNormVjp, backward_bound, block_launches, layer_norm_vjp, row_bound, weight_vjp,
};
use crate::shader;
use crate::tensor::{Tensor, Type};

/// Residual, dropout and layer norm. Inputs: x and y (..., C), w and b (C), the step state, or b again where there is
/// no dropout. Outputs: s (..., C), which takes over y's buffer, z (..., C), statistics (rows, 2). C is a multiple of
/// four: one call of the generator masks four columns.
#[derive(Debug)]
pub struct AddNorm {
    /// Added to the variance.
    pub eps: f32,
    /// What becomes of y before it is added: the same mask as in the room of dropout.
    pub dropout: Option<Dropout>,
}

fn fits(x: &Type) -> bool {
    x.cols().is_multiple_of(4)
}

fn with_dropout(launch: Launch, dropout: Option<Dropout>) -> Launch {
    let (threshold, scale) = dropout.map_or((0, 1.0), |d| (d.threshold(), d.scale()));
    launch.constant("THRESHOLD", threshold.into()).constant("SCALE", scale.into())
}

/// rows, C / 4, rows of a batch, site
fn run(x: &Type, dropout: Option<Dropout>) -> [u32; 4] {
    let (batches, rows, c) = extents(x);
    [(batches * rows) as u32, (c / 4) as u32, rows as u32, dropout.map_or(0, |d| d.site)]
}

impl Op for AddNorm {
    fn name(&self) -> &'static str {
        "add_norm"
    }

    fn types(&self, x: &[&Type]) -> Result<Vec<Type>, String> {
        if x[0] != x[1] || !fits(x[0]) {
            return Err("x and y have one type, and a multiple of four columns".into());
        }
        if let Some(dropout) = self.dropout {
            dropout.types(&[x[1], x[4]])?;
        }
        let norm = LayerNorm { eps: self.eps }.types(&[x[0], x[2], x[3]])?;
        Ok([vec![x[0].clone()], norm].concat())
    }

    fn cpu(&self, x: &[&Tensor], y: &mut [Tensor]) {
        let mut dropped = [x[1].clone()];
        if let Some(dropout) = self.dropout {
            dropout.cpu(&[x[1], x[4]], &mut dropped);
        }
        let (s, norm) = y.split_at_mut(1);
        zip(x[0], &dropped[0], &mut s[0], |a, b| a + b);
        LayerNorm { eps: self.eps }.cpu(&[&s[0], x[2], x[3]], norm);
    }

    fn launches(&self, x: &[&Type], _: &[&Type], adapter: &Adapter) -> Vec<Launch> {
        let launches = Launch::rows(shader!("add_norm"), x[0].rows(), run(x[0], self.dropout), adapter);
        let set = |l: Launch| {
            let l = l.constant("EPS", self.eps.into()).constant("DROPOUT", f64::from(self.dropout.is_some()));
            with_dropout(l, self.dropout)
        };
        launches.into_iter().map(set).collect()
    }

    fn vjp(&self, g: &mut Graph, x: &[Value], y: &[Value], dy: &[Option<Value>]) -> Vec<Option<Value>> {
        let &[ds, dz, None] = dy else { panic!("the statistics have no cotangent") };
        let (dx, dy, weights) = match (dz, self.dropout) {
            (Some(dz), Some(dropout)) => {
                let op = AddNormVjp { dropout, add: ds.is_some() };
                let y = g.push(op, &[vec![dz, y[0], x[2], y[2], x[4]], ds.into_iter().collect()].concat());
                (y[0], y[1], Some(weight_vjp(g, y[2])))
            }
            (Some(dz), None) => {
                let [dx, dw, db] = layer_norm_vjp(g, dz, y[0], x[2], y[2], ds);
                (dx, dx, Some([dw, db]))
            }
            (None, dropout) => {
                let ds = ds.expect("one of the outputs has a cotangent");
                (ds, dropout.map_or(ds, |d| g.push(d, &[ds, x[4]])[0]), None)
            }
        };
        vec![Some(dx), Some(dy), weights.map(|w| w[0]), weights.map(|w| w[1]), None]
    }

    fn cost(&self, x: &[&Type], y: &[&Type]) -> Cost {
        let each = if self.dropout.is_some() { 29 } else { 9 };
        Cost::new(each * y[0].elements(), &x[..4], y)
    }

    fn bound(&self, x: &[Tensor], y: &[Tensor]) -> Vec<Vec<f64>> {
        forward_bound(self.dropout)(x, y)
    }

    fn in_place(&self) -> &'static [(usize, usize)] {
        &[(1, 0)]
    }
}

/// The backward pass where there is dropout: dx as in layer norm, dy = dropout(dx), and the partial sums of the
/// weights' gradients. Inputs: dz, s, w, statistics, the step state and, where `add`, a cotangent of s that dx takes
/// over. Outputs: dx and dy (..., C), partial sums (blocks, 2, C).
#[derive(Debug)]
pub struct AddNormVjp {
    /// The forward pass's.
    pub dropout: Dropout,
    /// Whether there is a sixth input, to which dx is added.
    pub add: bool,
}

impl AddNormVjp {
    fn norm(&self) -> LayerNormVjp {
        LayerNormVjp { add: self.add }
    }
}

impl Op for AddNormVjp {
    fn name(&self) -> &'static str {
        "add_norm_vjp"
    }

    fn types(&self, x: &[&Type]) -> Result<Vec<Type>, String> {
        if !fits(x[0]) {
            return Err("the columns are a multiple of four".into());
        }
        let y = self.norm().types(&[&x[..4], &x[5..]].concat())?;
        let dropped = self.dropout.types(&[x[0], x[4]])?;
        Ok(vec![y[0].clone(), dropped[0].clone(), y[1].clone()])
    }

    fn cpu(&self, x: &[&Tensor], y: &mut [Tensor]) {
        let [dx, dy, partial] = y else { unreachable!("three outputs") };
        let mut norm = [dx.clone(), partial.clone()];
        self.norm().cpu(&[&x[..4], &x[5..]].concat(), &mut norm);
        [*dx, *partial] = norm;
        self.dropout.cpu(&[dx, x[4]], std::slice::from_mut(dy));
    }

    fn launches(&self, x: &[&Type], _: &[&Type], adapter: &Adapter) -> Vec<Launch> {
        let run = run(x[0], Some(self.dropout));
        let launches = block_launches(shader!("add_norm_vjp"), x[0].rows(), run, adapter);
        let set = |l: Launch| with_dropout(l.constant("ADD", f64::from(self.add)), Some(self.dropout));
        launches.into_iter().map(set).collect()
    }

    fn vjp(&self, _: &mut Graph, _: &[Value], _: &[Value], _: &[Option<Value>]) -> Vec<Option<Value>> {
        not_differentiable(self)
    }

    fn cost(&self, x: &[&Type], y: &[&Type]) -> Cost {
        let read = [&x[..4], &x[5..]].concat();
        Cost::new(37 * y[0].elements(), &read, y)
    }

    fn bound(&self, x: &[Tensor], y: &[Tensor]) -> Vec<Vec<f64>> {
        let [dx, partial] = backward_bound(x, x.get(5));
        let scale = self.dropout.scale() as f64;
        let dropped = dx.iter().zip(y[1].as_f32()).map(|(dx, y)| scale * (dx + TINY) + 2.0 * U * y.abs() as f64).collect();
        vec![dx, dropped, partial]
    }

    fn in_place(&self) -> &'static [(usize, usize)] {
        if self.add { &[(5, 0)] } else { &[] }
    }
}

impl Graph {
    /// (x + dropout(y), its layer norm) of x and y (..., C) with weight and bias (C). The dropout comes with the step
    /// state. Where C is no multiple of four these are three operations.
    #[track_caller]
    pub fn add_norm(
        &mut self,
        x: Value,
        y: Value,
        [w, b]: [Value; 2],
        eps: f32,
        dropout: Option<(Dropout, Value)>,
    ) -> (Value, Value) {
        if fits(self.ty(x)) {
            let (dropout, step) = dropout.unzip();
            let out = self.push(AddNorm { eps, dropout }, &[x, y, w, b, step.unwrap_or(b)]);
            return (out[0], out[1]);
        }
        let y = dropout.map_or(y, |(dropout, step)| self.push(dropout, &[y, step])[0]);
        let s = self.add(x, y);
        (s, self.layer_norm(s, w, b, eps))
    }
}

/// The sum may be rounded twice, or once where a driver fuses its product and its addition.
fn forward_bound(dropout: Option<Dropout>) -> Bound {
    Box::new(move |x, y| {
        let c = x[0].ty().cols();
        let scale = dropout.map_or(1.0, |d| d.scale()) as f64;
        let (added, s, statistics) = (x[1].as_f32(), y[0].as_f32(), y[2].as_f32());
        let one = |(y, s): (&f32, &f32)| 2.0 * U * (scale * y.abs() as f64 + s.abs() as f64) + TINY * (2.0 + scale);
        let slip: Vec<f64> = added.iter().zip(s).map(one).collect();
        let (mut z, mut stats) = (vec![], vec![]);
        for (r, row) in s.chunks(c).enumerate() {
            let (mean, rstd) = (statistics[2 * r] as f64, statistics[2 * r + 1] as f64);
            let slip = &slip[r * c..][..c];
            let bounds = row_bound(row, slip, x[2].as_f32(), x[3].as_f32(), mean, rstd);
            z.extend(bounds.0);
            stats.extend(bounds.1);
        }
        vec![slip, z, stats]
    })
}

/// Cases of both kernels.
pub fn cases(draw: &mut Draw) -> Vec<Case> {
    let mut cases = vec![];
    let shapes = [
        (vec![4], 0.5),
        (vec![3, 12], 0.0),
        (vec![2, 35, 36], 0.1),
        (vec![2, 300], 0.9),
        (vec![65, 2, 8], 0.3),
        // Blocks of more than 16 rows, and of more than 64.
        (vec![3, 683, 4], 0.2),
        (vec![4, 2075, 4], 0.2),
    ];
    for (i, (dims, p)) in shapes.into_iter().enumerate() {
        let c = dims[dims.len() - 1];
        let dropout = (p > 0.0).then_some(Dropout { p, site: 99 });
        let mut step = Tensor::zeros(&crate::step::step_type());
        step.as_u32_mut()[..2].copy_from_slice(&[7, draw.below(1000) as u32]);
        let b = draw.tensor(&[c]);
        let fifth = if dropout.is_some() { step.clone() } else { b.clone() };
        let inputs = vec![draw.tensor(&dims), draw.tensor(&dims), draw.tensor(&[c]), b, fifth];
        let mut case = Case::new(format!("{dims:?} p {p}"), AddNorm { eps: 1e-5, dropout }, inputs, forward_bound(dropout));
        // Among many rows are some with nearly no variance, where differences say little.
        if dims.iter().product::<usize>() / c < 1000 {
            case = case.wrt(&[0, 1, 2, 3]);
            // By the sum alone, by the normalised sum alone, by both.
            case.results = [vec![0], vec![1], vec![0, 1]][i % 3].clone();
        }
        let y = case.definition();
        let w = case.inputs[2].clone();
        cases.push(case);
        let Some(dropout) = dropout else { continue };
        for add in [false, true] {
            let mut inputs = vec![draw.tensor(&dims), y[0].clone(), w.clone(), y[2].clone(), step.clone()];
            inputs.extend(add.then(|| draw.tensor(&dims)));
            let name = format!("{dims:?} p {p}{}", if add { " added" } else { "" });
            cases.push(Case::of(name, AddNormVjp { dropout, add }, inputs));
        }
    }
    cases
}

/// Large cases of both kernels.
pub fn large() -> Vec<Large> {
    let dropout = Dropout { p: 0.1, site: 99 };
    let step = || given(Tensor::zeros(&crate::step::step_type()));
    let mut large = vec![];
    for rows in [16_384, 4096] {
        let (wide, c) = ([rows, 512], [512]);
        let name = format!("{rows}x512 p 0.1");
        let forward = AddNorm { eps: 1e-5, dropout: Some(dropout) };
        large.push(Large::new(&name, forward, [noise(&wide), noise(&wide), noise(&c), noise(&c), step()]));
        let backward = AddNormVjp { dropout, add: true };
        let inputs = [noise(&wide), noise(&wide), noise(&c), positive(&[rows, 2]), step(), noise(&wide)];
        large.push(Large::new(format!("{name} added"), backward, inputs));
    }
    large
}
