//! y[r] = a[r], then b[r]: two matrices side by side

use crate::case::{Case, Draw, exact};
use crate::graph::{Graph, Value};
use crate::large::{Large, noise};
use crate::op::*;
use crate::shader;
use crate::tensor::{DType, Tensor, Type};

/// The columns of a (..., M), then those of b (..., N): (..., M + N).
#[derive(Debug)]
pub struct ConcatColumns;

impl Op for ConcatColumns {
    fn name(&self) -> &'static str {
        "concat_columns"
    }

    fn types(&self, x: &[&Type]) -> Result<Vec<Type>, String> {
        let rows = |t: &Type| t.dims[..t.dims.len().max(1) - 1].to_vec();
        match rows(x[0]) == rows(x[1]) && x.iter().all(|t| t.dtype == DType::F32 && !t.dims.is_empty()) {
            true => Ok(vec![Type::f32([rows(x[0]), vec![x[0].cols() + x[1].cols()]].concat())]),
            false => Err("both have the same rows, of f32".into()),
        }
    }

    fn cpu(&self, x: &[&Tensor], y: &mut [Tensor]) {
        let (m, n) = (x[0].ty().cols(), x[1].ty().cols());
        let rows = x[0].as_f32().chunks(m).zip(x[1].as_f32().chunks(n));
        for (y, (a, b)) in y[0].as_f32_mut().chunks_mut(m + n).zip(rows) {
            y[..m].copy_from_slice(a);
            y[m..].copy_from_slice(b);
        }
    }

    fn launches(&self, x: &[&Type], y: &[&Type], _: &Adapter) -> Vec<Launch> {
        let run = [y[0].elements(), x[0].cols(), x[1].cols(), 0].map(|n| n as u32);
        vec![Launch::elements(shader!("concat_columns"), y[0].elements(), run)]
    }

    fn vjp(&self, g: &mut Graph, x: &[Value], _: &[Value], dy: &[Option<Value>]) -> Vec<Option<Value>> {
        let dy = dy[0].expect("the only output");
        let (m, all) = (g.ty(x[0]).cols(), g.ty(dy).cols());
        vec![Some(g.columns(dy, 0..m)), Some(g.columns(dy, m..all))]
    }

    fn cost(&self, x: &[&Type], y: &[&Type]) -> Cost {
        Cost::new(0, x, y)
    }

    fn bound(&self, x: &[Tensor], y: &[Tensor]) -> Vec<Vec<f64>> {
        exact()(x, y)
    }
}

impl Graph {
    /// The columns of a (..., M), then those of b (..., N): (..., M + N).
    #[track_caller]
    pub fn concat_columns(&mut self, a: Value, b: Value) -> Value {
        self.push(ConcatColumns, &[a, b])[0]
    }
}

/// Cases of the kernel.
pub fn cases(draw: &mut Draw) -> Vec<Case> {
    draw.set_largest(1e38);
    let case = |(a, b): (&[usize], &[usize])| {
        Case::of(format!("{a:?} and {b:?}"), ConcatColumns, vec![draw.tensor(a), draw.tensor(b)]).wrt(&[0, 1])
    };
    [(&[1, 1][..], &[1, 1][..]), (&[3, 2, 5], &[3, 2, 70]), (&[40, 33], &[40, 3])].map(case).into()
}

/// Large cases of the kernel.
pub fn large() -> Vec<Large> {
    let half = || noise(&[4096, 1024]);
    vec![Large::new("4096x1024 and as many", ConcatColumns, [half(), half()])]
}
