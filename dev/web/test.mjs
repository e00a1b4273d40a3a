// test.mjs: the page in a real browser, against the native program.
//
//   dev/test/web.sh                 builds what is needed and runs the parts that CI runs
//   node dev/web/test.mjs PAGE NATIVE INSPECT PART...
//
// PAGE is attnvar.html; NATIVE and INSPECT are train_attnvar and dev/tools/inspect_attnvar, built with
// PORTABLE=1 NO_OMP=1. Parts: losses maps presets share own memory keyboard looks lesson growth, and
// those that take longer: recall speed firefox. The last line is "N passed, N failed".
import {execFileSync} from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import {pathToFileURL} from 'node:url';
import {chromium, firefox, temporary} from './browser.mjs';

const [page, native, inspect, ...parts] = process.argv.slice(2);
if (!parts.length) {
  console.error('test.mjs: error: expected PAGE NATIVE INSPECT PART...; dev/test/web.sh calls it');
  process.exit(1);
}
const url = pathToFileURL(path.resolve(page)).href;
const SEVEN = ['S', 'M', 'A', 'N', 'R', 'F', 'E'];
let passed = 0, failed = 0, browser = null;

function check(ok, what, detail = '') {
  if (ok) passed++;
  else failed++;
  console.log(`${ok ? 'ok   ' : 'FAIL '} ${what}${detail ? `: ${detail}` : ''}`);
}
const wait = (seconds) => new Promise((resolve) => setTimeout(resolve, 1000 * seconds));
const median = (x) => [...x].sort((a, b) => a - b)[x.length >> 1];
const open = async (hash = '') => {
  await browser.open(url + hash);
  await browser.until('window.attnvar !== undefined', 20);
};
const json = async (expression) => JSON.parse(await browser.run(`Promise.resolve(${expression}).then(JSON.stringify)`));
const allDone = 'attnvar.lab.models.every((m) => m.finished)';
const errors = () => json('attnvar.lab.models.map((m) => m.error).filter(Boolean)');

// The files of a model of the page, written for the native program; the words of its command line.
async function nativeWords(index) {
  const folder = temporary('native');
  fs.writeFileSync(path.join(folder, 'text.txt'), Buffer.from(await browser.run('btoa(Array.from(attnvar.corpusBytes, (b) => String.fromCharCode(b)).join(""))'), 'base64'));
  const shard = await browser.run(`attnvar.lab.models[${index}].config.unit === 'tokens' ? btoa(Array.from(attnvar.corpusShard(), (b) => String.fromCharCode(b)).join("")) : ''`);
  if (shard) fs.writeFileSync(path.join(folder, 'text.txt'), Buffer.from(shard, 'base64'));
  return {folder, words: await json(`attnvar.lab.models[${index}].config.words`)};
}
const runNative = (folder, words) => execFileSync(path.resolve(native), words, {cwd: folder, encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe']});

// Bytes of the page's worker, in base64
const saved = (index) => browser.run(`attnvar.lab.models[${index}].query('save').then((answer) => {
  if (!answer) throw new Error('no answer: ' + attnvar.lab.models[${index}].error);
  const {bytes} = answer;
  let s = '';
  for (let i = 0; i < bytes.length; i += 8192) s += String.fromCharCode(...bytes.subarray(i, i + 8192));
  return btoa(s);
})`);

const all = {
  // the loss of each of the first 20 steps, all seven, on every task that has the excerpt, and recall
  async losses() {
    const tasks = ['#task=text&size=tiny&steps=20', '#task=recall&steps=20'];
    await open();
    if (await browser.run('attnvar.haveTokens')) tasks.push('#task=text&unit=tokens&size=quick&steps=20');
    for (const task of tasks) {
      await open(task);
      await browser.run('attnvar.play()');
      await browser.until(allDone, 240);
      check((await errors()).length === 0, `20 steps of all seven, ${task}`, (await errors()).join(' '));
      for (let i = 0; i < SEVEN.length; i++) {
        const {folder, words} = await nativeWords(i);
        const printed = runNative(folder, [...words, '--sample', '0', '--out', 'run']);
        const log = fs.readFileSync(path.join(folder, 'run/log.csv'), 'utf8').trim().split('\n').slice(1).map((l) => Number(l.split(',')[1]));
        const here = await json(`attnvar.lab.models[${i}].losses`);
        const apart = Math.max(...log.map((x, s) => Math.abs(x - here[s])));
        check(log.length === 20 && here.length === 20 && apart <= 1e-4, `losses of 20 steps as the native program's, ${task} ${SEVEN[i]}`, `at most ${apart.toExponential(1)} apart`);
        const loss = Number(printed.match(/step +20 +val loss ([0-9.]+)/)[1]);
        const score = await browser.run(`attnvar.lab.models[${i}].loss`);
        check(Math.abs(loss - score) <= 2e-4, `validation loss as the native program's, ${task} ${SEVEN[i]}`, `${score.toFixed(4)}, native ${loss}`);
        fs.rmSync(folder, {recursive: true});
      }
    }
  },

  // a map of every variant that has one equals inspect_attnvar's; models go out and come back in
  async maps() {
    await open('#task=text&size=quick&steps=12&models=' + SEVEN.map((l) => l + 'S' + l + l).join('.'));
    await browser.run('attnvar.play()');
    await browser.until(allDone, 240);
    const sentence = 'It was so very kind of you, my dear.';
    for (let i = 0; i < SEVEN.length; i++) {
      const folder = temporary('maps');
      fs.mkdirSync(path.join(folder, 'saved'));
      fs.writeFileSync(path.join(folder, 'saved/model.safetensors'), Buffer.from(await saved(i), 'base64'));
      execFileSync(path.resolve(inspect), ['saved', '--maps', 'maps', '--text', sentence, '--format', 'csv'], {cwd: folder, stdio: 'pipe'});
      let apart = 0, compared = 0;
      for (const layer of [0, 1, 3]) for (const head of [0, 3]) {
        const file = path.join(folder, `maps/layer${layer + 1}.head${head + 1}.csv`);
        if (SEVEN[i] === 'M' && layer !== 1) continue;
        const rows = fs.readFileSync(file, 'utf8').trim().split('\n').map((l) => l.split(',').map(Number)).filter((r) => !r.some(Number.isNaN));
        const map = await json(`attnvar.lab.models[${i}].query('look', {tokens: attnvar.encode(${JSON.stringify(sentence)}, 'bytes'), layer: ${layer}, head: ${head}, hasMap: true}).then((a) => ({n: a.n, map: Array.from(a.map)}))`);
        rows.forEach((row, r) => row.forEach((x, c) => { apart = Math.max(apart, Math.abs(x - map.map[r * map.n + c])); compared++; }));
        if (rows.length !== map.n) apart = NaN;
      }
      check(compared > 1000 && apart <= 1e-5, `maps of ${SEVEN[i]} as inspect_attnvar's`, `${compared} weights, at most ${apart.toExponential(1)} apart`);
      const words = await json(`attnvar.lab.models[${i}].config.words`), at = words.indexOf('--layers');
      words.splice(at, 4);
      fs.writeFileSync(path.join(folder, 'text.txt'), Buffer.from(await browser.run('btoa(Array.from(attnvar.corpusBytes, (b) => String.fromCharCode(b)).join(""))'), 'base64'));
      const loss = await browser.run(`attnvar.lab.models[${i}].loss`);
      const back = Number(runNative(folder, ['--init', 'saved', ...words, '--steps', '0', '--warmup', '0', '--sample', '0']).match(/val loss ([0-9.]+)/)[1]);
      check(Math.abs(back - loss) <= 2e-4, `the native program reads the saved ${SEVEN[i]}S${SEVEN[i]}${SEVEN[i]}`, `validation loss ${back}, in the page ${loss.toFixed(4)}`);
      // and the page reads it again, through its own field for files
      await browser.run('attnvar.lab.models.length');
      const {root} = await browser.send('DOM.getDocument');
      const {nodeId} = await browser.send('DOM.querySelector', {nodeId: root.nodeId, selector: '#load'});
      const before = await browser.run('attnvar.lab.models.length');
      await browser.send('DOM.setFileInputFiles', {nodeId, files: [path.join(folder, 'saved/model.safetensors')]});
      await browser.until(`attnvar.lab.models.length === ${before + 1} && (attnvar.lab.models[${before}].error || attnvar.lab.models[${before}].checks.length)`, 60);
      const again = await json(`[attnvar.lab.models[${before}].error, attnvar.lab.models[${before}].loss, attnvar.lab.models[${before}].letters]`);
      check(!again[0] && Math.abs(again[1] - loss) <= 1e-6 && again[2] === `${SEVEN[i]}S${SEVEN[i]}${SEVEN[i]}`, `the page reads the saved ${again[2]}`, again[0] || `validation loss ${again[1].toFixed(6)}`);
      await browser.run(`document.querySelector('tr[data-model="${before}"] [data-act=remove]').click()`);
      fs.rmSync(folder, {recursive: true});
    }
    // what is no checkpoint is refused in one line
    const {root} = await browser.send('DOM.getDocument');
    const {nodeId} = await browser.send('DOM.querySelector', {nodeId: root.nodeId, selector: '#load'});
    await browser.send('DOM.setFileInputFiles', {nodeId, files: [path.resolve(native)]});
    const says = await browser.until('document.getElementById("lab-error").textContent', 30);
    check(/: not a safetensors file: expected a model that/.test(says) && (await errors()).length === 0 && !says.includes('\n'), 'a file that is no model is refused in one line', says);
    // one that is cut off, by its own name; the others stay
    await open('#task=text&size=quick&steps=1&models=SSSS');
    await browser.run('attnvar.oneStep()');
    const whole = Buffer.from(await saved(0), 'base64');
    for (const bytes of [whole.subarray(0, whole.length >> 1), whole.subarray(0, 5), Buffer.alloc(0)]) {
      await browser.run(`(() => { const f = new File([Uint8Array.from(atob('${bytes.toString('base64')}'), (c) => c.charCodeAt(0))], 'half.safetensors'); return attnvar.loadModel(f); })()`);
      const shown = await browser.run('document.getElementById("lab-error").textContent');
      check(/^half\.safetensors: /.test(shown) && !/loaded\/|--|\n/.test(shown) && (await json('attnvar.lab.models.map((m) => m.error)')).join() === '', `a model cut off after ${bytes.length} bytes is refused in one line, by its name; the list stays`, shown);
    }
    await browser.run('attnvar.loadModel({name: "folder", arrayBuffer: () => Promise.reject(new Error("it is a folder"))})');
    const folder = await browser.run('document.getElementById("lab-error").textContent');
    check(/^folder: the browser cannot read it/.test(folder), 'a model that the browser cannot read: the page says so', folder);
    // saved while it trains: the file holds whole steps, and the training goes on
    await browser.run('attnvar.change({steps: 40}), attnvar.play()');
    await browser.until('attnvar.lab.models[0].step > 2', 60);
    const during = Buffer.from(await saved(0), 'base64');
    await browser.until(allDone, 120);
    const tensors = (bytes) => bytes.length - 8 - Number(bytes.readBigUInt64LE(0));     // the header's length depends on its numbers
    check(tensors(during) === tensors(whole) && (await browser.run('attnvar.lab.models[0].step')) === 40 && !(await errors()).length, 'a model is saved while it trains, and trains on');
  },

  // every preset of every task and size starts
  async presets() {
    await open();
    const sizes = await json('Array.from(document.querySelectorAll("input[name=task]"), (r) => r.value).filter((t) => t !== "own").flatMap((t) => (attnvar.change({task: t}), Array.from(document.querySelectorAll("#size option"), (o) => [t, o.value])))');
    check(sizes.length >= 5, 'sizes of both tasks', sizes.map((s) => s[1]).join(' '));
    for (const [task, size] of sizes) {
      await browser.run(`attnvar.change({task: '${task}', size: '${size}'})`);
      for (const preset of size === 'small' ? ['hybrids'] : ['both', 'own']) {
        await browser.run(`document.querySelector('[data-preset=${preset}]').click()`);
        await browser.run('attnvar.oneStep()');
        const models = await json('attnvar.lab.models.map((m) => [m.letters, m.step, m.training, m.error])');
        const bad = models.filter(([, step, loss, error], i) => step !== (preset === 'own' && i < 13 ? 2 : 1) || !(loss > 0) || error);
        check(!bad.length && models.length === {both: 13, own: 14, hybrids: 7}[preset], `${task}, ${size}: ${preset} starts, ${models.length} models`, JSON.stringify(bad));
      }
    }
    await browser.run('attnvar.setModels([])');
  },

  // the page cuts the corpus into the same tokens as dev/scale/bpe.py
  async tokens() {
    await open();
    if (!await browser.run('attnvar.haveTokens')) return check(false, 'the page has the tokens');
    const shard = fs.readFileSync(new URL('../data/austen_train_1024.bin', import.meta.url));
    const here = Buffer.from(await browser.run('btoa(Array.from(attnvar.corpusShard(), (b) => String.fromCharCode(b)).join(""))'), 'base64');
    const n = here.readInt32LE(8), same = n - 8;                // the excerpt may end within a word
    check(n > 150000 && here.length === 1024 + 2 * n && here.subarray(1024, 1024 + 2 * same).equals(shard.subarray(1024, 1024 + 2 * same)), 'the page cuts the excerpt into the tokens of austen_train_1024.bin', `${n} tokens`);
    const odd = 'Caf\u00e9 \u2013  12345,\n\n\tna\u00efve \ud83d\ude00 \u4e2d\u6587!';
    check(await browser.run(`attnvar.decodeTokens(attnvar.encodeTokens(${JSON.stringify(odd)})) === ${JSON.stringify(odd)}`), 'tokens come back as the text that they were');
  },

  // the address and CSV come back as they went
  async share() {
    const hash = '#task=recall&size=pairs8&steps=7&rate=0.002&seed=42&models=SS.NS.MA&zoom=1&layer=2&head=1&pair=2.3&sentence=1+33+0+1&prompt=Be%C3%A9+%26+%23&temperature=1.1';
    await open(hash);
    const made = await browser.run('attnvar.makeHash()');
    check([...new URLSearchParams(hash.slice(1))].every(([k, v]) => new URLSearchParams(made.slice(1)).get(k) === v), 'an address is read and made again', made);
    check(await browser.run('location.hash') === made, 'the address bar holds it');
    await open(made);
    check(await browser.run('attnvar.makeHash()') === made, 'the made address gives itself');
    await browser.run('document.querySelector("nav a").click()');
    await browser.until(`location.hash === ${JSON.stringify(made)}`, 5);
    check(true, 'a link within the page leaves the configuration in the address');
    await open('#task=chess&steps=-3&models=SSSS.XYZ.MM&rate=9&layer=77');
    const wrong = await browser.run('document.getElementById("lab-error").textContent');
    check(['task=chess', 'steps=-3', 'model XYZ', 'model MM', 'rate=9', 'layer=77'].every((w) => wrong.includes(w)) && (await json('attnvar.lab.models.map((m) => m.letters)')).join() === 'SSSS',
      'an address with nonsense: what is good is used, the rest is named', wrong);

    await open('#task=text&size=constructor&models=' + 'SSSS.'.repeat(200) + 'x'.repeat(500) + '&__proto__=1&steps=%E0%A4%A&seed=' + '9'.repeat(400));
    const odd = await browser.run('document.getElementById("lab-error").textContent');
    check(['size=constructor', '160 models after the first 40', 'steps=', 'seed='].every((w) => odd.includes(w)) && odd.length < 600 && (await browser.run('attnvar.lab.models.length')) === 40 && await browser.run('attnvar.lab.size') === 'quick',
      'an address with the worst nonsense: one short message, and the page works', odd);

    await open('#task=recall&steps=4&models=SS.MM.NS');
    await browser.run('document.getElementById("who").value = \'Ada "the first", L.\'');
    const csvs = [];
    for (const seed of [1, 2, 3]) {
      await browser.run(`attnvar.change({seed: ${seed}}), attnvar.play()`);
      await browser.until(allDone, 60);
      csvs.push([await browser.run('attnvar.resultsCsv()'), await json('attnvar.lab.models.map((m) => [m.accuracy, m.skipBlocks])')]);
    }
    const text = csvs.map((c) => c[0]).join('');
    const unfinished = csvs[0][0].split('\n')[1].replace(',1,', ',0,').replace(/,4,1,/, ',4,0,').replace('recall,numbers', 'recall,numbers');
    const all = await json(`attnvar.classResults(${JSON.stringify('\ufeff' + text.replace(/\n/g, '\r\n') + csvs[0][0] + unfinished.replace(/,SS,4,1,/, ',SS,4,0,') + '\nnonsense,1,2\n')})`);
    check(all.runs === 9 && all.repeated + all.unfinished === 4 && all.wrong.length === 1 && all.groups.length === 1, 'CSV of a class: runs counted once, the rest named', JSON.stringify({...all, groups: all.groups.length}));
    for (const [i, letters] of ['SS', 'MM', 'NS'].entries()) {
      const x = csvs.map((c) => c[1][i][0]), mean = (x[0] + x[1] + x[2]) / 3, error = Math.sqrt(x.reduce((s, v) => s + (v - mean) ** 2, 0) / 2 / 3);
      const row = all.groups[0].rows.find((r) => r.letters === letters);
      check(row.n === 3 && Math.abs(row.mean - mean) < 1e-6 && Math.abs(row.error - error) < 1e-6, `CSV of a class: mean and error of ${letters}`, `${row.mean} ± ${row.error}`);
    }
    check(text.includes('"Ada ""the first"", L."'), 'CSV: a name with commas and quotes is quoted');
    await browser.run(`document.getElementById('class-csv').value = ${JSON.stringify(text)}, attnvar.showClass()`);
    check(await browser.run('document.querySelectorAll("#class-results tbody tr").length') === 3, 'the table of a class has a row a model');
    // as spreadsheets hand it back: cells with tabs between them; semicolons, and commas in the numbers
    const plain = text.replaceAll('"Ada ""the first"", L."', 'Ada'), back = (c) => json(`attnvar.classResults(${JSON.stringify(c)}).groups[0].rows.map((r) => [r.letters, r.n, r.mean])`);
    const wanted = JSON.stringify(await back(plain));
    check(JSON.stringify(await back(plain.replace(/,/g, '\t'))) === wanted, 'CSV of a class: with tabs');
    check(JSON.stringify(await back(plain.replace(/,/g, ';').replace(/(\d)\.(\d)/g, '$1,$2'))) === wanted, 'CSV of a class: with semicolons and decimal commas');
    for (const junk of ['Dear all,\nhere are, at last, my results.\n', '<html><body>404</body></html>', 'PK\u0003\u0004\ufffd\ufffd,,,\n"open quote\n', 'a,'.repeat(5000)]) {
      await browser.run(`document.getElementById('class-csv').value = ${JSON.stringify(junk)}, attnvar.showClass()`);
      const says = await browser.run('document.getElementById("class-says").textContent');
      check(/^This is not CSV from this page/.test(says) && await browser.run('document.getElementById("class-results").textContent') === '', 'a text that is no CSV: the page says so', JSON.stringify(junk.slice(0, 20)));
    }
    const quote = await json(`attnvar.classResults(${JSON.stringify(plain.split('\n')[0] + '\n"Ann,recall\n' + plain.split('\n').slice(1).join('\n'))})`);
    check(quote.runs === 9 && JSON.stringify(quote.wrong) === '[2]', 'CSV of a class: a quote left open spoils its line alone', JSON.stringify(quote.wrong));
    const none = await json(`attnvar.classResults(${JSON.stringify(plain.split('\n')[0] + '\n,recall,numbers,recall,4,0.003,1,SS,4,1,3.1,,,,100\n')})`);
    check(none.runs === 0 && none.wrong.length === 1, 'CSV of a class: recall without an accuracy is left out');
  },

  // texts of one's own: pasted, empty, short, not UTF-8, 20 MB
  async own() {
    await open('#task=own&steps=2&models=SSSS.MMMM');
    const error = () => browser.run('document.getElementById("lab-error").textContent');
    await browser.run('document.getElementById("play").click()');
    check(/no text of your own/.test(await error()), 'no text: play says so', await error());
    const paste = (text) => browser.run(`(() => { const t = document.getElementById('own-text'); t.value = ${JSON.stringify(text)}; t.dispatchEvent(new Event('change', {bubbles: true})); })()`);
    await paste('');
    await browser.run('document.getElementById("play").click()');
    check(/no text of your own/.test(await error()), 'an empty text: play says so');
    await paste('Too short to learn from.');
    await browser.run('document.getElementById("play").click()');
    await browser.until(allDone, 30);
    await browser.until('!document.getElementById("lab-error").hidden', 10);
    check((await errors()).every((e) => /fewer than one window/.test(e)) && /^SSSS: Your text: .* tokens/.test(await error()), 'a text that is too short: the program\'s message is shown', await error());
    await paste('Ein Satz mit Umlauten: äöü. '.repeat(400));
    await browser.run('document.getElementById("play").click()');
    await browser.until(allDone, 60);
    check(!(await errors()).length && (await browser.run('attnvar.lab.models[0].loss')) > 0, 'a pasted text is learned');
    const folder = temporary('own');
    const binary = Buffer.alloc(50000);
    for (let i = 0; i < binary.length; i++) binary[i] = (i * i + 7 * i) % 256;
    fs.writeFileSync(path.join(folder, 'binary.dat'), binary);
    fs.writeFileSync(path.join(folder, 'latin.txt'), Buffer.from('Ein Satz mit Umlauten: \u00e4\u00f6\u00fc. '.repeat(1000), 'latin1'));
    const big = Buffer.from('The quick brown fox jumps over the lazy dog, and \u00e9\u00e8 follow. '.repeat(340000)).subarray(0, 20000000);
    fs.writeFileSync(path.join(folder, 'big.txt'), big);
    const choose = async (file) => {
      const {root} = await browser.send('DOM.getDocument');
      const {nodeId} = await browser.send('DOM.querySelector', {nodeId: root.nodeId, selector: '#own-file'});
      await browser.send('DOM.setFileInputFiles', {nodeId, files: [path.join(folder, file)]});
      await browser.until(`attnvar.lab.ownName === '${file}'`, 30);
    };
    await choose('latin.txt');
    const says = await browser.run('document.getElementById("own-says").textContent');
    await browser.run('attnvar.play()');
    await browser.until(allDone, 60);
    check(/not UTF-8/.test(says) && !(await errors()).length, 'a text that is not UTF-8 is read as bytes, and the page says so', says);
    await choose('binary.dat');
    await browser.run('attnvar.play()');
    await browser.until(allDone, 60);
    check((await errors()).length > 0 && (await errors()).every((e) => /^binary\.dat: is no text/.test(e) && !/python3/.test(e)), 'a file that is no text: the program\'s message is shown', JSON.stringify(await errors()));
    // UTF-16, as some editors write, is turned into UTF-8
    const wide = 'Ein Satz mit Umlauten: \u00e4\u00f6\u00fc. '.repeat(1000);
    for (const [file, bytes] of [['le.txt', Buffer.from('\ufeff' + wide, 'utf16le')], ['be.txt', Buffer.from('\ufeff' + wide, 'utf16le').swap16()]]) {
      fs.writeFileSync(path.join(folder, file), bytes);
      await choose(file);
      const says = await browser.run('document.getElementById("own-says").textContent');
      await browser.run('attnvar.play()');
      await browser.until(allDone, 60);
      check(/UTF-16/.test(says) && says.includes(Buffer.byteLength(wide).toLocaleString('en')) && !(await errors()).length, `${file}: UTF-16 is read as text`, says);
    }
    await browser.run('attnvar.ownFile({name: "folder", arrayBuffer: () => Promise.reject(new Error("it is a folder"))})');
    check(/^folder: the browser cannot read it/.test(await error()), 'a folder that is dropped: the page says so', await error());
    const dropped = await json(`(() => { const e = new DragEvent('drop', {bubbles: true, cancelable: true, dataTransfer: new DataTransfer()}); document.querySelector('h2').dispatchEvent(e); return [e.defaultPrevented, document.getElementById('lab-error').textContent]; })()`);
    check(dropped[0] && /drop it on the field/.test(dropped[1]), 'a file dropped elsewhere does not replace the page', dropped[1]);
    await choose('big.txt');
    const bigSays = await browser.run('document.getElementById("own-says").textContent');
    await browser.run('attnvar.play()');
    await browser.until(allDone, 120);
    check(/20,000,000 bytes/.test(bigSays) && !(await errors()).length && await browser.run('attnvar.lab.models[0].info.scored') > 0, '20 MB of text are learned', bigSays);
    fs.rmSync(folder, {recursive: true});
  },

  // a worker that runs out of memory, and one that the program stops, say so; the others go on
  async memory() {
    await open('#task=text&size=quick&steps=3&models=SSSS.MMMM');
    await browser.run(`(() => {
      const {config} = attnvar.lab.models[0];
      config.words = [...config.words.filter((w, i, all) => w !== '--layout' && all[i - 1] !== '--layout' && w !== '--layers' && all[i - 1] !== '--layers'), '--size', '500m'];
      attnvar.play();
    })()`);
    await browser.until(allDone, 60);
    const [big, small] = await json('attnvar.lab.models.map((m) => [m.error, m.step])');
    await browser.until('/no memory/.test(document.querySelector("#models tbody tr").textContent)', 20);
    const shown = await browser.run('document.querySelector("#models tbody tr").textContent');
    check(/^no memory for .* \([0-9.]+ MB\): choose a smaller/.test(big[0]), 'a model beyond the memory: its message', big[0]);
    check(shown.includes(big[0]) && !small[0] && small[1] === 3, 'the table shows it, and the other model was trained', JSON.stringify([big, small, shown]));
    await open('#task=text&size=quick&steps=30&rate=1&models=SSSS');
    await browser.run('attnvar.lab.models[0].config.words.push("--warmup", "0", "--clip", "0", "--lr", "1000"), attnvar.play()');
    await browser.until(allDone, 60);
    const lost = await browser.run('attnvar.lab.models[0].error || "step " + attnvar.lab.models[0].step');
    check(/not finite/.test(lost) || lost === 'step 30', 'a learning rate far too high: the message, or it survives', lost);
    // a trap of WebAssembly is a message, too
    const trap = await browser.run(`(() => { const m = attnvar.lab.models[0]; attnvar.setModels(['SSSS']); return attnvar.lab.models[0].open().then(() => attnvar.lab.models[0].query('look', {tokens: [1, 2, 3], layer: 99999999, head: 0, hasMap: true})).then(() => attnvar.lab.models[0].error); })()`);
    check(/^the program was stopped: /.test(trap), 'a trap is a message', trap);
  },

  // everything can be reached and done by the keyboard, and has a name
  async keyboard() {
    await open('#task=recall&steps=30&models=SS.MM');
    const {nodes} = await browser.send('Accessibility.getFullAXTree');
    const roles = ['button', 'link', 'slider', 'textbox', 'combobox', 'spinbutton', 'radio', 'checkbox', 'MenuListPopup', 'searchbox', 'img', 'region', 'table'];
    const nameless = nodes.filter((n) => !n.ignored && roles.includes(n.role?.value) && n.role.value !== 'MenuListPopup' && n.role.value !== 'table' && !(n.name?.value || '').trim());
    check(nodes.length > 300 && !nameless.length, 'every control has a name', nameless.map((n) => `${n.role.value} ${n.backendDOMNodeId}`).slice(0, 6).join(', '));
    // Tab from the start reaches every control in the document's order
    await browser.run('document.body.focus(), window.scrollTo(0, 0)');
    const reached = new Set();
    for (let i = 0; i < 160; i++) {
      await browser.key('Tab', 'Tab', 9);
      const id = await browser.run('(() => { const e = document.activeElement; if (!e.dataset.tab) e.dataset.tab = String(Math.random()); return e.tagName + " " + (e.id || e.dataset.preset || e.dataset.box || e.dataset.letter || e.textContent.slice(0, 20)); })()');
      reached.add(id);
    }
    const wanted = ['BUTTON play', 'BUTTON one-step', 'BUTTON reset', 'SELECT size', 'INPUT steps', 'INPUT seed', 'INPUT load', 'BUTTON both', 'BUTTON S', 'BUTTON M', 'g mix', 'INPUT sentence', 'SELECT look-layer', 'INPUT look-row', 'INPUT prompt', 'BUTTON copy-csv', 'TEXTAREA class-csv', 'INPUT zoom'];
    check(wanted.every((w) => reached.has(w)), 'Tab reaches every control', wanted.filter((w) => !reached.has(w)).join(', '));
    const unsaid = await json(`[...document.querySelectorAll('[data-box], .letters button')].filter((e) => !e.getAttribute('aria-label').startsWith(e.textContent.trim())).map((e) => e.getAttribute('aria-label'))`);
    check(!unsaid.length, 'the name of a box and of a letter begins with the text on it', unsaid.join(', '));
    await browser.run('document.querySelector("g[data-box=rope]").focus()');
    await browser.key('Enter', 'Enter', 13, '\r');
    check(/^RoPE/.test(await browser.run('document.getElementById("block-says").textContent')), 'a box of the block opens by Enter');
    await browser.run('document.querySelector("#models button[data-layer=\\"1\\"]").focus()');
    await browser.key('n', 'KeyN', 78, 'n');
    check(await browser.run('attnvar.lab.models[0].letters + document.activeElement.dataset.letter') === 'SNN', 'typing a letter changes the layer and keeps the focus');
    await browser.run('document.getElementById("play").focus()');
    await browser.key(' ', 'Space', 32, ' ');
    await browser.until('attnvar.lab.models.every((m) => m.step > 0) && document.querySelector("#curves .curve")', 30);
    check(true, 'play by the space bar: models train and curves are drawn');
    await browser.until(allDone, 60);
    await browser.run('attnvar.refreshInside()');
    await browser.run('document.getElementById("look-row").focus()');
    const before = await browser.run('document.getElementById("look-row").getAttribute("aria-valuetext")');
    await browser.key('ArrowLeft', 'ArrowLeft', 37);
    const after = await browser.run('document.getElementById("look-row").getAttribute("aria-valuetext")');
    check(before !== after && /Position \d+, “\d+”, takes most from/.test(after), 'the row of a map moves by the arrow keys and is read out', after);
    await browser.run('document.querySelector("article[data-card=\\"2\\"] input").focus()');
    await browser.key('ArrowRight', 'ArrowRight', 39);
    check(await browser.run('!document.querySelector("article[data-card=\\"2\\"] button").disabled && document.querySelector("article[data-card=\\"2\\"] input").getAttribute("aria-valuetext")') === '0.51', 'a guess is made by the arrow keys');
    await browser.run('(() => { const s = document.getElementById("steps"); s.value = "-5"; s.dispatchEvent(new Event("change", {bubbles: true})); })()');
    check(await browser.run('document.getElementById("lab-error").textContent') === 'Steps: expected a whole number from 1 to 1,000,000; the value before is kept.' && await browser.run('document.getElementById("steps").value') === '30' &&
      await browser.run('attnvar.lab.models.every((m) => m.done)'), 'a number that cannot be: the field says so, and the models stay');
    // a map answers the pointer as well: row 5, column 3; nothing scrolls any more when it is pointed at
    await browser.view(1280, 900, false, 'reduce');
    await browser.run('document.querySelector("#maps canvas").scrollIntoView({block: "center", behavior: "instant"})');
    await wait(1);
    const [x, y] = await json(`(() => { const c = document.querySelector('#maps canvas'); c.scrollIntoView({block: 'center', behavior: 'instant'}); const r = c.getBoundingClientRect(), n = attnvar.look.answers[0].n, cell = Math.min(r.width, r.height) / (n + 1.2), at = (i) => i * cell;
      return [r.right - (n - 2.5) * (r.width - 30) / n, r.bottom - 2 - (n - 4.5) * (r.width - 30) / n]; })()`);
    await browser.send('Input.dispatchMouseEvent', {type: 'mouseMoved', x, y});
    const [row, column] = await json('[attnvar.look.row, attnvar.look.column]');
    check(row >= 3 && row <= 5 && column >= 1 && column <= 3, 'a map answers the pointer', `row ${row + 1}, column ${column + 1}: ${await browser.run('document.querySelector("#maps .arithmetic").textContent')}`);
    // hidden behind another tab it goes on
    await browser.run('attnvar.change({steps: 100000}), attnvar.setModels(["MM"]), attnvar.play()');
    await browser.until('attnvar.lab.models[0].step > 2', 30);
    await browser.hide();
    const hidden = await browser.run('document.hidden'), from = await browser.run('attnvar.lab.models[0].step');
    await wait(4);
    const to = await browser.run('attnvar.lab.models[0].step');
    await browser.show();
    check(hidden && to > from, 'in the background it goes on', `hidden: ${hidden}, ${to - from} steps in 4 s`);
    await browser.until('/background/.test(document.getElementById("lab-says").textContent)', 10);
    check(true, 'and says so', await browser.run('document.getElementById("lab-says").textContent'));
    // leaving while it trains asks first; the address brings the configuration back
    await browser.key('Tab', 'Tab', 9);
    const kept = await browser.run('location.hash'), asked = browser.dialogs.length;
    await browser.loading(() => browser.send('Page.reload'));
    await browser.until('window.attnvar !== undefined && attnvar.lab.models[0].step === 0', 20);
    check(browser.dialogs.length === asked + 1 && browser.dialogs[asked] === 'beforeunload' && await browser.run('location.hash') === kept, 'a reload while it trains asks first, and keeps the configuration', browser.dialogs.join(' '));
    const quiet = await json('window.dispatchEvent(new Event("beforeunload", {cancelable: true}))');
    check(quiet === true, 'without training nothing is asked');
    await browser.run('attnvar.setModels([])');
  },

  // widths, contrasts, motion, first paint, first curve
  async looks() {
    for (const width of (process.env.WIDTHS || "390,768,1280,2560").split(",").map(Number)) for (const dark of [false, true]) {
      await browser.view(width, 900, dark);
      await open('#steps=3&models=SSSS.MMMM.RSRS');
      await browser.run('attnvar.play()');
      await browser.until(allDone, 120);
      await browser.run('attnvar.refreshInside()');
      const wide = await browser.run('document.documentElement.scrollWidth - innerWidth');
      check(wide <= 0, `${width} px, ${dark ? 'dark' : 'light'}: nothing is wider than the window`, `${wide}`);
      if (width !== 390) continue;
      const weak = await json(`(() => {
        const css = getComputedStyle(document.documentElement), rgb = (c) => { const x = document.createElement('canvas').getContext('2d'); x.fillStyle = c; return [1, 3, 5].map((i) => parseInt(x.fillStyle.slice(i, i + 2), 16)); };
        const light = (c) => { const [r, g, b] = rgb(css.getPropertyValue(c).trim()).map((v) => (v /= 255) <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4); return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
        const contrast = (a, b) => { const [x, y] = [light(a), light(b)].sort((p, q) => q - p); return (x + 0.05) / (y + 0.05); };
        const out = [];
        for (const ink of ['--ink', '--soft', '--accent', '--error', '--S', '--M', '--A', '--N', '--R', '--F', '--E'])
          for (const ground of ['--bg', '--card']) if (contrast(ink, ground) < 4.5) out.push(ink + ' on ' + ground + ' ' + contrast(ink, ground).toFixed(2));
        for (const [a, b] of [['--accent', '--accent-ink'], ['--error', '--error-bg']]) if (contrast(a, b) < 4.5) out.push(a + ' ' + b);
        for (const ground of ['--bg', '--card']) if (contrast('--field', ground) < 3) out.push('--field on ' + ground);
        return out;
      })()`);
      check(!weak.length, `${dark ? 'dark' : 'light'}: contrasts of text at least 4.5, of fields 3`, weak.join(', '));
    }
    // maps are of the trained model when one comes to them, even if it trained out of sight
    await browser.view(1280, 900, false);
    await open('#steps=3&models=SSSS.RSRS');
    await browser.run('scrollTo(0, 0), attnvar.oneStep()');
    await browser.run('attnvar.refreshInside()');
    await browser.run('attnvar.play()');
    await browser.until(allDone, 60);
    await browser.run('document.getElementById("maps").scrollIntoView({behavior: "instant"})');
    const fresh = `attnvar.lab.models[0].query('look', {tokens: attnvar.look.answers[0].tokens, layer: 0, head: 0, hasMap: true}).then((a) => String(a.map) === String(attnvar.look.answers[0].map))`;
    check(await browser.until(fresh, 10), 'a map that comes into view is of the model as it is');
    await browser.view(1280, 900, false, 'reduce');
    await open();
    check(await browser.run('getComputedStyle(document.documentElement).scrollBehavior') === 'auto' && await browser.run('document.getAnimations().length') === 0, 'no motion where none is wanted');
    await browser.view(1280, 900, false);
    const paints = [], curves = [];
    for (let i = 0; i < 3; i++) {
      await open();
      paints.push(await browser.until('(performance.getEntriesByName("first-contentful-paint")[0] || {}).startTime', 10));
      curves.push(await browser.run(`new Promise((resolve) => { const t = performance.now(); document.getElementById('play').click();
        const look = () => { const c = document.querySelectorAll('#curves .curve'); if ([...c].some((p) => p.getAttribute('d').includes('L'))) resolve(performance.now() - t); else setTimeout(look, 20); }; look(); })`));
    }
    check(median(paints) < 1000, 'first paint below one second', paints.map((x) => `${Math.round(x)} ms`).join(', '));
    check(median(curves) < 2000, 'the first curve moves within two seconds of play', curves.map((x) => `${Math.round(x)} ms`).join(', '));
  },

  // the first card of the lesson, as a reader does it
  async lesson() {
    await open();
    check(await browser.run('document.querySelectorAll("#lesson-cards article").length') === 8, 'eight cards');
    await browser.run(`(() => { const s = document.querySelector('article[data-card="0"] input'); s.value = 3; s.dispatchEvent(new Event('input', {bubbles: true})); document.querySelector('article[data-card="0"] button').click(); })()`);
    await browser.until('document.querySelector("article[data-card=\\"0\\"] .why")', 240, 500);
    const says = await browser.run('document.querySelector("article[data-card=\\"0\\"] .outcome").textContent');
    const [loss, floors] = await json('[attnvar.cards[0].needed[0].loss, attnvar.cards[0].needed[0].info.floors]');
    check(says.includes(loss.toFixed(2)) && /Your guess 3.00/.test(says) && Math.abs(loss - floors[2]) < 0.25, 'card 1: mlp ends near the bigram floor, as the card says', `${loss.toFixed(3)}, floor ${floors[2].toFixed(3)}`);
  },

  // SECONDS of training: neither WebAssembly's memory nor the page's grows
  async growth() {
    const seconds = Number(process.env.SECONDS || 120);
    await open('#task=text&size=quick&steps=1000000&models=SSSS.RSRS');
    await browser.run('attnvar.play()');
    const state = async () => {
      await browser.send('HeapProfiler.collectGarbage');
      const {usedSize} = await browser.send('Runtime.getHeapUsage'), {nodes} = await browser.send('Memory.getDOMCounters');
      return {memory: await json('attnvar.lab.models.map((m) => m.memory)'), heap: usedSize, nodes, steps: await browser.run('attnvar.lab.models[0].step')};
    };
    await browser.until('attnvar.lab.models.every((m) => m.checks.length > 0)', 120);
    await wait(5);
    const first = await state();
    await wait(seconds);
    const last = await state();
    check(last.steps > first.steps && String(last.memory) === String(first.memory), `${seconds} s of training: the workers' memory stays`, `${first.memory} bytes, then ${last.memory}; ${last.steps - first.steps} steps`);
    check(last.heap < first.heap + 3e6 && last.nodes < first.nodes + 2000, `${seconds} s of training: the page's memory stays`, `heap ${(first.heap / 1e6).toFixed(1)} MB, then ${(last.heap / 1e6).toFixed(1)}; nodes ${first.nodes}, then ${last.nodes}`);
    await browser.run('attnvar.setModels([])');
  },

  // all 13 models on recall end where `make recall` ends
  async recall() {
    const begin = Date.now();
    await open('#task=recall&seed=' + (process.env.SEED || 1));
    await browser.run('document.querySelector("[data-preset=both]").click(), attnvar.play()');
    await browser.until(allDone, 1800, 1000);
    const took = (Date.now() - begin) / 1000;
    for (const [letters, accuracy, step] of await json('attnvar.lab.models.map((m) => [m.letters, m.accuracy, m.step])')) {
      const solves = ['SS', 'AA', 'AS', 'RS', 'FS', 'ES'].includes(letters);
      check(solves ? accuracy >= 0.99 : accuracy < 0.5, `recall ${letters} ${solves ? '>= 0.99' : '< 0.5'}`, `${accuracy.toFixed(4)} after ${step} steps`);
    }
    check(took <= 300, 'within five minutes', `${took.toFixed(0)} s`);
  },

  // tokens/s of a worker at the default size beside the native program's, turn by turn
  async speed() {
    await open('#task=text&size=tiny&steps=1000000&models=SSSS');
    const {folder, words} = await nativeWords(0);
    await browser.run('attnvar.lab.models[0].open().then(() => attnvar.lab.models[0].ask("run", {milliseconds: 3000, until: 1e9}))');
    const ratios = [], here = [], there = [], steps = 40;
    for (let turn = 0; turn < Number(process.env.TURNS || 9); turn++) {
      const {steps: taken, took} = await json(`attnvar.lab.models[0].ask('run', {milliseconds: 4000, until: 1e9}).then((a) => ({steps: a.steps.length, took: a.took}))`);
      here.push(taken * 2048 / took * 1000);
      const log = runNative(folder, [...words, '--steps', String(steps), '--warmup', '10', '--eval-every', '0', '--eval-batches', '1', '--sample', '0', '--log-every', '1', '--out', 'run', '--force']);
      const rates = fs.readFileSync(path.join(folder, 'run/log.csv'), 'utf8').trim().split('\n').slice(2).map((l) => Number(l.split(',')[4]));
      there.push(rates.length / rates.reduce((s, r) => s + 1 / r, 0));
      ratios.push(here[turn] / there[turn]);
    }
    check(median(ratios) >= 0.9, 'a worker has at least 0.9 of the native program\'s tokens/s',
      `median of ${ratios.length} ratios ${median(ratios).toFixed(3)} (${ratios.map((r) => r.toFixed(2)).join(' ')}); tokens/s ${median(here).toFixed(0)} and ${median(there).toFixed(0)}`);
    fs.rmSync(folder, {recursive: true});
  },

  // Firefox: opens the file, trains, shows a map, writes
  async firefox() {
    const f = await firefox();
    try {
      await f.open(url + '#task=text&size=quick&steps=6&models=SSSS.MMMM.RSRS');
      await f.until('window.attnvar !== undefined', 20);
      await f.run('attnvar.play()');
      await f.until(allDone, 120);
      const models = JSON.parse(await f.run('JSON.stringify(attnvar.lab.models.map((m) => [m.step, m.loss, m.error, m.sample.length]))'));
      check(models.every(([step, loss, error, written]) => step === 6 && loss > 3 && !error && written > 10), 'Firefox: three models train, validate and write', JSON.stringify(models));
      await f.run('attnvar.refreshInside()');
      check(await f.run('document.querySelectorAll("#maps canvas").length') === 2 || await f.run('document.querySelectorAll("#maps canvas").length') === 1, 'Firefox: maps are drawn');
      check(await f.run('document.querySelectorAll("#curves .curve").length') === 3, 'Firefox: curves are drawn');
      await f.run('attnvar.change({task: "recall"}), attnvar.oneStep()');
      await f.until('attnvar.lab.models.every((m) => m.step === 1)', 60);
      check(true, 'Firefox: recall starts');
    } finally {
      await f.close();
    }
  },
};

for (const part of parts) {
  if (!all[part]) {
    console.error(`test.mjs: error: unknown part '${part}': expected ${Object.keys(all).join(', ')}`);
    process.exit(1);
  }
}
const inChromium = parts.filter((p) => p !== 'firefox');
try {
  if (inChromium.length) {
    browser = await chromium();
    await browser.view(1280, 900, false);
    for (const part of inChromium) {
      const begin = Date.now();
      try {
        await all[part]();
      } catch (error) {
        check(false, `${part}: runs to its end`, error.message);
      }
      console.log(`      ${part}: ${Math.round((Date.now() - begin) / 1000)} s`);
    }
    const outside = browser.requests.filter((r) => r.split('#')[0] !== url && !/^(blob:|data:|about:)/.test(r));
    check(browser.requests.length > 0 && !outside.length, 'nothing was requested over the network', outside.slice(0, 3).join(' '));
    check(!browser.problems.length, 'no error in the console', browser.problems.slice(0, 3).join(' | '));
    await browser.close();
  }
  if (parts.includes('firefox')) await all.firefox();
} catch (error) {
  check(false, 'the browser ran', error.message);
}
console.log(`${passed} passed, ${failed} failed`);
process.exit(failed ? 1 : 0);
