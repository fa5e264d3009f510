// Finds the ink in a grey picture: removes the paper and its shading, then the specks. Twin of
// lenet_runtime/images/ink.py; why things are so is said there.

import { ceilDiv, count, f32, fill } from "./numbers.js";
import { findPaper, levelOf, spread, surface } from "./paper.js";
import { findRegions } from "./regions.js";
/** @typedef {import("./pillow.js").Bytes} Bytes */
/** @typedef {import("./pillow.js").Floats} Floats */
/** @typedef {import("./paper.js").Paper} Paper */
/** @typedef {import("./regions.js").Regions} Regions */

const MIN_CONTRAST = 10, NOISE_MARGIN = 6, SAMPLES = 64, SOFT = 64, RULE = 6, DIGIT = 0.2;
const SPECK = 0.06, INSIDE = 0.4;

/** Ink on flat black paper: its levels from 0 to 255, the pixels that surely are ink, whether it is
 * darker than the paper, and the paper.
 * @typedef {{levels: Floats, mask: Uint8Array, dark: boolean, paper: Paper}} Ink */

/** The bounding box of a mask: left, top, right and bottom, the last two exclusive.
 * @param {Uint8Array} mask @param {number} width @returns {[number, number, number, number]} */
export function boxOf(mask, width) {
  let left = width, right = 0;
  for (let i = 0; i < mask.length; i++) {
    if (!mask[i]) continue;
    left = Math.min(left, i % width);
    right = Math.max(right, (i % width) + 1);
  }
  const row = (/** @type {number} */ at) => Math.floor(at / width);
  return [left, row(mask.indexOf(1)), right, row(mask.lastIndexOf(1)) + 1];
}

/** @param {Floats} grey @returns {Ink} */
export function findInk(grey) {
  const paper = findPaper(grey), residual = minusLevel(grey, levelOf(paper, grey));
  const floor = floorOf(paper.noise), most = f32(floor);
  let darker = 0, lighter = 0;
  for (const value of sample(residual, 2 * SAMPLES)) {
    if (value < -most) darker += Math.trunc(value) ** 2;
    if (value > most) lighter += Math.trunc(value) ** 2;
  }
  const levels = inkLevels(residual, darker > lighter);
  const mask = above(levels, Math.max(floor, 0.85 * otsu(levels)));
  return { levels, mask, dark: darker > lighter, paper };
}

/** The ink in a part of a picture that was looked at before: `y` and `x` are the places of its rows
 * and columns in the whole picture, whose digit's pixels, and size, are given.
 * @param {Floats} grey @param {number[]} y @param {number[]} x @param {Ink} first
 * @param {{data: Uint8Array, width: number, height: number}} digit @returns {Ink} */
export function lookCloser(grey, y, x, first, digit) {
  const { coefficients } = first.paper;
  const at = (/** @type {number[]} */ places, /** @type {number} */ side) =>
    Float32Array.from(places, (place) => 2 * (place / side) - 1);
  const paper = coefficients ? first.paper : findPaper(grey);  // no level of the whole is exact enough
  const level = coefficients
    ? surface(coefficients, at(y, digit.height), at(x, digit.width))
    : levelOf(paper, grey);
  const residual = minusLevel(grey, level);
  const near = nearDigit(y.map(Math.trunc), x.map(Math.trunc), digit);
  const apart = near.map((value, i) =>
    Number(!value && i % grey.width % 4 === 0 && Math.floor(i / grey.width) % 4 === 0));
  const noise = spread(residual.data, apart), levels = inkLevels(residual, first.dark);
  levels.data.forEach((value, i) => (levels.data[i] = value * near[i]));
  const mask = above(levels, Math.max(floorOf(noise), otsu(levels)));
  return { levels, mask, dark: first.dark, paper };
}

/** @param {number} noise */
const floorOf = (noise) => Math.max(MIN_CONTRAST, NOISE_MARGIN * noise);

/** @param {Floats} grey @param {Float32Array} level @returns {Floats} */
function minusLevel({ data, width, height }, level) {
  return { data: data.map((value, i) => value - level[i]), width, height };
}

/** @param {Floats} levels @param {number} threshold */
function above({ data }, threshold) {
  const least = f32(threshold);
  return fill(new Uint8Array(data.length), (i) => Number(data[i] > least));
}

/** Pixels of a part that are in the digit or at most two pixels beside it.
 * @param {number[]} rows @param {number[]} columns
 * @param {{data: Uint8Array, width: number, height: number}} digit */
function nearDigit(rows, columns, { data, width }) {
  const [top, left, bottom, right] = [rows[0], columns[0], rows.at(-1) ?? 0, columns.at(-1) ?? 0];
  const high = right - left + 1, wide = new Uint8Array((bottom - top + 1) * high);
  for (let y = top; y <= bottom; y++) {
    for (let x = left; x <= right; x++) {
      if (!data[y * width + x]) continue;
      const [from, to] = [Math.max(left, x - 2) - left, Math.min(right, x + 2) - left + 1];
      for (let row = Math.max(top, y - 2); row <= Math.min(bottom, y + 2); row++) {
        wide.fill(1, (row - top) * high + from, (row - top) * high + to);
      }
    }
  }
  return fill(new Uint8Array(rows.length * columns.length), (i) => {
    const column = i % columns.length;
    return wide[(rows[(i - column) / columns.length] - top) * high + columns[column] - left];
  });
}

/** Amounts of ink.
 * @param {Floats} residual @param {boolean} dark @returns {Floats} */
function inkLevels({ data, width, height }, dark) {
  const sign = dark ? -1 : 1;
  return { data: data.map((value) => Math.min(Math.max(sign * value, 0), 255)), width, height };
}

/** Every so many pixels, at most `side` a side.
 * @param {Bytes | Floats} picture @param {number} side @returns {number[]} */
function sample({ data, width, height }, side) {
  const step = ceilDiv(Math.max(width, height), side), chosen = [];
  for (let y = 0; y < height; y += step) {
    for (let x = 0; x < width; x += step) chosen.push(data[y * width + x]);
  }
  return chosen;
}

/** Average 3x3 pixels.
 * @param {Bytes} picture @returns {Floats} */
export function soften({ data, width, height }) {
  if (Math.max(width, height) <= SOFT) return { data: Float32Array.from(data), width, height };
  const rows = new Uint16Array(data.length), soft = new Float32Array(data.length), ninth = f32(1 / 9);
  for (let i = 0; i < data.length; i++) {
    const isInside = i >= width && i < data.length - width;
    rows[i] = isInside ? data[i - width] + data[i] + data[i + width] : 3 * data[i];
  }
  for (let i = 0; i < data.length; i++) {
    const isInside = i % width > 0 && i % width < width - 1;
    soft[i] = (isInside ? rows[i - 1] + rows[i] + rows[i + 1] : 3 * rows[i]) * ninth;
  }
  return { data: soft, width, height };
}

/** The threshold that best splits levels of 0 to 255 into two classes (Otsu 1979).
 * @param {Bytes | Floats} levels */
export function otsu(levels) {
  const counts = new Float64Array(256), chosen = sample(levels, SAMPLES), pixels = chosen.length;
  for (const level of chosen) counts[Math.trunc(level)]++;
  const total = counts.reduce((sum, number, level) => sum + number * level, 0);
  let below = 0, weight = 0;
  const variance = counts.map((number, level) => {
    below += number;
    weight += number * level;
    return ((total / pixels) * below - weight) ** 2 / Math.max(below * (pixels - below), 1);
  });
  const least = Math.max(...variance) * (1 - 1e-9);
  const best = (/** @type {number} */ value) => value >= least;
  return (variance.findIndex(best) + variance.findLastIndex(best) + 1) / 2;
}

/** Keep the shapes that make up the digit, and count those that look like digits.
 * @param {Uint8Array} mask @param {number} width @param {number} height
 * @returns {[Uint8Array, number]} */
export function keepDigit(mask, width, height) {
  if (!count(mask)) return [mask, 0];
  const regions = findRegions(mask, width, height), { boxes, areas, inMask } = regions;
  let ink = areas.map((area, i) => area * inMask[i]);
  const sides = boxes.map(([top, left, bottom, right]) =>
    Number(top === 0) + Number(left === 0) + Number(bottom === height) + Number(right === width));
  const clear = ink.map((area, i) => (sides[i] ? 0 : area));
  const large = boxes.some(([top, left, bottom, right], i) =>
    clear[i] > 0 && Math.max(bottom - top, right - left) >= DIGIT * Math.max(width, height));
  if (large) ink = ink.map((area, i) => (sides[i] > 1 ? 0 : area));
  const sum = (/** @type {Float64Array} */ values) => values.reduce((a, b) => a + b, 0);
  if (sum(clear) >= INSIDE * sum(ink)) ink = clear;
  for (const rule of rules(boxes, areas, ink)) ink[rule] = 0;
  const least = SPECK * Math.max(...ink);
  const kept = boxes.map((_, i) => i).filter((i) => inMask[i] && ink[i] >= least);
  const isKept = new Set(kept);
  return [regions.paint((i) => isKept.has(i)), countDigits(kept.map((i) => boxes[i]), kept.map((i) => ink[i]))];
}

/** Straight lines that lie over or under all other large shapes.
 * @param {number[][]} boxes @param {Float64Array} areas @param {Float64Array} ink */
function rules(boxes, areas, ink) {
  const least = SPECK * Math.max(...ink);
  const large = boxes.map((_, i) => i).filter((i) => ink[i] > 0 && ink[i] >= least);
  return large.filter((shape) => {
    const [top, left, bottom, right] = boxes[shape], width = right - left, height = bottom - top;
    const others = large.filter((i) => i !== shape).map((i) => boxes[i]);
    if (!others.length || width * width < RULE * areas[shape]) return false;
    const [highest, leftmost] = [0, 1].map((i) => Math.min(...others.map((box) => box[i])));
    const [lowest, rightmost] = [2, 3].map((i) => Math.max(...others.map((box) => box[i])));
    const rest = rightmost - leftmost, middle = (highest + lowest) / 2;
    return (top >= middle && width >= rest && top >= lowest - height) ||
      (bottom <= middle && width >= 2 * rest && bottom <= highest + height);
  });
}

/** Number of shapes that are large enough to be digits of their own; at least 1. Shapes whose boxes
 * overlap count as one.
 * @param {number[][]} boxes @param {number[]} ink */
function countDigits(boxes, ink) {
  if (boxes.length === 1) return 1;
  const sizes = boxes.map(([top, left, bottom, right]) => Math.max(bottom - top, right - left));
  const [size, area] = [Math.max(...sizes), Math.max(...ink)];
  let rest = boxes.filter((_, i) => sizes[i] >= 0.5 * size && ink[i] >= 0.2 * area), digits = 0;
  while (rest.length) {
    const [[top, left, bottom, right], ...others] = rest;
    const isApart = (/** @type {number[]} */ box) =>
      box[0] >= bottom || box[1] >= right || box[2] <= top || box[3] <= left;
    const joined = [rest[0], ...others.filter((box) => !isApart(box))];
    rest = others.filter(isApart);
    if (joined.length === 1) digits++;
    else {  // one box around both, and again
      const edge = (/** @type {number} */ i) => joined.map((box) => box[i]);
      rest.unshift([Math.min(...edge(0)), Math.min(...edge(1)), Math.max(...edge(2)), Math.max(...edge(3))]);
    }
  }
  return digits;
}
