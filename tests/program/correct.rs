//! Running text, word by word: `seqloom correct`, and the typing errors that it learns from.

use super::Place;

const SMALL: &str = "--set model.d_model=32 --set model.heads=2 --set model.encoder_layers=1 \
                     --set model.decoder_layers=1 --set model.ffn=32 --set decode.max_length=12";
const WORDS: &str = "the\nquick\nbrown\nfox\njumps\nover\nlazy\ndog\n";

/// A model of a list of words, trained for so many steps.
fn trained(steps: usize) -> Place {
    let place = Place::new();
    place.write("words.txt", WORDS);
    let set = format!("--set data.words=words.txt --set data.pairs=400 --set train.steps={steps} --set train.lr=1e-2");
    let train = format!("train correct --device cpu {SMALL} {set} --set train.warmup=20 --set train.batch_tokens=1000");
    let told = place.run(&format!("{train} --set train.eval_every=1000")).succeeds().err;
    assert!(told.contains("400 typing errors in 8 words; 400 to train"), "{told}");
    place
}

#[test]
fn known_words_and_all_between_stay() {
    let place = trained(1);
    // In order of the alphabet.
    assert_eq!(place.text("runs/correct/words.txt"), "brown\ndog\nfox\njumps\nlazy\nover\nquick\nthe\n");
    let correct = "correct --device cpu --model runs/correct";
    let text = "The  QUICK\tfox (dog), 10th of 1999 - \"over\"!\r\n\n'the'\n";
    // "of" alone is not known.
    let outcome = place.feed(correct, text.as_bytes()).succeeds();
    let (before, after) = text.split_once("of").expect("it is there");
    assert!(outcome.out.starts_with(before) && outcome.out.ends_with(after), "{:?}", outcome.out);
    assert!(outcome.err.contains("9 words, 1 not known"), "{}", outcome.err);

    place.write("more.txt", "of\n");
    let outcome = place.feed(&format!("{correct} --known more.txt"), text.as_bytes()).succeeds();
    assert_eq!(outcome.out, text);
    assert!(outcome.err.contains("9 words, 0 not known, 0 changed"), "{}", outcome.err);
    assert_eq!(place.feed(correct, b"").succeeds().out, "");
    place.feed(&format!("{correct} --known no.txt"), b"").refuses(&["cannot read no.txt"]);
    place.feed(correct, b"gro\xdf\n").refuses(&["standard input: line 1: not UTF-8"]);
}

#[test]
fn errors_are_corrected_and_capitals_kept() {
    let place = trained(150);
    let text = "Qiuck BRWON foxx jumps ovet teh lazy dog.\n";
    let said = place.feed("correct --device cpu --model runs/correct", text.as_bytes()).succeeds().out;
    assert_eq!(said, "Quick BROWN fox jumps over the lazy dog.\n");
    // Letters that it has never seen, and more of them than it reads: it would lose some.
    let text = format!("le naïf {}\n", "teh".repeat(20));
    let said = place.feed("correct --device cpu --model runs/correct", text.as_bytes()).succeeds().out;
    assert!(said.ends_with(text.strip_prefix("le").expect("it begins so")), "{said}");
}

#[test]
fn a_list_of_words_that_is_none_is_refused() {
    let place = Place::new();
    place.write("blank.txt", "\n \n");
    place.write("one.txt", "a\n");
    let train = |set: &str| place.run(&format!("train correct --device cpu {set}"));
    train("--set data.words=no.txt").refuses(&["cannot read no.txt"]);
    train("--set data.words=blank.txt").refuses(&["blank.txt: it holds no word; expected one a line"]);
    train("--set data.words=one.txt").refuses(&["one.txt: its 1 words are too few for data.pairs = 40000"]);
    train("--set data.words=one.txt --set data.tsv=a.tsv").refuses(&["data.words: data.tsv is set too"]);
    place.write("few.tsv", "a\tb\nc\td\n");
    let every = |n| train(&format!("--set data.tsv=few.tsv --set data.valid_every={n}"));
    every(3).refuses(&["data.valid_every = 3 of 2 pairs leaves none to train or to validate on"]);
    every(1).refuses(&["data.valid_every = 1 of 2 pairs leaves none"]);
    assert!(!place.path("runs").exists());
}

const CNN: &str = "--set model.char_cnn={widths=[1,2,3],filters=8,embedding=8}";

/// Text correction through a character CNN: it learns, goes on bit for bit, and says what it is.
#[test]
fn a_character_cnn_reads_the_letters() {
    let place = Place::new();
    place.write("words.txt", WORDS);
    let set = format!("--set data.words=words.txt --set data.pairs=400 --set train.lr=1e-2 {CNN}");
    let train = format!("train correct --device cpu {SMALL} {set} --set train.warmup=20 --set train.batch_tokens=1000");
    let run = |out: &str, steps: usize| {
        place.run(&format!("{train} --set train.steps={steps} --set train.eval_every=1000 --out {out}")).succeeds().err
    };
    let told = run("run", 150);
    assert!(told.contains("transformers cannot open it: it has no class for model.char_cnn"), "{told}");
    let text = "Qiuck BRWON foxx jumps ovet teh lazy dog.\n";
    let correct = |more: &str| place.feed(&format!("correct --model run {more}"), text.as_bytes()).succeeds().out;
    assert_eq!(correct("--device cpu"), "Quick BROWN fox jumps over the lazy dog.\n");
    assert_eq!(correct(""), correct("--device cpu"));

    run("halves", 6);
    run("halves", 12);
    run("whole", 12);
    assert!(place.read("halves/model.safetensors") == place.read("whole/model.safetensors"));

    let cnn = &place.json("run/config.json")["seqloom"]["char_cnn"];
    assert_eq!((cnn["widths"].to_string(), cnn["filters"].to_string()), ("[1,2,3]".into(), "[8,16,24]".into()));
    let said = place.run("inspect --device cpu --model run").succeeds().out;
    assert!(said.contains(", character CNN of 3 widths, 48 channels, highway 1; "), "{said}");
    let said = place.run("verify --model run").succeeds();
    assert!(said.out.contains("unfold") || said.err.contains("unfold"), "{}{}", said.out, said.err);
    place.write("typed.txt", "teh\nqiuck\n");
    place.write("meant.txt", "the\nquick\n");
    let evaluate = "evaluate --device cpu --model run --source typed.txt --reference meant.txt";
    assert!(place.run(evaluate).succeeds().out.contains("BLEU"));
    place.run("import run --out imported").refuses(&["model_type is \"seqloom\", which is a run already"]);
    // Another one is another model.
    place.run(&format!("{train} --set train.steps=20 --set model.char_cnn={{}} --out run")).refuses(&[
        "model.char_cnn = { widths = [1, 2, 3], filters = 8, highway = 1, pool = \"none\", embedding = 8 }",
    ]);
}

/// Words by their spelling: errors that were never seen are read, where a vocabulary would know nothing of them.
#[test]
fn unseen_words_are_read_as_they_are_spelled() {
    let place = Place::new();
    place.write("words.txt", WORDS);
    let cnn = "--set model.char_cnn={widths=[1,2,3],filters=8,embedding=8,pool=\"word\"} --set tokenizer.kind=word";
    let set = "--set data.words=words.txt --set data.pairs=400 --set train.lr=1e-2 --set train.warmup=20";
    let train = format!("train correct --device cpu {SMALL} {set} --set train.batch_tokens=300 {cnn}");
    place.run(&train).refuses(&["tokenizer.shared", "set tokenizer.shared = false"]);
    let run = |out: &str, steps: usize| {
        let tokenizer = "--set tokenizer.shared=false --set tokenizer.vocab_size=40";
        let steps = format!("--set train.steps={steps} --set train.eval_every=1000");
        place.run(&format!("{train} {tokenizer} {steps} --out {out}")).succeeds().err
    };
    run("run", 150);
    // A word gets one error in training; these have two. Of what it trained on the vocabulary lacks most, too.
    let known = place.text("run/source_tokenizer.json");
    for unseen in ["qiukc", "brwonn", "jmusp", "oevrr"] {
        assert!(!known.contains(&format!("\"{unseen}\"")), "{unseen} is in the vocabulary");
    }
    let text = "Qiukc BRWONN foxx jmusp oevrr teh lazy dog.\n";
    let correct = |more: &str| place.feed(&format!("correct --model run {more}"), text.as_bytes()).succeeds().out;
    assert_eq!(correct("--device cpu"), "Quick BROWN fox jumps over the lazy dog.\n");
    assert_eq!(correct(""), correct("--device cpu"));
    // More letters than it reads: it would lose some.
    let long = format!("{}\n", "teh".repeat(9));
    assert_eq!(place.feed("correct --device cpu --model run", long.as_bytes()).succeeds().out, long);

    run("halves", 6);
    run("halves", 12);
    run("whole", 12);
    assert!(place.read("halves/model.safetensors") == place.read("whole/model.safetensors"));
    place.run("verify --model run").succeeds();

    place.feed("translate --device cpu --model run --attention map.html", b"brwonn\n").succeeds();
    assert!(place.text("map.html").contains("brwonn"), "the map does not name the word");
}

/// A word that no vocabulary has is known by its spelling: with another in its place the data is another, though all numbers
/// are the same.
#[test]
fn a_run_does_not_go_on_with_other_words() {
    let place = Place::new();
    // Four words fill the vocabulary.
    let pairs = |rare: &str| ["a", "b", "c", "d", rare].map(|word| format!("{word}\tx\n").repeat(4)).concat();
    let cnn = "--set model.char_cnn={widths=[1,2],filters=8,embedding=8,pool=\"word\"} --set tokenizer.kind=word";
    let tokenizer = "--set tokenizer.shared=false --set tokenizer.vocab_size=8 --set data.tsv=pairs.tsv";
    let train = |steps: usize| {
        let more = format!("{cnn} {tokenizer} --set data.valid_every=5 --set train.steps={steps}");
        place.run(&format!("train correct --device cpu {SMALL} --out run {more}"))
    };
    place.write("pairs.tsv", pairs("foo"));
    train(2).succeeds();
    assert!(!place.text("run/source_tokenizer.json").contains("foo"));
    place.write("pairs.tsv", pairs("bar"));
    train(3).refuses(&["the data is not what it was"]);
    place.write("pairs.tsv", pairs("foo"));
    assert!(train(3).succeeds().err.contains("going on after step 2"));
}
