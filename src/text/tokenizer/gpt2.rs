//! GPT-2's tokenizer as its files have it: one form of what may be written in several, and where a text can be cut.

use serde_json::{Map, Value, json};

use super::specials::END_OF_TEXT;

/// A `tokenizer.json` with one form for what means the same. Older ones have merges such as `"h e"`, no `type`, and
/// nothing where an option is off.
pub(super) fn plain(json: &Value) -> Result<Value, String> {
    let mut json = json.clone();
    let model = json["model"].as_object_mut().ok_or("model is missing")?;
    for (key, off) in [
        ("dropout", Value::Null),
        ("continuing_subword_prefix", Value::Null),
        ("end_of_word_suffix", Value::Null),
        ("ignore_merges", false.into()),
    ] {
        let value = model.entry(key).or_insert(off.clone());
        if value == "" {
            *value = off;
        }
    }
    // Nothing is unknown where every byte has a token.
    for (key, unused) in [("unk_token", Value::Null), ("fuse_unk", false.into()), ("byte_fallback", false.into())] {
        model.insert(key.into(), unused);
    }
    model.insert("type".into(), "BPE".into());
    for merge in model.get_mut("merges").and_then(Value::as_array_mut).ok_or("model.merges is missing")? {
        if let Some((left, right)) = merge.as_str().and_then(|pair| pair.split_once(' ')) {
            *merge = json!([left, right]);
        }
    }
    // Offsets are not used.
    for (part, key, unused) in [
        ("pre_tokenizer", "trim_offsets", true),
        ("decoder", "trim_offsets", true),
        ("decoder", "add_prefix_space", false),
        ("decoder", "use_regex", true),
    ] {
        if json[part]["type"] == "ByteLevel" {
            json[part][key] = unused.into();
        }
    }
    if let Some(pre_tokenizer) = json["pre_tokenizer"].as_object_mut() {
        pre_tokenizer.entry("use_regex").or_insert(true.into());
    }
    // Without a normalizer there is no other text in which the token could be looked for.
    let normalized = !json["normalizer"].is_null();
    if let Some(end) = json.pointer_mut("/added_tokens/0").filter(|token| token.is_object() && !normalized) {
        end["normalized"] = false.into();
    }
    Ok(json)
}

/// The `tokenizer.json` that `vocab.json` and `merges.txt` stand for. Errors: the file, by the first or the second name,
/// and what is wrong with it.
pub(super) fn from_files(vocab: (&str, &str), merges: (&str, &str)) -> Result<Value, String> {
    let vocabulary: Map<String, Value> =
        serde_json::from_str(vocab.1).map_err(|error| format!("{}: no tokens with their ids: {error}", vocab.0))?;
    let mut pairs = vec![];
    for (i, line) in merges.1.lines().enumerate() {
        // The only comment: a token may begin with "#".
        if line.is_empty() || i == 0 && line.starts_with("#version") {
            continue;
        }
        match line.split(' ').collect::<Vec<_>>()[..] {
            [left, right] if !left.is_empty() && !right.is_empty() => pairs.push(json!([left, right])),
            _ => return Err(format!("{}:{}: expected two tokens with a space between them", merges.0, i + 1)),
        }
    }
    let id = vocabulary.get(END_OF_TEXT).cloned().unwrap_or_else(|| vocabulary.len().into());
    let byte_level = json!({ "type": "ByteLevel", "add_prefix_space": false });
    Ok(json!({
        "added_tokens": [{
            "id": id,
            "content": END_OF_TEXT,
            "single_word": false,
            "lstrip": false,
            "rstrip": false,
            "normalized": false,
            "special": true,
        }],
        "normalizer": null,
        "pre_tokenizer": byte_level,
        "decoder": byte_level,
        "model": { "type": "BPE", "vocab": vocabulary, "merges": pairs },
    }))
}

/// A text in parts whose tokens, one after the other, are those of the whole: behind a line end between two characters
/// that are no white space, where the expression that cuts a text into words always cuts.
pub(super) fn parts(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let (part, after) = rest.split_at(cut(rest).unwrap_or(rest.len()));
        rest = after;
        (!part.is_empty()).then_some(part)
    })
}

/// Where the first part ends, if it is not the last.
fn cut(text: &str) -> Option<usize> {
    let blank = |c: Option<char>| c.is_none_or(char::is_whitespace);
    text.match_indices('\n')
        .map(|(at, _)| at + 1)
        .find(|&end| !blank(text[..end - 1].chars().next_back()) && !blank(text[end..].chars().next()))
}

#[cfg(test)]
mod tests;
