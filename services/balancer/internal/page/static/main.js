// Brings the page to life: events come in, the model puts them together, and
// the parts show it.

import { Activity, Announcer } from "./activity.js";
import { Model } from "./model.js";
import { Picture } from "./picture.js";
import { watch } from "./stream.js";
import { Tape } from "./tape.js";
import { clock, count, setClass, setHidden, setText, setTime, thousands } from "./text.js";
import { Texts } from "./texts.js";
import { Trips } from "./trips.js";

const [stream, buttons, rate, freeze, big, zone] = ["stream", "buttons", "rate", "freeze", "big", "zone"].map((id) => document.getElementById(id));

// The page was made for these servers: it has a row and a card for each.
const servers = [...document.querySelectorAll("#rows .name")].map((name) => name.textContent);

// It was written with the balancer's clock; from now on it is the reader's.
for (const time of document.querySelectorAll("time[datetime]")) setTime(time, time.dateTime, Date.now());
setText(zone, "in your time zone, " + new Intl.DateTimeFormat("en-US", { timeZoneName: "short" }).formatToParts().find((part) => part.type === "timeZoneName").value);

for (const element of [stream, buttons]) setHidden(element, false);

const model = new Model();
const picture = new Picture();
const always = [new Texts(), new Tape()];
const greeted = [picture, new Trips(), new Activity()]; // that have nothing to show without a hello
const rooms = [rate, ...["picture", "trips"].map((id) => document.getElementById(id))]; // that are empty without a hello
const announcer = new Announcer();
let connection = ["", "connecting"];
let frozen = null; // the model as it was
let stale = false; // the balancer has other servers now

// render shows what is known: without a hello that is little more than the
// texts, and what came with the page stays as it is.
function render() {
  const shown = frozen ?? model;
  if (shown.status) {
    for (const room of rooms) setHidden(room, !shown.greeted);
    for (const part of shown.greeted ? [...always, ...greeted] : always) part.render(shown, shown.now());
    const { turns, shown: dots } = shown.rate();
    const text = dots < turns ? `a sample: dots for ${thousands(dots)} of ${thousands(turns)} turns a second` : count(turns, "turn") + " a second";
    setText(rate, frozen || connection[0] === "live" ? text : "");
  }
  renderChip();
}

// The chip says whether what is shown is live.
function renderChip() {
  const [kind, text] = connection;
  setClass(stream, "stream " + (frozen ? "frozen" : kind));
  setText(stream, frozen ? `frozen at ${clock(frozen.now())}, ${kind === "live" ? sinceFrozen() : text}` : text);
}

function sinceFrozen() {
  if (stale) return "the balancer has other servers since";
  if (model.status.started !== frozen.status.started) return "the balancer was started again since";
  return count(model.status.turns - frozen.status.turns, "turn") + " since";
}

// accept takes a status of the servers that the page was made for, and notes
// what it says of the balancer itself. For other servers the page is loaded
// again, as soon as it is not frozen.
function accept(status) {
  stale = status.backends.length !== servers.length || status.backends.some((b, i) => b.name !== servers[i]);
  if (stale && !frozen) location.reload();
  else if (!stale && model.status && model.status.started !== status.started) announcer.say("the balancer was started again");
  return !stale;
}

watch({
  hello(h) {
    if (!accept(h.status)) return renderChip();
    announcer.news(model.hello(h));
    if (!frozen) picture.clear();
    render();
  },
  frame(f) {
    if (stale) return;
    const { shown, changed } = model.frame(f);
    announcer.news(f.news);
    if (!frozen) {
      picture.show(shown);
      picture.change(changed.map((change) => model.turns.get(change.turn)));
      render();
    } else renderChip();
  },
  poll(state) {
    if (!accept(state.status)) return;
    model.poll(state);
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

freeze.addEventListener("click", () => {
  if (frozen && stale) location.reload();
  frozen = frozen || !model.status ? null : model.copy();
  freeze.ariaPressed = String(Boolean(frozen));
  picture.freeze(Boolean(frozen));
  render();
});

// Big is part of the address, so that a lecture hall can have a bookmark.
function setBig(on) {
  document.documentElement.classList.toggle("big", on);
  big.ariaPressed = String(on);
  render();
}

big.addEventListener("click", () => {
  const on = !document.documentElement.classList.contains("big");
  history.replaceState(null, "", on ? "#big" : location.pathname);
  setBig(on);
});
setBig(location.hash === "#big");
addEventListener("resize", render);
