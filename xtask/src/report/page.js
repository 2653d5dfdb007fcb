"use strict";
// Charts with hover values, zoom by dragging and seeds on demand; tables that sort. No library, no network.
(() => {
  const charts = new Map(JSON.parse(document.getElementById("data").textContent).map(c => [c.key, c]));
  const NS = "http://www.w3.org/2000/svg";
  // Seven colours, then the same seven dashed.
  const colour = i => `var(--c${i % 7})`;
  const dash = i => (i < 7 ? "none" : `${2 * Math.floor(i / 7) + 2} 3`);

  const element = (name, attributes, parent, text) => {
    const node = document.createElementNS(NS, name);
    for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
    if (text !== undefined) node.textContent = text;
    if (parent) parent.append(node);
    return node;
  };

  const short = x => {
    const size = Math.abs(x);
    if (size >= 1e6) return +(x / 1e6).toFixed(3) + "M";
    if (size >= 1e4) return +(x / 1e3).toFixed(3) + "k";
    if (size > 0 && size < 1e-3) return x.toExponential(1);
    return String(+x.toFixed(4));
  };
  const exact = x => (x === null ? "–" : String(+x.toPrecision(5)));

  const ticks = (from, to, count) => {
    const rough = (to - from) / count;
    const power = 10 ** Math.floor(Math.log10(rough));
    const step = [1, 2, 2.5, 5, 10].map(m => m * power).find(s => s >= rough * 0.999);
    const out = [];
    for (let i = Math.ceil(from / step - 1e-9); i * step <= to + step * 1e-9; i++) out.push(i * step);
    return out;
  };

  const extent = values => {
    let lo = Infinity, hi = -Infinity;
    for (const v of values) if (v !== null && Number.isFinite(v)) { lo = Math.min(lo, v); hi = Math.max(hi, v); }
    if (lo > hi) return [0, 1];
    if (lo === hi) { const room = Math.max(Math.abs(lo), 1) * 0.1; return [lo - room, hi + room]; }
    return [lo, hi];
  };

  // Index of the point nearest to x in an ascending list.
  const nearest = (list, x) => {
    let lo = 0, hi = list.length - 1;
    while (hi - lo > 1) { const mid = (lo + hi) >> 1; if (list[mid] < x) lo = mid; else hi = mid; }
    return Math.abs(list[lo] - x) <= Math.abs(list[hi] - x) ? lo : hi;
  };

  const path = (x, y, sx, sy) => {
    let d = "", pen = false;
    for (let i = 0; i < x.length; i++) {
      if (y[i] === null) { pen = false; continue; }
      d += (pen ? "L" : "M") + sx(x[i]).toFixed(1) + " " + sy(y[i]).toFixed(1);
      pen = true;
    }
    return d;
  };

  let showSeeds = false;
  const redraws = [];
  let serial = 0;

  const mount = figure => {
    if (figure.dataset.drawn) return;
    figure.dataset.drawn = "yes";
    const chart = charts.get(figure.dataset.chart);
    const canvas = figure.querySelector(".canvas");
    const hidden = new Set();
    const id = "clip" + serial++;
    let zoom = null;

    const legend = document.createElement("div");
    legend.className = "legend";
    chart.series.forEach((series, i) => {
      const item = document.createElement("button");
      item.type = "button";
      item.setAttribute("aria-pressed", "true");
      const swatch = document.createElement("span");
      swatch.className = "swatch";
      swatch.style.background = colour(series.colour);
      item.append(swatch, series.name);
      item.onclick = () => {
        if (!hidden.delete(i)) hidden.add(i);
        item.setAttribute("aria-pressed", String(!hidden.has(i)));
        draw();
      };
      legend.append(item);
    });
    figure.append(legend);

    const tip = document.createElement("div");
    tip.className = "tip";
    tip.hidden = true;

    const draw = () => {
      const width = Math.max(280, canvas.clientWidth || 480), height = Math.round(Math.min(300, width * 0.62));
      const left = 58, right = 18, top = 8, bottom = 40;
      const shown = chart.series.map((s, i) => [s, i]).filter(([, i]) => !hidden.has(i));
      const [x0, x1] = zoom || extent(chart.series.flatMap(s => s.x));
      const inside = (x, y) => y.filter((_, k) => x[k] >= x0 && x[k] <= x1);
      const values = shown.flatMap(([s]) => [...inside(s.x, s.lo), ...inside(s.x, s.hi),
        ...(showSeeds ? s.seeds.flatMap(c => inside(c.x, c.y)) : [])]);
      let [y0, y1] = extent(values);
      const room = (y1 - y0) * 0.05;
      y0 -= room; y1 += room;
      const sx = x => left + (x - x0) / (x1 - x0) * (width - left - right);
      const sy = y => top + (y1 - y) / (y1 - y0) * (height - top - bottom);

      const svg = element("svg", { viewBox: `0 0 ${width} ${height}`, class: "live", role: "img", "aria-label": chart.title });
      const clip = element("clipPath", { id }, svg);
      element("rect", { x: left, y: top, width: width - left - right, height: height - top - bottom }, clip);
      for (const y of ticks(y0, y1, 5)) {
        element("line", { x1: left, x2: width - right, y1: sy(y), y2: sy(y), class: "grid" }, svg);
        element("text", { x: left - 6, y: sy(y) + 4, "text-anchor": "end" }, svg, short(y));
      }
      for (const x of ticks(x0, x1, Math.max(2, Math.floor(width / 110)))) {
        element("line", { x1: sx(x), x2: sx(x), y1: height - bottom, y2: height - bottom + 4, class: "grid" }, svg);
        element("text", { x: sx(x), y: height - bottom + 17, "text-anchor": "middle" }, svg, short(x));
      }
      element("text", { x: (left + width - right) / 2, y: height - 5, "text-anchor": "middle" }, svg, chart.x_label);
      const middle = (top + height - bottom) / 2;
      element("text", { x: 12, y: middle, "text-anchor": "middle", transform: `rotate(-90 12 ${middle})` }, svg, chart.y_label);

      const marks = element("g", { "clip-path": `url(#${id})`, fill: "none" }, svg);
      for (const [s] of shown) {
        const many = s.seeds.length !== 1;
        if (many) {
          const back = path([...s.x].reverse(), [...s.lo].reverse(), sx, sy).replace("M", "L");
          element("path", { d: path(s.x, s.hi, sx, sy) + back + "Z", fill: colour(s.colour), opacity: 0.17 }, marks);
        }
        if (showSeeds && many) for (const c of s.seeds)
          element("path", { d: path(c.x, c.y, sx, sy), stroke: colour(s.colour), "stroke-width": 1, opacity: 0.5 }, marks);
        element("path", { d: path(s.x, s.mean, sx, sy), stroke: colour(s.colour), "stroke-width": 2, "stroke-dasharray": dash(s.colour) }, marks);
        if (s.x.length < 25) s.x.forEach((x, k) => s.mean[k] !== null &&
          element("circle", { cx: sx(x), cy: sy(s.mean[k]), r: 2.5, fill: colour(s.colour) }, marks));
      }
      const cursor = element("line", { y1: top, y2: height - bottom, class: "cursor", visibility: "hidden" }, svg);
      const select = element("rect", { y: top, height: height - top - bottom, width: 0, class: "select" }, svg);

      const position = event => {
        const box = svg.getBoundingClientRect();
        return Math.min(width - right, Math.max(left, (event.clientX - box.left) / box.width * width));
      };
      const value = p => x0 + (p - left) / (width - left - right) * (x1 - x0);
      let from = null;
      svg.onpointerdown = event => { if (event.pointerType === "mouse" && event.button === 0) { from = position(event); svg.setPointerCapture(event.pointerId); } };
      svg.onpointermove = event => {
        const p = position(event);
        if (from !== null) {
          select.setAttribute("x", Math.min(from, p));
          select.setAttribute("width", Math.abs(p - from));
        }
        hover(value(p));
      };
      svg.onpointerup = event => {
        const p = position(event), start = from;
        from = null;
        if (start !== null && Math.abs(p - start) > 8) { zoom = [value(Math.min(start, p)), value(Math.max(start, p))]; draw(); }
      };
      svg.onpointerleave = () => { tip.hidden = true; cursor.setAttribute("visibility", "hidden"); };
      svg.ondblclick = () => { zoom = null; draw(); };

      const hover = x => {
        const lines = shown.filter(([s]) => s.x.length).map(([s]) => [s, nearest(s.x, x)]);
        if (!lines.length) return;
        const at = lines[0][0].x[lines[0][1]];
        cursor.setAttribute("x1", sx(at));
        cursor.setAttribute("x2", sx(at));
        cursor.setAttribute("visibility", "visible");
        tip.replaceChildren(`${chart.x_label}: ${exact(at)}`);
        for (const [s, k] of lines) {
          const row = document.createElement("div"), swatch = document.createElement("span");
          swatch.className = "swatch";
          swatch.style.background = colour(s.colour);
          const interval = s.seeds.length !== 1 ? ` [${exact(s.lo[k])}, ${exact(s.hi[k])}]` : "";
          row.append(swatch, `${s.name}: ${exact(s.mean[k])}${interval}`);
          tip.append(row);
        }
        tip.hidden = false;
        const share = (sx(at) - left) / (width - left - right);
        tip.style.left = share < 0.5 ? `calc(${sx(at) / width * 100}% + 10px)` : "auto";
        tip.style.right = share < 0.5 ? "auto" : `calc(${(1 - sx(at) / width) * 100}% + 10px)`;
      };
      canvas.replaceChildren(svg, tip);
    };
    redraws.push(draw);
    draw();
  };

  // Charts inside a closed part are drawn when it opens.
  const open = figure => !figure.closest("details:not([open])");
  const figures = [...document.querySelectorAll("figure.chart")];
  figures.filter(open).forEach(mount);
  for (const details of document.querySelectorAll("details")) {
    details.addEventListener("toggle", () => {
      if (details.open) details.querySelectorAll("figure.chart").forEach(mount);
    });
  }
  for (const link of document.querySelectorAll("nav a")) link.addEventListener("click", () => {
    const target = document.getElementById(link.hash.slice(1));
    if (target instanceof HTMLDetailsElement) target.open = true;
  });

  const redraw = () => redraws.forEach(draw => draw());
  let pending = 0;
  addEventListener("resize", () => { cancelAnimationFrame(pending); pending = requestAnimationFrame(redraw); });
  document.getElementById("seeds").onchange = event => { showSeeds = event.target.checked; redraw(); };
  document.getElementById("theme").onclick = () => {
    const root = document.documentElement;
    const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.theme = dark ? "light" : "dark";
  };

  for (const table of document.querySelectorAll("table.sortable")) {
    const heads = [...table.tHead.rows[0].cells], body = table.tBodies[0];
    heads.forEach((head, column) => {
      head.tabIndex = 0;
      const sort = () => {
        const down = head.getAttribute("aria-sort") === "ascending";
        heads.forEach(h => h.removeAttribute("aria-sort"));
        head.setAttribute("aria-sort", down ? "descending" : "ascending");
        const key = row => {
          const cell = row.cells[column];
          return cell.dataset.value === undefined ? cell.textContent : +cell.dataset.value;
        };
        const order = (a, b) => (typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b)));
        const rows = [...body.rows].sort((a, b) => order(key(a), key(b)));
        body.append(...(down ? rows.reverse() : rows));
      };
      head.onclick = sort;
      head.onkeydown = event => { if (event.key === "Enter") sort(); };
    });
  }
  document.documentElement.dataset.ready = "yes";
})();
