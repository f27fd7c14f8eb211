//! Convolutions over time, the maximum over time, highway layers and whole character CNNs against PyTorch's numbers
//! (tests/golden/char_cnn.py makes them), values and gradients, by every executor. And what padding may not change.

mod device;
mod golden;

use pollster::block_on;
use seqloom::case::Draw;
use seqloom::cpu::{Cpu, Mode};
use seqloom::device::Device;
use seqloom::grad::vjp;
use seqloom::graph::{Graph, Memory, Value};
use seqloom::models::Tokens;
use seqloom::models::char_cnn::CharCnn;
use seqloom::ops::embedding::by_token;
use seqloom::parameters::{Init, Parameters};
use seqloom::plan::Plan;
use seqloom::recipe::Pool;
use seqloom::tensor::{Tensor, Type};
use std::collections::HashMap;

/// Tensors by name.
type Tensors = HashMap<String, Tensor>;

/// The stored tensors of one name.
fn golden(of: &str) -> Tensors {
    let own = golden::Golden::of("char_cnn", of).0;
    assert!(own.contains_key("y"), "nothing is stored of {of}");
    own
}

fn input(g: &mut Graph, stored: &Tensors, name: &str) -> Value {
    g.input(name, stored[name].ty().clone())
}

/// Adds y and, given its cotangent, the gradients of these values as outputs.
fn outputs(g: &mut Graph, stored: &Tensors, y: Value, wrt: &[(&str, Value)]) {
    g.output("y", y);
    let dy = input(g, stored, "dy");
    let values: Vec<Value> = wrt.iter().map(|w| w.1).collect();
    for ((name, _), dx) in wrt.iter().zip(vjp(g, &[(y, dy)], &values)) {
        g.output(&format!("d{name}"), dx);
    }
}

/// The outputs of a graph by every executor. Its inputs and parameters are among `stored`.
fn everywhere(g: &Graph, parameters: Option<(&Parameters, &Memory)>, stored: &Tensors) -> Vec<(&'static str, Tensors)> {
    let feeds: Vec<(&str, &Tensor)> =
        stored.iter().filter(|(name, _)| g.find_input(name).is_some()).map(|(name, t)| (name.as_str(), t)).collect();
    let cpu = |mode| Device::Cpu(Cpu::new(mode));
    let devices = [
        ("definition", cpu(Mode::Definition)),
        ("fast CPU path", cpu(Mode::Fast)),
        ("GPU", Device::Gpu(Box::new(device::open()))),
    ];
    let run = |(executor, mut device): (&'static str, Device)| {
        if let Some((parameters, memory)) = parameters {
            device.allocate(memory);
            let tensor =
                |e: &seqloom::parameters::Entry| (e.declaration.name.clone(), stored[&e.declaration.name].clone());
            let tensors: Vec<(String, Tensor)> = parameters.entries.iter().map(tensor).collect();
            parameters.write(&mut device, "golden", &tensors, |shard| shard.values).expect("they fit");
        }
        let plan = Plan::new(g.clone(), &device.limits()).expect("small values");
        let program = block_on(device.load(vec![plan])).expect("shaders compile");
        device.run(program, &feeds);
        let read =
            |(name, _): &(String, Value)| (name.clone(), block_on(device.read(program, name)).expect("a result"));
        (executor, g.outputs().iter().map(read).collect())
    };
    devices.map(run).into()
}

/// Compares every output with the stored tensor of its name: to 2e-6 of the largest.
#[track_caller]
fn check(what: &str, g: &Graph, parameters: Option<(&Parameters, &Memory)>, stored: &Tensors) {
    for (executor, outputs) in everywhere(g, parameters, stored) {
        for (name, have) in outputs {
            let want = &stored[&name];
            assert_eq!(have.ty(), want.ty(), "{what}: {name}");
            let largest = want.as_f32().iter().fold(0.0, |m: f64, w| m.max(w.abs() as f64));
            assert!(largest > 0.0, "{what}: {name} is all zeros");
            let bound = 2e-6 * largest;
            for (i, (h, w)) in have.as_f32().iter().zip(want.as_f32()).enumerate() {
                let apart = (*h as f64 - *w as f64).abs();
                // What is beyond a row's end is zero, not almost; a gate that PyTorch sees shut leaves 2e-38.
                let bound = if *w == 0.0 { 1e-30 } else { bound };
                assert!(apart <= bound, "{what}: {name}[{i}] by {executor}: {h}, PyTorch {w}, bound {bound:e}");
            }
        }
    }
}

#[test]
fn conv1d() {
    for name in ["valid", "one", "same_odd", "same_even", "strided", "uneven", "frames"] {
        let stored = golden(&format!("conv1d_{name}"));
        let mut g = Graph::new();
        let [x, w, b, lengths] = ["x", "weight", "bias", "lengths"].map(|name| input(&mut g, &stored, name));
        let window: Vec<usize> = stored["window"].as_u32().iter().map(|&n| n as usize).collect();
        let y = g.conv1d(x, w, Some(b), lengths, window[0], [window[1], window[2]]);
        outputs(&mut g, &stored, y, &[("x", x), ("weight", w), ("bias", b)]);
        check(name, &g, None, &stored);
    }
}

#[test]
fn max_pool() {
    let stored = golden("max_pool");
    let mut g = Graph::new();
    let [x, lengths] = ["x", "lengths"].map(|name| input(&mut g, &stored, name));
    let y = g.max_pool(x, lengths);
    outputs(&mut g, &stored, y, &[("x", x)]);
    check("max_pool", &g, None, &stored);
}

#[test]
fn highway() {
    let stored = golden("highway");
    let mut g = Graph::new();
    let [x, h, t] = ["x", "h", "t"].map(|name| input(&mut g, &stored, name));
    let y = g.highway(x, h, t);
    outputs(&mut g, &stored, y, &[("x", x), ("h", h), ("t", t)]);
    check("highway", &g, None, &stored);
}

fn words_model() -> CharCnn {
    let (widths, filters) = (vec![1, 2, 3, 5], vec![4, 3, 6, 5]);
    CharCnn { chars: 9, embedding: 4, widths, filters, highway: 2, out: 8, pool: Pool::Word }
}

fn sequence_model() -> CharCnn {
    let (widths, filters) = (vec![1, 4, 3], vec![4, 3, 5]);
    CharCnn { chars: 9, embedding: 4, widths, filters, highway: 1, out: 6, pool: Pool::None }
}

/// A model's graph on the characters of `stored`, with all gradients where it has a cotangent.
fn graph(model: &CharCnn, of_words: bool, stored: &mut Tensors) -> (Graph, Parameters, Memory) {
    let order = by_token(stored["ids"].as_u32(), model.chars);
    stored.insert("by_token".into(), Tensor::u32([order.len()], order));
    let (mut g, mut memory) = (Graph::new(), Memory::default());
    let parameters = Parameters::new(model.declarations(), &mut memory, 1 << 27, false).expect("small parameters");
    let w = parameters.bind(&mut g);
    let [ids, lengths, by_token] = ["ids", "lengths", "by_token"].map(|name| input(&mut g, stored, name));
    // Those of words are stored as if each were a row.
    let chars = Tokens { ids, lengths, by_token, letters: of_words.then_some(lengths) };
    let y = if of_words { model.words(&mut g, &w, chars) } else { model.sequence(&mut g, &w, chars) };
    let names: Vec<&str> = parameters.entries.iter().map(|e| e.declaration.name.as_str()).collect();
    let wrt: Vec<(&str, Value)> = names.iter().map(|name| (*name, w.get(name))).collect();
    match stored.contains_key("dy") {
        true => outputs(&mut g, stored, y, &wrt),
        false => g.output("y", y),
    }
    (g, parameters, memory)
}

#[test]
fn the_character_cnn_of_words() {
    let mut stored = golden("words");
    let (g, parameters, memory) = graph(&words_model(), true, &mut stored);
    check("words", &g, Some((&parameters, &memory)), &stored);
}

#[test]
fn the_character_cnn_of_a_sequence() {
    let mut stored = golden("sequence");
    let (g, parameters, memory) = graph(&sequence_model(), false, &mut stored);
    check("sequence", &g, Some((&parameters, &memory)), &stored);
}

/// The gradients of seven convolutions' inputs are added up by the kernels that compute them.
#[test]
fn the_embeddings_gradient_is_summed_in_place() {
    let mut stored = golden("words");
    let (g, ..) = graph(&words_model(), true, &mut stored);
    let plan = Plan::new(g, &Default::default()).expect("small values");
    let count = |op: &str| plan.passes.iter().filter(|p| p.op == op).count();
    // Of the widths 1, 2, 3 and 5 the first needs no windows.
    assert_eq!((count("unfold"), count("fold"), count("max_pool"), count("add")), (3, 3, 4, 0), "{plan}");
}

/// Whatever stands beyond a row's end, and however much of it, its values and gradients are the same to the last bit.
#[test]
fn padding_changes_no_row() {
    for (model, of_words) in [(words_model(), true), (sequence_model(), false)] {
        let mut stored = golden(if of_words { "words" } else { "sequence" });
        stored.remove("dy");
        let (g, parameters, memory) = graph(&model, of_words, &mut stored);
        let before = everywhere(&g, Some((&parameters, &memory)), &stored);

        // Five more characters a row, all of them drawn where there are none.
        let (ids, lengths) = (stored["ids"].clone(), stored["lengths"].clone());
        let (mut dims, mut draw) = (ids.ty().dims.clone(), Draw::new(8));
        let narrow = dims.pop().expect("a dimension");
        dims.push(narrow + 5);
        let mut wide = draw.ids(&dims, model.chars);
        for (row, &length) in lengths.as_u32().iter().enumerate() {
            let from = &ids.as_u32()[row * narrow..][..length as usize];
            wide.as_u32_mut()[row * (narrow + 5)..][..length as usize].copy_from_slice(from);
        }
        stored.insert("ids".into(), wide);
        let (g, parameters, memory) = graph(&model, of_words, &mut stored);
        let after = everywhere(&g, Some((&parameters, &memory)), &stored);
        for ((executor, before), (_, after)) in before.iter().zip(&after) {
            let (before, after) = (&before["y"], &after["y"]);
            if of_words {
                assert_eq!(before, after, "words by {executor}");
                continue;
            }
            let row = |t: &Tensor, r: usize, n: usize| t.as_f32()[r * t.ty().elements() / 3..][..n].to_vec();
            for (r, length) in lengths.as_u32().iter().enumerate() {
                let n = *length as usize * model.out;
                assert_eq!(row(before, r, n), row(after, r, n), "row {r} by {executor}");
                let beyond = &row(after, r, (narrow + 5) * model.out)[n..];
                assert!(beyond.iter().all(|v| *v == 0.0), "row {r} by {executor}: {beyond:?}");
            }
        }
    }
}

#[test]
fn parameters_start_as_they_should() {
    let (widths, filters) = (vec![3, 4], vec![50, 20]);
    let model = CharCnn { chars: 40, embedding: 32, widths, filters, highway: 1, out: 16, pool: Pool::None };
    assert_eq!(model.channels(), 70);
    let all = model.declarations();
    let of = |name: &str| all.iter().find(|d| d.name == format!("char_cnn.{name}")).expect("a declaration");
    assert_eq!(of("embedding.weight").dims, [40, 32]);
    assert_eq!(of("convolutions.1.weight").dims, [20, 32, 4]);
    assert_eq!(of("highway.0.transform.bias").init, Init::Constant(-2.0));
    assert_eq!(of("highway.0.hidden.bias").init, Init::Constant(0.0));
    assert_eq!(of("projection.weight").dims, [16, 70]);

    let parameters = Parameters::new(all, &mut Memory::default(), 1 << 27, false).expect("small parameters");
    let initial: Tensors = parameters.initial(1).into_iter().collect();
    let weights = initial["char_cnn.convolutions.0.weight"].as_f32();
    // torch.nn.init.xavier_uniform_ counts K inputs and K outputs for each channel.
    let range = (6.0 / (3.0 * (32.0 + 50.0f32))).sqrt();
    let largest = weights.iter().fold(0.0, |m: f32, w| m.max(w.abs()));
    assert!(largest <= range && largest > 0.99 * range, "{largest}, expected {range}");
}

#[test]
#[should_panic(expected = "a window of 5 does not fit into 3 times with [0, 1] zeros")]
fn a_window_that_does_not_fit_is_told() {
    let mut g = Graph::new();
    let x = g.input("x", Type::f32([2, 3, 4]));
    let w = g.input("w", Type::f32([6, 4, 5]));
    let lengths = g.input("lengths", Type::u32([2]));
    g.conv1d(x, w, None, lengths, 1, [0, 1]);
}
