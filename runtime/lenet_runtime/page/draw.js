const $ = (id) => document.getElementById(id);
const SENT = 280, PEN = 0.072;  // the side of the picture that is classified, and the pen's width as a share of it

// What stands on the paper: strokes, which are lists of points [x, y] from 0 to 1, or a picture,
// {canvas, levels?, file?}. Strokes are drawn in the theme's colours here, and in black on white for
// the network; `levels` are a grey picture's, from 0 to 255, and are shown as ink.
const paper = $("paper"), pen = paper.getContext("2d");
let strokes = [], picture = null, pointer = null, playing = 0;

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

function blank(width, height) {
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [width, height];
  return canvas;
}

/** A colour of the theme, by the name of its property. */
const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

/** Fill a canvas with one colour, as opaque as `levels` are, of 0 to 1 or, with `most`, to that. */
function tint(canvas, levels, width, height, ink, most = 1) {
  if (canvas.width !== width || canvas.height !== height) [canvas.width, canvas.height] = [width, height];
  const context = canvas.getContext("2d"), red = [1, 3, 5].map((at) => parseInt(ink.slice(at, at + 2), 16));
  const image = context.createImageData(width, height);
  for (let i = 0; i < levels.length; i++) image.data.set([...red, 255 * Math.max(0, levels[i]) / most], 4 * i);
  context.putImageData(image, 0, 0);
  return canvas;
}

function redraw() {
  const side = Math.round(paper.clientWidth * devicePixelRatio);
  if (paper.width !== side) paper.width = paper.height = side;
  pen.clearRect(0, 0, side, side);
  paint(pen, side, colour("--pen"));
  if (picture) {
    const { canvas, levels } = picture, { width, height } = canvas;
    const scale = side / Math.max(width, height);
    pen.imageSmoothingEnabled = scale < 4;
    const shown = levels ? tint(blank(1, 1), levels, width, height, colour("--pen"), 255) : canvas;
    pen.drawImage(shown, (side - width * scale) / 2, (side - height * scale) / 2, width * scale, height * scale);
  }
  paper.parentElement.classList.toggle("drawn", !isBlank());
  $("undo").disabled = $("clear").disabled = isBlank();
}

const isBlank = () => !strokes.length && !picture;

/** What is classified, as a canvas. */
function sheet() {
  if (picture) return picture.canvas;
  const canvas = blank(SENT, SENT), context = canvas.getContext("2d", { willReadFrequently: true });
  context.fillStyle = "#fff";
  context.fillRect(0, 0, SENT, SENT);
  paint(context, SENT, "#000");
  return canvas;
}

function place(event) {
  const box = paper.getBoundingClientRect();
  return [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
}

function changed(ended) {
  redraw();
  classify(ended);
}

/** Put a picture in the place of everything. */
function put(it) {
  clear();
  picture = it;
  changed(true);
}

paper.addEventListener("pointerdown", (event) => {
  if (pointer !== null || event.button) return;
  playing++;
  picture = null;
  pointer = event.pointerId;
  paper.setPointerCapture(pointer);
  paper.focus({ preventScroll: true });
  paper.classList.add("pointed");  // whose focus needs no ring
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

function undo() {
  playing++;
  if (pointer !== null || isBlank()) return;
  if (picture) picture = null;
  else strokes.pop();
  changed(true);
}

function clear() {
  playing++;
  pointer = picture = null;
  strokes = [];
  changed(true);
}
