// The map: documents in two dimensions, as one SVG path for each color. Dragging moves the drawn picture.

import { explore } from "./api.js";
import { button, byId, make } from "./dom.js";

const MOST_IDS = 5000; // documents that a selection may filter by
const SVG = "http://www.w3.org/2000/svg";
const SIZES = [[500, 44], [5000, 26], [30000, 14], [Infinity, 9]];
const MARGIN = 90;

export class MapPage {
  /** `choose` filters the search by ids, or by none; `open` shows a document. */
  constructor(collection, report, choose, open) {
    Object.assign(this, { collection, report, choose, open });
    this.color = null;
    this.lit = [];
    this.data = null;
  }

  /** Show the page; the map is asked for once. */
  async show() {
    if (this.data === null) await this.load();
  }

  async load() {
    byId("map-status").textContent = "Drawing the map …";
    this.data = await explore(this.collection, "map", { color: this.color });
    const { ids, side } = this.data;
    this.view = { x: side / 2, y: side / 2, size: side + 2 * MARGIN };
    this.places = new Map(ids.map((id, row) => [id, row]));
    this.selected = new Set();
    this.draw();
    this.#controls();
    const { total } = this.data;
    const sampled = ids.length < total ? `${ids.length.toLocaleString("en-US")} evenly spaced documents of ${total.toLocaleString("en-US")}` : `${total.toLocaleString("en-US")} documents`;
    byId("map-status").textContent = ids.length ? `${sampled}. Near documents have similar texts.` : "This collection is empty.";
  }

  draw() {
    const { ids, x, y, group, groups } = this.data;
    const width = SIZES.find(([most]) => ids.length <= most)[1];
    const parts = groups.map(() => []);
    for (let row = 0; row < ids.length; row += 1) parts[group[row]].push(`M${x[row]} ${y[row]}h0`);
    const picture = document.createElementNS(SVG, "svg");
    picture.setAttribute("class", "map");
    const add = (kind, d, size) => {
      const path = document.createElementNS(SVG, "path");
      path.setAttribute("class", kind);
      path.setAttribute("stroke-width", size);
      path.setAttribute("d", d);
      picture.append(path);
      return path;
    };
    this.ring = add("lit", "", Math.max(width * 1.8, 40)); // below the points
    for (let at = groups.length - 1; at >= 0; at -= 1) add(`c${groups[at].color}`, parts[at].join(""), width);
    this.chosen = add("chosen", "", width * 0.4);
    this.picture = picture;
    this.#look();
    this.#marks();
    byId("map").replaceChildren(picture);
  }

  /** Light the hits of a search. */
  light(ids) {
    this.lit = ids;
    if (this.data !== null) this.#marks();
  }

  #marks() {
    const { x, y } = this.data;
    const dots = (rows) => rows.map((row) => `M${x[row]} ${y[row]}h0`).join("");
    this.ring.setAttribute("d", dots(this.lit.map((id) => this.places.get(id)).filter((row) => row !== undefined)));
    this.chosen.setAttribute("d", dots([...this.selected]));
  }

  /** Return what is in view: left, top, width, height. The shorter side of the frame has the view's size. */
  #box() {
    const { x, y, size } = this.view;
    const { width, height } = byId("map").getBoundingClientRect();
    const unit = size / Math.max(1, Math.min(width, height));
    return [x - width * unit / 2, y - height * unit / 2, width * unit, height * unit];
  }

  #look() {
    this.picture.setAttribute("viewBox", this.#box().join(" "));
    this.picture.style.transform = "";
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
      make("td", {}, button("Select", () => this.select(this.#rows((row) => this.data.group[row] === at)), { "aria-label": `Select ${one.name}` })))));
  }

  #rows(test) {
    const rows = [];
    for (let row = 0; row < this.data.ids.length; row += 1) if (test(row)) rows.push(row);
    return rows;
  }

  /** Select documents: they filter the search. */
  select(rows) {
    if (rows.length > MOST_IDS) {
      byId("map-status").textContent = `${rows.length.toLocaleString("en-US")} documents are too many to filter by; zoom in, or select at most ${MOST_IDS.toLocaleString("en-US")}.`;
      return;
    }
    this.selected = new Set(rows);
    this.#marks();
    this.choose(rows.length ? rows.map((row) => this.data.ids[row]) : null);
    byId("map-status").textContent = rows.length ? `${rows.length.toLocaleString("en-US")} documents are selected: the search finds only these.` : "Nothing is selected.";
  }

  inView() {
    const [left, top, width, height] = this.#box();
    const { x, y } = this.data;
    return this.#rows((row) => x[row] >= left && x[row] <= left + width && y[row] >= top && y[row] <= top + height);
  }

  /** Move by shares of what is in view. */
  move(right, down) {
    const [, , width, height] = this.#box();
    this.view.x += right * width;
    this.view.y += down * height;
    this.#look();
  }

  /** Zoom around a place, given in shares of the frame. */
  zoom(factor, [atX, atY] = [0.5, 0.5]) {
    const [, , width, height] = this.#box();
    const size = Math.min(Math.max(this.view.size * factor, 40), 3 * (this.data.side + 2 * MARGIN));
    const change = 1 - size / this.view.size;
    this.view.x += width * change * (atX - 0.5);
    this.view.y += height * change * (atY - 0.5);
    this.view.size = size;
    this.#look();
  }

  /** Listen to keys and the pointer. */
  listen(signal) {
    const frame = byId("map");
    const on = (element, event, handle, options = {}) => element.addEventListener(event, (given) => { if (this.data?.ids.length) handle(given); }, { signal, ...options });
    const place = (event) => {
      const box = frame.getBoundingClientRect();
      return [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
    };
    let from = null;
    on(frame, "pointerdown", (event) => {
      from = [event.clientX, event.clientY];
      frame.setPointerCapture(event.pointerId);
    });
    on(frame, "pointermove", (event) => {
      if (from !== null) this.picture.style.transform = `translate(${event.clientX - from[0]}px, ${event.clientY - from[1]}px)`;
    });
    on(frame, "pointerup", (event) => {
      if (from === null) return;
      const { width, height } = frame.getBoundingClientRect();
      const moved = [event.clientX - from[0], event.clientY - from[1]];
      from = null;
      if (Math.hypot(...moved) < 4) this.#click(place(event));
      else this.move(-moved[0] / width, -moved[1] / height);
    });
    on(frame, "pointercancel", () => { from = null; this.#look(); });
    on(frame, "wheel", (event) => {
      event.preventDefault();
      this.zoom(event.deltaY > 0 ? 1.25 : 0.8, place(event));
    }, { passive: false });
    const keys = { ArrowLeft: [-0.2, 0], ArrowRight: [0.2, 0], ArrowUp: [0, -0.2], ArrowDown: [0, 0.2] };
    on(frame, "keydown", (event) => {
      if (event.key in keys) this.move(...keys[event.key]);
      else if (event.key === "+" || event.key === "=") this.zoom(0.8);
      else if (event.key === "-") this.zoom(1.25);
      else return;
      event.preventDefault();
    });
    on(window, "resize", () => this.#look());
    on(byId("map-in"), "click", () => this.zoom(0.8));
    on(byId("map-out"), "click", () => this.zoom(1.25));
    on(byId("map-select"), "click", () => this.select(this.inView()));
    on(byId("map-clear"), "click", () => this.select([]));
    byId("map-color").addEventListener("change", () => {
      this.color = byId("map-color").value || null;
      this.load().catch(this.report);
    }, { signal });
  }

  /** Open the document nearest to a click, if one is near. */
  #click([atX, atY]) {
    const { x, y, ids } = this.data;
    const [left, top, width, height] = this.#box();
    const at = [left + atX * width, top + atY * height];
    let best = -1;
    let nearest = (this.view.size / 40) ** 2;
    for (let row = 0; row < ids.length; row += 1) {
      const far = (x[row] - at[0]) ** 2 + (y[row] - at[1]) ** 2;
      if (far < nearest) [best, nearest] = [row, far];
    }
    if (best >= 0) this.open(ids[best]);
  }
}
