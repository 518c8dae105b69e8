// SPDX-License-Identifier: Apache-2.0
// Eulerian video magnification (Wu et al., SIGGRAPH 2012) on a Laplacian pyramid, as `eulernet magnify` computes it.
// A test compares both on the same frames.

/** Factor, band, spatial cutoff and share of the colour differences. Before a camera people move more than in the
 * videos of `eulernet magnify`, so alpha is smaller. */
export const LIVE_MOTION = { alpha: 4, low_hz: 0.5, high_hz: 3, wavelength_px: 16, chroma: 0.1 };

const ORDER = 2;
const KERNEL = 5; // taps of the pyramid's filter
// NTSC 1953: brightness, and two colour differences.
const TO_YIQ = [[0.299, 0.587, 0.114], [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]];

function inverse([[a, b, c], [d, e, f], [g, h, i]]) {
  const det = a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g);
  const adjugate = [
    [e * i - f * h, c * h - b * i, b * f - c * e],
    [f * g - d * i, a * i - c * g, c * d - a * f],
    [d * h - e * g, b * g - a * h, a * e - b * d],
  ];
  return adjugate.map((row) => row.map((value) => value / det));
}

const TO_RGB = inverse(TO_YIQ);

/** Complex numbers as [real, imaginary]. */
const times = ([a, b], [c, d]) => [a * c - b * d, a * d + b * c];
const over = (x, [c, d]) => times(x, [c / (c * c + d * d), -d / (c * c + d * d)]);
function root([a, b]) {
  const size = Math.hypot(a, b);
  const real = Math.sqrt((size + a) / 2);
  return [real, (b < 0 ? -1 : 1) * Math.sqrt((size - a) / 2)];
}

/** Two biquads {b0, a1, a2} of a causal Butterworth band-pass: b0 (1 - z^-2) / (1 + a1 z^-1 + a2 z^-2) each. */
export function butterworth(low_hz, high_hz, rate_fps) {
  const [low, high] = [low_hz, high_hz].map((edge) => 4 * Math.tan((Math.PI * edge) / rate_fps));
  const width = high - low;
  const poles = [];
  for (const angle of [(3 * Math.PI) / 4, (5 * Math.PI) / 4]) {
    const half = [(Math.cos(angle) * width) / 2, (Math.sin(angle) * width) / 2];
    const square = times(half, half);
    const spread = root([square[0] - low * high, square[1]]);
    poles.push([half[0] + spread[0], half[1] + spread[1]], [half[0] - spread[0], half[1] - spread[1]]);
  }
  let divisor = [1, 0];
  for (const [re, im] of poles) divisor = times(divisor, [4 - re, -im]);
  const gain = over([(4 * width) ** ORDER, 0], divisor)[0];
  return poles
    .map(([re, im]) => over([4 + re, im], [4 - re, -im])) // the bilinear transform
    .filter(([, im]) => im > 0)
    .map(([re, im]) => ({ b0: gain ** (1 / ORDER), a1: -2 * re, a2: re * re + im * im }));
}

/** Alpha of a pyramid's level, by the paper's bound for short waves. */
export function alphaAt(level, { alpha, wavelength_px }) {
  const wave = 4 * 2 ** level;
  return wave >= wavelength_px ? alpha : Math.max(0, ((1 + alpha) * wave) / wavelength_px - 1);
}

/** Halves a plane of even sides with the kernel 1 4 6 4 1, mirrored at its borders, as OpenCV's pyrDown does. */
function reduced(plane, width, height) {
  const w = width / 2;
  const h = height / 2;
  const rows = new Float32Array(w * height);
  const mirror = (i, count) => (i < 0 ? -i : i >= count ? 2 * count - 2 - i : i);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < w; x++) {
      const at = (k) => plane[y * width + mirror(2 * x + k, width)];
      rows[y * w + x] = at(-2) + at(2) + 4 * (at(-1) + at(1)) + 6 * at(0);
    }
  }
  const small = new Float32Array(w * h);
  for (let y = 0; y < h; y++) {
    for (let x = 0; x < w; x++) {
      const at = (k) => rows[mirror(2 * y + k, height) * w + x];
      small[y * w + x] = (at(-2) + at(2) + 4 * (at(-1) + at(1)) + 6 * at(0)) / 256;
    }
  }
  return small;
}

/** Doubles a plane with the same kernel, as OpenCV's pyrUp does: mirrored at the start, repeated at the end. */
function expanded(plane, w, h) {
  const width = 2 * w;
  const rows = new Float32Array(width * h);
  for (let y = 0; y < h; y++) {
    for (let x = 0; x < w; x++) {
      const here = plane[y * w + x];
      const before = plane[y * w + (x > 0 ? x - 1 : Math.min(1, w - 1))];
      const after = plane[y * w + Math.min(x + 1, w - 1)];
      rows[y * width + 2 * x] = before + 6 * here + after;
      rows[y * width + 2 * x + 1] = 4 * (here + after);
    }
  }
  const large = new Float32Array(width * 2 * h);
  for (let y = 0; y < h; y++) {
    const above = (y > 0 ? y - 1 : Math.min(1, h - 1)) * width;
    const below = Math.min(y + 1, h - 1) * width;
    for (let x = 0; x < width; x++) {
      const here = rows[y * width + x];
      large[2 * y * width + x] = (rows[above + x] + 6 * here + rows[below + x]) / 64;
      large[(2 * y + 1) * width + x] = (4 * (here + rows[below + x])) / 64;
    }
  }
  return large;
}

/** Filters one plane over time; its steady state is that of its first frame. */
class BandPass {
  constructor(sections, first) {
    this._sections = sections;
    this._states = sections.map((_, i) => {
      const rest = i === 0 ? first.map((value) => -sections[0].b0 * value) : new Float32Array(first.length);
      return [rest, Float32Array.from(rest)];
    });
  }

  filter(plane) {
    let x = plane;
    this._sections.forEach(({ b0, a1, a2 }, i) => {
      const [h1, h2] = this._states[i];
      const y = new Float32Array(x.length);
      for (let k = 0; k < x.length; k++) {
        const driven = b0 * x[k];
        y[k] = driven + h1[k];
        h1[k] = h2[k] - a1 * y[k];
        h2[k] = -driven - a2 * y[k];
      }
      x = y;
    });
    return x;
  }
}

export class Magnifier {
  /** `side`: of its square pictures, px, such as 160: a power of two times 5 or more; `rate_fps`: of its frames. */
  constructor(side, rate_fps, settings = LIVE_MOTION) {
    this._side = side;
    this._settings = settings;
    this._sections = butterworth(settings.low_hz, settings.high_hz, rate_fps);
    this._levels = Math.max(1, Math.floor(Math.log2(Math.max(side / KERNEL, 1))));
    if (side % 2 ** this._levels) throw new Error(`side ${side}: must divide by ${2 ** this._levels}`);
    this._filters = null;
  }

  /** Magnifies the next frame in place. `rgba`: Uint8ClampedArray of side x side pixels. */
  magnify(rgba) {
    const count = this._side ** 2;
    const changes = TO_YIQ.map((row, channel) => {
      const plane = new Float32Array(count);
      for (let k = 0; k < count; k++) {
        plane[k] = row[0] * rgba[4 * k] + row[1] * rgba[4 * k + 1] + row[2] * rgba[4 * k + 2];
      }
      return this._change(plane, channel);
    });
    for (let k = 0; k < count; k++) {
      for (let c = 0; c < 3; c++) {
        const [y, i, q] = TO_RGB[c];
        rgba[4 * k + c] += y * changes[0][k] + i * changes[1][k] + q * changes[2][k];
      }
    }
  }

  /** The change to add to one plane: of brightness (0) or of a colour difference (1, 2). */
  _change(plane, channel) {
    this._filters ??= [[], [], []];
    const share = channel === 0 ? 1 : this._settings.chroma;
    const answers = [];
    let [fine, side] = [plane, this._side];
    for (let level = 0; level < this._levels; level++) {
      const coarse = reduced(fine, side, side);
      const lost = expanded(coarse, side / 2, side / 2);
      for (let k = 0; k < lost.length; k++) lost[k] = fine[k] - lost[k];
      this._filters[channel][level] ??= new BandPass(this._sections, lost);
      answers.push(this._filters[channel][level].filter(lost));
      [fine, side] = [coarse, side / 2];
    }
    let sum = new Float32Array(side * side);
    for (let level = this._levels - 1; level >= 0; level--) {
      sum = expanded(sum, side, side);
      side *= 2;
      const factor = share * alphaAt(level, this._settings);
      for (let k = 0; k < sum.length; k++) sum[k] += factor * answers[level][k];
    }
    return sum;
  }
}
