// Memory: lifetimes by buffer, and what is in use during each pass.

// How much wider than the view the picture is.
let stretch = 1;

// Where things are in the picture: x of a pass, y of bytes in use, y of the rows of buffers.
function places(p) {
  const [left, top, tall, row] = [96, 30, 150, 15];
  const fitting = ($("view").clientWidth - 150) / Math.max(1, p.passes.length);
  const wide = stretch * Math.max(0.8, Math.min(28, fitting));
  const total = p.slots.reduce((a, b) => a + b, 0), highest = Math.max(total, 1);
  const x = (pass) => left + pass * wide, y = (size) => top + tall - (size / highest) * tall;
  return { left, top, row, wide, total, highest, x, y, floor: top + tall, base: top + tall + 30 };
}

const text = (x, y, what, more = "") => `<text x="${x}" y="${y}" ${more}>${escaped(what)}</text>`;
const upright = (x, y1, y2, name) => `<line class="${name}" x1="${x}" x2="${x}" y1="${y1}" y2="${y2}"/>`;
const level = (x1, x2, y, name) => `<line class="${name}" x1="${x1}" x2="${x2}" y1="${y}" y2="${y}"/>`;

function inUse(p, at) {
  const { left, top, wide, total, highest, x, y, floor } = at, n = p.passes.length;
  if (!n) return "";
  let area = `M${x(0)},${floor}`;
  p.live.forEach((size, i) => { area += `V${y(size)}H${x(i + 1)}`; });
  let s = `<path class="area" d="${area}V${floor}Z"/>${level(x(0), x(n), y(total), "limit")}`;
  s += text(x(n), y(total) - 5, `planned ${bytes(total)} in ${p.slots.length} buffers`, 'text-anchor="end"');
  for (let i = 1; i < 4; i++) s += text(left - 6, y((highest * i) / 4) + 4, bytes((highest * i) / 4), 'text-anchor="end"');
  const peak = p.live.indexOf(Math.max(...p.live)), px = x(peak + 0.5), py = y(p.live[peak]);
  const [end, beside] = px > x(n) * 0.62 ? ["end", px - 9] : ["start", px + 9], pass = p.passes[peak];
  const what = `peak ${bytes(p.live[peak])}, pass ${peak}: ${pass.op}${pass.scope ? ` in ${pass.scope}` : ""}`;
  s += `${upright(px, py, floor, "peak")}<circle class="dot" cx="${px}" cy="${py}" r="4"/>`;
  s += text(beside, Math.max(py + 4, top + 14), what, `class="strong" text-anchor="${end}"`);
  s += level(x(0), x(n), floor, "axis") + text(left - 6, floor + 14, "pass", 'text-anchor="end"');
  const step = [1, 2, 5, 10, 20, 50, 100, 200].find((d) => d * wide >= 42) || 500;
  for (let i = 0; i < n; i += step) s += text(x(i), floor + 14, i, 'text-anchor="middle"');
  const first = p.passes.findIndex((pass) => pass.backward);
  if (first <= 0) return s;
  s += text(x(0), top - 12, "forward", 'class="strong"') + text(x(first), top - 12, "backward", 'class="strong"');
  return s + upright(x(first), top - 8, floor + 40 + p.slots.length * at.row, "axis");
}

function bars(p, at) {
  const { left, row, wide, x, base } = at;
  const order = p.slots.map((_, i) => i).sort((a, b) => p.slots[b] - p.slots[a]);
  const line = new Map(order.map((slot, i) => [slot, base + i * row]));
  let s = "";
  for (const slot of order) {
    s += `<rect class="row" x="${x(0)}" y="${line.get(slot)}" width="${p.passes.length * wide}" height="${row - 2}"/>`;
    s += text(left - 6, line.get(slot) + 10, `s${slot} ${bytes(p.slots[slot])}`, 'text-anchor="end"');
  }
  for (const [slot, name, type, from, to, size] of p.lifetimes) {
    // As high as what the value takes of the buffer.
    const part = Math.max(0.18, size / p.slots[slot]) * (row - 2), y = line.get(slot) + row - 2 - part;
    const side = p.passes[from].backward ? "b" : "f", width = (to - from + 1) * wide;
    const tip = `${name} ${type}\n${bytes(size)} in s${slot}, passes ${from} to ${to}`;
    s += `<rect class="bar ${side}" data-pass="${from}" x="${x(from)}" y="${y}" width="${width}" height="${part}">`;
    s += `<title>${escaped(tip)}</title></rect>`;
  }
  return s;
}

function memory() {
  const p = program(), at = places(p);
  const [width, height] = [at.x(p.passes.length) + 20, at.base + p.slots.length * at.row + 10];
  const outside = (what, list) => {
    const lines = list.map(([name, type, size]) => [name, type, size === undefined ? "" : bytes(size)]);
    return list.length ? `<h3>${what}</h3>${table(["name", "type", "+bytes"], lines.map((l) => ({ cells: l })))}` : "";
  };
  $("memory").innerHTML = `<h2>Values in the program's own buffers</h2>
    <p class="note">A row is a buffer, largest first; a bar is a value, from the pass that writes it to the last that
      needs it, as high as the part of the buffer that it takes. Point at one for its name, click it for all of it.</p>
    <p><button type="button" id="narrower">−</button> <button type="button" id="wider">+</button> <small>width of a pass</small></p>
    <svg id="chart" width="${width}" height="${height}" role="img" aria-label="Lifetimes and memory in use by pass">
      ${inUse(p, at)}${bars(p, at)}</svg>
    ${outside("Buffers that outlast the program", data.residents)}
    ${outside("Filled by the host before each run", p.inputs)}${outside("Read by the host", p.outputs)}`;
  const stretched = (by) => () => { stretch = Math.min(16, Math.max(1, stretch * by)); memory(); highlight(); };
  $("wider").onclick = stretched(1.5);
  $("narrower").onclick = stretched(1 / 1.5);
  for (const bar of document.querySelectorAll("#chart .bar")) bar.onclick = () => choosePass(+bar.dataset.pass);
}

function choosePass(i) {
  const pass = program().passes[i];
  if (pass.node !== null) return choose(pass.node);
  const facts = rows([["of", escaped(pass.scope)], ["pass", i], ...costs(pass)]);
  side(`<h2>${escaped(pass.op)}</h2>${facts}<p class="note">The planner added it.</p>`);
}

// Passes and kernels as tables: a column whose name begins with + holds numbers.
function table(columns, lines) {
  const number = (i) => (columns[i].startsWith("+") ? ' class="number"' : "");
  const head = columns.map((c, i) => `<th${number(i)}>${c.replace("+", "")}</th>`).join("");
  const line = (l) => `<tr ${l.more || ""}>${l.cells.map((c, i) => `<td${number(i)}>${escaped(c)}</td>`).join("")}</tr>`;
  return `<table><thead><tr>${head}</tr></thead><tbody>${lines.map(line).join("")}</tbody></table>`;
}

function passes() {
  const p = program();
  const columns = ["+pass", "op", "scope", "kernel", "variant", "workgroups", "+FLOPs", "+bytes", "+share", "buffers"];
  const lines = p.passes.map((pass, i) => {
    const k = kernelOf(pass), bound = (written) => pass.bindings.filter((b) => b[2] === written).map((b) => b[0]).join(" ");
    const cells = [i, pass.op, pass.scope, k.file, k.variant, pass.grid.join("×"), flops(pass.flops), bytes(pass.bytes),
      percent(weight(pass) / p.total), `${bound(false)} → ${bound(true)}`];
    return { cells, more: `class="link ${pass.backward ? "b" : "f"}" data-pass="${i}" tabindex="0"` };
  });
  $("passes").innerHTML = table(columns, lines);
  for (const row of $("passes").querySelectorAll("tr.link")) {
    row.onclick = () => choosePass(+row.dataset.pass);
    row.onkeydown = (e) => { if (e.key === "Enter") choosePass(+row.dataset.pass); };
  }
}

function kernels() {
  const total = data.kernels.reduce((sum, k) => sum + weight(k), 0) || 1;
  const columns = ["name", "operations", "variant", "+passes", "+FLOPs", "+bytes", "+FLOP/byte", "+share", "constants and tiles"];
  const lines = data.kernels.map((k) => ({
    cells: [k.file, k.ops.join(", "), k.variant, k.passes, flops(k.flops), bytes(k.bytes),
      (k.flops / Math.max(1, k.bytes)).toFixed(1), percent(weight(k) / total), k.settings],
  }));
  $("kernels").innerHTML = `<h2>Kernels of ${data.programs.map((p) => escaped(p.name)).join(" and ")}</h2>
    <p class="note">Each is beside this page as kernels/NAME.wgsl, .spv, .metal and .hlsl. Shares are of the time floor.</p>
    ${table(columns, lines)}`;
}
