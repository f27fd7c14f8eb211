//! The graphs of a training run and what is fed to them.

use crate::grad::grad_each;
use crate::graph::{Graph, Memory, Resident, Value};
use crate::network::Network;
use crate::op::Op;
use crate::ops::adam::Adam;
use crate::ops::grad_norm::PARTIALS;
use crate::ops::record::COLUMNS;
use crate::ops::sgd::Sgd;
use crate::recipe::{Optimizer, Recipe};
use crate::step;
use crate::tensor::{Tensor, Type};
use crate::text::batch::{Batch, Bucket, by_token};

/// Steps whose numbers may wait on the device before somebody reads them.
pub(super) const LOG_SLOTS: usize = 256;

/// What the programs of a step tell each other, besides gradients.
pub(super) struct State {
    pub(super) step: Resident,
    partial: Resident,
    loss: Resident,
    nll: Resident,
    pub(super) log: Resident,
}

impl State {
    /// Declares the buffers, for gradients in so many flat ones.
    pub(super) fn new(memory: &mut Memory, shards: usize) -> State {
        State {
            step: memory.declare("step", step::step_type()),
            partial: memory.declare("partial", Type::f32([PARTIALS * shards])),
            loss: memory.declare("loss", Type::f32([1])),
            nll: memory.declare("nll", Type::f32([1])),
            log: memory.declare("log", Type::f32([LOG_SLOTS, COLUMNS])),
        }
    }
}

/// A batch as the inputs of a forward pass.
pub(super) struct Feeds(Vec<(&'static str, Tensor)>);

impl Feeds {
    pub(super) fn new(network: &Network, batch: &Batch, bucket: Bucket, weight: f32) -> Feeds {
        let (rows, s, t) = (bucket.rows, bucket.source_length, bucket.target_length);
        let ids = |length, ids: &Vec<u32>| Tensor::u32([rows, length], ids.clone());
        let sorted = by_token(&batch.target_in, network.model.vocabulary().target());
        let mut feeds = vec![
            ("target", ids(t, &batch.target_in)),
            ("target_lengths", Tensor::u32([rows], batch.target_lengths.clone())),
            ("target_by_token", Tensor::u32([sorted.len()], sorted)),
            ("labels", Tensor::u32([rows * t], batch.target_out.clone())),
            ("weight", Tensor::f32([1], vec![weight])),
            ("start", Tensor::u32([1], vec![0])),
        ];
        // A text has no source.
        if s > 0 {
            feeds.extend(network.source_inputs(&batch.source, &batch.source_lengths));
        }
        Feeds(feeds)
    }

    pub(super) fn list(&self) -> Vec<(&str, &Tensor)> {
        self.0.iter().map(|(name, t)| (*name, t)).collect()
    }
}

/// The forward pass with its loss: sums of (loss, nll) over the rows, each times the input `weight`.
fn forward(g: &mut Graph, network: &Network, bucket: Bucket, step: Option<Value>, smoothing: f32) -> ForwardPass {
    let model = &network.model;
    let weights = network.parameters.bind(g);
    let context = network.context(g, step);
    let source = (bucket.source_length > 0).then(|| network.source_tokens(g, bucket.rows, bucket.source_length));
    let target = network.target_tokens(g, "target", bucket.rows, bucket.target_length);
    let labels = g.input("labels", Type::u32([bucket.rows * bucket.target_length]));
    let weight = g.input("weight", Type::f32([1]));
    let states = model.states(g, &weights, source, target, &context);
    let (table, training) = (model.output_table(&weights), step.is_some());
    let (loss, nll) =
        g.scoped("loss", |g| g.projected_cross_entropy(states, table, labels, weight, smoothing, training));
    let parameters = network.parameters.entries.iter().map(|e| weights.get(&e.declaration.name)).collect();
    ForwardPass { loss, nll, parameters }
}

struct ForwardPass {
    loss: Value,
    nll: Value,
    parameters: Vec<Value>,
}

/// Forward and backward pass of a micro-batch. Where a step has several, each adds its gradients and its loss to those
/// before it.
pub(super) fn micro_graph(network: &Network, recipe: &Recipe, state: &State, bucket: Bucket) -> Graph {
    let mut g = Graph::new();
    let step = g.resident("step", state.step, 0, step::step_type());
    let pass = forward(&mut g, network, bucket, Some(step), recipe.train.label_smoothing as f32);
    let ranges = network.parameters.gradients(&mut g);
    let keep = |g: &mut Graph, value, to| match recipe.train.accumulate {
        1 => g.store(value, to),
        _ => g.scoped("accumulate", |g| g.accumulate(to, value, step)),
    };
    for (value, resident, name) in [(pass.loss, state.loss, "loss"), (pass.nll, state.nll, "nll")] {
        let to = g.resident(name, resident, 0, Type::f32([1]));
        keep(&mut g, value, to);
    }
    grad_each(&mut g, pass.loss, &pass.parameters, |g, i, gradient| keep(g, gradient, ranges[i]));
    g
}

pub(super) fn evaluation_graph(network: &Network, recipe: &Recipe, bucket: Bucket) -> Graph {
    let mut g = Graph::new();
    let pass = forward(&mut g, network, bucket, None, recipe.train.label_smoothing as f32);
    g.output("loss", pass.loss);
    g.output("nll", pass.nll);
    g
}

pub(super) fn update_graph(network: &Network, recipe: &Recipe, state: &State) -> Graph {
    let t = &recipe.train;
    let mut g = Graph::new();
    let shards = &network.parameters.shards;
    let mut flat = |name: &str, r: Resident| g.resident(name, r, 0, network.memory.ty(r).clone());
    let step = flat("step", state.step);
    let partial = flat("partial", state.partial);
    let [loss, nll, log] = [("loss", state.loss), ("nll", state.nll), ("log", state.log)].map(|(n, r)| flat(n, r));
    let training = shards.iter().map(|s| s.training.expect("a trainer's parameters"));
    let gradients: Vec<Value> = training.clone().map(|[gradients, ..]| flat("gradients", gradients)).collect();
    let values: Vec<Value> = shards.iter().map(|s| flat("parameters", s.values)).collect();
    let moments: Vec<[Value; 2]> = training.map(|[_, m, v]| [flat("moment1", m), flat("moment2", v)]).collect();

    let clipped = g.clip(&gradients, partial, step, t.clip as f32);
    g.store(clipped, step);
    for (i, shard) in shards.iter().enumerate() {
        let weight_decay = t.weight_decay as f32;
        let (p, [m, v]) = (values[i], moments[i]);
        let (op, inputs, stored): (std::sync::Arc<dyn Op>, _, _) = match t.optimizer {
            Optimizer::Sgd => {
                let op = Sgd { momentum: t.momentum as f32, weight_decay, decayed: shard.decayed };
                (std::sync::Arc::new(op), vec![gradients[i], clipped, p, m], vec![p, m])
            }
            Optimizer::Adam | Optimizer::AdamW => {
                let decoupled = t.optimizer == Optimizer::AdamW;
                let op = Adam { betas: t.betas, eps: t.eps as f32, weight_decay, decayed: shard.decayed, decoupled };
                (std::sync::Arc::new(op), vec![gradients[i], clipped, p, m, v], vec![p, m, v])
            }
        };
        let outputs = g.push_shared(op, &inputs);
        for (output, to) in outputs.into_iter().zip(stored) {
            g.store(output, to);
        }
    }
    let log_after = g.record(log, loss, nll, clipped);
    g.store(log_after, log);
    g
}
