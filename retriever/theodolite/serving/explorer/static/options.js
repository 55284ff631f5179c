// The settings of a search: a switch and a slider for each stage that the collection can have.

import { checkbox, make, newId } from "./dom.js";

/** Return the controls of a collection's stages.
 *
 * `stages` is the server's description; `changed` is called after each change.
 * Of the result, `form` holds the controls, `know(fields)` adds those that need the collection's fields, and `read()`
 * returns the options of a search as the API takes them.
 */
export function makeOptions(stages, changed) {
  const state = { mode: stages.modes[0], k: 10, lexical: 0.8, superseded: "hide", as_of: "" };
  const form = document.createDocumentFragment();
  const readers = [];
  const refreshers = [];
  const update = () => {
    refreshers.forEach((refresh) => refresh());
    changed();
  };

  const mode = select("How to find", stages.modes.map((each) => [each, MODES[each]]), state.mode, (value) => { state.mode = value; update(); });
  const lexical = slider("Weight of words", 0, 2, 0.1, state.lexical, (value) => { state.lexical = value; update(); });
  const k = slider("Number of hits (k)", 1, 100, 1, state.k, (value) => { state.k = value; update(); });
  form.append(group("Search", mode, lexical, k));
  const coverage = coverageOf(stages.calibrations, update);
  if (coverage) form.append(coverage.element);
  const covered = () => coverage?.on() ?? false;
  refreshers.push(() => {
    lexical.hidden = state.mode !== "hybrid";
    k.hidden = covered();
  });
  readers.push(() => ({ ...(covered() ? { coverage: coverage.value() } : { k: state.k }), mode: state.mode === "hybrid" ? { dense: 1, lexical: state.lexical } : state.mode }));

  const scaled = () => stages.relevance || state.mode === "lexical";
  const boosts = [];
  const preferences = make("div");
  form.append(preferences);
  const know = (fields) => {
    boosts.push(...[freshness(fields, update), authority(fields, update)].filter(Boolean));
    preferences.replaceChildren(...boosts.map((boost) => boost.element));
    refreshers.forEach((refresh) => refresh());
  };
  readers.push(() => {
    const chosen = scaled() ? boosts.map((boost) => boost.read()).filter(Boolean) : [];
    return chosen.length ? { boosts: chosen } : {};
  });
  refreshers.push(() => boosts.forEach((boost) => { boost.element.disabled = !scaled(); }));

  if (stages.rules.length) {
    const policy = select("Documents that are not current", [["hide", "Hide"], ["show", "Show, marked"], ["substitute", "Substitute successors"]], "hide", (value) => { state.superseded = value; update(); });
    const date = make("input", { type: "date", id: newId(), change: () => { state.as_of = date.value; update(); } });
    const versions = stage("Versions", true, update, policy, make("label", { for: date.id }, "As of (empty: now)"), date);
    form.append(versions.element);
    readers.push(() => !versions.on() ? { versions: [] } : { superseded: state.superseded, ...(state.as_of ? { as_of: state.as_of } : {}) });
  }

  const single = (title, label, low, high, step, value, read, allowed = () => true) => {
    const values = { value };
    const control = slider(label, low, high, step, value, (given) => { values.value = given; update(); });
    const own = stage(title, false, update, control);
    form.append(own.element);
    readers.push(() => own.on() && allowed() ? read(values.value) : {});
    refreshers.push(() => { own.element.disabled = !allowed(); });
  };
  if (stages.relevance) {
    single("Threshold", "Lowest relevance", 0, 1, 0.01, 0.3, (value) => ({ min_relevance: value }), () => state.mode === "dense");
  }
  if (stages.rerank) {
    const rerank = stage("Rerank", false, update);
    form.append(rerank.element);
    readers.push(() => rerank.on() ? { rerank: true } : {});
  }
  if (stages.modes.length > 1 || stages.metric) {
    const free = () => !covered();
    single("Merge near-duplicates", "Cosine from which documents are duplicates", 0.8, 1, 0.005, 0.97, (value) => ({ dedupe: value }), free);
    single("Diversity", "How much the hits should differ", 0, 1, 0.05, 0.3, (value) => ({ diversity: value }), free);
  }
  refreshers.forEach((refresh) => refresh());
  return { form, know, read: () => Object.assign({}, ...readers.map((read) => read())) };
}

const MODES = { dense: "By meaning (dense)", hybrid: "By meaning and words (hybrid)", lexical: "By words (lexical)" };
const UNITS = [["d", "days"], ["w", "weeks"], ["y", "years"], ["h", "hours"]];
const MOST_LEVELS = 12;
const LEAST_COVERAGE = 0.5;

function freshness(fields, update) {
  const dated = Object.entries(fields).filter(([, field]) => field.dates).map(([name]) => name);
  if (!dated.length) return null;
  const state = { field: dated[0], amount: 180, unit: "d", weight: 0.2 };
  const amount = make("input", { type: "number", min: 1, max: 100000, id: newId(), value: state.amount, change: () => {
    state.amount = Math.max(1, Number(amount.value) || 1);
    update();
  } });
  const own = stage("Prefer new documents", false, update,
    select("Date", dated.map((name) => [name, name]), state.field, (value) => { state.field = value; update(); }),
    make("label", { for: amount.id }, "Half-life"), amount,
    select("Unit of the half-life", UNITS, state.unit, (value) => { state.unit = value; update(); }),
    slider("Weight", 0, 0.95, 0.05, state.weight, (value) => { state.weight = value; update(); }));
  const read = () => own.on() && state.weight ? { kind: "freshness", field: state.field, half_life: `${state.amount}${state.unit}`, weight: state.weight } : null;
  return { element: own.element, read };
}

function authority(fields, update) {
  const sources = Object.entries(fields).filter(([, field]) => field.values.length > 1 && field.values.length <= MOST_LEVELS && field.values.every((each) => typeof each.value === "string") && !field.dates);
  if (!sources.length) return null;
  const state = { field: sources[0][0], weight: 0.2, levels: new Map() };
  const levels = make("div");
  const draw = () => {
    state.levels = new Map();
    const values = Object.fromEntries(sources)[state.field].values;
    levels.replaceChildren(...values.map(({ value }, at) => {
      state.levels.set(value, at ? 0.5 : 1);
      return slider(`Level of ${value}`, 0, 1, 0.1, at ? 0.5 : 1, (level) => { state.levels.set(value, level); update(); });
    }));
  };
  draw();
  const own = stage("Prefer some sources", false, update,
    select("Source", sources.map(([name]) => [name, name]), state.field, (value) => { state.field = value; draw(); update(); }),
    slider("Weight", 0, 0.95, 0.05, state.weight, (value) => { state.weight = value; update(); }),
    levels);
  const read = () => own.on() && state.weight ? { kind: "authority", field: state.field, levels: [...state.levels], weight: state.weight } : null;
  return { element: own.element, read };
}

/** Return the control of how long lists are by calibration, in place of k; null where nothing is calibrated. */
function coverageOf(calibrations, update) {
  const highest = Math.floor(100 * Math.max(0, ...calibrations.map((each) => each.highest_coverage))) / 100;
  if (highest < LEAST_COVERAGE) return null;
  const state = { value: Math.min(0.9, highest) };
  const words = `As many hits as it takes that a relevant one is among them for this share of questions that have an answer. Calibrated: ${calibrations.map((each) => each.search).join("; ")}.`;
  const own = stage("Coverage", false, update,
    slider("Share of questions", LEAST_COVERAGE, highest, 0.01, state.value, (value) => { state.value = value; update(); }),
    make("p", { class: "quiet" }, words));
  return { ...own, value: () => state.value };
}

const group = (title, ...controls) => make("fieldset", {}, make("legend", {}, title), ...controls);

/** Return a stage that a switch turns on; its controls show while it is on. */
function stage(title, on, update, ...controls) {
  const inner = make("div", {}, ...controls);
  inner.hidden = !on;
  const state = { on };
  const element = make("fieldset", { class: on ? "" : "off" });
  const toggle = checkbox(title, on, (checked) => {
    state.on = checked;
    inner.hidden = !checked;
    element.classList.toggle("off", !checked);
    update();
  });
  element.append(make("legend", {}, toggle), inner);
  return { element, on: () => state.on };
}

function slider(text, low, high, step, value, change) {
  const id = newId();
  const told = make("output", { for: id }, value);
  const input = make("input", { type: "range", id, min: low, max: high, step,
    input: () => { told.textContent = input.value; },
    change: () => change(Number(input.value)) });
  input.value = value;
  return make("div", { class: "slider" }, make("label", { for: id }, text), told, input);
}

function select(text, choices, chosen, change) {
  const id = newId();
  const input = make("select", { id, change: () => change(input.value) }, ...choices.map(([value, name]) => make("option", { value }, name)));
  input.value = chosen;
  return make("div", {}, make("label", { for: id }, text), input);
}
