import assert from "node:assert/strict";
import { test } from "node:test";

import { Dot, edge, position } from "../static/dots.js";
import { columnsFor, layout } from "../static/tape.js";
import { ago, clock, colorOf, count, moment, thousands } from "../static/text.js";
import { describe, rise } from "../static/trips.js";

test("numbers as people read them", () => {
  assert.deepEqual([0, 999, 1204, 12345678].map(thousands), ["0", "999", "1,204", "12,345,678"]);
  assert.deepEqual([0, 1, 1204].map((n) => count(n, "turn")), ["0 turns", "1 turn", "1,204 turns"]);
  assert.deepEqual([1, 8, 9].map(colorOf), ["c1", "c8", "c1"]);
});

test("times as people read them", () => {
  const now = Date.parse("2026-03-02T00:10:00Z");
  for (const [time, text, past] of [
    ["2026-03-02T00:10:01Z", "00:10:01", "0 s ago"], // by another clock
    ["2026-03-02T00:09:01Z", "00:09:01", "59 s ago"],
    ["2026-03-02T00:07:01Z", "00:07:01", "2 min ago"],
    ["2026-03-01T23:50:00Z", "1 Mar 23:50:00", "20 min ago"],
    ["2026-02-28T01:10:00Z", "28 Feb 01:10:00", "47 h ago"],
    ["2026-02-28T00:10:00Z", "28 Feb 00:10:00", "2 days ago"],
    ["2025-03-02T00:10:00Z", "2 Mar 2025 00:10:00", "365 days ago"],
  ]) {
    assert.equal(moment(time, now), text);
    assert.equal(ago(time, now).replaceAll("\u00a0", " "), past);
  }
  assert.equal(clock(now), "00:10:00");
});

// follow steps a dot every 10 ms and returns the shares at which it was, and
// how it looked, each once in its order.
function follow(outcome, { still = false, rtt_ms = 20, phase = "out" } = {}) {
  const dot = new Dot({ outcome, rtt_ms }, phase, 100);
  assert.equal(dot.step(0, still), false);
  assert.equal(dot.share, undefined, "it has not begun");
  const looks = [];
  let [least, most, now] = [1, 0, 100];
  for (; !dot.step(now, still); now += 10) {
    assert.ok(now < 60_000, "it never ends");
    [least, most] = [Math.min(least, dot.share), Math.max(most, dot.share)];
    if (looks.at(-1) !== dot.look) looks.push(dot.look);
  }
  return { least: Math.round(least * 10) / 10, most: Math.round(most * 10) / 10, looks: looks.join(" "), took: now - 100 };
}

test("a dot goes where its datagram goes", () => {
  for (const [outcome, options, least, most, looks] of [
    ["answered", {}, 0, 1, " answer"],
    ["silent", {}, 0, 1, " none"],
    ["dropped", {}, 0, 0.6, " none"], // no further than the balancer
    ["undelivered", {}, 0, 1, " answer none"],
    ["waiting", {}, 0, 1, ""], // until it is given up
    ["forgotten", {}, 0, 1, ""],
    ["answered", { phase: "back" }, 0, 1, "answer"], // late
    ["answered", { still: true }, 1, 1, " answer"],
    ["silent", { still: true }, 1, 1, " none"],
    ["dropped", { still: true }, 0.6, 0.6, "none"],
    ["undelivered", { still: true }, 0.6, 1, " answer none"],
  ]) {
    const { took, ...got } = follow(outcome, options);
    assert.deepEqual(got, { least, most, looks }, `${outcome} ${JSON.stringify(options)}`);
    assert.ok(outcome === "waiting" ? took > 30_000 : took < 5000, `${outcome} took ${took} ms`);
  }
  assert.ok(follow("answered", { rtt_ms: 3000 }).took >= 3000 + 2 * 750, "waiting at a server is real time");
});

test("a way goes from card to card, through the balancer", () => {
  const [client, hub, server] = [{ x: 50, y: 0, w: 20, h: 10 }, { x: 150, y: 0, w: 20, h: 10 }, { x: 250, y: 60, w: 20, h: 10 }];
  const at = (share, turn = 1) => position(share, turn, client, hub, server);
  assert.deepEqual(at(0), { x: 60, y: 0 });
  assert.deepEqual(at(0.2), { x: 100, y: 0 });
  assert.deepEqual(at(0.4), { x: 140, y: 0 });
  assert.deepEqual(at(0.6), { x: 160, y: 0 });
  assert.deepEqual(at(1), { x: 240, y: 60 });
  assert.deepEqual([at(0.2, 3).y, at(0.2, 2).y], [-5, 5], "dots do not hide each other");
  assert.deepEqual(edge(hub, { x: 150, y: 80 }), { x: 150, y: 5 }, "below each other, as on a phone");
});

test("the tape's columns are a multiple of the servers", () => {
  for (const [fit, servers, columns] of [[29.9, 3, 27], [100, 3, 30], [30, 7, 28], [9, 3, 9], [2, 3, 2], [0.5, 3, 1], [8, 1, 8]]) {
    assert.equal(columnsFor(fit, servers), columns, `${fit} fit, ${servers} servers`);
  }
});

test("a turn keeps its column, and what follows the turns does not fall apart", () => {
  assert.deepEqual(layout(27, 1, 10, [2]), { start: 1, spans: [2], rows: 1 });
  assert.deepEqual(layout(27, 29, 10, [2]), { start: 2, spans: [2], rows: 1 });
  assert.deepEqual(layout(27, 1, 26, [2]), { start: 1, spans: [2], rows: 2 });
  assert.deepEqual(layout(27, 1, 24, [4, 2]), { start: 1, spans: [4, 2], rows: 2 });
  assert.deepEqual(layout(1, 5, 2, [4, 2]), { start: 1, spans: [1, 1], rows: 4 });
});

test("round trips stand higher by the decade, and are described", () => {
  const heights = [0.01, 0.1, 1, 10, 100, 1000].map((rtt) => rise(rtt, 1000));
  heights.forEach((got, i) => assert.ok(Math.abs(got - [0, 0, 0.25, 0.5, 0.75, 1][i]) < 1e-9, heights.join(" ")));
  const trips = [{ place: 1, rtt: 0.4123 }, { place: 1, rtt: null }, { place: 1, rtt: 30 }, { place: 1, rtt: 0.1 }];
  assert.equal(describe(trips, ["a", "b"], true), "Round trips of the last minute, a sample. a: shown 3 answers, median 0.412 ms, 1 without; b: shown 0 answers, 0 without");
});
