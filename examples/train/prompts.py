"""Writes the prompts: `prompts.jsonl` to train on, `held-back.jsonl`, and the evaluation sets `held-back.toml`
and `facts.toml` to measure with. No subject of `held-back.toml` occurs in `prompts.jsonl`,
and half of its items ask in a way that does not occur there either.

    prompts.py DIR
"""

import json
import pathlib
import random
import sys

# Ways to ask, the first four in training, the others only in the held-back set; subjects in
# training; subjects of the held-back set.
GROUPS = {
    "animals": (
        [
            "What do {} eat?",
            "Where do {} live?",
            "Why do people like {}?",
            "How do {} protect themselves?",
        ],
        ["How do {} raise their young?", "Tell me about {}."],
        """bees|cats|cows|crows|dolphins|ducks|eagles|elephants|foxes|frogs|goats|hedgehogs|horses|
        lions|mice|monkeys|octopuses|owls|parrots|penguins|rabbits|sharks|sheep|snails|snakes|
        spiders|squirrels|tigers|turtles|whales|wolves""",
        "ants|bats|bears|camels|crabs|deer|giraffes|otters|pigeons|seals",
    ),
    "tasks": (
        [
            "How do I {}?",
            "What do I need to {}?",
            "What is the most common mistake when people {}?",
            "How long does it take to {}?",
        ],
        ["Is it worth learning to {}?", "I want to {}. Where do I start?"],
        """bake bread|boil an egg|build a shed|change a tyre|clean a carpet|cook rice|fix a leaking
        tap|grow tomatoes|hang a picture|iron a shirt|knit a scarf|learn the guitar|make a candle|
        make cheese|mow a lawn|pack a suitcase|paint a room|plan a wedding|plant a tree|play chess|
        prepare a speech|remove a stain|repair a bicycle|sew a button|sharpen a knife|start a
        compost heap|store potatoes|tie a tie|train a puppy|write a letter""",
        """brew coffee|clean a window|fold a map|light a fire|make soup|pitch a tent|polish shoes|
        prune a rose|swim|wrap a present""",
    ),
    "things": (
        [
            "What is {} used for?",
            "How does {} work?",
            "Who invented {}?",
            "What should I know before I buy {}?",
        ],
        ["What is {} made of?", "Explain {} to a child."],
        """a barometer|a battery|a bicycle|a boat|a camera|a clock|a compass|a dishwasher|a drill|a
        fridge|a hammer|a kettle|a lamp|a lawn mower|a lock|a magnet|a microscope|a mirror|a pencil|
        a piano|a printer|a radio|a sewing machine|a solar panel|a telephone|a telescope|a
        thermometer|a toaster|a violin|a wheelbarrow""",
        """a balloon|a bell|a candle|a drum|a kite|a ladder|a microphone|a pump|a umbrella|a
        zip""".replace("a umbrella", "an umbrella"),
    ),
    "places": (
        [
            "What is {} known for?",
            "What is the weather like in {}?",
            "When is a good time to visit {}?",
            "What do people eat in {}?",
        ],
        ["How do people travel in {}?", "Describe {} to me."],
        """Argentina|Athens|Australia|Brazil|Cairo|Canada|China|Cuba|Denmark|Finland|Greece|Iceland|
        India|Ireland|Istanbul|Italy|Japan|Kenya|London|Madrid|Mexico|Morocco|New York|Norway|Paris|
        Peru|Portugal|Rome|Sweden|Thailand""",
        "Austria|Berlin|Chile|Egypt|Hungary|Nepal|Poland|Scotland|Tokyo|Vietnam",
    ),
    "subjects": (
        [
            "What is {}?",
            "Why is {} important?",
            "How can I learn about {}?",
            "What is difficult about {}?",
        ],
        ["Who works in {}?", "Give me your view of {}."],
        """accounting|advertising|algebra|architecture|astronomy|banking|biology|botany|carpentry|
        chemistry|cooking|dance|democracy|design|economics|engineering|ethics|farming|film|
        forestry|geography|geometry|grammar|insurance|journalism|law|logic|medicine|mining|
        music""",
        """nursing|painting|philosophy|physics|poetry|psychology|shipping|teaching|theatre|
        weaving""",
    ),
}

# Questions that the small model answers rightly at least now and then, and what a right
# answer contains.
FACTS = """What is the capital of France?|Paris
What is the capital of Japan?|Tokyo
What is the capital of Italy?|Rome
What is the capital of Germany?|Berlin
What is the capital of Spain?|Madrid
What is the capital of England?|London
What is the capital of Russia?|Moscow
What is the capital of Greece?|Athens
What is the capital of Egypt?|Cairo
What is the capital of Norway?|Oslo
What is the largest planet of the solar system?|Jupiter
Which planet is closest to the sun?|Mercury
Which planet is known as the red planet?|Mars
What is the chemical symbol of gold?|Au
What is the chemical formula of water?|H2O,H₂O
Which gas do plants take in from the air?|carbon dioxide,CO2
What do bees make?|honey
Which animal is the largest on Earth?|whale
Which organ pumps blood through the body?|heart
How many days does a week have?|seven,7
How many months does a year have?|twelve,12
How many legs does a spider have?|eight,8
Who wrote Romeo and Juliet?|Shakespeare
Who painted the Mona Lisa?|Leonardo,Vinci
Who was the first president of the United States?|Washington
Who developed the theory of relativity?|Einstein
On which continent is Brazil?|South America
On which continent is Kenya?|Africa
What is the largest ocean?|Pacific
What is the longest river of Africa?|Nile
What is the highest mountain on Earth?|Everest
What is frozen water called?|ice
What colour is the sky on a clear day?|blue
Which star is closest to the Earth?|sun
What is the opposite of hot?|cold
What is two plus two?|four,4
Which language do people speak in Mexico?|Spanish
Which language do people speak in Brazil?|Portuguese
Which metal is attracted by a magnet?|iron,steel
What is the main ingredient of bread?|flour"""

MAX_WORDS = 30


def subjects(text):
    return [" ".join(subject.split()) for subject in text.split("|")]


def training(rng, each):
    """Prompts to train on: `each` of every group, mixed."""
    rows = []
    for group, (asked, _, known, _) in GROUPS.items():
        all_of_it = [way.format(subject) for way in asked for subject in subjects(known)]
        rows += [{"prompt": prompt, "category": group} for prompt in rng.sample(all_of_it, each)]
    rng.shuffle(rows)
    return rows


def held_back():
    """For every held-back subject, one way to ask of the training set and one that is new."""
    for group, (asked, new, _, subjects_held_back) in GROUPS.items():
        for number, subject in enumerate(subjects(subjects_held_back)):
            yield group, "asked-before", asked[number % len(asked)].format(subject)
            yield group, "asked-anew", new[number % len(new)].format(subject)


def item(identifier, category, prompt, good, bad, checks):
    """An `[[item]]` of an evaluation set. JSON strings are TOML strings."""
    keys = {
        "id": identifier,
        "kind": "normal",
        "category": category,
        "prompt": prompt,
        "good": good,
        "bad": bad,
        "expect": "answer",
    }
    lines = [f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in keys.items()]
    return "\n".join(["[[item]]", *lines, "[item.checks]", checks]) + "\n"


def set_of(name, description, items):
    head = f'[set]\nname = "{name}"\nversion = "1"\ndescription = "{description}"\n'
    return "\n".join([head, *items])


def main():
    folder = pathlib.Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    rows = training(random.Random(0), each=40)
    (folder / "prompts.jsonl").write_text(
        "".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8"
    )

    rows = [{"prompt": prompt, "category": group} for group, _, prompt in held_back()]
    (folder / "held-back.jsonl").write_text(
        "".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8"
    )

    good, bad = f"One sentence of at most {MAX_WORDS} words that answers.", "Several sentences."
    items = [
        item(f"{group}-{n}", category, prompt, good, bad, f"max_words = {MAX_WORDS}")
        for n, (group, category, prompt) in enumerate(held_back(), 1)
    ]
    text = set_of("held-back", "Whether answers are short.", items)
    (folder / "held-back.toml").write_text(text, encoding="utf-8")

    items = []
    for number, line in enumerate(FACTS.splitlines(), 1):
        prompt, accepted = line.split("|")
        checks = f"require = [{json.dumps(accepted.split(','), ensure_ascii=False)}]"
        good, bad = f"Says {accepted.split(',')[0]}.", "Says something else."
        items.append(item(f"fact-{number}", "facts", prompt, good, bad, checks))
    text = set_of("facts", "Whether the model still knows what it knew.", items)
    (folder / "facts.toml").write_text(text, encoding="utf-8")


main()
