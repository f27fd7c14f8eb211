//! A kernel in the languages of the drivers, as wgpu hands it to them: SPIR-V, MSL, HLSL.

use super::{Shaders, validate};
use crate::error::{Error, Result};
use crate::op::Launch;
use naga::back::pipeline_constants::process_overrides;
use naga::back::{PipelineConstants, hlsl, msl, spv};
use naga::proc::{BoundsCheckPolicies, BoundsCheckPolicy};
use naga::valid::ModuleInfo;

/// What binds a buffer: group, binding, and whether it is the uniform `run`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bound {
    /// The bind group.
    pub group: u32,
    /// Its number there.
    pub binding: u32,
    /// A uniform buffer; the others are storage buffers.
    pub uniform: bool,
}

/// The module of a launch.
#[derive(Clone, Debug)]
pub struct Kernel {
    /// Name of the shader and of its entry point.
    pub name: &'static str,
    /// The WGSL with imports and tiles.
    pub wgsl: String,
    /// As it stands in the file.
    pub module: naga::Module,
    /// With its constants filled in.
    pub fixed: naga::Module,
    /// What validation knows of `fixed`.
    pub info: ModuleInfo,
}

/// A text and what it calls the entry point: a language may have a keyword of its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Translation {
    /// The text.
    pub text: String,
    /// The entry point's name in it.
    pub entry: String,
}

impl Kernel {
    /// Resolves, validates and fixes the constants. Errors: a replaced file has a mistake.
    pub fn new(shaders: &Shaders, launch: &Launch) -> Result<Kernel> {
        let name = launch.shader.name;
        let wgsl = shaders.resolve(launch)?;
        let (module, info) = validate(name, &wgsl)?;
        let constants: PipelineConstants = launch.constants.iter().map(|(name, v)| (name.to_string(), *v)).collect();
        let entry = Some((naga::ShaderStage::Compute, name));
        let fixed = process_overrides(&module, &info, entry, &constants);
        let (fixed, info) = fixed
            .map(|(fixed, info)| (fixed.into_owned(), info.into_owned()))
            .map_err(|e| Error::Input(format!("{name}.wgsl with {:?}: {e}", launch.constants)))?;
        Ok(Kernel { name, wgsl, module, fixed, info })
    }

    /// What it binds.
    pub fn bindings(&self) -> impl Iterator<Item = Bound> {
        self.module.global_variables.iter().filter_map(|(_, global)| {
            let at = global.binding?;
            let uniform = global.space == naga::AddressSpace::Uniform;
            Some(Bound { group: at.group, binding: at.binding, uniform })
        })
    }

    /// For Vulkan 1.1 and later. `checked`: with bounds checks, loop bounding and zeroed workgroup memory.
    pub fn spirv(&self, checked: bool) -> Result<Vec<u32>> {
        use spv::ZeroInitializeWorkgroupMemoryMode::{None, Polyfill};
        let options = spv::Options {
            lang_version: (1, 3),
            bounds_check_policies: policies(checked),
            force_loop_bounding: checked,
            emit_int_div_checks: checked,
            zero_initialize_workgroup_memory: if checked { Polyfill } else { None },
            ..Default::default()
        };
        let entry = spv::PipelineOptions { shader_stage: naga::ShaderStage::Compute, entry_point: self.name.into() };
        let words = spv::write_vec(&self.fixed, &self.info, &options, Some(&entry));
        words.map_err(|e| self.cannot("SPIR-V", e))
    }

    /// For Metal.
    pub fn msl(&self, checked: bool) -> Result<Translation> {
        let options = msl::Options {
            lang_version: (2, 1),
            bounds_check_policies: policies(checked),
            force_loop_bounding: checked,
            emit_int_div_checks: checked,
            zero_initialize_workgroup_memory: checked,
            ..Default::default()
        };
        let (text, info) = msl::write_string(&self.fixed, &self.info, &options, &Default::default())
            .map_err(|e| self.cannot("MSL", e))?;
        let entry = info.entry_point_names[0].clone().map_err(|e| self.cannot("MSL", e))?;
        Ok(Translation { text, entry })
    }

    /// For DX12.
    pub fn hlsl(&self, checked: bool) -> Result<Translation> {
        let options = hlsl::Options {
            shader_model: hlsl::ShaderModel::V6_0,
            restrict_indexing: checked,
            force_loop_bounding: checked,
            zero_initialize_workgroup_memory: checked,
            ..Default::default()
        };
        let mut text = String::new();
        let info = hlsl::Writer::new(&mut text, &options, &Default::default()).write(&self.fixed, &self.info, None);
        let info = info.map_err(|e| self.cannot("HLSL", e))?;
        let entry = info.entry_point_names[0].clone().map_err(|e| self.cannot("HLSL", e))?;
        Ok(Translation { text, entry })
    }

    fn cannot(&self, language: &str, why: impl std::fmt::Display) -> Error {
        Error::Input(format!("{}.wgsl cannot be written as {language}: {why}", self.name))
    }
}

fn policies(checked: bool) -> BoundsCheckPolicies {
    let policy = if checked { BoundsCheckPolicy::Restrict } else { BoundsCheckPolicy::Unchecked };
    let unchecked = BoundsCheckPolicy::Unchecked;
    BoundsCheckPolicies { index: policy, buffer: policy, image_load: unchecked, binding_array: unchecked }
}
