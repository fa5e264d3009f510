// Turns a canvas's pixels into 8-bit grey, averaged to at most 1280 pixels a side. Twin of
// lenet_runtime/images/grey.py for pictures of mode RGBA.

import { ceilDiv, fill } from "./numbers.js";
import { average } from "./pillow.js";
/** @typedef {import("./pillow.js").Bytes} Bytes */
/** Pixels of red, green, blue and alpha, row by row.
 * @typedef {{data: Uint8Array | Uint8ClampedArray, width: number, height: number}} Colours */

const MAX_SIDE = 1280;

/** Grey pictures to look for a digit in, one after the other: on white paper, and where that shows
 * none on black; the other way round where light ink lies on nothing.
 * @param {Colours} colours @returns {Generator<Bytes>} */
export function* toGrey(colours) {
  const { data, width, height } = colours;
  const papers = isOpaque(data) ? [255] : isLightOnNothing(data) ? [0, 255] : [255, 0];
  for (const paper of papers) {
    yield { data: fill(new Uint8Array(width * height), (i) => greyOn(data, 4 * i, paper)), width, height };
  }
}

/** @param {number} red @param {number} green @param {number} blue */
const luma = (red, green, blue) => (red * 19595 + green * 38470 + blue * 7471 + 0x8000) >> 16;

/** Grey of the pixel at `i` on paper of this level (libImaging's AlphaComposite.c and Convert.c).
 * @param {Colours["data"]} data @param {number} i @param {number} paper */
function greyOn(data, i, paper) {
  const share = data[i + 3] * 128, rest = (255 * 128 - share) * paper + 0x80 * 128;
  const [red, green, blue] = [0, 1, 2].map((channel) => {
    const sum = data[i + channel] * share + rest;
    return ((sum >> 8) + sum) >> 15;
  });
  return luma(red, green, blue);
}

/** @param {Colours["data"]} data */
function isOpaque(data) {
  for (let i = 3; i < data.length; i += 4) if (data[i] !== 255) return false;
  return true;
}

/** Whether most is transparent, and a quarter of what is not is light.
 * @param {Colours["data"]} data */
function isLightOnNothing(data) {
  const alphas = new Int32Array(256), visible = new Int32Array(256);
  let seen = 0;
  for (let i = 0; i < data.length; i += 4) {
    alphas[data[i + 3]]++;
    if (data[i + 3] < 128) continue;
    visible[luma(data[i], data[i + 1], data[i + 2])]++;
    seen++;
  }
  return quantile(alphas, data.length / 4, 0.5) < 128 && seen > 0 && quantile(visible, seen, 0.75) > 128;
}

/** A quantile of bytes whose numbers are counted, between two values in proportion.
 * @param {Int32Array} counts @param {number} size @param {number} share */
function quantile(counts, size, share) {
  const place = share * (size - 1), low = Math.floor(place);
  const at = (/** @type {number} */ rank) => {
    let level = 0;
    for (let below = counts[0]; below <= rank; ) below += counts[++level];
    return level;
  };
  return at(low) + (at(Math.ceil(place)) - at(low)) * (place - low);
}

/** Average a picture to at most 1280 pixels a side, transparent pixels counting less.
 * @param {Colours} colours @returns {Colours} */
export function shrink(colours) {
  const { data, width, height } = colours, factor = ceilDiv(Math.max(width, height), MAX_SIDE);
  if (factor <= 1) return colours;
  const columns = ceilDiv(width, factor), rows = ceilDiv(height, factor);
  const small = new Uint8Array(4 * columns * rows), add = isOpaque(data) ? addOpaque : addPremultiplied;
  const sums = new Int32Array(4 * columns);
  for (let row = 0; row < rows; row++) {
    const bottom = Math.min(height, (row + 1) * factor), tall = bottom - row * factor;
    sums.fill(0);
    for (let y = row * factor; y < bottom; y++) {
      add(sums, data.subarray(4 * y * width, 4 * (y + 1) * width), factor);
    }
    const whole = average(factor * tall), last = average((width - (columns - 1) * factor) * tall);
    for (let i = 0; i < sums.length; i++) {
      small[row * sums.length + i] = (i < sums.length - 4 ? whole : last)(sums[i]);
    }
  }
  return { data: divideByAlpha(small), width: columns, height: rows };
}

/** Add a row's pixels to the sums of its squares.
 * @param {Int32Array} sums @param {Colours["data"]} row @param {number} factor */
function addOpaque(sums, row, factor) {
  for (let i = 0, at = 0; i < sums.length; i += 4) {
    const end = Math.min(row.length, at + 4 * factor), alpha = (255 * (end - at)) / 4;
    let red = 0, green = 0, blue = 0;
    for (; at < end; at += 4) {
      red += row[at];
      green += row[at + 1];
      blue += row[at + 2];
    }
    sums[i] += red;
    sums[i + 1] += green;
    sums[i + 2] += blue;
    sums[i + 3] += alpha;
  }
}

/** The same with colours times alpha, rounded.
 * @param {Int32Array} sums @param {Colours["data"]} row @param {number} factor */
function addPremultiplied(sums, row, factor) {
  for (let i = 0, at = 0; i < sums.length; i += 4) {
    for (const end = Math.min(row.length, at + 4 * factor); at < end; at += 4) {
      const alpha = row[at + 3];
      for (let channel = 0; channel < 3; channel++) {
        const product = row[at + channel] * alpha + 128;
        sums[i + channel] += ((product >> 8) + product) >> 8;
      }
      sums[i + 3] += alpha;
    }
  }
}

/** @param {Uint8Array} data */
function divideByAlpha(data) {
  for (let i = 0; i < data.length; i += 4) {
    const alpha = data[i + 3];
    if (alpha === 0 || alpha === 255) continue;
    for (let channel = i; channel < i + 3; channel++) {
      data[channel] = Math.min(255, Math.floor((255 * data[channel]) / alpha));
    }
  }
  return data;
}
