//! One kernel with buffers of its own, ready to run again and again: what `bench` times.

use super::adapters::Signal;
use super::program::{Step, run_group};
use super::{Gpu, POISON};
use crate::error::Result;
use crate::op::{Launch, Op};
use crate::plan::{Binding, Pass, Place, padded};
use crate::tensor::{Tensor, Type};

/// One launch of an operation, its inputs already on the device.
///
/// What an output takes over (see [`Op::in_place`]) is not restored between runs: such kernels add to a buffer or replace
/// a part of it, and take the same time whatever it holds.
pub struct Kernel {
    step: Step,
    run_group: wgpu::BindGroup,
    outputs: Vec<(wgpu::Buffer, Type)>,
    stamps: Option<Stamps>,
}

/// Where the times of a pass's ends are written.
struct Stamps {
    set: wgpu::QuerySet,
    resolved: wgpu::Buffer,
    mapped: wgpu::Buffer,
}

/// Bytes of a pair of timestamps.
const PAIR: u64 = 16;

impl Gpu {
    /// Pipeline, buffers and bindings of one launch. Errors: the shader does not compile, the device failed.
    pub async fn kernel(
        &mut self,
        op: &dyn Op,
        inputs: &[Tensor],
        outputs: &[Type],
        launch: &Launch,
    ) -> Result<Kernel> {
        let in_place = op.in_place();
        let read: Vec<&Tensor> =
            inputs.iter().enumerate().filter(|(i, _)| in_place.iter().all(|p| p.0 != *i)).map(|x| x.1).collect();
        let taken = |o: usize| in_place.iter().find(|p| p.1 == o).map(|p| &inputs[p.0]);
        let types = read.iter().map(|t| t.ty()).chain(outputs);
        let binding = |(i, ty): (usize, &Type)| Binding {
            place: Place::Slot(i),
            bytes: padded(ty.bytes()),
            writable: i >= read.len(),
        };
        let bindings: Vec<Binding> = types.enumerate().map(binding).collect();
        let pass = Pass {
            node: None,
            op: op.name(),
            scope: String::new(),
            launch: launch.clone(),
            bindings,
            cost: Default::default(),
        };
        self.pipelines.prepare(&self.device, [&pass].into_iter()).await?;
        let buffers: Vec<wgpu::Buffer> = pass.bindings.iter().map(|b| self.buffer("kernel", b.bytes)).collect();
        let (input, output) = buffers.split_at(read.len());
        for (buffer, tensor) in input.iter().zip(&read) {
            self.queue.write_buffer(buffer, 0, tensor.bytes());
        }
        for (o, (buffer, ty)) in output.iter().zip(outputs).enumerate() {
            match taken(o) {
                Some(tensor) => self.queue.write_buffer(buffer, 0, tensor.bytes()),
                None => self.queue.write_buffer(buffer, 0, bytemuck::cast_slice(&vec![POISON; ty.bytes().div_ceil(4)])),
            }
        }
        let of = |b: &Binding| match b.place {
            Place::Slot(i) => (&buffers[i], 0),
            _ => unreachable!("a kernel on its own has slots only"),
        };
        let (run_group, mut offsets) = run_group(&self.device, &self.queue, &self.pipelines, [launch].into_iter());
        let step = Step::new(&self.device, &self.pipelines, &pass, offsets.remove(0), of);
        let outputs = output.iter().cloned().zip(outputs.iter().cloned()).collect();
        // Whatever the uploads wait for is not the kernel's.
        self.queue.submit([]);
        self.wait().await?;
        Ok(Kernel { step, run_group, outputs, stamps: self.stamps() })
    }

    /// Submits so many runs of a kernel behind each other, in one pass.
    pub fn repeat(&mut self, kernel: &Kernel, times: usize) {
        let mut encoder = self.device.create_command_encoder(&Default::default());
        kernel.record(&mut encoder, times, None);
        self.queue.submit([encoder.finish()]);
    }

    /// Like [`Gpu::repeat`], and waits: seconds between timestamps at both ends of the pass, where the adapter has them.
    pub async fn time(&mut self, kernel: &Kernel, times: usize) -> Result<Option<f64>> {
        let Some(stamps) = &kernel.stamps else {
            self.repeat(kernel, times);
            self.wait().await?;
            return Ok(None);
        };
        let mut encoder = self.device.create_command_encoder(&Default::default());
        kernel.record(&mut encoder, times, Some(stamps));
        encoder.resolve_query_set(&stamps.set, 0..2, &stamps.resolved, 0);
        encoder.copy_buffer_to_buffer(&stamps.resolved, 0, &stamps.mapped, 0, PAIR);
        self.queue.submit([encoder.finish()]);
        let bytes = self.map(&stamps.mapped).await?;
        let ends: &[u64] = bytemuck::cast_slice(&bytes);
        Ok(Some(ends[1].saturating_sub(ends[0]) as f64 * self.queue.get_timestamp_period() as f64 * 1e-9))
    }

    /// What the last run of a kernel left in its outputs.
    pub async fn outputs(&self, kernel: &Kernel) -> Result<Vec<Tensor>> {
        let mut outputs = vec![];
        for (buffer, ty) in &kernel.outputs {
            let bytes = self.download(buffer, 0, ty.bytes()).await?;
            outputs.push(Tensor::from_bytes(ty, &bytes));
        }
        Ok(outputs)
    }

    /// Waits for everything that was submitted.
    pub async fn wait(&self) -> Result<()> {
        let done = Signal::default();
        let set = done.clone();
        self.queue.on_submitted_work_done(move || set.set(Ok(())));
        #[cfg(not(target_arch = "wasm32"))]
        let _ = self.device.poll(wgpu::PollType::wait_indefinitely());
        let _ = done.await;
        self.check()
    }

    fn stamps(&self) -> Option<Stamps> {
        if !self.device.features().contains(wgpu::Features::TIMESTAMP_QUERY) {
            return None;
        }
        let make = |usage| {
            let label = Some("stamps");
            self.device.create_buffer(&wgpu::BufferDescriptor { label, size: PAIR, usage, mapped_at_creation: false })
        };
        let descriptor = wgpu::QuerySetDescriptor { label: None, ty: wgpu::QueryType::Timestamp, count: 2 };
        Some(Stamps {
            set: self.device.create_query_set(&descriptor),
            resolved: make(wgpu::BufferUsages::QUERY_RESOLVE | wgpu::BufferUsages::COPY_SRC),
            mapped: make(wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST),
        })
    }
}

impl Kernel {
    fn record(&self, encoder: &mut wgpu::CommandEncoder, times: usize, stamps: Option<&Stamps>) {
        let timestamp_writes = stamps.map(|stamps| wgpu::ComputePassTimestampWrites {
            query_set: &stamps.set,
            beginning_of_pass_write_index: Some(0),
            end_of_pass_write_index: Some(1),
        });
        let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor { label: None, timestamp_writes });
        for _ in 0..times {
            self.step.record(&mut pass, &self.run_group);
        }
    }
}
