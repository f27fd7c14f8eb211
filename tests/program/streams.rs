//! Standard output is for results and nothing else.

use super::{Outcome, Place};
use serde_json::Value;
use std::io::Read;

fn keys(object: &Value) -> Vec<&str> {
    object.as_object().expect("an object").keys().map(String::as_str).collect()
}

/// One JSON object on one line.
#[track_caller]
fn object(outcome: Outcome) -> Value {
    assert_eq!(outcome.out.matches('\n').count(), 1, "{}", outcome.out);
    serde_json::from_str(&outcome.out).unwrap_or_else(|e| panic!("{e}: {}", outcome.out))
}

#[test]
fn translations_come_line_by_line() {
    let place = Place::new();
    let trained = place.train("--out run --set train.steps=150 --set train.eval_every=50").succeeds();
    assert_eq!(trained.out, "");
    let translate = |input: &[u8]| place.feed("translate --device cpu --model run", input).succeeds().out;

    let hund = translate(b"der hund\n");
    assert!(hund.len() > 1 && hund.ends_with('\n') && hund.lines().count() == 1, "{hund:?}");
    let mann = translate("großer mann\n".as_bytes());
    // Empty and blank lines stay where they are; the last line may lack its end.
    assert_eq!(translate("\nder hund\n\n \t\ngroßer mann".as_bytes()), format!("\n{hund}\n\n{mann}"));
    assert_eq!(translate("der hund\r\n\r\ngroßer mann\r\n".as_bytes()), format!("{hund}\n{mann}"));
    assert_eq!(translate("\u{feff}der hund\n".as_bytes()), hund);
    assert_eq!(translate(b""), "");
    assert_eq!(translate(b"\n\n"), "\n\n");

    // What the tokenizer has never seen, control characters and specials among it, is still one line.
    let odd = "日本語 🦀\n</s> <pad>\n\u{1}\u{7f}\u{2028}\ta\n";
    assert_eq!(translate(odd.as_bytes()).matches('\n').count(), 3);

    let source = place.read("a.de");
    let all = translate(&source);
    assert_eq!(all.matches('\n').count(), 60);
    let on_gpu = place.feed("translate --model run", &source).succeeds();
    assert!(!on_gpu.err.contains("device: cpu"), "this test needs a GPU or a software Vulkan driver: {}", on_gpu.err);
    assert_eq!(on_gpu.out, all);

    let long = place.feed("translate --device cpu --model run", "hund ".repeat(200).as_bytes()).succeeds();
    assert_eq!(long.out.matches('\n').count(), 1);
    assert_eq!(long.err.matches("warning: 1 lines have more than the 128 tokens").count(), 1, "{}", long.err);
}

/// A table of positions that was learned has an end, whatever else the recipe says.
#[test]
fn learned_positions_cut_and_say_where() {
    let place = Place::new();
    // A model that has learned nothing says its first token for ever: the embedding is the output matrix.
    let keys = "--set model.positions=learned --set model.norm=pre --set model.activation=gelu \
                --set data.max_length=22 --set train.lr=1e-6";
    place.train(&format!("--out run {keys} --set train.steps=3")).succeeds();
    // Going on with longer translations does not change the table.
    place.train(&format!("--out run {keys} --set decode.max_length=100")).succeeds();
    assert_eq!(place.json("run/config.json")["max_position_embeddings"], 22);

    let lines = ["hund", &"hund ".repeat(40), "", &"katze ".repeat(40)].join("\n");
    let long = place.feed("translate --device cpu --model run", lines.as_bytes()).succeeds();
    assert_eq!(long.out.matches('\n').count(), 4);
    let warned = |text: &str| long.err.lines().filter(|line| *line == format!("warning: {text}")).count();
    assert_eq!(warned("2 lines have more than the 22 tokens that the model was trained for"), 1, "{}", long.err);
    for line in [2, 4] {
        assert_eq!(warned(&format!("line {line} has more than 22 tokens and is cut there")), 1, "{}", long.err);
    }
    for line in [1, 2, 4] {
        let text = format!("the translation of line {line} is cut after the model's 22 positions");
        assert_eq!(warned(&text), 1, "{}", long.err);
    }
    place.run("evaluate --device cpu --model run --source a.de --reference a.en").succeeds();
    place.write("long.de", format!("hund\n{}\n", "hund ".repeat(40)));
    place.write("long.en", "dog\ndog\n");
    let long = place.run("evaluate --device cpu --model run --source long.de --reference long.en").succeeds().err;
    for said in [
        "the loss is without 1 pairs, which have more than 22 tokens on a side, </s> included",
        "1 lines have more than the 22 tokens that the model was trained for",
        "1 sources have more than 22 tokens and are cut there for BLEU and chrF",
    ] {
        assert!(long.lines().any(|line| line == format!("warning: {said}")), "{long}");
    }
}

/// Without marks the first token is given: an output may have one token more than there are positions.
#[test]
fn learned_positions_without_marks_are_all_used() {
    let place = Place::new();
    // Again one that says its first token for ever.
    let keys = "--set model.positions=learned --set model.tie_embeddings=true --set train.lr=1e-6 \
                --set model.d_model=32 --set model.heads=2 --set model.ffn=16 --set data.pairs=100 --set data.max_length=10 --set decode.max_length=30 --set train.steps=2";
    place.run(&format!("train copy --device cpu --out run {keys}")).succeeds();
    let long = place.feed("translate --device cpu --model run", b"1 2 3 4\n").succeeds();
    assert_eq!(long.out.split_whitespace().count(), 11, "{}", long.out);
    assert!(long.err.contains("the translation of line 1 is cut after the model's 10 positions"), "{}", long.err);
    assert_eq!(place.json("run/generation_config.json")["max_length"], 11);
    place.feed("translate --device cpu --model run --attention a.json", b"1 2 3 4\n").succeeds();
    // And so it is after a way through transformers' files.
    place.run("import run --out again").succeeds();
    let again = place.feed("translate --device cpu --model again", b"1 2 3 4\n").succeeds();
    assert_eq!(again.out, long.out);
}

#[test]
fn evaluate_prints_one_object() {
    let place = Place::new();
    place.train("--out run").succeeds();
    let evaluate = "evaluate --device cpu --model run --source a.de --reference a.en";
    let json = object(place.run(&format!("{evaluate} --json")).succeeds());
    assert_eq!(keys(&json), ["bleu", "chrf", "exact", "loss", "perplexity", "seconds", "signature", "tokens"]);
    let number = |key: &str| json[key].as_f64().unwrap_or_else(|| panic!("{key}: {}", json[key]));
    assert!(number("loss") > 0.0 && number("perplexity") > 1.0 && number("seconds") > 0.0, "{json}");
    assert!([number("bleu"), number("chrf")].iter().all(|score| (0.0..=100.0).contains(score)), "{json}");
    assert!(json["signature"].as_str().expect("text").starts_with("nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp"));
    // Every word is a token of this vocabulary or a few, and each line ends with one more.
    assert!(json["tokens"].as_u64().expect("a number") > 2 * 60, "{json}");

    let table = place.run(evaluate).succeeds().out;
    let row =
        |name: &str| table.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("{name}: {table}"));
    assert!(row("loss").contains(&format!("{:.4}", number("loss"))), "{table}");
    assert!(row("BLEU").contains(&format!("{:.2}", number("bleu"))), "{table}");

    // The loss of the validation pairs is the one that training found.
    let tail = |name: &str| place.text(name).lines().skip(57).map(|line| format!("{line}\n")).collect::<String>();
    place.write("v.de", tail("a.de"));
    place.write("v.en", tail("a.en"));
    let valid = object(place.run("evaluate --json --device cpu --model run --source v.de --reference v.en").succeeds());
    let best = place.metrics("run").iter().filter_map(|row| row["valid_loss"].as_f64()).fold(f64::MAX, f64::min);
    let loss = valid["loss"].as_f64().expect("a number");
    assert!((loss - best).abs() <= 1e-5 * best, "{loss}, while training {best}");
}

#[test]
fn devices_and_verify_print_one_object() {
    let place = Place::new();
    let json = object(place.run("devices --json").succeeds());
    assert_eq!(keys(&json), ["auto", "devices"]);
    let devices = json["devices"].as_array().expect("a list");
    assert!(!devices.is_empty(), "this test needs a GPU or a software Vulkan driver; run scripts/test.sh");
    for device in devices {
        for key in ["name", "kind", "backend", "driver", "features", "max_storage_buffer_binding_size"] {
            assert!(!device[key].is_null(), "{key}: {device}");
        }
        // The name that is listed is a name that --device takes.
        assert!(place.run("devices").succeeds().out.contains(device["name"].as_str().expect("a name")));
    }
    let json = object(place.run("verify --json --op add --seed 1").succeeds());
    let all = ["backend", "cases", "device", "driver", "error", "failed", "kind", "limits", "not_run", "seed"];
    assert_eq!(keys(&json), all);
    assert_eq!((&json["failed"], &json["seed"]), (&0.into(), &1.into()));
    let cases = json["cases"].as_array().expect("a list");
    assert!(cases.iter().any(|case| case["op"] == "add"), "{json}");
    for case in cases {
        assert_eq!(case["passed"], true, "{case}");
        assert!(case["error_over_bound"].as_f64().expect("a number") <= 1.0, "{case}");
    }
}

#[test]
fn recipes_print_what_train_reads() {
    let place = Place::new();
    let list = place.run("recipes").succeeds().out;
    let names: Vec<&str> = list.lines().map(|line| line.split(' ').next().expect("a name")).collect();
    let first = ["phrasebook", "copy", "multi30k", "shakespeare", "addition", "sort", "phonemes", "correct"];
    assert_eq!(names, [&first[..], &["reverse", "multi30k-lstm", "multi30k-attention", "agreement"]].concat());
    for name in names {
        let text = place.run(&format!("recipes {name}")).succeeds().out;
        let read = |text: &str| seqloom::recipe::Recipe::parse(name, text, &[]).expect("a recipe");
        assert_eq!(read(&text), read(seqloom::recipe::Recipe::builtin(name).expect("a built-in recipe")));
    }
    place
        .run("recipes nothing")
        .refuses(&["there is no recipe nothing; built in: phrasebook, copy, multi30k, shakespeare, addition, sort, phonemes, correct, reverse, multi30k-lstm, multi30k-attention, agreement"]);
}

/// `seqloom ... | head` closes the pipe before everything is written.
#[test]
fn a_reader_that_leaves_is_no_panic() {
    let place = Place::new();
    place.train("--out run --set train.steps=3").succeeds();
    let evaluate = "evaluate --device cpu --model run --source a.de --reference a.en";
    for command in ["verify --op add", evaluate, "devices", "recipes phrasebook"] {
        // Nobody reads from the start: a program that is quick would have written all before this test could leave.
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let mut child = place.command(command).stdout(writer).spawn().expect("the program starts");
        let mut err = String::new();
        child.stderr.take().expect("a pipe").read_to_string(&mut err).expect("UTF-8");
        let code = child.wait().expect("the program ends").code();
        assert!(err.lines().last().is_some_and(|line| line.starts_with("error: standard output")), "{command}: {err}");
        assert!(!err.contains("panicked") && code == Some(2), "{command}: {err}");
    }
}
