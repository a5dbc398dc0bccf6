// The table, the headline and the totals.

import { clock, colorOf, make, millis, percent, say, thousands } from "./text.js";

const TOTALS = ["turns", "received", "forwarded", "dropped_total", "replied", "sessions", "order_violations"];

export class Table {
  #rows = [...document.querySelectorAll("#rows > tr")];
  #next = document.getElementById("next");
  #downs = document.getElementById("downs");
  #nextShown = -1;

  render(model) {
    const { status } = model;
    const place = model.nextPlace();
    const all = status.backends.reduce((sum, b) => sum + b.turns, 0);
    status.backends.forEach((backend, i) => {
      const row = this.#rows[i];
      row.classList.toggle("turn", i + 1 === place);
      const cell = (name, text) => say(row.querySelector(`[data-cell="${name}"]`), text);
      const state = row.querySelector('[data-cell="state"]');
      state.className = backend.up ? "up" : "down";
      cell("state", `${backend.up ? "up" : "✖ down"} since ${clock(backend.since)}`);
      cell("turns", thousands(backend.turns));
      cell("share", percent(backend.turns, all));
      cell("answered", thousands(backend.answered));
      cell("silent", percent(backend.silent, backend.silent + backend.answered));
      cell("rtt", `${millis(backend.rtt_p50_ms)} / ${millis(backend.rtt_p95_ms)}${backend.rtt_p95_ms === null ? "" : " ms"}`);
      cell("seen", backend.last_seen ? clock(backend.last_seen) : "never");
      cell("addr", backend.addr ?? backend.configured);
    });
    this.#renderNext(status, place);
    this.#renderDowns(status);
    for (const name of TOTALS) say(document.getElementById("total-" + name), thousands(status[name]));
  }

  #renderNext(status, place) {
    if (place === this.#nextShown) return;
    this.#nextShown = place;
    document.title = (place ? `${status.next} is next` : "no server is up") + " – udplab balancer";
    if (place) this.#next.replaceChildren(make("span", "faint", "Next turn"), " ", make("b", "badge " + colorOf(place), String(place)), " ", make("strong", "", status.next));
    else this.#next.replaceChildren(make("strong", "", "No server is up"));
  }

  #renderDowns(status) {
    const fate = status.when_down === "hold" ? "Its turns are kept and lost." : "Its turns go to the next server.";
    const down = status.backends.filter((b) => !b.up);
    while (this.#downs.children.length > down.length) this.#downs.lastElementChild.remove();
    down.forEach((backend, i) => {
      const item = this.#downs.children[i] ?? this.#downs.appendChild(make("li"));
      say(item, `✖ ${backend.name} is down since ${clock(backend.since)}: ${backend.reason}. ${down.length < status.backends.length ? fate : ""}`);
    });
  }
}
