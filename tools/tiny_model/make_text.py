#!/usr/bin/env python3
"""Makes the text of the tiny model: short documents of our own invention about one invented world.

    python3 tools/tiny_model/make_text.py --train build/tiny_model/train.jsonl

Written, each from a seed of its own and no document twice: the training text, which train.py reads
and which is not kept in this repository, and tests/data/text/tiny_calibration.jsonl and
tiny_heldout.jsonl. Only the standard library is needed (made with Python 3.11; the same bytes for
the same seeds).

To predict such text well, a model has to know the world by heart (who lives where, what a baker
uses), to keep track within a document (who holds the lantern now, how much is left), and to copy,
count, add, sort and agree. No single layer can do all that, as suits a model to be pruned.
"""

import argparse
import json
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from world import (
    ADJECTIVES,
    ADVERBS,
    ALONE,
    ANIMALS,
    BOXES,
    COLOURS,
    COMPARED,
    DAYS,
    DISHES,
    DOUBLED,
    FRUIT,
    JOBS,
    MONTHS,
    NUMBERS,
    ON_BEINGS,
    ON_CLAUSES,
    ON_THINGS,
    ORDINALS,
    PLACES,
    SEASON_OF_MONTH,
    TEMPERS,
    TENS,
    THINGS,
    TIMES,
    WEATHER,
    Animal,
    Person,
    World,
    make_world,
)

T = TypeVar("T")
Verb = tuple[str, ...]
HELDOUT_SEED, CALIBRATION_SEED, TRAIN_SEED = 1, 2, 3
HELDOUT_BYTES, CALIBRATION_BYTES = 100_000, 500_000
MAX_CHARACTERS = 850  # about 250 tokens


class Dice(random.Random):
    def pick(self, items: Sequence[T]) -> T:
        return items[self.randrange(len(items))]

    def skewed(self, items: Sequence[T]) -> T:
        """Earlier items more often, as words are in any language."""
        return items[min(int(len(items) * self.random() ** 1.8), len(items) - 1)]

    def some(self, items: Sequence[T], count: int) -> list[T]:
        return self.sample(list(items), count)

    def chance(self, probability: float) -> bool:
        return self.random() < probability


# Words and phrases


def a(phrase: str) -> str:
    vowel = phrase[0] in "aeiouAEIO" and not phrase.startswith(("one", "use"))
    return ("an " if vowel else "a ") + phrase


def cap(sentence: str) -> str:
    return sentence[0].upper() + sentence[1:]


def word(n: int) -> str:
    if n < 20:
        return NUMBERS[n]
    if n < 100:
        return TENS[n // 10 - 2] + ("-" + NUMBERS[n % 10] if n % 10 else "")
    rest = " and " + word(n % 100) if n % 100 else ""
    return NUMBERS[n // 100] + " hundred" + rest


def listed(items: Sequence[str], last: str = "and") -> str:
    if len(items) == 1:
        return items[0]
    return ", ".join(items[:-1]) + f" {last} " + items[-1]


def plural(thing: str, n: int) -> str:
    return thing if n == 1 else THINGS[thing][0]


def past(pair: str) -> str:
    return pair.split("|")[0]


def present(pair: str) -> str:
    return pair.split("|")[-1]


def days_after(day: str, n: int) -> str:
    return DAYS[(DAYS.index(day) + n) % 7]


def phrase_of(d: Dice, thing: str) -> str:
    """A noun phrase without its article, such as `dusty copper kettle`."""
    words = []
    if d.chance(0.5):
        words.append(d.skewed(ADJECTIVES))
    if d.chance(0.3):
        words.append(d.pick(COLOURS))
    if d.chance(0.4):
        words.append(
            {"wood": "wooden", "wool": "woollen", "gold": "golden"}.get(
                THINGS[thing][1], THINGS[thing][1]
            )
        )
    return " ".join([*words, thing])


def whose(d: Dice, p: Person) -> str:
    """Says who a person is, by facts that hold everywhere."""
    kinds = [
        f"the {p.work} of {p.town.name}",
        f"who lived in {p.town.name}",
        f"the friend of {p.friend.full}",
        f"who liked {p.hobby} more than anything",
        f"whose {p.pet.name} was called {p.pet_name}",
        f"who lived behind the {p.colour} door",
    ]
    if p.mother:
        kinds.append(f"{'daughter' if p.female else 'son'} of {p.mother.name} and {p.father.name}")
    if p.spouse:
        kinds.append(f"the {'wife' if p.female else 'husband'} of {p.spouse.name}")
    return d.pick(kinds)


def said(d: Dice, p: Person, words: str) -> str:
    """Direct speech in the manner of the speaker."""
    manner = d.skewed(TEMPERS[p.temper][0])
    if d.chance(0.3):
        return f'{p.name} {manner}: "{words}"'
    quoted = f'"{words[:-1]}{"," if words[-1] == "." else words[-1]}"'
    return f"{quoted} {p.name} {manner}." if " " in manner else f"{quoted} {manner} {p.name}."


def glad(p: Person) -> str:
    return f"{p.name} {TEMPERS[p.temper][1]}."


def sad(p: Person) -> str:
    return f"{p.name} {TEMPERS[p.temper][2].replace('their', p.his)}."


def went(p: Person) -> str:
    return TEMPERS[p.temper][3]


def works(d: Dice, p: Person) -> str:
    """What a person did at work, or a child at play."""
    if not p.job:
        return d.pick(
            [
                f"{p.name} spent the morning {p.hobby}.",
                f"{p.name} went out with {p.pet_name} the {p.pet.name}.",
            ]
        )
    j = p.job
    return d.pick(
        [
            (
                f"{p.name} {past(j.does)} {d.pick(['ten', 'six', 'a few', 'some'])} {j.product} in"
                f" the {j.place}."
            ),
            f"{p.name} looked for the {j.tool} and went to the {j.place}.",
            f"In the {j.place}, {p.name} {past(j.does)} {j.product} until noon.",
            f"{p.name} laid down the {j.tool} and left the {j.place}.",
        ]
    )


def at_home(x: Animal) -> str:
    return ("on " if x.home.startswith(("a perch", "a rock in", "a cliff")) else "in ") + x.home


def creature(d: Dice, p: Person) -> str:
    """Something a person's pet did."""
    x = p.pet
    return d.pick(
        [
            f"{p.pet_name} the {x.name} {past(x.sound)}.",
            f"{p.pet_name} {past(x.sound)} and {past(x.moves)} to {p.name}.",
            f"{p.name} gave {p.pet_name} some {x.food}.",
            f"{p.pet_name} slept {at_home(x)}.",
        ]
    )


def pennies(n: int, spelled: str = "") -> str:
    return f"{spelled or n} {'penny' if n == 1 else 'pennies'}"


def scene(d: Dice, month: int) -> str:
    return d.skewed(WEATHER[SEASON_OF_MONTH[month]]) + "."


def two(d: Dice, items: Sequence[T]) -> tuple[T, T]:
    first, second = d.some(items, 2)
    return first, second


# A grammar of sentences: subjects, objects, relative and subordinate clauses, tenses, agreement.


def verbs(table: str) -> list[Verb]:
    return [tuple(line.split()) for line in table.replace("\n", "").split("|")]


VERBS_ON_THINGS, VERBS_ON_BEINGS = verbs(ON_THINGS), verbs(ON_BEINGS)
VERBS_ALONE, VERBS_ON_CLAUSES = verbs(ALONE), verbs(ON_CLAUSES)


def with_s(base: str) -> str:
    if base.endswith("y") and base[-2] not in "aeiou":
        return base[:-1] + "ies"
    return base + ("es" if base.endswith(("s", "sh", "ch", "x", "o")) else "s")


def with_ing(base: str) -> str:
    if base in DOUBLED:
        return base + base[-1] + "ing"
    return (base[:-1] if base.endswith("e") and not base.endswith("ee") else base) + "ing"


@dataclass(frozen=True)
class Noun:
    """A noun phrase without relative clause."""

    text: str
    many: bool = False
    alive: bool = True
    pronoun: str = "it"

    @property
    def subject(self) -> str:
        return "they" if self.many else self.pronoun

    @property
    def object(self) -> str:
        return "them" if self.many else {"he": "him", "she": "her"}.get(self.pronoun, "it")


class Prose:
    """Sentences about a small cast of people, animals, things and places, which recur."""

    def __init__(self, d: Dice, w: World, people: Sequence[Person] = ()) -> None:
        self.d = d
        cast = list(people) or d.some(w.people, 2)
        animals = d.some(ANIMALS, 2)
        self.beings = [Noun(p.name, pronoun=p.he) for p in cast]
        self.beings += [Noun(f"the {p.work}", pronoun=p.he) for p in cast[:1]]
        for x in animals:
            many = d.chance(0.4)
            number = d.pick(["", "", word(d.randint(2, 6)) + " "]) if many else ""
            self.beings.append(Noun(f"the {number}{x.plural if many else x.name}", many))
        self.things = []
        for t in d.some(list(THINGS), 3):
            many = d.chance(0.3)
            adjective = d.skewed(ADJECTIVES) + " " if d.chance(0.6) else ""
            self.things.append(
                Noun(f"the {adjective}{THINGS[t][0] if many else t}", many, alive=False)
            )
        self.places = d.some(PLACES, 2)
        self.now = d.chance(0.3)  # the tense
        self.last: Noun | None = None

    def being(self, but: Noun | None = None) -> Noun:
        return self.d.skewed([b for b in self.beings if b != but])

    def verb(self, verb: Verb, many: bool) -> str:
        """The verb in the tense of the text, in agreement with its subject."""
        base, simple_past, participle = verb
        roll = self.d.random()
        if roll < 0.75:
            return (base if many else with_s(base)) if self.now else simple_past
        if roll < 0.85:
            return (
                ("are " if many else "is ") if self.now else ("were " if many else "was ")
            ) + with_ing(base)
        if roll < 0.93:
            return (("have " if many else "has ") if self.now else "had ") + participle
        return f"will {base}" if self.now else f"could not {base}"

    def relative(self, noun: Noun, depth: int) -> str:
        d = self.d
        if depth <= 0 or not d.chance(0.3) or noun.text[0].isupper():
            return noun.text
        other = self.being(noun)
        if not noun.alive:
            return (
                f"{noun.text} that {other.text} {self.verb(d.skewed(VERBS_ON_THINGS), other.many)}"
            )
        if d.chance(0.5):
            return (
                f"{noun.text} that {other.text} {self.verb(d.skewed(VERBS_ON_BEINGS), other.many)}"
            )
        target = d.pick(self.things)
        return f"{noun.text} that {self.verb(d.skewed(VERBS_ON_THINGS), noun.many)} {target.text}"

    def where(self) -> str:
        return (
            f"{self.d.skewed(['in', 'behind', 'near', 'beside', 'in front of'])} the"
            f" {self.d.skewed(self.places)}"
        )

    def clause(self, depth: int, subject: Noun | None = None) -> str:
        d = self.d
        noun = subject or self.being()
        # Whoever the sentence before was about may be a pronoun in this one.
        pronoun = subject is None and noun == self.last and d.chance(0.7)
        self.last = noun
        who = noun.subject if pronoun else self.relative(noun, depth)
        roll = d.random()
        if roll < 0.35:
            rest = (
                f"{self.verb(d.skewed(VERBS_ON_THINGS), noun.many)}"
                f" {self.relative(d.skewed(self.things), depth)}"
            )
        elif roll < 0.6:
            rest = (
                f"{self.verb(d.skewed(VERBS_ON_BEINGS), noun.many)}"
                f" {self.relative(self.being(noun), depth)}"
            )
        elif roll < 0.85 or depth <= 0:
            rest = f"{self.verb(d.skewed(VERBS_ALONE), noun.many)} {self.where()}"
        else:
            that = self.clause(depth - 1, self.being(noun))
            return f"{who} {self.verb(d.skewed(VERBS_ON_CLAUSES), noun.many)} that {that}"
        roll = d.random()
        if roll < 0.12:
            rest += f" {d.skewed(ADVERBS)}"
        elif roll < 0.24:
            rest += f" {d.skewed(TIMES)}"
        return f"{who} {rest}"

    def passive(self) -> str:
        d = self.d
        thing, agent = d.skewed(self.things), self.being()
        be = ("are" if thing.many else "is") if self.now else ("were" if thing.many else "was")
        return f"{thing.text} {be} {d.skewed(VERBS_ON_THINGS)[2]} by {agent.text}"

    def compared(self) -> str:
        x, y = self.d.some(self.things, 2)
        be = ("are" if x.many else "is") if self.now else ("were" if x.many else "was")
        return f"{x.text} {be} {self.d.skewed(COMPARED).split()[1]} than {y.text}"

    def asked(self) -> str:
        d = self.d
        subject, verb, thing = self.being(), d.skewed(VERBS_ON_THINGS), d.skewed(self.things)
        do = ("Do" if subject.many else "Does") if self.now else "Did"
        answer = d.pick(
            [
                f"Yes, {subject.subject} {do.lower()}.",
                f"No, {subject.subject} {do.lower()} not.",
                f"No, {self.being(subject).text} {do.lower() if self.now is False else 'may'}.",
            ]
        )
        return f"{do} {subject.text} {verb[0]} {thing.text}? {answer}"

    def sentence(self) -> str:
        d = self.d
        roll = d.random()
        if roll < 0.5:
            out = self.clause(1)
        elif roll < 0.62:
            out = (
                f"{d.skewed(['when', 'because', 'although', 'while', 'as soon as'])}"
                f" {self.clause(0)}, {self.clause(1)}"
            )
        elif roll < 0.76:
            out = (
                self.clause(1)
                + d.pick([", but ", ", and ", " because ", " before ", ", so "])
                + self.clause(0)
            )
        elif roll < 0.84:
            out = self.passive()
        elif roll < 0.9:
            out = self.compared()
        elif roll < 0.95:
            x, y = d.some(self.beings, 2)
            pair = Noun(f"{x.text} and {y.text}", many=True)
            out = self.clause(0, pair)
        else:
            return self.asked()
        return cap(out) + "."


# Kinds of documents


def prose(d: Dice, w: World) -> str:
    text = Prose(d, w)
    return " ".join(text.sentence() for _ in range(d.randint(3, 9)))


def story(d: Dice, w: World) -> str:
    """Somebody loses a thing, asks others for it, and finds it; people, thing and places recur."""
    p = d.pick(w.people)
    helpers = d.some([q for q in p.town.people if q is not p], 2)
    month = d.randrange(12)
    thing = p.treasure if d.chance(0.6) else d.pick(list(THINGS))
    noun = phrase_of(d, thing)
    where = d.pick(PLACES)
    out = [
        d.pick(
            [
                f"In {p.town.name} lived {p.full}, {a(p.work)} of {p.age}.",
                f"{p.full}, {whose(d, p)}, was {p.temper}.",
                f"It was {MONTHS[month]} in {p.town.name}. {scene(d, month)}",
                f"There was once {a(p.temper + ' ' + p.work)} called {p.full}.",
            ]
        )
    ]
    if d.chance(0.5):
        out.append(works(d, p))
    out.append(
        d.pick(
            [
                f"One {d.pick(DAYS)} {p.name} could not find {p.his} {noun}.",
                f"Then {p.he} saw that {p.his} {noun} was gone.",
                f"One {d.pick(['morning', 'evening', 'day'])} {p.his} {noun} was missing.",
            ]
        )
    )
    out.append(sad(p))
    if d.chance(0.4):
        out.append(creature(d, p))
    for h in helpers[: d.randint(1, 2)]:
        guess = d.pick([q for q in PLACES if q != where])
        out.append(
            f"{p.name} {went(p)} to the {h.job.place if h.job else 'school'} and asked {h.name}."
        )
        out.append(
            said(
                d,
                h,
                d.pick(
                    [
                        f"Look in the {guess}.",
                        f"I have not seen your {thing}.",
                        f"{h.saying}.",
                        f"Was it the {noun}?",
                    ]
                ),
            )
        )
        if d.chance(0.5):
            out.append(f"But in the {guess} there was only {a(d.pick(list(THINGS)))}.")
    out.append(
        d.pick(
            [
                (
                    f"At last {p.pet_name} the {p.pet.name} {past(p.pet.moves)} into the {where},"
                    f" and there was the {noun}."
                ),
                f"In the end {helpers[0].name} found the {noun} in the {where}.",
                f"Late that night {p.name} found the {noun} in the {where}.",
            ]
        )
    )
    out.append(glad(p))
    if d.chance(0.7):
        out.append(f'"{p.saying}," {p.he} told {helpers[0].name}.')
    return " ".join(out)


def journey(d: Dice, w: World) -> str:
    """A walk over the map; every step has to fit it."""
    p = d.pick(w.people)
    here, seen = p.town, [p.town]
    out = [
        f"{p.full} left {here.name} on {a(d.pick(DAYS))} {d.pick(['with', 'and took along'])}"
        f" {p.pet_name} the {p.pet.name}."
    ]
    for _ in range(d.randint(2, 4)):
        way, (dc, dr) = d.pick(list(WAYS.items()))
        there = w.town_at(here.column + dc, here.row + dr)
        if there is None:
            out.append(
                f"{cap(way)} of {here.name} there was nothing but the sea, so {p.he} turned round."
            )
            continue
        fact = d.pick(
            [
                f"{there.name} has {there.sight}.",
                f"{p.name} {went(p)} along the {there.river}.",
                f"There {p.he} met {d.pick(there.people).full}.",
                f"Over the gate hung the {there.flag[0]} and {there.flag[1]} flag.",
                f"{cap(a(there.animal.name))} {past(there.animal.sound)} by the road.",
                (
                    f"{there.mayor.name} the mayor {'gave' if d.chance(0.5) else 'offered'} {p.him}"
                    f" {there.feast_dish}."
                ),
            ]
        )
        out.append(
            f"{d.pick(['Going', 'Walking', 'Turning'])} {way}, {p.he} came to {there.name}. {fact}"
        )
        here = there
        seen.append(there)
    if len(seen) > 1 and d.chance(0.7):
        out.append(f"So {p.he} had been in {listed([t.name for t in seen])}.")
    out.append(
        f"The way home to {seen[0].name} was {d.pick(['long', 'wet', 'easy', 'dark'])}, but {p.he}"
        " knew it."
    )
    return " ".join(out)


WAYS = {"north": (0, -1), "south": (0, 1), "east": (1, 0), "west": (-1, 0)}


def directions(d: Dice, w: World) -> str:
    lines = []
    for _ in range(d.randint(2, 5)):
        town = d.pick(w.towns)
        way, (dc, dr) = d.pick(list(WAYS.items()))
        steps = d.choice([1, 1, 2])
        other = w.town_at(town.column + steps * dc, town.row + steps * dr)
        far = "" if steps == 1 else "two towns "
        answer = other.name if other else "Only the sea"
        lines.append(f"Q: What lies {far}{way} of {town.name}?\nA: {answer}.")
    return "\n".join(lines)


def facts_of(d: Dice, w: World, p: Person) -> tuple[str, str]:
    """A question about a person and its answer, some of them over two facts."""
    kinds = [
        (f"Where does {p.full} live?", f"In {p.town.name}."),
        (f"How old is {p.full}?", f"{p.age}."),
        (f"What is the {p.pet.name} of {p.full} called?", f"{p.pet_name}."),
        (f"What animal has {p.full}?", f"{cap(a(p.pet.name))}, called {p.pet_name}."),
        (f"What does {p.full} like to eat?", f"{cap(p.dish)}."),
        (f"What colour is {p.full}'s door?", f"{cap(p.colour)}."),
        (f"What does {p.full} always say?", f'"{p.saying}."'),
        (f"Who is the friend of {p.full}?", f"{p.friend.full}."),
        (f"Where does the friend of {p.full} live?", f"In {p.friend.town.name}."),
        (f"What does {p.full} do on Sundays?", f"{cap(p.hobby)}."),
        (f"Who is mayor where {p.full} lives?", f"{p.town.mayor.full}."),
        (f"On what day is the market of {p.full}'s town?", f"On {p.town.market_day}."),
    ]
    if p.job:
        j = p.job
        kinds += [
            (f"What is {p.full}?", f"{cap(a(j.name))}."),
            (f"Where does {p.full} work?", f"In the {j.place}."),
            (
                f"What does {p.full} need for work?",
                f"{cap(a(j.tool)) if j.tool != 'chalk' else 'Chalk'}.",
            ),
            (f"Who is married to {p.full}?", f"{p.spouse.full}."),
            (
                f"Who are the children of {p.full}?",
                f"{p.children[0].name} and {p.children[1].name}.",
            ),
        ]
    else:
        kinds += [
            (f"Who is the mother of {p.full}?", f"{p.mother.full}."),
            (f"Who is the father of {p.full}?", f"{p.father.full}."),
            (f"What is the father of {p.full}?", f"{cap(a(p.father.job.name))}."),
            (f"Where does the mother of {p.full} work?", f"In the {p.mother.job.place}."),
        ]
    return d.pick(kinds)


def questions(d: Dice, w: World) -> str:
    same = d.pick(w.people) if d.chance(0.5) else None
    lines: list[str] = []
    for _ in range(d.randint(2, 6)):
        question, answer = facts_of(d, w, same or d.pick(w.people))
        line = f"Q: {question}\nA: {answer}"
        if line not in lines:
            lines.append(line)
    return "\n".join(lines)


def tracking(d: Dice, w: World) -> str:
    """Things change hands and places; at the end it is asked where they are."""
    people = d.some(w.people, 3)
    things = d.some(list(THINGS), 2)
    places = d.some(PLACES, 3)
    at = {p.name: d.pick(places) for p in people}
    held: dict[str, str] = {}
    lying = {t: d.pick(places) for t in things}
    out = [f"{p.name} was in the {at[p.name]}." for p in people]
    out += [f"The {t} lay in the {lying[t]}." for t in things]
    for _ in range(d.randint(4, 8)):
        p = d.pick(people)
        mine = [t for t in things if held.get(t) == p.name]
        near = [t for t in things if lying.get(t) == at[p.name]]
        beside = [q for q in people if q is not p and at[q.name] == at[p.name]]
        roll = d.random()
        if mine and beside and roll < 0.5:
            t, q = d.pick(mine), d.pick(beside)
            held[t] = q.name
            out.append(
                d.pick(
                    [f"{p.name} gave {q.name} the {t}.", f"{p.name} handed the {t} to {q.name}."]
                )
            )
        elif mine and roll < 0.7:
            t = d.pick(mine)
            del held[t]
            lying[t] = at[p.name]
            out.append(d.pick([f"{p.name} put down the {t}.", f"There {p.name} left the {t}."]))
        elif near and roll < 0.85:
            t = d.pick(near)
            del lying[t]
            held[t] = p.name
            out.append(d.pick([f"{p.name} picked up the {t}.", f"{p.name} took the {t}."]))
        else:
            at[p.name] = d.pick([x for x in places if x != at[p.name]])
            out.append(
                d.pick(
                    [
                        f"{p.name} {went(p)} to the {at[p.name]}.",
                        f"{p.name} went to the {at[p.name]}.",
                    ]
                )
            )
    tail = []
    for t in things:
        keeper = held.get(t)
        place = at[keeper] if keeper else lying[t]
        tail.append(f"Where is the {t}? In the {place}.")
        if d.chance(0.6):
            tail.append(f"Who has the {t}? {cap(keeper) if keeper else 'Nobody'}.")
    p = d.pick(people)
    tail.append(f"Where is {p.name}? In the {at[p.name]}.")
    d.shuffle(tail)
    return " ".join(out) + "\n" + "\n".join(tail)


def boxes(d: Dice, w: World) -> str:
    """Things inside things."""
    p = d.pick(w.people)
    names = d.some(BOXES, d.randint(3, 4))
    colours = d.some(COLOURS, len(names))
    full = [f"{c} {n}" for c, n in zip(colours, names)]
    thing = d.pick(list(THINGS))
    out = [f"{p.name} has {listed([a(x) for x in d.some(full, len(full))])}."]
    order = [f"The {inner} is in the {outer}." for inner, outer in zip(full, full[1:])]
    out += d.some(order, len(order)) if d.chance(0.5) else order
    out.append(f"The {thing} is in the {full[0]}.")
    chain = [f"the {x}" for x in full[::-1]]
    out.append(f"To get the {thing}, {p.name} opens {', then '.join(chain)}.")
    return " ".join(out)


def sums(d: Dice, w: World) -> str:
    lines = []
    kind = d.randrange(4)
    for _ in range(d.randint(4, 10)):
        x, y = d.randint(1, 60), d.randint(1, 39)
        if kind == 0:
            lines.append(f"{x} + {y} = {x + y}")
        elif kind == 1:
            lines.append(f"{x + y} - {y} = {x}")
        elif kind == 2:
            x, y = d.randint(2, 9), d.randint(2, 9)
            lines.append(f"{x} x {y} = {x * y}")
        else:
            x, y = d.randint(1, 20), d.randint(1, 20)
            lines.append(f"{word(x)} and {word(y)} make {word(x + y)}")
    return "\n".join(lines)


def word_problem(d: Dice, w: World) -> str:
    p, q = two(d, w.people)
    fruit = d.pick(FRUIT)
    have = d.randint(5, 30)
    out = [f"{p.name} has {have} {fruit}."]
    for _ in range(d.randint(2, 4)):
        kind = d.randrange(4)
        n = d.randint(1, 9)
        if kind == 0 and have > n:
            have -= n
            out.append(
                d.pick(
                    [
                        f"{cap(p.he)} gives {n} to {q.name}.",
                        f"{p.pet_name} the {p.pet.name} steals {n}.",
                        f"{cap(p.he)} eats {n}.",
                    ]
                )
            )
        elif kind == 1:
            have += n
            out.append(
                d.pick(
                    [
                        f"{q.name} brings {n} more.",
                        f"{cap(p.he)} finds {n} in the {d.pick(PLACES)}.",
                        f"{cap(p.he)} buys {n} at the market.",
                    ]
                )
            )
        elif kind == 2 and have % 2 == 0 and have > 4:
            have //= 2
            out.append(f"{cap(p.he)} sells half of them.")
        else:
            out.append(f"{cap(p.he)} counts them: there are {have}.")
            continue
        if d.chance(0.5):
            out.append(f"That leaves {have}.")
    out.append(f"How many {fruit} has {p.name} now? {have}.")
    return " ".join(out)


def shopping(d: Dice, w: World) -> str:
    p = d.pick(w.people)
    total = 0
    lines = [
        f"{cap(d.pick(['shopping', 'market']))} list of {p.full}, {p.town.name},"
        f" {p.town.market_day}"
    ]
    for thing in d.some(list(THINGS), d.randint(2, 5)):
        n = d.randint(1, 5)
        price = THINGS[thing][4]
        total += n * price
        lines.append(f"- {n} {plural(thing, n)} at {price}: {n * price}, so far {total}")
    lines.append(f"Total: {pennies(total)}")
    return "\n".join(lines)


def inventory(d: Dice, w: World) -> str:
    """A list is given, then repeated backwards, sorted, or without one item."""
    p = d.pick(w.people)
    items = d.some(list(THINGS), d.randint(3, 6))
    out = [f"In the {d.pick(PLACES)} {p.name} found {listed([a(x) for x in items])}."]
    for kind in d.some(range(5), 2):
        if kind == 0:
            out.append(f"Backwards: {listed(items[::-1])}.")
        elif kind == 1:
            out.append(f"In the order of the alphabet: {listed(sorted(items))}.")
        elif kind == 2:
            gone = d.pick(items)
            items = [x for x in items if x != gone]
            out.append(
                f"{p.name} sold the {gone}. {cap(listed(items))} were left."
                if len(items) > 1
                else f"{p.name} sold the {gone}. The {items[0]} was left."
            )
        elif kind == 3:
            i = d.randrange(len(items))
            out.append(f"The {ORDINALS[i]} was the {items[i]}.")
        else:
            x = d.pick(items)
            out.append(f"The {x} was made of {THINGS[x][1]} and was for {THINGS[x][3]}.")
    if d.chance(0.5):
        out.append(f"All in all there were {word(len(items))}.")
    return " ".join(out)


def recipe(d: Dice, w: World) -> str:
    dish = d.pick(list(DISHES))
    parts, steps = DISHES[dish]
    fans = [p for p in w.people if p.dish == dish]
    times = d.choice([1, 2, 3, 4])
    lines = [f"{cap(dish)} for {word(2 * times)}"]
    if fans and d.chance(0.7):
        p = d.pick(fans)
        lines[0] += f", as {p.full} of {p.town.name} likes it"
    for n, unit, what in parts:
        count = n * times
        if unit:
            unit = (
                unit.rstrip("s")
                if count == 1
                else unit.rstrip("s") + ("es" if unit == "pinch" else "s")
            )
        elif count > 1 and not what.endswith("s"):
            what += "s"
        elif count == 1 and what.endswith("s"):
            what = what[:-1]
        lines.append(f"- {count} {unit + ' ' if unit else ''}{what}")
    if d.chance(0.5):
        lines += [f"{i}. {s}." for i, s in enumerate(steps, 1)]
    else:
        lines.append(
            f"First {steps[0].lower()}. "
            + "".join(f"Then {s.lower()}. " for s in steps[1:-1])
            + f"Last, {steps[-1].lower()}."
        )
    return "\n".join(lines)


def letter(d: Dice, w: World) -> str:
    p = d.pick(w.people)
    if p.mother and d.chance(0.5):
        q = d.pick([p.mother, p.father])
        dear, end = (
            "Mother" if q.female else "Father"
        ), f"Your {'daughter' if p.female else 'son'} {p.name}"
    elif p.children and d.chance(0.4):
        q = d.pick(p.children)
        dear, end = q.name, f"Your {'mother' if p.female else 'father'}"
    else:
        q = p.friend
        dear, end = q.name, f"Your friend {p.name}"
    month = d.randrange(12)
    weather = d.skewed(WEATHER[SEASON_OF_MONTH[month]])
    body = [
        f"how are you, and how is {q.pet_name}?",
        f"{weather} today." if d.chance(0.6) else f"It is {MONTHS[month]} now.",
    ]
    body[0] = cap(body[0])
    other = d.pick([x for x in p.town.people if x is not p])
    news = [
        f"{p.pet_name} {past(p.pet.sound)} all night and got no {p.pet.food}.",
        f"Yesterday I ate {p.dish} again.",
        f"I have painted the door {p.colour} once more.",
        f"{other.full} asked about you.",
        f'As {other.name} says: "{other.saying}."',
        f"On {p.town.market_day} I went to the market by the {p.town.river}.",
        f"I still have the {p.treasure} you gave me.",
        f"Did you know that {p.town.name} has {p.town.sight}?",
        (
            f"Every Sunday I go {p.hobby.split()[0]}."
            if p.hobby in ("rowing", "fishing", "swimming", "skating", "dancing")
            else f"On Sundays you find me {p.hobby}."
        ),
    ]
    if p.job:
        news += [
            (
                f"In the {p.job.place} there is much to do: I {past(p.job.does)}"
                f" {d.randint(20, 90)} {p.job.product} this week."
            ),
            f"My {p.job.tool} is worn out.",
        ]
    body += d.some(news, d.randint(2, 4))
    if q.town is not p.town:
        body.append(
            f"When you come from {q.town.name} to {p.town.name}, bring"
            f" {d.pick(['some', 'a little'])} {q.dish}."
        )
    return f"Dear {dear},\n{' '.join(body)}\n{d.pick(['Yours', 'With love', 'Farewell'])}\n{end}"


def dialogue(d: Dice, w: World) -> str:
    """A and B by turns; what one asks the other answers, and bargaining goes by steps."""
    p, q = two(d, w.adults)
    thing = d.pick(list(THINGS))
    price = THINGS[thing][4]
    if d.chance(0.5):
        low, high = max(1, price // 2), price * 2
        step = d.randint(1, 3)
        lines = [
            f"{p.name}: How much is the {phrase_of(d, thing)}?",
            f"{q.name}: {cap(pennies(high, word(high)))}.",
        ]
        while low < high and len(lines) < 9:
            lines.append(
                f"{p.name}: {d.pick(['I give you', 'Take', 'Not more than'])} {word(low)}."
            )
            high -= step
            if high <= low:
                break
            lines.append(f"{q.name}: {d.pick(['Make it', 'Then', 'For you'])} {word(high)}.")
            low += step
        lines.append(f"{q.name}: {q.saying}. Done, {pennies(low, word(low))}.")
    else:
        lines = [
            (
                f"{p.name}: Good {d.pick(['morning', 'evening', 'day'])}, {q.name}. How is"
                f" {q.pet_name}?"
            ),
            (
                f"{q.name}: {q.pet_name} the {q.pet.name} {present(q.pet.sound)}, and eats"
                f" {q.pet.food}. And {p.pet_name}?"
            ),
            f"{p.name}: Like any {p.pet.name}: {p.pet_name} sleeps {at_home(p.pet)}.",
        ]
        if d.chance(0.6):
            lines += [
                f"{q.name}: Do you still work at the {p.job.place}?",
                f"{p.name}: Of course, I am {a(p.job.name)}.",
            ]
        if d.chance(0.6):
            lines += [
                f"{p.name}: What will you eat tonight?",
                f"{q.name}: {cap(q.dish)}, what else?",
            ]
        if d.chance(0.6):
            lines += [
                f"{q.name}: What do {p.children[0].name} and {p.children[1].name} do?",
                (
                    f"{p.name}: {p.children[0].name} is {p.children[0].hobby}, {p.children[1].name}"
                    f" is {p.children[1].hobby}."
                ),
            ]
        lines.append(f"{p.name}: {p.saying}.")
        lines.append(f"{q.name}: And {q.saying[0].lower() + q.saying[1:]}.")
    return "\n".join(lines)


def town_entry(d: Dice, w: World) -> str:
    t = d.pick(w.towns)
    facts = [
        f"{t.name} lies on the river {t.river}.",
        f"It has {word(t.houses)} houses.",
        f"Its flag is {t.flag[0]} and {t.flag[1]}.",
        f"The mayor is {t.mayor.full}, {a(t.mayor.job.name)}.",
        f"Market day is {t.market_day}.",
        f"In {t.feast_month} there is a feast, and everyone eats {t.feast_dish}.",
        f"Visitors come to see {t.sight}.",
        f"Many {t.animal.plural} live near {t.name}.",
    ]
    for way, (dc, dr) in WAYS.items():
        other = w.town_at(t.column + dc, t.row + dr)
        facts.append(f"To the {way} lies {other.name if other else 'the sea'}.")
    families = sorted({p.surname for p in t.people})
    facts.append(f"The families {listed(families)} live here.")
    facts += [f"{p.full} is the {p.job.name}." for p in t.people if p.job]
    return f"{t.name}\n" + " ".join(d.some(facts, d.randint(4, 8)))


def person_entry(d: Dice, w: World) -> str:
    p = d.pick(w.people)
    he = cap(p.he)
    facts = [
        f"{he} lives in {p.town.name}.",
        f"{he} is {word(p.age)} years old.",
        f"{cap(p.his)} {p.pet.name} is called {p.pet_name}.",
        f"{he} likes {p.dish}.",
        f"{cap(p.his)} door is {p.colour}.",
        f"{he} is known to be {p.temper}.",
        f'{he} often says: "{p.saying}."',
        f"{cap(p.his)} friend is {p.friend.full}.",
        f"In {p.his} free time {p.he} is {p.hobby}.",
        f"What {p.he} holds dearest is {a(phrase_of(d, p.treasure))}.",
    ]
    if p.job:
        j = p.job
        facts += [
            f"{he} is {a(j.name)} and works in the {j.place}.",
            f"With {p.his} {j.tool} {p.he} {present(j.does)} {j.product}.",
            (
                f"{cap(p.his)} {'husband' if p.female else 'wife'} is {p.spouse.name}, {p.his}"
                f" children are {p.children[0].name} and {p.children[1].name}."
            ),
        ]
    else:
        facts += [
            f"{cap(p.his)} parents are {p.mother.name} and {p.father.name}.",
            f"{he} goes to school.",
        ]
    return f"{p.full}\n" + " ".join(d.some(facts, d.randint(4, 8)))


def animal_entry(d: Dice, w: World) -> str:
    x = d.pick(ANIMALS)
    plural_form = d.chance(0.5)
    legs = f"{word(x.legs)} legs" if x.legs else "no legs"
    if plural_form:
        facts = [
            f"{cap(x.plural)} have {legs}.",
            f"They eat {x.food}.",
            f"A young one is called {a(x.young)}.",
            f"They live {at_home(x)}.",
            f"They have {x.looks}.",
            (
                f"{cap(x.plural)} are {x.kind} animals."
                if x.kind != "pet"
                else f"{cap(x.plural)} are pets."
            ),
        ]
    else:
        facts = [
            f"{cap(a(x.name))} has {legs}.",
            f"It eats {x.food}.",
            f"Its young is called {a(x.young)}.",
            f"It lives {at_home(x)}.",
            f"It has {x.looks}.",
            f"It {present(x.sound)} and {present(x.moves)}.",
        ]
    owners = [p for p in w.people if p.pet is x]
    if owners:
        p = d.pick(owners)
        facts.append(f"{p.full} has {a(x.name)} called {p.pet_name}.")
    homes = [t for t in w.towns if t.animal is x]
    if homes:
        facts.append(f"There are many near {d.pick(homes).name}.")
    return " ".join([facts[0], *d.some(facts[1:], d.randint(3, len(facts) - 1))])


def riddle(d: Dice, w: World) -> str:
    lines = []
    for _ in range(d.randint(1, 3)):
        if d.chance(0.5):
            x = d.pick(ANIMALS)
            hints = [
                f"I have {word(x.legs)} legs" if x.legs else "I have no legs",
                f"I eat {x.food}",
                f"my child is called {a(x.young)}",
                f"I live {at_home(x)}",
                f"I have {x.looks}",
            ]
            answer = a(x.name)
        elif d.chance(0.5):
            t = d.pick(list(THINGS))
            hints = [
                f"I am made of {THINGS[t][1]}",
                f"I am kept {THINGS[t][2]}",
                f"I am for {THINGS[t][3]}",
                f"I cost {pennies(THINGS[t][4], word(THINGS[t][4]))}",
                f"I start with {t[0].upper()} and end with {t[-1].upper()}",
            ]
            answer = a(t)
        else:
            j = d.pick(JOBS)
            hints = [
                f"I work in the {j.place}",
                f"I need {a(j.tool) if j.tool != 'chalk' else 'chalk'}",
                f"my pride is my {j.product}",
            ]
            answer = a(j.name)
        given = d.some(hints, d.randint(2, min(4, len(hints))))
        lines.append(cap(listed(given)) + f". What am I? {cap(answer)}.")
    return "\n".join(lines)


def diary(d: Dice, w: World) -> str:
    p = d.pick(w.people)
    month, day = d.randrange(12), d.randint(1, 24)
    weekday = d.pick(DAYS)
    lines = [f"From the diary of {p.full}"]
    for i in range(d.randint(2, 4)):
        q = d.pick([x for x in p.town.people if x is not p])
        events = [
            f"{q.name} came and said: {q.saying[0].lower() + q.saying[1:]}.",
            f"{p.dish.capitalize()} for supper.",
            f"{p.pet_name} {past(p.pet.sound)} and would not eat {p.pet.food}.",
            f"Saw {q.pet_name}, {q.name}'s {q.pet.name}.",
            f"Went {p.hobby}." if p.hobby.endswith("ing") else f"Spent hours {p.hobby}.",
            f"Lost my {p.treasure} and found it {THINGS[p.treasure][2]}.",
        ]
        if p.job:
            events.append(f"{p.job.product.capitalize()} all day, my {p.job.tool} is tired.")
        events.append(Prose(d, w, [q, p.friend]).sentence())
        name = days_after(weekday, i)
        if name == p.town.market_day:
            events = [
                f"Market day in {p.town.name}. Bought {a(phrase_of(d, d.pick(list(THINGS))))} from"
                f" {q.name}."
            ]
        lines.append(f"{name}, {day + i} {MONTHS[month]}. {scene(d, month)} {d.pick(events)}")
    return "\n".join(lines)


def cumulative(d: Dice, w: World) -> str:
    """Each line repeats the one before and adds to it."""
    verbs = ["woke", "chased", "followed", "heard", "scared", "met", "carried"]
    actors = d.some(ANIMALS, 4)
    chain = (
        f"the {phrase_of(d, d.pick(list(THINGS)))} {d.pick(['in', 'behind', 'beside'])} the"
        f" {d.pick(PLACES)}"
    )
    lines = [f"Here is {chain}."]
    link = d.pick(["guarded", "wanted", "hid", "found"])
    for x in actors[: d.randint(2, 4)]:
        chain = f"the {x.name} that {link} {chain}"
        lines.append(f"Here is {chain}.")
        link = d.pick(verbs)
    return "\n".join(lines)


def counting(d: Dice, w: World) -> str:
    x = d.pick(ANIMALS)
    n = d.randint(4, 14)
    step = d.choice([1, 1, 1, 2])
    place = d.pick(PLACES)
    verb = past(x.moves)
    lines = []
    up = d.chance(0.4)
    for i in range(d.randint(3, 6)):
        k = n + step * i if up else n - step * i
        nxt = k + step if up else k - step
        if k < 2 or nxt < 0:
            break
        if up:
            lines.append(
                f"{cap(word(k))} {x.plural} in the {place}, {word(step)} came, and there were"
                f" {word(nxt)}."
            )
        else:
            rest = f"{word(nxt)} {x.name if nxt == 1 else x.plural}" if nxt else "none"
            lines.append(
                f"{cap(word(k))} {x.plural} in the {place}, {word(step)} {verb} away, and {rest}"
                " stayed."
            )
    return "\n".join(lines)


def compare(d: Dice, w: World) -> str:
    """An order given pair by pair, then read off."""
    people = d.some(w.people, d.randint(3, 4))
    more, most, least = d.pick(
        [
            ("taller", "tallest", "shortest"),
            ("faster", "fastest", "slowest"),
            ("stronger", "strongest", "weakest"),
            ("richer", "richest", "poorest"),
        ]
    )
    order = [p.name for p in people]
    pairs = [f"{x} is {more} than {y}." for x, y in zip(order, order[1:])]
    d.shuffle(pairs)
    tail = [f"Who is the {most}? {order[0]}.", f"Who is the {least}? {order[-1]}."]
    i, j = sorted(d.some(range(len(order)), 2))
    tail.append(
        f"Is {order[i]} {more} than {order[j]}? Yes."
        if d.chance(0.5)
        else f"Is {order[j]} {more} than {order[i]}? No."
    )
    tail.append(f"From the {most} to the {least}: {listed(order)}.")
    return " ".join(pairs + d.some(tail, d.randint(2, 4)))


def ages(d: Dice, w: World) -> str:
    people = d.some(w.people if d.chance(0.5) else w.children, d.randint(2, 4))
    out = [f"{p.full} is {p.age}." for p in people]
    oldest, youngest = max(people, key=lambda p: p.age), min(people, key=lambda p: p.age)
    if oldest.age != youngest.age:
        out.append(
            f"{oldest.name} is {oldest.age - youngest.age} years older than {youngest.name}."
        )
    n = d.randint(1, 9)
    p = d.pick(people)
    out.append(f"In {word(n)} year{'s' if n > 1 else ''} {p.name} will be {p.age + n}.")
    return " ".join(out)


def notice(d: Dice, w: World) -> str:
    p = d.pick(w.people)
    x = p.pet
    n = d.randint(1, 12)
    return (
        d.pick(
            [
                (
                    f"LOST: {a(x.name)} with {x.looks}. Answers to {p.pet_name}. Bring it to"
                    f" {p.full}, the {p.colour} door, {p.town.name}. Reward: {pennies(n)}."
                ),
                (
                    f"FOUND {THINGS[p.treasure][2]}: {a(phrase_of(d, p.treasure))}. If it is yours,"
                    f" {p.full}, come to the {p.town.mayor.job.place} of {p.town.name} and ask for"
                    f" {p.town.mayor.name}."
                ),
                (
                    f"FEAST in {p.town.name}! In {p.town.feast_month}, at {p.town.sight}. There"
                    f" will be {p.town.feast_dish}, and {p.name} will be {p.hobby}. The mayor,"
                    f" {p.town.mayor.full}."
                ),
                (
                    f"FOR SALE: {n + 1} {THINGS[p.treasure][0]} of {THINGS[p.treasure][1]},"
                    f" {pennies(THINGS[p.treasure][4])} each, {(n + 1) * THINGS[p.treasure][4]} for"
                    f" all. Ask {p.full} at the market of {p.town.name}, {p.town.market_day}."
                ),
            ]
        )
        + " "
        + d.pick(
            [
                "Please hurry.",
                f"{p.saying}.",
                f"Only until {d.pick(DAYS)}.",
                f"Written in {d.pick(MONTHS)}.",
            ]
        )
    )


def spelling(d: Dice, w: World) -> str:
    pool = [*THINGS, *(x.name for x in ANIMALS), *COLOURS, *(j.name for j in JOBS), *PLACES]
    lines = []
    for item in d.some(pool, d.randint(3, 6)):
        lines.append(
            d.pick(
                [
                    f"{cap(item)} is spelled {'-'.join(item.upper())}.",
                    (
                        f"{cap(item)} has {word(len(item))} letters, first {item[0].upper()}, last"
                        f" {item[-1].upper()}."
                    ),
                    f"{'-'.join(item.upper())} is {item}.",
                ]
            )
        )
    return " ".join(lines)


def lesson(d: Dice, w: World) -> str:
    """A sentence is read aloud, and put into other tenses and numbers."""
    teachers = [p for p in w.adults if p.job.name == "teacher"]
    teacher = d.pick(teachers) if teachers else d.pick(w.adults)
    x, y = two(d, ANIMALS)
    place = d.pick(PLACES)
    kid = d.pick(w.children)
    base = f"the {x.name} in the {place} {present(x.moves)}"
    out = [f"{teacher.name} wrote on the board: {cap(base)}.", f"{kid.name} read: {cap(base)}."]
    forms = [
        f"Yesterday the {x.name} in the {place} {past(x.moves)}.",
        f"Yesterday the {x.plural} in the {place} {past(x.moves)}.",
        f"The {x.name} that sees the {y.plural} {present(x.moves)}.",
        f"The {x.plural} that see the {y.name} {past(x.moves)} yesterday.",
        f"The {y.name} and the {x.name} are in the {place}.",
        f"One {x.name} is in the {place}, many {x.plural} are in the {place}.",
        f"The young of {a(y.name)} is {a(y.young)}, the young of {a(x.name)} is {a(x.young)}.",
    ]
    out += d.some(forms, d.randint(2, 4))
    if d.chance(0.6):
        out.append(said(d, kid, f"{cap(base)}."))
    return " ".join(out)


def calendar(d: Dice, w: World) -> str:
    lines = []
    for _ in range(d.randint(3, 6)):
        day, n = d.pick(DAYS), d.randint(1, 6)
        month = d.randrange(12)
        t = d.pick(w.towns)
        lines.append(
            d.pick(
                [
                    (
                        f"If today is {day}, then in {word(n)} day{'s' if n > 1 else ''} it is"
                        f" {days_after(day, n)}."
                    ),
                    (
                        f"If today is {day}, then {word(n)} day{'s' if n > 1 else ''} ago it was"
                        f" {days_after(day, -n)}."
                    ),
                    f"After {MONTHS[month]} comes {MONTHS[(month + 1) % 12]}.",
                    f"Before {MONTHS[month]} comes {MONTHS[month - 1]}.",
                    (
                        f"The market of {t.name} is on {t.market_day}, so the day after it is"
                        f" {days_after(t.market_day, 1)}."
                    ),
                    f"{MONTHS[month]} is in {SEASON_OF_MONTH[month]}.",
                    f"The feast of {t.name} is in {t.feast_month}.",
                ]
            )
        )
    return "\n".join(lines)


def logbook(d: Dice, w: World) -> str:
    """Clock times that add up."""
    p = d.pick([x for x in w.adults])
    minutes = 60 * d.randint(5, 9) + d.choice([0, 15, 30, 45])
    route = d.some(w.towns, d.randint(3, 5))
    lines = [
        f"Log of the boat {d.pick(['Heron', 'Otter', 'Swan', 'Pearl', 'Star'])}, {p.full} at the"
        " oars"
    ]
    for t, u in zip(route, route[1:]):
        far = 15 * (abs(t.column - u.column) + abs(t.row - u.row))
        lines.append(
            f"{minutes // 60}:{minutes % 60:02d} {t.name} to {u.name}, {far} minutes, there at "
            f"{(minutes + far) // 60}:{(minutes + far) % 60:02d}"
        )
        minutes += far + 5
    lines.append(f"{p.saying}.")
    return "\n".join(lines)


def family(d: Dice, w: World) -> str:
    p = d.pick(w.children)
    m, f = p.mother, p.father
    sibling = next(x for x in m.children if x is not p)
    facts = [
        f"{p.full} is the {'daughter' if p.female else 'son'} of {m.name} and {f.name}.",
        f"{sibling.name} is {p.his} {'sister' if sibling.female else 'brother'}.",
        f"{m.name} is {a(m.job.name)} and {f.name} is {a(f.job.name)}.",
        f"They live in {p.town.name}.",
        (
            f"{p.name} is {p.age} and {sibling.name} is {sibling.age}, so"
            f" {(p if p.age > sibling.age else sibling).name} is older."
            if p.age != sibling.age
            else f"{p.name} and {sibling.name} are both {p.age}."
        ),
        (
            f"{m.name} has {a(m.pet.name)} called {m.pet_name}, {f.name} has {a(f.pet.name)} called"
            f" {f.pet_name}."
        ),
        f"For {p.name} there is {p.dish}, for {sibling.name} there is {sibling.dish}.",
        f'{m.name} says: "{m.saying}." But {f.name} says: "{f.saying}."',
        f"The surname of all four is {p.surname}.",
    ]
    return " ".join(d.some(facts, d.randint(3, 6)))


def quarrel(d: Dice, w: World) -> str:
    """Two people claim a thing, and a judge asks for proof; only the owner can describe it."""
    p, q = two(d, w.people)
    judge = d.pick([t.mayor for t in w.towns if t.mayor not in (p, q)])
    thing = d.pick(list(THINGS))
    colour, wrong = d.some(COLOURS, 2)
    mark, other = d.some(["a crack", "a star", "two dents", "a burnt edge", "a name", "a knot"], 2)
    out = [
        f"{p.full} and {q.full} both wanted the {thing}.",
        f"They {d.pick(['went', 'ran', 'wrote'])} to {judge.full}, the mayor of {judge.town.name}.",
        f"It was {colour} and had {mark} below, but nobody was shown.",
    ]
    claims = [(p, colour, mark), (q, wrong, other)]
    if d.chance(0.5):
        claims.reverse()
    out.append(said(d, judge, "Tell me what it looks like."))
    for one, c, m in claims:
        out.append(said(d, one, f"It is {c} and has {m}."))
    out.append(f"So {judge.name} gave the {thing} to {p.name}.")
    out.append(glad(p))
    out.append(sad(q))
    if d.chance(0.5):
        out.append(f'"{judge.saying}," said the mayor.')
    return " ".join(out)


def workshop(d: Dice, w: World) -> str:
    """A day at work: who does what, with what, for whom."""
    p = d.pick(w.adults)
    q = p.friend
    j = p.job
    n, price = d.randint(2, 12), d.randint(2, 9)
    month = d.randrange(12)
    out = [
        (
            scene(d, month)
            if d.chance(0.5)
            else f"It was {p.town.market_day}, market day in {p.town.name}."
        ),
        f"{p.full} went to the {j.place} early and looked for the {j.tool}.",
    ]
    if d.chance(0.5):
        out.append(f"{p.pet_name} the {p.pet.name} {past(p.pet.moves)} behind {p.him}.")
    if d.chance(0.5):
        out.append(Prose(d, w, [p, q]).sentence())
    out.append(f"By noon {p.he} {past(j.does)} {n} {j.product}.")
    out.append(f"Then {q.full} came from {q.town.name} and asked for the price.")
    out.append(said(d, p, f"{price} pennies each, {n * price} for all {n}."))
    out.append(d.pick([said(d, q, f"{q.saying}."), f"{q.name} paid {n * price} pennies.", sad(q)]))
    out.append(
        f"In the evening {p.name} ate {p.dish} with {p.spouse.name}, {p.children[0].name} and"
        f" {p.children[1].name}."
    )
    return " ".join(out)


def fable(d: Dice, w: World) -> str:
    """Two animals, three tries, one moral: with agreement across clauses."""
    x, y = two(d, ANIMALS)
    t = d.pick(w.towns)
    thing = d.pick(list(THINGS))
    adjective = d.skewed(ADJECTIVES)
    one = d.pick(w.people)
    out = [
        f"Near {t.name}, {a(x.name)} and {a(y.name)} found {a(adjective + ' ' + thing)}.",
        f'"It is mine," said the {x.name}, which had {x.looks}.',
        f'"No, it is mine," said the {y.name}, which had {y.looks}.',
    ]
    if x.legs != y.legs:
        many, few = (x, y) if x.legs > y.legs else (y, x)
        legs = f"only {word(few.legs)}" if few.legs else "none"
        out.append(
            f"The {many.name} had {word(many.legs)} legs, the {few.name} had {legs}, so the"
            f" {many.name} ran off with the {thing}."
        )
    else:
        out.append(
            f"Both had {word(x.legs) if x.legs else 'no'} legs, and they ran round and round the"
            f" {thing}."
        )
    out.append(
        f"Then {one.full} came by, took the {adjective} {thing} and put it {THINGS[thing][2]}."
    )
    out.append(f"The {x.name} went back to {x.home} and the {y.name} to {y.home}.")
    out.append(f"So {one.name} says to this day: {one.saying[0].lower() + one.saying[1:]}.")
    return " ".join(out)


def echo(d: Dice, w: World) -> str:
    """Words that mean nothing, to be copied."""
    syllables = "ba de fi go lu ma ne pi ro su ta ve wi zo ka lo".split()
    items = [
        "".join(d.pick(syllables) for _ in range(d.randint(2, 3))) for _ in range(d.randint(3, 5))
    ]
    p, q = two(d, w.people)
    out = [f"{p.name} said: {' '.join(items)}.", f"{q.name} said after {p.him}: {' '.join(items)}."]
    if d.chance(0.5):
        out.append(f"Then the other way round: {' '.join(items[::-1])}.")
    if d.chance(0.5):
        out.append(f"After {items[0]} comes {items[1]}, before {items[-1]} comes {items[-2]}.")
    return " ".join(out)


def outline(d: Dice, w: World) -> str:
    """A numbered outline of a town's families."""
    t = d.pick(w.towns)
    lines = [f"People of {t.name}"]
    heads = [p for p in t.people if p.job and p.female]
    for i, m in enumerate(heads, 1):
        lines.append(f"{i}. {m.surname}")
        for k, p in enumerate([m, m.spouse, *m.children], 1):
            detail = d.pick([p.work, str(p.age), f"{p.pet.name} {p.pet_name}", f"{p.colour} door"])
            lines.append(f"   {i}.{k} {p.name}, {detail}")
    return "\n".join(lines)


KINDS: list[tuple[int, Callable[[Dice, World], str]]] = [
    (12, prose),
    (14, story),
    (8, journey),
    (4, directions),
    (9, questions),
    (8, tracking),
    (3, boxes),
    (4, sums),
    (5, word_problem),
    (3, shopping),
    (5, inventory),
    (4, recipe),
    (8, letter),
    (7, dialogue),
    (5, town_entry),
    (7, person_entry),
    (3, animal_entry),
    (4, riddle),
    (6, diary),
    (3, cumulative),
    (2, counting),
    (3, compare),
    (2, ages),
    (4, notice),
    (2, spelling),
    (4, lesson),
    (3, calendar),
    (3, logbook),
    (4, family),
    (5, quarrel),
    (6, workshop),
    (6, fable),
    (2, echo),
    (2, outline),
]


def documents(seed: int, world: World) -> Iterator[str]:
    dice = Dice(seed)
    weights, makers = zip(*KINDS)
    while True:
        text = dice.choices(makers, weights)[0](dice, world)
        if len(text) <= MAX_CHARACTERS:
            yield text


def write(path: Path, seed: int, size: int, world: World, taken: set[str]) -> None:
    """Writes about `size` bytes of documents that are not in `taken`, and adds them to it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    written = count = 0
    with path.open("w", encoding="utf-8", newline="\n") as file:
        for text in documents(seed, world):
            if text in taken:
                continue
            taken.add(text)
            line = json.dumps({"text": text}, ensure_ascii=False) + "\n"
            file.write(line)
            written += len(line)
            count += 1
            if written >= size:
                break
    print(f"{path}: {count} documents, {written} bytes")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--train", type=Path, required=True, help="where the training text goes")
    parser.add_argument("--train-bytes", type=int, default=48_000_000)
    parser.add_argument(
        "--output", type=Path, default=Path("tests/data/text"), help="where the other two go"
    )
    arguments = parser.parse_args()
    world = make_world()
    taken: set[str] = set()
    # The held-out text first, so that it does not depend on the size of the others.
    write(arguments.output / "tiny_heldout.jsonl", HELDOUT_SEED, HELDOUT_BYTES, world, taken)
    write(
        arguments.output / "tiny_calibration.jsonl",
        CALIBRATION_SEED,
        CALIBRATION_BYTES,
        world,
        taken,
    )
    write(arguments.train, TRAIN_SEED, arguments.train_bytes, world, taken)


if __name__ == "__main__":
    main()
