// Exeat's one module. Pages work without it; with it they stay current.
//
// There is no second renderer here: when the event stream says that something
// happened, the page is asked for again and what changed is put into place.
// Elements with data-live are kept current; their children are told apart by id.

const $ = (selector, root = document) => root.querySelector(selector);
const $$ = (selector, root = document) => [...root.querySelectorAll(selector)];

// What was just done is said once, not again on reload.
const address = new URL(location.href);
if (address.searchParams.has("done")) {
  address.searchParams.delete("done");
  history.replaceState(history.state, "", address);
}

$("form[data-auto]")?.requestSubmit();

// ── Live ────────────────────────────────────────────────────────────────

const live = (() => {
  const pulse = $("#pulse");
  if (!pulse || !$("[data-live]")) return null;

  const quiet = 700;      // ms between two refreshes at least
  const idle = 60_000;    // refresh anyway: "3 min ago" grows old
  let source = null, timer = 0, last = 0, busy = false, again = false, paused = false;
  let news = 0, heard = 0;

  const say = (state, text) => {
    pulse.hidden = false;
    if (pulse.dataset.state === state) return;
    pulse.dataset.state = state;
    $("#pulse-text").textContent = text;
  };

  // merge makes old like fresh, child by child. What didn't change isn't
  // touched, so that focus, ticks and selection stay where they are.
  const merge = (old, fresh, arrive) => {
    const known = new Map($$(":scope > [id]", old).map((e) => [e.id, e]));
    let at = old.firstElementChild, came = 0;
    for (const next of [...fresh.children]) {
      const now = next.id && known.get(next.id);
      if (!now) {
        next.classList.toggle("arrived", Boolean(arrive));
        old.insertBefore(next, at);
        came++;
        continue;
      }
      known.delete(next.id);
      if (now !== at) old.insertBefore(now, at); else at = at.nextElementSibling;
      update(now, next);
    }
    for (const gone of known.values()) if (!gone.contains(document.activeElement)) gone.remove();
    return came;
  };

  const plain = (e) => { const c = e.cloneNode(true); c.classList.remove("arrived"); c.removeAttribute("tabindex"); if (!c.classList.length) c.removeAttribute("class"); return c.outerHTML; };

  const update = (now, next) => {
    if (plain(now) === plain(next)) return;
    if (now.contains(document.activeElement) && document.activeElement !== now) return; // somebody is at it
    const ticks = new Set($$("input:checked", now).map((i) => i.value));
    const open = $$("details[open]", now).length > 0;
    for (const i of $$("input[type=checkbox]", next)) if (ticks.has(i.value)) i.checked = true;
    if (open) return;
    const tab = now.getAttribute("tabindex"), focused = document.activeElement === now;
    now.replaceChildren(...next.childNodes);
    for (const a of [...next.attributes]) now.setAttribute(a.name, a.value);
    if (tab !== null) now.setAttribute("tabindex", tab);
    if (focused) now.focus();
  };

  const refresh = async () => {
    if (busy) { again = true; return; }
    busy = true;
    try {
      const answer = await fetch(location.href, { headers: { Accept: "text/html" }, redirect: "manual" });
      if (answer.type === "opaqueredirect") { location.reload(); return; } // signed out
      if (!answer.ok) return;
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      const missing = $$("[data-live]", page).some((e) => !document.getElementById(e.id));
      const vanished = $$("[data-live]").some((e) => !page.getElementById(e.id));
      const editing = document.activeElement?.matches("input, select, textarea") || $("details[open], dialog[open]") || $("input:checked[name=target]");
      if ((missing || vanished) && !editing) {
        // A section came or went: take the whole content.
        $("#main").replaceChildren(...$("#main", page).childNodes);
        document.dispatchEvent(new Event("exeat:content"));
      } else {
        for (const fresh of $$("[data-live]", page)) {
          const old = document.getElementById(fresh.id);
          const came = old ? merge(old, fresh, fresh.dataset.arrive) : 0;
          if (fresh.dataset.arrive) news += came;
        }
      }
      if (page.title !== document.title) document.title = page.title;
      announce();
    } catch { /* away; the stream's state says so */ } finally {
      busy = false;
      last = Date.now();
      schedule(again ? quiet : idle);
      again = false;
    }
  };

  const schedule = (wait) => { clearTimeout(timer); if (!paused) timer = setTimeout(refresh, wait); };

  const poke = () => {
    if (paused || document.hidden) return;
    if (busy) { again = true; return; } // its page may have been made before
    schedule(Math.max(quiet - (Date.now() - last), 60));
  };

  // The live region speaks seldom, or it would never be quiet.
  const announce = () => {
    if (!news || Date.now() - heard < 8000) return;
    heard = Date.now();
    $("#announce").textContent = news === 1 ? "One new row in the list." : `${news} new rows in the list.`;
    news = 0;
  };

  const open = () => {
    if (source || document.hidden || paused) return;
    source = new EventSource("/api/v1/events");
    source.onopen = () => { say("live", "Live"); poke(); };
    source.onerror = () => {
      say("away", "Reconnecting");
      if (source?.readyState === EventSource.CLOSED) { close(); setTimeout(open, 5000); }
    };
    for (const kind of ["flow", "alert", "server", "missed"]) source.addEventListener(kind, poke);
  };
  const close = () => { source?.close(); source = null; };

  // A tab that nobody sees holds no connection: browsers have six for a host.
  document.addEventListener("visibilitychange", () => { if (document.hidden) close(); else { open(); poke(); } });
  addEventListener("pagehide", close);
  addEventListener("pageshow", open);
  open();
  schedule(idle);

  const toggle = () => {
    paused = !paused;
    if (paused) { close(); clearTimeout(timer); say("paused", "Paused"); } else { open(); refresh(); }
  };
  pulse.addEventListener("click", toggle);
  return { toggle };
})();

// ── Ticks ───────────────────────────────────────────────────────────────

const ticks = () => $$("input[name=target][type=checkbox]");
const counted = () => {
  const note = $("#ticked"), all = $("#tick-all");
  if (!note) return;
  const on = ticks().filter((t) => t.checked), easy = ticks().filter((t) => !("risky" in t.dataset));
  note.textContent = on.length ? `With the ${on.length} ticked:` : "With those ticked:";
  if (all) {
    all.hidden = false;
    all.checked = easy.length > 0 && easy.every((t) => t.checked);
    all.indeterminate = !all.checked && on.length > 0;
  }
};
document.addEventListener("change", (e) => {
  if (e.target.id === "tick-all") {
    for (const t of ticks()) if (!("risky" in t.dataset)) t.checked = e.target.checked;
    if (!e.target.checked) for (const t of ticks()) t.checked = false;
  }
  counted();
});
document.addEventListener("exeat:content", () => { counted(); copies(); });
counted();

// ── Copy ────────────────────────────────────────────────────────────────

const copies = () => { if (navigator.clipboard) for (const b of $$("[data-copy]")) b.hidden = false; };
document.addEventListener("click", async (e) => {
  const button = e.target.closest?.("[data-copy]");
  if (!button) return;
  await navigator.clipboard.writeText(button.dataset.copy);
  button.textContent = "Copied";
  setTimeout(() => { button.textContent = "Copy"; }, 1500);
});
copies();

// ── Keyboard ────────────────────────────────────────────────────────────
// Single keys can be switched off (WCAG 2.1.4), and never act in a field.

const dialog = $("#keys"), keysOn = $("#keys-on");
if (dialog) {
  const stored = () => { try { return localStorage.getItem("exeat-keys") !== "off"; } catch { return true; } };
  keysOn.checked = stored();
  keysOn.addEventListener("change", () => { try { localStorage.setItem("exeat-keys", keysOn.checked ? "on" : "off"); } catch { /* private window */ } });
  $("#keys-open").hidden = false;
  $("#keys-open").addEventListener("click", () => dialog.showModal());

  let chord = 0;
  const row = (step) => {
    const rows = $$("[data-row]");
    if (!rows.length) return;
    const now = rows.findIndex((r) => r.contains(document.activeElement));
    const next = rows[Math.min(Math.max(now + step, 0), rows.length - 1)];
    next.setAttribute("tabindex", "-1");
    next.focus();
    next.scrollIntoView({ block: "nearest" });
  };
  const here = () => document.activeElement?.closest?.("[data-row]");
  const actions = {
    j: () => row(1),
    k: () => row(-1),
    x: () => { const t = here() && $("input[type=checkbox]", here()); if (t) t.click(); },
    Enter: () => { if (document.activeElement?.matches("[data-row]")) $("a[href]", $("th, h2", here()) || here())?.click(); },
    "/": () => $("#filter")?.focus(),
    "?": () => dialog.showModal(),
    p: () => live?.toggle(),
    g: () => { chord = Date.now(); },
  };
  const places = { s: "/", a: "/alerts", f: "/flows" };
  document.addEventListener("keydown", (e) => {
    if (!keysOn.checked && e.key !== "Enter" || e.ctrlKey || e.metaKey || e.altKey || dialog.open) return;
    if (e.target.matches("input:not([type=checkbox]), select, textarea")) return;
    if (chord && Date.now() - chord < 1200 && places[e.key]) { location.href = places[e.key]; return; }
    chord = 0;
    const act = actions[e.key];
    if (!act || (e.key === "Enter" && !e.target.matches("[data-row]"))) return;
    if (e.key !== "Enter") e.preventDefault();
    act();
  });
}
