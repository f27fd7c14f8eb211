//! The GPU of these tests. Without an adapter they fail; they are never skipped.

// Each test takes what it needs.
#![allow(dead_code)]

use pollster::block_on;
use seqloom::device::Device;
use seqloom::gpu::{Gpu, Options, enumerate};
use seqloom::op::Adapter;

/// The best adapter, with no more than WebGPU guarantees: a software driver would grant more than others have.
pub fn open() -> Gpu {
    with(Options { portable: true, ..Options::default() })
}

/// The best adapter.
pub fn with(options: Options) -> Gpu {
    let adapters = block_on(enumerate());
    let found = adapters.first().expect("these tests need a GPU or a software Vulkan driver; run scripts/test.sh");
    println!("{} ({})", found.name(), found.driver());
    block_on(Gpu::open(found, options)).expect("a device")
}

/// The best adapter as it is.
pub fn gpu() -> Device {
    Device::Gpu(Box::new(with(Options::default())))
}

/// The kernels of hardware, whatever the adapter: a software driver alone would never run them.
pub fn gpu_of_hardware() -> Device {
    let adapter = Some(Adapter { software: false, subgroup: None });
    Device::Gpu(Box::new(with(Options { portable: true, adapter, ..Options::default() })))
}
