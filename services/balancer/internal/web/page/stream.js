// The connection to /events: it is made again when it is lost, and goes on
// after the last turn that we know of.

const RETRY = 1000; // ms
const PATIENCE = 4000; // ms without a word, though one comes every second

export function watch({ hello, frame, state }) {
  let source, watchdog, last;

  const heard = (event) => {
    if (event.lastEventId) last = event.lastEventId;
    clearTimeout(watchdog);
    watchdog = setTimeout(() => again("no word from the balancer"), PATIENCE);
    state("live", "live");
  };

  const again = (why) => {
    source.close();
    clearTimeout(watchdog);
    state("lost", why + ": trying again");
    watchdog = setTimeout(connect, RETRY);
  };

  const connect = () => {
    source = new EventSource(last === undefined ? "/events" : "/events?after=" + last);
    source.addEventListener("hello", (event) => {
      heard(event);
      hello(JSON.parse(event.data));
    });
    source.addEventListener("frame", (event) => {
      heard(event);
      frame(JSON.parse(event.data));
    });
    source.addEventListener("beat", heard);
    source.addEventListener("bye", (event) => again(JSON.parse(event.data).why));
    source.addEventListener("error", () => again("the connection is lost"));
  };

  connect();
}
