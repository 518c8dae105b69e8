// SPDX-License-Identifier: Apache-2.0
// Starts the page: its three parts, the weights' label and the server's state.

import { element, fetchJson, settings } from "./page_tools.js";
import { FilesView } from "./files_view.js";
import { LiveView } from "./live_view.js";
import { ServerView } from "./server_view.js";

const SERVER_POLL_MS = 4000;

async function showServer() {
  const pill = element("server-state");
  const label = element("weights");
  let state;
  try {
    state = await fetchJson("/api/server");
  } catch {
    pill.dataset.state = "gone";
    pill.textContent = "console stopped";
    return;
  }
  pill.dataset.state = state.error ? "down" : "up";
  pill.textContent = state.error ? "server does not answer" : "server ready";
  pill.title = state.error ? state.error.message : `${state.urls.join(", ")}, Triton ${state.version}`;
  element("server-address").textContent = pill.title;
  if (state.weights !== null) {
    label.dataset.warning = String(state.warning !== "");
    label.textContent = `weights: ${state.weights}` + (state.warning ? ` – ${state.warning}` : "");
  } else if (label.dataset.known !== "true") {
    label.textContent = "weights: unknown, the server does not answer";
  }
  label.dataset.known = String(state.weights !== null || label.dataset.known === "true");
}

function showPage(views) {
  const names = Object.keys(views);
  const wanted = names.includes(location.hash.slice(1)) ? location.hash.slice(1) : "live";
  for (const name of names) {
    element(name).hidden = name !== wanted;
    const link = document.querySelector(`nav a[href="#${name}"]`);
    name === wanted ? link.setAttribute("aria-current", "page") : link.removeAttribute("aria-current");
    views[name].shown(name === wanted);
  }
}

async function start() {
  const facts = await settings();
  const views = { live: new LiveView(facts), files: new FilesView(facts), server: new ServerView(facts) };
  window.addEventListener("hashchange", () => {
    if (location.hash !== "#content") showPage(views);
  });
  // A file that misses the place for it must not replace the page.
  for (const kind of ["dragover", "drop"]) window.addEventListener(kind, (event) => event.preventDefault());
  showPage(views);
  for (;;) {
    await showServer();
    await new Promise((resolve) => setTimeout(resolve, SERVER_POLL_MS));
  }
}

start();
