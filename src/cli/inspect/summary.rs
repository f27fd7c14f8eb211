//! What there is to say in short.

use super::kernels::Use;
use super::subject::Subject;
use super::{Chosen, Which};
use crate::cli::files;
use seqloom::error::Result;
use seqloom::interchange;
use seqloom::op::Cost;
use seqloom::plan::Plan;
use seqloom::recipe::{ModelKind, Pool};
use serde_json::{Value, json};
use std::path::Path;

/// The class of transformers that opens the model, or why none does.
pub fn opens(subject: &Subject) -> std::result::Result<&'static str, String> {
    interchange::class(&subject.recipe.model, subject.vocabulary).map(|class| class.name())
}

/// The model in a line.
pub fn model(subject: &Subject) -> String {
    let (m, p) = (&subject.recipe.model, &subject.planned.network().parameters);
    let attending = |layers: String| format!("{layers}, d_model {}, {} heads, ffn {}", m.d_model, m.heads, m.ffn);
    let sizes = match m.kind {
        ModelKind::Transformer => attending(format!("Transformer, {} + {} layers", m.encoder_layers, m.decoder_layers)),
        ModelKind::Gpt => attending(format!("decoder alone, {} layers", m.layers)),
        ModelKind::Seq2Seq => format!(
            "{}, {}{} + {} layers, hidden {}, embedding {}, attention {}{}",
            m.cell.to_string().to_uppercase(),
            m.layers,
            if m.bidirectional { " bidirectional" } else { "" },
            m.layers,
            m.hidden,
            m.embedding,
            m.attention,
            if m.input_feeding { " with input feeding" } else { "" }
        ),
    };
    let reads = m.char_cnn.as_ref().map_or(String::new(), |c| {
        let channels: usize = c.filters.iter().sum();
        let of = if c.pool == Pool::Word { " of words" } else { "" };
        format!(", character CNN{of} of {} widths, {channels} channels, highway {}", c.widths.len(), c.highway)
    });
    format!("{sizes}{reads}; {:.2} M parameters in {} tensors", p.count() as f64 / 1e6, p.entries.len())
}

/// Bytes for people.
pub fn size(bytes: usize) -> String {
    match bytes {
        0..1024 => format!("{bytes} B"),
        1024..1_048_576 => format!("{:.1} KiB", bytes as f64 / 1024.0),
        _ => format!("{:.1} MiB", bytes as f64 / 1_048_576.0),
    }
}

/// The pass during which most bytes of a plan's own buffers hold values that are still needed, and how many.
pub fn peak(plan: &Plan) -> Option<(usize, usize)> {
    // The first of them, should there be several.
    let live = plan.live_bytes().into_iter().enumerate();
    live.max_by_key(|&(pass, bytes)| (bytes, std::cmp::Reverse(pass)))
}

/// What a pass does, and where.
pub fn place(plan: &Plan, pass: usize) -> String {
    let pass = &plan.passes[pass];
    if pass.scope.is_empty() { pass.op.into() } else { format!("{} in {}", pass.op, pass.scope) }
}

/// What a step costs: a micro-batch of the largest batch as often as the recipe says, and an update.
fn step(chosen: &[Chosen], accumulate: usize) -> Cost {
    chosen.iter().fold(Cost::default(), |sum, c| {
        let times = match c.which {
            Which::Train => accumulate as u64,
            Which::Update => 1,
            Which::Evaluate => 0,
        };
        let cost = c.plan.cost();
        Cost { flops: sum.flops + times * cost.flops, bytes: sum.bytes + times * cost.bytes }
    })
}

/// Lines for people on standard output.
pub fn print(subject: &Subject, chosen: &[Chosen], uses: &[Use], out: Option<&Path>) -> Result<()> {
    let opens = match opens(subject) {
        Ok(class) => format!("{class} opens it"),
        Err(what) => format!("cannot open it: it has no class for {what}"),
    };
    out!(
        "{:13} {}",
        subject.title.split(' ').next().unwrap_or_default(),
        subject.title.split_once(' ').map_or("", |t| t.1)
    );
    out!("{:13} {}", "planned for", subject.device);
    out!("{:13} {}", "model", model(subject));
    out!("{:13} {opens}", "transformers");
    out!("{:13} {}; {}", "data", subject.data, subject.tokens);
    out!("");
    let header = "program    batch             nodes  passes  kernels  submissions      GFLOP     MiB moved  buffers    planned       peak";
    out!("{header}");
    for c in chosen {
        let (plan, cost) = (c.plan, c.plan.cost());
        let kernels = super::uses([plan]).len();
        let peak = peak(plan).map_or(0, |(_, bytes)| bytes);
        out!(
            "{:10} {:16} {:6} {:7} {:8} {:12} {:10.3} {:13.1} {:8} {:>10} {:>10}",
            c.which.name(),
            c.batch(),
            plan.order.len(),
            plan.passes.len(),
            kernels,
            plan.submissions.len(),
            cost.flops as f64 / 1e9,
            cost.bytes as f64 / (1u64 << 20) as f64,
            plan.slots.len(),
            size(plan.slot_bytes()),
            size(peak)
        );
    }
    out!("");
    if chosen.iter().any(|c| c.which == Which::Train) && chosen.iter().any(|c| c.which == Which::Update) {
        let accumulate = subject.recipe.train.accumulate;
        let cost = step(chosen, accumulate);
        let times = if accumulate > 1 { format!("{accumulate} batches and an update: ") } else { String::new() };
        let moved = size(cost.bytes as usize);
        out!("{:13} {times}{:.3} GFLOP, {moved} read and written at least", "step", cost.flops as f64 / 1e9);
    }
    for c in chosen {
        if let Some((pass, bytes)) = peak(c.plan).filter(|p| p.1 > 0) {
            let (name, at) = (c.which.name(), place(c.plan, pass));
            out!("{:13} {name}: {} of values at pass {pass}, {at}", "peak", size(bytes));
        }
    }
    let f = subject.planned.footprint();
    out!(
        "{:13} {}: parameters {}, gradients {}, moments {}, tables {}, activations {} (shared by {} programs), batches {}",
        "memory",
        size(f.total()),
        size(f.parameters),
        size(f.gradients),
        size(f.moments),
        size(f.tables),
        size(f.programs.activations),
        f.programs.count,
        size(f.programs.inputs)
    );
    let (largest, bytes) = &f.programs.largest;
    let most = size(subject.limits.binding as usize);
    out!("{:13} {largest}, {} of at most {most}", "binding", size(*bytes));
    if let Some(out) = out {
        let page = files::quoted(&out.join(super::PAGE));
        out!("{:13} {page}; graphs, plans and {} kernels beside it", "written", uses.len());
    }
    Ok(())
}

/// The same as one object.
pub fn json(subject: &Subject, chosen: &[Chosen]) -> Value {
    let (opens, why) = match opens(subject) {
        Ok(class) => (json!(class), Value::Null),
        Err(why) => (Value::Null, json!(why)),
    };
    let f = subject.planned.footprint();
    let programs = chosen.iter().map(|c| {
        let cost = c.plan.cost();
        let peak = peak(c.plan);
        json!({ "program": c.which.name(), "batch": c.batch(), "nodes": c.plan.order.len(),
            "passes": c.plan.passes.len(), "kernels": super::uses([c.plan]).len(),
            "submissions": c.plan.submissions.len(), "flops": cost.flops, "bytes": cost.bytes,
            "buffers": c.plan.slots.len(), "planned_bytes": c.plan.slot_bytes(),
            "peak_bytes": peak.map(|p| p.1), "peak_pass": peak.map(|p| p.0) })
    });
    json!({ "subject": subject.title, "planned_for": subject.device, "model": model(subject),
        "parameters": subject.planned.network().parameters.count(), "transformers": opens, "no_class_for": why,
        "data": subject.data, "vocabulary": subject.tokens, "programs": programs.collect::<Vec<_>>(),
        "memory": { "total": f.total(), "parameters": f.parameters, "gradients": f.gradients, "moments": f.moments,
            "tables": f.tables, "activations": f.programs.activations, "inputs": f.programs.inputs },
        "largest_binding": { "value": f.programs.largest.0, "bytes": f.programs.largest.1,
            "limit": subject.limits.binding } })
}
