// Calls lenet.js of the artifact in argv[2] in every wrong way, and in a few right ones; prints JSON.
import { readFileSync } from "node:fs";

const folder = process.argv[2];
const { load, network } = await import(`file://${folder}/lenet.js`);
const wasm = readFileSync(`${folder}/lenet.wasm`);
const errors = {}, facts = {};

async function refused(name, call) {
  try {
    await call();
    errors[name] = "nothing";
  } catch (error) {
    errors[name] = `${error.constructor.name}: ${error.message}`;
  }
}

const edited = (change) => {
  const bytes = new Uint8Array(wasm);
  change(bytes);
  return bytes;
};
await refused("truncated", () => load(wasm.subarray(0, 1000)));
await refused("a page", () => load(new TextEncoder().encode("<!doctype html>")));
await refused("damaged", () => load(edited((bytes) => bytes.fill(0xff, 8, 40))));
const weights = wasm.indexOf(network.weights);
await refused("foreign", () => load(edited((bytes) => (bytes[weights] ^= 1))));
await refused("no source", () => load(7));
await refused("no option", () => load(wasm, { threads: 4 }));
await refused("no variant", () => load(wasm, { variant: "avx" }));
await refused("404", () => load(new Response("", { status: 404 })));
const { WebAssembly } = globalThis;
globalThis.WebAssembly = undefined;
await refused("no WebAssembly", () => load(wasm));
globalThis.WebAssembly = WebAssembly;
const { validate } = WebAssembly;
WebAssembly.validate = () => false;
await refused("no SIMD", () => load(wasm, { variant: "simd128" }));
facts.without_simd = (await load(wasm)).variant;
WebAssembly.validate = validate;

const net = await load(`${folder}/lenet.wasm`);
await refused("no image yet", () => net.features());
await refused("not floats", () => net.run([1, 2]));
await refused("no images", () => net.run(new Float32Array(0)));
await refused("half an image", () => net.run(new Float32Array(1500)));
const bad = new Float32Array(3 * 1024);
bad[2100] = NaN;
await refused("not finite", () => net.run(bad));
await refused("not a picture", () => net.predict("7"));
await refused("null", () => net.predict(null));
await refused("too few bytes", () => net.predict(new Uint8Array(100)));
await refused("two images", () => net.predict(new Float32Array(2048)));
await refused("a canvas of WebGL", () => net.predict({ getContext: () => null, width: 9, height: 9 }));
await refused("blank", () => net.predict({ data: new Uint8ClampedArray(400), width: 10, height: 10 }));

const digit = new Uint8Array(784);
for (let y = 4; y < 24; y++) digit.fill(255, 28 * y + 13, 28 * y + 16);
const rgba = new Uint8ClampedArray(4 * 784).map((_, i) => (i % 4 === 3 ? 255 : digit[i >> 2]));
const canvas = { width: 28, height: 28, getContext: () => ({ getImageData: () => ({ data: rgba, width: 28, height: 28 }) }) };
const answers = [digit, canvas, canvas.getContext().getImageData()].map((input) => net.predict(input));
facts.labels = answers.map(({ label }) => label);
facts.logits = answers.map(({ logits }) => Array.from(logits));
facts.sum = answers[0].probabilities.reduce((a, b) => a + b, 0);
facts.warnings = answers[1].picture.warnings;
facts.maps = net.features().map(({ name, width, height, planes }) => [name, width, height, planes.length]);
facts.unchecked = (await load(wasm, { checkFinite: false })).run(bad).slice(20).every(Number.isNaN);
facts.sources = await Promise.all(
  [new URL(`file://${folder}/lenet.wasm`), wasm.buffer.slice(wasm.byteOffset, wasm.byteOffset + wasm.length),
    new Response(wasm), undefined].map(async (source) => (await load(source)).predict(digit).label));
console.log(JSON.stringify({ errors, facts }));
