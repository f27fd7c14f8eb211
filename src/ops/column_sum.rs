//! `y[c] = sum of x[r, c] over the rows r`: the gradient of what was broadcast over rows

use crate::case::{Case, Draw, TINY, gamma, per_element};
use crate::graph::{Graph, Value};
use crate::large::{Large, noise};
use crate::op::*;
use crate::shader;
use crate::tensor::{Tensor, Type};

/// Sums of each column over `groups` blocks of consecutive rows.
#[derive(Debug)]
pub struct ColumnSum {
    /// Number of blocks, the rows of the result.
    pub groups: usize,
}

impl Op for ColumnSum {
    fn name(&self) -> &'static str {
        "column_sum"
    }

    fn types(&self, x: &[&Type]) -> Result<Vec<Type>, String> {
        Ok(vec![Type::f32([self.groups, x[0].cols()])])
    }

    fn cpu(&self, x: &[&Tensor], y: &mut [Tensor]) {
        let (rows, c) = (x[0].ty().rows(), x[0].ty().cols());
        let block = rows.div_ceil(self.groups);
        let mut sum = vec![0.0; self.groups * c];
        for r in 0..rows {
            for j in 0..c {
                sum[r / block * c + j] += x[0].as_f32()[r * c + j] as f64;
            }
        }
        for (y, s) in y[0].as_f32_mut().iter_mut().zip(sum) {
            *y = s as f32;
        }
    }

    fn launches(&self, x: &[&Type], _: &[&Type], _: &Adapter) -> Vec<Launch> {
        let (rows, c) = (x[0].rows(), x[0].cols());
        let run = [rows, c, rows.div_ceil(self.groups), self.groups].map(|n| n as u32);
        vec![Launch::groups(shader!("column_sum"), self.groups * c.div_ceil(32), run)]
    }

    fn vjp(&self, _: &mut Graph, _: &[Value], _: &[Value], _: &[Option<Value>]) -> Vec<Option<Value>> {
        not_differentiable(self)
    }

    fn cost(&self, x: &[&Type], y: &[&Type]) -> Cost {
        Cost::new(x[0].elements(), x, y)
    }

    fn bound(&self, x: &[Tensor], y: &[Tensor]) -> Vec<Vec<f64>> {
        let (rows, c) = (x[0].ty().rows(), x[0].ty().cols());
        let block = rows.div_ceil(self.groups);
        let bound = per_element(move |i, x: &[Tensor], _| {
            let rows = (i / c * block..rows).take(block);
            rows.map(|r| gamma(block) * x[0].as_f32()[r * c + i % c].abs() as f64 + TINY).sum()
        });
        bound(x, y)
    }
}

/// Into how many blocks a sum over this many rows is cut. Up to 1,024 rows, 128 a thread, a second pass would cost more
/// than it saves.
fn blocks(rows: usize) -> usize {
    rows.div_ceil(1024).min(32)
}

impl Graph {
    /// `y[c] = sum of x[r, c] over the rows`: of many rows in blocks first, then over the blocks.
    #[track_caller]
    pub fn column_sum(&mut self, x: Value) -> Value {
        let (rows, c) = (self.ty(x).rows(), self.ty(x).cols());
        let (x, groups) = (self.reshape(x, &[rows, c]), blocks(rows));
        let mut y = self.push_once(ColumnSum { groups }, &[x])[0];
        if groups > 1 {
            y = self.push_once(ColumnSum { groups: 1 }, &[y])[0];
        }
        self.reshape(y, &[c])
    }
}

/// Cases of the kernel.
pub fn cases(draw: &mut Draw) -> Vec<Case> {
    draw.set_largest(1e33);
    let case = |(rows, c, groups): (usize, usize, usize)| {
        Case::of(format!("{rows}x{c} in {groups}"), ColumnSum { groups }, vec![draw.tensor(&[rows, c])])
    };
    [(1, 1, 1), (70, 3, 1), (70, 3, 4), (130, 257, 3), (5, 4, 4)].map(case).into()
}

/// Large cases of the kernel.
pub fn large() -> Vec<Large> {
    let rows = 16_384;
    vec![Large::new("16384x1024 in 16", ColumnSum { groups: blocks(rows) }, [noise(&[rows, 1024])])]
}
