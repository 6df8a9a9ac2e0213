"""The words and the small invented world that make_text.py writes about.

The world (sixteen towns on a square map, thirty-two families, who does what and likes what) comes
from one fixed seed, so that all texts agree about it: a model can learn its facts by heart.
"""

import random
from dataclasses import dataclass, field

FEMALE = """Adra Alwen Amity Anneke Astrid Bela Berit Brisa Calla Cora Dagny Della Dora Edda
Elowen Elsie Emmer Esme Fenna Flora Frida Gerda Greta Hanne Hedy Hilde Ilka Imke Ines Iris
Jorun Junia Karin Katla Kerra Lena Liv Lotte Luma Mabel Maren Merle Mina Morna Nadia Nella
Nora Odile Olga Orla Petra Quilla Rhona Rosa Runa Saskia Signe Silka Tamsin Thea Una Vera
Wilma Zora""".split()
MALE = """Abel Aldo Anders Anton Arvid Bastian Benno Birger Boris Bram Caspar Clem Corin Dag
Dario Dorin Edvin Egon Emil Enno Erik Falk Felix Fergus Finn Fritz Gero Gil Gorm Gustav Hal
Hamo Henrik Hugo Ivo Jasper Joren Jory Karl Keld Knut Lars Leif Linus Lorenz Magnus Matti
Milo Niels Oddo Olaf Oskar Otto Pascal Piet Quentin Ralf Rasmus Rolf Sander Sven Tarn Theo
Ulf""".split()
SURNAMES = """Ashdown Barrow Birchwood Cobble Copper Crane Dunning Fairweather Fletcher Gale
Hollow Hornby Inkwell Kestrel Lamb Linden Marsh Mossman Nightingale Oakes Pepper Plover Quill
Reed Saltman Sparrow Thorne Tidewell Umber Vane Whistler Wren""".split()
TOWNS = """Aldermoor Brackwater Copperfold Dunhollow Eastmere Fennick Gullhaven Harrowfen
Ivywell Juniper Kettlebay Larkmoor Mosswick Nettleford Otterbank Pebbleton""".split()

COLOURS = "red blue green yellow white black grey brown orange purple silver golden pink".split()
NUMBERS = """zero one two three four five six seven eight nine ten eleven twelve thirteen
fourteen fifteen sixteen seventeen eighteen nineteen""".split()
TENS = "twenty thirty forty fifty sixty seventy eighty ninety".split()
ORDINALS = "first second third fourth fifth sixth seventh eighth".split()
DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()
MONTHS = """January February March April May June July August September October November
December""".split()

# Weather by season: what the sky does, and what people do about it.
WEATHER = {
    "winter": [
        "Snow fell on the roofs",
        "The pond was frozen hard",
        "A cold wind blew from the hills",
        "Frost covered the windows",
        "The sky was grey and low",
    ],
    "spring": [
        "A soft rain fell all morning",
        "The first swallows came back",
        "The hedges turned green",
        "The brook was full and loud",
        "A fresh wind dried the washing",
    ],
    "summer": [
        "The sun burned on the square",
        "Not a cloud was in the sky",
        "The air smelled of hay",
        "A warm wind came from the sea",
        "Thunder rolled behind the hills",
    ],
    "autumn": [
        "Leaves blew across the road",
        "Mist lay over the fields",
        "Rain drummed on the roofs",
        "The geese flew south",
        "A storm shook the orchard",
    ],
}
SEASON_OF_MONTH = [
    "winter",
    "winter",
    "spring",
    "spring",
    "spring",
    "summer",
    "summer",
    "summer",
    "autumn",
    "autumn",
    "autumn",
    "winter",
]


@dataclass(frozen=True)
class Job:
    name: str
    place: str
    tool: str
    product: str  # a plural
    does: str  # with {t}: the tool, {p}: the product; past | present of one person


JOBS = [
    Job("baker", "bakery", "wooden shovel", "loaves", "baked|bakes"),
    Job("fisher", "harbour", "net", "herrings", "caught|catches"),
    Job("potter", "kiln", "wheel", "jugs", "turned|turns"),
    Job("weaver", "loom house", "shuttle", "blankets", "wove|weaves"),
    Job("smith", "forge", "hammer", "nails", "forged|forges"),
    Job("carpenter", "workshop", "saw", "chairs", "built|builds"),
    Job("miller", "mill", "millstone", "sacks of flour", "ground|grinds"),
    Job("gardener", "glasshouse", "spade", "cabbages", "grew|grows"),
    Job("beekeeper", "hive shed", "smoker", "jars of honey", "filled|fills"),
    Job("shepherd", "sheepfold", "crook", "fleeces", "sheared|shears"),
    Job("printer", "printing house", "press", "posters", "printed|prints"),
    Job("cobbler", "shoe shop", "awl", "boots", "stitched|stitches"),
    Job("candlemaker", "wax room", "ladle", "candles", "poured|pours"),
    Job("tailor", "sewing room", "needle", "coats", "sewed|sews"),
    Job("clockmaker", "clock tower", "tweezers", "clocks", "set|sets"),
    Job("glazier", "glass hut", "blowpipe", "bottles", "blew|blows"),
    Job("cheesemaker", "dairy", "curd knife", "cheeses", "pressed|presses"),
    Job("basketmaker", "willow barn", "bodkin", "baskets", "plaited|plaits"),
    Job("boatbuilder", "boatyard", "adze", "boats", "launched|launches"),
    Job("mapmaker", "map room", "compass", "maps", "drew|draws"),
    Job("painter", "studio", "brush", "signs", "painted|paints"),
    Job("ropemaker", "rope walk", "hook", "ropes", "twisted|twists"),
    Job("doctor", "sickroom", "listening tube", "bandages", "rolled|rolls"),
    Job("teacher", "school", "chalk", "copybooks", "marked|marks"),
    Job("ferryman", "landing", "pole", "tickets", "sold|sells"),
    Job("mason", "quarry", "chisel", "doorsteps", "cut|cuts"),
]


@dataclass(frozen=True)
class Animal:
    name: str
    plural: str
    young: str
    sound: str  # past | present
    food: str
    home: str
    moves: str  # past | present
    legs: int
    kind: str  # pet, farm or wild
    looks: str


PLURALS = {
    "canary": "canaries",
    "mouse": "mice",
    "pony": "ponies",
    "sheep": "sheep",
    "goose": "geese",
    "fox": "foxes",
}


def _animal(line: str) -> Animal:
    name, young, sound, food, home, moves, legs, kind, looks = line.split(", ")
    return Animal(
        name, PLURALS.get(name, name + "s"), young, sound, food, home, moves, int(legs), kind, looks
    )


ANIMALS = [_animal(line) for line in """\
cat, kitten, purred|purrs, fish heads, a basket by the stove, crept|creeps, 4, pet, soft fur
dog, puppy, barked|barks, bones, a kennel, ran|runs, 4, pet, a wet nose and floppy ears
rabbit, kit, thumped|thumps, carrots, a hutch, hopped|hops, 4, pet, long ears and a short tail
canary, chick, trilled|trills, seeds, a cage, fluttered|flutters, 2, pet, yellow feathers
tortoise, hatchling, hissed|hisses, lettuce, a box of straw, crawled|crawls, 4, pet, a hard shell
parrot, chick, chattered|chatters, nuts, a perch, climbed|climbs, 2, pet, a hooked beak
mouse, pup, squeaked|squeaks, crumbs, a hole in the wall, scurried|scurries, 4, pet, long whiskers
hedgehog, hoglet, snuffled|snuffles, beetles, a heap of leaves, trotted|trots, 4, pet, many spines
pony, foal, neighed|neighs, hay, a stable, galloped|gallops, 4, farm, a thick mane
cow, calf, mooed|moos, grass, a byre, ambled|ambles, 4, farm, two horns and a pink nose
goat, kid, bleated|bleats, thistles, a pen, jumped|jumps, 4, farm, a beard and yellow eyes
sheep, lamb, baaed|baas, clover, a fold, wandered|wanders, 4, farm, curly wool
pig, piglet, grunted|grunts, acorns, a sty, rolled|rolls, 4, farm, a flat snout and a curly tail
hen, chick, clucked|clucks, barley, a coop, scratched|scratches, 2, farm, a red comb
duck, duckling, quacked|quacks, pondweed, a hut on the pond, paddled|paddles, 2, farm, a broad bill
goose, gosling, honked|honks, oats, a yard, waddled|waddles, 2, farm, a long white neck
donkey, foal, brayed|brays, straw, a shed, plodded|plods, 4, farm, long grey ears
owl, owlet, hooted|hoots, voles, a hollow tree, glided|glides, 2, wild, round yellow eyes
fox, cub, yelped|yelps, eggs, a den, slipped|slips, 4, wild, a red coat and a bushy tail
otter, pup, whistled|whistles, trout, a bank by the river, dived|dives, 4, wild, webbed feet
heron, chick, croaked|croaks, frogs, a nest of sticks, waded|wades, 2, wild, long thin legs
seal, pup, bellowed|bellows, herrings, a rock in the bay, swam|swims, 0, wild, two flippers
badger, cub, growled|growls, roots, a burrow, dug|digs, 4, wild, a striped face
squirrel, kit, scolded|scolds, hazelnuts, a fork in an oak, leaped|leaps, 4, wild, a bushy red tail
frog, tadpole, croaked|croaks, flies, a pond, hopped|hops, 4, wild, damp green skin
bee, grub, buzzed|buzzes, nectar, a hive, flew|flies, 6, wild, a striped body and a sting
spider, spiderling, rustled|rustles, moths, a web, climbed|climbs, 8, wild, eight small eyes
beetle, grub, clicked|clicks, bark, a rotten log, crawled|crawls, 6, wild, shiny wing cases
crab, larva, clacked|clacks, mussels, a rock pool, scuttled|scuttles, 10, wild, two strong claws
gull, chick, screamed|screams, scraps, a cliff, soared|soars, 2, wild, grey wings
""".splitlines()]
PET_NAMES = (
    """Biscuit Bramble Button Cinder Clover Dumpling Fidget Gherkin Ginger Hazel Jigsaw Muffin
Nutmeg Patch Pebble Pickle Pip Pudding Puddle Rusty Smoke Sock Sparky Tansy Thimble Truffle Tumble
Whiskers""".split()
)

# dish: what goes in for two people (amount, unit or "", ingredient), and the steps.
DISHES = {
    "pea soup": (
        [(2, "cups", "peas"), (1, "", "onion"), (3, "cups", "water"), (1, "pinch", "salt")],
        [
            "Chop the onion",
            "Boil the peas in the water",
            "Add the onion and the salt",
            "Stir until it is thick",
        ],
    ),
    "apple cake": (
        [(3, "", "apples"), (2, "cups", "flour"), (1, "cup", "sugar"), (2, "", "eggs")],
        [
            "Peel and slice the apples",
            "Beat the eggs with the sugar",
            "Fold in the flour",
            "Bake it with the apples on top",
        ],
    ),
    "fish pie": (
        [(2, "", "herrings"), (4, "", "potatoes"), (1, "cup", "milk"), (1, "spoon", "butter")],
        [
            "Boil the potatoes",
            "Mash them with the milk and the butter",
            "Lay the herrings in a dish",
            "Cover them with the mash and bake",
        ],
    ),
    "onion bread": (
        [(3, "cups", "flour"), (2, "", "onions"), (1, "cup", "water"), (1, "spoon", "yeast")],
        [
            "Mix the flour, the yeast and the water",
            "Leave the dough to rise",
            "Fry the onions",
            "Knead them into the dough and bake",
        ],
    ),
    "honey oats": (
        [(2, "cups", "oats"), (2, "cups", "milk"), (3, "spoons", "honey")],
        ["Warm the milk", "Stir in the oats", "Pour the honey over them"],
    ),
    "plum jam": (
        [(20, "", "plums"), (2, "cups", "sugar"), (1, "", "lemon")],
        [
            "Stone the plums",
            "Boil the plums with the sugar",
            "Squeeze in the lemon",
            "Fill the jam into jars",
        ],
    ),
    "mushroom stew": (
        [(12, "", "mushrooms"), (2, "", "carrots"), (1, "", "onion"), (2, "cups", "water")],
        [
            "Slice the mushrooms and the carrots",
            "Fry the onion until it is brown",
            "Add everything else",
            "Simmer it under a lid",
        ],
    ),
    "cheese dumplings": (
        [(1, "cup", "curds"), (2, "cups", "flour"), (2, "", "eggs"), (1, "pinch", "salt")],
        [
            "Rub the curds into the flour",
            "Add the eggs and the salt",
            "Roll small balls",
            "Boil them until they float",
        ],
    ),
    "bean salad": (
        [(2, "cups", "beans"), (3, "", "tomatoes"), (1, "", "cucumber"), (2, "spoons", "oil")],
        [
            "Boil the beans and let them cool",
            "Cut the tomatoes and the cucumber",
            "Mix all of it with the oil",
        ],
    ),
    "nettle tea": (
        [(10, "", "nettle leaves"), (3, "cups", "water"), (1, "spoon", "honey")],
        [
            "Wash the leaves with gloves on",
            "Pour boiling water over them",
            "Sweeten it with the honey",
        ],
    ),
    "egg pancakes": (
        [(3, "", "eggs"), (2, "cups", "flour"), (2, "cups", "milk"), (1, "spoon", "butter")],
        [
            "Whisk the eggs and the milk",
            "Sift in the flour",
            "Melt the butter in a pan",
            "Fry thin pancakes",
        ],
    ),
    "pumpkin porridge": (
        [(1, "", "pumpkin"), (2, "cups", "milk"), (1, "cup", "rice"), (1, "spoon", "cinnamon")],
        [
            "Cut up the pumpkin",
            "Boil the rice in the milk",
            "Add the pumpkin and cook it soft",
            "Dust it with the cinnamon",
        ],
    ),
}

# thing: plural, what it is made of, where it is kept, what it is for, its price in pennies.
THINGS = {
    "lantern": ("lanterns", "tin", "on a hook by the door", "seeing in the dark", 12),
    "kettle": ("kettles", "copper", "on the stove", "boiling water", 15),
    "ladder": ("ladders", "wood", "behind the barn", "reaching the roof", 20),
    "bucket": ("buckets", "wood", "beside the well", "carrying water", 6),
    "rope": ("ropes", "hemp", "in the shed", "tying up boats", 8),
    "drum": ("drums", "leather", "in the attic", "keeping time", 18),
    "flute": ("flutes", "silver", "in a velvet case", "playing tunes", 30),
    "umbrella": ("umbrellas", "cloth", "in the hall", "keeping dry", 11),
    "key": ("keys", "iron", "under the doormat", "opening the gate", 3),
    "map": ("maps", "paper", "in the desk", "finding the way", 7),
    "coin": ("coins", "gold", "in a jar", "paying the ferry", 1),
    "cup": ("cups", "clay", "on the shelf", "drinking tea", 4),
    "spoon": ("spoons", "wood", "in the drawer", "stirring soup", 2),
    "blanket": ("blankets", "wool", "in the chest", "keeping warm", 16),
    "mirror": ("mirrors", "glass", "on the wall", "combing hair", 22),
    "kite": ("kites", "silk", "under the bed", "flying on windy days", 9),
    "bell": ("bells", "brass", "above the gate", "calling people to dinner", 14),
    "book": ("books", "paper", "on the shelf", "reading at night", 10),
    "basket": ("baskets", "willow", "in the pantry", "gathering apples", 5),
    "boot": ("boots", "leather", "on the doorstep", "walking in mud", 13),
    "hat": ("hats", "felt", "on a peg", "keeping off the sun", 9),
    "scarf": ("scarves", "wool", "on a peg", "keeping the neck warm", 8),
    "knife": ("knives", "steel", "in the drawer", "cutting bread", 9),
    "candle": ("candles", "wax", "in the cupboard", "lighting the room", 2),
    "axe": ("axes", "iron", "in the woodshed", "splitting logs", 17),
    "anchor": ("anchors", "iron", "on the jetty", "holding a ship", 40),
    "oar": ("oars", "wood", "in the boathouse", "rowing", 12),
    "ring": ("rings", "silver", "in a small box", "wearing at weddings", 35),
    "letter": ("letters", "paper", "in the desk", "sending news", 1),
    "wheelbarrow": ("wheelbarrows", "wood", "behind the barn", "moving earth", 24),
    "jug": ("jugs", "clay", "in the pantry", "pouring milk", 6),
    "pillow": ("pillows", "linen", "on the bed", "resting the head", 7),
}
FRUIT = (
    "apples pears plums cherries lemons berries nuts onions carrots turnips potatoes eggs".split()
)
PLACES = """barn kitchen garden attic cellar pantry hall stable mill orchard chapel library
boathouse tower greenhouse loft""".split()
BOXES = """chest|box|basket|drawer|cupboard|sack|bucket|barrel|suitcase|crate""".split("|")
ADJECTIVES = """small old heavy bright broken dusty smooth crooked clean shiny round narrow
strange plain useful""".split()
# Verbs of the sentence grammar: base, past, participle.
ON_THINGS = """carry carried carried|find found found|want wanted wanted|clean cleaned cleaned|
mend mended mended|hide hid hidden|sell sold sold|buy bought bought|lose lost lost|
paint painted painted|need needed needed|borrow borrowed borrowed|keep kept kept|
break broke broken|drop dropped dropped|steal stole stolen|polish polished polished|
admire admired admired|wrap wrapped wrapped|weigh weighed weighed|shake shook shaken|
push pushed pushed|pull pulled pulled|kick kicked kicked|throw threw thrown|
measure measured measured"""
ON_BEINGS = """see saw seen|hear heard heard|follow followed followed|help helped helped|
meet met met|like liked liked|watch watched watched|greet greeted greeted|know knew known|
call called called|wake woke woken|thank thanked thanked|fear feared feared|
trust trusted trusted|warn warned warned|miss missed missed|invite invited invited|
remember remembered remembered|teach taught taught|scold scolded scolded"""
ALONE = """wait waited waited|sleep slept slept|sit sat sat|stand stood stood|
rest rested rested|stay stayed stayed|sing sang sung|laugh laughed laughed|fall fell fallen|
dream dreamed dreamed|work worked worked|shiver shivered shivered|listen listened listened|
hum hummed hummed|dance danced danced|whistle whistled whistled|cough coughed coughed|
smile smiled smiled|tremble trembled trembled|argue argued argued"""
ON_CLAUSES = """think thought thought|know knew known|say said said|hope hoped hoped|
hear heard heard|believe believed believed|forget forgot forgotten|claim claimed claimed|
complain complained complained|notice noticed noticed|guess guessed guessed"""
DOUBLED = "drop hum sit wrap forget".split()  # in front of -ing
ADVERBS = """slowly|quietly|often|always|quickly|again|carefully|gladly|at once|soon|never|
suddenly|alone|all day|by mistake|in secret""".replace("\n", "").split("|")
TIMES = """in the morning|at night|before noon|after supper|for an hour|in the rain|at dawn|
every day|until dark""".replace("\n", "").split("|")
COMPARED = """small smaller|old older|heavy heavier|bright brighter|tall taller|loud louder|
warm warmer|cold colder|light lighter|clean cleaner|strange stranger|wide wider""".replace(
    "\n", ""
).split("|")
HOBBIES = """painting|rowing|singing|whittling|dancing|fishing|juggling|swimming|climbing trees|
flying kites|collecting shells|playing the drum|playing the flute|reading old maps|
watching birds|telling stories|skating|baking""".replace("\n", "").split("|")

# temper: how such a person speaks, feels at good and bad news, and walks.
TEMPERS = {
    "cheerful": (
        ["laughed", "sang out", "said with a grin"],
        "clapped",
        "shrugged it off",
        "skipped",
    ),
    "gruff": (["grumbled", "growled", "said with a scowl"], "nodded", "stamped", "tramped"),
    "shy": (["whispered", "murmured", "said softly"], "blushed", "hid", "tiptoed"),
    "proud": (["announced", "declared", "said with a bow"], "beamed", "turned away", "strode"),
    "curious": (
        ["wondered", "asked with wide eyes", "said, leaning closer"],
        "stared",
        "frowned",
        "wandered",
    ),
    "lazy": (["yawned", "mumbled", "said from the bench"], "stretched", "sighed", "strolled"),
    "brave": (
        ["called out", "shouted", "said with a steady voice"],
        "cheered",
        "set their jaw",
        "marched",
    ),
    "careful": (
        ["warned", "explained", "said after a pause"],
        "smiled a little",
        "counted to ten",
        "walked slowly",
    ),
}
SAYINGS = """Wet ropes hold best|No fog lasts till noon|A full jug makes no noise|
Slow oars reach the shore|Ask the goose, not the fox|Salt first, sugar later|
Every gate has two sides|Count the eggs at night|A thin candle still burns|
Mend the roof while it is dry|Even the mill must rest|The tide keeps its own clock|
Two hats for one head is one too many|Feed the fire before the guests|
A short road has long puddles|Old boots know the way|Never whistle at a sleeping dog|
The last pear is the sweetest|Small nails hold big doors|Where bees go, flowers are|
Better a patched sail than none|A loud hen lays small eggs|Look twice, cut once a week|
Bread tells no lies|Snow hides the plough but not the field|Lend a ladder, keep the roof|
Stones in the shoe, songs on the road|Moonlight dries no washing|
A goat is never lost, only elsewhere|Keep the spoon, share the soup|
The bridge remembers every cart|Quiet nets fill faster""".replace("\n", "").split("|")
RIVERS = "Alder Bane Cress Dipper Elver Finnow Glass Hemlin".split()
SIGHTS = """a crooked tower|a stone bridge with five arches|a tall white lighthouse|
a windmill with blue sails|a market hall on oak posts|a fountain in the shape of a fish|
an old bell without a clapper|a row of lime trees|a clock that runs backwards|
a library under the ground|a garden of herbs|a ship turned into a house|
a wall painted with stars|a well that never dries|a staircase cut into the cliff|
a school with a green roof""".replace("\n", "").split("|")


@dataclass
class Person:
    name: str
    surname: str
    female: bool
    age: int
    town: "Town"
    job: Job | None  # None: a child
    temper: str
    pet: Animal
    pet_name: str
    dish: str
    colour: str
    hobby: str
    saying: str
    treasure: str
    mother: "Person | None" = None
    father: "Person | None" = None
    children: list["Person"] = field(default_factory=list)
    spouse: "Person | None" = None
    friend: "Person | None" = None

    @property
    def he(self) -> str:
        return "she" if self.female else "he"

    @property
    def him(self) -> str:
        return "her" if self.female else "him"

    @property
    def his(self) -> str:
        return "her" if self.female else "his"

    @property
    def full(self) -> str:
        return f"{self.name} {self.surname}"

    @property
    def work(self) -> str:
        return self.job.name if self.job else "pupil"


@dataclass
class Town:
    name: str
    column: int
    row: int
    river: str
    sight: str
    flag: tuple[str, str]
    market_day: str
    feast_month: str
    feast_dish: str
    houses: int
    animal: Animal
    people: list[Person] = field(default_factory=list)
    mayor: Person | None = None


@dataclass
class World:
    towns: list[Town]
    people: list[Person]
    adults: list[Person]
    children: list[Person]

    def town_at(self, column: int, row: int) -> Town | None:
        if not (0 <= column < 4 and 0 <= row < 4):
            return None
        return next(t for t in self.towns if (t.column, t.row) == (column, row))


def make_world(seed: int = 20) -> World:
    rng = random.Random(seed)
    female, male, surnames = FEMALE[:], MALE[:], SURNAMES[:]
    for names in (female, male, surnames):
        rng.shuffle(names)
    assert len(set(female + male)) == 128 and len(surnames) == 32 and len(TOWNS) == 16
    cells = [(c, r) for c in range(4) for r in range(4)]
    rng.shuffle(cells)
    sights = rng.sample(SIGHTS, 16)
    towns = []
    for name, (column, row), sight in zip(TOWNS, cells, sights):
        towns.append(
            Town(
                name,
                column,
                row,
                rng.choice(RIVERS),
                sight,
                tuple(rng.sample(COLOURS, 2)),
                rng.choice(DAYS),
                rng.choice(MONTHS),
                rng.choice(list(DISHES)),
                10 * rng.randint(4, 30),
                rng.choice([a for a in ANIMALS if a.kind == "wild"]),
            )
        )
    pets = [a for a in ANIMALS if a.kind == "pet"]

    def person(surname: str, is_female: bool, town: Town, job: Job | None) -> Person:
        return Person(
            (female if is_female else male).pop(),
            surname,
            is_female,
            rng.randint(30, 69) if job else rng.randint(6, 14),
            town,
            job,
            rng.choice(list(TEMPERS)),
            rng.choice(pets),
            rng.choice(PET_NAMES),
            rng.choice(list(DISHES)),
            rng.choice(COLOURS),
            rng.choice(HOBBIES),
            rng.choice(SAYINGS),
            rng.choice(list(THINGS)),
        )

    people = []
    for index, surname in enumerate(surnames):
        town = towns[index % 16]
        mother, father = (person(surname, f, town, rng.choice(JOBS)) for f in (True, False))
        kids = [person(surname, f, town, None) for f in (True, False)]
        mother.spouse, father.spouse = father, mother
        mother.children = father.children = kids
        for kid in kids:
            kid.mother, kid.father = mother, father
        town.people += [mother, father, *kids]
        people += [mother, father, *kids]
    adults = [p for p in people if p.job]
    children = [p for p in people if not p.job]
    for one in people:
        one.friend = rng.choice(
            [p for p in (adults if one.job else children) if p.surname != one.surname]
        )
    for town in towns:
        town.mayor = rng.choice([p for p in town.people if p.job])
    return World(towns, people, adults, children)
