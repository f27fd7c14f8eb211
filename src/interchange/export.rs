//! From a run to what transformers reads.

use super::{Class, class, gpt2};
use crate::checkpoint;
use crate::error::Result;
use crate::models::seq2seq::Seq2Seq;
use crate::models::transformer::Transformer;
use crate::models::{Architecture, Vocabulary};
use crate::network::positions;
use crate::ops::positions::{sinusoids, sinusoids_split};
use crate::recipe::{ModelKind, Positions, Recipe};
use crate::tensor::{Tensor, Type};
use crate::text::tokenizer::Specials;
use serde_json::{Value, json};

/// The first `rows` positions (rows, d_model) of a kind that is added to embeddings and not learned.
pub fn computed_positions(kind: Positions, rows: usize, d_model: usize) -> Option<Tensor> {
    match kind {
        Positions::Sinusoidal => Some(sinusoids(rows, d_model)),
        Positions::SinusoidalSplit => Some(sinusoids_split(rows, d_model)),
        Positions::Learned | Positions::Rotary => None,
    }
}

/// `config.json`: every field of the class, because its defaults are those of other models. Where there is no class,
/// the same words without one. `seqloom` holds what the class has no field for; `specials` are the vocabulary's, and
/// `start` is what outputs begin with where sentences have no marks.
pub fn config(recipe: &Recipe, m: &Architecture, specials: Specials, start: Option<u32>) -> Value {
    let mut config = match m {
        Architecture::Transformer(m) => transformer(recipe, m, specials, start),
        Architecture::Seq2Seq(m) => seq2seq(recipe, m, specials, start),
    };
    if let Some(c) = &recipe.model.char_cnn {
        config["seqloom"]["char_cnn"] = json!({
            "widths": c.widths,
            "filters": c.filters,
            "highway": c.highway,
            "pool": c.pool.to_string(),
            "embedding": c.embedding,
        });
    }
    config
}

/// A recurrent model has no class.
fn seq2seq(recipe: &Recipe, m: &Seq2Seq, specials: Specials, start: Option<u32>) -> Value {
    json!({
        "model_type": "seqloom",
        "architectures": null,
        "is_encoder_decoder": true,
        "vocab_size": m.vocabulary.source(),
        "decoder_vocab_size": m.vocabulary.target(),
        "hidden_size": m.hidden,
        "embedding_size": m.embedding,
        "num_hidden_layers": m.layers,
        "dropout": recipe.model.dropout,
        "tie_word_embeddings": m.tie_embeddings,
        "pad_token_id": specials.pad(),
        "bos_token_id": specials.bos(),
        "eos_token_id": specials.eos(),
        "decoder_start_token_id": start.unwrap_or(specials.bos()),
        "dtype": "float32",
        "seqloom": {
            "kind": recipe.model.kind.to_string(),
            "cell": recipe.model.cell.to_string(),
            "bidirectional": m.bidirectional,
            "attention": m.attention.to_string(),
            "input_feeding": m.input_feeding,
            "context": m.context.to_string(),
            "marks": recipe.data.marks,
        },
    })
}

fn transformer(recipe: &Recipe, m: &Transformer, specials: Specials, start: Option<u32>) -> Value {
    let mut config = json!({
        "model_type": "seqloom",
        "is_encoder_decoder": true,
        "vocab_size": m.vocabulary.source(),
        "decoder_vocab_size": m.vocabulary.target(),
        "d_model": m.d_model,
        "encoder_layers": m.encoder_layers,
        "decoder_layers": m.decoder_layers,
        "encoder_attention_heads": m.heads,
        "decoder_attention_heads": m.heads,
        "encoder_ffn_dim": m.ffn,
        "decoder_ffn_dim": m.ffn,
        "dropout": recipe.model.dropout,
        "attention_dropout": recipe.model.dropout,
        "activation_dropout": 0.0,
        "encoder_layerdrop": 0.0,
        "decoder_layerdrop": 0.0,
        "activation_function": recipe.model.activation.to_string(),
        "scale_embedding": m.scale_embedding,
        "share_encoder_decoder_embeddings": m.tie_embeddings && matches!(m.vocabulary, Vocabulary::Shared(_)),
        "tie_word_embeddings": m.tie_embeddings,
        "max_position_embeddings": positions(recipe, 1),
        "init_std": (m.d_model as f64).powf(-0.5),
        "pad_token_id": specials.pad(),
        "bos_token_id": specials.bos(),
        "eos_token_id": specials.eos(),
        "decoder_start_token_id": start.unwrap_or(specials.bos()),
        "forced_eos_token_id": null,
        "use_cache": true,
        "dtype": "float32",
        "seqloom": {
            "norm": recipe.model.norm.to_string(),
            "norm_eps": recipe.model.norm_eps,
            "positions": recipe.model.positions.to_string(),
            "bias": m.bias,
            "marks": recipe.data.marks,
        },
    });
    let class = class(&recipe.model, m.vocabulary);
    if m.is_decoder_only() {
        config = gpt2::config(recipe, m, specials);
        if class.is_err() {
            config["model_type"] = "seqloom".into();
            config["architectures"] = Value::Null;
        }
    } else if let Ok(class) = class {
        config["model_type"] = class.model_type().into();
        config["architectures"] = json!([class.name()]);
    }
    config
}

/// `generation_config.json`: greedy, as `seqloom translate`. transformers counts the token that the decoder starts with,
/// which without marks is the first of the output.
pub fn generation_config(recipe: &Recipe, specials: Specials, start: Option<u32>) -> Value {
    if recipe.model.kind == ModelKind::Gpt {
        return json!({
            "pad_token_id": specials.pad(),
            "bos_token_id": specials.bos(),
            "eos_token_id": specials.end_of_text(),
            "do_sample": true,
        });
    }
    let longest = recipe.decode.max_length + usize::from(recipe.data.marks);
    json!({
        "pad_token_id": specials.pad(),
        "bos_token_id": specials.bos(),
        "eos_token_id": start.is_none().then_some(specials.eos()),
        "decoder_start_token_id": start.unwrap_or(specials.bos()),
        "forced_eos_token_id": null,
        "max_length": longest.min(positions(recipe, 1) + 1),
        "num_beams": 1,
        "do_sample": false,
    })
}

/// `model.safetensors`: the parameters as the class opens them, or as they are where there is none. Errors: two have one
/// name.
pub fn model_file(recipe: &Recipe, m: &Architecture, parameters: &[(String, Tensor)]) -> Result<Vec<u8>> {
    match (m, class(&recipe.model, m.vocabulary())) {
        (Architecture::Transformer(m), Ok(Class::Gpt2)) => checkpoint::save(&gpt2::stored(recipe, m, parameters)),
        (Architecture::Transformer(m), _) => checkpoint::save(parameters.iter().chain(&extras(recipe, m, parameters))),
        (Architecture::Seq2Seq(_), _) => checkpoint::save(parameters),
    }
}

/// The tensors that the class wants in `model.safetensors` and that are no parameters here: positions, which it would
/// compute half-split, and zeros for what this model has not. None where there is no class.
fn extras(recipe: &Recipe, m: &Transformer, parameters: &[(String, Tensor)]) -> Vec<(String, Tensor)> {
    let Ok(class) = class(&recipe.model, m.vocabulary) else { return vec![] };
    let zeros = |dims: &[usize]| Tensor::zeros(&Type::f32(dims));
    let find = |name: &str| parameters.iter().find(|(n, _)| n == name).map(|(_, t)| t);
    let mut all = vec![("final_logits_bias".to_string(), zeros(&[1, m.vocabulary.target()]))];
    let rows = positions(recipe, 1);
    if let Some(table) = computed_positions(m.positions, rows, m.d_model) {
        all.extend(
            ["encoder", "decoder"].map(|stack| (format!("model.{stack}.embed_positions.weight"), table.clone())),
        );
    }
    if !m.bias {
        for d in m.declarations(rows).iter().filter(|d| d.dims.len() == 2 && d.name.contains(".layers.")) {
            all.push((d.name.replace(".weight", ".bias"), zeros(&d.dims[..1])));
        }
    }
    // Pegasus has a shared table beside three of its own, too, and hands it out as the input's.
    let shared = (class == Class::Pegasus && !m.tie_embeddings).then(|| find("model.encoder.embed_tokens.weight"));
    all.extend(shared.flatten().map(|table| ("model.shared.weight".to_string(), table.clone())));
    all
}
