// The drawing.

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
      frames += `<g data-box="${box.key}"><rect class="group" ${at}/>` +
        `<text class="name" x="${box.X + 12}" y="${box.Y + 17}">${escaped(title(box))}</text></g>`;
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
    lines += `<path class="edge ${saved ? "saved" : ""}" data-a="${a.key}" data-b="${b.key}" d="${path}" marker-end="url(#tip)">` +
      `<title>${escaped(tip)}</title></path>`;
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

// Looking around: `eye` is what of the drawing is seen.

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
