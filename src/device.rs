//! A GPU or the CPU behind one face: what training and decoding run on.

use crate::cpu::{Cpu, Mode};
use crate::error::Result;
use crate::gpu::Gpu;
use crate::graph::{Memory, Resident};
use crate::plan::{Limits, Plan};
use crate::tensor::Tensor;

/// What plays plans.
pub enum Device {
    /// The CPU reference.
    Cpu(Cpu),
    /// A GPU.
    Gpu(Box<Gpu>),
}

impl Device {
    /// The CPU with its faster paths.
    pub fn cpu() -> Device {
        Device::Cpu(Cpu::new(Mode::Fast))
    }

    /// What a plan for this device may assume.
    pub fn limits(&self) -> Limits {
        match self {
            Device::Cpu(_) => Limits { binding: u64::MAX, ..Limits::default() },
            Device::Gpu(gpu) => gpu.limits().clone(),
        }
    }

    /// Makes the resident buffers that do not exist yet, all zeros.
    pub fn allocate(&mut self, memory: &Memory) {
        match self {
            Device::Cpu(cpu) => cpu.allocate(memory),
            Device::Gpu(gpu) => gpu.allocate(memory),
        }
    }

    /// Takes plans to be run; they are numbered from the returned index on. Errors: a shader does not compile.
    pub async fn load(&mut self, plans: Vec<Plan>) -> Result<usize> {
        match self {
            Device::Cpu(cpu) => Ok(cpu.load(plans)),
            Device::Gpu(gpu) => gpu.load(plans).await,
        }
    }

    /// Sets inputs by name and runs a program; a GPU may still be busy with it on return.
    pub fn run(&mut self, program: usize, feeds: &[(&str, &Tensor)]) {
        match self {
            Device::Cpu(cpu) => cpu.run(program, feeds),
            Device::Gpu(gpu) => gpu.run(program, feeds),
        }
    }

    /// An output of a program's last run. Errors: the device failed.
    pub async fn read(&self, program: usize, name: &str) -> Result<Tensor> {
        match self {
            Device::Cpu(cpu) => Ok(cpu.read(program, name)),
            Device::Gpu(gpu) => gpu.read(program, name).await,
        }
    }

    /// A range of a resident buffer, in elements. Errors: the device failed.
    pub async fn read_resident(&self, buffer: Resident, start: usize, length: usize) -> Result<Tensor> {
        match self {
            Device::Cpu(cpu) => Ok(cpu.read_resident(buffer, start, length)),
            Device::Gpu(gpu) => gpu.read_resident(buffer, start, length).await,
        }
    }

    /// Overwrites elements of a resident buffer.
    pub fn write_resident(&mut self, buffer: Resident, start: usize, tensor: &Tensor) {
        match self {
            Device::Cpu(cpu) => cpu.write_resident(buffer, start, tensor),
            Device::Gpu(gpu) => gpu.write_resident(buffer, start, tensor),
        }
    }
}
