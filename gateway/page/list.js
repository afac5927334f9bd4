// The tasks, the newest first.

import { $, fillRow, make, makeRow, put, wrong } from "./elements.js";
import { read } from "./rest.js";
import * as words from "./words.js";

const POLL = 4000;

export function showList() {
  const rows = new Map(), list = $("tasks");
  let pages = 1, timer;

  async function refresh() {
    clearTimeout(timer);
    const tasks = [];
    let after = "";
    try {
      for (let page = 0; page < pages && after !== null; page += 1) {
        const from = after && `&after=${encodeURIComponent(after)}`;
        const answer = await read(`tasks/?limit=50${from}`);
        tasks.push(...answer.tasks);
        after = answer.after;
      }
      if (list.isConnected) fill(tasks, after);
    } catch (error) {
      if (list.isConnected) wrong(error);
    }
    clearTimeout(timer);
    if (list.isConnected) timer = setTimeout(look, POLL);
  }

  function fill(tasks, after) {
    const shown = tasks.map((task) => {
      const id = task.task_id;
      if (!rows.has(id)) {
        rows.set(id, makeRow(make("a", { className: "name", href: `#${id}` }, id), id));
      }
      const aside = [task.kind, task.user_id, words.moment(task.created)];
      fillRow(rows.get(id), task, task.state, aside);
      return rows.get(id).element;
    });
    // Only if others are to be shown: whoever stands on a link with the keyboard stays there.
    if (list.children.length !== shown.length || shown.some((row, i) => row !== list.children[i])) {
      list.replaceChildren(...shown);
    }
    put($("wrong"), "");
    $("none").hidden = tasks.length > 0;
    $("older").hidden = after === null;
  }

  const look = () => document.hidden || refresh();
  $("older").onclick = () => {
    pages += 1;
    refresh();
  };
  document.addEventListener("visibilitychange", look);
  refresh();
  return () => {
    clearTimeout(timer);
    document.removeEventListener("visibilitychange", look);
  };
}
