//! What a training run takes of its device's memory.

use super::Planned;
use crate::graph::Resident;
use crate::network::Network;
use crate::parameters::Shard;
use crate::plan::{Plan, padded, shared_slots};

/// Bytes of the buffers of a training run. What decodes comes on top once something is decoded.
#[derive(Clone, Debug, PartialEq)]
pub struct Footprint {
    /// The flat parameters.
    pub parameters: usize,
    /// Their gradients.
    pub gradients: usize,
    /// Both moments.
    pub moments: usize,
    /// All else that outlasts a program: positions, the numbers of steps, the caches of a decoder.
    pub tables: usize,
    /// What the programs take.
    pub programs: Programs,
}

/// Bytes of the buffers of programs on a GPU. The CPU makes and drops values one by one.
#[derive(Clone, Debug, PartialEq)]
pub struct Programs {
    /// How many programs.
    pub count: usize,
    /// Values between kernels: one set of buffers for all programs, since one runs at a time.
    pub activations: usize,
    /// What the host fills in; every program has its own.
    pub inputs: usize,
    /// The largest value that a kernel binds, and its bytes.
    pub largest: (String, usize),
}

impl Footprint {
    /// All of it.
    pub fn total(&self) -> usize {
        let resident = self.parameters + self.gradients + self.moments + self.tables;
        resident + self.programs.activations + self.programs.inputs
    }
}

impl Programs {
    fn new(plans: &[Plan]) -> Programs {
        let largest = plans.iter().filter_map(|p| p.largest_binding().map(|(v, bytes)| (p, v, bytes)));
        let (plan, value, bytes) = largest.max_by_key(|l| l.2).expect("a training run has passes");
        Programs {
            count: plans.len(),
            activations: shared_slots(plans).iter().sum(),
            inputs: plans.iter().map(Plan::input_bytes).sum(),
            largest: (format!("{} {}", plan.graph.name(value), plan.graph.ty(value)), bytes),
        }
    }
}

impl Planned {
    /// What training will take of the device's memory.
    pub fn footprint(&self) -> Footprint {
        let Network { memory, parameters, .. } = &self.network;
        let bytes = |pick: &dyn Fn(&Shard) -> Resident| -> usize {
            parameters.shards.iter().map(|s| padded(memory.ty(pick(s)).bytes())).sum()
        };
        let training = |which: usize| bytes(&|s: &Shard| s.training.expect("a trainer's parameters")[which]);
        let parameters = bytes(&|s: &Shard| s.values);
        let (gradients, moments) = (training(0), training(1) + training(2));
        let all: usize = memory.buffers().map(|(_, ty)| padded(ty.bytes())).sum();
        let tables = all - parameters - gradients - moments;
        Footprint { parameters, gradients, moments, tables, programs: Programs::new(&self.plans) }
    }
}
