//! `y[r, c] = x[r, first + c]`, what puts such columns back or adds to them, and two tensors side by side
//!
//! A time of x (B, T, C) is C columns of x as (B, T·C): [`Graph::time_step`].

use crate::case::{Case, Draw, TINY, U, exact};
use crate::graph::{Graph, Value};
use crate::large::{Large, noise};
use crate::op::*;
use crate::shader;
use crate::tensor::{DType, Tensor, Type};
use std::ops::Range;
use std::sync::Arc;

/// A range of the last dimension of x (..., C), of any dtype.
#[derive(Clone, Copy, Debug)]
pub struct Columns {
    /// First index.
    pub first: usize,
    /// How many.
    pub count: usize,
}

/// The type of x with so many columns.
fn with_columns(x: &Type, count: usize) -> Type {
    let mut ty = x.clone();
    *ty.dims.last_mut().expect("a number has no columns") = count;
    ty
}

/// For every element of the part (..., count) its index in the whole (..., C).
fn places(part: &Type, whole: &Type, first: usize) -> impl Iterator<Item = usize> + use<> {
    let (count, wide) = (part.cols(), whole.cols());
    (0..part.elements()).map(move |i| i / count * wide + first + i % count)
}

/// A kernel with so many threads, between a part and the whole.
fn launch(shader: Shader, threads: usize, part: &Type, whole: &Type, first: usize) -> Vec<Launch> {
    let run = [threads, part.cols(), whole.cols(), first].map(|n| n as u32);
    vec![Launch::elements(shader, threads, run)]
}

impl Op for Columns {
    fn name(&self) -> &'static str {
        "columns"
    }

    fn types(&self, x: &[&Type]) -> Result<Vec<Type>, String> {
        match x[0].dims.last() {
            Some(&c) if self.first + self.count <= c => Ok(vec![with_columns(x[0], self.count)]),
            _ => Err("there are not so many columns".into()),
        }
    }

    fn cpu(&self, x: &[&Tensor], y: &mut [Tensor]) {
        let places = places(y[0].ty(), x[0].ty(), self.first);
        match x[0].ty().dtype {
            DType::U32 => y[0].as_u32_mut().iter_mut().zip(places).for_each(|(y, i)| *y = x[0].as_u32()[i]),
            _ => y[0].as_f32_mut().iter_mut().zip(places).for_each(|(y, i)| *y = x[0].as_f32()[i]),
        }
    }

    fn launches(&self, x: &[&Type], y: &[&Type], _: &Adapter) -> Vec<Launch> {
        launch(shader!("copy_columns"), y[0].elements(), y[0], x[0], self.first)
    }

    fn vjp(&self, g: &mut Graph, x: &[Value], _: &[Value], dy: &[Option<Value>]) -> Vec<Option<Value>> {
        let columns = g.ty(x[0]).cols();
        let op = PutColumns { first: self.first, columns };
        vec![Some(g.push(op, &[dy[0].expect("the only output")])[0])]
    }

    fn cost(&self, _: &[&Type], y: &[&Type]) -> Cost {
        Cost::new(0, y, y)
    }

    fn bound(&self, x: &[Tensor], y: &[Tensor]) -> Vec<Vec<f64>> {
        exact()(x, y)
    }
}

/// x (..., count) in the columns from `first` on of as many rows of zeros, (..., C). Where that would be added to a sum, it
/// is added to these columns alone.
#[derive(Clone, Copy, Debug)]
pub struct PutColumns {
    /// First index.
    pub first: usize,
    /// C: columns of the result.
    pub columns: usize,
}

impl Op for PutColumns {
    fn name(&self) -> &'static str {
        "put_columns"
    }

    fn types(&self, x: &[&Type]) -> Result<Vec<Type>, String> {
        match x[0].dims.last() {
            Some(&count) if self.first + count <= self.columns && x[0].dtype == DType::F32 => {
                Ok(vec![with_columns(x[0], self.columns)])
            }
            _ => Err("there are not so many columns of f32".into()),
        }
    }

    fn cpu(&self, x: &[&Tensor], y: &mut [Tensor]) {
        let places = places(x[0].ty(), y[0].ty(), self.first);
        let y = y[0].as_f32_mut();
        x[0].as_f32().iter().zip(places).for_each(|(x, i)| y[i] = *x);
    }

    fn launches(&self, x: &[&Type], y: &[&Type], _: &Adapter) -> Vec<Launch> {
        launch(shader!("put_columns"), y[0].elements(), x[0], y[0], self.first)
    }

    fn vjp(&self, g: &mut Graph, x: &[Value], _: &[Value], dy: &[Option<Value>]) -> Vec<Option<Value>> {
        let count = g.ty(x[0]).cols();
        vec![Some(g.columns(dy[0].expect("the only output"), self.first..self.first + count))]
    }

    fn adding(&self) -> Option<Arc<dyn Op>> {
        Some(Arc::new(AddColumns { first: self.first }))
    }

    fn cost(&self, x: &[&Type], y: &[&Type]) -> Cost {
        Cost::new(0, x, y)
    }

    fn bound(&self, x: &[Tensor], y: &[Tensor]) -> Vec<Vec<f64>> {
        exact()(x, y)
    }
}

/// A tensor (..., C) with x (..., count) added to its columns from `first` on. Inputs: x, and the tensor, which the result
/// takes over; its other columns are not touched.
#[derive(Clone, Copy, Debug)]
pub struct AddColumns {
    /// First index.
    pub first: usize,
}

impl Op for AddColumns {
    fn name(&self) -> &'static str {
        "add_columns"
    }

    fn types(&self, x: &[&Type]) -> Result<Vec<Type>, String> {
        let columns = *x[1].dims.last().ok_or("a number has no columns")?;
        match (PutColumns { first: self.first, columns }).types(&x[..1])?[0] == *x[1] {
            true => Ok(vec![x[1].clone()]),
            false => Err("the rows are others".into()),
        }
    }

    fn cpu(&self, x: &[&Tensor], y: &mut [Tensor]) {
        y[0] = x[1].clone();
        for (x, i) in x[0].as_f32().iter().zip(places(x[0].ty(), x[1].ty(), self.first)) {
            y[0].as_f32_mut()[i] += x;
        }
    }

    fn launches(&self, x: &[&Type], y: &[&Type], _: &Adapter) -> Vec<Launch> {
        launch(shader!("add_columns"), x[0].elements(), x[0], y[0], self.first)
    }

    fn vjp(&self, g: &mut Graph, x: &[Value], _: &[Value], dy: &[Option<Value>]) -> Vec<Option<Value>> {
        let (dy, count) = (dy[0].expect("the only output"), g.ty(x[0]).cols());
        vec![Some(g.columns(dy, self.first..self.first + count)), Some(dy)]
    }

    fn cost(&self, x: &[&Type], _: &[&Type]) -> Cost {
        Cost::new(x[0].elements(), &[x[0], x[0]], &x[..1])
    }

    fn bound(&self, x: &[Tensor], y: &[Tensor]) -> Vec<Vec<f64>> {
        let mut bounds = vec![0.0; y[0].ty().elements()];
        for i in places(x[0].ty(), y[0].ty(), self.first) {
            bounds[i] = U * y[0].as_f32()[i].abs() as f64 + 3.0 * TINY;
        }
        vec![bounds]
    }

    fn in_place(&self) -> &'static [(usize, usize)] {
        &[(1, 0)]
    }
}

/// Two tensors of f32 side by side. Inputs: a (..., M), b (..., N); output (..., M + N).
#[derive(Debug)]
pub struct ConcatColumns;

impl Op for ConcatColumns {
    fn name(&self) -> &'static str {
        "concat_columns"
    }

    fn types(&self, x: &[&Type]) -> Result<Vec<Type>, String> {
        match (x[0].dims.split_last(), x[1].dims.split_last()) {
            (Some((m, rows)), Some((n, others))) if rows == others && x.iter().all(|t| t.dtype == DType::F32) => {
                Ok(vec![with_columns(x[0], m + n)])
            }
            _ => Err("a is (..., M) and b (..., N) of f32, with the same rows".into()),
        }
    }

    fn cpu(&self, x: &[&Tensor], y: &mut [Tensor]) {
        let whole = y[0].ty().clone();
        for (x, first) in [(x[0], 0), (x[1], x[0].ty().cols())] {
            for (x, i) in x.as_f32().iter().zip(places(x.ty(), &whole, first)) {
                y[0].as_f32_mut()[i] = *x;
            }
        }
    }

    fn launches(&self, x: &[&Type], y: &[&Type], _: &Adapter) -> Vec<Launch> {
        let run = [y[0].elements(), x[0].cols(), x[1].cols(), 0].map(|n| n as u32);
        vec![Launch::elements(shader!("concat_columns"), y[0].elements(), run)]
    }

    fn vjp(&self, g: &mut Graph, x: &[Value], _: &[Value], dy: &[Option<Value>]) -> Vec<Option<Value>> {
        let (dy, m, n) = (dy[0].expect("the only output"), g.ty(x[0]).cols(), g.ty(x[1]).cols());
        vec![Some(g.columns(dy, 0..m)), Some(g.columns(dy, m..m + n))]
    }

    fn cost(&self, x: &[&Type], y: &[&Type]) -> Cost {
        Cost::new(0, x, y)
    }

    fn bound(&self, x: &[Tensor], y: &[Tensor]) -> Vec<Vec<f64>> {
        exact()(x, y)
    }
}

impl Graph {
    /// A range of the last dimension of x (..., C), of any dtype; the whole of it leaves no trace. Gradients of several ranges
    /// of one x are added in place, each to its own columns.
    #[track_caller]
    pub fn columns(&mut self, x: Value, range: Range<usize>) -> Value {
        if range == (0..self.ty(x).cols()) {
            return x;
        }
        self.push(Columns { first: range.start, count: range.len() }, &[x])[0]
    }

    /// a (..., M) and b (..., N) of f32 side by side: (..., M + N).
    #[track_caller]
    pub fn concat_columns(&mut self, a: Value, b: Value) -> Value {
        self.push(ConcatColumns, &[a, b])[0]
    }

    /// Time t of x (B, T, C), of any dtype: (B, 1, C).
    #[track_caller]
    pub fn time_step(&mut self, x: Value, t: usize) -> Value {
        let [b, time, c] = self.batch_time_columns(x, t);
        let flat = self.reshape(x, &[b, time * c]);
        let y = self.columns(flat, t * c..(t + 1) * c);
        self.reshape(y, &[b, 1, c])
    }

    /// x (B, T, C) with y (B, 1, C) added to its time t, in the place of x. What is added to the times of zeros, one after
    /// the other, makes a sequence of its steps.
    #[track_caller]
    pub fn add_time_step(&mut self, x: Value, t: usize, y: Value) -> Value {
        let [b, time, c] = self.batch_time_columns(x, t);
        assert_eq!(self.ty(y).dims, [b, 1, c], "time {t} of {}", self.ty(x));
        let flat = self.reshape(x, &[b, time * c]);
        let y = self.reshape(y, &[b, c]);
        let sum = self.push(AddColumns { first: t * c }, &[y, flat])[0];
        self.reshape(sum, &[b, time, c])
    }

    #[track_caller]
    fn batch_time_columns(&self, x: Value, t: usize) -> [usize; 3] {
        match self.ty(x).dims[..] {
            [b, time, c] if t < time => [b, time, c],
            _ => panic!("{} is no (B, T, C) with a time {t}", self.ty(x)),
        }
    }
}

/// Cases of all operations.
pub fn cases(draw: &mut Draw) -> Vec<Case> {
    draw.set_largest(1e38);
    let mut cases = vec![];
    for (dims, first, count) in
        [(vec![1], 0, 1), (vec![9], 6, 3), (vec![7, 5], 0, 2), (vec![70, 2, 9], 4, 5), (vec![3, 700], 100, 300)]
    {
        let name = format!("{count} of {dims:?} from {first}");
        let (x, mut part) = (draw.tensor(&dims), dims.clone());
        *part.last_mut().expect("it has columns") = count;
        let (y, columns) = (draw.tensor(&part), x.ty().cols());
        cases.push(Case::of(&name, Columns { first, count }, vec![x.clone()]).wrt(&[0]));
        cases.push(Case::of(&name, PutColumns { first, columns }, vec![y.clone()]).wrt(&[0]));
        cases.push(Case::of(&name, AddColumns { first }, vec![y.clone(), x.clone()]).wrt(&[0, 1]));
        cases.push(Case::of(&name, ConcatColumns, vec![x, y]).wrt(&[0, 1]));
    }
    cases.push(Case::of("ids", Columns { first: 1, count: 2 }, vec![draw.ids(&[3, 4], 1000)]));
    cases
}

/// Large cases of all kernels.
pub fn large() -> Vec<Large> {
    let (whole, half, first, count) = (|| noise(&[8192, 2048]), || noise(&[8192, 1024]), 512, 1024);
    vec![
        Large::new("1024 of 8192x2048", Columns { first, count }, [whole()]),
        Large::new("1024 in 8192x2048", PutColumns { first, columns: 2048 }, [half()]),
        Large::new("1024 into 8192x2048", AddColumns { first }, [half(), whole()]),
        Large::new("8192x1024 and 8192x1024", ConcatColumns, [half(), half()]),
    ]
}
