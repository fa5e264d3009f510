// Finds the page that surrounds the ink: a sheet, a cell of a form, a circle. Twin of
// lenet_runtime/images/shapes.py, which says why.

import { above, count, not, nth, pick, roundEven } from "./numbers.js";
import { findRegions } from "./regions.js";
/** @typedef {import("./numbers.js").Plane} Plane */
/** @typedef {import("./regions.js").Regions} Regions */

const SIGNIFICANT = 0.15, RECTANGLE = 0.85, RING = 0.4, MARGIN = 0.08, BLOT = 0.25, UNIT = 2 ** 14;
const TURNS = Array.from({ length: 30 }, (_, i) => [Math.cos, Math.sin].map((part) =>
  Math.round(UNIT * part((i * Math.PI) / 60))));

/** What the ink lies on: the page's pixels (null where it is the picture), how many pages of this
 * kind there are, and the paper's level where the ink has no margin (else null).
 * @typedef {{inside: Uint8Array | null, cells: number, crop: number | null}} Page */

/** @param {Plane} grey @param {number} threshold @returns {Page} */
export function findPage({ data, width, height }, threshold) {
  const light = above(data, threshold), dark = not(light);
  const share = count(light) / light.length;
  const nest = makeNest(findRegions(share >= 0.5 ? dark : light, width, height));
  let page = 0, cells = 1;
  for (let inner = pagesIn(nest, 0); inner.length; inner = pagesIn(nest, page)) {
    page = inner.reduce((best, region) => (nest.filled[region] > nest.filled[best] ? region : best));
    cells = inner.length;
  }
  if (page) return { inside: descendants(nest, page), cells, crop: null };
  const whole = { inside: null, cells: 1, crop: null };
  if (!lacksAMargin(nest)) return whole;
  const last = light.length - 1;
  const corners = (light[0] + light[width - 1] + light[last - width + 1] + light[last]) / 4;
  const [paper, ink] = share + corners >= 1 ? [light, dark] : [dark, light];
  const side = Math.max(2, Math.ceil(Math.max(width, height) / 3));
  if (hasSquare(ink, width, height, side, 0.9)) return whole;  // a shadow or a table
  const levels = pick(new Float32Array(data), paper), middle = levels.length / 2;
  return { ...whole, crop: (nth(levels, Math.ceil(middle) - 1) + nth(levels, Math.floor(middle))) / 2 };
}

/** Whether the mask covers `share` of some square of `side` pixels.
 * @param {Uint8Array} mask @param {number} width @param {number} height @param {number} side
 * @param {number} [share] */
export function hasSquare(mask, width, height, side, share = 1) {
  const stride = width + 1, sums = new Int32Array(stride * (height + 1)), least = share * side * side;
  for (let y = 1; y <= height; y++) {
    for (let x = 1, row = 0; x <= width; x++) {
      const at = y * stride + x, over = at - side * stride;
      row += mask[(y - 1) * width + x - 1];
      sums[at] = sums[at - stride] + row;
      if (Math.min(x, y) < side) continue;
      if (sums[at] - sums[at - side] - sums[over] + sums[over - side] >= least) return true;
    }
  }
  return false;
}

/** Regions, the size of each with all that lies inside it, and the regions directly inside each.
 * @typedef {Regions & {filled: number[], children: number[][]}} Nest
 * @param {Regions} regions @returns {Nest} */
function makeNest(regions) {
  const { areas, parents, boxes } = regions, filled = areas.slice();
  const children = boxes.map(() => /** @type {number[]} */ ([]));
  for (let region = 1; region < filled.length; region++) children[parents[region]].push(region);
  // What lies inside a region is numbered after it.
  for (let region = filled.length - 1; region > 0; region--) filled[parents[region]] += filled[region];
  filled[0] = boxes[0][2] * boxes[0][3];
  return { ...regions, filled, children };
}

/** @param {number[]} box @returns {[number, number]} height and width */
const extent = ([top, left, bottom, right]) => [bottom - top, right - left];

/** @param {Nest} nest @param {number[]} regions */
const filledBy = ({ filled }, regions) => regions.reduce((sum, region) => sum + filled[region], 0);

/** Regions directly inside `region` that are large enough to be a digit on a page.
 * @param {Nest} nest @param {number} region */
function writtenIn({ boxes, children }, region) {
  const [height, width] = extent(boxes[region]), least = SIGNIFICANT * Math.sqrt(height * width);
  return children[region].filter((child) => Math.max(...extent(boxes[child])) >= least);
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
  const written = writtenIn(nest, region), { filled, boxes } = nest, [, , height, width] = boxes[0];
  if (!written.length || filledBy(nest, written) > BLOT * filled[region]) return false;
  const pixels = nest.paint(boxes.map((_, i) => i === region)), /** @type {number[][]} */ points = [];
  for (let y = 0; y < height; y++) {
    const row = pixels.subarray(y * width, (y + 1) * width), first = row.indexOf(1);
    if (first >= 0) points.push([first, y], [row.lastIndexOf(1) + 1, y]);
  }
  const boxesAround = TURNS.map(([cos, sin]) =>
    range(points.map(([x, y]) => x * cos + y * sin)) *
    (range(points.map(([x, y]) => y * cos - x * sin)) + UNIT));
  return filled[region] * UNIT ** 2 >= RECTANGLE * Math.min(...boxesAround);
}

/** @param {number[]} values */
const range = (values) => Math.max(...values) - Math.min(...values);

/** Whether all large shapes touch the border, and opposite sides of it are touched.
 * @param {Nest} nest */
function lacksAMargin(nest) {
  const [height, width] = extent(nest.boxes[0]);
  const most = Math.max(1, roundEven(MARGIN * Math.max(height, width)));
  const touched = writtenIn(nest, 0).map((region) => {
    const [top, left, bottom, right] = nest.boxes[region];
    return [top, left, height - bottom, width - right].map((gap) => gap < most);
  });
  const [top, left, bottom, right] = [0, 1, 2, 3].map((i) => touched.some((sides) => sides[i]));
  return touched.every((sides) => sides.includes(true)) && ((top && bottom) || (left && right));
}

/** Pixels of a region and of all regions inside it.
 * @param {Nest} nest @param {number} region */
function descendants({ parents, paint }, region) {
  const /** @type {boolean[]} */ isMember = [];
  parents.forEach((parent, i) => isMember.push(i === region || (i > region && isMember[parent])));
  return paint(isMember);
}
