// A dot's way from its client to its server and back, without the document.

const WAY = 750; // ms that a dot takes from a client to a server
const GONE = 1500; // ms that a lost one can be seen
const STILL = 900; // ms that a dot can be seen that does not move
const FORGET = 30_000; // ms until a dot is given up of which nothing is heard
const ENTER = 0.4; // share of its way at which a dot enters the balancer
const LEAVE = 0.6; // and leaves it
const LANE = 5; // px beside the line, so that dots do not hide each other

export class Dot {
  share; // of its way out: 0 at its client, 1 at its server; undefined: it has not begun
  opacity = 1;
  #phase;
  #since;

  // A dot of an answer that is late begins "back", any other "out".
  constructor(turn, phase, at) {
    this.turn = turn;
    this.#phase = phase;
    this.#since = at;
  }

  // look is how it looks now: on its way out, an answer, or none.
  get look() {
    return { back: "answer", shown: "answer", gone: "none" }[this.#phase] ?? "";
  }

  // step brings the dot to where it is at a time, and says whether it is over.
  // A dot that is to be still is only where it gets to.
  step(now, still) {
    const { outcome, rtt_ms } = this.turn;
    const age = now - this.#since;
    if (age < 0) return false;
    const pass = (phase) => {
      this.#phase = phase;
      this.#since = now;
    };
    switch (this.#phase) {
      case "out": {
        const end = outcome === "dropped" ? LEAVE : 1; // it has never left the balancer
        this.share = still ? end : Math.min(age / WAY, end);
        if (this.share === end) pass(end < 1 ? "gone" : "there");
        return false;
      }
      case "there":
        this.share = 1;
        if ((outcome === "answered" || outcome === "undelivered") && age >= Math.min(rtt_ms, FORGET)) pass(still ? "shown" : "back");
        else if (outcome === "silent") pass("gone");
        return outcome === "forgotten" || age > FORGET;
      case "back":
        this.share = 1 - age / WAY;
        if (outcome === "undelivered" && this.share <= LEAVE) pass("gone");
        return age >= WAY;
      case "shown":
        this.share = 1;
        if (age < STILL) return false;
        if (outcome !== "undelivered") return true;
        this.share = LEAVE;
        pass("gone");
        return false;
      default:
        this.opacity = still ? 1 : Math.max(0, 1 - (age / GONE) ** 3);
        return age >= GONE;
    }
  }
}

// position is where a dot is at a share of its way over client, hub and
// server, which are boxes {x, y, w, h} around their middles. Every third turn
// has the same lane.
export function position(share, turn, client, hub, server) {
  const stops = [edge(client, hub), edge(hub, client), edge(hub, server), edge(server, hub)];
  const leg = share < ENTER ? 0 : share < LEAVE ? 1 : 2;
  const [begin, end] = [[0, ENTER], [ENTER, LEAVE], [LEAVE, 1]][leg];
  const [from, to, part] = [stops[leg], stops[leg + 1], (share - begin) / (end - begin)];
  const [dx, dy] = [to.x - from.x, to.y - from.y];
  const aside = (((turn % 3) - 1) * LANE) / (Math.hypot(dx, dy) || 1);
  return { x: from.x + dx * part - dy * aside, y: from.y + dy * part + dx * aside };
}

// edge is where the way from a box to another leaves the box.
export function edge(box, to) {
  const [dx, dy] = [to.x - box.x, to.y - box.y];
  const down = Math.abs(dy) * 1.2 > Math.abs(dx); // below each other, as on a phone
  if (down) return { x: box.x, y: box.y + (Math.sign(dy) * box.h) / 2 };
  return { x: box.x + (Math.sign(dx) * box.w) / 2, y: box.y };
}
