// What happened, the newest first, and what of it is said aloud.

import { el, setText, setTime } from "./text.js";

const ALOUD = ["up", "down", "moved"];
const PAUSE = 3000; // ms between two announcements
const BREATH = 100; // ms before one, and between the empty place and the text

export class Activity {
  #list = document.getElementById("news");
  #items = new Map(); // by number, the oldest first
  #started = null; // the balancer that they are of

  // render touches only what is new or has changed, so that the list stays
  // where its reader has scrolled it.
  render({ news, status }, now) {
    if (this.#started !== status.started) {
      this.#started = status.started;
      this.#items.clear();
      this.#list.replaceChildren();
    }
    for (const [id, element] of this.#items) {
      if (news.has(id)) continue;
      element.remove();
      this.#items.delete(id);
    }
    const nothing = this.#list.querySelector(".none");
    if (news.size > 0) nothing?.remove();
    else if (!nothing) this.#list.append(el("li", "none", this.#list.dataset.none));
    for (const [id, item] of news) {
      let element = this.#items.get(id);
      if (!element) {
        element = el("li", item.kind, "", el("time"), " ", el("span"));
        this.#items.set(id, element);
        this.#list.prepend(element);
      }
      setTime(element.firstChild, item.at, now);
      setText(element.lastChild, item.text);
    }
  }
}

// Announcer speaks to screen readers: of servers that go and come, and of the
// connection, never of datagrams.
export class Announcer {
  #place = document.getElementById("announcement");
  #waiting = [];
  #timer = null;

  news(items) {
    for (const item of items) if (ALOUD.includes(item.kind)) this.say(item.text);
  }

  say(text) {
    this.#waiting.push(text);
    this.#timer ??= setTimeout(() => this.#speak(), BREATH);
  }

  // speak empties the place first: the same text once more would not be said.
  #speak() {
    this.#place.textContent = "";
    const text = this.#waiting.splice(0).join(". ");
    setTimeout(() => (this.#place.textContent = text), BREATH);
    this.#timer = setTimeout(() => {
      this.#timer = null;
      if (this.#waiting.length > 0) this.#speak();
    }, PAUSE);
  }
}
