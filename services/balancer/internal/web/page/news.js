// What happened, the newest first, and what of it is said aloud.

import { clock, make, say } from "./text.js";

const ALOUD = ["up", "down", "moved"];
const PAUSE = 3000; // ms between two announcements

export class News {
  #list = document.getElementById("news");
  #items = new Map(); // by number

  render(model) {
    const items = new Map();
    for (const item of [...model.news.values()].reverse()) {
      const element = this.#items.get(item.id) ?? make("li", item.kind, "", make("time"), make("span"));
      say(element.firstChild, clock(item.at));
      say(element.lastChild, item.text);
      items.set(item.id, element);
    }
    if (items.size === 0) return;
    if (items.size === this.#items.size && [...items.keys()].every((id) => this.#items.has(id))) return;
    this.#items = items;
    this.#list.replaceChildren(...items.values());
  }
}

// Announcer speaks to those who cannot see the page: of servers that go and
// come, and of the connection, never of datagrams.
export class Announcer {
  #place = document.getElementById("announcement");
  #waiting = [];
  #timer = null;

  news(items) {
    for (const item of items) if (ALOUD.includes(item.kind)) this.say(item.text);
  }

  say(text) {
    this.#waiting.push(text);
    this.#timer ??= setTimeout(() => this.#speak(), 100);
  }

  #speak() {
    this.#place.textContent = this.#waiting.splice(0).join(". ");
    this.#timer = setTimeout(() => {
      this.#timer = null;
      if (this.#waiting.length > 0) this.#speak();
    }, PAUSE);
  }
}
