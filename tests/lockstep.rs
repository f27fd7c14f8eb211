//! A training step on both executors: a sound one agrees in every pass, and what is planted is found where it was planted.

use pollster::block_on;
use seqloom::case::Draw;
use seqloom::device::Device;
use seqloom::gpu::{Gpu, Options, enumerate};
use seqloom::graph::Graph;
use seqloom::lockstep::{Check, Fault, play};
use seqloom::models::Architecture;
use seqloom::network::Network;
use seqloom::plan::Plan;
use seqloom::recipe::Recipe;
use seqloom::shader::Shaders;
use seqloom::tensor::Type;
use seqloom::text::batch::{Batches, Buckets, Example};
use seqloom::train::{Phase, Trainer};

const RECIPE: &str = r#"
[model]
d_model = 16
heads = 2
encoder_layers = 1
decoder_layers = 1
ffn = 32
dropout = 0.1
[data]
builtin = "phrasebook"
[train]
label_smoothing = 0.1
weight_decay = 0.01
"#;

const VOCABULARY: usize = 30;

fn gpu(shaders: Shaders) -> Gpu {
    let adapters = block_on(enumerate());
    let found = adapters.first().expect("these tests need a GPU or a software Vulkan driver; run scripts/test.sh");
    block_on(Gpu::open(found, Options { shaders, ..Options::default() })).expect("a device")
}

fn trainer(shaders: Shaders, set: &[&str]) -> Trainer {
    let set: Vec<String> = set.iter().map(|s| s.to_string()).collect();
    let recipe = Recipe::parse("lockstep", RECIPE, &set).expect("a recipe");
    let mut draw = Draw::new(5);
    let mut tokens = |n: usize| (0..n).map(|_| 4 + draw.below(VOCABULARY - 4) as u32).collect();
    let examples: Vec<Example> = (2..8).map(|n| Example::marked(tokens(n), tokens(9 - n))).collect();
    let batches = Batches::new(Buckets::choose(&examples, 0, 6, 1).expect("buckets"), examples).expect("batches");
    let device = Device::Gpu(Box::new(gpu(shaders)));
    let network = Network::new(device, Architecture::new(&recipe.model, VOCABULARY), 16, true).expect("a network");
    let mut trainer = block_on(Trainer::new(network, recipe, batches.clone(), batches)).expect("a trainer");
    // Not the first: moments are zeros there.
    block_on(trainer.step()).expect("a step");
    block_on(trainer.drain()).expect("finite");
    trainer
}

fn checks(trainer: &mut Trainer, fault: Option<Fault>) -> Vec<(Phase, Check)> {
    let plan = trainer.next_batches()[0].clone();
    let mut all = vec![];
    block_on(trainer.lockstep(&plan, fault, |phase, check| all.push((phase, check)))).expect("a step in lockstep");
    all
}

#[test]
fn both_executors_agree_in_every_pass() {
    for set in [
        &[][..],
        &["train.optimizer=sgd", "model.norm=pre", "model.activation=gelu", "train.accumulate=2"],
        &["model.positions=rotary", "model.tie_embeddings=false", "model.dropout=0"],
    ] {
        let all = checks(&mut trainer(Shaders::default(), set), None);
        let wrong: Vec<_> = all.iter().filter(|(_, check)| !check.passed()).collect();
        assert!(wrong.is_empty(), "{set:?}: {wrong:#?}");
        let passes = |phase: Phase| all.iter().filter(|(p, _)| *p == phase).count();
        let [forward, backward, update, evaluation] =
            [Phase::Forward, Phase::Backward, Phase::Update, Phase::Evaluation].map(passes);
        assert!(forward > 15 && backward > forward && update >= 4 && evaluation > 15, "{set:?}: {all:#?}");
        assert!(all.iter().all(|(_, check)| check.elements > 0));
        let seen = |op: &str, phase: Phase| all.iter().any(|(p, check)| *p == phase && check.op == op);
        assert!(seen("attention", Phase::Forward) && seen("attention", Phase::Evaluation));
        assert!(seen("attention_key_vjp", Phase::Backward) && !seen("attention_key_vjp", Phase::Forward));
        assert!(seen("clip", Phase::Update));
    }
}

#[test]
fn a_fault_is_found_where_it_was_planted() {
    let mut trainer = trainer(Shaders::default(), &[]);
    let faults = [
        ("embedding", 1, Phase::Forward),
        ("matmul", 1, Phase::Forward),
        ("attention", 2, Phase::Forward),
        ("cross_entropy", 1, Phase::Forward),
        ("add_norm_vjp", 1, Phase::Backward),
        ("attention_key_vjp", 3, Phase::Backward),
        ("embedding_vjp", 1, Phase::Backward),
        ("column_sum", 1, Phase::Backward),
        ("clip", 1, Phase::Update),
        ("adam", 1, Phase::Update),
        ("attention", 4, Phase::Evaluation),
    ];
    for (op, number, phase) in faults {
        let all = checks(&mut trainer, Some(Fault::new(op, number)));
        let nth = all.iter().enumerate().filter(|(_, (_, check))| check.op == op).nth(number - 1).expect("a pass").0;
        let found: Vec<usize> = (0..all.len()).filter(|&pass| !all[pass].1.passed()).collect();
        assert_eq!(found, [nth], "{op}:{number}: {:#?}", found.iter().map(|&pass| &all[pass]).collect::<Vec<_>>());
        let (at, check) = &all[nth];
        let (n, worst) = (check.worst.ty.elements(), &check.worst);
        assert!(*at == phase && check.planted && check.changed.is_none(), "{op}:{number}: {at:?} {check:?}");
        assert_eq!((worst.output, worst.index), (0, n / 2), "{op}:{number}");
        assert!((worst.have - worst.want).abs() > worst.bound, "{op}:{number}: {worst:?}");
        // A place in the flat buffers has a name.
        let element = trainer.element(check.place, worst.index);
        match op {
            "adam" => assert!(element.is_some_and(|e| e.starts_with("parameter model.")), "{op}:{number}"),
            "column_sum" => assert!(element.is_some_and(|e| e.starts_with("gradient of model.")), "{op}:{number}"),
            "attention" => assert_eq!(element, None, "{op}:{number}"),
            _ => {}
        }
    }
}

#[test]
fn a_fault_in_no_pass_is_refused() {
    let mut trainer = trainer(Shaders::default(), &[]);
    let plan = trainer.next_batches()[0].clone();
    let mut said = |fault| block_on(trainer.lockstep(&plan, Some(fault), |_, _| {})).expect_err("no pass").to_string();
    let unknown = said(Fault::new("matmull", 1));
    assert!(unknown.contains("matmull") && unknown.contains("matmul, ") && unknown.contains("adam"), "{unknown}");
    for number in [0, 2] {
        let beyond = said(Fault::new("clip", number));
        assert!(beyond.contains(&format!("clip:{number}")) && beyond.contains("1 passes"), "{beyond}");
    }
}

/// What people do in `shaders/`: each mistake is found in the first pass of its kernel, and in no other kernel's.
#[test]
fn a_broken_shader_is_named() {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/shaders");
    let mistakes = [
        // A comparison, an index, an off-by-one.
        ("relu_vjp", "y[i] > vec4(0.0)", "y[i] >= vec4(0.0)"),
        ("add_norm", "w[q], b[q]", "w[q], b[0]"),
        ("column_sum", "t < 8u", "t < 7u"),
    ];
    for (name, from, to) in mistakes {
        let text = std::fs::read_to_string(format!("{directory}/{name}.wgsl")).expect("a shader");
        assert!(text.contains(from), "{name} holds no {from}");
        let shaders = Shaders::replace(vec![(format!("{name}.wgsl"), text.replace(from, to))]);
        let all = checks(&mut trainer(shaders, &[]), None);
        let wrong: Vec<&str> = all.iter().filter(|(_, check)| !check.passed()).map(|(_, check)| check.op).collect();
        assert!(!wrong.is_empty() && wrong.iter().all(|op| *op == name), "{name}: {wrong:?}");
    }
}

/// A plan in which a value is overwritten while it is still needed: every kernel is right, and yet the step is wrong.
#[test]
fn an_overwritten_value_is_named() {
    let mut g = Graph::new();
    let x = g.input("x", Type::f32([40]));
    let (a, b) = (g.relu(x), g.tanh(x));
    let y = g.add(a, b);
    g.output("y", y);
    let mut gpu = gpu(Shaders::default());
    let mut plan = Plan::new(g, gpu.limits()).expect("a plan");
    let place = plan.passes[0].bindings[1].place;
    assert_ne!(plan.passes[1].bindings[1].place, place, "the planner keeps them apart");
    plan.passes[1].bindings[1].place = place;
    plan.passes[2].bindings[1].place = place;
    let program = block_on(gpu.load(vec![plan])).expect("kernels");
    let fed = Draw::new(1).tensor(&[40]);
    let mut all = vec![];
    block_on(play(&mut gpu, program, &[("x", &fed)], None, |_, check| all.push(check))).expect("three passes");
    assert!(all.iter().all(|check| check.worst.ratio <= 1.0), "{all:#?}");
    assert!(all[0].passed() && all[1].passed() && !all[2].passed(), "{all:#?}");
    let changed = all[2].changed.as_ref().expect("a changed input");
    let first = fed.as_f32()[0] as f64;
    assert!(changed.value.starts_with("relu ") && changed.index == 0, "{changed:?}");
    assert!(changed.was == first.max(0.0) && (changed.is - first.tanh()).abs() <= 1e-6, "{changed:?} {first}");
}

/// With a character CNN before either kind of encoder: no pass of it or of its gradients is out of bounds, and what is planted
/// in it is found.
#[test]
fn a_character_cnn_agrees_in_every_pass() {
    let cnn = "model.char_cnn={ widths = [1, 2, 5], filters = 4, highway = 2, embedding = 6 }";
    for kind in [&[][..], &["model.kind=seq2seq", "model.hidden=12", "model.embedding=16"]] {
        let set = [&["tokenizer.kind=char", cnn], kind].concat();
        let all = checks(&mut trainer(Shaders::default(), &set), None);
        let wrong: Vec<_> = all.iter().filter(|(_, check)| !check.passed()).collect();
        assert!(wrong.is_empty(), "{set:?}: {wrong:#?}");
        let count = |op: &str, phase: Phase| all.iter().filter(|(p, check)| *p == phase && check.op == op).count();
        assert_eq!([count("unfold", Phase::Forward), count("highway", Phase::Forward)], [2, 2], "{set:?}");
        assert!(count("highway_vjp", Phase::Backward) >= 2 && count("fold", Phase::Backward) >= 1, "{set:?}");
        // The decoder's own, and the characters'.
        assert_eq!(count("embedding_vjp", Phase::Backward), 2, "{set:?}");
    }
    let mut trainer = trainer(Shaders::default(), &["tokenizer.kind=char", cnn]);
    let all = checks(&mut trainer, Some(Fault::new("unfold", 2)));
    let wrong: Vec<&str> = all.iter().filter(|(_, check)| !check.passed()).map(|(_, check)| check.op).collect();
    assert_eq!(wrong, ["unfold"]);
}
