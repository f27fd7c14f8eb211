//! `y[b, t] = table[ids[b, t]] where t < lengths[b], else 0`: a number that every token has, such as how long it is

use crate::case::{Case, Draw, exact};
use crate::graph::{Graph, Value};
use crate::large::{Large, given, words};
use crate::op::*;
use crate::shader;
use crate::tensor::{DType, Tensor, Type};

/// Whole numbers by token id. Inputs, all u32: ids (B, T), table (V), lengths (B). Output: u32 (B, T).
#[derive(Debug)]
pub struct Lookup;

impl Op for Lookup {
    fn name(&self) -> &'static str {
        "lookup"
    }

    fn types(&self, x: &[&Type]) -> Result<Vec<Type>, String> {
        let fits = x.iter().all(|x| x.dtype == DType::U32) && x[0].dims.len() == 2 && x[1].dims.len() == 1;
        match fits && x[2].dims == x[0].dims[..1] {
            true => Ok(vec![x[0].clone()]),
            false => Err("ids are u32 (B, T), the table u32 (V), lengths u32 (B)".into()),
        }
    }

    fn cpu(&self, x: &[&Tensor], y: &mut [Tensor]) {
        let t = x[0].ty().cols();
        for (i, (y, &id)) in y[0].as_u32_mut().iter_mut().zip(x[0].as_u32()).enumerate() {
            *y = if i % t < x[2].as_u32()[i / t] as usize { x[1].as_u32()[id as usize] } else { 0 };
        }
    }

    fn launches(&self, x: &[&Type], _: &[&Type], _: &Adapter) -> Vec<Launch> {
        let n = x[0].elements();
        vec![Launch::elements(shader!("lookup"), n, [n as u32, x[0].cols() as u32, 0, 0])]
    }

    fn vjp(&self, _: &mut Graph, _: &[Value], _: &[Value], _: &[Option<Value>]) -> Vec<Option<Value>> {
        not_differentiable(self)
    }

    fn cost(&self, x: &[&Type], y: &[&Type]) -> Cost {
        Cost::new(0, x, y)
    }

    fn bound(&self, x: &[Tensor], y: &[Tensor]) -> Vec<Vec<f64>> {
        exact()(x, y)
    }
}

impl Graph {
    /// `table[ids]` (B, T), all u32: the table (V), the ids (B, T); 0 from a row's length on.
    #[track_caller]
    pub fn lookup(&mut self, ids: Value, table: Value, lengths: Value) -> Value {
        self.push(Lookup, &[ids, table, lengths])[0]
    }
}

/// Cases of the kernel.
pub fn cases(draw: &mut Draw) -> Vec<Case> {
    let mut cases = vec![];
    for (lengths, t, tokens) in [(&[1][..], 1, 1), (&[5, 0, 7], 5, 9), (&[100, 300, 299], 300, 1000)] {
        let table = Tensor::u32([tokens], (0..tokens).map(|i| (i * 7 + 1) as u32).collect());
        let inputs = vec![draw.ids(&[lengths.len(), t], tokens), table, Tensor::u32([lengths.len()], lengths.to_vec())];
        cases.push(Case::of(format!("{} rows of {t}", lengths.len()), Lookup, inputs));
    }
    cases
}

/// Large cases of the kernel.
pub fn large() -> Vec<Large> {
    let [b, t, tokens] = [4096, 2048, 8000];
    let table: Vec<u32> = (0..tokens as u32).collect();
    let ids = Draw::new(1).ids(&[b, t], tokens);
    vec![Large::new("4096x2048", Lookup, [given(ids), words(&table), words(&vec![t as u32; b])])]
}
