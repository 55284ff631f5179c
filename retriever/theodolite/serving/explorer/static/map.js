// The map: documents in two dimensions. It moves by pointer, wheel and keys; a list beside it says the same in words.

import { measure } from "./api.js";
import { button, byId, make, showProgress } from "./dom.js";
import { MapCanvas } from "./map_canvas.js";
import { fillList, MapTexts } from "./map_list.js";

const MOST_IDS = 5000; // documents that a selection may filter by
const MARGIN = 90; // around the points, in the map's units
const NEAR = 14; // pixels between the pointer and a point
const REST = 150; // milliseconds until the text under the pointer is fetched, and the list is filled
const SMALLEST = 40; // units in view when zoomed in

export class MapPage {
  /** `choose` filters the search; by null, it finds everything. `open` shows a document. */
  constructor(collection, report, choose, open) {
    Object.assign(this, { collection, report, choose, open });
    this.color = null;
    this.lit = [];
    this.data = null;
    this.selected = new Set();
    this.texts = new MapTexts(collection);
    this.ending = new AbortController();
    byId("map").replaceChildren();
    byId("map-groups").replaceChildren();
    byId("map-hits").textContent = "";
    byId("map-tip").hidden = true;
    byId("map-list").open = false;
    this.#listen();
  }

  /** Show the page; the map is asked for once. */
  async show() {
    if (this.data === null) await this.load();
    else this.draw();
  }

  /** Stop listening: another collection takes the page. */
  end() {
    this.ending.abort();
  }

  async load() {
    const status = byId("map-status");
    const bar = byId("map-progress");
    status.textContent = "Drawing the map …";
    const { signal } = this.ending;
    const color = this.color;
    let data;
    try {
      data = await measure(this.collection, "map", { color }, (progress) => showProgress(status, bar, progress), signal);
    } catch (error) {
      if (error.name === "AbortError") return;
      status.textContent = "";
      throw error;
    } finally {
      showProgress(status, bar, null);
    }
    if (color !== this.color) return; // another one was chosen meanwhile
    const same = this.data !== null && this.data.ids.length === data.ids.length && data.ids.every((id, row) => id === this.data.ids[row]);
    this.data = data;
    this.places = new Map(data.ids.map((id, row) => [id, row]));
    if (!same) {
      this.view = { x: data.side / 2, y: data.side / 2, size: data.side + 2 * MARGIN };
      this.selected = new Set();
    }
    this.canvas ??= new MapCanvas(byId("map"));
    this.canvas.load(data);
    this.#controls();
    this.draw();
    status.textContent = this.#described();
  }

  #described() {
    const { ids, total, explained } = this.data;
    const [drawn, all] = [ids.length, total].map((count) => count.toLocaleString("en-US"));
    if (!ids.length) return "This collection is empty.";
    const which = ids.length < total ? `A sample of ${drawn} evenly spaced documents of ${all}` : `${all} ${total === 1 ? "document" : "documents"}`;
    return `${which}. Near documents have similar vectors; the two dimensions show ${Math.round(100 * explained)} % of the variance.`;
  }

  /** Draw the picture before the next frame is shown. */
  draw() {
    if (this.data === null || this.drawing) return;
    this.drawing = true;
    requestAnimationFrame(() => {
      this.drawing = false;
      const { width, height } = byId("map").getBoundingClientRect();
      if (!width || !height) return; // another page is shown
      const lit = this.lit.map((id) => this.places.get(id)).filter((row) => row !== undefined);
      this.canvas.draw(this.#box(), (this.data.side + 2 * MARGIN) / this.view.size, lit, this.selected);
    });
    const absent = this.lit.filter((id) => !this.places.has(id)).length;
    byId("map-hits").textContent = absent ? `Of the ${this.lit.length} hits of the last search, ${absent} are not on the map.` : "";
    clearTimeout(this.listing);
    this.listing = setTimeout(() => this.#fillList(), REST);
  }

  /** Light the hits of a search. */
  light(ids) {
    this.lit = ids;
    this.draw();
  }

  /** Return what is in view: left, top, width, height. The shorter side of the frame has the view's size. */
  #box() {
    const { x, y, size } = this.view;
    const { clientWidth: width, clientHeight: height } = byId("map");
    const unit = size / Math.max(1, Math.min(width, height));
    return [x - width * unit / 2, y - height * unit / 2, width * unit, height * unit];
  }

  #controls() {
    const { groups, fields } = this.data;
    const color = byId("map-color");
    color.replaceChildren(make("option", { value: "" }, "Cluster"), ...fields.map((name) => make("option", { value: name }, name)));
    color.value = this.color ?? "";
    byId("map-groups").replaceChildren(...groups.map((one, at) => make("tr", {},
      make("td", {}, make("span", { class: `dot c${one.color}`, "aria-hidden": "true" }, "●")),
      make("th", { scope: "row" }, one.name),
      make("td", { class: "number" }, one.count.toLocaleString("en-US")),
      make("td", {}, button("Select", () => this.select(this.#rows((row) => this.data.group[row] === at), one.where), { "aria-label": `Select ${one.name}` })))));
  }

  #rows(test) {
    const rows = [];
    for (let row = 0; row < this.data.ids.length; row += 1) if (test(row)) rows.push(row);
    return rows;
  }

  /** Select documents: they filter the search, by a filter that finds them or by their ids. */
  select(rows, where = null) {
    if (where === null && rows.length > MOST_IDS) {
      byId("map-status").textContent = `${rows.length.toLocaleString("en-US")} documents are too many to filter by; zoom in, or select at most ${MOST_IDS.toLocaleString("en-US")}.`;
      return;
    }
    this.selected = new Set(rows);
    this.draw();
    this.choose(rows.length ? where ?? { $id: rows.map((row) => this.data.ids[row]) } : null);
    const documents = rows.length === 1 ? "1 document is" : `${rows.length.toLocaleString("en-US")} documents are`;
    byId("map-status").textContent = rows.length ? `${documents} selected: the search finds only ${where ? `documents with this ${this.color}` : rows.length === 1 ? "this one" : "these"}.` : "Nothing is selected.";
  }

  inView() {
    const [left, top, width, height] = this.#box();
    const { x, y } = this.data;
    return this.#rows((row) => x[row] >= left && x[row] <= left + width && y[row] >= top && y[row] <= top + height);
  }

  /** List the documents that are selected, or those in view; the nearest to the middle first. */
  #fillList() {
    if (!byId("map-list").open || this.data === null) return;
    const { x, y, ids, group, groups } = this.data;
    const rows = this.selected.size ? [...this.selected] : this.inView();
    const far = (row) => (x[row] - this.view.x) ** 2 + (y[row] - this.view.y) ** 2;
    rows.sort((one, other) => far(one) - far(other));
    const title = this.selected.size ? "Selected documents, the nearest to the middle first" : "Documents in view, the nearest to the middle first";
    const listed = rows.map((row) => ({ id: ids[row], group: groups[group[row]].name }));
    fillList(title, rows.length, listed, this.texts, this.open).catch(this.report);
  }

  /** Move by shares of what is in view. */
  move(right, down) {
    const [, , width, height] = this.#box();
    this.view.x += right * width;
    this.view.y += down * height;
    this.#hideTip();
    this.draw();
  }

  /** Zoom around a place, given in shares of the frame. */
  zoom(factor, [atX, atY] = [0.5, 0.5]) {
    const [, , width, height] = this.#box();
    const size = Math.min(Math.max(this.view.size * factor, SMALLEST), 3 * (this.data.side + 2 * MARGIN));
    const change = 1 - size / this.view.size;
    this.view.x += width * change * (atX - 0.5);
    this.view.y += height * change * (atY - 0.5);
    this.view.size = size;
    this.#hideTip();
    this.draw();
  }

  /** Listen to keys and the pointer. */
  #listen() {
    const { signal } = this.ending;
    const frame = byId("map");
    const on = (element, event, handle, options = {}) => element.addEventListener(event, (given) => { if (this.data?.ids.length) handle(given); }, { signal, ...options });
    const place = (event) => {
      const box = frame.getBoundingClientRect();
      return [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
    };
    let last = null; // where the pointer was, while it is down
    let walked = 0; // pixels since then
    on(frame, "pointerdown", (event) => {
      last = [event.clientX, event.clientY];
      walked = 0;
      frame.setPointerCapture(event.pointerId);
    });
    on(frame, "pointermove", (event) => {
      if (last === null) {
        this.#point(place(event));
        return;
      }
      const [right, down] = [event.clientX - last[0], event.clientY - last[1]];
      last = [event.clientX, event.clientY];
      walked += Math.hypot(right, down);
      this.move(-right / frame.clientWidth, -down / frame.clientHeight);
    });
    on(frame, "pointerup", (event) => {
      if (last !== null && walked < 4) this.#openAt(place(event));
      last = null;
    });
    on(frame, "pointercancel", () => { last = null; });
    on(frame, "pointerleave", () => this.#hideTip());
    on(frame, "wheel", (event) => {
      event.preventDefault();
      this.zoom(event.deltaY > 0 ? 1.25 : 0.8, place(event));
    }, { passive: false });
    const keys = { ArrowLeft: [-0.2, 0], ArrowRight: [0.2, 0], ArrowUp: [0, -0.2], ArrowDown: [0, 0.2] };
    on(frame, "keydown", (event) => {
      if (event.key in keys) this.move(...keys[event.key]);
      else if (event.key === "+" || event.key === "=") this.zoom(0.8);
      else if (event.key === "-") this.zoom(1.25);
      else if (event.key === "Enter") this.#openAt([0.5, 0.5], Infinity);
      else if (event.key === "Escape") this.#hideTip();
      else return;
      event.preventDefault();
    });
    on(window, "resize", () => this.draw());
    on(matchMedia("(prefers-color-scheme: dark)"), "change", () => this.draw());
    on(byId("map-in"), "click", () => this.zoom(0.8));
    on(byId("map-out"), "click", () => this.zoom(1.25));
    on(byId("map-select"), "click", () => this.select(this.inView()));
    on(byId("map-clear"), "click", () => this.select([]));
    on(byId("map-list"), "toggle", () => this.#fillList());
    byId("map-color").addEventListener("change", () => {
      this.color = byId("map-color").value || null;
      this.load().catch(this.report);
    }, { signal });
  }

  /** Return the row nearest to a place in the frame, not farther than some pixels; -1 if there is none. */
  #nearest([atX, atY], pixels = NEAR) {
    const { x, y } = this.data;
    const [left, top, width, height] = this.#box();
    const at = [left + atX * width, top + atY * height];
    let best = -1;
    let nearest = (pixels * width / byId("map").clientWidth) ** 2;
    for (let row = 0; row < x.length; row += 1) {
      const far = (x[row] - at[0]) ** 2 + (y[row] - at[1]) ** 2;
      if (far < nearest) [best, nearest] = [row, far];
    }
    return best;
  }

  /** Open the document nearest to a place. */
  #openAt(place, pixels = NEAR) {
    const row = this.#nearest(place, pixels);
    if (row >= 0) this.open(this.data.ids[row]);
  }

  /** Show the document under the pointer. */
  #point(place) {
    const row = this.#nearest(place);
    if (row === this.pointed) return;
    this.#hideTip();
    if (row < 0) return;
    this.pointed = row;
    this.waiting = setTimeout(async () => {
      const id = this.data.ids[row];
      const text = await this.texts.of([id]).then((found) => found.get(id), () => "");
      if (this.pointed === row) this.#showTip(row, id, text);
    }, REST);
  }

  #showTip(row, id, text) {
    const [left, top, width, height] = this.#box();
    const tip = byId("map-tip");
    tip.replaceChildren(make("strong", {}, id), " ", text);
    const [right, down] = [(this.data.x[row] - left) / width, (this.data.y[row] - top) / height];
    tip.hidden = false;
    tip.style.left = right < 0.5 ? `${100 * right + 1}%` : "";
    tip.style.right = right < 0.5 ? "" : `${100 * (1 - right) + 1}%`;
    tip.style.top = down < 0.5 ? `${100 * down + 1}%` : "";
    tip.style.bottom = down < 0.5 ? "" : `${100 * (1 - down) + 1}%`;
  }

  #hideTip() {
    clearTimeout(this.waiting);
    this.pointed = -1;
    byId("map-tip").hidden = true;
  }
}
