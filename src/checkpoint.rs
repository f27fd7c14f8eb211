//! Named tensors as safetensors bytes: load(save(x)) == x, bit for bit.

use crate::error::{Error, Result};
use crate::tensor::{DType, Tensor, Type};
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use std::collections::HashMap;

/// The bytes of a safetensors file with these tensors, marked as PyTorch's so that transformers opens it.
pub fn save(tensors: &[(String, Tensor)]) -> Result<Vec<u8>> {
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

#[cfg(test)]
mod tests {
    use super::*;

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
            let message = load("m.safetensors", bytes).unwrap_err().to_string();
            assert!(message.starts_with("m.safetensors: not a safetensors file"), "{message}");
        }
    }
}
