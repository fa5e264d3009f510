// Arithmetic as Python and NumPy have it, which the pictures' modules share. JavaScript's numbers are
// float64; where NumPy's are float32, each result is rounded before the next operation.

/** A picture of one channel, row by row.
 * @template {Uint8Array | Float32Array} [T=Uint8Array]
 * @typedef {{data: T, width: number, height: number}} Plane */

/** What was given cannot be read; the message says where, what was expected, and what to do. */
export class InputError extends Error {
  name = "InputError";
}

export const f32 = Math.fround;

/** The nearest whole number, and of two the even one: Python's `round`, NumPy's `rint`.
 * @param {number} x */
export function roundEven(x) {
  const near = Math.round(x);
  return near - x === 0.5 && near % 2 ? near - 1 : near;
}

/** The value at place `k` of `values` in ascending order; `values` are moved (Hoare 1961).
 * @param {Float32Array} values @param {number} k */
export function nth(values, k) {
  for (let left = 0, right = values.length - 1; left < right; ) {
    const pivot = values[(left + right) >> 1];
    let i = left, j = right;
    while (i <= j) {
      while (values[i] < pivot) i++;
      while (values[j] > pivot) j--;
      if (i > j) break;
      const value = values[i];
      values[i++] = values[j];
      values[j--] = value;
    }
    if (k <= j) right = j;
    else if (k >= i) left = i;
    else break;
  }
  return values[k];
}

/** The values that a mask admits.
 * @param {Float32Array} values @param {Uint8Array} mask */
export function pick(values, mask) {
  const chosen = new Float32Array(values.length);
  let size = 0;
  for (let i = 0; i < values.length; i++) if (mask[i]) chosen[size++] = values[i];
  return chosen.subarray(0, size);
}

/** The median, of an even number of values the upper one; `values` are moved.
 * @param {Float32Array} values */
export const median = (values) => nth(values, values.length >> 1);

/** What a mask leaves out.
 * @param {Uint8Array} mask */
export function not(mask) {
  const rest = new Uint8Array(mask.length);
  for (let i = 0; i < rest.length; i++) rest[i] = 1 - mask[i];
  return rest;
}

/** Number of ones in a mask.
 * @param {Uint8Array} mask */
export function count(mask) {
  let sum = 0;
  for (let i = 0; i < mask.length; i++) sum += mask[i];
  return sum;
}

/** A mask of the values that are above a threshold, in float32.
 * @param {Uint8Array | Float32Array} values @param {number} threshold */
export function above(values, threshold) {
  const mask = new Uint8Array(values.length), least = f32(threshold);
  for (let i = 0; i < mask.length; i++) mask[i] = values[i] > least ? 1 : 0;
  return mask;
}

/** Every so many pixels, at most `side` a side.
 * @param {Plane<Uint8Array | Float32Array>} picture @param {number} side */
export function sample({ data, width, height }, side) {
  const step = Math.ceil(Math.max(width, height) / side);
  const chosen = new Float32Array(Math.ceil(width / step) * Math.ceil(height / step));
  for (let y = 0, i = 0; y < height; y += step) {
    for (let x = 0; x < width; x += step) chosen[i++] = data[y * width + x];
  }
  return chosen;
}

/** The bounding box of a mask: left, top, right and bottom, the last two exclusive.
 * @param {Uint8Array} mask @param {number} width */
export function boxOf(mask, width) {
  let left = width, right = 0, top = 0, bottom = 0;
  for (let y = 0, at = 0; at < mask.length; y++) {
    for (let x = 0; x < width; x++) {
      if (!mask[at++]) continue;
      if (!bottom) top = y;
      bottom = y + 1;
      if (x < left) left = x;
      if (x >= right) right = x + 1;
    }
  }
  return [left, top, right, bottom];
}
