// SPDX-License-Identifier: Apache-2.0
// The face with its motion magnified. It takes every frame of the source, also those that are not sent.

import { Magnifier } from "./magnifier.js";

export class MagnifiedView {
  /** `spacing_s`: time between two frames. */
  constructor(canvas, spacing_s) {
    this._canvas = canvas;
    this._context = canvas.getContext("2d", { willReadFrequently: true });
    this._rate_fps = 1 / spacing_s;
    this._magnifier = null;
    this._box = "";
  }

  /** Takes a frame. `box`: of the face, in shares of the picture. Another box starts the filter anew. */
  draw(picture, width, height, box) {
    const side = this._canvas.width;
    if (this._box !== box.join()) {
      this._box = box.join();
      this._magnifier = new Magnifier(side, this._rate_fps);
    }
    const [x0, y0, x1, y1] = [box[0] * width, box[1] * height, box[2] * width, box[3] * height];
    this._context.imageSmoothingQuality = "high";
    this._context.drawImage(picture, x0, y0, x1 - x0, y1 - y0, 0, 0, side, side);
    const pixels = this._context.getImageData(0, 0, side, side);
    this._magnifier.magnify(pixels.data);
    this._context.putImageData(pixels, 0, 0);
  }

  clear() {
    this._box = "";
    this._context.clearRect(0, 0, this._canvas.width, this._canvas.height);
  }
}
