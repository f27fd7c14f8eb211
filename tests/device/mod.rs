//! The GPU of these tests. Without an adapter they fail; they are never skipped.

use pollster::block_on;
use seqloom::gpu::{Gpu, Options, enumerate};

/// The best adapter, with no more than WebGPU guarantees: a software driver would grant more than others have.
pub fn open() -> Gpu {
    let adapters = block_on(enumerate());
    let found = adapters.first().expect("these tests need a GPU or a software Vulkan driver; run scripts/test.sh");
    println!("{} ({})", found.name(), found.driver());
    block_on(Gpu::open(found, Options { portable: true, ..Options::default() })).expect("a device")
}
