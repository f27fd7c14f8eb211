//! One page that holds its data and its program, to be opened from a disk: graph, memory, passes, kernels.

use super::Chosen;
use super::kernels::{FLOPS_PER_BYTE, Use, settings};
use super::subject::Subject;
use super::summary::{model, opens};
use seqloom::graph::{Graph, Memory, Source, Value};
use seqloom::op::Cost;
use seqloom::plan::{Binding, Pass, Place, Plan, padded};
use serde_json::{Value as Json, json};
use std::collections::BTreeMap;

const PAGE: &str = include_str!("page/page.html");
const STYLE: &str = include_str!("page/page.css");
/// One program in several files.
const SCRIPT: &str = concat!(
    include_str!("page/tree.js"),
    include_str!("page/layers.js"),
    include_str!("page/drawing.js"),
    include_str!("page/side.js"),
    include_str!("page/plan.js"),
    include_str!("page/main.js")
);

/// The page of some programs.
pub fn page(subject: &Subject, chosen: &[Chosen], uses: &[Use]) -> String {
    let opens = match opens(subject) {
        Ok(class) => format!("{class} opens it"),
        Err(why) => format!("has no class for {why}"),
    };
    let memory = &subject.planned.network().memory;
    let data = json!({
        "title": subject.title,
        "flops_per_byte": FLOPS_PER_BYTE,
        "facts": [["Model", model(subject)], ["Planned for", subject.device], ["Data", subject.data],
            ["Vocabulary", subject.tokens], ["transformers", opens]],
        "programs": chosen.iter().map(|c| program(c, uses, memory)).collect::<Vec<_>>(),
        "kernels": uses.iter().map(kernel).collect::<Vec<_>>(),
        "residents": memory.buffers().map(|(name, ty)| json!([name, ty.to_string(), padded(ty.bytes())])).collect::<Vec<_>>(),
    });
    // A name must not end the script that it stands in.
    let data = data.to_string().replace('<', "\\u003c");
    let page = PAGE.replacen("/* STYLE */", STYLE, 1).replacen("/* SCRIPT */", SCRIPT, 1);
    page.replacen("DATA", &data, 1)
}

fn kernel(u: &Use) -> Json {
    let l = &u.launch;
    json!({ "file": u.file, "shader": l.shader.name, "ops": u.ops, "variant": l.variant, "settings": settings(l),
        "passes": u.passes, "flops": u.cost.flops, "bytes": u.cost.bytes })
}

fn program(c: &Chosen, uses: &[Use], memory: &Memory) -> Json {
    let (plan, g) = (c.plan, &c.plan.graph);
    let passes = plan.passes.iter().enumerate().map(|(i, pass)| {
        let same = |u: &Use| u.launch.same_pipeline(&pass.launch);
        let submission = plan.submissions.iter().position(|s| s.passes.contains(&i));
        let l = &pass.launch;
        json!({ "op": pass.op, "scope": pass.scope, "node": pass.node, "backward": plan.is_backward(i),
            "kernel": uses.iter().position(same), "grid": l.grid, "run": l.run, "flops": pass.cost.flops,
            "bytes": pass.cost.bytes, "submission": submission,
            "bindings": pass.bindings.iter().map(|b| binding(b, plan, memory)).collect::<Vec<_>>() })
    });
    let passes: Vec<Json> = passes.collect();
    let at: BTreeMap<usize, usize> =
        plan.passes.iter().enumerate().filter_map(|(i, p): (usize, &Pass)| Some((p.node?, i))).collect();
    let nodes = plan.order.iter().map(|&node| {
        let n = &g.nodes()[node];
        let list = |values: &[Value]| values.iter().map(|&v| value(g, v, memory)).collect::<Vec<_>>();
        json!({ "id": node, "op": n.op.name(), "scope": n.scope, "backward": n.backward, "pass": at.get(&node),
            "inputs": list(&n.inputs), "outputs": list(&n.outputs) })
    });
    let lifetimes = plan.lifetimes().into_iter().map(|l| {
        let (name, ty) = match l.value {
            Some(v) => (g.name(v).to_string(), g.ty(v).to_string()),
            None => (format!("copy of {}", plan.passes[l.first].scope), String::new()),
        };
        json!([l.slot, name, ty, l.first, l.last, l.bytes])
    });
    let Cost { flops, bytes } = plan.cost();
    let inputs = plan.inputs.iter().map(|&v| json!([g.name(v), g.ty(v).to_string(), padded(g.ty(v).bytes())]));
    let outputs = plan.outputs.iter().map(|(name, _, ty)| json!([name, ty.to_string()]));
    json!({ "name": c.which.name(), "batch": c.batch(), "nodes": nodes.collect::<Vec<_>>(), "passes": passes,
        "slots": plan.slots, "lifetimes": lifetimes.collect::<Vec<_>>(), "live": plan.live_bytes(),
        "submissions": plan.submissions.len(), "flops": flops, "bytes": bytes,
        "inputs": inputs.collect::<Vec<_>>(), "outputs": outputs.collect::<Vec<_>>() })
}

/// Number of the value whose storage it is, its type, its name, and where it comes from if not from a node.
fn value(g: &Graph, v: Value, memory: &Memory) -> Json {
    let base = g.base(v);
    let from = match *g.source(base) {
        Source::Input => "input".into(),
        Source::Resident(buffer, _) => format!("resident {}", memory.name(buffer)),
        _ => String::new(),
    };
    json!([base.index(), g.ty(v).to_string(), g.name(v), from])
}

/// Where, how many bytes, and whether it is written.
fn binding(b: &Binding, plan: &Plan, memory: &Memory) -> Json {
    let place = match b.place {
        Place::Slot(slot) => format!("s{slot}"),
        Place::Input(input) => plan.graph.name(plan.inputs[input]).to_string(),
        Place::Resident(buffer, 0) => memory.name(buffer).to_string(),
        Place::Resident(buffer, offset) => format!("{}+{offset}", memory.name(buffer)),
    };
    json!([place, b.bytes, b.writable])
}
