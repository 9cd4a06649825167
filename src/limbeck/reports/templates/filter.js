"use strict";
// Hides the rows that are not asked for. The page holds every row: nothing here makes HTML, and
// without a script all of them are seen.
const form = document.getElementById("filter");
const rows = Array.from(document.querySelectorAll("#changed tbody tr"));
const plain = (text) => text.normalize("NFKC").toLowerCase();
const texts = rows.map((row) => plain(row.textContent));
// "2:2:0,5 1:1:4": of each unit the numbers of its label, of the teacher's and the student's answer.
const units = rows.map((row) =>
  row.dataset.units.split(" ").map((unit) => unit.split(":").map((names) => names.split(","))));

function show() {
  const asked = ["given", "teacher", "student"].map((name) => form.elements[name]?.value);
  const right = form.elements.right.value;
  const words = plain(form.elements.words.value).split(/\s+/);
  let count = 0;
  rows.forEach((row, i) => {
    // One unit must have all that is asked: of a sentence, one word.
    const fits = units[i].some((unit) => asked.every((name, k) => !name || unit[k].includes(name)))
      && (!right || row.dataset.right === right)
      && words.every((word) => texts[i].includes(word));
    row.hidden = !fits;
    count += fits;
  });
  form.querySelector("output").textContent = `${count} of ${rows.length} rows`;
}

form.addEventListener("input", show);
form.addEventListener("submit", (event) => event.preventDefault());
// The fields are emptied after the event.
form.addEventListener("reset", () => setTimeout(show));
form.hidden = false;
// A browser keeps what was asked when it loads a page anew.
show();
