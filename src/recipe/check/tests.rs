use super::*;
use crate::recipe::{CharCnn, Model};

/// `text` starts on line 2, in the section of the data.
#[track_caller]
fn refuses(text: &str, message: &str) {
    let error = Recipe::parse("my.toml", &format!("[data]\n{text}"), &[]).unwrap_err();
    assert_eq!(error.to_string(), message);
    assert_eq!(error.exit_code(), 2);
}

#[test]
fn there_is_one_source_of_data() {
    let keep = "keep one of data.source with data.target, data.tsv, data.words, data.text, data.builtin";
    let nothing = Recipe::parse("my.toml", "", &[]).unwrap().require_data("my.toml").unwrap_err();
    assert!(nothing.to_string().starts_with("my.toml: there is nothing to learn from; add --set data.source=FILE"));
    assert_eq!(nothing.exit_code(), 2);
    for source in ["tsv = \"a.tsv\"", "builtin = \"copy\"", "source = \"a\"\ntarget = \"b\""] {
        let recipe = Recipe::parse("my.toml", &format!("[data]\n{source}"), &[]).unwrap();
        assert!(recipe.require_data("my.toml").is_ok());
    }
    refuses(
        "tsv = \"a.tsv\"\nbuiltin = \"phrasebook\"",
        &format!("my.toml:3: data.builtin: data.tsv is set too; {keep}"),
    );
    refuses("target = \"a.en\"\ntsv = \"a.tsv\"", &format!("my.toml:3: data.tsv: data.target is set too; {keep}"));
}

#[test]
fn files_of_a_pair_come_together() {
    let text = |set, missing| format!("data.{set}: data.{missing} is missing; the two files go together, line by line");
    refuses("source = \"a.de\"", &format!("my.toml:2: {}", text("source", "target")));
    refuses("target = \"a.en\"", &format!("my.toml:2: {}", text("target", "source")));
    refuses(
        "tsv = \"a.tsv\"\nvalid_target = \"v.en\"",
        &format!("my.toml:3: {}", text("valid_target", "valid_source")),
    );
}

#[test]
fn validation_is_one_set_of_pairs() {
    refuses(
        "tsv = \"a\"\nvalid_source = \"v.de\"\nvalid_target = \"v.en\"\nvalid_tsv = \"v\"",
        "my.toml:5: data.valid_tsv: data.valid_source is set too; \
         keep one of data.valid_source with data.valid_target, data.valid_tsv",
    );
    refuses(
        "builtin = \"phrasebook\"\nvalid_tsv = \"v\"",
        "my.toml:3: data.valid_tsv: the built-in corpus brings its own pairs to validate on; \
         leave one of the two out",
    );
}

#[test]
fn without_marks_there_is_a_start() {
    let builtin = "builtin = \"copy\"\n";
    refuses(
        &format!("{builtin}marks = false"),
        "my.toml:3: data.marks: false needs decode.start, the token that every output begins with",
    );
    refuses(
        &format!("{builtin}[decode]\nstart = \"1\""),
        "my.toml:4: decode.start: has no effect where targets begin with <s>; \
         leave it out, or set data.marks = false",
    );
    let text = format!("[data]\n{builtin}marks = false\n[decode]\nstart = \"1\"");
    assert_eq!(Recipe::parse("my.toml", &text, &[]).unwrap().decode.start, "1");
}

#[test]
fn sinusoids_need_an_even_width() {
    refuses(
        "builtin = \"phrasebook\"\n[model]\nheads = 5\nd_model = 255",
        "my.toml:5: model.d_model: 255 is odd; sines and cosines need an even width",
    );
}

#[test]
fn only_added_sinusoids_need_an_even_width() {
    let text =
        |positions| format!("builtin = \"phrasebook\"\n[model]\npositions = \"{positions}\"\nheads = 5\nd_model = 255");
    refuses(&text("sinusoidal_split"), "my.toml:6: model.d_model: 255 is odd; sines and cosines need an even width");
    let model = Recipe::parse("my.toml", &format!("[data]\n{}", text("learned")), &[]).unwrap().model;
    assert_eq!((model.positions, model.d_model), (Positions::Learned, 255));
}

#[test]
fn rotary_positions_need_an_even_head() {
    let wrong = "3 wide, which is odd; rotary positions turn pairs, so choose an even model.d_model / model.heads";
    let refuses = |keys: &str, message: &str| {
        refuses(&format!("builtin = \"phrasebook\"\n[model]\npositions = \"rotary\"\n{keys}"), message)
    };
    refuses("heads = 2\nd_model = 6", &format!("my.toml:5: model.heads: 2 of model.d_model = 6 are {wrong}"));
    refuses("d_model = 24", &format!("my.toml:5: model.heads: 8 of model.d_model = 24 are {wrong}"));
    refuses("heads = 5\nd_model = 15", &format!("my.toml:5: model.heads: 5 of model.d_model = 15 are {wrong}"));
}

#[test]
fn the_least_rate_is_read_and_below_the_peak() {
    let data = "builtin = \"phrasebook\"\n[train]\n";
    let others = "choose \"cosine\", \"linear\", \"wsd\" or \"plateau\"";
    for schedule in ["inverse_sqrt", "noam", "constant"] {
        refuses(
            &format!("{data}schedule = \"{schedule}\"\nmin_lr = 1e-5"),
            &format!("my.toml:5: train.min_lr: the schedule \"{schedule}\" has no use for it; {others}"),
        );
    }
    refuses(
        &format!("{data}schedule = \"linear\"\nmin_lr = 1e-3\nlr = 5e-4"),
        "my.toml:5: train.min_lr: 0.001 is more than train.lr = 0.0005",
    );
    for settings in ["schedule = \"plateau\"\nmin_lr = 5e-4", "schedule = \"noam\"\nmin_lr = 0"] {
        assert!(Recipe::parse("my.toml", &format!("[data]\n{data}{settings}"), &[]).is_ok());
    }
}

#[test]
fn a_name_is_a_directory_s() {
    for name in ["a", "de-en_v1.2", "mes données"] {
        assert!(is_directory_name(name), "{name}");
    }
    for name in ["", ".", "..", ".git", "a/b", "a\\b", "c:", "a ", "dot.", "a\nb"] {
        assert!(!is_directory_name(name), "{name}");
    }
    let recipe = Recipe { name: "a/b".into(), ..Recipe::default() };
    assert_eq!(
        conflict(&recipe).unwrap().text,
        "name: \"a/b\" cannot be the name of a directory; \
         use letters, digits, and between them ' ', '-', '_' and '.'"
    );
}

/// `text` starts on line 3, in the section of a recurrent model.
#[track_caller]
fn refuses_recurrent(text: &str, message: &str) {
    refuses(&format!("builtin = \"reverse\"\n[model]\nkind = \"seq2seq\"\n{text}"), message);
}

#[test]
fn what_is_fed_back_is_attended_to() {
    let choose = "leave it out, or choose the attention \"dot\" or \"general\"";
    refuses_recurrent(
        "attention = \"bahdanau\"\ninput_feeding = true",
        &format!(
            "my.toml:6: model.input_feeding: \"bahdanau\" feeds what it attends to into every step as it is; {choose}"
        ),
    );
    refuses_recurrent(
        "input_feeding = true\nattention = \"none\"",
        &format!("my.toml:5: model.input_feeding: there is nothing to feed back without attention; {choose}"),
    );
}

#[test]
fn recurrent_widths_fit_each_other() {
    refuses_recurrent(
        "attention = \"dot\"\nhidden = 8",
        "my.toml:5: model.attention: \"dot\" multiplies states of one width, and the states of an encoder with two \
         directions are 16 wide, the decoder's 8; choose \"general\", or model.bidirectional = false",
    );
    refuses_recurrent(
        "hidden = 8\ntie_embeddings = true",
        "my.toml:6: model.tie_embeddings: the output's matrix is model.hidden = 8 wide, the embedding \
         model.embedding = 256; choose them equal, or model.tie_embeddings = false",
    );
    let fits = "[model]\nkind = \"seq2seq\"\nattention = \"dot\"\nbidirectional = false\ntie_embeddings = true";
    assert!(Recipe::parse("my.toml", fits, &[]).is_ok());
    // What a Transformer's widths must fit does not hold here.
    assert!(Recipe::parse("my.toml", "model.kind = \"seq2seq\"", &[]).is_ok());
}

#[test]
fn recurrent_keys_are_checked_alone() {
    refuses_recurrent(
        "attention = \"bahdanu\"",
        "my.toml:5: model.attention: expected \"none\", \"bahdanau\", \"dot\" or \"general\", found \"bahdanu\"",
    );
    for hidden in [0, 16_385] {
        refuses_recurrent(
            &format!("hidden = {hidden}"),
            &format!("my.toml:5: model.hidden: expected a whole number from 1 to 16384, found {hidden}"),
        );
    }
}

#[test]
fn each_kind_has_keys_of_its_own() {
    let idle = |line: usize, key: &str, why: &str| format!("my.toml:{line}: {key}: has no effect: {why}; leave it out");
    for (key, value) in
        OF_TRANSFORMERS.iter().zip(["8", "4", "64", "\"pre\"", "1e-6", "\"gelu\"", "\"learned\"", "false", "false"])
    {
        let text = format!("{} = {value}", key.strip_prefix("model.").unwrap());
        refuses_recurrent(&text, &idle(5, key, "only the kinds \"transformer\" and \"gpt\" read it"));
    }
    for (key, value) in OF_SEQ2SEQ.iter().zip(["\"gru\"", "8", "8", "false", "\"dot\"", "true", "\"every\""]) {
        let text = format!("builtin = \"reverse\"\n[model]\n{} = {value}", key.strip_prefix("model.").unwrap());
        refuses(&text, &idle(4, key, "only the kind \"seq2seq\" reads it"));
    }
    refuses_recurrent("encoder_layers = 2", &idle(5, "model.encoder_layers", "only the kind \"transformer\" reads it"));
    refuses_recurrent(
        "context = \"every\"",
        &idle(5, "model.context", "the attention \"general\" computes a context for each step"),
    );
    refuses(
        "text = \"a.txt\"\n[model]\nkind = \"seq2seq\"",
        "my.toml:2: data.text: only the kind \"gpt\" learns from a text; the kind \"seq2seq\" needs pairs",
    );
}

#[test]
fn a_character_cnn_reads_what_the_tokenizer_cuts() {
    let model = |cnn: &str| format!("builtin = \"phrasebook\"\n[model]\nchar_cnn = {cnn}\n[tokenizer]\n");
    let [words, characters] = ["{ pool = \"word\" }", "{}"].map(model);
    refuses(
        &format!("{words}kind = \"char\""),
        "my.toml:4: model.char_cnn: it reads words with pool = \"word\", and tokenizer.kind = \"char\"; \
         choose the tokenizer \"word\", or leave it out",
    );
    refuses(
        &format!("{characters}kind = \"word\""),
        "my.toml:4: model.char_cnn: it reads characters, and tokenizer.kind = \"word\"; \
         choose the tokenizer \"char\", or leave it out",
    );
    let shared = "tokenizer.shared: a model.char_cnn of words reads how they are spelled, those that no vocabulary \
                  has, too; set tokenizer.shared = false";
    refuses(&format!("{words}kind = \"word\""), &format!("my.toml:4: {shared}"));
    refuses(&format!("{words}kind = \"word\"\nshared = true"), &format!("my.toml:7: {shared}"));
    for good in [format!("{words}kind = \"word\"\nshared = false"), format!("{characters}kind = \"char\"")] {
        assert!(Recipe::parse("my.toml", &format!("[data]\n{good}"), &[]).is_ok(), "{good}");
    }
}

#[test]
fn a_rule_about_keys_that_the_kind_does_not_read_is_none() {
    let parsed = |model: &str| Recipe::parse("my.toml", &format!("[data]\nbuiltin = \"copy\"\n[model]\n{model}"), &[]);
    // Sinusoids and heads, which a recurrent model has not; what it has, a Transformer has not.
    let mut recipe = parsed("kind = \"seq2seq\"").unwrap();
    (recipe.model.d_model, recipe.model.heads) = (255, 2);
    assert_eq!(recipe.check_model(), Ok(()));
    recipe.model.kind = ModelKind::Transformer;
    assert!(recipe.check_model().is_err());
    for change in [
        |m: &mut Model| (m.embedding, m.hidden, m.tie_embeddings) = (3, 4, true),
        |m: &mut Model| (m.attention, m.input_feeding, m.tie_embeddings) = (Attention::Bahdanau, true, false),
        |m: &mut Model| (m.attention, m.bidirectional, m.tie_embeddings) = (Attention::Dot, true, false),
    ] {
        let mut recipe = parsed("").unwrap();
        change(&mut recipe.model);
        assert_eq!(recipe.check_model(), Ok(()));
        recipe.model.kind = ModelKind::Seq2Seq;
        assert!(recipe.check_model().is_err());
    }
    // A "gpt" has neither characters of its own nor a start.
    let mut recipe = parsed("kind = \"gpt\"").unwrap();
    (recipe.model.char_cnn, recipe.decode.start) = (Some(CharCnn::default()), "x".into());
    assert_eq!(recipe.check_model(), Ok(()));
    recipe.model = Model { kind: ModelKind::Transformer, ..Model::default() };
    assert!(recipe.check_model().is_err());
}
