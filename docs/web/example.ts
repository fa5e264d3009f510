// Answers whatever is drawn on a page's canvas: with types, as `tsc --strict` checks them.
import { load, network, type Answer, type Layer, type Network } from "lenet-int8";

let net: Network;

export async function begin(wasm: URL | ArrayBuffer): Promise<string> {
  net = await load(wasm);
  return `${network.labels.length} classes, ${net.variant}`;
}

export function ask(canvas: HTMLCanvasElement | OffscreenCanvas): string {
  const answer: Answer = net.predict(canvas);
  const share = Math.max(...answer.probabilities);
  const maps: Layer[] = net.features();
  const doubts = answer.picture?.warnings ?? [];
  return `${answer.label}, ${Math.round(100 * share)}% sure; ${maps.length} layers; ${doubts.join("; ")}`;
}

export function askMany(images: Float32Array): Float32Array {
  return net.run(images);
}
