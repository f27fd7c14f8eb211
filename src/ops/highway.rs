//! y = s max(h, 0) + (1 - s) x, s = 1 / (1 + exp(-t)) (Srivastava, Greff and Schmidhuber 2015)

use crate::case::{Case, Draw, TINY, U};
use crate::graph::{Graph, Value};
use crate::large::{Large, noise};
use crate::op::*;
use crate::ops::relu::relu;
use crate::ops::sigmoid::sigmoid;
use crate::shader;
use crate::tensor::{Tensor, Type};

/// What a highway layer does with its products, element by element. Inputs: x, which is carried; h, what x is transformed
/// to, before the ReLU; t, the transform gate, before the sigmoid.
#[derive(Clone, Copy, Debug)]
pub struct Highway;

/// One element as the definition sees it.
#[derive(Clone, Copy)]
struct Element {
    x: f64,
    h: f64,
    /// The share of h, and that of x.
    shares: [f64; 2],
    /// How far off each share may be: exp is accurate to some units in the last place of its argument (WGSL specification),
    /// from 87 on it is cut, or flushed to zero.
    slips: [f64; 2],
}

impl Element {
    fn of(x: f32, h: f32, t: f32) -> Element {
        let t = t as f64;
        let shares = [sigmoid(t), sigmoid(-t)];
        let slips = shares.map(|share| share * U * (16.0 + 4.0 * t.abs().min(90.0)) + 4.0 * TINY);
        Element { x: x as f64, h: relu(h as f64), shares, slips }
    }

    /// |h| + |x| weighted by these.
    fn weighted(&self, [of_h, of_x]: [f64; 2]) -> f64 {
        of_h * self.h + of_x * self.x.abs()
    }
}

fn elements<'a>(x: &'a [&'a Tensor]) -> impl Iterator<Item = Element> + 'a {
    let [carried, h, t] = [0, 1, 2].map(|i| x[i].as_f32());
    (0..carried.len()).map(|i| Element::of(carried[i], h[i], t[i]))
}

impl Op for Highway {
    fn name(&self) -> &'static str {
        "highway"
    }

    fn types(&self, x: &[&Type]) -> Result<Vec<Type>, String> {
        alike(x)
    }

    fn cpu(&self, x: &[&Tensor], y: &mut [Tensor]) {
        for (y, e) in y[0].as_f32_mut().iter_mut().zip(elements(x)) {
            *y = (e.shares[0] * e.h + e.shares[1] * e.x) as f32;
        }
    }

    fn launches(&self, _: &[&Type], y: &[&Type], _: &Adapter) -> Vec<Launch> {
        vec![launch_vec4(shader!("highway"), y[0])]
    }

    fn vjp(&self, g: &mut Graph, x: &[Value], _: &[Value], dy: &[Option<Value>]) -> Vec<Option<Value>> {
        let dy = dy[0].expect("the only output");
        g.push(HighwayVjp, &[x[0], x[1], x[2], dy]).into_iter().map(Some).collect()
    }

    fn cost(&self, x: &[&Type], y: &[&Type]) -> Cost {
        Cost::new(14 * y[0].elements(), x, y)
    }

    fn bound(&self, x: &[Tensor], _: &[Tensor]) -> Vec<Vec<f64>> {
        let inputs: Vec<&Tensor> = x.iter().collect();
        let one = |e: Element| e.weighted(e.slips) + 4.0 * U * e.weighted(e.shares) + 6.0 * TINY;
        vec![elements(&inputs).map(one).collect()]
    }
}

/// dx = dy (1 - s), dh = dy s where h > 0, dt = dy s (1 - s) (max(h, 0) - x). Inputs: x, h, t, dy.
#[derive(Clone, Copy, Debug)]
pub struct HighwayVjp;

impl Op for HighwayVjp {
    fn name(&self) -> &'static str {
        "highway_vjp"
    }

    fn types(&self, x: &[&Type]) -> Result<Vec<Type>, String> {
        Ok(vec![alike(x)?.remove(0); 3])
    }

    fn cpu(&self, x: &[&Tensor], y: &mut [Tensor]) {
        for (i, e) in elements(x).enumerate() {
            let (dy, [s, carried]) = (x[3].as_f32()[i] as f64, e.shares);
            let through = if e.h > 0.0 { dy * s } else { 0.0 };
            let d = [dy * carried, through, dy * s * carried * (e.h - e.x)];
            for (y, d) in y.iter_mut().zip(d) {
                y.as_f32_mut()[i] = d as f32;
            }
        }
    }

    fn launches(&self, _: &[&Type], y: &[&Type], _: &Adapter) -> Vec<Launch> {
        vec![launch_vec4(shader!("highway_vjp"), y[0])]
    }

    fn vjp(&self, _: &mut Graph, _: &[Value], _: &[Value], _: &[Option<Value>]) -> Vec<Option<Value>> {
        not_differentiable(self)
    }

    fn cost(&self, x: &[&Type], y: &[&Type]) -> Cost {
        Cost::new(18 * y[0].elements(), x, y)
    }

    fn bound(&self, x: &[Tensor], _: &[Tensor]) -> Vec<Vec<f64>> {
        let inputs: Vec<&Tensor> = x.iter().collect();
        let mut bounds = vec![vec![]; 3];
        for (e, dy) in elements(&inputs).zip(x[3].as_f32()) {
            let (dy, [s, carried], [slip, slip_carried]) = (dy.abs() as f64, e.shares, e.slips);
            let scaled = |share: f64, slip: f64| dy * (slip + 2.0 * U * share) + 3.0 * TINY;
            // The sign of a number that is flushed to zero is lost.
            let unseen = if e.h > 0.0 && e.h < TINY { dy * s } else { 0.0 };
            // The slope of the gate is at most a quarter, and may be flushed before dy makes something of it.
            let slope = s * carried;
            let slope_slip = s * slip_carried + carried * slip + slope * 4.0 * U + TINY;
            let apart = e.weighted([1.0, 1.0]);
            let of_gate = dy * (slope_slip + slope * 4.0 * U) * apart + TINY * (2.0 * dy + 2.0 * apart + 2.0);
            let all = [scaled(carried, slip_carried), scaled(s, slip) + unseen, of_gate];
            bounds.iter_mut().zip(all).for_each(|(bounds, bound)| bounds.push(bound));
        }
        bounds
    }
}

impl Graph {
    /// s max(h, 0) + (1 - s) x with s = sigmoid(t): a highway layer, whose products with x gave h and t.
    #[track_caller]
    pub fn highway(&mut self, x: Value, h: Value, t: Value) -> Value {
        self.push(Highway, &[x, h, t])[0]
    }
}

/// Cases of both kernels.
pub fn cases(draw: &mut Draw) -> Vec<Case> {
    let mut cases = vec![];
    for n in [1, 7, 256, 1030] {
        let [x, mut h, t, dy] = [0; 4].map(|_| draw.tensor(&[n]));
        if draw.is_normal() {
            // Finite differences must not step over 0, where there is no derivative.
            h.as_f32_mut().iter_mut().for_each(|h| *h += 0.05f32.copysign(*h));
        }
        cases.push(Case::of(format!("{n}"), Highway, vec![x.clone(), h.clone(), t.clone()]).wrt(&[0, 1, 2]));
        cases.push(Case::of(format!("{n}"), HighwayVjp, vec![x, h, t, dy]));
    }
    let gates = Tensor::f32([8], vec![0.0, -0.0, 88.0, -88.0, 104.0, -104.0, 3e38, -3e38]);
    let [x, h, dy] = [0; 3].map(|_| draw.tensor(&[8]));
    cases.push(Case::of("open and shut", Highway, vec![x.clone(), h.clone(), gates.clone()]));
    cases.push(Case::of("open and shut", HighwayVjp, vec![x, h, gates, dy]));
    cases
}

/// Large cases of both kernels.
pub fn large() -> Vec<Large> {
    let x = || noise(&[4096, 1100]);
    let forward = Large::new("4096x1100", Highway, [x(), x(), x()]);
    vec![forward, Large::new("4096x1100", HighwayVjp, [x(), x(), x(), x()])]
}
