//! Which GPUs there are, and waiting for one.

use crate::op::Adapter;
use crate::plan::Limits;
use std::collections::HashSet;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

/// An adapter that was found.
#[derive(Clone, Debug)]
pub struct Found {
    pub(super) adapter: wgpu::Adapter,
    pub(super) info: wgpu::AdapterInfo,
}

impl Found {
    /// The device's name, as its driver gives it.
    pub fn name(&self) -> &str {
        &self.info.name
    }

    /// Driver and its version.
    pub fn driver(&self) -> String {
        format!("{} {}", self.info.driver, self.info.driver_info).trim().into()
    }

    /// "discrete", "integrated", "virtual", "software" or "other".
    pub fn kind(&self) -> &'static str {
        match self.info.device_type {
            wgpu::DeviceType::DiscreteGpu => "discrete",
            wgpu::DeviceType::IntegratedGpu => "integrated",
            wgpu::DeviceType::VirtualGpu => "virtual",
            wgpu::DeviceType::Cpu => "software",
            wgpu::DeviceType::Other => "other",
        }
    }

    /// "vulkan", "metal", "dx12" …
    pub fn backend(&self) -> String {
        self.info.backend.to_string()
    }

    /// Names of the features that matter here.
    pub fn features(&self) -> Vec<&'static str> {
        let have = self.adapter.features();
        let known = [
            ("subgroups", wgpu::Features::SUBGROUP),
            ("f16", wgpu::Features::SHADER_F16),
            ("timestamps", wgpu::Features::TIMESTAMP_QUERY),
            ("cooperative matrices", wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX),
        ];
        known.into_iter().filter(|(_, f)| have.contains(*f)).map(|(name, _)| name).collect()
    }

    /// Largest storage binding in bytes, bytes of workgroup memory, invocations of a workgroup.
    pub fn limits(&self) -> (u64, u32, u32) {
        let l = self.adapter.limits();
        (
            l.max_storage_buffer_binding_size,
            l.max_compute_workgroup_storage_size,
            l.max_compute_invocations_per_workgroup,
        )
    }

    /// What no other adapter has, where that is known: two equal cards differ in their place on the bus.
    fn identity(&self) -> Option<String> {
        let place = &self.info.device_pci_bus_id;
        let known = !place.is_empty() || self.kind() == "software";
        known.then(|| format!("{} {} {} {place}", self.name(), self.driver(), self.backend()))
    }

    /// What a plan for this adapter may assume once it is opened.
    pub fn plan_limits(&self, portable: bool) -> Limits {
        let (features, limits) = self.request(portable);
        let (least, most) = (self.info.subgroup_min_size, self.info.subgroup_max_size);
        let fixed = least == most && features.contains(wgpu::Features::SUBGROUP);
        let software = self.info.device_type == wgpu::DeviceType::Cpu;
        Limits {
            adapter: Adapter { software, subgroup: fixed.then_some(most) },
            binding: limits.max_storage_buffer_binding_size,
            ..Limits::default()
        }
    }

    /// What is asked of it when it is opened; `portable` is no more than WebGPU guarantees.
    pub(super) fn request(&self, portable: bool) -> (wgpu::Features, wgpu::Limits) {
        let mut limits = wgpu::Limits::default();
        let mut features = wgpu::Features::TIMESTAMP_QUERY;
        if !portable {
            let have = self.adapter.limits();
            limits.max_storage_buffer_binding_size = have.max_storage_buffer_binding_size;
            limits.max_buffer_size = have.max_buffer_size;
            features |= wgpu::Features::SUBGROUP;
        }
        (features & self.adapter.features(), limits)
    }

    /// Where it stands in the order of `auto`: discrete, integrated, others, software.
    fn rank(&self) -> usize {
        ["discrete", "integrated", "virtual", "other", "software"].iter().position(|k| *k == self.kind()).unwrap_or(5)
    }
}

/// The adapters of this machine, best first. One that a driver offers twice, because it is installed twice, is there once.
pub async fn enumerate() -> Vec<Found> {
    let mut descriptor = wgpu::InstanceDescriptor::new_without_display_handle();
    descriptor.backends = wgpu::Backends::PRIMARY;
    let instance = wgpu::Instance::new(descriptor);
    let adapters = instance.enumerate_adapters(wgpu::Backends::PRIMARY).await;
    let found = |adapter: wgpu::Adapter| Found { info: adapter.get_info(), adapter };
    let mut found: Vec<Found> = adapters.into_iter().map(found).collect();
    found.sort_by_key(Found::rank);
    let mut seen = HashSet::new();
    found.retain(|f| f.identity().is_none_or(|identity| seen.insert(identity)));
    found
}

/// A result that a callback sets and a task waits for.
#[derive(Clone, Default)]
pub(super) struct Signal(Arc<Mutex<State>>);

/// The result once it is there, and who wants to know.
type State = (Option<Result<(), String>>, Option<Waker>);

impl Signal {
    pub(super) fn set(&self, result: Result<(), String>) {
        let mut state = self.0.lock().expect("no panic while signalling");
        state.0 = Some(result);
        if let Some(waker) = state.1.take() {
            waker.wake();
        }
    }
}

impl Future for Signal {
    type Output = Result<(), String>;

    fn poll(self: Pin<&mut Self>, context: &mut Context) -> Poll<Self::Output> {
        let mut state = self.0.lock().expect("no panic while signalling");
        match state.0.take() {
            Some(result) => Poll::Ready(result),
            None => {
                state.1 = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }
}
