//! From the tensors of a file to the parameters of a model.

use super::export::computed_positions;
use crate::error::{Error, Result};
use crate::models::transformer::Transformer;
use crate::models::{Architecture, Vocabulary};
use crate::network::positions;
use crate::parameters::{Declaration, fit};
use crate::recipe::{Positions, Recipe};
use crate::tensor::Tensor;
use half::{bf16, f16};
use std::collections::HashSet;

pub(super) const SHARED: &str = "model.shared.weight";
pub(super) const ENCODER: &str = "model.encoder.embed_tokens.weight";
pub(super) const DECODER: &str = "model.decoder.embed_tokens.weight";
pub(super) const HEAD: &str = "lm_head.weight";

/// The parameters of a model out of the tensors of a `model.safetensors` that transformers' classes open or wrote.
///
/// Positions, zeros for what the model has not, and second copies of a tied table are left out, but only after a look:
/// what would change the model is an error. Errors: that, and a parameter that is missing or of another shape; `file`
/// is for the message.
pub fn parameters(
    file: &str,
    recipe: &Recipe,
    m: &Architecture,
    mut tensors: Vec<(String, Tensor)>,
) -> Result<Vec<(String, Tensor)>> {
    let m = match m {
        Architecture::Transformer(m) => m,
        Architecture::Seq2Seq(m) => {
            fit(m.declarations().iter(), file, &tensors)?;
            return Ok(tensors);
        }
    };
    if m.is_decoder_only() {
        return super::gpt2::parameters(file, recipe, m, tensors);
    }
    let declarations = m.declarations(positions(recipe, 1));
    let declared: HashSet<&str> = declarations.iter().map(|d| d.name.as_str()).collect();
    adopt(m, &declared, &mut tensors);
    for (name, tensor) in tensors.iter().filter(|(name, _)| !declared.contains(name.as_str())) {
        if let Err(what) = superfluous(m, &declarations, &tensors, name, tensor) {
            return Err(Error::Input(format!("{file}: {name} {what}")));
        }
    }
    tensors.retain(|(name, _)| declared.contains(name.as_str()));
    fit(declarations.iter(), file, &tensors)?;
    Ok(tensors)
}

/// Gives a table the name that it has here: of tied ones a file may hold any.
fn adopt(m: &Transformer, declared: &HashSet<&str>, tensors: &mut Vec<(String, Tensor)>) {
    for table in [SHARED, ENCODER, DECODER].into_iter().filter(|table| declared.contains(table)) {
        let others: &[&str] = match (table, m.tie_embeddings) {
            (SHARED, _) => &[ENCODER, DECODER, HEAD],
            (DECODER, true) => &[HEAD],
            (_, true) => &[],
            (_, false) => &[SHARED],
        };
        let find = |name: &str| tensors.iter().position(|(n, _)| n == name);
        let other = others.iter().find_map(|name| find(name));
        if let (None, Some(other)) = (find(table), other) {
            tensors.push((table.into(), tensors[other].1.clone()));
        }
    }
}

/// Whether a tensor that is no parameter can be left out, or what is wrong with it.
fn superfluous(
    m: &Transformer,
    declarations: &[Declaration],
    tensors: &[(String, Tensor)],
    name: &str,
    tensor: &Tensor,
) -> std::result::Result<(), String> {
    let values = tensor.as_f32();
    let zero = || match values.iter().all(|v| *v == 0.0) {
        true => Ok(()),
        false => Err("is not zero, and this model has no such bias".to_string()),
    };
    let copy_of = |table: &str| {
        let bits = |t: &Tensor| t.as_f32().iter().map(|v| v.to_bits()).collect::<Vec<_>>();
        match tensors.iter().find(|(n, _)| n == table) {
            Some((_, t)) if t.ty() != tensor.ty() || bits(t) != bits(tensor) => {
                Err(format!("differs from {table}, and model.tie_embeddings makes them one"))
            }
            _ => Ok(()),
        }
    };
    let matrix = name.strip_suffix(".bias").map(|layer| format!("{layer}.weight"));
    match name {
        "final_logits_bias" => zero(),
        "model.encoder.embed_positions.weight" | "model.decoder.embed_positions.weight" => {
            match are_positions(tensor, m.positions, m.d_model) {
                true => Ok(()),
                false => Err(format!("holds other positions than model.positions = \"{}\"", m.positions)),
            }
        }
        // Untied models of transformers may have one more table that nothing reads.
        SHARED => Ok(()),
        ENCODER | DECODER | HEAD if m.tie_embeddings => match m.vocabulary {
            Vocabulary::Shared(_) => copy_of(SHARED),
            Vocabulary::Separate { .. } => copy_of(DECODER),
        },
        _ if !m.bias && declarations.iter().any(|d| Some(&d.name) == matrix.as_ref() && d.dims.len() == 2) => zero(),
        _ => Err("belongs to no parameter of this model".into()),
    }
}

/// Whether a table (rows, d_model) holds these computed positions, within the rounding of the format that it was stored
/// in.
pub(super) fn are_positions(table: &Tensor, kind: Positions, d_model: usize) -> bool {
    let (dims, values) = (&table.ty().dims, table.as_f32());
    if dims.len() != 2 || dims[1] != d_model || !d_model.is_multiple_of(2) {
        return false;
    }
    let all = |exact: fn(f32) -> f32| values.iter().all(|&v| exact(v) == v);
    let bound = match (all(|v| bf16::from_f32(v).to_f32()), all(|v| f16::from_f32(v).to_f32())) {
        (true, _) => 1.0 / 256.0,
        (_, true) => 1.0 / 2048.0,
        // Others compute the angles in f32.
        _ => 1e-4,
    };
    let near = |computed: Tensor| values.iter().zip(computed.as_f32()).all(|(have, want)| (have - want).abs() <= bound);
    computed_positions(kind, dims[0], d_model).is_some_and(near)
}
