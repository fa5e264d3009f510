// What Pillow does to pictures of one channel, in Pillow's own arithmetic (libImaging's Reduce.c,
// Resample.c and RankFilter.c): whole numbers for bytes, float64 sums for floats.

import { f32 } from "./numbers.js";
/** @template {Uint8Array | Float32Array} [T=Uint8Array]
 * @typedef {import("./numbers.js").Plane<T>} Plane */

/** Divide sums of `pixels` bytes by their number, rounded: multiply and shift, as Reduce.c does.
 * @param {number} pixels @returns {(sum: number) => number} */
export function average(pixels) {
  const factor = Math.trunc(f32(2 ** 32 / f32(256 * pixels))), half = pixels >> 1;
  return (sum) => Math.imul(sum + half, factor) >>> 24;
}

/** Average squares of `factor` pixels, of which the last ones may be smaller (`Image.reduce`).
 * `add(sums, y)` adds row y to the sums of its squares, `channels` a square.
 * @param {number} width @param {number} height @param {number} factor @param {number} channels
 * @param {(sums: Int32Array, y: number) => void} add @returns {Plane} */
export function reduceBy(width, height, factor, channels, add) {
  const columns = Math.ceil(width / factor), rows = Math.ceil(height / factor);
  const sums = new Int32Array(columns * channels), data = new Uint8Array(sums.length * rows);
  for (let row = 0; row < rows; row++) {
    const bottom = Math.min(height, (row + 1) * factor), tall = bottom - row * factor;
    sums.fill(0);
    for (let y = row * factor; y < bottom; y++) add(sums, y);
    const whole = average(factor * tall), last = average((width - (columns - 1) * factor) * tall);
    for (let i = 0; i < sums.length; i++) {
      data[row * sums.length + i] = (i < sums.length - channels ? whole : last)(sums[i]);
    }
  }
  return { data, width: columns, height: rows };
}

/** `Image.reduce` of a grey picture.
 * @param {Plane} picture @param {number} factor @returns {Plane} */
export function reduce({ data, width, height }, factor) {
  return reduceBy(width, height, factor, 1, (sums, y) => {
    for (let i = 0, at = y * width, end = at + width; at < end; i++) {
      for (const stop = Math.min(end, at + factor); at < stop; at++) sums[i] += data[at];
    }
  });
}

/** `Image.crop`; right and bottom are exclusive.
 * @template {Uint8Array | Float32Array} T @param {Plane<T>} picture @param {number} left
 * @param {number} top @param {number} right @param {number} bottom @returns {Plane<T>} */
export function crop({ data, width }, left, top, right, bottom) {
  const columns = right - left, rows = bottom - top;
  const part = /** @type {T} */ (data.slice(0, columns * rows));
  for (let y = 0; y < rows; y++) {
    const from = (top + y) * width + left;
    part.set(data.subarray(from, from + columns), y * columns);
  }
  return { data: part, width: columns, height: rows };
}

/** `ImageOps.expand`: the picture with a border of one level around it.
 * @param {Plane} picture @param {number} border @param {number} level @returns {Plane} */
export function expand({ data, width, height }, border, level) {
  const columns = width + 2 * border, rows = height + 2 * border;
  const large = new Uint8Array(columns * rows).fill(level);
  for (let y = 0; y < height; y++) {
    large.set(data.subarray(y * width, (y + 1) * width), (y + border) * columns + border);
  }
  return { data: large, width: columns, height: rows };
}

/** `ImageOps.autocontrast`: the levels stretched to 0 to 255.
 * @param {Plane} picture @returns {Plane} */
export function autocontrast(picture) {
  const low = Math.min(...picture.data), high = Math.max(...picture.data);
  if (high === low) return picture;
  const scale = 255 / (high - low), offset = -low * scale;
  return { ...picture, data: picture.data.map((level) => level * scale + offset) };
}

/** Resample.c's weights: for each pixel of the result, the first pixel and its and the next shares.
 * @param {number} from @param {number} to @param {boolean} isBox @returns {[number, number[]][]} */
function weights(from, to, isBox) {
  const scale = from / to, wide = Math.max(1, scale), support = isBox ? wide / 2 : wide;
  return Array.from({ length: to }, (_, i) => {
    const centre = (i + 0.5) * scale, shares = [];
    const first = Math.max(0, Math.trunc(centre - support + 0.5));
    const end = Math.min(from, Math.trunc(centre + support + 0.5));
    let sum = 0;
    for (let x = first; x < end; x++) {
      const at = (x - centre + 0.5) * (1 / wide);
      const share = isBox ? Number(at > -0.5 && at <= 0.5) : Math.max(0, 1 - Math.abs(at));
      shares.push(share);
      sum += share;
    }
    return [first, shares.map((share) => share / sum)];
  });
}

/** Resample `lines` lines, `strides` from each other in `from` and `to`, whose pixels are `step` apart.
 * @template {Uint8Array | Float32Array} T @param {T} from @param {T} to
 * @param {[number, number[]][]} table @param {number} lines @param {number[]} strides
 * @param {number} step @returns {T} */
function resample(from, to, table, lines, strides, step) {
  const isBytes = from instanceof Uint8Array, unit = 2 ** 22;
  table.forEach(([first, shares], i) => {
    const factors = isBytes ? shares.map((share) => Math.trunc(0.5 + share * unit)) : shares;
    for (let line = 0; line < lines; line++) {
      let sum = isBytes ? unit / 2 : 0, at = line * strides[0] + first * step;
      for (let k = 0; k < factors.length; k++, at += step) sum += from[at] * factors[k];
      to[line * strides[1] + i * step] = isBytes ? sum >> 22 : sum;
    }
  });
  return to;
}

/** `Image.resize`, by area (`BOX`) or by lines between pixels (`BILINEAR`): rows, then columns.
 * @template {Uint8Array | Float32Array} T @param {Plane<T>} picture @param {number} width
 * @param {number} height @param {boolean} isBox @returns {Plane<T>} */
export function resize(picture, width, height, isBox) {
  const make = /** @type {new (length: number) => T} */ (picture.data.constructor);
  const { width: w, height: h } = picture;
  let { data } = picture;
  if (width !== w) data = resample(data, new make(width * h), weights(w, width, isBox), h, [w, width], 1);
  if (height !== h) {
    data = resample(data, new make(width * height), weights(h, height, isBox), width, [1, 1], width);
  }
  return { data, width, height };
}

/** `ImageFilter.MedianFilter`: the median of the window around each pixel; edges are continued.
 * @param {Plane} picture @param {number} window pixels a side, an odd number @returns {Plane} */
export function medianFilter({ data, width, height }, window) {
  const reach = window >> 1, middle = (window * window) >> 1, counts = new Int32Array(256);
  /** @type {(at: number, side: number) => number} */
  const inside = (at, side) => Math.min(Math.max(at, 0), side - 1);
  const medians = data.map((_, i) => {
    const x = i % width, y = (i - x) / width;
    counts.fill(0);
    for (let dy = -reach; dy <= reach; dy++) {
      const row = inside(y + dy, height) * width;
      for (let dx = -reach; dx <= reach; dx++) counts[data[row + inside(x + dx, width)]]++;
    }
    let level = 0;
    for (let below = counts[0]; below <= middle; ) below += counts[++level];
    return level;
  });
  return { data: medians, width, height };
}
