// One document: text, metadata, versions, near-duplicates; and why a search does not find it.

import { button, byId, make, short, shown } from "./dom.js";
import { explore } from "./api.js";

const links = (ids, open) => ids.flatMap((id, at) => [at ? ", " : "", button(id, () => open(id), { class: "link" })]);

/** Show a document in the dialog. `actions` has `open` and `similar`. */
export async function openDocument(collection, id, actions) {
  const found = await explore(collection, "document", { id });
  const rows = Object.entries(found.metadata).map(([name, value]) => make("tr", {}, make("th", { scope: "row" }, name), make("td", {}, shown(value))));
  const parts = [
    make("p", { class: "text", tabindex: 0, role: "group", "aria-label": "Text" }, found.text || "(no text)"),
    make("div", { class: "actions" }, button("Similar to this", () => { byId("document").close(); actions.similar(id); })),
    make("h3", {}, "Metadata"),
    rows.length ? make("table", {}, make("caption", { class: "hidden" }, "Metadata"), make("tbody", {}, ...rows)) : make("p", { class: "quiet" }, "None."),
  ];
  if (found.versions) {
    const { begun, current, ended, newer, others, absent } = found.versions;
    const state = !begun ? "It has not begun yet." : ended ? "Its period is over." : current ? "It is current." : "It is not current: newer documents replace it.";
    parts.push(make("h3", {}, "Versions"), make("p", {}, state));
    if (newer.length) parts.push(make("p", {}, "Replaced by: ", ...links(newer, actions.open)));
    if (absent.length) parts.push(make("p", {}, `Successors that are not stored: ${absent.map(shown).join(", ")}`));
    if (others.length) parts.push(make("p", {}, "Other versions: ", ...links(others, actions.open)));
  }
  parts.push(make("h3", {}, "Near-duplicates"));
  if (found.near.length) {
    parts.push(make("ul", {}, ...found.near.map((other) => make("li", {}, button(other.id, () => actions.open(other.id), { class: "link" }), ` (cosine ${short(other.similarity)})`))));
  } else {
    parts.push(make("p", { class: "quiet" }, "None."));
  }
  byId("document-heading").textContent = id;
  byId("document-body").replaceChildren(...parts);
  const dialog = byId("document");
  if (!dialog.open) dialog.showModal();
  byId("document-heading").focus();
}

/** Return the reasons why a document is not found, as elements. */
export function reasonsOf(answer, open) {
  const id = button(answer.id, () => open(answer.id), { class: "link" });
  if (answer.found) return make("p", {}, id, ` is found, at rank ${answer.rank}.`);
  const items = answer.reasons.map((reason) => {
    const item = make("li", { "data-kind": reason.kind }, make("strong", {}, KINDS[reason.kind] ?? reason.kind), `: ${reason.message}.`);
    if (reason.documents.length) item.append(" See ", ...links(reason.documents, open), ".");
    return item;
  });
  const stored = answer.reasons.every((reason) => reason.kind !== "absent");
  return make("div", {}, make("p", {}, stored ? id : answer.id, " is not shown:"), make("ul", {}, ...items));
}

const KINDS = {
  absent: "Not stored", asked: "Searched by", version: "Not current", filter: "Filtered out", accept: "Refused", words: "No word in common",
  threshold: "Below the threshold", rank: "Rank", index: "Missed by the index", boost: "Boosts", rerank: "Reranked", duplicate: "Near-duplicate", diversity: "Diversity",
};
