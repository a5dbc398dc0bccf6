// Brings the page to life: events come in, the model puts them together, and
// the parts show it.

import { Model } from "./model.js";
import { Announcer, News } from "./news.js";
import { Picture } from "./picture.js";
import { watch } from "./stream.js";
import { Table } from "./table.js";
import { Tape } from "./tape.js";
import { amount, clock, make, moment, say, thousands } from "./text.js";
import { Trips } from "./trips.js";

// The page was made for these servers: it has a row and a card for each.
const servers = [...document.querySelectorAll('[data-cell="name"]')].map((cell) => cell.textContent);

// It was written with the balancer's clock; from now on it is the reader's.
for (const time of document.querySelectorAll("time[datetime]")) say(time, moment(time.dateTime, Date.now()));
say(document.getElementById("zone"), "in your time zone, " + new Intl.DateTimeFormat("en-US", { timeZoneName: "short" }).formatToParts().find((part) => part.type === "timeZoneName").value);

for (const id of ["stream", "buttons"]) document.getElementById(id).hidden = false;

const model = new Model();
const picture = new Picture();
const table = new Table();
const tape = new Tape();
const parts = [picture, tape, table, new Trips(), new News()];
const announcer = new Announcer();
const stream = document.getElementById("stream");
const rate = document.getElementById("rate");
const rooms = ["picture", "trips", "rate"].map((id) => document.getElementById(id)); // that are empty without a hello
let connection = ["", "connecting"];
let frozen = null; // the model as it was
let stale = false; // the balancer has other servers now

// render shows what is known: without a hello that is little more than the
// status, and what came with the page stays as it is.
function render() {
  const shown = frozen ?? model;
  if (!shown.status) return;
  for (const room of rooms) if (room.hidden === shown.greeted) room.hidden = !shown.greeted;
  for (const part of shown.greeted ? parts : [table, tape]) part.render(shown);
  renderRate(shown);
}

function renderRate(shown) {
  const { turns, shown: dots } = shown.rate();
  let text = "";
  if (frozen || connection[0] === "live") {
    text = dots < turns ? `a sample: dots for ${thousands(dots)} of ${thousands(turns)} turns a second` : amount(turns, "turn", "turns") + " a second";
  }
  if (rate.textContent !== text) rate.replaceChildren(make("b", "", text));
}

// The chip says whether what is shown is live.
function renderChip() {
  let [kind, text] = connection;
  if (frozen) {
    text = `frozen at ${clock(frozen.now())}, ${kind === "live" ? sinceFrozen() : text}`;
    kind = "frozen";
  }
  if (stream.className !== "stream " + kind) stream.className = "stream " + kind;
  say(stream, text);
}

function sinceFrozen() {
  if (stale) return "the balancer has other servers since";
  if (model.status.started !== frozen.status.started) return "the balancer was started again since";
  return amount(model.status.turns - frozen.status.turns, "turn", "turns") + " since";
}

// isOurs says whether a status is of the servers that the page was made for.
// If it is not, the page is loaded again: as soon as it is not frozen.
function isOurs(status) {
  stale = status.backends.length !== servers.length || status.backends.some((b, i) => b.name !== servers[i]);
  if (stale && !frozen) location.reload();
  return !stale;
}

// meet notes what a status says of the balancer itself.
function meet(status) {
  if (model.status && model.status.started !== status.started) announcer.say("the balancer was started again");
}

watch({
  hello(h) {
    if (!isOurs(h.status)) return renderChip();
    meet(h.status);
    announcer.news(model.hello(h));
    if (!frozen) {
      picture.clear();
      render();
    }
    renderChip();
  },
  frame(f) {
    if (stale) return;
    const { shown, changed } = model.frame(f);
    announcer.news(f.news);
    if (!frozen) {
      picture.show(shown);
      picture.change(changed.map((change) => model.turns.get(change.turn)));
      render();
    }
    renderChip();
  },
  status(status) {
    if (!isOurs(status)) return;
    meet(status);
    model.poll(status);
    if (!frozen) render();
  },
  state(kind, text) {
    if (kind !== connection[0] && (kind === "lost" || connection[0] === "lost")) announcer.say(kind === "lost" ? text : "connected again");
    connection = [kind, text];
    renderChip();
  },
});

// Time goes on while nothing happens: the minute moves and the rate falls.
setInterval(() => frozen || render(), 500);

const freeze = document.getElementById("freeze");
freeze.addEventListener("click", () => {
  if (frozen && stale) location.reload();
  frozen = frozen || !model.status ? null : model.copy();
  freeze.setAttribute("aria-pressed", String(Boolean(frozen)));
  picture.freeze(Boolean(frozen));
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
