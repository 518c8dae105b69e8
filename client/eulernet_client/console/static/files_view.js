// SPDX-License-Identifier: Apache-2.0
// The page Files: uploads with their progress, and the report of `eulernet score` about them.

import { element, fetchJson, made, notify } from "./page_tools.js";

const AT_ONCE = 2;

export class FilesView {
  constructor(facts) {
    this._facts = facts;
    this._report = null; // name of the current report
    this._waiting = [];
    this._running = 0;
    const drop = element("drop");
    element("files-input").addEventListener("change", (event) => {
      this._add([...event.target.files]);
      event.target.value = "";
    });
    element("files").addEventListener("dragover", () => (drop.dataset.over = "true"));
    element("files").addEventListener("dragleave", (event) => {
      if (!element("files").contains(event.relatedTarget)) drop.dataset.over = "false";
    });
    element("files").addEventListener("drop", (event) => {
      drop.dataset.over = "false";
      this._add([...event.dataTransfer.files]);
    });
    element("report-clear").addEventListener("click", () => this._clear());
    element("report-frame").addEventListener("load", () => this._fit());
    window.addEventListener("resize", () => this._fit());
  }

  shown(visible) {
    if (visible) this._fit();
  }

  /** Takes files, each in its own row. */
  _add(files) {
    notify(element("files-notice"), "");
    for (const file of files) {
      const progress = made("progress", { max: "1", value: "0", "aria-label": `progress of ${file.name}` });
      const state = made("span", { class: "state", role: "status" }, "waiting");
      const row = made("li", { "data-state": "waiting" }, made("span", { class: "name" }, file.name), progress, state);
      element("uploads").append(row);
      if (file.size > this._facts.max_upload_bytes) {
        finish(row, "failed", `over ${this._facts.max_upload_bytes >> 30} GB: run eulernet score FILE`);
      } else {
        this._waiting.push({ file, row });
      }
    }
    this._next();
  }

  async _next() {
    if (this._waiting.length === 0 || this._running >= AT_ONCE) return;
    const { file, row } = this._waiting.shift();
    this._running += 1;
    this._next();
    try {
      this._beginning ??= this._begin();
      const report = await this._beginning;
      await this._score(report, file, row);
      if (report === this._report) this._show();
    } catch (error) {
      finish(row, "failed", error.message);
      if (error.gone) this._report = this._beginning = null;
    }
    this._running -= 1;
    this._next();
  }

  async _begin() {
    try {
      this._report = (await fetchJson("/api/reports", { method: "POST" })).name;
      return this._report;
    } catch {
      this._beginning = null;
      throw new Error("the console does not answer");
    }
  }

  async _score(report, file, row) {
    const query = new URLSearchParams({ name: file.name, clips: element("clips").value });
    const answer = await upload(`/api/reports/${report}/files?${query}`, file, (share) => {
      row.querySelector("progress").value = share;
      row.querySelector(".state").textContent = share < 1 ? `sending, ${Math.round(100 * share)} %` : "scoring";
      if (share >= 1) row.querySelector("progress").removeAttribute("value");
    });
    if (answer.error) finish(row, "failed", answer.error.message.replace(`${answer.path}: `, ""));
    else finish(row, answer.verdict, `${answer.verdict}, liveness ${answer.liveness.toFixed(3)}`);
  }

  _show() {
    const address = `/api/reports/${this._report}`;
    element("report-box").hidden = false;
    element("report-open").href = address;
    element("report-download").href = `${address}?download=1`;
    element("report-frame").src = address;
  }

  /** Makes the frame as high as the report, so that the page has one scroll bar. */
  _fit() {
    const frame = element("report-frame");
    const inside = frame.contentDocument?.documentElement;
    if (!element("files").hidden && inside && frame.src) frame.style.height = `${inside.scrollHeight + 4}px`;
  }

  async _clear() {
    const report = this._report;
    this._report = this._beginning = null;
    element("uploads").replaceChildren();
    element("report-box").hidden = true;
    element("report-frame").removeAttribute("src");
    if (report !== null) await fetch(`/api/reports/${report}`, { method: "DELETE" });
  }
}

/** Shows how a file ended: "live", "attack" or "failed". */
function finish(row, state, text) {
  row.dataset.state = state;
  row.querySelector("progress").remove();
  row.querySelector(".state").textContent = text;
}

/** The Error of a refused upload. `gone`: the console has forgotten the report. */
function refusal(request) {
  const error = new Error(request.responseText.trim() || `status ${request.status}`);
  return Object.assign(error, { gone: request.status === 404 });
}

/** Sends a file; `onProgress` gets the share that is sent. fetch can't tell it. */
function upload(address, file, onProgress) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("POST", address);
    request.upload.addEventListener("progress", (event) => onProgress(event.total ? event.loaded / event.total : 1));
    request.upload.addEventListener("load", () => onProgress(1));
    request.addEventListener("error", () => reject(new Error("the console does not answer")));
    request.addEventListener("load", () => {
      if (request.status === 200) resolve(JSON.parse(request.responseText));
      else reject(refusal(request));
    });
    request.send(file);
  });
}
