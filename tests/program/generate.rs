//! `seqloom generate`: texts that a language model goes on with, as people meet them.

use crate::Place;

#[test]
fn a_language_model_is_trained_and_goes_on_with_texts() {
    let place = Place::new();
    place.write("text.txt", "the cat sat on the mat. the dog sat on the log.\n".repeat(40));
    let train = "train shakespeare --device cpu --set data.text=text.txt --set model.layers=1 --set model.d_model=16 \
                 --set model.ffn=32 --set train.block=16 --set train.steps=60 --set train.lr=0.01 --set train.warmup=5 \
                 --out run";
    let said = place.run(train).succeeds();
    assert!(said.err.contains("validation loss") && said.err.contains("seqloom generate"), "{}", said.err);

    let generate = |flags: &str| place.run(&format!("generate --device cpu --model run {flags}"));
    let text = generate("--prompt the --max-tokens 12 --beam 1").succeeds();
    assert!(text.out.starts_with("the") && text.out.chars().count() == 16, "{:?}", text.out);
    assert!(text.err.contains("12 tokens in"), "{}", text.err);
    // Drawn texts are a seed's, and each sample's own.
    let draw =
        |seed: u64| generate(&format!("--prompt the --samples 3 --max-tokens 9 --seed {seed} --temperature 1.5"));
    let (one, again, other) = (draw(1).succeeds().out, draw(1).succeeds().out, draw(2).succeeds().out);
    assert_eq!(one, again);
    assert_ne!(one, other);
    assert_eq!(one.lines().collect::<std::collections::HashSet<_>>().len(), 3, "{one}");
    // A text ends before what stops it.
    let stopped = generate("--prompt the --max-tokens 40 --beam 1 --stop o").succeeds().out;
    let free = generate("--prompt the --max-tokens 40 --beam 1").succeeds().out;
    assert!(
        free.contains('o') && free.starts_with(stopped.trim_end_matches('\n')) && !stopped.contains('o'),
        "{stopped}"
    );
    // Nothing to go on from, more than there are positions, and nothing to write.
    for flags in ["--prompt=", "--prompt the --max-tokens 0", &format!("--prompt {} --max-tokens 3", "the".repeat(30))]
    {
        generate(flags).succeeds();
    }
    text_is_looked_at(&place, &text.out);

    let forbidden = generate("--prompt the --max-tokens 100 --no-repeat-ngram 1 --beam 2").succeeds().out;
    assert!(forbidden.len() > 4 && forbidden.chars().count() < 40, "{forbidden}");

    for (flags, what) in [
        ("--prompt the --temperature 0", "--temperature 0: expected a number above 0; --beam 1 takes the likeliest"),
        ("--prompt the --beam 2 --temperature 1", "--temperature draws by chance and --beam searches"),
        ("--prompt the --beam 2 --best 3", "--best 3 is more than the 2 hypotheses of --beam"),
        ("--prompt the --best 3", "--best needs --beam"),
        ("--prompt the --beam 2 --seed 1", "--seed has no effect"),
        ("--prompt the --beam 2 --stop a", "--stop ends a text while it is written"),
        ("--prompt the --stop=", "--stop \"\": expected some text"),
        ("--prompt the --top-p 2", "--top-p 2: expected a number above 0 and at most 1"),
    ] {
        generate(flags).refuses(&[what]);
    }
    place
        .run("translate --device cpu --model run")
        .refuses(&["run holds a language model", "seqloom generate --model run"]);
    place
        .run(&format!("{train}2 --set data.valid_tsv=a.tsv"))
        .refuses(&["data.valid_tsv: a text is validated on its own end"]);
    place.run(&format!("{train}2 --set train.block=5000")).refuses(&["are less than train.block = 5000 and one more"]);
}

/// Pairs without an encoder: sums, which a model of two steps gets wrong, but in the right form.
#[test]
fn a_language_model_learns_pairs() {
    let place = Place::new();
    let train =
        "train addition --device cpu --set train.steps=4 --set model.layers=1 --set train.eval_every=4 --out run";
    let said = place.run(train).succeeds().err;
    assert!(said.contains("9500 to train, 500 to validate") && said.contains("of 500 exact"), "{said}");
    let sum = place.feed("translate --device cpu --model run", b"8550\n1234\n").succeeds().out;
    assert!(sum.lines().count() == 2 && sum.lines().all(|l| l.chars().count() <= 3), "{sum}");

    let attend = |options: &str| {
        let outcome =
            place.feed(&format!("translate --device cpu --model run --attention {options}"), b"8550\n\n1234\n");
        outcome.succeeds().err
    };
    attend("a.json");
    for (line, [number, given]) in crate::attention::texts(&place, "a.json").iter().zip([[1, 4], [3, 4]]) {
        assert_eq!([&line["line"], &line["given"], &line["dropped"]], [number, given, 0]);
        let read: String = serde_json::from_value::<Vec<String>>(line["target"].clone()).expect("tokens").concat();
        let (source, answer) = if number == 1 { ("8550", 0) } else { ("1234", 1) };
        // The last digit is never read: there are positions for six.
        let answer = sum.lines().nth(answer).expect("a line");
        assert_eq!(read, format!("{source}{}", &answer[..answer.len().min(2)]));
    }
    assert!(attend("-").contains("line 3, decoder self-attention, layer 1, mean of the heads: text looks at text"));
    place
        .feed("translate --device cpu --model run --attention a.svg --kind cross", b"8550\n")
        .refuses(&["--attention a.svg: --kind cross: the model has only decoder"]);
}

/// `--attention` of the model of sixteen positions that has written `text` after "the".
fn text_is_looked_at(place: &Place, text: &str) {
    let attend = |options: &str| {
        place.run(&format!("generate --device cpu --model run --prompt the --beam 1 --attention {options}"))
    };
    assert_eq!(attend("a.json --max-tokens 12").succeeds().out, text);
    let lines = crate::attention::texts(place, "a.json");
    assert_eq!((lines.len(), &lines[0]["given"], &lines[0]["dropped"]), (1, &3.into(), &0.into()));
    let read: Vec<String> = serde_json::from_value(lines[0]["target"].clone()).expect("tokens");
    assert_eq!(read.concat() + "\n", text);
    let behind: Vec<String> = serde_json::from_value(lines[0]["written"].clone()).expect("tokens");
    assert_eq!(behind[..14], read[1..]);

    // A text that slid: at seventeen tokens the model keeps eight.
    let slid = attend("a.json --max-tokens 20 --head mean").succeeds().out;
    let lines = crate::attention::texts(place, "a.json");
    let read: Vec<String> = serde_json::from_value(lines[0]["target"].clone()).expect("tokens");
    assert_eq!((&lines[0]["given"], &lines[0]["dropped"]), (&0.into(), &9.into()));
    assert_eq!(read.concat(), slid.trim_end_matches('\n').chars().skip(9).collect::<String>());
    attend("a.svg --max-tokens 20").succeeds();
    assert!(place.text("a.svg").contains(">line 1 from token 10 on</text>"), "{}", place.text("a.svg"));
    let map = attend("- --max-tokens 20").succeeds().err;
    assert!(map.contains("line 1 from token 10 on, decoder self-attention, layer 1, mean of the heads"), "{map}");

    // Several texts, each with its number.
    let many = "generate --device cpu --model run --samples 2 --max-tokens 5 --attention a.json";
    place.feed(many, b"the\n\n").succeeds();
    let numbers: Vec<_> = crate::attention::texts(place, "a.json").iter().map(|line| line["line"].clone()).collect();
    assert_eq!(numbers, [1, 2, 3, 4]);

    for (options, part) in [
        ("a.txt", "--attention a.txt: expected a name that ends in .svg"),
        ("a.svg --kind encoder", "--kind encoder: the model has only decoder"),
        ("a.svg --kind decoder --layer 2", "--layer 2: there are layers 1 to 1"),
        ("a.svg --samples 21", "21 lines of text, 20 is the most"),
    ] {
        attend(options).refuses(&[part]);
    }
    place.feed("generate --device cpu --model run --attention a.svg", b"").refuses(&["there is no text"]);
}
