// Times engines in turns, here: in Node, or in a page. `places` are URLs of folders: `fp32` and `int8`
// of web artifacts, `onnx` of the same network's, `ort` of onnxruntime-web's dist. Resolves to
// {engine: {first: ms, calls: {batch: [us an image, a turn each]}}} and the versions.
const inNode = typeof process === "object";

async function read(url) {
  if (!inNode) return new Uint8Array(await (await fetch(url)).arrayBuffer());
  const { readFile } = await import("node:fs/promises");
  return new Uint8Array(await readFile(new URL(url)));
}

/** Every variant of our artifacts that runs here: a function that starts it with its bytes. */
async function ours(places) {
  const starts = {};
  for (const precision of ["fp32", "int8"]) {
    const { load } = await import(`${places[precision]}/lenet.js`);
    const bytes = await read(`${places[precision]}/lenet.wasm`);
    for (const variant of ["relaxed", "simd128", "plain"]) {
      const start = () => load(bytes, { variant });
      if (await start().catch(() => null)) {
        starts[`${precision} ${variant}`] = async () => {
          const net = await start();
          return async (images) => net.run(images);
        };
      }
    }
  }
  return starts;
}

async function peer(places) {
  const file = inNode ? "ort.node.min.mjs" : "ort.wasm.min.mjs";
  const ort = await import(`${places.ort}/${file}`);
  ort.env.wasm.numThreads = 1;
  if (!inNode) ort.env.wasm.wasmPaths = `${places.ort}/`;
  const model = await read(`${places.onnx}/model.onnx`);
  return async () => {
    const session = await ort.InferenceSession.create(model, { executionProviders: ["wasm"] });
    const [input] = session.inputNames, [output] = session.outputNames;
    return async (images) => {
      const tensor = new ort.Tensor("float32", images, [images.length / 1024, 1, 32, 32]);
      return (await session.run({ [input]: tensor }))[output].data;
    };
  };
}

/** Microseconds an image of a turn of about `turn` ms. */
async function once(run, images, turn, state) {
  for (;;) {
    const begin = performance.now();
    for (let i = 0; i < state.count; i++) await run(images);
    const took = performance.now() - begin;
    if (took >= turn / 2 || state.count > 1e6) return (1000 * took * 1024) / (state.count * images.length);
    state.count *= 2;
  }
}

export async function measure(places, { batches = [1, 8, 64], turns = 25, turn = 10 } = {}) {
  const starts = { ...(await ours(places)), "onnxruntime-web": await peer(places) };
  const digits = Float32Array.from(places.images), engines = {}, results = {};
  for (const [name, start] of Object.entries(starts)) {
    const begin = performance.now();
    engines[name] = await start();
    await engines[name](digits.slice(0, 1024));
    results[name] = { first: performance.now() - begin, calls: {} };
  }
  for (const batch of batches) {
    const images = Float32Array.from({ length: 1024 * batch }, (_, i) => digits[i % digits.length]);
    const states = Object.fromEntries(Object.keys(engines).map((name) => [name, { count: 1 }]));
    for (let t = -2; t < turns; t++) { // the first two warm up
      for (const [name, run] of Object.entries(engines)) {
        const took = await once(run, images, turn, states[name]);
        if (t >= 0) (results[name].calls[batch] ??= []).push(took);
      }
    }
  }
  return results;
}

if (inNode) {
  const places = JSON.parse(await new Response((await import("node:stream")).Readable.toWeb(process.stdin)).text());
  console.log(JSON.stringify(await measure(places, places.options)));
}
