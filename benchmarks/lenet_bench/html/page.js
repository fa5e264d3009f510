const off = new Set(), batch = document.getElementById("batch");
function show() {
  for (const plot of document.querySelectorAll(".js-plotly-plot")) {
    const visible = plot.data.map(({meta}) => !meta ||
      (meta.engine === undefined || !off.has(meta.engine)) &&
      (meta.batch === undefined || String(meta.batch) === batch.value));
    Plotly.restyle(plot, {visible});
  }
}
for (const key of document.querySelectorAll(".keys button")) key.onclick = () => {
  const engine = Number(key.dataset.engine), hide = !off.has(engine);
  if (hide) off.add(engine); else off.delete(engine);
  key.setAttribute("aria-pressed", String(!hide));
  show();
};
if (batch) batch.onchange = show;
