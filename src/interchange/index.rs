//! `model.safetensors.index.json`: which file holds which tensor.

use crate::error::{Error, Result, shorten};
use serde::Deserialize;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// Files that a model is in at most.
const MOST_SHARDS: usize = 10_000;

#[derive(Deserialize)]
struct Index {
    weight_map: Option<BTreeMap<String, Value>>,
}

/// The tensors' names by shard, from the text of an index. Errors: it is none, or a shard is not a file beside it; `file`
/// is for the message.
pub fn shards(file: &str, text: &str) -> Result<BTreeMap<String, BTreeSet<String>>> {
    let wrong = |what: String| Error::Input(format!("{file}: {what}"));
    let index: Index = serde_json::from_str(text).map_err(|e| match e.is_data() {
        true => wrong(format!("weight_map is wrong: {}", shorten(&e.to_string(), 160))),
        false => wrong(format!("not JSON: {e}")),
    })?;
    let map = index.weight_map.ok_or_else(|| wrong("weight_map is missing".into()))?;
    let mut shards = BTreeMap::<String, BTreeSet<String>>::new();
    for (tensor, shard) in map {
        let name = shard.as_str().filter(|n| n.len() <= 200 && n.ends_with(".safetensors"));
        let name = name.filter(|n| !n.contains(['/', '\\', ':']) && !n.contains(char::is_control));
        let name = name.ok_or_else(|| {
            let (tensor, shard) = (shorten(&tensor, 100), shorten(&shard.to_string(), 60));
            wrong(format!("weight_map: {tensor} is in {shard}, which is no shard beside it"))
        })?;
        if !shards.contains_key(name) && shards.len() == MOST_SHARDS {
            return Err(wrong(format!("weight_map names more than {MOST_SHARDS} files")));
        }
        shards.entry(name.into()).or_default().insert(tensor);
    }
    Ok(shards)
}
