//! Large cases: operations on shapes as models have them. What `bench` times.
//!
//! Inputs are described, and made when it is a case's turn: all of them together would not fit into memory.

use crate::case::Draw;
use crate::op::{Cost, Op};
use crate::tensor::{Tensor, Type};
use std::sync::Arc;

/// Bandwidth is judged by cases that read and write at least so many bytes: less may stay in a cache.
pub const UNCACHED: u64 = 64 << 20;

/// One operation on inputs that are still to be made.
#[derive(Clone, Debug)]
pub struct Large {
    /// Shape and options, for people.
    pub name: String,
    /// The operation.
    pub op: Arc<dyn Op>,
    /// Its inputs.
    pub inputs: Vec<Input>,
    /// Which part of the arithmetic of [`Op::cost`], which sees types alone, these lengths leave.
    pub part: f64,
}

/// An input, and how it is made.
#[derive(Clone, Debug)]
pub struct Input {
    /// Its type.
    pub ty: Type,
    fill: Fill,
}

#[derive(Clone, Debug)]
enum Fill {
    Uniform([f32; 2]),
    Below(usize),
    Given(Tensor),
    Again(usize),
}

/// Numbers in [-1, 1).
pub fn noise(dims: &[usize]) -> Input {
    Input { ty: Type::f32(dims), fill: Fill::Uniform([-1.0, 1.0]) }
}

/// Numbers in [0, 1): squares, variances.
pub fn positive(dims: &[usize]) -> Input {
    Input { ty: Type::f32(dims), fill: Fill::Uniform([0.0, 1.0]) }
}

/// Integers below n: token ids.
pub fn ids(dims: &[usize], n: usize) -> Input {
    Input { ty: Type::u32(dims), fill: Fill::Below(n) }
}

/// A small tensor as it is: lengths, the step state, tables.
pub fn given(tensor: Tensor) -> Input {
    Input { ty: tensor.ty().clone(), fill: Fill::Given(tensor) }
}

/// Some words: lengths, a position.
pub fn words(words: &[u32]) -> Input {
    given(Tensor::u32([words.len()], words.into()))
}

impl Input {
    /// Whether it stands in for an input that the kernel does not read.
    pub fn repeats(&self) -> bool {
        matches!(self.fill, Fill::Again(_))
    }
}

impl Large {
    /// An operation and its inputs.
    pub fn new(name: impl Into<String>, op: impl Op + 'static, inputs: impl Into<Vec<Input>>) -> Large {
        Large { name: name.into(), op: Arc::new(op), inputs: inputs.into(), part: 1.0 }
    }

    /// Repeats an input as the last one: it stands for one that is not read.
    pub fn again(mut self, input: usize) -> Large {
        self.inputs.push(Input { ty: self.inputs[input].ty.clone(), fill: Fill::Again(input) });
        self
    }

    /// The lengths leave this part of the arithmetic that the types let expect.
    pub fn part(mut self, part: f64) -> Large {
        self.part = part;
        self
    }

    /// Types of the outputs. Panics when the inputs do not fit.
    pub fn outputs(&self) -> Vec<Type> {
        let x: Vec<&Type> = self.inputs.iter().map(|i| &i.ty).collect();
        self.op.types(&x).unwrap_or_else(|why| panic!("{:?}, case {}: {why}", self.op, self.name))
    }

    /// Arithmetic and traffic.
    pub fn cost(&self) -> Cost {
        let x: Vec<&Type> = self.inputs.iter().map(|i| &i.ty).collect();
        let cost = self.op.cost(&x, &self.outputs().iter().collect::<Vec<_>>());
        Cost { flops: (cost.flops as f64 * self.part) as u64, ..cost }
    }

    /// The inputs.
    pub fn draw(&self, draw: &mut Draw) -> Vec<Tensor> {
        let mut made: Vec<Tensor> = vec![];
        for Input { ty, fill } in &self.inputs {
            let tensor = match fill {
                Fill::Uniform([low, high]) => draw.between(&ty.dims, *low, *high),
                Fill::Below(n) => draw.ids(&ty.dims, *n),
                Fill::Given(tensor) => tensor.clone(),
                Fill::Again(input) => made[*input].clone(),
            };
            made.push(tensor);
        }
        made
    }
}
