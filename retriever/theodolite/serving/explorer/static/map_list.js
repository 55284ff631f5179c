// Documents of the map in words: a list beside the picture, and the text under the pointer. Texts are fetched on demand.

import { ask } from "./api.js";
import { button, byId, make } from "./dom.js";

const LISTED = 25; // documents of the list
const BEGINNING = 200; // characters of a text
const KEPT = 2000; // texts kept in memory

export class MapTexts {
  constructor(collection) {
    this.collection = collection;
    this.texts = new Map();
  }

  /** Return the beginnings of the texts of documents by id. */
  async of(ids) {
    const missing = ids.filter((id) => !this.texts.has(id));
    if (missing.length) {
      if (this.texts.size > KEPT) this.texts.clear();
      const { documents } = await ask(this.collection, "get", { ids: missing });
      for (const { id, text } of documents) this.texts.set(id, beginning(text));
    }
    return new Map(ids.map((id) => [id, this.texts.get(id) ?? ""]));
  }
}

function beginning(text) {
  const line = text.slice(0, 2 * BEGINNING).replace(/\s+/g, " ").trim();
  const characters = [...line];
  return characters.length > BEGINNING || text.length > 2 * BEGINNING ? `${characters.slice(0, BEGINNING).join("")} …` : line;
}

/** Fill the list with documents: ids and the names of their groups. `total` of them could be listed. */
export async function fillList(title, total, rows, texts, open) {
  const shown = rows.slice(0, LISTED);
  const first = shown.length < total ? `, the first ${shown.length} of ${total.toLocaleString("en-US")}` : "";
  const cells = shown.map(({ id, group }) => {
    const text = make("td", {});
    const row = make("tr", {}, make("th", { scope: "row" }, button(id, () => open(id), { class: "link" })), make("td", {}, group), text);
    return { id, row, text };
  });
  byId("map-list-caption").textContent = `${title}${first}`;
  byId("map-listed").replaceChildren(...cells.map(({ row }) => row));
  const found = await texts.of(shown.map(({ id }) => id));
  for (const { id, text } of cells) text.textContent = found.get(id);
}
