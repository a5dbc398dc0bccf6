// The round trips of the last minute: a dot each, a row for each server.

import { MINUTE } from "./model.js";
import { colorOf, count, setHidden, thousands } from "./text.js";

const LOWEST = 0.1; // ms at the bottom of a row
const HIGHEST = 1000; // ms at its top, unless there are longer ones
const LABELLED = 5000; // ms between two descriptions for screen readers

export class Trips {
  #canvas = document.getElementById("plot");
  #sample = document.getElementById("trips-sample");
  #names = [...document.querySelectorAll("#rows .name")].map((name) => name.textContent);
  #labelled = -Infinity;

  render(model, now) {
    const trips = model.trips.filter((trip) => trip.at >= now - MINUTE);
    setHidden(this.#sample, !model.tripsAreSample());
    this.#draw(trips, now);
    if (performance.now() - this.#labelled < LABELLED) return;
    this.#labelled = performance.now();
    this.#canvas.ariaLabel = describe(trips, this.#names, model.tripsAreSample());
  }

  #draw(trips, now) {
    const style = getComputedStyle(document.documentElement);
    const rem = parseFloat(style.fontSize);
    const small = document.documentElement.classList.contains("big") ? rem : 0.85 * rem;
    const foot = 1.6 * small;
    this.#canvas.style.minHeight = `${this.#names.length * 5 * rem + foot}px`;
    const { clientWidth: width, clientHeight: height } = this.#canvas;
    const scale = devicePixelRatio || 1;
    for (const [side, size] of [["width", Math.round(width * scale)], ["height", Math.round(height * scale)]]) {
      if (this.#canvas[side] !== size) this.#canvas[side] = size;
    }
    const draw = this.#canvas.getContext("2d");
    draw.setTransform(scale, 0, 0, scale, 0, 0);
    draw.clearRect(0, 0, width, height);
    draw.textBaseline = "middle";
    const color = (name) => style.getPropertyValue(name).trim();
    const write = (text, x, y, { fill = color("--faint"), align = "left", font = `${small}px` } = {}) => {
      Object.assign(draw, { fillStyle: fill, textAlign: align, font: `${font} system-ui, sans-serif` });
      draw.fillText(text, x, y);
    };

    const longest = trips.reduce((most, trip) => Math.max(most, trip.rtt ?? 0), HIGHEST);
    const left = 2.6 * rem;
    const right = width - 4 * rem;
    const x = (at) => right - ((now - at) / MINUTE) * (right - left);
    const row = (height - foot) / this.#names.length;
    this.#names.forEach((_, i) => {
      const [top, bottom] = [i * row + 1.2 * rem, (i + 1) * row - 0.7 * rem];
      const y = (rtt) => bottom - rise(rtt, longest) * (bottom - top);
      draw.strokeStyle = color("--line");
      draw.lineWidth = 1;
      for (const ms of [0.1, 1, 10, 100, 1000]) {
        const level = Math.round(y(ms)) + 0.5;
        draw.beginPath();
        draw.moveTo(left, level);
        draw.lineTo(right, level);
        draw.stroke();
        if (ms === 1 || ms === 100) write(`${ms} ms`, right + 0.4 * rem, level);
      }
      const badge = getComputedStyle(document.querySelector(`#servers > .${colorOf(i + 1)}`));
      const [strong, paper] = ["--strong", "--paper"].map((name) => badge.getPropertyValue(name).trim());
      const [size, middle] = [1.6 * rem, (top + bottom) / 2];
      draw.fillStyle = strong;
      draw.beginPath();
      draw.roundRect(0, middle - size / 2, size, size, 0.35 * rem);
      draw.fill();
      write(String(i + 1), size / 2, middle + 1, { fill: paper, align: "center", font: `700 ${Math.max(small, rem)}px` });
      for (const trip of trips) {
        if (trip.place !== i + 1) continue;
        if (trip.rtt === null) {
          write("✗", x(trip.at), top - 0.55 * rem, { fill: color("--down"), align: "center" });
          continue;
        }
        draw.fillStyle = strong;
        draw.globalAlpha = 0.75;
        draw.beginPath();
        draw.arc(x(trip.at), y(trip.rtt), 0.22 * rem, 0, 7);
        draw.fill();
        draw.globalAlpha = 1;
      }
    });
    const below = height - 0.7 * small;
    write("60 s ago", left, below);
    write("30 s", (left + right) / 2, below, { align: "center" });
    write("now", right, below, { align: "right" });
  }
}

// rise is how high a round trip stands in its row, from 0 to 1: each decade is
// as high as any other.
export function rise(rtt, longest) {
  return Math.min(1, Math.max(0, Math.log10(Math.max(rtt, LOWEST) / LOWEST) / Math.log10(longest / LOWEST)));
}

// describe says in words what the plot shows.
export function describe(trips, names, sample) {
  const parts = names.map((name, i) => {
    const own = trips.filter((trip) => trip.place === i + 1);
    const answered = own.filter((trip) => trip.rtt !== null).map((trip) => trip.rtt).sort((a, b) => a - b);
    const median = answered[Math.floor(answered.length / 2)];
    const middle = answered.length ? `, median ${Number(median.toPrecision(3))} ms` : "";
    return `${name}: shown ${count(answered.length, "answer")}${middle}, ${thousands(own.length - answered.length)} without`;
  });
  return `Round trips of the last minute${sample ? ", a sample" : ""}. ${parts.join("; ")}`;
}
