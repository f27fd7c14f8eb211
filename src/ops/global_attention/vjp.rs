//! What the additive score's derivative needs beside products: tanh(q + k) again, summed over keys or over queries.

use super::bound::TANH;
use super::fast;
use crate::case::{TINY, U, gamma};
use crate::graph::{Graph, Value};
use crate::op::*;
use crate::shader;
use crate::tensor::{Tensor, Type};
use std::sync::Arc;

/// B, T, S and A.
fn extents(x: &[&Type]) -> [usize; 4] {
    [x[0].dims[0], x[0].dims[1], x[1].dims[1], x[0].dims[2]]
}

/// Whether q (B, T, A), k (B, S, A), v (A), lengths (B) and dscores (B, T, S) fit.
fn check(x: &[&Type]) -> Result<(), String> {
    let ([b, t, a], [_, s, _]) = (&x[0].dims[..], &x[1].dims[..]) else {
        return Err("q is (B, T, A), k (B, S, A)".into());
    };
    let want = [Type::f32([*b, *t, *a]), Type::f32([*b, *s, *a]), Type::f32([*a]), Type::u32([*b]), Type::f32([*b, *t, *s])];
    match x.iter().zip(&want).all(|(x, want)| *x == want) {
        true => Ok(()),
        false => Err("q is (B, T, A), k (B, S, A), v (A), lengths (B), dscores (B, T, S)".into()),
    }
}

/// Calls `f` with every (row of q, row of k, a), the cotangent of their score and tanh(q + k).
fn each(x: &[&Tensor], mut f: impl FnMut(usize, usize, usize, f64, f64)) {
    let [b, t, s, a] = extents(&x.iter().map(|x| x.ty()).collect::<Vec<_>>());
    for row in 0..b * t {
        for key in 0..s.min(x[3].as_u32()[row / t] as usize) {
            let (d, from) = (x[4].as_f32()[row * s + key] as f64, row / t * s + key);
            for i in 0..a {
                let sum = x[0].as_f32()[row * a + i] as f64 + x[1].as_f32()[from * a + i] as f64;
                f(row, from, i, d, sum.tanh());
            }
        }
    }
}

/// Sums over keys for every element of q or, where `of_key`, over queries for every element of k: those of d (1 - u²), of
/// d u, and of |d|, without v.
fn sums(x: &[&Tensor], of_key: bool) -> [Vec<f64>; 3] {
    let [b, t, s, a] = extents(&x.iter().map(|x| x.ty()).collect::<Vec<_>>());
    let mut sums = [const { Vec::new() }; 3];
    sums.iter_mut().for_each(|sum| sum.resize(b * if of_key { s } else { t } * a, 0.0));
    each(x, |row, from, i, d, u| {
        let at = if of_key { from } else { row } * a + i;
        sums[0][at] += d * (1.0 - u * u);
        sums[1][at] += d * u;
        sums[2][at] += d.abs();
    });
    sums
}

/// v times such a sum.
fn times_v(x: &[&Tensor], sums: &[f64], y: &mut Tensor) {
    let v = x[2].as_f32().iter().cycle();
    y.as_f32_mut().iter_mut().zip(sums).zip(v).for_each(|((y, sum), &v)| *y = (v as f64 * sum) as f32);
}

/// How far such sums, and v times them, may be off: 1 - u² is off by 2 |u| times what u is, and some roundings.
fn bounds(x: &[&Tensor], of_key: bool) -> [Vec<f64>; 2] {
    let [_, t, s, _] = extents(&x.iter().map(|x| x.ty()).collect::<Vec<_>>());
    let n = if of_key { t } else { s };
    let [_, _, size] = sums(x, of_key);
    let flushed = 4.0 * TINY * n as f64;
    let off = |d: f64| d * (gamma(n + 1) + 2.0 * TANH + 4.0 * U) + flushed;
    let of_q = size.iter().zip(x[2].as_f32().iter().cycle());
    let of_q = of_q.map(|(&d, &v)| v.abs() as f64 * (off(d) + 2.0 * U * d) + TINY * (2.0 + d));
    [of_q.collect(), size.iter().map(|&d| off(d) + U * d + TINY).collect()]
}

fn launch(shader: Shader, x: &[&Type], of_key: bool) -> Launch {
    let [b, t, s, a] = extents(x);
    let rows = b * if of_key { s } else { t };
    Launch::elements(shader, rows * a, [rows as u32, t as u32, s as u32, 0]).constant("A", a as f64)
}

/// A thread walks over all keys, or over all queries.
fn ends(adapter: &Adapter, steps: usize) -> bool {
    !adapter.software || steps < SOFTWARE_ITERATIONS
}

/// Of scores v · tanh(q + k): dq and, a row each, what dv is the sum of. Inputs: q (B, T, A), k (B, S, A), v (A), lengths (B),
/// dscores (B, T, S). Outputs: dq (B, T, A), dv (B, T, A).
#[derive(Clone, Copy, Debug)]
pub struct GlobalAttentionQueryVjp;

impl Op for GlobalAttentionQueryVjp {
    fn name(&self) -> &'static str {
        "global_attention_query_vjp"
    }

    fn types(&self, x: &[&Type]) -> Result<Vec<Type>, String> {
        check(x)?;
        Ok(vec![x[0].clone(), x[0].clone()])
    }

    fn cpu(&self, x: &[&Tensor], y: &mut [Tensor]) {
        let [slope, of_v, _] = sums(x, false);
        times_v(x, &slope, &mut y[0]);
        y[1].as_f32_mut().iter_mut().zip(of_v).for_each(|(y, sum)| *y = sum as f32);
    }

    fn cpu_fast(&self, x: &[&Tensor], y: &mut [Tensor]) {
        let [dq, of_v] = y else { unreachable!("there are two outputs") };
        fast::sums(x, false, dq.as_f32_mut(), Some(of_v.as_f32_mut()));
    }

    fn launches(&self, x: &[&Type], _: &[&Type], adapter: &Adapter) -> Vec<Launch> {
        let launch = launch(shader!("global_attention_query_vjp"), x, false);
        if ends(adapter, x[1].dims[1]) { vec![launch] } else { vec![] }
    }

    fn vjp(&self, _: &mut Graph, _: &[Value], _: &[Value], _: &[Option<Value>]) -> Vec<Option<Value>> {
        not_differentiable(self)
    }

    fn cost(&self, x: &[&Type], y: &[&Type]) -> Cost {
        Cost::new(7 * x[4].elements() * x[0].cols(), x, y)
    }

    fn bound(&self, x: &[Tensor], _: &[Tensor]) -> Vec<Vec<f64>> {
        bounds(&x.iter().collect::<Vec<_>>(), false).into()
    }
}

/// Of scores v · tanh(q + k): dk (B, S, A), zero from a length on. Inputs: q (B, T, A), k (B, S, A), v (A), lengths (B),
/// dscores (B, T, S).
#[derive(Clone, Copy, Debug)]
pub struct GlobalAttentionKeyVjp;

impl Op for GlobalAttentionKeyVjp {
    fn name(&self) -> &'static str {
        "global_attention_key_vjp"
    }

    fn types(&self, x: &[&Type]) -> Result<Vec<Type>, String> {
        check(x)?;
        Ok(vec![x[1].clone()])
    }

    fn cpu(&self, x: &[&Tensor], y: &mut [Tensor]) {
        times_v(x, &sums(x, true)[0], &mut y[0]);
    }

    fn cpu_fast(&self, x: &[&Tensor], y: &mut [Tensor]) {
        fast::sums(x, true, y[0].as_f32_mut(), None);
    }

    fn launches(&self, x: &[&Type], _: &[&Type], adapter: &Adapter) -> Vec<Launch> {
        let launch = launch(shader!("global_attention_key_vjp"), x, true).constant("ADD", 0.0);
        if ends(adapter, x[0].dims[1]) { vec![launch] } else { vec![] }
    }

    fn vjp(&self, _: &mut Graph, _: &[Value], _: &[Value], _: &[Option<Value>]) -> Vec<Option<Value>> {
        not_differentiable(self)
    }

    fn adding(&self) -> Option<Arc<dyn Op>> {
        Some(Arc::new(GlobalAttentionKeyVjpAdd))
    }

    fn cost(&self, x: &[&Type], y: &[&Type]) -> Cost {
        Cost::new(5 * x[4].elements() * x[0].cols(), x, y)
    }

    fn bound(&self, x: &[Tensor], _: &[Tensor]) -> Vec<Vec<f64>> {
        let [bounds, _] = bounds(&x.iter().collect::<Vec<_>>(), true);
        vec![bounds]
    }
}

/// The same, added to a sixth input, whose buffer the result takes over: a decoder's steps all read the same keys.
#[derive(Clone, Copy, Debug)]
pub struct GlobalAttentionKeyVjpAdd;

impl Op for GlobalAttentionKeyVjpAdd {
    fn name(&self) -> &'static str {
        "global_attention_key_vjp_add"
    }

    fn types(&self, x: &[&Type]) -> Result<Vec<Type>, String> {
        check(&x[..5])?;
        match x[5] == x[1] {
            true => Ok(vec![x[1].clone()]),
            false => Err("the sum is (B, S, A)".into()),
        }
    }

    fn cpu(&self, x: &[&Tensor], y: &mut [Tensor]) {
        GlobalAttentionKeyVjp.cpu(&x[..5], y);
        y[0].as_f32_mut().iter_mut().zip(x[5].as_f32()).for_each(|(y, sum)| *y += sum);
    }

    fn cpu_fast(&self, x: &[&Tensor], y: &mut [Tensor]) {
        GlobalAttentionKeyVjp.cpu_fast(&x[..5], y);
        y[0].as_f32_mut().iter_mut().zip(x[5].as_f32()).for_each(|(y, sum)| *y += sum);
    }

    fn launches(&self, x: &[&Type], _: &[&Type], adapter: &Adapter) -> Vec<Launch> {
        let launch = launch(shader!("global_attention_key_vjp"), x, true).constant("ADD", 1.0);
        if ends(adapter, x[0].dims[1]) { vec![launch] } else { vec![] }
    }

    fn vjp(&self, _: &mut Graph, _: &[Value], _: &[Value], _: &[Option<Value>]) -> Vec<Option<Value>> {
        not_differentiable(self)
    }

    fn cost(&self, x: &[&Type], y: &[&Type]) -> Cost {
        Cost::new(5 * x[4].elements() * x[0].cols() + y[0].elements(), x, y)
    }

    fn bound(&self, x: &[Tensor], y: &[Tensor]) -> Vec<Vec<f64>> {
        let mut bounds = GlobalAttentionKeyVjp.bound(&x[..5], y);
        for ((bound, y), sum) in bounds[0].iter_mut().zip(y[0].as_f32()).zip(x[5].as_f32()) {
            *bound += 4.0 * U * (y.abs() + sum.abs()) as f64 + TINY;
        }
        bounds
    }

    fn in_place(&self) -> &'static [(usize, usize)] {
        &[(5, 0)]
    }
}
