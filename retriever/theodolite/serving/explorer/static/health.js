// The health of a collection: what the checks say, as texts, charts and tables.

import { measure } from "./api.js";
import { chartOf } from "./charts.js";
import { byId, make, showProgress } from "./dom.js";

export class HealthPage {
  constructor(collection) {
    this.collection = collection;
    this.shown = false;
    this.ending = new AbortController();
    byId("health").replaceChildren();
  }

  /** Show the page; the health is measured once. */
  async show() {
    if (this.shown) return;
    this.shown = true;
    const status = byId("health-status");
    const bar = byId("health-progress");
    status.textContent = "Checking the collection … this reads all of it once.";
    try {
      const { created, sections } = await measure(this.collection, "health", {}, (progress) => showProgress(status, bar, progress), this.ending.signal);
      byId("health").replaceChildren(...sections.map(section));
      status.textContent = `Measured ${created.slice(0, 16).replace("T", " ")} UTC.`;
    } catch (error) {
      if (error.name === "AbortError") return;
      this.shown = false;
      status.textContent = "";
      throw error;
    } finally {
      showProgress(status, bar, null);
    }
  }

  /** Ask no more: another collection takes the page. */
  end() {
    this.ending.abort();
  }
}

const section = ({ title, text, chart, tables }) => make("section", { class: "panel" }, make("h3", {}, title), ...text.map((words) => make("p", {}, words)), chart ? chartOf(chart) : null, ...tables.map(table));

function table({ caption, head, rows, details }) {
  const cells = (row) => row.map((cell, at) => at ? make("td", { class: typeof cell === "number" ? "number" : "" }, cell) : make("th", { scope: "row" }, cell));
  const drawn = make("table", {},
    make("caption", {}, caption),
    head.length ? make("thead", {}, make("tr", {}, ...head.map((name) => make("th", { scope: "col" }, name)))) : null,
    make("tbody", {}, ...rows.map((row) => make("tr", {}, ...cells(row)))));
  return details ? make("details", {}, make("summary", {}, caption), drawn) : drawn;
}
