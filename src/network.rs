//! A model on a device: its parameters and the table of positions, shared by training, evaluation and decoding.

use crate::device::Device;
use crate::error::Result;
use crate::graph::{Graph, Memory, Resident, Value};
use crate::models::transformer::{Context, Tokens, Transformer};
use crate::ops::positions::sinusoids;
use crate::parameters::Parameters;
use crate::tensor::{Tensor, Type};

/// A model, its parameters, and the device that they are on.
pub struct Network {
    /// What plays the plans.
    pub device: Device,
    /// The resident buffers of every program.
    pub memory: Memory,
    /// The model.
    pub model: Transformer,
    /// Where its parameters lie.
    pub parameters: Parameters,
    positions: Resident,
    rows: usize,
}

impl Network {
    /// Lays out a model on a device, for sequences of up to `positions` tokens. The parameters are zeros until they
    /// are written. Errors: a parameter is larger than a binding can be.
    pub fn new(device: Device, model: Transformer, positions: usize, training: bool) -> Result<Network> {
        let binding = device.limits().binding;
        Network::with_binding(device, model, positions, training, binding)
    }

    /// Like [`Network::new`], with flat buffers of at most `binding` bytes.
    pub fn with_binding(
        mut device: Device,
        model: Transformer,
        positions: usize,
        training: bool,
        binding: u64,
    ) -> Result<Network> {
        let mut memory = Memory::default();
        let parameters = Parameters::new(model.declarations(), &mut memory, binding, training)?;
        let table = memory.declare("positions", Type::f32([positions, model.d_model]));
        device.allocate(&memory);
        device.write_resident(table, 0, &sinusoids(positions, model.d_model));
        Ok(Network { device, memory, model, parameters, positions: table, rows: positions })
    }

    /// The longest sequence that there are positions for.
    pub fn positions(&self) -> usize {
        self.rows
    }

    /// Overwrites every parameter by name. Errors: one is missing, of another shape, or too many.
    pub fn write_parameters(&mut self, file: &str, tensors: &[(String, Tensor)]) -> Result<()> {
        self.parameters.write(&mut self.device, file, tensors, |shard| shard.values)
    }

    /// Every parameter by name. Errors: the device failed.
    pub async fn read_parameters(&self) -> Result<Vec<(String, Tensor)>> {
        self.parameters.read(&self.device, |shard| shard.values).await
    }

    /// Positions, and dropout where there is a step state, for a graph. Adds the input `start`.
    pub fn context(&self, g: &mut Graph, step: Option<Value>) -> Context {
        let ty = Type::f32([self.rows, self.model.d_model]);
        let positions = g.resident("positions", self.positions, 0, ty);
        Context { step, positions, start: g.input("start", Type::u32([1])), record: false }
    }

    /// Adds the inputs `NAME`, `NAME_lengths` and `NAME_by_token` for a batch of (rows, length) tokens.
    pub fn tokens(&self, g: &mut Graph, name: &str, rows: usize, length: usize) -> Tokens {
        let sorted = self.model.vocabulary + 1 + rows * length;
        Tokens {
            ids: g.input(name, Type::u32([rows, length])),
            lengths: g.input(&format!("{name}_lengths"), Type::u32([rows])),
            by_token: g.input(&format!("{name}_by_token"), Type::u32([sorted])),
        }
    }
}
