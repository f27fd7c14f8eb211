//! y = x[first .. first + count] and its inverse, x with y in those rows

use crate::case::{Case, Draw, exact};
use crate::graph::{Graph, Value};
use crate::large::{Large, noise};
use crate::op::*;
use crate::shader;
use crate::tensor::{DType, Tensor, Type};
use std::ops::Range;

/// A range of the first dimension of x (N, ...), of any dtype.
#[derive(Debug)]
pub struct Rows {
    /// First index.
    pub first: usize,
    /// How many.
    pub count: usize,
}

/// Elements of one index of the first dimension.
fn width(ty: &Type) -> usize {
    ty.elements() / ty.dims[0]
}

fn launch(elements: usize, from: usize, to: usize) -> Vec<Launch> {
    vec![Launch::elements(shader!("copy_rows"), elements, [elements as u32, from as u32, to as u32, 0])]
}

/// Copies `count` elements from one position to another.
fn copy(x: &Tensor, from: usize, y: &mut Tensor, to: usize, count: usize) {
    match x.ty().dtype {
        DType::U32 => y.as_u32_mut()[to..to + count].copy_from_slice(&x.as_u32()[from..from + count]),
        _ => y.as_f32_mut()[to..to + count].copy_from_slice(&x.as_f32()[from..from + count]),
    }
}

impl Op for Rows {
    fn name(&self) -> &'static str {
        "rows"
    }

    fn types(&self, x: &[&Type]) -> Result<Vec<Type>, String> {
        match x[0].dims.first() {
            Some(&n) if self.first + self.count <= n => {
                let dims = [&[self.count], &x[0].dims[1..]].concat();
                Ok(vec![Type { dims, dtype: x[0].dtype }])
            }
            _ => Err("there are not so many rows".into()),
        }
    }

    fn cpu(&self, x: &[&Tensor], y: &mut [Tensor]) {
        let width = width(x[0].ty());
        copy(x[0], self.first * width, &mut y[0], 0, self.count * width);
    }

    fn launches(&self, x: &[&Type], y: &[&Type], _: &Adapter) -> Vec<Launch> {
        launch(y[0].elements(), self.first * width(x[0]), 0)
    }

    fn vjp(&self, g: &mut Graph, x: &[Value], _: &[Value], dy: &[Option<Value>]) -> Vec<Option<Value>> {
        let zeros = g.fill(0.0, &g.ty(x[0]).dims.clone());
        vec![Some(g.set_rows(zeros, self.first, dy[0].expect("the only output")))]
    }

    fn cost(&self, _: &[&Type], y: &[&Type]) -> Cost {
        Cost::new(0, y, y)
    }

    fn bound(&self, x: &[Tensor], y: &[Tensor]) -> Vec<Vec<f64>> {
        exact()(x, y)
    }
}

/// x (N, ...) with the rows from `first` on replaced by y (count, ...). Inputs: x, which the result takes over, and y.
#[derive(Debug)]
pub struct SetRows {
    /// First index.
    pub first: usize,
}

impl Op for SetRows {
    fn name(&self) -> &'static str {
        "set_rows"
    }

    fn types(&self, x: &[&Type]) -> Result<Vec<Type>, String> {
        let count = *x[1].dims.first().ok_or("a number has no rows")?;
        match (Rows { first: self.first, count }).types(&x[..1])?[0] == *x[1] {
            true => Ok(vec![x[0].clone()]),
            false => Err("the rows are of another type".into()),
        }
    }

    fn cpu(&self, x: &[&Tensor], y: &mut [Tensor]) {
        y[0] = x[0].clone();
        copy(x[1], 0, &mut y[0], self.first * width(x[0].ty()), x[1].ty().elements());
    }

    fn launches(&self, x: &[&Type], _: &[&Type], _: &Adapter) -> Vec<Launch> {
        launch(x[1].elements(), 0, self.first * width(x[0]))
    }

    fn vjp(&self, g: &mut Graph, x: &[Value], _: &[Value], dy: &[Option<Value>]) -> Vec<Option<Value>> {
        let dy = dy[0].expect("the only output");
        let dims = g.ty(x[1]).dims.clone();
        let rows = g.rows(dy, self.first..self.first + dims[0]);
        let zeros = g.fill(0.0, &dims);
        vec![Some(g.set_rows(dy, self.first, zeros)), Some(rows)]
    }

    fn cost(&self, x: &[&Type], _: &[&Type]) -> Cost {
        Cost::new(0, &x[1..], &x[1..])
    }

    fn bound(&self, x: &[Tensor], y: &[Tensor]) -> Vec<Vec<f64>> {
        exact()(x, y)
    }

    fn in_place(&self) -> &'static [(usize, usize)] {
        &[(0, 0)]
    }
}

impl Graph {
    /// A range of the first dimension of x (N, ...); the whole of it leaves no trace.
    #[track_caller]
    pub fn rows(&mut self, x: Value, range: Range<usize>) -> Value {
        if range == (0..self.ty(x).dims[0]) {
            return x;
        }
        self.push(Rows { first: range.start, count: range.len() }, &[x])[0]
    }

    /// x (N, ...) with the rows from `first` on replaced by those of y; all of them leave no trace of x.
    #[track_caller]
    pub fn set_rows(&mut self, x: Value, first: usize, y: Value) -> Value {
        if self.ty(x) == self.ty(y) {
            return y;
        }
        self.push(SetRows { first }, &[x, y])[0]
    }
}

/// Cases of both operations.
pub fn cases(draw: &mut Draw) -> Vec<Case> {
    draw.set_largest(1e38);
    let mut cases = vec![];
    for (dims, first, count) in [(vec![1, 1], 0, 1), (vec![7, 5], 2, 3), (vec![9], 6, 3), (vec![70, 2, 9], 1, 60)] {
        let name = format!("{count} of {dims:?} from {first}");
        let (x, mut part) = (draw.tensor(&dims), dims.clone());
        part[0] = count;
        cases.push(Case::new(&name, Rows { first, count }, vec![x.clone()], exact()).wrt(&[0]));
        cases.push(Case::new(&name, SetRows { first }, vec![x, draw.tensor(&part)], exact()).wrt(&[0, 1]));
    }
    cases.push(Case::new("labels", Rows { first: 1, count: 4 }, vec![draw.ids(&[6], 1000)], exact()));
    cases
}

/// Large cases of both kernels.
pub fn large() -> Vec<Large> {
    let (x, part) = (|| noise(&[8192, 2048]), noise(&[4096, 2048]));
    vec![
        Large::new("4096 of 8192x2048", Rows { first: 2048, count: 4096 }, [x()]),
        Large::new("4096 into 8192x2048", SetRows { first: 2048 }, [x(), part]),
    ]
}
