"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const $ = (id) => document.getElementById(id);
const escaped = (text) => String(text).replace(/[&<>"']/g, (c) => `&#${c.charCodeAt(0)};`);
const TABS = { graph: "Graph", memory: "Memory", passes: "Passes", kernels: "Kernels" };

// What is shown; the address keeps it.
const state = { program: 0, tab: "graph", open: null, search: "", node: null };
const program = () => data.programs[state.program];
const kernelOf = (pass) => data.kernels[pass.kernel];

function scaled(n, unit, step, names) {
  let i = 0;
  while (n >= step && i < names.length - 1) { n /= step; i++; }
  return `${n >= 100 || (i === 0 && Number.isInteger(n)) ? n.toFixed(0) : n.toFixed(n >= 10 ? 1 : 2)} ${names[i]}${unit}`;
}
const flops = (n) => scaled(n, "FLOP", 1000, ["", "k", "M", "G", "T"]);
const bytes = (n) => scaled(n, "B", 1024, ["", "Ki", "Mi", "Gi"]);
const percent = (share) => (share >= 0.0995 ? `${(100 * share).toFixed(0)} %` : `${(100 * share).toFixed(1)} %`);
// FLOPs, or bytes as FLOPs where moving them takes longer.
const weight = (cost) => Math.max(cost.flops, cost.bytes * data.flops_per_byte);

// The tree of scopes: a forward and a backward one, groups and their leaves.

function plant(p) {
  if (p.roots) return;
  p.total = p.passes.reduce((sum, pass) => sum + weight(pass), 0) || 1;
  p.leaves = new Map();
  const maker = new Map();
  for (const n of p.nodes) for (const [base] of n.outputs) maker.set(base, n.id);
  p.edges = [];
  for (const n of p.nodes) {
    const seen = new Set();
    for (const [base, type, name] of n.inputs) {
      if (!maker.has(base) || seen.has(base)) continue;
      seen.add(base);
      p.edges.push({ from: maker.get(base), to: n.id, type, name });
    }
  }
  const root = (name, backward) => ({ path: "", name, backward, kids: [], up: null });
  const roots = p.nodes.some((n) => n.backward) ? [root("forward", false), root("backward", true)] : [root(p.name, false)];
  for (const n of p.nodes) {
    let group = roots[roots.length > 1 && n.backward ? 1 : 0];
    const parts = n.scope ? n.scope.replace(/\.(\d+)(?=\.|$)/g, "#$1").split(".") : [];
    for (const part of parts) {
      const name = part.replaceAll("#", "."), path = group.path ? `${group.path}.${name}` : name;
      let kid = group.kids.find((k) => k.kids && k.path === path);
      if (!kid) group.kids.push((kid = { path, name, backward: n.backward, kids: [], up: group }));
      group = kid;
    }
    const leaf = { node: n, name: n.op, backward: n.backward, up: group, cost: p.passes[n.pass] || { flops: 0, bytes: 0 } };
    group.kids.push(leaf);
    p.leaves.set(n.id, leaf);
  }
  // A group of one thing is that thing, under both names.
  const slim = (group) => {
    group.kids = group.kids.map((kid) => {
      if (!kid.kids) return kid;
      slim(kid);
      if (kid.kids.length > 1) return kid;
      const only = kid.kids[0];
      only.up = group;
      only.name = only.kids ? `${kid.name}.${only.name}` : only.name;
      if (!only.kids) only.part = only.part ? `${kid.name}.${only.part}` : kid.name;
      return only;
    });
    const inside = group.kids.flatMap((k) => (k.kids ? k.inside : [k]));
    group.inside = inside;
    group.first = Math.min(...inside.map((l) => l.node.id));
    group.cost = { flops: 0, bytes: 0, weight: 0 };
    for (const l of inside) {
      group.cost.flops += l.cost.flops;
      group.cost.bytes += l.cost.bytes;
      group.cost.weight += weight(l.cost);
    }
  };
  roots.forEach(slim);
  p.roots = roots;
}

const groups = (p) => {
  const all = [];
  const walk = (g) => g.kids.forEach((k) => { if (k.kids) { all.push(k); walk(k); } });
  p.roots.forEach(walk);
  return all;
};
// At first everything is open down to the layers.
const usual = (p) => new Set(groups(p).filter((g) => g.kids.some((k) => k.kids && /\d$/.test(k.name))).map((g) => g.path));
const isOpen = (box) => !box.path || state.open.has(box.path);
const share = (box) => (box.kids ? box.cost.weight : weight(box.cost)) / program().total;
