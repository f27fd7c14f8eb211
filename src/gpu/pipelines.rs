//! Pipelines: made once per shader, constants and tile, in parallel.

use crate::error::{Error, Result};
use crate::op::Launch;
use crate::plan::Pass;
use crate::shader::{Shaders, mirrored, validate};
use std::collections::HashMap;

/// What tells one pipeline from another: the shader, its constants and tiles, which bindings are written.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    shader: &'static str,
    constants: Vec<(&'static str, u64)>,
    tiles: Vec<(&'static str, u32)>,
    writable: Vec<bool>,
}

impl Key {
    pub(super) fn new(pass: &Pass) -> Key {
        let launch = &pass.launch;
        Key {
            shader: launch.shader.name,
            constants: launch.constants.iter().map(|(name, v)| (*name, v.to_bits())).collect(),
            tiles: launch.tiles.clone(),
            writable: pass.bindings.iter().map(|b| b.writable).collect(),
        }
    }
}

pub(super) struct Pipelines {
    shaders: Shaders,
    checked: bool,
    mirrored: bool,
    run_layout: wgpu::BindGroupLayout,
    layouts: HashMap<Vec<bool>, wgpu::BindGroupLayout>,
    made: HashMap<Key, wgpu::ComputePipeline>,
}

impl Pipelines {
    pub(super) fn new(device: &wgpu::Device, shaders: Shaders, checked: bool, mirrored: bool) -> Pipelines {
        let run_layout = device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor {
            label: Some("run"),
            entries: &[entry(0, wgpu::BufferBindingType::Uniform, true)],
        });
        Pipelines { shaders, checked, mirrored, run_layout, layouts: HashMap::new(), made: HashMap::new() }
    }

    pub(super) fn run_layout(&self) -> &wgpu::BindGroupLayout {
        &self.run_layout
    }

    pub(super) fn layout(&self, key: &Key) -> &wgpu::BindGroupLayout {
        &self.layouts[&key.writable]
    }

    pub(super) fn pipeline(&self, key: &Key) -> &wgpu::ComputePipeline {
        &self.made[key]
    }

    /// Makes the pipelines that these passes need and that do not exist yet.
    pub(super) async fn prepare(&mut self, device: &wgpu::Device, passes: impl Iterator<Item = &Pass>) -> Result<()> {
        let mut wanted: Vec<(Key, Launch)> = vec![];
        for pass in passes {
            let key = Key::new(pass);
            if !self.made.contains_key(&key) && !wanted.iter().any(|(k, _)| *k == key) {
                self.layouts.entry(key.writable.clone()).or_insert_with(|| storage_layout(device, &key.writable));
                wanted.push((key, pass.launch.clone()));
            }
        }
        // A mistake in a replaced file is the user's: it is found here, with its line, before the driver sees it.
        let mut texts = vec![];
        for (_, launch) in &wanted {
            let text = self.shaders.resolve(launch)?;
            let text = if self.mirrored { mirrored(&text) } else { text };
            if self.shaders.is_replaced() {
                validate(launch.shader.name, &text)?;
            }
            texts.push(text);
        }
        let made = self.compile(device, &wanted, &texts).await?;
        self.made.extend(wanted.into_iter().map(|(key, _)| key).zip(made));
        Ok(())
    }

    /// Drivers spend tenths of a second on a pipeline, so every core makes some.
    #[cfg(not(target_arch = "wasm32"))]
    async fn compile(
        &self,
        device: &wgpu::Device,
        wanted: &[(Key, Launch)],
        texts: &[String],
    ) -> Result<Vec<wgpu::ComputePipeline>> {
        let threads = std::thread::available_parallelism().map_or(1, |n| n.get()).min(wanted.len().max(1));
        let mut made: Vec<Option<Result<wgpu::ComputePipeline>>> = wanted.iter().map(|_| None).collect();
        let next = std::sync::atomic::AtomicUsize::new(0);
        let results = std::sync::Mutex::new(&mut made);
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| {
                    loop {
                        let i = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                        let Some((key, launch)) = wanted.get(i) else { break };
                        let one = self.one(device, key, launch, &texts[i]);
                        results.lock().expect("no panic while storing")[i] = Some(one);
                    }
                });
            }
        });
        made.into_iter().map(|one| one.expect("every index was taken")).collect()
    }

    #[cfg(target_arch = "wasm32")]
    async fn compile(
        &self,
        device: &wgpu::Device,
        wanted: &[(Key, Launch)],
        texts: &[String],
    ) -> Result<Vec<wgpu::ComputePipeline>> {
        wanted.iter().zip(texts).map(|((key, launch), text)| self.one(device, key, launch, text)).collect()
    }

    fn one(&self, device: &wgpu::Device, key: &Key, launch: &Launch, text: &str) -> Result<wgpu::ComputePipeline> {
        let name = launch.shader.name;
        let scope = device.push_error_scope(wgpu::ErrorFilter::Validation);
        let descriptor =
            wgpu::ShaderModuleDescriptor { label: Some(name), source: wgpu::ShaderSource::Wgsl(text.into()) };
        let module = if self.checked {
            device.create_shader_module(descriptor)
        } else {
            // Safety: the kernels of this crate stay inside their buffers; the tests run each with checks and between
            // guard bands. Files from elsewhere run checked unless their author says otherwise.
            unsafe { device.create_shader_module_trusted(descriptor, wgpu::ShaderRuntimeChecks::unchecked()) }
        };
        let groups = [Some(&self.layouts[&key.writable]), Some(&self.run_layout)];
        let layout = device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
            label: Some(name),
            bind_group_layouts: &groups,
            immediate_size: 0,
        });
        let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: Some(name),
            layout: Some(&layout),
            module: &module,
            entry_point: Some(name),
            compilation_options: wgpu::PipelineCompilationOptions {
                constants: &launch.constants,
                zero_initialize_workgroup_memory: self.checked,
            },
            cache: None,
        });
        // The scope's future is ready at once everywhere but in a browser, which is not supported yet.
        match now(scope.pop()) {
            Some(Some(e)) => {
                let text = e.to_string();
                let lines: Vec<&str> = text.lines().map(str::trim).filter(|l| !l.is_empty()).collect();
                Err(Error::Device(format!("{name}.wgsl: {}", lines.join(" "))))
            }
            _ => Ok(pipeline),
        }
    }
}

/// The value of a future that is ready.
fn now<T>(future: impl Future<Output = T>) -> Option<T> {
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    match std::pin::pin!(future).poll(&mut context) {
        std::task::Poll::Ready(value) => Some(value),
        std::task::Poll::Pending => None,
    }
}

fn entry(binding: u32, ty: wgpu::BufferBindingType, has_dynamic_offset: bool) -> wgpu::BindGroupLayoutEntry {
    wgpu::BindGroupLayoutEntry {
        binding,
        visibility: wgpu::ShaderStages::COMPUTE,
        ty: wgpu::BindingType::Buffer { ty, has_dynamic_offset, min_binding_size: None },
        count: None,
    }
}

fn storage_layout(device: &wgpu::Device, writable: &[bool]) -> wgpu::BindGroupLayout {
    let storage = |(i, writable): (usize, &bool)| {
        entry(i as u32, wgpu::BufferBindingType::Storage { read_only: !writable }, false)
    };
    let entries: Vec<_> = writable.iter().enumerate().map(storage).collect();
    device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor { label: None, entries: &entries })
}
