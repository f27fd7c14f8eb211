//! A plan's graph for Graphviz: a cluster for each scope, the backward pass beside the forward pass.

use seqloom::graph::{Memory, Source, Value};
use seqloom::plan::Plan;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

/// Nodes by the components of their scope.
#[derive(Default)]
struct Cluster {
    nodes: Vec<usize>,
    inner: BTreeMap<String, Cluster>,
}

impl Cluster {
    fn at(&mut self, scope: &str) -> &mut Cluster {
        let parts = scope.split('.').filter(|p| !p.is_empty());
        parts.fold(self, |cluster, part| cluster.inner.entry(part.into()).or_default())
    }

    fn write(&self, dot: &mut String, plan: &Plan, path: &str, depth: usize) {
        let indent = "  ".repeat(depth);
        for &node in &self.nodes {
            let n = &plan.graph.nodes()[node];
            let (label, fill) = (quoted(n.op.name()), if n.backward { "#f9d9c0" } else { "#cfe0f7" });
            let _ = writeln!(dot, "{indent}n{node} [label={label}, fillcolor=\"{fill}\"];");
        }
        for (name, inner) in &self.inner {
            let path = format!("{path}.{name}");
            let _ = writeln!(dot, "{indent}subgraph {} {{", quoted(&format!("cluster_{path}")));
            let _ = writeln!(dot, "{indent}  label={};", quoted(name));
            inner.write(dot, plan, &path, depth + 1);
            let _ = writeln!(dot, "{indent}}}");
        }
    }
}

/// The live nodes of a plan, with types on what they hand on. Values that come from outside are ellipses: inputs, and
/// ranges of buffers that outlast the program, `memory`.
pub fn graph(plan: &Plan, memory: &Memory) -> String {
    let g = &plan.graph;
    let mut dot =
        String::from("digraph plan {\n  rankdir=TB;\n  node [shape=box, style=\"rounded,filled\", fontname=sans];\n");
    dot.push_str("  edge [fontname=sans, fontsize=9];\n  graph [fontname=sans, style=rounded, color=\"#9aa4b0\"];\n");
    for (name, backward) in [("forward", false), ("backward", true)] {
        let mut cluster = Cluster::default();
        for &node in plan.order.iter().filter(|&&node| g.nodes()[node].backward == backward) {
            cluster.at(&g.nodes()[node].scope).nodes.push(node);
        }
        if !cluster.nodes.is_empty() || !cluster.inner.is_empty() {
            let _ = writeln!(dot, "  subgraph cluster_{name} {{\n    label={name};");
            cluster.write(&mut dot, plan, name, 2);
            dot.push_str("  }\n");
        }
    }
    let mut outside: BTreeSet<Value> = BTreeSet::new();
    let mut edges = String::new();
    for &node in &plan.order {
        let mut read = BTreeSet::new();
        for &v in g.nodes()[node].inputs.iter().filter(|&&v| read.insert(v)) {
            let base = g.base(v);
            let label = quoted(&g.ty(v).to_string());
            let from = match *g.source(base) {
                Source::Node { node, .. } => format!("n{node}"),
                _ => {
                    outside.insert(base);
                    format!("v{}", base.index())
                }
            };
            let _ = writeln!(edges, "  {from} -> n{node} [label={label}];");
        }
    }
    for (name, value) in g.outputs() {
        if let Source::Node { node, .. } = *g.source(g.base(*value)) {
            let label = quoted(&g.ty(*value).to_string());
            let output = quoted(&format!("output {name}"));
            let _ = writeln!(edges, "  {output} [shape=ellipse, style=bold];\n  n{node} -> {output} [label={label}];");
        }
    }
    for v in outside {
        let from = match *g.source(v) {
            Source::Resident(buffer, _) => memory.name(buffer),
            _ => "input",
        };
        let label = quoted(&format!("{}\n{from}", g.name(v)));
        let _ = writeln!(dot, "  v{} [label={label}, shape=ellipse, style=dashed];", v.index());
    }
    dot + &edges + "}\n"
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n"))
}
