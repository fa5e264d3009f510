"use strict";
const $ = (id) => document.getElementById(id);
const still = matchMedia("(prefers-reduced-motion: reduce)");
const SENT = 280, PEN = 0.072;  // the side of the picture that is sent, and the pen's width as a share of it
let token = "";

/** Ask the server; throws an Error with what it says. */
async function ask(path, options = {}) {
  const headers = { ...options.headers, ...(token && { Authorization: `Bearer ${token}` }) };
  let reply;
  try { reply = await fetch(path, { ...options, headers, cache: "no-store" }); }
  catch { throw new Error("The server does not answer."); }
  if (reply.ok) return reply;
  if (reply.status === 401) $("login").hidden = false;
  const text = await reply.text();
  let said = `The server answered ${reply.status}.`;
  try { said = JSON.parse(text).error || said; } catch { /* not ours: some proxy's page */ }
  throw new Error(said);
}

// Drawing. Strokes are lists of points [x, y] from 0 to 1, drawn in the theme's colours here, and in
// black on white for the server.
const paper = $("paper"), pen = paper.getContext("2d");
let strokes = [], pointer = null, playing = 0;

function paint(context, side, ink) {
  context.lineCap = context.lineJoin = "round";
  context.lineWidth = PEN * side;
  context.strokeStyle = ink;
  for (const points of strokes) {
    const at = points.map(([x, y]) => [x * side, y * side]);
    context.beginPath();
    context.moveTo(...at[0]);
    for (let i = 1; i < at.length - 1; i++) {
      context.quadraticCurveTo(...at[i], (at[i][0] + at[i + 1][0]) / 2, (at[i][1] + at[i + 1][1]) / 2);
    }
    context.lineTo(at.at(-1)[0] + 0.01, at.at(-1)[1]);  // a dot is a line, too, or is not drawn
    context.stroke();
  }
}

function redraw() {
  const side = Math.round(paper.clientWidth * devicePixelRatio);
  if (paper.width !== side) paper.width = paper.height = side;
  pen.clearRect(0, 0, side, side);
  paint(pen, side, getComputedStyle(paper).getPropertyValue("--pen"));
  paper.parentElement.classList.toggle("drawn", strokes.length > 0);
  $("undo").disabled = $("clear").disabled = !strokes.length;
}

function png() {
  const sheet = document.createElement("canvas"), context = sheet.getContext("2d");
  sheet.width = sheet.height = SENT;
  context.fillStyle = "#fff";
  context.fillRect(0, 0, SENT, SENT);
  paint(context, SENT, "#000");
  return new Promise((resolve) => sheet.toBlob(resolve, "image/png"));
}

function place(event) {
  const box = paper.getBoundingClientRect();
  return [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
}

function changed(ended) {
  redraw();
  classify(ended);
}

paper.addEventListener("pointerdown", (event) => {
  if (pointer !== null || event.button) return;
  playing++;
  pointer = event.pointerId;
  paper.setPointerCapture(pointer);
  paper.focus({ preventScroll: true });
  strokes.push([place(event)]);
  changed(false);
});
paper.addEventListener("pointermove", (event) => {
  if (event.pointerId !== pointer) return;
  const passed = event.getCoalescedEvents?.() ?? [];
  strokes.at(-1).push(...(passed.length ? passed : [event]).map(place));
  changed(false);
});
for (const kind of ["pointerup", "pointercancel"]) {
  paper.addEventListener(kind, (event) => {
    if (event.pointerId !== pointer) return;
    pointer = null;
    changed(true);
  });
}
new ResizeObserver(redraw).observe(paper);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);

function undo() {
  playing++;
  if (pointer === null && strokes.pop()) changed(true);
}
function clear() {
  playing++;
  pointer = null;
  strokes = [];
  changed(true);
}

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
