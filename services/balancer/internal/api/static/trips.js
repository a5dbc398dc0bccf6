// The round trips of the last minute: a dot each, a row for each server.

import { MINUTE } from "./model.js";
import { amount, colorOf, millis, thousands } from "./text.js";

const LOWEST = 0.1; // ms at the bottom of a row
const HIGHEST = 1000; // ms at its top, unless there are longer ones
const LABELLED = 5000; // ms between two descriptions for those who cannot see

export class Trips {
  #canvas = document.getElementById("plot");
  #sample = document.getElementById("trips-sample");
  #labelled = -Infinity;

  render(model) {
    const backends = model.status.backends;
    const sample = model.tripsAreSample();
    if (this.#sample.hidden === sample) this.#sample.hidden = !sample;
    const style = getComputedStyle(document.documentElement);
    const rem = parseFloat(style.fontSize);
    const small = document.documentElement.classList.contains("big") ? rem : 0.85 * rem;
    const foot = 1.6 * small;
    this.#canvas.style.minHeight = `${backends.length * 5 * rem + foot}px`;
    const scale = devicePixelRatio || 1;
    const width = this.#canvas.clientWidth;
    const height = this.#canvas.clientHeight;
    const row = (height - foot) / backends.length;
    if (this.#canvas.width !== Math.round(width * scale) || this.#canvas.height !== Math.round(height * scale)) {
      this.#canvas.width = Math.round(width * scale);
      this.#canvas.height = Math.round(height * scale);
    }
    const draw = this.#canvas.getContext("2d");
    draw.setTransform(scale, 0, 0, scale, 0, 0);
    draw.clearRect(0, 0, width, height);
    draw.font = `${small}px system-ui, sans-serif`;
    draw.textBaseline = "middle";

    const color = (name) => style.getPropertyValue(name).trim();
    const longest = model.trips.reduce((most, t) => Math.max(most, t.rtt ?? 0), HIGHEST);
    const decades = Math.log10(longest / LOWEST);
    const left = 2.6 * rem;
    const right = width - Math.max(draw.measureText("100 ms").width, 3 * rem) - 0.5 * rem;
    const now = model.now();
    const x = (at) => right - ((now - at) / MINUTE) * (right - left);
    const rise = (rtt) => Math.min(1, Math.max(0, Math.log10(Math.max(rtt, LOWEST) / LOWEST) / decades));

    backends.forEach((backend, i) => {
      const bottom = (i + 1) * row - 0.7 * rem;
      const top = i * row + 1.2 * rem;
      const y = (rtt) => bottom - rise(rtt) * (bottom - top);
      draw.strokeStyle = color("--line");
      draw.fillStyle = color("--faint");
      draw.lineWidth = 1;
      draw.textAlign = "left";
      for (const ms of [0.1, 1, 10, 100, 1000]) {
        draw.beginPath();
        draw.moveTo(left, Math.round(y(ms)) + 0.5);
        draw.lineTo(right, Math.round(y(ms)) + 0.5);
        draw.stroke();
        if (ms === 1 || ms === 100) draw.fillText(`${ms} ms`, right + 0.4 * rem, y(ms));
      }
      const { strong, paper } = this.#colors(i + 1);
      const size = 1.6 * rem;
      draw.fillStyle = strong;
      draw.beginPath();
      draw.roundRect(0, (top + bottom) / 2 - size / 2, size, size, 0.35 * rem);
      draw.fill();
      draw.fillStyle = paper;
      draw.textAlign = "center";
      draw.font = `700 ${Math.max(small, rem)}px system-ui, sans-serif`;
      draw.fillText(String(i + 1), size / 2, (top + bottom) / 2 + 1);
      draw.font = `${small}px system-ui, sans-serif`;

      const radius = 0.22 * rem;
      for (const trip of model.trips) {
        if (trip.place !== i + 1 || trip.at < now - MINUTE) continue;
        if (trip.rtt === null) {
          draw.fillStyle = color("--down");
          draw.fillText("✗", x(trip.at), top - 0.55 * rem);
          continue;
        }
        draw.fillStyle = strong;
        draw.globalAlpha = 0.75;
        draw.beginPath();
        draw.arc(x(trip.at), y(trip.rtt), radius, 0, 7);
        draw.fill();
        draw.globalAlpha = 1;
      }
    });
    draw.fillStyle = color("--faint");
    const below = height - 0.7 * small;
    draw.textAlign = "left";
    draw.fillText("60 s ago", left, below);
    draw.textAlign = "center";
    draw.fillText("30 s", (left + right) / 2, below);
    draw.textAlign = "right";
    draw.fillText("now", right, below);
    this.#label(model, backends, sample);
  }

  // colors are those of a server, as the style has them.
  #colors(place) {
    const card = document.querySelector(`#servers > .${colorOf(place)}`);
    const style = getComputedStyle(card);
    return { strong: style.getPropertyValue("--strong").trim(), paper: style.getPropertyValue("--paper").trim() };
  }

  // label says in words what the plot shows, seldom.
  #label(model, backends, sample) {
    const now = performance.now();
    if (now - this.#labelled < LABELLED) return;
    this.#labelled = now;
    const parts = backends.map((backend, i) => {
      const own = model.trips.filter((t) => t.place === i + 1 && t.at >= model.now() - MINUTE);
      const answered = own.filter((t) => t.rtt !== null).map((t) => t.rtt).sort((a, b) => a - b);
      const middle = answered.length ? `, median ${millis(answered[Math.floor(answered.length / 2)])} ms` : "";
      return `${backend.name}: shown ${amount(answered.length, "answer", "answers")}${middle}, ${thousands(own.length - answered.length)} without`;
    });
    this.#canvas.ariaLabel = `Round trips of the last minute${sample ? ", a sample" : ""}. ${parts.join("; ")}`;
  }
}
