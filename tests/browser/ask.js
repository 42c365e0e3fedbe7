// Behind the page: clicks every heading twice and tells what became of it to the page around it.
addEventListener("load", () => {
  const wrong = [];
  const plots = [...document.querySelectorAll("figure svg")];
  const drawn = plots.filter((svg) =>
    svg.getBoundingClientRect().width > 200 && svg.querySelectorAll("path, polygon").length > 5 &&
    svg.getAttribute("role") === "img" && svg.getAttribute("aria-label").length > 50);
  const tables = [...document.querySelectorAll("table")];
  const valuesOf = (table, column) => [...table.tBodies[0].rows].map((row) => {
    const cell = row.cells[column];
    const text = cell.dataset.sort ?? cell.textContent;
    return text === "" || Number.isNaN(Number(text)) ? text : Number(text);
  });
  const isOrdered = (values, sign) => {
    const filled = values.filter((value) => value !== "");
    const emptyAreLast = values.slice(0, filled.length).every((value) => value !== "");
    const numeric = filled.every((value) => typeof value === "number");
    const compare = (a, b) => numeric ? a - b
      : String(a).localeCompare(String(b), undefined, { numeric: true });
    return emptyAreLast && filled.every((v, i) => i === 0 || sign * compare(filled[i - 1], v) <= 0);
  };
  for (const table of tables)
    [...table.tHead.rows[0].cells].forEach((heading, column) => {
      const before = valuesOf(table, column).sort().join();
      for (const [way, sign] of [["ascending", 1], ["descending", -1]]) {
        heading.querySelector("button").click();
        const values = valuesOf(table, column);
        if (heading.getAttribute("aria-sort") !== way || !isOrdered(values, sign) ||
            [...values].sort().join() !== before ||
            table.querySelectorAll("[aria-sort]").length !== 1)
          wrong.push(heading.textContent + " " + way);
      }
    });
  parent.postMessage(innerWidth + " px: problems: " + (problems.join(", ") || "none") +
    "; plots: " + drawn.length + " of " + plots.length + "; tables: " + tables.length +
    "; wrongly sorted: " + (wrong.join(", ") || "none") + "; hacked: " + ("hacked" in window) +
    "; too wide: " + (document.documentElement.scrollWidth > innerWidth), "*");
});
