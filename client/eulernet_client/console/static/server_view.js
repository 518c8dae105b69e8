// SPDX-License-Identifier: Apache-2.0
// The page Server: what the metrics say, as small charts of the last two minutes.

import { element, fetchJson, made, milliseconds, notify } from "./page_tools.js";
import { TimeChart } from "./time_chart.js";

const POLL_MS = 2000;
const CHART_S = 120;
const whole = (value) => (value === null ? "–" : String(Math.round(value)));
const tenth = (value) => (value === null ? "–" : value.toFixed(1));

export class ServerView {
  constructor(facts) {
    this._facts = facts;
    this._visible = false;
    this._polling = false;
    this._before = null;
    this._stages = new Map();
    this._tiles = {
      streams: new Tile(element("tiles"), "Open streams", whole),
      rate: new Tile(element("tiles"), "Frames/s", tenth),
      p50: new Tile(element("tiles"), "p50 latency", milliseconds, `of this console's frames, last ${facts.sample_window_s} s`),
      p99: new Tile(element("tiles"), "p99 latency", milliseconds, `of this console's frames, last ${facts.sample_window_s} s`),
      failures: new Tile(element("tiles"), "Failed requests/s", tenth),
    };
  }

  /** Asks the servers only while the page is shown. */
  shown(visible) {
    this._visible = visible;
    if (visible && !this._polling) this._poll();
  }

  async _poll() {
    this._polling = true;
    while (this._visible) {
      try {
        this._take(await fetchJson("/api/metrics"));
      } catch {
        notify(element("metrics-notice"), "The console does not answer.", "problem");
      }
      await new Promise((resolve) => setTimeout(resolve, POLL_MS));
    }
    this._polling = false;
    this._before = null;
  }

  _take(now) {
    const missing = now.missing.join(", ");
    notify(element("metrics-notice"), missing && `No metrics from ${missing}. Name their address: eulernet console --metrics HOST:PORT.`, "problem");
    const before = this._before;
    this._before = now;
    const seconds = before === null ? 0 : now.time_s - before.time_s;
    const rates = seconds > 0 ? frameRates(before, now, seconds, this._facts.clip_frames) : { frames: null, failed: null };
    const time = performance.now() / 1000;
    this._tiles.streams.add(time, [now.open_streams]);
    this._tiles.rate.add(time, [rates.frames]);
    this._tiles.p50.add(time, [now.console.p50_ms]);
    this._tiles.p99.add(time, [now.console.p99_ms]);
    this._tiles.failures.add(time, [rates.failed]);
    if (seconds > 0) this._takeStages(before, now, time);
    this._shares(now);
  }

  _takeStages(before, now, time) {
    for (const stage of now.stages) {
      const earlier = before.stages.find((each) => each.name === stage.name);
      if (!this._stages.has(stage.name)) {
        this._stages.set(stage.name, new Tile(element("stages"), stage.name, milliseconds, "", 2));
      }
      const count = stage.answered - (earlier?.answered ?? stage.answered);
      const mean = (name) => (count > 0 ? Math.max(0, stage[name] - earlier[name]) / count / 1000 : null);
      const [queue, compute] = [mean("queue_us"), mean("compute_us")];
      this._stages.get(stage.name).add(time, [queue, compute]);
      this._stages.get(stage.name).explain(count > 0 ? `in the queue; ${milliseconds(compute)} in the stage` : "no requests");
    }
  }

  _shares(now) {
    const counted = now.statuses !== null;
    const statuses = Object.entries(counted ? now.statuses : now.console.statuses).filter(([, count]) => count > 0);
    element("status-note").textContent = counted
      ? "All frames since the server's start, each under its gravest flag."
      : "This server does not count STATUS: these are the frames of this console.";
    const total = statuses.reduce((sum, [, count]) => sum + count, 0);
    statuses.sort((a, b) => b[1] - a[1]);
    const percent = (count) => `${((100 * count) / total).toFixed(1)} %`;
    element("share-bar").replaceChildren(...statuses.map(([, count], i) => {
      const part = made("span", { class: `share-${(i % 6) + 1}` });
      part.style.flexGrow = String(count);
      return part;
    }));
    element("share-bar").setAttribute("aria-label",
      statuses.map(([name, count]) => `${name} ${percent(count)}`).join(", ") || "No frames yet");
    element("shares").replaceChildren(...statuses.map(([name, count], i) => made("li", {},
      made("i", { class: `dot share-${(i % 6) + 1}` }), made("span", {}, name.replaceAll("_", " ").toLowerCase()),
      made("b", { class: "number" }, percent(count)), made("span", { class: "soft number" }, count.toLocaleString("en")))));
    if (total === 0) element("shares").replaceChildren(made("li", { class: "soft" }, "No frames yet."));
  }
}

/** Frames and failed requests a second between two readings; null where a server started again meanwhile. */
function frameRates(before, now, seconds, clipFrames) {
  const rate = (kind, name) => ((now[kind][name] ?? 0) - (before[kind][name] ?? 0)) / seconds;
  const frames = rate("streams", "answered") + clipFrames * rate("clips", "answered");
  const failed = rate("streams", "failed") + rate("clips", "failed");
  return { frames: frames < 0 ? null : frames, failed: failed < 0 ? null : failed };
}

/** A name, the latest value, and its chart. With two lines the first is the value. */
class Tile {
  constructor(host, name, format, note = "", lines = 1) {
    this._format = format;
    this._value = made("p", { class: "tile-value number" }, "–");
    this._note = made("p", { class: "soft small" }, note);
    const chart = made("div", { class: "chart small-chart" });
    host.append(made("div", { class: "card tile", "data-name": name }, made("h3", {}, name), this._value, chart, this._note));
    this._chart = new TimeChart(chart, { seconds: CHART_S, lines, format, label: name });
  }

  add(time, values) {
    this._value.textContent = this._format(values[0]);
    this._chart.add(time, values);
    this._chart.draw(time);
  }

  explain(text) {
    this._note.textContent = text;
  }
}
