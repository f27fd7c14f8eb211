// What the page shows, and the address that brings it back.

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
for (const p of data.programs) {
  const name = p.batch ? `${p.name}, ${p.batch}` : p.name;
  $("which").querySelector("select").insertAdjacentHTML("beforeend", `<option>${escaped(name)}</option>`);
}
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
