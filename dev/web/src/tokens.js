// tokens.js: from text to token ids and back. Bytes need nothing; the tokens are made by joining
// pairs of neighbours in the order in which dev/scale/bpe.py learned them.

const merges = new Map();       // "a,b" -> the token that joins them
const tokenBytes = Array.from({length: 256}, (_, b) => [b]);
for (const line of $('data-tokens').textContent.trim().split('\n').filter(Boolean)) {
  const [a, b] = line.split(' ').map(Number);
  merges.set(a * 65536 + b, tokenBytes.length);
  tokenBytes.push(tokenBytes[a].concat(tokenBytes[b]));
}
const haveTokens = merges.size > 0;

// Letters, digits or other characters, each with at most one space in front; runs of white space,
// whose last character belongs to the next word.
const LETTER = 'A-Za-z\\u{c0}-\\u{1fff}\\u{2c00}-\\u{10ffff}', BLANK = '\\t-\\r ';
const WORD = new RegExp(` ?[${LETTER}]+| ?[0-9]+| ?[^${BLANK}0-9${LETTER}]+|[${BLANK}]+(?![^${BLANK}])|[${BLANK}]+`, 'gu');

const wordTokens = new Map();
function encodeWord(word) {
  let ids = wordTokens.get(word);
  if (ids) return ids;
  ids = Array.from(new TextEncoder().encode(word));
  for (;;) {
    let best = Infinity;
    for (let i = 0; i + 1 < ids.length; i++) {
      const joined = merges.get(ids[i] * 65536 + ids[i + 1]);
      if (joined < best) best = joined;
    }
    if (best === Infinity) break;
    const out = [];
    for (let i = 0; i < ids.length; i++) {
      if (i + 1 < ids.length && merges.get(ids[i] * 65536 + ids[i + 1]) === best) out.push(best), i++;
      else out.push(ids[i]);
    }
    ids = out;
  }
  wordTokens.set(word, ids);
  return ids;
}

const encodeTokens = (text) => [].concat(...(text.match(WORD) || []).map(encodeWord));
const encodeBytes = (text) => Array.from(new TextEncoder().encode(text));
const encode = (text, unit) => unit === 'tokens' ? encodeTokens(text) : encodeBytes(text);
const decodeTokens = (ids) => new TextDecoder().decode(Uint8Array.from([].concat(...ids.map((id) => tokenBytes[id] || [63]))));

// One token as a label: blanks and line ends made visible.
function tokenLabel(id, unit) {
  if (unit === 'numbers') return String(id);
  const bytes = tokenBytes[id] || [63];
  if (bytes.length === 1 && bytes[0] > 127) return bytes[0].toString(16);
  const text = new TextDecoder().decode(Uint8Array.from(bytes));
  return text.replace(/ /g, '␣').replace(/\n/g, '⏎').replace(/\t/g, '⇥').replace(/[\u0000-\u001f\u007f]/g, '·');
}

let corpusIds = null, corpusFile = null;
function corpusTokens() {
  if (!corpusIds) {
    corpusIds = [];
    for (const word of $('data-corpus').textContent.match(WORD)) for (const id of encodeWord(word)) corpusIds.push(id);
  }
  return corpusIds;
}

// The corpus as a file of tokens in llm.c's format, as dev/scale/bpe.py writes it.
function corpusShard() {
  if (!corpusFile) {
    const ids = corpusTokens(), file = new DataView(new ArrayBuffer(1024 + 2 * ids.length));
    [20240520, 1, ids.length].forEach((x, i) => file.setInt32(4 * i, x, true));
    ids.forEach((id, i) => file.setUint16(1024 + 2 * i, id, true));
    corpusFile = new Uint8Array(file.buffer);
  }
  return corpusFile;
}
