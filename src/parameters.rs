//! Flat parameters: every weight, its gradient and its moments at the same offset of a few large buffers, so that
//! clipping and the optimiser are one dispatch per buffer.

use crate::case::Draw;
use crate::device::Device;
use crate::error::{Error, Result};
use crate::graph::{Graph, Memory, Resident, Value};
use crate::philox::site;
use crate::tensor::{Tensor, Type};
use std::collections::{HashMap, HashSet};

/// How a parameter starts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Init {
    /// Uniform within ±sqrt(6 / (in + out)) of a matrix (out, in) (Glorot and Bengio 2010); of a convolution (out, in, K)
    /// both count K times.
    Xavier,
    /// Normal with this standard deviation.
    Normal(f64),
    /// Uniform from minus this to this.
    Uniform(f64),
    /// A constant.
    Constant(f32),
}

/// A parameter that a model needs.
#[derive(Clone, Debug, PartialEq)]
pub struct Declaration {
    /// The name that PyTorch and transformers know.
    pub name: String,
    /// Dimensions; a matrix is (out, in), a convolution (out, in, K).
    pub dims: Vec<usize>,
    /// How it starts.
    pub init: Init,
}

/// A declared parameter and where it lies.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Name, dimensions, start.
    pub declaration: Declaration,
    /// Which flat buffer.
    pub shard: usize,
    /// First element in it, a multiple of 64 (256 bytes, the alignment of a binding).
    pub offset: usize,
}

/// One flat buffer and its companions.
#[derive(Clone, Copy, Debug)]
pub struct Shard {
    /// Elements, padding included.
    pub elements: usize,
    /// Elements that weight decay reaches: matrices come first.
    pub decayed: usize,
    /// The parameters.
    pub values: Resident,
    /// Their gradients and moments; none where a model is only run.
    pub training: Option<[Resident; 3]>,
}

/// The parameters of a model.
#[derive(Clone, Debug)]
pub struct Parameters {
    /// In the order in which they lie.
    pub entries: Vec<Entry>,
    /// The flat buffers.
    pub shards: Vec<Shard>,
}

/// The parameters as values of one graph.
#[derive(Clone, Debug)]
pub struct Weights(HashMap<String, Value>);

impl Weights {
    /// The value of a parameter. Panics when there is none of this name: the model declares what it uses.
    #[track_caller]
    pub fn get(&self, name: &str) -> Value {
        *self.0.get(name).unwrap_or_else(|| panic!("parameter {name} was not declared"))
    }

    /// The value of a parameter that a model may do without.
    pub fn find(&self, name: &str) -> Option<Value> {
        self.0.get(name).copied()
    }
}

/// Whether these tensors are the declared parameters. Errors: one is missing, or of another shape, or there is one too
/// many; `file` is for the message.
pub fn fit<'a>(
    declarations: impl Iterator<Item = &'a Declaration> + Clone,
    file: &str,
    tensors: &[(String, Tensor)],
) -> Result<()> {
    let by_name: HashMap<&str, &Tensor> = tensors.iter().map(|(name, t)| (name.as_str(), t)).collect();
    for d in declarations.clone() {
        let found = by_name.get(d.name.as_str());
        let tensor = found.ok_or_else(|| Error::Input(format!("{file}: {} is missing", d.name)))?;
        let expected = Type::f32(d.dims.clone());
        if *tensor.ty() != expected {
            return Err(Error::Input(format!("{file}: {} is {}, expected {expected}", d.name, tensor.ty())));
        }
    }
    let declared: HashSet<&str> = declarations.map(|d| d.name.as_str()).collect();
    match tensors.iter().find(|(name, _)| !declared.contains(name.as_str())) {
        Some((name, _)) => Err(Error::Input(format!("{file}: {name} belongs to no parameter of this model"))),
        None => Ok(()),
    }
}

/// Bytes of a flat buffer, if no single parameter needs more: what WebGPU guarantees for a binding.
const FLAT: u64 = 128 << 20;
/// Bytes that kernels, which count elements in 32 bits, can reach.
const REACHABLE: u64 = 4 << 30;

/// The keys of a recipe that make a parameter large.
fn keys_of(name: &str) -> &'static str {
    let parts = [
        ("char_cnn", "model.char_cnn or model.d_model"),
        ("positions", "data.max_length or model.d_model"),
        (".fc", "model.ffn or model.d_model"),
        ("_proj", "model.d_model"),
        // What recurrent models have.
        (".rnn.weight_ih", "model.hidden or model.embedding"),
        (".rnn.", "model.hidden"),
        ("bridge.", "model.hidden"),
        ("attention.", "model.hidden"),
        ("readout.", "model.hidden or model.embedding"),
        ("decoder.output.", "tokenizer.vocab_size or model.hidden"),
        ("embedding.", "tokenizer.vocab_size or model.embedding"),
    ];
    parts.iter().find(|(part, _)| name.contains(part)).map_or("tokenizer.vocab_size or model.d_model", |(_, keys)| keys)
}

impl Parameters {
    /// Lays parameters out in buffers of at most `binding` bytes. Errors: one parameter is larger than that.
    pub fn new(
        declarations: Vec<Declaration>,
        memory: &mut Memory,
        binding: u64,
        training: bool,
    ) -> Result<Parameters> {
        let [usual, largest] = [FLAT, REACHABLE].map(|most| (binding.min(most) / 4) as usize);
        let (matrices, vectors): (Vec<_>, Vec<_>) = declarations.into_iter().partition(|d| d.dims.len() >= 2);
        let mut entries: Vec<Entry> = vec![];
        let mut sizes: Vec<(usize, usize)> = vec![];
        for declaration in matrices.into_iter().chain(vectors) {
            let n = declaration.dims.iter().product::<usize>().next_multiple_of(64);
            if n > largest {
                let (name, mib) = (&declaration.name, n >> 18);
                return Err(Error::Input(format!(
                    "{name} {:?} takes {mib} MiB, a buffer here holds at most {} MiB; lower {}, or use another device",
                    declaration.dims,
                    largest >> 18,
                    keys_of(name)
                )));
            }
            if sizes.last().is_none_or(|(elements, _)| elements + n > usual) {
                sizes.push((0, 0));
            }
            let shard = sizes.len() - 1;
            let (elements, decayed) = &mut sizes[shard];
            let offset = *elements;
            *elements += n;
            if declaration.dims.len() >= 2 {
                *decayed = *elements;
            }
            entries.push(Entry { declaration, shard, offset });
        }
        let mut shard = |(i, (elements, decayed)): (usize, (usize, usize))| {
            let mut declare = |what: &str| memory.declare(format!("{what}.{i}"), Type::f32([elements]));
            let values = declare("parameters");
            let training = training.then(|| ["gradients", "moment1", "moment2"].map(declare));
            Shard { elements, decayed, values, training }
        };
        let shards = sizes.into_iter().enumerate().map(&mut shard).collect();
        Ok(Parameters { entries, shards })
    }

    /// The parameters as values of a graph.
    pub fn bind(&self, g: &mut Graph) -> Weights {
        let mut value = |e: &Entry| {
            let d = &e.declaration;
            (d.name.clone(), g.resident(&d.name, self.shards[e.shard].values, e.offset, Type::f32(d.dims.clone())))
        };
        Weights(self.entries.iter().map(&mut value).collect())
    }

    /// Where the gradients of all parameters go, in order of the entries. Panics when they are not for training.
    pub fn gradients(&self, g: &mut Graph) -> Vec<Value> {
        let mut value = |e: &Entry| {
            let [gradients, ..] = self.shards[e.shard].training.expect("parameters for training");
            g.resident(&e.declaration.name, gradients, e.offset, Type::f32(e.declaration.dims.clone()))
        };
        self.entries.iter().map(&mut value).collect()
    }

    /// Number of scalars.
    pub fn count(&self) -> usize {
        self.entries.iter().map(|e| e.declaration.dims.iter().product::<usize>()).sum()
    }

    /// The starting values, from a seed and each parameter's name.
    pub fn initial(&self, seed: u64) -> Vec<(String, Tensor)> {
        let tensor = |e: &Entry| {
            let d = &e.declaration;
            let mut draw = Draw::new(seed ^ (site(&d.name) as u64) << 32);
            let uniform = |draw: &mut Draw, n: usize, range: f64| {
                (0..n).map(|_| (range * (2.0 * draw.uniform() - 1.0)) as f32).collect()
            };
            let n: usize = d.dims.iter().product();
            let data = match d.init {
                Init::Constant(c) => vec![c; n],
                Init::Normal(deviation) => (0..n).map(|_| (deviation * draw.normal()) as f32).collect(),
                Init::Uniform(range) => uniform(&mut draw, n, range),
                Init::Xavier => {
                    let places: usize = d.dims[2..].iter().product();
                    uniform(&mut draw, n, (6.0 / ((d.dims[0] + d.dims[1]) * places) as f64).sqrt())
                }
            };
            (d.name.clone(), Tensor::f32(d.dims.clone(), data))
        };
        self.entries.iter().map(tensor).collect()
    }

    /// Writes named tensors into buffers that `pick` chooses for a shard. Errors: a parameter is missing, or of
    /// another shape, or there is one too many; `file` is for the message.
    pub fn write(
        &self,
        device: &mut Device,
        file: &str,
        tensors: &[(String, Tensor)],
        pick: impl Fn(&Shard) -> Resident,
    ) -> Result<()> {
        fit(self.entries.iter().map(|e| &e.declaration), file, tensors)?;
        let by_name: HashMap<&str, &Tensor> = tensors.iter().map(|(name, t)| (name.as_str(), t)).collect();
        for e in &self.entries {
            device.write_resident(pick(&self.shards[e.shard]), e.offset, by_name[e.declaration.name.as_str()]);
        }
        Ok(())
    }

    /// Reads named tensors back from buffers that `pick` chooses for a shard.
    pub async fn read(&self, device: &Device, pick: impl Fn(&Shard) -> Resident) -> Result<Vec<(String, Tensor)>> {
        let mut flat = vec![];
        for shard in &self.shards {
            flat.push(device.read_resident(pick(shard), 0, shard.elements).await?);
        }
        let tensor = |e: &Entry| {
            let d = &e.declaration;
            let n = d.dims.iter().product();
            (d.name.clone(), flat[e.shard].range(e.offset, n).reshape(d.dims.clone()))
        };
        Ok(self.entries.iter().map(tensor).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lay_out(tables: &[usize], binding: u64) -> Result<Parameters> {
        let declaration = |(i, n): (usize, &usize)| {
            let init = Init::Constant(0.0);
            Declaration { name: format!("table.{i}"), dims: vec![*n, 768], init }
        };
        Parameters::new(tables.iter().enumerate().map(declaration).collect(), &mut Memory::default(), binding, true)
    }

    /// GPT-2's table of embeddings takes 147 MiB: a buffer of its own, where a binding may be so large.
    #[test]
    fn a_large_table_has_a_buffer_of_its_own() {
        let tables = [1024, 50_257, 1024, 3072];
        let parameters = lay_out(&tables, 1 << 30).expect("it fits");
        let shards: Vec<usize> = parameters.entries.iter().map(|e| e.shard).collect();
        assert_eq!(shards, [0, 1, 2, 2]);
        let elements: Vec<usize> = parameters.shards.iter().map(|s| s.elements / 768).collect();
        assert_eq!(elements, [1024, 50_257, 4096]);
        let refused = lay_out(&tables, 128 << 20).expect_err("a binding is too small").to_string();
        assert!(refused.contains("takes 147 MiB, a buffer here holds at most 128 MiB"), "{refused}");
        // Elsewhere buffers stay as small as they can.
        assert_eq!(lay_out(&[40_000, 40_000], u64::MAX).expect("it fits").shards.len(), 2);
    }
}
