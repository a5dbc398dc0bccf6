import assert from "node:assert/strict";
import { test } from "node:test";

import { Announcer } from "../static/activity.js";

// A server that goes down twice says the same twice; a screen reader hears only
// what changes.
test("the same is said aloud again, and what comes meanwhile waits", (t) => {
  const said = [];
  globalThis.document = { getElementById: () => ({ set textContent(text) { said.push(text); } }) };
  let now = 0;
  const timers = [];
  t.mock.method(globalThis, "setTimeout", (run, ms) => timers.push({ at: now + ms, run }));
  const pass = (ms) => {
    const end = now + ms;
    for (let next; (next = timers.filter(({ at }) => at <= end).sort((a, b) => a.at - b.at)[0]); ) {
      timers.splice(timers.indexOf(next), 1);
      now = next.at;
      next.run();
    }
    now = end;
  };
  const announcer = new Announcer();
  announcer.news([{ kind: "down", text: "server2 is down" }, { kind: "client", text: "a new client" }]);
  pass(300);
  assert.deepEqual(said, ["", "server2 is down"], "of clients nothing is said");
  announcer.say("server2 is down");
  announcer.say("connected again");
  pass(1000);
  assert.equal(said.length, 2);
  pass(3000);
  assert.deepEqual(said.slice(2), ["", "server2 is down. connected again"]);
});
