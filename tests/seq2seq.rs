//! Recurrent encoders and decoders: losses and gradients against PyTorch (`tests/golden/seq2seq.py` made the values), and
//! decoding step by step against the pass over all positions.

mod device;

use device::{gpu, gpu_of_hardware};
use pollster::block_on;
use seqloom::attention::{Attention, Kind, Recorder, extents};
use seqloom::case::Draw;
use seqloom::cpu::{Cpu, Mode};
use seqloom::decode::{Decoder, End, Penalty, Sampling, Search, Translation, Written};
use seqloom::device::Device;
use seqloom::models::Vocabulary;
use seqloom::models::seq2seq::Seq2Seq;
use seqloom::network::Network;
use seqloom::recipe::{self, Recipe};
use seqloom::tensor::{Tensor, Type};
use seqloom::text::batch::{BatchPlan, Batches, Buckets, Example};
use seqloom::text::tokenizer::EOS;
use seqloom::train::Trainer;
use std::collections::{BTreeMap, HashMap, HashSet};

/// Tokens of the networks with random weights.
const VOCABULARY: usize = 61;
const POSITIONS: usize = 64;
/// Longest translation.
const LONGEST: usize = 12;

type Tensors = BTreeMap<String, Tensor>;

/// A model whose loss and gradients are stored.
struct Variant {
    name: String,
    recipe: Recipe,
    loss: f64,
    /// `init.NAME`, `grad.NAME`, `source`, `target` and `lengths`.
    tensors: Tensors,
}

fn variants() -> Vec<Variant> {
    let bytes = include_bytes!("golden/seq2seq.safetensors");
    let file = safetensors::SafeTensors::deserialize(bytes).expect("a safetensors file");
    let (_, header) = safetensors::SafeTensors::read_metadata(bytes).expect("a header");
    let metadata: &HashMap<String, String> = header.metadata().as_ref().expect("metadata");
    let mut names: Vec<&String> = metadata.keys().filter(|name| !name.contains('.')).collect();
    names.sort();
    let tensor = |view: safetensors::tensor::TensorView| {
        let dims = view.shape().to_vec();
        let ty = if view.dtype() == safetensors::Dtype::U32 { Type::u32(dims) } else { Type::f32(dims) };
        Tensor::from_bytes(&ty, view.data())
    };
    let variant = |name: &String| {
        let set: Vec<String> = metadata[name].split(' ').map(str::to_string).collect();
        let text = "[model]\nkind = \"seq2seq\"\ndropout = 0\n[train]\nclip = 0\n";
        let own = |(n, view): (String, _)| Some((n.strip_prefix(&format!("{name}."))?.to_string(), tensor(view)));
        Variant {
            name: name.clone(),
            recipe: Recipe::parse(name, text, &set).expect("a recipe"),
            loss: metadata[&format!("{name}.loss")].parse().expect("a number"),
            tensors: file.tensors().into_iter().filter_map(own).collect(),
        }
    };
    let variants: Vec<Variant> = names.into_iter().map(variant).collect();
    assert_eq!(variants.len(), 6);
    variants
}

fn trainer(device: Device, recipe: &Recipe, sizes: Vocabulary, examples: Vec<Example>, rows: usize) -> Trainer {
    let buckets = Buckets::choose(&examples, 0, rows, 1).expect("buckets");
    let batches = Batches::new(buckets, examples).expect("batches");
    let network = Network::new(device, Seq2Seq::new(&recipe.model, sizes), POSITIONS, true).expect("a network");
    block_on(Trainer::new(network, recipe.clone(), batches.clone(), batches)).expect("a trainer")
}

/// The stored pairs in a batch of `more` rows and of more positions than they need: the rest is empty.
fn agrees_with_pytorch(device: Device, v: &Variant, more: usize) {
    let [source, target] = ["source", "target"].map(|name| &v.tensors[name]);
    let rows = source.ty().dims[0];
    let lengths = v.tensors["lengths"].as_u32();
    let row = |t: &Tensor, r: usize, n: u32| t.as_u32()[r * t.ty().cols()..][..n as usize].to_vec();
    let mut examples: Vec<Example> = (0..rows)
        .map(|r| Example::unmarked(row(source, r, lengths[r]), row(target, r, lengths[rows + r] + 1)))
        .collect();
    examples.extend((0..more).map(|_| Example::unmarked(vec![4; 21], vec![5; 16])));
    let sizes = match v.recipe.tokenizer.shared {
        true => Vocabulary::Shared(19),
        false => Vocabulary::Separate { source: 19, target: 17 },
    };
    let mut trainer = trainer(device, &v.recipe, sizes, examples, rows + more);
    let init = v.tensors.iter().filter_map(|(n, t)| Some((n.strip_prefix("init.")?.to_string(), t.clone())));
    trainer.network.write_parameters("golden", &init.collect::<Vec<_>>()).expect("the stored parameters fit");
    block_on(trainer.step_on(&[BatchPlan { bucket: 0, examples: (0..rows).collect() }])).expect("a step");
    let loss = block_on(trainer.drain()).expect("finite")[0].loss;
    let relative = ((loss - v.loss) / v.loss).abs();
    assert!(relative <= 1e-5, "{}: the loss is {loss}, PyTorch {}", v.name, v.loss);
    let gradients = block_on(trainer.read_gradients()).expect("gradients");
    assert_eq!(gradients.len(), v.tensors.keys().filter(|name| name.starts_with("grad.")).count());
    let mut worst: f64 = 0.0;
    for (name, have) in gradients {
        let want = v.tensors[&format!("grad.{name}")].as_f32();
        let largest = want.iter().fold(0f64, |a, g| a.max(g.abs() as f64));
        for (i, (have, want)) in have.as_f32().iter().zip(want).enumerate() {
            let apart = (*have as f64 - *want as f64).abs() / largest;
            assert!(apart <= 1e-4, "{}, {name}[{i}]: {have}, PyTorch {want}, the largest is {largest}", v.name);
            worst = worst.max(apart);
        }
    }
    println!("{}: loss apart by {relative:.1e}, gradients by {worst:.1e} of a tensor's largest element", v.name);
}

fn all_agree_with_pytorch(device: impl Fn() -> Device) {
    for v in variants() {
        for more in [0, 4] {
            agrees_with_pytorch(device(), &v, more);
        }
    }
}

#[test]
fn gpu_agrees_with_pytorch() {
    all_agree_with_pytorch(gpu);
}

#[test]
fn kernels_of_hardware_agree_with_pytorch() {
    all_agree_with_pytorch(gpu_of_hardware);
}

#[test]
fn fast_cpu_agrees_with_pytorch() {
    all_agree_with_pytorch(Device::cpu);
}

#[test]
fn definitions_agree_with_pytorch() {
    all_agree_with_pytorch(|| Device::Cpu(Cpu::new(Mode::Definition)));
}

/// A network of a variant's kind with weights so large that translations differ from line to line and have an end.
fn random(device: Device, v: &Variant) -> Network {
    let sizes = recipe::Model { hidden: 20, embedding: 20, ..v.recipe.model.clone() };
    let mut network = Network::new(device, Seq2Seq::new(&sizes, VOCABULARY), POSITIONS, false).expect("a network");
    let mut draw = Draw::new(7);
    let mut random = |dims: &[usize], name: &str| {
        let mut tensor = draw.tensor(dims);
        let scale = match dims.len() {
            2 if name.contains("embedding") || name.contains("output") => 1.5,
            2 => 2.5 / (dims[1] as f32).sqrt(),
            _ => 0.3,
        };
        tensor.as_f32_mut().iter_mut().for_each(|v| *v *= scale);
        if dims[0] == VOCABULARY {
            // Some lines come to an end.
            tensor.as_f32_mut()[EOS as usize * dims[1]..][..dims[1]].iter_mut().for_each(|v| *v *= 1.3);
        }
        tensor
    };
    let declarations = network.parameters.entries.iter().map(|e| &e.declaration);
    let tensors: Vec<_> = declarations.map(|d| (d.name.clone(), random(&d.dims, &d.name))).collect();
    network.write_parameters("random", &tensors).expect("they fit");
    network
}

/// Lines of 1 to 40 tokens, one of each length where there are forty.
fn lines(count: usize) -> Vec<Vec<u32>> {
    let mut draw = Draw::new(3);
    let mut line = |i: usize| (0..1 + i * 17 % 40).map(|_| (4 + draw.below(VOCABULARY - 4)) as u32).collect();
    (0..count).map(&mut line).collect()
}

fn greedy(longest: usize) -> Translation {
    Translation { scores: true, ..Translation::greedy(None, longest) }
}

fn write(network: &mut Network, lines: &[Vec<u32>], t: &Translation) -> Vec<Vec<Written>> {
    block_on(Decoder::new().translate(network, lines, t)).expect("the device works")
}

/// Programs of a recorder and of the decoders, each made when it is needed.
struct Passes {
    network: Network,
    programs: usize,
}

impl Passes {
    fn new(device: Device, v: &Variant) -> Passes {
        Passes { network: random(device, v), programs: 0 }
    }

    /// The attention and the logits (T, V) of the pass over all positions.
    fn full(&mut self, source: &[u32], written: &[u32]) -> (Attention, Tensor) {
        let attention = block_on(Recorder::default().record(&mut self.network, source, written)).expect("it works");
        self.programs += 1;
        let logits = block_on(self.network.device.read(self.programs - 1, "logits")).expect("it works");
        (attention, logits)
    }

    /// The logits behind the first `longest` - 1 tokens of a line's translation, which has as many: of the last step.
    fn cached(&mut self, source: &[u32], longest: usize) -> Tensor {
        write(&mut self.network, &[source.to_vec()], &Translation::greedy(None, longest));
        // One encodes, one steps.
        self.programs += 2;
        block_on(self.network.device.read(self.programs - 1, "logits")).expect("it works")
    }
}

/// The logarithm of the probability of each token.
fn log_softmax(logits: &[f32]) -> Vec<f64> {
    let largest = logits.iter().fold(f64::NEG_INFINITY, |a, l| a.max(*l as f64));
    let sum: f64 = logits.iter().map(|l| (*l as f64 - largest).exp()).sum();
    logits.iter().map(|l| *l as f64 - largest - sum.ln()).collect()
}

/// Logits, what is written, and how likely each hypothesis of a beam is: what the pass over all positions says of it.
fn remembers_what_it_would_compute(device: fn() -> Device, v: &Variant) {
    let (mut p, mut network) = (Passes::new(device(), v), random(device(), v));
    let mut worst: f64 = 0.0;
    for line in [&lines(40)[7], &lines(40)[31]] {
        let line_alone = std::slice::from_ref(line);
        let written = write(&mut network, line_alone, &greedy(LONGEST)).remove(0).remove(0).tokens;
        let (attention, full) = p.full(line, &written);
        assert_eq!(attention.next[..written.len()], written, "{}", v.name);
        assert!(written.len() == LONGEST || attention.next[written.len()] == EOS);
        for position in (0..written.len()).step_by(3) {
            let cached = p.cached(line, position + 1);
            let full = &full.as_f32()[position * VOCABULARY..][..VOCABULARY];
            let largest = full.iter().fold(0f32, |a, l| a.max(l.abs()));
            for (cached, full) in cached.as_f32().iter().zip(full) {
                let apart = ((cached - full) / largest).abs() as f64;
                assert!(apart <= 1e-4, "{}, position {position}: {cached} step by step, {full} at once", v.name);
                worst = worst.max(apart);
            }
        }
        let beam = Translation { search: Search::Beam(4, Penalty::Gnmt(0.0)), best: 4, ..greedy(LONGEST) };
        let hypotheses = write(&mut network, line_alone, &beam).remove(0);
        assert_eq!(hypotheses.len(), 4);
        for w in hypotheses {
            let (_, full) = p.full(line, &w.tokens);
            let end = (w.end == End::Token).then_some(EOS);
            let tokens = w.tokens.iter().copied().chain(end).zip(full.as_f32().chunks(VOCABULARY));
            let likely: f64 = tokens.map(|(token, logits)| log_softmax(logits)[token as usize]).sum();
            let apart = (w.log_probability - likely).abs();
            assert!(apart <= 1e-3, "{}: {} in a beam, {likely} at once", v.name, w.log_probability);
        }
    }
    println!("{}: logits step by step and at once: largest relative difference {worst:.1e}", v.name);
}

#[test]
fn decoding_step_by_step_is_the_pass_over_all_positions_on_the_cpu() {
    variants().iter().for_each(|v| remembers_what_it_would_compute(Device::cpu, v));
}

#[test]
fn decoding_step_by_step_is_the_pass_over_all_positions_on_a_gpu() {
    variants().iter().for_each(|v| remembers_what_it_would_compute(gpu, v));
}

/// Tokens and the bits of the likelihood of every line, whatever is decoded beside it.
fn translates_each_line_alone(device: Device, v: &Variant) {
    let mut network = random(device, v);
    let lines = lines(40);
    let sampling = Sampling { temperature: 1.1, top_k: 0, top_p: 1.0, min_p: 0.0, seed: 9 };
    let beam = Search::Beam(4, Penalty::Gnmt(0.6));
    let mut ended = 0;
    for (search, best) in [(Search::Greedy, 1), (Search::Sample(sampling), 1), (beam, 4)] {
        let t = Translation { search, best, ..greedy(LONGEST) };
        let mut decoder = Decoder::new();
        let mut decode = |members: &[usize]| {
            let batch: Vec<(u64, &[u32])> = members.iter().map(|&i| (i as u64, &lines[i][..])).collect();
            block_on(decoder.translate_numbered(&mut network, &batch, &t)).expect("the device works")
        };
        let all: Vec<usize> = (0..40).collect();
        let alone: Vec<Vec<Written>> = all.iter().map(|&i| decode(&[i]).remove(0)).collect();
        let different: HashSet<&[u32]> = alone.iter().map(|w| &w[0].tokens[..]).collect();
        let tokens: HashSet<u32> = alone.iter().flat_map(|w| w[0].tokens.iter().copied()).collect();
        // Without attention a decoder soon forgets what it began with.
        let (lines_apart, tokens_apart) = (different.len(), tokens.len());
        assert!(lines_apart > 7 && tokens_apart > 5, "{}, {search:?}: {lines_apart}, {tokens_apart}", v.name);
        ended += alone.iter().filter(|w| w[0].end == End::Token).count();
        let reversed: Vec<usize> = (0..40).rev().collect();
        let batches = all.chunks(3).step_by(3).map(<[usize]>::to_vec).chain([all.clone(), reversed, vec![5]]);
        for members in batches {
            for (&i, together) in members.iter().zip(decode(&members)) {
                let bits = |w: &[Written]| -> Vec<_> {
                    w.iter().map(|w| (w.tokens.clone(), w.log_probability.to_bits(), w.end)).collect()
                };
                assert_eq!(bits(&together), bits(&alone[i]), "{}, {search:?}: line {i} of {members:?}", v.name);
            }
        }
    }
    assert!((1..120).contains(&ended), "{}: {ended} of 120 lines end", v.name);
}

#[test]
fn a_line_is_translated_alike_in_every_batch_on_the_cpu() {
    variants().iter().for_each(|v| translates_each_line_alone(Device::cpu(), v));
}

#[test]
fn a_line_is_translated_alike_in_every_batch_on_a_gpu() {
    variants().iter().for_each(|v| translates_each_line_alone(gpu(), v));
}

#[test]
fn a_line_is_translated_alike_in_every_batch_by_the_kernels_of_hardware() {
    variants().iter().for_each(|v| translates_each_line_alone(gpu_of_hardware(), v));
}

/// One map, of the decoder's looks at the encoder; none where there are none.
fn has_its_attention(device: fn() -> Device) {
    for v in variants() {
        let mut p = Passes::new(device(), &v);
        let there = v.recipe.model.attention != recipe::Attention::None;
        let kinds: Vec<_> = extents(&p.network).iter().map(|e| (e.kind, e.layers, e.heads)).collect();
        assert_eq!(kinds, if there { vec![(Kind::Cross, 1, 1)] } else { vec![] }, "{}", v.name);
        // Rows share a program of 16 and one of 32 positions; one source has no token, one is cut.
        for (source, target) in [(0, 0), (3, 11), (15, 16), (20, 3), (POSITIONS + 5, 2)] {
            let source: Vec<u32> = lines(40).concat()[..source].to_vec();
            let (a, _) = p.full(&source, &vec![9; target]);
            assert_eq!((a.source.len(), a.target.len()), ((source.len() + 1).min(POSITIONS), target + 1));
            assert_eq!(a.maps.len(), usize::from(there));
            for map in &a.maps {
                assert_eq!((map.kind, map.layer, map.head, map.weights.len()), (Kind::Cross, 1, 1, target + 1));
                for row in &map.weights {
                    let sum: f64 = row.iter().map(|w| *w as f64).sum();
                    assert_eq!(row.len(), a.source.len());
                    assert!((sum - 1.0).abs() <= 1e-5 && row.iter().all(|w| *w >= 0.0), "{}: {row:?}", v.name);
                }
            }
            if there {
                // All of a row's weight is on its source: nothing is left for what is behind it.
                let all = block_on(p.network.device.read(p.programs - 1, "attention.weights")).expect("it works");
                let behind = all.as_f32().chunks(all.ty().cols()).flat_map(|row| &row[a.source.len()..]);
                assert!(behind.clone().all(|w| *w == 0.0));
            }
        }
    }
}

#[test]
fn attention_is_one_map_on_the_cpu() {
    has_its_attention(Device::cpu);
}

#[test]
fn attention_is_one_map_on_a_gpu() {
    has_its_attention(gpu);
}

/// Six steps with dropout on both executors: the same masks, the same losses.
#[test]
fn gpu_and_cpu_train_alike() {
    let reversed = |source: &[u32]| source.iter().take(9).rev().copied().collect();
    let examples: Vec<Example> =
        lines(24).iter().map(|s| Example::marked(s[..s.len().min(9)].to_vec(), reversed(s))).collect();
    for v in variants() {
        let set = ["model.dropout=0.2", "train.lr=1e-2", "train.warmup=2", "train.clip=1"].map(String::from);
        let mut recipe = Recipe::parse("alike", "[model]\nkind = \"seq2seq\"", &set).expect("a recipe");
        recipe.model = recipe::Model { dropout: recipe.model.dropout, ..v.recipe.model.clone() };
        let run = |device: Device| {
            let mut trainer = trainer(device, &recipe, VOCABULARY.into(), examples.clone(), 8);
            (0..6).for_each(|_| assert!(block_on(trainer.step()).expect("a step").is_empty()));
            block_on(trainer.drain()).expect("finite gradients")
        };
        let (cpu, gpu) = (run(Device::cpu()), run(gpu()));
        assert_eq!((cpu.len(), gpu.len()), (6, 6));
        for (c, g) in cpu.iter().zip(&gpu) {
            assert!(((c.loss - g.loss) / c.loss).abs() <= 1e-4, "{}, step {}: {c:?}, GPU {g:?}", v.name, c.step);
        }
        assert!(cpu[1..].iter().any(|m| m.loss < cpu[0].loss), "{}: nothing was learned", v.name);
    }
}
