// What the page knows: the events of /events put together, or the status alone
// where those cannot be had. Nothing here touches the document.

export const TAPE = 60; // turns that the tape shows
export const MINUTE = 60_000;
const SHOWN_PER_SECOND = 30; // datagrams that are shown one by one
const SHOWN_PER_FRAME = 6; // of them, when there are more: frames come five times a second then
const KNOWN_CLIENTS = 200;
const KNOWN_TURNS = 1000;
const SAMPLE_LASTS = 2000; // ms

export class Model {
  status = null;
  texts = null; // of that status
  greeted = false; // a hello has come: there is more than the status
  turns = new Map(); // by number, those that may still change or are on the tape
  tape = []; // the last turns that are known, in a row
  sampled = false; // the newest frame brought some turns of many
  sampledAt = -Infinity; // the last time that one did
  trips = []; // {at, place, rtt}; rtt is null for no answer
  thinned = -Infinity; // when round trips were last left out of those
  clients = new Map(); // by address: the last turn, of the turns that are known; the last one heard is the last
  news = new Map(); // by number
  missed = null; // {count, at}: turns that went by unseen, as was known at that one
  skew = 0; // our clock less the balancer's, in ms
  counts = []; // {at, count, shown} of the last second
  chosen = new Set(); // turns that are shown one by one
  #held = null; // {now, rate} of a copy

  // now is the balancer's time.
  now() {
    return this.#held?.now ?? Date.now() - this.skew;
  }

  // copy is everything as it is now, and stays like that.
  copy() {
    const copy = Object.assign(new Model(), structuredClone({ ...this }));
    copy.#held = { now: this.now(), rate: this.rate() };
    return copy;
  }

  hello(h) {
    this.poll(h);
    const known = Math.max(0, ...this.news.keys());
    const fresh = h.news.filter((item) => item.id > known);
    const first = !this.greeted;
    const { status, texts, skew, missed } = this;
    Object.assign(this, new Model(), { status, texts, skew, missed, greeted: true });
    this.news = new Map(h.news.map((item) => [item.id, item]));
    this.trips = h.trips.map((t) => ({ at: Date.parse(t.at), place: t.place, rtt: t.rtt_ms }));
    if (h.sample) this.thinned = this.now();
    for (const turn of h.turns) {
      this.#remember(turn);
      if (turn.outcome === "waiting") this.chosen.add(turn.turn);
    }
    if (h.missed > 0) this.missed = { count: h.missed, at: h.turns.at(-1)?.turn ?? h.status.turns };
    return first ? [] : fresh; // what happened before the page was opened is no news
  }

  // poll takes a status that came by itself, and its texts. Turns and news of
  // another balancer are counted anew.
  poll({ status, texts }) {
    if (this.status && this.status.started !== status.started) this.#forget();
    this.skew = Date.now() - Date.parse(status.at);
    this.#take(status, texts);
  }

  #forget() {
    const { skew, greeted } = this;
    Object.assign(this, new Model(), { skew, greeted });
  }

  #take(status, texts) {
    this.status = status;
    this.texts = texts;
    if (this.missed && (status.run?.turn > this.missed.at || status.turns >= this.missed.at + TAPE)) this.missed = null;
  }

  // frame takes what is new, and returns the turns that are to be shown one by
  // one and the changes of such.
  frame(f) {
    if (f.status) this.#take(f.status, f.texts);
    for (const item of f.news) this.news.set(item.id, item);
    while (this.news.size > 60) this.news.delete(this.news.keys().next().value);
    const changed = f.changes.filter((change) => this.#change(change));
    const shown = f.turns.slice(0, this.#allow(f.turns.length));
    for (const turn of f.turns) this.#remember(turn);
    for (const turn of shown) {
      this.chosen.add(turn.turn);
      this.#settle(turn);
    }
    this.counts.push({ at: performance.now(), count: f.count, shown: shown.length });
    const now = this.now();
    if (f.count > 0) this.sampled = f.count > f.turns.length;
    if (this.sampled) this.sampledAt = now;
    if (f.count > shown.length) this.thinned = now;
    const since = now - MINUTE;
    if (this.trips.length > 0 && this.trips[0].at < since) this.trips = this.trips.filter((t) => t.at >= since);
    return { shown, changed };
  }

  #remember(turn) {
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

    this.clients.delete(turn.client);
    this.clients.set(turn.client, turn.turn);
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

  // rate is how many turns there were in the last second, and how many of them
  // were shown.
  rate() {
    if (this.#held) return this.#held.rate;
    const since = performance.now() - 1000;
    while (this.counts.length > 0 && this.counts[0].at < since) this.counts.shift();
    return this.counts.reduce((sum, c) => ({ turns: sum.turns + c.count, shown: sum.shown + c.shown }), { turns: 0, shown: 0 });
  }

  // tapeIsSample says whether the tape is some turns of many. It goes on saying
  // so for a moment, so that a load about the limit does not make it flicker.
  tapeIsSample() {
    return this.sampled || this.now() - this.sampledAt < SAMPLE_LASTS;
  }

  // tripsAreSample says whether round trips of the last minute were left out.
  tripsAreSample() {
    return this.now() - this.thinned < MINUTE;
  }
}
