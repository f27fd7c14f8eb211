//! What people get wrong: one line that says what, exit code 2, and nothing touched.

use super::Place;
use std::fs;

/// Training must be refused before its directory exists.
#[test]
fn training_refuses_in_one_line_and_writes_nothing() {
    let place = Place::new();
    place.write("empty.txt", "");
    place.write("blank.txt", "\n".repeat(60));
    place.write("short.en", "the dog\n");
    place.write("latin1.de", b"ein\ngro\xdf\n");
    place.write("latin1.en", "a\nbig\n");
    place.write("one.tsv", "no tab here\n");
    place.write("quote.csv", "\"der hund,the dog\n");
    place.write("broken.toml", "[model]\nheads = 2\nffn == 64\n");
    place.write("unknown.toml", "[data]\nsource = \"a.de\"\ntarget = \"a.en\"\n[model]\nhead = 2\n");
    place.write("latin1.toml", b"name = \"gro\xdf\"\n");
    fs::create_dir(place.path("directory.toml")).expect("a directory");
    let cases: [(&str, &[&str]); 36] = [
        // Data.
        ("tiny.toml --set data.source=no.de --set data.target=a.en", &["cannot read no.de: no such file"]),
        ("tiny.toml --set data.source=a.de --set data.target=short.en", &["a.de has 60 lines and short.en has 1"]),
        ("tiny.toml --set data.source=empty.txt --set data.target=a.en", &["empty.txt: the file is empty"]),
        ("tiny.toml --set data.source=blank.txt --set data.target=a.en", &["no pair has text on both sides"]),
        (
            "tiny.toml --set data.source=latin1.de --set data.target=latin1.en",
            &["latin1.de: line 2: not UTF-8 at byte offset 7"],
        ),
        ("tiny.toml --set data.source=a.de", &["data.source: data.target is missing"]),
        ("tiny.toml --set data.tsv=one.tsv", &["one.tsv: line 1: expected a source and a target separated by a tab"]),
        ("tiny.toml --set data.tsv=quote.csv", &["quote.csv: line 1: a quote is not closed"]),
        ("tiny.toml --set data.source=. --set data.target=a.en", &["cannot read .: is a directory"]),
        ("tiny.toml --set data.valid_tsv=no.tsv", &["cannot read no.tsv"]),
        ("tiny.toml --set data.max_length=1", &["all 57 training pairs have more than data.max_length = 1 tokens"]),
        // Keys.
        ("tiny.toml --set model.head=2", &["--set model.head=2: unknown key model.head; did you mean model.heads?"]),
        ("tiny.toml --set model.heads=two", &["model.heads: expected a whole number from 1 to 1024, found two"]),
        ("tiny.toml --set model.heads=2.5", &["model.heads: expected a whole number"]),
        ("tiny.toml --set model.bias=yes", &["model.bias: expected true or false, found yes"]),
        ("tiny.toml --set model.kind=bert", &["model.kind: expected \"transformer\", \"gpt\" or \"seq2seq\""]),
        ("tiny.toml --set data.text=a.de", &["data.text: only the kind \"gpt\" learns from a text"]),
        ("tiny.toml --set model.kind=gpt --set model.norm=post", &["model.norm: a \"gpt\" is \"pre\""]),
        ("tiny.toml --set train.lr=nan", &["train.lr: expected a number above 0"]),
        ("tiny.toml --set train.steps", &["--set train.steps: expected section.key=value"]),
        // Sizes.
        ("tiny.toml --set model.d_model=7", &["model.d_model: 7 is odd"]),
        ("tiny.toml --set model.heads=3", &["model.heads: 3 does not divide model.d_model = 32"]),
        ("tiny.toml --set tokenizer.vocab_size=10", &["vocab_size = 10 is too small"]),
        ("tiny.toml --set train.batch_tokens=8", &["batch_tokens"]),
        ("tiny.toml --set model.d_model=65536", &["q_proj.weight", "takes 16384 MiB", "; lower model.d_model"]),
        (
            "tiny.toml --set model.d_model=32768 --set model.ffn=65536",
            &["fc1.weight", "lower model.ffn or model.d_model"],
        ),
        // Recipes.
        (
            "nothing",
            &[
                "nothing is neither a built-in recipe (phrasebook, copy, multi30k, shakespeare, addition, sort, phonemes, correct, reverse, multi30k-lstm, multi30k-attention, agreement) nor a file",
            ],
        ),
        ("nothing.toml", &["cannot read nothing.toml: no such file"]),
        ("directory.toml", &["cannot read directory.toml: is a directory"]),
        ("broken.toml", &["broken.toml:3: not TOML"]),
        ("unknown.toml", &["unknown.toml:5: unknown key model.head; did you mean model.heads?"]),
        ("latin1.toml", &["latin1.toml: invalid UTF-8 at byte 11"]),
        // Devices. The last --device wins.
        ("tiny.toml --device nothing", &["--device nothing: there is no such device", "seqloom devices"]),
        ("tiny.toml --device 99", &["--device 99: there is no such device"]),
        ("tiny.toml --shaders nowhere", &["nowhere: there are no .wgsl files here"]),
        ("tiny.toml --shaders a.de", &["cannot read a.de: a part of the path is not a directory"]),
    ];
    for (arguments, parts) in cases {
        let device = if arguments.contains("--device") { "" } else { "--device cpu" };
        place.run(&format!("train {arguments} --out run {device}")).refuses(parts);
        assert!(!place.path("run").exists(), "{arguments} left a directory");
    }
    assert!(!place.path("runs").exists());
}

#[test]
fn training_overwrites_nothing_that_is_not_a_run() {
    let place = Place::new();
    fs::create_dir_all(place.path("mine/checkpoints")).expect("a directory");
    place.write("mine/thesis.txt", "years of work");
    place.write("mine/config.json", "{}");
    let before = place.tree("mine");
    for fresh in ["", "--fresh"] {
        place.train(&format!("--out mine {fresh}")).refuses(&["mine is not empty and holds no run", "another --out"]);
        place.train(&format!("--out a.de {fresh}")).refuses(&["a.de", "not a directory"]);
        // Nobody can write here, not even root.
        place.train(&format!("--out a.de/run {fresh}")).refuses(&["a.de/run", "not a directory"]);
    }
    assert!(place.tree("mine") == before);
    assert!(place.text("a.de").lines().count() == 60);
    #[cfg(target_os = "linux")]
    place.train("--out /proc/run").refuses(&["cannot write /proc/run"]);
}

/// What a path leads to once a directory on it is made cannot be looked at before.
#[test]
fn no_command_writes_to_where_it_cannot_look() {
    let place = Place::new();
    place.train("--out run --set train.steps=3").succeeds();
    let before = place.tree(".");
    let commands = ["average run --last 1", "import run", "train tiny.toml --device cpu", "train tiny.toml --fresh"];
    for command in commands {
        for (out, why) in
            [("new/..", "ends in no name"), (".", "ends in no name"), ("new/../run", "there is no new/..")]
        {
            place.run(&format!("{command} --out {out}")).refuses(&[&format!("--out {out}"), why]);
            assert!(place.tree(".") == before && !place.path("new").exists(), "{command} --out {out}");
        }
    }
}

/// A recipe.toml beside a directory of that name is no run yet.
#[test]
fn a_fresh_start_removes_only_what_is_a_run_s() {
    let place = Place::new();
    fs::create_dir_all(place.path("mine/checkpoints")).expect("a directory");
    place.write("mine/recipe.toml", "[soup]\nwater = 1\n");
    place.write("mine/model.safetensors", "years of work");
    let before = place.tree("mine");
    for fresh in ["", "--fresh"] {
        place.train(&format!("--out mine {fresh}")).refuses(&["mine/recipe.toml"]);
        assert!(place.tree("mine") == before);
    }
    place.train("--out run --set train.steps=3").succeeds();
    fs::create_dir_all(place.path("run/checkpoints/step-mine")).expect("a directory");
    place.write("run/checkpoints/list.txt", "mine");
    place.train("--out run --fresh --set train.steps=3 --set model.heads=4").succeeds();
    assert_eq!(place.names("run/checkpoints"), ["list.txt", "step-000003", "step-mine"]);
}

#[test]
#[cfg(unix)]
fn training_says_where_it_may_not_write() {
    use std::os::unix::fs::PermissionsExt;
    let place = Place::new();
    fs::create_dir(place.path("locked")).expect("a directory");
    fs::set_permissions(place.path("locked"), fs::Permissions::from_mode(0o555)).expect("permissions");
    // Root writes everywhere; then the cases above have to do.
    if fs::write(place.path("locked/probe"), "").is_err() {
        place.train("--out locked/run").refuses(&["cannot write locked/run", "permission denied"]);
    }
}

#[test]
fn a_damaged_run_is_an_error_that_names_the_file() {
    let place = Place::new();
    place.train("--out run --set train.steps=3").succeeds();
    place.train("--out other --set train.steps=3 --set model.ffn=32").succeeds();
    place.write("short.en", "the dog\n");
    place
        .run("train run --device cpu")
        .refuses(&["run is the directory of a run", "seqloom train run/recipe.toml --out run"]);
    fs::create_dir(place.path("theirs")).expect("a directory");
    place.write("theirs/config.json", "{}");
    place.run("translate --model theirs").refuses(&["theirs is not a model directory", "'seqloom import'"]);
    let evaluate = "evaluate --device cpu --source a.de --reference a.en --model";
    for command in ["translate --device cpu --model", evaluate] {
        for (directory, message) in
            [("nothing", "nothing is not a model directory"), (".", ". is not a model directory")]
        {
            place.run(&format!("{command} {directory}")).refuses(&[message, "recipe.toml"]);
        }
        place.run(&format!("{command} a.de")).refuses(&["a.de"]);
    }
    place
        .run("evaluate --device cpu --model run --source a.de --reference short.en")
        .refuses(&["a.de has 60 lines and short.en has 1", "line n of one must translate line n of the other"]);
    place.run("evaluate --device cpu --model run --source no.de --reference a.en").refuses(&["cannot read no.de"]);
    place.run("translate --model run --device nothing").refuses(&["--device nothing: there is no such device"]);
    place.feed("translate --device cpu --model run", b"der hund\ngro\xdf\n").refuses(&["standard input: line 2"]);

    let damage = |name: &str, change: fn(&mut Vec<u8>), then: &dyn Fn()| {
        let whole = place.read(name);
        let mut damaged = whole.clone();
        change(&mut damaged);
        place.write(name, &damaged);
        then();
        assert!(place.read(name) == damaged, "{name} was changed");
        place.write(name, whole);
    };
    let cut: fn(&mut Vec<u8>) = |bytes| {
        // Between two keys, the first half of a recipe may be a recipe too.
        let key = bytes.windows(8).position(|w| w == b"\nheads =").map(|at| at + 8);
        bytes.truncate(key.unwrap_or(bytes.len() / 2));
    };
    let empty: fn(&mut Vec<u8>) = Vec::clear;
    for change in [cut, empty] {
        for name in ["run/model.safetensors", "run/tokenizer.json", "run/recipe.toml"] {
            damage(name, change, &|| {
                place.run("translate --device cpu --model run").refuses(&[name]);
                place.run(&format!("{evaluate} run")).refuses(&[name]);
            });
        }
        for name in ["model.safetensors", "training_state.safetensors", "training_state.json"] {
            damage(&format!("run/checkpoints/step-000003/{name}"), change, &|| {
                place.train("--out run --set train.steps=6").refuses(&["run/checkpoints/step-000003", name]);
            });
        }
    }
    // A model of another size.
    place.write("run/model.safetensors", place.read("other/model.safetensors"));
    place.run("translate --device cpu --model run").refuses(&["run/model.safetensors", "fc1", "expected"]);
}
