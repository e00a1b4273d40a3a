// lab.js: the laboratory: what is trained, the list of models, their curves and table.

const lab = {
  task: 'text', unit: 'bytes', size: 'quick', steps: 550, rate: 0.003, seed: 1, own: new Uint8Array(0), ownName: '', zoom: false,
  models: [], running: false,
};
const group = {get models() { return lab.models; }, get running() { return lab.running; }, onturn: () => { drawSoon(); insideSoon(); }};
scheduler.groups.add(group);

const SIMPLE = LETTERS.filter((l) => l !== 'S');
const repeated = (letters, n) => letters.repeat(n).slice(0, n);
const PRESETS = {
  alone: (n) => LETTERS.map((l) => repeated(l, n)),
  hybrids: (n) => ['S', ...SIMPLE.map((l) => l + 'S')].map((p) => repeated(p, n)),
  both: (n) => [...PRESETS.alone(n), ...PRESETS.hybrids(n).slice(1)],
};

function newModel(letters, weights) {
  const m = new Model(modelConfig({...lab, letters, weights}));
  m.onchange = drawSoon;
  m.oncheck = write;
  return m;
}

function setModels(list) {
  stop();
  for (const m of lab.models) m.close();
  lab.models = list.map((letters) => newModel(letters));
  buildTable();
  saveHash();
}

// The same list of models, from the start; its letters are fitted to the size's layers.
function restart() {
  const layers = SIZES[lab.size].layers;
  setModels(lab.models.filter((m) => !m.config.weights).map((m) => repeated(m.letters, layers)));
}

function say(text) { $('lab-says').textContent = text; }
function showError(text) {
  $('lab-error').hidden = !text;
  $('lab-error').textContent = text;
}

function ready() {
  if (lab.task === 'own' && !lab.own.length) {
    showError('There is no text of your own yet: paste one into the field, or choose a file.');
    return false;
  }
  if (!lab.models.length) {
    showError('There is no model yet: choose a list above.');
    return false;
  }
  showError('');
  return true;
}

function play() {
  if (!ready()) return;
  if (lab.models.every((m) => m.finished)) restart();
  lab.running = true;
  $('play').textContent = '❚❚ Pause';
  const n = lab.models.length;
  say(`Training ${n} model${n > 1 ? 's' : ''}, ${Math.min(cores, n)} at once.`);
  scheduler.next();
}

function stop(text) {
  lab.running = false;
  $('play').textContent = '▶ Play';
  if (text !== undefined) say(text);
}

async function oneStep() {
  if (!ready()) return;
  stop('One step taken.');
  await Promise.all(lab.models.map(async (m) => {
    if (m.busy || m.finished) return;
    m.busy = true;
    try {
      await m.advance(0, 1);
    } catch (error) {
      if (error.message !== 'closed') m.fail(error);
    }
    m.busy = false;
  }));
  drawSoon();
  insideSoon(true);
}

// ---- table -------------------------------------------------------------------------------------

const hasHybrid = () => lab.models.some((m) => m.hybrid);
const COLUMNS = () => ['Model', 'Step',
  ...(lab.task === 'recall' ? ['Validation accuracy', 'Training accuracy', 'Validation loss'] : ['Validation loss', 'Training loss']),
  'Tokens/s', 'Time left', ...(hasHybrid() ? ['Loss, simple blocks skipped', 'Loss, only their mixing skipped'] : []), ''];

function letterButtons(letters, label) {
  return `<span class="letters" role="group" aria-label="${label}">` + [...letters].map((l, i) =>
    `<button type="button" data-letter="${l}" data-layer="${i}" style="--c:var(--${l})" title="layer ${i + 1}: ${byLetter[l].name}; click, or type a letter, to change" ` +
    `aria-label="${l}, layer ${i + 1}: ${byLetter[l].name}. Press for the next variant, or type its letter">${l}</button>`).join('') + '</span>';
}

function buildTable() {
  const head = COLUMNS();
  $('models').querySelector('thead').innerHTML = `<tr>${head.map((h) => `<th scope="col">${h || '<span class="sr">Actions</span>'}</th>`).join('')}</tr>`;
  $('models').querySelector('tbody').innerHTML = lab.models.map((m, i) => `<tr data-model="${i}">` +
    `<td>${markSvg(m.letters)} ${letterButtons(m.letters, `layers of model ${i + 1}`)} <span class="model-name">${escapeHtml(nameOf(m.letters))}</span>${m.config.weights ? ' (loaded)' : ''}</td>` +
    head.slice(1, -1).map(() => '<td></td>').join('') +
    `<td><span class="row-actions"><button type="button" data-act="save" aria-label="Save model ${i + 1}, ${m.letters}">save</button>` +
    `<button type="button" data-act="remove" aria-label="Remove model ${i + 1}, ${m.letters}">✕</button></span></td></tr>`).join('');
  $('letters-hint').innerHTML = 'Click a letter to change that layer: ' + VARIANTS.map((v) => `<b style="color:var(--${v.letter})">${v.letter}</b> ${v.name}`).join(', ') +
    '. The model then starts again. A trained hybrid (standard and simple layers) is also validated without its simple blocks, and without only their mixing.';
  lookChoices();
  buildSamples();
  drawSoon();
}

function time(seconds) {
  if (!Number.isFinite(seconds)) return '–';
  const s = Math.ceil(seconds);
  return s < 60 ? `${s} s` : s < 3600 ? `${Math.floor(s / 60)}:${String(s % 60).padStart(2, '0')} min` : `${(s / 3600).toFixed(1)} h`;
}

function fillTable() {
  const recall = lab.task === 'recall', rows = $('models').querySelectorAll('tbody tr');
  lab.models.forEach((m, i) => {
    const cells = rows[i].cells, n = cells.length;
    const last = m.steps.length ? m.steps[m.steps.length - 1] : 0;
    cells[1].innerHTML = `${last} / ${m.total}<span class="bar"><i style="width:${100 * m.step / m.total}%"></i></span>`;
    if (m.error) {
      for (let c = 2; c < n - 1; c++) cells[c].textContent = '';
      cells[1].className = 'failed';
      cells[1].textContent = m.error;
      return;
    }
    const values = recall ? [shown(m.accuracy), shown(m.smooth), shown(m.loss)] : [shown(m.loss), shown(m.smooth)];
    // several models share the cores, so a model waits its turn
    const share = Math.max(1, lab.models.filter((x) => !x.finished).length / cores);
    values.push(m.rate ? Math.round(m.rate).toLocaleString('en') : '–', m.done ? 'done' : time(m.left * share));
    if (hasHybrid()) values.push(m.hybrid ? shown(m.skipBlocks) : '', m.hybrid ? shown(m.skipMixers) : '');
    values.forEach((text, c) => { if (cells[c + 2].textContent !== text) cells[c + 2].textContent = text; });
  });
}

// ---- curves ------------------------------------------------------------------------------------

// At most a few hundred points; the last is always there.
function curveOf(m) {
  const recall = lab.task === 'recall', y = recall ? m.accuracies : m.losses, out = [], n = y.length;
  const every = Math.max(1, Math.floor(n / 300));
  let smooth = NaN;
  for (let i = 0; i < n; i++) {
    smooth = smoothed(smooth, y[i], i + 1);
    if (i % every === 0 || i === n - 1) out.push([m.steps[i], smooth]);
  }
  return out;
}

function floorsOf(info, task) {
  if (!info) return [];
  const [a, b, c] = info.floors;
  return (task === 'recall' ? [{name: 'blind guess', y: a}, {name: 'one of the values', y: b}]
    : [{name: 'chance', y: a}, {name: 'unigram', y: b, left: true}, {name: 'bigram', y: c, left: true}]).filter((f) => Number.isFinite(f.y));
}

function drawCurves() {
  const recall = lab.task === 'recall', kind = lab.unit === 'tokens' ? 'token' : 'byte', known = lab.models.find((m) => m.info);
  const floors = floorsOf(known && known.info, lab.task);
  const curves = lab.models.filter((m) => m.steps.length).map((m) => ({letters: m.letters, points: curveOf(m),
    marks: m.checks.map((c) => [c.step, recall ? c.accuracy : c.loss])}));
  // in units of the page's letters, so that those of the picture grow with them
  const wide = $('curves').clientWidth, letter = parseFloat(getComputedStyle(document.body).fontSize) / 16;
  const width = Math.max(340, wide / letter), height = Math.min(480, Math.max(330, width * 0.5));
  let yLow = 0, yHigh = recall ? 1 : 6;
  if (!recall && floors.length) {
    const ys = curves.flatMap((c) => [...c.points, ...c.marks]).map((p) => p[1]);
    yHigh = floors[0].y + 0.1;
    yLow = Math.max(0, Math.min(floors[floors.length - 1].y, ...ys) - 0.15);
  }
  if (lab.zoom && curves.length) {
    const ends = curves.flatMap((c) => [...c.points.slice(-Math.ceil(c.points.length / 6)), ...c.marks.slice(-2)]).map((p) => p[1]);
    const low = Math.min(...ends), high = Math.max(...ends), pad = Math.max(0.02, 0.1 * (high - low));
    yLow = Math.max(0, low - pad), yHigh = recall ? Math.min(1, high + pad) : high + pad;
  }
  $('curves').innerHTML = chart({curves, floors, xMax: Math.max(1, ...lab.models.map((m) => m.total)), yLow, yHigh,
    yName: recall ? 'accuracy' : 'loss, nats', width, height});
  $('curves-says').textContent = (curves.length ? '' : 'The curves appear here. ') +
    `Lines: ${recall ? 'accuracy' : 'loss'} on training batches, smoothed. Marks: ${recall ? 'accuracy' : 'loss'} on ${known && !recall ? `${known.info.scored.toLocaleString('en')} ${kind}s of ` : ''}the validation data. ` +
    'Dashed lines and hollow marks: models with different layers. ' +
    (recall ? 'Dotted: the accuracy of a guess among all values, and among the values that occurred.'
      : `Dotted: the loss of a model that knows nothing (chance), that knows how frequent each ${kind} is (unigram), and that knows the previous ${kind} (bigram).`);
}

let drawing = false, lastDrawn = 0;
function drawSoon() {
  if (drawing) return;
  drawing = true;
  setTimeout(() => requestAnimationFrame(() => {
    drawing = false;
    lastDrawn = performance.now();
    draw();
  }), Math.max(0, 200 - (performance.now() - lastDrawn)));
}

function draw() {
  drawCurves();
  fillTable();
  drawSparks();
  if (lab.running && lab.models.every((m) => m.finished)) {
    const failed = lab.models.filter((m) => m.error).length;
    stop(failed ? `${failed} of ${lab.models.length} models could not be trained; the table says why.` : 'All models are trained.');
  }
  const error = lab.models.find((m) => m.error);
  if (error) showError(`${error.letters}: ${error.error}`);
}

// ---- controls ----------------------------------------------------------------------------------

function fillForm() {
  for (const r of document.querySelectorAll('input[name=task]')) r.checked = r.value === lab.task;
  const sizes = Object.entries(SIZES).filter(([, s]) => (s.task === 'recall') === (lab.task === 'recall'));
  $('size').innerHTML = sizes.map(([id, s]) => `<option value="${id}">${s.label}</option>`).join('');
  $('size').value = lab.size;
  const units = lab.task === 'text' && haveTokens ? [['bytes', 'bytes (256 kinds)'], ['tokens', 'tokens (1,024 kinds)']]
    : lab.task === 'recall' ? [['numbers', 'keys and values']] : [['bytes', 'bytes (256 kinds)']];
  $('unit').innerHTML = units.map(([id, label]) => `<option value="${id}">${label}</option>`).join('');
  $('unit').value = lab.unit;
  $('unit').disabled = units.length < 2;
  $('steps').value = lab.steps;
  $('rate').value = lab.rate;
  $('seed').value = lab.seed;
  $('zoom').checked = lab.zoom;
  $('own-box').hidden = lab.task !== 'own';
  $('task-says').textContent = TASKS[lab.unit === 'tokens' ? 'tokens' : lab.task];
}

// Sets the task and size with what follows from them, then what is given.
function configure(changes) {
  const task = changes.task || lab.task;
  let size = changes.size || lab.size;
  if (!SIZES[size] || (SIZES[size].task === 'recall') !== (task === 'recall')) size = task === 'recall' ? 'recall' : 'quick';
  if (task !== lab.task || size !== lab.size) Object.assign(lab, {steps: SIZES[size].steps, rate: SIZES[size].rate});
  lab.unit = task === 'recall' ? 'numbers' : lab.unit === 'numbers' || task === 'own' ? 'bytes' : lab.unit;
  Object.assign(lab, changes, {task, size});
  if (lab.unit === 'tokens' && (task !== 'text' || !haveTokens)) lab.unit = 'bytes';
  if (task === 'recall') lab.unit = 'numbers';
  fillForm();
}

function change(changes) {
  const before = lab.task;
  configure(changes);
  showError('');
  restart();
  if (lab.task !== before) lookDefaults();
  say('Models start again with the new settings.');
}

const wholeNumber = (text, low, high, fallback) => {
  const x = Number(text);
  return text !== '' && Number.isInteger(x) && x >= low && x <= high ? x : fallback;
};

function setOwn(bytes, name, note) {
  lab.own = bytes;
  lab.ownName = name;
  let valid = true;
  try {
    new TextDecoder('utf-8', {fatal: true}).decode(bytes);
  } catch (error) {
    valid = false;
  }
  $('own-says').textContent = bytes.length === 0 ? 'The text is empty.'
    : `${name}: ${bytes.length.toLocaleString('en')} bytes${note ? `; ${note}` : valid ? '' : '; not UTF-8 text: it is read as bytes all the same, and bytes that cannot be shown appear as �'}.`;
  showError('');
  restart();
}

// A file's bytes; null, and a message, if the browser cannot read it (a folder, a deleted file).
async function fileBytes(file) {
  try {
    return new Uint8Array(await file.arrayBuffer());
  } catch (error) {
    showError(`${file.name}: the browser cannot read it: ${error.message}`);
    return null;
  }
}

async function ownFile(file) {
  const bytes = file && await fileBytes(file);
  if (!bytes) return;
  $('own-text').value = '';
  const [a, b] = bytes, wide = a === 0xff && b === 0xfe ? 'utf-16le' : a === 0xfe && b === 0xff ? 'utf-16be' : '';
  if (wide) setOwn(new TextEncoder().encode(new TextDecoder(wide).decode(bytes)), file.name, 'UTF-16, turned into UTF-8');
  else setOwn(bytes, file.name);
}

async function loadModel(file) {
  const bytes = await fileBytes(file);
  if (!bytes) return;
  const m = newModel('S', {bytes});             // its layers are known when it is open
  try {
    m.letters = (await m.open()).letters;
  } catch (error) {
    m.close();
    showError(error.message.replace('loaded/model.safetensors', file.name)
      .replace('expected a folder that a run with --out wrote', 'expected a model that this page or train_attnvar saved'));
    return;
  }
  showError('');
  m.config.layers = m.letters.length;
  lab.models.push(m);
  buildTable();
  try {
    await m.check();
    say(`${file.name} is loaded: its validation loss on this task is ${shown(m.loss)}.`);
  } catch (error) {
    if (error.message !== 'closed') m.fail(error);
  }
  drawSoon();
}

function download(name, content, type) {
  const a = document.createElement('a');
  a.href = URL.createObjectURL(new Blob([content], {type}));
  a.download = name;
  a.click();
  setTimeout(() => URL.revokeObjectURL(a.href), 10000);
}

async function saveModel(m) {
  if (!m.worker) {
    say(`This model ${m.error ? 'could not be trained' : 'has not started yet'}, so there is nothing to save.`);
    return null;
  }
  const answer = await m.query('save');
  if (answer) {
    download(`attnvar-${m.letters}-step${m.step}.safetensors`, answer.bytes, 'application/octet-stream');
    say(`Saved ${m.letters} after step ${m.step}: train_attnvar reads it with --init, as does this page.`);
  }
  return answer && answer.bytes;
}

function setLetter(i, layer, letter) {
  const letters = [...lab.models[i].letters];
  letters[layer] = letter;
  lab.models[i].close();
  lab.models[i] = newModel(letters.join(''));
  buildTable();
  saveHash();
  $('models').querySelector(`tr[data-model="${i}"] button[data-layer="${layer}"]`).focus();
  scheduler.next();
}

function setUpLab() {
  $('lab-form').addEventListener('change', (event) => {
    const {name, id, value} = event.target;
    if (name === 'task') change({task: value});
    if (id === 'size') change({size: value});
    if (id === 'unit') change({unit: value});
    const entered = (key, x, expected) => {
      if (x !== undefined) return change({[key]: x});
      fillForm();
      showError(`${event.target.closest('label').firstChild.textContent.trim()}: expected ${expected}; the value before is kept.`);
    };
    if (id === 'steps') entered('steps', wholeNumber(value, 1, 1000000), 'a whole number from 1 to 1,000,000');
    if (id === 'seed') entered('seed', wholeNumber(value, 0, Number.MAX_SAFE_INTEGER), 'a whole number, 0 or more');
    if (id === 'rate') entered('rate', Number(value) > 0 && Number(value) <= 1 ? Number(value) : undefined, 'a number above 0, at most 1');
    if (id === 'own-text') setOwn(new TextEncoder().encode(value), 'Your text');
    if (id === 'own-file') ownFile(event.target.files[0]);
  });
  // a text too long for a text field goes straight to the models
  $('own-text').addEventListener('paste', (event) => {
    const text = event.clipboardData.getData('text');
    if (text.length < 300000) return;
    event.preventDefault();
    $('own-text').value = '';
    setOwn(new TextEncoder().encode(text), 'Your text');
  });
  const box = $('own-box');
  box.addEventListener('dragover', (event) => { event.preventDefault(); box.classList.add('drop'); });
  box.addEventListener('dragleave', () => box.classList.remove('drop'));
  box.addEventListener('drop', (event) => {
    event.preventDefault();
    box.classList.remove('drop');
    const file = event.dataTransfer.files[0];
    if (file) ownFile(file);
    else setOwn(new TextEncoder().encode(event.dataTransfer.getData('text')), 'Your text');
  });
  // elsewhere a dropped file would replace the page, and its models would be lost
  window.addEventListener('dragover', (event) => event.preventDefault());
  window.addEventListener('drop', (event) => {
    if (event.defaultPrevented || /^(INPUT|TEXTAREA)$/.test(event.target.tagName)) return;
    event.preventDefault();
    showError('To train on a file, choose “A text of my own” and drop it on the field that appears.');
  });
  window.addEventListener('beforeunload', (event) => {
    if (navigator.userActivation && !navigator.userActivation.hasBeenActive) return;     // nobody started it
    if ([...scheduler.groups].some((g) => g.running && g.models.some((m) => m.step && !m.finished))) event.preventDefault();
  });
  document.querySelector('.presets').addEventListener('click', (event) => {
    const preset = event.target.dataset.preset;
    if (!preset) return;
    const n = SIZES[lab.size].layers;
    showError('');
    if (preset !== 'own') setModels(PRESETS[preset](n));
    else {
      lab.models.push(newModel(repeated('NS', n)));
      buildTable();
      saveHash();
      $('models').querySelector('tbody tr:last-child .letters button').focus();
    }
  });
  $('load').addEventListener('change', (event) => {
    const file = event.target.files[0];
    event.target.value = '';
    if (file) loadModel(file);
  });
  $('play').addEventListener('click', () => lab.running ? stop('Paused.') : play());
  $('one-step').addEventListener('click', oneStep);
  $('reset').addEventListener('click', () => { showError(''); restart(); say('All models start again from step 0.'); });
  $('zoom').addEventListener('change', (event) => { lab.zoom = event.target.checked; saveHash(); drawSoon(); });
  const table = $('models');
  table.addEventListener('click', (event) => {
    const button = event.target.closest('button'), row = event.target.closest('tr[data-model]');
    if (!button || !row) return;
    const i = Number(row.dataset.model), m = lab.models[i];
    if (button.dataset.letter) setLetter(i, Number(button.dataset.layer), LETTERS[(LETTERS.indexOf(button.dataset.letter) + 1) % LETTERS.length]);
    if (button.dataset.act === 'save') saveModel(m);
    if (button.dataset.act === 'remove') {
      m.close();
      lab.models.splice(i, 1);
      showError('');
      buildTable();
      saveHash();
    }
  });
  table.addEventListener('keydown', (event) => {
    const button = event.target.closest('button[data-letter]'), letter = event.key.toUpperCase();
    if (!button || !byLetter[letter] || event.ctrlKey || event.altKey || event.metaKey) return;
    event.preventDefault();
    setLetter(Number(button.closest('tr').dataset.model), Number(button.dataset.layer), letter);
  });
  let hiddenAt = 0, stepsThen = 0;
  const allSteps = () => lab.models.reduce((sum, m) => sum + m.step, 0);
  document.addEventListener('visibilitychange', () => {
    if (document.hidden) hiddenAt = lab.running ? performance.now() : 0, stepsThen = allSteps();
    else if (hiddenAt) {
      const seconds = Math.round((performance.now() - hiddenAt) / 1000), steps = allSteps() - stepsThen;
      if (seconds > 2) say(steps ? `Training went on in the background: ${steps} steps in ${seconds} s.` : `The browser paused this page in the background for ${seconds} s; training goes on now.`);
      drawSoon();
    }
  });
  new ResizeObserver(drawSoon).observe($('curves'));
}
