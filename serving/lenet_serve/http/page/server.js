// The network behind the page: this server's models, by its API.
let token = "";

/** Ask the server; throws an Error with what it says. */
async function ask(path, options = {}) {
  const headers = { ...options.headers, ...(token && { Authorization: `Bearer ${token}` }) };
  let reply;
  try { reply = await fetch(path, { ...options, headers, cache: "no-store" }); }
  catch { throw new Error("The server does not answer."); }
  if (reply.ok) return reply;
  if (reply.status === 401) $("login").hidden = false;
  const text = await reply.text();
  let said = `The server answered ${reply.status}.`;
  try { said = JSON.parse(text).error || said; } catch { /* not ours: some proxy's page */ }
  throw new Error(said);
}

const source = {
  times: { browser: "Browser", total: "Server", input: "Preparing", infer: "Inference" },
  pause: () => new Promise((wake) => setTimeout(wake, 40)),

  async begin() {
    const states = await (await ask("v2/repository/index", { method: "POST", body: '{"ready":true}' })).json();
    const names = [...new Set(states.map((state) => state.name))];
    const chosen = $("model").value || names[0];
    $("model").replaceChildren(...names.map((name) => new Option(name, name, false, name === chosen)));
    $("choice").hidden = names.length < 2;
    await this.describe();
    look();
  },

  async describe() {
    if (!$("model").value) { $("served").textContent = "No model is ready."; return; }
    const [model, server] = await Promise.all([`v2/models/${encodeURIComponent($("model").value)}`, "v2"]
      .map(async (path) => (await ask(path)).json()));
    const classes = model.outputs.find((output) => output.datatype === "FP32")?.shape.at(-1) ?? 10;
    makeBars([...Array(classes).keys()]);
    $("served").textContent = `answered here by ${model.name}, version ${model.versions.at(-1)} ` +
      `(${model.platform}), ${server.name} ${server.version}`;
  },

  async classify(sheet, file) {
    const body = file ?? await new Promise((resolve) => sheet.toBlob(resolve, "image/png"));
    const model = $("model").value, began = performance.now();
    const reply = await ask(`v1/predict?pixels=true${model && `&model=${encodeURIComponent(model)}`}`,
      { method: "POST", body, headers: { "Content-Type": body.type || "image/png" } });
    const answer = await reply.json(), times = { browser: performance.now() - began };
    for (const part of (reply.headers.get("server-timing") ?? "").split(",")) {
      const [name, ms] = part.trim().split(";dur=");
      if (ms) times[name] = +ms;
    }
    return { ...answer.predictions[0], warnings: answer.warnings ?? "", times };
  },
};

$("model").addEventListener("change", async () => {
  try { await source.describe(); show(null); classify(true); }
  catch (error) { say(error.message); }
});
$("login").addEventListener("submit", (event) => {
  event.preventDefault();
  token = $("token").value;
  $("login").hidden = true;
  source.begin().catch((error) => { $("served").textContent = error.message; });
});
setInterval(look, 1000);
