//! Training: two programs a step, one that computes gradients and one that updates the parameters.

use crate::device::Device;
use crate::error::{Error, Result};
use crate::grad::grad;
use crate::graph::{Graph, Resident, Value};
use crate::network::Network;
use crate::op::{Cost, Op};
use crate::ops::adam::Adam;
use crate::ops::cross_entropy::target_entropy;
use crate::ops::grad_norm::PARTIALS;
use crate::ops::record::COLUMNS;
use crate::ops::sgd::Sgd;
use crate::plan::Plan;
use crate::recipe::{Optimizer, Recipe, learning_rate};
use crate::step;
use crate::tensor::{Tensor, Type};
use crate::text::batch::{Batch, BatchPlan, Batches, Bucket, by_token};

/// Steps whose numbers may wait on the device before somebody reads them.
const LOG_SLOTS: usize = 256;

/// How many positions a model needs for examples and decoded lines of these lengths: batches are padded to multiples of
/// four.
pub fn positions(examples: usize, decoded: usize) -> usize {
    examples.max(decoded).next_multiple_of(4)
}

/// Where training stands: all that a resumed run needs besides parameters and moments.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Progress {
    /// Updates done.
    pub step: u64,
    /// Passes over the data done.
    pub epoch: u64,
    /// Batches of the current epoch done.
    pub batch: usize,
    /// Target tokens seen.
    pub tokens: u64,
}

/// The numbers of one step.
#[derive(Clone, Debug, PartialEq)]
pub struct Metrics {
    /// Which step, counted from 1.
    pub step: u64,
    /// Epochs done, as a fraction.
    pub epoch: f64,
    /// Mean cross-entropy with label smoothing over the step's target tokens, in nats.
    pub loss: f64,
    /// Kullback–Leibler divergence from the smoothed target to the model: the loss minus the target's entropy.
    pub kl: f64,
    /// The loss without smoothing.
    pub nll: f64,
    /// Learning rate.
    pub lr: f64,
    /// Global norm of the gradient before clipping.
    pub grad_norm: f64,
    /// Target tokens of the step.
    pub tokens: u32,
}

/// A loss over a whole set.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Evaluation {
    /// Mean cross-entropy with the training's label smoothing, in nats per target token.
    pub loss: f64,
    /// The same without smoothing: the logarithm of the perplexity.
    pub nll: f64,
    /// Target tokens.
    pub tokens: u64,
}

struct Pending {
    step: u64,
    epoch: f64,
    lr: f64,
    tokens: u32,
}

struct State {
    step: Resident,
    partial: Resident,
    loss: Resident,
    nll: Resident,
    log: Resident,
}

/// A network with an optimiser and data.
pub struct Trainer {
    /// The model and its device.
    pub network: Network,
    /// What is trained, and how.
    pub recipe: Recipe,
    /// Where training stands.
    pub progress: Progress,
    train: Batches,
    valid: Batches,
    order: Vec<BatchPlan>,
    state: State,
    micro: usize,
    evaluate: usize,
    update: usize,
    pending: Vec<Pending>,
}

impl Trainer {
    /// Plans and loads every program of a training run: a forward and backward pass per bucket, an evaluation per
    /// bucket of the validation set, and the update. The parameters start from the recipe's seed. Errors: something
    /// is too large for the device, a shader does not compile.
    pub async fn new(mut network: Network, recipe: Recipe, train: Batches, valid: Batches) -> Result<Trainer> {
        let memory = &mut network.memory;
        let state = State {
            step: memory.declare("step", step::step_type()),
            partial: memory.declare("partial", Type::f32([PARTIALS * network.parameters.shards.len()])),
            loss: memory.declare("loss", Type::f32([1])),
            nll: memory.declare("nll", Type::f32([1])),
            log: memory.declare("log", Type::f32([LOG_SLOTS, COLUMNS])),
        };
        network.device.allocate(&network.memory);
        let limits = network.device.limits();
        let mut plans = vec![];
        for &bucket in train.buckets().shapes() {
            plans.push(Plan::new(micro_graph(&network, &recipe, &state, bucket), &limits)?);
        }
        for &bucket in valid.buckets().shapes() {
            plans.push(Plan::new(evaluation_graph(&network, &recipe, bucket), &limits)?);
        }
        plans.push(Plan::new(update_graph(&network, &recipe, &state), &limits)?);
        let micro = network.device.load(plans).await?;
        let evaluate = micro + train.buckets().shapes().len();
        let update = evaluate + valid.buckets().shapes().len();
        let initial = network.parameters.initial(recipe.train.seed);
        network.write_parameters("the initial values", &initial)?;
        network.device.write_resident(state.step, step::GO, &Tensor::u32([1], vec![1]));
        let order = train.epoch(recipe.train.seed, 0);
        let progress = Progress::default();
        Ok(Trainer { network, recipe, progress, train, valid, order, state, micro, evaluate, update, pending: vec![] })
    }

    /// How many steps the recipe asks for.
    pub fn steps(&self) -> u64 {
        match self.recipe.train.epochs {
            0 => self.recipe.train.steps,
            epochs => epochs * self.order.len() as u64,
        }
    }

    /// The plans of one step on a bucket: forward and backward, then the update. Only a GPU keeps them.
    pub fn step_programs(&self, bucket: usize) -> [usize; 2] {
        [self.micro + bucket, self.update]
    }

    /// The training batches.
    pub fn batches(&self) -> &Batches {
        &self.train
    }

    /// Does one update on the next batch of the epoch. A GPU may still be busy with it on return; [`Trainer::drain`]
    /// waits. Returns the numbers of earlier steps when there was no more room for them. Errors: the device failed, or
    /// an earlier step's gradient was not finite.
    pub async fn step(&mut self) -> Result<Vec<Metrics>> {
        let plan = self.order[self.progress.batch].clone();
        let done = self.step_on(&plan).await?;
        self.progress.batch += 1;
        if self.progress.batch == self.order.len() {
            self.progress.epoch += 1;
            self.progress.batch = 0;
            self.order = self.train.epoch(self.recipe.train.seed, self.progress.epoch);
        }
        Ok(done)
    }

    /// Like [`Trainer::step`], on a batch of the caller's choice; the place in the epoch stays.
    pub async fn step_on(&mut self, plan: &BatchPlan) -> Result<Vec<Metrics>> {
        let done = if self.pending.len() == LOG_SLOTS { self.drain().await? } else { vec![] };
        let batch = self.train.build(plan);
        let number = self.progress.step + 1;
        let lr = learning_rate(&self.recipe.train, self.network.model.d_model, number);
        let words = self.step_words(number, lr);
        self.network.device.write_resident(self.state.step, 0, &Tensor::u32([words.len()], words));
        let program = self.micro + plan.bucket;
        let bucket = self.train.buckets().shapes()[plan.bucket];
        let feeds = Feeds::new(&batch, bucket, self.network.model.vocabulary, 1.0 / batch.tokens.max(1) as f32);
        self.network.device.run(program, &feeds.list());
        self.network.device.run(self.update, &[]);
        self.progress.step = number;
        self.progress.tokens += batch.tokens as u64;
        let epoch = self.progress.epoch as f64 + (self.progress.batch + 1) as f64 / self.order.len() as f64;
        self.pending.push(Pending { step: number, epoch, lr, tokens: batch.tokens });
        Ok(done)
    }

    /// Plays the forward and backward pass of the epoch's next batch and an update alone, pass by pass, and returns
    /// seconds by operation. Errors: the device is not a GPU with timestamps. Training cannot go on from here: the
    /// update changes the parameters but not the progress.
    pub async fn profile(&mut self) -> Result<Vec<(&'static str, Cost, f64)>> {
        let plan = self.order[self.progress.batch].clone();
        let batch = self.train.build(&plan);
        let bucket = self.train.buckets().shapes()[plan.bucket];
        let feeds = Feeds::new(&batch, bucket, self.network.model.vocabulary, 1.0 / batch.tokens.max(1) as f32);
        let Device::Gpu(gpu) = &mut self.network.device else {
            return Err(Error::Device("only a GPU can be profiled pass by pass".into()));
        };
        let mut passes = vec![];
        for (program, feeds) in [(self.micro + plan.bucket, feeds.list()), (self.update, vec![])] {
            let seconds = gpu.profile(program, &feeds).await?;
            let named = gpu.plan(program).passes.iter().zip(seconds);
            passes.extend(named.map(|(pass, seconds)| (pass.op, pass.cost, seconds)));
        }
        Ok(passes)
    }

    /// Waits for the steps so far and returns their numbers. Errors: the device failed, or a gradient was not finite;
    /// that step and those after it have changed nothing.
    pub async fn drain(&mut self) -> Result<Vec<Metrics>> {
        if self.pending.is_empty() {
            return Ok(vec![]);
        }
        let log = self.network.device.read_resident(self.state.log, 0, LOG_SLOTS * COLUMNS).await?;
        let smoothing = self.recipe.train.label_smoothing;
        let entropy = target_entropy(smoothing, self.network.model.vocabulary);
        let mut metrics = vec![];
        for p in std::mem::take(&mut self.pending) {
            let slot = p.step as usize % LOG_SLOTS * COLUMNS;
            let [loss, nll, norm, go] = [0, 1, 2, 3].map(|c| log.as_f32()[slot + c] as f64);
            if go != 1.0 {
                return Err(self.not_finite(p.step).await);
            }
            let kl = loss - entropy;
            let Pending { step, epoch, lr, tokens } = p;
            metrics.push(Metrics { step, epoch, loss, kl, nll, lr, grad_norm: norm, tokens });
        }
        Ok(metrics)
    }

    /// The loss on the validation set. Errors: the device failed.
    pub async fn evaluate(&mut self) -> Result<Evaluation> {
        evaluate(&mut self.network, &self.valid, self.evaluate).await
    }

    /// Both moments by parameter name, `moment1.NAME` and `moment2.NAME`. Errors: the device failed.
    pub async fn read_moments(&self) -> Result<Vec<(String, Tensor)>> {
        let mut all = vec![];
        for which in 1..3 {
            let pick = |s: &crate::parameters::Shard| s.training.expect("a trainer's parameters")[which];
            let tensors = self.network.parameters.read(&self.network.device, pick).await?;
            all.extend(tensors.into_iter().map(|(name, t)| (format!("moment{which}.{name}"), t)));
        }
        Ok(all)
    }

    /// Puts a run back where a checkpoint left it. Errors: a tensor is missing or of another shape.
    pub fn restore(
        &mut self,
        file: &str,
        parameters: &[(String, Tensor)],
        moments: &[(String, Tensor)],
        progress: Progress,
    ) -> Result<()> {
        self.network.write_parameters(file, parameters)?;
        for which in 1..3 {
            let prefix = format!("moment{which}.");
            let named = |(name, t): &(String, Tensor)| Some((name.strip_prefix(&prefix)?.to_string(), t.clone()));
            let tensors: Vec<(String, Tensor)> = moments.iter().filter_map(named).collect();
            let pick = |s: &crate::parameters::Shard| s.training.expect("a trainer's parameters")[which];
            self.network.parameters.write(&mut self.network.device, file, &tensors, pick)?;
        }
        self.order = self.train.epoch(self.recipe.train.seed, progress.epoch);
        if progress.batch >= self.order.len() {
            return Err(Error::Input(format!("{file}: batch {} of {} in an epoch", progress.batch, self.order.len())));
        }
        self.progress = progress;
        Ok(())
    }

    /// Gradients of the last step by parameter name, before clipping. Errors: the device failed.
    pub async fn read_gradients(&self) -> Result<Vec<(String, Tensor)>> {
        let pick = |s: &crate::parameters::Shard| s.training.expect("a trainer's parameters")[0];
        self.network.parameters.read(&self.network.device, pick).await
    }

    fn step_words(&self, number: u64, lr: f64) -> Vec<u32> {
        let t = &self.recipe.train;
        let correction = |beta: f64| ((1.0 / (1.0 - beta.powf(number as f64))) as f32).to_bits();
        let mut words = vec![0; step::NORM];
        words[step::SEED] = t.seed as u32 ^ (t.seed >> 32) as u32;
        words[step::MICRO] = number as u32;
        words[step::LEARNING_RATE] = (lr as f32).to_bits();
        words[step::CORRECTION1] = correction(t.betas[0]);
        words[step::CORRECTION2] = correction(t.betas[1]);
        words[step::SLOT] = (number % LOG_SLOTS as u64) as u32;
        words
    }

    async fn not_finite(&self, step: u64) -> Error {
        let bad = |t: &Tensor| t.as_f32().iter().any(|v| !v.is_finite());
        let place = match self.read_gradients().await {
            Ok(gradients) => gradients.into_iter().find(|(_, t)| bad(t)).map(|(name, _)| name),
            Err(e) => return e,
        };
        // These are the last step's gradients, which the same parameters gave.
        let place = place.map_or(String::new(), |name| format!(" (since then first in {name})"));
        Error::Run(format!(
            "step {step}: the gradient is not finite{place}; nothing has been updated since the step before. In \
             another --out, or with --fresh, lower train.lr, raise train.warmup or set train.clip"
        ))
    }
}

/// The loss over a set, whose buckets' programs start at `first`.
async fn evaluate(network: &mut Network, set: &Batches, first: usize) -> Result<Evaluation> {
    let (mut loss, mut nll, mut tokens) = (0.0, 0.0, 0);
    for plan in set.in_order() {
        let batch = set.build(&plan);
        let feeds = Feeds::new(&batch, set.buckets().shapes()[plan.bucket], network.model.vocabulary, 1.0);
        let program = first + plan.bucket;
        network.device.run(program, &feeds.list());
        loss += network.device.read(program, "loss").await?.as_f32()[0] as f64;
        nll += network.device.read(program, "nll").await?.as_f32()[0] as f64;
        tokens += batch.tokens as u64;
    }
    let mean = |sum: f64| sum / tokens.max(1) as f64;
    Ok(Evaluation { loss: mean(loss), nll: mean(nll), tokens })
}

/// The loss of a network that is not being trained on a set. Errors: something is too large for the device.
pub async fn evaluate_network(network: &mut Network, recipe: &Recipe, set: &Batches) -> Result<Evaluation> {
    let limits = network.device.limits();
    let mut plans = vec![];
    for &bucket in set.buckets().shapes() {
        plans.push(Plan::new(evaluation_graph(network, recipe, bucket), &limits)?);
    }
    let first = network.device.load(plans).await?;
    evaluate(network, set, first).await
}

/// A batch as the inputs of a forward pass.
struct Feeds(Vec<(&'static str, Tensor)>);

impl Feeds {
    fn new(batch: &Batch, bucket: Bucket, vocabulary: usize, weight: f32) -> Feeds {
        let (rows, s, t) = (bucket.rows, bucket.source_length, bucket.target_length);
        let ids = |length, ids: &Vec<u32>| Tensor::u32([rows, length], ids.clone());
        let sorted = |ids: &[u32]| {
            let words = by_token(ids, vocabulary);
            Tensor::u32([words.len()], words)
        };
        Feeds(vec![
            ("source", ids(s, &batch.source)),
            ("source_lengths", Tensor::u32([rows], batch.source_lengths.clone())),
            ("source_by_token", sorted(&batch.source)),
            ("target", ids(t, &batch.target_in)),
            ("target_lengths", Tensor::u32([rows], batch.target_lengths.clone())),
            ("target_by_token", sorted(&batch.target_in)),
            ("labels", Tensor::u32([rows * t], batch.target_out.clone())),
            ("weight", Tensor::f32([1], vec![weight])),
            ("start", Tensor::u32([1], vec![0])),
        ])
    }

    fn list(&self) -> Vec<(&str, &Tensor)> {
        self.0.iter().map(|(name, t)| (*name, t)).collect()
    }
}

/// The forward pass with its loss: sums of (loss, nll) over the rows, each times the input `weight`.
fn forward(g: &mut Graph, network: &Network, bucket: Bucket, step: Option<Value>, smoothing: f32) -> ForwardPass {
    let model = &network.model;
    let weights = network.parameters.bind(g);
    let context = network.context(g, step);
    let source = network.tokens(g, "source", bucket.rows, bucket.source_length);
    let target = network.tokens(g, "target", bucket.rows, bucket.target_length);
    let labels = g.input("labels", Type::u32([bucket.rows * bucket.target_length]));
    let weight = g.input("weight", Type::f32([1]));
    let memory = model.encode(g, &weights, source, &context);
    let states = model.decode(g, &weights, target, memory, source.lengths, &context);
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

fn micro_graph(network: &Network, recipe: &Recipe, state: &State, bucket: Bucket) -> Graph {
    let mut g = Graph::new();
    let step = g.resident("step", state.step, 0, step::step_type());
    let pass = forward(&mut g, network, bucket, Some(step), recipe.train.label_smoothing as f32);
    let gradients = grad(&mut g, pass.loss, &pass.parameters);
    for (gradient, to) in gradients.into_iter().zip(network.parameters.gradients(&mut g)) {
        g.store(gradient, to);
    }
    for (value, resident, name) in [(pass.loss, state.loss, "loss"), (pass.nll, state.nll, "nll")] {
        let to = g.resident(name, resident, 0, Type::f32([1]));
        g.store(value, to);
    }
    g
}

fn evaluation_graph(network: &Network, recipe: &Recipe, bucket: Bucket) -> Graph {
    let mut g = Graph::new();
    let pass = forward(&mut g, network, bucket, None, recipe.train.label_smoothing as f32);
    g.output("loss", pass.loss);
    g.output("nll", pass.nll);
    g
}

fn update_graph(network: &Network, recipe: &Recipe, state: &State) -> Graph {
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
