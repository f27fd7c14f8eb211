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
    Tokenizer::learn(&Rules::new(kind, vocab_size), TEXT.into_iter()).unwrap()
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
    let tokenizer = Tokenizer::learn(&Rules::new(Kind::Char, 6), ["zzb", "abz"].into_iter()).unwrap();
    assert_eq!(tokenizer.vocab_size(), 6);
    assert_eq!(tokenizer.encode("abz"), [UNK, 4, 5]);
}

/// Sentences as people write them, which come back from words to the letter.
const SENTENCES: [&str; 9] = [
    "A man in a blue shirt isn't standing on a ladder, he's cleaning a window.",
    "Two women (one with a T-shirt) are laughing; the third looks at them: why?",
    "The train leaves at 10:30, and 1,000 people pay $ 2.50 each!",
    "Ein Mann fährt mit 2,5 km/h – so schnell wie ich! – und lacht…",
    "Wer weiß, ob's stimmt? 50% der Leute [oder mehr]...",
    "L'homme s'est levé jusqu'à l'école, peut-être aujourd'hui.",
    "Où est-il? « Je ne sais pas », dit-elle, d’un air triste.",
    "¿Dónde está? ¡Aquí!",
    "I have 3 apples and 4 pears",
];

#[test]
fn sentences_come_back_from_words() {
    let tokenizer = Tokenizer::learn(&Rules::new(Kind::Word, 1000), SENTENCES.into_iter()).unwrap();
    for text in SENTENCES {
        let ids = tokenizer.encode(text);
        assert!(ids.iter().all(|&id| id > UNK));
        assert_eq!(tokenizer.decode(&ids), text);
        // White space is white space, and nothing at the ends.
        let spaced = format!(" \u{a0}{}\n", text.replace(' ', "\t  "));
        assert_eq!(tokenizer.encode(&spaced), ids);
        assert_eq!(Tokenizer::from_json("t.json", &tokenizer.to_json()).unwrap().decode(&ids), text);
    }
    let tokens: Vec<String> = tokenizer.encode("isn't 2.50?!").iter().map(|&id| tokenizer.token(id)).collect();
    assert_eq!(tokens, ["isn", "'", "t", "2", ".", "50", "?", "!"]);
}

/// What words cannot give back, as the documentation says.
#[test]
fn words_lose_spaces_that_the_rule_has_otherwise() {
    let text = ["say \"no\"", "a - b", "the dogs' tails", "Pourquoi ?", "In 1990, 3 men"];
    let tokenizer = Tokenizer::learn(&Rules::new(Kind::Word, 1000), text.into_iter()).unwrap();
    let back: Vec<String> = text.iter().map(|text| tokenizer.decode(&tokenizer.encode(text))).collect();
    assert_eq!(back, ["say \" no \"", "a-b", "the dogs'tails", "Pourquoi?", "In 1990,3 men"]);
    assert_eq!(tokenizer.encode("the cats"), [tokenizer.encode("the")[0], UNK]);
    assert_eq!(tokenizer.decode(&tokenizer.encode("the big dogs")), "the dogs");
    assert!(tokenizer.encode(" \t").is_empty());
}

#[test]
fn a_small_word_vocabulary_keeps_the_most_frequent() {
    let lines = ["b a c b", "c b d"];
    let known = |rules: Rules| {
        let tokenizer = Tokenizer::learn(&rules, lines.into_iter()).unwrap();
        (4..tokenizer.vocab_size() as u32).map(|id| tokenizer.token(id)).collect::<String>()
    };
    let all = Rules::new(Kind::Word, 100);
    assert_eq!(known(all), "abcd");
    assert_eq!(known(Rules { vocab_size: 7, ..all }), "abc");
    assert_eq!(known(Rules { vocab_size: 5, ..all }), "b");
    assert_eq!(known(Rules { min_frequency: 2, ..all }), "bc");
    assert_eq!(known(Rules { min_frequency: 3, kind: Kind::Char, ..all }), " b");
    let error = Tokenizer::learn(&Rules { min_frequency: 4, ..all }, lines.into_iter()).unwrap_err();
    assert!(error.to_string().starts_with("tokenizer.min_frequency = 4: "), "{error}");
    let size = |min_frequency| {
        let rules = Rules { min_frequency, ..Rules::new(Kind::Bpe, 1000) };
        Tokenizer::learn(&rules, ["ab ab ab cd cd"].into_iter()).unwrap().vocab_size()
    };
    // "ab", " ab"; " c", " cd".
    assert_eq!([1, 2, 3, 4].map(size), [264, 264, 261, 260]);
}

#[test]
fn lower_case_is_learned_and_encoded() {
    let lower = |text: &str| text.chars().flat_map(char::to_lowercase).collect::<String>();
    for kind in [Kind::Bpe, Kind::Char, Kind::Word] {
        let rules = Rules { lowercase: true, ..Rules::new(kind, 400) };
        let tokenizer = Tokenizer::learn(&rules, ["ÀB ab Äb", "AB İstanbul ΛΌΓΟΣ"].into_iter()).unwrap();
        let plain = Tokenizer::learn(
            &Rules::new(kind, 400),
            [lower("ÀB ab Äb"), lower("AB İstanbul ΛΌΓΟΣ")].iter().map(String::as_str),
        );
        assert_eq!(tokenizer.vocab_size(), plain.unwrap().vocab_size());
        let again = Tokenizer::from_json("t.json", &tokenizer.to_json()).unwrap();
        assert!(tokenizer.lowercase() && again.lowercase());
        for seed in 0..300 {
            let text = random_text(&mut ChaCha8Rng::seed_from_u64(seed));
            let ids = tokenizer.encode(&text);
            assert_eq!(tokenizer.encode(&lower(&text)), ids, "seed {seed}");
            assert_eq!(again.encode(&text), ids, "seed {seed}");
            if kind == Kind::Bpe {
                assert_eq!(tokenizer.decode(&ids), lower(&text), "seed {seed}");
            }
        }
        assert_eq!(tokenizer.decode(&tokenizer.encode("AB ÀB")), "ab àb");
    }
}

#[test]
fn special_tokens_cannot_be_written() {
    let text = "<pad><s></s><unk> </s>";
    let words = Tokenizer::learn(&Rules::new(Kind::Word, 400), [text].into_iter()).unwrap();
    let ids = words.encode(text);
    assert!(ids.iter().all(|&id| id > UNK));
    assert_eq!(words.decode(&[&[BOS, PAD], &ids[..], &[UNK, EOS]].concat()), words.decode(&ids));
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
    for (kind, size) in [(Kind::Bpe, 300), (Kind::Bpe, usize::MAX), (Kind::Char, 20), (Kind::Word, 20)] {
        let once = learned(kind, size).to_json();
        for _ in 0..10 {
            let again = Tokenizer::learn(&Rules::new(kind, size), TEXT.into_iter().rev()).unwrap();
            assert_eq!(again.to_json(), once);
        }
        assert_eq!(Tokenizer::from_json("t.json", &once).unwrap().to_json(), once);
    }
}

#[test]
fn impossible_vocabularies_are_refused() {
    let error =
        |kind, size, text| Tokenizer::learn(&Rules::new(kind, size), [text].into_iter()).unwrap_err().to_string();
    assert!(error(Kind::Bpe, 259, "a").contains("at least 260"));
    assert!(error(Kind::Char, 4, "a").contains("at least 5"));
    assert!(error(Kind::Word, 4, "a").contains("at least 5 (4 specials and 1 word)"));
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
    let words = learned(Kind::Word, 300).to_json();
    for (before, after, complaint) in [
        ("\"suis\":", "\"su is\":", "\"su is\" is not one word"),
        ("\"suis\":", "\"suis.\":", "\"suis.\" is not one word"),
        ("\"suis\":", "\"\":", "\"\" is not one word"),
        ("\"normalizer\": null", "\"normalizer\": {\"type\": \"NFC\"}", "its normalizer differs"),
        ("BertPreTokenizer", "Whitespace", "its pre_tokenizer differs"),
        ("[.,;:!?", "[,;:!?", "its decoder differs"),
        ("\"unk_token\": \"<unk>\"", "\"unk_token\": \"<pad>\"", "its model differs"),
    ] {
        assert!(words.contains(before), "{before}");
        let line = refusal(&words.replacen(before, after, 1));
        assert!(line.contains(complaint), "{after}: {line}");
    }
}

#[test]
fn an_open_tokenizer_numbers_the_words_that_its_vocabulary_lacks() {
    let rules = Rules { lowercase: true, ..Rules::new(Kind::Word, 100) };
    let closed = Tokenizer::learn(&rules, ["the cat sat"].into_iter()).expect("a tokenizer");
    let open = closed.clone().open();
    let text = "The İdle ßcat sat, ÜBER-cat über";
    let (ids, some) = (open.encode(text), closed.encode(text));
    let tokens: Vec<String> = ids.iter().map(|&id| open.token(id)).collect();
    assert_eq!(tokens, ["the", "i\u{307}dle", "ßcat", "sat", ",", "über", "-", "cat", "über"]);
    assert_eq!(ids[5], ids[8]);
    let v = open.vocab_size() as u32;
    assert_eq!(v as usize, closed.vocab_size());
    for (open, closed) in ids.iter().zip(&some) {
        assert!(open == closed || (*closed == UNK && *open >= v), "{open} {closed}");
    }
    assert_eq!(open.decode(&ids), closed.decode(&some));
    assert_eq!(open.to_json(), closed.to_json());
    // Clones share what they know.
    assert_eq!(open.clone().encode("über"), [ids[5]]);
}
