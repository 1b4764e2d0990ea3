// Filters of tables, what a screen reader is told of them, and the reload of a page whose runs are not complete.
// The sorting is that of sortable-tablesort, which obeys the buttons in the headings.
"use strict";
const every = (selector, within = document) => [...within.querySelectorAll(selector)];
let isTouched = false;

for (const box of every(".data")) {
  const table = box.querySelector("table");
  const said = box.querySelector("[role=status]");
  const filter = box.querySelector("input[type=search]");
  const rows = () => every("tbody tr", table);
  filter?.addEventListener("input", () => {
    isTouched = true;
    const words = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
    for (const row of rows()) {
      const text = row.textContent.toLowerCase();
      row.hidden = !words.every((word) => text.includes(word));
    }
    const shown = rows().filter((row) => !row.hidden).length;
    said.textContent = words.length ? `${shown} of ${rows().length} rows` : "";
  });
  table.addEventListener("sort-end", () => {
    isTouched = true;
    const by = table.querySelector("thead th[aria-sort]");
    said.textContent = `sorted by ${by.firstElementChild.ariaLabel ?? by.textContent.trim()}, ${by.getAttribute("aria-sort")}`;
  });
}

// It does not bubble.
document.addEventListener("toggle", () => (isTouched = true), true);

const reload = document.querySelector("#reload");
if (reload) {
  document.querySelector("#made").textContent = `It was made at ${new Date(document.lastModified).toLocaleString()}.`;
  setInterval(() => reload.checked && !isTouched && !document.hidden && location.reload(), 60000);
}
for (const shown of every(".script")) shown.hidden = false;
