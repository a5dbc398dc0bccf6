// Brings the page to life: events come in, the model puts them together, and
// the parts show it.

import { Model } from "./model.js";
import { Announcer, News } from "./news.js";
import { Picture } from "./picture.js";
import { watch } from "./stream.js";
import { Table } from "./table.js";
import { Tape } from "./tape.js";
import { amount, clock, make, say, thousands } from "./text.js";
import { Trips } from "./trips.js";

for (const id of ["stream", "buttons", "picture", "trips", "rate"]) document.getElementById(id).hidden = false;

const model = new Model();
const picture = new Picture();
const parts = [picture, new Tape(), new Table(), new Trips(), new News()];
const announcer = new Announcer();
const stream = document.getElementById("stream");
const rate = document.getElementById("rate");
let frozenAt = null; // the balancer's time, and the turns until then

function render() {
  if (!model.status || frozenAt) return;
  for (const part of parts) part.render(model);
  renderRate();
}

function renderRate() {
  const { turns, shown } = model.rate();
  const text = shown < turns ? `showing ${thousands(shown)} of ${thousands(turns)} a second` : amount(turns, "turn", "turns") + " a second";
  if (rate.textContent !== text) rate.replaceChildren(make("b", "", text));
}

// The chip says whether what is shown is live.
let connection = ["", "connecting"];

function renderChip() {
  let [kind, text] = connection;
  if (frozenAt && kind === "live") {
    kind = "frozen";
    text = `frozen at ${clock(frozenAt.at)}, ${amount(model.status.turns - frozenAt.turns, "turn", "turns")} since`;
  }
  stream.className = "stream " + kind;
  say(stream, text);
}

watch({
  hello(h) {
    model.hello(h);
    picture.clear();
    render();
    renderChip();
  },
  frame(f) {
    const { shown, changed } = model.frame(f);
    announcer.news(f.news);
    if (!frozenAt) {
      picture.show(shown);
      picture.change(changed.map((change) => model.turns.get(change.turn)));
    }
    render();
    renderChip();
  },
  state(kind, text) {
    if (kind !== connection[0] && (kind === "lost" || connection[0] === "lost")) announcer.say(kind === "lost" ? text : "connected again");
    connection = [kind, text];
    renderChip();
  },
});

// Time goes on while nothing happens: the minute moves and the rate falls.
setInterval(render, 500);

const freeze = document.getElementById("freeze");
freeze.addEventListener("click", () => {
  frozenAt = frozenAt || !model.status ? null : { at: model.now(), turns: model.status.turns };
  freeze.setAttribute("aria-pressed", String(Boolean(frozenAt)));
  picture.freeze(Boolean(frozenAt));
  render();
  renderChip();
});

// Big is part of the address, so that a lecture hall can have a bookmark.
const big = document.getElementById("big");

function setBig(on) {
  document.documentElement.classList.toggle("big", on);
  big.setAttribute("aria-pressed", String(on));
  render();
}

big.addEventListener("click", () => {
  const on = !document.documentElement.classList.contains("big");
  history.replaceState(null, "", on ? "#big" : location.pathname);
  setBig(on);
});
setBig(location.hash === "#big");
addEventListener("resize", render);
