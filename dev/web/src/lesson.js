// lesson.js: the eight cards. A card trains its models in the page; a model that two cards need is
// trained once.

const lesson = {trained: new Map(), models: [], running: true, onturn: () => cardsSoon()};
scheduler.groups.add(lesson);
const cards = LESSON.map((card, i) => ({...card, number: i + 1, guess: NaN, needed: null, done: false}));

function lessonModel(letters, task) {
  const size = task === 'recall' ? 'recall' : 'quick', s = SIZES[size], key = `${task} ${letters} ${lab.seed}`;
  if (!lesson.trained.has(key)) {
    const config = modelConfig({task, unit: task === 'recall' ? 'numbers' : 'bytes', size, steps: s.steps, rate: s.rate, seed: lab.seed, letters});
    config.indicatorTokens = null;
    const m = new Model(config);
    m.onchange = () => { if (m.done) m.close(); cardsSoon(); };
    lesson.trained.set(key, m);
  }
  return lesson.trained.get(key);
}

const cardAxis = (card) => card.reads === 'accuracy' ? {low: 0, high: 1, step: 0.01} : {low: 1, high: card.high || 6, step: 0.05};

function cardFloors(card) {
  const trained = [...lesson.trained.values(), ...lab.models].find((m) => m.info && (m.config.task === 'recall') === (card.task === 'recall') &&
    (card.task === 'recall' ? m.config.size === 'recall' : m.config.task === 'text' && m.config.unit === 'bytes' && m.config.size !== 'pocket'));
  if (trained) return floorsOf(trained.info, card.task);
  return card.task === 'recall' ? [] : [{name: 'chance', y: Math.log(256)}];
}

function buildLesson() {
  $('lesson-cards').innerHTML = cards.map((card, i) => `<article data-card="${i}" aria-labelledby="card-${card.id}">
    <span class="tag">Card ${card.number} · ${card.tag}</span>
    <h3 id="card-${card.id}">${card.question}</h3>
    <p class="hint">${card.setup}</p>
    <div class="axis-box"></div>
    <label class="field wide"><span>My guess: <b class="guess">move the slider</b></span>
      <input type="range" min="${cardAxis(card).low}" max="${cardAxis(card).high}" step="${cardAxis(card).step}"
        value="${(cardAxis(card).low + cardAxis(card).high) / 2}" aria-label="My guess for card ${card.number}, ${card.reads === 'accuracy' ? 'accuracy' : 'loss in nats'}" aria-valuetext="no guess yet"></label>
    <p><button type="button" class="main" disabled>Guess first</button> <span class="hint progress"></span><span class="sr" role="status"></span></p>
    <div class="outcome" aria-live="polite"></div></article>`).join('');
  cards.forEach(drawCard);
}

function drawCard(card) {
  const box = $('lesson-cards').children[card.number - 1], axis = cardAxis(card);
  const unit = card.reads === 'accuracy' ? 'accuracy' : 'loss in nats a byte';
  let results = null;
  if (card.done) {
    const value = card.value(card.needed), others = card.others ? card.others(card.needed, card.models) : [];
    results = card.id === 'worst' ? others : [{letters: card.models[0], value}, ...others];
    if (card.id === 'skip') results = [{letters: 'MSMS', value: others[0].value}, {letters: 'MSMS', label: 'skipped', value}];
  }
  const label = `Axis of the ${unit} from ${axis.low} to ${axis.high}` + (Number.isFinite(card.guess) ? `; your guess ${card.guess.toFixed(2)}` : '') +
    (results ? '; ' + results.map((r) => `${r.label || r.letters} ${r.value.toFixed(2)}`).join(', ') : '');
  const place = box.querySelector('.axis-box'), width = Math.max(280, place.clientWidth / (parseFloat(getComputedStyle(document.body).fontSize) / 16));
  place.innerHTML = guessAxis({...axis, width, floors: cardFloors(card), guess: card.guess,
    results, label});
}

let cardsWait = false;
function cardsSoon() {
  if (cardsWait) return;
  cardsWait = true;
  setTimeout(() => { cardsWait = false; updateCards(); }, 250);
}

function updateCards() {
  for (const card of cards) {
    if (!card.needed || card.done) continue;
    const box = $('lesson-cards').children[card.number - 1], failed = card.needed.find((m) => m.error);
    const progress = box.querySelector('.progress'), button = box.querySelector('button');
    if (failed) {
      progress.textContent = '';
      box.querySelector('.outcome').innerHTML = `<div class="error" role="alert">${escapeHtml(failed.error)}</div>`;
      for (const m of card.needed) lesson.trained.delete(`${m.config.task} ${m.letters} ${m.config.seed}`);
      card.needed = null;
      button.disabled = false;
      continue;
    }
    const part = card.needed.reduce((sum, m) => sum + (m.done ? 1 : m.step / m.total), 0) / card.needed.length;
    const tenth = Math.floor(part * 10) * 10;
    const now = card.needed.map((m) => `${m.letters} ${number(m.smooth, 2)}`).join(', ');
    progress.textContent = `${tenth} % trained: ${now}`;
    if (tenth % 50 === 0) box.querySelector('.sr').textContent = `Card ${card.number}: ${tenth} % trained.`;        // read aloud, so seldom
    if (!card.needed.every((m) => m.done)) continue;
    card.done = true;
    button.textContent = 'Run again with the seed of the laboratory';
    button.classList.remove('main');
    button.disabled = false;
    progress.textContent = '';
    const value = card.value(card.needed), off = value - card.guess, unit = card.reads === 'accuracy' ? '' : ' nats';
    const worst = card.id === 'worst' ? ` (${card.needed.filter((m) => m.accuracy < 0.5).map((m) => byLetter[m.letters[0]].name).join(' and ') || 'none'} stayed below 0.5)` : '';
    const mixers = card.id !== 'skip' ? '' : ` With only the mixing of these two blocks left out (their second half stays), the loss is ${card.needed[0].skipMixers.toFixed(2)}.`;
    const verdict = Math.abs(off) < (unit ? 0.1 : 0.05) ? 'Very close.' : `It came out ${Math.abs(off).toFixed(2)}${unit} ${off > 0 ? 'higher' : 'lower'} than you guessed.`;
    box.querySelector('.outcome').innerHTML = `<p>Your guess ${card.guess.toFixed(2)}; measured <b>${value.toFixed(2)}</b>${worst}. ${verdict}${mixers} Seed ${card.needed[0].config.seed}.</p>` +
      (card.expect(card.needed, card.needed[0].info.floors) ? '' : '<p><b>This run came out differently from most:</b> the reason below does not explain it. Run it again with another seed, set in the laboratory, to see which result was chance.</p>') +
      `<div class="why"><b>Why?</b> ${card.why}</div>`;
    drawCard(card);
  }
}

function setUpLesson() {
  buildLesson();
  const list = $('lesson-cards');
  let last = 0;
  new ResizeObserver(() => {
    if (list.clientWidth !== last) cards.forEach(drawCard);
    last = list.clientWidth;
  }).observe(list);
  list.addEventListener('input', (event) => {
    const box = event.target.closest('article'), card = cards[Number(box.dataset.card)], button = box.querySelector('button');
    card.guess = Number(event.target.value);
    box.querySelector('.guess').textContent = card.guess.toFixed(2);
    event.target.setAttribute('aria-valuetext', card.guess.toFixed(2) + (card.reads === 'accuracy' ? '' : ' nats'));
    if (!card.needed) {
      button.disabled = false;
      button.textContent = 'Run the experiment';
      // the first model that the run needs: it knows the floors, which help to guess
      lessonModel(card.models[0], card.task).open().then(() => cards.forEach(drawCard), () => {});
    }
    drawCard(card);
  });
  list.addEventListener('click', (event) => {
    const button = event.target.closest('button');
    if (!button) return;
    const card = cards[Number(button.closest('article').dataset.card)];
    card.done = false;
    card.needed = card.models.map((letters) => lessonModel(letters, card.task));
    for (const [key, m] of lesson.trained) {
      if (m.step || m.config.seed === lab.seed || cards.some((c) => c.needed && c.needed.includes(m))) continue;
      m.close();                                // was opened for a guess, before the seed changed
      lesson.trained.delete(key);
    }
    lesson.models = [...lesson.trained.values()];
    button.disabled = true;
    button.textContent = 'Training …';
    button.classList.add('main');
    button.closest('article').querySelector('.outcome').innerHTML = '';
    scheduler.next();
    cardsSoon();
  });
}
