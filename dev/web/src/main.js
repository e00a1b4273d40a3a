// main.js: puts the page together.

const BUILT = {{built}};

function setUpBlock() {
  $('block-drawing').innerHTML = drawBlock();
  const show = (id) => {
    const [title, says, equation] = BOXES[id];
    $('block-says').innerHTML = `<b>${escapeHtml(title)}</b><br>${escapeHtml(says)}${equation ? `<code>${escapeHtml(equation)}</code>` : ''}${'q k mix'.split(' ').includes(id) ? '<a href="#inside">See it with numbers</a>' : ''}`;
    for (const g of $('block-drawing').querySelectorAll('.box')) {
      g.classList.toggle('on', g.dataset.box === id);
      g.setAttribute('aria-pressed', g.dataset.box === id);
    }
  };
  const pick = (event) => {
    const g = event.target.closest('.box');
    if (!g || (event.type === 'keydown' && event.key !== 'Enter' && event.key !== ' ')) return;
    event.preventDefault();
    show(g.dataset.box);
  };
  $('block-drawing').addEventListener('click', pick);
  $('block-drawing').addEventListener('keydown', pick);
  show('mix');
}

function setUpVariants() {
  $('principles').innerHTML = PRINCIPLES.map((p) => `<li>${p.says}</li>`).join('');
  $('cards').innerHTML = VARIANTS.map((v) => `<article class="card" style="--c:var(--${v.letter})">
    <h3>${markSvg(v.letter)} ${v.name} <span class="hint">${v.letter}</span></h3>
    <ul aria-label="Principles">${PRINCIPLES.map((p, i) => `<li${v.gone === i + 1 ? ' class="gone"' : ''}>${i + 1} ${p.name}${v.gone === i + 1 ? '<span class="sr"> is given up</span>' : ''}</li>`).join('')}</ul>
    <p>${v.says}</p><code class="eq">${escapeHtml(v.equation)}</code>
    <p><a href="../../train_attnvar.c#L${BUILT.chapters[v.name]}" target="_blank" rel="noopener">chapter ${v.chapter}</a> <span class="hint">train_attnvar.c, line ${BUILT.chapters[v.name]}</span></p></article>`).join('');
}

setUpBlock();
setUpVariants();
const wrong = readHash(document.getElementById(location.hash.slice(1)) ? '' : location.hash);
setUpLab();
setUpInside();
setUpLesson();
setUpShare();
tellWrong(wrong);
$('about').textContent = `This computer has ${cores} core${cores > 1 ? 's' : ''}, so ${cores} model${cores > 1 ? 's' : ''} can train at once. The page carries the first 600,000 bytes of the corpus ` +
  `and is built from sources with the SHA-256 ${BUILT.sources.slice(0, 16)}…`;
// for the tests and the curious: the page's own parts
window.attnvar = {BUILT, lab, look, scheduler, lesson, cards, corpusBytes, change, configure, setModels, play, stop, oneStep, restart, setOwn, ownFile, loadModel,
  saveModel, makeHash, readHash, resultsCsv, classResults, showClass, refreshInside, encode, encodeTokens, decodeTokens, corpusShard, haveTokens, Model, modelConfig, PRESETS};
