// The picture: clients, balancer and servers, and a dot for each datagram that
// is shown.

import { Dot, edge, position } from "./dots.js";
import { colorOf, el, setText, thousands } from "./text.js";

const SVG = "http://www.w3.org/2000/svg";
const APART = 33; // ms between dots at least
const CLIENTS = 3; // that have a card

export class Picture {
  #room = document.getElementById("picture");
  #ways = document.getElementById("ways");
  #hub = document.getElementById("balancer");
  #clients = document.getElementById("clients");
  #servers = [...document.querySelectorAll("#servers > li")];
  #lines = svg("g");
  #layer = svg("g");
  #slots = []; // addresses of the clients that have a card
  #dots = new Map(); // {dot, element} by turn
  #clock = 0; // ms that the picture has moved
  #ticked = 0;
  #moving = false;
  #still = matchMedia("(prefers-reduced-motion: reduce)");
  #boxes = null; // where everything is
  #shown = null; // the texts that are shown

  constructor() {
    this.#ways.append(this.#lines, this.#layer);
    new ResizeObserver(() => this.#draw()).observe(this.#room);
  }

  // render shows the state of everything but the dots.
  render(model) {
    this.#shown = model.texts;
    this.#renderClients(model);
    this.#draw();
  }

  // renderClients gives the clients that were heard last a card each. One that
  // has a card keeps its place.
  #renderClients({ clients, status }) {
    const recent = [...clients.keys()].slice(-CLIENTS);
    this.#slots = this.#slots.map((address) => (recent.includes(address) ? address : undefined));
    for (const address of recent) {
      if (this.#slots.includes(address)) continue;
      const free = this.#slots.indexOf(undefined);
      this.#slots[free >= 0 ? free : this.#slots.length] = address;
    }
    this.#slots = this.#slots.filter((address) => address !== undefined);
    const cards = this.#slots.map((address) => [address, `last turn #${thousands(clients.get(address))}`]);
    if (clients.size > cards.length) cards.push(["others", status.sessions > cards.length ? `of ${thousands(status.sessions)} clients now` : "heard before"]);
    if (cards.length === 0) cards.push(["No client yet", "start one and see its datagrams"]);
    while (this.#clients.children.length > cards.length) this.#clients.lastChild.remove();
    cards.forEach(([title, text], i) => {
      const card = this.#clients.children[i] ?? this.#clients.appendChild(el("li", "card", "", el("b"), el("span", "faint")));
      if (card.firstChild.textContent !== title) card.firstChild.replaceChildren(...breakable(title));
      setText(card.lastChild, text);
    });
  }

  // draw measures where everything is and draws the ways.
  #draw() {
    if (!this.#shown) return;
    const origin = this.#ways.getBoundingClientRect();
    const box = (element) => {
      const r = element.getBoundingClientRect();
      return { x: r.x - origin.x + r.width / 2, y: r.y - origin.y + r.height / 2, w: r.width, h: r.height };
    };
    const [hub, clients, servers] = [box(this.#hub), [...this.#clients.children].map(box), this.#servers.map(box)];
    const looks = this.#shown.rows.map((row, i) => (row.up ? (i + 1 === this.#shown.place ? "next-way" : "") : "down-way"));
    const key = JSON.stringify([hub, clients, servers, looks]);
    if (this.#boxes?.key === key) return;
    this.#boxes = { key, hub, clients, servers };
    const way = (from, to, look) => {
      const [a, b] = [edge(from, to), edge(to, from)];
      return svg("line", { class: look, x1: a.x.toFixed(1), y1: a.y.toFixed(1), x2: b.x.toFixed(1), y2: b.y.toFixed(1) });
    };
    this.#lines.replaceChildren(...clients.map((client) => way(client, hub, "")), ...servers.map((server, i) => way(hub, server, looks[i])));
    for (const [, shown] of this.#dots) this.#place(shown); // those that do not move have to be taken along
  }

  // show sends dots for turns on their way.
  show(turns) {
    if (document.hidden) return;
    turns.forEach((turn, i) => {
      // As far apart as they were, and no closer than can be told apart.
      const after = Math.max(Math.min(Date.parse(turn.at) - Date.parse(turns[0].at), 300), i * APART);
      this.#add(new Dot(turn, "out", this.#clock + after));
    });
  }

  // change tells what became of turns that are shown; a late answer comes back
  // although its dot has gone.
  change(turns) {
    for (const turn of turns) {
      if (turn.late && !document.hidden) this.#add(new Dot(turn, "back", this.#clock));
    }
  }

  // clear takes all dots away.
  clear() {
    for (const [number] of this.#dots) this.#remove(number);
  }

  // freeze holds the dots where they are, or lets new ones come.
  freeze(frozen) {
    this.frozen = frozen;
    if (!frozen) this.clear();
  }

  #add(dot) {
    const { turn, place } = dot.turn;
    this.#remove(turn);
    const element = svg("g", { class: "dot", visibility: "hidden" }, svg("circle", { r: "0.78em" }), svg("text"));
    element.dataset.turn = turn;
    element.lastChild.textContent = place;
    this.#layer.append(element);
    this.#dots.set(turn, { dot, element });
    if (!this.#moving) {
      this.#moving = true;
      this.#ticked = performance.now();
      requestAnimationFrame((now) => this.#tick(now));
    }
  }

  #remove(number) {
    this.#dots.get(number)?.element.remove();
    this.#dots.delete(number);
  }

  #tick(now) {
    if (!this.frozen) {
      this.#clock += Math.min(now - this.#ticked, 100);
      for (const [number, shown] of this.#dots) {
        if (shown.dot.step(this.#clock, this.#still.matches)) this.#remove(number);
        else this.#place(shown);
      }
    }
    this.#ticked = now;
    this.#moving = this.#dots.size > 0;
    if (this.#moving) requestAnimationFrame((next) => this.#tick(next));
  }

  // place puts a dot where it is and makes it look as it does.
  #place({ dot, element }) {
    if (dot.share === undefined) return;
    const { turn, place, client, outcome } = dot.turn;
    const { hub, clients, servers } = this.#boxes;
    const slot = this.#slots.indexOf(client);
    const { x, y } = position(dot.share, turn, clients.at(slot), hub, servers[place - 1]); // slot -1: the last card, the others'
    element.setAttribute("transform", `translate(${x.toFixed(1)} ${y.toFixed(1)})`);
    element.setAttribute("visibility", "visible");
    element.setAttribute("class", `dot ${colorOf(place)} ${dot.look}`);
    element.setAttribute("opacity", dot.opacity);
    if (dot.look === "none") setText(element.lastChild, outcome === "silent" ? "✗" : "⊘");
  }
}

// breakable lets an address break before its port.
function breakable(address) {
  const colon = address.lastIndexOf(":");
  return colon < 0 ? [address] : [address.slice(0, colon), el("wbr"), address.slice(colon)];
}

// svg makes an element of the picture.
function svg(tag, attributes = {}, ...children) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}
