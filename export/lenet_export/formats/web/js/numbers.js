// Arithmetic as Python and NumPy have it, which the pictures' modules share.
//
// Numbers of JavaScript are float64. Where NumPy's are float32, each result is rounded to float32
// after every single operation, which gives NumPy's own bits.

/** What was given cannot be read; the message says where, what was expected, and what to do. */
export class InputError extends Error {
  name = "InputError";
}

export const f32 = Math.fround;

/** The nearest whole number, and of two the even one: Python's `round`, NumPy's `rint`.
 * @param {number} x */
export function roundEven(x) {
  const near = Math.round(x);
  return near - x === 0.5 && near % 2 !== 0 ? near - 1 : near;
}

/** @param {number} a @param {number} b */
export const ceilDiv = (a, b) => Math.ceil(a / b);

/** The value at place `k` of `values` in ascending order; `values` are moved (Hoare 1961).
 * @param {Float32Array} values @param {number} k */
export function nth(values, k) {
  for (let left = 0, right = values.length - 1; left < right; ) {
    const pivot = values[(left + right) >> 1];
    let i = left, j = right;
    while (i <= j) {
      while (values[i] < pivot) i++;
      while (values[j] > pivot) j--;
      if (i <= j) {
        const value = values[i];
        values[i++] = values[j];
        values[j--] = value;
      }
    }
    if (k <= j) right = j;
    else if (k >= i) left = i;
    else break;
  }
  return values[k];
}

/** The median of the values that a mask admits, of an even number of values the upper one.
 * @param {Float32Array} values @param {Uint8Array} [mask] */
export function median(values, mask) {
  const chosen = mask ? values.filter((_, i) => mask[i]) : values.slice();
  return nth(chosen, chosen.length >> 1);
}

/** Number of ones in a mask.
 * @param {Uint8Array} mask */
export function count(mask) {
  let sum = 0;
  for (let i = 0; i < mask.length; i++) sum += mask[i];
  return sum;
}

/** Make an array of `length` from a function of the index, by type: `fill(new Uint8Array(n), f)`.
 * @template {Uint8Array | Float32Array} T
 * @param {T} array @param {(i: number) => number} value @returns {T} */
export function fill(array, value) {
  for (let i = 0; i < array.length; i++) array[i] = value(i);
  return array;
}
