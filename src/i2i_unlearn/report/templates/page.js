"use strict";
// Without this script the page shows everything; it only adds the controls.
(function () {
  const byId = (id) => document.getElementById(id);
  const all = (selector, inside) => Array.from((inside || document).querySelectorAll(selector));

  for (const control of all(".theme, .controls, .compare")) control.hidden = false;
  for (const number of all(".row-number")) number.style.display = "none";

  byId("theme").addEventListener("change", (event) => {
    const choice = event.target.value;
    if (choice === "system") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = choice;
  });

  const unfold = () => { if (location.hash === "#everything") for (const fold of all("details")) fold.open = true; };
  window.addEventListener("hashchange", unfold);
  unfold();

  const size = byId("size");
  if (size) size.addEventListener("input", () => {
    for (const table of all(".pictures")) table.style.setProperty("--cell", size.value + "px");
  });

  const lens = byId("lens"), left = byId("lens-left"), right = byId("lens-right"), wipe = byId("lens-wipe");
  const rows = all(".pictures tbody tr");
  let current = 0;

  function option(name) {
    const element = document.createElement("option");
    element.value = element.textContent = name;
    return element;
  }

  function lay() {
    const images = all("img", rows[current]);
    const find = (name) => images.find((image) => image.dataset.column === name);
    const over = find(left.value), under = find(right.value);
    byId("lens-over").src = over.src;
    byId("lens-over").alt = "Left: " + over.alt;
    byId("lens-under").src = under.src;
    byId("lens-under").alt = "Right: " + under.alt;
    byId("lens-caption").textContent = rows[current].querySelector("button").getAttribute("aria-label").replace(/^Compare /, "");
    const view = lens.querySelector(".lens-view");
    view.classList.toggle("pixelated", Boolean(rows[current].closest(".pixelated")));
    view.style.setProperty("--wipe", wipe.value + "%");
  }

  function show(index) {
    const before = [left.value, right.value];
    current = (index + rows.length) % rows.length;
    const names = all("img", rows[current]).map((image) => image.dataset.column);
    left.replaceChildren(...names.map(option));
    right.replaceChildren(...names.map(option));
    const pick = (wanted, fallback) => (names.includes(wanted) ? wanted : names.includes(fallback) ? fallback : names[0]);
    left.value = pick(before[0], "Before");
    right.value = pick(before[1], "After");
    lay();
    if (lens.open) return;
    lens.showModal();
    wipe.focus();
  }

  rows.forEach((row, index) => {
    row.querySelector("button").addEventListener("click", () => show(index));
    for (const image of all("img", row)) {
      image.classList.add("opens");
      image.addEventListener("click", () => show(index));
    }
  });
  for (const control of [left, right]) control.addEventListener("change", lay);
  wipe.addEventListener("input", lay);
  byId("lens-before").addEventListener("click", () => show(current - 1));
  byId("lens-after").addEventListener("click", () => show(current + 1));
  byId("lens-close").addEventListener("click", () => lens.close());
})();
