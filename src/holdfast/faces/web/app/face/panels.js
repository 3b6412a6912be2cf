/** What stands beside a screen: who is here and who has control, what waits for approval, commands, processes. */

import { arrange, ask, clean, h, say, size, span } from './dom.js';

/** Who an operator is, in a few words; its id tells it from others of the same kind. */
export const who = (kind, id) => (kind ? `${kind} ${clean(id).slice(0, 8)}` : clean(id).slice(0, 10));

/** Bytes as a person may judge them: control characters visible, never acted on. */
export function visible(bytes) {
  const text = new TextDecoder().decode(bytes);
  return text.replace(/[\u0000-\u001f\u007f]/g, (each) => {
    const code = each.charCodeAt(0);
    if (code === 13) return '⏎\n';
    if (code === 10) return '↵\n';
    return code === 127 ? '^?' : `^${String.fromCharCode(code + 64)}`;
  }).replace(/[\u0080-\u009f\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff]/g, '\ufffd');
}

/** Base of a panel: `look` asks the host; a panel that is not shown asks nothing. */
class Panel {
  constructor(view, label, everyS) {
    this.view = view;
    this.label = label;
    this.everyS = everyS;
    this.body = h('.panel-body', {});
    this.said = h('p.none', {});
    this.element = h('section.panel', { 'aria-label': label }, this.body, this.said);
    this.lookedAt = -Infinity;
  }

  get supported() {
    return !this.unknown;
  }

  /** Ask again if it is time. */
  async refresh(now = false) {
    const at = performance.now() / 1000;
    if (this.busy || this.unknown || (!now && at - this.lookedAt < this.everyS)) return;
    this.busy = true;
    this.lookedAt = at;
    try {
      await this.look();
      say(this.said, this.empty ?? '');
    } catch (error) {
      // A host of an earlier version does not know the question: it ends the conversation with what it cannot read.
      if (error.code === 'bad-message' || error.code === 'forbidden') this.unknown = true;
      say(this.said, error.message);
    } finally {
      this.said.hidden = !this.said.textContent;
      this.busy = false;
    }
  }
}

/** Who is attached, who has control, and how to change that. */
export class People extends Panel {
  constructor(view) {
    super(view, 'People', 3);
    this.state = h('p.control-state', { role: 'status', 'aria-live': 'polite' });
    this.buttons = h('.buttons', {});
    this.list = h('ul.people', {});
    this.asked = h('ul.asked', {});
    this.body.append(this.state, this.buttons, this.asked, this.list);
  }

  async look() {
    const here = await this.view.host.ask({ t: 'who', session: this.view.id });
    this.here = here;
    this.view.learnControl(here.control);
    this.show();
  }

  show() {
    const { here } = this;
    if (!here) return;
    say(this.state, describe(here.control, this.view.me));
    const acts = possible(here.control, this.view);
    this.buttons.replaceChildren(...acts.map(([act, label]) => h(act === 'take' ? 'button.primary' : 'button', { onclick: () => this.view.control(act) }, label)));
    this.asked.replaceChildren(...here.asked.map((each) => h('li', {}, `${who(each.kind, each.operator)} asks for control`, each.why ? `: ${clean(each.why)}` : '',
      this.view.operates ? h('button', { onclick: () => this.view.control('give', { to: each.operator }) }, 'Give') : null)));
    arrange(this.list, here.attached.map((each) => h('li', {},
      h('span.name', {}, each.you ? 'you' : who(each.kind, each.operator)),
      h('span.does', {}, `${each.face}${each.observe ? ', looks' : ''}`),
      h('span.what', {}, `here ${span(Date.now() / 1000 - each.since)}${each.acted_s < 60 ? ' · active' : ''}`))));
  }
}

/** Control in words. */
export function describe(control, me = '') {
  if (!control) return '';
  const holder = control.holder === me ? 'You have' : `${who(control.kind, control.holder)} has`;
  const line = control.holder ? `${holder} control.` : 'Nobody has control: people may type.';
  if (control.state === 'paused') return `AI paused. ${control.holder ? line : ''}`.trim();
  if (control.state === 'private') return `Private: no AI sees or types. ${control.holder ? line : ''}`.trim();
  return line;
}

/** What may be done about control now: act and its label. */
export function possible(control, view) {
  if (!view.operates || !control) return [];
  const mine = control.holder === view.me;
  if (!view.person) return mine ? [['release', 'Release']] : control.holder ? [['request', 'Ask for control']] : [];
  const bar = control.state === 'paused' ? ['resume', 'Let AI act'] : control.state === 'private' ? ['public', 'End private'] : ['pause', 'Pause AI'];
  return [mine ? ['release', 'Release'] : ['take', 'Take control'], bar];
}

/** Proposals that wait, with the exact bytes; each is decided by its id and the digest of what is shown. */
export class Approvals extends Panel {
  constructor(view) {
    super(view, 'Approvals', 2);
    this.cards = new Map();
    this.list = h('ul.cards', {});
    this.body.append(this.list);
    this.empty = 'Nothing waits for approval.';
  }

  get count() {
    return this.waiting?.length ?? 0;
  }

  async look() {
    const pending = await this.view.host.ask({ t: 'proposals', session: this.view.id, settled: 5 });
    const before = this.count;
    this.waiting = pending.proposals.filter((each) => each.state === 'proposed');
    const shown = [...this.waiting, ...pending.proposals.filter((each) => each.state !== 'proposed').reverse()];
    this.empty = shown.length ? '' : 'Nothing waits for approval.';
    arrange(this.list, shown.map((each) => this.#card(each, pending.now)));
    if (before !== this.count) this.view.counted();
    if (before < this.count) this.view.app.watching.happened('approval', this.view.info);
  }

  #card(it, now) {
    const key = `${it.id} ${it.state} ${it.holds}`;
    let card = this.cards.get(key);
    if (!card) {
      const what = it.verb === 'signal' ? `signal ${it.signal}` : visible(it.data);
      const decides = it.state === 'proposed' && this.view.person && this.view.operates && it.operator !== this.view.me;
      card = h('li.card', {},
        h('p', {}, h('strong', {}, who(it.kind, it.operator)), it.on_behalf_of ? ` for ${clean(it.on_behalf_of).slice(0, 10)}` : '', ` wants to ${{ input: 'type', run: 'run', signal: 'send a signal', resize: 'resize' }[it.verb] ?? it.verb}`),
        h('pre', {}, what),
        it.why ? h('p', {}, `“${clean(it.why)}”`) : null,
        h('p.small', {}, [it.cwd && `in ${clean(it.cwd)}`, it.rule && `rule ${clean(it.rule)}`, it.reason && clean(it.reason)].filter(Boolean).join(' · ')),
        it.state === 'proposed' && !it.holds ? h('p.warn', {}, 'The session has changed since.') : null,
        decides ? this.#decision(it) : null,
        h('p.small', {}, it.state === 'proposed' ? `proposed ${span(now - it.at)} ago · ends in ${span(it.until - now)}` : `${it.state}${it.outcome ? `, ${it.outcome}` : ''}`));
      this.cards.set(key, card);
    }
    return card;
  }

  #decision(it) {
    const reaches = reach(it);
    const choice = h('select', { 'aria-label': 'How far an approval reaches' }, reaches.map(({ label }, at) => h('option', { value: String(at) }, label)));
    return h('.decision', {}, reaches.length > 1 ? choice : null, h('.buttons', {},
      h('button.primary', { onclick: () => this.#decide(it, 'approve', reaches[Number(choice.value)]) }, 'Approve'),
      h('button', { onclick: () => this.#decide(it, 'deny') }, 'Deny')));
  }

  async #decide(it, verdict, { widen = '', words = [] } = {}) {
    try {
      await this.view.host.ask({ t: 'decide', session: this.view.id, proposal: it.id, digest: it.digest, verdict, why: '', widen, words, for_s: FOR_S });
    } catch (error) {
      this.view.note(error.whole);
    }
    this.refresh(true);
  }
}

const FOR_S = 3600; // that a wider approval lasts

/** How far an approval of `it` may reach: this once, the same again, or commands that begin alike. The host judges the words again. */
export function reach(it) {
  const found = [{ label: 'This once', widen: '' }];
  if (it.only_proposes) return found;
  found.push({ label: 'The same again, for an hour', widen: 'session' });
  const line = it.verb === 'run' || it.verb === 'input' ? new TextDecoder().decode(it.data).replace(/[\r\n]+$/, '') : '';
  if (!/^[\w./@:=+-]+(?: [\w./@:=+-]+)*$/.test(line)) return found; // quotes, pipes and the like: what it begins with says little
  const words = line.split(' ');
  for (let count = Math.min(words.length, 2); count > 0; count -= 1) {
    const beginning = words.slice(0, count);
    found.push({ label: `Any “${beginning.join(' ')} …”, for an hour`, widen: 'prefix', words: beginning });
  }
  return found;
}

/** The execution itself: process tree, listening ports, folder, memory, as the kernel has them now. */
export class Tuple extends Panel {
  constructor(view) {
    super(view, 'Processes', 3);
    this.facts = h('dl.facts', {});
    this.tree = h('ul.tree', { 'aria-label': 'Process tree' });
    this.ports = h('ul.ports', { 'aria-label': 'Listening' });
    this.body.append(this.facts, h('h3', {}, 'Processes'), this.tree, this.portsHead = h('h3', {}, 'Listening'), this.ports);
  }

  async look() {
    const { live, session } = await this.view.host.ask({ t: 'info', session: this.view.id });
    const processes = live.processes ?? [];
    const facts = [
      ['Folder', live.cwd || session.cwd], ['Memory', size(live.memory?.cgroup_bytes ?? live.memory?.rss_bytes ?? 0)], ['CPU', span(live.cpu_s ?? 0)],
      ['Root', `${session.root_pid}, incarnation ${session.incarnation}`], ['Output', size(session.output_end)], ['Size', `${session.size[0]} × ${session.size[1]}`],
    ];
    this.facts.replaceChildren(...facts.flatMap(([name, value]) => [h('dt', {}, name), h('dd', {}, clean(value ?? ''))]));
    this.tree.replaceChildren(...rooted(processes, live.root).map(({ it, depth }) => h(it.foreground ? 'li.foreground' : 'li', { title: `${it.state_name}, ${it.argv.join(' ').slice(0, 300)}` },
      h('span.indent', {}, '\u00a0'.repeat(2 * depth)), h('span.pid', {}, String(it.pid)), h('span.name', {}, clean(it.argv.length ? it.argv.join(' ') : it.comm)), h('span.does', {}, size(it.rss_bytes)))));
    const listening = live.listening ?? [];
    this.portsHead.hidden = !listening.length;
    this.ports.replaceChildren(...listening.map((each) => h('li', {}, h('span.name', {}, `${each.proto} ${clean(each.address)}`), h('span.does', {}, each.pids.join(', ')))));
    this.empty = processes.length ? '' : 'It has ended: nothing runs.';
  }
}

/** Processes below `root` in the order of their tree, each with its depth; whoever has no parent there stands at the top. */
function rooted(processes, root) {
  const known = new Map(processes.map((each) => [each.pid, each]));
  const found = [];
  const walk = (it, depth) => {
    found.push({ it, depth });
    processes.filter((each) => each.ppid === it.pid && each !== it).forEach((each) => walk(each, depth + 1));
  };
  const tops = processes.filter((each) => each.pid === root || !known.has(each.ppid));
  tops.forEach((each) => walk(each, 0));
  return found.slice(0, 400);
}

/** Ask for a new session's name and command. */
export async function askForSession(hosts) {
  const choose = h('select', { name: 'host' }, hosts.map(({ id, name }) => h('option', { value: id }, name)));
  const said = await ask('New session', [
    h('label', {}, h('span', {}, 'Host'), choose),
    h('label', {}, h('span', {}, 'Name'), h('input', { name: 'name', pattern: '[A-Za-z0-9][A-Za-z0-9._\\-]{0,63}', placeholder: 'chosen by the host', autocomplete: 'off' })),
    h('label', {}, h('span', {}, 'Command'), h('input', { name: 'command', placeholder: 'your login shell', autocomplete: 'off', spellcheck: false })),
  ], { yes: 'Start' });
  return said;
}

