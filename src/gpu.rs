//! The GPU executor; `wgpu` is named in this folder only.

mod adapters;
mod kernel;
mod lockstep;
mod pipelines;
mod probe;
mod program;

pub use adapters::{Found, enumerate};
pub use kernel::Kernel;
pub use lockstep::Played;
pub use probe::{POISON, Probe};

use crate::error::{Error, Result};
use crate::graph::{Memory, Resident};
use crate::op::Adapter;
use crate::plan::{Limits, Plan, padded, shared_slots};
use crate::shader::Shaders;
use crate::tensor::{Tensor, Type};
use pipelines::Pipelines;
use program::Program;
use std::sync::{Arc, Mutex};

/// How a device is opened.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Where shader texts come from.
    pub shaders: Shaders,
    /// Bounds checks and loop bounding in every kernel. Kernels that have passed with checks run without.
    pub checked: bool,
    /// Ask for no more than WebGPU guarantees.
    pub portable: bool,
    /// Number the lanes of workgroups from the last to the first, see [`crate::shader::mirrored`].
    pub mirrored: bool,
    /// Choose launches as for this adapter, whatever is opened: tests run the kernels of other hardware.
    pub adapter: Option<Adapter>,
}

/// An open GPU.
pub struct Gpu {
    device: wgpu::Device,
    queue: wgpu::Queue,
    limits: Limits,
    residents: Vec<(wgpu::Buffer, Type)>,
    pools: Vec<Vec<wgpu::Buffer>>,
    programs: Vec<Program>,
    pipelines: Pipelines,
    failure: Arc<Mutex<Option<Failure>>>,
    /// Bytes that were asked for: resident buffers, and those of programs.
    asked: [u64; 2],
    submissions: u64,
}

/// Timestamps of a program's passes that are on their way.
pub struct Stamps(wgpu::Buffer);

/// What the device said outside of a call.
enum Failure {
    /// There is no room for a buffer.
    Memory,
    /// Anything else, in wgpu's words.
    Other(String),
}

/// Live objects of a device, as wgpu counts them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counters {
    /// Buffers.
    pub buffers: isize,
    /// Bind groups.
    pub bind_groups: isize,
    /// Compute pipelines.
    pub pipelines: isize,
    /// Bytes of memory that buffers take; 0 where the backend does not count.
    pub buffer_bytes: isize,
}

impl Gpu {
    /// Opens an adapter. Errors: the adapter refuses.
    pub async fn open(found: &Found, options: Options) -> Result<Gpu> {
        let (adapter, info) = (&found.adapter, &found.info);
        let (required_features, required_limits) = found.request(options.portable);
        let descriptor = wgpu::DeviceDescriptor {
            label: Some("seqloom"),
            required_features,
            required_limits,
            memory_hints: wgpu::MemoryHints::Performance,
            ..Default::default()
        };
        let opened = adapter.request_device(&descriptor).await;
        let (device, queue) =
            opened.map_err(|e| Error::Device(format!("{}: the device could not be opened: {e}", info.name)))?;
        let failure = Arc::new(Mutex::new(None));
        let note = {
            let failure = failure.clone();
            move |what: Failure| {
                failure.lock().expect("no panic while noting a failure").get_or_insert(what);
            }
        };
        let (lost, uncaptured) = (note.clone(), note);
        device.set_device_lost_callback(move |_, why| lost(Failure::Other(format!("the device was lost: {why}"))));
        device.on_uncaptured_error(Arc::new(move |e: wgpu::Error| match e {
            wgpu::Error::OutOfMemory { .. } => uncaptured(Failure::Memory),
            e => uncaptured(Failure::Other(e.to_string())),
        }));
        let mut limits = found.plan_limits(options.portable);
        limits.adapter = options.adapter.unwrap_or(limits.adapter);
        let pipelines = Pipelines::new(&device, options.shaders, options.checked, options.mirrored);
        Ok(Gpu {
            device,
            queue,
            limits,
            residents: vec![],
            pools: vec![],
            programs: vec![],
            pipelines,
            failure,
            asked: [0; 2],
            submissions: 0,
        })
    }

    /// What a plan for this device may assume.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Makes the resident buffers, all zeros. Those that exist are kept.
    pub fn allocate(&mut self, memory: &Memory) {
        for (name, ty) in memory.buffers().skip(self.residents.len()) {
            self.asked[0] += padded(ty.bytes()) as u64;
            self.residents.push((self.buffer(name, padded(ty.bytes())), ty.clone()));
        }
    }

    /// Compiles plans; they are numbered from the returned index on. Plans that are loaded together share their
    /// buffers, since only one runs at a time. Errors: a shader that does not compile.
    pub async fn load(&mut self, plans: Vec<Plan>) -> Result<usize> {
        let sizes = shared_slots(&plans);
        let pool: Vec<wgpu::Buffer> = sizes.iter().map(|&bytes| self.buffer("slot", bytes)).collect();
        let inputs: usize = plans.iter().map(Plan::input_bytes).sum();
        self.asked[1] += (sizes.iter().sum::<usize>() + inputs) as u64;
        // Compiling takes long: not when there is no room anyway.
        self.check()?;
        let launches = plans.iter().flat_map(|plan| &plan.passes);
        self.pipelines.prepare(&self.device, launches).await?;
        let first = self.programs.len();
        for plan in plans {
            let program = Program::new(&self.device, &self.queue, &self.pipelines, plan, &pool, &self.residents);
            self.programs.push(program);
        }
        self.pools.push(pool);
        self.check()?;
        Ok(first)
    }

    /// Sets inputs by name and submits a program. Panics when there is no input of a name, or of another type.
    pub fn run(&mut self, program: usize, feeds: &[(&str, &Tensor)]) {
        let program = &self.programs[program];
        program.feed(&self.queue, feeds);
        self.submissions += program.submit(&self.device, &self.queue);
    }

    /// Whether the adapter tells when a pass begins and ends: what [`Gpu::run_timed`] needs.
    pub fn has_timestamps(&self) -> bool {
        self.device.features().contains(wgpu::Features::TIMESTAMP_QUERY)
    }

    /// Like [`Gpu::run`], with each of the plan's passes between two timestamps; [`Gpu::times`] waits for them. A pass that
    /// [`Gpu::run`] submits in parts, for a watchdog's sake, is submitted whole. Errors: the adapter has none.
    pub fn run_timed(&mut self, program: usize, feeds: &[(&str, &Tensor)]) -> Result<Stamps> {
        if !self.has_timestamps() {
            return Err(Error::Device("this adapter has no timestamps".into()));
        }
        let program = &self.programs[program];
        program.feed(&self.queue, feeds);
        let (stamps, submissions) = program.submit_timed(&self.device, &self.queue);
        self.submissions += submissions;
        Ok(Stamps(stamps))
    }

    /// When each pass began and ended, in seconds since the first began, in the order of the plan. Where a device begins
    /// one before the last has ended, it counts from that end on, so that no time counts twice. Errors: the device failed.
    pub async fn times(&mut self, stamps: Stamps) -> Result<Vec<[f64; 2]>> {
        let bytes = self.map(&stamps.0).await?;
        let stamps: &[u64] = bytemuck::cast_slice(&bytes);
        let period = self.queue.get_timestamp_period() as f64 * 1e-9;
        let seconds = |stamp: u64| stamp.saturating_sub(stamps[0]) as f64 * period;
        let mut last = 0.0;
        let times = stamps.chunks(2).map(|s| {
            let begin = seconds(s[0]).max(last);
            last = seconds(s[1]).max(begin);
            [begin, last]
        });
        Ok(times.collect())
    }

    /// An output of a program's last run. It is there until another program that was loaded together with this one runs,
    /// since they share buffers. Errors: the device failed meanwhile.
    pub async fn read(&self, program: usize, name: &str) -> Result<Tensor> {
        let (buffer, offset, ty) = self.programs[program].output(name);
        let bytes = self.download(buffer, offset, ty.bytes()).await?;
        Ok(Tensor::from_bytes(ty, &bytes))
    }

    /// A range of a resident buffer, in elements. Errors: the device failed meanwhile.
    pub async fn read_resident(&self, buffer: Resident, start: usize, length: usize) -> Result<Tensor> {
        let (buffer, ty) = &self.residents[buffer.0];
        let size = ty.dtype.size();
        let bytes = self.download(buffer, start * size, length * size).await?;
        Ok(Tensor::from_bytes(&Type { dims: vec![length], dtype: ty.dtype }, &bytes))
    }

    /// Overwrites elements of a resident buffer.
    pub fn write_resident(&mut self, buffer: Resident, start: usize, tensor: &Tensor) {
        let (buffer, ty) = &self.residents[buffer.0];
        self.queue.write_buffer(buffer, (start * ty.dtype.size()) as u64, tensor.bytes());
    }

    /// Live objects of the device.
    pub fn counters(&self) -> Counters {
        let hal = self.device.get_internal_counters().hal;
        Counters {
            buffers: hal.buffers.read(),
            bind_groups: hal.bind_groups.read(),
            pipelines: hal.compute_pipelines.read(),
            buffer_bytes: hal.buffer_memory.read(),
        }
    }

    /// How many submissions programs have made so far.
    pub fn submissions(&self) -> u64 {
        self.submissions
    }

    /// The plan of a program.
    pub fn plan(&self, program: usize) -> &Plan {
        &self.programs[program].plan
    }

    /// What went wrong on the device since the last look, if anything.
    pub fn check(&self) -> Result<()> {
        match self.failure.lock().expect("no panic while noting a failure").take() {
            Some(Failure::Other(what)) => Err(Error::Device(what.lines().map(str::trim).collect::<Vec<_>>().join(" "))),
            Some(Failure::Memory) => {
                let [resident, programs] = self.asked.map(|bytes| bytes >> 20);
                Err(Error::Device(format!(
                    "the device's memory is full: {resident} MiB of parameters, moments and tables and {programs} MiB of \
                     activations were asked for; lower the sizes under [model], or train.batch_tokens or \
                     train.batch_size, which train.accumulate makes up for"
                )))
            }
            None => Ok(()),
        }
    }

    fn buffer(&self, label: &str, bytes: usize) -> wgpu::Buffer {
        self.device.create_buffer(&wgpu::BufferDescriptor {
            label: Some(label),
            size: padded(bytes) as u64,
            usage: wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        })
    }

    async fn download(&self, from: &wgpu::Buffer, offset: usize, bytes: usize) -> Result<Vec<u8>> {
        let staging = self.device.create_buffer(&wgpu::BufferDescriptor {
            label: Some("staging"),
            size: bytes.next_multiple_of(4) as u64,
            usage: wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        });
        let mut encoder = self.device.create_command_encoder(&Default::default());
        encoder.copy_buffer_to_buffer(from, offset as u64, &staging, 0, staging.size());
        self.queue.submit([encoder.finish()]);
        self.map(&staging).await
    }

    async fn map(&self, staging: &wgpu::Buffer) -> Result<Vec<u8>> {
        let mapped = adapters::Signal::default();
        let done = mapped.clone();
        staging.map_async(wgpu::MapMode::Read, .., move |result| done.set(result.map_err(|e| e.to_string())));
        // A browser wakes the future by itself; elsewhere somebody has to wait for the queue.
        #[cfg(not(target_arch = "wasm32"))]
        let _ = self.device.poll(wgpu::PollType::wait_indefinitely());
        let result = mapped.await;
        self.check()?;
        result.map_err(|e| Error::Device(format!("the device's memory could not be read: {e}")))?;
        let view = staging.get_mapped_range(..);
        let view = view.map_err(|e| Error::Device(format!("the device's memory could not be read: {e}")))?;
        let bytes = view.to_vec();
        drop(view);
        staging.unmap();
        Ok(bytes)
    }
}
