//! y = x[:, first .. first + count] and back: zeros with y there, and x with y added there

use crate::case::{Case, Draw, TINY, U, exact, per_element};
use crate::graph::{Graph, Value};
use crate::large::{Large, noise};
use crate::op::*;
use crate::shader;
use crate::tensor::{DType, Tensor, Type};
use std::ops::Range;
use std::sync::Arc;

/// A range of one dimension of x.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slice {
    /// Which dimension.
    pub axis: usize,
    /// First index.
    pub first: usize,
    /// How many.
    pub count: usize,
}

impl Slice {
    /// The slice of a tensor of these dimensions, or why there is none.
    fn of(&self, x: &Type) -> Result<Type, String> {
        match x.dims.get(self.axis) {
            _ if x.dtype != DType::F32 => Err("slices are of f32".into()),
            Some(&n) if self.first + self.count <= n => {
                let mut dims = x.dims.clone();
                dims[self.axis] = self.count;
                Ok(Type::f32(dims))
            }
            _ => Err(format!("there is no {}..{} in it", self.first, self.first + self.count)),
        }
    }

    /// Elements behind each other: in the whole, before the slice, in the slice.
    fn extents(&self, whole: &Type) -> [usize; 3] {
        let inner: usize = whole.dims[self.axis + 1..].iter().product();
        [whole.dims[self.axis], self.first, self.count].map(|n| n * inner)
    }

    /// For each element of the slice, where it is in the whole.
    fn places(&self, whole: &Type) -> impl Iterator<Item = usize> + use<> {
        let [all, first, count] = self.extents(whole);
        (0..whole.elements() / all).flat_map(move |o| (0..count).map(move |i| o * all + first + i))
    }

    fn launch(&self, shader: Shader, threads: &Type, whole: &Type) -> Vec<Launch> {
        let [all, first, count] = self.extents(whole).map(|n| n as u32);
        vec![Launch::elements(shader, threads.elements(), [threads.elements() as u32, all, first, count])]
    }
}

impl Op for Slice {
    fn name(&self) -> &'static str {
        "slice"
    }

    fn types(&self, x: &[&Type]) -> Result<Vec<Type>, String> {
        Ok(vec![self.of(x[0])?])
    }

    fn cpu(&self, x: &[&Tensor], y: &mut [Tensor]) {
        for (y, place) in y[0].as_f32_mut().iter_mut().zip(self.places(x[0].ty())) {
            *y = x[0].as_f32()[place];
        }
    }

    fn launches(&self, x: &[&Type], y: &[&Type], _: &Adapter) -> Vec<Launch> {
        self.launch(shader!("slice"), y[0], x[0])
    }

    fn vjp(&self, g: &mut Graph, x: &[Value], _: &[Value], dy: &[Option<Value>]) -> Vec<Option<Value>> {
        let whole = g.ty(x[0]).clone();
        vec![Some(g.push(SliceVjp { slice: *self, whole }, &[dy[0].expect("the only output")])[0])]
    }

    fn cost(&self, _: &[&Type], y: &[&Type]) -> Cost {
        Cost::new(0, y, y)
    }

    fn bound(&self, x: &[Tensor], y: &[Tensor]) -> Vec<Vec<f64>> {
        exact()(x, y)
    }
}

/// Zeros (of the type `whole`) with dy in a slice.
#[derive(Clone, Debug)]
pub struct SliceVjp {
    /// Where dy goes.
    pub slice: Slice,
    /// The type of the result.
    pub whole: Type,
}

impl Op for SliceVjp {
    fn name(&self) -> &'static str {
        "slice_vjp"
    }

    fn types(&self, x: &[&Type]) -> Result<Vec<Type>, String> {
        match self.slice.of(&self.whole)? == *x[0] {
            true => Ok(vec![self.whole.clone()]),
            false => Err(format!("the slice of {} is another", self.whole)),
        }
    }

    fn cpu(&self, x: &[&Tensor], y: &mut [Tensor]) {
        for (x, place) in x[0].as_f32().iter().zip(self.slice.places(&self.whole)) {
            y[0].as_f32_mut()[place] = *x;
        }
    }

    fn launches(&self, _: &[&Type], y: &[&Type], _: &Adapter) -> Vec<Launch> {
        self.slice.launch(shader!("slice_vjp"), y[0], y[0])
    }

    fn vjp(&self, g: &mut Graph, _: &[Value], _: &[Value], dy: &[Option<Value>]) -> Vec<Option<Value>> {
        vec![Some(g.push(self.slice, &[dy[0].expect("the only output")])[0])]
    }

    fn cost(&self, x: &[&Type], y: &[&Type]) -> Cost {
        Cost::new(0, x, y)
    }

    fn bound(&self, x: &[Tensor], y: &[Tensor]) -> Vec<Vec<f64>> {
        exact()(x, y)
    }

    fn adding(&self) -> Option<Arc<dyn Op>> {
        Some(Arc::new(AddSlice(self.slice)))
    }
}

/// x with y added to a slice of it; nothing else of x is touched. Inputs: y, and x, which the result takes over.
#[derive(Clone, Debug)]
pub struct AddSlice(pub Slice);

impl Op for AddSlice {
    fn name(&self) -> &'static str {
        "add_slice"
    }

    fn types(&self, x: &[&Type]) -> Result<Vec<Type>, String> {
        match self.0.of(x[1])? == *x[0] {
            true => Ok(vec![x[1].clone()]),
            false => Err(format!("the slice of {} is another", x[1])),
        }
    }

    fn cpu(&self, x: &[&Tensor], y: &mut [Tensor]) {
        y[0] = x[1].clone();
        for (x, place) in x[0].as_f32().iter().zip(self.0.places(x[1].ty())) {
            let y = &mut y[0].as_f32_mut()[place];
            *y = (*y as f64 + *x as f64) as f32;
        }
    }

    fn launches(&self, x: &[&Type], _: &[&Type], _: &Adapter) -> Vec<Launch> {
        self.0.launch(shader!("add_slice"), x[0], x[1])
    }

    fn vjp(&self, g: &mut Graph, _: &[Value], _: &[Value], dy: &[Option<Value>]) -> Vec<Option<Value>> {
        let dy = dy[0].expect("the only output");
        vec![Some(g.push(self.0, &[dy])[0]), Some(dy)]
    }

    fn cost(&self, x: &[&Type], _: &[&Type]) -> Cost {
        Cost::new(x[0].elements(), &[x[0], x[0]], &x[..1])
    }

    fn bound(&self, x: &[Tensor], y: &[Tensor]) -> Vec<Vec<f64>> {
        let mut touched = vec![0.0; y[0].ty().elements()];
        self.0.places(x[1].ty()).for_each(|place| touched[place] = 1.0);
        per_element(move |i, _, y| touched[i] * (U * y.abs() + 2.0 * TINY))(x, y)
    }

    fn in_place(&self) -> &'static [(usize, usize)] {
        &[(1, 0)]
    }
}

impl Graph {
    /// The columns `range` of x (..., C); the whole of it leaves no trace.
    #[track_caller]
    pub fn columns(&mut self, x: Value, range: Range<usize>) -> Value {
        if range == (0..self.ty(x).cols()) {
            return x;
        }
        let axis = self.ty(x).dims.len() - 1;
        self.push(Slice { axis, first: range.start, count: range.len() }, &[x])[0]
    }

    /// Step t of x (B, T, C): (B, 1, C).
    #[track_caller]
    pub fn time_step(&mut self, x: Value, t: usize) -> Value {
        self.push(Slice { axis: 1, first: t, count: 1 }, &[x])[0]
    }

    /// x (B, T, C) with y (B, 1, C) added to its step t.
    #[track_caller]
    pub fn add_time_step(&mut self, x: Value, t: usize, y: Value) -> Value {
        self.push(AddSlice(Slice { axis: 1, first: t, count: 1 }), &[y, x])[0]
    }
}

/// Cases of the three operations.
pub fn cases(draw: &mut Draw) -> Vec<Case> {
    draw.set_largest(1e38);
    let mut cases = vec![];
    for (dims, axis, first, count) in
        [(&[1, 1][..], 1, 0, 1), (&[3, 5], 1, 2, 3), (&[4, 7, 3], 1, 6, 1), (&[9, 2, 70], 2, 33, 30), (&[5, 3], 0, 1, 2)]
    {
        let slice = Slice { axis, first, count };
        let name = format!("{count} of {dims:?} from {first}");
        let x = draw.tensor(dims);
        let part = draw.tensor(&slice.of(x.ty()).expect("a slice").dims);
        let back = SliceVjp { slice, whole: x.ty().clone() };
        cases.push(Case::of(&name, slice, vec![x.clone()]).wrt(&[0]));
        cases.push(Case::of(&name, back, vec![part.clone()]).wrt(&[0]));
        cases.push(Case::of(&name, AddSlice(slice), vec![part, x]).wrt(&[0, 1]));
    }
    cases
}

/// Large cases of the three kernels.
pub fn large() -> Vec<Large> {
    let (x, part) = (|| noise(&[4096, 4096]), || noise(&[4096, 2048]));
    let slice = Slice { axis: 1, first: 1024, count: 2048 };
    vec![
        Large::new("2048 of 4096x4096", slice, [x()]),
        Large::new("2048 of 4096x4096", SliceVjp { slice, whole: Type::f32([4096, 4096]) }, [part()]),
        Large::new("2048 of 4096x4096", AddSlice(slice), [part(), x()]),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grad::grad;

    fn elements(g: &Graph, name: &str) -> usize {
        g.nodes().iter().filter(|n| n.op.name() == name).flat_map(|n| &n.outputs).map(|&v| g.ty(v).elements()).sum()
    }

    /// T steps of a sequence: their gradients are put together in one buffer, and no pass but the first goes over all of it.
    #[test]
    fn gradients_of_steps_are_added_in_place() {
        let (b, t, c) = (2, 5, 3);
        let mut g = Graph::new();
        let x = g.input("x", Type::f32([b, t, c]));
        let mut sum = g.fill(0.0, &[b, t, c]);
        for i in 0..t {
            let step = g.time_step(x, i);
            let step = g.tanh(step);
            sum = g.add_time_step(sum, t - 1 - i, step);
        }
        let loss = g.sum(sum);
        let loss = g.reshape(loss, &[1]);
        grad(&mut g, loss, &[x]);
        let count = |name: &str| g.nodes().iter().filter(|n| n.op.name() == name).count();
        assert_eq!([count("slice_vjp"), count("add_slice"), count("add")], [1, t + t - 1, 0]);
        assert_eq!(elements(&g, "slice"), 2 * b * t * c);
    }
}
