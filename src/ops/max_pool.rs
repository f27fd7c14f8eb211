//! `y[b, c] = max of x[b, t, c] over t < lengths[b]`: a sequence of any length as one row

use crate::case::{Case, Draw, TINY, per_element};
use crate::graph::{Graph, Value};
use crate::large::{Large, ids, noise, words};
use crate::op::*;
use crate::shader;
use crate::tensor::{Tensor, Type};

/// Instead of a time, where there is none to have the largest number: a row of length zero.
pub const NOWHERE: u32 = u32::MAX;

/// The maximum over time. Inputs: x (B, T, C), lengths (B). Outputs: y (B, C); at u32 (B, C), the first time that has it.
/// As in PyTorch, NaN is larger than every number. A row of length zero gives zeros at [`NOWHERE`], and has no gradient.
#[derive(Clone, Copy, Debug)]
pub struct MaxPool;

impl Op for MaxPool {
    fn name(&self) -> &'static str {
        "max_pool"
    }

    fn types(&self, x: &[&Type]) -> Result<Vec<Type>, String> {
        let [b, t, c] = x[0].dims[..] else { return Err("x is (B, T, C)".into()) };
        match *x[1] == Type::u32([b]) {
            _ if t > SOFTWARE_ITERATIONS => Err(format!("a thread walks over at most {SOFTWARE_ITERATIONS} times")),
            true => Ok(vec![Type::f32([b, c]), Type::u32([b, c])]),
            false => Err("x is (B, T, C), lengths u32 (B)".into()),
        }
    }

    fn cpu(&self, x: &[&Tensor], y: &mut [Tensor]) {
        let (t, c) = (x[0].ty().dims[1], x[0].ty().cols());
        let [tops, at] = y else { unreachable!("two outputs") };
        for (i, (top, at)) in tops.as_f32_mut().iter_mut().zip(at.as_u32_mut()).enumerate() {
            *at = NOWHERE;
            for time in 0..t.min(x[1].as_u32()[i / c] as usize) {
                let value = x[0].as_f32()[(i / c * t + time) * c + i % c];
                if *at == NOWHERE || value > *top || value.is_nan() && !top.is_nan() {
                    (*top, *at) = (value, time as u32);
                }
            }
        }
    }

    fn launches(&self, x: &[&Type], y: &[&Type], _: &Adapter) -> Vec<Launch> {
        let run = [y[0].elements(), x[0].cols(), x[0].dims[1], 0].map(|n| n as u32);
        vec![Launch::elements(shader!("max_pool"), y[0].elements(), run)]
    }

    fn vjp(&self, g: &mut Graph, x: &[Value], y: &[Value], dy: &[Option<Value>]) -> Vec<Option<Value>> {
        let time = g.ty(x[0]).dims[1];
        vec![Some(g.push(MaxPoolVjp { time }, &[dy[0].expect("times have no cotangent"), y[1]])[0]), None]
    }

    fn cost(&self, x: &[&Type], y: &[&Type]) -> Cost {
        Cost::new(x[0].elements(), x, y)
    }

    /// Exact; but numbers that are flushed to zero are equal to one another, and the one that is found first may be stored as
    /// it is: on SwiftShader -4.5e-39, before 1.1e-38.
    fn bound(&self, x: &[Tensor], y: &[Tensor]) -> Vec<Vec<f64>> {
        let (t, c) = (x[0].ty().dims[1], x[0].ty().cols());
        let lost = |v: f64| v != 0.0 && v.abs() < TINY;
        let flushed = |i: usize| {
            let mut column = (0..t).map(|time| x[0].as_f32()[(i / c * t + time) * c + i % c] as f64);
            (y[0].as_f32()[i] as f64).abs() < TINY && column.any(lost)
        };
        let bounds = |all: f64, one: f64| (0..y[0].ty().elements()).map(|i| if flushed(i) { all } else { one }).collect();
        vec![bounds(2.0 * TINY, 0.0), bounds(t as f64, 0.0)]
    }
}

/// dx (B, T, C), dy where the maximum was found and zero elsewhere. Inputs: dy (B, C), at u32 (B, C).
#[derive(Clone, Copy, Debug)]
pub struct MaxPoolVjp {
    /// T.
    pub time: usize,
}

impl Op for MaxPoolVjp {
    fn name(&self) -> &'static str {
        "max_pool_vjp"
    }

    fn types(&self, x: &[&Type]) -> Result<Vec<Type>, String> {
        match x[0].dims[..] {
            [b, c] if *x[1] == Type::u32([b, c]) => Ok(vec![Type::f32([b, self.time, c])]),
            _ => Err("dy is (B, C), at u32 (B, C)".into()),
        }
    }

    fn cpu(&self, x: &[&Tensor], y: &mut [Tensor]) {
        let c = x[0].ty().cols();
        for (i, (dy, at)) in x[0].as_f32().iter().zip(x[1].as_u32()).enumerate() {
            if *at != NOWHERE {
                y[0].as_f32_mut()[(i / c * self.time + *at as usize) * c + i % c] = *dy;
            }
        }
    }

    fn launches(&self, x: &[&Type], y: &[&Type], _: &Adapter) -> Vec<Launch> {
        let run = [y[0].elements(), x[0].cols(), self.time, 0].map(|n| n as u32);
        vec![Launch::elements(shader!("max_pool_vjp"), y[0].elements(), run)]
    }

    fn vjp(&self, _: &mut Graph, _: &[Value], _: &[Value], _: &[Option<Value>]) -> Vec<Option<Value>> {
        not_differentiable(self)
    }

    fn cost(&self, x: &[&Type], y: &[&Type]) -> Cost {
        Cost::new(0, x, y)
    }

    fn bound(&self, x: &[Tensor], y: &[Tensor]) -> Vec<Vec<f64>> {
        per_element(|_, _, _| 0.0)(x, y)
    }
}

impl Graph {
    /// The maximum of x (B, T, C) over the times below each row's length (B): (B, C), zeros where the length is zero.
    #[track_caller]
    pub fn max_pool(&mut self, x: Value, lengths: Value) -> Value {
        self.push(MaxPool, &[x, lengths])[0]
    }
}

/// Cases of both kernels: equal maxima, rows of no length, and what is no number, within a row and beyond it.
pub fn cases(draw: &mut Draw) -> Vec<Case> {
    draw.set_largest(1e38);
    let mut cases = vec![];
    for (lengths, t, c) in
        [(&[1][..], 1, 1), (&[5, 0, 3], 5, 7), (&[2, 9, 1], 6, 33), (&[70, 41], 70, 3), (&[4, 3, 0, 2], 4, 130)]
    {
        let b = lengths.len();
        let name = format!("{b}x{t}x{c} lengths {lengths:?}");
        let lengths = Tensor::u32([b], lengths.into());
        let mut x = draw.tensor(&[b, t, c]);
        if draw.is_normal() {
            // Finite differences must not make another element the largest: steps of a half, in another order each column.
            let step = |i: usize| (i / c % t * 11 + i % c * 3) % t;
            let apart = |(i, x): (usize, &mut f32)| *x = 0.5 * step(i) as f32 - 1.0 + 0.1 * x.clamp(-1.0, 1.0);
            x.as_f32_mut().iter_mut().enumerate().for_each(apart);
        }
        let case = Case::of(&name, MaxPool, vec![x, lengths]).wrt(&[0]);
        let at = case.definition().remove(1);
        cases.push(case);
        cases.push(Case::of(name, MaxPoolVjp { time: t }, vec![draw.tensor(&[b, c]), at]));
    }
    let (nan, huge, endless) = (f32::NAN, f32::MAX, f32::INFINITY);
    let equal = vec![1.0, -huge, 0.0, -0.0, 3.0, -huge, -0.0, 0.0, 3.0, -huge, 0.0, -5.0, 9.0, 9.0, 9.0, 9.0];
    let equal = vec![Tensor::f32([1, 4, 4], equal), Tensor::u32([1], vec![3])];
    cases.push(Case::of("equal", MaxPool, equal));
    let broken = vec![1.0, -endless, nan, 2.0, nan, -huge, 5.0, endless, 7.0, -endless, nan, nan, nan, nan, nan, nan];
    let broken = vec![Tensor::f32([1, 4, 4], broken), Tensor::u32([1], vec![3])];
    cases.push(Case::of("no numbers", MaxPool, broken));
    cases
}

/// Large cases of both kernels.
pub fn large() -> Vec<Large> {
    let (b, t, c) = (4096, 20, 200);
    let name = format!("{b}x{t}x{c}");
    vec![
        Large::new(&name, MaxPool, [noise(&[b, t, c]), words(&vec![t as u32; b])]),
        Large::new(name, MaxPoolVjp { time: t }, [noise(&[b, c]), ids(&[b, c], t)]),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As torch.max gives them: the first of equal ones, NaN before every number.
    #[test]
    fn the_first_maximum_wins_and_nan_before_all() {
        let x = vec![1.0, 2.0, f32::NAN, 3.0, f32::NAN, 1.0, 3.0, 9.0, 9.0];
        let x = [Tensor::f32([1, 3, 3], x), Tensor::u32([1], vec![3])];
        let case = Case::of("", MaxPool, x.into());
        let y = case.definition();
        assert!(y[0].as_f32()[1].is_nan() && y[0].as_f32()[2].is_nan());
        assert_eq!((y[0].as_f32()[0], y[1].as_u32()), (3.0, &[1, 1, 0][..]));
        // A row without times.
        let case = Case::of("", MaxPool, vec![case.inputs[0].clone(), Tensor::u32([1], vec![0])]);
        let y = case.definition();
        assert_eq!((y[0].as_f32(), y[1].as_u32()), (&[0.0; 3][..], &[NOWHERE; 3][..]));
    }
}
