// The network behind the page: WebAssembly in this very page.
const TURNS = 15;  // of which the time of an answer is the median
const rest = (ms) => new Promise((wake) => setTimeout(wake, ms));
const frame = () => new Promise((wake) => { requestAnimationFrame(wake); setTimeout(wake, 100); });

function bytes(base64) {
  const letters = atob(base64), found = new Uint8Array(letters.length);
  for (let i = 0; i < found.length; i++) found[i] = letters.charCodeAt(i);  // a tenth of Uint8Array.from's time
  return found;
}

/** The least ms that a turn takes: 40 steps of the clock, which browsers make coarse. */
function leastTurn() {
  let step = Infinity, before = performance.now();
  for (let steps = 0; steps < 5;) {
    const now = performance.now();
    if (now > before) { step = Math.min(step, now - before); before = now; steps++; }
  }
  return Math.max(2, 40 * step);
}

const source = {
  times: { input: "Preparing", infer: "Network" },
  pause: frame,
  net: null,
  ready: null,

  async begin() {
    this.ready = this.load();
    await this.ready;
    makeBars(data.network.labels);
    $("how").textContent = "The network is timed once the pen rests.";
    $("served").textContent = `${data.network.words} Nothing leaves this page.`;
    this.warm();
  },

  /** Take in a few pictures: before JavaScript is compiled, one takes ten times as long. */
  async warm() {
    const canvas = blank(SENT, SENT), context = canvas.getContext("2d", { willReadFrequently: true });
    context.fillStyle = "#fff";
    context.fillRect(SENT / 2, SENT / 5, SENT / 14, SENT / 2);
    for (let i = 0; i < 4; i++) {
      await rest(0);
      this.read(canvas);
    }
  },

  async load() {
    const [channels, height, width] = data.network.shape;
    if (channels !== 1) {
      throw new Error(`This network takes colour pictures of ${width}×${height}, and this page draws in ` +
        "grey: ask lenet.js in a program, by net.run, or lenet-deploy serve, whose page takes colours.");
    }
    try { this.net = await load(bytes(data.wasm)); }
    catch (error) {
      throw new Error(`The network in this page cannot be loaded: ${error.message}.`);
    }
    this.net.predict(new Float32Array(height * width));
    const maps = this.net.features();
    $("layers").hidden = !maps.length;  // of networks with other layers than LeNet's
    showMaps(maps);
    if (isBlank()) show(null);
  },

  /** The network's input of a canvas, and what is doubtful about it. */
  read(canvas) {
    const { width, height } = canvas, { shape, mean, std, padding } = data.network;
    const rgba = canvas.getContext("2d").getImageData(0, 0, width, height).data;
    return fromRGBA(rgba, width, height, { mean, std, padding, height: shape[1], width: shape[2] });
  },

  async classify(sheet) {
    await this.ready;
    const began = performance.now(), { image, warnings } = this.read(sheet);
    const times = { input: performance.now() - began };
    if (this.infer) times.infer = this.infer;
    const { label, probabilities } = this.net.predict(image), maps = this.net.features();
    this.measure(image);
    const shares = Object.fromEntries(data.network.labels.map((name, i) => [name, probabilities[i]]));
    return { label, probabilities: shares, pixels: this.view(image), warnings: warnings.join(" "), times, maps };
  },

  /** Rows of grey levels of what is inside the padding of the network's input. */
  view(image) {
    const { shape: [, height, width], mean, std, padding } = data.network;
    const levels = Array.from(image, (value) => Math.round(255 * (value * std + mean)));
    return Array.from({ length: height - 2 * padding }, (_, y) =>
      levels.slice((y + padding) * width + padding, (y + padding + 1) * width - padding));
  },

  /** Time this image's answer in turns of many, between which the page lives on; the newest wins. */
  async measure(image) {
    const ours = this.measured = (this.measured ?? 0) + 1, turns = [];
    await rest(120);  // while somebody draws, nothing is timed
    let count = 1;
    while (turns.length < TURNS) {
      if (ours !== this.measured) return;
      const began = performance.now();
      for (let i = 0; i < count; i++) this.net.predict(image);
      const took = performance.now() - began;
      if (took < (this.least ??= leastTurn())) count *= 2;
      else turns.push(took / count);
      await rest(0);
    }
    if (ours !== this.measured) return;
    this.infer = turns.sort((a, b) => a - b)[TURNS >> 1];
    $("infer").textContent = duration(this.infer);
    $("how").textContent = `Network: the median of ${TURNS} turns of ${count} answers.`;
  },
};
