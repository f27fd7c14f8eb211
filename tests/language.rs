//! Language models: decoding with cached keys and values is the full forward pass, a line's text is its own, and a beam
//! finds what trying everything finds.

mod device;

use pollster::block_on;
use seqloom::case::Draw;
use seqloom::decode::{Decoder, End, Line, Options, Penalty, Rules, Sampling, Search, Written};
use seqloom::device::Device;
use seqloom::gpu;
use seqloom::graph::Graph;
use seqloom::models::transformer::Transformer;
use seqloom::network::Network;
use seqloom::op::Adapter;
use seqloom::plan::Plan;
use seqloom::recipe::{Activation, Model, ModelKind, Positions, Recipe};
use seqloom::tensor::Tensor;
use seqloom::text::batch::Batches;
use seqloom::train::Trainer;
use std::collections::HashSet;

const POSITIONS: usize = 32;

fn gpu(options: gpu::Options) -> Device {
    Device::Gpu(Box::new(device::with(options)))
}

/// Every device that decodes: the CPU, the kernels of this adapter, those of hardware.
fn devices() -> [Device; 3] {
    let adapter = Some(Adapter { software: false, subgroup: None });
    let hardware = gpu::Options { portable: true, adapter, ..gpu::Options::default() };
    [Device::cpu(), gpu(gpu::Options::default()), gpu(hardware)]
}

/// Models of every kind of position, with and without biases and with heads of sizes that are no multiple of four.
fn models() -> [Model; 3] {
    let base = Model { d_model: 24, heads: 3, layers: 2, ffn: 40, ..Recipe::of_kind(ModelKind::Gpt).model };
    [
        base.clone(),
        Model { positions: Positions::Rotary, heads: 2, bias: false, tie_embeddings: false, ..base.clone() },
        Model { positions: Positions::Sinusoidal, heads: 4, activation: Activation::Relu, ..base },
    ]
}

/// A network with random weights, large enough for texts that differ.
fn network(device: Device, model: &Model, vocabulary: usize) -> Network {
    let mut network = Network::new(device, Transformer::new(model, vocabulary), POSITIONS, false).expect("it fits");
    let mut draw = Draw::new(11);
    let mut random = |dims: &[usize], name: &str| {
        let mut tensor = draw.tensor(dims);
        let (mean, deviation) = match dims.len() {
            2 if name.contains("wpe") => (0.0, 0.3),
            2 => (0.0, 1.6 / (dims[1] as f32).sqrt()),
            _ if name.ends_with("weight") => (1.0, 0.2),
            _ => (0.0, 0.2),
        };
        tensor.as_f32_mut().iter_mut().for_each(|v| *v = mean + deviation * *v);
        tensor
    };
    let declarations = network.parameters.entries.iter().map(|e| &e.declaration);
    let tensors: Vec<_> = declarations.map(|d| (d.name.clone(), random(&d.dims, &d.name))).collect();
    network.write_parameters("random", &tensors).expect("they fit");
    network
}

fn options(search: Search, most: usize) -> Options {
    Options { search, rules: Rules::default(), most, end: None, scores: true, best: 1, slide: true }
}

fn lines(prompts: &[Vec<u32>]) -> Vec<Line> {
    let line = |(i, prompt): (usize, &Vec<u32>)| Line { source: vec![], prompt: prompt.clone(), number: i as u64 };
    prompts.iter().enumerate().map(line).collect()
}

fn prompts(count: usize, vocabulary: usize) -> Vec<Vec<u32>> {
    let mut draw = Draw::new(4);
    let mut prompt = || (0..1 + draw.below(20)).map(|_| draw.below(vocabulary) as u32).collect();
    (0..count).map(|_| prompt()).collect()
}

fn write(network: &mut Network, lines: &[Line], options: &Options) -> Vec<Vec<Written>> {
    block_on(Decoder::new().write(network, lines, options, |_, _| false)).expect("the device works")
}

/// Logarithms of the probabilities of every token behind every token of a text, by one pass over all positions.
fn log_probabilities(network: &mut Network, text: &[u32]) -> Vec<Vec<f64>> {
    let mut g = Graph::new();
    let weights = network.parameters.bind(&mut g);
    let context = network.context(&mut g, None);
    let target = network.target_tokens(&mut g, "target", 1, text.len());
    let states = network.model.states(&mut g, &weights, None, target, &context);
    let logits = network.model.logits(&mut g, &weights, states);
    g.output("logits", logits);
    let plan = Plan::new(g, &network.device.limits()).expect("it fits");
    let program = block_on(network.device.load(vec![plan])).expect("the shaders compile");
    let ids = Tensor::u32([1, text.len()], text.to_vec());
    let (lengths, start) = (Tensor::u32([1], vec![text.len() as u32]), Tensor::u32([1], vec![0]));
    network.device.run(program, &[("target", &ids), ("target_lengths", &lengths), ("start", &start)]);
    let logits = block_on(network.device.read(program, "logits")).expect("the device works");
    let row = |row: &[f32]| {
        let top = row.iter().fold(f32::MIN, |a, &b| a.max(b)) as f64;
        let sum: f64 = row.iter().map(|&l| (l as f64 - top).exp()).sum();
        row.iter().map(|&l| l as f64 - top - sum.ln()).collect()
    };
    logits.as_f32().chunks(logits.ty().cols()).map(row).collect()
}

/// How likely the last tokens of a text are, from one pass.
fn likely(network: &mut Network, text: &[u32], prompt: usize) -> f64 {
    let rows = log_probabilities(network, text);
    (prompt..text.len()).map(|i| rows[i - 1][text[i] as usize]).sum()
}

#[test]
fn cached_decoding_is_the_full_forward_pass() {
    for model in models() {
        for device in devices() {
            let mut network = network(device, &model, 19);
            let prompts = prompts(5, 19);
            let written = write(&mut network, &lines(&prompts), &options(Search::Greedy, 11));
            for (prompt, written) in prompts.iter().zip(&written) {
                let (written, end) = (&written[0], prompt.len());
                assert_eq!((written.tokens.len(), written.end), (11, End::Length));
                let text = [&prompt[..], &written.tokens].concat();
                let rows = log_probabilities(&mut network, &text);
                for (i, &token) in written.tokens.iter().enumerate() {
                    // The most likely token, or one that rounding cannot tell from it.
                    let row = &rows[end + i - 1];
                    let best = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                    assert!(best - row[token as usize] <= 1e-4, "token {i} behind {end}");
                }
                let want = likely(&mut network, &text, end);
                assert!((written.log_probability - want).abs() <= 1e-4, "{} {want}", written.log_probability);
            }
        }
    }
}

/// Alone, in batches of three and all together: the same tokens and the same bits of their probabilities.
#[test]
fn a_text_is_its_own_whatever_is_written_beside_it() {
    let sampling = Sampling { temperature: 1.2, top_k: 12, top_p: 0.9, min_p: 0.01, seed: 9 };
    let searches = [Search::Greedy, Search::Sample(sampling), Search::Beam(3, Penalty::Gnmt(0.6))];
    let (mut different, mut ended, mut long) = (0, 0, 0);
    for (model, device) in models().iter().zip(devices()) {
        let mut network = network(device, model, 19);
        let lines = lines(&prompts(23, 19));
        for search in searches {
            // Positions run out, and are used again.
            let rules = Rules { repetition_penalty: 1.1, no_repeat_ngram: 4 };
            let free = Options { rules, ..options(search, 40) };
            // A token that comes somewhere, for texts to end with.
            let end = write(&mut network, &lines[..1], &free)[0][0].tokens[25];
            let options = Options { end: Some(end), ..free };
            let alone: Vec<Written> = lines
                .iter()
                .map(|l| write(&mut network, std::slice::from_ref(l), &options).remove(0).remove(0))
                .collect();
            let texts: HashSet<&Vec<u32>> = alone.iter().map(|w| &w.tokens).collect();
            different += texts.len();
            ended += alone.iter().filter(|w| w.end == End::Token).count();
            long += alone.iter().filter(|w| w.tokens.len() > POSITIONS).count();
            let mut check = |chosen: &[usize]| {
                let batch: Vec<Line> = chosen.iter().map(|&i| lines[i].clone()).collect();
                for (&i, together) in chosen.iter().zip(write(&mut network, &batch, &options)) {
                    assert_eq!(together[0].tokens, alone[i].tokens, "{search:?}, line {i} of {chosen:?}");
                    let bits = [&together[0], &alone[i]].map(|w| w.log_probability.to_bits());
                    assert_eq!(bits[0], bits[1], "{search:?}, line {i} of {chosen:?}");
                }
            };
            check(&[5, 6, 7]);
            check(&(0..23).collect::<Vec<_>>());
        }
    }
    assert!(different > 60, "{different} texts that differ");
    assert!(ended > 20 && long > 20, "{ended} texts end, {long} are longer than there are positions");
}

/// Behind the last position the model goes on with what the last half of its positions holds.
#[test]
fn positions_that_are_used_up_are_used_again() {
    let mut network = network(Device::cpu(), &models()[0], 19);
    let prompt: Vec<u32> = (0..POSITIONS as u32 + 5).map(|i| i % 19).collect();
    let written = write(&mut network, &lines(std::slice::from_ref(&prompt)), &options(Search::Greedy, 2 * POSITIONS));
    let text = [&prompt[..], &written[0][0].tokens].concat();
    // The prompt is cut to all positions; then half of them are read again whenever none is left.
    let (mut first, mut at) = (5, prompt.len());
    while at < text.len() {
        if at - first > POSITIONS {
            first = at - POSITIONS / 2;
        }
        let rows = log_probabilities(&mut network, &text[first..at]);
        let row = rows.last().expect("a row");
        let best = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        assert!(best - row[text[at] as usize] <= 1e-4, "token {at}");
        at += 1;
    }
    assert_eq!(written[0][0].tokens.len(), 2 * POSITIONS);
}

/// A beam as wide as all there is: its hypotheses are the best of all texts of three tokens or fewer.
#[test]
fn a_wide_beam_finds_what_trying_everything_finds() {
    const V: u32 = 6;
    let mut network = network(Device::cpu(), &models()[1], V as usize);
    let (prompt, end) = (vec![1, 4, 2], 3u32);
    for penalty in [Penalty::Gnmt(0.0), Penalty::Gnmt(0.6), Penalty::Power(1.0)] {
        let mut all: Vec<(f64, Vec<u32>)> = vec![];
        let over = |length: usize| match penalty {
            Penalty::Gnmt(alpha) => ((5.0 + length as f64) / 6.0).powf(alpha),
            Penalty::Power(alpha) => (length as f64).powf(alpha),
        };
        let mut open = vec![vec![]];
        for length in 1..=3 {
            let mut longer = vec![];
            for text in &open {
                for token in 0..V {
                    let next: Vec<u32> = [&text[..], &[token]].concat();
                    let whole = [&prompt[..], &next].concat();
                    if token == end || length == 3 {
                        let score = likely(&mut network, &whole, prompt.len()) / over(length);
                        let kept = if token == end { length - 1 } else { length };
                        all.push((score, next[..kept].to_vec()));
                    } else {
                        longer.push(next);
                    }
                }
            }
            open = longer;
        }
        all.sort_by(|a, b| b.0.total_cmp(&a.0));
        let options = Options { end: Some(end), best: 8, ..options(Search::Beam(64, penalty), 3) };
        let found = write(&mut network, &lines(std::slice::from_ref(&prompt)), &options);
        assert_eq!(found[0].len(), 8);
        for (found, (score, text)) in found[0].iter().zip(&all) {
            assert_eq!((&found.tokens, (found.score - score).abs() <= 1e-4), (text, true), "{} {score}", found.score);
        }
        // A beam of one takes the likeliest token each time.
        let narrow = write(
            &mut network,
            &lines(std::slice::from_ref(&prompt)),
            &Options { end: Some(end), ..self::options(Search::Beam(1, penalty), 3) },
        );
        let greedy = write(
            &mut network,
            &lines(std::slice::from_ref(&prompt)),
            &Options { end: Some(end), ..self::options(Search::Greedy, 3) },
        );
        assert_eq!(narrow[0][0].tokens, greedy[0][0].tokens);
    }
}

/// Who watches sees every token as it comes, and ends a line when there is enough of it.
#[test]
fn who_watches_ends_a_line() {
    let mut network = network(Device::cpu(), &models()[2], 19);
    let lines = lines(&prompts(4, 19));
    let mut seen = vec![vec![]; 4];
    let watch = |i: usize, tokens: &[u32]| {
        seen[i].push(tokens.to_vec());
        i == 2 && tokens.len() == 3
    };
    let options = options(Search::Greedy, 9);
    let written = block_on(Decoder::new().write(&mut network, &lines, &options, watch)).expect("the device works");
    for (i, (seen, written)) in seen.iter().zip(&written).enumerate() {
        let (length, end) = if i == 2 { (3, End::Stopped) } else { (9, End::Length) };
        assert_eq!((written[0].tokens.len(), written[0].end), (length, end));
        let growing: Vec<Vec<u32>> = (1..=length).map(|n| written[0].tokens[..n].to_vec()).collect();
        assert_eq!(*seen, growing);
    }
}

/// A text that goes round: a model of every kind learns it on both executors, alike.
#[test]
fn gpu_and_cpu_learn_a_text_alike() {
    let text: Vec<u32> = (0..600).map(|i| [4, 5, 6, 4, 7, 8, 9, 10][i % 8]).collect();
    for model in models() {
        let source = "[model]\nkind = \"gpt\"\n[data]\ntext = \"-\"\n[train]\nblock = 16\nbatch_size = 4\nlr = 1e-2\nwarmup = 5\n";
        let mut recipe = Recipe::parse("text", source, &[]).expect("a recipe");
        recipe.model = Model { dropout: 0.1, ..model.clone() };
        let run = |device: Device| {
            let train = Batches::text(text.clone(), 16, 4).expect("long enough");
            let valid = Batches::text(text[..50].to_vec(), 16, 4).expect("long enough");
            let network = Network::new(device, Transformer::new(&recipe.model, 11), 16, true).expect("it fits");
            let mut trainer =
                block_on(Trainer::new(network, recipe.clone(), train, valid)).expect("the shaders compile");
            (0..40).for_each(|_| assert!(block_on(trainer.step()).is_ok()));
            (block_on(trainer.drain()).expect("finite"), block_on(trainer.evaluate()).expect("an evaluation"))
        };
        let ((on_cpu, cpu), (on_gpu, gpu)) = (run(Device::cpu()), run(gpu(gpu::Options::default())));
        for (c, g) in on_cpu.iter().zip(&on_gpu) {
            let difference = ((c.loss - g.loss) / c.loss).abs();
            assert!(difference <= 1e-4, "step {}: {} on the CPU, {} on the GPU", c.step, c.loss, g.loss);
        }
        assert_eq!((on_cpu.len(), cpu.tokens), (40, 49));
        assert!(((cpu.nll - gpu.nll) / cpu.nll).abs() <= 1e-4);
        assert!(on_cpu[39].loss < 0.7 * on_cpu[0].loss, "{model:?} {} {}", on_cpu[0].loss, on_cpu[39].loss);
    }
}
