//! The options of the Transformer against PyTorch: loss and gradients of one step of three small models
//! (`tests/golden/options.py` made the values), by every executor.

use pollster::block_on;
use safetensors::{Dtype, SafeTensors};
use seqloom::cpu::{Cpu, Mode};
use seqloom::device::Device;
use seqloom::gpu::{Gpu, Options, enumerate};
use seqloom::models::transformer::Transformer;
use seqloom::network::{Network, positions};
use seqloom::recipe::Recipe;
use seqloom::tensor::Tensor;
use seqloom::text::batch::{BatchPlan, Batches, Buckets, Example};
use seqloom::train::Trainer;
use std::collections::BTreeMap;

const RECIPE: &str = r#"
[model]
d_model = 8
heads = 2
encoder_layers = 2
decoder_layers = 2
ffn = 12
dropout = 0.0
[data]
builtin = "phrasebook"
max_length = 6
[decode]
max_length = 6
"#;
const VOCABULARY: usize = 13;

fn golden() -> BTreeMap<String, Tensor> {
    let file = SafeTensors::deserialize(include_bytes!("golden/options.safetensors")).expect("a safetensors file");
    let tensor = |(name, view): (String, safetensors::tensor::TensorView)| {
        let words = view.data().chunks_exact(4).map(|w| [w[0], w[1], w[2], w[3]]);
        let tensor = match view.dtype() {
            Dtype::F32 => Tensor::f32(view.shape(), words.map(f32::from_le_bytes).collect()),
            Dtype::U32 => Tensor::u32(view.shape(), words.map(u32::from_le_bytes).collect()),
            other => panic!("{name} is {other:?}"),
        };
        (name, tensor)
    };
    file.tensors().into_iter().map(tensor).collect()
}

/// The stored rows without special tokens.
fn examples(golden: &BTreeMap<String, Tensor>) -> Vec<Example> {
    let row = |name: &str, lengths: &str, r: usize, skip: usize| {
        let width = golden[name].ty().cols();
        golden[name].as_u32()[r * width + skip..][..golden[lengths].as_u32()[r] as usize - 1].to_vec()
    };
    let example = |r| Example::marked(row("source", "source_lengths", r, 0), row("target_in", "target_lengths", r, 1));
    (0..4).map(example).collect()
}

fn devices() -> [Device; 3] {
    let adapters = block_on(enumerate());
    let found = adapters.first().expect("this test needs a GPU or a software Vulkan driver; run scripts/test.sh");
    let gpu = block_on(Gpu::open(found, Options { portable: true, ..Options::default() })).expect("a device");
    [Device::cpu(), Device::Cpu(Cpu::new(Mode::Definition)), Device::Gpu(Box::new(gpu))]
}

fn agrees_with_pytorch(model: &str, options: [&str; 3]) {
    let golden = golden();
    let recipe = Recipe::parse("golden", RECIPE, &options.map(|key| format!("model.{key}"))).expect("a recipe");
    for (executor, device) in ["fast CPU path", "definition", "GPU"].into_iter().zip(devices()) {
        let examples = examples(&golden);
        let buckets = Buckets::choose(&examples, 0, 4, 1).expect("buckets");
        // Wider than the six tokens of the longest row, for which there are learned positions.
        assert_eq!(buckets.shapes()[0].source_length, 8);
        let batches = Batches::new(buckets, examples).expect("batches");
        let transformer = Transformer::new(&recipe.model, VOCABULARY);
        let network = Network::new(device, transformer, positions(&recipe, 1), true).expect("a network");
        let mut trainer = block_on(Trainer::new(network, recipe.clone(), batches.clone(), batches)).expect("a trainer");
        let names = trainer.network.parameters.entries.iter().map(|e| e.declaration.name.clone());
        let init: Vec<(String, Tensor)> = names.map(|n| (n.clone(), golden[&format!("init.{n}")].clone())).collect();
        trainer.network.write_parameters("golden", &init).expect("the stored parameters fit");
        block_on(trainer.step_on(&[BatchPlan { bucket: 0, examples: (0..4).collect() }])).expect("a step");
        let metrics = block_on(trainer.drain()).expect("finite").remove(0);
        for (name, have) in [("loss", metrics.loss), ("nll", metrics.nll)] {
            let want = golden[&format!("{model}.{name}")].as_f32()[0] as f64;
            assert!(((have - want) / want).abs() <= 1e-6, "{name} by {executor}: {have}, PyTorch {want}");
        }
        let mut gradients = block_on(trainer.read_gradients()).expect("gradients");
        gradients.sort_by(|a, b| a.0.cmp(&b.0));
        let flat = &golden[&format!("{model}.gradients")];
        let (mut offset, mut worst) = (0, 0f64);
        for (name, gradient) in gradients {
            let want = flat.range(offset, gradient.ty().elements());
            offset += gradient.ty().elements();
            let largest = want.as_f32().iter().fold(0f64, |a, g| a.max(g.abs() as f64));
            // Softmax ignores what is added to all scores of a row: the exact gradient of a key's bias is zero, unless
            // each key is turned by an angle of its own.
            let nothing = name.ends_with("k_proj.bias") && !(model == "rotary" && name.contains("self_attn"));
            assert!(nothing || largest > 1e-4, "the gradient of {name} is nothing");
            let bound = if nothing { 1e-7 } else { 1e-5 * largest };
            for (i, (have, want)) in gradient.as_f32().iter().zip(want.as_f32()).enumerate() {
                let apart = (have - want).abs() as f64;
                assert!(apart <= bound, "{name}[{i}] by {executor}: {have}, PyTorch {want}, bound {bound:e}");
                worst = if nothing { worst } else { worst.max(apart / largest) };
            }
        }
        assert_eq!(offset, flat.ty().elements(), "all gradients");
        println!("{model} by {executor}: gradients within {worst:.1e} of a tensor's largest element");
    }
}

#[test]
fn pre_norm_with_gelu_and_learned_positions() {
    agrees_with_pytorch("pre", ["norm=pre", "activation=gelu", "positions=learned"]);
}

#[test]
fn gelu_by_tanh_and_split_sinusoids() {
    agrees_with_pytorch("split", ["norm=post", "activation=gelu_new", "positions=sinusoidal_split"]);
}

#[test]
fn rotary_positions() {
    agrees_with_pytorch("rotary", ["norm=pre", "activation=relu", "positions=rotary"]);
}
