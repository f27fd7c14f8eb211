//! A plan on a device: bind groups made once, one encoder and one pass per submission.

use super::pipelines::{Key, Pipelines};
use crate::op::Launch;
use crate::plan::{Binding, Pass, Place, Plan, Submission, padded};
use crate::tensor::{Tensor, Type};

/// Uniform offsets are multiples of this in WebGPU.
const UNIFORM_STEP: usize = 256;

pub(super) struct Program {
    pub(super) plan: Plan,
    steps: Vec<Step>,
    run_group: wgpu::BindGroup,
    slots: Vec<wgpu::Buffer>,
    inputs: Vec<wgpu::Buffer>,
    outputs: Vec<(String, wgpu::Buffer, usize, Type)>,
}

/// One pass of a plan, ready to be recorded.
pub(super) struct Step {
    pipeline: wgpu::ComputePipeline,
    group: wgpu::BindGroup,
    grid: [u32; 3],
    /// One a dispatch.
    run_offsets: Vec<u32>,
}

impl Program {
    pub(super) fn new(
        device: &wgpu::Device,
        queue: &wgpu::Queue,
        pipelines: &Pipelines,
        plan: Plan,
        pool: &[wgpu::Buffer],
        residents: &[(wgpu::Buffer, Type)],
    ) -> Program {
        let usage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_DST | wgpu::BufferUsages::COPY_SRC;
        let input = |&v: &crate::graph::Value| {
            device.create_buffer(&wgpu::BufferDescriptor {
                label: Some(plan.graph.name(v)),
                size: padded(plan.graph.ty(v).bytes()) as u64,
                usage,
                mapped_at_creation: false,
            })
        };
        let inputs: Vec<wgpu::Buffer> = plan.inputs.iter().map(input).collect();
        // The pool is sorted by size, so a plan's largest slot gets its first buffer.
        let mut by_size: Vec<usize> = (0..plan.slots.len()).collect();
        by_size.sort_by_key(|&slot| std::cmp::Reverse(plan.slots[slot]));
        let mut buffer_of = vec![0; plan.slots.len()];
        for (rank, slot) in by_size.into_iter().enumerate() {
            buffer_of[slot] = rank;
        }
        let slots: Vec<wgpu::Buffer> = buffer_of.into_iter().map(|buffer| pool[buffer].clone()).collect();
        let locate = |place: Place| locate(place, &slots, &inputs, residents);

        let (run_group, offsets) = run_group(device, queue, pipelines, plan.passes.iter().map(|p| &p.launch));
        let mut steps = vec![];
        for (pass, run_offsets) in plan.passes.iter().zip(offsets) {
            steps.push(Step::new(device, pipelines, pass, run_offsets, |b| locate(b.place)));
        }
        let output = |(name, place, ty): &(String, Place, Type)| {
            let (buffer, offset) = locate(*place);
            (name.clone(), buffer.clone(), offset, ty.clone())
        };
        let outputs = plan.outputs.iter().map(output).collect();
        Program { plan, steps, run_group, slots, inputs, outputs }
    }

    pub(super) fn feed(&self, queue: &wgpu::Queue, feeds: &[(&str, &Tensor)]) {
        for (name, tensor) in feeds {
            // An input that no live node reads has no buffer; one that the graph does not know is a mistake.
            let value = self.plan.graph.find_input(name).unwrap_or_else(|| panic!("there is no input {name}"));
            assert_eq!(tensor.ty(), self.plan.graph.ty(value), "input {name}");
            if let Some(i) = self.plan.inputs.iter().position(|&v| v == value) {
                queue.write_buffer(&self.inputs[i], 0, tensor.bytes());
            }
        }
    }

    /// Submits what the plan says; returns how many submissions that were.
    pub(super) fn submit(&self, device: &wgpu::Device, queue: &wgpu::Queue) -> u64 {
        for Submission { passes, dispatches } in &self.plan.submissions {
            let mut encoder = device.create_command_encoder(&Default::default());
            {
                let mut pass = encoder.begin_compute_pass(&Default::default());
                for step in &self.steps[passes.clone()] {
                    let offsets = dispatches.clone().map_or(&step.run_offsets[..], |part| &step.run_offsets[part]);
                    step.record_dispatches(&mut pass, &self.run_group, offsets);
                }
            }
            queue.submit([encoder.finish()]);
        }
        self.plan.submissions.len() as u64
    }

    /// Records one pass of the plan and no other.
    pub(super) fn record(&self, pass: usize, encoder: &mut wgpu::CommandEncoder) {
        self.steps[pass].record(&mut encoder.begin_compute_pass(&Default::default()), &self.run_group);
    }

    /// The buffer of a place and the offset in it, in bytes.
    pub(super) fn locate<'a>(
        &'a self,
        place: Place,
        residents: &'a [(wgpu::Buffer, Type)],
    ) -> (&'a wgpu::Buffer, usize) {
        locate(place, &self.slots, &self.inputs, residents)
    }

    /// A compute pass for each of the plan's with a timestamp at both ends; returns the mappable buffer of stamps, and how many
    /// submissions that were: those of [`Program::submit`], but for a pass that is in parts there, which has one beginning.
    pub(super) fn submit_timed(&self, device: &wgpu::Device, queue: &wgpu::Queue) -> (wgpu::Buffer, u64) {
        let bytes = 16 * self.steps.len().max(1) as u64;
        let make = |usage| {
            device.create_buffer(&wgpu::BufferDescriptor {
                label: Some("stamps"),
                size: bytes,
                usage,
                mapped_at_creation: false,
            })
        };
        let resolved = make(wgpu::BufferUsages::QUERY_RESOLVE | wgpu::BufferUsages::COPY_SRC);
        let mapped = make(wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST);
        // A query set holds at most 4,096 stamps.
        let whole = |s: &&Submission| s.dispatches.as_ref().is_none_or(|part| part.start == 0);
        let submissions = self.plan.submissions.iter().filter(whole).map(|s| s.passes.clone());
        let chunks =
            submissions.flat_map(|range| range.clone().step_by(1024).map(move |at| at..range.end.min(at + 1024)));
        let mut count = 0;
        for range in chunks {
            count += 1;
            let steps = &self.steps[range.clone()];
            let mut encoder = device.create_command_encoder(&Default::default());
            let set = device.create_query_set(&wgpu::QuerySetDescriptor {
                label: None,
                ty: wgpu::QueryType::Timestamp,
                count: 2 * steps.len() as u32,
            });
            for (i, step) in steps.iter().enumerate() {
                let writes = wgpu::ComputePassTimestampWrites {
                    query_set: &set,
                    beginning_of_pass_write_index: Some(2 * i as u32),
                    end_of_pass_write_index: Some(2 * i as u32 + 1),
                };
                let descriptor = wgpu::ComputePassDescriptor { label: None, timestamp_writes: Some(writes) };
                step.record(&mut encoder.begin_compute_pass(&descriptor), &self.run_group);
            }
            encoder.resolve_query_set(&set, 0..2 * steps.len() as u32, &resolved, 0);
            encoder.copy_buffer_to_buffer(&resolved, 0, &mapped, 16 * range.start as u64, 16 * steps.len() as u64);
            queue.submit([encoder.finish()]);
        }
        (mapped, count)
    }

    pub(super) fn output(&self, name: &str) -> (&wgpu::Buffer, usize, &Type) {
        let found = self.outputs.iter().find(|o| o.0 == name).unwrap_or_else(|| panic!("there is no output {name}"));
        (&found.1, found.2, &found.3)
    }
}

fn locate<'a>(
    place: Place,
    slots: &'a [wgpu::Buffer],
    inputs: &'a [wgpu::Buffer],
    residents: &'a [(wgpu::Buffer, Type)],
) -> (&'a wgpu::Buffer, usize) {
    match place {
        Place::Slot(slot) => (&slots[slot], 0),
        Place::Input(i) => (&inputs[i], 0),
        Place::Resident(r, offset) => (&residents[r.0].0, offset),
    }
}

impl Step {
    /// Binds the buffers that `locate` gives (with an offset in bytes) to a pass whose pipeline exists.
    pub(super) fn new<'a>(
        device: &wgpu::Device,
        pipelines: &Pipelines,
        pass: &Pass,
        run_offsets: Vec<u32>,
        locate: impl Fn(&Binding) -> (&'a wgpu::Buffer, usize),
    ) -> Step {
        let key = Key::new(pass);
        let entry = |(i, b): (usize, &Binding)| {
            let (buffer, offset) = locate(b);
            let size = wgpu::BufferSize::new(b.bytes as u64);
            let resource = wgpu::BindingResource::Buffer(wgpu::BufferBinding { buffer, offset: offset as u64, size });
            wgpu::BindGroupEntry { binding: i as u32, resource }
        };
        let entries: Vec<_> = pass.bindings.iter().enumerate().map(entry).collect();
        let group = device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: Some(pass.op),
            layout: pipelines.layout(&key),
            entries: &entries,
        });
        Step { pipeline: pipelines.pipeline(&key).clone(), group, grid: pass.launch.grid, run_offsets }
    }

    pub(super) fn record(&self, pass: &mut wgpu::ComputePass, run_group: &wgpu::BindGroup) {
        self.record_dispatches(pass, run_group, &self.run_offsets);
    }

    /// Records some of its dispatches.
    fn record_dispatches(&self, pass: &mut wgpu::ComputePass, run_group: &wgpu::BindGroup, offsets: &[u32]) {
        pass.set_pipeline(&self.pipeline);
        pass.set_bind_group(0, &self.group, &[]);
        for &offset in offsets {
            pass.set_bind_group(1, run_group, &[offset]);
            pass.dispatch_workgroups(self.grid[0], self.grid[1], self.grid[2]);
        }
    }
}

/// Submits one pass and no other.
pub(super) fn submit_alone<'a>(
    device: &wgpu::Device,
    queue: &wgpu::Queue,
    pipelines: &Pipelines,
    pass: &Pass,
    locate: impl Fn(&Binding) -> (&'a wgpu::Buffer, usize),
) {
    let (group, mut offsets) = run_group(device, queue, pipelines, [&pass.launch].into_iter());
    let step = Step::new(device, pipelines, pass, offsets.remove(0), locate);
    let mut encoder = device.create_command_encoder(&Default::default());
    step.record(&mut encoder.begin_compute_pass(&Default::default()), &group);
    queue.submit([encoder.finish()]);
}

/// The `run` uniforms of all passes in one buffer, equal ones once, and the offsets of each launch's dispatches.
pub(super) fn run_group<'a>(
    device: &wgpu::Device,
    queue: &wgpu::Queue,
    pipelines: &Pipelines,
    launches: impl Iterator<Item = &'a Launch>,
) -> (wgpu::BindGroup, Vec<Vec<u32>>) {
    let mut distinct: Vec<[u32; 4]> = vec![];
    let mut offsets = vec![];
    for launch in launches {
        let mut offset = |run: [u32; 4]| {
            let found = distinct.iter().position(|r| *r == run);
            let at = found.unwrap_or_else(|| {
                distinct.push(run);
                distinct.len() - 1
            });
            (at * UNIFORM_STEP) as u32
        };
        offsets.push(launch.runs().map(&mut offset).collect());
    }
    let mut bytes = vec![0u8; distinct.len().max(1) * UNIFORM_STEP];
    for (run, at) in distinct.iter().zip(bytes.chunks_mut(UNIFORM_STEP)) {
        at[..16].copy_from_slice(bytemuck::bytes_of(run));
    }
    let buffer = device.create_buffer(&wgpu::BufferDescriptor {
        label: Some("run"),
        size: bytes.len() as u64,
        usage: wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST,
        mapped_at_creation: false,
    });
    queue.write_buffer(&buffer, 0, &bytes);
    let binding = wgpu::BufferBinding { buffer: &buffer, offset: 0, size: wgpu::BufferSize::new(16) };
    let group = device.create_bind_group(&wgpu::BindGroupDescriptor {
        label: Some("run"),
        layout: pipelines.run_layout(),
        entries: &[wgpu::BindGroupEntry { binding: 0, resource: wgpu::BindingResource::Buffer(binding) }],
    });
    (group, offsets)
}
