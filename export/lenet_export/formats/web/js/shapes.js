// Finds the page that surrounds the ink: a sheet, a cell of a form, a circle. Twin of
// lenet_runtime/images/shapes.py; why things are so is said there.

import { ceilDiv, count, fill, nth, roundEven } from "./numbers.js";
import { findRegions } from "./regions.js";
/** @typedef {import("./pillow.js").Bytes} Bytes */
/** @typedef {import("./regions.js").Regions} Regions */

const SIGNIFICANT = 0.15, RECTANGLE = 0.85, RING = 0.4, MARGIN = 0.08, BLOT = 0.25;
const UNIT = 2 ** 14;
const TURNS = Array.from({ length: 30 }, (_, i) => (i * Math.PI) / 60).map((angle) => [
  Math.round(UNIT * Math.cos(angle)),
  Math.round(UNIT * Math.sin(angle)),
]);

/** What the ink lies on: the page's pixels (null where it is the picture), how many pages of this
 * kind there are, and the paper's level where the ink has no margin (else null).
 * @typedef {{inside: Uint8Array | null, cells: number, crop: number | null}} Page */

/** @param {Bytes} grey @param {number} threshold @returns {Page} */
export function findPage({ data, width, height }, threshold) {
  const light = fill(new Uint8Array(data.length), (i) => Number(data[i] > threshold));
  const dark = light.map((value) => 1 - value), share = count(light) / light.length;
  const nest = makeNest(findRegions(share >= 0.5 ? dark : light, width, height));
  let page = 0, cells = 1;
  for (let inner = pagesIn(nest, page); inner.length; inner = pagesIn(nest, page)) {
    page = inner.reduce((best, region) => (nest.filled[region] > nest.filled[best] ? region : best));
    cells = inner.length;
  }
  if (page) return { inside: descendants(nest, page), cells, crop: null };
  if (!lacksAMargin(nest)) return { inside: null, cells: 1, crop: null };
  const last = light.length - 1;
  const corners = (light[0] + light[width - 1] + light[last - width + 1] + light[last]) / 4;
  const [paper, other] = share + corners >= 1 ? [light, dark] : [dark, light];
  const side = Math.max(2, ceilDiv(Math.max(width, height), 3));
  if (hasSquare(other, width, height, side, 0.9)) return { inside: null, cells: 1, crop: null };
  const levels = Float32Array.from(data.filter((_, i) => paper[i]));
  const middle = levels.length >> 1, upper = nth(levels, middle);
  const lower = levels.length % 2 ? upper : nth(levels, middle - 1);
  return { inside: null, cells: 1, crop: (lower + upper) / 2 };
}

/** Whether the mask covers `share` of some square of `side` pixels.
 * @param {Uint8Array} mask @param {number} width @param {number} height @param {number} side
 * @param {number} [share] */
export function hasSquare(mask, width, height, side, share = 1) {
  if (Math.min(width, height) < side) return false;
  const stride = width + 1, sums = new Int32Array(stride * (height + 1)), least = share * side * side;
  for (let y = 1; y <= height; y++) {
    for (let x = 1, row = 0, at = y * stride + 1; x <= width; x++, at++) {
      row += mask[(y - 1) * width + x - 1];
      sums[at] = sums[at - stride] + row;
      const above = at - side * stride;
      if (x >= side && y >= side && sums[at] - sums[at - side] - sums[above] + sums[above - side] >= least) {
        return true;
      }
    }
  }
  return false;
}

/** Regions, how large each is with all that lies inside it, and what lies directly inside.
 * @typedef {{regions: Regions, filled: Float64Array, children: number[][]}} Nest
 * @param {Regions} regions @returns {Nest} */
function makeNest(regions) {
  const { areas, parents, boxes } = regions, filled = areas.slice();
  /** @type {number[][]} */
  const children = boxes.map(() => []);
  for (let region = regions.count - 1; region > 0; region--) {
    filled[parents[region]] += filled[region];  // a region's own are numbered after it
    children[parents[region]].unshift(region);
  }
  filled[0] = boxes[0][2] * boxes[0][3];
  return { regions, filled, children };
}

/** @param {Nest} nest @param {number} region @returns {[number, number]} height and width */
function extent({ regions }, region) {
  const [top, left, bottom, right] = regions.boxes[region];
  return [bottom - top, right - left];
}

/** @param {Nest} nest @param {number[]} regions */
const filledBy = ({ filled }, regions) => regions.reduce((sum, region) => sum + filled[region], 0);

/** Regions directly inside `region` that are large enough to be a digit on a page.
 * @param {Nest} nest @param {number} region */
function writtenIn(nest, region) {
  const [height, width] = extent(nest, region), side = Math.sqrt(height * width);
  return nest.children[region].filter((child) =>
    Math.max(...extent(nest, child)) >= SIGNIFICANT * side);
}

/** Pages that lie directly inside `region`: what a line encloses, or a sheet.
 * @param {Nest} nest @param {number} region */
function pagesIn(nest, region) {
  return writtenIn(nest, region).flatMap((child) => {
    const inside = nest.children[child];
    if (filledBy(nest, inside) > RING * nest.filled[child]) {
      return inside.filter((inner) => writtenIn(nest, inner).length);
    }
    return isSheet(nest, child) ? [child] : [];
  });
}

/** @param {Nest} nest @param {number} region */
function isSheet(nest, region) {
  const written = writtenIn(nest, region), { filled, regions } = nest;
  if (!written.length || filledBy(nest, written) > BLOT * filled[region]) return false;
  const [, , height, width] = regions.boxes[0], pixels = regions.paint((other) => other === region);
  /** @type {[number, number][]} */
  const points = [];
  for (let y = 0; y < height; y++) {
    const row = pixels.subarray(y * width, (y + 1) * width), first = row.indexOf(1);
    if (first >= 0) points.push([first, y], [row.lastIndexOf(1) + 1, y]);
  }
  const areas = TURNS.map(([cos, sin]) => {
    const along = points.map(([x, y]) => x * cos + y * sin);
    const across = points.map(([x, y]) => y * cos - x * sin);
    return range(along) * (range(across) + UNIT);
  });
  return filled[region] * UNIT ** 2 >= RECTANGLE * Math.min(...areas);
}

/** @param {number[]} values */
const range = (values) => Math.max(...values) - Math.min(...values);

/** Whether all large shapes touch the border, and opposite sides of it are touched.
 * @param {Nest} nest */
function lacksAMargin(nest) {
  const written = writtenIn(nest, 0), [height, width] = extent(nest, 0);
  const most = Math.max(1, roundEven(MARGIN * Math.max(height, width)));
  const touched = [false, false, false, false];
  const all = written.every((region) => {
    const [top, left, bottom, right] = nest.regions.boxes[region];
    const sides = [top, left, height - bottom, width - right].map((gap) => gap < most);
    sides.forEach((side, i) => (touched[i] ||= side));
    return sides.some(Boolean);
  });
  return written.length > 0 && all && ((touched[0] && touched[2]) || (touched[1] && touched[3]));
}

/** Pixels of a region and of all regions inside it.
 * @param {Nest} nest @param {number} region */
function descendants({ regions }, region) {
  const isMember = new Uint8Array(regions.count);
  for (let i = region; i < regions.count; i++) isMember[i] = Number(i === region || isMember[regions.parents[i]]);
  return regions.paint((i) => isMember[i]);
}
