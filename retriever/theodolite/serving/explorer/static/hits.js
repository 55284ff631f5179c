// Lists of hits: texts with highlighted sentences, why each hit has its rank, and what moved between two lists.

import { button, make, newId, short, shown } from "./dom.js";

/** Return a list of hits.
 *
 * `others` are the ranks of another list by id, to mark what moved; or null. `actions` has `open`, `similar` and `filter`.
 */
export function listOf(answer, title, others, actions) {
  const highest = {};
  for (const hit of answer.hits) {
    for (const [part, value] of Object.entries(hit.scores)) highest[part] = Math.max(highest[part] ?? 0, value);
  }
  const items = answer.hits.map((hit) => make("li", {}, card(hit, highest, others, actions)));
  if (!items.length) items.push(make("li", { class: "quiet" }, "No document was found."));
  return make("ol", { class: "hits", "aria-label": title }, ...items);
}

/** Return the verdict on an answer; null where the collection has no calibration. */
export function verdictOf({ verdict }) {
  if (!verdict) return null;
  const { label, probability, reason } = verdict;
  if (label === "unknown") return make("p", { class: "verdict" }, make("strong", {}, "No verdict"), `: ${reason}.`);
  const sure = make("strong", {}, label === "none" ? "Probably no answer" : `${label[0].toUpperCase()}${label.slice(1)}`);
  return make("p", { class: `verdict ${label}` }, sure, `: the collection answers this question with a probability of ${Math.round(100 * probability)} %.`);
}

function card(hit, highest, others, actions) {
  const id = newId();
  const why = make("div", { id, hidden: true }, explanation(hit, highest));
  const toggle = button("Why this hit", () => {
    why.hidden = !why.hidden;
    toggle.setAttribute("aria-expanded", String(!why.hidden));
  }, { "aria-expanded": "false", "aria-controls": id });
  const badges = [others === null ? null : moved(hit, others), hit.version ? version(hit.version) : null];
  const values = Object.entries(hit.metadata).map(([name, value]) => make("div", {}, make("dt", {}, name), make("dd", {}, shown(value))));
  return make("article", { "data-id": hit.id },
    make("header", {},
      make("h4", {}, `${hit.rank}. `, button(hit.id, () => actions.open(hit.id), { class: "link", "aria-label": `Open document ${hit.id}` })),
      ...badges,
      make("span", { class: "score" }, `score ${short(hit.score)}`)),
    make("p", { class: "text", tabindex: 0, "aria-label": `Text of ${hit.id}`, role: "group" }, ...marked(hit.text, hit.highlights ?? [])),
    values.length ? make("dl", { class: "values" }, ...values) : null,
    hit.duplicates ? make("p", { class: "quiet" }, "Stands for near-duplicates: ", ...joined(hit.duplicates.map((other) => button(other, () => actions.open(other), { class: "link" })))) : null,
    make("div", { class: "actions" }, toggle, button("Similar to this", () => actions.similar(hit.id), { "aria-label": `Similar to this: ${hit.id}` })),
    why);
}

/** Return a text as nodes, with its highlighted sentences marked. Positions count characters, not UTF-16 units. */
export function marked(text, highlights) {
  const characters = [...text];
  const spans = highlights.map(({ start, end }) => [start, end]).sort((a, b) => a[0] - b[0]);
  const parts = [];
  let at = 0;
  for (const [start, end] of spans) {
    if (start < at) continue;
    parts.push(characters.slice(at, start).join(""), make("mark", {}, characters.slice(start, end).join("")));
    at = end;
  }
  parts.push(characters.slice(at).join(""));
  return parts;
}

function moved(hit, others) {
  const before = others.get(hit.id);
  if (before === undefined) return make("span", { class: "badge new" }, "only here");
  if (before === hit.rank) return make("span", { class: "badge" }, "same rank");
  const up = before > hit.rank;
  return make("span", { class: `badge ${up ? "up" : "down"}` }, `${up ? "▲" : "▼"} ${Math.abs(before - hit.rank)}`, make("span", { class: "hidden" }, up ? " places up" : " places down"));
}

function version(state) {
  const words = state.ended ? "period is over" : !state.current ? `replaced by ${state.successors.map(shown).join(", ")}` : state.substitutes.length ? `in place of ${state.substitutes.map(shown).join(", ")}` : state.absent.length ? `successor ${state.absent.map(shown).join(", ")} is missing` : "current";
  return make("span", { class: `badge ${state.current && !state.ended ? "" : "old"}` }, words);
}

const NAMES = { similarity: "Similarity", relevance: "Relevance", lexical: "Words (BM25)", fusion: "Fused ranks", rerank: "Reranker", rerank_relevance: "Reranker, calibrated", dedupe: "Near-duplicates", diversity: "Diversity" };
const SHARES = new Set(["similarity", "relevance", "rerank_relevance"]);
const OPEN = new Set(["lexical", "fusion", "rerank"]);

/** Return the parts of a hit's score as bars, and what each stage moved. */
function explanation(hit, highest) {
  const steps = new Map((hit.explanation?.steps ?? []).map((step) => [step.stage, step]));
  const rows = Object.entries(hit.scores).map(([part, value]) => {
    const step = steps.get(part);
    steps.delete(part);
    return row(part, value, OPEN.has(part) ? highest[part] : 1, step);
  });
  for (const [stage, step] of steps) rows.push(row(stage, step.value, 1, step));
  const head = ["Part", "Value as a bar", "Value", "Effect"].map((text) => make("th", { scope: "col" }, text));
  return make("div", {},
    make("table", { class: "why" }, make("caption", { class: "hidden" }, `Parts of the score of ${hit.id}`), make("thead", {}, make("tr", {}, ...head)), make("tbody", {}, ...rows)),
    make("details", {}, make("summary", {}, "In words"), make("pre", {}, hit.explanation?.words ?? "")));
}

function row(part, value, whole, step) {
  const factor = !(part in NAMES);
  const name = NAMES[part] ?? `Boost: ${part}`;
  const share = Math.max(0, Math.min(1, whole > 0 ? value / whole : 0));
  const places = step && step.after !== null ? step.before === null ? `place ${step.after}` : step.before === step.after ? `stays at ${step.after}` : `${step.before} → ${step.after}` : "";
  return make("tr", {},
    make("th", { scope: "row" }, name),
    make("td", {}, make("progress", { max: 1, value: share, "aria-label": `${name}: ${short(value)}${OPEN.has(part) ? ` of at most ${short(whole)} in this list` : ""}` })),
    make("td", { class: "number" }, `${factor ? "×" : ""}${short(value)}`),
    make("td", {}, [places, step?.note].filter(Boolean).join("; ")));
}

function joined(nodes) {
  return nodes.flatMap((node, at) => at ? [", ", node] : [node]);
}
