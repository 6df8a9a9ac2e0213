#!/usr/bin/env python3
"""Makes the little tokenizers of the tests, and what Hugging Face's and SentencePiece's own code says about them.

    python3 -m venv venv && venv/bin/pip install tokenizers 'transformers<5' sentencepiece
    venv/bin/python tools/goldens/make_tokenizers.py            # writes under tests/data
    venv/bin/python tools/goldens/make_tokenizers.py --fuzz 50000 --driver build/tokenizer_driver

Written: tests/data/models/{llama3,qwen2,llama2}_tiny/tokenizer*.{json,model}, tests/data/tokenizers/*.json and
tests/data/text/sample.jsonl. Everything is seeded; ids may change with other versions of the packages (made with
tokenizers 0.23.3, sentencepiece 0.2.3).
"""

import argparse
import base64
import io
import json
import pathlib
import random
import struct
import subprocess
import sys
import unicodedata

import sentencepiece
import tokenizers
import transformers
from tokenizers import Regex, decoders, models, normalizers, pre_tokenizers, trainers

sys.dont_write_bytecode = True
import corpus  # noqa: E402
import hard_text  # noqa: E402
import tokenizer_kinds  # noqa: E402

HERE = pathlib.Path(__file__).resolve().parent

SPLIT = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|%s| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
IDS = 768
MARK = "\u2581"


def added(content, **flags):
    return dict(dict(content=content, single_word=False, lstrip=False, rstrip=False, normalized=False, special=True), **flags)


def byte_level(pattern, normalizer, special, texts):
    """A byte-level BPE whose ids end with the added tokens, as the JSON of a tokenizer.json."""
    tokenizer = tokenizers.Tokenizer(models.BPE())
    if normalizer:
        tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(pattern), behavior="isolated", invert=False),
        pre_tokenizers.ByteLevel(add_prefix_space=False, trim_offsets=True, use_regex=False)])
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=IDS - len(special), initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
                                  show_progress=False)
    tokenizer.train_from_iterator(texts, trainer)
    document = json.loads(tokenizer.to_str())
    vocab = document["model"]["vocab"]
    assert len(vocab) == IDS - len(special), "the corpus is too small for that many ids"
    document["added_tokens"] = [dict(id=len(vocab) + i, **token) for i, token in enumerate(special)]
    return document


def llama3(texts):
    names = ["begin_of_text", "end_of_text", "start_header_id", "end_header_id", "eot_id", "reserved_special_token_0",
             "reserved_special_token_1", "reserved_special_token_2"]
    document = byte_level(SPLIT % r"\p{N}{1,3}", None, [added(f"<|{name}|>") for name in names], texts)
    model = document["model"]
    model["ignore_merges"] = True
    # Without their last merge these words can only be found whole, which is what ignore_merges is for.
    parts = {part for pair in model["merges"] for part in pair}
    model["merges"] = [pair for i, pair in enumerate(model["merges"]) if "".join(pair) in parts or len("".join(pair)) < 5 or i % 3]
    bos = names[0]
    document["post_processor"] = {"type": "Sequence", "processors": [
        {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": False, "use_regex": True},
        {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": f"<|{bos}|>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
         "pair": [{"SpecialToken": {"id": f"<|{bos}|>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}},
                  {"SpecialToken": {"id": f"<|{bos}|>", "type_id": 1}}, {"Sequence": {"id": "B", "type_id": 1}}],
         "special_tokens": {f"<|{bos}|>": {"id": f"<|{bos}|>", "ids": [document["added_tokens"][0]["id"]], "tokens": [f"<|{bos}|>"]}}}]}
    config = dict(tokenizer_class="PreTrainedTokenizerFast", bos_token=f"<|{bos}|>", eos_token="<|end_of_text|>", model_max_length=131072)
    return document, config


def qwen2(texts):
    plain = dict(special=False)
    special = [added("<|endoftext|>"), added("<|im_start|>"), added("<|im_end|>"),
               added("<tool>", lstrip=True, **plain), added("<sep>", rstrip=True), added("<both>", lstrip=True, rstrip=True),
               added("ion", single_word=True, **plain), added("cafe\u0301", normalized=True, **plain), added("\u2460", normalized=True, **plain)]
    document = byte_level(SPLIT % r"\p{N}", normalizers.NFC(), special, texts)
    document["model"].update(ignore_merges=False, continuing_subword_prefix="", end_of_word_suffix="")
    document["model"]["merges"] = [" ".join(pair) for pair in document["model"]["merges"]]  # the older way to write them
    document["post_processor"] = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False}
    config = dict(tokenizer_class="Qwen2Tokenizer", bos_token=None, eos_token="<|endoftext|>", model_max_length=32768)
    return document, config


def llama2(texts):
    """Returns also the SentencePiece model that the JSON is made from."""
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([line for text in texts for line in text.splitlines() if line]), model_writer=model, model_type="bpe", vocab_size=IDS,
        byte_fallback=True, normalization_rule_name="identity", remove_extra_whitespaces=False, split_digits=True, add_dummy_prefix=True,
        allow_whitespace_only_pieces=True, character_coverage=0.995, num_threads=1, minloglevel=2)
    spm = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
    pieces = [spm.id_to_piece(i) for i in range(spm.get_piece_size())]
    vocab = {piece: i for i, piece in enumerate(pieces)}
    learned = [i for i in range(len(pieces)) if not (spm.is_unknown(i) or spm.is_control(i) or spm.is_byte(i))]
    merges = []
    for i in sorted(learned, key=lambda i: -spm.get_score(i)):
        cuts = [(pieces[i][:k], pieces[i][k:]) for k in range(1, len(pieces[i]))]
        cuts = [cut for cut in cuts if cut[0] in vocab and cut[1] in vocab]
        merges += [list(cut) for cut in sorted(cuts, key=lambda cut: (vocab[cut[0]], vocab[cut[1]]))]
    bos = {"SpecialToken": {"id": "<s>", "type_id": 0}}
    text = {"Sequence": {"id": "A", "type_id": 0}}
    document = {
        "version": "1.0", "truncation": None, "padding": None,
        "added_tokens": [dict(id=i, **added(piece)) for i, piece in enumerate(["<unk>", "<s>", "</s>"])],
        "normalizer": {"type": "Sequence", "normalizers": [
            {"type": "Prepend", "prepend": MARK}, {"type": "Replace", "pattern": {"String": " "}, "content": MARK}]},
        "pre_tokenizer": None,
        "post_processor": {"type": "TemplateProcessing", "single": [bos, text],
                           "pair": [bos, text, {"SpecialToken": {"id": "<s>", "type_id": 1}}, {"Sequence": {"id": "B", "type_id": 1}}],
                           "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}}},
        "decoder": {"type": "Sequence", "decoders": [
            {"type": "Replace", "pattern": {"String": MARK}, "content": " "}, {"type": "ByteFallback"}, {"type": "Fuse"},
            {"type": "Strip", "content": " ", "start": 1, "stop": 0}]},
        "model": {"type": "BPE", "dropout": None, "unk_token": "<unk>", "continuing_subword_prefix": None, "end_of_word_suffix": None,
                  "fuse_unk": True, "byte_fallback": True, "ignore_merges": False, "vocab": vocab, "merges": merges}}
    flags = dict(lstrip=False, normalized=False, rstrip=False, single_word=False)
    config = dict(tokenizer_class="LlamaTokenizer", bos_token=dict(content="<s>", **flags), eos_token=dict(content="</s>", **flags),
                  unk_token=dict(content="<unk>", **flags), add_bos_token=True, add_eos_token=False, legacy=False)
    return document, config, model.getvalue()


def write_json(path, value, indent=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    separators = None if indent else (",", ":")
    path.write_text(json.dumps(value, ensure_ascii=False, indent=indent, separators=separators) + "\n", encoding="utf-8")


def encoders(data):
    """Name in hard_text.json -> (path that our tokenizer loads, function from text to ids)."""
    found = {}
    for name in ("llama3_tiny", "qwen2_tiny", "llama2_tiny"):
        path = data / "models" / name / "tokenizer.json"
        tokenizer = tokenizers.Tokenizer.from_file(str(path))
        found[name] = (path, lambda text, t=tokenizer: t.encode(text, add_special_tokens=False).ids)
    path = data / "models/llama2_tiny/tokenizer.model"
    # 4.x computes by the SentencePiece library; legacy=False is what 5 always does.
    slow = transformers.LlamaTokenizer(str(path), legacy=False)
    found["llama2_tiny/tokenizer.model"] = (path, lambda text: slow.encode(text, add_special_tokens=False))
    return found


def variants(data):
    """Other definitions that are supported, as JSON merge patches of the little tokenizers."""
    mark = dict(type="Metaspace", replacement=MARK)
    llama2 = json.loads((data / "models/llama2_tiny/tokenizer.json").read_text(encoding="utf-8"))
    more = llama2["added_tokens"] + [dict(id=IDS + i, **token) for i, token in enumerate([
        added("finch", normalized=True), added("<sep>", rstrip=True), added("ion", single_word=True, normalized=True)])]
    level = dict(type="ByteLevel", trim_offsets=True)
    yield "llama2_tiny", dict(normalizer=None, pre_tokenizer=dict(mark, prepend_scheme="first", split=False), added_tokens=more)
    yield "llama2_tiny", dict(normalizer=None, pre_tokenizer=dict(mark, prepend_scheme="always", split=True))
    yield "llama2_tiny", dict(normalizer=None, pre_tokenizer=dict(mark, prepend_scheme="never"))
    yield "llama2_tiny", dict(added_tokens=more)
    yield "llama2_tiny", dict(model=dict(byte_fallback=False))
    yield "llama2_tiny", dict(model=dict(byte_fallback=False, fuse_unk=False))
    yield "llama2_tiny", dict(model=dict(byte_fallback=False, unk_token=None))
    yield "llama3_tiny", dict(pre_tokenizer=dict(level, pretokenizers=None, add_prefix_space=False, use_regex=True))
    yield "llama3_tiny", dict(pre_tokenizer=dict(level, pretokenizers=None, add_prefix_space=True))


def patched(document, patch):
    if not isinstance(patch, dict):
        return patch
    out = dict(document) if isinstance(document, dict) else {}
    for key, value in patch.items():
        out[key] = patched(out.get(key), value)
        if value is None:
            del out[key]
    return out


def make_variants(data):
    texts = [text for text in hard_text.TEXTS if len(text) < 60][::2]
    out = []
    for base, patch in variants(data):
        document = patched(json.loads((data / "models" / base / "tokenizer.json").read_text(encoding="utf-8")), patch)
        tokenizer = tokenizers.Tokenizer.from_str(json.dumps(document))
        ids = [tokenizer.encode(text, add_special_tokens=False).ids for text in texts]
        out.append(dict(base=base, patch=patch, ids=ids))
    write_json(data / "tokenizers/variants.json", dict(texts=texts, variants=out))


def cross_check(data, texts):
    """transformers must agree with the package underneath it."""
    from transformers import PreTrainedTokenizerFast
    for name, (path, encode) in encoders(data).items():
        if path.suffix == ".json":
            other = PreTrainedTokenizerFast(tokenizer_file=str(path))
            wrong = [text for text in texts if other.encode(text, add_special_tokens=False) != encode(text)]
            print(f"{name}: transformers differs on {len(wrong)} of {len(texts)} texts")


def make(data):
    texts = corpus.documents(4000, seed=1)
    for name, made in (("llama3_tiny", llama3(texts)), ("qwen2_tiny", qwen2(texts)), ("llama2_tiny", llama2(texts))):
        folder = data / "models" / name
        write_json(folder / "tokenizer.json", made[0])
        write_json(folder / "tokenizer_config.json", made[1], indent=2)
        if len(made) == 3:
            (folder / "tokenizer.model").write_bytes(made[2])
    (data / "text").mkdir(exist_ok=True)
    corpus.write_jsonl(data / "text/sample.jsonl", corpus.documents(300, seed=2))

    cases = [dict(text=text) for text in hard_text.TEXTS] + [dict(text=text, repeat=n) for text, n in hard_text.REPEATED]
    cases += [dict(base64=base64.b64encode(raw).decode()) for raw in hard_text.BYTES]
    decoded = hard_text.TEXTS + [text * n for text, n in hard_text.REPEATED] + [raw.decode(errors="replace") for raw in hard_text.BYTES]
    ids = {name: [encode(text) for text in decoded] for name, (_, encode) in encoders(data).items()}
    write_json(data / "tokenizers/hard_text.json", dict(cases=cases, ids=ids))
    make_variants(data)
    write_json(data / "tokenizers/unigram.json", tokenizer_kinds.unigram(texts[:600]))
    write_json(data / "tokenizers/kinds.json", tokenizer_kinds.golden(data))
    cross_check(data, decoded)


def random_text(rng, specials):
    letters = hard_text.ALPHABET
    if rng.random() < 0.5:
        letters = rng.sample(letters, rng.randint(1, 8))
    out = []
    for _ in range(rng.choice([1, 2, 3, 5, 8, 13, 40, 120])):
        kind = rng.random()
        if kind < 0.06:
            out.append(rng.choice(specials))
        elif kind < 0.08:
            special = rng.choice(specials)
            out.append(special[:rng.randint(0, len(special))])
        elif kind < 0.12:
            # Characters that this Python's Unicode does not know are letters to one version of Oniguruma but not to another.
            letter = chr(rng.choice([rng.randrange(0x3000), rng.randrange(0x110000)]))
            out.append(letter if unicodedata.category(letter) not in ("Cs", "Cn") else "?")
        elif kind < 0.14:
            out.append(corpus.document(rng))
        else:
            out.append(rng.choice(letters) * rng.choice([1, 1, 1, 2, 3, 7]))
    return "".join(out)


def fuzz(data, driver, count, seed, extra):
    """Compares a program, which reads (u32 bytes, text)... and writes (u32 ids, i32...)..., on random texts."""
    all_encoders = encoders(data)
    for path in extra:
        tokenizer = tokenizers.Tokenizer.from_file(str(path))
        all_encoders[str(path)] = (path, lambda text, t=tokenizer: t.encode(text, add_special_tokens=False).ids)
    specials = sorted({token for tokens in hard_text.SPECIALS.values() for token in tokens})
    for name, (path, encode) in all_encoders.items():
        rng = random.Random(seed)
        texts = [random_text(rng, specials) for _ in range(count)]
        raw = [text.encode() for text in texts]
        done = subprocess.run([driver, str(path)], input=b"".join(struct.pack("<I", len(r)) + r for r in raw), stdout=subprocess.PIPE, check=True)
        at, wrong = 0, []
        for text in texts:
            (n,) = struct.unpack_from("<I", done.stdout, at)
            ours = list(struct.unpack_from(f"<{n}i", done.stdout, at + 4))
            at += 4 + 4 * n
            if ours != encode(text):
                wrong.append(text)
        print(f"{name}: {len(wrong)} of {count} random texts differ", flush=True)
        for text in sorted(wrong, key=len)[:5]:
            print("   ", ascii(text))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=pathlib.Path, default=HERE.parent.parent / "tests/data", help="folder to write to")
    parser.add_argument("--fuzz", type=int, metavar="N", help="write nothing; compare --driver on N random texts")
    parser.add_argument("--driver", help="program to compare")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--extra", nargs="*", default=[], help="more tokenizer.json files to compare on")
    options = parser.parse_args()
    if options.fuzz:
        fuzz(options.data, options.driver, options.fuzz, options.seed, options.extra)
    else:
        make(options.data)


if __name__ == "__main__":
    main()
