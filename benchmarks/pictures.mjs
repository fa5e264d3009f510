// Times fromRGBA, a picture's way to the network's input: `node benchmarks/pictures.mjs`.
import { fromRGBA } from "../export/lenet_export/formats/web/js/preprocess.js";

/** A dark 7 on light, uneven paper. */
function seven(width, height) {
  const rgba = new Uint8ClampedArray(4 * width * height);
  for (let i = 0; i < width * height; i++) {
    const x = (i % width) / width, y = Math.floor(i / width) / height;
    const isInk = (Math.abs(y - 0.25) < 0.04 && Math.abs(x - 0.5) < 0.2) ||
      (y > 0.25 && y < 0.75 && Math.abs(x - 0.8 + 0.4 * y) < 0.04);
    rgba.fill(isInk ? 40 : 220 + (i % 7) + 20 * x, 4 * i, 4 * i + 3);
    rgba[4 * i + 3] = 255;
  }
  return [rgba, width, height];
}

for (const [width, height, turns] of [[200, 200, 2000], [280, 280, 2000], [4000, 3000, 20]]) {
  const picture = seven(width, height), times = [];
  for (let turn = 0; turn < turns; turn++) {
    const begin = performance.now();
    fromRGBA(...picture);
    times.push(performance.now() - begin);
  }
  const [first] = times, sorted = times.slice(turns / 2).sort((a, b) => a - b);
  const [least, median] = [sorted[0], sorted[turns / 4]].map((ms) => ms.toFixed(2));
  console.log(`${width}x${height}: first ${first.toFixed(1)} ms, then median ${median}, least ${least} ms`);
}
