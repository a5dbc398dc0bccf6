// The tape: the last turns, and whose turn is next.

import { colorOf, count, setClass, setHidden, setText, thousands } from "./text.js";

const GAP = 4; // columns that a gap takes
const GHOST = 2; // and what is next

export class Tape {
  #tape = document.getElementById("tape");
  #blank = document.getElementById("cell").content.firstElementChild;
  #marks = JSON.parse(this.#tape.dataset.marks); // by outcome; an answered turn has none
  #gap = document.getElementById("gap"); // after the turns: those that are not shown
  #ghost = document.getElementById("ghost"); // after that: whose turn is next
  #missed = document.getElementById("went-by");
  #sample = document.getElementById("tape-sample");
  #started = this.#tape.dataset.started; // the balancer that the turns are of
  #cells = new Map([...this.#tape.querySelectorAll("[data-turn]")].map((cell) => [Number(cell.dataset.turn), cell])); // in order
  #columns = 0;
  #rows = 0; // so many there have been

  // render leaves the turns that came with the page until others are known.
  render(model) {
    const { started } = model.status;
    if (model.greeted || started !== this.#started) this.#renderTurns(model.tape, started);
    this.#renderNext(model);
    this.#arrange(model.status.backends.length);
    setHidden(this.#missed, !model.missed);
    if (model.missed) setText(this.#missed, count(model.missed.count, "turn") + " went by unseen while the connection was lost.");
    setHidden(this.#sample, !model.tapeIsSample());
  }

  // renderTurns takes away what has gone, at the front, and adds what is new,
  // at the end: the rest of the list is not touched, so that nobody who reads
  // or marks it is disturbed.
  #renderTurns(turns, started) {
    const wanted = new Set(turns.map((turn) => turn.turn));
    const another = started !== this.#started;
    this.#started = started;
    for (const [number, cell] of this.#cells) {
      if (wanted.has(number) && !another) continue;
      cell.remove();
      this.#cells.delete(number);
    }
    for (const turn of turns) {
      let cell = this.#cells.get(turn.turn);
      if (!cell) {
        cell = this.#tape.insertBefore(this.#newCell(turn), this.#gap);
        this.#cells.set(turn.turn, cell);
      }
      setClass(cell, [colorOf(turn.place), turn.outcome, ...(turn.new_client ? ["run"] : [])].join(" "));
      const { sign = "", word = "" } = this.#marks[turn.outcome] ?? {};
      setText(cell.querySelector("i"), sign);
      setText(cell.lastChild, word);
    }
  }

  #newCell(turn) {
    const cell = this.#blank.cloneNode(true);
    if (!turn.new_client) cell.querySelector(".new").remove();
    cell.dataset.turn = turn.turn;
    cell.title = cell.title.replace(/{(\w+)}/g, (_, name) => turn[name]);
    cell.querySelector("b").textContent = turn.place;
    return cell;
  }

  // renderNext shows whose turn is next, and before that how many turns came
  // after those of the tape: what stands side by side is in order.
  #renderNext({ status, texts }) {
    const last = [...this.#cells.keys()].at(-1);
    const between = last === undefined ? 0 : (status.next_turn ?? status.turns + 1) - last - 1;
    setHidden(this.#gap, between <= 0);
    setText(this.#gap.querySelector("span"), thousands(Math.max(0, between)));
    setHidden(this.#ghost, !texts.place || between < 0);
  }

  // arrange puts turns into columns that are a multiple of the servers. A turn
  // keeps its column, and the rows move up.
  #arrange(servers) {
    const rem = parseFloat(getComputedStyle(document.documentElement).fontSize);
    const columns = columnsFor(this.#tape.clientWidth / (2.1 * rem), servers);
    if (columns !== this.#columns) [this.#columns, this.#rows] = [columns, 0];
    const [[number, cell] = [1, null]] = this.#cells;
    const wide = [[this.#gap, GAP], [this.#ghost, GHOST]].filter(([element]) => !element.hidden);
    const { start, spans, rows } = layout(columns, number, this.#cells.size, wide.map(([, span]) => span));
    this.#rows = Math.max(this.#rows, rows); // what is below keeps its place while rows come and go
    setProperty(this.#tape, "--columns", columns);
    setProperty(this.#tape, "--cell", 0);
    setProperty(this.#tape, "--rows", this.#rows);
    setProperty(cell, "--column", start);
    wide.forEach(([element], i) => setProperty(element, "--span", spans[i]));
  }
}

// columnsFor is how many columns the tape has where so many fit: a multiple of
// the servers, so that an order without a fault has the same number below the
// same number.
export function columnsFor(fit, servers) {
  const most = Math.max(1, Math.min(30, Math.floor(fit)));
  return servers <= most ? most - (most % servers) : most;
}

// layout is the column in which the first turn stands, how wide what follows
// the turns is, and how many rows that takes.
export function layout(columns, first, turns, wide) {
  const start = (first - 1) % columns;
  let end = start + turns;
  const spans = wide.map((most) => Math.min(most, columns));
  for (const span of spans) {
    const left = columns - (end % columns);
    end += span > left ? left + span : span;
  }
  return { start: start + 1, spans, rows: Math.ceil(end / columns) };
}

// setProperty sets what the style reckons with, if that is not so already.
function setProperty(element, name, value) {
  if (element && element.style.getPropertyValue(name) !== String(value)) element.style.setProperty(name, value);
}
