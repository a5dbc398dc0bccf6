// The tape: the last turns, and whose turn is next.

import { colorOf, make, say, thousands } from "./text.js";

const MARKS = { waiting: "…", silent: "✗", dropped: "⊘", undelivered: "⊘", forgotten: "?" };

export class Tape {
  #tape = document.getElementById("tape");
  #story = document.getElementById("story");
  #cells = new Map(); // by turn
  #columns = 0;
  #rows = 0; // so many there have been

  constructor() {
    this.#tape.replaceChildren();
  }

  render(model) {
    const cells = new Map();
    for (const turn of model.tape) {
      const cell = this.#cells.get(turn.turn) ?? newCell(turn);
      update(cell, turn);
      cells.set(turn.turn, cell);
    }
    this.#cells = cells;
    const all = [...cells.values()];
    const next = model.nextPlace();
    if (next) all.push(make("li", "ghost " + colorOf(next), "", make("span", "unseen", "next: "), make("b", "", String(next)), make("i", "", "next")));
    this.#arrange(model, all);
    this.#tape.replaceChildren(...all);
    say(this.#story, story(model));
  }

  // arrange puts turns into columns that are a multiple of the servers. A turn
  // keeps its column, and the rows move up.
  #arrange(model, cells) {
    const servers = model.status.backends.length;
    const rem = parseFloat(getComputedStyle(document.documentElement).fontSize);
    const fit = Math.max(1, Math.min(30, Math.floor(this.#tape.clientWidth / (2.1 * rem))));
    const columns = servers <= fit ? fit - (fit % servers) : fit;
    if (columns !== this.#columns) {
      this.#columns = columns;
      this.#rows = 0;
      this.#tape.style.setProperty("--columns", columns);
      this.#tape.style.setProperty("--cell", "0");
    }
    cells.forEach((cell) => (cell.style.gridColumnStart = ""));
    const first = model.tape[0]?.turn ?? 1;
    if (cells[0]) cells[0].style.gridColumnStart = ((first - 1) % columns) + 1;
    // What is below keeps its place while rows come and go.
    const rows = Math.ceil((((first - 1) % columns) + cells.length + 1) / columns);
    this.#rows = Math.max(this.#rows, rows);
    this.#tape.style.gridTemplateRows = `repeat(${this.#rows}, 3.1rem)`;
  }
}

function newCell(turn) {
  const cell = make("li", "", "", make("b", "", String(turn.place)), make("i"));
  if (turn.new_client) cell.prepend(make("span", "unseen", "new client: "));
  cell.title = `turn #${turn.turn}, ${turn.server}, asked by ${turn.client}`;
  return cell;
}

function update(cell, turn) {
  const classes = [colorOf(turn.place), turn.outcome];
  if (turn.new_client) classes.push("run");
  const wanted = classes.join(" ");
  if (cell.className === wanted) return;
  cell.className = wanted;
  say(cell.querySelector("i"), MARKS[turn.outcome] ?? "");
}

// story says in words how the newest client's run joined the order.
function story(model) {
  if (model.missed > 0 && !model.run) return `${thousands(model.missed)} turns went by unseen.`;
  if (!model.run) return "";
  const { turn, before } = model.run;
  let text = `Client ${turn.client} began at turn #${thousands(turn.turn)} with ${turn.server}`;
  text += before ? `: the order went on after #${thousands(before.turn)}, ${before.server}.` : ".";
  if (model.missed > 0) text += ` ${thousands(model.missed)} turns went by unseen while the connection was lost.`;
  return text;
}
