// The health of a collection: what the checks say, as texts and tables.

import { explore } from "./api.js";
import { byId, make } from "./dom.js";

export class HealthPage {
  constructor(collection) {
    this.collection = collection;
    this.shown = false;
  }

  async show() {
    if (this.shown) return;
    byId("health-status").textContent = "Checking the collection … this reads all of it once.";
    byId("health").replaceChildren();
    const { created, sections } = await explore(this.collection, "health", {});
    byId("health").replaceChildren(...sections.map(section));
    byId("health-status").textContent = `Measured ${created.slice(0, 16).replace("T", " ")} UTC.`;
    this.shown = true;
  }
}

const section = ({ title, text, tables }) => make("section", { class: "panel" }, make("h3", {}, title), ...text.map((words) => make("p", {}, words)), ...tables.map(table));

function table({ caption, head, rows, details }) {
  const cells = (row) => row.map((cell, at) => at ? make("td", { class: typeof cell === "number" ? "number" : "" }, cell) : make("th", { scope: "row" }, cell));
  const drawn = make("table", {},
    make("caption", {}, caption),
    head.length ? make("thead", {}, make("tr", {}, ...head.map((name) => make("th", { scope: "col" }, name)))) : null,
    make("tbody", {}, ...rows.map((row) => make("tr", {}, ...cells(row)))));
  return details ? make("details", {}, make("summary", {}, caption), drawn) : drawn;
}
