// What Pillow does to pictures of one channel, in Pillow's own arithmetic (libImaging's Reduce.c,
// Resample.c and RankFilter.c): whole numbers for bytes, float64 sums for floats.

import { ceilDiv, f32, fill } from "./numbers.js";

/** A picture of one channel, row by row.
 * @template {Uint8Array | Float32Array} T
 * @typedef {{data: T, width: number, height: number}} Plane */
/** @typedef {Plane<Uint8Array>} Bytes */
/** @typedef {Plane<Float32Array>} Floats */

/** Divide sums of `pixels` bytes by their number, rounded: multiply and shift, as Reduce.c does.
 * @param {number} pixels @returns {(sum: number) => number} */
export function average(pixels) {
  const factor = Math.trunc(f32(2 ** 32 / f32(256 * pixels))), half = pixels >> 1;
  return (sum) => Math.imul(sum + half, factor) >>> 24;
}

/** `Image.reduce`: the mean of each square of `factor` pixels; the last ones may be smaller.
 * @param {Bytes} picture @param {number} factor @returns {Bytes} */
export function reduce({ data, width, height }, factor) {
  const columns = ceilDiv(width, factor), rows = ceilDiv(height, factor);
  const small = new Uint8Array(columns * rows), sums = new Int32Array(columns);
  for (let row = 0; row < rows; row++) {
    const bottom = Math.min(height, (row + 1) * factor);
    sums.fill(0);
    for (let y = row * factor; y < bottom; y++) {
      for (let column = 0, at = y * width; column < columns; column++) {
        const end = y * width + Math.min(width, (column + 1) * factor);
        let sum = 0;
        while (at < end) sum += data[at++];
        sums[column] += sum;
      }
    }
    const tall = bottom - row * factor;
    const whole = average(factor * tall), last = average((width - (columns - 1) * factor) * tall);
    for (let column = 0; column < columns; column++) {
      small[row * columns + column] = (column < columns - 1 ? whole : last)(sums[column]);
    }
  }
  return { data: small, width: columns, height: rows };
}

/** `Image.crop`; right and bottom are exclusive.
 * @template {Uint8Array | Float32Array} T
 * @param {Plane<T>} picture @param {number} left @param {number} top @param {number} right
 * @param {number} bottom @returns {Plane<T>} */
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
 * @param {Bytes} picture @param {number} border @param {number} level @returns {Bytes} */
export function expand({ data, width, height }, border, level) {
  const columns = width + 2 * border, rows = height + 2 * border;
  const large = new Uint8Array(columns * rows).fill(level);
  for (let y = 0; y < height; y++) {
    large.set(data.subarray(y * width, (y + 1) * width), (y + border) * columns + border);
  }
  return { data: large, width: columns, height: rows };
}

/** `ImageOps.autocontrast`: the levels stretched to 0 to 255.
 * @param {Bytes} picture @returns {Bytes} */
export function autocontrast({ data, width, height }) {
  const low = data.reduce((a, b) => Math.min(a, b)), high = data.reduce((a, b) => Math.max(a, b));
  if (high <= low) return { data, width, height };
  const scale = 255 / (high - low), offset = -low * scale;
  return { data: data.map((level) => Math.trunc(level * scale + offset)), width, height };
}

/** The weights of Resample.c: for each pixel of the result the first pixel and the shares.
 * @param {number} from @param {number} to @param {boolean} box @returns {[number, number[]][]} */
function weights(from, to, box) {
  const scale = from / to, wide = Math.max(1, scale), support = (box ? 0.5 : 1) * wide;
  return Array.from({ length: to }, (_, i) => {
    const centre = (i + 0.5) * scale;
    const first = Math.max(0, Math.trunc(centre - support + 0.5));
    const end = Math.min(from, Math.trunc(centre + support + 0.5));
    const shares = [];
    let sum = 0;
    for (let x = first; x < end; x++) {
      const at = (x - centre + 0.5) * (1 / wide);
      const share = box ? Number(at > -0.5 && at <= 0.5) : Math.max(0, 1 - Math.abs(at));
      shares.push(share);
      sum += share;
    }
    return [first, shares.map((share) => (sum ? share / sum : share))];
  });
}

/** Resample along one side: `count` lines, whose pixels are `step` apart, `stride` from each other.
 * @template {Uint8Array | Float32Array} T
 * @param {T} from @param {T} to @param {[number, number[]][]} table @param {number} count
 * @param {[number, number]} strides of `from`'s and `to`'s lines @param {number} step */
function resample(from, to, table, count, [fromStride, toStride], step) {
  const isBytes = from instanceof Uint8Array, unit = 2 ** 22;
  table.forEach(([first, shares], i) => {
    const factors = isBytes ? shares.map((share) => Math.trunc(0.5 + share * unit)) : shares;
    for (let line = 0; line < count; line++) {
      let sum = isBytes ? unit / 2 : 0, at = line * fromStride + first * step;
      for (let k = 0; k < factors.length; k++, at += step) sum += from[at] * factors[k];
      to[line * toStride + i * step] = isBytes ? sum >> 22 : sum;
    }
  });
}

/** `Image.resize`, by area (`BOX`) or by lines between pixels (`BILINEAR`): rows, then columns.
 * @template {Uint8Array | Float32Array} T
 * @param {Plane<T>} picture @param {number} width @param {number} height @param {boolean} box
 * @returns {Plane<T>} */
export function resize(picture, width, height, box) {
  const make = /** @type {new (length: number) => T} */ (picture.data.constructor);
  let { data } = picture;
  if (width !== picture.width) {
    const wide = new make(width * picture.height), table = weights(picture.width, width, box);
    resample(data, wide, table, picture.height, [picture.width, width], 1);
    data = wide;
  }
  if (height !== picture.height) {
    const high = new make(width * height), table = weights(picture.height, height, box);
    resample(data, high, table, width, [1, 1], width);
    data = high;
  }
  return { data, width, height };
}

/** `ImageFilter.MedianFilter`: the median of the window around each pixel; edges are continued.
 * @param {Bytes} picture @param {number} window pixels a side, an odd number @returns {Bytes} */
export function medianFilter({ data, width, height }, window) {
  const reach = window >> 1, middle = (window * window) >> 1, counts = new Int32Array(256);
  const inside = (/** @type {number} */ at, /** @type {number} */ side) =>
    Math.min(Math.max(at, 0), side - 1);
  const medians = fill(new Uint8Array(data.length), (i) => {
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
