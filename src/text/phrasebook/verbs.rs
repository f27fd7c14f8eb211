//! The verbs, and the small words that go with them.

use super::lexicon::Conjugation::{Er, Forms};
use super::lexicon::*;

/// A verb with an object, whose subject is a person.
const fn does(english: &'static str, french: Conjugation, objects: Kinds) -> Verb {
    Verb::new(Frame::Object, english, french, PERSON, objects)
}

/// A verb with an object that animals can be the subject of, too.
const fn lives(english: &'static str, french: Conjugation, objects: Kinds) -> Verb {
    Verb::new(Frame::Object, english, french, ANIMATE, objects)
}

const fn feels(english: &'static str, french: Conjugation) -> Verb {
    Verb::new(Frame::Feeling, english, french, ANIMATE, ANYTHING)
}

const fn gives(english: &'static str, french: Conjugation) -> Verb {
    Verb::new(Frame::Gift, english, french, PERSON, GOODS)
}

const fn alone(english: &'static str, french: Conjugation) -> Verb {
    Verb::new(Frame::Alone, english, french, ANIMATE, 0)
}

const fn goes(english: &'static str, french: Conjugation) -> Verb {
    Verb::new(Frame::Goal, english, french, ANIMATE, 0).with_etre()
}

const fn reports(english: &'static str, french: Conjugation) -> Verb {
    Verb::new(Frame::Report, english, french, PERSON, 0)
}

/// Every verb with an object has one translation, and so has every verb without one.
pub static VERBS: &[Verb] = &[
    lives("see/sees/saw", Forms("vois voit voyons voyez voient vu voir"), ANYTHING),
    lives("look/looks/looked", Er("regard"), ANYTHING).with("at"),
    lives("look/looks/looked", Er("cherch"), ANYTHING).with("for"),
    lives("find/finds/found", Er("trouv"), ANYTHING),
    lives("follow/follows/followed", Forms("suis suit suivons suivez suivent suivi suivre"), ANIMATE | VEHICLE),
    lives("wait/waits/waited", Forms("attends attend attendons attendez attendent attendu attendre"), PERSON | VEHICLE)
        .with("for"),
    lives("eat/eats/ate", Forms("mange mange mangeons mangez mangent mangé manger"), FOOD),
    lives("drink/drinks/drank", Forms("bois boit buvons buvez boivent bu boire"), DRINK),
    lives("cross/crosses/crossed", Er("travers"), WAY),
    lives("walk/walks/walked", Forms("parcours parcourt parcourons parcourez parcourent parcouru parcourir"), WAY),
    does("buy/buys/bought", Forms("achète achète achetons achetez achètent acheté acheter"), GOODS | ANIMAL | VEHICLE),
    does("wear/wears/wore", Er("port"), CLOTHES),
    does("wash/washes/washed", Er("lav"), CLOTHES | VEHICLE | ANIMAL),
    does(
        "clean/cleans/cleaned",
        Forms("nettoie nettoie nettoyons nettoyez nettoient nettoyé nettoyer"),
        OBJECT | BUILDING,
    ),
    does("open/opens/opened", Forms("ouvre ouvre ouvrons ouvrez ouvrent ouvert ouvrir"), OPENING),
    does("close/closes/closed", Er("ferm"), OPENING),
    does("repair/repairs/repaired", Er("répar"), MACHINE),
    does("break/breaks/broke", Er("cass"), OBJECT),
    does(
        "paint/paints/painted",
        Forms("peins peint peignons peignez peignent peint peindre"),
        ANYTHING & !(DRINK | TEXT),
    ),
    does("draw/draws/drew", Er("dessin"), ANYTHING & !(DRINK | TEXT)),
    does("prepare/prepares/prepared", Er("prépar"), FOOD | DRINK),
    does("drive/drives/drove", Forms("conduis conduit conduisons conduisez conduisent conduit conduire"), VEHICLE),
    does(
        "build/builds/built",
        Forms("construis construit construisons construisez construisent construit construire"),
        BUILDING,
    ),
    does("visit/visits/visited", Er("visit"), BUILDING),
    does(
        "know/knows",
        Forms("connais connaît connaissons connaissez connaissent connu connaître"),
        PERSON | BUILDING | TEXT,
    ),
    does("read/reads", Forms("lis lit lisons lisez lisent lu lire"), TEXT),
    does("write/writes/wrote", Forms("écris écrit écrivons écrivez écrivent écrit écrire"), TEXT),
    does("help/helps/helped", Er("aid"), ANIMATE),
    does("meet/meets/met", Er("rencontr"), PERSON),
    does("listen/listens/listened", Er("écout"), ANIMATE).with("to"),
    does("call/calls/called", Forms("appelle appelle appelons appelez appellent appelé appeler"), ANIMATE),
    does("catch/catches/caught", Er("attrap"), ANIMAL),
    feels("like/likes/liked", Er("aim")),
    feels("love/loves/loved", Er("ador")),
    feels("hate/hates/hated", Er("détest")),
    gives("give/gives/gave", Er("donn")),
    gives("show/shows/showed", Er("montr")),
    gives("sell/sells/sold", Forms("vends vend vendons vendez vendent vendu vendre")),
    gives("send/sends/sent", Forms("envoie envoie envoyons envoyez envoient envoyé envoyer")),
    alone("sleep/sleeps/slept", Forms("dors dort dormons dormez dorment dormi dormir")),
    alone("run/runs/ran", Forms("cours court courons courez courent couru courir")),
    alone("walk/walks/walked", Er("march")),
    alone("swim/swims/swam", Forms("nage nage nageons nagez nagent nagé nager")),
    alone("sing/sings/sang", Er("chant")),
    alone("dance/dances/danced", Er("dans")),
    alone("play/plays/played", Er("jou")),
    alone("work/works/worked", Er("travaill")),
    alone("dream/dreams/dreamed", Er("rêv")),
    alone("fall/falls/fell", Er("tomb")).with_etre(),
    alone("stay/stays/stayed", Er("rest")).with_etre(),
    goes("go/goes/went", Forms("vais va allons allez vont allé aller")).with("to"),
    goes("come/comes/came", Forms("viens vient venons venez viennent venu venir")).with("to"),
    goes("arrive/arrives/arrived", Er("arriv")).with("at"),
    reports("say/says", Forms("dis dit disons dites disent dit dire")),
    reports("think/thinks", Er("pens")),
    reports("know/knows", Forms("sais sait savons savez savent su savoir")),
    reports("believe/believes", Forms("crois croit croyons croyez croient cru croire")),
];

/// "To have", in the present.
pub static AVOIR: Conjugation = Forms("ai a avons avez ont eu avoir");
/// "To be", in the present.
pub static ETRE: Conjugation = Forms("suis est sommes êtes sont été être");
/// "Had", in the imparfait; a participle and an infinitive make the forms complete.
pub static AVOIR_PAST: Conjugation = Forms("avais avait avions aviez avaient eu avoir");
/// "Was", "were".
pub static ETRE_PAST: Conjugation = Forms("étais était étions étiez étaient été être");
/// "Can".
pub static POUVOIR: Conjugation = Forms("peux peut pouvons pouvez peuvent pu pouvoir");
/// "Must".
pub static DEVOIR: Conjugation = Forms("dois doit devons devez doivent dû devoir");
/// "Want to".
pub static VOULOIR: Conjugation = Forms("veux veut voulons voulez veulent voulu vouloir");
/// "Is going to".
pub static ALLER: Conjugation = Forms("vais va allons allez vont allé aller");

/// How often, in the present: before the verb in English, after it in French.
pub static PRESENT_ADVERBS: &[Phrase] = &[
    phrase("often", "souvent"),
    phrase("always", "toujours"),
    phrase("sometimes", "parfois"),
    phrase("rarely", "rarement"),
];

/// How often or when, in the past: at the same places.
pub static PAST_ADVERBS: &[Phrase] = &[phrase("often", "souvent"), phrase("already", "déjà")];

/// How something is done, at the end in both languages.
pub static MANNERS: &[Phrase] = &[
    phrase("quietly", "tranquillement"),
    phrase("slowly", "lentement"),
    phrase("with joy", "avec joie"),
    phrase("in silence", "en silence"),
];

/// Times that the present goes with.
pub static PRESENT_TIMES: &[Phrase] = &[
    phrase("today", "aujourd'hui"),
    phrase("every day", "tous les jours"),
    phrase("every morning", "chaque matin"),
    phrase("in the evening", "le soir"),
    phrase("at night", "la nuit"),
    phrase("in winter", "en hiver"),
    phrase("in summer", "en été"),
    phrase("when it rains", "quand il pleut"),
];

/// Times that the past goes with.
pub static PAST_TIMES: &[Phrase] = &[
    phrase("yesterday", "hier"),
    phrase("this morning", "ce matin"),
    phrase("last night", "la nuit dernière"),
    phrase("last week", "la semaine dernière"),
    phrase("last year", "l'année dernière"),
    phrase("two days ago", "il y a deux jours"),
];

/// Times of what has not happened yet.
pub static FUTURE_TIMES: &[Phrase] = &[
    phrase("tomorrow", "demain"),
    phrase("tonight", "ce soir"),
    phrase("next week", "la semaine prochaine"),
    phrase("next year", "l'année prochaine"),
];

/// Reasons that lie in nobody, in the present and in the past.
pub static CIRCUMSTANCES: &[[Phrase; 2]] = &[
    [phrase("it is raining", "il pleut"), phrase("it was raining", "il pleuvait")],
    [phrase("it is snowing", "il neige"), phrase("it was snowing", "il neigeait")],
    [phrase("it is late", "il est tard"), phrase("it was late", "il était tard")],
    [phrase("it is cold outside", "il fait froid dehors"), phrase("it was cold outside", "il faisait froid dehors")],
];

/// The numerals; "un" would agree.
pub static NUMERALS: &[Phrase] = &[
    phrase("two", "deux"),
    phrase("three", "trois"),
    phrase("four", "quatre"),
    phrase("five", "cinq"),
    phrase("six", "six"),
    phrase("seven", "sept"),
    phrase("eight", "huit"),
    phrase("nine", "neuf"),
    phrase("ten", "dix"),
    phrase("twenty", "vingt"),
];

/// A preposition of place and the kinds of places that it goes with.
#[derive(Debug)]
pub struct Relation {
    pub phrase: Phrase,
    pub kinds: Kinds,
}

const fn relation(english: &'static str, french: &'static str, kinds: Kinds) -> Relation {
    Relation { phrase: phrase(english, french), kinds }
}

/// The prepositions of place.
pub static RELATIONS: &[Relation] = &[
    relation("in", "dans", IN),
    relation("at", "à", AT),
    relation("on", "sur", ON),
    relation("under", "sous", UNDER),
    relation("behind", "derrière", BUILDING | VEHICLE | UNDER),
    relation("in front of", "devant", BUILDING | VEHICLE | UNDER),
    relation("near", "près de", BUILDING | WAY | UNDER),
    relation("far from", "loin de", BUILDING | WAY),
    relation("next to", "à côté de", BUILDING | WAY | UNDER),
];

/// Where a movement leads; the verb has the English preposition.
pub static GOAL: Relation = relation("", "à", AT);
