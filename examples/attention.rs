//! Fused attention against the same from matmul, softmax and dropout: planned bytes and time, forward alone and with
//! the backward pass, as sequences grow.
//!
//! `cargo run --release --example attention -- [BATCH] [HEADS] [HEAD SIZE] [DROPOUT] [LENGTH …]`

use pollster::block_on;
use seqloom::case::Draw;
use seqloom::gpu::{Gpu, Options, enumerate};
use seqloom::grad::vjp;
use seqloom::graph::{Graph, Value};
use seqloom::ops::attention::Attention;
use seqloom::ops::dropout::Dropout;
use seqloom::plan::Plan;
use seqloom::step::step_type;
use seqloom::tensor::{Tensor, Type};
use std::time::Instant;

struct Shape {
    batch: usize,
    heads: usize,
    size: usize,
    length: usize,
    dropout: f32,
    causal: bool,
}

fn graph(s: &Shape, fused: bool, backward: bool) -> Graph {
    let mut g = Graph::new();
    let ty = Type::f32([s.batch, s.length, s.heads * s.size]);
    let [q, k, v, d_o] = ["q", "k", "v", "d_o"].map(|name| g.input(name, ty.clone()));
    let lengths = g.input("lengths", Type::u32([s.batch]));
    let step = g.input("step", step_type());
    let scale = 1.0 / (s.size as f32).sqrt();
    let o = if fused {
        let mask = g.attention_mask(lengths, (s.dropout > 0.0).then_some(step));
        let dropout = Dropout { p: s.dropout, site: 1 };
        g.attention(q, k, v, mask, Attention { heads: s.heads, scale, causal: s.causal, dropout })
    } else {
        let scores = g.attention_scores(q, k, s.heads);
        let weights = g.softmax(scores, lengths, scale, s.causal);
        let weights = g.dropout(weights, s.dropout, step, "weights");
        g.attention_context(weights, v, s.heads)
    };
    let results: Vec<Value> = if backward { vjp(&mut g, &[(o, d_o)], &[q, k, v]) } else { vec![o] };
    for (i, &value) in results.iter().enumerate() {
        g.output(&format!("y{i}"), value);
    }
    g
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<f64> = std::env::args().skip(1).map(|a| a.parse()).collect::<Result<_, _>>()?;
    let argument = |i: usize, default: f64| arguments.get(i).copied().unwrap_or(default);
    let [batch, heads, size] = [(0, 1.0), (1, 2.0), (2, 64.0)].map(|(i, default)| argument(i, default) as usize);
    let dropout = argument(3, 0.0) as f32;
    let lengths: Vec<usize> = match arguments.get(4..) {
        Some(given) if !given.is_empty() => given.iter().map(|&n| n as usize).collect(),
        _ => vec![256, 512, 1024, 2048],
    };
    let adapters = block_on(enumerate());
    let found = adapters.first().ok_or("there is no GPU")?;
    println!("{} ({}), B {batch}, H {heads}, D {size}, dropout {dropout}", found.name(), found.driver());
    println!("planned bytes are the plan's own buffers: no inputs\n");
    println!("{:22} {:>11} {:>11} {:>6} {:>10} {:>10} {:>6}", "", "fused", "unfused", "", "fused", "unfused", "");
    for length in lengths {
        for causal in [true, false] {
            for backward in [false, true] {
                let shape = Shape { batch, heads, size, length, dropout, causal };
                let [a, b] = [true, false].map(|fused| measure(found, &shape, fused, backward));
                let ((bytes_a, time_a), (bytes_b, time_b)) = (a?, b?);
                println!(
                    "T {length:5} {:8} {:5} {bytes_a:11} {bytes_b:11} {:5.1}x {:8.1} ms {:8.1} ms {:5.2}x",
                    if causal { "causal" } else { "lengths" },
                    if backward { "f + b" } else { "f" },
                    bytes_b as f64 / bytes_a as f64,
                    time_a * 1e3,
                    time_b * 1e3,
                    time_b / time_a
                );
            }
        }
    }
    Ok(())
}

/// Planned bytes and seconds (median of five) of one run.
fn measure(
    found: &seqloom::gpu::Found,
    s: &Shape,
    fused: bool,
    backward: bool,
) -> Result<(usize, f64), Box<dyn std::error::Error>> {
    let mut gpu = block_on(Gpu::open(found, Options::default()))?;
    let plan = Plan::new(graph(s, fused, backward), gpu.limits())?;
    let bytes = plan.slot_bytes();
    let program = block_on(gpu.load(vec![plan]))?;
    let mut draw = Draw::new(1);
    let mut normal = || draw.tensor(&[s.batch, s.length, s.heads * s.size]);
    let tensors = [normal(), normal(), normal(), normal()];
    // Causal rows see what is before them; the others three quarters of the keys.
    let seen = if s.causal { s.length } else { s.length * 3 / 4 };
    let lengths = Tensor::u32([s.batch], vec![seen as u32; s.batch]);
    let step = Tensor::zeros(&step_type());
    let mut feeds: Vec<(&str, &Tensor)> = ["q", "k", "v", "d_o"].into_iter().zip(&tensors).collect();
    feeds.extend([("lengths", &lengths), ("step", &step)]);
    let mut times = vec![];
    for _ in 0..6 {
        let start = Instant::now();
        gpu.run(program, &feeds);
        block_on(gpu.read(program, "y0"))?;
        times.push(start.elapsed().as_secs_f64());
    }
    times.remove(0);
    times.sort_by(f64::total_cmp);
    Ok((bytes, times[2]))
}
