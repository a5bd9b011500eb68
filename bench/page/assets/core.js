// Data, numbers and elements. What a record says gets into the page as text nodes and attributes, never as markup.
const DATA = JSON.parse(document.getElementById("data").textContent);
const IMAGES = JSON.parse(document.getElementById("images").textContent);
const GROUPS = DATA.groups;
const ROWS = GROUPS.flatMap((group) => group.rows);
const PRESETS = ["paper", "standard", "quick", "smoke"];
const MISSING = "—";
GROUPS.forEach((group) => group.rows.forEach((row) => { row.home = group; }));
ROWS.forEach((row, i) => { row.id = i; });

const at = (id) => document.getElementById(id);
const unique = (values) => [...new Set(values)];
/** [key, items of that key] in the order of their first. */
const grouped = (items, keyOf) => unique(items.map(keyOf)).map((key) => [key, items.filter((item) => keyOf(item) === key)]);

/** An element; attributes that begin with "on" are listeners, false and null ones are left out, as are such children. */
function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

// Numbers as labels.py prints them, with a minus that is one.
const minus = (text) => text.replace(/^-/, "−");
function number(value, digits = 2) {
  if (value === null || value === undefined) return MISSING;
  return minus(Math.abs(value) < 10000 ? value.toFixed(digits) : String(Number(value.toPrecision(4))));
}
const thousands = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
function amount(value) {
  if (value === null || value === undefined) return MISSING;
  if (Math.abs(value) >= 100) return thousands.format(value);
  return String(Number(value.toFixed(2)));
}
/** Why records lack a number, in its place; nothing where they don't. `what`: as missing.py names it. */
function unrecorded(row, what) {
  const found = row.missing.find((one) => one.what === what);
  return found && h("span", { class: "unrecorded", title: found.why }, "not recorded");
}
const percent = (share) => {
  if (share === null || share === undefined) return MISSING;
  const digits = share === 0 || share === 1 || (share >= 0.01 && share <= 0.99) ? 0 : 1;
  return `${(100 * share).toFixed(digits)}%`;
};
const short = (value) => (value === null || value === undefined ? MISSING : String(Number(value.toPrecision(3))));
function half(found) {
  const [mean, , high] = found;
  return high === null ? "?" : high === mean ? "" : number(high - mean);
}
function spread(found) {
  if (!found) return MISSING;
  return number(found[0]) + (half(found) ? ` ± ${half(found)}` : "");
}
function difference(found) {
  if (!found || found[0] === null) return MISSING;
  const [mean, , high] = found;
  return `${mean < 0 ? "" : "+"}${number(mean)} ± ${high === null ? "?" : number(high - mean)}`;
}
/** Of a row to the first; † where one training seed is all that both have. */
const toBest = (row) => difference(row.to_best) + row.to_best_mark;
function chance(p) {
  if (p === null || p === undefined) return MISSING;
  return p < 0.001 ? "<.001" : String(Number(p.toPrecision(2)));
}
const counted = (n, one, many = `${one}s`) => `${n} ${n === 1 ? one : many}`;
const listed = (items) => (items.length < 2 ? items.join("") : `${items.slice(0, -1).join(", ")} and ${items.at(-1)}`);
const ofUnit = (group) => (group.unit === "%" ? "%" : group.unit ? ` ${group.unit}` : "");
const inUnit = (what, unit) => (unit ? `${what} (${unit})` : what);

/** What a screen reader is told. */
function say(text) {
  at("live").textContent = "";
  requestAnimationFrame(() => { at("live").textContent = text; });
}

/** A labelled choice. `options`: [value, text], or [heading, [...options]]. */
function choice(name, options, value, changed, wide = false) {
  const make = ([key, text]) => (Array.isArray(text)
    ? h("optgroup", { label: key }, text.map(make))
    : h("option", { value: key, selected: String(key) === String(value) }, text));
  const box = h("select", { onchange: () => changed(box.value) }, options.map(make));
  return h("label", { class: `field${wide ? " wide-field" : ""}` }, h("span", {}, name), box);
}

function check(text, value, changed, before = null) {
  const box = h("input", { type: "checkbox", checked: value, onchange: () => changed(box.checked) });
  return h("label", {}, box, before, text);
}

/** What a command for a task has beside its name: --data DIR where everybody has to name the data as their own. */
function asks(task) {
  const words = DATA.names.tasks[task]?.asks;
  return words ? ` ${words}` : "";
}

/** A command with a button that copies it. */
function command(text) {
  const button = h("button", { type: "button", onclick: () => copy(text, button) }, "Copy");
  button.setAttribute("aria-label", `Copy command ${text}`);
  // Lines break between words, not at the hyphens of an option.
  const words = text.split(" ").flatMap((word, i) => [i ? " " : null, h("span", { class: "word" }, word)]);
  return h("div", { class: "command" }, h("code", {}, words), button);
}
async function copy(text, button) {
  let done = true;
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    // Some browsers offer no clipboard to a page from disk.
    const area = h("textarea", { class: "hidden", "aria-hidden": "true" });
    area.value = text;
    button.after(area);
    area.select();
    done = document.execCommand("copy");
    area.remove();
    button.focus();
  }
  button.textContent = done ? "Copied" : "Select it";
  say(done ? "Command copied" : "Could not copy; select the command instead");
  setTimeout(() => { button.textContent = "Copy"; }, 2000);
}

/** A table that scrolls in a box of its own, which the keyboard can reach. */
function scrolling(label, table, extra = "") {
  return h("div", { class: `scroll ${extra}`, tabindex: "0", role: "region", "aria-label": label }, table);
}
/** A plain table of heads and rows of texts or elements; the first cell of a row is its head. */
function table(heads, rows, caption, classes = "") {
  return h("table", { class: classes },
    h("caption", { class: "hidden" }, caption),
    h("thead", {}, h("tr", {}, heads.map((head, i) => h("th", { scope: "col", class: i ? null : "text" }, head)))),
    h("tbody", {}, rows.map((row) => h("tr", {},
      row.map((cell, i) => (i ? h("td", {}, cell) : h("th", { scope: "row" }, cell)))))));
}
function definitions(pairs, classes = "pairs") {
  const known = pairs.filter(([, value]) => value !== null && value !== undefined && value !== "");
  if (classes === "tiles") return h("dl", { class: "tiles" }, known.map(([k, v]) => h("div", {}, h("dt", {}, k), h("dd", {}, v))));
  return h("dl", { class: classes }, known.map(([k, v]) => [h("dt", {}, k), h("dd", {}, v)]));
}
/** What a reader must know of the numbers of a comparison, as the tables in text say it. */
const notesOf = (group) => h("details", {}, h("summary", {}, "What these numbers are"), h("ul", { class: "small" }, group.notes.map((line) => h("li", {}, line))));
const notice = (...children) => h("div", { class: "notice" }, children);
