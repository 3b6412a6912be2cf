/** Choose what this device tells of while the page is closed. */

import { wanting } from '../client/notices.js';
import { h, say } from './dom.js';

const LABELS = { '': 'nothing', mine: 'what concerns me', everything: 'everything' };

export class NoticeChoice {
  constructor(app) {
    this.app = app;
    this.choice = h('select', { id: 'notices', onchange: () => this.choose() }, ...Object.entries(LABELS).map(([value, label]) => h('option', { value }, label)));
    this.choice.value = app.notices.which;
    this.said = h('p.small', { role: 'status' }, wanting() || app.notices.trouble
      || 'Commands that ended, programs that ask, approvals, control taken: that it happened and where, never what.');
    this.choice.disabled = Boolean(wanting());
    this.element = h('.card', {}, h('label', { for: 'notices' }, 'While this page is closed, tell me of '), this.choice, this.said);
  }

  async choose() {
    const { notices, hosts } = this.app;
    this.choice.disabled = true;
    say(this.said, 'One moment…');
    try {
      await notices.want(this.choice.value, hosts.filter((host) => host.up));
      say(this.said, this.choice.value ? 'This device tells you from now on.' : 'This device tells you nothing.');
    } catch (error) {
      say(this.said, error.whole || error.message);
      this.choice.value = notices.which;
    } finally {
      this.choice.disabled = false;
    }
  }
}
