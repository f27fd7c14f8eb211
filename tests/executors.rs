//! The GPU executor against the definitions, program by program; and what running a program must not do.

mod device;
mod random;

use pollster::block_on;
use random::{Random, seed};
use seqloom::case::Draw;
use seqloom::cpu::{Cpu, Mode};
use seqloom::gpu::{Gpu, Options, enumerate};
use seqloom::grad::grad;
use seqloom::graph::{Graph, Memory, Resident, Value};
use seqloom::ops::cross_entropy::IGNORE;
use seqloom::ops::matmul::Activation;
use seqloom::ops::positions::sinusoids;
use seqloom::plan::{Limits, Plan};
use seqloom::shader::Shaders;
use seqloom::tensor::{DType, Tensor, Type};

type Feeds = Vec<(String, Tensor)>;

fn load(gpu: &mut Gpu, graphs: Vec<Graph>) -> usize {
    let plans = graphs.into_iter().map(|g| Plan::new(g, gpu.limits()).expect("small values")).collect();
    block_on(gpu.load(plans)).unwrap_or_else(|e| panic!("{e}"))
}

fn run(gpu: &mut Gpu, program: usize, feeds: &Feeds) {
    let feeds: Vec<(&str, &Tensor)> = feeds.iter().map(|(name, t)| (name.as_str(), t)).collect();
    gpu.run(program, &feeds);
}

/// Every output of a program's last run.
fn read(gpu: &Gpu, program: usize) -> Vec<(String, Tensor)> {
    let names: Vec<String> = gpu.plan(program).outputs.iter().map(|o| o.0.clone()).collect();
    names.into_iter().map(|name| (name.clone(), block_on(gpu.read(program, &name)).expect("a result"))).collect()
}

fn bits(outputs: &[(String, Tensor)]) -> Vec<(String, Vec<u8>)> {
    outputs.iter().map(|(name, t)| (name.clone(), t.bytes().to_vec())).collect()
}

/// Compares with the definitions' result: `relative` of its largest element, and something for sums that cancel.
#[track_caller]
fn assert_near(have: &Tensor, want: &Tensor, relative: f64, absolute: f64, what: &str) {
    assert_eq!(have.ty(), want.ty(), "{what}");
    if want.ty().dtype == DType::U32 {
        return assert_eq!(have.as_u32(), want.as_u32(), "{what}");
    }
    let largest = want.as_f32().iter().fold(0.0, |m: f64, w| m.max(w.abs() as f64));
    for (i, (h, w)) in have.as_f32().iter().zip(want.as_f32()).enumerate() {
        let diff = (*h as f64 - *w as f64).abs();
        assert!(diff <= relative * largest + absolute, "{what}[{i}]: {h}, not {w} (largest {largest})");
    }
}

/// A Transformer layer with its loss and gradient, the gradient stored: sizes that some kernels like and some do not.
struct Block {
    graph: Graph,
    memory: Memory,
    parameters: (Resident, Tensor),
    gradients: Resident,
    feeds: Feeds,
    /// Offset and length of each parameter.
    ranges: Vec<(usize, usize)>,
}

fn block(every_value: bool, batch: usize, time: usize) -> Block {
    let (width, heads, vocabulary) = (32, 4, 50);
    let mut draw = Draw::new(3);
    let shapes: [&[usize]; 12] = [
        &[vocabulary, width],
        &[width, width],
        &[width],
        &[width, width],
        &[width, width],
        &[width, width],
        &[width],
        &[width],
        &[70, width],
        &[70],
        &[width, 70],
        &[width],
    ];
    let mut ranges: Vec<(usize, usize)> = vec![];
    let mut end = 0;
    for dims in shapes {
        let n: usize = dims.iter().product();
        ranges.push((end, n));
        end += n.next_multiple_of(64);
    }
    let mut memory = Memory::default();
    let [parameters, gradients] = ["parameters", "gradients"].map(|name| memory.declare(name, Type::f32([end])));
    let numbers = draw.tensor(&[end]).as_f32().iter().map(|x| 0.3 * x).collect();
    let numbers = Tensor::f32([end], numbers);

    let tokens = batch * time;
    let ids = draw.ids(&[batch, time], vocabulary);
    let mut by_token: Vec<u32> =
        (0..=vocabulary).map(|v| ids.as_u32().iter().filter(|id| (**id as usize) < v).count() as u32).collect();
    let mut sorted: Vec<u32> = (0..tokens as u32).collect();
    sorted.sort_by_key(|n| ids.as_u32()[*n as usize]);
    by_token.extend(sorted);
    let mut targets = draw.ids(&[tokens], vocabulary);
    targets.as_u32_mut()[tokens - 1] = IGNORE;
    let lengths = (0..batch).map(|b| (time - b % time) as u32).collect();
    let feeds: Feeds = [
        ("ids", ids),
        ("by_token", Tensor::u32([by_token.len()], by_token)),
        ("targets", targets),
        ("lengths", Tensor::u32([batch], lengths)),
        ("weight", Tensor::f32([1], vec![1.0 / tokens as f32])),
        ("table", sinusoids(time, width)),
        ("start", Tensor::u32([1], vec![0])),
    ]
    .map(|(name, t)| (name.to_string(), t))
    .into();

    let mut g = Graph::new();
    let p: Vec<Value> = shapes
        .iter()
        .zip(&ranges)
        .map(|(dims, (offset, _))| g.resident("parameter", parameters, *offset, Type::f32(*dims)))
        .collect();
    let x: Vec<Value> = feeds.iter().map(|(name, t)| g.input(name, t.ty().clone())).collect();
    let [ids, by_token, targets, lengths, weight, table, start] = x[..] else { panic!("seven inputs") };
    let loss = g.scoped("block", |g| {
        let x = g.embedding(ids, p[0], by_token, 2.0);
        let x = g.positions(x, table, start);
        let q = g.linear(x, p[1], Some(p[2]), Activation::None);
        let k = g.linear(x, p[3], None, Activation::None);
        let v = g.linear(x, p[4], None, Activation::None);
        let scores = g.attention_scores(q, k, heads);
        let weights = g.softmax(scores, lengths, 1.0 / 8f32.sqrt(), true);
        let context = g.attention_context(weights, v, heads);
        let out = g.linear(context, p[5], None, Activation::None);
        let sum = g.add(x, out);
        let h = g.layer_norm(sum, p[6], p[7], 1e-5);
        let f = g.linear(h, p[8], Some(p[9]), Activation::Tanh);
        let f = g.linear(f, p[10], Some(p[11]), Activation::None);
        let h = g.add(h, f);
        let rows = g.reshape(h, &[tokens, width]);
        let logits = g.linear(rows, p[0], None, Activation::None);
        let (loss, nll) = g.cross_entropy(logits, targets, weight, 0.1, true);
        let nll = g.sum(nll);
        g.output("nll", nll);
        g.sum(loss)
    });
    g.output("loss", loss);
    for (dp, (value, (offset, _))) in grad(&mut g, loss, &p).into_iter().zip(p.iter().zip(&ranges)) {
        let ty = g.ty(*value).clone();
        let to = g.resident("gradient", gradients, *offset, ty);
        g.store(dp, to);
    }
    if every_value {
        for (i, node) in g.nodes().to_vec().iter().enumerate() {
            for (o, y) in node.outputs.iter().enumerate() {
                g.output(&format!("{i}.{} output {o}", node.op.name()), *y);
            }
        }
    }
    Block { graph: g, memory, parameters: (parameters, numbers), gradients, feeds, ranges }
}

impl Block {
    /// A GPU with this block as its only program.
    fn on_gpu(&self) -> Gpu {
        let mut gpu = device::open();
        gpu.allocate(&self.memory);
        gpu.write_resident(self.parameters.0, 0, &self.parameters.1);
        load(&mut gpu, vec![self.graph.clone()]);
        gpu
    }

    fn gradient(&self, gpu: &Gpu) -> Tensor {
        block_on(gpu.read_resident(self.gradients, 0, self.parameters.1.ty().elements())).expect("a result")
    }

    /// Outputs and gradients by the definitions.
    fn defined(&self) -> (Vec<(String, Tensor)>, Tensor) {
        let mut cpu = Cpu::new(Mode::Definition);
        cpu.allocate(&self.memory);
        cpu.write_resident(self.parameters.0, 0, &self.parameters.1);
        let program = cpu.load(vec![Plan::new(self.graph.clone(), &Limits::default()).expect("small values")]);
        let feeds: Vec<(&str, &Tensor)> = self.feeds.iter().map(|(name, t)| (name.as_str(), t)).collect();
        cpu.run(program, &feeds);
        let names = self.graph.outputs().iter().map(|o| o.0.clone());
        let outputs = names.map(|name| (name.clone(), cpu.read(program, &name))).collect();
        (outputs, cpu.read_resident(self.gradients, 0, self.parameters.1.ty().elements()))
    }
}

#[test]
fn random_graphs_agree_with_the_definitions() {
    let seed = seed();
    let mut gpu = device::open();
    for i in 0..40 {
        println!("graph {i}");
        let random = Random::new(&mut Draw::new(seed * 1000 + i), 4 + i as usize % 20, true);
        let (outputs, after) = random.naive();
        // One device for all: the buffers of each graph's memory have the same types.
        gpu.allocate(&random.memory);
        for (r, tensor) in &random.contents {
            gpu.write_resident(*r, 0, tensor);
        }
        let program = load(&mut gpu, vec![random.graph.clone()]);
        run(&mut gpu, program, &random.feeds);
        // The values are of the order of one; rounding grows where sums cancel or norms divide by little.
        for (name, have) in read(&gpu, program) {
            assert_near(&have, &outputs[&name], 1e-3, 1e-3, &name);
        }
        for ((r, before), want) in random.contents.iter().zip(&after) {
            let have = block_on(gpu.read_resident(*r, 0, before.ty().elements())).expect("a result");
            assert_near(&have, want, 1e-3, 1e-3, &format!("{r:?}"));
        }
    }
}

#[test]
fn a_block_and_its_gradient_agree_with_the_definitions() {
    for (every_value, batch, time) in [(false, 2, 9), (true, 2, 9), (true, 3, 12)] {
        let block = block(every_value, batch, time);
        let (outputs, gradient) = block.defined();
        let mut gpu = block.on_gpu();
        run(&mut gpu, 0, &block.feeds);
        // In the order of the graph: the first that differs is where the mistake is.
        for ((name, have), (_, want)) in read(&gpu, 0).iter().zip(&outputs) {
            assert_near(have, want, 2e-5, 1e-6, name);
        }
        let have = block.gradient(&gpu);
        for (i, (offset, n)) in block.ranges.iter().enumerate() {
            let (have, want) = (have.range(*offset, *n), gradient.range(*offset, *n));
            assert!(want.as_f32().iter().any(|g| g.abs() > 1e-4), "the gradient of parameter {i} is nothing");
            assert_near(&have, &want, 2e-5, 1e-6, &format!("the gradient of parameter {i}"));
        }
    }
}

#[test]
fn runs_repeat_their_bits_and_leave_nothing_behind() {
    let block = block(false, 2, 9);
    let mut gpu = block.on_gpu();
    run(&mut gpu, 0, &block.feeds);
    let first = (bits(&read(&gpu, 0)), block.gradient(&gpu));
    let counters = gpu.counters();
    assert!(counters.buffers > 5 && counters.bind_groups > 20 && counters.pipelines > 10, "{counters:?}");
    for i in 0..20 {
        run(&mut gpu, 0, &block.feeds);
        if i % 5 == 0 {
            assert_eq!((bits(&read(&gpu, 0)), block.gradient(&gpu)), first, "run {i}");
        }
        if i % 10 == 0 {
            let stamps = gpu.run_timed(0, &[]).expect("timestamps");
            block_on(gpu.times(stamps)).expect("timestamps");
        }
    }
    assert_eq!((bits(&read(&gpu, 0)), block.gradient(&gpu)), first);
    assert_eq!(gpu.counters(), counters);
    gpu.check().expect("no error meanwhile");
}

#[test]
fn small_submissions_give_the_same_bits() {
    let block = block(false, 2, 9);
    let mut gpu = block.on_gpu();
    run(&mut gpu, 0, &block.feeds);
    assert_eq!(gpu.submissions(), 1);
    let want = (bits(&read(&gpu, 0)), block.gradient(&gpu));
    let limits = Limits { submission_flops: 30_000, ..gpu.limits().clone() };
    let plan = Plan::new(block.graph.clone(), &limits).expect("small values");
    let submissions = plan.submissions.len() as u64;
    assert!(submissions > 3, "{submissions} submissions");
    let program = block_on(gpu.load(vec![plan])).expect("shaders compile");
    gpu.write_resident(block.gradients, 0, &Tensor::zeros(block.parameters.1.ty()));
    run(&mut gpu, program, &block.feeds);
    assert_eq!(gpu.submissions(), 1 + submissions);
    assert_eq!((bits(&read(&gpu, program)), block.gradient(&gpu)), want);
}

#[test]
fn programs_that_share_buffers_do_not_disturb_each_other() {
    let [small, large] = [(2, 5), (3, 12)].map(|(batch, time)| block(false, batch, time));
    let alone = |block: &Block| {
        let mut gpu = block.on_gpu();
        run(&mut gpu, 0, &block.feeds);
        (bits(&read(&gpu, 0)), block.gradient(&gpu))
    };
    let want = [alone(&small), alone(&large)];
    assert_ne!(want[0].0, want[1].0);

    let mut gpu = device::open();
    gpu.allocate(&small.memory);
    gpu.write_resident(small.parameters.0, 0, &small.parameters.1);
    let separate = {
        let mut gpu = device::open();
        gpu.allocate(&small.memory);
        load(&mut gpu, vec![small.graph.clone()]);
        load(&mut gpu, vec![large.graph.clone()]);
        gpu.counters().buffers
    };
    let first = load(&mut gpu, vec![small.graph.clone(), large.graph.clone()]);
    assert!(gpu.counters().buffers < separate, "{} buffers, {separate} with separate pools", gpu.counters().buffers);
    assert_eq!(
        (first, gpu.plan(first + 1).slots.len()),
        (0, Plan::new(large.graph.clone(), gpu.limits()).expect("small values").slots.len())
    );
    for round in 0..3 {
        for (program, block) in [&small, &large].into_iter().enumerate() {
            // What was fed stays: only the first round feeds.
            let none = vec![];
            run(&mut gpu, program, if round == 0 { &block.feeds } else { &none });
            assert!(
                (bits(&read(&gpu, program)), block.gradient(&gpu)) == want[program],
                "program {program}, round {round}"
            );
        }
    }
}

#[test]
fn every_pass_is_timed() {
    let block = block(false, 2, 9);
    let mut gpu = block.on_gpu();
    let feeds: Vec<(&str, &Tensor)> = block.feeds.iter().map(|(name, t)| (name.as_str(), t)).collect();
    let stamps = gpu.run_timed(0, &feeds).expect("timestamps");
    let times = block_on(gpu.times(stamps)).expect("timestamps");
    assert_eq!(times.len(), gpu.plan(0).passes.len());
    assert!(times.iter().all(|[begin, end]| begin < end && *end < 10.0), "{times:?}");
    assert!(times.windows(2).all(|two| two[0][1] <= two[1][0]), "{times:?}");
    // It computes what a run computes.
    let profiled = (bits(&read(&gpu, 0)), block.gradient(&gpu));
    run(&mut gpu, 0, &block.feeds);
    assert_eq!((bits(&read(&gpu, 0)), block.gradient(&gpu)), profiled);
}

#[test]
fn resident_buffers_hold_what_is_written() {
    let mut memory = Memory::default();
    let numbers = memory.declare("numbers", Type::f32([100]));
    let words = memory.declare("words", Type::u32([7]));
    let (mut gpu, mut cpu) = (device::open(), Cpu::new(Mode::Fast));
    gpu.allocate(&memory);
    cpu.allocate(&memory);
    let read = |gpu: &Gpu, cpu: &Cpu, r, start, length| {
        let have = block_on(gpu.read_resident(r, start, length)).expect("a result");
        assert_eq!(have.bytes(), cpu.read_resident(r, start, length).bytes(), "{r:?} from {start}");
        have
    };
    assert_eq!(read(&gpu, &cpu, numbers, 0, 100), Tensor::zeros(&Type::f32([100])));
    assert_eq!(read(&gpu, &cpu, words, 0, 7), Tensor::zeros(&Type::u32([7])));
    // Bits come back as they were, those of -0, of NaN and of a subnormal too.
    let odd = Tensor::f32([4], vec![-0.0, f32::from_bits(0x7fc0_1234), f32::MIN_POSITIVE / 2.0, f32::INFINITY]);
    let plain = Tensor::f32([3], vec![1.5, -2.5, 3.5]);
    let ids = Tensor::u32([2], vec![u32::MAX, 5]);
    for (r, start, tensor) in [(numbers, 33, &odd), (numbers, 97, &plain), (words, 5, &ids)] {
        gpu.write_resident(r, start, tensor);
        cpu.write_resident(r, start, tensor);
        assert_eq!(read(&gpu, &cpu, r, start, tensor.ty().elements()).bytes(), tensor.bytes());
    }
    assert_eq!(read(&gpu, &cpu, words, 4, 3).as_u32(), [0, u32::MAX, 5]);
    // A buffer that is declared later leaves the others as they are.
    let more = memory.declare("more", Type::f32([5]));
    gpu.allocate(&memory);
    cpu.allocate(&memory);
    assert_eq!(read(&gpu, &cpu, numbers, 96, 4).as_f32(), [0.0, 1.5, -2.5, 3.5]);
    assert_eq!(read(&gpu, &cpu, more, 0, 5).as_f32(), [0.0; 5]);
}

fn doubled() -> Graph {
    let mut g = Graph::new();
    let x = g.input("x", Type::f32([5]));
    let y = g.scale(x, 2.0);
    g.output("y", y);
    g
}

#[test]
#[should_panic(expected = "there is no input z")]
fn an_input_that_does_not_exist_is_refused() {
    let mut gpu = device::open();
    let program = load(&mut gpu, vec![doubled()]);
    gpu.run(program, &[("z", &Tensor::zeros(&Type::f32([5])))]);
}

#[test]
#[should_panic(expected = "input x")]
fn an_input_of_another_type_is_refused() {
    let mut gpu = device::open();
    let program = load(&mut gpu, vec![doubled()]);
    gpu.run(program, &[("x", &Tensor::zeros(&Type::f32([6])))]);
}

/// `--shaders DIR`: what lies there runs, and what is wrong with it is said before a driver sees it.
#[test]
fn replaced_shaders_run_or_say_what_is_wrong() {
    let good = include_str!("../shaders/scale.wgsl");
    let load = |text: String| {
        let shaders = Shaders::replace([("scale.wgsl".to_string(), text)]);
        let found = block_on(enumerate());
        let options = Options { shaders, portable: true, ..Options::default() };
        let mut gpu = block_on(Gpu::open(found.first().expect("an adapter"), options)).expect("a device");
        let plan = Plan::new(doubled(), gpu.limits()).expect("small values");
        block_on(gpu.load(vec![plan])).map(|program| (gpu, program))
    };
    let x = Tensor::f32([5], vec![1.0, -2.0, 3.0, 0.5, 7.0]);
    let line = good.lines().position(|l| l.contains("SCALE *")).expect("the product") + 1;
    let (mut gpu, program) = load(good.replace("SCALE *", "10.0 * SCALE *")).unwrap_or_else(|e| panic!("{e}"));
    gpu.run(program, &[("x", &x)]);
    let y = block_on(gpu.read(program, "y")).expect("a result");
    assert_eq!(y.as_f32(), [20.0, -40.0, 60.0, 10.0, 140.0]);

    let error = load(good.replace("SCALE *", "SKALE *")).map(|_| ()).expect_err("a mistake was planted").to_string();
    assert!(error.starts_with(&format!("scale.wgsl:{line}:")) && error.contains("SKALE"), "{error}");
}
