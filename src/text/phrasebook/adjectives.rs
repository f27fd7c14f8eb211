//! The adjectives.

use super::lexicon::*;

const fn before(english: &'static str, comparative: &'static str, french: &'static str, kinds: Kinds) -> Adjective {
    adjective(Position::Before, english, comparative, french, kinds)
}

const fn after(english: &'static str, comparative: &'static str, french: &'static str, kinds: Kinds) -> Adjective {
    adjective(Position::After, english, comparative, french, kinds)
}

const fn have(english: &'static str, comparative: &'static str, french: &'static str) -> Adjective {
    adjective(Position::Have, english, comparative, french, ANIMATE)
}

/// What can be coloured, besides some animals.
const COLOURED: Kinds = CLOTHES | OBJECT | VEHICLE | BUILDING;

/// Every adjective has one translation and one position. Only some are said of nothing but the living, or of nothing
/// but things: a clause with "because" takes these, and so tells which noun its pronoun means.
pub static ADJECTIVES: &[Adjective] = &[
    before("big", "bigger", "grand grande", ANYTHING & !(DRINK | TEXT)),
    before("small", "smaller", "petit petite", ANYTHING & !(DRINK | TEXT)),
    before("beautiful", "more beautiful", "beau belle bel", ANYTHING & !(DRINK | FOOD)),
    before("old", "older", "vieux vieille vieil", ANYTHING & !(DRINK | FOOD)),
    before("new", "", "nouveau nouvelle nouvel", PERSON | OBJECT | CLOTHES | VEHICLE | BUILDING | TEXT),
    before("good", "", "bon bonne", ANYTHING & !WAY | MASS),
    before("bad", "", "mauvais mauvaise", ANYTHING & !WAY | MASS),
    before("pretty", "prettier", "joli jolie", PERSON | ANIMAL | CLOTHES | OBJECT | BUILDING | WAY),
    before("young", "younger", "jeune", ANIMATE),
    before("fat", "fatter", "gros grosse", ANIMAL),
    before("long", "longer", "long longue", TEXT | WAY),
    after("tired", "more tired", "fatigué fatiguée", ANIMATE),
    after("happy", "happier", "heureux heureuse", ANIMATE),
    after("sad", "sadder", "triste", ANIMATE),
    after("sick", "sicker", "malade", ANIMATE),
    after("angry", "angrier", "fâché fâchée", ANIMATE),
    after("lazy", "lazier", "paresseux paresseuse", ANIMATE),
    after("brave", "braver", "courageux courageuse", ANIMATE),
    after("weak", "weaker", "faible", ANIMATE),
    after("shy", "shyer", "timide", ANIMATE),
    after("jealous", "more jealous", "jaloux jalouse", ANIMATE),
    after("intelligent", "more intelligent", "intelligent intelligente", ANIMATE),
    after("rich", "richer", "riche", PERSON),
    after("poor", "poorer", "pauvre", PERSON),
    after("famous", "more famous", "célèbre", PERSON),
    have("hungry", "hungrier", "faim"),
    have("thirsty", "thirstier", "soif"),
    have("afraid", "more afraid", "peur"),
    after("expensive", "more expensive", "cher chère", GOODS & !TEXT | VEHICLE | MASS),
    after("heavy", "heavier", "lourd lourde", OBJECT | VEHICLE | CLOTHES),
    after("dirty", "dirtier", "sale", CLOTHES | OBJECT | VEHICLE | BUILDING | WAY),
    after("clean", "cleaner", "propre", CLOTHES | OBJECT | VEHICLE | BUILDING | WAY),
    after("broken", "", "cassé cassée", OBJECT),
    after("cold", "colder", "froid froide", FOOD | DRINK | MASS),
    after("hot", "hotter", "chaud chaude", FOOD | DRINK | MASS),
    after("fresh", "fresher", "frais fraîche", FOOD | MASS),
    after("delicious", "more delicious", "délicieux délicieuse", FOOD | DRINK | MASS),
    after("fast", "faster", "rapide", VEHICLE | ANIMAL),
    after("slow", "slower", "lent lente", VEHICLE | ANIMAL),
    after("dangerous", "more dangerous", "dangereux dangereuse", VEHICLE | WAY),
    after("wide", "wider", "large", WAY),
    after("narrow", "narrower", "étroit étroite", WAY),
    after("useful", "more useful", "utile", OBJECT | VEHICLE | TEXT),
    after("interesting", "more interesting", "intéressant intéressante", TEXT | BUILDING),
    after("boring", "more boring", "ennuyeux ennuyeuse", TEXT),
    after("strange", "stranger", "étrange", ANYTHING & !DRINK),
    after("ugly", "uglier", "laid laide", ANIMAL | CLOTHES | OBJECT | VEHICLE | BUILDING),
    after("modern", "more modern", "moderne", OBJECT | VEHICLE | BUILDING),
    after("red", "", "rouge", COLOURED),
    after("blue", "", "bleu bleue", COLOURED),
    after("green", "", "vert verte", COLOURED),
    after("yellow", "", "jaune", COLOURED),
    after("white", "", "blanc blanche", COLOURED | ANIMAL),
    after("black", "", "noir noire", COLOURED | ANIMAL),
    after("gray", "", "gris grise", COLOURED | ANIMAL),
    after("French", "", "français française", PERSON | COLOURED | FOOD | DRINK | TEXT | MASS),
    after("Italian", "", "italien italienne", PERSON | COLOURED | FOOD | DRINK | TEXT | MASS),
    after("English", "", "anglais anglaise", PERSON | COLOURED | FOOD | DRINK | TEXT | MASS),
];

/// Adjectives and nouns that mean something else together in French: "vieille fille" is a spinster, "petit ami" a
/// boyfriend, "bonne sœur" a nun, "belle mère" sounds like a mother-in-law.
pub static MISLEADING: &[(&str, &[&str])] = &[
    ("old", &["boy", "girl", "child"]),
    ("big", &["man", "father", "mother"]),
    ("small", &["friend"]),
    ("good", &["woman", "sister", "market"]),
    ("beautiful", &["father", "mother", "brother", "sister"]),
];

/// How strongly an adjective is meant; these can be denied, too.
pub static DEGREES: &[Phrase] = &[phrase("very", "très"), phrase("too", "trop")];
