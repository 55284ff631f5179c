// Start: read the address, choose a collection, show its pages.

import { ask, listCollections, readAddress, stagesOf, useToken } from "./api.js";
import { byId, make } from "./dom.js";
import { HealthPage } from "./health.js";
import { MapPage } from "./map.js";
import { SearchPage } from "./search.js";

const wanted = readAddress();
let page = null;
let pages = {};

function report(error) {
  const alert = byId("alert");
  alert.hidden = error === null;
  alert.textContent = error === null ? "" : error.message;
  if (error?.status === 401) {
    byId("token-form").hidden = false;
    for (const each of ["search", "map", "health"]) byId(`page-${each}`).hidden = true;
    byId("token").focus();
  }
}

async function start() {
  try {
    const { collections } = await listCollections();
    report(null);
    byId("token-form").hidden = true;
    const choice = byId("collection");
    choice.replaceChildren(...collections.map(({ name }) => make("option", { value: name }, name)));
    if (!collections.length) throw new Error("This token sees no collection.");
    choice.value = collections.some(({ name }) => name === wanted) ? wanted : collections[0].name;
    await open(choice.value);
  } catch (error) {
    report(error);
  }
}

async function open(name) {
  const counted = ask(name, "fields", { values: 20 });
  counted.catch(() => {}); // it is awaited below
  const stages = await stagesOf(name);
  for (const each of [page, pages.map, pages.health]) each?.end();
  const count = stages.documents.toLocaleString("en-US");
  byId("about").textContent = `${count} ${stages.documents === 1 ? "document" : "documents"}, ${stages.metric}${stages.embedder ? `, ${stages.embedder}` : ""}`;
  document.title = `${name} · Explorer`;
  const map = new MapPage(name, report, (where) => page.select(where), (id) => page.actions.open(id));
  page = new SearchPage(name, stages, report, [(answer) => map.light(answer.hits.map((hit) => hit.id))]);
  pages = { search: null, map, health: new HealthPage(name) };
  turnTo("search");
  if (stages.problem) report(new Error(`Only search by words is possible: ${stages.problem}`));
  byId("query").focus();
  const shown = page;
  const { fields } = await counted;
  if (shown === page) shown.know(fields);
}

/** Show one of the pages. */
function turnTo(name) {
  for (const each of Object.keys(pages)) byId(`page-${each}`).hidden = each !== name;
  for (const one of byId("pages").querySelectorAll("button")) {
    if (one.dataset.page === name) one.setAttribute("aria-current", "page");
    else one.removeAttribute("aria-current");
  }
  report(null);
  pages[name]?.show().catch(report);
}

byId("pages").addEventListener("click", (event) => {
  const name = event.target.dataset?.page;
  if (name && name in pages) turnTo(name);
});
byId("collection").addEventListener("change", () => open(byId("collection").value).catch(report));
byId("token-form").addEventListener("submit", (event) => {
  event.preventDefault();
  useToken(byId("token").value.trim());
  byId("token").value = "";
  start();
});
start();
