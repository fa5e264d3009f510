// What lenet_runtime.backends.node starts: it loads a network's own lenet.js and answers batches.
//
// Frames are little-endian. In come two files, each after its length, lenet.js and lenet.wasm; then
// batches, each the number of its images and their floats. Out goes, for the files and for each
// batch, "LNET", 0 or 1 for a failure, and the length of what follows: the logits, or text.
import { readSync, writeSync } from "node:fs";

function read(size) {
  const bytes = new Uint8Array(size);
  for (let done = 0; done < size; ) {
    const count = readSync(0, bytes, done, size - done);
    if (count === 0) process.exit(0); // nobody is there any more
    done += count;
  }
  return bytes;
}

const readLength = () => new DataView(read(4).buffer).getUint32(0, true);

function answer(failed, bytes) {
  const frame = Buffer.alloc(12 + bytes.length);
  frame.write("LNET", "latin1");
  frame.writeUInt32LE(failed, 4);
  frame.writeUInt32LE(bytes.length, 8);
  frame.set(bytes, 12);
  for (let done = 0; done < frame.length; ) done += writeSync(1, frame, done);
}

const text = (words) => Buffer.from(words, "utf8");

async function start() {
  const script = Buffer.from(read(readLength())), wasm = read(readLength());
  const { load, network } = await import(`data:text/javascript;base64,${script.toString("base64")}`);
  const net = await load(wasm, { checkFinite: false });
  const { weights, channels, height, width, labels } = network;
  const shape = [channels, height, width];
  answer(0, text(JSON.stringify({ weights, shape, classes: labels.length, variant: net.variant })));
  return [net, channels * height * width];
}

try {
  const [net, pixels] = await start();
  for (;;) {
    const logits = net.run(new Float32Array(read(4 * pixels * readLength()).buffer));
    answer(0, new Uint8Array(logits.buffer));
  }
} catch (error) {
  answer(1, text(String(error?.message ?? error)));
}
