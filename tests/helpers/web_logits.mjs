// Logits of the float32 images on stdin by each variant of the artifact in argv[2], to stdout.
import { readFileSync, writeSync } from "node:fs";

const { load } = await import(`file://${process.argv[2]}/lenet.js`);
const images = new Float32Array(new Uint8Array(readFileSync(0)).buffer);
for (const variant of process.argv.slice(3)) {
  const net = await load(undefined, { variant, checkFinite: false });
  const bytes = new Uint8Array(net.run(images).buffer);
  for (let done = 0; done < bytes.length; ) done += writeSync(1, bytes, done);
}
