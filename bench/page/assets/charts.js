// Charts: drawn when they come into view, again when the colours of the page change or it is printed.
const plotly = new Promise((resolve) => document.addEventListener("DOMContentLoaded", () => resolve(window.Plotly)));
const darkness = matchMedia("(prefers-color-scheme: dark)");
const drawn = new Set();
let printing = false;
const PRINTED = 680; // pixels across a sheet
const isDark = () => darkness.matches && !printing;
// Plotly reads some markup in texts: names are shown as they are.
const literal = (text) => String(text).replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");

const inView = new IntersectionObserver((entries) => {
  for (const entry of entries) {
    if (!entry.isIntersecting) continue;
    inView.unobserve(entry.target);
    drawn.add(entry.target);
    draw(entry.target);
  }
}, { rootMargin: "150px" });

/** A chart: `build()` gives traces, layout and the table that says the same in numbers. */
function chart(label, build, { low = false, caption = "", legend = [] } = {}) {
  const place = h("div", { class: `chart${low ? " low" : ""}`, role: "group", "aria-label": label });
  place.build = build;
  inView.observe(place);
  const numbers = h("details", {}, h("summary", {}, "Numbers of this chart"));
  const body = h("div");
  numbers.append(body);
  numbers.addEventListener("toggle", () => { if (numbers.open) fill(); });
  const fill = () => {
    const { heads, rows } = build().numbers;
    body.replaceChildren(scrolling(`${label}: numbers`, table(heads, rows, label), "tall"));
  };
  const figure = h("figure", {}, caption && h("figcaption", {}, caption), legend.length > 1 && h("ul", { class: "legend" },
    legend.map((line) => h("li", {}, swatch(line), line.label))), place, numbers);
  figure.redraw = () => {
    if (drawn.has(place)) draw(place);
    if (numbers.open) fill();
  };
  return figure;
}

async function draw(place) {
  const library = await plotly;
  if (!place.isConnected) {
    drawn.delete(place);
    return;
  }
  const { traces, layout } = place.build();
  // A sheet is narrower than most screens, and no resize tells a chart so.
  const size = printing ? { autosize: false, width: PRINTED, height: layout.height ?? place.clientHeight } : { autosize: true };
  await library.react(place, traces, { ...dressed(layout), ...size }, {
    responsive: true,
    displaylogo: false,
    showSendToCloud: false,  // nothing leaves this page
    plotlyServerURL: "",
    modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d", "toggleSpikelines"],
    toImageButtonOptions: { format: "svg", filename: "cim-bench" },
  });
  place.dataset.drawn = "true";
}

function dressed(layout) {
  const dark = isDark();
  const [ink, muted, grid, ground] = dark
    ? ["#e6ebf0", "#a3afbb", "#313b45", "#1c2229"] : ["#1a2129", "#55606c", "#e3e8ed", "#ffffff"];
  const axis = { gridcolor: grid, linecolor: muted, tickcolor: muted, zeroline: false, automargin: true, ticks: "outside", ticklen: 4 };
  const title = (text) => ({ text: literal(text), standoff: 10, font: { color: muted } });
  const { x = {}, y = {}, ...rest } = layout;
  return {
    font: { family: getComputedStyle(document.body).fontFamily, size: 13, color: ink },
    paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "rgba(0,0,0,0)",
    margin: { l: 58, r: 14, t: 26, b: 46 },
    showlegend: false,
    hovermode: "closest",
    dragmode: matchMedia("(pointer: coarse)").matches ? false : "zoom",
    hoverlabel: { bgcolor: ground, bordercolor: muted, font: { color: ink, size: 13 }, align: "left" },
    modebar: { color: muted, activecolor: ink, bgcolor: "rgba(0,0,0,0)" },
    uirevision: layout.revision ?? "kept",
    ...rest,
    xaxis: { ...axis, ...x, title: title(x.title ?? "") },
    yaxis: { ...axis, ...y, title: title(y.title ?? "") },
  };
}
const colour = (row) => (isDark() ? row.look.dark : row.look.light);
/** Filled with a rim of the ground, or open: then the rim has the colour. */
const marker = (row) => ({
  color: colour(row), symbol: row.look.symbol, size: 9, line: row.look.filled ? { width: 1, color: isDark() ? "#14181d" : "#ffffff" } : { width: 2 },
});
const faded = (hex, opacity) => `rgba(${[1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16)).join(",")},${opacity})`;

/** Where the points of a sweep lie: on a logarithmic axis of time, or side by side where one of the times is 0. */
function sweepAxis(group) {
  const few = group.points.length <= 14;
  const ticks = (at) => (few ? { tickmode: "array", tickvals: at, ticktext: group.labels.map(literal) } : {});
  if (!group.over_time) return { xs: group.points, x: { title: group.axis, ...ticks(group.points) } };
  const log = Math.min(...group.points) > 0;
  const xs = log ? group.points : group.points.map((_, i) => i);
  return { xs, x: { title: "time since programming", type: log ? "log" : "linear", ...ticks(xs) } };
}

/** Mean and 95% band over the sweep, a line a row. `lines`: {row, label, dash}, dash where it is not the row's own. */
function sweepChart(group, lines) {
  const { xs, x } = sweepAxis(group);
  const traces = [];
  for (const { row, label, dash } of lines) {
    const known = row.points.map((found, i) => i).filter((i) => row.points[i]);
    const bounded = known.filter((i) => row.points[i][1] !== null);
    const hue = colour(row);
    if (bounded.length > 1) {
      traces.push({
        x: [...bounded, ...bounded.toReversed()].map((i) => xs[i]),
        y: [...bounded.map((i) => row.points[i][2]), ...bounded.toReversed().map((i) => row.points[i][1])],
        type: "scatter", mode: "lines", fill: "toself", fillcolor: faded(hue, 0.16), line: { width: 0 }, hoverinfo: "skip",
      });
    }
    traces.push({
      x: known.map((i) => xs[i]),
      y: known.map((i) => row.points[i][0]),
      hovertext: known.map((i) => `<b>${literal(label)}</b><br>${literal(group.labels[i])}: ${spread(row.points[i])}${literal(ofUnit(group))}<br>${literal(sampleSize(row))}`),
      type: "scatter", mode: "lines+markers", hoverinfo: "text", name: literal(label),
      line: { color: hue, width: 2, dash: dash ?? row.look.dash },
      marker: marker(row),
    });
  }
  return {
    traces,
    layout: { x, y: { title: inUnit(group.metric, group.unit), ...scaleOf(group, lines.flatMap(({ row }) => row.points.map((found) => found?.[0]))) }, revision: group.id },
    numbers: {
      heads: ["method", ...group.labels],
      rows: lines.map(({ row, label }) => [label, ...row.points.map(spread)]),
    },
  };
}
/** Where lower is better values may differ so much that the small ones need a logarithmic scale, as a perplexity's do. */
function isWide(group, values) {
  const known = values.filter((value) => value !== null && value !== undefined);
  return !group.higher && known.length > 0 && Math.min(...known) > 0 && Math.max(...known) > 10 * Math.min(...known);
}
const scaleOf = (group, values) => (isWide(group, values) ? { type: "log" } : {});
const sampleSize = (row) => `${row.chips.length ? `${row.chips.join("–")} chips a level` : "no chips"}, ${
  row.seeds.length === 1 ? `seed ${row.seeds[0]}` : `${row.seeds.length} seeds`}`;

/** How many chips and seeds the numbers of rows are of: 'n = 10–20 chips a level, 3 training seeds'. `each`: of what. */
function sizeOf(rows, each = "a level") {
  const span = (numbers) => unique([Math.min(...numbers), Math.max(...numbers)]).join("–");
  const [chips, seeds] = [rows.flatMap((row) => row.chips), rows.map((row) => row.seeds.length)];
  return chips.length ? `n = ${span(chips)} ${span(chips) === "1" ? "chip" : "chips"} ${each}, ${span(seeds)} training seed${span(seeds) === "1" ? "" : "s"}` : "no chips";
}

/** Share of chips that are at least so good; a line a row at one point, or a line a point of one row. */
function yieldChart(group, lines) {
  const better = group.higher ? "at least" : "at most";
  const shown = lines.filter(({ shares }) => shares);
  return {
    traces: shown.map(({ row, label, shares, hue, dash }) => ({
      x: group.thresholds, y: shares.map((share) => 100 * share),
      hovertext: shares.map((share, i) => `<b>${literal(label)}</b><br>${percent(share)} of chips ${better} ${group.thresholds[i]}${literal(ofUnit(group))}`),
      type: "scatter", mode: "lines+markers", hoverinfo: "text", name: literal(label),
      line: { color: hue ?? colour(row), width: 2, dash: dash ?? row.look.dash },
      marker: { ...marker(row), color: hue ?? colour(row), size: 6, maxdisplayed: 12 },
    })),
    layout: {
      x: { title: inUnit(`${group.metric} ${better}`, group.unit), ...(group.higher ? {} : { autorange: "reversed" }) },
      y: { title: "share of chips (%)", range: [-4, 104] },
      revision: group.id,
    },
    numbers: {
      heads: [`${group.metric} ${better}`, ...shown.map(({ label }) => label)],
      rows: group.thresholds.map((limit, i) => [String(limit), ...shown.map(({ shares }) => percent(shares[i]))]),
    },
  };
}

/** Error over read power: a line a row through the points of the sweep, with a large mark at the first. */
function powerChart(group, lines) {
  const text = ([point, power, mean, low, high]) => [group.labels[point], `${short(power)} mW`, spread([mean, low, high])];
  const known = lines.filter(({ row }) => row.readings.length);
  return {
    traces: known.map(({ row, label }) => ({
      x: row.readings.map(([, power]) => power),
      y: row.readings.map(([, , mean]) => mean),
      error_y: {
        type: "data", symmetric: false, color: faded(colour(row), 0.6), thickness: 1, width: 0,
        array: row.readings.map(([, , mean, , high]) => (high === null ? 0 : high - mean)),
        arrayminus: row.readings.map(([, , mean, low]) => (low === null ? 0 : mean - low)),
      },
      hovertext: row.readings.map((reading) => `<b>${literal(label)}</b><br>${literal(text(reading).join(" · "))}`),
      type: "scatter", mode: "lines+markers", hoverinfo: "text", name: literal(label),
      line: { color: faded(colour(row), 0.55), width: 1, dash: row.look.dash },
      marker: { ...marker(row), size: row.readings.map(([point]) => (point === 0 ? 13 : 7)) },
    })),
    layout: { x: { title: "read power of all cells (mW)", type: "log" }, y: { title: group.error, ...scaleOf(group, known.flatMap(({ row }) => row.readings.map(([, , mean]) => mean))) }, revision: group.id },
    numbers: {
      heads: ["method", group.over_time ? "time" : "level", "read power", group.error],
      rows: known.flatMap(({ row, label }) => row.readings.map((reading) => [label, ...text(reading)])),
    },
  };
}

/** Scores with their intervals, best first, and a bar beside each run of scores no two of which can be told apart. */
function scoresChart(group, lines) {
  const sign = group.higher ? -1 : 1;
  const shown = lines.filter(({ row }) => row.score && row.rank !== null).sort((a, b) => sign * (a.row.score[0] - b.row.score[0]));
  const ends = ({ row }) => [1, 2].map((i) => row.score[i] ?? row.score[0]);
  const [low, high] = [Math.min(...shown.map((line) => ends(line)[0])), Math.max(...shown.map((line) => ends(line)[1]))];
  const step = 0.045 * (high - low || 1);
  const place = new Map(shown.map(({ row }, i) => [row, i]));
  // A run shrinks to those of its rows that are shown, which are still tied.
  const runs = group.tied.map(([first, last]) => {
    const [best, worst] = [group.rows[first], group.rows[last]].map((row) => sign * row.score[0]);
    return shown.filter(({ row }) => sign * row.score[0] >= best && sign * row.score[0] <= worst).map(({ row }) => place.get(row));
  }).filter((run) => run.length > 1).filter((run, i, all) => !all.some((other, j) => other.length > run.length && run.every((at) => other.includes(at)) || j < i && String(other) === String(run)));
  const ink = isDark() ? "#e6ebf0" : "#1a2129";
  const longest = innerWidth < 600 ? 16 : 30;
  return {
    traces: shown.map((line, i) => ({
      x: [line.row.score[0]], y: [i], type: "scatter", mode: "markers", hoverinfo: "text", name: literal(line.label),
      hovertext: [`<b>${literal(line.label)}</b>, rank ${line.row.rank_text}<br>${spread(line.row.score)}${literal(ofUnit(group))}<br>to the best: ${toBest(line.row)}`],
      error_x: { type: "data", symmetric: false, array: [ends(line)[1] - line.row.score[0]], arrayminus: [line.row.score[0] - ends(line)[0]], color: colour(line.row), thickness: 1.5, width: 4 },
      marker: marker(line.row),
    })),
    layout: {
      x: { title: inUnit("score", group.unit) },
      y: { tickmode: "array", tickvals: shown.map((_, i) => i), ticktext: shown.map(({ label }) => literal(label.length > longest ? `${label.slice(0, longest - 1)}…` : label)), range: [shown.length - 0.4, -0.6], showgrid: false },
      shapes: runs.map((run, k) => ({
        type: "line", x0: high + step * (k + 1), x1: high + step * (k + 1), y0: Math.min(...run) - 0.25, y1: Math.max(...run) + 0.25, line: { color: ink, width: 3 },
      })),
      height: Math.max(190, 90 + 24 * shown.length),
      revision: group.id,
    },
    numbers: {
      heads: ["method", "rank", "score", "to best", "p"],
      rows: shown.map(({ row, label }) => [label, row.rank_text, spread(row.score), toBest(row), chance(row.p)]),
    },
  };
}

/** Every chip of a row at every point: a mark a chip, side by side by seed. */
function chipsChart(row) {
  const group = row.home;
  const done = row.records.filter((record) => record.done);
  const symbols = ["circle", "square", "diamond", "triangle-up", "cross"];
  const traces = done.map((record, s) => {
    const marks = record.chips.flatMap((chips, i) => chips.map((value, chip) => ({ value, chip, i })));
    const shift = ({ chip, i }) => (record.chips[i].length > 1 ? (((chip + 1) * 0.618 + s * 0.31) % 1) - 0.5 : 0) * 0.5;
    return {
      x: marks.map((mark) => mark.i + shift(mark)),
      y: marks.map(({ value }) => value),
      hovertext: marks.map(({ value, chip, i }) => `chip ${chip}, seed ${record.seed}<br>${literal(group.labels[i])}: ${number(value)}${literal(ofUnit(group))}`),
      type: "scatter", mode: "markers", hoverinfo: "text",
      marker: { color: faded(colour(row), 0.65), symbol: symbols[s % symbols.length], size: 7 },
    };
  });
  const means = row.points.map((found) => found?.[0] ?? null);
  traces.push({
    x: means.map((_, i) => i), y: means, type: "scatter", mode: "markers", hoverinfo: "skip",
    marker: { symbol: "line-ew", size: 34, line: { width: 2, color: isDark() ? "#e6ebf0" : "#1a2129" } },
  });
  const most = Math.max(...done.flatMap((record) => record.chips.map((chips) => chips.length)), 0);
  return {
    traces,
    layout: {
      x: { title: group.over_time ? "time since programming" : group.axis, tickmode: "array", tickvals: means.map((_, i) => i), ticktext: group.labels.map(literal), range: [-0.5, means.length - 0.5] },
      y: { title: inUnit(group.metric, group.unit), ...scaleOf(group, means) },
    },
    numbers: {
      heads: ["chip", ...done.flatMap((record) => group.labels.map((label) => `${label}, seed ${record.seed}`))],
      rows: Array.from({ length: most }, (_, chip) => [String(chip), ...done.flatMap((record) => record.chips.map((chips) => number(chips[chip])))]),
    },
  };
}

darkness.addEventListener("change", redrawAll);
// On paper nothing comes into view later: all charts are drawn.
addEventListener("beforeprint", () => {
  printing = true;
  document.querySelectorAll(".chart").forEach((place) => { inView.unobserve(place); drawn.add(place); });
  redrawAll();
});
addEventListener("afterprint", () => { printing = false; redrawAll(); });
function redrawAll() { drawn.forEach(draw); }
