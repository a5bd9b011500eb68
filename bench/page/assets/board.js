// The leaderboard: one table, a block a comparison, sorted within blocks, filtered by task, device, preset, method, text.
const sets = { levels: true, tails: true, cost: true };
const filters = { task: "", device: "", preset: "", method: "", text: "" };
const order = { column: "rank", descending: false };

const numeric = (id, name, set, value, text, descending = true) => ({ id, name, set, value, text, descending });
function boardColumns(groups) {
  const most = Math.max(1, ...groups.map((group) => group.points.length));
  const hasPower = groups.some((group) => group.rows.some((row) => row.power_mw !== null));
  const two = (main, sub) => (sub ? [main, h("span", { class: "sub" }, sub)] : main);
  const withHalf = (found) => (found ? two(number(found[0]), half(found) ? `± ${half(found)}` : "") : MISSING);
  const levels = Array.from({ length: most }, (_, i) => numeric(`level${i}`, `L${i + 1}`, "levels", (row) => row.points[i]?.[0], (row) => withHalf(row.points[i])));
  const cost = (name, shown, what) => numeric(name, shown, "cost", (row) => row.cost[name], (row) => unrecorded(row, what) ?? amount(row.cost[name]), false);
  return [
    numeric("rank", "rank", null, (row) => row.rank, (row) => row.rank_text, false),
    { id: "method", name: "method", set: null, value: (row) => row.label, text: (row) => row.label, descending: false },
    numeric("score", "score", null, (row) => row.score?.[0], (row) => withHalf(row.score)),
    numeric("to_best", "to best", null, (row) => row.to_best?.[0], (row) => two(toBest(row), row.p === null ? "" : `p ${chance(row.p)}`)),
    numeric("clean", "clean", null, (row) => row.clean, (row) => number(row.clean)),
    ...levels,
    numeric("p5", "p5", "tails", (row) => row.p5, (row) => number(row.p5)),
    numeric("worst", "worst chip", "tails", (row) => row.worst, (row) => number(row.worst)),
    numeric("yield", "yield", "tails", (row) => row.yield, (row) => percent(row.yield)),
    numeric("ekl", "EKL", "tails", (row) => row.ekl, (row) => number(row.ekl, 4), false),
    ...(hasPower ? [numeric("power", "power (mW)", "tails", (row) => row.power_mw, (row) => unrecorded(row, "read power") ?? short(row.power_mw), false)] : []),
    numeric("relative", "training / nominal’s", "cost", (row) => row.relative.total_, (row) => (row.relative.total_ ? `${short(row.relative.total_)} ×` : MISSING), false),
    cost("total_seconds", "total s"),
    cost("seconds", "own s"),
    cost("total_epochs", "total epochs"),
    ...(ROWS.some((row) => row.cost.total_passes !== null) ? [cost("total_passes", "total passes", "passes")] : [cost("total_forward_passes", "total forward passes")]),
    cost("trials", "tuning trials"),
    numeric("seeds", "seeds", "tails", (row) => row.seeds.length, (row) => row.seeds.join(", ") || MISSING),
    numeric("chips", "chips", "tails", (row) => row.chips[0], (row) => row.chips.join("–") || MISSING),
  ].filter(({ set }) => set === null || sets[set]);
}

function matches(row) {
  const group = row.home;
  const words = filters.text.toLowerCase().split(/\s+/).filter(Boolean);
  const said = () => `${row.label} ${row.method} ${group.title} ${row.keys.join(" ")} ${row.trained_on}`.toLowerCase();
  return (!filters.task || group.task === filters.task) && (!filters.device || group.device === filters.device)
    && (!filters.preset || group.preset === filters.preset) && (!filters.method || row.method === filters.method)
    && (!words.length || words.every((word) => said().includes(word)));
}

function sorted(rows, column) {
  const known = (row) => { const value = column.value(row); return value === null || value === undefined ? null : value; };
  const sign = order.descending ? -1 : 1;
  return rows.map((row, i) => [known(row), i, row]).sort(([a, i], [b, j]) => {
    if (a === null || b === null) return (a === null) - (b === null) || i - j;  // what is missing goes last, whichever way
    const apart = typeof a === "string" ? a.localeCompare(b) : a - b;
    return sign * apart || i - j;
  }).map(([, , row]) => row);
}

function renderBoard() {
  const rows = ROWS.filter(matches);
  const groups = GROUPS.filter((group) => rows.some((row) => row.home === group));
  const columns = boardColumns(groups);
  const column = columns.find(({ id }) => id === order.column) ?? columns[0];
  const heads = columns.map((one) => {
    const active = one === column;
    const button = h("button", { class: "sort", type: "button", "data-sort": one.id, onclick: () => sortBy(one) }, one.name);
    return h("th", { scope: "col", class: one.id === "method" ? "method text" : one.id, "aria-sort": active ? (order.descending ? "descending" : "ascending") : null }, button);
  });
  const bodies = groups.map((group) => {
    const shown = rows.filter((row) => row.home === group);
    return h("tbody", {}, blockHead(group, shown, columns), sorted(shown, column).map((row) => boardRow(row, columns)));
  });
  const made = h("table", { class: "board" },
    h("caption", { class: "hidden" }, "Leaderboard: a block a comparison, a row a method; L1, L2 and so on are the levels that the head of each block names"),
    h("thead", {}, h("tr", {}, heads)), bodies);
  const held = document.activeElement?.dataset?.sort;
  const scrolled = at("board").firstElementChild?.scrollLeft ?? 0;
  at("board").replaceChildren(rows.length ? scrolling("Rows of the leaderboard", made, "tall") : notice(h("p", {}, ROWS.length ? "No method fits these filters." : "No records yet.")));
  if (scrolled) at("board").firstElementChild.scrollLeft = scrolled;
  if (held) made.querySelector(`[data-sort="${held}"]`)?.focus();
  at("board-count").textContent = `${counted(rows.length, "row")} of ${ROWS.length}, in ${counted(groups.length, "comparison")}; sorted by ${column.name} within each`;
}

function sortBy(column) {
  if (order.column === column.id) order.descending = !order.descending;
  else Object.assign(order, { column: column.id, descending: column.descending });
  renderBoard();
}

/** The head of a block: what is compared, its levels above their columns, and which methods have no record here. */
function blockHead(group, shown, columns) {
  const first = columns.findIndex(({ set }) => set === "levels");
  const lead = first < 0 ? columns.length : first;
  const levels = columns.filter(({ set }) => set === "levels").map((_, i) => (i < group.labels.length ? h("th", { scope: "col" }, group.labels[i]) : h("td")));
  const missing = unmeasured(group);
  const better = group.higher ? "higher" : "lower";
  const title = h("span", { class: "title" }, group.title,
    h("span", { class: "sub" }, `${inUnit(group.metric, group.unit)}, ${better} is better; ${group.axis}`,
      shown.length < group.rows.length ? `; ${shown.length} of ${group.rows.length} rows` : ""),
    missing.length > 0 && !group.elsewhere && h("span", { class: "sub" }, `no record: ${someOf(missing)}`));
  const rest = columns.length - lead - levels.length;
  return h("tr", { class: "block" }, h("th", { scope: "rowgroup", colspan: lead, class: "text" }, title), levels, rest > 0 && h("td", { colspan: rest }));
}

function boardRow(row, columns) {
  const open = h("button", { class: "plain", type: "button", "data-row": row.id, onclick: () => openRow(row) }, row.label);
  const cells = columns.map((column) => {
    if (column.id === "method") return h("th", { scope: "row", class: "method" }, open, row.failed.length > 0 && h("span", { class: "sub failed" }, `${counted(row.failed.length, "seed")} failed`));
    return h("td", { class: column.id }, column.text(row));
  });
  // A click anywhere on the row opens it; the button is what the keyboard and screen readers use.
  const clicked = (event) => {
    if (event.target.closest("button") || String(getSelection())) return;
    open.focus();
    openRow(row);
  };
  return h("tr", { class: `row${row.rank === 1 ? " first" : ""}`, onclick: clicked }, cells);
}

function startBoard() {
  const all = (kind, values) => [["", `all ${kind}`], ...values.map((value) => [value, value])];
  const filter = (name, kind, values) => choice(name, all(kind, values), filters[name.toLowerCase()], (value) => {
    filters[name.toLowerCase()] = value;
    renderBoard();
  });
  const search = h("input", { type: "search", placeholder: "setting, network, key …", oninput: () => { filters.text = search.value; renderBoard(); } });
  const controls = () => at("board-controls").replaceChildren(
    filter("Task", "tasks", unique(GROUPS.map((group) => group.task))),
    filter("Device", "devices", unique(GROUPS.map((group) => group.device)).sort()),
    filter("Preset", "presets", unique(GROUPS.map((group) => group.preset))),
    filter("Method", "methods", unique(ROWS.map((row) => row.method)).sort()),
    h("label", { class: "field" }, h("span", {}, "Text"), search),
    h("fieldset", {}, h("legend", {}, "Columns"), h("div", { class: "checks" },
      [["levels", "each level"], ["tails", "tails, yield, power"], ["cost", "cost"]].map(([name, text]) => check(text, sets[name], (value) => {
        sets[name] = value;
        renderBoard();
      })))),
    h("button", { type: "button", onclick: () => {
      Object.keys(filters).forEach((name) => { filters[name] = ""; });
      search.value = "";
      controls();
      renderBoard();
      at("board-controls").querySelector("select").focus();
    } }, "Clear filters"));
  controls();
  if (matchMedia("(max-width: 40rem)").matches) Object.assign(sets, { tails: false, cost: false });
  controls();
  renderBoard();
}
