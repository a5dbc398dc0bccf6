// Puts the balancer's texts into their places: data-text names those of the
// whole page, data-cell those of each server.

import { colorOf, setClass, setHidden, setText, setTime } from "./text.js";

export class Texts {
  #places = [...document.querySelectorAll("[data-text]")];
  #badge = document.getElementById("next-badge");
  #rows = [...document.querySelectorAll("#rows > tr")];
  #cards = [...document.querySelectorAll("#servers > li")];
  #downs = document.getElementById("downs");
  #blank = document.getElementById("down").content.firstElementChild;

  render({ texts }, now) {
    for (const place of this.#places) setText(place, String(texts[place.dataset.text]));
    setClass(this.#badge, "badge " + colorOf(texts.place));
    setHidden(this.#badge, texts.place === 0);
    texts.rows.forEach((row, i) => {
      for (const root of [this.#rows[i], this.#cards[i]]) {
        root.classList.toggle("is-down", !row.up);
        root.classList.toggle("turn", i + 1 === texts.place);
        fill(root, row, now);
      }
    });
    const down = texts.rows.filter((row) => !row.up);
    while (this.#downs.children.length > down.length) this.#downs.lastElementChild.remove();
    down.forEach((row, i) => fill(this.#downs.children[i] ?? this.#downs.appendChild(this.#blank.cloneNode(true)), row, now));
  }
}

// fill puts what is known of a server into the cells of an element.
function fill(root, row, now) {
  for (const cell of root.querySelectorAll("[data-cell]")) {
    const value = row[cell.dataset.cell];
    if (cell.tagName === "TIME") setTime(cell, value, now);
    else setText(cell, value);
  }
}
