//! What a run leaves behind.

use super::{Place, pairs};
use safetensors::SafeTensors;
use seqloom::recipe::Recipe;
use serde_json::Value;

#[test]
fn a_run_directory_holds_a_model_and_its_history() {
    let place = Place::new();
    place.train("--out run --set train.steps=20 --set train.eval_every=5 --set train.save_every=2").succeeds();
    let files = ".lock checkpoints config.json generation_config.json loss.svg metrics.jsonl metrics.tsv \
                 model.safetensors recipe.toml tokenizer.json tokenizer_config.json";
    assert_eq!(place.names("run").join(" "), files);

    let recipe = Recipe::parse("recipe.toml", &place.text("run/recipe.toml"), &[]).expect("a recipe");
    assert_eq!((recipe.name.as_str(), recipe.train.steps, recipe.model.d_model), ("tiny", 20, 32));

    let rows = place.metrics("run");
    let steps: Vec<u64> = rows.iter().map(|row| row["step"].as_u64().expect("a step")).collect();
    assert_eq!(steps, (1..=20).collect::<Vec<_>>());
    let always = ["step", "epoch", "loss", "kl", "lr", "grad_norm", "tokens_per_second", "seconds"];
    let judged = ["valid_loss", "valid_perplexity", "bleu", "chrf", "exact"];
    for (row, step) in rows.iter().zip(&steps) {
        let wanted = always.iter().chain(judged.iter().filter(|_| step % 5 == 0));
        let mut wanted: Vec<&str> = wanted.copied().collect();
        wanted.sort_unstable();
        let row = row.as_object().expect("an object");
        assert!(row.keys().eq(wanted.iter()), "{row:?}");
        assert!(row.values().all(|value| value.as_f64().is_some_and(f64::is_finite)), "{row:?}");
    }
    let loss = |row: &Value, key: &str| row[key].as_f64().expect("a number");
    assert!(loss(&rows[19], "loss") < 0.9 * loss(&rows[0], "loss"), "nothing was learned");
    let table = place.text("run/metrics.tsv");
    let cells: Vec<Vec<&str>> = table.lines().map(|line| line.split('\t').collect()).collect();
    assert_eq!(cells[0], [&always[..], &judged].concat());
    for (row_cells, row) in cells[1..].iter().zip(&rows) {
        let wanted = cells[0].iter().map(|key| row.get(*key).map_or(String::new(), Value::to_string));
        assert!(wanted.eq(row_cells.iter().copied()), "{row_cells:?}: {row}");
    }
    let svg = place.text("run/loss.svg");
    assert!(svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>") && svg.contains("validation"), "{svg}");

    // Every second step was saved, and those with a better model than before; the three newest are left, and the best.
    let (mut best, mut least, mut saved) = (0, f64::MAX, vec![]);
    for (row, &step) in rows.iter().zip(&steps) {
        let better = row["valid_loss"].as_f64().is_some_and(|loss| loss < least);
        if better {
            (best, least) = (step, loss(row, "valid_loss"));
        }
        saved.extend((better || step % 2 == 0).then_some(step));
    }
    let newest = saved.iter().rev().filter(|step| **step != best).take(3);
    let mut kept: Vec<String> = newest.chain([&best]).map(|step| format!("step-{step:06}")).collect();
    kept.sort();
    let saved = place.names("run/checkpoints");
    assert_eq!(saved, kept);
    for checkpoint in &saved {
        let directory = format!("run/checkpoints/{checkpoint}");
        assert_eq!(place.names(&directory), ["model.safetensors", "training_state.json", "training_state.safetensors"]);
        let names = |file: &str| -> Vec<String> {
            let bytes = place.read(&format!("{directory}/{file}"));
            let mut names: Vec<String> =
                SafeTensors::deserialize(&bytes).expect("safetensors").names().iter().map(|n| n.to_string()).collect();
            names.sort();
            names
        };
        let model = names("model.safetensors");
        assert!(model.contains(&"model.shared.weight".to_string()), "{model:?}");
        let moments: Vec<String> =
            [1, 2].iter().flat_map(|i| model.iter().map(move |name| format!("moment{i}.{name}"))).collect();
        assert_eq!(names("training_state.safetensors"), moments);
        let state = place.json(&format!("{directory}/training_state.json"));
        assert_eq!(format!("step-{:06}", state["progress"]["step"].as_u64().expect("a step")), *checkpoint);
        assert!(state["progress"]["epoch"].is_u64() && state["progress"]["batch"].is_u64(), "{state}");
    }
    assert!(place.is_model_of("run", best));

    let config = place.json("run/config.json");
    assert_eq!((&config["model_type"], &config["d_model"]), (&"marian".into(), &32.into()));
    let vocabulary = place.json("run/tokenizer.json")["model"]["vocab"].as_object().expect("an object").len();
    assert_eq!(config["vocab_size"], vocabulary);
}

/// Before the first step people are told what training takes of the device's memory.
#[test]
fn training_says_how_much_memory_it_takes() {
    let place = Place::new();
    for device in ["cpu", "auto"] {
        let outcome =
            place.run(&format!("train tiny.toml --out {device} --device {device} --set train.steps=1")).succeeds();
        let before: Vec<&str> = outcome.err.lines().take_while(|line| !line.starts_with("step ")).collect();
        let said: Vec<&str> = before.into_iter().filter(|line| line.starts_with("memory: ")).collect();
        let parts = ["parameters ", "gradients ", "moments "];
        assert!(!said.is_empty() && parts.iter().all(|part| said[0].contains(part)), "{}", outcome.err);
        let on_cpu = outcome.err.contains("device: cpu");
        assert_eq!(on_cpu, device == "cpu", "this test needs a GPU or a software Vulkan driver:\n{}", outcome.err);
        if !on_cpu {
            assert!(said[0].contains(", activations ") && said[0].contains("(shared by "), "{}", said[0]);
            assert!(said[1].contains("largest binding is ") && said[1].ends_with(" MiB"), "{}", said[1]);
        }
    }
}

/// The steps before a gradient that is not finite are in the metrics, even when nothing was saved since.
#[test]
fn a_run_that_fails_leaves_the_numbers_of_its_steps() {
    let place = Place::new();
    let settings =
        "--set train.optimizer=sgd --set train.lr=1000 --set train.clip=0 --set train.warmup=0 --set train.steps=99";
    for log_every in [1, 99] {
        let rarely = format!("--set train.log_every={log_every} --set train.eval_every=99 --set train.save_every=99");
        let outcome = place.train(&format!("--out run{log_every} {settings} {rarely}"));
        assert_eq!(outcome.code, Some(1), "{}", outcome.err);
        let last = outcome.err.lines().last().expect("a line");
        let step = last.strip_prefix("error: step ").and_then(|rest| rest.split(':').next()).expect(last);
        let step: usize = step.parse().expect(last);
        assert!(last.contains("the gradient is not finite") && step > 2, "{last}");
        let rows = place.metrics(&format!("run{log_every}"));
        let steps: Vec<usize> = rows.iter().map(|row| row["step"].as_u64().expect("a step") as usize).collect();
        assert_eq!(steps, (1..step).collect::<Vec<_>>());
        assert!(rows.iter().all(|row| row["grad_norm"].as_f64().is_some_and(f64::is_finite)), "{rows:?}");
    }
}

/// Two files, tab-separated columns and CSV are three ways to write down the same pairs: the runs are the same.
#[test]
fn every_form_of_data_trains() {
    let place = Place::new();
    let pairs = pairs();
    let (train, valid) = pairs.split_at(50);
    let text = |pairs: &[(String, String)], line: fn(&(String, String)) -> String| -> String {
        pairs.iter().map(line).collect()
    };
    for (name, pairs) in [("train", train), ("valid", valid)] {
        place.write(&format!("{name}.de"), text(pairs, |(source, _)| format!("{source}\r\n")));
        place.write(&format!("{name}.en"), text(pairs, |(_, target)| format!("{target}\n")));
        place.write(&format!("{name}.tsv"), text(pairs, |(source, target)| format!("{source}\t{target}\n")));
        let csv = text(pairs, |(source, target)| format!("\"{target}\",{source},7\n"));
        place.write(&format!("{name}.csv"), format!("target,source,id\n{csv}"));
    }
    let model = super::RECIPE.split("[data]").next().expect("a section");
    let rest = super::RECIPE.split("[tokenizer]").nth(1).expect("a section");
    let forms = [
        (
            "parallel",
            "source = \"train.de\"\ntarget = \"train.en\"\nvalid_source = \"valid.de\"\nvalid_target = \"valid.en\"",
        ),
        ("tsv", "tsv = \"train.tsv\"\nvalid_tsv = \"valid.tsv\""),
        ("csv", "tsv = \"train.csv\"\nvalid_tsv = \"valid.csv\""),
    ];
    for (name, data) in forms {
        place.write(&format!("{name}.toml"), format!("{model}[data]\n{data}\n[tokenizer]{rest}"));
        // The directory is named after the recipe when nothing else is said.
        let outcome = place.run(&format!("train {name}.toml --device cpu")).succeeds();
        assert!(outcome.err.contains("data: 50 pairs read; 50 to train, 10 to validate"), "{}", outcome.err);
        let file = |name: &str, file: &str| place.read(&format!("runs/{name}/{file}"));
        for part in ["tokenizer.json", "model.safetensors", "checkpoints/step-000012/training_state.safetensors"] {
            assert!(file(name, part) == file("parallel", part), "{part} of {name}");
        }
    }

    // A character vocabulary, another optimiser, another schedule, batches by number.
    let settings = "--set tokenizer.kind=char --set train.optimizer=sgd --set train.schedule=noam \
                    --set train.batch_size=8 --set train.epochs=2 --set model.tie_embeddings=false \
                    --set model.bias=false";
    place.run(&format!("train tsv.toml --device cpu --out runs/other {settings}")).succeeds();
    let last = place.metrics("runs/other").pop().expect("a row");
    assert_eq!(last["epoch"], 2.0);
}

/// A vocabulary for each side, with and without tied embeddings: trained, gone on with, translated with, evaluated.
#[test]
fn each_side_may_have_its_own_vocabulary() {
    let place = Place::new();
    for (run, tied) in [("tied", true), ("untied", false)] {
        let settings =
            format!("--set tokenizer.shared=false --set tokenizer.vocab_size=2000 --set model.tie_embeddings={tied}");
        place.train(&format!("--out {run} --set train.steps=6 {settings}")).succeeds();
        place.train(&format!("--out {run} --set train.steps=12 {settings}")).succeeds();
        let files = ".lock checkpoints config.json generation_config.json loss.svg metrics.jsonl metrics.tsv \
                     model.safetensors recipe.toml source_tokenizer.json target_tokenizer.json";
        assert_eq!(place.names(run).join(" "), files);
        let size = |side: &str, word: &str, other: &str| {
            let json = place.json(&format!("{run}/{side}_tokenizer.json"));
            let vocab = json["model"]["vocab"].as_object().expect("an object");
            assert!(vocab.contains_key(word) && !vocab.contains_key(other), "{side}: {vocab:?}");
            vocab.len()
        };
        let (source, target) = (size("source", "hund", "dog"), size("target", "dog", "hund"));
        assert_ne!(source, target, "vocabularies of one size would hide which is which");
        let bytes = place.read(&format!("{run}/model.safetensors"));
        let tensors = SafeTensors::deserialize(&bytes).expect("safetensors");
        let mut embeddings: Vec<(&str, Vec<usize>)> = tensors.iter().map(|(n, t)| (n, t.shape().into())).collect();
        embeddings.retain(|(name, _)| name.contains("embed_tokens") || *name == "lm_head.weight");
        embeddings.sort();
        let mut wanted = vec![
            ("model.decoder.embed_tokens.weight", vec![target, 32]),
            ("model.encoder.embed_tokens.weight", vec![source, 32]),
        ];
        if !tied {
            wanted.insert(0, ("lm_head.weight", vec![target, 32]));
        }
        assert_eq!(embeddings, wanted);
        let config = place.json(&format!("{run}/config.json"));
        assert_eq!((&config["vocab_size"], &config["decoder_vocab_size"]), (&source.into(), &target.into()));
        assert_eq!(config["share_encoder_decoder_embeddings"], false);
        assert_eq!(config["tie_word_embeddings"], tied);

        let out = place.feed(&format!("translate --device cpu --model {run}"), b"der hund\n").succeeds().out;
        assert_eq!(out.matches('\n').count(), 1);
        place.run(&format!("evaluate --device cpu --model {run} --source a.de --reference a.en")).succeeds();
    }
    place.train("--out tied --set tokenizer.vocab_size=2000").refuses(&["tokenizer.shared = false, now it is true"]);
    place.write("tied/target_tokenizer.json", "{");
    place.run("translate --device cpu --model tied").refuses(&["tied/target_tokenizer.json"]);

    // As a run leaves it that was killed while it was set up, with a shared vocabulary.
    std::fs::create_dir_all(place.path("begun/checkpoints")).expect("a directory");
    place.write("begun/tokenizer.json", "{}");
    place.train("--out begun --set tokenizer.shared=false").succeeds();
    assert!(!place.path("begun/tokenizer.json").exists());
}

/// With nothing but the size set: the built-in corpus, in the directory of the built-in recipe's name.
#[test]
fn the_built_in_corpus_is_the_default() {
    let place = Place::new();
    let small = "--set model.d_model=16 --set model.heads=2 --set model.encoder_layers=1 --set model.decoder_layers=1 \
                 --set model.ffn=16 --set data.pairs=200 --set tokenizer.vocab_size=300 --set train.steps=2 \
                 --set decode.max_length=4";
    let outcome = place.run(&format!("train --device cpu {small}")).succeeds();
    assert!(outcome.err.contains("data: 200 pairs of the built-in phrasebook"), "{}", outcome.err);
    assert!(outcome.err.contains("held out: BLEU"), "{}", outcome.err);
    assert!(place.path("runs/phrasebook/model.safetensors").exists());
}
