// The search page: a question, settings and filters become a request; hits, facets and reasons are shown.

import { ask, explore } from "./api.js";
import { byId, make } from "./dom.js";
import { Facets } from "./facets.js";
import { listOf, verdictOf } from "./hits.js";
import { makeOptions } from "./options.js";
import { openDocument, reasonsOf } from "./documents.js";

const VALUES = 20; // a field with more distinct values is no facet

/** The search page of one collection. `report` shows an error, or clears it. */
export class SearchPage {
  constructor(collection, stages, report, listeners) {
    Object.assign(this, { collection, stages, report, listeners });
    this.fields = {}; // until they are known
    this.by = null; // the id of the document to search by, instead of a question
    this.kept = null; // the options to compare with
    this.request = null; // the last one, without its options
    this.facets = new Facets(byId("facets"), byId("where"), () => this.changed());
    this.options = makeOptions(stages, () => this.changed());
    byId("options").replaceChildren(this.options.form);
    this.actions = {
      open: (id) => this.#guarded(() => openDocument(collection, id, this.actions)),
      similar: (id) => this.similar(id),
    };
    this.#listen();
    byId("facets").replaceChildren(make("p", { class: "quiet" }, "Reading the fields …"));
    byId("lists").replaceChildren();
    byId("why-not").replaceChildren();
    byId("notes").replaceChildren();
    this.#say(stages.documents ? "Ask a question, or choose filters." : "This collection is empty.");
    this.#showBy();
    this.#showKept();
  }

  /** Show the controls of the collection's fields, which take longer to count than the page to draw. */
  know(fields) {
    this.fields = fields;
    this.options.know(fields);
    this.facets.draw(fields, fields);
  }

  #listen() {
    const on = (id, event, handle) => {
      byId(id).addEventListener(event, handle, { signal: this.ending.signal });
    };
    this.ending = new AbortController();
    on("search-form", "submit", (event) => {
      event.preventDefault();
      this.by = null;
      this.run();
    });
    on("options", "submit", (event) => event.preventDefault());
    on("where", "change", () => this.changed());
    on("clear-filters", "click", () => {
      this.facets.clear();
      this.changed();
    });
    on("keep", "click", () => {
      this.kept = this.kept === null ? this.options.read() : null;
      this.#showKept();
      this.changed();
    });
    on("why-not-form", "submit", (event) => {
      event.preventDefault();
      this.whyNot(byId("why-not-id").value);
    });
    on("document-close", "click", () => byId("document").close());
  }

  /** Find only documents that pass a filter; null for all. */
  select(where) {
    this.facets.selection = where;
    this.changed();
  }

  /** Stop listening: another collection takes the page. */
  end() {
    this.ending.abort();
    this.pending?.abort();
  }

  similar(id) {
    this.by = id;
    byId("query").value = "";
    this.run();
    byId("status").scrollIntoView({ block: "nearest" });
  }

  changed() {
    this.#guarded(async () => {
      const where = this.facets.where();
      const counted = where === null ? this.fields : (await ask(this.collection, "fields", { where, values: VALUES })).fields;
      this.facets.draw(this.fields, counted);
    });
    if (this.by !== null || byId("query").value.trim()) this.run();
  }

  /** Search, with the present settings; and with the kept ones, if there are any. */
  run() {
    this.pending?.abort();
    const pending = this.pending = new AbortController();
    return this.#guarded(async () => {
      const query = byId("query").value.trim();
      if (!query && this.by === null) {
        this.#say("Type a question.");
        byId("query").focus();
        return;
      }
      this.#showBy();
      const where = this.facets.where();
      const base = { ...(this.by === null ? { query } : { like: [this.by] }), ...(where === null ? {} : { where }) };
      this.request = { base, options: this.#fitting(this.options.read()) };
      this.#say("Searching …");
      const started = performance.now();
      const shown = { explain: true, highlight: this.by === null };
      const all = [this.request.options, ...(this.kept === null ? [] : [this.#fitting(this.kept)])];
      const answers = await Promise.all(all.map((options) => ask(this.collection, "search", { ...base, ...options, ...shown }, pending.signal)));
      this.#show(answers, performance.now() - started);
      this.listeners.forEach((listen) => listen(answers[0]));
    }, pending);
  }

  /** Return options without what a search by a document cannot have: words, and a reranker. */
  #fitting(options) {
    if (this.by === null) return options;
    const { rerank, ...rest } = options;
    return { ...rest, mode: "dense" };
  }

  async whyNot(id) {
    await this.#guarded(async () => {
      byId("why-not").replaceChildren();
      const { base, options } = this.request ?? {};
      if (!base) {
        byId("why-not").replaceChildren(make("p", {}, "Search first: the answer is about the hits that are shown."));
        return;
      }
      const answer = await explore(this.collection, "why_not", { ...base, ...options, id });
      byId("why-not").replaceChildren(reasonsOf(answer, this.actions.open));
    });
  }

  #show([answer, other], milliseconds) {
    const ranks = ({ hits }) => new Map(hits.map((hit) => [hit.id, hit.rank]));
    const lists = byId("lists");
    lists.classList.toggle("two", other !== undefined);
    if (other === undefined) {
      lists.replaceChildren(make("div", {}, verdictOf(answer), listOf(answer, "Hits", null, this.actions)));
    } else {
      const column = (title, own, against) => make("div", {}, make("h4", {}, title), verdictOf(own), listOf(own, title, ranks(against), this.actions));
      lists.replaceChildren(column("Settings that were kept", other, answer), column("Present settings", answer, other));
    }
    const { trace } = answer;
    const count = answer.hits.length;
    const found = `${count} ${count === 1 ? "hit" : "hits"} of ${trace.eligible.toLocaleString("en-US")} eligible documents in ${milliseconds.toFixed(0)} ms`;
    const left = trace.superseded ? `, ${trace.superseded.toLocaleString("en-US")} not current` : "";
    this.#say(`${found}${left}.${trace.complete ? "" : " By an approximate index."}`);
    byId("notes").replaceChildren(...trace.notes.map((note) => make("li", {}, note)));
    byId("why-not").replaceChildren();
  }

  #showBy() {
    const by = byId("by");
    by.hidden = this.by === null;
    by.textContent = this.by === null ? "" : `Documents similar to ${this.by}, by meaning.`;
  }

  #showKept() {
    byId("keep").setAttribute("aria-pressed", String(this.kept !== null));
    byId("keep").textContent = this.kept === null ? "Compare with these settings" : "Stop comparing";
    byId("kept").hidden = this.kept === null;
    byId("kept").textContent = this.kept === null ? "" : "These settings are kept on the left. Change settings to see what moves.";
  }

  #say(text) {
    byId("status").textContent = text;
  }

  async #guarded(work, pending = null) {
    try {
      await work();
      if (pending === null || pending === this.pending) this.report(null);
    } catch (error) {
      if (error.name === "AbortError") return;
      this.#say("");
      this.report(error);
    }
  }
}
