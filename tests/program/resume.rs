//! Training that is cut off, goes on, and ends as if nothing had been.

use super::{Outcome, Place};
use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};
use std::time::Duration;

/// Starts a command, waits for a line on standard error that starts with `until`, and lets `stop` end it. It may have
/// ended by itself before that.
fn stop_at(place: &Place, arguments: &str, until: &str, stop: impl FnOnce(&mut Child)) -> Outcome {
    let mut child = place.command(arguments).stdout(Stdio::null()).spawn().expect("the program starts");
    let mut lines = BufReader::new(child.stderr.take().expect("a pipe")).lines();
    let mut err = String::new();
    while !err.lines().last().is_some_and(|line| line.starts_with(until)) {
        let Some(line) = lines.next() else { break };
        err += &(line.expect("UTF-8") + "\n");
    }
    stop(&mut child);
    for line in lines {
        err += &(line.expect("UTF-8") + "\n");
    }
    let code = child.wait().expect("the program ends").code();
    Outcome { code, out: String::new(), err }
}

/// The rows without what the clock says.
fn timeless_metrics(place: &Place, run: &str) -> Vec<Value> {
    let mut rows = place.metrics(run);
    for row in &mut rows {
        let row = row.as_object_mut().expect("an object");
        assert!(row.remove("seconds").is_some() && row.remove("tokens_per_second").is_some());
    }
    rows
}

/// The same model, moments, place in the data and metrics, bit for bit; one row of metrics per step.
#[track_caller]
pub fn same_run(place: &Place, have: &str, want: &str) {
    let newest = |run: &str| place.names(&format!("{run}/checkpoints")).pop().expect("a checkpoint");
    let checkpoint = newest(want);
    assert_eq!(newest(have), checkpoint);
    let same = |name: &str| {
        let bytes = |run: &str| place.read(&format!("{run}/{name}"));
        assert!(bytes(have) == bytes(want), "{name} of {have} differs from that of {want}");
    };
    same("model.safetensors");
    same(&format!("checkpoints/{checkpoint}/model.safetensors"));
    same(&format!("checkpoints/{checkpoint}/training_state.safetensors"));
    let state = |run: &str| {
        let mut state = place.json(&format!("{run}/checkpoints/{checkpoint}/training_state.json"));
        assert!(state.as_object_mut().expect("an object").remove("seconds").is_some());
        state
    };
    assert_eq!(state(have), state(want));

    let rows = timeless_metrics(place, have);
    let steps: Vec<u64> = rows.iter().map(|row| row["step"].as_u64().expect("a step")).collect();
    assert!(steps.iter().copied().eq(1..=steps.len() as u64), "steps of {have}: {steps:?}");
    assert_eq!(rows, timeless_metrics(place, want));
    let table = place.text(&format!("{have}/metrics.tsv"));
    let first_column = table.lines().skip(1).map(|line| line.split('\t').next().expect("a column"));
    assert!(first_column.eq(steps.iter().map(u64::to_string)), "{table}");
    nothing_half_written(place, have);
}

#[track_caller]
fn nothing_half_written(place: &Place, run: &str) {
    for directory in [run.to_string(), format!("{run}/checkpoints")] {
        let names = place.names(&directory);
        assert!(!names.iter().any(|name| name.ends_with(".new")), "{directory}: {names:?}");
    }
}

fn survives_kills(device: &str, steps: u64) {
    let place = Place::new();
    let command = |out: &str| {
        format!("train tiny.toml --out {out} --device {device} --set train.steps={steps} --set train.eval_every=15")
    };
    for out in ["whole", "again"] {
        let outcome = place.run(&command(out)).succeeds();
        let on_cpu = outcome.err.contains("device: cpu");
        assert_eq!(on_cpu, device == "cpu", "this test needs a GPU or a software Vulkan driver:\n{}", outcome.err);
    }
    same_run(&place, "again", "whole");

    let (early, late) = (steps / 3, steps - 20);
    let moments = [
        // Before anything is written, while the directory is set up, and before there is a checkpoint.
        ("data:".to_string(), 0),
        ("model:".into(), 0),
        ("model:".into(), 2),
        ("step 1/".into(), 0),
        // A line is followed by the checkpoint of its step, every third; an evaluation by that of a better model.
        ("step 9/".into(), 1),
        ("step 15: validation".into(), 0),
        (format!("step {early}/"), 3),
        (format!("step {late}/"), 1),
        (format!("step {steps}: validation"), 1),
    ];
    let kill = |(until, milliseconds): &(String, u64)| {
        let outcome = stop_at(&place, &command("killed"), until, |child| {
            std::thread::sleep(Duration::from_millis(*milliseconds));
            child.kill().expect("a process to kill");
        });
        outcome.code != Some(0)
    };
    let killed = moments.iter().filter(|moment| kill(moment)).count();
    // On a busy machine a kill may come late, even after the end.
    assert!(killed >= 6, "only {killed} of {} kills met a run that was at work", moments.len());
    place.run(&command("killed")).succeeds();
    same_run(&place, "killed", "whole");
    // What a kill right behind the last step leaves is removed too.
    std::fs::create_dir(place.path("killed/checkpoints/.step-000003.new")).expect("a directory");
    place.run(&command("killed")).succeeds();
    nothing_half_written(&place, "killed");
}

#[test]
fn kills_leave_no_trace_on_the_cpu() {
    survives_kills("cpu", 120);
}

#[test]
fn kills_leave_no_trace_on_a_gpu() {
    survives_kills("auto", 60);
}

/// Steps of several micro-batches, a learning rate that falls on plateaus, and an end that nobody announced: kills right
/// where the rate falls, before and after that is saved, change none of it.
fn plateaus_survive_kills(device: &str) {
    let place = Place::new();
    let command = |out: &str| {
        format!(
            "train tiny.toml --out {out} --device {device} --set train.steps=90 --set train.accumulate=3 \
             --set train.batch_tokens=100 --set train.schedule=plateau --set train.lr=0.3 --set train.eval_every=3 \
             --set train.plateau_patience=2 --set train.plateau_factor=0.3 --set train.min_lr=0.02 --set train.patience=5"
        )
    };
    let whole = place.run(&command("whole")).succeeds();
    let lowered: Vec<&str> =
        whole.err.lines().filter(|line| line.contains("no better loss in 2 evaluations")).collect();
    assert!(lowered.len() >= 2, "the learning rate never fell twice:\n{}", whole.err);
    let rows = timeless_metrics(&place, "whole");
    let rate = |step: u64| rows[step as usize - 1]["lr"].as_f64().expect("a number");
    let mut lowest: f64 = 0.3;
    for line in &lowered {
        let step = line.strip_prefix("step ").and_then(|rest| rest.split(':').next()).expect(line);
        let step: u64 = step.parse().expect(line);
        assert_eq!(rate(step), lowest, "{line}");
        lowest = (lowest * 0.3).max(0.02);
        if step < rows.len() as u64 {
            assert_eq!(rate(step + 1), lowest, "{line}");
        }
    }
    let steps = rows.len();
    assert!(steps < 90, "patience never ran out");
    assert!(whole.err.contains(&format!("training ends: step {steps} of 90, 5 evaluations without a better loss, ")));
    assert!(whole.err.contains("held-out sentences"), "{}", whole.err);

    let (first, last) = (lowered[0], lowered[lowered.len() - 1]);
    let next = |line: &str| {
        let step = line.strip_prefix("step ").and_then(|rest| rest.split(':').next()).expect(line);
        format!("step {}/", step.parse::<u64>().expect(line) + 1)
    };
    let moments = [(first.to_string(), 0), (next(first), 0), (next(first), 2), (last.to_string(), 1)];
    let kill = |(until, milliseconds): &(String, u64)| {
        let outcome = stop_at(&place, &command("killed"), until, |child| {
            std::thread::sleep(Duration::from_millis(*milliseconds));
            child.kill().expect("a process to kill");
        });
        outcome.code != Some(0)
    };
    let killed = moments.iter().filter(|moment| kill(moment)).count();
    assert!(killed >= 2, "only {killed} of {} kills met a run that was at work", moments.len());
    place.run(&command("killed")).succeeds();
    same_run(&place, "killed", "whole");

    let before = place.tree("killed");
    let again = place.run(&command("killed")).succeeds();
    let finished = format!("killed is finished: step {steps} of 90, 5 evaluations without a better loss, ");
    assert!(again.err.contains(&finished) && again.err.contains("a larger train.patience"), "{}", again.err);
    assert!(place.tree("killed") == before, "a finished run was changed");
    let more = place.run(&(command("killed") + " --set train.patience=0")).succeeds();
    assert!(more.err.contains(&format!("going on after step {steps}\n")), "{}", more.err);
    assert_eq!(place.metrics("killed").len(), 90);
}

#[test]
fn plateaus_survive_kills_on_the_cpu() {
    plateaus_survive_kills("cpu");
}

#[test]
fn plateaus_survive_kills_on_a_gpu() {
    plateaus_survive_kills("auto");
}

/// SIGINT is Ctrl-C, SIGTERM what a scheduler sends.
#[test]
#[cfg(unix)]
fn ctrl_c_finishes_the_step_and_saves() {
    let place = Place::new();
    let command = |out: &str| format!("train tiny.toml --out {out} --device cpu --set train.steps=400");
    place.run(&command("whole")).succeeds();
    for (signal, until) in [("INT", "step 5/"), ("TERM", "step 100/")] {
        let outcome = stop_at(&place, &command("stopped"), until, |child| {
            let status = std::process::Command::new("kill").args(["-s", signal, &child.id().to_string()]).status();
            assert!(status.expect("kill runs").success());
        })
        .succeeds();
        let last = outcome.err.lines().last().expect("a line");
        let step = last.strip_prefix("stopped after step ").and_then(|rest| rest.split(' ').next()).expect(last);
        assert!(last.ends_with("saved; the same command goes on from here"), "{last}");
        let step: u64 = step.parse().expect(last);
        assert!(step < 400, "{last}");
        let checkpoint = format!("stopped/checkpoints/step-{step:06}/training_state.json");
        assert_eq!(place.json(&checkpoint)["progress"]["step"], step);
        assert_eq!(place.metrics("stopped").len() as u64, step);
    }
    place.run(&command("stopped")).succeeds();
    same_run(&place, "stopped", "whole");
}

#[test]
fn a_finished_run_says_so_and_can_be_continued_or_started_over() {
    let place = Place::new();
    place.train("--out run").succeeds();
    let before = place.tree("run");
    let again = place.train("--out run").succeeds();
    assert!(again.err.contains("run is finished: 12 steps; --set train.steps=N goes on"), "{}", again.err);
    assert!(place.tree("run") == before, "a finished run was changed");

    // Another way to decode needs no more steps.
    place.train("--out run --set decode.max_length=7").succeeds();
    assert!(place.text("run/recipe.toml").contains("\nmax_length = 7 "));
    assert_eq!(place.json("run/generation_config.json")["max_length"], 8);

    // More steps, and another way to decode, which the run's recipe remembers.
    place.train("--out run --set train.steps=24 --set decode.max_length=9").succeeds();
    place.train("--out whole --set train.steps=24").succeeds();
    let decoded = |row: &Value| row.as_object().expect("an object").get("bleu").is_some();
    let (rows, whole) = (timeless_metrics(&place, "run"), timeless_metrics(&place, "whole"));
    assert_eq!(rows.len(), 24);
    for (row, whole) in rows.iter().zip(&whole).filter(|(row, _)| !decoded(row)) {
        assert_eq!(row, whole);
    }
    for name in ["model.safetensors", "checkpoints/step-000024/training_state.safetensors"] {
        assert!(place.read(&format!("run/{name}")) == place.read(&format!("whole/{name}")), "{name}");
    }
    let recipe = place.text("run/recipe.toml");
    assert!(recipe.contains("\nsteps = 24 ") && recipe.contains("\nmax_length = 9 "), "{recipe}");

    place.write("run/notes.txt", "mine");
    place.train("--out run --fresh --set train.steps=6 --set model.heads=4").succeeds();
    place.train("--out small --set train.steps=6 --set model.heads=4").succeeds();
    same_run(&place, "run", "small");
    assert!(place.path("run/notes.txt").exists(), "what is not the run's own stays");
}

#[test]
fn a_run_goes_on_only_with_its_own_recipe_and_data() {
    let place = Place::new();
    place.train("--out run").succeeds();
    let before = place.tree("run");
    let cases = [
        ("--set model.d_model=64", "run/recipe.toml: the run was started with model.d_model = 32, now it is 64"),
        ("--set model.dropout=0.2", "model.dropout = 0.1, now it is 0.2"),
        ("--set data.max_length=64", "data.max_length = 128, now it is 64"),
        ("--set train.seed=2 --set train.steps=24", "train.seed = 1, now it is 2"),
    ];
    for (settings, message) in cases {
        place.train(&format!("--out run {settings}")).refuses(&[message, "--fresh"]);
    }
    place.write("a.en", place.text("a.en").replace("dog", "hound"));
    place.train("--out run --set train.steps=24").refuses(&["the data is not what it was", "--fresh"]);
    assert!(place.tree("run") == before, "a refused run was changed");

    // Pairs to validate on decide which model is the best.
    let fresh = Place::new();
    let command = "--out run --set data.valid_tsv=v.tsv --set train.steps=";
    fresh.write("v.tsv", "der hund\tthe dog\n");
    fresh.train(&format!("{command}3")).succeeds();
    fresh.write("v.tsv", "der hund\tthe cat\n");
    fresh.train(&format!("{command}6")).refuses(&["the data is not what it was", "--fresh"]);
}

/// Other shaders are other kernels, as another device is.
#[test]
fn a_run_says_when_its_shaders_are_others() {
    let place = Place::new();
    std::fs::create_dir(place.path("mine")).expect("a directory");
    let own = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("shaders/relu.wgsl");
    std::fs::copy(own, place.path("mine/relu.wgsl")).expect("a copy");
    let train = |more: &str| place.run(&format!("train tiny.toml --out run {more}")).succeeds().err;
    let said = |err: &str| err.lines().filter(|line| line.contains("the run had")).count();
    assert_eq!(said(&train("--set train.steps=2 --shaders mine")), 0);
    assert_eq!(said(&train("--set train.steps=3 --shaders mine")), 0);
    let err = train("--set train.steps=4");
    assert!(err.contains("warning: the run had those of --shaders, now it has the built-in ones"), "{err}");
    assert_eq!(said(&train("--set train.steps=5")), 0);
}

/// The best model of a run exists even when it was found between two checkpoints.
#[test]
fn the_best_model_is_kept_whenever_it_is_found() {
    let place = Place::new();
    // The learning rate soon goes beyond every measure: the first evaluation stays the best.
    let settings = "--set train.lr=300 --set train.warmup=1000 --set train.eval_every=1 --set train.save_every=4 \
                    --set train.keep=1";
    place.train(&format!("--out run --set train.steps=7 {settings}")).succeeds();
    let losses: Vec<f64> = place.metrics("run").iter().map(|row| row["valid_loss"].as_f64().expect("a loss")).collect();
    assert!(losses[1..].iter().all(|loss| *loss > losses[0]), "{losses:?}");
    assert_eq!(place.names("run/checkpoints"), ["step-000001", "step-000007"]);
    assert!(place.is_model_of("run", 1));
    place.train(&format!("--out run --set train.steps=8 {settings}")).succeeds();
    assert_eq!(place.names("run/checkpoints"), ["step-000001", "step-000008"]);
}

/// What a killed run may leave: a directory without its recipe, files under temporary names, a model that is older
/// than its checkpoint, a torn line of metrics.
#[test]
fn a_run_goes_on_from_what_a_kill_leaves() {
    let place = Place::new();
    place.train("--out whole").succeeds();

    std::fs::create_dir_all(place.path("begun/checkpoints")).expect("a directory");
    place.write("begun/tokenizer.json", place.read("whole/tokenizer.json"));
    place.write("begun/.config.json.new", "{");
    place.train("--out begun").succeeds();
    same_run(&place, "begun", "whole");

    place.train("--out torn --set train.steps=6").succeeds();
    std::fs::create_dir(place.path("torn/checkpoints/.step-000007.new")).expect("a directory");
    place.write("torn/checkpoints/.step-000007.new/model.safetensors", "half");
    place.write("torn/.model.safetensors.new", "half");
    place.write("torn/model.safetensors", place.read("torn/checkpoints/step-000003/model.safetensors"));
    let (whole, table) = (place.text("whole/metrics.jsonl"), place.text("whole/metrics.tsv"));
    let rows = |text: &str, lines: usize| text.lines().take(lines).map(|line| format!("{line}\n")).collect::<String>();
    place.write("torn/metrics.jsonl", rows(&whole, 7) + "{\"step\":8,\"los");
    place.write("torn/metrics.tsv", rows(&table, 8) + "8\t0.9");
    place.train("--out torn").succeeds();
    same_run(&place, "torn", "whole");

    // A `--fresh` of another run that was killed at its start, halfway and at its end, beside a file of somebody's.
    let gone = [&[][..], &["model.safetensors", "checkpoints/step-000012"], &["tokenizer.json", "config.json"]];
    for (i, gone) in gone.iter().enumerate() {
        let run = format!("cleared{i}");
        place.train(&format!("--out {run} --set model.heads=4")).succeeds();
        place.write(&format!("{run}/notes.txt"), "mine");
        std::fs::rename(place.path(&format!("{run}/recipe.toml")), place.path(&format!("{run}/.recipe.toml.new")))
            .expect("another name");
        for name in *gone {
            let path = place.path(&format!("{run}/{name}"));
            let removed = if path.is_dir() { std::fs::remove_dir_all(&path) } else { std::fs::remove_file(&path) };
            removed.expect("something to remove");
        }
        place.train(&format!("--out {run}")).succeeds();
        same_run(&place, &run, "whole");
        assert!(place.path(&format!("{run}/notes.txt")).exists());
    }
}

#[test]
fn one_process_trains_in_a_directory() {
    let place = Place::new();
    let long = "train tiny.toml --device cpu --out run --set train.steps=4000";
    let first = stop_at(&place, long, "step 5/", |child| {
        for fresh in ["", "--fresh"] {
            place.train(&format!("--out run {fresh}")).refuses(&["run: another seqloom is training here", "--out"]);
        }
        child.kill().expect("a process to kill");
    });
    assert_ne!(first.code, Some(0), "{}", first.err);
    // A lock does not outlive its process.
    place.train("--out run --set train.steps=6").succeeds();
}
