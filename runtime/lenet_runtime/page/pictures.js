// Pictures that somebody drops, pastes or chooses, and real digits that the page brings along.
const LONGEST = 4096;  // pixels along a side: what every browser's canvas holds
const data = JSON.parse($("data").textContent);

async function take(file) {
  if (!file) return;
  let bitmap;
  try { bitmap = await createImageBitmap(file); }
  catch {
    clear();
    say(`${file.name || "This"}: expected a picture that this browser reads; save it as PNG or JPEG.`);
    return;
  }
  const scale = Math.min(1, LONGEST / Math.max(bitmap.width, bitmap.height));
  const canvas = blank(...[bitmap.width, bitmap.height].map((side) => Math.max(1, Math.round(side * scale))));
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.imageSmoothingQuality = "high";
  context.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  bitmap.close();
  put({ canvas, file });
}

const isFile = (event) => event.dataTransfer.types.includes("Files");
addEventListener("dragover", (event) => {
  if (!isFile(event)) return;
  event.preventDefault();
  document.body.classList.add("dragging");
});
addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) document.body.classList.remove("dragging");
});
addEventListener("drop", (event) => {
  document.body.classList.remove("dragging");
  if (!isFile(event)) return;
  event.preventDefault();
  take(event.dataTransfer.files[0]);
});
addEventListener("paste", (event) => take(event.clipboardData.files[0]));
$("choose").addEventListener("click", () => $("file").click());
$("file").addEventListener("change", () => {
  take($("file").files[0]);
  $("file").value = "";  // or the same file could not be chosen again
});

// Sixty digits of MNIST's test set, one under the other in one PNG; ten are shown at a time.
let samples = [], shown = 0;

async function loadSamples() {
  const sprite = new Image();
  sprite.src = data.digits.png;
  await sprite.decode();
  samples = data.digits.labels.map((label, i) => {
    const canvas = blank(28, 28), context = canvas.getContext("2d", { willReadFrequently: true });
    context.drawImage(sprite, 0, -28 * i);
    return { label, canvas, levels: context.getImageData(0, 0, 28, 28).data.filter((_, at) => at % 4 === 0) };
  });
  $("samples").replaceChildren(...[...Array(10).keys()].map(() => {
    const button = document.createElement("button");
    button.append(blank(28, 28));
    button.addEventListener("click", () => put(samples[+button.value]));
    return button;
  }));
  $("others").addEventListener("click", () => {
    shown = (shown + 1) % (samples.length / 10);
    showSamples();
  });
  showSamples();
}

function showSamples() {
  [...$("samples").children].forEach((button, digit) => {
    button.value = samples.map((_, i) => i).filter((i) => samples[i].label === digit)[shown];
    const { levels } = samples[button.value];
    tint(button.firstChild, levels, 28, 28, colour("--pen"), 255);
    button.setAttribute("aria-label", `Handwritten ${digit}, number ${shown + 1} of ${samples.length / 10}`);
  });
}
