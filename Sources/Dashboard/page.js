// Asks /status once a second and draws it. What was seen before is kept here, for the charts.
// Text that comes from the server is only ever set as text.
"use strict";

/// Seconds that are remembered, and that charts show at the least.
const kept = 300;
const least = 60;
const samples = [];

const make = (name, attributes = {}, ...children) => {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
};
const draw = (name, attributes) => {
  const element = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  return element;
};
const find = (id) => document.getElementById(id);
const isKnown = (value) => value !== null && value !== undefined;

// ---- Words

const grouped = (value) => Math.round(value).toLocaleString("en-US");
const percent = (part) => `${Math.floor(part * 100)} %`;
const bytes = (value) => {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let unit = 0;
  for (; value >= 1024 && unit < units.length - 1; unit++) value /= 1024;
  return `${unit === 0 ? value : value.toFixed(1)} ${units[unit]}`;
};
const duration = (seconds) => {
  if (!isKnown(seconds)) return "–";
  if (seconds < 0.001) return `${(seconds * 1e6).toFixed(0)}\u00a0µs`;
  if (seconds < 1) return `${(seconds * 1e3).toFixed(seconds < 0.01 ? 2 : 1)}\u00a0ms`;
  if (seconds < 120) return `${seconds.toFixed(1)}\u00a0s`;
  if (seconds < 7200) return `${Math.floor(seconds / 60)} min ${Math.floor(seconds % 60)} s`;
  return `${Math.floor(seconds / 3600)} h ${Math.floor(seconds % 3600 / 60)} min`;
};
const micro = (value) => isKnown(value) ? value / 1e6 : null;
const faults = (counts) => ["missing", "stray", "wrong"]
  .filter((kind) => counts[kind] > 0).map((kind) => `${grouped(counts[kind])} ${kind}`).join(", ");

// ---- Charts

/// The values of a curve as a path. Where nothing is known the line is broken.
function path(values, highest, span) {
  const now = samples.at(-1).time;
  let text = "", isDrawing = false;
  values.forEach((value, index) => {
    if (isKnown(value)) {
      const x = (1 - (now - samples[index].time) / span) * 300;
      const y = highest > 0 ? 100 - value / highest * 96 : 100;
      const next = index + 1 < values.length && isKnown(values[index + 1]);
      text += `${isDrawing ? "L" : "M"}${x.toFixed(1)} ${y.toFixed(1)}`;
      if (!isDrawing && !next) text += "h0.1";
      isDrawing = true;
    } else {
      isDrawing = false;
    }
  });
  return text;
}

/// A chart of some curves over time. The scale begins at zero; the same for all curves.
function chart(title, curves, format) {
  const highest = Math.max(0, ...curves.flatMap((curve) => curve.values.filter(isKnown)));
  const seen = samples.at(-1).time - samples[0].time;
  const span = [least, 120].find((span) => seen <= span) ?? kept;
  const picture = draw("svg", {
    viewBox: "0 0 300 100", preserveAspectRatio: "none", role: "img",
    "aria-label": `${title}, up to ${format(highest)}`,
  });
  for (const y of [0, 50, 100]) {
    picture.append(draw("line", { class: "grid", x1: 0, x2: 300, y1: y, y2: y }));
  }
  curves.forEach((curve, number) => {
    picture.append(draw("path", { class: `c${number}`, d: path(curve.values, highest, span) }));
  });
  const legend = make("div", { class: "legend" });
  curves.forEach((curve, number) => {
    const last = curve.values.at(-1);
    const value = isKnown(last) ? format(last) : "–";
    legend.append(make("span", {}, make("i", { class: `c${number}` }), `${curve.name} ${value}`));
  });
  return make("div", { class: "chart" },
    make("div", { class: "row" }, make("h3", {}, title),
      make("span", { class: "ends" }, `up to ${format(highest)}`)),
    picture,
    make("div", { class: "row ends" },
      make("span", {}, `${span / 60} min ago`), make("span", {}, "now")),
    legend);
}

const perSecond = (value) => `${grouped(value)}/s`;
const series = (name, of) => ({ name, values: samples.map(of) });

// ---- Runs

function keySpace(run) {
  const bar = make("div", { class: "keys" });
  const part = run.scanned ?? 0;
  const taken = make("div", { class: "taken" }), cursor = make("div", { class: "cursor" });
  taken.style.width = `${part * 100}%`;
  cursor.style.left = `${part * 100}%`;
  bar.append(taken, cursor);
  const place = run.position
    ? `cursor at inode ${grouped(run.position.inode)}` : "cursor at the end";
  const words = run.scanned === null
    ? ["this run reads a part of the key space"] : [`key space: ${percent(part)} taken`, place];
  return [bar, make("div", { class: "row ends" }, ...words.map((text) => make("span", {}, text)))];
}

function timeline(run) {
  const line = make("div", { class: "timeline" });
  run.phases.forEach((phase, number) => {
    const end = run.phases[number + 1]?.began ?? run.seconds.total;
    const words = phase.index ? `${phase.phase} ${phase.index}` : phase.phase;
    const length = Math.max(0, end - phase.began);
    const part = make("div", { title: `${words}: ${duration(length)}` }, make("span", {}, words));
    part.style.flex = `${Math.max(length, run.seconds.total / 1000)} 1 0`;
    if (number === run.phases.length - 1) part.className = "now";
    line.append(part);
  });
  return line;
}

function tile(label, value, more, meter, isBound = false) {
  const element = make("div", {}, make("h3", {}, label), make("strong", {}, value),
    make("small", {}, more));
  if (meter !== undefined) {
    const isHigh = isBound && meter > 0.75;
    const bar = make("div", { class: isHigh ? "meter high" : "meter" }, make("div"));
    bar.firstChild.style.width = `${Math.min(meter, 1) * 100}%`;
    element.append(bar);
  }
  return element;
}

function tiles(run) {
  const done = run.total > 0 ? Math.min(run.done / run.total, 1) : 0;
  const rates = samples.at(-1)?.runs[run.number], holds = run.lockHolds;
  const left = run.secondsLeft.phase;
  const rate = (value) => isKnown(value) ? perSecond(value) : "so far";
  return make("div", { class: "tiles" },
    tile(run.phase + (run.index ? ` ${run.index}` : ""), run.total > 0 ? percent(done) : "–",
      `${grouped(run.done)} done, ${perSecond(run.rate)}`
        + (left === null ? "" : `, ${duration(left)} left`), done),
    tile("hook events applied", grouped(run.deltas.applied), rate(rates?.applied)),
    tile("hook events elided", grouped(run.deltas.elided), rate(rates?.elided)),
    tile("queue", bytes(run.queuedBytes), `of ${bytes(run.limits.queueBytes)}`,
      run.queuedBytes / run.limits.queueBytes, true),
    tile("longest lock hold", holds ? duration(micro(holds.max)) : "–",
      holds ? `${grouped(holds.count)} holds, 99 % within ${duration(micro(holds.p99))}`
        : "not held so far"),
    tile("discrepancies", grouped(run.discrepancies.count), "so far"));
}

function discrepancy(first) {
  const fields = (part) => part
    ? Object.entries(part).map(([name, value]) => `${name} ${value}`).join(", ") : "";
  let text = `first: ${first.index}: ${first.kind}: ${fields(first.key)}`;
  if (first.found) text += `; found ${fields(first.found)}`;
  if (first.expected) text += `; expected ${fields(first.expected)}`;
  return make("p", { class: "first" }, text);
}

function card(run) {
  const state = run.stopping ? `ending: ${run.stopping}` : run.paused ? "paused" : "";
  const left = run.secondsLeft.total;
  const element = make("article", { "data-run": run.number },
    make("div", { class: "row" },
      make("h2", {}, `Run ${run.number}: ${run.indexes.join(", ")}`),
      make("span", { class: state ? "bad" : "ends" },
        state || `${duration(run.seconds.total)} so far`
          + (left === null ? "" : `, about ${duration(left)} left`))),
    ...keySpace(run), timeline(run), tiles(run));
  if (run.discrepancies.first) element.append(discrepancy(run.discrepancies.first));
  element.append(make("div", { class: "charts" },
    chart("Hook events", [
      series("applied", (sample) => sample.runs[run.number]?.applied),
      series("elided", (sample) => sample.runs[run.number]?.elided)], perSecond),
    chart("Records and entries done", [
      series("done", (sample) => sample.runs[run.number]?.rate)], perSecond)));
  return element;
}

// ---- The rest

function requestRows(requests) {
  const sorted = requests.slice().sort((a, b) => b.perSecond - a.perSecond || b.count - a.count);
  return sorted.map((kind) => make("tr", {}, ...[
    kind.kind, grouped(kind.perSecond), duration(micro(kind.latency.p50)),
    duration(micro(kind.latency.p99)), duration(micro(kind.latency.max)), grouped(kind.count),
  ].map((text) => make("td", {}, text))));
}

function pastRows(runs, atWork) {
  const past = runs.filter((run) => !atWork.has(run.number)).reverse();
  if (past.length === 0) return [make("tr", {}, make("td", { colspan: 5 }, "none yet"))];
  return past.map((run) => {
    const found = run.results.map((result) => [result.name, faults(result)])
      .filter(([, text]) => text).map(([name, text]) => `${name}: ${text}`).join("; ");
    const good = run.outcome === "clean" || run.outcome === "repaired";
    const result = [run.state, run.outcome === run.state ? null : run.outcome]
      .filter(isKnown).join(", ");
    return make("tr", {}, make("td", {}, `${run.number}`), make("td", {}, run.indexes.join(", ")),
      make("td", { class: good ? "good" : "bad", title: run.reason ?? "" }, result),
      make("td", {}, found || "nothing"),
      make("td", {}, run.ended ? run.ended.replace("T", " ").replace("Z", "") : "–"));
  });
}

function note(live) {
  const before = samples.at(-1), time = performance.now() / 1000;
  const sample = {
    time, rate: live.writers?.perSecond, latency: live.writers?.latency ?? {}, runs: {},
    requests: live.mount?.requests.reduce((sum, kind) => sum + kind.perSecond, 0),
    longest: live.mount?.requests.reduce((most, kind) => Math.max(most, kind.latency.max ?? 0), 0),
  };
  for (const run of live.runs) {
    const last = before?.runs[run.number], passed = before ? time - before.time : 0;
    const rate = (now, then) => last && passed > 0 ? Math.max(0, now - then) / passed : null;
    sample.runs[run.number] = {
      rate: run.rate, total: run.deltas,
      applied: rate(run.deltas.applied, last?.total.applied),
      elided: rate(run.deltas.elided, last?.total.elided),
    };
  }
  samples.push(sample);
  while (samples[0].time < time - kept) samples.shift();
}

function show(status) {
  const live = status.live;
  note(live);
  document.title = live.runs.length > 0
    ? `${live.runs[0].phase} – ${status.target} – Tidemark` : `${status.target} – Tidemark`;
  find("target").textContent = status.target;
  find("process").textContent = `${live.command}, process ${live.process}`
    + (live.mount ? `, on ${live.mount.mountPoint}` : "") + `, for ${duration(live.seconds)}`;
  find("runs").replaceChildren(...(live.runs.length > 0 ? live.runs.map(card)
    : [make("article", {}, "No run is at work.")]));
  find("writer-charts").replaceChildren(
    chart("Operations", [series("operations", (sample) => sample.rate)], perSecond),
    chart("Latency, each second", [
      series("50 %", (sample) => micro(sample.latency.p50)),
      series("99 %", (sample) => micro(sample.latency.p99)),
      series("longest", (sample) => micro(sample.latency.max))], duration));
  find("requests").hidden = !live.mount;
  if (live.mount) {
    find("request-charts").replaceChildren(
      chart("Requests", [series("requests", (sample) => sample.requests)], perSecond),
      chart("Longest of all requests", [
        series("longest", (sample) => micro(sample.longest))], duration));
    find("request-rows").replaceChildren(...requestRows(live.mount.requests));
  }
  find("past").replaceChildren(
    ...pastRows(status.runs ?? [], new Set(live.runs.map((run) => run.number))));
}

async function ask() {
  const problem = find("problem");
  try {
    const answer = await fetch("/status", { cache: "no-store" });
    if (!answer.ok) throw new Error(await answer.text());
    show(await answer.json());
    problem.hidden = true;
  } catch (error) {
    problem.textContent = `No answer: ${error.message}. What is shown is old.`;
    problem.hidden = false;
  }
  setTimeout(ask, 1000);
}

ask();
