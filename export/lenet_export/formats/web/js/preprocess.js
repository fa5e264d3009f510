// From a canvas's pixels to the network's input. Twin of lenet_runtime/images/preprocess.py for one
// picture of one digit: equal to Python's to the bit, which tests hold on thousands of pictures.

import { InputError, f32 } from "./numbers.js";
import { SIDE, mnistStyle } from "./pictures.js";
import { resize } from "./pillow.js";

/** How pixels become the network's input, as an artifact's manifest records it. The defaults are
 * MNIST's. A pixel's value in [0, 1] loses `mean` and is divided by `std`; `padding` black pixels
 * stand on every side of the digit in the `height` x `width` of the network's images.
 * @typedef {{mean?: number, std?: number, padding?: number, height?: number, width?: number}}
 *   Preprocessing */

/** The network's input, row by row; the digit as in MNIST, 28x28, white on black; and in words what
 * was done and what is doubtful: `notes` are all, `warnings` are the doubts.
 * @typedef {{image: Float32Array, digit: Uint8Array, inverted: boolean, notes: string[],
 *   warnings: string[]}} Input */

/** Turn the picture of one digit into the network's input.
 * @param {Uint8ClampedArray | Uint8Array} rgba pixels as a canvas has them, not premultiplied
 * @param {number} width in pixels
 * @param {number} height in pixels
 * @param {Preprocessing} [options]
 * @returns {Input}
 * @throws {InputError} the picture is blank or larger than 2**26 pixels, or `rgba` is no
 *   `width * height` pixels */
export function fromRGBA(rgba, width, height, options = {}) {
  const { pixels, inverted, steps, warnings } = mnistStyle({ data: rgba, width, height });
  const image = toImage(pixels, options);
  return { image, digit: pixels, inverted, notes: [...steps, ...warnings], warnings };
}

/** Turn 28x28 pixels, white on black, into the network's input.
 * @param {Uint8Array} digit @param {Preprocessing} [options] @returns {Float32Array} */
export function toImage(digit, options = {}) {
  const { mean = 0.1307, std = 0.3081, padding = 2, height = 32, width = 32 } = options;
  const rows = height - 2 * padding, columns = width - 2 * padding;
  if (digit.length !== SIDE * SIDE || !(std > 0) || !(padding >= 0 && rows > 0 && columns > 0)) {
    throw new InputError(
      `expected ${SIDE}x${SIDE} pixels, a std above 0, and padding that leaves something of ` +
      `${height}x${width}, found ${digit.length} pixels, std ${std}, padding ${padding}`);
  }
  const inner = resize({ data: digit, width: SIDE, height: SIDE }, columns, rows, false).data;
  const table = new Float32Array(256).map((_, level) => f32(f32(level / 255) - f32(mean)) / f32(std));
  const image = new Float32Array(height * width).fill(table[0]);
  for (let i = 0; i < inner.length; i++) {
    const x = i % columns, y = (i - x) / columns;
    image[(y + padding) * width + x + padding] = table[inner[i]];
  }
  return image;
}
