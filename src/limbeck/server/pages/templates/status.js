{% include "common.js" %}

// The state of the server, asked for again and again while somebody looks at it.
const EVERY_MS = 5000;
const WIDTH = 360;
const HEIGHT = 150;
const LEFT = 44;
const BOTTOM = 122;
let before = null;

function lasting(seconds) {
  const [days, hours, minutes] = [Math.floor(seconds / 86400), Math.floor(seconds / 3600) % 24, Math.floor(seconds / 60) % 60];
  if (days) return `${days} d ${hours} h`;
  if (hours) return `${hours} h ${minutes} min`;
  return minutes ? `${minutes} min ${Math.floor(seconds) % 60} s` : `${Math.floor(seconds)} s`;
}

const fact = (name, value, more = "") =>
  element("div", {}, element("dt", {}, name), element("dd", {}, String(value), element("small", {}, more)));
const inMs = (value) => `${value < 10 ? value.toFixed(2) : value.toFixed(value < 100 ? 1 : 0)} ms`;
const sum = (values) => values.reduce((total, each) => total + each, 0);
const requestsOf = (state) => sum(Object.values(state.models).flatMap((each) => Object.values(each.requests)));

function frame(title, note, label) {
  const svg = drawn("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": label });
  const caption = element("figcaption", {}, element("b", {}, title), " ", element("span", { class: "muted" }, note));
  return [element("figure", { class: "chart arm-2" }, caption, svg), svg];
}

// How many requests took how long: a column for each bucket from the first to the last that has some.
function histogram(latency) {
  const filled = latency.buckets.map(([, count], i) => (count ? i : -1)).filter((i) => i >= 0);
  const [first, last] = [Math.max(0, filled[0] - 1), Math.min(latency.buckets.length - 1, filled.at(-1) + 1)];
  const shown = latency.buckets.slice(first, last + 1);
  const most = Math.max(...shown.map(([, count]) => count));
  const told = shown.filter(([, count]) => count).map(([bound, count]) => `${count} ${bound === null ? "longer" : `within ${inMs(1000 * bound)}`}`);
  const [figure, svg] = frame("Latency", `${wholeNumber.format(latency.count)} requests since the start`, `Requests by latency: ${told.join(", ")}`);
  const step = WIDTH / shown.length;
  shown.forEach(([bound, count], i) => {
    const height = (BOTTOM - 18) * count / most;
    const x = i * step;
    svg.append(drawn("rect", { class: "column", x: x + 2, y: BOTTOM - height, width: Math.max(1, step - 4), height }));
    if (count) svg.append(drawn("text", { x: x + step / 2, y: BOTTOM - height - 4, "text-anchor": "middle" }, wholeNumber.format(count)));
    const name = bound === null ? "more" : `${1000 * bound}`;
    svg.append(drawn("text", { x: x + step / 2, y: BOTTOM + 15, "text-anchor": "middle" }, name));
  });
  svg.append(drawn("line", { class: "axis", x1: 0, x2: WIDTH, y1: BOTTOM, y2: BOTTOM }));
  svg.append(drawn("text", { x: WIDTH, y: BOTTOM + 27, "text-anchor": "end" }, "ms, at most"));
  return figure;
}

// An index for each window, with the threshold above which it is an alarm.
function driftChart(chart) {
  // Where single categories are tested, and not the index, it has no threshold.
  const threshold = chart.threshold ?? Infinity;
  const most = 1.15 * Math.max(chart.threshold ?? 0, ...chart.values, 1e-9);
  const over = chart.values.filter((each) => each > threshold).length;
  const found = chart.threshold === null ? "" : `, ${over} above the threshold ${chart.threshold}`;
  const [figure, svg] = frame(chart.name, chart.note ?? "", `${chart.name}: ${chart.values.length} windows${found}`);
  const step = (WIDTH - LEFT) / Math.max(1, chart.values.length);
  const y = (value) => BOTTOM - (BOTTOM - 12) * value / most;
  chart.values.forEach((value, i) => svg.append(drawn("rect", {
    class: value > threshold ? "column over" : "column", x: LEFT + i * step + 1, y: y(value),
    width: Math.max(1, step - 2), height: Math.max(0, BOTTOM - y(value)) })));
  svg.append(drawn("line", { class: "axis", x1: LEFT, x2: WIDTH, y1: BOTTOM, y2: BOTTOM }));
  if (chart.threshold !== null) {
    svg.append(drawn("line", { class: "threshold", x1: LEFT, x2: WIDTH, y1: y(threshold), y2: y(threshold) }));
    svg.append(drawn("text", { x: LEFT - 6, y: y(threshold) + 4, "text-anchor": "end" }, Number(threshold.toPrecision(2)).toString()));
  }
  svg.append(drawn("text", { x: LEFT - 6, y: BOTTOM + 4, "text-anchor": "end" }, "0"));
  svg.append(drawn("text", { x: WIDTH, y: BOTTOM + 15, "text-anchor": "end" }, "windows, the last one right"));
  return figure;
}

function versions(told) {
  const rows = [["Live", told.live]];
  if (told.previous) rows.push(["Before", told.previous]);
  if (told.candidate) {
    const role = told.share ? `answers ${100 * told.share} % of the requests` : "is scored beside it";
    const seen = told.seen;
    const found = seen?.rows
      ? `; of ${wholeNumber.format(seen.rows)} rows it agrees on ${(100 * seen.agreement).toFixed(2)} %, fails on ${seen.failed}, and takes ${seen.slowdown} times as long`
      : "; no row was scored yet";
    rows.push(["Candidate", `${told.candidate} ${role}${found}`]);
  }
  if (told.ended) rows.push(["Last candidate", told.ended]);
  const statuses = Object.entries(told.requests).map(([status, count]) => `${status}: ${wholeNumber.format(count)}`);
  if (statuses.length) rows.push(["Answers by status", statuses.join(", ")]);
  const lines = rows.map(([name, value]) => element("tr", {}, element("th", { scope: "row" }, name), element("td", {}, value)));
  return element("table", { class: "versions" }, element("tbody", {}, ...lines));
}

function modelPart(name, told) {
  const requests = sum(Object.values(told.requests));
  const facts = element("dl", { class: "facts" }, fact("Requests", wholeNumber.format(requests)),
    fact("Errors", wholeNumber.format(told.errors)), fact("Rows", wholeNumber.format(told.rows)));
  if (told.abstained) facts.append(fact("Abstained", wholeNumber.format(told.abstained), " rows"));
  const charts = element("div", { class: "charts" });
  if (told.latency) {
    for (const [key, title] of [["p50_ms", "Half within"], ["p90_ms", "90 % within"], ["p99_ms", "99 % within"]])
      facts.append(fact(title, inMs(told.latency[key])));
    charts.append(histogram(told.latency));
  }
  return element("section", { class: "model-of-status" }, element("h2", {}, name), versions(told), facts, charts);
}

function driftPart(drift) {
  // Of a model that has not had as many requests as a window there is nothing yet, and one that
  // carries no reference is not watched.
  const known = Object.entries(drift).filter(([, charts]) => charts?.length);
  const parts = known.flatMap(([name, charts]) => {
    const drawnCharts = charts.map(driftChart);
    return [element("h3", {}, name), element("div", { class: "charts" }, ...drawnCharts)];
  });
  return parts.length ? [element("h2", {}, "Drift"), ...parts] : [];
}

function draw(state) {
  show("about", `limbeck ${state.limbeck}, plan ${state.generation}`);
  const facts = [
    fact("Running for", lasting(state.uptime_seconds)),
    fact("Workers", state.workers.ready, ` of ${state.workers.all}`),
    fact("Waiting requests", state.waiting, ` of at most ${state.queue}`),
  ];
  if (before) {
    const seconds = state.uptime_seconds - before.uptime_seconds;
    // A server that was started anew counts from 0.
    const more = requestsOf(state) - requestsOf(before);
    if (seconds > 0 && more >= 0) facts.push(fact("Requests a second", (more / seconds).toFixed(1)));
  }
  before = state;
  byId("facts").replaceChildren(...facts);
  byId("drift").replaceChildren(...driftPart(state.drift ?? {}));
  byId("models").replaceChildren(...Object.entries(state.models).map(([name, told]) => modelPart(name, told)));
  show("state");
}

const look = async () => draw((await ask("status.json")).found);

async function lookAgain() {
  try {
    await look();
    show("problem", "");
  } catch (error) {
    tell("problem", error);
  }
}

byId("again").addEventListener("click", lookAgain);
setInterval(() => {
  if (before && byId("keep").checked && !document.hidden) lookAgain();
}, EVERY_MS);
begin(look);
