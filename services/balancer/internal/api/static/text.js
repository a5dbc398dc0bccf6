// How things are written.

export const COLORS = 8; // servers that have a colour of their own

export const colorOf = (place) => "c" + (((place - 1) % COLORS) + 1);

export const thousands = (n) => n.toLocaleString("en-US");

export const amount = (n, one, many) => thousands(n) + " " + (n === 1 ? one : many);

export const clock = (time) => new Date(time).toLocaleTimeString("en-GB");

// moment is a time of day, with the date if that is not today's.
export function moment(time, now) {
  const then = new Date(time);
  const today = new Date(now);
  if (then.toDateString() === today.toDateString()) return clock(then);
  const year = then.getFullYear() === today.getFullYear() ? "" : " " + then.getFullYear();
  return `${then.getDate()} ${then.toLocaleDateString("en-US", { month: "short" })}${year} ${clock(then)}`;
}

// since is from when on something is so, and how long that is: in the largest
// unit that there is one of, on one line.
export const since = (time, now) => `since ${moment(time, now)} (${ago(time, now)}\u00a0ago)`;

function ago(time, now) {
  const seconds = Math.max(0, Math.floor((now - Date.parse(time)) / 1000));
  if (seconds < 60) return `${seconds}\u00a0s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)}\u00a0min`;
  if (seconds < 48 * 3600) return `${Math.floor(seconds / 3600)}\u00a0h`;
  return `${Math.floor(seconds / 86400)}\u00a0days`;
}

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

// sign makes a mark for the eye alone: what it says is said in words beside it.
export function sign(text, tag = "span") {
  const element = make(tag, "", text);
  element.ariaHidden = "true";
  return element;
}

// say changes a text only if it is another, so that nothing is announced or
// laid out without need.
export function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

// dress changes a class only if it is another.
export function dress(element, className) {
  if (element.className !== className) element.className = className;
}

// sayDown writes that something is down, with its sign, or is not.
export function sayDown(element, down, text) {
  if (!down) return say(element, text);
  if (element.textContent !== "✖ " + text) element.replaceChildren(sign("✖"), " " + text);
}
