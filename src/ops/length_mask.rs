//! `y[b, t, c] = x[b, t, c] where t < lengths[b], else 0`: what lies beyond a row's end shall be nothing

use crate::case::{Case, Draw, per_element};
use crate::graph::{Graph, Value};
use crate::large::{Large, noise, words};
use crate::op::*;
use crate::ops::conv1d::Window;
use crate::shader;
use crate::tensor::{Tensor, Type};

/// x where a row has it, zero beyond. Inputs: x (B, O, C), lengths (B), of what the window was moved over.
#[derive(Clone, Copy, Debug)]
pub struct LengthMask {
    /// What makes outputs of a row's times; [`Window::same`] of any width leaves as many.
    pub window: Window,
}

impl Op for LengthMask {
    fn name(&self) -> &'static str {
        "length_mask"
    }

    fn types(&self, x: &[&Type]) -> Result<Vec<Type>, String> {
        match x[0].dims.len() == 3 && *x[1] == Type::u32([x[0].dims[0]]) {
            true => Ok(vec![x[0].clone()]),
            false => Err("x is (B, T, C), lengths u32 (B)".into()),
        }
    }

    fn cpu(&self, x: &[&Tensor], y: &mut [Tensor]) {
        let (t, c) = (x[0].ty().dims[1], x[0].ty().cols());
        for (b, &length) in x[1].as_u32().iter().enumerate() {
            let live = t.min(self.window.outputs(length as usize)) * c;
            y[0].as_f32_mut()[b * t * c..][..live].copy_from_slice(&x[0].as_f32()[b * t * c..][..live]);
        }
    }

    fn launches(&self, x: &[&Type], _: &[&Type], _: &Adapter) -> Vec<Launch> {
        let run = [x[0].elements(), x[0].cols(), x[0].dims[1], 0].map(|n| n as u32);
        let launch = Launch::elements(shader!("length_mask"), x[0].elements(), run)
            .constant("K", self.window.width as f64)
            .constant("STRIDE", self.window.stride as f64)
            .constant("PADDING", self.window.padding.iter().sum::<usize>() as f64);
        vec![launch]
    }

    fn vjp(&self, g: &mut Graph, x: &[Value], _: &[Value], dy: &[Option<Value>]) -> Vec<Option<Value>> {
        vec![Some(g.push(*self, &[dy[0].expect("the only output"), x[1]])[0]), None]
    }

    fn cost(&self, x: &[&Type], y: &[&Type]) -> Cost {
        Cost::new(0, x, y)
    }

    fn bound(&self, x: &[Tensor], y: &[Tensor]) -> Vec<Vec<f64>> {
        per_element(|_, _, _| 0.0)(x, y)
    }
}

impl Graph {
    /// x (B, T, C) with zeros from each row's length (B) on.
    #[track_caller]
    pub fn length_mask(&mut self, x: Value, lengths: Value) -> Value {
        self.push(LengthMask { window: Window::same(1) }, &[x, lengths])[0]
    }
}

/// Cases of the kernel: what lies beyond may be no number.
pub fn cases(draw: &mut Draw) -> Vec<Case> {
    draw.set_largest(1e38);
    let mut cases = vec![];
    let strided = Window { width: 3, stride: 2, padding: [1, 0] };
    for (lengths, t, c, window) in [
        (&[1][..], 1, 1, Window::same(1)),
        (&[0, 9, 2], 4, 3, Window::same(1)),
        (&[7, 0, 1, 2, 3], 3, 70, strided),
        (&[1, 5], 6, 9, Window { width: 5, stride: 1, padding: [3, 3] }),
    ] {
        let b = lengths.len();
        let name = format!("{b}x{t}x{c} lengths {lengths:?} K {} / {}", window.width, window.stride);
        let lengths = Tensor::u32([b], lengths.into());
        cases.push(Case::of(name, LengthMask { window }, vec![draw.tensor(&[b, t, c]), lengths]).wrt(&[0]));
    }
    let broken = Tensor::f32([1, 3, 2], vec![1.0, -2.0, f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::NAN]);
    let lengths = Tensor::u32([1], vec![1]);
    cases.push(Case::of("no numbers beyond", LengthMask { window: Window::same(1) }, vec![broken, lengths]));
    cases
}

/// Large cases of the kernel.
pub fn large() -> Vec<Large> {
    let (x, lengths) = (noise(&[4096, 20, 128]), words(&[20; 4096]));
    vec![Large::new("4096x20x128", LengthMask { window: Window::same(1) }, [x, lengths])]
}
