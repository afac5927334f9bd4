// What the views are made of. Texts are put in as text, never as markup: names and errors are
// strangers' words.

import { forgetKey } from "./rest.js";
import * as words from "./words.js";

export const $ = (id) => document.getElementById(id);
export const say = (text) => ($("said").textContent = text);

export function make(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

/** Set an element's text, if it is another; an element without text is hidden. */
export function put(element, text) {
  if (element.textContent !== text) element.textContent = text;
  element.hidden = text === "";
}

/** Show what went wrong; without a valid key, ask for one. */
export function wrong(error) {
  if (error.status === 401) {
    forgetKey();
    dispatchEvent(new Event("hashchange"));
  }
  put($("wrong"), error.message);
}

/** Do what may fail, with a button that is not to be pressed again meanwhile. */
export async function attempt(button, action) {
  put($("wrong"), "");
  button.disabled = true;
  try {
    await action();
  } catch (error) {
    wrong(error);
  } finally {
    button.disabled = false;
  }
}

/** A row of the list or of the steps: a name, a state, words aside, a bar, what is wrong. */
export function makeRow(name, title) {
  const state = make("span", { className: "badge" });
  const aside = make("span", { className: "hint" });
  const bar = make("progress", { max: 100, ariaLabel: `Progress: ${title}` });
  const percent = make("span");
  const meter = make("div", { className: "meter" }, bar, percent);
  const trouble = make("p", { className: "trouble" });
  const head = make("div", { className: "head" }, name, state, aside);
  const element = make("li", {}, head, meter, trouble);
  return { element, state, aside, bar, percent, meter, trouble };
}

export function fillRow(row, { state, percent, error }, said, aside) {
  row.element.dataset.state = state;
  put(row.state, said);
  put(row.aside, aside.filter(Boolean).join(" · "));
  row.bar.value = percent;
  put(row.percent, words.percent(percent));
  row.meter.hidden = state === "succeeded" || (percent === 0 && state !== "running");
  put(row.trouble, error);
}
