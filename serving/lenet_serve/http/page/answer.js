// Asking: one request at a time; what was drawn meanwhile is asked next.
let busy = false, again = false, last = false;

async function classify(ended) {
  last = ended;
  again = true;
  if (busy) return;
  busy = true;
  while (again) {
    again = false;
    if (!strokes.length) { show(null); continue; }
    try { await classifyOnce(last); }
    catch (error) { $("note").textContent = error.message; }
    if (!last) await new Promise((wake) => setTimeout(wake, 40));
  }
  busy = false;
}

async function classifyOnce(ended) {
  const body = await png(), model = $("model").value;
  const began = performance.now();
  const reply = await ask(`v1/predict?pixels=true${model && `&model=${encodeURIComponent(model)}`}`,
    { method: "POST", body, headers: { "Content-Type": "image/png" } });
  const answer = await reply.json();
  const browser = performance.now() - began;
  if (!strokes.length) return;
  show(answer.predictions[0], answer.warnings ?? "", ended);
  const server = Object.fromEntries((reply.headers.get("server-timing") ?? "").split(",")
    .map((part) => part.trim().split(";dur=")));
  $("browser").textContent = duration(browser);
  for (const name of ["total", "input", "infer"]) {
    $(name).textContent = name in server ? duration(+server[name]) : "–";
  }
}

function duration(ms) {
  if (ms < 1) return `${(ms * 1000).toPrecision(2).replace(/\.0$/, "")} µs`;
  return ms < 1000 ? `${ms.toPrecision(ms < 100 ? 2 : 3)} ms` : `${(ms / 1000).toPrecision(2)} s`;
}

function percent(share) {
  const text = (100 * share).toFixed(1);
  return share < 1 && text === "100.0" ? "99.9%" : `${text}%`;
}

function show(prediction, warnings = "", ended = false) {
  const probabilities = Object.entries(prediction?.probabilities ?? {});
  const bars = $("bars");
  if (prediction && bars.children.length !== probabilities.length) makeBars(probabilities.map(([label]) => label));
  [...bars.children].forEach((bar, i) => {
    const [label, share] = probabilities[i] ?? [bar.firstChild.textContent, 0];
    bar.children[0].textContent = label;
    bar.children[1].style.setProperty("--share", share);
    bar.children[2].textContent = prediction ? percent(share) : "";
    bar.classList.toggle("best", label === prediction?.label);
  });
  $("digit").textContent = prediction?.label ?? "?";
  $("digit").className = !prediction ? "none" : prediction.label.length > 2 ? "word" : "";
  $("sure").textContent = prediction ? `${percent(prediction.probability)} sure` : "No digit yet";
  $("note").textContent = warnings;
  showPixels(prediction?.pixels);
  if (!prediction) for (const name of ["browser", "total", "input", "infer"]) $(name).textContent = "–";
  if (ended && prediction) {
    $("spoken").textContent = `${prediction.label}, ${percent(prediction.probability)} sure. ${warnings}`;
  } else if (!prediction) $("spoken").textContent = "";
}

function makeBars(labels) {
  $("bars").replaceChildren(...labels.map((label) => {
    const bar = document.createElement("li");
    bar.append(...["span", "i", "span"].map((kind) => document.createElement(kind)));
    bar.firstChild.textContent = label;
    return bar;
  }));
}

/** Draw the server's rows of grey levels, or of [r, g, b]. */
function showPixels(rows) {
  const seen = $("seen"), context = seen.getContext("2d");
  seen.setAttribute("aria-label", `What the network sees: ${rows ? "the digit, centred" : "nothing yet"}`);
  if (!rows) { context.clearRect(0, 0, seen.width, seen.height); return; }
  [seen.height, seen.width] = [rows.length, rows[0].length];
  const image = context.createImageData(seen.width, seen.height);
  rows.flat().forEach((level, i) => image.data.set([...[level].flat(), level, level].slice(0, 3).concat(255), 4 * i));
  context.putImageData(image, 0, 0);
  $("size").textContent = `What the network sees, ${seen.width}×${seen.height}`;
}
