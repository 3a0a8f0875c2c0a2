// Sort a table by a column: a click on its header, ascending and descending in turn. Empty cells stay last.
for (const button of document.querySelectorAll("th button")) {
  button.addEventListener("click", () => {
    const header = button.closest("th");
    const table = header.closest("table");
    const column = header.cellIndex;
    const down = header.getAttribute("aria-sort") === "ascending";
    const numeric = header.classList.contains("number");
    const key = row => row.cells[column].dataset.key;
    const rows = [...table.tBodies[0].rows];
    const compare = numeric
      ? (a, b) => Number(key(a)) - Number(key(b))
      : (a, b) => key(a).localeCompare(key(b), undefined, { numeric: true });
    rows.sort((a, b) => {
      if ((key(a) === "") !== (key(b) === "")) return key(a) === "" ? 1 : -1;
      return down ? compare(b, a) : compare(a, b);
    });
    for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
    header.setAttribute("aria-sort", down ? "descending" : "ascending");
    table.tBodies[0].append(...rows);
  });
}

// A printed page shows settings, command and versions.
addEventListener("beforeprint", () => {
  for (const record of document.querySelectorAll("details.record")) record.open = true;
});
