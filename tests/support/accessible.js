// What keeps somebody from using the page that is shown: a list of problems.
() => {
  const wrong = [];
  const shown = (one) => one.checkVisibility({ checkOpacity: true, checkVisibilityCSS: true });
  const all = (selector) => [...document.querySelectorAll(selector)].filter(shown);
  const name = (one) => {
    const by = one.getAttribute("aria-labelledby");
    if (by) return by.split(" ").map((id) => document.getElementById(id)?.textContent ?? "").join(" ").trim();
    const label = one.getAttribute("aria-label");
    if (label) return label.trim();
    if (one.labels?.length) return [...one.labels].map((each) => each.textContent).join(" ").trim();
    return one.textContent.trim() || one.querySelector("img")?.alt || "";
  };
  const told = (one) => `${one.tagName.toLowerCase()}${one.id ? `#${one.id}` : ""} ${one.outerHTML.slice(0, 80)}`;

  if (!document.documentElement.lang) wrong.push("the page has no language");
  if (!document.title) wrong.push("the page has no title");
  for (const tag of ["main", "h1"]) {
    if (all(tag).length !== 1) wrong.push(`${all(tag).length} ${tag}`);
  }
  let level = 1;
  for (const one of all("main h1, main h2, main h3, main h4")) {
    const next = Number(one.tagName[1]);
    if (next > level + 1) wrong.push(`a heading leaves out a level: ${told(one)}`);
    level = next;
  }
  for (const one of all("nav, section, aside, dialog, [role=region], svg[role=img]")) {
    const titled = one.tagName === "svg" ? one.querySelector("title")?.textContent || name(one) : name(one);
    if (one.tagName !== "SECTION" && !titled) wrong.push(`no name: ${told(one)}`);
  }
  for (const one of all("a, button, input, select, textarea")) {
    if (!name(one)) wrong.push(`no name: ${told(one)}`);
    if (["INPUT", "SELECT"].includes(one.tagName) && !one.labels.length && !one.ariaLabel) wrong.push(`no label: ${told(one)}`);
    const box = one.getBoundingClientRect();
    if (one.tagName === "BUTTON" && (box.width < 24 && box.height < 24)) wrong.push(`too small: ${told(one)}`);
  }
  for (const one of all("img")) if (!one.hasAttribute("alt")) wrong.push(`no alt: ${told(one)}`);
  const ids = [...document.querySelectorAll("[id]")].map((one) => one.id);
  for (const id of new Set(ids)) if (ids.filter((one) => one === id).length > 1) wrong.push(`two of id ${id}`);
  for (const kind of ["aria-labelledby", "aria-describedby", "for"]) {
    for (const one of all(`[${kind}]`)) {
      for (const id of one.getAttribute(kind).split(" ")) {
        if (!document.getElementById(id)) wrong.push(`${kind} of nobody: ${told(one)}`);
      }
    }
  }
  for (const one of document.querySelectorAll("[tabindex]")) {
    if (one.tabIndex > 0) wrong.push(`its own place among tabs: ${told(one)}`);
  }
  for (const one of document.querySelectorAll("[aria-hidden=true] a, [aria-hidden=true] button")) {
    wrong.push(`hidden, and can have the focus: ${told(one)}`);
  }
  for (const one of all("table")) {
    if (!one.caption && !one.ariaLabel) wrong.push(`a table without a caption: ${told(one)}`);
    for (const head of one.querySelectorAll("th")) if (!head.scope) wrong.push(`a head of nothing: ${told(head)}`);
  }
  for (const one of document.querySelectorAll("[role]")) {
    if (!["status", "alert", "img", "region", "row"].includes(one.getAttribute("role"))) wrong.push(`role: ${told(one)}`);
  }

  const rgb = (text) => {
    const [r, g, b, a = 1] = text.match(/[\d.]+/g)?.map(Number) ?? [0, 0, 0, 0];
    return { r, g, b, a };
  };
  const over = (top, under) => ({
    r: top.r * top.a + under.r * (1 - top.a), g: top.g * top.a + under.g * (1 - top.a),
    b: top.b * top.a + under.b * (1 - top.a), a: 1,
  });
  const ground = (one) => {
    const layers = [];
    for (let each = one; each; each = each.parentElement) layers.push(rgb(getComputedStyle(each).backgroundColor));
    return layers.reverse().reduce((under, top) => over(top, under), { r: 255, g: 255, b: 255, a: 1 });
  };
  const light = ({ r, g, b }) => {
    const [x, y, z] = [r, g, b].map((one) => (one / 255 <= 0.04045 ? one / 255 / 12.92 : ((one / 255 + 0.055) / 1.055) ** 2.4));
    return 0.2126 * x + 0.7152 * y + 0.0722 * z;
  };
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const one = walker.currentNode.parentElement;
    if (!walker.currentNode.textContent.trim() || !shown(one) || one.closest(".unseen, option, :disabled, title")) continue;
    const style = getComputedStyle(one);
    const under = ground(one);
    const ink = over(rgb(one.closest("svg") ? style.fill : style.color), under);
    const [a, b] = [light(ink), light(under)].sort((x, y) => y - x);
    const ratio = (a + 0.05) / (b + 0.05);
    const large = parseFloat(style.fontSize) >= 24;
    if (ratio < (large ? 3 : 4.5)) wrong.push(`contrast ${ratio.toFixed(2)}: ${one.textContent.slice(0, 40)}`);
  }
  return wrong;
}
