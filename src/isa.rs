//! What a Vulkan driver's compiler makes of a kernel, by `VK_KHR_pipeline_executable_properties`.
//!
//! Mesa's RADV compiles for an AMD GPU that is not there when `RADV_FORCE_FAMILY` names one, so that its figures can be
//! had, exactly and repeatably, on any machine.

mod driver;
mod mix;

pub use driver::Compiler;
pub use mix::{CLASSES, Mix, innermost};

/// One kernel, compiled.
#[derive(Clone, Debug, Default)]
pub struct Executable {
    /// Numbers under the driver's own names, in its order.
    pub statistics: Vec<(String, f64)>,
    /// The machine code as text, where the driver gives it.
    pub assembly: Option<String>,
}

/// What RADV says of a kernel.
#[derive(Clone, Debug, PartialEq)]
pub struct Radv {
    /// Vector registers of a lane.
    pub vgprs: u64,
    /// Scalar registers of a wave.
    pub sgprs: u64,
    /// Registers that did not fit and are kept in memory.
    pub spills: u64,
    /// Bytes of memory of a wave, for spills and for arrays that are no registers.
    pub scratch: u64,
    /// Bytes of workgroup memory.
    pub lds: u64,
    /// Waves that fit on a SIMD.
    pub waves: u64,
    /// Bytes of machine code.
    pub code: u64,
    /// Instructions.
    pub instructions: u64,
}

impl Executable {
    /// The number under this name.
    pub fn statistic(&self, name: &str) -> Option<f64> {
        self.statistics.iter().find(|(n, _)| n == name).map(|(_, value)| *value)
    }

    /// Its numbers by their meaning, where they are RADV's.
    pub fn radv(&self) -> Option<Radv> {
        let number = |name| self.statistic(name).map(|n| n as u64);
        Some(Radv {
            vgprs: number("VGPRs")?,
            sgprs: number("SGPRs")?,
            spills: number("Spilled VGPRs")? + number("Spilled SGPRs")?,
            scratch: number("Scratch size")?,
            lds: number("LDS size")?,
            waves: number("Subgroups per SIMD")?,
            code: number("Code size")?,
            instructions: number("Instructions")?,
        })
    }
}
