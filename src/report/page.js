// Filters, sorts and opens items, and marks the changes of revisions. Without this
// script the page is complete, but its revisions are not marked.
"use strict";
(() => {
  const list = document.getElementById("items");
  const items = [...list.children];
  const shown = document.getElementById("shown");
  const control = (id) => document.getElementById(id);
  const search = control("search");
  const choices = ["outcome", "verdict", "category"].map(control).filter(Boolean);

  // Marks revisions from stretches such as "=5" (kept), "-2" (removed), "+3" (added).
  const mark = (item) => {
    const marked = [...item.querySelectorAll("[data-changes]")];
    if (marked.length === 0) return;
    const answers = [...item.querySelectorAll(".answer")].map((answer) => answer.textContent);
    for (const element of marked) {
      const before = answers[Number(element.dataset.from)];
      const after = element.textContent;
      const parts = document.createDocumentFragment();
      let [i, j] = [0, 0];
      const put = (name, text) => {
        const part = document.createElement(name);
        part.textContent = text;
        parts.append(part);
      };
      for (const [, sign, length] of element.dataset.changes.matchAll(/([=+-])(\d+)/g)) {
        const n = Number(length);
        if (sign === "=") parts.append(after.slice(j, j + n));
        if (sign === "-") put("del", before.slice(i, i + n));
        if (sign === "+") put("ins", after.slice(j, j + n));
        if (sign !== "+") i += n;
        if (sign !== "-") j += n;
      }
      element.removeAttribute("data-changes");
      element.replaceChildren(parts);
    }
  };
  list.addEventListener("toggle", (event) => event.target.open && mark(event.target), true);

  // The texts of items, collected by the first search.
  const texts = new Map();
  const text = (item) => {
    if (!texts.has(item)) texts.set(item, item.textContent.toLowerCase());
    return texts.get(item);
  };
  const matches = (item, words) => {
    for (const choice of choices) {
      if (choice.value === "*") continue;
      if (choice.id === "category") {
        if (!(item.dataset.categories ?? "").split(" ").includes(choice.value)) return false;
      } else if (item.dataset[choice.id] !== choice.value) {
        return false;
      }
    }
    return words.every((word) => text(item).includes(word));
  };
  const filter = () => {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    let count = 0;
    for (const item of items) {
      item.hidden = !matches(item, words);
      count += item.hidden ? 0 : 1;
    }
    const all = items.length.toLocaleString("en");
    shown.textContent = count === items.length ? `${all} items` : `${count.toLocaleString("en")} of ${all} items`;
  };
  let timer;
  search.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(filter, 80);
  });
  for (const choice of choices) choice.addEventListener("change", filter);

  const margin = (item) => ("margin" in item.dataset ? Number(item.dataset.margin) : Infinity);
  const orders = {
    row: (item) => Number(item.dataset.row),
    low: margin,
    high: (item) => ("margin" in item.dataset ? -margin(item) : Infinity),
    close: (item) => Math.abs(margin(item)),
    tokens: (item) => -Number(item.dataset.tokens),
  };
  const sort = control("sort");
  sort.addEventListener("change", () => {
    const by = orders[sort.value];
    const compare = (a, b) => (by(a) < by(b) ? -1 : by(a) > by(b) ? 1 : orders.row(a) - orders.row(b));
    list.append(...items.sort(compare));
  });

  control("filters").addEventListener("submit", (event) => event.preventDefault());
  const openAll = (open) => items.forEach((item) => (item.open = open && !item.hidden));
  control("open").addEventListener("click", () => openAll(true));
  control("close").addEventListener("click", () => openAll(false));

  // Opens the item named in the address, even if the filters hide it.
  const visit = () => {
    let key = location.hash.slice(1);
    try {
      key = decodeURIComponent(key);
    } catch {
      // Not percent-encoded: use it unchanged.
    }
    const item = items.find((item) => item.id === key);
    if (!item) return;
    item.hidden = false;
    item.open = true;
    item.scrollIntoView();
    item.querySelector("summary").focus({ preventScroll: true });
  };
  addEventListener("hashchange", visit);

  addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const typing = /^(input|select|textarea)$/i.test(event.target.tagName ?? "");
    if (event.key === "Escape" && event.target === search) {
      search.value = "";
      filter();
      search.blur();
    } else if (event.key === "/" && !typing) {
      event.preventDefault();
      search.focus();
    } else if ((event.key === "j" || event.key === "k") && !typing) {
      const visible = items.filter((item) => !item.hidden);
      const at = visible.indexOf(document.activeElement?.closest?.(".item"));
      const next = visible[event.key === "j" ? at + 1 : at < 0 ? visible.length - 1 : at - 1];
      next?.querySelector("summary").focus();
    }
  });

  for (const element of [control("filters"), document.querySelector(".keys")]) element.hidden = false;
  // After "back", the browser restores the search and the choices.
  filter();
  visit();
})();
