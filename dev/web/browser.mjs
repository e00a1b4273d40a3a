// browser.mjs: drives headless Chromium by the DevTools protocol over a pipe, and Firefox by
// Marionette over a socket: node alone, no package.
import {spawn} from 'node:child_process';
import fs from 'node:fs';
import net from 'node:net';
import os from 'node:os';
import path from 'node:path';

export function temporary(name) {
  return fs.mkdtempSync(path.join(os.tmpdir(), `attnvar-${name}-`));
}

// Chromium with one page. requests collects every address that the page asked for; problems, its
// errors; dialogs the kinds of those that it opened, which are accepted.
export async function chromium({program = 'chromium', flags = []} = {}) {
  const profile = temporary('chromium');
  const child = spawn(program, ['--headless=new', '--no-sandbox', '--disable-gpu', '--hide-scrollbars', '--no-first-run',
    '--disable-background-networking', '--disable-component-update', '--mute-audio',
    `--user-data-dir=${profile}`, '--remote-debugging-pipe', ...flags, 'about:blank'],
    {stdio: ['ignore', 'ignore', 'ignore', 'pipe', 'pipe']});
  const waiting = new Map(), listeners = [];
  let next = 1, rest = Buffer.alloc(0), gone = null;
  const failAll = (error) => { gone = error; for (const w of waiting.values()) w.reject(error); waiting.clear(); };
  child.on('error', failAll);
  child.on('exit', (code) => failAll(new Error(`chromium ended with exit code ${code}`)));
  child.stdio[3].on('error', () => {});
  child.stdio[4].on('data', (data) => {
    rest = Buffer.concat([rest, data]);
    for (let end; (end = rest.indexOf(0)) >= 0; rest = rest.subarray(end + 1)) {
      const message = JSON.parse(rest.subarray(0, end).toString());
      if (!message.id) { for (const l of listeners) l(message); continue; }
      const w = waiting.get(message.id);
      waiting.delete(message.id);
      if (message.error) w.reject(new Error(`${w.method}: ${message.error.message}`));
      else w.resolve(message.result);
    }
  });
  const send = (method, params = {}, sessionId) => new Promise((resolve, reject) => {
    if (gone) return reject(gone);
    const id = next++;
    waiting.set(id, {resolve, reject, method});
    child.stdio[3].write(JSON.stringify({id, method, params, sessionId}) + '\0');
  });
  const {targetInfos} = await send('Target.getTargets');
  const {sessionId} = await send('Target.attachToTarget', {targetId: targetInfos.find((t) => t.type === 'page').targetId, flatten: true});
  const page = (method, params) => send(method, params, sessionId);
  const requests = [], problems = [], dialogs = [];
  listeners.push(({method, params, sessionId: from}) => {
    if (method === 'Network.requestWillBeSent') requests.push(params.request.url);
    if (method === 'Page.javascriptDialogOpening') {
      dialogs.push(params.type);
      page('Page.handleJavaScriptDialog', {accept: true}).catch(() => {});
    }
    if (method === 'Runtime.exceptionThrown') problems.push(params.exceptionDetails.exception?.description || params.exceptionDetails.text);
    if (method === 'Log.entryAdded' && params.entry.level === 'error') problems.push(params.entry.text);
    if (method === 'Runtime.consoleAPICalled' && params.type === 'error') problems.push(params.args.map((a) => a.value || a.description).join(' '));
    // workers: what they ask for counts as well
    if (method === 'Target.attachedToTarget') {
      for (const domain of ['Network.enable', 'Runtime.runIfWaitingForDebugger']) send(domain, {}, params.sessionId).catch(() => {});
    }
  });
  for (const domain of ['Page', 'Runtime', 'Network', 'Log']) await page(`${domain}.enable`);
  await page('Target.setAutoAttach', {autoAttach: true, waitForDebuggerOnStart: true, flatten: true});
  return {
    send: page, requests, problems, dialogs, listeners,
    // A page of its own, even if only the part behind # differs from the one before.
    async open(url) {
      for (const address of ['about:blank', url]) await this.loading(() => page('Page.navigate', {url: address}));
    },
    // Does something that loads a page, and waits for it.
    async loading(doIt) {
      const loaded = new Promise((resolve) => {
        const l = ({method}) => { if (method === 'Page.loadEventFired') { listeners.splice(listeners.indexOf(l), 1); resolve(); } };
        listeners.push(l);
      });
      await doIt();
      await loaded;
    },
    // The value of an expression in the page; promises are waited for.
    async run(expression) {
      const {result, exceptionDetails} = await page('Runtime.evaluate', {expression, awaitPromise: true, returnByValue: true});
      if (exceptionDetails) throw new Error(exceptionDetails.exception?.description || exceptionDetails.text);
      return result.value;
    },
    async until(expression, seconds, every = 100) {
      const end = Date.now() + 1000 * seconds;
      for (;;) {
        const value = await this.run(expression);
        if (value) return value;
        if (Date.now() > end) throw new Error(`after ${seconds} s still not: ${expression}`);
        await new Promise((resolve) => setTimeout(resolve, every));
      }
    },
    async view(width, height, dark, motion = 'no-preference') {
      await page('Emulation.setDeviceMetricsOverride', {width, height, deviceScaleFactor: 1, mobile: false});
      await page('Emulation.setEmulatedMedia', {features: [{name: 'prefers-color-scheme', value: dark ? 'dark' : 'light'}, {name: 'prefers-reduced-motion', value: motion}]});
    },
    // Another tab in front of the page, and back.
    async hide() {
      const {targetId} = await send('Target.createTarget', {url: 'about:blank'});
      await send('Target.activateTarget', {targetId});
      this.other = targetId;
    },
    async show() {
      await send('Target.closeTarget', {targetId: this.other});
      await page('Page.bringToFront');
    },
    async screenshot(file, whole = true) {
      const {data} = await page('Page.captureScreenshot', {format: 'png', captureBeyondViewport: whole});
      fs.writeFileSync(file, Buffer.from(data, 'base64'));
    },
    async key(key, code = key, windowsVirtualKeyCode = 0, text) {
      await page('Input.dispatchKeyEvent', {type: text ? 'keyDown' : 'rawKeyDown', key, code, windowsVirtualKeyCode, text});
      await page('Input.dispatchKeyEvent', {type: 'keyUp', key, code, windowsVirtualKeyCode});
    },
    async close() {
      const ended = new Promise((resolve) => child.once('exit', resolve));
      await send('Browser.close').catch(() => child.kill());
      await ended;
      fs.rmSync(profile, {recursive: true, force: true, maxRetries: 5});
    },
  };
}

// Firefox: messages are LENGTH:[0, id, command, parameters], answers [1, id, error, result].
export async function firefox({program = 'firefox-esr'} = {}) {
  const profile = temporary('firefox'), port = 20000 + process.pid % 20000;
  fs.writeFileSync(path.join(profile, 'user.js'), `user_pref("marionette.port", ${port});\nuser_pref("datareporting.policy.dataSubmissionEnabled", false);\n` +
    'user_pref("app.update.enabled", false);\nuser_pref("browser.shell.checkDefaultBrowser", false);\n');
  const child = spawn(program, ['--headless', '--marionette', '--no-remote', '--profile', profile], {stdio: 'ignore', env: {...process.env, HOME: profile}});
  let socket;
  for (let tries = 0; !socket; tries++) {
    socket = await new Promise((resolve) => {
      const s = net.connect(port, '127.0.0.1', () => resolve(s));
      s.on('error', () => resolve(null));
    });
    if (!socket && tries > 240) { child.kill(); throw new Error('firefox does not answer'); }
    if (!socket) await new Promise((resolve) => setTimeout(resolve, 250));
  }
  let rest = Buffer.alloc(0), next = 1;
  const waiting = new Map();
  socket.on('data', (data) => {
    rest = Buffer.concat([rest, data]);
    for (;;) {
      const colon = rest.indexOf(58), length = Number(rest.subarray(0, colon));
      if (colon < 0 || rest.length < colon + 1 + length) return;
      const message = JSON.parse(rest.subarray(colon + 1, colon + 1 + length).toString());
      rest = rest.subarray(colon + 1 + length);
      const w = Array.isArray(message) && waiting.get(message[1]);
      if (w && message[2]) w.reject(new Error(message[2].message));
      else if (w) w.resolve(message[3]);
    }
  });
  const send = (command, parameters = {}) => new Promise((resolve, reject) => {
    const id = next++, text = JSON.stringify([0, id, command, parameters]);
    waiting.set(id, {resolve, reject});
    socket.write(`${Buffer.byteLength(text)}:${text}`);
  });
  await send('WebDriver:NewSession', {capabilities: {alwaysMatch: {}}});
  await send('WebDriver:SetTimeouts', {script: 600000, pageLoad: 60000});
  return {
    open: (url) => send('WebDriver:Navigate', {url}),
    async run(expression) {
      const {value} = await send('WebDriver:ExecuteAsyncScript', {args: [], newSandbox: false, sandbox: null, script:
        `const done = arguments[arguments.length - 1];
         (async () => window.wrappedJSObject ? window.wrappedJSObject.eval(${JSON.stringify(expression)}) : eval(${JSON.stringify(expression)}))()
           .then((v) => done({v}), (e) => done({e: String(e)}));`});
      if (value.e) throw new Error(value.e);
      return value.v;
    },
    async until(expression, seconds, every = 200) {
      const end = Date.now() + 1000 * seconds;
      for (;;) {
        const value = await this.run(expression);
        if (value) return value;
        if (Date.now() > end) throw new Error(`after ${seconds} s still not: ${expression}`);
        await new Promise((resolve) => setTimeout(resolve, every));
      }
    },
    async close() {
      const ended = new Promise((resolve) => child.once('exit', resolve));
      await send('Marionette:Quit', {flags: ['eForceQuit']}).catch(() => child.kill());
      await ended;
      socket.destroy();
      fs.rmSync(profile, {recursive: true, force: true, maxRetries: 5});
    },
  };
}
