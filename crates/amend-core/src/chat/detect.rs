//! Detects how a model marks its thoughts, by what its chat template writes.
//!
//! The template renders short conversations: with an earlier thought, and with thoughts
//! switched on, off, and neither. The marks are those of a known family, or what stands
//! around the earlier thought.

use serde_json::{Map, Value, json};

use super::conversation::{MessageForm, ThoughtForm};
use super::marks::Marks;
use super::opening::Tail;
use super::template::{ChatTemplate, USUAL_KEYS, has_written_blocks, joined};
use super::{Message, ReasoningFormat, ReasoningSwitch, Role, Segment, THOUGHT_KEYS};

/// The variables that switch thoughts on and off in some family.
fn switches() -> impl Iterator<Item = ReasoningSwitch> {
    [
        ("enable_thinking", json!(true), json!(false)),
        ("thinking", json!(true), json!(false)),
        ("thinking_mode", json!("enabled"), json!("disabled")),
        ("thinking_option", json!("on"), json!("off")),
        ("thinking_budget", json!(-1), json!(0)),
        ("reasoning_effort", json!("high"), json!("none")),
        ("reasoning_effort", json!("high"), json!("no_think")),
        ("reasoning_effort", json!("high"), json!("minimal")),
    ]
    .into_iter()
    .map(|(name, on, off)| ReasoningSwitch { name: name.to_owned(), on, off })
}

/// An earlier thought as a template writes it.
#[derive(Debug)]
struct Shown {
    form: ThoughtForm,
    key: Option<&'static str>,
    /// The whole conversation.
    text: String,
    /// What stands between the user's text and the thought.
    before: String,
    /// What stands between the thought and the answer.
    between: String,
}

/// Detects the form in which the template reads earlier thoughts and how the model marks
/// them.
pub(super) fn detect(
    template: &ChatTemplate,
    source: &str,
) -> (ThoughtForm, Option<ReasoningFormat>) {
    let probe = Probe { template };
    let shown = probe.shown();
    let form = shown.as_ref().map_or(ThoughtForm::Keys(USUAL_KEYS), |shown| shown.form);
    (form, probe.format(source, shown.as_ref()))
}

/// Renders short conversations.
struct Probe<'t> {
    template: &'t ChatTemplate,
}

impl Probe<'_> {
    fn format(&self, source: &str, shown: Option<&Shown>) -> Option<ReasoningFormat> {
        let plain = self.prompt(None)?;
        let switches: Vec<Switched> = switches()
            .filter(|switch| source.contains(&switch.name))
            .filter_map(|switch| self.switched(switch))
            .collect();
        let answered = self.answered();
        let answered = answered.as_deref();

        let mut everything = format!("{source}\n{}", plain.text);
        everything.extend(shown.map(|shown| &*shown.text));
        for Switched { on, off, .. } in &switches {
            everything.extend([&*on.text, &*off.text]);
        }
        let marks = Marks::known(&everything)
            .or_else(|| Marks::around(&plain.tail, answered, &shown?.before, &shown?.between))?;

        let mut format = marks.format();
        let is_switch = |it: &&Switched| {
            let changes_turn =
                Tail::read(&it.on.tail, &format) != Tail::read(&it.off.tail, &format);
            // A word may change the prompt for another reason.
            changes_turn || it.switch.on.is_boolean()
        };
        let switched = switches.iter().find(is_switch);
        format.switch = switched.map(|it| it.switch.clone());
        format.key = shown.and_then(|shown| shown.key).map(str::to_owned);
        format.has_effort = self.reads_effort();
        format.thinks_by_default = match switched {
            Some(it) if it.off.text == plain.text => false,
            Some(it) if it.on.text == plain.text => true,
            _ => match Tail::read(&plain.tail, &format) {
                Tail::Open => true,
                Tail::Closed | Tail::Answer => false,
                Tail::Bare => marks.is_certain,
            },
        };

        let on = switched.map_or(&*plain.tail, |it| &*it.on.tail);
        let off = switched.map(|it| &*it.off.tail);
        let is_closed = |tail: &&str| Tail::read(tail, &format) == Tail::Closed;
        let closed = off.into_iter().chain(answered).find(is_closed);
        let is_open = Tail::read(on, &format) == Tail::Open;
        if let Some(shown) = shown {
            format.open = marks.opening(&shown.before, on);
            format.close.clone_from(&shown.between);
        } else if let Some((open, close)) = closed.and_then(|closed| marks.open_and_close(closed)) {
            (format.open, format.close) = (open, close);
        }
        if is_open {
            format.open = marks.opening(on, off.unwrap_or(""));
        }
        marks.complete(&mut format, closed);
        Some(format)
    }

    /// The prompts with a switch on and off. `None` if they are equal.
    fn switched(&self, switch: ReasoningSwitch) -> Option<Switched> {
        let on = self.prompt(Some((&switch.name, &switch.on)))?;
        let off = self.prompt(Some((&switch.name, &switch.off)))?;
        (on.text != off.text).then_some(Switched { switch, on, off })
    }

    /// The prompt of one user turn with this variable. `None` if the template fails.
    fn prompt(&self, variable: Option<(&str, &Value)>) -> Option<Prompt> {
        let variables = variable.map(|(name, value)| (name.to_owned(), value.clone()));
        let variables = variables.into_iter().collect();
        let turns = [Message::new(Role::User, "u")];
        let segments = self.template.conversation(&turns, &variables, true).ok()?;
        let tail = match segments.last() {
            Some(Segment::Scaffold(text)) => text.clone(),
            _ => String::new(),
        };
        let text = joined(&segments);
        Some(Prompt { text, tail })
    }

    /// Finds the form in which the template writes an earlier thought.
    fn shown(&self) -> Option<Shown> {
        let keys = THOUGHT_KEYS.chunks(1).map(|key| (ThoughtForm::Keys(key), Some(key[0])));
        let forms = keys.chain([(ThoughtForm::Block, None)]);
        let thinking = ["enable_thinking", "thinking"];
        let thinking: Map<String, Value> =
            thinking.into_iter().map(|name| (name.to_owned(), true.into())).collect();
        let answer =
            Message { reasoning: Some("t".to_owned()), ..Message::new(Role::Assistant, "a") };
        let turns = [Message::new(Role::User, "u"), answer, Message::new(Role::User, "v")];
        for (form, key) in forms {
            for variables in [Map::new(), thinking.clone()] {
                for (turns, opens_turn) in [(&turns[..2], false), (&turns[..], true)] {
                    let message = MessageForm { thought: form, ..self.template.form() };
                    let rendered =
                        self.template.conversation_as(turns, message, &variables, opens_turn);
                    let Ok(segments) = rendered else { continue };
                    let Some((before, between)) = around_thought(&segments) else { continue };
                    if form == ThoughtForm::Block && has_written_blocks(&segments) {
                        continue;
                    }
                    let form = match key {
                        Some(key) if USUAL_KEYS.contains(&key) => ThoughtForm::Keys(USUAL_KEYS),
                        _ => form,
                    };
                    let text = joined(&segments);
                    return Some(Shown { form, key, text, before, between });
                }
            }
        }
        None
    }

    /// What stands between the user's text and an earlier answer without a thought.
    fn answered(&self) -> Option<String> {
        let turns = [Message::new(Role::User, "u"), Message::new(Role::Assistant, "a")];
        let segments = self.template.conversation(&turns, &Map::new(), false).ok()?;
        let answer =
            segments.iter().position(|segment| matches!(segment, Segment::Content(1, _)))?;
        match segments.get(answer.checked_sub(1)?)? {
            Segment::Scaffold(text) => Some(text.clone()),
            Segment::Content(..) | Segment::Thought(..) => None,
        }
    }

    fn reads_effort(&self) -> bool {
        let prompt = |effort: &str| self.prompt(Some(("reasoning_effort", &effort.into())));
        match (prompt("low"), prompt("high")) {
            (Some(low), Some(high)) => low.text != high.text,
            (low, high) => low.is_some() != high.is_some(),
        }
    }
}

/// A rendered prompt.
struct Prompt {
    text: String,
    /// What stands after the user's text.
    tail: String,
}

/// The prompts with a switch on and off, which differ.
struct Switched {
    switch: ReasoningSwitch,
    on: Prompt,
    off: Prompt,
}

/// The scaffold before the thought of turn 1, and that between the thought and the answer.
fn around_thought(segments: &[Segment]) -> Option<(String, String)> {
    let thought = segments.iter().position(|it| matches!(it, Segment::Thought(1, _)))?;
    match &segments[thought.checked_sub(1)?..] {
        [
            Segment::Scaffold(before),
            Segment::Thought(..),
            Segment::Scaffold(between),
            Segment::Content(1, _),
            ..,
        ] => Some((before.clone(), between.clone())),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::{NextTurn, Reasoning, ReasoningMode, TurnStart};
    use super::*;

    /// A template with this text for an earlier thought, which is `m.KEY`, and this opening of
    /// the assistant's turn.
    fn template(key: &str, thought: &str, opening: &str) -> ChatTemplate {
        let source = format!(
            "{{% for m in messages %}}<|im_start|>{{{{ m.role }}}}\n{{% if m.{key} %}}\
             {}{{% endif %}}{{{{ m.content }}}}<|im_end|>\n{{% endfor %}}\
             {{% if add_generation_prompt %}}<|im_start|>assistant\n{opening}{{% endif %}}",
            thought.replace("THOUGHT", &format!("{{{{ m.{key} }}}}"))
        );
        ChatTemplate::new(&source, "", "").unwrap()
    }

    fn format(template: &ChatTemplate) -> &ReasoningFormat {
        template.reasoning().expect("a model that thinks")
    }

    /// What stands after the user's header in the prompt of one turn, and how it starts.
    fn opening(
        template: &ChatTemplate,
        mode: ReasoningMode,
        next: NextTurn,
    ) -> (String, TurnStart) {
        let reasoning = Reasoning { mode, ..Reasoning::default() };
        let turns = [Message::new(Role::User, "u")];
        let rendered = template.render(&turns, &reasoning, next).unwrap();
        let text: String = rendered.text();
        let (_, after) = text.split_once("assistant").unwrap();
        (after.to_owned(), rendered.start)
    }

    #[track_caller]
    fn check(
        template: &ChatTemplate,
        mode: ReasoningMode,
        next: NextTurn,
        expected: (&str, TurnStart),
    ) {
        let (text, start) = opening(template, mode, next);
        assert_eq!((&*text, start), expected, "{mode}, {next:?}");
    }

    #[test]
    fn a_switch_that_closes_the_thought() {
        let qwen = template(
            "reasoning_content",
            "<think>\nTHOUGHT\n</think>\n\n",
            "{% if enable_thinking is defined and not enable_thinking %}<think>\n\n</think>\n\n\
             {% endif %}",
        );
        let found = format(&qwen);
        assert_eq!(found.switch.as_ref().unwrap().name, "enable_thinking");
        assert!(found.thinks_by_default);
        assert_eq!((&*found.open, &*found.close), ("<think>\n", "\n</think>\n\n"));
        assert_eq!(found.key.as_deref(), Some("reasoning_content"));
        let closed = ("\n<think>\n\n</think>\n\n", TurnStart::Answer);
        check(&qwen, ReasoningMode::Auto, NextTurn::Reply, closed);
        check(&qwen, ReasoningMode::On, NextTurn::Reply, ("\n", TurnStart::Free));
        check(&qwen, ReasoningMode::On, NextTurn::Answer, closed);
    }

    #[test]
    fn a_switch_that_opens_the_thought() {
        let deepseek = template(
            "x",
            "",
            "{% if thinking is defined and thinking %}<think>{% else %}</think>{% endif %}",
        );
        let found = format(&deepseek);
        assert_eq!(found.switch.as_ref().unwrap().name, "thinking");
        assert!(!found.thinks_by_default);
        check(&deepseek, ReasoningMode::Auto, NextTurn::Reply, ("\n</think>", TurnStart::Answer));
        check(&deepseek, ReasoningMode::On, NextTurn::Reply, ("\n<think>", TurnStart::Thinking));
    }

    #[test]
    fn a_thought_that_is_always_open_is_closed_for_the_answer() {
        let r1 = template("x", "", "<think>\n");
        assert_eq!(format(&template("x", "", "<think>\n{# </think> #}")).switch, None);
        // Without its end the template only writes a word.
        assert_eq!(r1.reasoning(), None);
        let r1 = template("x", "{{ m.content.split('</think>') }}", "<think>\n");
        let closed = ("\n<think>\n\n</think>\n\n", TurnStart::Answer);
        for mode in [ReasoningMode::Auto, ReasoningMode::On] {
            check(&r1, mode, NextTurn::Reply, ("\n<think>\n", TurnStart::Thinking));
            check(&r1, mode, NextTurn::Answer, closed);
        }
        check(&r1, ReasoningMode::Off, NextTurn::Reply, closed);
    }

    #[test]
    fn a_thought_that_the_model_opens_gets_an_empty_one_in_its_place() {
        let seed = template("reasoning_content", "<seed:think>THOUGHT</seed:think>\n", "");
        check(&seed, ReasoningMode::Auto, NextTurn::Reply, ("\n", TurnStart::Free));
        let empty = ("\n<seed:think></seed:think>\n", TurnStart::Answer);
        check(&seed, ReasoningMode::Auto, NextTurn::Answer, empty);
        check(&seed, ReasoningMode::Off, NextTurn::Reply, empty);
    }

    #[test]
    fn a_template_that_only_removes_thoughts_belongs_to_a_model_that_may_think() {
        let removes = "{{ m.content.split('</think>')[-1] }}";
        let lfm = template("x", removes, "");
        assert!(!format(&lfm).thinks_by_default);
        check(&lfm, ReasoningMode::Auto, NextTurn::Answer, ("\n", TurnStart::Answer));
        let deepseek = template("x", removes, "{# <｜Assistant｜> #}");
        let empty = ("\n<think>\n\n</think>\n\n", TurnStart::Answer);
        check(&deepseek, ReasoningMode::Auto, NextTurn::Answer, empty);
    }

    #[test]
    fn a_switch_in_the_system_turn_leaves_the_opening_alone() {
        let granite = "{% if thinking %}Write <think></think> and <response></response>.{% endif %}\
            {% for m in messages %}{{ m.role }}:{{ m.content }};{% endfor %}assistant:";
        let granite = ChatTemplate::new(granite, "", "").unwrap();
        let found = format(&granite);
        assert_eq!(found.answer_starts, ["<response>"]);
        assert_eq!(found.answer_ends, ["</response>"]);
        check(&granite, ReasoningMode::Auto, NextTurn::Answer, (":", TurnStart::Answer));
        check(&granite, ReasoningMode::On, NextTurn::Reply, (":", TurnStart::Free));
    }

    #[test]
    fn the_effort_may_be_the_switch() {
        let hunyuan = template(
            "reasoning_content",
            "<think:opensource>THOUGHT</think:opensource>",
            "<think:opensource>{% if reasoning_effort | default('no_think') == 'no_think' %}\
             </think:opensource>{% endif %}",
        );
        let found = format(&hunyuan);
        let switch = found.switch.as_ref().unwrap();
        assert_eq!((&*switch.name, &switch.off), ("reasoning_effort", &json!("no_think")));
        let closed = ("\n<think:opensource></think:opensource>", TurnStart::Answer);
        check(&hunyuan, ReasoningMode::Auto, NextTurn::Reply, closed);
        let reasoning = Reasoning { effort: Some("low".to_owned()), ..Reasoning::default() };
        let turns = [Message::new(Role::User, "u")];
        let start = |next| hunyuan.render(&turns, &reasoning, next).unwrap().start;
        assert_eq!(start(NextTurn::Reply), TurnStart::Thinking);
        assert_eq!(start(NextTurn::Answer), TurnStart::Answer);
    }

    #[test]
    fn messages_of_their_own_are_thoughts_and_answers() {
        for (thought, answer) in [
            ("<|channel|>analysis<|message|>", "<|channel|>final<|message|>"),
            // A family that is not in the table.
            ("<|musing|>", "<|saying|>"),
        ] {
            let source = format!(
                "{{% for m in messages %}}<|start|>{{{{ m.role }}}}{{% if m.thinking %}}{thought}\
                 {{{{ m.thinking }}}}<|end|><|start|>assistant{{% endif %}}\
                 {{% if m.role == 'assistant' %}}{answer}{{% endif %}}{{{{ m.content }}}}<|end|>\
                 {{% endfor %}}{{% if add_generation_prompt %}}<|start|>assistant{{% endif %}}"
            );
            let template = ChatTemplate::new(&source, "", "").unwrap();
            let found = format(&template);
            assert_eq!(found.ends, ["<|end|>"]);
            assert_eq!(
                found.answer_starts,
                [answer.to_owned(), format!("<|start|>assistant{answer}")]
            );
            assert!(found.starts.contains(&format!("<|start|>assistant{thought}")));
            assert_eq!(found.open, thought);
            assert_eq!(found.close, format!("<|end|><|start|>assistant{answer}"));
            assert_eq!(found.key.as_deref(), Some("thinking"));
            check(&template, ReasoningMode::On, NextTurn::Reply, ("", TurnStart::Free));
            check(&template, ReasoningMode::On, NextTurn::Answer, (answer, TurnStart::Answer));
        }
    }

    #[test]
    fn unknown_tags_are_found_around_an_earlier_thought() {
        let opened = template("reasoning_content", "<muse>\nTHOUGHT\n</muse>\n", "<muse>\n");
        let free = template("reasoning_content", "<muse>\nTHOUGHT\n</muse>\n", "");
        for template in [&opened, &free] {
            let found = format(template);
            assert_eq!(
                (&found.starts[..], &found.ends[..]),
                (&["<muse>".to_owned()][..], &["</muse>".to_owned()][..])
            );
            assert_eq!((&*found.open, &*found.close), ("<muse>\n", "\n</muse>\n"));
            let closed = ("\n<muse>\n\n</muse>\n", TurnStart::Answer);
            check(template, ReasoningMode::Auto, NextTurn::Answer, closed);
        }
    }

    #[test]
    fn a_thought_may_be_a_block_of_the_content() {
        let source = "{% for m in messages %}[{{ m.role }}]{% if m.content is string %}\
            {{ m.content }}{% else %}{% for b in m.content %}{% if b.type == 'thinking' %}\
            [THINK]{{ b.thinking }}[/THINK]{% else %}{{ b.text }}{% endif %}{% endfor %}\
            {% endif %}{% endfor %}{% if add_generation_prompt %}[assistant]{% endif %}";
        let mistral = ChatTemplate::new(source, "", "").unwrap();
        assert_eq!(format(&mistral).key, None);
        let answer = Message { reasoning: Some("t".into()), ..Message::new(Role::Assistant, "a") };
        let turns = [Message::new(Role::User, "u"), answer, Message::new(Role::User, "v")];
        let rendered = mistral.render(&turns, &Reasoning::default(), NextTurn::Reply).unwrap();
        assert!(rendered.segments.contains(&Segment::Thought(1, "t".to_owned())));
    }

    #[test]
    fn models_that_do_not_think() {
        for source in [
            "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}",
            "{% for m in messages %}{{ m | tojson }}{% endfor %}",
            "{% for m in messages %}[INST] {{ m.content }} [/INST]{% endfor %}",
        ] {
            assert_eq!(ChatTemplate::new(source, "", "").unwrap().reasoning(), None, "{source}");
        }
    }

    #[test]
    fn settings_reach_the_template() {
        let source = "{% for m in messages %}{{ m.content }}{% endfor %}|{{ reasoning_effort }}|\
            {{ enable_thinking }}|{{ style }}assistant";
        let template =
            ChatTemplate::new(&format!("{source}{{# <think></think> #}}"), "", "").unwrap();
        assert!(format(&template).has_effort);
        let mut reasoning = Reasoning { effort: Some("low".to_owned()), ..Reasoning::default() };
        reasoning.chat_template_kwargs.insert("style".to_owned(), json!("terse"));
        let turns = [Message::new(Role::User, "u")];
        let prompt = |reasoning: &Reasoning| -> String {
            let rendered = template.render(&turns, reasoning, NextTurn::Reply).unwrap();
            rendered.text()
        };
        assert_eq!(prompt(&reasoning), "u|low|False|terseassistant");
        reasoning.chat_template_kwargs.insert("enable_thinking".to_owned(), json!(true));
        assert_eq!(prompt(&reasoning), "u|low|True|terseassistant");
        assert!(format(&template).thinks(&reasoning));
        // The answer begins all the same.
        let turns = [Message::new(Role::User, "u")];
        let rendered = template.render(&turns, &reasoning, NextTurn::Answer).unwrap();
        let written: String = rendered.text();
        assert_eq!(written, "u|low|False|terseassistant");
        // An explicit mode is not overridden in silence.
        reasoning.mode = ReasoningMode::Off;
        let error = template.render(&turns, &reasoning, NextTurn::Reply).unwrap_err();
        assert_eq!(
            error.to_string(),
            "`reasoning` is off, but `chat_template_kwargs` sets enable_thinking = true, which \
             switches thoughts on: remove one of the two"
        );
        reasoning.mode = ReasoningMode::On;
        assert_eq!(prompt(&reasoning), "u|low|True|terseassistant");
        reasoning.chat_template_kwargs.insert("enable_thinking".to_owned(), json!(false));
        assert!(template.render(&turns, &reasoning, NextTurn::Reply).is_err());
    }
}
