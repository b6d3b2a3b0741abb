// A click on a heading sorts the table by that column; numbers by data-value, empty cells always last.
for (const table of document.querySelectorAll("table.sortable")) {
  const headings = [...table.tHead.rows[0].cells];
  headings.forEach((heading, column) => {
    heading.querySelector("button").addEventListener("click", () => {
      const direction = heading.getAttribute("aria-sort") === "descending" ? 1 : -1;
      headings.forEach((other) => other.removeAttribute("aria-sort"));
      heading.setAttribute("aria-sort", direction === 1 ? "ascending" : "descending");
      const body = table.tBodies[0];
      [...body.rows].sort((a, b) => compare(a.cells[column], b.cells[column], direction)).forEach((row) => body.append(row));
    });
  });
}

function compare(a, b, direction) {
  const [x, y] = [a.dataset.value, b.dataset.value];
  if (x === undefined || y === undefined) return (x === undefined) - (y === undefined);
  const [m, n] = [Number(x), Number(y)];
  if (!Number.isNaN(m) && !Number.isNaN(n)) return direction * (m - n);
  return direction * x.localeCompare(y);
}

// Drawings: Python made them, with one variant for each choice of the menus; colours are those of the page.
const figures = JSON.parse(document.getElementById("figures").textContent);
const plots = [...document.querySelectorAll(".plot")];
const menus = [...document.querySelectorAll("select[data-menu]")];

function chosen(menu) {
  const select = menus.find((one) => one.dataset.menu === menu);
  return select ? select.value : null;
}

function variant(plot) {
  const key = plot.dataset.menus.split(" ").filter(Boolean).map(chosen).filter((value) => value !== null).join("|");
  const variants = figures[plot.id];
  return key === "" ? Object.values(variants)[0] : variants[key];
}

function themed(figure) {
  const style = getComputedStyle(document.documentElement);
  const [text, line, paper, strong] = ["--text", "--line", "--paper", "--strong"].map((name) => style.getPropertyValue(name).trim());
  const axis = (own) => ({ gridcolor: line, zerolinecolor: line, linecolor: line, ...own });
  const layout = {
    ...figure.layout,
    paper_bgcolor: "transparent",
    plot_bgcolor: "transparent",
    font: { color: text, family: "system-ui, sans-serif", size: 13 },
    hoverlabel: { bgcolor: paper, bordercolor: line, font: { color: text } },
    xaxis: axis(figure.layout.xaxis),
    yaxis: axis(figure.layout.yaxis),
  };
  const data = figure.data.map((trace) => (trace.type === "heatmap" ? { ...trace, colorscale: [[0, paper], [1, strong]] } : trace));
  return { data, layout };
}

function draw(plot) {
  const figure = variant(plot);
  plot.classList.toggle("empty", !figure);
  if (!figure) {
    plot.dataset.empty = `Nothing is known here of ${chosen("class")}.`;
    Plotly.purge(plot);
    return;
  }
  const { data, layout } = themed(figure);
  Plotly.react(plot, data, layout, { responsive: true, displaylogo: false, modeBarButtonsToRemove: ["select2d", "lasso2d"] });
}

function filter(name) {
  const all = name === menus.find((one) => one.dataset.menu === "class")?.options[0].value;
  for (const row of document.querySelectorAll(".wall")) row.classList.toggle("aside", !all && !JSON.parse(row.dataset.classes).includes(name));
  for (const box of document.querySelectorAll(".wall .box")) box.classList.toggle("aside", !all && box.dataset.class !== name);
}

for (const menu of menus) {
  menu.addEventListener("change", () => {
    // The same menu may stand in several places.
    for (const other of menus) if (other.dataset.menu === menu.dataset.menu) other.value = menu.value;
    if (menu.dataset.menu === "class") filter(menu.value);
    plots.filter((plot) => plot.dataset.menus.split(" ").includes(menu.dataset.menu)).forEach(draw);
  });
}

async function unpack(text) {
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).text();
}

async function start() {
  if (!plots.length) return;
  const library = document.createElement("script");
  library.textContent = await unpack(document.getElementById("plotly").textContent);
  document.head.append(library);
  plots.forEach(draw);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => plots.forEach(draw));
  document.documentElement.dataset.drawn = "yes";
}

start();
