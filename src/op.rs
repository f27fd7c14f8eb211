//! What an operation is: types, definition, kernel, derivative, cost.

use crate::graph::{Graph, Value};
use crate::tensor::{Tensor, Type};
use std::fmt::Debug;
use std::sync::Arc;

/// One operation = one graph node = one kernel.
///
/// Buffers are bound in order: the inputs (but those that an output takes over, see [`Op::in_place`]), then the
/// outputs.
pub trait Op: Debug + Send + Sync {
    /// What plans and reports call it: mostly the stem of its shader too.
    fn name(&self) -> &'static str;
    /// Types of the outputs, or why these inputs do not fit.
    fn types(&self, x: &[&Type]) -> Result<Vec<Type>, String>;
    /// The definition: slow, obvious, computed in f64, rounded to the output's dtype. What the kernel is tested
    /// against. The outputs come as zeros.
    fn cpu(&self, x: &[&Tensor], y: &mut [Tensor]);
    /// The same values by a faster path, for training where there is no GPU; tested against the definition.
    fn cpu_fast(&self, x: &[&Tensor], y: &mut [Tensor]) {
        self.cpu(x, y)
    }
    /// Which shader, its constants, the grid: the candidates for these types on this adapter, the default first.
    fn launches(&self, x: &[&Type], y: &[&Type], adapter: &Adapter) -> Vec<Launch>;
    /// Vector–Jacobian product: cotangents of the inputs from those of the outputs, as more nodes.
    fn vjp(&self, g: &mut Graph, x: &[Value], y: &[Value], dy: &[Option<Value>]) -> Vec<Option<Value>>;
    /// Arithmetic and memory traffic of one call.
    fn cost(&self, x: &[&Type], y: &[&Type]) -> Cost;
    /// How far every element of every output of a kernel may be from `y`, what the definition says of the inputs `x`: from
    /// the arithmetic, see [`crate::case`].
    fn bound(&self, x: &[Tensor], y: &[Tensor]) -> Vec<Vec<f64>>;
    /// Pairs (input, output) where the output takes over the input's buffer: the shader reads and writes the one
    /// binding of the output. The planner copies first when the input is still needed.
    fn in_place(&self) -> &'static [(usize, usize)] {
        &[]
    }
    /// Steps behind each other that one call takes however many lanes there are. A sum counts as one, whatever its length: its
    /// terms need not wait for each other.
    fn sequential_steps(&self, x: &[&Type]) -> usize {
        let _ = x;
        1
    }
    /// The same operation with one more input, the last, to which its only output is added in place: gradients with
    /// several parts are summed by it, without a pass of their own.
    fn adding(&self) -> Option<Arc<dyn Op>> {
        None
    }
}

/// The answer of an operation that has no derivative.
#[track_caller]
pub fn not_differentiable(op: &dyn Op) -> ! {
    panic!("{op:?} has no derivative, and the loss depends on a parameter through it")
}

/// What a launch may depend on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Adapter {
    /// A CPU plays the GPU: loads cost more than arithmetic, barriers cost a switch of every lane.
    pub software: bool,
    /// Lanes of a subgroup, where subgroups can be used and all have that many.
    pub subgroup: Option<u32>,
}

impl Adapter {
    /// How many lanes may share a row of a row kernel, the default first. It never depends on the number of rows, so that a
    /// row's bits do not depend on the batch it is in.
    pub fn lane_candidates(&self) -> [u32; 2] {
        if self.software { [1, 32] } else { [32, 1] }
    }
}

/// A shader file of `shaders/`, embedded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Shader {
    /// File stem and entry point.
    pub name: &'static str,
    /// The WGSL text.
    pub source: &'static str,
}

/// The embedded file `shaders/$name.wgsl`.
#[macro_export]
macro_rules! shader {
    ($name:literal) => {
        $crate::op::Shader {
            name: $name,
            source: include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/shaders/", $name, ".wgsl")),
        }
    };
}

/// One way to run an operation's kernel.
#[derive(Clone, Debug, PartialEq)]
pub struct Launch {
    /// The shader, entered at the function of its own name.
    pub shader: Shader,
    /// What tells this candidate from the others, for people; empty when there is only one.
    pub variant: String,
    /// Values of `override` declarations: fixed when the plan is made.
    pub constants: Vec<(&'static str, f64)>,
    /// Values of `const` lines, set by the shader resolver: register tiles.
    pub tiles: Vec<(&'static str, u32)>,
    /// `var<uniform> run`: counts that vary between the plans of one model.
    pub run: [u32; 4],
    /// Workgroups in x, y and z.
    pub grid: [u32; 3],
    /// Dispatches behind each other, numbered in the last of `run`; each reads what those before it wrote. Mostly one.
    pub steps: u32,
}

impl Launch {
    /// A launch with one thread per element (or group of elements), 256 to a workgroup.
    pub fn elements(shader: Shader, threads: usize, run: [u32; 4]) -> Launch {
        Launch::groups(shader, threads.div_ceil(256), run)
    }

    /// A launch of so many workgroups. A dimension ends at 65,535, so they are spread over x and y; the shader
    /// finds its number with `workgroup_index`.
    pub fn groups(shader: Shader, groups: usize, run: [u32; 4]) -> Launch {
        let groups = groups.max(1);
        let x = groups.min(32_768);
        let grid = [x as u32, groups.div_ceil(x) as u32, 1];
        Launch { shader, variant: String::new(), constants: vec![], tiles: vec![], run, grid, steps: 1 }
    }

    /// Sets an override constant.
    pub fn constant(mut self, name: &'static str, value: f64) -> Launch {
        self.constants.push((name, value));
        self
    }

    /// Sets a `const` line.
    pub fn tile(mut self, name: &'static str, value: u32) -> Launch {
        self.tiles.push((name, value));
        self
    }

    /// Dispatches the grid so many times, with `run[3]` = 0, 1, 2 and so on.
    pub fn steps(mut self, steps: u32) -> Launch {
        self.steps = steps;
        self
    }

    /// `run` as each dispatch gets it.
    pub fn runs(&self) -> impl Iterator<Item = [u32; 4]> + '_ {
        let [x, y, z, w] = self.run;
        (0..self.steps).map(move |step| [x, y, z, if self.steps > 1 { step } else { w }])
    }

    /// Names the candidate.
    pub fn variant(mut self, name: impl Into<String>) -> Launch {
        self.variant = name.into();
        self
    }

    /// Whether both are one pipeline: they differ in their counts and grids at most.
    pub fn same_pipeline(&self, other: &Launch) -> bool {
        let key = |l: &Launch| (l.shader.name, l.constants.clone(), l.tiles.clone());
        key(self) == key(other)
    }

    /// The candidates of a kernel that gives each row to 1 or 32 lanes of a workgroup of 64, and walks over its `run[1]`
    /// columns at most four times.
    pub fn rows(shader: Shader, rows: usize, run: [u32; 4], adapter: &Adapter) -> Vec<Launch> {
        let ends = |lanes: &u32| *lanes > 1 || !adapter.software || 4 * run[1] as usize <= SOFTWARE_ITERATIONS;
        let candidate = |lanes: u32| {
            Launch::groups(shader, rows.div_ceil(64 / lanes as usize), run)
                .constant("LANES", lanes.into())
                .variant(format!("{lanes} lanes a row"))
        };
        adapter.lane_candidates().into_iter().filter(ends).map(candidate).collect()
    }
}

/// llvmpipe leaves the loops of a thread after so many iterations, all of them together, and says nothing.
pub const SOFTWARE_ITERATIONS: usize = 65_535;

/// Arithmetic and memory traffic of one call: the roofline's numerator.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// Floating-point operations; a multiply–add counts two.
    pub flops: u64,
    /// Bytes that must be read and written at least.
    pub bytes: u64,
}

impl Cost {
    /// `flops` operations, and every input read and every output written once.
    pub fn new(flops: usize, x: &[&Type], y: &[&Type]) -> Cost {
        let bytes: usize = x.iter().chain(y).map(|t| t.bytes()).sum();
        Cost { flops: flops as u64, bytes: bytes as u64 }
    }
}

/// The types of an operation whose only output is like each of its inputs.
pub fn alike(x: &[&Type]) -> Result<Vec<Type>, String> {
    match x.iter().all(|t| *t == x[0]) {
        true => Ok(vec![x[0].clone()]),
        false => Err("the inputs must have one type".into()),
    }
}

/// y = f(a), element by element, in f64.
pub fn map(a: &Tensor, y: &mut Tensor, f: impl Fn(f64) -> f64) {
    for (y, a) in y.as_f32_mut().iter_mut().zip(a.as_f32()) {
        *y = f(*a as f64) as f32;
    }
}

/// y = f(a, b), element by element, in f64.
pub fn zip(a: &Tensor, b: &Tensor, y: &mut Tensor, f: impl Fn(f64, f64) -> f64) {
    for ((y, a), b) in y.as_f32_mut().iter_mut().zip(a.as_f32()).zip(b.as_f32()) {
        *y = f(*a as f64, *b as f64) as f32;
    }
}

/// One thread per four elements: buffers are padded to 16 bytes.
pub fn launch_vec4(shader: Shader, y: &Type) -> Launch {
    let n = y.elements().div_ceil(4);
    Launch::elements(shader, n, [n as u32, 0, 0, 0])
}
