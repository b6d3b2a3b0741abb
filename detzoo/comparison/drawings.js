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

// On a narrow screen each name of the legend has a line of its own: the drawing keeps its height.
function legendHeight(figure, width) {
  const names = figure.data.filter((trace) => trace.name && trace.showlegend !== false && trace.type !== "heatmap");
  return width < 600 ? names.reduce((sum, trace) => sum + (trace.name.includes("<br>") ? 36 : 19), 0) : 0;
}

function themed(figure, width) {
  const style = getComputedStyle(document.documentElement);
  const [text, line, paper, heat] = ["--text", "--line", "--paper", "--heat"].map((name) => style.getPropertyValue(name).trim());
  const axis = (own) => ({ gridcolor: line, zerolinecolor: line, linecolor: line, ...own });
  const layout = {
    ...figure.layout,
    paper_bgcolor: "transparent",
    plot_bgcolor: "transparent",
    font: { color: text, family: "system-ui, sans-serif", size: 13 },
    hoverlabel: { bgcolor: paper, bordercolor: line, font: { color: text } },
    height: figure.layout.height + legendHeight(figure, width),
    xaxis: axis(figure.layout.xaxis),
    yaxis: axis(figure.layout.yaxis),
  };
  const data = figure.data.map((trace) => (trace.type === "heatmap" ? { ...trace, colorscale: [[0, paper], [1, heat]], textfont: { color: text } } : trace));
  return { data, layout };
}

// Names beside their marks: inside the drawing, on no other name and no mark; a name without such a place is left out.
function placeNames(plot, data) {
  const named = data.map((trace, number) => ({ trace, number })).filter(({ trace }) => trace.mode === "markers+text");
  if (!named.length) return;
  const { xaxis, yaxis, width } = plot._fullLayout;
  const pen = document.createElement("canvas").getContext("2d");
  pen.font = "13px system-ui, sans-serif";
  const spot = ({ trace }) => [xaxis._offset + xaxis.d2p(trace.x[0]), yaxis._offset + yaxis.d2p(trace.y[0])];
  const taken = named.map((one) => {
    const [x, y] = spot(one);
    const r = one.trace.marker.size / 2;
    return [x - r, y - r, x + r, y + r];
  });
  const places = named.map((one) => {
    const [x, y] = spot(one);
    const [w, r] = [pen.measureText(one.trace.text[0]).width + 4, one.trace.marker.size / 2];
    if (!one.trace.text[0]) return "top center";
    for (const place of ["top center", "top right", "top left", "bottom center", "bottom right", "bottom left", "middle right", "middle left"]) {
      const [row, side] = place.split(" ");
      const gap = row === "middle" || side !== "center" ? r + 2 : 0;
      const left = side === "right" ? x + gap : side === "left" ? x - gap - w : x - w / 2;
      const top = row === "top" ? y - r - 17 : row === "bottom" ? y + r + 1 : y - 8;
      const box = [left, top, left + w, top + 16];
      const free = box[0] >= xaxis._offset && box[2] <= width && box[1] >= 20 && box[3] <= yaxis._offset + yaxis._length
        && !taken.some((t) => box[0] < t[2] && t[0] < box[2] && box[1] < t[3] && t[1] < box[3]);
      if (free) {
        taken.push(box);
        return place;
      }
    }
    return null;
  });
  Plotly.restyle(plot, {
    textposition: places.map((place) => place ?? "top center"),
    text: places.map((place, n) => [place ? named[n].trace.text[0] : ""]),
  }, named.map(({ number }) => number));
}

function draw(plot) {
  const figure = variant(plot);
  plot.classList.toggle("empty", !figure);
  if (!figure) {
    plot.dataset.empty = plot.dataset.menus.includes("class") ? `Nothing is known here of ${chosen("class")}.` : "Nothing to draw: choose two different detectors.";
    plot.style.height = "";
    Plotly.purge(plot);
    return;
  }
  const { data, layout } = themed(figure, plot.clientWidth);
  plot.style.height = `${layout.height}px`; // Plotly forgets it when the window is resized
  Plotly.react(plot, data, layout, { responsive: true, displaylogo: false, modeBarButtonsToRemove: ["select2d", "lasso2d"] });
  placeNames(plot, data);
}

function filter(name) {
  const all = name === menus.find((one) => one.dataset.menu === "class")?.options[0].value;
  for (const row of document.querySelectorAll(".wall")) row.classList.toggle("aside", !all && !JSON.parse(row.dataset.classes).includes(name));
  for (const box of document.querySelectorAll(".wall .box")) box.classList.toggle("aside", !all && box.dataset.class !== name);
  arrange();
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
  for (const query of ["(prefers-color-scheme: dark)", "(max-width: 640px)"]) {
    matchMedia(query).addEventListener("change", () => plots.forEach(draw));
  }
  document.documentElement.dataset.drawn = "yes";
}

start();
