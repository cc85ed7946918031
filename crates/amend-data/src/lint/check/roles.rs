//! Finds turns in an order, or with a role, that chat templates do not accept.

use super::{Check, Fix, Hit, LintRule, Needs, opening};
use crate::format::example::{Example, ExampleTurn, Side};
use amend_core::document::Severity;

pub(super) static ROLES: LintRule = LintRule {
    name: "roles",
    severity: Severity::Error,
    about: "turns are out of order or have unknown roles; chat templates reject or garble them",
    fix: "the row is removed",
    needs: Needs::Row,
};

/// Checks the order of roles.
pub(super) struct Roles;

impl Check for Roles {
    fn rules(&self) -> &'static [&'static LintRule] {
        const { &[&ROLES] }
    }

    fn examine(&self, example: &Example, hits: &mut Vec<Hit>) {
        let fault = match example.mismatch {
            Some(mismatch) => Some(mismatch.to_owned()),
            None => example.answers().find_map(|(side, turns)| order(side, &example.prompt, turns)),
        };
        if let Some(fault) = fault {
            let excerpt = format!("{fault}; prompt: {}", opening(&example.prompt));
            hits.push(Hit { rule: &ROLES, excerpt, fix: Fix::Remove });
        }
    }
}

/// The fault in the order of a prompt's turns and an answer's, if there is one. A
/// missing answer is the subject of another rule.
fn order(side: Side, prompt: &[ExampleTurn], answer: &[ExampleTurn]) -> Option<String> {
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
            return Some("the prompt ends with a turn of the assistant".to_owned());
        }
        let due = match role {
            "system" | "developer" => last.is_none(),
            "user" => {
                matches!(last, None | Some("system" | "developer" | "assistant")) && at < length
            }
            // An answer may have several turns of the assistant, for example after a
            // tool call.
            "assistant" => {
                matches!(last, Some("user" | "tool")) || (at >= length && last.is_none())
            }
            "tool" | "function" => matches!(last, Some("assistant" | "tool")),
            "function_call" => last == Some("user"),
            _ => return Some(format!("{place} has the role {role:?}")),
        };
        if !due {
            return Some(match last {
                None => format!("{place} has the role {role}, with no turn before it"),
                Some(last) => format!("{place} has the role {role} after a turn of role {last}"),
            });
        }
        asked |= role == "user";
        last = Some(match role {
            "function" => "tool",
            "function_call" => "assistant",
            role => role,
        });
    }
    if length > 0 && !asked { Some("no turn has the role user".to_owned()) } else { None }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::tests::broken_rules;
    use super::*;

    /// Turns by the initials of their roles.
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
    fn turns_must_alternate_after_the_system_turn() {
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
            assert_eq!(broken_rules(&Roles, row), expected, "{prompt} → {chosen}");
        }
    }

    #[test]
    fn formats_without_turns_have_no_wrong_order() {
        for row in [
            json!({"prompt": "p", "chosen": "a", "rejected": "b"}),
            json!({"chosen": "a", "rejected": "b"}),
            json!({"instruction": "i", "input": "more", "output": "o", "system": "s"}),
            json!({"system": "s", "question": "q", "chosen": "a", "rejected": "b"}),
            json!({"prompt": "p", "completion": "c", "label": false}),
        ] {
            assert_eq!(broken_rules(&Roles, row.clone()), [""; 0], "{row}");
        }
    }

    #[test]
    fn sides_of_different_conversations_are_reported() {
        let row = json!({
            "chosen": "\n\nHuman: a\n\nAssistant: b", "rejected": "\n\nHuman: c\n\nAssistant: d"
        });
        assert_eq!(broken_rules(&Roles, row), ["roles"]);
        let ends = json!({"messages": turns("uau")});
        assert_eq!(broken_rules(&Roles, ends), [""; 0], "a missing answer breaks another rule");
    }
}
