"use strict";
// Draws what the lab says twice a second. Texts enter the page as text only.
(() => {
  const STATES = [["ready", "●"], ["starting", "◌"], ["behind", "◐"], ["paused", "‖"], ["down", "✕"]];
  const SIGNS = Object.fromEntries(STATES);
  const PERIOD = 500, ROWS_MAX = 400, EVENTS_MAX = 80, PATIENCE = 6;
  const at = (id) => document.getElementById(id);
  const put = (id, text) => { const e = at(id); if (e.textContent !== text) e.textContent = text; };
  const make = (tag, text, name) => { const e = document.createElement(tag); if (text !== undefined) e.textContent = text; if (name) e.className = name; return e; };
  const whole = (n) => Math.round(n).toLocaleString("en-US");
  const heights = (n) => n.heights.map((height) => (height === null ? "–" : whole(height))).join(" · ");
  const bytes = (n) => { let u = 0; while (n >= 1000 && u < 4) { n /= 1000; u += 1; } return `${n >= 100 || u === 0 ? Math.round(n) : n.toPrecision(3)} ${["B", "kB", "MB", "GB", "TB"][u]}`; };
  const time = (us) => us <= 0 ? "–" : us >= 1e6 ? `${(us / 1e6).toFixed(2)} s` : us >= 1000 ? `${(us / 1000).toPrecision(3)} ms` : `${us} µs`;
  const seconds = (ms) => `${(ms / 1000).toFixed(1)} s`;
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  let palette = {}, map = null, board = null, chosen = -1, misses = 0, boxes = [], neighbours = [];

  const readPalette = () => {
    palette = { line: colour("--line"), edge: colour("--edge"), ink: colour("--ink"), muted: colour("--muted"), surface: colour("--surface"), warn: colour("--warn"), bad: colour("--bad"), s1: colour("--s1") };
    for (const [state] of STATES) palette[state] = colour(`--${state}`);
  };

  // A canvas in real pixels; gives back its context and its size in the page's own.
  const canvas = (id) => {
    const e = at(id), ratio = window.devicePixelRatio || 1, w = e.clientWidth, h = e.clientHeight;
    const [pw, ph] = [Math.round(w * ratio), Math.round(h * ratio)];
    if (e.width !== pw || e.height !== ph) { e.width = pw; e.height = ph; }
    const c = e.getContext("2d");
    c.setTransform(ratio, 0, 0, ratio, 0, 0);
    c.clearRect(0, 0, w, h);
    return [c, w, h];
  };

  const curve = (id, key, stroke) => {
    const [c, w, h] = canvas(id), points = board.history;
    if (points.length < 2) return;
    const most = Math.max(1, ...points.map((p) => p[key]));
    const x = (i) => w * i / (points.length - 1), y = (p) => h - 2 - (h - 8) * p[key] / most;
    c.fillStyle = palette.warn; c.globalAlpha = 0.16;
    points.forEach((p, i) => { if (p.fault) c.fillRect(x(i - 0.5), 0, w / (points.length - 1) + 0.5, h); });
    c.globalAlpha = 1; c.beginPath();
    points.forEach((p, i) => i ? c.lineTo(x(i), y(p)) : c.moveTo(x(i), y(p)));
    c.strokeStyle = stroke; c.lineWidth = 1.8; c.lineJoin = "round"; c.stroke();
    c.lineTo(w, h); c.lineTo(0, h); c.closePath(); c.globalAlpha = 0.13; c.fillStyle = stroke; c.fill(); c.globalAlpha = 1;
  };

  // Which links a partition cuts: those between two of its sides.
  const sides = () => board.faults.filter((f) => f.sides.length).map((f) => { const m = new Map(); f.sides.forEach((s, i) => s.forEach((n) => m.set(n, i))); return m; });
  const isCut = (cuts, a, b) => cuts.some((m) => m.has(a) && m.has(b) && m.get(a) !== m.get(b));

  const drawMap = () => {
    const [c, w, h] = canvas("map"), n = map.places.length, margin = 26;
    const radius = Math.max(2.2, Math.min(11, 0.3 * Math.sqrt((w * h) / Math.max(1, n))));
    const spot = map.places.map(([x, y]) => [margin + x * (w - 2 * margin), margin + y * (h - 2 * margin)]);
    boxes = spot.map(([x, y]) => [x, y, Math.max(radius, 5)]);
    const cuts = sides(), faulted = new Set(board.faults.filter((f) => !f.sides.length).flatMap((f) => f.nodes));
    const dead = (i) => board.nodes[i] && (board.nodes[i].state === "down" || board.nodes[i].state === "paused");
    const stroke = (style, width, alpha, dash, wanted) => {
      c.beginPath();
      for (const [a, b] of map.edges) if (wanted(a, b)) { c.moveTo(...spot[a]); c.lineTo(...spot[b]); }
      c.strokeStyle = style; c.lineWidth = width; c.globalAlpha = alpha; c.setLineDash(dash); c.stroke();
      c.setLineDash([]); c.globalAlpha = 1;
    };
    const alpha = (n > 300 ? 0.3 : 0.75) * (chosen >= 0 ? 0.45 : 1);
    stroke(palette.edge, n > 300 ? 0.6 : 1.1, alpha, [], (a, b) => !isCut(cuts, a, b) && !dead(a) && !dead(b));
    stroke(palette.edge, 0.8, alpha * 0.7, [2, 4], (a, b) => !isCut(cuts, a, b) && (dead(a) || dead(b)));
    stroke(palette.bad, 1.4, 0.9, [5, 4], (a, b) => isCut(cuts, a, b));
    if (chosen >= 0) stroke(palette.s1, 1.8, 1, [], (a, b) => a === chosen || b === chosen);
    c.font = "600 12px system-ui, sans-serif"; c.textAlign = "center"; c.fillStyle = palette.muted;
    for (const [name, [x, y]] of map.regions) c.fillText(name, margin + x * (w - 2 * margin), Math.max(12, margin + y * (h - 2 * margin) - 0.5 * (h - 2 * margin) * regionSize() - 12));
    for (let i = 0; i < n; i += 1) drawNode(c, spot[i], radius, i, faulted.has(i));
    if (n <= 40) {
      c.font = "11px system-ui, sans-serif"; c.fillStyle = palette.muted; c.textAlign = "center";
      spot.forEach(([x, y], i) => c.fillText(map.nodes[i].name, x, y + radius + 12));
    }
  };
  const regionSize = () => map.region_size;

  const drawNode = (c, [x, y], r, i, faulted) => {
    const node = board.nodes[i], state = node ? node.state : "starting", voter = map.nodes[i].role === "validator";
    c.fillStyle = palette[state];
    // The further behind, the paler.
    c.globalAlpha = state === "behind" ? Math.max(0.45, 1 - node.lag / 200) : chosen >= 0 && chosen !== i && !neighbours[i].has(chosen) ? 0.4 : 1;
    c.beginPath();
    if (voter) { c.arc(x, y, r, 0, 7); } else { const s = r * 0.82; c.rect(x - s, y - s, 2 * s, 2 * s); }
    c.fill(); c.globalAlpha = 1;
    if (r >= 5) { c.strokeStyle = palette.surface; c.lineWidth = 1.5; c.stroke(); }
    if (r >= 5 && state !== "ready") { c.fillStyle = palette.surface; c.font = `700 ${Math.round(r * 1.15)}px system-ui, sans-serif`; c.textAlign = "center"; c.fillText(SIGNS[state], x, y + r * 0.42); }
    if (faulted) { c.beginPath(); c.arc(x, y, r + 4, 0, 7); c.strokeStyle = palette.warn; c.lineWidth = 2.2; c.setLineDash([4, 3]); c.stroke(); c.setLineDash([]); }
    if (i === chosen) { c.beginPath(); c.arc(x, y, r + 3, 0, 7); c.strokeStyle = palette.ink; c.lineWidth = 1.6; c.stroke(); }
  };

  const drawCards = () => {
    const load = board.load, total = board.total;
    put("final", load ? whole(load.final_per_s) : "–");
    put("offered", load ? `of ${whole(load.offered_per_s)} offered, ${whole(load.finalised)} so far` : "no load yet");
    put("p99", load ? time(load.p99_us) : "–");
    put("p50", load ? `median ${time(load.p50_us)}, of the last second` : "\u00a0");
    const known = board.spreads.map((s, i) => [map.instances[i], s]).filter(([, s]) => s);
    put("height", known.length ? known.map(([, s]) => whole(s.max)).join(" · ") : "–");
    put("spread", known.length ? known.map(([name, s]) => `${known.length > 1 ? `${name}: ` : ""}lowest ${whole(s.min)}, median ${whole(s.median)}`).join("; ") : "no block yet");
    put("cpu", `${Math.round(total.cpu_percent)} %`);
    put("memory", `nodes ${bytes(total.rss_bytes)}; lab ${Math.round(board.lab.cpu_percent)} %, ${bytes(board.lab.rss_bytes)}`);
    curve("curve-final", "final_per_s", palette.ready);
    curve("curve-p99", "p99_us", palette.s1);
  };

  const drawPhase = () => {
    const planned = map.phases.find(([kind]) => kind === board.phase), badge = at("phase");
    put("phase", board.ended ? "ended" : board.phase_name);
    badge.classList.toggle("ended", Boolean(board.ended));
    const left = board.phase_left_ms, done = planned && left !== null ? 100 * Math.min(1, Math.max(0, 1 - left / Math.max(1, planned[1]))) : board.ended ? 100 : 0;
    at("bar").style.width = `${done}%`;
    at("bar").parentElement.setAttribute("aria-valuenow", String(Math.round(done)));
    put("left", board.ended ? board.ended : left !== null ? `${seconds(left)} left · ${seconds(board.at_ms)} since the start` : `${board.step} · ${seconds(board.at_ms)}`);
    const notes = board.faults.map((f) => `${f.text}${f.until_ms !== null ? `, ${Math.max(0, Math.round((f.until_ms - board.at_ms) / 1000))} s left` : ""}`);
    if (board.by_hand && !notes.length) notes.push("A person interfered with this run.");
    at("notice").hidden = !notes.length;
    put("notice", notes.join(" · "));
  };

  const drawLegend = () => {
    at("legend").replaceChildren(...STATES.filter(([s]) => board.counts[s] > 0).map(([s, sign]) => {
      const item = make("li");
      item.append(make("span", `${sign} `, `sign ${s}`), make("b", whole(board.counts[s])), ` ${s}`);
      return item;
    }));
  };

  const drawEvents = () => {
    const list = at("events"), newest = board.events.slice(-EVENTS_MAX).reverse();
    const key = JSON.stringify(newest[0] || null) + board.events.length;
    if (list.dataset.key === key) return;
    list.dataset.key = key;
    list.replaceChildren(...newest.map((e) => {
      const item = make("li"), text = e.node && !e.text.includes(e.node) ? `${e.node} ${e.text}` : e.text;
      item.append(make("time", e.at_ms === null ? "" : seconds(e.at_ms)), make("span", e.kind, `kind ${e.kind}`), make("span", text));
      return item;
    }));
  };

  const drawNodes = () => {
    const body = at("nodes"), count = Math.min(map.nodes.length, ROWS_MAX), faulted = new Set(board.faults.flatMap((f) => f.nodes));
    while (body.rows.length < count) {
      const i = body.rows.length, row = make("tr"), name = make("th", map.nodes[i].name);
      name.scope = "row";
      row.append(name, make("td"), make("td", map.nodes[i].role), make("td", map.nodes[i].region || "–"));
      for (let k = 0; k < 6; k += 1) row.append(make("td", "–", "num"));
      row.addEventListener("mouseenter", () => choose(i));
      row.addEventListener("mouseleave", () => choose(-1));
      body.append(row);
    }
    for (let i = 0; i < count; i += 1) {
      const n = board.nodes[i], row = body.rows[i], runs = n.state !== "down";
      const texts = [n.heights.length ? heights(n) : "–", whole(n.lag), whole(n.peers), runs ? whole(n.mempool) : "–", runs ? `${Math.round(n.usage.cpu_percent)} %` : "–", runs ? bytes(n.usage.rss_bytes) : "–"];
      const state = `${SIGNS[n.state]} ${n.state}${faulted.has(i) ? " !" : ""}`;
      if (row.cells[1].textContent !== state) { row.cells[1].textContent = state; row.cells[1].className = n.state; }
      texts.forEach((t, k) => { const cell = row.cells[4 + k]; if (cell.textContent !== t) cell.textContent = t; });
      row.classList.toggle("chosen", i === chosen);
    }
  };

  // It is not known of a program of others whether it is ready, only that it runs. Those that have ended come first where
  // there are more than are listed, as on the terminal.
  const drawPrograms = () => {
    const body = at("programs");
    if (!body) return;
    let listed = map.programs.map((place, i) => [place, board.programs[i]]).filter(([, now]) => now);
    put("programs-count", listed.length > ROWS_MAX ? `${ROWS_MAX} of ${whole(listed.length)}` : whole(listed.length));
    if (listed.length > ROWS_MAX) listed = listed.filter(([, now]) => now.state === "down").concat(listed.filter(([, now]) => now.state !== "down")).slice(0, ROWS_MAX);
    while (body.rows.length < listed.length) {
      const row = make("tr"), name = make("th");
      name.scope = "row";
      row.append(name, make("td"), make("td"), make("td", "–", "num"), make("td", "–", "num"));
      body.append(row);
    }
    listed.forEach(([place, now], i) => {
      const runs = now.state !== "down", cells = body.rows[i].cells;
      const texts = [place.name, `${SIGNS[now.state]} ${now.state === "ready" ? "runs" : now.state}`, place.region || "–", runs ? `${Math.round(now.usage.cpu_percent)} %` : "–", runs ? bytes(now.usage.rss_bytes) : "–"];
      texts.forEach((t, k) => { if (cells[k].textContent !== t) cells[k].textContent = t; });
      cells[1].className = now.state;
    });
  };

  const choose = (i) => {
    if (i === chosen || !board) return;
    chosen = i;
    const n = i >= 0 ? board.nodes[i] : null;
    put("under", n ? `${map.nodes[i].name}: ${n.state}, ${map.nodes[i].role}${map.nodes[i].region ? `, ${map.nodes[i].region}` : ""}, height ${heights(n)}, ${n.peers} of ${neighbours[i].size} links` : "Point at a node to see it alone with its links.");
    drawMap(); drawNodes();
  };

  const draw = () => { if (!board || !map) return; drawPhase(); drawCards(); drawLegend(); drawMap(); drawEvents(); drawNodes(); drawPrograms(); };
  const ask = async (path) => { const answer = await fetch(path, { cache: "no-store" }); if (!answer.ok) throw new Error(`${path}: ${answer.status}`); return answer.json(); };
  const connected = (is, text) => { put("link", text); at("link").className = `link ${is}`; };

  const look = async () => {
    try {
      if (!map) {
        map = await ask("map.json");
        neighbours = map.nodes.map(() => new Set());
        for (const [a, b] of map.edges) { neighbours[a].add(b); neighbours[b].add(a); }
      }
      board = await ask("live.json");
      misses = 0;
      connected("live", "live");
      draw();
    } catch (error) {
      misses += 1;
      connected("gone", misses < PATIENCE ? "no answer" : "the run is over, or its lab is gone");
    }
    if (misses < PATIENCE) setTimeout(look, PERIOD);
  };

  at("map").addEventListener("mousemove", (event) => {
    const [x, y] = [event.offsetX, event.offsetY];
    let best = -1, nearest = Infinity;
    boxes.forEach(([bx, by, r], i) => { const d = Math.hypot(bx - x, by - y); if (d <= r + 4 && d < nearest) { nearest = d; best = i; } });
    choose(best);
  });
  at("map").addEventListener("mouseleave", () => choose(-1));
  window.addEventListener("resize", draw);
  window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { readPalette(); draw(); });
  readPalette();
  look();
})();
