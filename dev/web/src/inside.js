// inside.js: attention maps of two models on a sentence, their indicators, and the text they write.

const look = {sentence: '', layer: 0, head: 0, row: -1, column: -1, pair: [0, 1], answers: [null, null], at: 0, pending: false};
const writing = {prompt: 'It was ', temperature: 0.8};
const MOST_SHOWN = 48;

function lookDefaults() {
  look.sentence = lab.task === 'recall' ? recallExample(lab.size).join(' ') : 'It was so very kind of you, my dear.';
  look.row = look.column = -1;
  $('sentence').value = look.sentence;
}

// The sentence as tokens; only what the model's vocabulary and length allow.
function sentenceTokens(m) {
  let tokens;
  if (lab.task === 'recall') {
    const vocab = m.info ? m.info.vocab : 32;
    tokens = (look.sentence.match(/\d+/g) || []).map(Number).filter((x) => x < vocab);
  } else tokens = encode(look.sentence, lab.unit);
  return tokens.slice(0, Math.min(MOST_SHOWN, m.info ? m.info.seq : MOST_SHOWN));
}

function lookChoices() {
  const layers = Math.max(1, ...lab.models.map((m) => m.letters.length));
  const heads = Math.max(1, ...lab.models.map((m) => m.info ? m.info.heads : SIZES[lab.size].heads));
  look.layer = Math.min(look.layer, layers - 1);
  look.head = Math.min(look.head, heads - 1);
  $('look-layer').innerHTML = Array.from({length: layers}, (_, l) => `<option value="${l}">${l + 1}</option>`).join('');
  $('look-head').innerHTML = Array.from({length: heads}, (_, h) => `<option value="${h}">${h + 1}</option>`).join('');
  $('look-layer').value = look.layer;
  $('look-head').value = look.head;
  look.pair = look.pair.map((i, side) => i < lab.models.length ? i : Math.min(side, Math.max(0, lab.models.length - 1)));
  look.answers = [null, null];
  $('maps').innerHTML = [0, 1].map((side) => `<div class="map" data-side="${side}">
    <label class="field">Model <select aria-label="Model of the ${side ? 'second' : 'first'} map">${lab.models.map((m, i) =>
      `<option value="${i}"${i === look.pair[side] ? ' selected' : ''}>${m.letters}: ${escapeHtml(nameOf(m.letters))}</option>`).join('')}</select></label>
    <div class="picture"></div><div class="detail"></div></div>`).join('');
  insideSoon(true);
}

let insideVisible = true;
function insideSoon(now) {
  if (look.pending || (!now && (!insideVisible || performance.now() - look.at < 600))) {
    if (now) look.again = true;
    return;
  }
  refreshInside();
}

async function refreshInside() {
  look.pending = true;
  look.again = false;
  const asked = look.pair.map((i) => lab.models[i]);
  const answers = await Promise.all(asked.map(async (m) => {
    if (!m || !m.worker || m.error) return null;
    await m.ready.catch(() => {});
    if (!m.info) return null;
    const tokens = sentenceTokens(m), kind = m.letters[look.layer];
    const answer = tokens.length && kind ? await m.query('look', {tokens, layer: look.layer, head: Math.min(look.head, m.info.heads - 1), hasMap: kind !== 'M'}) : null;
    return answer && {...answer, tokens, kind, letters: m.letters};
  }));
  look.pending = false;
  look.at = performance.now();
  if (asked.every((m, side) => lab.models[look.pair[side]] === m)) look.answers = answers;
  drawMaps();
  if (look.again) refreshInside();
}

const labelOf = (id) => tokenLabel(id, lab.unit);

function drawMaps() {
  const n = Math.max(0, ...look.answers.map((a) => a ? a.tokens.length : 0));
  $('look-row').max = Math.max(0, n - 1);
  // at first the last position, or the first question of recall
  if (look.row < 0 || look.row >= n) look.row = lab.task === 'recall' ? Math.min(n - 1, lab.size === 'recall' ? 12 : 16) : n - 1;
  $('look-row').value = Math.max(0, look.row);
  $('look-column').max = Math.max(0, look.row);
  $('look-column').value = look.column;
  $('look-column').setAttribute('aria-valuetext', look.column < 0 ? 'the largest weight' : `position ${look.column + 1}`);
  const says = [];
  [0, 1].forEach((side) => {
    const panel = $('maps').children[side], a = look.answers[side], m = lab.models[look.pair[side]];
    if (!panel) return;
    const picture = panel.querySelector('.picture'), detail = panel.querySelector('.detail');
    const nothing = (text) => { picture.innerHTML = `<p class="nothing">${text}</p>`; detail.innerHTML = ''; says.push(text); };
    if (!m) return nothing('Choose a list of models in the laboratory.');
    if (m.error) return nothing('This model could not be trained.');
    if (!a) return nothing(m.worker ? 'The sentence is empty.' : 'Press play or “One step” in the laboratory: then there is a map to see.');
    if (a.kind === 'M') return nothing(`Layer ${look.layer + 1} is mlp: it has no map. No position sees another.`);
    if (!a.map) return nothing('This model has no such layer.');
    let canvas = picture.querySelector('canvas');
    if (!canvas) {
      picture.innerHTML = '<canvas role="img"></canvas>';
      canvas = picture.firstChild;
    }
    paintMap(canvas, a);
    detail.innerHTML = rowDetail(a);
    canvas.setAttribute('aria-label', `Attention map of ${a.letters}, layer ${look.layer + 1}, head ${look.head + 1}, ${a.n} positions. ${rowSays(a)}`);
    says.push(`${a.letters}: ${rowSays(a)}`);
  });
  $('look-row').setAttribute('aria-valuetext', says.join(' '));
}

function rowSays(a) {
  const i = look.row;
  if (i >= a.n) return '';
  const best = Array.from({length: i + 1}, (_, j) => j).sort((x, y) => a.map[i * a.n + y] - a.map[i * a.n + x]).slice(0, 3);
  return `Position ${i + 1}, “${labelOf(a.tokens[i])}”, takes most from ` +
    best.map((j) => `“${labelOf(a.tokens[j])}” at ${j + 1} (${a.map[i * a.n + j].toFixed(2)})`).join(', ') + '.';
}

function geometry(canvas, n, tokens) {
  const width = canvas.clientWidth || 320, long = Math.max(...tokens.map((t) => [...labelOf(t)].length));
  const margin = Math.min(width * 0.3, 12 + 8 * long), cell = (width - margin - 2) / n;
  return {width, margin, cell, height: margin + cell * n + 2};
}

function paintMap(canvas, a) {
  const g = geometry(canvas, a.n, a.tokens), ratio = window.devicePixelRatio || 1, css = getComputedStyle(document.documentElement);
  const ink = css.getPropertyValue('--ink').trim(), color = css.getPropertyValue('--map').trim(), accent = css.getPropertyValue('--M').trim();
  canvas.style.height = `${g.height}px`;
  canvas.width = Math.round(g.width * ratio);
  canvas.height = Math.round(g.height * ratio);
  const c = canvas.getContext('2d');
  c.scale(ratio, ratio);
  c.fillStyle = `rgba(${color}, .05)`;
  for (let i = 0; i < a.n; i++) c.fillRect(g.margin, g.margin + i * g.cell, (i + 1) * g.cell, g.cell);
  for (let i = 0; i < a.n; i++) {
    for (let j = 0; j <= i; j++) {
      c.fillStyle = `rgba(${color}, ${Math.sqrt(Math.min(1, a.map[i * a.n + j])).toFixed(3)})`;
      c.fillRect(g.margin + j * g.cell, g.margin + i * g.cell, g.cell - (g.cell > 6 ? 0.6 : 0), g.cell - (g.cell > 6 ? 0.6 : 0));
    }
  }
  const single = a.tokens.every((t) => [...labelOf(t)].length === 1), size = Math.max(8, Math.min(single ? 17 : 13, g.cell * 0.85));
  c.font = `${size}px ui-monospace, Consolas, monospace`;
  c.textBaseline = 'middle';
  const every = Math.max(1, Math.ceil(8 / g.cell));
  a.tokens.forEach((t, i) => {
    if (i % every && i !== look.row) return;
    const text = labelOf(t), middle = g.margin + (i + 0.5) * g.cell;
    c.fillStyle = i === look.row ? accent : ink;
    c.textAlign = 'right';
    c.fillText(text, g.margin - 4, middle, g.margin - 4);
    c.fillStyle = i === look.column ? accent : ink;
    c.save();
    c.translate(middle, g.margin - 4);
    if ([...text].length > 1) {
      c.rotate(-Math.PI / 2);
      c.textAlign = 'left';
      c.fillText(text, 0, 0, g.margin - 4);
    } else {
      c.textAlign = 'center';
      c.fillText(text, 0, -size / 2);
    }
    c.restore();
  });
  if (look.row < a.n) {
    c.strokeStyle = accent;
    c.lineWidth = 1.5;
    c.strokeRect(g.margin - 0.5, g.margin + look.row * g.cell - 0.5, (look.row + 1) * g.cell + 0.5, g.cell + 0.5);
    if (look.column >= 0 && look.column <= look.row) c.strokeRect(g.margin + look.column * g.cell - 0.5, g.margin + look.row * g.cell - 0.5, g.cell + 0.5, g.cell + 0.5);
  }
}

// The weights of the chosen row, and how one of them is made.
function rowDetail(a) {
  const i = look.row;
  if (i >= a.n) return '';
  const weight = (j) => a.map[i * a.n + j];
  let j = look.column >= 0 && look.column <= i ? look.column : 0;
  if (look.column < 0 || look.column > i) for (let t = 1; t <= i; t++) if (weight(t) > weight(j)) j = t;
  const bars = a.tokens.slice(0, i + 1).map((t, p) => `<span class="${p === i ? 'query' : ''}" title="${weight(p).toFixed(4)}">` +
    `<i style="--c:rgb(var(--map));height:${(40 * Math.sqrt(weight(p))).toFixed(1)}px"></i><b>${escapeHtml(labelOf(t))}</b></span>`).join('');
  const x = a.scores[i * a.n + j], f = (y) => a.kind === 'A' ? 1 + y + y * y / 2 : Math.exp(y);
  let sum = 0;
  for (let t = 0; t <= i; t++) sum += f(a.scores[i * a.n + t]);
  const score = a.kind === 'N' ? `s<sub>${j + 1}</sub> = SiLU(q<sub>${j + 1}</sub>) · k<sub>${j + 1}</sub> / √dh` : `x = q<sub>${i + 1}</sub> · k<sub>${j + 1}</sub> / √dh`;
  const form = a.kind === 'A' ? '1 + x + x²/2' : a.kind === 'N' ? 'exp(s)' : 'exp(x)';
  const same = 'RF'.includes(a.kind) ? ' This map is the same for every text: type another sentence and see.' : '';
  return `<div class="weights" aria-hidden="true">${bars}</div><p class="arithmetic">Position ${i + 1} “${escapeHtml(labelOf(a.tokens[i]))}” looks at ${j + 1} “${escapeHtml(labelOf(a.tokens[j]))}”: ` +
    `${score} = ${x.toFixed(3)}; ${form} = ${f(x).toFixed(3)}; the row's sum is ${sum.toFixed(3)}; weight ${f(x).toFixed(3)} / ${sum.toFixed(3)} = <b>${(f(x) / sum).toFixed(3)}</b>.${same}</p>`;
}

// ---- indicators --------------------------------------------------------------------------------

const INDICATORS = [['Entropy', 0], ['Sink', 3], ['Local focus', 5]];     // places in inspect_attnvar's list
function drawSparks() {
  const models = [...new Set(look.pair)].map((i) => lab.models[i]).filter(Boolean);
  const xMax = Math.max(1, ...models.map((m) => m.total));
  const letter = parseFloat(getComputedStyle(document.body).fontSize) / 16, columns = getComputedStyle($('sparks')).gridTemplateColumns.split(' ');
  const width = Math.max(220, ((parseFloat(columns[0]) || 316) - 16) / letter);
  $('sparks').innerHTML = INDICATORS.map(([name, place]) => {
    const curves = models.map((m) => ({letters: m.letters, points: m.checks.map((c) => [c.step, (c.indicators[look.layer] || [])[place]]).filter((p) => Number.isFinite(p[1]))}));
    const says = curves.map((c) => `${c.letters} ${c.points.length ? c.points[c.points.length - 1][1].toFixed(2) : 'none yet'}`).join(', ');
    return `<figure><figcaption><span><b>${name}</b>, layer ${look.layer + 1}<br>${says}</span></figcaption>${spark(curves, xMax, `${name} in layer ${look.layer + 1}: ${says}`, width)}</figure>`;
  }).join('');
}

// ---- text --------------------------------------------------------------------------------------

function buildSamples() {
  const recall = lab.task === 'recall';
  $('samples').innerHTML = recall ? '<p class="hint">The recall task has no text to write: its tokens are keys and values.</p>'
    : lab.models.map((m, i) => `<div class="sample" data-sample="${i}" style="--c:${styleOf(m.letters).color}"><h3>${markSvg(m.letters)} ${m.letters} <span class="hint"></span></h3><p></p></div>`).join('');
  lab.models.forEach(showSample);
}

function showSample(m) {
  const box = $('samples').querySelector(`[data-sample="${lab.models.indexOf(m)}"]`);
  if (!box) return;
  box.querySelector('.hint').textContent = m.sample ? `after step ${m.sampleStep}` : 'nothing yet: its first text comes with the first validation';
  box.querySelector('p').innerHTML = m.sample ? `<mark>${escapeHtml(m.samplePrompt)}</mark>${escapeHtml(m.sample)}` : '';
}

// The model's next text; after each validation.
async function write(m) {
  if (lab.task === 'recall') return;
  const prompt = encode(writing.prompt || '\n', lab.unit).slice(-32);
  const answer = await m.ask('sample', {prompt, n: 160, temperature: writing.temperature, seed: lab.seed});
  const rest = answer.tokens.slice(prompt.length);
  m.samplePrompt = decodeTokens(prompt);
  m.sample = decodeTokens(rest).replace(/[\u0000-\u0009\u000b-\u001f\u007f]/g, '\ufffd');
  m.sampleStep = m.step;
  showSample(m);
}

function setUpInside() {
  $('sentence').addEventListener('input', (event) => {
    look.sentence = event.target.value;
    look.row = look.column = -1;
    const n = lab.task === 'recall' ? 0 : encode(look.sentence, lab.unit).length;
    $('sentence-says').textContent = n > MOST_SHOWN ? `Only the first ${MOST_SHOWN} of ${n} positions are shown.` : '';
    insideSoon(true);
    saveHash();
  });
  $('look-layer').addEventListener('change', (event) => { look.layer = Number(event.target.value); insideSoon(true); drawSparks(); saveHash(); });
  $('look-head').addEventListener('change', (event) => { look.head = Number(event.target.value); insideSoon(true); saveHash(); });
  $('look-row').addEventListener('input', (event) => { look.row = Number(event.target.value); look.column = -1; drawMaps(); });
  $('look-column').addEventListener('input', (event) => { look.column = Number(event.target.value); drawMaps(); });
  const maps = $('maps');
  maps.addEventListener('change', (event) => {
    look.pair[Number(event.target.closest('.map').dataset.side)] = Number(event.target.value);
    insideSoon(true);
    drawSparks();
    saveHash();
  });
  const point = (event) => {
    if (event.target.tagName !== 'CANVAS') return;
    const a = look.answers[Number(event.target.closest('.map').dataset.side)];
    if (!a || !a.map) return;
    const g = geometry(event.target, a.n, a.tokens), box = event.target.getBoundingClientRect();
    const i = Math.floor((event.clientY - box.top - g.margin) / g.cell), j = Math.floor((event.clientX - box.left - g.margin) / g.cell);
    if (i < 0 || i >= a.n || (i === look.row && j === look.column)) return;
    look.row = i;
    look.column = j >= 0 && j <= i ? j : -1;
    drawMaps();
  };
  maps.addEventListener('pointermove', point);
  maps.addEventListener('pointerdown', point);
  new IntersectionObserver((entries) => { 
    insideVisible = entries[entries.length - 1].isIntersecting;
    if (insideVisible) insideSoon(true);                // the models may have trained on since
  }).observe($('inside'));
  $('prompt').addEventListener('input', (event) => { writing.prompt = event.target.value; saveHash(); });
  $('temperature').addEventListener('change', (event) => {
    const t = Number(event.target.value);
    writing.temperature = t >= 0.1 && t <= 2 ? t : 0.8;
    event.target.value = writing.temperature;
    saveHash();
  });
  $('write-now').addEventListener('click', () => {
    for (const m of lab.models) if (m.worker && m.info) write(m).catch((error) => { if (error.message !== 'closed') m.fail(error); });
    if (!lab.models.some((m) => m.worker)) say('Press play first: no model has started.');
  });
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', drawMaps);
  new ResizeObserver(() => { drawMaps(); drawSparks(); }).observe(maps);
}
