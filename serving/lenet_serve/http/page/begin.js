// The beginning: what is served here.
async function begin() {
  try {
    const states = await (await ask("v2/repository/index", { method: "POST", body: '{"ready":true}' })).json();
    const names = [...new Set(states.map((state) => state.name))];
    const chosen = $("model").value || names[0];
    $("model").replaceChildren(...names.map((name) => new Option(name, name, false, name === chosen)));
    $("choice").hidden = names.length < 2;
    await describe();
    look();
  } catch (error) { $("served").textContent = error.message; }
}

async function describe() {
  if (!$("model").value) { $("served").textContent = "No model is ready."; return; }
  const [model, server] = await Promise.all([`v2/models/${encodeURIComponent($("model").value)}`, "v2"]
    .map(async (path) => (await ask(path)).json()));
  const classes = model.outputs.find((output) => output.datatype === "FP32")?.shape.at(-1) ?? 10;
  makeBars([...Array(classes).keys()]);
  $("served").textContent = `answered here by ${model.name}, version ${model.versions.at(-1)} ` +
    `(${model.platform}), ${server.name} ${server.version}`;
}

$("undo").addEventListener("click", undo);
$("clear").addEventListener("click", clear);
$("example").addEventListener("click", () => play(Math.floor(10 * Math.random())));
$("model").addEventListener("change", async () => {
  try { await describe(); show(null); classify(true); }
  catch (error) { $("note").textContent = error.message; }
});
$("login").addEventListener("submit", (event) => {
  event.preventDefault();
  token = $("token").value;
  $("login").hidden = true;
  begin();
});
paper.addEventListener("keydown", (event) => {
  if (!event.ctrlKey && !event.metaKey && !event.altKey && /^[0-9]$/.test(event.key)) play(+event.key);
});
addEventListener("keydown", (event) => {
  if (event.target.matches("input, select")) return;
  if (event.key === "Escape") clear();
  else if ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "z") { event.preventDefault(); undo(); }
});
makeBars([...Array(10).keys()]);
show(null);
redraw();
begin();
setInterval(look, 1000);
