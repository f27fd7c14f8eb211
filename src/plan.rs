//! The planner: a graph becomes a list of passes over few buffers. Pure data; no device is needed.

mod chain;
mod lifetimes;
mod memory;
mod planner;
mod targets;

pub use lifetimes::Lifetime;
pub use memory::shared_slots;

use crate::error::Result;
use crate::graph::{Graph, Resident, Value};
use crate::op::{Adapter, Cost, Launch};
use crate::tensor::Type;
use std::fmt;
use std::ops::Range;

/// What a plan may assume of a device.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Which launches suit it.
    pub adapter: Adapter,
    /// Largest binding in bytes; WebGPU guarantees 128 MiB.
    pub binding: u64,
    /// Floating-point operations after which a submission ends, so that no watchdog sees a long one.
    pub submission_flops: u64,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            adapter: Adapter { software: false, subgroup: None },
            binding: 128 << 20,
            submission_flops: 100_000_000_000,
        }
    }
}

/// Where a value lives while the plan runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Place {
    /// A buffer of the plan's own, reused when its value is dead.
    Slot(usize),
    /// A buffer that the host fills, in order of [`Plan::inputs`].
    Input(usize),
    /// A range of a resident buffer; offset in bytes.
    Resident(Resident, usize),
}

/// One bound buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Binding {
    /// Which one.
    pub place: Place,
    /// How many bytes, a multiple of 16.
    pub bytes: usize,
    /// Whether the kernel may write it.
    pub writable: bool,
}

/// One kernel, in one dispatch or in several.
#[derive(Clone, Debug)]
pub struct Pass {
    /// Node of the graph; none for a copy that the planner added.
    pub node: Option<usize>,
    /// The operation's name.
    pub op: &'static str,
    /// The part of the model that it belongs to.
    pub scope: String,
    /// Shader, constants, grid.
    pub launch: Launch,
    /// In the order of the shader's bindings.
    pub bindings: Vec<Binding>,
    /// Arithmetic and traffic.
    pub cost: Cost,
}

/// What is submitted together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Submission {
    /// Passes, whole.
    pub passes: Range<usize>,
    /// Of a pass that alone is too much for one submission, which of its dispatches: the other parts come before or after.
    pub dispatches: Option<Range<usize>>,
}

/// A graph with everything decided.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The graph.
    pub graph: Graph,
    /// Live nodes in the order in which they run.
    pub order: Vec<usize>,
    /// Kernels in order.
    pub passes: Vec<Pass>,
    /// Bytes of each buffer of the plan's own.
    pub slots: Vec<usize>,
    /// The inputs that live nodes read.
    pub inputs: Vec<Value>,
    /// What the host can read after a run: name, place, type.
    pub outputs: Vec<(String, Place, Type)>,
    /// In order; every dispatch of every pass is in one of them.
    pub submissions: Vec<Submission>,
    /// For each node of `order` the values that nobody needs after it.
    pub dead: Vec<Vec<Value>>,
}

/// Buffers are padded so that kernels may read and write whole vec4s.
pub fn padded(bytes: usize) -> usize {
    bytes.max(1).next_multiple_of(16)
}

impl Plan {
    /// Plans a graph: drops what nothing needs, assigns buffers by lifetime, chooses launches.
    ///
    /// Errors: a value larger than a binding can be, an operation that no kernel does at this size.
    pub fn new(graph: Graph, limits: &Limits) -> Result<Plan> {
        planner::plan(graph, limits)
    }

    /// Bytes of all buffers of the plan's own.
    pub fn slot_bytes(&self) -> usize {
        self.slots.iter().sum()
    }

    /// Whether a pass computes gradients. A copy that the planner added belongs to what it is made for.
    pub fn is_backward(&self, pass: usize) -> bool {
        let (before, after) = self.passes.split_at(pass);
        let node = after.iter().chain(before.iter().rev()).find_map(|p| p.node);
        node.is_some_and(|node| self.graph.nodes()[node].backward)
    }

    /// Sum of the costs of all passes.
    pub fn cost(&self) -> Cost {
        let add = |a: Cost, p: &Pass| Cost { flops: a.flops + p.cost.flops, bytes: a.bytes + p.cost.bytes };
        self.passes.iter().fold(Cost::default(), add)
    }
}

impl fmt::Display for Plan {
    /// One line a pass: operation, variant, what it reads and writes, where in the model.
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let place = |b: &Binding| match b.place {
            Place::Slot(s) => format!("s{s}"),
            Place::Input(i) => self.graph.name(self.inputs[i]).to_string(),
            Place::Resident(r, offset) => format!("r{}+{offset}", r.0),
        };
        for p in &self.passes {
            let list = |writable| p.bindings.iter().filter(|b| b.writable == writable).map(place).collect::<Vec<_>>();
            let variant = if p.launch.variant.is_empty() { String::new() } else { format!(" [{}]", p.launch.variant) };
            let (reads, writes) = (list(false).join(" "), list(true).join(" "));
            writeln!(f, "{}{variant} {reads} -> {writes} # {}", p.op, p.scope)?;
        }
        let sizes: Vec<String> = self.slots.iter().map(|s| s.to_string()).collect();
        writeln!(f, "slots: {}", sizes.join(" "))
    }
}
