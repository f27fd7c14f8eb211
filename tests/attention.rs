//! Recorded attention weights are those of the model: distributions over real tokens, which an independent computation
//! finds too, in a pass that says what the decoder says.

use pollster::block_on;
use seqloom::attention::{Attention, Kind, Recorder};
use seqloom::case::Draw;
use seqloom::decode::{Decoder, Translation};
use seqloom::device::Device;
use seqloom::gpu::{Gpu, Options, enumerate};
use seqloom::models::transformer::Transformer;
use seqloom::network::Network;
use seqloom::recipe::Model;
use seqloom::tensor::Tensor;
use seqloom::text::tokenizer::{BOS, EOS};

const VOCABULARY: usize = 53;
const WIDTH: usize = 16;
const HEADS: usize = 2;
/// Longest translation.
const LONGEST: usize = 20;
const POSITIONS: usize = 40;

fn gpu() -> Device {
    let adapters = block_on(enumerate());
    let found = adapters.first().expect("this test needs a GPU or a software Vulkan driver; run scripts/test.sh");
    Device::Gpu(Box::new(block_on(Gpu::open(found, Options::default())).expect("a device")))
}

/// A network with random weights, of different numbers of layers in encoder and decoder.
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
    let mut network = Network::new(device, Transformer::new(&sizes, VOCABULARY), POSITIONS, false).expect("it fits");
    let mut draw = Draw::new(11);
    let mut random = |dims: &[usize], name: &str| {
        let mut tensor = draw.tensor(dims);
        let scale = if dims.len() == 2 { 1.5 / (dims[1] as f32).sqrt() } else { 0.2 };
        let mean = f32::from(name.ends_with("norm.weight"));
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
    let (s, t) = (a.source.len(), a.target.len());
    let mut wanted = vec![];
    for (kind, layers) in [(Kind::Encoder, 3), (Kind::Decoder, 2), (Kind::Cross, 2)] {
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
