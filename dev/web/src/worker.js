// worker.js: one model in a worker of its own. The page asks, the worker answers: each message
// {id, ask, ...} gets one {id, ...} or {id, error} back. 'run' takes steps for some milliseconds.
let engine = null;

const answers = {
  start({wasm, files, words}) {
    engine = makeEngine(wasm, files);
    return engine.start(words);
  },
  run({milliseconds, until, atLeast}) {
    const steps = [], begin = performance.now();
    let now = begin;
    do {
      const s = engine.step();
      steps.push([s.step, s.loss, s.accuracy, s.rate]);
      now = performance.now();
      if (s.step >= until) break;
    } while (now - begin < milliseconds || steps.length < (atLeast || 1));
    return {steps, took: now - begin, memory: engine.memoryBytes()};
  },
  validate: ({skip}) => engine.validate(skip),
  look({tokens, layer, head, hasMap}) {
    const n = engine.read(tokens);
    return hasMap && n ? engine.map(n, layer, head) : {n};
  },
  indicators({tokens, layers}) {
    engine.read(tokens);
    return {of: Array.from({length: layers}, (_, l) => engine.indicators(l))};
  },
  sample: ({prompt, n, temperature, seed}) => ({tokens: engine.sample(prompt, n, temperature, seed)}),
  save: () => ({bytes: engine.save()}),
};

self.onmessage = ({data}) => {
  let answer;
  try {
    answer = answers[data.ask](data);
  } catch (error) {
    answer = {error: error.message || String(error)};
  }
  self.postMessage(Object.assign({id: data.id}, answer));
};
