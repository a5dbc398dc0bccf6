import assert from "node:assert/strict";
import { beforeEach, mock, test } from "node:test";

import { MINUTE, Model, TAPE } from "../static/model.js";

let time; // ms since the page was opened
beforeEach(() => {
  time = 0;
  mock.restoreAll();
  mock.method(performance, "now", () => time);
  mock.method(Date, "now", () => 1_000_000 + time);
});

const at = () => new Date(1_000_000 + time).toISOString();

const status = (more = {}) => ({ started: "today", at: at(), turns: 0, run: null, backends: [{ answered: 0, silent: 0 }], ...more });

const turn = (number, more = {}) => ({ turn: number, at: at(), place: ((number - 1) % 3) + 1, client: "a:1", outcome: "waiting", rtt_ms: null, ...more });

const turns = (from, to) => Array.from({ length: to - from + 1 }, (_, i) => turn(from + i));

const hello = (more = {}) => ({ status: status(), texts: { place: 1 }, news: [], turns: [], trips: [], missed: 0, ...more });

const frame = (some, more = {}) => ({ turns: some, count: some.length, changes: [], news: [], ...more });

function greeted(more) {
  const model = new Model();
  model.hello(hello(more));
  return model;
}

const numbers = (list) => list.map((turn) => turn.turn);

test("the tape has the last turns in a row", () => {
  const model = greeted({ turns: turns(1, 60) });
  model.frame(frame(turns(61, 63)));
  assert.deepEqual(numbers(model.tape), numbers(turns(4, 63)));
  assert.equal(model.tape.length, TAPE);
  model.frame(frame(turns(100, 101)));
  assert.deepEqual(numbers(model.tape), [100, 101], "it has no gaps");
});

test("a hello tells everything anew, and of news only what is new", () => {
  const item = (id) => ({ id, kind: "up", text: "up" });
  const model = new Model();
  assert.deepEqual(model.hello(hello({ news: [item(1)], turns: turns(1, 3) })), [], "what happened before the page was opened");
  assert.deepEqual(model.hello(hello({ news: [item(1), item(2)], turns: turns(9, 9) })), [item(2)]);
  assert.deepEqual(numbers(model.tape), [9]);
});

test("turns and news of another balancer are counted anew", () => {
  const model = greeted({ turns: turns(1, 3), news: [{ id: 7 }], missed: 5 });
  model.poll({ status: status({ started: "tomorrow" }), texts: {} });
  assert.deepEqual([model.tape, model.news.size, model.missed, model.greeted], [[], 0, null, true]);
});

test("a change is told of turns that are shown, and late is not silent", () => {
  const model = greeted();
  const { shown } = model.frame(frame(turns(1, 2)));
  assert.deepEqual(numbers(shown), [1, 2]);
  const change = (outcome, rtt_ms) => model.frame(frame([], { changes: [{ turn: 1, outcome, rtt_ms }, { turn: 99, outcome, rtt_ms }] })).changed;
  assert.equal(change("silent", null).length, 1, "of turn 99 nothing is known");
  assert.deepEqual(model.trips.map((trip) => trip.rtt), [null]);
  change("answered", 1500);
  assert.equal(model.turns.get(1).late, true);
  assert.deepEqual(model.trips.map((trip) => trip.rtt), [1500], "it takes the place of the silence");
});

test("thirty turns a second are shown one by one, and of more a few in a row of each frame", () => {
  const model = greeted();
  const shown = (some, count) => model.frame(frame(some, { count })).shown.length;
  assert.equal(shown(turns(1, 30), 30), 30);
  assert.equal(shown(turns(31, 31), 1), 0, "the second has had its dots");
  assert.equal(model.tapeIsSample(), false);
  time = 1001;
  for (let i = 0; i < 5; i++) assert.equal(shown(turns(100 * i + 100, 100 * i + 159), 200), 6);
  assert.equal(shown(turns(1000, 1059), 200), 0);
  assert.deepEqual(model.rate(), { turns: 1200, shown: 30 });
  assert.equal(model.tapeIsSample(), true);
  time += 1001;
  shown([turn(1060)], 1);
  assert.deepEqual(model.rate(), { turns: 1, shown: 1 });
  assert.equal(model.tapeIsSample(), true, "for a moment still");
  time += 1000;
  assert.equal(model.tapeIsSample(), false);
  assert.equal(model.tripsAreSample(), true, "for a minute");
  time += MINUTE;
  assert.equal(model.tripsAreSample(), false);
});

test("round trips of a hello may be a sample", () => {
  assert.equal(greeted({ sample: false }).tripsAreSample(), false);
  assert.equal(greeted({ sample: true }).tripsAreSample(), true);
});

test("round trips are kept for a minute", () => {
  const model = greeted({ trips: [{ at: at(), place: 1, rtt_ms: 1 }] });
  time = MINUTE;
  model.frame(frame([]));
  assert.equal(model.trips.length, 1);
  time++;
  model.frame(frame([]));
  assert.equal(model.trips.length, 0);
});

test("turns that were missed are a story until another one", () => {
  const fresh = () => greeted({ missed: 10, turns: turns(70, 70) });
  let model = fresh();
  model.frame(frame([], { status: status({ turns: 129, run: { turn: 70 } }) }));
  assert.deepEqual(model.missed, { count: 10, at: 70 });
  model.frame(frame([], { status: status({ turns: 130 }) }));
  assert.equal(model.missed, null, "a tape later");
  model = fresh();
  model.frame(frame([], { status: status({ turns: 71, run: { turn: 71 } }) }));
  assert.equal(model.missed, null, "a new client");
});

test("a copy stays as it is", () => {
  const model = greeted();
  model.frame(frame(turns(1, 3)));
  const copy = model.copy();
  const then = copy.now();
  time = 5000;
  model.frame(frame(turns(4, 4), { changes: [{ turn: 1, outcome: "silent", rtt_ms: null }] }));
  assert.equal(copy.now(), then);
  assert.deepEqual(copy.rate(), { turns: 3, shown: 3 });
  assert.deepEqual([copy.tape.length, copy.turns.get(1).outcome], [3, "waiting"]);
});

test("what is remembered has limits", () => {
  const model = greeted();
  for (let i = 1; i <= 1100; i++) model.frame(frame([turn(i, { client: `a:${i}` })], { news: [{ id: i }] }));
  assert.deepEqual([model.turns.size, model.clients.size, model.news.size, model.tape.length], [1000, 200, 60, 60]);
  assert.deepEqual([...model.clients].at(-1), ["a:1100", 1100]);
});
