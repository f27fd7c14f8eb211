//! The library alone: a two-layer network learns sin(x), in one graph with its gradient and its update.
//!
//! `cargo run --release --example fit` runs on the first adapter, or on the CPU where there is none.

use pollster::block_on;
use seqloom::case::Draw;
use seqloom::device::Device;
use seqloom::gpu::{Gpu, Options, enumerate};
use seqloom::grad::grad;
use seqloom::graph::{Graph, Memory};
use seqloom::ops::matmul::Activation;
use seqloom::plan::Plan;
use seqloom::tensor::{Tensor, Type};

const ROWS: usize = 64;
const HIDDEN: usize = 32;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut device = match block_on(enumerate()).first() {
        Some(found) => Device::Gpu(Box::new(block_on(Gpu::open(found, Options::default()))?)),
        None => Device::cpu(),
    };

    // Resident buffers outlast a run: here the parameters.
    let mut memory = Memory::default();
    let shapes: [&[usize]; 4] = [&[HIDDEN, 1], &[HIDDEN], &[1, HIDDEN], &[1]];
    let buffers = shapes.map(|dims| memory.declare("parameter", Type::f32(dims)));
    device.allocate(&memory);
    let mut draw = Draw::new(1);
    for (buffer, dims) in buffers.into_iter().zip(shapes) {
        device.write_resident(buffer, 0, &draw.tensor(dims));
    }

    // Forward: y = W2 tanh(W1 x + b1) + b2, the loss is the mean of (y - target)².
    let mut g = Graph::new();
    let (x, target) = (g.input("x", Type::f32([ROWS, 1])), g.input("target", Type::f32([ROWS, 1])));
    let mut parameter = |i: usize| g.resident("parameter", buffers[i], 0, Type::f32(shapes[i]));
    let p = [parameter(0), parameter(1), parameter(2), parameter(3)];
    let hidden = g.linear(x, p[0], Some(p[1]), Activation::Tanh);
    let y = g.linear(hidden, p[2], Some(p[3]), Activation::None);
    let minus = g.scale(target, -1.0);
    let error = g.add(y, minus);
    let squares = g.mul(error, error);
    let sum = g.sum(squares);
    let loss = g.scale(sum, 1.0 / ROWS as f32);

    // Backward is more of the same graph; so is the update.
    for (value, gradient) in p.into_iter().zip(grad(&mut g, loss, &p)) {
        let change = g.scale(gradient, -0.05);
        let updated = g.add(value, change);
        g.store(updated, value);
    }
    g.output("loss", loss);

    let plan = Plan::new(g, &device.limits())?;
    println!("{} passes, {} bytes of activations", plan.passes.len(), plan.slot_bytes());
    let program = block_on(device.load(vec![plan]))?;
    for step in 0..=2000 {
        let points: Vec<f32> = (0..ROWS).map(|_| 6.0 * draw.uniform() as f32 - 3.0).collect();
        let targets = points.iter().map(|x| x.sin()).collect();
        let (x, target) = (Tensor::f32([ROWS, 1], points), Tensor::f32([ROWS, 1], targets));
        device.run(program, &[("x", &x), ("target", &target)]);
        if step % 500 == 0 {
            let loss = block_on(device.read(program, "loss"))?.as_f32()[0];
            println!("step {step:4}: mean squared error {loss:.5}");
        }
    }
    Ok(())
}
