// Finds the level of the paper in a grey picture. Twin of lenet_runtime/images/paper.py, equal to it
// to the bit; why things are so is said there.

import { ceilDiv, count, f32, fill, median, roundEven } from "./numbers.js";
import { medianFilter, resize } from "./pillow.js";
/** @typedef {import("./pillow.js").Floats} Floats */

/** The level of the paper: a quadratic surface, or none where a shadow lies across it.
 * @typedef {{coefficients: number[] | null, noise: number}} Paper */

const BORDER = 0.08, GRID = 64, SMOOTH = 0.75, SHADE = 32, STEPS = 16, RIDGE = 1e-4;
// The powers of x and of y in each of the surface's terms.
const POWERS_X = [0, 1, 0, 2, 1, 0], POWERS_Y = [0, 0, 1, 0, 1, 2];

/** @param {Floats} grey @returns {Paper} */
export function findPaper(grey) {
  const grid = makeGrid(grey.width, grey.height), view = viewed(grid, grey), { border } = grid;
  const level = median(view, border);
  let residual = view.map((value) => value - level);
  let paper = both(border, near(residual, border, 4));
  residual = minus(view, surface(fit(grid, view, paper), grid.ys, grid.xs));
  paper = near(residual, paper, 3);
  const coefficients = fit(grid, view, paper);
  residual = minus(view, surface(coefficients, grid.ys, grid.xs));
  const found = { coefficients, noise: spread(residual, paper) };
  if (count(both(border, paper)) >= SMOOTH * count(border) || hasCleanEdge(grey, found)) return found;
  const shade = viewed(grid, { ...grey, data: localMedian(grey) });
  return { coefficients: null, noise: spread(minus(view, shade), border) };
}

/** @param {Floats} grey @param {Paper} paper */
function hasCleanEdge(grey, paper) {
  const { data, width, height } = grey, level = levelOf(paper, grey);
  const most = f32(3 * Math.max(2, paper.noise));
  let clean = 0;
  const look = (/** @type {number} */ at) => {
    clean += Number(Math.abs(f32(data[at] - level[at])) <= most);
  };
  for (let x = 0; x < width; x++) [x, (height - 1) * width + x].forEach(look);
  for (let y = 0; y < height; y++) [y * width, (y + 1) * width - 1].forEach(look);
  return clean >= SMOOTH * 2 * (width + height);
}

/** The level at every pixel.
 * @param {Paper} paper @param {Floats} grey @returns {Float32Array} */
export function levelOf({ coefficients }, grey) {
  if (!coefficients) return localMedian(grey);
  return surface(coefficients, places(grey.height), places(grey.width));
}

/** Continue the paper that is inside over the rest of the picture.
 * @param {Floats} grey @param {Uint8Array} inside @returns {Floats} */
export function fillPaper(grey, inside) {
  const { data, width, height } = grey, pixels = count(inside);
  if (!pixels || pixels === inside.length) return grey;
  const eroded = erode(erode(inside, width, height, 1), width, height, width);
  const grid = makeGrid(width, height), view = viewed(grid, grey);
  const seen = viewed(grid, { data: eroded, width, height });
  if (!count(seen)) return grey;
  const middle = median(view, seen);
  const paper = both(seen, near(view.map((value) => value - middle), seen, 4));
  const level = levelOf({ coefficients: fit(grid, view, paper), noise: 0 }, grey);
  return { data: data.map((value, i) => (eroded[i] ? value : level[i])), width, height };
}

/** Take off three pixels along one side, around the picture's edge too, as `numpy.roll` does.
 * @param {Uint8Array} mask @param {number} width @param {number} height @param {number} step */
function erode(mask, width, height, step) {
  const side = step === 1 ? width : height;
  return fill(new Uint8Array(mask.length), (i) => {
    const at = step === 1 ? i % width : Math.floor(i / width), line = i - at * step;
    for (let by = -3; by <= 3; by++) {
      if (!mask[line + ((((at + by) % side) + side) % side) * step]) return 0;
    }
    return 1;
  });
}

/** Standard deviation, estimated from the median so that strokes do not count.
 * @param {Float32Array} residual @param {Uint8Array} [mask] */
export function spread(residual, mask) {
  const sizes = residual.filter((_, i) => !mask || mask[i]).map(Math.abs);
  return sizes.length ? 1.4826 * median(sizes) : 0;
}

/** Where a residual is no larger than the paper's spread times `width`.
 * @param {Float32Array} residual @param {Uint8Array} paper @param {number} width */
function near(residual, paper, width) {
  const most = f32(width * Math.max(2, spread(residual, paper)));
  return fill(new Uint8Array(residual.length), (i) => Number(Math.abs(residual[i]) <= most));
}

/** @param {Uint8Array} a @param {Uint8Array} b */
const both = (a, b) => a.map((value, i) => value & b[i]);

/** @param {Float32Array} a @param {Float32Array} b */
const minus = (a, b) => a.map((value, i) => value - b[i]);

/** Level of the paper by a median, which follows the edge of a shadow as no surface does.
 * @param {Floats} grey */
function localMedian({ data, width, height }) {
  const shrink = Math.max(1, Math.max(width, height) / SHADE);
  const [columns, rows] = [width, height].map((side) => Math.max(1, roundEven(side / shrink)));
  const bytes = fill(new Uint8Array(data.length), (i) => Math.min(Math.max(data[i], 0), 255));
  const small = resize({ data: bytes, width, height }, columns, rows, true);
  const window = Math.max(3, roundEven(0.4 * Math.min(columns, rows))) | 1;
  return Float32Array.from(resize(medianFilter(small, window), width, height, false).data);
}

/** Every so many pixels of a picture.
 * @typedef {{step: number, top: number, left: number, width: number, height: number,
 *   ys: Float32Array, xs: Float32Array, border: Uint8Array}} Grid
 * @param {number} width @param {number} height @returns {Grid} */
function makeGrid(width, height) {
  const step = ceilDiv(Math.max(width, height), GRID);
  const [top, left] = [height, width].map((side) => Math.min(step, side) >> 1);
  const every = (/** @type {number} */ start) => (/** @type {number} */ _, /** @type {number} */ i) =>
    i >= start && (i - start) % step === 0;
  const depth = Math.max(1, roundEven(BORDER * Math.min(height, width)));
  const mask = fill(new Uint8Array(width * height), (i) => {
    const x = i % width, y = (i - x) / width;
    return Number(x < depth || y < depth || x >= width - depth || y >= height - depth);
  });
  const ys = places(height).filter(every(top)), xs = places(width).filter(every(left));
  const grid = { step, top, left, width, height, ys, xs, border: mask };
  grid.border = viewed(grid, { data: mask, width, height });
  return grid;
}

/** The pixels of the grid.
 * @template {Uint8Array | Float32Array} T
 * @param {Grid} grid @param {import("./pillow.js").Plane<T>} picture @returns {T} */
function viewed({ step, top, left, ys, xs }, { data, width }) {
  const view = /** @type {T} */ (data.slice(0, ys.length * xs.length));
  for (let y = 0, i = 0; y < ys.length; y++) {
    for (let x = 0; x < xs.length; x++) view[i++] = data[(top + y * step) * width + left + x * step];
  }
  return view;
}

/** Coefficients of the surface nearest to the paper, by its terms.
 * @param {Grid} grid @param {Float32Array} view @param {Uint8Array} paper @returns {number[]} */
function fit(grid, view, paper) {
  const { width, height } = grid, known = count(paper);
  if (Math.min(height, width) < 8 || known < 32) {
    return [known ? median(view, paper) : median(view), 0, 0, 0, 0, 0];
  }
  const weights = Float64Array.from(paper);
  const levels = weights.map((weight, i) => weight * roundEven(view[i] * STEPS));
  const moments = momentsOf(grid, weights, 4), right = momentsOf(grid, levels, 2);
  const scaled = (/** @type {number[][]} */ sums, /** @type {number} */ y, /** @type {number} */ x, unit = 1) =>
    sums[y][x] / (unit * height ** y * width ** x);
  const rows = POWERS_X.map((x, i) => [
    ...POWERS_X.map((other, j) =>
      scaled(moments, POWERS_Y[i] + POWERS_Y[j], x + other) + (i && i === j ? RIDGE * known : 0)),
    scaled(right, POWERS_Y[i], x, STEPS),
  ]);
  return solve(rows);
}

/** Sums of values times powers of the grid's offsets from the middle, which are whole numbers.
 * @param {Grid} grid @param {Float64Array} values @param {number} most the highest power */
function momentsOf({ step, top, left, width, height, ys, xs }, values, most) {
  const moments = Array.from({ length: most + 1 }, () => new Array(most + 1).fill(0));
  for (let row = 0, i = 0; row < ys.length; row++) {
    const y = 2 * (top + row * step) + 1 - height, sums = new Array(most + 1).fill(0);
    for (let column = 0; column < xs.length; column++, i++) {
      if (!values[i]) continue;
      const x = 2 * (left + column * step) + 1 - width;
      for (let power = 0, value = values[i]; power <= most; power++, value *= x) sums[power] += value;
    }
    for (let power = 0, factor = 1; power <= most; power++, factor *= y) {
      for (let k = 0; k <= most; k++) moments[power][k] += factor * sums[k];
    }
  }
  return moments;
}

/** Gauss's elimination; each row ends with the right side.
 * @param {number[][]} rows */
function solve(rows) {
  const size = rows.length, solution = new Array(size).fill(0);
  rows.forEach((pivot, k) => {
    for (const row of rows.slice(k + 1)) {
      const share = row[k] / pivot[k];
      for (let j = k + 1; j <= size; j++) row[j] -= share * pivot[j];
    }
  });
  for (let k = size - 1; k >= 0; k--) {
    let value = rows[k][size];
    for (let j = k + 1; j < size; j++) value -= rows[k][j] * solution[j];
    solution[k] = value / rows[k][k];
  }
  return solution;
}

/** The surface at the rows `ys` and columns `xs`, from -1 to 1 at the picture's edges.
 * @param {number[]} coefficients @param {Float32Array} ys @param {Float32Array} xs */
export function surface(coefficients, ys, xs) {
  const [c, cx, cy, cxx, cxy, cyy] = coefficients.map(f32);
  const level = new Float32Array(ys.length * xs.length);
  const bends = xs.map((x) => cxx * f32(x * x));
  ys.forEach((y, row) => {
    const slope = f32(cx + f32(cxy * y)), base = f32(f32(c + f32(cy * y)) + f32(cyy * f32(y * y)));
    for (let x = 0, at = row * xs.length; x < xs.length; x++, at++) {
      level[at] = f32(f32(slope * xs[x]) + bends[x]) + base;
    }
  });
  return level;
}

/** Middles of a side's pixels, from -1 to 1.
 * @param {number} side */
function places(side) {
  return fill(new Float32Array(side), (i) => (2 * i + 1 - side) / side);
}
