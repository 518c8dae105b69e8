// SPDX-License-Identifier: Apache-2.0
// Draws an answer: the box on the picture, and the face with its location map.

const BOX_WIDTH_PX = 3; // on the screen
const MAP_LEVELS = 255;

/** A colour ramp as a function from 0..1 to [r, g, b]; `stops`: evenly spaced colours. */
export function ramp(stops) {
  return (value) => {
    const place = Math.min(Math.max(value, 0), 1) * (stops.length - 1);
    const low = Math.min(Math.floor(place), stops.length - 2);
    return stops[low].map((from, channel) => from + (place - low) * (stops[low + 1][channel] - from));
  };
}

/** Values 0..1 of a location map, row by row, from the answer's base64. */
export function mapValues(text) {
  return Float32Array.from(atob(text), (each) => each.charCodeAt(0) / MAP_LEVELS);
}

/** Draws the face box onto the overlay, whose pixels are those of the frame that was sent. */
export function drawBox(canvas, width, height, box, colour) {
  canvas.width = width;
  canvas.height = height;
  if (box === null || box[2] <= box[0]) return;
  const context = canvas.getContext("2d");
  const line = (BOX_WIDTH_PX * width) / Math.max(1, canvas.clientWidth);
  // A box that reaches the picture's edge is drawn inside of it.
  const inside = (edge, size) => Math.min(Math.max(edge, line), size - line);
  const [x0, y0, x1, y1] = box.map((edge, i) => inside(edge, i % 2 ? height : width));
  // A dark line below the coloured one keeps the box visible on any picture.
  for (const [style, size] of [["rgba(0, 0, 0, 0.55)", 2.2 * line], [colour, line]]) {
    context.strokeStyle = style;
    context.lineWidth = size;
    context.strokeRect(x0, y0, x1 - x0, y1 - y0);
  }
}

export class MapView {
  /** `facts`: the console's settings, with the map's side, its colour ramp and its opacity at 0 and 1. */
  constructor(canvas, facts) {
    this._canvas = canvas;
    this._facts = facts;
    this._colour = ramp(facts.ramp);
    this._small = document.createElement("canvas");
    this._small.width = this._small.height = facts.map_side;
  }

  /** Draws the face of the frame that was sent, with its map over it. `scored`: whether the map means anything. */
  draw(frame, box, values, scored) {
    const context = this._canvas.getContext("2d");
    const { width, height } = this._canvas;
    context.clearRect(0, 0, width, height);
    if (box[2] <= box[0]) return;
    context.drawImage(frame, box[0], box[1], box[2] - box[0], box[3] - box[1], 0, 0, width, height);
    if (!scored) return;
    const side = this._facts.map_side;
    const [from, to] = this._facts.opacity;
    const pixels = new ImageData(side, side);
    values.forEach((value, i) => {
      pixels.data.set([...this._colour(value), 255 * (from + (to - from) * value)], 4 * i);
    });
    this._small.getContext("2d").putImageData(pixels, 0, 0);
    context.imageSmoothingQuality = "high";
    context.drawImage(this._small, 0, 0, width, height);
  }

  clear() {
    this._canvas.getContext("2d").clearRect(0, 0, this._canvas.width, this._canvas.height);
  }
}
