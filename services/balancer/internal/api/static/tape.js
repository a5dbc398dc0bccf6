// The tape: the last turns, and whose turn is next.

import { colorOf, dress, make, say, sign, thousands } from "./text.js";

// What stands under a turn, for the eye and in words; an answered one needs
// nothing.
const MARKS = { waiting: "…", silent: "✗", dropped: "⊘", undelivered: "⊘", forgotten: "?" };
const WORDS = { waiting: "waiting", silent: "no answer", dropped: "not sent", undelivered: "answer not delivered", forgotten: "not known" };
const GAP = 4; // columns that a gap takes
const GHOST = 2; // and what is next

export class Tape {
  #tape = document.getElementById("tape");
  #story = document.getElementById("story");
  #unseen = document.getElementById("went-by");
  #sample = document.getElementById("tape-sample");
  #cells = new Map(); // by turn, in their order, as they are in the list
  #gap = null; // after them: the turns that are not shown
  #ghost = null; // after that: whose turn is next
  #started = this.#tape.dataset.started; // the balancer that they are of
  #columns = 0;
  #rows = 0; // so many there have been

  // The turns that came with the page stay until others are known.
  constructor() {
    for (const cell of this.#tape.querySelectorAll("[data-turn]")) this.#cells.set(Number(cell.dataset.turn), cell);
    this.#gap = this.#tape.querySelector(".gap");
    this.#ghost = this.#tape.querySelector(".ghost");
  }

  render(model) {
    const { started } = model.status;
    if (model.greeted || started !== this.#started) this.#renderTurns(model.tape, started);
    this.#renderNext(model);
    this.#arrange(model);
    say(this.#story, story(model.status.run));
    this.#unseen.hidden = !model.missed;
    if (model.missed) say(this.#unseen, `${thousands(model.missed.count)} ${model.missed.count === 1 ? "turn" : "turns"} went by unseen while the connection was lost.`);
    this.#sample.hidden = !model.tapeIsSample();
  }

  // renderTurns takes away what has gone, at the front, and adds what is new,
  // at the end: the rest of the list is not touched, so that nobody who reads
  // or marks it is disturbed.
  #renderTurns(turns, started) {
    const wanted = new Map(turns.map((turn) => [turn.turn, turn]));
    const another = started !== this.#started;
    this.#started = started;
    for (const [number, cell] of this.#cells) {
      if (wanted.has(number) && !another) continue;
      cell.remove();
      this.#cells.delete(number);
    }
    const tail = this.#gap ?? this.#ghost;
    for (const [number, turn] of wanted) {
      let cell = this.#cells.get(number);
      if (!cell) {
        cell = newCell(turn);
        this.#tape.insertBefore(cell, tail);
        this.#cells.set(number, cell);
      }
      update(cell, turn);
    }
  }

  // renderNext adds whose turn is next, and before that how many turns came
  // after those of the tape: what stands side by side is in order.
  #renderNext(model) {
    const place = model.nextPlace();
    const number = model.status.next_turn ?? model.status.turns + 1;
    const last = [...this.#cells.keys()].at(-1);
    const between = last === undefined ? 0 : number - last - 1;
    if (between > 0) {
      this.#gap ??= this.#tape.insertBefore(make("li", "gap", "", make("i"), make("span", "unseen", " turns not shown")), this.#ghost);
      say(this.#gap.firstChild, `… ${thousands(between)} more`);
    } else {
      this.#gap?.remove();
      this.#gap = null;
    }
    if (place && between >= 0) {
      this.#ghost ??= this.#tape.appendChild(make("li", "", "", make("span", "unseen", "next: "), make("b"), sign("next", "i")));
      dress(this.#ghost, "ghost " + colorOf(place));
      say(this.#ghost.querySelector("b"), String(place));
    } else {
      this.#ghost?.remove();
      this.#ghost = null;
    }
  }

  // arrange puts turns into columns that are a multiple of the servers. A turn
  // keeps its column, and the rows move up.
  #arrange(model) {
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
    const [[number, cell] = [1, null]] = this.#cells;
    const before = (number - 1) % columns;
    setStyle(cell, "gridColumnStart", String(before + 1));
    let end = before + this.#cells.size;
    for (const [wide, most] of [[this.#gap, GAP], [this.#ghost, GHOST]]) {
      if (!wide) continue;
      const span = Math.min(most, columns);
      setStyle(wide, "gridColumnEnd", `span ${span}`);
      const left = columns - (end % columns);
      end += span + (span > left ? left : 0);
    }
    // What is below keeps its place while rows come and go.
    this.#rows = Math.max(this.#rows, Math.ceil(end / columns));
    setStyle(this.#tape, "gridTemplateRows", `repeat(${this.#rows}, 3.1rem)`);
  }
}

// setStyle sets what is not so already. Browsers write some values in another
// way than they were given, so it compares with what was given.
const given = new WeakMap();

function setStyle(element, name, value) {
  if (!element || given.get(element)?.[name] === value) return;
  given.set(element, { ...given.get(element), [name]: value });
  element.style[name] = value;
}

function newCell(turn) {
  const cell = make("li", "", "", make("b", "", String(turn.place)), sign("", "i"), make("span", "unseen"));
  if (turn.new_client) cell.prepend(make("span", "unseen", "new client: "));
  cell.dataset.turn = turn.turn;
  cell.title = `turn #${turn.turn}, ${turn.server}, asked by ${turn.client}`;
  return cell;
}

function update(cell, turn) {
  dress(cell, [colorOf(turn.place), turn.outcome, ...(turn.new_client ? ["run"] : [])].join(" "));
  say(cell.querySelector("i"), MARKS[turn.outcome] ?? "");
  const words = WORDS[turn.outcome];
  say(cell.lastChild, words ? ", " + words : "");
}

// story says in words how the newest client's run joined the order.
function story(run) {
  if (!run) return "";
  const began = `A new client, ${run.client}, began at turn #${thousands(run.turn)} with ${run.server}`;
  return run.after_server ? `${began}: the order went on after #${thousands(run.turn - 1)}, ${run.after_server}.` : began + ".";
}
