// Turns a canvas's pixels into 8-bit grey, averaged to at most 1280 pixels a side. Twin of
// lenet_runtime/images/grey.py for pictures of mode RGBA.

import { reduceBy } from "./pillow.js";
/** @typedef {import("./numbers.js").Plane} Plane */
/** Pixels of red, green, blue and alpha, row by row.
 * @typedef {{data: Uint8Array | Uint8ClampedArray, width: number, height: number}} Colours */

const MAX_SIDE = 1280;

/** Grey pictures to look for a digit in, one after the other: on white paper, and where that shows
 * none on black; the other way round where light ink lies on nothing.
 * @param {Colours} colours @returns {Generator<Plane>} */
export function* toGrey({ data, width, height }) {
  const papers = isOpaque(data) ? [255] : isLightOnNothing(data) ? [0, 255] : [255, 0];
  for (const paper of papers) {
    const grey = new Uint8Array(width * height);
    for (let i = 0, at = 0; i < grey.length; i++, at += 4) {
      const alpha = data[at + 3];
      let red = data[at], green = data[at + 1], blue = data[at + 2];
      if (alpha < 255) [red, green, blue] = [red, green, blue].map((level) => over(level, alpha, paper));
      grey[i] = luma(red, green, blue);
    }
    yield { data: grey, width, height };
  }
}

/** @param {number} red @param {number} green @param {number} blue */
const luma = (red, green, blue) => (red * 19595 + green * 38470 + blue * 7471 + 0x8000) >> 16;

/** A level on opaque paper, as libImaging's AlphaComposite.c rounds it.
 * @param {number} level @param {number} alpha @param {number} paper */
function over(level, alpha, paper) {
  const sum = (level * alpha + paper * (255 - alpha) + 128) * 128;
  return ((sum >> 8) + sum) >> 15;
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
  for (let i = 0; i < data.length; i += 4) {
    alphas[data[i + 3]]++;
    if (data[i + 3] >= 128) visible[luma(data[i], data[i + 1], data[i + 2])]++;
  }
  return quantile(alphas, 0.5) < 128 && quantile(visible, 0.75) > 128;
}

/** A quantile of bytes whose numbers are counted, between two values in proportion; of none it is 0.
 * @param {Int32Array} counts @param {number} share */
function quantile(counts, share) {
  const size = counts.reduce((a, b) => a + b), place = share * Math.max(0, size - 1), low = Math.floor(place);
  const at = (/** @type {number} */ rank) => {
    let level = 0;
    for (let below = counts[0]; size && below <= rank; ) below += counts[++level];
    return level;
  };
  return at(low) + (at(Math.ceil(place)) - at(low)) * (place - low);
}

/** Average a picture to at most 1280 pixels a side; transparent pixels count less.
 * @param {Colours} colours @returns {Colours} */
export function shrink(colours) {
  const { data, width, height } = colours, factor = Math.ceil(Math.max(width, height) / MAX_SIDE);
  if (factor <= 1) return colours;
  const small = reduceBy(width, height, factor, 4, (sums, y) => {
    for (let i = 0, at = 4 * y * width, end = at + 4 * width; at < end; i += 4) {
      let red = 0, green = 0, blue = 0, alphas = 0;
      for (const stop = Math.min(end, at + 4 * factor); at < stop; at += 4) {
        const alpha = data[at + 3], isOpaque = alpha === 255;
        red += isOpaque ? data[at] : times(data[at], alpha);
        green += isOpaque ? data[at + 1] : times(data[at + 1], alpha);
        blue += isOpaque ? data[at + 2] : times(data[at + 2], alpha);
        alphas += alpha;
      }
      sums[i] += red;
      sums[i + 1] += green;
      sums[i + 2] += blue;
      sums[i + 3] += alphas;
    }
  });
  for (let i = 0; i < small.data.length; i++) {
    const alpha = small.data[i | 3];
    if ((i & 3) < 3 && alpha) small.data[i] = Math.min(255, Math.floor((255 * small.data[i]) / alpha));
  }
  return small;
}

/** A colour times alpha, rounded.
 * @param {number} level @param {number} alpha */
function times(level, alpha) {
  const product = level * alpha + 128;
  return ((product >> 8) + product) >> 8;
}
