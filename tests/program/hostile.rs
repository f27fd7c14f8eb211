//! Damaged files, and what is no file in a file's place: one line that names it, exit code 2, nothing written, no waiting, and
//! not much memory. The loaders themselves meet more of them in `tests/hostile`.

use super::Place;
use serde_json::{Value, json};
use std::fs::{self, File};
use std::path::Path;

/// Puts something else in a file's place.
type Damage = fn(&Path);

fn put(path: &Path, bytes: impl AsRef<[u8]>) {
    fs::write(path, bytes).expect("a file in a temporary directory");
}

/// Every kind, and what is said of it in all loaders, or "".
const DAMAGES: [(&str, Damage, &str); 6] = [
    ("nothing", |p| put(p, ""), ""),
    ("a directory", |p| fs::create_dir(p).expect("a directory"), "cannot read"),
    ("zeros", |p| put(p, vec![0; 3000]), ""),
    ("no UTF-8", |p| put(p, [0xff; 3000]), ""),
    ("deep nesting", |p| put(p, "[".repeat(500_000)), ""),
    ("more than settings have", |p| put(p, " ".repeat(40 << 20)), ""),
];

fn remove(path: &Path) {
    let removed = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    removed.expect("something to remove");
}

#[test]
fn a_damaged_run_is_refused_in_one_line() {
    let place = Place::new();
    place.train("--out run --set data.keep_words=true --set train.steps=3").succeeds();
    place.write("b.de", "der hund\n");
    let on = "train tiny.toml --device cpu --out run --set data.keep_words=true --set train.steps=6";
    let translate = "translate --device cpu --model run";
    let checkpoint = "run/checkpoints/step-000003";
    let files = [
        ("run/recipe.toml", vec![translate, on, "average run --last 1 --out out", "inspect --model run --device cpu"]),
        ("run/tokenizer.json", vec![translate, on, "average run --last 1 --out out"]),
        ("run/model.safetensors", vec![translate]),
        ("run/words.txt", vec!["correct --device cpu --model run"]),
        (&format!("{checkpoint}/model.safetensors"), vec![on, "average run --last 1 --out out"]),
        (&format!("{checkpoint}/training_state.safetensors"), vec![on]),
        (&format!("{checkpoint}/training_state.json"), vec![on]),
    ];
    for (file, commands) in files {
        let path = place.path(file);
        let good = place.read(file);
        let half = |p: &Path| put(p, &good[..good.len() / 2]);
        for (name, damage, reason) in
            DAMAGES.map(|(name, damage, reason)| (name, Some(damage), reason)).into_iter().chain([("half", None, "")])
        {
            // Half a list of words is one.
            let words = file.ends_with("words.txt") && ["half", "deep nesting"].contains(&name);
            if words {
                continue;
            }
            remove(&path);
            damage.unwrap_or(|_| {})(&path);
            if damage.is_none() {
                half(&path);
            }
            let before = place.tree(".");
            for command in &commands {
                let outcome = place.run(command);
                outcome.refuses(&[file.rsplit('/').next().expect("a name"), reason]);
                assert!(place.tree(".") == before, "{command} with {name} for {file} wrote something");
            }
        }
        remove(&path);
        place.write(file, &good);
    }
    place.run(on).succeeds();
    place.feed(translate, b"der hund\n").succeeds();
}

/// Numbers at which no run can stand.
#[test]
fn an_absurd_training_state_is_refused() {
    let place = Place::new();
    place.train("--out run --set train.steps=3").succeeds();
    let file = "run/checkpoints/step-000003/training_state.json";
    let good = place.read(file);
    let most = u64::MAX;
    let cases: [(&str, Value, &str); 12] = [
        ("epoch", json!(most), "a damaged training state: epoch is 18446744073709551615 after 3 steps"),
        ("reductions", json!(u32::MAX), "reductions is 4294967295 after 3 steps; use another --out, or --fresh"),
        ("stale", json!(4), "stale is 4 after 3 steps"),
        ("tokens", json!(most), "tokens is 18446744073709551615 after 3 steps"),
        ("best", json!([1.0, 7]), "best is 7 after 3 steps"),
        ("batch", json!(most), "batch 18446744073709551615 of"),
        ("step", json!(-1), "not a training state: invalid value: integer `-1`"),
        ("step", json!(1e300), "not a training state: invalid type: floating point"),
        ("step", Value::Null, "not a training state"),
        ("reductions", json!(most), "not a training state"),
        ("best", json!(["\u{1b}[2J\n".repeat(10_000), 1]), "not a training state: invalid type: string \"\\u{1b}[2J"),
        ("best", json!([[[]], 1]), "not a training state"),
    ];
    for (key, value, reason) in cases {
        let mut state: Value = serde_json::from_slice(&good).expect("JSON");
        state["progress"][key] = value;
        place.write(file, state.to_string());
        let before = place.tree(".");
        place.train("--out run --set train.steps=6").refuses(&["run/checkpoints/step-000003", reason]);
        assert!(place.tree(".") == before);
    }
    // What only looks odd does no harm, and reaches no terminal.
    let mut state: Value = serde_json::from_slice(&good).expect("JSON");
    state["device"] = json!("a\n\u{1b}[2J".repeat(1000));
    place.write(file, state.to_string());
    place.write(
        "run/metrics.jsonl",
        format!(
            "{}\nnull\n{{\"step\":1,\"loss\":1e308}}\n{{\"step\":2,\"loss\":-1e308}}\n{{\"step\":3",
            "[".repeat(100_000)
        ),
    );
    let outcome = place.train("--out run --set train.steps=6").succeeds();
    assert!(
        !outcome.err.contains('\u{1b}') && outcome.err.contains("warning: the run was on a\\n\\u{1b}"),
        "{}",
        outcome.err
    );
}

/// What has no end is not waited for.
#[test]
#[cfg(target_os = "linux")]
fn pipes_devices_and_links_to_themselves_are_no_files() {
    use std::os::unix::fs::symlink;
    let place = Place::new();
    place.train("--out run --set train.steps=3").succeeds();
    fs::create_dir_all(place.path("theirs")).expect("a directory");
    fs::create_dir_all(place.path("shaders")).expect("a directory");
    let no_file: [(Damage, &str); 4] = [
        (
            |p| assert!(std::process::Command::new("mkfifo").arg(p).status().expect("mkfifo").success()),
            "it is a pipe or a device, expected a file",
        ),
        (|p| symlink("/dev/zero", p).expect("a link"), "it is a pipe or a device, expected a file"),
        (|p| symlink(p, p).expect("a link"), "ymbolic link"),
        (|p| symlink("nowhere", p).expect("a link"), "no such file or directory"),
    ];
    let cases = [
        ("x.de", "train tiny.toml --device cpu --out out --set data.source=x.de --set data.target=a.en"),
        ("x.tsv", "train tiny.toml --device cpu --out out --set data.tsv=x.tsv"),
        ("x.toml", "train x.toml --device cpu --out out"),
        ("theirs/config.json", "import theirs --out out"),
        ("run/tokenizer.json", "translate --device cpu --model run"),
        ("run/recipe.toml", "translate --device cpu --model run"),
        ("run/model.safetensors", "evaluate --device cpu --model run --source a.de --reference a.en"),
        ("run/model.safetensors", "train tiny.toml --device cpu --out out --set train.init_from=run"),
        ("words", "correct --device cpu --model run --known words"),
        ("x.json", "bench --baseline x.json"),
        ("shaders/bias.wgsl", "train tiny.toml --shaders shaders --out out"),
    ];
    for (file, command) in cases {
        let path = place.path(file);
        let good = path.exists().then(|| place.read(file));
        for (damage, reason) in no_file {
            let _ = fs::remove_file(&path);
            damage(&path);
            place.run(command).refuses(&[file, reason]);
            assert!(!place.path("out").exists(), "{command} left a directory");
        }
        fs::remove_file(&path).expect("a file to remove");
        if let Some(good) = good {
            place.write(file, good);
        }
    }
}

#[test]
fn a_baseline_that_is_none_is_refused() {
    let place = Place::new();
    for text in [&b""[..], b"[]", b"{\"cases\":[", b"\xff", &b"[".repeat(1_000_000), &b"1,".repeat(20_000_000)] {
        place.write("x.json", text);
        place.run("bench --baseline x.json").refuses(&["x.json"]);
    }
}

/// Compilers call themselves for every term.
#[test]
fn a_shader_that_would_use_up_the_stack_is_refused() {
    let place = Place::new();
    fs::create_dir(place.path("shaders")).expect("a directory");
    let shader = include_str!("../../shaders/bias.wgsl");
    for (text, reason) in [
        (
            shader.replace("b[i % run.y]", &format!("b[i % run.y]{}", " + 1.0".repeat(100_000))),
            "bytes with its imports, at most 65536",
        ),
        (
            shader.replace("b[i % run.y]", &format!("b[i % run.y]{}", " + 1.0".repeat(5000))),
            "a statement of more than 2048 bytes",
        ),
        ("fn f() {}\n".into(), "there is no entry point bias"),
        (" ".repeat(2 << 20), "cannot read shaders/bias.wgsl: it has 2097152 bytes"),
    ] {
        assert_ne!(text, shader);
        place.write("shaders/bias.wgsl", text);
        let outcome = place.run("verify --op bias --shaders shaders");
        assert!(
            outcome.code == Some(2) && outcome.err.lines().filter(|l| l.starts_with("error: ")).count() == 1,
            "{}",
            outcome.err
        );
        assert!(outcome.err.contains(reason) && outcome.err.contains("bias.wgsl"), "{}", outcome.err);
    }
}

/// With little memory to ask for, what a file claims is an error and no end of the process.
#[test]
#[cfg(target_os = "linux")]
fn files_of_any_size_take_little_memory() {
    let place = Place::new();
    place.train("--out run --set train.steps=3").succeeds();
    let sparse = |file: &str| {
        let path = place.path(file);
        let _ = fs::remove_file(&path);
        File::create(path).and_then(|file| file.set_len(10 << 30)).expect("a sparse file");
    };
    let refuses = |arguments: &str, parts: &[&str]| {
        let program = env!("CARGO_BIN_EXE_seqloom");
        let mut command = std::process::Command::new("sh");
        command.arg("-c").arg(format!("ulimit -v 600000; exec {program} {arguments}")).current_dir(place.path("."));
        let output = command.stdin(std::process::Stdio::null()).output().expect("a shell");
        let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
        super::Outcome { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
            .refuses(parts);
        assert!(!place.path("out").exists(), "{arguments} left a directory");
    };
    let train = "train tiny.toml --device cpu --out out";
    place.write("long.tsv", "x".repeat(100_000_000));
    refuses(&format!("{train} --set data.tsv=long.tsv"), &["long.tsv: line 1 has 100,000,000 bytes"]);
    place.write("blank.tsv", "\n".repeat(50_000_000));
    refuses(&format!("{train} --set data.tsv=blank.tsv"), &["blank.tsv: no pair has text on both sides"]);
    refuses(
        &format!("{train} --set data.source=blank.tsv --set data.target=blank.tsv"),
        &["blank.tsv", "no pair has text"],
    );
    sparse("huge.tsv");
    refuses(
        &format!("{train} --set data.tsv=huge.tsv"),
        &["cannot read huge.tsv: its 10737418240 bytes do not fit into memory"],
    );
    refuses(
        "train huge.tsv --device cpu --out out",
        &["cannot read huge.tsv: it has 10737418240 bytes", "is it another file?"],
    );
    sparse("run/model.safetensors");
    refuses("translate --device cpu --model run", &["run/model.safetensors: its 10737418240 bytes do not fit"]);
    // A header of many small numbers.
    let header =
        format!("{{\"a\":{{\"dtype\":\"F32\",\"data_offsets\":[0,0],\"shape\":[{}1]}}}}", "1,".repeat(45_000_000));
    place.write("run/model.safetensors", [&(header.len() as u64).to_le_bytes(), header.as_bytes()].concat());
    refuses("translate --device cpu --model run", &["run/model.safetensors", "more than 8 dimensions"]);
    sparse("run/tokenizer.json");
    refuses("translate --device cpu --model run", &["run/tokenizer.json: it has 10737418240 bytes"]);
    sparse("run/recipe.toml");
    refuses("translate --device cpu --model run", &["run/recipe.toml: it has 10737418240 bytes"]);
}
