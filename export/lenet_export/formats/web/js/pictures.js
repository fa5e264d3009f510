// Turns pictures of digits into images like MNIST's. Twin of lenet_runtime/images/pictures.py: the
// same 28x28 bytes from the same pixels.

import { InputError, above, boxOf, f32, nth, pick, roundEven } from "./numbers.js";
import { autocontrast, crop, expand, reduce, resize } from "./pillow.js";
import { shrink, toGrey } from "./grey.js";
import { findInk, keepDigit, lookCloser, otsu, soften } from "./ink.js";
import { fillPaper } from "./paper.js";
import { findPage, hasSquare } from "./shapes.js";
/** @typedef {import("./numbers.js").Plane} Plane */
/** @typedef {import("./numbers.js").Plane<Float32Array>} Grey */
/** @typedef {import("./ink.js").Ink} Ink */
/** @typedef {import("./shapes.js").Page} Page */

const MAX_PIXELS = 2 ** 26, FAR_SIDE = 256, NEAR_SIDE = 160, TINY = 16, BOX = 20, STROKE = 90;
const SOLID = 8, CENTRE = 14;
export const SIDE = 28;

/** White ink on black, 28x28; whether the picture had dark ink on light paper; the steps taken, in
 * order; the shapes of a digit's size; and what makes it doubtful that this is one digit.
 * @typedef {{pixels: Uint8Array, inverted: boolean, steps: string[], shapes: number,
 *   warnings: string[]}} DigitImage */

/** @param {import("./grey.js").Colours} colours @returns {DigitImage} */
export function mnistStyle(colours) {
  const { data, width, height } = colours;
  if (!(width > 0 && height > 0 && data.byteLength === 4 * width * height && data.length === data.byteLength)) {
    throw new InputError(
      `expected 4 bytes for each of ${width}x${height} pixels, found ${data.length} values in ` +
      `${data.byteLength} bytes; pass the data, width and height of one ImageData`);
  }
  if (width * height > MAX_PIXELS) {
    throw new InputError(
      `expected a picture of at most ${MAX_PIXELS} pixels, found ${width}x${height}; make it smaller`);
  }
  for (const grey of toGrey(shrink(colours))) {
    const digit = alreadyMnist(grey) ?? normalised(grey);
    if (digit) return digit;
  }
  throw new InputError(
    `expected a digit, found a blank ${width}x${height} picture, or ink too faint to tell from ` +
    "noise; take it with more contrast, one digit with some paper around it");
}

/** @param {Plane} grey @returns {DigitImage | null} */
function alreadyMnist({ data, width, height }) {
  if (width !== SIDE || height !== SIDE) return null;
  const rest = { inverted: false, shapes: 1, warnings: [] };
  if (isMnist(data)) return { ...rest, pixels: data, steps: ["passed unchanged: already as in MNIST"] };
  const pixels = data.map((level) => 255 - level);
  if (!isMnist(pixels)) return null;
  return { ...rest, pixels, inverted: true, steps: ["inverted: else as in MNIST"] };
}

/** Whether the ink fills a 20x20 box around the centre of mass, as in all 70,000 digits.
 * @param {Uint8Array} pixels */
function isMnist(pixels) {
  if (pixels.filter(Boolean).length > pixels.length / 2 || Math.max(...pixels) < 128) return false;
  const [left, top, right, bottom] = boxOf(pixels, SIDE), side = Math.max(right - left, bottom - top);
  const offset = Math.max(...centreOfMass(pixels, SIDE).map((at) => Math.abs(at - CENTRE)));
  return BOX - 2 <= side && side <= BOX && offset <= 1;
}

/** Row and column of the centre of mass.
 * @param {Uint8Array} pixels @param {number} width @returns {[number, number]} */
function centreOfMass(pixels, width) {
  let y = 0, x = 0, mass = 0;
  pixels.forEach((level, i) => {
    mass += level;
    x += level * (i % width);
    y += level * Math.floor(i / width);
  });
  return [y / mass, x / mass];
}

/** @param {Plane} grey @returns {DigitImage | null} */
function normalised(grey) {
  const located = locate(grey);
  if (!located) return null;
  const { ink, shapes, page } = located, pixels = placed(scaled(ink));
  const steps = [
    ink.dark ? "inverted: dark ink on light paper" : "kept: light ink on dark paper",
    "contrast stretched",
    `cropped to the ink, scaled to fit ${BOX}x${BOX}, centred by mass in ${SIDE}x${SIDE}`,
  ];
  if (page.inside) steps.unshift("cropped to the sheet, the frame or the circle around the ink");
  return { pixels, inverted: ink.dark, steps, shapes, warnings: doubts(pixels, shapes) };
}

/** @param {Uint8Array} pixels @param {number} shapes */
function doubts(pixels, shapes) {
  const isSolid = hasSquare(above(pixels, 127), SIDE, SIDE, SOLID);
  return [
    ...(shapes > 1 ? [`${shapes} shapes of a digit's size; give one digit a picture`] : []),
    ...(isSolid ? ["a solid area, where a digit has strokes; leave only paper around the digit"] : []),
  ];
}

/** Find the ink in the whole picture, then once more and sharper in its surroundings.
 * @param {Plane} grey @returns {{ink: Ink, shapes: number, page: Page} | null} */
function locate(grey) {
  if (Math.max(grey.width, grey.height) <= TINY) grey = autocontrast(grey);
  let [view, factor] = reduced(grey, FAR_SIDE);
  const page = findPage(view, otsu(view));
  if (page.crop !== null) {
    const border = Math.ceil(0.2 * Math.max(grey.width, grey.height)) + 1;
    grey = expand(grey, border, roundEven(page.crop));
    [view, factor] = reduced(grey, FAR_SIDE);
  }
  const soft = soften(view), ink = findInk(page.inside ? fillPaper(soft, page.inside) : soft);
  const [mask, shapes] = keepDigit(ink.mask, view.width, view.height);
  if (!mask.includes(1)) return null;
  const digit = { ...view, data: mask }, box = boxOf(mask, view.width);
  const margin = Math.ceil(Math.max(box[2] - box[0], box[3] - box[1]) * 0.3) + 1;
  const [left, top] = [box[0], box[1]].map((edge) => Math.max(0, edge - margin));
  const right = Math.min((box[2] + margin) * factor, grey.width);
  const bottom = Math.min((box[3] + margin) * factor, grey.height);
  const [close, closer] = reduced(crop(grey, left * factor, top * factor, right, bottom), NEAR_SIDE);
  const [y, x] = [[top, close.height, view.height], [left, close.width, view.width]].map(
    ([start, side, whole]) => Array.from({ length: side }, (_, i) =>
      Math.min((start * factor + (i + 0.5) * closer) / factor, whole - 0.5)));
  const sharp = lookCloser({ ...close, data: new Float32Array(close.data) }, y, x, ink, digit);
  const best = sharp.mask.includes(1) ? sharp : { ...ink, mask };
  return { ink: best, shapes: Math.max(shapes, page.cells), page };
}

/** A picture averaged to at most `side` pixels a side, and by which factor.
 * @param {Plane} grey @param {number} side @returns {[Plane, number]} */
function reduced(grey, side) {
  const factor = Math.ceil(Math.max(grey.width, grey.height) / side);
  return [factor > 1 ? reduce(grey, factor) : grey, factor];
}

/** Scale the ink to fit 20x20 with area averaging; its levels become 0 to 1.
 * @param {Ink} ink @returns {Grey} */
function scaled({ levels, mask }) {
  const strokes = pick(levels.data, mask), full = nth(strokes, Math.floor((strokes.length * STROKE) / 100));
  const [left, top, right, bottom] = boxOf(mask, levels.width);
  const by = Math.max(right - left, bottom - top) / BOX;
  const [width, height] = [right - left, bottom - top].map((side) => Math.max(1, roundEven(side / by)));
  const part = crop(levels, left, top, right, bottom);
  part.data.forEach((level, i) => (part.data[i] = Math.min(level, full)));
  const small = resize(part, width, height, by > 1), most = Math.max(...small.data);
  return { ...small, data: small.data.map((level) => level / most) };
}

/** Put the digit, at most 20x20, into 28x28 with its centre of mass at the centre.
 * @param {Grey} digit */
function placed({ data, width, height }) {
  const pixels = new Uint8Array(SIDE * SIDE);
  const levels = Uint8Array.from(data, (level) => roundEven(f32(level * 255)));
  const [y, x] = centreOfMass(levels, width);
  const corner = (/** @type {number} */ mass, /** @type {number} */ side) =>
    Math.min(Math.max(roundEven(CENTRE - mass), 0), SIDE - side);
  const top = corner(y, height), left = corner(x, width);
  for (let row = 0; row < height; row++) {
    pixels.set(levels.subarray(row * width, (row + 1) * width), (top + row) * SIDE + left);
  }
  return pixels;
}
