//! Training against PyTorch: ten steps of a small Transformer, its first gradients, its parameters afterwards
//! (`tests/golden/transformer.py` made the values).

mod device;

use device::gpu_of_hardware;
use pollster::block_on;
use seqloom::cpu::{Cpu, Mode};
use seqloom::device::Device;
use seqloom::models::Vocabulary;
use seqloom::models::transformer::Transformer;
use seqloom::network::Network;
use seqloom::plan::{Plan, padded};
use seqloom::recipe::Recipe;
use seqloom::tensor::{Tensor, Type};
use seqloom::text::batch::{BatchPlan, Batches, Buckets, Example};
use seqloom::train::{Metrics, Planned, Trainer};
use std::collections::BTreeMap;

const RECIPE: &str = r#"
[model]
d_model = 32
heads = 4
encoder_layers = 2
decoder_layers = 2
ffn = 64
dropout = 0.0
[data]
builtin = "phrasebook"
[train]
lr = 5e-3
warmup = 4
weight_decay = 0.01
clip = 1.0
label_smoothing = 0.1
"#;

type Tensors = BTreeMap<String, Tensor>;

fn golden() -> Tensors {
    let bytes = include_bytes!("golden/transformer.safetensors");
    let file = safetensors::SafeTensors::deserialize(bytes).expect("a safetensors file");
    let tensor = |(name, view): (String, safetensors::tensor::TensorView)| {
        let dims = view.shape().to_vec();
        let ty = match view.dtype() {
            safetensors::Dtype::F32 => Type::f32(dims),
            safetensors::Dtype::U32 => Type::u32(dims),
            other => panic!("{name} is {other:?}"),
        };
        (name, Tensor::from_bytes(&ty, view.data()))
    };
    file.tensors().into_iter().map(tensor).collect()
}

/// The stored batches as examples, four to a batch.
fn examples(golden: &Tensors) -> Vec<Example> {
    let mut all = vec![];
    for k in 0..10 {
        let get = |name: &str| golden[&format!("batch.{k}.{name}")].as_u32();
        for r in 0..4 {
            let source = &get("source")[r * 9..][..get("source_lengths")[r] as usize - 1];
            let target = &get("target_in")[r * 8 + 1..][..get("target_lengths")[r] as usize - 1];
            all.push(Example::marked(source.into(), target.into()));
        }
    }
    all
}

fn trainer(device: Device, golden: &Tensors, binding: u64) -> Trainer {
    let recipe = Recipe::parse("golden", RECIPE, &[]).expect("a recipe");
    let examples = examples(golden);
    let buckets = Buckets::choose(&examples, 0, 4, 1).expect("buckets");
    let batches = Batches::new(buckets, examples).expect("batches");
    let model = Transformer::new(&recipe.model, 37);
    let network = Network::with_binding(device, model, 16, true, binding).expect("a network");
    let mut trainer = block_on(Trainer::new(network, recipe, batches.clone(), batches)).expect("a trainer");
    let named = |prefix: &str| -> Vec<(String, Tensor)> {
        golden.iter().filter_map(|(n, t)| Some((n.strip_prefix(prefix)?.to_string(), t.clone()))).collect()
    };
    trainer.network.write_parameters("golden", &named("init.")).expect("the stored parameters fit");
    trainer
}

fn close(what: &str, have: &Tensor, want: &Tensor, bound: f64) {
    for (i, (have, want)) in have.as_f32().iter().zip(want.as_f32()).enumerate() {
        assert!(((have - want).abs() as f64) <= bound, "{what}[{i}]: {have}, PyTorch {want}, bound {bound}");
    }
}

fn agrees_with_pytorch(device: Device, binding: u64) {
    let golden = golden();
    let steps: serde_json::Value = serde_json::from_str(include_str!("golden/transformer.json")).expect("JSON");
    let mut trainer = trainer(device, &golden, binding);
    for k in 0..10 {
        let plan = BatchPlan { bucket: 0, examples: (4 * k..4 * k + 4).collect() };
        block_on(trainer.step_on(std::slice::from_ref(&plan))).expect("a step");
        let have = block_on(trainer.drain()).expect("finite").remove(0);
        let want = |name: &str| steps["steps"][k][name].as_f64().expect("a number");
        for (name, have) in [("loss", have.loss), ("nll", have.nll), ("kl", have.kl), ("grad_norm", have.grad_norm)] {
            let relative = ((have - want(name)) / want(name)).abs();
            println!("step {} {name}: {have:.7}, relative difference {relative:.1e}", k + 1);
            assert!(relative <= 1e-5, "step {} {name}: {have}, PyTorch {}", k + 1, want(name));
        }
        assert!((have.lr - want("lr")).abs() <= 1e-9);
        assert_eq!(have.tokens as f64, want("tokens"));
        if k == 0 {
            let mut worst: f64 = 0.0;
            for (name, gradient) in block_on(trainer.read_gradients()).expect("gradients") {
                let want = &golden[&format!("grad.{name}")];
                let largest = want.as_f32().iter().fold(0f64, |a, g| a.max(g.abs() as f64));
                // The key projection's bias shifts all scores of a row alike: its exact gradient is zero, and what
                // both sides hold is roundoff.
                let bound = if name.ends_with("k_proj.bias") { 1e-7 } else { 1e-5 * largest };
                close(&name, &gradient, want, bound);
                if !name.ends_with("k_proj.bias") {
                    let apart = gradient.as_f32().iter().zip(want.as_f32()).map(|(a, b)| (a - b).abs() as f64);
                    worst = apart.fold(worst, |a, d| a.max(d / largest));
                }
            }
            println!("first gradients: largest difference {worst:.1e} of a tensor's largest element");
        }
    }
    for (name, value) in block_on(trainer.network.read_parameters()).expect("parameters") {
        // Adam makes full steps of that roundoff.
        if !name.ends_with("k_proj.bias") {
            close(&name, &value, &golden[&format!("final.{name}")], 5e-5);
        }
    }
}

fn gpu() -> Device {
    Device::Gpu(Box::new(device::open()))
}

#[test]
fn gpu_agrees_with_pytorch() {
    agrees_with_pytorch(gpu(), 128 << 20);
}

#[test]
fn kernels_of_hardware_agree_with_pytorch() {
    agrees_with_pytorch(gpu_of_hardware(), 128 << 20);
}

#[test]
fn fast_cpu_agrees_with_pytorch() {
    agrees_with_pytorch(Device::cpu(), 128 << 20);
}

#[test]
fn definitions_agree_with_pytorch() {
    agrees_with_pytorch(Device::Cpu(Cpu::new(Mode::Definition)), 128 << 20);
}

/// Parameters that take more than one flat buffer, as those of a large model do.
#[test]
fn many_flat_buffers_agree_with_pytorch() {
    agrees_with_pytorch(gpu(), 16 << 10);
    agrees_with_pytorch(Device::cpu(), 16 << 10);
}

/// With vocabularies of their own the two sides have embeddings of their own, and tying them leaves the target's to the
/// output: its gradient is the sum of those that two matrices of the same values would get.
#[test]
fn separate_vocabularies_tie_the_target_to_the_output() {
    let golden = golden();
    let first = |vocabulary: Vocabulary, tied: bool, change: &dyn Fn(&mut Tensors)| {
        let set = [format!("model.tie_embeddings={tied}")];
        let recipe = Recipe::parse("separate", RECIPE, &set).expect("a recipe");
        let examples = examples(&golden);
        let batches = Batches::new(Buckets::choose(&examples, 0, 4, 1).expect("buckets"), examples).expect("batches");
        let model = Transformer::new(&recipe.model, vocabulary);
        let network = Network::new(Device::Cpu(Cpu::new(Mode::Definition)), model, 16, true).expect("a network");
        let mut trainer = block_on(Trainer::new(network, recipe, batches.clone(), batches)).expect("a trainer");
        let mut parameters: Tensors =
            block_on(trainer.network.read_parameters()).expect("parameters").into_iter().collect();
        change(&mut parameters);
        let parameters: Vec<_> = parameters.into_iter().collect();
        trainer.network.write_parameters("changed", &parameters).expect("they fit");
        block_on(trainer.step_on(&[BatchPlan { bucket: 0, examples: (0..4).collect() }])).expect("a step");
        let loss = block_on(trainer.drain()).expect("finite")[0].loss;
        let gradients: Tensors = block_on(trainer.read_gradients()).expect("gradients").into_iter().collect();
        (loss, gradients)
    };
    let [source, target, output] =
        ["model.encoder.embed_tokens.weight", "model.decoder.embed_tokens.weight", "lm_head.weight"];
    let (loss, untied) = first(Vocabulary::Shared(37), false, &|parameters| {
        let embedding = parameters[target].clone();
        parameters.insert(output.into(), embedding);
    });
    // Thirteen more tokens, which no source has; the rows of the others start from the same numbers.
    let sizes = Vocabulary::Separate { source: 50, target: 37 };
    let (separate_loss, separate) = first(sizes, true, &|_| {});
    assert_eq!(separate_loss, loss);
    assert_eq!(separate.keys().filter(|name| !name.contains("layers")).collect::<Vec<_>>(), [target, source]);
    let (known, unknown) = separate[source].as_f32().split_at(37 * 32);
    assert_eq!((known, unknown), (untied[source].as_f32(), &[0.0; 13 * 32][..]));
    let sum = untied[target].as_f32().iter().zip(untied[output].as_f32()).map(|(a, b)| a + b).collect();
    close(target, &separate[target], &Tensor::f32([37, 32], sum), 1e-7);
}

/// Buckets are padded to multiples of four, and the table of positions must hold them.
#[test]
fn the_longest_pair_of_any_max_length_trains() {
    for (longest, kind) in (5..9).flat_map(|n| ["sinusoidal", "learned", "rotary"].map(|kind| (n, kind))) {
        let kind = format!("model.positions={kind}");
        let keys = [format!("data.max_length={longest}"), "decode.max_length=3".into(), kind];
        let recipe = Recipe::parse("longest", RECIPE, &keys).expect("a recipe");
        let side: Vec<u32> = (0..longest as u32 - 1).map(|i| 4 + i).collect();
        let examples = vec![Example::marked(side.clone(), side); 3];
        let buckets = Buckets::choose(&examples, 64, 0, 4).expect("buckets");
        let batches = Batches::new(buckets, examples).expect("batches");
        let model = Transformer::new(&recipe.model, 37);
        let positions = seqloom::network::positions(&recipe, 1);
        let network = Network::new(Device::cpu(), model, positions, true).expect("a network");
        let mut trainer = block_on(Trainer::new(network, recipe, batches.clone(), batches)).expect("a trainer");
        block_on(trainer.step()).expect("a step");
        assert!(block_on(trainer.drain()).expect("finite")[0].loss.is_finite());
    }
}

/// A gradient that is not finite stops every update from then on, and says at which step.
#[test]
fn nothing_is_updated_after_a_gradient_that_is_not_finite() {
    for device in [gpu(), Device::cpu()] {
        let golden = golden();
        let mut trainer = trainer(device, &golden, 128 << 20);
        let name = "model.encoder.layers.0.fc1.bias";
        let spoil = |mut tensors: Vec<(String, Tensor)>, value: f32| {
            tensors.iter_mut().find(|(n, _)| n == name).expect("a bias").1.as_f32_mut()[0] = value;
            tensors
        };
        let before = spoil(block_on(trainer.network.read_parameters()).expect("parameters"), f32::NAN);
        trainer.network.write_parameters("spoilt", &before).expect("they fit");
        let plan = BatchPlan { bucket: 0, examples: (0..4).collect() };
        block_on(trainer.step_on(std::slice::from_ref(&plan))).expect("a step");
        // Even when the next gradient would be finite.
        let mended = spoil(before.clone(), 0.0);
        trainer.network.write_parameters("mended", &mended).expect("they fit");
        block_on(trainer.step_on(std::slice::from_ref(&plan))).expect("a step");
        let message = block_on(trainer.drain()).expect_err("a gradient is not finite").to_string();
        assert!(message.starts_with("step 1: the gradient is not finite"), "{message}");
        let after = block_on(trainer.network.read_parameters()).expect("parameters");
        assert_eq!(after, mended);
    }
}

/// A trainer on the first 32 stored pairs, in batches of `rows`, up to `accumulate` of them a step.
fn accumulating(device: Device, golden: &Tensors, rows: usize, accumulate: usize) -> Trainer {
    accumulating_with(device, golden, rows, &[format!("train.accumulate={accumulate}")])
}

fn accumulating_with(device: Device, golden: &Tensors, rows: usize, set: &[String]) -> Trainer {
    let recipe = Recipe::parse("golden", RECIPE, set).expect("a recipe");
    let examples = examples(golden)[..32].to_vec();
    let buckets = Buckets::choose(&examples, 0, rows, 1).expect("buckets");
    let batches = Batches::new(buckets, examples).expect("batches");
    let network = Network::new(device, Transformer::new(&recipe.model, 37), 16, true).expect("a network");
    let mut trainer = block_on(Trainer::new(network, recipe, batches.clone(), batches)).expect("a trainer");
    start(&mut trainer, golden);
    trainer
}

fn start(trainer: &mut Trainer, golden: &Tensors) {
    let init = golden.iter().filter_map(|(n, t)| Some((n.strip_prefix("init.")?.to_string(), t.clone())));
    trainer.network.write_parameters("golden", &init.collect::<Vec<_>>()).expect("the stored parameters fit");
}

/// A step over pairs that are cut into batches of `rows`.
fn step_over(trainer: &mut Trainer, pairs: std::ops::Range<usize>, rows: usize) -> (Metrics, Vec<(String, Tensor)>) {
    let examples: Vec<usize> = pairs.collect();
    let plan = |examples: &[usize]| BatchPlan { bucket: 0, examples: examples.into() };
    block_on(trainer.step_on(&examples.chunks(rows).map(plan).collect::<Vec<_>>())).expect("a step");
    let metrics = block_on(trainer.drain()).expect("finite").remove(0);
    (metrics, block_on(trainer.read_gradients()).expect("gradients"))
}

fn norm(x: impl Iterator<Item = f64>) -> f64 {
    x.map(|x| x * x).sum::<f64>().sqrt()
}

/// One batch of 32 and four of 8 give the same step: the loss is the mean over the tokens of all of them, however
/// unequally the batches share these.
fn batches_of_a_step_add_up(device: fn() -> Device) {
    let golden = golden();
    for pairs in [0..32, 5..29, 0..20, 30..32] {
        let (whole, want) = step_over(&mut accumulating(device(), &golden, 32, 1), pairs.clone(), 32);
        let mut trainer = accumulating(device(), &golden, 8, 4);
        let (sum, have) = step_over(&mut trainer, pairs.clone(), 8);
        assert_eq!((sum.step, sum.tokens, sum.lr), (whole.step, whole.tokens, whole.lr));
        for (name, have, want) in
            [("loss", sum.loss, whole.loss), ("nll", sum.nll, whole.nll), ("norm", sum.grad_norm, whole.grad_norm)]
        {
            assert!((have - want).abs() <= 1e-6 * want, "{pairs:?}, {name}: {have}, in one batch {want}");
        }
        let mut worst: f64 = 0.0;
        for ((name, have), (_, want)) in have.iter().zip(&want) {
            let (have, want) = (have.as_f32(), want.as_f32());
            let apart = norm(have.iter().zip(want).map(|(a, b)| *a as f64 - *b as f64));
            // Zero but for roundoff, see above.
            let bound = if name.ends_with("k_proj.bias") { 1e-7 } else { 1e-6 * norm(want.iter().map(|b| *b as f64)) };
            assert!(apart <= bound, "{pairs:?}, {name}: {apart:e}, at most {bound:e}");
            worst = worst.max(1e-6 * apart / bound);
        }
        println!("{pairs:?}: gradients differ by at most {worst:.1e} of a tensor's norm");
        // The next step's gradients replace these.
        start(&mut trainer, &golden);
        let (_, again) = step_over(&mut trainer, pairs, 8);
        assert!(again == have, "the second step's gradients hold the first's");
    }
}

#[test]
fn batches_of_a_step_add_up_on_a_gpu() {
    batches_of_a_step_add_up(gpu);
}

#[test]
fn batches_of_a_step_add_up_on_the_cpu() {
    batches_of_a_step_add_up(Device::cpu);
    batches_of_a_step_add_up(|| Device::Cpu(Cpu::new(Mode::Definition)));
}

/// One batch twice in a step: each time with masks of its own, which no step before or after it has.
#[test]
fn dropout_differs_between_the_batches_of_a_step() {
    let golden = golden();
    for device in [gpu as fn() -> Device, Device::cpu] {
        let trainer = || {
            let set = ["train.accumulate=2", "model.dropout=0.3"].map(String::from);
            accumulating_with(device(), &golden, 8, &set)
        };
        let step = |trainer: &mut Trainer, times: usize| {
            start(trainer, &golden);
            let plan = BatchPlan { bucket: 0, examples: (0..8).collect() };
            block_on(trainer.step_on(&vec![plan; times])).expect("a step");
            let loss = block_on(trainer.drain()).expect("finite").remove(0).loss;
            (loss, block_on(trainer.read_gradients()).expect("gradients"))
        };
        let ((first, once), mut other) = (step(&mut trainer(), 1), trainer());
        let (mean, twice) = step(&mut other, 2);
        let (next, _) = step(&mut other, 1);
        // The loss is the mean over the tokens of both.
        let losses = [first, 2.0 * mean - first, next];
        println!("losses of three masks: {losses:?}");
        for (a, b) in [(0, 1), (1, 2), (0, 2)] {
            assert!((losses[a] - losses[b]).abs() > 1e-3, "{losses:?}");
        }
        for ((name, once), (_, twice)) in once.iter().zip(&twice) {
            let (once, twice) = (once.as_f32(), twice.as_f32());
            let apart = norm(once.iter().zip(twice).map(|(a, b)| *a as f64 - *b as f64));
            assert!(apart > 0.05 * norm(once.iter().map(|a| *a as f64)), "{name}: {apart:e}");
        }
    }
}

/// Adding up takes a dispatch per gradient and no more memory; a step of one batch does without.
#[test]
fn adding_up_is_planned_in_place() {
    let golden = golden();
    let plan = |accumulate| {
        let trainer = accumulating(gpu(), &golden, 8, accumulate);
        let Device::Gpu(gpu) = &trainer.network.device else { unreachable!("a GPU was asked for") };
        (trainer.network.parameters.entries.len(), gpu.plan(trainer.step_programs(0)[0]).clone())
    };
    let ((parameters, one), (_, several)) = (plan(1), plan(4));
    let count = |plan: &Plan, op: &str| plan.passes.iter().filter(|p| p.op == op).count();
    // A loss is one element, which its kernel does not write behind other numbers: it is copied.
    assert_eq!([count(&one, "accumulate"), count(&one, "copy")], [0, 2]);
    assert_eq!([count(&several, "accumulate"), count(&several, "copy")], [parameters + 2, 0]);
    assert_eq!(several.passes.len(), one.passes.len() + parameters);
    let (one, several) = (one.slot_bytes(), several.slot_bytes());
    println!("activations: {one} bytes, {several} where a step has several batches");
    assert!(several as f64 <= 1.1 * one as f64, "{one} bytes become {several}");
}

/// The footprint of training is what its buffers take: one set for the values between kernels of all programs.
#[test]
fn the_footprint_is_that_of_the_buffers() {
    let golden = golden();
    let recipe = Recipe::parse("golden", RECIPE, &[]).expect("a recipe");
    let examples = examples(&golden);
    let batches = Batches::new(Buckets::choose(&examples, 0, 8, 3).expect("buckets"), examples).expect("batches");
    let network = Network::new(gpu(), Transformer::new(&recipe.model, 37), 16, true).expect("a network");
    let planned = Planned::new(network, recipe, batches.clone(), batches).expect("plans");
    let footprint = planned.footprint();
    let trainer = block_on(planned.load()).expect("a trainer");
    let Device::Gpu(gpu) = &trainer.network.device else { unreachable!("a GPU was asked for") };
    let shapes = trainer.batches().buckets().shapes().len();
    assert!(shapes > 1, "one shape shares nothing");
    assert_eq!(footprint.programs.count, 2 * shapes + 1);

    let plans: Vec<&Plan> = (0..footprint.programs.count).map(|program| gpu.plan(program)).collect();
    let slots = plans.iter().map(|plan| plan.slot_bytes());
    let activations = footprint.programs.activations;
    println!("activations: {activations} bytes shared, {} each its own", slots.clone().sum::<usize>());
    assert!((slots.clone().max().expect("a plan")..slots.sum()).contains(&activations), "{activations}");
    let largest = plans.iter().flat_map(|plan| &plan.passes).flat_map(|pass| &pass.bindings).map(|b| b.bytes).max();
    assert_eq!(Some(footprint.programs.largest.1), largest);

    let elements: usize = trainer.network.parameters.shards.iter().map(|shard| shard.elements).sum();
    let f = &footprint;
    assert_eq!([f.parameters, f.gradients, f.moments], [4 * elements, 4 * elements, 8 * elements]);
    let resident: usize = trainer.network.memory.buffers().map(|(_, ty)| padded(ty.bytes())).sum();
    let inputs = plans.iter().flat_map(|plan| plan.inputs.iter().map(|v| padded(plan.graph.ty(*v).bytes())));
    assert_eq!(f.total(), resident + activations + inputs.sum::<usize>());
}

/// The last step of an epoch has the batches that are left.
#[test]
fn a_step_does_not_cross_an_epoch() {
    let golden = golden();
    // 32 pairs in 7 batches, 3 to a step.
    let mut trainer = accumulating(Device::cpu(), &golden, 5, 3);
    trainer.recipe.train.epochs = 2;
    assert_eq!(trainer.steps(), 6);
    let all: u32 = examples(&golden)[..32].iter().map(|e| e.lengths().1 as u32).sum();
    let mut tokens = vec![];
    for (epoch, batch) in [(0, 3), (0, 6), (1, 0), (1, 3), (1, 6), (2, 0)] {
        block_on(trainer.step()).expect("a step");
        assert_eq!((trainer.progress.epoch, trainer.progress.batch), (epoch, batch));
        tokens.push(block_on(trainer.drain()).expect("finite").remove(0).tokens);
    }
    assert_eq!([&tokens[..3], &tokens[3..]].map(|epoch| epoch.iter().sum::<u32>()), [all; 2]);
    assert_eq!(trainer.progress.tokens, 2 * all as u64);
    assert!(trainer.is_finished());
}
