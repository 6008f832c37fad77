"""The countries that the demo company does business in, with what makes their companies and people look at home."""

from __future__ import annotations

from typing import NamedTuple

# The trades of a market stand in this order.
INDUSTRIES = (
    "Mechanical engineering",
    "Logistics",
    "Medical technology",
    "Energy",
    "Software",
    "Food",
    "Construction",
    "Paper and packaging",
)

# The job titles of a market stand in this order: the role that somebody has in a purchase, whatever the language.
POSITIONS = ("Decision maker", "Purchasing", "Technical evaluator", "Finance", "User", "Assistant")


class City(NamedTuple):
    """A city with one of its postal codes."""

    name: str
    postal_code: str
    area: str = ""


class Market(NamedTuple):
    """A country."""

    locale: str
    """Of the generator."""
    region: str
    language: str
    country: str
    """As it stands in the name of a subsidiary."""
    currency: str
    time_zone: str
    weight: int
    salutations: tuple[str, str]
    """Of women, of men."""
    legal_forms: tuple[str, ...]
    trades: tuple[str, ...]
    titles: tuple[str, ...]
    public: tuple[str, str, str, str]
    """Names of an authority, a university, an association and a newspaper in a city."""
    cities: tuple[City, ...]


GERMAN_TRADES = ("Maschinenbau", "Logistik", "Medizintechnik", "Energie", "Software", "Feinkost", "Bau", "Papier")
GERMAN_TITLES = (
    "Geschäftsführung",
    "Leitung Einkauf",
    "Leitung IT",
    "Leitung Controlling",
    "Produktionsleitung",
    "Assistenz der Geschäftsführung",
)
GERMAN_PUBLIC = ("Stadt {}", "Hochschule {}", "Wirtschaftsverband {}", "{} Tagblatt")
ENGLISH_TRADES = ("Engineering", "Logistics", "Medical", "Energy", "Software", "Foods", "Construction", "Packaging")
ENGLISH_TITLES = (
    "Managing Director",
    "Head of Procurement",
    "IT Director",
    "Financial Controller",
    "Operations Manager",
    "Executive Assistant",
)

MARKETS = (
    Market(
        locale="de_DE",
        region="DE",
        language="de-DE",
        country="Deutschland",
        currency="EUR",
        time_zone="Europe/Berlin",
        weight=8,
        salutations=("Frau", "Herr"),
        legal_forms=("GmbH", "AG", "GmbH & Co. KG", "SE"),
        trades=GERMAN_TRADES,
        titles=GERMAN_TITLES,
        public=GERMAN_PUBLIC,
        cities=(
            City("Berlin", "10115"),
            City("Hamburg", "20457"),
            City("München", "80331", "Bayern"),
            City("Köln", "50667", "Nordrhein-Westfalen"),
            City("Leipzig", "04109", "Sachsen"),
        ),
    ),
    Market(
        locale="de_AT",
        region="AT",
        language="de-AT",
        country="Österreich",
        currency="EUR",
        time_zone="Europe/Vienna",
        weight=3,
        salutations=("Frau", "Herr"),
        legal_forms=("GmbH", "AG"),
        trades=GERMAN_TRADES,
        titles=GERMAN_TITLES,
        public=("Magistrat {}", "Fachhochschule {}", "Wirtschaftskammer {}", "{} Nachrichten"),
        cities=(City("Wien", "1010"), City("Graz", "8010", "Steiermark"), City("Linz", "4020", "Oberösterreich")),
    ),
    Market(
        locale="de_CH",
        region="CH",
        language="de-CH",
        country="Schweiz",
        currency="CHF",
        time_zone="Europe/Zurich",
        weight=3,
        salutations=("Frau", "Herr"),
        legal_forms=("AG", "GmbH"),
        trades=GERMAN_TRADES,
        titles=GERMAN_TITLES,
        public=GERMAN_PUBLIC,
        cities=(City("Zürich", "8001", "ZH"), City("Basel", "4051", "BS"), City("Bern", "3011", "BE")),
    ),
    Market(
        locale="fr_FR",
        region="FR",
        language="fr-FR",
        country="France",
        currency="EUR",
        time_zone="Europe/Paris",
        weight=4,
        salutations=("Madame", "Monsieur"),
        legal_forms=("SAS", "SARL", "SA"),
        trades=("Mécanique", "Logistique", "Médical", "Énergie", "Logiciels", "Gourmet", "Construction", "Emballage"),
        titles=(
            "Directeur général",
            "Responsable des achats",
            "Directeur informatique",
            "Contrôleur de gestion",
            "Responsable de production",
            "Assistant de direction",
        ),
        public=("Mairie de {}", "Université de {}", "Union des entreprises de {}", "Le Courrier de {}"),
        cities=(City("Paris", "75002"), City("Lyon", "69002"), City("Nantes", "44000"), City("Orléans", "45000")),
    ),
    Market(
        locale="it_IT",
        region="IT",
        language="it-IT",
        country="Italia",
        currency="EUR",
        time_zone="Europe/Rome",
        weight=3,
        salutations=("Signora", "Signor"),
        legal_forms=("S.r.l.", "S.p.A."),
        trades=("Meccanica", "Logistica", "Medicale", "Energia", "Software", "Alimentari", "Costruzioni", "Imballaggi"),
        titles=(
            "Direttore generale",
            "Responsabile acquisti",
            "Responsabile IT",
            "Controller",
            "Responsabile di produzione",
            "Assistente di direzione",
        ),
        public=("Comune di {}", "Università di {}", "Associazione industriali di {}", "Il Giornale di {}"),
        cities=(City("Milano", "20121", "MI"), City("Torino", "10121", "TO"), City("Forlì", "47121", "FC")),
    ),
    Market(
        locale="nl_NL",
        region="NL",
        language="nl-NL",
        country="Nederland",
        currency="EUR",
        time_zone="Europe/Amsterdam",
        weight=3,
        salutations=("Mevrouw", "De heer"),
        legal_forms=("B.V.", "N.V."),
        trades=("Machinebouw", "Logistiek", "Medisch", "Energie", "Software", "Voeding", "Bouw", "Verpakking"),
        titles=(
            "Algemeen directeur",
            "Hoofd inkoop",
            "IT-manager",
            "Controller",
            "Productiemanager",
            "Directiesecretaris",
        ),
        public=("Gemeente {}", "Hogeschool {}", "Ondernemersvereniging {}", "{} Courant"),
        cities=(City("Amsterdam", "1012 AB"), City("Rotterdam", "3011 AA"), City("Utrecht", "3511 AA")),
    ),
    Market(
        locale="es_ES",
        region="ES",
        language="es-ES",
        country="España",
        currency="EUR",
        time_zone="Europe/Madrid",
        weight=3,
        salutations=("Señora", "Señor"),
        legal_forms=("S.L.", "S.A."),
        trades=("Mecánica", "Logística", "Médica", "Energía", "Software", "Alimentación", "Construcción", "Embalaje"),
        titles=(
            "Director general",
            "Jefe de compras",
            "Director de informática",
            "Controlador financiero",
            "Jefe de producción",
            "Asistente de dirección",
        ),
        public=("Ayuntamiento de {}", "Universidad de {}", "Asociación de empresas de {}", "Diario de {}"),
        cities=(City("Madrid", "28013"), City("Málaga", "29015"), City("Bilbao", "48001", "Bizkaia")),
    ),
    Market(
        locale="pl_PL",
        region="PL",
        language="pl-PL",
        country="Polska",
        currency="PLN",
        time_zone="Europe/Warsaw",
        weight=2,
        salutations=("Pani", "Pan"),
        legal_forms=("sp. z o.o.", "S.A."),
        trades=(
            "Maszyny",
            "Logistyka",
            "Medyczna",
            "Energia",
            "Oprogramowanie",
            "Żywność",
            "Budownictwo",
            "Opakowania",
        ),
        titles=(
            "Dyrektor zarządzający",
            "Kierownik zakupów",
            "Kierownik IT",
            "Kontroler finansowy",
            "Kierownik produkcji",
            "Asystent zarządu",
        ),
        public=("Urząd Miasta {}", "Politechnika {}", "Izba Gospodarcza {}", "Gazeta {}"),
        cities=(City("Warszawa", "00-001"), City("Kraków", "31-001"), City("Łódź", "90-001")),
    ),
    Market(
        locale="en_GB",
        region="GB",
        language="en-GB",
        country="UK",
        currency="GBP",
        time_zone="Europe/London",
        weight=4,
        salutations=("Ms", "Mr"),
        legal_forms=("Ltd", "plc"),
        trades=ENGLISH_TRADES,
        titles=ENGLISH_TITLES,
        public=("{} City Council", "University of {}", "{} Chamber of Commerce", "The {} Herald"),
        cities=(City("London", "EC1A 1BB"), City("Manchester", "M1 1AE"), City("Bristol", "BS1 4DJ")),
    ),
    Market(
        locale="en_US",
        region="US",
        language="en-US",
        country="America",
        currency="USD",
        time_zone="America/New_York",
        weight=4,
        salutations=("Ms.", "Mr."),
        legal_forms=("Inc.", "LLC", "Corp."),
        trades=ENGLISH_TRADES,
        titles=ENGLISH_TITLES,
        public=("City of {}", "{} State University", "{} Business Council", "The {} Tribune"),
        cities=(City("Boston", "02108", "MA"), City("Columbus", "43215", "OH"), City("Raleigh", "27601", "NC")),
    ),
)
