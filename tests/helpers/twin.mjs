// Reads pictures from stdin (width, height, then RGBA, each), with the module and the options as
// arguments, and answers with a line of JSON a picture.
import { readFileSync, writeSync } from "node:fs";

const { fromRGBA } = await import(process.argv[2]), options = JSON.parse(process.argv[3]);
const data = readFileSync(0);
const hex = (array) => Buffer.from(array.buffer, array.byteOffset, array.byteLength).toString("hex");
const lines = [];
for (let at = 0; at < data.length; ) {
  const [width, height] = [data.readUInt32LE(at), data.readUInt32LE(at + 4)], size = 4 * width * height;
  const rgba = new Uint8ClampedArray(data.subarray(at + 8, at + 8 + size));
  at += 8 + size;
  const begin = performance.now();
  let answer;
  try {
    const { digit, image, notes, warnings, inverted } = fromRGBA(rgba, width, height, options);
    answer = { digit: hex(digit), image: hex(image), notes, warnings, inverted };
  } catch (error) {
    if (error.name !== "InputError") throw error;
    answer = { error: error.message };
  }
  lines.push(JSON.stringify({ ...answer, ms: performance.now() - begin }) + "\n");
}
const text = Buffer.from(lines.join(""));
for (let sent = 0; sent < text.length; ) sent += writeSync(1, text, sent);
