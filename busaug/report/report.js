"use strict";
// Sorting, filtering and comparing. Without it the page shows everything, in its first order.

/** Items of one list or several that a form sorts and filters together. */
function browse(root) {
  const form = root.querySelector("form");
  const items = [...root.querySelectorAll("[data-item]")];
  const lists = [...new Set(items.map((item) => item.parentElement))];
  const first = new Map(items.map((item, index) => [item, index]));
  const [sort, order] = ["sort", "order"].map((name) => form.elements.namedItem(name));
  const heads = [...root.querySelectorAll("th[data-sort]")];

  const written = (count) => count.toLocaleString("en");
  const number = (text) => (text === undefined || text.trim() === "" ? NaN : Number(text));

  function fits(item) {
    for (const control of form.querySelectorAll("[data-equal]")) {
      if (control.value && item.dataset[control.dataset.equal] !== control.value) return false;
    }
    for (const control of form.querySelectorAll("[data-from], [data-to]")) {
      const bound = number(control.value);
      if (Number.isNaN(bound)) continue;
      const value = number(item.dataset[control.dataset.from ?? control.dataset.to]);
      // Of something unknown it cannot be said that it is within the bounds.
      if (!(control.dataset.from ? value >= bound : value <= bound)) return false;
    }
    return true;
  }

  function compare(a, b) {
    const key = sort.value, sign = order.value === "down" ? -1 : 1;
    const tie = first.get(a) - first.get(b);
    if (!key) return sign * tie;
    const [x, y] = [a.dataset[key] ?? "", b.dataset[key] ?? ""];
    if (!x || !y) return x ? -1 : y ? 1 : tie; // the unknown last, in either order
    if (sort.selectedOptions[0].dataset.kind === "number") return sign * (x - y) || tie;
    return sign * x.localeCompare(y, "en", { numeric: true }) || tie;
  }

  function show() {
    const counts = new Map();
    for (const item of items) {
      item.hidden = !fits(item);
      const noun = item.closest("[data-counts]").dataset.counts;
      const [seen, all] = counts.get(noun) ?? [0, 0];
      counts.set(noun, [seen + !item.hidden, all + 1]);
    }
    for (const list of lists) list.append(...[...list.children].sort(compare));
    const chosen = form.querySelector("[data-equal=page]")?.value ?? "";
    for (const page of root.querySelectorAll("[data-group]")) {
      const any = page.querySelector("[data-item]:not([hidden])");
      const empty = !page.querySelector("[data-item]"); // it says so itself
      page.hidden = chosen ? page.id !== chosen : !any && !empty;
    }
    for (const link of root.querySelectorAll(".pages a")) {
      const own = link.hash.slice(1) === (chosen || root.id);
      if (own) link.setAttribute("aria-current", "page");
      else link.removeAttribute("aria-current");
    }
    for (const head of heads) {
      const up = order.value === "down" ? "descending" : "ascending";
      head.setAttribute("aria-sort", head.dataset.sort === sort.value ? up : "none");
    }
    const parts = [...counts].map(([noun, [seen, all]]) => `${written(seen)} of ${written(all)} ${noun}`);
    form.querySelector("[role=status]").textContent = `Shown: ${parts.join(", ")}`;
  }

  /** Turn to the page that an address names; false where it names none of this root's. */
  function turn(name) {
    const target = name && document.getElementById(name);
    const pages = form.querySelector("[data-equal=page]");
    if (!target || !pages || !root.contains(target)) return false;
    if (target !== root && target.hasAttribute("data-group")) pages.value = name;
    else if (target === root) pages.value = "";
    else if (target.hidden || target.closest("[data-group][hidden]")) form.reset();
    show();
    return true;
  }

  for (const head of heads) {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      order.value = sort.value === head.dataset.sort && order.value === "up" ? "down" : "up";
      sort.value = head.dataset.sort;
      show();
    });
  }
  const address = () => location.hash.slice(1);
  const follow = () => turn(address());
  for (const link of root.querySelectorAll(".pages a")) {
    link.addEventListener("click", () => turn(link.hash.slice(1)));
  }
  addEventListener("hashchange", follow);
  form.addEventListener("input", show);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("reset", () => setTimeout(show)); // after the fields have changed
  form.hidden = false;
  if (follow()) document.getElementById(address()).scrollIntoView({ behavior: "instant" });
  else show();
}

/** A result that shows its content image, in the same place, while pointed at or pressed. */
function compareInPlace(result) {
  const own = result.src, content = result.closest(".pictures").querySelector("img").src;
  const button = document.createElement("button");
  button.type = "button";
  button.className = "flicker";
  button.setAttribute("aria-pressed", "false");
  button.setAttribute("aria-label", `${result.alt}. Show the content image instead`);
  result.replaceWith(button);
  button.append(result);
  let pressed = false;
  const show = (which) => { result.src = which ? content : own; button.classList.toggle("shows", which); };
  button.addEventListener("pointerenter", (event) => event.pointerType === "mouse" && show(!pressed));
  button.addEventListener("pointerleave", (event) => event.pointerType === "mouse" && show(pressed));
  button.addEventListener("click", (event) => {
    pressed = !pressed;
    button.setAttribute("aria-pressed", String(pressed));
    show(pressed);
  });
}

document.querySelectorAll("[data-browse]").forEach(browse);
document.querySelectorAll("img[data-compare]").forEach(compareInPlace);
