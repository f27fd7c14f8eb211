//! Adam (Kingma and Ba 2015) and AdamW (Loshchilov and Hutter 2019) on flat buffers

use crate::case::{Bound, Case, Draw, TINY, U};
use crate::graph::{Graph, Value};
use crate::large::{Large, given, noise, positive};
use crate::op::*;
use crate::shader;
use crate::tensor::{Tensor, Type};
use crate::step;

/// One step of Adam on a flat buffer. Inputs: gradient (n), step state, parameters (n), first and second moment (n);
/// the three outputs take the last three over. Nothing changes when the gradient is not finite.
#[derive(Clone, Debug)]
pub struct Adam {
    /// Decay of the two moments.
    pub betas: [f64; 2],
    /// Added to the square root.
    pub eps: f32,
    /// Weight decay of the first `decayed` elements.
    pub weight_decay: f32,
    /// How many elements decay: matrices come first in a flat buffer.
    pub decayed: usize,
    /// AdamW: the decay does not pass through the moments.
    pub decoupled: bool,
}

impl Op for Adam {
    fn name(&self) -> &'static str {
        "adam"
    }

    fn types(&self, x: &[&Type]) -> Result<Vec<Type>, String> {
        alike(&[x[0], x[2], x[3], x[4]])?;
        match *x[1] == step::step_type() {
            true => Ok(vec![x[0].clone(); 3]),
            false => Err("the second input is the step state".into()),
        }
    }

    fn cpu(&self, x: &[&Tensor], y: &mut [Tensor]) {
        let [p, m, v] = y else { unreachable!("three outputs") };
        for (to, from) in [&mut *p, m, v].into_iter().zip(&x[2..]) {
            to.write(0, from);
        }
        let state = x[1].as_u32();
        if state[step::GO] == 0 {
            return;
        }
        let word = |at: usize| f32::from_bits(state[at]) as f64;
        let (lr, c1, c2, factor) =
            (word(step::LEARNING_RATE), word(step::CORRECTION1), word(step::CORRECTION2), word(step::FACTOR));
        let (p, m, v) = (p.as_f32_mut(), m.as_f32_mut(), v.as_f32_mut());
        for (i, g) in x[0].as_f32().iter().enumerate() {
            let decay = if i < self.decayed { self.weight_decay as f64 } else { 0.0 };
            let before = p[i] as f64;
            let g = *g as f64 * factor + if self.decoupled { 0.0 } else { decay * before };
            let m1 = self.betas[0] * m[i] as f64 + (1.0 - self.betas[0]) * g;
            let v1 = self.betas[1] * v[i] as f64 + (1.0 - self.betas[1]) * g * g;
            let update = m1 * c1 / ((v1 * c2).sqrt() + self.eps as f64);
            let decoupled = if self.decoupled { decay * before } else { 0.0 };
            p[i] = (before - lr * (update + decoupled)) as f32;
            m[i] = m1 as f32;
            v[i] = v1 as f32;
        }
    }

    fn launches(&self, x: &[&Type], _: &[&Type], _: &Adapter) -> Vec<Launch> {
        let n = x[0].elements();
        let launch = Launch::elements(shader!("adam"), n, [n as u32, self.decayed as u32, 0, 0])
            .constant("BETA1", self.betas[0])
            .constant("REST1", 1.0 - self.betas[0])
            .constant("BETA2", self.betas[1])
            .constant("REST2", 1.0 - self.betas[1])
            .constant("EPS", self.eps.into())
            .constant("DECAY", self.weight_decay.into())
            .constant("DECOUPLED", f64::from(self.decoupled));
        vec![launch]
    }

    fn vjp(&self, _: &mut Graph, _: &[Value], _: &[Value], _: &[Option<Value>]) -> Vec<Option<Value>> {
        not_differentiable(self)
    }

    fn cost(&self, x: &[&Type], y: &[&Type]) -> Cost {
        Cost::new(14 * x[0].elements(), x, y)
    }

    fn bound(&self, x: &[Tensor], y: &[Tensor]) -> Vec<Vec<f64>> {
        bound(self.clone())(x, y)
    }

    fn in_place(&self) -> &'static [(usize, usize)] {
        &[(2, 0), (3, 1), (4, 2)]
    }
}

fn state(draw: &mut Draw, go: u32) -> Tensor {
    let mut state = Tensor::zeros(&step::step_type());
    let words = state.as_u32_mut();
    words[step::LEARNING_RATE] = 0.01f32.to_bits();
    words[step::CORRECTION1] = 3.69f32.to_bits();
    words[step::CORRECTION2] = 17.0f32.to_bits();
    words[step::FACTOR] = (draw.uniform() as f32).to_bits();
    words[step::GO] = go;
    state
}

/// Each moment is two products and a sum; the update divides by a square root (2.5 and 2 units in the last place).
fn bound(op: Adam) -> Bound {
    Box::new(move |x, y| {
        let word = |at: usize| f32::from_bits(x[1].as_u32()[at]) as f64;
        let mut bounds = vec![vec![], vec![], vec![]];
        for i in 0..x[0].ty().elements() {
            let (p, m, v) = (x[2].as_f32()[i] as f64, x[3].as_f32()[i] as f64, y[2].as_f32()[i] as f64);
            let decay = if i < op.decayed { op.weight_decay as f64 * p.abs() } else { 0.0 };
            let g = (x[0].as_f32()[i] as f64 * word(step::FACTOR)).abs() + decay;
            let m = op.betas[0] * m.abs() + (1.0 - op.betas[0]) * g;
            let slip_v = 8.0 * U * (op.betas[1] * x[4].as_f32()[i] as f64 + (1.0 - op.betas[1]) * g * g) + 4.0 * TINY;
            let root = (v * word(step::CORRECTION2)).sqrt();
            let under = (slip_v + TINY) * word(step::CORRECTION2);
            let slip_root = (under / (2.0 * root)).min(under.sqrt()) + 4.0 * U * root;
            let divisor = root + op.eps as f64;
            let update = m * word(step::CORRECTION1) / divisor;
            // A first moment that is flushed to zero is missing from the update, divided by as little as eps.
            let flushed = 4.0 * TINY * word(step::CORRECTION1) / divisor;
            let slip = update * (16.0 * U + slip_root / divisor) + flushed + 4.0 * U * decay;
            bounds[0].push(2.0 * U * p.abs().max(y[0].as_f32()[i].abs() as f64) + word(step::LEARNING_RATE) * slip + 2.0 * TINY);
            bounds[1].push(8.0 * U * m + 4.0 * TINY);
            bounds[2].push(slip_v);
        }
        bounds
    })
}

/// Cases of the kernel.
pub fn cases(draw: &mut Draw) -> Vec<Case> {
    let mut cases = vec![];
    for (n, decayed, decoupled, go) in [(1, 1, true, 1), (300, 100, true, 1), (300, 200, false, 1), (5, 5, true, 0)] {
        let op = Adam { betas: [0.9, 0.98], eps: 1e-9, weight_decay: 0.1, decayed, decoupled };
        let squares = draw.tensor(&[n]).as_f32().iter().map(|x| x * x).collect();
        let state = state(draw, go);
        let [g, p, m] = [0, 1, 2].map(|_| draw.tensor(&[n]));
        let inputs = vec![g, state, p, m, Tensor::f32([n], squares)];
        let name = format!("{n}, {decayed} decay{}{}", if decoupled { ", decoupled" } else { "" }, ["", ", go"][go as usize]);
        cases.push(Case::new(name, op.clone(), inputs, bound(op)));
    }
    cases
}

/// A large case of the kernel.
pub fn large() -> Vec<Large> {
    const N: usize = 16 << 20;
    let op = Adam { betas: [0.9, 0.98], eps: 1e-9, weight_decay: 0.1, decayed: N / 4 * 3, decoupled: true };
    let state = given(state(&mut Draw::new(1), 1));
    vec![Large::new("16 Mi parameters", op, [noise(&[N]), state, noise(&[N]), noise(&[N]), positive(&[N])])]
}
