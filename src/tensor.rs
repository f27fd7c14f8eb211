//! Types and host tensors: what flows along the edges of a graph.

use half::f16;
use std::fmt;

/// Element type of a tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DType {
    /// IEEE 754 binary32.
    F32,
    /// IEEE 754 binary16; a storage format, sums are kept in f32.
    F16,
    /// Token ids, lengths, counters, bit patterns.
    U32,
}

impl DType {
    /// Bytes of one element.
    pub fn size(self) -> usize {
        match self {
            DType::F32 | DType::U32 => 4,
            DType::F16 => 2,
        }
    }
}

/// Dimensions and element type of a value; row-major.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Type {
    /// Sizes, outermost first.
    pub dims: Vec<usize>,
    /// Element type.
    pub dtype: DType,
}

impl Type {
    /// An f32 type.
    pub fn f32(dims: impl Into<Vec<usize>>) -> Type {
        Type { dims: dims.into(), dtype: DType::F32 }
    }

    /// A u32 type.
    pub fn u32(dims: impl Into<Vec<usize>>) -> Type {
        Type { dims: dims.into(), dtype: DType::U32 }
    }

    /// Number of elements.
    pub fn elements(&self) -> usize {
        self.dims.iter().product()
    }

    /// Bytes of the elements, without padding.
    pub fn bytes(&self) -> usize {
        self.elements() * self.dtype.size()
    }

    /// The last dimension; 1 for a scalar.
    pub fn cols(&self) -> usize {
        self.dims.last().copied().unwrap_or(1)
    }

    /// Product of all dimensions but the last.
    pub fn rows(&self) -> usize {
        self.dims[..self.dims.len().saturating_sub(1)].iter().product()
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let name = match self.dtype {
            DType::F32 => "f32",
            DType::F16 => "f16",
            DType::U32 => "u32",
        };
        write!(f, "{name}{:?}", self.dims)
    }
}

impl fmt::Debug for Type {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{self}")
    }
}

#[derive(Clone, Debug, PartialEq)]
enum Data {
    F32(Vec<f32>),
    F16(Vec<f16>),
    U32(Vec<u32>),
}

/// A tensor in host memory.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    ty: Type,
    data: Data,
}

impl Tensor {
    /// f32 elements in row-major order. Panics when their number is not the product of `dims`.
    #[track_caller]
    pub fn f32(dims: impl Into<Vec<usize>>, data: Vec<f32>) -> Tensor {
        let ty = Type::f32(dims);
        assert_eq!(ty.elements(), data.len(), "elements of {ty}");
        Tensor { ty, data: Data::F32(data) }
    }

    /// u32 elements in row-major order. Panics when their number is not the product of `dims`.
    #[track_caller]
    pub fn u32(dims: impl Into<Vec<usize>>, data: Vec<u32>) -> Tensor {
        let ty = Type::u32(dims);
        assert_eq!(ty.elements(), data.len(), "elements of {ty}");
        Tensor { ty, data: Data::U32(data) }
    }

    /// All zeros.
    pub fn zeros(ty: &Type) -> Tensor {
        let n = ty.elements();
        let data = match ty.dtype {
            DType::F32 => Data::F32(vec![0.0; n]),
            DType::F16 => Data::F16(vec![f16::ZERO; n]),
            DType::U32 => Data::U32(vec![0; n]),
        };
        Tensor { ty: ty.clone(), data }
    }

    /// From raw little-endian bytes, as a device or a file holds them; bytes past the elements are dropped.
    /// Panics when there are too few.
    #[track_caller]
    pub fn from_bytes(ty: &Type, bytes: &[u8]) -> Tensor {
        let bytes = &bytes[..ty.bytes()];
        let data = match ty.dtype {
            DType::F32 => Data::F32(bytemuck::pod_collect_to_vec(bytes)),
            DType::F16 => Data::F16(bytemuck::pod_collect_to_vec(bytes)),
            DType::U32 => Data::U32(bytemuck::pod_collect_to_vec(bytes)),
        };
        Tensor { ty: ty.clone(), data }
    }

    /// Dimensions and element type.
    pub fn ty(&self) -> &Type {
        &self.ty
    }

    /// The elements' bytes.
    pub fn bytes(&self) -> &[u8] {
        match &self.data {
            Data::F32(d) => bytemuck::cast_slice(d),
            Data::F16(d) => bytemuck::cast_slice(d),
            Data::U32(d) => bytemuck::cast_slice(d),
        }
    }

    /// The elements of an f32 tensor. Panics on another type.
    #[track_caller]
    pub fn as_f32(&self) -> &[f32] {
        match &self.data {
            Data::F32(d) => d,
            _ => panic!("{} is not f32", self.ty),
        }
    }

    /// The elements of an f32 tensor, to be written. Panics on another type.
    #[track_caller]
    pub fn as_f32_mut(&mut self) -> &mut [f32] {
        match &mut self.data {
            Data::F32(d) => d,
            _ => panic!("{} is not f32", self.ty),
        }
    }

    /// The elements of a u32 tensor. Panics on another type.
    #[track_caller]
    pub fn as_u32(&self) -> &[u32] {
        match &self.data {
            Data::U32(d) => d,
            _ => panic!("{} is not u32", self.ty),
        }
    }

    /// The elements of a u32 tensor, to be written. Panics on another type.
    #[track_caller]
    pub fn as_u32_mut(&mut self) -> &mut [u32] {
        match &mut self.data {
            Data::U32(d) => d,
            _ => panic!("{} is not u32", self.ty),
        }
    }

    /// The same elements with other dimensions. Panics when their product differs.
    #[track_caller]
    pub fn reshape(mut self, dims: impl Into<Vec<usize>>) -> Tensor {
        let dims = dims.into();
        assert_eq!(dims.iter().product::<usize>(), self.ty.elements(), "reshape of {}", self.ty);
        self.ty.dims = dims;
        self
    }

    /// The elements at `start .. start + length`, as a vector.
    pub fn range(&self, start: usize, length: usize) -> Tensor {
        let ty = Type { dims: vec![length], dtype: self.ty.dtype };
        let size = ty.dtype.size();
        Tensor::from_bytes(&ty, &self.bytes()[start * size..(start + length) * size])
    }

    /// Overwrites the elements from `start` on. Panics when the types differ or the elements do not fit.
    #[track_caller]
    pub fn write(&mut self, start: usize, from: &Tensor) {
        let end = start + from.ty.elements();
        match (&mut self.data, &from.data) {
            (Data::F32(to), Data::F32(from)) => to[start..end].copy_from_slice(from),
            (Data::F16(to), Data::F16(from)) => to[start..end].copy_from_slice(from),
            (Data::U32(to), Data::U32(from)) => to[start..end].copy_from_slice(from),
            _ => panic!("write of {} to {}", from.ty, self.ty),
        }
    }
}
