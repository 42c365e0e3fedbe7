"use strict";
// Tables sort by a click on a heading; commands can be copied. Without a script all of it can be read.
(() => {
  const keyOf = (row, column) => {
    const cell = row.cells[column];
    const text = cell.dataset.sort ?? cell.textContent.trim();
    return text === "" ? null : text;
  };
  const compare = (a, b, numeric) =>
    numeric ? Number(a) - Number(b) : a.localeCompare(b, undefined, { numeric: true });

  const sortBy = (table, column) => {
    const headings = [...table.tHead.rows[0].cells];
    const heading = headings[column];
    const down = heading.getAttribute("aria-sort") === "ascending";
    const body = table.tBodies[0];
    const rows = [...body.rows];
    const numeric = rows.every((row) => {
      const key = keyOf(row, column);
      return key === null || !Number.isNaN(Number(key));
    });
    rows.sort((x, y) => {
      const a = keyOf(x, column), b = keyOf(y, column);
      // What has no value is last, whichever way.
      if (a === null || b === null) return (a === null) - (b === null);
      return down ? compare(b, a, numeric) : compare(a, b, numeric);
    });
    body.append(...rows);
    headings.forEach((other) => other.removeAttribute("aria-sort"));
    heading.setAttribute("aria-sort", down ? "descending" : "ascending");
  };

  document.querySelectorAll("table").forEach((table) => {
    [...table.tHead.rows[0].cells].forEach((heading, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...heading.childNodes);
      button.addEventListener("click", () => sortBy(table, column));
      heading.append(button);
    });
  });

  // What the ellipsis hides is told when the pointer rests on it.
  document.querySelectorAll("td").forEach((cell) => {
    if (cell.scrollWidth > cell.clientWidth) cell.title = cell.textContent;
  });

  if (navigator.clipboard) {
    document.querySelectorAll(".command").forEach((command) => {
      const button = document.createElement("button");
      button.type = "button";
      button.className = "copy";
      button.textContent = "Copy";
      button.addEventListener("click", async () => {
        try {
          await navigator.clipboard.writeText(command.querySelector("code").textContent);
          button.textContent = "Copied";
        } catch {
          button.textContent = "Not allowed";
        }
        setTimeout(() => { button.textContent = "Copy"; }, 1500);
      });
      command.append(button);
    });
  }
})();
