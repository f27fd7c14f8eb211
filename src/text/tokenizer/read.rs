//! Reading a `tokenizer.json`: what is neither as this program writes it nor GPT-2's is refused.

use std::collections::HashMap;

use serde_json::{Value, json};
use tokenizers::ModelWrapper;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;

use super::learn::pieces;
use super::specials::{END_OF_TEXT, SPECIALS};
use super::{Kind, Specials, Tokenizer, UNK, gpt2, pre_tokenizer};
use crate::error::shorten;

/// The tokenizer in `json`, or what is wrong with it.
pub(super) fn tokenizer(json: &Value) -> std::result::Result<Tokenizer, String> {
    let kind = match json["model"]["type"].as_str() {
        Some("BPE") => Kind::Bpe,
        // GPT-2's own is older than the key.
        None if json["model"]["merges"].is_array() => Kind::Bpe,
        Some("WordLevel") if json["pre_tokenizer"]["type"] == "Split" => Kind::Char,
        Some("WordLevel") => Kind::Word,
        _ => return Err("model.type is neither \"BPE\" nor \"WordLevel\"".into()),
    };
    let lowercase = json["normalizer"]["type"] == "Lowercase";
    let vocab = vocabulary(&json["model"]["vocab"])?;
    let specials = specials(kind, &vocab, &json["added_tokens"])?;
    let plain = match specials {
        Specials::Marks => json.clone(),
        Specials::EndOfText(_) => gpt2::plain(json)?,
    };
    let json = &plain;
    match kind {
        Kind::Bpe => check_merges(specials, &vocab, &json["model"]["merges"])?,
        Kind::Char if vocab.iter().any(|(token, &id)| id > UNK && token.chars().count() != 1) => {
            return Err("a token is not one character".into());
        }
        Kind::Char => {}
        Kind::Word => {
            let cut = pre_tokenizer(Kind::Word);
            if let Some((token, _)) = vocab.iter().find(|&(&token, &id)| id > UNK && pieces(&cut, token) != [token]) {
                return Err(format!("the token \"{}\" is not one word", shorten(token, 40)));
            }
        }
    }
    // Only the vocabulary and the merges are taken from the file; comparing what comes of them with the whole file
    // finds every option of the model, such as a dropout, that would change the tokens.
    let (name, unknown) = match kind {
        Kind::Bpe => ("BPE", None),
        Kind::Char | Kind::Word => ("WordLevel", Some(SPECIALS[UNK as usize])),
    };
    let (vocab, merges) = (&json["model"]["vocab"], &json["model"]["merges"]);
    let model = json!({ "type": name, "unk_token": unknown, "vocab": vocab, "merges": merges });
    let model: ModelWrapper = serde_json::from_value(model).map_err(|error| error.to_string())?;
    let tokenizer = Tokenizer::assemble(kind, specials, lowercase, model);
    let ours: Value = serde_json::from_str(&tokenizer.to_json()).expect("what was just written");
    // Truncation, padding and post-processing may differ: they are done elsewhere, and this file's are not used.
    let parts = ["/normalizer", "/added_tokens", "/pre_tokenizer", "/decoder", "/model"];
    match parts.iter().find(|part| json.pointer(part) != ours.pointer(part)) {
        Some(part) => Err(format!("its {} differs from ours", &part[1..])),
        None => Ok(tokenizer),
    }
}

/// The special tokens: the first four, or the one that GPT-2 has, wherever it is.
fn specials(kind: Kind, vocab: &HashMap<&str, u32>, added: &Value) -> std::result::Result<Specials, String> {
    if SPECIALS.iter().zip(0..).all(|(&token, id)| vocab.get(token) == Some(&id)) {
        return Ok(Specials::Marks);
    }
    let others = || added.as_array().into_iter().flatten().map(|token| &token["content"]);
    if kind != Kind::Bpe || !others().any(|token| token == END_OF_TEXT) {
        return Err(format!("tokens 0 to 3 are not {}, and none is {END_OF_TEXT}", SPECIALS.join(" ")));
    }
    if let Some(other) = others().find(|token| *token != END_OF_TEXT) {
        return Err(format!("the added token {other} stands beside {END_OF_TEXT}, which is alone here"));
    }
    Ok(Specials::EndOfText(vocab.get(END_OF_TEXT).copied().unwrap_or(vocab.len() as u32)))
}

/// Token to id; the ids are 0, 1, 2, … without holes.
fn vocabulary(json: &Value) -> std::result::Result<HashMap<&str, u32>, String> {
    let tokens = json.as_object().ok_or("model.vocab is missing")?;
    let mut seen = vec![false; tokens.len()];
    let mut vocab = HashMap::with_capacity(tokens.len());
    for (token, id) in tokens {
        let id = id.as_u64().and_then(|id| u32::try_from(id).ok());
        match id.and_then(|id| Some((id, seen.get_mut(id as usize)?))) {
            Some((id, seen)) if !*seen => {
                *seen = true;
                vocab.insert(token.as_str(), id);
            }
            _ => return Err(format!("the ids in model.vocab are not 0 to {}", tokens.len() - 1)),
        }
    }
    Ok(vocab)
}

/// Every byte has a token, and every merge joins two plain tokens into a third: the crate takes the first for granted
/// and panics on some merges that break the second.
fn check_merges(specials: Specials, vocab: &HashMap<&str, u32>, merges: &Value) -> std::result::Result<(), String> {
    let plain = |token: &str| vocab.get(token).is_some_and(|&id| !specials.has(id));
    if !ByteLevel::alphabet().iter().all(|byte| plain(byte.encode_utf8(&mut [0; 4]))) {
        return Err("model.vocab lacks a byte".into());
    }
    for merge in merges.as_array().ok_or("model.merges is missing")? {
        let pair = merge.as_array().map(Vec::as_slice);
        let Some([Value::String(left), Value::String(right)]) = pair else {
            return Err("an entry of model.merges is not a pair of tokens".into());
        };
        if !(plain(left) && plain(right) && plain(&format!("{left}{right}"))) {
            return Err("an entry of model.merges has a token that model.vocab lacks".into());
        }
    }
    Ok(())
}
