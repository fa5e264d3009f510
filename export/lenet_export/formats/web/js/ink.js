// Finds the ink in a grey picture: removes the paper and its shading, then the specks. Twin of
// lenet_runtime/images/ink.py, which says why.

import { above, count, f32, sample } from "./numbers.js";
import { findPaper, levelOf, minus, spread, surface } from "./paper.js";
import { findRegions } from "./regions.js";
/** @typedef {import("./numbers.js").Plane} Plane */
/** @typedef {import("./numbers.js").Plane<Float32Array>} Grey */

const MIN_CONTRAST = 10, NOISE_MARGIN = 6, SAMPLES = 64, SOFT = 64, RULE = 6, DIGIT = 0.2;
const SPECK = 0.06, INSIDE = 0.4;

/** Ink on flat black paper: its levels from 0 to 255, the pixels that surely are ink, whether it is
 * darker than the paper, and the paper.
 * @typedef {{levels: Grey, mask: Uint8Array, dark: boolean, paper: import("./paper.js").Paper}} Ink */

/** @param {Grey} grey @returns {Ink} */
export function findInk(grey) {
  const paper = findPaper(grey), floor = floorOf(paper.noise), most = f32(floor);
  const residual = minus(grey.data, levelOf(paper.coefficients, grey));
  let darker = 0, lighter = 0;
  for (const value of sample({ ...grey, data: residual }, 2 * SAMPLES)) {
    if (value < -most) darker += Math.trunc(value) ** 2;
    if (value > most) lighter += Math.trunc(value) ** 2;
  }
  const levels = { ...grey, data: inkLevels(residual, darker > lighter) };
  const mask = above(levels.data, Math.max(floor, 0.85 * otsu(levels)));
  return { levels, mask, dark: darker > lighter, paper };
}

/** The ink in a part of a picture that was looked at before: `y` and `x` are the places of its rows
 * and columns in the whole, and `digit` are the whole's pixels that are the digit.
 * @param {Grey} grey @param {number[]} y @param {number[]} x @param {Ink} first @param {Plane} digit
 * @returns {Ink} */
export function lookCloser(grey, y, x, first, digit) {
  let { paper } = first;
  if (!paper.coefficients) paper = findPaper(grey);  // no level of the whole is exact enough here
  /** @type {(places: number[], side: number) => Float32Array} */
  const at = (places, side) => Float32Array.from(places, (place) => 2 * (place / side) - 1);
  const level = first.paper.coefficients
    ? surface(first.paper.coefficients, at(y, digit.height), at(x, digit.width))
    : levelOf(paper.coefficients, grey);
  const residual = minus(grey.data, level), near = nearDigit(y.map(Math.trunc), x.map(Math.trunc), digit);
  const apart = [];
  for (let row = 0; row < grey.height; row += 4) {
    for (let i = row * grey.width, end = i + grey.width; i < end; i += 4) if (!near[i]) apart.push(residual[i]);
  }
  const floor = floorOf(spread(Float32Array.from(apart)));
  const levels = { ...grey, data: inkLevels(residual, first.dark) };
  for (let i = 0; i < near.length; i++) levels.data[i] *= near[i];
  return { levels, mask: above(levels.data, Math.max(floor, otsu(levels))), dark: first.dark, paper };
}

/** @param {number} noise */
const floorOf = (noise) => Math.max(MIN_CONTRAST, NOISE_MARGIN * noise);

/** Which pixels, at these rows and columns of the whole, are in the digit or at most two beside it.
 * @param {number[]} rows @param {number[]} columns @param {Plane} digit */
function nearDigit(rows, columns, { data, width }) {
  const top = rows[0] - 2, left = columns[0] - 2;  // two zeros on every side keep rows apart
  const stride = columns[columns.length - 1] + 3 - left, last = rows[rows.length - 1];
  let near = new Uint8Array(stride * (last + 3 - top));
  for (let y = rows[0]; y <= last; y++) {
    const part = data.subarray(y * width + columns[0], y * width + columns[columns.length - 1] + 1);
    near.set(part, (y - top) * stride + 2);
  }
  near = widened(widened(near, stride), 1);
  const chosen = new Uint8Array(rows.length * columns.length);
  let i = 0;
  for (const y of rows) for (const x of columns) chosen[i++] = near[(y - top) * stride + x - left];
  return chosen;
}

/** The ones of a mask and what is at most two steps from them.
 * @param {Uint8Array} mask @param {number} step */
function widened(mask, step) {
  const wide = mask.slice();
  for (let i = 2 * step; i < mask.length - 2 * step; i++) {
    wide[i] |= mask[i - 2 * step] | mask[i - step] | mask[i + step] | mask[i + 2 * step];
  }
  return wide;
}

/** Amounts of ink, in the place of the differences from the paper.
 * @param {Float32Array} residual @param {boolean} dark */
function inkLevels(residual, dark) {
  for (let i = 0; i < residual.length; i++) {
    const value = dark ? -residual[i] : residual[i];
    residual[i] = value > 255 ? 255 : value > 0 ? value : 0;
  }
  return residual;
}

/** Average 3x3 pixels.
 * @param {Plane} picture @returns {Grey} */
export function soften({ data, width, height }) {
  const soft = new Float32Array(data), rows = new Uint16Array(data), ninth = f32(1 / 9);
  if (Math.max(width, height) <= SOFT) return { data: soft, width, height };
  for (let i = 0, last = data.length - width; i < data.length; i++) {
    rows[i] = i >= width && i < last ? data[i - width] + data[i] + data[i + width] : 3 * data[i];
  }
  for (let i = 0; i < data.length; ) {
    const first = i, last = i + width - 1;
    for (; i <= last; i++) {
      soft[i] = (i > first && i < last ? rows[i - 1] + rows[i] + rows[i + 1] : 3 * rows[i]) * ninth;
    }
  }
  return { data: soft, width, height };
}

/** The threshold that best splits levels of 0 to 255 into two classes (Otsu 1979).
 * @param {import("./numbers.js").Plane<Uint8Array | Float32Array>} levels */
export function otsu(levels) {
  const counts = new Array(256).fill(0), chosen = sample(levels, SAMPLES), pixels = chosen.length;
  for (const level of chosen) counts[Math.trunc(level)]++;
  const total = counts.reduce((sum, number, level) => sum + number * level, 0);
  let below = 0, weight = 0;
  const variance = counts.map((number, level) => {
    below += number;
    weight += number * level;
    const between = (total / pixels) * below - weight;
    return (between * between) / Math.max(below * (pixels - below), 1);
  });
  const least = Math.max(...variance) * (1 - 1e-9), best = variance.map((value) => value >= least);
  return (best.indexOf(true) + best.lastIndexOf(true) + 1) / 2;
}

/** Keep the shapes that make up the digit, and count those that look like digits.
 * @param {Uint8Array} mask @param {number} width @param {number} height @returns {[Uint8Array, number]} */
export function keepDigit(mask, width, height) {
  if (!count(mask)) return [mask, 0];
  const regions = findRegions(mask, width, height), { boxes, areas, inMask } = regions;
  let ink = areas.map((area, i) => area * inMask[i]);
  const sides = boxes.map(([top, left, bottom, right]) =>
    Number(top === 0) + Number(left === 0) + Number(bottom === height) + Number(right === width));
  const clear = ink.map((area, i) => (sides[i] ? 0 : area));
  if (boxes.some((box, i) => clear[i] && longer(box) >= DIGIT * Math.max(width, height))) {
    ink = ink.map((area, i) => (sides[i] > 1 ? 0 : area));
  }
  if (sum(clear) >= INSIDE * sum(ink)) ink = clear;
  for (const rule of rules(boxes, areas, ink)) ink[rule] = 0;
  const least = SPECK * max(ink), isKept = ink.map((area, i) => area >= least && inMask[i]);
  const kept = [...ink.keys()].filter((i) => isKept[i]);
  return [regions.paint(isKept), countDigits(kept.map((i) => boxes[i]), kept.map((i) => ink[i]))];
}

/** @param {number[]} values */
const sum = (values) => values.reduce((a, b) => a + b, 0);

/** @param {number[]} values */
const max = (values) => values.reduce((a, b) => Math.max(a, b));

/** @param {number[]} box */
const longer = ([top, left, bottom, right]) => Math.max(bottom - top, right - left);

/** One box around boxes.
 * @param {number[][]} boxes */
const around = (boxes) => boxes.reduce((a, b) =>
  a.map((edge, i) => (i < 2 ? Math.min(edge, b[i]) : Math.max(edge, b[i]))));

/** Straight lines that lie over or under all other large shapes.
 * @param {number[][]} boxes @param {number[]} areas @param {number[]} ink */
function rules(boxes, areas, ink) {
  const least = SPECK * max(ink), large = [...ink.keys()].filter((i) => ink[i] > 0 && ink[i] >= least);
  return large.filter((shape) => {
    const [top, left, bottom, right] = boxes[shape], width = right - left, height = bottom - top;
    if (large.length < 2 || width * width < RULE * areas[shape]) return false;
    const rest = around(large.filter((i) => i !== shape).map((i) => boxes[i]));
    const wide = rest[3] - rest[1], middle = (rest[0] + rest[2]) / 2;
    return (top >= middle && width >= wide && top >= rest[2] - height) ||
      (bottom <= middle && width >= 2 * wide && bottom <= rest[0] + height);
  });
}

/** Number of shapes that are large enough to be digits of their own; those whose boxes overlap are one.
 * @param {number[][]} boxes @param {number[]} ink */
function countDigits(boxes, ink) {
  const size = max(boxes.map(longer)), area = max(ink);
  let rest = boxes.filter((box, i) => longer(box) >= 0.5 * size && ink[i] >= 0.2 * area), digits = 0;
  while (rest.length) {
    const [box, ...others] = rest, [top, left, bottom, right] = box;
    const isApart = others.map((b) => b[0] >= bottom || b[1] >= right || b[2] <= top || b[3] <= left);
    rest = others.filter((_, i) => isApart[i]);
    if (rest.length === others.length) digits++;
    else rest.unshift(around([box, ...others.filter((_, i) => !isApart[i])]));  // and again
  }
  return digits;
}
