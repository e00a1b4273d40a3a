// pool.js: models in workers, and the scheduler that shares the machine's cores among them.

const $ = (id) => document.getElementById(id);
const corpusBytes = new TextEncoder().encode($('data-corpus').textContent);
const wasmBytes = Uint8Array.from(atob($('data-wasm').textContent.trim()), (c) => c.charCodeAt(0));
// Compiled once, while the reader reads; the workers share it.
const wasmModule = WebAssembly.compile(wasmBytes);
const workerUrl = URL.createObjectURL(new Blob([$('data-worker').textContent], {type: 'text/javascript'}));
const cores = Math.max(1, navigator.hardwareConcurrency || 2);
const QUANTUM = 250;            // milliseconds of training between two answers of a worker

// A running mean over the last ten steps or so, over fewer at the start; count: from 1.
function smoothed(before, now, count) {
  const keep = count === 1 ? 0 : Math.min(0.9, (count - 1) / (count + 9));
  return count === 1 ? now : keep * before + (1 - keep) * now;
}

// One model: its configuration, its worker, its results so far.
class Model {
  constructor(config) {
    Object.assign(this, {config, letters: config.letters, steps: [], losses: [], accuracies: [], checks: [],
      step: 0, total: config.steps, loss: NaN, accuracy: NaN, training: NaN, skipBlocks: NaN, skipMixers: NaN,
      rate: 0, done: false, error: '', sample: '', indicators: [], info: null, busy: false, ready: null,
      waiting: new Map(), next: 1, tokens: 0, time: 0, solved: 0, memory: 0});
    this.smooth = NaN;
  }

  open() {
    if (this.ready) return this.ready;
    this.worker = new Worker(workerUrl);
    this.worker.onmessage = ({data}) => {
      const {resolve, reject} = this.waiting.get(data.id);
      this.waiting.delete(data.id);
      if (data.error) reject(new Error(data.error));
      else resolve(data);
    };
    this.worker.onerror = (event) => {
      event.preventDefault();
      for (const {reject} of this.waiting.values()) reject(new Error(event.message || 'the worker was stopped by the browser'));
      this.waiting.clear();
    };
    const c = this.config;
    this.ready = wasmModule.then((wasm) => this.ask('start', {wasm, files: c.files, words: c.words})).then((info) => {
      this.info = info;
      this.total = info.steps;
      return info;
    });
    this.ready.catch(() => {});                 // those who wait for it get the error
    return this.ready;
  }

  ask(what, more) {
    const id = this.next++;
    return new Promise((resolve, reject) => {
      if (!this.worker) return reject(new Error('closed'));
      this.waiting.set(id, {resolve, reject});
      this.worker.postMessage(Object.assign({id, ask: what}, more));
    });
  }

  fail(error) {
    // the program calls the reader's text text.txt, and names options that the page lacks
    this.error = error.message.replace(/^text\.txt/, this.config.ownName || 'text.txt').replace(/(: expected --[a-z]+ FILE|; to learn what ).*/, '')
      .replace(/ of --seq (\d+) \+ 1: .*/, ' of $1 + 1: expected a longer text, or a smaller size')
      .replace('choose a smaller --batch, --seq or --size', 'choose a smaller size or fewer models')
      .replace('a lower --lr or a longer --warmup', 'a lower learning rate');
    this.close();
    this.changed();
  }

  close() {
    if (this.worker) this.worker.terminate();
    this.worker = null;
    for (const {reject} of this.waiting.values()) reject(new Error('closed'));
    this.waiting.clear();
  }

  get hybrid() { return new Set(this.letters).size > 1 && this.letters.includes('S'); }
  get finished() { return this.done || Boolean(this.error); }
  get left() { return this.rate ? (this.total - this.step) * this.info.batch * this.info.seq / this.rate : NaN; }
  changed() { if (this.onchange) this.onchange(this); }

  // Some steps, up to the next validation, which follows at once.
  async advance(milliseconds, atMost, atLeast) {
    await this.open();
    if (this.step >= this.total) return this.finish();
    const every = this.config.every, stop = Math.min(this.total, (Math.floor(this.step / every) + 1) * every,
      atMost ? this.step + atMost : Infinity);
    const answer = await this.ask('run', {milliseconds, until: stop, atLeast});
    for (const [step, loss, accuracy] of answer.steps) {
      this.steps.push(step);
      this.losses.push(loss);
      this.accuracies.push(accuracy);
      this.smooth = smoothed(this.smooth, this.config.task === 'recall' ? accuracy : loss, this.steps.length);
      this.step = step;
    }
    this.training = this.losses[this.losses.length - 1];
    this.memory = answer.memory;
    const tokens = answer.steps.length * this.info.batch * this.info.seq;
    this.tokens = this.tokens * 0.8 + tokens;           // the rate of the last few answers
    this.time = this.time * 0.8 + answer.took;
    this.rate = this.tokens / this.time * 1000;
    if (this.step % every === 0 || this.step >= this.total) await this.check();
    this.changed();
  }

  // A validation, with what is shown beside it.
  async check() {
    const score = await this.ask('validate', {skip: 0});
    this.loss = score.loss;
    this.accuracy = score.accuracy;
    const {indicatorTokens, layers} = this.config;
    const indicators = indicatorTokens && layers
      ? (await this.ask('indicators', {tokens: indicatorTokens, layers})).of : [];
    this.checks.push({step: this.step, loss: score.loss, accuracy: score.accuracy, indicators});
    this.solved = this.config.patience && score.accuracy >= 0.99 ? this.solved + 1 : 0;
    if (this.oncheck) await this.oncheck(this);
    if (this.step >= this.total || (this.config.patience && this.solved >= this.config.patience)) await this.finish();
  }

  async finish() {
    if (this.done) return;
    if (!this.checks.length) {                          // nothing was left to do, such as --steps 0
      const score = await this.ask('validate', {skip: 0});
      this.loss = score.loss;
      this.accuracy = score.accuracy;
    }
    if (this.hybrid) {
      this.skipBlocks = (await this.ask('validate', {skip: 1})).loss;
      this.skipMixers = (await this.ask('validate', {skip: 2})).loss;
    }
    this.done = true;
    this.changed();
  }

  // Asks for something beside the training; null if the model has no worker (yet, or any more).
  async query(what, more) {
    if (!this.worker || this.error) return null;
    try {
      await this.ready;
      return await this.ask(what, more);
    } catch (error) {
      if (error.message !== 'closed') this.fail(error);
      return null;
    }
  }
}

// Gives each worker a slice of time in turn, as many at once as there are cores, and begins with
// the model that has made least progress. The lesson and the laboratory share it.
const scheduler = {
  groups: new Set(), busy: 0,
  next() {
    while (this.busy < cores) {
      let best = null;
      for (const group of this.groups) {
        if (!group.running) continue;
        for (const m of group.models) {
          if (m.busy || m.finished) continue;
          const far = m.step / m.total;
          if (!best || far < best.step / best.total) best = m;
        }
      }
      if (!best) break;
      this.run(best);
    }
  },
  async run(model) {
    model.busy = true;
    this.busy++;
    try {
      await (model.step ? model.advance(QUANTUM) : model.advance(QUANTUM / 5, 0, 2));     // two points make a curve, soon
    } catch (error) {
      if (error.message !== 'closed') model.fail(error);
    }
    model.busy = false;
    this.busy--;
    for (const group of this.groups) if (group.running && group.onturn) group.onturn();
    this.next();
  },
};

// The words of the command line, and the files, for a model of the page.
function modelConfig({task, unit, size, steps, rate, seed, letters, own, ownName, weights}) {
  const s = SIZES[size], files = {};
  // a loaded model brings its own dimensions
  const words = s.words.filter((word, i) => !weights || !['--dim', '--heads', '--ffn', '--vocab', '--seq'].includes(s.words[i - i % 2]));
  const bytes = task === 'own' ? own : corpusBytes;
  if (task !== 'recall') {
    words.push('--data', 'text.txt');
    files['text.txt'] = unit === 'tokens' ? corpusShard() : bytes;
  }
  words.push('--steps', String(steps), '--lr', String(rate), '--seed', String(seed));
  if (weights) {
    words.push('--init', 'loaded');
    files['loaded/model.safetensors'] = weights.bytes;
  } else words.push('--layers', String(letters.length), '--layout', letters);
  const every = Math.min(s.every, Math.max(1, Math.ceil(steps / 4)));
  return {task, unit, size, letters, words, files, every, steps: Number(steps), layers: letters.length, seed,
          ownName: task === 'own' ? ownName : '', patience: task === 'recall' ? 4 : 0, weights: Boolean(weights), rate: Number(rate),
          indicatorTokens: task === 'recall' ? recallExample(size) : validationStart(bytes, unit)};
}

function validationStart(bytes, unit) {
  if (unit === 'tokens') return corpusTokens().slice(-Math.floor(corpusTokens().length / 10)).slice(0, 128);
  const from = bytes.length - Math.floor(bytes.length / 10);
  return Array.from(bytes.slice(from, from + 128));
}

// A sequence of the recall task: pairs of key and value, then the keys again with fillers between.
function recallExample(size) {
  const pairs = size === 'recall' ? 6 : 8, half = size === 'recall' ? 16 : 32, T = size === 'recall' ? 24 : 48;
  const keys = Array.from({length: pairs}, (_, p) => 1 + p * 2 % (half - 1)), tokens = [];
  keys.forEach((key, p) => tokens.push(key, half + (p * 7 + 3) % half));
  keys.forEach((_, p) => tokens.push(keys[p * 5 % pairs], 0));
  return tokens.slice(0, T);
}
