#!/usr/bin/env python3
"""What Hugging Face's and SentencePiece's own code makes of ids: tests/data/tokenizers/decoding.json.

    python3 -m venv venv && venv/bin/pip install tokenizers sentencepiece
    venv/bin/python tools/goldens/decoding.py

Texts of tokenizer_kinds.py and random ids, which cut characters and runs of bytes anywhere, by the little tokenizers of
the tests and by these with every kind of decoder that a tokenizer.json may have and that we take. Seeded.
"""

import json
import pathlib
import random
import sys

import sentencepiece
import tokenizers

sys.dont_write_bytecode = True
import tokenizer_kinds  # noqa: E402

MARK = "\u2581"
SPACE_MARKS = dict(type="Replace", pattern=dict(String=" "), content=MARK)
SPACES = dict(type="Replace", pattern=dict(String=MARK), content=" ")


def strip(start, stop, content=" "):
    return dict(type="Strip", content=content, start=start, stop=stop)


def sequence(*steps):
    return dict(type="Sequence", decoders=list(steps))


def kinds():
    """Base, and its decoder where it is another."""
    for base in ("models/llama2_tiny/tokenizer.json", "models/llama3_tiny/tokenizer.json", "models/qwen2_tiny/tokenizer.json", "tokenizers/unigram.json"):
        yield base, {}
    llama2, llama3, unigram = "models/llama2_tiny/tokenizer.json", "models/llama3_tiny/tokenizer.json", "tokenizers/unigram.json"
    fallback, fuse = dict(type="ByteFallback"), dict(type="Fuse")
    yield llama2, dict(decoder=None)
    yield llama2, dict(decoder=sequence(SPACES, fallback, fuse))  # Gemma
    yield llama2, dict(decoder=sequence(fallback, dict(type="Metaspace", replacement=MARK, prepend_scheme="always")))
    yield llama2, dict(decoder=dict(type="BPEDecoder", suffix="e"))
    yield llama2, dict(decoder=sequence(SPACES, strip(2, 0), dict(type="Replace", pattern=dict(Regex="[aeiou]+"), content="_")))
    yield llama2, dict(decoder=sequence(fallback, fuse, SPACES, dict(type="Replace", pattern=dict(String="  "), content=" ")))
    # Tokens that are looked for in normal form are decoded in it, and not special any more where it is another.
    flags = dict(single_word=False, lstrip=False, rstrip=False, normalized=True)
    yield llama2, dict(added_tokens=[dict(id=768, content="Tool it", special=False, **flags), dict(id=769, content="End it", special=True, **flags),
                                     dict(id=770, content=MARK + "end", special=True, **flags)], normalizer=SPACE_MARKS)
    yield llama3, dict(decoder=sequence(dict(type="ByteLevel", add_prefix_space=True, trim_offsets=True, use_regex=True), strip(1, 0)))
    yield llama3, dict(decoder=dict(type="Fuse"))
    for scheme in ("never", "first"):
        yield unigram, dict(decoder=dict(type="Metaspace", replacement=MARK, prepend_scheme=scheme))
    yield unigram, dict(decoder=sequence(fallback, SPACES, fuse, strip(1, 0)))


def random_ids(rng, vocabulary):
    """Some of them bytes or special, which lie at the ends of a vocabulary."""
    spans = [(0, vocabulary), (0, 259), (max(vocabulary - 12, 0), vocabulary), (0, 5)]
    return [rng.randrange(*rng.choice(spans)) for _ in range(rng.randrange(1, 24))]


def main():
    data = pathlib.Path(__file__).resolve().parent.parent.parent / "tests/data"
    out = []
    for base, changes in kinds():
        rng = random.Random(7)
        document = json.loads((data / base).read_text(encoding="utf-8"))
        tokenizer = tokenizers.Tokenizer.from_str(json.dumps(dict(document, **changes)))
        own = not changes
        ids = [tokenizer.encode(text, add_special_tokens=False).ids for text in tokenizer_kinds.TEXTS] if own else []
        ids += [random_ids(rng, tokenizer.get_vocab_size()) for _ in range(20 if own else 8)]
        out.append(dict(base=base, changes=changes, cases=[
            dict(ids=some, text=tokenizer.decode(some), special=tokenizer.decode(some, skip_special_tokens=False)) for some in ids]))
    base = "models/llama2_tiny/tokenizer.model"
    processor = sentencepiece.SentencePieceProcessor(model_file=str(data / base))
    rng = random.Random(8)
    ids = [processor.encode(text) for text in tokenizer_kinds.TEXTS] + [random_ids(rng, processor.get_piece_size()) for _ in range(20)]
    out.append(dict(base=base, changes={}, cases=[dict(ids=some, text=processor.decode(some)) for some in ids]))
    lines = ",\n".join(json.dumps(kind, ensure_ascii=True) for kind in out)
    (data / "tokenizers/decoding.json").write_text("[" + lines + "]\n", encoding="utf-8")


if __name__ == "__main__":
    main()
