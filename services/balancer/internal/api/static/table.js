// The table, the headline and the totals.

import { colorOf, dress, make, millis, moment, percent, say, sayDown, sign, since, thousands } from "./text.js";

const TOTALS = ["turns", "received", "forwarded", "dropped_total", "replied", "sessions", "order_violations"];

export class Table {
  #rows = [...document.querySelectorAll("#rows > tr")];
  #next = document.getElementById("next");
  #downs = document.getElementById("downs");
  #nextShown = "";

  render(model) {
    const { status } = model;
    const place = model.nextPlace();
    const now = model.now();
    const all = status.backends.reduce((sum, b) => sum + b.turns, 0);
    status.backends.forEach((backend, i) => {
      const row = this.#rows[i];
      if (row.classList.contains("turn") !== (i + 1 === place)) row.classList.toggle("turn");
      const find = (name) => row.querySelector(`[data-cell="${name}"]`);
      const cell = (name, text) => say(find(name), text);
      const state = find("state");
      dress(state, backend.up ? "up" : "down");
      sayDown(state, !backend.up, (backend.up ? "up " : "down ") + since(backend.since, now));
      cell("turns", thousands(backend.turns));
      cell("share", percent(backend.turns, all));
      cell("answered", thousands(backend.answered));
      cell("silent", percent(backend.silent, backend.silent + backend.answered));
      cell("rtt", `${millis(backend.rtt_p50_ms)} / ${millis(backend.rtt_p95_ms)}${backend.rtt_p95_ms === null ? "" : " ms"}`);
      cell("seen", backend.last_seen ? moment(backend.last_seen, now) : "never");
      cell("addr", backend.addr ?? backend.configured);
    });
    this.#renderNext(status, place, model.nextIsTrial());
    this.#renderDowns(model, now);
    for (const name of TOTALS) say(document.getElementById("total-" + name), thousands(status[name]));
  }

  // renderNext says whose turn is next, and if that is only to find out whether
  // it is back.
  #renderNext({ next }, place, trial) {
    const shown = JSON.stringify([place, trial]);
    if (shown === this.#nextShown) return;
    this.#nextShown = shown;
    document.title = (place ? `${next} is next${trial ? " (a try)" : ""}` : "no server is up") + " – udplab balancer";
    if (!place) return this.#next.replaceChildren(make("strong", "", "No server is up"));
    const parts = [make("span", "faint", "Next turn"), " ", make("b", "badge " + colorOf(place), String(place)), " ", make("strong", "", next)];
    if (trial) parts.push(" ", make("span", "faint", "(a try: is it back?)"));
    this.#next.replaceChildren(...parts);
  }

  #renderDowns(model, now) {
    const down = model.status.backends.filter((b) => !b.up);
    while (this.#downs.children.length > down.length) this.#downs.lastElementChild.remove();
    down.forEach((backend, i) => {
      const item = this.#downs.children[i] ?? this.#downs.appendChild(make("li"));
      const text = [`${backend.name} is down`, ` ${since(backend.since, now)}: ${[backend.reason, fate(model, backend, down.length)].filter(Boolean).join(". ")}`];
      if (item.textContent !== "✖ " + text.join("")) item.replaceChildren(sign("✖"), " ", make("strong", "", text[0]), text[1]);
    });
  }
}

// fate is what becomes of the turns of a server that is down.
function fate({ status, tried }, backend, down) {
  const all = down === status.backends.length;
  const turns = status.when_down === "hold" ? "Its turns are kept and lost" : all ? "" : "Its turns go to the next server";
  if (tried.get(backend.name) !== backend.since) return turns && turns + ".";
  return turns ? turns + "; one turn every two seconds tries it." : "One turn every two seconds tries it.";
}
