// The connection to /events: it is made again when it is lost, and goes on
// after the last turn that we know of. While there is none, the status is asked
// for now and then, so that the page is not older than it has to be.

const RETRY = 1000; // ms, unless the balancer asks for more
const RETRY_MOST = 60_000; // that it may ask for
const QUIET = 4000; // ms without a word, though one comes every second
const POLL = 3000; // ms between two statuses

// watch calls hello, frame and poll with what they bring, and state with live
// or lost and the reason.
export function watch({ hello, frame, poll, state }) {
  let source, timer, polling, last, started;
  let greeted = false; // this connection has had its hello

  const heard = (event) => {
    if (event.lastEventId) last = event.lastEventId;
    wait(QUIET, () => again("no word from the balancer"));
    clearTimeout(polling);
    polling = undefined;
    state("live", "live");
  };

  const wait = (ms, then) => {
    clearTimeout(timer);
    timer = setTimeout(then, ms);
  };

  const again = (why, after = RETRY) => {
    source.close();
    wait(after, connect);
    state("lost", `${why} (trying again${after > RETRY ? ` in ${Math.round(after / 1000)} s` : ""})`);
    if (polling === undefined) ask();
  };

  const ask = async () => {
    const turn = (polling = setTimeout(ask, POLL));
    const now = await get("/page.json", (answer) => (answer.ok ? answer.json() : null));
    if (now && polling === turn) poll(now);
  };

  // An EventSource does not say why it was refused; a request of its own does.
  const refused = async () => {
    source.close();
    clearTimeout(timer);
    const [why, after] = (await get(address(), reason)) ?? ["the balancer cannot be reached"];
    again(why, after);
  };

  const address = () => "/events" + (last === undefined ? "" : "?" + new URLSearchParams({ after: last, started }));

  const connect = () => {
    greeted = false;
    source = new EventSource(address());
    source.addEventListener("hello", (event) => {
      greeted = true;
      heard(event);
      const h = JSON.parse(event.data);
      started = h.status.started;
      hello(h);
    });
    source.addEventListener("frame", (event) => {
      heard(event);
      frame(JSON.parse(event.data));
    });
    source.addEventListener("beat", heard);
    source.addEventListener("bye", (event) => again(JSON.parse(event.data).why));
    source.addEventListener("error", () => (greeted ? again("the connection is lost") : refused()));
    wait(QUIET, () => again("no word from the balancer"));
  };

  connect();
}

// get returns what use makes of an answer; undefined if none comes in time.
// What use leaves unread is not waited for.
async function get(address, use) {
  const asking = new AbortController();
  const timer = setTimeout(() => asking.abort(), QUIET);
  try {
    return await use(await fetch(address, { signal: asking.signal }));
  } catch {
    return undefined;
  } finally {
    clearTimeout(timer);
    asking.abort();
  }
}

// reason is why /events was refused, and for how long.
async function reason(answer) {
  if (answer.ok) return ["the connection is lost"]; // it would not be refused now
  const [line] = (await answer.text()).split("\n");
  const seconds = Number(answer.headers.get("Retry-After")) || 0;
  return [line || `the balancer answers ${answer.status}`, Math.min(Math.max(RETRY, seconds * 1000), RETRY_MOST)];
}
