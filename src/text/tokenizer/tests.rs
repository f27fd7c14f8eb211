use super::*;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

const TEXT: [&str; 6] = [
    "je suis une phrase .",
    "je suis là , nous sommes là .",
    "",
    "they said </s> and <pad> and </s> again <unk>",
    "à l'école, où l'on s'ennuie\tun\r peu",
    "42 1234 42 1234 naïve 猫と犬 🦀",
];

fn learned(kind: Kind, vocab_size: usize) -> Tokenizer {
    Tokenizer::learn(kind, vocab_size, TEXT.into_iter()).unwrap()
}

fn refusal(text: &str) -> String {
    let error = Tokenizer::from_json("t.json", text).unwrap_err();
    assert!(matches!(error, Error::Input(_)));
    let line = error.to_string();
    assert!(line.starts_with("t.json: ") && !line.contains('\n'), "{line}");
    line
}

/// Up to 40 characters from all of Unicode, half of them from what texts are made of.
fn random_text(rng: &mut ChaCha8Rng) -> String {
    let common: Vec<char> = "abé ’\n\r\t\u{a0}\u{200d}\u{301}\0'<>/spadunk猫🦀0١\u{feff}".chars().collect();
    let mut character = || match rng.next_u64() % 2 {
        0 => common[(rng.next_u64() % common.len() as u64) as usize],
        _ => char::from_u32((rng.next_u64() % 0x11_0000) as u32).unwrap_or('\u{fffd}'),
    };
    let characters: Vec<char> = (0..40).map(|_| character()).collect();
    characters[..(rng.next_u64() % 41) as usize].iter().collect()
}

#[test]
fn every_string_comes_back_from_bpe() {
    let tokenizer = learned(Kind::Bpe, 330);
    let again = Tokenizer::from_json("t.json", &tokenizer.to_json()).unwrap();
    for seed in 0..2000 {
        let text = random_text(&mut ChaCha8Rng::seed_from_u64(seed));
        let ids = tokenizer.encode(&text);
        assert_eq!(tokenizer.decode(&ids), text, "seed {seed}");
        assert_eq!(again.encode(&text), ids, "seed {seed}");
        assert!(ids.iter().all(|&id| id > UNK && (id as usize) < tokenizer.vocab_size()), "seed {seed}");
    }
    let blank = " ".repeat(100_000);
    assert_eq!(tokenizer.decode(&tokenizer.encode(&blank)), blank);
}

#[test]
fn known_characters_come_back_and_others_are_unknown() {
    let tokenizer = learned(Kind::Char, 1000);
    for text in TEXT {
        let ids = tokenizer.encode(text);
        assert_eq!(ids.len(), text.chars().count());
        assert!(ids.iter().all(|&id| id > UNK));
        assert_eq!(tokenizer.decode(&ids), text);
    }
    for seed in 0..500 {
        let text = random_text(&mut ChaCha8Rng::seed_from_u64(seed));
        let ids = tokenizer.encode(&text);
        assert_eq!(ids.len(), text.chars().count(), "seed {seed}");
        assert!(ids.iter().all(|&id| id >= UNK), "seed {seed}");
    }
    assert_eq!(tokenizer.encode("a\nè"), [tokenizer.encode("a")[0], UNK, UNK]);
    assert_eq!(tokenizer.decode(&tokenizer.encode("a\nè")), "a");
}

#[test]
fn a_small_character_vocabulary_keeps_the_most_frequent() {
    let tokenizer = Tokenizer::learn(Kind::Char, 6, ["zzb", "abz"].into_iter()).unwrap();
    assert_eq!(tokenizer.vocab_size(), 6);
    assert_eq!(tokenizer.encode("abz"), [UNK, 4, 5]);
}

#[test]
fn special_tokens_cannot_be_written() {
    let text = "<pad><s></s><unk> </s>";
    for kind in [Kind::Bpe, Kind::Char] {
        let tokenizer = learned(kind, 400);
        for tokenizer in [tokenizer.clone(), Tokenizer::from_json("t.json", &tokenizer.to_json()).unwrap()] {
            let mut ids = tokenizer.encode(text);
            assert!(ids.iter().all(|&id| id > UNK));
            ids.extend([EOS, PAD, PAD, u32::MAX]);
            ids.insert(0, BOS);
            assert_eq!(tokenizer.decode(&ids), text);
        }
    }
}

#[test]
fn tokens_are_readable() {
    let tokenizer = learned(Kind::Bpe, 330);
    let tokens: Vec<String> = tokenizer.encode("je suis").into_iter().map(|id| tokenizer.token(id)).collect();
    assert_eq!(tokens, ["je", " suis"]);
    assert_eq!([PAD, BOS, EOS, UNK].map(|id| tokenizer.token(id)), SPECIALS);
    // A vocabulary with no merges: a token is a byte.
    let bytes = learned(Kind::Bpe, 260);
    for c in (0..0x3000).filter_map(char::from_u32).chain(['\u{fffd}', '\u{10ffff}']) {
        let text = c.to_string();
        let pieces: String = bytes.encode(&text).into_iter().map(|id| bytes.token(id)).collect();
        let wanted = if c.is_ascii() { text } else { text.bytes().map(|b| format!("<0x{b:02X}>")).collect() };
        assert_eq!(pieces, wanted);
    }
    assert_eq!(bytes.token(330), "");
    assert_eq!(tokenizer.token(330), "");
}

#[test]
fn learning_is_deterministic() {
    for (kind, size) in [(Kind::Bpe, 300), (Kind::Bpe, usize::MAX), (Kind::Char, 20)] {
        let once = learned(kind, size).to_json();
        for _ in 0..10 {
            let again = Tokenizer::learn(kind, size, TEXT.into_iter().rev()).unwrap();
            assert_eq!(again.to_json(), once);
        }
        assert_eq!(Tokenizer::from_json("t.json", &once).unwrap().to_json(), once);
    }
}

#[test]
fn impossible_vocabularies_are_refused() {
    let error = |kind, size, text| Tokenizer::learn(kind, size, [text].into_iter()).unwrap_err().to_string();
    assert!(error(Kind::Bpe, 259, "a").contains("at least 260"));
    assert!(error(Kind::Char, 4, "a").contains("at least 5"));
    assert!(error(Kind::Bpe, 260, "").contains("no text"));
    assert_eq!(learned(Kind::Bpe, 260).vocab_size(), 260);
}

#[test]
fn foreign_and_broken_files_are_refused() {
    for text in ["", "{", "[]", "null", "{}", "\u{feff}{}", r#"{"model":{"type":"BPE","vocab":{}}}"#] {
        refusal(text);
    }
    let json: Value = serde_json::from_str(&learned(Kind::Bpe, 300).to_json()).unwrap();
    for (place, value, complaint) in [
        ("/model/type", json!("Unigram"), "model.type"),
        ("/model/vocab/<pad>", json!(4_000_000_000u32), "not 0 to 282"),
        ("/model/vocab/<pad>", json!(1), "not 0 to 282"),
        ("/model/vocab/<pad>", json!(-1), "not 0 to 282"),
        ("/model/vocab", json!({"a": 0, "b": 1}), "tokens 0 to 3"),
        ("/model/vocab", json!({"<pad>": 0, "<s>": 1, "</s>": 2, "<unk>": 3}), "lacks a byte"),
        ("/model/merges/0", json!(["a"]), "not a pair"),
        ("/model/merges/0", json!(["a", "\u{0}"]), "model.vocab lacks"),
        ("/model/merges/0", json!(["<pad>", "a"]), "model.vocab lacks"),
        ("/model/dropout", json!(0.5), "its model differs"),
        ("/added_tokens/0/lstrip", json!(true), "its added_tokens differs"),
        ("/normalizer", json!({"type": "NFC"}), "its normalizer differs"),
        ("/pre_tokenizer/add_prefix_space", json!(true), "its pre_tokenizer differs"),
        ("/decoder", Value::Null, "its decoder differs"),
    ] {
        let mut changed = json.clone();
        *changed.pointer_mut(&place.replace("</s>", "<~1s>")).unwrap() = value;
        let line = refusal(&changed.to_string());
        assert!(line.contains(complaint), "{place}: {line}");
    }
    let characters = learned(Kind::Char, 300).to_json();
    assert!(refusal(&characters.replace("\"a\":", "\"aa\":")).contains("not one character"));
}
