// Search.

function found() {
  const words = state.search.toLowerCase().split(/\s+/).filter(Boolean);
  if (!words.length) return [];
  return program().nodes.filter((n) => {
    const k = n.pass === null ? {} : kernelOf(program().passes[n.pass]);
    // What a node reads of other nodes is theirs to be found by.
    const outside = n.inputs.filter((v) => v[3]).map((v) => v[2]), types = n.outputs.map((v) => v[1]);
    n.text ||= [n.op, n.scope, n.backward ? "backward" : "forward", k.shader, k.variant, ...outside, ...types].join(" ").toLowerCase();
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

// The side: what is chosen, in words.

const rows = (list) => `<dl>${list.filter((r) => r[1] !== "" && r[1] !== undefined).map(([k, v]) => `<dt>${k}</dt><dd>${v}</dd>`).join("")}</dl>`;
const linked = (n) => `<button type="button" data-node="${n.id}">${escaped(n.op)}</button> ` +
  `<small>${escaped(n.scope)}${n.backward ? ", backward" : ""}</small>`;
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
    text += `<h3>Kernel</h3>${rows([["file", `<code>${escaped(k.file)}</code>`], ["shader", `${escaped(k.shader)}.wgsl`],
      ["variant", escaped(k.variant)], ["constants", `<code>${escaped(k.settings)}</code>`],
      ["grid", `${pass.grid.join(" × ")} workgroups`], ["run", `<code>${pass.run.join(" ")}</code>`], ...costs(pass), ["share", `${percent(weight(pass) / p.total)} of the program's time floor`]])}
      <h3>Buffers, in the order of the bindings</h3><ul>${pass.bindings.map(place).join("")}</ul>`;
  }
  side(text);
}

function sideOfGroup(group) {
  const counts = new Map();
  for (const l of group.inside) counts.set(l.node.op, (counts.get(l.node.op) || 0) + 1);
  const ops = [...counts].sort((a, b) => b[1] - a[1]).map(([op, n]) => `<li>${n} × ${escaped(op)}</li>`).join("");
  const part = group.backward ? "backward" : "forward";
  side(`<h2>${escaped(group.path || group.name)}</h2>${rows([["part", part], ["nodes", group.inside.length], ...costs(group.cost),
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
  const ops = [...by].sort((a, b) => b[1].w - a[1].w).slice(0, 12);
  const lines = ops.map(([op, sum]) => ({ cells: [op, sum.n, percent(sum.w / p.total)] }));
  side(`<h2>${escaped(p.name)}</h2>${rows([["batch", escaped(p.batch)], ["nodes", p.nodes.length], ["passes", p.passes.length],
    ["submissions", p.submissions], ["FLOPs", flops(p.flops)], ["bytes", `${bytes(p.bytes)} at least`],
    ["buffers", `${p.slots.length}, ${bytes(p.slots.reduce((a, b) => a + b, 0))}`], ["peak", bytes(most)]])}
    <h3>Operations by time floor</h3>${table(["op", "+passes", "+share"], lines)}
    <p class="note">The time floor takes the larger of FLOPs and bytes × ${data.flops_per_byte}, as on a GPU that does
    ${data.flops_per_byte} FLOPs while it moves a byte. Click a group to open or shut it, a node to see all of it.</p>
    <h3>Subject</h3>${rows(facts)}`);
}
