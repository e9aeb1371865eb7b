"use strict";
// Figures are drawn when they are first seen: one in closed details has no size.
const PRINT_PX = 680;  // the width of A4 between its margins
const config = { displaylogo: false, displayModeBar: false, responsive: true };
const figures = [...document.querySelectorAll(".figure")];

function draw(node) {
  if (node.dataset.drawn || !node.offsetWidth) return;
  node.dataset.drawn = "yes";
  const { data, layout } = JSON.parse(node.querySelector("script").textContent);
  Plotly.newPlot(node, data, layout, config);
}

figures.forEach(draw);
document.querySelectorAll("details").forEach((node) =>
  node.addEventListener("toggle", () => node.querySelectorAll(".figure").forEach(draw)));

addEventListener("beforeprint", () => {
  document.querySelectorAll("details").forEach((node) => { node.open = true; });
  figures.forEach(draw);
  figures.forEach((node) => Plotly.relayout(node, { width: PRINT_PX }));
});
addEventListener("afterprint", () =>
  figures.forEach((node) => Plotly.relayout(node, { width: null, autosize: true })));
