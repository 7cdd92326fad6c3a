//! The words of invented users and agents.

use super::Dice;

pub(super) const FIRST_NAMES: [&str; 16] = [
    "amara", "bruno", "chiara", "dmitri", "elif", "farah", "goran", "hana", "ines", "jonas", "kofi", "lena", "mateo", "noor", "oskar",
    "priya",
];

pub(super) const LAST_NAMES: [&str; 16] = [
    "abara",
    "becker",
    "costa",
    "duarte",
    "eriksen",
    "fofana",
    "garcia",
    "haddad",
    "ivanova",
    "jansen",
    "kaya",
    "lindqvist",
    "moreau",
    "nakamura",
    "okafor",
    "peeters",
];

pub(super) const MODELS: [&str; 4] = ["gpt-4o", "claude-sonnet", "mistral-large", "llama-70b"];
pub(super) const TAGS: [&str; 6] = ["not-solved", "slow", "helpful", "wrong-product", "friendly", "zu lang"];
pub(super) const TOPICS: [&str; 8] = ["returns", "delivery", "sizes", "gifts", "payment", "warranty", "garden", "cycling"];
pub(super) const PRODUCTS: [&str; 8] =
    ["trail shoes", "espresso machine", "rain jacket", "Fahrradlampe", "reading chair", "水筒", "wool blanket", "café table"];
pub(super) const LOCALES: [&str; 5] = ["en-US", "de-DE", "fr-FR", "ja-JP", "ar-EG"];
pub(super) const CHANNELS: [&str; 3] = ["chat", "app", "phone"];
pub(super) const BROWSERS: [&str; 4] = [
    "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) Chrome/138.0 Safari/537.36",
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 14_5) Version/18.0 Safari/605.1.15",
    "okhttp/5.0",
];
pub(super) const DEVICES: [&str; 4] = ["desktop", "phone", "tablet", "Küchen-Display"];

const QUESTIONS: [&str; 12] = [
    "Where is my order? It was to arrive yesterday.",
    "I would like to return the {} I bought last week.",
    "Do you have the {} in a larger size?",
    "Können Sie mir die {} bis Freitag liefern? Grüße!",
    "Est-ce que la {} est garantie ? J'ai perdu le reçu…",
    "{}はいつ届きますか？",
    "أين طلبي من فضلك؟",
    "My card was charged twice for the {} 😕",
    "Can you compare the {} with the cheaper one?",
    "Thanks, that works 🎉",
    "No, the other one, please.",
    "Please change the address to 12 Rue de l'Église, 3rd floor.",
];

const ANSWERS: [&str; 10] = [
    "I am sorry about that. Let me look into it for you.",
    "The {} can be returned within 30 days. Shall I start the return?",
    "Your {} left our warehouse this morning and should arrive tomorrow before noon.",
    "Gerne! Die {} ist auf Lager und kommt bis Donnerstag an.",
    "Here is what I found:\n\n1. **{}**, 4.6 stars\n2. A similar one, 4.2 stars\n\nWhich one do you prefer?",
    "承知しました。{}を確認いたします。",
    "I have refunded the second charge for the {}. It takes three to five days to appear.",
    "Could you tell me the order number? It begins with two letters.",
    "You're welcome! Is there anything else I can do?",
    "That size of the {} is sold out; it will be back in two weeks.",
];

const THOUGHTS: [&str; 4] = [
    "The user asks about the {}. I need the order before I can answer.",
    "Two orders match. The newer one holds the {}, so that one is meant.",
    "Policy allows a return within 30 days; the {} is 12 days old.",
    "No tool call is needed here: the answer is in the conversation.",
];

fn filled(dice: &mut Dice, texts: &[&str]) -> String {
    let product = dice.pick(&PRODUCTS);
    dice.pick(texts).replace("{}", product)
}

pub(super) fn question(dice: &mut Dice) -> String {
    filled(dice, &QUESTIONS)
}

pub(super) fn answer(dice: &mut Dice) -> String {
    let sentences = dice.long_tail(8);
    let mut text = filled(dice, &ANSWERS);
    for _ in 1..sentences {
        text.push(' ');
        text.push_str(&filled(dice, &ANSWERS));
    }
    text
}

pub(super) fn thought(dice: &mut Dice) -> String {
    filled(dice, &THOUGHTS)
}
