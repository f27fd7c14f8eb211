use super::super::{Kind, Rules, Specials, Tokenizer};
use super::*;
use crate::case::Draw;
use crate::error::Error;

const JSON: &str = include_str!("../../../../tests/golden/gpt2/tokenizer.json");
const VOCAB: &str = include_str!("../../../../tests/golden/gpt2/vocab.json");
const MERGES: &str = include_str!("../../../../tests/golden/gpt2/merges.txt");
/// The id of `<|endoftext|>` there, which is the last.
const END: u32 = 399;

fn stored() -> Value {
    serde_json::from_str(include_str!("../../../../tests/golden/gpt2/texts.json")).expect("JSON")
}

fn json() -> Value {
    serde_json::from_str(JSON).expect("JSON")
}

fn read(json: &Value) -> Tokenizer {
    Tokenizer::from_json("t.json", &json.to_string()).expect("a tokenizer")
}

/// As OpenAI's directory on the hub has it: older than some keys, and merges are strings.
fn older() -> Value {
    let mut json = json();
    let model = json["model"].as_object_mut().expect("a model");
    for key in ["type", "byte_fallback", "ignore_merges"] {
        model.remove(key);
    }
    for merge in model["merges"].as_array_mut().expect("merges") {
        *merge = format!("{} {}", merge[0].as_str().expect("a token"), merge[1].as_str().expect("a token")).into();
    }
    json["added_tokens"][0]["normalized"] = true.into();
    json["post_processor"] = json!({ "type": "ByteLevel", "add_prefix_space": true, "trim_offsets": false });
    for part in ["pre_tokenizer", "decoder"] {
        json[part].as_object_mut().expect("an object").remove("use_regex");
    }
    json
}

/// The same tokenizer, from each form in which it is found.
fn forms() -> Vec<(&'static str, Tokenizer)> {
    let saved = read(&json());
    let again = Tokenizer::from_json("t.json", &saved.to_json()).expect("what was just written");
    // As a run directory of a language model has it.
    let run = Tokenizer::from_json("t.json", &saved.to_json_without_marks()).expect("what was just written");
    let files = Tokenizer::from_vocab_and_merges(("vocab.json", VOCAB), ("merges.txt", MERGES)).expect("a tokenizer");
    let windows = MERGES.replace('\n', "\r\n");
    let windows =
        Tokenizer::from_vocab_and_merges(("vocab.json", VOCAB), ("merges.txt", &windows)).expect("a tokenizer");
    let all = [("saved", saved), ("older", read(&older())), ("written here", again), ("a run's", run)];
    all.into_iter().chain([("files", files), ("files of Windows", windows)]).collect()
}

#[test]
fn ids_are_those_of_transformers() {
    let stored = stored();
    for (form, tokenizer) in forms() {
        assert_eq!((tokenizer.kind(), tokenizer.specials()), (Kind::Bpe, Specials::EndOfText(END)), "{form}");
        assert_eq!(tokenizer.vocab_size(), 400, "{form}");
        for pair in stored["ids"].as_array().expect("pairs") {
            let text = pair[0].as_str().expect("a text");
            let ids = tokenizer.encode(text);
            assert_eq!(json!(ids), pair[1], "{form}: {text:?}");
            assert_eq!(tokenizer.encode_text(text), ids, "{form}: {text:?}");
            assert_eq!(tokenizer.decode(&ids), text.replace(END_OF_TEXT, ""), "{form}: {text:?}");
        }
    }
}

/// Each character of Unicode after a letter, after a space, and twice: one checksum over the ids of them all.
#[test]
fn every_character_has_the_ids_that_transformers_gives_it() {
    let tokenizer = read(&json());
    let mut state = 0xcbf2_9ce4_8422_2325u64;
    for block in (0..0x11_0000).step_by(0x100) {
        let characters = (block..block + 0x100).filter_map(char::from_u32);
        let text: String = characters.map(|c| format!("a{c}1 {c}{c}.")).collect();
        for byte in tokenizer.encode(&text).into_iter().flat_map(u32::to_le_bytes) {
            state = (state ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
        }
    }
    assert_eq!(format!("{state:016x}"), stored()["every"]);
}

/// Cuts are made where none of the ids changes, and often enough.
#[test]
fn a_text_in_parts_has_the_ids_of_the_whole() {
    let tokenizer = read(&json());
    let pieces = [
        "a",
        "the",
        " ",
        "  ",
        "\n",
        "\n",
        "\n\n",
        "\t",
        "\r\n",
        "'s",
        "'",
        "1",
        ".",
        "é",
        "\u{a0}",
        END_OF_TEXT,
        "\u{85}",
    ];
    let mut draw = Draw::new(5);
    let mut cuts = 0;
    for _ in 0..3000 {
        let text: String = (0..draw.below(24)).map(|_| pieces[draw.below(pieces.len())]).collect();
        assert_eq!(parts(&text).collect::<String>(), text);
        cuts += parts(&text).count().saturating_sub(1);
        assert_eq!(tokenizer.encode_text(&text), tokenizer.encode(&text), "{text:?}");
    }
    assert!(cuts > 500, "{cuts} cuts");
    assert_eq!(parts("a\nb\n\nc \nd\ne\n").collect::<Vec<_>>(), ["a\n", "b\n\nc \nd\n", "e\n"]);
}

#[test]
fn the_special_token_is_known_and_skipped() {
    let tokenizer = read(&json());
    assert_eq!(tokenizer.token(END), END_OF_TEXT);
    let ids = tokenizer.encode("the cat<|endoftext|>\nthe dog");
    assert_eq!(ids.iter().filter(|&&id| id == END).count(), 1);
    assert_eq!(tokenizer.decode(&ids), "the cat\nthe dog");
    let s = tokenizer.specials();
    assert_eq!((s.pad(), s.bos(), s.eos(), s.unk(), s.end_of_text()), (None, END, END, None, Some(END)));
    // Half a character, as a model may write it.
    let half = tokenizer.encode("猫")[0];
    assert_eq!(tokenizer.decode(&[half]), "\u{fffd}");
    // What is learned here has no such token: its text is text.
    let learned = Tokenizer::learn(&Rules::new(Kind::Bpe, 300), ["a<|endoftext|>b"].into_iter()).expect("a tokenizer");
    assert_eq!(learned.decode(&learned.encode("a<|endoftext|>b")), "a<|endoftext|>b");
}

/// Tokenizers that were trained anew often have it first; some files have it beside the vocabulary.
#[test]
fn the_special_token_may_be_elsewhere() {
    let mut first = json();
    let vocab = first["model"]["vocab"].as_object().expect("an object").clone();
    let id = |token: &str, id: &Value| if token == END_OF_TEXT { 0 } else { id.as_u64().expect("an id") + 1 };
    first["model"]["vocab"] = vocab.iter().map(|(token, old)| (token.clone(), json!(id(token, old)))).collect();
    first["added_tokens"][0]["id"] = 0.into();
    let tokenizer = read(&first);
    assert_eq!(tokenizer.specials(), Specials::EndOfText(0));
    let plain = read(&json());
    let moved = |ids: Vec<u32>| ids.into_iter().map(|id| (id + 1) % 400).collect::<Vec<_>>();
    let text = "the $cat<|endoftext|> \"doesn't\"!";
    assert_eq!(tokenizer.encode(text), moved(plain.encode(text)));

    let mut beside = json();
    beside["model"]["vocab"].as_object_mut().expect("an object").remove(END_OF_TEXT);
    let vocab = beside["model"]["vocab"].to_string();
    let files = Tokenizer::from_vocab_and_merges(("vocab.json", &vocab), ("merges.txt", MERGES)).expect("a tokenizer");
    for tokenizer in [read(&beside), files] {
        assert_eq!((tokenizer.specials(), tokenizer.vocab_size()), (Specials::EndOfText(END), 400));
        assert_eq!(tokenizer.encode(text), plain.encode(text));
        let again = Tokenizer::from_json("t.json", &tokenizer.to_json()).expect("what was just written");
        assert_eq!(again.encode(text), plain.encode(text));
    }
}

#[test]
fn capitals_may_be_lost() {
    let mut lower = json();
    lower["normalizer"] = json!({ "type": "Lowercase" });
    let (tokenizer, plain) = (read(&lower), read(&json()));
    assert!(tokenizer.lowercase() && !plain.lowercase());
    assert_eq!(tokenizer.encode("THE Cat<|endoftext|>"), plain.encode("the cat<|endoftext|>"));
    assert!(!tokenizer.encode("<|ENDOFTEXT|>").contains(&END));
    // There it would be looked for in lower case.
    lower["added_tokens"][0]["normalized"] = true.into();
    let refused = Tokenizer::from_json("t.json", &lower.to_string()).expect_err("another tokenizer");
    assert!(refused.to_string().contains("its added_tokens differs"), "{refused}");
}

#[test]
fn tokenizers_that_cut_otherwise_are_refused() {
    let another = json!({ "id": 400, "content": "[PAD]", "single_word": false, "lstrip": false, "rstrip": false,
        "normalized": false, "special": true });
    for (form, base) in [("saved", json()), ("older", older())] {
        for (place, value, complaint) in [
            ("/pre_tokenizer/add_prefix_space", json!(true), "its pre_tokenizer differs"),
            ("/pre_tokenizer", json!({ "type": "Whitespace" }), "its pre_tokenizer differs"),
            ("/pre_tokenizer", Value::Null, "its pre_tokenizer differs"),
            ("/normalizer", json!({ "type": "NFC" }), "its normalizer differs"),
            ("/decoder", Value::Null, "its decoder differs"),
            ("/decoder/type", json!("WordPiece"), "its decoder differs"),
            ("/added_tokens/0/lstrip", json!(true), "its added_tokens differs"),
            ("/added_tokens/0/special", json!(false), "its added_tokens differs"),
            ("/added_tokens/0/id", json!(3), "its added_tokens differs"),
            ("/added_tokens/0/content", json!("<|end|>"), "none is <|endoftext|>"),
            ("/added_tokens", json!([base["added_tokens"][0], another]), "\"[PAD]\" stands beside <|endoftext|>"),
            ("/added_tokens", Value::Null, "none is <|endoftext|>"),
            ("/model/dropout", json!(0.1), "its model differs"),
            ("/model/continuing_subword_prefix", json!("##"), "its model differs"),
            ("/model/end_of_word_suffix", json!("</w>"), "its model differs"),
            ("/model/merges/0", json!("h"), "not a pair of tokens"),
            ("/model/merges/0", json!("h e r"), "model.vocab lacks"),
            ("/model/merges/0", json!(["h", "\u{0}"]), "model.vocab lacks"),
            ("/model/merges/0", json!("<|endoftext|> h"), "model.vocab lacks"),
            ("/model/vocab/a", json!(4000), "not 0 to 399"),
            ("/model/merges", json!(7), "model."),
            ("/model", json!([]), "model."),
        ] {
            let mut changed = base.clone();
            *changed.pointer_mut(place).unwrap_or_else(|| panic!("{place}")) = value;
            let refused = Tokenizer::from_json("t.json", &changed.to_string()).expect_err(place);
            assert!(matches!(refused, Error::Input(_)));
            let line = refused.to_string();
            assert!(
                line.starts_with("t.json: neither a tokenizer that seqloom wrote nor one like GPT-2's: "),
                "{line}"
            );
            assert!(line.contains(complaint) && !line.contains('\n'), "{form}, {place}: {line}");
        }
    }
    // Older files have no such keys.
    for (place, value) in [("/model/ignore_merges", true), ("/pre_tokenizer/use_regex", false)] {
        let mut changed = json();
        *changed.pointer_mut(place).expect(place) = value.into();
        let line = Tokenizer::from_json("t.json", &changed.to_string()).expect_err(place).to_string();
        assert!(line.contains("differs from ours"), "{place}: {line}");
    }
}

#[test]
fn broken_files_are_refused_with_their_place() {
    let refusal = |vocab: &str, merges: &str| {
        let refused = Tokenizer::from_vocab_and_merges(("v.json", vocab), ("m.txt", merges)).expect_err(merges);
        assert!(matches!(refused, Error::Input(_)));
        refused.to_string()
    };
    for vocab in ["", "[]", "{", "7"] {
        assert!(refusal(vocab, MERGES).starts_with("v.json: no tokens with their ids: "));
    }
    for (line, place) in [("h", 2), ("h e r", 2), (" e", 2), ("h ", 2)] {
        let merges = MERGES.replacen("Ġ Ġ", line, 1);
        assert_eq!(refusal(VOCAB, &merges), format!("m.txt:{place}: expected two tokens with a space between them"));
    }
    let line = refusal(VOCAB, &MERGES.replacen("Ġ Ġ", "Ġ zzzz", 1));
    assert!(line.starts_with("v.json with m.txt: ") && line.contains("a token that model.vocab lacks"), "{line}");
    let line = refusal(&VOCAB.replacen("\"!\":", "\"!!!\":", 1), MERGES);
    assert!(line.contains("model.vocab lacks a byte"), "{line}");
    let line = refusal(&VOCAB.replacen(":399", ":500", 1), MERGES);
    assert!(line.contains("not 0 to 399"), "{line}");
}
