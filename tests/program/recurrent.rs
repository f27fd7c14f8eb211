//! Recurrent models as people meet them: trained, gone on with, translating, and what they refuse.

use super::Place;
use super::resume::same_run;

const RECIPE: &str = r#"
[model]
kind = "seq2seq"
cell = "gru"
hidden = 12
embedding = 8
dropout = 0.1
[data]
source = "a.de"
target = "a.en"
[tokenizer]
kind = "word"
[train]
steps = 12
batch_tokens = 300
lr = 3e-3
warmup = 4
eval_every = 6
save_every = 3
log_every = 1
[decode]
max_length = 12
"#;

fn place() -> Place {
    let place = Place::new();
    place.write("rec.toml", RECIPE);
    place
}

/// Six steps and six more are twelve, bit for bit; with input feeding and two layers a step's dropout has many places.
fn goes_on_as_if_nothing_had_been(device: &str) {
    let place = place();
    for (name, set) in [("once", ""), ("fed", "--set model.input_feeding=true --set model.layers=2")] {
        let train = |out: &str, steps: u64| {
            let steps = format!("--set train.steps={steps}");
            place.run(&format!("train rec.toml --device {device} --out {out} {set} {steps}")).succeeds()
        };
        let (whole, parts) = (format!("{name}-whole"), format!("{name}-parts"));
        let on_cpu = train(&whole, 12).err.contains("device: cpu");
        assert_eq!(on_cpu, device == "cpu", "this test needs a GPU or a software Vulkan driver");
        train(&parts, 6);
        assert!(train(&parts, 12).err.contains("going on after step 6"));
        same_run(&place, &parts, &whole);
    }
}

#[test]
fn a_recurrent_run_goes_on_as_if_nothing_had_been_on_the_cpu() {
    goes_on_as_if_nothing_had_been("cpu");
}

#[test]
fn a_recurrent_run_goes_on_as_if_nothing_had_been_on_a_gpu() {
    goes_on_as_if_nothing_had_been("auto");
}

#[test]
fn recurrent_models_translate_and_show_their_attention() {
    let place = place();
    let train = "train rec.toml --device cpu";
    place.run(&format!("{train} --out attends --set model.attention=bahdanau")).succeeds();
    place.run(&format!("{train} --out blind --set model.attention=none --set model.context=every")).succeeds();
    let input = "der hund\n\n  \nder zwerg sieht einen mann\n".as_bytes();
    for run in ["attends", "blind"] {
        let translate = |flags: &str| place.feed(&format!("translate --device cpu --model {run} {flags}"), input);
        let plain = translate("").succeeds().out;
        let blank: Vec<bool> = plain.lines().map(|line| line.trim().is_empty()).collect();
        assert!(blank.len() == 4 && blank[1] && blank[2], "{plain}");
        assert_eq!(translate("--beam 4 --best 1").succeeds().out.lines().count(), 4);
        if run == "attends" {
            assert_eq!(translate("--attention maps.json").succeeds().out, plain);
        } else {
            translate("--attention blind.json").refuses(&["--attention blind.json: the model has no attention"]);
            assert!(!place.path("blind.json").exists());
        }
        place.run(&format!("generate --device cpu --model {run} --prompt der")).refuses(&[
            run,
            "holds a model that translates",
            "seqloom translate --model",
        ]);
    }
    let maps = place.json("maps.json");
    let maps: Vec<_> = maps.as_array().expect("a list").iter().map(|line| line["maps"].clone()).collect();
    assert_eq!(maps.len(), 2, "blank lines have none");
    for line in maps {
        let [map] = &line.as_array().expect("a list")[..] else { panic!("not one map: {line}") };
        assert_eq!((&map["kind"], &map["layer"], &map["head"]), (&"cross".into(), &1.into(), &1.into()));
    }
}

#[test]
fn recurrent_mistakes_are_refused_in_one_line() {
    let place = place();
    for (set, parts) in [
        ("model.attention=bahdanu", &["model.attention: expected \"none\", \"bahdanau\""][..]),
        ("model.attention=dot", &["model.attention: \"dot\"", "model.bidirectional = false"]),
        (
            "model.attention=none --set model.input_feeding=true",
            &["model.input_feeding: there is nothing to feed back"],
        ),
        ("model.tie_embeddings=true", &["model.tie_embeddings: the output's matrix"]),
        ("model.heads=2", &["model.heads: has no effect: only the kinds \"transformer\" and \"gpt\" read it"]),
        ("data.text=a.de", &["data.text: only the kind \"gpt\" learns from a text"]),
        // Larger than any buffer, and whose keys these are.
        (
            "model.hidden=16384 --set model.layers=2",
            &["encoder.rnn.weight_ih_l1", "takes", "lower model.hidden or model.embedding, or"],
        ),
        (
            "model.hidden=16384 --set model.bidirectional=false --set model.embedding=65536",
            &["encoder.rnn.weight_ih_l0", "lower model.hidden or model.embedding, or"],
        ),
    ] {
        place.run(&format!("train rec.toml --device cpu --out run --set {set}")).refuses(parts);
        assert!(!place.path("run").exists(), "{set} left a directory");
    }
}
