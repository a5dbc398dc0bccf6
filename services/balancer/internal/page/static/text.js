// How things are written, and written only if they have changed: nothing is
// announced or laid out without need.

export const COLORS = 8; // servers that have a colour of their own

export const colorOf = (place) => "c" + (((place - 1) % COLORS) + 1);

export const thousands = (n) => n.toLocaleString("en-US");

export const count = (n, thing) => `${thousands(n)} ${thing}${n === 1 ? "" : "s"}`;

export const clock = (time) => new Date(time).toLocaleTimeString("en-GB");

// moment is a time of day, with the date if that is not today's.
export function moment(time, now) {
  const [then, today] = [new Date(time), new Date(now)];
  if (then.toDateString() === today.toDateString()) return clock(then);
  const year = then.getFullYear() === today.getFullYear() ? "" : " " + then.getFullYear();
  return `${then.getDate()} ${then.toLocaleDateString("en-US", { month: "short" })}${year} ${clock(then)}`;
}

const UNITS = [[172_800, 86_400, "days"], [3600, 3600, "h"], [60, 60, "min"], [0, 1, "s"]];

// ago is how long ago a time was, in the largest unit that fits, on one line.
export function ago(time, now) {
  const seconds = Math.max(0, Math.floor((now - Date.parse(time)) / 1000));
  const [, length, unit] = UNITS.find(([least]) => seconds >= least);
  return `${Math.floor(seconds / length)}\u00a0${unit}\u00a0ago`;
}

// el makes an element with a class, a text and children.
export function el(tag, className = "", text = "", ...children) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  if (text) element.textContent = text;
  element.append(...children);
  return element;
}

function set(element, property, value) {
  if (element[property] !== value) element[property] = value;
}

export const setText = (element, text) => set(element, "textContent", text);
export const setClass = (element, className) => set(element, "className", className);
export const setHidden = (element, hidden) => set(element, "hidden", hidden);

// setTime shows a time, and how long ago it was where the page says so.
export function setTime(element, time, now) {
  if (!time) return setText(element, element.dataset.none);
  if (element.dateTime !== time) element.dateTime = time;
  setText(element, moment(time, now) + ("ago" in element.dataset ? ` (${ago(time, now)})` : ""));
}
