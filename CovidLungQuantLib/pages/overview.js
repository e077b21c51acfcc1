// Sorts and filters the table of a cohort.
"use strict";
(() => {
  const body = document.querySelector("#scans tbody");
  const rows = [...body.rows];
  const headings = [...document.querySelectorAll("#scans th[data-key]")];
  const field = (name) => document.getElementById(name);

  // Numbers by size, texts by letters; what is not known comes last either way.
  function compare(one, other, sign) {
    if (one === "" || other === "") return (one === "") - (other === "");
    const [a, b] = [Number(one), Number(other)];
    if (!Number.isNaN(a) && !Number.isNaN(b)) return sign * (a - b);
    return sign * one.localeCompare(other, undefined, { numeric: true });
  }

  function sort(heading) {
    const cell = headings.indexOf(heading) + 1;
    const value = (row) => row.cells[cell].dataset.value;
    // Figures from the highest down at first, names from A on.
    const isText = cell <= 3 || rows.every((row) => Number.isNaN(Number(value(row))));
    const before = heading.getAttribute("aria-sort");
    const first = isText ? "ascending" : "descending";
    const order = before === null ? first : before === "ascending" ? "descending" : "ascending";
    headings.forEach((other) => other.removeAttribute("aria-sort"));
    heading.setAttribute("aria-sort", order);
    const sign = order === "ascending" ? 1 : -1;
    rows.sort((one, other) => compare(value(one), value(other), sign));
    body.append(...rows);
  }

  function sieve() {
    const words = field("text").value.toLowerCase().split(/\s+/).filter(Boolean);
    const state = field("state").value;
    const [lowest, highest] = [field("lowest").value, field("highest").value];
    let shown = 0;
    for (const row of rows) {
      const text = row.textContent.toLowerCase();
      const burden = Number(row.dataset.burden);
      const fits =
        words.every((word) => text.includes(word)) &&
        (state === "" || row.dataset.state === state) &&
        (lowest === "" || burden >= Number(lowest)) &&
        (highest === "" || burden <= Number(highest));
      row.hidden = !fits;
      shown += fits;
    }
    field("count").textContent = `${shown} of ${rows.length} scans`;
  }

  headings.forEach((heading) => heading.addEventListener("click", () => sort(heading)));
  document.querySelector(".sieve").addEventListener("input", sieve);
  sieve();
})();
