// SPDX-License-Identifier: Apache-2.0
// The WebSocket of one stream. One frame is on its way at most: while it is, the page drops frames.

const LONGEST_PAUSE_MS = 5000; // between two attempts to reach the console again

export class LiveSocket {
  /** `onAnswer(message, latencyMs)`; `onState("open" | "closed")`: the connection to the console. */
  constructor(onAnswer, onState) {
    this._onAnswer = onAnswer;
    this._onState = onState;
    this._sentAt = null;
    this._wanted = true;
    this._pauseMs = 500;
    this._socket = null;
    this._connect();
  }

  /** Whether a frame may be sent now. */
  get free() {
    return this._socket?.readyState === WebSocket.OPEN && this._sentAt === null && this._socket.bufferedAmount === 0;
  }

  /** Time that the frame on its way has waited, ms; 0 without one. */
  get waitingMs() {
    return this._sentAt === null ? 0 : performance.now() - this._sentAt;
  }

  /** Sends a frame; call it only while `free`. */
  send(jpeg) {
    this._sentAt = performance.now();
    this._socket.send(jpeg);
  }

  /** Ends the stream. */
  close() {
    this._wanted = false;
    this._socket?.close();
  }

  _connect() {
    const scheme = location.protocol === "https:" ? "wss" : "ws";
    const socket = new WebSocket(`${scheme}://${location.host}/api/stream`);
    this._socket = socket;
    socket.addEventListener("open", () => {
      this._pauseMs = 500;
      if (this._wanted) this._onState("open");
      else socket.close();
    });
    socket.addEventListener("message", (event) => {
      const latencyMs = this.waitingMs;
      const message = JSON.parse(event.data);
      if (message.type !== "dropped") this._sentAt = null;
      if (this._wanted) this._onAnswer(message, latencyMs);
    });
    socket.addEventListener("close", () => {
      this._sentAt = null;
      if (!this._wanted) return;
      this._onState("closed");
      setTimeout(() => this._wanted && this._connect(), this._pauseMs);
      this._pauseMs = Math.min(LONGEST_PAUSE_MS, 2 * this._pauseMs);
    });
  }
}
