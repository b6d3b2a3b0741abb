// The image wall: labels of a readable size that do not cover each other, rows without orphans, images enlarged.
const walls = [...document.querySelectorAll(".wall")];

function says(box) {
  // "cat 0.90, background error" -> "cat 0.90"; a class name may itself hold a comma.
  const words = box.querySelector("title").textContent;
  const end = words.indexOf(",", box.dataset.class.length);
  return end < 0 ? words : words.slice(0, end);
}

// Every label is `size` px high on the screen, inside its image, and covers no other: else it is left out.
function label(svg, size, whole) {
  const scale = svg.getScreenCTM()?.a;
  if (!scale) return; // not on the screen
  const { width, height } = svg.viewBox.baseVal;
  const taken = [];
  for (const box of [...svg.querySelectorAll(".box")].reverse()) { // the best detection is the last
    const text = box.querySelector("text");
    box.querySelector(".back")?.remove();
    text.style.display = ""; // what is not displayed has no length
    text.textContent = whole ? says(box) : box.dataset.class;
    text.setAttribute("font-size", size / scale);
    const pad = 2 / scale;
    const [w, h] = [text.getComputedTextLength() + 2 * pad, 1.25 * size / scale];
    const frame = box.querySelector("rect").getBBox();
    const x = Math.max(0, Math.min(frame.x, width - w));
    const free = (y) => y >= 0 && y + h <= height && w <= width
      && !taken.some((t) => x < t.x + t.w && t.x < x + w && y < t.y + t.h && t.y < y + h);
    const y = [frame.y - h, frame.y, frame.y + frame.height - h, frame.y + frame.height].find(free);
    const shown = y !== undefined && (whole || !box.classList.contains("missed")) && !box.classList.contains("aside");
    text.style.display = shown ? "" : "none";
    if (!shown) continue;
    taken.push({ x, y, w, h });
    text.setAttribute("x", x + pad);
    text.setAttribute("y", y + 0.95 * size / scale);
    const back = document.createElementNS(svg.namespaceURI, "rect");
    back.classList.add("back");
    for (const [name, value] of Object.entries({ x, y, width: w, height: h })) back.setAttribute(name, value);
    box.insertBefore(back, text);
  }
}

function arrange() {
  for (const images of document.querySelectorAll(".wall .images")) {
    const count = images.children.length;
    const most = Math.max(1, Math.floor((images.clientWidth + 12) / (images.clientWidth < 500 ? 150 : 220)));
    const rows = Math.ceil(count / most);
    images.style.gridTemplateColumns = `repeat(${Math.ceil(count / rows)}, minmax(0, 1fr))`;
  }
  for (const svg of document.querySelectorAll(".wall svg")) label(svg, 11, false);
}

function enlarging(dialog) {
  const figures = [...document.querySelectorAll(".wall figure")];
  let at = 0;

  function draw() {
    const figure = figures[at];
    const svg = figure.querySelector("svg").cloneNode(true);
    svg.querySelector("image")?.removeAttribute("id");
    const { width, height } = svg.viewBox.baseVal;
    svg.style.maxWidth = `calc(70vh * ${width / height})`;
    dialog.querySelector("h3").textContent =
      `${figure.closest(".wall").dataset.title}: ${figure.querySelector("figcaption").textContent}`;
    dialog.querySelector(".frame").replaceChildren(svg);
    const boxes = [...svg.querySelectorAll(".box")].filter((box) => !box.classList.contains("aside"));
    dialog.querySelector(".said").replaceChildren(...boxes.reverse().map((box) => {
      const item = document.createElement("li");
      const key = document.createElement("span");
      key.className = `key ${[...box.classList].find((name) => name !== "box")}`;
      item.append(key, box.querySelector("title").textContent);
      return item;
    }));
    label(svg, 13, true);
  }

  function step(by) {
    const shown = (figure) => !figure.closest(".wall").matches(".aside, .unasked");
    do at = (at + by + figures.length) % figures.length; while (!shown(figures[at]));
    draw();
  }

  figures.forEach((figure, place) => {
    figure.querySelector("button").addEventListener("click", () => {
      at = place;
      dialog.showModal(); // Escape closes it, and the focus goes back to the image
      draw();
    });
  });
  for (const button of dialog.querySelectorAll("[data-step]")) {
    button.addEventListener("click", () => step(Number(button.dataset.step)));
  }
  dialog.querySelector("[data-close]").addEventListener("click", () => dialog.close());
  dialog.addEventListener("click", (event) => event.target === dialog && dialog.close()); // beside it
  dialog.addEventListener("keydown", (event) => {
    if (event.key === "ArrowLeft") step(-1);
    if (event.key === "ArrowRight") step(1);
  });
  window.addEventListener("resize", () => dialog.open && draw());
}

// Which objects each detector misses on an image: its boxes of that kind lie where the ground truth's do.
function missed(wall, name) {
  const figure = [...wall.querySelectorAll("figure")].find((one) => one.dataset.detector === name);
  const key = (box) => ["x", "y", "width", "height"].map((side) => box.querySelector("rect").getAttribute(side)).join();
  return new Map([...figure.querySelectorAll(".box.missed")].map((box) => [`${box.dataset.class} ${key(box)}`, box]));
}

// The filter "this finds, that misses": images without such an object step aside; the address remembers the choice.
function choosing(choice) {
  const [finds, misses] = choice.querySelectorAll("select");
  const asked = new URLSearchParams(location.hash.slice(1));
  for (const menu of [finds, misses]) {
    const name = asked.get(menu.dataset.wall);
    if ([...menu.options].some((option) => option.value === name)) menu.value = name;
  }

  function apply() {
    const both = finds.value && misses.value && finds.value !== misses.value;
    let shown = 0;
    for (const wall of walls) {
      for (const box of wall.querySelectorAll(".told")) box.classList.remove("told");
      const found = both ? missed(wall, finds.value) : new Map();
      const lost = both ? [...missed(wall, misses.value)].filter(([key]) => !found.has(key)) : [];
      for (const [, box] of lost) box.classList.add("told");
      wall.classList.toggle("unasked", Boolean(both) && !lost.length);
      shown += lost.length > 0;
    }
    choice.querySelector("output").textContent = both ? `${shown} of ${walls.length} images`
      : finds.value && finds.value === misses.value ? "choose two different detectors" : "";
    arrange();
  }

  function remember() {
    const words = new URLSearchParams();
    for (const menu of [finds, misses]) if (menu.value) words.set(menu.dataset.wall, menu.value);
    history.replaceState(null, "", words.size ? `#${words}` : location.pathname + location.search);
    apply();
  }

  for (const menu of [finds, misses]) menu.addEventListener("change", remember);
  choice.hidden = false;
  apply();
}

if (walls.length) {
  enlarging(document.getElementById("enlarged"));
  new ResizeObserver(arrange).observe(walls[0].parentElement);
  arrange();
  const choice = document.getElementById("wall-choice");
  if (choice) choosing(choice);
}
