// SPDX-License-Identifier: Apache-2.0
// Small helpers that every part of the page uses.

/** The element with an id. */
export function element(id) {
  const found = document.getElementById(id);
  if (found === null) throw new Error(`no element #${id}`);
  return found;
}

/** A new element. `attributes`: such as {class: "card"}; `children`: elements and texts. */
export function made(tag, attributes = {}, ...children) {
  const one = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) one.setAttribute(name, value);
  one.append(...children);
  return one;
}

/** An answer of the console as JSON; an Error with its text for another one. */
export async function fetchJson(path, options = {}) {
  const answer = await fetch(path, options);
  if (!answer.ok) throw new Error((await answer.text()).trim() || `status ${answer.status}`);
  return answer.json();
}

/** The facts that the page shares with the client library. Waits while the console does not answer. */
export async function settings() {
  for (;;) {
    try {
      return await fetchJson("/api/settings");
    } catch {
      await new Promise((resolve) => setTimeout(resolve, 1000));
    }
  }
}

/** Shows a text in a notice, or hides the notice without one. */
export function notify(notice, text, kind = "info") {
  notice.hidden = text === "";
  notice.dataset.kind = kind;
  if (notice.textContent !== text) notice.textContent = text;
}

/** Whether the user wants little motion. */
export function reducedMotion() {
  return window.matchMedia("(prefers-reduced-motion: reduce)").matches;
}

/** A number of milliseconds for people. */
export function milliseconds(value) {
  if (value === null || !Number.isFinite(value)) return "–";
  return value < 10 ? `${value.toFixed(1)} ms` : `${Math.round(value)} ms`;
}
