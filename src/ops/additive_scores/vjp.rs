//! The derivatives of additive scores.

use super::{extents, tanh_error, visit};
use crate::case::{TINY, U, gamma};
use crate::graph::{Graph, Value};
use crate::op::*;
use crate::shader;
use crate::tensor::{Tensor, Type};
use std::sync::Arc;

/// dq[t] = v ⊙ Σ_s de[t, s] (1 − tanh²(q[t] + k[s])), and each query's share of dv, Σ_s de[t, s] tanh(q[t] + k[s]). Inputs:
/// de (B, T, S), q (B, T, A), k (B, S, A), v (A); outputs (B, T, A) both.
#[derive(Debug)]
pub struct AdditiveScoresQueryVjp;

/// dk[s] = v ⊙ Σ_t de[t, s] (1 − tanh²(q[t] + k[s])). Inputs: de (B, T, S), q (B, T, A), k (B, S, A), v (A); output
/// (B, S, A).
#[derive(Debug)]
pub struct AdditiveScoresKeyVjp;

fn checked(x: &[&Type]) -> Result<[usize; 4], String> {
    let [b, t, s, a] = extents(x[1], x[2])?;
    match x[0].dims == [b, t, s] && x[3].dims == [a] {
        true => Ok([b, t, s, a]),
        false => Err(format!("scores are ({b}, {t}, {s}), v ({a})")),
    }
}

/// v times the sum of terms de (1 − tanh²), an element of which `pick` chooses of (query, key).
fn slopes(x: &[&Tensor], elements: usize, pick: impl Fn(usize, usize) -> usize) -> Vec<f64> {
    let at = |i: usize, j: usize| x[i].as_f32()[j] as f64;
    let mut sums = vec![0.0; elements];
    visit(checked(&x.iter().map(|t| t.ty()).collect::<Vec<_>>()).expect("types were checked"), |e, q, k, c| {
        let y = (at(1, q) + at(2, k)).tanh();
        sums[pick(q, k)] += at(3, c) * at(0, e) * (1.0 - y * y);
    });
    sums
}

/// How far those may be off where each has so many terms.
fn slope_errors(x: &[Tensor], elements: usize, terms: usize, pick: impl Fn(usize, usize) -> usize) -> Vec<f64> {
    let at = |i: usize, j: usize| x[i].as_f32()[j] as f64;
    let mut sums = vec![TINY; elements];
    visit(checked(&x.iter().map(|t| t.ty()).collect::<Vec<_>>()).expect("types were checked"), |e, q, k, c| {
        let sum = at(1, q) + at(2, k);
        let slope = 1.0 - sum.tanh() * sum.tanh();
        let (v, de) = (at(3, c).abs(), at(0, e).abs());
        sums[pick(q, k)] += v * de * (2.0 * tanh_error(sum) + 4.0 * U + gamma(terms + 4) * slope)
            + 3.0 * TINY * (1.0 + v) * (1.0 + de);
    });
    sums
}

fn write(y: &mut Tensor, sums: Vec<f64>) {
    y.as_f32_mut().iter_mut().zip(sums).for_each(|(y, sum)| *y = sum as f32);
}

impl Op for AdditiveScoresQueryVjp {
    fn name(&self) -> &'static str {
        "additive_scores_query_vjp"
    }

    fn types(&self, x: &[&Type]) -> Result<Vec<Type>, String> {
        checked(x)?;
        Ok(vec![x[1].clone(), x[1].clone()])
    }

    fn cpu(&self, x: &[&Tensor], y: &mut [Tensor]) {
        let elements = y[0].ty().elements();
        write(&mut y[0], slopes(x, elements, |q, _| q));
        let at = |i: usize, j: usize| x[i].as_f32()[j] as f64;
        let mut shares = vec![0.0; elements];
        visit(extents(x[1].ty(), x[2].ty()).expect("types were checked"), |e, q, k, _| {
            shares[q] += at(0, e) * (at(1, q) + at(2, k)).tanh();
        });
        write(&mut y[1], shares);
    }

    fn launches(&self, x: &[&Type], y: &[&Type], _: &Adapter) -> Vec<Launch> {
        let [_, t, s, a] = checked(x).expect("types were checked").map(|n| n as u32);
        let n = y[0].elements();
        vec![Launch::elements(shader!("additive_scores_query_vjp"), n, [n as u32, t, s, a])]
    }

    fn vjp(&self, _: &mut Graph, _: &[Value], _: &[Value], _: &[Option<Value>]) -> Vec<Option<Value>> {
        not_differentiable(self)
    }

    fn cost(&self, x: &[&Type], y: &[&Type]) -> Cost {
        Cost::new(15 * x[0].elements() * x[3].elements(), x, y)
    }

    fn bound(&self, x: &[Tensor], y: &[Tensor]) -> Vec<Vec<f64>> {
        let extents = extents(x[1].ty(), x[2].ty()).expect("types were checked");
        let (elements, s) = (y[0].ty().elements(), extents[2]);
        let at = |i: usize, j: usize| x[i].as_f32()[j] as f64;
        let mut shares = vec![TINY; elements];
        visit(extents, |e, q, k, _| {
            let (sum, de) = (at(1, q) + at(2, k), at(0, e).abs());
            shares[q] += de * (tanh_error(sum) + gamma(s + 2) * sum.tanh().abs()) + 2.0 * TINY * (1.0 + de);
        });
        vec![slope_errors(x, elements, s, |q, _| q), shares]
    }
}

impl Op for AdditiveScoresKeyVjp {
    fn name(&self) -> &'static str {
        "additive_scores_key_vjp"
    }

    fn types(&self, x: &[&Type]) -> Result<Vec<Type>, String> {
        checked(x)?;
        Ok(vec![x[2].clone()])
    }

    fn cpu(&self, x: &[&Tensor], y: &mut [Tensor]) {
        let elements = y[0].ty().elements();
        write(&mut y[0], slopes(x, elements, |_, k| k));
    }

    fn launches(&self, x: &[&Type], y: &[&Type], _: &Adapter) -> Vec<Launch> {
        let [_, t, s, a] = checked(x).expect("types were checked").map(|n| n as u32);
        let n = y[0].elements();
        vec![Launch::elements(shader!("additive_scores_key_vjp"), n, [n as u32, t, s, a]).constant("ADD", 0.0)]
    }

    fn vjp(&self, _: &mut Graph, _: &[Value], _: &[Value], _: &[Option<Value>]) -> Vec<Option<Value>> {
        not_differentiable(self)
    }

    fn cost(&self, x: &[&Type], y: &[&Type]) -> Cost {
        Cost::new(13 * x[0].elements() * x[3].elements(), x, y)
    }

    fn bound(&self, x: &[Tensor], y: &[Tensor]) -> Vec<Vec<f64>> {
        let t = x[1].ty().dims[1];
        vec![slope_errors(x, y[0].ty().elements(), t, |_, k| k)]
    }

    fn adding(&self) -> Option<Arc<dyn Op>> {
        Some(Arc::new(AdditiveScoresKeyVjpAdd))
    }
}

/// The same, added to a fifth input, whose buffer the result takes over: every step of a decoder looks at the same keys.
#[derive(Debug)]
pub struct AdditiveScoresKeyVjpAdd;

impl Op for AdditiveScoresKeyVjpAdd {
    fn name(&self) -> &'static str {
        "additive_scores_key_vjp_add"
    }

    fn types(&self, x: &[&Type]) -> Result<Vec<Type>, String> {
        match AdditiveScoresKeyVjp.types(&x[..4])?[0] == *x[4] {
            true => Ok(vec![x[4].clone()]),
            false => Err(format!("the sum is {}", x[2])),
        }
    }

    fn cpu(&self, x: &[&Tensor], y: &mut [Tensor]) {
        AdditiveScoresKeyVjp.cpu(&x[..4], y);
        y[0].as_f32_mut().iter_mut().zip(x[4].as_f32()).for_each(|(y, sum)| *y += sum);
    }

    fn launches(&self, x: &[&Type], y: &[&Type], _: &Adapter) -> Vec<Launch> {
        let [_, t, s, a] = checked(&x[..4]).expect("types were checked").map(|n| n as u32);
        let n = y[0].elements();
        vec![Launch::elements(shader!("additive_scores_key_vjp"), n, [n as u32, t, s, a]).constant("ADD", 1.0)]
    }

    fn vjp(&self, _: &mut Graph, _: &[Value], _: &[Value], _: &[Option<Value>]) -> Vec<Option<Value>> {
        not_differentiable(self)
    }

    fn cost(&self, x: &[&Type], y: &[&Type]) -> Cost {
        Cost::new(13 * x[0].elements() * x[3].elements(), x, y)
    }

    fn bound(&self, x: &[Tensor], y: &[Tensor]) -> Vec<Vec<f64>> {
        let mut bounds = AdditiveScoresKeyVjp.bound(&x[..4], y);
        for ((bound, y), sum) in bounds[0].iter_mut().zip(y[0].as_f32()).zip(x[4].as_f32()) {
            *bound += 4.0 * U * (y.abs() + sum.abs()) as f64 + TINY;
        }
        bounds
    }

    fn in_place(&self) -> &'static [(usize, usize)] {
        &[(4, 0)]
    }
}
