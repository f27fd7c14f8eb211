//! Models that read characters, or words by their characters, through a CNN: they learn, alike on both executors, they go on where they were left, bit for bit,
//! and what they write of a line is the line's alone.

mod device;

use pollster::block_on;
use seqloom::case::Draw;
use seqloom::decode::{Decoder, Translation, Written};
use seqloom::device::Device;
use seqloom::models::Architecture;
use seqloom::network::Network;
use seqloom::parameters::Init;
use seqloom::recipe::Recipe;
use seqloom::tensor::Tensor;
use seqloom::text::batch::{Batches, Buckets, Example};
use seqloom::text::lexicon::Lexicon;
use seqloom::train::{Metrics, Trainer};
use std::collections::HashSet;

const VOCABULARY: usize = 31;
const POSITIONS: usize = 40;
/// Words that the vocabulary lacks.
const BEYOND: [&str; 3] = ["zebra", "überall", "extraordinarily-long-and-longer"];

const TRANSFORMER: &str = "model.kind = \"transformer\"\nmodel.d_model = 32\nmodel.heads = 2\nmodel.encoder_layers = 1\n\
                           model.decoder_layers = 1\nmodel.ffn = 48\n";
const SEQ2SEQ: &str = "model.kind = \"seq2seq\"\nmodel.hidden = 24\nmodel.embedding = 20\n";
const CNN: &str = "model.char_cnn = { widths = [1, 2, 3, 5], filters = 4, highway = 1, embedding = 8 }\n";

/// One vector a character, and one a word.
const CNNS: [&str; 2] =
    [CNN, "model.char_cnn = { widths = [1, 2, 3, 5], filters = 4, embedding = 8, pool = \"word\" }\n"];

/// Both models with both.
fn models() -> Vec<String> {
    [TRANSFORMER, SEQ2SEQ].iter().flat_map(|model| CNNS.map(|cnn| format!("{model}{cnn}"))).collect()
}

/// Words of 1 to 9 letters, no two alike.
fn words() -> Vec<String> {
    let mut draw = Draw::new(6);
    let mut word = |i: usize| -> String {
        let letters = (0..i % 9).map(|_| (b'a' + draw.below(26) as u8) as char);
        letters.chain([(b'a' + (i % 26) as u8) as char]).collect()
    };
    (0..VOCABULARY).map(&mut word).collect()
}

fn gpu() -> Device {
    Device::Gpu(Box::new(device::open()))
}

fn recipe(model: &str) -> Recipe {
    let (kind, shared) = if model.contains("word") { ("word", false) } else { ("char", true) };
    let rest = "data.builtin = \"phrasebook\"\ntrain.batch_tokens = 300\ntrain.lr = 5e-3\ntrain.warmup = 5\n";
    Recipe::parse(
        "characters",
        &format!("{model}{rest}tokenizer.kind = \"{kind}\"\ntokenizer.shared = {shared}\n"),
        &[],
    )
    .expect("a recipe")
}

/// Those words, and some that no vocabulary has, whose numbers are from [`VOCABULARY`] on.
fn lexicon() -> Lexicon {
    let lexicon = Lexicon::new(words());
    for (i, word) in BEYOND.iter().enumerate() {
        assert_eq!(lexicon.number(word) as usize, VOCABULARY + i);
    }
    lexicon
}

/// The lines, of words that no vocabulary has, too, where the model reads words: each third one has one.
fn sources(lines: &[Vec<u32>], model: &str) -> Vec<Vec<u32>> {
    let mut lines = lines.to_vec();
    if model.contains("word") {
        lines.iter_mut().step_by(3).enumerate().for_each(|(i, line)| line[0] = (VOCABULARY + i % BEYOND.len()) as u32);
    }
    lines
}

/// Lines of 1 to `longest` characters.
fn lines(count: usize, longest: usize) -> Vec<Vec<u32>> {
    let mut draw = Draw::new(3);
    let mut line = || (0..1 + draw.below(longest)).map(|_| (4 + draw.below(VOCABULARY - 4)) as u32).collect();
    (0..count).map(|_| line()).collect()
}

fn trainer(device: Device, model: &str) -> Trainer {
    let recipe = recipe(model);
    let reversed = |source: &Vec<u32>| source.iter().rev().copied().collect();
    let lines = lines(80, 20);
    let pairs = sources(&lines, model).into_iter().zip(&lines);
    let examples: Vec<Example> = pairs.map(|(source, line)| Example::marked(source, reversed(line))).collect();
    let buckets = Buckets::choose(&examples, recipe.train.batch_tokens, 0, 3).expect("buckets");
    let batches = Batches::new(buckets, examples).expect("batches");
    let model = Architecture::new(&recipe.model, VOCABULARY);
    let mut network = Network::new(device, model, POSITIONS, true).expect("it fits");
    network.spell(Some(&lexicon()));
    block_on(Trainer::new(network, recipe, batches.clone(), batches)).expect("the shaders compile")
}

fn steps(trainer: &mut Trainer, count: usize) -> Vec<Metrics> {
    (0..count).for_each(|_| drop(block_on(trainer.step()).expect("a step")));
    block_on(trainer.drain()).expect("finite gradients")
}

#[test]
fn both_executors_learn_alike() {
    for model in &models() {
        let run = |device: Device| {
            let mut trainer = trainer(device, model);
            let before = block_on(trainer.network.read_parameters()).expect("parameters");
            let metrics = steps(&mut trainer, 20);
            let after = block_on(trainer.network.read_parameters()).expect("parameters");
            for ((name, before), (_, after)) in before.iter().zip(&after).filter(|((name, _), _)| name.contains("cnn"))
            {
                assert_ne!(before, after, "{name} has learned nothing");
            }
            (metrics, block_on(trainer.evaluate()).expect("an evaluation"))
        };
        let ((on_cpu, cpu), (on_gpu, gpu)) = (run(Device::cpu()), run(gpu()));
        for (c, g) in on_cpu.iter().zip(&on_gpu) {
            assert_eq!((c.step, c.tokens), (g.step, g.tokens));
            let difference = ((c.loss - g.loss) / c.loss).abs();
            assert!(difference <= 1e-4, "{model}, step {}: {} on the CPU, {} on the GPU", c.step, c.loss, g.loss);
        }
        assert_eq!((on_cpu.len(), on_gpu.len()), (20, 20));
        assert!(on_cpu[19].loss < on_cpu[0].loss, "{model}: nothing was learned");
        assert!(((cpu.nll - gpu.nll) / cpu.nll).abs() <= 1e-4, "{} on the CPU, {} on the GPU", cpu.nll, gpu.nll);
    }
}

#[test]
fn a_run_goes_on_bit_for_bit() {
    let devices = [Device::cpu as fn() -> Device, gpu, gpu, Device::cpu];
    for (device, model) in devices.into_iter().zip(&models()) {
        let mut whole = trainer(device(), model);
        let first = steps(&mut whole, 4);
        let parameters = block_on(whole.network.read_parameters()).expect("parameters");
        let moments = block_on(whole.read_moments()).expect("moments");
        let progress = whole.progress.clone();
        let mut later = trainer(device(), model);
        later.restore("a checkpoint", &parameters, &moments, progress).expect("it fits");
        let (rest, again) = (steps(&mut whole, 4), steps(&mut later, 4));
        let losses = |all: &[Metrics]| -> Vec<u64> { all.iter().map(|m| m.loss.to_bits()).collect() };
        assert_eq!(losses(&rest), losses(&again), "{model}");
        assert!(rest[3].loss != first[0].loss);
        let [have, want] = [later, whole].map(|t| block_on(t.network.read_parameters()).expect("parameters"));
        assert!(have == want, "{model}: the parameters differ");
    }
}

/// The encoder's table of tokens is gone; where it is the decoder's or the output's, too, that stays.
#[test]
fn the_cnn_takes_the_place_of_the_encoder_s_embedding() {
    let names = |model: &str, tied: bool| -> Vec<String> {
        let mut recipe = recipe(&format!("{model}{CNN}"));
        (recipe.model.tie_embeddings, recipe.model.embedding) = (tied, 24);
        let all = Architecture::new(&recipe.model, VOCABULARY).declarations(POSITIONS);
        let own = all.iter().filter(|d| d.dims.first() == Some(&VOCABULARY)).map(|d| d.name.clone());
        own.collect()
    };
    let cnn = "char_cnn.embedding.weight";
    assert_eq!(names(TRANSFORMER, true), [cnn, "model.shared.weight"]);
    assert_eq!(names(TRANSFORMER, false), [cnn, "model.decoder.embed_tokens.weight", "lm_head.weight"]);
    assert_eq!(names(SEQ2SEQ, true), [cnn, "embedding.weight"]);
    assert_eq!(names(SEQ2SEQ, false), [cnn, "decoder.embedding.weight", "decoder.output.weight"]);
}

/// A network with random weights, large enough for lines to differ.
fn network(device: Device, model: &str) -> Network {
    let mut recipe = recipe(model);
    recipe.model.tie_embeddings = false;
    let mut network =
        Network::new(device, Architecture::new(&recipe.model, VOCABULARY), POSITIONS, false).expect("it fits");
    let mut draw = Draw::new(7);
    let mut random = |dims: &[usize], init: Init| {
        let mut tensor = draw.tensor(dims);
        let (mean, deviation) = match (init, dims) {
            (Init::Constant(mean), _) => (mean, 0.2),
            (_, [_, rest @ ..]) => (0.0, 1.5 / (rest.iter().product::<usize>() as f32).sqrt()),
            (_, []) => unreachable!("a parameter has dimensions"),
        };
        tensor.as_f32_mut().iter_mut().for_each(|v| *v = mean + deviation * *v);
        tensor
    };
    let declarations = network.parameters.entries.iter().map(|e| &e.declaration);
    let tensors: Vec<(String, Tensor)> = declarations.map(|d| (d.name.clone(), random(&d.dims, d.init))).collect();
    network.write_parameters("random", &tensors).expect("they fit");
    network.spell(Some(&lexicon()));
    network
}

/// Alone, in threes, all at once and beside the longest: the same characters with the same probabilities, bit for bit.
fn a_line_is_its_own(device: Device, model: &str) {
    let mut network = network(device, model);
    let lines = sources(&lines(40, 30), model);
    let t = Translation { scores: true, ..Translation::greedy(None, 10) };
    let mut write = |members: &[usize]| -> Vec<Written> {
        let batch: Vec<Vec<u32>> = members.iter().map(|&i| lines[i].clone()).collect();
        let written = block_on(Decoder::new().translate(&mut network, &batch, &t)).expect("the device works");
        written.into_iter().map(|mut best| best.swap_remove(0)).collect()
    };
    let alone: Vec<Written> = (0..lines.len()).map(|i| write(&[i]).swap_remove(0)).collect();
    let different: HashSet<u64> = alone.iter().map(|w| w.log_probability.to_bits()).collect();
    assert!(different.len() > 35, "{model}: {} of {} lines differ", different.len(), lines.len());
    let longest = (0..lines.len()).max_by_key(|&i| lines[i].len()).expect("a line");
    let all: Vec<usize> = (0..lines.len()).collect();
    let beside = |i| vec![i, longest];
    for members in all.chunks(3).map(<[usize]>::to_vec).chain((0..5).map(beside)).chain([all.clone()]) {
        for (&i, together) in members.iter().zip(write(&members)) {
            assert_eq!(together.tokens, alone[i].tokens, "{model}: line {i} of {members:?}");
            let [have, want] = [&together, &alone[i]].map(|w| w.log_probability.to_bits());
            assert_eq!(have, want, "{model}: log-probability of line {i} of {members:?}");
        }
    }
}

#[test]
fn a_line_is_its_own_on_the_cpu() {
    models().iter().for_each(|model| a_line_is_its_own(Device::cpu(), model));
}

#[test]
fn a_line_is_its_own_on_a_gpu() {
    models().iter().for_each(|model| a_line_is_its_own(gpu(), model));
}
