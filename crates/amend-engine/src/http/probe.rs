//! Finds out, before the first item of a run, what a server can do: with one tiny completion,
//! and one choice if the run judges.

use super::client::{Client, ClientError, PARSE_ITSELF, Sending, connection_error};
use super::dialect::SwitchField;
use super::profile::{ChoiceWay, Profile};
use super::send_error::SendError;
use super::wire::{FEW_TOKENS, ServerReply};
use amend_core::chat::{Message, Reasoning, ReasoningMode, Role};
use amend_core::model::{ChoiceNeeds, ProbeError, ProbeNeeds, Sampling};
use amend_core::random::Stream;

/// If the labels have less than this part of the floor, verdicts are impossible, and not just
/// uncertain.
const UNUSABLE: f64 = 0.1;

/// The result of asking for a choice in one way.
enum ChoiceOutcome {
    /// The probability of all labels together.
    Mass(f64),
    /// The server reports no probabilities.
    NoLogProbs,
    /// The server refuses the request, in these words.
    Refused(String),
}

/// Asks for what a run needs, and notes in the client's profile how to ask.
///
/// # Errors
/// The server can't be used, or can't do what the run needs.
pub fn probe(client: &Client, needs: &ProbeNeeds) -> Result<(), ProbeError> {
    if let Some(reasoning) = &needs.texts {
        probe_text(client, reasoning)?;
    }
    if let Some(choices) = &needs.choices {
        // A text with thoughts does not show whether the model thinks unasked.
        let knows_thoughts = needs.texts.as_ref().is_some_and(|it| it.mode != ReasoningMode::On);
        probe_choice(client, choices, knows_thoughts)?;
    }
    let profile = client.server.profile();
    let thoughts = match (needs.texts.as_ref().map(|reasoning| reasoning.mode), &profile) {
        (Some(ReasoningMode::On), _) => "on",
        (_, Profile { thinks_anyway: true, .. }) => "can't be switched off",
        _ => "off",
    };
    let refused: Vec<&str> = profile.refused.names().collect();
    tracing::info!(
        "{} ({}): thoughts {thoughts}; choices {}; refused: {}",
        client.server.name,
        client.server.dialect.name(),
        if needs.choices.is_some() { profile.way.as_str() } else { "not needed" },
        if refused.is_empty() { "nothing".to_owned() } else { refused.join(", ") },
    );
    Ok(())
}

/// Learns whether the model thinks, and whether thoughts can be switched off.
fn probe_text(client: &Client, reasoning: &Reasoning) -> Result<(), ProbeError> {
    let ask = || complete(client, &test_conversation(), reasoning, false);
    let thinks = ask()?.has_thought();
    if reasoning.mode == ReasoningMode::On {
        if !thinks {
            tracing::warn!(
                "{} returns no thoughts, although they are switched on: use a model that thinks, or {}",
                client.server.name,
                client.server.dialect.how_to_separate_thoughts()
            );
        }
        client.server.lock().is_known_to_think = thinks;
        return Ok(());
    }
    if !thinks {
        return Ok(());
    }
    // An unknown server may know one of the common switches.
    if client.server.profile().switch == SwitchField::Unknown {
        for switch in [SwitchField::Effort, SwitchField::Template] {
            client.server.lock().switch = switch;
            let is_quiet = ask().is_ok_and(|reply| !reply.has_thought());
            if is_quiet {
                return Ok(());
            }
        }
        client.server.lock().switch = SwitchField::Unknown;
    }
    {
        let mut profile = client.server.lock();
        profile.thinks_anyway = true;
        profile.is_known_to_think = true;
    }
    if reasoning.mode == ReasoningMode::Off {
        tracing::warn!(
            "the model of {} thinks, although thoughts are switched off: they are limited to {} \
             tokens and left out of answers",
            client.server.name,
            reasoning.budget
        );
    }
    // The request now has a budget, which the server may refuse.
    ask().map(drop)
}

/// The conversation of the tiny completion.
fn test_conversation() -> [Message; 1] {
    [Message::new(Role::User, "This is a test. Reply with OK.")]
}

/// Asks for a tiny text, or for the thought before it.
fn complete(
    client: &Client,
    turns: &[Message],
    reasoning: &Reasoning,
    thought_only: bool,
) -> Result<ServerReply, ProbeError> {
    // A thought shows in its first tokens.
    let budget = if thought_only { reasoning.budget } else { FEW_TOKENS };
    let reasoning = Reasoning { budget, ..reasoning.clone() };
    let sampling = Sampling { max_tokens: FEW_TOKENS, reasoning, ..Sampling::default() };
    let write = |profile: &Profile| {
        client.server.writer(profile).complete(turns, &sampling, Stream::new(0), thought_only)
    };
    // The answer that is asked for has no marks of its own.
    client.exchange(write, true, Sending::Retrying).map_err(|error| match error {
        ClientError::Final(error) => error.into(),
        ClientError::Refused(error) => ProbeError::Unfit {
            message: format!("the server refuses a short test request: {error}"),
            hint: "change the sampling settings of the step (`[sampling.STEP]`), or use another \
                   server"
                .to_owned(),
        },
        ClientError::Failed(error) if error.is_parse_failure() => {
            ProbeError::Unfit { message: error.to_string(), hint: PARSE_ITSELF.to_owned() }
        }
        ClientError::Failed(error) => connection_error(&error, client.key_variable).into(),
    })
}

/// Learns how to ask for a choice. `knows_thoughts` is whether it is known already if the model
/// thinks unasked.
fn probe_choice(
    client: &Client,
    needs: &ChoiceNeeds,
    knows_thoughts: bool,
) -> Result<(), ProbeError> {
    let mut turns = needs.turns.clone();
    if let Some(thought_turns) = &needs.thought_turns {
        let thought = complete(client, thought_turns, &needs.reasoning, true)?.thought;
        let Some(thought) = thought else { return Err(no_thought(client)) };
        client.server.lock().is_known_to_think = true;
        if let Some(last) = turns.last_mut() {
            last.reasoning = Some(thought);
        }
    }
    let ways: Vec<ChoiceWay> = ChoiceWay::ALL
        .into_iter()
        .filter(|way| match &needs.recorded_way {
            Some(recorded) => way.as_str() == recorded,
            // Without the begun reply, the thought has no place.
            None if needs.thought_turns.is_some() => {
                matches!(way, ChoiceWay::Begun | ChoiceWay::Continued)
            }
            None => true,
        })
        .collect();
    let mut best: Option<(ChoiceWay, f64)> = None;
    let mut refusal = None;
    let mut last_body = None;
    for &way in &ways {
        if way == ChoiceWay::Label && !knows_thoughts {
            // A thought before the label needs room.
            let mode = match needs.reasoning.mode {
                ReasoningMode::On | ReasoningMode::Auto => ReasoningMode::Auto,
                ReasoningMode::Off => ReasoningMode::Off,
            };
            probe_text(client, &Reasoning { mode, ..needs.reasoning.clone() })?;
        }
        let profile = Profile { way, ..client.server.profile() };
        let body = client.server.writer(&profile).choose(&turns, &needs.labels, &needs.reasoning);
        if last_body.as_ref() == Some(&body) {
            continue;
        }
        last_body = Some(body);
        match choose(client, way, &turns, needs)? {
            ChoiceOutcome::Mass(mass) => {
                if best.is_none_or(|(_, most)| mass > most) {
                    best = Some((way, mass));
                }
                if mass >= needs.mass_floor {
                    break;
                }
            }
            ChoiceOutcome::NoLogProbs => {}
            ChoiceOutcome::Refused(message) => refusal = refusal.or(Some(message)),
        }
    }
    let Some((way, mass)) = best else {
        return Err(match refusal {
            Some(message) => cannot_continue(client, needs, &message),
            None => no_log_probs(client),
        });
    };
    client.server.lock().way = way;
    if mass < UNUSABLE * needs.mass_floor {
        return Err(no_mass(client, mass));
    }
    if mass < needs.mass_floor {
        tracing::warn!(
            "in a test, the judge gave the labels {:.0} % of the probability, less than the floor \
             of {:.0} % (`mass_floor` in `[judge]`): many verdicts will be undecided",
            100.0 * mass,
            100.0 * needs.mass_floor
        );
    }
    Ok(())
}

/// Asks for a choice in one way.
fn choose(
    client: &Client,
    way: ChoiceWay,
    turns: &[Message],
    needs: &ChoiceNeeds,
) -> Result<ChoiceOutcome, ProbeError> {
    let write = |profile: &Profile| {
        let profile = Profile { way, ..profile.clone() };
        client.server.writer(&profile).choose(turns, &needs.labels, &needs.reasoning)
    };
    let thinks = client.server.profile().thinks_anyway;
    let reply = match client.exchange(write, thinks, Sending::Retrying) {
        Ok(reply) => reply,
        Err(ClientError::Final(error)) => return Err(error.into()),
        Err(
            ClientError::Refused(error) | ClientError::Failed(error @ SendError::Status { .. }),
        ) => {
            return Ok(ChoiceOutcome::Refused(error.to_string()));
        }
        Err(ClientError::Failed(error)) => {
            return Err(connection_error(&error, client.key_variable).into());
        }
    };
    Ok(match way.position(&reply).and_then(|at| at.mass(&needs.labels)) {
        Some(mass) => ChoiceOutcome::Mass(mass),
        None => ChoiceOutcome::NoLogProbs,
    })
}

fn no_thought(client: &Client) -> ProbeError {
    ProbeError::Unfit {
        message: format!(
            "{} returns no thought, and the judge's reasons are its thoughts (--reasoning on)",
            client.server.name
        ),
        hint: format!(
            "pass --reasoning auto, and the judge writes its reasons as an answer; or use a model \
             that thinks, and {}",
            client.server.dialect.how_to_separate_thoughts()
        ),
    }
}

fn no_log_probs(client: &Client) -> ProbeError {
    const JUDGE: &str = "judge with another server or a model file (--judge-model), or set \
                         `enabled = false` in `[judge]`";
    ProbeError::Unfit {
        message: format!(
            "{} reports no log-probabilities (logprobs, top_logprobs), from which verdicts are read",
            client.server.name
        ),
        hint: match client.server.dialect.how_to_get_logprobs() {
            Some(remedy) => format!("{remedy}. Otherwise {JUDGE}"),
            None => JUDGE.to_owned(),
        },
    }
}

fn no_mass(client: &Client, mass: f64) -> ProbeError {
    ProbeError::Unfit {
        message: format!(
            "in a test, the judge gave the labels {:.0} % of the probability, in every way of asking: \
             all verdicts would be undecided",
            100.0 * mass
        ),
        hint: format!(
            "if the reply begins inside a thought or as a new turn, {}; if the model does not follow \
             the question, use another judge (--judge-model), or set `enabled = false` in `[judge]`",
            client.server.dialect.how_to_continue()
        ),
    }
}

fn cannot_continue(client: &Client, needs: &ChoiceNeeds, message: &str) -> ProbeError {
    let how = client.server.dialect.how_to_continue();
    match &needs.recorded_way {
        Some(way) => ProbeError::Unfit {
            message: format!("the run asks for verdicts in the way {way:?}, and {message}"),
            hint: format!("{how}, as when the run was started; or start a new run"),
        },
        None => ProbeError::Unfit {
            message: format!("verdicts can't be read from the server: {message}"),
            hint: format!("{how}; or set `enabled = false` in `[judge]`"),
        },
    }
}
