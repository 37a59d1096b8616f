// Keeps the page as new as the server has it, and tells times as "3 s ago". The page is whole without it.
//
// The page that is shown is asked for again; what differs is put in place of what was there. Nothing is
// asked for while the page can't be seen, and nothing is sent when nothing has changed.
"use strict";

(() => {
  const interval = Number(document.body.dataset.interval);
  const pulse = document.getElementById("pulse");
  const main = document.getElementById("main");
  // How far the server's clock is ahead of this one, in milliseconds.
  let ahead = 0;
  let tag = null;
  let timer = 0;

  // What each part was when it came, before times were told in words.
  const parts = (root) => new Map([...root.querySelectorAll("[data-live]")].map((one) => [one.id, one.outerHTML]));
  let shown = parts(main);

  function duration(ms) {
    const s = Math.max(0, ms) / 1000;
    if (s < 120) return `${Math.floor(s)} s`;
    if (s < 7200) return `${Math.floor(s / 60)} min`;
    if (s < 172800) return `${Math.floor(s / 3600)} h`;
    return `${Math.floor(s / 86400)} d`;
  }

  function tellTimes() {
    const now = Date.now() + ahead;
    for (const one of document.querySelectorAll("time[datetime]:not(.fixed)")) {
      const age = now - Date.parse(one.dateTime);
      const isLength = one.closest("[data-since]") !== null;
      const words = isLength ? duration(age) : age < -999 ? `in ${duration(-age)}` : age < 1000 ? "now" : `${duration(age)} ago`;
      if (one.textContent !== words) one.textContent = words;
    }
  }

  function say(state, words) {
    pulse.hidden = false;
    pulse.className = `pulse ${state}`;
    if (pulse.textContent !== words) pulse.textContent = words;
  }

  // What had the keyboard's focus has it again, if it is still there.
  function keepFocus(change) {
    const had = document.activeElement;
    const within = had instanceof HTMLAnchorElement && main.contains(had) ? had.getAttribute("href") : null;
    change();
    if (within === null || main.contains(had)) return;
    const again = [...main.querySelectorAll("a[href]")].find((one) => one.getAttribute("href") === within);
    if (again) again.focus({ preventScroll: true });
  }

  function show(text) {
    const next = new DOMParser().parseFromString(text, "text/html");
    const nextMain = next.getElementById("main");
    if (nextMain === null) return;
    const coming = parts(nextMain);
    const isAlike = coming.size === shown.size && [...coming.keys()].every((id) => shown.has(id));
    keepFocus(() => {
      if (!isAlike) {
        main.innerHTML = nextMain.innerHTML;
        document.title = next.title;
      } else {
        for (const [id, html] of coming) {
          if (html !== shown.get(id)) document.getElementById(id).outerHTML = html;
        }
      }
    });
    shown = coming;
    tellTimes();
  }

  async function refresh() {
    clearTimeout(timer);
    if (document.hidden) return;
    try {
      const headers = tag === null ? {} : { "If-None-Match": tag };
      // Without the login that an address may carry: nothing is fetched from one that does.
      const address = location.origin + location.pathname + location.search;
      const answer = await fetch(address, { headers, cache: "no-store" });
      const said = Date.parse(answer.headers.get("Date"));
      // Their clocks show whole seconds: a smaller difference is none.
      if (!Number.isNaN(said)) ahead = Math.abs(said - Date.now()) > 2000 ? said - Date.now() : 0;
      if (answer.status === 401) {
        say("bad", "Log in again: load the page anew");
        return;
      }
      if (answer.status !== 304) {
        tag = answer.headers.get("ETag");
        show(await answer.text());
      }
      say(answer.ok || answer.status === 304 ? "good" : "bad", answer.ok || answer.status === 304 ? "Live" : "Trying again");
    } catch {
      say("bad", "No answer; trying again");
    }
    timer = setTimeout(refresh, interval);
  }

  document.addEventListener("visibilitychange", refresh);
  document.addEventListener("keydown", (event) => {
    const isTyping = event.target instanceof HTMLInputElement;
    if (event.key === "/" && !isTyping && !event.ctrlKey && !event.metaKey && !event.altKey) {
      event.preventDefault();
      document.getElementById("q").focus();
    }
  });
  tellTimes();
  setInterval(tellTimes, 1000);
  refresh();
})();
