// Which method for this task and device: what to use, how sure, at what cost, and the command. And all answers in a table.

/** What a reader most likely means comes first: untouched presets, levels before times, more training, more methods. */
function preference(group) {
  const place = PRESETS.indexOf(group.preset);
  return [group.touched, group.elsewhere, group.over_time, group.test_samples !== null, place < 0 ? PRESETS.length : place, -group.rows.length].map(Number);
}
function preferred(groups) {
  return groups.toSorted((a, b) => {
    const [x, y] = [preference(a), preference(b)];
    const i = x.findIndex((value, j) => value !== y[j]);
    return i < 0 ? GROUPS.indexOf(a) - GROUPS.indexOf(b) : x[i] - y[i];
  });
}
const groupsOf = (task, device) => preferred(GROUPS.filter((group) => group.task === task && group.device === device));
const firstGroup = () => GROUPS.filter((group) => group.use !== null)
  .toSorted((a, b) => Number(a.touched) - Number(b.touched) || b.methods - a.methods || b.rows.length - a.rows.length)[0] ?? GROUPS[0];

/** Task, device and, where there are several, which comparison. `state`: task, device, group (a group or null). */
function placePicker(box, state, tasks, devices, changed) {
  const about = (kind, name) => {
    const said = DATA.names[kind][name]?.summary.replace(/\.$/, "") ?? "";
    return said ? `${name}: ${said.length > 70 ? `${said.slice(0, 69)}…` : said}` : name;
  };
  const render = () => {
    const groups = groupsOf(state.task, state.device);
    if (!groups.includes(state.group)) state.group = groups[0] ?? null;
    const set = (change) => { Object.assign(state, change); render(); changed(); };
    const held = box.contains(document.activeElement) ? [...box.children].findIndex((field) => field.contains(document.activeElement)) : -1;
    box.replaceChildren(
      choice("Task", tasks.map((name) => [name, about("tasks", name)]), state.task, (task) => set({ task }), true),
      choice("Device", devices.map((name) => [name, about("devices", name)]), state.device, (device) => set({ device }), true),
      ...(groups.length > 1
        ? [choice("Comparison", groups.map((group) => [group.id, group.title]), state.group.id, (id) => set({ group: groups.find((group) => group.id === id) }), true)]
        : []));
    if (held >= 0) box.children[held]?.querySelector("select").focus();
  };
  state.show = (group) => { Object.assign(state, { task: group.task, device: group.device, group }); render(); changed(); };
  render();
}

function startAnswer(follow) {
  const first = firstGroup();
  const tasks = Object.keys(DATA.names.tasks);
  const devices = Object.keys(DATA.names.devices).filter((name) => name !== "ideal");
  const state = { task: first?.task ?? tasks[0], device: first?.device ?? devices[0], group: first ?? null };
  const show = () => {
    at("verdict").replaceChildren(...described(state), state.group ? verdict(state.group) : nothing(state));
    if (state.group) follow(state.group);
  };
  placePicker(at("answer-controls"), state, tasks, devices, () => {
    show();
    const use = state.group && state.group.use !== null ? state.group.rows[state.group.use].label : null;
    say(state.group ? (use ? `Use ${use}` : "No advice") : "Not measured yet");
  });
  show();
  return state;
}

/** Task and device in full, as a list cuts them off; nothing for what the bench doesn't know. */
function described({ task, device }) {
  const said = [["tasks", task], ["devices", device]].map(([kind, name]) => [name, DATA.names[kind][name]?.summary]).filter(([, summary]) => summary);
  return said.length ? [h("p", { class: "small muted described" }, said.map(([name, summary], i) => [i ? " " : null, h("b", {}, name), `: ${summary.replace(/\.$/, "")}.`]))] : [];
}

/** Methods that have no record in a comparison. */
const unmeasured = (group) => Object.keys(DATA.names.methods).filter((name) => !group.rows.some((row) => row.method === name));
/** Some of them by name. */
const someOf = (names) => (names.length > 6 ? `${names.slice(0, 6).join(", ")} and ${names.length - 6} more` : names.join(", "));
/** What a heading's short names stand for. */
const place = (group) => `Network ${group.network}, preset ${group.preset}, ${counted(group.methods, "method")} of ${group.methods + unmeasured(group).length} compared${group.read_at ? `; chips are read ${group.read_at} after programming` : ""}.`;

function verdict(group) {
  const use = group.use === null ? null : group.rows[group.use];
  const shown = use ?? group.rows.find((row) => row.seeds.length);
  const first = unique([use, group.rows[0], group.rows[group.nominal ?? 0], ...group.choices.map((i) => group.rows[i])]).slice(0, 6);
  const lines = unique([...first, ...(first.length < 4 ? group.rows : [])])  // the next ones where few are tied
    .filter((row) => row?.seeds.length).slice(0, Math.max(4, first.length)).map((row) => ({ row, label: row.label }));
  return h("div", { class: "verdict" },
    h("div", {},
      h("p", { class: "eyebrow" }, group.title),
      use ? h("h3", {}, "Use ", h("em", {}, use.label)) : h("h3", {}, "No clear advice"),
      use && h("p", {}, DATA.names.methods[use.method]?.summary ?? ""),
      h("p", { class: "small muted" }, place(group)),
      use ? facts(group, use) : group.advice.map((line) => h("p", {}, sentence(line))),
      group.preset.startsWith("smoke") && h("p", { class: "notice warn" }, "Preset smoke trains for seconds, for tests: this is no evidence.")),
    h("div", {},
      shown && group.points.length > 1 && chart(`${group.metric} on ${group.device_label}`, () => sweepChart(group, lines), {
        caption: `${group.metric} over ${group.over_time ? "time" : group.axis}, with 95% intervals; ${sizeOf(lines.map(({ row }) => row))}`, legend: lines,
      }),
      notesOf(group)));
}
/** A line of advice as a sentence; the name of a method, and a p, keep their small letters. */
const sentence = (line) => `${line.startsWith("p ") || ROWS.some((row) => line.startsWith(row.label)) ? line : line.charAt(0).toUpperCase() + line.slice(1)}.`;

function facts(group, use) {
  const unit = ofUnit(group);
  const last = group.points.length - 1;
  const asMeasured = group.axis.startsWith("multiplier") ? group.points.indexOf(1) : -1;
  const figure = (value, what) => h("p", {}, h("span", { class: "figure" }, `${spread(value)}${unit}`), ` ${group.metric} ${what}`);
  const good = [
    `${number(use.clean)}${unit} without a device`,
    last > 0 && `${spread(use.points[last])}${unit} ${group.over_time ? `after ${group.labels[last]}` : `at the hardest level (${group.labels[last]})`}`,
    use.worst !== null && last > 0 && `the worst chip there ${number(use.worst)}${unit}`,
    use.yield !== null && last > 0 && `${chipsOf(use.yield)} there at most ${group.yield_loss} worse than without a device`,
  ].filter(Boolean);
  const others = group.choices.map((i) => group.rows[i]).filter((row) => row !== use);
  const nominal = group.nominal === null ? null : group.rows[group.nominal];
  const absent = unmeasured(group);
  const [useLine, ...sure] = group.advice;
  const said = useLine.startsWith("use ") ? useLine.slice(use.label.length + 4).replace(/^[:,;]? */, "") : useLine;
  return h("dl", { class: "facts" },
    h("dt", {}, "How good"),
    h("dd", {},
      asMeasured > 0 && figure(use.points[asMeasured], "on the device as measured"),
      figure(use.score, `on average over ${last > 0 ? `the ${group.over_time ? "times" : "levels"} ${group.labels[0]} to ${group.labels[last]}${group.over_time ? "" : ` of ${group.axis}`}` : "chips"}`),
      h("p", { class: "small muted" }, `${listed(good)}.`),
      nominal && nominal !== use && nominal.score && h("p", { class: "small muted" }, `Without any such training (${nominal.label}): ${listed([
        `${spread(nominal.score)}${unit} on average`, `${number(nominal.clean)}${unit} without a device`,
        asMeasured > 0 && nominal.points[asMeasured] && `${spread(nominal.points[asMeasured])}${unit} on the device as measured`].filter(Boolean))}.`)),
    h("dt", {}, "How sure"),
    h("dd", {}, said && h("p", {}, sentence(said)), sure.map((line) => h("p", {}, sentence(line.replace(/^how sure: /, "")))),
      absent.length > 0 && !group.elsewhere && h("p", { class: "small muted" }, `Of ${someOf(absent)} nothing is known here; `, h("a", { href: "#coverage" }, "Coverage"), " has the command that runs them.")),
    h("dt", {}, "Cost"), h("dd", {}, costLines(group, use)),
    h("dt", {}, "Run it"),
    h("dd", {}, command(use.command),
      h("p", { class: "small muted" }, h("code", {}, "pip install -e ."), " in a copy of cim-bench’s repository installs ", h("code", {}, "bench"), "."),
      h("button", { class: "plain", type: "button", onclick: () => openRow(use) }, "Every chip, setting and version of it")),
    others.length > 0 && [h("dt", {}, "Tied with"), h("dd", {}, tiedList(others, unit))]);
}
function tiedList(others, unit, most = 5) {
  const list = (rows) => h("ul", {}, rows.map((row) => h("li", {}, rowButton(row), ` ${spread(row.score)}${unit}${costRatio(row)}`)));
  return [list(others.slice(0, most)), others.length > most && h("details", {}, h("summary", {}, `${others.length - most} more`), list(others.slice(most)))];
}
/** A share of chips: 'no chip', 'every chip', '37% of the chips'. */
const chipsOf = (share) => (share === 0 ? "no chip" : share === 1 ? "every chip" : `${percent(share)} of the chips`);
const costRatio = (row) => (row.relative.total_ ? `, training ${short(row.relative.total_)} × nominal’s` : "");
const rowButton = (row, text = row.label) => h("button", { class: "plain", type: "button", onclick: () => openRow(row) }, text);

function costLines(group, use) {
  const machine = unique(use.records.map((record) => DATA.environments[record.trained ?? record.tested]?.hardware)).filter(Boolean);
  const { total_seconds: seconds, total_epochs: epochs, trials } = use.cost;
  const ratio = use.relative.total_;
  const nominal = group.nominal === null ? null : group.rows[group.nominal];
  return [
    h("p", {}, ratio ? h("span", { class: "figure" }, `${short(ratio)} ×`) : null, ratio ? ` the training of nominal in ${group.measure}, with all that it rests on` : "Training as stated below"),
    h("p", { class: "small muted" }, [
      seconds !== null && `${duration(seconds)} of training${use.seeds.length > 1 ? " a seed" : ""}${machine.length ? ` on ${machine.join("; ")}` : ""}`,
      epochs !== null && `${amount(epochs)} epochs in all`,
      trials ? `settings chosen in ${trials} trials` : null,
      use.adapted_on && `each chip runs ${amount(use.adapted_on)} unlabelled samples first`,
      use.power_mw !== null && `${short(use.power_mw)} mW while reading, at the last ${group.over_time ? "time" : "level"}${nominal && nominal !== use && nominal.power_mw !== null ? ` (${nominal.label}: ${short(nominal.power_mw)} mW)` : ""}`,
    ].filter(Boolean).join("; "), "."),
    use.missing.map(({ what, why }) => h("p", { class: "small muted" }, `No ${what} here: ${why}; “Every chip, setting and version of it” has the command that remakes it.`)),
  ];
}
function duration(seconds) {
  if (seconds < 90) return `${Math.round(seconds)} s`;
  return seconds < 5400 ? `${Math.round(seconds / 60)} min` : `${(seconds / 3600).toFixed(1)} h`;
}

/** No record of this task on this device: how to measure it, and what comes nearest. */
function nothing({ task, device }) {
  const near = [
    [`${device} on other tasks`, preferred(GROUPS.filter((group) => group.device === device && group.use !== null))],
    [`${task} on other devices`, preferred(GROUPS.filter((group) => group.task === task && group.use !== null))],
  ];
  return notice(
    h("p", {}, h("b", {}, `Nothing was measured for ${task} on ${device} yet.`), " This compares all methods; it says how far it is, and can be stopped and started again:"),
    command(`bench run --method all --device ${device} --task ${task} --preset standard${asks(task)}`),
    near.map(([what, groups]) => groups.length > 0 && [
      h("p", {}, `Nearest evidence, ${what}:`),
      h("ul", {}, groups.slice(0, 4).map((group) => h("li", {},
        `${group.task_label} on ${group.device_label}: `, rowButton(group.rows[group.use]),
        group.choices.length > 1 ? `, tied with ${listed(tiedNames(group))}` : "", ` (${counted(group.methods, "method")} compared)`))),
    ]));
}
function tiedNames(group, most = 3) {
  const names = group.choices.filter((i) => i !== group.use).map((i) => group.rows[i].label);
  return names.length > most ? [...names.slice(0, most), `${names.length - most} more`] : names;
}

function startOverview() {
  const own = GROUPS.filter((group) => !group.elsewhere).sort((a, b) => Number(a.touched) - Number(b.touched));
  const shown = own.some((group) => group.methods > 1) ? own.filter((group) => group.methods > 1) : own;
  if (!shown.length) {
    at("overview-table").append(notice(h("p", {}, "No records yet.")));
    return;
  }
  const heads = ["task and device", "best methods (tied)", "score", "clean", "nominal, to the best", "training / nominal’s", "methods", "preset, network"];
  const rows = shown.map((group) => {
    const use = group.use === null ? null : group.rows[group.use];
    const others = group.choices.filter((i) => i !== group.use).map((i) => group.rows[i]);
    const nominal = group.nominal === null ? null : group.rows[group.nominal];
    return [
      [group.device_label, h("span", { class: "sub" }, group.task_label)],
      h("span", { class: "wrap" }, use ? h("b", {}, rowButton(use)) : MISSING, others.slice(0, 4).map((row) => [", ", rowButton(row)]), others.length > 4 ? `, ${others.length - 4} more` : ""),
      use ? `${spread(use.score)}${ofUnit(group)}` : MISSING, use ? number(use.clean) : MISSING,
      nominal?.to_best ? toBest(nominal) : MISSING,
      use?.relative.total_ ? `${short(use.relative.total_)} ×` : MISSING,
      String(group.methods), `${group.preset}, ${group.network}`,
    ];
  });
  const made = table(heads, rows, "Best tied methods of every comparison", "overview");
  made.querySelectorAll("tr > :nth-child(-n+2), tr > :last-child").forEach((cell) => cell.classList.add("text"));
  made.querySelectorAll("tbody td:nth-child(2)").forEach((cell) => cell.classList.add("wrap"));
  at("overview-table").append(scrolling("Best methods of every comparison", made, rows.length > 40 ? "tall" : ""));
  const alone = own.length - shown.length;
  if (alone) at("overview-table").append(h("p", { class: "small muted" }, `${counted(alone, "place")} where a single method was measured, which is best of nothing, left to the leaderboard.`));
}
