// The picture: clients, balancer and servers, and a dot for each datagram that
// is shown.

import { amount, colorOf, make, moment, say, sayDown, thousands } from "./text.js";

const SVG = "http://www.w3.org/2000/svg";
const WAY = 750; // ms that a dot takes from a client to a server
const GONE = 1500; // ms that a lost one can be seen
const STILL = 900; // ms that a dot can be seen that does not move
const FORGET = 30_000; // ms until a dot is given up of which nothing is heard
const APART = 33; // ms between dots at least
const CLIENTS = 3; // that have a card
const ENTER = 0.4; // share of its way at which a dot enters the balancer
const LEAVE = 0.6; // and leaves it

export class Picture {
  #room = document.getElementById("picture");
  #ways = document.getElementById("ways");
  #hub = document.getElementById("balancer");
  #hubTurn = document.getElementById("hub-turn");
  #clients = document.getElementById("clients");
  #servers = [...document.querySelectorAll("#servers > li")];
  #lines = document.createElementNS(SVG, "g");
  #layer = document.createElementNS(SVG, "g");
  #slots = []; // addresses of the clients that have a card
  #dots = new Map(); // by turn
  #clock = 0; // ms that the picture has moved
  #ticked = 0;
  #moving = false;
  #still = matchMedia("(prefers-reduced-motion: reduce)");
  #places = null; // where everything is; null: measure

  constructor() {
    this.#ways.append(this.#lines, this.#layer);
    new ResizeObserver(() => this.#draw()).observe(this.#room);
  }

  // render shows the state of everything but the dots.
  render(model) {
    const next = model.nextPlace();
    const number = model.status.next_turn;
    say(this.#hubTurn, number === null ? "no server is up" : `next is #${thousands(number)}`);
    model.status.backends.forEach((backend, i) => {
      const card = this.#servers[i];
      card.classList.toggle("next-one", i + 1 === next);
      card.classList.toggle("is-down", !backend.up);
      const turns = amount(backend.turns, "turn", "turns");
      sayDown(card.querySelector(".state"), !backend.up, backend.up ? turns : "down since " + moment(backend.since, model.now()));
      const flag = card.querySelector(".flag");
      if (i + 1 !== next) flag?.remove();
      else say(flag ?? card.appendChild(make("span", "flag")), backend.trial ? "next, a try" : "next");
    });
    this.#renderClients(model);
    this.#draw(next, model.status.backends);
  }

  // renderClients gives the clients that were heard last a card each. One that
  // has a card keeps its place.
  #renderClients(model) {
    const recent = [...model.clients.values()].slice(-CLIENTS);
    const addresses = recent.map((c) => c.address);
    this.#slots = this.#slots.map((a) => (addresses.includes(a) ? a : undefined));
    for (const address of addresses) {
      if (this.#slots.includes(address)) continue;
      const free = this.#slots.indexOf(undefined);
      if (free >= 0) this.#slots[free] = address;
      else this.#slots.push(address);
    }
    this.#slots = this.#slots.filter((address) => address !== undefined);
    const cards = this.#slots.map((address) => {
      const client = model.clients.get(address);
      return [address, `last turn #${thousands(client.last)}`];
    });
    const now = model.status.sessions;
    if (model.clients.size > this.#slots.length) cards.push(["others", now > this.#slots.length ? `of ${thousands(now)} clients now` : "heard before"]);
    if (cards.length === 0) cards.push(["No client yet", "start one and see its datagrams"]);
    while (this.#clients.children.length > cards.length) this.#clients.lastChild.remove();
    cards.forEach(([title, text], i) => {
      const card = this.#clients.children[i] ?? this.#clients.appendChild(make("li", "card", "", make("b"), make("span", "faint")));
      if (card.firstChild.textContent !== title) card.firstChild.replaceChildren(...breakable(title));
      say(card.lastChild, text);
    });
  }

  // draw measures where everything is and draws the ways.
  #draw(next = this.next, backends = this.backends) {
    if (!backends) return;
    this.next = next;
    this.backends = backends;
    const origin = this.#ways.getBoundingClientRect();
    const middle = (element) => {
      const r = element.getBoundingClientRect();
      return { x: r.x - origin.x + r.width / 2, y: r.y - origin.y + r.height / 2, w: r.width, h: r.height };
    };
    const hub = middle(this.#hub);
    const clients = [...this.#clients.children].map(middle);
    const servers = this.#servers.map(middle);
    const key = JSON.stringify([hub, clients, servers, next, backends.map((b) => b.up)]);
    if (this.#places?.key === key) return;
    this.#places = { key, hub, clients, servers };
    this.#lines.replaceChildren(
      ...clients.map((c) => line(edge(c, hub), edge(hub, c), "")),
      ...servers.map((s, i) => line(edge(hub, s), edge(s, hub), backends[i].up ? (i + 1 === next ? "next-way" : "") : "down-way")),
    );
    // Dots that do not move have to be taken along.
    for (const dot of this.#dots.values()) if (dot.share !== undefined) this.#place(dot, dot.share);
  }

  // show sends dots for turns on their way.
  show(turns) {
    if (document.hidden) return;
    const first = turns.length ? Date.parse(turns[0].at) : 0;
    turns.forEach((turn, i) => {
      // As far apart as they were, and no closer than can be told apart.
      const after = Math.max(Math.min(Date.parse(turn.at) - first, 300), i * APART);
      this.#add(turn, "out", this.#clock + after);
    });
  }

  // change tells what became of turns that are shown; a late answer comes back
  // although its dot has gone.
  change(turns) {
    for (const turn of turns) {
      if (turn.late && !document.hidden) this.#add(turn, "back", this.#clock);
    }
  }

  // clear takes all dots away.
  clear() {
    for (const dot of this.#dots.values()) dot.element.remove();
    this.#dots.clear();
  }

  #add(turn, phase, at) {
    this.#dots.get(turn.turn)?.element.remove();
    const element = document.createElementNS(SVG, "g");
    element.setAttribute("class", "dot " + colorOf(turn.place));
    element.setAttribute("visibility", "hidden");
    element.dataset.turn = turn.turn;
    const circle = document.createElementNS(SVG, "circle");
    circle.setAttribute("r", "0.78em");
    const text = document.createElementNS(SVG, "text");
    text.textContent = turn.place;
    element.append(circle, text);
    this.#layer.append(element);
    this.#dots.set(turn.turn, { turn, element, text, phase, at });
    if (!this.#moving) {
      this.#moving = true;
      this.#ticked = performance.now();
      requestAnimationFrame((now) => this.#tick(now));
    }
  }

  // freeze holds the dots where they are, or lets new ones come.
  freeze(frozen) {
    this.frozen = frozen;
    if (!frozen) this.clear();
  }

  #tick(now) {
    if (!this.frozen) this.#clock += Math.min(now - this.#ticked, 100);
    this.#ticked = now;
    for (const [number, dot] of this.#dots) {
      if (!this.frozen && this.#move(dot)) {
        dot.element.remove();
        this.#dots.delete(number);
      }
    }
    this.#moving = this.#dots.size > 0;
    if (this.#moving) requestAnimationFrame((next) => this.#tick(next));
  }

  // move brings a dot to where it is now, and says whether it has arrived for
  // good.
  #move(dot) {
    const { turn } = dot;
    const age = this.#clock - dot.at;
    if (age < 0) return false;
    const pass = (phase, look = "") => {
      dot.phase = phase;
      dot.at = this.#clock;
      if (look) dot.element.classList.add(look);
    };
    switch (dot.phase) {
      case "out": {
        const end = turn.outcome === "dropped" ? LEAVE : 1; // it has never left the balancer
        const share = this.#still.matches ? end : Math.min(age / WAY, end);
        this.#place(dot, share);
        if (share === end && end < 1) pass("gone", "none");
        else if (share === end) pass("there");
        return false;
      }
      case "there":
        this.#place(dot, 1);
        if ((turn.outcome === "answered" || turn.outcome === "undelivered") && age >= Math.min(turn.rtt_ms, FORGET)) pass(this.#still.matches ? "shown" : "back", "answer");
        else if (turn.outcome === "silent") pass("gone", "none");
        return turn.outcome === "forgotten" || age > FORGET;
      case "back":
        dot.element.classList.add("answer");
        this.#place(dot, 1 - age / WAY);
        if (turn.outcome === "undelivered" && age >= WAY * (1 - LEAVE)) pass("gone", "none");
        return age >= WAY;
      case "shown":
        if (turn.outcome === "undelivered" && age >= STILL) {
          this.#place(dot, LEAVE);
          pass("gone", "none");
          return false;
        }
        return age >= STILL;
      case "gone":
        this.#place(dot, dot.share);
        say(dot.text, turn.outcome === "silent" ? "✗" : "⊘");
        dot.element.setAttribute("opacity", this.#still.matches ? 1 : Math.max(0, 1 - (age / GONE) ** 3));
        return age >= GONE;
    }
    return true;
  }

  // place puts a dot at a share of its way out.
  #place(dot, share) {
    dot.share = share;
    const { hub, clients, servers } = this.#places;
    const server = servers[dot.turn.place - 1];
    const slot = this.#slots.indexOf(dot.turn.client);
    const client = clients[slot >= 0 ? slot : clients.length - 1];
    const stops = [edge(client, hub), edge(hub, client), edge(hub, server), edge(server, hub)];
    const leg = share < ENTER ? 0 : share < LEAVE ? 1 : 2;
    const [begin, end] = [[0, ENTER], [ENTER, LEAVE], [LEAVE, 1]][leg];
    const [from, to, part] = [stops[leg], stops[leg + 1], (share - begin) / (end - begin)];
    const lane = ((dot.turn.turn % 3) - 1) * 5; // px beside the line, so that dots do not hide each other
    const length = Math.hypot(to.x - from.x, to.y - from.y) || 1;
    const x = from.x + (to.x - from.x) * part - ((to.y - from.y) / length) * lane;
    const y = from.y + (to.y - from.y) * part + ((to.x - from.x) / length) * lane;
    dot.element.setAttribute("transform", `translate(${x.toFixed(1)} ${y.toFixed(1)})`);
    dot.element.setAttribute("visibility", "visible");
  }
}

// breakable lets an address break before its port.
function breakable(address) {
  const colon = address.lastIndexOf(":");
  return colon < 0 ? [address] : [address.slice(0, colon), document.createElement("wbr"), address.slice(colon)];
}

// edge is where the way from a box to another place leaves the box.
function edge(box, to) {
  const dx = to.x - box.x;
  const dy = to.y - box.y;
  const down = Math.abs(dy) * 1.2 > Math.abs(dx); // below each other, as on a phone
  if (down) return { x: box.x, y: box.y + (Math.sign(dy) * box.h) / 2 };
  return { x: box.x + (Math.sign(dx) * box.w) / 2, y: box.y };
}

function line(from, to, className) {
  const element = document.createElementNS(SVG, "line");
  element.setAttribute("class", className);
  for (const [name, value] of Object.entries({ x1: from.x, y1: from.y, x2: to.x, y2: to.y })) {
    element.setAttribute(name, value.toFixed(1));
  }
  return element;
}
