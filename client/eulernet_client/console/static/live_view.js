// SPDX-License-Identifier: Apache-2.0
// The page Live: a source, its stream, and what is drawn of each answer.

import { drawBox, mapValues, MapView } from "./face_views.js";
import { FrameSource } from "./frame_source.js";
import { LiveSocket } from "./live_socket.js";
import { MagnifiedView } from "./magnified_view.js";
import { element, made, milliseconds, notify, reducedMotion } from "./page_tools.js";
import { TimeChart } from "./time_chart.js";

const CURVE_S = 10;
const SLOW_ANSWER_MS = 1500; // after which the page says that it waits
const RATE_S = 3; // over which the answered frames/s are counted
const NOTICE_MS = 6000;
const VERDICTS = { live: "Live", attack: "Attack", gathering: "Looking…", unscored: "No verdict" };
const WAITING = "The server does not answer yet. Frames are dropped until it does.";

export class LiveView {
  constructor(facts) {
    this._facts = facts;
    this._source = new FrameSource(element("video"), (text) => this._stop(text));
    this._socket = null;
    this._file = null;
    this._box = null; // of the last answer, in shares of the picture
    this._answeredAt = [];
    this._dropped = 0;
    this._capturing = false;
    this._said = "";
    this._noticeUntil = 0;
    this._waits = false;
    this._lost = false; // the stream, since the last answered frame
    this._last = ""; // verdict of the last frame in words
    this._liveness = null; // that the verdict is of
    this._map = new MapView(element("map-view"), facts);
    this._magnified = new MagnifiedView(element("magnified-view"), facts.frame_spacing_s);
    this._curve = new TimeChart(element("curve"), {
      seconds: CURVE_S, top: 1, threshold: facts.threshold, format: (value) => value.toFixed(2), label: "Liveness",
    });
    element("threshold").textContent = String(facts.threshold);
    element("ramp").style.background = `linear-gradient(to right, ${facts.ramp.map((c) => `rgb(${c})`).join(", ")})`;
    element("magnify").checked = !reducedMotion();
    this._listen();
    this._tick(performance.now());
  }

  /** Nothing to do: a stream goes on while another page is shown. */
  shown() {}

  _listen() {
    element("camera").addEventListener("click", () => this._openCamera());
    element("devices").addEventListener("change", () => this._openCamera(element("devices").value));
    element("stop").addEventListener("click", () => this._stop("Stopped."));
    element("again").addEventListener("click", () => this._openFile(this._file));
    element("video-file").addEventListener("change", (event) => {
      if (event.target.files.length) this._openFile(event.target.files[0]);
      event.target.value = ""; // the same file may be chosen again
    });
    element("magnify").addEventListener("change", () => this._magnified.clear());
    document.addEventListener("visibilitychange", () => this._visibility());
  }

  async _openCamera(deviceId = "") {
    await this._open(() => this._source.openCamera(deviceId));
    const cameras = await FrameSource.cameras();
    element("devices-field").hidden = cameras.length < 2 || this._source.kind !== "camera";
    const current = element("video").srcObject?.getVideoTracks()[0].getSettings().deviceId;
    element("devices").replaceChildren(...cameras.map((each, i) => {
      const option = made("option", { value: each.deviceId }, each.label || `camera ${i + 1}`);
      option.selected = each.deviceId === current;
      return option;
    }));
  }

  async _openFile(file) {
    this._file = file;
    await this._open(() => this._source.openFile(file));
  }

  async _open(open) {
    this._stop("");
    this._show("idle", "Waiting…", "The browser may ask you to allow the camera.");
    try {
      await open();
    } catch (error) {
      this._source.close();
      this._show("idle", "No picture", "");
      notify(element("notice"), error.message, "problem");
      return;
    }
    this._begin();
    element("picture").dataset.source = this._source.kind;
    element("picture").style.setProperty("--ratio", String(this._source.width / this._source.height));
    element("stop").disabled = false;
  }

  /** Opens a stream for the source. */
  _begin() {
    this._dropped = 0;
    this._answeredAt = [];
    this._lost = false;
    this._last = "";
    this._liveness = null;
    this._socket = new LiveSocket((message, ms) => this._answered(message, ms), (state) => this._connection(state));
    this._show("idle", "Looking…", "The first frames are on their way.");
  }

  _stop(text) {
    const ended = this._source.kind;
    const last = ended === "file" && this._last ? ` The last verdict was ${this._last}.` : "";
    this._source.close();
    this._endStream();
    element("picture").dataset.source = "none";
    element("stop").disabled = true;
    element("devices-field").hidden = true;
    element("again").hidden = this._file === null || ended !== "file";
    if (ended !== "none") this._show("idle", "No picture", text + last);
    notify(element("notice"), "");
  }

  _endStream() {
    this._socket?.close();
    this._socket = null;
    this._box = null;
    this._waits = false;
    this._curve.clear();
    this._map.clear();
    this._magnified.clear();
    drawBox(element("overlay"), 1, 1, null, "");
    element("warnings").replaceChildren();
    for (const id of ["liveness", "frames-used", "status-label", "latency", "rate"]) element(id).textContent = "–";
  }

  /** Browsers slow a hidden page down, so that its frames would come too late for the filter over time. */
  _visibility() {
    if (this._source.kind === "none") return;
    if (document.hidden) {
      this._endStream();
      this._show("idle", "Paused", "This tab is hidden.");
    } else if (this._socket === null) {
      this._begin();
      this._say("The tab was hidden: the stream started again.");
    }
  }

  /** Called every frame_spacing_s, without drift. */
  _tick(due) {
    this._take();
    this._age();
    const now = performance.now();
    const spacing = 1000 * this._facts.frame_spacing_s;
    const next = Math.max(due + spacing, now);
    setTimeout(() => this._tick(next), next - now);
  }

  async _take() {
    const source = this._source;
    if (this._socket === null || this._capturing || !source.fresh) return;
    if (element("magnify").checked && this._box !== null && !element("live").hidden) {
      this._magnified.draw(source.video, source.width, source.height, this._box);
    }
    if (!this._socket.free) {
      this._dropped += 1;
      return;
    }
    this._capturing = true;
    const socket = this._socket;
    try {
      const jpeg = await source.capture(this._facts.jpeg_quality);
      if (jpeg !== null && socket === this._socket && socket.free) socket.send(jpeg);
    } finally {
      this._capturing = false;
    }
  }

  /** Updates what changes without an answer. */
  _age() {
    if (this._socket === null) return;
    const now = performance.now();
    element("dropped").textContent = String(this._dropped);
    this._curve.draw(now / 1000);
    const late = this._socket.waitingMs > SLOW_ANSWER_MS;
    if (late) this._wait(WAITING);
    else if (!this._waits && now > this._noticeUntil) notify(element("notice"), "");
  }

  _wait(text) {
    this._waits = true;
    notify(element("notice"), text, "problem");
    this._curve.add(performance.now() / 1000, [null]);
    this._show("waiting", "No answer", "The verdict is unknown until the server answers.");
  }

  _connection(state) {
    if (state === "closed") this._wait("The console does not answer. Start it again: this page connects by itself.");
    else if (this._waits) {
      this._waits = false;
      this._say("The console answers again: the stream started again.");
    }
  }

  _answered(message, latencyMs) {
    if (message.type === "frame") this._frame(message, latencyMs);
    else if (message.type === "failed") this._wait(`${WAITING} (${message.error.message})`);
    else if (message.type === "lost") {
      this._lost = true;
      this._wait(`The stream is lost and starts again. (${message.error.message})`);
    }
  }

  _frame(answer, latencyMs) {
    const now = performance.now();
    const frame = this._source.captured;
    if (answer.replayed) this._say(`The server lost the stream: ${answer.replayed} frames were replayed, and it goes on.`);
    else if (answer.started_anew) this._say("The server lost the stream: the filter started again.");
    else if (this._lost) this._say("The stream was lost and started again.");
    else if (this._waits) this._say(now < this._noticeUntil ? this._said : "The server answers again.");
    this._waits = this._lost = false;
    if (!answer.held) this._liveness = answer.scored ? answer.liveness : null;
    this._curve.add(now / 1000, [this._liveness]);
    this._answeredAt = [...this._answeredAt.filter((time) => now - time < 1000 * RATE_S), now];
    this._verdict(answer);
    const found = answer.box[2] > answer.box[0];
    this._box = found ? answer.box.map((edge, i) => edge / (i % 2 ? frame.height : frame.width)) : null;
    const colour = getComputedStyle(element("verdict-card")).getPropertyValue("--box");
    drawBox(element("overlay"), frame.width, frame.height, answer.box, colour);
    if (!answer.held) this._map.draw(frame, answer.box, mapValues(answer.map), answer.scored);
    element("frames-used").textContent = String(answer.frame_count);
    element("status-label").textContent = answer.status;
    element("latency").textContent = milliseconds(latencyMs);
    element("latency").title = `${milliseconds(answer.latency_ms)} from the console to the server and back`;
    element("rate").textContent = `${(this._answeredAt.length / RATE_S).toFixed(1)} frames/s`;
  }

  _verdict(answer) {
    const problem = answer.words.find((each) => each.kind === "problem");
    const wanted = this._facts.clip_frames;
    const texts = {
      live: "The map shows a living face.",
      attack: "The map shows no living face: a print or a display.",
      gathering: `${answer.frame_count} of ${wanted} frames seen.`,
      unscored: problem ? `${problem.text}: ${problem.advice}` : answer.status,
    };
    this._show(answer.verdict, VERDICTS[answer.verdict], texts[answer.verdict]);
    const liveness = this._liveness === null ? "" : this._liveness.toFixed(3);
    element("liveness").textContent = liveness || "–";
    this._last = `${VERDICTS[answer.verdict]}${liveness && `, liveness ${liveness}`}`;
    const warnings = answer.words.filter((each) => each.kind === "warning");
    const list = element("warnings");
    const key = warnings.map((each) => each.flag).join();
    if (list.dataset.flags === key && list.childElementCount === warnings.length) return;
    list.dataset.flags = key;
    list.replaceChildren(...warnings.map((each) => made("li", { "data-flag": each.flag },
      made("b", {}, each.text), `: ${each.advice}`)));
  }

  _show(verdict, text, words) {
    const card = element("verdict-card");
    card.dataset.verdict = verdict;
    for (const [id, value] of [["verdict", text], ["status-words", words]]) {
      if (element(id).textContent !== value) element(id).textContent = value;
    }
  }

  /** Shows a message for a while. */
  _say(text) {
    this._said = text;
    this._noticeUntil = performance.now() + NOTICE_MS;
    notify(element("notice"), text, "info");
  }
}
