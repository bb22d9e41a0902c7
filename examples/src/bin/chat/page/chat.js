"use strict";

// What users type is only ever set as `textContent`.

const $ = (id) => document.getElementById(id);
const forced = new URLSearchParams(location.search).get("transport"); // `?transport=poll`
const WAIT = { first: 500, longest: 15000, socket: 5000, poll: 20000, again: 60000 };

/** What outlives a reload of this page: who we are, and what was said but not heard yet. */
const kept = {
  get() {
    try { return JSON.parse(sessionStorage.getItem("chat")) || null; } catch { return null; }
  },
  set(me) {
    if (me) sessionStorage.setItem("chat", JSON.stringify(me));
    else sessionStorage.removeItem("chat");
  },
};

let me = null;        // { token, name, room, unheard: [{key, text}] }
let epoch = null;     // which room this is; numbers of events count within it
let last = 0;         // the number of the last event that is shown
let link = null;      // the connection: { send(), end() }
let tries = 0;        // since the last time that it worked
let sockets = 0;      // how often a WebSocket did not work
let timer = null;

// --- asking the server ---------------------------------------------------------------------------------------------

class Refused extends Error {
  constructor(status, message) { super(message); this.status = status; }
}

async function ask(method, path, body, token, patience = 10000) {
  const headers = {};
  if (token) headers.authorization = `Bearer ${token}`;
  if (body) headers["content-type"] = "application/json";
  const response = await fetch(path, {
    method, headers, body: body && JSON.stringify(body), cache: "no-store", signal: AbortSignal.timeout(patience),
  });
  const answer = await response.json().catch(() => ({}));
  if (!response.ok) throw new Refused(response.status, answer.error || `the server says ${response.status}`);
  return answer;
}

// --- joining and leaving -------------------------------------------------------------------------------------------

async function join(name, room) {
  const joined = await ask("POST", "/api/join", { name, room });
  me = { ...joined, unheard: me ? me.unheard : [] };
  kept.set(me);
}

function enter() {
  $("welcome").hidden = true;
  $("chat").hidden = false;
  $("title").textContent = me.room;
  document.title = `${me.room} · Chat`;
  history.replaceState(null, "", `${location.search}#${encodeURIComponent(me.room)}`);
  for (const { key, text } of me.unheard) showWaiting(key, text);
  $("text").focus();
  connect();
}

function leave() {
  const { token } = me;
  me = null;
  kept.set(null);
  clearTimeout(timer);
  if (link) link.end();
  link = null;
  epoch = null;
  last = 0;
  $("log").replaceChildren();
  $("chat").hidden = true;
  $("welcome").hidden = false;
  document.title = "Chat";
  $("name").focus();
  ask("POST", "/api/leave", null, token).catch(() => {}); // it would be noticed anyway
}

// --- the connection ------------------------------------------------------------------------------------------------

function connect() {
  clearTimeout(timer);
  if (!me) return;
  if (link) link.end();
  status("wait", tries ? "connecting again…" : "connecting…");
  // Where WebSockets do not get through, polls do.
  const poll = forced === "poll" || !window.WebSocket || sockets >= 2;
  link = poll ? polling() : socket();
}

/** It works: shows what came, and says what was not heard. */
function works(mine, news) {
  if (mine !== link) return;
  const fresh = tries > 0 || !mine.works;
  mine.works = true;
  tries = 0;
  status("live", mine.name);
  receive(news);
  if (fresh) for (const { key, text } of me.unheard) mine.send(key, text);
}

/** It does not: tries again, later each time. */
function lost(mine) {
  if (mine !== link || !me) return;
  mine.end();
  link = null;
  tries += 1;
  const wait = Math.min(WAIT.first * 2 ** (tries - 1), WAIT.longest) * (0.75 + Math.random() / 2);
  status("lost", navigator.onLine ? "connection lost: trying again" : "you are offline");
  clearTimeout(timer);
  timer = setTimeout(connect, wait);
}

/** The server does not know us any more: it was started again, or we were away for too long. */
async function rejoin(mine) {
  if (mine !== link || !me) return;
  mine.end();
  try {
    await join(me.name, me.room);
    if (me) connect();
  } catch (error) {
    if (!me) return;
    if (error.status === 400 || error.status === 409) {
      const name = me.name;
      leave();
      $("name").value = name;
      $("join-error").textContent = error.message;
    } else {
      lost(mine);
    }
  }
}

function socket() {
  const mine = { name: "connected" };
  const ws = new WebSocket(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/api/socket`);
  const late = setTimeout(() => ws.close(), WAIT.socket);
  let heard = false;
  mine.send = (key, say) => { if (ws.readyState === WebSocket.OPEN) ws.send(JSON.stringify({ say, key })); };
  mine.end = () => { clearTimeout(late); ws.onmessage = ws.onclose = null; ws.close(); };
  ws.onopen = () => ws.send(JSON.stringify({ token: me.token, epoch, after: last }));
  ws.onmessage = ({ data }) => {
    const message = JSON.parse(data);
    if (message.events) {
      clearTimeout(late);
      heard = true;
      sockets = 0;
      works(mine, message);
    } else if (message.error) {
      refused(message.key, message.error);
    }
  };
  ws.onclose = ({ code }) => {
    clearTimeout(late);
    if (!heard && code !== 4401) sockets += 1;
    if (code === 4401) rejoin(mine);
    else lost(mine);
  };
  return mine;
}

function polling() {
  const mine = { name: "connected, by polling", ended: false };
  // Perhaps a WebSocket gets through now.
  const again = setTimeout(() => { if (!forced) { sockets = 1; connect(); } }, WAIT.again);
  mine.end = () => { mine.ended = true; clearTimeout(again); };
  mine.send = async (key, text) => {
    try {
      await ask("POST", "/api/say", { text, key }, me.token);
    } catch (error) {
      if (error.status === 401) rejoin(mine);
      else if (error.status) refused(key, error.message);
      // Without an answer: it is said again when the connection is back.
      else lost(mine);
    }
  };
  (async () => {
    while (!mine.ended) {
      try {
        const news = await ask("GET", `/api/events?epoch=${epoch}&after=${last}`, null, me.token, WAIT.poll);
        if (mine.ended) return;
        works(mine, news);
      } catch (error) {
        if (mine.ended) return;
        if (error.status === 401) rejoin(mine);
        else lost(mine);
        return;
      }
    }
  })();
  return mine;
}

// --- messages ------------------------------------------------------------------------------------------------------

function say(text) {
  const key = Array.from(crypto.getRandomValues(new Uint8Array(12)), (byte) => byte.toString(16).padStart(2, "0")).join("");
  me.unheard.push({ key, text });
  kept.set(me);
  showWaiting(key, text);
  toEnd();
  if (link && link.works) link.send(key, text);
}

function heard(key) {
  const waiting = document.querySelector(`[data-key="${CSS.escape(key)}"]`);
  if (waiting) waiting.remove();
  if (me.unheard.some((it) => it.key === key)) {
    me.unheard = me.unheard.filter((it) => it.key !== key);
    kept.set(me);
  }
}

function refused(key, reason) {
  $("say-error").textContent = reason;
  const said = me.unheard.find((it) => it.key === key);
  if (!said) return;
  heard(key);
  if (!$("text").value) $("text").value = said.text;
}

function receive({ epoch: now, events, missed, members }) {
  if (now !== epoch) {
    if (epoch !== null) show(line("the room was opened anew"));
    [epoch, last] = [now, 0];
  }
  const stay = atEnd();
  if (missed) show(line("some messages were missed"));
  for (const event of events) {
    if (event.id <= last) continue;
    last = event.id;
    if (event.what === "said") {
      if (event.key) heard(event.key);
      show(message(event.name, event.text, event.at));
    } else {
      const { name, before } = event;
      show(line({ joined: `${name} joined`, left: `${name} left`, renamed: `${before} is ${name} now` }[event.what] || ""));
    }
  }
  if (members) showMembers(members);
  if (stay) toEnd();
  else if (events.length) $("newer").hidden = false; // one reads further up
}

// --- what one sees -------------------------------------------------------------------------------------------------

function element(tag, kind, text) {
  const it = document.createElement(tag);
  if (kind) it.className = kind;
  if (text !== undefined) it.textContent = text;
  return it;
}

function hue(name) {
  let sum = 0;
  for (const c of name.toLowerCase()) sum = (sum * 31 + c.codePointAt(0)) % 3600;
  return (sum * 137.5) % 360; // names that are alike have colours that are not
}

function face(name) {
  const it = element("span", "face", [...name][0].toUpperCase());
  it.ariaHidden = "true";
  it.style.setProperty("--hue", hue(name));
  return it;
}

function message(name, text, at) {
  const mine = name.toLowerCase() === me.name.toLowerCase();
  const it = element("li", mine ? "message mine" : "message");
  it.dataset.name = name;
  const bubble = element("div", "bubble");
  const who = element("span", "who", name);
  who.style.setProperty("--hue", hue(name));
  const time = element("time", "time", new Date(at).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" }));
  time.dateTime = new Date(at).toISOString();
  bubble.append(who, element("span", "text", text), time);
  it.append(face(name), bubble);
  return it;
}

function line(text) {
  return element("li", "news", text);
}

function show(it) {
  const log = $("log");
  const before = log.querySelector(".waiting");
  const above = before ? before.previousElementSibling : log.lastElementChild;
  if (above && it.dataset.name && above.dataset.name === it.dataset.name) it.classList.add("again");
  log.insertBefore(it, before);
  while (log.childElementCount > 1000) log.firstElementChild.remove();
}

function showWaiting(key, text) {
  const it = message(me.name, text, Date.now());
  it.classList.add("waiting");
  it.dataset.key = key;
  $("log").append(it);
}

function showMembers(names) {
  $("count").textContent = names.length === 1 ? "1 person" : `${names.length} people`;
  $("members").replaceChildren(...names.map((name) => {
    const it = element("li");
    it.append(face(name), element("span", "", name === me.name ? `${name} (you)` : name));
    return it;
  }));
}

function status(kind, text) {
  $("status").className = `status ${kind}`;
  $("status").textContent = text;
}

const atEnd = () => $("log").scrollHeight - $("log").scrollTop - $("log").clientHeight < 80;

function toEnd() {
  $("log").scrollTop = $("log").scrollHeight;
  $("newer").hidden = true;
}

// --- what one does -------------------------------------------------------------------------------------------------

$("join").addEventListener("submit", async (submit) => {
  submit.preventDefault();
  const [name, room] = [$("name").value.trim(), $("room").value.trim()];
  $("join-error").textContent = "";
  if (!name || !room) {
    $("join-error").textContent = name ? "Which room?" : "What is your name?";
    $(name ? "room" : "name").focus();
    return;
  }
  const button = submit.target.querySelector("button");
  button.disabled = true;
  try {
    await join(name, room);
    tries = 0;
    enter();
  } catch (error) {
    $("join-error").textContent = error.status ? error.message : "the server does not answer";
  } finally {
    button.disabled = false;
  }
});

$("say").addEventListener("submit", (submit) => {
  submit.preventDefault();
  const text = $("text").value.trim();
  $("say-error").textContent = "";
  if (!text) return;
  $("text").value = "";
  say(text);
});

$("leave").addEventListener("click", leave);
$("newer").addEventListener("click", toEnd);
$("log").addEventListener("scroll", () => { if (atEnd()) $("newer").hidden = true; });
new ResizeObserver(() => { if ($("newer").hidden) toEnd(); }).observe($("log"));
addEventListener("online", () => { tries = 0; connect(); });
addEventListener("offline", () => status("lost", "you are offline"));
document.addEventListener("keydown", ({ key }) => { if (key === "Escape" && !wide.matches) $("people").open = false; });

// On a wide screen everybody is shown all the time.
const wide = matchMedia("(min-width: 900px)");
const fit = () => { $("people").open = wide.matches; };
wide.addEventListener("change", fit);
$("people").querySelector("summary").addEventListener("click", (click) => { if (wide.matches) click.preventDefault(); });
fit();

try { $("room").value = decodeURIComponent(location.hash.slice(1)); } catch { /* no room then */ }
$("room").value ||= "lobby";
me = kept.get();
if (me) enter();
else $("name").focus();
