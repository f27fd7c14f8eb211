//! A line's translation is its own: whatever is decoded beside it, however much padding is behind it, and whether the
//! decoder remembers keys and values or computes them again. And the two executors train alike.

#[path = "decoding/cached.rs"]
mod cached;
mod device;

use device::{gpu, gpu_of_hardware};
use pollster::block_on;
use seqloom::case::Draw;
use seqloom::decode::{Decoder, End, Penalty, Search, Translation, Written};
use seqloom::device::Device;
use seqloom::graph::Graph;
use seqloom::models::Architecture;
use seqloom::models::transformer::Transformer;
use seqloom::network::Network;
use seqloom::op::{Adapter, Op};
use seqloom::ops::attention_step::AttentionStep;
use seqloom::plan::Plan;
use seqloom::recipe::{Activation, Model, Norm, Positions, Recipe};
use seqloom::tensor::{Tensor, Type};
use seqloom::text::batch::{Batches, Buckets, Example};
use seqloom::text::tokenizer::{BOS, EOS, PAD};
use seqloom::train::Trainer;
use std::collections::HashSet;

const VOCABULARY: usize = 61;
/// Longest translation.
const LONGEST: usize = 12;
const POSITIONS: usize = 64;

/// A network with random weights, of sizes for which the translations differ from line to line and from token to token:
/// with others, or with one matrix for embedding and output, a decoder goes round in a circle that hides mistakes.
fn network(device: Device, positions: usize, options: &Model) -> Network {
    let sizes = Model {
        d_model: 32,
        heads: 2,
        encoder_layers: 2,
        decoder_layers: 2,
        layers: 2,
        ffn: 64,
        tie_embeddings: false,
        ..options.clone()
    };
    let mut network = Network::new(device, Transformer::new(&sizes, VOCABULARY), positions, false).expect("it fits");
    let mut draw = Draw::new(7);
    let mut random = |dims: &[usize], name: &str| {
        let mut tensor = draw.tensor(dims);
        let gains = [(".self_attn", 0.3), ("_attn.v", 0.8), ("_attn.out", 0.8), (".fc", 4.0)];
        let gain = gains.iter().find(|(part, _)| name.contains(part)).map_or(2.0, |(_, gain)| *gain);
        let (mean, deviation) = match dims.len() {
            2 => (0.0, gain / (dims[1] as f32).sqrt()),
            _ if name.ends_with("norm.weight") => (1.0, 0.2),
            _ => (0.0, 0.2),
        };
        tensor.as_f32_mut().iter_mut().for_each(|v| *v = mean + deviation * *v);
        if name == "lm_head.weight" {
            // Some lines come to an end.
            let row = &mut tensor.as_f32_mut()[EOS as usize * dims[1]..][..dims[1]];
            row.iter_mut().for_each(|v| *v *= 1.5);
        }
        tensor
    };
    let declarations = network.parameters.entries.iter().map(|e| &e.declaration);
    let tensors: Vec<_> = declarations.map(|d| (d.name.clone(), random(&d.dims, &d.name))).collect();
    network.write_parameters("random", &tensors).expect("they fit");
    network
}

/// Every value of every option of the model is in one of these.
fn options() -> [Model; 4] {
    let with = |norm, activation, positions| Model { norm, activation, positions, ..Model::default() };
    [
        Model::default(),
        with(Norm::Pre, Activation::Gelu, Positions::Learned),
        with(Norm::Post, Activation::GeluNew, Positions::SinusoidalSplit),
        with(Norm::Pre, Activation::Relu, Positions::Rotary),
    ]
}

/// Lines of 1 to 40 tokens.
fn lines(count: usize) -> Vec<Vec<u32>> {
    let mut draw = Draw::new(3);
    let mut line = || {
        let length = 1 + draw.below(40);
        (0..length).map(|_| (4 + draw.below(VOCABULARY - 4)) as u32).collect()
    };
    (0..count).map(|_| line()).collect()
}

/// A network, and how many programs its device has: a new decoder adds two for a line, of which the second computes
/// logits.
struct Decoding {
    network: Network,
    programs: usize,
}

impl Decoding {
    fn new(device: Device) -> Decoding {
        Decoding::with(device, &Model::default())
    }

    fn with(device: Device, options: &Model) -> Decoding {
        Decoding { network: network(device, POSITIONS, options), programs: 0 }
    }

    /// Translations of up to `longest` tokens, and how likely each is.
    fn greedy(&mut self, lines: &[Vec<u32>], longest: usize) -> (Vec<Vec<u32>>, Vec<f64>) {
        let translation = Translation { scores: true, ..Translation::greedy(None, longest) };
        let written = translate(&mut Decoder::new(), &mut self.network, lines, &translation);
        written.into_iter().map(|w| (w.tokens, w.log_probability)).unzip()
    }

    /// The logits behind the first `longest` - 1 tokens of a line's translation, which has as many.
    fn last_logits(&mut self, line: &[u32], longest: usize) -> Vec<f32> {
        translate(&mut Decoder::new(), &mut self.network, &[line.to_vec()], &Translation::greedy(None, longest));
        let logits = block_on(self.network.device.read(self.programs + 1, "logits")).expect("the device works");
        self.programs += 2;
        logits.as_f32().to_vec()
    }

    /// States of the encoder for lines in rows of `width` positions, and logits of the decoder for translations, all
    /// positions at once.
    fn forward(&mut self, lines: &[Vec<u32>], width: usize, translations: &[Vec<u32>]) -> [Tensor; 2] {
        let (rows, network) = (lines.len(), &mut self.network);
        let read = 1 + translations.iter().map(Vec::len).max().expect("a translation");
        let mut g = Graph::new();
        let weights = network.parameters.bind(&mut g);
        let context = network.context(&mut g, None);
        let source = network.source_tokens(&mut g, rows, width);
        let target = network.target_tokens(&mut g, "target", rows, read);
        let Architecture::Transformer(model) = &network.model else { unreachable!("the helper is for Transformers") };
        let memory = model.encode(&mut g, &weights, source, &context);
        let states = model.decode(&mut g, &weights, target, Some((memory, source.lengths)), &context);
        let logits = network.model.logits(&mut g, &weights, states);
        g.output("memory", memory);
        g.output("logits", logits);
        let plan = Plan::new(g, &network.device.limits()).expect("it fits");
        let program = block_on(network.device.load(vec![plan])).expect("the shaders compile");
        self.programs += 1;

        let padded = |rows: &[Vec<u32>], before: &[u32], after: &[u32], width: usize| {
            let mut ids = vec![PAD; rows.len() * width];
            for (row, to) in rows.iter().zip(ids.chunks_mut(width)) {
                let row = [before, row, after].concat();
                to[..row.len()].copy_from_slice(&row);
            }
            let lengths = rows.iter().map(|row| row.len() as u32 + 1).collect();
            (Tensor::u32([rows.len(), width], ids), Tensor::u32([rows.len()], lengths))
        };
        let (source, source_lengths) = padded(lines, &[], &[EOS], width);
        let (target, target_lengths) = padded(translations, &[BOS], &[], read);
        let start = Tensor::u32([1], vec![0]);
        let feeds = [
            ("source", &source),
            ("source_lengths", &source_lengths),
            ("target", &target),
            ("target_lengths", &target_lengths),
            ("start", &start),
        ];
        network.device.run(program, &feeds);
        ["memory", "logits"].map(|name| block_on(network.device.read(program, name)).expect("the device works"))
    }
}

/// The best translation of each line.
fn translate(decoder: &mut Decoder, network: &mut Network, lines: &[Vec<u32>], t: &Translation) -> Vec<Written> {
    let written = block_on(decoder.translate(network, lines, t)).expect("the device works");
    written.into_iter().map(|mut hypotheses| hypotheses.swap_remove(0)).collect()
}

/// Greedy translations of lines alone, in batches of three, of seventy (more than one batch) and beside longer lines;
/// their probabilities too, bit for bit, since two that are nearly equal would hide a difference.
fn translates_each_line_alone(device: Device) {
    let mut d = Decoding::new(device);
    let lines = lines(70);
    let alone: Vec<_> = lines.iter().map(|line| d.greedy(std::slice::from_ref(line), LONGEST)).collect();
    let translations: Vec<&Vec<u32>> = alone.iter().map(|(translations, _)| &translations[0]).collect();
    let different: HashSet<_> = translations.iter().collect();
    let tokens: HashSet<_> = translations.iter().copied().flatten().collect();
    assert!(different.len() > 50 && tokens.len() > 10, "{} lines, {} tokens", different.len(), tokens.len());
    let open = translations.iter().filter(|t| t.len() == LONGEST).count();
    assert!(open >= 10 && open < lines.len(), "{open} of {} lines have no end", lines.len());
    assert!(alone.iter().all(|(_, likely)| likely[0] < 0.0));

    let mut check = |members: &[usize]| {
        let batch: Vec<Vec<u32>> = members.iter().map(|&i| lines[i].clone()).collect();
        let (together, likely) = d.greedy(&batch, LONGEST);
        for ((&i, together), likely) in members.iter().zip(&together).zip(likely) {
            assert_eq!(together, translations[i], "line {i} of {members:?}");
            assert_eq!(likely.to_bits(), alone[i].1[0].to_bits(), "log-probability of line {i} of {members:?}");
        }
    };
    for first in (0..60).step_by(9) {
        check(&[first, first + 1, first + 2]);
    }
    check(&(0..70).collect::<Vec<_>>());
    check(&(0..70).rev().collect::<Vec<_>>());
    let mut by_length: Vec<usize> = (0..70).collect();
    by_length.sort_by_key(|&i| lines[i].len());
    for i in 0..5 {
        check(&[by_length[i], by_length[69], by_length[68]]);
    }
}

#[test]
fn a_line_is_translated_alike_in_every_batch_on_the_cpu() {
    translates_each_line_alone(Device::cpu());
}

#[test]
fn a_line_is_translated_alike_in_every_batch_on_a_gpu() {
    translates_each_line_alone(gpu());
}

#[test]
fn a_line_is_translated_alike_in_every_batch_by_the_kernels_of_hardware() {
    translates_each_line_alone(gpu_of_hardware());
}

/// The hypotheses of a line share its source and their past, whatever is translated beside it; a beam of one is greedy.
fn beams_are_a_lines_own(device: Device) {
    let mut network = network(device, POSITIONS, &Model::default());
    let lines = lines(11);
    let beam = |width, penalty| Translation {
        search: Search::Beam(width, penalty),
        best: width,
        ..Translation::greedy(None, LONGEST)
    };
    let mut write = |lines: &[Vec<u32>], t: &Translation| {
        block_on(Decoder::new().translate(&mut network, lines, t)).expect("the device works")
    };
    for penalty in [Penalty::Gnmt(0.6), Penalty::Power(1.0)] {
        let together = write(&lines, &beam(4, penalty));
        for (line, together) in lines.iter().zip(&together) {
            let alone = write(std::slice::from_ref(line), &beam(4, penalty)).remove(0);
            assert_eq!(*together, alone, "{line:?}");
            assert_eq!(alone.len(), 4);
            assert!(alone.windows(2).all(|pair| pair[0].score >= pair[1].score && pair[0].tokens != pair[1].tokens));
        }
        let greedy = write(&lines, &Translation { scores: true, ..Translation::greedy(None, LONGEST) });
        for (narrow, greedy) in write(&lines, &beam(1, penalty)).iter().zip(&greedy) {
            assert_eq!(narrow[0].tokens, greedy[0].tokens);
            assert!((narrow[0].log_probability - greedy[0].log_probability).abs() <= 1e-9);
        }
        // What a beam finds is likelier than what greed finds, over the penalty, for most lines.
        let over = |w: &Written| {
            let length = (w.tokens.len() + usize::from(w.end == End::Token)).max(1) as f64;
            w.log_probability
                / match penalty {
                    Penalty::Gnmt(alpha) => ((5.0 + length) / 6.0).powf(alpha),
                    Penalty::Power(alpha) => length.powf(alpha),
                }
        };
        for found in together.iter().flatten() {
            assert!((found.score - over(found)).abs() <= 1e-9);
        }
        let better = together.iter().zip(&greedy).filter(|(b, g)| b[0].score >= over(&g[0]) - 1e-9).count();
        assert!(better >= 9, "{better} of {}", lines.len());
    }
}

#[test]
fn beams_are_a_lines_own_on_the_cpu() {
    beams_are_a_lines_own(Device::cpu());
}

#[test]
fn beams_are_a_lines_own_on_a_gpu() {
    beams_are_a_lines_own(gpu());
}

/// Without marks of its own, a decoder that is given those of the others writes what they write, and goes on behind
/// the end.
#[test]
fn without_marks_a_translation_begins_where_it_is_told_and_has_one_length() {
    let mut network = network(Device::cpu(), POSITIONS, &Model::default());
    let lines = lines(70);
    let ended: Vec<Vec<u32>> = lines.iter().map(|line| [&line[..], &[EOS]].concat()).collect();
    let mut tokens = |lines: &[Vec<u32>], t: Translation| -> Vec<Vec<u32>> {
        let written = translate(&mut Decoder::new(), &mut network, lines, &t);
        written.into_iter().map(|w| w.tokens).collect()
    };
    let wanted = tokens(&lines, Translation::greedy(None, LONGEST));
    let have = tokens(&ended, Translation::greedy(Some(BOS), LONGEST + 1));
    assert!(wanted.iter().any(|line| line.len() < LONGEST), "no line ends");
    for (have, wanted) in have.iter().zip(&wanted) {
        assert_eq!(have.len(), LONGEST + 1);
        assert!(have[0] == BOS && have[1..].starts_with(wanted), "{have:?}, marked {wanted:?}");
        assert!(wanted.len() == LONGEST || have[1 + wanted.len()] == EOS);
    }
}

/// A batch is padded to its longest line, and has fewer rows where that would be too large.
#[test]
fn a_long_line_does_not_hinder_its_neighbours() {
    let short = &lines(9)[..];
    let long: Vec<u32> = lines(100).concat().into_iter().cycle().take(1990).collect();
    let mut network = network(gpu(), 2048, &Model::default());
    let mut decoder = Decoder::new();
    let mut greedy = |lines: &[Vec<u32>]| translate(&mut decoder, &mut network, lines, &Translation::greedy(None, 3));
    let wanted = [greedy(short), greedy(std::slice::from_ref(&long))].concat();
    assert_eq!(greedy(&[short, &[long]].concat()), wanted);
}

#[test]
fn the_shortest_and_the_longest_sources() {
    let mut d = Decoding::new(Device::cpu());
    assert!(d.greedy(&[], LONGEST).0.is_empty());
    assert!(!d.greedy(&[vec![]], LONGEST).0[0].is_empty());
    // Behind the last position but one there is only room for the end of the sentence.
    let long: Vec<u32> = lines(10).concat().into_iter().take(2 * POSITIONS).collect();
    let cut = long[..POSITIONS - 1].to_vec();
    let (translations, _) = d.greedy(&[long], LONGEST);
    assert_eq!(translations, d.greedy(&[cut], LONGEST).0);
}

/// Twenty steps with dropout on both executors: the same masks, the same order of the data, the same losses.
fn trains_alike(options: &Model) {
    let text = "[model]\nd_model = 32\nheads = 2\nencoder_layers = 1\ndecoder_layers = 1\nffn = 64\ndropout = 0.1\n\
                [data]\nbuiltin = \"phrasebook\"\n[train]\nbatch_tokens = 400\nlr = 3e-3\nwarmup = 5\n";
    let mut recipe = Recipe::parse("alike", text, &[]).expect("a recipe");
    let Model { norm, activation, positions, .. } = *options;
    recipe.model = Model { norm, activation, positions, ..recipe.model };
    let reversed = |source: &Vec<u32>| source.iter().rev().copied().collect();
    let examples: Vec<Example> =
        lines(80).into_iter().map(|source| Example::marked(source.clone(), reversed(&source))).collect();
    let run = |device: Device| {
        let buckets = Buckets::choose(&examples, recipe.train.batch_tokens, 0, 3).expect("buckets");
        let batches = Batches::new(buckets, examples.clone()).expect("batches");
        let model = Transformer::new(&recipe.model, VOCABULARY);
        let network = Network::new(device, model, POSITIONS, true).expect("it fits");
        let mut trainer =
            block_on(Trainer::new(network, recipe.clone(), batches.clone(), batches)).expect("the shaders compile");
        for _ in 0..20 {
            block_on(trainer.step()).expect("a step");
        }
        let metrics = block_on(trainer.drain()).expect("finite gradients");
        (metrics, block_on(trainer.evaluate()).expect("an evaluation"))
    };
    let ((on_cpu, cpu), (on_gpu, gpu)) = (run(Device::cpu()), run(gpu()));
    let mut worst: f64 = 0.0;
    for (c, g) in on_cpu.iter().zip(&on_gpu) {
        assert_eq!((c.step, c.epoch, c.tokens, c.lr), (g.step, g.epoch, g.tokens, g.lr));
        let difference = ((c.loss - g.loss) / c.loss).abs();
        assert!(difference <= 1e-4, "step {}: {} on the CPU, {} on the GPU", c.step, c.loss, g.loss);
        worst = worst.max(difference);
    }
    assert_eq!((on_cpu.len(), on_gpu.len()), (20, 20));
    assert!(on_cpu[19].loss < on_cpu[0].loss, "nothing was learned");
    assert!(((cpu.nll - gpu.nll) / cpu.nll).abs() <= 1e-4, "{} on the CPU, {} on the GPU", cpu.nll, gpu.nll);
    println!("losses of 20 steps: largest relative difference {worst:.1e}");
}

#[test]
fn gpu_and_cpu_train_alike() {
    for options in options() {
        trains_alike(&options);
    }
}

/// A row of `attention_step` adds in the order of its own length: whatever the cache's room, the rows beside it, and what
/// lies behind its keys.
#[test]
fn a_step_of_attention_has_the_same_bits_in_any_cache() {
    let mut gpu = device::open();
    let mut draw = Draw::new(11);
    for (heads, size, length, rooms) in
        [(1, 32, 60, [64, 1024, 8192]), (2, 32, 300, [300, 1024, 8192]), (3, 6, 61, [61, 64, 8192])]
    {
        let c = heads * size;
        let op = AttentionStep { heads, scale: 0.3 };
        let [q, k, v] = [1, length, length].map(|t| draw.tensor(&[1, t, c]));
        for software in [false, true] {
            let mut seen = vec![];
            for (room, rows) in rooms.into_iter().flat_map(|room| [(room, 1), (room, 3)]) {
                // The row comes last, its keys in the last row of the cache, and what it does not see is not a number.
                let cache = |x: &Tensor| {
                    let mut all = vec![f32::NAN; rows * room * c];
                    all[(rows - 1) * room * c..][..length * c].copy_from_slice(x.as_f32());
                    Tensor::f32([rows, room, c], all)
                };
                let inputs = [
                    Tensor::f32([rows, 1, c], q.as_f32().repeat(rows)),
                    cache(&k),
                    cache(&v),
                    Tensor::u32([rows], vec![length as u32; rows]),
                    Tensor::u32([rows, room], (0..rows * room).map(|i| (i / room) as u32).collect()),
                ];
                let types: Vec<&Type> = inputs.iter().map(Tensor::ty).collect();
                let out = types[0].clone();
                let launches = op.launches(&types, &[&out], &Adapter { software, subgroup: None });
                for (i, launch) in launches.iter().enumerate() {
                    let probe = block_on(gpu.probe(&op, &inputs, std::slice::from_ref(&out), launch));
                    let outputs = probe.expect("it compiles").outputs;
                    let row: Vec<u32> = outputs[0].as_f32()[(rows - 1) * c..].iter().map(|o| o.to_bits()).collect();
                    assert!(row.iter().all(|o| f32::from_bits(*o).is_finite()), "S {room} R {rows} {}", launch.variant);
                    match seen.get(i) {
                        None => seen.push(row),
                        Some(first) => assert_eq!(*first, row, "S {room} R {rows} {}", launch.variant),
                    }
                }
            }
        }
    }
}
