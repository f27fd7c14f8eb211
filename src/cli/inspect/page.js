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

// ---- The tree of scopes: a forward and a backward one, groups and their leaves. ----

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

// ---- Layers (Sugiyama, Tagawa and Toda 1981): ranks by longest path, order by barycentre. ----

const textWidth = (text, size = 12) => text.length * size * 0.57;
const GAP = { x: 18, y: 34, pad: 14, title: 24 };

function subtitle(box) {
  const part = share(box);
  const time = part >= 0.005 ? ` · ${percent(part)}` : "";
  return box.kids ? `${box.inside.length} nodes${time}` : `${box.node.outputs[0][1]}${box.node.outputs.length > 1 ? ` +${box.node.outputs.length - 1}` : ""}${time}`;
}

function title(box) {
  return box.part ? `${box.part} · ${box.name}` : box.name;
}

function measure(box) {
  if (box.kids && isOpen(box)) return arrange(box);
  box.shown = null;
  box.w = Math.max(84, textWidth(title(box), 12.6) + 20, textWidth(subtitle(box), 10) + 20);
  box.h = 38;
}

function arrange(group) {
  group.kids.forEach(measure);
  const kids = [...group.kids].sort((a, b) => (a.kids ? a.first : a.node.id) - (b.kids ? b.first : b.node.id));
  const of = new Map();
  kids.forEach((kid, i) => (kid.kids ? kid.inside : [kid]).forEach((leaf) => of.set(leaf.node.id, i)));
  const next = kids.map(() => new Set()), before = kids.map(() => new Set());
  for (const { from, to } of program().edges) {
    const [a, b] = [of.get(from), of.get(to)];
    // What leads back, since a scope was entered twice, counts for nothing here.
    if (a === undefined || b === undefined || a >= b) continue;
    next[a].add(b);
    before[b].add(a);
  }
  const rank = kids.map(() => 0);
  kids.forEach((_, b) => before[b].forEach((a) => (rank[b] = Math.max(rank[b], rank[a] + 1))));
  for (let a = kids.length - 1; a >= 0; a--) {
    if (!before[a].size && next[a].size) rank[a] = Math.min(...[...next[a]].map((b) => rank[b])) - 1;
  }
  // What is tied to nothing stands in rows of its own, at the end.
  const alone = kids.map((_, i) => i).filter((i) => !next[i].size && !before[i].size);
  const last = Math.max(0, ...rank);
  if (alone.length < kids.length) alone.forEach((i, n) => (rank[i] = last + 1 + Math.floor(n / 4)));
  else alone.forEach((i, n) => (rank[i] = Math.floor(n / Math.ceil(Math.sqrt(kids.length)))));

  // Cells of a rank: kids, and the points through which longer edges pass.
  const cells = kids.map((kid, i) => ({ kid, rank: rank[i], w: kid.w, h: kid.h, near: [[], []] }));
  const routes = new Map();
  kids.forEach((_, a) => next[a].forEach((b) => {
    let from = cells[a];
    const points = [];
    for (let r = rank[a] + 1; r < rank[b]; r++) {
      const point = { rank: r, w: 10, h: 0, near: [[], []] };
      cells.push(point);
      points.push(point);
      tie(from, point);
      from = point;
    }
    tie(from, cells[b]);
    routes.set(`${a}>${b}`, points);
  }));
  function tie(a, b) { a.near[1].push(b); b.near[0].push(a); }

  const ranks = [];
  for (const c of cells) (ranks[c.rank] ||= []).push(c);
  for (let r = 0; r < ranks.length; r++) ranks[r] ||= [];
  const number = () => ranks.forEach((row) => row.forEach((c, i) => (c.at = i)));
  number();
  for (let sweep = 0; sweep < 8; sweep++) {
    const side = sweep % 2, rows = side ? [...ranks].reverse() : ranks;
    for (const row of rows) {
      for (const c of row) c.key = c.near[side].length ? c.near[side].reduce((s, n) => s + n.at, 0) / c.near[side].length : c.at;
      row.sort((a, b) => a.key - b.key || a.at - b.at);
      row.forEach((c, i) => (c.at = i));
    }
  }
  for (const row of ranks) {
    let x = 0;
    for (const c of row) { c.x = x; x += c.w + GAP.x; }
    for (const c of row) c.x -= (x - GAP.x) / 2;
  }
  const centre = (c) => c.x + c.w / 2;
  for (let sweep = 0; sweep < 10; sweep++) {
    for (const row of sweep % 2 ? [...ranks].reverse() : ranks) {
      const wish = row.map((c) => {
        const near = [...c.near[0], ...c.near[1]];
        return near.length ? near.reduce((s, n) => s + centre(n), 0) / near.length - c.w / 2 : c.x;
      });
      let edge = -Infinity;
      row.forEach((c, i) => { c.x = Math.max(wish[i], edge); edge = c.x + c.w + GAP.x; });
      const shift = row.reduce((s, c, i) => s + wish[i] - c.x, 0) / (row.length || 1);
      row.forEach((c) => (c.x += shift));
    }
  }
  const left = Math.min(...cells.map((c) => c.x)), right = Math.max(...cells.map((c) => c.x + c.w));
  // The backward pass runs upwards, so that a layer's halves face each other.
  const rows = group.backward ? [...ranks].reverse() : ranks;
  let y = GAP.title + GAP.pad - 6;
  for (const row of rows) {
    const tall = Math.max(0, ...row.map((c) => c.h));
    for (const c of row) { c.x += GAP.pad - left; c.y = y + (tall - c.h) / 2; }
    if (tall) y += tall + GAP.y;
  }
  cells.forEach((c) => { if (c.kid) [c.kid.x, c.kid.y] = [c.x, c.y]; });
  group.shown = { kids, of, routes };
  group.w = Math.max(right - left + 2 * GAP.pad, textWidth(title(group), 12.6) + 2 * GAP.pad);
  group.h = y - GAP.y + GAP.pad;
}

// From places within groups to places in the drawing.
function settle(box, x, y) {
  box.X = x + box.x;
  box.Y = y + box.y;
  if (!box.shown) return;
  box.shown.kids.forEach((kid) => settle(kid, box.X, box.Y));
}

// ---- The drawing. ----

let boxes = new Map();
let bounds = { x: 0, y: 0, w: 1, h: 1 };

// The box in which a node is seen: its own, or the outermost shut group around it.
function seen(leaf) {
  let box = leaf;
  for (let up = leaf.up; up; up = up.up) if (!isOpen(up)) box = up;
  return box;
}

function draw() {
  const p = program();
  plant(p);
  state.open ||= usual(p);
  p.roots.forEach((root) => { arrange(root); root.x = root.y = 0; });
  const tall = Math.max(...p.roots.map((r) => r.h));
  let x = 0;
  for (const root of p.roots) { settle(root, x, tall - root.h); x += root.w + 140; }
  bounds = { x: 0, y: 0, w: x - 140, h: tall };

  boxes = new Map();
  let frames = "", shapes = "", number = 0;
  const paint = (box) => {
    box.key = number++;
    boxes.set(box.key, box);
    const side = box.backward ? "b" : "f", at = `x="${box.X}" y="${box.Y}" width="${box.w}" height="${box.h}"`;
    if (box.shown) {
      frames += `<g data-box="${box.key}"><rect class="group" ${at}/><text class="name" x="${box.X + 12}" y="${box.Y + 17}">${escaped(title(box))}</text></g>`;
      box.shown.kids.forEach(paint);
      return;
    }
    const back = box.kids ? `<rect class="back" x="${box.X + 3}" y="${box.Y + 3}" width="${box.w}" height="${box.h}"/>` : "";
    const mid = box.X + box.w / 2, hot = Math.max(0, Math.min(1, share(box))) * (box.w - 8);
    shapes += `<g class="leaf ${side} ${box.kids ? "shut" : ""}" data-box="${box.key}">${back}<rect class="box" ${at}/>` +
      `<rect class="heat" x="${box.X + 4}" y="${box.Y + box.h - 4}" width="${hot}" height="2.5"/>` +
      `<text class="name" text-anchor="middle" x="${mid}" y="${box.Y + 16}">${escaped(title(box))}</text>` +
      `<text class="sub" text-anchor="middle" x="${mid}" y="${box.Y + 29}">${escaped(subtitle(box))}</text></g>`;
  };
  p.roots.forEach(paint);

  const pairs = new Map();
  for (const e of p.edges) {
    const a = seen(p.leaves.get(e.from)), b = seen(p.leaves.get(e.to));
    if (a === b) continue;
    const key = `${a.key}>${b.key}`;
    if (!pairs.has(key)) pairs.set(key, { a, b, values: [] });
    pairs.get(key).values.push(e);
  }
  let lines = "", labels = "";
  for (const { a, b, values } of pairs.values()) {
    const { path, at, saved } = route(a, b, p.leaves.get(values[0].from), p.leaves.get(values[0].to));
    const types = [...new Set(values.map((v) => v.type))];
    const text = values.length === 1 ? types[0] : `${values.length} values`;
    const tip = values.slice(0, 12).map((v) => `${v.name} ${v.type}`).join("\n");
    lines += `<path class="edge ${saved ? "saved" : ""}" data-a="${a.key}" data-b="${b.key}" d="${path}" marker-end="url(#tip)"><title>${escaped(tip)}</title></path>`;
    // A node says itself what its only value is.
    const said = !a.kids && a.node.outputs.length === 1 && values.length === 1;
    if (!saved && !said) labels += `<text class="label" x="${at[0]}" y="${at[1]}">${escaped(text)}</text>`;
  }
  // Lines run over groups and under boxes.
  $("world").innerHTML = `${frames}<g>${lines}</g><g>${labels}</g>${shapes}`;
  highlight();
}

function route(a, b, from, to) {
  const mid = (box) => box.X + box.w / 2;
  if (a.backward !== b.backward) {
    const [x1, y1, x2, y2] = [a.X + a.w, a.Y + a.h / 2, b.X, b.Y + b.h / 2], bend = Math.max(40, (x2 - x1) / 2);
    return { path: `M${x1},${y1}C${x1 + bend},${y1} ${x2 - bend},${y2} ${x2},${y2}`, at: [(x1 + x2) / 2, (y1 + y2) / 2], saved: true };
  }
  // Through the points of the innermost group around both; along the edge of a group to what lies deep in it.
  const around = (leaf) => { const list = []; for (let up = leaf.up; up; up = up.up) list.push(up); return list; };
  const common = around(from).find((g) => around(to).includes(g) && g.shown);
  const { of, routes, kids } = common.shown, [i, j] = [of.get(from.node.id), of.get(to.node.id)];
  const points = (routes.get(`${i}>${j}`) || []).map((c) => [common.X + c.x + c.w / 2, common.Y + c.y]);
  const up = a.backward, [outer, inner] = [kids[i], kids[j]];
  const [out, into] = [(box) => (up ? box.Y : box.Y + box.h), (box) => (up ? box.Y + box.h : box.Y)];
  const gutter = (box) => (up ? box.X + box.w - 7 : box.X + 7), near = (box) => (up ? box.X + box.w : box.X);
  const deep = (box, group, end) => box !== group && Math.abs(end(box) - end(group)) > 70;
  let path = `M${mid(a)},${out(a)}`, start = [mid(a), out(a)], end = [mid(b), into(b)], tail = "";
  if (deep(a, outer, out)) {
    const y = a.Y + a.h / 2;
    start = [gutter(outer), out(outer)];
    path = `M${near(a)},${y}H${start[0]}V${start[1]}`;
  }
  if (deep(b, inner, into)) {
    end = [gutter(inner), into(inner)];
    tail = `V${b.Y + b.h / 2}H${near(b)}`;
  }
  const all = [start, ...points, end];
  for (let n = 1; n < all.length; n++) {
    const [x1, y1] = all[n - 1], [x2, y2] = all[n], half = (y2 - y1) / 2;
    path += `C${x1},${y1 + half} ${x2},${y2 - half} ${x2},${y2}`;
  }
  const middle = all.length > 2 ? all[Math.floor(all.length / 2)] : [(start[0] + end[0]) / 2, (start[1] + end[1]) / 2 + 3];
  return { path: path + tail, at: middle, saved: false };
}

// ---- Looking around: `eye` is what of the drawing is seen. ----

const eye = { x: 0, y: 0, scale: 1 };
const look = () => $("world").setAttribute("transform", `translate(${eye.x},${eye.y}) scale(${eye.scale})`);

function fit() {
  const { width, height } = $("drawing").getBoundingClientRect();
  eye.scale = Math.min(1.6, 0.94 * Math.min(width / bounds.w, (height - 50) / bounds.h));
  eye.x = (width - bounds.w * eye.scale) / 2;
  eye.y = (height - bounds.h * eye.scale) / 2;
  look();
}

function zoom(factor, x, y) {
  const { width, height } = $("drawing").getBoundingClientRect();
  [x, y] = [x ?? width / 2, y ?? height / 2];
  const scale = Math.min(6, Math.max(0.02, eye.scale * factor));
  eye.x = x - ((x - eye.x) * scale) / eye.scale;
  eye.y = y - ((y - eye.y) * scale) / eye.scale;
  eye.scale = scale;
  look();
}

function centreOn(box) {
  const { width, height } = $("drawing").getBoundingClientRect();
  eye.scale = Math.max(eye.scale, 0.9);
  eye.x = width / 2 - (box.X + box.w / 2) * eye.scale;
  eye.y = height / 2 - (box.Y + box.h / 2) * eye.scale;
  look();
}

const drawing = $("drawing");
drawing.addEventListener("wheel", (e) => {
  e.preventDefault();
  const { left, top } = drawing.getBoundingClientRect();
  zoom(Math.exp(-e.deltaY * (e.deltaMode ? 0.05 : 0.0015)), e.clientX - left, e.clientY - top);
}, { passive: false });
let grip = null;
drawing.addEventListener("pointerdown", (e) => { grip = { x: e.clientX, y: e.clientY, moved: false }; });
addEventListener("pointermove", (e) => {
  if (!grip) return;
  const [dx, dy] = [e.clientX - grip.x, e.clientY - grip.y];
  if (!grip.moved && Math.hypot(dx, dy) < 4) return;
  Object.assign(grip, { x: e.clientX, y: e.clientY, moved: true });
  eye.x += dx;
  eye.y += dy;
  look();
});
addEventListener("pointerup", (e) => {
  const click = grip && !grip.moved;
  grip = null;
  const mark = click && e.target.closest?.("[data-box]");
  if (!mark || !drawing.contains(mark)) return;
  const box = boxes.get(+mark.dataset.box);
  if (!box.kids) choose(box.node.id);
  else if (box.path) toggle(box);
});

// Opens or shuts a group, in the forward and the backward pass, and keeps it where it is.
function toggle(box) {
  const [x, y] = [eye.x + box.X * eye.scale, eye.y + box.Y * eye.scale];
  if (state.open.has(box.path)) state.open.delete(box.path);
  else state.open.add(box.path);
  draw();
  eye.x = x - box.X * eye.scale;
  eye.y = y - box.Y * eye.scale;
  look();
  state.node = null;
  sideOfGroup(box);
  remember();
}

function openAll(open) {
  state.open = open ? new Set(groups(program()).map((g) => g.path)) : usual(program());
  draw();
  fit();
  remember();
}

// Opens what hides a node, chooses it and goes there.
function reveal(id) {
  for (let up = program().leaves.get(id).up; up && up.path; up = up.up) state.open.add(up.path);
  showTab("graph");
  draw();
  choose(id);
  centreOn(program().leaves.get(id));
}

function choose(id) {
  state.node = id;
  highlight();
  sideOfNode(id);
  remember();
}

// ---- Search. ----

function found() {
  const words = state.search.toLowerCase().split(/\s+/).filter(Boolean);
  if (!words.length) return [];
  return program().nodes.filter((n) => {
    const k = n.pass === null ? {} : kernelOf(program().passes[n.pass]);
    n.text ||= [n.op, n.scope, n.backward ? "backward" : "forward", k.shader, k.variant, ...n.inputs.filter((v) => v[3]).map((v) => v[2]), ...n.outputs.map((v) => v[1])]
      .join(" ").toLowerCase();
    return words.every((w) => n.text.includes(w));
  });
}

function highlight() {
  const p = program(), hits = found(), ids = new Set(hits.map((n) => n.id));
  $("found").textContent = state.search ? `${hits.length} of ${p.nodes.length} nodes` : "";
  $("world").classList.toggle("searching", hits.length > 0);
  for (const mark of $("world").querySelectorAll(".leaf")) {
    const box = boxes.get(+mark.dataset.box);
    const inside = box.kids ? box.inside.map((l) => l.node.id) : [box.node.id];
    mark.classList.toggle("hit", inside.some((id) => ids.has(id)));
    mark.classList.toggle("chosen", state.node !== null && inside.includes(state.node));
  }
  const chosen = state.node === null ? null : seen(p.leaves.get(state.node)).key;
  for (const line of $("world").querySelectorAll(".edge")) {
    line.classList.toggle("touching", chosen !== null && (+line.dataset.a === chosen || +line.dataset.b === chosen));
  }
  const passes = new Set(hits.map((n) => n.pass));
  $("chart")?.classList.toggle("searching", hits.length > 0);
  for (const bar of document.querySelectorAll("#chart .bar")) {
    bar.classList.toggle("hit", passes.has(+bar.dataset.pass));
    bar.classList.toggle("chosen", state.node !== null && p.passes[+bar.dataset.pass].node === state.node);
  }
  for (const row of document.querySelectorAll("#passes tbody tr")) {
    const pass = +row.dataset.pass;
    row.hidden = hits.length > 0 && !passes.has(pass);
    row.classList.toggle("on", state.node !== null && p.passes[pass].node === state.node);
  }
}

let turn = 0;
$("search").oninput = (e) => {
  state.search = e.target.value;
  turn = 0;
  highlight();
  sideOfSearch();
  remember();
};
$("search").onkeydown = (e) => {
  const hits = found();
  if (e.key === "Escape") { e.target.value = ""; e.target.oninput(e); }
  if (e.key === "Enter" && hits.length) reveal(hits[turn++ % hits.length].id);
};

// ---- The side: what is chosen, in words. ----

const rows = (list) => `<dl>${list.filter((r) => r[1] !== "" && r[1] !== undefined).map(([k, v]) => `<dt>${k}</dt><dd>${v}</dd>`).join("")}</dl>`;
const linked = (n) => `<button type="button" data-node="${n.id}">${escaped(n.op)}</button> <small>${escaped(n.scope)}${n.backward ? ", backward" : ""}</small>`;
const costs = (cost) => [["FLOPs", flops(cost.flops)], ["bytes", `${bytes(cost.bytes)} at least`],
  ["intensity", cost.bytes ? `${(cost.flops / cost.bytes).toFixed(2)} FLOP/byte` : ""]];

function side(html) {
  $("side").innerHTML = html;
  for (const button of $("side").querySelectorAll("[data-node]")) button.onclick = () => reveal(+button.dataset.node);
}

function sideOfNode(id) {
  const p = program(), n = p.leaves.get(id).node;
  const users = (base) => p.nodes.filter((m) => m.inputs.some((v) => v[0] === base));
  const maker = (base) => p.nodes.find((m) => m.outputs.some((v) => v[0] === base));
  const input = ([base, type, name, from]) => {
    const made = maker(base);
    return `<li><code>${escaped(type)}</code> ${made ? linked(made) : `${escaped(name)} <small>${escaped(from)}</small>`}</li>`;
  };
  const output = ([base, type]) => {
    const to = users(base);
    const list = to.slice(0, 8).map(linked).join("<br>") + (to.length > 8 ? `<br><small>and ${to.length - 8} more</small>` : "");
    return `<li><code>${escaped(type)}</code>${to.length ? "<br>" + list : " <small>nobody in this program reads it</small>"}</li>`;
  };
  let text = `<h2>${escaped(n.op)}</h2>${rows([["scope", escaped(n.scope)], ["part", n.backward ? "backward" : "forward"],
    ["pass", n.pass === null ? "" : `${n.pass} of ${p.passes.length}, submission ${p.passes[n.pass].submission}`]])}
    <h3>Reads</h3><ul>${n.inputs.map(input).join("")}</ul><h3>Writes</h3><ul>${n.outputs.map(output).join("")}</ul>`;
  if (n.pass !== null) {
    const pass = p.passes[n.pass], k = kernelOf(pass);
    const place = ([where, size, writes]) => `<li><code>${escaped(where)}</code> ${bytes(size)}${writes ? " <small>written</small>" : ""}</li>`;
    text += `<h3>Kernel</h3>${rows([["file", `<code>${escaped(k.file)}</code>`], ["shader", `${escaped(k.shader)}.wgsl`], ["variant", escaped(k.variant)],
      ["constants", `<code>${escaped(k.settings)}</code>`], ["grid", `${pass.grid.join(" × ")} workgroups`], ["run", `<code>${pass.run.join(" ")}</code>`],
      ...costs(pass), ["share", `${percent(weight(pass) / p.total)} of the program's time floor`]])}
      <h3>Buffers, in the order of the bindings</h3><ul>${pass.bindings.map(place).join("")}</ul>`;
  }
  side(text);
}

function sideOfGroup(group) {
  const counts = new Map();
  for (const l of group.inside) counts.set(l.node.op, (counts.get(l.node.op) || 0) + 1);
  const ops = [...counts].sort((a, b) => b[1] - a[1]).map(([op, n]) => `<li>${n} × ${escaped(op)}</li>`).join("");
  side(`<h2>${escaped(group.path || group.name)}</h2>${rows([["part", group.backward ? "backward" : "forward"], ["nodes", group.inside.length], ...costs(group.cost),
    ["share", `${percent(group.cost.weight / program().total)} of the program's time floor`]])}<h3>Operations</h3><ul>${ops}</ul>`);
}

function sideOfSearch() {
  const hits = found();
  if (!state.search.trim()) return sideOfProgram();
  const list = hits.slice(0, 200).map((n) => `<li>${linked(n)}</li>`).join("");
  side(`<h2>${hits.length} nodes</h2><ul>${list}</ul>${hits.length > 200 ? "<small>and more</small>" : ""}`);
}

function sideOfProgram() {
  const p = program(), most = Math.max(0, ...p.live);
  const facts = data.facts.map(([k, v]) => [escaped(k), escaped(v)]);
  const by = new Map();
  for (const pass of p.passes) {
    const sum = by.get(pass.op) || { n: 0, w: 0 };
    by.set(pass.op, { n: sum.n + 1, w: sum.w + weight(pass) });
  }
  const ops = [...by].sort((a, b) => b[1].w - a[1].w).slice(0, 12)
    .map(([op, s]) => `<tr><td>${escaped(op)}</td><td class="number">${s.n}</td><td class="number">${percent(s.w / p.total)}</td></tr>`).join("");
  side(`<h2>${escaped(p.name)}</h2>${rows([["batch", escaped(p.batch)], ["nodes", p.nodes.length], ["passes", p.passes.length],
    ["submissions", p.submissions], ["FLOPs", flops(p.flops)], ["bytes", `${bytes(p.bytes)} at least`],
    ["buffers", `${p.slots.length}, ${bytes(p.slots.reduce((a, b) => a + b, 0))}`], ["peak", bytes(most)]])}
    <h3>Operations by time floor</h3><table><thead><tr><th>op</th><th class="number">passes</th><th class="number">share</th></tr></thead><tbody>${ops}</tbody></table>
    <p class="note">The time floor takes the larger of FLOPs and bytes × ${data.flops_per_byte}, as on a GPU that does
    ${data.flops_per_byte} FLOPs while it moves a byte. Click a group to open or shut it, a node to see all of it.</p>
    <h3>Subject</h3>${rows(facts)}`);
}

// ---- Memory: lifetimes by buffer, and what is in use during each pass. ----

// How much wider than the view the picture is.
let stretch = 1;

function memory() {
  const p = program(), n = p.passes.length;
  const fitting = ($("view").clientWidth - 150) / Math.max(1, n);
  const wide = stretch * Math.max(0.8, Math.min(28, fitting));
  const [left, top, tall, row] = [96, 30, 150, 15];
  const total = p.slots.reduce((a, b) => a + b, 0), highest = Math.max(total, 1);
  const x = (pass) => left + pass * wide, y = (size) => top + tall - (size / highest) * tall;
  const peak = p.live.indexOf(Math.max(...p.live));
  let s = "";
  const first = p.passes.findIndex((pass) => pass.backward);
  if (n) {
    let area = `M${x(0)},${y(0)}`;
    p.live.forEach((size, i) => { area += `V${y(size)}H${x(i + 1)}`; });
    s += `<path class="area" d="${area}V${y(0)}Z"/>`;
    s += `<line class="limit" x1="${x(0)}" x2="${x(n)}" y1="${y(total)}" y2="${y(total)}"/><text x="${x(n)}" y="${y(total) - 5}" text-anchor="end">planned ${bytes(total)} in ${p.slots.length} buffers</text>`;
    for (let i = 1; i < 4; i++) s += `<text x="${left - 6}" y="${y((highest * i) / 4) + 4}" text-anchor="end">${bytes((highest * i) / 4)}</text>`;
    const px = x(peak + 0.5), end = px > x(n) * 0.62 ? "end" : "start";
    s += `<line class="peak" x1="${px}" x2="${px}" y1="${y(p.live[peak])}" y2="${y(0)}"/><circle class="dot" cx="${px}" cy="${y(p.live[peak])}" r="4"/>
      <text class="strong" x="${px + (end === "end" ? -9 : 9)}" y="${Math.max(y(p.live[peak]) + 4, top + 14)}" text-anchor="${end}">peak ${bytes(p.live[peak])}, pass ${peak}: ${escaped(p.passes[peak].op)} in ${escaped(p.passes[peak].scope)}</text>`;
  }
  if (first > 0) s += `<text x="${x(0)}" y="${top - 12}" class="strong">forward</text><text x="${x(first)}" y="${top - 12}" class="strong">backward</text>
    <line class="axis" x1="${x(first)}" x2="${x(first)}" y1="${top - 8}" y2="${top + tall + 40 + p.slots.length * row}"/>`;
  const axis = top + tall, step = [1, 2, 5, 10, 20, 50, 100, 200].find((d) => d * wide >= 42) || 500;
  s += `<line class="axis" x1="${x(0)}" x2="${x(n)}" y1="${axis}" y2="${axis}"/>`;
  for (let i = 0; i < n; i += step) s += `<text x="${x(i)}" y="${axis + 14}" text-anchor="middle">${i}</text>`;
  s += `<text x="${left - 6}" y="${axis + 14}" text-anchor="end">pass</text>`;
  const base = axis + 30;
  const order = p.slots.map((size, i) => i).sort((a, b) => p.slots[b] - p.slots[a]);
  const line = new Map(order.map((slot, i) => [slot, i]));
  order.forEach((slot, i) => {
    s += `<rect class="row" x="${x(0)}" y="${base + i * row}" width="${n * wide}" height="${row - 2}"/>
      <text x="${left - 6}" y="${base + i * row + 10}" text-anchor="end">s${slot} ${bytes(p.slots[slot])}</text>`;
  });
  for (const [slot, name, type, from, to, size] of p.lifetimes) {
    // As high as what the value takes of the buffer.
    const part = Math.max(0.18, size / p.slots[slot]) * (row - 2), at = base + line.get(slot) * row + (row - 2 - part);
    s += `<rect class="bar ${p.passes[from].backward ? "b" : "f"}" data-pass="${from}" x="${x(from)}" y="${at}" width="${(to - from + 1) * wide}" height="${part}">
      <title>${escaped(name)} ${escaped(type)}\n${bytes(size)} in s${slot}, passes ${from} to ${to}</title></rect>`;
  }
  const [width, height] = [x(n) + 20, base + p.slots.length * row + 10];
  const list = (items) => items.map(([name, type, size]) => `<tr><td>${escaped(name)}</td><td><code>${escaped(type)}</code></td><td class="number">${size === undefined ? "" : bytes(size)}</td></tr>`).join("");
  const table = (what, items) => (items.length ? `<h3>${what}</h3><table><tbody>${list(items)}</tbody></table>` : "");
  $("memory").innerHTML = `<h2>Values in the program's own buffers</h2>
    <p class="note">A row is a buffer, largest first; a bar is a value, from the pass that writes it to the last that needs it, as high as the part of the buffer that it takes. Point at one for its name, click it for all of it.</p>
    <p><button type="button" id="narrower">−</button> <button type="button" id="wider">+</button> <small>width of a pass</small></p>
    <svg id="chart" width="${width}" height="${height}" role="img" aria-label="Lifetimes and memory in use by pass">${s}</svg>
    ${table("Buffers that outlast the program", data.residents)}${table("Filled by the host before each run", p.inputs)}${table("Read by the host", p.outputs)}`;
  const stretched = (by) => () => { stretch = Math.min(16, Math.max(1, stretch * by)); memory(); highlight(); };
  $("wider").onclick = stretched(1.5);
  $("narrower").onclick = stretched(1 / 1.5);
  for (const bar of document.querySelectorAll("#chart .bar")) bar.onclick = () => choosePass(+bar.dataset.pass);
}

function choosePass(i) {
  const pass = program().passes[i];
  if (pass.node !== null) choose(pass.node);
  else side(`<h2>${escaped(pass.op)}</h2>${rows([["of", escaped(pass.scope)], ["pass", i], ...costs(pass)])}<p class="note">The planner added it.</p>`);
}

// ---- Passes and kernels as tables. ----

function passes() {
  const p = program();
  const list = p.passes.map((pass, i) => {
    const k = kernelOf(pass), names = (written) => pass.bindings.filter((b) => b[2] === written).map((b) => escaped(b[0])).join(" ");
    return `<tr class="link ${pass.backward ? "b" : "f"}" data-pass="${i}" tabindex="0"><td class="number">${i}</td><td>${escaped(pass.op)}</td><td>${escaped(pass.scope)}</td><td>${escaped(k.file)}</td><td>${escaped(k.variant)}</td>
      <td>${pass.grid.join("×")}</td><td class="number">${flops(pass.flops)}</td><td class="number">${bytes(pass.bytes)}</td><td class="number">${percent(weight(pass) / p.total)}</td><td><code>${names(false)} → ${names(true)}</code></td></tr>`;
  });
  $("passes").innerHTML = `<table><thead><tr><th class="number">pass</th><th>op</th><th>scope</th><th>kernel</th><th>variant</th><th>workgroups</th><th class="number">FLOPs</th><th class="number">bytes</th><th class="number">share</th><th>buffers</th></tr></thead><tbody>${list.join("")}</tbody></table>`;
  for (const row of $("passes").querySelectorAll("tr.link")) {
    row.onclick = () => choosePass(+row.dataset.pass);
    row.onkeydown = (e) => { if (e.key === "Enter") choosePass(+row.dataset.pass); };
  }
}

function kernels() {
  const total = data.kernels.reduce((sum, k) => sum + weight(k), 0) || 1;
  const list = data.kernels.map((k) => `<tr><td>${escaped(k.file)}</td><td>${escaped(k.ops.join(", "))}</td><td>${escaped(k.variant)}</td><td class="wide"><code>${escaped(k.settings)}</code></td>
    <td class="number">${k.passes}</td><td class="number">${flops(k.flops)}</td><td class="number">${bytes(k.bytes)}</td><td class="number">${(k.flops / Math.max(1, k.bytes)).toFixed(1)}</td><td class="number">${percent(weight(k) / total)}</td></tr>`);
  $("kernels").innerHTML = `<h2>Kernels of ${data.programs.map((p) => escaped(p.name)).join(" and ")}</h2>
    <p class="note">Each is beside this page as kernels/NAME.wgsl, .spv, .metal and .hlsl. Shares are of the time floor.</p>
    <table><thead><tr><th>name</th><th>operations</th><th>variant</th><th>constants and tiles</th><th class="number">passes</th><th class="number">FLOPs</th><th class="number">bytes</th><th class="number">FLOP/byte</th><th class="number">share</th></tr></thead><tbody>${list.join("")}</tbody></table>`;
}

// ---- What the page shows, and the address that brings it back. ----

function showTab(tab) {
  state.tab = tab;
  for (const name of Object.keys(TABS)) {
    $(name).hidden = name !== tab;
    $(`tab-${name}`).setAttribute("aria-selected", name === tab);
  }
  if (tab === "memory") memory();
  if (tab === "passes") passes();
  if (tab === "kernels") kernels();
  highlight();
  remember();
}

function showProgram(index, open = null) {
  state.program = index;
  state.open = open;
  state.node = null;
  plant(program());
  draw();
  fit();
  showTab(state.tab);
  if (state.search) sideOfSearch();
  else sideOfProgram();
}

function remember() {
  const usually = [...usual(program())].sort().join(), open = [...state.open].sort().join();
  const parts = { program: program().name, tab: state.tab, search: state.search, node: state.node, open: open === usually ? null : open };
  const hash = Object.entries(parts).filter(([, v]) => v !== null && v !== "").map(([k, v]) => `${k}=${encodeURIComponent(v)}`).join("&");
  history.replaceState(null, "", `#${hash}`);
}

function recall() {
  const asked = new Map(location.hash.slice(1).split("&").map((part) => part.split("=").map(decodeURIComponent)));
  state.search = $("search").value = asked.get("search") || "";
  state.tab = asked.get("tab") in TABS ? asked.get("tab") : "graph";
  const index = Math.max(0, data.programs.findIndex((p) => p.name === asked.get("program")));
  $("which").querySelector("select").selectedIndex = index;
  plant(data.programs[index]);
  const open = asked.get("open");
  const all = () => groups(data.programs[index]).map((g) => g.path);
  showProgram(index, open === undefined ? null : new Set(open === "all" ? all() : open.split(",")));
  const node = asked.get("node");
  if (node !== undefined && program().leaves.has(+node)) (state.tab === "graph" ? reveal : choose)(+node);
}

$("title").textContent = data.title;
document.title = `${data.title} · seqloom inspect`;
for (const [name, text] of Object.entries(TABS)) {
  $("tabs").insertAdjacentHTML("beforeend", `<button type="button" role="tab" id="tab-${name}" aria-controls="${name}">${text}</button>`);
  $(`tab-${name}`).onclick = () => showTab(name);
}
for (const p of data.programs) $("which").querySelector("select").insertAdjacentHTML("beforeend", `<option>${escaped(p.batch ? `${p.name}, ${p.batch}` : p.name)}</option>`);
$("which").querySelector("select").onchange = (e) => showProgram(e.target.selectedIndex);
$("fit").onclick = fit;
$("closer").onclick = () => zoom(1.3);
$("farther").onclick = () => zoom(1 / 1.3);
$("expand").onclick = () => openAll(true);
$("collapse").onclick = () => openAll(false);
addEventListener("keydown", (e) => {
  if (e.target.matches("input, select") || e.ctrlKey || e.metaKey || e.altKey) return;
  const act = { "/": () => $("search").focus(), "+": () => zoom(1.3), "-": () => zoom(1 / 1.3), 0: fit }[e.key];
  if (!act) return;
  e.preventDefault();
  act();
});
addEventListener("resize", () => { if (state.tab === "memory") showTab("memory"); });
recall();
