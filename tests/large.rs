//! The large cases, without running them: every operation has one, they fit what WebGPU guarantees, and their cost counts
//! what they touch.

use seqloom::case::Draw;
use seqloom::large::UNCACHED;
use seqloom::op::Adapter;
use seqloom::ops::{cases, large};
use seqloom::tensor::Type;
use std::collections::BTreeSet;

#[test]
fn every_operation_has_one() {
    let small: BTreeSet<&str> = cases(1).iter().map(|(_, case)| case.op.name()).collect();
    let large: BTreeSet<&str> = large().iter().map(|(_, case)| case.op.name()).collect();
    assert_eq!(large, small);
}

#[test]
fn every_case_has_a_name_of_its_own() {
    let mut seen = BTreeSet::new();
    for (_, case) in large() {
        assert!(seen.insert((case.op.name(), case.name.clone())), "{} {} twice", case.op.name(), case.name);
    }
}

/// WebGPU's default binding is 128 MiB; a case with all its tensors stays below half a gigabyte.
#[test]
fn they_fit() {
    for (_, case) in large() {
        let outputs = case.outputs();
        let types: Vec<&Type> = case.inputs.iter().map(|i| &i.ty).chain(&outputs).collect();
        let name = format!("{} {}", case.op.name(), case.name);
        assert!(types.iter().all(|t| t.bytes() <= 128 << 20), "{name}: {types:?}");
        assert!(types.iter().map(|t| t.bytes()).sum::<usize>() < 512 << 20, "{name}: {types:?}");
        let x: Vec<&Type> = case.inputs.iter().map(|i| &i.ty).collect();
        for software in [false, true] {
            let launches =
                case.op.launches(&x, &outputs.iter().collect::<Vec<_>>(), &Adapter { software, subgroup: None });
            assert!(!launches.is_empty(), "{name}: no kernel");
        }
    }
}

/// Operations that read or write only a part of some tensor.
const PARTS: [&str; 9] = [
    "add_columns",
    "cache_append",
    "columns",
    "cross_entropy",
    "embedding",
    "record",
    "rows",
    "set_rows",
    "sum_squares",
];

#[test]
fn costs_count_every_input_and_output() {
    for (_, case) in large() {
        let name = format!("{} {}", case.op.name(), case.name);
        let read: usize = case.inputs.iter().filter(|i| !i.repeats()).map(|i| i.ty.bytes()).sum();
        let touched = read + case.outputs().iter().map(Type::bytes).sum::<usize>();
        let counted = case.cost().bytes as usize;
        assert!(counted > 0 && counted <= touched, "{name}: {counted} of {touched} bytes");
        // The step state and lists of lengths are left out.
        if !PARTS.contains(&case.op.name()) {
            assert!(counted + 1024 >= touched, "{name}: {counted} of {touched} bytes");
        }
    }
}

/// A kernel that moves data has at least one case that no cache holds; the others are short, or are limited by arithmetic.
#[test]
fn bandwidth_is_judged_out_of_caches() {
    let short = ["cache_append", "clip", "concat", "layer_norm_weight_vjp", "record", "sum"];
    let judged: BTreeSet<&str> =
        large().iter().filter(|(_, c)| c.cost().bytes >= UNCACHED).map(|(_, c)| c.op.name()).collect();
    for (_, case) in large() {
        let (name, cost) = (case.op.name(), case.cost());
        let arithmetic = cost.flops > 25 * cost.bytes || name.starts_with("attention_") || name.starts_with("matmul");
        // A walk waits for its own steps, and reads its weights at each of them.
        let walk = ["rnn", "gru", "lstm"].iter().any(|cell| name.trim_end_matches("_vjp") == *cell);
        let fine = judged.contains(name) || short.contains(&name) || arithmetic || name == "attention" || walk;
        assert!(fine, "{name} {}: {} bytes", case.name, cost.bytes);
    }
}

#[test]
fn inputs_are_as_described() {
    let small = |c: &seqloom::large::Large| c.inputs.iter().map(|i| i.ty.bytes()).sum::<usize>() < 8 << 20;
    for (_, case) in large().into_iter().filter(|(_, c)| small(c)) {
        let made = case.draw(&mut Draw::new(3));
        assert_eq!(made.len(), case.inputs.len());
        for (tensor, input) in made.iter().zip(&case.inputs) {
            assert_eq!(*tensor.ty(), input.ty, "{} {}", case.op.name(), case.name);
        }
    }
    let mut draw = Draw::new(3);
    let x = draw.between(&[1000], -1.0, 1.0);
    assert!(x.as_f32().iter().all(|x| (-1.0..1.0).contains(x)));
    let mean = x.as_f32().iter().sum::<f32>() / 1000.0;
    assert!(mean.abs() < 0.1 && x.as_f32()[0] != x.as_f32()[1], "{mean}");
}
