// Tables: sorted by their headings, with columns to be chosen.
for (const part of document.querySelectorAll(".table")) {
  sortable(part.querySelector("table"));
  choosable(part);
}

// A click on a heading sorts the table by that column; numbers by data-value, empty cells always last.
function sortable(table) {
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

// At the start as many columns as fit, the important ones first; then whatever is chosen. What is wider scrolls
// sideways, below the first column, which stays.
function choosable(part) {
  const table = part.querySelector("table");
  const scroll = part.querySelector(".scroll");
  const choices = part.querySelector("details.columns");
  const boxes = [...choices.querySelectorAll("input")];
  const headings = [...table.tHead.rows[0].cells];
  const order = JSON.parse(table.dataset.order);
  let fitted = true;
  choices.hidden = boxes.length === 0;

  function show(keys) {
    const places = headings.map((heading, place) => place === 0 || keys.has(heading.dataset.key));
    for (const row of table.rows) places.forEach((shown, place) => { row.cells[place].hidden = !shown; });
    for (const box of boxes) box.checked = keys.has(box.value);
    choices.querySelector("output").textContent = `${places.filter(Boolean).length} of ${places.length} shown`;
  }

  function fit() {
    fitted = true;
    show(new Set(order));
    const width = new Map(headings.map((heading) => [heading.dataset.key, heading.getBoundingClientRect().width]));
    const room = scroll.clientWidth;
    if (!room) return; // folded away
    const first = headings[0].dataset.key;
    const keys = new Set();
    let used = width.get(first);
    for (const key of order) {
      if (key === first) continue;
      used += width.get(key);
      if (used > room) break;
      keys.add(key);
    }
    show(keys);
    // Narrower tables break their headings otherwise: what is still too wide loses its least important columns.
    for (const key of [...keys].reverse()) {
      if (scroll.scrollWidth <= scroll.clientWidth) break;
      keys.delete(key);
      show(keys);
    }
  }

  for (const box of boxes) {
    box.addEventListener("change", () => {
      fitted = false;
      show(new Set(boxes.filter((one) => one.checked).map((one) => one.value)));
    });
  }
  choices.querySelector("[data-columns=all]").addEventListener("click", () => { fitted = false; show(new Set(order)); });
  choices.querySelector("[data-columns=fit]").addEventListener("click", fit);
  new ResizeObserver(() => fitted && fit()).observe(scroll.parentElement);
}
