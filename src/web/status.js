// Shows the page as it is now, without a flash and without losing the reader's place: it is fetched again, and only what
// has changed is replaced.
"use strict";

const MILLISECONDS = 1000;
let timer;

function seconds() {
  return Number(document.querySelector("main")?.dataset.refresh) || 30;
}

function adopt(shown, fetched) {
  if (shown.isEqualNode(fetched)) return;
  const same =
    shown.nodeType === Node.ELEMENT_NODE &&
    fetched.nodeType === Node.ELEMENT_NODE &&
    shown.tagName === fetched.tagName &&
    shown.childNodes.length === fetched.childNodes.length;
  if (!same) {
    shown.replaceWith(document.importNode(fetched, true));
    return;
  }
  for (const { name } of [...shown.attributes]) {
    if (!fetched.hasAttribute(name)) shown.removeAttribute(name);
  }
  for (const { name, value } of fetched.attributes) {
    if (shown.getAttribute(name) !== value) shown.setAttribute(name, value);
  }
  const children = [...fetched.childNodes];
  [...shown.childNodes].forEach((child, index) => adopt(child, children[index]));
}

async function refresh() {
  clearTimeout(timer);
  try {
    const response = await fetch(location.pathname, {
      cache: "no-store",
      signal: AbortSignal.timeout(20 * MILLISECONDS),
    });
    if (!response.ok) throw new Error(response.statusText);
    const fetched = new DOMParser().parseFromString(await response.text(), "text/html");
    if (!fetched.querySelector("main")) throw new Error("another page");
    adopt(document.querySelector("main"), fetched.querySelector("main"));
    adopt(document.querySelector("#made time"), fetched.querySelector("#made time"));
    document.title = fetched.title;
  } catch {
    document.querySelector("#lost").hidden = false;
  }
  timer = setTimeout(refresh, seconds() * MILLISECONDS);
}

// Nobody looks at a hidden page; one that is shown again is refreshed at once.
document.addEventListener("visibilitychange", () => {
  clearTimeout(timer);
  if (!document.hidden) refresh();
});
// Said by the page itself, since a script that is blocked is none either.
document.querySelector("#still").remove();
timer = setTimeout(refresh, seconds() * MILLISECONDS);
