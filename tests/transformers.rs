//! Run directories as transformers sees them: its logits, its tokens, its translations, and what it saved, in
//! `tests/golden/transformers` (`tests/golden/transformers_check.py` made them).

mod device;

use half::{bf16, f16};
use pollster::block_on;
use safetensors::{Dtype, SafeTensors};
use seqloom::checkpoint;
use seqloom::decode::{Decoder, Line, Options, Rules, Search, Translation};
use seqloom::device::Device;
use seqloom::graph::Graph;
use seqloom::interchange::{self, Foreign};
use seqloom::models::Architecture;
use seqloom::network::{Network, positions};
use seqloom::plan::Plan;
use seqloom::recipe::Recipe;
use seqloom::tensor::{Tensor, Type};
use seqloom::text::tokenizer::{Tokenizer, Tokenizers};
use std::fs;
use std::path::PathBuf;

const GPTS: [&str; 2] = ["gpt2", "gpt2_plain"];
const RUNS: [&str; 4] = ["marian", "pegasus", "marian_separate", "pegasus_untied"];

fn golden(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden/transformers").join(name)
}

fn text(name: &str) -> String {
    fs::read_to_string(golden(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
}

/// A stored directory, read.
struct Run {
    recipe: Recipe,
    tokenizers: Tokenizers,
    model: Architecture,
    parameters: Vec<(String, Tensor)>,
}

impl Run {
    fn read(name: &str) -> Run {
        let file = |file: &str| text(&format!("{name}/{file}"));
        let (config, generation) = (file("config.json"), file("generation_config.json"));
        let mut foreign =
            Foreign::read(("config.json", &config), Some(("generation_config.json", &generation))).expect("a config");
        let tokenizer = |name: &str| Tokenizer::from_json(name, &file(name)).expect("a tokenizer");
        let tokenizers = match golden(name).join("tokenizer.json").exists() {
            true => Tokenizers::Shared(tokenizer("tokenizer.json")),
            false => Tokenizers::Separate {
                source: tokenizer("source_tokenizer.json"),
                target: tokenizer("target_tokenizer.json"),
            },
        };
        let tokenizers = foreign.tokenizers("tokenizer.json", tokenizers).expect("its tokenizers");
        let mut files: Vec<PathBuf> =
            fs::read_dir(golden(name)).expect("a directory").map(|e| e.unwrap().path()).collect();
        files.sort();
        let tensors = files.iter().filter(|f| f.extension().is_some_and(|e| e == "safetensors"));
        let tensors = tensors.flat_map(|f| checkpoint::load_f32(name, &fs::read(f).expect("bytes")).expect("tensors"));
        let parameters = foreign.parameters(name, tokenizers.vocabulary(), tensors.collect()).expect("parameters");
        let model = Architecture::new(&foreign.recipe.model, tokenizers.vocabulary());
        Run { recipe: foreign.recipe, tokenizers, model, parameters }
    }

    /// The token that outputs begin with where sentences have no marks.
    fn start(&self) -> Option<u32> {
        (!self.recipe.data.marks).then(|| self.tokenizers.target().encode(&self.recipe.decode.start)[0])
    }

    fn network(&self, device: Device) -> Network {
        let mut network =
            Network::new(device, self.model.clone(), positions(&self.recipe, 64), false).expect("it fits");
        network.write_parameters("golden", &self.parameters).expect("they fit");
        network
    }
}

/// The stored tensor, whose integers become ids.
fn reference(name: &str, tensor: &str) -> Tensor {
    let bytes = fs::read(golden(&format!("{name}.safetensors"))).expect("a file");
    let all = SafeTensors::deserialize(&bytes).expect("a safetensors file");
    let view = all.tensor(tensor).unwrap_or_else(|e| panic!("{tensor}: {e}"));
    match view.dtype() {
        Dtype::F32 => Tensor::from_bytes(&Type::f32(view.shape()), view.data()),
        Dtype::I32 => Tensor::from_bytes(&Type::u32(view.shape()), view.data()),
        other => panic!("{tensor} is {other:?}"),
    }
}

/// All logits (rows, T, V) at once.
fn logits(network: &mut Network, source: &Tensor, lengths: &Tensor, target: &Tensor) -> Tensor {
    let [(rows, s), (_, t)] = [source, target].map(|x| (x.ty().dims[0], x.ty().dims[1]));
    let mut g = Graph::new();
    let weights = network.parameters.bind(&mut g);
    let context = network.context(&mut g, None);
    let x = network.source_tokens(&mut g, rows, s);
    let y = network.target_tokens(&mut g, "target", rows, t);
    let states = network.model.states(&mut g, &weights, Some(x), y, &context);
    let logits = network.model.logits(&mut g, &weights, states);
    g.output("logits", logits);
    let plan = Plan::new(g, &network.device.limits()).expect("it fits");
    let program = block_on(network.device.load(vec![plan])).expect("the shaders compile");
    let full = Tensor::u32([rows], vec![t as u32; rows]);
    let start = Tensor::u32([1], vec![0]);
    let feeds = [
        ("source", source),
        ("source_lengths", lengths),
        ("target", target),
        ("target_lengths", &full),
        ("start", &start),
    ];
    network.device.run(program, &feeds);
    block_on(network.device.read(program, "logits")).expect("logits")
}

fn devices() -> [(&'static str, Device); 2] {
    [("CPU", Device::cpu()), ("GPU", Device::Gpu(Box::new(device::open())))]
}

#[test]
fn logits_are_those_of_transformers() {
    for name in RUNS {
        let run = Run::read(name);
        let [source, lengths, target, want] = ["source", "lengths", "target", "logits"].map(|t| reference(name, t));
        for (device, network) in devices() {
            let have = logits(&mut run.network(network), &source, &lengths, &target);
            assert_eq!(have.ty().elements(), want.ty().elements());
            let mut worst = 0f32;
            for (i, (have, want)) in have.as_f32().iter().zip(want.as_f32()).enumerate() {
                let apart = (have - want).abs();
                assert!(apart <= 1e-4, "{name} on the {device}: logit {i} is {have}, in transformers {want}");
                worst = worst.max(apart);
            }
            println!("{name} on the {device}: logits at most {worst:.1e} apart");
        }
    }
}

#[test]
fn tokens_and_translations_are_those_of_transformers() {
    let stored: serde_json::Value = serde_json::from_str(&text("texts.json")).expect("JSON");
    for name in RUNS {
        let run = Run::read(name);
        let strings =
            |key: &str| -> Vec<String> { serde_json::from_value(stored[name][key].clone()).expect("strings") };
        let texts = strings("texts");
        let ids: Vec<Vec<u32>> = texts.iter().map(|text| run.tokenizers.source().encode(text)).collect();
        assert_eq!(serde_json::json!(ids), stored[name]["ids"], "{name}");
        let mut network = run.network(Device::cpu());
        let how = Translation::greedy(run.start(), run.recipe.decode.max_length);
        let written = block_on(Decoder::new().translate(&mut network, &ids, &how)).expect("the device works");
        let translations: Vec<String> = written.iter().map(|w| run.tokenizers.target().decode(&w[0].tokens)).collect();
        assert_eq!(translations, strings("generated"), "{name}");
        assert!(translations.iter().any(|t| *t != translations[0]), "{name}: {translations:?}");
    }
}

/// All logits (rows, T, V) of a language model at once.
fn language_logits(network: &mut Network, target: &Tensor) -> Tensor {
    let (rows, t) = (target.ty().dims[0], target.ty().dims[1]);
    let mut g = Graph::new();
    let weights = network.parameters.bind(&mut g);
    let context = network.context(&mut g, None);
    let y = network.target_tokens(&mut g, "target", rows, t);
    let states = network.model.states(&mut g, &weights, None, y, &context);
    let logits = network.model.logits(&mut g, &weights, states);
    g.output("logits", logits);
    let plan = Plan::new(g, &network.device.limits()).expect("it fits");
    let program = block_on(network.device.load(vec![plan])).expect("the shaders compile");
    let (lengths, start) = (Tensor::u32([rows], vec![t as u32; rows]), Tensor::u32([1], vec![0]));
    network.device.run(program, &[("target", target), ("target_lengths", &lengths), ("start", &start)]);
    block_on(network.device.read(program, "logits")).expect("the device works")
}

/// Language models: logits, ids, and how texts go on.
#[test]
fn language_models_are_those_of_transformers() {
    let stored: serde_json::Value = serde_json::from_str(&text("texts.json")).expect("JSON");
    for name in GPTS {
        let run = Run::read(name);
        let (target, want) = (reference(name, "target"), reference(name, "logits"));
        for (device_name, device) in devices() {
            let have = language_logits(&mut run.network(device), &target);
            let largest = want.as_f32().iter().fold(0f32, |a, v| a.max(v.abs()));
            let mut worst = 0f32;
            for (have, want) in have.as_f32().iter().zip(want.as_f32()) {
                assert!((have - want).abs() <= 1e-4 * largest, "{name}: {have} {want}");
                worst = worst.max((have - want).abs());
            }
            println!("{name} on {device_name}: logits within {worst:.1e}, the largest is {largest}");
        }
        let strings =
            |key: &str| -> Vec<String> { serde_json::from_value(stored[name][key].clone()).expect("strings") };
        let ids: Vec<Vec<u32>> = strings("texts").iter().map(|text| run.tokenizers.source().encode(text)).collect();
        assert_eq!(serde_json::json!(ids), stored[name]["ids"], "{name}");
        let mut network = run.network(Device::cpu());
        let lines: Vec<Line> = ids.into_iter().map(|prompt| Line { source: vec![], prompt, number: 0 }).collect();
        let rules = Rules::default();
        let options =
            Options { search: Search::Greedy, rules, most: 12, end: None, scores: false, best: 1, slide: true };
        let written =
            block_on(Decoder::new().write(&mut network, &lines, &options, |_, _| false)).expect("the device works");
        let texts: Vec<String> = written.iter().map(|w| run.tokenizers.target().decode(&w[0].tokens)).collect();
        assert_eq!(texts, strings("generated"), "{name}");
    }
}

/// A directory that transformers made alone, with GPT-2's own tokenizer (`tests/golden/gpt2.py`).
#[test]
fn a_gpt2_of_another_making_is_that_of_transformers() {
    let stored: serde_json::Value = serde_json::from_str(&text("../gpt2/texts.json")).expect("JSON");
    let run = Run::read("../gpt2");
    let numbers: Vec<f32> = serde_json::from_value(stored["logits"].clone()).expect("numbers");
    let ids: Vec<u32> = serde_json::from_value(stored["read"].clone()).expect("ids");
    let target = Tensor::u32([1, ids.len()], ids);
    let largest = numbers.iter().fold(0f32, |a, v| a.max(v.abs()));
    for (name, device) in devices() {
        let have = language_logits(&mut run.network(device), &target);
        let last = &have.as_f32()[have.ty().elements() - numbers.len()..];
        for (have, want) in last.iter().zip(&numbers) {
            assert!((have - want).abs() <= 1e-4 * largest, "on the {name}: {have} {want}");
        }
    }
    let specials = run.tokenizers.target().specials();
    let generation = interchange::generation_config(&run.recipe, specials, None);
    for config in [interchange::config(&run.recipe, &run.model, specials, None), generation] {
        let ids = ["bos_token_id", "eos_token_id", "pad_token_id"].map(|key| &config[key]);
        assert_eq!(ids, [&serde_json::json!(399), &serde_json::json!(399), &serde_json::Value::Null]);
    }
}

/// What is stored is what a run has: the same words, the same tensors, the same bytes.
#[test]
fn a_directory_comes_back_byte_for_byte() {
    for name in RUNS.into_iter().chain(GPTS) {
        let run = Run::read(name);
        let json =
            |file: &str| -> serde_json::Value { serde_json::from_str(&text(&format!("{name}/{file}"))).expect("JSON") };
        let specials = run.tokenizers.target().specials();
        assert_eq!(interchange::config(&run.recipe, &run.model, specials, run.start()), json("config.json"), "{name}");
        assert_eq!(
            interchange::generation_config(&run.recipe, specials, run.start()),
            json("generation_config.json"),
            "{name}"
        );
        let bytes = interchange::model_file(&run.recipe, &run.model, &run.parameters).expect("bytes");
        assert!(bytes == fs::read(golden(&format!("{name}/model.safetensors"))).expect("a file"), "{name}");
        let (tokenizer, file) = (run.tokenizers.source(), if run.recipe.tokenizer.shared { "" } else { "source_" });
        let json = if run.recipe.data.marks { tokenizer.to_json() } else { tokenizer.to_json_without_marks() };
        assert_eq!(json, text(&format!("{name}/{file}tokenizer.json")), "{name}");
    }
}

/// transformers' save_pretrained after `.half()`, in shards and without Marian's positions, and after `.bfloat16()`.
#[test]
fn what_transformers_saved_in_halves_is_read() {
    let f16 = |v: f32| f16::from_f32(v).to_f32();
    let bf16 = |v: f32| bf16::from_f32(v).to_f32();
    type Round = fn(f32) -> f32;
    for (name, round) in [
        ("marian", f16 as Round),
        ("pegasus_untied", bf16 as Round),
        ("gpt2", f16 as Round),
        ("gpt2_plain", bf16 as Round),
    ] {
        let (run, saved) = (Run::read(name), Run::read(&format!("saved_{name}")));
        assert_eq!(saved.recipe.model, run.recipe.model, "{name}");
        assert_eq!(saved.parameters.len(), run.parameters.len());
        let find = |name: &str| &saved.parameters.iter().find(|(n, _)| n == name).expect("a parameter").1;
        for (parameter, tensor) in &run.parameters {
            let rounded: Vec<f32> = tensor.as_f32().iter().map(|v| round(*v)).collect();
            assert_eq!(find(parameter).as_f32(), rounded, "{name}: {parameter}");
        }
    }
}
