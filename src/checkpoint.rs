//! Named tensors as safetensors bytes: load(save(x)) == x, bit for bit.

use crate::error::{Error, Result};
use crate::tensor::{DType, Tensor, Type};
use half::{bf16, f16};
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use std::collections::HashMap;

/// The bytes of a safetensors file with these tensors, marked as PyTorch's so that transformers opens it.
pub fn save<'a>(tensors: impl IntoIterator<Item = &'a (String, Tensor)>) -> Result<Vec<u8>> {
    let mut views = vec![];
    for (name, tensor) in tensors {
        let dtype = match tensor.ty().dtype {
            DType::F32 => Dtype::F32,
            DType::F16 => Dtype::F16,
            DType::U32 => Dtype::U32,
        };
        let view = TensorView::new(dtype, tensor.ty().dims.clone(), tensor.bytes());
        views.push((name.as_str(), view.map_err(|e| Error::Run(format!("{name} cannot be stored: {e}")))?));
    }
    let metadata = HashMap::from([("format".to_string(), "pt".to_string())]);
    safetensors::serialize(views, Some(metadata)).map_err(|e| Error::Run(format!("a checkpoint cannot be stored: {e}")))
}

/// The tensors of a safetensors file, by name. Errors: the bytes are not one, or hold a type that is not ours; `file`
/// is for the message.
pub fn load(file: &str, bytes: &[u8]) -> Result<Vec<(String, Tensor)>> {
    let wrong = |why: String| Error::Input(format!("{file}: not a safetensors file of this program: {why}"));
    let parsed = SafeTensors::deserialize(bytes).map_err(|e| wrong(e.to_string()))?;
    let mut tensors = vec![];
    for (name, view) in parsed.tensors() {
        let dtype = match view.dtype() {
            Dtype::F32 => DType::F32,
            Dtype::F16 => DType::F16,
            Dtype::U32 => DType::U32,
            other => return Err(wrong(format!("{name} is {other:?}"))),
        };
        tensors.push((name, Tensor::from_bytes(&Type { dims: view.shape().to_vec(), dtype }, view.data())));
    }
    tensors.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(tensors)
}

/// The tensors of a safetensors file whose numbers are stored as f32, f16 or bf16, by name and as f32. Errors: the
/// bytes are not such a file; `file` is for the message.
pub fn load_f32(file: &str, bytes: &[u8]) -> Result<Vec<(String, Tensor)>> {
    let parsed = SafeTensors::deserialize(bytes)
        .map_err(|e| Error::Input(format!("{file}: not a safetensors file, or a damaged one: {e}")))?;
    let mut tensors = vec![];
    for (name, view) in parsed.iter() {
        let bytes = view.data();
        let halves = || bytes.chunks_exact(2).map(|b| [b[0], b[1]]);
        let tensor = match view.dtype() {
            Dtype::F32 => Tensor::from_bytes(&Type::f32(view.shape()), bytes),
            Dtype::F16 => Tensor::f32(view.shape(), halves().map(|b| f16::from_le_bytes(b).to_f32()).collect()),
            Dtype::BF16 => Tensor::f32(view.shape(), halves().map(|b| bf16::from_le_bytes(b).to_f32()).collect()),
            other => {
                return Err(Error::Input(format!("{file}: {name} is {other:?}; F32, F16 and BF16 can be read")));
            }
        };
        tensors.push((name.to_string(), tensor));
    }
    tensors.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(tensors)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_become_f32() {
        let values = [0.0f32, -1.5, 3.140625, 65504.0, 0.0009765625];
        let half: Vec<u8> = values.iter().flat_map(|v| f16::from_f32(*v).to_le_bytes()).collect();
        let brain: Vec<u8> = values.iter().flat_map(|v| bf16::from_f32(*v).to_le_bytes()).collect();
        let views = [("b", Dtype::BF16, &brain), ("h", Dtype::F16, &half)]
            .map(|(name, dtype, bytes)| (name, TensorView::new(dtype, vec![5], bytes).unwrap()));
        let loaded = load_f32("x", &safetensors::serialize(views, None).unwrap()).unwrap();
        let expected: Vec<f32> = values.iter().map(|v| bf16::from_f32(*v).to_f32()).collect();
        assert_eq!(loaded[0].1, Tensor::f32([5], expected));
        assert_eq!(loaded[1].1, Tensor::f32([5], values.to_vec()));
        let ids = save(&[("n".to_string(), Tensor::u32([1], vec![7]))]).unwrap();
        assert_eq!(load_f32("x", &ids).unwrap_err().to_string(), "x: n is U32; F32, F16 and BF16 can be read");
    }

    #[test]
    fn loads_what_it_saved_bit_for_bit() {
        let odd = Tensor::f32([2, 2], vec![f32::NAN, -0.0, 1e-42, f32::INFINITY]);
        let tensors = vec![("a".to_string(), odd), ("b.c".to_string(), Tensor::u32([1], vec![7]))];
        let loaded = load("x", &save(&tensors).unwrap()).unwrap();
        assert_eq!(loaded.len(), 2);
        for ((name, tensor), (loaded_name, loaded)) in tensors.iter().zip(&loaded) {
            assert_eq!((name, tensor.ty(), tensor.bytes()), (loaded_name, loaded.ty(), loaded.bytes()));
        }
    }

    #[test]
    fn garbage_is_an_error() {
        for bytes in [&b""[..], b"garbage", &[255; 64]] {
            for load in [load, load_f32] {
                let message = load("m.safetensors", bytes).unwrap_err().to_string();
                assert!(message.starts_with("m.safetensors: not a safetensors file"), "{message}");
            }
        }
    }
}
