//! Models that come from elsewhere: `import`, and training that starts from one.

use super::Place;
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;

/// Copies a directory of `tests/golden/transformers` to where the program runs.
pub fn copy(place: &Place, golden: &str, to: &str) {
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/transformers").join(golden);
    fs::create_dir(place.path(to)).expect("a directory");
    for entry in fs::read_dir(&from).expect("a directory") {
        let path = entry.expect("an entry").path();
        fs::copy(&path, place.path(to).join(path.file_name().expect("a name"))).expect("a copy");
    }
}

pub type Tensors = Vec<(String, Dtype, Vec<usize>, Vec<u8>)>;

/// Changes a file of tensors.
pub fn change_tensors(place: &Place, file: &str, change: impl FnOnce(&mut Tensors)) {
    let bytes = place.read(file);
    let parsed = SafeTensors::deserialize(&bytes).expect("a safetensors file");
    let mut tensors: Tensors =
        parsed.iter().map(|(n, v)| (n.into(), v.dtype(), v.shape().to_vec(), v.data().to_vec())).collect();
    change(&mut tensors);
    let views = tensors.iter().map(|(n, t, s, d)| (n, TensorView::new(*t, s.clone(), d).expect("a tensor")));
    place.write(file, safetensors::serialize(views, None).expect("bytes"));
}

pub fn change_json(place: &Place, file: &str, change: impl FnOnce(&mut Value)) {
    let mut json = place.json(file);
    change(&mut json);
    place.write(file, json.to_string());
}

#[test]
fn an_imported_model_is_a_run_like_others() {
    let place = Place::new();
    for name in ["marian", "pegasus", "marian_separate", "pegasus_untied"] {
        copy(&place, name, name);
        let outcome = place.run(&format!("import {name} --out runs/{name}")).succeeds();
        assert!(outcome.out.is_empty() && outcome.err.contains("seqloom translate --model runs/"), "{}", outcome.err);
        for file in place.names(name) {
            assert!(
                place.read(&format!("{name}/{file}")) == place.read(&format!("runs/{name}/{file}")),
                "{name}/{file}"
            );
        }
        assert_eq!(place.names(&format!("runs/{name}")).len(), place.names(name).len() + 1);
        let translations =
            place.feed(&format!("translate --device cpu --model runs/{name}"), b"the dog sees a cat\n\n");
        let stored: Value = serde_json::from_str(include_str!("../golden/transformers/texts.json")).expect("JSON");
        let first = stored[name]["generated"][0].as_str().expect("text");
        assert_eq!(translations.succeeds().out, format!("{first}\n\n"));
        let files = "--source a.de --reference a.en --json";
        let scores = place.run(&format!("evaluate --device cpu --model runs/{name} {files}")).succeeds();
        let scores: Value = serde_json::from_str(&scores.out).expect("JSON");
        assert!(scores["loss"].as_f64().is_some_and(f64::is_finite), "{scores}");
    }
    assert_eq!(place.names("runs"), ["marian", "marian_separate", "pegasus", "pegasus_untied"]);
    let recipe = place.text("runs/pegasus_untied/recipe.toml");
    for line in ["norm = \"pre\"", "positions = \"learned\"", "heads = 2", "max_length = 44", "lowercase = true"] {
        assert!(recipe.lines().any(|l| l.starts_with(line)), "{line} is not in: {recipe}");
    }
    // Halves, in shards.
    copy(&place, "saved_marian", "saved");
    place.run("import saved --out runs/saved").succeeds();
    place.feed("translate --device cpu --model runs/saved", b"a cat\n").succeeds();
    // Positions that transformers left out are not those that it would compute.
    copy(&place, "saved_marian", "plain");
    change_json(&place, "plain/config.json", |c| c["seqloom"]["positions"] = json!("sinusoidal"));
    let outcome = place.run("import plain --out runs/plain").succeeds();
    assert!(outcome.err.contains("warning: plain/config.json: model.encoder.embed_positions.weight is not in"));
    // It is no run that training could go on with, or clear away.
    for fresh in ["", "--fresh"] {
        place.train(&format!("--out runs/saved {fresh}")).refuses(&["runs/saved is not empty and holds no run"]);
    }
}

/// Fewer tokens than a recipe may ask for are still a model.
#[test]
fn the_smallest_vocabulary_comes_back() {
    let place = Place::new();
    place.write("ab", "ab ba\nba\na b\nbb a\n".repeat(5));
    let data = "--set data.source=ab --set data.target=ab --set tokenizer.kind=char --set train.steps=2";
    place.train(&format!("--out run {data}")).succeeds();
    assert_eq!(place.json("run/config.json")["vocab_size"], 7);
    place.run("import run --out again").succeeds();
    place.feed("translate --device cpu --model again", b"ab\n").succeeds();
}

#[test]
fn import_refuses_in_one_line_and_writes_nothing() {
    let place = Place::new();
    copy(&place, "marian", "good");
    copy(&place, "saved_marian", "shards");
    place.run("import nowhere --out out").refuses(&["cannot read nowhere/config.json: no such file"]);
    place.run("import good --out good").refuses(&["good is not a new directory", "another --out"]);
    place.run("import good --out a.de").refuses(&["a.de"]);
    place.run("import good --out .").refuses(&["--out . ends in no name"]);

    let refuses = |from: &str, change: &dyn Fn(), parts: &[&str]| {
        let _ = fs::remove_dir_all(place.path("bad"));
        copy(&place, from, "bad");
        change();
        let before = place.tree(".");
        place.run("import bad --out out").refuses(parts);
        assert!(place.tree(".") == before, "{parts:?}: something was written");
    };

    let configs: [(&str, Value, &[&str]); 19] = [
        ("model_type", json!("t5"), &["model_type is \"t5\"; \"marian\", \"pegasus\" and \"gpt2\" can be imported"]),
        ("model_type", json!(null), &["model_type is null"]),
        ("model_type", json!("seqloom"), &["model_type", "use its directory as it is"]),
        ("activation_function", json!("swish"), &["activation_function is \"swish\", expected \"relu\""]),
        ("encoder_attention_heads", json!(2), &["encoder_attention_heads is 2, decoder_attention_heads is 4"]),
        ("decoder_ffn_dim", json!(7), &["encoder_ffn_dim is 24, decoder_ffn_dim is 7"]),
        ("d_model", json!(18), &["d_model"]),
        ("d_model", json!(-16), &["d_model is -16, expected a whole number from 2 to 65536"]),
        ("d_model", json!([[[1]]]), &["d_model is [[[1]]], expected a whole number"]),
        ("encoder_layers", json!(1e300), &["encoder_layers is 1e+300, expected a whole number"]),
        ("decoder_layers", json!(100_000), &["decoder_layers is 100000, expected a whole number from 1 to 256"]),
        ("decoder_layers", json!(3), &["model.decoder.layers.2.self_attn.q_proj.weight is missing"]),
        ("vocab_size", json!(4_000_000_000u64), &["vocab_size is 4000000000", "tokenizer.json has 28 tokens"]),
        ("scale_embedding", json!("yes"), &["scale_embedding is \"yes\", expected true or false"]),
        ("share_encoder_decoder_embeddings", json!(0), &["share_encoder_decoder_embeddings is 0, expected true"]),
        ("pad_token_id", json!(58100), &["pad_token_id is 58100, here it is 0", "another tokenizer"]),
        ("decoder_start_token_id", json!(0), &["decoder_start_token_id is 0, here it is 1"]),
        ("max_position_embeddings", json!("many"), &["max_position_embeddings is \"many\", expected a whole number"]),
        ("tie_word_embeddings", json!(false), &["bad/model.safetensors: lm_head.weight is missing"]),
    ];
    for (key, value, parts) in configs {
        refuses("marian", &|| change_json(&place, "bad/config.json", |c| c[key] = value.clone()), parts);
    }
    let cut = |file: &str| place.write(file, &place.read(file)[..place.read(file).len() / 2]);
    let remove = |file: &str| fs::remove_file(place.path(file)).expect("a file to remove");
    for file in ["bad/config.json", "bad/generation_config.json", "bad/tokenizer.json", "bad/model.safetensors"] {
        refuses("marian", &|| cut(file), &[file]);
        refuses("marian", &|| place.write(file, "[]"), &[file]);
    }
    refuses("marian", &|| remove("bad/model.safetensors"), &["cannot read bad/model.safetensors: no such file"]);
    let pickled = || {
        remove("bad/model.safetensors");
        place.write("bad/pytorch_model.bin", "?");
    };
    refuses("marian", &pickled, &["bad: there is no model.safetensors, and pytorch_model.bin is not read here"]);
    let foreign = || {
        remove("bad/tokenizer.json");
        place.write("bad/source.spm", "?");
    };
    refuses("marian", &foreign, &["bad: there is no tokenizer.json, and source.spm is SentencePiece's"]);
    refuses(
        "marian",
        &|| change_json(&place, "bad/tokenizer.json", |t| t["normalizer"] = json!({"type": "NFC"})),
        &["bad/tokenizer.json: neither a tokenizer that seqloom wrote nor one like GPT-2's: its normalizer differs"],
    );

    // Tensors.
    type Change = fn(&mut Tensors);
    let tensors: [(Change, &[&str]); 8] = [
        (|t| t.retain(|t| t.0 != "model.encoder.layers.1.fc1.bias"), &["model.encoder.layers.1.fc1.bias is missing"]),
        (
            |t| t.push(("model.pooler.weight".into(), Dtype::F32, vec![1], vec![0; 4])),
            &["bad/model.safetensors: model.pooler.weight belongs to no parameter"],
        ),
        (
            |t| t.iter_mut().filter(|t| t.0.ends_with("1.fc1.bias")).for_each(|t| t.2 = vec![2, 12]),
            &["layers.1.fc1.bias is f32[2, 12], expected f32[24]"],
        ),
        (
            |t| t.iter_mut().filter(|t| t.0.ends_with("1.fc1.bias")).for_each(|t| t.1 = Dtype::I32),
            &["fc1.bias is I32; F32, F16 and BF16 can be read"],
        ),
        (
            |t| t.iter_mut().filter(|t| t.0 == "final_logits_bias").for_each(|t| t.3[3] = 0x40),
            &["final_logits_bias is not zero"],
        ),
        (
            |t| t.iter_mut().filter(|t| t.0 == "model.decoder.embed_positions.weight").for_each(|t| t.3[3] = 0x40),
            &["model.decoder.embed_positions.weight holds other positions than model.positions = \"sinusoidal\""],
        ),
        (
            |t| {
                let head = t.iter().find(|t| t.0 == "model.shared.weight").cloned().expect("a table");
                t.push(("lm_head.weight".into(), head.1, head.2, head.3.iter().map(|b| b ^ 1).collect()));
            },
            &["lm_head.weight differs from model.shared.weight"],
        ),
        (
            |t| {
                t.iter_mut().filter(|t| t.0.contains("embed_positions")).for_each(|t| (t.2, t.3) = (vec![], vec![0; 4]))
            },
            &["embed_positions"],
        ),
    ];
    for (change, parts) in tensors {
        refuses("marian", &|| change_tensors(&place, "bad/model.safetensors", change), parts);
    }

    // Shards.
    let index = "bad/model.safetensors.index.json";
    let shard = "bad/model-00002-of-00003.safetensors";
    refuses("saved_marian", &|| cut(index), &[index]);
    refuses("saved_marian", &|| place.write(index, "{}"), &[index, "weight_map is missing"]);
    for outside in [json!("../good/model.safetensors"), json!("/etc/passwd"), json!(7)] {
        let change = |i: &mut Value| i["weight_map"]["model.shared.weight"] = outside.clone();
        refuses("saved_marian", &|| change_json(&place, index, change), &["model.shared.weight", "no shard beside it"]);
    }
    let change = |i: &mut Value| i["weight_map"]["model.nothing"] = json!("model-00001-of-00003.safetensors");
    refuses("saved_marian", &|| change_json(&place, index, change), &["model.nothing is missing, ", "index.json says"]);
    refuses("saved_marian", &|| cut(shard), &[shard]);
    refuses("saved_marian", &|| remove(shard), &["cannot read", shard]);
    // transformers leaves Marian's positions out when it saves; what was learned is lost then.
    let change = |c: &mut Value| c["seqloom"]["positions"] = json!("learned");
    refuses("saved_marian", &|| change_json(&place, "bad/config.json", change), &["positions were learned"]);
}

#[test]
fn training_starts_from_another_run() {
    let place = Place::new();
    place.train("--out first").succeeds();
    let losses =
        |run: &str| -> Vec<f64> { place.metrics(run).iter().filter_map(|row| row["valid_loss"].as_f64()).collect() };
    let best = losses("first").into_iter().fold(f64::MAX, f64::min);
    // Hardly a step: the loss is the first run's best.
    let outcome =
        place.train("--out same --set train.init_from=first --set train.lr=1e-12 --set train.steps=1").succeeds();
    assert!(outcome.err.contains("model: starts from first/model.safetensors, with its tokenizer"), "{}", outcome.err);
    let loss = losses("same")[0];
    assert!((loss - best).abs() <= 1e-6 * best, "{loss}, the first run's best is {best}");
    assert!(place.read("same/tokenizer.json") == place.read("first/tokenizer.json"));
    assert_eq!(place.metrics("same").len(), 1);

    // What it started from is on record, and not needed any more when it goes on.
    place.train("--out whole --set train.init_from=first").succeeds();
    place.train("--out halves --set train.init_from=first --set train.steps=6").succeeds();
    assert!(place.text("halves/recipe.toml").contains("init_from = \"first\""));
    fs::remove_dir_all(place.path("first")).expect("a directory to remove");
    place.train("--out halves --set train.init_from=first").succeeds();
    for file in ["model.safetensors", "checkpoints/step-000012/training_state.safetensors"] {
        assert!(place.read(&format!("halves/{file}")) == place.read(&format!("whole/{file}")), "{file}");
    }
    place.train("--out halves").refuses(&["halves/recipe.toml", "train.init_from = \"first\""]);

    // From what transformers knows, with other data and another tokenizer's text.
    copy(&place, "pegasus_untied", "theirs");
    let data = "--set data.source=a.de --set data.target=a.en --set train.steps=2 --device cpu";
    place.run("import theirs --out imported").succeeds();
    place.run("train imported/recipe.toml --out none").refuses(&["nothing to learn from"]);
    let model = "--set train.init_from=theirs --set train.batch_tokens=300";
    place.run(&format!("train imported/recipe.toml --out from_theirs {data} {model}")).succeeds();
    let model = "--set train.init_from=imported --set train.batch_tokens=300";
    place.run(&format!("train imported/recipe.toml --out from_imported {data} {model}")).succeeds();
    for file in ["model.safetensors", "tokenizer.json"] {
        assert!(place.read(&format!("from_theirs/{file}")) == place.read(&format!("from_imported/{file}")), "{file}");
    }
}

#[test]
fn a_start_that_does_not_fit_is_refused() {
    let place = Place::new();
    place.train("--out first --set train.steps=3").succeeds();
    let cases: [(&str, &[&str]); 10] = [
        ("--set data.marks=false --set decode.start=dog", &["needs data.marks = true"]),
        ("--set model.heads=4", &["the model in first needs model.heads = 2, and the recipe has 4; set model.heads"]),
        ("--set model.encoder_layers=2", &["needs model.encoder_layers = 1"]),
        ("--set model.norm=pre", &["needs model.norm = \"post\""]),
        ("--set model.positions=learned", &["needs model.positions = \"sinusoidal\""]),
        ("--set tokenizer.kind=char", &["needs tokenizer.kind = \"bpe\", and the recipe has \"char\""]),
        ("--set tokenizer.vocab_size=280", &["needs tokenizer.vocab_size = 300, and the recipe has 280"]),
        ("--set tokenizer.shared=false", &["needs tokenizer.shared = true"]),
        ("--set train.init_from=nowhere", &["nowhere"]),
        ("--set train.init_from=a.de", &["a.de"]),
    ];
    let learned = "--set model.positions=learned --set train.steps=3";
    place.train(&format!("--out learned {learned} --set data.max_length=40")).succeeds();
    place
        .train(&format!("--out run --set train.init_from=learned {learned}"))
        .refuses(&["the model in learned needs data.max_length = 40, and the recipe has 128; set data.max_length"]);
    // How tokens were counted is no part of a tokenizer.
    place
        .train("--out more --set train.init_from=first --set tokenizer.min_frequency=2 --set train.steps=1")
        .succeeds();
    for (settings, parts) in cases {
        place.train(&format!("--out run --set train.init_from=first {settings}")).refuses(parts);
        assert!(!place.path("run").exists(), "{settings} left a directory");
    }
    let before = place.tree("first");
    place.train("--out first --fresh --set train.init_from=first").refuses(&["first is the run's own directory"]);
    place.train("--out first --fresh --set train.init_from=./first/../first").refuses(&["own directory"]);
    assert!(place.tree("first") == before);
}

#[test]
fn a_run_says_when_transformers_has_no_class_for_it() {
    let place = Place::new();
    let cases = [
        ("model.norm_eps=1e-6", "model.norm_eps = 1e-6 (its layer norms have 1e-5)"),
        ("model.positions=rotary", "model.positions = \"rotary\""),
        ("model.norm=pre --set tokenizer.shared=false", "model.norm = \"pre\" with tokenizer.shared = false"),
    ];
    for (i, (setting, why)) in cases.into_iter().enumerate() {
        let outcome = place.train(&format!("--out run{i} --set train.steps=2 --set {setting}")).succeeds();
        assert!(
            outcome.err.contains(&format!("model: transformers cannot open it: it has no class for {why}")),
            "{}",
            outcome.err
        );
        let config = place.json(&format!("run{i}/config.json"));
        assert_eq!((&config["model_type"], config.get("architectures")), (&json!("seqloom"), None));
        place.feed(&format!("translate --device cpu --model run{i}"), b"der hund\n").succeeds();
        place
            .train(&format!("--out again{i} --set train.steps=2 --set train.init_from=run{i} --set {setting}"))
            .succeeds();
    }
    let outcome = place.train("--out run --set train.steps=2").succeeds();
    assert!(!outcome.err.contains("transformers"), "{}", outcome.err);
    assert_eq!(place.json("run/config.json")["architectures"], json!(["MarianMTModel"]));
}
