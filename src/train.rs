//! Training: two programs a step, one that computes gradients and one that updates the parameters.

mod evaluation;
mod footprint;
mod graphs;
mod lockstep;
mod profile;
mod program;
mod progress;

pub use evaluation::{Evaluation, evaluate_network};
pub use footprint::{Footprint, Programs};
pub use profile::{Phase, Stage, Timed};
pub use program::Program;
pub use progress::{Metrics, Progress};

use crate::error::{Error, Result};
use crate::network::Network;
use crate::ops::cross_entropy::target_entropy;
use crate::ops::record::COLUMNS;
use crate::plan::{Limits, Plan};
use crate::recipe::{Recipe, learning_rate};
use crate::step;
use crate::tensor::Tensor;
use crate::text::batch::{Batch, BatchPlan, Batches};
use evaluation::evaluate;
use graphs::{Feeds, LOG_SLOTS, State, evaluation_graph, micro_graph, update_graph};
use profile::Stopwatch;
use progress::Pending;

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
    before_failure: Vec<Metrics>,
}

/// A training run that is planned: what it takes is known, and only what lasts was asked of the device.
pub struct Planned {
    network: Network,
    recipe: Recipe,
    train: Batches,
    valid: Batches,
    state: State,
    plans: Vec<Plan>,
}

impl Planned {
    /// Plans every program of a training run: a forward and backward pass per bucket, an evaluation per bucket of the
    /// validation set, and the update. Errors: something is too large for the device.
    pub fn new(network: Network, recipe: Recipe, train: Batches, valid: Batches) -> Result<Planned> {
        let limits = network.device.limits();
        Planned::within(&limits, network, recipe, train, valid)
    }

    /// Like [`Planned::new`], as for a device of these limits, whatever the network is on.
    pub fn within(
        limits: &Limits,
        mut network: Network,
        recipe: Recipe,
        train: Batches,
        valid: Batches,
    ) -> Result<Planned> {
        let state = State::new(&mut network.memory, network.parameters.shards.len());
        network.device.allocate(&network.memory);
        let mut plans = vec![];
        for &bucket in train.buckets().shapes() {
            plans.push(Plan::new(micro_graph(&network, &recipe, &state, bucket), limits)?);
        }
        for &bucket in valid.buckets().shapes() {
            plans.push(Plan::new(evaluation_graph(&network, &recipe, bucket), limits)?);
        }
        plans.push(Plan::new(update_graph(&network, &recipe, &state), limits)?);
        Ok(Planned { network, recipe, train, valid, state, plans })
    }

    /// The plans: forward and backward for each shape of the training batches, an evaluation for each of the validation
    /// set's, the update.
    pub fn plans(&self) -> &[Plan] {
        &self.plans
    }

    /// Loads the programs. The parameters start from the recipe's seed. Errors: the device has not the memory, a shader
    /// does not compile.
    pub async fn load(self) -> Result<Trainer> {
        let Planned { mut network, recipe, train, valid, state, plans } = self;
        let micro = network.device.load(plans).await?;
        let evaluate = micro + train.buckets().shapes().len();
        let update = evaluate + valid.buckets().shapes().len();
        let initial = network.parameters.initial(recipe.train.seed);
        network.write_parameters("the initial values", &initial)?;
        network.device.write_resident(state.step, step::GO, &Tensor::u32([1], vec![1]));
        let order = train.epoch(recipe.train.seed, 0);
        let progress = Progress::default();
        let (pending, before_failure) = (vec![], vec![]);
        Ok(Trainer {
            network,
            recipe,
            progress,
            train,
            valid,
            order,
            state,
            micro,
            evaluate,
            update,
            pending,
            before_failure,
        })
    }
}

impl Trainer {
    /// Plans a training run and loads it. Errors: as [`Planned::new`] and [`Planned::load`].
    pub async fn new(network: Network, recipe: Recipe, train: Batches, valid: Batches) -> Result<Trainer> {
        Planned::new(network, recipe, train, valid)?.load().await
    }

    /// How many steps the recipe asks for.
    pub fn steps(&self) -> u64 {
        match self.recipe.train.epochs {
            0 => self.recipe.train.steps,
            epochs => epochs * self.order.len().div_ceil(self.recipe.train.accumulate) as u64,
        }
    }

    /// Whether there is nothing more to do: every step is done, or the last `train.patience` evaluations were in vain.
    pub fn is_finished(&self) -> bool {
        self.progress.step >= self.steps() || self.is_out_of_patience()
    }

    /// Whether the last `train.patience` evaluations were in vain.
    pub fn is_out_of_patience(&self) -> bool {
        self.progress.out_of_patience(&self.recipe.train)
    }

    /// The learning rate of a step, counted from 1, as far as evaluations have told.
    pub fn learning_rate(&self, step: u64) -> f64 {
        let width = self.network.model.width();
        learning_rate(&self.recipe.train, width, step, self.steps(), self.progress.reductions)
    }

    /// The plans of one step on a bucket: forward and backward, then the update. Only a GPU keeps them.
    pub fn step_programs(&self, bucket: usize) -> [usize; 2] {
        [self.micro + bucket, self.update]
    }

    /// The training batches.
    pub fn batches(&self) -> &Batches {
        &self.train
    }

    /// The batches of the next step: the epoch's next `train.accumulate`, or those that are left of it.
    pub fn next_batches(&self) -> &[BatchPlan] {
        let rest = &self.order[self.progress.batch..];
        &rest[..rest.len().min(self.recipe.train.accumulate)]
    }

    /// Does one update on the epoch's next `train.accumulate` batches, or those that are left of it. A GPU may still be
    /// busy with it on return; [`Trainer::drain`] waits. Returns the numbers of earlier steps when there was no more
    /// room for them. Errors: the device failed, or an earlier step's gradient was not finite.
    pub async fn step(&mut self) -> Result<Vec<Metrics>> {
        self.next_step(None).await
    }

    async fn next_step(&mut self, watch: Option<&mut Stopwatch<'_>>) -> Result<Vec<Metrics>> {
        let plans = self.next_batches().to_vec();
        let done = self.step_timed(&plans, watch).await?;
        self.progress.batch += plans.len();
        if self.progress.batch == self.order.len() {
            self.progress.epoch += 1;
            self.progress.batch = 0;
            self.order = self.train.epoch(self.recipe.train.seed, self.progress.epoch);
        }
        Ok(done)
    }

    /// Like [`Trainer::step`], on micro-batches of the caller's choice; the place in the epoch stays. Panics when there
    /// are none, or more than `train.accumulate`.
    pub async fn step_on(&mut self, plans: &[BatchPlan]) -> Result<Vec<Metrics>> {
        self.step_timed(plans, None).await
    }

    async fn step_timed(&mut self, plans: &[BatchPlan], mut watch: Option<&mut Stopwatch<'_>>) -> Result<Vec<Metrics>> {
        let most = self.recipe.train.accumulate;
        assert!((1..=most).contains(&plans.len()), "{} micro-batches, train.accumulate is {most}", plans.len());
        let done = if self.pending.len() == LOG_SLOTS { self.drain().await? } else { vec![] };
        profile::tell(watch.as_deref_mut(), Stage::Build);
        let batches: Vec<Batch> = plans.iter().map(|plan| self.train.build(plan)).collect();
        let tokens: u32 = batches.iter().map(|batch| batch.tokens).sum();
        let number = self.progress.step + 1;
        let lr = self.learning_rate(number);
        for (micro, (plan, batch)) in plans.iter().zip(&batches).enumerate() {
            profile::tell(watch.as_deref_mut(), Stage::Build);
            let words = self.step_words(number, micro, lr);
            self.network.device.write_resident(self.state.step, 0, &Tensor::u32([words.len()], words));
            let bucket = self.train.buckets().shapes()[plan.bucket];
            let feeds = Feeds::new(&self.network, batch, bucket, 1.0 / tokens.max(1) as f32);
            let program = self.micro + plan.bucket;
            let device = &mut self.network.device;
            profile::run(watch.as_deref_mut(), device, Phase::Forward, program, &feeds.list()).await?;
        }
        profile::run(watch, &mut self.network.device, Phase::Update, self.update, &[]).await?;
        self.progress.step = number;
        self.progress.tokens += tokens as u64;
        let batches_done = self.progress.batch + plans.len();
        let epoch = self.progress.epoch as f64 + batches_done as f64 / self.order.len() as f64;
        self.pending.push(Pending { step: number, epoch, lr, tokens });
        Ok(done)
    }

    /// Waits for the steps so far and returns their numbers. Errors: the device failed, or a gradient was not finite;
    /// that step and those after it have changed nothing, and [`Trainer::before_failure`] has the numbers of those
    /// before it.
    pub async fn drain(&mut self) -> Result<Vec<Metrics>> {
        if self.pending.is_empty() {
            return Ok(vec![]);
        }
        let log = self.network.device.read_resident(self.state.log, 0, LOG_SLOTS * COLUMNS).await?;
        let smoothing = self.recipe.train.label_smoothing;
        let entropy = target_entropy(smoothing, self.network.model.vocabulary().target());
        let mut metrics = vec![];
        for p in std::mem::take(&mut self.pending) {
            let slot = p.step as usize % LOG_SLOTS * COLUMNS;
            let [loss, nll, norm, go] = [0, 1, 2, 3].map(|c| log.as_f32()[slot + c] as f64);
            if go != 1.0 {
                self.before_failure = metrics;
                return Err(self.not_finite(p.step).await);
            }
            let kl = loss - entropy;
            let Pending { step, epoch, lr, tokens } = p;
            metrics.push(Metrics { step, epoch, loss, kl, nll, lr, grad_norm: norm, tokens });
        }
        Ok(metrics)
    }

    /// The numbers of the steps that [`Trainer::drain`] or [`Trainer::step`] could not return because of an error.
    pub fn before_failure(&mut self) -> Vec<Metrics> {
        std::mem::take(&mut self.before_failure)
    }

    /// The loss on the validation set. Errors: the device failed.
    pub async fn evaluate(&mut self) -> Result<Evaluation> {
        evaluate(&mut self.network, &self.valid, self.evaluate).await
    }

    /// Takes note of an evaluation after the last step, for `train.patience` and the schedule `plateau`; whether its
    /// loss is the lowest so far.
    pub fn judge(&mut self, evaluation: &Evaluation) -> bool {
        self.progress.judge(&self.recipe.train, evaluation.loss)
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

    /// Puts a run back where a checkpoint left it. Errors: a tensor is missing or of another shape, or no run can stand there.
    pub fn restore(
        &mut self,
        file: &str,
        parameters: &[(String, Tensor)],
        moments: &[(String, Tensor)],
        progress: Progress,
    ) -> Result<()> {
        progress.check(file)?;
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

    fn step_words(&self, number: u64, micro: usize, lr: f64) -> Vec<u32> {
        let t = &self.recipe.train;
        let correction = |beta: f64| ((1.0 / (1.0 - beta.powf(number as f64))) as f32).to_bits();
        let mut words = vec![0; step::NORM];
        words[step::SEED] = t.seed as u32 ^ (t.seed >> 32) as u32;
        words[step::MICRO] = (number * t.accumulate as u64 + micro as u64) as u32;
        words[step::LEARNING_RATE] = (lr as f32).to_bits();
        words[step::CORRECTION1] = correction(t.betas[0]);
        words[step::CORRECTION2] = correction(t.betas[1]);
        words[step::SLOT] = (number % LOG_SLOTS as u64) as u32;
        words[step::ADD] = u32::from(micro > 0);
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
