//! What people who work on kernels ask of a model: a step on both executors, a step's time, a trace.

use crate::{Outcome, Place};
use serde_json::Value;
use std::collections::BTreeMap;

/// Twelve steps on the GPU, a checkpoint at the last.
fn trained(place: &Place) {
    place.run("train tiny.toml --out run").succeeds();
}

#[track_caller]
fn json(outcome: &Outcome) -> Value {
    serde_json::from_str(&outcome.out).unwrap_or_else(|e| panic!("{e}: {}", outcome.out))
}

#[test]
fn a_step_of_a_run_is_played_on_both_executors() {
    let place = Place::new();
    trained(&place);
    let before = place.tree("run");
    let outcome = place.run("verify --model run --json").succeeds();
    let said = json(&outcome);
    assert!(said["step"] == 13 && said["batch"] == "data" && said["failed"] == 0, "{said}");
    assert!(said["first"].is_null() && said["planted"].is_null(), "{said}");
    let ops: Vec<&str> =
        said["operations"].as_array().expect("a list").iter().map(|o| o["op"].as_str().unwrap()).collect();
    assert!(["embedding", "attention", "matmul", "add_norm_vjp", "adam"].iter().all(|op| ops.contains(op)), "{ops:?}");
    assert!(outcome.err.contains("data: batch ") && outcome.err.contains("for step 13 of run\n"), "{}", outcome.err);

    // A fault: exit code 1, and its place in words.
    let outcome = place.run("verify --model run --rows 2 --tamper attention_key_vjp:2");
    assert_eq!(outcome.code, Some(1), "{}", outcome.err);
    let fail = outcome.out.lines().find(|line| line.starts_with("FAIL ")).expect("a failure");
    let planted =
        outcome.err.lines().find_map(|line| line.strip_prefix("planted: a fault in ")).expect("what was planted");
    assert_eq!(fail, format!("FAIL {planted}"));
    assert!(fail.contains("(backward), attention_key_vjp in decoder.layers.0."), "{fail}");
    assert!(outcome.out.contains("but the definition says") && outcome.out.contains("1 of "), "{}", outcome.out);
    assert!(outcome.err.contains(", 2 of "), "{}", outcome.err);

    place.run("verify --model run --tamper matmool").refuses(&["matmool", "matmul", "adam"]);
    place.run("verify --model run --tamper adam:x").refuses(&["adam:x"]);
    place.run("verify --model nowhere").refuses(&["nowhere", "recipe.toml"]);
    assert!(place.tree("run") == before, "looking changes nothing");

    // Without its data, and with a kernel that is wrong.
    std::fs::remove_file(place.path("a.de")).expect("the corpus");
    let shader = concat!(env!("CARGO_MANIFEST_DIR"), "/shaders/layer_norm_weight_vjp.wgsl");
    let text = std::fs::read_to_string(shader).expect("a shader");
    std::fs::create_dir(place.path("shaders")).expect("a directory");
    place.write("shaders/layer_norm_weight_vjp.wgsl", text.replacen("0.0", "1.0", 1));
    let outcome = place.run("verify --model run --rows 2 --json --shaders shaders");
    let said = json(&outcome);
    assert!(outcome.code == Some(1) && said["batch"] == "random", "{said}");
    assert!(outcome.err.contains("a.de") && outcome.err.contains("random tokens"), "{}", outcome.err);
    assert_eq!(said["first"]["op"], "layer_norm_weight_vjp", "{said}");
    let element = said["first"]["element"].as_str().expect("a name");
    assert!(element.starts_with("gradient of model.decoder.layers.0."), "{element}");
    assert!(said["failed"].as_u64() < said["passes"].as_u64(), "{said}");
    let recipe = place.text("run/recipe.toml");
    let without = recipe.replace("\"a.de\"", "\"\"").replace("\"a.en\"", "\"\"");
    assert_ne!(recipe, without);
    place.write("run/recipe.toml", without);
    let outcome = place.run("verify --model run --rows 1").succeeds();
    assert!(outcome.err.contains("warning: the recipe names no data; the step is on random"), "{}", outcome.err);
}

#[test]
fn a_profile_is_a_trace_and_changes_nothing() {
    let place = Place::new();
    trained(&place);
    let set = "--out watched --profile trace.json --profile-steps 2";
    let outcome = place.run(&format!("train tiny.toml {set}")).succeeds();
    assert!(outcome.err.contains("profile: ") && outcome.err.contains("trace.json"), "{}", outcome.err);
    for name in ["model.safetensors", "training_state.safetensors"] {
        let [plain, watched] =
            ["run", "watched"].map(|run| place.read(&format!("{run}/checkpoints/step-000012/{name}")));
        assert!(plain == watched, "{name}");
    }

    let trace = place.json("trace.json");
    let events = trace["traceEvents"].as_array().expect("events");
    let text = |event: &Value, key: &str| event[key].as_str().unwrap_or_else(|| panic!("{key} of {event}")).to_string();
    assert!(events.iter().all(|e| ["X", "M"].contains(&text(e, "ph").as_str()) && !text(e, "name").is_empty()));
    let mut tracks: BTreeMap<String, Vec<(f64, f64, &Value)>> = BTreeMap::new();
    for event in events.iter().filter(|e| e["ph"] == "X") {
        let [begin, length] = ["ts", "dur"].map(|key| event[key].as_f64().expect("a time"));
        assert!(begin >= 0.0 && length >= 0.0, "{event}");
        tracks.entry(text(event, "cat")).or_default().push((begin, begin + length, event));
    }
    assert_eq!(tracks.keys().collect::<Vec<_>>(), ["host", "passes", "phases", "steps"]);
    // Times are whole nanoseconds: what is less apart is rounding.
    let rounding = 1e-3;
    for (track, slices) in &tracks {
        let names: Vec<&Value> = slices.iter().map(|s| &s.2["name"]).collect();
        assert!(slices.windows(2).all(|s| s[0].1 <= s[1].0 + rounding), "{track} overlaps: {names:?}");
    }
    let names = |track: &str| tracks[track].iter().map(|s| text(s.2, "name")).collect::<Vec<_>>();
    assert_eq!(names("steps"), ["step 2", "step 3"]);
    assert_eq!(names("phases"), ["forward", "backward", "update", "forward", "backward", "update"]);
    assert_eq!(names("host")[..5], ["build the batch", "build the batch", "submit", "wait", "submit"]);
    let passes = &tracks["passes"];
    assert!(names("passes").contains(&"matmul encoder.layers.0.ffn".to_string()), "{:?}", names("passes"));
    for (begin, end, pass) in passes {
        let holds = |track: &str, name: &Value| {
            let inside = |s: &&(f64, f64, &Value)| s.0 <= begin + rounding && *end <= s.1 + rounding;
            tracks[track].iter().filter(inside).any(|s| s.2["name"] == *name)
        };
        let arguments = &pass["args"];
        assert!(holds("phases", &arguments["phase"]), "{pass}");
        assert!(holds("steps", &Value::from(format!("step {}", arguments["step"]))), "{pass}");
        assert!(arguments["flops"].is_u64() && arguments["bytes"].is_u64() && arguments["grid"].is_string(), "{pass}");
    }

    let refused = |arguments: &str, parts: &[&str]| place.run(arguments).refuses(parts);
    refused("train tiny.toml --out other --profile x.json --device cpu", &["--profile", "cpu", "timestamps"]);
    refused("train tiny.toml --out other --profile nowhere/x.json", &["nowhere"]);
    assert!(!place.path("other").exists());
}

#[test]
fn a_recipe_is_timed() {
    let place = Place::new();
    let outcome = place.run("bench --recipe tiny.toml --steps 3 --json").succeeds();
    let said = json(&outcome);
    let number = |path: &str| said.pointer(path).and_then(Value::as_f64).unwrap_or_else(|| panic!("{path} of {said}"));
    assert_eq!(said["step_seconds"]["all"].as_array().map(Vec::len), Some(3));
    assert!(number("/step_seconds/least") <= number("/step_seconds/median"));
    assert!(number("/step_seconds/median") <= number("/step_seconds/most"));
    for path in
        ["/tokens_per_second", "/flops_per_step", "/model_flop_utilisation", "/memory/planned", "/memory/process"]
    {
        assert!(number(path) > 0.0, "{path} of {said}");
    }
    assert!(number("/dispatches_per_step") > 50.0 && number("/submissions_per_step") >= 2.0);
    // Every pass is in both tables.
    for key in ["passes", "seconds", "share"] {
        let sum = |table: &str| {
            said[table].as_array().expect("a table").iter().map(|r| r[key].as_f64().unwrap()).sum::<f64>()
        };
        assert!((sum("phases") / sum("operations") - 1.0).abs() < 1e-9, "{key} of {said}");
    }
    let phases: Vec<&str> = said["phases"].as_array().unwrap().iter().map(|p| p["name"].as_str().unwrap()).collect();
    assert!(["forward", "backward", "update"].iter().all(|phase| phases.contains(phase)), "{phases:?}");
    assert!(!place.path("runs").exists(), "nothing is written");

    // The arithmetic of a model is that of forward passes, and the limits are those without checks.
    let outcome = place.run("bench --recipe tiny.toml --steps 2 --tokens 8x8x2 --checked --json").succeeds();
    assert!(
        outcome.err.contains("warning: shaders run with bounds and loop checks, which take time\n"),
        "{}",
        outcome.err
    );
    let said = json(&outcome);
    let forward = said["phases"].as_array().unwrap().iter().find(|p| p["name"] == "forward").expect("forward passes");
    let number = |value: &Value| value.as_f64().unwrap_or_else(|| panic!("not a number in {said}"));
    let model = 3.0 * number(&forward["flops_per_second"]) * number(&forward["seconds"]);
    let steps = said["step_seconds"]["all"].as_array().expect("a list");
    let rate = model * steps.len() as f64 / steps.iter().map(number).sum::<f64>();
    let share = rate / number(&said["limits"]["flops_per_second"]);
    assert!((number(&said["model_flop_utilisation"]) / share - 1.0).abs() < 1e-9, "{share}: {said}");

    // On the CPU less is known; a language model has no source.
    let outcome = place.run("bench --recipe tiny.toml --device cpu --steps 1 --tokens 8x12x4").succeeds();
    assert!(outcome.out.contains("4 rows of 8 source and 12 target positions"), "{}", outcome.out);
    assert!(outcome.out.contains("target tokens/s") && outcome.out.contains("no timestamps"), "{}", outcome.out);
    let outcome = place.run("bench --recipe shakespeare --device cpu --steps 1 --tokens 8x2 --set model.d_model=16");
    assert!(outcome.succeeds().out.contains("2 rows of 8 positions"));
    place.run("bench --recipe tiny.toml --tokens 8x4").refuses(&["--tokens", "SOURCExTARGETxROWS"]);

    // Where there is no data: the model that `inspect` tells of, which has two vocabularies here.
    let set = "--set train.batch_size=1 --set model.d_model=16 --set tokenizer.vocab_size=300";
    let seen = json(&place.run(&format!("inspect --recipe multi30k --device cpu --json {set}")).succeeds());
    for tokens in ["", "--tokens 4x4x1"] {
        let timed = place.run(&format!("bench --recipe multi30k --device cpu --steps 1 --json {set} {tokens}"));
        let timed = timed.succeeds();
        let warned = timed.err.contains("warning: the recipe names no data; the steps are on random tokens, pairs of ");
        assert_eq!(warned, tokens.is_empty(), "{}", timed.err);
        let timed = json(&timed);
        assert!(timed["data"].as_str().is_some_and(|data| data.starts_with("random tokens, ")), "{timed}");
        assert_eq!(timed["parameters"], seen["parameters"], "{tokens}");
    }
}
