//! C = D + activation(op(A) op(B) + bias), in D's buffer: a product that joins a sum

use crate::case::{Case, Draw, TINY, U};
use crate::graph::{Graph, Value};
use crate::large::{Large, noise};
use crate::op::*;
use crate::ops::matmul::{Activation, Layout, Matmul, bound};
use crate::tensor::{Tensor, Type};

/// A matrix product that is added to a fourth input, whose buffer the result takes over: what gradients with several
/// parts are summed by. The kernels are those of the product alone.
#[derive(Debug)]
pub struct MatmulAdd(pub Matmul);

fn add(d: &Tensor, c: &mut Tensor) {
    for (c, d) in c.as_f32_mut().iter_mut().zip(d.as_f32()) {
        *c += d;
    }
}

impl Op for MatmulAdd {
    fn name(&self) -> &'static str {
        "matmul_add"
    }

    fn types(&self, x: &[&Type]) -> Result<Vec<Type>, String> {
        let product = self.0.types(&x[..3])?;
        match product[0] == *x[3] {
            true => Ok(product),
            false => Err(format!("the product is {}", product[0])),
        }
    }

    fn cpu(&self, x: &[&Tensor], y: &mut [Tensor]) {
        self.0.cpu(&x[..3], y);
        add(x[3], &mut y[0]);
    }

    fn cpu_fast(&self, x: &[&Tensor], y: &mut [Tensor]) {
        self.0.cpu_fast(&x[..3], y);
        add(x[3], &mut y[0]);
    }

    fn launches(&self, x: &[&Type], y: &[&Type], adapter: &Adapter) -> Vec<Launch> {
        self.0.launches(&x[..3], y, adapter).into_iter().map(|l| l.constant("ADD", 1.0)).collect()
    }

    fn vjp(&self, _: &mut Graph, _: &[Value], _: &[Value], _: &[Option<Value>]) -> Vec<Option<Value>> {
        not_differentiable(self)
    }

    fn cost(&self, x: &[&Type], y: &[&Type]) -> Cost {
        let product = self.0.cost(&x[..3], y);
        Cost { flops: product.flops + y[0].elements() as u64, bytes: product.bytes + x[3].bytes() as u64 }
    }

    fn bound(&self, x: &[Tensor], y: &[Tensor]) -> Vec<Vec<f64>> {
        let mut bounds = bound(self.0.clone())(x, y);
        for ((bound, y), d) in bounds[0].iter_mut().zip(y[0].as_f32()).zip(x[3].as_f32()) {
            *bound += 4.0 * U * (y.abs() + d.abs()) as f64 + TINY;
        }
        bounds
    }

    fn in_place(&self) -> &'static [(usize, usize)] {
        &[(3, 0)]
    }
}

/// Cases of every kernel of the product: aligned and ragged, heads side by side.
pub fn cases(draw: &mut Draw) -> Vec<Case> {
    let matrix = [Layout::Matrix; 3];
    let heads = [Layout::Batch, Layout::Heads(2), Layout::Heads(2)];
    let shapes = [
        (matrix, [vec![3, 5], vec![7, 5], vec![3, 7]], Activation::None),
        (matrix, [vec![36, 12], vec![132, 12], vec![36, 132]], Activation::Tanh),
        (heads, [vec![2, 2, 8, 12], vec![2, 8, 12], vec![2, 12, 12]], Activation::None),
    ];
    let case = |(layout, [a, b, d], activation): ([Layout; 3], [Vec<usize>; 3], Activation)| {
        let per_head = layout[2] != Layout::Matrix;
        let op = Matmul { layout, trans_a: per_head, trans_b: !per_head, bias: false, activation };
        let (name, b) = (format!("{d:?} {activation:?}"), draw.tensor(&b));
        Case::of(name, MatmulAdd(op), vec![draw.tensor(&a), b.clone(), b, draw.tensor(&d)])
    };
    shapes.map(case).into()
}

/// Large cases of the kernel.
pub fn large() -> Vec<Large> {
    let op = Matmul {
        layout: [Layout::Matrix; 3],
        trans_a: true,
        trans_b: false,
        bias: false,
        activation: Activation::None,
    };
    let product = Large::new("TN 2048x512x1024", MatmulAdd(op), [noise(&[1024, 2048]), noise(&[1024, 512])]);
    let mut product = product.again(1);
    product.inputs.push(noise(&[2048, 512]));
    vec![product]
}
