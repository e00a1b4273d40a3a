// draw.js: SVG for the block, the marks, the curves, the axis of a guess, and error bars. Pictures
// have a text beside them or a label that says the same.

const escapeHtml = (text) => String(text).replace(/[&<>"]/g, (c) => ({'&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;'}[c]));

// The colour and shape of a list of layers: its first simple variant's; hollow and dashed if it is
// not the same in all layers.
function styleOf(letters) {
  const simple = [...letters].find((l) => l !== 'S') || 'S', mixed = new Set(letters).size > 1;
  return {color: `var(--${simple})`, shape: byLetter[simple].shape, mixed};
}

function markPath(shape, r) {
  const polygon = (n, turn, inner) => {
    let d = '';
    for (let i = 0; i < (inner ? 2 * n : n); i++) {
      const a = turn + i * Math.PI * 2 / (inner ? 2 * n : n), s = inner && i % 2 ? r * inner : r;
      d += `${i ? 'L' : 'M'}${(s * Math.sin(a)).toFixed(2)} ${(-s * Math.cos(a)).toFixed(2)}`;
    }
    return d + 'Z';
  };
  switch (shape) {
  case 'square': return polygon(4, Math.PI / 4);
  case 'triangle': return polygon(3, 0);
  case 'down': return polygon(3, Math.PI);
  case 'diamond': return polygon(4, 0, undefined);
  case 'cross': return polygon(4, Math.PI / 4, 0.42);
  case 'star': return polygon(5, 0, 0.45);
  default: return polygon(16, 0);
  }
}

function mark(letters, x, y, r) {
  const {color, shape, mixed} = styleOf(letters);
  return `<path d="${markPath(shape, r)}" transform="translate(${x.toFixed(1)} ${y.toFixed(1)})" ` +
    `fill="${mixed ? 'var(--card)' : color}" stroke="${color}" stroke-width="1.8"/>`;
}
const markSvg = (letters) => `<svg class="mark" viewBox="-10 -10 20 20" aria-hidden="true">${mark(letters, 0, 0, 8)}</svg>`;

function nameOf(letters) {
  if (new Set(letters).size === 1) return byLetter[letters[0]].name;
  const even = [...letters].every((l, i) => (i % 2 === 1) === (l === 'S'));
  const simple = [...new Set(letters)].filter((l) => l !== 'S');
  if (even && simple.length === 1) return `${byLetter[simple[0]].name} + standard`;
  return simple.length === 1 ? `${byLetter[simple[0]].name} and standard` : 'a mix';
}

function ticks(low, high, most) {
  const raw = (high - low) / most, power = 10 ** Math.floor(Math.log10(raw));
  const step = power * [1, 2, 5, 10].find((k) => k * power >= raw), out = [];
  for (let x = Math.ceil(low / step) * step; x <= high + 1e-9; x += step) out.push(Math.abs(x) < 1e-9 ? 0 : x);
  return {step, values: out};
}
const tidy = (x, step) => x.toFixed(Math.max(0, Math.ceil(-Math.log10(step) - 1e-9)));
const number = (x, digits) => Number.isFinite(x) ? x.toFixed(digits) : '–';
// At least four digits; a validation loss or accuracy always looks the same.
const shown = (x) => number(x, 4);

// Moves labels apart, from top to bottom; each {y}. They keep their order.
function spread(labels, apart, low, high) {
  labels.sort((a, b) => a.y - b.y);
  labels.forEach((l, i) => { if (i && l.y < labels[i - 1].y + apart) l.y = labels[i - 1].y + apart; });
  let end = high;
  for (let i = labels.length - 1; i >= 0 && labels[i].y > end; i--) labels[i].y = end, end -= apart;
  for (const l of labels) l.y = Math.max(l.y, low);
  return labels;
}

// curves: {letters, points: [[x, y]..], marks: [[x, y]..]}; floors: {name, y, left: its name stands left}.
function chart({curves, floors, xMax, yLow, yHigh, yName, width, height}) {
  const longest = Math.max(2, ...curves.map((c) => Math.min(8, c.letters.length)));
  const left = 48, right = 42 + 11 * longest, top = 14, bottom = 38;
  const X = (x) => left + (width - left - right) * x / xMax;
  const Y = (y) => top + (height - top - bottom) * (yHigh - Math.max(yLow, Math.min(yHigh, y))) / (yHigh - yLow);
  let svg = `<svg class="chart" viewBox="0 0 ${width} ${height}" aria-hidden="true" focusable="false">`;
  const ys = ticks(yLow, yHigh, height / 55), xs = ticks(0, xMax, width / 110);
  for (const y of ys.values) svg += `<line class="axis" x1="${left}" x2="${width - right}" y1="${Y(y)}" y2="${Y(y)}"/>` +
    `<text x="${left - 6}" y="${Y(y) + 4}" text-anchor="end">${tidy(y, ys.step)}</text>`;
  for (const x of xs.values) svg += `<text x="${X(x)}" y="${height - 20}" text-anchor="middle">${x}</text>`;
  svg += `<text x="${(left + width - right) / 2}" y="${height - 4}" text-anchor="middle">steps</text>`;
  svg += `<text x="12" y="${height / 2}" text-anchor="middle" transform="rotate(-90 12 ${height / 2})">${yName}</text>`;
  let names = '';                               // of the floors: over the curves
  for (const f of floors) {
    if (!(f.y >= yLow && f.y <= yHigh)) continue;
    svg += `<line class="floor" x1="${left}" x2="${width - right}" y1="${Y(f.y)}" y2="${Y(f.y)}"/>`;
    names += (f.left ? `<text x="${left + 4}" y="${Y(f.y) - 4}">` : `<text x="${width - right - 4}" y="${Y(f.y) - 4}" text-anchor="end">`) + `${f.name} ${f.y.toFixed(2)}</text>`;
  }
  const labels = [];
  for (const c of curves) {
    const {color, mixed} = styleOf(c.letters);
    if (c.points.length) {
      const d = c.points.map(([x, y], i) => `${i ? 'L' : 'M'}${X(x).toFixed(1)} ${Y(y).toFixed(1)}`).join('');
      svg += `<path class="curve" d="${d}" stroke="${color}"${mixed ? ' stroke-dasharray="7 4"' : ''}/>`;
      const [x, y] = c.points[c.points.length - 1];
      labels.push({y: Y(y), at: Y(y), x: X(x), letters: c.letters, color});
    }
    const every = Math.max(1, Math.ceil(c.marks.length / 8));
    c.marks.forEach(([x, y], i) => {
      if ((c.marks.length - 1 - i) % every === 0) svg += mark(c.letters, X(x), Y(y), 5);
    });
  }
  for (const l of spread(labels, 15, top + 6, height - bottom)) {
    const x = width - right + 16;
    svg += `<line x1="${(l.x + 4).toFixed(1)}" y1="${l.at.toFixed(1)}" x2="${x - 3}" y2="${l.y.toFixed(1)}" stroke="${l.color}" stroke-width=".8" opacity=".35"/>` +
      mark(l.letters, x + 4, l.y, 5) +
      `<text class="label" x="${x + 13}" y="${l.y + 4}" style="fill:${l.color}">${l.letters.length > 8 ? l.letters.slice(0, 7) + '…' : l.letters}</text>`;
  }
  return svg + names + '</svg>';
}

// A small curve for each of some lists of layers, 0 to 1.
function spark(curves, xMax, title, width) {
  const height = 110, end = width - 20, X = (x) => 30 + (end - 30) * x / xMax, Y = (y) => 8 + 78 * (1 - y);
  let svg = `<svg class="chart" viewBox="0 0 ${width} ${height}" role="img" aria-label="${escapeHtml(title)}">`;
  for (const y of [0, 0.5, 1]) svg += `<line class="axis" x1="30" x2="${end}" y1="${Y(y)}" y2="${Y(y)}"/><text x="25" y="${Y(y) + 4}" text-anchor="end">${y}</text>`;
  svg += `<text x="30" y="104">0</text><text x="${end}" y="104" text-anchor="end">${xMax} steps</text>`;
  for (const c of curves) {
    const {color, mixed} = styleOf(c.letters);
    if (!c.points.length) continue;
    svg += `<path class="curve" d="${c.points.map(([x, y], i) => `${i ? 'L' : 'M'}${X(x).toFixed(1)} ${Y(y).toFixed(1)}`).join('')}" stroke="${color}"${mixed ? ' stroke-dasharray="6 4"' : ''}/>`;
    const [x, y] = c.points[c.points.length - 1];
    svg += mark(c.letters, X(x), Y(y), 5);
  }
  return svg + '</svg>';
}

// The axis of a card: floors, the guess, what came out.
function guessAxis({low, high, floors, guess, results, label, width}) {
  const height = results ? 134 : 92, X = (x) => 24 + (width - 48) * (Math.max(low, Math.min(high, x)) - low) / (high - low);
  const base = 40, t = ticks(low, high, 8);
  let svg = `<svg class="chart" viewBox="0 0 ${width} ${height}" role="img" aria-label="${escapeHtml(label)}">`;
  svg += `<line x1="24" x2="${width - 24}" y1="${base}" y2="${base}" stroke="var(--field)" stroke-width="2"/>`;
  for (const x of t.values) svg += `<line class="axis" x1="${X(x)}" x2="${X(x)}" y1="${base - 4}" y2="${base + 4}"/><text x="${X(x)}" y="${base + 24}" text-anchor="middle">${tidy(x, t.step)}</text>`;
  let lastEnd = -Infinity;
  for (const f of [...floors].sort((a, b) => a.y - b.y)) {
    const x = X(f.y), half = f.name.length * 3.6 + 5, up = x - half < lastEnd ? 10 : 24;
    svg += `<line class="floor" x1="${x}" x2="${x}" y1="${up + 3}" y2="${base + 6}"/><text x="${x}" y="${up}" text-anchor="middle">${f.name}</text>`;
    lastEnd = x + half;
  }
  if (results) {
    const row = spread(results.map((r) => ({...r, y: X(r.value)})), Math.min(54, (width - 64) / results.length), 30, width - 34);
    for (const r of row) {
      svg += `<line x1="${X(r.value)}" y1="${base}" x2="${r.y}" y2="${base + 58}" stroke="${styleOf(r.letters).color}"/>` + mark(r.letters, X(r.value), base, 6) +
        `<text class="label" x="${r.y}" y="${base + 70}" text-anchor="middle" style="fill:${styleOf(r.letters).color}">${r.label || r.letters}</text>` +
        `<text x="${r.y}" y="${base + 85}" text-anchor="middle">${r.value.toFixed(2)}</text>`;
    }
  }
  if (Number.isFinite(guess)) svg += `<path d="M${X(guess)} ${base} l-7 12 h14z" fill="var(--accent)"/><text x="${X(guess)}" y="${base + 44}" text-anchor="middle" style="fill:var(--accent);font-weight:700">your guess</text>`;
  return svg + '</svg>';
}

// Means and standard errors of groups {letters, mean, error, n, values}.
function errorBars(groups, low, high, name) {
  const width = 760, row = 30, height = groups.length * row + 50, left = 90, X = (x) => left + (width - left - 30) * (x - low) / (high - low);
  let svg = `<svg class="chart" viewBox="0 0 ${width} ${height}" aria-hidden="true">`;
  const t = ticks(low, high, 8);
  for (const x of t.values) svg += `<line class="axis" x1="${X(x)}" x2="${X(x)}" y1="6" y2="${height - 40}"/><text x="${X(x)}" y="${height - 24}" text-anchor="middle">${tidy(x, t.step)}</text>`;
  svg += `<text x="${(left + width) / 2}" y="${height - 6}" text-anchor="middle">${name}: each dot a run, the mark the mean, the bar its standard error</text>`;
  groups.forEach((g, i) => {
    const y = 20 + i * row, {color} = styleOf(g.letters);
    svg += `<text class="label" x="${left - 10}" y="${y + 4}" text-anchor="end" style="fill:${color}">${g.letters}</text>`;
    for (const v of g.values) svg += `<circle cx="${X(v)}" cy="${y}" r="3" fill="${color}" opacity=".35"/>`;
    if (g.n > 1) svg += `<path d="M${X(g.mean - g.error)} ${y}H${X(g.mean + g.error)}M${X(g.mean - g.error)} ${y - 5}v10M${X(g.mean + g.error)} ${y - 5}v10" stroke="${color}" stroke-width="2" fill="none"/>`;
    svg += mark(g.letters, X(g.mean), y, 6);
  });
  return svg + '</svg>';
}

// The block. A box is a button; the starred ones are what the variants change.
function drawBlock() {
  // a box's name begins with the text that one sees on it
  const name = (id, text) => { const title = BOXES[id][0].replace(/ *\*$/, ''); return title.startsWith(text) ? title : `${text}: ${title}`; };
  const box = (id, x, y, w, text, star) => `<g class="box${star ? ' star' : ''}" data-box="${id}" tabindex="0" role="button" aria-label="${escapeHtml(name(id, text))}">` +
    `<rect x="${x}" y="${y}" width="${w}" height="34" rx="8"/><text x="${x + w / 2}" y="${y + 22}" text-anchor="middle">${text}</text></g>` +
    (star ? `<text class="starred" x="${x + w + 4}" y="${y + 16}">*</text>` : '');
  const wire = (d) => `<path class="wire" d="${d}" marker-end="url(#tip)"/>`;
  return `<svg viewBox="0 0 640 500" aria-label="The block: boxes joined by arrows" role="group">
    <defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto"><path d="M0 0L8 4L0 8z" fill="var(--soft)"/></marker></defs>
    <path class="wire residual" d="M60 46V478"/><text x="72" y="488" style="fill:var(--soft)">to the next block</text>
    ${wire('M62 92H90')}${wire('M216 92H236V92H262')}${wire('M236 92V148H262')}${wire('M236 148V204H262')}
    ${wire('M352 92H400')}${wire('M352 148H376V104H400')}${wire('M480 92H505V134')}${wire('M352 204H505V175')}
    ${wire('M560 155H590V250H354')}${wire('M264 250H72')}
    <circle cx="60" cy="250" r="10" fill="var(--bg)" stroke="var(--accent)" stroke-width="2"/><text x="60" y="255" text-anchor="middle">+</text>
    ${wire('M62 330H90')}${wire('M216 330H262')}${wire('M486 330H505V410H354')}${wire('M264 410H72')}
    <circle cx="60" cy="410" r="10" fill="var(--bg)" stroke="var(--accent)" stroke-width="2"/><text x="60" y="415" text-anchor="middle">+</text>
    ${box('h', 20, 12, 80, 'h')}${box('norm1', 92, 75, 124, 'RMSNorm')}
    ${box('q', 264, 75, 88, 'Wq → q', true)}${box('k', 264, 131, 88, 'Wk → k', true)}${box('v', 264, 187, 88, 'Wv → v')}
    ${box('rope', 402, 75, 78, 'RoPE')}${box('mix', 450, 138, 110, 'mix', true)}
    ${box('wo', 264, 233, 88, 'Wo')}${box('norm2', 92, 313, 124, 'RMSNorm')}
    ${box('gate', 264, 313, 222, 'SiLU(Wgate) * Wup')}${box('down', 264, 393, 88, 'Wdown')}
    <text x="632" y="484" text-anchor="end" style="fill:var(--M)"><tspan class="starred">*</tspan> all that the variants change</text>
  </svg>`;
}
