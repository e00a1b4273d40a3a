// share.js: the configuration in the address; results as CSV, and those of a class.

let hashNow = '';
const MOST_MODELS = 40;         // that an address may ask for
function makeHash() {
  const p = new URLSearchParams();
  p.set('task', lab.task);
  if (lab.task !== 'recall') p.set('unit', lab.unit);
  for (const key of ['size', 'steps', 'rate', 'seed']) p.set(key, lab[key]);
  p.set('models', lab.models.filter((m) => !m.config.weights).map((m) => m.letters).join('.'));
  if (lab.zoom) p.set('zoom', '1');
  p.set('layer', look.layer + 1);
  p.set('head', look.head + 1);
  p.set('pair', look.pair.map((i) => i + 1).join('.'));
  p.set('sentence', look.sentence);
  p.set('prompt', writing.prompt);
  p.set('temperature', writing.temperature);
  return '#' + p.toString();
}

function saveHash() {
  const hash = makeHash();
  if (hash === hashNow) return;
  hashNow = hash;
  try {
    history.replaceState(null, '', hash);
  } catch (error) {
    location.replace(hash);
  }
}

// Sets everything from the address; what it does not say stays as it is by default. Returns what
// could not be understood.
function readHash(hash) {
  const p = new URLSearchParams(hash.replace(/^#/, '')), wrong = [];
  const allowed = (key, check) => {
    if (!p.has(key)) return undefined;
    const value = check(p.get(key));
    if (value === undefined) wrong.push(`${key}=${p.get(key)}`);
    return value;
  };
  const integer = (low, high) => (text) => wholeNumber(text, low, high, undefined);
  const task = allowed('task', (t) => ['text', 'recall', 'own'].includes(t) ? t : undefined) || 'text';
  const size = allowed('size', (t) => Object.hasOwn(SIZES, t) && (SIZES[t].task === 'recall') === (task === 'recall') ? t : undefined);
  configure({task, size: size || (task === 'recall' ? 'recall' : 'quick')});
  const s = SIZES[lab.size];
  configure({
    unit: allowed('unit', (t) => t === 'bytes' || (t === 'tokens' && haveTokens && task === 'text') ? t : undefined) || 'bytes',
    steps: allowed('steps', integer(1, 1000000)) || s.steps,
    rate: allowed('rate', (t) => Number(t) > 0 && Number(t) <= 1 ? Number(t) : undefined) || s.rate,
    seed: allowed('seed', integer(0, Number.MAX_SAFE_INTEGER)) ?? 1,
    zoom: p.get('zoom') === '1',
  });
  const models = (allowed('models', (t) => t) ?? PRESETS.alone(s.layers).join('.')).split('.').filter(Boolean);
  const fits = models.filter((letters) => letters.length === s.layers && [...letters].every((l) => byLetter[l])), good = fits.slice(0, MOST_MODELS);
  for (const letters of models) if (!fits.includes(letters)) wrong.push(`model ${letters}`);
  if (fits.length > MOST_MODELS) wrong.push(`${fits.length - MOST_MODELS} models after the first ${MOST_MODELS}`);
  lookDefaults();
  look.layer = (allowed('layer', integer(1, s.layers)) || 1) - 1;
  look.head = (allowed('head', integer(1, s.heads)) || 1) - 1;
  look.pair = (allowed('pair', (t) => /^\d+\.\d+$/.test(t) ? t : undefined) || (lab.task === 'recall' ? '1.5' : '1.3')).split('.').map((x) => Math.max(0, x - 1));
  look.sentence = allowed('sentence', (t) => t) ?? look.sentence;
  writing.prompt = allowed('prompt', (t) => t) ?? 'It was ';
  writing.temperature = allowed('temperature', (t) => Number(t) >= 0.1 && Number(t) <= 2 ? Number(t) : undefined) || 0.8;
  $('sentence').value = look.sentence;
  $('prompt').value = writing.prompt;
  $('temperature').value = writing.temperature;
  setModels(good);
  return wrong;
}

// ---- CSV ---------------------------------------------------------------------------------------

const CSV = ['who', 'task', 'unit', 'size', 'steps', 'rate', 'seed', 'layers', 'step', 'done', 'val_loss', 'val_accuracy',
  'skip_blocks', 'skip_mixers', 'tokens_per_second'];

// Tells texts apart, so that results on different ones are never averaged.
function checksum(bytes) {
  let h = 2166136261;
  for (const b of bytes) h = Math.imul(h ^ b, 16777619);
  return (h >>> 0).toString(16);
}

const csvField = (text) => /[",\n\r;]/.test(text) ? `"${String(text).replace(/"/g, '""')}"` : String(text);
const csvNumber = (x) => Number.isFinite(x) ? String(Number(x.toPrecision(7))) : '';

function resultsCsv() {
  const who = $('who').value.trim(), lines = [CSV.join(',')];
  for (const m of lab.models) {
    if (!m.step || m.error || m.config.weights) continue;
    const c = m.config, task = c.task === 'own' ? `own-${checksum(lab.own)}` : c.task;
    lines.push([who, task, c.unit, c.size, c.steps, c.rate, c.seed, m.letters, m.step, m.done ? 1 : 0, csvNumber(m.loss), csvNumber(m.accuracy),
      csvNumber(m.skipBlocks), csvNumber(m.skipMixers), csvNumber(Math.round(m.rate))].map(csvField).join(','));
  }
  return lines.join('\n') + '\n';
}

// RFC 4180: fields with commas stand in quotes; lines end in any way. No field has a line break here,
// so a quote that is left open spoils one line. Spreadsheets also write semicolons, and their copied
// cells have tabs between them: the heading tells.
function parseCsv(text) {
  const between = (text.match(/^\ufeff?"?who"?([;\t])/m) || ['', ','])[1], rows = [[]];
  let field = '', quoted = false;
  const end = () => { rows[rows.length - 1].push(field); field = ''; };
  for (let i = 0; i < text.length; i++) {
    const c = text[i];
    if (quoted && c !== '\n' && c !== '\r') {
      if (c !== '"') field += c;
      else if (text[i + 1] === '"') field += '"', i++;
      else quoted = false;
    } else if (c === '"' && field === '') quoted = true;
    else if (c === between) end();
    else if (c === '\n' || c === '\r') {
      if (c === '\r' && text[i + 1] === '\n') i++;
      quoted = false;
      end();
      rows.push([]);
    } else field += c;
  }
  end();
  return rows;
}

// The runs of a class in groups of one setting and one list of layers.
function classResults(text) {
  const groups = new Map(), seen = new Set(), wrong = [];
  let runs = 0, repeated = 0, unfinished = 0;
  parseCsv(text).forEach((row, i) => {
    if (row.join('').trim() === '' || row[0].replace(/^\ufeff/, '') === CSV[0]) return;
    const r = Object.fromEntries(CSV.map((name, c) => [name, row[c]]));
    // a comma as the decimal point, in countries where it is
    for (const name of ['rate', ...CSV.slice(CSV.indexOf('val_loss'))]) r[name] = (r[name] || '').trim().replace(',', '.');
    const loss = Number(r.val_loss), accuracy = Number(r.val_accuracy);
    if (row.length !== CSV.length || !r.layers || [...r.layers].some((l) => !byLetter[l]) || r.val_loss === '' || (r.task === 'recall' && r.val_accuracy === '') || !Number.isFinite(loss) || !Number.isFinite(accuracy)) {
      wrong.push(i + 1);
      return;
    }
    if (r.done !== '1') return void unfinished++;
    const setting = [r.task, r.unit, r.size, r.steps, r.rate].join(', '), key = `${setting}, ${r.layers}, ${r.seed}`;
    if (seen.has(key)) return void repeated++;
    seen.add(key);
    runs++;
    if (!groups.has(setting)) groups.set(setting, {setting, recall: r.task === 'recall', size: r.size, task: r.task, unit: r.unit, steps: r.steps, rate: r.rate, by: new Map()});
    const by = groups.get(setting).by;
    if (!by.has(r.layers)) by.set(r.layers, {letters: r.layers, values: [], skips: []});
    by.get(r.layers).values.push(r.task === 'recall' ? accuracy : loss);
    if (r.skip_blocks !== '') by.get(r.layers).skips.push(Number(r.skip_blocks));
  });
  for (const g of groups.values()) {
    g.rows = [...g.by.values()].map((x) => ({...x, ...meanOf(x.values), skip: x.skips.length ? meanOf(x.skips).mean : NaN}));
    g.rows.sort((a, b) => g.recall ? b.mean - a.mean : a.mean - b.mean);
  }
  return {groups: [...groups.values()], runs, repeated, unfinished, wrong};
}

// The standard error of the mean: the deviation with n - 1, over the root of n.
function meanOf(values) {
  const n = values.length, mean = values.reduce((s, x) => s + x, 0) / n;
  const error = n > 1 ? Math.sqrt(values.reduce((s, x) => s + (x - mean) ** 2, 0) / (n - 1) / n) : NaN;
  return {n, mean, error};
}

function showClass() {
  const text = $('class-csv').value, c = classResults(text), parts = [];
  if (!text.trim()) {
    $('class-says').textContent = '';
    $('class-results').innerHTML = '';
    return;
  }
  if (c.wrong.length && !c.runs && !c.repeated && !c.unfinished) {
    $('class-says').textContent = `This is not CSV from this page: no line has the columns ${CSV.join(', ')}.`;
    $('class-results').innerHTML = '';
    return;
  }
  parts.push(`${c.runs} run${c.runs === 1 ? '' : 's'}.`);
  if (c.repeated) parts.push(`${c.repeated} had the seed and settings of a run already counted: it is the same run, so it counts once. Choose different seeds.`);
  if (c.unfinished) parts.push(`${c.unfinished} not finished, so not counted.`);
  if (c.wrong.length) parts.push(`Left out, because not understood: line ${c.wrong.slice(0, 8).join(', ')}${c.wrong.length > 8 ? ' and more' : ''}; expected the columns ${CSV.join(', ')}.`);
  $('class-says').textContent = parts.join(' ');
  $('class-results').innerHTML = c.groups.map((g) => {
    const all = g.rows.flatMap((r) => r.values), low = Math.min(...all), high = Math.max(...all), pad = Math.max(0.02, 0.08 * (high - low));
    return `<h3>${escapeHtml(g.task)}${g.recall ? '' : `, ${escapeHtml(g.unit)}`}, size ${escapeHtml(g.size)}, ${escapeHtml(g.steps)} steps, learning rate ${escapeHtml(g.rate)}</h3>
      <div class="class-plot">${errorBars(g.rows, Math.max(0, low - pad), high + pad, g.recall ? 'validation accuracy' : 'validation loss')}</div>
      <div class="table-wrap" tabindex="0" role="region" aria-label="Means and standard errors"><table><thead><tr><th scope="col">Model</th><th scope="col">Runs</th><th scope="col">Mean ${g.recall ? 'accuracy' : 'loss'}</th>
      <th scope="col">Standard error</th><th scope="col">Simple blocks skipped (loss)</th></tr></thead><tbody>${g.rows.map((r) => `<tr><td>${markSvg(r.letters)} ${r.letters} ${escapeHtml(nameOf(r.letters))}</td>
      <td>${r.n}</td><td>${shown(r.mean)}</td><td>${shown(r.error)}</td><td>${shown(r.skip)}</td></tr>`).join('')}</tbody></table></div>`;
  }).join('');
}

function setUpShare() {
  $('copy-csv').addEventListener('click', async () => {
    const csv = resultsCsv(), n = csv.trim().split('\n').length - 1;
    try {
      await navigator.clipboard.writeText(csv);
    } catch (error) {                           // a page opened from a file may not have the clipboard
      const area = document.createElement('textarea');
      area.value = csv;
      document.body.append(area);
      area.select();
      document.execCommand('copy');
      area.remove();
    }
    $('csv-says').textContent = n ? `${n} result${n > 1 ? 's' : ''} copied.` : 'No model has been trained yet.';
  });
  $('save-csv').addEventListener('click', () => download(`attnvar-seed${lab.seed}.csv`, resultsCsv(), 'text/csv'));
  $('class-csv').addEventListener('input', showClass);
  $('class-mine').addEventListener('click', () => {
    const area = $('class-csv');
    area.value += (area.value && !area.value.endsWith('\n') ? '\n' : '') + resultsCsv();
    showClass();
  });
  $('class-clear').addEventListener('click', () => { $('class-csv').value = ''; showClass(); });
  $('class-files').addEventListener('change', async (event) => {
    const input = event.target, area = $('class-csv');
    const read = await Promise.all([...input.files].map(fileBytes));
    input.value = '';                           // so that the same file can be chosen again
    area.value = [area.value, ...read.filter(Boolean).map((bytes) => new TextDecoder().decode(bytes))].filter(Boolean).join('\n');
    showClass();
  });
  window.addEventListener('hashchange', () => {
    if (location.hash === hashNow) return;
    if (document.getElementById(location.hash.slice(1))) {         // a link within the page: keep the configuration
      hashNow = '';
      saveHash();
      return;
    }
    hashNow = location.hash;
    tellWrong(readHash(location.hash));
  });
}

function tellWrong(wrong) {
  if (wrong.length) showError(`The address contains settings that this page does not know; it ignores them: ${wrong.slice(0, 8).map((w) => w.length > 60 ? w.slice(0, 60) + '…' : w).join(', ')}${wrong.length > 8 ? `, and ${wrong.length - 8} more` : ''}.`);
}
