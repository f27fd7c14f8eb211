//! `tokenizer.json`: what is read encodes and decodes every text, with ids below the size of the vocabulary.

use super::alloc::taken;
use super::mutate::{edited_text, edits, nested};
use super::{config, modest, refused};
use proptest::prelude::*;
use proptest::sample::select;
use seqloom::text::tokenizer::{Kind, Rules, Tokenizer};
use serde_json::{Value, json};
use std::sync::OnceLock;

const FILE: &str = "bad/tokenizer.json";

/// One of each kind, small enough to be edited everywhere.
fn good() -> &'static [String; 4] {
    static GOOD: OnceLock<[String; 4]> = OnceLock::new();
    GOOD.get_or_init(|| {
        let lines = ["the dog sees the cat", "the cat, the dog; don't", "größer"];
        let learn = |kind, size, lowercase| {
            let rules = Rules { lowercase, ..Rules::new(kind, size) };
            Tokenizer::learn(&rules, lines.into_iter()).expect("a tokenizer").to_json()
        };
        [
            learn(Kind::Bpe, 270, false),
            learn(Kind::Char, 40, false),
            learn(Kind::Word, 40, false),
            learn(Kind::Char, 40, true),
        ]
    })
}

fn check(text: &str) -> Option<String> {
    let (result, taken) = taken(|| Tokenizer::from_json(FILE, text));
    // The file as JSON, its vocabulary there and back: some ten copies of what has a few bytes a token in the file.
    modest(taken, text.len(), 60);
    let tokenizer = match result {
        Ok(tokenizer) => tokenizer,
        Err(e) => return Some(refused(&e, FILE)),
    };
    let size = tokenizer.vocab_size() as u32;
    for text in ["", "the dog", "</s> größer\n\0 猫", "\u{301}\u{200d}"] {
        let ids = tokenizer.encode(text);
        assert!(ids.iter().all(|&id| id < size), "{ids:?} of {size}");
        let back = tokenizer.decode(&ids);
        assert!(tokenizer.kind() != Kind::Bpe || tokenizer.lowercase() || back == text, "{back:?}");
    }
    for id in (0..size.min(400)).chain([u32::MAX]) {
        tokenizer.token(id);
    }
    None
}

#[test]
fn named_files_are_refused_with_a_reason() {
    let change = |i: usize, change: &dyn Fn(&mut Value)| {
        let mut json: Value = serde_json::from_str(&good()[i]).expect("JSON");
        change(&mut json);
        json.to_string()
    };
    let long = "x".repeat(1_000_000);
    let cases: [(&str, String, &str); 18] = [
        ("empty", String::new(), "EOF while parsing"),
        ("a list", "[]".into(), "model.type is neither"),
        ("deep", nested(1_000_000), "recursion limit exceeded"),
        ("deep inside", format!("{{\"model\":{}", "{\"vocab\":".repeat(1_000_000)), "recursion limit exceeded"),
        ("no model", change(0, &|t| t["model"] = Value::Null), "model.type is neither"),
        (
            "no vocabulary",
            change(0, &|t| t["model"]["vocab"] = json!({})),
            "tokens 0 to 3 are not <pad> <s> </s> <unk>",
        ),
        ("a list for a vocabulary", change(0, &|t| t["model"]["vocab"] = json!([])), "model.vocab is missing"),
        (
            "a hole in the ids",
            change(1, &|t| t["model"]["vocab"]["t"] = json!(999)),
            "the ids in model.vocab are not 0 to",
        ),
        ("an id twice", change(1, &|t| t["model"]["vocab"]["t"] = json!(4)), "the ids in model.vocab are not 0 to"),
        ("a negative id", change(1, &|t| t["model"]["vocab"]["t"] = json!(-1)), "the ids in model.vocab are not 0 to"),
        (
            "an id past a u32",
            change(1, &|t| t["model"]["vocab"]["t"] = json!(1u64 << 32)),
            "the ids in model.vocab are not",
        ),
        ("no merges", change(0, &|t| t["model"]["merges"] = Value::Null), "model.merges is missing"),
        ("a merge of three", change(0, &|t| t["model"]["merges"][0] = json!(["a", "b", "c"])), "not a pair of tokens"),
        (
            "a merge of nothing",
            change(0, &|t| t["model"]["merges"][0] = json!(["", ""])),
            "a token that model.vocab lacks",
        ),
        (
            "a merge of specials",
            change(0, &|t| t["model"]["merges"][0] = json!(["<pad>", "a"])),
            "that model.vocab lacks",
        ),
        ("dropout", change(0, &|t| t["model"]["dropout"] = json!(0.5)), "its model differs from ours"),
        ("a foreign normalizer", change(0, &|t| t["normalizer"] = json!({ "type": "NFC" })), "its normalizer differs"),
        ("a long word", good()[2].replace("\"dog\"", &format!("\"{long}, dog\"")), "is not one word"),
    ];
    for (name, text, reason) in cases {
        let message = check(&text).unwrap_or_else(|| panic!("{name} is read"));
        assert!(message.contains(reason), "{name}: {message} does not say {reason}");
    }
    for text in good() {
        assert_eq!(check(text), None);
    }
}

/// A large vocabulary of short tokens takes most memory beside its length.
#[test]
fn large_vocabularies_take_what_they_explain() {
    let mut json: Value = serde_json::from_str(&good()[1]).expect("JSON");
    let vocab = json["model"]["vocab"].as_object_mut().expect("a vocabulary");
    for (id, c) in (vocab.len()..).zip((0x4e00..0x9fff).filter_map(char::from_u32)) {
        vocab.insert(c.into(), json!(id));
    }
    assert_eq!(check(&json.to_string()), None);
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn edits_of_a_tokenizer(i in 0usize..4, edits in edits()) {
        check(&edited_text(&good()[i], &edits));
    }

    /// Tokens and merges by chance, in files that are right otherwise.
    #[test]
    fn tokens_by_chance(
        i in 0usize..4,
        tokens in proptest::collection::vec("\\PC{0,3}|[ \\n\\x00-\\x1f]{1,2}|[a-e]{1,4}", 0..6),
        pairs in proptest::collection::vec((select(vec!["a", "b", "t", "th", "", "<s>", "Ġ"]), "[a-e]{0,2}"), 0..4),
    ) {
        let mut json: Value = serde_json::from_str(&good()[i]).expect("JSON");
        for token in tokens {
            let vocab = json["model"]["vocab"].as_object_mut().expect("a vocabulary");
            let id = vocab.len();
            vocab.entry(token).or_insert(json!(id));
        }
        for (left, right) in pairs {
            let vocab = json["model"]["vocab"].as_object_mut().expect("a vocabulary");
            let id = vocab.len();
            vocab.entry(format!("{left}{right}")).or_insert(json!(id));
            if let Some(merges) = json["model"]["merges"].as_array_mut() {
                merges.push(json!([left, right]));
            }
        }
        check(&json.to_string());
    }
}
