// Curves of one comparison, with the methods that the reader chooses; drift over time.

/** The line and marker of a method, as its charts have them; open for a variant, such as tuned settings. */
function swatch({ row, dash = row.look.dash }) {
  const shapes = {
    circle: "M11 7.5a4 4 0 1 0 8 0a4 4 0 1 0-8 0", square: "M11.5 4h7v7h-7z", "triangle-up": "M15 3l4.5 8h-9z",
    diamond: "M15 2.5l5 5-5 5-5-5z", "triangle-down": "M15 12l4.5-8h-9z", cross: "M13.5 3h3v3h3v3h-3v3h-3v-3h-3v-3h3z",
    x: "M11 5l2-2 2 2 2-2 2 2-2.4 2.5L19 10l-2 2-2-2-2 2-2-2 2.4-2.5z", "triangle-left": "M10.5 7.5l8-4.5v9z",
    "triangle-right": "M19.5 7.5l-8-4.5v9z", pentagon: "M15 3l4.6 3.4-1.8 5.4h-5.6l-1.8-5.4z", hexagon: "M15 3l4 2.3v4.5L15 12l-4-2.3V5.300z",
  };
  const dashes = { solid: "", dash: "5 3", dot: "1.5 2.5", dashdot: "5 2 1.5 2", longdash: "7 2", longdashdot: "7 2 1.5 2" };
  const make = (tag, attributes) => {
    const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
    Object.entries(attributes).forEach(([name, value]) => element.setAttribute(name, value));
    return element;
  };
  const picture = make("svg", { viewBox: "0 0 30 15", class: "swatch", "aria-hidden": "true" });
  picture.style.setProperty("--on-light", row.look.light);
  picture.style.setProperty("--on-dark", row.look.dark);
  picture.append(
    make("path", { d: "M0 7.5H30", stroke: "currentColor", "stroke-width": "2", "stroke-dasharray": dashes[dash] ?? "" }),
    make("path", { d: shapes[row.look.symbol.replace("-open", "")] ?? shapes.circle, ...(row.look.filled ? { fill: "currentColor" } : { class: "open", stroke: "currentColor", "stroke-width": "1.6" }) }));
  return picture;
}

/** Those that the eye can follow: all of a few, else the first, the best tied ones, the next ranks and nominal. */
function firstChosen(rows, choices, nominal) {
  if (rows.length <= 8) return new Set(rows);
  return new Set(unique([rows[0], ...choices, ...rows]).slice(0, 6).concat(nominal ?? []));
}

function methodPicker(lines, chosen, changed) {
  const boxes = h("div", { class: "checks" }, lines.map((line) => check(
    line.label, chosen.has(line.row), (value) => { chosen[value ? "add" : "delete"](line.row); changed(); }, swatch(line))));
  const all = (value) => () => {
    lines.forEach(({ row }) => chosen[value ? "add" : "delete"](row));
    boxes.querySelectorAll("input").forEach((box) => { box.checked = value; });
    changed();
  };
  return h("fieldset", {}, h("legend", {}, "Methods shown, in the order of their rank"), boxes,
    h("div", { class: "checks" }, h("button", { class: "plain", type: "button", onclick: all(true) }, "all"), h("button", { class: "plain", type: "button", onclick: all(false) }, "none")));
}

function startCurves() {
  const groups = GROUPS.filter((group) => group.rows.some((row) => row.seeds.length));
  if (!groups.length) {
    at("curves-body").append(notice(h("p", {}, "No finished records yet.")));
    return null;
  }
  const first = firstGroup();
  const state = { task: first.task, device: first.device, group: first };
  placePicker(at("curves-controls"), state, unique(groups.map((group) => group.task)), unique(groups.map((group) => group.device)).sort(), () => showCurves(state));
  showCurves(state);
  return state;
}

function showCurves(state) {
  const group = state.group;
  if (!group) {
    at("curves-body").replaceChildren(notice(h("p", {}, `Nothing was measured for ${state.task} on ${state.device} yet.`)));
    return;
  }
  const rows = group.rows.filter((row) => row.seeds.length);
  const lines = rows.map((row) => ({ row, label: row.label }));
  const chosen = firstChosen(rows, group.choices.map((i) => group.rows[i]), group.nominal === null ? null : group.rows[group.nominal]);
  const visible = () => lines.filter(({ row }) => chosen.has(row));
  const charts = [];
  const add = (...made) => { charts.push(...made); return made; };
  const redraw = () => charts.forEach((figure) => figure.redraw());
  const box = h("div", { class: "charts" });
  const size = sizeOf(rows);
  const what = group.over_time ? "time" : group.axis;
  if (group.points.length > 1) {
    const figure = chart(`${group.metric} over ${what}`, () => sweepChart(group, visible()), { caption: `${group.metric} over ${what}: mean and 95% interval; ${size}` });
    add(figure);
  }
  if (rows.filter((row) => row.rank !== null).length > 2) {
    const [figure] = add(chart("Scores, and which can be told apart", () => scoresChart(group, visible()), { low: true, caption: `Score with its 95% interval; a bar joins neighbouring scores no two of which can be told apart (paired differences, Holm’s correction); ranks also tell of ties across others; ${size}` }));
    figure.querySelector(".chart").classList.add("grows");
    box.append(figure);
  }
  if (rows.some((row) => row.yields.some((shares) => shares))) box.append(yieldFigure(group, visible, add, size));
  if (group.has_power) box.append(...add(chart("Error versus read power", () => powerChart(group, visible()), { low: true, caption: `Error over read power, means over seeds: a line through the ${group.over_time ? "times" : "levels"}, with a large mark at the first; 95% intervals over chips and seeds; ${size}` })));
  at("curves-body").replaceChildren(methodPicker(lines, chosen, redraw), ...charts.slice(0, Number(group.points.length > 1)), box);
}

function yieldFigure(group, visible, add, size) {
  const usual = group.points.indexOf(1);
  let level = group.axis.startsWith("multiplier") && usual > 0 ? usual : group.points.length - 1;
  const [figure] = add(chart("Yield curves", () => yieldChart(group, visible().map(({ row, label }) => ({ row, label, shares: row.yields[level] }))), {
    low: true, caption: `Yield: share of chips whose ${group.metric} is at least as good as the axis says; ${size}`,
  }));
  figure.querySelector("figcaption").after(choice(group.over_time ? "At time" : `At ${group.axis}`, group.labels.map((label, i) => [i, label]), level, (value) => { level = Number(value); figure.redraw(); }));
  return figure;
}

function startDrift() {
  const alone = GROUPS.filter((group) => group.over_time && group.points.length > 1 && group.rows.some((row) => row.seeds.length));
  if (!alone.length) {
    at("drift-body").append(notice(h("p", {}, "No sweep of times was recorded yet. This makes one:"), command("bench run --method nominal,noise_injection,hwa --device pcm --task fashion_mnist --preset standard --sweep time")));
    return;
  }
  const families = [
    ...DATA.together.map(({ title, groups, settings }) => ({ title: `${title}, settings side by side`, parts: groups.map((i, k) => [GROUPS[i], settings[k]]) })),
    ...alone.map((group) => ({ title: group.title, parts: [[group, ""]] })),
  ];
  const body = h("div");
  const show = (i) => {
    // Settings side by side: a method keeps its colour, a setting has a line of its own.
    const lines = families[i].parts.flatMap(([group, setting], k) => group.rows.filter((row) => row.seeds.length)
      .map((row) => ({ row, label: row.label + setting, dash: families[i].parts.length > 1 ? ["solid", "dash", "dot", "dashdot"][k % 4] : undefined })));
    const chosen = firstChosen(lines.map(({ row }) => row), [], null);
    const [[group]] = families[i].parts;
    const figure = chart("Drift over time", () => sweepChart(group, lines.filter(({ row }) => chosen.has(row))), { caption: `${group.metric} over the time since programming: mean and 95% interval; ${sizeOf(lines.map(({ row }) => row))}` });
    body.replaceChildren(methodPicker(lines, chosen, () => figure.redraw()), figure);
  };
  at("drift-body").append(h("div", { class: "controls" }, choice("Sweep", families.map(({ title }, i) => [i, title]), 0, (i) => show(Number(i)))), body);
  show(0);
}
