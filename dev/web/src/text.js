// text.js: what the page says about the variants, the block, and the eight cards of the lesson.

const PRINCIPLES = [
  {name: 'mixing', says: 'Mixing: information moves between positions.'},
  {name: 'the form', says: 'The form: a dot product of query and key, then softmax.'},
  {name: 'dependence on the sequence', says: 'Dependence on the sequence: the attention map is made anew for every text.'},
  {name: 'current queries and keys', says: 'Queries and keys of the current layer: both are computed from what the layer itself receives.'},
];

// gone: the principle that the variant gives up. shape: of its mark in the curves.
const VARIANTS = [
  {name: 'standard', letter: 'S', gone: 0, shape: 'circle', chapter: '4.1',
   equation: 'A = softmax(q_i · k_j / √dh)\no_i = Σ_j A_ij v_j',
   says: 'Each position asks (query), it and each earlier position offer (key), and the answer is an average of their values, weighted by how well query and key match.'},
  {name: 'mlp', letter: 'M', gone: 1, shape: 'square', chapter: '4.2',
   equation: 'no map\no_i = (SiLU(q_i) * k_i) Wv',
   says: 'No position sees another. The same matrices become a small network for each position alone, so the model knows only the current byte. There is no map, so the other three principles have nothing to act on.'},
  {name: 'approx', letter: 'A', gone: 2, shape: 'triangle', chapter: '4.3',
   equation: 'f(x) = 1 + x + x²/2 replaces exp(x)\nA = f(x_ij) / Σ_l f(x_il)',
   says: 'The softmax keeps its dot product but loses its exponential: the first three terms of its Taylor series replace it. The model can still compare, but less sharply.'},
  {name: 'nonapprox', letter: 'N', gone: 2, shape: 'diamond', chapter: '4.4',
   equation: 's_j = SiLU(q_j) · k_j / √dh\nA = softmax_j(s_j), j ≤ i',
   says: 'Queries and keys no longer meet in pairs. Each position has one score, whichever query asks, so every later position gives it the same relative weight.'},
  {name: 'rndembqk', letter: 'R', gone: 3, shape: 'down', chapter: '4.5',
   equation: 'q, k from a fixed random sequence\none map A for all texts',
   says: 'Queries and keys come from a sequence of random vectors that never changes. The map can learn “look one position back”, but not “look for this word”.'},
  {name: 'fixedseqqk', letter: 'F', gone: 3, shape: 'cross', chapter: '4.6',
   equation: 'q, k from one fixed text\none map A for all texts',
   says: 'The same with a piece of real text: its queries and keys make one map, and every other text is read through that map.'},
  {name: 'staticembqk', letter: 'E', gone: 4, shape: 'star', chapter: '4.7',
   equation: 'q, k from the embeddings of the tokens\nA = softmax(q_i · k_j / √dh)',
   says: 'Queries and keys see only the tokens themselves, not what the layers below found out about them. The map still depends on the text.'},
];
const byLetter = Object.fromEntries(VARIANTS.map((v) => [v.letter, v]));
const LETTERS = VARIANTS.map((v) => v.letter);

// The boxes of the drawing, in reading order.
const BOXES = {
  h: ['h, the residual stream', 'One vector of C numbers for each position. Every half of a block adds its result to it; nothing is ever overwritten.', ''],
  norm1: ['RMSNorm', 'Scales each position\'s vector to length √C, channel by channel with a learned gain.', 'n = gain * h / √(mean(h²) + 10⁻⁶)'],
  q: ['Wq: the query  *', 'What this position looks for. In rndembqk and fixedseqqk it comes from a fixed sequence, in staticembqk from the token embeddings.', 'q = n Wq + bq'],
  k: ['Wk: the key  *', 'What this position offers to be found by. Its source is the same as the query\'s.', 'k = n Wk + bk'],
  v: ['Wv: the value', 'What a position hands over when it is looked at. In every variant it comes from the layer\'s own input.', 'v = n Wv + bv'],
  rope: ['RoPE', 'Turns queries and keys by an angle that grows with their position, so that a dot product sees how far apart two positions are.', 'a pair of channels (a, b) turns by t · base^(−2c/dh)'],
  mix: ['mix  *', 'The heart of attention: an average of the values of this position and all earlier ones. The variants differ in how its weights are made.', 'x_ij = q_i · k_j / √dh\nA_ij = exp(x_ij) / Σ_l≤i exp(x_il)\no_i = Σ_j≤i A_ij v_j'],
  wo: ['Wo', 'Brings the heads\' results together and adds them to the residual stream.', 'h ← h + o Wo'],
  norm2: ['RMSNorm', 'The same scaling again, with a gain of its own.', 'n = gain * h / √(mean(h²) + 10⁻⁶)'],
  gate: ['Wgate, Wup', 'Two projections to F hidden channels; one of them, through SiLU, opens or closes the other.', 'SiLU(n Wgate) * (n Wup),  SiLU(x) = x / (1 + e⁻ˣ)'],
  down: ['Wdown', 'Brings the hidden channels back to C and adds them to the residual stream. No position sees another here: in the whole block only “mix” moves information between positions.', 'h ← h + (…) Wdown'],
};

// Sizes: words for train_attnvar's command line, and what the page needs to know about them.
const SIZES = {
  quick: {task: 'text', label: 'quick: 4 layers, C 64, small batch', layers: 4, heads: 4, steps: 550, rate: 0.003,
    every: 50, words: ['--size', 'tiny', '--batch', '8']},
  tiny: {task: 'text', label: 'default: 4 layers, C 64', layers: 4, heads: 4, steps: 1200, rate: 0.003, every: 100,
    words: ['--size', 'tiny']},
  small: {task: 'text', label: 'small: 6 layers, C 128 (slow)', layers: 6, heads: 4, steps: 2000, rate: 0.002, every: 100,
    words: ['--size', 'small']},
  pocket: {task: 'text', label: 'pocket: 4 layers, C 32 (for a phone)', layers: 4, heads: 2, steps: 800, rate: 0.005,
    every: 50, words: ['--size', 'tiny', '--dim', '32', '--heads', '2', '--ffn', '96', '--seq', '64', '--batch', '8']},
  recall: {task: 'recall', label: 'recall: 2 layers, C 64, 6 pairs', layers: 2, heads: 1, steps: 600, rate: 0.003,
    every: 20, words: ['--data', 'recall', '--seq', '24', '--pairs', '6', '--vocab', '32', '--batch', '128', '--ffn', '64']},
  pairs8: {task: 'recall', label: 'longer: 8 pairs, 48 positions', layers: 2, heads: 1, steps: 800, rate: 0.003,
    every: 20, words: ['--data', 'recall']},
};
const TASKS = {
  text: 'The model reads the first 540,000 bytes of the novel and predicts each next byte; a part of the next 60,000 tests it (validation). Loss is the mean of −ln p, in nats a byte, where p is the probability that the model gave to the byte that came next: 0 is certainty, ln 256 = 5.55 a blind guess.',
  tokens: 'The model reads the same text cut into 1,024 kinds of pieces, common words and syllables. Spelling matters less then, and the choice of words more. The loss is in nats a token, so it cannot be compared with a loss in nats a byte.',
  recall: 'Each sequence lists pairs of a key and its value, then asks for the keys again in another order. Only a model that finds the right key far back can answer. The score is accuracy: the share of right answers.',
  own: 'Your text is read as bytes. Its last tenth is kept for validation. It stays in this browser: the address does not carry it.',
};

// The eight cards. models: letters a layer (of four on text, two on recall). value: the number that
// the guess is about, from the trained models. why: shown after the run; expect: whether the result is the
// one that it explains, given the trained models and the floors.
const LESSON = [
  {id: 'mixing', tag: 'principle 1: mixing', task: 'text', models: ['MMMM'], reads: 'loss',
   question: 'Take mixing away from all four layers. Where does the loss end?',
   setup: 'mlp in every layer. Each position sees its own byte and nothing before it.',
   value: (m) => m[0].loss,
   expect: (m, [, , bigram]) => Math.abs(m[0].loss - bigram) < 0.25,
   why: 'Without mixing a position knows one byte: its own. The best that it can learn is how often each byte follows this one, and the loss of that knowledge is the bigram floor. Four layers with two hundred thousand parameters end close to a table of byte pairs. More layers or more steps would not help: the model lacks information, not capacity.'},
  {id: 'fixed', tag: 'principle 3: dependence on the sequence', task: 'text', models: ['RRRR', 'SSSS'], reads: 'loss',
   question: 'Give every text the same attention map, made from random vectors. Where does the loss end?',
   setup: 'rndembqk in every layer, with standard for comparison. Your guess is for rndembqk.',
   value: (m) => m[0].loss, others: (m) => [{letters: 'SSSS', value: m[1].loss}],
   expect: (m, [, , bigram]) => m[0].loss < bigram - 0.3,
   why: 'Far below the bigram floor: a fixed map can still learn “look one back, two back, three back”, and the neighbouring bytes are most of what a small model needs in order to spell. At this size the loss tells you little about dependence on the sequence. The next card has a task that needs it.'},
  {id: 'fixed-recall', tag: 'principle 3: dependence on the sequence', task: 'recall', models: ['RR', 'SS'], reads: 'accuracy',
   question: 'Now recall: can a map that is the same for every text find the value that belongs to a key?',
   setup: 'A sequence lists pairs of a key and its value, then asks for the keys again; accuracy is the share of right answers. rndembqk in both layers, with standard for comparison. Guess the accuracy of rndembqk.',
   value: (m) => m[0].accuracy, others: (m) => [{letters: 'SS', value: m[1].accuracy}],
   expect: (m) => m[0].accuracy < 0.5 && m[1].accuracy >= 0.9,
   why: 'A fixed map looks at the same places whatever the text says, but the key stands somewhere else each time. The model can learn which values occurred, not which belongs to this key. Its best answer is the value that occurred most often; some values occur twice or more, so 0.29 of these answers are right on average. Standard attention looks for the key itself and solves the task: with a fixed map, mixing is there, but it cannot be aimed.'},
  {id: 'taylor', tag: 'principle 2: the form', task: 'recall', models: ['AA', 'NN'], reads: 'accuracy',
   question: 'Replace exp(x) by 1 + x + x²/2 in the softmax. Does recall survive?',
   setup: 'approx in both layers (your guess), compared with nonapprox, which drops the pair of query and key.',
   value: (m) => m[0].accuracy, others: (m) => [{letters: 'NN', value: m[1].accuracy}],
   expect: (m) => m[0].accuracy >= 0.9 && m[1].accuracy < 0.5,
   why: 'The exact shape of the softmax is not needed: a parabola also gives a large score more weight than a small one, and training makes the scores large enough. What is needed is that query and key meet. In nonapprox every position has one score, whichever query asks, so all questions get the same answer.'},
  {id: 'static', tag: 'principle 4: queries and keys of the current layer', task: 'recall', models: ['EE', 'ES'], reads: 'accuracy',
   question: 'Let queries and keys see only the tokens, never what lower layers found out. Does recall survive?',
   setup: 'staticembqk in both layers (your guess), compared with a model whose second layer is standard.',
   value: (m) => m[0].accuracy, others: (m) => [{letters: 'ES', value: m[1].accuracy}],
   expect: (m) => m[0].accuracy < 0.5 && m[1].accuracy >= 0.9,
   why: 'Recall takes two steps: first each value learns which key stands before it, then the question finds the value that knows its key. The second step compares something that the first layer wrote. A static query can find the key again but not the value behind it. One standard layer on top, whose keys come from the current layer, repairs this.'},
  {id: 'hybrid', tag: 'hybrids: the layers cooperate', task: 'text', models: ['MSMS', 'SSSS'], reads: 'loss',
   question: 'Let only every second layer mix: where does the loss of mlp, standard, mlp, standard end?',
   setup: 'Layers 1 and 3 are mlp, 2 and 4 standard; standard in all layers for comparison. Your guess is for the hybrid.',
   value: (m) => m[0].loss, others: (m) => [{letters: 'SSSS', value: m[1].loss}],
   expect: (m, [, , bigram]) => m[0].loss < bigram - 0.3,
   why: 'Two layers that mix do nearly all the mixing that this text asks for; the mlp layers spend their parameters on each position alone. The variant that was worst by itself is a good partner. This is the paper\'s main finding: principles can be given up in some layers as long as others keep them.'},
  {id: 'worst', tag: 'hybrids: the layers cooperate', task: 'recall', models: ['MS', 'AS', 'NS', 'RS', 'FS', 'ES'], reads: 'accuracy',
   question: 'Six hybrids on recall: a simple layer below, a standard layer above. How accurate is the worst of them?',
   setup: 'All six variants in layer 1, standard in layer 2. Guess the accuracy of the worst, and note which one you think it is.',
   value: (m) => Math.min(...m.map((x) => x.accuracy)),
   others: (m, letters) => m.map((x, i) => ({letters: letters[i], value: x.accuracy})),
   expect: (m) => m.every((x) => 'MN'.includes(x.letters[0]) ? x.accuracy < 0.5 : x.accuracy >= 0.9),
   why: 'Recall needs two steps of mixing, and layer 1 must take the first: tell each value which key stands just before it. approx, rndembqk, fixedseqqk and staticembqk can look one position back. mlp cannot look anywhere, and nonapprox has no sense of position: it weighs earlier positions by what they hold, not by where they stand. These two fail.'},
  {id: 'skip', tag: 'hybrids: what a skip does', task: 'text', models: ['MSMS'], reads: 'loss', high: 8,
   question: 'Train mlp, standard, mlp, standard. Then leave the two mlp blocks out, without training again. Where does the loss go?',
   setup: 'The simple blocks are skipped: the residual stream passes them unchanged.',
   value: (m) => m[0].skipBlocks, others: (m) => [{letters: 'MSMS', value: m[0].loss}],
   expect: (m, [chance]) => m[0].skipBlocks > chance - 1.2 && m[0].skipMixers < m[0].loss + 0.4,
   why: 'The skipped model is near chance, or even worse, because it is sure of wrong answers. So the simple blocks were not idle: the layers have learned to rely on each other. The work is done in the second half of each simple block: if only its mixing is left out, the loss hardly moves. A model can learn to do without standard attention in a block, but that block cannot be removed afterwards.'},
];
