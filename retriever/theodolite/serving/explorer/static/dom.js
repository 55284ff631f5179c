// Elements from values. Text is always set as text, so nothing of a collection is ever read as HTML.

/** Return an element. `attributes` are set as attributes; functions among them listen to the event of their name. */
export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(name, value);
    else if (name === "value") element.value = value;
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, String(value));
  }
  element.append(...children.filter((child) => child !== null && child !== undefined).map((child) => child instanceof Node ? child : String(child)));
  return element;
}

export const byId = (id) => document.getElementById(id);

let numbered = 0;
/** Return an id that no other element of the page has. */
export const newId = () => `e${++numbered}`;

/** Return a number with three significant digits, as explanations print it. */
export function short(value) {
  if (value === null || value === undefined) return "";
  if (Number.isInteger(value)) return value.toLocaleString("en-US");
  const text = Math.abs(value) >= 1000 ? value.toFixed(0) : value.toPrecision(3);
  return text.replace("-", "−");
}

/** Return a metadata value in one line. Dates are stored as {"$date": ...}. */
export function shown(value) {
  if (value === null) return "none";
  if (typeof value === "string") return value;
  if (Array.isArray(value)) return value.map(shown).join(", ");
  if (typeof value === "object") {
    const keys = Object.keys(value);
    if (keys.length === 1 && (keys[0] === "$date" || keys[0] === "$datetime")) return String(value[keys[0]]);
    return JSON.stringify(value);
  }
  return String(value);
}

/** Return a button with a text and what a click does. */
export const button = (text, click, attributes = {}) => make("button", { type: "button", click, ...attributes }, text);

/** Show how far a measurement is: `status` gets the words, `bar` is a progress element. Null: it has ended. */
export function showProgress(status, bar, progress) {
  bar.hidden = progress === null;
  if (progress === null) return;
  const { step, done, of } = progress;
  if (of) Object.assign(bar, { max: of, value: done });
  else bar.removeAttribute("value");
  status.textContent = of > 100 ? `${step}: ${done.toLocaleString("en-US")} of ${of.toLocaleString("en-US")} …` : `${step} …`;
}

/** Return a checkbox with its label. */
export function checkbox(text, checked, change, attributes = {}) {
  const input = make("input", { type: "checkbox", change: () => change(input.checked), ...attributes });
  input.checked = checked;
  return make("label", { class: "switch" }, input, text);
}
