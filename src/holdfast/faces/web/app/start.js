/** Begin: what this browser can, who it is, what it shows. */

import { Keys } from './client/profile.js';
import { App } from './face/app.js';
import { Shell, named } from './face/shell.js';
import { wanting } from './face/welcome.js';

const app = new App(new Keys());
const shell = new Shell(app);
const missing = await wanting();
if (missing) {
  shell.welcome.element.hidden = false;
  shell.welcome.form.hidden = true;
  shell.welcome.said.textContent = missing;
} else {
  app.addEventListener('change', () => named(app));
  shell.recall();
  await app.begin();
  await named(app);
  await shell.begin();
  if ('serviceWorker' in navigator) navigator.serviceWorker.register('/app/sw.js', { scope: '/' }).catch(() => {});
  navigator.storage?.persist?.();
}
