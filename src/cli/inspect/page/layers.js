// Layers (Sugiyama, Tagawa and Toda 1981): ranks by longest path, order by barycentre.

const textWidth = (text, size = 12) => text.length * size * 0.57;
const GAP = { x: 18, y: 34, pad: 14, title: 24 };

function subtitle(box) {
  const part = share(box);
  const time = part >= 0.005 ? ` · ${percent(part)}` : "";
  if (box.kids) return `${box.inside.length} nodes${time}`;
  const [first, ...others] = box.node.outputs;
  return `${first[1]}${others.length ? ` +${others.length}` : ""}${time}`;
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
