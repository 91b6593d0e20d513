// Shows the values under the pointer in a learning curve. The page is complete without it.
"use strict";
(() => {
  const tip = document.getElementById("tip");

  function nearest(positions, at) {
    let best = 0;
    for (let k = 1; k < positions.length; k += 1) {
      if (Math.abs(positions[k] - at) < Math.abs(positions[best] - at)) best = k;
    }
    return best;
  }

  function place(x, y) {
    const box = tip.getBoundingClientRect();
    const left = x + 16 + box.width > window.innerWidth ? x - 16 - box.width : x + 16;
    tip.style.left = `${Math.max(4, left)}px`;
    tip.style.top = `${Math.max(4, Math.min(y - box.height / 2, window.innerHeight - box.height - 4))}px`;
  }

  for (const chart of document.querySelectorAll("svg[data-hover]")) {
    const data = JSON.parse(chart.dataset.hover);
    const cursor = chart.querySelector(".cursor");
    // A browser would show the title beside our own values; the label keeps it for screen readers.
    const title = chart.querySelector("title");
    chart.removeAttribute("aria-labelledby");
    chart.setAttribute("aria-label", title.textContent);
    chart.setAttribute("aria-describedby", chart.querySelector("desc").id);
    title.remove();

    chart.addEventListener("pointermove", (event) => {
      const frame = chart.getBoundingClientRect();
      const at = ((event.clientX - frame.left) / frame.width) * chart.viewBox.baseVal.width;
      const k = nearest(data.x, at);
      cursor.setAttribute("x1", data.x[k]);
      cursor.setAttribute("x2", data.x[k]);
      cursor.classList.add("on");
      const lines = data.series.map((series) => `${series.name}  ${series.text[k]}`);
      tip.textContent = [data.head[k], ...lines].join("\n");
      tip.hidden = false;
      place(event.clientX, event.clientY);
    });
    chart.addEventListener("pointerleave", () => {
      cursor.classList.remove("on");
      tip.hidden = true;
    });
  }
})();
