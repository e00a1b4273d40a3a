// Makes ids.txt: the ids that Hugging Face's tokenizers library gives text.txt, by the tokenizer that
// bpe.py made. Uses the library's own binding for Node (npm install tokenizers, version 0.23.2):
//     node dev/golden/bpe/make_ids.js
const fs = require('fs'), path = require('path');
const { Tokenizer } = require('tokenizers');
const at = name => path.join(__dirname, name);
const tokenizer = Tokenizer.fromFile(at('../../data/tokenizer.json'));
const text = fs.readFileSync(at('text.txt'), 'utf8');
tokenizer.encode(text, null, { addSpecialTokens: false }).then(async encoding => {
    const ids = encoding.getIds();
    if (await tokenizer.decode(ids, false) !== text) throw new Error('the ids do not decode to the text');
    fs.writeFileSync(at('ids.txt'), ids.join('\n') + '\n');
});
