//! The executor without a GPU: every node's own CPU path, in the order of the plan.

use crate::graph::{Memory, Resident, Source, Value};
use crate::plan::Plan;
use crate::tensor::Tensor;
use std::collections::HashMap;

/// Which CPU path of an operation runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// The definition, in f64: what kernels are compared with.
    Definition,
    /// The faster path, for training.
    Fast,
}

/// The CPU as a device.
#[derive(Debug)]
pub struct Cpu {
    mode: Mode,
    residents: Vec<Tensor>,
    programs: Vec<Program>,
}

#[derive(Debug)]
struct Program {
    plan: Plan,
    inputs: HashMap<String, Tensor>,
    outputs: HashMap<String, Tensor>,
}

impl Cpu {
    /// A device with no memory and no programs.
    pub fn new(mode: Mode) -> Cpu {
        Cpu { mode, residents: vec![], programs: vec![] }
    }

    /// Makes the resident buffers, all zeros. Those that exist are kept.
    pub fn allocate(&mut self, memory: &Memory) {
        let new = memory.buffers().skip(self.residents.len()).map(|(_, ty)| Tensor::zeros(ty));
        self.residents.extend(new);
    }

    /// Takes plans to be run; they are numbered from the returned index on.
    pub fn load(&mut self, plans: Vec<Plan>) -> usize {
        let first = self.programs.len();
        let program = |plan| Program { plan, inputs: HashMap::new(), outputs: HashMap::new() };
        self.programs.extend(plans.into_iter().map(program));
        first
    }

    /// Sets inputs by name and runs a program. Panics when an input is missing or of another type.
    pub fn run(&mut self, program: usize, feeds: &[(&str, &Tensor)]) {
        let Program { plan, inputs, outputs } = &mut self.programs[program];
        for (name, tensor) in feeds {
            inputs.insert(name.to_string(), (*tensor).clone());
        }
        let residents = &mut self.residents;
        let mode = self.mode;
        evaluate(plan, mode, inputs, residents, |name, tensor| {
            outputs.insert(name.to_string(), tensor.clone());
        });
    }

    /// An output of a program's last run.
    pub fn read(&self, program: usize, name: &str) -> Tensor {
        self.programs[program].outputs[name].clone()
    }

    /// A range of a resident buffer, in elements.
    pub fn read_resident(&self, buffer: Resident, start: usize, length: usize) -> Tensor {
        self.residents[buffer.0].range(start, length)
    }

    /// Overwrites elements of a resident buffer.
    pub fn write_resident(&mut self, buffer: Resident, start: usize, tensor: &Tensor) {
        self.residents[buffer.0].write(start, tensor);
    }
}

fn evaluate(
    plan: &Plan,
    mode: Mode,
    inputs: &HashMap<String, Tensor>,
    residents: &mut [Tensor],
    mut output: impl FnMut(&str, &Tensor),
) {
    let g = &plan.graph;
    let mut values: HashMap<Value, Tensor> = HashMap::new();
    let leaf = |base: Value, residents: &[Tensor]| match g.source(base) {
        Source::Input => {
            let tensor = inputs.get(g.name(base)).unwrap_or_else(|| panic!("input {} was not fed", g.name(base)));
            assert_eq!(tensor.ty(), g.ty(base), "input {}", g.name(base));
            tensor.clone()
        }
        Source::Resident(r, offset) => {
            residents[r.0].range(*offset, g.ty(base).elements()).reshape(g.ty(base).dims.clone())
        }
        _ => unreachable!("a node's results are kept until their last use"),
    };
    for (position, &node) in plan.order.iter().enumerate() {
        let node = &g.nodes()[node];
        for &v in &node.inputs {
            let base = g.base(v);
            values.entry(base).or_insert_with(|| leaf(base, residents));
        }
        // A view differs from its base in its dimensions only.
        let views: Vec<Option<Tensor>> = node.inputs.iter().map(|&v| view(plan, v, &values)).collect();
        let x: Vec<&Tensor> =
            node.inputs.iter().zip(&views).map(|(v, view)| view.as_ref().unwrap_or_else(|| &values[v])).collect();
        let mut y: Vec<Tensor> = node.outputs.iter().map(|&v| Tensor::zeros(g.ty(v))).collect();
        match mode {
            Mode::Definition => node.op.cpu(&x, &mut y),
            Mode::Fast => node.op.cpu_fast(&x, &mut y),
        }
        for (&v, tensor) in node.outputs.iter().zip(y) {
            values.insert(v, tensor);
        }
        for v in &plan.dead[position] {
            values.remove(v);
        }
    }
    // All are read before any is written: one may be what another's range held before.
    let find = |v: Value, residents: &[Tensor]| {
        let base = g.base(v);
        values.get(&base).cloned().unwrap_or_else(|| leaf(base, residents))
    };
    let stored: Vec<Tensor> = g.stores().iter().map(|&(value, _)| find(value, residents)).collect();
    for (&(_, to), tensor) in g.stores().iter().zip(&stored) {
        if let Source::Resident(r, offset) = *g.source(to) {
            residents[r.0].write(offset, tensor);
        }
    }
    for (name, value) in g.outputs() {
        output(name, &find(*value, residents).reshape(g.ty(*value).dims.clone()));
    }
}

fn view(plan: &Plan, v: Value, values: &HashMap<Value, Tensor>) -> Option<Tensor> {
    let base = plan.graph.base(v);
    (base != v).then(|| values[&base].clone().reshape(plan.graph.ty(v).dims.clone()))
}
