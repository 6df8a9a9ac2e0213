"""A small made-up corpus in several languages and scripts, the same for every run: templates and word lists
of our own, filled in by a seeded generator. What the little tokenizers of the tests are trained on."""

import json
import random

WORDS = {
    "en": (
        ["The {a} {n} {v} near the {p}.", "Why does a {n} {v}? Because the {p} is {a}.", "\"It's {a},\" said the {n}, \"and we'll {v} again.\"",
         "In {y}, {d} {n}s were counted on the {p}.", "A {n} that can't {v} isn't {a}; it's only a {n}."],
        dict(a=["small", "grey", "patient", "salty", "volcanic", "curious", "unusually long", "warm"],
             n=["finch", "tortoise", "iguana", "cactus", "cormorant", "island", "beak", "shell"],
             v=["rests", "dives", "feeds", "waits", "swims", "sleeps", "adapts", "returns"],
             p=["shore", "crater", "reef", "harbour", "lava field", "mangrove", "northern slope"])),
    "de": (["Die {n} {v} am {p}.", "Im Jahr {y} zählte man {d} Tiere am {p}."],
           dict(n=["Schildkröte", "Möwe", "Echse", "Größe"], v=["schläft", "frisst", "wartet", "läuft"], p=["Strand", "Fluß", "Krater"])),
    "fr": (["L'{n} {v} près du {p}.", "Où est l'{n} ? Elle {v} déjà, dit-on."],
           dict(n=["île", "étoile", "iguane", "écume"], v=["dort", "naît", "brûle", "rêve"], p=["volcan", "récif", "château"])),
    "ru": (["{n} {v} у {p}.", "В {y} году здесь жили {d} птиц."],
           dict(n=["Черепаха", "Птица", "Ящерица"], v=["спит", "плывёт", "ждёт"], p=["берега", "моря", "кратера"])),
    "el": (["Η {n} {v} στη {p}."], dict(n=["χελώνα", "νήσος", "θάλασσα"], v=["κοιμάται", "ζει"], p=["ακτή", "λίμνη"])),
    "zh": (["{n}在{p}{v}。", "{y}年，岛上有{d}只{n}。"], dict(n=["海龟", "雀鸟", "仙人掌"], v=["休息", "游泳", "觅食"], p=["海边", "火山口", "礁石"])),
    "ja": (["{n}は{p}で{v}。"], dict(n=["カメ", "小さな鳥", "サボテン"], v=["眠っている", "泳いだ", "待ちます"], p=["浜辺", "島", "火山"])),
    "ko": (["{n}이 {p}에서 {v}."], dict(n=["거북", "작은 섬", "선인장"], v=["잔다", "기다린다"], p=["바닷가", "화산"])),
    "ar": (["{n} {v} في {p}."], dict(n=["السلحفاة", "الطائر"], v=["ينام", "يسبح"], p=["الجزيرة", "البحر"])),
    "hi": (["{n} {p} पर {v} है।"], dict(n=["कछुआ", "पक्षी"], v=["सोता", "तैरता"], p=["द्वीप", "किनारे"])),
    "th": (["{n}{v}ที่{p}"], dict(n=["เต่า", "นก"], v=["นอน", "ว่ายน้ำ"], p=["เกาะ", "ชายหาด"])),
}
CODE = [
    "for (int {i} = 0; {i} < {d}; ++{i}) {{\n  {n}[{i}] += {f};  // {w}\n}}\n",
    "def {n}({i}, *args):\n    if {i} > {d}:\n        return {f}\n    return {n}({i} + 1)\n",
    "MPI_Send({n}, {d}, MPI_FLOAT, {i}, 0, MPI_COMM_WORLD);\r\n",
    "| {n} | {d} | {f} |\n|---|---:|---:|\n",
    "{{\"{n}\": [{d}, {f}], \"ok\": true}}",
    "https://example.org/{n}?id={d}&x={f}\n",
]
EMOJI = ["🐢", "🏝️", "👩🏽‍🔬", "👍🏿", "🇪🇨", "🌋"]


def sentence(rng, language):
    templates, words = WORDS[language]
    fields = {key: rng.choice(values) for key, values in words.items()}
    return rng.choice(templates).format(y=rng.randint(1535, 2030), d=rng.choice([rng.randint(2, 99), rng.randint(100, 2_000_000)]),
                                        **fields)


def code(rng):
    return rng.choice(CODE).format(i=rng.choice("ijk"), n=rng.choice(["weights", "hessian", "rank_of", "layer", "loss"]),
                                   d=rng.choice([8, 64, 4096, 12345]), f=round(rng.uniform(0, 10), 3), w=rng.choice(["sum", "TODO: check", "why?"]))


def document(rng):
    kind = rng.random()
    if kind < 0.12:
        return "".join(code(rng) for _ in range(rng.randint(1, 3)))
    language = "en" if kind < 0.7 else rng.choice(list(WORDS))
    parts = [sentence(rng, language) for _ in range(rng.randint(1, 5))]
    if rng.random() < 0.1:
        parts.append(rng.choice(EMOJI))
    return rng.choice([" ", " ", "  ", "\n", "\n\n"]).join(parts)


def documents(count, seed):
    rng = random.Random(seed)
    return [document(rng) for _ in range(count)]


def write_jsonl(path, texts):
    with open(path, "w", encoding="utf-8", newline="\n") as file:
        for text in texts:
            file.write(json.dumps({"text": text}, ensure_ascii=False) + "\n")
