//! Named tensors as safetensors bytes: load(save(x)) == x, bit for bit.

mod header;

use crate::error::{Error, Result};
use crate::tensor::{DType, Tensor, Type};
use half::{bf16, f16};
use safetensors::Dtype;
use safetensors::tensor::TensorView;
use std::collections::{BTreeMap, HashMap, HashSet};

/// The bytes of a safetensors file with these tensors, marked as PyTorch's so that transformers opens it. Errors: two of
/// them have one name.
pub fn save<'a>(tensors: impl IntoIterator<Item = &'a (String, Tensor)>) -> Result<Vec<u8>> {
    let mut views = vec![];
    let mut names = HashSet::new();
    for (name, tensor) in tensors {
        if !names.insert(name) {
            return Err(Error::Run(format!("a checkpoint cannot be stored: two tensors are called {name}")));
        }
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

/// Bytes of a number of the types that can be read.
fn size(dtype: &str) -> Option<usize> {
    match dtype {
        "F32" | "U32" => Some(4),
        "F16" | "BF16" => Some(2),
        _ => None,
    }
}

/// The tensors of a safetensors file, by name. Errors: the bytes are not one, or hold a type that is not ours; `file`
/// is for the message.
pub fn load(file: &str, bytes: &[u8]) -> Result<Vec<(String, Tensor)>> {
    let wrong = |why: String| Error::Input(format!("{file}: not a safetensors file of this program: {why}"));
    let tensor = |t: header::Entry| {
        let dtype = match t.dtype.as_str() {
            "F32" => DType::F32,
            "F16" => DType::F16,
            "U32" => DType::U32,
            other => return Err(wrong(format!("{} is {other}", t.name))),
        };
        Ok((t.name, Tensor::from_bytes(&Type { dims: t.dims, dtype }, t.bytes)))
    };
    header::entries(bytes, size).map_err(wrong)?.into_iter().map(tensor).collect()
}

/// The tensors of a safetensors file whose numbers are stored as f32, f16 or bf16, by name and as f32. Errors: the
/// bytes are not such a file; `file` is for the message.
pub fn load_f32(file: &str, bytes: &[u8]) -> Result<Vec<(String, Tensor)>> {
    let tensor = |t: header::Entry| {
        // GPT-2's causal mask, which old versions of transformers stored.
        if matches!(t.dtype.as_str(), "BOOL" | "U8") && t.name.ends_with(".attn.bias") {
            return Ok(None);
        }
        let halves = || t.bytes.chunks_exact(2).map(|b| [b[0], b[1]]);
        let tensor = match t.dtype.as_str() {
            "F32" => Tensor::from_bytes(&Type::f32(t.dims), t.bytes),
            "F16" => Tensor::f32(t.dims, halves().map(|b| f16::from_le_bytes(b).to_f32()).collect()),
            "BF16" => Tensor::f32(t.dims, halves().map(|b| bf16::from_le_bytes(b).to_f32()).collect()),
            other => {
                return Err(Error::Input(format!("{file}: {} is {other}; F32, F16 and BF16 can be read", t.name)));
            }
        };
        Ok(Some((t.name, tensor)))
    };
    let entries = header::entries(bytes, size)
        .map_err(|why| Error::Input(format!("{file}: not a safetensors file, or a damaged one: {why}")))?;
    entries.into_iter().filter_map(|entry| tensor(entry).transpose()).collect()
}

/// The mean of several sets of tensors, name by name: sums in f64, rounded once.
#[derive(Clone, Debug, Default)]
pub struct Mean {
    sums: BTreeMap<String, (Vec<usize>, Vec<f64>)>,
    sets: usize,
}

impl Mean {
    /// A mean of nothing yet.
    pub fn new() -> Mean {
        Mean::default()
    }

    /// Adds a set. Errors: a tensor that the sets before it had is missing, there is one that they had not, or one is
    /// not f32 or of another shape; `file` is for the message.
    pub fn add(&mut self, file: &str, tensors: &[(String, Tensor)]) -> Result<()> {
        let wrong = |why: String| Err(Error::Input(format!("{file}: {why}; another model cannot be averaged in")));
        for (name, tensor) in tensors {
            let ty = tensor.ty();
            if ty.dtype != DType::F32 {
                return wrong(format!("{name} is {ty}, expected f32"));
            }
            if self.sets == 0 {
                self.sums.insert(name.clone(), (ty.dims.clone(), vec![0.0; ty.elements()]));
            }
            match self.sums.get_mut(name) {
                Some((dims, sums)) if *dims == ty.dims => {
                    sums.iter_mut().zip(tensor.as_f32()).for_each(|(sum, x)| *sum += *x as f64);
                }
                Some((dims, _)) => return wrong(format!("{name} is {ty}, expected {}", Type::f32(dims.clone()))),
                None => return wrong(format!("{name} is not in the checkpoints before it")),
            }
        }
        if tensors.len() < self.sums.len() {
            let missing = self.sums.keys().find(|name| !tensors.iter().any(|(n, _)| n == *name));
            return wrong(format!("{} is missing", missing.map_or("a tensor", |name| name)));
        }
        self.sets += 1;
        Ok(())
    }

    /// The mean of the sets so far. Panics when there are none.
    pub fn finish(self) -> Vec<(String, Tensor)> {
        assert!(self.sets > 0, "a mean of nothing");
        let mean = |sum: &f64| (sum / self.sets as f64) as f32;
        let tensor = |(name, (dims, sums)): (&String, &(Vec<usize>, Vec<f64>))| {
            (name.clone(), Tensor::f32(dims.clone(), sums.iter().map(mean).collect()))
        };
        self.sums.iter().map(tensor).collect()
    }
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
    fn a_mean_is_summed_in_f64_and_rounded_once() {
        let set = |x: f32| {
            vec![("a".to_string(), Tensor::f32([1, 2], vec![x, -x])), ("b".into(), Tensor::f32([1], vec![1.0]))]
        };
        let mut mean = Mean::new();
        // In f32 the small ones would vanish beside the large one: 2^24 + 1 = 2^24.
        for x in [16_777_216.0, 1.0, 1.0, 2.0] {
            mean.add("x", &set(x)).unwrap();
        }
        let want = vec![("a".to_string(), Tensor::f32([1, 2], vec![4_194_305.0, -4_194_305.0])), set(0.0).remove(1)];
        assert_eq!(mean.finish(), want);
    }

    #[test]
    fn a_mean_is_of_one_model() {
        let mut mean = Mean::new();
        let tensor = |n: usize| Tensor::f32([n], vec![1.0; n]);
        mean.add("one", &[("a".into(), tensor(2)), ("b".into(), tensor(2))]).unwrap();
        let refuses = |tensors: &[(&str, Tensor)], why: &str| {
            let tensors: Vec<(String, Tensor)> = tensors.iter().map(|(n, t)| (n.to_string(), t.clone())).collect();
            let message = mean.clone().add("two", &tensors).unwrap_err().to_string();
            assert_eq!(message, format!("two: {why}; another model cannot be averaged in"));
        };
        refuses(&[("a", tensor(2)), ("b", tensor(3))], "b is f32[3], expected f32[2]");
        refuses(&[("a", tensor(2)), ("c", tensor(2))], "c is not in the checkpoints before it");
        refuses(&[("a", tensor(2))], "b is missing");
        refuses(&[("a", Tensor::u32([2], vec![1, 1])), ("b", tensor(2))], "a is u32[2], expected f32");
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
    fn names_are_there_once() {
        let tensor = ("a".to_string(), Tensor::u32([1], vec![7]));
        assert!(save(&[tensor.clone(), tensor]).unwrap_err().to_string().ends_with("two tensors are called a"));
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
