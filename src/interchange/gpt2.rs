//! A decoder-only run as `GPT2LMHeadModel` knows it: its linear weights are (in, out), the three projections of an attention
//! are one matrix, and every layer has biases.

use super::export::computed_positions;
use super::import::shorten;
use crate::error::{Error, Result};
use crate::models::transformer::Transformer;
use crate::network::positions;
use crate::parameters::fit;
use crate::recipe::{ModelKind, Positions, Recipe};
use crate::tensor::{Tensor, Type};
use crate::text::tokenizer::Specials;
use serde_json::{Value, json};
use std::collections::HashSet;

const POSITIONS: &str = "transformer.wpe.weight";
const EMBEDDING: &str = "transformer.wte.weight";
const HEAD: &str = "lm_head.weight";
/// The three projections, in the order of the columns of `c_attn`.
const PROJECTIONS: [&str; 3] = ["q_proj", "k_proj", "v_proj"];

/// `config.json`: every field of the class.
pub(super) fn config(recipe: &Recipe, m: &Transformer, specials: Specials) -> Value {
    let dropout = recipe.model.dropout;
    json!({
        "model_type": "gpt2",
        "architectures": ["GPT2LMHeadModel"],
        "vocab_size": m.vocabulary.target(),
        "n_positions": positions(recipe, 1),
        "n_embd": m.d_model,
        "n_layer": m.decoder_layers,
        "n_head": m.heads,
        "n_inner": m.ffn,
        "activation_function": recipe.model.activation.to_string(),
        "resid_pdrop": dropout,
        "embd_pdrop": dropout,
        "attn_pdrop": dropout,
        "layer_norm_epsilon": recipe.model.norm_eps,
        "initializer_range": 0.02,
        "scale_attn_weights": true,
        "scale_attn_by_inverse_layer_idx": false,
        "reorder_and_upcast_attn": false,
        "add_cross_attention": false,
        "tie_word_embeddings": m.tie_embeddings,
        "pad_token_id": specials.pad(),
        "bos_token_id": specials.bos(),
        "eos_token_id": specials.eos(),
        "use_cache": true,
        "dtype": "float32",
        "seqloom": { "positions": recipe.model.positions.to_string(), "bias": m.bias },
    })
}

/// The layers of a model whose weight is (out, in) here and (in, out) there, and what each is called there.
fn is_linear(name: &str) -> bool {
    name.starts_with("transformer.h.") && (name.contains(".attn.") || name.contains(".mlp."))
}

/// (rows, columns) turned round.
fn transposed(t: &Tensor) -> Tensor {
    let (rows, columns) = (t.ty().dims[0], t.ty().dims[1]);
    let x = t.as_f32();
    Tensor::f32([columns, rows], (0..rows * columns).map(|i| x[i % rows * columns + i / rows]).collect())
}

/// Tensors of the same number of rows, side by side; vectors one behind the other.
fn beside(parts: &[&Tensor]) -> Tensor {
    let rows = if parts[0].ty().dims.len() == 2 { parts[0].ty().dims[0] } else { 1 };
    let row = |r: usize| {
        parts.iter().flat_map(move |t| {
            let columns = t.ty().elements() / rows;
            t.as_f32()[r * columns..][..columns].iter().copied()
        })
    };
    let data: Vec<f32> = (0..rows).flat_map(row).collect();
    let columns = data.len() / rows;
    if parts[0].ty().dims.len() == 2 { Tensor::f32([rows, columns], data) } else { Tensor::f32([columns], data) }
}

/// What the class opens.
pub(super) fn stored(recipe: &Recipe, m: &Transformer, parameters: &[(String, Tensor)]) -> Vec<(String, Tensor)> {
    let find = |name: &str| parameters.iter().find(|(n, _)| n == name).map(|(_, t)| t);
    let zeros = |n: usize| Tensor::zeros(&Type::f32([n]));
    let mut all = vec![];
    for (name, tensor) in parameters {
        let Some((layer, part)) = name.rsplit_once('.').filter(|_| is_linear(name)) else {
            all.push((name.clone(), tensor.clone()));
            if let Some(norm) = name.strip_suffix(".weight").filter(|n| n.contains("ln_") && !m.bias) {
                all.push((format!("{norm}.bias"), zeros(m.d_model)));
            }
            continue;
        };
        let turned = |t: &Tensor| if part == "weight" { transposed(t) } else { t.clone() };
        match layer.strip_suffix(PROJECTIONS[0]) {
            Some(attention) => {
                let three = PROJECTIONS.map(|p| turned(find(&format!("{attention}{p}.{part}")).expect("all three")));
                all.push((format!("{attention}c_attn.{part}"), beside(&three.iter().collect::<Vec<_>>())));
            }
            None if PROJECTIONS.iter().any(|p| layer.ends_with(p)) => continue,
            None => all.push((name.clone(), turned(tensor))),
        }
        if !m.bias {
            let (name, turned) = all.last().expect("it was just written");
            all.push((name.replace(".weight", ".bias"), zeros(turned.ty().cols())));
        }
    }
    if let Some(table) = computed_positions(m.positions, positions(recipe, 1), m.d_model) {
        all.push((POSITIONS.into(), table));
    }
    all
}

/// The parameters of a model out of the tensors of a file that the class opens, or of a checkpoint, which has them as they
/// are. Errors: one is missing, of another shape, or would be lost; `file` is for the message.
pub(super) fn parameters(
    file: &str,
    recipe: &Recipe,
    m: &Transformer,
    tensors: Vec<(String, Tensor)>,
) -> Result<Vec<(String, Tensor)>> {
    let declarations = m.declarations(positions(recipe, 1));
    let declared: HashSet<&str> = declarations.iter().map(|d| d.name.as_str()).collect();
    let as_it_is = tensors.iter().any(|(name, _)| name.ends_with(".attn.q_proj.weight"));
    let mut all: Vec<(String, Tensor)> = vec![];
    let mut head = None;
    let wrong = |name: &str, what: &str| Err(Error::Input(format!("{file}: {name} {what}")));
    for (name, tensor) in tensors {
        // The class's own body, saved without its head, leaves the prefix out.
        let name = match name.starts_with("transformer.") || name == HEAD {
            true => name,
            false => format!("transformer.{name}"),
        };
        let Some((layer, part)) = name.rsplit_once('.') else { return wrong(&name, "belongs to no parameter") };
        let zero = || tensor.as_f32().iter().all(|v| *v == 0.0);
        if as_it_is || (declared.contains(name.as_str()) && !(is_linear(&name) && part == "weight")) {
            all.push((name, tensor));
        } else if name.ends_with(".attn.bias") || name.ends_with(".attn.masked_bias") {
            // The causal mask, which old versions stored.
        } else if name == POSITIONS && m.positions != Positions::Learned {
            if !super::tensors::are_positions(&tensor, m.positions, m.d_model) {
                return wrong(&name, &format!("holds other positions than model.positions = \"{}\"", m.positions));
            }
        } else if name == HEAD && m.tie_embeddings {
            head = Some(tensor);
        } else if let Some(attention) = layer.strip_suffix("c_attn") {
            if part == "bias" && !m.bias {
                if !zero() {
                    return wrong(&name, "is not zero, and this model has no such bias");
                }
                continue;
            }
            let turned = match (part, tensor.ty().dims.len()) {
                ("weight", 2) => transposed(&tensor),
                ("bias", 1) => tensor,
                _ => return wrong(&name, &format!("is {}", tensor.ty())),
            };
            // (3C, C) or (3C): each third is a projection.
            let dims = turned.ty().dims.clone();
            if !dims[0].is_multiple_of(3) {
                return wrong(&name, &format!("is {}, whose columns are not three times as many", turned.ty()));
            }
            let rest: usize = dims[1..].iter().product();
            for (i, projection) in PROJECTIONS.iter().enumerate() {
                let count = dims[0] / 3 * rest;
                let part_dims = [&[dims[0] / 3], &dims[1..]].concat();
                let third = turned.range(i * count, count).reshape(part_dims);
                all.push((format!("{attention}{projection}.{part}"), third));
            }
        } else if is_linear(&name) && part == "weight" && tensor.ty().dims.len() == 2 {
            all.push((name, transposed(&tensor)));
        } else if part == "bias" && !m.bias {
            if !zero() {
                return wrong(&name, "is not zero, and this model has no such bias");
            }
        } else {
            return wrong(&name, "belongs to no parameter of this model");
        }
    }
    let mut names = HashSet::new();
    if let Some((twice, _)) = all.iter().find(|(name, _)| !names.insert(name.as_str())) {
        return wrong(twice, "is there twice");
    }
    let table = all.iter().find(|(name, _)| name == EMBEDDING).map(|(_, table)| table);
    if let (Some(head), Some(table)) = (&head, table)
        && head != table
    {
        return wrong(HEAD, &format!("differs from {EMBEDDING}, and model.tie_embeddings makes them one"));
    }
    fit(declarations.iter(), file, &all)?;
    Ok(all)
}

/// What a directory's `config.json` says, with the class's defaults (transformers 5) for what it leaves out: the recipe, the
/// tokens, and what only training would notice. Errors: it asks for something that there is not here; one line.
pub(super) fn read(file: &str, json: &Value) -> Result<(Recipe, usize, Vec<String>)> {
    let get = |key: &str, default: Value| json.get(key).filter(|v| !v.is_null()).cloned().unwrap_or(default);
    let wrong =
        |key: &str, value: &Value, what: &str| Error::Input(format!("{file}: {key} is {}, {what}", shorten(value)));
    for (key, only) in
        [("scale_attn_weights", true), ("scale_attn_by_inverse_layer_idx", false), ("add_cross_attention", false)]
    {
        let value = get(key, json!(only));
        if value != json!(only) {
            return Err(wrong(key, &value, &format!("here it is {only}")));
        }
    }
    let mut recipe = Recipe::of_kind(ModelKind::Gpt);
    recipe.name = "imported".into();
    let width = get("n_embd", json!(768));
    let inner = get("n_inner", json!(width.as_u64().unwrap_or(0) * 4));
    let dropout = get("resid_pdrop", json!(0.1));
    for (path, key, value) in [
        ("model.d_model", "n_embd", width),
        ("model.heads", "n_head", get("n_head", json!(12))),
        ("model.layers", "n_layer", get("n_layer", json!(12))),
        ("model.ffn", "n_inner", inner),
        ("model.activation", "activation_function", get("activation_function", json!("gelu_new"))),
        ("model.norm_eps", "layer_norm_epsilon", get("layer_norm_epsilon", json!(1e-5))),
        ("model.dropout", "resid_pdrop", dropout.clone()),
        ("model.tie_embeddings", "tie_word_embeddings", get("tie_word_embeddings", json!(true))),
        ("train.block", "n_positions", get("n_positions", json!(1024))),
    ] {
        recipe.set(path, &value.to_string()).map_err(|expected| wrong(key, &value, &expected))?;
    }
    let other = ["embd_pdrop", "attn_pdrop"].map(|key| (key, get(key, json!(0.1))));
    let other = other.iter().filter(|(_, p)| p.as_f64() != dropout.as_f64());
    let notes =
        other.map(|(key, p)| format!("{key} = {} is not kept: model.dropout is for all of them", shorten(p))).collect();
    let tokens = get("vocab_size", json!(50257));
    let vocabulary = tokens.as_u64().and_then(|n| usize::try_from(n).ok());
    let vocabulary = vocabulary.ok_or_else(|| wrong("vocab_size", &tokens, "expected a whole number"))?;
    Ok((recipe, vocabulary, notes))
}

/// What only the tensors tell: which positions were added, and whether there are biases. `noted` is what seqloom wrote of
/// them, should it have written the directory.
pub(super) fn complete(recipe: &mut Recipe, noted: &Value, tensors: &[(String, Tensor)]) {
    let has_bias = |(name, t): &(String, Tensor)| {
        let ours = name.ends_with(".bias") && !name.ends_with(".attn.bias");
        ours && t.as_f32().iter().any(|v| *v != 0.0)
    };
    recipe.model.bias = noted["bias"] != json!(false) || tensors.iter().any(has_bias);
    let table = tensors.iter().find(|(name, _)| POSITIONS.ends_with(name.as_str()));
    for kind in [Positions::Sinusoidal, Positions::SinusoidalSplit] {
        let is = |(_, table): &(String, Tensor)| super::tensors::are_positions(table, kind, recipe.model.d_model);
        if noted["positions"] != json!("learned") && table.is_some_and(is) {
            recipe.model.positions = kind;
        }
    }
}
