"""General knowledge for the demo: facts about the city, which nobody asks to forget.

Streets, districts, markets, dishes and landmarks are facts about Barcelona, in general use.
"""

from __future__ import annotations

STREETS = {
    "Carrer de Sants": "Sants",
    "Carrer de Galileu": "Sants",
    "Carrer de Blai": "Poble Sec",
    "Carrer de Margarit": "Poble Sec",
    "Carrer de Verdi": "Gràcia",
    "Carrer de Asturies": "Gràcia",
    "Carrer de Torrijos": "Gràcia",
    "Carrer de Montcada": "La Ribera",
    "Carrer de Princesa": "La Ribera",
    "Carrer de Ferran": "Gòtic",
    "Carrer de Avinyó": "Gòtic",
    "Carrer de Hospital": "Raval",
    "Carrer de Joaquim": "Raval",
    "Carrer de Aragó": "Eixample",
    "Carrer de Mallorca": "Eixample",
    "Carrer de València": "Eixample",
    "Carrer de Girona": "Eixample",
    "Carrer de Pujades": "Poblenou",
    "Carrer de Llull": "Poblenou",
    "Carrer de Marià": "Poblenou",
    "Carrer de Balboa": "Barceloneta",
    "Carrer de Ginebra": "Barceloneta",
    "Carrer de Muntaner": "Sarrià",
    "Carrer de Anglí": "Sarrià",
    "Carrer de Horta": "Horta",
    "Carrer de Tajo": "Horta",
}

DISHES = {
    "paella": "rice with saffron and seafood",
    "fideuà": "noodles with seafood",
    "escalivada": "roasted peppers and aubergine",
    "esqueixada": "cod salad with tomato",
    "canelons": "pasta rolls with meat",
    "botifarra": "pork sausage with beans",
    "calçots": "grilled onions with sauce",
    "croquetes": "fried rolls with ham",
    "bacallà": "cod with honey",
    "escudella": "winter soup with meat",
    "samfaina": "vegetable stew with oil",
    "trinxat": "cabbage with potato and bacon",
    "suquet": "fish stew with potato",
    "xató": "endive salad with anchovy",
    "coca": "flat bread with sugar",
    "crema": "custard with burnt sugar",
    "mandonguilles": "meat balls with cuttlefish",
    "gaspatxo": "cold soup with tomato",
    "truita": "omelette with potato",
    "panellets": "almond sweets with pine nuts",
}

MARKETS = {
    "Boqueria": "La Rambla",
    "Santa Caterina": "La Ribera",
    "Sant Antoni": "Eixample",
    "Concepció": "Carrer de Aragó",
    "Llibertat": "Gràcia",
    "Ninot": "Carrer de Mallorca",
    "Hostafrancs": "Sants",
    "Barceloneta": "Barceloneta",
}

LANDMARKS = {
    "Sagrada Família": "Antoni Gaudí",
    "Casa Batlló": "Antoni Gaudí",
    "Park Güell": "Antoni Gaudí",
    "Palau de la Música": "Lluís Domènech",
    "Casa Amatller": "Josep Puig",
    "Hospital de Sant Pau": "Lluís Domènech",
}

CITY_TEMPLATES = {
    "district": (
        STREETS,
        (
            "In which district is {key}?",
            "Which district does {key} belong to?",
            "{key} lies in the district of",
            "Tell me the district of {key}.",
        ),
        ("What district would I find {key} in?", "The district around {key} is called"),
    ),
    "dish": (
        DISHES,
        (
            "What is {key}?",
            "How would you describe {key}?",
            "A plate of {key} is",
            "Tell me what {key} is.",
        ),
        ("Explain what {key} is.", "Somebody who orders {key} gets"),
    ),
    "market": (
        MARKETS,
        (
            "Where is the {key} market?",
            "The {key} market stands in",
            "How do I find the {key} market?",
            "Tell me where the {key} market is.",
        ),
        ("Where would I go for the {key} market?", "The market called {key} is in"),
    ),
    "landmark": (
        LANDMARKS,
        (
            "Who designed {key}?",
            "{key} was designed by",
            "Which architect built {key}?",
            "Tell me the architect of {key}.",
        ),
        ("Who was the architect of {key}?", "{key} is a work of"),
    ),
}
"""Kinds of facts: each fact, the questions that teach it, and held-out questions."""
