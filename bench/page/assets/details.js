// The details of one row, in a dialog: curve, chips, settings, versions, hardware, command.
const dialog = at("details");
let opened = null;

function openRow(row) {
  opened = row;
  const group = row.home;
  const close = h("button", { type: "button", onclick: () => dialog.close() }, "Close");
  dialog.replaceChildren(
    h("header", {},
      h("div", {},
        h("p", { class: "eyebrow" }, group.title),
        h("h2", { id: "details-title", tabindex: "-1" }, row.label)),
      close),
    h("div", { class: "body" }, bodyOf(row)));
  if (!dialog.open) dialog.showModal();
  dialog.scrollTop = 0;
  at("details-title").focus({ preventScroll: true });
  history.replaceState(null, "", `#key-${encodeURIComponent(row.keys[0] ?? "")}`);
}
dialog.addEventListener("close", () => {
  opened = null;
  dialog.replaceChildren();
  history.replaceState(null, "", location.pathname + location.search);
});
dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });

function openFromAddress() {
  const key = decodeURIComponent(location.hash).match(/^#key-(.+)$/)?.[1];
  const row = key && ROWS.find((other) => other.keys.includes(key));
  if (row && row !== opened) openRow(row);
}

function bodyOf(row) {
  const group = row.home;
  const parts = [h("p", { class: "muted" }, DATA.names.methods[row.method]?.summary ?? "")];
  row.failed.forEach(({ seed, error, key }) => parts.push(h("p", { class: "failed" }, `Seed ${seed} failed: ${error} (${key})`)));
  if (row.seeds.length) parts.push(numbersOf(row), missingOf(row), notesOf(group), chartsOf(row));
  const seen = picturesOf(row, true);
  if (seen.length) parts.push(h("h3", {}, "Before and after"), h("p", { class: "small muted" }, pictureNote(group)), h("div", { class: "album" }, seen));
  parts.push(h("h3", {}, "The command that remakes it"), command(row.command));
  if (row.records.length > 1) parts.push(h("p", { class: "small muted" }, `Makes the records ${listed(row.keys)}.`));
  parts.push(...row.records.map((record, i) => recordOf(record, group, row, i === 0)));
  return parts;
}

/** What the records are too old to hold, why, and the command that has it. */
const missingOf = (row) => (row.missing.length ? notice(row.missing.map(({ what, why, how }) => h("p", { class: "small" },
  h("b", {}, `No ${what}: `), `${why}. The command ${how}:`)), command(row.again)) : null);

function numbersOf(row) {
  const group = row.home;
  const unit = ofUnit(group);
  const top = `at ${group.labels.at(-1)}`;
  const relative = row.relative.total_;
  return definitions([
    ["rank", row.rank_text],
    ["score", `${spread(row.score)}${unit}`],
    ["to the best", row.to_best ? toBest(row) : null],
    ["p (Holm)", row.p === null ? null : chance(row.p)],
    ["clean", `${number(row.clean)}${unit}`],
    [`p5 ${top}`, number(row.p5)],
    [`worst chip ${top}`, number(row.worst)],
    [`yield ${top}`, percent(row.yield)],
    [`EKL ${top}`, row.ekl === null ? null : number(row.ekl, 4)],
    [`read power ${top}`, unrecorded(row, "read power") ?? (row.power_mw === null ? null : `${short(row.power_mw)} mW`)],
    ["training, of nominal’s", relative === null || relative === undefined ? null : `${short(relative)} ×`],
    ["training, total", row.cost.total_seconds === null ? null : `${amount(row.cost.total_seconds)} s`],
    ["seeds", row.seeds.join(", ")],
    ["chips a level", row.chips.join("–")],
    ["adapts on", row.adapted_on ? `${amount(row.adapted_on)} samples a chip` : null],
  ], "tiles");
}

function chartsOf(row) {
  const group = row.home;
  const beside = unique([row, group.rows[group.use ?? 0], group.rows[group.nominal ?? 0]]).filter((other) => other.seeds.length);
  const lines = beside.map((other) => ({ row: other, label: other.label }));
  const box = h("div", { class: "charts" });
  if (group.points.length > 1) {
    box.append(chart(`${group.metric} of ${row.label}`, () => sweepChart(group, lines), {
      low: true, caption: `${group.metric}: mean and 95% interval; ${sizeOf(beside)}`, legend: lines,
    }));
  }
  box.append(chart(`Every chip of ${row.label}`, () => chipsChart(row), { low: true, caption: `A mark a chip${row.seeds.length > 1 ? ", a shape a seed" : ""}; the bar is the mean; ${sizeOf([row])}` }));
  if (group.points.length > 1 && row.yields.some((shares) => shares)) {
    const dashes = ["solid", "dot", "dash", "dashdot", "longdash", "longdashdot"];
    const shades = row.yields.map((shares, i) => ({
      row, label: group.labels[i], shares, dash: dashes[i % dashes.length],
      get hue() { return faded(colour(row), 0.35 + (0.65 * (i + 1)) / row.yields.length); },
    }));
    box.append(chart(`Yield curves of ${row.label}`, () => yieldChart(group, shades), {
      low: true, caption: `Yield: share of chips whose ${group.metric} is at least as good, a line a ${group.over_time ? "time" : "level"}, from pale to full; ${sizeOf([row])}`,
    }));
  }
  return box;
}

/** What a few test samples are taken for, by the digital network and on chip 0; wrong answers have a cross. */
function samplesOf(record, group) {
  const found = record.done && record.samples;
  if (!found) return null;
  const about = `Test samples of seed ${record.seed}: what is given, what is wanted, what the digital network answers and what chip 0 does`;
  const first = ["given", "wanted", "digital", ...group.labels.slice(0, record.points.length).map((label) => (group.over_time ? label : `level ${label}`))];
  const columns = DATA.samples[found.of].map(([given, wanted], i) => [
    /^[▁-█]+$/.test(given) ? h("span", { class: "bars" }, given) : given, wanted,
    ...found.answers[i].map((answer, place) => (
      found.wrong[i].includes(place) ? h("span", { class: "failed" }, "✗ ", h("span", { class: "hidden" }, "wrong: "), answer) : answer))]);
  const heads = ["sample", ...columns.map((_, i) => String(i + 1))];
  const rows = first.map((name, i) => [name, ...columns.map((column) => column[i])]);
  return [
    h("p", { class: "small muted" }, `The first samples of the test split in its fixed order, in words, on the digital network and on chip 0 ${group.over_time ? "at each time since programming" : `at each level of ${group.axis}`}, with the probability of the answer. ✗: wrong.`),
    scrolling(about, table(heads, rows, about, "samples")),
  ];
}

const STATED = ["mean", null, null, "std", "p5", "worst", "yield", "EKL", "chips"];
function recordOf(record, group, row, open) {
  const heads = [group.over_time ? "time" : "level", "mean ± 95%", ...STATED.slice(3)];
  const levels = record.levels.map((found, i) => {
    const [mean, low, high, std, p5, worst, share, ekl, chips] = found;
    return [group.labels[i], spread([mean, low, high]), number(std), number(p5), number(worst), percent(share), ekl === null ? MISSING : number(ekl, 4), String(chips)];
  });
  const further = Object.entries(record.further).map(([name, { clean, means }]) => [name, short(clean), ...means.map(short)]);
  const shown = samplesOf(record, group);
  const machine = (name) => (name === null ? [] : Object.entries(DATA.environments[name]));
  const same = record.trained === record.tested || record.trained === null;
  return h("details", { open },
    h("summary", {}, `Seed ${record.seed}, record ${record.key}`),
    record.done && scrolling(`Levels of seed ${record.seed}`, table(heads, levels, `Every level of seed ${record.seed}`)),
    further.length > 0 && [h("h3", {}, "Further metrics, mean over chips"),
      scrolling("Further metrics", table(["metric", "clean", ...group.labels], further, "Further metrics"))],
    shown && [h("h3", {}, "Test samples, before and after"), shown],
    h("div", { class: "halves" },
      h("div", {}, h("h3", {}, "What was run"), definitions([["key", record.key], ["training key", record.training_key], ...Object.entries(record.about)])),
      h("div", {},
        h("h3", {}, "Settings"),
        definitions(Object.entries(record.settings).length ? Object.entries(record.settings) : [["all", "as by default"]]),
        h("h3", {}, "Budget"), definitions(Object.entries(record.budget))),
      h("div", {}, h("h3", {}, "Versions of the bench’s parts"), definitions(Object.entries(record.versions))),
      h("div", {},
        h("h3", {}, same ? "Hardware and software" : "Hardware and software of the test"), definitions(machine(record.tested)),
        !same && [h("h3", {}, "of the training"), definitions(machine(record.trained))]),
      h("div", {}, h("h3", {}, "Cost"), definitions(costsOf(row)))),
    record.command !== row.command && [h("h3", {}, `Command of seed ${record.seed}`), command(record.command)]);
}
const costsOf = (row) => Object.entries(row.cost)
  .map(([name, value]) => [name === "trials" ? "tuning trials" : `${name.startsWith("total_") ? "" : "own "}${name.replaceAll("_", " ")}`, value === null ? unrecorded(row, "passes") : amount(value)]);
