// Sorts a table by the column whose header is clicked, tapped, or chosen with the keyboard.
"use strict";

function compare(a, b) {
  if (a === "" || b === "") return (a === "") - (b === ""); // what is not known comes last, whichever way
  return typeof a === "number" ? a - b : a.localeCompare(b, "en", { numeric: true });
}

function sortBy(header) {
  const column = header.cellIndex;
  const body = header.closest("table").tBodies[0];
  const ascending = header.getAttribute("aria-sort") !== "ascending";
  const value = (row) => {
    const text = row.cells[column].dataset.value ?? row.cells[column].textContent;
    return text === "" || isNaN(text) ? text : Number(text);
  };
  const rows = [...body.rows];
  rows.sort((one, other) => {
    const [a, b] = [value(one), value(other)];
    return ascending || a === "" || b === "" ? compare(a, b) : compare(b, a);
  });
  body.append(...rows);
  for (const other of header.parentElement.cells) other.removeAttribute("aria-sort");
  header.setAttribute("aria-sort", ascending ? "ascending" : "descending");
}

for (const button of document.querySelectorAll("thead button")) {
  button.addEventListener("click", () => sortBy(button.closest("th")));
}
