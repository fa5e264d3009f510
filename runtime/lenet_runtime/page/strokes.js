// What is drawn for those who have no pen: corners of each digit's strokes; a corner that is there
// twice stays sharp.
const DIGITS = [
  [[50, 19, 36, 28, 30, 50, 36, 72, 50, 81, 64, 72, 70, 50, 64, 28, 50, 19]],
  [[44, 27, 54, 19, 54, 19, 53, 50, 51, 81]],
  [[32, 35, 38, 23, 50, 19, 63, 24, 66, 36, 58, 52, 44, 66, 31, 79, 31, 79, 50, 78, 70, 79]],
  [[33, 25, 48, 19, 62, 24, 65, 35, 58, 45, 46, 49, 46, 49, 60, 53, 67, 64, 60, 76, 46, 81, 32, 75]],
  [[40, 19, 36, 40, 32, 58, 32, 58, 50, 57, 70, 55], [63, 19, 61, 50, 59, 82]],
  [[66, 21, 40, 22, 40, 22, 37, 46, 37, 46, 52, 42, 65, 50, 67, 63, 60, 76, 46, 81, 32, 75]],
  [[60, 19, 46, 30, 37, 48, 35, 65, 42, 78, 55, 80, 65, 72, 65, 59, 55, 53, 43, 57, 36, 66]],
  [[30, 23, 50, 23, 69, 22, 69, 22, 59, 42, 49, 62, 44, 81]],
  [[63, 29, 51, 19, 38, 27, 41, 40, 52, 49, 63, 60, 63, 74, 50, 81, 37, 74, 37, 60, 48, 50, 60, 41, 63, 29]],
  [[63, 35, 54, 22, 41, 24, 36, 36, 42, 48, 54, 48, 63, 35, 63, 35, 62, 58, 57, 81]],
];
const still = matchMedia("(prefers-reduced-motion: reduce)");

/** Points along a smooth curve through corners (Catmull and Rom's). */
function curve(corners) {
  const points = [];
  for (let i = 0; i < corners.length; i += 2) points.push([corners[i] / 100, corners[i + 1] / 100]);
  const along = [points[0]];
  for (let i = 0; i < points.length - 1; i++) {
    const [b, c] = [points[i], points[i + 1]], [a, d] = [points[i - 1] ?? b, points[i + 2] ?? c];
    if (String(b) === String(c)) continue;  // a sharp corner
    for (let t = 1 / 8; t <= 1; t += 1 / 8) {
      along.push([0, 1].map((k) => b[k] + t / 2 * (c[k] - a[k] +
        t * (2 * a[k] - 5 * b[k] + 4 * c[k] - d[k] + t * (3 * (b[k] - c[k]) + d[k] - a[k])))));
    }
  }
  return along;
}

function play(digit) {
  clear();
  const turn = playing, whole = DIGITS[digit].map(curve);
  const total = whole.flat().length, began = performance.now();
  const step = (now) => {
    if (turn !== playing) return;
    let left = still.matches ? total : Math.ceil(total * Math.min(1, (now - began) / 600));
    const ended = left >= total;
    strokes = [];
    for (const points of whole) {
      if (left > 0) strokes.push(points.slice(0, left));
      left -= points.length;
    }
    changed(ended);
    if (!ended) requestAnimationFrame(step);
  };
  requestAnimationFrame(step);
}
