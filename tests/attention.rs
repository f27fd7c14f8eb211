//! Recorded attention weights are those of the model: distributions over real tokens, which an independent computation
//! finds too, in a pass that says what the decoder says.

mod device;

use device::gpu;
use pollster::block_on;
use seqloom::attention::{Attention, Kind, Recorder, extents};
use seqloom::case::Draw;
use seqloom::decode::{self, Decoder, Line, Rules, Search, Translation};
use seqloom::device::Device;
use seqloom::graph::Graph;
use seqloom::models::transformer::Transformer;
use seqloom::network::Network;
use seqloom::plan::Plan;
use seqloom::recipe::{Model, ModelKind, Positions, Recipe};
use seqloom::tensor::Tensor;
use seqloom::text::tokenizer::{BOS, EOS};

const VOCABULARY: usize = 53;
const WIDTH: usize = 16;
const HEADS: usize = 2;
/// Longest translation.
const LONGEST: usize = 20;
const POSITIONS: usize = 40;

/// Different numbers of layers in encoder and decoder.
fn network(device: Device) -> (Network, Vec<(String, Tensor)>) {
    let sizes = Model {
        d_model: WIDTH,
        heads: HEADS,
        encoder_layers: 3,
        decoder_layers: 2,
        ffn: 32,
        tie_embeddings: false,
        ..Model::default()
    };
    random(device, &sizes)
}

/// Models without an encoder: of learned positions, and of rotary ones with a width of heads of its own.
fn texts() -> [Model; 2] {
    let model = Model { d_model: WIDTH, heads: HEADS, layers: 2, ffn: 32, ..Recipe::of_kind(ModelKind::Gpt).model };
    [model.clone(), Model { positions: Positions::Rotary, bias: false, ..model }]
}

/// A network with random weights.
fn random(device: Device, sizes: &Model) -> (Network, Vec<(String, Tensor)>) {
    let mut network = Network::new(device, Transformer::new(sizes, VOCABULARY), POSITIONS, false).expect("it fits");
    let mut draw = Draw::new(11);
    let mut random = |dims: &[usize], name: &str| {
        let mut tensor = draw.tensor(dims);
        let scale = if dims.len() == 2 { 1.5 / (dims[1] as f32).sqrt() } else { 0.2 };
        let mean = f32::from(name.ends_with("norm.weight") || name.contains(".ln_") && name.ends_with("weight"));
        tensor.as_f32_mut().iter_mut().for_each(|v| *v = mean + scale * *v);
        tensor
    };
    let declarations = network.parameters.entries.iter().map(|e| &e.declaration);
    let tensors: Vec<_> = declarations.map(|d| (d.name.clone(), random(&d.dims, &d.name))).collect();
    network.write_parameters("random", &tensors).expect("they fit");
    (network, tensors)
}

/// A source of `length` tokens.
fn source(length: usize) -> Vec<u32> {
    let mut draw = Draw::new(length as u64);
    (0..length).map(|_| (4 + draw.below(VOCABULARY - 4)) as u32).collect()
}

/// Every row is a distribution over the tokens that it may see, and there is nothing of the padding.
#[track_caller]
fn is_attention(a: &Attention) {
    is_attention_of(a, &[(Kind::Encoder, 3), (Kind::Decoder, 2), (Kind::Cross, 2)]);
}

#[track_caller]
fn is_attention_of(a: &Attention, kinds: &[(Kind, usize)]) {
    let (s, t) = (a.source.len(), a.target.len());
    let mut wanted = vec![];
    for &(kind, layers) in kinds {
        wanted.extend((1..=layers).flat_map(|layer| (1..=HEADS).map(move |head| (kind, layer, head))));
    }
    assert_eq!(a.maps.iter().map(|m| (m.kind, m.layer, m.head)).collect::<Vec<_>>(), wanted);
    for map in &a.maps {
        let (rows, columns) = match map.kind {
            Kind::Encoder => (s, s),
            Kind::Decoder => (t, t),
            Kind::Cross => (t, s),
        };
        assert_eq!(map.weights.len(), rows);
        for (r, row) in map.weights.iter().enumerate() {
            assert_eq!(row.len(), columns);
            let sum: f64 = row.iter().map(|&w| f64::from(w)).sum();
            assert!((sum - 1.0).abs() <= 1e-5, "row {r} of {:?} sums to {sum}", map.kind);
            assert!(row.iter().all(|w| (0.0..=1.0).contains(w)), "{row:?}");
            if map.kind == Kind::Decoder {
                assert!(row[r + 1..].iter().all(|&w| w == 0.0), "row {r} sees the future: {row:?}");
            }
        }
    }
}

fn the_pass_is_the_models(device: Device) {
    let (mut network, _) = network(device);
    let source = source(18);
    let translate = |network: &mut Network, longest: usize| {
        let how = Translation::greedy(None, longest);
        let written = block_on(Decoder::new().translate(network, std::slice::from_ref(&source), &how));
        written.expect("it works").remove(0).remove(0).tokens
    };
    let translation = translate(&mut network, LONGEST);
    assert!(translation.len() > 5, "{translation:?} says too little");
    let attention = block_on(Recorder::default().record(&mut network, &source, &translation)).expect("it works");
    is_attention(&attention);
    assert_eq!(attention.source, [&source[..], &[EOS]].concat());
    assert_eq!(attention.target, [&[BOS], &translation[..]].concat());
    let end = attention.next.len() - 1;
    assert_eq!((&attention.next[..end], end), (&translation[..], translation.len()));
    assert!(translation.len() == LONGEST || attention.next[end] == EOS);

    // The decoder of the translation has programs 0 and 1, the recorder 2, each decoder below two more.
    let read = |network: &Network, program| block_on(network.device.read(program, "logits")).expect("it works");
    let all = read(&network, 2);
    let mut worst: f64 = 0.0;
    for position in 0..translation.len() {
        translate(&mut network, position + 1);
        let (cached, recorded) = (read(&network, 4 + 2 * position), &all.as_f32()[position * VOCABULARY..]);
        let largest = cached.as_f32().iter().fold(0f32, |a, v| a.max(v.abs()));
        for (c, r) in cached.as_f32().iter().zip(recorded) {
            let difference = f64::from((c - r) / largest).abs();
            assert!(difference <= 1e-4, "position {position}: {c} cached, {r} recorded");
            worst = worst.max(difference);
        }
    }
    println!("cached and recorded logits: largest relative difference {worst:.1e}");
}

#[test]
fn the_recorded_pass_is_the_decoders_on_the_cpu() {
    the_pass_is_the_models(Device::cpu());
}

#[test]
fn the_recorded_pass_is_the_decoders_on_a_gpu() {
    the_pass_is_the_models(gpu());
}

/// softmax(Q Kᵀ / sqrt(d_k)) of the first encoder layer, from the parameters, without a graph.
#[test]
fn weights_are_the_softmax_of_the_scores() {
    let (mut network, tensors) = network(Device::cpu());
    let attention = block_on(Recorder::default().record(&mut network, &source(20), &[7, 9])).expect("it works");
    let parameter = |name: &str| {
        let found = tensors.iter().find(|(n, _)| n == name).unwrap_or_else(|| panic!("{name}"));
        found.1.as_f32().iter().map(|&v| f64::from(v)).collect::<Vec<f64>>()
    };
    let table = parameter("model.encoder.embed_tokens.weight");
    let embed = |(position, &id): (usize, &u32)| -> Vec<f64> {
        let sinusoid = |c: usize| {
            let angle = position as f64 / 10000f64.powf((c - c % 2) as f64 / WIDTH as f64);
            if c.is_multiple_of(2) { angle.sin() } else { angle.cos() }
        };
        (0..WIDTH).map(|c| table[id as usize * WIDTH + c] * (WIDTH as f64).sqrt() + sinusoid(c)).collect()
    };
    let x: Vec<Vec<f64>> = attention.source.iter().enumerate().map(embed).collect();
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let project = |name: &str| -> Vec<Vec<f64>> {
        let name = format!("model.encoder.layers.0.self_attn.{name}_proj");
        let (weight, bias) = (parameter(&format!("{name}.weight")), parameter(&format!("{name}.bias")));
        let output = |x: &Vec<f64>| weight.chunks(WIDTH).zip(&bias).map(|(w, b)| dot(x, w) + b).collect();
        x.iter().map(output).collect()
    };
    let (q, k, size) = (project("q"), project("k"), WIDTH / HEADS);
    for head in 0..HEADS {
        let map = &attention.maps[head];
        assert_eq!((map.kind, map.layer, map.head), (Kind::Encoder, 1, head + 1));
        let part = |v: &Vec<f64>| v[head * size..][..size].to_vec();
        for (q, row) in q.iter().zip(&map.weights) {
            let scores: Vec<f64> = k.iter().map(|k| dot(&part(q), &part(k)) / (size as f64).sqrt()).collect();
            let sum: f64 = scores.iter().map(|s| s.exp()).sum();
            for (score, &weight) in scores.iter().zip(row) {
                assert!((score.exp() / sum - f64::from(weight)).abs() <= 1e-5, "{weight}, not {}", score.exp() / sum);
            }
        }
    }
}

/// Sentences that share a program, one that fills its positions, one that is longer, and no translation at all.
#[test]
fn every_length_has_its_weights() {
    let (mut network, _) = network(Device::cpu());
    let mut recorder = Recorder::default();
    for (s, t) in [(0, 0), (3, 15), (15, 16), (1, 2), (POSITIONS - 1, POSITIONS - 1), (POSITIONS + 5, POSITIONS + 5)] {
        let attention = block_on(recorder.record(&mut network, &source(s), &source(t))).expect("it works");
        assert_eq!((attention.source.len(), attention.target.len()), ((s + 1).min(POSITIONS), (t + 1).min(POSITIONS)));
        is_attention(&attention);
    }
    // What a program computed for another sentence leaves no trace.
    let again = |recorder: &mut Recorder, network: &mut Network| {
        block_on(recorder.record(network, &source(5), &source(6))).expect("it works")
    };
    assert_eq!(again(&mut recorder, &mut network), again(&mut Recorder::default(), &mut network));
}

/// The most likely token after each, and all logits, by the fused kernel; and the logits of the recorder's program, which
/// was loaded before.
fn fused(network: &mut Network, text: &[u32], recorded: usize) -> (Vec<u32>, Tensor, Tensor) {
    let mut g = Graph::new();
    let weights = network.parameters.bind(&mut g);
    let context = network.context(&mut g, None);
    let target = network.target_tokens(&mut g, "target", 1, text.len());
    let states = network.model.states(&mut g, &weights, None, target, &context);
    let logits = network.model.logits(&mut g, &weights, states);
    let next = g.argmax(logits);
    g.output("logits", logits);
    g.output("next", next);
    let plan = Plan::new(g, &network.device.limits()).expect("it fits");
    let program = block_on(network.device.load(vec![plan])).expect("the shaders compile");
    assert_eq!(program, recorded + 1);
    let ids = Tensor::u32([1, text.len()], text.to_vec());
    let (lengths, start) = (Tensor::u32([1], vec![text.len() as u32]), Tensor::u32([1], vec![0]));
    network.device.run(program, &[("target", &ids), ("target_lengths", &lengths), ("start", &start)]);
    let read = |program, name: &str| block_on(network.device.read(program, name)).expect("it works");
    (read(program, "next").as_u32().to_vec(), read(program, "logits"), read(recorded, "logits"))
}

/// Pairs without an encoder: the source, `<s>` and what is written are one text.
fn a_pair_is_one_text(device: impl Fn() -> Device) {
    for model in texts() {
        let (mut network, _) = random(device(), &model);
        let kinds: Vec<_> = extents(&network).iter().map(|e| (e.kind, e.layers, e.heads)).collect();
        assert_eq!(kinds, [(Kind::Decoder, 2, HEADS)]);
        let source = source(18);
        let how = Translation::greedy(None, LONGEST);
        let written = block_on(Decoder::new().translate(&mut network, std::slice::from_ref(&source), &how));
        let written = written.expect("it works").remove(0).remove(0);
        assert!(written.tokens.len() > 5 && written.first == 0, "{written:?} says too little");
        let attention = block_on(Recorder::default().record(&mut network, &source, &written.tokens));
        let attention = attention.expect("it works");
        is_attention_of(&attention, &[(Kind::Decoder, 2)]);
        assert!(attention.source.is_empty() && attention.dropped == 0);
        assert_eq!(attention.target, [&source[..], &[BOS], &written.tokens].concat());
        assert_eq!(attention.next[18..][..written.tokens.len()], written.tokens);

        // The decoder's programs are 0 and 1.
        let (next, logits, recorded) = fused(&mut network, &attention.target, 2);
        assert_eq!(next, attention.next);
        for (fused, recorded) in logits.as_f32().chunks(VOCABULARY).zip(recorded.as_f32().chunks(VOCABULARY)) {
            let largest = fused.iter().fold(0f32, |a, v| a.max(v.abs()));
            let close = |(f, r): (&f32, &f32)| ((f - r) / largest).abs() <= 1e-4;
            assert!(fused.iter().zip(recorded).all(close), "{fused:?} fused, {recorded:?} recorded");
        }
    }
}

#[test]
fn the_recorded_text_is_the_fused_one_on_the_cpu() {
    a_pair_is_one_text(Device::cpu);
}

#[test]
fn the_recorded_text_is_the_fused_one_on_a_gpu() {
    a_pair_is_one_text(gpu);
}

/// A text that is longer than the model has positions for: the maps are of the window that the model saw in the end.
#[test]
fn a_text_that_slid_is_its_last_window() {
    let (mut network, _) = random(Device::cpu(), &texts()[0]);
    let options = |most| decode::Options {
        search: Search::Greedy,
        rules: Rules::default(),
        most,
        end: None,
        scores: false,
        best: 1,
        slide: true,
    };
    // At 41 tokens the last 20 are kept, again at 62: those from 42 on. A prompt of 50 is cut to its last 40 first. `since`
    // is the first token that was chosen in the last window.
    for (prompt, most, first, since) in [
        (5, 30, 0, 5),
        (5, 35, 0, 5),
        (5, 36, 0, 5),
        (5, 37, 21, 41),
        (5, 60, 42, 62),
        (50, 1, 10, 50),
        (50, 2, 31, 51),
    ] {
        let line = Line { source: vec![], prompt: source(prompt), number: 0 };
        let written =
            block_on(Decoder::new().write(&mut network, std::slice::from_ref(&line), &options(most), |_, _| false));
        let written = written.expect("it works").remove(0).remove(0);
        assert_eq!((written.tokens.len(), written.first), (most, first), "{prompt} and {most}");
        let text = [&line.prompt[..], &written.tokens].concat();
        let attention = block_on(Recorder::default().record_text(&mut network, &text, first)).expect("it works");
        is_attention_of(&attention, &[(Kind::Decoder, 2)]);
        let end = text.len().min(first + POSITIONS);
        assert_eq!((attention.dropped, &attention.target[..]), (first, &text[first..end]));
        assert_eq!(attention.next[since - 1 - first..][..text.len() - since], text[since..], "{prompt} and {most}");
    }
}

/// A prompt that fills its positions, one that is longer, and nothing written at all.
#[test]
fn every_text_has_its_weights() {
    let (mut network, _) = random(Device::cpu(), &texts()[1]);
    let mut recorder = Recorder::default();
    for (s, t) in [(1, 0), (3, 15), (POSITIONS - 1, 3), (POSITIONS + 5, 3)] {
        let attention = block_on(recorder.record(&mut network, &source(s), &source(t))).expect("it works");
        let dropped = (s + 1).saturating_sub(POSITIONS);
        assert_eq!((attention.dropped, attention.target.len()), (dropped, (s + 1 + t - dropped).min(POSITIONS)));
        assert_eq!(attention.target[0], source(s)[dropped]);
        is_attention_of(&attention, &[(Kind::Decoder, 2)]);
    }
    let unmarked = block_on(Recorder::default().unmarked().record(&mut network, &source(3), &[7, 9]));
    assert_eq!(unmarked.expect("it works").target, [&source(3)[..], &[7, 9]].concat());
}
