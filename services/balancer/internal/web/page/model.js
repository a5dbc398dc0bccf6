// What the page knows: the events of /events put together. Nothing here
// touches the document.

export const TAPE = 60; // turns that the tape shows
export const MINUTE = 60_000;
const SHOWN_PER_SECOND = 30; // datagrams that are shown one by one
const SHOWN_PER_FRAME = 6; // of them, when there are more: frames come five times a second then
const KNOWN_CLIENTS = 200;
const KNOWN_TURNS = 1000;

export class Model {
  status = null;
  turns = new Map(); // by number, those that may still change or are on the tape
  tape = []; // the last turns
  trips = []; // {at, place, rtt}; rtt is null for no answer
  clients = new Map(); // by address: {address, turns, last}
  news = new Map(); // by number
  run = null; // the newest client's first turn, and the turn before it
  missed = 0; // turns between what was known and what came after a pause
  skew = 0; // our clock less the balancer's, in ms
  counts = []; // {at, count, shown} of the last second
  chosen = new Set(); // turns that are shown one by one

  // now is the balancer's time.
  now() {
    return Date.now() - this.skew;
  }

  hello(h) {
    this.skew = Date.now() - Date.parse(h.at);
    this.status = h.status;
    this.missed = h.missed;
    this.turns.clear();
    this.chosen.clear();
    this.tape = [];
    this.news = new Map(h.news.map((item) => [item.id, item]));
    this.trips = h.trips.map((t) => ({ at: Date.parse(t.at), place: t.place, rtt: t.rtt_ms }));
    this.counts = [];
    for (const turn of h.turns) {
      this.#remember(turn);
      if (turn.outcome === "waiting") this.chosen.add(turn.turn);
    }
  }

  // frame takes what is new, and returns the turns that are to be shown one by
  // one and the changes of such.
  frame(f) {
    if (f.status) this.status = f.status;
    for (const item of f.news) this.news.set(item.id, item);
    while (this.news.size > 60) this.news.delete(this.news.keys().next().value);
    const changed = f.changes.filter((change) => this.#change(change));
    const shown = f.turns.slice(0, this.#allow(f.turns.length));
    for (const turn of f.turns) this.#remember(turn);
    for (const turn of shown) {
      this.chosen.add(turn.turn);
      this.#settle(turn);
    }
    this.#count(f.count, shown.length);
    const since = this.now() - MINUTE;
    if (this.trips.length > 0 && this.trips[0].at < since) this.trips = this.trips.filter((t) => t.at >= since);
    return { shown, changed };
  }

  #remember(turn) {
    const before = this.turns.get(turn.turn - 1);
    this.turns.set(turn.turn, turn);
    while (this.turns.size > KNOWN_TURNS) {
      const oldest = this.turns.keys().next().value;
      this.turns.delete(oldest);
      this.chosen.delete(oldest);
    }
    const newest = this.tape.at(-1);
    if (newest && turn.turn !== newest.turn + 1) this.tape = []; // the tape has no gaps
    this.tape.push(turn);
    if (this.tape.length > TAPE) this.tape.shift();
    if (turn.new_client) this.run = { turn, before };

    const client = this.clients.get(turn.client) ?? { address: turn.client, turns: 0, last: 0 };
    client.turns++;
    client.last = turn.turn;
    this.clients.delete(turn.client);
    this.clients.set(turn.client, client); // the last one used is the last
    if (this.clients.size > KNOWN_CLIENTS) this.clients.delete(this.clients.keys().next().value);
  }

  // change takes what became of a turn; it says whether the turn is one that
  // is shown.
  #change(change) {
    const turn = this.turns.get(change.turn);
    if (!turn) return false;
    turn.late = turn.outcome === "silent" && change.outcome === "answered";
    turn.outcome = change.outcome;
    turn.rtt_ms = change.rtt_ms;
    if (!this.chosen.has(turn.turn)) return false;
    this.#settle(turn);
    return true;
  }

  // settle notes the round trip of a shown turn whose outcome is known.
  #settle(turn) {
    if (turn.outcome === "answered" || turn.outcome === "silent") {
      const known = turn.late ? this.trips.find((t) => t.turn === turn.turn) : undefined;
      if (known) known.rtt = turn.rtt_ms;
      else this.trips.push({ at: Date.parse(turn.at), place: turn.place, rtt: turn.rtt_ms, turn: turn.turn });
    }
  }

  // allow is how many of n turns may be shown one by one now: all, unless
  // that made more than so many a second. Then a few in a row of each frame,
  // so that every server has its share.
  #allow(n) {
    const { turns, shown } = this.rate();
    const left = Math.max(0, SHOWN_PER_SECOND - shown);
    return turns + n <= SHOWN_PER_SECOND ? Math.min(n, left) : Math.min(n, left, SHOWN_PER_FRAME);
  }

  #count(count, shown) {
    this.counts.push({ at: performance.now(), count, shown });
  }

  // rate is how many turns there were in the last second, and how many of them
  // were shown.
  rate() {
    const since = performance.now() - 1000;
    while (this.counts.length > 0 && this.counts[0].at < since) this.counts.shift();
    return this.counts.reduce((sum, c) => ({ turns: sum.turns + c.count, shown: sum.shown + c.shown }), { turns: 0, shown: 0 });
  }

  // nextPlace is whose turn is next, counted from 1; 0: nobody's.
  nextPlace() {
    return this.status.backends.findIndex((b) => b.name === this.status.next) + 1;
  }
}
