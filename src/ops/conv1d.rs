//! `u[b, o, (c, k)] = x[b, o stride + k - left, c]`: the windows of a convolution over time as rows, for a matrix product

use crate::case::{Case, Draw, TINY, gamma, per_element};
use crate::graph::{Graph, Value};
use crate::large::{Large, noise, words};
use crate::op::*;
use crate::ops::length_mask::LengthMask;
use crate::ops::matmul::Activation;
use crate::shader;
use crate::tensor::{DType, Tensor, Type};
use std::sync::Arc;

/// Which times each output of a convolution sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// K: times that an output sees.
    pub width: usize,
    /// Times from one window to the next.
    pub stride: usize,
    /// Zeros before the first time and after the last.
    pub padding: [usize; 2],
}

impl Window {
    /// As many outputs as times: of an even width, one more zero comes after the last time, as PyTorch's "same" has it.
    pub fn same(width: usize) -> Window {
        let zeros = width - 1;
        Window { width, stride: 1, padding: [zeros / 2, zeros - zeros / 2] }
    }

    /// O: outputs of so many times, none where not even one window fits.
    pub fn outputs(&self, time: usize) -> usize {
        let padded = time + self.padding.iter().sum::<usize>();
        padded.checked_sub(self.width).map_or(0, |rest| rest / self.stride + 1)
    }

    /// The time that output o sees at place k of its window, where that is one of a row of this length.
    fn time(&self, o: usize, k: usize, length: usize) -> Option<usize> {
        (o * self.stride + k).checked_sub(self.padding[0]).filter(|&t| t < length)
    }

    fn check(&self, time: usize) -> Result<usize, String> {
        match self.outputs(time) {
            _ if self.width == 0 || self.stride == 0 => Err("a window has a width and a stride of at least one".into()),
            0 => Err(format!("a window of {} does not fit into {time} times with {:?} zeros", self.width, self.padding)),
            outputs => Ok(outputs),
        }
    }

    fn set(&self, launch: Launch, channels: usize) -> Launch {
        launch
            .constant("K", self.width as f64)
            .constant("C", channels as f64)
            .constant("STRIDE", self.stride as f64)
            .constant("LEFT", self.padding[0] as f64)
    }
}

/// The windows of a convolution as rows. Inputs: x (B, T, C), lengths (B); output (B, O, C·K), K running fastest, as in
/// PyTorch's weight (C_out, C, K). What lies beyond an end or a row's length is zero.
#[derive(Clone, Copy, Debug)]
pub struct Unfold {
    /// Which times an output sees.
    pub window: Window,
}

impl Op for Unfold {
    fn name(&self) -> &'static str {
        "unfold"
    }

    fn types(&self, x: &[&Type]) -> Result<Vec<Type>, String> {
        let [b, t, c] = x[0].dims[..] else { return Err("x is (B, T, C)".into()) };
        if *x[1] != Type::u32([b]) || x[0].dtype != DType::F32 {
            return Err("x is f32 (B, T, C), lengths u32 (B)".into());
        }
        Ok(vec![Type::f32([b, self.window.check(t)?, c * self.window.width])])
    }

    fn cpu(&self, x: &[&Tensor], y: &mut [Tensor]) {
        let (t, c, k) = (x[0].ty().dims[1], x[0].ty().cols(), self.window.width);
        let outputs = y[0].ty().dims[1];
        for (row, u) in y[0].as_f32_mut().chunks_mut(c * k).enumerate() {
            let (b, o) = (row / outputs, row % outputs);
            let length = t.min(x[1].as_u32()[b] as usize);
            for (column, u) in u.iter_mut().enumerate() {
                if let Some(time) = self.window.time(o, column % k, length) {
                    *u = x[0].as_f32()[(b * t + time) * c + column / k];
                }
            }
        }
    }

    fn launches(&self, x: &[&Type], y: &[&Type], _: &Adapter) -> Vec<Launch> {
        let run = [y[0].elements(), x[0].dims[1], y[0].dims[1], 0].map(|n| n as u32);
        vec![self.window.set(Launch::elements(shader!("unfold"), y[0].elements(), run), x[0].cols())]
    }

    fn vjp(&self, g: &mut Graph, x: &[Value], _: &[Value], dy: &[Option<Value>]) -> Vec<Option<Value>> {
        let fold = Fold { window: self.window, time: g.ty(x[0]).dims[1], add: false };
        vec![Some(g.push(fold, &[dy[0].expect("the only output"), x[1]])[0]), None]
    }

    fn cost(&self, x: &[&Type], y: &[&Type]) -> Cost {
        Cost::new(0, x, y)
    }

    fn bound(&self, x: &[Tensor], y: &[Tensor]) -> Vec<Vec<f64>> {
        per_element(|_, _, _| 0.0)(x, y)
    }
}

/// dx (B, T, C) of [`Unfold`]: every time gathers what the windows that see it have for it. Inputs: du (B, O, C·K), lengths
/// (B) and, where `add`, a cotangent of x that dx takes over. Zero from a row's length on.
#[derive(Clone, Copy, Debug)]
pub struct Fold {
    /// Which times an output sees.
    pub window: Window,
    /// T.
    pub time: usize,
    /// Whether there is a third input, to which dx is added.
    pub add: bool,
}

impl Fold {
    /// The elements of du whose sum is element i of dx.
    fn parts(&self, du: &Type, lengths: &[u32], i: usize) -> impl Iterator<Item = usize> + use<> {
        let Fold { window, time, .. } = *self;
        let (outputs, c) = (du.dims[1], du.cols() / window.width);
        let (b, t, column) = (i / c / time, i / c % time, i % c);
        let length = time.min(lengths[b] as usize);
        let output = move |k: usize| {
            let o = (t + window.padding[0]).checked_sub(k)? / window.stride;
            (o < outputs && window.time(o, k, length) == Some(t)).then(|| ((b * outputs + o) * c + column) * window.width + k)
        };
        (0..window.width).filter_map(output)
    }
}

impl Op for Fold {
    fn name(&self) -> &'static str {
        "fold"
    }

    fn types(&self, x: &[&Type]) -> Result<Vec<Type>, String> {
        let [b, outputs, wide] = x[0].dims[..] else { return Err("du is (B, O, C·K)".into()) };
        if *x[1] != Type::u32([b]) || outputs != self.window.check(self.time)? || wide % self.window.width != 0 {
            return Err(format!("du is f32 (B, {}, C·K), lengths u32 (B)", self.window.outputs(self.time)));
        }
        let dx = Type::f32([b, self.time, wide / self.window.width]);
        match self.add && *x[2] != dx {
            true => Err(format!("the sum is {dx}")),
            false => Ok(vec![dx]),
        }
    }

    fn cpu(&self, x: &[&Tensor], y: &mut [Tensor]) {
        for (i, dx) in y[0].as_f32_mut().iter_mut().enumerate() {
            let parts = self.parts(x[0].ty(), x[1].as_u32(), i);
            let sum: f64 = parts.map(|part| x[0].as_f32()[part] as f64).sum();
            *dx = (sum + if self.add { x[2].as_f32()[i] as f64 } else { 0.0 }) as f32;
        }
    }

    fn launches(&self, x: &[&Type], y: &[&Type], _: &Adapter) -> Vec<Launch> {
        let run = [y[0].elements(), self.time, x[0].dims[1], 0].map(|n| n as u32);
        let launch = Launch::elements(shader!("fold"), y[0].elements(), run).constant("ADD", f64::from(self.add));
        vec![self.window.set(launch, y[0].cols())]
    }

    fn vjp(&self, g: &mut Graph, x: &[Value], _: &[Value], dy: &[Option<Value>]) -> Vec<Option<Value>> {
        let dy = dy[0].expect("the only output");
        let windows = g.push(Unfold { window: self.window }, &[dy, x[1]])[0];
        [vec![Some(windows), None], vec![Some(dy); x.len() - 2]].concat()
    }

    fn adding(&self) -> Option<Arc<dyn Op>> {
        (!self.add).then(|| Arc::new(Fold { add: true, ..*self }) as Arc<dyn Op>)
    }

    fn cost(&self, x: &[&Type], y: &[&Type]) -> Cost {
        Cost::new(x[0].elements(), x, y)
    }

    fn bound(&self, x: &[Tensor], y: &[Tensor]) -> Vec<Vec<f64>> {
        let op = *self;
        let bound = per_element(move |i, x: &[Tensor], _| {
            let parts = op.parts(x[0].ty(), x[1].as_u32(), i);
            let sum: f64 = parts.map(|part| x[0].as_f32()[part].abs() as f64).sum();
            let more = if op.add { x[2].as_f32()[i].abs() as f64 } else { 0.0 };
            gamma(op.window.width + 1) * (sum + more) + (op.window.width + 2) as f64 * TINY
        });
        bound(x, y)
    }

    fn in_place(&self) -> &'static [(usize, usize)] {
        if self.add { &[(2, 0)] } else { &[] }
    }
}

impl Graph {
    /// A convolution over time, as torch.nn.Conv1d computes it: x (B, T, C), w (C_out, C, K), bias (C_out) to (B, O, C_out).
    /// A row is read as if it ended at its length (B), where `padding`, zeros before and after, follows; outputs that such
    /// a row would not have ([`Window::outputs`] of its length) are zero. So padding of the batch changes no row.
    #[track_caller]
    pub fn conv1d(
        &mut self,
        x: Value,
        w: Value,
        bias: Option<Value>,
        lengths: Value,
        stride: usize,
        padding: [usize; 2],
    ) -> Value {
        let width = self.ty(w).cols();
        let window = Window { width, stride, padding };
        let y = self.convolve(x, w, bias, lengths, window, Activation::None);
        self.push(LengthMask { window }, &[y, lengths])[0]
    }

    /// Like [`Graph::conv1d`], with an activation, and whatever comes out in the outputs that a row does not have.
    #[track_caller]
    pub(crate) fn convolve(
        &mut self,
        x: Value,
        w: Value,
        bias: Option<Value>,
        lengths: Value,
        window: Window,
        activation: Activation,
    ) -> Value {
        let dims = self.ty(w).dims.clone();
        assert!(dims.len() == 3 && dims[2] == window.width, "a weight {dims:?} for {window:?}: it is (C_out, C, K)");
        let rows = match window == Window::same(1) {
            true => x,
            false => self.push(Unfold { window }, &[x, lengths])[0],
        };
        let w = self.reshape(w, &[dims[0], dims[1] * dims[2]]);
        self.linear(rows, w, bias, activation)
    }
}

/// Cases of both kernels: several strides, windows and zeros, lengths beyond T, of zero, and below a window's width.
pub fn cases(draw: &mut Draw) -> Vec<Case> {
    draw.set_largest(1e36);
    let mut cases = vec![];
    let window = |width, stride, padding| Window { width, stride, padding };
    for (lengths, t, c, window) in [
        (&[1][..], 1, 1, Window::same(1)),
        (&[5, 2, 0], 5, 3, Window::same(3)),
        (&[4, 7, 1], 7, 4, Window::same(4)),
        (&[9, 3], 6, 5, window(2, 1, [0, 0])),
        (&[8, 5], 8, 2, window(3, 2, [1, 1])),
        (&[11, 2, 10], 11, 1, window(2, 3, [0, 4])),
        (&[3, 1], 3, 7, window(6, 1, [5, 2])),
        (&[40, 17], 40, 33, window(5, 2, [2, 1])),
    ] {
        let b = lengths.len();
        let name = format!("{b}x{t}x{c} lengths {lengths:?} K {} / {} + {:?}", window.width, window.stride, window.padding);
        let lengths = Tensor::u32([b], lengths.into());
        let x = draw.tensor(&[b, t, c]);
        let du = draw.tensor(&[b, window.outputs(t), c * window.width]);
        let fold = Fold { window, time: t, add: false };
        cases.push(Case::of(&name, Unfold { window }, vec![x.clone(), lengths.clone()]).wrt(&[0]));
        cases.push(Case::of(&name, fold, vec![du.clone(), lengths.clone()]).wrt(&[0]));
        cases.push(Case::of(format!("{name} add"), Fold { add: true, ..fold }, vec![du, lengths, x]).wrt(&[0, 2]));
    }
    cases
}

/// Large cases of both kernels: the characters of words, and frames of speech.
pub fn large() -> Vec<Large> {
    let mut large = vec![];
    let frames = Window { width: 3, stride: 2, padding: [1, 1] };
    for (b, t, c, window) in [(4096, 20, 32, Window::same(7)), (32, 1000, 80, frames)] {
        let lengths = || words(&vec![t as u32; b]);
        let name = format!("{b}x{t}x{c} K {} / {}", window.width, window.stride);
        let du = noise(&[b, window.outputs(t), c * window.width]);
        large.push(Large::new(&name, Unfold { window }, [noise(&[b, t, c]), lengths()]));
        large.push(Large::new(name, Fold { window, time: t, add: false }, [du, lengths()]));
    }
    large
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_outputs_as_torch_has() {
        // floor((T + left + right - K) / stride) + 1
        for ([t, width, stride, left, right], want) in [
            ([10, 3, 1, 0, 0], 8),
            ([10, 3, 2, 1, 1], 5),
            ([11, 3, 2, 1, 1], 6),
            ([2, 3, 1, 0, 0], 0),
            ([0, 1, 1, 0, 0], 0),
            ([0, 3, 1, 1, 2], 1),
        ] {
            assert_eq!(Window { width, stride, padding: [left, right] }.outputs(t), want);
        }
        assert_eq!(Window::same(4).padding, [1, 2]);
        for width in 1..9 {
            assert_eq!(Window::same(width).outputs(5), 5);
        }
    }
}
