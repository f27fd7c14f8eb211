//! Directories that transformers wrote: `config.json`, the tokenizer, the tensors, the index of shards.

use super::alloc::taken;
use super::mutate::{Edit, edited, edited_text, edits, nested};
use super::{config, modest, refused};
use proptest::prelude::*;
use proptest::sample::select;
use seqloom::checkpoint::load_f32;
use seqloom::error::Result;
use seqloom::interchange::{Foreign, shards};
use seqloom::models::transformer::Transformer;
use seqloom::tensor::Tensor;
use seqloom::text::tokenizer::{Tokenizer, Tokenizers};
use serde_json::{Value, json};

/// A directory that transformers opens.
#[derive(Clone, Debug)]
struct Directory {
    config: String,
    generation: String,
    tokenizer: String,
    tensors: Vec<u8>,
}

macro_rules! directory {
    ($name:literal) => {
        Directory {
            config: include_str!(concat!("../golden/transformers/", $name, "/config.json")).into(),
            generation: include_str!(concat!("../golden/transformers/", $name, "/generation_config.json")).into(),
            tokenizer: include_str!(concat!("../golden/transformers/", $name, "/tokenizer.json")).into(),
            tensors: include_bytes!(concat!("../golden/transformers/", $name, "/model.safetensors")).to_vec(),
        }
    };
}

fn directories() -> [Directory; 4] {
    [directory!("marian"), directory!("pegasus_untied"), directory!("gpt2"), directory!("gpt2_plain")]
}

impl Directory {
    fn bytes(&self) -> usize {
        self.config.len() + self.generation.len() + self.tokenizer.len() + self.tensors.len()
    }

    fn read(&self) -> Result<(Transformer, Vec<(String, Tensor)>)> {
        let generation = Some(("bad/generation_config.json", self.generation.as_str()));
        let mut foreign = Foreign::read(("bad/config.json", &self.config), generation)?;
        let file = "bad/tokenizer.json";
        let tokenizers = Tokenizers::Shared(Tokenizer::from_json(file, &self.tokenizer)?);
        let tokenizers = foreign.tokenizers(file, tokenizers)?;
        let tensors = load_f32("bad/model.safetensors", &self.tensors)?;
        let parameters = foreign.parameters("bad/model.safetensors", tokenizers.vocabulary(), tensors)?;
        Ok((Transformer::new(&foreign.recipe.model, tokenizers.vocabulary()), parameters))
    }

    /// Reads, and checks what comes of it.
    #[track_caller]
    fn check(&self) {
        let (result, taken) = taken(|| self.read());
        // Tokenizers have their vocabulary several times while they are checked; see `tokenizers`.
        modest(taken, self.bytes(), 60);
        match result {
            Err(e) => drop(refused(&e, "bad/")),
            Ok((model, parameters)) => {
                let positions = |(name, t): &(String, Tensor)| name.contains("wpe").then(|| t.ty().dims[0]);
                let table = parameters.iter().find(|(name, _)| name.contains("embed_positions"));
                let rows = table.map(|(_, t)| t.ty().dims[0]).or(parameters.iter().find_map(positions)).unwrap_or(0);
                let declared = model.declarations(rows);
                assert_eq!(declared.len(), parameters.len());
                for d in declared {
                    let tensor = parameters.iter().find(|(name, _)| *name == d.name).map(|(_, t)| t);
                    let tensor = tensor.unwrap_or_else(|| panic!("{} is not there", d.name));
                    assert_eq!((&tensor.ty().dims, tensor.as_f32().len()), (&d.dims, d.dims.iter().product()));
                }
            }
        }
    }
}

#[test]
fn good_directories_are_read() {
    for directory in directories() {
        directory.read().expect("a good directory");
        directory.check();
    }
}

#[test]
fn absurd_settings_are_refused() {
    let set = |directory: &Directory, key: &str, value: Value| {
        let mut config: Value = serde_json::from_str(&directory.config).expect("JSON");
        config[key] = value;
        Directory { config: config.to_string(), ..directory.clone() }
    };
    let marian = ["d_model", "encoder_layers", "encoder_attention_heads", "encoder_ffn_dim", "vocab_size"];
    let gpt2 = ["n_embd", "n_layer", "n_head", "n_inner", "vocab_size", "n_positions"];
    let [m, _, g, _] = directories();
    let long = "9".repeat(100_000);
    let absurd =
        ["0", "-1", "1e9", "1000000000", "1e300", "18446744073709551615", "0.5", "\"8\"", "[]", "{}", "true", &long];
    for (directory, keys) in [(m, &marian[..]), (g, &gpt2[..])] {
        for key in keys {
            for value in absurd {
                let Ok(value) = serde_json::from_str::<Value>(value) else { continue };
                let bad = set(&directory, key, value.clone());
                let (result, taken) = taken(|| bad.read());
                let message = refused(&result.map(|_| ()).expect_err(&format!("{key} = {value}")), "bad/config.json");
                assert!(message.contains(key) || message.contains("d_model"), "{key} = {value}: {message}");
                modest(taken, bad.bytes(), 60);
            }
        }
    }
    let [m, _, g, _] = directories();
    let heads = refused(&set(&g, "n_head", json!(7)).read().expect_err("7 heads"), "bad/config.json");
    assert!(heads.contains("7 does not divide model.d_model"), "{heads}");
    // As large as may be, and not one number of it is there.
    let (mut large, keys) = (m, ["d_model", "encoder_ffn_dim", "decoder_ffn_dim", "encoder_layers", "decoder_layers"]);
    for (key, value) in keys.into_iter().zip([65536, 262144, 262144, 256, 256]) {
        large = set(&large, key, json!(value));
    }
    let (result, taken) = taken(|| large.read());
    refused(&result.expect_err("a large model"), "bad/model.safetensors");
    modest(taken, large.bytes(), 60);
}

#[test]
fn texts_that_are_no_settings_are_refused() {
    let deep = nested(1_000_000);
    let object = format!("{{\"model_type\":{}", "{\"a\":".repeat(1_000_000));
    let long = format!("{{\"model_type\":\"{}\"}}", "\\n".repeat(100_000));
    for (text, reason) in [
        ("", "not JSON: EOF while parsing"),
        ("{", "not JSON"),
        ("null", "not a JSON object"),
        ("{\"model_type\":NaN}", "not JSON"),
        ("{\"model_type\":\"marian\",\"d_model\":NaN}", "not JSON"),
        ("{\"model_type\":\"marian\",\"d_model\":1e999}", "not JSON: number out of range"),
        ("{\"model_type\":\"gpt2\",\"n_embd\":[[[[]]]]}", "n_embd is [[[[]]]], expected a whole number"),
        ("{} {}", "not JSON: trailing characters"),
        ("\u{feff}{}", "not JSON"),
        (&deep, "not JSON: recursion limit exceeded"),
        (&object, "not JSON: recursion limit exceeded"),
        (&long, "model_type is \"\\n"),
    ] {
        let (result, taken) = taken(|| Foreign::read(("bad/config.json", text), None));
        let message = refused(&result.expect_err(reason), "bad/config.json");
        assert!(message.contains(reason), "{message} does not say {reason}");
        modest(taken, text.len(), 8);
    }
}

const INDEX: &str = include_str!("../golden/transformers/saved_gpt2_plain/model.safetensors.index.json");

fn check_index(text: &str) -> Option<String> {
    let (result, taken) = taken(|| shards("bad/index.json", text));
    modest(taken, text.len(), 60);
    match result {
        Err(e) => Some(refused(&e, "bad/index.json")),
        Ok(shards) => {
            for (shard, tensors) in shards {
                assert!(shard.ends_with(".safetensors") && !shard.contains(['/', '\\', ':', '\0', '\n']), "{shard}");
                assert!(!tensors.is_empty());
            }
            None
        }
    }
}

#[test]
fn an_index_leads_nowhere_else() {
    assert_eq!(check_index(INDEX), None);
    let of = |shard: &str| json!({ "weight_map": { "a.weight": shard } }).to_string();
    let (long, name) = ("x".repeat(1_000_000), "y".repeat(1_000_000));
    let many: serde_json::Map<String, Value> =
        (0..10_001).map(|i| (i.to_string(), json!(format!("{i}.safetensors")))).collect();
    let inside =
        ["../x.safetensors", "/x.safetensors", "a/x.safetensors", "..\\x.safetensors", "C:x.safetensors", "x.bin", ""];
    for shard in inside.into_iter().chain(["x\0.safetensors", "x\n.safetensors", &(long.clone() + ".safetensors")]) {
        let message = check_index(&of(shard)).expect("a shard elsewhere");
        assert!(
            message.contains("weight_map: a.weight is in \"") && message.contains("no shard beside it"),
            "{message}"
        );
    }
    for (text, reason) in [
        ("", "not JSON: EOF"),
        ("{}", "weight_map is missing"),
        ("[]", "weight_map is wrong"),
        ("{\"weight_map\":[]}", "weight_map is wrong: invalid type: sequence"),
        ("{\"weight_map\":{},\"weight_map\":{}}", "weight_map is wrong: duplicate field"),
        ("{\"weight_map\":{\"a\":[]}}", "a is in [], which is no shard"),
        (&format!("{{\"weight_map\":{{\"{name}\":7}}}}"), "yyy… is in 7, which is no shard"),
        (&format!("{{\"weight_map\":{{\"a\":{}}}}}", nested(1_000_000)), "not JSON: recursion limit exceeded"),
        (&nested(1_000_000), "index.json: "),
        (&json!({ "weight_map": many }).to_string(), "names more than 10000 files"),
    ] {
        let message = check_index(text).expect(reason);
        assert!(message.contains(reason), "{message} does not say {reason}");
    }
}

/// Edits of one of the four files.
fn changed(directory: &Directory, which: usize, edits: &[Edit]) -> Directory {
    let mut d = directory.clone();
    match which {
        0 => d.config = edited_text(&d.config, edits),
        1 => d.generation = edited_text(&d.generation, edits),
        2 => d.tokenizer = edited_text(&d.tokenizer, edits),
        _ => {
            // The header, with the length that it then has.
            let length = u64::from_le_bytes(d.tensors[..8].try_into().expect("eight bytes")) as usize;
            let header = edited(&d.tensors[8..8 + length], edits);
            d.tensors = [&(header.len() as u64).to_le_bytes(), &header[..], &d.tensors[8 + length..]].concat();
        }
    }
    d
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn edits_of_a_directory(i in 0usize..4, which in select(vec![0usize, 0, 0, 1, 2, 3, 3]), edits in edits()) {
        changed(&directories()[i], which, &edits).check();
    }

    /// Tensors whose shapes and names are exchanged, so that the file is good and does not fit.
    #[test]
    fn tensors_of_another_model(i in 0usize..4, j in 0usize..4, config in edits()) {
        let all = directories();
        let mixed = Directory { tensors: all[j].tensors.clone(), ..all[i].clone() };
        mixed.check();
        changed(&mixed, 0, &config).check();
    }

    /// Shapes turned round, made longer by ones, or with a zero: as many numbers, or none.
    #[test]
    fn other_shapes(i in 0usize..4, which in any::<proptest::sample::Index>(), change in 0u8..6) {
        let mut d = directories()[i].clone();
        let mut tensors = load_f32("good", &d.tensors).expect("a good file");
        let at = which.index(tensors.len());
        let (name, tensor) = &tensors[at];
        let mut dims = tensor.ty().dims.clone();
        match change {
            0 => dims.reverse(),
            1 => dims.push(1),
            2 => dims.insert(0, 1),
            3 => dims = vec![tensor.ty().elements()],
            4 => dims = vec![0, 1 << 40],
            _ => dims = vec![1 << 40, 0],
        }
        let data = if dims.contains(&0) { vec![] } else { tensor.as_f32().to_vec() };
        tensors[at] = (name.clone(), Tensor::f32(dims, data));
        d.tensors = seqloom::checkpoint::save(&tensors).expect("a file");
        d.check();
    }

    #[test]
    fn edits_of_an_index(edits in edits()) {
        check_index(&edited_text(INDEX, &edits));
    }
}
