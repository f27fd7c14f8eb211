//! What an adapter can do at most: chains of multiply–adds in registers, and a copy. No model has them; `bench` measures
//! its limits with them, and `verify` that they compute what they count.

use crate::case::{Case, Draw, U, exact, per_element};
use crate::graph::{Graph, Value};
use crate::large::{Large, noise};
use crate::op::*;
use crate::shader;
use crate::tensor::{Tensor, Type};

/// f(t) = A t + B. |A| < 1, so that no chain leaves the range of a number or comes near zero.
const A: f32 = 0.75;
const B: f32 = 0.5;
/// Chains of an element.
const CHAINS: usize = 2;
/// Steps of a chain in one loop of the shader.
const STEPS: usize = 8;

/// `y[i]` = f applied so many times to `x[i]`, plus the same of `x[i] + 1`.
#[derive(Debug)]
pub struct PeakFma {
    /// Loops of eight steps.
    pub loops: usize,
}

impl Op for PeakFma {
    fn name(&self) -> &'static str {
        "peak_fma"
    }

    fn types(&self, x: &[&Type]) -> Result<Vec<Type>, String> {
        alike(x)
    }

    fn cpu(&self, x: &[&Tensor], y: &mut [Tensor]) {
        let chain = |t: f64| (0..STEPS * self.loops).fold(t, |t, _| A as f64 * t + B as f64);
        map(x[0], &mut y[0], |x| (0..CHAINS).map(|k| chain(x + k as f64)).sum());
    }

    fn launches(&self, _: &[&Type], y: &[&Type], _: &Adapter) -> Vec<Launch> {
        let n = y[0].elements().div_ceil(4);
        let launch = Launch::groups(shader!("peak_fma"), n.div_ceil(64), [n as u32, self.loops as u32, 0, 0]);
        vec![launch.constant("A", A.into()).constant("B", B.into())]
    }

    fn vjp(&self, _: &mut Graph, _: &[Value], _: &[Value], _: &[Option<Value>]) -> Vec<Option<Value>> {
        not_differentiable(self)
    }

    fn cost(&self, x: &[&Type], y: &[&Type]) -> Cost {
        Cost::new(2 * CHAINS * STEPS * self.loops * y[0].elements(), x, y)
    }

    fn bound(&self, x: &[Tensor], y: &[Tensor]) -> Vec<Vec<f64>> {
        let bound = per_element(|i, x: &[Tensor], _| {
            let largest = x[0].as_f32()[i].abs() as f64 + 1.0 + B as f64 / (1.0 - A as f64);
            CHAINS as f64 * (2.0 / (1.0 - A as f64) + 3.0) * U * largest
        });
        bound(x, y)
    }
}

/// y = x, four numbers at a time.
#[derive(Debug)]
pub struct PeakCopy;

impl Op for PeakCopy {
    fn name(&self) -> &'static str {
        "peak_copy"
    }

    fn types(&self, x: &[&Type]) -> Result<Vec<Type>, String> {
        alike(x)
    }

    fn cpu(&self, x: &[&Tensor], y: &mut [Tensor]) {
        y[0].write(0, x[0]);
    }

    fn launches(&self, _: &[&Type], y: &[&Type], _: &Adapter) -> Vec<Launch> {
        let n = y[0].elements().div_ceil(4);
        let each = |each: u32| {
            let launch = Launch::groups(shader!("peak_copy"), n.div_ceil(256 * each as usize), [n as u32, 0, 0, 0]);
            launch.tile("EACH", each).variant(format!("{each} vec4 a thread"))
        };
        [1, 4].map(each).into()
    }

    fn vjp(&self, _: &mut Graph, _: &[Value], _: &[Value], _: &[Option<Value>]) -> Vec<Option<Value>> {
        not_differentiable(self)
    }

    fn cost(&self, x: &[&Type], y: &[&Type]) -> Cost {
        Cost::new(0, x, y)
    }

    fn bound(&self, x: &[Tensor], y: &[Tensor]) -> Vec<Vec<f64>> {
        exact()(x, y)
    }
}

/// Cases of both kernels. A chain forgets the errors of its earlier steps by a quarter each.
pub fn cases(draw: &mut Draw) -> Vec<Case> {
    let mut cases = vec![];
    for (n, loops) in [(1, 1), (7, 0), (1030, 3), (260, 40)] {
        cases.push(Case::of(format!("{n}, {loops} loops"), PeakFma { loops }, vec![draw.tensor(&[n])]));
    }
    for n in [1, 1030, 5000] {
        cases.push(Case::new(format!("{n}"), PeakCopy, vec![draw.tensor(&[n])], exact()));
    }
    cases
}

/// Large cases of both kernels.
pub fn large() -> Vec<Large> {
    vec![
        Large::new("1 Mi, 64 loops", PeakFma { loops: 64 }, [noise(&[1 << 20])]),
        Large::new("16 Mi", PeakCopy, [noise(&[16 << 20])]),
    ]
}
