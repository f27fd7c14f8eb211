//! The graph: an append-only list of operations on values. The inputs of a node come before it.

use crate::op::Op;
use crate::tensor::Type;
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

/// A value of a graph: what an operation reads or writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Value(pub(crate) usize);

impl Value {
    /// Its number in the graph, in order of addition.
    pub fn index(self) -> usize {
        self.0
    }
}

/// A buffer that outlasts every program: flat parameters, gradients, moments, step state, caches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Resident(pub(crate) usize);

/// The list of resident buffers that all programs of a model share.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    buffers: Vec<(String, Type)>,
}

impl Memory {
    /// Declares a buffer; it starts as zeros.
    pub fn declare(&mut self, name: impl Into<String>, ty: Type) -> Resident {
        self.buffers.push((name.into(), ty));
        Resident(self.buffers.len() - 1)
    }

    /// Type of a buffer.
    pub fn ty(&self, r: Resident) -> &Type {
        &self.buffers[r.0].1
    }

    /// Name of a buffer.
    pub fn name(&self, r: Resident) -> &str {
        &self.buffers[r.0].0
    }

    /// Names and types, in order of declaration.
    pub fn buffers(&self) -> impl Iterator<Item = (&str, &Type)> {
        self.buffers.iter().map(|(name, ty)| (name.as_str(), ty))
    }
}

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq)]
pub enum Source {
    /// The host writes it before each run.
    Input,
    /// A range of a resident buffer, `offset` in elements.
    Resident(Resident, usize),
    /// An output of a node.
    Node {
        /// Index in [`Graph::nodes`].
        node: usize,
        /// Which of its outputs.
        output: usize,
    },
    /// The same elements as another value, with other dimensions.
    View(Value),
}

/// One operation and what it connects.
#[derive(Clone, Debug)]
pub struct Node {
    /// The operation.
    pub op: Arc<dyn Op>,
    /// What it reads.
    pub inputs: Vec<Value>,
    /// What it writes.
    pub outputs: Vec<Value>,
    /// The part of the model that it belongs to, such as `decoder.layers.0.fc1`.
    pub scope: String,
    /// Whether it computes a gradient.
    pub backward: bool,
}

#[derive(Clone, Debug)]
struct Info {
    ty: Type,
    source: Source,
    name: String,
    constant: Option<f32>,
}

/// Operations and values, in the order in which they were added.
#[derive(Clone, Debug, Default)]
pub struct Graph {
    values: Vec<Info>,
    nodes: Vec<Node>,
    outputs: Vec<(String, Value)>,
    stores: Vec<(Value, Value)>,
    known_gradients: HashMap<Value, Vec<(Value, Value)>>,
    scope: Vec<String>,
    backward: bool,
}

impl Graph {
    /// An empty graph.
    pub fn new() -> Graph {
        Graph::default()
    }

    /// A value that the host writes before each run.
    pub fn input(&mut self, name: &str, ty: Type) -> Value {
        self.value(ty, Source::Input, name.into())
    }

    /// A range of a resident buffer, `offset` in elements.
    pub fn resident(&mut self, name: &str, buffer: Resident, offset: usize, ty: Type) -> Value {
        self.value(ty, Source::Resident(buffer, offset), name.into())
    }

    /// Appends a node. Panics with the operation and the types when they do not fit: that is a caller's bug.
    #[track_caller]
    pub fn push(&mut self, op: impl Op + 'static, inputs: &[Value]) -> Vec<Value> {
        self.push_shared(Arc::new(op), inputs)
    }

    /// Like [`Graph::push`], but where a node computes the same of the same values already, its outputs. Of a layer whose two
    /// biases are parameters of their own, as PyTorch's LSTM has them, both have one gradient.
    #[track_caller]
    pub(crate) fn push_once(&mut self, op: impl Op + 'static, inputs: &[Value]) -> Vec<Value> {
        let what = format!("{op:?}");
        let same = |a: Value, b: Value| self.base(a) == self.base(b) && self.ty(a) == self.ty(b);
        let found = self.nodes.iter().find(|n| {
            n.op.name() == op.name()
                && n.inputs.len() == inputs.len()
                && n.inputs.iter().zip(inputs).all(|(&a, &b)| same(a, b))
                && format!("{:?}", n.op) == what
        });
        match found {
            Some(node) => node.outputs.clone(),
            None => self.push(op, inputs),
        }
    }

    /// Appends a node of an operation that somebody else holds too.
    #[track_caller]
    pub fn push_shared(&mut self, op: Arc<dyn Op>, inputs: &[Value]) -> Vec<Value> {
        let types: Vec<&Type> = inputs.iter().map(|&v| self.ty(v)).collect();
        let empty = types.iter().find(|t| t.elements() == 0);
        assert!(empty.is_none(), "{op:?} of {types:?}: there is nothing to compute");
        let types = op.types(&types).unwrap_or_else(|why| panic!("{op:?} of {types:?}: {why}"));
        let node = self.nodes.len();
        let scope = self.scope.join(".");
        let name = if scope.is_empty() { op.name().to_string() } else { format!("{scope}.{}", op.name()) };
        let value = |(output, ty)| self.value(ty, Source::Node { node, output }, name.clone());
        let outputs: Vec<Value> = types.into_iter().enumerate().map(value).collect();
        self.nodes.push(Node { op, inputs: inputs.into(), outputs: outputs.clone(), scope, backward: self.backward });
        outputs
    }

    /// The same elements with other dimensions; no kernel runs. Panics when the numbers of elements differ.
    #[track_caller]
    pub fn reshape(&mut self, x: Value, dims: &[usize]) -> Value {
        let ty = Type { dims: dims.into(), dtype: self.ty(x).dtype };
        assert_eq!(ty.elements(), self.ty(x).elements(), "reshape of {} to {ty}", self.ty(x));
        if ty == *self.ty(x) {
            return x;
        }
        let name = self.name(x).to_string();
        self.value(ty, Source::View(x), name)
    }

    /// Keeps a value until the end of the run, to be read by the host under this name.
    pub fn output(&mut self, name: &str, value: Value) {
        self.outputs.push((name.into(), value));
    }

    /// Writes `value` to the range of a resident buffer that `to` stands for. Nothing may read `to` afterwards.
    #[track_caller]
    pub fn store(&mut self, value: Value, to: Value) {
        assert_eq!(self.ty(value), self.ty(to), "store of {} to {}", self.name(value), self.name(to));
        assert!(matches!(self.source(to), Source::Resident(..)), "{} is not resident", self.name(to));
        self.stores.push((value, to));
    }

    /// Says what the gradient of `y`, one element that a node gives, is: pairs of a value and its gradient. It is used in
    /// place of what lies between: for what is computed together with its gradient.
    #[track_caller]
    pub fn set_gradient(&mut self, y: Value, gradient: Vec<(Value, Value)>) {
        assert_eq!(self.ty(y).elements(), 1, "{} has the type {}", self.name(y), self.ty(y));
        for &(x, dx) in &gradient {
            assert_eq!(self.ty(x), self.ty(dx), "gradient of {}", self.name(x));
        }
        self.known_gradients.insert(y, gradient);
    }

    /// What [`Graph::set_gradient`] said of a value.
    pub fn known_gradient(&self, y: Value) -> Option<&[(Value, Value)]> {
        self.known_gradients.get(&y).map(Vec::as_slice)
    }

    /// Runs `build` with `name` appended to the scope of the nodes that it adds.
    pub fn scoped<T>(&mut self, name: &str, build: impl FnOnce(&mut Graph) -> T) -> T {
        self.scope.push(name.into());
        let result = build(self);
        self.scope.pop();
        result
    }

    /// The dotted name of the current scope.
    pub fn scope(&self) -> String {
        self.scope.join(".")
    }

    /// Type of a value.
    pub fn ty(&self, v: Value) -> &Type {
        &self.values[v.0].ty
    }

    /// Where a value comes from.
    pub fn source(&self, v: Value) -> &Source {
        &self.values[v.0].source
    }

    /// What people call a value: the name of an input, the scope and operation of a result.
    pub fn name(&self, v: Value) -> &str {
        &self.values[v.0].name
    }

    /// The value whose storage this one shares: itself unless it is a view.
    pub fn base(&self, mut v: Value) -> Value {
        while let Source::View(of) = self.values[v.0].source {
            v = of;
        }
        v
    }

    /// The nodes, in order.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// Number of values.
    pub fn values(&self) -> usize {
        self.values.len()
    }

    /// What the host reads: names and values.
    pub fn outputs(&self) -> &[(String, Value)] {
        &self.outputs
    }

    /// What is written to resident buffers: (value, range).
    pub fn stores(&self) -> &[(Value, Value)] {
        &self.stores
    }

    /// The input of this name.
    pub fn find_input(&self, name: &str) -> Option<Value> {
        let found = |v: &Info| v.source == Source::Input && v.name == name;
        self.values.iter().position(found).map(Value)
    }

    /// Notes that every element of a value is this constant, for rooms that can then leave a node out.
    pub(crate) fn set_constant(&mut self, v: Value, constant: f32) {
        self.values[v.0].constant = Some(constant);
    }

    /// The number that every element of a value is known to be.
    pub fn constant(&self, v: Value) -> Option<f32> {
        self.values[self.base(v).0].constant
    }

    pub(crate) fn set_scope(&mut self, scope: &str) {
        self.scope = if scope.is_empty() { vec![] } else { vec![scope.into()] };
    }

    /// Says whether the nodes that follow compute gradients, and returns what was said before.
    pub(crate) fn set_backward(&mut self, backward: bool) -> bool {
        std::mem::replace(&mut self.backward, backward)
    }

    fn value(&mut self, ty: Type, source: Source, name: String) -> Value {
        self.values.push(Info { ty, source, name, constant: None });
        Value(self.values.len() - 1)
    }
}

impl fmt::Display for Graph {
    /// One line a node: outputs = operation(inputs), with types.
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let list = |vs: &[Value]| {
            let one = |v: &Value| format!("%{}: {}", v.0, self.ty(*v));
            vs.iter().map(one).collect::<Vec<_>>().join(", ")
        };
        for n in &self.nodes {
            writeln!(f, "{} = {}({})  # {}", list(&n.outputs), n.op.name(), list(&n.inputs), n.scope)?;
        }
        Ok(())
    }
}
