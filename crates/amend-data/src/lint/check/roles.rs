//! Turns that are not where chat templates take them.

use super::{Check, Hit, Mend, Needs, Rule, Severity, opening};
use crate::format::example::{Example, Side, Turn};

pub(super) static ROLES: Rule = Rule {
    name: "roles",
    severity: Severity::Error,
    about: "turns are out of order or of unknown roles; chat templates refuse or garble them",
    fix: "the row is removed",
    needs: Needs::Row,
};

/// Looks at who speaks when.
pub(super) struct Roles;

impl Check for Roles {
    fn rules(&self) -> &'static [&'static Rule] {
        const { &[&ROLES] }
    }

    fn examine(&self, example: &Example, hits: &mut Vec<Hit>) {
        let fault = example.discord.map(str::to_owned).or_else(|| {
            let pairs = example.answers().map(|(side, turns)| order(side, &example.prompt, turns));
            pairs.into_iter().find_map(|fault| fault)
        });
        if let Some(fault) = fault {
            let excerpt = format!("{fault}; prompt: {}", opening(&example.prompt));
            hits.push(Hit { rule: &ROLES, excerpt, mend: Mend::Remove });
        }
    }
}

/// What is wrong with the turns of a prompt and an answer to it. A missing
/// answer is another rule's.
fn order(side: Side, prompt: &[Turn], answer: &[Turn]) -> Option<String> {
    let mut last: Option<&str> = None;
    let mut asked = false;
    let length = prompt.len();
    let prompt = (1..).zip(prompt).map(|(number, turn)| (format!("turn {number}"), turn));
    let answer = answer.iter().map(|turn| (format!("the {} answer", side.name()), turn));
    for (at, (place, turn)) in prompt.chain(answer).enumerate() {
        let role = turn.role.as_str();
        if turn.continues {
            continue;
        }
        if at >= length && last == Some("assistant") && at == length {
            return Some("the prompt ends with the assistant's turn".to_owned());
        }
        let due = match role {
            "system" | "developer" => last.is_none(),
            "user" => {
                matches!(last, None | Some("system" | "developer" | "assistant")) && at < length
            }
            // After another of the assistant's: an answer of several turns, or a
            // call of a tool before it.
            "assistant" => {
                matches!(last, Some("user" | "tool")) || (at >= length && last.is_none())
            }
            "tool" | "function" => matches!(last, Some("assistant" | "tool")),
            "function_call" => last == Some("user"),
            _ => return Some(format!("{place} has the role {role:?}")),
        };
        if !due {
            return Some(match last {
                None => format!("{place} is the {role}'s, and nothing is before it"),
                Some(last) => format!("{place} is the {role}'s, after the {last}'s"),
            });
        }
        asked |= role == "user";
        last = Some(match role {
            "function" => "tool",
            "function_call" => "assistant",
            role => role,
        });
    }
    (length > 0 && !asked).then(|| "no turn is the user's".to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::tests::found;
    use super::*;

    /// Turns by their initials.
    fn turns(roles: &str) -> Value {
        let turn = |initial| {
            let role = match initial {
                's' => "system",
                'u' => "user",
                'a' => "assistant",
                't' => "tool",
                _ => "wizard",
            };
            json!({"role": role, "content": "x"})
        };
        roles.chars().map(turn).collect()
    }

    #[test]
    fn turns_alternate_after_the_system() {
        for (prompt, chosen, sound) in [
            ("u", "a", true),
            ("su", "a", true),
            ("uau", "a", true),
            ("sua", "u", false),
            ("ua", "a", false),
            ("uu", "a", false),
            ("us", "a", false),
            ("ss", "a", false),
            ("s", "a", false),
            ("au", "a", false),
            ("uw", "a", false),
            ("u", "u", false),
            ("u", "w", false),
            ("uatau", "a", true),
            ("uat", "a", true),
            ("ut", "a", false),
        ] {
            let row = json!({
                "prompt": turns(prompt), "chosen": turns(chosen), "rejected": turns("a")
            });
            let expected: &[&str] = if sound { &[] } else { &["roles"] };
            assert_eq!(found(&Roles, row), expected, "{prompt} → {chosen}");
        }
    }

    #[test]
    fn rows_without_turns_have_none_out_of_order() {
        for row in [
            json!({"prompt": "p", "chosen": "a", "rejected": "b"}),
            json!({"chosen": "a", "rejected": "b"}),
            json!({"instruction": "i", "input": "more", "output": "o", "system": "s"}),
            json!({"system": "s", "question": "q", "chosen": "a", "rejected": "b"}),
            json!({"prompt": "p", "completion": "c", "label": false}),
        ] {
            assert_eq!(found(&Roles, row.clone()), [""; 0], "{row}");
        }
    }

    #[test]
    fn sides_of_different_conversations_are_found() {
        let row = json!({
            "chosen": "\n\nHuman: a\n\nAssistant: b", "rejected": "\n\nHuman: c\n\nAssistant: d"
        });
        assert_eq!(found(&Roles, row), ["roles"]);
        let ends = json!({"messages": turns("uau")});
        assert_eq!(found(&Roles, ends), [""; 0], "a missing answer is another rule's");
    }
}
