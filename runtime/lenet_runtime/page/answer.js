// Asking `source`, the network behind this page: one question at a time; what was drawn meanwhile is
// asked next. `source.classify(sheet, file)` resolves to {label, probabilities: {label: share},
// pixels: rows of grey levels or of [r, g, b], warnings: text, times: {id: ms}, maps?}.
const MOST = 20;  // classes that have bars; of more, the ten likeliest have
let busy = false, again = false, last = false;

async function classify(ended) {
  last = ended;
  again = true;
  if (busy) return;
  busy = true;
  while (again) {
    again = false;
    if (isBlank()) { show(null); continue; }
    const [now, before] = [last, picture];
    try {
      const answer = await source.classify(sheet(), picture?.file);
      if (!isBlank()) show(answer, now);
    } catch (error) {
      if (picture && picture === before) show(null);  // drawing goes on; a picture stays unread
      say(error.message);
    }
    if (!last) await source.pause();
  }
  busy = false;
}

function say(text) {
  $("note").textContent = text;
}

function duration(ms) {
  const [amount, unit] = ms < 1 ? [ms * 1000, "µs"] : ms < 1000 ? [ms, "ms"] : [ms / 1000, "s"];
  return `${+amount.toPrecision(amount < 100 ? 2 : 3)} ${unit}`;
}

function percent(share) {
  const text = (100 * share).toFixed(1);
  return share < 1 && text === "100.0" ? "99.9%" : `${text}%`;
}

function show(answer, ended = false) {
  let shares = Object.entries(answer?.probabilities ?? {});
  if (shares.length > MOST) shares = shares.sort((a, b) => b[1] - a[1]).slice(0, 10);
  if (answer && $("bars").children.length !== shares.length) makeBars(shares.map(([label]) => label));
  [...$("bars").children].forEach((bar, i) => {
    const [label, share] = shares[i] ?? [bar.firstChild.textContent, 0];
    bar.children[0].textContent = label;
    bar.children[1].style.setProperty("--share", share);
    bar.children[2].textContent = answer ? percent(share) : "";
    bar.classList.toggle("best", label === answer?.label);
  });
  const sure = answer && `${percent(answer.probabilities[answer.label])} sure`;
  $("digit").textContent = answer?.label ?? "?";
  $("digit").className = !answer ? "none" : answer.label.length > 2 ? "word" : "";
  $("sure").textContent = sure ?? "No digit yet";
  say(answer?.warnings ?? "");
  showPixels(answer?.pixels);
  showTimes(answer?.times);
  showMaps(answer?.maps ?? []);
  if (ended && answer) $("spoken").textContent = `${answer.label}, ${sure}. ${answer.warnings}`;
  else if (!answer) $("spoken").textContent = "";
}

/** The names of times, by their ids. */
function makeTimes(names) {
  $("times").replaceChildren(...Object.entries(names).map(([id, name]) => {
    const row = document.createElement("div");
    row.append(document.createElement("dt"), document.createElement("dd"));
    row.firstChild.textContent = name;
    row.lastChild.id = id;
    return row;
  }));
  showTimes();
}

function showTimes(times = {}) {
  for (const { id, element = $(id) } of $("times").querySelectorAll("dd")) {
    element.textContent = id in times ? duration(times[id]) : "–";
  }
}

function makeBars(labels) {
  $("bars").replaceChildren(...labels.slice(0, labels.length > MOST ? 10 : MOST).map((label) => {
    const bar = document.createElement("li");
    bar.append(...["span", "i", "span"].map((kind) => document.createElement(kind)));
    bar.firstChild.textContent = label;
    return bar;
  }));
}

function showPixels(rows) {
  const seen = $("seen"), context = seen.getContext("2d");
  seen.setAttribute("aria-label", `What the network sees: ${rows ? "the digit, centred" : "nothing yet"}`);
  if (!rows) { context.clearRect(0, 0, seen.width, seen.height); return; }
  [seen.height, seen.width] = [rows.length, rows[0].length];
  const image = context.createImageData(seen.width, seen.height);
  rows.flat().forEach((level, i) => image.data.set([...[level].flat(), level, level].slice(0, 3).concat(255), 4 * i));
  context.putImageData(image, 0, 0);
  $("size").textContent = `What it sees, ${seen.width}×${seen.height}`;
}

/** Feature maps, [{name, width, height, planes: [levels]}]; a layer's largest value is full ink. */
function showMaps(layers) {
  for (const { name, width, height, planes } of layers) {
    const place = $(name), ink = colour("--blue");
    if (place.children.length !== planes.length) makeMaps(place, planes.length, width, height);
    const most = planes.reduce((most, plane) => plane.reduce((a, b) => Math.max(a, b), most), 1e-9);
    planes.forEach((plane, i) => tint(place.children[i], plane, width, height, ink, most));
  }
  if (!layers.length) for (const map of document.querySelectorAll(".maps canvas")) {
    map.getContext("2d").clearRect(0, 0, map.width, map.height);
  }
}

/** Places for the feature maps of a layer. */
function makeMaps(place, count, width, height) {
  place.replaceChildren(...[...Array(count)].map(() => blank(width, height)));
  place.style.setProperty("--across", Math.ceil(Math.sqrt(count)));
  const words = `${count} maps of ${width}×${height}`;
  place.setAttribute("aria-label", `${place.getAttribute("aria-label")}: ${words}`);
  place.nextElementSibling.append(`, ${words}`);
}
