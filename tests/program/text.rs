//! How text becomes tokens: words, lower case, a vocabulary for each side, sequences without marks.

use super::Place;

const SMALL: &str = "--set model.d_model=32 --set model.heads=2 --set model.encoder_layers=1 \
                     --set model.decoder_layers=1 --set model.ffn=32";

/// The recipe of a task whose files are not in the program.
#[test]
fn a_recipe_without_files_says_which_to_give() {
    let place = Place::new();
    let data = "--set data.source=FILE --set data.target=FILE";
    place.run("train multi30k --device cpu").refuses(&["multi30k: there is nothing to learn from; add ", data]);
    place.write("mine.toml", "[model]\nd_model = 32\n");
    place.run("train mine.toml --device cpu").refuses(&["mine.toml: there is nothing to learn from; add ", data]);
    assert!(!place.path("runs").exists());
}

/// The recipe's words are lower-cased, its vocabularies two; what is written is compared with lower-cased references.
#[test]
fn words_in_lower_case() {
    let place = Place::new();
    let capitals = |name: &str| {
        let line = |line: &str| line[..1].to_uppercase() + &line[1..] + ".\n";
        place.text(name).lines().map(line).collect::<String>()
    };
    let (german, english) = (capitals("a.de"), capitals("a.en"));
    for (name, text) in [("train.de", &german), ("train.en", &english)] {
        place.write(name, text);
    }
    let tail = |text: &str| text.lines().skip(40).map(|line| format!("{line}\n")).collect::<String>();
    for (name, text) in [("val.de", tail(&german)), ("val.en", tail(&english))] {
        place.write(name, text);
    }
    let data = "--set data.source=train.de --set data.target=train.en --set data.valid_source=val.de \
                --set data.valid_target=val.en";
    let rest = "--set train.epochs=60 --set train.batch_size=20 --set train.lr=3e-3 --set train.eval_every=1000 \
                --set decode.max_length=12";
    let outcome = place.run(&format!("train multi30k --device cpu {SMALL} {data} {rest}")).succeeds();
    // Twelve words, "." and four specials.
    assert!(outcome.err.contains("17 source and 17 target tokens"), "{}", outcome.err);
    assert!(outcome.err.contains("60 pairs read") && outcome.err.contains("20 to validate"), "{}", outcome.err);
    let run = "runs/multi30k";
    let vocab = place.json(&format!("{run}/target_tokenizer.json"))["model"]["vocab"].clone();
    let words = vocab.as_object().expect("an object");
    assert!(words.contains_key("the") && words.contains_key(".") && !words.contains_key("The"), "{vocab}");

    let translate = |input: &str| {
        let outcome = place.feed(&format!("translate --device cpu --model {run}"), input.as_bytes());
        outcome.succeeds().out
    };
    let said = translate("Der Hund sieht einen Mann.\n");
    assert!(!said.trim().is_empty() && said == said.to_lowercase(), "{said}");
    // Case and the spaces before punctuation are nothing to it, nor is a word that is only unknown.
    assert_eq!(translate("DER HUND  sieht einen mann .\n"), said);
    assert_eq!(translate("der zwerg\n"), translate("der riese\n"));

    let evaluate = format!("evaluate --device cpu --model {run} --source val.de --reference");
    let scores = |reference: &str, json: &str| place.run(&format!("{evaluate} {reference} {json}")).succeeds().out;
    let json: serde_json::Value = serde_json::from_str(&scores("val.en", "--json")).expect("JSON");
    assert!(json["signature"].as_str().expect("text").starts_with("nrefs:1|case:lc|eff:no"), "{json}");
    assert!(json["bleu"].as_f64().expect("a number") > 20.0, "nothing was learned: {json}");
    assert!(scores("val.en", "").contains("the references are lower-cased"));
    place.write("lower.en", tail(&english).to_lowercase());
    let lower: serde_json::Value = serde_json::from_str(&scores("lower.en", "--json")).expect("JSON");
    for key in ["bleu", "chrf", "loss", "signature"] {
        assert_eq!(lower[key], json[key]);
    }
}

/// Nine predictions a line, from a first symbol that is given.
#[test]
fn sequences_without_marks() {
    let place = Place::new();
    let settings = format!("{SMALL} --set data.pairs=300 --set train.warmup=10 --set train.steps=20");
    let train = |settings: &str| place.run(&format!("train copy --device cpu {settings}"));
    let outcome = train(&settings).succeeds();
    assert!(outcome.err.contains("data: 300 sequences to be copied; 300 to train, 150 to validate"), "{}", outcome.err);
    assert!(outcome.err.contains("14 tokens in the vocabulary"), "{}", outcome.err);

    let one = place.json("runs/copy/tokenizer.json")["model"]["vocab"]["1"].clone();
    let (config, generation) = (place.json("runs/copy/config.json"), place.json("runs/copy/generation_config.json"));
    assert_eq!((&config["decoder_start_token_id"], &generation["decoder_start_token_id"]), (&one, &one));
    assert!(generation["eos_token_id"].is_null() && generation["max_length"] == 10, "{generation}");

    let line = "1 2 3 4 5 6 7 8 9 10\n";
    let out = place.feed("translate --device cpu --model runs/copy", line.repeat(3).as_bytes()).succeeds().out;
    let lines: Vec<&str> = out.lines().collect();
    assert!(lines.len() == 3 && lines[0] == lines[1] && lines[1] == lines[2], "{out}");
    assert_eq!((lines[0].split(' ').count(), lines[0].split(' ').next()), (10, Some("1")), "{out}");

    // Nine tokens of each line count.
    place.write("lines", line.repeat(4));
    let evaluate = "evaluate --json --device cpu --model runs/copy --source lines --reference lines";
    let json: serde_json::Value = serde_json::from_str(&place.run(evaluate).succeeds().out).expect("JSON");
    assert_eq!(json["tokens"], 4 * 9);

    let more = format!("{settings} --set train.steps=25");
    train(&more).succeeds();
    assert_eq!(place.metrics("runs/copy").len(), 25);

    let refuses = |keys: &str, message: &str| train(&format!("--out other {settings} {keys}")).refuses(&[message]);
    refuses("--set decode.start=11", "decode.start: \"11\" does not occur in the targets");
    refuses("--set decode.start=1.5", "decode.start: \"1.5\" is 3 tokens, not one");
    refuses("--set decode.start=", "data.marks: false needs decode.start");
    refuses("--set data.marks=true", "decode.start: has no effect");
    place.write("short", "1\n".repeat(40));
    let short = "--set data.source=short --set data.target=short";
    refuses(short, "--set data.pairs=300: data.pairs: has no effect: only the built-in corpora have so many");
    train(&format!("--out other {SMALL} {short}"))
        .refuses(&["all 38 training pairs have fewer than two target tokens, or more than data.max_length = 10"]);
    assert!(!place.path("other").exists());
}
