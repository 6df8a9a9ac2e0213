"""The kinds of normalizers, pre-tokenizers and models that a tokenizer.json can have, for make_tokenizers.py: changes (whole
keys; of the model: its keys) of the little tokenizers, short texts, and the ids that the tokenizers package gives."""

import base64
import io
import json
import pathlib
import struct
import tempfile

import sentencepiece
import tokenizers

MARK = "\u2581"

TEXTS = [
    "", " ", "   ", "Hello world", "  two  spaces ", "trailing \n", "a\n\n b\tc\r\nd\re", "I'll DON'T 's", "12 345a6789 ٣٤٥ ²½Ⅷ①", "2023-11-07, 1,234.5",
    "if (x==1){ return x+=2; }", "don’t “quote”… ¿qué? «x»", "snake_case $5 a+b ~^`|<>", "ÀÉÎ naïve cafe\u0301 Å \u212b ŀ", "ẞ ß ΣΑΣ ς İI ı ǅ",
    "ﬁnch ﬃ ℌ ㎏ ２０ Ｆｕｌｌ", "海龟在火山口12休息。カメﾊﾝ ー 가나 \u1100\u1161", "السّلام ١٢ שָׁלוֹם कछुआ हैं เต่ากำ", "👩🏽‍🔬👍🏿🇪🇨🇩 ❤️ ©\u200d", "\u0301x e\u0323\u0301 s\u0323\u0307 \u1e9b\u0323 か\u3099",
    "nul\x00in \x01\x1b\x7f\x8f", "z\u200bw\ufeffbom\u00a0n\u3000i\u2028p\u00adh\u2009t", "\ufffd\ue000 \u0600a \u1cf2", f"{MARK}a {MARK}{MARK} b{MARK}", "<s>a <sep> b</s> <tool>  c", "aaaa bbb aba",
    "finch finch", "<0x41>Ġ", "e\u0301e\u0301 a", "\u1e9b\u0323\u1e9b\u0323", "\u1734\u1885 \U000111c9 \u166d",
]

SPLIT = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"

# What SentencePiece replaces in the little Unigram: source and target, in hexadecimal code points.
RULES = {"ﬁ": "fi", "ﬃ": "ffi", "e\u0301": "é", "\u0301": "", "\u00a0": " ", "\u3000": " ", "\t": " ", "\n": " ", "\u200b": "", "２": "2", "Ｆ": "F",
         "½": "1\u20442", "\u2167": "VIII", "ß": "ss", "\u1100\u1161": "가", "\u1100": "ㄱ", "…": "...", "\r": "", "a\u0323": "ạ"}


def split(behavior, invert=False, **pattern):
    return dict(type="Split", pattern=pattern, behavior=behavior, invert=invert)


def sequence(key, *steps):
    return {"type": "Sequence", key: list(steps)}


def pre(*steps):
    return sequence("pretokenizers", *steps)


def norm(*steps):
    return sequence("normalizers", *steps)


def level(prefix=False, regex=True):
    return dict(type="ByteLevel", add_prefix_space=prefix, trim_offsets=True, use_regex=regex)


def digits(one):
    return dict(type="Digits", individual_digits=one)


def metaspace(**settings):
    return dict(dict(type="Metaspace", replacement=MARK), **settings)


def replace(content, **pattern):
    return dict(type="Replace", pattern=pattern, content=content)


def bert(clean, han, accents, lower):
    return dict(type="BertNormalizer", clean_text=clean, handle_chinese_chars=han, strip_accents=accents, lowercase=lower)


def kinds():
    """Base, changes."""
    behaviors = ["Removed", "Isolated", "MergedWithPrevious", "MergedWithNext", "Contiguous"]
    for i, behavior in enumerate(behaviors):
        yield "llama2_tiny", dict(normalizer=None, pre_tokenizer=split(behavior, String=" "))
        yield "llama2_tiny", dict(normalizer=None, pre_tokenizer=split(behavior, i % 2 == 0, Regex="[a-m]+"))
        yield "llama2_tiny", dict(normalizer=None, pre_tokenizer=split(behavior, i % 2 == 1, Regex=r"\p{N}*|(?=[A-Z])"))
        yield "llama3_tiny", dict(pre_tokenizer=pre(dict(type="Punctuation", behavior=behavior), level()))
    yield "llama2_tiny", dict(normalizer=replace(MARK, String=" "), pre_tokenizer=split("MergedWithPrevious", String=" "))  # Gemma
    yield "llama2_tiny", dict(normalizer=None, pre_tokenizer=split("Isolated", String=""))
    yield "llama3_tiny", dict(pre_tokenizer=pre(split("Removed", True, Regex=SPLIT), level(regex=False)))
    yield "llama3_tiny", dict(pre_tokenizer=pre(digits(True), level()))  # SmolLM2, StarCoder2
    yield "llama3_tiny", dict(pre_tokenizer=pre(digits(False), level(prefix=True)))
    # Falcon: stages behind ByteLevel see its stand-ins
    yield "llama3_tiny", dict(pre_tokenizer=pre(dict(type="Punctuation"), level(), digits(False), split("Isolated", Regex="[0-9][0-9][0-9]")))
    yield "llama3_tiny", dict(pre_tokenizer=pre(level(), level(prefix=True)))
    yield "llama3_tiny", dict(normalizer=dict(type="ByteLevel"), pre_tokenizer=split("Isolated", Regex=SPLIT))
    for step in (dict(type="WhitespaceSplit"), dict(type="Whitespace"), dict(type="BertPreTokenizer"), dict(type="UnicodeScripts"),
                 dict(type="CharDelimiterSplit", delimiter="é"), dict(type="FixedLength", length=3)):
        yield "llama2_tiny", dict(normalizer=None, pre_tokenizer=step)
    for step in [dict(type=name) for name in ("NFC", "NFD", "NFKC", "NFKD", "Lowercase", "StripAccents", "Nmt")] + [
            dict(type="Strip", strip_left=True, strip_right=False), dict(type="Strip", strip_left=False, strip_right=True),
            replace("", Regex=r"\s+$|^\s+"), replace("x", Regex="[aeiou]*"), bert(True, True, None, True), bert(True, False, True, False)]:
        yield "llama2_tiny", dict(normalizer=step, pre_tokenizer=None)
    first = metaspace(prepend_scheme="first", split=False)
    yield "llama2_tiny", dict(normalizer=dict(type="NFKC"), pre_tokenizer=first)
    yield "llama2_tiny", dict(normalizer=norm(dict(type="Strip", strip_left=True, strip_right=True), dict(type="Lowercase")), pre_tokenizer=first)
    yield "llama2_tiny", dict(normalizer=norm(dict(type="NFKD"), dict(type="StripAccents")), pre_tokenizer=pre(split("Isolated", Regex=r"[a-z]"), first))
    yield "llama2_tiny", dict(normalizer=dict(type="NFKD"), pre_tokenizer=pre(split("Isolated", Regex="."), first))
    yield "llama2_tiny", dict(normalizer=norm(dict(type="Prepend", prepend=" "), dict(type="NFC")), pre_tokenizer=pre(dict(type="WhitespaceSplit"), first))
    yield "llama2_tiny", dict(normalizer=replace(MARK, String=" "), pre_tokenizer=metaspace(prepend_scheme="first", split=True))
    yield "llama2_tiny", dict(normalizer=None, pre_tokenizer=metaspace(str_rep=MARK, add_prefix_space=True))
    yield "llama2_tiny", dict(normalizer=dict(type="Prepend", prepend=MARK), pre_tokenizer=metaspace(prepend_scheme="never", add_prefix_space=False))
    yield "llama2_tiny", dict(model=dict(ignore_merges=True, dropout=0.0, fuse_unk=False))
    yield "llama2_tiny", dict(normalizer=None, pre_tokenizer=dict(type="WhitespaceSplit"), model=dict(end_of_word_suffix="e"))
    yield "llama2_tiny", dict(truncation=dict(direction="Right", max_length=3, strategy="LongestFirst", stride=0),
                              padding=dict(strategy=dict(Fixed=64), direction="Left", pad_to_multiple_of=None, pad_id=0, pad_type_id=0, pad_token="<unk>"))
    yield "unigram", dict()
    yield "unigram", dict(pre_tokenizer=pre(dict(type="WhitespaceSplit"), metaspace(prepend_scheme="always")))  # T5, XLM-R
    yield "unigram", dict(pre_tokenizer=metaspace(prepend_scheme="first", split=False))
    yield "unigram", dict(normalizer=None, pre_tokenizer=None)
    yield "unigram", dict(model=dict(byte_fallback=False))
    yield "unigram", dict(normalizer=None, pre_tokenizer=split("Isolated", Regex=r"\s"), model=dict(byte_fallback=False, unk_id=7))


def fields(message):
    """The numbers and contents of a protobuf message's fields."""
    at = 0

    def integer():
        nonlocal at
        value = shift = 0
        while True:
            value |= (message[at] & 127) << shift
            shift, at = shift + 7, at + 1
            if message[at - 1] < 128:
                return value

    while at < len(message):
        key = integer()
        if key & 7 == 0:
            yield key >> 3, integer()
            continue
        size = integer() if key & 7 == 2 else {5: 4, 1: 8}[key & 7]
        yield key >> 3, message[at:at + size]
        at += size


def unigram(texts):
    """A Unigram with bytes to fall back to and a table of replacements, as transformers converts SentencePiece's."""
    model = io.BytesIO()
    with tempfile.TemporaryDirectory() as folder:
        rules = pathlib.Path(folder) / "rules.tsv"
        rules.write_text("".join(" ".join(f"{ord(c):X}" for c in a) + "\t" + " ".join(f"{ord(c):X}" for c in b) + "\n" for a, b in RULES.items()))
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter([line for text in texts for line in text.splitlines() if line]), model_writer=model, model_type="unigram", vocab_size=560,
            byte_fallback=True, normalization_rule_tsv=str(rules), character_coverage=0.98, num_threads=1, minloglevel=2)
    vocab, charsmap = [], b""
    for number, content in fields(model.getvalue()):
        if number == 1:
            piece = dict(fields(content))
            vocab.append([piece[1].decode(), struct.unpack("<f", piece.get(2, bytes(4)))[0]])
        elif number == 3:
            charsmap = dict(fields(content))[2]
    flags = dict(single_word=False, lstrip=False, rstrip=False, normalized=False, special=True)
    return {
        "version": "1.0", "truncation": None, "padding": None,
        "added_tokens": [dict(id=i, content=content, **flags) for i, content in enumerate(["<unk>", "<s>", "</s>"])],
        "normalizer": norm(dict(type="Precompiled", precompiled_charsmap=base64.b64encode(charsmap).decode()), replace(" ", Regex=" {2,}")),
        "pre_tokenizer": metaspace(prepend_scheme="always", split=True),
        "post_processor": None, "decoder": metaspace(prepend_scheme="always", split=True),
        "model": {"type": "Unigram", "unk_id": 0, "vocab": vocab, "byte_fallback": True}}


def changed(document, changes):
    out = dict(document, **changes)
    if "model" in changes:
        out["model"] = dict(document["model"], **changes["model"])
    return out


def golden(data):
    """What tests/data/tokenizers/kinds.json holds."""
    out = []
    for base, changes in kinds():
        path = data / ("tokenizers/unigram.json" if base == "unigram" else f"models/{base}/tokenizer.json")
        tokenizer = tokenizers.Tokenizer.from_str(json.dumps(changed(json.loads(path.read_text(encoding="utf-8")), changes)))
        tokenizer.no_truncation()
        tokenizer.no_padding()
        out.append(dict(base=str(path.relative_to(data)), changes=changes, ids=[tokenizer.encode(text, add_special_tokens=False).ids for text in TEXTS]))
    return dict(texts=TEXTS, kinds=out)
