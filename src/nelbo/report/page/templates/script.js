"use strict";
const whole = document.getElementById("whole");
whole.href = "data:application/json," +
  encodeURIComponent(document.getElementById("result").textContent);
whole.download = "result.json";
/* Tooltips from the table behind each chart, and one view at a time where a card has several. */
for (const frame of document.querySelectorAll(".frame")) {
  const plot = frame.querySelector(".plot");
  const chart = frame.closest(".chart");
  const names = [...chart.querySelectorAll("thead th")].map((cell) => cell.textContent);
  const rows = [...chart.querySelectorAll("tbody tr")];
  const points = plot.dataset.points.split(" ").flatMap((place, row) =>
    place === "-" ? [] : [{ x: +place.split(",")[0], y: +place.split(",")[1], row }]);
  if (!points.length) continue;
  const tip = document.createElement("div");
  tip.className = "tip";
  tip.setAttribute("role", "status");
  tip.hidden = true;
  frame.append(tip);
  const dot = document.createElementNS(plot.namespaceURI, "circle");
  dot.setAttribute("r", "4.5");
  dot.setAttribute("class", "dot");
  let at = -1;
  const hide = () => { tip.hidden = true; dot.remove(); at = -1; };
  const show = (index) => {
    at = index;
    const point = points[index];
    tip.replaceChildren(...[...rows[point.row].cells].map((cell, i) => {
      const line = document.createElement("div");
      const name = document.createElement("b");
      name.textContent = names[i] + " ";
      line.append(name, cell.textContent);
      return line;
    }));
    dot.setAttribute("cx", point.x);
    dot.setAttribute("cy", point.y);
    plot.append(dot);
    tip.hidden = false;
    const scale = plot.getBoundingClientRect().width / plot.viewBox.baseVal.width;
    const room = frame.clientWidth - tip.offsetWidth;
    tip.style.left = Math.max(0, Math.min(room, point.x * scale - tip.offsetWidth / 2)) + "px";
    const above = point.y * scale - tip.offsetHeight - 12;
    tip.style.top = (above < 0 ? point.y * scale + 14 : above) + "px";
  };
  const order = points.map((_, i) => i).sort((a, b) => points[a].x - points[b].x);
  const flat = names[0] === "model" ? 1 : 8; // of several curves the near one, of one the place along it
  plot.addEventListener("pointermove", (event) => {
    const box = plot.getBoundingClientRect();
    const scale = plot.viewBox.baseVal.width / box.width;
    const x = (event.clientX - box.left) * scale, y = (event.clientY - box.top) * scale;
    let best = 0;
    points.forEach((p, i) => {
      const far = (q) => Math.abs(q.x - x) + Math.abs(q.y - y) / flat;
      if (far(p) < far(points[best])) best = i;
    });
    if (best !== at) show(best);
  });
  plot.addEventListener("pointerleave", hide);
  plot.addEventListener("blur", hide);
  plot.addEventListener("focus", () => { if (plot.matches(":focus-visible")) show(order[0]); });
  plot.addEventListener("keydown", (event) => {
    const way = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (event.key === "Escape") hide();
    if (!way) return;
    event.preventDefault();
    const next = order.indexOf(at) + way;
    show(order[at < 0 ? (way > 0 ? 0 : order.length - 1) :
      Math.max(0, Math.min(order.length - 1, next))]);
  });
}
for (const group of document.querySelectorAll("[data-views]")) {
  const views = [...group.querySelectorAll(":scope > .chart, :scope > details > .chart")];
  if (views.length < 2) continue;
  const bar = document.createElement("div");
  bar.className = "views";
  bar.setAttribute("role", "group");
  bar.setAttribute("aria-label", group.dataset.views);
  const choose = (chosen) => views.forEach((view, i) => {
    view.hidden = view !== chosen;
    bar.children[i].setAttribute("aria-pressed", String(view === chosen));
  });
  for (const view of views) {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = view.dataset.view;
    button.addEventListener("click", () => choose(view));
    bar.append(button);
    const around = view.parentElement;
    if (around !== group) { group.append(view); around.remove(); }
  }
  views[0].before(bar);
  choose(views[0]);
}
