//! GPT-2 directories with a tokenizer of GPT-2's own kind, as transformers saves them and as the hub has them.

use super::Place;
use super::interchange::{change_json, change_tensors, copy};
use safetensors::Dtype;
use serde_json::{Value, json};
use std::fs;

fn stored() -> Value {
    serde_json::from_str(include_str!("../golden/gpt2/texts.json")).expect("JSON")
}

/// Every stored prompt goes on as in transformers, to `<|endoftext|>` or as far as it was let.
fn goes_on_as_there(place: &Place, run: &str) {
    for pair in stored()["generated"].as_array().expect("pairs") {
        let (prompt, text) = (pair[0].as_str().expect("a prompt"), pair[1].as_str().expect("a text"));
        let mut command = place.command(&format!("generate --device cpu --model {run} --beam 1 --max-tokens 24"));
        let output = command.arg(format!("--prompt={prompt}")).output().expect("the program starts");
        let err = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && !err.contains("warning"), "{err}");
        assert_eq!(String::from_utf8(output.stdout).expect("UTF-8"), format!("{prompt}{text}\n"));
    }
}

#[test]
fn an_imported_gpt2_goes_on_with_texts() {
    let place = Place::new();
    copy(&place, "../gpt2", "theirs");
    let outcome = place.run("import theirs --out run").succeeds();
    assert!(outcome.err.contains("400 tokens; try: seqloom generate --model run"), "{}", outcome.err);
    assert!(!outcome.err.contains("warning"), "{}", outcome.err);
    goes_on_as_there(&place, "run");
    // What transformers reads there.
    for (file, end) in [("config.json", json!(399)), ("generation_config.json", json!(399))] {
        let config = place.json(&format!("run/{file}"));
        assert_eq!((&config["bos_token_id"], &config["eos_token_id"]), (&end, &end), "{file}");
        assert!(config["pad_token_id"].is_null(), "{file}");
    }
    let config = place.json("run/tokenizer_config.json");
    assert_eq!((&config["tokenizer_class"], &config["eos_token"]), (&json!("GPT2Tokenizer"), &json!("<|endoftext|>")));
    assert!(config.get("pad_token").is_none() && config.get("split_special_tokens").is_none(), "{config}");
    let (ours, theirs) = (place.json("run/tokenizer.json"), place.json("theirs/tokenizer.json"));
    for key in ["vocab", "merges"] {
        assert_eq!(ours["model"][key], theirs["model"][key]);
    }

    // Lines of standard input, drawn by chance; what ends a text is no part of it.
    let several = |flags: &str| {
        place
            .feed(&format!("generate --device cpu --model run --max-tokens 20 {flags}"), b"The cat\n\nYes!\n")
            .succeeds()
    };
    let drawn = several("--samples 2 --seed 3 --temperature 0.7").out;
    assert_eq!(drawn.lines().count(), 6, "{drawn}");
    assert!(drawn.lines().take(2).all(|l| l.starts_with("The cat")) && !drawn.contains("endoftext"), "{drawn}");
    assert_eq!(several("--samples 2 --seed 3 --temperature 0.7").out, drawn);
    let beam = several("--beam 3 --length-penalty 0").out;
    assert_eq!(beam.lines().nth(1), Some("The dog sees a cat."), "{beam}");

    // A directory that it already is, and one that is a run.
    place.run("import theirs --out run").refuses(&["run is not a new directory"]);
    place.run("import run --out again").succeeds();
    assert!(place.read("again/model.safetensors") == place.read("run/model.safetensors"));
    assert!(place.read("again/tokenizer.json") == place.read("run/tokenizer.json"));
}

/// What directories on the hub have and save_pretrained does not write any more.
#[test]
fn directories_of_the_hub_are_read() {
    let place = Place::new();
    copy(&place, "../gpt2", "new");
    place.run("import new --out from_new").succeeds();

    // OpenAI's: no prefix, the causal mask as numbers, no tokenizer.json, no generation_config.json.
    copy(&place, "../gpt2", "old");
    for file in ["tokenizer.json", "tokenizer_config.json", "generation_config.json"] {
        fs::remove_file(place.path(&format!("old/{file}"))).expect("a file to remove");
    }
    let mask = |dtype: Dtype, size: usize| {
        let of_byte = if dtype == Dtype::F32 { 1f32.to_le_bytes().to_vec() } else { vec![1] };
        let causal = (0..size * size).map(|i| i % size <= i / size);
        let zero = vec![0; of_byte.len()];
        causal.flat_map(|on| if on { of_byte.clone() } else { zero.clone() }).collect::<Vec<u8>>()
    };
    change_tensors(&place, "old/model.safetensors", |tensors| {
        for tensor in tensors.iter_mut() {
            tensor.0 = tensor.0.replace("transformer.", "");
        }
        for (layer, dtype) in [(0, Dtype::F32), (1, Dtype::U8)] {
            tensors.push((format!("h.{layer}.attn.bias"), dtype, vec![1, 1, 48, 48], mask(dtype, 48)));
            tensors.push((format!("h.{layer}.attn.masked_bias"), Dtype::F32, vec![], (-1e4f32).to_le_bytes().to_vec()));
        }
    });
    change_json(&place, "old/config.json", |config| {
        for (key, value) in
            [("n_ctx", json!(48)), ("task_specific_params", json!({"text-generation": {"do_sample": true}}))]
        {
            config[key] = value;
        }
        for key in ["tie_word_embeddings", "scale_attn_weights", "pad_token_id", "dtype", "n_inner"] {
            config.as_object_mut().expect("an object").remove(key);
        }
    });
    place.run("import old --out from_old").succeeds();

    // With a head that is the table again, and a mask of truth values.
    copy(&place, "../gpt2", "tied");
    change_tensors(&place, "tied/model.safetensors", |tensors| {
        let table = tensors.iter().find(|t| t.0 == "transformer.wte.weight").cloned().expect("a table");
        tensors.push(("lm_head.weight".into(), table.1, table.2, table.3));
        tensors.push(("transformer.h.0.attn.bias".into(), Dtype::BOOL, vec![1, 1, 48, 48], mask(Dtype::BOOL, 48)));
    });
    place.run("import tied --out from_tied").succeeds();

    for run in ["from_old", "from_tied"] {
        for file in place.names("from_new") {
            assert!(place.read(&format!("{run}/{file}")) == place.read(&format!("from_new/{file}")), "{run}/{file}");
        }
    }

    // Ids that are none of the tokenizer's end no text.
    copy(&place, "../gpt2", "ids");
    change_json(&place, "ids/config.json", |config| config["eos_token_id"] = json!(50256));
    let outcome = place.run("import ids --out from_ids").succeeds();
    assert!(
        outcome.err.contains(
            "warning: ids/config.json: eos_token_id = 50256 is not kept: <|endoftext|> is 399 in ids/tokenizer.json"
        ),
        "{}",
        outcome.err
    );
    goes_on_as_there(&place, "from_ids");
}

#[test]
fn gpt2_directories_that_are_not_right_are_refused() {
    let place = Place::new();
    let refuses = |change: &dyn Fn(), parts: &[&str]| {
        let _ = fs::remove_dir_all(place.path("bad"));
        copy(&place, "../gpt2", "bad");
        change();
        place.run("import bad --out out").refuses(parts);
        assert!(!place.path("out").exists());
    };
    let remove = |file: &str| fs::remove_file(place.path(&format!("bad/{file}"))).expect("a file to remove");
    let tokens = |change: &dyn Fn(&mut Value)| change_json(&place, "bad/tokenizer.json", |t| change(t));
    refuses(
        &|| tokens(&|t| t["pre_tokenizer"]["add_prefix_space"] = json!(true)),
        &["bad/tokenizer.json: neither", "its pre_tokenizer differs"],
    );
    refuses(
        &|| change_json(&place, "bad/config.json", |c| c["vocab_size"] = json!(50257)),
        &["bad/config.json: vocab_size is 50257, and bad/tokenizer.json has 400 tokens"],
    );
    let slow = |file: &str, text: &str| {
        remove("tokenizer.json");
        place.write(&format!("bad/{file}"), text);
    };
    refuses(&|| slow("merges.txt", "#version: 0.2\nh e\nhe\n"), &["bad/merges.txt:3: expected two tokens"]);
    refuses(&|| slow("vocab.json", "[1]"), &["bad/vocab.json: no tokens with their ids"]);
    refuses(
        &|| slow("vocab.json", "{\"a\": 0}"),
        &["bad/vocab.json with bad/merges.txt: ", "model.vocab lacks a byte"],
    );
    let without = |file: &str| {
        remove("tokenizer.json");
        remove(file);
    };
    refuses(&|| without("merges.txt"), &["bad: there is no tokenizer.json", "one that seqloom wrote, or GPT-2's"]);
    refuses(&|| without("vocab.json"), &["bad: there is no tokenizer.json"]);
    refuses(
        &|| change_tensors(&place, "bad/model.safetensors", |t| t[0].1 = Dtype::I32),
        &["is I32; F32, F16 and BF16 can be read"],
    );
}

const TEXT: &str = "The dog sees a cat.<|endoftext|>The cat doesn't see\n\nthe dog. It's asleep.<|endoftext|>\n";

#[test]
fn training_goes_on_from_an_imported_gpt2() {
    let place = Place::new();
    copy(&place, "../gpt2", "theirs");
    place.run("import theirs --out imported").succeeds();
    place.write("text.txt", TEXT.repeat(40));
    let train = |model: &str, out: &str, steps: usize| {
        place.run(&format!(
            "train imported/recipe.toml --device cpu --out {out} --set data.text=text.txt --set train.init_from={model} \
             --set train.batch_size=2 --set train.block=48 --set train.steps={steps} --set train.lr=1e-3 \
             --set train.warmup=0 --set train.eval_every=4 --set train.save_every=2"
        ))
    };
    // From what transformers wrote and from the run that it became.
    let outcome = train("theirs", "whole", 8).succeeds();
    assert!(outcome.err.contains("model: starts from theirs/model.safetensors, with its tokenizer"), "{}", outcome.err);
    train("imported", "same", 8).succeeds();
    assert!(place.read("whole/model.safetensors") == place.read("same/model.safetensors"));
    // In two sittings, and without what it started from.
    train("theirs", "halves", 4).succeeds();
    fs::rename(place.path("theirs"), place.path("gone")).expect("a directory");
    train("theirs", "halves", 8).succeeds();
    for file in ["model.safetensors", "tokenizer.json", "config.json", "generation_config.json"] {
        assert!(place.read(&format!("halves/{file}")) == place.read(&format!("whole/{file}")), "{file}");
    }
    let losses: Vec<f64> = place.metrics("whole").iter().filter_map(|row| row["valid_loss"].as_f64()).collect();
    assert!(losses.len() == 2 && losses[1] < losses[0], "{losses:?}");
    assert_eq!(place.json("whole/config.json")["eos_token_id"], 399);
    // It has read where texts end, and says so.
    let said = place.run("generate --device cpu --model whole --prompt= --beam 1 --max-tokens 48").succeeds();
    assert!(said.out.ends_with(".\n") && !said.out.contains("endoftext"), "{}", said.out);
    assert!(!said.err.contains("48 tokens in"), "{}", said.err);
}

#[test]
fn pairs_need_marks_that_gpt2_lacks() {
    let place = Place::new();
    copy(&place, "../gpt2", "theirs");
    place.run("import theirs --out imported").succeeds();
    let train = "train imported/recipe.toml --device cpu --set data.source=a.de --set data.target=a.en --set train.steps=2 \
                 --set train.init_from=theirs --set train.batch_size=4 --set train.warmup=0";
    place.run(&format!("{train} --out run --set data.marks=true")).refuses(&[
        "data.marks: the tokenizer is GPT-2's, which has no <s> and </s>",
        "set data.marks = false, or learn from a text with data.text",
    ]);
    assert!(!place.path("run").exists());
    place.run(&format!("{train} --out run --set data.marks=false")).succeeds();
    place.feed("translate --device cpu --model run", b"der hund\n").succeeds();
}
