// Facets: the values of metadata fields with counts, as filters.

import { checkbox, make, newId, shown } from "./dom.js";

/** The filters that a user has chosen. `changed` is called after each change. */
export class Facets {
  constructor(element, text, changed) {
    this.element = element;
    this.text = text;
    this.changed = changed;
    this.clear();
  }

  clear() {
    this.chosen = new Map(); // the values that a field may have
    this.ranges = new Map(); // [lowest, highest] as JSON values, or null
    this.selection = null; // a filter chosen elsewhere, such as on a map
    this.text.value = "";
  }

  /** Return the filter, or null for none. Throws an Error if the text is not a JSON object. */
  where() {
    const parts = [];
    for (const [field, values] of this.chosen) parts.push({ [field]: { $in: values } });
    for (const [field, [low, high]] of this.ranges) {
      if (low !== null) parts.push({ [field]: { $gte: low } });
      if (high !== null) parts.push({ [field]: { $lte: high } });
    }
    if (this.selection !== null) parts.push(this.selection);
    if (this.text.value.trim()) {
      let given;
      try {
        given = JSON.parse(this.text.value);
      } catch (error) {
        throw new Error(`The filter is not JSON: ${error.message}`);
      }
      if (given === null || typeof given !== "object" || Array.isArray(given)) throw new Error('The filter is not a JSON object, such as {"lang": "en"}');
      parts.push(given);
    }
    if (!parts.length) return null;
    return parts.length === 1 ? parts[0] : { $and: parts };
  }

  /** Draw the fields: all of the collection, with counts under the present filter. Focus stays where it is. */
  draw(all, counted) {
    const focused = document.activeElement?.dataset?.facet;
    const blocks = Object.entries(all).map(([name, field]) => this.#field(name, field, counted[name])).filter(Boolean);
    this.element.replaceChildren(...blocks);
    if (focused) [...this.element.querySelectorAll("[data-facet]")].find((each) => each.dataset.facet === focused)?.focus();
  }

  #field(name, field, counted) {
    if (field.values.length) return this.#values(name, field, counted);
    if (field.numbers) return this.#range(name, "number", field.numbers);
    if (field.dates) return this.#range(name, "date", field.dates.map((date) => String(date).slice(0, 10)));
    return null;
  }

  #values(name, field, counted) {
    const counts = new Map((counted?.values ?? []).map(({ value, count }) => [JSON.stringify(value), count]));
    const items = field.values.map(({ value }) => {
      const key = JSON.stringify(value);
      const chosen = this.chosen.get(name) ?? [];
      const box = checkbox(shown(value), chosen.some((each) => JSON.stringify(each) === key), (on) => {
        const rest = chosen.filter((each) => JSON.stringify(each) !== key);
        if (on) rest.push(value);
        if (rest.length) this.chosen.set(name, rest);
        else this.chosen.delete(name);
        this.changed();
      }, { "data-facet": `${name} ${key}` });
      const count = counts.get(key) ?? 0;
      return make("li", {}, box, make("span", { class: "count" }, count.toLocaleString("en-US"), make("span", { class: "hidden" }, " documents")));
    });
    return make("fieldset", { class: "facet" }, make("legend", {}, name), make("ul", {}, ...items));
  }

  #range(name, type, [lowest, highest]) {
    const present = this.ranges.get(name) ?? [null, null];
    const bound = (text, at, hint) => {
      const id = newId();
      const input = make("input", { type, id, step: "any", placeholder: hint, "data-facet": `${name} ${at}`, change: () => {
        const bounds = [...(this.ranges.get(name) ?? [null, null])];
        bounds[at] = input.value === "" ? null : type === "number" ? Number(input.value) : at && type === "date" ? `${input.value}T23:59:59.999999` : input.value;
        if (bounds.every((each) => each === null)) this.ranges.delete(name);
        else this.ranges.set(name, bounds);
        this.changed();
      } });
      if (present[at] !== null) input.value = type === "date" ? String(present[at]).slice(0, 10) : present[at];
      return make("div", {}, make("label", { for: id }, text), input);
    };
    return make("fieldset", { class: "facet" }, make("legend", {}, name), make("p", { class: "quiet" }, `${shown(lowest)} to ${shown(highest)}`), make("div", { class: "range" }, bound("From", 0, lowest), bound("To", 1, highest)));
  }
}
