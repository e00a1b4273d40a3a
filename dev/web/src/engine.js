// engine.js: train_attnvar.c, compiled to WebAssembly, behind a few plain functions. It runs in a
// page's worker and, for the tests, in node.
//
// The C program reads and writes files and prints. Here its files are a few arrays in memory: WASI's
// calls below are all that wasi-libc needs for them. exit() becomes an exception with the program's
// message.
'use strict';

const WASI_OK = 0, WASI_BADF = 8, WASI_NOENT = 44, WASI_NOSYS = 52;

class EngineError extends Error {}

function makeWasi(files) {
  const text = new TextDecoder();
  const open = new Map();                       // descriptor -> {name, at, append, folder}
  let memory = null, nextDescriptor = 4, printed = ['', '', ''];
  const view = () => new DataView(memory.buffer);
  const bytes = (at, n) => new Uint8Array(memory.buffer, at, n);
  const path = (at, n) => text.decode(bytes(at, n).slice());
  const folders = new Set(['', '.']);

  // files: name -> {data, n}: n bytes of data are in use, the rest is room to grow
  const reserve = (file, n) => {
    if (n > file.data.length) {
      const longer = new Uint8Array(Math.max(n, 2 * file.data.length, 4096));
      longer.set(file.data.subarray(0, file.n));
      file.data = longer;
    }
    if (n > file.n) file.n = n;
  };
  const eachVector = (vectors, count, use) => {
    let total = 0;
    for (let i = 0; i < count; i++) {
      const at = view().getUint32(vectors + 8 * i, true), n = view().getUint32(vectors + 8 * i + 4, true);
      const did = use(at, n);
      total += did;
      if (did < n) break;
    }
    return total;
  };
  const statistics = (out, name) => {
    const v = view();
    for (let i = 0; i < 64; i += 8) v.setBigUint64(out + i, 0n, true);
    v.setUint8(out + 16, files.has(name) ? 4 : 3);
    if (files.has(name)) v.setBigUint64(out + 32, BigInt(files.get(name).n), true);
    return WASI_OK;
  };
  const calls = {
    proc_exit(code) {
      const message = printed[2].trim().split('\n').pop().replace(/^[a-z_]+: error: /, '');
      throw new EngineError(message || `the program ended with exit code ${code}`);
    },
    fd_prestat_get(fd, out) {
      if (fd !== 3) return WASI_BADF;
      view().setUint32(out, 0, true);
      view().setUint32(out + 4, 1, true);
      return WASI_OK;
    },
    fd_prestat_dir_name(fd, out) {
      bytes(out, 1)[0] = 47;                    // the one folder that there is: /
      return WASI_OK;
    },
    fd_fdstat_get(fd, out) {
      if (fd > 3 && !open.has(fd)) return WASI_BADF;
      const v = view();
      for (let i = 0; i < 24; i += 8) v.setBigUint64(out + i, 0n, true);
      v.setUint8(out, fd < 3 ? 2 : fd === 3 || open.get(fd).folder ? 3 : 4);
      v.setBigUint64(out + 8, 0xffffffffn, true);
      v.setBigUint64(out + 16, 0xffffffffn, true);
      return WASI_OK;
    },
    fd_filestat_get(fd, out) {
      return open.has(fd) ? statistics(out, open.get(fd).name) : WASI_BADF;
    },
    path_filestat_get(fd, flags, at, n, out) {
      const name = path(at, n);
      return files.has(name) || folders.has(name) ? statistics(out, name) : WASI_NOENT;
    },
    path_open(fd, lookup, at, n, how, rights, inherited, flags, out) {
      const name = path(at, n), folder = folders.has(name);
      if (!folder && !files.has(name)) {
        if (!(how & 1)) return WASI_NOENT;
        files.set(name, {data: new Uint8Array(0), n: 0});
      } else if (!folder && how & 8) files.set(name, {data: new Uint8Array(0), n: 0});
      open.set(nextDescriptor, {name, at: 0, append: flags & 1, folder});
      view().setUint32(out, nextDescriptor++, true);
      return WASI_OK;
    },
    path_create_directory(fd, at, n) {
      folders.add(path(at, n));
      return WASI_OK;
    },
    path_rename(fd, at, n, to, newAt, newN) {
      const file = files.get(path(at, n));
      if (!file) return WASI_NOENT;
      files.delete(path(at, n));
      files.set(path(newAt, newN), file);
      return WASI_OK;
    },
    path_unlink_file(fd, at, n) {
      return files.delete(path(at, n)) ? WASI_OK : WASI_NOENT;
    },
    fd_close(fd) {
      return open.delete(fd) ? WASI_OK : WASI_BADF;
    },
    fd_seek(fd, offset, from, out) {
      const o = open.get(fd);
      if (!o || o.folder) return WASI_BADF;
      o.at = Number(offset) + (from === 0 ? 0 : from === 1 ? o.at : files.get(o.name).n);
      view().setBigUint64(out, BigInt(o.at), true);
      return WASI_OK;
    },
    fd_read(fd, vectors, count, out) {
      const o = open.get(fd);
      if (!o || o.folder) return WASI_BADF;
      const file = files.get(o.name);
      view().setUint32(out, eachVector(vectors, count, (at, n) => {
        n = Math.max(0, Math.min(n, file.n - o.at));
        bytes(at, n).set(file.data.subarray(o.at, o.at + n));
        o.at += n;
        return n;
      }), true);
      return WASI_OK;
    },
    fd_write(fd, vectors, count, out) {
      const o = open.get(fd);
      if (!o && fd > 2) return WASI_BADF;
      view().setUint32(out, eachVector(vectors, count, (at, n) => {
        if (!o) printed[fd] = (printed[fd] + text.decode(bytes(at, n).slice())).slice(-4000);
        else {
          const file = files.get(o.name);
          if (o.append) o.at = file.n;
          reserve(file, o.at + n);
          file.data.set(bytes(at, n), o.at);
          o.at += n;
        }
        return n;
      }), true);
      return WASI_OK;
    },
    fd_sync: () => WASI_OK,
    fd_fdstat_set_flags: () => WASI_OK,
    clock_time_get(clock, precision, out) {
      view().setBigUint64(out, BigInt(Math.round(performance.now() * 1e6)), true);
      return WASI_OK;
    },
    environ_sizes_get(count, size) {
      view().setUint32(count, 0, true);
      view().setUint32(size, 0, true);
      return WASI_OK;
    },
    environ_get: () => WASI_OK,
  };
  return {
    calls,
    use(exported) { memory = exported; },
  };
}

// files: {name: Uint8Array}. Every function throws an EngineError with the program's one message.
function makeEngine(module, given) {
  const files = new Map();
  for (const name of Object.keys(given)) files.set(name, {data: given[name], n: given[name].length});
  const wasi = makeWasi(files), imports = {};
  for (const {module: from, name} of WebAssembly.Module.imports(module)) {
    imports[from] = imports[from] || {};
    imports[from][name] = wasi.calls[name] || (() => WASI_NOSYS);
  }
  const c = new WebAssembly.Instance(module, imports).exports;
  let model = null;
  wasi.use(c.memory);
  c._initialize();

  const call = (name, ...args) => {
    try {
      return c[name](...args);
    } catch (error) {
      if (error instanceof EngineError) throw error;
      throw new EngineError(`the program was stopped: ${error.message}`);
    }
  };
  const result = (n) => Array.from(new Float64Array(c.memory.buffer, call('web_result'), n));
  const places = {};                            // memory of the C side, by what it is for
  const place = (what, size) => {
    if (!places[what] || places[what].size < size)
      places[what] = {at: call('web_memory', size), size};
    return places[what].at;
  };

  return {
    memoryBytes: () => c.memory.buffer.byteLength,
    start(words) {
      const line = new TextEncoder().encode(words.join('\n') + '\0'), at = place('words', Math.max(line.length, 512));
      new Uint8Array(c.memory.buffer, at, line.length).set(line);
      const layers = call('web_start', at), r = result(8);
      model = {letters: String.fromCharCode(...new Uint8Array(c.memory.buffer, at, layers)), layers, parameters: r[0], vocab: r[1], seq: r[2], batch: r[3], heads: r[4],
               steps: r[5], bytes: r[6], scored: r[7]};
      call('web_floors');
      return Object.assign(model, {floors: result(3)});
    },
    step() {
      const loss = call('web_step'), [accuracy, norm, rate, step] = result(4);
      return {loss, accuracy, norm, rate, step};
    },
    validate(skip) {
      const loss = call('web_validate', skip || 0);
      return {loss, accuracy: result(1)[0]};
    },
    read(tokens) {                              // how many of them were read
      const n = Math.min(tokens.length, model.seq), at = place('tokens', 4 * model.seq);
      new Int32Array(c.memory.buffer, at, n).set(tokens.slice(0, n));
      return call('web_read', at, n);
    },
    map(n, layer, head) {
      const at = place('map', 8 * n * n);
      call('web_map', at, at + 4 * n * n, layer, head);
      return {n, map: new Float32Array(c.memory.buffer, at, n * n).slice(),
              scores: new Float32Array(c.memory.buffer, at + 4 * n * n, n * n).slice()};
    },
    indicators(layer) {
      const at = place('indicators', 64), n = call('web_indicators', at, layer);
      return Array.from(new Float64Array(c.memory.buffer, at, n));
    },
    sample(prompt, n, temperature, seed) {
      n = Math.min(n, model.seq);
      const start = prompt.slice(-Math.max(1, n - 1)), at = place('tokens', 4 * model.seq);
      new Int32Array(c.memory.buffer, at, start.length).set(start);
      const count = call('web_sample', at, start.length, n, temperature, seed);
      return Array.from(new Int32Array(c.memory.buffer, at, count));
    },
    save() {
      call('web_save');
      const file = files.get('saved/model.safetensors');
      return file.data.slice(0, file.n);
    },
  };
}
