// The server's last minute, from the differences of its counters.
const SPAN = 60, points = [];
let before = null;

function counters(text) {
  const found = { at: performance.now() / 1000, requests: 0, buckets: new Map() };
  for (const line of text.split("\n")) {
    const sample = line.match(/^lenet_(requests_total|request_seconds_bucket)\{(.*)\} (\S+)$/);
    if (!sample) continue;
    const [, name, labels, value] = sample;
    if (name === "requests_total") found.requests += +value;
    else {
      const bound = labels.match(/le="([^"]+)"/)[1], key = bound === "+Inf" ? Infinity : +bound;
      found.buckets.set(key, (found.buckets.get(key) ?? 0) + +value);
    }
  }
  return found;
}

/** The 99th percentile in ms of what came between two looks, as Prometheus interpolates it. */
function percentile(older, newer) {
  const bounds = [...newer.buckets.keys()].sort((a, b) => a - b);
  const upto = bounds.map((bound) => newer.buckets.get(bound) - (older.buckets.get(bound) ?? 0));
  const total = upto.at(-1);
  if (!(total > 0)) return null;
  const i = upto.findIndex((count) => count >= 0.99 * total);
  const low = bounds[i - 1] ?? 0, under = upto[i - 1] ?? 0;
  if (bounds[i] === Infinity) return 1000 * low;
  return 1000 * (low + (bounds[i] - low) * (0.99 * total - under) / (upto[i] - under));
}

async function look() {
  if (document.hidden || !$("login").hidden) return;
  let now;
  try {
    now = counters(await (await ask("metrics")).text());
    if (!now.buckets.size) throw now;  // of Ray, whose replicas do not count for all
  }
  catch { before = null; $("rate").textContent = $("p99").textContent = "–"; return; }
  if (before) {
    const passed = now.requests - before.requests;  // less than none after a restart
    points.push({ at: now.at, rate: Math.max(0, passed) / (now.at - before.at), p99: percentile(before, now) });
  }
  while (points.length && points[0].at < now.at - SPAN) points.shift();
  before = now;
  chart($("rates"), now.at, "rate", (rate) => rate.toFixed(rate && rate < 10 ? 1 : 0), 5);
  chart($("p99s"), now.at, "p99", duration, 1);
  const newest = points.at(-1);
  $("rate").textContent = newest ? newest.rate.toFixed(newest.rate && newest.rate < 10 ? 1 : 0) : "–";
  const known = points.findLast((point) => point.p99 !== null);
  $("p99").textContent = known ? duration(known.p99) : "–";
}

function node(kind, attributes, text = "") {
  const made = document.createElementNS("http://www.w3.org/2000/svg", kind);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.textContent = text;
  return made;
}

function chart(svg, now, key, written, least) {
  const width = svg.clientWidth, height = svg.clientHeight, [left, top, bottom] = [0, 18, height - 20];
  const known = points.filter((point) => point[key] !== null);
  const most = Math.max(least, ...known.map((point) => point[key]));
  const power = 10 ** Math.floor(Math.log10(most));
  const upper = power * [1, 2, 5, 10].find((step) => step * power >= most);
  const x = (point) => left + (width - left) * (1 - (now - point.at) / SPAN);
  const y = (point) => bottom - (bottom - top) * point[key] / upper;
  const line = known.map((point, i) => `${i && point.at - known[i - 1].at < 3 ? "L" : "M"}${x(point).toFixed(1)} ${y(point).toFixed(1)}`).join("");
  const area = line.split("M").slice(1).map((part) => {
    const [first, end] = [part.split(" ")[0], part.split("L").at(-1).split(" ")[0]];
    return `M${first} ${bottom}L${part}L${end} ${bottom}Z`;
  }).join("");
  svg.replaceChildren(
    node("line", { class: "rule", x1: left, x2: width, y1: bottom, y2: bottom }),
    node("line", { class: "rule", x1: left, x2: width, y1: top, y2: top, "stroke-dasharray": "2 4" }),
    node("text", { x: left, y: top - 5 }, written(upper)),
    node("text", { x: left, y: height - 4 }, "a minute ago"),
    node("text", { x: width, y: height - 4, "text-anchor": "end" }, "now"),
    node("path", { class: "area", d: area }),
    node("path", { class: "line", d: line }),
  );
}
