//! Random small graphs over most operations: what the planner and the executors are tested with.

use seqloom::case::Draw;
use seqloom::grad::grad_each;
use seqloom::graph::{Graph, Memory, Resident, Source, Value};
use seqloom::op::Op;
use seqloom::ops::accumulate::Accumulate;
use seqloom::ops::adam::Adam;
use seqloom::ops::attention::Attention;
use seqloom::ops::dropout::Dropout;
use seqloom::ops::sgd::Sgd;
use seqloom::step;
use seqloom::tensor::{Tensor, Type};
use std::collections::{HashMap, HashSet};

/// A new seed each run, printed, unless SEQLOOM_SEED gives one.
pub fn seed() -> u64 {
    let given = std::env::var("SEQLOOM_SEED").ok().and_then(|s| s.parse().ok());
    let now = || std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(1, |d| d.as_millis() as u64);
    let seed = given.unwrap_or_else(now) % 1_000_000;
    println!("SEQLOOM_SEED={seed}");
    seed
}

/// A graph with all that is needed to run it.
pub struct Random {
    /// Operations, some of them dead; outputs; stores.
    pub graph: Graph,
    /// Its resident buffers.
    pub memory: Memory,
    /// Each of them with its contents before the run.
    pub contents: Vec<(Resident, Tensor)>,
    /// Inputs by name.
    pub feeds: Vec<(String, Tensor)>,
}

/// Elements of a resident range start at multiples of this: bindings are aligned to 256 bytes.
const STEP: usize = 64;
/// Elements of the flat resident buffer.
const FLAT: usize = 40 * STEP;

struct Builder<'a> {
    draw: &'a mut Draw,
    random: Random,
    /// The values so far; all have two dimensions.
    values: Vec<Value>,
    /// What gradients are taken with respect to: inputs and parameters.
    leaves: Vec<Value>,
    flat: Resident,
    /// First element of the flat buffer that no store writes.
    stored: usize,
}

impl Random {
    /// A graph of some `nodes` operations, and every other time the gradient of some of them. A `smooth` one has no step: results that differ by rounding stay close.
    pub fn new(draw: &mut Draw, nodes: usize, smooth: bool) -> Random {
        let mut memory = Memory::default();
        let flat = memory.declare("flat", Type::f32([FLAT]));
        let read = memory.declare("parameters", Type::f32([FLAT]));
        let moments = ["first moment", "second moment"].map(|name| memory.declare(name, Type::f32([FLAT])));
        let state = memory.declare("state", step::step_type());
        let mut contents: Vec<(Resident, Tensor)> =
            [flat, read, moments[0], moments[1]].map(|r| (r, draw.tensor(&[FLAT]))).into();
        // Second moments are squares.
        contents[3].1.as_f32_mut().iter_mut().for_each(|v| *v *= *v);
        contents.push((state, words(draw.below(2) as u32)));
        let random = Random { graph: Graph::new(), memory, contents, feeds: vec![] };
        let mut b = Builder { draw, random, values: vec![], leaves: vec![], flat, stored: 0 };
        let sizes = [[1, 1], [3, 5], [6, 4], [2, 33], [4, 6], [5, 8]];
        for _ in 0..3 {
            let dims = sizes[b.draw.below(sizes.len())];
            let x = b.draw.tensor(&dims);
            let x = b.feed(x);
            b.values.push(x);
            b.leaves.push(x);
        }
        let step = b.random.graph.resident("step", state, 0, step::step_type());
        for i in 0..nodes {
            let scope = format!("part{}", i / 4);
            b.operation(&scope, read, step, smooth);
        }
        if b.draw.below(2) == 0 {
            b.gradients(step, smooth);
        }
        b.results(read, moments, step);
        b.random
    }

    /// Every output, and the resident buffers after the run, by evaluating node after node with the definitions:
    /// no plan, nothing dropped, nothing shared.
    pub fn naive(&self) -> (HashMap<String, Tensor>, Vec<Tensor>) {
        let g = &self.graph;
        let mut values: HashMap<Value, Tensor> = HashMap::new();
        for node in g.nodes() {
            let x: Vec<Tensor> = node.inputs.iter().map(|&v| self.value(v, &values)).collect();
            let mut y: Vec<Tensor> = node.outputs.iter().map(|&v| Tensor::zeros(g.ty(v))).collect();
            node.op.cpu(&x.iter().collect::<Vec<_>>(), &mut y);
            values.extend(node.outputs.iter().copied().zip(y));
        }
        let outputs = g.outputs().iter().map(|(name, v)| (name.clone(), self.value(*v, &values))).collect();
        let mut after: Vec<Tensor> = self.contents.iter().map(|c| c.1.clone()).collect();
        for &(value, to) in g.stores() {
            let Source::Resident(r, offset) = *g.source(to) else { panic!("{} is not resident", g.name(to)) };
            let index = self.contents.iter().position(|c| c.0 == r).expect("a buffer of this memory");
            after[index].write(offset, &self.value(value, &values));
        }
        (outputs, after)
    }

    fn value(&self, v: Value, values: &HashMap<Value, Tensor>) -> Tensor {
        let g = &self.graph;
        let dims = g.ty(v).dims.clone();
        match *g.source(v) {
            Source::Input => self.feeds.iter().find(|f| f.0 == g.name(v)).expect("every input is fed").1.clone(),
            Source::Resident(r, offset) => {
                let buffer = self.contents.iter().find(|c| c.0 == r).expect("a buffer of this memory");
                buffer.1.range(offset, g.ty(v).elements()).reshape(dims)
            }
            Source::View(of) => self.value(of, values).reshape(dims),
            Source::Node { .. } => values[&v].clone(),
        }
    }
}

/// A step state of plausible numbers.
fn words(add: u32) -> Tensor {
    let mut state = Tensor::zeros(&step::step_type());
    let words = state.as_u32_mut();
    words[step::SEED] = 5;
    words[step::MICRO] = 3;
    words[step::LEARNING_RATE] = 0.01f32.to_bits();
    words[step::CORRECTION1] = 1.5f32.to_bits();
    words[step::CORRECTION2] = 2.5f32.to_bits();
    words[step::FACTOR] = 0.5f32.to_bits();
    words[step::GO] = 1;
    words[step::ADD] = add;
    state
}

impl Builder<'_> {
    fn feed(&mut self, tensor: Tensor) -> Value {
        let name = format!("x{}", self.random.feeds.len());
        let v = self.random.graph.input(&name, tensor.ty().clone());
        self.random.feeds.push((name, tensor));
        v
    }

    /// A value with two dimensions; younger ones are more likely, so that chains grow.
    fn pick(&mut self) -> Value {
        let n = self.values.len();
        let from = if self.draw.below(3) == 0 { 0 } else { n.saturating_sub(4) };
        self.values[from + self.draw.below(n - from)]
    }

    /// Another value of the same type, or the value itself.
    fn twin(&mut self, x: Value) -> Value {
        let ty = self.random.graph.ty(x);
        let same: Vec<Value> = self.values.iter().copied().filter(|&v| self.random.graph.ty(v) == ty).collect();
        same[self.draw.below(same.len())]
    }

    /// Parameters of these dimensions, somewhere in a resident buffer.
    fn parameter(&mut self, buffer: Resident, dims: &[usize]) -> Value {
        let elements: usize = dims.iter().product();
        let places = (FLAT - elements) / STEP;
        let offset = self.draw.below(places) * STEP;
        let parameter = self.random.graph.resident("parameter", buffer, offset, Type::f32(dims));
        self.leaves.push(parameter);
        parameter
    }

    fn operation(&mut self, scope: &str, read: Resident, step: Value, smooth: bool) {
        let x = self.pick();
        let dims = self.random.graph.ty(x).dims.clone();
        let [r, c] = dims[..] else { panic!("values here have two dimensions") };
        let choice = self.draw.below(if smooth { 27 } else { 28 });
        // Some parameters come from the buffer that is stored to: they mean what it held before the run.
        let from = if self.draw.below(4) == 0 { self.flat } else { read };
        let y = match choice {
            0 => self.scoped(scope, |g| g.relu(x)),
            1 => self.scoped(scope, |g| g.tanh(x)),
            2 => self.scoped(scope, |g| g.sigmoid(x)),
            3 => self.scoped(scope, |g| g.gelu(x)),
            4 => self.scoped(scope, |g| g.scale(x, -0.7)),
            5 | 6 => {
                let other = self.twin(x);
                self.scoped(scope, |g| g.add(x, other))
            }
            7 => {
                let other = self.twin(x);
                self.scoped(scope, |g| {
                    let y = g.mul(x, other);
                    g.tanh(y)
                })
            }
            8 => {
                let b = self.parameter(from, &[c]);
                self.scoped(scope, |g| g.bias(x, b))
            }
            9 | 10 => {
                let out = [1, 4, 5, 8, 33][self.draw.below(5)];
                let (w, b) = (self.parameter(from, &[out, c]), self.parameter(read, &[out]));
                let bias = (self.draw.below(2) == 0).then_some(b);
                self.scoped(scope, |g| {
                    let y = g.linear(x, w, bias, seqloom::ops::matmul::Activation::None);
                    g.scale(y, 0.3)
                })
            }
            11 => {
                let (w, b) = (self.parameter(from, &[c]), self.parameter(read, &[c]));
                self.scoped(scope, |g| g.layer_norm(x, w, b, 1e-2))
            }
            12 | 13 => {
                // In place too, and of three operations where it does not fit.
                let (w, b) = (self.parameter(from, &[c]), self.parameter(read, &[c]));
                let (other, first) = (self.twin(x), self.draw.below(r));
                let dropped = self.draw.below(2) == 0;
                let (s, z) = self.scoped(scope, |g| {
                    let dropout = g.dropout_at(0.3, "sum").filter(|_| dropped);
                    g.add_norm(x, other, [w, b], 1e-2, dropout.map(|d| (d, step)))
                });
                self.values.push(s);
                self.scoped(scope, |g| {
                    let rows = g.rows(s, first..r);
                    g.set_rows(z, 0, rows)
                })
            }
            14 => {
                let lengths = self.feed(Tensor::u32([1], vec![c as u32]));
                let causal = self.draw.below(2) == 0;
                self.scoped(scope, |g| {
                    let four = g.reshape(x, &[1, 1, r, c]);
                    let p = g.softmax(four, lengths, 0.5, causal);
                    g.reshape(p, &dims)
                })
            }
            15 | 16 => {
                // The in-place one: the logits may or may not be needed afterwards.
                let targets = self.draw.ids(&[r], c);
                let targets = self.feed(targets);
                let weight = self.parameter(from, &[1]);
                let (loss, nll) = self.scoped(scope, |g| g.cross_entropy(x, targets, weight, 0.1, true));
                let take = if self.draw.below(2) == 0 { loss } else { nll };
                // Its third output is the gradient, kept now and then.
                let node = self.random.graph.nodes().last().expect("just added").clone();
                if self.draw.below(2) == 0 {
                    self.values.push(node.outputs[2]);
                }
                self.random.graph.reshape(take, &[r, 1])
            }
            17 => self.scoped(scope, |g| {
                let s = g.column_sum(x);
                g.reshape(s, &[1, c])
            }),
            18 => self.scoped(scope, |g| {
                let s = g.sum(x);
                let s = g.expand(s, &[2, 2]);
                g.tanh(s)
            }),
            19 => self.scoped(scope, |g| g.dropout(x, 0.3, step, "place")),
            20 => {
                let rows = self.random.graph.reshape(x, &[c, r]);
                let s = self.parameter(from, &[c]);
                self.scoped(scope, |g| g.mul_rows(rows, s))
            }
            21 => self.scoped(scope, |g| g.gelu_new(x)),
            22 => {
                let table = self.parameter(from, &[r + 2, c]);
                let start = self.feed(Tensor::u32([1], vec![2]));
                self.scoped(scope, |g| {
                    let three = g.reshape(x, &[1, r, c]);
                    let y = match c.is_multiple_of(2) {
                        true => g.rotary(three, table, start),
                        false => g.positions(three, table, start),
                    };
                    let y = g.reshape(y, &dims);
                    g.tanh(y)
                })
            }
            23 | 24 => {
                // In place: the sum may or may not be needed afterwards.
                let rows = |&v: &Value| self.random.graph.ty(v).dims[0] == r;
                let sums: Vec<Value> = self.values.iter().copied().filter(rows).collect();
                let sum = sums[self.draw.below(sums.len())];
                let w = self.parameter(from, &[self.random.graph.ty(sum).dims[1], c]);
                self.scoped(scope, |g| {
                    let x = g.scale(x, 0.3);
                    g.matmul_add(sum, x, w, false, true)
                })
            }
            25 => {
                let other = self.twin(x);
                self.scoped(scope, |g| g.push(Accumulate, &[x, other, step])[0])
            }
            26 => self.attention(scope, x, step),
            _ => {
                let ids = self.scoped(scope, |g| g.argmax(x));
                let table = self.parameter(from, &[c, 3]);
                self.scoped(scope, |g| g.embedding(ids, table, ids, 0.5))
            }
        };
        self.values.push(y);
    }

    fn scoped<T>(&mut self, scope: &str, build: impl FnOnce(&mut Graph) -> T) -> T {
        self.random.graph.scoped(scope, build)
    }

    /// Queries of one value, keys and values of others of the same width.
    fn attention(&mut self, scope: &str, x: Value, step: Value) -> Value {
        let [rows, c] = self.random.graph.ty(x).dims[..] else { panic!("values here have two dimensions") };
        let wide = |&v: &Value| self.random.graph.ty(v).dims[1] == c;
        let others: Vec<Value> = self.values.iter().copied().filter(wide).collect();
        let k = others[self.draw.below(others.len())];
        let v = self.twin(k);
        let keys = self.random.graph.ty(k).dims[0];
        let length = 1 + self.draw.below(keys) as u32;
        let lengths = self.feed(Tensor::u32([1], vec![length]));
        let heads = if c.is_multiple_of(2) { 2 } else { 1 };
        let (causal, dropped) = (self.draw.below(2) == 0, self.draw.below(2) == 0);
        self.scoped(scope, |g| {
            let dropout = g.dropout_at(0.3, "weights").filter(|_| dropped).unwrap_or(Dropout { p: 0.0, site: 0 });
            let mask = g.attention_mask(lengths, dropped.then_some(step));
            let [q, k, v] = [(x, rows), (k, keys), (v, keys)].map(|(x, n)| g.reshape(x, &[1, n, c]));
            let y = g.attention(q, k, v, mask, Attention { heads, scale: 0.5, causal, dropout });
            g.reshape(y, &[rows, c])
        })
    }

    /// The gradient of a loss over three values with respect to all leaves, stored where there is room, as it is or
    /// added to what is there.
    fn gradients(&mut self, step: Value, smooth: bool) {
        let differentiable = self.differentiable(smooth);
        let mut loss = None;
        for i in 0..3 {
            // The youngest has the longest way back.
            let n = differentiable.len();
            let y = differentiable[if i == 0 { n - 1 } else { self.draw.below(n) }];
            let factors = self.draw.tensor(&self.random.graph.ty(y).dims.clone());
            let factors = self.feed(factors);
            let g = &mut self.random.graph;
            let product = g.mul(y, factors);
            let part = g.sum(product);
            loss = Some(loss.map_or(part, |sum| g.add(sum, part)));
        }
        let leaves = self.leaves.clone();
        let mut ranges = vec![];
        for &leaf in &leaves {
            let ty = self.random.graph.ty(leaf).clone();
            let fits = self.stored + ty.elements() <= FLAT;
            ranges.push(fits.then(|| self.random.graph.resident("gradient", self.flat, self.stored, ty.clone())));
            self.stored += if fits { ty.elements().next_multiple_of(STEP) } else { 0 };
        }
        let added: Vec<bool> = leaves.iter().map(|_| self.draw.below(2) == 0).collect();
        grad_each(&mut self.random.graph, loss.expect("three parts"), &leaves, |g, i, dx| match ranges[i] {
            Some(to) if added[i] => g.accumulate(to, dx, step),
            Some(to) => g.store(dx, to),
            None => g.output(&format!("d{i}"), dx),
        });
    }

    /// The values that a gradient can be taken of. In a smooth graph those behind a ReLU, whose derivative has a step,
    /// are not among them.
    fn differentiable(&self, smooth: bool) -> Vec<Value> {
        let g = &self.random.graph;
        let without = ["accumulate", "argmax", "column_sum", "embedding", "matmul_add", "mul_rows"];
        let mut not: HashSet<Value> = HashSet::new();
        for node in g.nodes() {
            let name = node.op.name();
            let all = without.contains(&name)
                || smooth && name == "relu"
                || node.inputs.iter().any(|&v| not.contains(&g.base(v)));
            // Of the cross-entropy only the loss is differentiable.
            let from = if all {
                0
            } else if name == "cross_entropy" {
                1
            } else {
                node.outputs.len()
            };
            not.extend(&node.outputs[from..]);
        }
        self.values.iter().copied().filter(|&v| !not.contains(&g.base(v))).collect()
    }

    /// Outputs, stores into the flat buffer, an optimiser on other residents.
    fn results(&mut self, read: Resident, moments: [Resident; 2], step: Value) {
        for i in 0..3 {
            let v = self.pick();
            let n = self.random.graph.ty(v).elements();
            let v = if self.draw.below(3) == 0 { self.random.graph.reshape(v, &[n]) } else { v };
            self.random.graph.output(&format!("y{i}"), v);
        }
        for _ in 0..3 {
            let v = self.pick();
            let ty = self.random.graph.ty(v).clone();
            if self.stored + ty.elements() <= FLAT {
                let to = self.random.graph.resident("stored", self.flat, self.stored, ty.clone());
                self.random.graph.store(v, to);
                self.stored += ty.elements().next_multiple_of(STEP);
            }
        }
        let n = 2 * STEP + 10;
        let gradient = self.random.graph.resident("gradient", self.flat, FLAT - 3 * STEP, Type::f32([n]));
        let start = self.draw.below(10) * STEP;
        let mut leaf = |buffer| self.random.graph.resident("leaf", buffer, start, Type::f32([n]));
        let (p, m, v) = (leaf(read), leaf(moments[0]), leaf(moments[1]));
        let adam = Adam { betas: [0.9, 0.98], eps: 1e-6, weight_decay: 0.1, decayed: 10, decoupled: true };
        let sgd = Sgd { momentum: 0.9, weight_decay: 0.1, decayed: 10 };
        let (y, to) = match self.draw.below(2) {
            0 => (self.push(adam, &[gradient, step, p, m, v]), vec![p, m, v]),
            _ => (self.push(sgd, &[gradient, step, p, m]), vec![p, m]),
        };
        for (y, to) in y.into_iter().zip(to) {
            self.random.graph.store(y, to);
        }
    }

    fn push(&mut self, op: impl Op + 'static, x: &[Value]) -> Vec<Value> {
        self.random.graph.push(op, x)
    }
}
