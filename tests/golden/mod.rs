//! Stored tensors that PyTorch computed, and the executors that are compared with them.

// Each test takes what it needs.
#![allow(dead_code)]

use pollster::block_on;
use safetensors::{Dtype, SafeTensors};
use seqloom::cpu::{Cpu, Mode};
use seqloom::graph::{Graph, Value};
use seqloom::plan::{Limits, Plan};
use seqloom::tensor::Tensor;
use std::collections::HashMap;

/// The stored tensors of one operation.
pub struct Golden(pub HashMap<String, Tensor>);

impl Golden {
    /// Those whose names start with the operation's, from a file of this directory.
    pub fn of(file: &str, op: &str) -> Golden {
        let path = format!("{}/tests/golden/{file}.safetensors", env!("CARGO_MANIFEST_DIR"));
        let bytes = std::fs::read(&path).expect("a stored file");
        let all = SafeTensors::deserialize(&bytes).expect("a safetensors file");
        let prefix = format!("{op}.");
        let own = all.iter().filter_map(|(name, view)| {
            let words = view.data().chunks_exact(4).map(|w| [w[0], w[1], w[2], w[3]]);
            let tensor = match view.dtype() {
                Dtype::F32 => Tensor::f32(view.shape(), words.map(f32::from_le_bytes).collect()),
                Dtype::U32 => Tensor::u32(view.shape(), words.map(u32::from_le_bytes).collect()),
                other => panic!("{name} is {other:?}"),
            };
            Some((name.strip_prefix(&prefix)?.to_string(), tensor))
        });
        Golden(own.collect())
    }

    /// One of them.
    pub fn tensor(&self, name: &str) -> &Tensor {
        self.0.get(name).unwrap_or_else(|| panic!("no tensor {name} is stored"))
    }

    /// An input of the graph like the stored tensor.
    pub fn input(&self, g: &mut Graph, name: &str) -> Value {
        g.input(name, self.tensor(name).ty().clone())
    }

    /// Compares every output of the graph, by each executor, with the stored tensor of its name. `absolute` is what
    /// an executor may be off by, from the largest element, beside 1e-6 of the element itself.
    pub fn check(&self, g: &Graph, absolute: impl Fn(&str, f64) -> f64) {
        let fed = self.0.iter().filter(|(name, _)| g.find_input(name).is_some());
        let feeds: Vec<(&str, &Tensor)> = fed.map(|(name, t)| (name.as_str(), t)).collect();
        for (executor, outputs) in everywhere(g, &feeds) {
            for (name, have) in outputs {
                let want = self.tensor(&name);
                let largest = want.as_f32().iter().fold(0.0, |m: f64, w| m.max(w.abs() as f64));
                assert!(largest > 0.0, "{name} is all zeros");
                assert_near(&have, want, absolute(executor, largest), &format!("{name} by {executor}"));
            }
        }
    }
}

/// Compares every element, with 1e-6 of itself beside what it may be off by.
#[track_caller]
pub fn assert_near(have: &Tensor, want: &Tensor, absolute: f64, what: &str) {
    assert_eq!(have.ty(), want.ty(), "{what}");
    for (i, (h, w)) in have.as_f32().iter().zip(want.as_f32()).enumerate() {
        let diff = (*h as f64 - *w as f64).abs();
        let bound = 1e-6 * w.abs() as f64 + absolute;
        assert!(diff <= bound, "{what}[{i}]: {h}, not {w}: {diff:e} off, {bound:e} allowed");
    }
}

/// The outputs of a graph on each executor.
pub fn everywhere(g: &Graph, feeds: &[(&str, &Tensor)]) -> Vec<(&'static str, Vec<(String, Tensor)>)> {
    let names = || g.outputs().iter().map(|(name, _)| name.clone());
    let mut all = vec![];
    for (executor, mode) in [("definition", Mode::Definition), ("fast CPU path", Mode::Fast)] {
        let mut cpu = Cpu::new(mode);
        let program = cpu.load(vec![Plan::new(g.clone(), &Limits::default()).expect("small values")]);
        cpu.run(program, feeds);
        all.push((executor, names().map(|name| (name.clone(), cpu.read(program, &name))).collect()));
    }
    let mut gpu = crate::device::open();
    let plan = Plan::new(g.clone(), gpu.limits()).expect("small values");
    let program = block_on(gpu.load(vec![plan])).expect("shaders compile");
    gpu.run(program, feeds);
    let read = |name: String| (name.clone(), block_on(gpu.read(program, &name)).expect("a result"));
    all.push(("GPU", names().map(read).collect()));
    all
}
