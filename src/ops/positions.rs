//! `y[b, t, c] = x[b, t, c] + table[start + t, c]`, and the sinusoids of Vaswani et al. 2017

use crate::case::{Case, Draw, ulps};
use crate::graph::{Graph, Value};
use crate::op::*;
use crate::shader;
use crate::tensor::{Tensor, Type};

/// Adds the rows `start .. start + T` of a table of positions to x (B, T, C). Inputs: x, table (positions, C),
/// start (1). The table has no derivative here: sinusoids do not learn.
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
        if x[0].dims[1] > x[1].dims[0] {
            return Err(format!("{} positions, the table has {}", x[0].dims[1], x[1].dims[0]));
        }
        Ok(vec![x[0].clone()])
    }

    fn cpu(&self, x: &[&Tensor], y: &mut [Tensor]) {
        let (t, c) = (x[0].ty().dims[1], x[0].ty().cols());
        let start = x[2].as_u32()[0] as usize;
        for (i, y) in y[0].as_f32_mut().iter_mut().enumerate() {
            *y = x[0].as_f32()[i] + x[1].as_f32()[(start + i / c % t) * c + i % c];
        }
    }

    fn launches(&self, _: &[&Type], y: &[&Type], _: &Adapter) -> Vec<Launch> {
        let run = [y[0].elements() as u32, y[0].cols() as u32, y[0].dims[1] as u32, 0];
        vec![Launch::elements(shader!("positions"), y[0].elements(), run)]
    }

    fn vjp(&self, _: &mut Graph, _: &[Value], _: &[Value], dy: &[Option<Value>]) -> Vec<Option<Value>> {
        vec![dy[0], None, None]
    }

    fn cost(&self, x: &[&Type], y: &[&Type]) -> Cost {
        Cost::new(y[0].elements(), &x[..1], y)
    }
}

/// PE(p, 2i) = sin(p / 10000^(2i/d)), PE(p, 2i+1) = cos of the same: a table (positions, d), position 0 first.
pub fn sinusoids(positions: usize, d: usize) -> Tensor {
    let element = |i: usize| {
        let (p, c) = (i / d, i % d);
        let angle = p as f64 / 10000f64.powf((c - c % 2) as f64 / d as f64);
        (if c % 2 == 0 { angle.sin() } else { angle.cos() }) as f32
    };
    Tensor::f32([positions, d], (0..positions * d).map(element).collect())
}

impl Graph {
    /// Adds the rows `start .. start + T` of `table` to x (B, T, C).
    #[track_caller]
    pub fn positions(&mut self, x: Value, table: Value, start: Value) -> Value {
        self.push(Positions, &[x, table, start])[0]
    }
}

/// Cases of the kernel.
pub fn cases(draw: &mut Draw) -> Vec<Case> {
    let case = |(b, t, c, start): (usize, usize, usize, usize)| {
        let inputs = vec![draw.tensor(&[b, t, c]), draw.tensor(&[start + t, c]), Tensor::u32([1], vec![start as u32])];
        Case::new(format!("[{b}, {t}, {c}] from {start}"), Positions, inputs, ulps(1.0)).wrt(&[0])
    };
    [(1, 1, 1, 0), (2, 3, 5, 0), (3, 1, 130, 4)].map(case).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sinusoids_are_the_papers() {
        let table = sinusoids(3, 4);
        let (s, c) = (f64::sin, f64::cos);
        let expected = [0.0, 1.0, 0.0, 1.0, s(1.0), c(1.0), s(0.01), c(0.01), s(2.0), c(2.0), s(0.02), c(0.02)];
        for (have, want) in table.as_f32().iter().zip(expected) {
            assert!((*have as f64 - want).abs() <= 1e-7, "{have} {want}");
        }
    }
}
