"""What do records become by T5's Appendix D, and by its released code where that says nothing?

Of D.14 the article's first sentence.
"""

from __future__ import annotations

from typing import Any

STABLE = (
    "The stable was very roomy, with four good stalls; a large swinging window opened into the yard , which "
    "made it pleasant and airy."
)
COUNCILMEN = "The city councilmen refused the demonstrators a permit because they feared violence."
MARKED = COUNCILMEN.replace("they", "*they*")
MRPC = (
    "We acted because we saw the existing evidence in a new light , through the prism of our "
    "experience on 11 "
    'September , " Rumsfeld said .',
    'Rather , the US acted because the administration saw " existing evidence in a new light , through the '
    'prism of our experience on September 11 " .',
)
RTE = (
    "A smaller proportion of Yugoslavia’s Italians were settled in Slovenia (at the 1991 national "
    "census, some "
    "3000 inhabitants of Slovenia declared themselves as ethnic Italians).",
    "Slovenia has 3,000 inhabitants.",
)
MNLI = (
    "The St. Louis Cardinals have always won.",
    "yeah well losing is i mean i’m i’m originally from Saint Louis and Saint Louis Cardinals when they were "
    "there were uh a mostly a losing team but",
)
QNLI = (
    "Where did Jebe die?",
    "Genghis Khan recalled Subutai back to Mongolia soon afterwards, and Jebe died on the road back to "
    "Samarkand.",
)
QQP = (
    "What attributes would have made you highly desirable in ancient Rome?",
    "How I GET OPPERTINUTY TO JOIN IT COMPANY AS A FRESHER?",
)
SST2 = (
    "it confirms fincher 's status as a film maker who artfully bends technical know-how to the service of "
    "psychological insight ."
)
STSB = (
    "Representatives for Puretunes could not immediately be reached for comment Wednesday.",
    "Puretunes representatives could not be located Thursday to comment on the suit.",
)
CB = (
    "Valence was helping",
    "Valence the void-brain, Valence the virtuous valet. Why couldn't the figger choose his own portion of "
    "titanic anatomy to shaft? Did he think he was helping?",
)
COPA = (
    "Many citizens relocated to the capitol.",
    "Many citizens took refuge in other territories.",
    "Political violence broke out in the nation.",
)
WIC = ("It was the deliberation of his act that was insulting .", "The deliberations of the jury .")
JOEY = (
    "Why was Joey surprised the morning he woke up for breakfast?",
    "There was only pie to eat, rather than traditional breakfast foods",
)
SQUIRRELS = (
    "Once upon a time, there was a squirrel named Joey.",
    "Joey loved to go outside and play with his cousin Jimmy.",
    "Joey and Jimmy played silly games together, and were always laughing.",
    "One day, Joey and Jimmy went swimming together at their Aunt Julie's pond.",
    "Joey woke up early in the morning to eat some food before they left.",
    "He couldn't find anything to eat except for pie!",
    "Usually, Joey would eat cereal, fruit (a pear), or oatmeal for breakfast.",
    "After he ate, he and Jimmy went to the pond.",
    "On their way there they saw their friend Jack Rabbit.",
    "They dove into the water and swam for several hours.",
    "The sun was out, but the breeze was cold.",
    "Joey and Jimmy got out of the water and started walking home.",
    "Their fur was wet, and the breeze chilled them.",
    "When they got home, they dried off, and Jimmy put on his favorite purple shirt.",
    "Joey put on a blue shirt with red and green dots.",
    "The two squirrels ate some food that Joey's mom, Jasmine, made and went off to bed.",
)
SQUAD = (
    "What does increased oxygen concentrations in the patient's lungs displace?",
    "Hyperbaric (high-pressure) medicine uses special oxygen chambers to increase the partial pressure of O₂ "
    "around the patient and, when needed, the medical staff. Carbon monoxide poisoning, gas gangrene, and "
    "decompression sickness (the 'bends') are sometimes treated using these devices. Increased O₂ "
    "concentration in the lungs helps to displace carbon monoxide from the heme group of hemoglobin. Oxygen "
    "gas is poisonous to the anaerobic bacteria that cause gas gangrene, so increasing its partial pressure "
    "helps kill them. Decompression sickness occurs in divers who decompress too quickly after a dive, "
    "resulting in bubbles of inert gas, mostly nitrogen and helium, forming in their blood. Increasing the "
    "pressure of O₂ as soon as possible is part of the treatment.",
)
STARS = (
    'This image section from an infrared recording by the Spitzer telescope shows a "family portrait" of '
    "countless generations of stars: the oldest stars are seen as blue dots, while more difficult to "
    'identify are the pink-coloured "new-borns" in the star delivery room.',
    'Ce détail d\'une photographie infrarouge prise par le télescope Spitzer montre un "portrait de famille" '
    "des innombrables générations d'étoiles: les plus vieilles étoiles sont en bleu et les points roses, "
    "plus difficiles à identifier, sont les \"nouveau-nés\" dans la salle d'accouchement de l'univers.",
)
HIGHLIGHTS = (
    "the belgian duo took to the dance floor on monday night with some friends .",
    "manchester united face newcastle in the premier league on wednesday .",
    "red devils will be looking for just their second league away win in seven .",
    "louis van gaal's side currently sit two points clear of liverpool in fourth .",
)
# A task, a record as TensorFlow Datasets has it, the input, the target.
APPENDIX_D: list[tuple[str, dict[str, Any], str, str]] = [
    (
        "glue/cola",
        {"sentence": "John made Bill master of himself.", "label": 1},
        "cola sentence: John made Bill master of himself.",
        "acceptable",
    ),
    (
        "glue/rte",
        {"sentence1": RTE[0], "sentence2": RTE[1], "label": 1},
        f"rte sentence1: {RTE[0]} sentence2: {RTE[1]}",
        "not_entailment",
    ),
    (
        "glue/mnli",
        {"premise": MNLI[1], "hypothesis": MNLI[0], "label": 2},
        f"mnli hypothesis: {MNLI[0]} premise: {MNLI[1]}",
        "contradiction",
    ),
    (
        "glue/mrpc",
        {"sentence1": MRPC[0], "sentence2": MRPC[1], "label": 1},
        f"mrpc sentence1: {MRPC[0]} sentence2: {MRPC[1]}",
        "equivalent",
    ),
    (
        "glue/qnli",
        {"question": QNLI[0], "sentence": QNLI[1], "label": 0},
        f"qnli question: {QNLI[0]} sentence: {QNLI[1]}",
        "entailment",
    ),
    (
        "glue/qqp",
        {"question1": QQP[0], "question2": QQP[1], "label": 0},
        f"qqp question1: {QQP[0]} question2: {QQP[1]}",
        "not_duplicate",
    ),
    ("glue/sst2", {"sentence": SST2, "label": 1}, f"sst2 sentence: {SST2}", "positive"),
    (
        "glue/stsb",
        {"sentence1": STSB[0], "sentence2": STSB[1], "label": 3.25},
        f"stsb sentence1: {STSB[0]} sentence2: {STSB[1]}",
        "3.2",
    ),
    (
        "super_glue/cb",
        {"hypothesis": CB[0], "premise": CB[1], "label": 1},
        f"cb hypothesis: {CB[0]} premise: {CB[1]}",
        "contradiction",
    ),
    (
        "super_glue/copa",
        {"question": "effect", "premise": COPA[2], "choice1": COPA[0], "choice2": COPA[1], "label": 1},
        f"copa choice1: {COPA[0]} choice2: {COPA[1]} premise: {COPA[2]} question: effect",
        "True",
    ),
    (
        "super_glue/multirc",
        {
            "answer": JOEY[1],
            "paragraph": "".join(f"<b>Sent {n}: </b>{said}<br>" for n, said in enumerate(SQUIRRELS, 1)),
            "question": JOEY[0],
            "idx": {"paragraph": 3, "question": 7, "answer": 1},
            "label": 1,
        },
        f"multirc question: {JOEY[0]} answer: {JOEY[1]} paragraph: "
        + " ".join(f"Sent {n}: {said}" for n, said in enumerate(SQUIRRELS, 1)),
        "True",
    ),
    (
        "super_glue/wic",
        {"pos": "N", "sentence1": WIC[0], "sentence2": WIC[1], "word": "deliberation", "label": 0},
        f"wic pos: N sentence1: {WIC[0]} sentence2: {WIC[1]} word: deliberation",
        "False",
    ),
    (
        "super_glue/wsc",
        {
            "text": STABLE,
            "span1_text": "stable",
            "span1_index": 1,
            "span2_text": "it",
            "span2_index": 20,
            "label": 1,
        },
        f"wsc: {STABLE.replace('made it', 'made *it*')}",
        "stable",
    ),
    (
        "cnn_dailymail",
        {
            "article": "marouane fellaini and adnan januzaj continue to show the world they are not just "
            "teammates but also best mates.",
            "highlights": "\n".join(HIGHLIGHTS),
        },
        "summarize: marouane fellaini and adnan januzaj continue to show the world they are not "
        "just teammates "
        "but also best mates.",
        " ".join(HIGHLIGHTS),
    ),
    (
        "squad",
        {
            "question": SQUAD[0],
            "context": SQUAD[1],
            "id": "1",
            "answers": {"text": ["carbon monoxide", "monoxide"], "answer_start": [0, 7]},
        },
        f"question: {SQUAD[0]} context: {SQUAD[1]}",
        "carbon monoxide",
    ),
    (
        "wmt/de",
        {
            "en": '"Luigi often said to me that he never wanted the brothers to end up in court," she wrote.',
            "de": '"Luigi sagte oft zu mir, dass er nie wollte, dass die Brüder vor Gericht '
            'landen", schrieb sie.',
        },
        "translate English to German: "
        '"Luigi often said to me that he never wanted the brothers to end up in court," she wrote.',
        '"Luigi sagte oft zu mir, dass er nie wollte, dass die Brüder vor Gericht landen", schrieb sie.',
    ),
    (
        "wmt/fr",
        {"en": STARS[0], "fr": STARS[1]},
        f"translate English to French: {STARS[0]}",
        STARS[1],
    ),
    (
        "wmt/ro",
        {
            "en": "Taco Bell said it plans to add 2,000 locations in the US by 2022.",
            "ro": "Taco Bell a afirmat că, până în 2022, intenționează să deschidă 2000 de "
            "restaurante în SUA.",
        },
        "translate English to Romanian: Taco Bell said it plans to add 2,000 locations in the US by 2022.",
        "Taco Bell a afirmat că, până în 2022, intenționează să deschidă 2000 de restaurante în SUA.",
    ),
]
RELEASED: list[tuple[str, dict[str, Any], str, str]] = [
    (
        "super_glue/boolq",
        {"question": "is a stable a house", "passage": "A stable is a building.", "label": 0},
        "boolq passage: A stable is a building. question: is a stable a house",
        "False",
    ),
    (
        "super_glue/rte",
        {"premise": RTE[0], "hypothesis": RTE[1], "label": 1},
        f"rte hypothesis: {RTE[1]} premise: {RTE[0]}",
        "not_entailment",
    ),
    (
        "super_glue/wic",
        {"sentence1": WIC[0], "sentence2": WIC[1], "word": "deliberation", "label": 1},
        f"wic sentence1: {WIC[0]} sentence2: {WIC[1]} word: deliberation",
        "True",
    ),
    (
        "glue/wnli",
        {"sentence1": COUNCILMEN, "sentence2": "The demonstrators feared violence.", "label": 0},
        f"wnli sentence1: {COUNCILMEN} sentence2: The demonstrators feared violence.",
        "not_entailment",
    ),
    (
        "glue/wnli_referent",
        {"sentence1": COUNCILMEN, "sentence2": "The demonstrators feared violence.", "label": 0},
        f"wsc: {MARKED}",
        "The demonstrators",
    ),
    (
        "super_glue/wsc_dpr",
        {
            "text": COUNCILMEN,
            "span1_text": "The city councilmen",
            "span1_index": 0,
            "span2_text": "they",
            "span2_index": 9,
            "label": 1,
        },
        f"wsc: {MARKED}",
        "The city councilmen",
    ),
    (
        "dpr",
        {
            "sentence": "Bob asked Tom if he can lend some money, and he could.",
            "pronoun": "he",
            "candidates": ["Bob", "Tom"],
            "label": 1,
        },
        "wsc: Bob asked Tom if *he* can lend some money, and he could.",
        "Tom",
    ),
    (
        "super_glue/record",
        {
            "query": "A @placeholder is a bird.",
            "entities": ["penguin", "pigeon", "potato"],
            "answers": ["penguin", "pigeon"],
            "passage": "Birds are here.\n@highlight\nPenguins swim\n@highlight\nPotatoes do not",
            "idx": {"passage": 4, "query": 9},
        },
        "record query: A @placeholder is a bird. entities: penguin, pigeon, potato passage: Birds are here. "
        "Penguins swim. Potatoes do not",
        "penguin",
    ),
]
