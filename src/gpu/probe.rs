//! One kernel on its own, between guard bands: what `verify` and the tests run.

use super::{Gpu, program::submit_alone};
use crate::error::Result;
use crate::op::{Launch, Op};
use crate::plan::{Binding, Pass, Place, padded};
use crate::tensor::{Tensor, Type};

/// Bytes of guard band on either side of a binding; offsets of bindings are multiples of this.
const GUARD: usize = 256;
/// What guard bands hold: a NaN that no kernel computes.
const BAND: u32 = 0x7fc0_dead;
/// What outputs hold before a run: another one, so that an element that was never written shows.
pub const POISON: u32 = 0x7fc1_beef;
/// What lies behind the elements of an output that takes an input over: a number (π), since NaNs come through additions
/// as they were.
const BEHIND: u32 = 0x4049_0fdb;

/// What a kernel left behind.
#[derive(Clone, Debug)]
pub struct Probe {
    /// The outputs.
    pub outputs: Vec<Tensor>,
    /// Bindings (by index) behind or before which something was written. Kernels may fill the last vec4 of an output, but
    /// not of one that takes an input over: the planner has it computed beside other numbers.
    pub torn: Vec<usize>,
}

impl Gpu {
    /// Runs one launch of an operation on these inputs. Errors: the shader does not compile, the device failed.
    pub async fn probe(&mut self, op: &dyn Op, inputs: &[Tensor], outputs: &[Type], launch: &Launch) -> Result<Probe> {
        let taken = |input: usize| op.in_place().iter().find(|p| p.0 == input).map(|p| p.1);
        let read: Vec<&Tensor> = inputs.iter().enumerate().filter(|(i, _)| taken(*i).is_none()).map(|x| x.1).collect();
        let mut contents: Vec<Vec<u8>> = read.iter().map(|t| guarded(t.ty(), Some(t), POISON)).collect();
        for (o, ty) in outputs.iter().enumerate() {
            let from = op.in_place().iter().find(|p| p.1 == o).map(|p| &inputs[p.0]);
            contents.push(guarded(ty, from, if from.is_some() { BEHIND } else { POISON }));
        }
        let types: Vec<&Type> = read.iter().map(|t| t.ty()).chain(outputs).collect();
        let binding = |(i, ty): (usize, &&Type)| Binding {
            place: Place::Slot(i),
            bytes: padded(ty.bytes()),
            writable: i >= read.len(),
        };
        let bindings: Vec<Binding> = types.iter().enumerate().map(binding).collect();
        let pass = Pass {
            node: None,
            op: op.name(),
            scope: String::new(),
            launch: launch.clone(),
            bindings: bindings.clone(),
            cost: Default::default(),
        };
        self.pipelines.prepare(&self.device, [&pass].into_iter()).await?;
        let buffers: Vec<wgpu::Buffer> = contents.iter().map(|c| self.buffer("probe", c.len())).collect();
        for (buffer, content) in buffers.iter().zip(&contents) {
            self.queue.write_buffer(buffer, 0, content);
        }
        let of = |b: &Binding| match b.place {
            Place::Slot(i) => (&buffers[i], GUARD),
            _ => unreachable!("a probe has slots only"),
        };
        submit_alone(&self.device, &self.queue, &self.pipelines, &pass, of);
        let mut probe = Probe { outputs: vec![], torn: vec![] };
        for (i, (buffer, ty)) in buffers.iter().zip(&types).enumerate() {
            let bytes = self.download(buffer, 0, contents[i].len()).await?;
            let words: &[u32] = bytemuck::cast_slice(&bytes);
            let [own, end] = [ty.bytes(), padded(ty.bytes())].map(|bytes| (GUARD + bytes).div_ceil(4));
            let in_place = op.in_place().iter().any(|p| read.len() + p.1 == i);
            let spilt = in_place && words[own..end].iter().any(|w| *w != BEHIND);
            if spilt || words[..GUARD / 4].iter().chain(&words[end..]).any(|w| *w != BAND) {
                probe.torn.push(i);
            }
            if bindings[i].writable {
                probe.outputs.push(Tensor::from_bytes(ty, &bytes[GUARD..]));
            }
        }
        Ok(probe)
    }
}

fn guarded(ty: &Type, from: Option<&Tensor>, behind: u32) -> Vec<u8> {
    let inside = padded(ty.bytes());
    let mut words = vec![BAND; (2 * GUARD + inside) / 4];
    words[GUARD / 4..(GUARD + inside) / 4].fill(behind);
    let mut bytes: Vec<u8> = bytemuck::cast_slice(&words).to_vec();
    if let Some(tensor) = from {
        bytes[GUARD..GUARD + ty.bytes()].copy_from_slice(tensor.bytes());
    }
    bytes
}
