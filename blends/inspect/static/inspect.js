"use strict";
// Keys, the tabs of a conversation, and the editor of an audit. Everything else works without this file.
const find = (selector) => document.querySelector(selector);
const help = find("#help");
find("#help-button").addEventListener("click", () => help.showModal());

const rows = [...document.querySelectorAll("#rows tbody tr")];
let current = -1;
function go(step) {
  if (!rows.length) {
    const link = find(step > 0 ? "main .pager a[rel=next]" : "main .pager a[rel=prev]");
    if (link) link.click();
    return;
  }
  const next = current + step;
  if (next >= rows.length || next < 0) {
    const link = find(next < 0 ? "main .pager a[rel=prev]" : "main .pager a[rel=next]");
    if (link && current !== -1) link.click();
    return;
  }
  if (rows[current]) rows[current].classList.remove("current");
  current = next;
  rows[current].classList.add("current");
  rows[current].scrollIntoView({ block: "nearest" });
  const link = rows[current].querySelector("a");
  if (link) link.focus({ preventScroll: true });
}

const tabs = [...document.querySelectorAll("[role=tab]")];
function choose(tab) {
  for (const one of tabs) {
    const chosen = one === tab;
    one.setAttribute("aria-selected", chosen);
    one.tabIndex = chosen ? 0 : -1;
    document.getElementById(one.getAttribute("aria-controls")).hidden = !chosen;
  }
  tab.focus();
}
for (const tab of tabs) {
  tab.addEventListener("click", () => choose(tab));
  tab.addEventListener("keydown", (event) => {
    if (event.key === "ArrowLeft" || event.key === "ArrowRight") choose(tabs.find((one) => one !== tab));
  });
}

const fix = find("#fix-button");
if (fix) {
  fix.addEventListener("click", () => {
    const panel = find("#fix");
    panel.hidden = !panel.hidden;
    fix.setAttribute("aria-expanded", !panel.hidden);
    if (!panel.hidden) find("#messages").focus();
  });
}

document.addEventListener("keydown", (event) => {
  const typing = event.target.matches("input, textarea, select");
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && event.target.form) event.target.form.requestSubmit();
  if (typing && event.key === "Escape") event.target.blur();
  if (typing || event.ctrlKey || event.metaKey || event.altKey || help.open) return;
  const button = find(`[data-key="${CSS.escape(event.key)}"]`);
  if (button) button.click();
  else if (event.key === "j") go(1);
  else if (event.key === "k") go(-1);
  else if (event.key === "/" && find("#search")) find("#search").focus();
  else if (event.key === "u" && find("#up")) find("#up").click();
  else if (event.key === "m" && tabs.length) choose(tabs.find((tab) => tab.getAttribute("aria-selected") === "false"));
  else if (event.key === "?") help.showModal();
  else return;
  event.preventDefault();
});
