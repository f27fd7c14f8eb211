//! One pass of a program at a time, with what its buffers hold.

use super::Gpu;
use crate::error::Result;
use crate::plan::Binding;
use crate::tensor::Tensor;

/// What the bindings of a pass held before and after it, in bytes and in order.
#[derive(Clone, Debug)]
pub struct Played {
    /// Before.
    pub before: Vec<Vec<u8>>,
    /// After; a binding that is only read is as it was.
    pub after: Vec<Vec<u8>>,
}

impl Gpu {
    /// Sets inputs of a program by name, as [`Gpu::run`] does. Panics when there is no input of a name, or of another
    /// type.
    pub fn feed(&mut self, program: usize, feeds: &[(&str, &Tensor)]) {
        self.programs[program].feed(&self.queue, feeds);
    }

    /// Submits one pass of a program's plan and no other, and waits for it. Errors: the device failed.
    pub async fn play(&mut self, program: usize, pass: usize) -> Result<Played> {
        let program = &self.programs[program];
        let bindings = &program.plan.passes[pass].bindings;
        let bytes: usize = bindings.iter().map(|b| b.bytes).sum();
        let staging = self.device.create_buffer(&wgpu::BufferDescriptor {
            label: Some("staging"),
            size: 2 * bytes as u64,
            usage: wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        });
        let mut encoder = self.device.create_command_encoder(&Default::default());
        let mut to = 0;
        let mut keep = |encoder: &mut wgpu::CommandEncoder| {
            for b in bindings {
                let (buffer, offset) = program.locate(b.place, &self.residents);
                encoder.copy_buffer_to_buffer(buffer, offset as u64, &staging, to, b.bytes as u64);
                to += b.bytes as u64;
            }
        };
        keep(&mut encoder);
        program.record(pass, &mut encoder);
        keep(&mut encoder);
        self.queue.submit([encoder.finish()]);
        let bytes = self.map(&staging).await?;
        let mut rest = &bytes[..];
        let mut take = |b: &Binding| {
            let (own, others) = rest.split_at(b.bytes);
            rest = others;
            own.to_vec()
        };
        let before = bindings.iter().map(&mut take).collect();
        Ok(Played { before, after: bindings.iter().map(&mut take).collect() })
    }

    /// Overwrites a word of what a binding of a pass holds: a fault that a test plants.
    pub fn plant(&mut self, program: usize, pass: usize, binding: usize, word: usize, bits: u32) {
        let program = &self.programs[program];
        let (buffer, offset) = program.locate(program.plan.passes[pass].bindings[binding].place, &self.residents);
        self.queue.write_buffer(buffer, (offset + 4 * word) as u64, &bits.to_le_bytes());
    }

    /// What a binding of a pass holds now, in bytes. Errors: the device failed.
    pub async fn bound(&self, program: usize, pass: usize, binding: usize) -> Result<Vec<u8>> {
        let program = &self.programs[program];
        let Binding { place, bytes, .. } = program.plan.passes[pass].bindings[binding];
        let (buffer, offset) = program.locate(place, &self.residents);
        self.download(buffer, offset, bytes).await
    }
}
