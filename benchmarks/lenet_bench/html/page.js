// Unpacks plotly.js, draws each figure in the colours of the reader's theme, and serves the chips.
const hidden = new Set(), batch = document.getElementById("batch");
const dark = matchMedia("(prefers-color-scheme: dark)");
const boxes = [...document.querySelectorAll(".plot")].map((box) =>
  ({target: box.querySelector("div"), figure: JSON.parse(box.querySelector("script").textContent)}));

function themed(value, css) {
  if (typeof value === "string")
    return value.startsWith("var(--") ? css.getPropertyValue(value.slice(4, -1)).trim() : value;
  if (Array.isArray(value)) return value.map((item) => themed(item, css));
  if (value && typeof value === "object")
    return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, themed(item, css)]));
  return value;
}

function visible({meta}) {
  return !meta || !hidden.has(meta.engine) &&
    (meta.batch === undefined || String(meta.batch) === batch.value);
}

function draw() {
  const css = getComputedStyle(document.documentElement);
  for (const {target, figure} of boxes) {
    const {data, layout, config} = themed(figure, css);
    Plotly.react(target, data.map((trace) => ({...trace, visible: visible(trace)})), layout, config);
  }
}

async function unpack(text) {
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  const script = document.createElement("script");
  script.textContent = await new Response(stream).text();
  document.head.append(script);
}

for (const key of document.querySelectorAll(".keys button")) key.onclick = () => {
  const engine = Number(key.dataset.engine), hide = !hidden.has(engine);
  if (hide) hidden.add(engine); else hidden.delete(engine);
  key.setAttribute("aria-pressed", String(!hide));
  draw();
};
for (const button of document.querySelectorAll("[data-copy]")) button.onclick = async () => {
  try {
    await navigator.clipboard.writeText(button.dataset.copy);
    button.textContent = "copied";
  } catch {  // no clipboard for this page: show all digits, to be copied by hand
    button.previousElementSibling.textContent = button.dataset.copy;
  }
};
for (const time of document.querySelectorAll("time")) {
  const there = new Date(time.dateTime);
  if (there.getTimezoneOffset()) time.after(` (${there.toLocaleString()} here)`);
}
if (boxes.length) unpack(document.getElementById("plotly").textContent).then(() => {
  draw();
  if (batch) batch.onchange = draw;
  dark.addEventListener("change", draw);
}).catch((error) => {  // a browser of before 2023 cannot unpack
  for (const {target} of boxes) target.textContent = `This browser cannot draw it: ${error.message}`;
});
