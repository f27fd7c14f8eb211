//! y = x keep / (1 - p) (Srivastava et al. 2014), the mask from a counter-based generator

use crate::case::{Case, Draw, TINY, U, per_element};
use crate::graph::{Graph, Value};
use crate::large::{Large, given, noise};
use crate::op::*;
use crate::shader;
use crate::tensor::{Tensor, Type};
use crate::philox::{philox, site};

/// Dropout of x (B, T, C) or (T, C): every element is kept with probability 1 - p. The mask is a function of
/// (seed, site, micro-batch, batch, row, column) alone: the same forward, backward and on every adapter, whatever
/// the padding. Inputs: x, the step state.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Dropout {
    /// Probability of a zero, in [0, 1).
    pub p: f32,
    /// Hash of the name of the place in the model.
    pub site: u32,
}

impl Dropout {
    /// A random word below this one drops its element; kernels take 0 for no dropout.
    pub(super) fn threshold(&self) -> u32 {
        ((self.p as f64 * 4294967296.0) as u32).max(1)
    }

    pub(super) fn scale(&self) -> f32 {
        1.0 / (1.0 - self.p)
    }

    /// What the columns of row r of batch b are multiplied by: 0 or 1 / (1 - p).
    pub(super) fn row(&self, step: &[u32], b: usize, r: usize, columns: usize) -> Vec<f64> {
        let quad = |quad: usize| philox([quad as u32, r as u32, b as u32, step[1]], [step[0], self.site]);
        let factor = |word: u32| if word >= self.threshold() { self.scale() as f64 } else { 0.0 };
        (0..columns.div_ceil(4)).flat_map(|q| quad(q).map(factor)).take(columns).collect()
    }
}

/// (batches, rows of a batch, columns)
pub(super) fn extents(x: &Type) -> (usize, usize, usize) {
    let rows = if x.dims.len() < 2 { 1 } else { x.dims[x.dims.len() - 2] };
    (x.rows() / rows, rows, x.cols())
}

impl Op for Dropout {
    fn name(&self) -> &'static str {
        "dropout"
    }

    fn types(&self, x: &[&Type]) -> Result<Vec<Type>, String> {
        match *x[1] == crate::step::step_type() {
            true => Ok(vec![x[0].clone()]),
            false => Err("the second input is the step state".into()),
        }
    }

    fn cpu(&self, x: &[&Tensor], y: &mut [Tensor]) {
        let (batches, rows, columns) = extents(x[0].ty());
        let step = x[1].as_u32();
        let (x, y) = (x[0].as_f32(), y[0].as_f32_mut());
        for b in 0..batches {
            for r in 0..rows {
                let base = (b * rows + r) * columns;
                for (c, factor) in self.row(step, b, r, columns).into_iter().enumerate() {
                    y[base + c] = if factor > 0.0 { (factor * x[base + c] as f64) as f32 } else { 0.0 };
                }
            }
        }
    }

    fn launches(&self, x: &[&Type], _: &[&Type], _: &Adapter) -> Vec<Launch> {
        let (batches, rows, columns) = extents(x[0]);
        let quads = batches * rows * columns.div_ceil(4);
        let launch = Launch::elements(shader!("dropout"), quads, [quads as u32, rows as u32, columns as u32, self.site]);
        vec![launch.constant("THRESHOLD", self.threshold().into()).constant("SCALE", self.scale().into())]
    }

    fn vjp(&self, g: &mut Graph, x: &[Value], _: &[Value], dy: &[Option<Value>]) -> Vec<Option<Value>> {
        let dy = dy[0].expect("the only output");
        vec![Some(g.push(Dropout { p: self.p, site: self.site }, &[dy, x[1]])[0]), None]
    }

    fn cost(&self, x: &[&Type], y: &[&Type]) -> Cost {
        // Ten rounds of two 32×32-bit products for four elements.
        Cost::new(20 * y[0].elements(), &x[..1], y)
    }

    fn bound(&self, x: &[Tensor], y: &[Tensor]) -> Vec<Vec<f64>> {
        let scale = self.scale() as f64;
        per_element(move |_, _, y| U * y.abs() + scale * TINY)(x, y)
    }
}

impl Graph {
    /// Dropout at the place of the current scope and `name`; with p = 0 there is no node.
    #[track_caller]
    pub fn dropout(&mut self, x: Value, p: f32, step: Value, name: &str) -> Value {
        match self.dropout_at(p, name) {
            Some(dropout) => self.push(dropout, &[x, step])[0],
            None => x,
        }
    }

    /// What [`Graph::dropout`] would add, for a kernel that it is part of.
    pub fn dropout_at(&self, p: f32, name: &str) -> Option<Dropout> {
        (p != 0.0).then(|| Dropout { p, site: site(&format!("{}.{name}", self.scope())) })
    }
}

/// Cases of the kernel.
pub fn cases(draw: &mut Draw) -> Vec<Case> {
    draw.set_largest(1e37);
    let mut cases = vec![];
    for (dims, p) in [(vec![1], 0.5), (vec![3, 5], 0.1), (vec![2, 3, 130], 0.9), (vec![2, 2, 3, 6], 0.3)] {
        let mut step = Tensor::zeros(&crate::step::step_type());
        step.as_u32_mut()[..2].copy_from_slice(&[7, draw.below(1000) as u32]);
        let x = draw.tensor(&dims);
        cases.push(Case::of(format!("{dims:?} p {p}"), Dropout { p, site: 99 }, vec![x, step]).wrt(&[0]));
    }
    cases
}

/// Large cases of the kernel.
pub fn large() -> Vec<Large> {
    let step = given(Tensor::zeros(&crate::step::step_type()));
    vec![Large::new("8x512x2048 p 0.1", Dropout { p: 0.1, site: 99 }, [noise(&[8, 512, 2048]), step])]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A row keeps its mask when the batch is padded to another length.
    #[test]
    fn the_mask_does_not_depend_on_padding() {
        let mask = |rows: usize| {
            let x = Tensor::f32([2, rows, 6], vec![1.0; 12 * rows]);
            let mut y = [Tensor::zeros(x.ty())];
            Dropout { p: 0.5, site: 3 }.cpu(&[&x, &Tensor::zeros(&crate::step::step_type())], &mut y);
            let y = y[0].as_f32().to_vec();
            [y[..12].to_vec(), y[rows * 6..rows * 6 + 12].to_vec()]
        };
        assert_eq!(mask(2), mask(5));
    }

    #[test]
    fn one_in_four_is_dropped() {
        let x = Tensor::f32([100, 1000], vec![1.0; 100_000]);
        let mut y = [Tensor::zeros(x.ty())];
        Dropout { p: 0.25, site: 3 }.cpu(&[&x, &Tensor::zeros(&crate::step::step_type())], &mut y);
        let dropped = y[0].as_f32().iter().filter(|y| **y == 0.0).count();
        assert!((24_000..26_000).contains(&dropped), "{dropped} of 100,000");
    }
}
