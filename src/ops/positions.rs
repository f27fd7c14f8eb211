//! `y[b, t, c] = x[b, t, c] + table[start[b] + t, c]`, and the sinusoids of Vaswani et al. 2017

use crate::case::{Case, Draw, TINY, gamma, per_element, ulps};
use crate::graph::{Graph, Value};
use crate::large::{Large, noise, words};
use crate::op::*;
use crate::shader;
use crate::tensor::{Tensor, Type};

/// Adds the rows `start .. start + T` of a table of positions to x (B, T, C). Inputs: x, table (P, C), start (1), or (B)
/// where each batch has its own.
/// Past its end the table counts as zeros: learned tables are as long as the longest sentence, and batches are padded
/// to multiples of four.
#[derive(Debug)]
pub struct Positions;

impl Op for Positions {
    fn name(&self) -> &'static str {
        "positions"
    }

    fn types(&self, x: &[&Type]) -> Result<Vec<Type>, String> {
        if x[0].dims.len() != 3 || x[1].dims.len() != 2 || x[0].cols() != x[1].cols() {
            return Err("x is (B, T, C), the table (positions, C)".into());
        }
        check_start(x[0], x[2])?;
        if x[0].dims[1] > x[1].dims[0].next_multiple_of(4) {
            return Err(format!("{} positions, the table has {}", x[0].dims[1], x[1].dims[0]));
        }
        Ok(vec![x[0].clone()])
    }

    fn cpu(&self, x: &[&Tensor], y: &mut [Tensor]) {
        let (t, c) = (x[0].ty().dims[1], x[0].ty().cols());
        for (i, y) in y[0].as_f32_mut().iter_mut().enumerate() {
            let position = start_of(x[2], i / c / t) + i / c % t;
            *y = x[0].as_f32()[i] + x[1].as_f32().get(position * c + i % c).unwrap_or(&0.0);
        }
    }

    fn launches(&self, x: &[&Type], y: &[&Type], _: &Adapter) -> Vec<Launch> {
        let run = [y[0].elements(), y[0].cols(), y[0].dims[1], x[1].dims[0]].map(|n| n as u32);
        let per_row = f64::from(x[2].elements() > 1);
        vec![Launch::elements(shader!("positions"), y[0].elements(), run).constant("PER_ROW", per_row)]
    }

    fn vjp(&self, g: &mut Graph, x: &[Value], _: &[Value], dy: &[Option<Value>]) -> Vec<Option<Value>> {
        assert_eq!(g.ty(x[2]).elements(), 1, "{self:?} is differentiable where all batches start at one position");
        let dy = dy[0].expect("the only output");
        let op = PositionsVjp { rows: g.ty(x[1]).dims[0] };
        vec![Some(dy), Some(g.push(op, &[dy, x[2]])[0]), None]
    }

    fn cost(&self, x: &[&Type], y: &[&Type]) -> Cost {
        let table = Type::f32([x[0].dims[1], x[0].cols()]);
        Cost::new(y[0].elements(), &[x[0], &table], y)
    }

    fn bound(&self, x: &[Tensor], y: &[Tensor]) -> Vec<Vec<f64>> {
        ulps(1.0)(x, y)
    }
}

/// Whether there is one start, or one for each batch of x (B, T, C).
pub(super) fn check_start(x: &Type, start: &Type) -> Result<(), String> {
    match start.dims[..] {
        [n] if n == 1 || n == x.dims[0] => Ok(()),
        _ => Err("start is (1) or (B)".into()),
    }
}

/// Where batch b starts.
pub(super) fn start_of(start: &Tensor, b: usize) -> usize {
    let starts = start.as_u32();
    starts[b.min(starts.len() - 1)] as usize
}

/// `dtable[p, c] = sum of dy[b, p - start, c] over b`, zeros in rows that no position took. Inputs: dy (B, T, C),
/// start (1).
#[derive(Debug)]
pub struct PositionsVjp {
    /// P, the rows of the table.
    pub rows: usize,
}

impl Op for PositionsVjp {
    fn name(&self) -> &'static str {
        "positions_vjp"
    }

    fn types(&self, x: &[&Type]) -> Result<Vec<Type>, String> {
        match x[0].dims.len() {
            3 => Ok(vec![Type::f32([self.rows, x[0].cols()])]),
            _ => Err("dy is (B, T, C)".into()),
        }
    }

    fn cpu(&self, x: &[&Tensor], y: &mut [Tensor]) {
        let [b, t, c] = x[0].ty().dims[..] else { unreachable!("checked by types") };
        let start = x[1].as_u32()[0] as usize;
        for p in start..self.rows.min(start + t) {
            for j in 0..c {
                let row = |batch: usize| x[0].as_f32()[(batch * t + p - start) * c + j] as f64;
                y[0].as_f32_mut()[p * c + j] = (0..b).map(row).sum::<f64>() as f32;
            }
        }
    }

    fn launches(&self, x: &[&Type], y: &[&Type], _: &Adapter) -> Vec<Launch> {
        let run = [y[0].elements(), x[0].cols(), x[0].dims[1], x[0].dims[0]].map(|n| n as u32);
        vec![Launch::elements(shader!("positions_vjp"), y[0].elements(), run)]
    }

    fn vjp(&self, _: &mut Graph, _: &[Value], _: &[Value], _: &[Option<Value>]) -> Vec<Option<Value>> {
        not_differentiable(self)
    }

    fn cost(&self, x: &[&Type], y: &[&Type]) -> Cost {
        Cost::new(x[0].elements(), x, y)
    }

    fn bound(&self, x: &[Tensor], y: &[Tensor]) -> Vec<Vec<f64>> {
        let [b, t, c] = x[0].ty().dims[..] else { unreachable!("checked by types") };
        let bound = per_element(move |i, x: &[Tensor], _| {
            let start = x[1].as_u32()[0] as usize;
            let used = (start..start + t).contains(&(i / c));
            let row = |batch: usize| x[0].as_f32()[(batch * t + i / c - start) * c + i % c].abs() as f64;
            if used { (0..b).map(|batch| gamma(b) * row(batch) + TINY).sum() } else { 0.0 }
        });
        bound(x, y)
    }
}

/// p / 10000^(2i/d): the angle of the i-th pair of sine and cosine at position p.
fn angle(p: usize, i: usize, d: usize) -> f64 {
    p as f64 / 10000f64.powf((2 * i) as f64 / d as f64)
}

fn table(positions: usize, d: usize, element: impl Fn(usize, usize) -> f64) -> Tensor {
    Tensor::f32([positions, d], (0..positions * d).map(|i| element(i / d, i % d) as f32).collect())
}

/// PE(p, 2i) = sin(p / 10000^(2i/d)), PE(p, 2i+1) = cos of the same: a table (positions, d), position 0 first.
pub fn sinusoids(positions: usize, d: usize) -> Tensor {
    table(positions, d, |p, c| if c.is_multiple_of(2) { angle(p, c / 2, d).sin() } else { angle(p, c / 2, d).cos() })
}

/// The same numbers in another order, as Marian has them: PE(p, i) = sin(p / 10000^(2i/d)), PE(p, d/2 + i) = cos of
/// the same. Rotary positions read their sines and cosines from it too, with the head size for d.
pub fn sinusoids_split(positions: usize, d: usize) -> Tensor {
    let half = d / 2;
    table(positions, d, |p, c| if c < half { angle(p, c, d).sin() } else { angle(p, c - half, d).cos() })
}

impl Graph {
    /// Adds the rows `start .. start + T` of `table` to x (B, T, C).
    #[track_caller]
    pub fn positions(&mut self, x: Value, table: Value, start: Value) -> Value {
        self.push(Positions, &[x, table, start])[0]
    }
}

/// Cases of both kernels; in the last the sequence goes on behind the table.
pub fn cases(draw: &mut Draw) -> Vec<Case> {
    draw.set_largest(1e37);
    let mut cases = vec![];
    for (b, t, c, start, rows) in [(1, 1, 1, 0, 1), (2, 3, 5, 0, 3), (3, 1, 130, 4, 7), (5, 8, 3, 0, 6)] {
        let name = format!("[{b}, {t}, {c}] from {start} of {rows}");
        let first = Tensor::u32([1], vec![start as u32]);
        let inputs = vec![draw.tensor(&[b, t, c]), draw.tensor(&[rows, c]), first.clone()];
        cases.push(Case::new(&name, Positions, inputs, ulps(1.0)).wrt(&[0, 1]));
        cases.push(Case::of(name, PositionsVjp { rows }, vec![draw.tensor(&[b, t, c]), first]));
    }
    let starts = Tensor::u32([3], vec![4, 0, 7]);
    let inputs = vec![draw.tensor(&[3, 2, 5]), draw.tensor(&[8, 5]), starts];
    cases.push(Case::new("[3, 2, 5] from 4, 0, 7 of 8", Positions, inputs, ulps(1.0)));
    cases
}

/// Large cases of both kernels.
pub fn large() -> Vec<Large> {
    vec![
        Large::new("16x512x1024", Positions, [noise(&[16, 512, 1024]), noise(&[512, 1024]), words(&[0])]),
        Large::new("32x512x1024", PositionsVjp { rows: 512 }, [noise(&[32, 512, 1024]), words(&[0])]),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assert_table(table: Tensor, expected: [f64; 12]) {
        for (have, want) in table.as_f32().iter().zip(expected) {
            assert!((*have as f64 - want).abs() <= 1e-7, "{have} {want}");
        }
    }

    #[test]
    fn sinusoids_are_the_papers() {
        let (s, c) = (f64::sin, f64::cos);
        let expected = [0.0, 1.0, 0.0, 1.0, s(1.0), c(1.0), s(0.01), c(0.01), s(2.0), c(2.0), s(0.02), c(0.02)];
        assert_table(sinusoids(3, 4), expected);
    }

    #[test]
    fn split_sinusoids_are_marians() {
        let (s, c) = (f64::sin, f64::cos);
        let expected = [0.0, 0.0, 1.0, 1.0, s(1.0), s(0.01), c(1.0), c(0.01), s(2.0), s(0.02), c(2.0), c(0.02)];
        assert_table(sinusoids_split(3, 4), expected);
    }
}
