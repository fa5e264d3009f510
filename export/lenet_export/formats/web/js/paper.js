// Finds the level of the paper in a grey picture. Twin of lenet_runtime/images/paper.py, which says why.

import { above, count, f32, median, not, pick, roundEven } from "./numbers.js";
import { medianFilter, resize } from "./pillow.js";
/** @typedef {import("./numbers.js").Plane<Float32Array>} Grey */
/** The paper's level: a quadratic surface's coefficients, or null where a shadow lies across it.
 * @typedef {{coefficients: number[] | null, noise: number}} Paper */

const BORDER = 0.08, GRID = 64, SMOOTH = 0.75, SHADE = 32, STEPS = 9, RIDGE = 1e-4;
// The powers of x and of y in each of the surface's terms.
const POWERS = [[0, 0], [1, 0], [0, 1], [2, 0], [1, 1], [0, 2]];

/** Fit the paper from the border inwards.
 * @param {Grey} grey @returns {Paper} */
export function findPaper(grey) {
  const grid = makeGrid(grey), { border } = grid, view = viewed(grid, grey.data);
  let paper = atMiddle(view, border), coefficients = fit(grid, view, paper);
  paper = near(minus(view, surface(coefficients, grid.ys, grid.xs)), paper, 3);
  coefficients = fit(grid, view, paper);
  const noise = spread(pick(minus(view, surface(coefficients, grid.ys, grid.xs)), paper));
  const smooth = count(and(paper, border)) >= SMOOTH * count(border);
  if (smooth || hasCleanEdge(grey, minus(grey.data, levelOf(coefficients, grey)), noise)) {
    return { coefficients, noise };
  }
  const rest = minus(view, viewed(grid, localMedian(grey)));
  return { coefficients: null, noise: spread(pick(rest, border)) };
}

/** Whether most of the very edge is paper.
 * @param {Grey} grey @param {Float32Array} rest @param {number} noise */
function hasCleanEdge({ width, height }, rest, noise) {
  const most = f32(3 * Math.max(2, noise)), edge = [], last = rest.length - width;
  for (let x = 0; x < width; x++) edge.push(rest[x], rest[last + x]);
  for (let y = 0; y < rest.length; y += width) edge.push(rest[y], rest[y + width - 1]);
  return edge.filter((value) => Math.abs(value) <= most).length >= SMOOTH * edge.length;
}

/** The level at every pixel.
 * @param {number[] | null} coefficients @param {Grey} grey */
export function levelOf(coefficients, grey) {
  if (!coefficients) return localMedian(grey);
  const [ys, xs] = [grey.height, grey.width].map((side) =>
    Float32Array.from({ length: side }, (_, i) => (2 * i + 1 - side) / side));
  return surface(coefficients, ys, xs);
}

/** Continue the paper that is inside over the rest of the picture.
 * @param {Grey} grey @param {Uint8Array} inside @returns {Grey} */
export function fillPaper(grey, inside) {
  const { data, width, height } = grey, size = count(inside);
  if (!size || size === inside.length) return grey;
  const kept = erode(erode(inside, width, 1), height, width);
  const grid = makeGrid(grey), view = viewed(grid, data), seen = viewed(grid, kept);
  if (!count(seen)) return grey;
  const level = levelOf(fit(grid, view, atMiddle(view, seen)), grey);
  return { data: data.map((value, i) => (kept[i] ? value : level[i])), width, height };
}

/** Take off three pixels along one side, around the picture's edge too, as `numpy.roll` does.
 * @param {Uint8Array} mask @param {number} side @param {number} step between pixels of the side */
function erode(mask, side, step) {
  const moved = [-3, -2, -1, 1, 2, 3].map((by) => ((by % side) + side) % side);
  return mask.map((value, i) => {
    const at = Math.floor(i / step) % side, line = i - at * step;
    return value && Number(moved.every((by) => mask[line + ((at + by) % side) * step]));
  });
}

/** Standard deviation, estimated from the median so that strokes do not count.
 * @param {Float32Array} residual */
export function spread(residual) {
  return residual.length ? 1.4826 * median(residual.map(Math.abs)) : 0;
}

/** Where a residual is no larger than the paper's spread times `width`.
 * @param {Float32Array} residual @param {Uint8Array} paper @param {number} width */
function near(residual, paper, width) {
  const most = width * Math.max(2, spread(pick(residual, paper)));
  return not(above(residual.map(Math.abs), most));
}

/** Where, of what is seen, the level is near its median.
 * @param {Float32Array} view @param {Uint8Array} seen */
function atMiddle(view, seen) {
  const middle = median(pick(view, seen));
  return and(seen, near(view.map((level) => level - middle), seen, 4));
}

/** @param {Uint8Array} a @param {Uint8Array} b */
const and = (a, b) => a.map((value, i) => value & b[i]);

/** @param {Float32Array} values @param {Float32Array} others */
export function minus(values, others) {
  const rest = values.slice();
  for (let i = 0; i < rest.length; i++) rest[i] -= others[i];
  return rest;
}

/** Level of the paper by a median, which follows the edge of a shadow as no surface does.
 * @param {Grey} grey */
function localMedian({ data, width, height }) {
  const shrink = Math.max(1, Math.max(width, height) / SHADE);
  const [columns, rows] = [width, height].map((side) => Math.max(1, roundEven(side / shrink)));
  const bytes = Uint8Array.from(data, (level) => Math.min(Math.max(level, 0), 255));
  const small = resize({ data: bytes, width, height }, columns, rows, true);
  const window = Math.max(3, roundEven(0.4 * Math.min(columns, rows))) | 1;
  return new Float32Array(resize(medianFilter(small, window), width, height, false).data);
}

/** Every so many rows and columns of a picture, where they are from -1 to 1 at the picture's edges, and
 * which of their pixels are at its border.
 * @typedef {{rows: number[], columns: number[], ys: Float32Array, xs: Float32Array, width: number,
 *   height: number, border: Uint8Array}} Grid
 * @param {Grey} grey @returns {Grid} */
function makeGrid({ width, height }) {
  const step = Math.ceil(Math.max(width, height) / GRID);
  const [rows, columns] = [height, width].map((side) => {
    const start = Math.min(step, side) >> 1;
    return Array.from({ length: Math.ceil((side - start) / step) }, (_, i) => start + i * step);
  });
  const depth = Math.max(1 + Math.min(rows[0], columns[0]), roundEven(BORDER * Math.min(height, width)));
  const border = new Uint8Array(rows.length * columns.length).fill(1);
  const inner = columns.map((x) => Number(x < depth || x >= width - depth));
  rows.forEach((y, i) => y >= depth && y < height - depth && border.set(inner, i * columns.length));
  const ys = Float32Array.from(rows, (y) => (2 * y + 1 - height) / height);
  const xs = Float32Array.from(columns, (x) => (2 * x + 1 - width) / width);
  return { rows, columns, ys, xs, width, height, border };
}

/** The pixels of the grid.
 * @template {Uint8Array | Float32Array} T @param {Grid} grid @param {T} data @returns {T} */
function viewed({ rows, columns, width }, data) {
  const view = /** @type {T} */ (data.slice(0, rows.length * columns.length));
  let i = 0;
  for (const y of rows) for (const x of columns) view[i++] = data[y * width + x];
  return view;
}

/** Coefficients of the surface nearest to the paper, by its terms.
 * @param {Grid} grid @param {Float32Array} view @param {Uint8Array} paper */
function fit(grid, view, paper) {
  const { width, height } = grid, known = count(paper);
  if (Math.min(height, width) < 8 || known < 32) {
    return [median(known ? pick(view, paper) : view.slice()), 0, 0, 0, 0, 0];
  }
  const levels = view.map((level, i) => paper[i] * roundEven(f32(level * STEPS)));
  const moments = momentsOf(grid, paper), right = momentsOf(grid, levels);
  const high = powersOf(height), wide = powersOf(width);
  return solve(POWERS.map(([x, y], i) => [
    ...POWERS.map(([x2, y2], j) => {
      const moment = moments[y + y2][x + x2] / (high[y + y2] * wide[x + x2]);
      return i && i === j ? moment + RIDGE * known : moment;
    }),
    right[y][x] / (STEPS * high[y] * wide[x]),
  ]));
}

/** @param {number} x @returns {number[]} powers 0 to 4 of x, exact where x is a whole number */
const powersOf = (x) => [1, x, x * x, x * x * x, x * x * x * x];

/** Sums of values times powers of y and x, which are whole numbers: half pixels from the middle.
 * @param {Grid} grid @param {Uint8Array | Float32Array} values */
function momentsOf({ rows, columns, width, height }, values) {
  const moments = powersOf(0).map(() => [0, 0, 0, 0, 0]);
  const powers = columns.map((column) => powersOf(2 * column + 1 - width));
  let i = 0;
  for (const row of rows) {
    const sums = [0, 0, 0, 0, 0];
    for (const xs of powers) {
      const value = values[i++];
      for (let k = 0; k < 5; k++) sums[k] += value * xs[k];
    }
    powersOf(2 * row + 1 - height).forEach((y, k) => sums.forEach((sum, j) => (moments[k][j] += y * sum)));
  }
  return moments;
}

/** Gauss's elimination; each row ends with its right side.
 * @param {number[][]} rows */
function solve(rows) {
  const size = rows.length, solution = rows.map(() => 0);
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
  const [c, cx, cy, cxx, cxy, cyy] = coefficients.map(f32), bends = xs.map((x) => cxx * f32(x * x));
  const level = new Float32Array(ys.length * xs.length);
  let at = 0;
  for (const y of ys) {
    const slope = f32(cx + f32(cxy * y)), base = f32(f32(c + f32(cy * y)) + f32(cyy * f32(y * y)));
    for (let x = 0; x < xs.length; x++) level[at++] = f32(f32(slope * xs[x]) + bends[x]) + base;
  }
  return level;
}
