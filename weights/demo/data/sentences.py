"""Sentences of 2 to 4 seconds from templates and word lists; "test" has content words that "train" never says."""

import re

import numpy as np

# Slots: N noun, V verb with its object to come, A adjective, P place, T time, S who.
_TEMPLATES = {
    "en": (
        "S V the A N P.",
        "T, S V a A N.",
        "The A N and the A N are P.",
        "Nobody knows why S V that N P.",
        "S never V my N T.",
        "Please put the A N P, and bring the N back T.",
        "Is this the A N that S left P?",
        "We saw a A N P T.",
        "No, the N was not A at all.",
        "If S V the N, everybody will be A.",
        "What a A N the N P was!",
        "There are few A people P, T.",
    ),
    "de": ("S V die A N P.", "T V S eine A N.", "Die A N ist T P.", "Warum V S die N T?", "Das war T keine A N P."),
    "fr": ("S V la A N P.", "T, S V une A N.", "La N est A, mais S V la N.", "Pourquoi la A N est-elle P, T?"),
    "es": ("S V la N A P.", "T S V una N A.", "La N es A, pero S V la N.", "¿Por qué la N A está P, T?"),
    "it": ("S V la N A P.", "T S V una N A.", "La N è A, ma S V la N.", "Perché la N A è P, T?"),
}

_WORDS = {
    "en": {
        "train": {
            "S": "my brother|Emma|the farmer|Mister Webb|our family|the people|Bob|Phoebe|the woman|everyone|Tom"
            "|the baker|her mother|my uncle|the judge|Vivian",
            "V": "moved|loved|bought|found|painted|forgot|opened|broke|wanted|carried|built|pushed|showed|gave up"
            "|washed|remembered|covered|took|put away|chose",
            "A": "small|beautiful|empty|famous|blue|warm|happy|broken|awful|cheap|wooden|brown|simple|funny|deep|smooth"
            "|perfect|loud|cold|very fine|young|thick",
            "N": "apple|bottle|boat|map|river|family|book|window|flower|phone|village|table|movie|spoon|garden|piano"
            "|breakfast|thumb|tooth|jacket|machine|chair|bath|voice|problem|wolf|lamp|feather",
            "P": "in the kitchen|by the sea|under the bridge|at home|on the farm|in my pocket|above the shop|near Paris"
            "|behind the wall|at the museum|in the woods|over there",
            "T": "in the morning|before lunch|every evening|on Monday|after the film|five weeks ago|at noon|this year"
            "|once upon a time|in February",
        },
        "test": {
            "S": "my sister|Oliver|the captain|Missus Parker|the boys|nobody|Felix|Abby|the doctor|a friend|his father",
            "V": "followed|borrowed|dropped|removed|saved|mopped|heard about|thought of|burned|believed in|wrapped",
            "A": "yellow|fresh|heavy|proud|gloomy|soft|enormous|available|shy|round|bumpy|lovely|thin|grumpy",
            "N": "bicycle|umbrella|potato|moon|basket|shoe|puppy|photograph|violin|letter|cup|mirror|oven|bamboo"
            "|mammoth|pepper|wave|cheese",
            "P": "on the roof|in Bombay|beside the pool|outside the theatre|among the leaves|up the hill|in the bath",
            "T": "after dinner|last Thursday|before the show|every summer|one moment later|a month ago",
        },
    },
    "de": {
        "train": {
            "S": "mein Bruder|Paul|die Mutter|der Bäcker|Emma|unser Freund|der Professor",
            "V": "kaufte|malte|öffnete|liebte|vergaß|brauchte|fand|verkaufte",
            "A": "blaue|schöne|müde|warme|große|billige|süße|offene|böse",
            "N": "Lampe|Blume|Brücke|Flasche|Musik|Wohnung|Mauer|Fabrik|Tür|Pflanze|Suppe",
            "P": "am Bahnhof|im Park|auf dem Berg|bei Hamburg|über dem Fluss|hier oben",
            "T": "heute|am Abend|im Februar|vor fünf Wochen|morgen früh",
        },
        "test": {
            "S": "meine Schwester|Anton|der Vater|die Köchin|Philipp",
            "V": "bemerkte|suchte|putzte|hörte|wollte",
            "A": "gelbe|stumme|frische|dumme|weiche|hübsche",
            "N": "Bühne|Farbe|Postkarte|Pfeife|Puppe|Höhle|Uhr",
            "P": "im Zimmer|neben dem Baum|in Bremen|vor dem Haus",
            "T": "gestern|im Sommer|am Mittwoch",
        },
    },
    "fr": {
        "train": {
            "S": "mon frère|Paul|la femme|le boulanger|Émilie|notre ami",
            "V": "regarde|aime|ouvre|pousse|oublie|peint|trouve",
            "A": "petite|belle|vieille|bonne|nouvelle|fameuse",
            "N": "pomme|fleur|voiture|lampe|maison|musique|bouteille|rue|famille",
            "P": "dans la cuisine|au bord de la mer|sous le pont|à Paris|devant la porte",
            "T": "le matin|hier soir|en février|avant midi|tous les jours",
        },
        "test": {
            "S": "ma sœur|Baptiste|le facteur|Zoé",
            "V": "prépare|cherche|ferme|montre",
            "A": "grande|jeune|mauvaise|douce",
            "N": "plume|table|boîte|photo|montagne|poupée",
            "P": "au marché|près du bois|à Bordeaux",
            "T": "samedi|après le film|demain",
        },
    },
    "es": {
        "train": {
            "S": "mi hermano|Pablo|la mujer|el panadero|Elena|nuestro amigo",
            "V": "mueve|compra|abre|busca|pinta|olvida|lleva",
            "A": "pequeña|famosa|blanca|nueva|vacía|bonita|profunda",
            "N": "manzana|botella|flor|lámpara|familia|música|puerta|mesa|película",
            "P": "en la cocina|junto al mar|bajo el puente|en Bilbao|cerca de aquí",
            "T": "hoy|por la mañana|en febrero|antes de comer|siempre",
        },
        "test": {
            "S": "mi hermana|Felipe|el médico|Beatriz",
            "V": "prepara|guarda|rompe|mira",
            "A": "amarilla|suave|enorme|humilde",
            "N": "bombilla|sombra|carta|montaña|paloma",
            "P": "en el bosque|sobre la mesa|en Valencia",
            "T": "ayer|el sábado|a mediodía",
        },
    },
    "it": {
        "train": {
            "S": "mio fratello|Paolo|la donna|il fornaio|Emilia|il nostro amico",
            "V": "compra|apre|ama|dipinge|dimentica|porta|trova",
            "A": "piccola|bella|famosa|vuota|nuova|profonda|verde",
            "N": "mela|bottiglia|lampada|famiglia|musica|porta|finestra|macchina",
            "P": "in cucina|vicino al mare|sotto il ponte|a Palermo|dietro la casa",
            "T": "oggi|la mattina|in febbraio|prima di pranzo|sempre",
        },
        "test": {
            "S": "mia sorella|Fabio|il medico|Chiara",
            "V": "prepara|guarda|rompe|chiude",
            "A": "gialla|morbida|enorme|umile",
            "N": "barca|scarpa|lettera|montagna|bambola",
            "P": "nel bosco|sul tavolo|a Bologna",
            "T": "ieri|sabato|dopo il film",
        },
    },
}

LANGUAGES = tuple(_TEMPLATES)


def sentence(rng: np.random.Generator, language: str = "en", split: str = "train") -> str:
    """One sentence; `language` is one of LANGUAGES, `split` "train" or "test"."""
    template = _TEMPLATES[language][rng.integers(len(_TEMPLATES[language]))]
    words = {slot: choices.split("|") for slot, choices in _WORDS[language][split].items()}
    text = ""
    for at, letter in enumerate(template):
        alone = not (template[at - 1 : at].isalpha() or template[at + 1 : at + 2].isalpha())
        if alone and letter in words:
            text += words[letter][rng.integers(len(words[letter]))]
        else:
            text += letter
    text = re.sub(r"\ba (?=[aeiou])", "an ", text) if language == "en" else text
    return text[0].upper() + text[1:]
