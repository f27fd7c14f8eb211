use super::super::*;

const PHRASES: &str = "data.builtin = \"phrasebook\"\n";

/// Parses `my.toml`, which learns from the built-in corpus after `text` unless it says otherwise.
fn read(text: &str, overrides: &[&str]) -> std::result::Result<Recipe, String> {
    let overrides: Vec<String> = overrides.iter().map(|text| text.to_string()).collect();
    let text = if text.contains("data") { text.into() } else { format!("{PHRASES}{text}") };
    Recipe::parse("my.toml", &text, &overrides).map_err(|error| error.to_string())
}

#[track_caller]
fn refuses(text: &str, overrides: &[&str], message: &str) {
    assert_eq!(read(text, overrides).unwrap_err(), message);
}

#[test]
fn a_stored_recipe_is_whole() {
    let stored = Recipe { name: "a".into(), ..Recipe::default() };
    let text = stored.to_toml();
    assert_eq!(Recipe::parse_stored("recipe.toml", &text).unwrap(), stored);
    let refusal = |text: &str| Recipe::parse_stored("recipe.toml", text).unwrap_err().to_string();
    let half = text.split("[tokenizer]").next().unwrap();
    let rest = "is missing: this is not the whole recipe of a run";
    assert_eq!(refusal(half), format!("recipe.toml: [tokenizer] {rest}"));
    assert_eq!(refusal(""), format!("recipe.toml: [model] {rest}"));
    let line = 1 + text.split("heads = ").next().unwrap().matches('\n').count();
    let expected = format!("recipe.toml:{line}: model.heads: 7 does not divide");
    assert!(refusal(&text.replace("heads = 8", "heads = 7")).starts_with(&expected));
}

#[test]
fn an_empty_recipe_is_the_defaults() {
    let expected = Recipe {
        name: "my".into(),
        data: Data { builtin: Builtin::Phrasebook, ..Data::default() },
        ..Recipe::default()
    };
    assert_eq!(read("", &[]).unwrap(), expected);
}

#[test]
fn of_two_rivals_the_one_set_by_hand_counts() {
    let text = "[train]\nepochs = 10\nbatch_size = 128\n[data]\nbuiltin = \"phrasebook\"";
    let train = |overrides: &[&str]| {
        let t = read(text, overrides).unwrap().train;
        (t.steps, t.epochs, t.batch_tokens, t.batch_size)
    };
    assert_eq!(train(&[]), (2000, 10, 4096, 128));
    assert_eq!(train(&["train.steps=7"]), (7, 0, 4096, 128));
    assert_eq!(train(&["train.batch_tokens=99"]), (2000, 10, 99, 0));
    assert_eq!(train(&["train.steps=7", "train.batch_tokens=99"]), (7, 0, 99, 0));
    // And the other way: what is stored reads back.
    let text = format!("{PHRASES}[train]\nsteps = 7\nbatch_tokens = 99");
    let recipe = read(&text, &["train.epochs=2", "train.batch_size=3"]).unwrap();
    assert_eq!((recipe.train.steps, recipe.train.epochs), (2000, 2));
    assert_eq!(Recipe::parse("stored.toml", &recipe.to_toml(), &[]).unwrap(), recipe);
    let both = "train.steps: has no effect: train.epochs = 2 decides; leave it out";
    refuses("", &["train.steps=7", "train.epochs=2"], &format!("--set train.steps=7: {both}"));
    refuses("train.steps = 7\ntrain.epochs = 2", &[], &format!("my.toml:2: {both}"));
}

#[test]
fn a_key_without_effect_is_refused_where_it_is_set() {
    let cases = [
        ("train.momentum = 0.5", "train.momentum: has no effect: only the optimizer \"sgd\" reads it"),
        ("train.plateau_factor = 0.1", "train.plateau_factor: has no effect: only the schedule \"plateau\" reads it"),
        (
            "data.valid_fraction = 0.1\ndata.tsv = \"a\"\ndata.valid_tsv = \"b\"",
            "data.valid_fraction: has no effect: there are pairs to validate on",
        ),
        (
            "data.pairs = 7\ndata.tsv = \"a\"",
            "data.pairs: has no effect: only the built-in corpora have so many, and data.words",
        ),
    ];
    for (text, message) in cases {
        let line = if text.contains("data") { 1 } else { 2 };
        refuses(text, &[], &format!("my.toml:{line}: {message}; leave it out"));
    }
    let sgd = "the optimizer \"sgd\" does not read it; leave it out";
    refuses(
        "",
        &["train.optimizer=sgd", "train.eps=1e-3"],
        &format!("--set train.eps=1e-3: train.eps: has no effect: {sgd}"),
    );
    // The defaults may be said anywhere, and an override of one key makes none of the text's a mistake.
    assert!(read("train.momentum = 0.9\ntrain.plateau_patience = 5", &[]).is_ok());
    let text = "data.builtin = \"phrasebook\"\ndata.pairs = 7\ntrain.betas = [0.5, 0.5]";
    let recipe = read(text, &["data.tsv=a.tsv", "train.optimizer=sgd"]).unwrap();
    assert_eq!((recipe.data.pairs, recipe.train.betas), (40_000, [0.9, 0.98]));
}

#[test]
fn values_in_every_toml_form() {
    let text = "train = { lr = 1, eps = 0x1, betas = [0, 0.5], steps = 1_000 }\n\
                [model]\nheads = 0b100\nbias = false\n[decode]\nmax_length = +7\n";
    let recipe = read(text, &[]).unwrap();
    let (train, model) = (&recipe.train, &recipe.model);
    assert_eq!((train.lr, train.eps, train.betas, train.steps), (1.0, 1.0, [0.0, 0.5], 1000));
    assert_eq!((model.heads, model.bias, recipe.decode.max_length), (4, false, 7));
}

#[test]
fn the_name_is_the_text_s_or_the_file_s() {
    let name = |file, text: &str| Recipe::parse(file, &format!("{text}\n{PHRASES}"), &[]).unwrap().name;
    assert_eq!(name("configs/de en-1.toml", ""), "de en-1");
    assert_eq!(name("configs/x.toml", "name = \"y\""), "y");
    assert_eq!(name("<standard input>", ""), "recipe");
    assert_eq!(read("name = \"y\"", &["name=2024"]).unwrap().name, "2024");
}

#[test]
fn unknown_keys() {
    let list = "('seqloom recipes phrasebook' explains every key)";
    let cases = [
        ("[model]\nhead = 4", format!("my.toml:3: unknown key model.head; did you mean model.heads? {list}")),
        ("\n\nmodel.lr = 4", format!("my.toml:4: unknown key model.lr; did you mean train.lr? {list}")),
        ("lr = 4", format!("my.toml:2: unknown key lr; did you mean train.lr? {list}")),
        ("[modle]\nheads = 4", format!("my.toml:2: unknown section [modle]; did you mean [model]? {list}")),
        ("[x]", format!("my.toml:2: unknown section [x] {list}")),
        ("[model]\ncolour = 4", format!("my.toml:3: unknown key model.colour {list}")),
        (
            "[model.heads.x]\ny = 4",
            "my.toml:2: model.heads: expected a whole number from 1 to 1024, found a table".into(),
        ),
    ];
    for (text, message) in cases {
        refuses(text, &[], &message);
    }
    refuses("", &["train.lrr=1"], &format!("--set train.lrr=1: unknown key train.lrr; did you mean train.lr? {list}"));
    refuses(
        "",
        &["modle.head=1"],
        &format!("--set modle.head=1: unknown key modle.head; did you mean model.heads? {list}"),
    );
    refuses("", &["steps=1"], &format!("--set steps=1: unknown key steps; did you mean train.steps? {list}"));
    refuses("", &["train.steps"], "--set train.steps: expected section.key=value, such as train.steps=500");
}

#[test]
fn the_first_line_that_is_wrong_is_the_one_reported() {
    let text = "[train]\nstep = 1\n[model]\nhead = 1\n";
    assert!(read(text, &[]).unwrap_err().starts_with("my.toml:3: unknown key train.step;"));
}

#[test]
fn wrong_types() {
    let cases = [
        ("heads = \"8\"", "model.heads: expected a whole number from 1 to 1024, found \"8\""),
        ("heads = 8.0", "model.heads: expected a whole number from 1 to 1024, found 8.0"),
        ("heads = [\n8]", "model.heads: expected a whole number from 1 to 1024, found […"),
        ("dropout = true", "model.dropout: expected a number from 0 to below 1, found true"),
        ("bias = 1", "model.bias: expected true or false, found 1"),
        ("kind = 1", "model.kind: expected \"transformer\", \"gpt\" or \"seq2seq\", found 1"),
    ];
    for (text, message) in cases {
        refuses(&format!("[model]\n{text}"), &[], &format!("my.toml:3: {message}"));
    }
    refuses("\n[data]\ntsv = 5", &[], "my.toml:3: data.tsv: expected a string, found 5");
    refuses("model = 3", &[], "my.toml:2: model: expected a section, written [model], found 3");
    refuses("[[model]]", &[], "my.toml:2: model: expected a section, written [model], found [[model]]");
    refuses("[name]", &[], "my.toml:2: name: expected a string, found a table");
    refuses("", &["train.lr="], "--set train.lr=: train.lr: expected a number above 0 and at most 1000, found nothing");
    refuses("", &["model.bias=True"], "--set model.bias=True: model.bias: expected true or false, found True");
}

#[test]
fn impossible_values() {
    let cases = [
        ("model.kind = \"bert\"", "expected \"transformer\", \"gpt\" or \"seq2seq\", found \"bert\""),
        ("train.optimizer = \"lion\"", "expected \"adamw\", \"adam\" or \"sgd\", found \"lion\""),
        ("tokenizer.kind = \"wrod\"", "expected \"bpe\", \"char\" or \"word\", found \"wrod\""),
        (
            "train.schedule = \"step\"",
            "expected \"inverse_sqrt\", \"noam\", \"constant\", \"cosine\", \"linear\", \"wsd\" or \"plateau\", \
             found \"step\"",
        ),
        ("train.plateau_factor = 1", "expected a number above 0 and below 1, found 1"),
        ("model.d_model = 131072", "expected a whole number from 2 to 65536, found 131072"),
        ("model.d_model = 99999999999999999999", "expected a whole number from 2 to 65536, found 99999999999999999999"),
        ("model.heads = 0", "expected a whole number from 1 to 1024, found 0"),
        ("train.steps = -1", "expected a whole number from 1 to 1000000000, found -1"),
        ("train.lr = 0", "expected a number above 0 and at most 1000, found 0"),
        ("train.lr = nan", "expected a number above 0 and at most 1000, found nan"),
        ("train.lr = -5e-4", "expected a number above 0 and at most 1000, found -5e-4"),
        ("train.clip = inf", "expected a number from 0 to 1000000, found inf"),
        ("model.dropout = 1", "expected a number from 0 to below 1, found 1"),
        ("train.betas = [0.9]", "expected a list of two numbers from 0 to below 1, found [0.9]"),
        ("train.betas = [0.9, 1.0]", "expected a list of two numbers from 0 to below 1, found [0.9, 1.0]"),
        ("train.betas = [0.9, nan]", "expected a list of two numbers from 0 to below 1, found [0.9, nan]"),
    ];
    for (text, message) in cases {
        let key = text.split(' ').next().unwrap();
        refuses(text, &[], &format!("my.toml:2: {key}: {message}"));
    }
    refuses(
        "[data]\nbuiltin = \"wmt\"",
        &[],
        "my.toml:2: data.builtin: expected \"\", \"phrasebook\", \"copy\", \"addition\", \"sort\", \"reverse\" or \"agreement\", found \"wmt\"",
    );
}

#[test]
fn what_is_not_toml() {
    let cases = [
        ("train.lr = 1\ntrain.lr = 2", "my.toml:3: not TOML: duplicate key: lr"),
        ("name = mine", "my.toml:2: not TOML: string values must be quoted, expected literal string: mine"),
        ("[model]\nheads", "my.toml:3: not TOML: key with no value, expected `=`"),
        ("name = \"mine\ntrain.lr = 1", "my.toml:2: not TOML: invalid basic string, expected `\"`"),
    ];
    for (text, message) in cases {
        refuses(text, &[], message);
    }
}

#[test]
fn overrides_win_and_the_last_one_wins() {
    let overrides = ["train.steps=7", "train.schedule=noam", " train.lr = 1 ", "train.steps=8", "train.betas=[0, 0]"];
    let train = read("train.steps = 5", &overrides).unwrap().train;
    assert_eq!((train.steps, train.schedule, train.lr, train.betas), (8, Schedule::Noam, 1.0, [0.0, 0.0]));
}

#[test]
fn strings_after_set_need_no_quotes() {
    let tsv = |value: &str| read("", &[&format!("data.tsv={value}")]).unwrap().data.tsv;
    let files = ["my file.txt", "2024", "true", "2024-01-01", "a=b.tsv", "C:\\data\\x.tsv", "a#b.tsv", "[1", "it's"];
    for file in files {
        assert_eq!(tsv(file), file);
    }
    assert_eq!(tsv("\"quoted \\u00e9\""), "quoted é");
}

#[test]
fn a_source_after_set_replaces_the_recipe_s_data() {
    let files = "[data]\nsource = \"a.de\"\ntarget = \"a.en\"\nvalid_source = \"v.de\"\nvalid_target = \"v.en\"\n\
                 max_length = 9\n";
    let data = |text, overrides: &[&str]| read(text, overrides).unwrap().data;
    let nine = Data { max_length: 9, ..Data::default() };
    assert_eq!(data(files, &["data.tsv=b.tsv"]), Data { tsv: "b.tsv".into(), ..nine.clone() });
    assert_eq!(data(files, &["data.builtin=phrasebook"]), Data { builtin: Builtin::Phrasebook, ..nine.clone() });
    assert_eq!(
        data(files, &["data.valid_tsv=v.tsv", "data.tsv=b.tsv"]),
        Data { tsv: "b.tsv".into(), valid_tsv: "v.tsv".into(), ..nine.clone() }
    );
    assert_eq!(
        data(PHRASES, &["data.target=b.en", "data.source=b.de"]),
        Data { source: "b.de".into(), target: "b.en".into(), ..Data::default() }
    );
    assert_eq!(data("[data]", &["data.tsv=b.tsv"]).tsv, "b.tsv");
    // Not a source: the recipe's data stays.
    assert_eq!(data(files, &["data.max_length=8"]).source, "a.de");
    assert_eq!(data(files, &["data.tsv="]).source, "a.de");
    // Half of the old pair would not fit the new half.
    refuses(
        files,
        &["data.source=b.de"],
        "--set data.source=b.de: data.source: data.target is missing; the two files go together, line by line",
    );
}

#[test]
fn conflicts_point_to_the_line_that_is_set_and_first_to_the_override() {
    let text = |heads, d_model| {
        format!("model.heads: {heads} does not divide model.d_model = {d_model}; choose a divisor such as")
    };
    refuses("[model]\nheads = 7", &[], &format!("my.toml:3: {} 4 or 8", text(7, 256)));
    refuses("[model]\nheads = 7\nd_model = 64", &[], &format!("my.toml:3: {} 4 or 8", text(7, 64)));
    refuses("[model]\nd_model = 100", &[], &format!("my.toml:3: {} 5 or 10", text(8, 100)));
    refuses("[model]\nheads = 512", &[], &format!("my.toml:3: {} 256", text(512, 256)));
    let place = "--set model.d_model=100";
    refuses("[model]\nheads = 8", &["model.d_model=100"], &format!("{place}: {} 5 or 10", text(8, 100)));
}
