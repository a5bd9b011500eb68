// Tables of colours: methods and devices, trained and tested; coverage, published figures, pictures, names.

const RAMP = ["#440154", "#472d7b", "#3b528b", "#2c728e", "#21918c", "#28ae80", "#5ec962", "#addc30", "#fde725"];
/** A colour of the ramp (viridis) for a share of 0 to 1, and what can be read on it. */
function shade(share) {
  const place = Math.min(Math.max(share, 0), 1) * (RAMP.length - 1);
  const [low, high] = [Math.floor(place), Math.ceil(place)].map((i) => [1, 3, 5].map((j) => parseInt(RAMP[i].slice(j, j + 2), 16)));
  const mixed = low.map((value, j) => Math.round(value + (high[j] - value) * (place - Math.floor(place))));
  const light = mixed.map((value) => (value / 255 <= 0.04045 ? value / 255 / 12.92 : ((value / 255 + 0.055) / 1.055) ** 2.4));
  const luminance = 0.2126 * light[0] + 0.7152 * light[1] + 0.0722 * light[2];
  return { background: `rgb(${mixed.join(",")})`, ink: luminance > 0.18 ? "#000000" : "#ffffff" };
}
function shaded(cell, value, low, high, up) {
  const wide = isWide({ higher: up }, [low, high]);
  const on = (x) => (wide ? Math.log(x) : x);
  const share = high > low ? (on(value) - on(low)) / (on(high) - on(low)) : 1;
  const { background, ink } = shade(up ? share : 1 - share);
  cell.style.background = background;
  cell.style.color = ink;
  cell.classList.add("shade");
  return cell;
}
function scaleBar(low, high, up, text, digits = 2) {
  const bar = h("i", { "aria-hidden": "true" });
  bar.style.background = `linear-gradient(90deg, ${(up ? RAMP : RAMP.toReversed()).join(",")})`;
  return h("p", { class: "scale" }, h("span", { class: "ends" }, number(low, digits), bar, number(high, digits)), h("span", {}, text));
}
function grid(corner, columns, rows, caption) {
  return scrolling(caption, h("table", { class: "grid" }, h("caption", { class: "hidden" }, caption),
    h("thead", {}, h("tr", {}, h("th", { scope: "col" }, corner), columns.map((name) => h("th", { scope: "col" }, name)))),
    h("tbody", {}, rows)), "tall fit");
}
const absent = (text = "no record") => h("td", { class: "none" }, h("span", { class: "hidden" }, text), h("span", { "aria-hidden": "true" }, "·"));

const QUANTITIES = {
  score: ["score", (row) => row.score?.[0], null, 2],
  to_best: ["difference of the score to the best", (row) => (row.rank === null ? null : row.to_best?.[0] ?? 0), null, 2],
  last: ["at the hardest level", (row) => row.points.at(-1)?.[0], null, 2],
  worst: ["worst chip", (row) => row.worst, null, 2],
  yield: ["yield (%)", (row) => (row.yield === null ? null : 100 * row.yield), true, 0],
  clean: ["clean", (row) => row.clean, null, 2],
};
function startHeatmap() {
  const usual = GROUPS.filter((group) => !group.over_time && !group.elsewhere && group.rows.some((row) => row.seeds.length));
  const families = grouped(usual, (group) => [group.task_label, group.network, group.preset, group.metric, group.test_samples ?? ""].join("\n"))
    .map(([, groups]) => ({ groups, title: `${groups[0].task_label} · ${groups[0].network} · ${groups[0].preset}` }))
    .sort((a, b) => Number(a.groups[0].touched) - Number(b.groups[0].touched) || b.groups.length - a.groups.length);
  if (!families.length) {
    at("heatmap-body").append(notice(h("p", {}, "No finished records yet.")));
    return;
  }
  const state = { family: 0, quantity: "score" };
  const show = () => {
    const { groups, title } = families[state.family];
    const [text, value, fixed, digits] = QUANTITIES[state.quantity];
    const up = fixed ?? groups[0].higher;
    const labels = unique(groups.flatMap((group) => group.rows.filter((row) => row.seeds.length).map((row) => row.label))).sort();
    const find = (label, group) => group.rows.find((row) => row.label === label && row.seeds.length);
    const values = groups.flatMap((group) => group.rows.map(value)).filter((one) => one !== null && one !== undefined);
    const [low, high] = [Math.min(...values), Math.max(...values)];
    const rows = labels.map((label) => h("tr", {}, h("th", { scope: "row" }, label), groups.map((group) => {
      const row = find(label, group);
      const found = row && value(row);
      if (found === null || found === undefined) return absent();
      const best = group.choices.some((i) => group.rows[i] === row);
      const cell = h("td", { class: best ? "top-tied" : null, title: `${label} on ${group.device_label}: rank ${row.rank_text}`, onclick: () => openRow(row) }, number(found, digits), best && h("span", { class: "hidden" }, " (best or tied)"));
      return shaded(cell, found, low, high, up);
    })));
    const members = groups.flatMap((group) => group.rows.filter((row) => row.seeds.length));
    const differs = (row) => row.chips.at(-1) > 1 || row.score?.[1] === null;  // a chip alone is all, where none differs
    const unit = state.quantity === "yield" ? "" : ` of ${inUnit(groups[0].metric, groups[0].unit)}`;
    at("heatmap-body").replaceChildren(grid("method", groups.map((group) => group.device_label), rows, `${text}, ${title}`),
      scaleBar(low, high, up, `${text}${unit}; yellow is better; framed: the best of its device and those tied with it, as in the overview; ${sizeOf(members.some(differs) ? members.filter(differs) : members)}`, digits));
  };
  at("heatmap-controls").append(
    choice("Task, network and preset", families.map(({ title }, i) => [i, title]), 0, (i) => { state.family = Number(i); show(); }),
    choice("Show", Object.entries(QUANTITIES).map(([key, [text]]) => [key, text]), state.quantity, (quantity) => { state.quantity = quantity; show(); }));
  show();
}

function startCrossed() {
  const body = at("crossed-body");
  if (!DATA.matrices.length) {
    body.append(notice(h("p", {}, "No network was tested on another device than it was trained for yet. This fills the whole matrix:"), command("bench matrix --method noise_injection --task fashion_mnist --preset quick")));
    return;
  }
  const shown = h("div");
  const sizes = (entries) => entries.map(([, , , , , chips, seeds]) => ({ chips, seeds }));
  const show = (i) => {
    const found = DATA.matrices[i];
    const means = found.entries.map(([, , mean]) => mean);
    const [low, high] = [Math.min(...means), Math.max(...means)];
    const rows = found.rows.map((row) => h("tr", {}, h("th", { scope: "row" }, row), found.columns.map((column) => {
      const entry = found.entries.find(([r, c]) => r === row && c === column);
      if (!entry) return absent();
      const own = row.replace(/ \S+$/, "") === column.replace(/ \S+$/, "");
      return shaded(h("td", { class: own ? "top-tied" : null, title: `${spread(entry.slice(2))}; ${entry[5].length ? sizeOf(sizes([entry]), "here") : "no chip differs here"}` }, number(entry[2], 1)), entry[2], low, high, found.higher);
    })));
    shown.replaceChildren(grid("trained on ↓ tested on →", found.columns, rows, found.title),
      scaleBar(low, high, found.higher, `${inUnit(found.metric, found.unit)}; mean over ${sizeOf(sizes(found.entries), "an entry")}; yellow is better; framed: tested on the device that it was trained for`));
  };
  body.append(h("p", {}, "Rows: device and level trained on; columns: device and level tested on."),
    h("div", { class: "controls" }, choice("Method, task and network", DATA.matrices.map(({ title }, i) => [i, title]), 0, (i) => show(Number(i)))), shown);
  show(0);
}

function startCoverage() {
  const { methods, devices, tasks } = Object.fromEntries(Object.entries(DATA.names).map(([kind, names]) => [kind, Object.keys(names)]));
  const presets = unique(DATA.cells.map((cell) => cell.preset));
  const most = (name) => presets.toSorted((a, b) => count(name, b) - count(name, a))[0];
  const count = (task, preset) => DATA.cells.filter((cell) => cell.preset === preset && (!task || cell.task === task)).length;
  const state = { task: tasks.toSorted((a, b) => count(b, most()) - count(a, most()))[0] ?? "", preset: most() ?? "standard" };
  const show = () => {
    const here = DATA.cells.filter((cell) => cell.task === state.task && cell.preset === state.preset);
    const rows = methods.map((method) => h("tr", {}, h("th", { scope: "row" }, method), devices.map((device) => {
      const cell = here.find((one) => one.method === method && one.device === device);
      if (!cell) return absent();
      if (!cell.done) return h("td", { class: "broken" }, "failed");
      return h("td", { class: "have" }, `${cell.done}${cell.failed ? ` (${cell.failed} failed)` : ""}`);
    })));
    const filled = here.filter((cell) => cell.done).length;
    const preset = state.preset.replace(/\*$/, "").split(" ")[0];
    at("coverage-body").replaceChildren(
      h("p", {}, `${filled} of ${methods.length * devices.length} cells of ${state.task} have a record of preset ${state.preset}: their number of finished runs; a dot where there is none. Some can’t be had: bn_recalibrate needs BatchNorm, double_weights a device of cells.`),
      grid("method", devices, rows, `Coverage of ${state.task}, preset ${state.preset}`),
      h("p", {}, "What is missing is run, and what is there is kept, by"), command(`bench run --method all --device all --task ${state.task} --preset ${preset}${asks(state.task)}`));
  };
  at("coverage-controls").append(
    choice("Task", tasks.map((name) => [name, `${name} (${counted(count(name, state.preset), "cell")})`]), state.task, (task) => { state.task = task; show(); }),
    choice("Preset", (presets.length ? presets : [state.preset]).map((name) => [name, name]), state.preset, (preset) => { state.preset = preset; show(); }));
  show();
}

function startPublished() {
  for (const [where, rows] of grouped(DATA.published, (row) => row.where)) {
    const [{ labels }] = rows;
    const gap = (value) => (value === null ? MISSING : `${value < 0 ? "" : "+"}${number(value)}`);
    const head = (row, span) => h("th", { scope: span > 1 ? "rowgroup" : "row", rowspan: span, class: "rowhead" }, row.trained,
      h("span", { class: "sub" }, `${row.network}${rows.some((other) => other.task !== row.task) ? `, ${row.task}` : ""}`));
    const cells = (values, made = "td") => values.map((value) => h(made, {}, value));
    const block = (row) => {
      const theirs = [h("td", { class: "text" }, row.ours.length ? "published" : "published; not measured"), cells(row.theirs.map((one) => number(one)))];
      const ours = row.ours.flatMap((our) => [
        h("tr", {}, h("td", { class: "text" }, `measured, ${our.preset}, ${counted(our.seeds, "seed")}`, h("span", { class: "sub" }, our.setting)), cells(our.means.map((mean) => number(mean)))),
        h("tr", {}, h("td", { class: "text" }, h("b", {}, "difference")), cells(our.gaps.map((one) => h("b", {}, gap(one))))),
      ]);
      return h("tbody", {}, h("tr", {}, head(row, 1 + ours.length), theirs), ours);
    };
    const measured = rows.some((row) => row.ours.length);
    const theirs = unique(rows.map((row) => row.setting));
    const lacking = DATA.unmeasured[where].flatMap(({ what, why, commands }) => [h("p", { class: "small" }, `${what}: ${why}.`), ...commands.map(command)]);
    const made = h("table", {}, h("caption", { class: "hidden" }, where),
      h("thead", {}, h("tr", {}, ["trained", "figures", ...labels].map((name, i) => h("th", { scope: "col", class: i < 2 ? "text" : null }, name)))), rows.map(block));
    at("published-body").append(h("details", { open: measured },
      h("summary", {}, `${where}: ${measured ? `${rows.filter((row) => row.ours.length).length} of ${rows.length} rows measured` : "not measured yet"}`),
      h("p", { class: "small" }, `On ${unique(rows.map((row) => row.device)).join(", ")}; ${unique(rows.map((row) => row.unit)).join(", ")}. Theirs: ${theirs.join("; or ")}.`),
      scrolling(where, made), lacking.length ? h("details", {}, h("summary", {}, "Not measured: what, why, and what measures it"), ...lacking) : null));
  }
  at("published-body").append(h("details", {}, h("summary", {}, "Papers that methods and devices are from, without a figure here"),
    h("ul", { class: "small" }, Object.entries(DATA.without).map(([paper, why]) => h("li", {}, `${paper}: ${why}.`)))));
}

/** The pictures of a row's records, as figures; none where it has none. */
function picturesOf(row, inside = false) {
  const { label, home: group } = row;
  const means = row.points.map((found, i) => (found ? `${group.labels[i]}: ${number(found[0])}` : null)).filter(Boolean);
  const said = `Test samples before and after: what goes in, what is wanted, and what ${label} makes of it without a device and on chip 0 of ${group.device_label}, ${group.over_time ? "time by time" : "level by level"}. ${group.metric} of all samples, ${ofUnit(group).trim()}, mean over chips: ${means.join(", ")}`;
  return row.keys.filter((key) => IMAGES.pictures[key]).map((key) => h("figure", {},
    h("figcaption", {}, inside ? `Record ${key}` : [rowButton(row), `: ${spread(row.score)}${ofUnit(group)} on average (record ${key})`]),
    scrolling(`Before and after, ${label}, ${group.task_label} on ${group.device_label}, record ${key}`, h("img", { src: IMAGES.pictures[key], loading: "lazy", alt: said }))));
}
/** What the columns and numbers of a picture are. */
const pictureNote = (group) => `Columns: what goes in, what is wanted, the digital network, then chip 0 ${
  group.over_time ? "at each time since programming" : `at each level of ${group.axis}`}. Below each picture its own ${inUnit(group.metric, group.unit)}, ${group.higher ? "higher" : "lower"} is better.`;

function startPictures() {
  const body = at("pictures-body");
  const groups = GROUPS.filter((group) => group.rows.some((row) => picturesOf(row).length))
    .sort((a, b) => Number(a.points.length < 2) - Number(b.points.length < 2));  // what a device takes comes first
  const shown = h("div", { class: "album" });
  const show = (group) => shown.replaceChildren(h("p", { class: "small muted" }, pictureNote(group)), ...group.rows.flatMap((row) => picturesOf(row)));
  if (!groups.length) body.append(notice(h("p", {}, "No record here has pictures. Tasks whose outputs are pictures, such as segmentation and denoising, bring them along; of other tasks a row’s details say in words what test samples are taken for.")));
  else {
    body.append(h("p", {}, "The same test samples on one chip that deviates more and more, method by method."),
      h("div", { class: "controls" }, choice("Task, network and device", groups.map((group) => [group.id, group.title]), groups[0].id, (id) => show(groups.find((group) => group.id === id)), true)), shown);
    show(groups[0]);
  }
  if (IMAGES.left_out) body.append(h("p", { class: "small" }, `${counted(IMAGES.left_out, "picture")} left out, to keep this file small; results/pictures/ has all.`));
}

function startGlossary() {
  for (const [kind, title] of [["methods", "Methods"], ["devices", "Devices"], ["tasks", "Tasks"]]) {
    const rows = Object.entries(DATA.names[kind]).map(([name, { summary, source }]) => [name, h("span", { class: "wrap" }, summary), source]);
    const made = table(["name", "what it is", "source"], rows, title);
    made.querySelectorAll("th, td").forEach((cell) => cell.classList.add("text"));
    made.querySelectorAll("td").forEach((cell) => cell.classList.add("wrap"));
    at("glossary").append(h("details", {}, h("summary", {}, `${title} (${rows.length})`), scrolling(title, made, "tall")));
  }
}
