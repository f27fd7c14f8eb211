//! A layer of an LSTM as one node against the same from products, sigmoids and sums, a step at a time: dispatches and time,
//! forward alone and with the backward pass.
//!
//! `cargo run --release --example lstm -- [BATCH] [STEPS] [UNITS]`

use pollster::block_on;
use seqloom::case::Draw;
use seqloom::gpu::{Found, Gpu, Options, enumerate};
use seqloom::grad::vjp;
use seqloom::graph::{Graph, Value};
use seqloom::ops::matmul::Activation;
use seqloom::ops::recurrence::Cell;
use seqloom::plan::Plan;
use seqloom::tensor::{Tensor, Type};
use std::time::Instant;

/// What is measured each way.
const RUNS: usize = 5;

struct Shape {
    batch: usize,
    time: usize,
    units: usize,
}

/// Inputs and, where asked for, the gradients of all of them but the lengths.
fn graph(s: &Shape, fused: bool, backward: bool) -> Graph {
    let mut g = Graph::new();
    let (b, t, h) = (s.batch, s.time, s.units);
    let input = |g: &mut Graph, name: &str, dims: &[usize]| g.input(name, Type::f32(dims.to_vec()));
    let (x, dy) = (input(&mut g, "x", &[b, t, h]), input(&mut g, "dy", &[b, t, h]));
    let [w_ih, w_hh] = ["w_ih", "w_hh"].map(|name| input(&mut g, name, &[4 * h, h]));
    let [b_ih, b_hh] = ["b_ih", "b_hh"].map(|name| input(&mut g, name, &[4 * h]));
    let start = input(&mut g, "start", &[b, 2, h]);
    let gates = g.linear(x, w_ih, Some(b_ih), Activation::None);
    let y = match fused {
        true => {
            let lengths = g.input("lengths", Type::u32([b]));
            g.recurrence(Cell::Lstm, gates, w_hh, Some(b_hh), start, lengths, false).0
        }
        false => by_steps(&mut g, s, gates, [w_hh, b_hh, start]),
    };
    let results = match backward {
        true => vjp(&mut g, &[(y, dy)], &[x, w_ih, b_ih, w_hh, b_hh, start]),
        false => vec![y],
    };
    for (i, &value) in results.iter().enumerate() {
        g.output(&format!("y{i}"), value);
    }
    g
}

/// h (B, T, H) of gates (B, T, 4 H), every step of operations that know nothing of it.
fn by_steps(g: &mut Graph, s: &Shape, gates: Value, [w, bias, start]: [Value; 3]) -> Value {
    let (b, n) = (s.batch, s.units);
    let flat = g.reshape(start, &[b, 2 * n]);
    let (mut h, mut c) = (g.columns(flat, 0..n), g.columns(flat, n..2 * n));
    let mut all = g.fill(0.0, &[b, s.time, n]);
    for t in 0..s.time {
        let x = g.time_step(gates, t);
        let x = g.reshape(x, &[b, 4 * n]);
        let recurrent = g.linear(h, w, Some(bias), Activation::None);
        let sums = g.add(x, recurrent);
        let [i, f, m, o] = [0, 1, 2, 3].map(|gate| g.columns(sums, gate * n..(gate + 1) * n));
        let (i, f, m, o) = (g.sigmoid(i), g.sigmoid(f), g.tanh(m), g.sigmoid(o));
        let (kept, new) = (g.mul(f, c), g.mul(i, m));
        c = g.add(kept, new);
        let seen = g.tanh(c);
        h = g.mul(o, seen);
        let step = g.reshape(h, &[b, 1, n]);
        all = g.add_time_step(all, t, step);
    }
    all
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<usize> = std::env::args().skip(1).map(|a| a.parse()).collect::<Result<_, _>>()?;
    let argument = |i: usize, default: usize| arguments.get(i).copied().unwrap_or(default);
    let shape = Shape { batch: argument(0, 32), time: argument(1, 64), units: argument(2, 128) };
    let adapters = block_on(enumerate());
    let found = adapters.first().ok_or("there is no GPU")?;
    println!("{} ({}), B {}, T {}, H {}\n", found.name(), found.driver(), shape.batch, shape.time, shape.units);
    println!("{:8} {:>22} {:>22}", "", "one node", "step by step");
    println!("{:8} {:>10} {:>11} {:>10} {:>11} {:>7}", "", "dispatches", "", "dispatches", "", "");
    for backward in [false, true] {
        // In turn, so that what else runs here slows both.
        let mut layers = [open(found, graph(&shape, true, backward))?, open(found, graph(&shape, false, backward))?];
        let mut times = [vec![], vec![]];
        for _ in 0..=RUNS {
            for (layer, times) in layers.iter_mut().zip(&mut times) {
                times.push(run(layer, &shape)?);
            }
        }
        let [fused, steps] = times.map(|mut times| {
            times.remove(0);
            times.sort_by(f64::total_cmp);
            times[RUNS / 2]
        });
        println!(
            "{:8} {:10} {:8.1} ms {:10} {:8.1} ms {:6.2}x",
            if backward { "f + b" } else { "f" },
            layers[0].dispatches,
            fused * 1e3,
            layers[1].dispatches,
            steps * 1e3,
            steps / fused
        );
    }
    Ok(())
}

struct Layer {
    gpu: Gpu,
    program: usize,
    /// Names and types of inputs.
    inputs: Vec<(String, Type)>,
    dispatches: u32,
}

fn open(found: &Found, graph: Graph) -> Result<Layer, Box<dyn std::error::Error>> {
    let mut gpu = block_on(Gpu::open(found, Options::default()))?;
    let plan = Plan::new(graph, gpu.limits())?;
    let inputs = plan.inputs.iter().map(|&v| (plan.graph.name(v).to_string(), plan.graph.ty(v).clone())).collect();
    let dispatches = plan.passes.iter().map(|pass| pass.launch.steps).sum();
    let program = block_on(gpu.load(vec![plan]))?;
    Ok(Layer { gpu, program, inputs, dispatches })
}

/// Seconds of one run.
fn run(layer: &mut Layer, s: &Shape) -> Result<f64, Box<dyn std::error::Error>> {
    let mut draw = Draw::new(1);
    let scale = 1.0 / (s.units as f32).sqrt();
    let tensor = |(name, ty): &(String, Type)| match name.as_str() {
        "lengths" => Tensor::u32([s.batch], vec![s.time as u32; s.batch]),
        _ => draw.between(&ty.dims, -scale, scale),
    };
    let tensors: Vec<Tensor> = layer.inputs.iter().map(tensor).collect();
    let feeds: Vec<(&str, &Tensor)> = layer.inputs.iter().map(|(name, _)| name.as_str()).zip(&tensors).collect();
    let start = Instant::now();
    layer.gpu.run(layer.program, &feeds);
    block_on(layer.gpu.read(layer.program, "y0"))?;
    Ok(start.elapsed().as_secs_f64())
}
