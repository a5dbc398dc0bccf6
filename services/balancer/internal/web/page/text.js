// How things are written.

export const COLORS = 8; // servers that have a colour of their own

export const colorOf = (place) => "c" + (((place - 1) % COLORS) + 1);

export const thousands = (n) => n.toLocaleString("en-US");

export const clock = (time) => new Date(time).toLocaleTimeString("en-GB");

export const amount = (n, one, many) => thousands(n) + " " + (n === 1 ? one : many);

export function percent(part, whole) {
  return whole === 0 ? "–" : ((100 * part) / whole).toFixed(1) + " %";
}

// millis writes milliseconds with three digits that matter.
export function millis(ms) {
  if (ms === null) return "–";
  return ms.toFixed(ms < 10 ? 2 : ms < 100 ? 1 : 0);
}

// make makes an element with a class, a text and children.
export function make(tag, className = "", text = "", ...children) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  if (text) element.textContent = text;
  element.append(...children);
  return element;
}

// say changes a text only if it is another, so that nothing is announced or
// laid out without need.
export function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}
