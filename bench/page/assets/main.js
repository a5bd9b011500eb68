// Everything in the order of the page.
const { records, failed, latest } = DATA.about;
at("counts").append(...[
  [records, records === 1 ? "record" : "records"],
  [unique(ROWS.map((row) => row.method)).length, "methods"],
  [unique(GROUPS.map((group) => group.device)).length, "devices"],
  [unique(GROUPS.map((group) => group.task)).length, "tasks"],
  ...(failed ? [[failed, "failed"]] : []),
  ...(latest ? [[latest, "last measured"]] : []),
].map(([value, text]) => h("span", {}, h("b", {}, String(value)), ` ${text}`)));

const curves = startCurves();
startAnswer((group) => { if (curves && curves.group !== group && group.rows.some((row) => row.seeds.length)) curves.show(group); });
startOverview();
startBoard();
startHeatmap();
startCrossed();
startDrift();
startPictures();
startPublished();
startCoverage();
startGlossary();
openFromAddress();
addEventListener("hashchange", openFromAddress);

// The section that is being read, in the navigation.
const links = new Map([...document.querySelectorAll(".sections a")].map((link) => [link.hash.slice(1), link]));
const reading = new IntersectionObserver((entries) => {
  for (const { target, isIntersecting } of entries) {
    if (!isIntersecting) {
      links.get(target.id)?.removeAttribute("aria-current");
      continue;
    }
    links.forEach((link) => link.removeAttribute("aria-current"));
    const link = links.get(target.id);
    link?.setAttribute("aria-current", "true");
    link?.closest("ul").scrollTo({ left: link.offsetLeft - 48 });  // where it is narrow
  }
}, { rootMargin: "-20% 0px -75% 0px" });
document.querySelectorAll("main > section").forEach((section) => reading.observe(section));
