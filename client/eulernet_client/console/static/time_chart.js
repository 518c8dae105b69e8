// SPDX-License-Identifier: Apache-2.0
// A small line chart of the last seconds, as SVG. Its lines stretch with the page; their width does not.

const SVG = "http://www.w3.org/2000/svg";
const HEIGHT = 100; // of the drawing, in its own units; x is in seconds
const MARGIN = 4; // above and below, so that lines at the ends of the scale show whole

function svg(tag, attributes) {
  const one = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) one.setAttribute(name, value);
  return one;
}

/** The next of 1, 2, 5, 10, 20, … from a value up. */
function roundTop(value) {
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 5, 10].map((each) => each * power).find((each) => each >= value * 0.9999);
}

export class TimeChart {
  /**
   * host: element to draw in; seconds: shown; top: of the scale, null for one that follows the values;
   * threshold: of a dashed line, or null; lines: number of lines; format: a value as text for the scale;
   * floor: the least top of a scale that follows the values.
   */
  constructor(host, { seconds, top = null, threshold = null, lines = 1, format = String, label = "", floor = 1 }) {
    this._seconds = seconds;
    this._top = top;
    this._threshold = threshold;
    this._format = format;
    this._label = label;
    this._floor = floor;
    this._points = []; // [time in s, values, each a number or null]
    this._svg = svg("svg", { viewBox: `0 ${-MARGIN} ${seconds} ${HEIGHT + 2 * MARGIN}`, preserveAspectRatio: "none", role: "img" });
    this._svg.append(...[0, 0.5, 1].map((part) => this._level(part, "grid")));
    this._area = svg("path", { class: "area" });
    this._svg.append(this._area);
    if (threshold !== null) this._svg.append(this._level(threshold / top, "threshold"));
    this._lines = Array.from({ length: lines }, (_, i) => svg("path", { class: `line line-${i + 1}` }));
    this._svg.append(...this._lines);
    this._high = document.createElement("span");
    this._high.className = "high";
    host.replaceChildren(this._svg, this._high);
    if (threshold !== null) this._mark(host, threshold / top);
    this.draw(0);
  }

  /** Adds a point; times ascend. */
  add(time_s, values) {
    this._points.push([time_s, values]);
  }

  /** Forgets all points. */
  clear() {
    this._points = [];
    this.draw(0);
  }

  /** The points as [time, values], oldest first. */
  get points() {
    return this._points;
  }

  /** Draws the seconds before a time. */
  draw(now_s) {
    const begin = now_s - this._seconds;
    while (this._points.length > 2 && this._points[1][0] < begin) this._points.shift();
    const seen = this._points.flatMap(([, values]) => values).filter((value) => value !== null);
    const top = this._top ?? roundTop(Math.max(this._floor, ...seen));
    this._high.textContent = seen.length || this._top !== null ? this._format(top) : "";
    this._lines.forEach((line, i) => line.setAttribute("d", this._path(i, begin, top)));
    this._area.setAttribute("d", this._lines.length === 1 ? this._filled(begin, top) : "");
    const last = this._points.at(-1)?.[1][0] ?? null;
    this._svg.setAttribute("aria-label", `${this._label}: ${last === null ? "no value" : this._format(last)}`);
  }

  _runs(i) {
    const runs = [[]];
    for (const [time, values] of this._points) {
      if (values[i] === null) runs.push([]);
      else runs.at(-1).push([time, values[i]]);
    }
    return runs.filter((run) => run.length);
  }

  _places(run, begin, top) {
    return run.map(([time, value]) => {
      const y = HEIGHT * (1 - Math.min(value / top, 1));
      return `${(time - begin).toFixed(3)} ${y.toFixed(2)}`;
    });
  }

  _path(i, begin, top) {
    // h0 makes a dot of a single point.
    return this._runs(i).map((run) => `M${this._places(run, begin, top).join("L")}h0`).join("");
  }

  _filled(begin, top) {
    return this._runs(0).map((run) => {
      const [first, last] = [run[0][0], run.at(-1)[0]].map((time) => (time - begin).toFixed(3));
      return `M${first} ${HEIGHT}L${this._places(run, begin, top).join("L")}L${last} ${HEIGHT}Z`;
    }).join("");
  }

  _level(part, kind) {
    const y = HEIGHT * (1 - part);
    return svg("line", { class: kind, x1: 0, x2: this._seconds, y1: y, y2: y });
  }

  _mark(host, part) {
    const mark = document.createElement("span");
    mark.className = "mark";
    mark.textContent = "threshold";
    mark.style.bottom = `${(100 * (MARGIN + part * HEIGHT)) / (HEIGHT + 2 * MARGIN)}%`;
    host.append(mark);
  }
}
