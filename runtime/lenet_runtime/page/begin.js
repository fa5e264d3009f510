// The beginning, once all is declared.
$("undo").addEventListener("click", undo);
$("clear").addEventListener("click", clear);
paper.addEventListener("keydown", (event) => {
  paper.classList.remove("pointed");
  if (!event.ctrlKey && !event.metaKey && !event.altKey && /^[0-9]$/.test(event.key)) play(+event.key);
});
addEventListener("keydown", (event) => {
  paper.classList.remove("pointed");
  if (event.target.matches("input, select")) return;
  if (event.key === "Escape") clear();
  else if ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "z") { event.preventDefault(); undo(); }
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
  redraw();
  if (samples.length) showSamples();
  classify(true);  // which colours the feature maps
});
document.body.classList.add("begun");
$("served").textContent = "…";
makeTimes(source.times);
makeBars([...Array(10).keys()]);
show(null);
redraw();
loadSamples();
source.begin().catch((error) => {
  $("served").textContent = "No answers here.";
  say(error.message);
});
