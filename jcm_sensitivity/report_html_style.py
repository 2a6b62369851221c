"""Style and script inside of the page of a certificate."""

STYLE = """
:root { color-scheme: light; --line: #d0d4da; }
body { font: 15px/1.5 system-ui, sans-serif; color: #1b1f24; margin: 1.5rem auto; padding: 0 1rem;
  max-width: 1500px; }
h1 { font-size: 1.6rem; margin: 0; } h2 { font-size: 1.2rem; margin: 2rem 0 .5rem; }
p { max-width: 60rem; margin: .4rem 0; }
.result { display: inline-block; font-weight: 700; padding: .2rem .8rem; border-radius: .3rem; }
.good { background: #cfe8d5; } .bad { background: #b3261e; color: #fff; }
table { border-collapse: collapse; } th { text-align: left; font-weight: 600; }
.plain th, .plain td { padding: .25rem .6rem; border-bottom: 1px solid var(--line);
  vertical-align: top; }
.plain tbody th { white-space: nowrap; } details { margin: .5rem 0; }
.number { text-align: right; } .symbol { text-align: center; font-weight: 700; }
.units { color: #59636e; font-weight: 400; }
.scroll { overflow: auto; max-height: 75vh; border: 1px solid var(--line); }
#matrix { font-size: 13px; border-collapse: separate; border-spacing: 0; }
#matrix thead th { position: sticky; top: 0; background: #f4f5f7; z-index: 2; padding: .2rem .4rem;
  border-bottom: 1px solid var(--line); height: 1.5rem; }
#matrix thead tr + tr th { top: 1.95rem; text-align: center; font-weight: 400; }
#matrix tbody th, #matrix thead tr:first-child th:first-child { position: sticky; left: 0;
  background: #fff; z-index: 1; white-space: nowrap; padding: 0 .6rem 0 .4rem; }
#matrix thead tr:first-child th:first-child { z-index: 3; background: #f4f5f7; }
#matrix tbody th { font-weight: 400; }
#matrix td { padding: 1px; text-align: center; }
#matrix .first, #matrix thead th[colspan] { border-left: 2px solid var(--line); }
#matrix button { width: 2.4rem; height: 1.5rem; border: 0; border-radius: 2px;
  font: 600 13px system-ui, sans-serif; cursor: pointer; color: #1b1f24; }
#matrix button:focus-visible, #matrix button.open { outline: 3px solid #1b1f24;
  outline-offset: -1px; }
button.off { opacity: .12; }
#filter { display: flex; flex-wrap: wrap; gap: .5rem; align-items: center; margin: .5rem 0; }
#filter label { padding: .15rem .5rem; border-radius: .3rem; }
.v-pass { background: #cfe8d5; } .v-kink { background: #fbe3a2; } .v-jump { background: #f4b183; }
.v-dead { background: #d9dce1; } .v-noise-floor { background: #cbe1f5; }
.v-chaotic { background: #dcc6ec; }
.v-wrong, #matrix .v-wrong { background: #b3261e; color: #fff; }
.v-not-finite, #matrix .v-not-finite { background: #1b1f24; color: #fff; }
#detail { position: fixed; right: 1rem; bottom: 1rem; width: min(36rem, calc(100vw - 4rem));
  max-height: 80vh; overflow: auto; background: #fff; border: 1px solid #8c959f; z-index: 9;
  border-radius: .4rem; box-shadow: 0 4px 24px #0004; padding: .8rem 1rem; font-size: 14px; }
#detail h3 { margin: 0 2rem .3rem 0; font-size: 1rem; overflow-wrap: anywhere; }
#detail .close { position: absolute; top: .5rem; right: .5rem; font-size: 1rem; }
#detail .tag { padding: .1rem .5rem; border-radius: .3rem; font-weight: 600; }
#detail table th { white-space: normal; }
#detail li { overflow-wrap: anywhere; font-family: ui-monospace, monospace; font-size: 12px; }
figure { margin: 1rem 0; } figure img { max-width: 100%; } figcaption { font-weight: 600; }
code { overflow-wrap: anywhere; } dt { font-weight: 600; } dd { margin: 0 0 .4rem; }
@media print { .scroll { max-height: none; overflow: visible; }
  #filter, #detail { display: none; } }
"""

#: Text from the certificate reaches the page by `textContent` only, never as HTML.
SCRIPT = r"""
const data = JSON.parse(document.getElementById("data").textContent);
const $ = (id) => document.getElementById(id), all = (s) => [...document.querySelectorAll(s)];
const node = (tag, text, name) => {
  const e = document.createElement(tag);
  if (text !== undefined) e.textContent = text;
  if (name) e.className = name;
  return e;
};
const css = (verdict) => "v-" + verdict.replaceAll(" ", "-");

function filter() {
  const on = new Set(all("[name=verdict]:checked").map((x) => x.value));
  const words = $("text").value.toLowerCase().trim();
  const headers = all("#matrix thead th[colspan]");
  const found = headers.map((x) => words !== "" && x.textContent.toLowerCase().includes(words));
  const some = found.includes(true);
  let count = 0;
  for (const row of all("#matrix tbody tr")) {
    const named = row.dataset.name.includes(words);
    let any = false;
    for (const button of row.querySelectorAll("button")) {
      const show = on.has(data.cells[button.dataset.cell].verdict)
        && (named || found[button.parentNode.dataset.target]);
      button.classList.toggle("off", !show);
      any ||= show;
      count += show;
    }
    row.hidden = !any || !(named || some);
  }
  $("shown").textContent = `${count} of ${data.cells.length} cells`;
}

function plot(cell) {
  const svg = (tag, options, text) => {
    const e = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [k, v] of Object.entries(options)) e.setAttribute(k, v);
    if (text) e.textContent = text;
    return e;
  };
  const curves = [["R1", cell.r1, "#0072b2", ""], ["R2", cell.r2, "#d55e00", "5 3"]].map(
    ([name, r, colour, dash]) => [name, cell.steps.map((h, i) => [h, r[i]]).filter(
      ([h, x]) => h > 0 && x > 0).map((p) => p.map(Math.log10)), colour, dash]);
  const points = curves.flatMap((c) => c[1]);
  if (points.length < 2) return null;
  const W = 500, H = 250, L = 50, B = 34, T = 8, R = 70;
  const edge = (k, f) => f(...points.map((p) => p[k]));
  const x0 = Math.floor(edge(0, Math.min)), x1 = Math.ceil(edge(0, Math.max)) || x0 + 1;
  const y0 = Math.floor(edge(1, Math.min)), y1 = Math.ceil(edge(1, Math.max) + 1e-9);
  const X = (x) => L + ((x - x0) / Math.max(x1 - x0, 1)) * (W - L - R);
  const Y = (y) => H - B - ((y - y0) / Math.max(y1 - y0, 1)) * (H - B - T);
  const chart = svg("svg", {viewBox: `0 0 ${W} ${H}`, role: "img", width: "100%",
    "aria-label": "Taylor remainders against the step", "font-size": 11});
  for (let x = x0; x <= x1; x++) {
    chart.append(svg("line", {x1: X(x), x2: X(x), y1: T, y2: H - B, stroke: "#e3e6ea"}));
    chart.append(svg("text", {x: X(x), y: H - B + 14, "text-anchor": "middle"}, `1e${x}`));
  }
  const stride = Math.ceil((y1 - y0) / 8) || 1;
  for (let y = y0; y <= y1; y += stride) {
    chart.append(svg("line", {x1: L, x2: W - R, y1: Y(y), y2: Y(y), stroke: "#e3e6ea"}));
    chart.append(svg("text", {x: L - 5, y: Y(y) + 4, "text-anchor": "end"}, `1e${y}`));
  }
  chart.append(svg("text", {x: (L + W - R) / 2, y: H - 4, "text-anchor": "middle"}, "step"));
  curves.forEach(([name, line, colour, dash], k) => {
    if (!line.length) return;
    const [a, b] = line.reduce((p, q) => (q[0] > p[0] ? q : p));
    for (const power of k ? [3] : [1, 2]) {
      const end = Math.max(x0, a - (b - y0) / power);
      chart.append(svg("line", {x1: X(a), y1: Y(b), x2: X(end), y2: Y(b - (a - end) * power),
        stroke: "#8c959f", "stroke-dasharray": "1 3"}));
      chart.append(svg("text", {x: X(end) + 4, y: Y(b - (a - end) * power) - 3,
        fill: "#59636e"}, `slope ${power}`));
    }
    chart.append(svg("polyline", {points: line.map((p) => `${X(p[0])},${Y(p[1])}`).join(" "),
      fill: "none", stroke: colour, "stroke-width": 2, "stroke-dasharray": dash}));
    chart.append(svg("text", {x: W - R + 8, y: T + 14 * (k + 1), fill: colour,
      "font-weight": 700}, k ? "R2 - - -" : "R1 \u2014"));
  });
  return chart;
}

function show(button) {
  all("button.open").forEach((x) => x.classList.remove("open"));
  button.classList.add("open");
  const cell = data.cells[button.dataset.cell], panel = $("detail");
  const close = node("button", "\u00d7", "close");
  close.setAttribute("aria-label", "close");
  close.onclick = () => { panel.hidden = true; button.classList.remove("open"); button.focus(); };
  const table = node("table", undefined, "plain");
  const row = (name, value) => {
    const tr = node("tr");
    tr.append(node("th", name), node("td", value));
    table.append(tr);
  };
  data.shown.forEach((name, k) => row(name, cell.numbers[k]));
  row("orders of R0, R1, R2", cell.orders.join(", ") + " (smooth: 1, 2, 3)");
  if (cell.units) row("unit of the target", cell.units);
  if (cell.step) row("a step of 1", cell.step);
  const verdict = node("p");
  verdict.append(node("span", cell.verdict, "tag " + css(cell.verdict)));
  panel.replaceChildren(close, node("h3", cell.name), verdict, node("p", cell.explanation), table);
  const chart = plot(cell);
  if (chart) panel.append(chart);
  if (cell.flips.length) {
    const list = node("ul");
    list.append(...cell.flips.map((x) => node("li", x)));
    panel.append(node("h3", "Switches that flip"), list);
  }
  panel.hidden = false;
  panel.scrollTop = 0;
}

$("filter").addEventListener("input", filter);
$("matrix").addEventListener("click", (e) => {
  const button = e.target.closest("button");
  if (button) show(button);
});
document.addEventListener("keydown", (e) => { if (e.key === "Escape") $("detail").hidden = true; });
filter();
"""
