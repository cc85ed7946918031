// Shows an item and sends the decision about it. Everything from the server goes
// on the page as text. Entries are kept in the tab until they are recorded.
"use strict";
(() => {
  const get = (id) => document.getElementById(id);
  const radios = [...document.getElementsByName("choice")];
  const sides = ["left", "right"];
  let state = null; // the state from the server that is shown
  let pending = null; // the next state, while the model's opinion is shown
  let mode = "end"; // "form", "opinion" or "end"
  let edits = {}; // edited answers, by side
  let editing = false;
  let busy = false;
  let spent = 0; // milliseconds on this item while the page was visible
  let since = null;

  const announce = (text) => { get("status").textContent = text; };
  const warn = (text) => {
    get("trouble").textContent = text;
    get("trouble").hidden = text === "";
  };
  const make = (name, text, kind) => {
    const element = document.createElement(name);
    element.textContent = text;
    if (kind) element.className = kind;
    return element;
  };

  // Counts time only while the page is visible.
  const count = () => {
    if (since !== null) spent += performance.now() - since;
    since = document.hidden ? null : performance.now();
  };

  const choice = () => radios.find((radio) => radio.checked)?.value ?? null;
  const answer = (side) => {
    const skipped = side === "left" ? "added" : "removed";
    return state.item.parts.filter((part) => !(skipped in part)).map((part) => Object.values(part)[0]).join("");
  };

  // Drafts survive a reload. Their key names the item and its answers.
  const place = () => `amend review ${state.item.key} ${state.item.left} ${state.item.right}`;
  const tags = () => get("tags").value.split(",").map((tag) => tag.trim()).filter(Boolean);
  const keep = () => {
    if (mode !== "form") return;
    count();
    const draft = { choice: choice(), edits, editing, tags: get("tags").value, comment: get("comment").value, spent };
    try {
      sessionStorage.setItem(place(), JSON.stringify(draft));
    } catch {
      warn("The browser does not store drafts: a reload of this page loses what is not saved.");
    }
  };
  const restore = () => {
    let draft = {};
    try {
      draft = JSON.parse(sessionStorage.getItem(place()) ?? "{}");
    } catch {
      draft = {};
    }
    enter(draft);
  };
  const enter = (draft) => {
    for (const radio of radios) radio.checked = radio.value === draft.choice;
    edits = draft.edits ?? {};
    editing = draft.editing ?? false;
    get("tags").value = draft.tags ?? "";
    get("comment").value = draft.comment ?? "";
    spent = draft.spent ?? 0;
    since = document.hidden ? null : performance.now();
    mark();
  };

  // Updates the page after a choice.
  const mark = () => {
    const chosen = choice();
    for (const side of sides) get(side).classList.toggle("chosen", side === chosen);
    const editable = sides.includes(chosen);
    get("edit").disabled = !editable;
    get("editing").hidden = !(editable && editing);
    if (editable && editing) get("edited").value = edits[chosen] ?? answer(chosen);
    get("save").disabled = chosen === null;
  };

  const turn = (to) => {
    mode = to;
    get("item").hidden = mode === "end";
    for (const id of ["form", "opinion", "end"]) get(id).hidden = id !== mode;
    // A screen reader continues from the focused heading.
    get(mode === "form" ? "heading" : `${mode}-title`).focus({ preventScroll: mode === "form" });
    if (mode === "form") scrollTo(0, 0);
  };

  // A side's text, with marks on the words that the other side lacks. Spaces between
  // two marked words are marked too.
  const marked = (side) => {
    const own = side === "left" ? "removed" : "added";
    const parts = state.item.parts.filter((part) => own in part || "same" in part);
    const stretches = [];
    for (const [at, part] of parts.entries()) {
      const between = at > 0 && own in parts[at - 1] && own in (parts[at + 1] ?? {});
      const only = own in part || (between && /^ +$/.test(part.same));
      const text = part[own] ?? part.same;
      const last = stretches.at(-1);
      if (last?.only === only) last.text += text;
      else stretches.push({ only, text });
    }
    return stretches.map(({ only, text }) => only ? make("span", text, "only") : text);
  };

  const show = (next) => {
    state = next;
    pending = null;
    const { done, total, item, reviewer, counter } = state;
    get("progress").max = Math.max(total, 1);
    get("progress").value = done;
    for (const id of ["undo", "undo-end"]) get(id).disabled = counter === 0 || done === 0;
    if (!item) {
      get("heading").textContent = `${done} of ${total} items decided`;
      get("about").textContent = `Reviewer: ${reviewer}`;
      agreement();
      turn("end");
      return;
    }
    get("heading").textContent = `Item ${done + 1} of ${total}`;
    get("about").textContent = `Reviewer: ${reviewer}${item.id === null ? "" : ` · ${item.id}`}`;
    get("messages").replaceChildren(...item.messages.map(({ role, content }) => {
      const entry = make("li", "");
      const text = make("div", content, "text");
      text.dir = "auto";
      entry.append(make("span", role, "role"), text);
      return entry;
    }));
    for (const side of sides) {
      get(side).querySelector(".text").replaceChildren(...marked(side));
    }
    restore();
    turn("form");
  };

  const number = (value) => `${value < 0 ? "−" : ""}${Math.abs(value).toFixed(2)}`;
  const agreement = () => {
    const rows = state.agreement.map(({ reviewers, same, kappa }) => {
      const row = make("tr", "");
      const interval = kappa && `${number(kappa.value)} (${number(kappa.low)} to ${number(kappa.high)})`;
      const share = `${Math.round(100 * same.value)} % (${Math.round(100 * same.low)} to ${Math.round(100 * same.high)} %)`;
      row.append(...[reviewers.join(", "), String(same.n), share, interval ?? "–"].map((text) => make("td", text)));
      return row;
    });
    get("agreement").hidden = rows.length === 0;
    get("agreement").tBodies[0].replaceChildren(...rows);
  };

  // Shows the model's opinion of the current item.
  const showOpinion = (opinion) => {
    const side = (better) => better === (opinion.better === state.item.left) ? "left" : "right";
    const facts = [];
    const fact = (name, text, more) => {
      const value = make("dd", "");
      const body = make("div", text, "text");
      body.dir = "auto";
      value.append(body);
      if (more) value.append(make("div", more, "more"));
      facts.push(make("dt", name), value);
    };
    fact("Revised answer", side(true));
    for (const { title, category, principle, margin } of opinion.principles) {
      const judged = margin === null ? "" : ` Under it the judge prefers the ${side(margin > 0)} answer by ${number(Math.abs(margin))}.`;
      fact("Principle", category === "" ? title : `${title} (${category})`, `${principle}${judged}`);
    }
    if (opinion.critique !== null) fact("Critique", opinion.critique);
    if (opinion.margin === null) fact("Verdict", "There is no verdict.");
    else if (opinion.tied) fact("Verdict", "The judge says that it is a tie.");
    else if (opinion.undecided) fact("Verdict", "The judge is undecided.");
    else fact("Verdict", `The judge prefers the ${side(opinion.margin > 0)} answer.`, `By ${number(Math.abs(opinion.margin))} in log-odds.`);
    get("facts").replaceChildren(...facts);
    turn("opinion");
  };

  // Sends a request and returns the reply. Shows errors, and keeps the entries.
  const request = async (name, body) => {
    const options = body && { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) };
    let response;
    let reply;
    try {
      response = await fetch(name, options);
      reply = await response.json();
    } catch {
      warn("The server does not answer. Your entries are kept in this tab. If you stopped amend review, start it again and open the link that it prints.");
      return null;
    }
    if (response.ok) {
      warn("");
      return reply;
    }
    warn(reply.error);
    if (reply.state) show(reply.state);
    return null;
  };

  // Wraps an action so that it does not start while another one is running.
  const guarded = (action) => async () => {
    if (busy) return;
    busy = true;
    try {
      await action();
    } finally {
      busy = false;
    }
  };

  const load = guarded(async () => {
    const reply = await request("state");
    if (reply) show(reply.state);
  });

  const save = guarded(async () => {
    const chosen = choice();
    if (mode !== "form") return;
    if (chosen === null) {
      announce("Make a choice first: 1 left, 2 right, 3 tie, 4 both bad.");
      return;
    }
    keep();
    const { item, counter } = state;
    const own = sides.includes(chosen) ? edits[chosen] : undefined;
    const edited = own === undefined || own === answer(chosen) ? null : own;
    const from = place();
    const reply = await request("decision", {
      counter, key: item.key, left: item.left, right: item.right, choice: chosen, edited,
      tags: tags(), comment: get("comment").value.trim(), seconds: Math.round(spent) / 1000,
    });
    if (!reply) return;
    sessionStorage.removeItem(from);
    const words = { left: "left", right: "right", tie: "tie", both_bad: "both bad" };
    announce(`Saved: ${words[chosen]}${edited === null ? "" : ", edited"}.`);
    if (get("reveal").checked) {
      pending = reply.state;
      get("progress").value = pending.done;
      showOpinion(reply.opinion);
    } else {
      show(reply.state);
    }
  });

  const undo = guarded(async () => {
    const reply = await request("undo", { counter: (pending ?? state).counter });
    if (!reply) return;
    show(reply.state);
    const { review } = reply;
    if (!review) {
      announce("There is no decision to undo.");
      return;
    }
    announce("The last decision is undone.");
    const edited = review.edited === undefined ? {} : { [review.choice]: review.edited };
    if (state.item?.key === review.key && state.item.left === review.left) {
      const { choice, comment, tags, seconds } = review;
      enter({
        choice, edits: edited, editing: review.edited !== undefined,
        tags: (tags ?? []).join(", "), comment, spent: 1000 * seconds,
      });
      keep();
    }
  });

  const next = () => show(pending ?? state);

  const edit = () => {
    if (get("edit").disabled) {
      announce("Choose left or right first: only a chosen answer can be edited.");
      return;
    }
    editing = true;
    mark();
    get("edited").focus();
    get("edited").setSelectionRange(0, 0);
    get("edited").scrollTop = 0;
    keep();
  };

  const choose = (value) => {
    for (const radio of radios) radio.checked = radio.value === value;
    mark();
    keep();
    announce(`Chosen: ${value.replace("_", " ")}. Enter saves.`);
  };

  const flip = (id) => {
    get(id).checked = !get(id).checked;
    get(id).dispatchEvent(new Event("change"));
    announce(`${get(id).parentElement.firstChild.nextSibling.textContent.trim()}: ${get(id).checked ? "on" : "off"}.`);
  };

  // Restores a check box and remembers its changes in this tab.
  const remember = (id, action) => {
    const name = `amend review ${id}`;
    const kept = sessionStorage.getItem(name);
    if (kept !== null) get(id).checked = kept === "true";
    get(id).addEventListener("change", () => {
      sessionStorage.setItem(name, String(get(id).checked));
      action();
    });
    action();
  };

  const keys = {
    1: () => choose("left"),
    2: () => choose("right"),
    3: () => choose("tie"),
    4: () => choose("both_bad"),
    e: edit,
    t: () => get("tags").focus(),
    c: () => get("comment").focus(),
    d: () => flip("differences"),
    m: () => flip("reveal"),
    u: undo,
    Enter: save,
  };
  const known = { form: keys, opinion: { u: undo, Enter: next }, end: { u: undo } };

  document.addEventListener("keydown", (event) => {
    const field = event.target.closest?.("textarea, input[type=text]");
    if (event.key === "Escape" && field) {
      get("heading").focus({ preventScroll: true });
      return;
    }
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
      event.preventDefault();
      save();
      return;
    }
    if (field || event.ctrlKey || event.metaKey || event.altKey || event.isComposing || event.repeat) return;
    if (event.key === "Enter" && event.target.closest?.("button")) return;
    const name = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    if (!Object.hasOwn(known[mode], name)) return;
    event.preventDefault();
    known[mode][name]();
  });

  get("form").addEventListener("submit", (event) => {
    event.preventDefault();
    save();
  });
  for (const radio of radios) radio.addEventListener("change", () => choose(radio.value));
  get("edit").addEventListener("click", edit);
  for (const id of ["undo", "undo-opinion", "undo-end"]) get(id).addEventListener("click", undo);
  get("next").addEventListener("click", next);
  get("edited").addEventListener("input", () => {
    edits[choice()] = get("edited").value;
    keep();
  });
  for (const id of ["tags", "comment"]) get(id).addEventListener("input", keep);
  document.addEventListener("visibilitychange", () => {
    count();
    keep();
  });
  addEventListener("pagehide", keep);
  remember("differences", () => get("answers").classList.toggle("plain", !get("differences").checked));
  remember("reveal", () => {});
  load();
})();
