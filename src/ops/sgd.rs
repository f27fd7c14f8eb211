//! Stochastic gradient descent with momentum (Polyak 1964; PyTorch's form: m = mu m + g, p -= lr m)

use crate::case::{Bound, Case, Draw, TINY, U};
use crate::graph::{Graph, Value};
use crate::large::{Large, given, noise};
use crate::op::*;
use crate::shader;
use crate::tensor::{Tensor, Type};
use crate::step;

/// One step of SGD on a flat buffer. Inputs: gradient (n), step state, parameters (n), momentum (n); the two outputs
/// take the last two over. Nothing changes when the gradient is not finite.
#[derive(Clone, Debug)]
pub struct Sgd {
    /// mu.
    pub momentum: f32,
    /// Weight decay of the first `decayed` elements, added to the gradient.
    pub weight_decay: f32,
    /// How many elements decay: matrices come first in a flat buffer.
    pub decayed: usize,
}

impl Op for Sgd {
    fn name(&self) -> &'static str {
        "sgd"
    }

    fn types(&self, x: &[&Type]) -> Result<Vec<Type>, String> {
        alike(&[x[0], x[2], x[3]])?;
        match *x[1] == step::step_type() {
            true => Ok(vec![x[0].clone(); 2]),
            false => Err("the second input is the step state".into()),
        }
    }

    fn cpu(&self, x: &[&Tensor], y: &mut [Tensor]) {
        let [p, m] = y else { unreachable!("two outputs") };
        p.write(0, x[2]);
        m.write(0, x[3]);
        let state = x[1].as_u32();
        if state[step::GO] == 0 {
            return;
        }
        let word = |at: usize| f32::from_bits(state[at]) as f64;
        let (lr, factor) = (word(step::LEARNING_RATE), word(step::FACTOR));
        let (p, m) = (p.as_f32_mut(), m.as_f32_mut());
        for (i, g) in x[0].as_f32().iter().enumerate() {
            let decay = if i < self.decayed { self.weight_decay as f64 } else { 0.0 };
            let m1 = self.momentum as f64 * m[i] as f64 + *g as f64 * factor + decay * p[i] as f64;
            p[i] = (p[i] as f64 - lr * m1) as f32;
            m[i] = m1 as f32;
        }
    }

    fn launches(&self, x: &[&Type], _: &[&Type], _: &Adapter) -> Vec<Launch> {
        let n = x[0].elements();
        let launch = Launch::elements(shader!("sgd"), n, [n as u32, self.decayed as u32, 0, 0]);
        vec![launch.constant("MOMENTUM", self.momentum.into()).constant("DECAY", self.weight_decay.into())]
    }

    fn vjp(&self, _: &mut Graph, _: &[Value], _: &[Value], _: &[Option<Value>]) -> Vec<Option<Value>> {
        not_differentiable(self)
    }

    fn cost(&self, x: &[&Type], y: &[&Type]) -> Cost {
        Cost::new(7 * x[0].elements(), x, y)
    }

    fn bound(&self, x: &[Tensor], y: &[Tensor]) -> Vec<Vec<f64>> {
        bound(self.clone())(x, y)
    }

    fn in_place(&self) -> &'static [(usize, usize)] {
        &[(2, 0), (3, 1)]
    }
}

fn state(draw: &mut Draw, go: u32) -> Tensor {
    let mut state = Tensor::zeros(&step::step_type());
    let words = state.as_u32_mut();
    words[step::LEARNING_RATE] = 0.01f32.to_bits();
    words[step::FACTOR] = (draw.uniform() as f32).to_bits();
    words[step::GO] = go;
    state
}

fn bound(op: Sgd) -> Bound {
    Box::new(move |x, y| {
        let word = |at: usize| f32::from_bits(x[1].as_u32()[at]) as f64;
        let mut bounds = vec![vec![], vec![]];
        for i in 0..x[0].ty().elements() {
            let (g, p, m) = (x[0].as_f32()[i].abs() as f64, x[2].as_f32()[i].abs() as f64, x[3].as_f32()[i].abs() as f64);
            let decay = if i < op.decayed { op.weight_decay as f64 } else { 0.0 };
            let slip = 6.0 * U * (op.momentum as f64 * m + g * word(step::FACTOR) + decay * p) + 6.0 * TINY;
            bounds[0].push(2.0 * U * p.max(y[0].as_f32()[i].abs() as f64) + 2.0 * word(step::LEARNING_RATE) * slip + 2.0 * TINY);
            bounds[1].push(slip);
        }
        bounds
    })
}

/// Cases of the kernel.
pub fn cases(draw: &mut Draw) -> Vec<Case> {
    let mut cases = vec![];
    for (n, decayed, go) in [(1, 1, 1), (300, 100, 1), (5, 5, 0)] {
        let op = Sgd { momentum: 0.9, weight_decay: 0.1, decayed };
        let state = state(draw, go);
        let [g, p, m] = [0, 1, 2].map(|_| draw.tensor(&[n]));
        cases.push(Case::new(format!("{n}, {decayed} decay{}", ["", ", go"][go as usize]), op.clone(), vec![g, state, p, m], bound(op)));
    }
    cases
}

/// A large case of the kernel.
pub fn large() -> Vec<Large> {
    const N: usize = 16 << 20;
    let op = Sgd { momentum: 0.9, weight_decay: 0.1, decayed: N / 4 * 3 };
    let state = given(state(&mut Draw::new(1), 1));
    vec![Large::new("16 Mi parameters", op, [noise(&[N]), state, noise(&[N]), noise(&[N])])]
}
