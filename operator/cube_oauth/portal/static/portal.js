// Everything works without this file. It writes times in the reader's zone, and shows states as they change.
"use strict";

const page = document.documentElement.lang;
const language = navigator.languages.find((wished) => wished.startsWith(page)) ?? page;
const DAY = 86_400_000;
const [FIRST, LONGEST] = [5_000, 300_000]; // milliseconds until the page is asked for again when nothing tells of changes
const PATIENCE = 30_000; // milliseconds until an answer is there

function inWords(then, now) {
  const midnight = (moment) => new Date(moment).setHours(0, 0, 0, 0);
  const days = Math.round((midnight(then) - midnight(now)) / DAY);
  if (Math.abs(days) < 2) {
    const clock = then.toLocaleTimeString(language, { hour: "2-digit", minute: "2-digit" });
    return `${new Intl.RelativeTimeFormat(language, { numeric: "auto" }).format(days, "day")}, ${clock}`;
  }
  const far = Math.abs(then - now) > 182 * DAY;
  return then.toLocaleDateString(language, { day: "numeric", month: "short", year: far ? "numeric" : undefined });
}

function localise(within) {
  for (const time of within.querySelectorAll("time[datetime]")) {
    const then = new Date(time.dateTime);
    time.textContent = inWords(then, new Date());
    time.title = then.toLocaleString(language, { dateStyle: "full", timeStyle: "short" });
  }
}

const person = (within) => within.querySelector(".account strong")?.textContent;

async function refresh(live) {
  const signal = AbortSignal.timeout(PATIENCE); // a machine that is gone says so to nobody, and the next turn would wait for it
  const answer = await fetch(location.pathname, { headers: { "X-Live": "1" }, redirect: "manual", signal });
  if (answer.status >= 500) throw new Error("later"); // it is being replaced, or what stands before it has nobody to ask
  const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
  const next = fresh.querySelector("[data-live]");
  const same = answer.ok && next?.tagName === live.tagName && person(fresh) === person(document);
  if (!same) return location.reload(); // another session or none, or the first app that there is: the page tells
  localise(next);
  live.dataset.live = next.dataset.live;
  renew(live, next);
}

function renew(live, next) { // what did not change stays in its place and keeps the focus; what was opened stays open
  for (const opened of live.querySelectorAll(".app:has(details[open])")) {
    next.querySelector(`[data-app="${opened.dataset.app}"] details`)?.setAttribute("open", "");
  }
  const fresh = [...next.children];
  [...live.children].filter((old) => !fresh.some((entry) => entry.isEqualNode(old))).forEach((old) => old.remove());
  let at = live.firstElementChild;
  for (const entry of fresh) {
    if (at?.isEqualNode(entry)) at = at.nextElementSibling;
    else live.insertBefore(entry, at);
  }
  while (at?.nextElementSibling) at.nextElementSibling.remove();
  at?.remove();
}

function follow(live) {
  let events, later, pause = FIRST, turn = Promise.resolve();
  const close = () => { events = events?.close(); };
  const show = (version) => { // one after the other, so that the newest answer comes last
    turn = turn.then(() => version === live.dataset.live || refresh(live)).catch(again);
  };
  const look = () => { // a hidden page takes none of the few connections that a browser has for a host
    if (document.hidden) close();
    else if (!events) {
      events = new EventSource("/events");
      events.addEventListener("version", ({ data }) => { pause = FIRST; show(data); });
      events.addEventListener("error", ({ target }) => target.readyState === EventSource.CLOSED && again());
    }
  };
  const again = () => { // a browser gives up at any answer but a stream of events
    close();
    clearTimeout(later);
    later = setTimeout(() => { document.hidden || show(); look(); }, pause * (1 + Math.random()) / 2);
    pause = Math.min(2 * pause, LONGEST);
  };
  document.addEventListener("visibilitychange", look);
  look();
}

function copying(button) { // without a clipboard (plain HTTP, say) the text can still be selected
  button.hidden = !navigator.clipboard;
  button.addEventListener("click", () => navigator.clipboard.writeText(document.getElementById(button.dataset.copy).textContent));
}

function redirecting(form) { // the address to register, while the name is typed
  const shown = document.getElementById("redirect");
  const slug = (title) => title.toLowerCase().replace(/[^a-z0-9]+/g, "-").replace(/^-|-$/g, "").slice(0, 63);
  form.addEventListener("input", () => {
    const { namespace, name, title } = form.elements;
    const known = { "{namespace}": namespace.value || "NAMESPACE", "{name}": name.value || slug(title.value) || "IDENTIFIER" };
    shown.textContent = form.dataset.redirect.replace(/{\w+}/g, (part) => known[part]);
  });
}

localise(document);
document.querySelectorAll("[data-copy]").forEach(copying);
document.querySelectorAll("[data-redirect]").forEach(redirecting);
const live = document.querySelector("[data-live]");
if (live) follow(live);
