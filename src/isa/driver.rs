//! A Vulkan device that only compiles. wgpu hands out no statistics, and refuses RADV without a GPU.

use super::Executable;
use crate::error::{Error, Result};
use crate::shader::Kernel;
use ash::khr::pipeline_executable_properties;
use ash::vk;
use std::collections::BTreeMap;
use std::ffi::{CStr, CString};

/// A driver that says what it made of a kernel.
pub struct Compiler {
    // The loader stays in memory as long as what it gave.
    _loader: ash::Entry,
    instance: ash::Instance,
    device: ash::Device,
    query: pipeline_executable_properties::Device,
    name: String,
    driver: String,
    /// What wgpu asks for wherever a driver lets the size of subgroups vary.
    varying_subgroups: bool,
}

impl Drop for Compiler {
    fn drop(&mut self) {
        // Safety: everything that was made on the device is destroyed where it was made; after an error nothing uses it.
        unsafe {
            self.device.destroy_device(None);
            self.instance.destroy_instance(None);
        }
    }
}

/// An instance until a device is made of it.
struct Instance(Option<ash::Instance>);

impl Drop for Instance {
    fn drop(&mut self) {
        if let Some(instance) = self.0.take() {
            // Safety: nothing was made of it.
            unsafe { instance.destroy_instance(None) };
        }
    }
}

impl Compiler {
    /// Opens the Vulkan device of this name, or the first one that tells. Errors: there is no loader, no such device, or
    /// its driver tells nothing.
    pub fn open(wanted: Option<&str>) -> Result<Compiler> {
        // Safety: the loader is the system's own library.
        let loader = unsafe { ash::Entry::load() };
        let loader = loader.map_err(|_| {
            Error::Device("there is no Vulkan loader; install libvulkan1 (Debian, Ubuntu) and a Vulkan driver".into())
        })?;
        let application = vk::ApplicationInfo::default().api_version(vk::API_VERSION_1_3);
        let info = vk::InstanceCreateInfo::default().application_info(&application);
        // Safety: `info` and what it points to live until the end of the call; the same holds for every call below.
        let instance = unsafe { loader.create_instance(&info, None) };
        let mut instance = Instance(Some(instance.map_err(|e| {
            Error::Device(format!("no Vulkan driver could be opened ({}); is one installed?", describe(e)))
        })?));
        let open = instance.0.as_ref().expect("just made");
        let (gpu, name, driver) = choose(open, wanted)?;
        let (device, varying_subgroups) = device(open, gpu, &name)?;
        let instance = instance.0.take().expect("just made");
        let query = pipeline_executable_properties::Device::new(&instance, &device);
        Ok(Compiler { _loader: loader, instance, device, query, name, driver, varying_subgroups })
    }

    /// The device's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Driver and version.
    pub fn driver(&self) -> &str {
        &self.driver
    }

    /// Compiles a kernel as wgpu would have it compiled. Errors: it cannot be written as SPIR-V, the driver refuses it.
    pub fn compile(&self, kernel: &Kernel, checked: bool) -> Result<Executable> {
        let words = kernel.spirv(checked)?;
        // Safety: naga wrote the words, of a validated module; the pipeline is destroyed here, once, after its last use.
        unsafe {
            let code = vk::ShaderModuleCreateInfo::default().code(&words);
            let module = self.device.create_shader_module(&code, None).map_err(|e| self.refused(kernel, e))?;
            let (sets, layout) = self.layout(kernel)?;
            let pipeline = self.pipeline(kernel, module, layout);
            let executable = pipeline.and_then(|pipeline| {
                let executable = self.executable(pipeline).map_err(|e| self.refused(kernel, e));
                self.device.destroy_pipeline(pipeline, None);
                executable
            });
            self.device.destroy_pipeline_layout(layout, None);
            sets.into_iter().for_each(|set| self.device.destroy_descriptor_set_layout(set, None));
            self.device.destroy_shader_module(module, None);
            executable
        }
    }

    /// A layout of each group, and of all.
    ///
    /// # Safety
    /// The caller destroys what it gets.
    unsafe fn layout(&self, kernel: &Kernel) -> Result<(Vec<vk::DescriptorSetLayout>, vk::PipelineLayout)> {
        let mut groups: BTreeMap<u32, Vec<vk::DescriptorSetLayoutBinding>> = BTreeMap::from([(0, vec![]), (1, vec![])]);
        for b in kernel.bindings() {
            let kind = match b.uniform {
                true => vk::DescriptorType::UNIFORM_BUFFER_DYNAMIC,
                false => vk::DescriptorType::STORAGE_BUFFER,
            };
            let binding = vk::DescriptorSetLayoutBinding::default().binding(b.binding).descriptor_type(kind);
            let binding = binding.descriptor_count(1).stage_flags(vk::ShaderStageFlags::COMPUTE);
            groups.entry(b.group).or_default().push(binding);
        }
        let mut sets = vec![];
        for bindings in groups.values() {
            let info = vk::DescriptorSetLayoutCreateInfo::default().bindings(bindings);
            // Safety: as in `open`.
            let set = unsafe { self.device.create_descriptor_set_layout(&info, None) };
            sets.push(set.map_err(|e| self.refused(kernel, e))?);
        }
        let info = vk::PipelineLayoutCreateInfo::default().set_layouts(&sets);
        // Safety: as in `open`.
        let layout = unsafe { self.device.create_pipeline_layout(&info, None) };
        Ok((sets, layout.map_err(|e| self.refused(kernel, e))?))
    }

    /// # Safety
    /// The module and the layout are of this device; the caller destroys what it gets.
    unsafe fn pipeline(
        &self,
        kernel: &Kernel,
        module: vk::ShaderModule,
        layout: vk::PipelineLayout,
    ) -> Result<vk::Pipeline> {
        let entry = CString::new(kernel.name).expect("names of shaders have no zeros");
        let varying = match self.varying_subgroups {
            true => vk::PipelineShaderStageCreateFlags::ALLOW_VARYING_SUBGROUP_SIZE,
            false => vk::PipelineShaderStageCreateFlags::empty(),
        };
        let stage = vk::PipelineShaderStageCreateInfo::default().flags(varying).module(module).name(&entry);
        let stage = stage.stage(vk::ShaderStageFlags::COMPUTE);
        let flags = vk::PipelineCreateFlags::CAPTURE_STATISTICS_KHR
            | vk::PipelineCreateFlags::CAPTURE_INTERNAL_REPRESENTATIONS_KHR;
        let info = vk::ComputePipelineCreateInfo::default().stage(stage).layout(layout).flags(flags);
        // Safety: as in `open`.
        let made = unsafe { self.device.create_compute_pipelines(vk::PipelineCache::null(), &[info], None) };
        made.map(|pipelines| pipelines[0]).map_err(|(_, e)| self.refused(kernel, e))
    }

    /// # Safety
    /// The pipeline is of this device, made to be asked.
    unsafe fn executable(&self, pipeline: vk::Pipeline) -> std::result::Result<Executable, vk::Result> {
        let which = vk::PipelineExecutableInfoKHR::default().pipeline(pipeline).executable_index(0);
        // Safety: as in `open`.
        let statistics = unsafe { self.query.get_pipeline_executable_statistics(&which)? };
        let statistics = statistics.iter().map(|s| {
            // Safety: the driver says which member it has set.
            let value = unsafe {
                match s.format {
                    vk::PipelineExecutableStatisticFormatKHR::FLOAT64 => s.value.f64,
                    vk::PipelineExecutableStatisticFormatKHR::INT64 => s.value.i64 as f64,
                    vk::PipelineExecutableStatisticFormatKHR::BOOL32 => f64::from(s.value.b32),
                    _ => s.value.u64 as f64,
                }
            };
            (text(&s.name), value)
        });
        let statistics = statistics.collect();
        // Safety: as in `open`. ash asks for the sizes; a second call has room for the texts.
        let mut texts = unsafe { self.query.get_pipeline_executable_internal_representations(&which)? };
        let mut storage: Vec<Vec<u8>> = texts.iter().map(|t| vec![0; t.data_size]).collect();
        for (t, bytes) in texts.iter_mut().zip(&mut storage) {
            t.p_data = bytes.as_mut_ptr().cast();
        }
        let mut count = texts.len() as u32;
        let get = self.query.fp().get_pipeline_executable_internal_representations_khr;
        // Safety: `texts` has `count` elements, each with `data_size` bytes behind `p_data`.
        unsafe { get(self.device.handle(), &which, &mut count, texts.as_mut_ptr()).result()? };
        let is_assembly = |t: &vk::PipelineExecutableInternalRepresentationKHR| {
            t.is_text == vk::TRUE && text(&t.name).to_lowercase().contains("assembly")
        };
        let assembly = texts.iter().position(is_assembly);
        let assembly = assembly.map(|i| String::from_utf8_lossy(&storage[i]).trim_end_matches('\0').to_string());
        Ok(Executable { statistics, assembly })
    }

    fn refused(&self, kernel: &Kernel, e: vk::Result) -> Error {
        Error::Device(format!("{} does not compile {}.wgsl: {}", self.driver, kernel.name, describe(e)))
    }
}

/// The device, its name and its driver.
fn choose(instance: &ash::Instance, wanted: Option<&str>) -> Result<(vk::PhysicalDevice, String, String)> {
    // Safety: as in `open`.
    let gpus = unsafe { instance.enumerate_physical_devices() };
    let gpus = gpus.map_err(|e| Error::Device(format!("Vulkan lists no devices: {}", describe(e))))?;
    let describe = |gpu: vk::PhysicalDevice| {
        let mut driver = vk::PhysicalDeviceDriverProperties::default();
        let mut properties = vk::PhysicalDeviceProperties2::default().push_next(&mut driver);
        // Safety: as in `open`.
        unsafe { instance.get_physical_device_properties2(gpu, &mut properties) };
        let name = text(&properties.properties.device_name);
        (gpu, name, format!("{} {}", text(&driver.driver_name), text(&driver.driver_info)).trim().to_string())
    };
    let gpus: Vec<_> = gpus.into_iter().map(describe).collect();
    let Some(wanted) = wanted else {
        let telling = gpus.iter().find(|gpu| tells(instance, gpu.0)).or(gpus.first());
        return telling.cloned().ok_or_else(|| Error::Device("no Vulkan driver has a device here".into()));
    };
    let found = gpus.into_iter().find(|gpu| gpu.1 == wanted);
    found.ok_or_else(|| Error::Device(format!("{wanted} is no device of Vulkan, which alone tells of registers")))
}

fn extensions(instance: &ash::Instance, gpu: vk::PhysicalDevice) -> Vec<String> {
    // Safety: as in `open`.
    let list = unsafe { instance.enumerate_device_extension_properties(gpu) };
    list.unwrap_or_default().iter().map(|e| text(&e.extension_name)).collect()
}

fn tells(instance: &ash::Instance, gpu: vk::PhysicalDevice) -> bool {
    let name = vk::KHR_PIPELINE_EXECUTABLE_PROPERTIES_NAME.to_string_lossy();
    extensions(instance, gpu).iter().any(|e| *e == name)
}

/// A device with what wgpu asks for that changes machine code, and whether subgroups may vary.
fn device(instance: &ash::Instance, gpu: vk::PhysicalDevice, name: &str) -> Result<(ash::Device, bool)> {
    let names = extensions(instance, gpu);
    let has = |extension: &CStr| names.iter().any(|n| *n == extension.to_string_lossy());
    if !has(vk::KHR_PIPELINE_EXECUTABLE_PROPERTIES_NAME) {
        return Err(Error::Device(format!(
            "{name}: its driver tells nothing of registers (it has no VK_KHR_pipeline_executable_properties); \
             --family GFX1100 asks RADV, with no GPU"
        )));
    }
    let mut enabled = vec![vk::KHR_PIPELINE_EXECUTABLE_PROPERTIES_NAME.as_ptr()];
    let mut subgroups = vk::PhysicalDeviceSubgroupSizeControlFeatures::default();
    let mut robustness = vk::PhysicalDeviceRobustness2FeaturesEXT::default();
    let mut have = vk::PhysicalDeviceFeatures2::default().push_next(&mut subgroups);
    let robust2 = has(vk::EXT_ROBUSTNESS2_NAME);
    if robust2 {
        enabled.push(vk::EXT_ROBUSTNESS2_NAME.as_ptr());
        have = have.push_next(&mut robustness);
    }
    // Safety: as in `open`.
    unsafe { instance.get_physical_device_features2(gpu, &mut have) };
    let robust = have.features.robust_buffer_access;
    let varying = subgroups.subgroup_size_control == vk::TRUE && has(vk::EXT_SUBGROUP_SIZE_CONTROL_NAME);
    if varying {
        enabled.push(vk::EXT_SUBGROUP_SIZE_CONTROL_NAME.as_ptr());
    }
    let features = vk::PhysicalDeviceFeatures::default().robust_buffer_access(robust == vk::TRUE);
    let mut subgroups = vk::PhysicalDeviceSubgroupSizeControlFeatures::default().subgroup_size_control(varying);
    let mut robustness = vk::PhysicalDeviceRobustness2FeaturesEXT::default()
        .robust_buffer_access2(robustness.robust_buffer_access2 == vk::TRUE)
        .robust_image_access2(robustness.robust_image_access2 == vk::TRUE);
    let mut statistics =
        vk::PhysicalDevicePipelineExecutablePropertiesFeaturesKHR::default().pipeline_executable_info(true);
    let queue = [vk::DeviceQueueCreateInfo::default().queue_family_index(0).queue_priorities(&[1.0])];
    let mut info = vk::DeviceCreateInfo::default().queue_create_infos(&queue).enabled_extension_names(&enabled);
    info = info.enabled_features(&features).push_next(&mut statistics);
    if varying {
        info = info.push_next(&mut subgroups);
    }
    if robust2 {
        info = info.push_next(&mut robustness);
    }
    // Safety: as in `open`.
    let device = unsafe { instance.create_device(gpu, &info, None) };
    let device = device.map_err(|e| Error::Device(format!("{name} could not be opened: {}", describe(e))))?;
    Ok((device, varying))
}

/// Vulkan's word for what went wrong.
fn describe(e: vk::Result) -> String {
    e.to_string()
}

/// A text of fixed length, up to its zero.
fn text(bytes: &[std::ffi::c_char]) -> String {
    let bytes: Vec<u8> = bytes.iter().map(|c| *c as u8).take_while(|c| *c != 0).collect();
    String::from_utf8_lossy(&bytes).into_owned()
}
